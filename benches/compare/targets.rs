//! What is to be reached.

use crate::contest::{Figures, Measure};
use crate::operations::Operation;
use crate::settings::Kind;
use crate::sides::Side;
use crate::stage::Durability;
use crate::support::numbers::thousands;
use crate::support::report::{none, quartiles, verdict_at_least, Section};

/// How many times as fast as another side the module has to be.
struct Target {
    operation: &'static str,
    against: Side,
    least: f64,
}

const fn target(operation: &'static str, against: Side, least: f64) -> Target {
    Target { operation, against, least }
}

/// With 16 connections and pipelines of 32.
const PIPELINED: [Target; 15] = [
    target("insert", Side::Native, 0.75),
    target("insert", Side::Lua, 1.4),
    target("get", Side::Native, 0.8),
    target("lease", Side::Native, 0.75),
    target("lease", Side::Lua, 1.5),
    target("limit", Side::Native, 0.7),
    target("limit", Side::Lua, 1.5),
    target("push", Side::Native, 0.7),
    target("push", Side::Lua, 1.5),
    target("push-full", Side::Native, 0.7),
    target("push-full", Side::Lua, 1.5),
    target("canary", Side::Native, 0.75),
    target("canary", Side::Lua, 1.4),
    target("job", Side::Lua, 1.4),
    // A page is asked for by itself: its figures are those of a single connection.
    target("list", Side::Client, 1000.0),
];
/// The page is one of so many rows.
const LISTED_ROWS: usize = 100_000;
/// With 1 connection the module has to be this much of the ratio of round trips, where clients need more than it does.
const OF_TRIPS: f64 = 0.7;

/// What the module has to reach against clients where it saves them round trips, or nothing else.
fn by_trips(operation: &Operation) -> f64 {
    let (client, module) = operation.trips();
    let saved = client as f64 / module as f64;
    if client > module {
        saved * OF_TRIPS
    } else {
        1.0
    }
}

/// The targets that apply to these figures.
fn of(figures: &Figures) -> Vec<(Side, f64)> {
    let Figures { operation, kind, rows, durability, .. } = figures;
    if *durability != Durability::default() {
        return Vec::new();
    }
    let is_list = operation.name == "list";
    let has_table = *kind == Kind::Pipelined || is_list && *rows == Some(LISTED_ROWS);
    let listed = PIPELINED.iter().filter(|target| has_table && target.operation == operation.name);
    let mut all: Vec<(Side, f64)> = listed.map(|target| (target.against, target.least)).collect();
    if *kind == Kind::Single {
        all.push((Side::Client, by_trips(operation)));
    }
    all
}

/// All targets, with what was reached.
pub fn section(all: &[Figures]) -> Section {
    let columns =
        ["Operation", "Setting", "Rows", "Against", "At least", "Ratio", "Quartiles", "Decided by", ""];
    let mut section = Section::new("Targets", &columns);
    for figures in all {
        for (against, least) in of(figures) {
            if !figures.has(against) {
                continue;
            }
            let measure = figures.measure(against);
            let ratio = figures.ratio(against, measure);
            section.row([
                figures.operation.title.to_owned(),
                figures.kind.title().to_owned(),
                figures.rows.map_or_else(none, thousands),
                against.title().to_owned(),
                format!("{least:.2}"),
                format!("{:.2}", ratio.median),
                quartiles(ratio, |ratio| format!("{ratio:.2}")),
                match measure {
                    Measure::Rate => "throughput",
                    Measure::Cpu => "CPU time",
                }
                .to_owned(),
                verdict_at_least(ratio, least),
            ]);
        }
    }
    section.note(
        "How many times as fast the module is: the ratio of the medians of one run, beside the quartiles of the ratios of its \
         groups. With 16 connections and pipelines of 32 a target is decided by throughput as long as the server's core is \
         at least 90 % busy on both sides; otherwise the clients were what held one of them up, and the CPU time of the \
         server's main thread decides. With 1 connection it is at least 1.00 where clients need as many round trips as the \
         module, and where they need n times as many, 0.7 n. The latencies of 1,000 connections stand with their targets in \
         their own table.",
    );
    section
}
