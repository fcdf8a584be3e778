//! The exporter of metrics against real servers: its numbers are those of INFO, MIROIR.MEMORY and MIROIR.CDC.STAT, and it exports
//! whatever the dashboard and the alert rules name.

mod support;

#[path = "../examples/exporter/http.rs"]
mod http;
#[path = "../examples/exporter/metrics.rs"]
mod metrics;
#[path = "../examples/exporter/text.rs"]
mod text;
#[path = "../examples/watch/mod.rs"]
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Exporter;
use support::workload::work;
use support::{Client, Server};
use watch::ages::Ages;
use watch::server::Address;
use watch::Interests;

/// Series by name and labels.
type Scrape = BTreeMap<String, f64>;

/// Starts an exporter, which ends with the test, and answers where it listens.
fn export(server: &Server, user: Option<(&str, &str)>) -> String {
    export_namespace(server, user, "miroir")
}

fn export_namespace(server: &Server, user: Option<(&str, &str)>, namespace: &str) -> String {
    let address = Address {
        port: server.port(),
        host: "127.0.0.1".to_owned(),
        user: user.map(|(name, _)| name.to_owned()),
    };
    let interests = Interests {
        namespaces: vec![namespace.to_owned()],
        sinks: vec!["kafka".to_owned()],
        leases: vec!["leader".to_owned(), "nobody".to_owned()],
        all_leases: false,
    };
    let watched = watch::server::Server::new(address, user.map(|(_, password)| password.to_owned()));
    let exporter = Exporter::listen("127.0.0.1:0".parse().unwrap(), watched, interests).unwrap();
    let address = exporter.address();
    std::thread::spawn(move || exporter.serve());
    address
}

fn get(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(support::patience())).unwrap();
    write!(stream, "{request} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn scrape(address: &str) -> Scrape {
    let (head, body) = get(address, "GET /metrics");
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let series = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, number) = line.rsplit_once(' ').unwrap();
        (name.replace("{}", ""), number.parse().unwrap_or_else(|_| panic!("{line}")))
    });
    let count = series.clone().count();
    let scrape: Scrape = series.collect();
    assert_eq!(scrape.len(), count, "a series stands twice");
    scrape
}

fn names(scrape: &Scrape) -> BTreeSet<String> {
    let name = |series: &String| series.split('{').next().unwrap().to_owned();
    scrape.keys().map(name).collect()
}

fn info(client: &mut Client) -> BTreeMap<String, String> {
    let text = client.ask("INFO miroir");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Every number that INFO tells, as the series that it has to be.
fn expected(info: &BTreeMap<String, String>) -> Scrape {
    let mut expected = Scrape::new();
    for (field, value) in info {
        let mut add = |series: String, number: f64| assert!(expected.insert(series, number).is_none());
        for (prefix, label, counts) in [
            ("table", "table", &["expired", "evicted"][..]),
            ("family", "family", &["calls", "errors", "rejected"]),
        ] {
            let Some(name) = field.strip_prefix(&format!("miroir_{prefix}_")) else { continue };
            for (what, number) in value.split(',').map(|pair| pair.split_once('=').unwrap()) {
                let metric = match (what, counts.contains(&what)) {
                    ("expiring", _) => "expiring_rows".to_owned(),
                    ("expired" | "evicted", _) => format!("{what}_rows_total"),
                    (_, true) => format!("{what}_total"),
                    (_, false) => what.to_owned(),
                };
                add(format!("miroir_{prefix}_{metric}{{{label}=\"{name}\"}}"), number.parse().unwrap());
            }
        }
        let labelled = [
            ("miroir_jobs_", "miroir_jobs", "state"),
            ("miroir_audit_found_", "miroir_audit_findings_total", "finding"),
        ];
        let label = labelled.iter().find_map(|(prefix, metric, label)| {
            Some(format!("{metric}{{{label}=\"{}\"}}", field.strip_prefix(prefix)?))
        });
        let Ok(number) = value.parse() else { continue };
        match (field.as_str(), label) {
            (_, Some(series)) => add(series, number),
            ("miroir_catalog_progress_percent", _) => {
                add("miroir_catalog_progress_ratio".to_owned(), number / 100.0)
            }
            ("miroir_memory_warning" | "miroir_memory_critical" | "miroir_memory_used", _) => {
                add(format!("{field}_bytes"), number);
            }
            ("miroir_memory_protection_rounds" | "miroir_memory_evicted_protected", _) => {
                add(format!("{field}_total"), number);
            }
            (name, _) if name.starts_with("miroir_audit_") => add(format!("{field}_total"), number),
            _ => add(field.clone(), number),
        }
    }
    expected
}

#[test]
fn every_number_of_info_miroir_is_a_metric_and_the_same() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    // Else the audit goes on counting between the two looks.
    client.run(&["CONFIG SET miroir.audit-budget-us 0", "MIROIR.COUNT miroir:tasks"]);
    let exporter = export(&server, None);
    let info = info(&mut client);
    let told = expected(&info);
    let scrape = scrape(&exporter);
    let protection = format!("miroir_memory_protection{{state=\"{}\"}}", info["miroir_memory_protection"]);
    assert_eq!(scrape.get(&protection), Some(&1.0), "{protection}");
    assert!(told.len() > 150, "{told:?}");
    for (series, number) in &told {
        let exported = scrape.get(series).unwrap_or_else(|| panic!("{series} is not exported"));
        // What a connection costs.
        let may_differ = if series == "miroir_memory_used_bytes" { 1e6 } else { 0.0 };
        assert!((exported - number).abs() <= may_differ, "{series}: {exported}, INFO says {number}");
    }
    assert_eq!(
        (scrape["miroir_up"], scrape["miroir_catalog_ready"], scrape["miroir_memory_alert"]),
        (1.0, 1.0, 0.0)
    );
    assert!(!names(&scrape).contains("miroir_exporter_refused"));
}

