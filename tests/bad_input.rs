//! What no client should send: each is answered with an error that says what is wrong, nothing changes, and the
//! server lives.

mod support;

use support::{assert_refused, Client, Server};

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A server with a row in every table, and a client of it.
fn populated() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    for line in [
        "PUT miroir:tasks:t status processing index_uid movies",
        "PUT miroir:node_settings_version:movies:n1 version 5",
        "PUT miroir:aliases:one kind single current_uid v1",
        "PUT miroir:aliases:many kind multi target_uids []",
        "PUT miroir:session:s pinned_group g",
        &format!("PUT miroir:idemp:k body_sha256 {SHA} miroir_task_id t"),
        "PUT miroir:jobs:j type reshard",
        "PUT miroir:canary:c name n index_uid movies interval_s 60 query_json {} assertions_json []",
        "PUT miroir:cdc_cursor:kafka:movies last_event_seq 5",
        "PUT miroir:tenant_map:ab tenant_id acme group_id g",
        "PUT miroir:rollover:r write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {}",
        "PUT miroir:search_ui_config:movies config_json {}",
        "PUT miroir:admin_session:a csrf_token c admin_key_hash h user_agent u",
        "PUT miroir:search_ui_scoped_key:movies primary_uid k generation 1",
        "CANARY.RECORD miroir:canary_runs:c 5 pass 12",
        "LEASE.ACQUIRE miroir:lease:rollover pod-1 600000",
        "CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 event",
    ] {
        let answer = client.ask(&format!("MIROIR.{line}"));
        assert!(!answer.starts_with("ERR"), "{line}: {answer}");
    }
    (server, client)
}

/// Asserts that the server still answers and still writes.
fn assert_lives(mut server: Server, mut client: Client) {
    assert!(server.is_alive(), "{}", server.log());
    assert_eq!(client.ask("PING"), "PONG");
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:new status enqueued"), "1");
}

/// Like `assert_refused`, for words that are no text or too long to write down.
fn assert_words_refused(client: &mut Client, cases: &[(Vec<&[u8]>, &str)]) {
    let before = client.dump();
    for (number, (words, expected)) in cases.iter().enumerate() {
        let answer = client.call(words);
        assert!(answer.starts_with("ERR ") && answer.contains(expected), "case {number}: {answer}");
        assert!(answer.len() < 1000, "case {number} echoes {} bytes", answer.len());
        assert_eq!(client.dump(), before, "case {number} changed the data");
    }
}

#[test]
fn the_contracts_own_example() {
    let (server, mut client) = populated();
    let before = client.dump();
    for command in ["PUT", "PATCH"] {
        assert_eq!(
            client.ask(&format!("MIROIR.{command} miroir:tasks:t status done")),
            "ERR field 'status' of table tasks: expected one of enqueued|processing|succeeded|failed|canceled, got 'done'"
        );
    }
    assert_eq!(client.dump(), before);
    assert_lives(server, client);
}

