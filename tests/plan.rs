//! MIROIR.PLAN on a server: what it reads, what it refuses, how it answers. The figures are in tests/plan_examples.rs.

mod support;

use std::collections::BTreeMap;

use support::{assert_refused, replicate, Client, Server};

type Plan = BTreeMap<String, BTreeMap<String, String>>;

fn figure(plan: &Plan, table: &str, name: &str) -> i64 {
    plan[table][name].parse().unwrap_or_else(|_| panic!("{name} of {table}: {plan:?}"))
}

/// Tasks of two namespaces, other tables, another database.
fn fill(client: &mut Client) {
    for id in 0..300 {
        let error = "e".repeat(id % 50 + 1);
        client.succeed(&format!("MIROIR.PUT miroir:tasks:t{id} index_uid movies error {error}"));
        client.succeed(&format!("MIROIR.PUT eu:tasks:task-{id} index_uid books"));
        client.succeed(&format!("MIROIR.PUT miroir:session:s{id} pinned_group g"));
    }
    for run in 0..40 {
        client.succeed(&format!("MIROIR.CANARY.RECORD miroir:canary_runs:c {run} pass 5"));
        client.succeed(&format!("MIROIR.CANARY.RECORD miroir:canary_runs:d {run} pass 5"));
    }
    client.run(&[
        "MIROIR.POD.BEAT miroir:live_pods pod-1",
        "MIROIR.POD.BEAT miroir:live_pods pod-2",
        "MIROIR.PUT miroir:search_ui_scoped_key:movies primary_uid u generation 1",
        "MIROIR.SCOPEDKEY.OBSERVE miroir:search_ui_scoped_key:movies pod-1 1",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 event",
        "SELECT 1",
        "MIROIR.PUT miroir:aliases:a kind single current_uid x",
        "SELECT 0",
    ]);
}

/// Rows, bytes of rows, bytes of indexes, as MIROIR.MEMORY measures them all.
fn weighed(client: &mut Client, namespaces: &[&str], table: &str) -> [i64; 3] {
    let mut sums = [0; 3];
    for namespace in namespaces {
        let told: BTreeMap<String, BTreeMap<String, i64>> =
            client.read(&format!("MIROIR.MEMORY {namespace} SAMPLES 0"));
        for (sum, name) in sums.iter_mut().zip(["rows", "allocated_bytes", "index_bytes"]) {
            *sum += told[table][name];
        }
    }
    sums
}

fn assert_near(got: i64, expected: i64, what: &str) {
    assert!((got - expected).abs() * 100 <= expected * 3 + 100, "{what}: {got}, not {expected}");
}

