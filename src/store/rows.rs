//! Rows: hashes with their index entries.

use super::indexes::{self, Sets};
use super::Target;
use crate::errors::Outcome;
use crate::keyspace::Address;
use crate::rules::row::{value_of, Changes, Expiry};
use crate::schema;
use crate::server::{Arg, Context, Fields, Key, KeyType, Words};

/// A hash as it stands: its fields, and the end of its life.
pub struct Found {
    fields: Fields,
    /// The end of its life in ms since the epoch, if it has one.
    pub expires_at: Option<i64>,
    /// Whether any of its fields has an end of life of its own.
    pub loses_fields: bool,
}

impl Found {
    /// Name and value of every field, in the server's order; none where there is no hash.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        self.fields.pairs()
    }

    /// The fields themselves.
    #[must_use]
    pub fn into_fields(self) -> Fields {
        self.fields
    }
}

/// Reads the hash at a key.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn read(context: &Context<'_>, key: Arg<'_>) -> Outcome<Found> {
    find(&context.open(key))
}

/// Reads the hash at a key that no argument names.
///
/// # Errors
/// WRONGTYPE for a foreign value.
pub fn read_named(context: &Context<'_>, key: &[u8]) -> Outcome<Found> {
    find(&context.peek(key))
}

fn find(key: &Key<'_>) -> Outcome<Found> {
    key.expect(KeyType::Hash)?;
    let loses_fields = key.first_field_expires_at().is_some();
    Ok(Found { fields: key.fields(), expires_at: key.expires_at(), loses_fields })
}

/// Writes changes of a row, of which `found` is what stands there, and its index entries.
///
/// # Errors
/// WRONGTYPE, before anything is written, for a foreign value at the key of an index.
pub fn write(
    context: &Context<'_>,
    target: &Target<'_>,
    changes: &Changes<'_>,
    found: &Found,
) -> Outcome<()> {
    let Target { key, address, id } = target;
    let sets = if changes.is_listed {
        let stored = found.pairs();
        let before = indexes::subset_of(address.table, |name| value_of(&stored, name));
        Sets::of_move(address, before, changes.in_subset)
    } else {
        Sets::of(address, id.as_bytes())
    };
    sets.check(context, key.bytes())?;
    set_fields(context, *key, changes.set.iter().map(|(field, value)| (field.name(), value.bytes())), found)?;
    if !changes.remove.is_empty() {
        let mut words = Words::with_capacity(1 + changes.remove.len());
        words.arg(*key);
        changes.remove.iter().for_each(|name| {
            words.bytes(name);
        });
        context.write(c"HDEL", &words)?;
    }
    match changes.expiry {
        Expiry::At(end) => context.expire_at(*key, end)?,
        Expiry::Never if found.expires_at.is_some() => {
            let mut words = Words::with_capacity(1);
            words.arg(*key);
            context.write(c"PERSIST", &words)?;
        }
        Expiry::Never | Expiry::Keep => {}
    }
    sets.add(context, id.as_bytes(), changes.in_subset)
}

/// Sets fields of a hash, of which `found` is what stands there, if there are any, and nothing else.
///
/// # Errors
/// The server's own.
pub fn set_fields<'v>(
    context: &Context<'_>,
    key: Arg<'_>,
    fields: impl IntoIterator<Item = (&'static str, &'v [u8])>,
    found: &Found,
) -> Outcome<()> {
    let mut words = Words::with_capacity(24);
    words.arg(key);
    for (name, value) in fields {
        words.name(name).bytes(value);
    }
    match words.len() {
        0 | 1 => Ok(()),
        // What happens to the life of a field is the command's own business.
        _ if found.loses_fields => context.write(c"HSET", &words).map(|_| ()),
        _ => context.set_fields(key, &words),
    }
}

/// Checks that a row can be deleted: it is a hash or nothing, and so are its index and its companion.
///
/// # Errors
/// WRONGTYPE for a foreign value at one of the keys.
pub fn check_deletable(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    context.peek(&address.row(id)).expect(KeyType::Hash)?;
    if let Some(companion) = companion_key(address, id) {
        context.peek(&companion).expect(KeyType::SortedSet)?;
        context.reach([address.row(id), companion])?;
    }
    Sets::of(address, id).check(context, &address.row(id))
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
    Sets::of(address, id).remove(context, id)?;
    Ok(deleted)
}

fn companion_key(address: &Address<'_>, id: &[u8]) -> Option<Vec<u8>> {
    let companion = schema::table(address.table.companion?)?;
    Some(crate::keyspace::key(address.namespace, companion.segment, id))
}