#[test]
fn the_numbers_of_a_namespace_are_those_of_the_commands() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    let exporter = export(&server, None);
    let scrape = scrape(&exporter);

    let tables: BTreeMap<String, BTreeMap<String, f64>> = client.read("MIROIR.MEMORY miroir");
    for (table, numbers) in &tables {
        for (what, number) in numbers {
            // The catalog has a form of its own; INFO has its numbers.
            let metric = match what.as_str() {
                "expiring" => "expiring_rows",
                what if table == "catalog" && what != "rows" => continue,
                what => what,
            };
            let series = format!("miroir_namespace_{metric}{{namespace=\"miroir\",table=\"{table}\"}}");
            assert_eq!(scrape.get(&series), Some(number), "{series}");
        }
    }
    // The workload leaves buffers of two sinks, of which the exporter was told one; and it knows those with a cursor.
    let stat: BTreeMap<String, f64> = client.read("MIROIR.CDC.STAT miroir:cdc:overflow:kafka");
    for (what, metric) in [
        ("length", "events"),
        ("bytes", "bytes"),
        ("dropped", "dropped_events_total"),
        ("dropped_bytes", "dropped_bytes_total"),
        ("acked", "acknowledged_events_total"),
        ("last_seq", "pushed_events_total"),
    ] {
        let series = format!("miroir_cdc_{metric}{{namespace=\"miroir\",sink=\"kafka\"}}");
        assert_eq!(scrape.get(&series), Some(&stat[what]), "{series}");
    }
    assert!(stat["length"] > 0.0 && stat["dropped"] > 0.0 && stat["acked"] > 0.0, "{stat:?}");
    let sinks: BTreeSet<_> = scrape
        .keys()
        .filter_map(|series| series.strip_prefix("miroir_cdc_events{namespace=\"miroir\",sink=\""))
        .collect();
    assert_eq!(sinks, BTreeSet::from(["kafka\"}", "kafka:eu\"}", "nats\"}"]));

    let (holder, ms, token): (String, f64, f64) = client.read("MIROIR.LEASE.GET miroir:lease:leader");
    let lease = |metric: &str, scope: &str| {
        scrape.get(&format!("miroir_lease_{metric}{{namespace=\"miroir\",scope=\"{scope}\"}}")).copied()
    };
    assert_eq!(
        (holder.as_str(), lease("held", "leader"), lease("held", "nobody")),
        ("pod-2", Some(1.0), Some(0.0))
    );
    assert_eq!((lease("token", "leader"), lease("token", "nobody")), (Some(token), None));
    let remaining = lease("remaining_seconds", "leader").unwrap();
    assert!((ms / 1000.0..600.1).contains(&remaining), "{remaining}");
    // pod-1 and pod-2 have told of themselves; pod-0 did long ago.
    assert_eq!(client.ask("MIROIR.POD.LIVE miroir:live_pods"), "[pod-1, pod-2]");
    assert_eq!(scrape["miroir_pods_live{namespace=\"miroir\"}"], 2.0);
}

