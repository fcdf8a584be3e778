//! `kill -9` at any moment, under load: what was acknowledged is there, and all of it agrees.
//!
//! `MIROIR_CRASHES` says how often each test kills its server, `MIROIR_CRASHES_SEED` what the clients do before.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "load/mod.rs"]
mod load;
#[path = "drift/operations.rs"]
mod operations;
#[path = "drift/run.rs"]
mod run;
mod support;
#[path = "crashes/worker.rs"]
mod worker;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use fastrand::Rng;
use load::clearing::clear;
use load::facts::{given_twice, unknown};
use load::{agreement, Asks, World};
use operations::DATABASES;
use run::{variable, Run};
use support::{Client, Server};
use worker::Worker;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
/// How often a test kills its server.
const CRASHES: u64 = 6;
/// How many clients there are.
const CLIENTS: usize = 8;
/// How long they work at most before each end, in ms.
const LONGEST_MS: u64 = 400;
/// How long each key takes in a rewrite or a snapshot, in µs, so that the end comes in the middle of some.
const KEY_DELAY_US: u64 = 20;

fn crashes() -> usize {
    usize::try_from(variable("MIROIR_CRASHES").unwrap_or(CRASHES)).unwrap()
}

fn random() -> Rng {
    let seed = variable("MIROIR_CRASHES_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("MIROIR_CRASHES_SEED={seed}");
    Rng::with_seed(seed)
}

/// When the end comes is the only thing that is left to chance and to the clock.
fn pause(random: &mut Rng, longest: u64) {
    std::thread::sleep(Duration::from_millis(random.u64(1..longest)));
}

/// What the server itself does when its end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meanwhile {
    Nothing,
    Rewrite,
    Snapshot,
}

fn begin(client: &mut Client, random: &mut Rng) -> Meanwhile {
    client.ask(&format!("CONFIG SET rdb-key-save-delay {KEY_DELAY_US}"));
    let (kind, line) = match random.u8(..3) {
        0 => return Meanwhile::Nothing,
        1 => (Meanwhile::Rewrite, "BGREWRITEAOF"),
        _ => (Meanwhile::Snapshot, "BGSAVE"),
    };
    client.succeed(line);
    kind
}

/// How many kills there were, by what went on, and how many of them came before that was done.
#[derive(Default)]
struct Tally {
    rounds: Vec<(Meanwhile, bool)>,
}

impl Tally {
    fn note(&mut self, kind: Meanwhile, server: &Server) {
        // The file that was being written. The next server leaves it where it is.
        let files = std::fs::read_dir(server.directory()).unwrap().map(|entry| entry.unwrap().path());
        let begun: Vec<_> = files
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-")))
            .collect();
        begun.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        self.rounds.push((kind, !begun.is_empty()));
    }

    fn print(&self) {
        for kind in [Meanwhile::Nothing, Meanwhile::Rewrite, Meanwhile::Snapshot] {
            let all: Vec<_> = self.rounds.iter().filter(|(of, _)| *of == kind).collect();
            let early = all.iter().filter(|(_, early)| *early).count();
            println!("{} kills with {kind:?}, {early} of them in the middle of it", all.len());
        }
    }
}

/// Lets clients work on one store until the server is gone.
fn with_load(world: &World, port: u16, round: usize, random: &mut Rng, until_gone: impl FnOnce(&mut Rng)) {
    let find = || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).ok()?;
        Some(Box::new(client.get_connection().ok()?) as load::Link)
    };
    std::thread::scope(|scope| {
        let _curtain = Curtain(world);
        for number in 0..CLIENTS {
            let worker = load::Worker::new(world, number, round, random.fork(), Asks::Nothing, &find);
            scope.spawn(move || worker.work_until_lost());
        }
        until_gone(random);
    });
}

/// Ends the work when the test fails: nobody would kill the server then, and the clients would go on for ever.
struct Curtain<'a>(&'a World);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Asserts that the server knows everything that clients were told, and that all of it agrees.
fn expect_all(world: &World, client: &mut Client, when: &str) -> usize {
    let facts = world.facts();
    let unknown: Vec<_> = unknown(client, &facts, world.acknowledged()).into_iter().take(5).collect();
    assert!(unknown.is_empty(), "{when}: lost of {}: {unknown:#?}", facts.len());
    let twice = given_twice(facts.iter());
    assert!(twice.is_empty(), "{when}: {twice:#?}");
    let faults = agreement::faults(client);
    assert!(faults.is_empty(), "{when}: {faults:#?}");
    facts.len()
}