#[test]
fn fields_that_are_unknown_missing_or_misplaced() {
    let (server, mut client) = populated();
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PUT miroir:tasks:t status processing colour red", "'colour'"),
            ("MIROIR.PUT miroir:tasks:t STATUS processing", "'STATUS'"),
            ("MIROIR.PATCH miroir:tasks:t colour red", "'colour'"),
            ("MIROIR.PATCH miroir:tasks:none colour red", "'colour'"),
            ("MIROIR.PUT miroir:tasks:t '' red", "unknown field of table tasks"),
            ("MIROIR.PUT miroir:tasks:t status", "wrong number of arguments"),
            ("MIROIR.PUT miroir:tasks:t index_uid movies error", "'error'"),
            ("MIROIR.PATCH miroir:tasks:t index_uid movies error", "'error'"),
            ("MIROIR.PUT miroir:tasks:t error a error b", "'error'"),
            ("MIROIR.PATCH miroir:tasks:t error a error a", "'error'"),
            ("MIROIR.PUT miroir:tasks:t", "wrong number of arguments"),
            ("MIROIR.PATCH miroir:tasks:t", "wrong number of arguments"),
            ("MIROIR.GET", "wrong number of arguments"),
            ("MIROIR.TOUCH", "wrong number of arguments"),
            (
                "MIROIR.PUT miroir:node_settings_version:movies:n1 updated_at 5",
                "'version' of table node_settings_version",
            ),
            ("MIROIR.PUT miroir:aliases:one version 5", "'kind' of table aliases"),
            ("MIROIR.PUT miroir:aliases:one kind single", "'current_uid'"),
            ("MIROIR.PUT miroir:aliases:many kind multi", "'target_uids'"),
            ("MIROIR.PUT miroir:aliases:one kind single current_uid a target_uids []", "'target_uids'"),
            ("MIROIR.PUT miroir:aliases:many kind multi current_uid a target_uids []", "'current_uid'"),
            ("MIROIR.PATCH miroir:aliases:one kind multi", "'current_uid'"),
            ("MIROIR.PATCH miroir:aliases:one current_uid ''", "'current_uid'"),
            ("MIROIR.PUT miroir:idemp:k miroir_task_id t", "'body_sha256'"),
            ("MIROIR.PUT miroir:jobs:j params {}", "'type' of table jobs"),
            ("MIROIR.PUT miroir:canary:c name n", "'index_uid' of table canaries"),
            ("MIROIR.PUT miroir:cdc_cursor:kafka:movies updated_at 5", "'last_event_seq'"),
            ("MIROIR.PUT miroir:tenant_map:ab group_id g", "'tenant_id'"),
            ("MIROIR.PUT miroir:tenant_map:ab tenant_id ''", "'tenant_id'"),
            ("MIROIR.PUT miroir:rollover:r write_alias w", "'read_alias'"),
            ("MIROIR.PUT miroir:search_ui_config:movies updated_at 5", "'config_json'"),
            ("MIROIR.PUT miroir:admin_session:a csrf_token c", "'admin_key_hash'"),
            ("MIROIR.PUT miroir:search_ui_scoped_key:movies primary_uid k", "'generation'"),
            // What the row cannot be without cannot be taken away either.
            ("MIROIR.PATCH miroir:tenant_map:ab tenant_id ''", "'tenant_id'"),
            ("MIROIR.PATCH miroir:tasks:t status ''", "'status'"),
            ("MIROIR.PATCH miroir:jobs:j type ''", "'type'"),
            // Fields from the key say what the key says.
            ("MIROIR.PUT miroir:tasks:t miroir_id other", "'miroir_id'"),
            ("MIROIR.PATCH miroir:aliases:one name other", "'name'"),
            ("MIROIR.PUT miroir:cdc_cursor:kafka:movies index_uid books last_event_seq 6", "'index_uid'"),
            // MIROIR.JOB.* alone moves a job.
            ("MIROIR.PATCH miroir:jobs:j state completed", "MIROIR.JOB"),
            ("MIROIR.PATCH miroir:jobs:j claimed_by pod-1", "MIROIR.JOB"),
            ("MIROIR.PATCH miroir:jobs:j claim_expires_at 5", "MIROIR.JOB"),
            ("MIROIR.PATCH miroir:jobs:j claim_token 5", "MIROIR.JOB"),
            ("MIROIR.PATCH miroir:jobs:j claimed_by ''", "MIROIR.JOB"),
        ],
    );
    assert_lives(server, client);
}

