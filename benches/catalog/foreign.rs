//! What traffic on keys of others loses by the module.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::support::cores::Cores;
use crate::support::data::{Data, Writing};
use crate::support::link::Link;
use crate::support::numbers::thousands;
use crate::support::report::{none, percent, quartiles, verdict_of, Section};
use crate::support::rounds::{interleaved, Spread};
use crate::support::servers::Server;
use crate::support::traffic::{Batch, Crowd, Script};
use crate::support::{bar, Outcome};

/// At most this part of the throughput may be lost.
const MOST_LOSS: f64 = 0.02;
/// How long one round lasts.
const ROUND: Duration = Duration::from_millis(50);
/// The noise is much larger than in the other parts: so many times their rounds.
const MORE_ROUNDS: usize = 4;
/// How many tasks the servers hold: enough for a catalog that is looked after, few enough to start servers often.
const TASKS: usize = 100_000;
/// How many keys the traffic is on.
const KEYS: u32 = 10_000;
/// How many batches a connection has to send.
const BATCHES: usize = 200;

/// The commands of others.
#[derive(Clone, Copy)]
enum Verb {
    Set,
    Get,
    Hset,
}

const MIXED: &[Verb] = &[Verb::Set, Verb::Get, Verb::Hset];

/// One kind of load.
struct Load {
    title: &'static str,
    connections: u64,
    pipeline: usize,
    verbs: &'static [Verb],
}

const fn load(title: &'static str, connections: u64, pipeline: usize, verbs: &'static [Verb]) -> Load {
    Load { title, connections, pipeline, verbs }
}

/// The first three are those with a target, the others show which command a loss comes from.
const LOADS: [Load; 6] = [
    load("SET, GET, HSET; 1 connection", 1, 1, MIXED),
    load("SET, GET, HSET; 16 connections", 16, 1, MIXED),
    load("SET, GET, HSET; 16 connections, pipelines of 32", 16, 32, MIXED),
    load("SET; 16 connections, pipelines of 32", 16, 32, &[Verb::Set]),
    load("GET; 16 connections, pipelines of 32", 16, 32, &[Verb::Get]),
    load("HSET; 16 connections, pipelines of 32", 16, 32, &[Verb::Hset]),
];

impl Load {
    fn script(&self) -> Script {
        let batches = |connection| {
            let mut rng = Rng::with_seed(connection);
            (0..BATCHES).map(|_| self.batch(&mut rng)).collect()
        };
        Arc::new((0..self.connections).map(batches).collect())
    }

    fn batch(&self, rng: &mut Rng) -> Batch {
        let mut pipeline = redis::Pipeline::with_capacity(self.pipeline);
        for _ in 0..self.pipeline {
            let number = rng.u32(..KEYS);
            let value = format!("{:0100x}", rng.u64(..));
            match self.verbs[rng.usize(..self.verbs.len())] {
                Verb::Set => pipeline.cmd("SET").arg(format!("app:cache:{number}")).arg(value),
                Verb::Get => pipeline.cmd("GET").arg(format!("app:cache:{number}")),
                Verb::Hset => {
                    let field = format!("field-{}", number % 5);
                    pipeline.cmd("HSET").arg(format!("app:user:{number}")).arg(field).arg(&value[60..])
                }
            };
        }
        Batch { packed: pipeline.get_packed_pipeline(), commands: self.pipeline }
    }
}

/// What the rounds of one load came to: for each side the operations a second and the CPU time of one in µs.
#[derive(Default)]
struct Figures {
    groups: Vec<[[f64; 2]; 3]>,
}

/// The sides. The second server without the module shows how much two equal servers differ.
const WITH: usize = 0;
const WITHOUT: usize = 1;
const CONTROL: usize = 2;

impl Figures {
    fn of(&self, side: usize, figure: usize) -> Spread {
        Spread::of(self.groups.iter().map(|group| group[side][figure]))
    }

    /// By which part the throughput of a side is less than without the module.
    fn loss(&self, side: usize) -> Spread {
        Spread::of(self.groups.iter().map(|group| 1.0 - group[side][0] / group[WITHOUT][0]))
    }

    /// By which part the CPU time of a side is more than without the module.
    fn extra(&self, side: usize) -> Spread {
        Spread::of(self.groups.iter().map(|group| group[side][1] / group[WITHOUT][1] - 1.0))
    }
}

