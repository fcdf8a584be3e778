//! MIROIR.DOCTOR where something is in its way: commands renamed, a script, a full memory, a replica, a cluster, a catalog that is
//! still being made, users with few rights.

mod support;

use redis::Value;
use support::cluster::{masters, masters_and_replica};
use support::doctor::{doctor, fires, in_order, is_silent, told, Finding, IN_ORDER};
use support::{Client, Server};

const NS: &str = "miroir";

/// The checks that could not look.
fn blind(findings: &[Finding]) -> Vec<&str> {
    let blind = findings.iter().filter(|found| found.found.starts_with("could not look: "));
    blind.map(|found| found.check.as_str()).collect()
}

#[test]
fn commands_that_were_renamed_away_are_said_and_all_else_is_looked_at() {
    let server = in_order(&["--rename-command", "CONFIG", "", "--rename-command", "SLOWLOG", "hidden"]);
    let mut client = server.client();
    let findings = doctor(&mut client, NS);
    let expected = ["tcp-backlog", "tcp-keepalive", "output-buffer-limits", "slow-log", "latency-monitor"];
    assert_eq!(blind(&findings), expected);
    assert!(findings.iter().skip(1).all(|found| found.severity == "note"), "{findings:?}");
    assert_eq!((&findings[0].check[..], findings.len()), ("replica", 6));
    assert!(findings[1].found.contains("CONFIG GET answers 'ERR "), "{findings:?}");
    assert_eq!(findings[1].advice, "CONFIG GET tcp-backlog");
    client.run(&[&format!("SET {NS}:lease:l pod")]);
    fires(&mut client, NS, "warning", "lease-without-ttl");
    // Without an AOF nobody knows whether there are snapshots.
    let server = Server::start_with(&["--rename-command", "CONFIG", ""]);
    let findings = doctor(&mut server.client(), NS);
    assert!(blind(&findings).contains(&"persistence"), "{findings:?}");
}

#[test]
fn both_protocols_get_the_same() {
    let server = Server::start();
    support::doctor::forgive_slowness(&mut server.client());
    // What is found holds figures, which another client changes.
    let advised =
        |mut client: Client| doctor(&mut client, NS).into_iter().map(|found| (found.check, found.advice));
    assert!(advised(server.client()).eq(advised(server.client_resp3())));
    let answer = server.client_resp3().raw(&["MIROIR.DOCTOR", NS]).unwrap();
    let Value::Array(findings) = answer else { panic!("{answer:?}") };
    assert!(
        !findings.is_empty()
            && findings.iter().all(|found| matches!(found, Value::Map(pairs) if pairs.len() == 4))
    );
}

#[test]
fn bad_arguments_are_errors() {
    let server = Server::start();
    support::assert_refused(
        &mut server.client(),
        &[
            ("MIROIR.DOCTOR", "wrong number of arguments"),
            ("MIROIR.DOCTOR miroir more", "wrong number of arguments"),
            ("MIROIR.DOCTOR ''", "namespace"),
            ("MIROIR.DOCTOR miroir:tasks", "namespace"),
        ],
    );
}

