//! Idempotency: a request that comes twice is done once, and one that is being done is waited for.

mod support;

use std::collections::BTreeMap;

use support::clock::{timed, wait_until};
use support::effects::{
    assert_native_effects, assert_refused_without_memory, assert_replica_reads_and_refuses, transaction,
};
use support::{assert_refused, cluster, Client, Server};

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const OTHER: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const KEY: &str = "miroir:idemp:k";
const DAY: i64 = 86_400_000;

/// Sends MIROIR.IDEMP.<line>, where SHA and OTHER stand for two hashes.
fn ask(client: &mut Client, line: &str) -> String {
    client.ask(&format!("MIROIR.IDEMP.{}", line.replace("SHA", SHA).replace("OTHER", OTHER)))
}

/// Asserts that a command gives the row a life of so many ms, and that field and TTL say the same.
fn assert_life(client: &mut Client, line: &str, expected: &str, life: i64) {
    let (answer, then) = timed(client, |client| ask(client, line));
    assert_eq!(answer, expected, "{line}");
    let end = client.integer(&format!("PEXPIRETIME {KEY}"));
    assert!(then.contains(&(end - life)), "{line}: {end} is not {life} ms from {then:?}");
    assert_eq!(client.integer(&format!("HGET {KEY} expires_at")), end, "{line}");
}

/// Asserts that a command is answered without a write.
fn assert_only_answers(client: &mut Client, line: &str, expected: &str) {
    let before = client.dump();
    assert_eq!(ask(client, line), expected, "{line}");
    assert_eq!(client.dump(), before, "{line}");
}

/// The remaining ms in `[inflight, task, ms]`.
fn inflight(client: &mut Client, line: &str, task: &str) -> i64 {
    let before = client.dump();
    let answer = ask(client, line);
    assert_eq!(client.dump(), before, "{line}");
    let middle = answer.strip_prefix(&format!("[inflight, {task}, ")).and_then(|rest| rest.strip_suffix(']'));
    middle.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("{line}: {answer}"))
}

#[test]
fn the_first_request_is_new_and_its_repetitions_are_not() {
    let server = Server::start();
    let (mut client, mut modern) = (server.client(), server.client_resp3());
    assert_life(&mut client, "begin miroir:idemp:k SHA t1 px 600000", "[new, t1]", 600_000);
    client.ask("DEL miroir:idemp:k");
    assert_life(&mut client, "BEGIN miroir:idemp:k SHA t1", "[new, t1]", DAY);
    let row: BTreeMap<String, String> = client.read("HGETALL miroir:idemp:k");
    let mut fields: Vec<&str> = row.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["body_sha256", "expires_at", "key", "miroir_task_id"], "and no state");
    assert_eq!((row["key"].as_str(), row["body_sha256"].as_str()), ("k", SHA));
    assert_eq!(row["miroir_task_id"], "t1");

    for (line, expected) in [
        ("BEGIN miroir:idemp:k SHA t2", "[replay, t1]"),
        ("BEGIN miroir:idemp:k SHA t1", "[replay, t1]"),
        ("BEGIN miroir:idemp:k SHA t2 PX 5 LOCK 5", "[replay, t1]"),
        ("BEGIN miroir:idemp:k OTHER t2", "[mismatch, t1]"),
        ("BEGIN miroir:idemp:k OTHER t1 LOCK 5", "[mismatch, t1]"),
    ] {
        assert_only_answers(&mut client, line, expected);
        assert_eq!(ask(&mut modern, line), expected, "{line}");
    }
    assert_eq!(ask(&mut modern, "BEGIN miroir:idemp:other OTHER t2"), "[new, t2]");
    assert_eq!(client.ask("MIROIR.COUNT miroir:idemp"), "2");
}

#[test]
fn hashes_are_compared_without_regard_to_case() {
    let server = Server::start();
    let mut client = server.client();
    let upper = SHA.to_uppercase();
    assert_eq!(ask(&mut client, &format!("BEGIN miroir:idemp:k {upper} t1")), "[new, t1]");
    assert_only_answers(&mut client, "BEGIN miroir:idemp:k SHA t2", "[replay, t1]");
    client.ask(&format!(
        "HSET miroir:idemp:raw key raw body_sha256 {SHA} miroir_task_id t3 expires_at 4102444800000"
    ));
    assert_only_answers(&mut client, &format!("BEGIN miroir:idemp:raw {upper} t4"), "[replay, t3]");
}

