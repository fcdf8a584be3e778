//! Servers in trouble: paused, out of memory, losing their master, their module or a million keys; and rows that
//! nobody sane would write. The catalog stays exact, and nothing is written that must not be.

mod support;

use redis::Value;
use support::audit::Finding;
use support::{replicate, Client, Server};

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Writes so many tasks without index entries, in one go, and then sends a line.
fn raw_tasks(client: &mut Client, prefix: &str, number: usize, then: &[&str]) {
    let mut pipe = redis::pipe();
    for id in (0..number).map(|number| format!("{prefix}{number}")) {
        let fields = ["miroir_id", &id, "status", "failed", "created_at", "5"];
        pipe.cmd("HSET").arg(format!("miroir:tasks:{id}")).arg(&fields).ignore();
    }
    if let [name, arguments @ ..] = then {
        pipe.cmd(name).arg(arguments).ignore();
    }
    pipe.query::<()>(&mut client.connection).unwrap();
}

/// What MIROIR.AUDIT finds.
fn audit(client: &mut Client) -> Vec<Finding> {
    support::audit::audit(client, "miroir", "COUNT 1000")
}

/// Asserts that COUNT says how many keys of tasks there are, and that the catalog is not at odds with them.
fn assert_exact(client: &mut Client, when: &str) {
    let count = client.wait_for("MIROIR.COUNT miroir:tasks", |answer| !answer.starts_with("TRYAGAIN"));
    let Value::Array(keys) = client.raw(&["KEYS", "miroir:tasks:*"]).unwrap() else { panic!("KEYS") };
    let index = Value::BulkString(b"miroir:tasks:_index".to_vec());
    let rows = keys.iter().filter(|key| **key != index).count();
    assert_eq!(count, rows.to_string(), "{when}");
    let found = audit(client);
    assert!(found.iter().all(|finding| finding.kind != "catalog-at-odds"), "{when}: {found:?}");
}

#[test]
fn nothing_is_written_while_the_writes_are_paused_and_all_is_made_up_for() {
    // The end of the second cannot be asked for: it holds every command back.
    for (kind, time) in [("WRITE", "60000"), ("ALL", "300")] {
        let server = Server::start_with(AOF);
        let mut client = server.client();
        client.ask("HSET miroir:session:s session_id s min_settings_version 0");
        client.ask("PEXPIRE miroir:session:s 1");
        raw_tasks(&mut client, "t", 2000, &["CLIENT", "PAUSE", time, kind]);
        if kind == "WRITE" {
            let before = client.ask("SCARD miroir:tasks:_index");
            for line in [
                "MIROIR.COUNT miroir:tasks",
                "MIROIR.LIST miroir:tasks",
                "MIROIR.COUNT miroir:session",
                "MIROIR.MEMORY miroir SAMPLES 0",
                "MIROIR.AUDIT miroir 0 COUNT 10000",
                "INFO miroir",
            ] {
                let answer = client.ask(line);
                assert!(!answer.starts_with("ERR"), "{line}: {answer}");
            }
            assert_eq!(client.integer("MIROIR.COUNT miroir:tasks"), 2000);
            assert_eq!(client.integer("MIROIR.COUNT miroir:session"), 0);
            let refused = client.ask("MIROIR.AUDIT miroir 0 REPAIR");
            assert!(refused.contains("paused"), "{refused}");
            assert_eq!(client.ask("SCARD miroir:tasks:_index"), before);
        }
        assert_eq!(client.ask("CLIENT UNPAUSE"), "OK");
        client.wait_for("SCARD miroir:tasks:_index", |answer| answer == "2000");
        assert_eq!(audit(&mut client), [], "after {kind}");
    }
}

#[test]
fn rows_that_were_written_just_before_a_failover_get_their_index_entries() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut client, mut other) = (master.client(), replica.client());
    replicate(&mut client, &mut other);
    raw_tasks(&mut client, "t", 2000, &["FAILOVER"]);
    other.wait_for("ROLE", |role| role.starts_with("[master"));
    other.wait_for("SCARD miroir:tasks:_index", |answer| answer == "2000");
    replicate(&mut other, &mut client);
    assert_eq!(audit(&mut other), []);
    assert_exact(&mut client, "on the former master");
}

