//! What MIROIR.AUDIT answers, in a form that can be compared.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Client;

/// A finding as the command tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub kind: String,
    pub key: String,
    pub detail: String,
    pub repaired: bool,
}

/// One call: the next cursor and the findings, or the error.
pub fn step(client: &mut Client, words: &str) -> Result<(String, Vec<Finding>), String> {
    let words: Vec<&str> = words.split(' ').collect();
    let answer = redis::cmd("MIROIR.AUDIT").arg(&words).query(&mut client.connection);
    let (next, findings): (String, Vec<BTreeMap<String, String>>) =
        answer.map_err(|error| format!("{error}"))?;
    let finding = |mut map: BTreeMap<String, String>| {
        let mut take = |name| map.remove(name).unwrap();
        let (kind, key, detail) = (take("finding"), take("key"), take("detail"));
        Finding { kind, key, detail, repaired: take("repaired") == "1" }
    };
    Ok((next, findings.into_iter().map(finding).collect()))
}

/// All calls of one walk: what each has found.
pub fn try_calls(client: &mut Client, namespace: &str, options: &str) -> Result<Vec<Vec<Finding>>, String> {
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let words = format!("{namespace} {cursor} {options}");
        let (next, findings) =
            step(client, words.trim()).map_err(|error| format!("AUDIT {words}: {error}"))?;
        all.push(findings);
        if next == "0" {
            return Ok(all);
        }
        cursor = next;
        assert!(all.len() < 100_000, "the walk does not end");
    }
}

/// The same, of a walk that has to succeed.
pub fn calls(client: &mut Client, namespace: &str, options: &str) -> Vec<Vec<Finding>> {
    try_calls(client, namespace, options).unwrap_or_else(|error| panic!("{error}"))
}

/// All findings of one walk over the usual namespace, in order.
pub fn try_audit(client: &mut Client, options: &str) -> Result<Vec<Finding>, String> {
    let mut findings = try_calls(client, "miroir", options)?.concat();
    findings.sort();
    Ok(findings)
}

/// The same, of a walk that has to succeed.
pub fn audit(client: &mut Client, options: &str) -> Vec<Finding> {
    try_audit(client, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Kind and key of each.
pub fn short(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{} {}", finding.kind, finding.key)).collect()
}

/// Sends lines that have to succeed.
pub fn run(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let answer = client.ask(line);
        let code = answer.split(' ').next().unwrap_or_default();
        assert!(!["ERR", "WRONGTYPE", "READONLY", "OOM", "NOPERM", "?"].contains(&code), "{line}: {answer}");
    }
}

/// The keys at which two dumps differ.
pub fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}
