//! What clients without the module leave behind, and odd corners of what the module is asked for.

mod support;

use support::{replicate, Client, Server};

#[test]
fn empty_strings_of_raw_clients_are_absent_fields() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(
        "HSET miroir:tasks:t miroir_id t created_at 1 status enqueued node_tasks '' node_errors '' \
         error '' started_at '' finished_at ''",
    );
    assert_eq!(client.ask("MIROIR.TASK.NODE miroir:tasks:t n1 UID 4"), "1");
    assert_eq!(client.ask("HGET miroir:tasks:t node_tasks"), r#"{"n1":4}"#);
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR 'node gone'"), "1");
    assert!(client.integer("HGET miroir:tasks:t finished_at") > 0);
    assert_eq!(client.ask("HGET miroir:tasks:t error"), "node gone");
    // Said again, it stays as it was.
    assert_eq!(client.ask("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR other"), "1");
    assert_eq!(client.ask("HGET miroir:tasks:t error"), "node gone");

    client.ask("HSET miroir:aliases:a name a kind single current_uid v1 target_uids '' version 1 history ''");
    assert_eq!(client.ask("MIROIR.ALIAS.FLIP miroir:aliases:a v2"), "2");
    assert!(client.ask("HGET miroir:aliases:a history").starts_with(r#"[{"uid":"v1","flipped_at":1"#));
}

#[test]
fn what_the_key_says_needs_no_field() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HSET miroir:cdc_cursor:kafka:movies last_event_seq 5");
    client.ask("SADD miroir:cdc_cursor:_index:kafka kafka:movies");
    let list = "MIROIR.LIST miroir:cdc_cursor WHERE sink_name kafka IDS";
    assert_eq!(client.ask(list), "[kafka:movies]");
    client.ask("HSET miroir:node_settings_version:movies:n1 version 5");
    client.ask("SADD miroir:node_settings_version:_index movies:n1");
    assert_eq!(client.ask("MIROIR.COUNT miroir:node_settings_version BY node_id"), "[n1, 1]");
}

#[test]
fn a_flip_leaves_older_entries_as_they_were_written() {
    let server = Server::start();
    let mut client = server.client();
    let history = r#"[{"uid":"v0","flipped_at":1,"by":"bob"}]"#;
    client.ask(&format!("MIROIR.PUT miroir:aliases:a kind single current_uid v1 history '{history}'"));
    client.ask("MIROIR.ALIAS.FLIP miroir:aliases:a v2");
    let history = client.ask("HGET miroir:aliases:a history");
    assert!(history.starts_with(r#"[{"uid":"v0","flipped_at":1,"by":"bob"},{"uid":"v1","#), "{history}");
}

#[test]
fn a_revoked_session_is_not_prolonged_by_any_command() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:admin_session:s csrf_token c admin_key_hash h");
    assert_eq!(client.ask("MIROIR.PATCH miroir:admin_session:s revoked 1"), "1");
    let before = client.dump();
    assert_eq!(client.ask("MIROIR.PATCH miroir:admin_session:s expires_at 4102444800000"), "0");
    assert_eq!(client.ask("MIROIR.PATCH miroir:admin_session:s revoked 0"), "0");
    assert_eq!(client.ask("MIROIR.TOUCH miroir:admin_session:s"), "0");
    assert_eq!(client.dump(), before);
    assert_eq!(client.ask("MIROIR.PATCH miroir:admin_session:s user_agent curl"), "1");
}

#[test]
fn a_buffer_of_events_without_bytes_can_be_emptied() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:cdc:overflow:kafka";
    client.call(&["MIROIR.CDC.PUSH", key, "budget", "9", "policy", "REJECT", "", "", ""]);
    assert_eq!(client.ask(&format!("LLEN {key}")), "3");
    assert_eq!(client.ask(&format!("MIROIR.CDC.TRIM {key} BUDGET 1")), "[0, 0]");
    assert_eq!(client.ask(&format!("MIROIR.CDC.TRIM {key} BUDGET 0")), "[3, 0]");
    assert_eq!(client.ask(&format!("EXISTS {key}")), "0");
}

#[test]
fn numbers_at_the_end_of_their_range_are_an_error_and_do_not_wrap() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:cdc:overflow:kafka";
    client.ask(&format!("HSET miroir:cdc:overflow_stat:kafka first_seq {0} last_seq {0}", i64::MAX));
    client.ask(&format!("LPUSH {key} a b c"));
    let before = client.dump();
    for command in ["PEEK", "STAT", "POP"] {
        let answer = client.ask(&format!("MIROIR.CDC.{command} {key}"));
        assert!(answer.starts_with("ERR stored field 'first_seq'"), "{command}: {answer}");
    }
    assert_eq!(client.dump(), before);
    assert_eq!(
        client.ask("MIROIR.PUT miroir:aliases:a kind single current_uid x version 9223372036854775807"),
        "1"
    );
    assert!(client.ask("MIROIR.ALIAS.FLIP miroir:aliases:a y").starts_with("ERR stored field 'version'"));
}

