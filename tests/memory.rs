//! MIROIR.MEMORY against a sweep over the raw keys.

mod support;

use std::collections::BTreeMap;

use support::{figure, Client, Server};

const NAMES: &[&str] = &[
    "tasks",
    "node_settings_version",
    "aliases",
    "sessions",
    "idempotency_cache",
    "jobs",
    "leader_lease",
    "canaries",
    "canary_runs",
    "cdc_cursors",
    "tenant_map",
    "rollover_policies",
    "search_ui_config",
    "admin_sessions",
    "ratelimit_searchui",
    "ratelimit_adminlogin",
    "cdc_overflow",
    "search_ui_scoped_key",
    "search_ui_scoped_key_observed",
    "live_pods",
];

type Weights = BTreeMap<String, i64>;

/// Which table and which kind of key each key of the workload is; the longer prefixes stand first.
const ROWS: &[(&str, &str)] = &[
    ("search_ui_scoped_key_observed:", "search_ui_scoped_key_observed"),
    ("search_ui_scoped_key:", "search_ui_scoped_key"),
    ("search_ui_config:", "search_ui_config"),
    ("admin_session:", "admin_sessions"),
    ("node_settings_version:", "node_settings_version"),
    ("canary_runs:", "canary_runs"),
    ("canary:", "canaries"),
    ("cdc_cursor:", "cdc_cursors"),
    ("cdc:overflow:", "cdc_overflow"),
    ("ratelimit:searchui:", "ratelimit_searchui"),
    ("ratelimit:adminlogin:", "ratelimit_adminlogin"),
    ("tenant_map:", "tenant_map"),
    ("rollover:", "rollover_policies"),
    ("session:", "sessions"),
    ("idemp:", "idempotency_cache"),
    ("tasks:", "tasks"),
    ("aliases:", "aliases"),
    ("jobs:", "jobs"),
    ("lease:", "leader_lease"),
    ("live_pods", "live_pods"),
];

fn fill(client: &mut Client) {
    let sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for id in 0..300 {
        let error = "e".repeat(id % 60 + 1);
        client.ask(&format!("MIROIR.PUT miroir:tasks:t{id} index_uid movies error {error}"));
    }
    for line in [
        "MIROIR.PUT 'miroir:tasks:an id: with é' error 'größer'",
        "MIROIR.PUT miroir:node_settings_version:movies:n version 1",
        "MIROIR.PUT miroir:aliases:a kind single current_uid x",
        "MIROIR.PUT miroir:session:s pinned_group g",
        "MIROIR.PUT miroir:session:t PX 600000 pinned_group g",
        "HSET miroir:session:raw session_id raw min_settings_version 0 ttl 4102444800000",
        "MIROIR.PUT miroir:jobs:j type dump",
        "MIROIR.LEASE.ACQUIRE miroir:lease:l pod 600000",
        "SET miroir:lease:raw pod",
        "MIROIR.PUT miroir:canary:c name n index_uid i interval_s 1 query_json {} assertions_json []",
        "MIROIR.CANARY.RECORD miroir:canary_runs:c 1700000000000 pass 1",
        "MIROIR.CANARY.RECORD miroir:canary_runs:c 1700000000001 fail 12",
        "MIROIR.PUT miroir:cdc_cursor:k:i last_event_seq 1",
        "MIROIR.PUT miroir:tenant_map:00 tenant_id t",
        "MIROIR.PUT miroir:rollover:r write_alias w read_alias r pattern p triggers_json {} retention_json {} \
         template_json {}",
        "MIROIR.PUT miroir:search_ui_config:i config_json {}",
        "MIROIR.PUT miroir:admin_session:a csrf_token x admin_key_hash y",
        "SET miroir:ratelimit:searchui:10.0.0.1 7 PX 600000",
        "SET miroir:ratelimit:adminlogin:10.0.0.1 3 PX 600000",
        "HSET miroir:ratelimit:adminlogin:backoff:10.0.0.1 failed_count 3 next_allowed_at 5",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:k BUDGET 1000 one three",
        "MIROIR.PUT miroir:search_ui_scoped_key:i primary_uid u generation 1",
        "HSET miroir:search_ui_scoped_key_observed:pod:i generation 1 observed_at 5",
        "ZADD miroir:live_pods 1700000000000 pod-1 1700000000001 pod-2",
    ] {
        let answer = client.ask(line);
        assert!(!answer.starts_with("ERR"), "{line}: {answer}");
    }
    let idemp = format!("MIROIR.PUT miroir:idemp:k miroir_task_id t body_sha256 {sha}");
    assert_eq!(client.ask(&idemp), "1");
}

fn memory(client: &mut Client, arguments: &[&str]) -> BTreeMap<String, Weights> {
    redis::cmd("MIROIR.MEMORY").arg(arguments).query(&mut client.connection).unwrap()
}

/// Without what the module itself holds.
fn data(client: &mut Client) -> BTreeMap<String, Weights> {
    let mut told = memory(client, &["miroir"]);
    assert!(told.remove("catalog").is_some());
    told
}

