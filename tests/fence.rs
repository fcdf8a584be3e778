//! FENCE: the server itself turns away a leader that was deposed, whatever it writes.

mod support;

use support::effects::{assert_native_effects, transaction};
use support::{assert_refused, cluster, Client, Server};

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const LEASE: &str = "m:lease:leader";

/// What the commands below work on.
const SETUP: &[&str] = &[
    "MIROIR.PUT m:tasks:t index_uid movies",
    "MIROIR.PUT m:tasks:gone index_uid movies",
    "MIROIR.PUT m:tasks:old created_at 5 status failed",
    "MIROIR.PUT m:aliases:a kind single current_uid v1",
    "MIROIR.PUT m:session:s pinned_group g",
    "MIROIR.PUT m:jobs:j type dump created_at 1",
    "MIROIR.PUT m:jobs:k type dump created_at 2",
    "MIROIR.JOB.CLAIM m:jobs pod 600000 ID k",
    "MIROIR.IDEMP.BEGIN m:idemp:k SHA task LOCK 600000",
    "MIROIR.IDEMP.BEGIN m:idemp:l SHA task LOCK 600000",
    "MIROIR.PUT m:admin_session:a csrf_token c admin_key_hash h",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:movies u1 1",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:movies u2 2",
    "MIROIR.CDC.PUSH m:cdc:overflow:k BUDGET 100 one two three four",
    // Without a worker since long ago.
    "HSET m:jobs:lost id lost type dump state in_progress created_at 3 claim_expires_at 5",
    "SADD m:jobs:_index lost",
];

/// Every command that takes FENCE, each where it changes something, with the option at its place; and its own keys.
/// In this order each has something to do.
const FENCED: &[(&str, &str)] = &[
    ("PUT m:tasks:new FENCE LEASE index_uid movies", "m:tasks:new"),
    ("PUT m:tasks:t XX FENCE LEASE index_uid books", "m:tasks:t"),
    ("PUT m:session:s FENCE LEASE PX 5000000 pinned_group h", "m:session:s"),
    ("PATCH m:tasks:t FENCE LEASE index_uid songs", "m:tasks:t"),
    ("DEL m:tasks:gone m:tasks:new FENCE LEASE", "m:tasks:gone, m:tasks:new"),
    ("TOUCH m:session:s FENCE LEASE", "m:session:s"),
    ("TOUCH m:session:s PX 4000000 FENCE LEASE", "m:session:s"),
    ("PRUNE m:tasks BEFORE 6 FENCE LEASE", "m:tasks"),
    ("TASK.STATUS m:tasks:t processing FENCE LEASE", "m:tasks:t"),
    ("TASK.STATUS m:tasks:t failed ERROR x FENCE LEASE", "m:tasks:t"),
    ("TASK.NODE m:tasks:t n UID 1 FENCE LEASE", "m:tasks:t"),
    ("ALIAS.FLIP m:aliases:a v2 FENCE LEASE", "m:aliases:a"),
    ("ALIAS.FLIP m:aliases:a v3 RETAIN 3 FENCE LEASE IFVERSION 2", "m:aliases:a"),
    ("CURSOR.ADVANCE m:cdc_cursor:k:movies 5 FENCE LEASE", "m:cdc_cursor:k:movies"),
    ("CURSOR.ADVANCE m:cdc_cursor:k:movies 6 FENCE LEASE IFSEQ 5", "m:cdc_cursor:k:movies"),
    ("CANARY.RECORD m:canary_runs:c 5 pass 7 FENCE LEASE KEEP 3", "m:canary_runs:c"),
    ("CDC.PUSH m:cdc:overflow:k BUDGET 100 FENCE LEASE five", "m:cdc:overflow:k"),
    ("CDC.POP m:cdc:overflow:k FENCE LEASE", "m:cdc:overflow:k"),
    ("CDC.ACK m:cdc:overflow:k 2 FENCE LEASE", "m:cdc:overflow:k"),
    ("CDC.TRIM m:cdc:overflow:k BUDGET 4 FENCE LEASE", "m:cdc:overflow:k"),
    ("JOB.CLAIM m:jobs pod 600000 COUNT 1 FENCE LEASE", "m:jobs"),
    ("JOB.RENEW m:jobs:j pod 1 700000 FENCE LEASE", "m:jobs:j"),
    ("JOB.FINISH m:jobs:j pod 1 completed FENCE LEASE PROGRESS {}", "m:jobs:j"),
    ("JOB.RECLAIM m:jobs FENCE LEASE LIMIT 5", "m:jobs"),
    ("IDEMP.BEGIN m:idemp:new SHA task FENCE LEASE", "m:idemp:new"),
    ("IDEMP.COMPLETE m:idemp:k task FENCE LEASE PX 5000000", "m:idemp:k"),
    ("IDEMP.ABORT m:idemp:l task FENCE LEASE", "m:idemp:l"),
    ("SCOPEDKEY.ROTATE m:search_ui_scoped_key:movies u3 3 FENCE LEASE", "m:search_ui_scoped_key:movies"),
    ("SCOPEDKEY.OBSERVE m:search_ui_scoped_key:movies pod 3 FENCE LEASE", "m:search_ui_scoped_key:movies"),
    ("SCOPEDKEY.RETIRE m:search_ui_scoped_key:movies 3 FORCE FENCE LEASE", "m:search_ui_scoped_key:movies"),
    ("ADMIN.REVOKE m:admin_session:a FENCE LEASE", "m:admin_session:a"),
];

