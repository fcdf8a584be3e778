//! MIROIR.DEBUG, only in builds for tests: what must never happen, on demand.

use super::arguments::Arguments;
use crate::catalog::{self, facts::Facts, read};
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::server::command::{Access, Argument, Command, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};

/// MIROIR.DEBUG.
pub const DEBUG: Command = Command {
    name: "MIROIR.DEBUG",
    entry: entry(debug),
    summary: "Panics inside a handler, or puts the catalog at odds with a key.",
    complexity: "O(1)",
    since: "0.1.0",
    access: Access::Read,
    fast: true,
    keys: Keys::None,
    arguments: &[Argument::new(
        "action",
        Kind::OneOf(&[
            Argument::word("PANIC"),
            Argument::new("row", Kind::String).behind("FORGET"),
            Argument::new("row", Kind::String).behind("INVENT"),
        ]),
    )],
    reply: "`OK` when the catalog has forgotten a row, or knows one that says nothing.",
};

#[allow(clippy::panic, reason = "that is what it is for")]
fn debug(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    if arguments.take_word("PANIC") {
        panic!("a panic on demand");
    }
    let forget = arguments.take_word("FORGET");
    if !forget && !arguments.take_word("INVENT") {
        return arguments.unexpected("PANIC|FORGET row|INVENT row");
    }
    let key = arguments.next("row")?.bytes();
    let address = keyspace::locate(key).ok_or_else(|| Failure::key(key, "a row"))?;
    let id = read::id_of(&address).ok_or_else(|| Failure::key(key, "a row"))?;
    let database = context.database();
    catalog::with(|catalog| {
        if forget {
            catalog.remove(database, &address, id);
        } else {
            catalog.put(database, &address, id, &Facts::of_structure(key.len(), Some(0), None));
        }
    });
    Ok(Reply::bulk("OK"))
}
