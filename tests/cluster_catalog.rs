//! A cluster whose slots move, are lost and change hands: every node tells what the raw keys say that it holds.

mod support;

use std::collections::HashMap;

use redis::Value;
use support::audit::lasting;
use support::cluster::{masters, masters_and_replica, move_slot, Node};
use support::Client;

/// The two nodes of a slot, and who has it.
struct Pair<'n> {
    owner: &'n mut Node,
    other: &'n mut Node,
    slot: String,
}

/// The masters, the owner of a key's slot first.
fn pair<'n>(nodes: &'n mut [Node], key: &str) -> Pair<'n> {
    let [first, second] = nodes else { panic!("two nodes") };
    let slot = first.client.ask(&format!("CLUSTER KEYSLOT {key}"));
    if slot.parse::<usize>().unwrap() < 8192 {
        Pair { owner: first, other: second, slot }
    } else {
        Pair { owner: second, other: first, slot }
    }
}

/// Sends a line to the first node, and to the second if the first says so.
fn send(first: &mut Node, second: &mut Node, line: &str) -> String {
    let answer = first.client.ask(line);
    if answer.starts_with("ASK ") {
        second.client.ask("ASKING");
        return second.client.ask(line);
    }
    if answer.starts_with("MOVED ") {
        return second.client.ask(line);
    }
    answer
}

/// Rows of the module and of other clients in one slot, and sessions of a plain namespace in many.
fn fill(nodes: &mut [Node]) {
    let Pair { owner, other, .. } = pair(nodes, "{m}");
    for number in 0..30 {
        for line in [
            format!("MIROIR.PUT {{m}}:tasks:own{number} index_uid movies created_at {number}"),
            format!("HSET {{m}}:tasks:raw{number} miroir_id raw{number} status enqueued created_at {number}"),
            format!("MIROIR.PUT {{m}}:jobs:own{number} type dump"),
            format!("HSET {{m}}:jobs:raw{number} type dump state queued created_at {number}"),
            format!("MIROIR.PUT {{m}}:session:own{number} pinned_group g"),
            format!("MIROIR.PUT m:session:own{number} pinned_group g"),
            format!(
                "EVAL 'redis.call([[HSET]], KEYS[1], [[session_id]], 1, [[min_settings_version]], 0) \
                 return redis.call([[PEXPIRE]], KEYS[1], 600000)' 1 m:session:raw{number}"
            ),
        ] {
            let answer = send(owner, other, &line);
            assert!(answer.parse::<u64>().is_ok(), "{line}: {answer}");
        }
    }
}

/// How many rows a table has, and their bytes, by the raw keys of a node.
fn weigh(client: &mut Client, pattern: &str) -> (usize, usize) {
    let Value::Array(keys) = client.raw(&["KEYS", pattern]).unwrap() else { panic!("KEYS") };
    let mut rows = (0, 0);
    for key in keys {
        let Value::BulkString(key) = key else { panic!("KEYS") };
        if key.windows(2).any(|pair| pair == b":_") {
            continue;
        }
        let Value::Array(fields) = client.raw(&[b"HGETALL", &key[..]]).unwrap() else { panic!("HGETALL") };
        let bytes = |value: &Value| if let Value::BulkString(bytes) = value { bytes.len() } else { 0 };
        rows = (rows.0 + 1, rows.1 + key.len() + fields.iter().map(bytes).sum::<usize>());
    }
    rows
}

/// Waits until a node has found nothing wrong, and asserts that MEMORY says what its raw keys say.
fn assert_agrees(node: &mut Node, when: &str) {
    let client = &mut node.client;
    for namespace in ["m", "{m}"] {
        // Index entries that had to wait for their slot come with the server's periodic work.
        let found = lasting(client, namespace);
        assert!(found.is_empty(), "{when}: {found:?}");
        let memory = client.ask(&format!("MIROIR.MEMORY {namespace}"));
        for (table, segment) in [("tasks", "tasks"), ("sessions", "session"), ("jobs", "jobs")] {
            let (rows, payload) = weigh(client, &format!("{namespace}:{segment}:*"));
            let expected = format!("{table}, [rows, {rows}, payload_bytes, {payload}, ");
            assert!(memory.contains(&expected), "{when}: no {expected} in {memory}");
        }
    }
}

/// Asserts that the owner of a slot answers for it, and that the other node names the owner.
fn assert_owned(owner: &mut Node, other: &mut Node, slot: &str, when: &str) {
    for (table, queued) in [("tasks", None), ("jobs", Some("state queued")), ("session", None)] {
        let rows = weigh(&mut owner.client, &format!("{{m}}:{table}:*")).0;
        assert!(rows > 0, "{when}: no {table}");
        let filter = queued.map(|queued| format!(" WHERE {queued}")).unwrap_or_default();
        let count = format!("MIROIR.COUNT {{m}}:{table}{filter}");
        assert_eq!(owner.client.ask(&count), rows.to_string(), "{when}: {count}");
        let list = format!("MIROIR.LIST {{m}}:{table} LIMIT 0 10000 IDS");
        assert_eq!(owner.client.ask(&list).split(", ").count(), rows, "{when}: {list}");
        for line in [count, list] {
            let moved = other.client.ask(&line);
            assert!(moved.contains(&owner.redirection("MOVED", slot)), "{when}: {line}: {moved}");
        }
    }
    assert_agrees(owner, when);
    assert_agrees(other, when);
}

