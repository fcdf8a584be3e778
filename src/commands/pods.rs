//! MIROIR.POD.*: which pods are alive.

use super::arguments::Arguments;
use super::syntax::{KEY, MILLISECONDS};
use super::target;
use crate::errors::Outcome;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::pods::{self, LIVE_MS, TABLE};

/// MIROIR.POD.BEAT.
pub const BEAT: Command = Command {
    name: "MIROIR.POD.BEAT",
    entry: entry(beat),
    summary: "Says that a pod is alive, and forgets pods that said nothing for 300 s.",
    complexity: "O(log N + M), N the number of pods, M of those that are live or forgotten.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[KEY, Argument::new("pod", Kind::String)],
    reply: "The number of pods that said so within the last 120 s.",
};

fn beat(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let register = arguments.next("key")?;
    target::single(context, register, TABLE)?;
    let (pod, _) = arguments.name("pod")?;
    arguments.end()?;
    let now = context.now_ms();
    pods::beat(context, register, pod, now)?;
    pods::live(context, register.bytes(), now - LIVE_MS).map(|pods| Reply::count(pods.len()))
}

/// MIROIR.POD.LIVE.
pub const LIVE: Command = Command {
    name: "MIROIR.POD.LIVE",
    entry: entry(live),
    summary: "Names the pods that said lately that they are alive: within 120000 ms, by default.",
    complexity: "O(log N + M), N the number of pods, M of those that are live.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::First(KeyUse::Read),
    arguments: &[KEY, MILLISECONDS.behind("WITHIN").optional()],
    reply: "An array of names, sorted.",
};

fn live(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let register = arguments.next("key")?;
    target::single(context, register, TABLE)?;
    let within =
        if arguments.take_word("WITHIN") { arguments.integer("WITHIN", 1..=i64::MAX)? } else { LIVE_MS };
    arguments.end()?;
    let since = context.now_ms().saturating_sub(within);
    let pods = pods::live(context, register.bytes(), since)?;
    Ok(Reply::Array(pods.into_iter().map(Reply::Bulk).collect()))
}
