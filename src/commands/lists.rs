//! MIROIR.LIST, COUNT and PRUNE: whole tables.

use std::collections::BTreeMap;

use super::arguments::Arguments;
use super::syntax::{COUNT as HOW_MANY, TABLE_KEY};
use super::target;
use crate::errors::{Failure, Outcome};
use crate::keyspace::{check_id, Address};
use crate::rules::page::{self, Page, Position};
use crate::rules::prune;
use crate::schema::{Field, Kind as FieldKind, Order, Table};
use crate::server::entry::entry;
use crate::server::register::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::{Arg, Context, Reply};
use crate::store::listing::{self, Filter, Row};
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
    complexity: "O(N log N), N the number of rows of the table.",
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
            after = Some(position(context, &address, &mut arguments)?);
        } else if limit.is_none() && arguments.take_word("LIMIT") {
            let offset = arguments.size("offset", 0..=i64::MAX)?;
            limit = Some((offset, arguments.size("count", 0..=LARGEST_PAGE)?));
        } else if !ids_only && arguments.take_word("IDS") {
            ids_only = true;
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }

    let order = address.table.order;
    let mut positions = Vec::new();
    listing::each(context, &address, &filter, |row| positions.push(position_of(order, row)))?;
    let (offset, count) = limit.unwrap_or((0, DEFAULT_PAGE));
    let ids = page::cut(order, positions, &Page { after, offset, count });
    if ids_only {
        return Ok(Reply::Array(ids.into_iter().map(Reply::Bulk).collect()));
    }
    ids.into_iter().map(|id| with_row(context, &address, id)).collect::<Outcome<Vec<_>>>().map(Reply::Array)
}

fn with_row(context: &Context<'_>, address: &Address<'_>, id: Vec<u8>) -> Outcome<Reply> {
    let fields = rows::read_named(context, &address.row(&id))?;
    let row =
        fields.pairs().into_iter().map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect();
    Ok(Reply::Array(vec![Reply::Bulk(id), Reply::Map(row)]))
}

fn position_of(order: Order, row: &Row<'_>) -> Position {
    Position { time: order.field().map_or(0, |field| row.time(field)), id: row.id.to_vec() }
}

/// Reads `id [AT time]`, behind AFTER.
fn position(
    context: &Context<'_>,
    address: &Address<'_>,
    arguments: &mut Arguments<'_>,
) -> Outcome<Position> {
    let id = arguments.next("AFTER")?.bytes();
    check_id(address.table, id).map_err(|expected| Failure::argument("AFTER", expected, Some(id)))?;
    let order = address.table.order;
    if arguments.take_word("AT") {
        if order == Order::Id {
            let expected = format_args!("none: {} is ordered by id", address.table.name).to_string();
            return Err(Failure::argument("AT", expected, Some(arguments.next("AT")?.bytes())));
        }
        let time = arguments.integer("AT", 0..=i64::MAX)?;
        return Ok(Position { time, id: id.to_vec() });
    }
    // In a table ordered by id the id alone is the position, whether or not the row is still there.
    if order == Order::Id {
        return Ok(Position { time: 0, id: id.to_vec() });
    }
    let row = listing::look(context, address, id).ok_or_else(|| {
        let field = order.field().unwrap_or_default();
        Failure::argument(
            "AFTER",
            format_args!("a row that is not gone, or AT and the {field} that it had"),
            Some(id),
        )
    })?;
    Ok(position_of(order, &row))
}

/// MIROIR.COUNT.
pub const COUNT: Command = Command {
    name: "MIROIR.COUNT",
    entry: entry(count),
    summary: "Counts rows of a table, all together or by the values of a field.",
    complexity: "O(N), N the number of rows of the table.",
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

    let Some(by) = by else {
        let mut rows = 0;
        listing::each(context, &address, &filter, |_| rows += 1)?;
        return Ok(Reply::count(rows));
    };
    let mut counts = BTreeMap::<Vec<u8>, usize>::new();
    listing::each(context, &address, &filter, |row| {
        *counts.entry(row.value(by).unwrap_or_default()).or_default() += 1;
    })?;
    Ok(Reply::Map(counts.into_iter().map(|(value, rows)| (Reply::Bulk(value), Reply::count(rows))).collect()))
}

/// MIROIR.PRUNE.
pub const PRUNE: Command = Command {
    name: "MIROIR.PRUNE",
    entry: entry(prune),
    summary: "Deletes the oldest rows that have come to an end: tasks by created_at, jobs by finished_at.",
    complexity: "O(N log N), N the number of rows of the table.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: false,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[
        TABLE_KEY,
        Argument::new("unix-time-milliseconds", Kind::Time).behind("BEFORE"),
        HOW_MANY.behind("LIMIT").optional(),
    ],
    reply: "The number of rows that were deleted.",
};

fn prune(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    const OPTIONS: &str = "BEFORE unix-time-milliseconds|LIMIT count";
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("table-key")?;
    let address = target::table(context, key)?;
    let rule = address
        .table
        .prune
        .ok_or_else(|| Failure::key(key.bytes(), "the table key of tasks|jobs, whose rows come to an end"))?;
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

    let mut dated = Vec::new();
    listing::each(context, &address, &Filter::default(), |row| {
        let value_of = |name: &'static str| row.value(address.table.field(name.as_bytes())?);
        if let Some(time) = prune::dated(&rule, value_of) {
            dated.push((time, row.id.to_vec()));
        }
    })?;
    let ids = prune::batch(dated, before, limit.unwrap_or(DEFAULT_PRUNE));
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
    let field = filterable("WHERE", table, arguments.next("WHERE")?.bytes())?;
    let value = arguments.next(field.name())?.bytes();
    // A word that the field can never hold is a slip of the pen, not a question.
    if matches!(field.kind, FieldKind::OneOf(_) | FieldKind::Flag) && !field.kind.accepts(value) {
        return Err(Failure::field(table.name, field.name(), field.kind.expected(), Some(value)));
    }
    filter.allow(field, value);
    Ok(())
}

fn filterable(option: &str, table: &'static Table, name: &[u8]) -> Outcome<&'static Field> {
    let known = table.filters.iter().find(|known| known.as_bytes() == name);
    known.and_then(|name| table.field(name.as_bytes())).ok_or_else(|| {
        let expected = match table.filters {
            [] => format!("no {option}: table {} has no field to select by", table.name),
            fields => format!("one of {} in table {}", fields.join("|"), table.name),
        };
        Failure::argument(option, expected, Some(name))
    })
}
