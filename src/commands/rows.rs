//! MIROIR.PUT, PATCH, GET, DEL and TOUCH: rows of every table.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{FENCE, KEY, MILLISECONDS};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::expiry;
use crate::rules::row::{self, Changes, Circumstances, Expiry, Given, Life, Plan, Value};
use crate::schema::{self, Table};
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, KeyType, Reply, Words};
use crate::store::{rows, Target};

const FIELDS: Argument = Argument::new(
    "data",
    Kind::Block(&[Argument::new("field", Kind::String), Argument::new("value", Kind::String)]),
)
.repeated(Repeated::Plain);

/// MIROIR.PUT.
pub const PUT: Command = Command {
    name: "MIROIR.PUT",
    entry: entry(|context, arguments| {
        guarded(context, &PUT, arguments, put).inspect_err(|_| hide_what_seems_secret(context, arguments))
    }),
    summary: "Writes a whole row and its index entries.",
    complexity: "O(F), F the number of fields of the row.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        Argument::new("condition", Kind::OneOf(&[Argument::word("NX"), Argument::word("XX")])).optional(),
        Argument::new(
            "life",
            Kind::OneOf(&[
                MILLISECONDS.behind("PX"),
                Argument::new("unix-time-milliseconds", Kind::Time).behind("PXAT"),
            ]),
        )
        .optional(),
        FENCE,
        FIELDS,
    ],
    reply: "`1` created, `2` replaced, `0` refused: NX or XX is not met, a version or sequence would go backward, \
            a task would make an illegal transition, a job is no longer queued, an admin session is revoked.",
};

fn put(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::row_to_write(context, arguments.next("key")?)?;
    let table = target.address.table;
    hide_secrets(context, table, arguments.rest());
    let mut must_exist = None;
    let mut life = Life::Unsaid;
    loop {
        if must_exist.is_none() && arguments.take_word("NX") {
            must_exist = Some(false);
        } else if must_exist.is_none() && arguments.take_word("XX") {
            must_exist = Some(true);
        } else if life == Life::Unsaid && arguments.take_word("PX") {
            life = Life::For(arguments.integer("PX", 1..=i64::MAX)?);
        } else if life == Life::Unsaid && arguments.take_word("PXAT") {
            life = Life::Until(arguments.integer("PXAT", 1..=i64::MAX)?);
        } else {
            break;
        }
    }
    let given = fields(table, arguments.rest())?;

    let circumstances = circumstances(context, &target);
    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    let plan = row::put(circumstances, &given, life, &stored)?;
    let exists = row::is_row(table, &stored);
    match plan {
        Plan::Write(changes) if must_exist.is_none_or(|must| must == exists) => {
            write::row(context, &target, &changes, &found)?;
            Ok(Reply::Integer(if exists { 2 } else { 1 }))
        }
        _ => Ok(Reply::Integer(0)),
    }
}

/// MIROIR.PATCH.
pub const PATCH: Command = Command {
    name: "MIROIR.PATCH",
    entry: entry(|context, arguments| {
        guarded(context, &PATCH, arguments, patch).inspect_err(|_| hide_what_seems_secret(context, arguments))
    }),
    summary: "Changes some fields of a row. An empty value removes an optional field.",
    complexity: "O(F), F the number of fields of the row.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, FENCE, FIELDS],
    reply: "`1` changed, `0` refused: a version or sequence would go backward, a task would make an illegal \
            transition, a revocation would be taken back; `-2` no such row.",
};

fn patch(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::row_to_write(context, arguments.next("key")?)?;
    hide_secrets(context, target.address.table, arguments.rest());
    let given = fields(target.address.table, arguments.rest())?;

    let circumstances = circumstances(context, &target);
    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        row::check_patch(circumstances, &given)?;
        return Ok(Reply::Integer(-2));
    }
    let Plan::Write(changes) = row::patch(circumstances, &given, &stored, found.expires_at)? else {
        return Ok(Reply::Integer(0));
    };
    write::row(context, &target, &changes, &found)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.GET.
pub const GET: Command = Command {
    name: "MIROIR.GET",
    entry: entry(get),
    summary: "Reads a row, or some fields of it.",
    complexity: "O(F), F the number of fields read.",
    since: "0.1.0",
    access: Access::Read,
    fast: true,
    keys: Keys::First(KeyUse::Read),
    arguments: &[KEY, Argument::new("field", Kind::String).optional().repeated(Repeated::Plain)],
    reply:
        "A map of the row's fields; with fields an array of their values, nil for an absent one; nil when \
            there is no such row.",
};

fn get(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::row(arguments.next("key")?)?;
    let mut words = Words::with_capacity(1 + arguments.rest().len());
    words.arg(target.key);
    if arguments.is_empty() {
        let row = context.read_for_client(c"HGETALL", &words)?;
        return Ok(if row.is_empty_collection() { Reply::Nil } else { Reply::Forward(row) });
    }
    if !context.open(target.key).expect(KeyType::Hash)? {
        return Ok(Reply::Nil);
    }
    arguments.rest().iter().for_each(|field| {
        words.arg(*field);
    });
    Ok(Reply::Forward(context.read_for_client(c"HMGET", &words)?))
}

