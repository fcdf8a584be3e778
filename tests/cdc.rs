//! CDC overflow buffers: exact bytes, numbers for acknowledgement, and raw clients on the same keys; cursors.

#[path = "cdc/model.rs"]
mod model;
mod support;

use std::collections::BTreeMap;

use redis::Value;
use support::{assert_refused, Client, Server};

const KEY: &str = "miroir:cdc:overflow:s";
const BYTES: &str = "miroir:cdc:overflow_bytes:s";
const STAT: &str = "miroir:cdc:overflow_stat:s";

fn blobs(value: Value) -> Vec<Vec<u8>> {
    let Value::Array(items) = value else { panic!("no array: {value:?}") };
    let blob = |item| if let Value::BulkString(bytes) = item { bytes } else { panic!("no string: {item:?}") };
    items.into_iter().map(blob).collect()
}

/// The events held, oldest first, as a raw client reads them.
fn held(client: &mut Client) -> Vec<Vec<u8>> {
    let mut events = blobs(client.raw(&["LRANGE", KEY, "0", "-1"]).unwrap());
    events.reverse();
    events
}

/// The answer of PEEK for all events.
fn peek(client: &mut Client) -> Vec<(i64, Vec<u8>)> {
    let Value::Array(items) = client.raw(&["MIROIR.CDC.PEEK", KEY, "COUNT", "100000"]).unwrap() else {
        panic!("PEEK")
    };
    let pair = |item| match item {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::Int(seq), Value::BulkString(event)]) => (seq, event),
            other => panic!("no [seq, event]: {other:?}"),
        },
        other => panic!("no [seq, event]: {other:?}"),
    };
    items.into_iter().map(pair).collect()
}

/// A RESP2 map of numbers, such as STAT and PUSH answer.
fn numbers<W: AsRef<[u8]>>(client: &mut Client, words: &[W]) -> BTreeMap<String, i64> {
    let Value::Array(items) = client.raw(words).unwrap() else { panic!("no map") };
    let pair = |pair: &[Value]| match pair {
        [Value::BulkString(name), Value::Int(number)] => (String::from_utf8(name.clone()).unwrap(), *number),
        other => panic!("no number: {other:?}"),
    };
    items.chunks(2).map(pair).collect()
}

/// The counter that the module keeps, what it says, and the numbers it gives all fit the events that are there.
fn assert_exact(client: &mut Client, when: &str) {
    let events = held(client);
    let real = events.iter().map(Vec::len).sum::<usize>() as i64;
    let counter = client.ask(&format!("GET {BYTES}"));
    let counter = if counter == "nil" { "0" } else { &counter };
    assert_eq!(counter, real.to_string(), "{when}: the counter beside {} events", events.len());
    assert_told_exactly(client, when);
}

/// What the module says fits the events; the counter may wait for the next write.
fn assert_told_exactly(client: &mut Client, when: &str) {
    let events = held(client);
    let stat = numbers(client, &["MIROIR.CDC.STAT", KEY]);
    assert_eq!(stat["bytes"], events.iter().map(Vec::len).sum::<usize>() as i64, "{when}: bytes in STAT");
    assert_eq!(stat["length"], events.len() as i64, "{when}: length in STAT");
    let peeked = peek(client);
    assert_eq!(peeked.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), events, "{when}: order");
    if let (Some((first, _)), Some((last, _))) = (peeked.first(), peeked.last()) {
        assert_eq!((stat["first_seq"], stat["last_seq"]), (*first, *last), "{when}: the ends");
    }
    assert!(peeked.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{when}: numbers without gaps");
}

