//! Every way in which a row comes, changes and goes: LIST, COUNT and MEMORY tell what the raw keys hold.

#[path = "drift/model.rs"]
mod model;
mod support;

use support::workload::work;
use support::{replicate, Client, Server};

const NAMESPACES: &[&str] = &["miroir", "eu:prod"];

/// A task as a pod without the module writes it, without an index entry.
fn raw_task(id: &str) -> String {
    format!("HSET miroir:tasks:{id} miroir_id {id} created_at 5 status enqueued index_uid movies")
}

/// Asserts the answers to lines.
fn assert_answers(client: &mut Client, cases: &[(&str, &str)]) {
    for (line, answer) in cases {
        assert_eq!(client.ask(line), *answer, "{line}");
    }
}

/// Asserts which tasks are listed.
fn assert_tasks(client: &mut Client, ids: &str) {
    let list = client.wait_for("MIROIR.LIST miroir:tasks IDS", |answer| !answer.starts_with("TRYAGAIN"));
    assert_eq!(list, format!("[{ids}]"));
}

/// Asserts that all that the module says of the selected database is what its raw keys say.
fn assert_agrees(client: &mut Client, when: &str) {
    let (_, faults) = model::check(client, NAMESPACES, &mut fastrand::Rng::with_seed(1));
    assert!(faults.is_empty(), "{when}:\n{}", faults.join("\n"));
}

/// Asserts the same of the databases 0 and 1.
fn assert_agrees_twice(client: &mut Client, when: &str) {
    for database in ["1", "0"] {
        client.ask(&format!("SELECT {database}"));
        assert_agrees(client, &format!("{when}, database {database}"));
    }
}

/// A server with rows of every table in two databases, some of them without index entries.
fn filled(arguments: &[&str]) -> (Server, Client) {
    let server = Server::start_with(arguments);
    let mut client = server.client();
    fill(&mut client);
    (server, client)
}

fn fill(client: &mut Client) {
    client.ask("SELECT 1");
    client.ask("MIROIR.PUT miroir:tasks:elsewhere index_uid movies");
    client.ask("HSET eu:prod:jobs:raw type dump created_at 5");
    client.ask("SELECT 0");
    work(client);
    client.ask(&raw_task("raw"));
    client.ask("HSET miroir:tasks:stub status failed");
    client.ask("SET miroir:aliases:text x");
    client.ask("MIROIR.PUT eu:prod:session:s pinned_group g");
    client.ask("ZADD miroir:live_pods 1700000000000 pod-1");
    client.ask("SET miroir:ratelimit:searchui:10.0.0.1 7 PX 600000");
}

#[test]
fn rows_of_any_client_are_known_at_once_also_within_a_transaction_and_a_script() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MULTI");
    for line in [
        "MIROIR.PUT miroir:tasks:a created_at 5",
        &raw_task("b"),
        "MIROIR.LIST miroir:tasks IDS",
        "HSET miroir:tasks:b status failed",
        "MIROIR.COUNT miroir:tasks WHERE status failed",
        "DEL miroir:tasks:a",
        "MIROIR.LIST miroir:tasks IDS",
        "MIROIR.DEL miroir:tasks:b",
        "MIROIR.COUNT miroir:tasks",
    ] {
        assert_eq!(client.ask(line), "QUEUED", "{line}");
    }
    assert_eq!(client.ask("EXEC"), "[1, 4, [a, b], 0, 1, 1, [b], 1, 0]");
    let script = "redis.call('HSET', KEYS[1], 'miroir_id', 's', 'status', 'enqueued') \
                  local first = redis.call('MIROIR.COUNT', KEYS[2]) \
                  redis.call('HDEL', KEYS[1], 'miroir_id') \
                  return {first, redis.call('MIROIR.COUNT', KEYS[2])}";
    assert_eq!(client.call(&["EVAL", script, "2", "miroir:tasks:s", "miroir:tasks"]), "[1, 0]");
    assert_agrees(&mut client, "at the end");
}

