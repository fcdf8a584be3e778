//! Measures the module beside what its users would pick instead: today's sequences of raw commands, Lua scripts, functions;
//! and beside the bare commands that each operation amounts to.
//!
//! `make bench`, or `cargo bench --bench compare -- --help`.

mod contest;
mod offered;
mod operations;
mod page;
mod pages;
mod plots;
mod settings;
mod sides;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod words;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use contest::{Figures, Measure};
use offered::Load;
use operations::{Operation, OPERATIONS};
use settings::{Kind, Setting};
use stage::{Durability, Stage};
use support::cores::Cores;
use support::link::Link;
use support::numbers::thousands;
use support::report::{machine, Report, Section};
use support::servers::Server;
use support::{bar, say, Outcome};

/// How long the connections of the load test send.
const LOAD: Duration = Duration::from_secs(30);

/// Measures the operations of the module against client-side commands, Lua scripts, functions and native commands, on
/// servers that it starts itself.
///
/// A target that is missed does not make it fail; a wrong answer does. REDIS_SERVER names the server, MIROIR_MODULE the
/// module.
#[derive(Parser)]
struct Options {
    /// How many rows the tables hold; may be repeated [default: 1000 and 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=50_000_000))]
    rows: Vec<u32>,
    /// Only this operation; may be repeated
    #[arg(long, value_parser = names())]
    only: Vec<String>,
    /// Only this setting; may be repeated
    #[arg(long, value_enum)]
    setting: Vec<Kind>,
    /// How many groups of interleaved rounds each figure is the median of [default: 12, quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    groups: Option<u32>,
    /// Short rounds, few of them, and only 1,000 rows: to see whether it works
    #[arg(long)]
    quick: bool,
    /// Measure everything with an append-only file, flushed every second
    #[arg(long)]
    aof: bool,
    /// Measure everything with a replica
    #[arg(long)]
    replica: bool,
    /// Write the tables to docs/benchmarks.md as well, and the pictures beside it
    #[arg(long)]
    write: bool,
    /// Where to write instead of docs
    #[arg(long, requires = "write")]
    directory: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn all_operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.into_iter().chain([&pages::LIST, &pages::MEMORY])
}

fn names() -> clap::builder::PossibleValuesParser {
    all_operations().map(|operation| operation.name).collect::<Vec<_>>().into()
}

