//! MIROIR.DOCTOR: the operators' checklists, run inside the server.

use super::arguments::Arguments;
use super::care::{namespace, refuse_company_in_cluster};
use crate::care::doctor::{self, Finding};
use crate::care::observe;
use crate::errors::Outcome;
use crate::server::command::{Access, Argument, Command, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};

/// MIROIR.DOCTOR.
pub const DOCTOR: Command = Command {
    name: "MIROIR.DOCTOR",
    entry: entry(examine),
    summary: "Runs the operators' checklists against this server and a namespace in it.",
    complexity: "O(T), T the number of tables and of 64 samples each; O(E), E the number of elements of the lists and \
                 sorted sets that have changed since the last time; O(B), B the number of CDC buffers and leases.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::None,
    arguments: &[Argument::new("namespace", Kind::String)],
    reply: "An array of maps of `severity` (critical, warning, note), `check`, `found` (what, and why it matters) and `advice` \
            (the command, or the line of redis.conf, that mends it), the most severe first; one of a check at most. Empty \
            for a healthy server. What could not be looked at is a note that says why. docs/doctor.md lists the checks.",
};

fn examine(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let namespace = namespace(&mut arguments)?;
    arguments.end()?;

    refuse_company_in_cluster(context, "MIROIR.DOCTOR")?;
    let findings = doctor::examine(&observe::facts(context, namespace));
    let describe = |finding: Finding| {
        Reply::map([
            ("severity", Reply::Name(finding.severity.name())),
            ("check", Reply::Name(finding.check)),
            ("found", Reply::bulk(finding.found)),
            ("advice", Reply::bulk(finding.advice)),
        ])
    };
    Ok(Reply::Array(findings.into_iter().map(describe).collect()))
}
