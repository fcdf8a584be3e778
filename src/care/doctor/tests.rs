//! Every check at each of its thresholds, on both sides.

use super::facts::*;
use super::past::Counters;
use super::*;

const MB: u64 = 1 << 20;
const NOW: i64 = 1_700_000_000_000;

/// A server that nothing is to be said about.
fn healthy() -> Facts {
    let spread = Spread { in_cluster: false, is_tagged: false, need: 5, free: 5 };
    Facts {
        namespace: b"miroir".to_vec(),
        now: NOW,
        window: 300_000,
        memory: Memory {
            used: Ok(2 * MB),
            limit: Ok(64 * MB),
            policy: Ok("allkeys-lru".to_owned()),
            protects: true,
            fragmentation: Ok(1.1),
            fragmented: Ok(1 << 20),
            weight: Ok(MB),
            warning: 500_000_000,
            critical: 1_000_000_000,
        },
        traffic: Traffic { counted: Ok(Counters::default()), over: 300_000, keys: 1000 },
        safety: Safety {
            log: Ok(true),
            snapshots: Ok(true),
            replays: Ok(Replays::Everything),
            role: Ok(Role::Master { replicas: 1, port: 6379 }),
        },
        clients: Clients {
            connected: Ok(10),
            most: Ok(10_000),
            backlog: Ok(511),
            keepalive: Ok(300),
            buffers: Ok(limits(&[("normal", 0), ("slave", 256 * MB), ("pubsub", 32 * MB)])),
            slow: Ok(SlowLog { threshold: 10_000, entries: 0, longest: None }),
            latency: Ok(10),
        },
        store: Store {
            growing: Ok(Many::none()),
            queue: Ok(Queue { depth: 0, deep_since: None }),
            endless: Ok(Many::none()),
            lapsing: Ok(Many::none()),
            is_audited: true,
            spread: Ok(spread),
        },
    }
}

fn limits(limits: &[(&str, u64)]) -> Vec<BufferLimit> {
    limits.iter().map(|(class, hard)| BufferLimit { class: (*class).to_owned(), hard: *hard }).collect()
}

fn many<T>(some: Vec<T>) -> Many<T> {
    Many { count: some.len(), some }
}

/// What is found when one thing is changed in a healthy server: severity and check of each, and all words.
fn found(change: impl FnOnce(&mut Facts)) -> (Vec<(&'static str, &'static str)>, String) {
    let mut facts = healthy();
    change(&mut facts);
    let findings = examine(&facts);
    let words = findings.iter().map(|finding| format!("{} | {}", finding.found, finding.advice)).collect();
    (findings.iter().map(|finding| (finding.severity.name(), finding.check)).collect(), words)
}

fn silent(change: impl FnOnce(&mut Facts)) {
    let (findings, words) = found(change);
    assert_eq!(findings, [], "{words}");
}

fn says(severity: &'static str, check: &'static str, parts: &[&str], change: impl FnOnce(&mut Facts)) {
    let (findings, words) = found(change);
    assert_eq!(findings, [(severity, check)], "{words}");
    for part in parts {
        assert!(words.contains(part), "{words}, without {part:?}");
    }
}

#[test]
fn a_healthy_server_is_left_in_peace() {
    silent(|_| {});
}

#[test]
fn the_limit_of_the_memory() {
    let check = "maxmemory";
    says("warning", check, &["2.1 MB", "| CONFIG SET maxmemory 64mb"], |facts| facts.memory.limit = Ok(0));
    let advice = ["| CONFIG SET maxmemory 1gb"];
    says("warning", check, &advice, |facts| {
        (facts.memory.limit, facts.memory.used) = (Ok(0), Ok(400 * MB));
    });
    // One and a half times what the tables weigh has to fit.
    let weighs = |weight| {
        move |facts: &mut Facts| (facts.memory.limit, facts.memory.weight) = (Ok(96 * MB), Ok(weight))
    };
    silent(weighs(64 * MB));
    says("warning", check, &["100.7 MB", "| CONFIG SET maxmemory 128mb"], weighs(64 * MB + 1));
}