#[test]
fn a_node_of_a_cluster_says_nothing_of_keys_that_are_elsewhere() {
    let cluster = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    let servers = [(); 2].map(|()| Server::start_with(&cluster));
    let mut clients = servers.each_ref().map(Server::client);
    let slot = clients[0].integer("CLUSTER KEYSLOT {miroir}");
    // The second node has all slots but this one, which nobody has: to whoever asks, that is the same as another node's.
    clients[0].run(&["CLUSTER ADDSLOTSRANGE 0 16383"]);
    clients[1].run(&[&format!("CLUSTER ADDSLOTSRANGE 0 {} {} 16383", slot - 1, slot + 1)]);
    for client in &mut clients {
        client.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    }
    clients[0].run(&["MIROIR.LEASE.ACQUIRE {miroir}:lease:leader pod-1 60000"]);
    let [first, second] =
        servers.each_ref().map(|server| scrape(&export_namespace(server, None, "{miroir}")));
    for (scope, held) in [("leader", 1.0), ("nobody", 0.0)] {
        let series = format!("miroir_lease_held{{namespace=\"{{miroir}}\",scope=\"{scope}\"}}");
        // Else the alert would say for each other node that nobody holds it.
        assert_eq!((first.get(&series), second.get(&series)), (Some(&held), None), "{scope}");
    }
    assert_eq!(second["miroir_up"], 1.0);
    assert!(!names(&second).contains("miroir_exporter_refused"), "{second:?}");
    assert!(!names(&second).contains("miroir_cdc_events") && names(&first).contains("miroir_cdc_events"));
}

#[test]
fn the_durations_of_commands_are_those_of_the_server() {
    let server = Server::start();
    let mut client = server.client();
    for id in 0..100 {
        client.run(&[&format!("MIROIR.PUT miroir:tasks:t{id} index_uid movies")]);
    }
    let exporter = export(&server, None);
    let scrape = scrape(&exporter);
    let of =
        |part: &str| scrape[&format!("miroir_command_duration_seconds_{part}{{command=\"miroir.put\"}}")];
    assert_eq!(of("count"), 100.0);
    let text = client.ask("INFO commandstats");
    let line = text.lines().find(|line| line.starts_with("cmdstat_MIROIR.PUT:")).unwrap();
    let micros: f64 = line.split_once("usec=").unwrap().1.split(',').next().unwrap().parse().unwrap();
    assert!((of("sum") - micros / 1e6).abs() < 1e-9, "{line}");
    let bounds = scrape.iter().filter_map(|(series, calls)| {
        let series = series.strip_prefix("miroir_command_duration_seconds_bucket{le=\"")?;
        let (bound, command) = series.split_once("\",")?;
        (command == "command=\"miroir.put\"}")
            .then(|| (bound.replace("+Inf", "inf").parse::<f64>().unwrap(), *calls))
    });
    let mut bounds: Vec<(f64, f64)> = bounds.collect();
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!((bounds.len(), bounds.last().unwrap().1), (21, 100.0));
    assert!(bounds.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{bounds:?}");
    // The server's own buckets, as it tells them, stand at the same bounds.
    let told: BTreeMap<String, BTreeMap<String, redis::Value>> = client.read("LATENCY HISTOGRAM MIROIR.PUT");
    let told: BTreeMap<u64, f64> =
        redis::from_redis_value(told["MIROIR.PUT"]["histogram_usec"].clone()).unwrap();
    for (micros, calls) in told {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a call")]
        let bound = bounds.iter().find(|(bound, _)| (bound * 1e6 - micros as f64).abs() < 0.01);
        assert_eq!(bound.map(|(_, calls)| *calls), Some(calls), "{micros}");
    }
}

#[test]
fn the_monitor_of_the_security_page_is_refused_nothing_and_a_refusal_is_told() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let rules = page.lines().find_map(|line| line.strip_prefix("user monitor ")).unwrap();
    client.run(&[
        &format!("ACL SETUSER monitor reset {rules} >secret"),
        "ACL SETUSER poor reset on >secret +ping +info",
    ]);
    let monitor = scrape(&export(&server, Some(("monitor", "secret"))));
    assert_eq!(
        (monitor["miroir_up"], monitor["miroir_lease_held{namespace=\"miroir\",scope=\"leader\"}"]),
        (1.0, 1.0)
    );
    assert!(!names(&monitor).contains("miroir_exporter_refused"), "{monitor:?}");

    let poor = scrape(&export(&server, Some(("poor", "secret"))));
    assert_eq!((poor["miroir_up"], poor["miroir_exporter_refused{command=\"MIROIR.MEMORY\"}"]), (1.0, 1.0));
    assert!(poor.contains_key("miroir_catalog_rows"));
    let stranger = scrape(&export(&server, Some(("poor", "wrong"))));
    assert_eq!(stranger["miroir_up"], 0.0);
    assert!(
        stranger.keys().any(|series| series.starts_with("miroir_exporter_failure{error=")),
        "{stranger:?}"
    );
}

