//! Canary runs: a history that is bounded in number and age.

mod support;

use support::{assert_refused, Client, Server};

const KEY: &str = "miroir:canary_runs:c1";

fn record(client: &mut Client, arguments: &str) -> String {
    client.ask(&format!("MIROIR.CANARY.RECORD {KEY} {arguments}"))
}

/// The times of the runs, newest first, as RUNS tells them.
fn times(client: &mut Client, options: &str) -> Vec<i64> {
    let answer = client.ask(&format!("MIROIR.CANARY.RUNS {KEY} {options}"));
    let parts = answer.split("ran_at, ").skip(1);
    parts.map(|part| part.split([',', ']']).next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_run_is_recorded_and_read_in_the_layout_of_the_contract() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.CANARY.RUNS miroir:canary_runs:c1"), "[]");
    assert_eq!(record(&mut client, "1000 pass 12"), "[1, 0]");
    let failed = r#"1001 fail 13 ASSERTIONS '[{"name":"hits > 0","got":"é"}]'"#;
    assert_eq!(record(&mut client, failed), "[2, 0]");
    assert_eq!(record(&mut client, "1002 error 0 assertions {}"), "[3, 0]");
    let runs = client.ask("MIROIR.CANARY.RUNS miroir:canary_runs:c1");
    assert_eq!(
        runs,
        "[[canary_id, c1, ran_at, 1002, status, error, latency_ms, 0, failed_assertions_json, {}], \
         [canary_id, c1, ran_at, 1001, status, fail, latency_ms, 13, failed_assertions_json, \
         [{\"name\":\"hits > 0\",\"got\":\"é\"}]], \
         [canary_id, c1, ran_at, 1000, status, pass, latency_ms, 12, failed_assertions_json, nil]]"
    );
    let mut modern = server.client_resp3();
    let runs = modern.ask("MIROIR.CANARY.RUNS miroir:canary_runs:c1 COUNT 1");
    assert!(runs.starts_with("[{canary_id: c1, ran_at: 1002, "), "{runs}");

    let raw = client.ask("ZREVRANGE miroir:canary_runs:c1 0 1 WITHSCORES");
    assert_eq!(
        raw,
        "[{\"canary_id\":\"c1\",\"ran_at\":1002,\"status\":\"error\",\"latency_ms\":0,\
         \"failed_assertions_json\":\"{}\"}, 1002, \
         {\"canary_id\":\"c1\",\"ran_at\":1001,\"status\":\"fail\",\"latency_ms\":13,\
         \"failed_assertions_json\":\"[{\\\"name\\\":\\\"hits > 0\\\",\\\"got\\\":\\\"é\\\"}]\"}, 1001]"
    );
    // A run without assertions: whatever stands for "none", it is no text, and no other name is there.
    let bare = client.ask("ZRANGE miroir:canary_runs:c1 0 0");
    let start = "[{\"canary_id\":\"c1\",\"ran_at\":1000,\"status\":\"pass\",\"latency_ms\":12";
    assert!(
        bare == format!("{start}}}]") || bare == format!("{start},\"failed_assertions_json\":null}}]"),
        "{bare}"
    );
    assert_eq!(client.ask("KEYS *"), "[miroir:canary_runs:c1]");
}

#[test]
fn the_same_time_replaces() {
    let server = Server::start();
    let mut client = server.client();
    for time in [1000, 2000, 3000] {
        record(&mut client, &format!("{time} pass 1 KEEP 3"));
    }
    assert_eq!(record(&mut client, "2000 fail 99 KEEP 3"), "[3, 0]");
    assert_eq!(record(&mut client, "2000 fail 99 KEEP 3"), "[3, 0]", "the retry");
    assert_eq!(times(&mut client, ""), [3000, 2000, 1000]);
    let replaced = client.ask("ZRANGEBYSCORE miroir:canary_runs:c1 2000 2000");
    assert!(replaced.contains("\"fail\"") && !replaced.contains("\"pass\""), "{replaced}");
    // Two entries of a raw client at one time are one run too many.
    client.ask("ZADD miroir:canary_runs:c1 3000 {}");
    assert_eq!(record(&mut client, "3000 error 5"), "[3, 0]");
    assert_eq!(client.ask("ZCARD miroir:canary_runs:c1"), "3");
}

#[test]
fn never_more_than_keep() {
    let server = Server::start();
    let mut client = server.client();
    for time in 1..=100 {
        assert_eq!(record(&mut client, &format!("{time} pass 1")), format!("[{time}, 0]"));
    }
    assert_eq!(record(&mut client, "101 pass 1"), "[100, 1]");
    assert_eq!(client.ask("ZRANGE miroir:canary_runs:c1 0 0 WITHSCORES").split(", ").last(), Some("2]"));

    // A run older than all in a full history has no place in it.
    let before = client.dump();
    assert!(record(&mut client, "1 fail 1").starts_with("[100, "));
    assert_eq!(client.dump(), before);
    // In the middle it has, and the oldest leaves.
    client.ask("ZREMRANGEBYSCORE miroir:canary_runs:c1 50 50");
    assert_eq!(record(&mut client, "1 pass 1"), "[100, 0]");
    assert_eq!(record(&mut client, "50 pass 1"), "[100, 1]");

    assert_eq!(record(&mut client, "102 pass 1 KEEP 5"), "[5, 96]");
    assert_eq!(times(&mut client, ""), [102, 101, 100, 99, 98]);
    assert_eq!(record(&mut client, "103 pass 1 KEEP 1"), "[1, 5]");
    assert_eq!(record(&mut client, "103 pass 2 KEEP 9223372036854775807"), "[1, 0]");
    // A raw client may overfill it; the next record mends that.
    for time in 1000..1150 {
        client.ask(&format!("ZADD miroir:canary_runs:c1 {time} raw-{time}"));
    }
    assert_eq!(record(&mut client, "2000 pass 1"), "[100, 52]");
}

#[test]
fn never_one_older_than_maxage() {
    let server = Server::start();
    let mut client = server.client();
    let now = client.server_ms();
    let ago = |seconds: i64| now - seconds * 1000;
    assert_eq!(record(&mut client, &format!("{} pass 1 MAXAGE 60000", ago(3600))), "[0, 1]");
    assert!(client.dump().is_empty(), "a run that is too old leaves nothing behind");
    for age in [7200, 3600, 1800, 600] {
        record(&mut client, &format!("{} pass 1", ago(age)));
    }
    // Five minutes to either side of each border leave room for a slow machine.
    assert_eq!(record(&mut client, &format!("{} pass 1 MAXAGE {}", ago(0), 3900 * 1000)), "[4, 1]");
    assert_eq!(record(&mut client, &format!("{} fail 1 MAXAGE {} KEEP 2", ago(0), 3900 * 1000)), "[2, 2]");
    assert_eq!(times(&mut client, ""), [ago(0), ago(600)]);
    // One that is held already goes too when it is recorded again and has become too old.
    assert_eq!(record(&mut client, &format!("{} pass 1 MAXAGE 300000", ago(600))), "[1, 1]");
    assert_eq!(times(&mut client, ""), [ago(0)]);
    assert_eq!(record(&mut client, &format!("{} pass 1 MAXAGE 9223372036854775807", 0)), "[2, 0]");
}

#[test]
fn runs_come_newest_first_within_count_and_since() {
    let server = Server::start();
    let mut client = server.client();
    for time in [30, 10, 50, 20, 40] {
        record(&mut client, &format!("{time} pass 1"));
    }
    let cases: &[(&str, &[i64])] = &[
        ("", &[50, 40, 30, 20, 10]),
        ("COUNT 2", &[50, 40]),
        ("COUNT 0", &[]),
        ("COUNT 9223372036854775807", &[50, 40, 30, 20, 10]),
        ("SINCE 30", &[50, 40, 30]),
        ("SINCE 31", &[50, 40]),
        ("SINCE 51", &[]),
        ("SINCE 0 COUNT 1", &[50]),
        ("since 20 count 3", &[50, 40, 30]),
        ("SINCE 9223372036854775807", &[]),
    ];
    for (options, expected) in cases {
        assert_eq!(times(&mut client, options), *expected, "{options}");
    }
}

#[test]
fn the_last_time_that_a_score_holds_exactly() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(record(&mut client, "9007199254740991 pass 1"), "[1, 0]");
    assert_eq!(record(&mut client, "9007199254740990 pass 1"), "[2, 0]");
    assert_eq!(record(&mut client, "9007199254740991 fail 1"), "[2, 0]");
    assert_eq!(times(&mut client, "SINCE 9007199254740991"), [9_007_199_254_740_991]);
    let script = "return redis.call('ZCOUNT', KEYS[1], '9007199254740991', '9007199254740991')";
    assert_eq!(client.call(&["EVAL", script, "1", KEY]), "1");
    assert_refused(
        &mut client,
        &[("MIROIR.CANARY.RECORD miroir:canary_runs:c1 9007199254740993 pass 1", "'ran_at'")],
    );
}

