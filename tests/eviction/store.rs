//! A task store with some of everything that must not be lost, and whether all of it is still there.

use std::collections::BTreeMap;

use redis::Pipeline;

use crate::support::Client;

/// How many rows of each table there are, unless more jobs are asked for.
const ROWS: usize = 40;
const HOUR: &str = "3600000";

/// What must be there, byte for byte and with its TTL, by key.
pub struct Store {
    content: BTreeMap<String, String>,
}

impl Store {
    /// Writes it, half of it as clients without the module do. Nothing else may be in the database.
    pub fn fill(client: &mut Client, jobs: usize) -> Self {
        let mut pipe = redis::pipe();
        (0..ROWS).for_each(|row| rows(&mut pipe, row));
        (0..jobs).for_each(|job| of_jobs(&mut pipe, job));
        pipe.query::<()>(&mut client.connection).unwrap();
        // An index set that is to stay, of a table of which the rows may go.
        client.run(&[
            "MIROIR.PUT miroir:tasks:first index_uid movies",
            "MIROIR.POD.BEAT miroir:live_pods pod-1",
        ]);
        // Index entries of rows that were written without the module come within the same turn.
        client.wait_for("INFO miroir", |info| info.contains("catalog_backlog:0"));
        let mut content = client.dump();
        content.retain(|key, _| !key.starts_with("miroir:tasks:"));
        assert_eq!(content.len(), ROWS * 14 + jobs + 10, "{:?}", content.keys());
        Self { content }
    }

    /// The keys of which nothing, or something else, is there.
    pub fn missing(&self, client: &mut Client) -> Vec<String> {
        let found = client.dump_of(self.content.keys().map(|key| key.clone().into_bytes()));
        let differs = |(key, content): (&String, &String)| (found[key] != *content).then(|| key.clone());
        self.content.iter().filter_map(differs).collect()
    }

    /// Adds keys that were written later.
    pub fn add(&mut self, client: &mut Client, keys: impl Iterator<Item = String>) {
        self.content.append(&mut client.dump_of(keys.map(String::into_bytes)));
    }

    pub fn len(&self) -> usize {
        self.content.len()
    }
}

fn rows(pipe: &mut Pipeline, row: usize) {
    let mut command = |name: &str, words: &[&str]| {
        pipe.cmd(name).arg(words).ignore();
    };
    let sink = format!("sink-{row}");
    let lease = format!("miroir:lease:scope-{row}");
    command("MIROIR.LEASE.ACQUIRE", &[&lease, "pod-1", HOUR]);
    let raw = format!("miroir:lease:raw-{row}");
    command("SET", &[&raw, "pod-2", "NX", "EX", "3600"]);
    let alias = format!("miroir:aliases:a{row}");
    command("MIROIR.PUT", &[&alias, "kind", "single", "current_uid", "uid-1"]);
    let cursor = format!("miroir:cdc_cursor:sink:index-{row}");
    command("MIROIR.CURSOR.ADVANCE", &[&cursor, "7"]);
    let buffer = format!("miroir:cdc:overflow:{sink}");
    command("MIROIR.CDC.PUSH", &[&buffer, "BUDGET", "1000", "one", "two", &"x".repeat(row)]);
    command("MIROIR.CDC.ACK", &[&buffer, "1"]);
    let tenant = format!("miroir:tenant_map:{row:064x}");
    command("HSET", &[&tenant, "tenant_id", "acme", "group_id", "g"]);
    let policy = format!("miroir:rollover:p{row}");
    command(
        "HSET",
        &[
            &policy,
            "name",
            "p",
            "write_alias",
            "w",
            "read_alias",
            "r",
            "pattern",
            "logs-*",
            "triggers_json",
            "{}",
            "retention_json",
            "{}",
            "template_json",
            "{}",
        ],
    );
    let config = format!("miroir:search_ui_config:i{row}");
    command("MIROIR.PUT", &[&config, "config_json", "{\"a\":1}"]);
    let version = format!("miroir:node_settings_version:index:node-{row}");
    command("HSET", &[&version, "index_uid", "index", "node_id", "node", "version", "3"]);
    let scoped = format!("miroir:search_ui_scoped_key:i{row}");
    command("MIROIR.SCOPEDKEY.ROTATE", &[&scoped, "uid", "4", "PRIMARYKEY", "secret"]);
    let canary = format!("miroir:canary:c{row}");
    command(
        "MIROIR.PUT",
        &[
            &canary,
            "name",
            "n",
            "index_uid",
            "i",
            "interval_s",
            "60",
            "query_json",
            "{}",
            "assertions_json",
            "[]",
        ],
    );
    let runs = format!("miroir:canary_runs:c{row}");
    command("MIROIR.CANARY.RECORD", &[&runs, "1", "pass", "12"]);
}

fn of_jobs(pipe: &mut Pipeline, job: usize) {
    let key = format!("miroir:jobs:j{job}");
    if job.is_multiple_of(2) {
        pipe.cmd("MIROIR.PUT").arg(&[&key, "type", "reindex", "params", "{\"index\":\"movies\"}"]).ignore();
    } else {
        let fields = ["type", "dump", "state", "queued", "created_at", "1700000000000", "attempts", "0"];
        pipe.cmd("HSET").arg(&key).arg(&["id", &format!("j{job}")]).arg(&fields).ignore();
    }
}
