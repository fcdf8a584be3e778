//! MIROIR.IDEMP.*: of two requests with the same key one is new, wherever they arrive.

use super::arguments::Arguments;
use super::fence::guarded;
use super::rows::circumstances;
use super::syntax::{FENCE, KEY, MILLISECONDS};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::expiry;
use crate::rules::idempotency::{self, Standing, COMPLETED};
use crate::rules::row::{self, Changes, Expiry, Life, Plan, Value};
use crate::schema::Table;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::rows;

const TABLE: &str = "idempotency_cache";
const TASK_ID: Argument = Argument::new("task-id", Kind::String);

/// MIROIR.IDEMP.BEGIN.
pub const BEGIN: Command = Command {
    name: "MIROIR.IDEMP.BEGIN",
    entry: entry(|context, arguments| guarded(context, &BEGIN, arguments, begin)),
    summary: "Begins a request, unless one with the same key was begun before. An entry lives 24 hours by default; one that \
              is begun with LOCK frees its key when the lock runs out before it is completed.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[
        KEY,
        Argument::new("body-sha256", Kind::String),
        TASK_ID,
        MILLISECONDS.behind("PX").optional(),
        MILLISECONDS.behind("LOCK").optional(),
        FENCE,
    ],
    reply: "`[\"new\", task_id]`: it is begun. Nothing is written for `[\"replay\", stored id]` (the same body), \
            `[\"mismatch\", stored id]` (another body), `[\"inflight\", stored id, remaining ms]` (the same body, begun with \
            LOCK and not completed).",
};

fn begin(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let table = target.address.table;
    let hash = arguments.next("body_sha256")?.bytes();
    if let Some(field) = table.field(b"body_sha256").filter(|field| !field.kind.accepts(hash)) {
        return Err(Failure::argument("body_sha256", field.kind.expected(), Some(hash)));
    }
    let (task_id, _) = arguments.name("task_id")?;
    let (mut life, mut lock) = (None, None);
    while !arguments.is_empty() {
        if life.is_none() && arguments.take_word("PX") {
            life = Some(arguments.integer("PX", 1..=i64::MAX)?);
        } else if lock.is_none() && arguments.take_word("LOCK") {
            lock = Some(arguments.integer("LOCK", 1..=i64::MAX)?);
        } else {
            return arguments.unexpected("PX milliseconds|LOCK milliseconds|FENCE lease-key token");
        }
    }
    let circumstances = circumstances(context, &target);
    let now = circumstances.now;
    for (name, time) in [("PX", life), ("LOCK", lock)] {
        if let Some(time) = time.filter(|time| expiry::deadline(now, *time).is_none()) {
            return Err(Failure::too_far(name, time));
        }
    }

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if row::is_row(table, &stored) {
        let id = Reply::bulk(row::value_of(&stored, "miroir_task_id").unwrap_or_default());
        return Ok(Reply::Array(match idempotency::standing(&stored, hash) {
            Standing::Replay => vec![Reply::bulk("replay"), id],
            Standing::Mismatch => vec![Reply::bulk("mismatch"), id],
            Standing::InFlight => {
                // A lock without a TTL, as another client may have left it, has no end: -1, as PTTL says it.
                let remaining = found.expires_at.map_or(-1, |end| expiry::remaining(now, end).max(1));
                vec![Reply::bulk("inflight"), id, Reply::Integer(remaining)]
            }
        }));
    }
    let state = lock.map(|_| idempotency::in_flight(life));
    let values =
        [("body_sha256", Some(hash)), ("miroir_task_id", Some(task_id.bytes())), ("state", state.as_deref())];
    let given = row::given(table, values);
    let life = lock.or(life).map_or(Life::Unsaid, Life::For);
    if let Plan::Write(changes) = row::put(circumstances, &given, life, &stored)? {
        write::row(context, &target, &changes, &found)?;
    }
    Ok(Reply::Array(vec![Reply::bulk("new"), Reply::bulk(task_id.bytes())]))
}

/// MIROIR.IDEMP.COMPLETE.
pub const COMPLETE: Command = Command {
    name: "MIROIR.IDEMP.COMPLETE",
    entry: entry(|context, arguments| guarded(context, &COMPLETE, arguments, complete)),
    summary: "Completes a request: from here on its entry is replayed, and lives PX, else what BEGIN said, else 24 hours.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, TASK_ID, MILLISECONDS.behind("PX").optional(), FENCE],
    reply: "`1` completed, also when it was before; `0` the entry is another task's, `-2` no such entry.",
};

fn complete(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (task_id, _) = arguments.name("task_id")?;
    let life = if arguments.take_word("PX") { Some(arguments.integer("PX", 1..=i64::MAX)?) } else { None };
    arguments.end()?;
    let now = context.now_ms();
    let end = life.map(|life| expiry::deadline(now, life).ok_or_else(|| Failure::too_far("PX", life)));
    let end = end.transpose()?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    let table = target.address.table;
    if let Some(refusal) = refusal(table, &stored, task_id) {
        return Ok(refusal);
    }
    let of_begin = idempotency::life_in_flight(&stored)
        .and_then(|life| expiry::deadline(now, life.or(table.life_ms).unwrap_or_default()));
    // The field and the key's TTL are one fact; an entry that lost its TTL gets one.
    let end = end.or(of_begin).or(found.expires_at);
    let end = end.or_else(|| table.life_ms.and_then(|life| expiry::deadline(now, life)));
    let set = [
        table.field(b"state").map(|field| (field, Value::Given(COMPLETED.as_bytes()))),
        table.expiry_field().zip(end).map(|(field, end)| (field, Value::Made(end.to_string().into_bytes()))),
    ];
    let changes = Changes {
        set: set.into_iter().flatten().collect(),
        remove: Vec::new(),
        expiry: end.map_or(Expiry::Keep, Expiry::At),
        in_subset: None,
        is_listed: false,
    };
    write::row(context, &target, &changes, &found)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.IDEMP.ABORT.
pub const ABORT: Command = Command {
    name: "MIROIR.IDEMP.ABORT",
    entry: entry(|context, arguments| guarded(context, &ABORT, arguments, abort)),
    summary: "Frees the key of a request that came to nothing, so that it can be begun again.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[KEY, TASK_ID, FENCE],
    reply: "`1` freed, `0` the entry is another task's, `-2` no such entry.",
};

fn abort(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (task_id, _) = arguments.name("task_id")?;
    arguments.end()?;

    let found = rows::read(context, target.key)?;
    if let Some(refusal) = refusal(target.address.table, &found.pairs(), task_id) {
        return Ok(refusal);
    }
    rows::delete(context, &target.address, target.id.as_bytes())?;
    Ok(Reply::Integer(1))
}

/// The answer for an entry that is not there, or not that task's.
fn refusal(table: &Table, stored: &row::Stored<'_>, task_id: Arg<'_>) -> Option<Reply> {
    if !row::is_row(table, stored) {
        return Some(Reply::Integer(-2));
    }
    let is_theirs = row::value_of(stored, "miroir_task_id") != Some(task_id.bytes());
    is_theirs.then_some(Reply::Integer(0))
}
