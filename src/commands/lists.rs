//! MIROIR.LIST, COUNT and PRUNE: whole tables.

use std::collections::BTreeMap;

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{COUNT as HOW_MANY, FENCE, TABLE_KEY};
use super::target;
use crate::catalog::lists::Position;
use crate::catalog::select::{Filter, Selection};
use crate::catalog::table::Rows;
use crate::catalog::{self, rebuild};
use crate::errors::{Failure, Outcome};
use crate::keyspace::Address;
use crate::schema::{Kind as FieldKind, Order, Table};
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::rows;

/// How many rows a page has by default.
const DEFAULT_PAGE: usize = 20;
/// How many rows a page may have.
const LARGEST_PAGE: i64 = 10_000;
/// How many rows PRUNE deletes by default.
const DEFAULT_PRUNE: usize = 1000;

const WHERE: Argument = Argument::new(
    "filter",
    Kind::Block(&[Argument::new("field", Kind::String), Argument::new("value", Kind::String)]),
)
.behind("WHERE")
.optional()
.repeated(Repeated::WithToken);

/// MIROIR.LIST.
pub const LIST: Command = Command {
    name: "MIROIR.LIST",
    entry: entry(list),
    summary: "Lists rows of a table, a page at a time.",
    complexity: "O(log N + M), N the number of rows of the table and M those of the page; with several values of a field \
                 also their number.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[
        TABLE_KEY,
        WHERE,
        Argument::new(
            "after",
            Kind::Block(&[
                Argument::new("id", Kind::String),
                Argument::new("created-at", Kind::Time).behind("AT").optional(),
            ]),
        )
        .behind("AFTER")
        .optional(),
        Argument::new("limit", Kind::Block(&[Argument::new("offset", Kind::Integer), HOW_MANY]))
            .behind("LIMIT")
            .optional(),
        Argument::word("IDS").optional(),
    ],
    reply:
        "An array of `[id, map]`, of ids with IDS. Tasks and admin sessions newest first, jobs oldest first, \
            others by id; ties by id.",
};

fn list(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    const OPTIONS: &str = "WHERE field value|AFTER id [AT created_at]|LIMIT offset count|IDS";
    let mut arguments = Arguments::new(arguments);
    let address = target::table(context, arguments.next("table-key")?)?;
    let mut filter = Filter::default();
    let mut after = None;
    let mut limit = None;
    let mut ids_only = false;
    while !arguments.is_empty() {
        if arguments.take_word("WHERE") {
            condition(address.table, &mut arguments, &mut filter)?;
        } else if after.is_none() && arguments.take_word("AFTER") {
            after = Some(position(&address, &mut arguments)?);
        } else if limit.is_none() && arguments.take_word("LIMIT") {
            let offset = arguments.size("offset", 0..=i64::MAX)?;
            limit = Some((offset, arguments.size("count", 0..=LARGEST_PAGE)?));
        } else if !ids_only && arguments.take_word("IDS") {
            ids_only = true;
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }

    rebuild::ready(context, Some(address.namespace))?;
    let now = context.now_ms();
    let (offset, count) = limit.unwrap_or((0, DEFAULT_PAGE));
    let ids = with_rows(context, &address, |rows| -> Outcome<Vec<Vec<u8>>> {
        let gone = |after: &After<'_>| gone(&address, after.id);
        let Some(rows) = rows else {
            // Where there are no rows, none can have been the last of a page.
            return match &after {
                Some(after @ After { at: None, .. }) => Err(gone(after)),
                _ => Ok(Vec::new()),
            };
        };
        let after = match &after {
            None => None,
            Some(After { id, at: Some(order) }) => Some(Position { order: *order, id }),
            Some(after) => Some(rows.position(after.id, now).ok_or_else(|| gone(after))?),
        };
        let slots = Selection::new(rows, &filter, now).page(after, offset, count);
        Ok(slots.into_iter().map(|slot| rows.slab().id(slot).to_vec()).collect())
    })?;
    if ids_only {
        return Ok(Reply::Array(ids.into_iter().map(Reply::Bulk).collect()));
    }
    let rows = ids.into_iter().filter_map(|id| with_fields(context, &address, id).transpose());
    rows.collect::<Outcome<Vec<_>>>().map(Reply::Array)
}

/// Looks at the rows of a table, if it has any.
fn with_rows<T>(context: &Context<'_>, address: &Address<'_>, look: impl FnOnce(Option<&Rows>) -> T) -> T {
    let database = context.database();
    catalog::with(|catalog| look(catalog.rows(database, address.namespace, address.table)))
}

/// A row as LIST answers it; None if its time was up in this very moment.
fn with_fields(context: &Context<'_>, address: &Address<'_>, id: Vec<u8>) -> Outcome<Option<Reply>> {
    let fields = rows::read_named(context, &address.row(&id))?.into_fields();
    Ok((!fields.is_empty()).then(|| Reply::Array(vec![Reply::Bulk(id), Reply::Fields(fields)])))
}

/// The position behind which a page begins.
struct After<'a> {
    id: &'a [u8],
    /// What the row is, or was, ordered by; None where the row itself has to say it.
    at: Option<i64>,
}

