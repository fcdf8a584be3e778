//! Jobs, fences, logins, scoped keys and buffers in a cluster: while a slot moves, and when it has moved or has come back.

mod support;

use support::audit::audit;
use support::cluster::{self, Node};

const SETUP: &[&str] = &[
    "MIROIR.PUT {m}:jobs:held type dump created_at 1",
    "MIROIR.PUT {m}:jobs:waiting type dump created_at 2",
    "MIROIR.JOB.CLAIM {m}:jobs pod 600000 ID held",
    "MIROIR.PUT {m}:session:s pinned_group g",
    "MIROIR.LEASE.ACQUIRE {m}:lease:leader pod 600000",
    "MIROIR.LOGIN.CHECK {m}:ratelimit:adminlogin:ip 5 600000",
    "MIROIR.LOGIN.FAIL {m}:ratelimit:adminlogin:ip 1 600000 600000",
    "MIROIR.SCOPEDKEY.ROTATE {m}:search_ui_scoped_key:movies u 1",
    "MIROIR.SCOPEDKEY.OBSERVE {m}:search_ui_scoped_key:movies pod 1 PX 600000",
    "MIROIR.POD.BEAT {m}:live_pods pod",
    "MIROIR.PUT {m}:admin_session:a csrf_token c admin_key_hash h",
];

/// The node that has the slot of {m}, set up; the other one; and the slot.
fn set_up(nodes: &mut [Node]) -> (&mut Node, &mut Node, String) {
    let slot = nodes[0].client.ask("CLUSTER KEYSLOT {m}");
    let [first, second, ..] = nodes else { panic!("two nodes") };
    let is_first = !first.client.ask("GET {m}:x").starts_with("MOVED");
    let (from, to) = if is_first { (first, second) } else { (second, first) };
    for line in SETUP {
        let answer = from.client.ask(line);
        assert!(!answer.starts_with("ERR") && !answer.starts_with("MOVED"), "{line}: {answer}");
    }
    (from, to, slot)
}

#[test]
fn nothing_is_decided_by_half_of_a_structure_while_its_slot_moves() {
    let mut nodes = cluster::masters(2);
    let (from, to, slot) = set_up(&mut nodes);
    cluster::open_slot(from, to, &slot);
    let moved = "{m}:jobs:_queued {m}:lease:_tokens {m}:ratelimit:adminlogin:backoff:ip {m}:live_pods \
                 {m}:search_ui_scoped_key_observed:pod:movies";
    from.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {moved}", to.server.port()));

    let before = from.client.ask("DEBUG DIGEST");
    for line in [
        "MIROIR.JOB.FINISH {m}:jobs:held pod 1 queued",
        "MIROIR.SCOPEDKEY.READY {m}:search_ui_scoped_key:movies",
        "MIROIR.SCOPEDKEY.RETIRE {m}:search_ui_scoped_key:movies 1",
        "MIROIR.SCOPEDKEY.OBSERVE {m}:search_ui_scoped_key:movies pod 1",
        "MIROIR.LOGIN.CHECK {m}:ratelimit:adminlogin:ip 5 600000",
        "MIROIR.LOGIN.OK {m}:ratelimit:adminlogin:ip",
        "MIROIR.LOGIN.FAIL {m}:ratelimit:adminlogin:ip 1 600000 600000",
        // The right token, which only the hash that has moved could tell.
        "MIROIR.TOUCH {m}:session:s FENCE {m}:lease:leader 1",
        "MIROIR.ADMIN.REVOKE {m}:admin_session:a FENCE {m}:lease:leader 1",
    ] {
        let answer = from.client.ask(line);
        assert!(answer.starts_with("TRYAGAIN ") || answer.starts_with("ASK "), "{line}: {answer}");
        assert_eq!(from.client.ask("DEBUG DIGEST"), before, "{line}");
    }
    // Where it cannot be asked who has seen a rotation, the previous key stays.
    let answer = from.client.ask("MIROIR.SCOPEDKEY.READY {m}:search_ui_scoped_key:movies PODS 1 pod");
    assert!(answer == "[0, [pod]]" || answer.starts_with("TRYAGAIN "), "{answer}");
    // What needs no second key goes on.
    assert_eq!(from.client.ask("MIROIR.JOB.RENEW {m}:jobs:held pod 1 700000"), "1");
    assert_eq!(from.client.ask("MIROIR.ADMIN.REVOKE {m}:admin_session:a"), "1");
}

