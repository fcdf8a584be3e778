//! Measures what the catalog promises: answers in the time of the answer and not of the table, little memory, no loss for
//! other traffic, no pause while it is built.
//!
//! `make bench-catalog`, or `cargo bench --bench catalog -- --help`.

mod answers;
mod foreign;
mod memory;
mod pages;
mod rebuild;
#[path = "../support/mod.rs"]
mod support;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use answers::Side;
use support::data::{Data, Writing};
use support::link::Link;
use support::numbers::thousands;
use support::report::{machine, Report};
use support::servers::Server;
use support::{say, Outcome};

/// The table whose answers a large one has to match.
const SMALL: usize = 1000;

/// Measures the catalog of the module against its targets, on servers that it starts itself.
///
/// A target that is missed does not make it fail; a wrong answer does. REDIS_SERVER names the server, MIROIR_MODULE the
/// module.
#[derive(Parser)]
struct Options {
    /// How many tasks the large table holds
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=50_000_000))]
    rows: u32,
    /// How many interleaved rounds each figure is the median of
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many times servers are started anew for the traffic on foreign keys
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    sets: u32,
    /// How many times the catalog is rebuilt
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rebuilds: u32,
    /// Only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// How the tasks are written to the server with the module
    #[arg(long, value_enum, default_value = "raw")]
    load: Writing,
    /// Write the tables to docs/catalog-benchmark.md as well
    #[arg(long)]
    write: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The time of MIROIR.LIST
    List,
    /// The time of MIROIR.COUNT
    Count,
    /// The time of MIROIR.MEMORY, and what the catalog weighs
    Memory,
    /// What other traffic loses
    Foreign,
    /// The pauses while the catalog is built
    Rebuild,
}

impl Options {
    fn wants(&self, parts: &[Part]) -> bool {
        self.only.is_empty() || parts.iter().any(|part| self.only.contains(part))
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "bench-catalog: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let machine = machine(&mut Link::open(Server::bare(&[]).port())?)?;
    say(&machine)?;
    let preface = format!("{machine} {}", support::data::DESCRIPTION);
    let mut report = Report::new("The catalog's benchmark", "make bench-catalog", preface);
    let rounds = options.rounds as usize;

    let data = Data::new(options.rows as usize);
    let mut with_module = None;
    if options.wants(&[Part::List, Part::Count, Part::Memory]) {
        let (server, used) = loaded(&data, options.load, Server::start, "Loading, with the module")?;
        let few = Data::new(SMALL);
        let (small, _) = loaded(&few, options.load, Server::start, "Loading the small table")?;
        let mut sides = [Side::new(&small, &few)?, Side::new(&server, &data)?];
        if options.wants(&[Part::List]) {
            report.add(answers::list(&mut sides, rounds)?)?;
        }
        if options.wants(&[Part::Count]) {
            report.add(answers::count(&mut sides, rounds)?)?;
        }
        if options.wants(&[Part::Memory]) {
            report.add(answers::memory(&mut sides, rounds)?)?;
            with_module = Some(memory::WithModule::look(&mut Link::open(server.port())?, used)?);
        }
    }
    if options.wants(&[Part::Foreign]) {
        let (section, by_command) = foreign::measure(&data, rounds, options.sets as usize)?;
        report.add(section)?;
        report.add(by_command)?;
    }
    if options.wants(&[Part::Memory, Part::Rebuild]) {
        let (server, without) =
            loaded(&data, Writing::Raw, || Server::bare(&[]), "Loading, without the module")?;
        let wants_pauses = options.wants(&[Part::Rebuild]);
        let times = if wants_pauses { options.rebuilds as usize } else { 1 };
        let rebuilds = rebuild::measure(&server, &data, times)?;
        if let (Some(with_module), Some(first)) = (with_module, rebuilds.first()) {
            report.add(memory::section(&data, &with_module, without, first))?;
        }
        if wants_pauses {
            report.add(rebuild::section(&data, &rebuilds))?;
        }
    }
    if options.write {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/catalog-benchmark.md");
        report.write(&path)?;
        say("\nWritten to docs/catalog-benchmark.md.")?;
    }
    Ok(())
}

/// A server with these data, and what it has allocated once it has come to rest.
fn loaded(
    data: &Data,
    writing: Writing,
    start: impl FnOnce() -> Server,
    title: &str,
) -> Outcome<(Server, u64)> {
    let server = start();
    let took = data.load(server.port(), writing, title)?;
    say(&format!("{title}: {} tasks in {:.1} s.", thousands(data.len()), took.as_secs_f64()))?;
    let used = memory::settled(&mut Link::open(server.port())?)?;
    Ok((server, used))
}
