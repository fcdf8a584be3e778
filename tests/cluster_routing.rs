//! Every command of the module through a client that knows clusters: it finds the node by the key that the call names, and the
//! others send it there. What needs a hash tag says so, and writes nothing.

#[path = "cluster_routing/calls.rs"]
mod calls;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use calls::{Call, Needs};
use miroir::commands::FAMILIES;
use support::cluster::{addresses, masters, masters_and_replicas, open_slot, slot_of, tags, Node, Router};
use support::{figure, replicate};

/// The commands that take a namespace, which is no key.
const WITHOUT_KEY: &[&str] = &["MIROIR.MEMORY", "MIROIR.AUDIT", "MIROIR.DOCTOR", "MIROIR.PLAN"];

/// How often each node has run each command of the module.
fn runs(nodes: &mut [Node]) -> Vec<BTreeMap<String, i64>> {
    nodes
        .iter_mut()
        .map(|node| {
            let stats = node.client.ask("INFO commandstats").to_uppercase();
            let lines = stats.lines().filter_map(|line| line.strip_prefix("CMDSTAT_"));
            lines
                .filter_map(|line| {
                    let (name, numbers) = line.split_once(":CALLS=")?;
                    let runs: i64 = numbers.split(',').next()?.parse().ok()?;
                    (runs > 0 && name.starts_with("MIROIR.")).then(|| (name.to_owned(), runs))
                })
                .collect()
        })
        .collect()
}

/// The place of the master that has a slot, and how the others redirect to it.
fn owner(nodes: &[Node], slot: usize) -> (usize, String) {
    let place = (slot / (16384 / 3)).min(2);
    (place, nodes[place].redirection("MOVED", &slot.to_string()))
}

fn assert_answer(answer: &str, call: &Call, line: &str) {
    assert!(answer.starts_with(call.answer), "{line}: expected {}…, got {answer}", call.answer);
}

#[test]
fn every_command_is_tried() {
    let tried: BTreeSet<_> = calls::all().iter().map(|call| call.name().to_owned()).collect();
    let tried: BTreeSet<_> = tried.iter().map(String::as_str).chain(WITHOUT_KEY.iter().copied()).collect();
    let all: BTreeSet<_> =
        FAMILIES.iter().flat_map(|family| family.commands).map(|command| command.name).collect();
    assert_eq!(tried, all);
}

#[test]
fn every_command_gets_to_the_master_of_its_keys_and_is_read_from_its_replica() {
    let mut nodes = masters_and_replicas(3);
    let tags = tags(&mut nodes, 3);
    let mut router = Router::of(&nodes[..1]);
    let mut expected = vec![BTreeMap::new(); 3];
    let calls = calls::all();
    for (master, tag) in tags.iter().enumerate() {
        for (namespace, with_fence) in [(format!("{{{tag}}}"), false), (format!("eu{{{tag}}}f"), true)] {
            let slot = slot_of(&mut nodes, &namespace);
            let moved = nodes[master].redirection("MOVED", &slot.to_string());
            for call in &calls {
                let line = if with_fence { call.fenced(&namespace) } else { call.plain(&namespace) };
                assert_keys(&mut nodes, &line, slot);
                for other in (0..3).filter(|other| *other != master) {
                    assert_eq!(nodes[other].client.ask(&line), moved, "{line}");
                }
                assert_answer(&router.ask(&line), call, &line);
                *expected[master].entry(call.name().to_owned()).or_insert(0) += 1;
                let (masters, replicas) = nodes.split_at_mut(3);
                let replica = &mut replicas[master];
                assert_eq!(replica.client.ask(&line), moved, "{line} on a replica");
                if !call.writes() {
                    replicate(&mut masters[master].client, &mut replica.client);
                    replica.order("READONLY");
                    assert_answer(&replica.client.ask(&line), call, &line);
                    replica.order("READWRITE");
                }
            }
        }
    }
    assert_eq!(runs(&mut nodes[..3]), expected);
}

/// Asserts that a server finds the keys of a call: the first argument, the lease of its fence, all in one slot.
fn assert_keys(nodes: &mut [Node], line: &str, slot: usize) {
    let keys = nodes[2].client.ask(&format!("COMMAND GETKEYS {line}"));
    let keys: Vec<_> = keys.trim_matches(['[', ']']).split(", ").collect();
    assert_eq!(keys[0], line.split(' ').nth(1).unwrap(), "{line}");
    let has_lease = keys.iter().any(|key| key.ends_with(":lease:leader"));
    assert_eq!(has_lease, line.contains(":lease:leader"), "{line}: {keys:?}");
    for key in keys {
        assert_eq!(slot_of(nodes, key), slot, "{line}: {key}");
    }
}

/// What MEMORY says of the tables; what the module itself holds is another figure each time.
fn tables(memory: &str) -> String {
    memory.split(", catalog, ").next().unwrap().to_owned()
}

