//! INFO miroir against MIROIR.MEMORY, COUNT and the server's own figures; and the settings.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::workload::work;
use support::{Client, Server};

type Info = BTreeMap<String, String>;

/// The fields of a section of INFO, `miroir_` left out of the names that begin with it.
fn info(client: &mut Client, section: &str) -> Info {
    let text = client.ask(&format!("INFO {section}"));
    assert!(text.starts_with("# "), "INFO {section}: {text}");
    let fields = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let short = |name: &str| name.strip_prefix("miroir_").unwrap_or(name).to_owned();
    fields.map(|(name, value)| (short(name), value.trim().to_owned())).collect()
}

fn sections(client: &mut Client, line: &str) -> Vec<String> {
    let text = client.ask(line);
    text.lines().filter_map(|line| line.strip_prefix("# ")).map(|name| name.trim().to_owned()).collect()
}

/// The numbers of a field such as `rows=1,expired=0`.
fn numbers(info: &Info, name: &str) -> BTreeMap<String, i64> {
    let field = info.get(name).unwrap_or_else(|| panic!("no {name} in {info:?}"));
    let pairs = field.split(',').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, number)| (name.to_owned(), number.parse().unwrap())).collect()
}

fn number(info: &Info, name: &str) -> i64 {
    let field = info.get(name).unwrap_or_else(|| panic!("no {name} in {info:?}"));
    field.parse().unwrap_or_else(|_| panic!("{name}: {field}"))
}

fn memory(client: &mut Client, namespace: &str) -> BTreeMap<String, BTreeMap<String, i64>> {
    redis::cmd("MIROIR.MEMORY").arg(namespace).query(&mut client.connection).unwrap()
}

#[test]
fn the_sections_and_their_fields() {
    let server = Server::start();
    let mut client = server.client();
    let ours = ["catalog", "tables", "audit", "memory", "commands", "cdc", "leases", "jobs"];
    let ours = ours.map(|name| format!("miroir_{name}"));
    assert_eq!(sections(&mut client, "INFO miroir"), ours);
    for section in &ours {
        assert_eq!(sections(&mut client, &format!("INFO {section}")), std::slice::from_ref(section));
    }
    let catalog = info(&mut client, "miroir_catalog");
    assert_eq!((&catalog["catalog_state"][..], number(&catalog, "catalog_progress_percent")), ("ready", 100));
    assert_eq!(number(&catalog, "catalog_backlog"), 0);
    let tables: BTreeSet<_> = info(&mut client, "miroir_tables").into_keys().collect();
    let mut expected: BTreeSet<_> =
        memory(&mut client, "miroir").into_keys().map(|name| format!("table_{name}")).collect();
    expected.remove("table_catalog");
    expected.remove("table_total");
    assert_eq!(tables, expected);
    assert_eq!(info(&mut client, "miroir_memory")["memory_alert"], "none");
}

#[test]
fn the_tables_are_those_of_memory_over_all_namespaces_and_databases() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    client.run(&[
        "MIROIR.PUT eu:tasks:t index_uid movies",
        "MIROIR.PUT eu:session:s pinned_group g",
        "SELECT 1",
        "MIROIR.PUT miroir:tasks:t index_uid movies",
        "ZADD miroir:live_pods 1 pod-1",
        "HSET miroir:tasks:stub status failed",
    ]);
    let mut sums: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for (database, namespace) in [(1, "miroir"), (0, "eu"), (0, "miroir")] {
        client.run(&[&format!("SELECT {database}")]);
        for (table, weight) in memory(&mut client, namespace) {
            let sum = sums.entry(table).or_default();
            for (sum, name) in sum.iter_mut().zip(["rows", "payload_bytes", "expiring"]) {
                *sum += weight.get(name).unwrap_or(&0);
            }
        }
    }
    let catalog = memory(&mut client, "miroir").remove("catalog").unwrap();
    let (of_catalog, total) = (sums.remove("catalog"), sums.remove("total").unwrap());
    assert!(of_catalog.is_some());
    let info = info(&mut client, "miroir");
    for (table, [rows, payload, expiring]) in &sums {
        let told = numbers(&info, &format!("table_{table}"));
        assert_eq!(
            (told["rows"], told["payload_bytes"], told["expiring"]),
            (*rows, *payload, *expiring),
            "{table}"
        );
        assert_eq!((told["expired"], told["evicted"]), (0, 0), "{table}");
    }
    assert_eq!(number(&info, "catalog_rows"), total[0]);
    assert_eq!(number(&info, "catalog_rows"), catalog["entries"]);
    // The answer of MEMORY is a part of what the module holds while it is made.
    let bytes = number(&info, "catalog_bytes");
    assert!((catalog["bytes"] - bytes).abs() < 32 << 10, "{bytes}, MEMORY says {}", catalog["bytes"]);
    assert_eq!(number(&info, "cdc_buffers"), sums["cdc_overflow"][0]);
    assert_eq!(number(&info, "cdc_payload_bytes"), sums["cdc_overflow"][1]);
    assert_eq!(number(&info, "cdc_cursors"), sums["cdc_cursors"][0]);
    assert_eq!(number(&info, "leases_held"), sums["leader_lease"][0]);
}

