//! MIROIR.ADMIN.REVOKE: a session is over everywhere at once.

mod support;

use std::time::Duration;

use redis::PubSub;
use support::effects::{assert_native_effects, assert_refused_without_memory, transaction};
use support::{assert_refused, cluster, replicate, Client, Server};

const CHANNEL: &str = "miroir:admin_session:revoked";
const PUT: &str = "MIROIR.PUT miroir:admin_session:a csrf_token c admin_key_hash h";

/// What a channel says from now on; the last message asked for is one that the test sends itself.
struct Listener<'c> {
    subscription: PubSub<'c>,
}

impl<'c> Listener<'c> {
    fn on(client: &'c mut Client, pattern: &str) -> Self {
        let mut subscription = client.connection.as_pubsub();
        subscription.psubscribe(pattern).unwrap();
        subscription.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { subscription }
    }

    /// The messages up to the one that says `end`, each with its channel.
    fn heard(&mut self, end: &str) -> Vec<(String, Vec<u8>)> {
        let mut heard = Vec::new();
        loop {
            let message = self.subscription.get_message().unwrap();
            let said = (message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec());
            if said.1 == end.as_bytes() {
                return heard;
            }
            heard.push(said);
        }
    }
}

/// One message on the usual channel.
fn said(id: &str) -> (String, Vec<u8>) {
    (CHANNEL.to_owned(), id.as_bytes().to_vec())
}

#[test]
fn a_revoked_session_stays_with_its_life_and_is_told_on_the_channel() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    assert_eq!(client.ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a"), "-2");
    client.ask(PUT);
    client.ask("MIROIR.PUT miroir:admin_session:b csrf_token c admin_key_hash h");
    let before = client.dump();
    assert_eq!(client.ask("miroir.admin.revoke miroir:admin_session:a"), "1");
    let expected = before["miroir:admin_session:a"].replace("revoked=0", "revoked=1");
    let after = client.dump();
    assert_ne!(expected, before["miroir:admin_session:a"]);
    assert_eq!(after["miroir:admin_session:a"], expected, "and nothing else changes, the TTL neither");
    assert_eq!(after["miroir:admin_session:b"], before["miroir:admin_session:b"]);

    // Revoked already: it is told again, for whoever missed it.
    assert_eq!(server.client_resp3().ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a"), "1");
    assert_eq!(client.dump(), after);
    client.ask(&format!("PUBLISH {CHANNEL} end"));
    assert_eq!(listener.heard("end"), [said("a"), said("a")], "nothing is told of a session that is none");
    assert_eq!(client.ask("MIROIR.TOUCH miroir:admin_session:a"), "0");
    assert_eq!(client.ask(PUT), "0", "it does not come back");
    assert_eq!(client.ask("MIROIR.PATCH miroir:admin_session:a revoked 0"), "0");
    assert_eq!(client.ask("MIROIR.COUNT miroir:admin_session BY revoked"), "[0, 1, 1, 1]");
    assert_eq!(client.ask("MIROIR.LIST miroir:admin_session WHERE revoked 1 IDS"), "[a]");
}

#[test]
fn subscribers_of_replicas_hear_of_it_too() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let bare = Server::bare_replica_of(&master, &[]);
    let mut client = master.client();
    let (mut here, mut there, mut elsewhere) = (master.client(), replica.client(), bare.client());
    let mut listeners =
        [Listener::on(&mut here, "*"), Listener::on(&mut there, "*"), Listener::on(&mut elsewhere, "*")];
    client.ask(PUT);
    assert_eq!(client.ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a"), "1");
    let script = "return redis.call('MIROIR.ADMIN.REVOKE', KEYS[1])";
    assert_eq!(client.call(&["EVAL", script, "1", "miroir:admin_session:a"]), "1");
    let lines =
        ["MIROIR.ADMIN.REVOKE miroir:admin_session:a", "MIROIR.ADMIN.REVOKE miroir:admin_session:none"];
    assert_eq!(transaction(&mut client, &lines), "[1, -2]");
    client.ask(&format!("PUBLISH {CHANNEL} end"));
    for (listener, place) in
        listeners.iter_mut().zip(["the master", "the replica", "the one without the module"])
    {
        assert_eq!(listener.heard("end"), [said("a"), said("a"), said("a")], "on {place}");
    }
    replicate(&mut client, &mut replica.client());
    assert_eq!(replica.client().dump(), client.dump());
    let refused = replica.client().ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a");
    assert!(refused.starts_with("READONLY "), "{refused}");
    assert_eq!(replica.client().ask("MIROIR.GET miroir:admin_session:a revoked"), "[1]");
}

#[test]
fn the_channel_is_that_of_the_namespace_and_the_message_is_the_id() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    let longest = "s".repeat(512);
    let ids = ["a:b:c", "an id", "é…", "revoked", longest.as_str()];
    for id in ids {
        let key = format!("eu:prod:admin_session:{id}");
        client.call(&["MIROIR.PUT", &key, "csrf_token", "c", "admin_key_hash", "h"]);
        assert_eq!(client.call(&["MIROIR.ADMIN.REVOKE", &key]), "1");
    }
    client.ask("PUBLISH x end");
    let expected = ids.map(|id| ("eu:prod:admin_session:revoked".to_owned(), id.as_bytes().to_vec()));
    assert_eq!(listener.heard("end"), expected);
}