#[test]
fn drop_oldest_counts_every_byte() {
    let server = Server::start();
    let mut client = server.client();
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 aaaa bbbb");
    assert_eq!(answer, "[accepted, 2, length, 2, bytes, 8, dropped, 0, dropped_bytes, 0, last_seq, 2]");
    assert_exact(&mut client, "below the budget");
    assert_eq!(client.ask("LRANGE miroir:cdc:overflow:s 0 -1"), "[bbbb, aaaa]", "newest at the head");
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 POLICY drop-oldest cc");
    assert_eq!(answer, "[accepted, 1, length, 3, bytes, 10, dropped, 0, dropped_bytes, 0, last_seq, 3]");
    let answer = client.ask("miroir.cdc.push miroir:cdc:overflow:s budget 10 policy drop-oldest d");
    assert_eq!(answer, "[accepted, 1, length, 3, bytes, 7, dropped, 1, dropped_bytes, 4, last_seq, 4]");
    assert_exact(&mut client, "one dropped");
    // The budget is lowered while the buffer is full.
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 3 e");
    assert_eq!(answer, "[accepted, 1, length, 2, bytes, 2, dropped, 2, dropped_bytes, 6, last_seq, 5]");
    assert_exact(&mut client, "budget lowered");
    // A batch of small events that is larger than the budget: the newest stay.
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 4 f1 f2 f3 f4");
    assert_eq!(answer, "[accepted, 4, length, 2, bytes, 4, dropped, 4, dropped_bytes, 6, last_seq, 9]");
    assert_eq!(client.ask("MIROIR.CDC.PEEK miroir:cdc:overflow:s COUNT 9"), "[[8, f3], [9, f4]]");
    assert_exact(&mut client, "batch above the budget");
    let stat = client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:s");
    assert_eq!(
        stat,
        "[length, 2, bytes, 4, first_seq, 8, last_seq, 9, dropped, 7, dropped_bytes, 16, acked, 0]"
    );
    let mut modern = server.client_resp3();
    assert!(modern.ask("MIROIR.CDC.STAT miroir:cdc:overflow:s").starts_with("{length: 2, "));
}

#[test]
fn reject_takes_all_or_none() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 POLICY reject aaaa bbbb");
    let before = client.dump();
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 POLICY reject cc d");
    assert_eq!(answer, "[accepted, 0, length, 2, bytes, 8, dropped, 0, dropped_bytes, 0, last_seq, 2]");
    assert_eq!(client.dump(), before);
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 POLICY reject c d");
    assert_eq!(answer, "[accepted, 2, length, 4, bytes, 10, dropped, 0, dropped_bytes, 0, last_seq, 4]");
    assert_exact(&mut client, "full to the last byte");
    let answer = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 10 POLICY reject ''");
    assert!(answer.starts_with("[accepted, 1, length, 5, bytes, 10,"), "an empty event fits: {answer}");
    assert_exact(&mut client, "an empty event");
}

#[test]
fn trim_pop_and_peek_keep_to_their_bounds() {
    let server = Server::start();
    let mut client = server.client();
    for line in ["POP miroir:cdc:overflow:s", "PEEK miroir:cdc:overflow:s COUNT 5"] {
        assert_eq!(client.ask(&format!("MIROIR.CDC.{line}")), "[]");
    }
    assert_eq!(client.ask("MIROIR.CDC.TRIM miroir:cdc:overflow:s BUDGET 0"), "[0, 0]");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 7"), "0");
    assert!(client.dump().is_empty(), "an unused buffer leaves no trace");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 aaaa bb cc dd ee ff");
    let cases = [
        ("", "[[1, aaaa]]"),
        ("COUNT 0", "[]"),
        ("COUNT 2", "[[1, aaaa], [2, bb]]"),
        ("COUNT 9 MAXBYTES 8", "[[1, aaaa], [2, bb], [3, cc]]"),
        ("MAXBYTES 7 COUNT 9", "[[1, aaaa], [2, bb]]"),
        ("COUNT 9 MAXBYTES 0", "[[1, aaaa]]"),
    ];
    let before = client.dump();
    for (bounds, expected) in cases {
        assert_eq!(client.ask(&format!("MIROIR.CDC.PEEK {KEY} {bounds}")), expected, "{bounds}");
    }
    assert_eq!(client.dump(), before);
    for (bounds, expected) in [
        ("COUNT 9 MAXBYTES 1", "[aaaa]"),
        ("", "[bb]"),
        ("COUNT 2 MAXBYTES 4", "[cc, dd]"),
        ("COUNT 0", "[]"),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.CDC.POP {KEY} {bounds}")), expected, "{bounds}");
        assert_exact(&mut client, bounds);
    }
    assert_eq!(client.ask("MIROIR.CDC.TRIM miroir:cdc:overflow:s BUDGET 3"), "[1, 2]");
    assert_exact(&mut client, "trimmed");
    assert_eq!(client.ask("MIROIR.CDC.TRIM miroir:cdc:overflow:s BUDGET 0"), "[1, 2]");
    assert_exact(&mut client, "emptied");
    assert_eq!(client.ask("EXISTS miroir:cdc:overflow:s"), "0");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 g");
    assert_eq!(client.ask("MIROIR.CDC.PEEK miroir:cdc:overflow:s"), "[[7, g]]", "numbers go on");
}

