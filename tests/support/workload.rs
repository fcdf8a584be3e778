//! One run through all commands and all tables.

use std::collections::BTreeMap;

use super::Client;

/// Every command that writes, on every table, with refusals, trimming and the writes of other clients between.
pub const WORKLOAD: &[&str] = &[
    "MIROIR.PUT miroir:tasks:t1 index_uid movies task_type documentAdditionOrUpdate",
    "MIROIR.PUT miroir:tasks:t1 NX index_uid books",
    "MIROIR.TASK.NODE miroir:tasks:t1 node-0 UID 41",
    "MIROIR.TASK.NODE miroir:tasks:t1 node-1 UID 7 ERROR 'disk full'",
    "MIROIR.TASK.STATUS miroir:tasks:t1 processing",
    "MIROIR.TASK.STATUS miroir:tasks:t1 succeeded",
    "MIROIR.TASK.STATUS miroir:tasks:t1 processing",
    "MIROIR.PUT 'miroir:tasks:an id: with é' error 'node gone'",
    "MIROIR.PATCH 'miroir:tasks:an id: with é' error '' index_uid movies",
    "MIROIR.PUT miroir:tasks:old created_at 1000",
    "MIROIR.TASK.STATUS miroir:tasks:old failed ERROR timeout",
    "MIROIR.PUT miroir:tasks:new created_at 2000 status canceled",
    "MIROIR.PRUNE miroir:tasks BEFORE 1500",
    "MIROIR.PUT miroir:node_settings_version:movies:node-0 version 3",
    "MIROIR.PUT miroir:node_settings_version:movies:node-0 version 4",
    "MIROIR.PUT miroir:node_settings_version:movies:node-0 version 2",
    "MIROIR.PUT miroir:node_settings_version:movies:node-1 version 1",
    "MIROIR.DEL miroir:node_settings_version:movies:node-1",
    "MIROIR.PUT miroir:aliases:single kind single current_uid movies_v1",
    "MIROIR.PUT miroir:aliases:multi kind multi target_uids '[\"a\",\"b\"]'",
    "MIROIR.ALIAS.FLIP miroir:aliases:single movies_v2",
    "MIROIR.ALIAS.FLIP miroir:aliases:single movies_v3 RETAIN 1 IFVERSION 2",
    "MIROIR.ALIAS.FLIP miroir:aliases:single movies_v4 IFVERSION 2",
    "MIROIR.ALIAS.FLIP miroir:aliases:multi TARGETS 3 c d e",
    "MIROIR.PUT miroir:session:plain pinned_group g1",
    "MIROIR.PUT miroir:session:px PX 600000 last_write_at 5",
    "MIROIR.PUT miroir:session:pxat PXAT 4102444800000 last_write_mtask_id t1",
    "MIROIR.TOUCH miroir:session:plain",
    "MIROIR.TOUCH miroir:session:px PX 900000",
    "MIROIR.PATCH miroir:session:px min_settings_version 4",
    "MIROIR.PUT miroir:idemp:k1 body_sha256 \
     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 miroir_task_id t1",
    "MIROIR.PUT miroir:idemp:k2 PX 600000 body_sha256 \
     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 miroir_task_id t2 state done",
    "MIROIR.PUT miroir:jobs:j1 type reindex params '{\"index\":\"movies\"}'",
    "MIROIR.PUT miroir:jobs:j2 type dump created_at 10",
    "MIROIR.PATCH miroir:jobs:j2 progress '{\"done\":1}'",
    "HSET miroir:jobs:j3 id j3 type dump state completed created_at 1 finished_at 5",
    "SADD miroir:jobs:_index j3",
    "MIROIR.PRUNE miroir:jobs BEFORE 6 LIMIT 10",
    "MIROIR.PUT miroir:canary:c1 name one index_uid movies interval_s 60 query_json {} assertions_json []",
    "MIROIR.PUT miroir:canary:c2 name two index_uid movies interval_s 60 query_json {} assertions_json []",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c2 1000 pass 5",
    "MIROIR.DEL miroir:canary:c2",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 1000 pass 5 KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 2000 fail 6 ASSERTIONS '[\"hits\"]' KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 3000 error 7 KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 4000 pass 8 KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 4000 fail 9 KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c1 500 pass 9 KEEP 3",
    "MIROIR.CANARY.RECORD miroir:canary_runs:aged 1000 pass 5",
    "MIROIR.CANARY.RECORD miroir:canary_runs:aged 4102444800000 pass 5 MAXAGE 60000",
    "MIROIR.PUT miroir:cdc_cursor:kafka:eu:movies last_event_seq 5",
    "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:eu:movies 9 IFSEQ 5",
    "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:eu:movies 8",
    "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:nats:books 1",
    "MIROIR.PUT miroir:tenant_map:00ff tenant_id acme group_id g1",
    "MIROIR.PATCH miroir:tenant_map:00ff group_id ''",
    "MIROIR.PUT miroir:rollover:logs write_alias w read_alias r pattern logs-* triggers_json {} \
     retention_json {} template_json {}",
    "MIROIR.PATCH miroir:rollover:logs enabled 0",
    "MIROIR.PUT miroir:search_ui_config:movies config_json '{\"a\":1}'",
    "MIROIR.PUT miroir:admin_session:a1 csrf_token x admin_key_hash y",
    "MIROIR.PUT miroir:admin_session:a2 PX 700000 csrf_token x admin_key_hash y user_agent 'a browser'",
    "MIROIR.PATCH miroir:admin_session:a2 revoked 1",
    "MIROIR.TOUCH miroir:admin_session:a2",
    "MIROIR.PUT miroir:search_ui_scoped_key:movies primary_uid u1 generation 1 primary_key secret",
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 600000",
    "MIROIR.LEASE.RENEW miroir:lease:leader pod-1 700000 TOKEN 1",
    "MIROIR.LEASE.RELEASE miroir:lease:leader pod-1",
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-2 600000",
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 600000",
    "SET miroir:lease:raw pod-3 NX EX 600",
    "MIROIR.LEASE.RENEW miroir:lease:raw pod-3 600000",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 aaaaaaaaaa bbbbbbbbbb cccccccccc dddddddddd",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 POLICY reject e",
    "MIROIR.CDC.POP miroir:cdc:overflow:kafka",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 f gg hhh",
    "MIROIR.CDC.ACK miroir:cdc:overflow:kafka 3",
    "RPOP miroir:cdc:overflow:kafka",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 after-a-raw-pop",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:trimmed BUDGET 1000 one two three",
    "MIROIR.CDC.TRIM miroir:cdc:overflow:trimmed BUDGET 5",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:empty BUDGET 1000 one",
    "MIROIR.CDC.TRIM miroir:cdc:overflow:empty BUDGET 0",
    "MIROIR.PUT miroir:jobs:j4 type move created_at 20",
    "MIROIR.PUT miroir:jobs:j5 type move created_at 30",
    "MIROIR.PUT miroir:jobs:j6 type swap created_at 40 attempts 3",
    "HSET miroir:jobs:j7 id j7 type swap state in_progress created_at 50 claim_expires_at 60 attempts 1",
    "HSET miroir:jobs:j8 id j8 type swap state in_progress created_at 50 claim_expires_at 70 attempts 4",
    "SADD miroir:jobs:_index j7 j8",
    "MIROIR.JOB.CLAIM miroir:jobs pod-1 600000 TYPE dump TYPE move COUNT 3",
    "MIROIR.JOB.CLAIM miroir:jobs pod-2 600000 ID j6 MAXATTEMPTS 3",
    "MIROIR.JOB.RENEW miroir:jobs:j2 pod-1 1 700000 PROGRESS '{\"done\":2}'",
    "MIROIR.JOB.RENEW miroir:jobs:j2 pod-2 1 700000",
    "MIROIR.JOB.FINISH miroir:jobs:j4 pod-1 1 completed",
    "MIROIR.JOB.FINISH miroir:jobs:j5 pod-1 1 queued ERROR 'node away'",
    "MIROIR.JOB.FINISH miroir:jobs:j5 pod-1 1 failed",
    "MIROIR.JOB.RECLAIM miroir:jobs LIMIT 10 MAXATTEMPTS 4",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b1 \
     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 t1",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b1 \
     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 t2",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b1 \
     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 t2",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b2 \
     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 t1 LOCK 600000 PX 700000",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b3 \
     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 t1 LOCK 600000 PX 700000",
    "MIROIR.IDEMP.COMPLETE miroir:idemp:b3 t1",
    "MIROIR.IDEMP.COMPLETE miroir:idemp:b3 t1 PX 800000",
    "MIROIR.IDEMP.BEGIN miroir:idemp:b4 \
     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 t1",
    "MIROIR.IDEMP.ABORT miroir:idemp:b4 t1",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 3 600000 COST 2",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 3 600000 COST 2",
    "SET miroir:ratelimit:searchui:10.0.0.2 9",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.2 3 600000",
    "MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:10.0.0.1 3 600000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:10.0.0.1 1 300000 900000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:10.0.0.1 1 300000 900000",
    "MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:10.0.0.1 3 600000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:10.0.0.2 1 300000 900000",
    "MIROIR.LOGIN.OK miroir:ratelimit:adminlogin:10.0.0.2",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u2 2 PRIMARYKEY another",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:books u1 1",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:books u2 2",
    "MIROIR.POD.BEAT miroir:live_pods pod-1",
    "ZADD miroir:live_pods 1000 pod-0",
    "MIROIR.POD.BEAT miroir:live_pods pod-2",
    "MIROIR.SCOPEDKEY.OBSERVE miroir:search_ui_scoped_key:movies pod-1 2 PX 600000",
    "MIROIR.SCOPEDKEY.RETIRE miroir:search_ui_scoped_key:movies 2",
    "MIROIR.SCOPEDKEY.RETIRE miroir:search_ui_scoped_key:books 2 FORCE",
    "MIROIR.PUT miroir:admin_session:a3 csrf_token x admin_key_hash y",
    "MIROIR.ADMIN.REVOKE miroir:admin_session:a3",
    "MIROIR.ADMIN.REVOKE miroir:admin_session:none",
    "MIROIR.LEASE.ACQUIRE miroir:lease:rebalance pod-1 600000",
    "MIROIR.PATCH miroir:tasks:new FENCE miroir:lease:rebalance 1 index_uid fenced",
    "MIROIR.PATCH miroir:tasks:new FENCE miroir:lease:rebalance 9 index_uid deposed",
    "MIROIR.DEL miroir:jobs:j4 FENCE miroir:lease:rebalance 1",
];