/// MIROIR.DEL.
pub const DEL: Command = Command {
    name: "MIROIR.DEL",
    entry: entry(|context, arguments| guarded(context, &DEL, arguments, del)),
    summary: "Deletes rows with their index entries; a canary with its runs.",
    complexity: "O(N), N the number of fields and runs deleted.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: false,
    keys: Keys::All(KeyUse::Delete),
    arguments: &[KEY.repeated(Repeated::Plain), FENCE],
    reply: "The number of rows that were deleted.",
};

fn del(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let targets =
        arguments.iter().map(|key| target::row_to_write(context, *key)).collect::<Outcome<Vec<_>>>()?;
    for target in &targets {
        rows::check_deletable(context, &target.address, target.id.as_bytes())?;
    }
    let mut deleted = 0;
    for target in &targets {
        deleted += i64::from(rows::delete(context, &target.address, target.id.as_bytes())?);
    }
    Ok(Reply::Integer(deleted))
}

/// MIROIR.TOUCH.
pub const TOUCH: Command = Command {
    name: "MIROIR.TOUCH",
    entry: entry(|context, arguments| guarded(context, &TOUCH, arguments, touch)),
    summary: "Prolongs the life of a row in a table whose rows expire.",
    complexity: "O(F), F the number of fields of the row.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, MILLISECONDS.behind("PX").optional(), FENCE],
    reply: "`1` prolonged, `0` refused: the admin session is revoked; `-2` no such row.",
};

fn touch(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::row_to_write(context, arguments.next("key")?)?;
    let table = target.address.table;
    let (Some(default), Some(field)) = (table.life_ms, table.expiry_field()) else {
        let expected = "a row of sessions|idempotency_cache|admin_sessions, whose rows expire";
        return Err(Failure::key(target.key.bytes(), expected));
    };
    let life = if arguments.take_word("PX") { arguments.integer("PX", 1..=i64::MAX)? } else { default };
    arguments.end()?;
    let end = expiry::deadline(context.now_ms(), life).ok_or_else(|| Failure::too_far("PX", life))?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    if row::forbids_touch(table, &stored) {
        return Ok(Reply::Integer(0));
    }
    let changes = Changes {
        set: vec![(field, Value::Made(end.to_string().into_bytes()))],
        remove: Vec::new(),
        expiry: Expiry::At(end),
        in_subset: None,
        is_listed: false,
    };
    write::row(context, &target, &changes, &found)?;
    Ok(Reply::Integer(1))
}

/// What is fixed for a write of a row by this command.
pub fn circumstances<'a>(context: &Context<'_>, target: &Target<'a>) -> Circumstances<'a> {
    Circumstances {
        table: target.address.table,
        id: target.id.as_bytes(),
        now: context.now_ms(),
        max_field_bytes: max_field_bytes(),
    }
}

/// Keeps the values of secret fields out of what the server shows of the call.
fn hide_secrets(context: &Context<'_>, table: &Table, words: &[Arg<'_>]) {
    if table.fields.iter().any(|field| field.is_secret) {
        hide_what_seems_secret(context, words);
    }
}

/// The same for a call that was refused, perhaps for a name that is not quite right.
pub fn hide_what_seems_secret(context: &Context<'_>, words: &[Arg<'_>]) {
    for pair in words.windows(2).filter(|pair| schema::seems_secret(pair[0].bytes())) {
        context.hide(pair[1]);
    }
}

/// Sorts pairs of names and values by the fields of the table.
fn fields<'a>(table: &'static Table, pairs: &[Arg<'a>]) -> Outcome<Given<'a>> {
    if pairs.is_empty() {
        return Err(Failure::argument("field", "a field and its value", None));
    }
    let mut given: Given<'a> = vec![None; table.fields.len()];
    for pair in pairs.chunks(2) {
        let name = pair[0].bytes();
        let position = table.position(name).ok_or_else(|| no_field(table, name))?;
        let shown = table.fields[position].name();
        let [_, value] = pair else {
            return Err(Failure::field(table.name, shown, "a value behind the name", None));
        };
        if given[position].replace(value.bytes()).is_some() {
            return Err(Failure::field(table.name, shown, "one value", Some(value.bytes())));
        }
    }
    Ok(given)
}

/// The error for a name that is none of the table's fields; an option that comes too late or twice is told apart.
fn no_field(table: &Table, name: &[u8]) -> Failure {
    const OPTIONS: &[&str] = &["NX", "XX", "PX", "PXAT", "FENCE"];
    if OPTIONS.iter().any(|option| name.eq_ignore_ascii_case(option.as_bytes())) {
        let expected =
            "a field; of options at most one of NX|XX, one of PX|PXAT and one FENCE, before the fields";
        return Failure::argument("option", expected, Some(name));
    }
    Failure::unknown_field(table.name, &table.field_names(), name)
}
