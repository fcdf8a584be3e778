//! The lives of tasks and aliases: MIROIR.TASK.STATUS, MIROIR.TASK.NODE, MIROIR.ALIAS.FLIP, and what PUT and PATCH
//! refuse because it would take a row back.

mod support;

use support::{assert_refused, Client, Server};

const STATUSES: [&str; 5] = ["enqueued", "processing", "succeeded", "failed", "canceled"];

/// The contract's transitions; staying is always allowed.
fn may_become(from: &str, to: &str) -> bool {
    from == to
        || match from {
            "enqueued" => true,
            "processing" => ["succeeded", "failed", "canceled"].contains(&to),
            _ => false,
        }
}

/// Asserts that a field holds a time between `since` and now.
fn assert_now(client: &mut Client, key: &str, field: &str, since: i64) {
    let time = client.integer(&format!("HGET {key} {field}"));
    // The server's cached clock may be a moment behind TIME.
    assert!((since - 20..=client.server_ms()).contains(&time), "{key} {field}: {time}");
}

#[test]
fn every_transition_by_every_command() {
    let server = Server::start();
    let mut client = server.client();
    for from in STATUSES {
        for to in STATUSES {
            for line in ["MIROIR.TASK.STATUS {} ", "MIROIR.PATCH {} status ", "MIROIR.PUT {} status "] {
                client.ask("FLUSHALL");
                client.ask("HSET miroir:tasks:t miroir_id t created_at 5 node_tasks {} node_errors {}");
                client.ask(&format!("HSET miroir:tasks:t status {from}"));
                client.ask("SADD miroir:tasks:_index t");
                let before = client.dump();
                let line = format!("{}{to}", line.replace("{}", "miroir:tasks:t"));
                let done = if line.contains("PUT") { "2" } else { "1" };
                let expected = if may_become(from, to) { done } else { "0" };
                assert_eq!(client.ask(&line), expected, "{from}: {line}");
                if may_become(from, to) {
                    assert_eq!(client.ask("HGET miroir:tasks:t status"), to, "{line}");
                } else {
                    assert_eq!(client.dump(), before, "{from}: {line}");
                }
            }
        }
    }
}

#[test]
fn a_status_is_dated_where_it_has_no_date() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:tasks:t";
    let since = client.server_ms();
    client.ask("MIROIR.PUT miroir:tasks:t index_uid movies");
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t enqueued"), "1");
    assert_eq!(client.ask("HMGET miroir:tasks:t started_at finished_at error"), "[nil, nil, nil]");

    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t processing"), "1");
    assert_now(&mut client, key, "started_at", since);
    assert_eq!(client.ask("HMGET miroir:tasks:t status finished_at"), "[processing, nil]");
    let started = client.ask("HGET miroir:tasks:t started_at");

    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t failed error 'node-1: timeout'"), "1");
    assert_now(&mut client, key, "finished_at", since);
    assert_eq!(
        client.ask("HMGET miroir:tasks:t status started_at error index_uid"),
        format!("[failed, {started}, node-1: timeout, movies]")
    );

    // The same status again, and a refusal, change nothing.
    let before = client.dump();
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t failed"), "1");
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t succeeded ERROR late"), "0");
    assert_eq!(client.dump(), before);

    // Dates that are there already stay.
    client.ask("MIROIR.PUT miroir:tasks:t2 started_at 11 finished_at 12");
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t2 processing"), "1");
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t2 canceled"), "1");
    assert_eq!(client.ask("HMGET miroir:tasks:t2 status started_at finished_at"), "[canceled, 11, 12]");
}

