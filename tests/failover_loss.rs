//! What a failover may lose: the last writes that the master acknowledged and the replica never got. `WAIT` tells
//! them from the others, and what is left is whole.

mod support;

use std::collections::BTreeMap;

use support::audit::lasting;
use support::network::Network;
use support::{figure, Client, Server};

/// What is there when the network breaks, all of it on the replica.
const KEPT: &[&str] = &[
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-0 600000",
    "MIROIR.LEASE.RELEASE miroir:lease:leader pod-0",
    "MIROIR.LEASE.ACQUIRE miroir:lease:other pod-0 600000",
    "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 5",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 one two",
    "MIROIR.PUT miroir:aliases:movies kind single current_uid v1",
    "MIROIR.PUT miroir:tasks:t index_uid movies",
    "MIROIR.PUT miroir:tasks:gone index_uid movies",
    "MIROIR.PUT miroir:jobs:j type dump",
    "MIROIR.JOB.CLAIM miroir:jobs pod-0 600000",
    "MIROIR.JOB.FINISH miroir:jobs:j pod-0 1 queued",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 2 600000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:192.0.2.1 2 60000 60000",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u1 1",
    "MIROIR.PUT miroir:session:s pinned_group g1",
    "MIROIR.PUT miroir:node_settings_version:movies:n version 3",
    "MIROIR.PUT miroir:admin_session:a csrf_token x admin_key_hash y",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c 1000 pass 5",
];

const BEGIN: &str = "MIROIR.IDEMP.BEGIN miroir:idemp:k \
                     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 t1 LOCK 600000";

/// What comes after it, in this order, and what it is answered: by the master that dies, and by its successor, who
/// has never heard of it. Behind `…` come times.
const LOST: &[(&str, &str)] = &[
    // The same token twice: what the token fences has to be waited for.
    ("MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 600000", "[1, pod-1, 600000, 2]"),
    ("MIROIR.LEASE.RELEASE miroir:lease:other pod-0 TOKEN 1", "1"),
    ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 9 IFSEQ 5", "[1, 9]"),
    ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:nats:movies 1", "[1, 1]"),
    (
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 three",
        "[accepted, 1, length, 3, bytes, 11, dropped, 0, dropped_bytes, 0, last_seq, 3]",
    ),
    ("MIROIR.CDC.POP miroir:cdc:overflow:kafka", "[one]"),
    ("MIROIR.CDC.ACK miroir:cdc:overflow:kafka 2", "1"),
    ("MIROIR.ALIAS.FLIP miroir:aliases:movies v2 IFVERSION 1", "2"),
    ("MIROIR.TASK.STATUS miroir:tasks:t succeeded", "1"),
    ("MIROIR.TASK.NODE miroir:tasks:t node-0 UID 41", "1"),
    ("MIROIR.PUT miroir:tasks:new index_uid movies", "1"),
    ("MIROIR.DEL miroir:tasks:gone", "1"),
    ("MIROIR.PATCH miroir:jobs:j progress '{\"done\":1}'", "1"),
    ("MIROIR.JOB.CLAIM miroir:jobs pod-1 600000", "[[j, 2, …"),
    ("MIROIR.JOB.FINISH miroir:jobs:j pod-1 2 completed", "1"),
    (BEGIN, "[new, t1]"),
    ("MIROIR.IDEMP.COMPLETE miroir:idemp:k t1", "1"),
    // The limit is two: one hit is known to the new master, and so it allows a third.
    ("MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 2 600000", "[1, 0, 0, …"),
    ("MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 2 600000", "[0, 0, …"),
    ("MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:192.0.2.1 2 60000 60000", "[2, 60000]"),
    ("MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:192.0.2.1 9 60000", "[0, 9, …"),
    ("MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u2 2", "1"),
    ("MIROIR.POD.BEAT miroir:live_pods pod-1", "1"),
    ("MIROIR.PUT miroir:session:s NX pinned_group g2", "0"),
    ("MIROIR.PUT miroir:session:new NX pinned_group g2", "1"),
    ("MIROIR.PATCH miroir:node_settings_version:movies:n version 4", "1"),
    ("MIROIR.ADMIN.REVOKE miroir:admin_session:a", "1"),
    ("MIROIR.CANARY.RECORD miroir:canary_runs:c 2000 fail 5", "[2, 0]"),
    ("MIROIR.LEASE.GET miroir:lease:other", "nil"),
    ("MIROIR.COUNT miroir:tasks BY status", "[enqueued, 1, succeeded, 1]"),
];