#[test]
fn what_was_acknowledged_to_clients_of_one_store_is_there_after_a_kill() {
    let mut random = random();
    let mut server = Server::start_with(AOF);
    let (world, mut tally, mut checked) = (World::default(), Tally::default(), 0);
    for round in 0..crashes() {
        let mut kind = Meanwhile::Nothing;
        with_load(&world, server.port(), round, &mut random, |random| {
            pause(random, LONGEST_MS);
            kind = begin(&mut server.client(), random);
            pause(random, 60);
            server.kill();
        });
        tally.note(kind, &server);
        server.start_again();
        let mut client = server.client();
        checked += expect_all(&world, &mut client, &format!("round {round}, {kind:?}"));
        clear(&world, &mut client);
    }
    tally.print();
    conclude(&world, checked);
}

fn conclude(world: &World, checked: usize) {
    let (sent, answered) = (world.sent.load(SeqCst), world.answered.load(SeqCst));
    println!("{sent} commands, {} without an answer; {checked} facts looked for", sent - answered);
    assert!(checked > 0);
}

#[test]
fn what_was_saved_under_load_is_there_after_a_kill() {
    let mut random = random();
    let mut server = Server::start();
    let (world, mut checked) = (World::default(), 0);
    for round in 0..crashes() {
        // What there is when the round begins is saved.
        server.client().succeed("SAVE");
        let (mut told, mut acknowledged) = (world.told(), world.acknowledged());
        let mut kind = "";
        with_load(&world, server.port(), round, &mut random, |random| {
            pause(random, LONGEST_MS);
            let mut client = server.client();
            client.ask(&format!("CONFIG SET rdb-key-save-delay {KEY_DELAY_US}"));
            // What is told before the server hears of it is in the snapshot, if there will be one.
            let so_far = world.told();
            kind = ["SAVE", "BGSAVE", "BGSAVE, given up"][random.usize(..3)];
            client.succeed(kind.split(',').next().unwrap());
            let acknowledged_so_far = world.acknowledged();
            let is_done = |info: &str| {
                info.contains("rdb_bgsave_in_progress:0") && info.contains("rdb_last_bgsave_status:ok")
            };
            if kind == "BGSAVE" {
                client.wait_for("INFO persistence", is_done);
            }
            acknowledged = acknowledged_so_far;
            // One that nobody waits for may be done all the same, and then knows more.
            if kind != "BGSAVE, given up" {
                told = so_far;
            }
            pause(random, 60);
            server.kill();
        });
        server.start_again();
        world.keep(told);
        world.acknowledged_only(acknowledged);
        let mut client = server.client();
        checked += expect_all(&world, &mut client, &format!("round {round}, {kind}"));
        clear(&world, &mut client);
    }
    conclude(&world, checked);
}

#[test]
fn every_operation_that_was_acknowledged_is_done_after_a_kill() {
    let mut random = random();
    let mut server = Server::start_with(AOF);
    let mut run = Run::new(&server);
    let mut tally = Tally::default();
    let mut workers: Vec<_> =
        (0..DATABASES).map(|database| Worker::new(&mut server.client(), database, random.fork())).collect();
    for round in 0..crashes() {
        let mut kind = Meanwhile::Nothing;
        std::thread::scope(|scope| {
            for worker in &mut workers {
                let mut client = server.client();
                scope.spawn(move || {
                    worker.begin(&mut client);
                    worker.work(&mut client);
                });
            }
            let mut client = server.client();
            pause(&mut random, LONGEST_MS);
            kind = begin(&mut client, &mut random);
            pause(&mut random, 60);
            server.kill();
        });
        tally.note(kind, &server);
        server.start_again();
        let mut client = server.client();
        let when = format!("round {round}, {kind:?}");
        for worker in &workers {
            let faults = worker.faults(&mut client);
            assert!(faults.is_empty(), "{when}: {faults:#?}");
        }
        run.check(&server, &when);
    }
    tally.print();
    println!("{} operations", workers.iter().map(|worker| worker.done).sum::<usize>());
}
