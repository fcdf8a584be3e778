//! MIROIR.AUDIT: every fault is found, told and mended, and nothing else is touched.

#[path = "audit/report.rs"]
mod report;
mod support;

use std::collections::BTreeSet;

use report::{audit, calls, changed, short, step, try_audit};
use support::workload::work;
use support::Server;

/// What raw clients do, which finding tells of it (kind, key, a part of the detail), and which keys REPAIR changes.
struct Fault {
    lines: &'static [&'static str],
    finding: (&'static str, &'static str, &'static str),
    changes: &'static [&'static str],
}

const fn fault(
    lines: &'static [&'static str],
    finding: (&'static str, &'static str, &'static str),
    changes: &'static [&'static str],
) -> Fault {
    Fault { lines, finding, changes }
}

/// Beside the keys that the workload leaves.
const FAULTS: &[Fault] = &[
    fault(
        &["SREM miroir:tasks:_index t1"],
        ("not-in-index", "miroir:tasks:t1", "miroir:tasks:_index"),
        &["miroir:tasks:_index"],
    ),
    fault(
        &["DEL miroir:rollover:_index"],
        ("not-in-index", "miroir:rollover:logs", "miroir:rollover:_index"),
        &["miroir:rollover:_index"],
    ),
    fault(
        &["SREM miroir:cdc_cursor:_index:kafka:eu kafka:eu:movies"],
        ("not-in-index", "miroir:cdc_cursor:kafka:eu:movies", "miroir:cdc_cursor:_index:kafka:eu"),
        &["miroir:cdc_cursor:_index:kafka:eu"],
    ),
    fault(
        &["SADD miroir:tasks:_index gone"],
        ("index-entry-without-row", "miroir:tasks:_index", "gone"),
        &["miroir:tasks:_index"],
    ),
    fault(
        &["SADD miroir:aliases:_index ''"],
        ("index-entry-without-row", "miroir:aliases:_index", "no row"),
        &["miroir:aliases:_index"],
    ),
    fault(
        &["SET miroir:canary:text x", "SADD miroir:canary:_index text"],
        ("index-entry-without-row", "miroir:canary:_index", "text"),
        &["miroir:canary:_index"],
    ),
    fault(
        &["SADD miroir:cdc_cursor:_index:nats kafka:eu:movies"],
        ("index-entry-without-row", "miroir:cdc_cursor:_index:nats", "kafka:eu:movies"),
        &["miroir:cdc_cursor:_index:nats"],
    ),
    fault(
        &["HSET miroir:tasks:stub status failed"],
        ("stub", "miroir:tasks:stub", "miroir_id"),
        &["miroir:tasks:stub"],
    ),
    fault(
        &["HDEL miroir:rollover:logs pattern"],
        ("stub", "miroir:rollover:logs", "pattern"),
        &["miroir:rollover:logs"],
    ),
    fault(
        &["HSET miroir:session:stub pinned_group g"],
        ("stub", "miroir:session:stub", "session_id"),
        &["miroir:session:stub"],
    ),
    fault(
        &["SREM miroir:jobs:_queued j1"],
        ("queued-at-odds", "miroir:jobs:j1", "miroir:jobs:_queued"),
        &["miroir:jobs:_queued"],
    ),
    fault(
        &["HSET miroir:jobs:done type dump state completed", "SADD miroir:jobs:_queued done"],
        ("queued-at-odds", "miroir:jobs:done", "miroir:jobs:_queued"),
        &["miroir:jobs:_queued"],
    ),
    fault(
        &["SADD miroir:jobs:_queued gone"],
        ("queued-at-odds", "miroir:jobs:_queued", "gone"),
        &["miroir:jobs:_queued"],
    ),
    fault(
        &["PERSIST miroir:session:px"],
        ("ttl-missing", "miroir:session:px", "TTL"),
        &["miroir:session:px"],
    ),
    fault(&["PERSIST miroir:lease:raw"], ("ttl-missing", "miroir:lease:raw", "TTL"), &["miroir:lease:raw"]),
    fault(
        &["LPUSH miroir:cdc:overflow:kafka 1234567"],
        ("byte-counter-off", "miroir:cdc:overflow:kafka", "bytes"),
        &["miroir:cdc:overflow_bytes:kafka", "miroir:cdc:overflow_stat:kafka"],
    ),
    fault(
        &["LPUSH miroir:cdc:overflow:raw one three"],
        ("byte-counter-off", "miroir:cdc:overflow:raw", "8"),
        &["miroir:cdc:overflow_bytes:raw", "miroir:cdc:overflow_stat:raw"],
    ),
    fault(
        &["SET miroir:cdc:overflow_bytes:kafka 1"],
        ("byte-counter-off", "miroir:cdc:overflow:kafka", "1"),
        &["miroir:cdc:overflow_bytes:kafka"],
    ),
    fault(
        &["SET miroir:cdc:overflow_bytes:kafka x"],
        ("byte-counter-off", "miroir:cdc:overflow:kafka", "bytes"),
        &["miroir:cdc:overflow_bytes:kafka"],
    ),
];

