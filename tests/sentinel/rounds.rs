//! Failover after failover with clients at work, and a judgement after each.

use std::thread::Scope;

use fastrand::Rng;

use super::judgement::{expect_agreement, expect_progress, pass, Losses};
use super::load::clearing::clear;
use super::load::{Asks, Link, Told, Worker, World};
use super::store::Store;

/// How many clients there are. Every third asks for both replicas, every third for one of them.
pub const CLIENTS: usize = 9;
/// How much clients have to be told before and after the master changes.
pub const ENOUGH: usize = 1000;

fn failovers() -> usize {
    std::env::var("MIROIR_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Lets clients work until the world ends. Each has a number, and may have its own way to find the master.
pub fn work<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    world: &'env World,
    round: usize,
    find: impl Fn(usize) -> &'env (dyn Fn() -> Option<Link> + Sync),
) {
    for number in 0..CLIENTS {
        let asks = [Asks::Replicas(2), Asks::Replicas(1), Asks::Position][number % 3];
        let worker = Worker::new(world, number, round, Rng::new(), asks, find(number));
        scope.spawn(move || worker.work());
    }
}

/// Loses one master after the other, each time with clients at work in these databases, and judges what is there then.
/// `lose_master` is given a world for each of the databases, and answers who is the master at last.
pub fn survive(
    store: &mut Store,
    databases: &[u8],
    mut lose_master: impl FnMut(&mut Store, &[World], usize) -> usize,
) {
    let mut known: Vec<(Vec<Told>, i64)> = databases.iter().map(|_| (Vec::new(), 0)).collect();
    let mut losses = Losses::default();
    for round in 0..failovers() {
        store.wait_until_whole();
        let worlds: Vec<_> =
            known.into_iter().map(|(told, acknowledged)| World::after(told, acknowledged)).collect();
        let master = lose_master(store, &worlds, round);
        store.settle(master);
        for (world, database) in worlds.iter().zip(databases) {
            let when = format!("failover {round}, database {database}");
            let mut client = store.nodes[master].client_of(*database);
            world.keep(pass(&mut client, world, &mut losses, &when));
            expect_agreement(store, master, *database, &when);
            expect_progress(&mut client, &world.told(), &when);
            clear(world, &mut client);
        }
        known = worlds.iter().map(|world| (world.told(), world.acknowledged())).collect();
    }
    losses.print();
}
