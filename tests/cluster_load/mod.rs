//! Three masters, a replica of each, and clients that write in several namespaces while slots and masters change places.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::load::facts::{given_twice, unknown};
use crate::load::{agreement, Asks, Link, Worker, World};
use crate::model::Sweep;
use crate::support::audit::{audit, lasting};
use crate::support::cluster::{masters_and_replicas, slot_of, Node};
use crate::support::{patience, replicate, Client};

/// A namespace with all of its keys in one slot.
pub struct Store {
    pub namespace: &'static str,
    pub slot: usize,
    /// The pair that has the slot.
    pub pair: usize,
}

/// A master and its replica, by their places among the nodes.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub master: usize,
    pub replica: usize,
}

/// How long each client rests: what is written while a slot moves has to be moved as well.
const REST: Duration = Duration::from_millis(8);

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub pairs: [Pair; 3],
    pub stores: Vec<Store>,
}

impl Cluster {
    pub fn start(namespaces: &[&'static str]) -> Self {
        let mut nodes = masters_and_replicas(3);
        let stores = namespaces.iter().map(|namespace| {
            let slot = slot_of(&mut nodes, namespace);
            Store { namespace, slot, pair: (slot / (16384 / 3)).min(2) }
        });
        let stores = stores.collect();
        Self { nodes, pairs: [0, 1, 2].map(|master| Pair { master, replica: master + 3 }), stores }
    }

    /// What its clients have in common, for each namespace.
    pub fn worlds(&self) -> Vec<World> {
        self.stores.iter().map(|store| World::of(store.namespace, REST)).collect()
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.server.port()).collect()
    }

    pub fn master(&mut self, pair: usize) -> &mut Node {
        &mut self.nodes[self.pairs[pair].master]
    }

    pub fn replica(&mut self, pair: usize) -> &mut Node {
        &mut self.nodes[self.pairs[pair].replica]
    }

    /// The masters of two pairs.
    pub fn two_masters(&mut self, one: usize, other: usize) -> [&mut Node; 2] {
        self.nodes.get_disjoint_mut([self.pairs[one].master, self.pairs[other].master]).unwrap()
    }

    /// What the servers have told clients so far with this code of an error.
    pub fn told(&mut self, code: &str) -> usize {
        let count = |node: &mut Node| {
            let stats = node.client.ask("INFO errorstats");
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")));
            line.map_or(0, |count| count.trim().parse().unwrap())
        };
        self.nodes.iter_mut().map(count).sum()
    }

    /// Waits until every node knows who has the slots, and every replica has what its master has.
    pub fn settle(&mut self) {
        for store in 0..self.stores.len() {
            let Store { namespace, slot, pair } = self.stores[store];
            let moved = self.master(pair).redirection("MOVED", &slot.to_string());
            let owner = self.pairs[pair].master;
            for (place, node) in self.nodes.iter_mut().enumerate() {
                let is_known = |answer: &str| if place == owner { answer == "0" } else { answer == moved };
                node.client.wait_for(&format!("EXISTS {namespace}:nothing"), is_known);
            }
        }
        for pair in self.pairs {
            let [master, replica] = self.nodes.get_disjoint_mut([pair.master, pair.replica]).unwrap();
            replicate(&mut master.client, &mut replica.client);
        }
    }

    /// Asserts that every node holds what its pair holds and nothing else, and that the module knows exactly that.
    pub fn assert_agrees(&mut self, when: &str) {
        for pair in 0..3 {
            let master = self.pairs[pair].master;
            for store in &self.stores {
                let client = &mut self.nodes[master].client;
                if store.pair == pair {
                    let faults = agreement::faults_of(client, store.namespace);
                    assert!(faults.is_empty(), "{when}, {}: {faults:#?}", store.namespace);
                } else {
                    assert_knows_nothing(client, store, when);
                }
            }
            let Pair { master, replica } = self.pairs[pair];
            let [master, replica] = self.nodes.get_disjoint_mut([master, replica]).unwrap();
            assert_is_copied(&mut master.client, &mut replica.client, when);
            replica.order("READONLY");
            for client in [&mut master.client, &mut replica.client] {
                assert_has_no_other_rows(client, when);
                for store in &self.stores {
                    assert_eq!(audit(client, store.namespace, "COUNT 1000"), [], "{when}");
                }
            }
            replica.order("READWRITE");
        }
    }
}

/// Asserts that a replica has the data of its master. A key may end between two looks at them.
fn assert_is_copied(master: &mut Client, replica: &mut Client, when: &str) {
    let deadline = Instant::now() + patience();
    while master.ask("DEBUG DIGEST") != replica.ask("DEBUG DIGEST") {
        assert!(Instant::now() < deadline, "{when}: the replica has other data than its master");
    }
}

/// Asserts that the module knows as many rows of all namespaces as there are on a node. Some may end while they are counted.
fn assert_has_no_other_rows(client: &mut Client, when: &str) {
    let deadline = Instant::now() + patience();
    loop {
        let rows = Sweep::read(client).entries.iter().filter(|entry| !entry.is_stub).count();
        let known = client.figure("miroir", "miroir_catalog_rows");
        if known == i64::try_from(rows).unwrap() {
            return;
        }
        assert!(Instant::now() < deadline, "{when}: the module knows {known} of {rows} rows");
    }
}

/// Asserts that a master has forgotten a namespace that is not there.
fn assert_knows_nothing(client: &mut Client, store: &Store, when: &str) {
    let Store { namespace, slot, .. } = store;
    assert_eq!(client.integer(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), 0, "{when}");
    let memory = client.ask(&format!("MIROIR.MEMORY {namespace}"));
    assert!(memory.contains("total, [rows, 0, payload_bytes, 0, "), "{when}, {namespace}: {memory}");
    assert_eq!(lasting(client, namespace), [], "{when}");
}

/// Asserts that the server knows everything that the clients of a namespace were told. Answers how much that is.
pub fn assert_knows_all(client: &mut Client, world: &World, when: &str) -> usize {
    let facts = world.facts();
    let lost: Vec<_> = unknown(client, &facts, world.acknowledged()).into_iter().take(5).collect();
    assert!(lost.is_empty(), "{when}: lost of {}: {lost:#?}", facts.len());
    let twice = given_twice(facts.iter());
    assert!(twice.is_empty(), "{when}: {twice:#?}");
    facts.len()
}

/// Ends the work of all, also when the test fails: they would go on for ever.
struct Curtain<'a>(&'a [World]);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(World::end);
    }
}

/// Lets clients write in each world while something happens. Every other one asks after each step that a replica has it.
pub fn while_written(
    worlds: &[World],
    clients: usize,
    round: usize,
    random: &mut Rng,
    find: impl Fn(usize) -> Option<Link> + Sync,
    act: impl FnOnce(&mut Rng),
) {
    let find = &find;
    let finds: Vec<_> = (0..clients).map(|number| move || find(number)).collect();
    std::thread::scope(|scope| {
        let _curtain = Curtain(worlds);
        for world in worlds {
            world.begin_again();
            for (number, find) in finds.iter().enumerate() {
                let asks = [Asks::Confirmation, Asks::Nothing][number % 2];
                let worker = Worker::new(world, number, round, random.fork(), asks, find);
                scope.spawn(move || worker.work());
            }
        }
        act(random);
    });
}
