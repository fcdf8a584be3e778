//! What writing a row means: which values are good, which writes are refused, what ends up in the hash.

use super::expiry;
use super::task;
use crate::errors::{Failure, Outcome};
use crate::schema::value::integer;
use crate::schema::{Field, Guard, Index, Kind, Origin, Table};

/// The values that a client gave, by the positions of the table's fields.
pub type Given<'a> = Vec<Option<&'a [u8]>>;

/// The fields of a row as it stands in the database, by name; other clients may have left any.
pub type Stored<'a> = [(&'a [u8], &'a [u8])];

/// What is fixed for one write.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The table.
    pub table: &'static Table,
    /// The id of the row.
    pub id: &'a [u8],
    /// The server's time in ms.
    pub now: i64,
    /// The bytes that a field may hold at most.
    pub max_field_bytes: usize,
}

/// The end of life that a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// None was named.
    Unsaid,
    /// So many ms from now.
    For(i64),
    /// At this time in ms since the epoch.
    Until(i64),
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// The client's own, unchanged.
    Given(&'a [u8]),
    /// One that the module made or took from the row as it was.
    Made(Vec<u8>),
}

impl Value<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Given(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}

/// What happens to the end of a row's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It stays as it is.
    Keep,
    /// It is set to this time in ms since the epoch.
    At(i64),
    /// The row lives on.
    Never,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Nothing: a rule of the table forbids it.
    Refused,
    /// This.
    Write(Changes<'a>),
}

/// The changes of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Fields to set.
    pub set: Vec<(&'static Field, Value<'a>)>,
    /// Fields to remove.
    pub remove: Vec<Vec<u8>>,
    /// What becomes of the TTL.
    pub expiry: Expiry,
    /// Whether the row belongs to the table's subset afterwards; None where the write does not say.
    pub in_subset: Option<bool>,
    /// Whether the row, which is there, counts as listed: then no set is written that has it as it should be. Asking
    /// the sets themselves would cost as much as writing them, and who takes a row out of one by hand is found by AUDIT.
    pub is_listed: bool,
}

/// Values by the names of their fields, sorted by the fields of the table.
#[must_use]
pub fn given<'a, const N: usize>(table: &Table, values: [(&str, Option<&'a [u8]>); N]) -> Given<'a> {
    let mut given: Given<'a> = vec![None; table.fields.len()];
    for (name, value) in values {
        if let Some(place) = table.position(name.as_bytes()).and_then(|position| given.get_mut(position)) {
            *place = value;
        }
    }
    given
}

/// The value of a field of a stored row.
#[must_use]
pub fn value_of<'s>(stored: &Stored<'s>, name: &str) -> Option<&'s [u8]> {
    stored.iter().find(|(field, _)| *field == name.as_bytes()).map(|(_, value)| *value)
}

/// The value of a field of a stored row, unless it is empty: clients without the module write an absent field so.
#[must_use]
pub fn present<'s>(stored: &Stored<'s>, name: &str) -> Option<&'s [u8]> {
    value_of(stored, name).filter(|value| !value.is_empty())
}

/// The fields of a row as they are after changes, in no order that matters.
#[must_use]
pub fn changed<'s>(stored: &Stored<'s>, changes: &'s Changes<'_>) -> Vec<(&'s [u8], &'s [u8])> {
    let is_set = |name: &[u8]| changes.set.iter().any(|(field, _)| field.name().as_bytes() == name);
    let is_gone = |name: &[u8]| changes.remove.iter().any(|gone| gone == name);
    let stays = stored.iter().copied().filter(|(name, _)| !is_set(name) && !is_gone(name));
    let set = changes.set.iter().map(|(field, value)| (field.name().as_bytes(), value.bytes()));
    let mut after = Vec::with_capacity(stored.len() + changes.set.len());
    after.extend(stays.chain(set));
    after
}

/// Checks that a value is not longer than a field may be.
///
/// # Errors
/// When it is.
pub fn check_size(table: &str, field: &str, value: &[u8], max_bytes: usize) -> Outcome<()> {
    if value.len() <= max_bytes {
        return Ok(());
    }
    let expected = format_args!("at most {max_bytes} bytes (miroir.max-field-bytes)").to_string();
    Err(Failure::field(table, field, expected, Some(value)))
}