#[test]
fn what_spreads_gets_to_all_masters_and_what_has_no_key_is_told_by_each() {
    const EACH: usize = 40;
    let mut nodes = masters(3);
    let mut router = Router::of(&nodes[..1]);
    let calls: Vec<_> = calls::all().into_iter().filter(|call| call.needs == Needs::Nothing).collect();
    let mut expected = vec![BTreeMap::new(); 3];
    for number in 0..EACH {
        let namespace = format!("m{number}");
        for call in calls.iter().filter(|call| call.name() != "MIROIR.DEL") {
            let line = call.plain(&namespace);
            let key = line.split(' ').nth(1).unwrap();
            let slot = slot_of(&mut nodes, key);
            let (master, moved) = owner(&nodes, slot);
            let other = &mut nodes[(master + 1) % 3].client;
            assert_eq!(other.ask(&line), moved, "{line}");
            assert_answer(&router.ask(&line), call, &line);
            *expected[master].entry(call.name().to_owned()).or_insert(0) += 1;
        }
    }
    assert!(expected.iter().all(|node| node.len() == expected[0].len()), "{expected:?}");
    assert_eq!(runs(&mut nodes), expected);

    for number in 0..EACH {
        let namespace = format!("m{number}");
        for command in WITHOUT_KEY {
            let line = format!("{command} {namespace} 0 0");
            let keys = nodes[0].client.ask(&format!("COMMAND GETKEYS {line}"));
            assert!(keys.starts_with("ERR "), "{line}: {keys}");
        }
        // The client takes the namespace for a key; whichever node it asks answers for itself.
        let line = format!("MIROIR.MEMORY {namespace}");
        let one = tables(&router.ask(&line));
        let mut all: Vec<_> = nodes.iter_mut().map(|node| tables(&node.client.ask(&line))).collect();
        assert!(all.contains(&one), "{one}");
        all.sort();
        let mut everywhere: Vec<_> = router.ask_all(&line).iter().map(|memory| tables(memory)).collect();
        everywhere.sort();
        assert_eq!(everywhere, all);
        let sessions: usize = all.iter().map(|memory| memory.matches("sessions, [rows, 1, ").count()).sum();
        assert_eq!(sessions, 1 + 1, "a session and an admin session: {all:?}");
        assert_eq!(router.ask_all(&format!("MIROIR.AUDIT {namespace} 0 COUNT 1000")).len(), 3);
    }
    let told = router.ask_all("INFO miroir");
    let told: Vec<_> = told.iter().map(|info| figure(info, "miroir_catalog_rows")).collect();
    assert!(told.iter().all(|rows| *rows > Some(0)), "{told:?}");
}

#[test]
fn a_pipeline_for_many_nodes_is_answered_in_its_order() {
    let mut nodes = masters(3);
    let mut router = Router::of(&nodes[..1]);
    let tags = tags(&mut nodes, 3);
    let mut pipeline = redis::cluster::cluster_pipe();
    for tag in &tags {
        pipeline.cmd("MIROIR.PUT").arg(format!("{{{tag}}}:tasks:t")).arg("index_uid").arg(tag);
        pipeline.cmd("MIROIR.GET").arg(format!("{{{tag}}}:tasks:t")).arg("index_uid").arg("miroir_id");
        pipeline.cmd("MIROIR.COUNT").arg(format!("{{{tag}}}:tasks"));
    }
    let answers: Vec<(u32, (String, String), u32)> = pipeline.query(&mut router.connection).unwrap();
    let expected: Vec<_> = tags.iter().map(|tag| (1, (tag.clone(), "t".to_owned()), 1)).collect();
    assert_eq!(answers, expected);
}

#[test]
fn what_spreads_goes_on_while_its_slot_is_open_and_nothing_else_is_half_done() {
    let mut nodes = masters(3);
    let tag = tags(&mut nodes, 3).remove(0);
    let slot = slot_of(&mut nodes, &tag);
    let namespace = format!("{{{tag}}}");
    let (source, moved) = owner(&nodes, slot);
    let mut patient = Router::of(&nodes);
    for call in calls::all().iter().filter(|call| call.name() != "MIROIR.DEL") {
        assert_answer(&patient.ask(&call.plain(&namespace)), call, &call.line);
    }
    let (first, others) = nodes.split_at_mut(source + 1);
    let (source, target) = (&mut first[source], &mut others[0]);
    open_slot(source, target, &slot.to_string());
    // Every key is on its way; so the first node sends all clients to the second, where the slot is not settled yet.
    let keys = source.client.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
    let keys = keys.trim_matches(['[', ']']).replace(", ", " ");
    source.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {keys}", target.server.port()));
    let mut hasty = Router::at(&addresses(std::slice::from_ref(source)), 3);
    let (mut done, mut postponed) = (BTreeSet::new(), BTreeSet::new());
    for call in calls::all() {
        let line = call.plain(&namespace);
        assert!(
            source.client.ask(&line).starts_with(&target.redirection("ASK", &slot.to_string())),
            "{line}"
        );
        let before = target.client.ask("DEBUG DIGEST");
        let answer = hasty.ask(&line);
        if answer.starts_with("TRYAGAIN ") {
            assert_eq!(target.client.ask("DEBUG DIGEST"), before, "{line}");
            // With several keys, of which one was never there, the server says it before the module.
            assert!(call.needs != Needs::Nothing || call.name() == "MIROIR.DEL", "{line}: {answer}");
            postponed.insert(call.name().to_owned());
        } else {
            let code = answer.split(' ').next().unwrap();
            assert!(!["ERR", "MOVED", "ASK", "STALE", "?"].contains(&code), "{line}: {answer}");
            done.insert(call.name().to_owned());
        }
    }
    assert_eq!(source.client.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), "0");
    // A table is never seen in part.
    for name in ["MIROIR.LIST", "MIROIR.COUNT", "MIROIR.PRUNE", "MIROIR.JOB.CLAIM", "MIROIR.JOB.RECLAIM"] {
        assert!(postponed.contains(name) && !done.contains(name), "{name}");
    }
    let settled = format!("CLUSTER SETSLOT {slot} NODE {}", target.id);
    target.order(&settled);
    source.order(&settled);
    assert_ne!(target.redirection("MOVED", &slot.to_string()), moved);
    for line in
        ["MIROIR.LIST %:tasks", "MIROIR.PUT %:tasks:new index_uid movies", "MIROIR.JOB.RECLAIM %:jobs"]
    {
        let answer = hasty.ask(&line.replace('%', &namespace));
        assert!(answer.parse::<u32>().is_ok() || answer.starts_with('['), "{line}: {answer}");
    }
}
