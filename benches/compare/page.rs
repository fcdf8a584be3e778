//! The tables of the report.

use crate::contest::{Figures, Measure};
use crate::operations::Operation;
use crate::settings::Kind;
use crate::sides::{Side, OTHERS, SIDES};
use crate::support::numbers::thousands;
use crate::support::report::{none, quartiles, Section};

/// The ratios of one setting, and behind them what they were made of.
pub fn of_setting(kind: Kind, all: &[Figures]) -> Vec<Section> {
    let is_of_table = |figures: &Figures| figures.operation.phases.is_empty();
    let all = all.iter().filter(|figures| figures.kind == kind && !is_of_table(figures));
    let all: Vec<&Figures> = all.collect();
    if all.is_empty() {
        return Vec::new();
    }
    let mut sections = vec![ratios(kind, &all, Measure::Rate)];
    if kind != Kind::Single {
        sections.push(ratios(kind, &all, Measure::Cpu));
    }
    sections.push(amounts(kind, &all));
    sections
}

/// What the figures of a row are about.
fn names(figures: &Figures) -> [String; 2] {
    let Figures { operation, rows, durability, kind, .. } = figures;
    let title = if *kind == Kind::Durable {
        format!("{}; {}", operation.title, durability.title())
    } else {
        operation.title.to_owned()
    };
    [title, rows.map_or_else(none, thousands)]
}

fn ratios(kind: Kind, all: &[&Figures], measure: Measure) -> Section {
    let (what, unit) = match (kind, measure) {
        (Kind::Single, _) => ("how many times as fast", "Module, time of one"),
        (_, Measure::Rate) => ("how many times as fast", "Module, ops/s"),
        (_, Measure::Cpu) => ("how many times the CPU time of the server", "Module, CPU time of one"),
    };
    let columns = ["Operation", "Rows", unit].into_iter().chain(OTHERS.map(Side::title));
    let columns: Vec<&str> = columns.collect();
    let mut section = Section::new(format!("{}: {what}", kind.title()), &columns);
    for figures in all {
        let module = match measure {
            Measure::Rate => amount(kind, figures.rate(Side::Module).median),
            Measure::Cpu => format!("{:.2} µs", figures.cpu(Side::Module).median),
        };
        let [client, lua, function, native] = OTHERS.map(|side| {
            if !figures.has(side) {
                return none();
            }
            let ratio = figures.ratio(side, measure);
            let show = |figure: f64| short(figure);
            format!("{} ({})", short(ratio.median), quartiles(ratio, show))
        });
        let [title, rows] = names(figures);
        section.row([title, rows, module, client, lua, function, native]);
    }
    section.note(match (kind, measure) {
        (Kind::Single, _) => "How many times as fast as each of the others the module is: ratios of medians, with the quartiles of \
                              the ratios of all groups. Every round trip of the clients is one.",
        (_, Measure::Rate) => "The same with the server's core as the bottleneck. Clients that need an answer before they can go on \
                               cannot send in a pipeline: there is no figure.",
        (_, Measure::Cpu) => "How many times as much CPU time each of the others takes on the server's main thread, by INFO, in the \
                              same rounds: what counts where the clients were slower than the server.",
    });
    section
}

/// Questions about a whole table.
pub fn tables(all: &[Figures]) -> Section {
    let columns = ["Question", "Rows"].into_iter().chain(SIDES.map(Side::title));
    let columns: Vec<&str> = columns.collect();
    let mut section = Section::new("Questions about a whole table: time of one", &columns);
    for figures in all.iter().filter(|figures| figures.operation.phases.is_empty()) {
        let cell = |side: Side| {
            if !figures.has(side) {
                return none();
            }
            let ratio = figures.ratio(side, Measure::Rate).median;
            let time = amount(Kind::Single, figures.rate(side).median);
            if side == Side::Module {
                time
            } else {
                format!("{time} (× {})", short(ratio))
            }
        };
        let [module, client, lua, function, native] = SIDES.map(cell);
        let [title, rows] = names(figures);
        section.row([title, rows, module, client, lua, function, native]);
    }
    section.note("With 1 connection; in parentheses how many times as fast the module is.");
    section
}

fn amounts(kind: Kind, all: &[&Figures]) -> Section {
    let what = if kind == Kind::Single { "time of one" } else { "operations a second" };
    let columns = ["Operation", "Rows"].into_iter().chain(SIDES.map(Side::title));
    let columns: Vec<&str> = columns.collect();
    let mut section = Section::new(format!("{}: {what}", kind.title()), &columns);
    for figures in all {
        let cell = |side: Side| {
            if !figures.has(side) {
                return none();
            }
            let rate = figures.rate(side).median;
            format!("{} ({:.0} %)", amount(kind, rate), 100.0 * figures.busy(side))
        };
        let [module, client, lua, function, native] = SIDES.map(cell);
        let [title, rows] = names(figures);
        section.row([title, rows, module, client, lua, function, native]);
    }
    section.note("Medians; in parentheses how busy the server's main thread was.");
    section
}

/// A rate, or with one connection the time that it leaves for one operation.
fn amount(kind: Kind, rate: f64) -> String {
    if kind == Kind::Single {
        let micros = 1e6 / rate;
        return if micros < 10_000.0 {
            format!("{micros:.1} µs")
        } else {
            format!("{:.1} ms", micros / 1e3)
        };
    }
    thousands(rate.round() as u64)
}

/// A ratio with as many digits as mean something.
fn short(ratio: f64) -> String {
    if ratio >= 100.0 {
        thousands(ratio.round() as u64)
    } else {
        format!("{ratio:.2}")
    }
}

/// What the sides of each operation do differently, and their round trips.
pub fn differences(operations: &[&Operation]) -> Section {
    let mut section = Section::new(
        "What is compared",
        &["Operation", "Round trips: module", "client-side", "What differs"],
    );
    section.text(3);
    for operation in operations {
        let (client, module) = operation.trips();
        let differs = if operation.differs.is_empty() { none() } else { operation.differs.to_owned() };
        section.row([operation.title.to_owned(), module.to_string(), client.to_string(), differs]);
    }
    section.note(
        "All do the same to the same keys, but for what the last column says. The module has a server of its own; the other four \
         share one without it. Their commands are packed before each round. Whatever a round has changed is put back before the \
         next, unmeasured. The scripts check and write what the module's command does, as far as a sensible author would have \
         them; the functions have the same source. The first answers of module, script and function are compared.",
    );
    section
}
