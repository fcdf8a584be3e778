//! MIROIR.DOCTOR: every check of a namespace is made to speak and made to stop. A window of a second stands for that of five
//! minutes.

mod support;

use std::time::{Duration, Instant};

use support::clock::wait_until;
use support::doctor::{fires, fires_at_last, in_order, is_silent, is_silent_at_last, of, told};
use support::{Client, Server};

const NS: &str = "miroir";
const WINDOW: &[&str] = &["--miroir.doctor-window-seconds", "1"];

fn start() -> (Server, Client) {
    let server = in_order(WINDOW);
    let client = server.client();
    (server, client)
}

/// Asserts that a check finds nothing, unless the machine was too slow to ask before the window was over.
fn is_silent_so_far(client: &mut Client, since: i64, check: &str) {
    let found = of(client, NS, check);
    assert!(found.is_none() || client.server_ms() >= since + 1000, "{found:?}");
}

/// Lets time pass on the server, without a question to the doctor.
fn pass(client: &mut Client, milliseconds: i64) {
    let end = client.server_ms() + milliseconds;
    wait_until(client, end);
}

#[test]
fn a_queue_counts_when_more_than_ten_jobs_wait_for_longer_than_the_window() {
    let (_server, mut client) = start();
    let put =
        |client: &mut Client, id: usize| client.succeed(&format!("MIROIR.PUT {NS}:jobs:j{id} type dump"));
    (0..10).for_each(|id| drop(put(&mut client, id)));
    pass(&mut client, 2000);
    is_silent(&mut client, NS, "queue-depth");
    // The eleventh, and nobody asks until the window is over.
    let start = client.server_ms();
    put(&mut client, 10);
    is_silent_so_far(&mut client, start, "queue-depth");
    pass(&mut client, 1500);
    let found = fires(&mut client, NS, "warning", "queue-depth");
    assert!(found.found.starts_with("11 jobs are queued"), "{found:?}");
    let shows = found.advice.split(" shows which; ").next().unwrap();
    assert_eq!(client.succeed(shows), "[dump, 11]");
    is_silent(&mut client, "another", "queue-depth");
    let claim = found.advice.split(" run ").nth(1).unwrap().replace("<pod>", "pod-1");
    assert_ne!(client.succeed(&claim), "[]");
    is_silent(&mut client, NS, "queue-depth");
    // It was short meanwhile, though no call of the doctor has seen that: the time begins anew.
    (20..30).for_each(|id| drop(put(&mut client, id)));
    pass(&mut client, 1500);
    fires(&mut client, NS, "warning", "queue-depth");
    client.run(&[&format!("MIROIR.DEL {NS}:jobs:j20")]);
    pass(&mut client, 600);
    let start = client.server_ms();
    put(&mut client, 31);
    is_silent_so_far(&mut client, start, "queue-depth");
    pass(&mut client, 1500);
    fires(&mut client, NS, "warning", "queue-depth");
    client.run(&["FLUSHALL"]);
    is_silent(&mut client, NS, "queue-depth");
}

#[test]
fn raw_jobs_count_as_well_and_a_queue_keeps_its_age_when_its_database_is_swapped() {
    let (server, mut client) = start();
    for id in 0..11 {
        client.run(&[&format!("HSET {NS}:jobs:j{id} type dump state queued created_at 1")]);
    }
    pass(&mut client, 1500);
    fires(&mut client, NS, "warning", "queue-depth");
    client.run(&["SWAPDB 0 1"]);
    is_silent(&mut client, NS, "queue-depth");
    client.run(&["SELECT 1"]);
    fires(&mut client, NS, "warning", "queue-depth");
    // A replica has watched for itself.
    let replica = Server::replica_of(&server, WINDOW);
    let mut other = replica.client();
    other.run(&["SELECT 1"]);
    fires_at_last(&mut other, NS, "queue-depth");
}

