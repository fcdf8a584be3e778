//! Many clients at once: nothing is lost, and no moment shows half a change.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::Value;
use support::{Client, Server};

const THREADS: usize = 8;

/// Runs `work` in eight threads, each with a connection of its own and its number. Meanwhile `check` runs over and
/// over, on a ninth connection, and once more when all are done. Answers what each thread answered.
fn hammer<T: Send>(
    server: &Server,
    work: impl Fn(&mut Client, usize) -> T + Sync,
    check: impl Fn(&mut Client),
) -> Vec<T> {
    let running = AtomicUsize::new(THREADS);
    let started = std::sync::Barrier::new(THREADS + 1);
    /// Counts a thread out, also when it panics: otherwise the checker would wait for it for ever.
    struct Leave<'a>(&'a AtomicUsize);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let mut client = server.client();
                let (work, running, started) = (&work, &running, &started);
                scope.spawn(move || {
                    let _leave = Leave(running);
                    started.wait();
                    work(&mut client, number)
                })
            })
            .collect();
        let mut checker = server.client();
        started.wait();
        while running.load(Ordering::SeqCst) > 0 {
            check(&mut checker);
        }
        check(&mut checker);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn script(client: &mut Client, text: &str) -> String {
    client.call(&["EVAL", text, "0"])
}

#[test]
fn no_entry_of_a_node_is_lost() {
    const EACH: usize = 60;
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:t index_uid movies"), "1");
    hammer(
        &server,
        |client, number| {
            for turn in 0..EACH {
                let node = format!("node-{number}-{turn}");
                let line = match turn % 3 {
                    0 => format!("MIROIR.TASK.NODE miroir:tasks:t {node} UID {turn}"),
                    1 => format!("MIROIR.TASK.NODE miroir:tasks:t {node} ERROR 'failed {turn}'"),
                    _ => format!("MIROIR.TASK.NODE miroir:tasks:t {node} UID {turn} ERROR 'failed {turn}'"),
                };
                assert_eq!(client.ask(&line), "1");
            }
        },
        |_| {},
    );
    let tasks: BTreeMap<String, usize> =
        serde_json::from_str(&client.ask("HGET miroir:tasks:t node_tasks")).unwrap();
    let errors: BTreeMap<String, String> =
        serde_json::from_str(&client.ask("HGET miroir:tasks:t node_errors")).unwrap();
    let (mut expected_tasks, mut expected_errors) = (BTreeMap::new(), BTreeMap::new());
    for (number, turn) in (0..THREADS).flat_map(|number| (0..EACH).map(move |turn| (number, turn))) {
        let node = format!("node-{number}-{turn}");
        if turn % 3 != 1 {
            expected_tasks.insert(node.clone(), turn);
        }
        if turn % 3 != 0 {
            expected_errors.insert(node, format!("failed {turn}"));
        }
    }
    assert_eq!(tasks, expected_tasks);
    assert_eq!(errors, expected_errors);
}

/// The uids of an alias's history, oldest first, and then the current one.
fn life_of(client: &mut Client, key: &str) -> Vec<String> {
    let history: Vec<serde_json::Value> =
        serde_json::from_str(&client.ask(&format!("HGET {key} history"))).unwrap();
    let mut uids: Vec<_> = history.iter().map(|flip| flip["uid"].as_str().unwrap().to_owned()).collect();
    uids.push(client.ask(&format!("HGET {key} current_uid")));
    uids
}