#[test]
fn a_server_that_goes_and_comes_back_is_told() {
    let mut server = Server::start();
    let exporter = export(&server, None);
    assert_eq!(scrape(&exporter)["miroir_up"], 1.0);
    server.kill();
    let gone = scrape(&exporter);
    assert_eq!((gone["miroir_up"], gone.len()), (0.0, 2), "{gone:?}");
    server.start_again();
    assert_eq!(scrape(&exporter)["miroir_up"], 1.0);
    assert_eq!(get(&exporter, "GET /healthz").1, "ok\n");
    assert!(get(&exporter, "GET /").0.contains(" 404 "));
    assert!(get(&exporter, "DELETE /metrics").0.contains(" 405 "));
}

#[test]
fn whatever_the_dashboard_and_the_alerts_name_is_exported_and_the_page_names_all() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    let replica = Server::replica_of(&server, &[]);
    // One may not do everything, so that a refusal is exported as well.
    client.run(&["ACL SETUSER poor reset on >secret +ping +info"]);
    let mut exported: BTreeSet<String> = BTreeSet::new();
    for (server, user) in [(&server, None), (&replica, None), (&server, Some(("poor", "secret")))] {
        exported.extend(names(&scrape(&export(server, user))));
    }
    for file in ["grafana/miroir.json", "prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        let used: BTreeSet<&str> = words.filter(|word| word.starts_with("miroir_")).collect();
        assert!(used.len() > 20, "{file}: {used:?}");
        for name in used {
            assert!(exported.contains(name), "{file}: {name} is not exported");
        }
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md")).unwrap();
    for name in &exported {
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(page.contains(&format!("`{name}`")), "docs/monitoring.md says nothing of {name}");
    }
}

#[test]
fn the_dashboard_has_a_place_a_query_and_words_for_every_panel() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/miroir.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} is out of the grid");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} lies over another one");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} has no query");
        assert!(targets
            .iter()
            .all(|target| target["expr"].as_str().is_some_and(|expr| expr.contains("miroir_"))));
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
    }
    assert!(panels.len() > 30);
}

#[test]
fn the_age_of_an_event_is_that_of_the_first_look_at_which_it_was_there() {
    let mut ages = Ages::default();
    let start = Instant::now();
    let mut look = |seconds: u64, length, first, last| {
        let now = start + Duration::from_secs(seconds);
        ages.look(("miroir", "kafka"), (length, first, last), now).as_secs()
    };
    assert_eq!(look(0, 0, 1, 0), 0);
    assert_eq!(look(10, 3, 1, 3), 0);
    assert_eq!(look(20, 3, 1, 3), 10);
    assert_eq!(look(30, 5, 1, 5), 20);
    // 1 to 3 are gone: 4 was first seen at 30.
    assert_eq!(look(40, 2, 4, 5), 10);
    assert_eq!(look(50, 0, 6, 5), 0);
    assert_eq!(look(60, 1, 6, 6), 0);
    // Another buffer of the same name.
    assert_eq!(look(70, 2, 1, 2), 0);
    assert_eq!(look(90, 2, 1, 2), 20);
    // However many looks: the oldest event's age stays within one step of the truth.
    for second in 0..20_000 {
        look(100 + second, second + 1, 1, 3 + second);
    }
    assert!(look(30_100, 20_003, 1, 20_003) >= 30_000);
}
