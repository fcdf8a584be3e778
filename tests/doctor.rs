//! MIROIR.DOCTOR: every check of the server itself is made to speak and made to stop, by its own advice where that is a command.

mod support;

use std::collections::BTreeMap;

use support::doctor::{
    doctor, fires, fires_at_last, forgive_slowness, in_order, is_silent, is_silent_at_last, of, told,
    IN_ORDER,
};
use support::{Client, Server};

const NS: &str = "miroir";

#[test]
fn a_server_in_good_order_with_a_replica_answers_nothing() {
    let master = in_order(&[]);
    let mut client = master.client();
    support::workload::work(&mut client);
    let replica = Server::replica_of(&master, IN_ORDER);
    assert_eq!(doctor(&mut client, NS), []);
    assert_eq!(doctor(&mut replica.client(), NS), []);
    assert_eq!(client.ask("MIROIR.DOCTOR miroir"), "[]");
}

#[test]
fn the_configuration_that_is_shipped_lacks_a_replica_and_nothing_else() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf.example");
    let shipped = std::fs::read_to_string(path).unwrap();
    // The test's own module, address and place.
    let others = ["loadmodule", "bind", "port", "dir", "logfile", "daemonize"];
    let is_kept = |line: &&str| !others.contains(&line.split(' ').next().unwrap_or_default());
    let lines: Vec<&str> = shipped.lines().filter(is_kept).collect();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("redis.conf");
    std::fs::write(&config, lines.join("\n")).unwrap();
    let arguments = ["--include", config.to_str().unwrap()];
    let master = Server::start_with(&arguments);
    let mut client = master.client();
    assert_eq!(client.ask("CONFIG GET save"), "[save, 900 1 300 10 60 10000]");
    forgive_slowness(&mut client);
    fires(&mut client, NS, "warning", "replica");
    assert_eq!(told(&mut client, NS), []);
    let _replica = Server::replica_of(&master, &arguments);
    assert_eq!(doctor(&mut client, NS), []);
}

#[test]
fn a_server_with_default_settings_is_told_what_is_missing_and_the_advice_as_it_stands_mends_it() {
    let server = Server::start();
    let mut client = server.client();
    forgive_slowness(&mut client);
    let advised = doctor(&mut client, NS);
    let checks: Vec<_> = advised.iter().map(|found| (&found.severity[..], &found.check[..])).collect();
    let expected = [
        ("warning", "maxmemory"),
        ("warning", "maxmemory-policy"),
        ("warning", "persistence"),
        ("warning", "replica"),
        ("note", "latency-monitor"),
    ];
    assert_eq!(checks, expected);
    for found in advised.iter().filter(|found| found.check != "replica") {
        client.succeed(&found.advice);
    }
    assert_eq!(told(&mut client, NS), []);
}

#[test]
fn each_setting_is_found_and_its_advice_mends_it() {
    let server = in_order(&[]);
    let mut client = server.client();
    assert_eq!(told(&mut client, NS), []);
    for (lines, severity, check) in [
        (&["CONFIG SET maxmemory 0"][..], "warning", "maxmemory"),
        (&["CONFIG SET maxmemory-policy noeviction"], "warning", "maxmemory-policy"),
        (&["CONFIG SET maxmemory-policy volatile-lfu"], "note", "maxmemory-policy"),
        (&["CONFIG SET maxmemory-policy volatile-ttl"], "warning", "eviction-protection"),
        (&["CONFIG SET miroir.protect-from-eviction no"], "warning", "eviction-protection"),
        (
            &["CONFIG SET maxmemory-policy allkeys-random miroir.protect-from-eviction no"],
            "warning",
            "eviction-protection",
        ),
        (&["CONFIG SET miroir.memory-warning-bytes 2gb"], "note", "used-memory"),
        (&["CONFIG SET appendonly no", "CONFIG SET save '900 1'"], "note", "persistence"),
        (&["CONFIG SET appendonly no", "CONFIG SET save ''"], "warning", "persistence"),
        (&["CONFIG SET tcp-keepalive 0"], "note", "tcp-keepalive"),
        (&["CONFIG SET tcp-keepalive 301"], "note", "tcp-keepalive"),
        (&["CONFIG SET client-output-buffer-limit 'pubsub 0 0 0'"], "warning", "output-buffer-limits"),
        (&["CONFIG SET client-output-buffer-limit 'replica 0 0 0'"], "warning", "output-buffer-limits"),
        (
            &["CONFIG SET client-output-buffer-limit 'replica 0 0 0 pubsub 0 0 0'"],
            "warning",
            "output-buffer-limits",
        ),
        (&["CONFIG SET slowlog-log-slower-than -1"], "note", "slow-log"),
        (&["CONFIG SET latency-monitor-threshold 0"], "note", "latency-monitor"),
        (&["CONFIG SET miroir.audit-budget-us 0"], "note", "catalog-drift"),
    ] {
        client.run(lines);
        assert_eq!(told(&mut client, NS), [(severity.to_owned(), check.to_owned())], "{lines:?}");
        let advice = of(&mut client, NS, check).unwrap().advice;
        client.run(&[&advice, "SLOWLOG RESET"]);
        assert_eq!(told(&mut client, NS), [], "after {advice}");
    }
    client.run(&["CONFIG SET maxmemory-policy allkeys-lfu", "CONFIG SET tcp-keepalive 1"]);
    assert_eq!(told(&mut client, NS), []);
    // Without a limit nothing is evicted, whatever is protected.
    client.run(&["CONFIG SET miroir.protect-from-eviction no maxmemory 0"]);
    assert_eq!(told(&mut client, NS), [("warning".to_owned(), "maxmemory".to_owned())]);
}

