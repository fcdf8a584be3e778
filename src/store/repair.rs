//! What MIROIR.AUDIT mends, beside index entries.

use super::buffers::Buffer;
use super::indexes::Sets;
use super::Target;
use crate::errors::Outcome;
use crate::keyspace::{check_id, Address};
use crate::rules::backoff::MEMORY_MS;
use crate::schema::value::integer;
use crate::schema::Table;
use crate::server::{Context, Text, Words};

/// Deletes a stub, and the index entries that it may have.
///
/// # Errors
/// The server's own.
pub fn delete_stub(context: &Context<'_>, key: &[u8], address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    let mut words = Words::with_capacity(1);
    words.bytes(key);
    context.write(c"DEL", &words)?;
    Sets::of(address, id).remove(context, id)
}

/// Gives a key the TTL that it lacks: until what the row itself says, if that lies ahead, or until `end`, in ms since
/// the epoch. The field that repeats the TTL says the same afterwards.
///
/// # Errors
/// The server's own.
pub fn expire(context: &Context<'_>, table: &Table, key: &[u8], end: i64) -> Outcome<()> {
    let now = context.now_ms();
    let value = |name| context.inspect(key).field(name).and_then(|text| integer(text.bytes()));
    let field = table.expiry_field();
    let stated = match field {
        Some(field) => value(field.name),
        None => value(c"next_allowed_at").and_then(|next| next.checked_add(MEMORY_MS)),
    };
    let end = stated.filter(|stated| *stated > now).unwrap_or(end);
    if let Some(field) = field {
        let mut words = Words::with_capacity(3);
        words.bytes(key).bytes(field.name().as_bytes()).number(end);
        context.write(c"HSET", &words)?;
    }
    context.expire_named_at(key, end)
}

/// What is wrong with the byte counter of a buffer, if anything is. O(events) at the first look, and after others
/// have written to it.
///
/// # Errors
/// WRONGTYPE for a foreign value at one of the buffer's keys.
pub fn counter_off(
    context: &Context<'_>,
    key: &[u8],
    address: &Address<'_>,
    id: &[u8],
) -> Outcome<Option<String>> {
    with_buffer(context, key, address, id, |buffer| {
        // A replica goes by the counter as long as the number of events is right.
        let holds = if context.follows() { buffer.count_bytes() } else { buffer.bytes };
        let says = buffer.recorded_bytes;
        Ok((says != holds).then(|| format!("the counter says {says}, the events are {holds} bytes")))
    })
}

/// Makes the counters of a buffer say what it holds.
///
/// # Errors
/// WRONGTYPE for a foreign value at one of the buffer's keys; the server's own.
pub fn counters(context: &Context<'_>, key: &[u8], address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    with_buffer(context, key, address, id, |buffer| buffer.mend().map(|()| None)).map(|_| ())
}

fn with_buffer(
    context: &Context<'_>,
    key: &[u8],
    address: &Address<'_>,
    id: &[u8],
    act: impl FnOnce(&mut Buffer<'_>) -> Outcome<Option<String>>,
) -> Outcome<Option<String>> {
    let (Some(name), Ok(id)) = (Text::new(key), check_id(address.table, id)) else { return Ok(None) };
    let mut buffer = Buffer::open(context, &Target { key: name.as_arg(), address: *address, id })?;
    act(&mut buffer)
}
