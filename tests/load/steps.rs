//! What the clients do: every family of commands that write.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use super::facts::{Fact, Number};
use super::{is_refusal, Stop, Worker};

/// The sink that nothing is dropped from, and the one with little room.
pub const SINK: &str = "miroir:cdc:overflow:kafka";
pub const SMALL_SINK: &str = "miroir:cdc:overflow:small";
pub const SMALL_BUDGET: i64 = 3000;

const LIMIT: i64 = 1_000_000_000;

type Step = fn(&mut Worker<'_>) -> Result<(), Stop>;

const STEPS: &[Step] = &[
    task,
    task,
    deleted_task,
    raw_task,
    pair,
    pair,
    alias,
    version,
    session,
    admin_session,
    request,
    queue,
    queue,
    job,
    job,
    lease,
    lease,
    fenced,
    canary,
    cursor,
    event,
    event,
    event,
    small_event,
    limits,
    scoped_key,
    others,
];

impl Worker<'_> {
    pub(super) fn step(&mut self) -> Result<(), Stop> {
        if self.is_consumer && self.random.u8(..12) == 0 {
            return consume(self);
        }
        let step = STEPS[self.random.usize(..STEPS.len())];
        step(self)
    }

    /// A name that nobody else uses.
    fn id(&mut self) -> String {
        self.serial += 1;
        format!("{}-{}", self.name, self.serial)
    }

    fn text(&mut self) -> String {
        let length = if self.random.u8(..10) == 0 { 3000 } else { 60 };
        "x".repeat(self.random.usize(1..length))
    }

    fn at_least(&mut self, key: &str, field: &str, number: i64) {
        self.tell(Fact::AtLeast { what: Number::field(key, field), number });
    }
}

fn expect(answer: i64, expected: i64, line: &str) {
    assert_eq!(answer, expected, "{line}");
}

/// A task through all of its life.
fn task(w: &mut Worker<'_>) -> Result<(), Stop> {
    let (id, index, text) = (w.id(), w.random.u8(..5), w.text());
    let key = format!("miroir:tasks:{id}");
    let line = format!("MIROIR.PUT {key} index_uid movies-{index} error {text}");
    expect(w.ask(&line)?, 1, &line);
    w.tell(Fact::row(
        &key,
        &[("miroir_id", &id), ("index_uid", &format!("movies-{index}")), ("error", &text)],
    ));
    if w.random.bool() {
        w.ask::<i64>(&format!("MIROIR.TASK.STATUS {key} processing"))?;
        let uid = w.random.u32(..1000);
        w.ask::<i64>(&format!("MIROIR.TASK.NODE {key} node-1 UID {uid}"))?;
        w.tell(Fact::row(&key, &[("node_tasks", &format!("{{\"node-1\":{uid}}}"))]));
        let end = ["succeeded", "failed", "canceled"][w.random.usize(..3)];
        if w.ask::<i64>(&format!("MIROIR.TASK.STATUS {key} {end}"))? == 1 {
            w.tell(Fact::row(&key, &[("status", end)]));
        }
    }
    Ok(())
}

fn deleted_task(w: &mut Worker<'_>) -> Result<(), Stop> {
    let keys: Vec<_> = (0..w.random.usize(1..4)).map(|_| format!("miroir:tasks:{}", w.id())).collect();
    for key in &keys {
        w.ask::<i64>(&format!("MIROIR.PUT {key} index_uid gone"))?;
    }
    w.ask::<i64>(&format!("MIROIR.DEL {}", keys.join(" ")))?;
    keys.into_iter().for_each(|key| w.tell(Fact::Gone { key }));
    Ok(())
}

/// As pods without the module write it; the index entry is the module's.
fn raw_task(w: &mut Worker<'_>) -> Result<(), Stop> {
    let id = w.id();
    let key = format!("miroir:tasks:{id}");
    w.ask::<i64>(&format!("HSET {key} miroir_id {id} status enqueued created_at 5 error raw"))?;
    w.tell(Fact::row(&key, &[("miroir_id", &id), ("error", "raw")]));
    Ok(())
}