#[test]
fn jobs_by_state_are_those_of_count() {
    let server = Server::start();
    let mut client = server.client();
    for state in ["queued", "queued", "queued", "in_progress", "completed", "completed", "failed"] {
        for namespace in ["miroir", "eu"] {
            let id = client.ask("DBSIZE");
            client.run(&[&format!("HSET {namespace}:jobs:j{id} type dump state {state}")]);
        }
    }
    client.ask("SELECT 1");
    client.run(&["MIROIR.PUT miroir:jobs:other type dump"]);
    client.ask("SELECT 0");
    let mut counted = BTreeMap::new();
    for namespace in ["miroir", "eu"] {
        let states: BTreeMap<String, i64> = redis::cmd("MIROIR.COUNT")
            .arg(&[&format!("{namespace}:jobs"), "BY", "state"])
            .query(&mut client.connection)
            .unwrap();
        states.into_iter().for_each(|(state, jobs)| *counted.entry(state).or_insert(0) += jobs);
    }
    *counted.get_mut("queued").unwrap() += 1;
    let told = info(&mut client, "miroir_jobs");
    for (state, jobs) in [("queued", 7), ("in_progress", 2), ("completed", 4), ("failed", 2)] {
        assert_eq!((counted[state], number(&told, &format!("jobs_{state}"))), (jobs, jobs), "{state}");
    }
}

#[test]
fn calls_errors_and_rejections_of_each_family() {
    let server = Server::start();
    let mut client = server.client();
    let families: [(&str, [i64; 3], &[&str]); 6] = [
        (
            "rows",
            [4, 1, 2],
            &[
                "MIROIR.PUT miroir:tasks:t index_uid movies",
                "MIROIR.GET miroir:tasks:t",
                "miroir.list miroir:tasks",
                "MIROIR.PUT miroir:tasks:t nothing x",
                "MIROIR.GET",
                "MIROIR.COUNT",
            ],
        ),
        ("tasks_and_aliases", [1, 0, 0], &["MIROIR.TASK.STATUS miroir:tasks:t processing"]),
        ("leases", [2, 1, 0], &["MIROIR.LEASE.GET miroir:lease:l", "MIROIR.LEASE.GET miroir:tasks:t"]),
        ("canary_runs", [1, 0, 0], &["MIROIR.CANARY.RUNS miroir:canary_runs:c"]),
        ("cdc_overflow", [1, 0, 0], &["MIROIR.CDC.STAT miroir:cdc:overflow:kafka"]),
        (
            "accounting_and_care",
            [3, 1, 0],
            &["MIROIR.MEMORY miroir", "MIROIR.AUDIT miroir 0", "MIROIR.AUDIT miroir x"],
        ),
    ];
    let check = |client: &mut Client, expected: &dyn Fn([i64; 3]) -> [i64; 3]| {
        let told = info(client, "miroir_commands");
        for (family, counts, _) in &families {
            let told = numbers(&told, &format!("family_{family}"));
            assert_eq!([told["calls"], told["errors"], told["rejected"]], expected(*counts), "{family}");
        }
    };
    check(&mut client, &|_| [0; 3]);
    for (_, _, lines) in &families {
        lines.iter().for_each(|line| drop(client.ask(line)));
    }
    check(&mut client, &|counts| counts);
    assert_eq!(client.ask("CONFIG RESETSTAT"), "OK");
    check(&mut client, &|_| [0; 3]);
}

