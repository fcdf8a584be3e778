//! Scoped keys of the search UI: rotation, which pods have seen it, and the end of the previous key; and which pods live.

mod support;

use std::collections::BTreeMap;

use support::clock::{timed, wait_until};
use support::effects::{
    assert_native_effects, assert_refused_without_memory, assert_replica_reads_and_refuses, transaction,
};
use support::{assert_refused, cluster, Client, Server};

const KEY: &str = "miroir:search_ui_scoped_key:movies";
const LARGEST: &str = "9223372036854775807";

/// Sends MIROIR.SCOPEDKEY.<command> on the key of the index movies.
fn ask(client: &mut Client, line: &str) -> String {
    let (command, arguments) = line.split_once(' ').unwrap_or((line, ""));
    client.ask(&format!("MIROIR.SCOPEDKEY.{command} {KEY} {arguments}"))
}

fn row(client: &mut Client) -> BTreeMap<String, String> {
    client.read(&format!("HGETALL {KEY}"))
}

/// The row, but for the time of its rotation.
fn fields(client: &mut Client) -> Vec<String> {
    let row = row(client);
    row.iter()
        .filter(|(field, _)| *field != "rotated_at")
        .map(|(field, value)| format!("{field}={value}"))
        .collect()
}

/// Asserts which pods are said not to have seen the rotation.
fn assert_missing(client: &mut Client, arguments: &str, expected: &[&str]) {
    let before = client.dump();
    let line = format!("MIROIR.SCOPEDKEY.READY {KEY} {arguments}");
    let (ready, mut missing): (i64, Vec<String>) = client.read(&line);
    missing.sort();
    assert_eq!(missing, expected, "{line}");
    assert_eq!(ready, i64::from(expected.is_empty()), "{line}");
    assert_eq!(client.dump(), before, "{line}");
}

/// A pod that was alive so many ms ago.
fn pod(client: &mut Client, name: &str, ago: i64) {
    let score = client.server_ms() - ago;
    client.ask(&format!("ZADD miroir:live_pods {score} {name}"));
}

#[test]
fn a_rotation_makes_the_primary_key_the_previous_one() {
    let server = Server::start();
    let mut client = server.client();
    let (answer, then) = timed(&mut client, |client| ask(client, "ROTATE u1 1 PRIMARYKEY secret1"));
    assert_eq!(answer, "1");
    let rotated: i64 = row(&mut client)["rotated_at"].parse().unwrap();
    assert!(then.contains(&rotated), "{rotated}, {then:?}");
    assert_eq!(
        fields(&mut client),
        ["generation=1", "index_uid=movies", "primary_key=secret1", "primary_uid=u1"]
    );
    assert_eq!(client.ask(&format!("PTTL {KEY}")), "-1");

    client.ask(&format!("HSET {KEY} rotated_at 5"));
    let (answer, then) = timed(&mut client, |client| ask(client, "rotate u2 3"));
    assert_eq!(answer, "1");
    assert!(then.contains(&row(&mut client)["rotated_at"].parse().unwrap()));
    let expected =
        ["generation=3", "index_uid=movies", "previous_key=secret1", "previous_uid=u1", "primary_uid=u2"];
    assert_eq!(fields(&mut client), expected, "no key was given to this one");
    let before = client.dump();
    for generation in ["3", "2", "1", "0"] {
        assert_eq!(ask(&mut client, &format!("ROTATE u9 {generation} PRIMARYKEY x")), "0", "{generation}");
        assert_eq!(client.dump(), before, "{generation}");
    }
    assert_eq!(ask(&mut client, "ROTATE u3 4 primarykey secret3"), "1");
    let expected =
        ["generation=4", "index_uid=movies", "previous_uid=u2", "primary_key=secret3", "primary_uid=u3"];
    assert_eq!(fields(&mut client), expected, "the previous one had no key: that of the one before is gone");
    assert_eq!(ask(&mut client, &format!("ROTATE u4 {LARGEST}")), "1");
    assert_eq!(ask(&mut client, &format!("ROTATE u5 {LARGEST}")), "0");
    assert_eq!(client.ask(&format!("MIROIR.GET {KEY} generation")), format!("[{LARGEST}]"));
}