#[test]
fn no_flip_is_lost_and_versions_have_no_gaps() {
    const EACH: usize = 40;
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:aliases:a kind single current_uid start");
    let flips = hammer(
        &server,
        |client, number| {
            (0..EACH)
                .map(|turn| {
                    let uid = format!("uid-{number}-{turn}");
                    (client.integer(&format!("MIROIR.ALIAS.FLIP miroir:aliases:a {uid} RETAIN 10000")), uid)
                })
                .collect::<Vec<_>>()
        },
        |_| {},
    );
    let by_version: BTreeMap<i64, String> = flips.into_iter().flatten().collect();
    let last = 1 + (THREADS * EACH) as i64;
    assert_eq!(by_version.keys().copied().collect::<Vec<_>>(), (2..=last).collect::<Vec<_>>());
    let expected: Vec<_> = std::iter::once("start".to_owned()).chain(by_version.into_values()).collect();
    assert_eq!(life_of(&mut client, "miroir:aliases:a"), expected);
    assert_eq!(client.integer("HGET miroir:aliases:a version"), last);
}

#[test]
fn of_all_flips_of_one_version_one_is_done() {
    const EACH: usize = 25;
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:aliases:a kind single current_uid start");
    let flips = hammer(
        &server,
        |client, number| {
            let mut done = Vec::new();
            while done.len() < EACH {
                let version = client.integer("HGET miroir:aliases:a version");
                let uid = format!("uid-{number}-{}", done.len());
                let line =
                    format!("MIROIR.ALIAS.FLIP miroir:aliases:a {uid} RETAIN 10000 IFVERSION {version}");
                match client.integer(&line) {
                    0 => {}
                    new => {
                        assert_eq!(new, version + 1, "the flip of version {version}");
                        done.push((new, uid));
                    }
                }
            }
            done
        },
        |_| {},
    );
    let by_version: BTreeMap<i64, String> = flips.into_iter().flatten().collect();
    assert_eq!(by_version.len(), THREADS * EACH, "two flips got the same version");
    let expected: Vec<_> = std::iter::once("start".to_owned()).chain(by_version.into_values()).collect();
    assert_eq!(life_of(&mut client, "miroir:aliases:a"), expected);
}

#[test]
fn the_byte_counter_is_exact_at_every_moment() {
    const KEY: &str = "miroir:cdc:overflow:s";
    let server = Server::start();
    let full = AtomicBool::new(false);
    hammer(
        &server,
        |client, number| {
            let mut random = fastrand::Rng::with_seed(number as u64);
            for turn in 0..150 {
                let event = "x".repeat(random.usize(0..60));
                let line = match random.usize(0..8) {
                    0..4 => format!("MIROIR.CDC.PUSH {KEY} BUDGET 500 '{event}' {number}-{turn}"),
                    4 => format!("MIROIR.CDC.PUSH {KEY} BUDGET 400 POLICY reject '{event}'"),
                    5 => format!("MIROIR.CDC.POP {KEY} COUNT 3 MAXBYTES 70"),
                    6 => {
                        let peeked = client.ask(&format!("MIROIR.CDC.PEEK {KEY}"));
                        let seq = peeked.trim_start_matches('[').split(',').next().unwrap_or_default();
                        format!("MIROIR.CDC.ACK {KEY} {}", seq.parse().unwrap_or(0))
                    }
                    _ => format!("MIROIR.CDC.TRIM {KEY} BUDGET {}", random.usize(200..500)),
                };
                let answer = client.ask(&line);
                assert!(!answer.contains("ERR"), "{line}: {answer}");
            }
        },
        |client| {
            for line in [
                "MULTI",
                "GET miroir:cdc:overflow_bytes:s",
                "LRANGE miroir:cdc:overflow:s 0 -1",
                "MIROIR.CDC.STAT miroir:cdc:overflow:s",
            ] {
                client.ask(line);
            }
            let Value::Array(parts) = client.raw(&["EXEC"]).unwrap() else { panic!("EXEC") };
            let [counter, Value::Array(events), Value::Array(stat)] = &parts[..] else { panic!("{parts:?}") };
            let counter: usize =
                redis::from_redis_value::<Option<usize>>(counter.clone()).unwrap().unwrap_or(0);
            let length =
                |event: &Value| if let Value::BulkString(bytes) = event { bytes.len() } else { panic!() };
            let real = events.iter().map(length).sum::<usize>();
            assert_eq!(counter, real);
            assert!(real <= 500, "{real} bytes are above every budget");
            assert_eq!(stat[1], Value::Int(events.len() as i64), "length");
            assert_eq!(stat[3], Value::Int(real as i64), "bytes");
            full.fetch_or(real > 300, Ordering::SeqCst);
        },
    );
    assert!(full.into_inner(), "the checker never saw a buffer that was worth checking");
}

