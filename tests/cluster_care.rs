//! What belongs to a row can be on another node of a cluster: under a plain namespace, where other clients keep rows and
//! index sets wherever their keys say, and while a slot moves. Nothing is taken for a fault there that is none, and nothing
//! is answered in part.

mod support;

use support::audit::audit;
use support::cluster::{masters, masters_and_replica, open_slot, slot_of, Node, Router};

/// Rows that other clients keep under a plain namespace, with the set that lists them.
fn keep(router: &mut Router, rows: usize) {
    for number in 0..rows {
        let row = format!("HSET m:tasks:r{number} miroir_id r{number} status enqueued created_at 1");
        assert_eq!(router.ask(&row), "3");
        assert_eq!(router.ask(&format!("SADD m:tasks:_index r{number}")), "1");
    }
}

/// Asserts that nothing is found wrong, and nothing mended.
fn assert_left_alone(node: &mut Node, namespace: &str) {
    let before = node.client.dump();
    assert_eq!(audit(&mut node.client, namespace, "COUNT 1000"), []);
    assert_eq!(audit(&mut node.client, namespace, "COUNT 1000 REPAIR"), []);
    assert_eq!(node.client.dump(), before);
}

#[test]
fn index_sets_of_other_clients_under_a_plain_namespace_are_theirs() {
    const ROWS: usize = 40;
    let mut nodes = masters_and_replica(2);
    let mut router = Router::of(&nodes[..2]);
    // The set is on the master that has a replica, and half of the rows are not.
    assert!(slot_of(&mut nodes, "m:tasks:_index") >= 8192);
    keep(&mut router, ROWS);
    for node in &mut nodes[..2] {
        let rows = node.client.ask("KEYS m:tasks:r*").split(", ").count();
        assert!((5..ROWS - 5).contains(&rows), "{rows} rows on one node");
        assert_left_alone(node, "m");
    }

    // After a failover the module walks over rows and sets by itself.
    let [_, master, replica] = &mut nodes[..] else { panic!("three nodes") };
    support::replicate(&mut master.client, &mut replica.client);
    replica.order("CLUSTER FAILOVER");
    replica.client.wait_for("ROLE", |role| role.starts_with("[master"));
    // Where it has mended this, it has been over what comes before as well.
    replica.client.run(&["MIROIR.PUT {m}:tasks:here index_uid movies"]);
    assert_eq!(replica.client.ask("SADD {m}:tasks:_index gone"), "1");
    master.client.wait_for("ROLE", |role| role.starts_with("[slave") && role.contains("connected"));
    let runs = replica.client.figure("server", "uptime_in_seconds");
    replica
        .client
        .wait_for("INFO server", |info| support::figure(info, "uptime_in_seconds") > Some(runs + 1));
    assert_eq!(replica.client.integer("SCARD m:tasks:_index"), i64::try_from(ROWS).unwrap());
    assert_left_alone(replica, "m");
    assert_eq!(audit(&mut replica.client, "{m}", "COUNT 1000").len(), 1, "others are still looked at");
}

#[test]
fn rows_of_a_plain_namespace_that_are_gone_leave_nothing_in_memory() {
    let mut nodes = masters(1);
    let client = &mut nodes[0].client;
    assert_eq!(client.ask("SADD m:tasks:_index any"), "1");
    let held = |client: &mut support::Client| {
        let memory = client.ask("MIROIR.MEMORY m");
        let (_, catalog) = memory.split_once("catalog, [entries, ").unwrap();
        let (_, bytes) = catalog.split_once("bytes, ").unwrap();
        bytes.split(']').next().unwrap().parse::<usize>().unwrap()
    };
    let come_and_go = |client: &mut support::Client| {
        for _ in 0..10 {
            let mut pipe = redis::pipe();
            for number in 0..1000 {
                let key = format!("m:tasks:{}-{number}", fastrand::u64(..));
                pipe.cmd("HSET").arg(&key).arg("miroir_id").arg(number).ignore();
                pipe.cmd("DEL").arg(&key).ignore();
            }
            pipe.exec(&mut client.connection).unwrap();
        }
        held(client)
    };
    let before = come_and_go(client);
    let after = come_and_go(client);
    assert!(after < before + 10_000, "10,000 rows that are gone take {} bytes", after.saturating_sub(before));
}

