//! What a replica holds and answers, with the module and without it, and how it goes on when it is promoted.

mod support;

use std::collections::BTreeMap;

use support::workload::{assert_claims_hold, work, WORKLOAD};
use support::{replicate, Client, Server};

fn assert_same(master: &Server, replica: &Server, when: &str) {
    replicate(&mut master.client(), &mut replica.client());
    assert_eq!(replica.client().dump(), master.client().dump(), "{when}");
    assert_eq!(replica.client().ask("DEBUG DIGEST"), master.client().ask("DEBUG DIGEST"), "{when}");
}

#[test]
fn replicas_with_and_without_the_module_hold_what_the_master_holds() {
    let master = Server::start();
    // One of each follows the commands, one of each gets a full copy afterwards.
    let followers = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
    assert!(!work(&mut master.client()).is_empty());
    for (replica, what) in followers.iter().zip(["with the module", "without the module"]) {
        assert_same(&master, replica, what);
    }
    let late = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
    for (replica, what) in late.iter().zip(["late, with the module", "late, without the module"]) {
        assert_same(&master, replica, what);
    }
}

#[test]
fn a_replica_answers_reads_as_the_master_does_and_refuses_writes() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    work(&mut master.client());
    replicate(&mut master.client(), &mut replica.client());
    let (mut master_client, mut client) = (master.client(), replica.client());
    for line in [
        "MIROIR.GET miroir:tasks:t1",
        "MIROIR.GET miroir:session:px ttl pinned_group nothing",
        "MIROIR.GET miroir:tasks:none",
        "MIROIR.LIST miroir:tasks",
        "MIROIR.LIST miroir:admin_session WHERE revoked 1 IDS",
        "MIROIR.LIST miroir:cdc_cursor",
        "MIROIR.COUNT miroir:tasks BY status",
        "MIROIR.COUNT miroir:session",
        "MIROIR.CANARY.RUNS miroir:canary_runs:c1 COUNT 2",
        "MIROIR.CDC.PEEK miroir:cdc:overflow:kafka COUNT 9",
        "MIROIR.CDC.STAT miroir:cdc:overflow:kafka",
        "MIROIR.CDC.STAT miroir:cdc:overflow:none",
        "MIROIR.COUNT miroir:jobs BY state",
        "MIROIR.LIST miroir:jobs WHERE claimed_by pod-1",
        "MIROIR.GET miroir:idemp:b2",
        "MIROIR.SCOPEDKEY.READY miroir:search_ui_scoped_key:movies",
        "MIROIR.POD.LIVE miroir:live_pods",
    ] {
        let answer = client.ask(line);
        assert!(!answer.starts_with("ERR"), "{line}: {answer}");
        assert_eq!(answer, master_client.ask(line), "{line}");
    }
    let lease = client.ask("MIROIR.LEASE.GET miroir:lease:leader");
    assert!(lease.starts_with("[pod-2, ") && lease.ends_with(", 2]"), "{lease}");
    let memory = client.ask("MIROIR.MEMORY miroir SAMPLES 0");
    let rows = |memory: &str| {
        memory.split("total, [").nth(1).unwrap().split(", allocated").next().unwrap().to_owned()
    };
    assert_eq!(rows(&memory), rows(&master_client.ask("MIROIR.MEMORY miroir SAMPLES 0")));

    let before = client.dump();
    for line in WORKLOAD.iter().filter(|line| line.starts_with("MIROIR.")) {
        let answer = client.ask(line);
        assert!(answer.starts_with("READONLY"), "{line} on a replica: {answer}");
    }
    assert_eq!(client.dump(), before);
}

#[test]
fn what_has_run_out_is_gone_for_readers_on_master_and_replica_before_it_is_deleted() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let mut client = master.client();
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    for line in [
        "MIROIR.PUT miroir:session:s PX 200 pinned_group g",
        "MIROIR.PUT miroir:admin_session:a PX 200 csrf_token x admin_key_hash y",
        "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 200",
        "MIROIR.PUT miroir:session:lasting pinned_group g",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
    }
    replicate(&mut master.client(), &mut replica.client());
    let mut on_replica = replica.client();
    let held = on_replica.ask("DBSIZE");
    // The replica is asked first: a read on the master would delete the keys on both.
    for client in [&mut on_replica, &mut client] {
        client.wait_for("MIROIR.GET miroir:session:s", |answer| answer == "nil");
        client.wait_for("MIROIR.GET miroir:admin_session:a", |answer| answer == "nil");
        client.wait_for("MIROIR.LEASE.GET miroir:lease:leader", |answer| answer == "nil");
        for (line, expected) in [
            ("MIROIR.GET miroir:session:s pinned_group", "nil"),
            ("MIROIR.COUNT miroir:session", "1"),
            ("MIROIR.LIST miroir:session IDS", "[lasting]"),
            ("MIROIR.COUNT miroir:admin_session", "0"),
            ("MIROIR.COUNT miroir:session BY pinned_group", "[g, 1]"),
        ] {
            assert_eq!(client.ask(line), expected, "{line}");
        }
        let memory = client.ask("MIROIR.MEMORY miroir");
        assert!(memory.contains("sessions, [rows, 1, "), "{memory}");
        assert!(memory.contains("leader_lease, [rows, 0, "), "{memory}");
        if client.ask("ROLE").starts_with("[slave") {
            assert_eq!(client.ask("DBSIZE"), held, "nothing is deleted yet: it is only not shown");
        }
    }
}

