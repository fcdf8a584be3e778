//! What a loss of power, a restart, and a server without the module leave of the data: all of it.

mod support;

use std::collections::BTreeMap;

use support::effects::{assert_native, logged, AOF};
use support::workload::{assert_claims_hold, work, WORKLOAD};
use support::{Client, Server};

/// That the module goes on where the data stand: tokens, sequences and byte counters.
fn goes_on(client: &mut Client) {
    client.ask("DEL miroir:lease:leader");
    let lease = client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-9 600000");
    assert_eq!(lease, "[1, pod-9, 600000, 3]");
    let seq = |client: &mut Client| {
        let stat = client.ask("MIROIR.CDC.STAT miroir:cdc:overflow:kafka");
        let words: Vec<&str> = stat.split(", ").collect();
        let place = words.iter().position(|word| *word == "last_seq").unwrap();
        words[place + 1].parse::<i64>().unwrap()
    };
    let before = seq(client);
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 next");
    assert_eq!(seq(client), before + 1);
    assert_bytes_are_exact(client, "kafka");
    assert_eq!(client.ask("MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:eu:movies 9"), "[0, 9]");
    assert_eq!(client.ask("MIROIR.ALIAS.FLIP miroir:aliases:single movies_v5 IFVERSION 3"), "4");
    assert_claims_hold(client);
}

fn assert_bytes_are_exact(client: &mut Client, sink: &str) {
    let held: Vec<Vec<u8>> = redis::cmd("LRANGE")
        .arg(format!("miroir:cdc:overflow:{sink}"))
        .arg(0)
        .arg(-1)
        .query(&mut client.connection)
        .unwrap();
    let held: usize = held.iter().map(Vec::len).sum();
    let counter = client.ask(&format!("GET miroir:cdc:overflow_bytes:{sink}"));
    assert_eq!(counter, held.to_string(), "the byte counter of {sink}");
}

#[test]
fn the_append_only_file_holds_native_commands_with_absolute_times() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    let data = work(&mut client);
    let written = logged(&server);
    assert!(written.len() > WORKLOAD.len() / 2, "only {} commands", written.len());
    assert_native(&written);

    client.rewrite_log();
    let rewritten = logged(&server);
    assert_native(&rewritten);
    assert_eq!(client.dump(), data);
}

#[test]
fn a_row_and_its_index_are_one_transaction_in_the_append_only_file() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:session:first pinned_group g");
    client.ask("MIROIR.PUT miroir:tasks:t1 index_uid movies");
    client.ask("MIROIR.DEL miroir:tasks:t1");
    let names: Vec<String> =
        logged(&server).into_iter().map(|mut words| words.remove(0).to_uppercase()).collect();
    let expected = "MULTI HSET PEXPIREAT EXEC MULTI HSET SADD EXEC MULTI DEL SREM EXEC";
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "SELECT").collect();
    assert_eq!(names.join(" "), expected);
}

#[test]
fn reads_and_refusals_leave_no_trace_in_the_append_only_file() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    let data = work(&mut client);
    let before = logged(&server).len();
    for line in [
        "MIROIR.GET miroir:tasks:t1",
        "MIROIR.LIST miroir:tasks",
        "MIROIR.COUNT miroir:session",
        "MIROIR.LEASE.GET miroir:lease:leader",
        "MIROIR.CANARY.RUNS miroir:canary_runs:c1",
        "MIROIR.CDC.PEEK miroir:cdc:overflow:kafka COUNT 9",
        "MIROIR.CDC.STAT miroir:cdc:overflow:kafka",
        "MIROIR.MEMORY miroir",
        "MIROIR.DOCTOR miroir",
        "MIROIR.PLAN ROWS tasks 5",
        "MIROIR.PUT miroir:tasks:t1 NX index_uid books",
        "MIROIR.PUT miroir:tasks:none XX index_uid books",
        "MIROIR.PUT miroir:tasks:t1 status enqueued",
        "MIROIR.PATCH miroir:tasks:none index_uid books",
        "MIROIR.PATCH miroir:node_settings_version:movies:node-0 version 1",
        "MIROIR.TASK.STATUS miroir:tasks:t1 failed",
        "MIROIR.TASK.NODE miroir:tasks:none node-0 UID 1",
        "MIROIR.ALIAS.FLIP miroir:aliases:single x IFVERSION 99",
        "MIROIR.TOUCH miroir:session:none",
        "MIROIR.TOUCH miroir:admin_session:a2",
        "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 1000",
        "MIROIR.LEASE.RELEASE miroir:lease:leader pod-1",
        "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:eu:movies 1",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 5 POLICY reject 12345",
        "MIROIR.CDC.ACK miroir:cdc:overflow:kafka 0",
        "MIROIR.PRUNE miroir:tasks BEFORE 1",
        "MIROIR.DEL miroir:tasks:none",
        "MIROIR.PUT miroir:tasks:t1 status nonsense",
    ] {
        client.ask(line);
        let now = logged(&server);
        assert_eq!(now.len(), before, "{line} wrote {:?}", &now[before..]);
    }
    assert_eq!(client.dump(), data);
}

