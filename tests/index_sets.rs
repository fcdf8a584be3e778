//! The persisted index sets, which other clients read: they follow the rows, whoever writes or removes these.

#[path = "drift/model.rs"]
mod model;
mod support;

use model::Sweep;
use support::{patience, Client, Server};

/// Rows of every table that has an index, without their entries.
const RAW_ROWS: &[&str] = &[
    "HSET miroir:tasks:t miroir_id t status enqueued",
    "HSET miroir:node_settings_version:i:n version 1",
    "HSET miroir:aliases:a kind single current_uid x",
    "HSET miroir:jobs:j type dump state queued",
    "HSET miroir:canary:c name n index_uid i interval_s 1 query_json {} assertions_json []",
    "HSET miroir:cdc_cursor:eu:kafka:i last_event_seq 1",
    "HSET miroir:rollover:r write_alias w read_alias r pattern p triggers_json {} retention_json {} \
     template_json {}",
];
const ROWS: [&str; 7] = [
    "miroir:tasks:t",
    "miroir:node_settings_version:i:n",
    "miroir:aliases:a",
    "miroir:jobs:j",
    "miroir:canary:c",
    "miroir:cdc_cursor:eu:kafka:i",
    "miroir:rollover:r",
];
const ENTRIES: &[(&str, &str)] = &[
    ("miroir:tasks:_index", "t"),
    ("miroir:node_settings_version:_index", "i:n"),
    ("miroir:aliases:_index", "a"),
    ("miroir:jobs:_index", "j"),
    ("miroir:jobs:_queued", "j"),
    ("miroir:canary:_index", "c"),
    ("miroir:cdc_cursor:_index:eu:kafka", "eu:kafka:i"),
    ("miroir:rollover:_index", "r"),
];

fn raw_rows() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    client.run(RAW_ROWS);
    (server, client)
}

/// Waits until the index sets of the selected database are those of its rows. Nobody asks the module meanwhile.
fn wait_for_indexes(client: &mut Client, when: &str) {
    let deadline = std::time::Instant::now() + patience();
    loop {
        let faults = Sweep::read(client).index_faults();
        if faults.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{when}: {}", faults.join("; "));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Waits until a set has these members, told in their order.
fn wait_for_members(client: &mut Client, key: &str, ids: &str) {
    client.wait_for(&format!("SORT {key} ALPHA"), |answer| answer == format!("[{ids}]"));
}

#[test]
fn a_row_that_was_written_without_its_entry_gets_one() {
    let (_server, mut client) = raw_rows();
    for (key, id) in ENTRIES {
        wait_for_members(&mut client, key, id);
    }
    wait_for_indexes(&mut client, "after HSET");
    // The next command of the module has it done, if the server has not.
    client.ask("MULTI");
    client.ask("HSET miroir:tasks:u miroir_id u");
    client.ask("EXEC");
    client.ask("MIROIR.COUNT miroir:tasks");
    wait_for_members(&mut client, "miroir:tasks:_index", "t, u");
    let script =
        "for id = 1, 50 do redis.call('HSET', 'miroir:jobs:n' .. id, 'type', 'dump', 'state', 'queued') end";
    client.call(&["EVAL", script, "0"]);
    client.wait_for("SCARD miroir:jobs:_queued", |answer| answer == "51");
    wait_for_indexes(&mut client, "after a script");
}

#[test]
fn an_entry_goes_with_its_row() {
    for removal in [
        "DEL",
        "UNLINK",
        "PEXPIRE 20",
        "PEXPIREAT 1000",
        "GETDEL",
        "SET x",
        "RENAME foreign",
        "MOVE 1",
        "HDEL miroir_id version kind type name last_event_seq write_alias",
    ] {
        let (_server, mut client) = raw_rows();
        wait_for_indexes(&mut client, "before");
        let (name, rest) = removal.split_once(' ').unwrap_or((removal, ""));
        for key in ROWS {
            // A value of another type, or GETDEL would refuse it.
            if name == "GETDEL" {
                client.ask(&format!("SET {key} x"));
            }
            let answer = client.ask(&format!("{name} {key} {rest}"));
            assert!(!answer.starts_with("ERR"), "{removal} {key}: {answer}");
        }
        for (key, _) in ENTRIES {
            client.wait_for(&format!("EXISTS {key}"), |answer| answer == "0");
        }
        wait_for_indexes(&mut client, removal);
        client.ask("SELECT 1");
        wait_for_indexes(&mut client, &format!("{removal}, the other database"));
        assert_eq!(client.ask("SCARD miroir:tasks:_index"), if name == "MOVE" { "1" } else { "0" });
    }
}

#[test]
fn an_entry_goes_with_a_row_of_the_module_that_runs_out_or_is_evicted() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "MIROIR.PUT miroir:tasks:short PX 20 index_uid movies",
        "MIROIR.PUT miroir:jobs:short PX 20 type dump",
        "MIROIR.PUT miroir:cdc_cursor:kafka:short PX 20 last_event_seq 1",
        "MIROIR.PUT miroir:tasks:long PX 600000 index_uid movies",
        "MIROIR.PUT miroir:jobs:long PX 600000 type dump",
        "MIROIR.PUT miroir:cdc_cursor:kafka:long PX 600000 last_event_seq 1",
        "MIROIR.PUT miroir:tasks:kept index_uid movies",
        "MIROIR.PUT miroir:jobs:kept type dump",
        "MIROIR.PUT miroir:cdc_cursor:nats:kept last_event_seq 1",
    ]);
    wait_for_members(&mut client, "miroir:cdc_cursor:_index:kafka", "kafka:long");
    wait_for_members(&mut client, "miroir:tasks:_index", "kept, long");
    wait_for_indexes(&mut client, "after the expiry");
    client.run(&["CONFIG SET maxmemory-policy volatile-random", "CONFIG SET maxmemory 1"]);
    let keys = "EXISTS miroir:tasks:long miroir:jobs:long miroir:cdc_cursor:kafka:long";
    client.wait_for(keys, |answer| answer == "0");
    client.run(&["CONFIG SET maxmemory 0"]);
    wait_for_members(&mut client, "miroir:tasks:_index", "kept");
    wait_for_members(&mut client, "miroir:jobs:_queued", "kept");
    client.wait_for("EXISTS miroir:cdc_cursor:_index:kafka", |answer| answer == "0");
    wait_for_indexes(&mut client, "after the eviction");
}

