//! MIROIR.AUDIT in pieces, on replicas, under ACLs, while writes are paused, and with a catalog that is wrong.

#[path = "audit/report.rs"]
mod report;
mod support;

use std::collections::BTreeSet;

use report::{audit, calls, short, step, Finding};
use support::workload::work;
use support::{figure, replicate, Client, Server};

/// How many keys beyond COUNT one call may meet: those of one more bucket, or of a set that is kept in one piece.
const MORE: usize = 64;

/// Thousands of rows, healthy.
fn fill(client: &mut Client) {
    let script = "for id = 1, 8000 do redis.call('MIROIR.PUT', 'miroir:tasks:t' .. id, 'index_uid', 'i') end \
                  for id = 1, 1500 do redis.call('MIROIR.PUT', 'miroir:jobs:j' .. id, 'type', 'dump') end \
                  for id = 1, 500 do redis.call('MIROIR.PUT', 'miroir:session:s' .. id, 'pinned_group', 'g') end";
    assert_eq!(client.call(&["EVAL", script, "0"]), "nil");
    assert_eq!(client.ask("DBSIZE"), "10003");
}

#[test]
fn a_walk_in_pieces_finds_every_fault_exactly_once() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    assert_eq!(audit(&mut client, "COUNT 1000"), []);
    let mut expected = BTreeSet::new();
    for id in (1..8000).step_by(97) {
        client.run(&[&format!("SREM miroir:tasks:_index t{id}")]);
        client.run(&[&format!("SADD miroir:tasks:_index gone{id}")]);
        expected.insert(("not-in-index".to_owned(), format!("miroir:tasks:t{id}")));
        expected.insert(("index-entry-without-row".to_owned(), format!("gone{id}")));
    }
    for id in (1..500).step_by(31) {
        client.run(&[&format!("PERSIST miroir:session:s{id}")]);
        client.run(&[&format!("SREM miroir:jobs:_queued j{id}")]);
        client.run(&[&format!("HSET miroir:tasks:stub{id} status failed")]);
        expected.insert(("ttl-missing".to_owned(), format!("miroir:session:s{id}")));
        expected.insert(("queued-at-odds".to_owned(), format!("miroir:jobs:j{id}")));
        expected.insert(("stub".to_owned(), format!("miroir:tasks:stub{id}")));
    }
    // Of an entry the key is the set: the detail names it.
    let place = |finding: Finding| match finding.detail.split([' ', ',']).nth(1) {
        Some(entry) if finding.kind == "index-entry-without-row" => (finding.kind, entry.to_owned()),
        _ => (finding.kind, finding.key),
    };
    let before = client.dump();
    for count in [10, 37, 100] {
        let calls = calls(&mut client, "miroir", &format!("COUNT {count}"));
        // Keys, entries of the index sets, rows of the catalog.
        assert!(calls.len() <= 40_000 / count + 100, "COUNT {count}: {} calls", calls.len());
        assert!(calls.len() >= 20_000 / (count + MORE), "COUNT {count}: {} calls", calls.len());
        let found: Vec<_> = calls.concat().into_iter().map(place).collect();
        assert_eq!(found.len(), expected.len(), "COUNT {count}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "COUNT {count}");
    }
    assert_eq!(client.dump(), before);
    let mended = audit(&mut client, "REPAIR COUNT 50");
    assert_eq!(mended.into_iter().map(place).collect::<BTreeSet<_>>(), expected);
    assert_eq!(audit(&mut client, "COUNT 1000"), []);
    assert_eq!(client.ask("DBSIZE"), "10003");
}