#[test]
fn a_promoted_replica_goes_on_where_the_master_stood() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let data = work(&mut master.client());
    replicate(&mut master.client(), &mut replica.client());
    drop(master);
    let mut client = replica.client();
    assert_eq!(client.ask("REPLICAOF NO ONE"), "OK");
    assert_eq!(client.dump(), data);
    client.ask("DEL miroir:lease:leader");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-9 600000"), "[1, pod-9, 600000, 3]");

    let before = stat(&mut client);
    let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 12345 678");
    let after = stat(&mut client);
    assert_eq!(after["last_seq"], before["last_seq"] + 2, "{pushed}");
    assert_eq!(after["bytes"], before["bytes"] + 8);
    assert_eq!(after["length"], before["length"] + 2);
    assert_eq!(after["dropped"], before["dropped"]);
    let acked = client.integer(&format!("MIROIR.CDC.ACK miroir:cdc:overflow:kafka {}", before["last_seq"]));
    assert_eq!(acked, before["length"]);
    assert_eq!(stat(&mut client)["bytes"], 8);
    assert_eq!(client.ask("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:eu:movies 9"), "[0, 9]");
    assert_eq!(client.ask("MIROIR.ALIAS.FLIP miroir:aliases:single movies_v5 IFVERSION 3"), "4");
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t1 failed"), "0");
    assert_claims_hold(&mut client);
}

fn stat(client: &mut Client) -> BTreeMap<String, i64> {
    redis::cmd("MIROIR.CDC.STAT").arg("miroir:cdc:overflow:kafka").query(&mut client.connection).unwrap()
}

#[test]
fn transactions_and_scripts_replicate_what_they_did() {
    let master = Server::start();
    let replicas = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
    let mut client = master.client();
    let done: Vec<i64> = redis::pipe()
        .atomic()
        .cmd("MIROIR.PUT")
        .arg(&["miroir:tasks:m1", "index_uid", "movies"])
        .cmd("MIROIR.TASK.STATUS")
        .arg(&["miroir:tasks:m1", "processing"])
        .cmd("MIROIR.PUT")
        .arg(&["miroir:session:m", "PX", "600000", "pinned_group", "g"])
        .cmd("MIROIR.DEL")
        .arg(&["miroir:tasks:none"])
        .query(&mut client.connection)
        .unwrap();
    assert_eq!(done, [1, 1, 1, 0]);
    let script = "redis.call('MIROIR.PUT', KEYS[1], 'index_uid', 'movies') \
                  redis.call('SET', KEYS[2], 'native') \
                  redis.call('MIROIR.LEASE.ACQUIRE', KEYS[3], 'pod-1', 600000) \
                  return redis.call('MIROIR.CDC.PUSH', KEYS[4], 'BUDGET', 5, 'aaa', 'bbb')[6]";
    let keys = ["miroir:tasks:e1", "other", "miroir:lease:leader", "miroir:cdc:overflow:kafka"];
    let answer = client.call(&[&["EVAL", script, "4"], &keys[..]].concat());
    assert_eq!(answer, "3", "last of length 1, bytes 3: {answer}");
    let refused =
        client.call(&["EVAL", "return redis.pcall('MIROIR.PUT', KEYS[1], 'status', 'x')", "1", keys[0]]);
    assert!(refused.contains("field 'status' of table tasks"), "{refused}");
    for replica in &replicas {
        assert_same(&master, replica, "after a transaction and a script");
    }
}

#[test]
fn a_raw_write_is_seen_in_the_statistics_of_the_replica_and_after_its_promotion() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let mut client = master.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 one three");
    client.ask("LPUSH miroir:cdc:overflow:kafka 1234567");
    replicate(&mut master.client(), &mut replica.client());
    let on_master = client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:kafka");
    assert!(on_master.contains("length, 3, bytes, 15, "), "{on_master}");
    let mut client = replica.client();
    assert_eq!(client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:kafka"), on_master);
    drop(master);
    client.ask("REPLICAOF NO ONE");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 x");
    assert_eq!((stat(&mut client)["length"], stat(&mut client)["bytes"]), (4, 16));
}
