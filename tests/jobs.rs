//! Jobs: who may claim which, and for how long; how a job ends, and how one that nobody works on is taken back.

mod support;

use std::collections::BTreeMap;

use support::clock::{timed, wait_until};
use support::effects::{assert_native_effects, assert_replica_reads_and_refuses, transaction};
use support::{audit, Client, Server};

type Row = BTreeMap<String, String>;

/// The id, the token and the row of every job that was claimed.
fn claim(client: &mut Client, arguments: &str) -> Vec<(String, i64, Row)> {
    client.read(&format!("MIROIR.JOB.CLAIM miroir:jobs {arguments}"))
}

fn claimed_ids(client: &mut Client, arguments: &str) -> Vec<String> {
    claim(client, arguments).into_iter().map(|(id, ..)| id).collect()
}

fn row(client: &mut Client, id: &str) -> Row {
    client.read(&format!("HGETALL miroir:jobs:{id}"))
}

/// The members of the set of queued jobs, in order.
fn queued(client: &mut Client) -> Vec<String> {
    let mut ids: Vec<String> = client.read("SMEMBERS miroir:jobs:_queued");
    ids.sort();
    ids
}

fn put(client: &mut Client, id: &str, created_at: i64) {
    let line = format!("MIROIR.PUT miroir:jobs:{id} type reindex created_at {created_at}");
    assert_eq!(client.ask(&line), "1");
}

/// Lets the claim of a job run out.
fn run_out(client: &mut Client, id: &str) {
    let end = client.integer(&format!("HGET miroir:jobs:{id} claim_expires_at"));
    wait_until(client, end);
}

#[test]
fn a_claim_answers_the_id_the_token_and_the_row_as_it_stands_now() {
    let server = Server::start();
    let (mut client, mut modern) = (server.client(), server.client_resp3());
    assert_eq!(client.ask("MIROIR.JOB.CLAIM miroir:jobs pod-1 60000"), "[]");
    assert_eq!(modern.ask("MIROIR.JOB.CLAIM miroir:jobs pod-1 60000"), "[]");
    assert!(client.dump().is_empty(), "a claim of nothing writes nothing");
    client.ask("MIROIR.PUT miroir:jobs:a type reindex params '{\"index\":\"movies\"}' created_at 5");
    client
        .ask("MIROIR.PUT miroir:jobs:b type dump parent_job_id a chunk_index 0 total_chunks 2 created_at 6");

    let (answer, then) = timed(&mut client, |client| claim(client, "pod-1 60000"));
    let [(id, token, claimed)] = &answer[..] else { panic!("{answer:?}") };
    assert_eq!((id.as_str(), *token), ("a", 1));
    assert_eq!(*claimed, row(&mut client, "a"), "the map is the row behind the claim");
    let end: i64 = claimed["claim_expires_at"].parse().unwrap();
    assert!(then.contains(&(end - 60_000)), "{end} is not 60 s from {then:?}");
    for (field, value) in [
        ("id", "a"),
        ("type", "reindex"),
        ("params", "{\"index\":\"movies\"}"),
        ("progress", "{}"),
        ("state", "in_progress"),
        ("created_at", "5"),
        ("attempts", "1"),
        ("claimed_by", "pod-1"),
        ("claim_token", "1"),
    ] {
        assert_eq!(claimed[field], value, "{field}");
    }
    assert_eq!(claimed.len(), 10, "and no other field: {claimed:?}");
    assert_eq!(client.ask("PTTL miroir:jobs:a"), "-1", "a job outlives its claim");
    assert_eq!(queued(&mut client), ["b"]);
    assert_eq!(client.ask("SCARD miroir:jobs:_index"), "2");

    let answer = modern.ask("miroir.job.claim miroir:jobs pod-2 60000 count 5");
    assert!(answer.starts_with("[[b, 1, {") && answer.ends_with("}]]"), "a map in RESP3: {answer}");
    assert!(answer.contains("parent_job_id: a") && answer.contains("claimed_by: pod-2"), "{answer}");
    assert!(queued(&mut client).is_empty());
    assert_eq!(client.ask("MIROIR.JOB.CLAIM miroir:jobs pod-3 60000 COUNT 5"), "[]");
}

