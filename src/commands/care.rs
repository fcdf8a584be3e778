//! MIROIR.MEMORY: commands about the task store as a whole. They take a bare namespace, which is no key, and
//! answer for the node that they are sent to.

use super::arguments::Arguments;
use super::syntax::COUNT;
use crate::care::memory::{self, Weight};
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::server::entry::entry;
use crate::server::register::{Access, Argument, Command, Keys, Kind};
use crate::server::{Arg, Context, Reply};
use crate::store::watch;

/// How many rows a table MEMORY asks the server about by default.
const DEFAULT_SAMPLES: usize = 64;

/// MIROIR.MEMORY.
pub const MEMORY: Command = Command {
    name: "MIROIR.MEMORY",
    entry: entry(memory),
    summary: "Tells what each table of a namespace weighs.",
    complexity: "O(K), K the number of keys of the database and of their elements.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::None,
    arguments: &[Argument::new("namespace", Kind::String), COUNT.behind("SAMPLES").optional()],
    reply: "A map of tables, each with a map of `rows`, `payload_bytes` (exact: what a client reads), \
            `allocated_bytes` (what MEMORY USAGE says, extrapolated from SAMPLES rows a table; 64 by default, 0 \
            for all), `index_bytes`, `expiring`; then `catalog` (what the module itself holds) and `total`.",
};

fn memory(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let namespace = arguments.next("namespace")?.bytes();
    if namespace.is_empty() || keyspace::locate(namespace).is_some() {
        return Err(Failure::argument("namespace", "a namespace, such as miroir", Some(namespace)));
    }
    let samples = if arguments.take_word("SAMPLES") {
        arguments.size("SAMPLES", 0..=i64::MAX)?
    } else {
        DEFAULT_SAMPLES
    };
    arguments.end()?;

    if context.in_cluster() && context.in_transaction() {
        let sentence =
            "MIROIR.MEMORY reads keys of all slots: expected no transaction around it in a cluster";
        return Err(Failure::refused(sentence));
    }
    let weights = memory::weigh(context, namespace, samples)?;
    let total = weights.iter().map(|(_, weight)| *weight).fold(Weight::default(), Weight::plus);
    let mut tables: Vec<_> = weights.iter().map(|(table, weight)| (table.name, describe(*weight))).collect();
    let (entries, bytes) = watch::remembered();
    tables
        .push(("catalog", Reply::map([("entries", Reply::count(entries)), ("bytes", Reply::count(bytes))])));
    tables.push(("total", describe(total)));
    Ok(Reply::map(tables))
}

fn describe(weight: Weight) -> Reply {
    Reply::map([
        ("rows", Reply::count(weight.rows)),
        ("payload_bytes", Reply::count(weight.payload_bytes)),
        ("allocated_bytes", Reply::count(weight.allocated_bytes)),
        ("index_bytes", Reply::count(weight.index_bytes)),
        ("expiring", Reply::count(weight.expiring)),
    ])
}