/// A command as it is sent, with a fence.
fn line(command: &str, fence: &str) -> String {
    format!("MIROIR.{}", command.replace("LEASE", fence).replace("SHA", SHA))
}

fn set_up(client: &mut Client) {
    for command in SETUP {
        let answer = client.ask(&command.replace("SHA", SHA));
        assert!(!answer.starts_with("ERR"), "{command}: {answer}");
    }
}

/// A server with something for every command to change, and a lease that a pod holds with the token 2.
fn populated() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    set_up(&mut client);
    client.ask("MIROIR.LEASE.ACQUIRE m:lease:leader deposed 600000");
    client.ask("MIROIR.LEASE.RELEASE m:lease:leader deposed");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE m:lease:leader pod 600000"), "[1, pod, 600000, 2]");
    (server, client)
}

/// Asserts that no command passes this fence, and that none changes anything.
fn assert_stale(client: &mut Client, fence: &str) {
    let before = client.dump();
    for (command, _) in FENCED {
        let answer = client.ask(&line(command, fence));
        assert!(answer.starts_with("STALE "), "{command} with {fence}: {answer}");
        assert!(answer.contains("m:lease:"), "{command}: the error names the lease: {answer}");
        assert_eq!(client.dump(), before, "{command} with {fence}");
    }
}

#[test]
fn every_command_passes_with_the_token_of_the_lease_that_is_held() {
    let (_server, mut client) = populated();
    for (command, _) in FENCED {
        let before = client.dump();
        let answer = client.ask(&line(command, "m:lease:leader 2"));
        assert!(
            !["ERR", "STALE", "0", "-2", "nil", "[]"].contains(&answer.split(' ').next().unwrap()),
            "{command}: {answer}"
        );
        assert!(client.dump() != before, "{command}: {answer}, but nothing changed");
        let lease = client.ask("MIROIR.LEASE.GET m:lease:leader");
        assert!(lease.starts_with("[pod, ") && lease.ends_with(", 2]"), "{command}: {lease}");
    }
}

#[test]
fn no_command_passes_with_the_token_of_another_tenure() {
    let (_server, mut client) = populated();
    for token in ["0", "1", "3", "9223372036854775807"] {
        assert_stale(&mut client, &format!("m:lease:leader {token}"));
    }
}