#[test]
fn the_oldest_are_claimed_first_queued_and_run_out_together() {
    let server = Server::start();
    let mut client = server.client();
    // Written in another order than they are created in.
    for (id, created_at) in [("z", 30), ("d", 20), ("c", 20), ("b", 10), ("late", 40), ("a", 20)] {
        put(&mut client, id, created_at);
    }
    assert_eq!(claimed_ids(&mut client, "pod-1 60000"), ["b"], "one by default");
    assert_eq!(claimed_ids(&mut client, "pod-1 1 COUNT 2"), ["a", "c"], "ties by id");
    run_out(&mut client, "c");
    // One that another client left claimed for ever, and one whose end cannot be read.
    client.ask("HSET miroir:jobs:raw id raw type dump state in_progress created_at 25 claimed_by x");
    client.ask(
        "HSET miroir:jobs:spoilt id spoilt type dump state in_progress created_at 15 claim_expires_at soon",
    );
    client.ask("SADD miroir:jobs:_index raw spoilt");
    let claimed = claim(&mut client, "pod-2 60000 COUNT 100");
    let order: Vec<(&str, i64)> = claimed.iter().map(|(id, token, _)| (id.as_str(), *token)).collect();
    assert_eq!(order, [("spoilt", 1), ("a", 2), ("c", 2), ("d", 1), ("raw", 1), ("z", 1), ("late", 1)]);
    assert_eq!(claim(&mut client, "pod-3 60000 COUNT 100"), [], "b is still claimed");
    assert!(queued(&mut client).is_empty());
}

#[test]
fn jobs_that_raw_clients_wrote_are_claimed_and_entries_without_a_job_are_not() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HSET miroir:jobs:raw id raw type dump state queued created_at 5");
    client.ask("HSET miroir:jobs:stub id stub state queued created_at 1");
    client.ask("SADD miroir:jobs:_queued ghost stub");
    client.ask("SADD miroir:jobs:_index ghost stub");
    assert_eq!(claimed_ids(&mut client, "pod-1 60000 COUNT 10"), ["raw"]);
    assert_eq!(client.ask("EXISTS miroir:jobs:ghost"), "0");
    assert_eq!(client.ask("HEXISTS miroir:jobs:stub claim_token"), "0");
    for line in ["RENEW miroir:jobs:stub pod-1 1 60000", "FINISH miroir:jobs:stub pod-1 1 completed"] {
        assert_eq!(client.ask(&format!("MIROIR.JOB.{line}")), "-2", "{line}");
    }
}

#[test]
fn type_means_any_of_these_and_id_only_that_job() {
    let server = Server::start();
    let mut client = server.client();
    for (id, kind) in [("1", "dump"), ("2", "reindex"), ("3", "swap"), ("4", "reindex"), ("5", "COUNT")] {
        client.ask(&format!("MIROIR.PUT miroir:jobs:{id} type {kind} created_at {id}"));
    }
    assert_eq!(claimed_ids(&mut client, "p 60000 TYPE none COUNT 9"), [""; 0]);
    assert_eq!(
        claimed_ids(&mut client, "p 60000 TYPE COUNT COUNT 9"),
        ["5"],
        "a type that reads like an option"
    );
    assert_eq!(claimed_ids(&mut client, "p 60000 TYPE Reindex"), [""; 0], "types are values, not words");
    assert_eq!(claimed_ids(&mut client, "p 60000 type reindex"), ["2"]);
    assert_eq!(claimed_ids(&mut client, "p 60000 ID 4 TYPE dump"), [""; 0], "both have to hold");
    assert_eq!(claimed_ids(&mut client, "p 60000 id 4 TYPE reindex COUNT 5"), ["4"]);
    for id in ["4", "none"] {
        assert_eq!(claimed_ids(&mut client, &format!("p 60000 ID {id}")), [""; 0], "{id}");
    }
    assert_eq!(claimed_ids(&mut client, "p 60000 COUNT 1 TYPE swap TYPE dump TYPE none"), ["1"]);
    assert_eq!(claimed_ids(&mut client, "p 60000 TYPE swap COUNT 9 TYPE dump"), ["3"]);
    let token = client.ask("HGET miroir:jobs:4 claim_token");
    client.ask(&format!("MIROIR.JOB.FINISH miroir:jobs:4 p {token} completed"));
    assert_eq!(claimed_ids(&mut client, "p 60000 ID 4"), [""; 0], "a job that is done");
}

