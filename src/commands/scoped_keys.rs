//! MIROIR.SCOPEDKEY.*: keys of the search UI are rotated; the one before goes when every pod has seen the new one.

use super::arguments::Arguments;
use super::fence::guarded;
use super::rows::{circumstances, hide_what_seems_secret};
use super::syntax::{FENCE, KEY, MILLISECONDS};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::expiry;
use crate::rules::row::{self, Changes, Expiry, Life, Plan};
use crate::schema;
use crate::schema::value::integer;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::{observations, pods, rows, Target};

const TABLE: &str = "search_ui_scoped_key";
/// How long an observation lives by default: 60 s.
const OBSERVATION_MS: i64 = 60_000;
/// How many pods one call can name.
const MOST_PODS: i64 = 10_000;

const GENERATION: Argument = Argument::new("generation", Kind::Integer);
const POD: Argument = Argument::new("pod", Kind::String);

/// MIROIR.SCOPEDKEY.ROTATE.
pub const ROTATE: Command = Command {
    name: "MIROIR.SCOPEDKEY.ROTATE",
    entry: entry(|context, arguments| {
        hide_what_seems_secret(context, arguments);
        guarded(context, &ROTATE, arguments, rotate)
    }),
    summary: "Makes a key the primary one of an index, and the primary one the previous.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        Argument::new("primary-uid", Kind::String),
        GENERATION,
        Argument::new("primary-key", Kind::String).behind("PRIMARYKEY").optional(),
        FENCE,
    ],
    reply: "`1` rotated, `0` refused: the generation is not above the current one.",
};

fn rotate(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (primary_uid, _) = arguments.name("primary_uid")?;
    let generation_argument = arguments.rest().first().copied();
    let generation = generation(&mut arguments)?;
    let primary_key = if arguments.take_word("PRIMARYKEY") {
        Some(arguments.bytes("PRIMARYKEY", max_field_bytes())?)
    } else {
        None
    };
    arguments.end()?;

    let table = target.address.table;
    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    let is_row = row::is_row(table, &stored);
    if is_row && generation <= current_generation(&stored)? {
        return Ok(Reply::Integer(0));
    }
    let before = |name| row::present(&stored, name).filter(|_| is_row);
    let values = [
        ("primary_uid", Some(primary_uid.bytes())),
        ("generation", generation_argument.map(|argument| argument.bytes())),
        ("primary_key", primary_key),
        ("previous_uid", before("primary_uid")),
        ("previous_key", before("primary_key")),
    ];
    let given = row::given(table, values);
    match row::put(circumstances(context, &target), &given, Life::Unsaid, &stored)? {
        Plan::Write(changes) => {
            write::row(context, &target, &changes, &found)?;
            Ok(Reply::Integer(1))
        }
        Plan::Refused => Ok(Reply::Integer(0)),
    }
}

/// MIROIR.SCOPEDKEY.OBSERVE.
pub const OBSERVE: Command = Command {
    name: "MIROIR.SCOPEDKEY.OBSERVE",
    entry: entry(|context, arguments| guarded(context, &OBSERVE, arguments, observe)),
    summary: "Says that a pod has seen a generation of an index's key. That holds for 60 s, by default.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, POD, GENERATION, MILLISECONDS.behind("PX").optional(), FENCE],
    reply: "`1`",
};

fn observe(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (_, pod) = arguments.name("pod")?;
    let generation = generation(&mut arguments)?;
    let life =
        if arguments.take_word("PX") { arguments.integer("PX", 1..=i64::MAX)? } else { OBSERVATION_MS };
    arguments.end()?;
    let now = context.now_ms();
    let end = expiry::deadline(now, life).ok_or_else(|| Failure::too_far("PX", life))?;
    observations::observe(context, &target, pod, generation, (now, end))?;
    Ok(Reply::Integer(1))
}