#[test]
fn an_observation_is_kept_for_a_minute_or_as_long_as_is_said() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:search_ui_scoped_key_observed:pod-1:movies";
    for (line, generation, life) in [
        ("OBSERVE pod-1 3", "3", 60_000),
        ("OBSERVE pod-1 4 PX 600000", "4", 600_000),
        ("observe pod-1 5 px 5000", "5", 5000),
        ("OBSERVE pod-1 9223372036854775807", LARGEST, 60_000),
    ] {
        let (answer, then) = timed(&mut client, |client| ask(client, line));
        assert_eq!(answer, "1", "{line}");
        let end = client.integer(&format!("PEXPIRETIME {key}"));
        assert!(then.contains(&(end - life)), "{line}: {end} is not {life} ms from {then:?}");
        let observed: BTreeMap<String, String> = client.read(&format!("HGETALL {key}"));
        assert_eq!((observed["generation"].as_str(), observed["index_uid"].as_str()), (generation, "movies"));
        assert!(then.contains(&observed["observed_at"].parse().unwrap()), "{line}: {observed:?}");
        assert_eq!(observed.len(), 3);
    }
    assert_eq!(client.dump().len(), 1, "an observation makes no scoped key");
}

#[test]
fn a_rotation_is_ready_when_every_live_pod_has_seen_it() {
    let server = Server::start();
    let mut client = server.client();
    for arguments in ["READY", "READY PODS 1 a"] {
        assert_eq!(ask(&mut client, arguments), "nil", "there is no key yet");
    }
    ask(&mut client, "ROTATE u1 1");
    ask(&mut client, "ROTATE u2 2");
    assert_eq!(ask(&mut client, "READY"), "[1, []]", "nobody lives");
    assert_eq!(server.client_resp3().ask(&format!("MIROIR.SCOPEDKEY.READY {KEY}")), "[1, []]");
    for name in ["a", "b", "c"] {
        client.ask(&format!("MIROIR.POD.BEAT miroir:live_pods {name}"));
    }
    pod(&mut client, "late", 119_000 - 20_000);
    pod(&mut client, "dead", 121_000);
    assert_missing(&mut client, "", &["a", "b", "c", "late"]);
    ask(&mut client, "OBSERVE a 2");
    ask(&mut client, "OBSERVE b 1");
    ask(&mut client, "OBSERVE c 3");
    ask(&mut client, "OBSERVE dead 2");
    assert_missing(&mut client, "", &["b", "late"]);
    // The same pods under another index.
    client.ask("MIROIR.SCOPEDKEY.OBSERVE miroir:search_ui_scoped_key:books b 2");
    assert_missing(&mut client, "", &["b", "late"]);
    assert_missing(&mut client, "PODS 1 a", &[]);
    assert_missing(&mut client, "pods 2 c a", &[]);
    assert_missing(&mut client, "PODS 3 b a never", &["b", "never"]);
    assert_missing(&mut client, "PODS 1 dead", &[]);
    assert_missing(&mut client, "PODS 1 PODS", &["PODS"]);
    ask(&mut client, "OBSERVE b 2");
    ask(&mut client, "OBSERVE late 2 PX 1");
    let end = client.server_ms() + 1;
    wait_until(&mut client, end);
    assert_missing(&mut client, "", &["late"]);
    ask(&mut client, "OBSERVE late 2");
    assert_missing(&mut client, "", &[]);
    ask(&mut client, "ROTATE u3 3");
    assert_missing(&mut client, "", &["a", "b", "late"]);
}