#[test]
fn what_happens_at_the_limit() {
    for (policy, expected) in [
        ("noeviction", Some("warning")),
        ("volatile-lru", Some("note")),
        ("volatile-lfu", Some("note")),
        ("allkeys-lru", None),
        ("allkeys-lfu", None),
    ] {
        let change = |facts: &mut Facts| facts.memory.policy = Ok(policy.to_owned());
        match expected {
            None => silent(change),
            Some(severity) => {
                let advice = format!("{policy}: at maxmemory");
                let parts = [&advice, "| CONFIG SET maxmemory-policy allkeys-lru"];
                says(severity, "maxmemory-policy", &parts, change);
            }
        }
    }
}

#[test]
fn what_must_not_be_lost_and_cannot_be_protected() {
    let check = "eviction-protection";
    for (policy, why) in [
        ("volatile-ttl", "what would soon expire goes first"),
        ("volatile-random", "as readily as a session"),
        ("allkeys-random", "as readily as a task"),
        ("allkeys-of-times-to-come", "as readily as a task"),
    ] {
        let policy_is = |protects| {
            move |facts: &mut Facts| {
                (facts.memory.policy, facts.memory.protects) = (Ok(policy.to_owned()), protects);
            }
        };
        let parts = [why, "| CONFIG SET maxmemory-policy allkeys-lru"];
        says("warning", check, &parts, policy_is(true));
        let both = "| CONFIG SET maxmemory-policy allkeys-lru miroir.protect-from-eviction yes";
        says("warning", check, &[why, both], policy_is(false));
    }
}

#[test]
fn protection_that_is_off_matters_where_something_is_evicted() {
    let off = |policy: &'static str, limit| {
        move |facts: &mut Facts| {
            let memory = &mut facts.memory;
            (memory.policy, memory.limit, memory.protects) = (Ok(policy.to_owned()), Ok(limit), false);
        }
    };
    let parts = ["jobs", "| CONFIG SET miroir.protect-from-eviction yes"];
    says("warning", "eviction-protection", &parts, off("allkeys-lru", 64 * MB));
    says("warning", "eviction-protection", &parts, off("allkeys-lfu", 64 * MB));
    let (findings, words) = found(off("volatile-lru", 64 * MB));
    assert_eq!(findings, [("warning", "eviction-protection"), ("note", "maxmemory-policy")], "{words}");
    assert!(words.contains("leases are evicted like sessions |"), "{words}");
    says("warning", "maxmemory", &[], off("allkeys-lru", 0));
    says("warning", "maxmemory-policy", &[], off("noeviction", 64 * MB));
}

#[test]
fn what_was_lost_all_the_same() {
    let lost = |lost, policy: &'static str, protects| {
        move |facts: &mut Facts| {
            facts.traffic.counted = Ok(Counters { lost, ..Counters::default() });
            (facts.memory.policy, facts.memory.protects) = (Ok(policy.to_owned()), protects);
        }
    };
    let says = |parts: &[&str], change: &dyn Fn(&mut Facts)| {
        says("critical", "eviction-protection", parts, |facts| change(facts));
    };
    silent(lost(0, "allkeys-lru", true));
    let parts = ["1 key that must not be lost was evicted within 300 s", "| CONFIG SET maxmemory 128mb"];
    says(&parts, &lost(1, "allkeys-lru", true));
    let parts = ["2 keys that must", "eviction is no", "| CONFIG SET miroir.protect-from-eviction yes"];
    says(&parts, &lost(2, "allkeys-lfu", false));
    let parts = ["by which nothing can be protected", "| CONFIG SET maxmemory-policy allkeys-lru"];
    says(&parts, &lost(2, "volatile-ttl", true));
    says(&["yes"], &lost(2, "allkeys-random", false));
}

#[test]
fn a_warning_that_would_never_come_before_it_is_critical() {
    let thresholds = |warning, critical| {
        move |facts: &mut Facts| (facts.memory.warning, facts.memory.critical) = (warning, critical)
    };
    let parts = ["is 2.0 GB, and", "bytes 1.0 GB", "| CONFIG SET miroir.memory-warning-bytes 500000000"];
    says("note", "used-memory", &parts, thresholds(2_000_000_000, 1_000_000_000));
    says("note", "used-memory", &parts[2..], thresholds(1_000_000_000, 1_000_000_000));
    silent(thresholds(999_999_999, 1_000_000_000));
    // Each can be switched off.
    silent(thresholds(0, 1_000_000_000));
    silent(thresholds(1_000_000_000, 0));
    // What is too much now matters more.
    says("critical", "used-memory", &["MIROIR.MEMORY"], thresholds(2, 1));
    // What the doctor advises must not be what it says next.
    let parts = ["CONFIG SET miroir.memory-warning-bytes 1gb miroir.memory-critical-bytes 2gb"];
    says("warning", "used-memory", &parts, |facts| facts.memory.used = Ok(600_000_000));
}