#[test]
fn a_claim_is_prolonged_by_its_holder_and_token_alone() {
    let server = Server::start();
    let mut client = server.client();
    put(&mut client, "a", 5);
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:none pod-1 1 60000"), "-2");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 0 60000"), "0", "nobody has claimed it");
    claim(&mut client, "pod-1 60000");
    let before = client.dump();
    for (holder, token) in [("pod-2", "1"), ("pod-1", "0"), ("pod-1", "2"), ("POD-1", "1")] {
        let line = format!("MIROIR.JOB.RENEW miroir:jobs:a {holder} {token} 90000 PROGRESS '{{\"x\":1}}'");
        assert_eq!(client.ask(&line), "0", "{line}");
        assert_eq!(client.dump(), before, "{line}");
    }
    let before = row(&mut client, "a");
    let line = "MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 900000 PROGRESS '{\"done\": 1}'";
    let (answer, then) = timed(&mut client, |client| client.ask(line));
    assert_eq!(answer, "1");
    let end = client.integer("HGET miroir:jobs:a claim_expires_at");
    assert!(then.contains(&(end - 900_000)), "{end}, {then:?}");
    let mut expected = before;
    expected.insert("claim_expires_at".to_owned(), end.to_string());
    expected.insert("progress".to_owned(), "{\"done\": 1}".to_owned());
    assert_eq!(row(&mut client, "a"), expected, "nothing else changes");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000"), "1", "also to an earlier end");
    assert!(client.integer("HGET miroir:jobs:a claim_expires_at") < end);
    assert_eq!(client.ask("HGET miroir:jobs:a progress"), "{\"done\": 1}");
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 completed"), "1");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000"), "0");
}

#[test]
fn a_claim_that_ran_out_is_lost_even_if_nobody_took_the_job() {
    let server = Server::start();
    let mut client = server.client();
    put(&mut client, "a", 5);
    claim(&mut client, "pod-1 1");
    run_out(&mut client, "a");
    let before = client.dump();
    for line in [
        "RENEW miroir:jobs:a pod-1 1 60000",
        "FINISH miroir:jobs:a pod-1 1 completed",
        "FINISH miroir:jobs:a pod-1 1 queued",
    ] {
        assert_eq!(client.ask(&format!("MIROIR.JOB.{line}")), "0", "{line}");
        assert_eq!(client.dump(), before, "{line}");
    }
    // The same pod comes back: another claim, another token, the progress is there still.
    client.ask("HSET miroir:jobs:a progress '{\"done\":3}'");
    let again = claim(&mut client, "pod-1 60000");
    assert_eq!((again[0].1, again[0].2["attempts"].as_str()), (2, "2"));
    assert_eq!(again[0].2["progress"], "{\"done\":3}");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000"), "0", "its old token is dead");
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 failed"), "0");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 2 60000"), "1");
}

