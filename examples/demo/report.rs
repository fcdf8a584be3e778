//! What the workload weighs, beside what the capacity planning estimates.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::numbers::thousands;
use crate::server::{Server, Weights};
use crate::workload::CANARIES;
use crate::Outcome;

/// One row of the estimate: the component, its count, the bytes of one.
const ESTIMATES: &[(Component, usize, usize)] = &[
    (Component::Tables("Tasks", &["tasks"]), 10_000, 250),
    (Component::TasksIndex, 10_000, 40),
    (Component::Tables("Sessions", &["sessions"]), 1_000, 175),
    (Component::Tables("Idempotency", &["idempotency_cache"]), 1_000, 225),
    (Component::Tables("Jobs", &["jobs"]), 100, 350),
    (Component::Tables("Leases", &["leader_lease"]), 10, 75),
    (Component::Tables("Canaries", &["canaries"]), 5, 300),
    (Component::CanaryRuns, 500, 175),
    (Component::Tables("CDC cursors", &["cdc_cursors"]), 50, 135),
    (Component::Tables("Rollover policies", &["rollover_policies"]), 10, 500),
    (Component::Tables("Search UI configs", &["search_ui_config"]), 20, 275),
    (Component::Tables("Scoped keys", &["search_ui_scoped_key"]), 20, 250),
    (Component::Tables("Rate limiting", &["ratelimit_searchui", "ratelimit_adminlogin"]), 2_000, 40),
];

/// What stands below the table.
pub const LEGEND: &str = "\
Measured is what MEMORY USAGE says of every key: rows and, except for tasks, their indexes. Canary runs are counted as
runs; the five canaries keep theirs in one sorted set each. The estimate is that of the capacity planning, which itself
advises to multiply by 1.5 and to plan at least 6 MB.";

/// What the estimate counts as one thing.
#[derive(Clone, Copy)]
enum Component {
    /// Tables with their indexes, under the estimate's name for them.
    Tables(&'static str, &'static [&'static str]),
    /// The set that lists the tasks, which the estimate counts apart.
    TasksIndex,
    /// The runs themselves: MIROIR.MEMORY counts histories.
    CanaryRuns,
}

impl Component {
    fn title(self) -> &'static str {
        match self {
            Self::Tables(title, _) => title,
            Self::TasksIndex => "Tasks index",
            Self::CanaryRuns => "Canary runs",
        }
    }
}

/// What one component came to.
pub struct Measured {
    component: Component,
    count: usize,
    bytes: usize,
    estimate: usize,
}

/// Weighs every component.
pub fn measure(server: &mut Server, namespace: &str) -> Outcome<Vec<Measured>> {
    let weights: Weights = server.ask(&["MIROIR.MEMORY", namespace, "SAMPLES", "0"])?;
    let figure = |table: &str, name: &str| {
        let figure = weights.get(table).and_then(|weight| weight.get(name)).copied();
        figure.ok_or_else(|| format!("MIROIR.MEMORY says nothing of {name} of {table}"))
    };
    let mut all = Vec::with_capacity(ESTIMATES.len());
    for (component, count, size) in ESTIMATES {
        let (mut found, mut bytes) = (0, 0);
        match component {
            Component::Tables(_, tables) => {
                for table in *tables {
                    found += figure(table, "rows")?;
                    bytes += figure(table, "allocated_bytes")?;
                    if *table != "tasks" {
                        bytes += figure(table, "index_bytes")?;
                    }
                }
            }
            Component::TasksIndex => {
                found = server.ask(&["SCARD", &format!("{namespace}:tasks:_index")])?;
                bytes = figure("tasks", "index_bytes")?;
            }
            Component::CanaryRuns => {
                for canary in CANARIES {
                    let key = format!("{namespace}:canary_runs:{canary}");
                    found += server.ask::<usize>(&["ZCARD", &key])?;
                }
                bytes = figure("canary_runs", "allocated_bytes")?;
            }
        }
        all.push(Measured { component: *component, count: found, bytes, estimate: count * size });
    }
    Ok(all)
}

/// The figures as a table, with their total.
pub fn table(measured: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header([
        "Component",
        "Count",
        "Measured, bytes",
        "Each",
        "Estimate, bytes",
        "Measured / estimate",
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for Measured { component, count, bytes, estimate } in measured {
        table.add_row([
            component.title().to_owned(),
            thousands(*count),
            thousands(*bytes),
            bytes.checked_div(*count).map_or_else(|| "–".to_owned(), thousands),
            thousands(*estimate),
            ratio(*bytes, *estimate),
        ]);
    }
    let bytes = measured.iter().map(|row| row.bytes).sum();
    let estimate = measured.iter().map(|row| row.estimate).sum();
    table.add_row([
        "Total".to_owned(),
        String::new(),
        thousands(bytes),
        String::new(),
        thousands(estimate),
        ratio(bytes, estimate),
    ]);
    table.to_string()
}

fn ratio(bytes: usize, estimate: usize) -> String {
    // Both are far below 2^52, where a double is exact.
    format!("{:.2}", bytes as f64 / estimate as f64)
}
