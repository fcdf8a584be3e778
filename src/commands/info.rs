//! INFO miroir: what the module tells of its state, for people and for exporters of metrics. O(tables).

use std::sync::atomic::Ordering;

use super::FAMILIES;
use crate::care::protection::{self, samples};
use crate::care::{alert, audit};
use crate::catalog::check::COUNTERS;
use crate::catalog::table::Totals;
use crate::catalog::{self, follow, rebuild};
use crate::schema::{self, Table, TABLES};
use crate::server::alloc;
use crate::server::config::{MEMORY_CRITICAL, MEMORY_WARNING};
use crate::server::info::{Info, ServerInfo};

/// What each table holds.
type Sums = [(&'static Table, Totals)];

/// Answers INFO.
pub fn info(info: &mut Info) {
    let sums: Vec<_> = catalog::with(|catalog| catalog.sums().collect());
    catalog_section(info, &sums);
    tables(info, &sums);
    audits(info);
    memory(info);
    commands(info);
    structures(info, &sums);
}

fn catalog_section(info: &mut Info, sums: &Sums) {
    if !info.section("catalog") {
        return;
    }
    let rows = sums.iter().map(|(_, sums)| sums.rows as u64).sum();
    info.text("catalog_state", if rebuild::is_running() { "rebuilding" } else { "ready" });
    info.number("catalog_progress_percent", rebuild::progress());
    info.number("catalog_rows", rows);
    info.number("catalog_bytes", alloc::held() as u64);
    info.number("catalog_backlog", follow::backlog() as u64);
}

fn tables(info: &mut Info, sums: &Sums) {
    if !info.section("tables") {
        return;
    }
    for (table, totals) in sums {
        let (expired, evicted) = follow::lost(table);
        let numbers = [
            ("rows", totals.rows as u64),
            ("payload_bytes", totals.payload_bytes),
            ("expiring", totals.expiring as u64),
            ("expired", expired),
            ("evicted", evicted),
        ];
        info.numbers(&format!("table_{}", table.name), &numbers);
    }
}

fn audits(info: &mut Info) {
    if !info.section("audit") {
        return;
    }
    info.number("audit_rounds", COUNTERS.rounds.load(Ordering::Relaxed));
    info.number("audit_compared", COUNTERS.compared.load(Ordering::Relaxed));
    info.number("audit_missing", COUNTERS.missing.load(Ordering::Relaxed));
    info.number("audit_ghosts", COUNTERS.ghosts.load(Ordering::Relaxed));
    info.number("audit_different", COUNTERS.different.load(Ordering::Relaxed));
    for kind in audit::Kind::ALL {
        info.number(&format!("audit_found_{}", kind.name().replace('-', "_")), audit::found(kind));
    }
    info.number("audit_repaired", audit::repaired());
}

fn memory(info: &mut Info) {
    if !info.section("memory") {
        return;
    }
    let server = ServerInfo::section(c"memory");
    let used = server.and_then(|memory| memory.field("used_memory")?.parse().ok()).unwrap_or(0);
    info.number("memory_used", used);
    info.number("memory_warning", MEMORY_WARNING.get());
    info.number("memory_critical", MEMORY_CRITICAL.get());
    info.text("memory_alert", alert::level(used, MEMORY_WARNING.get(), MEMORY_CRITICAL.get()).name());
    info.text("memory_protection", protection::state());
    info.number("memory_protection_rounds", protection::rounds());
    info.number("memory_protected_keys", samples::protected());
    info.number("memory_samples_raised", u64::from(samples::are_raised()));
    info.number("memory_evicted_protected", protection::lost());
}

/// Calls and errors of each family, summed up from the server's own statistics: CONFIG RESETSTAT begins them anew.
fn commands(info: &mut Info) {
    if !info.section("commands") {
        return;
    }
    let statistics = ServerInfo::section(c"commandstats");
    let number = |command: &str, name: &str| -> u64 {
        let line = statistics.as_ref().and_then(|all| all.field(&format!("cmdstat_{command}")));
        let mut entries =
            line.into_iter().flat_map(|line| line.split(',')).filter_map(|entry| entry.split_once('='));
        entries.find(|(known, _)| *known == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    for family in FAMILIES {
        let sum = |name| family.commands.iter().map(|command| number(command.name, name)).sum();
        let name = format!("family_{}", family.title.to_lowercase().replace(' ', "_"));
        // Rejected are those that the server refused before the module saw them, for example for lack of memory.
        let numbers =
            [("calls", sum("calls")), ("errors", sum("failed_calls")), ("rejected", sum("rejected_calls"))];
        info.numbers(&name, &numbers);
    }
}

/// The structures that have sections of their own.
fn structures(info: &mut Info, sums: &Sums) {
    let of = |name: &str| {
        sums.iter().find(|(table, _)| table.name == name).map(|(_, sums)| *sums).unwrap_or_default()
    };
    if info.section("cdc") {
        // Bytes of events that came from other clients are counted by the next MIROIR.MEMORY.
        info.number("cdc_buffers", of("cdc_overflow").rows as u64);
        info.number("cdc_payload_bytes", of("cdc_overflow").payload_bytes);
        info.number("cdc_cursors", of("cdc_cursors").rows as u64);
    }
    if info.section("leases") {
        info.number("leases_held", of("leader_lease").rows as u64);
    }
    if info.section("jobs") {
        for state in schema::tables::JOB_STATES {
            info.number(&format!("jobs_{state}"), jobs_in(state));
        }
    }
}

/// How many jobs are in a state, in all namespaces and databases. Jobs have no TTL by themselves.
fn jobs_in(state: &str) -> u64 {
    let Some(jobs) = TABLES.iter().find(|table| table.name == "jobs") else { return 0 };
    let Some(field) = jobs.filters.iter().position(|name| *name == "state") else { return 0 };
    catalog::with(|catalog| {
        let tables = catalog.tables().filter(|(_, _, rows)| rows.table().name == jobs.name);
        let count = |lists: &catalog::lists::Lists| {
            lists
                .number(field, state.as_bytes())
                .and_then(|value| lists.rows_of(value))
                .map_or(0, |rows| rows.len())
        };
        tables.map(|(_, _, rows)| count(rows.lists()) as u64).sum()
    })
}