#[test]
fn every_end_of_a_job() {
    let server = Server::start();
    let mut client = server.client();
    for (number, state) in ["completed", "failed"].into_iter().enumerate() {
        let id = format!("j{number}");
        put(&mut client, &id, 5);
        client.ask(&format!("HSET miroir:jobs:{id} error 'of an earlier attempt'"));
        assert_eq!(client.ask(&format!("MIROIR.JOB.FINISH miroir:jobs:{id} pod-1 0 {state}")), "0");
        claim(&mut client, &format!("pod-1 60000 ID {id}"));
        let before = client.dump();
        for wrong in ["pod-2 1", "pod-1 2", "pod-1 0"] {
            assert_eq!(client.ask(&format!("MIROIR.JOB.FINISH miroir:jobs:{id} {wrong} {state}")), "0");
            assert_eq!(client.dump(), before, "{wrong}");
        }
        let line = format!("MIROIR.JOB.FINISH miroir:jobs:{id} pod-1 1 {state} PROGRESS '{{\"n\":1}}'");
        let (answer, then) = timed(&mut client, |client| client.ask(&line));
        assert_eq!(answer, "1");
        let done = row(&mut client, &id);
        assert!(then.contains(&done["finished_at"].parse().unwrap()), "{done:?}");
        assert_eq!((done["state"].as_str(), done["progress"].as_str()), (state, "{\"n\":1}"));
        assert_eq!((done["claimed_by"].as_str(), done["claim_token"].as_str()), ("pod-1", "1"));
        assert!(!done.contains_key("claim_expires_at"), "{done:?}");
        let error = done.get("error").map(String::as_str);
        assert_eq!(error.is_none(), state == "completed", "what was wrong before is no longer: {error:?}");
        let before = client.dump();
        for line in ["pod-1 1 completed", "pod-1 1 failed", "pod-2 9 queued", "pod-2 0 completed ERROR x"] {
            let line = format!("MIROIR.JOB.FINISH miroir:jobs:{id} {line}");
            assert_eq!(client.ask(&line), "-1", "finished already, whoever asks: {line}");
            assert_eq!(client.dump(), before, "{line}");
        }
    }
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:none pod-1 1 completed"), "-2");

    put(&mut client, "back", 5);
    claim(&mut client, "pod-1 60000 ID back");
    assert!(queued(&mut client).is_empty());
    assert_eq!(
        client.ask("miroir.job.finish miroir:jobs:back pod-1 1 queued error 'node away' progress {}"),
        "1"
    );
    let back = row(&mut client, "back");
    assert_eq!((back["state"].as_str(), back["error"].as_str()), ("queued", "node away"));
    assert_eq!((back["attempts"].as_str(), back["claim_token"].as_str()), ("1", "1"));
    for gone in ["claimed_by", "claim_expires_at", "finished_at"] {
        assert!(!back.contains_key(gone), "{back:?}");
    }
    assert_eq!(queued(&mut client), ["back"]);
    let again = claim(&mut client, "pod-2 60000 ID back");
    assert_eq!((again[0].1, again[0].2["attempts"].as_str()), (2, "2"));
}

#[test]
fn texts_of_an_end_may_read_like_options() {
    let server = Server::start();
    let mut client = server.client();
    for (id, error) in [("a", "PROGRESS"), ("b", "FENCE"), ("c", "a 'quoted' é\n\0 text"), ("d", "")] {
        put(&mut client, id, 5);
        claim(&mut client, &format!("p 60000 ID {id}"));
        let key = format!("miroir:jobs:{id}");
        assert_eq!(client.call(&["MIROIR.JOB.FINISH", &key, "p", "1", "failed", "ERROR", error]), "1");
        let expected = if error.is_empty() { "nil" } else { error };
        assert_eq!(client.ask(&format!("HGET {key} error")), expected, "an absent text is no field");
    }
}

