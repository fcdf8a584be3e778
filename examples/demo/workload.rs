//! The reference workload: what a deployment of six nodes and three pods keeps in its task store.
//!
//! Ids and values are random, but the same in every run; times are relative to now. Everything goes through MIROIR commands where
//! the module has one.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::server::Command;

/// Any number will do; it must not change, or a run no longer knows the rows of the one before.
const SEED: u64 = 0x6d69_726f_6972;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The canaries' ids.
pub const CANARIES: [&str; 5] =
    ["products-top-seller", "products-typo", "orders-by-number", "articles-fresh", "help-center-login"];
const RUNS_PER_CANARY: u64 = 100;

const INDEXES: [&str; 20] = [
    "products",
    "products-fr",
    "products-de",
    "orders",
    "customers",
    "articles",
    "help-center",
    "movies",
    "recipes",
    "stores",
    "reviews",
    "suppliers",
    "tickets",
    "invoices",
    "events-2026-11",
    "logs-2026-11-20",
    "logs-2026-11-21",
    "wiki",
    "photos",
    "catalog-v12",
];
const PODS: [&str; 3] = ["miroir-7c9d8b6f4-2xkqp", "miroir-7c9d8b6f4-h8vzn", "miroir-7c9d8b6f4-tm5wd"];
const NODES: usize = 6;
const GROUPS: [&str; 2] = ["group-a", "group-b"];
const SINKS: [&str; 5] = ["kafka-eu", "kafka-us", "webhook-crm", "s3-archive", "clickhouse"];
const TASK_TYPES: [&str; 10] = [
    "documentAdditionOrUpdate",
    "documentAdditionOrUpdate",
    "documentAdditionOrUpdate",
    "documentAdditionOrUpdate",
    "documentAdditionOrUpdate",
    "documentAdditionOrUpdate",
    "documentDeletion",
    "documentDeletion",
    "settingsUpdate",
    "indexCreation",
];

/// One kind of things that the workload holds.
pub struct Part {
    /// What the estimate calls it.
    pub title: &'static str,
    /// How one of its keys is removed.
    removal: Removal,
    /// What it holds.
    pub rows: Vec<Row>,
}

/// One row, and what it takes to write it.
pub struct Row {
    /// Its key. Canary runs share one; the others have one each.
    key: String,
    /// The commands that write it, in their order.
    pub commands: Vec<Command>,
}

enum Removal {
    /// MIROIR.DEL, with all that belongs to the row.
    Row,
    /// MIROIR.LEASE.RELEASE by the holder, the third word of its command.
    Lease,
    /// DEL.
    Key,
    /// None: it goes with another part.
    None,
}

impl Part {
    /// The keys, each once.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        self.rows.iter().map(|row| row.key.as_str()).filter(move |key| last.replace(*key) != Some(*key))
    }

    /// How many commands write it.
    pub fn commands(&self) -> usize {
        self.rows.iter().map(|row| row.commands.len()).sum()
    }

    /// How many rows are whole after so many commands.
    pub fn rows_after(&self, commands: usize) -> usize {
        let mut sum = 0;
        let whole = self.rows.iter().take_while(|row| {
            sum += row.commands.len();
            sum <= commands
        });
        whole.count()
    }

    /// The commands that remove it, the first row last.
    pub fn removal(&self) -> Vec<Command> {
        let remove = |row: &Row| match self.removal {
            Removal::Row => Some(words(["MIROIR.DEL", &row.key])),
            Removal::Key => Some(words(["DEL", &row.key])),
            Removal::Lease => {
                let holder = row.commands.first().and_then(|command| command.get(2))?;
                Some(words(["MIROIR.LEASE.RELEASE", &row.key, holder]))
            }
            Removal::None => None,
        };
        self.rows.iter().rev().filter_map(remove).collect()
    }
}

/// The whole workload, at this time in ms since the epoch. What lives shortly comes last.
pub fn parts(namespace: &str, now: u64) -> Vec<Part> {
    let mut rng = Rng::with_seed(SEED);
    let mut make = |title, removal, segment: &str, write: fn(&mut Maker)| {
        let prefix = format!("{namespace}:{segment}:");
        // A generator of its own for each part: a change of one leaves the ids of the others.
        let mut maker = Maker { rng: rng.fork(), now, prefix, rows: Vec::new() };
        write(&mut maker);
        Part { title, removal, rows: maker.rows }
    };
    vec![
        make("Tasks", Removal::Row, "tasks", tasks),
        make("Sessions", Removal::Row, "session", sessions),
        make("Idempotency", Removal::Row, "idemp", idempotency),
        make("Jobs", Removal::Row, "jobs", jobs),
        make("Canaries", Removal::Row, "canary", canaries),
        make("Canary runs", Removal::None, "canary_runs", canary_runs),
        make("CDC cursors", Removal::Row, "cdc_cursor", cdc_cursors),
        make("Rollover policies", Removal::Row, "rollover", rollover_policies),
        make("Search UI configs", Removal::Row, "search_ui_config", search_ui_configs),
        make("Scoped keys", Removal::Row, "search_ui_scoped_key", scoped_keys),
        make("Leases", Removal::Lease, "lease", leases),
        make("Rate limiting", Removal::Key, "ratelimit:searchui", rate_limits),
    ]
}