fn push(client: &mut Client, sink: &str, budget: usize) {
    client.succeed(&format!("MIROIR.CDC.PUSH {NS}:cdc:overflow:{sink} BUDGET {budget} event"));
}

/// Pushes until the check speaks.
fn push_until_found(client: &mut Client, sink: &str, budget: usize) -> support::doctor::Finding {
    let deadline = Instant::now() + support::patience();
    loop {
        push(client, sink, budget);
        if let Some(found) = of(client, NS, "cdc-overflow") {
            return found;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_buffer_that_nobody_drains_is_found_while_it_grows() {
    let (_server, mut client) = start();
    let start = client.server_ms();
    push(&mut client, "kafka", 1_000_000);
    is_silent_so_far(&mut client, start, "cdc-overflow");
    let found = push_until_found(&mut client, "kafka", 1_000_000);
    assert_eq!(found.severity, "warning");
    assert!(
        found.found.contains("1 CDC buffer grows") && found.found.contains("cdc:overflow:kafka ("),
        "{found:?}"
    );
    // It grows no more.
    is_silent_at_last(&mut client, NS, "cdc-overflow");
    let found = push_until_found(&mut client, "kafka", 1_000_000);
    client.succeed(found.advice.rsplit("by nobody: ").next().unwrap());
    is_silent(&mut client, NS, "cdc-overflow");
    assert_eq!(told(&mut client, NS), []);
}

#[test]
fn a_buffer_at_its_budget_loses_events_and_that_is_critical() {
    let (_server, mut client) = start();
    let mut found = push_until_found(&mut client, "kafka", 20);
    let deadline = Instant::now() + support::patience();
    while found.severity != "critical" {
        assert!(Instant::now() < deadline, "{found:?}");
        found = push_until_found(&mut client, "kafka", 20);
    }
    assert!(found.found.contains("and has dropped"), "{found:?}");
    assert_eq!(client.ask(&format!("LLEN {NS}:cdc:overflow:kafka")), "4");
    client.run(&[&format!("MIROIR.CDC.POP {NS}:cdc:overflow:kafka COUNT 9")]);
    is_silent(&mut client, NS, "cdc-overflow");
}

#[test]
fn a_buffer_of_raw_clients_is_found_too_and_one_with_a_pump_is_not() {
    let (_server, mut client) = start();
    let list = |sink: &str| format!("{NS}:cdc:overflow:{sink}");
    let deadline = Instant::now() + support::patience();
    let found = loop {
        // Both get an event each time. From one of them two are taken every other time.
        for sink in ["raw", "pumped"] {
            client.run(&[&format!("LPUSH {} event", list(sink))]);
            client.run(&[&format!("LPUSH {} event", list(sink))]);
        }
        std::thread::sleep(Duration::from_millis(20));
        client.run(&[&format!("RPOP {} 2", list("pumped"))]);
        if let Some(found) = of(&mut client, NS, "cdc-overflow") {
            break found;
        }
        assert!(Instant::now() < deadline);
    };
    assert!(found.found.contains("1 CDC buffer grows") && found.found.contains(":raw ("), "{found:?}");
    client.run(&[&format!("DEL {}", list("raw"))]);
    is_silent(&mut client, NS, "cdc-overflow");
}

#[test]
fn a_lease_without_a_ttl_gets_one() {
    let (_server, mut client) = start();
    client.run(&[
        &format!("SET {NS}:lease:a pod EX 600"),
        &format!("MIROIR.LEASE.ACQUIRE {NS}:lease:b pod 600000"),
    ]);
    is_silent(&mut client, NS, "lease-without-ttl");
    client.run(&[&format!("SET {NS}:lease:raw pod"), &format!("PERSIST {NS}:lease:a")]);
    let found = fires(&mut client, NS, "warning", "lease-without-ttl");
    assert!(found.found.starts_with("2 leases have no TTL"), "{found:?}");
    client.succeed(&found.advice);
    let found = fires(&mut client, NS, "warning", "lease-without-ttl");
    client.succeed(&found.advice);
    is_silent(&mut client, NS, "lease-without-ttl");
    for id in 0..9 {
        client.run(&[&format!("SET {NS}:lease:more{id} pod")]);
    }
    assert!(fires(&mut client, NS, "warning", "lease-without-ttl").found.contains("and 6 more"));
    support::audit::audit(&mut client, NS, "COUNT 1000 REPAIR");
    is_silent(&mut client, NS, "lease-without-ttl");
}

#[test]
fn a_lease_that_its_holder_does_not_renew_is_about_to_lapse() {
    let (_server, mut client) = start();
    client.run(&[
        &format!("MIROIR.LEASE.ACQUIRE {NS}:lease:leader pod-1 4500"),
        &format!("MIROIR.LEASE.ACQUIRE {NS}:lease:other pod-1 600000"),
    ]);
    is_silent(&mut client, NS, "lease-lapsing");
    let found = fires_at_last(&mut client, NS, "lease-lapsing");
    assert_eq!(found.severity, "warning");
    assert!(found.found.contains("1 lease is about to lapse: miroir:lease:leader of pod-1 ("), "{found:?}");
    let left: i64 = client.integer(&format!("PTTL {NS}:lease:leader"));
    assert!((-2..=1500).contains(&left), "{left}");
    assert!(client.succeed(&found.advice).starts_with("[1, pod-1, "), "{found:?}");
    is_silent(&mut client, NS, "lease-lapsing");
    // One that has lapsed is no lease any more.
    fires_at_last(&mut client, NS, "lease-lapsing");
    client.wait_for(&format!("EXISTS {NS}:lease:leader"), |answer| answer == "0");
    is_silent(&mut client, NS, "lease-lapsing");
}

#[test]
fn a_holder_that_renews_after_a_third_is_left_in_peace() {
    let (_server, mut client) = start();
    client.run(&[&format!("MIROIR.LEASE.ACQUIRE {NS}:lease:leader pod-1 900")]);
    let mut asked = 0;
    while asked < 8 {
        pass(&mut client, 300);
        let found = of(&mut client, NS, "lease-lapsing");
        let left = client.integer(&format!("PTTL {NS}:lease:leader"));
        // On a busy machine this client may itself be late.
        if left > 310 {
            assert_eq!(found, None);
            asked += 1;
        }
        client.run(&[&format!("MIROIR.LEASE.ACQUIRE {NS}:lease:leader pod-1 900")]);
    }
}

#[test]
fn a_catalog_at_odds_with_a_key_is_told_for_a_window() {
    let server = Server::start_debug_build();
    let mut client = server.client();
    client.run(&[&format!("MIROIR.PUT {NS}:tasks:t index_uid movies")]);
    is_silent(&mut client, NS, "catalog-drift");
    client.run(&[&format!("MIROIR.DEBUG FORGET {NS}:tasks:t")]);
    let found = fires_at_last(&mut client, NS, "catalog-drift");
    assert_eq!(found.severity, "warning");
    let audit = found.advice.split(", and on").next().unwrap();
    assert_eq!(client.succeed(audit).matches("catalog-at-odds").count(), 0, "it was mended by itself");
    client.run(&["CONFIG SET miroir.doctor-window-seconds 1"]);
    is_silent_at_last(&mut client, NS, "catalog-drift");
    // What only an audit finds counts as well.
    client.run(&["CONFIG SET miroir.audit-budget-us 0", &format!("MIROIR.DEBUG FORGET {NS}:tasks:t")]);
    assert_eq!(
        fires(&mut client, NS, "note", "catalog-drift").advice,
        "CONFIG SET miroir.audit-budget-us 500"
    );
    assert!(client.succeed(audit).contains("catalog-at-odds"));
    fires(&mut client, NS, "warning", "catalog-drift");
}