#[test]
fn a_job_that_failed_too_often_ends_and_the_next_one_is_claimed_instead() {
    let server = Server::start();
    let mut client = server.client();
    put(&mut client, "poison", 1);
    put(&mut client, "good", 2);
    for attempt in 1..=2 {
        let claimed = claim(&mut client, "pod 1 MAXATTEMPTS 2");
        assert_eq!((claimed[0].0.as_str(), claimed[0].1), ("poison", attempt));
        run_out(&mut client, "poison");
    }
    let line = "pod 60000 COUNT 1 MAXATTEMPTS 2";
    let (claimed, then) = timed(&mut client, |client| claimed_ids(client, line));
    assert_eq!(claimed, ["good"]);
    let poison = row(&mut client, "poison");
    assert_eq!((poison["state"].as_str(), poison["attempts"].as_str()), ("failed", "2"));
    assert!(then.contains(&poison["finished_at"].parse().unwrap()), "{poison:?}");
    assert!(poison["error"].to_lowercase().contains("attempts"), "{}", poison["error"]);
    assert!(poison["error"].contains('2'), "the error says how many: {}", poison["error"]);
    assert!(!poison.contains_key("claim_expires_at"), "{poison:?}");
    assert_eq!(client.ask("MIROIR.JOB.FINISH miroir:jobs:poison pod 2 completed"), "-1");
    assert_eq!(claim(&mut client, line), [], "it is not tried again");

    // Queued jobs end the same way, and one that is asked for by its id.
    client.ask("MIROIR.PUT miroir:jobs:tried type dump attempts 7");
    assert_eq!(queued(&mut client), ["tried"]);
    assert_eq!(claim(&mut client, "pod 60000 ID tried MAXATTEMPTS 7"), []);
    assert_eq!(client.ask("HGET miroir:jobs:tried state"), "failed");
    assert!(queued(&mut client).is_empty());
    client.ask("MIROIR.PUT miroir:jobs:again type dump attempts 7");
    assert_eq!(claim(&mut client, "pod 60000 MAXATTEMPTS 8")[0].2["attempts"], "8");
}

#[test]
fn jobs_without_a_worker_are_put_back_longest_expired_first() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.JOB.RECLAIM miroir:jobs"), "0");
    for (id, end) in [("a", "30"), ("b", "10"), ("c", "soon"), ("d", "20"), ("e", "4102444800000")] {
        client.ask(&format!(
            "HSET miroir:jobs:{id} id {id} type dump state in_progress created_at 1 claimed_by x"
        ));
        client.ask(&format!(
            "HSET miroir:jobs:{id} claim_token 4 attempts 2 claim_expires_at {end} progress {{}}"
        ));
        client.ask(&format!("SADD miroir:jobs:_index {id}"));
    }
    put(&mut client, "q", 1);
    for expected in
        [vec!["c", "q"], vec!["b", "c", "q"], vec!["b", "c", "d", "q"], vec!["a", "b", "c", "d", "q"]]
    {
        assert_eq!(client.ask("miroir.job.reclaim miroir:jobs limit 1"), "1");
        assert_eq!(queued(&mut client), expected);
    }
    assert_eq!(client.ask("MIROIR.JOB.RECLAIM miroir:jobs"), "0", "e is being worked on");
    let back = row(&mut client, "a");
    assert_eq!(
        (back["state"].as_str(), back["claim_token"].as_str(), back["attempts"].as_str()),
        ("queued", "4", "2")
    );
    assert!(!back.contains_key("claimed_by") && !back.contains_key("claim_expires_at"), "{back:?}");
    assert_eq!(claim(&mut client, "pod 60000 ID a")[0].1, 5);
    assert_eq!(client.ask("HGET miroir:jobs:e state"), "in_progress");
}