#[test]
fn what_expires_and_what_is_evicted_is_counted_per_table() {
    let server = Server::start();
    let mut client = server.client();
    // INFO tells what the module has heard of so far; a command that asks makes it hear all.
    let table = |client: &mut Client, table: &str| {
        client.ask("MIROIR.COUNT miroir:tasks");
        numbers(&info(client, "miroir_tables"), &format!("table_{table}"))
    };
    for id in 0..20 {
        client.run(&[&format!("MIROIR.PUT miroir:session:s{id} PX 20 pinned_group g")]);
    }
    client.run(&[
        "SET miroir:lease:l pod PX 20",
        "SET miroir:ratelimit:searchui:ip 1 PX 20",
        "MIROIR.PUT miroir:tasks:t PX 20 index_uid movies",
    ]);
    let gone = |text: &str| !text.contains("keys=");
    client.wait_for("INFO keyspace", gone);
    for (name, expired) in [("sessions", 20), ("leader_lease", 1), ("ratelimit_searchui", 1), ("tasks", 1)] {
        let told = table(&mut client, name);
        assert_eq!((told["rows"], told["expired"], told["evicted"]), (0, expired, 0), "{name}");
    }

    for id in 0..30 {
        client.run(&[&format!("MIROIR.PUT miroir:tasks:t{id} index_uid movies")]);
        client.run(&[&format!("MIROIR.PUT miroir:session:s{id} pinned_group g")]);
        client.run(&[&format!("MIROIR.CDC.PUSH miroir:cdc:overflow:s{id} BUDGET 9 x")]);
    }
    client.run(&["MIROIR.DEL miroir:tasks:t0 miroir:session:s0"]);
    client.run(&["CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory 1"]);
    // A write makes the server evict, whether or not it does so by itself.
    client.ask("SET other x");
    client.wait_for("DBSIZE", |size| size == "0");
    client.run(&["CONFIG SET maxmemory 0"]);
    for (name, expired, evicted) in [("sessions", 20, 29), ("tasks", 1, 29), ("cdc_overflow", 0, 30)] {
        let told = table(&mut client, name);
        assert_eq!((told["rows"], told["expired"], told["evicted"]), (0, expired, evicted), "{name}");
    }
    assert_eq!(client.ask("MIROIR.AUDIT miroir 0 COUNT 1000").matches("finding").count(), 0);
}

#[test]
fn the_register_of_pods_is_counted_as_well_when_it_expires() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&["ZADD miroir:live_pods 1 pod-1", "PEXPIRE miroir:live_pods 20"]);
    client.wait_for("EXISTS miroir:live_pods", |answer| answer == "0");
    client.ask("MIROIR.COUNT miroir:tasks");
    assert_eq!(numbers(&info(&mut client, "miroir_tables"), "table_live_pods")["expired"], 1);
}

#[test]
fn the_alert_follows_the_thresholds() {
    let server = Server::start();
    let mut client = server.client();
    let mut alert = |warning: &str, critical: &str| {
        client.run(&[
            &format!("CONFIG SET miroir.memory-warning-bytes {warning}"),
            &format!("CONFIG SET miroir.memory-critical-bytes {critical}"),
        ]);
        let told = info(&mut client, "miroir_memory");
        let own: i64 = info(&mut client, "memory")["used_memory"].parse().unwrap();
        let used = number(&told, "memory_used");
        assert!(used > 0 && (own - used).abs() < 1 << 20, "{used}, the server says {own}");
        (told["memory_alert"].clone(), number(&told, "memory_warning"), number(&told, "memory_critical"))
    };
    assert_eq!(alert("1gb", "2gb"), ("none".to_owned(), 1 << 30, 2 << 30));
    assert_eq!(alert("1kb", "2gb"), ("warning".to_owned(), 1 << 10, 2 << 30));
    assert_eq!(alert("1kb", "2kb"), ("critical".to_owned(), 1 << 10, 2 << 10));
    assert_eq!(alert("0", "1"), ("critical".to_owned(), 0, 1));
    assert_eq!(alert("1", "0"), ("warning".to_owned(), 1, 0));
    assert_eq!(alert("0", "0"), ("none".to_owned(), 0, 0));
}

/// Each setting: its name, its default, good values with what they mean, and bad ones.
type Setting = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const SETTINGS: [Setting; 6] = [
    (
        "miroir.max-field-bytes",
        "1048576",
        &[("1", "1"), ("512mb", "536870912"), ("2k", "2000")],
        &["0", "-1", "513mb", "536870913", "x", "''", "1.5", "9223372036854775808"],
    ),
    (
        "miroir.memory-warning-bytes",
        "500000000",
        &[("0", "0"), ("1gb", "1073741824"), ("9223372036854775807", "9223372036854775807")],
        &["-1", "x", "1.5"],
    ),
    (
        "miroir.memory-critical-bytes",
        "1000000000",
        &[("0", "0"), ("1gb", "1073741824"), ("9223372036854775807", "9223372036854775807")],
        &["-1", "x", "1.5"],
    ),
    (
        "miroir.audit-budget-us",
        "500",
        &[("0", "0"), ("5000", "5000"), ("1", "1")],
        &["-1", "5001", "x", "''", "1kb", "1.5", "9223372036854775808"],
    ),
    (
        "miroir.doctor-window-seconds",
        "300",
        &[("1", "1"), ("86400", "86400")],
        &["-1", "0", "86401", "x", "''", "1kb", "1.5"],
    ),
    ("miroir.protect-from-eviction", "yes", &[("no", "no"), ("yes", "yes")], &["maybe", "1"]),
];

