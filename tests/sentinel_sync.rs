//! A master that dies while one of its replicas gets all data anew, with clients at work in two databases.
//!
//! `MIROIR_FAILOVERS` says how often it dies.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "sentinel/judgement.rs"]
mod judgement;
#[path = "load/mod.rs"]
mod load;
#[path = "sentinel/rounds.rs"]
mod rounds;
#[path = "sentinel/store.rs"]
mod store;
mod support;

use std::sync::atomic::Ordering::SeqCst;

use load::{wait_until, Curtain, World};
use rounds::{survive, work, ENOUGH};
use store::Store;
use support::{Client, Server};

const DATABASES: &[u8] = &[0, 3];
/// How long clients rest after each step, in ms: both databases are judged, and that takes its time.
const REST_MS: u64 = 40;
/// How much clients have to be told in each of them.
const SOME: usize = ENOUGH / 2;
/// How much a replica misses: more than its master keeps for those who come back.
const MISSED: i64 = 100_000;
/// How long the master takes to send everything, in microseconds.
const SENDING: i64 = 6_000_000;

/// Lets a replica lose its master for so long that it needs all data anew, and waits until it gets them.
fn begin_synchronisation(master: &Server, replica: &Server, load: &str) {
    let (mut sender, mut receiver) = (master.client(), replica.client());
    let offset = |client: &mut Client| client.figure("replication", "master_repl_offset");
    sender.succeed("CONFIG SET repl-backlog-size 1");
    // It cannot come back before.
    receiver.run(&[
        &format!("CONFIG SET repl-diskless-load {load}"),
        // So that it answers meanwhile.
        "CONFIG SET loading-process-events-interval-bytes 1024",
        "CONFIG SET masterauth wrong",
        "CONFIG SET masteruser nobody",
        "CLIENT KILL TYPE master",
    ]);
    let before = offset(&mut sender);
    sender.wait_for("INFO replication", |info| {
        support::figure(info, "master_repl_offset") > Some(before + MISSED)
    });
    let keys: i64 = DATABASES.iter().map(|database| master.client_of(*database).integer("DBSIZE")).sum();
    sender.succeed(&format!("CONFIG SET rdb-key-save-delay {}", SENDING / keys));
    receiver.run(&["CONFIG SET masterauth ''", "CONFIG SET masteruser ''"]);
    receiver.wait_for("INFO replication", |info| info.contains("master_sync_in_progress:1"));
    if load == "swapdb" {
        receiver.wait_for("INFO persistence", |info| info.contains("async_loading:1"));
    }
}

fn fail_over(store: &mut Store, worlds: &[World], round: usize) -> usize {
    let master = store.master().unwrap();
    let finders: Vec<_> = DATABASES.iter().map(|database| store.impatient_finder(*database)).collect();
    std::thread::scope(|scope| {
        let _curtains: Vec<_> = worlds.iter().map(Curtain).collect();
        for (world, find) in worlds.iter().zip(&finders) {
            world.rest.store(REST_MS, SeqCst);
            work(scope, world, round, |_| find);
        }
        let history = store.history(master);
        let told = |history: &str| worlds.iter().map(|world| world.told_by(history)).min().unwrap();
        wait_until("enough work before", || told(&history) > SOME);

        let replica = (master + 1) % store.nodes.len();
        let load = ["swapdb", "disabled"][round % 2];
        begin_synchronisation(&store.nodes[master], &store.nodes[replica], load);
        store.nodes[master].kill();
        let successor = store.wait_for_successor(master);
        println!(
            "the replica {} be the next master",
            if successor == replica { "is to" } else { "is not to" }
        );
        let history = store.history(successor);
        wait_until("enough work after", || told(&history) > SOME);
        store.start_again(master, successor);
        assert_eq!(store.wait_until_whole(), successor);
        let so_far = told(&history);
        wait_until("enough work at last", || told(&history) > so_far + SOME / 3);
        successor
    })
}

#[test]
fn when_the_master_dies_while_a_replica_gets_all_data_its_successor_goes_on_in_all_databases() {
    survive(&mut Store::start(), DATABASES, fail_over);
}