#[test]
fn no_command_passes_when_the_lease_is_not_held() {
    let (_server, mut client) = populated();
    assert_stale(&mut client, "m:lease:never 0");
    assert_stale(&mut client, "m:lease:never 1");
    client.ask("MIROIR.LEASE.ACQUIRE m:lease:short pod 1");
    client.wait_for("MIROIR.LEASE.GET m:lease:short", |answer| answer == "nil");
    assert_stale(&mut client, "m:lease:short 1");
    client.ask("MIROIR.LEASE.RELEASE m:lease:leader pod");
    assert_stale(&mut client, "m:lease:leader 2");
    client.ask("DEL m:lease:_tokens");
    assert_stale(&mut client, "m:lease:leader 2");
}

#[test]
fn a_lease_that_a_raw_client_took_has_no_token_to_pass_with() {
    let (_server, mut client) = populated();
    // Over the lease that is held, without an end to it before.
    client.ask("SET m:lease:leader other PX 600000");
    assert_stale(&mut client, "m:lease:leader 2");
    client.ask("DEL m:lease:leader");
    client.ask("SET m:lease:leader other PX 600000");
    for token in ["0", "1", "2", "3"] {
        assert_stale(&mut client, &format!("m:lease:leader {token}"));
    }
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE m:lease:leader other 600000"), "[1, other, 600000, 3]");
    assert_eq!(client.ask("MIROIR.PATCH m:tasks:t FENCE m:lease:leader 3 index_uid x"), "1");
}

#[test]
fn a_lease_that_ran_out_is_dead_before_it_is_deleted() {
    let (_server, mut client) = populated();
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    client.ask("MIROIR.LEASE.ACQUIRE m:lease:short pod 50");
    let stale =
        client.wait_for("MIROIR.PATCH m:tasks:t FENCE m:lease:short 1 index_uid y", |answer| answer != "1");
    assert!(stale.starts_with("STALE "), "{stale}");
}

#[test]
fn a_stale_fence_is_told_also_where_nothing_would_be_done() {
    let (_server, mut client) = populated();
    for command in [
        "PATCH m:tasks:none FENCE LEASE index_uid x",
        "PUT m:tasks:t NX FENCE LEASE index_uid x",
        "DEL m:tasks:none FENCE LEASE",
        "TOUCH m:session:none FENCE LEASE",
        "PRUNE m:tasks BEFORE 0 FENCE LEASE",
        "TASK.STATUS m:tasks:old succeeded FENCE LEASE",
        "CDC.POP m:cdc:overflow:none FENCE LEASE",
        "CDC.ACK m:cdc:overflow:k 0 FENCE LEASE",
        "JOB.CLAIM m:jobs pod 60000 TYPE none FENCE LEASE",
        "JOB.FINISH m:jobs:none pod 1 queued FENCE LEASE",
        "JOB.RECLAIM m:jobs FENCE LEASE",
        "IDEMP.BEGIN m:idemp:k SHA task FENCE LEASE",
        "IDEMP.ABORT m:idemp:none task FENCE LEASE",
        "SCOPEDKEY.RETIRE m:search_ui_scoped_key:none 1 FENCE LEASE",
        "ADMIN.REVOKE m:admin_session:none FENCE LEASE",
    ] {
        let answer = client.ask(&line(command, "m:lease:leader 1"));
        assert!(answer.starts_with("STALE "), "{command}: {answer}");
        let answer = client.ask(&line(command, "m:lease:leader 2"));
        assert!(!answer.starts_with("STALE ") && !answer.starts_with("ERR"), "{command}: {answer}");
    }
}

