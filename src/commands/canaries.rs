//! MIROIR.CANARY.*: the bounded history of a canary's runs.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{COUNT, FENCE, KEY, MILLISECONDS};
use super::target;
use crate::catalog::facts::Facts;
use crate::catalog::follow;
use crate::errors::Outcome;
use crate::rules::runs::MAX_RAN_AT;
use crate::schema::json;
use crate::schema::value::integer;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, KeyType, Reply};
use crate::store::runs::{self, Run, STATUSES};

const TABLE: &str = "canary_runs";
/// How many runs a history keeps by default.
const DEFAULT_KEEP: i64 = 100;

/// MIROIR.CANARY.RECORD.
pub const RECORD: Command = Command {
    name: "MIROIR.CANARY.RECORD",
    entry: entry(|context, arguments| guarded(context, &RECORD, arguments, record)),
    summary: "Adds a run to a canary's history and trims the history.",
    complexity: "O(log N + T), N the number of runs held, T the number trimmed.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        Argument::new("ran-at", Kind::Time),
        Argument::new("status", Kind::String),
        Argument::new("latency-ms", Kind::Integer),
        Argument::new("json", Kind::String).behind("ASSERTIONS").optional(),
        COUNT.behind("KEEP").optional(),
        MILLISECONDS.behind("MAXAGE").optional(),
        FENCE,
    ],
    reply: "`[kept, trimmed]`: how many runs are held now, and how many left.",
};

fn record(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    const OPTIONS: &str = "ASSERTIONS json|KEEP count|MAXAGE milliseconds|FENCE lease-key token";
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let ran_at = arguments.integer("ran_at", 0..=MAX_RAN_AT)?;
    let status = arguments.one_of("status", STATUSES)?;
    let latency_ms = arguments.integer("latency_ms", 0..=i64::MAX)?;
    let (mut assertions, mut keep, mut max_age) = (None, None, None);
    while !arguments.is_empty() {
        if assertions.is_none() && arguments.take_word("ASSERTIONS") {
            assertions = Some(arguments.json("ASSERTIONS", json::Form::Any, max_field_bytes())?);
        } else if keep.is_none() && arguments.take_word("KEEP") {
            keep = Some(arguments.integer("KEEP", 1..=i64::MAX)?);
        } else if max_age.is_none() && arguments.take_word("MAXAGE") {
            max_age = Some(arguments.integer("MAXAGE", 1..=i64::MAX)?);
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }

    let run = Run {
        canary_id: target.id.to_owned(),
        ran_at,
        status: status.to_owned(),
        latency_ms,
        failed_assertions_json: assertions.map(str::to_owned),
    };
    let oldest_kept = max_age.map(|age| context.now_ms().saturating_sub(age));
    let recorded = follow::written(context, &target, &[], || {
        let recorded = runs::record(context, target.key, &run, keep.unwrap_or(DEFAULT_KEEP), oldest_kept)?;
        let facts = Facts::of_structure(target.key.bytes().len(), None, recorded.expires_at);
        Ok((recorded, (recorded.kept > 0).then_some(facts)))
    })?;
    Ok(Reply::Array(vec![Reply::Integer(recorded.kept), Reply::Integer(recorded.trimmed)]))
}

/// MIROIR.CANARY.RUNS.
pub const RUNS: Command = Command {
    name: "MIROIR.CANARY.RUNS",
    entry: entry(list),
    summary: "Reads the newest runs of a canary.",
    complexity: "O(log N + M), N the number of runs held, M the number answered.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[
        KEY,
        COUNT.behind("COUNT").optional(),
        Argument::new("unix-time-milliseconds", Kind::Time).behind("SINCE").optional(),
    ],
    reply: "An array of maps, newest first: canary_id, ran_at, status, latency_ms, failed_assertions_json (nil \
            when nothing was said). An entry that another client wrote in another form is a map of ran_at and \
            member.",
};

fn list(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (mut count, mut since) = (None, None);
    while !arguments.is_empty() {
        if count.is_none() && arguments.take_word("COUNT") {
            count = Some(arguments.integer("COUNT", 0..=i64::MAX)?);
        } else if since.is_none() && arguments.take_word("SINCE") {
            since = Some(arguments.integer("SINCE", 0..=i64::MAX)?);
        } else {
            return arguments.unexpected("COUNT count|SINCE unix-time-milliseconds");
        }
    }
    context.open(target.key).expect(KeyType::SortedSet)?;
    let runs = runs::newest(context, target.key, count, since)?;
    Ok(Reply::Array(runs.into_iter().map(|(member, score)| describe(member, &score)).collect()))
}

fn describe(member: Vec<u8>, score: &[u8]) -> Reply {
    let Some(run) = json::read::<Run>(&member) else {
        let ran_at = integer(score).map_or_else(|| Reply::bulk(score), Reply::Integer);
        return Reply::map([("ran_at", ran_at), ("member", Reply::Bulk(member))]);
    };
    Reply::map([
        ("canary_id", Reply::bulk(run.canary_id)),
        ("ran_at", Reply::Integer(run.ran_at)),
        ("status", Reply::bulk(run.status)),
        ("latency_ms", Reply::Integer(run.latency_ms)),
        ("failed_assertions_json", run.failed_assertions_json.map_or(Reply::Nil, Reply::bulk)),
    ])
}
