//! MIROIR.RATELIMIT.* and MIROIR.LOGIN.*: how often an address may come.

use super::arguments::Arguments;
use super::syntax::{COUNT, KEY, MILLISECONDS};
use super::target;
use crate::catalog::facts::Facts;
use crate::catalog::follow;
use crate::errors::{Failure, Outcome};
use crate::rules::backoff::{Steps, MEMORY_MS};
use crate::rules::expiry;
use crate::rules::window::Window;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Key, Reply};
use crate::store::limits::{self, Failures, BACKOFF};
use crate::store::Target;

const SEARCHES: &str = "ratelimit_searchui";
const LOGINS: &str = "ratelimit_adminlogin";

const LIMIT: Argument = Argument::new("limit", Kind::Integer);
const WINDOW: Argument = Argument::new("window-ms", Kind::Integer);

/// MIROIR.RATELIMIT.HIT.
pub const HIT: Command = Command {
    name: "MIROIR.RATELIMIT.HIT",
    entry: entry(hit),
    summary: "Counts a hit in a fixed window, if it is within the limit; the search UI allows 60 in 60000 ms. PEEK only looks.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, LIMIT, WINDOW, COUNT.behind("COST").optional(), Argument::word("PEEK").optional()],
    reply: "`[allowed, remaining, retry_after_ms, reset_ms]`. A refusal costs nothing and prolongs nothing; times round up, \
            and retry_after_ms is never 0 on a refusal.",
};

fn hit(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, SEARCHES)?;
    let now = context.now_ms();
    let (limit, window_ms, end) = limit(&mut arguments, now)?;
    let (mut cost, mut is_look) = (None, false);
    while !arguments.is_empty() {
        if cost.is_none() && arguments.take_word("COST") {
            cost = Some(arguments.integer("COST", 1..=i64::MAX)?);
        } else if !is_look && arguments.take_word("PEEK") {
            is_look = true;
        } else {
            return arguments.unexpected("COST count|PEEK");
        }
    }
    let cost = cost.unwrap_or(1);

    let (window, counter) = limits::window(context, &target.address, target.key)?;
    let answer = window.hit(now, limit, window_ms, cost, is_look);
    if answer.allowed && !is_look {
        count(context, &target, (&window, counter), cost, end)?;
    } else if !is_look {
        drop(counter);
        limits::close(context, target.key, &window, end)?;
    }
    Ok(Reply::integers([i64::from(answer.allowed), answer.remaining, answer.retry_after, answer.reset]))
}

/// Counts a hit, and tells the catalog.
fn count(
    context: &Context<'_>,
    target: &Target<'_>,
    (window, counter): (&Window, Key<'_>),
    cost: i64,
    end: i64,
) -> Outcome<()> {
    let sum = window.count.saturating_add(cost);
    let digits = sum.checked_ilog10().unwrap_or(0) + 1;
    let ends_at = window.ends_at.unwrap_or(end);
    let facts = Facts::of_structure(target.key.bytes().len(), Some(u64::from(digits)), Some(ends_at));
    let write =
        || limits::count(context, (target.key, counter), window, cost, end).map(|()| ((), Some(facts)));
    follow::written(context, target, &[], write)
}

/// MIROIR.LOGIN.CHECK.
pub const CHECK: Command = Command {
    name: "MIROIR.LOGIN.CHECK",
    entry: entry(check),
    summary: "Asks whether an address may try to log in, and counts the try if so: 10 in 60000 ms, say.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, LIMIT, WINDOW],
    reply: "`[allowed, remaining, retry_after_ms]`: refused when the window's limit is reached, or during a backoff.",
};

fn check(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = login(context, arguments.next("key")?)?;
    let now = context.now_ms();
    let (limit, window_ms, end) = limit(&mut arguments, now)?;
    arguments.end()?;

    let backoff_key = limits::backoff_key(&target.address, target.id);
    let failures = limits::failures(context, &target.address, target.key, &backoff_key)?;
    let (window, counter) = limits::window(context, &target.address, target.key)?;
    let backoff = expiry::remaining(now, failures.next_allowed_at);
    let answer = window.hit(now, limit, window_ms, 1, backoff > 0);
    let allowed = answer.allowed && backoff == 0;
    if allowed {
        count(context, &target, (&window, counter), 1, end)?;
    } else {
        drop(counter);
        limits::close(context, target.key, &window, end)?;
    }
    Ok(Reply::integers([i64::from(allowed), answer.remaining, answer.retry_after.max(backoff)]))
}

/// MIROIR.LOGIN.FAIL.
pub const FAIL: Command = Command {
    name: "MIROIR.LOGIN.FAIL",
    entry: entry(fail),
    summary: "Counts a login that failed. From the threshold-th in a row on the address has to wait: start_ms, and twice as \
              long with each further one, up to max_ms; say from the 5th on 600000 ms, up to 86400000.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[
        KEY,
        Argument::new("threshold", Kind::Integer),
        MILLISECONDS.named("start-ms"),
        MILLISECONDS.named("max-ms"),
    ],
    reply: "`[failed_count, backoff_ms]`, backoff_ms 0 below the threshold. The count is forgotten 60 s after the backoff.",
};

fn fail(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = login(context, arguments.next("key")?)?;
    let threshold = arguments.integer("threshold", 1..=i64::MAX)?;
    let start_ms = arguments.integer("start_ms", 1..=i64::MAX)?;
    let max_ms = arguments.integer("max_ms", start_ms..=i64::MAX)?;
    arguments.end()?;
    let now = context.now_ms();
    let is_in_reach =
        expiry::deadline(now, max_ms).is_some_and(|end| expiry::deadline(end, MEMORY_MS).is_some());
    if !is_in_reach {
        return Err(Failure::too_far("max_ms", max_ms));
    }

    let key = limits::backoff_key(&target.address, target.id);
    let failures = limits::failures(context, &target.address, target.key, &key)?;
    let count = failures.count.saturating_add(1);
    let backoff = Steps { threshold, start_ms, max_ms }.backoff(count);
    limits::fail(context, &key, &Failures { count, next_allowed_at: now + backoff })?;
    Ok(Reply::integers([count, backoff]))
}

/// MIROIR.LOGIN.OK.
pub const OK: Command = Command {
    name: "MIROIR.LOGIN.OK",
    entry: entry(ok),
    summary: "Forgets the tries and the failures of an address that has logged in.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[KEY],
    reply: "`1`",
};

fn ok(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = login(context, arguments.next("key")?)?;
    let backoff = limits::backoff_key(&target.address, target.id);
    limits::check_clearable(context, target.key, &backoff)?;
    limits::clear(context, target.key, &backoff)?;
    Ok(Reply::Integer(1))
}

/// The counter of an address, whose backoff is kept beside it.
fn login<'a>(context: &Context<'_>, key: Arg<'a>) -> Outcome<Target<'a>> {
    let target = target::of(context, key, LOGINS)?;
    if target.id.starts_with(BACKOFF) {
        let expected =
            format_args!("an address that does not begin with '{BACKOFF}', which is reserved").to_string();
        return Err(Failure::key(key.bytes(), expected));
    }
    Ok(target)
}

/// Reads `limit window-ms`. Answers also when a window ends that begins now.
fn limit(arguments: &mut Arguments<'_>, now: i64) -> Outcome<(i64, i64, i64)> {
    let limit = arguments.integer("limit", 0..=i64::MAX)?;
    let window_ms = arguments.integer("window_ms", 1..=i64::MAX)?;
    let end = expiry::deadline(now, window_ms).ok_or_else(|| Failure::too_far("window_ms", window_ms))?;
    Ok((limit, window_ms, end))
}