fn read<T: redis::FromRedisValue>(client: &mut Client, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query(&mut client.connection).unwrap()
}

/// What MEMORY should say, from the raw keys.
fn sweep(client: &mut Client) -> BTreeMap<String, Weights> {
    let fresh = || {
        ["rows", "payload_bytes", "allocated_bytes", "index_bytes", "expiring"]
            .map(|name| (name.to_owned(), 0))
            .into()
    };
    let mut tables: BTreeMap<String, Weights> =
        NAMES.iter().map(|name| ((*name).to_owned(), fresh())).collect();
    for key in read::<Vec<String>>(client, &["KEYS", "miroir:*"]) {
        let rest = key.strip_prefix("miroir:").unwrap();
        let usage: i64 = read(client, &["MEMORY", "USAGE", &key]);
        let beside = rest.contains(":_") || rest.starts_with("cdc:overflow_");
        let table = if rest.starts_with("cdc:overflow_") {
            "cdc_overflow"
        } else {
            ROWS.iter().find(|(prefix, _)| rest.starts_with(prefix)).unwrap().1
        };
        let weights = tables.get_mut(table).unwrap();
        if beside {
            *weights.get_mut("index_bytes").unwrap() += usage;
            continue;
        }
        let kind: String = read(client, &["TYPE", &key]);
        let content: Vec<Vec<u8>> = match kind.as_str() {
            "hash" => read(client, &["HGETALL", &key]),
            "list" => read(client, &["LRANGE", &key, "0", "-1"]),
            "zset" => read(client, &["ZRANGE", &key, "0", "-1", "WITHSCORES"]),
            _ => vec![read(client, &["GET", &key])],
        };
        let payload = key.len() + content.iter().map(Vec::len).sum::<usize>();
        let expiring = read::<i64>(client, &["PTTL", &key]) >= 0;
        *weights.get_mut("rows").unwrap() += 1;
        *weights.get_mut("payload_bytes").unwrap() += i64::try_from(payload).unwrap();
        *weights.get_mut("allocated_bytes").unwrap() += usage;
        *weights.get_mut("expiring").unwrap() += i64::from(expiring);
    }
    let mut total: Weights = fresh();
    for weights in tables.values() {
        weights.iter().for_each(|(name, value)| *total.get_mut(name).unwrap() += value);
    }
    tables.insert("total".to_owned(), total);
    tables
}

#[test]
fn every_figure_is_what_a_sweep_over_the_raw_keys_finds() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    let mut told = memory(&mut client, &["miroir", "SAMPLES", "0"]);
    let expected = sweep(&mut client);
    assert!(told.remove("catalog").is_some());
    for (table, weights) in &expected {
        assert_eq!(told.get(table), Some(weights), "{table}");
        assert!(weights["rows"] > 0, "the test has no row of {table}");
    }
    assert_eq!(told.len(), expected.len());
    assert_eq!(expected["sessions"]["expiring"], 2);
    assert!(expected["tasks"]["index_bytes"] > 0 && expected["leader_lease"]["index_bytes"] > 0);
}

#[test]
fn sampling_changes_nothing_but_the_estimate_and_that_by_little() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    let exact = memory(&mut client, &["miroir", "SAMPLES", "0"]);
    for arguments in [&["miroir"][..], &["miroir", "samples", "64"]] {
        let mut sampled = memory(&mut client, arguments);
        let (estimate, truth) = (sampled["tasks"]["allocated_bytes"], exact["tasks"]["allocated_bytes"]);
        assert!((estimate - truth).abs() * 10 < truth, "{estimate} for {truth}");
        for table in ["tasks", "total"] {
            let truth = exact[table]["allocated_bytes"];
            sampled.get_mut(table).unwrap().insert("allocated_bytes".to_owned(), truth);
        }
        assert_eq!(sampled, exact);
    }
}

#[test]
fn the_estimate_is_within_three_per_cent_whatever_the_rows_look_like() {
    let server = Server::start();
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(7);
    // Small rows, rows with a long value, which the server keeps in another form, a few large ones; and gaps.
    let mut pipe = redis::pipe();
    for id in 0..3000 {
        let length = match id % 50 {
            0 => random.usize(4000..60_000),
            1..=15 => random.usize(65..800),
            _ => random.usize(0..64),
        };
        let error = "e".repeat(length);
        pipe.cmd("MIROIR.PUT")
            .arg(format!("miroir:tasks:{id}-{}", "x".repeat(id % 30)))
            .arg(&["error", &error])
            .ignore();
        let key = format!("miroir:session:{id}");
        pipe.cmd("MIROIR.PUT").arg(&key).arg(&["pinned_group", &"g".repeat(id % 90 + 1)]).ignore();
        pipe.cmd("SET").arg(format!("miroir:ratelimit:searchui:{id}")).arg(random.u32(..)).ignore();
        if random.u8(..) < 50 {
            pipe.cmd("DEL").arg(&key).ignore();
        }
    }
    pipe.query::<()>(&mut client.connection).unwrap();
    let (estimate, truth) = (memory(&mut client, &["miroir"]), sweep(&mut client));
    for table in ["tasks", "sessions", "ratelimit_searchui"] {
        let (told, true_bytes) = (estimate[table]["allocated_bytes"], truth[table]["allocated_bytes"]);
        assert!((told - true_bytes).abs() * 100 <= true_bytes * 3, "{table}: {told} for {true_bytes}");
        assert_eq!(estimate[table]["payload_bytes"], truth[table]["payload_bytes"], "{table}");
        assert_eq!(estimate[table]["rows"], truth[table]["rows"], "{table}");
    }
}

