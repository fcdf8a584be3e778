//! Every command of the module, as a pod would call it, with `%` for the namespace and `^` where a fence may stand.

#![allow(dead_code, reason = "each test binary uses a part of it")]

/// What a call needs in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A hash tag in the namespace: it touches several keys of this table.
    Tag(&'static str),
    /// No hash tag: its table spreads over all masters.
    Nothing,
    /// No hash tag to look at one row of a table that needs one to be written.
    NothingToRead,
}

use Needs::{Nothing, NothingToRead, Tag};

/// A call, and what its answer begins with when all calls are made in their order.
pub struct Call {
    pub line: String,
    pub answer: &'static str,
    pub needs: Needs,
}

impl Call {
    /// The command's name.
    pub fn name(&self) -> &str {
        self.line.split(' ').next().unwrap()
    }

    /// The line in a namespace, without a fence.
    pub fn plain(&self, namespace: &str) -> String {
        self.line.replace(" ^", "").replace('%', namespace)
    }

    /// The line in a namespace, with a fence where it can have one.
    pub fn fenced(&self, namespace: &str) -> String {
        self.line.replace('^', "FENCE %:lease:leader 1").replace('%', namespace)
    }

    /// Whether a master is needed.
    pub fn writes(&self) -> bool {
        let reading = [".GET", ".LIST", ".COUNT", ".PEEK", ".STAT", ".RUNS", ".READY", ".LIVE"];
        !reading.iter().any(|end| self.name().ends_with(end))
    }
}

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The rows of each table: what comes behind the namespace, the table's name, fields, other fields, and whether its rows
/// need a hash tag to be written.
const ROWS: &[(&str, &str, &str, &str, bool)] = &[
    ("tasks:t", "tasks", "index_uid movies", "index_uid books", true),
    ("node_settings_version:movies:n", "node_settings_version", "version 1", "version 2", true),
    ("aliases:a", "aliases", "kind single current_uid v1", "created_at 5", true),
    ("session:s", "sessions", "pinned_group g", "pinned_group h", false),
    ("idemp:put", "idempotency_cache", "body_sha256 HASH miroir_task_id t", "state done", false),
    ("jobs:j", "jobs", "type dump", "type reindex", true),
    (
        "canary:c",
        "canaries",
        "name n index_uid i interval_s 60 query_json {} assertions_json []",
        "enabled 0",
        true,
    ),
    ("cdc_cursor:kafka:movies", "cdc_cursors", "last_event_seq 1", "last_event_seq 2", true),
    ("tenant_map:00ff", "tenant_map", "tenant_id acme", "group_id g", false),
    (
        "rollover:logs",
        "rollover_policies",
        "write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {}",
        "enabled 0",
        true,
    ),
    ("search_ui_config:movies", "search_ui_config", "config_json {}", "config_json {\"a\":1}", false),
    ("admin_session:a", "admin_sessions", "csrf_token c admin_key_hash h", "user_agent browser", false),
    (
        "search_ui_scoped_key:books",
        "search_ui_scoped_key",
        "primary_uid u generation 1",
        "primary_key k",
        true,
    ),
];