/// What writing one part needs.
struct Maker {
    rng: Rng,
    now: u64,
    prefix: String,
    rows: Vec<Row>,
}

impl Maker {
    /// Adds a row of one PUT.
    fn put<const N: usize>(&mut self, id: &str, life: Option<u64>, fields: [(&str, String); N]) {
        let key = format!("{}{id}", self.prefix);
        let mut command = words(["MIROIR.PUT", &key]);
        if let Some(life) = life {
            command.extend(["PX".to_owned(), life.to_string()]);
        }
        for (name, value) in fields {
            // An empty value stands for an optional field that is absent.
            command.extend([name.to_owned(), value]);
        }
        self.rows.push(Row { key, commands: vec![command] });
    }

    /// Adds a row of one command, given as what stands before and behind the key.
    fn add<const N: usize>(&mut self, name: &str, id: &str, rest: [&str; N]) {
        let key = format!("{}{id}", self.prefix);
        let mut command = words([name, &key]);
        command.extend(rest.iter().map(|word| (*word).to_owned()));
        self.rows.push(Row { key, commands: vec![command] });
    }

    fn ago(&mut self, least: u64, most: u64) -> u64 {
        self.now.saturating_sub(self.rng.u64(least..most))
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.rng.choice(from).copied().unwrap_or_default()
    }