/// Whether a stored hash is a row, and not a stub without the fields that make one.
#[must_use]
pub fn is_row(table: &Table, stored: &Stored<'_>) -> bool {
    !stored.is_empty() && table.row_marks().all(|field| value_of(stored, field.name()).is_some())
}

/// Plans the write of a whole row.
///
/// # Errors
/// For a value that the table does not accept.
pub fn put<'a>(
    circumstances: Circumstances<'a>,
    given: &Given<'a>,
    life: Life,
    stored: &Stored<'_>,
) -> Outcome<Plan<'a>> {
    let Circumstances { table, id, now, .. } = circumstances;
    let end = end_of_life(circumstances, given, life)?;
    let mut set = Vec::with_capacity(table.fields.len());
    for (field, value) in table.fields.iter().zip(given) {
        let value = value.filter(|value| !(value.is_empty() && may_be_absent(field)));
        if let Some(value) = value {
            check(circumstances, field, value)?;
        }
        let now_text = || Some(Value::Made(now.to_string().into_bytes()));
        let value = match field.origin {
            Origin::Key(part) => Some(Value::Made(table.part(id, part).to_vec())),
            Origin::Required => Some(required(table, field, value)?),
            Origin::Optional => value.map(Value::Given),
            Origin::Kept => value.map(Value::Given).or_else(|| kept(field, stored)),
            Origin::RequiredWhen(other, is) => {
                let decisive = table.position(other.as_bytes()).and_then(|at| given[at]);
                match (decisive == Some(is.as_bytes()), value) {
                    (true, value) => Some(required(table, field, value)?),
                    (false, None) => None,
                    (false, value) => return Err(only_when(table, field, other, is, value)),
                }
            }
            Origin::Default(default) => {
                Some(value.map_or_else(|| Value::Made(default.as_bytes().to_vec()), Value::Given))
            }
            Origin::Now | Origin::NowEachTime => value.map(Value::Given).or_else(now_text),
            Origin::NowOnce => kept(field, stored).or(value.map(Value::Given)).or_else(now_text),
            Origin::Expiry => end.map(|end| Value::Made(end.to_string().into_bytes())),
        };
        if let Some(value) = value {
            set.push((field, value));
        }
    }

    let next =
        |name: &str| set.iter().find(|(field, _)| field.name() == name).map(|(_, value)| value.bytes());
    if is_row(table, stored) && table.guards.iter().any(|guard| forbids(*guard, Write::Whole, stored, &next))
    {
        return Ok(Plan::Refused);
    }
    let in_subset = match table.index {
        Index::AllAnd(subset) => Some(next(subset.field) == Some(subset.value.as_bytes())),
        _ => None,
    };
    let remove = stored
        .iter()
        .filter(|(name, _)| !set.iter().any(|(field, _)| field.name().as_bytes() == *name))
        .map(|(name, _)| name.to_vec())
        .collect();
    Ok(Plan::Write(Changes {
        set,
        remove,
        expiry: end.map_or(Expiry::Never, Expiry::At),
        in_subset,
        is_listed: false,
    }))
}

/// What a row has in a field already, if it is a value that the field takes.
fn kept<'a>(field: &Field, stored: &Stored<'_>) -> Option<Value<'a>> {
    let value = value_of(stored, field.name()).filter(|value| field.kind.accepts(value));
    value.map(|value| Value::Made(value.to_vec()))
}