/// Two rows, in one transaction or in one script: both are there, or none of them.
fn pair(w: &mut Worker<'_>) -> Result<(), Stop> {
    let id = w.id();
    let (task, job) = (format!("miroir:tasks:pair-{id}"), format!("miroir:jobs:pair-{id}"));
    let [task_key, job_key, sink, last] =
        [&task, &job, SMALL_SINK, "miroir:last-pair"].map(|key| w.world.spell(key));
    // What finds its node by itself has no transactions.
    let has_transactions = w.link.as_ref().is_some_and(|link| link.supports_pipelining());
    let done = if has_transactions && w.random.bool() {
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("MIROIR.PUT").arg(&[&task_key, "index_uid", "movies"]);
        pipe.cmd("MIROIR.CDC.PUSH").arg(&[&sink, "BUDGET", &SMALL_BUDGET.to_string(), &id]).ignore();
        pipe.cmd("MIROIR.PUT").arg(&[&job_key, "type", "pair", "state", "completed"]);
        w.sent(|link| pipe.query::<Vec<i64>>(link))
    } else {
        let script = "redis.call('MIROIR.PUT', KEYS[1], 'index_uid', 'movies') \
                      redis.call('SET', KEYS[3], ARGV[1]) \
                      redis.call('MIROIR.PUT', KEYS[2], 'type', 'pair', 'state', 'completed') \
                      return {1, 1}";
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(3).arg(&[task_key, job_key, last]).arg(&id);
        w.sent(|link| eval.query::<Vec<i64>>(link))
    };
    let done = done.map_err(|(stop, error)| {
        assert!(!matches!(stop, Stop::Refused) || is_refusal(&error), "{error}");
        stop
    })?;
    assert_eq!(done, [1, 1]);
    w.tell(Fact::row(&task, &[("index_uid", "movies")]));
    w.tell(Fact::row(&job, &[("type", "pair")]));
    Ok(())
}

fn alias(w: &mut Worker<'_>) -> Result<(), Stop> {
    let key = format!("miroir:aliases:a{}", w.random.u8(..4));
    w.ask::<i64>(&format!("MIROIR.PUT {key} NX kind single current_uid v0"))?;
    let uid = w.id();
    let version: i64 = w.ask(&format!("MIROIR.ALIAS.FLIP {key} {uid}"))?;
    // After a failover it may be gone again.
    if version > 0 {
        w.at_least(&key, "version", version);
        w.tell(Fact::Given { what: format!("version {version} of {key}"), to: uid });
    }
    Ok(())
}

fn version(w: &mut Worker<'_>) -> Result<(), Stop> {
    let key = format!("miroir:node_settings_version:movies:n{}", w.random.u8(..4));
    let version = w.random.i64(1..1_000_000);
    if w.ask::<i64>(&format!("MIROIR.PUT {key} version {version}"))? > 0 {
        w.at_least(&key, "version", version);
    }
    Ok(())
}

fn session(w: &mut Worker<'_>) -> Result<(), Stop> {
    let (id, group) = (w.id(), w.text());
    let key = format!("miroir:session:{id}");
    w.ask::<i64>(&format!("MIROIR.PUT {key} PX 900000 pinned_group {group}"))?;
    w.tell(Fact::row(&key, &[("session_id", &id), ("pinned_group", &group)]));
    w.ask::<i64>(&format!("MIROIR.TOUCH {key}"))?;
    // And some that end soon.
    let (id, life) = (w.id(), w.random.u8(1..60));
    w.ask::<i64>(&format!("MIROIR.PUT miroir:session:{id} PX {life} pinned_group soon"))?;
    Ok(())
}

fn admin_session(w: &mut Worker<'_>) -> Result<(), Stop> {
    let key = format!("miroir:admin_session:{}", w.id());
    w.ask::<i64>(&format!("MIROIR.PUT {key} csrf_token x admin_key_hash y"))?;
    w.tell(Fact::row(&key, &[("csrf_token", "x"), ("admin_key_hash", "y")]));
    if w.random.bool() {
        w.ask::<i64>(&format!("MIROIR.ADMIN.REVOKE {key}"))?;
        w.tell(Fact::row(&key, &[("revoked", "1")]));
    }
    Ok(())
}