#[test]
fn no_call_looks_at_far_more_than_count() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    // Every key and every entry is a fault here, so that the findings show what a call looks at.
    client.run(&["DEL miroir:tasks:_index miroir:jobs:_index miroir:jobs:_queued"]);
    let script = "for id = 1, 9000 do redis.call('SADD', 'miroir:aliases:_index', 'gone' .. id) end";
    client.call(&["EVAL", script, "0"]);
    for count in [5, 50, 500] {
        let calls = calls(&mut client, "miroir", &format!("COUNT {count}"));
        let most = calls.iter().map(Vec::len).max().unwrap();
        // A job is in neither of its sets.
        assert!(most <= 2 * (count + MORE), "COUNT {count}: {most} findings in one call");
        assert_eq!(calls.concat().len(), 8000 + 2 * 1500 + 9000, "COUNT {count}");
    }
}

#[test]
fn bad_arguments_are_errors_and_any_other_cursor_does_no_harm() {
    let mut server = Server::start();
    let mut client = server.client();
    work(&mut client);
    support::assert_refused(
        &mut client,
        &[
            ("MIROIR.AUDIT", "wrong number of arguments"),
            ("MIROIR.AUDIT miroir", "wrong number of arguments"),
            ("MIROIR.AUDIT miroir -1", "argument 'cursor'"),
            ("MIROIR.AUDIT miroir x", "argument 'cursor'"),
            ("MIROIR.AUDIT miroir ''", "argument 'cursor'"),
            ("MIROIR.AUDIT miroir 1.5", "argument 'cursor'"),
            ("MIROIR.AUDIT miroir 18446744073709551616", "argument 'cursor'"),
            ("MIROIR.AUDIT miroir 0 COUNT", "'COUNT'"),
            ("MIROIR.AUDIT miroir 0 COUNT 0", "got '0'"),
            ("MIROIR.AUDIT miroir 0 COUNT -1", "got '-1'"),
            ("MIROIR.AUDIT miroir 0 COUNT 10001", "got '10001'"),
            ("MIROIR.AUDIT miroir 0 COUNT 9223372036854775808", "COUNT"),
            ("MIROIR.AUDIT miroir 0 COUNT 1 COUNT 1", "got 'COUNT'"),
            ("MIROIR.AUDIT miroir 0 REPAIR REPAIR", "got 'REPAIR'"),
            ("MIROIR.AUDIT miroir 0 MEND", "got 'MEND'"),
            ("MIROIR.AUDIT miroir:tasks 0", "argument 'namespace'"),
            ("MIROIR.AUDIT '' 0", "argument 'namespace'"),
        ],
    );
    let before = client.dump();
    let mut cursors: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1, !(1u64 << bit)]).collect();
    cursors.extend((0..32).map(|walk| (walk << 59) + 7));
    // Those of another walk.
    let (next, _) = step(&mut client, "miroir 0 COUNT 3").unwrap();
    cursors.push(next.parse().unwrap());
    for cursor in cursors {
        for options in ["", " REPAIR"] {
            let mut next = cursor.to_string();
            let mut steps = 0;
            while next != "0" || steps == 0 {
                let (after, findings) = step(&mut client, &format!("miroir {next} COUNT 1000{options}"))
                    .unwrap_or_else(|error| panic!("cursor {cursor}: {error}"));
                assert_eq!(findings, [], "cursor {cursor}");
                next = after;
                steps += 1;
                assert!(steps < 100, "cursor {cursor} leads nowhere");
            }
        }
    }
    assert_eq!(client.dump(), before);
    assert!(server.is_alive());
}

/// Faults of every kind that raw commands can make.
const FAULTS: &[&str] = &[
    "SREM miroir:tasks:_index t1",
    "SADD miroir:aliases:_index gone",
    "HSET miroir:tasks:stub status failed",
    "SREM miroir:jobs:_queued j1",
    "PERSIST miroir:session:px",
    "LPUSH miroir:cdc:overflow:kafka 1234567",
];