#[test]
fn a_raw_row_is_a_row_as_long_as_it_has_its_required_fields() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HSET miroir:jobs:j type dump");
    assert_answers(
        &mut client,
        &[
            ("MIROIR.LIST miroir:jobs IDS", "[j]"),
            ("HSET miroir:jobs:j state in_progress claimed_by pod-1 created_at 7", "3"),
            ("MIROIR.COUNT miroir:jobs WHERE claimed_by pod-1 BY state", "[in_progress, 1]"),
            ("HSET miroir:jobs:i type dump created_at 9", "2"),
            ("MIROIR.LIST miroir:jobs IDS", "[j, i]"),
            ("HSET miroir:jobs:j created_at 11", "0"),
            ("MIROIR.LIST miroir:jobs IDS", "[i, j]"),
            ("HINCRBY miroir:jobs:i created_at 5", "14"),
            ("MIROIR.LIST miroir:jobs IDS", "[j, i]"),
            ("HSET miroir:jobs:i created_at soon", "0"),
            ("MIROIR.LIST miroir:jobs IDS", "[i, j]"),
            ("HDEL miroir:jobs:i type", "1"),
            ("MIROIR.LIST miroir:jobs IDS", "[j]"),
            ("HSETNX miroir:jobs:i type dump", "1"),
            ("MIROIR.COUNT miroir:jobs", "2"),
            ("HDEL miroir:jobs:i type created_at", "2"),
            ("EXISTS miroir:jobs:i", "0"),
            ("MIROIR.LIST miroir:jobs IDS", "[j]"),
        ],
    );
    assert_agrees(&mut client, "at the end");
}

#[test]
fn deleted_rows_are_gone() {
    let (_server, mut client) = filled(&[]);
    client.ask("DEL miroir:tasks:raw miroir:session:plain miroir:jobs:j1 miroir:live_pods");
    assert_agrees(&mut client, "after DEL");
    client.ask("UNLINK miroir:tasks:t1 miroir:canary:c1 miroir:canary_runs:c1 miroir:cdc:overflow:kafka");
    assert_agrees(&mut client, "after UNLINK");
    client.ask("GETDEL miroir:lease:leader");
    client.ask("MIROIR.PRUNE miroir:tasks BEFORE 9999999999999");
    assert_agrees(&mut client, "after GETDEL and PRUNE");
}

#[test]
fn a_row_whose_time_is_up_is_gone_whether_or_not_it_is_deleted() {
    for active in ["0", "1"] {
        let (server, mut client) = filled(&[]);
        client.ask(&format!("DEBUG SET-ACTIVE-EXPIRE {active}"));
        for line in [
            "PEXPIRE miroir:tasks:t1 30",
            "PEXPIRE miroir:live_pods 30",
            "MIROIR.PUT miroir:session:short PX 30 pinned_group g",
            "SET miroir:lease:short pod-1 PX 30",
            "HSET miroir:tasks:kept miroir_id kept",
            "PEXPIRE miroir:tasks:kept 30",
            "PERSIST miroir:tasks:kept",
            "PEXPIRE miroir:jobs:j1 600000",
            "SET clock x PX 40",
        ] {
            assert!(!client.ask(line).starts_with("ERR"), "{line}");
        }
        // This looks at no key of ours.
        let mut clock = server.client();
        clock.wait_for("EXISTS clock", |answer| answer == "0");
        let tasks = client.ask("MIROIR.LIST miroir:tasks IDS");
        assert!(tasks.contains("kept") && !tasks.contains("t1"), "{tasks}");
        assert_agrees(&mut client, "after the end of their lives");
        assert_eq!(client.ask("PEXPIREAT miroir:tasks:kept 1000"), "1");
        assert_agrees(&mut client, "after an end in the past");
        client.ask("MIROIR.PUT miroir:session:again PX 600000 pinned_group g");
        client.ask("PERSIST miroir:session:again");
        assert_agrees(&mut client, "after PERSIST");
    }
}

#[test]
fn evicted_rows_are_gone() {
    let (_server, mut client) = filled(&[]);
    client.ask("PEXPIRE miroir:tasks:t1 600000");
    client.ask("CONFIG SET maxmemory-policy volatile-random");
    client.ask("CONFIG SET maxmemory 1");
    client.wait_for("INFO keyspace", |info| {
        info.lines().all(|line| !line.contains("expires=") || line.contains("expires=0"))
    });
    client.ask("CONFIG SET maxmemory 0");
    assert_eq!(client.ask("MIROIR.COUNT miroir:session"), "0");
    assert!(!client.ask("MIROIR.LIST miroir:tasks IDS").contains("t1"));
    assert_agrees_twice(&mut client, "after the eviction");
}