#[test]
fn rows_are_planned_by_those_that_the_database_has() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    let line =
        "MIROIR.PLAN ROWS tasks 10000 sessions 1000 canary_runs 500 live_pods 3 search_ui_scoped_key 7 \
                cdc_overflow 2 aliases 9";
    let plan: Plan = client.read(line);

    let [rows, bytes, index] = weighed(&mut client, &["miroir", "eu"], "tasks");
    assert_eq!(plan["tasks"]["source"], "measured");
    assert_eq!(figure(&plan, "tasks", "measured_rows"), rows);
    assert_eq!(rows, 600);
    assert_near(figure(&plan, "tasks", "row_bytes"), bytes / rows, "a task");
    assert_near(figure(&plan, "tasks", "index_entry_bytes"), index / rows, "its index entry");
    assert_eq!(figure(&plan, "tasks", "rows_bytes"), 10_000 * figure(&plan, "tasks", "row_bytes"));
    assert_eq!(figure(&plan, "tasks", "index_bytes"), 10_000 * figure(&plan, "tasks", "index_entry_bytes"));

    let [rows, bytes, _] = weighed(&mut client, &["miroir"], "sessions");
    assert_near(figure(&plan, "sessions", "row_bytes"), bytes / rows, "a session");
    assert_eq!(plan["sessions"]["index_entry_bytes"], "0");

    // Runs, not histories; pods, not registers.
    let [_, bytes, _] = weighed(&mut client, &["miroir"], "canary_runs");
    assert_eq!(plan["canary_runs"]["measured_rows"], "80");
    assert_near(figure(&plan, "canary_runs", "row_bytes"), bytes / 80, "a run");
    assert_eq!(plan["live_pods"]["measured_rows"], "2");

    // A buffer that is short today says nothing of the day when its sink is down.
    assert_eq!(plan["cdc_overflow"]["source"], "document");
    assert_eq!(plan["cdc_overflow"]["rows_bytes"], (2_i64 << 30).to_string());
    // Another database's rows are not this one's.
    assert_eq!(plan["aliases"]["source"], "document");

    let tables =
        ["tasks", "sessions", "canary_runs", "live_pods", "search_ui_scoped_key", "cdc_overflow", "aliases"];
    let sum = |name| tables.iter().map(|table| figure(&plan, table, name)).sum::<i64>();
    assert_eq!(figure(&plan, "total", "rows_bytes"), sum("rows_bytes"));
    assert_eq!(figure(&plan, "total", "index_bytes"), sum("index_bytes"));
    assert_eq!(figure(&plan, "total", "catalog_bytes"), sum("catalog_bytes"));
    assert_eq!(figure(&plan, "tasks", "catalog_bytes"), 10_000 * 160);
    assert_eq!([&*plan["canary_runs"]["catalog_bytes"], &*plan["aliases"]["catalog_bytes"]], ["0", "0"]);
    let bytes = sum("rows_bytes") + sum("index_bytes") + sum("catalog_bytes");
    assert_eq!(figure(&plan, "total", "bytes"), bytes);
    let with_overhead = (bytes * 3).div_euclid(2) + bytes % 2;
    assert_eq!(figure(&plan, "total", "with_overhead_bytes"), with_overhead);
    let at_start = client.figure("memory", "used_memory_startup");
    assert_eq!(figure(&plan, "total", "server_bytes"), at_start);
    let over = figure(&plan, "total", "recommended_maxmemory_bytes") - with_overhead - at_start;
    assert!((0..1_000_000).contains(&over), "{over}");

    // Pods, by the register and the observations that there are.
    let (registry, observation) =
        (figure(&plan, "pods", "registry_bytes"), figure(&plan, "pods", "observation_bytes"));
    assert_eq!([&*plan["pods"]["registry_source"], &*plan["pods"]["observation_source"]], ["measured"; 2]);
    assert_eq!(registry, figure(&plan, "live_pods", "row_bytes"));
    assert_near(
        observation,
        weighed(&mut client, &["miroir"], "search_ui_scoped_key_observed")[1],
        "an observation",
    );
    assert_eq!(figure(&plan, "pods", "scoped_key_indexes"), 7);
    assert_eq!(figure(&plan, "pods", "bytes"), 10 * (registry + 7 * observation));
    let plan: Plan = client.read("MIROIR.PLAN ROWS PODS 3 search_ui_scoped_key 7");
    assert_eq!(figure(&plan, "pods", "bytes"), 3 * (registry + 7 * observation));

    client.run(&["FLUSHALL"]);
    let plan: Plan = client.read(line);
    assert_eq!(plan["tasks"]["source"], "document");
    assert_eq!(plan["tasks"]["row_bytes"], "250");
}

#[test]
fn what_is_beside_the_rows_and_outlives_them_is_not_charged_to_those_that_are_left() {
    let server = Server::start();
    let mut client = server.client();
    for scope in 0..200 {
        client.succeed(&format!("MIROIR.LEASE.ACQUIRE miroir:lease:scope-{scope} pod 60000"));
    }
    let before: Plan = client.read("MIROIR.PLAN ROWS leader_lease 10");
    for scope in 1..200 {
        client.succeed(&format!("MIROIR.LEASE.RELEASE miroir:lease:scope-{scope} pod"));
    }
    let after: Plan = client.read("MIROIR.PLAN ROWS leader_lease 10");
    assert_eq!(after["leader_lease"]["measured_rows"], "1");
    let entry = |plan: &Plan| figure(plan, "leader_lease", "index_entry_bytes");
    assert!(entry(&after) > 0 && entry(&after) <= entry(&before), "{after:?} after {before:?}");
}