#[test]
fn values_of_the_wrong_kind() {
    let (server, mut client) = populated();
    let sha_with_g = SHA.replace('9', "g");
    let mut cases = vec![
        ("jobs:j", "type t state", "done", "queued|in_progress|completed|failed"),
        ("aliases:one", "current_uid a kind", "Single", "single|multi"),
        ("idemp:k", "miroir_task_id t body_sha256", "abc", "64 hex"),
        ("idemp:k", "miroir_task_id t body_sha256", &sha_with_g, "64 hex"),
        ("admin_session:a", "csrf_token c admin_key_hash h revoked", "2", "0 or 1"),
        ("admin_session:a", "csrf_token c admin_key_hash h revoked", "true", "0 or 1"),
        ("jobs:j", "type t params", "[]", "object"),
        ("jobs:j", "type t progress", "null", "object"),
        ("jobs:j", "type t params", "\"{}\"", "object"),
        ("tasks:t", "status processing node_tasks", r#"{"n":-1}"#, "node_tasks"),
        ("tasks:t", "status processing node_tasks", r#"{"n":1.5}"#, "node_tasks"),
        ("tasks:t", "status processing node_tasks", r#"{"n":"1"}"#, "node_tasks"),
        ("tasks:t", "status processing node_tasks", r#"[1]"#, "node_tasks"),
        ("tasks:t", "status processing node_errors", r#"{"n":1}"#, "node_errors"),
        ("aliases:many", "kind multi target_uids", r#"["a",1]"#, "target_uids"),
        ("aliases:many", "kind multi target_uids", r#"{"a":1}"#, "target_uids"),
        ("aliases:many", "kind multi target_uids [] history", "{}", "history"),
        ("aliases:many", "kind multi target_uids [] history", r#"[{"uid":"v1"}]"#, "history"),
        ("aliases:many", "kind multi target_uids [] history", r#"[["v1",5]]"#, "history"),
        ("canary:c", "name n index_uid m interval_s 1 query_json {} assertions_json", "{}", "array"),
        ("canary:c", "name n index_uid m interval_s 1 assertions_json [] query_json", "[]", "object"),
        ("canary:c", "name n index_uid m query_json {} assertions_json [] interval_s", "0", "got '0'"),
        ("search_ui_config:movies", "config_json", "{'a':1}", "config_json"),
    ];
    for bad in [
        "{",
        "{}{}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":01}",
        "nul",
        " ",
        "{\"a\":NaN}",
    ] {
        cases.push((
            "search_ui_config:movies",
            "config_json",
            bad,
            "'config_json' of table search_ui_config: expected",
        ));
    }
    for bad in [
        "-1",
        "01",
        "+1",
        "1.0",
        "1e3",
        " 1",
        "0x1",
        "",
        "x",
        "9223372036854775808",
        "99999999999999999999999",
    ] {
        cases.push((
            "node_settings_version:movies:n1",
            "version",
            bad,
            "'version' of table node_settings_version: expected",
        ));
        cases.push((
            "cdc_cursor:kafka:movies",
            "last_event_seq",
            bad,
            "'last_event_seq' of table cdc_cursors: expected",
        ));
        cases.push(("tasks:t", "created_at", bad, "'created_at' of table tasks: expected"));
        cases.push(("search_ui_scoped_key:movies", "primary_uid k generation", bad, "'generation'"));
    }
    let before = client.dump();
    for (key, fields, value, expected) in cases {
        let key = format!("miroir:{key}");
        for command in ["MIROIR.PUT", "MIROIR.PATCH"] {
            // A patch names the bad field alone, so that no other one is refused before it.
            let others = fields.rsplit_once(' ').map_or("", |(others, _)| others);
            let name = fields.rsplit(' ').next().unwrap();
            let mut words = vec![command, key.as_str()];
            words.extend(others.split_whitespace().filter(|_| command == "MIROIR.PUT"));
            words.extend([name, value]);
            let answer = client.call(&words);
            // A job's state is refused to PATCH whatever the value.
            let managed = answer.contains("MIROIR.JOB") && command == "MIROIR.PATCH";
            assert!(answer.starts_with("ERR "), "{words:?}: {answer}");
            assert!(answer.contains(expected) || managed, "{words:?}: {answer}, without {expected:?}");
            assert_eq!(client.dump(), before, "{words:?}");
        }
    }
    assert_lives(server, client);
}

#[test]
fn the_largest_numbers_are_numbers() {
    let (_server, mut client) = populated();
    let put = "MIROIR.PUT miroir:node_settings_version:movies:n1 version 9223372036854775807";
    assert_eq!(client.ask(put), "2");
    assert_eq!(client.ask("HGET miroir:node_settings_version:movies:n1 version"), "9223372036854775807");
    assert_eq!(
        client.ask("MIROIR.PATCH miroir:node_settings_version:movies:n1 version 9223372036854775806"),
        "0"
    );
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:max created_at 9223372036854775807"), "1");
    assert_eq!(client.ask("MIROIR.LIST miroir:tasks IDS LIMIT 0 1"), "[max]");
}

#[test]
fn json_of_any_depth_is_answered() {
    let (server, mut client) = populated();
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let deep_arrays = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let never_closed = "[".repeat(100_000);
    let canary = "MIROIR.PUT miroir:canary:c name n index_uid m interval_s 1 query_json {} assertions_json";
    let with_value = |line: &'static str, value: &'static [u8]| {
        let mut words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        words.push(value);
        words
    };
    let (objects, arrays, open) = (&*deep_objects.leak(), &*deep_arrays.leak(), &*never_closed.leak());
    assert_words_refused(
        &mut client,
        &[
            (
                with_value("MIROIR.PUT miroir:search_ui_config:movies config_json", objects.as_bytes()),
                "config_json",
            ),
            (
                with_value("MIROIR.PATCH miroir:search_ui_config:movies config_json", objects.as_bytes()),
                "config_json",
            ),
            (with_value(canary, arrays.as_bytes()), "assertions_json"),
            (with_value(canary, open.as_bytes()), "assertions_json"),
            (with_value("MIROIR.PATCH miroir:tasks:t node_tasks", objects.as_bytes()), "node_tasks"),
            (with_value("MIROIR.PATCH miroir:aliases:many target_uids", arrays.as_bytes()), "target_uids"),
            (with_value("MIROIR.PATCH miroir:aliases:many history", arrays.as_bytes()), "history"),
            (
                with_value("MIROIR.PATCH miroir:search_ui_config:movies config_json", b"{\"a\":\"\xff\"}"),
                "config_json",
            ),
            (with_value("MIROIR.PATCH miroir:search_ui_config:movies config_json", b"{}\0"), "config_json"),
        ],
    );
    assert_eq!(
        client.ask(r#"MIROIR.PATCH miroir:search_ui_config:movies config_json '{"a":[[[{"b":[]}]]]}'"#),
        "1"
    );
    assert_lives(server, client);
}

#[test]
fn ids_that_are_none() {
    let (server, mut client) = populated();
    let long = |prefix: &str| format!("{prefix}{}", "é".repeat(256)).into_bytes();
    let too_long = long("miroir:tasks:x");
    let keys: [&[u8]; 14] = [
        b"miroir:tasks:",
        b"miroir:session:",
        &too_long,
        b"miroir:tasks:_index",
        b"miroir:tasks:_mine",
        b"miroir:jobs:_queued",
        b"miroir:cdc_cursor:_index:kafka",
        b"miroir:tasks:a\nb",
        b"miroir:tasks:a\0b",
        b"miroir:tasks:a\x7fb",
        b"miroir:tasks:a\xff",
        b"miroir:node_settings_version:movies",
        b"miroir:node_settings_version::n1",
        b"miroir:cdc_cursor:kafka:",
    ];
    let mut cases: Vec<(Vec<&[u8]>, &str)> = Vec::new();
    for key in keys {
        cases.push((vec![b"MIROIR.PUT", key, b"status", b"enqueued"], "key '"));
        cases.push((vec![b"MIROIR.PATCH", key, b"status", b"enqueued"], "key '"));
        cases.push((vec![b"MIROIR.GET", key], "key '"));
        cases.push((vec![b"MIROIR.DEL", b"miroir:tasks:t", key], "key '"));
        cases.push((vec![b"MIROIR.TOUCH", key], "key '"));
    }
    assert_words_refused(&mut client, &cases);

    let longest = long("miroir:tasks:");
    for key in
        [&longest[..], "miroir:tasks:a b:c é…".as_bytes(), b"miroir:tasks:x_index", b"eu:prod:tasks:tasks:t"]
    {
        let put: [&[u8]; 4] = [b"MIROIR.PUT", key, b"status", b"enqueued"];
        assert_eq!(client.call(&put), "1", "{}", String::from_utf8_lossy(key));
        assert_eq!(client.call(&[b"MIROIR.DEL", key]), "1");
    }
    assert_lives(server, client);
}

#[test]
fn keys_that_are_no_rows() {
    let (server, mut client) = populated();
    let before = client.dump();
    for (key, named) in [
        ("miroir:lease:rollover", "MIROIR.LEASE"),
        ("miroir:canary_runs:c", "MIROIR.CANARY"),
        ("miroir:cdc:overflow:kafka", "MIROIR.CDC"),
        ("miroir:cdc:overflow_bytes:kafka", "MIROIR.CDC"),
        ("miroir:cdc:overflow_stat:kafka", "MIROIR.CDC"),
        ("miroir:ratelimit:searchui:10.0.0.1", "MIROIR.RATELIMIT"),
        ("miroir:ratelimit:adminlogin:10.0.0.1", "MIROIR.LOGIN"),
        ("miroir:ratelimit:adminlogin:backoff:10.0.0.1", "MIROIR.LOGIN"),
        ("miroir:search_ui_scoped_key_observed:pod-1:movies", "MIROIR.SCOPEDKEY"),
        ("miroir:live_pods", "MIROIR.POD"),
        ("miroir:tasks:_index", "MIROIR."),
        ("miroir:cdc_cursor:_index:kafka", "MIROIR."),
        ("miroir:tasks", "key 'miroir:tasks'"),
        ("miroir", "key 'miroir'"),
        ("tasks:t", "key 'tasks:t'"),
        (":tasks:t", "key ':tasks:t'"),
        ("miroir:nothing:t", "key 'miroir:nothing:t'"),
        ("miroir:tasksx:t", "key 'miroir:tasksx:t'"),
        ("''", "key ''"),
    ] {
        for line in ["PUT {} status enqueued", "PATCH {} status enqueued", "GET {}", "DEL {}", "TOUCH {}"] {
            let line = format!("MIROIR.{}", line.replace("{}", key));
            let answer = client.ask(&line);
            assert!(answer.starts_with("ERR ") && answer.contains(named), "{line}: {answer}");
            assert_eq!(client.dump(), before, "{line}");
        }
    }
    assert_lives(server, client);
}

#[test]
fn foreign_values_at_the_keys() {
    let (server, mut client) = populated();
    for line in [
        "SET miroir:tasks:text x",
        "SET miroir:session:text x",
        "SET odd1:tasks:_index x",
        "HSET odd1:tasks:t miroir_id t status processing",
        "SET odd2:jobs:_queued x",
        "HSET odd2:jobs:j id j type t state queued",
        "HSET odd1:tasks:old miroir_id old status failed created_at 1",
        "SET odd3:canary_runs:c x",
        "HSET odd3:canary:c id c name n index_uid m interval_s 1 query_json {} assertions_json []",
        "SADD odd3:canary:_index c",
        "RPUSH odd4:cdc_cursor:_index:kafka x",
    ] {
        assert!(client.ask(line).parse::<i64>().is_ok() || line.starts_with("SET"), "{line}");
    }
    let wrong = "WRONGTYPE";
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PUT miroir:tasks:text status enqueued", wrong),
            ("MIROIR.PATCH miroir:tasks:text status enqueued", wrong),
            ("MIROIR.GET miroir:tasks:text", wrong),
            ("MIROIR.GET miroir:tasks:text status", wrong),
            ("MIROIR.DEL miroir:tasks:t miroir:tasks:text", wrong),
            ("MIROIR.PUT miroir:session:text pinned_group g", wrong),
            ("MIROIR.TOUCH miroir:session:text", wrong),
            ("MIROIR.PUT odd1:tasks:new status enqueued", wrong),
            ("MIROIR.PUT odd1:tasks:t status succeeded", wrong),
            ("MIROIR.DEL odd1:tasks:t", wrong),
            ("MIROIR.PRUNE odd1:tasks BEFORE 9999", wrong),
            ("MIROIR.PUT odd2:jobs:new type t", wrong),
            ("MIROIR.DEL odd2:jobs:j", wrong),
            ("MIROIR.DEL miroir:tasks:t odd3:canary:c", wrong),
            ("MIROIR.PUT odd4:cdc_cursor:kafka:movies last_event_seq 1", wrong),
        ],
    );
    assert_lives(server, client);
}

#[test]
fn lives_that_cannot_be() {
    let (server, mut client) = populated();
    let before = client.dump();
    let times = ["0", "-1", "-9223372036854775808", "01", "1.5", "x", "''", "9223372036854775808"];
    for time in times.into_iter().chain(["9223372036854775807"]) {
        for line in ["PUT {} PX {t} pinned_group g", "PUT {} XX px {t} pinned_group g", "TOUCH {} PX {t}"] {
            let line = format!("MIROIR.{}", line.replace("{}", "miroir:session:s").replace("{t}", time));
            let answer = client.ask(&line);
            assert!(answer.starts_with("ERR ") && answer.contains("PX"), "{line}: {answer}");
            assert_eq!(client.dump(), before, "{line}");
        }
    }
    for time in times.into_iter().chain(["1", "1700000000000"]) {
        for key in ["miroir:session:s", "miroir:session:new"] {
            let line = format!("MIROIR.PUT {key} PXAT {time} pinned_group g");
            let answer = client.ask(&line);
            assert!(answer.starts_with("ERR ") && answer.contains("PXAT"), "{line}: {answer}");
            assert_eq!(client.dump(), before, "{line}");
        }
    }
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PUT miroir:tasks:t PX 0 status processing", "PX"),
            ("MIROIR.PUT miroir:session:s pinned_group g ttl 5", "'ttl'"),
            ("MIROIR.PATCH miroir:session:s ttl 5", "'ttl'"),
            ("MIROIR.PATCH miroir:session:s ttl ''", "'ttl'"),
            ("MIROIR.PATCH miroir:admin_session:a expires_at x", "'expires_at'"),
            ("MIROIR.TOUCH miroir:tasks:t", "sessions"),
            ("MIROIR.TOUCH miroir:session:none PX 0", "PX"),
            ("MIROIR.TOUCH miroir:session:s 5000", "'5000'"),
            ("MIROIR.TOUCH miroir:session:s PX", "PX"),
            ("MIROIR.TOUCH miroir:session:s PX 5 PX 5", "'PX'"),
            ("MIROIR.TOUCH miroir:session:s PXAT 5", "'PXAT'"),
        ],
    );
    assert_lives(server, client);
}

#[test]
fn options_that_are_unknown_doubled_or_too_late() {
    let (server, mut client) = populated();
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PUT miroir:session:s EX 5 pinned_group g", "'EX'"),
            ("MIROIR.PUT miroir:session:s NX XX pinned_group g", "XX"),
            ("MIROIR.PUT miroir:session:s PX 5 PX 6 pinned_group g", "PX"),
            ("MIROIR.PUT miroir:session:s PX 5 PXAT 9999999999999 pinned_group g", "PX"),
            ("MIROIR.PUT miroir:session:s pinned_group g NX", "'NX'"),
            ("MIROIR.PUT miroir:session:s pinned_group g PX 5000", "'PX'"),
            ("MIROIR.PATCH miroir:session:s NX pinned_group", "'NX'"),
            ("MIROIR.PATCH miroir:session:s PX 5 pinned_group g", "'PX'"),
        ],
    );
    for line in ["put miroir:session:s xx Px 5000 pinned_group h", "Touch miroir:session:s pX 6000"] {
        assert!(["1", "2"].contains(&&*client.ask(&format!("miroir.{line}"))), "{line}");
    }
    assert_lives(server, client);
}

#[test]
fn values_above_the_limit() {
    let (server, mut client) = populated();
    let (most, more) = (vec![b'x'; 1 << 20], vec![b'x'; (1 << 20) + 1]);
    let set = |command: &'static [u8], value: &'static [u8]| -> Vec<&'static [u8]> {
        vec![command, b"miroir:tenant_map:ab", b"tenant_id", value]
    };
    let more: &'static [u8] = more.leak();
    let limit = "miroir.max-field-bytes";
    assert_words_refused(
        &mut client,
        &[(set(b"MIROIR.PUT", more), limit), (set(b"MIROIR.PATCH", more), limit)],
    );
    assert_eq!(client.call(&set(b"MIROIR.PUT", most.leak())), "2");

    assert_eq!(client.ask("CONFIG SET miroir.max-field-bytes 10"), "OK");
    assert_eq!(client.ask("CONFIG GET miroir.max-field-bytes"), "[miroir.max-field-bytes, 10]");
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PUT miroir:tenant_map:ab tenant_id 12345678901", limit),
            ("MIROIR.PATCH miroir:tasks:t error 12345678901", limit),
            ("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR 12345678901", limit),
            ("MIROIR.TASK.NODE miroir:tasks:t n ERROR 12345678901", limit),
            // The entry fits, the whole field does not.
            ("MIROIR.TASK.NODE miroir:tasks:t node-1 UID 7", limit),
            ("MIROIR.ALIAS.FLIP miroir:aliases:one v2", limit),
        ],
    );
    assert_eq!(client.ask("MIROIR.PUT miroir:tenant_map:ab tenant_id 1234567890"), "2");
    assert_eq!(client.ask("CONFIG SET miroir.max-field-bytes 2097152"), "OK");
    assert_eq!(client.call(&set(b"MIROIR.PATCH", more)), "1");
    assert_lives(server, client);
}