/// Reads `id [AT time]`, behind AFTER.
fn position<'a>(address: &Address<'_>, arguments: &mut Arguments<'a>) -> Outcome<After<'a>> {
    // Any bytes: a row that another client wrote is listed under whatever id it has.
    let id = arguments.next("AFTER")?.bytes();
    let order = address.table.order;
    if arguments.take_word("AT") {
        if order == Order::Id {
            let expected = format_args!("none: {} is ordered by id", address.table.name).to_string();
            return Err(Failure::argument("AT", expected, Some(arguments.next("AT")?.bytes())));
        }
        return Ok(After { id, at: Some(arguments.integer("AT", i64::MIN..=i64::MAX)?) });
    }
    // In a table ordered by id the id alone is the position, whether or not the row is still there.
    Ok(After { id, at: (order == Order::Id).then_some(0) })
}

fn gone(address: &Address<'_>, id: &[u8]) -> Failure {
    let field = address.table.order.field().unwrap_or_default();
    let expected = format_args!("a row that is not gone, or AT and the {field} that it had").to_string();
    Failure::argument("AFTER", expected, Some(id))
}

/// MIROIR.COUNT.
pub const COUNT: Command = Command {
    name: "MIROIR.COUNT",
    entry: entry(count),
    summary: "Counts rows of a table, all together or by the values of a field.",
    complexity: "O(1) for one value a field; O(V) for V values, of WHERE or of BY.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[TABLE_KEY, WHERE, Argument::new("field", Kind::String).behind("BY").optional()],
    reply:
        "An integer; with BY a map of values and their counts, the empty value for rows without the field.",
};

fn count(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let address = target::table(context, arguments.next("table-key")?)?;
    let mut filter = Filter::default();
    let mut by = None;
    while !arguments.is_empty() {
        if arguments.take_word("WHERE") {
            condition(address.table, &mut arguments, &mut filter)?;
        } else if by.is_none() && arguments.take_word("BY") {
            by = Some(filterable("BY", address.table, arguments.next("BY")?.bytes())?);
        } else {
            return arguments.unexpected("WHERE field value|BY field");
        }
    }

    rebuild::ready(context, Some(address.namespace))?;
    let now = context.now_ms();
    with_rows(context, &address, |rows| {
        let Some(rows) = rows else {
            return Ok(if by.is_some() { Reply::Map(Vec::new()) } else { Reply::Integer(0) });
        };
        let selection = Selection::new(rows, &filter, now);
        let total = selection.count();
        let Some(by) = by else { return Ok(Reply::count(total)) };
        let mut counts: BTreeMap<&[u8], usize> = selection.count_by(by).into_iter().collect();
        // Rows without the field count as those with the empty value.
        let without = total - counts.values().sum::<usize>();
        *counts.entry(b"").or_default() += without;
        let counts = counts.into_iter().filter(|(_, rows)| *rows > 0);
        Ok(Reply::Map(counts.map(|(value, rows)| (Reply::bulk(value), Reply::count(rows))).collect()))
    })
}

/// MIROIR.PRUNE.
pub const PRUNE: Command = Command {
    name: "MIROIR.PRUNE",
    entry: entry(|context, arguments| guarded(context, &PRUNE, arguments, prune)),
    summary: "Deletes the oldest rows that have come to an end: tasks by created_at, jobs by finished_at.",
    complexity: "O(M log N), N the number of rows of the table and M those deleted.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: false,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[
        TABLE_KEY,
        Argument::new("unix-time-milliseconds", Kind::Time).behind("BEFORE"),
        HOW_MANY.behind("LIMIT").optional(),
        FENCE,
    ],
    reply: "The number of rows that were deleted.",
};