#[test]
fn scripts_transactions_a_full_memory_and_paused_writes_get_the_same_answer_and_nothing_is_written() {
    let server = in_order(&["--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    support::workload::work(&mut client);
    let (before, plain) = (client.dump(), client.ask("MIROIR.DOCTOR miroir"));
    for script in ["EVAL", "EVAL_RO"] {
        let answer = client.call(&[script, "return redis.call('MIROIR.DOCTOR', ARGV[1])", "0", NS]);
        assert_eq!(answer, plain, "{script}");
    }
    assert_eq!(support::effects::transaction(&mut client, &["MIROIR.DOCTOR miroir"]), format!("[{plain}]"));
    client.run(&["CLIENT PAUSE 60000 WRITE"]);
    assert_eq!(client.ask("MIROIR.DOCTOR miroir"), plain);
    client.run(&["CLIENT UNPAUSE", "CONFIG SET maxmemory 1"]);
    assert!(client.ask("SET x y").starts_with("OOM"));
    fires(&mut client, NS, "warning", "maxmemory");
    client.run(&["CONFIG SET maxmemory 64mb"]);
    assert_eq!((client.dump(), client.ask("MIROIR.DOCTOR miroir")), (before, plain));
}

#[test]
fn who_may_run_the_doctor_needs_no_other_right() {
    let server = in_order(&[]);
    let mut client = server.client();
    client.run(&[
        "ACL SETUSER doctor on nopass resetkeys -@all +miroir.doctor",
        "CONFIG SET latency-monitor-threshold 0",
    ]);
    client.run(&[&format!("SET {NS}:lease:l pod")]);
    let expected = doctor(&mut client, NS);
    let mut user = server.client();
    assert_eq!(user.ask("AUTH doctor any"), "OK");
    assert_eq!(doctor(&mut user, NS), expected);
    for line in ["CONFIG GET maxmemory", "SLOWLOG LEN", "INFO", "MIROIR.MEMORY miroir", "GET miroir:lease:l"]
    {
        assert!(user.ask(line).starts_with("NOPERM"), "{line}");
    }
}

#[test]
fn arguments_of_slow_commands_and_values_of_rows_are_not_shown() {
    let server = in_order(&[]);
    let mut client = server.client();
    client.run(&["CONFIG SET slowlog-log-slower-than 0", "ECHO secret-of-a-client"]);
    client.run(&[&format!(
        "MIROIR.PUT {NS}:admin_session:a csrf_token secret-token admin_key_hash secret-hash"
    )]);
    (0..9).for_each(|_| drop(client.succeed("ECHO secret-of-a-client")));
    client.run(&["CONFIG SET slowlog-log-slower-than 10000"]);
    let answer = client.ask("MIROIR.DOCTOR miroir");
    assert!(answer.contains("slow-log") && !answer.contains("secret"), "{answer}");
}

#[test]
fn a_catalog_that_is_being_made_is_said_and_the_server_is_looked_at() {
    let server = Server::bare(IN_ORDER);
    let mut client = server.client();
    let mut pipe = redis::pipe();
    for id in 0..100_000 {
        pipe.cmd("HSET")
            .arg(format!("{NS}:tasks:t{id}"))
            .arg(&["miroir_id", "t", "created_at", "1"])
            .ignore();
    }
    pipe.exec(&mut client.connection).unwrap();
    client.run(&["CONFIG SET latency-monitor-threshold 0"]);
    let module = support::module();
    let (_, early): (Value, Vec<std::collections::BTreeMap<String, String>>) = redis::pipe()
        .cmd("MODULE")
        .arg(&["LOAD", module.to_str().unwrap()])
        .cmd("MIROIR.DOCTOR")
        .arg(NS)
        .query(&mut client.connection)
        .unwrap();
    let blind: Vec<_> = early
        .iter()
        .filter(|found| found["found"].contains("TRYAGAIN"))
        .map(|found| &found["check"][..])
        .collect();
    let all = ["maxmemory", "cdc-overflow", "queue-depth", "lease-without-ttl", "lease-lapsing", "hash-tag"];
    assert_eq!(blind, all);
    assert!(early.iter().any(|found| found["check"] == "latency-monitor"), "{early:?}");
    client.wait_for("MIROIR.DOCTOR miroir", |answer| !answer.contains("TRYAGAIN"));
    is_silent(&mut client, NS, "maxmemory");
}

#[test]
fn a_module_that_is_taken_out_leaves_nothing_behind() {
    let server = in_order(&[]);
    let mut client = server.client();
    for id in 0..20 {
        client.run(&[
            &format!("MIROIR.PUT {NS}:jobs:j{id} type dump"),
            &format!("MIROIR.CDC.PUSH {NS}:cdc:overflow:s{id} BUDGET 9 x"),
        ]);
    }
    doctor(&mut client, NS);
    client.wait_for("MODULE UNLOAD miroir", |answer| answer == "OK");
    let module = support::module();
    client.call(&["MODULE", "LOAD", module.to_str().unwrap()]);
    assert_eq!(told(&mut client, NS), []);
}

/// Settings of a node that is in good order.
fn put_in_order(client: &mut Client) {
    for setting in IN_ORDER.chunks(2) {
        client.run(&[&format!("CONFIG SET {} {}", setting[0].trim_start_matches("--"), setting[1])]);
    }
    // What was slow while the cluster was made.
    client.run(&["SLOWLOG RESET"]);
}

#[test]
fn a_namespace_without_a_hash_tag_in_a_cluster() {
    let mut nodes = masters_and_replica(2);
    nodes.iter_mut().for_each(|node| put_in_order(&mut node.client));
    let [first, second, replica] = &mut nodes[..] else { panic!("three nodes") };
    assert_eq!(doctor(&mut second.client, "{m}"), []);
    let note = fires(&mut second.client, "m", "note", "hash-tag");
    assert_eq!(note.advice, "{m} as the namespace of all pods");
    // What may spread over all masters needs no tag.
    let place = |client: &mut Client, key: &str| !client.ask(&format!("EXISTS {key}")).starts_with("MOVED");
    let session =
        (0..).map(|id| format!("m:session:s{id}")).find(|key| place(&mut second.client, key)).unwrap();
    second.client.run(&[&format!("MIROIR.PUT {session} pinned_group g")]);
    is_silent(&mut second.client, "m", "hash-tag");
    let task = (0..).map(|id| format!("m:tasks:t{id}")).find(|key| place(&mut second.client, key)).unwrap();
    second.client.run(&[&format!("HSET {task} miroir_id t status enqueued created_at 1")]);
    let found = fires(&mut second.client, "m", "warning", "hash-tag");
    assert!(found.found.contains("and 1 key here needs one"), "{found:?}");
    second.client.run(&[&format!("DEL {task}")]);
    is_silent(&mut second.client, "m", "hash-tag");

    // A replica of a cluster answers; what it may not weigh it says.
    support::replicate(&mut second.client, &mut replica.client);
    let told = doctor(&mut replica.client, "m");
    assert!(told.iter().all(|found| found.found.contains("READONLY")), "{told:?}");
    replica.order("READONLY");
    assert_eq!(doctor(&mut replica.client, "m"), []);
    let refused = support::effects::transaction(&mut first.client, &["MIROIR.DOCTOR m"]);
    assert!(refused.contains("expected no transaction or script around it in a cluster"), "{refused}");
}

#[test]
fn a_namespace_without_a_hash_tag_is_fine_elsewhere() {
    let server = in_order(&[]);
    let mut client = server.client();
    client.run(&["MIROIR.PUT m:tasks:t index_uid movies"]);
    assert_eq!(told(&mut client, "m"), []);
    let mut nodes = masters(1);
    put_in_order(&mut nodes[0].client);
    assert_eq!(told(&mut nodes[0].client, "{m}"), []);
}