#[test]
fn the_previous_key_goes_when_all_have_seen_the_rotation() {
    let server = Server::start();
    let mut client = server.client();
    for line in ["RETIRE 1", "RETIRE 1 FORCE"] {
        assert_eq!(ask(&mut client, line), "-2");
    }
    ask(&mut client, "ROTATE u1 1 PRIMARYKEY secret1");
    ask(&mut client, "ROTATE u2 2 PRIMARYKEY secret2");
    client.ask("MIROIR.POD.BEAT miroir:live_pods a");
    client.ask("MIROIR.POD.BEAT miroir:live_pods b");
    ask(&mut client, "OBSERVE a 2");
    let before = client.dump();
    for line in ["RETIRE 2", "RETIRE 1", "RETIRE 3", "RETIRE 1 FORCE", "RETIRE 3 FORCE", "RETIRE 0 FORCE"] {
        assert_eq!(ask(&mut client, line), "0", "{line}");
        assert_eq!(client.dump(), before, "{line}");
    }
    let rotated = row(&mut client)["rotated_at"].clone();
    ask(&mut client, "OBSERVE b 7");
    assert_eq!(ask(&mut client, "RETIRE 2"), "1");
    let expected = ["generation=2", "index_uid=movies", "primary_key=secret2", "primary_uid=u2"];
    assert_eq!(fields(&mut client), expected);
    assert_eq!(row(&mut client)["rotated_at"], rotated);
    let before = client.dump();
    assert_eq!(ask(&mut client, "RETIRE 2"), "1", "it is gone already");
    assert_eq!(client.dump(), before);

    ask(&mut client, "ROTATE u3 8");
    assert_eq!(ask(&mut client, "RETIRE 8"), "0");
    assert_eq!(ask(&mut client, "retire 8 force"), "1");
    assert_eq!(fields(&mut client), ["generation=8", "index_uid=movies", "primary_uid=u3"]);
}

#[test]
fn pods_are_live_for_two_minutes_and_forgotten_after_five() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.POD.LIVE miroir:live_pods"), "[]");
    let (answer, then) = timed(&mut client, |client| client.ask("MIROIR.POD.BEAT miroir:live_pods b"));
    assert_eq!(answer, "1");
    assert!(then.contains(&client.integer("ZSCORE miroir:live_pods b")));
    let end = client.integer("PEXPIRETIME miroir:live_pods");
    assert!(then.contains(&(end - 300_000)), "{end}, {then:?}");
    assert_eq!(client.ask("MIROIR.POD.BEAT miroir:live_pods a"), "2");
    assert_eq!(client.ask("MIROIR.POD.BEAT miroir:live_pods a"), "2", "one pod, one member");
    for (name, ago) in [("c", 90_000), ("d", 121_000), ("e", 270_000), ("f", 301_000), ("g", 900_000)] {
        pod(&mut client, name, ago);
    }
    let before = client.dump();
    for (within, expected) in [
        ("", "[a, b, c]"),
        ("WITHIN 60000", "[a, b]"),
        ("within 200000", "[a, b, c, d]"),
        ("WITHIN 100000000", "[a, b, c, d, e, f, g]"),
        ("WITHIN 9223372036854775807", "[a, b, c, d, e, f, g]"),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.POD.LIVE miroir:live_pods {within}")), expected, "{within}");
    }
    assert_eq!(server.client_resp3().ask("MIROIR.POD.LIVE miroir:live_pods"), "[a, b, c]");
    assert_eq!(client.dump(), before, "looking removes nobody");
    assert_eq!(client.ask("MIROIR.POD.BEAT miroir:live_pods c"), "3");
    let mut known: Vec<String> = client.read("ZRANGE miroir:live_pods 0 -1");
    known.sort();
    assert_eq!(known, ["a", "b", "c", "d", "e"], "who is long gone is removed");
}

