//! MIROIR.DEBUG, only in builds for tests: what must never happen, on demand.

use super::arguments::Arguments;
use crate::errors::Outcome;
use crate::server::entry::entry;
use crate::server::register::{Access, Argument, Command, Keys, Kind};
use crate::server::{Arg, Context, Reply};

/// MIROIR.DEBUG.
pub const DEBUG: Command = Command {
    name: "MIROIR.DEBUG",
    entry: entry(debug),
    summary: "Panics inside a handler.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Read,
    fast: true,
    keys: Keys::None,
    arguments: &[Argument::new("action", Kind::OneOf(&[Argument::word("PANIC")]))],
    reply: "Never one.",
};

#[allow(clippy::panic, reason = "that is what it is for")]
fn debug(_context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    if arguments.take_word("PANIC") {
        panic!("a panic on demand");
    }
    arguments.unexpected("PANIC")
}
