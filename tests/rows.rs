//! Rows of every table: what stands in the database after PUT, PATCH, DEL and TOUCH, and what GET answers.

mod support;

use std::collections::BTreeMap;

use redis::Value;
use support::{Client, Server};

/// A row of one table. Fields are written `name=value|name=value`; `<now>` is the time of a write, `<end>` the
/// end of the key's life.
struct Sample {
    key: &'static str,
    /// The set that lists it, and what stands in there.
    index: Option<(&'static str, &'static str)>,
    /// What the module writes by itself in any case.
    made: &'static str,
    /// The least that PUT accepts, and what the module adds to that.
    least: &'static str,
    defaults: &'static str,
    /// All that a client can say.
    most: &'static str,
    life_ms: Option<i64>,
}

const SAMPLES: &[Sample] = &[
    Sample {
        key: "miroir:tasks:mtask-0b6f",
        index: Some(("miroir:tasks:_index", "mtask-0b6f")),
        made: "miroir_id=mtask-0b6f",
        least: "status=enqueued",
        defaults: "created_at=<now>|node_tasks={}|node_errors={}",
        most: r#"created_at=1700000000000|status=enqueued|node_tasks={"node-0":123}|node_errors={"node-1":"timeout"}|error=half of it|started_at=1700000000001|finished_at=1700000000002|index_uid=movies|task_type=documentAdditionOrUpdate"#,
        life_ms: None,
    },
    Sample {
        key: "miroir:node_settings_version:movies:node:7700",
        index: Some(("miroir:node_settings_version:_index", "movies:node:7700")),
        made: "index_uid=movies|node_id=node:7700",
        least: "version=7",
        defaults: "updated_at=<now>",
        most: "version=7|updated_at=1700000000000",
        life_ms: None,
    },
    Sample {
        key: "miroir:aliases:films",
        index: Some(("miroir:aliases:_index", "films")),
        made: "name=films",
        least: "kind=single|current_uid=movies_v1",
        defaults: "version=1|created_at=<now>|history=[]",
        most: r#"kind=multi|target_uids=["a","b"]|version=4|created_at=5|history=[{"uid":"v1","flipped_at":3}]"#,
        life_ms: None,
    },
    Sample {
        key: "miroir:session:sess:1",
        index: None,
        made: "session_id=sess:1|ttl=<end>",
        least: "pinned_group=g1",
        defaults: "min_settings_version=0",
        most: "pinned_group=g1|min_settings_version=9|last_write_mtask_id=mtask-1|last_write_at=1700000000000",
        life_ms: Some(900_000),
    },
    Sample {
        key: "miroir:idemp:post /indexes é",
        index: None,
        made: "key=post /indexes é|expires_at=<end>",
        least: "body_sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08|miroir_task_id=mtask-1",
        defaults: "",
        most: "body_sha256=9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08|miroir_task_id=mtask-1|state=done",
        life_ms: Some(86_400_000),
    },
    Sample {
        key: "miroir:jobs:job-1",
        index: Some(("miroir:jobs:_index", "job-1")),
        made: "id=job-1",
        least: "type=reshard",
        defaults: "params={}|state=queued|progress={}|created_at=<now>|attempts=0",
        most: r#"type=reshard|params={"shards":[1,2]}|state=queued|progress={"done":0.5}|created_at=1700000000000|attempts=2|claimed_by=pod-1|claim_expires_at=5|claim_token=2|finished_at=6|error=oops|parent_job_id=job-0|chunk_index=0|total_chunks=3"#,
        life_ms: None,
    },
    Sample {
        key: "miroir:canary:c1",
        index: Some(("miroir:canary:_index", "c1")),
        // A later PUT keeps created_at.
        made: "id=c1|created_at=<now>",
        least: r#"name=top hits|index_uid=movies|interval_s=60|query_json={"q":"batman"}|assertions_json=[]"#,
        defaults: "enabled=1",
        most: r#"name=other|index_uid=books|interval_s=1|query_json={}|assertions_json=[{"min_hits":1}]|enabled=0"#,
        life_ms: None,
    },
    Sample {
        key: "miroir:cdc_cursor:kafka:eu:movies",
        index: Some(("miroir:cdc_cursor:_index:kafka:eu", "kafka:eu:movies")),
        made: "sink_name=kafka:eu|index_uid=movies",
        least: "last_event_seq=0",
        defaults: "updated_at=<now>",
        most: "last_event_seq=0|updated_at=1700000000000",
        life_ms: None,
    },
    Sample {
        key: "miroir:tenant_map:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        index: None,
        made: "",
        least: "tenant_id=acme",
        defaults: "",
        most: "tenant_id=acme|group_id=gold",
        life_ms: None,
    },
    Sample {
        key: "miroir:rollover:logs",
        index: Some(("miroir:rollover:_index", "logs")),
        made: "name=logs",
        least: r#"write_alias=w|read_alias=r|pattern=logs-{n}|triggers_json={"max_docs":9}|retention_json={}|template_json={}"#,
        defaults: "enabled=1",
        most: r#"write_alias=w2|read_alias=r2|pattern=p|triggers_json={}|retention_json={"keep":3}|template_json={"pk":"id"}|enabled=0"#,
        life_ms: None,
    },
    Sample {
        key: "miroir:search_ui_config:movies",
        index: None,
        made: "index_uid=movies",
        least: r#"config_json={"facets":["genre"]}"#,
        defaults: "updated_at=<now>",
        most: "config_json={}|updated_at=0",
        life_ms: None,
    },
    Sample {
        key: "miroir:admin_session:adm-1",
        index: None,
        made: "session_id=adm-1|expires_at=<end>",
        least: "csrf_token=c|admin_key_hash=h",
        defaults: "created_at=<now>|revoked=0",
        most: "csrf_token=c2|admin_key_hash=h2|created_at=1700000000000|revoked=0|user_agent=Mozilla/5.0|source_ip=::1",
        life_ms: Some(3_600_000),
    },
    Sample {
        key: "miroir:search_ui_scoped_key:movies",
        index: None,
        made: "index_uid=movies",
        least: "primary_uid=k1|generation=1",
        defaults: "rotated_at=<now>",
        most: "primary_uid=k1|generation=1|rotated_at=5|primary_key=secret|previous_uid=k0|previous_key=older",
        life_ms: None,
    },
];

