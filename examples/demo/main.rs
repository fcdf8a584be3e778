//! Loads the workload of a typical production deployment into a running server and shows what it weighs there.
//!
//! `make demo [PORT=…]`, or `cargo run --example demo -- --help`.

mod numbers;
mod report;
mod server;
mod workload;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use numbers::thousands;
use server::Server;
use workload::Part;

/// Loads the reference workload of Miroir's task store into a running server with the module, and measures it.
///
/// Rows of an earlier run are replaced. A namespace that holds anything else is left alone.
#[derive(Parser)]
struct Options {
    /// The port of the server
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// The address of the server
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// What the keys begin with
    #[arg(long, default_value = "miroir")]
    namespace: String,
}

/// The one line that a failure prints.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let mut server = Server::connect(&options.host, options.port)?;
    let namespace = &options.namespace;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| format!("the clock: {error}"))?;
    let parts = workload::parts(namespace, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));

    make_room(&mut server, namespace, &parts)?;
    let before = server.used_memory()?;

    say(&format!("Loading the reference workload into namespace {namespace} of {}.", server.address()))?;
    let start = Instant::now();
    for part in &parts {
        load(&mut server, part)?;
    }
    let commands: usize = parts.iter().map(Part::commands).sum();
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("{} commands in {seconds:.1} s.\n", thousands(commands)))?;

    let measured = report::measure(&mut server, namespace)?;
    say(&report::table(&measured))?;
    say(report::LEGEND)?;
    let used = server.used_memory()?;
    say(&format!(
        "used_memory of the whole server: {} bytes, {} before the load.",
        thousands(used),
        thousands(before)
    ))
}

/// Removes the rows of an earlier run.
///
/// They are known by their keys, which are the same in every run. But keys such as `search_ui_config:products` may well be
/// those of a real deployment: so the first task has to be there, too, whose random id no deployment has, and nothing else
/// may be there.
fn make_room(server: &mut Server, namespace: &str, parts: &[Part]) -> Outcome<()> {
    let keys: Vec<&str> = parts.iter().flat_map(Part::keys).collect();
    let known = server.count_existing(&keys)?;
    let rows = server.rows(namespace)?;
    if rows == 0 {
        return Ok(());
    }
    let is_ours = match keys.first() {
        Some(first) => server.count_existing(&[*first])? == 1,
        None => false,
    };
    if !is_ours || rows > known {
        return Err(format!(
            "namespace {namespace} holds {} rows, not all of an earlier run: choose another one with --namespace",
            thousands(rows)
        ));
    }
    say(&format!("Removing the {} rows of an earlier run.", thousands(rows)))?;
    // The first part holds the task that proves whose rows these are: it goes last.
    for part in parts.iter().rev() {
        server.run(&part.removal(), |_| {})?;
    }
    Ok(())
}

/// Loads one part. Shows a bar on a terminal, and elsewhere a line at its end.
fn load(server: &mut Server, part: &Part) -> Outcome<()> {
    let bar = ProgressBar::new(u64::try_from(part.rows.len()).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{msg:18} {wide_bar} {human_pos:>6}/{human_len:6}") {
        bar.set_style(style);
    }
    bar.set_message(part.title);
    server.run(part.rows.iter().flat_map(|row| &row.commands), |done| {
        bar.set_position(u64::try_from(part.rows_after(done)).unwrap_or(u64::MAX));
    })?;
    if bar.is_hidden() {
        return say(&format!("{:18} {:>6}", part.title, thousands(part.rows.len())));
    }
    bar.finish();
    Ok(())
}

fn say(text: &str) -> Outcome<()> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("cannot write the output: {error}"))
}
