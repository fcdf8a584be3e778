//! What the catalog weighs: what it says itself, and what the allocator says of it.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use crate::rebuild::Rebuild;
use crate::support::data::{Data, ID_LENGTH, NAMESPACE};
use crate::support::link::Link;
use crate::support::numbers::thousands;
use crate::support::report::{none, verdict, Section};
use crate::support::Outcome;

/// How many bytes a task may take beyond its id.
const MOST_BYTES: f64 = 120.0;
/// How often used_memory has to stay as it is.
const STEADY: usize = 5;

/// What the server with the module says.
pub struct WithModule {
    used: u64,
    catalog: Option<u64>,
}

impl WithModule {
    /// Asks the server; `used` is its used_memory after the load.
    pub fn look(link: &mut Link, used: u64) -> Outcome<Self> {
        let weights: HashMap<String, HashMap<String, u64>> = link.ask(&["MIROIR.MEMORY", NAMESPACE])?;
        let catalog = weights.get("catalog").and_then(|catalog| catalog.get("bytes")).copied();
        Ok(Self { used, catalog })
    }
}

/// used_memory, once the server has come to rest: growing hash tables are moved between commands, and what a client's
/// buffers took is given back after a while.
pub fn settled(link: &mut Link) -> Outcome<u64> {
    let (mut last, mut steady) = (link.used_memory()?, 0);
    for _ in 0..100 {
        sleep(Duration::from_millis(100));
        let now = link.used_memory()?;
        // A few kB come and go all the time.
        steady = if now.abs_diff(last) < 4096 + last / 100_000 { steady + 1 } else { 0 };
        last = now;
        if steady == STEADY {
            break;
        }
    }
    Ok(last)
}

/// The three figures, beside each other.
pub fn section(data: &Data, with_module: &WithModule, without: u64, rebuild: &Rebuild) -> Section {
    let mut section = Section::new("Memory", &["The catalog", "Bytes", "A task, beyond its id", "≤ 120"]);
    let rows = data.len() as f64;
    let mut row = |title: &str, bytes: Option<f64>| match bytes {
        Some(bytes) => {
            let each = bytes / rows - ID_LENGTH as f64;
            let sign = if bytes < 0.0 { "-" } else { "" };
            let whole = format!("{sign}{}", thousands(bytes.abs() as u64));
            // Less than the ids alone is no catalog.
            let verdict = if each < 0.0 { none() } else { verdict(each, MOST_BYTES) };
            section.row([title.to_owned(), whole, format!("{each:.1}"), verdict]);
        }
        None => section.row([title.to_owned(), none(), none(), none()]),
    };
    row("as MIROIR.MEMORY says", with_module.catalog.map(|bytes| bytes as f64));
    let difference = |more: u64, less: u64| Some(more as f64 - less as f64);
    row("used_memory, with the module less without it", difference(with_module.used, without));
    row("used_memory, after MODULE LOAD less before", difference(rebuild.used_after, rebuild.used_before));
    section.note("used_memory counts everything that the module keeps, and what the allocator rounds up.");
    section
}