/// Plans the change of some fields of a row that is there, and whose TTL ends at `expires_at`, if ever.
///
/// # Errors
/// For a value that the table does not accept, and for a field that other commands manage.
pub fn patch<'a>(
    circumstances: Circumstances<'a>,
    given: &Given<'a>,
    stored: &Stored<'_>,
    expires_at: Option<i64>,
) -> Outcome<Plan<'a>> {
    let Circumstances { table, now, .. } = circumstances;
    check_patch(circumstances, given)?;
    let mut set = Vec::new();
    let mut remove = Vec::new();
    for (field, value) in table.fields.iter().zip(given) {
        match *value {
            None if field.origin == Origin::NowEachTime => {
                set.push((field, Value::Made(now.to_string().into_bytes())));
            }
            None => {}
            Some([]) => remove.push(field.name().as_bytes().to_vec()),
            Some(value) => set.push((field, Value::Given(value))),
        }
    }
    let expiry = patched_expiry(circumstances, given, &mut set, stored, expires_at)?;

    let next = |name: &str| {
        let set = set.iter().find(|(field, _)| field.name() == name).map(|(_, value)| value.bytes());
        set.or_else(|| value_of(stored, name).filter(|_| !remove.iter().any(|gone| gone == name.as_bytes())))
    };
    check_conditions(table, given, &next)?;
    let prolonged = table.expiry_field().and_then(|field| table.position(field.name().as_bytes()));
    if prolonged.is_some_and(|at| given[at].is_some()) && forbids_touch(table, stored) {
        return Ok(Plan::Refused);
    }
    if table.guards.iter().any(|guard| forbids(*guard, Write::Part, stored, &next)) {
        return Ok(Plan::Refused);
    }
    Ok(Plan::Write(Changes { set, remove, expiry, in_subset: None, is_listed: false }))
}

/// Checks the values of a patch by themselves, whether or not there is a row to put them into.
///
/// # Errors
/// For a value that the table does not accept, and for a field that other commands manage.
pub fn check_patch(circumstances: Circumstances<'_>, given: &Given<'_>) -> Outcome<()> {
    let table = circumstances.table;
    for (field, value) in table.fields.iter().zip(given) {
        let Some(value) = *value else { continue };
        if let Some(family) = field.managed_by {
            return Err(Failure::refused(format_args!(
                "field '{}' of table {}: expected a change by {family}, got one by MIROIR.PATCH",
                field.name(),
                table.name
            )));
        }
        if value.is_empty() && may_be_absent(field) {
            continue;
        }
        if value.is_empty() {
            return Err(Failure::field(table.name, field.name(), expected(field), Some(value)));
        }
        check(circumstances, field, value)?;
        if field.origin == Origin::Expiry {
            future(table, field, value, circumstances.now)?;
        }
    }
    Ok(())
}

/// Whether a rule of the table forbids to prolong the life of this row.
#[must_use]
pub fn forbids_touch(table: &Table, stored: &Stored<'_>) -> bool {
    table.guards.iter().any(|guard| match guard {
        Guard::Latch(field) => value_of(stored, field) == Some(b"1"),
        _ => false,
    })
}

/// The end of life that a PUT sets: what the client says, or the default of the table.
fn end_of_life(circumstances: Circumstances<'_>, given: &Given<'_>, life: Life) -> Outcome<Option<i64>> {
    let Circumstances { table, now, .. } = circumstances;
    let field = table.expiry_field();
    let written = field.and_then(|field| table.position(field.name().as_bytes())).and_then(|at| given[at]);
    let said = match life {
        Life::Unsaid => None,
        Life::For(life_ms) => {
            Some(expiry::deadline(now, life_ms).ok_or_else(|| Failure::too_far("PX", life_ms))?)
        }
        Life::Until(end) if end > now => Some(end),
        Life::Until(end) => {
            let expected = format_args!("a time in ms after now, {now}").to_string();
            return Err(Failure::argument("PXAT", expected, Some(end.to_string().as_bytes())));
        }
    };
    let written = match (field, written) {
        (Some(field), Some(value)) => Some(future(table, field, value, now)?),
        _ => None,
    };
    match (said, written) {
        (Some(said), Some(written)) if said != written => Err(Failure::field(
            table.name,
            field.map_or("", Field::name),
            "the same end of life as PX or PXAT, or none",
            Some(written.to_string().as_bytes()),
        )),
        (Some(end), _) | (None, Some(end)) => Ok(Some(end)),
        (None, None) => Ok(table.life_ms.and_then(|life_ms| expiry::deadline(now, life_ms))),
    }
}

