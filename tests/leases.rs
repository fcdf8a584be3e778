//! Leases: one holder per scope, tokens that only rise, and leases that other clients wrote.

mod support;

use support::{assert_refused, Client, Server};

const KEY: &str = "miroir:lease:leader";
const TOKENS: &str = "miroir:lease:_tokens";

/// Waits until the server itself says that the lease has run out.
fn await_expiry(client: &mut Client, key: &str) {
    client.wait_for(&format!("EXISTS {key}"), |exists| exists == "0");
}

/// The time in an answer such as `[0, a, 29990, 1]` or `[a, 29990, 1]`, where it differs from run to run.
fn remaining(answer: &str, before: &str, after: &str) -> i64 {
    let middle = answer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let number = middle.and_then(|middle| middle.parse().ok());
    number.unwrap_or_else(|| panic!("{answer} is not {before}<ms>{after}"))
}

fn assert_remaining(answer: &str, before: &str, after: &str, most: i64) {
    let left = remaining(answer, before, after);
    // The lower end leaves ample room for a slow machine.
    assert!((most - 20_000..=most).contains(&left), "{answer}: not within 20 s of {most}");
}

#[test]
fn every_command_answers_in_its_shape() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "nil");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a"), "-2");
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000"), "[0, nil, 0, 0]");
    assert!(client.dump().is_empty(), "asking for a lease that was never held writes nothing");

    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 1]");
    let refused = client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader b 60000");
    assert_remaining(&refused, "[0, a, ", ", 1]", 30_000);
    let refused = client.ask("MIROIR.LEASE.RENEW miroir:lease:leader b 60000");
    assert_remaining(&refused, "[0, a, ", ", 1]", 30_000);
    assert_remaining(&client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "[a, ", ", 1]", 30_000);
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 90000"), "[1, a, 90000, 1]");
    assert_remaining(&client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "[a, ", ", 1]", 90_000);
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader b"), "0");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a"), "1");
    assert_eq!(client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "nil");
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000"), "[0, nil, 0, 1]");
}

#[test]
fn a_raw_client_sees_the_holder_the_ttl_and_exactly_the_last_tokens() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000");
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:rebalance:movies b 60000");
    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a");
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader c 30000");
    client.ask("MIROIR.LEASE.ACQUIRE other:lease:leader z 30000");

    assert_eq!(client.ask("GET miroir:lease:leader"), "c");
    assert_eq!(client.ask("TYPE miroir:lease:leader"), "string");
    assert!((10_000..=30_000).contains(&client.integer("PTTL miroir:lease:leader")));
    let dump = client.dump();
    assert_eq!(dump[TOKENS], "hash until -1: leader=2 | rebalance:movies=1");
    assert_eq!(dump["other:lease:_tokens"], "hash until -1: leader=1", "each namespace counts for itself");
}

#[test]
fn every_tenure_gets_a_higher_token_and_the_same_holder_keeps_his() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 1]");
    // The retry of an ACQUIRE whose answer was lost.
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 90000"), "[1, a, 90000, 1]");
    assert_remaining(&client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "[a, ", ", 1]", 90_000);

    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader b 30000"), "[1, b, 30000, 2]");
    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader b");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader b 20"), "[1, b, 20, 3]");
    await_expiry(&mut client, KEY);
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader b 20"), "[1, b, 20, 4]");
    await_expiry(&mut client, KEY);
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 5]");
    client.ask("DEL miroir:lease:leader");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 6]");
    assert_eq!(client.ask("HGETALL miroir:lease:_tokens"), "[leader, 6]");

    assert_eq!(client.ask("DEBUG RELOAD"), "OK");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 6]");
    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 7]");
}

#[test]
fn a_lease_that_ran_out_is_not_renewed_even_if_nobody_took_it() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 20");
    await_expiry(&mut client, KEY);
    let before = client.dump();
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000"), "[0, nil, 0, 1]");
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000 TOKEN 1"), "[0, nil, 0, 1]");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN 1"), "-2");
    assert_eq!(client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "nil");
    assert_eq!(client.dump(), before);
}

#[test]
fn the_token_of_another_tenure_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000");
    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a");
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 600000");
    let before = client.dump();
    for token in ["0", "1", "3", "9223372036854775807"] {
        let renewed = client.ask(&format!("MIROIR.LEASE.RENEW miroir:lease:leader a 30000 TOKEN {token}"));
        assert_remaining(&renewed, "[0, a, ", ", 2]", 600_000);
        let released = client.ask(&format!("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN {token}"));
        assert_eq!(released, "0", "token {token}");
    }
    // The right token in the wrong hands.
    let stolen = client.ask("MIROIR.LEASE.RENEW miroir:lease:leader b 30000 TOKEN 2");
    assert_remaining(&stolen, "[0, a, ", ", 2]", 600_000);
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader b TOKEN 2"), "0");
    assert_eq!(client.dump(), before);

    assert_eq!(client.ask("miroir.lease.renew miroir:lease:leader a 30000 token 2"), "[1, a, 30000, 2]");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN 2"), "1");
}

