//! What the benchmarks share: servers, their data, connections, load, interleaved rounds, reports.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod cores;
pub mod data;
pub mod link;
/// The numbers as the demonstration shows them.
#[path = "../../examples/demo/numbers.rs"]
pub mod numbers;
pub mod report;
pub mod rounds;
/// The servers that the tests use as well: their own port and directory, gone when they are dropped.
#[path = "../../tests/support/mod.rs"]
pub mod servers;
pub mod traffic;

use std::io::{self, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

/// The one line that a failure prints.
pub type Outcome<T> = Result<T, String>;

/// A bar on a terminal; nothing elsewhere.
pub fn bar(title: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    if let Ok(style) =
        ProgressStyle::with_template("{msg:40} {wide_bar} {human_pos:>9}/{human_len:9} {eta:>4}")
    {
        bar.set_style(style);
    }
    bar.set_message(title.to_owned());
    bar
}

/// Prints a line.
pub fn say(text: &str) -> Outcome<()> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("cannot write the output: {error}"))
}
