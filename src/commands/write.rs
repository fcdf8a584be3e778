//! Rows that commands write: the keys through the store, and what the catalog knows of them at the same time, without a
//! second look at the row.

use crate::catalog::facts::{Facts, Gathering};
use crate::catalog::follow;
use crate::errors::Outcome;
use crate::rules::row::{self, Changes, Expiry};
use crate::server::Context;
use crate::store::rows::{self, Found};
use crate::store::Target;

/// Writes changes of a row, of which `found` is what stands there, and its index entries.
///
/// # Errors
/// WRONGTYPE, before anything is written, for a foreign value at the key of an index.
pub fn row(context: &Context<'_>, target: &Target<'_>, changes: &Changes<'_>, found: &Found) -> Outcome<()> {
    let expires_at = match changes.expiry {
        Expiry::At(end) => Some(end),
        Expiry::Keep => found.expires_at,
        Expiry::Never => None,
    };
    with_catalog(context, target, found, || {
        rows::write(context, target, changes, found)?;
        Ok(((), facts(target, row::changed(&found.pairs(), changes), expires_at)))
    })
}

/// Sets fields of a row, of which `found` is what stands there, and nothing else.
///
/// # Errors
/// The server's own.
pub fn fields(
    context: &Context<'_>,
    target: &Target<'_>,
    found: &Found,
    fields: &[(&'static str, &[u8])],
) -> Outcome<()> {
    if fields.is_empty() {
        return Ok(());
    }
    with_catalog(context, target, found, || {
        rows::set_fields(context, target.key, fields.iter().copied(), found)?;
        let stored = found.pairs();
        let is_set = |name: &[u8]| fields.iter().any(|(field, _)| field.as_bytes() == name);
        let stays = stored.into_iter().filter(|(name, _)| !is_set(name));
        let set = fields.iter().map(|(name, value)| (name.as_bytes(), *value));
        Ok(((), facts(target, stays.chain(set), found.expires_at)))
    })
}

fn facts<'v>(
    target: &Target<'_>,
    fields: impl IntoIterator<Item = (&'v [u8], &'v [u8])>,
    expires_at: Option<i64>,
) -> Option<Facts> {
    let mut gathering = Gathering::new(target.address.table, target.id.as_bytes(), target.key.bytes().len());
    fields.into_iter().for_each(|(name, value)| gathering.add(name, value));
    gathering.finish(expires_at)
}

fn with_catalog(
    context: &Context<'_>,
    target: &Target<'_>,
    found: &Found,
    write: impl FnOnce() -> Outcome<((), Option<Facts>)>,
) -> Outcome<()> {
    if found.loses_fields {
        // When fields go by themselves only the server knows: the catalog looks at the row as after any other change.
        return write().map(|_| ());
    }
    follow::written(context, target, &[], write)
}
