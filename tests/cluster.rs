//! A cluster whose slots move, and commands that would look into several slots.

mod support;

use support::cluster::{masters, nodes, open_slot};
use support::Client;

fn digest(client: &mut Client) -> String {
    client.ask("DEBUG DIGEST")
}

#[test]
fn nothing_is_half_written_while_a_slot_moves() {
    let mut nodes = nodes(1, 2);
    let [source, target] = &mut nodes[..] else { panic!("two nodes") };
    source.client.run(&[
        "MIROIR.PUT {m}:tasks:a index_uid x",
        "MIROIR.PUT {m}:jobs:a type reindex",
        "MIROIR.CDC.PUSH {m}:cdc:overflow:k BUDGET 100 one",
        "MIROIR.LEASE.ACQUIRE {m}:lease:l pod 600000",
    ]);
    let slot = source.client.ask("CLUSTER KEYSLOT {m}");
    open_slot(source, target, &slot);
    let moved = "{m}:tasks:_index {m}:jobs:_queued {m}:cdc:overflow_bytes:k {m}:lease:_tokens";
    source.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {moved}", target.server.port()));

    let (client, other) = (&mut source.client, &mut target.client);
    let before = digest(client);
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
        assert_eq!(digest(client), before, "{line} changed the data");
    }
    // The other node does not begin an index of its own.
    let before = digest(other);
    client.ask("MIROIR.GET {m}:tasks:new");
    other.ask("ASKING");
    let answer = other.ask("MIROIR.PUT {m}:tasks:new index_uid y");
    assert!(answer.starts_with("TRYAGAIN "), "{answer}");
    assert_eq!(digest(other), before);
    // What needs no second key goes on.
    assert_eq!(client.ask("MIROIR.TASK.STATUS {m}:tasks:a processing"), "1");
    assert!(client.ask("MIROIR.MEMORY {m}").contains("tasks, [rows, 1, "));
}

#[test]
fn a_list_never_looks_into_other_slots() {
    let mut nodes = masters(1);
    let client = &mut nodes[0].client;
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