#[test]
fn names_of_any_text() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "x".repeat(512);
    for name in ["pod-1:8080", "a pod", "pöd…", "FORCE", "FENCE", longest.as_str()] {
        assert_eq!(client.call(&["MIROIR.POD.BEAT", "miroir:live_pods", name]), "1");
        assert_eq!(client.ask("MIROIR.POD.LIVE miroir:live_pods"), format!("[{name}]"));
        let key = "miroir:search_ui_scoped_key:an index é";
        client.ask("DEL 'miroir:search_ui_scoped_key:an index é'");
        assert_eq!(client.call(&["MIROIR.SCOPEDKEY.ROTATE", key, name, "1", "PRIMARYKEY", name]), "1");
        assert_eq!(client.call(&["HMGET", key, "primary_uid", "primary_key"]), format!("[{name}, {name}]"));
        assert_eq!(client.call(&["MIROIR.SCOPEDKEY.READY", key]), format!("[0, [{name}]]"));
        assert_eq!(client.call(&["MIROIR.SCOPEDKEY.OBSERVE", key, name, "1"]), "1");
        let observed = format!("miroir:search_ui_scoped_key_observed:{name}:an index é");
        assert_eq!(client.call(&["HGET", &observed, "generation"]), "1");
        assert_eq!(client.call(&["MIROIR.SCOPEDKEY.READY", key]), "[1, []]");
        assert_eq!(client.call(&["MIROIR.SCOPEDKEY.RETIRE", key, "1"]), "1");
        client.ask("DEL miroir:live_pods");
    }
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    ask(&mut client, "ROTATE u1 1");
    ask(&mut client, "ROTATE u2 2");
    client.ask("MIROIR.POD.BEAT miroir:live_pods a");
    let long = "x".repeat(513);
    let mut cases: Vec<(String, &str)> = Vec::new();
    let mut case = |line: String, expected| cases.push((format!("MIROIR.{line}"), expected));
    for bad in ["-1", "x", "''", "1.5", "9223372036854775808", "01"] {
        for (command, generation) in [("ROTATE", "u"), ("OBSERVE", "a"), ("RETIRE", "")] {
            case(format!("SCOPEDKEY.{command} {KEY} {generation} {bad}"), "'generation'");
        }
        case(format!("SCOPEDKEY.READY {KEY} PODS {bad} a"), "PODS");
        for bad in [bad, "0"] {
            case(format!("SCOPEDKEY.OBSERVE {KEY} a 2 PX {bad}"), "'PX'");
        }
        case(format!("POD.LIVE miroir:live_pods WITHIN {bad}"), "'WITHIN'");
    }
    case(format!("SCOPEDKEY.OBSERVE {KEY} a 2 PX {LARGEST}"), "'PX'");
    for name in ["''", "'a\nb'", "'a\0b'", &long] {
        case(format!("SCOPEDKEY.OBSERVE {KEY} {name} 2"), "'pod'");
        case(format!("POD.BEAT miroir:live_pods {name}"), "'pod'");
        case(format!("SCOPEDKEY.READY {KEY} PODS 2 a {name}"), "PODS");
    }
    case(format!("SCOPEDKEY.ROTATE {KEY} '' 3"), "primary_uid");
    case(format!("SCOPEDKEY.ROTATE {KEY} u 3 PRIMARYKEY"), "PRIMARYKEY");
    case(format!("SCOPEDKEY.ROTATE {KEY} u 3 PRIMARYKEY a PRIMARYKEY b"), "PRIMARYKEY");
    case(format!("SCOPEDKEY.ROTATE {KEY} u 3 FORCE"), "'FORCE'");
    case(format!("SCOPEDKEY.OBSERVE {KEY} a 2 PX"), "PX");
    case(format!("SCOPEDKEY.OBSERVE {KEY} a 2 PX 5 PX 5"), "PX");
    case(format!("SCOPEDKEY.OBSERVE {KEY} a 2 EX 5"), "'EX'");
    case(format!("SCOPEDKEY.READY {KEY} PODS"), "PODS");
    case(format!("SCOPEDKEY.READY {KEY} PODS 2 a"), "");
    case(format!("SCOPEDKEY.READY {KEY} PODS 1 a b"), "'b'");
    case(format!("SCOPEDKEY.READY {KEY} PODS {LARGEST} a"), "");
    case(format!("SCOPEDKEY.READY {KEY} POD 1 a"), "'POD'");
    case(format!("SCOPEDKEY.RETIRE {KEY} 2 FORCED"), "'FORCED'");
    case(format!("SCOPEDKEY.RETIRE {KEY} 2 FORCE FORCE"), "FORCE");
    case("POD.LIVE miroir:live_pods WITHIN".to_owned(), "WITHIN");
    case("POD.LIVE miroir:live_pods 5".to_owned(), "'5'");
    case("POD.BEAT miroir:live_pods a b".to_owned(), "");
    for line in [
        "SCOPEDKEY.ROTATE {} u",
        "SCOPEDKEY.OBSERVE {} a",
        "SCOPEDKEY.RETIRE {}",
        "SCOPEDKEY.READY",
        "POD.LIVE",
    ] {
        case(line.replace("{}", KEY), "wrong number of arguments");
    }
    let no_scoped_keys = [
        "miroir:search_ui_scoped_key",
        "miroir:search_ui_scoped_key:",
        "miroir:search_ui_scoped_key:_x",
        "miroir:search_ui_scoped_key_observed:a:movies",
        "miroir:tasks:t",
        "movies",
    ];
    for key in no_scoped_keys {
        case(format!("SCOPEDKEY.ROTATE {key} u 3"), "key");
        case(format!("SCOPEDKEY.OBSERVE {key} a 3"), "key");
        case(format!("SCOPEDKEY.READY {key}"), "key");
        case(format!("SCOPEDKEY.RETIRE {key} 2"), "key");
    }
    for key in ["miroir:live_pods:a", "live_pods", "miroir:tasks", KEY] {
        case(format!("POD.BEAT {key} a"), "key");
        case(format!("POD.LIVE {key}"), "key");
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    assert_eq!(client.ask("CONFIG SET miroir.max-field-bytes 10"), "OK");
    let limit = "miroir.max-field-bytes";
    let too_long =
        [&format!("ROTATE {KEY} 12345678901 3"), &format!("ROTATE {KEY} u 3 PRIMARYKEY 12345678901")]
            .map(|line| format!("MIROIR.SCOPEDKEY.{line}"));
    assert_refused(&mut client, &[(&too_long[0], limit), (&too_long[1], limit)]);
}