#[test]
fn a_command_that_lists_the_table_finds_the_entry_of_a_row_that_ran_out_gone() {
    // Neither the cycle that expires keys nor, for most of the time, the server's cron is there to help.
    let server = Server::start_with(&["--hz", "1"]);
    let mut client = server.client();
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:long index_uid movies"), "1");
    for round in 0..5 {
        assert_eq!(client.ask("MIROIR.PUT miroir:tasks:short PX 2 index_uid movies"), "1", "{round}");
        client.wait_for("MIROIR.COUNT miroir:tasks", |answer| answer == "1");
        for line in [
            "MULTI",
            "EXISTS miroir:tasks:short",
            "MIROIR.COUNT miroir:tasks",
            "SMEMBERS miroir:tasks:_index",
        ] {
            client.ask(line);
        }
        assert_eq!(client.ask("EXEC"), "[0, 1, [long]]", "{round}");
    }
}

#[test]
fn a_job_is_among_the_queued_as_long_as_it_is_queued() {
    let (_server, mut client) = raw_rows();
    for (line, queued) in [
        ("HSET miroir:jobs:j state in_progress claimed_by pod-1", ""),
        ("HSET miroir:jobs:j state queued", "j"),
        ("HSET miroir:jobs:j state completed", ""),
        ("HSET miroir:jobs:k type dump state queued", "k"),
        ("RENAME miroir:jobs:j miroir:jobs:k", ""),
        ("HSET miroir:jobs:k state queued", "k"),
        ("HDEL miroir:jobs:k type", ""),
        ("HSET miroir:jobs:k type dump", "k"),
    ] {
        client.run(&[line]);
        wait_for_members(&mut client, "miroir:jobs:_queued", queued);
        wait_for_indexes(&mut client, line);
    }
    assert_eq!(client.ask("SMEMBERS miroir:jobs:_index"), "[k]");
}

#[test]
fn a_stub_gets_no_entry() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "HSET miroir:tasks:stub status failed",
        "HSET miroir:jobs:stub state queued",
        "HSET miroir:cdc_cursor:kafka:stub updated_at 1",
        "SET miroir:aliases:text x",
        "HSET miroir:tasks:row miroir_id row",
    ]);
    // The row was written after the stubs.
    wait_for_members(&mut client, "miroir:tasks:_index", "row");
    assert_eq!(client.ask("EXISTS miroir:jobs:_index miroir:jobs:_queued miroir:aliases:_index"), "0");
    assert_eq!(client.ask("EXISTS miroir:cdc_cursor:_index:kafka"), "0");
    client.run(&["HSET miroir:jobs:stub type dump"]);
    wait_for_members(&mut client, "miroir:jobs:_queued", "stub");
    wait_for_indexes(&mut client, "after the stub became a row");
}