type Fields = BTreeMap<String, String>;

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('|').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap())
}

/// A command on a key, with options and fields.
fn send(client: &mut Client, command: &str, key: &str, options: &str, fields: &str) -> String {
    let mut words = vec![command, key];
    words.extend(options.split_whitespace());
    words.extend(pairs(fields).flat_map(|(name, value)| [name, value]));
    client.call(&words)
}

fn hash(client: &mut Client, key: &str) -> Fields {
    let Value::Array(items) = client.raw(&["HGETALL", key]).unwrap() else { panic!("{key}") };
    let text = |item: &Value| match item {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    items.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn expire_time(client: &mut Client, key: &str) -> i64 {
    client.call(&["PEXPIRETIME", key]).parse().unwrap()
}

/// Asserts that a raw HGETALL shows exactly these fields. `since` is when the writes began.
fn assert_row(client: &mut Client, key: &str, expected: &[&str], since: i64) {
    let row = hash(client, key);
    let mut wanted = Fields::new();
    for (name, value) in expected.iter().flat_map(|fields| pairs(fields)) {
        let stored = row.get(name).cloned().unwrap_or_default();
        let value = match value {
            "<end>" => expire_time(client, key).to_string(),
            "<now>" => {
                let time: i64 = stored.parse().unwrap_or_else(|_| panic!("{key} {name}: {stored:?}"));
                // The server's cached clock may be a moment behind TIME.
                assert!((since - 20..=client.server_ms()).contains(&time), "{key} {name}: {time}");
                stored
            }
            value => value.to_owned(),
        };
        wanted.insert(name.to_owned(), value);
    }
    assert_eq!(row, wanted, "{key}");
}

fn assert_life(client: &mut Client, key: &str, life_ms: i64, since: i64) {
    let end = expire_time(client, key);
    assert!((since - 20 + life_ms..=client.server_ms() + life_ms).contains(&end), "{key} lives until {end}");
}

#[test]
fn put_writes_exactly_the_layout_of_the_contract() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, index, made, least, defaults, most, life_ms } in SAMPLES {
        client.ask("FLUSHALL");
        let since = client.server_ms();
        // The third write replaces the whole row: every optional of the second one is gone, but for the token of a
        // job, so that tokens go on rising.
        let kept = if key.contains(":jobs:") { "claim_token=2" } else { "" };
        for (fields, added, kept, answer) in
            [(least, defaults, "", "1"), (most, &"", "", "2"), (least, defaults, kept, "2")]
        {
            assert_eq!(send(&mut client, "MIROIR.PUT", key, "", fields), answer, "{key} {fields}");
            assert_row(&mut client, key, &[made, fields, added, kept], since);
            match life_ms {
                Some(life_ms) => assert_life(&mut client, key, *life_ms, since),
                None => assert_eq!(expire_time(&mut client, key), -1, "{key}"),
            }
            let mut keys = vec![*key];
            if let Some((index, member)) = index {
                assert_eq!(client.call(&["SMEMBERS", index]), format!("[{member}]"));
                keys.push(index);
            }
            if key.contains(":jobs:") {
                assert_eq!(client.ask("SMEMBERS miroir:jobs:_queued"), "[job-1]");
                keys.push("miroir:jobs:_queued");
            }
            keys.sort_unstable();
            assert_eq!(client.dump().into_keys().collect::<Vec<_>>(), keys);
        }
    }
}