#[test]
fn scripts_and_functions_leave_what_a_server_without_the_module_can_follow() {
    let server = Server::start_with(AOF);
    let bare = Server::bare_replica_of(&server, &[]);
    let (mut client, mut other) = (server.client(), bare.client());
    let script = "for i = 1, 300 do redis.call('HSET', 'miroir:tasks:' .. i, 'miroir_id', i) \
                  if i % 50 == 0 then redis.call('MIROIR.COUNT', 'miroir:tasks') end end \
                  redis.call('DEL', 'miroir:tasks:1') return redis.call('MIROIR.COUNT', 'miroir:tasks')";
    assert_eq!(client.call(&["EVAL", script, "0"]), "299");
    let library = "#!lua name=l\n\
                   redis.register_function('write', function() redis.call('HSET', 'miroir:tasks:f', 'miroir_id', 'f') \
                   return redis.call('MIROIR.COUNT', 'miroir:tasks') end)\n\
                   redis.register_function{function_name='read', flags={'no-writes'}, callback=function() \
                   return redis.call('MIROIR.COUNT', 'miroir:tasks') end}";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]), "l");
    assert_eq!(client.ask("FCALL write 0"), "300");
    // A script that may not write, with changes before it that nobody has looked at yet.
    raw_tasks(&mut client, "t", 10, &["FCALL_RO", "read", "0"]);
    raw_tasks(&mut client, "u", 10, &["EVAL_RO", "return redis.call('MIROIR.COUNT', 'miroir:tasks')", "0"]);
    client.wait_for("SCARD miroir:tasks:_index", |answer| answer == "320");
    replicate(&mut client, &mut other);
    let digest = client.ask("DEBUG DIGEST");
    assert_eq!(other.ask("DEBUG DIGEST"), digest);
    client.ask("BGREWRITEAOF");
    let server = server.kill_and_restart();
    let mut client = server.client();
    assert_eq!(client.ask("DEBUG DIGEST"), digest);
    assert_eq!(audit(&mut client), []);
}

#[test]
fn a_script_that_does_not_end_can_be_killed() {
    let server = Server::start_with(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other) = (server.client(), server.client());
    std::thread::scope(|scope| {
        let script = "while true do redis.call('MIROIR.LIST', 'miroir:tasks') end";
        // The change before it is looked at, and the index written, in the middle of the script.
        let busy = scope.spawn(move || {
            let mut pipe = redis::pipe();
            pipe.cmd("HSET").arg(&["miroir:tasks:t", "miroir_id", "t"]).cmd("EVAL").arg(script).arg(0);
            pipe.query::<()>(&mut client.connection).unwrap_err().to_string()
        });
        other.wait_for("MIROIR.COUNT miroir:tasks", |answer| answer.starts_with("BUSY"));
        other.wait_for("SCRIPT KILL", |answer| answer == "OK");
        let killed = busy.join().unwrap();
        assert!(killed.contains("killed"), "{killed}");
    });
    assert_eq!(other.ask("MIROIR.LIST miroir:tasks IDS"), "[t]");
    assert_eq!(audit(&mut other), []);
}

#[test]
fn a_replica_whose_master_dies_in_the_middle_of_a_transfer_keeps_what_it_had() {
    for knows_master in [true, false] {
        let master = Server::bare(&["--repl-backlog-size", "1"]);
        let replica =
            Server::replica_of(&master, &["--repl-diskless-load", "swapdb", "--miroir.audit-budget-us", "0"]);
        let (mut client, mut other) = (master.client(), replica.client());
        raw_tasks(&mut client, "t", 1000, &[]);
        replicate(&mut client, &mut other);
        for line in ["CONFIG SET masterauth wrong", "CONFIG SET masteruser nobody", "CLIENT KILL TYPE master"]
        {
            other.ask(line);
        }
        if !knows_master {
            other.ask("REPLICAOF NO ONE");
            other.ask("HSET miroir:tasks:own miroir_id own");
        }
        let before = other.integer("MIROIR.COUNT miroir:tasks");
        raw_tasks(&mut client, "u", 2000, &["DEL", "miroir:tasks:t1"]);
        // Microseconds a key, so that one can look meanwhile.
        client.ask("CONFIG SET rdb-key-save-delay 2000");
        for line in [
            "CONFIG SET key-load-delay 100",
            "CONFIG SET loading-process-events-interval-bytes 1024",
            "CONFIG SET masterauth ''",
            "CONFIG SET masteruser ''",
        ] {
            other.ask(line);
        }
        if !knows_master {
            other.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        }
        let is_loading = |info: &str| info.contains("loading:1");
        other.wait_for("INFO persistence", is_loading);
        drop(master);
        other.wait_for("INFO persistence", |info| !is_loading(info));
        assert_eq!(other.integer("MIROIR.COUNT miroir:tasks"), before);
        assert_exact(&mut other, "after the master's death");
        other.ask("REPLICAOF NO ONE");
        other.ask("HSET miroir:tasks:after miroir_id after");
        other.wait_for("SISMEMBER miroir:tasks:_index after", |answer| answer == "1");
        assert_exact(&mut other, "after the promotion");
    }
}

