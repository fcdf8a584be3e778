//! What the MIROIR.JOB commands refuse, and what they do with jobs that other clients spoilt.

mod support;

use support::effects::{assert_refused_without_memory, transaction};
use support::{assert_refused, Client, Server};

const LARGEST: &str = "9223372036854775807";

/// A server with a queued job, one that is claimed, and one that is done; and a client of it.
fn populated() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    for (line, expected) in [
        ("PUT miroir:jobs:queued type dump created_at 1", "1"),
        ("PUT miroir:jobs:claimed type dump created_at 2", "1"),
        ("PUT miroir:jobs:done type dump created_at 3", "1"),
        ("JOB.FINISH miroir:jobs:done pod 1 completed", "0"),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.{line}")), expected, "{line}");
    }
    for id in ["claimed", "done"] {
        let answer = client.ask(&format!("MIROIR.JOB.CLAIM miroir:jobs pod 600000 ID {id}"));
        assert!(answer.starts_with(&format!("[[{id}, 1, [")), "{answer}");
    }
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:done pod 1 completed"), "1");
    (server, client)
}

#[test]
fn keys_that_are_no_jobs() {
    let (_server, mut client) = populated();
    let mut cases = Vec::new();
    for key in ["miroir:tasks", "miroir:jobs:queued", "miroir:jobs:_queued", "miroir", "''", "miroir:lease"] {
        cases.push((format!("MIROIR.JOB.CLAIM {key} pod 60000"), "key"));
        cases.push((format!("MIROIR.JOB.RECLAIM {key}"), "key"));
    }
    for key in
        ["miroir:jobs", "miroir:jobs:", "miroir:jobs:_index", "miroir:jobs:_x", "miroir:tasks:a", "a", "''"]
    {
        cases.push((format!("MIROIR.JOB.RENEW {key} pod 1 60000"), "key"));
        cases.push((format!("MIROIR.JOB.FINISH {key} pod 1 completed"), "key"));
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    for key in [
        &b"miroir:jobs:a\0b"[..],
        b"miroir:jobs:a\nb",
        b"miroir:jobs:\xff",
        &[b"miroir:jobs:", &[b'x'; 513][..]].concat(),
    ] {
        for rest in [&[&b"1"[..], b"60000"], &[&b"1"[..], b"completed"]] {
            let command: &[u8] = if rest[1] == b"60000" { b"MIROIR.JOB.RENEW" } else { b"MIROIR.JOB.FINISH" };
            let answer = client.call(&[&[command, key, b"pod"], &rest[..]].concat());
            assert!(answer.starts_with("ERR key "), "{answer}");
        }
    }
}

#[test]
fn arguments_of_a_claim() {
    let (_server, mut client) = populated();
    let long = "h".repeat(513);
    let mut cases: Vec<(String, &str)> = Vec::new();
    let mut case = |arguments: &str, expected| {
        cases.push((format!("MIROIR.JOB.CLAIM miroir:jobs {arguments}"), expected));
    };
    for ttl in ["0", "-1", LARGEST, "9223372036854775808", "1.5", "soon", "''", "01", "' 5'"] {
        case(&format!("pod {ttl}"), "'ttl_ms'");
    }
    for holder in ["''", &long, "'a\nb'", "'a\0b'"] {
        case(&format!("{holder} 60000"), "'holder'");
    }
    for number in ["-1", "x", "''", "1.5", "9223372036854775808", "01"] {
        case(&format!("pod 60000 COUNT {number}"), "'COUNT'");
        case(&format!("pod 60000 MAXATTEMPTS {number}"), "'MAXATTEMPTS'");
    }
    for id in ["''", "_index", &long, "'a\nb'"] {
        case(&format!("pod 60000 ID {id}"), "'ID'");
    }
    case("", "wrong number of arguments");
    case("pod", "wrong number of arguments");
    for option in ["COUNT", "MAXATTEMPTS", "ID", "TYPE"] {
        case(&format!("pod 60000 {option}"), option);
    }
    for option in ["COUNT 1", "MAXATTEMPTS 1", "ID queued"] {
        case(&format!("pod 60000 {option} {option}"), option.split(' ').next().unwrap());
    }
    case("pod 60000 5", "'5'");
    case("pod 60000 LIMIT 5", "'LIMIT'");
    case("pod 60000 COUNT 1 queued", "'queued'");
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    let answer = client.call(&[&b"MIROIR.JOB.CLAIM"[..], b"miroir:jobs", b"pod\xff", b"60000"]);
    assert!(answer.starts_with("ERR argument 'holder'"), "{answer}");
}

#[test]
fn arguments_of_a_renewal_and_of_an_end() {
    let (_server, mut client) = populated();
    let long = "h".repeat(513);
    let mut cases: Vec<(String, &str)> = Vec::new();
    for id in ["claimed", "queued", "none"] {
        let mut case = |line: String, expected| cases.push((format!("MIROIR.JOB.{line}"), expected));
        let key = format!("miroir:jobs:{id}");
        for ttl in ["0", "-1", LARGEST, "9223372036854775808", "1.5", "''"] {
            case(format!("RENEW {key} pod 1 {ttl}"), "'ttl_ms'");
        }
        for (command, rest) in [("RENEW", "60000"), ("FINISH", "completed")] {
            for token in ["-1", "x", "''", "1.0", "9223372036854775808"] {
                case(format!("{command} {key} pod {token} {rest}"), "token'");
            }
            for holder in ["''", &long, "'a\nb'"] {
                case(format!("{command} {key} {holder} 1 {rest}"), "'holder'");
            }
            for json in ["{", "[]", "1", "null", "''", "'{\"a\":01}'", "'{} {}'"] {
                case(format!("{command} {key} pod 1 {rest} PROGRESS {json}"), "PROGRESS");
            }
            case(format!("{command} {key} pod 1 {rest} PROGRESS"), "PROGRESS");
            case(format!("{command} {key} pod 1 {rest} PROGRESS {{}} PROGRESS {{}}"), "PROGRESS");
            case(format!("{command} {key} pod 1 {rest} more"), "'more'");
            case(format!("{command} {key} pod 1"), "wrong number of arguments");
        }
        for state in ["COMPLETED", "done", "''", "in_progress", "complete", "canceled"] {
            case(format!("FINISH {key} pod 1 {state}"), "completed|failed|queued");
        }
        case(format!("RENEW {key} pod 1 60000 ERROR x"), "'ERROR'");
        case(format!("FINISH {key} pod 1 failed ERROR"), "ERROR");
        case(format!("FINISH {key} pod 1 failed ERROR x ERROR y"), "ERROR");
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    assert_eq!(client.ask("CONFIG SET miroir.max-field-bytes 10"), "OK");
    assert_refused(
        &mut client,
        &[
            (
                "MIROIR.JOB.RENEW miroir:jobs:claimed pod 1 60000 PROGRESS '{\"done\":100}'",
                "miroir.max-field-bytes",
            ),
            (
                "MIROIR.JOB.FINISH miroir:jobs:claimed pod 1 queued PROGRESS '{\"done\":100}'",
                "miroir.max-field-bytes",
            ),
            (
                "MIROIR.JOB.FINISH miroir:jobs:claimed pod 1 failed ERROR 12345678901",
                "miroir.max-field-bytes",
            ),
        ],
    );
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:claimed pod 1 failed ERROR 1234567890"), "1");
}

#[test]
fn arguments_of_a_reclaim() {
    let (_server, mut client) = populated();
    client.ask(
        "HSET miroir:jobs:lost id lost type t state in_progress created_at 1 claim_expires_at 5 attempts 1",
    );
    client.ask("SADD miroir:jobs:_index lost");
    let mut cases: Vec<(String, &str)> = Vec::new();
    for option in ["LIMIT", "MAXATTEMPTS"] {
        for number in ["-1", "x", "''", "1.5", "9223372036854775808"] {
            cases.push((format!("MIROIR.JOB.RECLAIM miroir:jobs {option} {number}"), option));
        }
        cases.push((format!("MIROIR.JOB.RECLAIM miroir:jobs {option}"), option));
        cases.push((format!("MIROIR.JOB.RECLAIM miroir:jobs {option} 1 {option} 1"), option));
    }
    cases.push(("MIROIR.JOB.RECLAIM".to_owned(), "wrong number of arguments"));
    cases.push(("MIROIR.JOB.RECLAIM miroir:jobs 5".to_owned(), "'5'"));
    cases.push(("MIROIR.JOB.RECLAIM miroir:jobs COUNT 5".to_owned(), "'COUNT'"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    let limit = format!("MIROIR.JOB.RECLAIM miroir:jobs LIMIT 100000 MAXATTEMPTS {LARGEST}");
    assert_eq!(client.ask(&limit), "1");
}

#[test]
fn foreign_values_stay_and_nothing_is_half_claimed() {
    let server = Server::start();
    let mut client = server.client();
    for line in [
        "SET miroir:jobs:text x",
        "HSET odd1:jobs:a id a type t state queued created_at 1 attempts 0",
        "SET odd1:jobs:_queued x",
        "HSET odd1:jobs:held id held type t state in_progress created_at 1 claimed_by pod claim_token 1 attempts 1",
        "HSET odd1:jobs:held claim_expires_at 4102444800000",
        "HSET odd1:jobs:lost id lost type t state in_progress created_at 1 claim_expires_at 5 attempts 1",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
    }
    assert_refused(
        &mut client,
        &[
            ("MIROIR.JOB.RENEW miroir:jobs:text pod 1 60000", "WRONGTYPE"),
            ("MIROIR.JOB.FINISH miroir:jobs:text pod 1 completed", "WRONGTYPE"),
            ("MIROIR.JOB.CLAIM odd1:jobs pod 60000", "WRONGTYPE"),
            ("MIROIR.JOB.CLAIM odd1:jobs pod 60000 ID a", "WRONGTYPE"),
            ("MIROIR.JOB.CLAIM odd1:jobs pod 60000 ID a MAXATTEMPTS 0", ""),
            ("MIROIR.JOB.FINISH odd1:jobs:held pod 1 queued", "WRONGTYPE"),
            ("MIROIR.JOB.RECLAIM odd1:jobs", "WRONGTYPE"),
        ],
    );
    assert!(client.ask("MIROIR.JOB.CLAIM miroir:jobs pod 60000 ID text").starts_with("WRONGTYPE "));
    assert_eq!(client.ask("MIROIR.JOB.CLAIM miroir:jobs pod 60000 COUNT 9"), "[]");
}

#[test]
fn a_job_whose_counters_cannot_be_read_fails_and_holds_up_no_other() {
    for (field, value) in [
        ("attempts", "many"),
        ("attempts", "-1"),
        ("attempts", "9223372036854775808"),
        ("attempts", LARGEST),
        ("claim_token", "x"),
        ("claim_token", "-1"),
        ("claim_token", "9223372036854775808"),
        ("claim_token", LARGEST),
    ] {
        let server = Server::start();
        let mut client = server.client();
        client.ask("MIROIR.PUT miroir:jobs:spoilt type dump created_at 1");
        client.ask("MIROIR.PUT miroir:jobs:good type dump created_at 2");
        client.ask(&format!("HSET miroir:jobs:spoilt {field} {value}"));
        let claimed = client.ask("MIROIR.JOB.CLAIM miroir:jobs pod 60000");
        assert!(claimed.starts_with("[[good, 1, ["), "{field} {value}: {claimed}");
        assert_eq!(client.ask("HGET miroir:jobs:spoilt state"), "failed", "{field} {value}");
        assert!(client.integer("HGET miroir:jobs:spoilt finished_at") > 0);
        let error = client.ask("HGET miroir:jobs:spoilt error");
        assert!(error.contains(field), "{field} {value}: the error names the field: {error}");
        assert_eq!(client.ask("SCARD miroir:jobs:_queued"), "0", "{field} {value}");
    }
}

#[test]
fn the_largest_numbers_are_numbers() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(
        "MIROIR.PUT miroir:jobs:a type dump created_at 9223372036854775807 attempts 9223372036854775806",
    );
    client.ask("HSET miroir:jobs:a claim_token 9223372036854775806");
    let claimed =
        client.ask("MIROIR.JOB.CLAIM miroir:jobs pod 600000 COUNT 9 MAXATTEMPTS 9223372036854775807");
    assert!(claimed.starts_with("[[a, 9223372036854775807, ["), "{claimed}");
    assert_eq!(client.ask("HGET miroir:jobs:a attempts"), LARGEST);
    assert_eq!(client.ask(&format!("MIROIR.JOB.RENEW miroir:jobs:a pod {LARGEST} 4102444800000")), "1");
    assert_eq!(client.ask(&format!("MIROIR.JOB.FINISH miroir:jobs:a pod {LARGEST} completed")), "1");
}

#[test]
fn nothing_or_few_may_be_asked_for() {
    let (_server, mut client) = populated();
    let before = client.dump();
    for line in ["CLAIM miroir:jobs pod 60000 COUNT 0", "RECLAIM miroir:jobs LIMIT 0"] {
        let answer = client.ask(&format!("MIROIR.JOB.{line}"));
        let nothing = ["[]", "0"].contains(&answer.as_str());
        assert!(nothing || answer.starts_with("ERR argument "), "{line}: {answer}");
        assert_eq!(client.dump(), before, "{line}");
    }
}

#[test]
fn ids_and_holders_of_any_text() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "j".repeat(512);
    for name in ["a:b:c", "a b", "é…", "COUNT", "FENCE", longest.as_str()] {
        let key = format!("miroir:jobs:{name}");
        assert_eq!(client.call(&["MIROIR.PUT", &key, "type", name]), "1");
        let claim = ["MIROIR.JOB.CLAIM", "miroir:jobs", name, "60000", "TYPE", name, "ID", name];
        let claimed = client.call(&claim);
        assert!(claimed.starts_with(&format!("[[{name}, 1, [")), "{claimed}");
        assert_eq!(client.call(&["MIROIR.JOB.RENEW", &key, name, "1", "60000"]), "1");
        assert_eq!(client.call(&["HGET", &key, "claimed_by"]), name);
        assert_eq!(client.call(&["MIROIR.JOB.FINISH", &key, name, "1", "completed"]), "1");
    }
}

#[test]
fn a_claim_whose_end_cannot_be_read_is_no_claim() {
    for end in ["soon", "''", "-5", "9223372036854775808"] {
        let (_server, mut client) = populated();
        client.ask(&format!("HSET miroir:jobs:claimed claim_expires_at {end}"));
        let before = client.dump();
        for line in ["RENEW miroir:jobs:claimed pod 1 60000", "FINISH miroir:jobs:claimed pod 1 completed"] {
            assert_eq!(client.ask(&format!("MIROIR.JOB.{line}")), "0", "{end}: {line}");
            assert_eq!(client.dump(), before, "{line}");
        }
        assert_eq!(client.ask("MIROIR.JOB.RECLAIM miroir:jobs"), "1", "{end}");
        assert_eq!(client.ask("HGET miroir:jobs:claimed state"), "queued", "{end}");
    }
}

#[test]
fn without_memory_nothing_is_claimed_and_nothing_is_lost() {
    let (_server, mut client) = populated();
    assert_refused_without_memory(
        &mut client,
        &["MIROIR.JOB.CLAIM miroir:jobs pod 60000", "MIROIR.JOB.RENEW miroir:jobs:claimed pod 1 60000"],
    );
    // Whether the others are let through is the server's: whole or not at all.
    client.ask("CONFIG SET maxmemory 1");
    for (line, fields) in
        [("FINISH miroir:jobs:claimed pod 1 completed", "[completed, nil]"), ("RECLAIM miroir:jobs", "")]
    {
        let before = client.dump();
        let answer = client.ask(&format!("MIROIR.JOB.{line}"));
        if answer.starts_with("OOM ") {
            assert_eq!(client.dump(), before, "{line}");
        } else if !fields.is_empty() {
            assert_eq!(answer, "1", "{line}");
            assert_eq!(client.ask("HMGET miroir:jobs:claimed state claim_expires_at"), fields, "{line}");
        }
    }
}

#[test]
fn a_refusal_inside_of_a_transaction_leaves_the_others_alone() {
    let (_server, mut client) = populated();
    let lines = ["MIROIR.JOB.CLAIM miroir:jobs pod 0", "MIROIR.JOB.CLAIM miroir:jobs pod 60000 ID queued"];
    let answer = transaction(&mut client, &lines);
    assert!(answer.contains("'ttl_ms'"), "{answer}");
    assert_eq!(client.ask("HMGET miroir:jobs:queued state claim_token"), "[in_progress, 1]");
    let script = "return redis.pcall('MIROIR.JOB.CLAIM', KEYS[1], 'pod', 'x').err";
    let answer = client.call(&["EVAL", script, "1", "miroir:jobs"]);
    assert!(answer.contains("'ttl_ms'"), "{answer}");
}