#[test]
fn rows_that_change_their_key_or_their_database() {
    let (_server, mut client) = filled(&[]);
    for line in [
        "RENAME miroir:tasks:raw miroir:tasks:renamed",
        "RENAME miroir:tasks:renamed miroir:tasks:t1",
        "RENAMENX miroir:tasks:t1 miroir:tasks:new",
        "RENAMENX miroir:tasks:new miroir:tasks:stub",
        "RENAME miroir:tasks:new eu:prod:tasks:new",
        "RENAME eu:prod:tasks:new miroir:session:new",
        "RENAME miroir:session:new foreign",
        "RENAME foreign miroir:tasks:back",
        "RENAME miroir:aliases:text miroir:tasks:back",
        "RENAME miroir:canary_runs:c1 miroir:live_pods",
        "COPY miroir:jobs:j1 miroir:jobs:copy",
        "COPY miroir:jobs:j2 miroir:jobs:copy REPLACE",
        "COPY miroir:jobs:j1 miroir:jobs:copy",
        "COPY miroir:jobs:j1 miroir:jobs:copy DB 1",
        "COPY miroir:session:px eu:prod:session:s REPLACE",
        "COPY miroir:tasks:stub miroir:jobs:j2 REPLACE",
        "MOVE miroir:aliases:single 1",
        "MOVE miroir:session:pxat 1",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
        assert_agrees_twice(&mut client, line);
    }
    assert_eq!(client.ask("MIROIR.LIST miroir:jobs WHERE type dump IDS"), "[copy]");
}

#[test]
fn a_restored_row_has_the_life_that_it_is_given() {
    let (_server, mut client) = filled(&[]);
    let redis::Value::BulkString(dump) = client.raw(&["DUMP", "miroir:session:px"]).unwrap() else {
        panic!("DUMP");
    };
    let restore = |client: &mut Client, key: &str, life: &str, option: &[u8]| {
        let words = [&b"RESTORE"[..], key.as_bytes(), life.as_bytes(), &dump, b"REPLACE", option];
        client.call(if option.is_empty() { &words[..5] } else { &words })
    };
    for (key, life, option) in [
        ("miroir:session:new", "0", &b""[..]),
        ("miroir:session:new", "600000", b""),
        ("miroir:tasks:t1", "0", b""),
        ("miroir:session:pxat", "4102444800000", b"ABSTTL"),
        // Gone as soon as it is there.
        ("miroir:session:px", "1000", b"ABSTTL"),
    ] {
        assert_eq!(restore(&mut client, key, life, option), "OK", "{key}");
        assert_agrees(&mut client, key);
    }
    assert_eq!(client.ask("EXISTS miroir:session:px"), "0");
}

#[test]
fn a_value_of_another_type_is_no_row() {
    let (_server, mut client) = filled(&[]);
    client.ask("RPUSH list x");
    client.ask("SADD set x");
    client.ask("ZADD zset 1 x");
    client.ask("SET string x");
    for (line, key) in [
        ("SET miroir:tasks:t1 x", "miroir:tasks:t1"),
        ("SORT list BY nosort STORE miroir:jobs:j1", "miroir:jobs:j1"),
        ("SORT none BY nosort STORE miroir:jobs:j2", "miroir:jobs:j2"),
        ("SINTERSTORE miroir:aliases:single set", "miroir:aliases:single"),
        ("SINTERSTORE miroir:aliases:multi set none", "miroir:aliases:multi"),
        ("BITOP NOT miroir:session:px string", "miroir:session:px"),
        ("ZUNIONSTORE miroir:canary:c1 1 zset", "miroir:canary:c1"),
        ("SET miroir:live_pods x", "miroir:live_pods"),
        ("SORT list BY nosort STORE miroir:canary_runs:c1", "miroir:canary_runs:c1"),
        ("ZUNIONSTORE miroir:canary_runs:aged 1 zset", "miroir:canary_runs:aged"),
        ("SET miroir:cdc:overflow:kafka x", "miroir:cdc:overflow:kafka"),
        ("SINTERSTORE miroir:lease:leader set", "miroir:lease:leader"),
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
        assert_agrees(&mut client, line);
        client.ask(&format!("DEL {key}"));
        client.ask(&format!("XADD {key} * a b"));
        assert_agrees(&mut client, &format!("XADD after {line}"));
        client.ask(&format!("DEL {key}"));
        client.ask(&raw_task("t1"));
        assert_agrees(&mut client, &format!("DEL after {line}"));
    }
}