#[test]
fn a_module_that_comes_and_goes_under_load_knows_all_rows_each_time() {
    let server = Server::bare(&[]);
    let mut client = server.client();
    raw_tasks(&mut client, "base", 5000, &[]);
    let module = support::module();
    for _ in 0..4 {
        std::thread::scope(|scope| {
            let mut writer = server.client();
            scope.spawn(move || {
                for _ in 0..30 {
                    raw_tasks(&mut writer, "w", 20, &["RENAME", "miroir:tasks:w1", "miroir:tasks:renamed"]);
                    writer.ask("PEXPIRE miroir:tasks:renamed 1");
                    writer.ask("SWAPDB 0 1");
                    writer.ask("SWAPDB 0 1");
                    writer.ask("DEL miroir:tasks:w2 miroir:tasks:w3");
                }
            });
            assert_eq!(client.call(&["MODULE", "LOAD", module.to_str().unwrap()]), "OK");
        });
        client.wait_for("INFO miroir", |info| info.contains("miroir_catalog_state:ready"));
        client.wait_for("MODULE UNLOAD miroir", |answer| answer == "OK");
    }
    assert_eq!(client.call(&["MODULE", "LOAD", module.to_str().unwrap()]), "OK");
    client.wait_for("EXISTS miroir:tasks:renamed", |answer| answer == "0");
    assert_exact(&mut client, "at the end");
}

#[test]
fn a_server_out_of_memory_evicts_rows_as_well_as_what_lists_them() {
    for policy in ["noeviction", "allkeys-lru", "allkeys-random", "volatile-ttl"] {
        let server = Server::start_with(&["--maxmemory-policy", policy]);
        let mut client = server.client();
        let limit = client.figure("memory", "used_memory") + 2_000_000;
        client.ask(&format!("CONFIG SET maxmemory {limit}"));
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for number in 0..4000 {
            let key = format!("miroir:tasks:t{number}");
            pipe.cmd("HSET").arg(&[&key, "miroir_id", "t", "error", &"x".repeat(400)]).ignore();
            pipe.cmd("PEXPIRE").arg(&[&key, "600000"]).ignore();
            pipe.cmd("MIROIR.PUT").arg(&[&format!("miroir:jobs:j{number}"), "type", "dump"]).ignore();
        }
        pipe.query::<()>(&mut client.connection).unwrap();
        client.ask("CONFIG SET maxmemory 0");
        assert_exact(&mut client, policy);
    }
}

#[test]
fn sessions_that_end_in_the_same_moment_are_all_there_or_none() {
    const SESSIONS: i64 = 20_000;
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut client, mut other) = (master.client(), replica.client());
    replicate(&mut client, &mut other);
    let mut pipe = redis::pipe();
    for number in 0..SESSIONS {
        let fields = ["session_id", "s", "min_settings_version", "0", "pinned_group", "g"];
        pipe.cmd("HSET").arg(format!("miroir:session:{number}")).arg(&fields).ignore();
    }
    pipe.query::<()>(&mut client.connection).unwrap();
    let end = client.server_ms() + 2000;
    let mut pipe = redis::pipe();
    for number in 0..SESSIONS {
        pipe.cmd("PEXPIREAT").arg(format!("miroir:session:{number}")).arg(end).ignore();
    }
    pipe.query::<()>(&mut client.connection).unwrap();
    replicate(&mut client, &mut other);
    for client in [&mut client, &mut other] {
        let count = "MIROIR.COUNT miroir:session WHERE pinned_group g";
        client.wait_for(count, |answer| {
            assert!(["0", "20000"].contains(&answer), "{answer}");
            answer == "0"
        });
        client.wait_for("DBSIZE", |answer| answer == "0");
        let info = client.wait_for("INFO miroir", |info| info.contains("miroir_catalog_backlog:0\r"));
        assert!(info.contains("miroir_catalog_rows:0\r"), "{info}");
    }
}

