//! A cluster whose slots move, and commands that would look into several slots.

mod support;

use support::{Client, Server};

const CLUSTER: &[&str] = &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

/// One node that has all slots.
fn node() -> Server {
    let server = Server::start_with(CLUSTER);
    let mut client = server.client();
    assert_eq!(client.ask("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    client.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    server
}

fn digest(client: &mut Client) -> String {
    client.ask("DEBUG DIGEST")
}

#[test]
fn nothing_is_half_written_while_a_slot_moves() {
    let source = node();
    let target = Server::start_with(CLUSTER);
    let mut client = source.client();
    let mut other = target.client();
    client.ask("MIROIR.PUT {m}:tasks:a index_uid x");
    client.ask("MIROIR.PUT {m}:jobs:a type reindex");
    client.ask("MIROIR.CDC.PUSH {m}:cdc:overflow:k BUDGET 100 one");
    client.ask("MIROIR.LEASE.ACQUIRE {m}:lease:l pod 600000");

    let (source_id, target_id) = (client.ask("CLUSTER MYID"), other.ask("CLUSTER MYID"));
    client.ask(&format!("CLUSTER MEET 127.0.0.1 {}", target.port()));
    client.wait_for("CLUSTER NODES", |nodes| nodes.contains(&target_id) && !nodes.contains("handshake"));
    other.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    let slot = client.ask("CLUSTER KEYSLOT {m}");
    assert_eq!(other.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")), "OK");
    assert_eq!(client.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")), "OK");
    let moved = "{m}:tasks:_index {m}:jobs:_queued {m}:cdc:overflow_bytes:k {m}:lease:_tokens";
    let migrated = client.ask(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {moved}", target.port()));
    assert_eq!(migrated, "OK");

    let before = digest(&mut client);
    for line in [
        "MIROIR.PUT {m}:tasks:a index_uid y",
        "MIROIR.PATCH {m}:tasks:a index_uid y",
        "MIROIR.DEL {m}:tasks:a",
        "MIROIR.PUT {m}:jobs:a type dump",
        "MIROIR.DEL {m}:jobs:a",
        "MIROIR.CDC.PUSH {m}:cdc:overflow:k BUDGET 100 two",
        "MIROIR.CDC.POP {m}:cdc:overflow:k",
        "MIROIR.CDC.TRIM {m}:cdc:overflow:k BUDGET 0",
        "MIROIR.LEASE.ACQUIRE {m}:lease:l pod 600000",
        "MIROIR.LEASE.RELEASE {m}:lease:l pod",
    ] {
        let answer = client.ask(line);
        assert!(answer.starts_with("TRYAGAIN "), "{line}: {answer}");
        assert_eq!(digest(&mut client), before, "{line} changed the data");
    }
    // The other node does not begin an index of its own.
    let before = digest(&mut other);
    client.ask("MIROIR.GET {m}:tasks:new");
    other.ask("ASKING");
    let answer = other.ask("MIROIR.PUT {m}:tasks:new index_uid y");
    assert!(answer.starts_with("TRYAGAIN "), "{answer}");
    assert_eq!(digest(&mut other), before);
    // What needs no second key goes on.
    assert_eq!(client.ask("MIROIR.TASK.STATUS {m}:tasks:a processing"), "1");
    assert!(client.ask("MIROIR.MEMORY {m}").contains("tasks, [rows, 1, "));
}

#[test]
fn a_list_never_looks_into_other_slots() {
    let server = node();
    let mut client = server.client();
    for number in 0..20 {
        assert_eq!(client.ask(&format!("MIROIR.PUT m:session:k{number} pinned_group 1")), "1");
        assert_eq!(client.ask(&format!("MIROIR.PUT {{m}}:session:k{number} pinned_group 1")), "1");
    }
    for command in ["LIST", "COUNT"] {
        let answer = client.ask(&format!("MIROIR.{command} m:session"));
        assert!(answer.starts_with("CROSSSLOT "), "{command}: {answer}");
    }
    assert_eq!(client.ask("MIROIR.COUNT {m}:session"), "20");
    assert!(client.ask("MIROIR.MEMORY m").contains("sessions, [rows, 20, "));
    client.ask("MULTI");
    client.ask("GET {q}x");
    client.ask("MIROIR.MEMORY m");
    let answer = client.ask("EXEC");
    assert!(answer.contains("no transaction or script around it in a cluster"), "{answer}");
}