#[test]
fn a_lease_that_a_raw_client_wrote_is_honoured() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000");
    client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN 1");
    assert_eq!(client.ask("SET miroir:lease:leader raw NX EX 60"), "OK");
    let before = client.dump();
    for command in ["ACQUIRE", "RENEW"] {
        let refused = client.ask(&format!("MIROIR.LEASE.{command} miroir:lease:leader a 30000"));
        assert!(refused.starts_with("[0, raw, "), "{refused}");
    }
    assert!(client.ask("MIROIR.LEASE.GET miroir:lease:leader").starts_with("[raw, "));
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a"), "0");
    // The last token belongs to another's tenure.
    let refused = client.ask("MIROIR.LEASE.RENEW miroir:lease:leader raw 30000 TOKEN 1");
    assert!(refused.starts_with("[0, raw, "), "{refused}");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader raw TOKEN 1"), "0");
    assert_eq!(client.dump(), before);

    // Its own holder goes on through the module, now with a token.
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader raw 30000"), "[1, raw, 30000, 2]");
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader raw 30000 TOKEN 2"), "[1, raw, 30000, 2]");
    assert_eq!(client.ask("SET miroir:lease:leader b NX EX 60"), "nil", "and a raw client sees it held");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader raw"), "1");

    client.ask("SET miroir:lease:leader raw NX EX 60");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader raw 30000"), "[1, raw, 30000, 3]");
    client.ask("DEL miroir:lease:leader");
    client.ask("SET miroir:lease:leader raw NX EX 60");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader raw"), "1");
    client.ask("SET miroir:lease:leader raw NX PX 20");
    await_expiry(&mut client, KEY);
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), "[1, a, 30000, 4]");
}

#[test]
fn a_raw_lease_without_a_ttl_is_held_until_its_holder_ends_it() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("SET miroir:lease:leader raw");
    assert!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000").starts_with("[0, raw, "));
    assert!(client.ask("MIROIR.LEASE.GET miroir:lease:leader").starts_with("[raw, "));
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a"), "0");
    assert_eq!(client.ask("PTTL miroir:lease:leader"), "-1");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader raw 30000"), "[1, raw, 30000, 1]");
    assert!(client.integer("PTTL miroir:lease:leader") > 0, "from here on it runs out");

    client.ask("PERSIST miroir:lease:leader");
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader raw 30000 TOKEN 1"), "[1, raw, 30000, 1]");
    assert!(client.integer("PTTL miroir:lease:leader") > 0);
    client.ask("SET miroir:lease:leader raw2");
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader raw2"), "1");
}