#[test]
fn the_data_survive_a_kill_with_an_append_only_file_with_the_module_and_without_it() {
    for rewrite in [false, true] {
        let server = Server::start_with(AOF);
        let data = work(&mut server.client());
        if rewrite {
            server.client().rewrite_log();
        }
        let server = server.kill_and_restart();
        assert_eq!(server.client().dump(), data, "with the module, rewritten: {rewrite}");
        let server = server.kill_and_restart_with(AOF);
        assert!(server.client().ask("MIROIR.GET miroir:tasks:t1").starts_with("ERR unknown command"));
        assert_eq!(server.client().dump(), data, "without the module, rewritten: {rewrite}");
        let module = support::module();
        let arguments = [&["--loadmodule", module.to_str().unwrap()], AOF].concat();
        let server = server.kill_and_restart_with(&arguments);
        assert_eq!(server.client().dump(), data, "with the module again, rewritten: {rewrite}");
        goes_on(&mut server.client());
    }
}

#[test]
fn the_data_survive_a_snapshot_with_the_module_and_without_it() {
    let server = Server::start();
    let data = work(&mut server.client());
    assert_eq!(server.client().ask("SAVE"), "OK");
    let server = server.kill_and_restart();
    assert_eq!(server.client().dump(), data, "with the module");
    let server = server.kill_and_restart_with(&[]);
    assert!(server.client().ask("MIROIR.GET miroir:tasks:t1").starts_with("ERR unknown command"));
    assert_eq!(server.client().dump(), data, "without the module");
    assert_eq!(server.client().ask("SAVE"), "OK");
    let module = support::module();
    let server = server.kill_and_restart_with(&["--loadmodule", module.to_str().unwrap()]);
    assert_eq!(server.client().dump(), data, "with the module again");
    goes_on(&mut server.client());
}

#[test]
fn a_reload_in_a_running_server_changes_nothing() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    let data = work(&mut client);
    for reload in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
        assert_eq!(client.ask(reload), "OK");
        assert_eq!(client.dump(), data, "{reload}");
    }
    goes_on(&mut client);
}

