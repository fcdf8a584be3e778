//! Jobs, fences, logins and scoped keys in a cluster: while a slot moves, and after a failover.

mod support;

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