/// The commands that are not for rows of every table.
const OTHERS: &[(&str, &str, Needs)] = &[
    ("MIROIR.LEASE.RENEW %:lease:leader pod 600000 TOKEN 1", "[1, pod, 600000, 1]", Tag("leader_lease")),
    ("MIROIR.LEASE.GET %:lease:leader", "[pod, ", Tag("leader_lease")),
    ("MIROIR.LEASE.ACQUIRE %:lease:other pod 600000", "[1, pod, 600000, 1]", Tag("leader_lease")),
    ("MIROIR.LEASE.RELEASE %:lease:other pod", "1", Tag("leader_lease")),
    ("MIROIR.TOUCH %:session:s PX 700000 ^", "1", Nothing),
    ("MIROIR.TASK.STATUS %:tasks:t processing ^", "1", Tag("tasks")),
    ("MIROIR.TASK.NODE %:tasks:t node UID 1 ^", "1", Tag("tasks")),
    ("MIROIR.PUT %:tasks:old ^ created_at 1 status failed", "1", Tag("tasks")),
    ("MIROIR.PRUNE %:tasks BEFORE 5 ^", "1", Tag("tasks")),
    ("MIROIR.PRUNE %:jobs BEFORE 5 ^", "0", Tag("jobs")),
    ("MIROIR.ALIAS.FLIP %:aliases:a v2 ^", "2", Tag("aliases")),
    ("MIROIR.IDEMP.BEGIN %:idemp:k HASH t ^", "[new, t]", Nothing),
    ("MIROIR.IDEMP.COMPLETE %:idemp:k t ^", "1", Nothing),
    ("MIROIR.IDEMP.BEGIN %:idemp:aborted HASH t LOCK 600000 ^", "[new, t]", Nothing),
    ("MIROIR.IDEMP.ABORT %:idemp:aborted t ^", "1", Nothing),
    ("MIROIR.JOB.CLAIM %:jobs pod 600000 TYPE reindex ^", "[[j, 1, ", Tag("jobs")),
    ("MIROIR.JOB.RENEW %:jobs:j pod 1 700000 ^", "1", Tag("jobs")),
    ("MIROIR.JOB.RECLAIM %:jobs ^", "0", Tag("jobs")),
    ("MIROIR.JOB.FINISH %:jobs:j pod 1 completed ^", "1", Tag("jobs")),
    ("MIROIR.CANARY.RECORD %:canary_runs:c 1000 pass 5 ^", "[1, 0]", Nothing),
    ("MIROIR.CANARY.RUNS %:canary_runs:c", "[[canary_id, c, ", Nothing),
    ("MIROIR.CDC.PUSH %:cdc:overflow:kafka BUDGET 9 ^ a b c d", "[accepted, 4, ", Tag("cdc_overflow")),
    ("MIROIR.CDC.PEEK %:cdc:overflow:kafka", "[[1, a]]", Tag("cdc_overflow")),
    ("MIROIR.CDC.POP %:cdc:overflow:kafka ^", "[a]", Tag("cdc_overflow")),
    ("MIROIR.CDC.ACK %:cdc:overflow:kafka 2 ^", "1", Tag("cdc_overflow")),
    ("MIROIR.CDC.TRIM %:cdc:overflow:kafka BUDGET 1 ^", "[1, 1]", Tag("cdc_overflow")),
    ("MIROIR.CDC.STAT %:cdc:overflow:kafka", "[length, 1, bytes, 1, ", Tag("cdc_overflow")),
    ("MIROIR.CURSOR.ADVANCE %:cdc_cursor:kafka:movies 3 ^", "[1, 3]", Tag("cdc_cursors")),
    ("MIROIR.RATELIMIT.HIT %:ratelimit:searchui:ip 5 600000", "[1, 4, 0, ", Nothing),
    ("MIROIR.LOGIN.CHECK %:ratelimit:adminlogin:ip 5 600000", "[1, 4, 0]", Tag("ratelimit_adminlogin")),
    ("MIROIR.LOGIN.FAIL %:ratelimit:adminlogin:ip 3 60000 60000", "[1, 0]", Tag("ratelimit_adminlogin")),
    ("MIROIR.LOGIN.OK %:ratelimit:adminlogin:ip", "1", Tag("ratelimit_adminlogin")),
    ("MIROIR.SCOPEDKEY.ROTATE %:search_ui_scoped_key:movies u1 1 ^", "1", Tag("search_ui_scoped_key")),
    ("MIROIR.SCOPEDKEY.OBSERVE %:search_ui_scoped_key:movies pod 1 ^", "1", Tag("search_ui_scoped_key")),
    (
        "MIROIR.SCOPEDKEY.READY %:search_ui_scoped_key:movies PODS 1 pod",
        "[1, []]",
        Tag("search_ui_scoped_key"),
    ),
    ("MIROIR.SCOPEDKEY.RETIRE %:search_ui_scoped_key:movies 1 FORCE ^", "1", Tag("search_ui_scoped_key")),
    ("MIROIR.POD.BEAT %:live_pods pod", "1", Tag("live_pods")),
    ("MIROIR.POD.LIVE %:live_pods", "[pod]", Tag("live_pods")),
    ("MIROIR.ADMIN.REVOKE %:admin_session:a ^", "1", Nothing),
    ("MIROIR.DEL %:tasks:t %:jobs:none %:session:none ^", "1", Tag("tasks")),
    ("MIROIR.DEL %:session:s %:tenant_map:none ^", "1", Nothing),
];

/// The rows that these have deleted.
const GONE: &[&str] = &["tasks:t", "session:s"];

/// All calls, in an order in which each has something to do. The lease of the fences comes first.
pub fn all() -> Vec<Call> {
    let call = |line: String, answer, needs| Call { line: line.replace("HASH", HASH), answer, needs };
    let first = "MIROIR.LEASE.ACQUIRE %:lease:leader pod 600000".to_owned();
    let mut calls = vec![call(first, "[1, pod, 600000, 1]", Tag("leader_lease"))];
    for (place, table, fields, others, tagged) in ROWS {
        let (to_write, to_read) = if *tagged { (Tag(table), NothingToRead) } else { (Nothing, Nothing) };
        let segment = place.split(':').next().unwrap();
        calls.push(call(format!("MIROIR.PUT %:{place} ^ {fields}"), "1", to_write));
        calls.push(call(format!("MIROIR.PATCH %:{place} ^ {others}"), "1", to_write));
        calls.push(call(format!("MIROIR.GET %:{place}"), "[", to_read));
        // The rows of a table are other keys than the one that is named.
        calls.push(call(format!("MIROIR.LIST %:{segment} LIMIT 0 5 IDS"), "[", Tag(table)));
        calls.push(call(format!("MIROIR.COUNT %:{segment}"), "1", Tag(table)));
    }
    calls.extend(OTHERS.iter().map(|(line, answer, needs)| call((*line).to_owned(), answer, *needs)));
    for (place, table, .., tagged) in ROWS.iter().filter(|(place, ..)| !GONE.contains(place)) {
        let needs = if *tagged { Tag(table) } else { Nothing };
        calls.push(call(format!("MIROIR.DEL %:{place} ^"), "1", needs));
    }
    calls
}