impl Options {
    fn wants(&self, operation: &Operation) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == operation.name)
    }

    fn wants_setting(&self, kind: Kind) -> bool {
        self.setting.is_empty() || self.setting.contains(&kind)
    }

    fn durability(&self) -> Durability {
        Durability { aof: self.aof, replica: self.replica }
    }

    /// The setting with the most operations: who can serve it can serve all.
    fn widest(&self) -> Setting {
        Kind::Pipelined.setting(self.quick)
    }

    fn groups(&self) -> usize {
        self.groups.unwrap_or(if self.quick { 3 } else { 12 }) as usize
    }

    fn scales(&self) -> Vec<usize> {
        match (self.rows.as_slice(), self.quick) {
            ([], true) => vec![1000],
            ([], false) => vec![1000, 100_000],
            (rows, _) => rows.iter().map(|&rows| rows as usize).collect(),
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let start = Instant::now();
    let machine = machine(&mut Link::open(Server::bare(&[]).port())?)?;
    say(&machine)?;
    let cores = Cores::apart();
    let mut figures = Vec::new();
    if options.wants_setting(Kind::Single) || options.wants_setting(Kind::Pipelined) {
        compare(options, cores.as_ref(), &mut figures)?;
    }
    if options.wants_setting(Kind::Durable) {
        compare_durable(options, cores.as_ref(), &mut figures)?;
    }
    let mut load = None;
    if options.wants_setting(Kind::Thousand) && options.only.is_empty() {
        let rows = options.scales().into_iter().max().unwrap_or(1);
        let stage = Stage::set(rows, &options.widest(), options.durability(), cores.as_ref())?;
        let length = if options.quick { LOAD / 6 } else { LOAD };
        let all = offered::measure(&stage, length)?;
        load = Some((offered::section(&all, &stage), all));
    }
    let place =
        |figures: &Figures| all_operations().position(|operation| operation.name == figures.operation.name);
    figures.sort_by_key(|figures| (place(figures), figures.rows));
    let preface = preface(options, &machine, cores.is_some(), start.elapsed());
    report(options, preface, &figures, load)
}

/// All operations with 1 connection and with 16.
fn compare(options: &Options, cores: Option<&Cores>, figures: &mut Vec<Figures>) -> Outcome<()> {
    let kinds = [Kind::Single, Kind::Pipelined].into_iter().filter(|&kind| options.wants_setting(kind));
    let settings: Vec<Setting> = kinds.map(|kind| kind.setting(options.quick)).collect();
    let durability = options.durability();
    let mut scales: Vec<Option<usize>> = options.scales().into_iter().map(Some).collect();
    // Operations that do not depend on the tables have none.
    scales.insert(0, None);
    for scale in scales {
        let wanted = |operation: &Operation| operation.grows == scale.is_some() && options.wants(operation);
        if !all_operations().any(wanted) {
            continue;
        }
        let stage = Stage::set(scale.unwrap_or(0), &options.widest(), durability, cores)?;
        if options.wants_setting(Kind::Single) {
            for operation in [&pages::LIST, &pages::MEMORY].into_iter().filter(|operation| wanted(operation))
            {
                let bar = bar(operation.title, options.groups());
                figures.push(told(pages::measure(operation, &stage, options.groups(), &bar)?)?);
                bar.finish_and_clear();
            }
        }
        for operation in OPERATIONS.into_iter().filter(|operation| wanted(operation)) {
            for setting in &settings {
                figures.push(contest(operation, setting, &stage, durability, options)?);
            }
        }
    }
    Ok(())
}

/// Some operations with whatever keeps their writes.
fn compare_durable(options: &Options, cores: Option<&Cores>, figures: &mut Vec<Figures>) -> Outcome<()> {
    let setting = Kind::Durable.setting(options.quick);
    let wanted = |operation: &&Operation| operation.durable && options.wants(operation);
    let mut operations: Vec<&'static Operation> = OPERATIONS.into_iter().filter(wanted).collect();
    // The others empty the servers.
    operations.sort_by_key(|operation| !operation.grows);
    if operations.is_empty() {
        return Ok(());
    }
    let rows = options.scales().into_iter().min().unwrap_or(1);
    for (aof, replica) in [(true, false), (false, true), (true, true)] {
        let durability = Durability { aof, replica };
        let stage = Stage::set(rows, &setting, durability, cores)?;
        for operation in &operations {
            figures.push(contest(operation, &setting, &stage, durability, options)?);
        }
    }
    Ok(())
}

fn contest(
    operation: &'static Operation,
    setting: &Setting,
    stage: &Stage,
    durability: Durability,
    options: &Options,
) -> Outcome<Figures> {
    let bar = bar(&format!("{}, {}", operation.title, setting.kind.title()), options.groups());
    let figures = contest::measure(operation, setting, stage, durability, options.groups(), &bar)?;
    bar.finish_and_clear();
    told(figures)
}

/// A line for those who wait.
fn told(figures: Figures) -> Outcome<Figures> {
    let ratios = sides::OTHERS.into_iter().filter(|&side| figures.has(side)).map(|side| {
        let [rate, cpu] = [Measure::Rate, Measure::Cpu].map(|measure| figures.ratio(side, measure).median);
        format!("{rate:.2} × {} (CPU {cpu:.2})", side.title())
    });
    let rows = figures.rows.map_or_else(String::new, |rows| format!(", {} rows", thousands(rows)));
    let ratios: Vec<String> = ratios.collect();
    say(&format!(
        "{}, {}, {}{rows}: {}",
        figures.operation.title,
        figures.kind.title(),
        figures.durability.title(),
        ratios.join(", ")
    ))?;
    Ok(figures)
}

fn preface(options: &Options, machine: &str, are_apart: bool, took: Duration) -> String {
    let pinned = if are_apart {
        "The servers have one core for themselves, the clients the others."
    } else {
        "Servers and clients share all cores."
    };
    let quick = if options.quick { " **A quick run: its figures mean little.**" } else { "" };
    let [single, pipelined] =
        [Kind::Single, Kind::Pipelined].map(|kind| kind.setting(options.quick).operations());
    format!(
        "{machine} {pinned} Unless said otherwise, writes go to {}. Each figure is the median of {} groups of two \
         interleaved rounds of every side, of {} operations with 1 connection and {} with 16; questions about whole tables \
         have fewer. {} The run took {} minutes.{quick}",
        options.durability().title(),
        options.groups(),
        thousands(single),
        thousands(pipelined),
        support::data::DESCRIPTION,
        took.as_secs().div_ceil(60),
    )
}

fn report(
    options: &Options,
    preface: String,
    figures: &[Figures],
    load: Option<(Section, Load)>,
) -> Outcome<()> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let directory = options.directory.clone().unwrap_or_else(default);
    let mut report = Report::new("Benchmarks", "make bench", preface);
    if !figures.is_empty() {
        report.add(targets::section(figures))?;
    }
    let picture = |section: &mut Section, name: &str, shows: &str, draw: &dyn Fn(&Path) -> Outcome<()>| {
        let file = format!("benchmarks-{name}.svg");
        section.picture(file.as_str(), shows);
        if options.write {
            draw(&directory.join(file))
        } else {
            Ok(())
        }
    };
    if let Some((mut section, all)) = load {
        picture(&mut section, "latency", "Latencies", &|path| plots::latencies(path, &all.latencies))?;
        report.add(section)?;
    }
    for (kind, name) in [(Kind::Pipelined, "pipelined"), (Kind::Single, "single"), (Kind::Durable, "durable")]
    {
        for (place, mut section) in page::of_setting(kind, figures).into_iter().enumerate() {
            if place == 0 && kind != Kind::Durable {
                picture(&mut section, name, "Ratios", &|path| plots::ratios(path, kind, figures))?;
            }
            report.add(section)?;
        }
    }
    if figures.iter().any(|figures| figures.operation.phases.is_empty()) {
        let mut section = page::tables(figures);
        picture(&mut section, "tables", "Times", &|path| plots::tables(path, figures))?;
        report.add(section)?;
    }
    let measured: Vec<&Operation> = all_operations()
        .filter(|operation| figures.iter().any(|figures| figures.operation.name == operation.name))
        .collect();
    if !measured.is_empty() {
        report.add(page::differences(&measured))?;
    }
    if options.write {
        let path = directory.join("benchmarks.md");
        report.write(&path)?;
        say(&format!("\nWritten to {}.", path.display()))?;
    }
    Ok(())
}