#[test]
fn reclaiming_ends_the_jobs_that_were_tried_too_often_and_does_not_count_them() {
    let server = Server::start();
    let mut client = server.client();
    for (id, attempts) in [("a", 3), ("b", 2), ("c", 4), ("d", 0)] {
        client.ask(&format!("HSET miroir:jobs:{id} id {id} type dump state in_progress created_at 1"));
        client.ask(&format!("HSET miroir:jobs:{id} attempts {attempts} claim_expires_at 9"));
        client.ask(&format!("SADD miroir:jobs:_index {id}"));
    }
    let (answer, then) =
        timed(&mut client, |client| client.ask("MIROIR.JOB.RECLAIM miroir:jobs MAXATTEMPTS 3"));
    assert_eq!(answer, "2");
    assert_eq!(queued(&mut client), ["b", "d"]);
    for id in ["a", "c"] {
        let ended = row(&mut client, id);
        assert_eq!(ended["state"], "failed");
        assert!(ended["error"].to_lowercase().contains("attempts"), "{}", ended["error"]);
        assert!(then.contains(&ended["finished_at"].parse().unwrap()), "{ended:?}");
    }
    assert_eq!(client.ask("MIROIR.COUNT miroir:jobs BY state"), "[failed, 2, queued, 2]");
}

#[test]
fn workers_side_by_side_never_get_the_same_job() {
    const JOBS: usize = 200;
    let server = Server::start();
    let mut client = server.client();
    (0..JOBS).for_each(|number| put(&mut client, &number.to_string(), 5));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let mut done = Vec::new();
                while let [(id, token, _)] = &claim(&mut client, &format!("pod-{worker} 60000"))[..] {
                    let line = format!("MIROIR.JOB.FINISH miroir:jobs:{id} pod-{worker} {token} completed");
                    assert_eq!(client.ask(&line), "1", "{line}");
                    done.push(id.clone());
                }
                done
            })
        })
        .collect();
    let mut done: Vec<String> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    assert_eq!(done.len(), JOBS);
    done.sort();
    done.dedup();
    assert_eq!(done.len(), JOBS, "no job twice");
    assert_eq!(client.ask("MIROIR.COUNT miroir:jobs WHERE state completed"), "200");
}

#[test]
fn lists_and_counts_follow_the_life_of_a_job_up_to_its_pruning() {
    let server = Server::start();
    let mut client = server.client();
    for id in ["a", "b", "c", "d"] {
        put(&mut client, id, 5);
    }
    assert_eq!(client.ask("MIROIR.COUNT miroir:jobs BY state"), "[queued, 4]");
    claim(&mut client, "pod-1 60000 COUNT 3");
    assert_eq!(client.ask("MIROIR.LIST miroir:jobs WHERE claimed_by pod-1 IDS"), "[a, b, c]");
    assert_eq!(client.ask("MIROIR.LIST miroir:jobs WHERE state queued IDS"), "[d]");
    client.ask("MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 completed");
    client.ask("MIROIR.JOB.FINISH miroir:jobs:b pod-1 1 failed ERROR x");
    let states: BTreeMap<String, i64> = client.read("MIROIR.COUNT miroir:jobs BY state");
    let expected = ["completed", "failed", "in_progress", "queued"].map(|state| (state.to_owned(), 1));
    assert_eq!(states, BTreeMap::from(expected));
    assert_eq!(client.ask("MIROIR.PRUNE miroir:jobs BEFORE 1000"), "0", "by finished_at, not by created_at");
    assert_eq!(client.ask("MIROIR.PRUNE miroir:jobs BEFORE 9223372036854775807 LIMIT 1"), "1");
    assert_eq!(client.ask("MIROIR.PRUNE miroir:jobs BEFORE 9223372036854775807"), "1");
    assert_eq!(client.ask("MIROIR.LIST miroir:jobs IDS"), "[c, d]", "only what has ended is pruned");
    client.ask("MIROIR.JOB.FINISH miroir:jobs:c pod-1 1 queued");
    assert_eq!(client.ask("MIROIR.COUNT miroir:jobs WHERE claimed_by pod-1"), "0");
    assert_eq!(client.ask("MIROIR.COUNT miroir:jobs WHERE state queued"), "2");
    assert_eq!(queued(&mut client), ["c", "d"]);
    assert_eq!(audit::audit(&mut client, "miroir", ""), [], "the audit finds nothing");
}

