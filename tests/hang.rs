//! A server that hangs, and wakes with commands waiting that were sent meanwhile: what was promised for a time is over
//! when the time is.

mod support;

use std::time::Duration;

use support::{Client, Server};

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What lasts for a second.
const PROMISED: &[&str] = &[
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 1000",
    "MIROIR.LEASE.ACQUIRE miroir:lease:other pod-1 1000",
    "MIROIR.PUT miroir:jobs:a type dump",
    "MIROIR.JOB.CLAIM miroir:jobs pod-1 1000",
    "MIROIR.IDEMP.BEGIN miroir:idemp:locked HASH t1 LOCK 1000",
    "MIROIR.IDEMP.BEGIN miroir:idemp:short HASH t1 PX 1000",
    "MIROIR.PUT miroir:session:s PX 1000 pinned_group g",
    "MIROIR.PUT miroir:admin_session:s PX 1000 csrf_token x admin_key_hash y",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 1 1000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:192.0.2.1 1 1000 1000",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u 1",
    "MIROIR.SCOPEDKEY.OBSERVE miroir:search_ui_scoped_key:movies pod-1 1 PX 1000",
    "MIROIR.POD.BEAT miroir:live_pods pod-1",
];

/// What is asked while it hangs, and what it has to answer. Behind `…` come times.
const ASKED: &[(&str, &str)] = &[
    ("MIROIR.LEASE.GET miroir:lease:leader", "nil"),
    ("MIROIR.LEASE.RENEW miroir:lease:leader pod-1 600000 TOKEN 1", "[0, nil, 0, 1]"),
    ("MIROIR.LEASE.RELEASE miroir:lease:leader pod-1 TOKEN 1", "-2"),
    ("MIROIR.PUT miroir:aliases:a FENCE miroir:lease:leader 1 kind single current_uid u", "STALE …"),
    ("MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-2 600000", "[1, pod-2, 600000, 2]"),
    ("MIROIR.LEASE.ACQUIRE miroir:lease:other pod-1 600000", "[1, pod-1, 600000, 2]"),
    ("MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 600000", "0"),
    ("MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 completed", "0"),
    ("MIROIR.JOB.CLAIM miroir:jobs pod-2 600000", "[[a, 2, …"),
    ("MIROIR.IDEMP.BEGIN miroir:idemp:locked HASH t2 LOCK 600000", "[new, t2]"),
    ("MIROIR.IDEMP.COMPLETE miroir:idemp:locked t1", "0"),
    ("MIROIR.IDEMP.COMPLETE miroir:idemp:short t1", "-2"),
    ("MIROIR.GET miroir:session:s", "nil"),
    ("MIROIR.TOUCH miroir:session:s", "-2"),
    ("MIROIR.COUNT miroir:session", "0"),
    ("MIROIR.LIST miroir:admin_session IDS", "[]"),
    ("MIROIR.ADMIN.REVOKE miroir:admin_session:s", "-2"),
    ("MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 1 1000", "[1, 0, 0, …"),
    ("MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:192.0.2.1 5 60000", "[1, …"),
    ("MIROIR.SCOPEDKEY.READY miroir:search_ui_scoped_key:movies PODS 1 pod-1", "[0, [pod-1]]"),
    ("MIROIR.POD.LIVE miroir:live_pods WITHIN 1000", "[]"),
];

fn packed(line: &str) -> Vec<u8> {
    let line = line.replace("HASH", HASH);
    let mut words = line.split(' ');
    redis::cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).get_packed_command()
}

fn assert_answer(client: &mut Client, line: &str, expected: &str) {
    let answer = match client.connection.recv_response() {
        Ok(redis::Value::ServerError(error)) => format!("{} …", error.code()),
        Ok(value) => support::show(&value),
        Err(error) => error.to_string(),
    };
    let is_so = match expected.strip_suffix('…') {
        Some(beginning) => answer.starts_with(beginning),
        None => answer == expected,
    };
    assert!(is_so, "{line}: expected {expected}, got {answer}");
}

#[test]
fn what_was_promised_for_a_time_is_over_when_a_server_wakes_too_late() {
    let server = Server::start();
    let mut client = server.client();
    for line in PROMISED {
        client.succeed(&line.replace("HASH", HASH));
    }
    server.pause();
    std::thread::sleep(Duration::from_millis(1100));
    for (line, _) in ASKED {
        client.connection.send_packed_command(&packed(line)).unwrap();
    }
    server.resume();
    for (line, expected) in ASKED {
        assert_answer(&mut client, line, expected);
    }
    assert_eq!(support::audit::lasting(&mut client, "miroir"), []);
}
