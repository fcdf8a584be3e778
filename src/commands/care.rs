//! MIROIR.MEMORY and AUDIT: commands about the task store as a whole. They take a bare namespace, which is no key, and
//! answer for the node that they are sent to.

use super::arguments::Arguments;
use super::syntax::COUNT;
use crate::care::audit::{self, Finding};
use crate::care::memory::{self, Weight};
use crate::catalog;
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::server::alloc;
use crate::server::command::{Access, Argument, Command, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};

/// How many rows a table MEMORY asks the server about by default.
const DEFAULT_SAMPLES: usize = 64;

/// MIROIR.MEMORY.
pub const MEMORY: Command = Command {
    name: "MIROIR.MEMORY",
    entry: entry(memory),
    summary: "Tells what each table of a namespace weighs.",
    complexity: "O(T), T the number of tables and of their samples; and O(E), E the number of elements of the lists and \
                 sorted sets that have changed since the last time.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::None,
    arguments: &[Argument::new("namespace", Kind::String), COUNT.behind("SAMPLES").optional()],
    reply: "A map of tables, each with a map of `rows`, `payload_bytes` (exact: what a client reads), \
            `allocated_bytes` (what MEMORY USAGE says, estimated from SAMPLES rows a table; 64 by default, 0 \
            for all), `index_bytes`, `expiring`; then `catalog` (what the module itself holds) and `total`.",
};

fn memory(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let namespace = namespace(&mut arguments)?;
    let samples = if arguments.take_word("SAMPLES") {
        arguments.size("SAMPLES", 0..=i64::MAX)?
    } else {
        DEFAULT_SAMPLES
    };
    arguments.end()?;

    refuse_company_in_cluster(context, "MIROIR.MEMORY")?;
    let weights = memory::weigh(context, namespace, samples)?;
    let total = weights.iter().map(|(_, weight)| *weight).fold(Weight::default(), Weight::plus);
    let mut tables: Vec<_> = weights.iter().map(|(table, weight)| (table.name, describe(*weight))).collect();
    let entries = catalog::with(|catalog| catalog.sums().map(|(_, sums)| sums.rows).sum());
    let held = [("entries", Reply::count(entries)), ("bytes", Reply::count(alloc::held()))];
    tables.push(("catalog", Reply::map(held)));
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

/// MIROIR.AUDIT.
pub const AUDIT: Command = Command {
    name: "MIROIR.AUDIT",
    entry: entry(audit),
    summary: "Compares rows, indexes, counters and the module's catalog with each other, a piece at a time.",
    complexity: "O(N), N the COUNT; and O(E), E the events of a CDC buffer at its first look.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::None,
    arguments: &[
        Argument::new("namespace", Kind::String),
        Argument::new("cursor", Kind::Integer),
        COUNT.behind("COUNT").optional(),
        Argument::word("REPAIR").optional(),
    ],
    reply: "`[next cursor, findings]`, the cursor 0 at the end. A finding is a map of `finding` (not-in-index, \
            index-entry-without-row, stub, queued-at-odds, ttl-missing, byte-counter-off, catalog-at-odds), `key`, \
            `detail` and `repaired`. With REPAIR each is mended: index entries are added and removed, a stub is \
            deleted, a TTL is set. REPAIR needs a master, and the rights to the native commands that it runs.",
};

/// How many keys AUDIT looks at by default.
const DEFAULT_AUDIT: i64 = 100;
/// How many keys it looks at in one call at most.
const LARGEST_AUDIT: i64 = 10_000;

fn audit(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let namespace = namespace(&mut arguments)?;
    let text = arguments.next("cursor")?.bytes();
    let cursor = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    let cursor =
        cursor.ok_or_else(|| Failure::argument("cursor", "0, or what the last call answered", Some(text)))?;
    let mut count = None;
    let mut repair = false;
    while !arguments.is_empty() {
        if count.is_none() && arguments.take_word("COUNT") {
            count = Some(arguments.integer("COUNT", 1..=LARGEST_AUDIT)?);
        } else if !repair && arguments.take_word("REPAIR") {
            repair = true;
        } else {
            return arguments.unexpected("COUNT count|REPAIR");
        }
    }

    refuse_company_in_cluster(context, "MIROIR.AUDIT")?;
    if repair {
        context.write_with_rights_of_client();
    }
    let count = u32::try_from(count.unwrap_or(DEFAULT_AUDIT)).unwrap_or(u32::MAX);
    let (next, findings) = audit::go_on(context, namespace, cursor, count, repair)?;
    let describe = |finding: Finding| {
        Reply::map([
            ("finding", Reply::bulk(finding.kind.name())),
            ("key", Reply::Bulk(finding.key)),
            ("detail", Reply::bulk(finding.detail)),
            ("repaired", Reply::Integer(finding.repaired.into())),
        ])
    };
    let findings = findings.into_iter().map(describe).collect();
    Ok(Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(findings)]))
}

pub(super) fn namespace<'a>(arguments: &mut Arguments<'a>) -> Outcome<&'a [u8]> {
    let namespace = arguments.next("namespace")?.bytes();
    if namespace.is_empty() || keyspace::locate(namespace).is_some() {
        return Err(Failure::argument("namespace", "a namespace, such as miroir", Some(namespace)));
    }
    Ok(namespace)
}

/// Refuses a command that reads keys of all slots inside of a transaction or a script in a cluster.
pub(super) fn refuse_company_in_cluster(context: &Context<'_>, command: &str) -> Outcome<()> {
    if context.in_cluster() && (context.in_transaction() || context.in_script()) {
        let reason = "reads keys of all slots: expected no transaction or script around it in a cluster";
        return Err(Failure::refused(format_args!("{command} {reason}")));
    }
    Ok(())
}
