//! MIROIR.TASK.*: the life of a task.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{FENCE, KEY};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::{row, task};
use crate::schema::json::{self, Entries, Form};
use crate::schema::tables::TASK_STATUSES;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::rows;

const TABLE: &str = "tasks";

/// MIROIR.TASK.STATUS.
pub const STATUS: Command = Command {
    name: "MIROIR.TASK.STATUS",
    entry: entry(|context, arguments| guarded(context, &STATUS, arguments, status)),
    summary: "Moves a task to a status and dates the move.",
    complexity: "O(F), F the number of fields of the task.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        Argument::new("status", Kind::String),
        Argument::new("text", Kind::String).behind("ERROR").optional(),
        FENCE,
    ],
    reply:
        "`1` the task is in that status, `0` refused: it would be an illegal transition; `-2` no such task.",
};

fn status(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let status = arguments.one_of("status", TASK_STATUSES)?;
    let error =
        if arguments.take_word("ERROR") { Some(arguments.bytes("ERROR", max_field_bytes())?) } else { None };
    arguments.end()?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    let value = |name: &str| row::present(&stored, name);
    let before = value("status").unwrap_or(TASK_STATUSES[0].as_bytes());
    if !task::may_become(before, status.as_bytes()) {
        return Ok(Reply::Integer(0));
    }
    let now = context.now_ms().to_string();
    let mut changes = Vec::with_capacity(3);
    if value("status") != Some(status.as_bytes()) {
        changes.push(("status", status.as_bytes()));
    }
    if let Some(field) = task::dated_by(status.as_bytes()).filter(|field| value(field).is_none()) {
        changes.push((field, now.as_bytes()));
    }
    // Saying again what is so already does not rewrite history.
    let is_news = changes.first().is_some_and(|(field, _)| *field == "status") || value("error").is_none();
    if let Some(error) = error.filter(|error| !error.is_empty() && is_news) {
        changes.push(("error", error));
    }
    write::fields(context, &target, &found, &changes)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.TASK.NODE.
pub const NODE: Command = Command {
    name: "MIROIR.TASK.NODE",
    entry: entry(|context, arguments| guarded(context, &NODE, arguments, node)),
    summary: "Sets one node's entry in node_tasks, in node_errors, or in both.",
    complexity: "O(F + N), F the number of fields of the task, N the number of its nodes.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        Argument::new("node-id", Kind::String),
        Argument::new("uid", Kind::Integer).behind("UID").optional(),
        Argument::new("text", Kind::String).behind("ERROR").optional(),
        FENCE,
    ],
    reply: "`1` set, `-2` no such task.",
};

fn node(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (_, node_id) = arguments.name("node_id")?;
    let (mut uid, mut error) = (None, None);
    while !arguments.is_empty() {
        if uid.is_none() && arguments.take_word("UID") {
            uid = Some(arguments.integer("UID", 0..=i64::MAX)?);
        } else if error.is_none() && arguments.take_word("ERROR") {
            error = Some(arguments.text("ERROR", max_field_bytes())?);
        } else {
            return arguments.unexpected("UID n|ERROR text|FENCE lease-key token");
        }
    }
    if uid.is_none() && error.is_none() {
        return Err(Failure::argument("option", "UID n or ERROR text", None));
    }

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    let node_tasks = uid
        .map(|uid| with_entry(&stored, "node_tasks", Form::Uints, node_id, uid.unsigned_abs()))
        .transpose()?;
    let node_errors = error
        .map(|text| with_entry(&stored, "node_errors", Form::Texts, node_id, text.to_owned()))
        .transpose()?;
    let changes: Vec<_> = [("node_tasks", &node_tasks), ("node_errors", &node_errors)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    write::fields(context, &target, &found, &changes)?;
    Ok(Reply::Integer(1))
}

/// The JSON object in a field of the task, with one entry set.
fn with_entry<V>(
    stored: &row::Stored<'_>,
    field: &str,
    form: Form,
    node_id: &str,
    value: V,
) -> Outcome<Vec<u8>>
where
    V: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let text = row::present(stored, field).unwrap_or(b"{}");
    let mut entries: Entries<V> =
        json::read(text).ok_or_else(|| Failure::stored(TABLE, field, form.expected(), Some(text)))?;
    entries.set(node_id, value);
    let text = json::write(&entries);
    row::check_size(TABLE, field, &text, max_field_bytes())?;
    Ok(text)
}
