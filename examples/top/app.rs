//! What the view shows, and what keys change in it.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::watch::ages::Ages;
use crate::watch::{Lease, Reading};

/// By what the tables are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Bytes,
    Rows,
    Name,
}

impl Sort {
    pub fn title(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Rows => "rows",
            Self::Name => "name",
        }
    }
}

/// A table of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub rows: u64,
    /// Rows and indexes, as MIROIR.MEMORY estimates them.
    pub bytes: u64,
}

/// The overflow buffer of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub sink: String,
    pub events: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub age: Duration,
}

/// What happened in each second between the last two readings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub commands: f64,
    pub ours: f64,
    /// The mean time of a MIROIR command, in microseconds.
    pub mean_us: Option<f64>,
    pub evicted: f64,
    /// Hits in all look-ups.
    pub hits: Option<f64>,
}

/// The state of the view.
pub struct App {
    pub address: String,
    pub namespace: String,
    pub sort: Sort,
    pub reversed: bool,
    /// How many tables are scrolled away.
    pub scrolled: usize,
    pub reading: Option<Reading>,
    pub rates: Option<Rates>,
    pub buffers: Vec<Buffer>,
    /// Since when the server does not answer, and why not.
    pub lost: Option<(Instant, String)>,
    read_at: Option<Instant>,
    ages: Ages,
    over: bool,
}

impl App {
    pub fn new(address: String, namespace: String) -> Self {
        Self {
            address,
            namespace,
            sort: Sort::Bytes,
            reversed: false,
            scrolled: 0,
            reading: None,
            rates: None,
            buffers: Vec::new(),
            lost: None,
            read_at: None,
            ages: Ages::default(),
            over: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes what the server told, or why it did not. What it told before stays in sight.
    pub fn hear(&mut self, answer: Result<Reading, String>, now: Instant) {
        let reading = match answer {
            Ok(reading) => reading,
            Err(error) => {
                let since = self.lost.take().map_or(now, |(since, _)| since);
                self.lost = Some((since, error));
                return;
            }
        };
        self.rates = match (&self.reading, self.read_at) {
            (Some(before), Some(then)) => rates(before, &reading, now.duration_since(then)),
            _ => None,
        };
        self.buffers = self.look_at_buffers(&reading, now);
        self.reading = Some(reading);
        self.read_at = Some(now);
        self.lost = None;
    }

    pub fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.over = true,
            KeyCode::Char('q') | KeyCode::Esc => self.over = true,
            KeyCode::Char('s') => {
                self.sort = match self.sort {
                    Sort::Bytes => Sort::Rows,
                    Sort::Rows => Sort::Name,
                    Sort::Name => Sort::Bytes,
                };
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => {
                self.scrolled = (self.scrolled + 1).min(self.tables().len().saturating_sub(1));
            }
            _ => {}
        }
    }

    /// The tables of the namespace, as they are sorted. Largest first, names from A.
    pub fn tables(&self) -> Vec<Table> {
        let told = self.reading.as_ref().and_then(|reading| reading.namespaces.get(&self.namespace));
        let tables = told.into_iter().flat_map(|namespace| &namespace.tables);
        let mut tables: Vec<Table> = tables
            .filter(|(name, _)| !["catalog", "total"].contains(&name.as_str()))
            .map(|(name, numbers)| {
                let number = |what: &str| numbers.get(what).copied().unwrap_or(0);
                let bytes = number("allocated_bytes") + number("index_bytes");
                Table { name: name.clone(), rows: number("rows"), bytes }
            })
            .collect();
        match self.sort {
            Sort::Bytes => tables.sort_by_key(|table| (Reverse(table.bytes), table.name.clone())),
            Sort::Rows => tables.sort_by_key(|table| (Reverse(table.rows), table.name.clone())),
            Sort::Name => tables.sort_by_key(|table| table.name.clone()),
        }
        if self.reversed {
            tables.reverse();
        }
        tables
    }

    /// The leases that somebody holds, the next to lapse first; then those asked for that nobody holds.
    pub fn leases(&self) -> Vec<(&str, Option<&Lease>)> {
        let told = self.reading.as_ref().and_then(|reading| reading.namespaces.get(&self.namespace));
        let leases = told.into_iter().flat_map(|namespace| &namespace.leases);
        let mut leases: Vec<_> = leases.map(|(scope, lease)| (scope.as_str(), lease.as_ref())).collect();
        leases.sort_by_key(|(scope, lease)| (lease.is_none(), lease.map(|lease| lease.remaining_ms), *scope));
        leases
    }

    /// The fullest buffers first.
    fn look_at_buffers(&mut self, reading: &Reading, now: Instant) -> Vec<Buffer> {
        let told = reading.namespaces.get(&self.namespace).map(|namespace| &namespace.buffers);
        let mut buffers = Vec::new();
        for (sink, numbers) in told.into_iter().flatten() {
            let number = |what: &str| numbers.get(what).copied().unwrap_or(0);
            let state = (number("length"), number("first_seq"), number("last_seq"));
            buffers.push(Buffer {
                sink: sink.clone(),
                events: number("length"),
                bytes: number("bytes"),
                dropped: number("dropped"),
                age: self.ages.look((&self.namespace, sink), state, now),
            });
        }
        buffers.sort_by_key(|buffer| (Reverse(buffer.bytes), buffer.sink.clone()));
        buffers
    }
}

/// Nothing when the server has started anew in between, or when there was no time at all.
fn rates(before: &Reading, after: &Reading, elapsed: Duration) -> Option<Rates> {
    if before.info.get("run_id") != after.info.get("run_id") || elapsed.is_zero() {
        return None;
    }
    let seconds = elapsed.as_secs_f64();
    let gone = |name: &str| (after.number(name).unwrap_or(0.0) - before.number(name).unwrap_or(0.0)).max(0.0);
    let sum = |reading: &Reading, what: &str| -> f64 {
        let all = reading.groups("cmdstat_");
        let ours = all.filter(|(name, _)| name.to_uppercase().starts_with("MIROIR."));
        ours.filter_map(|(_, numbers)| numbers.get(what).copied()).sum()
    };
    let calls = (sum(after, "calls") - sum(before, "calls")).max(0.0);
    let micros = (sum(after, "usec") - sum(before, "usec")).max(0.0);
    let (hits, misses) = (gone("keyspace_hits"), gone("keyspace_misses"));
    Some(Rates {
        commands: gone("total_commands_processed") / seconds,
        ours: calls / seconds,
        mean_us: (calls > 0.0).then(|| micros / calls),
        evicted: gone("evicted_keys") / seconds,
        hits: (hits + misses > 0.0).then(|| hits / (hits + misses)),
    })
}