#[test]
fn foreign_and_spoilt_values_are_refused_and_stay() {
    let server = Server::start();
    let mut client = server.client();
    for line in [
        "SET m:search_ui_scoped_key:text x",
        "HSET m:search_ui_scoped_key:stub primary_uid u",
        "HSET m:search_ui_scoped_key:spoilt index_uid spoilt primary_uid u generation many rotated_at 5",
        "HSET m:search_ui_scoped_key:good index_uid good primary_uid u generation 2 previous_uid t rotated_at 5",
        "SET m:search_ui_scoped_key_observed:a:good x",
        "SET text:live_pods x",
        "HSET text:search_ui_scoped_key:good index_uid good primary_uid u generation 2 previous_uid t rotated_at 5",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
    }
    assert_refused(
        &mut client,
        &[
            ("MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:text u 3", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:text", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.RETIRE m:search_ui_scoped_key:text 2", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.OBSERVE m:search_ui_scoped_key:good a 2", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:good PODS 1 a", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:spoilt u 3", "generation"),
            ("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:spoilt PODS 1 b", "generation"),
            ("MIROIR.SCOPEDKEY.RETIRE m:search_ui_scoped_key:spoilt 2 FORCE", "generation"),
            ("MIROIR.POD.BEAT text:live_pods a", "WRONGTYPE"),
            ("MIROIR.POD.LIVE text:live_pods", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.READY text:search_ui_scoped_key:good", "WRONGTYPE"),
            ("MIROIR.SCOPEDKEY.RETIRE text:search_ui_scoped_key:good 2", "WRONGTYPE"),
        ],
    );
    let before = client.dump();
    assert_eq!(client.ask("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:stub PODS 1 a"), "nil");
    assert_eq!(client.ask("MIROIR.SCOPEDKEY.RETIRE m:search_ui_scoped_key:stub 1 FORCE"), "-2");
    assert_eq!(client.dump(), before);
    // Who has noted something else than a generation has not seen this one.
    client.ask("HSET m:search_ui_scoped_key_observed:b:good generation many");
    let answer = client.ask("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:good PODS 1 b");
    assert!(answer == "[0, [b]]" || answer.contains("generation"), "{answer}");
}

#[test]
fn transactions_scripts_the_log_and_replicas() {
    let server = Server::start();
    let mut client = server.client();
    let rotate =
        |generation: i64| format!("MIROIR.SCOPEDKEY.ROTATE {KEY} u{generation} {generation} PRIMARYKEY k");
    let retire = |generation: i64| format!("MIROIR.SCOPEDKEY.RETIRE {KEY} {generation}");
    let beat = "MIROIR.POD.BEAT miroir:live_pods a";
    let observe = format!("MIROIR.SCOPEDKEY.OBSERVE {KEY} a 2 PX 600000");
    let ready = format!("MIROIR.SCOPEDKEY.READY {KEY}");
    let lines = [&*rotate(1), beat, &rotate(2), &ready, &retire(2), &observe, &ready, &retire(2)];
    assert_eq!(transaction(&mut client, &lines), "[1, 1, 1, [0, [a]], 0, 1, [1, []], 1]");
    let script = "redis.call('MIROIR.SCOPEDKEY.ROTATE', KEYS[1], 'u3', 3) \
                  return redis.call('MIROIR.SCOPEDKEY.READY', KEYS[1])";
    assert_eq!(client.call(&["EVAL", script, "1", KEY]), "[0, [a]]");
    assert_replica_reads_and_refuses(
        &server,
        &[&ready, "MIROIR.POD.LIVE miroir:live_pods", &format!("{ready} PODS 2 a b")],
        &[&rotate(4), &observe, &retire(3), beat],
    );
    assert_refused_without_memory(&mut client, &[&rotate(4), &observe, beat]);
    assert_native_effects(&[
        &rotate(1),
        "ZADD miroir:live_pods 5 gone",
        beat,
        "MIROIR.POD.BEAT miroir:live_pods b",
        &rotate(2),
        &observe,
        &retire(2),
        &format!("{} FORCE", retire(2)),
        &rotate(3),
    ]);
}

#[test]
fn in_a_cluster_they_need_a_hash_tag() {
    let mut nodes = cluster::masters(1);
    let client = &mut nodes[0].client;
    for line in [
        format!("SCOPEDKEY.ROTATE {KEY} u 1"),
        format!("SCOPEDKEY.OBSERVE {KEY} a 1"),
        format!("SCOPEDKEY.READY {KEY}"),
        format!("SCOPEDKEY.RETIRE {KEY} 1"),
        "POD.BEAT miroir:live_pods a".to_owned(),
        "POD.LIVE miroir:live_pods".to_owned(),
    ] {
        let answer = client.ask(&format!("MIROIR.{line}"));
        assert!(answer.starts_with("CROSSSLOT ") && answer.contains("hash tag"), "{line}: {answer}");
        let tagged = format!("MIROIR.{}", line.replace("miroir:", "{miroir}:"));
        let answer = client.ask(&tagged);
        assert!(!answer.starts_with("CROSSSLOT") && !answer.starts_with("ERR"), "{tagged}: {answer}");
    }
    assert!(client.dump().keys().all(|key| key.starts_with('{')), "nothing is left of the others");
}