/// What a client asks after each write: does a replica have it?
const WAIT: &str = "WAIT 1 30";

fn assert_answer(client: &mut Client, line: &str, expected: &str) {
    let answer = client.ask(line);
    let is_so = match expected.strip_suffix('…') {
        Some(beginning) => answer.starts_with(beginning),
        None => answer == expected,
    };
    assert!(is_so, "{line}: expected {expected}, got {answer}");
}

fn promote(replica: &Server) -> Client {
    let mut client = replica.client();
    assert_eq!(client.ask("REPLICAOF NO ONE"), "OK");
    client
}

#[test]
fn what_wait_acknowledged_is_there_and_all_that_came_after_it_never_was() {
    let master = Server::start();
    let (network, replica) = Network::replica_of(&master);
    let (mut client, mut later) = (master.client(), master.client());
    client.run(KEPT);
    assert_eq!(client.ask("WAIT 1 20000"), "1");
    let kept = client.dump();

    network.lose_all_but(0);
    for (line, expected) in LOST {
        assert_answer(&mut later, line, expected);
        assert_eq!(later.ask(WAIT), "0", "{line}: no replica has that");
    }
    assert_eq!(client.ask(WAIT), "1", "who wrote before is not concerned");
    drop(master);

    let mut client = promote(&replica);
    assert_eq!(client.dump(), kept);
    assert_eq!(lasting(&mut client, "miroir"), []);
    for (line, expected) in LOST {
        assert_answer(&mut client, line, expected);
    }
    assert_eq!(lasting(&mut client, "miroir"), []);
}

#[test]
fn a_lost_lease_goes_to_another_with_the_same_token_unless_its_holder_waited() {
    let master = Server::start();
    let (network, replica) = Network::replica_of(&master);
    let mut client = master.client();
    let acquire = |pod: &str| format!("MIROIR.LEASE.ACQUIRE miroir:lease:leader {pod} 600000");
    let write = |token: u32, value: &str| {
        format!(
            "MIROIR.PUT miroir:aliases:a FENCE miroir:lease:leader {token} kind single current_uid {value}"
        )
    };
    assert_eq!(client.ask(&acquire("pod-1")), "[1, pod-1, 600000, 1]");
    assert_eq!(client.ask("WAIT 1 20000"), "1", "pod-1 may go to work");
    assert_eq!(client.ask(&write(1, "by-1")), "1");
    assert_eq!(client.ask("WAIT 1 20000"), "1");

    network.lose_all_but(0);
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader pod-1"), "1");
    assert_eq!(client.ask(&acquire("pod-2")), "[1, pod-2, 600000, 2]");
    assert_eq!(client.ask(WAIT), "0", "pod-2 had better not");
    drop(master);

    let mut client = promote(&replica);
    assert!(client.ask("MIROIR.LEASE.GET miroir:lease:leader").starts_with("[pod-1, "));
    assert_eq!(
        client.ask("MIROIR.LEASE.RENEW miroir:lease:leader pod-1 600000 TOKEN 1"),
        "[1, pod-1, 600000, 1]"
    );
    assert!(client
        .ask("MIROIR.LEASE.RENEW miroir:lease:leader pod-2 600000 TOKEN 2")
        .starts_with("[0, pod-1, "));
    assert!(client.ask(&write(2, "by-2")).starts_with("STALE "), "as long as the first tenure lasts");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader pod-1"), "1");
    assert_eq!(client.ask(&acquire("pod-3")), "[1, pod-3, 600000, 2]");
    assert!(client
        .ask("MIROIR.LEASE.RENEW miroir:lease:leader pod-2 600000 TOKEN 2")
        .starts_with("[0, pod-3, "));
    assert!(
        client.ask(&write(1, "by-1")).starts_with("STALE "),
        "a tenure that was waited for is over for good"
    );
    assert_eq!(client.ask(&write(2, "by-2")), "2", "the fence cannot tell pod-2 from pod-3");
    assert_eq!(lasting(&mut client, "miroir"), []);
}

