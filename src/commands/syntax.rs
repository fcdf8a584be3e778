//! Arguments that several commands share, and how a command's syntax is written down.

use crate::server::command::{Argument, Command, Kind, Repeated};

pub use super::fence::FENCE;

/// The key of a row or of a structure.
pub const KEY: Argument = Argument::new("key", Kind::Key);
/// The key of a table.
pub const TABLE_KEY: Argument = Argument::new("table-key", Kind::Key);
/// A length of time.
pub const MILLISECONDS: Argument = Argument::new("milliseconds", Kind::Integer);
/// A number of things.
pub const COUNT: Argument = Argument::new("count", Kind::Integer);

/// The syntax of a command on one line, as the server's own documents write it.
#[must_use]
pub fn line(command: &Command) -> String {
    let mut words = vec![command.name.to_owned()];
    words.extend(command.arguments.iter().map(argument));
    words.join(" ")
}

fn argument(argument: &Argument) -> String {
    let list = |parts: &[Argument], between: &str| {
        parts.iter().map(self::argument).collect::<Vec<_>>().join(between)
    };
    let value = match &argument.kind {
        Kind::Word => String::new(),
        Kind::OneOf(choices) => list(choices, " | "),
        Kind::Block(parts) => list(parts, " "),
        Kind::Key | Kind::OptionKey | Kind::String | Kind::Integer | Kind::Time => argument.name.to_owned(),
    };
    let once = match argument.token {
        Some(token) if value.is_empty() => token.to_owned(),
        Some(token) => format!("{token} {value}"),
        None => value.clone(),
    };
    let all = match argument.repeated {
        Repeated::No => once,
        Repeated::Plain | Repeated::Counted => format!("{once} [{value} ...]"),
        Repeated::WithToken => format!("{once} [{once} ...]"),
    };
    match (&argument.kind, argument.optional) {
        (_, true) => format!("[{all}]"),
        (Kind::OneOf(_), false) => format!("<{all}>"),
        _ => all,
    }
}
