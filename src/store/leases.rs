//! Leases: a string with a TTL per scope, and two hashes per namespace that outlive them all: the last token
//! of each scope, and the holder who got it.

use std::ffi::CStr;

use super::remembered::Remembered;
use super::Target;
use crate::errors::{Failure, Outcome};
use crate::keyspace::Address;
use crate::rules::lease::{Lease, NO_TOKEN};
use crate::schema::value::integer;
use crate::server::events::DatabaseEvent;
use crate::server::{Arg, Context, KeyType, Text, Words};

/// The name of the structure in the schema.
pub const TABLE: &str = "leader_lease";

/// Leases that this process has dealt with, each with whether the tenure on record still runs. Whoever holds a lease
/// after that is in a new tenure, even if it is the holder on record.
static RUNNING: Remembered<bool> = Remembered::new();

/// Follows what happens to a lease without a command of this module. Only a change of its TTL is no end.
pub fn touched(context: &Context<'_>, event: &CStr, key: &[u8]) {
    if !matches!(event.to_bytes(), b"expire" | b"persist") {
        RUNNING.change(context, key, |running| *running = false);
    }
}

/// Follows an event of whole databases.
pub fn database_changed(event: DatabaseEvent) {
    RUNNING.follow(event);
}

/// A lease as the server holds it.
pub struct Record {
    holder: Option<Text>,
    token_holder: Option<Text>,
    last_token: i64,
    /// When it runs out, in ms since the epoch; None where nobody holds it, or where it has no TTL.
    pub expires_at: Option<i64>,
}

impl Record {
    /// The lease, for a decision.
    #[must_use]
    pub fn lease(&self) -> Lease<'_> {
        Lease {
            holder: self.holder.as_ref().map(Text::bytes),
            last_token: self.last_token,
            token_holder: self.token_holder.as_ref().map(Text::bytes),
        }
    }
}

fn tokens_key(address: &Address<'_>) -> Vec<u8> {
    address.row(b"_tokens")
}

fn holders_key(address: &Address<'_>) -> Vec<u8> {
    address.row(b"_holders")
}

/// Reads a lease.
///
/// # Errors
/// WRONGTYPE for a foreign value at one of the keys; an error for a token that is no number.
pub fn read(context: &Context<'_>, target: &Target<'_>) -> Outcome<Record> {
    let Target { key, address, id: scope } = target;
    let (held, expires_at) = {
        let lease = context.open(*key);
        (lease.expect(KeyType::String)?, lease.expires_at())
    };
    let holder = if held {
        let mut words = Words::with_capacity(1);
        words.arg(*key);
        Text::new(context.read(c"GET", &words)?.root().bytes())
    } else {
        None
    };
    let tokens = context.open_named(&tokens_key(address));
    tokens.expect(KeyType::Hash)?;
    let last_token = match tokens.field_named(scope.as_bytes()) {
        None => 0,
        Some(text) => integer(text.bytes()).filter(|token| *token >= 0).ok_or_else(|| {
            Failure::stored(address.table.name, scope, "a token from 0", Some(text.bytes()))
        })?,
    };
    let holders = context.open_named(&holders_key(address));
    holders.expect(KeyType::Hash)?;
    let token_holder = match RUNNING.get(context, key.bytes()) {
        Some(false) => None,
        Some(true) | None => holders.field_named(scope.as_bytes()),
    };
    let record = Record { holder, token_holder, last_token, expires_at };
    if record.lease().token() != NO_TOKEN {
        RUNNING.set(context, key.bytes(), true);
    }
    context.reach([tokens_key(address), holders_key(address)])?;
    Ok(record)
}

/// Puts the token and the holder of a new tenure on record.
///
/// # Errors
/// The server's own.
pub fn begin(context: &Context<'_>, target: &Target<'_>, holder: Arg<'_>, token: i64) -> Outcome<()> {
    let Target { address, id: scope, .. } = target;
    let token = token.to_string();
    for (hash, value) in [(holders_key(address), holder.bytes()), (tokens_key(address), token.as_bytes())] {
        let mut words = Words::with_capacity(3);
        words.bytes(&hash).bytes(scope.as_bytes()).bytes(value);
        context.write(c"HSET", &words)?;
    }
    RUNNING.set(context, target.key.bytes(), true);
    Ok(())
}

/// Makes a holder hold the lease until `end`, in ms since the epoch.
///
/// # Errors
/// The server's own.
pub fn hold(context: &Context<'_>, target: &Target<'_>, holder: Arg<'_>, end: i64) -> Outcome<()> {
    let mut words = Words::with_capacity(4);
    words.arg(target.key).arg(holder).bytes(b"PXAT").number(end);
    context.write(c"SET", &words).map(|_| ())
}

/// Ends a tenure. Its token stays on record, so that the next one is higher.
///
/// # Errors
/// The server's own.
pub fn release(context: &Context<'_>, target: &Target<'_>) -> Outcome<()> {
    let mut words = Words::with_capacity(1);
    words.arg(target.key);
    context.write(c"DEL", &words)?;
    // Without this, a lease that the same holder then takes with a plain SET would pass for the old tenure.
    let mut words = Words::with_capacity(2);
    words.bytes(&holders_key(&target.address)).bytes(target.id.as_bytes());
    context.write(c"HDEL", &words)?;
    RUNNING.forget(context, target.key.bytes());
    Ok(())
}