#[test]
fn bad_fences_are_refused_by_every_command() {
    let (_server, mut client) = populated();
    client.ask("RPUSH m:lease:list x");
    client.ask("SADD odd:lease:_tokens leader");
    client.ask("SET odd:lease:leader pod PX 600000");
    client.ask("HSET spoilt:lease:_tokens leader many");
    client.ask("SET spoilt:lease:leader pod PX 600000");
    let mut cases = Vec::new();
    for (command, _) in FENCED {
        for token in ["-1", "x", "''", "1.5", "9223372036854775808", "' 2'"] {
            cases.push((line(command, &format!("m:lease:leader {token}")), "token"));
        }
        for key in ["m:tasks:t", "m:lease", "m:lease:", "m:lease:_tokens", "m:lease:_x", "leader", "''"] {
            cases.push((line(command, &format!("{key} 2")), "key"));
        }
        // What follows the options of a push are events, whatever they say.
        if !command.starts_with("CDC.PUSH") {
            cases.push((line(command, "m:lease:leader 2 FENCE m:lease:leader 2"), ""));
        }
        cases.push((line(command, "m:lease:list 1"), "WRONGTYPE"));
        cases.push((line(command, "odd:lease:leader 1"), "WRONGTYPE"));
        cases.push((line(command, "spoilt:lease:leader 1"), "token"));
        // The option stands at the end of these, so that nothing but its words can be missing.
        if command.ends_with("LEASE") {
            cases.push((line(command, ""), "lease"));
            cases.push((line(command, "m:lease:leader"), "token"));
        }
    }
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
}

#[test]
fn commands_that_take_no_fence_say_so() {
    let (_server, mut client) = populated();
    for command in [
        "LEASE.ACQUIRE m:lease:other pod 60000",
        "LEASE.RENEW m:lease:leader pod 60000",
        "LEASE.RELEASE m:lease:leader pod",
        "LEASE.GET m:lease:leader",
        "RATELIMIT.HIT m:ratelimit:searchui:ip 5 60000",
        "LOGIN.CHECK m:ratelimit:adminlogin:ip 5 60000",
        "LOGIN.FAIL m:ratelimit:adminlogin:ip 1 1000 2000",
        "LOGIN.OK m:ratelimit:adminlogin:ip",
        "POD.BEAT m:live_pods pod",
        "POD.LIVE m:live_pods",
        "SCOPEDKEY.READY m:search_ui_scoped_key:movies",
        "LIST m:tasks",
        "COUNT m:tasks",
        "CDC.PEEK m:cdc:overflow:k",
        "CDC.STAT m:cdc:overflow:k",
        "CANARY.RUNS m:canary_runs:c",
    ] {
        let before = client.dump();
        let answer = client.ask(&format!("MIROIR.{command} FENCE m:lease:leader 2"));
        assert!(answer.starts_with("ERR "), "{command}: {answer}");
        assert_eq!(client.dump(), before, "{command}");
        let keys = client.ask(&format!("COMMAND GETKEYS MIROIR.{command} FENCE m:lease:leader 2"));
        assert!(!keys.contains(", m:lease:leader]"), "{command}: {keys}");
    }
}

#[test]
fn the_lease_is_a_key_of_the_command() {
    let (_server, mut client) = populated();
    for (command, keys) in FENCED {
        let command = line(command, "m:lease:leader 2");
        assert_eq!(
            client.ask(&format!("COMMAND GETKEYS {command}")),
            format!("[{keys}, {LEASE}]"),
            "{command}"
        );
        let lower = command.replace(" FENCE ", " fence ");
        assert_eq!(client.ask(&format!("COMMAND GETKEYS {lower}")), format!("[{keys}, {LEASE}]"), "{lower}");
    }
}