#[test]
fn what_is_filled_and_emptied_leaves_nothing_behind() {
    let server = Server::start();
    let mut client = server.client();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut pipe = redis::pipe();
        for number in 0..8000 {
            let id = format!("{number}");
            let fields = ["miroir_id", &id, "status", "failed", "index_uid", &id, "created_at", &id];
            pipe.cmd("HSET").arg(format!("miroir:tasks:{id}")).arg(&fields).ignore();
            pipe.cmd("HSET").arg(format!("n{id}:tasks:t")).arg(&fields).ignore();
        }
        for number in (0..8000).rev() {
            pipe.cmd("DEL").arg(&[format!("miroir:tasks:{number}"), format!("n{number}:tasks:t")]).ignore();
        }
        pipe.query::<()>(&mut client.connection).unwrap();
        assert_eq!(client.ask("MIROIR.COUNT miroir:tasks"), "0");
        client.wait_for("DBSIZE", |answer| answer == "0");
        held.push(client.figure("miroir", "miroir_catalog_bytes"));
    }
    // The hash table of the namespaces keeps room for as many as there ever were at once.
    assert!(held.iter().all(|bytes| *bytes < 2_000_000), "{held:?}");
}

#[test]
fn rows_with_times_beyond_measure_are_ordered_and_pruned() {
    let server = Server::start();
    let mut client = server.client();
    let times =
        ["-9223372036854775808", "-1", "0", "7", "9223372036854775807", "9223372036854775808", "soon"];
    for (number, time) in times.iter().enumerate() {
        client
            .ask(&format!("HSET miroir:tasks:t{number} miroir_id t{number} status failed created_at {time}"));
    }
    let newest_first = client.ask("MIROIR.LIST miroir:tasks IDS");
    assert_eq!(newest_first, "[t4, t3, t2, t5, t6, t1, t0]");
    assert_eq!(client.ask("MIROIR.LIST miroir:tasks AFTER t2 LIMIT 0 3 IDS"), "[t5, t6, t1]");
    assert_eq!(client.ask("MIROIR.PRUNE miroir:tasks BEFORE 0 LIMIT 1"), "1");
    assert_exact(&mut client, "after the oldest is gone");
    assert_eq!(client.ask("MIROIR.PRUNE miroir:tasks BEFORE 7"), "4");
    assert_eq!(client.ask("MIROIR.PRUNE miroir:tasks BEFORE 9223372036854775807"), "1");
    assert_eq!(client.ask("MIROIR.LIST miroir:tasks IDS"), "[t4]");
    client.ask("DEL miroir:tasks:t4");
    assert_eq!(client.ask("MIROIR.COUNT miroir:tasks"), "0");
    assert_exact(&mut client, "at the end");
}

#[test]
fn a_page_can_go_on_behind_every_row_that_a_page_has() {
    let server = Server::start();
    let mut client = server.client();
    let long = vec![b'y'; 500_000];
    let ids: &[&[u8]] = &[b"", b"\0", b"a\0b", b"\r\n", b":", b"\xff\xfe", b"plain", &long];
    for id in ids {
        let row = |segment: &[u8]| [b"miroir:", segment, b":", id].concat();
        client.call(&[b"HSET", &row(b"aliases")[..], b"kind", b"single", b"name", id]);
        client.call(&[b"HSET", &row(b"tasks")[..], b"miroir_id", id, b"created_at", b"-7", b"index_uid", id]);
    }
    for table in ["miroir:tasks", "miroir:aliases"] {
        let Value::Array(all) = client.raw(&["MIROIR.LIST", table, "IDS"]).unwrap() else { panic!("LIST") };
        let count = client.integer(&format!("MIROIR.COUNT {table}"));
        assert_eq!(usize::try_from(count), Ok(all.len()));
        let mut walked = Vec::new();
        let mut page = client.raw(&["MIROIR.LIST", table, "LIMIT", "0", "1", "IDS"]).unwrap();
        while let Value::Array(ids) = &page {
            let [Value::BulkString(id)] = &ids[..] else { break };
            walked.push(ids[0].clone());
            let words: [&[u8]; 8] =
                [b"MIROIR.LIST", table.as_bytes(), b"AFTER", id, b"LIMIT", b"0", b"1", b"IDS"];
            page = client.raw(&words).unwrap_or_else(|error| panic!("AFTER {id:?}: {error}"));
        }
        assert_eq!(walked, all);
    }
    assert_exact(&mut client, "at the end");
}