#[test]
fn a_server_with_the_recommended_memory_holds_the_rows() {
    let server = Server::start();
    let mut client = server.client();
    let put = |client: &mut Client, ids: std::ops::Range<usize>| {
        // In small batches: what is under way takes memory, too.
        for from in ids.clone().step_by(100) {
            let mut pipe = redis::pipe();
            for id in from..ids.end.min(from + 100) {
                let (task, session) =
                    (format!("miroir:tasks:mtask-{id:032}"), format!("miroir:session:{id:032}"));
                let fields = ["index_uid", "products", "task_type", "documentAdditionOrUpdate"];
                pipe.cmd("MIROIR.PUT").arg(&task).arg(&fields).ignore();
                pipe.cmd("MIROIR.PUT").arg(&session).arg(&["pinned_group", "group-a"]).ignore();
            }
            if let Err(error) = pipe.query::<()>(&mut client.connection) {
                panic!("from {from} on: {:.300}", error.to_string());
            }
        }
    };
    put(&mut client, 0..500);
    let plan: Plan = client.read("MIROIR.PLAN ROWS tasks 20000 sessions 20000");
    let limit = figure(&plan, "total", "recommended_maxmemory_bytes");
    client.run(&[&format!("CONFIG SET maxmemory {limit}"), "CONFIG SET maxmemory-policy noeviction"]);
    put(&mut client, 500..20_000);
    assert_eq!(client.ask("MIROIR.COUNT miroir:tasks"), "20000");
    let used = client.figure("memory", "used_memory");
    let bytes = figure(&plan, "total", "bytes");
    assert!(bytes < used && limit < 2 * used, "{bytes} planned, {limit} recommended, {used} used");
}

#[test]
fn many_namespaces_are_looked_at_in_part() {
    let server = Server::start();
    let mut client = server.client();
    for number in 0..40 {
        client.succeed(&format!("MIROIR.PUT n{number}:tasks:t index_uid movies"));
    }
    for id in 0..9 {
        client.succeed(&format!("MIROIR.PUT the-largest:tasks:t{id} index_uid movies"));
    }
    // Those of another database do not count, be they larger.
    client.run(&["SELECT 1"]);
    for id in 0..80 {
        client.succeed(&format!("MIROIR.PUT other{}:tasks:t{id} index_uid movies", id % 8));
    }
    client.run(&["SELECT 0"]);
    let plan: Plan = client.read("MIROIR.PLAN ROWS tasks 1");
    assert_eq!(plan["tasks"]["measured_rows"], (9 + 7).to_string(), "the eight with the most rows");
}

#[test]
fn the_answer_is_a_map_and_a_flat_array_for_older_clients() {
    let server = Server::start();
    let rows = "MIROIR.PLAN ROWS tasks 2";
    assert_eq!(
        server.client_resp3().ask(rows),
        "{tasks: {rows: 2, row_bytes: 250, index_entry_bytes: 40, catalog_entry_bytes: 0, rows_bytes: 500, index_bytes: 80, \
         catalog_bytes: 0, source: document, measured_rows: 0}, total: {rows_bytes: 500, index_bytes: 80, \
         catalog_bytes: 0, bytes: 580, overhead_factor: 1.5, with_overhead_bytes: 870, server_bytes: 0, recommended_maxmemory_bytes: 1000000}, pods: {pods: 10, scoped_key_indexes: 0, \
         registry_bytes: 50, registry_source: document, observation_bytes: 250, observation_source: document, \
         bytes_per_pod: 50, bytes: 500, recommended_maxmemory_bytes: 1000000}}"
    );
    assert!(server.client().ask(rows).starts_with("[tasks, [rows, 2, row_bytes, 250, "));
    let cache = "MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8";
    let answer = server.client_resp3().ask(cache);
    assert!(answer.starts_with("{writes_per_second: 1600, items: 480000, "), "{answer}");
    assert!(answer.contains(", headroom: 2.50, "), "{answer}");
    assert!(server.client().ask(cache).starts_with("[writes_per_second, 1600, items, 480000, "));
    let without = server.client().ask(&format!("{cache} REPLICAS 0"));
    assert!(without.contains("failover_seconds, nil, "), "{without}");
}