#[test]
fn events_are_any_bytes() {
    let server = Server::start();
    let mut client = server.client();
    let events: [&[u8]; 7] = [b"\0", b"\xff\xfe\0x", b"", b"a\r\nb\r\n", b"12345", b" ", &[0x80; 70_000]];
    let head: [&[u8]; 4] = [b"MIROIR.CDC.PUSH", KEY.as_bytes(), b"BUDGET", b"100000"];
    client.raw(&[&head[..], &events[..]].concat()).unwrap();
    assert_exact(&mut client, "binary");
    assert_eq!(peek(&mut client).into_iter().map(|(_, event)| event).collect::<Vec<_>>(), events);
    assert_eq!(blobs(client.raw(&["MIROIR.CDC.POP", KEY, "COUNT", "7"]).unwrap()), events);
    assert_exact(&mut client, "popped");
}

#[test]
fn an_acknowledgement_never_reaches_an_event_that_came_later() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 6 a1 a2 a3");
    // a1 and a2 are dropped after the consumer has read 1 to 3; a late answer then confirms 2.
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 6 a4 a5");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 2"), "0");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 3"), "1");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 3"), "0", "the retry");
    assert_exact(&mut client, "acknowledged");
    client.ask("MIROIR.CDC.TRIM miroir:cdc:overflow:s BUDGET 0");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 6 a6");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 5"), "0");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 9223372036854775807"), "1");
    assert_eq!(client.ask("MIROIR.CDC.ACK miroir:cdc:overflow:s 0"), "0");
    assert_eq!(numbers(&mut client, &["MIROIR.CDC.STAT", KEY])["acked"], 2);
    assert_exact(&mut client, "empty");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 6 a7");
    assert_eq!(client.ask("MIROIR.CDC.PEEK miroir:cdc:overflow:s"), "[[7, a7]]");
}

#[test]
fn an_acknowledgement_spares_what_raw_clients_pushed_after_it_was_read() {
    let server = Server::start();
    let mut client = server.client();
    let between: &[(&str, &[&str])] = &[
        ("raw push", &["LPUSH miroir:cdc:overflow:s new1"]),
        ("raw pop", &["RPOP miroir:cdc:overflow:s", "MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 new1"]),
        ("raw pop, then raw push", &["RPOP miroir:cdc:overflow:s", "LPUSH miroir:cdc:overflow:s new1"]),
        ("raw push, then raw pop", &["LPUSH miroir:cdc:overflow:s new1", "RPOP miroir:cdc:overflow:s"]),
        (
            "list deleted, module push",
            &["DEL miroir:cdc:overflow:s", "MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 new1"],
        ),
        ("list deleted, raw push", &["DEL miroir:cdc:overflow:s", "LPUSH miroir:cdc:overflow:s new1"]),
        (
            "all deleted, module push",
            &[
                "DEL miroir:cdc:overflow:s miroir:cdc:overflow_bytes:s miroir:cdc:overflow_stat:s",
                "MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 new1",
            ],
        ),
        ("raw push at the tail", &["RPUSH miroir:cdc:overflow:s new1"]),
        ("raw removal and push", &["LREM miroir:cdc:overflow:s 1 old2", "LPUSH miroir:cdc:overflow:s new1"]),
        ("another list renamed onto it", &["RPUSH tmp new2 new1", "RENAME tmp miroir:cdc:overflow:s"]),
        ("another list copied onto it", &["RPUSH tmp new2 new1", "COPY tmp miroir:cdc:overflow:s REPLACE"]),
    ];
    let mut reached = Vec::new();
    for (name, lines) in between {
        client.ask("FLUSHALL");
        client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 old1 old2 old3");
        let (last_read, _) = peek(&mut client).pop().unwrap();
        lines.iter().for_each(|line| assert!(!client.ask(line).starts_with("ERR"), "{line}"));
        let new = |client: &mut Client| held(client).iter().filter(|event| event.starts_with(b"new")).count();
        let expected = new(&mut client);
        client.ask(&format!("MIROIR.CDC.ACK {KEY} {last_read}"));
        if new(&mut client) != expected {
            reached.push(*name);
        }
        assert_told_exactly(&mut client, name);
    }
    assert!(reached.is_empty(), "ACK removed events that came after the PEEK: {reached:?}");
}