#[test]
fn the_memory_that_is_used() {
    silent(|facts| facts.memory.used = Ok(500_000_000));
    let parts =
        ["500.0 MB (warning)", "MIROIR.PRUNE miroir:tasks BEFORE 1699395200000", "warning-bytes 512mb"];
    says("warning", "used-memory", &parts, |facts| facts.memory.used = Ok(500_000_001));
    says("warning", "used-memory", &[], |facts| facts.memory.used = Ok(1_000_000_000));
    says("critical", "used-memory", &["1.0 GB (critical)"], |facts| facts.memory.used = Ok(1_000_000_001));
    silent(|facts| {
        (facts.memory.used, facts.memory.warning, facts.memory.critical) = (Ok(u64::MAX), 0, 0);
    });
}

#[test]
fn fragmentation_of_a_size_that_matters() {
    let fragmented = |ratio, bytes| {
        move |facts: &mut Facts| {
            (facts.memory.fragmentation, facts.memory.fragmented) = (Ok(ratio), Ok(bytes))
        }
    };
    let floor = 100 * MB as i64;
    silent(fragmented(1.5, 9 * floor));
    silent(fragmented(9.0, floor));
    says("warning", "fragmentation", &["1.51", "MEMORY PURGE"], fragmented(1.51, floor + 1));
    silent(fragmented(0.5, -9 * floor));
}

#[test]
fn evictions_and_look_ups_in_vain() {
    let counted = |evicted, hits, misses| {
        move |facts: &mut Facts| {
            facts.traffic.keys = 950;
            facts.traffic.counted = Ok(Counters { evicted, hits, misses, ..Counters::default() });
        }
    };
    silent(counted(50, 0, 0));
    let parts = ["51 of 1001 keys (5.1 %)", "| CONFIG SET maxmemory 128mb"];
    says("warning", "eviction-rate", &parts, counted(51, 0, 0));

    // Of few keys one is more than a twentieth.
    let few = |keys, evicted| {
        move |facts: &mut Facts| {
            facts.traffic.keys = keys;
            facts.traffic.counted = Ok(Counters { evicted, ..Counters::default() });
        }
    };
    silent(few(0, 5));
    silent(few(95, 5));
    says("warning", "eviction-rate", &["6 of 6 keys (100.0 %)"], few(0, 6));
    says("warning", "eviction-rate", &["6 of 100 keys"], few(94, 6));

    // The limit may have been lowered, or what is there may have grown: the advice has room for it.
    says("warning", "eviction-rate", &["| CONFIG SET maxmemory 512mb"], |facts| {
        counted(51, 0, 0)(facts);
        facts.memory.used = Ok(300 * MB);
    });

    silent(counted(0, 95, 5));
    says("warning", "hit-ratio", &["94.0 % of 100", "INFO miroir_tables"], counted(0, 94, 6));
    says("warning", "hit-ratio", &[], counted(0, 80, 20));
    says("critical", "hit-ratio", &["79.0 %"], counted(0, 79, 21));
    says("critical", "hit-ratio", &["CONFIG SET maxmemory 128mb"], counted(1, 79, 21));
    silent(counted(0, 0, 99));
    // Look-ups of the module itself are not asked for by anybody.
    let own = Counters { hits: 960, misses: 940, own_hits: 10, own_misses: 900, ..Counters::default() };
    silent(|facts| facts.traffic.counted = Ok(own));
    let own = Counters { hits: 99, misses: 6, own_hits: 5, ..Counters::default() };
    says("warning", "hit-ratio", &["94.0 % of 100"], |facts| facts.traffic.counted = Ok(own));
}