#[test]
fn the_word_as_a_value_is_no_option_and_no_key() {
    let (_server, mut client) = populated();
    for (command, keys) in [
        ("PUT m:tasks:x index_uid FENCE error m:lease:leader task_type 1", "m:tasks:x"),
        ("PATCH m:tasks:t error FENCE index_uid 2", "m:tasks:t"),
        ("TASK.NODE m:tasks:t FENCE UID 1", "m:tasks:t"),
        ("TASK.NODE m:tasks:t FENCE ERROR FENCE UID 1", "m:tasks:t"),
        ("TASK.STATUS m:tasks:t failed ERROR FENCE", "m:tasks:t"),
        ("ALIAS.FLIP m:aliases:a FENCE RETAIN 5", "m:aliases:a"),
        ("CANARY.RECORD m:canary_runs:FENCE 5 pass 7", "m:canary_runs:FENCE"),
        ("CDC.PUSH m:cdc:overflow:k BUDGET 500 a FENCE m:lease:leader 1", "m:cdc:overflow:k"),
        ("JOB.CLAIM m:jobs FENCE 60000 TYPE FENCE ID FENCE", "m:jobs"),
        ("JOB.RENEW m:jobs:k FENCE 1 60000", "m:jobs:k"),
        ("JOB.FINISH m:jobs:k pod 1 failed ERROR FENCE", "m:jobs:k"),
        ("IDEMP.BEGIN m:idemp:fenced SHA FENCE LOCK 5000", "m:idemp:fenced"),
        ("IDEMP.COMPLETE m:idemp:fenced FENCE PX 5000", "m:idemp:fenced"),
        ("IDEMP.ABORT m:idemp:fenced FENCE", "m:idemp:fenced"),
        (
            "SCOPEDKEY.ROTATE m:search_ui_scoped_key:movies FENCE 9 PRIMARYKEY FENCE",
            "m:search_ui_scoped_key:movies",
        ),
        ("SCOPEDKEY.OBSERVE m:search_ui_scoped_key:movies FENCE 9", "m:search_ui_scoped_key:movies"),
        ("SCOPEDKEY.READY m:search_ui_scoped_key:movies PODS 1 FENCE", "m:search_ui_scoped_key:movies"),
        ("GET m:tasks:t FENCE m:lease:leader", "m:tasks:t"),
        ("DEL m:aliases:FENCE m:jobs:FENCE", "m:aliases:FENCE, m:jobs:FENCE"),
    ] {
        let command = line(command, "");
        assert_eq!(client.ask(&format!("COMMAND GETKEYS {command}")), format!("[{keys}]"), "{command}");
        let answer = client.ask(&command);
        assert!(!answer.starts_with("ERR") && !answer.starts_with("STALE"), "{command}: {answer}");
    }
    assert_eq!(client.ask("HMGET m:tasks:x index_uid error task_type"), "[FENCE, m:lease:leader, 1]");
    assert_eq!(client.ask("HMGET m:tasks:t error"), "[FENCE]");
    assert_eq!(client.ask("HGET m:aliases:a current_uid"), "FENCE");
    assert_eq!(client.ask("HGET m:jobs:k error"), "FENCE");
    // The value and the option in one call.
    for (command, key) in [
        ("TASK.STATUS m:tasks:x canceled ERROR FENCE FENCE LEASE", "m:tasks:x"),
        ("TASK.NODE m:tasks:x FENCE FENCE LEASE ERROR FENCE", "m:tasks:x"),
        ("CDC.PUSH m:cdc:overflow:k BUDGET 500 FENCE LEASE FENCE m:lease:other 9", "m:cdc:overflow:k"),
        ("PATCH m:tasks:x FENCE LEASE error FENCE index_uid 7", "m:tasks:x"),
        ("ALIAS.FLIP m:aliases:a TARGETS 1 FENCE FENCE LEASE", "m:aliases:a"),
        (
            "SCOPEDKEY.ROTATE m:search_ui_scoped_key:movies u 8 PRIMARYKEY FENCE FENCE LEASE",
            "m:search_ui_scoped_key:movies",
        ),
    ] {
        let stale = line(command, "m:lease:leader 1");
        assert_eq!(client.ask(&format!("COMMAND GETKEYS {stale}")), format!("[{key}, {LEASE}]"), "{stale}");
        let answer = client.ask(&stale);
        assert!(answer.starts_with("STALE "), "{stale}: {answer}");
    }
    assert_eq!(
        client
            .ask("MIROIR.CDC.PUSH m:cdc:overflow:new BUDGET 99 FENCE m:lease:leader 2 FENCE x")
            .split(", ")
            .nth(1),
        Some("2")
    );
    assert_eq!(client.ask("LRANGE m:cdc:overflow:new 0 -1"), "[x, FENCE]");
}