#[test]
fn each_fault_is_found_and_mended_and_nothing_else_changes() {
    let server = Server::start();
    let mut client = server.client();
    for Fault { lines, finding: (kind, key, detail), changes } in FAULTS {
        client.ask("FLUSHALL");
        work(&mut client);
        let healthy = client.dump();
        assert_eq!(audit(&mut client, ""), [], "before {lines:?}");
        client.run(lines);
        let before = client.dump();
        assert_ne!(before, healthy, "{lines:?} does nothing");

        let told = audit(&mut client, "");
        assert_eq!(short(&told), [format!("{kind} {key}")], "{lines:?}");
        assert!(told[0].detail.contains(detail) && !told[0].repaired, "{lines:?}: {told:?}");
        assert_eq!(client.dump(), before, "{lines:?}: without REPAIR");

        let mended = audit(&mut client, "REPAIR");
        assert_eq!(short(&mended), short(&told), "{lines:?}");
        assert!(mended[0].repaired, "{lines:?}: {mended:?}");
        let after = client.dump();
        let expected: BTreeSet<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(changed(&before, &after), expected, "{lines:?}");
        assert_eq!(audit(&mut client, ""), [], "after the repair of {lines:?}");
        // What is mended is what was there before, unless the rows are others now.
        for key in changes.iter().filter(|key| key.contains(":_") && !key.contains("rollover")) {
            assert_eq!(after.get(*key), healthy.get(*key), "{lines:?}: {key}");
        }
    }
}

#[test]
fn a_byte_counter_that_outlives_its_buffer_is_found() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 99 one three",
        "DEL miroir:cdc:overflow:kafka",
    ]);
    let told = audit(&mut client, "REPAIR");
    assert_eq!(short(&told), ["byte-counter-off miroir:cdc:overflow:kafka"]);
    assert_eq!(client.ask("GET miroir:cdc:overflow_bytes:kafka"), "0");
    assert_eq!(audit(&mut client, ""), []);
    // The numbers of the events go on all the same.
    let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 99 x");
    assert!(pushed.contains("length, 1, bytes, 1, ") && pushed.ends_with("last_seq, 3]"), "{pushed}");
}

#[test]
fn an_entry_of_a_reserved_id_is_one_without_a_row() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&["HSET miroir:tasks:_x miroir_id _x", "SADD miroir:tasks:_index _x _index"]);
    assert_eq!(client.ask("MIROIR.LIST miroir:tasks IDS"), "[]");
    assert_eq!(short(&audit(&mut client, "REPAIR")), ["index-entry-without-row miroir:tasks:_index"; 2]);
    assert_eq!(client.ask("KEYS *"), "[miroir:tasks:_x]");
    assert_eq!(audit(&mut client, ""), []);
}

#[test]
fn sets_that_repair_empties_keep_the_walk_from_no_other() {
    let server = Server::start();
    let mut client = server.client();
    let tables = ["tasks", "node_settings_version", "aliases", "jobs", "canary", "rollover"];
    for table in tables {
        client.ask(&format!("SADD miroir:{table}:_index gone:x"));
    }
    client.run(&["SADD miroir:jobs:_queued gone", "SADD miroir:cdc_cursor:_index:a a:x"]);
    client.run(&["SADD miroir:cdc_cursor:_index:b b:x"]);
    let told = audit(&mut client, "");
    assert_eq!(told.len(), 9, "{:?}", short(&told));
    let mended = audit(&mut client, "REPAIR");
    assert_eq!(short(&mended), short(&told));
    assert_eq!(client.ask("KEYS *"), "[]");
}