#[test]
fn a_lost_claim_goes_to_another_with_the_same_number_and_does_not_pass_for_his() {
    let master = Server::start();
    let (network, replica) = Network::replica_of(&master);
    let mut client = master.client();
    client.run(&["MIROIR.PUT miroir:jobs:j type dump"]);
    assert_eq!(client.ask("WAIT 1 20000"), "1");
    network.lose_all_but(0);
    assert_answer(&mut client, "MIROIR.JOB.CLAIM miroir:jobs pod-1 600000", "[[j, 1, …");
    assert_eq!(client.ask(WAIT), "0");
    drop(master);

    let mut client = promote(&replica);
    for line in
        ["MIROIR.JOB.RENEW miroir:jobs:j pod-1 1 600000", "MIROIR.JOB.FINISH miroir:jobs:j pod-1 1 completed"]
    {
        assert_eq!(client.ask(line), "0", "{line}: nobody has claimed it");
    }
    assert_answer(&mut client, "MIROIR.JOB.CLAIM miroir:jobs pod-2 600000", "[[j, 1, …");
    for line in
        ["MIROIR.JOB.RENEW miroir:jobs:j pod-1 1 600000", "MIROIR.JOB.FINISH miroir:jobs:j pod-1 1 completed"]
    {
        assert_eq!(client.ask(line), "0", "{line}: the number is that of pod-2");
    }
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:j pod-2 1 completed"), "1");
    assert_eq!(lasting(&mut client, "miroir"), []);
}

/// A write of a client without the module: the index entry comes behind it, from the module.
const RAW: &str = "HSET miroir:tasks:raw miroir_id raw status enqueued created_at 5";

/// Does all that is to be lost, and answers what was there before it and after each command.
fn states(client: &mut Client) -> Vec<BTreeMap<String, String>> {
    let mut states = vec![client.dump()];
    for line in LOST.iter().map(|(line, _)| *line).chain([RAW]) {
        client.succeed(line);
        client.wait_for("SISMEMBER miroir:tasks:_index raw", |answer| (answer == "1") == (line == RAW));
        states.push(client.dump());
    }
    states.dedup();
    states
}

/// How many bytes a master sends for it.
fn length() -> usize {
    let master = Server::start();
    let _replica = Server::replica_of(&master, &[]);
    let mut client = master.client();
    client.run(KEPT);
    let before = client.figure("replication", "master_repl_offset");
    states(&mut client);
    usize::try_from(client.figure("replication", "master_repl_offset") - before).unwrap()
}

#[test]
fn wherever_the_network_breaks_every_command_has_happened_or_has_not() {
    const PIECES: usize = 12;
    let length = length();
    // One gets all but the end of the last index entry.
    let arriving: Vec<_> = (0..PIECES).map(|piece| length * piece / PIECES).chain([length - 10]).collect();
    let master = Server::start();
    let mut client = master.client();
    client.run(KEPT);
    let followers: Vec<_> = arriving.iter().map(|_| Network::replica_of(&master)).collect();
    let before = client.figure("replication", "master_repl_offset");
    for ((network, _), bytes) in followers.iter().zip(&arriving) {
        network.lose_all_but(*bytes);
    }
    let states = states(&mut client);
    let sent = client.figure("replication", "master_repl_offset");
    for ((_, replica), bytes) in followers.iter().zip(arriving) {
        let end = sent.min(before + i64::try_from(bytes).unwrap());
        let has_it = |info: &str| figure(info, "slave_read_repl_offset") >= Some(end);
        replica.client().wait_for("INFO replication", has_it);
    }
    drop(client);
    drop(master);

    let mut reached = Vec::new();
    for (_, replica) in &followers {
        let mut client = promote(replica);
        assert_eq!(lasting(&mut client, "miroir"), []);
        let data = client.dump();
        let state = states.iter().position(|state| *state == data);
        reached.push(state.unwrap_or_else(|| panic!("half a command has happened: {data:#?}")));
    }
    assert!(reached.is_sorted(), "{reached:?}");
    assert_eq!(reached.last(), Some(&(states.len() - 1)), "the entry of the last row is made up for");
    reached.dedup();
    assert!(reached.len() > PIECES / 2, "only {reached:?} of {} states", states.len());
}