#[test]
fn what_has_run_out_is_as_if_it_had_never_been() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    for options in ["PX 1", "LOCK 1", "LOCK 1 PX 600000"] {
        let (_, then) =
            timed(&mut client, |client| ask(client, &format!("BEGIN miroir:idemp:k SHA t1 {options}")));
        wait_until(&mut client, then.end() + 1);
        for line in ["COMPLETE miroir:idemp:k t1", "ABORT miroir:idemp:k t1"] {
            assert_eq!(ask(&mut client, line), "-2", "{options}: {line}");
        }
        assert_eq!(ask(&mut client, "BEGIN miroir:idemp:k OTHER t2"), "[new, t2]", "{options}");
        assert_eq!(
            client.ask("HMGET miroir:idemp:k body_sha256 state"),
            format!("[{OTHER}, nil]"),
            "{options}"
        );
        client.ask("DEL miroir:idemp:k");
    }
}

#[test]
fn a_request_that_is_being_done_is_in_flight_until_it_is_completed() {
    let server = Server::start();
    let mut client = server.client();
    assert_life(&mut client, "BEGIN miroir:idemp:k SHA t1 LOCK 60000", "[new, t1]", 60_000);
    assert_eq!(client.ask("HGET miroir:idemp:k state"), "inflight");
    for line in ["BEGIN miroir:idemp:k SHA t2", "BEGIN miroir:idemp:k SHA t1 LOCK 900000 PX 900000"] {
        let (left, then) = timed(&mut client, |client| inflight(client, line, "t1"));
        let end = client.integer("PEXPIRETIME miroir:idemp:k");
        assert!(then.contains(&(end - left)), "{line}: {left} ms to {end}");
    }
    // That it is another request matters more than that one is in flight.
    assert_only_answers(&mut client, "BEGIN miroir:idemp:k OTHER t2", "[mismatch, t1]");

    assert_only_answers(&mut client, "COMPLETE miroir:idemp:k t2", "0");
    assert_only_answers(&mut client, "COMPLETE miroir:idemp:k t2 PX 5", "0");
    assert_only_answers(&mut client, "COMPLETE miroir:idemp:none t1", "-2");
    assert_life(&mut client, "COMPLETE miroir:idemp:k t1", "1", DAY);
    assert_eq!(client.ask("HGET miroir:idemp:k state"), "completed");
    assert_only_answers(&mut client, "BEGIN miroir:idemp:k SHA t2 LOCK 5", "[replay, t1]");
    assert_only_answers(&mut client, "BEGIN miroir:idemp:k OTHER t2", "[mismatch, t1]");
}

#[test]
fn a_completed_request_lives_as_long_as_was_said_last() {
    let server = Server::start();
    let mut client = server.client();
    for (begin, complete, life) in [
        ("LOCK 60000 PX 600000", "", 600_000),
        ("PX 600000 LOCK 60000", "", 600_000),
        ("LOCK 60000 PX 600000", "PX 700000", 700_000),
        ("LOCK 60000", "px 700000", 700_000),
        ("lock 60000", "", DAY),
        ("LOCK 60000 PX 1", "PX 700000", 700_000),
        ("LOCK 600000 PX 100000", "", 100_000),
    ] {
        client.ask("DEL miroir:idemp:k");
        let lock = if begin.to_lowercase().contains("lock 600000") { 600_000 } else { 60_000 };
        assert_life(&mut client, &format!("BEGIN miroir:idemp:k SHA t1 {begin}"), "[new, t1]", lock);
        assert_life(&mut client, &format!("COMPLETE miroir:idemp:k t1 {complete}"), "1", life);
        assert_eq!(client.ask("HGET miroir:idemp:k state"), "completed");
        let row: BTreeMap<String, String> = client.read("HGETALL miroir:idemp:k");
        assert_eq!(row.len(), 5, "{begin}: only the table's fields are left: {row:?}");
    }
    // It is completed already: its life changes only if that is asked for.
    assert_only_answers(&mut client, "COMPLETE miroir:idemp:k t1", "1");
    assert_life(&mut client, "COMPLETE miroir:idemp:k t1 PX 300000", "1", 300_000);
    assert_only_answers(&mut client, "COMPLETE miroir:idemp:k t2 PX 5", "0");
    // The same for one that was never locked.
    ask(&mut client, "ABORT miroir:idemp:k t1");
    assert_life(&mut client, "BEGIN miroir:idemp:k SHA t1 PX 600000", "[new, t1]", 600_000);
    let end = client.ask("PEXPIRETIME miroir:idemp:k");
    assert_eq!(ask(&mut client, "COMPLETE miroir:idemp:k t1"), "1");
    assert_eq!(client.ask("PEXPIRETIME miroir:idemp:k"), end);
    assert_eq!(client.ask("HGET miroir:idemp:k expires_at"), end);
    assert_life(&mut client, "COMPLETE miroir:idemp:k t1 PX 700000", "1", 700_000);
}

