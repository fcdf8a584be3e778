//! The server time of LIST, COUNT and MEMORY on a small and on a large table.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::pages::{Pages, ALL, PLACES, SELECTIONS};
use crate::support::data::{Data, NAMESPACE, STATUSES, TABLE_KEY};
use crate::support::link::Link;
use crate::support::numbers::thousands;
use crate::support::report::{micros, millis, none, quartiles, verdict, Section};
use crate::support::rounds::{interleaved, Spread};
use crate::support::servers::Server;
use crate::support::{bar, Outcome};

/// How long one round lasts, about.
const ROUND: Duration = Duration::from_millis(20);
/// How many calls one round makes at most.
const MOST_CALLS: usize = 1000;

/// At most so many times what the small table takes.
const LIST_RATIO: f64 = 1.5;
const LIST_MICROS: f64 = 150.0;
const COUNT_MICROS: f64 = 20.0;
const MEMORY_MICROS: f64 = 1000.0;

/// A server and what it holds.
pub struct Side<'a> {
    link: Link,
    data: &'a Data,
}

impl<'a> Side<'a> {
    /// Connects to a server that holds these data.
    pub fn new(server: &Server, data: &'a Data) -> Outcome<Self> {
        Ok(Self { link: Link::open(server.port())?, data })
    }
}

