//! What pods have seen of scoped keys: a hash with a TTL for each pod and index.

use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::schema::value::integer;
use crate::server::{Context, KeyType, Words};
use crate::store::Target;

const TABLE: &str = "search_ui_scoped_key_observed";
const GENERATION: &str = "generation";
const INDEX: &str = "index_uid";

fn key(namespace: &[u8], pod: &[u8], index_uid: &str) -> Vec<u8> {
    let segment = crate::schema::table(TABLE).map_or(TABLE, |table| table.segment);
    keyspace::key(namespace, segment, &[pod, b":", index_uid.as_bytes()].concat())
}

/// Puts on record until `end`, in ms, that a pod has seen a generation of a scoped key, at `now`.
///
/// # Errors
/// WRONGTYPE for a foreign value, TRYAGAIN for a key on another node.
pub fn observe(
    context: &Context<'_>,
    target: &Target<'_>,
    pod: &str,
    generation: i64,
    (now, end): (i64, i64),
) -> Outcome<()> {
    let key = key(target.address.namespace, pod.as_bytes(), target.id);
    context.peek(&key).expect(KeyType::Hash)?;
    // With the scoped key: of a single key a node to which the slot moves would say that it is simply not there.
    context.reach([target.key.bytes(), &key])?;
    let mut words = Words::with_capacity(7);
    words.bytes(&key).bytes(GENERATION.as_bytes()).number(generation);
    // Where both names hold colons, the key alone does not tell one pair from another.
    words.bytes(INDEX.as_bytes()).bytes(target.id.as_bytes());
    words.bytes(b"observed_at").number(now);
    context.write(c"HSET", &words)?;
    context.expire_named_at(&key, end)
}

/// The generation of an index's key that a pod has seen, if it has lately.
///
/// # Errors
/// WRONGTYPE for a foreign value, an error for a generation that is no number from 0.
pub fn seen(context: &Context<'_>, namespace: &[u8], pod: &[u8], index_uid: &str) -> Outcome<Option<i64>> {
    let observation = context.open_named(&key(namespace, pod, index_uid));
    if !observation.expect(KeyType::Hash)? {
        return Ok(None);
    }
    let is_of_other =
        observation.field_named(INDEX.as_bytes()).is_some_and(|of| of.bytes() != index_uid.as_bytes());
    let Some(text) = observation.field_named(GENERATION.as_bytes()).filter(|_| !is_of_other) else {
        return Ok(None);
    };
    let generation = integer(text.bytes()).filter(|generation| *generation >= 0);
    let expected = "an integer from 0";
    generation.map(Some).ok_or_else(|| Failure::stored(TABLE, GENERATION, expected, Some(text.bytes())))
}