#[test]
fn an_aborted_request_may_come_again() {
    let server = Server::start();
    let mut client = server.client();
    assert_only_answers(&mut client, "ABORT miroir:idemp:k t1", "-2");
    for prepare in ["BEGIN miroir:idemp:k SHA t1", "BEGIN miroir:idemp:k SHA t1 LOCK 60000"] {
        for complete in [false, true] {
            assert_eq!(ask(&mut client, prepare), "[new, t1]");
            if complete {
                assert_eq!(ask(&mut client, "COMPLETE miroir:idemp:k t1"), "1");
            }
            assert_only_answers(&mut client, "ABORT miroir:idemp:k t2", "0");
            assert_only_answers(&mut client, "ABORT miroir:idemp:k T1", "0");
            assert_eq!(ask(&mut client, "ABORT miroir:idemp:k t1"), "1");
            assert_eq!(client.ask("EXISTS miroir:idemp:k"), "0");
            assert_only_answers(&mut client, "ABORT miroir:idemp:k t1", "-2");
        }
    }
    assert_eq!(ask(&mut client, "BEGIN miroir:idemp:k OTHER t2"), "[new, t2]");
    assert_eq!(client.ask("MIROIR.COUNT miroir:idemp"), "1");
}

#[test]
fn of_requests_side_by_side_exactly_one_is_new() {
    let server = Server::start();
    let mut client = server.client();
    for round in 0..20 {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let mut client = server.client();
                std::thread::spawn(move || {
                    ask(&mut client, &format!("BEGIN miroir:idemp:{round} SHA task-{worker} LOCK 60000"))
                })
            })
            .collect();
        let answers: Vec<String> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        let won: Vec<_> = answers.iter().filter(|answer| answer.starts_with("[new, ")).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let stored = client.ask(&format!("HGET miroir:idemp:{round} miroir_task_id"));
        assert!(answers.iter().all(|answer| answer.contains(&stored)), "{stored}: {answers:?}");
    }
}

#[test]
fn rows_of_other_clients_are_honoured_and_stubs_are_no_rows() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(&format!("MIROIR.PUT miroir:idemp:put body_sha256 {SHA} miroir_task_id t1 state whatever"));
    client.ask(&format!("HSET miroir:idemp:raw body_sha256 {SHA} miroir_task_id t1"));
    for key in ["put", "raw"] {
        assert_only_answers(&mut client, &format!("BEGIN miroir:idemp:{key} SHA t2"), "[replay, t1]");
        assert_only_answers(&mut client, &format!("BEGIN miroir:idemp:{key} OTHER t2"), "[mismatch, t1]");
        assert_only_answers(&mut client, &format!("COMPLETE miroir:idemp:{key} t2"), "0");
        assert_eq!(ask(&mut client, &format!("ABORT miroir:idemp:{key} t1")), "1");
    }
    client.ask("HSET miroir:idemp:stub state inflight");
    assert_only_answers(&mut client, "COMPLETE miroir:idemp:stub t1", "-2");
    assert_only_answers(&mut client, "ABORT miroir:idemp:stub t1", "-2");
    assert_eq!(ask(&mut client, "BEGIN miroir:idemp:stub SHA t1"), "[new, t1]");
    assert_eq!(client.ask("HGET miroir:idemp:stub state"), "nil", "the whole row is written");
    // A hash that is none matches nothing.
    client.ask("HSET miroir:idemp:spoilt body_sha256 abc miroir_task_id t1");
    assert_only_answers(&mut client, "BEGIN miroir:idemp:spoilt SHA t2", "[mismatch, t1]");
}

