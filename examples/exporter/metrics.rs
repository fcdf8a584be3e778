//! Which metrics are made of what a server tells.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::watch::ages::Ages;
use crate::watch::Reading;

type Labels = Vec<(&'static str, String)>;

/// A metric and its values.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub samples: Samples,
}

/// Values, each with its labels.
#[derive(Debug)]
pub enum Samples {
    /// What only rises, until the server starts anew.
    Counts(Vec<(Labels, f64)>),
    /// What rises and falls.
    Levels(Vec<(Labels, f64)>),
    Histograms(Vec<(Labels, Durations)>),
}

impl Samples {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Counts(samples) | Self::Levels(samples) => samples.is_empty(),
            Self::Histograms(samples) => samples.is_empty(),
        }
    }
}

/// How long the calls of a command took, in seconds.
#[derive(Debug)]
pub struct Durations {
    pub sum: f64,
    pub count: u64,
    /// How many calls in each bucket, by the bucket's upper bound.
    pub buckets: Vec<(f64, u64)>,
}

/// The buckets that the servers have, in microseconds. A server leaves out those in which nothing is.
const BOUNDS: [u64; 20] = [
    1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633, 135_266, 270_532,
    541_065,
];

/// A field of INFO, what it is called as a metric, and what it says.
type Field = (&'static str, &'static str, &'static str);

/// Of the server itself. These and the next ones are numbers as they stand.
const SERVER_LEVELS: &[Field] = &[
    ("uptime_in_seconds", "miroir_server_uptime_seconds", "For how long the server has run"),
    ("connected_clients", "miroir_server_connected_clients", "Clients that are connected"),
    ("maxclients", "miroir_server_max_clients", "Clients that may be connected"),
    ("blocked_clients", "miroir_server_blocked_clients", "Clients that wait in a blocking command"),
    ("used_memory", "miroir_server_memory_used_bytes", "Memory that the server has allocated"),
    (
        "used_memory_rss",
        "miroir_server_memory_rss_bytes",
        "Memory of the server's process, as the system sees it",
    ),
    ("maxmemory", "miroir_server_memory_max_bytes", "The setting maxmemory; 0 is none"),
    (
        "mem_fragmentation_ratio",
        "miroir_server_memory_fragmentation_ratio",
        "Memory of the process for each byte allocated",
    ),
    ("connected_slaves", "miroir_server_connected_replicas", "Replicas that are connected to this server"),
    (
        "master_repl_offset",
        "miroir_server_replication_offset_bytes",
        "Where this server stands in the replication stream",
    ),
    ("rdb_changes_since_last_save", "miroir_server_unsaved_changes", "Changes since the last snapshot"),
    ("aof_enabled", "miroir_server_append_only", "Whether there is an append-only file"),
];

const SERVER_COUNTS: &[Field] = &[
    ("total_connections_received", "miroir_server_connections_total", "Connections accepted"),
    ("total_commands_processed", "miroir_server_commands_total", "Commands of all kinds"),
    ("total_net_input_bytes", "miroir_server_network_input_bytes_total", "Bytes that clients have sent"),
    ("total_net_output_bytes", "miroir_server_network_output_bytes_total", "Bytes sent to clients"),
    ("total_net_repl_output_bytes", "miroir_server_replication_output_bytes_total", "Bytes sent to replicas"),
    (
        "rejected_connections",
        "miroir_server_rejected_connections_total",
        "Connections refused for the limit maxclients",
    ),
    ("expired_keys", "miroir_server_expired_keys_total", "Keys whose time ran out"),
    ("evicted_keys", "miroir_server_evicted_keys_total", "Keys evicted for the limit maxmemory"),
    ("keyspace_hits", "miroir_server_keyspace_hits_total", "Look-ups of keys that were there"),
    (
        "keyspace_misses",
        "miroir_server_keyspace_misses_total",
        "Look-ups of keys that were not there; writing a new key is one too",
    ),
];

/// Fields of INFO miroir, without `miroir_`.
const MODULE_LEVELS: &[Field] = &[
    ("catalog_rows", "miroir_catalog_rows", "Rows that the module knows, in all tables"),
    ("catalog_bytes", "miroir_catalog_bytes", "Memory that the module holds"),
    (
        "catalog_backlog",
        "miroir_catalog_backlog",
        "Keys that changed and that the module has still to look at",
    ),
    ("memory_used", "miroir_memory_used_bytes", "Memory that memory_alert is about"),
    ("memory_warning", "miroir_memory_warning_bytes", "The setting miroir.memory-warning-bytes; 0 is never"),
    (
        "memory_critical",
        "miroir_memory_critical_bytes",
        "The setting miroir.memory-critical-bytes; 0 is never",
    ),
    (
        "memory_protected_keys",
        "miroir_memory_protected_keys",
        "Keys that are kept from being evicted, as far as they were counted",
    ),
    (
        "memory_samples_raised",
        "miroir_memory_samples_raised",
        "1 while the module has raised maxmemory-samples for their sake",
    ),
    ("cdc_buffers", "miroir_cdc_buffers", "CDC overflow buffers that hold events"),
    (
        "cdc_payload_bytes",
        "miroir_cdc_payload_bytes",
        "Bytes in all CDC overflow buffers, names of keys included",
    ),
    ("cdc_cursors", "miroir_cdc_cursors", "CDC cursors"),
    ("leases_held", "miroir_leases_held", "Leases that somebody holds"),
];

const MODULE_COUNTS: &[Field] = &[
    (
        "memory_protection_rounds",
        "miroir_memory_protection_rounds_total",
        "How often all keys that must not be evicted were made young again",
    ),
    (
        "memory_evicted_protected",
        "miroir_memory_evicted_protected_total",
        "Keys that were evicted though they should not be",
    ),
    ("audit_rounds", "miroir_audit_rounds_total", "How often all keys were compared with the catalog"),
    ("audit_compared", "miroir_audit_compared_total", "Keys compared with the catalog"),
    ("audit_missing", "miroir_audit_missing_total", "Rows that the catalog did not know"),
    ("audit_ghosts", "miroir_audit_ghosts_total", "Rows of the catalog that were not there"),
    ("audit_different", "miroir_audit_different_total", "Rows of which the catalog knew something wrong"),
    ("audit_repaired", "miroir_audit_repaired_total", "Findings that MIROIR.AUDIT has mended"),
];

/// The numbers that a table's field of INFO has.
const TABLE_LEVELS: &[Field] = &[
    ("rows", "miroir_table_rows", "Rows of a table, in all namespaces and databases"),
    ("payload_bytes", "miroir_table_payload_bytes", "Names of keys, fields and values of a table"),
    ("expiring", "miroir_table_expiring_rows", "Rows that have a TTL"),
];

const TABLE_COUNTS: &[Field] = &[
    ("expired", "miroir_table_expired_rows_total", "Rows whose time ran out"),
    ("evicted", "miroir_table_evicted_rows_total", "Rows evicted for the limit maxmemory"),
];

const FAMILY_COUNTS: &[Field] = &[
    ("calls", "miroir_family_calls_total", "Calls of a family of commands"),
    ("errors", "miroir_family_errors_total", "Calls that were answered with an error"),
    (
        "rejected",
        "miroir_family_rejected_total",
        "Calls that the server refused before the module saw them, as for lack of memory",
    ),
];

/// The numbers of MIROIR.MEMORY and of MIROIR.CDC.STAT.
const WEIGHTS: &[Field] = &[
    ("rows", "miroir_namespace_rows", "Rows of a table of a namespace, on this server and in database 0"),
    ("payload_bytes", "miroir_namespace_payload_bytes", "Names of keys, fields and values"),
    ("allocated_bytes", "miroir_namespace_allocated_bytes", "Memory of the rows, estimated from a sample"),
    ("index_bytes", "miroir_namespace_index_bytes", "Memory of the index sets"),
    ("expiring", "miroir_namespace_expiring_rows", "Rows that have a TTL"),
];

const BUFFER_LEVELS: &[Field] = &[
    ("length", "miroir_cdc_events", "Events in a CDC overflow buffer"),
    ("bytes", "miroir_cdc_bytes", "Bytes of these events"),
];

const BUFFER_COUNTS: &[Field] = &[
    ("dropped", "miroir_cdc_dropped_events_total", "Events dropped for the budget, over the buffer's life"),
    ("dropped_bytes", "miroir_cdc_dropped_bytes_total", "Bytes of dropped events"),
    ("acked", "miroir_cdc_acknowledged_events_total", "Events acknowledged by the sink's pump"),
    (
        "last_seq",
        "miroir_cdc_pushed_events_total",
        "Events pushed over the buffer's life: the number of the last one",
    ),
];

/// When the server cannot be reached.
pub fn of_failure(error: &str) -> Vec<Metric> {
    let reason = vec![(vec![("error", error.to_owned())], 1.0)];
    vec![up(0.0), level("miroir_exporter_failure", "Why the server cannot be looked at", reason)]
}

/// All that a server tells.
pub fn of(reading: &Reading, ages: &mut Ages, now: Instant) -> Vec<Metric> {
    let mut all = vec![up(1.0)];
    server(reading, &mut all);
    module(reading, &mut all);
    commands(reading, &mut all);
    namespaces(reading, ages, now, &mut all);
    let refusals = reading.refused.keys().map(|command| (vec![("command", command.clone())], 1.0)).collect();
    all.push(level("miroir_exporter_refused", "A command that the server refuses this exporter", refusals));
    all
}

fn up(value: f64) -> Metric {
    level("miroir_up", "Whether the exporter reaches the server", alone(value))
}

fn server(reading: &Reading, all: &mut Vec<Metric>) {
    let info = &reading.info;
    let text = |name: &str| info.get(name).cloned().unwrap_or_default();
    // Valkey tells a version of Redis that it is compatible with, and its own.
    let version = info.get("valkey_version").cloned().unwrap_or_else(|| text("redis_version"));
    let labels = vec![
        ("version", version),
        ("server", info.get("server_name").cloned().unwrap_or_else(|| "redis".to_owned())),
        ("mode", info.get("redis_mode").cloned().unwrap_or_else(|| text("server_mode"))),
        ("role", text("role")),
        ("policy", text("maxmemory_policy")),
    ];
    all.push(level("miroir_server_info", "What the server is", vec![(labels, 1.0)]));
    let is = |name: &str, value: &str| f64::from(u8::from(info.get(name).is_some_and(|told| told == value)));
    all.push(level(
        "miroir_server_master",
        "Whether this is a master, no replica",
        alone(is("role", "master")),
    ));
    if info.contains_key("master_link_status") {
        let linked = alone(is("master_link_status", "up"));
        all.push(level(
            "miroir_server_replica_link_up",
            "Whether this replica is connected to its master",
            linked,
        ));
    }
    let is_saved = ["rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"]
        .iter()
        .all(|name| info.get(*name).is_none_or(|told| told == "ok"));
    let help = "Whether the last snapshot and the last writes of the append-only file succeeded";
    all.push(level("miroir_server_persistence_ok", help, alone(f64::from(u8::from(is_saved)))));
    plain(SERVER_LEVELS, "", reading, level, all);
    plain(SERVER_COUNTS, "", reading, count, all);

    let keys: f64 = reading.groups("db").filter_map(|(_, numbers)| numbers.get("keys").copied()).sum();
    all.push(level("miroir_server_keys", "Keys in all databases", alone(keys)));
    if let (Some(user), Some(system)) = (reading.number("used_cpu_user"), reading.number("used_cpu_sys")) {
        all.push(count(
            "miroir_server_cpu_seconds_total",
            "Processor time of the server",
            alone(user + system),
        ));
    }
    if let Some(slow) = reading.slow {
        #[expect(clippy::cast_precision_loss, reason = "the slow log has no 2^53 entries")]
        let slow = alone(slow as f64);
        all.push(level("miroir_server_slowlog_entries", "Entries of the slow log", slow));
    }
}

fn module(reading: &Reading, all: &mut Vec<Metric>) {
    let text = |name: &str| reading.info.get(name).map(String::as_str);
    let ready = f64::from(u8::from(text("miroir_catalog_state") == Some("ready")));
    all.push(level(
        "miroir_catalog_ready",
        "Whether the module knows all keys; it learns them after a start",
        alone(ready),
    ));
    if let Some(percent) = reading.number("miroir_catalog_progress_percent") {
        let help = "How much of the keys the module has learnt since the start";
        all.push(level("miroir_catalog_progress_ratio", help, alone(percent / 100.0)));
    }
    let alert = match text("miroir_memory_alert") {
        Some("warning") => 1.0,
        Some("critical") => 2.0,
        _ => 0.0,
    };
    all.push(level(
        "miroir_memory_alert",
        "0 is none, 1 warning, 2 critical, by the thresholds that are set",
        alone(alert),
    ));
    if let Some(state) = text("miroir_memory_protection") {
        let state = vec![(vec![("state", state.to_owned())], 1.0)];
        let help = "1, with what is done to keep keys that must not be evicted";
        all.push(level("miroir_memory_protection", help, state));
    }
    plain(MODULE_LEVELS, "miroir_", reading, level, all);
    plain(MODULE_COUNTS, "miroir_", reading, count, all);

    let found = labelled(reading, "miroir_audit_found_", "finding");
    all.push(count("miroir_audit_findings_total", "What MIROIR.AUDIT has found", found));
    let jobs = labelled(reading, "miroir_jobs_", "state");
    all.push(level("miroir_jobs", "Jobs in a state, in all namespaces and databases", jobs));
    grouped(TABLE_LEVELS, ("miroir_table_", "table"), reading, level, all);
    grouped(TABLE_COUNTS, ("miroir_table_", "table"), reading, count, all);
    grouped(FAMILY_COUNTS, ("miroir_family_", "family"), reading, count, all);
}

/// How long each command took. Their sums are those of INFO commandstats.
fn commands(reading: &Reading, all: &mut Vec<Metric>) {
    let sums: BTreeMap<String, f64> = reading
        .groups("cmdstat_")
        .filter_map(|(command, numbers)| Some((command.to_uppercase(), *numbers.get("usec")?)))
        .collect();
    let histograms = reading.durations.iter().map(|(command, told)| {
        let sum = sums.get(command).copied().unwrap_or(0.0) / 1e6;
        (vec![("command", command.to_lowercase())], durations(told, sum))
    });
    all.push(Metric {
        name: "miroir_command_duration_seconds",
        help: "How long the calls of a command took in the server",
        samples: Samples::Histograms(histograms.collect()),
    });
}

/// The server counts calls up to a bound, the text those between two.
#[expect(clippy::cast_precision_loss, reason = "bounds are below 2^53")]
fn durations(told: &[(u64, u64)], sum: f64) -> Durations {
    let up_to = |bound: u64| {
        told.iter().take_while(|(upper, _)| *upper <= bound).last().map_or(0, |(_, calls)| *calls)
    };
    let mut before = 0;
    let finite = BOUNDS.iter().map(|bound| (*bound as f64 / 1e6, up_to(*bound)));
    let counts = finite.chain([(f64::INFINITY, up_to(u64::MAX))]);
    let buckets = counts.map(|(bound, calls)| {
        let between = calls - before;
        before = calls;
        (bound, between)
    });
    Durations { sum, count: up_to(u64::MAX), buckets: buckets.collect() }
}

fn namespaces(reading: &Reading, ages: &mut Ages, now: Instant, all: &mut Vec<Metric>) {
    let at = |namespace: &String, name: &'static str, value: &String| {
        vec![("namespace", namespace.clone()), (name, value.clone())]
    };
    let weights = reading.namespaces.iter().flat_map(|(namespace, held)| {
        held.tables.iter().map(move |(table, numbers)| (at(namespace, "table", table), numbers))
    });
    for_each_field(WEIGHTS, &weights.collect::<Vec<_>>(), level, all);

    let buffers = reading.namespaces.iter().flat_map(|(namespace, held)| {
        held.buffers.iter().map(move |(sink, numbers)| (at(namespace, "sink", sink), numbers))
    });
    let buffers: Vec<_> = buffers.collect();
    for_each_field(BUFFER_LEVELS, &buffers, level, all);
    for_each_field(BUFFER_COUNTS, &buffers, count, all);

    let (mut waiting, mut held, mut remaining, mut tokens, mut pods) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (name, namespace) in &reading.namespaces {
        for (sink, numbers) in &namespace.buffers {
            let number = |field| numbers.get(field).copied().unwrap_or(0);
            let state = (number("length"), number("first_seq"), number("last_seq"));
            let age = ages.look((name, sink), state, now);
            waiting.push((at(name, "sink", sink), age.as_secs_f64()));
        }
        for (scope, lease) in &namespace.leases {
            let labels = at(name, "scope", scope);
            held.push((labels.clone(), f64::from(u8::from(lease.is_some()))));
            if let Some(lease) = lease {
                #[expect(clippy::cast_precision_loss, reason = "times and tokens are below 2^53")]
                let (ms, token) = (lease.remaining_ms as f64, lease.token as f64);
                remaining.push((labels.clone(), ms / 1000.0));
                tokens.push((labels, token));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "pods are few")]
        if let Some(live) = namespace.pods {
            pods.push((vec![("namespace", name.clone())], live as f64));
        }
    }
    let help = "For how long the oldest event has waited, as far as this exporter has seen it";
    all.push(level("miroir_cdc_oldest_event_age_seconds", help, waiting));
    all.push(level("miroir_lease_held", "Whether somebody holds the lease", held));
    all.push(level("miroir_lease_remaining_seconds", "How long the lease still lasts", remaining));
    all.push(level(
        "miroir_lease_token",
        "The fencing token: it rises whenever the lease changes hands",
        tokens,
    ));
    all.push(level("miroir_pods_live", "Pods that said lately that they are alive", pods));
}

