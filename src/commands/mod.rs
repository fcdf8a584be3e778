//! The commands: one table of them all, and a file for each family with its specs and its handlers.

mod admin_sessions;
mod aliases;
mod arguments;
mod canaries;
mod care;
mod cdc;
mod cursors;
#[cfg(feature = "debug-command")]
mod debug;
mod doctor;
mod fence;
mod idempotency;
pub mod info;
mod jobs;
mod leases;
mod limits;
mod lists;
mod plan;
mod pods;
pub mod reference;
mod rows;
mod scoped_keys;
pub mod syntax;
mod target;
mod tasks;
mod write;

use crate::server::command::Command;

/// Commands that belong together, under the title that the reference gives them.
pub struct Family {
    /// The title.
    pub title: &'static str,
    /// The commands.
    pub commands: &'static [Command],
}

/// Every command of the module. Registration, arity, key specifications, COMMAND DOCS, access control
/// categories and docs/commands.md all come from here.
pub const FAMILIES: &[Family] = &[
    Family {
        title: "Rows",
        commands: &[
            rows::PUT,
            rows::PATCH,
            rows::GET,
            rows::DEL,
            rows::TOUCH,
            lists::LIST,
            lists::COUNT,
            lists::PRUNE,
        ],
    },
    Family { title: "Tasks and aliases", commands: &[tasks::STATUS, tasks::NODE, aliases::FLIP] },
    Family {
        title: "Idempotency",
        commands: &[idempotency::BEGIN, idempotency::COMPLETE, idempotency::ABORT],
    },
    Family { title: "Jobs", commands: &[jobs::CLAIM, jobs::RENEW, jobs::FINISH, jobs::RECLAIM] },
    Family { title: "Leases", commands: &[leases::ACQUIRE, leases::RENEW, leases::RELEASE, leases::GET] },
    Family { title: "Canary runs", commands: &[canaries::RECORD, canaries::RUNS] },
    Family {
        title: "CDC overflow",
        commands: &[cdc::PUSH, cdc::POP, cdc::PEEK, cdc::ACK, cdc::TRIM, cdc::STAT, cursors::ADVANCE],
    },
    Family { title: "Limits", commands: &[limits::HIT, limits::CHECK, limits::FAIL, limits::OK] },
    Family {
        title: "Scoped keys",
        commands: &[scoped_keys::ROTATE, scoped_keys::OBSERVE, scoped_keys::READY, scoped_keys::RETIRE],
    },
    Family { title: "Pods", commands: &[pods::BEAT, pods::LIVE] },
    Family { title: "Admin sessions", commands: &[admin_sessions::REVOKE] },
    Family {
        title: "Accounting and care",
        commands: &[care::MEMORY, care::AUDIT, doctor::DOCTOR, plan::PLAN],
    },
];

/// Commands that only builds for tests have.
#[cfg(feature = "debug-command")]
const FOR_TESTS: &[Command] = &[debug::DEBUG];
#[cfg(not(feature = "debug-command"))]
const FOR_TESTS: &[Command] = &[];

/// Every command, family by family.
pub fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().flat_map(|family| family.commands).chain(FOR_TESTS)
}