/// Of all who begin the same request one does the work.
fn request(w: &mut Worker<'_>) -> Result<(), Stop> {
    let round = w.name.split('-').next().unwrap().to_owned();
    let (key, task) = (format!("miroir:idemp:{round}-{}", w.random.u8(..100)), w.id());
    let hash = "5a".repeat(32);
    let answer: Vec<String> = w.ask(&format!("MIROIR.IDEMP.BEGIN {key} {hash} {task} LOCK 600000"))?;
    if answer[0] != "new" {
        return Ok(());
    }
    w.tell(Fact::row(&key, &[("miroir_task_id", &task)]));
    w.tell(Fact::Given { what: key.clone(), to: task.clone() });
    if w.random.bool() && w.ask::<i64>(&format!("MIROIR.IDEMP.COMPLETE {key} {task}"))? == 1 {
        w.tell(Fact::row(&key, &[("state", "completed")]));
    }
    Ok(())
}

fn queue(w: &mut Worker<'_>) -> Result<(), Stop> {
    let (id, kind) = (w.id(), ["dump", "reindex"][w.random.usize(..2)]);
    let key = format!("miroir:jobs:{id}");
    w.ask::<i64>(&format!("MIROIR.PUT {key} type {kind}"))?;
    w.tell(Fact::row(&key, &[("id", &id), ("type", kind)]));
    Ok(())
}

/// Works on what anybody has queued.
fn job(w: &mut Worker<'_>) -> Result<(), Stop> {
    let (holder, life) = (w.id(), [20, 600_000][w.random.usize(..2)]);
    let claim = format!("MIROIR.JOB.CLAIM miroir:jobs {holder} {life} COUNT {}", w.random.u8(1..4));
    let claimed: Vec<(String, i64, BTreeMap<String, String>)> = w.ask(&claim)?;
    for (id, token, row) in claimed {
        let key = format!("miroir:jobs:{id}");
        assert_eq!(row["claim_token"], token.to_string());
        w.at_least(&key, "claim_token", token);
        w.at_least(&key, "attempts", token);
        w.tell(Fact::Given { what: format!("claim {token} of {id}"), to: holder.clone() });
        let held = format!("{key} {holder} {token}");
        match w.random.u8(..6) {
            0 => {}
            1 => drop(w.ask::<i64>(&format!("MIROIR.JOB.RENEW {held} 600000 PROGRESS {{\"done\":1}}"))?),
            2 => drop(w.ask::<i64>(&format!("MIROIR.JOB.FINISH {held} queued"))?),
            _ => {
                let end = ["completed", "failed"][w.random.usize(..2)];
                if w.ask::<i64>(&format!("MIROIR.JOB.FINISH {held} {end}"))? == 1 {
                    w.tell(Fact::row(&key, &[("state", end), ("claim_token", &token.to_string())]));
                    w.tell(Fact::Given { what: format!("the end of {id}"), to: holder.clone() });
                }
            }
        }
    }
    if w.random.u8(..4) == 0 {
        w.ask::<i64>("MIROIR.JOB.RECLAIM miroir:jobs LIMIT 5")?;
    }
    Ok(())
}

fn acquire(w: &mut Worker<'_>, scope: &str, life: u32) -> Result<Option<i64>, Stop> {
    let holder = w.id();
    let line = format!("MIROIR.LEASE.ACQUIRE miroir:lease:{scope} {holder} {life}");
    let (done, held_by, _, token): (i64, String, i64, i64) = w.ask(&line)?;
    w.at_least("miroir:lease:_tokens", scope, token);
    w.tell(Fact::Given { what: format!("token {token} of {scope}"), to: held_by });
    Ok((done == 1).then_some(token))
}

fn lease(w: &mut Worker<'_>) -> Result<(), Stop> {
    let scope = ["leader", "rebalance"][w.random.usize(..2)];
    let life = w.random.u32(1..40);
    acquire(w, scope, life)?;
    // One of its own, which ends before its time.
    let scope = format!("own-{}", w.name.rsplit('-').next().unwrap());
    if acquire(w, &scope, 600_000)?.is_some() {
        let holder = format!("{}-{}", w.name, w.serial);
        w.ask::<i64>(&format!("MIROIR.LEASE.RELEASE miroir:lease:{scope} {holder}"))?;
    } else {
        // A crash came before the release.
        w.ask::<i64>(&format!("DEL miroir:lease:{scope}"))?;
    }
    Ok(())
}