#[test]
fn nx_and_xx_decide_for_every_table() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, index, least, most, .. } in SAMPLES {
        let before = client.dump();
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "XX", least), "0", "{key}");
        assert_eq!(client.dump(), before, "{key}");
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "nx", least), "1", "{key}");
        if let Some((index, member)) = index {
            assert_eq!(client.call(&["SISMEMBER", index, member]), "1");
        }
        let before = client.dump();
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "NX", most), "0", "{key}");
        assert_eq!(client.dump(), before, "{key}");
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "xX", most), "2", "{key}");
        assert_ne!(client.dump(), before, "{key}");
    }
}

#[test]
fn px_and_pxat_set_the_ttl_and_the_field_together() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, made, least, defaults, .. } in SAMPLES.iter().filter(|sample| sample.life_ms.is_some())
    {
        let since = client.server_ms();
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "NX PX 5000", least), "1");
        assert_life(&mut client, key, 5000, since);
        assert_row(&mut client, key, &[made, least, defaults], since);

        let end = since + 7_654_321;
        assert_eq!(send(&mut client, "MIROIR.PUT", key, &format!("pxat {end} XX"), least), "2");
        assert_eq!(expire_time(&mut client, key), end);
        assert_row(&mut client, key, &[made, least, defaults], since);
    }
}