#[test]
fn runs_of_raw_clients_are_read_and_trimmed_like_the_modules_own() {
    let server = Server::start();
    let mut client = server.client();
    let member =
        r#"{"status":"fail","ran_at":500,"canary_id":"c1","failed_assertions_json":"[1]","latency_ms":7}"#;
    client.call(&["ZADD", KEY, "500", member]);
    let expected = "[[canary_id, c1, ran_at, 500, status, fail, latency_ms, 7, failed_assertions_json, [1]]]";
    assert_eq!(client.ask("MIROIR.CANARY.RUNS miroir:canary_runs:c1"), expected);
    // What is no run at all does not spoil the others.
    client.call(&[&b"ZADD"[..], KEY.as_bytes(), b"400", b"\xff\0no json"]);
    client.ask("ZADD miroir:canary_runs:c1 -inf first +inf last 300.5 half");
    record(&mut client, "600 pass 1");
    let runs = client.ask("MIROIR.CANARY.RUNS miroir:canary_runs:c1");
    assert!(
        runs.contains("ran_at, 500, status, fail") && runs.contains("ran_at, 600, status, pass"),
        "{runs}"
    );
    assert_eq!(record(&mut client, "700 pass 1 KEEP 2"), "[2, 5]");
    assert_eq!(client.ask("ZCARD miroir:canary_runs:c1"), "2");
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    record(&mut client, "1000 pass 12");
    client.ask("SET miroir:canary_runs:foreign x");
    let mut cases: Vec<(String, &str)> = Vec::new();
    for bad in ["-1", "x", "''", "1.5", "1e3", "9223372036854775808", "+5"] {
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} {bad} pass 1"), "'ran_at'"));
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} 1 pass {bad}"), "'latency_ms'"));
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} 1 pass 1 KEEP {bad}"), "'KEEP'"));
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} 1 pass 1 MAXAGE {bad}"), "'MAXAGE'"));
        cases.push((format!("MIROIR.CANARY.RUNS {KEY} COUNT {bad}"), "'COUNT'"));
        cases.push((format!("MIROIR.CANARY.RUNS {KEY} SINCE {bad}"), "'SINCE'"));
    }
    for bad in ["passed", "PASS", "''", "unknown"] {
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} 1 {bad} 1"), "pass|fail|error"));
    }
    for bad in ["{", "''", "text", "[1,]", "'{} {}'"] {
        cases.push((format!("MIROIR.CANARY.RECORD {KEY} 1 fail 1 ASSERTIONS {bad}"), "'ASSERTIONS'"));
    }
    for key in
        ["miroir:canary_runs:_index", "miroir:canary_runs:", "miroir:canary_runs", "miroir:canary:c1", "c1"]
    {
        cases.push((format!("MIROIR.CANARY.RECORD {key} 1 pass 1"), "key"));
        cases.push((format!("MIROIR.CANARY.RUNS {key}"), "key"));
    }
    for line in [
        "RECORD {} 1 pass",
        "RECORD {} 1 pass 1 KEEP",
        "RECORD {} 1 pass 1 KEEP 5 KEEP 5",
        "RECORD {} 1 pass 1 LATENCY 5",
        "RUNS {} COUNT",
        "RUNS {} 5",
        "RUNS {} COUNT 1 COUNT 1",
    ] {
        cases.push((format!("MIROIR.CANARY.{}", line.replace("{}", KEY)), ""));
    }
    cases.push(("MIROIR.CANARY.RECORD miroir:canary_runs:foreign 1 pass 1".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.CANARY.RUNS miroir:canary_runs:foreign".to_owned(), "WRONGTYPE"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
}
