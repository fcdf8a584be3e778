//! Failovers by Sentinel while clients write: what a replica had got is there, nothing is half there, and numbers that
//! were given to somebody are not given again.
//!
//! `MIROIR_FAILOVERS` says how often each test loses its master.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "sentinel/judgement.rs"]
mod judgement;
#[path = "load/mod.rs"]
mod load;
#[path = "sentinel/store.rs"]
mod store;
mod support;

use std::time::{Duration, Instant};

use fastrand::Rng;
use judgement::Losses;
use load::clearing::clear;
use load::{wait_until, Asks, Curtain, Position, Told, Worker, World};
use store::Store;

/// How many clients there are. Every third asks for both replicas, every third for one of them.
const CLIENTS: usize = 9;
/// How much clients have to be told before and after the master changes.
const ENOUGH: usize = 1000;

fn failovers() -> usize {
    std::env::var("MIROIR_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What becomes of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9`.
    Dies,
    /// It is well and goes on to answer its clients, until the sentinels tell it that it has a successor.
    IsRelieved,
}

/// Lets clients work while the master is lost, comes back as a replica, and for a while before and after it. Answers
/// who is the master then.
fn fail_over(store: &mut Store, world: &World, round: usize, end: End) -> usize {
    let master = store.master().unwrap();
    let find = store.finder();
    std::thread::scope(|scope| {
        let _curtain = Curtain(world);
        for number in 0..CLIENTS {
            let asks = [Asks::Replicas(2), Asks::Replicas(1), Asks::Position][number % 3];
            let worker = Worker::new(world, number, round, Rng::new(), asks, &find);
            scope.spawn(move || worker.work());
        }
        let history = Position::read(&store.nodes[master].client().ask("INFO replication")).history;
        wait_until("enough work before", || world.told_by(&history) > ENOUGH);
        std::thread::sleep(Duration::from_millis(fastrand::u64(..200)));
        match end {
            End::Dies => store.nodes[master].kill(),
            End::IsRelieved => store.relieve(),
        }
        let lost = Instant::now();
        let successor = store.wait_for_successor(master);
        let announced = lost.elapsed();
        let history = Position::read(&store.nodes[successor].client().ask("INFO replication")).history;
        wait_until("a write on the new master", || world.told_by(&history) > 0);
        println!(
            "{end:?}: a new master after {announced:?}, the first write there after {:?}",
            lost.elapsed()
        );
        wait_until("enough work after", || world.told_by(&history) > ENOUGH);
        if end == End::Dies {
            store.start_again(master, successor);
        }
        assert_eq!(store.wait_until_whole(), successor);
        // And on with all of them.
        let so_far = world.told_by(&history);
        wait_until("enough work at last", || world.told_by(&history) > so_far + ENOUGH / 3);
        successor
    })
}

fn survives(end: End) {
    let mut store = Store::start();
    let (mut known, mut acknowledged) = (Vec::<Told>::new(), 0);
    let mut losses = Losses::default();
    for round in 0..failovers() {
        let when = format!("failover {round}");
        store.wait_until_whole();
        let world = World::after(known, acknowledged);
        let master = fail_over(&mut store, &world, round, end);
        store.settle(master);
        let mut client = store.nodes[master].client();
        world.keep(judgement::pass(&mut client, &world, &mut losses, &when));
        judgement::expect_agreement(&store, master, &when);
        judgement::expect_progress(&mut client, &world.told(), &when);
        clear(&world, &mut client);
        (known, acknowledged) = (world.told(), world.acknowledged());
    }
    losses.print();
}

#[test]
fn when_the_master_dies_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(End::Dies);
}

#[test]
fn when_a_living_master_is_relieved_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(End::IsRelieved);
}
