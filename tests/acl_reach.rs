//! Access control: how far a right reaches, by the keys, the channel and the commands that a call touches.

mod support;

use redis::Value;
use support::{Client, Server};

/// A connection of a new user with these rights.
fn with_rights(server: &Server, rights: &str) -> Client {
    let mut client = server.client();
    client.succeed(&format!("ACL SETUSER user reset on nopass {rights}"));
    client.succeed("AUTH user any");
    client
}

/// Whether an answer out of a script says that the user may not: the servers have words of their own for it.
fn is_denied(answer: &str) -> bool {
    answer.contains("ermission") || answer.contains("The user executing the script can't")
}

fn assert_denied(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let answer = client.ask(line);
        assert!(answer.starts_with("NOPERM"), "{line}: {answer}");
    }
}

#[test]
fn what_belongs_to_a_key_goes_with_the_right_to_the_key() {
    let server = Server::start();
    let mut client = server.client();
    let mut user =
        with_rights(&server, "~m:tasks:x ~m:jobs:x ~m:lease:x ~m:cdc:overflow:x ~m:cdc_cursor:x:i +@all");
    let own = [
        ("MIROIR.PUT m:tasks:x index_uid i", "1", "SMEMBERS m:tasks:_index", "[x]"),
        ("MIROIR.PUT m:jobs:x type dump", "1", "SMEMBERS m:jobs:_queued", "[x]"),
        ("MIROIR.PUT m:cdc_cursor:x:i last_event_seq 1", "1", "SMEMBERS m:cdc_cursor:_index:x", "[x:i]"),
        ("MIROIR.LEASE.ACQUIRE m:lease:x pod 60000", "[1, pod, 60000, 1]", "HGET m:lease:_tokens x", "1"),
        (
            "MIROIR.CDC.PUSH m:cdc:overflow:x BUDGET 9 a",
            "[accepted, 1, length, 1, bytes, 1, dropped, 0, dropped_bytes, 0, last_seq, 1]",
            "GET m:cdc:overflow_bytes:x",
            "1",
        ),
        ("MIROIR.DEL m:tasks:x m:jobs:x", "2", "EXISTS m:tasks:_index m:jobs:_index m:jobs:_queued", "0"),
    ];
    for (line, answer, other_key, value) in own {
        assert_eq!(user.ask(line), answer, "{line}");
        assert_denied(&mut user, &[other_key]);
        assert_eq!(client.ask(other_key), value, "{line}");
    }
    assert_denied(
        &mut user,
        &[
            "SADD m:tasks:_index x",
            "MIROIR.PUT m:tasks:y index_uid i",
            "MIROIR.DEL m:tasks:x m:tasks:y",
            "MIROIR.LIST m:tasks",
            "MIROIR.COUNT m:jobs",
            "MIROIR.JOB.CLAIM m:jobs pod 60000",
            "MIROIR.LEASE.GET m:lease:y",
        ],
    );
}

#[test]
fn a_canary_goes_with_its_runs_and_a_scoped_key_with_its_observations() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "MIROIR.PUT m:canary:c name n index_uid i interval_s 1 query_json {} assertions_json []",
        "MIROIR.CANARY.RECORD m:canary_runs:c 1 pass 2",
        "MIROIR.PUT m:search_ui_scoped_key:i primary_uid u generation 1",
        "MIROIR.POD.BEAT m:live_pods pod",
    ]);
    let mut user = with_rights(&server, "~m:canary:* ~m:search_ui_scoped_key:* +@all");
    assert_denied(
        &mut user,
        &["DEL m:canary_runs:c", "MIROIR.CANARY.RUNS m:canary_runs:c", "MIROIR.POD.LIVE m:live_pods"],
    );
    assert_eq!(user.ask("MIROIR.DEL m:canary:c"), "1");
    assert_eq!(client.ask("EXISTS m:canary_runs:c"), "0");
    assert_eq!(user.ask("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:i"), "[0, [pod]]");
    assert_eq!(user.ask("MIROIR.SCOPEDKEY.OBSERVE m:search_ui_scoped_key:i pod 1"), "1");
    assert_denied(&mut user, &["GET m:search_ui_scoped_key_observed:pod:i"]);
    assert_eq!(user.ask("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:i"), "[1, []]");
}

#[test]
fn a_table_key_is_the_whole_table() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&["MIROIR.PUT m:jobs:a type dump", "MIROIR.PUT m:jobs:b type dump"]);
    client.run(&["MIROIR.PUT m:tasks:a status failed created_at 1"]);
    let mut user = with_rights(&server, "~m:jobs ~m:jobs:a %R~m:tasks +@all");
    assert_denied(
        &mut user,
        &["MIROIR.GET m:jobs:b", "MIROIR.PRUNE m:tasks BEFORE 5", "MIROIR.GET m:tasks:a"],
    );
    assert_eq!(user.ask("MIROIR.LIST m:jobs IDS"), "[a, b]");
    assert!(user.ask("MIROIR.JOB.CLAIM m:jobs pod 60000 ID b").starts_with("[[b, 1, "));
    assert_eq!(user.ask("MIROIR.LIST m:tasks IDS"), "[a]");
}

#[test]
fn memory_and_audit_know_no_keys() {
    let server = Server::start();
    server.client().run(&["HSET m:admin_session:id revoked 0"]);
    let mut user = with_rights(&server, "~nothing +miroir.memory +miroir.audit");
    assert!(user.ask("MIROIR.MEMORY m").contains("admin_sessions"));
    let found = support::audit::audit(&mut user, "m", "");
    assert_eq!(found.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["m:admin_session:id"]);
}