#[test]
fn wherever_the_option_stands_the_server_knows_the_keys_that_are_used() {
    let (_server, mut client) = populated();
    for (command, keys) in FENCED {
        let bare = line(command, "LEASE").replace(" FENCE LEASE", "");
        let words: Vec<&str> = bare.split(' ').collect();
        for place in 2..=words.len() {
            let (front, back) = (words[..place].join(" "), words[place..].join(" "));
            let with = |token: i64| format!("{front} FENCE {LEASE} {token} {back}");
            client.ask("FLUSHALL");
            set_up(&mut client);
            client.ask(&format!("MIROIR.LEASE.ACQUIRE {LEASE} pod 600000"));
            let (stale, good) = (with(9), with(1));
            let known = client.ask(&format!("COMMAND GETKEYS {good}"));
            let has_fence = known.ends_with(&format!(", {LEASE}]"));
            let answer = client.ask(&stale);
            assert!(
                answer.starts_with("ERR ") || answer.starts_with("STALE ") == has_fence,
                "{stale}: {known}: {answer}"
            );
            let answer = client.ask(&good);
            assert!(!answer.starts_with("STALE "), "{good}: {answer}");
            if has_fence && !answer.starts_with("ERR ") {
                assert_eq!(known, format!("[{keys}, {LEASE}]"), "{good}: {answer}");
            }
        }
    }
}

#[test]
fn what_follows_the_fence_of_a_deletion_is_no_key() {
    let (_server, mut client) = populated();
    assert_refused(
        &mut client,
        &[
            ("MIROIR.DEL m:tasks:gone FENCE m:lease:leader 2 m:tasks:t", "'m:tasks:t'"),
            ("MIROIR.DEL FENCE m:lease:leader 2", "key"),
            ("MIROIR.DEL FENCE m:lease:leader 2 m:tasks:t", "key"),
            ("MIROIR.DEL m:tasks:gone fence m:lease:leader 2 fence m:lease:leader 2", ""),
        ],
    );
}

#[test]
fn access_to_the_lease_is_asked_for_and_reading_it_is_enough() {
    let (server, mut client) = populated();
    for (user, pattern) in [("without", ""), ("reader", "%R~m:lease:*"), ("both", "~m:lease:*")] {
        let rights = format!(
            "ACL SETUSER {user} on nopass resetkeys resetchannels allchannels +@all ~m:tasks* ~m:aliases:* \
             ~m:session:* ~m:jobs* ~m:idemp:* ~m:cdc* ~m:canary* ~m:search_ui* ~m:admin_session:* {pattern}"
        );
        assert_eq!(client.ask(&rights), "OK");
    }
    let connect = |user: &str| {
        let mut other = server.client();
        assert_eq!(other.ask(&format!("AUTH {user} any")), "OK");
        other
    };
    let (mut without, mut reader, mut both) = (connect("without"), connect("reader"), connect("both"));
    let before = client.dump();
    for (command, _) in FENCED {
        let good = line(command, "m:lease:leader 2");
        let answer = without.ask(&good);
        assert!(answer.starts_with("NOPERM"), "{good}: {answer}");
        for user in [&mut reader, &mut both] {
            let answer = user.ask(&line(command, "m:lease:leader 1"));
            assert!(answer.starts_with("STALE "), "{command}: {answer}");
        }
        assert_eq!(client.dump(), before, "{command}");
    }
    // Rights on the lease are of no matter to who uses no fence.
    assert_eq!(without.ask("MIROIR.PATCH m:tasks:t error FENCE index_uid 2"), "1");
    for user in [&mut reader, &mut both] {
        assert_eq!(user.ask("MIROIR.PATCH m:tasks:t FENCE m:lease:leader 2 index_uid x"), "1");
    }
}