/// Runs the workload, and answers the data that it leaves.
pub fn work(client: &mut Client) -> BTreeMap<String, String> {
    for line in WORKLOAD {
        let answer = client.ask(line);
        let word = answer.split(' ').next().unwrap();
        assert!(!["ERR", "WRONGTYPE", "OOM", "?"].contains(&word), "{line}: {answer}");
    }
    let event = b"\0\r\n\xff$3\r\nSET";
    let pushed = client.call(&[&b"MIROIR.CDC.PUSH"[..], b"miroir:cdc:overflow:bin", b"BUDGET", b"99", event]);
    assert!(pushed.starts_with("[accepted, 1"), "{pushed}");
    let data = client.dump();
    for segment in [
        "tasks:t1",
        "jobs:_queued",
        "lease:_tokens",
        "canary_runs:c1",
        "cdc:overflow_stat:kafka",
        "idemp:b3",
        "ratelimit:searchui:10.0.0.1",
        "ratelimit:adminlogin:backoff:10.0.0.1",
        "search_ui_scoped_key_observed:pod-1:movies",
        "live_pods",
    ] {
        assert!(data.contains_key(&format!("miroir:{segment}")), "the workload leaves no {segment}");
    }
    data
}

/// That claims, locks, windows, backoffs, rotations, revocations and fences stand where the workload left them.
pub fn assert_claims_hold(client: &mut Client) {
    let sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let begin = format!("MIROIR.IDEMP.BEGIN miroir:idemp:b2 {sha} t9");
    for (line, expected) in [
        ("MIROIR.JOB.RENEW miroir:jobs:j2 pod-1 2 600000", "0"),
        ("MIROIR.JOB.RENEW miroir:jobs:j2 pod-1 1 600000", "1"),
        ("MIROIR.JOB.FINISH miroir:jobs:j6 pod-2 1 completed", "-1"),
        ("MIROIR.JOB.CLAIM miroir:jobs pod-9 600000 ID j5", "[[j5, 2, "),
        (&begin, "[inflight, t1, "),
        ("MIROIR.IDEMP.COMPLETE miroir:idemp:b2 t1", "1"),
        ("MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 3 600000 COST 2", "[0, 1, "),
        ("MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:10.0.0.1 3 600000", "[0, 2, "),
        ("MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:10.0.0.1 1 300000 900000", "[3, 900000]"),
        ("MIROIR.SCOPEDKEY.READY miroir:search_ui_scoped_key:movies", "[0, [pod-2]]"),
        ("MIROIR.TOUCH miroir:admin_session:a3", "0"),
        ("MIROIR.PATCH miroir:tasks:new FENCE miroir:lease:rebalance 9 error deposed", "STALE "),
        ("MIROIR.PATCH miroir:tasks:new FENCE miroir:lease:rebalance 1 error fenced", "1"),
    ] {
        let answer = client.ask(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
    let left = client.integer("PTTL miroir:idemp:b2");
    assert!((600_000..=700_000).contains(&left), "as long as BEGIN said: {left}");
}
