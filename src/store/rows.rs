//! Rows: hashes with their index entries.

use super::indexes;
use crate::errors::Outcome;
use crate::keyspace::Address;
use crate::rules::row::{Changes, Expiry};
use crate::schema;
use crate::server::{Arg, Called, Context, KeyType, Words};

/// The fields of a hash, as one read of the server answered them.
pub struct Fields {
    reply: Called,
}

impl Fields {
    /// Name and value of every field, in the server's order.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        let mut items = self.reply.root().iter();
        let mut pairs = Vec::with_capacity(self.reply.root().len() / 2);
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            pairs.push((name.bytes(), value.bytes()));
        }
        pairs
    }
}

/// Reads all fields of the hash at a key; none where there is no value.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn read(context: &Context<'_>, key: Arg<'_>) -> Outcome<Fields> {
    context.open(key).expect(KeyType::Hash)?;
    let mut words = Words::with_capacity(1);
    words.arg(key);
    Ok(Fields { reply: context.read(c"HGETALL", &words)? })
}

/// Reads all fields of the hash at a key that no argument names.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn read_named(context: &Context<'_>, key: &[u8]) -> Outcome<Fields> {
    let mut words = Words::with_capacity(1);
    words.bytes(key);
    Ok(Fields { reply: context.read(c"HGETALL", &words)? })
}

/// Writes a row and its index entries. `stored` is the hash as it stands, `expires_at` the end of its life.
///
/// # Errors
/// WRONGTYPE, before anything is written, for a foreign value at the key of an index.
pub fn write(
    context: &Context<'_>,
    key: Arg<'_>,
    address: &Address<'_>,
    id: &[u8],
    changes: &Changes<'_>,
    expires_at: Option<i64>,
) -> Outcome<()> {
    indexes::check(context, address, id)?;
    if !changes.set.is_empty() {
        let mut words = Words::with_capacity(1 + 2 * changes.set.len());
        words.arg(key);
        for (field, value) in &changes.set {
            words.bytes(field.name.to_bytes()).bytes(value.bytes());
        }
        context.write(c"HSET", &words)?;
    }
    if !changes.remove.is_empty() {
        let mut words = Words::with_capacity(1 + changes.remove.len());
        words.arg(key);
        changes.remove.iter().for_each(|name| {
            words.bytes(name);
        });
        context.write(c"HDEL", &words)?;
    }
    match changes.expiry {
        Expiry::At(end) => expire_at(context, key, end)?,
        Expiry::Never if expires_at.is_some() => {
            let mut words = Words::with_capacity(1);
            words.arg(key);
            context.write(c"PERSIST", &words)?;
        }
        Expiry::Never | Expiry::Keep => {}
    }
    indexes::add(context, address, id, changes.in_subset)
}

/// Sets some fields of a hash that is there, and nothing else.
///
/// # Errors
/// The server's own.
pub fn set_fields(context: &Context<'_>, key: Arg<'_>, fields: &[(&str, &[u8])]) -> Outcome<()> {
    let mut words = Words::with_capacity(1 + 2 * fields.len());
    words.arg(key);
    for (name, value) in fields {
        words.bytes(name.as_bytes()).bytes(value);
    }
    context.write(c"HSET", &words).map(|_| ())
}

/// Ends the life of a key at this time in ms since the epoch.
///
/// # Errors
/// The server's own.
pub fn expire_at(context: &Context<'_>, key: Arg<'_>, end: i64) -> Outcome<()> {
    let mut words = Words::with_capacity(2);
    words.arg(key).number(end);
    context.write(c"PEXPIREAT", &words).map(|_| ())
}

/// Checks that a row can be deleted: it is a hash or nothing, and so are its index and its companion.
///
/// # Errors
/// WRONGTYPE for a foreign value at one of the keys.
pub fn check_deletable(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    context.peek(&address.row(id)).expect(KeyType::Hash)?;
    if let Some(companion) = companion_key(address, id) {
        context.peek(&companion).expect(KeyType::SortedSet)?;
    }
    indexes::check(context, address, id)
}

/// Deletes a row, its index entries and its companion. Answers whether there was a row.
///
/// # Errors
/// The server's own.
pub fn delete(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> Outcome<bool> {
    let mut words = Words::with_capacity(1);
    words.bytes(&address.row(id));
    let deleted = context.write(c"DEL", &words)?.root().integer() > 0;
    if let Some(companion) = companion_key(address, id) {
        let mut words = Words::with_capacity(1);
        words.bytes(&companion);
        context.write(c"DEL", &words)?;
    }
    indexes::remove(context, address, id)?;
    Ok(deleted)
}

fn companion_key(address: &Address<'_>, id: &[u8]) -> Option<Vec<u8>> {
    let companion = schema::table(address.table.companion?)?;
    Some(crate::keyspace::key(address.namespace, companion.segment, id))
}