#[test]
fn options_stand_in_any_order_and_case() {
    let server = Server::start();
    let mut client = server.client();
    let told = client.ask("MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8");
    for line in [
        "miroir.plan cache hitrate 0.8 ttl 5m size 1MB qps 8000",
        "MIROIR.PLAN CACHE REPLICAS 1 NETWORK 10gbps POD 64gb QPS 8000 SIZE 1000kb TTL 300000ms HITRATE 0.80",
        "MIROIR.PLAN CACHE QPS 8000 SIZE 1000000 TTL 5.000m HITRATE 0.800000000 NETWORK 10000Mbps",
    ] {
        assert_eq!(client.ask(line), told, "{line}");
    }
    // In decimal units a pod holds a little less than in binary ones, and its manifest is the same.
    let binary = client.ask("MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8 POD 64gib");
    assert!(binary.contains("usable_bytes, 1099511627776, "), "{binary}");
    for manifest in ["maxmemory, 64gb, ", "memory_request, 77Gi, memory_limit, 92Gi, "] {
        assert!(told.contains(manifest) && binary.contains(manifest), "{manifest}");
    }
}

#[test]
fn bad_arguments_are_errors_that_name_the_argument() {
    let server = Server::start();
    let mut client = server.client();
    let cases: Vec<(String, &str)> = [
        (
            "QPS 0 SIZE 1mb TTL 5m HITRATE 0.8",
            "argument 'QPS': expected an integer from 1 to 9223372036854775807, got '0'",
        ),
        ("QPS -5 SIZE 1mb TTL 5m HITRATE 0.8", "got '-5'"),
        ("QPS 1.5 SIZE 1mb TTL 5m HITRATE 0.8", "got '1.5'"),
        ("QPS 9223372036854775808 SIZE 1mb TTL 5m HITRATE 0.8", "argument 'QPS'"),
        ("QPS 9223372036854775807 SIZE 1mb TTL 5m HITRATE 0.8", "this plan"),
        ("QPS 9223372036854775807 SIZE 8388607tib TTL 5m HITRATE 0.8", "this plan"),
        ("QPS 5 SIZE 0 TTL 5m HITRATE 0.8", "argument 'SIZE': expected a size above 0 such as 1mb"),
        ("QPS 5 SIZE -1mb TTL 5m HITRATE 0.8", "got '-1mb'"),
        ("QPS 5 SIZE 1xb TTL 5m HITRATE 0.8", "got '1xb'"),
        ("QPS 5 SIZE nan TTL 5m HITRATE 0.8", "got 'nan'"),
        ("QPS 5 SIZE '' TTL 5m HITRATE 0.8", "got ''"),
        ("QPS 5 SIZE 1mb TTL 300 HITRATE 0.8", "argument 'TTL': expected a time above 0 such as 300s"),
        ("QPS 5 SIZE 1mb TTL 0s HITRATE 0.8", "got '0s'"),
        (
            "QPS 5 SIZE 1mb TTL 5m HITRATE 1.1",
            "argument 'HITRATE': expected a number from 0 to 1 such as 0.8, got '1.1'",
        ),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE -0.1", "got '-0.1'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE NaN", "got 'NaN'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE inf", "got 'inf'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 80%", "got '80%'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 POD 0gb", "argument 'POD'"),
        ("QPS 8000 SIZE 1mb TTL 5m HITRATE 0.8 POD 1kb", "expected at most 16384, the slots of a cluster"),
        (
            "QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 NETWORK 10",
            "argument 'NETWORK': expected a rate above 0 such as 10gbps",
        ),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 NETWORK 10gb", "got '10gb'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 REPLICAS -1", "argument 'REPLICAS'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 REPLICAS 9223372036854775807", "this plan"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 MEMORY much", "argument 'MEMORY'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 MEMORY", "argument 'MEMORY'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 QPS 5", "got 'QPS'"),
        ("QPS 5 SIZE 1mb TTL 5m HITRATE 0.8 COST 5", "got 'COST'"),
        (
            "QPS 5 SIZE 1mb TTL 5m POD 64gb",
            "argument 'HITRATE': expected a number from 0 to 1 such as 0.8, got nothing",
        ),
        ("SIZE 1mb TTL 5m HITRATE 0.8 POD 64gb", "argument 'QPS'"),
    ]
    .into_iter()
    .map(|(rest, expected)| (format!("MIROIR.PLAN CACHE {rest}"), expected))
    .collect();
    let cases: Vec<(&str, &str)> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    assert_refused(
        &mut client,
        &[
            ("MIROIR.PLAN", "wrong number of arguments"),
            ("MIROIR.PLAN ROWS tasks", "wrong number of arguments"),
            ("MIROIR.PLAN TABLES tasks 5", "argument 'what': expected ROWS or CACHE, got 'TABLES'"),
            ("MIROIR.PLAN ROWS books 5", "argument 'table': expected one of tasks|node_settings_version|"),
            ("MIROIR.PLAN ROWS books 5", "got 'books'"),
            ("MIROIR.PLAN ROWS tasks many", "argument 'tasks': expected an integer from 0"),
            ("MIROIR.PLAN ROWS tasks -1", "got '-1'"),
            ("MIROIR.PLAN ROWS tasks 5 jobs", "argument 'jobs'"),
            ("MIROIR.PLAN ROWS tasks 5 tasks 5", "argument 'table': expected each table once, got 'tasks'"),
            (
                "MIROIR.PLAN ROWS tasks 9223372036854775807",
                "bytes of this plan: expected at most 9223372036854775807",
            ),
            ("MIROIR.PLAN ROWS PODS 5", "argument 'table'"),
            ("MIROIR.PLAN ROWS PODS -1 tasks 5", "argument 'PODS'"),
            ("MIROIR.PLAN ROWS PODS 9223372036854775807 tasks 5", "bytes of this plan"),
        ],
    );
}

