//! When memory runs short the server evicts sessions, requests and tasks, and nothing that must not be lost.
//!
//! `MIROIR_EVICTIONS` says how many keys are evicted in each of the floods.

#[path = "eviction/flood.rs"]
mod flood;
#[path = "eviction/store.rs"]
mod store;
mod support;

use flood::{Row, MIXED, OF_MODULE, RAW, READ, WITH_TTL};
use store::Store;
use support::audit::lasting;
use support::{module, Client, Server};

/// How many keys are evicted in a flood, unless the environment says otherwise.
const EVICTIONS: i64 = 20_000;
/// How much memory the floods have above what is held before.
const ROOM: i64 = 6_000_000;
/// How many jobs there are in most of the tests, beside the 570 other keys.
const JOBS: usize = 1000;
/// All policies that can be told what to spare.
const POLICIES: [&str; 4] = ["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu"];

fn evictions() -> i64 {
    std::env::var("MIROIR_EVICTIONS").map_or(EVICTIONS, |text| text.parse().unwrap())
}

/// Has the server hold no more than it holds now and some room.
fn limit(client: &mut Client, room: i64) {
    let limit = client.figure("memory", "used_memory") + room;
    client.succeed(&format!("CONFIG SET maxmemory {limit}"));
}

fn start(policy: &str) -> Server {
    Server::start_with(&["--maxmemory-policy", policy])
}

/// Floods a server, and answers which of the protected keys are gone or differ.
fn flood(server: &Server, store: &Store, name: &str, rows: &[Row]) -> Vec<String> {
    let mut client = server.client();
    let before = client.figure("stats", "evicted_keys");
    let (written, time) = flood::run(server, rows, before + evictions());
    let missing = store.missing(&mut client);
    println!(
        "{name}: {} of {written} evicted in {:.1} s, {} of {} protected keys gone, {} rounds, {:.0}% of all keys protected",
        client.figure("stats", "evicted_keys") - before,
        time.as_secs_f64(),
        missing.len(),
        store.len(),
        client.figure("miroir", "miroir_memory_protection_rounds"),
        100.0 * store.len() as f64 / client.integer("DBSIZE") as f64,
    );
    missing
}

/// The same, and expects that nothing is gone, and that no index entry is left of what was evicted.
fn spares_all(server: &Server, store: &Store, name: &str, rows: &[Row]) {
    let lost = flood(server, store, name, rows);
    assert!(lost.is_empty(), "{name}: {:?} …", &lost[..lost.len().min(5)]);
    let mut client = server.client();
    assert_eq!(client.figure("miroir", "miroir_memory_evicted_protected"), 0, "{name}");
    assert_eq!(lasting(&mut client, "miroir"), [], "{name}");
}

#[test]
fn a_flood_evicts_nothing_that_must_not_be_lost() {
    for policy in POLICIES {
        // Where only keys with a TTL are evicted, tasks would fill the memory.
        let all = if policy.starts_with("allkeys") { MIXED } else { WITH_TTL };
        let server = start(policy);
        let mut client = server.client();
        let store = Store::fill(&mut client, JOBS);
        limit(&mut client, ROOM);
        spares_all(&server, &store, &format!("{policy}, all kinds"), all);
    }
}

#[test]
fn nor_does_a_flood_of_one_sort() {
    for policy in POLICIES {
        for (sort, rows) in [("through the module", OF_MODULE), ("beside the module", RAW)] {
            let server = start(policy);
            let mut client = server.client();
            let store = Store::fill(&mut client, JOBS);
            limit(&mut client, ROOM);
            spares_all(&server, &store, &format!("{policy}, {sort}"), rows);
        }
    }
}

#[test]
fn nor_does_a_flood_of_rows_that_are_read() {
    let server = start("allkeys-lru");
    let mut client = server.client();
    let store = Store::fill(&mut client, JOBS);
    limit(&mut client, ROOM);
    spares_all(&server, &store, "rows that are read", READ);
}

#[test]
fn nor_does_it_where_most_keys_must_not_be_lost() {
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        let server = start(policy);
        let mut client = server.client();
        let store = Store::fill(&mut client, 12_000);
        limit(&mut client, 1_500_000);
        spares_all(&server, &store, &format!("{policy}, most keys protected"), MIXED);
        // The server was told to pick more keys, and picks as many as it should when there is no need any more.
        assert_eq!(client.ask("CONFIG GET maxmemory-samples"), "[maxmemory-samples, 64]");
        client.succeed("CONFIG SET miroir.protect-from-eviction no");
        assert_eq!(client.ask("CONFIG GET maxmemory-samples"), "[maxmemory-samples, 5]");
    }
}

#[test]
fn what_is_written_during_a_flood_is_not_lost_either() {
    let server = start("allkeys-lru");
    let mut client = server.client();
    let mut store = Store::fill(&mut client, JOBS);
    limit(&mut client, ROOM);
    let mut written = Vec::new();
    flood::run_until(&server, MIXED, &mut |client| {
        let number = written.len();
        let keys = [format!("miroir:lease:new{number}"), format!("miroir:aliases:new{number}")];
        client.succeed(&format!("MIROIR.LEASE.ACQUIRE {} pod-1 3600000", keys[0]));
        client.succeed(&format!(
            "HSET {} name n kind single current_uid uid-1 version 1 created_at 1",
            keys[1]
        ));
        written.extend(keys);
        client.figure("stats", "evicted_keys") >= evictions() / 2
    });
    let count = written.len();
    store.add(&mut client, written.into_iter());
    // The index and the tokens were not what they are now when the store was filled.
    store.add(
        &mut client,
        ["aliases:_index", "lease:_tokens", "lease:_holders"].map(|key| format!("miroir:{key}")).into_iter(),
    );
    assert_eq!(client.integer("HLEN miroir:lease:_tokens"), 40 + count as i64 / 2);
    spares_all(&server, &store, "written during the flood", MIXED);
}

