//! In a cluster, what keeps several keys needs a hash tag in its namespace, command by command; without one it is told so, and
//! nothing is written.

#[path = "cluster_routing/calls.rs"]
mod calls;
mod support;

use calls::Needs;
use support::cluster::{masters, Node, Router};

/// What all nodes hold.
fn digests(nodes: &mut [Node]) -> Vec<String> {
    nodes.iter_mut().map(|node| node.client.ask("DEBUG DIGEST")).collect()
}

fn keys(node: &mut Node) -> Vec<String> {
    node.client.dump().into_keys().collect()
}

/// Copies what one namespace holds to keys of another one, wherever they belong: as clients without the module would write it.
fn copy(nodes: &mut [Node], router: &mut Router, from: &str, to: &str) {
    for node in nodes.iter_mut() {
        for key in keys(node).into_iter().filter(|key| key.starts_with(from)) {
            let dump = node.client.raw(&["DUMP", &key]).unwrap();
            let dump: Vec<u8> = redis::from_redis_value(dump).unwrap();
            let there = key.replacen(from, to, 1);
            let restored = router.call(&[b"RESTORE", there.as_bytes(), b"600000", &dump]);
            assert_eq!(restored, "OK", "{there}");
        }
    }
}

#[test]
fn without_a_hash_tag_every_command_on_several_keys_says_so_and_writes_nothing() {
    let mut nodes = masters(3);
    let mut router = Router::of(&nodes);
    for call in calls::all().iter().filter(|call| call.name() != "MIROIR.DEL") {
        assert!(router.ask(&call.plain("{m}")).starts_with(call.answer), "{}", call.line);
    }
    // The last two look like tags and are none: the server takes what stands between braces, and not nothing.
    for namespace in ["m", "eu:m", "{}m", "m}{"] {
        for is_used in [false, true] {
            if is_used {
                copy(&mut nodes, &mut router, "{m}", namespace);
            }
            let before = digests(&mut nodes);
            for call in calls::all() {
                let line = call.plain(namespace);
                match call.needs {
                    Needs::Tag(table) => {
                        let expected = format!(
                            "CROSSSLOT several keys of table {table} have to be in one slot: expected a hash tag in the \
                             namespace, such as {{miroir}}, got '{namespace}'"
                        );
                        // Where it deletes rows of several tables the server compares the slots before the module.
                        if line.split(' ').filter(|word| word.contains(':')).count() == 1 {
                            assert_eq!(router.ask(&line), expected, "{line}");
                        } else {
                            assert!(router.ask(&line).starts_with("CROSSSLOT "), "{line}");
                        }
                        assert_eq!(digests(&mut nodes), before, "{line}");
                    }
                    Needs::NothingToRead => {
                        assert_eq!(router.ask(&line).starts_with('['), is_used, "{line}");
                    }
                    Needs::Nothing => {}
                }
            }
        }
    }
}