/// Measures all loads: throughput, and the CPU time of the server.
pub fn measure(data: &Data, rounds: usize, sets: usize) -> Outcome<(Section, Section)> {
    let each = (rounds * MORE_ROUNDS).div_ceil(sets);
    let bar = bar("Foreign keys", sets * each * LOADS.len());
    let scripts = LOADS.each_ref().map(Load::script);
    let cores = Cores::apart();
    let mut all: [Figures; LOADS.len()] = Default::default();
    // Two equal servers may differ by a percent for as long as they live, as their memory lies differently: so there are
    // several sets of them.
    for set in 0..sets {
        let servers = start(data, set)?;
        if let Some(cores) = &cores {
            for server in &servers {
                cores.confine(server.port())?;
            }
        }
        for (script, figures) in scripts.iter().zip(&mut all) {
            let groups = compare(&servers, script, each, &bar)?;
            figures.groups.extend(groups);
        }
    }
    bar.finish_and_clear();
    Ok(sections(&all, sets, TASKS.min(data.len()), cores))
}

/// Servers by side. They start in another order each time, lest a place in it be of use.
fn start(data: &Data, set: usize) -> Outcome<Vec<Server>> {
    let mut servers: Vec<(usize, Server)> = Vec::new();
    for place in 0..3 {
        let side = (place + set) % 3;
        let server = if side == WITH { Server::start() } else { Server::bare(&[]) };
        let mut link = Link::open(server.port())?;
        data.load_some(&mut link, Writing::Raw, TASKS, |_| ())?;
        servers.push((side, server));
    }
    servers.sort_by_key(|(side, _)| *side);
    Ok(servers.into_iter().map(|(_, server)| server).collect())
}

fn compare(
    servers: &[Server],
    script: &Script,
    groups: usize,
    bar: &indicatif::ProgressBar,
) -> Outcome<Vec<[[f64; 2]; 3]>> {
    let mut sides = Vec::new();
    for server in servers {
        let mut crowd = Crowd::gather(server.port(), script.len())?;
        // The first round creates the keys and is not like the others.
        crowd.run(script, ROUND)?;
        sides.push((crowd, Link::open(server.port())?));
    }
    let figures = interleaved(sides.len(), groups, bar, |side| {
        let (crowd, link) = &mut sides[side];
        let before = link.cpu_seconds()?;
        let (count, took) = crowd.run(script, ROUND)?;
        let cpu = link.cpu_seconds()? - before;
        Ok([count as f64 / took.as_secs_f64(), cpu * 1e6 / count as f64])
    })?;
    Ok((0..groups).map(|group| [WITH, WITHOUT, CONTROL].map(|side| figures[side][group])).collect())
}

fn sections(all: &[Figures], sets: usize, tasks: usize, cores: Option<Cores>) -> (Section, Section) {
    let pinned = match cores {
        Some(_) => "The servers have one core for themselves, the clients the others.",
        None => "Servers and clients share all cores.",
    };
    let columns =
        ["Throughput", "Without, ops/s", "With, ops/s", "Loss", "Quartiles", "Two equal servers", "≤ 2 %"];
    let mut throughput = Section::new("Foreign keys: throughput", &columns);
    let columns = ["CPU time of one", "Without", "With", "More", "Quartiles", "Two equal servers", "≤ 2 %"];
    let mut cpu = Section::new("Foreign keys: CPU time of the server", &columns);
    let targets = LOADS.iter().map(|load| load.verbs.len() > 1);
    for ((load, figures), has_target) in LOADS.iter().zip(all).zip(targets) {
        let judged = |spread| if has_target { verdict_of(spread, MOST_LOSS) } else { none() };
        let [loss, control] = [WITH, CONTROL].map(|side| figures.loss(side));
        throughput.row([
            load.title.to_owned(),
            thousands(figures.of(WITHOUT, 0).median as u64),
            thousands(figures.of(WITH, 0).median as u64),
            with_error(loss),
            quartiles(loss, percent),
            with_error(control),
            judged(loss),
        ]);
        let [extra, control] = [WITH, CONTROL].map(|side| figures.extra(side));
        let precise = |figure: f64| format!("{figure:.3} µs");
        cpu.row([
            load.title.to_owned(),
            precise(figures.of(WITHOUT, 1).median),
            precise(figures.of(WITH, 1).median),
            with_error(extra),
            quartiles(extra, percent),
            with_error(control),
            judged(extra),
        ]);
    }
    let rounds = all.first().map_or(0, |figures| figures.groups.len());
    throughput.note(format!(
        "Medians and quartiles of {rounds} interleaved rounds on {sets} sets of three new servers, each with {} tasks: one with the \
         module, two without. What the two equal ones differ by is noise. ± is the 95 % confidence of the median. {pinned}",
        thousands(tasks)
    ));
    cpu.note(format!(
        "The CPU time of the server's main thread, from INFO, over the operations, of the same rounds. It has no target \
         of its own: that of the throughput is applied. A round lasts {} ms.",
        ROUND.as_millis()
    ));
    (throughput, cpu)
}

fn with_error(spread: Spread) -> String {
    format!("{} ± {:.2}", percent(spread.median), spread.error * 100.0)
}