/// What the token of a lease protects never goes back.
fn fenced(w: &mut Worker<'_>) -> Result<(), Stop> {
    let Some(token) = acquire(w, "settings", 30)? else { return Ok(()) };
    let key = "miroir:node_settings_version:movies:fenced";
    let put = format!("MIROIR.PUT {key} FENCE miroir:lease:settings {token} version {token}");
    if w.ask::<i64>(&put)? > 0 {
        w.at_least(key, "version", token);
    }
    Ok(())
}

fn canary(w: &mut Worker<'_>) -> Result<(), Stop> {
    let id = w.id();
    let (row, runs) = (format!("miroir:canary:{id}"), format!("miroir:canary_runs:{id}"));
    let fields = "name one index_uid movies interval_s 60 query_json {} assertions_json []";
    w.ask::<i64>(&format!("MIROIR.PUT {row} {fields}"))?;
    let is_deleted = w.random.u8(..4) == 0;
    if !is_deleted {
        w.tell(Fact::row(&row, &[("name", "one"), ("interval_s", "60")]));
    }
    let newest = w.random.i64(1..6);
    for ran_at in 1..=newest {
        w.ask::<Vec<i64>>(&format!("MIROIR.CANARY.RECORD {runs} {ran_at} pass 5 KEEP 3"))?;
        if !is_deleted && ran_at > newest - 3 {
            w.tell(Fact::Run { key: runs.clone(), ran_at });
        }
    }
    if is_deleted {
        w.ask::<i64>(&format!("MIROIR.DEL {row}"))?;
        w.tell(Fact::Gone { key: row });
        w.tell(Fact::Gone { key: runs });
    }
    Ok(())
}

fn cursor(w: &mut Worker<'_>) -> Result<(), Stop> {
    let key = format!("miroir:cdc_cursor:kafka:i{}", w.random.u8(..3));
    let to = w.random.i64(1..1_000_000);
    let (_, now): (i64, i64) = w.ask(&format!("MIROIR.CURSOR.ADVANCE {key} {to}"))?;
    w.at_least(&key, "last_event_seq", now);
    Ok(())
}

fn event(w: &mut Worker<'_>) -> Result<(), Stop> {
    let events: Vec<_> = (0..w.random.usize(1..4)).map(|_| format!("{}-{}", w.id(), w.text())).collect();
    let push = format!("MIROIR.CDC.PUSH {SINK} BUDGET 1000000000 {}", events.join(" "));
    let pushed: BTreeMap<String, i64> = w.ask(&push)?;
    let last = pushed["last_seq"];
    for (event, number) in events.into_iter().rev().zip((1..=last).rev()) {
        w.tell(Fact::Given { what: format!("event {number}"), to: event.clone() });
        w.tell(Fact::Event { key: SINK.to_owned(), number, event });
    }
    w.at_least("miroir:cdc:overflow_stat:kafka", "last_seq", last);
    Ok(())
}

/// Reads events, and acknowledges most of them.
fn consume(w: &mut Worker<'_>) -> Result<(), Stop> {
    let count = w.random.u8(1..20);
    let events: Vec<(i64, String)> = w.ask(&format!("MIROIR.CDC.PEEK {SINK} COUNT {count}"))?;
    let Some((last, _)) = events.last() else { return Ok(()) };
    let last = (last - w.random.i64(0..3)).max(0);
    w.world.acknowledged.fetch_max(last, SeqCst);
    w.ask::<i64>(&format!("MIROIR.CDC.ACK {SINK} {last}"))?;
    Ok(())
}