#[test]
fn a_raw_renewal_goes_on_with_the_tenure_and_a_raw_takeover_ends_it() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000");
    client.ask("PEXPIRE miroir:lease:leader 90000");
    assert_remaining(&client.ask("MIROIR.LEASE.GET miroir:lease:leader"), "[a, ", ", 1]", 90_000);
    assert_eq!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000 TOKEN 1"), "[1, a, 30000, 1]");

    client.ask("SET miroir:lease:leader b PX 30000");
    assert!(client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000 TOKEN 1").starts_with("[0, b, "));
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN 1"), "0");
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader b 30000"), "[1, b, 30000, 2]");
}

#[test]
fn the_token_of_an_ended_tenure_stays_dead_when_its_holder_comes_back_with_a_raw_set() {
    let server = Server::start();
    let mut client = server.client();
    // (scope, how the first tenure ends)
    for (scope, expires) in [("expired", true), ("deleted", false)] {
        let key = format!("miroir:lease:{scope}");
        client.ask(&format!("MIROIR.LEASE.ACQUIRE {key} a {}", if expires { "20" } else { "30000" }));
        if !expires {
            client.ask(&format!("DEL {key}"));
        }
        await_expiry(&mut client, &key);
        // Meanwhile somebody else leads, also without the module.
        assert_eq!(client.ask(&format!("SET {key} b NX PX 20")), "OK");
        await_expiry(&mut client, &key);
        assert_eq!(client.ask(&format!("SET {key} a NX EX 60")), "OK");

        let stale = client.ask(&format!("MIROIR.LEASE.RENEW {key} a 30000 TOKEN 1"));
        assert!(stale.starts_with("[0, a, "), "{scope}: the first tenure is over, but {stale}");
        assert_eq!(client.ask(&format!("MIROIR.LEASE.ACQUIRE {key} a 30000")), "[1, a, 30000, 2]", "{scope}");
    }
}

#[test]
fn holders_may_be_any_text_of_1_to_512_bytes() {
    let server = Server::start();
    let mut client = server.client();
    let long = "h".repeat(512);
    for (turn, holder) in ["pod-0:8080", "pod 1", "pöd-…", long.as_str()].into_iter().enumerate() {
        let acquired = client.call(&["MIROIR.LEASE.ACQUIRE", KEY, holder, "30000"]);
        assert_eq!(acquired, format!("[1, {holder}, 30000, {}]", turn + 1));
        assert_eq!(client.ask("GET miroir:lease:leader"), holder);
        assert_eq!(client.call(&["MIROIR.LEASE.RELEASE", KEY, holder]), "1");
    }
}

#[test]
fn transactions_and_scripts_use_leases_too() {
    let server = Server::start();
    let mut client = server.client();
    for line in ["MULTI", "MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000", "GET miroir:lease:leader"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "[[1, a, 30000, 1], a]");
    let script = "redis.call('MIROIR.LEASE.RELEASE', KEYS[1], 'a') \
                  return redis.call('MIROIR.LEASE.ACQUIRE', KEYS[1], 'b', 30000)";
    assert_eq!(client.call(&["EVAL", script, "1", KEY]), "[1, b, 30000, 2]");
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:held a 600000");
    let mut cases = Vec::new();
    for command in ["ACQUIRE", "RENEW"] {
        for ttl in ["0", "-1", "9223372036854775807", "9223372036854775808", "1.5", "soon", "''", "' 5'"] {
            for (scope, holder) in [("held", "a"), ("free", "a")] {
                cases.push((
                    format!("MIROIR.LEASE.{command} miroir:lease:{scope} {holder} {ttl}"),
                    "'ttl_ms'",
                ));
            }
        }
        let arity = "wrong number of arguments";
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held"), arity));
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held a"), arity));
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held '' 30000"), "'holder'"));
        cases.push((
            format!("MIROIR.LEASE.{command} miroir:lease:held {} 30000", "h".repeat(513)),
            "'holder'",
        ));
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held 'a\nb' 30000"), "'holder'"));
    }
    for (command, ttl) in [("ACQUIRE", "30000"), ("RENEW", "30000"), ("RELEASE", "")] {
        for key in
            ["miroir:lease:_tokens", "miroir:lease:_x", "miroir:lease:", "miroir:lease", "miroir:tasks:a"]
        {
            cases.push((format!("MIROIR.LEASE.{command} {key} a {ttl}"), "key"));
        }
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held a {ttl} TOKEN"), ""));
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held a {ttl} TOKENS 1"), ""));
        cases.push((format!("MIROIR.LEASE.{command} miroir:lease:held a {ttl} TOKEN 1 1"), ""));
    }
    for command in ["RENEW miroir:lease:held a 30000", "RELEASE miroir:lease:held a"] {
        for token in ["-1", "x", "''", "9223372036854775808"] {
            cases.push((format!("MIROIR.LEASE.{command} TOKEN {token}"), "'TOKEN'"));
        }
    }
    cases.push(("MIROIR.LEASE.GET miroir:lease:_tokens".to_owned(), "key"));
    cases.push(("MIROIR.LEASE.GET miroir:lease:held more".to_owned(), ""));
    cases.push(("MIROIR.PUT miroir:lease:held a b".to_owned(), "LEASE"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    assert_eq!(
        client.call(&[&b"MIROIR.LEASE.ACQUIRE"[..], KEY.as_bytes(), b"a\xff", b"1"]).split(' ').next(),
        Some("ERR")
    );
}

#[test]
fn foreign_values_and_spoilt_tokens_are_refused_and_stay() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("RPUSH miroir:lease:foreign x");
    client.ask("SADD spoilt:lease:_tokens leader");
    client.ask("SET spoilt:lease:held a PX 600000");
    client.ask("HSET broken:lease:_tokens leader many minus -4 empty '' large 9223372036854775808 fine 8");
    let mut cases = Vec::new();
    let mut commands_on = |key: &str, expected: &'static str| {
        cases.push((format!("MIROIR.LEASE.ACQUIRE {key} a 30000"), expected));
        cases.push((format!("MIROIR.LEASE.RENEW {key} a 30000"), expected));
    };
    commands_on("miroir:lease:foreign", "WRONGTYPE");
    commands_on("spoilt:lease:leader", "WRONGTYPE");
    commands_on("spoilt:lease:held", "WRONGTYPE");
    for scope in ["leader", "minus", "empty", "large"] {
        commands_on(&format!("broken:lease:{scope}"), "token");
    }
    cases.push(("MIROIR.LEASE.GET miroir:lease:foreign".to_owned(), "WRONGTYPE"));
    cases.push(("MIROIR.LEASE.RELEASE miroir:lease:foreign a".to_owned(), "WRONGTYPE"));
    let cases: Vec<_> = cases.iter().map(|(line, expected)| (line.as_str(), *expected)).collect();
    assert_refused(&mut client, &cases);
    let next = client.ask("MIROIR.LEASE.ACQUIRE broken:lease:fine a 30000");
    assert_eq!(next, "[1, a, 30000, 9]", "the other scopes go on");
}

#[test]
fn tokens_end_at_the_largest_number_and_never_start_again() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HSET miroir:lease:_tokens leader 9223372036854775806");
    let last = "[1, a, 30000, 9223372036854775807]";
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), last);
    assert_eq!(client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000"), last);
    let renewed = client.ask("MIROIR.LEASE.RENEW miroir:lease:leader a 30000 TOKEN 9223372036854775807");
    assert_eq!(renewed, last);
    assert_eq!(client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader a TOKEN 9223372036854775807"), "1");
    assert_refused(&mut client, &[("MIROIR.LEASE.ACQUIRE miroir:lease:leader a 30000", "token")]);
}