#[test]
fn a_replica_finds_and_the_master_mends_with_native_commands() {
    let master = Server::start();
    let replicas = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
    let mut client = master.client();
    work(&mut client);
    client.run(FAULTS);
    let told = audit(&mut client, "");
    assert_eq!(told.len(), FAULTS.len(), "{:?}", short(&told));
    let mut on_replica = replicas[0].client();
    replicate(&mut client, &mut on_replica);
    assert_eq!(audit(&mut on_replica, ""), told);
    let before = on_replica.dump();
    let refused = on_replica.ask("MIROIR.AUDIT miroir 0 REPAIR");
    assert!(refused.starts_with("READONLY"), "{refused}");
    assert_eq!(on_replica.dump(), before);

    assert_eq!(short(&audit(&mut client, "REPAIR")), short(&told));
    let (data, digest) = (client.dump(), client.ask("DEBUG DIGEST"));
    for replica in &replicas {
        let mut replica = replica.client();
        replicate(&mut client, &mut replica);
        assert_eq!(replica.dump(), data);
        assert_eq!(replica.ask("DEBUG DIGEST"), digest);
    }
    assert_eq!(audit(&mut on_replica, ""), []);
}

#[test]
fn a_replica_finds_a_counter_that_is_wrong_though_no_event_came_or_went() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut client, mut on_replica) = (master.client(), replica.client());
    work(&mut client);
    client.run(&["SET miroir:cdc:overflow_bytes:kafka 1"]);
    replicate(&mut client, &mut on_replica);
    assert_eq!(audit(&mut on_replica, ""), audit(&mut client, ""));
}

#[test]
fn a_transaction_can_repair_and_a_script_can_look() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    client.run(FAULTS);
    let script = "local c, n = '0', 0 \
                  repeat local r = redis.call('MIROIR.AUDIT', 'miroir', c) c = r[1] n = n + #r[2] until c == '0' \
                  return n";
    assert_eq!(client.call(&["EVAL_RO", script, "0"]), FAULTS.len().to_string());
    let mut cursors = vec!["0".to_owned()];
    while let Ok((next, _)) = step(&mut client, &format!("miroir {} COUNT 10000", cursors.last().unwrap())) {
        if next == "0" {
            break;
        }
        cursors.push(next);
    }
    client.run(&["MULTI"]);
    for cursor in cursors {
        client.run(&[&format!("MIROIR.AUDIT miroir {cursor} COUNT 10000 REPAIR")]);
    }
    let done = client.ask("EXEC");
    assert_eq!(done.matches("repaired, 1").count(), FAULTS.len(), "{done}");
    assert_eq!(audit(&mut client, ""), []);
}