type Make = fn(&'static str, &'static str, Vec<(Labels, f64)>) -> Metric;

fn level(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Metric {
    Metric { name, help, samples: Samples::Levels(samples) }
}

fn count(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Metric {
    Metric { name, help, samples: Samples::Counts(samples) }
}

fn alone(value: f64) -> Vec<(Labels, f64)> {
    vec![(Vec::new(), value)]
}

/// Fields that are one number each.
fn plain(fields: &[Field], prefix: &str, reading: &Reading, make: Make, all: &mut Vec<Metric>) {
    for (field, name, help) in fields {
        if let Some(number) = reading.number(&format!("{prefix}{field}")) {
            all.push(make(name, help, alone(number)));
        }
    }
}

/// Fields whose names begin with the prefix: what follows it is the label.
fn labelled(reading: &Reading, prefix: &str, label: &'static str) -> Vec<(Labels, f64)> {
    let fields = reading.info.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)));
    fields.filter_map(|(short, value)| Some((vec![(label, short.to_owned())], value.parse().ok()?))).collect()
}

/// Fields of several numbers, whose names begin with the prefix.
fn grouped(
    fields: &[Field],
    (prefix, label): (&str, &'static str),
    reading: &Reading,
    make: Make,
    all: &mut Vec<Metric>,
) {
    for (field, name, help) in fields {
        let samples = reading
            .groups(prefix)
            .filter_map(|(short, numbers)| Some((vec![(label, short.to_owned())], *numbers.get(field)?)));
        all.push(make(name, help, samples.collect()));
    }
}

fn for_each_field(
    fields: &[Field],
    told: &[(Labels, &BTreeMap<String, u64>)],
    make: Make,
    all: &mut Vec<Metric>,
) {
    for (field, name, help) in fields {
        let samples = told.iter().filter_map(|(labels, numbers)| {
            #[expect(clippy::cast_precision_loss, reason = "no server has 2^53 of anything")]
            let number = *numbers.get(*field)? as f64;
            Some((labels.clone(), number))
        });
        all.push(make(name, help, samples.collect()));
    }
}
