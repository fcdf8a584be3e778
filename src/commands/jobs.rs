//! MIROIR.JOB.*: workers claim jobs for a time, and finish them or lose them.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{COUNT, FENCE, KEY, MILLISECONDS, TABLE_KEY};
use super::target;
use super::write;
use crate::catalog::select::{Filter, Selection};
use crate::catalog::table::Rows;
use crate::catalog::{self, rebuild};
use crate::errors::{Failure, Outcome};
use crate::keyspace::{check_id, Address};
use crate::rules::expiry;
use crate::rules::job::{self, Job, Verdict, OUTCOMES};
use crate::rules::row::{self, Changes};
use crate::schema::json::Form;
use crate::schema::Claim;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply, Text};
use crate::store::rows::{self, Found};
use crate::store::Target;

const TABLE: &str = "jobs";
/// How many jobs one call can claim.
const MOST_CLAIMS: i64 = 10_000;
/// How many jobs one call of CLAIM gives up at most, and how many RECLAIM looks at by default: a sweep is bounded.
const SWEEP: usize = 1000;

const HOLDER: Argument = Argument::new("holder", Kind::String);
const TOKEN: Argument = Argument::new("claim-token", Kind::Integer);
const MOST_ATTEMPTS: Argument = COUNT.behind("MAXATTEMPTS").optional();
const PROGRESS: Argument = Argument::new("json", Kind::String).behind("PROGRESS").optional();

/// MIROIR.JOB.CLAIM.
pub const CLAIM: Command = Command {
    name: "MIROIR.JOB.CLAIM",
    entry: entry(|context, arguments| guarded(context, &CLAIM, arguments, claim)),
    summary: "Claims jobs that are queued, or whose claim ran out, for a time; a worker renews at a third of it, say \
              30 s and a heartbeat every 10 s.",
    complexity: "O(log N + C * F), N the number of jobs, C of those claimed, F of a job's fields; with TYPE also the \
                 number of jobs of other types whose claim ran out.",
    since: "0.1.0",
    access: Access::Write,
    fast: false,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[
        TABLE_KEY,
        HOLDER,
        MILLISECONDS,
        Argument::new("type", Kind::String).behind("TYPE").optional().repeated(Repeated::WithToken),
        Argument::new("id", Kind::String).behind("ID").optional(),
        COUNT.behind("COUNT").optional(),
        MOST_ATTEMPTS,
        FENCE,
    ],
    reply: "An array of `[id, claim_token, map]`, oldest first, empty if there is none. A job that was claimed MAXATTEMPTS \
            times before is set to failed instead, with an error that says so; at most 1000 of these in one call.",
};

/// What CLAIM is asked for.
struct Wish<'a> {
    holder: Arg<'a>,
    /// When the claims end, in ms.
    ends_at: i64,
    types: Vec<&'a [u8]>,
    id: Option<&'a str>,
    count: usize,
    most_attempts: Option<i64>,
}

fn claim(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let address = jobs(context, arguments.next("table-key")?)?;
    let now = context.now_ms();
    let wish = wish(&mut arguments, &address, now)?;
    if wish.id.is_none() {
        rebuild::ready(context, Some(address.namespace))?;
    }

    // Everything is read and decided before the first write.
    let mut taken: Vec<Candidate> = Vec::new();
    let mut given_up: Vec<Candidate> = Vec::new();
    let mut seen = 0;
    'search: loop {
        let ids = match wish.id {
            Some(id) if seen == 0 => vec![id.as_bytes().to_vec()],
            Some(_) => Vec::new(),
            // After a first page of jobs that are not to be had the search goes on in larger steps.
            None => {
                let count = if seen == 0 { wish.count } else { SWEEP };
                to_claim(context, &address, &wish.types, (seen, count), now)
            }
        };
        if ids.is_empty() {
            break;
        }
        seen += ids.len();
        for id in ids {
            let decide = |job: Job<'_>| match job.is_of(&wish.types) {
                true => job.claim(now, wish.most_attempts),
                false => Verdict::Leave,
            };
            let Some(candidate) = Candidate::read(context, &address, &id, decide)? else { continue };
            match candidate.verdict {
                Verdict::Leave => {}
                Verdict::Take { .. } => taken.push(candidate),
                Verdict::GiveUp(_) => given_up.push(candidate),
            }
            if taken.len() == wish.count || given_up.len() == SWEEP {
                break 'search;
            }
        }
    }
    give_up(context, &address, &given_up, now)?;
    let mut claimed = Vec::with_capacity(taken.len());
    for candidate in &taken {
        let Verdict::Take { token, attempts } = candidate.verdict else { continue };
        let changes = job::claimed(address.table, wish.holder.bytes(), token, attempts, wish.ends_at);
        candidate.write(context, &address, &changes)?;
        let id = Reply::bulk(&candidate.id);
        claimed.push(Reply::Array(vec![id, Reply::Integer(token), candidate.after(&changes)]));
    }
    Ok(Reply::Array(claimed))
}