#[test]
fn structures_that_are_no_hashes_are_weighed_by_what_they_hold() {
    let (_server, mut client) = filled(&[]);
    for line in [
        "LPUSH miroir:cdc:overflow:kafka 1234567",
        "LSET miroir:cdc:overflow:kafka 0 12",
        "RPOP miroir:cdc:overflow:kafka",
        "LTRIM miroir:cdc:overflow:kafka 0 0",
        "LTRIM miroir:cdc:overflow:kafka 1 0",
        "LPUSH miroir:cdc:overflow:kafka again",
        "ZADD miroir:live_pods 2.5 pod-2",
        "ZADD miroir:live_pods 1 pod-2",
        "ZREM miroir:live_pods pod-1",
        "ZADD miroir:canary_runs:c1 9 foreign",
        "ZPOPMIN miroir:canary_runs:c1",
        "INCRBY miroir:ratelimit:searchui:10.0.0.1 1000",
        "APPEND miroir:lease:leader -more",
        "SETRANGE miroir:lease:raw 9 x",
        "SET miroir:lease:leader short",
        "HSET miroir:ratelimit:adminlogin:backoff:10.0.0.1 failed_count 3",
        "HSET miroir:search_ui_scoped_key_observed:pod:i generation 1",
        "HDEL miroir:search_ui_scoped_key_observed:pod:i generation",
        "MIROIR.CDC.TRIM miroir:cdc:overflow:kafka BUDGET 0",
        "MIROIR.LEASE.ACQUIRE miroir:lease:other pod-1 600000",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
        assert_agrees(&mut client, line);
    }
}

#[test]
fn fields_that_run_out_take_the_row_with_them() {
    let (_server, mut client) = filled(&[]);
    client.ask("HSET miroir:tasks:a miroir_id a status enqueued error 'node gone'");
    if client.ask("HPEXPIRE miroir:tasks:a 600000 FIELDS 1 error").contains("unknown command") {
        return;
    }
    assert_agrees(&mut client, "after HPEXPIRE");
    client.ask("HPEXPIREAT miroir:tasks:a 1000 FIELDS 1 error");
    assert_agrees(&mut client, "after an end in the past");
    client.ask("HPEXPIRE miroir:tasks:a 1 FIELDS 1 status");
    client.wait_for("HEXISTS miroir:tasks:a status", |answer| answer == "0");
    client.wait_for("INFO keyspace", |info| !info.contains("subexpiry=1") && !info.contains("items=1"));
    assert_eq!(client.ask("MIROIR.COUNT miroir:tasks WHERE status enqueued"), "2");
    assert_agrees(&mut client, "after the end of a field");
    client.ask("HPEXPIRE miroir:tasks:a 1 FIELDS 1 miroir_id");
    client.wait_for("EXISTS miroir:tasks:a", |answer| answer == "0");
    assert_agrees(&mut client, "after the end of the last field");
}

#[test]
fn flushed_and_swapped_databases() {
    let (_server, mut client) = filled(&[]);
    client.ask("SWAPDB 0 1");
    assert_tasks(&mut client, "elsewhere");
    assert_agrees_twice(&mut client, "after SWAPDB");
    client.ask("SWAPDB 1 2");
    assert_agrees_twice(&mut client, "after a second SWAPDB");
    client.ask("SELECT 2");
    client.ask("DEL miroir:tasks:t1");
    client.ask("MULTI");
    client.ask("SWAPDB 2 0");
    client.ask(&raw_task("here"));
    client.ask("MIROIR.LIST miroir:tasks IDS");
    assert_eq!(client.ask("EXEC"), "[OK, 4, [elsewhere, here]]");
    assert_agrees(&mut client, "in database 2");
    assert_agrees_twice(&mut client, "after a SWAPDB in a transaction");
    client.ask("FLUSHDB ASYNC");
    client.ask(&raw_task("new"));
    assert_tasks(&mut client, "new");
    assert_agrees_twice(&mut client, "after FLUSHDB");
    client.ask("FLUSHALL");
    assert_tasks(&mut client, "");
    client.ask("SELECT 2");
    assert_agrees(&mut client, "after FLUSHALL");
}