#[test]
fn what_is_left_after_a_crash() {
    let safety = |log, snapshots| {
        move |facts: &mut Facts| (facts.safety.log, facts.safety.snapshots) = (Ok(log), Ok(snapshots))
    };
    let advice = ["| CONFIG SET appendonly yes"];
    silent(safety(true, false));
    says("note", "persistence", &advice, safety(false, true));
    says("warning", "persistence", &advice, safety(false, false));

    let replay = |log, replays| {
        move |facts: &mut Facts| (facts.safety.log, facts.safety.replays) = (Ok(log), Ok(replays))
    };
    let on = Replays::NotAll { is_off: false };
    says("critical", "log-replay", &["| ACL SETUSER default off"], replay(true, on));
    says(
        "critical",
        "log-replay",
        &["| ACL SETUSER default ~* &* +@all"],
        replay(true, Replays::NotAll { is_off: true }),
    );
    silent(replay(true, Replays::Everything));
    says("note", "persistence", &advice, replay(false, on));

    let role = |role| move |facts: &mut Facts| facts.safety.role = Ok(role);
    says("warning", "replica", &["REPLICAOF <host"], role(Role::Master { replicas: 0, port: 6379 }));
    let replica = |hears| Role::Replica { hears, master: "10.0.0.1 6379".to_owned() };
    silent(role(replica(true)));
    says("warning", "replica", &["| REPLICAOF 10.0.0.1 6379"], role(replica(false)));
}

#[test]
fn connections() {
    let rejected = |rejected| {
        move |facts: &mut Facts| facts.traffic.counted = Ok(Counters { rejected, ..Counters::default() })
    };
    silent(rejected(0));
    says("critical", "rejected-connections", &["| CONFIG SET maxclients 20000"], rejected(1));
    silent(|facts| facts.clients.connected = Ok(8000));
    says("warning", "maxclients", &["| CONFIG SET maxclients 20000"], |facts| {
        facts.clients.connected = Ok(8001);
    });
    says("note", "tcp-backlog", &["| tcp-backlog 511"], |facts| facts.clients.backlog = Ok(510));
    silent(|facts| facts.clients.backlog = Ok(512));
    for (keepalive, is_good) in [(0, false), (1, true), (300, true), (301, false)] {
        let change = |facts: &mut Facts| facts.clients.keepalive = Ok(keepalive);
        if is_good {
            silent(change);
        } else {
            says("note", "tcp-keepalive", &["| CONFIG SET tcp-keepalive 300"], change);
        }
    }
    for (hard, advice) in [
        ((0, 1), "'replica 256mb 64mb 60'"),
        ((1, 0), "'pubsub 32mb 8mb 60'"),
        ((0, 0), "'replica 256mb 64mb 60 pubsub 32mb 8mb 60'"),
    ] {
        says("warning", "output-buffer-limits", &[advice], |facts| {
            facts.clients.buffers = Ok(limits(&[("normal", 0), ("slave", hard.0), ("pubsub", hard.1)]));
        });
    }
}

#[test]
fn slow_commands_and_latency() {
    let log = |threshold, entries, longest: Option<i64>| {
        let longest = longest.map(|time| (time, "EVAL".to_owned()));
        move |facts: &mut Facts| facts.clients.slow = Ok(SlowLog { threshold, entries, longest })
    };
    silent(log(10_000, 4, Some(50_000)));
    says("warning", "slow-log", &["holds 5 commands", "SLOWLOG RESET"], log(10_000, 5, Some(50_000)));
    says("warning", "slow-log", &["EVAL, took 50 ms"], log(10_000, 1, Some(50_001)));
    silent(log(0, 4, None));
    says("note", "slow-log", &["| CONFIG SET slowlog-log-slower-than 10000"], log(-1, 9, None));
    says("note", "latency-monitor", &["latency-monitor-threshold 10"], |facts| {
        facts.clients.latency = Ok(0);
    });
    silent(|facts| facts.clients.latency = Ok(1));
}