fn prune(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    const OPTIONS: &str = "BEFORE unix-time-milliseconds|LIMIT count|FENCE lease-key token";
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("table-key")?;
    let address = target::table(context, key)?;
    if address.table.prune.is_none() {
        return Err(Failure::key(key.bytes(), "the table key of tasks|jobs, whose rows come to an end"));
    }
    let mut before = None;
    let mut limit = None;
    while !arguments.is_empty() {
        if before.is_none() && arguments.take_word("BEFORE") {
            before = Some(arguments.integer("BEFORE", 0..=i64::MAX)?);
        } else if limit.is_none() && arguments.take_word("LIMIT") {
            limit = Some(arguments.size("LIMIT", 1..=i64::MAX)?);
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }
    let before = before.ok_or_else(|| Failure::argument("BEFORE", "a time in ms", None))?;

    rebuild::ready(context, Some(address.namespace))?;
    let now = context.now_ms();
    let limit = limit.unwrap_or(DEFAULT_PRUNE);
    let ids = with_rows(context, &address, |rows| {
        rows.map_or_else(Vec::new, |rows| rows.ended_before(before, limit, now))
    });
    for id in &ids {
        rows::check_deletable(context, &address, id)?;
    }
    for id in &ids {
        rows::delete(context, &address, id)?;
    }
    Ok(Reply::count(ids.len()))
}

/// Reads `field value`, behind WHERE.
fn condition(table: &'static Table, arguments: &mut Arguments<'_>, filter: &mut Filter) -> Outcome<()> {
    let filter_position = filterable("WHERE", table, arguments.next("WHERE")?.bytes())?;
    let name = table.filters[filter_position];
    let value = arguments.next(name)?.bytes();
    let kind = table.field(name.as_bytes()).map_or(FieldKind::Text, |field| field.kind);
    // A word that the field can never hold is a slip of the pen, not a question.
    if matches!(kind, FieldKind::OneOf(_) | FieldKind::Flag) && !kind.accepts(value) {
        return Err(Failure::field(table.name, name, kind.expected(), Some(value)));
    }
    filter.allow(filter_position, value);
    Ok(())
}

/// The position of a field among the table's filters.
fn filterable(option: &str, table: &'static Table, name: &[u8]) -> Outcome<usize> {
    table.filters.iter().position(|known| known.as_bytes() == name).ok_or_else(|| {
        let expected = match table.filters {
            [] => format!("no {option}: table {} has no field to select by", table.name),
            fields => format!("one of {} in table {}", fields.join("|"), table.name),
        };
        Failure::argument(option, expected, Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::TABLES;
    use crate::server::string::pretend;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_condition_takes_a_field_and_a_value_of_its_kind_or_errs(
            which in 0..TABLES.len(), name in any::<prop::sample::Index>(), value: Vec<u8>, strange: Option<Vec<u8>>,
            known in any::<prop::sample::Index>()
        ) {
            let table = &TABLES[which];
            let names: Vec<&str> = TABLES.iter().flat_map(|table| table.filters).copied().collect();
            let name = strange.unwrap_or_else(|| name.get(&names).as_bytes().to_vec());
            let field = table.field(&name);
            // Any value, or a good one where only some are.
            let value = match field.map(|field| field.kind) {
                Some(FieldKind::OneOf(words)) if value.len() % 2 == 0 => known.get(words).as_bytes().to_vec(),
                Some(FieldKind::Flag) if value.len() % 2 == 0 => b"1".to_vec(),
                _ => value,
            };
            let is_closed = |kind| matches!(kind, FieldKind::OneOf(_) | FieldKind::Flag);
            let fits = field.is_none_or(|field| !is_closed(field.kind) || field.kind.accepts(&value));
            let is_filter = table.filters.iter().any(|filter| filter.as_bytes() == name);
            pretend(&[name.clone(), value], |all| {
                for count in 0..=2 {
                    let mut arguments = Arguments::new(&all[..count]);
                    let taken = condition(table, &mut arguments, &mut Filter::default());
                    prop_assert_eq!(taken.is_ok(), count == 2 && is_filter && fits, "{:?}", taken);
                    prop_assert!(taken.is_err() || arguments.is_empty());
                }
                Ok(())
            })?;
            let by = filterable("BY", table, &name);
            prop_assert_eq!(by.is_ok(), is_filter);
            if let Ok(position) = by {
                prop_assert_eq!(table.filters[position].as_bytes(), name);
            }
        }
    }
}