fn wish<'a>(arguments: &mut Arguments<'a>, address: &Address<'_>, now: i64) -> Outcome<Wish<'a>> {
    const OPTIONS: &str = "TYPE type|ID id|COUNT count|MAXATTEMPTS count|FENCE lease-key token";
    let (holder, _) = arguments.name("holder")?;
    let ends_at = end_of_claim(arguments, now)?;
    let (mut types, mut id, mut count, mut most_attempts) = (Vec::new(), None, None, None);
    while !arguments.is_empty() {
        if arguments.take_word("TYPE") {
            let (kind, _) = arguments.name("TYPE")?;
            types.push(kind.bytes());
        } else if id.is_none() && arguments.take_word("ID") {
            let given = arguments.next("ID")?.bytes();
            let text = check_id(address.table, given);
            id = Some(text.map_err(|expected| Failure::argument("ID", expected, Some(given)))?);
        } else if count.is_none() && arguments.take_word("COUNT") {
            count = Some(arguments.size("COUNT", 1..=MOST_CLAIMS)?);
        } else if most_attempts.is_none() && arguments.take_word("MAXATTEMPTS") {
            most_attempts = Some(arguments.integer("MAXATTEMPTS", 1..=i64::MAX)?);
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }
    Ok(Wish { holder, ends_at, types, id, count: count.unwrap_or(1), most_attempts })
}

/// The ids of jobs that may be claimed, oldest first: a page of some, behind others.
fn to_claim(
    context: &Context<'_>,
    address: &Address<'_>,
    types: &[&[u8]],
    (seen, count): (usize, usize),
    now: i64,
) -> Vec<Vec<u8>> {
    let table = address.table;
    let filter_of = |name| table.filters.iter().position(|filter| *filter == name);
    let (Some(Claim { waiting, .. }), Some(state), Some(kind)) =
        (table.claim, table.state.and_then(filter_of), filter_of("type"))
    else {
        return Vec::new();
    };
    let mut of_types = Filter::default();
    types.iter().for_each(|name| of_types.allow(kind, name));
    let mut queued = of_types.clone();
    queued.allow(state, waiting.as_bytes());
    with_jobs(context, address, now, |rows| {
        let selection = Selection::new(rows, &queued, now).and(rows.claims().lapsed(), &of_types);
        selection.page(None, seen, count).into_iter().map(|slot| rows.slab().id(slot).to_vec()).collect()
    })
}

/// Looks at the jobs of a namespace, with their claims looked through. Nothing comes of it where there are none.
fn with_jobs(
    context: &Context<'_>,
    address: &Address<'_>,
    now: i64,
    look: impl FnOnce(&Rows) -> Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let database = context.database();
    catalog::with(|catalog| {
        let rows = catalog.rows_to_claim(database, address.namespace, address.table, now);
        rows.map(look).unwrap_or_default()
    })
}

/// A job that was looked at, and what is to become of it.
struct Candidate {
    key: Text,
    id: String,
    found: Found,
    verdict: Verdict,
}

impl Candidate {
    /// Looks at a job. None for what is none, or has an id that no command could name.
    fn read(
        context: &Context<'_>,
        address: &Address<'_>,
        id: &[u8],
        decide: impl FnOnce(Job<'_>) -> Verdict,
    ) -> Outcome<Option<Self>> {
        let Ok(id) = check_id(address.table, id) else { return Ok(None) };
        let Some(key) = Text::new(&address.row(id.as_bytes())) else { return Ok(None) };
        let found = rows::read(context, key.as_arg())?;
        let stored = found.pairs();
        if !row::is_row(address.table, &stored) {
            return Ok(None);
        }
        let verdict = decide(Job::of(&stored));
        drop(stored);
        Ok(Some(Self { key, id: id.to_owned(), found, verdict }))
    }

    fn write(&self, context: &Context<'_>, address: &Address<'_>, changes: &Changes<'_>) -> Outcome<()> {
        let target = Target { key: self.key.as_arg(), address: *address, id: &self.id };
        write::row(context, &target, changes, &self.found)
    }

    /// The fields of the job with changes.
    fn after(&self, changes: &Changes<'_>) -> Reply {
        let stored = self.found.pairs();
        Reply::Fields(row::changed(&stored, changes).into_iter().collect())
    }
}

/// Sets jobs to failed that are not to be tried again.
fn give_up(context: &Context<'_>, address: &Address<'_>, jobs: &[Candidate], now: i64) -> Outcome<()> {
    for candidate in jobs {
        if let Verdict::GiveUp(reason) = &candidate.verdict {
            candidate.write(context, address, &job::given_up(address.table, reason.clone(), now))?;
        }
    }
    Ok(())
}

/// MIROIR.JOB.RENEW.
pub const RENEW: Command = Command {
    name: "MIROIR.JOB.RENEW",
    entry: entry(|context, arguments| guarded(context, &RENEW, arguments, renew)),
    summary: "Prolongs a claim that one still has.",
    complexity: "O(F), F the number of fields of the job.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, HOLDER, TOKEN, MILLISECONDS, PROGRESS, FENCE],
    reply: "`1` prolonged, `0` refused: the job is not the holder's with that token, or the claim ran out, even if nobody \
            took the job since; `-2` no such job.",
};

fn renew(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (holder, token) = claimant(&mut arguments)?;
    let now = context.now_ms();
    let ends_at = end_of_claim(&mut arguments, now)?;
    let progress = if arguments.take_word("PROGRESS") { Some(progress(&mut arguments)?) } else { None };
    arguments.end()?;

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    if !Job::of(&stored).is_held_by(holder.bytes(), token, now) {
        return Ok(Reply::Integer(0));
    }
    let ends_at = ends_at.to_string();
    let end = ("claim_expires_at", ends_at.as_bytes());
    let fields: Vec<_> = [end].into_iter().chain(progress.map(|json| ("progress", json))).collect();
    write::fields(context, &target, &found, &fields)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.JOB.FINISH.
pub const FINISH: Command = Command {
    name: "MIROIR.JOB.FINISH",
    entry: entry(|context, arguments| guarded(context, &FINISH, arguments, finish)),
    summary: "Ends a job that one has claimed, or gives it back to the queue.",
    complexity: "O(F), F the number of fields of the job.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        HOLDER,
        TOKEN,
        Argument::new(
            "outcome",
            Kind::OneOf(&[Argument::word("completed"), Argument::word("failed"), Argument::word("queued")]),
        ),
        PROGRESS,
        Argument::new("text", Kind::String).behind("ERROR").optional(),
        FENCE,
    ],
    reply: "`1` done, `0` refused: the claim is lost; `-1` the job has ended already, `-2` no such job.",
};

fn finish(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (holder, token) = claimant(&mut arguments)?;
    let outcome = arguments.one_of("outcome", OUTCOMES)?;
    let (mut new_progress, mut error) = (None, None);
    while !arguments.is_empty() {
        if new_progress.is_none() && arguments.take_word("PROGRESS") {
            new_progress = Some(progress(&mut arguments)?);
        } else if error.is_none() && arguments.take_word("ERROR") {
            error = Some(arguments.bytes("ERROR", max_field_bytes())?);
        } else {
            return arguments.unexpected("PROGRESS json|ERROR text|FENCE lease-key token");
        }
    }
    let error = error.filter(|text| !text.is_empty());

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    let table = target.address.table;
    if !row::is_row(table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    let job = Job::of(&stored);
    if job.is_finished() {
        return Ok(Reply::Integer(-1));
    }
    let now = context.now_ms();
    if !job.is_held_by(holder.bytes(), token, now) {
        return Ok(Reply::Integer(0));
    }
    let changes = job::ended(table, outcome, new_progress, error, now);
    write::row(context, &target, &changes, &found)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.JOB.RECLAIM.
pub const RECLAIM: Command = Command {
    name: "MIROIR.JOB.RECLAIM",
    entry: entry(|context, arguments| guarded(context, &RECLAIM, arguments, reclaim)),
    summary: "Puts jobs whose claim ran out back into the queue, the longest expired first.",
    complexity: "O(M * F), M the number of jobs looked at, F of a job's fields.",
    since: "0.1.0",
    access: Access::Write,
    fast: false,
    keys: Keys::First(KeyUse::Update),
    arguments: &[TABLE_KEY, COUNT.behind("LIMIT").optional(), MOST_ATTEMPTS, FENCE],
    reply: "The number of jobs that were put back. A job that was claimed MAXATTEMPTS times is set to failed instead, with \
            an error that says so. LIMIT, 1000 by default, bounds both together.",
};

fn reclaim(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let address = jobs(context, arguments.next("table-key")?)?;
    let (mut limit, mut most_attempts) = (None, None);
    while !arguments.is_empty() {
        if limit.is_none() && arguments.take_word("LIMIT") {
            limit = Some(arguments.size("LIMIT", 1..=i64::MAX)?);
        } else if most_attempts.is_none() && arguments.take_word("MAXATTEMPTS") {
            most_attempts = Some(arguments.integer("MAXATTEMPTS", 1..=i64::MAX)?);
        } else {
            return arguments.unexpected("LIMIT count|MAXATTEMPTS count|FENCE lease-key token");
        }
    }

    rebuild::ready(context, Some(address.namespace))?;
    let now = context.now_ms();
    let is_nameable = |id: &[u8]| check_id(address.table, id).is_ok();
    let ids = with_jobs(context, &address, now, |rows| {
        let lapsed = rows.claims().ended(rows.slab(), now).map(|slot| rows.slab().id(slot));
        lapsed.filter(|id| is_nameable(id)).take(limit.unwrap_or(SWEEP)).map(<[u8]>::to_vec).collect()
    });
    let decide = |job: Job<'_>| job.reclaim(now, most_attempts);
    let read = |id: &Vec<u8>| Candidate::read(context, &address, id, decide).transpose();
    let candidates = ids.iter().filter_map(read).collect::<Outcome<Vec<_>>>()?;
    give_up(context, &address, &candidates, now)?;
    let mut queued = 0;
    for candidate in candidates.iter().filter(|job| matches!(job.verdict, Verdict::Take { .. })) {
        candidate.write(context, &address, &job::ended(address.table, job::QUEUED, None, None, now))?;
        queued += 1;
    }
    Ok(Reply::Integer(queued))
}

/// The table of jobs that a table key names.
fn jobs<'a>(context: &Context<'_>, key: Arg<'a>) -> Outcome<Address<'a>> {
    let address = target::table(context, key)?;
    if address.table.name == TABLE {
        Ok(address)
    } else {
        Err(Failure::key(key.bytes(), "the table key of jobs, <namespace>:jobs"))
    }
}

/// Reads `holder claim-token`.
fn claimant<'a>(arguments: &mut Arguments<'a>) -> Outcome<(Arg<'a>, i64)> {
    let (holder, _) = arguments.name("holder")?;
    Ok((holder, arguments.integer("claim_token", 0..=i64::MAX)?))
}

/// Reads the length of a claim in ms. Answers when it ends.
fn end_of_claim(arguments: &mut Arguments<'_>, now: i64) -> Outcome<i64> {
    let ttl = arguments.integer("ttl_ms", 1..=i64::MAX)?;
    expiry::deadline(now, ttl).ok_or_else(|| Failure::too_far("ttl_ms", ttl))
}

fn progress<'a>(arguments: &mut Arguments<'a>) -> Outcome<&'a [u8]> {
    arguments.json("PROGRESS", Form::Object, max_field_bytes()).map(str::as_bytes)
}
