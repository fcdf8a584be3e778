//! Plays: many clients at one server, with or without something bad in the middle.

use std::time::Duration;

use super::recorder::{history, Actor, Call, Curtain, Stage, HISTORY};
use super::replay::{replay, Entry, Log, Specification};
use super::support::{Client, Server};

/// How long the clients play before and after the bad thing, in ms.
const ACT: u64 = 1200;
/// How much the old master does after the replica has left it. All of that is lost.
const LEFT_BEHIND: i64 = 20;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// What happens in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Nothing,
    /// The server is killed, and comes back with what its append-only file holds.
    Restart,
    /// The replica takes over, while some clients are still at the old master; then that is killed.
    Failover,
}

pub type Part = fn(&mut Actor<'_>);

/// Who plays.
pub struct Play<S> {
    pub specification: S,
    pub cast: Vec<(usize, Part)>,
    /// What one more client does when all others have gone.
    pub afterwards: Option<Part>,
    /// The raw reads that show all data.
    pub survey: Vec<String>,
    /// What must hold whatever the specification says.
    pub invariants: fn(&[Entry]) -> Result<(), String>,
}

/// Plays, and proves that what was recorded is as it has to be. Answers the possible worlds at the end.
pub fn perform<S: Specification>(play: &Play<S>, turn: Turn) -> Vec<S::World> {
    let seed = std::env::var("MIROIR_HISTORIES_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MIROIR_HISTORIES_SEED={seed}");
    let (calls, mut client, _server) = record(play, turn, seed);
    let order = history(&mut client.connection);
    let log = Log::assemble(&calls, &order, turn == Turn::Failover).unwrap_or_else(|fault| panic!("{fault}"));
    println!(
        "{turn:?}: {} calls, of which {} stay; {} without an answer, of which the server did {}",
        calls.len(),
        log.entries.len(),
        log.unanswered,
        log.done_unanswered
    );
    if turn == Turn::Failover {
        println!("confirmed by the replica up to call {}, lost {} answered calls", log.confirmed, log.lost);
        assert!(log.lost > 0, "the failover lost nothing: the test shows less than it should");
        assert!(log.confirmed > 0);
        // The old master was right as well, until its end.
        replay(&play.specification, &log.first_life).unwrap_or_else(|fault| panic!("first life: {fault}"));
        (play.invariants)(&log.first_life).unwrap_or_else(|fault| panic!("first life: {fault}"));
    }
    let worlds = replay(&play.specification, &log.entries).unwrap_or_else(|fault| panic!("{fault}"));
    (play.invariants)(&log.entries).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(findings(&mut client), "[]", "what the audit finds at the end");
    worlds.into_iter().collect()
}

fn record<S>(play: &Play<S>, turn: Turn, seed: u64) -> (Vec<Call>, Client, Server) {
    let server = Server::start_with(if turn == Turn::Restart { AOF } else { &[] });
    let replica = (turn == Turn::Failover).then(|| Server::replica_of(&server, &[]));
    if replica.is_some() {
        // A replica that has its copy may wait for up to a second before the master sends it what came after.
        let mut client = server.client();
        client.ask("SET first word");
        client.wait_for("WAIT 1 100", |confirmed| confirmed == "1");
    }
    let stage = Stage::new(server.port());
    std::thread::scope(|scope| {
        let curtain = Curtain(&stage);
        let parts = play.cast.iter().flat_map(|(count, part)| std::iter::repeat_n(*part, *count));
        let players: Vec<_> = parts
            .enumerate()
            .map(|(number, part)| {
                let stage = &stage;
                scope.spawn(move || {
                    let waits = turn == Turn::Failover && number % 2 == 0;
                    let mut actor = Actor::new(number, seed, stage, waits, true);
                    part(&mut actor);
                    actor.into_calls()
                })
            })
            .collect();
        // The pauses of the clients are the play; nothing here is decided by who is quicker.
        let act = || std::thread::sleep(Duration::from_millis(ACT));
        act();
        let server = match (turn, replica) {
            (Turn::Failover, Some(replica)) => fail_over(server, replica),
            (Turn::Restart, _) => {
                server.client().ask("BGREWRITEAOF");
                act();
                server.kill_and_restart()
            }
            _ => server,
        };
        // The first to ask the new server: this tells what became of the calls without an answer.
        let new = Stage::new(server.port());
        if turn != Turn::Nothing {
            new.move_to(server.port());
        }
        let mut conductor = Actor::new(1000, seed, &new, false, false);
        conductor.call("PING", &play.survey).unwrap();
        if turn != Turn::Nothing {
            assert_eq!(findings(&mut server.client()), "[]", "what the audit finds after the {turn:?}");
            stage.move_to(server.port());
        }
        act();
        drop(curtain);
        let mut calls: Vec<Call> = players.into_iter().flat_map(|player| player.join().unwrap()).collect();
        if let Some(afterwards) = play.afterwards {
            afterwards(&mut conductor);
        }
        conductor.call("PING", &play.survey).unwrap();
        calls.extend(conductor.into_calls());
        (calls, server.client(), server)
    })
}

fn fail_over(master: Server, replica: Server) -> Server {
    let mut client = replica.client();
    let mut old = master.client();
    assert_eq!(client.ask("REPLICAOF NO ONE"), "OK");
    let length = format!("XLEN {HISTORY}");
    let done = client.integer(&length);
    old.wait_for(&length, |now| now.parse::<i64>().unwrap() >= done + LEFT_BEHIND);
    drop(master);
    replica
}

/// What MIROIR.AUDIT finds in all its steps.
fn findings(client: &mut Client) -> String {
    let mut cursor = "0".to_owned();
    loop {
        let line = format!("MIROIR.AUDIT miroir {cursor} COUNT 1000");
        let answer = client.wait_for(&line, |answer| !answer.starts_with("TRYAGAIN"));
        let inner = answer.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let (next, found) =
            inner.and_then(|inner| inner.split_once(", ")).unwrap_or_else(|| panic!("{answer}"));
        if found != "[]" || next == "0" {
            return found.to_owned();
        }
        next.clone_into(&mut cursor);
    }
}