#[test]
fn the_counters_of_a_lease_and_of_a_buffer_are_not_idle_while_they_are_used() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:a pod 600000");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 9 x");
    let keys = ["miroir:lease:_tokens", "miroir:lease:_holders", "miroir:cdc:overflow_stat:kafka"];
    client.wait_for(&format!("OBJECT IDLETIME {}", keys[0]), |idle| idle != "0");
    client.ask("MIROIR.LEASE.GET miroir:lease:a");
    client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:kafka");
    for key in keys {
        // The clock of the eviction policy may tick between two commands.
        assert!(client.integer(&format!("OBJECT IDLETIME {key}")) <= 1, "{key} looks idle");
    }
}

#[test]
fn a_rotated_list_gets_new_numbers() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:cdc:overflow:kafka";
    client.ask(&format!("MIROIR.CDC.PUSH {key} BUDGET 1000 e1 e2 e3"));
    assert_eq!(client.ask(&format!("MIROIR.CDC.PEEK {key}")), "[[1, e1]]");
    assert_eq!(client.ask(&format!("LMOVE {key} {key} RIGHT LEFT")), "e1");
    assert_eq!(client.ask(&format!("MIROIR.CDC.ACK {key} 1")), "0", "nobody has seen e2");
    let events = client.ask(&format!("MIROIR.CDC.PEEK {key} COUNT 9"));
    let numbers: Vec<i64> =
        events.split(['[', ',', ']']).filter_map(|word| word.trim().parse().ok()).collect();
    assert!(numbers.len() == 3 && numbers[0] > 3, "{events}");
    assert!(events.contains("e2], [") && events.ends_with("e1]]"), "{events}");
}

#[test]
fn a_fence_is_never_taken_for_an_event() {
    let server = Server::start();
    let mut client = server.client();
    let answer =
        client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 99 FENCE miroir:lease:l 1 event");
    assert!(answer.starts_with("STALE"), "{answer}");
    assert_eq!(client.ask("DBSIZE"), "0");
}

#[test]
fn who_writes_to_the_records_of_tokens_hides_no_end_of_a_tenure() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:l pod-a 600000");
    for record in ["HSET miroir:lease:_tokens other 1", "HSET eu:lease:_holders other x"] {
        client.ask(record);
        let token = |client: &mut Client| last_number(&client.ask("MIROIR.LEASE.GET miroir:lease:l"));
        let before = token(&mut client);
        assert!(before > 0, "{record}: the tenure goes on");
        client.ask("SET miroir:lease:l pod-a PX 600000");
        assert_eq!(token(&mut client), 0, "{record}: a tenure of its own, without a token");
        let stale = client.ask(&format!("MIROIR.DEL miroir:tasks:t FENCE miroir:lease:l {before}"));
        assert!(stale.starts_with("STALE"), "{record}: {stale}");
        client.ask("MIROIR.LEASE.RENEW miroir:lease:l pod-a 600000");
        assert!(token(&mut client) > before, "{record}");
    }
    client.ask("HSET miroir:lease:_tokens l 70");
    assert_eq!(last_number(&client.ask("MIROIR.LEASE.GET miroir:lease:l")), 70, "what is on record counts");
}

#[test]
fn a_replica_shows_the_token_of_the_tenure_that_runs() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut client, mut on_replica) = (master.client(), replica.client());
    for (holder, expected) in [("pod-a", 1), ("pod-b", 2), ("pod-a", 3)] {
        client.ask(&format!("MIROIR.LEASE.ACQUIRE miroir:lease:l {holder} 600000"));
        replicate(&mut client, &mut on_replica);
        let shown = on_replica.ask("MIROIR.LEASE.GET miroir:lease:l");
        assert!(shown.starts_with(&format!("[{holder}, ")), "{shown}");
        assert_eq!(last_number(&shown), expected, "{shown}");
        client.ask(&format!("MIROIR.LEASE.RELEASE miroir:lease:l {holder}"));
    }
}

/// The last number of an answer.
fn last_number(answer: &str) -> i64 {
    let last = answer.trim_end_matches(']').rsplit(", ").next();
    last.and_then(|token| token.parse().ok()).unwrap_or_else(|| panic!("no token in {answer}"))
}
