//! How long a client waits while the module builds its catalog of data that are there already.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::memory::settled;
use crate::support::data::{Data, TABLE_KEY};
use crate::support::link::{number, Link};
use crate::support::numbers::thousands;
use crate::support::report::{millis, none, percent, verdict, Section};
use crate::support::rounds::quantile;
use crate::support::servers::{self, Server};
use crate::support::{bar, Outcome};

/// The longest pause, in ms.
const MOST_PAUSE: f64 = 10.0;
/// How long the client pings before the module comes.
const LEAD: Duration = Duration::from_millis(50);
/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(10);
/// How long a rebuild may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// One MODULE LOAD on a server with data.
pub struct Rebuild {
    /// used_memory before.
    pub used_before: u64,
    /// used_memory when the catalog was ready.
    pub used_after: u64,
    /// How long the command took.
    load: Duration,
    /// How long it took until the catalog was ready; None if the module does not say.
    ready: Option<Duration>,
    progress: Vec<f64>,
    pings: Pings,
    idle: Pings,
}

/// How long pings took, in ms.
struct Pings {
    sorted: Vec<f64>,
}

impl Pings {
    fn longest(&self) -> f64 {
        quantile(&self.sorted, 1.0)
    }

    fn too_long(&self) -> usize {
        self.sorted.len() - self.sorted.partition_point(|time| *time <= MOST_PAUSE)
    }
}

/// Loads the module so many times, and removes it between them.
pub fn measure(server: &Server, data: &Data, times: usize) -> Outcome<Vec<Rebuild>> {
    let bar = bar("Rebuilds", times);
    let mut link = Link::open(server.port())?;
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        all.push(once(server, &mut link, data)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

fn once(server: &Server, link: &mut Link, data: &Data) -> Outcome<Rebuild> {
    let used_before = settled(link)?;
    let start = Instant::now();
    let (pings, (load, ready, progress)) = pinging(server.port(), || build(link))?;
    let whole = start.elapsed();
    let used_after = settled(link)?;
    let rows: usize = link.ask(&["MIROIR.COUNT", TABLE_KEY])?;
    if rows != data.len() {
        return Err(format!("wrong answer after the rebuild: {rows} tasks instead of {}", data.len()));
    }
    link.ask::<()>(&["MODULE", "UNLOAD", "miroir"])?;
    settled(link)?;
    // The same server without the module, for as long: what the machine itself does to a ping.
    let (idle, ()) = pinging(server.port(), || {
        thread::sleep(whole);
        Ok(())
    })?;
    Ok(Rebuild { used_before, used_after, load, ready, progress, pings, idle })
}

/// Loads the module and waits for its catalog.
fn build(link: &mut Link) -> Outcome<(Duration, Option<Duration>, Vec<f64>)> {
    let module = servers::module();
    thread::sleep(LEAD);
    let start = Instant::now();
    link.ask::<()>(&["MODULE", "LOAD", &module.to_string_lossy()])?;
    let load = start.elapsed();
    let mut progress = Vec::new();
    for look in 0.. {
        let info = link.info("miroir")?;
        let state = info.get("miroir_catalog_state");
        let is_ready = match state {
            Some(state) => {
                progress.push(number(&info, "miroir_catalog_progress_percent")?);
                state == "ready"
            }
            // A module that says nothing of a catalog answers when it can.
            None => link.answers(&["MIROIR.COUNT", TABLE_KEY])?,
        };
        if is_ready {
            let had_to_wait = state.is_some() || look > 0;
            return Ok((load, had_to_wait.then(|| start.elapsed()), progress));
        }
        if start.elapsed() > PATIENCE {
            break;
        }
        thread::sleep(LOOK);
    }
    Err(format!("the catalog is not ready after {PATIENCE:?}"))
}

/// Does something while a client pings without a break.
fn pinging<T>(port: u16, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Pings, T)> {
    let stop = AtomicBool::new(false);
    let mut link = Link::open(port)?;
    thread::scope(|scope| {
        let pinger = scope.spawn(|| {
            let packed = redis::cmd("PING").get_packed_command();
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                link.send(&packed, 1)?;
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            times.sort_by(f64::total_cmp);
            Ok(Pings { sorted: times })
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let pings = pinger.join().unwrap_or_else(|_| Err("the pinging thread panicked".to_owned()))?;
        Ok((pings, done?))
    })
}

/// The pauses of each rebuild.
pub fn section(data: &Data, rebuilds: &[Rebuild]) -> Section {
    let columns = [
        "Rebuild",
        "MODULE LOAD",
        "Ready after",
        "Progress seen",
        "Pings",
        "p99.9",
        "Over 10 ms",
        "Longest",
        "Idle: p99.9",
        "Over 10 ms",
        "Longest",
        "≤ 10 ms",
    ];
    let rows = thousands(data.len());
    let mut section = Section::new(format!("Rebuild of {rows} tasks on MODULE LOAD"), &columns);
    for (place, rebuild) in (1..).zip(rebuilds) {
        let Rebuild { load, ready, progress, pings, idle, .. } = rebuild;
        let shown = |time: Duration| millis(time.as_secs_f64() * 1000.0);
        section.row([
            format!("{place}"),
            shown(*load),
            ready.map_or_else(none, shown),
            seen(progress),
            thousands(pings.sorted.len()),
            millis(quantile(&pings.sorted, 0.999)),
            pings.too_long().to_string(),
            millis(pings.longest()),
            millis(quantile(&idle.sorted, 0.999)),
            idle.too_long().to_string(),
            millis(idle.longest()),
            judged(pings, idle),
        ]);
    }
    section.note(
        "One client pings all the time, from before MODULE LOAD until the catalog is ready; then, without the \
         module, for as long on the idle server: what is slow there is the machine.",
    );
    section
}

/// Where the idle server pauses as long, the figure says nothing of the module.
fn judged(pings: &Pings, idle: &Pings) -> String {
    let noise = pings.longest() > MOST_PAUSE && idle.longest() > MOST_PAUSE;
    let doubt = if noise { ", nor idle" } else { "" };
    format!("{}{doubt}", verdict(pings.longest(), MOST_PAUSE))
}

/// How many different values there were, and the first and the last of them.
fn seen(progress: &[f64]) -> String {
    let mut different = progress.to_vec();
    different.dedup();
    let is_rising = progress.is_sorted();
    match (different.first(), different.last()) {
        (Some(first), Some(last)) => {
            let order = if is_rising { "rising" } else { "not rising" };
            format!("{} values, {} to {}, {order}", different.len(), plain(*first), plain(*last))
        }
        _ => none(),
    }
}

fn plain(progress: f64) -> String {
    percent(progress / 100.0).trim_start_matches('+').to_owned()
}
