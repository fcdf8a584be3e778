//! The register of pods: a sorted set for each namespace, by the time of the last beat.

use crate::errors::Outcome;
use crate::keyspace;
use crate::schema::Table;
use crate::server::{Arg, Context, KeyType, Words};

/// The name of the structure in the schema.
pub const TABLE: &str = "live_pods";
/// Within how many ms a pod must have sent a beat to count as live.
pub const LIVE_MS: i64 = 120_000;
/// How many ms after its last beat a pod is forgotten; the register as a whole lives as long.
const FORGOTTEN_MS: i64 = 300_000;

/// The key of the register of a namespace.
#[must_use]
pub fn key(namespace: &[u8], table: &Table) -> Vec<u8> {
    keyspace::key_in(namespace, table, b"")
}

/// Notes a beat at `now`, in ms, and forgets pods that were silent for long.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn beat(context: &Context<'_>, register: Arg<'_>, pod: Arg<'_>, now: i64) -> Outcome<()> {
    context.open(register).expect(KeyType::SortedSet)?;
    let mut words = Words::with_capacity(3);
    words.arg(register).number(now).arg(pod);
    context.write(c"ZADD", &words)?;
    let mut words = Words::with_capacity(3);
    words.arg(register).bytes(b"-inf").bytes(format!("({}", now - FORGOTTEN_MS).as_bytes());
    context.write(c"ZREMRANGEBYSCORE", &words)?;
    context.expire_at(register, now.saturating_add(FORGOTTEN_MS))
}

/// The pods whose last beat came at `since`, in ms, or later, by their names.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn live(context: &Context<'_>, register: &[u8], since: i64) -> Outcome<Vec<Vec<u8>>> {
    if !context.open_named(register).expect(KeyType::SortedSet)? {
        return Ok(Vec::new());
    }
    let mut words = Words::with_capacity(3);
    words.bytes(register).number(since).bytes(b"+inf");
    let found = context.read(c"ZRANGEBYSCORE", &words)?;
    let mut pods: Vec<_> = found.root().iter().map(|pod| pod.bytes().to_vec()).collect();
    pods.sort_unstable();
    Ok(pods)
}