#[test]
fn nothing_can_be_protected_by_just_the_policies_of_which_info_says_so() {
    let server = in_order(&[]);
    let mut client = server.client();
    for policy in ["lru", "lfu", "random", "ttl"] {
        for keys in ["allkeys", "volatile"] {
            let policy = format!("{keys}-{policy}");
            let answer = client.ask(&format!("CONFIG SET maxmemory-policy {policy}"));
            if policy == "allkeys-ttl" {
                assert!(answer.starts_with("ERR"), "{answer}");
                continue;
            }
            assert_eq!(answer, "OK");
            let is_not_possible = client.ask("INFO miroir_memory").contains("_protection:not-possible");
            let check = of(&mut client, NS, "eviction-protection");
            assert_eq!(check.is_some(), is_not_possible, "{policy}: {check:?}");
        }
    }
}

#[test]
fn a_log_that_the_server_could_not_replay() {
    let server = in_order(&[]);
    let mut client = server.client();
    for right in ["-flushall", "resetkeys ~play:*"] {
        client.run(&[&format!("ACL SETUSER default {right}")]);
        let advice = fires(&mut client, NS, "critical", "log-replay").advice;
        client.run(&[&advice]);
        assert_eq!(told(&mut client, NS), [], "after {advice}");
    }
    // Without a log there is nothing to replay.
    client.run(&["CONFIG SET appendonly no", "ACL SETUSER default -flushall"]);
    assert!(of(&mut client, NS, "log-replay").is_none());
}

#[test]
fn a_short_backlog_is_mended_by_the_line_of_the_configuration() {
    let server = in_order(&["--tcp-backlog", "128"]);
    let advice = fires(&mut server.client(), NS, "note", "tcp-backlog").advice;
    let line = format!("--{advice}");
    let line: Vec<&str> = line.split(' ').collect();
    let module = support::module();
    let module = ["--loadmodule", module.to_str().unwrap()];
    let server = server.kill_and_restart_with(&[&module, IN_ORDER, &line].concat());
    assert_eq!(told(&mut server.client(), NS), []);
}

/// Task rows of 2 KB.
fn tasks(client: &mut Client, number: usize) {
    rows(client, "tasks:t", &["error", &"e".repeat(2000)], number);
}

/// Job rows of 2 KB, which must not be evicted.
fn jobs(client: &mut Client, number: usize) {
    let params = format!("{{\"dump\":\"{}\"}}", "d".repeat(2000));
    rows(client, "jobs:j", &["type", "dump", "params", &params], number);
}

/// Rows, a few at a time: what a client sends is memory of the server, too.
fn rows(client: &mut Client, name: &str, fields: &[&str], number: usize) {
    for first in (0..number).step_by(50) {
        let mut pipe = redis::pipe();
        for id in first..number.min(first + 50) {
            pipe.cmd("MIROIR.PUT").arg(format!("{NS}:{name}{id}")).arg(fields).ignore();
        }
        pipe.exec(&mut client.connection).unwrap();
    }
}

