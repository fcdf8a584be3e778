//! The persisted sets that list the ids of a table.

use std::ffi::CStr;

use crate::errors::Outcome;
use crate::keyspace::Address;
use crate::schema::{Index, Table};
use crate::server::{Context, KeyType, Text, Words};

/// Whether a row belongs to the table's subset; None for a table without one. `value_of` reads a field of the row.
#[must_use]
pub fn subset_of<'v>(table: &Table, value_of: impl FnOnce(&str) -> Option<&'v [u8]>) -> Option<bool> {
    let Index::AllAnd(subset) = table.index else { return None };
    Some(value_of(subset.field) == Some(subset.value.as_bytes()))
}

/// The keys of the sets that list a row, or may list it.
pub fn keys(address: &Address<'_>, id: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    address.index_of(id).into_iter().chain(subset_key(address))
}

/// The sets that list a row, or may list it, by their names.
pub struct Sets {
    index: Option<Text>,
    subset: Option<Text>,
}

impl Sets {
    /// Those of a row. The index is None for a table without one, the subset as well.
    #[must_use]
    pub fn of(address: &Address<'_>, id: &[u8]) -> Self {
        let name = |key: Option<Vec<u8>>| key.and_then(|key| Text::new(&key));
        Self { index: name(address.index_of(id)), subset: name(subset_key(address)) }
    }

    /// Those that a change of a row concerns which is listed already: the subset, if the row enters or leaves it.
    #[must_use]
    pub fn of_move(address: &Address<'_>, before: Option<bool>, after: Option<bool>) -> Self {
        let key = if before == after { None } else { subset_key(address) };
        Self { index: None, subset: key.and_then(|key| Text::new(&key)) }
    }

    /// Checks that the keys hold sets or nothing, and can be written, as can the row.
    ///
    /// # Errors
    /// WRONGTYPE for a foreign value, TRYAGAIN for a key that is on another node.
    pub fn check(&self, context: &Context<'_>, row: &[u8]) -> Outcome<()> {
        let sets = || self.index.iter().chain(&self.subset);
        for set in sets() {
            context.peek_at(set.as_arg()).expect(KeyType::Set)?;
        }
        // With the row itself: of a single key a node to which the slot moves would say that it is simply not there.
        let row = sets().take(1).map(|_| row);
        context.reach(sets().map(Text::bytes).chain(row))
    }

    /// Lists an id, and in the subset, if `in_subset` says so, as well; or takes it out of the subset.
    ///
    /// # Errors
    /// The server's own.
    pub fn add(&self, context: &Context<'_>, id: &[u8], in_subset: Option<bool>) -> Outcome<()> {
        if let Some(index) = &self.index {
            write(context, c"SADD", index, id)?;
        }
        if let (Some(subset), Some(member)) = (&self.subset, in_subset) {
            write(context, if member { c"SADD" } else { c"SREM" }, subset, id)?;
        }
        Ok(())
    }

    /// Takes an id out of all sets.
    ///
    /// # Errors
    /// The server's own.
    pub fn remove(&self, context: &Context<'_>, id: &[u8]) -> Outcome<()> {
        self.index.iter().chain(&self.subset).try_for_each(|set| write(context, c"SREM", set, id))
    }
}

/// The key of the set of the rows that are in the table's subset; None for a table without one.
#[must_use]
pub fn subset_key(address: &Address<'_>) -> Option<Vec<u8>> {
    match address.table.index {
        Index::AllAnd(subset) => Some(address.row(subset.suffix.as_bytes())),
        _ => None,
    }
}

/// Adds a member to a set, or takes it out.
///
/// # Errors
/// The server's own.
pub fn change(context: &Context<'_>, command: &CStr, set: &[u8], id: &[u8]) -> Outcome<()> {
    Text::new(set).map_or(Ok(()), |set| write(context, command, &set, id))
}

fn write(context: &Context<'_>, command: &CStr, set: &Text, id: &[u8]) -> Outcome<()> {
    let mut words = Words::with_capacity(2);
    words.arg(set.as_arg()).bytes(id);
    context.write(command, &words).map(|_| ())
}