#[test]
fn a_stub_whose_index_is_elsewhere_is_told_and_not_half_repaired() {
    let mut nodes = masters(2);
    let mut router = Router::of(&nodes);
    for number in 0..20 {
        assert_eq!(router.ask(&format!("HSET m:tasks:s{number} foo bar")), "1");
    }
    let mut found = 0;
    for node in &mut nodes {
        let before = node.client.dump();
        let findings = audit(&mut node.client, "m", "COUNT 1000 REPAIR");
        assert!(findings.iter().all(|finding| finding.kind == "stub" && !finding.repaired), "{findings:?}");
        assert_eq!(node.client.dump(), before);
        found += findings.len();
    }
    assert_eq!(found, 20);
}

#[test]
fn nothing_is_judged_or_answered_by_half_while_its_slot_moves() {
    let mut nodes = masters(2);
    let slot = slot_of(&mut nodes, "{m}");
    assert!(slot >= 8192);
    let [target, source] = &mut nodes[..] else { panic!("two nodes") };
    let mut lines: Vec<_> = (0..4).map(|n| format!("MIROIR.PUT {{m}}:tasks:t{n} index_uid movies")).collect();
    lines.extend((0..4).map(|n| format!("MIROIR.PUT {{m}}:jobs:j{n} type dump")));
    lines.push("MIROIR.CDC.PUSH {m}:cdc:overflow:kafka BUDGET 100 one two".to_owned());
    lines.push("MIROIR.CDC.PUSH {m}:cdc:overflow:nats BUDGET 100 one two".to_owned());
    lines.iter().for_each(|line| drop(source.client.succeed(line)));
    open_slot(source, target, &slot.to_string());
    let questions = [
        "MIROIR.LIST {m}:tasks IDS",
        "MIROIR.COUNT {m}:tasks",
        "MIROIR.COUNT {m}:jobs WHERE state queued",
        "MIROIR.PRUNE {m}:tasks BEFORE 5",
        "MIROIR.JOB.RECLAIM {m}:jobs",
        "MIROIR.JOB.CLAIM {m}:jobs pod 600000",
    ];
    for piece in
        ["{m}:tasks:t0 {m}:jobs:j0 {m}:cdc:overflow:kafka", "{m}:tasks:_index {m}:cdc:overflow_bytes:nats"]
    {
        source.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {piece}", target.server.port()));
        for line in questions {
            // The key of a table is never there, so every client is sent to the other node at once.
            let answer = source.client.ask(line);
            assert!(answer.starts_with("ASK "), "{line}: {answer}");
            target.order("ASKING");
            let answer = target.client.ask(line);
            assert!(answer.starts_with("TRYAGAIN "), "{line}: {answer}");
        }
        assert_left_alone(source, "{m}");
        assert_left_alone(target, "{m}");
    }
    let keys = source.client.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
    let keys = keys.trim_matches(['[', ']']).replace(", ", " ");
    source.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {keys}", target.server.port()));
    let settled = format!("CLUSTER SETSLOT {slot} NODE {}", target.id);
    target.order(&settled);
    source.order(&settled);
    for (line, expected) in questions.iter().zip(["[t", "4", "4", "0", "0", "[[j0, 1, "]) {
        let answer = target.client.ask(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
    assert_eq!(support::audit::lasting(&mut target.client, "{m}"), []);
    assert_eq!(support::audit::lasting(&mut source.client, "{m}"), []);
}

#[test]
fn a_replica_that_may_not_look_takes_no_buffer_for_wrong() {
    let mut nodes = masters_and_replica(2);
    let [_, master, replica] = &mut nodes[..] else { panic!("three nodes") };
    assert!(master
        .client
        .ask("MIROIR.CDC.PUSH {m}:cdc:overflow:k BUDGET 100 one")
        .starts_with("[accepted, 1"));
    support::replicate(&mut master.client, &mut replica.client);
    assert_eq!(audit(&mut replica.client, "{m}", "COUNT 1000"), []);
    replica.order("READONLY");
    assert_eq!(audit(&mut replica.client, "{m}", "COUNT 1000"), []);
}
