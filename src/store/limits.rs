//! What limits are counted in: a string with a TTL for each window, a hash for each backoff.

use crate::errors::{Failure, Outcome};
use crate::keyspace::Address;
use crate::rules::backoff::MEMORY_MS;
use crate::rules::window::Window;
use crate::schema::value::integer;
use crate::server::{Arg, Context, Key, KeyType, Words};

/// The prefix of the id under which the backoff of an address is kept.
pub const BACKOFF: &str = "backoff:";
const FAILURES: &str = "failed_count";
const ALLOWED_AT: &str = "next_allowed_at";

/// Reads the counter of a window. Answers also its open key, for [`count`]; before any other write it has to be dropped.
///
/// # Errors
/// WRONGTYPE for a foreign value, an error for one that is no number from 0.
pub fn window<'c>(
    context: &'c Context<'_>,
    address: &Address<'_>,
    key: Arg<'_>,
) -> Outcome<(Window, Key<'c>)> {
    let counter = context.open_to_write(key);
    if !counter.expect(KeyType::String)? {
        return Ok((Window { count: 0, is_open: false, ends_at: None }, counter));
    }
    let count = number(address, "counter", counter.string())?;
    Ok((Window { count, is_open: true, ends_at: counter.expires_at() }, counter))
}

/// Counts a hit in a window, of which `counter` is the open key, and which ends at `end`, in ms, unless it has an end already.
///
/// # Errors
/// The server's own.
pub fn count(
    context: &Context<'_>,
    (key, counter): (Arg<'_>, Key<'_>),
    window: &Window,
    cost: i64,
    end: i64,
) -> Outcome<()> {
    if !window.is_open {
        drop(counter);
        let mut words = Words::with_capacity(4);
        words.arg(key).number(cost).bytes(b"PXAT").number(end);
        return context.write(c"SET", &words).map(|_| ());
    }
    context.increase(counter, key, cost, window.count.saturating_add(cost))?;
    close(context, key, window, end)
}

/// Gives a window an end, in ms, that has lost its own: it would never reset.
///
/// # Errors
/// The server's own.
pub fn close(context: &Context<'_>, key: Arg<'_>, window: &Window, end: i64) -> Outcome<()> {
    if !window.is_open || window.ends_at.is_some() {
        return Ok(());
    }
    context.expire_at(key, end)
}

/// The failures of an address, and from when on it may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// Consecutive failures.
    pub count: i64,
    /// In ms since the epoch.
    pub next_allowed_at: i64,
}

/// The key of the backoff of the address that a counter's key names.
#[must_use]
pub fn backoff_key(address: &Address<'_>, id: &str) -> Vec<u8> {
    address.row(&[BACKOFF.as_bytes(), id.as_bytes()].concat())
}

/// Reads the failures of an address, kept beside its `window`.
///
/// # Errors
/// WRONGTYPE for a foreign value, an error for what is no number from 0, TRYAGAIN for a key on another node.
pub fn failures(
    context: &Context<'_>,
    address: &Address<'_>,
    window: Arg<'_>,
    key: &[u8],
) -> Outcome<Failures> {
    let backoff = context.peek(key);
    let is_there = backoff.expect(KeyType::Hash)?;
    let read = |field: &str| match backoff.field_named(field.as_bytes()).filter(|_| is_there) {
        None => Ok(0),
        Some(text) => number(address, field, text.bytes()),
    };
    let failures = Failures { count: read(FAILURES)?, next_allowed_at: read(ALLOWED_AT)? };
    // With the window: of a single key a node to which the slot moves would say that it is simply not there.
    context.reach([window.bytes(), key])?;
    Ok(failures)
}

/// Puts failures on record. They are forgotten a minute after the backoff.
///
/// # Errors
/// The server's own.
pub fn fail(context: &Context<'_>, key: &[u8], failures: &Failures) -> Outcome<()> {
    let mut words = Words::with_capacity(5);
    words.bytes(key).bytes(FAILURES.as_bytes()).number(failures.count);
    words.bytes(ALLOWED_AT.as_bytes()).number(failures.next_allowed_at);
    context.write(c"HSET", &words)?;
    context.expire_named_at(key, failures.next_allowed_at.saturating_add(MEMORY_MS))
}

/// Checks that both keys of an address hold what can be forgotten.
///
/// # Errors
/// WRONGTYPE for a foreign value, TRYAGAIN for a key on another node.
pub fn check_clearable(context: &Context<'_>, window: Arg<'_>, backoff: &[u8]) -> Outcome<()> {
    context.open(window).expect(KeyType::String)?;
    context.peek(backoff).expect(KeyType::Hash)?;
    context.reach([window.bytes(), backoff])
}

/// Forgets the window and the failures of an address.
///
/// # Errors
/// The server's own.
pub fn clear(context: &Context<'_>, window: Arg<'_>, backoff: &[u8]) -> Outcome<()> {
    let mut words = Words::with_capacity(2);
    words.arg(window).bytes(backoff);
    context.write(c"DEL", &words).map(|_| ())
}

fn number(address: &Address<'_>, field: &str, text: &[u8]) -> Outcome<i64> {
    let number = integer(text).filter(|number| *number >= 0);
    number.ok_or_else(|| Failure::stored(address.table.name, field, "an integer from 0", Some(text)))
}
