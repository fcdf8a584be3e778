//! What pods do with commands of the module.

use super::{often, rarely, sometimes, Operation, TABLES, TEXTS};

pub static COMMANDS: &[Operation] = &[
    often("PUT", |o| vec![o.put()]),
    often("PATCH", |o| vec![o.patch()]),
    sometimes("DEL by the module", |o| {
        vec![["MIROIR.DEL".into()].into_iter().chain(o.row_keys(3)).collect()]
    }),
    sometimes("TOUCH", |o| {
        let tables: Vec<_> = TABLES.iter().filter(|table| table.life_ms.is_some()).collect();
        let table = o.one(&tables);
        let life = o.life();
        vec![words!["MIROIR.TOUCH", o.key_of(table), "PX", life]]
    }),
    sometimes("TASK.STATUS", |o| {
        let status = o.text(&["processing", "succeeded", "failed", "canceled"]);
        vec![words!["MIROIR.TASK.STATUS", o.key_in("tasks"), status]]
    }),
    sometimes("TASK.NODE", |o| {
        let (node, uid) = (o.text(&["n1", "n2"]), o.number(100));
        vec![words!["MIROIR.TASK.NODE", o.key_in("tasks"), node, "UID", uid]]
    }),
    sometimes("PRUNE", |o| {
        let table = format!("{}:{}", o.namespace(), o.text(&["tasks", "jobs"]));
        vec![words!["MIROIR.PRUNE", table, "BEFORE", o.number(20), "LIMIT", o.number(3)]]
    }),
    sometimes("ALIAS.FLIP", |o| vec![words!["MIROIR.ALIAS.FLIP", o.key_in("aliases"), o.text(TEXTS)]]),
    sometimes("LEASE.ACQUIRE", |o| {
        vec![words!["MIROIR.LEASE.ACQUIRE", o.key_in("leader_lease"), o.text(&["p1", "p2"]), o.life()]]
    }),
    sometimes("LEASE.RELEASE", |o| {
        vec![words!["MIROIR.LEASE.RELEASE", o.key_in("leader_lease"), o.text(&["p1", "p2"])]]
    }),
    sometimes("CANARY.RECORD", |o| {
        let (at, status) = (o.number(50), o.text(&["pass", "fail"]));
        vec![words!["MIROIR.CANARY.RECORD", o.key_in("canary_runs"), at, status, "5", "KEEP", "4"]]
    }),
    sometimes("CDC.PUSH", |o| {
        vec![words!["MIROIR.CDC.PUSH", o.key_in("cdc_overflow"), "BUDGET", "40", o.value(), "event"]]
    }),
    sometimes("CDC.POP", |o| vec![words!["MIROIR.CDC.POP", o.key_in("cdc_overflow")]]),
    sometimes("CDC.TRIM", |o| {
        vec![words!["MIROIR.CDC.TRIM", o.key_in("cdc_overflow"), "BUDGET", o.number(30)]]
    }),
    sometimes("CURSOR.ADVANCE", |o| {
        vec![words!["MIROIR.CURSOR.ADVANCE", o.key_in("cdc_cursors"), o.number(99)]]
    }),
    sometimes("JOB.CLAIM", |o| {
        let table = format!("{}:jobs", o.namespace());
        let (holder, life) = (o.text(&["p1", "p2"]), o.life());
        let mut words = words!["MIROIR.JOB.CLAIM", table, holder, life, "COUNT", o.number(4)];
        if o.random.bool() {
            words.extend(words!["TYPE", o.text(TEXTS)]);
        }
        if o.random.bool() {
            words.extend(words!["MAXATTEMPTS", o.number(4)]);
        }
        vec![words]
    }),
    sometimes("JOB.RENEW", |o| {
        let (holder, token, life) = (o.text(&["p1", "p2"]), o.number(3), o.life());
        vec![words!["MIROIR.JOB.RENEW", o.key_in("jobs"), holder, token, life, "PROGRESS", "{}"]]
    }),
    sometimes("JOB.FINISH", |o| {
        let (holder, token) = (o.text(&["p1", "p2"]), o.number(3));
        let outcome = o.text(&["completed", "failed", "queued"]);
        vec![words!["MIROIR.JOB.FINISH", o.key_in("jobs"), holder, token, outcome]]
    }),
    sometimes("JOB.RECLAIM", |o| {
        let table = format!("{}:jobs", o.namespace());
        vec![words!["MIROIR.JOB.RECLAIM", table, "LIMIT", o.number(3), "MAXATTEMPTS", o.number(5)]]
    }),
    sometimes("IDEMP.BEGIN", |o| {
        let (hash, task, lock) = (o.text(&["a", "b"]).repeat(64), o.text(TEXTS), o.life());
        vec![words!["MIROIR.IDEMP.BEGIN", o.key_in("idempotency_cache"), hash, task, "LOCK", lock]]
    }),
    sometimes("IDEMP.COMPLETE", |o| {
        let (task, life) = (o.text(TEXTS), o.life());
        vec![words!["MIROIR.IDEMP.COMPLETE", o.key_in("idempotency_cache"), task, "PX", life]]
    }),
    sometimes("IDEMP.ABORT", |o| {
        vec![words!["MIROIR.IDEMP.ABORT", o.key_in("idempotency_cache"), o.text(TEXTS)]]
    }),
    sometimes("RATELIMIT.HIT", |o| {
        vec![words!["MIROIR.RATELIMIT.HIT", o.key_in("ratelimit_searchui"), "3", o.life()]]
    }),
    sometimes("LOGIN.CHECK", |o| {
        vec![words!["MIROIR.LOGIN.CHECK", o.key_in("ratelimit_adminlogin"), "3", o.life()]]
    }),
    sometimes("LOGIN.FAIL", |o| {
        vec![words!["MIROIR.LOGIN.FAIL", o.key_in("ratelimit_adminlogin"), "2", "10", "1000"]]
    }),
    sometimes("LOGIN.OK", |o| vec![words!["MIROIR.LOGIN.OK", o.key_in("ratelimit_adminlogin")]]),
    sometimes("SCOPEDKEY.ROTATE", |o| {
        let (uid, generation) = (o.text(TEXTS), o.number(99));
        vec![words!["MIROIR.SCOPEDKEY.ROTATE", o.key_in("search_ui_scoped_key"), uid, generation]]
    }),
    sometimes("SCOPEDKEY.OBSERVE", |o| {
        let (generation, life) = (o.number(99), o.life());
        vec![words![
            "MIROIR.SCOPEDKEY.OBSERVE",
            o.key_in("search_ui_scoped_key"),
            "p1",
            generation,
            "PX",
            life
        ]]
    }),
    sometimes("SCOPEDKEY.RETIRE", |o| {
        vec![words!["MIROIR.SCOPEDKEY.RETIRE", o.key_in("search_ui_scoped_key"), o.number(99), "FORCE"]]
    }),
    sometimes("POD.BEAT", |o| vec![words!["MIROIR.POD.BEAT", o.key_in("live_pods"), o.text(&["p1", "p2"])]]),
    sometimes("ADMIN.REVOKE", |o| vec![words!["MIROIR.ADMIN.REVOKE", o.key_in("admin_sessions")]]),
    // Reads between the writes, as each may find what the events before it have left to do.
    sometimes("LIST", |o| vec![words!["MIROIR.LIST", o.table_key()]]),
    sometimes("COUNT", |o| vec![words!["MIROIR.COUNT", o.table_key()]]),
    sometimes("a look from a script", |o| vec![o.look()]),
    rarely("MEMORY", |o| vec![words!["MIROIR.MEMORY", o.namespace()]]),
];