    fn uuid(&mut self) -> String {
        // Version 4, variant 1.
        let bits = self.rng.u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    fn mtask(&mut self) -> String {
        format!("mtask-{}", self.uuid())
    }

    fn sha256(&mut self) -> String {
        format!("{:032x}{:032x}", self.rng.u128(..), self.rng.u128(..))
    }
}

fn words<const N: usize>(words: [&str; N]) -> Command {
    words.map(str::to_owned).to_vec()
}

fn tasks(maker: &mut Maker) {
    for _ in 0..10_000 {
        let id = maker.mtask();
        let status = match maker.rng.u8(0..100) {
            0..2 => "enqueued",
            2..5 => "processing",
            5..7 => "failed",
            7 => "canceled",
            _ => "succeeded",
        };
        let ended = !matches!(status, "enqueued" | "processing");
        let created = if ended { maker.ago(MINUTE, DAY) } else { maker.ago(1_000, MINUTE) };
        let started = created + maker.rng.u64(5..400);
        let finished = started + maker.rng.u64(20..9_000);
        let when = |known: bool, time: u64| if known { time.to_string() } else { String::new() };
        let (index_uid, task_type) = (maker.pick(&INDEXES), maker.pick(&TASK_TYPES));
        maker.put(
            &id,
            None,
            [
                ("created_at", created.to_string()),
                ("started_at", when(status != "enqueued", started)),
                ("finished_at", when(ended, finished)),
                ("index_uid", index_uid.to_owned()),
                ("task_type", task_type.to_owned()),
            ],
        );
        let Some(Row { key, commands }) = maker.rows.last_mut() else { return };
        // Two or three of the nodes hold the index; each gave the task a number of its own.
        let first = maker.rng.usize(0..NODES);
        for step in 0..maker.rng.usize(2..4) {
            let node = format!("node-{}", (first + step * 2) % NODES);
            let uid = maker.rng.u32(1_000_000..4_000_000).to_string();
            let mut command = words(["MIROIR.TASK.NODE", key, &node, "UID", &uid]);
            if status == "failed" && step == 0 {
                command.extend(words(["ERROR", "index_not_found: Index not found."]));
            }
            commands.push(command);
        }
        match status {
            "enqueued" => {}
            "failed" => commands.push(words([
                "MIROIR.TASK.STATUS",
                key,
                "failed",
                "ERROR",
                "1 of the nodes failed: index_not_found",
            ])),
            _ => commands.push(words(["MIROIR.TASK.STATUS", key, status])),
        }
    }
}

/// The estimate counts sessions of the search UI and of admins together, at the size of the former.
fn sessions(maker: &mut Maker) {
    for _ in 0..1_000 {
        let id = maker.uuid();
        let last_use = maker.rng.u64(0..12 * MINUTE);
        let has_written = maker.rng.u8(0..4) > 0;
        let mtask = if has_written { maker.mtask() } else { String::new() };
        let written_at = if has_written { (maker.now - last_use).to_string() } else { String::new() };
        let group = if has_written { maker.pick(&GROUPS) } else { "" };
        let version = maker.rng.u32(1..60);
        // 900 s after the last use.
        maker.put(
            &id,
            Some(15 * MINUTE - last_use),
            [
                ("last_write_mtask_id", mtask),
                ("last_write_at", written_at),
                ("pinned_group", group.to_owned()),
                ("min_settings_version", version.to_string()),
            ],
        );
    }
}

fn idempotency(maker: &mut Maker) {
    for _ in 0..1_000 {
        let id = format!("{}-{}", maker.pick(&["import", "checkout", "sync-erp"]), maker.uuid());
        let (sha256, mtask) = (maker.sha256(), maker.mtask());
        let life = maker.rng.u64(HOUR..DAY);
        maker.put(&id, Some(life), [("body_sha256", sha256), ("miroir_task_id", mtask)]);
    }
}

/// Two kinds of jobs: chunks of two dumps that are being imported, and single ones. PUT enqueues; there is no command to claim a
/// job yet, so those in progress are written as a pod that claimed them leaves them.
fn jobs(maker: &mut Maker) {
    let imports = [maker.uuid(), maker.uuid()];
    for number in 0..100_usize {
        let id = maker.uuid();
        let index = maker.pick(&INDEXES);
        let in_progress = number % 10 < 3;
        let is_chunk = number >= 40;
        let (kind, params) = if is_chunk {
            let offset = (number - 40) / 2 * 50_000;
            let path = format!("dumps/{index}-2026-11-20.ndjson.gz");
            (
                "dump_import_chunk",
                format!(r#"{{"index_uid":"{index}","path":"{path}","offset":{offset},"limit":50000}}"#),
            )
        } else {
            let from = maker.rng.u8(2..5);
            (
                "reshard_backfill",
                format!(
                    r#"{{"index_uid":"{index}","from_shards":{from},"to_shards":{},"batch_size":1000}}"#,
                    from * 2
                ),
            )
        };
        let done = maker.rng.u32(0..50_000);
        let progress = if in_progress {
            format!(r#"{{"documents":{done},"last_id":"{}"}}"#, maker.rng.u32(..))
        } else {
            "{}".to_owned()
        };
        let claim = |value: String| if in_progress { value } else { String::new() };
        let chunk = |value: String| if is_chunk { value } else { String::new() };
        let (pod, expires) = (maker.pick(&PODS).to_owned(), maker.now + maker.rng.u64(10_000..30_000));
        let created = maker.ago(MINUTE, HOUR);
        maker.put(
            &id,
            None,
            [
                ("type", kind.to_owned()),
                ("params", params),
                ("state", if in_progress { "in_progress" } else { "queued" }.to_owned()),
                ("progress", progress),
                ("created_at", created.to_string()),
                ("attempts", u8::from(in_progress).to_string()),
                ("claimed_by", claim(pod)),
                ("claim_expires_at", claim(expires.to_string())),
                ("claim_token", claim("1".to_owned())),
                ("parent_job_id", chunk(imports[number % 2].clone())),
                ("chunk_index", chunk(((number.saturating_sub(40)) / 2).to_string())),
                ("total_chunks", chunk("30".to_owned())),
            ],
        );
    }
}

fn canaries(maker: &mut Maker) {
    let of = ["products", "products", "orders", "articles", "help-center"];
    let query = ["wireless headphones", "wireles hedphones", "SO-2026-118842", "elections", "reset password"];
    for ((id, index), query) in CANARIES.iter().zip(of).zip(query) {
        let created = maker.ago(10 * DAY, 90 * DAY);
        maker.put(
            id,
            None,
            [
                ("name", id.replace('-', " ")),
                ("index_uid", index.to_owned()),
                ("interval_s", "60".to_owned()),
                ("query_json", format!(r#"{{"q":"{query}","limit":5}}"#)),
                (
                    "assertions_json",
                    r#"[{"type":"min_hits","value":3},{"type":"max_latency_ms","value":200}]"#.to_owned(),
                ),
                ("created_at", created.to_string()),
            ],
        );
    }
}

fn canary_runs(maker: &mut Maker) {
    for id in CANARIES {
        for run in (0..RUNS_PER_CANARY).rev() {
            let ran_at = (maker.now - run * MINUTE).to_string();
            if maker.rng.u8(0..50) == 0 {
                let latency = maker.rng.u32(200..900).to_string();
                let failed = format!(r#"[{{"type":"max_latency_ms","value":200,"actual":{latency}}}]"#);
                maker.add("MIROIR.CANARY.RECORD", id, [&ran_at, "fail", &latency, "ASSERTIONS", &failed]);
            } else {
                let latency = maker.rng.u32(4..120).to_string();
                maker.add("MIROIR.CANARY.RECORD", id, [&ran_at, "pass", &latency]);
            }
        }
    }
}

fn cdc_cursors(maker: &mut Maker) {
    for sink in SINKS {
        for index in &INDEXES[..10] {
            let seq = maker.rng.u32(1_000..9_000_000).to_string();
            maker.add("MIROIR.CURSOR.ADVANCE", &format!("{sink}:{index}"), [&seq]);
        }
    }
}

fn rollover_policies(maker: &mut Maker) {
    for name in
        ["logs", "events", "audit", "metrics", "traces", "clicks", "orders", "tickets", "sensors", "mail"]
    {
        let docs = maker.rng.u32(1..20) * 1_000_000;
        let keep = maker.rng.u8(7..60);
        maker.put(&format!("{name}-daily"), None, [
            ("write_alias", format!("{name}-write")),
            ("read_alias", format!("{name}-read")),
            ("pattern", format!("{name}-{{YYYY}}-{{MM}}-{{DD}}")),
            ("triggers_json", format!(r#"{{"max_docs":{docs},"max_age":"1d","max_size_gb":20}}"#)),
            ("retention_json", format!(r#"{{"keep_indexes":{keep}}}"#)),
            (
                "template_json",
                r#"{"primary_key":"id","settings":{"searchableAttributes":["message","service","host"],"filterableAttributes":["level","service","ts"],"sortableAttributes":["ts"]}}"#.to_owned(),
            ),
        ]);
    }
}

fn search_ui_configs(maker: &mut Maker) {
    for index in INDEXES {
        let color = maker.rng.u32(0..0x100_0000);
        maker.put(index, None, [(
            "config_json",
            format!(
                r##"{{"title":"Search {index}","placeholder":"Search…","display_attributes":["title","summary","url"],"facets":["category","brand"],"hits_per_page":20,"theme":{{"accent":"#{color:06x}","dark":true}}}}"##
            ),
        )]);
    }
}

/// There is no command for rotations yet: these are written whole.
fn scoped_keys(maker: &mut Maker) {
    for index in INDEXES {
        let rotated = maker.rng.bool();
        let (primary, key) = (maker.uuid(), maker.sha256());
        let (previous, previous_key) =
            if rotated { (maker.uuid(), maker.sha256()) } else { (String::new(), String::new()) };
        let generation = if rotated { maker.rng.u8(2..30) } else { 1 };
        let at = maker.ago(0, 30 * DAY);
        maker.put(
            index,
            None,
            [
                ("primary_uid", primary),
                ("primary_key", key),
                ("previous_uid", previous),
                ("previous_key", previous_key),
                ("generation", generation.to_string()),
                ("rotated_at", at.to_string()),
            ],
        );
    }
}

/// They run out within a minute, as nobody renews them.
fn leases(maker: &mut Maker) {
    for scope in [
        "search_ui_key_rotation",
        "settings_broadcast:products",
        "settings_broadcast:orders",
        "alias_flip:products",
        "reshard:orders",
        "reshard:products",
        "rollover:logs-daily",
        "rollover:events-daily",
        "ilm",
        "task_pruner",
    ] {
        let pod = maker.pick(&PODS);
        maker.add("MIROIR.LEASE.ACQUIRE", scope, [pod, "60000"]);
    }
}

/// There is no command for these counters yet: SET with PX is what pods without the module do. They run out within a minute.
fn rate_limits(maker: &mut Maker) {
    let mut addresses = BTreeSet::new();
    while addresses.len() < 2_000 {
        let [a, b, c, d] = maker.rng.u32(..).to_be_bytes();
        let is_public = !matches!(a, 0 | 10 | 127 | 100 | 169 | 172 | 192 | 198 | 203 | 224..);
        if is_public {
            addresses.insert(format!("{a}.{b}.{c}.{d}"));
        }
    }
    for ip in addresses {
        let hits = maker.rng.u8(1..60).to_string();
        let left = maker.rng.u64(30_000..60_000).to_string();
        maker.add("SET", &ip, [&hits, "PX", &left]);
    }
}
