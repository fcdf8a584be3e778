//! docs/commands.md, written from the table of commands and from an example for each.

use std::fmt::Write;
use std::io::{Error, Result};
use std::path::Path;

use super::{syntax, FAMILIES};
use crate::server::command::{Access, Command};

/// The page as a whole, with the examples of a folder: `miroir.put.md` is that of MIROIR.PUT. It is kept in the repository;
/// `make lint` compares the two.
///
/// # Errors
///
/// A command has no example.
pub fn page(examples: &Path) -> Result<String> {
    let mut page = String::from(
        "<!-- Written by `make docs` from the table of commands in src/commands and from examples/commands. Do not edit. -->\n\n\
         # Commands\n\n\
         Options are case-insensitive and stand before fields and events. Conditional writes answer `1` done, \
         `0` condition not met and nothing changed, `-2` no such row. Maps are RESP3 maps, and flat arrays for \
         RESP2 clients. An error means that nothing has changed.\n\n\
         Every example was run on an empty server; times and remaining times differ from run to run.\n",
    );
    for family in FAMILIES {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n", family.title);
        for command in family.commands {
            let file = examples.join(format!("{}.md", command.name.to_lowercase()));
            let example = std::fs::read_to_string(&file)
                .map_err(|error| Error::new(error.kind(), format!("{}: {error}", file.display())))?;
            let _ = write!(page, "\n{}\n{example}", section(command));
        }
    }
    Ok(page)
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
