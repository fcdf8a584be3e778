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
use crate::server::{Arg, Context, Key, KeyType, Words};

/// The name of the structure in the schema.
pub const TABLE: &str = "leader_lease";

/// Leases that this process has dealt with. Whoever holds a lease after its tenure has ended is in a new tenure, even if it
/// is the holder on record.
static TENURES: Remembered<Tenure> = Remembered::new();

/// What this process knows of a lease from the last command or event on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tenure {
    /// The tenure on record runs: the lease's holder is the one on record. With its token, unless someone else has written to
    /// the records since.
    Runs(Option<i64>),
    /// The tenure on record has ended.
    Ended,
}

/// Follows what happens to a lease without a command of this module. A change of its TTL is no end of its tenure.
pub fn touched(context: &Context<'_>, event: &CStr, key: &[u8]) {
    match event.to_bytes() {
        b"expire" | b"persist" => {}
        // It was on another node that had its slot, and whose tenure it is is on record.
        b"restore" => TENURES.forget(context, key),
        _ => TENURES.change(context, key, |tenure| *tenure = Tenure::Ended),
    }
}

/// Follows what other clients do to the records of tokens and holders: what they say now counts.
pub fn records_touched(context: &Context<'_>) {
    TENURES.change_all(context, |tenure| {
        if let Tenure::Runs(token) = tenure {
            *token = None;
        }
    });
}

/// Follows an event of whole databases.
pub fn database_changed(event: DatabaseEvent) {
    TENURES.follow(event);
}

/// A lease as the server holds it.
pub struct Record {
    holder: Option<Vec<u8>>,
    token_holder: Option<Vec<u8>>,
    last_token: i64,
    /// When it runs out, in ms since the epoch; None where nobody holds it, or where it has no TTL.
    pub expires_at: Option<i64>,
}

impl Record {
    /// The lease, for a decision.
    #[must_use]
    pub fn lease(&self) -> Lease<'_> {
        Lease {
            holder: self.holder.as_deref(),
            last_token: self.last_token,
            token_holder: self.token_holder.as_deref(),
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
    record(context, target, &context.open(target.key))
}

/// Reads a lease that is to be written. Answers also its open key, for [`prolong`]; before any other write it has to be
/// dropped.
///
/// # Errors
/// As [`read`].
pub fn read_to_write<'c>(context: &'c Context<'_>, target: &Target<'_>) -> Outcome<(Record, Key<'c>)> {
    let lease = context.open_to_write(target.key);
    record(context, target, &lease).map(|record| (record, lease))
}

fn record(context: &Context<'_>, target: &Target<'_>, lease: &Key<'_>) -> Outcome<Record> {
    let Target { key, address, id: scope } = target;
    let is_held = lease.expect(KeyType::String)?;
    let (holder, expires_at) = (is_held.then(|| lease.string().to_vec()), lease.expires_at());
    // Nobody tells a replica what happens to a lease.
    let follows = context.follows();
    let tenure = TENURES.get(context, key.bytes()).filter(|_| !follows);
    if let (Some(Tenure::Runs(Some(token))), Some(_)) = (tenure, &holder) {
        return Ok(Record { token_holder: holder.clone(), holder, last_token: token, expires_at });
    }
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
    let token_holder = match tenure {
        Some(Tenure::Ended) => None,
        _ => holders.field_named(scope.as_bytes()).map(|holder| holder.bytes().to_vec()),
    };
    let record = Record { holder, token_holder, last_token, expires_at };
    if record.lease().token() != NO_TOKEN && !follows {
        // What is about to expire is read each time.
        let lasts =
            |records: &Key<'_>| records.expires_at().is_none() && records.first_field_expires_at().is_none();
        let token = (lasts(&tokens) && lasts(&holders)).then_some(last_token);
        TENURES.set(context, key.bytes(), Tenure::Runs(token));
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
    let text = token.to_string();
    for (hash, value) in [(holders_key(address), holder.bytes()), (tokens_key(address), text.as_bytes())] {
        let mut words = Words::with_capacity(3);
        words.bytes(&hash).bytes(scope.as_bytes()).bytes(value);
        context.write(c"HSET", &words)?;
    }
    TENURES.set(context, target.key.bytes(), Tenure::Runs(Some(token)));
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

/// Lets the tenure that runs, of which `lease` is the open key, last until `end`, in ms since the epoch.
///
/// # Errors
/// The server's own.
pub fn prolong(context: &Context<'_>, target: &Target<'_>, lease: Key<'_>, end: i64) -> Outcome<()> {
    context.prolong(lease, target.key, end)
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
    TENURES.forget(context, target.key.bytes());
    Ok(())
}
