//! FENCE: a write that is only done while a lease is held with a certain token. A leader who was deposed without knowing
//! it is turned away by the server itself.
//!
//! The option is taken out of the call here, before the command's handler sees the rest: a handler knows nothing of fences.

use super::arguments::Arguments;
use super::target;
use crate::errors::{Failure, Outcome};
use crate::rules::lease::NO_TOKEN;
use crate::server::command::{Argument, Command, KeyUse, Keys, Kind};
use crate::server::{Arg, Context, Reply};
use crate::store::leases;

const TOKEN: &str = "FENCE";

/// The option, for the syntax of a command. Its handler goes through [`guarded`].
pub const FENCE: Argument = Argument::new(
    "fence",
    Kind::Block(&[Argument::new("lease-key", Kind::OptionKey), Argument::new("token", Kind::Integer)]),
)
.behind(TOKEN)
.optional();

/// What a handler is.
type Handler = fn(&Context<'_>, &[Arg<'_>]) -> Outcome<Reply>;

/// Runs a handler, if the call has no fence or stands within it, with the other arguments.
///
/// # Errors
/// STALE when the lease is not held with that token; whatever the handler says.
pub fn guarded(
    context: &Context<'_>,
    command: &Command,
    arguments: &[Arg<'_>],
    handler: Handler,
) -> Outcome<Reply> {
    // Most calls have no such word at all, and need no walk along the syntax.
    let is_token = |word: &Arg<'_>| word.bytes().eq_ignore_ascii_case(TOKEN.as_bytes());
    let place = match arguments.iter().any(is_token) {
        true => command.find_option(TOKEN, |at| arguments.get(at).map(|word| word.bytes())),
        false => None,
    };
    if context.asks_for_keys() {
        declare_keys(context, command, arguments.len(), place);
        return Ok(Reply::Nil);
    }
    let Some(place) = place else { return handler(context, arguments) };
    let (before, fence) = arguments.split_at(place);
    let mut fence = Arguments::new(fence);
    fence.expect_word(TOKEN)?;
    let lease = fence.next("FENCE lease-key")?;
    let token = fence.integer("FENCE token", 0..=i64::MAX)?;
    if let Keys::All(_) = command.keys {
        // What followed would be taken for keys that the server was not told of.
        fence.end()?;
    }
    check(context, lease, token)?;
    handler(context, &[before, fence.rest()].concat())
}

/// Tells the server where the keys of a call are. Word 0 is the name, so the first argument is word 1.
fn declare_keys(context: &Context<'_>, command: &Command, arguments: usize, fence: Option<usize>) {
    match command.keys {
        Keys::None => {}
        Keys::First(usage) => context.declare_key(1, usage),
        Keys::All(usage) => {
            (1..=fence.unwrap_or(arguments)).for_each(|word| context.declare_key(word, usage));
        }
    }
    if let Some(lease) = fence.map(|place| place + 1).filter(|lease| *lease < arguments) {
        context.declare_key(lease + 1, KeyUse::Read);
    }
}

/// A lease that another client wrote has no token yet, and so fences nothing.
fn check(context: &Context<'_>, lease: Arg<'_>, token: i64) -> Outcome<()> {
    let target = target::of(context, lease, leases::TABLE)?;
    let record = leases::read(context, &target)?;
    let held = Some(record.lease().token()).filter(|held| *held != NO_TOKEN);
    if held == Some(token) {
        Ok(())
    } else {
        Err(Failure::stale(lease.bytes(), held, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Every word that stands in the syntax of some command.
    fn tokens() -> Vec<&'static str> {
        commands::all().flat_map(|command| command.arguments).filter_map(|argument| argument.token).collect()
    }

    proptest! {
        #[test]
        fn a_fence_is_only_found_where_its_word_stands(
            words in vec(prop_oneof![
                prop::sample::select(tokens()).prop_map(str::to_owned),
                prop::sample::select(vec!["0", "1", "2", "-1", "9223372036854775807", "99999999999999999999", "a", ""])
                    .prop_map(str::to_owned),
                ".*",
            ], 0..14)
        ) {
            for command in commands::all() {
                let word = |at: usize| words.get(at).map(String::as_bytes);
                let place = command.find_option(TOKEN, word);
                if let Some(place) = place {
                    prop_assert!(words[place].eq_ignore_ascii_case(TOKEN), "{} {:?}", command.name, words);
                    // What stands behind the fence does not move it.
                    let shorter = |at: usize| words.get(at).filter(|_| at <= place).map(String::as_bytes);
                    prop_assert_eq!(command.find_option(TOKEN, shorter), Some(place));
                }
            }
        }
    }
}
