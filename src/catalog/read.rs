//! A look at one key, for the catalog.

use super::facts::{Facts, Gathering};
use crate::keyspace::{Address, Place};
use crate::schema::{Shape, Table};
use crate::server::{Context, Key, KeyType};

/// The id under which the catalog keeps what is at a key; None for a key that is no row and no structure by itself.
#[must_use]
pub fn id_of<'k>(address: &Address<'k>) -> Option<&'k [u8]> {
    let is_single = address.table.shape == Shape::Single;
    match address.place {
        Place::Row(id) if !is_single => Some(id),
        // One structure for the whole namespace has no id.
        Place::Table if is_single => Some(b""),
        _ => None,
    }
}

/// What is at a key of the selected database. None where nothing is, or a foreign value, or a stub. O(fields) for a
/// hash; the elements of lists and sorted sets are not counted.
#[must_use]
pub fn facts(context: &Context<'_>, table: &'static Table, id: &[u8], name: &[u8]) -> Option<Facts> {
    let key = context.inspect(name);
    let expires_at = key.expires_at();
    match (table.shape, key.key_type()) {
        (Shape::Row | Shape::Hash | Shape::StringOrHash, KeyType::Hash) => {
            let is_huge = table.shape == Shape::Row && key.len() > MANY_FIELDS;
            let gathering =
                if is_huge { of_huge_hash(table, id, name, &key) } else { of_hash(table, id, name, &key) };
            let facts = Facts { counted: !is_huge, ..gathering.finish(expires_at)? };
            Some(Facts { true_until: key.first_field_expires_at(), ..facts })
        }
        (Shape::String | Shape::StringOrHash, KeyType::String) => {
            Some(Facts::of_structure(name.len(), Some(key.len() as u64), expires_at))
        }
        (Shape::List, KeyType::List) | (Shape::SortedSet | Shape::Single, KeyType::SortedSet) => {
            Some(Facts::of_structure(name.len(), None, expires_at))
        }
        _ => None,
    }
}

/// From how many fields on a row is not read as a whole each time that one of them changes. No table has as many: this is
/// some client's mistake, which must not slow the server down.
const MANY_FIELDS: usize = 1000;

fn of_huge_hash<'i>(table: &'static Table, id: &'i [u8], name: &[u8], key: &Key<'_>) -> Gathering<'i> {
    let mut gathering = Gathering::new(table, id, name.len());
    for field in table.fields {
        if let Some(value) = key.field(field.name) {
            gathering.add(field.name.to_bytes(), value.bytes());
        }
    }
    gathering
}

fn of_hash<'i>(table: &'static Table, id: &'i [u8], name: &[u8], key: &Key<'_>) -> Gathering<'i> {
    let mut gathering = Gathering::new(table, id, name.len());
    key.each_field(|field, value| gathering.add(field, value));
    gathering
}