#[test]
fn repair_writes_nothing_where_the_server_refuses_writes() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    client.run(&["SREM miroir:tasks:_index t1"]);
    let before = client.dump();
    let mut wrong = Vec::new();
    let mut check = |client: &mut Client, when: &str, line: &[&str], expected: &str| {
        let answer = client.call(line);
        let changes = report::changed(&before, &client.dump());
        if !answer.starts_with(expected) || !changes.is_empty() {
            wrong.push(format!("{when}: {answer}, changed: {changes:?}"));
            client.run(&["CONFIG SET min-replicas-to-write 0", "SREM miroir:tasks:_index t1"]);
        }
    };
    let repair = ["MIROIR.AUDIT", "miroir", "0", "COUNT", "10000", "REPAIR"];
    let script = "return redis.call('MIROIR.AUDIT', 'miroir', '0', 'COUNT', '10000', 'REPAIR')";
    check(&mut client, "in a read-only script", &["EVAL_RO", script, "0"], "ERR");
    client.run(&["CONFIG SET min-replicas-to-write 1"]);
    check(&mut client, "without enough replicas", &repair, "NOREPLICAS");
    client.run(&["CONFIG SET min-replicas-to-write 0", "CONFIG SET maxmemory 1"]);
    check(&mut client, "without memory", &repair, "OOM");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn repair_waits_while_writes_are_paused() {
    let mut server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    work(&mut client);
    client.run(FAULTS);
    let before = client.dump();
    assert_eq!(other.ask("CLIENT PAUSE 600000 WRITE"), "OK");
    let refused = client.ask("MIROIR.AUDIT miroir 0 COUNT 10000 REPAIR");
    assert!(refused.starts_with("ERR") && refused.contains("paused"), "{refused}");
    assert_eq!(audit(&mut client, "").len(), FAULTS.len());
    assert_eq!(client.dump(), before);
    assert_eq!(other.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(audit(&mut client, "REPAIR").len(), FAULTS.len());
    assert_eq!(audit(&mut client, ""), []);
    assert!(server.is_alive());
}

/// The faults, and what REPAIR answers to a user with these rights; nothing may change, and looking is allowed.
fn refused_to(rights: &str) -> String {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    client.run(FAULTS);
    client.run(&["HSET miroir:session:raw session_id raw", "HSET miroir:jobs:stub state queued"]);
    client.run(&["SADD miroir:jobs:_index stub"]);
    let before = client.dump();
    client.run(&[&format!("ACL SETUSER limited on nopass {rights}")]);
    let mut limited = server.client();
    limited.run(&["AUTH limited x"]);
    let refused = limited.ask("MIROIR.AUDIT miroir 0 COUNT 10000 REPAIR");
    let changes = report::changed(&before, &client.dump());
    assert!(changes.is_empty(), "{rights}: {refused}, but these have changed: {changes:?}");
    assert_eq!(audit(&mut limited, ""), audit(&mut client, ""), "{rights}");
    refused
}

#[test]
fn repair_needs_the_rights_of_the_client() {
    for rights in [
        "+@all -@dangerous",
        "~* +miroir.audit",
        "%R~* +miroir.audit +sadd +srem +del +hset +set +pexpireat",
        "~miroir:rollover:* +@all -@dangerous",
    ] {
        let refused = refused_to(rights);
        assert!(refused.starts_with("NOPERM"), "{rights}: {refused}");
    }
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    client.run(FAULTS);
    client.run(&["ACL SETUSER all on nopass ~miroir:* +miroir.audit +sadd +srem +del +hset +set +pexpireat"]);
    let mut limited = server.client();
    limited.run(&["AUTH all x"]);
    assert!(audit(&mut limited, "REPAIR").iter().all(|finding| finding.repaired));
    assert_eq!(audit(&mut client, ""), []);
}

/// With these rights some of the faults of one call could be mended, or a half of one.
#[test]
fn repair_that_is_refused_has_changed_nothing() {
    for rights in [
        "~* +miroir.audit +sadd +srem",
        "~miroir:session:* +miroir.audit +hset",
        "~* +miroir.audit +del",
        "~* +miroir.audit +set",
        "~miroir:tasks:* +@all -@dangerous",
    ] {
        let refused = refused_to(rights);
        assert!(refused.contains("NOPERM") || refused.starts_with("ERR"), "{rights}: {refused}");
    }
}

fn number(client: &mut Client, name: &str) -> i64 {
    client.figure("miroir_audit", &format!("miroir_audit_{name}"))
}

#[test]
fn a_catalog_that_is_wrong_is_found_and_mended_by_audit_and_in_the_background() {
    let server = Server::start_debug_build();
    let mut client = server.client();
    client.run(&["CONFIG SET miroir.audit-budget-us 0"]);
    work(&mut client);
    let memory = client.ask("MIROIR.MEMORY miroir SAMPLES 0");
    let list = client.ask("MIROIR.LIST miroir:tasks");
    let spoil = [
        ("FORGET miroir:tasks:t1", "does not know it"),
        ("FORGET miroir:lease:leader", "does not know it"),
        ("FORGET miroir:cdc:overflow:kafka", "does not know it"),
        ("INVENT miroir:tasks:ghost", "not there"),
        ("INVENT miroir:tenant_map:ghost", "not there"),
        ("INVENT miroir:jobs:j1", "other values"),
        ("INVENT miroir:session:px", "other values"),
    ];
    let before = client.dump();
    let mut expected: Vec<_> =
        spoil.iter().map(|(line, detail)| (line.split(' ').nth(1).unwrap().to_owned(), *detail)).collect();
    expected.sort();
    let check = |findings: &[Finding], repaired: bool| {
        let keys: Vec<_> = findings.iter().map(|finding| finding.key.as_str()).collect();
        assert_eq!(keys, expected.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>());
        for (finding, (_, detail)) in findings.iter().zip(&expected) {
            assert_eq!((finding.kind.as_str(), finding.repaired), ("catalog-at-odds", repaired));
            assert!(finding.detail.contains(detail), "{finding:?}");
        }
    };
    for (line, _) in spoil {
        client.run(&[&format!("MIROIR.DEBUG {line}")]);
    }
    assert_ne!(client.ask("MIROIR.LIST miroir:tasks"), list);
    check(&audit(&mut client, ""), false);
    check(&audit(&mut client, "COUNT 1 REPAIR"), true);
    assert_eq!(audit(&mut client, ""), []);
    assert_eq!(number(&mut client, "found_catalog_at_odds"), 14);
    assert_eq!(number(&mut client, "repaired"), 7);

    for (line, _) in spoil {
        client.run(&[&format!("MIROIR.DEBUG {line}")]);
    }
    for name in ["missing", "ghosts", "different"] {
        assert_eq!(number(&mut client, name), 0, "{name}: it is switched off");
    }
    let rounds = number(&mut client, "rounds");
    client.run(&["CONFIG SET miroir.audit-budget-us 5000"]);
    // A round that is under way has begun before; the one behind it has met everything.
    client.wait_for("INFO miroir_audit", |info| figure(info, "miroir_audit_rounds") >= Some(rounds + 2));
    assert_eq!(["missing", "ghosts", "different"].map(|name| number(&mut client, name)), [3, 2, 2]);
    assert!(number(&mut client, "compared") > 0);
    assert_eq!(audit(&mut client, ""), []);
    assert_eq!(client.ask("MIROIR.LIST miroir:tasks"), list);
    let mended = client.ask("MIROIR.MEMORY miroir SAMPLES 0");
    let tables = |memory: &str| memory.split("catalog").next().unwrap().to_owned();
    assert_eq!(tables(&mended), tables(&memory));
    assert_eq!(client.dump(), before);
}

#[test]
fn a_ghost_at_the_key_of_another_value_is_found_once() {
    let server = Server::start_debug_build();
    let mut client = server.client();
    client.run(&["CONFIG SET miroir.audit-budget-us 0", "SET miroir:tenant_map:text x"]);
    client.run(&["HSET miroir:tasks:stub status failed"]);
    client.run(&["MIROIR.DEBUG INVENT miroir:tenant_map:text", "MIROIR.DEBUG INVENT miroir:tasks:stub"]);
    let expected = [
        "catalog-at-odds miroir:tasks:stub",
        "catalog-at-odds miroir:tenant_map:text",
        "stub miroir:tasks:stub",
    ];
    assert_eq!(short(&audit(&mut client, "")), expected);
    assert_eq!(short(&audit(&mut client, "REPAIR")), expected);
    assert_eq!(audit(&mut client, ""), []);
}

#[test]
fn rows_whose_time_runs_out_during_a_call_are_no_finding() {
    let server = Server::start();
    let mut client = server.client();
    // The time of a row is up in each millisecond in which the walks go on.
    let script = "for id = 0, 19999 do redis.call('MIROIR.PUT', 'miroir:session:s' .. id, \
                  'PXAT', string.format('%d', ARGV[1] + id / 20), 'pinned_group', 'g') end";
    let begin = client.server_ms() + 2000;
    assert_eq!(client.call(&["EVAL", script, "0", &begin.to_string()]), "nil");
    support::clock::wait_until(&mut client, begin);
    let mut found = Vec::new();
    while client.server_ms() < begin + 1000 {
        found.extend(audit(&mut client, "COUNT 10000"));
    }
    assert_eq!(found, []);
}