#[test]
fn a_slot_takes_its_claims_and_tenures_along() {
    let mut nodes = cluster::masters(2);
    let (from, to, slot) = set_up(&mut nodes);
    cluster::move_slot(from, to, &slot, |_, _| ());
    for (line, expected) in [
        ("MIROIR.TOUCH {m}:session:s FENCE {m}:lease:leader 9", "STALE "),
        ("MIROIR.TOUCH {m}:session:s FENCE {m}:lease:leader 1", "1"),
        ("MIROIR.JOB.RENEW {m}:jobs:held pod 1 700000", "1"),
        ("MIROIR.JOB.CLAIM {m}:jobs pod 600000 COUNT 9 FENCE {m}:lease:leader 1", "[[waiting, 1, "),
        ("MIROIR.LOGIN.CHECK {m}:ratelimit:adminlogin:ip 5 600000", "[0, 4, "),
        ("MIROIR.LOGIN.FAIL {m}:ratelimit:adminlogin:ip 1 600000 600000", "[2, 600000]"),
        ("MIROIR.SCOPEDKEY.READY {m}:search_ui_scoped_key:movies", "[1, []]"),
        ("MIROIR.JOB.FINISH {m}:jobs:held pod 1 queued", "1"),
        ("MIROIR.JOB.CLAIM {m}:jobs other 600000", "[[held, 2, "),
    ] {
        let answer = to.client.ask(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
        let answer = from.client.ask(line);
        assert!(answer.starts_with("MOVED "), "{line}: {answer}");
    }
}

#[test]
fn nothing_is_begun_anew_where_a_slot_moves_to() {
    let mut nodes = cluster::masters(2);
    let (from, to, slot) = set_up(&mut nodes);
    from.client.run(&[
        "MIROIR.PUT {m}:canary:c name n index_uid i interval_s 60 query_json {} assertions_json []",
        "MIROIR.CANARY.RECORD {m}:canary_runs:c 1000 pass 5",
    ]);
    cluster::open_slot(from, to, &slot);
    // The keys that clients name are there, and what is kept beside them is not.
    let moved = "{m}:ratelimit:adminlogin:ip {m}:search_ui_scoped_key:movies {m}:canary:c {m}:canary:_index";
    from.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {moved}", to.server.port()));
    let before = to.client.ask("DEBUG DIGEST");
    for line in [
        "MIROIR.LOGIN.FAIL {m}:ratelimit:adminlogin:ip 1 600000 600000",
        "MIROIR.LOGIN.CHECK {m}:ratelimit:adminlogin:ip 5 600000",
        "MIROIR.LOGIN.OK {m}:ratelimit:adminlogin:ip",
        "MIROIR.SCOPEDKEY.OBSERVE {m}:search_ui_scoped_key:movies pod 2",
        "MIROIR.DEL {m}:canary:c",
    ] {
        let answer = from.client.ask(line);
        assert!(answer.starts_with("ASK "), "{line}: {answer}");
        to.order("ASKING");
        let answer = to.client.ask(line);
        assert!(answer.starts_with("TRYAGAIN "), "{line}: {answer}");
        assert_eq!(to.client.ask("DEBUG DIGEST"), before, "{line}");
    }
    // The rest finds its place.
    cluster::move_slot(from, to, &slot, |_, _| ());
    for (line, expected) in [
        ("MIROIR.LOGIN.FAIL {m}:ratelimit:adminlogin:ip 1 600000 600000", "[2, 600000]"),
        ("MIROIR.SCOPEDKEY.READY {m}:search_ui_scoped_key:movies", "[1, []]"),
        ("MIROIR.DEL {m}:canary:c", "1"),
        ("EXISTS {m}:canary_runs:c", "0"),
    ] {
        assert_eq!(to.client.ask(line), expected, "{line}");
    }
}

#[test]
fn a_slot_that_comes_back_brings_what_happened_to_it_elsewhere() {
    let mut nodes = cluster::masters(2);
    let (from, to, slot) = set_up(&mut nodes);
    let push =
        |sink: &str, events: &str| format!("MIROIR.CDC.PUSH {{m}}:cdc:overflow:{sink} BUDGET 100 {events}");
    let acquire = |scope: &str, pod: &str| format!("MIROIR.LEASE.ACQUIRE {{m}}:lease:{scope} {pod} 600000");
    for sink in ["untouched", "longer", "shorter", "emptied"] {
        from.client.succeed(&push(sink, "a b"));
    }
    from.client.succeed(&acquire("other", "pod"));
    cluster::move_slot(from, to, &slot, |_, _| ());
    to.client.run(&[
        &push("longer", "c d e"),
        "MIROIR.CDC.ACK {m}:cdc:overflow:longer 1",
        "MIROIR.CDC.ACK {m}:cdc:overflow:shorter 1",
        &push("emptied", "c d e"),
        "MIROIR.CDC.POP {m}:cdc:overflow:emptied COUNT 9",
        "MIROIR.LEASE.RELEASE {m}:lease:other pod",
        &acquire("other", "next"),
    ]);
    cluster::move_slot(to, from, &slot, |_, _| ());
    for (line, expected) in [
        ("MIROIR.LEASE.GET {m}:lease:leader", "[pod, "),
        ("MIROIR.TOUCH {m}:session:s FENCE {m}:lease:leader 1", "1"),
        ("MIROIR.LEASE.RENEW {m}:lease:leader pod 700000 TOKEN 1", "[1, pod, 700000, 1]"),
        ("MIROIR.LEASE.RENEW {m}:lease:other pod 600000 TOKEN 1", "[0, next, "),
        ("MIROIR.LEASE.RENEW {m}:lease:other next 600000 TOKEN 2", "[1, next, 600000, 2]"),
        ("MIROIR.CDC.PEEK {m}:cdc:overflow:untouched COUNT 9", "[[1, a], [2, b]]"),
        ("MIROIR.CDC.PEEK {m}:cdc:overflow:longer COUNT 9", "[[2, b], [3, c], [4, d], [5, e]]"),
        ("MIROIR.CDC.PEEK {m}:cdc:overflow:shorter COUNT 9", "[[2, b]]"),
        ("MIROIR.CDC.PEEK {m}:cdc:overflow:emptied COUNT 9", "[]"),
        ("MIROIR.JOB.RENEW {m}:jobs:held pod 1 700000", "1"),
    ] {
        let answer = from.client.ask(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
    for (sink, number) in [("untouched", 3), ("longer", 6), ("shorter", 3), ("emptied", 6)] {
        let answer = from.client.ask(&push(sink, "f"));
        assert!(answer.ends_with(&format!("last_seq, {number}]")), "{sink}: {answer}");
    }
    assert_eq!(audit(&mut from.client, "{m}", "COUNT 1000"), []);
    assert_eq!(audit(&mut to.client, "{m}", "COUNT 1000"), []);
}