#[test]
fn a_set_that_goes_meanwhile_hides_no_other() {
    let server = Server::start();
    let mut client = server.client();
    let sets = ["tasks", "aliases", "canary", "rollover"].map(|table| format!("miroir:{table}:_index"));
    for gone in &sets {
        sets.iter().for_each(|set| client.run(&[&format!("SADD {set} gone")]));
        let (mut cursor, mut told) = ("0".to_owned(), BTreeSet::new());
        loop {
            let (next, findings) = step(&mut client, &format!("miroir {cursor}")).unwrap();
            if findings.iter().any(|finding| &finding.key == gone) {
                client.run(&[&format!("DEL {gone}")]);
            }
            told.extend(findings.into_iter().map(|finding| finding.key));
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(told, sets.iter().cloned().collect(), "{gone} goes when it was met");
    }
}

#[test]
fn other_keys_namespaces_and_databases_are_left_alone() {
    let server = Server::start();
    let mut client = server.client();
    let lines = |namespace: &str| {
        [
            format!("HSET {namespace}:tasks:stub status failed"),
            format!("SADD {namespace}:tasks:_index gone"),
            format!("HSET {namespace}:session:s session_id s"),
            format!("LPUSH {namespace}:cdc:overflow:kafka one"),
        ]
    };
    for (database, namespaces) in
        [("1", &["miroir"][..]), ("0", &["mir", "miroir2", "miroir:eu", "eu:miroir"])]
    {
        client.ask(&format!("SELECT {database}"));
        for line in namespaces.iter().flat_map(|namespace| lines(namespace)) {
            client.run(&[&line]);
        }
    }
    // Whatever an operator keeps beside: it is no index of the module.
    client.run(&[
        "SADD miroir:tasks:_index_backup t1 t2",
        "SADD miroir:tasks:_done t1",
        "SADD miroir:other gone",
        "HSET miroir:tasksx:1 a b",
    ]);
    let before = client.dump();
    assert_eq!(audit(&mut client, "REPAIR"), []);
    assert_eq!(client.dump(), before);
    assert_eq!(calls(&mut client, "miroir:eu", "REPAIR").concat().len(), 4);
    let after = client.dump();
    assert!(changed(&before, &after).iter().all(|key| key.starts_with("miroir:eu:")));
    client.ask("SELECT 1");
    assert_eq!(audit(&mut client, "").len(), 4);
}

#[test]
fn a_row_without_a_ttl_gets_the_one_it_names_or_its_default() {
    const AHEAD: &str = "4102444800000";
    let server = Server::start();
    let mut client = server.client();
    let sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let idemp = format!("body_sha256 {sha} miroir_task_id t");
    let admin = "csrf_token x admin_key_hash y";
    // The command, the field that says when, and the default life; None where the key says when it ends.
    let cases: &[(&str, &str, Option<i64>)] = &[
        (&format!("HSET miroir:session:ahead session_id s ttl {AHEAD}"), "ttl", None),
        ("HSET miroir:session:none session_id s", "ttl", Some(900_000)),
        ("HSET miroir:session:past session_id s ttl 5", "ttl", Some(900_000)),
        ("HSET miroir:session:words session_id s ttl soon", "ttl", Some(900_000)),
        (&format!("HSET miroir:idemp:ahead {idemp} expires_at {AHEAD}"), "expires_at", None),
        (&format!("HSET miroir:idemp:none {idemp}"), "expires_at", Some(86_400_000)),
        (&format!("HSET miroir:admin_session:ahead {admin} expires_at {AHEAD}"), "expires_at", None),
        (&format!("HSET miroir:admin_session:none {admin}"), "expires_at", Some(3_600_000)),
        ("SET miroir:lease:l pod", "", Some(30_000)),
        ("SET miroir:ratelimit:searchui:ip 3", "", Some(60_000)),
        ("SET miroir:ratelimit:adminlogin:ip 3", "", Some(60_000)),
        ("HSET miroir:ratelimit:adminlogin:backoff:past failed_count 3 next_allowed_at 5", "", Some(60_000)),
        (
            "HSET miroir:ratelimit:adminlogin:backoff:ahead failed_count 3 next_allowed_at 4102444740000",
            "",
            None,
        ),
        ("HSET miroir:search_ui_scoped_key_observed:pod:i generation 1", "", Some(60_000)),
        ("ZADD miroir:live_pods 1 pod-1", "", Some(300_000)),
    ];
    let mut keys: Vec<&str> = Vec::new();
    for (line, _, _) in cases {
        client.run(&[line]);
        keys.push(line.split(' ').nth(1).unwrap());
    }
    // These may stay.
    client.run(&["SET miroir:lease:_tokens x", "HSET miroir:tenant_map:00 tenant_id t"]);
    client.run(&["ZADD miroir:canary_runs:c 1 {}"]);
    keys.sort_unstable();
    let told: Vec<_> =
        audit(&mut client, "").into_iter().map(|finding| (finding.kind, finding.key)).collect();
    let expected: Vec<_> = keys.iter().map(|key| ("ttl-missing".to_owned(), (*key).to_owned())).collect();
    assert_eq!(told, expected);
    let before = client.dump();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let from = i64::try_from(now()).unwrap();
    assert_eq!(audit(&mut client, "REPAIR").len(), cases.len());
    let to = i64::try_from(now()).unwrap();
    for (line, field, life) in cases {
        let key = line.split(' ').nth(1).unwrap();
        let end = client.integer(&format!("PEXPIRETIME {key}"));
        match life {
            Some(life) => assert!((from + life..=to + life).contains(&end), "{key}: {end}"),
            None => assert_eq!(end.to_string(), AHEAD, "{key}"),
        }
        if !field.is_empty() {
            assert_eq!(client.integer(&format!("HGET {key} {field}")), end, "{key}");
        }
    }
    let after = client.dump();
    assert_eq!(changed(&before, &after).len(), cases.len());
    assert_eq!(audit(&mut client, ""), []);
}

#[test]
fn foreign_values_at_the_keys_beside_the_rows_stop_no_walk() {
    let mut server = Server::start();
    let mut client = server.client();
    let mut faults = Vec::new();
    // What raw clients do, and whether there is something to be told of it.
    for (plant, is_fault) in [
        (&["DEL miroir:tasks:_index", "SET miroir:tasks:_index x"][..], true),
        (&["DEL miroir:jobs:_queued", "HSET miroir:jobs:_queued a b"], true),
        // A repair that meets the foreign value must not have begun.
        (&["DEL miroir:tasks:_index", "HSET miroir:tasks:stub error e", "SET miroir:tasks:_index x"], true),
        (&["DEL miroir:jobs:_queued", "SREM miroir:jobs:_index j1", "SET miroir:jobs:_queued x"], true),
        (&["DEL miroir:cdc:overflow_bytes:kafka", "LPUSH miroir:cdc:overflow_bytes:kafka x"], true),
        (&["DEL miroir:cdc:overflow_stat:kafka", "SET miroir:cdc:overflow_stat:kafka x"], true),
        (&["HSET miroir:cdc:overflow_stat:kafka first_seq 9223372036854775807 last_seq x"], false),
        (&["DEL miroir:live_pods", "SET miroir:live_pods x"], false),
        (&["LPUSH miroir:lease:list x"], false),
        (&["ZADD miroir:ratelimit:adminlogin:zset 1 x"], false),
        (&["SET miroir:canary:text x"], false),
    ] {
        client.ask("FLUSHALL");
        work(&mut client);
        client.run(plant);
        client.run(&["SADD miroir:aliases:_index gone", "HSET miroir:canary:stub name x"]);
        let foreign = plant.last().unwrap().split(' ').nth(1).unwrap();
        let content = client.dump().remove(foreign);
        for repair in ["", "REPAIR"] {
            let told = match try_audit(&mut client, repair) {
                Ok(told) => told,
                Err(error) => {
                    faults.push(format!("{plant:?} {repair}: {error}"));
                    continue;
                }
            };
            for other in ["index-entry-without-row miroir:aliases:_index", "stub miroir:canary:stub"] {
                assert!(short(&told).contains(&other.to_owned()), "{plant:?} {repair}: {told:?}");
            }
            assert_eq!(told.len() > 2, is_fault, "{plant:?} {repair}: {told:?}");
        }
        if !plant[0].starts_with("HSET") {
            assert_eq!(client.dump().remove(foreign), content, "{plant:?}: the foreign value is gone");
        }
        if let Ok(left) = try_audit(&mut client, "REPAIR") {
            assert!(left.iter().all(|finding| !finding.repaired), "{plant:?}: {left:?}");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(server.is_alive());
}