#[test]
fn ids_and_tasks_of_any_text() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "k".repeat(512);
    for name in ["a:b:c", "a b", "é…", "LOCK", "FENCE", longest.as_str()] {
        let key = format!("miroir:idemp:{name}");
        assert_eq!(
            client.call(&["MIROIR.IDEMP.BEGIN", &key, SHA, name, "LOCK", "60000"]),
            format!("[new, {name}]")
        );
        assert_eq!(client.call(&["HMGET", &key, "key", "miroir_task_id"]), format!("[{name}, {name}]"));
        assert_eq!(client.call(&["MIROIR.IDEMP.COMPLETE", &key, name]), "1");
        assert_eq!(client.call(&["MIROIR.IDEMP.ABORT", &key, name]), "1");
    }
    assert!(client.dump().is_empty());
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    ask(&mut client, "BEGIN miroir:idemp:k SHA t1");
    ask(&mut client, "BEGIN miroir:idemp:flying SHA t1 LOCK 600000");
    client.ask("SET miroir:idemp:text x");
    let long = "x".repeat(513);
    let mut cases: Vec<(String, &str)> = Vec::new();
    for id in ["k", "flying", "new"] {
        let mut case = |line: String, expected| cases.push((format!("MIROIR.IDEMP.{line}"), expected));
        let key = format!("miroir:idemp:{id}");
        for hash in
            ["abc", "''", &SHA[1..], &format!("{SHA}0"), &SHA.replace('9', "g"), &SHA.replace('9', "é")]
        {
            case(format!("BEGIN {key} {hash} t1"), "body_sha256");
        }
        for task in ["''", "'a\nb'", "'a\0b'", &long] {
            case(format!("BEGIN {key} {SHA} {task}"), "task_id");
            case(format!("COMPLETE {key} {task}"), "task_id");
            case(format!("ABORT {key} {task}"), "task_id");
        }
        for life in ["0", "-1", "1.5", "soon", "''", "9223372036854775807", "9223372036854775808", "01"] {
            case(format!("BEGIN {key} {SHA} t1 PX {life}"), "'PX'");
            case(format!("BEGIN {key} {SHA} t1 LOCK {life}"), "'LOCK'");
            case(format!("BEGIN {key} {SHA} t1 LOCK 5000 PX {life}"), "'PX'");
            case(format!("COMPLETE {key} t1 PX {life}"), "'PX'");
        }
        for option in ["PX", "LOCK"] {
            case(format!("BEGIN {key} {SHA} t1 {option}"), option);
            case(format!("BEGIN {key} {SHA} t1 {option} 5 {option} 5"), option);
        }
        case(format!("COMPLETE {key} t1 PX"), "PX");
        case(format!("COMPLETE {key} t1 PX 5 PX 5"), "PX");
        case(format!("COMPLETE {key} t1 LOCK 5"), "'LOCK'");
        case(format!("ABORT {key} t1 PX 5"), "'PX'");
        case(format!("ABORT {key} t1 more"), "'more'");
        case(format!("BEGIN {key} {SHA} t1 EX 5"), "'EX'");
        case(format!("BEGIN {key} {SHA}"), "wrong number of arguments");
        case(format!("COMPLETE {key}"), "wrong number of arguments");
        case(format!("ABORT {key}"), "wrong number of arguments");
    }
    for key in ["miroir:idemp", "miroir:idemp:", "miroir:idemp:_x", "miroir:tasks:a", "idemp:a", "''"] {
        cases.push((format!("MIROIR.IDEMP.BEGIN {key} {SHA} t1"), "key"));
        cases.push((format!("MIROIR.IDEMP.COMPLETE {key} t1"), "key"));
        cases.push((format!("MIROIR.IDEMP.ABORT {key} t1"), "key"));
    }
    cases.push((format!("MIROIR.IDEMP.BEGIN miroir:idemp:text {SHA} t1"), "WRONGTYPE"));
    cases.push(("MIROIR.IDEMP.COMPLETE miroir:idemp:text t1".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.IDEMP.ABORT miroir:idemp:text t1".to_owned(), "WRONGTYPE"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    for key in [&b"miroir:idemp:a\0b"[..], b"miroir:idemp:a\nb", b"miroir:idemp:\xff"] {
        let answer = client.call(&[&b"MIROIR.IDEMP.BEGIN"[..], key, SHA.as_bytes(), b"t1"]);
        assert!(answer.starts_with("ERR key "), "{answer}");
    }
    let answer = client.call(&[&b"MIROIR.IDEMP.BEGIN"[..], KEY.as_bytes(), SHA.as_bytes(), b"\xff"]);
    assert!(answer.contains("task_id"), "{answer}");
}