#[test]
fn nodes_report_side_by_side() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(r#"MIROIR.PUT miroir:tasks:t node_tasks '{"node-0": 1}' error e"#);
    for (line, tasks, errors) in [
        ("node-1 UID 7", r#"{"node-0":1,"node-1":7}"#, "{}"),
        ("node-2 ERROR timeout", r#"{"node-0":1,"node-1":7}"#, r#"{"node-2":"timeout"}"#),
        (
            "node-1 error 'a \"b\" é' uid 8",
            r#"{"node-0":1,"node-1":8}"#,
            r#"{"node-2":"timeout","node-1":"a \"b\" é"}"#,
        ),
        (
            "node-0 UID 9223372036854775807",
            r#"{"node-0":9223372036854775807,"node-1":8}"#,
            r#"{"node-2":"timeout","node-1":"a \"b\" é"}"#,
        ),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.TASK.NODE miroir:tasks:t {line}")), "1", "{line}");
        // Objects have no order: compared as JSON.
        for (field, wanted) in [("node_tasks", tasks), ("node_errors", errors)] {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let stored = client.ask(&format!("HGET miroir:tasks:t {field}"));
            assert_eq!(json(&stored), json(wanted), "{line}");
        }
    }
    assert_eq!(client.ask("HMGET miroir:tasks:t status error"), "[enqueued, e]");

    // A task of a raw client that never wrote the objects.
    client.ask("HSET miroir:tasks:raw miroir_id raw status processing");
    client.ask("SADD miroir:tasks:_index raw");
    assert_eq!(client.ask("MIROIR.TASK.NODE miroir:tasks:raw n UID 0 ERROR x"), "1");
    assert_eq!(client.ask("HMGET miroir:tasks:raw node_tasks node_errors"), r#"[{"n":0}, {"n":"x"}]"#);
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:raw succeeded"), "1");
}

#[test]
fn what_is_missing_or_a_stub_is_not_there() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HSET miroir:tasks:stub status processing");
    client.ask("HSET miroir:aliases:stub current_uid a");
    let before = client.dump();
    for id in ["stub", "none"] {
        for line in [
            format!("MIROIR.TASK.STATUS miroir:tasks:{id} succeeded"),
            format!("MIROIR.TASK.NODE miroir:tasks:{id} n UID 1"),
            format!("MIROIR.ALIAS.FLIP miroir:aliases:{id} v2"),
            format!("MIROIR.ALIAS.FLIP miroir:aliases:{id} TARGETS 1 v2 IFVERSION 7"),
        ] {
            assert_eq!(client.ask(&line), "-2", "{line}");
            assert_eq!(client.dump(), before, "{line}");
        }
    }
}

/// The history of an alias as `uid uid …`, after a look at its dates and its shape.
fn history(client: &mut Client, key: &str, since: i64) -> String {
    let text = client.ask(&format!("HGET {key} history"));
    let entries: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&text).unwrap();
    let mut uids = Vec::new();
    let mut last = 0;
    for entry in entries {
        assert_eq!(entry.keys().collect::<Vec<_>>(), ["flipped_at", "uid"], "{text}");
        let at = entry["flipped_at"].as_i64().unwrap();
        assert!(at >= last, "oldest first: {text}");
        assert!(at < 1000 || (since - 20..=client.server_ms()).contains(&at), "{text}");
        last = at;
        uids.push(entry["uid"].as_str().unwrap().to_owned());
    }
    uids.join(" ")
}

#[test]
fn flips_of_a_single_alias() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:aliases:films";
    let since = client.server_ms();
    client.ask(r#"MIROIR.PUT miroir:aliases:films kind single current_uid v1 created_at 5 history '[{"uid":"v0","flipped_at":3}]'"#);
    for (line, answer, uid, before) in [
        ("v2", "2", "v2", "v0 v1"),
        ("v3 IFVERSION 2", "3", "v3", "v0 v1 v2"),
        ("v4 IFVERSION 2", "0", "v3", "v0 v1 v2"),
        ("v4 IFVERSION 4", "0", "v3", "v0 v1 v2"),
        ("v4 ifversion 3 retain 2", "4", "v4", "v2 v3"),
        ("v5 RETAIN 1", "5", "v5", "v4"),
    ] {
        let dump = client.dump();
        assert_eq!(client.ask(&format!("MIROIR.ALIAS.FLIP {key} {line}")), answer, "{line}");
        assert_eq!(client.ask(&format!("HGET {key} current_uid")), uid, "{line}");
        assert_eq!(history(&mut client, key, since), before, "{line}");
        assert_eq!(client.dump() == dump, answer == "0", "{line}");
    }
    for number in 6..=20 {
        let flip = format!("MIROIR.ALIAS.FLIP {key} v{number}");
        assert_eq!(client.ask(&flip), number.to_string());
    }
    // The newest ten by default.
    assert_eq!(history(&mut client, key, since), "v10 v11 v12 v13 v14 v15 v16 v17 v18 v19");
    assert_eq!(
        client.ask(&format!("HMGET {key} name kind current_uid target_uids version created_at")),
        "[films, single, v20, nil, 20, 5]"
    );
}

#[test]
fn flips_of_a_multi_alias_join_the_old_targets() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:aliases:all";
    let since = client.server_ms();
    client.ask(r#"MIROIR.PUT miroir:aliases:all kind multi target_uids '["a","b"]'"#);
    for (line, answer, targets, before) in [
        ("TARGETS 2 b c", "2", r#"["b","c"]"#, "a,b"),
        ("targets 1 d IFVERSION 2 RETAIN 5", "3", r#"["d"]"#, "a,b b,c"),
        ("TARGETS 1 e IFVERSION 2", "0", r#"["d"]"#, "a,b b,c"),
        ("TARGETS 3 x RETAIN y RETAIN 2", "4", r#"["x","RETAIN","y"]"#, "b,c d"),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.ALIAS.FLIP {key} {line}")), answer, "{line}");
        assert_eq!(client.ask(&format!("HGET {key} target_uids")), targets, "{line}");
        assert_eq!(history(&mut client, key, since), before, "{line}");
    }
    assert_eq!(client.ask(&format!("HMGET {key} kind current_uid version")), "[multi, nil, 4]");
}

#[test]
fn an_alias_of_a_raw_client_can_be_flipped() {
    let server = Server::start();
    let mut client = server.client();
    let since = client.server_ms();
    client.ask("HSET miroir:aliases:raw name raw kind single current_uid v1");
    client.ask("SADD miroir:aliases:_index raw");
    assert_eq!(client.ask("MIROIR.ALIAS.FLIP miroir:aliases:raw v2 IFVERSION 1"), "2");
    assert_eq!(history(&mut client, "miroir:aliases:raw", since), "v1");
    assert_eq!(client.ask("HMGET miroir:aliases:raw current_uid version"), "[v2, 2]");
}

#[test]
fn what_tasks_and_aliases_refuse() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:tasks:t status processing");
    client.ask("MIROIR.PUT miroir:aliases:one kind single current_uid v1");
    client.ask("MIROIR.PUT miroir:aliases:last kind single current_uid v1 version 9223372036854775807");
    client.ask(r#"MIROIR.PUT miroir:aliases:many kind multi target_uids '["v1"]'"#);
    client.ask("HSET miroir:tasks:odd miroir_id odd node_tasks [1");
    client.ask("HSET miroir:aliases:odd name odd kind single current_uid a version x history {");
    client.ask("SET miroir:tasks:text x");
    client.ask("SET miroir:aliases:text x");
    assert_refused(
        &mut client,
        &[
            ("MIROIR.TASK.STATUS miroir:tasks:t", "wrong number of arguments"),
            (
                "MIROIR.TASK.STATUS miroir:tasks:t done",
                "expected one of enqueued|processing|succeeded|failed|canceled, got 'done'",
            ),
            ("MIROIR.TASK.STATUS miroir:tasks:none done", "'done'"),
            ("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR", "'ERROR'"),
            ("MIROIR.TASK.STATUS miroir:tasks:t failed WHY x", "'WHY'"),
            ("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR x ERROR y", "'ERROR'"),
            ("MIROIR.TASK.STATUS miroir:jobs:t failed", "miroir:jobs:t"),
            ("MIROIR.TASK.STATUS miroir:tasks:_index failed", "_index"),
            ("MIROIR.TASK.STATUS miroir:tasks failed", "miroir:tasks"),
            ("MIROIR.TASK.STATUS miroir:tasks:text failed", "WRONGTYPE"),
            ("MIROIR.TASK.NODE miroir:tasks:t n", "UID"),
            ("MIROIR.TASK.NODE miroir:tasks:t '' UID 1", "1 to 512 bytes"),
            ("MIROIR.TASK.NODE miroir:tasks:t n UID", "'UID'"),
            ("MIROIR.TASK.NODE miroir:tasks:t n UID -1", "got '-1'"),
            ("MIROIR.TASK.NODE miroir:tasks:t n UID 01", "got '01'"),
            ("MIROIR.TASK.NODE miroir:tasks:t n UID 18446744073709551616", "got '18446744073709551616'"),
            ("MIROIR.TASK.NODE miroir:tasks:t n UID 1 UID 2", "UID"),
            ("MIROIR.TASK.NODE miroir:tasks:t n TEXT x", "'TEXT'"),
            ("MIROIR.TASK.NODE miroir:tasks:odd n UID 1", "node_tasks"),
            ("MIROIR.TASK.NODE miroir:tasks:text n UID 1", "WRONGTYPE"),
            ("MIROIR.TASK.NODE miroir:aliases:one n UID 1", "miroir:aliases:one"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one TARGETS 1 v2", "single"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:many v2", "multi"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one ''", "uid"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one", "wrong number of arguments"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:many TARGETS 2 a", "TARGETS"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:many TARGETS 1 a b", "'b'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:many TARGETS -1 a", "got '-1'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:many TARGETS 9223372036854775807 a", "TARGETS"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2 RETAIN", "'RETAIN'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2 RETAIN -1", "got '-1'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2 IFVERSION x", "got 'x'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2 IFVERSION 1 IFVERSION 1", "IFVERSION"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2 KEEP 1", "'KEEP'"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:odd v2", "version"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:last v2", "version"),
            ("MIROIR.ALIAS.FLIP miroir:aliases:text v2", "WRONGTYPE"),
            ("MIROIR.ALIAS.FLIP miroir:tasks:t v2", "miroir:tasks:t"),
        ],
    );
    assert_eq!(client.ask("PING"), "PONG");
}

#[test]
fn what_would_go_back_is_refused_and_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    for (line, answer) in [
        ("MIROIR.PUT miroir:node_settings_version:m:n version 9", "1"),
        ("MIROIR.PUT miroir:cdc_cursor:k:m last_event_seq 10", "1"),
        ("MIROIR.PUT miroir:tasks:run status processing", "1"),
        ("MIROIR.PUT miroir:tasks:end status failed", "1"),
        ("MIROIR.PUT miroir:admin_session:a csrf_token c admin_key_hash h revoked 1", "1"),
        // Before the row: the module adds the entry itself when it sees one.
        ("SADD miroir:jobs:_index j", "1"),
        ("HSET miroir:jobs:j id j type t params {} state in_progress claimed_by p progress {}", "6"),
    ] {
        assert_eq!(client.ask(line), answer, "{line}");
    }
    let before = client.dump();
    for line in [
        "MIROIR.PUT miroir:node_settings_version:m:n version 8",
        "MIROIR.PUT miroir:node_settings_version:m:n PX 5000 version 8",
        "MIROIR.PATCH miroir:node_settings_version:m:n version 8",
        "MIROIR.PUT miroir:cdc_cursor:k:m last_event_seq 9",
        "MIROIR.PATCH miroir:cdc_cursor:k:m last_event_seq 9",
        "MIROIR.PUT miroir:tasks:run status enqueued",
        "MIROIR.PUT miroir:tasks:run index_uid movies",
        "MIROIR.PATCH miroir:tasks:run status enqueued error e",
        "MIROIR.PUT miroir:tasks:end status succeeded",
        "MIROIR.PATCH miroir:tasks:end status processing",
        "MIROIR.PUT miroir:jobs:j type t",
        "MIROIR.PUT miroir:admin_session:a csrf_token c admin_key_hash h",
        "MIROIR.TOUCH miroir:admin_session:a",
        "MIROIR.TOUCH miroir:admin_session:a PX 99999999",
    ] {
        assert_eq!(client.ask(line), "0", "{line}");
        assert_eq!(client.dump(), before, "{line}");
    }
    for line in [
        "MIROIR.PATCH miroir:node_settings_version:m:n version 9",
        "MIROIR.PATCH miroir:cdc_cursor:k:m last_event_seq 11",
        "MIROIR.PATCH miroir:tasks:run status processing",
        "MIROIR.PATCH miroir:tasks:run status canceled",
        "MIROIR.PATCH miroir:tasks:end error late",
    ] {
        assert_eq!(client.ask(line), "1", "{line}");
    }
    assert_eq!(client.ask("MIROIR.PUT miroir:cdc_cursor:k:m last_event_seq 11"), "2");
}
