//! What MIROIR.AUDIT answers, in a form that can be compared.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use redis::RedisError;

pub use crate::support::audit::Finding;
use crate::support::{audit as walk, Client};

/// One call: the next cursor and the findings, or the error.
pub fn step(client: &mut Client, words: &str) -> Result<(String, Vec<Finding>), RedisError> {
    walk::step(client, words)
}

/// All calls of one walk that has to succeed: what each has found.
pub fn calls(client: &mut Client, namespace: &str, options: &str) -> Vec<Vec<Finding>> {
    walk::try_calls(client, namespace, options).unwrap()
}

/// All findings of one walk over the usual namespace, in order, or the error.
pub fn try_audit(client: &mut Client, options: &str) -> Result<Vec<Finding>, RedisError> {
    walk::try_audit(client, "miroir", options)
}

/// All findings of one walk over the usual namespace, in order.
pub fn audit(client: &mut Client, options: &str) -> Vec<Finding> {
    walk::audit(client, "miroir", options)
}

/// Kind and key of each.
pub fn short(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{} {}", finding.kind, finding.key)).collect()
}

/// The keys at which two dumps differ.
pub fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}