#[test]
fn sessions_that_other_clients_wrote() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    client.ask("HSET miroir:admin_session:raw session_id raw csrf_token c admin_key_hash h");
    client.ask("HSET miroir:admin_session:odd session_id odd csrf_token c admin_key_hash h revoked maybe");
    client.ask("HSET miroir:admin_session:stub user_agent u");
    for (id, expected) in [("raw", "1"), ("odd", "1"), ("stub", "-2")] {
        assert_eq!(client.ask(&format!("MIROIR.ADMIN.REVOKE miroir:admin_session:{id}")), expected, "{id}");
        let revoked = client.ask(&format!("HGET miroir:admin_session:{id} revoked"));
        assert_eq!(revoked, if expected == "1" { "1" } else { "nil" }, "{id}");
    }
    assert_eq!(client.ask("PTTL miroir:admin_session:raw"), "-1", "it is as it was");
    assert_eq!(client.ask("MIROIR.PUT miroir:admin_session:short PX 1 csrf_token c admin_key_hash h"), "1");
    client.wait_for("MIROIR.GET miroir:admin_session:short", |answer| answer == "nil");
    assert_eq!(client.ask("MIROIR.ADMIN.REVOKE miroir:admin_session:short"), "-2");
    client.ask("PUBLISH x end");
    assert_eq!(listener.heard("end"), [said("raw"), said("odd")]);
}

#[test]
fn a_session_is_revoked_also_when_the_memory_is_used_up() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    client.ask(PUT);
    assert_refused_without_memory(&mut client, &["MIROIR.PATCH miroir:admin_session:a user_agent x"]);
    client.ask("CONFIG SET maxmemory 1");
    assert_eq!(client.ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a"), "1");
    assert_eq!(client.ask("HGET miroir:admin_session:a revoked"), "1");
    client.ask("PUBLISH x end");
    assert_eq!(listener.heard("end"), [said("a")]);
}

#[test]
fn who_may_revoke_needs_no_right_to_publish_by_himself() {
    let server = Server::start();
    let mut client = server.client();
    client.ask(PUT);
    let user = "ACL SETUSER admin on nopass resetkeys resetchannels ~miroir:admin_session:* -@all +miroir.admin.revoke";
    assert_eq!(client.ask(user), "OK");
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    let mut admin = server.client();
    assert_eq!(admin.ask("AUTH admin any"), "OK");
    assert_eq!(admin.ask("MIROIR.ADMIN.REVOKE miroir:admin_session:a"), "1");
    assert!(admin.ask("MIROIR.ADMIN.REVOKE other:admin_session:a").starts_with("NOPERM"));
    client.ask("PUBLISH x end");
    assert_eq!(listener.heard("end"), [said("a")]);
}

#[test]
fn bad_keys_and_arguments_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let mut listener = Listener::on(&mut other, "*");
    client.ask(PUT);
    client.ask("SET miroir:admin_session:text x");
    assert_refused(
        &mut client,
        &[
            ("MIROIR.ADMIN.REVOKE", "wrong number of arguments"),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session:a miroir:admin_session:b", ""),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session:a FORCE", ""),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session", "key"),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session:", "key"),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session:_x", "key"),
            ("MIROIR.ADMIN.REVOKE miroir:session:a", "key"),
            ("MIROIR.ADMIN.REVOKE a", "key"),
            ("MIROIR.ADMIN.REVOKE ''", "key"),
            ("MIROIR.ADMIN.REVOKE 'miroir:admin_session:a\nb'", "key"),
            ("MIROIR.ADMIN.REVOKE 'miroir:admin_session:a\0b'", "key"),
            ("MIROIR.ADMIN.REVOKE miroir:admin_session:text", "WRONGTYPE"),
        ],
    );
    client.ask("PUBLISH x end");
    assert_eq!(listener.heard("end"), [], "what is refused is not told");
}

#[test]
fn replicas_and_restarts_hold_the_same_sessions() {
    assert_native_effects(&[
        PUT,
        "MIROIR.PUT miroir:admin_session:b PX 700000 csrf_token c admin_key_hash h user_agent 'a browser'",
        "MIROIR.ADMIN.REVOKE miroir:admin_session:a",
        "MIROIR.ADMIN.REVOKE miroir:admin_session:a",
        "MIROIR.ADMIN.REVOKE miroir:admin_session:b",
        "MIROIR.ADMIN.REVOKE miroir:admin_session:none",
    ]);
}

#[test]
fn in_a_cluster_every_node_hears_of_it_once() {
    let mut nodes = cluster::masters_and_replica(2);
    let mut others: Vec<Client> = nodes.iter().map(|node| node.server.client()).collect();
    let mut listeners: Vec<_> = others.iter_mut().map(|other| Listener::on(other, "*")).collect();
    for tag in ["a", "b"] {
        let key = format!("{{{tag}}}:admin_session:s");
        let put = ["MIROIR.PUT", &key, "csrf_token", "c", "admin_key_hash", "h"];
        let served = nodes.iter_mut().map(|node| node.client.call(&put)).filter(|put| put == "1").count();
        assert_eq!(served, 1, "each key has a node that serves it");
        for node in &mut nodes {
            let answer = node.client.call(&["MIROIR.ADMIN.REVOKE", &key]);
            assert!(answer == "1" || answer.starts_with("MOVED "), "{answer}");
        }
    }
    // What a replica repeats would come later, and by another way: each node ends its own.
    let [.., master, replica] = &mut nodes[..] else { panic!("three nodes") };
    replicate(&mut master.client, &mut replica.client);
    for (place, node) in nodes.iter_mut().enumerate() {
        node.client.ask(&format!("PUBLISH end {place}"));
    }
    for (place, listener) in listeners.iter_mut().enumerate() {
        let mut heard = Vec::new();
        while heard.iter().filter(|channel| *channel == "end").count() < nodes.len() {
            heard.push(listener.subscription.get_message().unwrap().get_channel_name().to_owned());
        }
        heard.retain(|channel| channel != "end");
        heard.sort();
        let expected = ["{a}:admin_session:revoked", "{b}:admin_session:revoked"];
        assert_eq!(heard, expected, "on node {place}");
    }
}
