//! A call of every command on every structure that it is for.

use miroir::commands::FAMILIES;

const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Each table with rows: its name on the page, the part of a row's key behind the namespace, its table key, what PUT
/// and what PATCH may write.
const ROWS: &[(&str, &str, &str, &str, &str)] = &[
    ("tasks", "tasks:a", "tasks", "index_uid i", "index_uid j"),
    ("node_settings_version", "node_settings_version:i:n", "node_settings_version", "version 1", "version 1"),
    ("aliases", "aliases:a", "aliases", "kind single current_uid u", "current_uid w"),
    ("sessions", "session:s", "session", "pinned_group g", "pinned_group h"),
    ("idempotency_cache", "idemp:k", "idemp", "body_sha256 SHA miroir_task_id t", "miroir_task_id t"),
    ("jobs", "jobs:j", "jobs", "type dump", "type dump"),
    (
        "canaries",
        "canary:c",
        "canary",
        "name n index_uid i interval_s 1 query_json {} assertions_json []",
        "name m",
    ),
    ("cdc_cursors", "cdc_cursor:k:i", "cdc_cursor", "last_event_seq 1", "last_event_seq 2"),
    ("tenant_map", "tenant_map:00", "tenant_map", "tenant_id t", "group_id g"),
    (
        "rollover_policies",
        "rollover:r",
        "rollover",
        "write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {}",
        "pattern q",
    ),
    ("search_ui_config", "search_ui_config:i", "search_ui_config", "config_json {}", "config_json {}"),
    (
        "admin_sessions",
        "admin_session:a",
        "admin_session",
        "csrf_token SECRET-csrf admin_key_hash SECRET-hash",
        "user_agent x",
    ),
    (
        "scoped keys",
        "search_ui_scoped_key:i",
        "search_ui_scoped_key",
        "primary_uid u generation 1 primary_key SECRET-scoped",
        "primary_uid u",
    ),
];

/// The commands for one structure: its name on the page, the command, the part of the key behind the namespace, the rest.
const OTHERS: &[(&str, &str, &str, &str)] = &[
    ("sessions", "TOUCH", "session:s", ""),
    ("idempotency_cache", "TOUCH", "idemp:k", ""),
    ("admin_sessions", "TOUCH", "admin_session:a", ""),
    ("tasks", "PRUNE", "tasks", "BEFORE 1"),
    ("jobs", "PRUNE", "jobs", "BEFORE 1"),
    ("tasks", "TASK.STATUS", "tasks:a", "processing"),
    ("tasks", "TASK.NODE", "tasks:a", "node UID 1"),
    ("aliases", "ALIAS.FLIP", "aliases:a", "v"),
    ("idempotency_cache", "IDEMP.BEGIN", "idemp:k", "SHA t"),
    ("idempotency_cache", "IDEMP.COMPLETE", "idemp:k", "t"),
    ("idempotency_cache", "IDEMP.ABORT", "idemp:k", "t"),
    ("jobs", "JOB.CLAIM", "jobs", "pod 60000"),
    ("jobs", "JOB.RENEW", "jobs:j", "pod 1 60000"),
    ("jobs", "JOB.FINISH", "jobs:j", "pod 1 queued"),
    ("jobs", "JOB.RECLAIM", "jobs", ""),
    ("leader_lease", "LEASE.ACQUIRE", "lease:l", "pod 60000"),
    ("leader_lease", "LEASE.RENEW", "lease:l", "pod 60000"),
    ("leader_lease", "LEASE.GET", "lease:l", ""),
    ("leader_lease", "LEASE.RELEASE", "lease:l", "pod"),
    ("canary_runs", "CANARY.RECORD", "canary_runs:c", "1 pass 2"),
    ("canary_runs", "CANARY.RUNS", "canary_runs:c", ""),
    ("CDC overflow", "CDC.PUSH", "cdc:overflow:k", "BUDGET 1000 SECRET-event"),
    ("CDC overflow", "CDC.PEEK", "cdc:overflow:k", ""),
    ("CDC overflow", "CDC.STAT", "cdc:overflow:k", ""),
    ("CDC overflow", "CDC.ACK", "cdc:overflow:k", "0"),
    ("CDC overflow", "CDC.POP", "cdc:overflow:k", ""),
    ("CDC overflow", "CDC.TRIM", "cdc:overflow:k", "BUDGET 0"),
    ("cdc_cursors", "CURSOR.ADVANCE", "cdc_cursor:k:i", "3"),
    ("search UI rate limit", "RATELIMIT.HIT", "ratelimit:searchui:ip", "100 60000"),
    ("admin login rate limit", "LOGIN.CHECK", "ratelimit:adminlogin:ip", "100 60000"),
    ("admin login rate limit", "LOGIN.FAIL", "ratelimit:adminlogin:ip", "100 1000 60000"),
    ("admin login rate limit", "LOGIN.OK", "ratelimit:adminlogin:ip", ""),
    ("scoped keys", "SCOPEDKEY.ROTATE", "search_ui_scoped_key:i", "w 2 PRIMARYKEY SECRET-rotated"),
    ("scoped keys", "SCOPEDKEY.OBSERVE", "search_ui_scoped_key:i", "pod 2"),
    ("scoped keys", "SCOPEDKEY.READY", "search_ui_scoped_key:i", ""),
    ("scoped keys", "SCOPEDKEY.RETIRE", "search_ui_scoped_key:i", "2"),
    ("live pods", "POD.BEAT", "live_pods", "pod"),
    ("live pods", "POD.LIVE", "live_pods", ""),
    ("admin_sessions", "ADMIN.REVOKE", "admin_session:a", ""),
];

