//! MIROIR.CDC.*: overflow buffers with exact byte accounting.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{COUNT, FENCE, KEY};
use super::target;
use crate::catalog::facts::Facts;
use crate::catalog::follow;
use crate::errors::{Failure, Outcome};
use crate::rules::budget::Batch;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply, Text};
use crate::store::buffers::{Buffer, TABLE};
use crate::store::Target;

const BYTES: Argument = Argument::new("bytes", Kind::Integer);
const POLICIES: &[&str] = &["drop-oldest", "reject"];

fn buffer<'a>(context: &'a Context<'a>, key: Arg<'a>) -> Outcome<Buffer<'a>> {
    Buffer::open(context, &target::of(context, key, TABLE)?)
}

/// Opens a buffer, changes it, and tells the catalog what it holds afterwards.
fn change<T>(
    context: &Context<'_>,
    key: Arg<'_>,
    change: impl FnOnce(&mut Buffer<'_>) -> Outcome<T>,
) -> Outcome<T> {
    let target = target::of(context, key, TABLE)?;
    change_open(context, &target, Buffer::open(context, &target)?, change)
}

fn change_open<T>(
    context: &Context<'_>,
    target: &Target<'_>,
    mut buffer: Buffer<'_>,
    change: impl FnOnce(&mut Buffer<'_>) -> Outcome<T>,
) -> Outcome<T> {
    let counters = buffer.counters();
    // Of counters that may only come into being the catalog learns by their events.
    let sides: Vec<_> = counters.iter().filter(|_| buffer.is_on_record()).map(Text::as_arg).collect();
    follow::written(context, target, &sides, || {
        let value = change(&mut buffer)?;
        let bytes = u64::try_from(buffer.bytes).unwrap_or(0);
        let facts = Facts::of_structure(target.key.bytes().len(), Some(bytes), buffer.expires_at);
        Ok((value, (buffer.span.length > 0).then_some(facts)))
    })
}

/// MIROIR.CDC.PUSH.
pub const PUSH: Command = Command {
    name: "MIROIR.CDC.PUSH",
    entry: entry(|context, arguments| guarded(context, &PUSH, arguments, push)),
    summary: "Adds events to an overflow buffer within a budget of bytes.",
    complexity: "O(E + D), E the number of events, D the number dropped.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[
        KEY,
        BYTES.behind("BUDGET"),
        Argument::new("policy", Kind::OneOf(&[Argument::word("drop-oldest"), Argument::word("reject")]))
            .behind("POLICY")
            .optional(),
        FENCE,
        Argument::new("event", Kind::String).repeated(Repeated::Plain),
    ],
    reply:
        "A map: `accepted` events, the buffer's `length` and `bytes` after it, `dropped` events and their \
            `dropped_bytes`, `last_seq`, the number of the newest event.",
};

fn push(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("key")?;
    arguments.expect_word("BUDGET")?;
    let budget = arguments.integer("BUDGET", 0..=i64::MAX)?;
    let reject = arguments.take_word("POLICY") && arguments.word_of("POLICY", POLICIES)? == "reject";
    let events = arguments.rest();
    if events.is_empty() {
        return Err(Failure::argument("event", "one event or more", None));
    }
    let size = |event: &Arg<'_>| i64::try_from(event.bytes().len()).unwrap_or(i64::MAX);
    if let Some(large) = events.iter().map(size).find(|size| *size > budget) {
        let got = format!("{large} bytes");
        let expected = format_args!("at most {budget} bytes, the budget").to_string();
        return Err(Failure::argument("event", expected, Some(got.as_bytes())));
    }

    let total = events.iter().map(size).fold(0, i64::saturating_add);
    let target = target::of(context, key, TABLE)?;
    let buffer = Buffer::open_to_push(context, &target)?;
    change_open(context, &target, buffer, |buffer| {
        let (accepted, dropped) = if reject && buffer.bytes.saturating_add(total) > budget {
            buffer.mend()?;
            (0, Batch::default())
        } else {
            (events.len(), buffer.push(events, budget)?)
        };
        Ok(Reply::map([
            ("accepted", Reply::count(accepted)),
            ("length", Reply::Integer(buffer.span.length)),
            ("bytes", Reply::Integer(buffer.bytes)),
            ("dropped", Reply::Integer(dropped.count)),
            ("dropped_bytes", Reply::Integer(dropped.bytes)),
            ("last_seq", Reply::Integer(buffer.span.last_seq())),
        ]))
    })
}

/// MIROIR.CDC.POP.
pub const POP: Command = Command {
    name: "MIROIR.CDC.POP",
    entry: entry(|context, arguments| guarded(context, &POP, arguments, pop)),
    summary: "Takes the oldest events out of an overflow buffer.",
    complexity: "O(E), E the number of events taken.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::ReadDelete),
    arguments: &[KEY, COUNT.behind("COUNT").optional(), BYTES.behind("MAXBYTES").optional(), FENCE],
    reply: "An array of events, oldest first.",
};

fn pop(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("key")?;
    let (count, max_bytes) = bounds(&mut arguments, "COUNT count|MAXBYTES bytes|FENCE lease-key token")?;
    let events = change(context, key, |buffer| buffer.pop(count, max_bytes))?;
    Ok(events.map_or(Reply::Array(Vec::new()), Reply::Forward))
}

/// MIROIR.CDC.PEEK.
pub const PEEK: Command = Command {
    name: "MIROIR.CDC.PEEK",
    entry: entry(peek),
    summary: "Reads the oldest events of an overflow buffer with their numbers, for MIROIR.CDC.ACK.",
    complexity: "O(E), E the number of events answered.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[KEY, COUNT.behind("COUNT").optional(), BYTES.behind("MAXBYTES").optional()],
    reply: "An array of `[seq, event]`, oldest first.",
};

fn peek(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("key")?;
    let (count, max_bytes) = bounds(&mut arguments, "COUNT count|MAXBYTES bytes")?;
    let events = buffer(context, key)?.peek(count, max_bytes);
    let numbered = |(seq, event)| Reply::Array(vec![Reply::Integer(seq), Reply::Bulk(event)]);
    Ok(Reply::Array(events.into_iter().map(numbered).collect()))
}

/// MIROIR.CDC.ACK.
pub const ACK: Command = Command {
    name: "MIROIR.CDC.ACK",
    entry: entry(|context, arguments| guarded(context, &ACK, arguments, ack)),
    summary: "Removes the events of an overflow buffer up to a number.",
    complexity: "O(E), E the number of events removed.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[KEY, Argument::new("seq", Kind::Integer), FENCE],
    reply: "How many events were removed.",
};

fn ack(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("key")?;
    let seq = arguments.integer("seq", 0..=i64::MAX)?;
    arguments.end()?;
    change(context, key, |buffer| buffer.acknowledge(seq)).map(Reply::Integer)
}

/// MIROIR.CDC.TRIM.
pub const TRIM: Command = Command {
    name: "MIROIR.CDC.TRIM",
    entry: entry(|context, arguments| guarded(context, &TRIM, arguments, trim)),
    summary: "Drops the oldest events of an overflow buffer until it keeps a budget; 0 empties it.",
    complexity: "O(D), D the number of events dropped.",
    since: "0.1.0",
    access: Access::Shrink,
    fast: false,
    keys: Keys::First(KeyUse::Delete),
    arguments: &[KEY, BYTES.behind("BUDGET"), FENCE],
    reply: "`[dropped, dropped_bytes]`.",
};

fn trim(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let key = arguments.next("key")?;
    arguments.expect_word("BUDGET")?;
    let budget = arguments.integer("BUDGET", 0..=i64::MAX)?;
    arguments.end()?;
    let dropped = change(context, key, |buffer| buffer.trim(budget))?;
    Ok(Reply::Array(vec![Reply::Integer(dropped.count), Reply::Integer(dropped.bytes)]))
}

/// MIROIR.CDC.STAT.
pub const STAT: Command = Command {
    name: "MIROIR.CDC.STAT",
    entry: entry(stat),
    summary: "Tells what an overflow buffer holds, and what it has lost and delivered in its life.",
    complexity: "O(1); O(N) after another client wrote to the buffer, N the number of events held.",
    since: "0.1.0",
    access: Access::Read,
    fast: true,
    keys: Keys::First(KeyUse::Read),
    arguments: &[KEY],
    reply:
        "A map: `length`, `bytes`, `first_seq` (the next one when the buffer is empty), `last_seq`, and over \
            its life `dropped`, `dropped_bytes`, `acked`.",
};

fn stat(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let buffer = buffer(context, arguments.next("key")?)?;
    Ok(Reply::map([
        ("length", Reply::Integer(buffer.span.length)),
        ("bytes", Reply::Integer(buffer.bytes)),
        ("first_seq", Reply::Integer(buffer.span.first_seq)),
        ("last_seq", Reply::Integer(buffer.span.last_seq())),
        ("dropped", Reply::Integer(buffer.totals.dropped)),
        ("dropped_bytes", Reply::Integer(buffer.totals.dropped_bytes)),
        ("acked", Reply::Integer(buffer.totals.acked)),
    ]))
}

/// Reads `[COUNT count] [MAXBYTES bytes]`; an error names the options of the command.
fn bounds(arguments: &mut Arguments<'_>, options: &str) -> Outcome<(i64, i64)> {
    let (mut count, mut max_bytes) = (None, None);
    while !arguments.is_empty() {
        if count.is_none() && arguments.take_word("COUNT") {
            count = Some(arguments.integer("COUNT", 0..=i64::MAX)?);
        } else if max_bytes.is_none() && arguments.take_word("MAXBYTES") {
            max_bytes = Some(arguments.integer("MAXBYTES", 0..=i64::MAX)?);
        } else {
            return arguments.unexpected(options);
        }
    }
    Ok((count.unwrap_or(1), max_bytes.unwrap_or(i64::MAX)))
}