#[test]
fn raw_changes_are_told_at_once_and_mended_by_the_next_write() {
    let server = Server::start();
    let mut client = server.client();
    let changes = [
        "LPUSH miroir:cdc:overflow:s raw",
        "RPUSH miroir:cdc:overflow:s raw",
        "RPOP miroir:cdc:overflow:s",
        "LPOP miroir:cdc:overflow:s",
        "LREM miroir:cdc:overflow:s 0 b22",
        "LSET miroir:cdc:overflow:s 1 longer-than-before",
        "LTRIM miroir:cdc:overflow:s 0 0",
        "DEL miroir:cdc:overflow:s",
        "UNLINK miroir:cdc:overflow:s",
        "PEXPIRE miroir:cdc:overflow:s -1",
        "SET miroir:cdc:overflow_bytes:s 12345",
        "SET miroir:cdc:overflow_bytes:s -3",
        "SET miroir:cdc:overflow_bytes:s much",
        "INCRBY miroir:cdc:overflow_bytes:s 2",
        "DEL miroir:cdc:overflow_bytes:s",
        "DEL miroir:cdc:overflow_stat:s",
        "HSET miroir:cdc:overflow_stat:s first_seq x last_seq -2 dropped '' acked 1.5",
        "DEL miroir:cdc:overflow:s miroir:cdc:overflow_bytes:s",
        "RENAME miroir:cdc:overflow:s elsewhere",
        "MOVE miroir:cdc:overflow:s 5",
        "COPY other miroir:cdc:overflow:s REPLACE",
        "RENAME other miroir:cdc:overflow:s",
        "SORT other ALPHA STORE miroir:cdc:overflow:s",
        "LMOVE other miroir:cdc:overflow:s LEFT LEFT",
        "FLUSHDB",
        "FLUSHALL ASYNC",
        "SWAPDB 0 1",
        "EVAL 'redis.call([[LPUSH]], [[miroir:cdc:overflow:s]], 12, 3) redis.call([[RPOP]], [[miroir:cdc:overflow:s]])' 0",
    ];
    let writes = ["PUSH miroir:cdc:overflow:s BUDGET 40 x", "TRIM miroir:cdc:overflow:s BUDGET 40"];
    let idle = ["POP miroir:cdc:overflow:s COUNT 0", "ACK miroir:cdc:overflow:s 0"];
    let rejected = ["PUSH miroir:cdc:overflow:s BUDGET 1 POLICY reject y"];
    for write in writes.iter().chain(&idle).chain(&rejected) {
        for change in changes {
            client.ask("FLUSHALL");
            client.ask("RPUSH other 1 22 333");
            client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 40 a1 b22 c333 d4444");
            let changed = client.ask(change);
            assert!(!changed.starts_with("ERR"), "{change}: {changed}");
            assert_told_exactly(&mut client, change);
            let answer = client.ask(&format!("MIROIR.CDC.{write}"));
            assert!(!answer.starts_with("ERR"), "{write}: {answer}");
            assert_exact(&mut client, &format!("{change}, then {write}"));
        }
    }
}