#[test]
fn a_limit_that_the_tables_outgrow() {
    // Nothing goes, whatever else the server holds at the moment.
    let server = in_order(&["--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    tasks(&mut client, 4500);
    // What the doctor goes by, of which one and a half times has to fit.
    let told: BTreeMap<String, BTreeMap<String, i64>> = client.read(&format!("MIROIR.MEMORY {NS}"));
    let weight = told["total"]["allocated_bytes"] + told["total"]["index_bytes"];
    client.run(&[&format!("CONFIG SET maxmemory {}", weight * 16 / 10)]);
    is_silent(&mut client, NS, "maxmemory");
    client.run(&[&format!("CONFIG SET maxmemory {}", weight * 14 / 10)]);
    let found = fires(&mut client, NS, "warning", "maxmemory");
    assert_eq!(of(&mut client, "another", "maxmemory"), None, "it is about one namespace");
    client.succeed(&found.advice);
    is_silent(&mut client, NS, "maxmemory");
}

#[test]
fn used_memory_above_its_two_thresholds() {
    let server = in_order(&[]);
    let mut client = server.client();
    client.run(&["CONFIG SET miroir.memory-warning-bytes 100kb"]);
    let found = fires(&mut client, NS, "warning", "used-memory");
    client.run(&["CONFIG SET miroir.memory-critical-bytes 200kb"]);
    assert_eq!(told(&mut client, NS), [("critical".to_owned(), "used-memory".to_owned())]);
    client.run(&["CONFIG SET miroir.memory-critical-bytes 1gb"]);
    // The advice has three parts: what shows, what mends, and what makes it silent where it is meant.
    let [shows, prunes, raises] = found.advice.split("; ").collect::<Vec<_>>()[..] else {
        panic!("{found:?}")
    };
    assert!(client.succeed(shows.strip_suffix(" shows what weighs").unwrap()).contains("total"));
    assert_eq!(client.succeed(prunes), "0");
    client.succeed(raises.strip_prefix("where it is meant: ").unwrap());
    assert_eq!(told(&mut client, NS), []);
}

#[test]
fn fragmentation_counts_once_it_is_about_a_hundred_megabytes() {
    let server = in_order(&["--maxmemory", "1gb"]);
    let mut client = server.client();
    let ratio = client.ask("INFO memory");
    assert!(ratio.contains("mem_fragmentation_ratio:"), "{ratio}");
    is_silent(&mut client, NS, "fragmentation");
    // Every eighth of many values stays, so that nearly every page of memory is still in use.
    client.run(&["DEBUG POPULATE 300000 x 1000"]);
    let script = "for n = 0, 299999 do if n % 8 > 0 then redis.call('UNLINK', 'x:' .. n) end end";
    client.call(&["EVAL", script, "0"]);
    let found = fires_at_last(&mut client, NS, "fragmentation");
    assert_eq!(found.severity, "warning");
    client.run(&["FLUSHALL SYNC", "MEMORY PURGE"]);
    is_silent_at_last(&mut client, NS, "fragmentation");
}

#[test]
fn evictions_above_a_twentieth_until_there_is_more_memory() {
    let server = in_order(&["--maxmemory", "10mb"]);
    let mut client = server.client();
    tasks(&mut client, 2000);
    is_silent(&mut client, NS, "eviction-rate");
    tasks(&mut client, 9000);
    let found = fires(&mut client, NS, "warning", "eviction-rate");
    assert!(found.advice.starts_with("CONFIG SET maxmemory 64mb"), "{found:?}");
    client.succeed(&found.advice);
    // It stops when a window has passed without an eviction, or when the server counts anew.
    client.run(&["CONFIG SET miroir.doctor-window-seconds 1"]);
    is_silent_at_last(&mut client, NS, "eviction-rate");
}

#[test]
fn evictions_stop_as_well_when_the_server_counts_anew() {
    let server = in_order(&["--maxmemory", "10mb"]);
    let mut client = server.client();
    tasks(&mut client, 9000);
    fires(&mut client, NS, "warning", "eviction-rate");
    client.run(&["CONFIG SET maxmemory 64mb", "CONFIG RESETSTAT"]);
    assert_eq!(told(&mut client, NS), []);
}

#[test]
fn keys_that_must_not_be_lost_and_went_all_the_same() {
    let server = in_order(&["--maxmemory", "10mb"]);
    let mut client = server.client();
    let is_lost = |client: &mut Client, reason: &str, advice: &str| {
        let found = fires(client, NS, "critical", "eviction-protection");
        assert!(found.found.contains(reason) && found.advice.starts_with(advice), "{found:?}");
        client.succeed(&found.advice);
        client.run(&["CONFIG RESETSTAT"]);
        is_silent(client, NS, "eviction-protection");
        // At once: else there is nothing to evict while memory is full.
        client.run(&["FLUSHALL SYNC", "CONFIG SET maxmemory 10mb"]);
    };
    jobs(&mut client, 100);
    tasks(&mut client, 9000);
    assert!(client.figure("stats", "evicted_keys") > 1000);
    is_silent(&mut client, NS, "eviction-protection");
    client.run(&["CONFIG RESETSTAT", "FLUSHALL SYNC", "CONFIG SET miroir.protect-from-eviction no"]);
    // That the counters began anew shows at the next look.
    is_silent(&mut client, NS, "eviction-rate");
    jobs(&mut client, 500);
    tasks(&mut client, 9000);
    is_lost(&mut client, "protect-from-eviction is no", "CONFIG SET miroir.protect-from-eviction yes");
    client.run(&["CONFIG SET maxmemory-policy allkeys-random"]);
    jobs(&mut client, 500);
    tasks(&mut client, 9000);
    is_lost(&mut client, "is allkeys-random, by which", "CONFIG SET maxmemory-policy allkeys-lru");
    // When they are all that there is, something has to go.
    jobs(&mut client, 9000);
    is_lost(&mut client, "too little else is left to evict", "CONFIG SET maxmemory 64mb");
}

#[test]
fn thresholds_can_be_set_in_any_order_and_those_that_warn_of_nothing_are_found() {
    let server = in_order(&["--miroir.memory-warning-bytes", "3gb", "--miroir.memory-critical-bytes", "2gb"]);
    let mut client = server.client();
    let advice = fires(&mut client, NS, "note", "used-memory").advice;
    client.succeed(&advice);
    is_silent(&mut client, NS, "used-memory");
    for lines in [
        &["CONFIG SET miroir.memory-warning-bytes 3gb miroir.memory-critical-bytes 4gb"][..],
        &["CONFIG SET miroir.memory-critical-bytes 6gb miroir.memory-warning-bytes 5gb"],
        &["CONFIG SET miroir.memory-warning-bytes 7gb", "CONFIG SET miroir.memory-critical-bytes 8gb"],
        &["CONFIG SET miroir.memory-critical-bytes 2gb", "CONFIG SET miroir.memory-warning-bytes 1gb"],
    ] {
        client.run(lines);
        is_silent(&mut client, NS, "used-memory");
    }
}

#[test]
fn look_ups_in_vain_are_those_of_clients_and_not_of_the_module() {
    let server = in_order(&[]);
    let mut client = server.client();
    // The module itself looks before it writes, and compares its catalog with the keys all the time.
    tasks(&mut client, 1000);
    is_silent(&mut client, NS, "hit-ratio");
    let misses = client.figure("stats", "keyspace_misses");
    assert!(misses >= 1000, "{misses} misses: the server counts the module's");
    let read = |client: &mut Client, hits: usize, misses: usize| {
        client.run(&["CONFIG RESETSTAT"]);
        is_silent(client, NS, "hit-ratio");
        let mut pipe = redis::pipe();
        for id in 0..hits {
            pipe.cmd("HGETALL").arg(format!("{NS}:tasks:t{id}"));
        }
        for id in 0..misses {
            pipe.cmd("MIROIR.GET").arg(format!("{NS}:session:s{id}"));
        }
        pipe.query::<Vec<redis::Value>>(&mut client.connection).unwrap();
    };
    read(&mut client, 94, 5);
    is_silent(&mut client, NS, "hit-ratio");
    read(&mut client, 96, 5);
    is_silent(&mut client, NS, "hit-ratio");
    read(&mut client, 94, 6);
    fires(&mut client, NS, "warning", "hit-ratio");
    read(&mut client, 80, 20);
    fires(&mut client, NS, "warning", "hit-ratio");
    read(&mut client, 79, 21);
    let found = fires(&mut client, NS, "critical", "hit-ratio");
    assert!(found.found.starts_with("79.0 % of 100 look-ups"), "{found:?}");
    client.run(&["CONFIG SET miroir.doctor-window-seconds 1"]);
    is_silent_at_last(&mut client, NS, "hit-ratio");
}

#[test]
fn a_master_without_a_replica_and_a_replica_without_its_master() {
    let mut master = in_order(&[]);
    let mut client = master.client();
    let found = fires(&mut client, NS, "warning", "replica");
    let order = found.advice.replace("<host of this server>", "127.0.0.1");
    let second = in_order(&[]);
    let mut other = second.client();
    other.succeed(order.strip_suffix(", sent to a second server").unwrap());
    support::replicate(&mut client, &mut other);
    assert_eq!((doctor(&mut client, NS), doctor(&mut other, NS)), (vec![], vec![]));

    master.kill();
    let found = fires_at_last(&mut other, NS, "replica");
    assert_eq!(found.severity, "warning");
    master.start_again();
    other.succeed(found.advice.strip_suffix(", once the master answers again").unwrap());
    is_silent_at_last(&mut other, NS, "replica");
    let mut client = master.client();
    is_silent(&mut client, NS, "replica");
    other.run(&["REPLICAOF NO ONE"]);
    fires_at_last(&mut client, NS, "replica");
}

#[test]
fn clients_that_are_many_and_clients_that_are_turned_away() {
    let server = in_order(&["--maxclients", "5"]);
    let mut client = server.client();
    // Who asked whether the server is there may not have gone yet.
    client.wait_for("INFO clients", |info| info.contains("connected_clients:1\r"));
    let mut others: Vec<Client> = (0..3).map(|_| server.client()).collect();
    is_silent(&mut client, NS, "maxclients");
    others.push(server.client());
    let found = fires(&mut client, NS, "warning", "maxclients");
    is_silent(&mut client, NS, "rejected-connections");
    let url = format!("redis://127.0.0.1:{}/", server.port());
    let refused = redis::Client::open(url)
        .unwrap()
        .get_connection()
        .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
    assert!(refused.is_err());
    let refused = fires(&mut client, NS, "critical", "rejected-connections");
    assert_eq!(refused.advice, found.advice);
    client.succeed(&found.advice);
    is_silent(&mut client, NS, "maxclients");
    client.run(&["CONFIG SET miroir.doctor-window-seconds 1"]);
    is_silent_at_last(&mut client, NS, "rejected-connections");
}

#[test]
fn slow_commands_by_their_number_and_by_the_longest() {
    let server = in_order(&[]);
    let mut client = server.client();
    // On a busy machine more is slow than what this test makes slow: what counts is what the log holds in the end.
    let slow = |client: &mut Client, number: usize, seconds: &str| {
        client.run(&["CONFIG SET slowlog-log-slower-than 4000", "SLOWLOG RESET"]);
        for _ in 0..number {
            client.run(&[&format!("DEBUG SLEEP {seconds}")]);
        }
        client.run(&["CONFIG SET slowlog-log-slower-than 60000000"]);
        type Entry = (i64, i64, i64, Vec<String>, String, String);
        let entries: Vec<Entry> = client.read("SLOWLOG GET 10");
        entries.len() >= 5 || entries.iter().any(|entry| entry.2 > 50_000)
    };
    for (number, seconds) in [(4, "0.005"), (5, "0.005"), (1, "0.06"), (0, "0")] {
        let is_slow = slow(&mut client, number, seconds);
        assert_eq!(of(&mut client, NS, "slow-log").is_some(), is_slow, "{number} times {seconds} s");
    }
    assert!(slow(&mut client, 5, "0.005"));
    fires(&mut client, NS, "warning", "slow-log");
    assert!(slow(&mut client, 1, "0.06"));
    let found = fires(&mut client, NS, "warning", "slow-log");
    assert!(found.found.contains("DEBUG, took "), "{found:?}");
    let [shows, mends] = found.advice.split("; once they are mended: ").collect::<Vec<_>>()[..] else {
        panic!("{found:?}")
    };
    assert!(client.succeed(shows.strip_suffix(" shows them").unwrap()).contains("SLEEP"));
    client.succeed(mends);
    is_silent(&mut client, NS, "slow-log");
}
