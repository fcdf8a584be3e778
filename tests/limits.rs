//! Limits: MIROIR.RATELIMIT.HIT for searches, and MIROIR.LOGIN.* for logins with their backoff.

mod support;

use std::ops::RangeInclusive;

use support::clock::{timed, wait_until};
use support::effects::{
    assert_native_effects, assert_refused_without_memory, assert_replica_reads_and_refuses, transaction,
};
use support::{assert_refused, cluster, Client, Server};

const SEARCHES: &str = "miroir:ratelimit:searchui:10.0.0.1";
const LOGINS: &str = "miroir:ratelimit:adminlogin:10.0.0.1";
const BACKOFF: &str = "miroir:ratelimit:adminlogin:backoff:10.0.0.1";
const LARGEST: &str = "9223372036854775807";

type Answer = (i64, i64, i64, i64);

/// What a hit of the searches' counter answers, and when.
fn hit(client: &mut Client, arguments: &str) -> (Answer, RangeInclusive<i64>) {
    let line = format!("MIROIR.RATELIMIT.HIT {SEARCHES} {arguments}");
    timed(client, |client| client.read::<Answer>(&line))
}

/// Asserts a hit whose window ends at a time.
fn assert_hit(client: &mut Client, arguments: &str, allowed: i64, remaining: i64, end: i64) {
    let ((said, left, retry, reset), then) = hit(client, arguments);
    assert_eq!((said, left), (allowed, remaining), "{arguments}");
    assert!(then.contains(&(end - reset)), "{arguments}: {reset} ms, from {then:?} to {end}");
    assert_eq!(retry, if allowed == 1 { 0 } else { reset }, "{arguments}");
    assert_eq!(client.integer(&format!("PEXPIRETIME {SEARCHES}")), end, "{arguments}: the window stays");
}

/// Asserts a hit that changes nothing.
fn assert_untouched(client: &mut Client, arguments: &str, expected: Answer) {
    let before = client.dump();
    assert_eq!(hit(client, arguments).0, expected, "{arguments}");
    assert_eq!(client.dump(), before, "{arguments}");
}

#[test]
fn hits_are_counted_in_a_window_that_nothing_prolongs() {
    let server = Server::start();
    let mut client = server.client();
    let (first, then) = hit(&mut client, "5 60000");
    assert_eq!(first, (1, 4, 0, 60_000));
    let end = client.integer(&format!("PEXPIRETIME {SEARCHES}"));
    assert!(then.contains(&(end - 60_000)), "{end}, {then:?}");
    assert_hit(&mut client, "5 60000", 1, 3, end);
    assert_hit(&mut client, "5 60000 cost 3", 1, 0, end);
    assert_hit(&mut client, "5 60000", 0, 0, end);
    assert_hit(&mut client, "5 90000 COST 2", 0, 0, end);
    assert_eq!(client.ask(&format!("GET {SEARCHES}")), "5", "a refusal costs nothing");
    // The limit may change while the window runs.
    assert_hit(&mut client, "8 1000 COST 2", 1, 1, end);
    assert_hit(&mut client, "8 1000 COST 2", 0, 1, end);
    assert_hit(&mut client, "3 60000", 0, 0, end);
    assert_eq!(client.ask(&format!("GET {SEARCHES}")), "7");
    assert_eq!(server.client_resp3().ask(&format!("TYPE {SEARCHES}")), "string");
    let modern: Answer = server.client_resp3().read(&format!("MIROIR.RATELIMIT.HIT {SEARCHES} 8 60000"));
    assert_eq!((modern.0, modern.1, modern.2), (1, 0, 0));
}

#[test]
fn a_new_window_begins_when_the_last_one_has_ended() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    assert_eq!(hit(&mut client, "1 1").0, (1, 0, 0, 1));
    let (_, then) = timed(&mut client, |_| ());
    wait_until(&mut client, then.end() + 1);
    assert_eq!(hit(&mut client, "1 60000").0, (1, 0, 0, 60_000), "gone before it is deleted");
    assert_eq!(hit(&mut client, "1 60000").0 .0, 0);
}