/// One call.
#[derive(Clone)]
pub struct Call {
    /// The structure, by its name on the page; of the two commands that have none, what stands there.
    pub structure: &'static str,
    /// The command, with its prefix.
    pub command: String,
    /// The key behind the namespace; empty for the two commands that take the namespace itself.
    pub key: &'static str,
    /// The other words.
    pub rest: String,
}

impl Call {
    /// The line that makes the call in a namespace.
    pub fn line(&self, namespace: &str) -> String {
        if self.command == "MIROIR.PLAN" {
            // It knows no namespaces.
            return format!("{} {}", self.command, self.rest);
        }
        let colon = if self.key.is_empty() { "" } else { ":" };
        format!("{} {namespace}{colon}{} {}", self.command, self.key, self.rest)
    }
}

/// Every command on every structure that it is for; deletions come last.
pub fn all() -> Vec<Call> {
    let call = |structure, command: &str, key, rest: &str| Call {
        structure,
        command: format!("MIROIR.{command}"),
        key,
        rest: rest.replace("SHA", SHA),
    };
    let mut calls = Vec::new();
    for (structure, row, table, put, patch) in ROWS {
        calls.push(call(*structure, "PUT", *row, put));
        calls.push(call(structure, "PATCH", row, patch));
        calls.push(call(structure, "GET", row, ""));
        calls.push(call(structure, "LIST", table, ""));
        calls.push(call(structure, "COUNT", table, ""));
    }
    calls.extend(OTHERS.iter().map(|(structure, command, key, rest)| call(structure, command, key, rest)));
    calls.push(call("the whole: `MIROIR.MEMORY`", "MEMORY", "", ""));
    calls.push(call("the whole: `MIROIR.AUDIT`", "AUDIT", "", "0"));
    calls.push(call("the whole: `MIROIR.DOCTOR`", "DOCTOR", "", ""));
    calls.push(call("the whole: `MIROIR.PLAN`", "PLAN", "", "ROWS tasks 5"));
    calls.extend(ROWS.iter().map(|(structure, row, ..)| call(structure, "DEL", row, "")));
    calls
}

/// The names of all commands.
pub fn names() -> Vec<String> {
    FAMILIES.iter().flat_map(|family| family.commands).map(|command| command.name.to_owned()).collect()
}

/// The lines that fill a namespace.
pub fn fill(namespace: &str) -> Vec<String> {
    let writes =
        ["PUT", "LEASE.ACQUIRE", "CANARY.RECORD", "CDC.PUSH", "POD.BEAT", "RATELIMIT.HIT", "LOGIN.FAIL"];
    let fills = |call: &Call| writes.iter().any(|write| call.command == format!("MIROIR.{write}"));
    all().iter().filter(|call| fills(call)).map(|call| call.line(namespace)).collect()
}