/// A client that enqueues tasks and events until the server is gone.
fn hammer(mut client: Client, of: usize) {
    for round in 0.. {
        let key = format!("miroir:tasks:{of}-{round}");
        let event = format!("{of}-{round}-{}", "x".repeat(round % 50));
        let push = ["MIROIR.CDC.PUSH", "miroir:cdc:overflow:kafka", "BUDGET", "2000", &event];
        let gone = client.raw(&["MIROIR.PUT", &key, "index_uid", "movies"]).is_err()
            || client.raw(&push).is_err()
            || (round % 3 == 0 && client.raw(&["MIROIR.DEL", &key]).is_err());
        if gone {
            return;
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_the_work_parts_no_row_from_its_index_and_no_event_from_its_bytes() {
    let server = Server::start_with(AOF);
    let workers: Vec<_> = (0..4)
        .map(|of| {
            let client = server.client();
            std::thread::spawn(move || hammer(client, of))
        })
        .collect();
    server.client().wait_for("SCARD miroir:tasks:_index", |size| size.parse::<i64>().unwrap() > 300);
    let server = server.kill_and_restart();
    workers.into_iter().for_each(|worker| worker.join().unwrap());

    let mut client = server.client();
    let ids: Vec<String> =
        redis::cmd("SMEMBERS").arg("miroir:tasks:_index").query(&mut client.connection).unwrap();
    let rows: Vec<String> =
        redis::cmd("KEYS").arg("miroir:tasks:[0-9]*").query(&mut client.connection).unwrap();
    let mut indexed: Vec<String> = ids.into_iter().map(|id| format!("miroir:tasks:{id}")).collect();
    let mut rows = rows;
    indexed.sort();
    rows.sort();
    // Each worker may have deleted one more before the end.
    assert!(rows.len() > 290);
    assert_eq!(indexed, rows);
    assert_bytes_are_exact(&mut client, "kafka");
}

/// A worker that enqueues, claims, gives back and completes jobs until the server is gone.
fn toil(mut client: Client, worker: usize) {
    for round in 0.. {
        let claim = format!("MIROIR.JOB.CLAIM miroir:jobs pod-{worker} 600000 COUNT 2");
        client.ask(&format!("MIROIR.PUT miroir:jobs:{worker}-{round} type dump"));
        let words: Vec<&str> = claim.split(' ').collect();
        let Ok(claimed) = client.raw(&words) else { return };
        let claimed: Vec<(String, i64, redis::Value)> = redis::from_redis_value(claimed).unwrap();
        for (id, token, _) in claimed {
            let end = ["queued", "completed", "failed"][round % 3];
            let finish = format!("MIROIR.JOB.FINISH miroir:jobs:{id} pod-{worker} {token} {end}");
            client.ask(&finish);
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_the_work_leaves_every_job_whole() {
    let server = Server::start_with(AOF);
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let client = server.client();
            std::thread::spawn(move || toil(client, worker))
        })
        .collect();
    server.client().wait_for("SCARD miroir:jobs:_index", |size| size.parse::<i64>().unwrap() > 300);
    let server = server.kill_and_restart();
    workers.into_iter().for_each(|worker| worker.join().unwrap());

    let mut client = server.client();
    let mut ids: Vec<String> = client.read("SMEMBERS miroir:jobs:_index");
    let mut queued: Vec<String> = client.read("SMEMBERS miroir:jobs:_queued");
    let keys: Vec<String> = client.read("KEYS miroir:jobs:[0-9]*");
    assert_eq!(ids.len(), keys.len());
    ids.sort();
    queued.sort();
    let mut expected = Vec::new();
    for id in ids {
        let row: BTreeMap<String, String> = client.read(&format!("HGETALL miroir:jobs:{id}"));
        let has = |field: &str| row.contains_key(field);
        let is_claimed = row["state"] == "in_progress";
        assert_eq!(has("claim_expires_at"), is_claimed, "{row:?}");
        assert_eq!(has("finished_at"), ["completed", "failed"].contains(&row["state"].as_str()), "{row:?}");
        assert!(!is_claimed || has("claimed_by"), "{row:?}");
        assert_eq!(row.get("claim_token").map_or("0", String::as_str), row["attempts"], "{row:?}");
        if row["state"] == "queued" {
            assert!(!has("claimed_by"), "{row:?}");
            expected.push(id);
        }
    }
    assert_eq!(queued, expected);
}

#[test]
fn a_raw_write_before_a_restart_is_counted_after_it() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 one three");
    client.ask("LPUSH miroir:cdc:overflow:kafka 1234567");
    let server = server.kill_and_restart();
    let mut client = server.client();
    let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 x");
    assert!(pushed.contains("length, 4, bytes, 16, "), "bytes are the sum of what is held: {pushed}");
    assert_bytes_are_exact(&mut client, "kafka");
}

#[test]
fn no_sequence_number_is_given_twice_when_a_raw_client_empties_a_buffer_before_a_restart() {
    let server = Server::start_with(AOF);
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 a b c");
    let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 d e f");
    assert!(pushed.ends_with("last_seq, 6]"), "{pushed}");
    client.ask("DEL miroir:cdc:overflow:kafka");
    let server = server.kill_and_restart();
    let pushed = server.client().ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 x");
    assert!(pushed.ends_with("last_seq, 7]"), "a late ACK of 6 would remove this event: {pushed}");
}