fn small_event(w: &mut Worker<'_>) -> Result<(), Stop> {
    let stat = "miroir:cdc:overflow_stat:small";
    match w.random.u8(..8) {
        0 => drop(w.ask::<redis::Value>(&format!("MIROIR.CDC.POP {SMALL_SINK} COUNT 2"))?),
        1 => drop(w.ask::<redis::Value>(&format!("MIROIR.CDC.TRIM {SMALL_SINK} BUDGET 1000"))?),
        _ => {
            let (id, text) = (w.id(), w.text().chars().take(800).collect::<String>());
            let policy = ["drop-oldest", "reject"][w.random.usize(..2)];
            let push =
                format!("MIROIR.CDC.PUSH {SMALL_SINK} BUDGET {SMALL_BUDGET} POLICY {policy} {id} {text}");
            let pushed: BTreeMap<String, i64> = w.ask(&push)?;
            assert!(pushed["bytes"] <= SMALL_BUDGET, "{pushed:?}");
            w.at_least(stat, "last_seq", pushed["last_seq"]);
        }
    }
    Ok(())
}

fn limits(w: &mut Worker<'_>) -> Result<(), Stop> {
    let key = "miroir:ratelimit:searchui:192.0.2.1";
    let hit = format!("MIROIR.RATELIMIT.HIT {key} {LIMIT} 600000000 COST {}", w.random.u8(1..5));
    let [_, left, ..] = w.ask::<[i64; 4]>(&hit)?;
    w.tell(Fact::AtLeast { what: Number::Counter(key.to_owned()), number: LIMIT - left });
    let ip = "miroir:ratelimit:adminlogin:192.0.2.1";
    // Without a backoff the count would be forgotten after a minute.
    let (failures, _): (i64, i64) = w.ask(&format!("MIROIR.LOGIN.FAIL {ip} 1 600000 600000"))?;
    w.at_least("miroir:ratelimit:adminlogin:backoff:192.0.2.1", "failed_count", failures);
    let other = format!("miroir:ratelimit:adminlogin:198.51.100.{}", w.random.u8(..4));
    w.ask::<Vec<i64>>(&format!("MIROIR.LOGIN.CHECK {other} 5 600000"))?;
    if w.random.u8(..4) == 0 {
        w.ask::<i64>(&format!("MIROIR.LOGIN.OK {other}"))?;
    }
    Ok(())
}

fn scoped_key(w: &mut Worker<'_>) -> Result<(), Stop> {
    let index = format!("i{}", w.random.u8(..3));
    let key = format!("miroir:search_ui_scoped_key:{index}");
    let generation = w.random.i64(1..1_000_000);
    let uid = w.id();
    if w.ask::<i64>(&format!("MIROIR.SCOPEDKEY.ROTATE {key} {uid} {generation}"))? == 1 {
        w.at_least(&key, "generation", generation);
        w.ask::<i64>(&format!("MIROIR.SCOPEDKEY.RETIRE {key} {generation} FORCE"))?;
    }
    let pod = w.name.replace('-', "_");
    w.ask::<i64>(&format!("MIROIR.SCOPEDKEY.OBSERVE {key} {pod} {generation} PX 600000"))?;
    w.ask::<i64>(&format!("MIROIR.POD.BEAT miroir:live_pods {pod}"))?;
    w.tell(Fact::AtLeast { what: Number::Score("miroir:live_pods".to_owned(), pod), number: 1 });
    Ok(())
}

/// The tables with a few rows each.
fn others(w: &mut Worker<'_>) -> Result<(), Stop> {
    let (id, text) = (w.id(), w.text());
    let (key, fields) = match w.random.u8(..3) {
        0 => (format!("miroir:tenant_map:{id}"), vec![("tenant_id", &text[..]), ("group_id", "g")]),
        1 => (format!("miroir:search_ui_config:{id}"), vec![("config_json", "{\"a\":1}")]),
        _ => {
            let json = ["triggers_json", "retention_json", "template_json"].map(|field| (field, "{}"));
            let names = [("write_alias", "w"), ("read_alias", "r"), ("pattern", &text[..])];
            (format!("miroir:rollover:{id}"), names.into_iter().chain(json).collect())
        }
    };
    let line: Vec<_> = fields.iter().map(|(field, value)| format!("{field} {value}")).collect();
    w.ask::<i64>(&format!("MIROIR.PUT {key} {}", line.join(" ")))?;
    w.tell(Fact::row(&key, &fields));
    Ok(())
}