#[test]
fn a_job_that_is_put_again_keeps_its_token_and_one_that_is_claimed_is_not_put_again() {
    let server = Server::start();
    let mut client = server.client();
    put(&mut client, "a", 5);
    claim(&mut client, "pod-1 60000");
    assert_eq!(client.ask("MIROIR.PUT miroir:jobs:a type dump"), "0");
    client.ask("MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 queued");
    assert_eq!(client.ask("MIROIR.PUT miroir:jobs:a type dump created_at 6"), "2");
    let again = claim(&mut client, "pod-2 60000");
    assert_eq!((again[0].1, again[0].2["type"].as_str()), (2, "dump"), "tokens go on rising");
    assert_eq!(client.ask("MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000"), "0");
}

#[test]
fn transactions_and_scripts_work_on_jobs_too() {
    let server = Server::start();
    let mut client = server.client();
    let lines = [
        "MIROIR.PUT miroir:jobs:a type dump",
        "MIROIR.JOB.CLAIM miroir:jobs pod-1 60000",
        "MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000",
        "MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 queued",
        "MIROIR.JOB.RECLAIM miroir:jobs",
    ];
    let answer = transaction(&mut client, &lines);
    assert!(answer.starts_with("[1, [[a, 1, [") && answer.ends_with("]]], 1, 1, 0]"), "{answer}");
    let script = "local claimed = redis.call('MIROIR.JOB.CLAIM', KEYS[1], 'pod-1', 60000)[1] \
                  redis.call('MIROIR.JOB.FINISH', KEYS[1] .. ':' .. claimed[1], 'pod-1', claimed[2], 'completed') \
                  return claimed[2]";
    assert_eq!(client.call(&["EVAL", script, "1", "miroir:jobs"]), "2");
    assert_eq!(client.ask("HGET miroir:jobs:a state"), "completed");
}

#[test]
fn replicas_and_restarts_hold_the_same_jobs() {
    assert_native_effects(&[
        "MIROIR.PUT miroir:jobs:a type dump created_at 1",
        "MIROIR.PUT miroir:jobs:b type dump created_at 2 attempts 3",
        "MIROIR.PUT miroir:jobs:c type dump created_at 3",
        "MIROIR.PUT miroir:jobs:d type dump created_at 4",
        "HSET miroir:jobs:lost id lost type dump state in_progress created_at 9 claim_expires_at 5",
        "MIROIR.JOB.CLAIM miroir:jobs pod-1 600000 COUNT 3 MAXATTEMPTS 3",
        "MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 700000 PROGRESS '{\"done\":1}'",
        "MIROIR.JOB.FINISH miroir:jobs:c pod-1 1 queued ERROR 'gave up'",
        "MIROIR.JOB.FINISH miroir:jobs:d pod-1 1 completed",
        "MIROIR.JOB.RECLAIM miroir:jobs",
    ]);
}

#[test]
fn replicas_answer_what_is_claimed_and_claim_nothing() {
    let server = Server::start();
    let mut client = server.client();
    put(&mut client, "a", 5);
    put(&mut client, "b", 6);
    claim(&mut client, "pod-1 60000");
    assert_replica_reads_and_refuses(
        &server,
        &["MIROIR.COUNT miroir:jobs BY state", "MIROIR.LIST miroir:jobs WHERE claimed_by pod-1"],
        &[
            "MIROIR.JOB.CLAIM miroir:jobs pod-2 60000",
            "MIROIR.JOB.RENEW miroir:jobs:a pod-1 1 60000",
            "MIROIR.JOB.FINISH miroir:jobs:a pod-1 1 completed",
            "MIROIR.JOB.RECLAIM miroir:jobs",
        ],
    );
}
