//! Every command of the module on a server that may hold no more and evicts nothing: what may take memory is refused and has
//! changed nothing, and what gives memory back, or only reads, works.

#[path = "cluster_routing/calls.rs"]
mod calls;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use calls::Call;
use support::{Client, Server};

/// The writing commands that work: they take away, and what they write besides is of one size.
const SHRINKING: &[&str] = &[
    "MIROIR.ADMIN.REVOKE",
    "MIROIR.CDC.ACK",
    "MIROIR.CDC.POP",
    "MIROIR.CDC.TRIM",
    "MIROIR.DEL",
    "MIROIR.IDEMP.ABORT",
    "MIROIR.LEASE.RELEASE",
    "MIROIR.LOGIN.OK",
    "MIROIR.PRUNE",
    "MIROIR.SCOPEDKEY.RETIRE",
];

/// Everything that there is, byte for byte: the server's own digest, and the times, which are not in it.
fn state(client: &mut Client) -> (String, BTreeMap<String, String>) {
    (client.ask("DEBUG DIGEST"), client.dump())
}

fn with_memory(client: &mut Client, limit: u8) {
    client.succeed(&format!("CONFIG SET maxmemory {limit}"));
}

/// Makes all calls in their order, each first without memory. Answers which of the writing ones were not refused.
fn try_all(client: &mut Client, line_of: impl Fn(&Call) -> String) -> BTreeSet<String> {
    let mut done = BTreeSet::new();
    for call in calls::all() {
        let line = line_of(&call);
        let before = state(client);
        with_memory(client, 1);
        let mut answer = client.ask(&line);
        if answer.starts_with("OOM") {
            assert_eq!(state(client), before, "{line} was refused");
            with_memory(client, 0);
            answer = client.ask(&line);
        } else if call.writes() {
            done.insert(call.name().to_owned());
        }
        with_memory(client, 0);
        assert!(answer.starts_with(call.answer), "{line}: expected {}…, got {answer}", call.answer);
    }
    done
}

#[test]
fn what_may_take_memory_is_refused_whole_and_what_gives_it_back_works() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    let expected: BTreeSet<_> = SHRINKING.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(try_all(&mut client, |call| call.plain("miroir")), expected);
    assert_eq!(try_all(&mut client, |call| call.fenced("fenced")), expected);
}

#[test]
fn so_it_is_where_the_policy_finds_nothing_to_evict() {
    let server = Server::start_with(&["--maxmemory-policy", "volatile-random"]);
    let mut client = server.client();
    client.run(&["MIROIR.PUT miroir:jobs:j type dump", "MIROIR.PUT miroir:tasks:t index_uid movies"]);
    let before = state(&mut client);
    with_memory(&mut client, 1);
    for line in ["MIROIR.PUT miroir:jobs:k type dump", "MIROIR.PATCH miroir:tasks:t error none"] {
        let answer = client.ask(line);
        assert!(answer.starts_with("OOM"), "{line}: {answer}");
        assert_eq!(state(&mut client), before, "{line}");
    }
    assert_eq!(client.ask("MIROIR.DEL miroir:jobs:j"), "1");
}

#[test]
fn a_transaction_with_a_refused_command_does_nothing_at_all() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let (mut client, mut operator) = (server.client(), server.client());
    client.succeed("MIROIR.PUT miroir:jobs:j type dump");
    let before = state(&mut client);
    client.succeed("MULTI");
    assert_eq!(client.ask("MIROIR.DEL miroir:jobs:j"), "QUEUED");
    assert_eq!(client.ask("MIROIR.PUT miroir:jobs:k type dump"), "QUEUED");
    with_memory(&mut operator, 1);
    let answer = client.ask("EXEC");
    assert!(answer.contains("OOM"), "{answer}");
    assert_eq!(state(&mut operator), before);
}