#[test]
fn every_event_is_delivered_once() {
    const EACH: usize = 120;
    let server = Server::start();
    let popped = hammer(
        &server,
        |client, number| {
            let mut mine = Vec::new();
            for turn in 0..EACH {
                client.ask(&format!("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 1000000 {number}-{turn}"));
                let got = client.ask("MIROIR.CDC.POP miroir:cdc:overflow:s");
                mine.push(got.trim_matches(['[', ']']).to_owned());
            }
            mine
        },
        |_| {},
    );
    let all: BTreeSet<String> = popped.into_iter().flatten().collect();
    let expected: BTreeSet<String> =
        (0..THREADS).flat_map(|number| (0..EACH).map(move |turn| format!("{number}-{turn}"))).collect();
    assert_eq!(
        all, expected,
        "each POP follows a PUSH, so none comes back empty and none gets another's event"
    );
    let mut client = server.client();
    assert_eq!(client.ask("GET miroir:cdc:overflow_bytes:s"), "0");
    let stat = client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:s");
    assert!(stat.contains(&format!("last_seq, {}", THREADS * EACH)), "{stat}");
}

/// Says how the index of a table differs from its rows at one moment; empty when it does not.
const ROWS_AGAINST_INDEX: &str = "
    local function differ(set, rows, name)
        local listed, count = redis.call('SMEMBERS', set), 0
        for _ in pairs(rows) do count = count + 1 end
        for _, id in ipairs(listed) do
            if not rows[id] then return name .. ' lists ' .. id .. ', which is not there' end
        end
        if #listed ~= count then return name .. ' lists ' .. #listed .. ' of ' .. count end
        return ''
    end
    local prefix = 'miroir:' .. TABLE .. ':'
    local all, queued = {}, {}
    for _, key in ipairs(redis.call('KEYS', prefix .. '[^_]*')) do
        local id = string.sub(key, #prefix + 1)
        all[id] = true
        if redis.call('HGET', key, 'state') == 'queued' then queued[id] = true end
    end
    local found = differ(prefix .. '_index', all, '_index')
    if TABLE == 'jobs' then found = found .. differ(prefix .. '_queued', queued, '_queued') end
    return found
";

fn assert_index_is_right(client: &mut Client, table: &str) {
    let difference = script(client, &format!("local TABLE = '{table}' {ROWS_AGAINST_INDEX}"));
    assert_eq!(difference, "", "{table}");
}

#[test]
fn the_checker_of_indexes_sees_a_difference() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:jobs:a type x");
    assert_index_is_right(&mut client, "jobs");
    let text = format!("local TABLE = 'jobs' {ROWS_AGAINST_INDEX}");
    client.ask("SREM miroir:jobs:_queued a");
    assert_eq!(script(&mut client, &text), "_queued lists 0 of 1");
    client.ask("SADD miroir:jobs:_index b");
    assert!(script(&mut client, &text).starts_with("_index lists b, which is not there"));
}