#[test]
fn who_may_hear_of_revocations_hears_of_nothing_else() {
    let server = Server::start();
    let mut client = server.client();
    assert_denied(
        &mut with_rights(&server, "&m:admin_session:revoked +subscribe +psubscribe"),
        &["SUBSCRIBE other:admin_session:revoked", "PSUBSCRIBE m:*", "PUBLISH m:admin_session:revoked x"],
    );
    let mut user = with_rights(&server, "&m:admin_session:revoked +subscribe");
    let mut subscription = user.connection.as_pubsub();
    subscription.subscribe("m:admin_session:revoked").unwrap();
    client.run(&[
        "MIROIR.PUT m:admin_session:s csrf_token c admin_key_hash h",
        "MIROIR.ADMIN.REVOKE m:admin_session:s",
    ]);
    assert_eq!(subscription.get_message().unwrap().get_payload::<String>().unwrap(), "s");
}

#[test]
fn rights_hold_in_transactions_when_a_command_is_queued_and_when_it_runs() {
    let server = Server::start();
    let mut client = server.client();
    let rights = "~m:tasks:* +multi +exec +discard +miroir.put";
    let mut user = with_rights(&server, rights);
    user.run(&["MULTI", "MIROIR.PUT m:tasks:a index_uid i"]);
    assert_denied(&mut user, &["MIROIR.PUT m:jobs:a type dump", "MIROIR.GET m:tasks:a"]);
    assert!(user.ask("EXEC").starts_with("EXECABORT"));
    user.run(&["MULTI", "MIROIR.PUT m:tasks:a index_uid i"]);
    client.succeed("ACL SETUSER user resetkeys ~m:jobs:*");
    let error =
        user.raw(&["EXEC"]).map(|answer| format!("{answer:?}")).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("NOPERM") || error.contains("ermission"), "{error}");
    assert_eq!(client.ask("DBSIZE"), "0");
}

#[test]
fn rights_hold_in_scripts_and_functions() {
    let server = Server::start();
    let mut client = server.client();
    let library = "#!lua name=f\nredis.register_function('f', function(keys, args) \
                   return redis.call('MIROIR.PUT', keys[1], 'index_uid', 'i') end)";
    client.call(&["FUNCTION", "LOAD", library]);
    let mut user = with_rights(&server, "~m:tasks:* %R~m:jobs:* +eval +fcall +miroir.put +miroir.get");
    let put = "return redis.call('MIROIR.PUT', ARGV[1], 'index_uid', 'i')";
    assert_eq!(user.call(&["EVAL", put, "0", "m:tasks:a"]), "1");
    assert_eq!(user.ask("FCALL f 1 m:tasks:b"), "1");
    let before = client.dump();
    for key in ["other:tasks:a", "m:jobs:a"] {
        for words in [["EVAL", put, "0", key], ["FCALL", "f", "1", key]] {
            let answer = user.call(&words);
            assert!(is_denied(&answer), "{words:?}: {answer}");
        }
    }
    let delete = "return redis.call('MIROIR.DEL', ARGV[1])";
    assert!(is_denied(&user.call(&["EVAL", delete, "0", "m:tasks:a"])));
    let fenced = "return redis.call('MIROIR.PUT', ARGV[1], 'FENCE', 'm:lease:l', '1', 'index_uid', 'i')";
    assert!(is_denied(&user.call(&["EVAL", fenced, "0", "m:tasks:a"])));
    assert_eq!(client.dump(), before);
}

/// Whether the server knows categories for commands of modules: Redis 7.0 does not.
fn has_categories(client: &mut Client) -> bool {
    let Value::Array(about) = client.raw(&["COMMAND", "INFO", "MIROIR.PUT"]).unwrap() else {
        panic!("COMMAND")
    };
    let Value::Array(about) = &about[0] else { panic!("COMMAND") };
    !matches!(&about[6], Value::Array(categories) | Value::Set(categories) if categories.is_empty())
}

#[test]
fn categories_hold_the_commands_where_the_server_has_them_and_are_not_to_be_relied_on_elsewhere() {
    let server = Server::start();
    let mut client = server.client();
    let known = has_categories(&mut client);
    let reads = [
        "MIROIR.GET m:tasks:a",
        "MIROIR.LIST m:tasks",
        "MIROIR.MEMORY m",
        "MIROIR.CDC.PEEK m:cdc:overflow:k",
    ];
    let writes = [
        "MIROIR.PUT m:tasks:a index_uid i",
        "MIROIR.DEL m:tasks:b",
        "MIROIR.CDC.POP m:cdc:overflow:k",
        "MIROIR.LEASE.ACQUIRE m:lease:l pod 60000",
    ];
    for (rights, may_read, may_write) in [
        ("~* +@read", known, false),
        ("~* +@all -@write", true, !known),
        ("~* +@all -@read", !known, true),
        ("~* +@write", false, known),
        ("~* +@all -@dangerous -@admin", true, true),
    ] {
        let mut user = with_rights(&server, rights);
        for (lines, may) in [(reads, may_read), (writes, may_write)] {
            for line in lines {
                let answer = user.ask(line);
                assert_eq!(!answer.starts_with("NOPERM"), may, "{rights}: {line}: {answer}");
            }
        }
    }
}

#[test]
fn a_right_on_a_command_is_not_lost_when_its_name_is_written_otherwise() {
    let server = Server::start();
    let mut user = with_rights(&server, "~m:tasks:* -@all +MIROIR.Put +miroir.get");
    assert_eq!(user.ask("miroir.PUT m:tasks:a index_uid i"), "1");
    assert_eq!(user.ask("Miroir.Get m:tasks:a index_uid"), "[i]");
    assert_denied(&mut user, &["mIrOiR.dEl m:tasks:a", "MIROIR.PATCH m:tasks:a index_uid i"]);
}