#[test]
fn a_module_that_is_loaded_when_memory_is_short_protects_at_once() {
    let server = start("allkeys-lru");
    let mut client = server.client();
    let store = Store::fill(&mut client, JOBS);
    // Timers of the last turn may be pending.
    client.wait_for("MODULE UNLOAD miroir", |answer| answer == "OK");
    limit(&mut client, ROOM);
    flood::run_until(&server, RAW, &mut |client| {
        client.figure("memory", "used_memory") > client.figure("memory", "maxmemory") - ROOM / 8
            || client.figure("stats", "evicted_keys") > 0
    });
    if client.figure("stats", "evicted_keys") > 0 {
        // The flood was faster than the eye: what it took, nobody could protect.
        return;
    }
    client.succeed(&format!("MODULE LOAD {}", module().display()));
    spares_all(&server, &store, "loaded late", MIXED);
}

/// Evictions by the ten thousand, faster than anything is done about them between the commands: what is kept of rows that are gone
/// must not make the server evict all the others.
#[test]
fn nor_is_anything_lost_when_much_has_to_go_at_once() {
    let large = vec![b'x'; 4 * ROOM as usize];
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Client, i64));
    let changes: [Change<'_>; 2] = [
        ("a sixth of the limit", &|client, base| {
            client.succeed(&format!("CONFIG SET maxmemory {}", base + 2 * ROOM));
        }),
        ("a value that takes a third of the memory, and as much until it is kept", &|client, _| {
            // Refused until enough has gone.
            let set =
                |client: &mut Client| redis::cmd("SET").arg("large").arg(&large).exec(&mut client.connection);
            while let Err(error) = set(client) {
                assert_eq!(error.code(), Some("OOM"), "{error}");
            }
        }),
    ];
    for (name, change) in changes {
        let server = start("allkeys-lru");
        let mut client = server.client();
        let store = Store::fill(&mut client, JOBS);
        let base = client.figure("memory", "used_memory");
        limit(&mut client, 12 * ROOM);
        flood::run_until(&server, MIXED, &mut |client| {
            if client.figure("stats", "evicted_keys") == 0 {
                return false;
            }
            change(client, base);
            true
        });
        spares_all(&server, &store, name, MIXED);
    }
}

/// From any policy to any other: the ages and the counts that one of them has left mean nothing to the next.
#[test]
fn the_policy_may_be_set_and_change_during_a_flood() {
    let orders = [
        ["allkeys-lru", "allkeys-lfu", "allkeys-lru", "volatile-lru", "volatile-lfu", "allkeys-lru"],
        ["allkeys-lfu", "volatile-lru", "allkeys-lfu", "volatile-lfu", "allkeys-lru", "allkeys-lfu"],
    ];
    for order in orders {
        let server = start("noeviction");
        let mut client = server.client();
        let store = Store::fill(&mut client, JOBS);
        limit(&mut client, ROOM);
        let mut policies = order.iter();
        let mut enough = 0;
        flood::run_until(&server, WITH_TTL, &mut |client| {
            let evicted = client.figure("stats", "evicted_keys");
            if evicted < enough
                || client.figure("memory", "used_memory") < client.figure("memory", "maxmemory") * 9 / 10
            {
                return false;
            }
            let Some(policy) = policies.next() else { return true };
            client.succeed(&format!("CONFIG SET maxmemory-policy {policy}"));
            enough = evicted + evictions() / 6;
            false
        });
        let lost = store.missing(&mut client);
        assert!(lost.is_empty(), "{} lost: {:?} …", lost.len(), &lost[..lost.len().min(5)]);
        // Less memory than is held: much has to go at once.
        limit(&mut client, -ROOM / 3);
        spares_all(&server, &store, &format!("other policies, {} at last", order[5]), MIXED);
    }
}

#[test]
fn a_replica_that_is_promoted_during_a_flood_goes_on_to_protect() {
    // The backlog counts as used memory, and grows with the flood.
    const SETTINGS: &[&str] = &["--maxmemory-policy", "allkeys-lru", "--repl-backlog-size", "64kb"];
    let server = Server::start_with(SETTINGS);
    let mut client = server.client();
    let store = Store::fill(&mut client, JOBS);
    let replica = Server::replica_of(&server, SETTINGS);
    let mut second = replica.client();
    limit(&mut client, ROOM);
    limit(&mut second, ROOM);
    flood::run_until(&server, MIXED, &mut |client| client.figure("stats", "evicted_keys") >= evictions() / 4);
    second.wait_for("INFO miroir", |info| info.contains("miroir_memory_protection:working"));
    second.succeed("REPLICAOF NO ONE");
    // It goes on, and does not begin anew: that would be a walk over all keys.
    assert!(second.ask("INFO miroir").contains("miroir_memory_protection:working"));
    drop(server);
    spares_all(&replica, &store, "promoted", MIXED);
}

#[test]
fn without_protection_the_same_flood_evicts_what_must_not_be_lost() {
    for policy in POLICIES {
        let server = start(policy);
        let mut client = server.client();
        client.succeed("CONFIG SET miroir.protect-from-eviction no");
        let store = Store::fill(&mut client, JOBS);
        limit(&mut client, ROOM);
        let lost = flood(&server, &store, &format!("{policy}, not protected"), WITH_TTL);
        // What has a TTL, of which there is a lease among the 80, may be evicted by every policy.
        assert!(lost.len() > 10, "{policy}: {}", lost.len());
        assert!(client.figure("miroir", "miroir_memory_evicted_protected") > 10);
    }
}