#[test]
fn patch_changes_what_it_names_and_removes_with_an_empty_value() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, least, .. } in SAMPLES {
        assert_eq!(
            send(&mut client, "MIROIR.PATCH", key, "", least.split('|').next_back().unwrap()),
            "-2",
            "{key}"
        );
    }
    assert!(client.dump().is_empty(), "no command creates a row by updating it");

    let cases = [
        (
            "tasks:mtask-0b6f",
            "status=processing|error=|index_uid=books",
            "error",
            "status=processing|index_uid=books",
        ),
        (
            "session:sess:1",
            "pinned_group=|min_settings_version=10",
            "pinned_group",
            "min_settings_version=10",
        ),
        ("idemp:post /indexes é", "state=", "state", ""),
        ("jobs:job-1", r#"progress={"done":1}|parent_job_id="#, "parent_job_id", r#"progress={"done":1}"#),
        ("canary:c1", "enabled=1|name=new", "", "enabled=1|name=new"),
        (
            "rollover:logs",
            r#"pattern=x|retention_json={"keep":1}"#,
            "",
            r#"pattern=x|retention_json={"keep":1}"#,
        ),
        ("admin_session:adm-1", "user_agent=|source_ip=10.0.0.1", "user_agent", "source_ip=10.0.0.1"),
        ("search_ui_scoped_key:movies", "previous_key=|primary_key=p", "previous_key", "primary_key=p"),
        ("aliases:films", "version=5", "", "version=5"),
        (
            "aliases:films",
            "kind=single|current_uid=a|target_uids=",
            "target_uids",
            "kind=single|current_uid=a",
        ),
    ];
    for (name, change, gone, set) in cases {
        let key = format!("miroir:{name}");
        let most = SAMPLES.iter().find(|sample| sample.key == key).unwrap().most;
        send(&mut client, "MIROIR.PUT", &key, "", most);
        let (mut wanted, end) = (hash(&mut client, &key), expire_time(&mut client, &key));
        assert_eq!(send(&mut client, "MIROIR.PATCH", &key, "", change), "1", "{key} {change}");
        wanted.remove(gone);
        wanted.extend(pairs(set).map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(hash(&mut client, &key), wanted, "{key} {change}");
        assert_eq!(expire_time(&mut client, &key), end, "{key}");
    }
}

#[test]
fn a_patched_expiry_moves_the_ttl_with_it() {
    let server = Server::start();
    let mut client = server.client();
    let end = client.server_ms() + 123_456;
    client.ask("MIROIR.PUT miroir:session:s pinned_group g");
    assert_eq!(client.ask(&format!("MIROIR.PATCH miroir:session:s ttl {end}")), "1");
    assert_eq!(expire_time(&mut client, "miroir:session:s"), end);
    assert_eq!(client.ask("HGET miroir:session:s ttl"), end.to_string());
}

#[test]
fn get_answers_maps_arrays_and_nil() {
    let server = Server::start();
    let (mut two, mut three) = (server.client(), server.client_resp3());
    two.ask("MIROIR.PUT miroir:tenant_map:ab tenant_id acme");
    assert_eq!(two.ask("MIROIR.GET miroir:tenant_map:ab"), "[tenant_id, acme]");
    assert_eq!(three.ask("MIROIR.GET miroir:tenant_map:ab"), "{tenant_id: acme}");
    for client in [&mut two, &mut three] {
        assert_eq!(client.ask("MIROIR.GET miroir:tenant_map:none"), "nil");
        assert_eq!(client.ask("MIROIR.GET miroir:tenant_map:none tenant_id"), "nil");
        assert_eq!(client.ask("MIROIR.GET miroir:tenant_map:ab tenant_id"), "[acme]");
        assert_eq!(client.ask("MIROIR.GET miroir:tenant_map:ab group_id tenant_id"), "[nil, acme]");
        assert_eq!(client.ask("HGETALL miroir:tenant_map:ab"), client.ask("MIROIR.GET miroir:tenant_map:ab"));
    }
}

#[test]
fn del_takes_rows_their_index_entries_and_the_runs_of_a_canary() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, least, .. } in SAMPLES {
        send(&mut client, "MIROIR.PUT", key, "", least);
    }
    client.ask("MIROIR.PUT miroir:tasks:stays status enqueued");
    assert_eq!(client.ask("MIROIR.CANARY.RECORD miroir:canary_runs:c1 5 pass 12"), "[1, 0]");
    assert_eq!(client.ask("EXISTS miroir:canary_runs:c1"), "1");

    assert_eq!(client.ask("MIROIR.DEL miroir:tasks:none"), "0");
    let keys = SAMPLES.iter().map(|sample| sample.key);
    let words: Vec<_> = ["MIROIR.DEL", "miroir:tasks:none"].into_iter().chain(keys).collect();
    assert_eq!(client.call(&words), SAMPLES.len().to_string());
    assert_eq!(client.call(&words), "0");
    let left: Vec<_> = client.dump().into_keys().collect();
    assert_eq!(left, ["miroir:tasks:_index", "miroir:tasks:stays"]);
    assert_eq!(client.ask("SMEMBERS miroir:tasks:_index"), "[stays]");
    assert_eq!(client.ask("MIROIR.DEL miroir:tasks:stays miroir:tasks:stays"), "1");
    assert!(client.dump().is_empty());
}

#[test]
fn touch_prolongs_the_life_of_a_row() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, made, least, defaults, life_ms, .. } in SAMPLES {
        let Some(life_ms) = life_ms else { continue };
        assert_eq!(client.call(&["MIROIR.TOUCH", key]), "-2", "{key}");
        let since = client.server_ms();
        send(&mut client, "MIROIR.PUT", key, "PX 60000", least);
        for (option, life_ms) in [(&["PX", "90000"][..], 90_000), (&[], *life_ms), (&["px", "5000"], 5000)] {
            assert_eq!(client.call(&[&["MIROIR.TOUCH", key], option].concat()), "1", "{key}");
            assert_life(&mut client, key, life_ms, since);
            assert_row(&mut client, key, &[made, least, defaults], since);
        }
    }
    let before = client.dump();
    assert_eq!(client.ask("MIROIR.TOUCH miroir:session:none PX 5"), "-2");
    assert_eq!(client.dump(), before);
}

