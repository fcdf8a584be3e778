//! The rows of a table, for LIST, COUNT and PRUNE.
//!
//! Tables with an index set are read through it; of the others the keyspace itself is the only list.

use crate::errors::Outcome;
use crate::keyspace::{self, Address, Place};
use crate::schema::value::integer;
use crate::schema::{Field, Index, Origin, Table};
use crate::server::{Context, Key, KeyType, Words};

/// Conditions on fields: each must be met by one of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<(&'static Field, Vec<Vec<u8>>)>,
}

impl Filter {
    /// Adds a value that a field may have, beside those named before.
    pub fn allow(&mut self, field: &'static Field, value: &[u8]) {
        match self.conditions.iter_mut().find(|(known, _)| known.name == field.name) {
            Some((_, values)) => values.push(value.to_vec()),
            None => self.conditions.push((field, vec![value.to_vec()])),
        }
    }

    /// The values that a field may have, if it is restricted at all.
    #[must_use]
    pub fn values(&self, field: &str) -> Option<&[Vec<u8>]> {
        self.conditions.iter().find(|(known, _)| known.name() == field).map(|(_, values)| values.as_slice())
    }

    fn admits(&self, row: &Row<'_>) -> bool {
        self.conditions
            .iter()
            .all(|(field, values)| row.value(field).is_some_and(|value| values.contains(&value)))
    }
}

/// A row that is looked at, without being read whole.
pub struct Row<'a> {
    /// Its id.
    pub id: &'a [u8],
    table: &'static Table,
    key: Key<'a>,
}

impl Row<'_> {
    /// The value of a field. What the key says needs no field: rows of other clients may lack it.
    #[must_use]
    pub fn value(&self, field: &Field) -> Option<Vec<u8>> {
        match field.origin {
            Origin::Key(part) => Some(self.table.part(self.id, part).to_vec()),
            _ => self.key.field(field.name).map(|text| text.bytes().to_vec()),
        }
    }

    /// The time in a field; 0 where it has none.
    #[must_use]
    pub fn time(&self, field: &str) -> i64 {
        self.key.field_named(field.as_bytes()).and_then(|text| integer(text.bytes())).unwrap_or(0)
    }

    fn has_marks(&self) -> bool {
        self.key.key_type() == KeyType::Hash
            && self.table.row_marks().all(|field| self.key.field(field.name).is_some())
    }
}

/// Looks at one row; None where there is none, or only a stub.
#[must_use]
pub fn look<'a>(context: &'a Context<'_>, address: &Address<'_>, id: &'a [u8]) -> Option<Row<'a>> {
    let row = Row { id, table: address.table, key: context.peek(&address.row(id)) };
    row.has_marks().then_some(row)
}

/// Calls `visit` with each row of the table that the filter admits, in no order.
///
/// # Errors
/// WRONGTYPE for a foreign value at the key of an index.
pub fn each(
    context: &Context<'_>,
    address: &Address<'_>,
    filter: &Filter,
    mut visit: impl FnMut(&Row<'_>),
) -> Outcome<()> {
    let mut consider = |id: &[u8]| {
        if let Some(row) = look(context, address, id).filter(|row| filter.admits(row)) {
            visit(&row);
        }
    };
    for source in sources(context, address, filter) {
        match source {
            Source::Set(key) => {
                if !context.peek(&key).expect(KeyType::Set)? {
                    continue;
                }
                let mut words = Words::with_capacity(1);
                words.bytes(&key);
                context.read(c"SMEMBERS", &words)?.root().iter().for_each(|id| consider(id.bytes()));
            }
            Source::Keys(prefix) => context.each_key(&prefix, |key| {
                let found = keyspace::locate(key).filter(|found| found.table.name == address.table.name);
                if let Some(Address { place: Place::Row(id), .. }) = found {
                    consider(id);
                }
            }),
        }
    }
    Ok(())
}

enum Source {
    Set(Vec<u8>),
    Keys(Vec<u8>),
}

fn sources(context: &Context<'_>, address: &Address<'_>, filter: &Filter) -> Vec<Source> {
    match address.table.index {
        Index::None => vec![Source::Keys(address.row(b""))],
        Index::All | Index::AllAnd(_) => vec![Source::Set(address.row(b"_index"))],
        Index::ByFirstPart => {
            let prefix = address.row(b"_index:");
            let named = address.table.fields.first().and_then(|first| filter.values(first.name()));
            let mut sets = Vec::new();
            match named {
                Some(values) => {
                    let mut values = values.to_vec();
                    values.sort();
                    values.dedup();
                    sets.extend(values.iter().map(|value| [&prefix[..], value].concat()));
                }
                None => context.each_key(&prefix, |key| sets.push(key.to_vec())),
            }
            sets.into_iter().map(Source::Set).collect()
        }
    }
}
