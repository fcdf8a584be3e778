//! MIROIR.LEASE.*: one holder per scope, with a fencing token that rises with every tenure.

use super::arguments::Arguments;
use super::syntax::{KEY, MILLISECONDS};
use super::target;
use crate::catalog::facts::Facts;
use crate::catalog::follow;
use crate::errors::{Failure, Outcome};
use crate::rules::expiry;
use crate::rules::lease::Decision;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Key, Reply};
use crate::store::leases::{self, Record, TABLE};
use crate::store::Target;

const HOLDER: Argument = Argument::new("holder", Kind::String);
const TOKEN: Argument = Argument::new("token", Kind::Integer);

/// MIROIR.LEASE.ACQUIRE.
pub const ACQUIRE: Command = Command {
    name: "MIROIR.LEASE.ACQUIRE",
    entry: entry(acquire),
    summary: "Takes a lease that is free, or renews one's own.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, HOLDER, MILLISECONDS],
    reply:
        "`[1, holder, ttl, token]` granted, `[0, current holder, remaining ms, its token]` refused. A lease \
            written without the module has the token 0, and without a TTL the remaining time -1.",
};

fn acquire(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (holder, _) = arguments.name("holder")?;
    let ttl = arguments.integer("ttl_ms", 1..=i64::MAX)?;
    arguments.end()?;

    let (record, lease) = leases::read_to_write(context, &target)?;
    let decision = record.lease().acquire(holder.bytes());
    carry_out(context, &target, holder, ttl, (&record, lease), decision)
}

/// MIROIR.LEASE.RENEW.
pub const RENEW: Command = Command {
    name: "MIROIR.LEASE.RENEW",
    entry: entry(renew),
    summary: "Prolongs a lease that one still holds.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, HOLDER, MILLISECONDS, TOKEN.behind("TOKEN").optional()],
    reply: "`[1, holder, ttl, token]` renewed, `[0, current holder, remaining ms, its token]` refused, \
            `[0, nil, 0, last token]` when it has run out.",
};

fn renew(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (holder, _) = arguments.name("holder")?;
    let ttl = arguments.integer("ttl_ms", 1..=i64::MAX)?;
    let token = token(&mut arguments)?;

    let (record, lease) = leases::read_to_write(context, &target)?;
    let decision = record.lease().renew(holder.bytes(), token);
    carry_out(context, &target, holder, ttl, (&record, lease), decision)
}

fn carry_out(
    context: &Context<'_>,
    target: &Target<'_>,
    holder: Arg<'_>,
    ttl: i64,
    (record, lease): (&Record, Key<'_>),
    decision: Decision,
) -> Outcome<Reply> {
    let now = context.now_ms();
    let end = expiry::deadline(now, ttl).ok_or_else(|| Failure::too_far("ttl_ms", ttl))?;
    let token = match decision {
        Decision::Grant(token) => {
            drop(lease);
            leases::begin(context, target, holder, token)?;
            leases::hold(context, target, holder, end)?;
            token
        }
        Decision::Extend(token) => {
            let facts =
                Facts::of_structure(target.key.bytes().len(), Some(holder.bytes().len() as u64), Some(end));
            let prolong = || leases::prolong(context, target, lease, end).map(|()| ((), Some(facts)));
            follow::written(context, target, &[], prolong)?;
            token
        }
        Decision::Refuse => return Ok(refusal(record, now)),
        Decision::Exhausted => return Err(Failure::refused("the tokens of this lease's scope are used up")),
    };
    Ok(Reply::Array(vec![
        Reply::Integer(1),
        Reply::bulk(holder.bytes()),
        Reply::Integer(ttl),
        Reply::Integer(token),
    ]))
}

/// MIROIR.LEASE.RELEASE.
pub const RELEASE: Command = Command {
    name: "MIROIR.LEASE.RELEASE",
    entry: entry(release),
    summary: "Gives a lease back before it runs out.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[KEY, HOLDER, TOKEN.behind("TOKEN").optional()],
    reply: "`1` released, `0` it is another's, `-2` nobody holds it.",
};

fn release(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let (holder, _) = arguments.name("holder")?;
    let token = token(&mut arguments)?;

    let record = leases::read(context, &target)?;
    let lease = record.lease();
    if lease.holder.is_none() {
        return Ok(Reply::Integer(-2));
    }
    if !lease.is_held_by(holder.bytes(), token) {
        return Ok(Reply::Integer(0));
    }
    leases::release(context, &target)?;
    Ok(Reply::Integer(1))
}

/// MIROIR.LEASE.GET.
pub const GET: Command = Command {
    name: "MIROIR.LEASE.GET",
    entry: entry(get),
    summary: "Tells who holds a lease.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Read,
    fast: true,
    keys: Keys::First(KeyUse::Read),
    arguments: &[KEY],
    reply: "`[holder, remaining ms, token]`, or nil when nobody holds it.",
};

fn get(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let record = leases::read(context, &target)?;
    let lease = record.lease();
    Ok(lease.holder.map_or(Reply::Nil, |holder| {
        let remaining = remaining(&record, context.now_ms());
        Reply::Array(vec![Reply::bulk(holder), Reply::Integer(remaining), Reply::Integer(lease.token())])
    }))
}

/// `[0, holder, remaining, token]` of the lease as it stands; the last token when nobody holds it.
fn refusal(record: &Record, now: i64) -> Reply {
    let lease = record.lease();
    let (holder, remaining, token) = match lease.holder {
        Some(holder) => (Reply::bulk(holder), remaining(record, now), lease.token()),
        None => (Reply::Nil, 0, lease.last_token),
    };
    Reply::Array(vec![Reply::Integer(0), holder, Reply::Integer(remaining), Reply::Integer(token)])
}

/// What is left of a lease that is held, 1 ms at least: -1 for one without a TTL, as the server's own PTTL says it.
fn remaining(record: &Record, now: i64) -> i64 {
    record.expires_at.map_or(-1, |end| expiry::remaining(now, end).max(1))
}

fn token(arguments: &mut Arguments<'_>) -> Outcome<Option<i64>> {
    let token =
        if arguments.take_word("TOKEN") { Some(arguments.integer("TOKEN", 0..=i64::MAX)?) } else { None };
    arguments.end()?;
    Ok(token)
}