#[test]
fn a_look_changes_nothing_and_says_what_a_hit_would_be_answered() {
    let server = Server::start();
    let mut client = server.client();
    assert_untouched(&mut client, "5 60000 PEEK", (1, 5, 0, 0));
    assert_untouched(&mut client, "5 60000 PEEK COST 5", (1, 5, 0, 0));
    assert_untouched(&mut client, "5 60000 COST 6 PEEK", (0, 5, 60_000, 0));
    assert_untouched(&mut client, "0 60000 peek", (0, 0, 60_000, 0));
    hit(&mut client, "5 60000 COST 3");
    let end = client.integer(&format!("PEXPIRETIME {SEARCHES}"));
    for (arguments, allowed) in [("5 60000 PEEK", 1), ("5 60000 PEEK COST 2", 1), ("5 60000 PEEK COST 3", 0)]
    {
        assert_hit(&mut client, arguments, allowed, 2, end);
    }
    assert_hit(&mut client, "2 60000 PEEK", 0, 0, end);
    assert_eq!(client.ask(&format!("GET {SEARCHES}")), "3");
}

#[test]
fn what_can_never_be_allowed_is_refused_for_a_window() {
    let server = Server::start();
    let mut client = server.client();
    for arguments in ["0 60000", "5 60000 COST 6", "0 1 COST 1", &format!("5 60000 COST {LARGEST}")] {
        let window = arguments.split(' ').nth(1).unwrap().parse().unwrap();
        let limit = arguments.split(' ').next().unwrap().parse().unwrap();
        assert_untouched(&mut client, arguments, (0, limit, window, 0));
    }
    assert!(client.dump().is_empty(), "a refusal makes no counter");
    hit(&mut client, "5 60000");
    let end = client.integer(&format!("PEXPIRETIME {SEARCHES}"));
    assert_hit(&mut client, "5 90000 COST 6", 0, 4, end);
    assert_hit(&mut client, "0 90000", 0, 0, end);
}

#[test]
fn a_counter_without_a_ttl_is_given_one() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(&format!("SET {SEARCHES} 3"));
    assert_untouched(&mut client, "5 60000 PEEK", (1, 2, 0, 60_000));
    assert_untouched(&mut client, "3 60000 PEEK", (0, 0, 60_000, 60_000));
    for (limit, expected, count) in [(5, (1, 1, 0, 60_000), "4"), (4, (0, 0, 60_000, 60_000), "4")] {
        client.ask(&format!("PERSIST {SEARCHES}"));
        let (answer, then) = hit(&mut client, &format!("{limit} 60000"));
        assert_eq!(answer, expected, "of {limit}");
        let end = client.integer(&format!("PEXPIRETIME {SEARCHES}"));
        assert!(then.contains(&(end - 60_000)), "of {limit}: {end}, {then:?}");
        assert_eq!(client.ask(&format!("GET {SEARCHES}")), count);
    }
    // A raw client counts on in the same window.
    let end = client.integer(&format!("PEXPIRETIME {SEARCHES}"));
    assert_eq!(client.ask(&format!("INCR {SEARCHES}")), "5");
    assert_hit(&mut client, "6 90000", 1, 0, end);
}

#[test]
fn the_largest_numbers_are_numbers() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(&format!("SET {SEARCHES} 9223372036854775805 PX 600000"));
    let line = format!("{LARGEST} 60000");
    assert_eq!(hit(&mut client, &line).0 .1, 1);
    assert_eq!(hit(&mut client, &format!("{line} COST 2")).0 .0, 0);
    assert_eq!(hit(&mut client, &format!("{line} COST {LARGEST}")).0 .0, 0);
    assert_eq!(hit(&mut client, &line).0 .1, 0);
    assert_eq!(client.ask(&format!("GET {SEARCHES}")), LARGEST);
    assert_eq!(hit(&mut client, &line).0 .0, 0);
    assert_eq!(hit(&mut client, "5 60000").0 .1, 0, "never below 0");
    client.ask(&format!("DEL {SEARCHES}"));
    assert_eq!(hit(&mut client, "5 4102444800000").0, (1, 4, 0, 4_102_444_800_000));
}