#[test]
fn buffers_that_grow() {
    let growing =
        |dropped| Growing { key: b"m:cdc:overflow:a b".to_vec(), events: 9, came: 7, dropped, over: 300_000 };
    let parts = ["7 came within 300 s", "it holds 9", "MIROIR.CDC.TRIM \"m:cdc:overflow:a b\" BUDGET 0"];
    says("warning", "cdc-overflow", &parts, |facts| facts.store.growing = Ok(many(vec![growing(0)])));
    let lost = ["and has dropped 2", "2 CDC buffers grow"];
    says("critical", "cdc-overflow", &lost, |facts| {
        facts.store.growing = Ok(many(vec![growing(0), growing(2)]));
    });
    says("warning", "cdc-overflow", &["and 4 more"], |facts| {
        facts.store.growing = Ok(Many { count: 5, some: vec![growing(0)] });
    });
}

#[test]
fn a_queue_that_stays_deep() {
    let queue = |depth, since: Option<i64>| {
        let deep_since = since.map(|milliseconds| NOW - milliseconds);
        move |facts: &mut Facts| facts.store.queue = Ok(Queue { depth, deep_since })
    };
    silent(queue(9999, None));
    silent(queue(11, Some(300_000)));
    silent(queue(10, Some(900_000)));
    let parts = ["11 jobs are queued, and for 300 s", "MIROIR.COUNT miroir:jobs WHERE state queued BY type"];
    says("warning", "queue-depth", &parts, queue(11, Some(300_001)));
}

#[test]
fn leases_without_an_end_and_near_it() {
    says("warning", "lease-without-ttl", &["1 lease has", "| PEXPIRE m:lease:a 30000"], |facts| {
        let some = vec![b"m:lease:a".to_vec(), b"m:lease:b".to_vec()];
        facts.store.endless = Ok(Many { count: 1, some });
    });
    let lease = Lapsing { key: b"m:lease:a".to_vec(), holder: b"pod".to_vec(), remaining: 9, granted: 30 };
    let parts = ["9 of 30 ms left", "| MIROIR.LEASE.RENEW m:lease:a pod 30"];
    says("warning", "lease-lapsing", &parts, |facts| facts.store.lapsing = Ok(many(vec![lease])));
}

#[test]
fn a_catalog_that_is_wrong_or_not_compared() {
    says("warning", "catalog-drift", &["with 1 key", "| MIROIR.AUDIT miroir 0 COUNT 1000 REPAIR"], |facts| {
        facts.traffic.counted = Ok(Counters { drift: 1, ..Counters::default() });
    });
    says("note", "catalog-drift", &["| CONFIG SET miroir.audit-budget-us 500"], |facts| {
        facts.store.is_audited = false;
    });
}

#[test]
fn namespaces_in_a_cluster() {
    let spread = |in_cluster, is_tagged, need, free| {
        move |facts: &mut Facts| facts.store.spread = Ok(Spread { in_cluster, is_tagged, need, free })
    };
    says("warning", "hash-tag", &["1 key here needs one", "| {miroir} as"], spread(true, false, 1, 9));
    says("note", "hash-tag", &["CROSSSLOT"], spread(true, false, 0, 0));
    // What needs no tag may spread over all masters.
    silent(spread(true, false, 0, 1));
    silent(spread(true, true, 9, 0));
    silent(spread(false, false, 9, 0));
}

#[test]
fn what_cannot_be_looked_at_says_so_and_nothing_else_is_lost() {
    let nothing = || Err::<i64, String>("no CONFIG".to_owned());
    let (findings, words) = found(|facts| {
        facts.clients.latency = nothing();
        facts.clients.backlog = nothing();
        facts.memory.weight = Err("TRYAGAIN".to_owned());
        facts.memory.policy = Ok("noeviction".to_owned());
    });
    let expected = [
        ("warning", "maxmemory-policy"),
        ("note", "maxmemory"),
        ("note", "tcp-backlog"),
        ("note", "latency-monitor"),
    ];
    assert_eq!(findings, expected);
    assert!(words.contains("could not look: no CONFIG | CONFIG GET tcp-backlog"), "{words}");
    // Without an AOF it matters whether there are snapshots; with one it does not.
    silent(|facts| facts.safety.snapshots = Err("no CONFIG".to_owned()));
}

#[test]
fn every_check_has_a_name_of_its_own_and_stands_in_the_docs() {
    let page = include_str!("../../../docs/doctor.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .filter(|name| !name.contains(' '))
        .collect();
    let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(documented, names);
}