#[test]
fn transactions_and_scripts_begin_and_complete_too() {
    let server = Server::start();
    let mut client = server.client();
    let begin = format!("MIROIR.IDEMP.BEGIN miroir:idemp:k {SHA} t1");
    let lines =
        [&*begin, &*begin, "MIROIR.IDEMP.COMPLETE miroir:idemp:k t1", "MIROIR.IDEMP.ABORT miroir:idemp:k t1"];
    assert_eq!(transaction(&mut client, &lines), "[[new, t1], [replay, t1], 1, 1]");
    let script = "redis.call('MIROIR.IDEMP.BEGIN', KEYS[1], ARGV[1], 't1', 'LOCK', 60000) \
                  return redis.call('MIROIR.IDEMP.BEGIN', KEYS[1], ARGV[1], 't2')";
    let answer = client.call(&["EVAL", script, "1", KEY, SHA]);
    assert!(answer.starts_with("[inflight, t1, "), "{answer}");
}

#[test]
fn without_memory_nothing_begins() {
    let server = Server::start();
    let mut client = server.client();
    ask(&mut client, "BEGIN miroir:idemp:k SHA t1 LOCK 600000");
    assert_refused_without_memory(&mut client, &[&format!("MIROIR.IDEMP.BEGIN miroir:idemp:new {SHA} t1")]);
    client.ask("CONFIG SET maxmemory 1");
    assert_eq!(ask(&mut client, "ABORT miroir:idemp:k t1"), "1", "what takes away is let through");
}

#[test]
fn replicas_and_restarts_hold_the_same_rows() {
    let lines = [
        "BEGIN miroir:idemp:plain SHA t1",
        "BEGIN miroir:idemp:px SHA t1 PX 600000",
        "BEGIN miroir:idemp:locked SHA t1 LOCK 600000 PX 700000",
        "BEGIN miroir:idemp:done SHA t1 LOCK 600000 PX 700000",
        "COMPLETE miroir:idemp:done t1",
        "BEGIN miroir:idemp:longer SHA t1",
        "COMPLETE miroir:idemp:longer t1 PX 800000",
        "BEGIN miroir:idemp:aborted SHA t1",
        "ABORT miroir:idemp:aborted t1",
    ];
    let lines = lines.map(|line| format!("MIROIR.IDEMP.{}", line.replace("SHA", SHA)));
    assert_native_effects(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn replicas_show_the_rows_and_begin_nothing() {
    let server = Server::start();
    let mut client = server.client();
    ask(&mut client, "BEGIN miroir:idemp:k SHA t1 LOCK 600000");
    assert_replica_reads_and_refuses(
        &server,
        &["MIROIR.GET miroir:idemp:k", "MIROIR.COUNT miroir:idemp"],
        &[
            &format!("MIROIR.IDEMP.BEGIN miroir:idemp:k {SHA} t1"),
            "MIROIR.IDEMP.COMPLETE miroir:idemp:k t1",
            "MIROIR.IDEMP.ABORT miroir:idemp:k t1",
        ],
    );
}

#[test]
fn in_a_cluster_a_plain_namespace_will_do() {
    let mut nodes = cluster::masters(1);
    let client = &mut nodes[0].client;
    assert_eq!(ask(client, "BEGIN miroir:idemp:k SHA t1 LOCK 60000"), "[new, t1]");
    assert_eq!(ask(client, "COMPLETE miroir:idemp:k t1"), "1");
    assert_eq!(ask(client, "ABORT miroir:idemp:k t1"), "1");
}