/// What clients do while a slot moves.
fn go_on(from: &mut Node, to: &mut Node, round: usize) {
    let known = round % 30;
    let mut kinds = HashMap::new();
    for line in [
        format!("HSET {{m}}:tasks:new{round} miroir_id new{round} status enqueued index_uid movies"),
        format!("MIROIR.PUT {{m}}:tasks:put{round} index_uid movies"),
        format!("HSET {{m}}:tasks:raw{known} status processing"),
        format!("MIROIR.TASK.STATUS {{m}}:tasks:own{known} processing"),
        format!("MIROIR.PUT {{m}}:session:new{round} pinned_group h"),
        format!("MIROIR.TOUCH m:session:own{known}"),
        format!("HSET {{m}}:jobs:new{round} type dump state queued"),
        "MIROIR.LIST {m}:tasks".to_owned(),
        "MIROIR.COUNT {m}:jobs BY state".to_owned(),
    ] {
        let answer = send(from, to, &line);
        // What needs several keys of a slot that is in two places has to wait.
        assert!(!answer.starts_with("ERR"), "{line}: {answer}");
        *kinds.entry(answer.starts_with("TRYAGAIN")).or_insert(0) += 1;
        to.client.ask("ASKING");
        assert!(!to.client.ask("MIROIR.COUNT {m}:tasks").starts_with("ERR"));
    }
    assert!(kinds[&false] >= 5, "{kinds:?}");
    for node in [from, to] {
        for line in [
            "MIROIR.MEMORY {m} SAMPLES 0",
            "MIROIR.MEMORY m",
            "MIROIR.AUDIT {m} 0 COUNT 1000",
            "MIROIR.PLAN ROWS tasks 5 sessions 5 canary_runs 5",
        ] {
            let answer = node.client.ask(line);
            assert!(answer.starts_with('['), "{line}: {answer}");
        }
    }
}

#[test]
fn a_slot_that_moves_forth_and_back_takes_its_rows_along() {
    let mut nodes = masters(2);
    fill(&mut nodes);
    let Pair { owner, other, slot } = pair(&mut nodes, "{m}");
    assert_owned(owner, other, &slot, "in the beginning");
    let mut round = 0;
    let mut next = |from: &mut Node, to: &mut Node| {
        go_on(from, to, round);
        round += 1;
    };
    move_slot(owner, other, &slot, &mut next);
    assert_owned(other, owner, &slot, "after the slot has moved");
    move_slot(other, owner, &slot, &mut next);
    assert_owned(owner, other, &slot, "after the slot has come back");

    let Pair { owner, other, slot } = pair(&mut nodes, "m:session:own0");
    move_slot(owner, other, &slot, |_, _| ());
    let moved = owner.client.ask("MIROIR.GET m:session:own0");
    assert!(moved.contains(&other.redirection("MOVED", &slot)), "{moved}");
    assert!(other.client.ask("MIROIR.GET m:session:own0").contains("pinned_group, g"));
    assert_agrees(owner, "without a slot of a plain namespace");
    assert_agrees(other, "with a slot of a plain namespace");
}