/// Fails a login, and asserts the answer and what is stored.
fn fail(client: &mut Client, arguments: &str, count: i64, backoff: i64) {
    let line = format!("MIROIR.LOGIN.FAIL {LOGINS} {arguments}");
    let (answer, then) = timed(client, |client| client.read::<(i64, i64)>(&line));
    assert_eq!(answer, (count, backoff), "{line}");
    assert_eq!(client.integer(&format!("HGET {BACKOFF} failed_count")), count);
    let next = client.integer(&format!("HGET {BACKOFF} next_allowed_at"));
    assert!(then.contains(&(next - backoff)), "{line}: {next} is not {backoff} ms from {then:?}");
    assert_eq!(client.integer(&format!("PEXPIRETIME {BACKOFF}")), next + 60_000, "{line}");
}

#[test]
fn the_backoff_begins_at_the_threshold_doubles_and_ends_at_its_most() {
    let server = Server::start();
    let mut client = server.client();
    for (number, backoff) in [0, 0, 1000, 2000, 4000, 5000, 5000].into_iter().enumerate() {
        fail(&mut client, "3 1000 5000", i64::try_from(number).unwrap() + 1, backoff);
    }
    assert_eq!(client.ask(&format!("HLEN {BACKOFF}")), "2");
    assert_eq!(client.ask(&format!("EXISTS {LOGINS}")), "0", "a failure is no attempt");
    // The count goes on under other rules.
    fail(&mut client, "9 1000 5000", 8, 0);
    fail(&mut client, "9 1000 1000", 9, 1000);
    fail(&mut client, "1 1 4102444800000", 10, 512);
    // However often it fails.
    for count in ["62", "63", "64", "1000", "9223372036854775806", LARGEST] {
        client.ask(&format!("HSET {BACKOFF} failed_count {count}"));
        let next = count.parse::<i64>().unwrap().saturating_add(1);
        fail(&mut client, "1 1000 4102444800000", next, 4_102_444_800_000);
    }
}

#[test]
fn the_count_of_failures_outlives_a_backoff() {
    let server = Server::start();
    let mut client = server.client();
    fail(&mut client, "1 1 1000", 1, 1);
    let next = client.integer(&format!("HGET {BACKOFF} next_allowed_at"));
    wait_until(&mut client, next);
    let checked: (i64, i64, i64) = client.read(&format!("MIROIR.LOGIN.CHECK {LOGINS} 5 60000"));
    assert_eq!(checked, (1, 4, 0), "the backoff is over");
    fail(&mut client, "1 100 1000", 2, 200);
    // A hash without a TTL is given one.
    client.ask(&format!("PERSIST {BACKOFF}"));
    fail(&mut client, "5 100 1000", 3, 0);
}

