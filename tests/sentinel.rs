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
#[path = "sentinel/rounds.rs"]
mod rounds;
#[path = "sentinel/store.rs"]
mod store;
mod support;

use std::time::{Duration, Instant};

use load::{wait_until, Curtain, World};
use rounds::{survive, work, ENOUGH};
use store::Store;

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
        work(scope, world, round, |_| &find);
        let history = store.history(master);
        wait_until("enough work before", || world.told_by(&history) > ENOUGH);
        std::thread::sleep(Duration::from_millis(fastrand::u64(..200)));
        match end {
            End::Dies => store.nodes[master].kill(),
            End::IsRelieved => store.relieve(),
        }
        let lost = Instant::now();
        let successor = store.wait_for_successor(master);
        let announced = lost.elapsed();
        let history = store.history(successor);
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
    survive(&mut store, &[0], |store, worlds, round| fail_over(store, &worlds[0], round, end));
}

#[test]
fn when_the_master_dies_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(End::Dies);
}

#[test]
fn when_a_living_master_is_relieved_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(End::IsRelieved);
}