#[test]
fn fences_hold_in_transactions_and_in_scripts() {
    let (_server, mut client) = populated();
    let before = client.dump();
    for (command, _) in FENCED {
        let stale = line(command, "m:lease:leader 1");
        let answer = transaction(&mut client, &[&stale]);
        assert!(answer.contains("STALE"), "{stale}: {answer}");
        let words = stale.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(",");
        let answer = client.call(&["EVAL", &format!("return redis.pcall({words}).err"), "0"]);
        assert!(answer.starts_with("STALE "), "{stale}: {answer}");
        assert_eq!(client.dump(), before, "{stale}");
    }
    // The lease changes hands inside of one transaction.
    let lines = [
        "MIROIR.PATCH m:tasks:t FENCE m:lease:leader 2 index_uid kept",
        "MIROIR.LEASE.RELEASE m:lease:leader pod TOKEN 2",
        "MIROIR.LEASE.ACQUIRE m:lease:leader next 600000",
        "MIROIR.PATCH m:tasks:t FENCE m:lease:leader 3 error kept",
    ];
    assert_eq!(transaction(&mut client, &lines), "[1, 1, [1, next, 600000, 3], 1]");
    let script = "return redis.call('MIROIR.PATCH', KEYS[1], 'FENCE', KEYS[2], 3, 'task_type', 'x')";
    assert_eq!(client.call(&["EVAL", script, "2", "m:tasks:t", LEASE]), "1");
    assert_eq!(client.ask("HMGET m:tasks:t index_uid error task_type"), "[kept, kept, x]");
}

#[test]
fn a_fence_leaves_no_trace_in_the_log_and_on_replicas() {
    let mut lines: Vec<String> = SETUP.iter().map(|command| command.replace("SHA", SHA)).collect();
    lines.push("MIROIR.LEASE.ACQUIRE m:lease:leader pod 600000".to_owned());
    lines.extend(FENCED.iter().map(|(command, _)| line(command, "m:lease:leader 1")));
    assert_native_effects(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn in_a_cluster_the_lease_has_to_be_in_the_same_slot() {
    let mut nodes = cluster::masters(1);
    let client = &mut nodes[0].client;
    let tagged = |text: &str| text.replace(" m:", " {m}:");
    for command in SETUP {
        let answer = client.ask(&tagged(&command.replace("SHA", SHA)));
        assert!(!answer.starts_with("ERR") && !answer.starts_with("CROSSSLOT"), "{command}: {answer}");
    }
    for lease in ["{m}:lease:leader", "{n}:lease:leader"] {
        client.ask(&format!("MIROIR.LEASE.ACQUIRE {lease} pod 600000"));
    }
    let before = client.dump();
    for (command, _) in FENCED {
        let command = tagged(&line(command, "{n}:lease:leader 1"));
        let answer = client.ask(&command);
        assert!(answer.starts_with("CROSSSLOT "), "{command}: {answer}");
        assert_eq!(client.dump(), before, "{command}");
    }
    for (command, _) in FENCED {
        let command = tagged(&line(command, "{m}:lease:leader 1"));
        let answer = client.ask(&command);
        assert!(
            !["ERR", "STALE", "CROSSSLOT"].contains(&answer.split(' ').next().unwrap()),
            "{command}: {answer}"
        );
    }
    // A plain namespace spreads its rows: only by chance is its lease where one of them is.
    let answer = client.ask("MIROIR.PUT m:session:s FENCE m:lease:leader 1 pinned_group g");
    assert!(answer.starts_with("CROSSSLOT "), "{answer}");
}