#[test]
fn settings_have_defaults_and_bounds() {
    let server = Server::start();
    let mut client = server.client();
    let all: BTreeMap<String, String> =
        redis::cmd("CONFIG").arg(&["GET", "miroir.*"]).query(&mut client.connection).unwrap();
    let expected = SETTINGS.iter().map(|(name, value, _, _)| ((*name).to_owned(), (*value).to_owned()));
    assert_eq!(all, expected.collect());
    for (name, _, good, bad) in SETTINGS {
        for (value, meant) in good {
            assert_eq!(client.ask(&format!("CONFIG SET {name} {value}")), "OK", "{name} {value}");
            let told = client.ask(&format!("CONFIG GET {name}"));
            assert_eq!(told, format!("[{name}, {meant}]"), "{value}");
            for wrong in bad {
                let answer = client.ask(&format!("CONFIG SET {name} {wrong}"));
                assert!(answer.starts_with("ERR"), "{name} {wrong}: {answer}");
                assert_eq!(client.ask(&format!("CONFIG GET {name}")), told, "{wrong}");
            }
        }
    }
    // All or nothing, as with the server's own settings.
    let before = client.ask("CONFIG GET miroir.*");
    let answer = client.ask("CONFIG SET miroir.memory-warning-bytes 5 miroir.audit-budget-us 5001");
    assert!(answer.starts_with("ERR"), "{answer}");
    assert_eq!(client.ask("CONFIG GET miroir.*"), before);
}

#[test]
fn settings_are_taken_from_the_configuration_file_and_from_loadex() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("miroir.conf");
    let lines = "miroir.audit-budget-us 0\nmiroir.memory-warning-bytes 1mb\nmiroir.max-field-bytes 5\n";
    std::fs::write(&file, lines).unwrap();
    let server = Server::start_with(&["--include", file.to_str().unwrap()]);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG GET miroir.audit-budget-us"), "[miroir.audit-budget-us, 0]");
    assert_eq!(
        client.ask("CONFIG GET miroir.memory-warning-bytes"),
        "[miroir.memory-warning-bytes, 1048576]"
    );
    assert_eq!(
        client.ask("CONFIG GET miroir.memory-critical-bytes"),
        "[miroir.memory-critical-bytes, 1000000000]"
    );
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:t index_uid 12345"), "1");
    assert!(client.ask("MIROIR.PUT miroir:tasks:t index_uid 123456").starts_with("ERR"));
    // Off is off: nothing is compared, however long the server runs.
    assert_eq!(number(&info(&mut client, "miroir_audit"), "audit_rounds"), 0);

    let mut bare = Server::bare(&[]);
    let mut client = bare.client();
    let module = support::module();
    let load = |value: &'static str| {
        ["MODULE", "LOADEX", module.to_str().unwrap(), "CONFIG", "miroir.audit-budget-us", value]
    };
    for wrong in ["5001", "-1", "x"] {
        let answer = client.call(&load(wrong));
        assert!(answer.starts_with("ERR"), "{wrong}: {answer}");
    }
    assert_eq!(client.call(&load("7")), "OK", "{}", bare.log());
    assert_eq!(client.ask("CONFIG GET miroir.audit-budget-us"), "[miroir.audit-budget-us, 7]");
    assert!(bare.is_alive());
}

#[test]
fn the_other_sections_are_as_without_the_module_and_everything_can_be_parsed() {
    let (server, bare) = (Server::start(), Server::bare(&[]));
    let (mut client, mut without) = (server.client(), bare.client());
    work(&mut client);
    for line in ["INFO", "INFO default", "INFO server clients memory"] {
        assert_eq!(sections(&mut client, line), sections(&mut without, line), "{line}");
        assert!(!client.ask(line).contains("miroir_"), "{line}");
    }
    let ours = sections(&mut client, "INFO miroir");
    for line in ["INFO everything", "INFO all modules"] {
        let all = sections(&mut client, line);
        assert!(all.ends_with(&ours), "{line}: {all:?}");
        let others: Vec<_> = all.into_iter().filter(|name| !name.starts_with("miroir_")).collect();
        let theirs = sections(&mut without, line);
        // A server that ran no command that failed has no section of errors.
        assert!(theirs.iter().all(|name| others.contains(name)), "{line}: {others:?}, without: {theirs:?}");
    }
    let text = client.ask("INFO everything");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        assert!(line.contains(':'), "no name:value: {line:?}");
    }
    let parsed: redis::InfoDict = redis::cmd("INFO").arg("everything").query(&mut client.connection).unwrap();
    assert_eq!(parsed.get::<String>("miroir_catalog_state").as_deref(), Some("ready"));
    assert!(parsed.get::<i64>("miroir_memory_used").is_some_and(|used| used > 0));
    let resp3 = server.client_resp3().ask("INFO miroir");
    assert!(resp3.contains("miroir_catalog_state:ready"), "{resp3}");
}
