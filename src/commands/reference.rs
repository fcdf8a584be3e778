//! docs/commands.md, written from the table of commands.

use std::fmt::Write;

use super::{syntax, FAMILIES};
use crate::server::command::{Access, Command};

/// The page as a whole. It is kept in the repository; `make lint` compares the two.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "<!-- Written by `make docs` from the table of commands in src/commands. Do not edit. -->\n\n\
         # Commands\n\n\
         Options are case-insensitive and stand before fields and events. Conditional writes answer `1` done, \
         `0` condition not met and nothing changed, `-2` no such row. Maps are RESP3 maps, and flat arrays for \
         RESP2 clients. An error means that nothing has changed.\n",
    );
    for family in FAMILIES {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n", family.title);
        for command in family.commands {
            let _ = write!(page, "\n{}", section(command));
        }
    }
    page
}

fn section(command: &Command) -> String {
    let memory = match command.access {
        Access::Read => "reads",
        Access::Write => "writes; refused with OOM when the server has no memory left",
        Access::Shrink => "writes; allowed when the server has no memory left",
    };
    format!(
        "### {name}\n\n`{syntax}`\n\n{summary}\n\n- Answers: {reply}\n- Time: {complexity}\n- Data: {memory}\n\
         - Categories: {categories}\n- Since: {since}\n",
        name = command.name,
        syntax = syntax::line(command),
        summary = command.summary,
        reply = command.reply,
        complexity = command.complexity,
        categories = command.categories().split(' ').map(|name| format!("`@{name}`")).collect::<Vec<_>>().join(", "),
        since = command.since,
    )
}