#[test]
fn a_replica_plans_by_its_own_rows() {
    let master = Server::start();
    let mut client = master.client();
    fill(&mut client);
    let replica = Server::replica_of(&master, &[]);
    let mut on_replica = replica.client();
    replicate(&mut client, &mut on_replica);
    let plan: Plan = on_replica.read("MIROIR.PLAN ROWS tasks 5");
    assert_eq!(plan["tasks"]["measured_rows"], "600");
    let cache = "MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8";
    assert_eq!(on_replica.ask(cache), client.ask(cache));
}

#[test]
fn planning_needs_a_right_but_no_key() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "MIROIR.PUT miroir:tasks:t index_uid movies",
        "ACL SETUSER planner on nopass resetkeys -@all +miroir.plan",
        "ACL SETUSER other on nopass ~* -@all +miroir.memory",
    ]);
    for (user, may) in [("planner", true), ("other", false)] {
        let mut connection = server.client();
        connection.succeed(&format!("AUTH {user} any"));
        for line in ["MIROIR.PLAN ROWS tasks 5", "MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8"] {
            assert_eq!(!connection.ask(line).starts_with("NOPERM"), may, "{user}: {line}");
        }
    }
}

#[test]
fn planning_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    fill(&mut client);
    let before = client.dump();
    let dirty = client.figure("persistence", "rdb_changes_since_last_save");
    for line in [
        "MIROIR.PLAN ROWS tasks 5 canary_runs 5 cdc_overflow 5",
        "MIROIR.PLAN CACHE QPS 8000 SIZE 1mb TTL 300s HITRATE 0.8",
    ] {
        client.succeed(line);
    }
    assert_eq!(client.dump(), before);
    assert_eq!(client.figure("persistence", "rdb_changes_since_last_save"), dirty);
}
