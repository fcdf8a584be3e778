//! Slots that move from master to master, again and again, while clients write in them: what was acknowledged is there
//! afterwards, once, and no master knows of what it has no longer.
//!
//! `MIROIR_RESHARD_MOVES` says how often a slot moves, `MIROIR_RESHARD_SEED` which one, and what the clients do.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
mod cluster_load;
#[path = "load/mod.rs"]
mod load;
mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use cluster_load::{assert_knows_all, while_written, Cluster};
use fastrand::Rng;
use load::facts::Fact;
use load::{Link, World};
use support::cluster::{addresses, move_slot, Router};
use support::guided::Guided;
use support::{variable, Client};

const MOVES: u64 = 15;
/// Two on each master in the beginning.
const NAMESPACES: &[&str] = &["{a}", "{b}", "{c}", "{d}", "{f}", "{g}"];
/// How many write in each namespace.
const CLIENTS: usize = 2;

/// That no event was counted twice or left out: whoever pushed one was told, as every command was answered.
fn assert_events_are_counted(client: &mut Client, namespace: &str, world: &World) {
    let told = world.facts().iter().filter(|fact| matches!(fact, Fact::Event { .. })).count();
    let stat: std::collections::BTreeMap<String, i64> =
        client.read(&format!("MIROIR.CDC.STAT {namespace}:cdc:overflow:kafka"));
    assert_eq!(stat["last_seq"], i64::try_from(told).unwrap(), "{namespace}: {stat:?}");
    assert_eq!(stat["acked"] + stat["length"], stat["last_seq"], "{namespace}: {stat:?}");
    assert_eq!(stat["dropped"], 0, "{namespace}: {stat:?}");
}

#[test]
fn what_was_acknowledged_while_slots_moved_is_there_and_nothing_is_left_behind() {
    let moves = variable("MIROIR_RESHARD_MOVES").unwrap_or(MOVES);
    let seed = variable("MIROIR_RESHARD_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("MIROIR_RESHARD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut cluster = Cluster::start(NAMESPACES);
    let worlds = cluster.worlds();
    let (ports, addresses) = (cluster.ports(), addresses(&cluster.nodes));
    // One that gives up soon what has to wait for a slot, and a client of the library, that waits for longer.
    let find = |number: usize| match number % 2 {
        0 => Some(Box::new(Guided::find(&ports, 6)?) as Link),
        _ => Some(Box::new(Router::at(&addresses, 100).connection) as Link),
    };
    let mut open = Duration::ZERO;
    while_written(&worlds, CLIENTS, 0, &mut random, find, |random| {
        for _ in 0..moves {
            pause(random, 200);
            let place = random.usize(..NAMESPACES.len());
            let (from, slot) = (cluster.stores[place].pair, cluster.stores[place].slot.to_string());
            let to = (from + random.usize(1..3)) % 3;
            let [source, target] = cluster.two_masters(from, to);
            let begin = Instant::now();
            move_slot(source, target, &slot, |_, _| pause(random, 6));
            open += begin.elapsed();
            cluster.stores[place].pair = to;
        }
        pause(random, 200);
    });
    cluster.settle();
    let mut told = 0;
    for (place, world) in worlds.iter().enumerate() {
        let namespace = NAMESPACES[place];
        let pair = cluster.stores[place].pair;
        let client = &mut cluster.master(pair).client;
        told += assert_knows_all(client, world, namespace);
        assert_events_are_counted(client, namespace, world);
    }
    cluster.assert_agrees("after all moves");
    let sum = |number: fn(&World) -> usize| worlds.iter().map(number).sum::<usize>();
    let [moved, asked, later] = ["MOVED", "ASK", "TRYAGAIN"].map(|code| cluster.told(code));
    println!(
        "{moves} moves, slots open for {open:?}; {} commands answered of {}, {told} facts; \
         {moved} MOVED, {asked} ASK, {later} TRYAGAIN",
        sum(|world| world.answered.load(SeqCst)),
        sum(|world| world.sent.load(SeqCst)),
    );
    assert!(moved > 0 && asked > 0 && later > 0, "nobody was in the way of the slots");
    assert_eq!(sum(|world| world.breaks.load(SeqCst)), 0, "every command was answered");
}

/// A moment in which the clients get on.
fn pause(random: &mut Rng, longest: u64) {
    std::thread::sleep(Duration::from_millis(random.u64(1..longest)));
}