#[test]
fn rows_of_raw_clients_are_read_and_updated_like_the_modules_own() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, index, made, least, life_ms, .. } in SAMPLES {
        // Only what the tables require: no created_at, no attempts, no history. Pods leave an `<end>` of their own.
        let made = made.replace("<end>", "1700000000000").replace("|created_at=<now>", "");
        send(&mut client, "HSET", key, "", &format!("{made}|{least}"));
        if let Some((index, member)) = index {
            client.call(&["SADD", index, member]);
        }
        if life_ms.is_some() {
            client.call(&["EXPIRE", key, "600"]);
        }
        assert_eq!(client.call(&["MIROIR.GET", key]), client.call(&["HGETALL", key]));
        let (table, _) = split_key(key);
        assert_eq!(client.call(&["MIROIR.COUNT", &table]), "1", "{key}");
        if index.is_some() {
            assert_eq!(client.call(&["MIROIR.LIST", &table, "IDS"]), format!("[{}]", index.unwrap().1));
        }

        let (name, value) = pairs(least).last().unwrap();
        assert_eq!(client.call(&["MIROIR.PATCH", key, name, value]), "1", "{key}");
        assert_eq!(client.call(&["HGET", key, name]), value);
        let (mut wanted, before) = (hash(&mut client, key), expire_time(&mut client, key));
        if life_ms.is_some() {
            let field = if key.contains(":session:") { "ttl" } else { "expires_at" };
            assert_eq!(
                wanted[field],
                before.to_string(),
                "the field and the TTL are one after a PATCH of {key}"
            );
            assert_eq!(client.call(&["MIROIR.TOUCH", key]), "1");
            let end = expire_time(&mut client, key).to_string();
            assert_ne!(end, before.to_string());
            wanted.insert(field.to_owned(), end);
            assert_eq!(hash(&mut client, key), wanted);
        }
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "", least), "2", "{key}");
        assert_eq!(client.call(&["MIROIR.DEL", key]), "1", "{key}");
    }
    assert_eq!(client.dump().len(), 0);
}

#[test]
fn stubs_are_shown_by_get_alone() {
    let server = Server::start();
    let mut client = server.client();
    for Sample { key, index, least, life_ms, .. } in SAMPLES {
        let (table, _) = split_key(key);
        client.call(&["HSET", key, "left", "behind"]);
        if let Some((index, member)) = index {
            client.call(&["SADD", index, member]);
        }
        let before = client.dump();
        assert_eq!(client.call(&["MIROIR.GET", key]), "[left, behind]");
        assert_eq!(client.call(&["MIROIR.COUNT", &table]), "0", "{key}");
        assert_eq!(client.call(&["MIROIR.LIST", &table]), "[]", "{key}");
        let (name, value) = pairs(least).next().unwrap();
        assert_eq!(client.call(&["MIROIR.PATCH", key, name, value]), "-2", "{key}");
        if life_ms.is_some() {
            assert_eq!(client.call(&["MIROIR.TOUCH", key]), "-2", "{key}");
        }
        assert_eq!(client.dump(), before, "{key}");
        // A whole row takes its place, and nothing of the stub stays.
        assert_eq!(send(&mut client, "MIROIR.PUT", key, "", least), "1", "{key}");
        assert!(!hash(&mut client, key).contains_key("left"), "{key}");
        assert_eq!(client.call(&["MIROIR.COUNT", &table]), "1", "{key}");
    }
}

/// `<ns>:<table>` and the id.
fn split_key(key: &str) -> (String, &str) {
    let mut parts = key.splitn(3, ':');
    let table = format!("{}:{}", parts.next().unwrap(), parts.next().unwrap());
    (table, parts.next().unwrap())
}

#[test]
fn a_row_whose_time_is_up_is_gone() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:session:s PX 30 pinned_group g");
    client.wait_for("MIROIR.GET miroir:session:s", |answer| answer == "nil");
    assert_eq!(client.ask("MIROIR.COUNT miroir:session"), "0");
    assert_eq!(client.ask("MIROIR.PATCH miroir:session:s pinned_group h"), "-2");
    assert_eq!(client.ask("MIROIR.TOUCH miroir:session:s"), "-2");
    assert_eq!(client.ask("MIROIR.PUT miroir:session:s XX pinned_group h"), "0");
    assert_eq!(client.ask("MIROIR.DEL miroir:session:s"), "0");
    assert_eq!(client.ask("MIROIR.PUT miroir:session:s NX pinned_group h"), "1");
}