#[test]
fn a_slot_that_is_lost_with_its_keys_leaves_no_rows() {
    let mut nodes = masters(2);
    fill(&mut nodes);
    let Pair { owner, other, slot } = pair(&mut nodes, "{m}");
    // The other node takes it over with a higher epoch: the owner drops the keys, on Redis 7.0 without an event.
    other.order(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", owner.id));
    other.order(&format!("CLUSTER SETSLOT {slot} NODE {}", other.id));
    owner.client.wait_for(&format!("CLUSTER COUNTKEYSINSLOT {slot}"), |keys| keys == "0");
    let moved = owner.client.ask("MIROIR.COUNT {m}:tasks");
    assert!(moved.contains(&other.redirection("MOVED", &slot)), "{moved}");
    owner.client.wait_for("MIROIR.MEMORY {m}", |memory| {
        ["tasks", "sessions", "jobs"].iter().all(|table| memory.contains(&format!("{table}, [rows, 0, ")))
    });
    assert_agrees(owner, "after the loss");
    assert_eq!(other.client.ask("MIROIR.COUNT {m}:tasks"), "0");
    assert_eq!(other.client.ask("MIROIR.PUT {m}:tasks:a index_uid movies"), "1");
    assert_agrees(other, "on the node that took the slot");

    // Keys that are left behind in a slot that nobody has are counted where they are.
    let Pair { owner, slot, .. } = pair(&mut nodes, "m:session:own0");
    let before = weigh(&mut owner.client, "m:session:*").0;
    owner.order(&format!("CLUSTER DELSLOTS {slot}"));
    let memory = owner.client.ask("MIROIR.MEMORY m");
    assert!(memory.contains(&format!("sessions, [rows, {before}, ")), "{before}: {memory}");
}

#[test]
fn the_one_that_takes_over_answers_and_heals() {
    let mut nodes = masters_and_replica(2);
    fill(&mut nodes[..2]);
    let slot = nodes[0].client.ask("CLUSTER KEYSLOT {m}");
    let [bystander, master, replica] = &mut nodes[..] else { panic!("three nodes") };
    let count = master.client.ask("MIROIR.COUNT {m}:tasks");
    replica.order("READONLY");
    replica.client.wait_for("MIROIR.COUNT {m}:tasks", |answer| answer == count);

    replica.order("CLUSTER FAILOVER");
    replica.client.wait_for("ROLE", |role| role.starts_with("[master"));
    master.client.wait_for("ROLE", |role| role.starts_with("[slave") && role.contains("connected"));
    let raw = "HSET {m}:tasks:later miroir_id later status enqueued";
    replica.client.wait_for(raw, |answer| answer == "3" || answer == "0" || answer == "2");
    assert_owned(replica, bystander, &slot, "after a failover");
    let count = replica.client.integer("MIROIR.COUNT {m}:tasks");
    master.order("READONLY");
    master.client.wait_for("MIROIR.COUNT {m}:tasks", |answer| answer == count.to_string());

    // The new master dies, and the first one takes over again.
    let dead = nodes.pop().unwrap();
    drop(dead);
    let [bystander, master] = &mut nodes[..] else { panic!("two nodes") };
    master.order("CLUSTER FAILOVER TAKEOVER");
    master.client.wait_for("ROLE", |role| role.starts_with("[master"));
    let raw = "HSET {m}:tasks:last miroir_id last status enqueued";
    master.client.wait_for(raw, |answer| answer == "2" || answer == "0");
    bystander
        .client
        .wait_for("MIROIR.COUNT {m}:tasks", |answer| answer.contains(&master.redirection("MOVED", &slot)));
    assert_owned(master, bystander, &slot, "after the death of the master");
    assert_eq!(master.client.integer("MIROIR.COUNT {m}:tasks"), count + 1);
}

#[test]
fn a_command_of_one_slot_leaves_the_others_alone() {
    let mut nodes = masters(1);
    let client = &mut nodes[0].client;
    for number in 0..20 {
        client.ask(&format!("MIROIR.PUT {{m}}:tasks:t{number} index_uid movies"));
        client.ask(&format!("MIROIR.PUT m:session:s{number} pinned_group g"));
    }
    let script = |line: &str| {
        let words: Vec<_> = line.split(' ').map(|word| format!("'{word}'")).collect();
        format!(
            "redis.call('SET', KEYS[1], 1) local answer = redis.pcall({}) \
             return type(answer) == 'table' and answer.err or 'answered'",
            words.join(", ")
        )
    };
    let refused = "no transaction or script around it in a cluster";
    for (line, expected) in [
        ("INFO miroir", "answered"),
        ("MIROIR.MEMORY {m}", refused),
        ("MIROIR.MEMORY m SAMPLES 0", refused),
        ("MIROIR.AUDIT {m} 0", refused),
        ("MIROIR.AUDIT m 0 REPAIR", refused),
        ("MIROIR.PLAN ROWS tasks 5", refused),
        ("MIROIR.PLAN CACHE QPS 5 SIZE 1mb TTL 5m HITRATE 0.8", "answered"),
        ("MIROIR.COUNT {q}:tasks", "answered"),
        ("MIROIR.LIST {q}:tasks", "answered"),
    ] {
        // The changes before it have not been looked at when the script runs.
        let mut pipe = redis::pipe();
        pipe.cmd("HSET").arg(&["{m}:tasks:t1", "status", "failed"]).ignore();
        pipe.cmd("DEL").arg("{m}:tasks:t2").ignore();
        pipe.cmd("HSET").arg(&["{m}:tasks:t2", "miroir_id", "t2"]).ignore();
        pipe.cmd("HSET").arg(&["m:session:s1", "pinned_group", "h"]).ignore();
        pipe.cmd("EVAL").arg(script(line)).arg(1).arg("{q}:key");
        let answer: Vec<String> = pipe.query(&mut client.connection).expect(line);
        assert!(answer[0].ends_with(expected), "{line}: {answer:?}");
        assert_eq!(client.ask("MIROIR.COUNT {m}:tasks"), "20", "{line}");
        assert_eq!(client.ask("SCARD {m}:tasks:_index"), "20", "{line}");
        client.ask("MULTI");
        client.ask("SET {q}:key 1");
        client.ask("HSET {q}:tasks:a miroir_id a");
        client.ask(line);
        client.ask("EXEC");
    }
    let info = client.ask("INFO miroir");
    for counter in ["missing", "ghosts", "different"] {
        assert!(info.contains(&format!("miroir_audit_{counter}:0\r")), "{counter} in {info}");
    }
    assert_agrees(&mut nodes[0], "at the end");
}