fn patched_expiry<'a>(
    circumstances: Circumstances<'a>,
    given: &Given<'a>,
    set: &mut Vec<(&'static Field, Value<'a>)>,
    stored: &Stored<'_>,
    expires_at: Option<i64>,
) -> Outcome<Expiry> {
    let Circumstances { table, now, .. } = circumstances;
    let Some(field) = table.expiry_field() else { return Ok(Expiry::Keep) };
    if let Some(value) = table.position(field.name().as_bytes()).and_then(|at| given[at]) {
        return Ok(Expiry::At(future(table, field, value, now)?));
    }
    // The field and the key's TTL are one fact: whoever changed only one of them, a write brings them together
    // again, and a row that lost its TTL gets one.
    let end = expires_at.or_else(|| table.life_ms.and_then(|life_ms| expiry::deadline(now, life_ms)));
    let Some(end) = end else { return Ok(Expiry::Keep) };
    let text = end.to_string().into_bytes();
    if value_of(stored, field.name()) != Some(&text) {
        set.push((field, Value::Made(text)));
    }
    Ok(if expires_at == Some(end) { Expiry::Keep } else { Expiry::At(end) })
}

fn future(table: &Table, field: &Field, value: &[u8], now: i64) -> Outcome<i64> {
    integer(value).filter(|end| *end > now).ok_or_else(|| {
        Failure::field(table.name, field.name(), format_args!("a time in ms after now, {now}"), Some(value))
    })
}

/// Checks one value by itself.
fn check(circumstances: Circumstances<'_>, field: &'static Field, value: &[u8]) -> Outcome<()> {
    let Circumstances { table, id, max_field_bytes, .. } = circumstances;
    let fault = |expected: String| Err(Failure::field(table.name, field.name(), expected, Some(value)));
    check_size(table.name, field.name(), value, max_field_bytes)?;
    if let Origin::Key(part) = field.origin {
        let named = table.part(id, part);
        if value != named {
            return fault(format!("'{}', as the key says", String::from_utf8_lossy(named)));
        }
    }
    if !field.kind.accepts(value) {
        return fault(field.kind.expected());
    }
    Ok(())
}

fn required<'a>(table: &Table, field: &Field, value: Option<&'a [u8]>) -> Outcome<Value<'a>> {
    match value {
        Some(value) if !value.is_empty() => Ok(Value::Given(value)),
        value => Err(Failure::field(table.name, field.name(), expected(field), value)),
    }
}

fn expected(field: &Field) -> String {
    match field.kind {
        Kind::Text => "text, not empty".to_owned(),
        kind => kind.expected(),
    }
}

fn only_when(table: &Table, field: &Field, other: &str, is: &str, got: Option<&[u8]>) -> Failure {
    Failure::field(table.name, field.name(), format_args!("nothing unless {other} is {is}"), got)
}

/// Checks the fields that depend on another field, in the row as it would be, if either of them is given.
fn check_conditions<'v>(
    table: &Table,
    given: &Given<'_>,
    next: &impl Fn(&str) -> Option<&'v [u8]>,
) -> Outcome<()> {
    let is_given = |name: &str| table.position(name.as_bytes()).is_some_and(|at| given[at].is_some());
    for field in table.fields {
        if let Origin::RequiredWhen(other, is) = field.origin {
            if !is_given(field.name()) && !is_given(other) {
                continue;
            }
            let value = next(field.name()).filter(|value| !value.is_empty());
            match (next(other) == Some(is.as_bytes()), value) {
                (true, None) => return Err(Failure::field(table.name, field.name(), expected(field), None)),
                (false, Some(_)) => return Err(only_when(table, field, other, is, value)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn may_be_absent(field: &Field) -> bool {
    matches!(field.origin, Origin::Optional | Origin::Kept | Origin::RequiredWhen(..))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Whole,
    Part,
}

fn forbids<'v>(
    guard: Guard,
    write: Write,
    stored: &Stored<'_>,
    next: &impl Fn(&str) -> Option<&'v [u8]>,
) -> bool {
    match guard {
        Guard::NeverFalls(field) => {
            let number = |value: Option<&[u8]>| value.and_then(integer);
            match (number(value_of(stored, field)), number(next(field))) {
                (Some(before), Some(after)) => after < before,
                _ => false,
            }
        }
        Guard::TaskStatus(field) => match (value_of(stored, field), next(field)) {
            (Some(before), Some(after)) => !task::may_become(before, after),
            _ => false,
        },
        Guard::ReplaceWhile(field, value) => {
            write == Write::Whole && value_of(stored, field).is_some_and(|state| state != value.as_bytes())
        }
        Guard::Latch(field) => {
            value_of(stored, field) == Some(b"1") && (write == Write::Whole || next(field) != Some(b"1"))
        }
    }
}

#[cfg(test)]
mod tests;