#[test]
fn the_names_and_their_order_are_the_contracts() {
    let server = Server::start();
    for mut client in [server.client(), server.client_resp3()] {
        let names: Vec<(String, Weights)> = read(&mut client, &["MIROIR.MEMORY", "miroir"]);
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [NAMES, &["catalog", "total"]].concat());
    }
    let told = memory(&mut server.client(), &["miroir"]);
    assert!(told["total"].values().all(|value| *value == 0), "an empty database: {:?}", told["total"]);
    assert!(server
        .client_resp3()
        .ask("MIROIR.MEMORY miroir")
        .starts_with("{tasks: {rows: 0, payload_bytes: 0, "));
}

#[test]
fn foreign_keys_other_namespaces_other_databases_and_stubs_are_not_counted() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:tasks:t index_uid movies");
    let before = data(&mut client);
    for line in [
        "SET miroir:other:x 1",
        "SET miroir:tasksx:1 1",
        "SET miroir 1",
        "HSET miroir:tasks:stub error 'written after the task was deleted'",
        "SET miroir:tasks:foreign 1",
        "LPUSH miroir:lease:foreign 1",
        "SET miroir:canary_runs:foreign 1",
        "MIROIR.PUT miroir2:tasks:t index_uid movies",
        "MIROIR.PUT miroir:eu:tasks:t index_uid movies",
        "MIROIR.PUT mir:tasks:t index_uid movies",
        "SELECT 1",
        "MIROIR.PUT miroir:tasks:elsewhere index_uid movies",
        "SELECT 0",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
    }
    assert_eq!(data(&mut client), before);
    assert_eq!(memory(&mut client, &["miroir:eu"])["tasks"]["rows"], 1);
    assert_eq!(memory(&mut client, &["miroir:eu"])["total"]["rows"], 1);
    client.ask("SELECT 1");
    assert_eq!(memory(&mut client, &["miroir"])["total"]["rows"], 1);
}

#[test]
fn bad_arguments_are_errors() {
    let server = Server::start();
    support::assert_refused(
        &mut server.client(),
        &[
            ("MIROIR.MEMORY", "wrong number of arguments"),
            ("MIROIR.MEMORY miroir SAMPLES", "SAMPLES"),
            ("MIROIR.MEMORY miroir SAMPLES -1", "got '-1'"),
            ("MIROIR.MEMORY miroir SAMPLES many", "got 'many'"),
            ("MIROIR.MEMORY miroir SAMPLES 9223372036854775808", "SAMPLES"),
            ("MIROIR.MEMORY miroir SAMPLES 1 2", "got '2'"),
            ("MIROIR.MEMORY miroir other", "got 'other'"),
            ("MIROIR.MEMORY miroir:tasks", "namespace"),
            ("MIROIR.MEMORY ''", "namespace"),
        ],
    );
}

#[test]
fn a_table_that_loses_its_rows_gives_their_memory_back() {
    const ROWS: i64 = 20_000;
    let server = Server::start();
    let mut client = server.client();
    let fill = |client: &mut Client| {
        let mut pipe = redis::pipe();
        for row in 0..ROWS {
            pipe.cmd("MIROIR.PUT").arg(format!("m:tasks:t{row}")).arg(&["index_uid", "movies"]).ignore();
        }
        pipe.query::<()>(&mut client.connection).unwrap();
    };
    for way in ["MIROIR.DEL", "UNLINK", "PEXPIRE"] {
        fill(&mut client);
        let before = client.figure("miroir", "miroir_catalog_bytes");
        assert!(before > ROWS * 60, "{before}");
        let mut pipe = redis::pipe();
        for row in 0..ROWS * 9 / 10 {
            let command = pipe.cmd(way).arg(format!("m:tasks:t{row}"));
            if way == "PEXPIRE" {
                command.arg(1);
            }
        }
        pipe.exec(&mut client.connection).unwrap();
        // A tenth of the rows is left, and with it a third of the memory at most.
        client.wait_for("INFO miroir", |info| {
            figure(info, "miroir_catalog_rows") == Some(ROWS / 10)
                && figure(info, "miroir_catalog_bytes") < Some(before / 3)
        });
        assert_eq!(support::audit::lasting(&mut client, "m"), [], "{way}");
    }
}