#[test]
fn restore_transactions_and_scripts() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("RPUSH other 1 22 333");
    let Value::BulkString(dumped) = client.raw(&["DUMP", "other"]).unwrap() else { panic!("DUMP") };
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 40 a1");
    let words: [&[u8]; 5] = [b"RESTORE", KEY.as_bytes(), b"0", &dumped, b"REPLACE"];
    assert_eq!(client.call(&words), "OK");
    assert_told_exactly(&mut client, "restored");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 40 b");
    assert_exact(&mut client, "restored and pushed");

    for line in [
        "MULTI",
        "RPOP miroir:cdc:overflow:s",
        "MIROIR.CDC.POP miroir:cdc:overflow:s",
        "LPUSH miroir:cdc:overflow:s raw",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 40 c",
    ] {
        client.ask(line);
    }
    assert!(client.ask("EXEC").starts_with("[333, [22], "), "in one transaction");
    assert_exact(&mut client, "transaction");
    let script = "redis.call('LPUSH', KEYS[1], 'lua') \
                  redis.call('MIROIR.CDC.PUSH', KEYS[1], 'BUDGET', 40, 'lua2') \
                  return redis.call('MIROIR.CDC.POP', KEYS[1], 'COUNT', 2)";
    assert_eq!(client.call(&["EVAL", script, "1", KEY]), "[1, b]");
    assert_exact(&mut client, "script");
}

#[test]
fn raw_changes_are_not_forgotten_when_the_server_loads_its_data_again() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 a1 b22");
    client.ask("LPUSH miroir:cdc:overflow:s raw");
    assert_eq!(client.ask("DEBUG RELOAD"), "OK");
    assert_told_exactly(&mut client, "reloaded after a raw push");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 c");
    assert_exact(&mut client, "reloaded and pushed");
}

/// A master with a replica that holds what a raw client pushed behind the module's back.
fn replica_of_a_raw_push() -> (Server, Server) {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut leader, mut follower) = (master.client(), replica.client());
    leader.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 a1 b22");
    leader.ask("LPUSH miroir:cdc:overflow:s raw");
    follower.wait_for("LLEN miroir:cdc:overflow:s", |length| length == "3");
    (master, replica)
}

#[test]
fn a_replica_tells_the_bytes_that_it_holds() {
    let (_master, replica) = replica_of_a_raw_push();
    assert_told_exactly(&mut replica.client(), "on the replica");
}

#[test]
fn raw_changes_are_not_forgotten_when_a_replica_is_promoted() {
    let (_master, replica) = replica_of_a_raw_push();
    let mut client = replica.client();
    assert_eq!(client.ask("REPLICAOF NO ONE"), "OK");
    assert_told_exactly(&mut client, "promoted");
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 c");
    assert_exact(&mut client, "promoted and pushed");
}

