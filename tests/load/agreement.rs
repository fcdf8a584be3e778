//! What has to agree in a task store, whatever was lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::model::{audit, bytes, check, items, send, show, Sweep};
use super::super::support::{patience, Client};
use super::steps::SMALL_BUDGET;

/// What does not agree: rows with their index sets, counters with what they count, the module with the keys, two rows
/// that were written as one. Nobody else may write meanwhile.
pub fn faults(client: &mut Client) -> Vec<String> {
    faults_of(client, "miroir")
}

/// The same of another namespace. The index sets of all namespaces on this server are looked at.
pub fn faults_of(client: &mut Client, namespace: &'static str) -> Vec<String> {
    // Everything with a short life ends before anybody compares. In a cluster the key has to be on this node.
    client.ask(&format!("SET {namespace}:clock x PX 60"));
    client.wait_for(&format!("EXISTS {namespace}:clock"), |answer| answer == "0");
    let deadline = Instant::now() + patience();
    let mut sweep = loop {
        // The entries of rows that clients without the module wrote follow by themselves.
        let sweep = Sweep::read(client);
        if sweep.index_faults().is_empty() || Instant::now() > deadline {
            break sweep;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut faults = sweep.index_faults();
    faults.extend(sweep.miscounted.iter().map(|key| format!("{} is not the sum of its events", show(key))));
    sweep.entries.retain(|entry| entry.namespace == namespace.as_bytes());
    faults.extend(pairs(&sweep));
    faults.extend(jobs(&sweep));
    faults.extend(numbers(client, namespace, "kafka", i64::MAX));
    faults.extend(numbers(client, namespace, "small", SMALL_BUDGET));
    faults.extend(check(client, &[namespace], &mut fastrand::Rng::new()).1);
    faults.extend(
        audit(client, namespace).into_iter().map(|(kind, key)| format!("AUDIT: {kind} {}", show(&key))),
    );
    faults.truncate(8);
    faults
}

/// Rows that were written in one transaction or script.
fn pairs(sweep: &Sweep) -> Vec<String> {
    let mut tables: BTreeMap<&[u8], Vec<&str>> = BTreeMap::new();
    for entry in sweep.entries.iter().filter(|entry| entry.id.starts_with(b"pair-")) {
        tables.entry(&entry.id).or_default().push(entry.table_name);
    }
    let lone = tables.into_iter().filter(|(_, tables)| tables.len() != 2);
    lone.map(|(id, tables)| format!("of {} there is only that in {tables:?}", show(id))).collect()
}

/// What the fields of a job say of each other.
fn jobs(sweep: &Sweep) -> Vec<String> {
    let is_whole = |fields: &BTreeMap<Vec<u8>, Vec<u8>>| {
        let has = |field: &str| fields.contains_key(field.as_bytes());
        let get = |field: &str| fields.get(field.as_bytes()).map_or(&b"0"[..], Vec::as_slice);
        let state = get("state");
        let is_claimed = state == b"in_progress";
        let is_finished = [&b"completed"[..], b"failed"].contains(&state);
        has("claim_expires_at") == is_claimed
            && has("finished_at") == is_finished
            && (!is_claimed || has("claimed_by"))
            && (state != b"queued" || !has("claimed_by"))
            && get("claim_token") == get("attempts")
    };
    // Those of the pairs were finished when they were written.
    let all =
        sweep.entries.iter().filter(|entry| entry.table_name == "jobs" && !entry.id.starts_with(b"pair-"));
    all.filter(|job| !is_whole(&job.fields)).map(|job| format!("no whole job: {}", job.line())).collect()
}

/// The counters of a buffer, by its list.
fn numbers(client: &mut Client, namespace: &str, sink: &str, budget: i64) -> Vec<String> {
    let key = |segment| format!("{namespace}:cdc:{segment}:{sink}");
    let (list, stat) = (key("overflow"), key("overflow_stat"));
    let answers =
        send(client, &[words!["LRANGE", list, "0", "-1"], words!["HMGET", stat, "first_seq", "last_seq"]]);
    let held: Vec<_> = items(&answers[0]).iter().map(bytes).collect();
    let size: usize = held.iter().map(Vec::len).sum();
    let numbers: Vec<i64> =
        items(&answers[1]).iter().map(|value| show(&bytes(value)).parse().unwrap_or(0)).collect();
    let length = i64::try_from(held.len()).unwrap();
    let mut faults = Vec::new();
    if !held.is_empty() && numbers[1] - numbers[0] + 1 != length {
        faults.push(format!("{sink}: {length} events, numbered {numbers:?}"));
    }
    if i64::try_from(size).unwrap() > budget {
        faults.push(format!("{sink}: {size} bytes, above the budget"));
    }
    faults
}