#[test]
fn the_index_is_the_set_of_rows_at_every_moment() {
    let server = Server::start();
    let tables = [("tasks", "index_uid movies"), ("aliases", "kind single current_uid movies")];
    hammer(
        &server,
        |client, number| {
            let mut random = fastrand::Rng::with_seed(number as u64);
            for _ in 0..200 {
                let (table, fields) = tables[random.usize(0..tables.len())];
                let id = random.usize(0..12);
                let other = random.usize(0..12);
                let key = format!("miroir:{table}:{id}");
                let line = match random.usize(0..6) {
                    0 | 1 => format!("MIROIR.PUT {key} {fields}"),
                    2 => format!("MIROIR.PUT {key} NX {fields}"),
                    3 => format!("MIROIR.PUT {key} XX {fields}"),
                    4 => format!("MIROIR.DEL {key}"),
                    _ => format!("MIROIR.DEL {key} miroir:{table}:{other}"),
                };
                let answer = client.ask(&line);
                assert!(["0", "1", "2"].contains(&answer.as_str()), "{line}: {answer}");
            }
        },
        |client| tables.iter().for_each(|(table, _)| assert_index_is_right(client, table)),
    );
}

#[test]
fn the_queue_of_jobs_is_right_at_every_moment() {
    let server = Server::start();
    let created = hammer(
        &server,
        |client, number| {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut created = 0;
            for _ in 0..200 {
                let id = random.usize(0..12);
                let state = ["queued", "in_progress", "completed", "failed"][random.usize(0..4)];
                let line = match random.usize(0..4) {
                    0 => format!("MIROIR.DEL miroir:jobs:{id}"),
                    1 => format!("MIROIR.PUT miroir:jobs:{id} type x"),
                    2 => format!("MIROIR.PUT miroir:jobs:{id} NX type x"),
                    _ => format!("MIROIR.PUT miroir:jobs:{id} type x state {state}"),
                };
                // The contract leaves open whether a job may be put in another state than queued: then it is an ERR.
                created += usize::from(client.ask(&line) == "1");
            }
            created
        },
        |client| assert_index_is_right(client, "jobs"),
    );
    assert!(created.iter().sum::<usize>() > THREADS, "hardly a job came into being");
}

#[test]
fn one_holds_the_lease_at_a_time_and_tokens_only_rise() {
    const KEY: &str = "miroir:lease:leader";
    let server = Server::start();
    let holders = AtomicUsize::new(0);
    let tokens = std::sync::Mutex::new(Vec::new());
    hammer(
        &server,
        |client, number| {
            for _ in 0..150 {
                let answer = client.ask(&format!("MIROIR.LEASE.ACQUIRE {KEY} pod-{number} 600000"));
                let Some(token) = answer.strip_prefix(&format!("[1, pod-{number}, 600000, ")) else {
                    assert!(answer.starts_with("[0, pod-"), "{answer}");
                    assert!(
                        !answer.starts_with(&format!("[0, pod-{number},")),
                        "refused by itself: {answer}"
                    );
                    continue;
                };
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold the lease");
                let token = token.trim_end_matches(']');
                tokens.lock().unwrap().push(token.parse::<i64>().unwrap());
                let renewed =
                    client.ask(&format!("MIROIR.LEASE.RENEW {KEY} pod-{number} 600000 TOKEN {token}"));
                assert_eq!(renewed, format!("[1, pod-{number}, 600000, {token}]"));
                holders.fetch_sub(1, Ordering::SeqCst);
                assert_eq!(
                    client.ask(&format!("MIROIR.LEASE.RELEASE {KEY} pod-{number} TOKEN {token}")),
                    "1"
                );
            }
        },
        |client| {
            for line in ["MULTI", "GET miroir:lease:leader", "MIROIR.LEASE.GET miroir:lease:leader"] {
                client.ask(line);
            }
            let answer = client.ask("EXEC");
            let (raw, told) = answer[1..].split_once(", ").unwrap();
            assert!(told.starts_with(raw) || told.starts_with(&format!("[{raw}, ")), "{answer}");
        },
    );
    let tokens = tokens.into_inner().unwrap();
    assert_eq!(
        tokens,
        (1..=tokens.len() as i64).collect::<Vec<_>>(),
        "in the order of the tenures, without gaps"
    );
    assert!(tokens.len() >= THREADS, "hardly any tenure: {}", tokens.len());
}
