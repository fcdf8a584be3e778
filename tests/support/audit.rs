//! MIROIR.AUDIT, walked from its first cursor to its last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::{RedisError, Value};

use super::{patience, show, Client};

/// A finding as the command tells it. Its key may be any bytes.
pub type Told = BTreeMap<String, Value>;

/// A finding in a form that can be compared and printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub kind: String,
    pub key: String,
    pub detail: String,
    pub repaired: bool,
}

impl From<Told> for Finding {
    fn from(told: Told) -> Self {
        let text = |name| show(&told[name]);
        Self {
            kind: text("finding"),
            key: text("key"),
            detail: text("detail"),
            repaired: text("repaired") == "1",
        }
    }
}

/// One call: the next cursor and the findings, or the error.
pub fn step<F: From<Told>>(client: &mut Client, words: &str) -> Result<(String, Vec<F>), RedisError> {
    let words: Vec<&str> = words.split(' ').collect();
    let (next, told): (String, Vec<Told>) =
        redis::cmd("MIROIR.AUDIT").arg(&words).query(&mut client.connection)?;
    Ok((next, told.into_iter().map(F::from).collect()))
}

/// All calls of one walk: what each has found.
pub fn try_calls<F: From<Told>>(
    client: &mut Client,
    namespace: &str,
    options: &str,
) -> Result<Vec<Vec<F>>, RedisError> {
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let (next, findings) = step(client, format!("{namespace} {cursor} {options}").trim())?;
        all.push(findings);
        if next == "0" {
            return Ok(all);
        }
        cursor = next;
        assert!(all.len() < 100_000, "the walk does not end");
    }
}

/// All findings of one walk, in order.
pub fn try_audit(client: &mut Client, namespace: &str, options: &str) -> Result<Vec<Finding>, RedisError> {
    let mut findings = try_calls(client, namespace, options)?.concat();
    findings.sort();
    Ok(findings)
}

/// The same, of a walk that has to succeed, when the catalog knows all keys.
pub fn audit(client: &mut Client, namespace: &str, options: &str) -> Vec<Finding> {
    let deadline = Instant::now() + patience();
    loop {
        match try_audit(client, namespace, options) {
            Ok(findings) => return findings,
            Err(error) if error.code() == Some("TRYAGAIN") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("AUDIT {namespace} {options}: {error}"),
        }
    }
}

/// What is found still when the server had time to mend the index entries that other clients left out.
pub fn lasting(client: &mut Client, namespace: &str) -> Vec<Finding> {
    let deadline = Instant::now() + patience();
    loop {
        let findings = audit(client, namespace, "COUNT 1000");
        if findings.is_empty() || Instant::now() > deadline {
            return findings;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