#[test]
fn what_a_server_reads_from_its_files_is_known() {
    let aof = ["--appendonly", "yes", "--appendfsync", "always"];
    let (server, mut client) = filled(&aof);
    for reload in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
        assert_eq!(client.ask(reload), "OK");
        assert_agrees_twice(&mut client, reload);
        client.ask(&raw_task(&reload[6..]));
        assert_agrees_twice(&mut client, &format!("after {reload}"));
    }
    let server = server.kill_and_restart();
    assert_agrees_twice(&mut server.client(), "after a restart from the append-only file");

    let (server, mut client) = filled(&[]);
    assert_eq!(client.ask("SAVE"), "OK");
    let server = server.kill_and_restart();
    assert_agrees_twice(&mut server.client(), "after a restart from a snapshot");
    server.client().ask("DEL miroir:tasks:t1");
    assert_agrees_twice(&mut server.client(), "after a DEL");
}

#[test]
fn a_module_that_comes_into_a_live_server_gets_to_know_its_rows_and_the_changes_meanwhile() {
    let (server, mut client) = filled(&[]);
    assert_eq!(client.ask("MODULE UNLOAD miroir"), "OK");
    let mut pipe = redis::pipe();
    for number in 0..5_000 {
        let id = format!("n{number:04}");
        pipe.cmd("HSET").arg(&[&format!("miroir:tasks:{id}"), "miroir_id", &id, "status", "failed"]).ignore();
    }
    pipe.query::<()>(&mut client.connection).unwrap();
    let module = support::module();
    assert_eq!(client.call(&["MODULE", "LOAD", module.to_str().unwrap()]), "OK");
    // In the middle of its reading, if it takes so long.
    client.ask("DEL miroir:tasks:n0000 miroir:tasks:n2500 miroir:tasks:n4999");
    client.ask("RENAME miroir:tasks:n0001 miroir:tasks:x0001");
    client.ask("SWAPDB 0 2");
    client.ask("SWAPDB 0 2");
    let count = "MIROIR.COUNT miroir:tasks WHERE status failed";
    let told = client.wait_for(count, |answer| !answer.starts_with("TRYAGAIN"));
    assert_eq!(told, "4997");
    let info = client.ask("INFO miroir");
    assert!(info.contains("miroir_catalog_state:ready"), "{info}");
    assert_agrees_twice(&mut client, "after MODULE LOAD");
    drop(server);
}

#[test]
fn a_replica_knows_the_rows_and_goes_on_when_roles_change() {
    let (master, mut client) = filled(&[]);
    let replica = Server::replica_of(&master, &[]);
    let mut other = replica.client();
    assert_agrees_twice(&mut other, "after a full synchronisation");
    // Broken and mended from the backlog.
    other.ask("CLIENT KILL TYPE master");
    client.ask("MIROIR.DEL miroir:tasks:t1");
    client.ask(&raw_task("later"));
    client.ask("SWAPDB 0 1");
    replicate(&mut master.client(), &mut replica.client());
    assert_agrees_twice(&mut other, "after a partial synchronisation");

    assert_eq!(other.ask("REPLICAOF NO ONE"), "OK");
    other.ask("SELECT 0");
    other.ask(&raw_task("promoted"));
    assert_agrees_twice(&mut other, "after the promotion");
    client.ask("FLUSHALL");
    client.ask(&raw_task("lost"));
    assert_eq!(client.ask(&format!("REPLICAOF 127.0.0.1 {}", replica.port())), "OK");
    replicate(&mut replica.client(), &mut master.client());
    client.ask("SELECT 0");
    assert!(client.ask("MIROIR.LIST miroir:tasks IDS").contains("promoted"));
    assert_agrees_twice(&mut client, "on the former master");
}