/// LIST of 20.
pub fn list(sides: &mut [Side<'_>; 2], rounds: usize) -> Outcome<Section> {
    let columns = [
        "LIST of 20",
        &tasks_of(&sides[0]),
        &tasks_of(&sides[1]),
        "Quartiles",
        "≤ 150 µs",
        "Ratio",
        "Quartiles",
        "≤ 1.5 ×",
    ]
    .map(str::to_owned);
    let mut section = Section::new("LIST", &columns.each_ref().map(String::as_str));
    let bar = bar("LIST", rounds * SELECTIONS.len() * PLACES.len());
    for selection in SELECTIONS {
        for (place, title) in PLACES {
            // Every task that matches is looked up in the data here, not in the rounds.
            let mut pages = [0, 1].map(|side| Pages::new(sides[side].data, selection, place));
            let compared = pages[0].is_some();
            let title = format!("{}; {title}", selection.title);
            if pages[1].is_none() {
                section.row([title, none(), none(), none(), none(), none(), none(), none()]);
                bar.inc(rounds as u64);
                continue;
            }
            let skipped = usize::from(!compared);
            let times = timed(&mut sides[skipped..], "miroir.list", rounds, &bar, |side, link| {
                pages[side + skipped].as_mut().map_or(Ok(()), |pages| pages.ask(link))
            })?;
            let large = Spread::of(times[1 - skipped].iter().copied());
            let [small, ratio, ratios, as_fast] = if compared {
                let ratio = Spread::of(times[1].iter().zip(&times[0]).map(|(large, small)| large / small));
                let small = Spread::of(times[0].iter().copied());
                let factor = |figure| format!("{figure:.2}");
                [
                    micros(small.median),
                    factor(ratio.median),
                    quartiles(ratio, factor),
                    verdict(ratio.median, LIST_RATIO),
                ]
            } else {
                [none(), none(), none(), none()]
            };
            let fast = verdict(large.median, LIST_MICROS);
            section.row([
                title,
                small,
                micros(large.median),
                quartiles(large, micros),
                fast,
                ratio,
                ratios,
                as_fast,
            ]);
        }
    }
    bar.finish_and_clear();
    section.note(
        "Server time of one call, from INFO commandstats; medians of interleaved rounds. Pages that are new each time \
         come from main memory in the large table, and from the cache of the processor in the small one. Where the small table \
         has no full page behind its middle there is nothing to compare.",
    );
    Ok(section)
}

/// COUNT.
pub fn count(sides: &mut [Side<'_>; 2], rounds: usize) -> Outcome<Section> {
    let mut cases: Vec<_> = SELECTIONS.iter().map(|selection| (*selection, false)).collect();
    cases.push((ALL, true));
    let columns = ["COUNT", &tasks_of(&sides[0]), &tasks_of(&sides[1]), "Quartiles", "≤ 20 µs"];
    let mut section = Section::new("COUNT", &columns);
    let bar = bar("COUNT", rounds * cases.len());
    for (selection, by_status) in cases {
        let mut words = vec!["MIROIR.COUNT".to_owned(), TABLE_KEY.to_owned()];
        words.extend(selection.words());
        if by_status {
            words.extend(["BY".to_owned(), "status".to_owned()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let right = [0, 1].map(|side| {
            let tasks = sides[side].data.listed().filter(|task| selection.admits(task));
            let mut counts = BTreeMap::<String, usize>::new();
            for task in tasks {
                let value = if by_status { STATUSES[usize::from(task.status)].0 } else { "" };
                *counts.entry(value.to_owned()).or_default() += 1;
            }
            counts
        });
        let times = timed(sides, "miroir.count", rounds, &bar, |side, link| {
            let right = &right[side];
            let answer: BTreeMap<String, usize> = if by_status {
                link.ask(&words)?
            } else {
                let count: usize = link.ask(&words)?;
                // No entry stands for zero in both.
                [(String::new(), count)].into_iter().filter(|(_, count)| *count > 0).collect()
            };
            if answer == *right {
                Ok(())
            } else {
                Err(format!("wrong answer to {}: {answer:?} instead of {right:?}", words.join(" ")))
            }
        })?;
        let [small, large] = [0, 1].map(|side| Spread::of(times[side].iter().copied()));
        let title = if by_status { "BY status" } else { selection.title };
        section.row([
            title.to_owned(),
            micros(small.median),
            micros(large.median),
            quartiles(large, micros),
            verdict(large.median, COUNT_MICROS),
        ]);
    }
    bar.finish_and_clear();
    section.note("Server time of one call, from INFO commandstats; medians of interleaved rounds.");
    Ok(section)
}

/// MEMORY.
pub fn memory(sides: &mut [Side<'_>; 2], rounds: usize) -> Outcome<Section> {
    let columns = ["MEMORY", &tasks_of(&sides[0]), &tasks_of(&sides[1]), "Quartiles", "≤ 1 ms"];
    let mut section = Section::new("MEMORY", &columns);
    let right = [0, 1].map(|side| (sides[side].data.len() as u64, sides[side].data.payload_bytes()));
    let bar = bar("MEMORY", rounds);
    let times = timed(sides, "miroir.memory", rounds, &bar, |side, link| {
        let weights: HashMap<String, HashMap<String, u64>> = link.ask(&["MIROIR.MEMORY", NAMESPACE])?;
        let figure = |name: &str| weights.get("tasks").and_then(|tasks| tasks.get(name)).copied();
        let answer = (figure("rows").unwrap_or(0), figure("payload_bytes").unwrap_or(0));
        if answer == right[side] {
            Ok(())
        } else {
            Err(format!(
                "wrong answer of MIROIR.MEMORY: {answer:?} instead of {:?} (rows, payload)",
                right[side]
            ))
        }
    })?;
    bar.finish_and_clear();
    let [small, large] = [0, 1].map(|side| Spread::of(times[side].iter().map(|time| time / 1000.0)));
    section.row([
        "of the namespace, default SAMPLES".to_owned(),
        millis(small.median),
        millis(large.median),
        quartiles(large, millis),
        verdict(large.median * 1000.0, MEMORY_MICROS),
    ]);
    section.note("Server time of one call, from INFO commandstats; medians of interleaved rounds.");
    Ok(section)
}

/// The server time of one call in µs, for each side and round.
fn timed(
    sides: &mut [Side<'_>],
    command: &str,
    rounds: usize,
    bar: &indicatif::ProgressBar,
    mut ask: impl FnMut(usize, &mut Link) -> Outcome<()>,
) -> Outcome<Vec<Vec<f64>>> {
    // A first call of each, to see how many a round can have.
    let mut calls = Vec::with_capacity(sides.len());
    for (number, side) in sides.iter_mut().enumerate() {
        let start = Instant::now();
        ask(number, &mut side.link)?;
        let fitting = ROUND.as_nanos() / start.elapsed().as_nanos().max(1);
        calls.push(usize::try_from(fitting).unwrap_or(MOST_CALLS).clamp(1, MOST_CALLS));
    }
    let times = interleaved(sides.len(), rounds, bar, |number| {
        let link = &mut sides[number].link;
        link.reset_statistics()?;
        for _ in 0..calls[number] {
            ask(number, link)?;
        }
        let spent = link.spent(command)?;
        Ok([spent.micros as f64 / spent.calls as f64])
    })?;
    Ok(times.into_iter().map(|side| side.into_iter().map(|[time]| time).collect()).collect())
}

fn tasks_of(side: &Side<'_>) -> String {
    format!("{} tasks", thousands(side.data.len()))
}