/// MIROIR.SCOPEDKEY.READY.
pub const READY: Command = Command {
    name: "MIROIR.SCOPEDKEY.READY",
    entry: entry(ready),
    summary: "Tells whether every pod has seen the current generation of an index's key, or a later one. By default these are \
              the pods that MIROIR.POD.LIVE names.",
    complexity: "O(P log P), P the number of pods.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[
        KEY,
        Argument::new("pods", Kind::Block(&[Argument::new("numpods", Kind::Integer), POD.repeated(Repeated::Counted)]))
            .behind("PODS")
            .optional(),
    ],
    reply: "`[ready, [pods that have not seen it]]`, nil when the index has no key.",
};

fn ready(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let named = if arguments.take_word("PODS") {
        let count = arguments.size("PODS", 0..=MOST_PODS)?;
        let mut pods = Vec::with_capacity(count);
        for _ in 0..count {
            pods.push(arguments.name("PODS")?.0.bytes().to_vec());
        }
        Some(pods)
    } else {
        None
    };
    arguments.end()?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Nil);
    }
    let generation = current_generation(&stored)?;
    let pods = named.map_or_else(|| live_pods(context, &target), Ok)?;
    let unaware = unaware(context, &target, generation, pods)?;
    Ok(Reply::Array(vec![
        Reply::Integer(i64::from(unaware.is_empty())),
        Reply::Array(unaware.into_iter().map(Reply::Bulk).collect()),
    ]))
}

/// MIROIR.SCOPEDKEY.RETIRE.
pub const RETIRE: Command = Command {
    name: "MIROIR.SCOPEDKEY.RETIRE",
    entry: entry(|context, arguments| guarded(context, &RETIRE, arguments, retire)),
    summary: "Drops the previous key of an index, once every live pod has seen this generation, or at once with FORCE.",
    complexity: "O(P log P), P the number of pods.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: false,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, GENERATION, Argument::word("FORCE").optional(), FENCE],
    reply: "`1` there is no previous key any more, `0` a pod has not seen the new one, or the generation is not the current one; \
            `-2` the index has no key.",
};

fn retire(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let generation = generation(&mut arguments)?;
    let is_forced = arguments.take_word("FORCE");
    arguments.end()?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    // Of another generation the previous key is another one.
    if generation != current_generation(&stored)? {
        return Ok(Reply::Integer(0));
    }
    if !is_forced && !unaware(context, &target, generation, live_pods(context, &target)?)?.is_empty() {
        return Ok(Reply::Integer(0));
    }
    let previous = ["previous_uid", "previous_key"].map(|name| name.as_bytes().to_vec());
    let changes = Changes {
        set: Vec::new(),
        remove: previous.to_vec(),
        expiry: Expiry::Keep,
        in_subset: None,
        is_listed: false,
    };
    write::row(context, &target, &changes, &found)?;
    Ok(Reply::Integer(1))
}

fn generation(arguments: &mut Arguments<'_>) -> Outcome<i64> {
    arguments.integer("generation", 0..=i64::MAX)
}

fn current_generation(stored: &row::Stored<'_>) -> Outcome<i64> {
    let text = row::value_of(stored, "generation");
    let generation = text.and_then(integer).filter(|generation| *generation >= 0);
    generation.ok_or_else(|| Failure::stored(TABLE, "generation", "an integer from 0", text))
}

fn live_pods(context: &Context<'_>, target: &Target<'_>) -> Outcome<Vec<Vec<u8>>> {
    let Some(table) = schema::table(pods::TABLE) else { return Ok(Vec::new()) };
    let register = pods::key(target.address.namespace, table);
    // While a slot moves, a register on another node would look like one without pods.
    context.reach([target.key.bytes(), &register])?;
    pods::live(context, &register, context.now_ms().saturating_sub(pods::LIVE_MS))
}

/// Those of some pods that have not seen a generation of the key, nor a later one, by their names.
fn unaware(
    context: &Context<'_>,
    target: &Target<'_>,
    generation: i64,
    mut pods: Vec<Vec<u8>>,
) -> Outcome<Vec<Vec<u8>>> {
    pods.sort_unstable();
    pods.dedup();
    let mut unaware = Vec::new();
    for pod in pods {
        let seen = observations::seen(context, target.address.namespace, &pod, target.id)?;
        if seen.is_none_or(|seen| seen < generation) {
            unaware.push(pod);
        }
    }
    Ok(unaware)
}