/// A replica that loads beside what it has, and answers meanwhile.
const SWAPPING: &[&str] =
    &["--repl-diskless-load", "swapdb", "--loading-process-events-interval-bytes", "1024"];

/// Parts a replica from its master until it is called back.
fn leave(replica: &mut Client) {
    replica.ask("CONFIG SET masterauth wrong");
    replica.ask("CONFIG SET masteruser nobody");
    replica.ask("CLIENT KILL TYPE master");
}

fn come_back(replica: &mut Client) {
    replica.ask("CONFIG SET masterauth ''");
    replica.ask("CONFIG SET masteruser ''");
}

/// Writes more than the backlog holds, and answers how many tasks there are then.
fn grow(master: &mut Client) -> i64 {
    let mut pipe = redis::pipe();
    for number in 0..2_000 {
        let id = format!("n{number:04}");
        pipe.cmd("HSET").arg(&[&format!("miroir:tasks:{id}"), "miroir_id", &id, "status", "failed"]).ignore();
    }
    pipe.query::<()>(&mut master.connection).unwrap();
    master.ask("DEL miroir:tasks:raw");
    master.integer("MIROIR.COUNT miroir:tasks")
}

#[test]
fn a_replica_whose_master_dies_while_it_loads_goes_on_with_the_data_that_it_had() {
    // Data of its master's own history are loaded beside those that it goes on to answer from. While it loads those of
    // a stranger it answers nothing.
    for (is_stranger, sign) in [(false, "async_loading:1"), (true, "\nloading:1")] {
        let (master, mut client) = filled(&["--repl-backlog-size", "1"]);
        let replica = Server::replica_of(&master, SWAPPING);
        let mut other = replica.client();
        leave(&mut other);
        if is_stranger {
            other.ask("REPLICAOF NO ONE");
            other.ask(&raw_task("own"));
        }
        grow(&mut client);
        let (before, data) = (other.integer("MIROIR.COUNT miroir:tasks"), other.ask("DEBUG DIGEST"));
        client.ask("CONFIG SET rdb-key-save-delay 2000");
        come_back(&mut other);
        other.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        other.wait_for("INFO persistence", |info| info.contains(sign));
        drop((client, master));
        other.wait_for("INFO", |info| {
            ["async_loading:0", "\nloading:0", "master_sync_in_progress:0"]
                .iter()
                .all(|sign| info.contains(sign))
        });
        assert_eq!(other.ask("DEBUG DIGEST"), data, "it has loaded all: the master was too quick");
        other.wait_for("MIROIR.COUNT miroir:tasks", |answer| answer == before.to_string());
        assert_agrees_twice(&mut other, "after a load that came to no end");
        assert_eq!(other.ask("REPLICAOF NO ONE"), "OK");
        other.ask(&raw_task("later"));
        assert_agrees_twice(&mut other, "after the promotion");
    }
}

#[test]
fn a_replica_that_loads_the_data_anew_answers_from_the_old_ones_until_it_has_them() {
    let (master, mut client) = filled(&["--repl-backlog-size", "1"]);
    let replica = Server::replica_of(&master, SWAPPING);
    let mut other = replica.client();
    let before = other.integer("MIROIR.COUNT miroir:tasks");
    leave(&mut other);
    let after = grow(&mut client);
    // Microseconds a key, so that one can look meanwhile.
    other.ask("CONFIG SET key-load-delay 500");
    come_back(&mut other);
    other.wait_for("INFO persistence", |info| info.contains("async_loading:1"));
    other.wait_for("MIROIR.COUNT miroir:tasks", |answer| {
        let is_early = answer.starts_with("TRYAGAIN") || answer == before.to_string();
        assert!(is_early || answer == after.to_string(), "{answer}, neither {before} nor {after}");
        !is_early
    });
    replicate(&mut master.client(), &mut replica.client());
    assert_agrees_twice(&mut other, "after the data were swapped");
    client.ask("DEL miroir:tasks:n0000");
    replicate(&mut master.client(), &mut replica.client());
    assert_agrees_twice(&mut other, "after one more change");
}