#[test]
fn a_check_counts_when_it_allows_and_refuses_during_a_backoff() {
    let server = Server::start();
    let mut client = server.client();
    let check = format!("MIROIR.LOGIN.CHECK {LOGINS} 3 60000");
    let (answer, then) = timed(&mut client, |client| client.ask(&check));
    assert_eq!(answer, "[1, 2, 0]");
    let end = client.integer(&format!("PEXPIRETIME {LOGINS}"));
    assert!(then.contains(&(end - 60_000)), "{end}, {then:?}");
    assert_eq!(client.ask(&format!("GET {LOGINS}")), "1");

    fail(&mut client, "1 30000 60000", 1, 30_000);
    let next = client.integer(&format!("HGET {BACKOFF} next_allowed_at"));
    let before = client.dump();
    let ((allowed, remaining, retry), then) =
        timed(&mut client, |client| client.read::<(i64, i64, i64)>(&check));
    assert_eq!((allowed, remaining), (0, 2));
    assert!(then.contains(&(next - retry)), "{retry} ms, from {then:?} to {next}");
    assert_eq!(client.dump(), before, "nothing is counted");

    client.ask(&format!("HSET {BACKOFF} next_allowed_at 5"));
    assert_eq!(client.ask(&check), "[1, 1, 0]");
    assert_eq!(client.ask(&check), "[1, 0, 0]");
    let before = client.dump();
    let ((allowed, remaining, retry), then) =
        timed(&mut client, |client| client.read::<(i64, i64, i64)>(&check));
    assert_eq!((allowed, remaining), (0, 0));
    assert!(then.contains(&(end - retry)), "{retry} ms, from {then:?} to {end}");
    assert_eq!(client.dump(), before);
    // Both refuse: it is of no use to come back before the later one is over.
    client.ask(&format!("HSET {BACKOFF} next_allowed_at {}", end + 1_000_000));
    let (.., retry): (i64, i64, i64) = client.read(&check);
    assert!(retry > 960_000, "{retry}");
    client.ask(&format!("HSET {BACKOFF} next_allowed_at {}", then.end() + 5));
    let (.., retry): (i64, i64, i64) = client.read(&check);
    assert!(retry > 20_000, "{retry}");

    for answer in ["1", "1"] {
        assert_eq!(client.ask(&format!("MIROIR.LOGIN.OK {LOGINS}")), answer);
        assert!(client.dump().is_empty(), "both are cleared");
    }
    assert_eq!(client.ask(&check), "[1, 2, 0]");
    assert_eq!(client.ask(&format!("MIROIR.LOGIN.CHECK {LOGINS} 0 60000")).split(", ").next(), Some("[0"));
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    hit(&mut client, "5 600000");
    client.ask(&format!("MIROIR.LOGIN.CHECK {LOGINS} 5 600000"));
    fail(&mut client, "5 1000 5000", 1, 0);
    let mut cases: Vec<(String, &str)> = Vec::new();
    let mut case = |line: String, expected| cases.push((format!("MIROIR.{line}"), expected));
    for bad in ["-1", "x", "''", "1.5", "9223372036854775808", "01", "' 5'"] {
        case(format!("RATELIMIT.HIT {SEARCHES} {bad} 60000"), "'limit'");
        case(format!("LOGIN.CHECK {LOGINS} {bad} 60000"), "'limit'");
        for window in [bad, "0", LARGEST] {
            case(format!("RATELIMIT.HIT {SEARCHES} 5 {window}"), "'window_ms'");
            case(format!("RATELIMIT.HIT miroir:ratelimit:searchui:new 5 {window}"), "'window_ms'");
            case(format!("LOGIN.CHECK {LOGINS} 5 {window}"), "'window_ms'");
            case(format!("LOGIN.CHECK miroir:ratelimit:adminlogin:new 5 {window}"), "'window_ms'");
        }
        for bad in [bad, "0"] {
            case(format!("RATELIMIT.HIT {SEARCHES} 5 60000 COST {bad}"), "'COST'");
            case(format!("LOGIN.FAIL {LOGINS} {bad} 1000 5000"), "'threshold'");
            case(format!("LOGIN.FAIL {LOGINS} 3 {bad} 5000"), "'start_ms'");
            case(format!("LOGIN.FAIL {LOGINS} 3 1 {bad}"), "'max_ms'");
        }
    }
    case(format!("LOGIN.FAIL {LOGINS} 3 1000 999"), "'max_ms'");
    case(format!("LOGIN.FAIL {LOGINS} 1 {LARGEST} {LARGEST}"), "_ms'");
    case(format!("RATELIMIT.HIT {SEARCHES} 5 60000 COST"), "COST");
    case(format!("RATELIMIT.HIT {SEARCHES} 5 60000 COST 1 COST 1"), "COST");
    case(format!("RATELIMIT.HIT {SEARCHES} 5 60000 PEEK PEEK"), "PEEK");
    case(format!("RATELIMIT.HIT {SEARCHES} 5 60000 LOOK"), "'LOOK'");
    for line in [
        "RATELIMIT.HIT KEY 5",
        "LOGIN.CHECK KEY 5",
        "LOGIN.CHECK KEY 5 6 7",
        "LOGIN.FAIL KEY 3 1000",
        "LOGIN.OK KEY 5",
    ] {
        let key = if line.starts_with('R') { SEARCHES } else { LOGINS };
        case(line.replace("KEY", key), "");
    }
    for key in [
        LOGINS,
        "miroir:ratelimit:searchui",
        "miroir:ratelimit:searchui:",
        "miroir:ratelimit:x:y",
        "a",
        "miroir:tasks:a",
    ] {
        case(format!("RATELIMIT.HIT {key} 5 60000"), "key");
    }
    for key in [
        SEARCHES,
        BACKOFF,
        "miroir:ratelimit:adminlogin",
        "miroir:ratelimit:adminlogin:",
        "a",
        "miroir:tasks:a",
    ] {
        case(format!("LOGIN.CHECK {key} 5 60000"), "key");
        case(format!("LOGIN.FAIL {key} 3 1000 5000"), "key");
        case(format!("LOGIN.OK {key}"), "key");
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    for ip in [&b"a\0b"[..], b"a\nb", b"\xff", &[b'x'; 513], b"_x"] {
        let key = [b"miroir:ratelimit:searchui:", ip].concat();
        let answer = client.call(&[&b"MIROIR.RATELIMIT.HIT"[..], &key, b"5", b"60000"]);
        assert!(answer.starts_with("ERR key "), "{answer}");
    }
}

#[test]
fn foreign_and_spoilt_values_are_refused_and_stay() {
    let server = Server::start();
    let mut client = server.client();
    let mut cases = Vec::new();
    for (number, value) in ["many", "''", "-1", "1.5", "9223372036854775808", "' 1'"].into_iter().enumerate()
    {
        client.ask(&format!("SET m:ratelimit:searchui:{number} {value}"));
        client.ask(&format!("SET m:ratelimit:adminlogin:{number} {value}"));
        client.ask(&format!("HSET m:ratelimit:adminlogin:backoff:count{number} failed_count {value}"));
        client.ask(&format!("HSET m:ratelimit:adminlogin:backoff:next{number} next_allowed_at {value}"));
        cases.push((format!("MIROIR.RATELIMIT.HIT m:ratelimit:searchui:{number} 5 60000"), "integer"));
        cases.push((format!("MIROIR.RATELIMIT.HIT m:ratelimit:searchui:{number} 5 60000 PEEK"), "integer"));
        cases.push((format!("MIROIR.LOGIN.CHECK m:ratelimit:adminlogin:{number} 5 60000"), "integer"));
        cases.push((format!("MIROIR.LOGIN.FAIL m:ratelimit:adminlogin:count{number} 3 1 5"), "failed_count"));
        cases.push((
            format!("MIROIR.LOGIN.CHECK m:ratelimit:adminlogin:next{number} 5 60000"),
            "next_allowed_at",
        ));
    }
    client.ask("RPUSH m:ratelimit:searchui:list x");
    client.ask("RPUSH m:ratelimit:adminlogin:list x");
    client.ask("SET m:ratelimit:adminlogin:backoff:text x");
    cases.push(("MIROIR.RATELIMIT.HIT m:ratelimit:searchui:list 5 60000".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.LOGIN.CHECK m:ratelimit:adminlogin:list 5 60000".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.LOGIN.CHECK m:ratelimit:adminlogin:text 5 60000".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.LOGIN.FAIL m:ratelimit:adminlogin:text 3 1 5".to_owned(), "WRONGTYPE"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
}

#[test]
fn addresses_of_any_text_are_counted_apart() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "x".repeat(512);
    for ip in ["::1", "fe80::1%eth0", "an ip", "é…", "PEEK", "backoff", longest.as_str()] {
        let key = format!("miroir:ratelimit:searchui:{ip}");
        assert_eq!(client.call(&["MIROIR.RATELIMIT.HIT", &key, "2", "60000"]), "[1, 1, 0, 60000]");
        let key = format!("miroir:ratelimit:adminlogin:{ip}");
        assert_eq!(client.call(&["MIROIR.LOGIN.FAIL", &key, "1", "60000", "60000"]), "[1, 60000]");
        let checked = client.call(&["MIROIR.LOGIN.CHECK", &key, "5", "60000"]);
        assert!(checked.starts_with("[0, 5, "), "{checked}");
        assert_eq!(
            client.call(&["HGET", &format!("miroir:ratelimit:adminlogin:backoff:{ip}"), "failed_count"]),
            "1"
        );
        assert_eq!(client.call(&["MIROIR.LOGIN.OK", &key]), "1");
    }
    assert_eq!(
        client.ask("MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:backoff:x 2 60000"),
        "[1, 1, 0, 60000]"
    );
}

#[test]
fn transactions_scripts_the_log_and_replicas() {
    let server = Server::start();
    let mut client = server.client();
    let hit = format!("MIROIR.RATELIMIT.HIT {SEARCHES} 2 60000 COST 2");
    let (fail, ok) = (format!("MIROIR.LOGIN.FAIL {LOGINS} 1 500 900"), format!("MIROIR.LOGIN.OK {LOGINS}"));
    assert_eq!(
        transaction(&mut client, &[&hit, &fail, &fail, &ok]),
        "[[1, 0, 0, 60000], [1, 500], [2, 900], 1]"
    );
    let script = "return redis.call('MIROIR.LOGIN.CHECK', KEYS[1], 5, 60000)";
    assert_eq!(client.call(&["EVAL", script, "1", LOGINS]), "[1, 4, 0]");
    let check = format!("MIROIR.LOGIN.CHECK {LOGINS} 5 600000");
    let peek = format!("MIROIR.RATELIMIT.HIT {SEARCHES} 2 60000 PEEK");
    assert_replica_reads_and_refuses(&server, &[], &[&hit, &check, &fail, &ok]);
    assert_refused_without_memory(&mut client, &[&hit, &check, &fail]);
    client.ask("CONFIG SET maxmemory 1");
    assert_eq!(client.ask(&ok), "1", "what takes away is let through");

    let long = format!("MIROIR.RATELIMIT.HIT {SEARCHES} 5 600000 COST 2");
    let raw = "SET miroir:ratelimit:searchui:raw 9";
    let given = "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:raw 5 600000";
    assert_native_effects(&[
        &long,
        &long,
        &long,
        &peek,
        raw,
        given,
        &check,
        &check,
        &fail,
        &fail,
        &check,
        "MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:b 5 600000",
        "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:b 5 1 5",
        "MIROIR.LOGIN.OK miroir:ratelimit:adminlogin:b",
    ]);
}

#[test]
fn in_a_cluster_logins_need_a_hash_tag_and_searches_do_not() {
    let mut nodes = cluster::masters(1);
    let client = &mut nodes[0].client;
    assert_eq!(client.ask(&format!("MIROIR.RATELIMIT.HIT {SEARCHES} 5 60000")), "[1, 4, 0, 60000]");
    for line in ["CHECK KEY 5 60000", "FAIL KEY 1 1 5", "OK KEY"] {
        let before = client.dump();
        let plain = format!("MIROIR.LOGIN.{}", line.replace("KEY", LOGINS));
        let answer = client.ask(&plain);
        assert!(answer.starts_with("CROSSSLOT ") && answer.contains("hash tag"), "{plain}: {answer}");
        assert_eq!(client.dump(), before, "{plain}");
        let tagged = plain.replace("miroir:", "{miroir}:");
        assert!(!client.ask(&tagged).starts_with("CROSSSLOT"), "{tagged}");
    }
}