#[test]
fn bad_arguments_and_foreign_values_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:s BUDGET 99 a1 b2");
    let mut cases: Vec<(String, &str)> = Vec::new();
    for number in ["-1", "9223372036854775808", "x", "''", "1.5"] {
        cases.push((format!("MIROIR.CDC.PUSH {KEY} BUDGET {number} e"), "'BUDGET'"));
        cases.push((format!("MIROIR.CDC.TRIM {KEY} BUDGET {number}"), "'BUDGET'"));
        cases.push((format!("MIROIR.CDC.ACK {KEY} {number}"), "'seq'"));
        for command in ["POP", "PEEK"] {
            cases.push((format!("MIROIR.CDC.{command} {KEY} COUNT {number}"), "'COUNT'"));
            cases.push((format!("MIROIR.CDC.{command} {KEY} MAXBYTES {number}"), "'MAXBYTES'"));
        }
    }
    for line in [
        "PUSH {} BUDGET 9",
        "PUSH {} 9 e",
        "PUSH {} BUDGET 9 POLICY reject",
        "PUSH {} BUDGET 9 POLICY keep e",
        "PUSH {} BUDGET 3 fine large",
        "PUSH {} BUDGET 0 e",
        "POP {} COUNT",
        "POP {} 3",
        "PEEK {} COUNT 1 COUNT 1",
        "TRIM {}",
        "TRIM {} 0",
        "TRIM {} BUDGET 0 0",
        "ACK {}",
        "ACK {} 1 2",
        "STAT {} x",
    ] {
        cases.push((format!("MIROIR.CDC.{}", line.replace("{}", KEY)), ""));
    }
    client.ask("SET miroir:cdc:overflow:list x");
    client.ask("RPUSH miroir:cdc:overflow_bytes:bytes x");
    client.ask("SET miroir:cdc:overflow_stat:stat x");
    for (key, expected) in [
        ("miroir:cdc:overflow:list", "WRONGTYPE"),
        ("miroir:cdc:overflow:bytes", "WRONGTYPE"),
        ("miroir:cdc:overflow:stat", "WRONGTYPE"),
        (BYTES, "key"),
        (STAT, "key"),
        ("miroir:cdc:overflow:_x", "key"),
        ("miroir:cdc:overflow:", "key"),
        ("miroir:cdc:overflow", "key"),
        ("miroir:tasks:s", "key"),
    ] {
        for line in ["PUSH {} BUDGET 9 e", "POP {}", "PEEK {}", "ACK {} 1", "TRIM {} BUDGET 0", "STAT {}"] {
            cases.push((format!("MIROIR.CDC.{}", line.replace("{}", key)), expected));
        }
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
}

#[test]
fn a_cursor_only_goes_forward() {
    let server = Server::start();
    let mut client = server.client();
    let key = "miroir:cdc_cursor:eu:kafka:movies";
    for (arguments, expected) in [
        ("0", "[0, 0]"),
        ("5 IFSEQ 3", "[0, 0]"),
        ("5 IFSEQ 0", "[1, 5]"),
        ("5", "[0, 5]"),
        ("4", "[0, 5]"),
        ("9 IFSEQ 4", "[0, 5]"),
        ("9 ifseq 5", "[1, 9]"),
        ("3 IFSEQ 9", "[0, 9]"),
        ("12", "[1, 12]"),
    ] {
        assert_eq!(client.ask(&format!("MIROIR.CURSOR.ADVANCE {key} {arguments}")), expected, "{arguments}");
    }
    let row = client.ask(&format!("MIROIR.GET {key} sink_name index_uid last_event_seq"));
    assert_eq!(row, "[eu:kafka, movies, 12]");
    assert_eq!(client.ask(&format!("HMGET {key} sink_name index_uid last_event_seq")), row);
    client.ask("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:http:movies 9223372036854775807");
    let dump = client.dump();
    assert_eq!(dump["miroir:cdc_cursor:_index:eu:kafka"], "set until -1: eu:kafka:movies");
    assert_eq!(dump["miroir:cdc_cursor:_index:http"], "set until -1: http:movies");
    assert_eq!(dump.len(), 4);
    client.ask("SET miroir:cdc_cursor:bad:movies x");
    client.ask("HSET miroir:cdc_cursor:spoilt:movies last_event_seq x sink_name spoilt index_uid movies");
    client.ask("SET miroir:cdc_cursor:_index:noset x");
    let mut cases = vec![
        ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:bad:movies 1", "WRONGTYPE"),
        ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:noset:movies 1", "WRONGTYPE"),
        ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:spoilt:movies 1", "last_event_seq"),
        ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:movies 1", "key"),
        ("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:_index:kafka 1", "key"),
        ("MIROIR.CURSOR.ADVANCE miroir:tasks:a 1", "key"),
    ];
    for arguments in ["-1", "x", "9223372036854775808", "1 IFSEQ", "20 IFSEQ -1", "20 IFSEQ x", "20 5"] {
        let line = format!("MIROIR.CURSOR.ADVANCE {key} {arguments}");
        cases.push((line.leak(), ""));
    }
    assert_refused(&mut client, &cases);
}