#[test]
fn entries_follow_rows_from_key_to_key_and_from_database_to_database() {
    let (_server, mut client) = raw_rows();
    for line in [
        "RENAME miroir:tasks:t miroir:tasks:u",
        "COPY miroir:tasks:u miroir:tasks:v",
        "COPY miroir:jobs:j miroir:jobs:k DB 1",
        "COPY miroir:jobs:j miroir:jobs:j DB 1 REPLACE",
        "MOVE miroir:canary:c 1",
        "RENAME miroir:tasks:u eu:prod:tasks:u",
        "SWAPDB 0 1",
        "SWAPDB 1 0",
        "RENAME miroir:cdc_cursor:eu:kafka:i miroir:cdc_cursor:kafka:i",
        "FLUSHDB",
        "HSET miroir:tasks:new miroir_id new",
    ] {
        client.run(&[line]);
        for database in ["1", "0"] {
            client.ask(&format!("SELECT {database}"));
            wait_for_indexes(&mut client, &format!("{line}, database {database}"));
        }
    }
    assert_eq!(client.ask("SMEMBERS miroir:tasks:_index"), "[new]");
}

#[test]
fn a_foreign_value_at_the_key_of_an_index_stays_and_does_no_harm() {
    let (mut server, mut client) = raw_rows();
    wait_for_indexes(&mut client, "before");
    client.run(&["SET miroir:tasks:_index x", "HSET miroir:tasks:u miroir_id u", "DEL miroir:tasks:t"]);
    client.run(&["HSET miroir:aliases:b kind single current_uid x"]);
    wait_for_members(&mut client, "miroir:aliases:_index", "a, b");
    assert_eq!(client.ask("GET miroir:tasks:_index"), "x");
    assert!(server.is_alive());
}

#[test]
fn what_was_mended_is_in_the_append_only_file_and_on_replicas() {
    let aof = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = Server::start_with(&aof);
    let replicas = [Server::replica_of(&server, &[]), Server::bare_replica_of(&server, &[])];
    let mut client = server.client();
    client.run(RAW_ROWS);
    client.run(&["HSET miroir:jobs:gone type dump state queued", "PEXPIRE miroir:jobs:gone 20"]);
    client.wait_for("EXISTS miroir:jobs:gone", |answer| answer == "0");
    wait_for_indexes(&mut client, "on the master");
    let digest = client.ask("DEBUG DIGEST");
    for replica in &replicas {
        replica.client().wait_for("DEBUG DIGEST", |answer| answer == digest);
    }
    let data = client.dump();
    let server = server.kill_and_restart_with(&aof);
    assert_eq!(server.client().dump(), data, "without the module");
    for (key, id) in ENTRIES {
        wait_for_members(&mut server.client(), key, id);
    }
}

#[test]
fn a_replica_writes_nothing_by_itself() {
    // The master has no module, so nobody mends its index sets.
    let master = Server::bare(&[]);
    let replica = Server::replica_of(&master, &[]);
    let (mut client, mut other) = (master.client(), replica.client());
    client.run(RAW_ROWS);
    client.run(&["SADD miroir:tasks:_index ghost", "SET miroir:tasks:short x PX 20"]);
    client.run(&["HSET miroir:tasks:last miroir_id last"]);
    other.wait_for("EXISTS miroir:tasks:last", |answer| answer == "1");
    assert_eq!(other.ask("MIROIR.LIST miroir:tasks IDS"), "[last, t]");
    assert_eq!(other.ask("MIROIR.COUNT miroir:jobs WHERE state queued"), "1");
    client.wait_for("EXISTS miroir:tasks:short", |answer| answer == "0");
    let size = client.ask("DBSIZE");
    other.wait_for("DBSIZE", |answer| answer == size);
    assert_eq!(other.dump(), client.dump());
    assert_eq!(other.ask("SMEMBERS miroir:tasks:_index"), "[ghost]");
    assert!(replica.log().lines().all(|line| !line.contains("READONLY")), "{}", replica.log());
}

#[test]
fn the_entries_of_rows_that_ran_out_before_they_were_loaded_go() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "DEBUG SET-ACTIVE-EXPIRE 0",
        "MIROIR.PUT miroir:jobs:short PX 1 type dump",
        "MIROIR.PUT miroir:jobs:long type dump",
        // A namespace of which nothing is left but the entry.
        "MIROIR.PUT eu:tasks:short PX 1 index_uid movies",
        "DEBUG SET-ACTIVE-EXPIRE 1",
    ]);
    client.wait_for("MIROIR.COUNT eu:tasks", |answer| answer == "0");
    client.run(&[
        "SADD eu:tasks:_index short",
        "SADD miroir:jobs:_queued short",
        "SADD miroir:jobs:_index short",
    ]);
    client.run(&["DEBUG RELOAD"]);
    wait_for_members(&mut client, "miroir:jobs:_queued", "long");
    wait_for_members(&mut client, "miroir:jobs:_index", "long");
    client.wait_for("EXISTS eu:tasks:_index", |answer| answer == "0");
}
