//! What is to be known of a command: for the server, for its users, and to find the keys of a call.

use super::entry::Entry;
use crate::schema::value::integer;

/// One command: everything that registration, documentation and access control say about it.
pub struct Command {
    /// The name, in upper case.
    pub name: &'static str,
    /// The handler behind the C boundary.
    pub entry: Entry,
    /// One sentence.
    pub summary: &'static str,
    /// The cost, in O() with its letters explained.
    pub complexity: &'static str,
    /// The version of the module that brought it.
    pub since: &'static str,
    /// What it does to the data.
    pub access: Access,
    /// Whether it takes constant or logarithmic time.
    pub fast: bool,
    /// Which of its arguments are keys.
    pub keys: Keys,
    /// The arguments behind the name, in order.
    pub arguments: &'static [Argument],
    /// What it answers.
    pub reply: &'static str,
}

/// What a command does to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only looks.
    Read,
    /// Changes data, and may need more memory: refused when the server has none left.
    Write,
    /// Changes data, and gives memory back or needs next to none: allowed when the server has none left.
    Shrink,
}

/// Which arguments are keys, and what happens to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// None: the command speaks about the node that it is sent to.
    None,
    /// The first argument.
    First(KeyUse),
    /// Every argument.
    All(KeyUse),
}

/// What happens to a key, in the terms of the server's key specifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Its value is read and answered.
    Read,
    /// Its value is changed, nothing of it answered.
    Update,
    /// Its value is changed and answered.
    ReadUpdate,
    /// Elements of its value are answered and removed.
    ReadDelete,
    /// The key, or elements of it, are removed unseen.
    Delete,
}

/// One argument in a command's syntax.
pub struct Argument {
    /// The name, as it stands in the syntax.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The word that introduces it.
    pub token: Option<&'static str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub repeated: Repeated,
}

/// Whether an argument may be repeated, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// It stands once.
    No,
    /// It may be repeated, behind one token if it has one.
    Plain,
    /// It stands as often as the number before it says.
    Counted,
    /// It may be repeated together with its token.
    WithToken,
}

/// What an argument is.
pub enum Kind {
    /// A key that the command works on.
    Key,
    /// A key that an option names, the only one of them: the server asks the command where it stands.
    OptionKey,
    /// Any string.
    String,
    /// A whole number.
    Integer,
    /// A point in time in ms since the epoch.
    Time,
    /// A word that stands for itself: the token.
    Word,
    /// Exactly one of these.
    OneOf(&'static [Argument]),
    /// All of these, in order.
    Block(&'static [Argument]),
}

impl Argument {
    /// A required argument that stands once.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, token: None, optional: false, repeated: Repeated::No }
    }

    /// The word that stands for itself.
    #[must_use]
    pub const fn word(token: &'static str) -> Self {
        Self::new(token, Kind::Word).behind(token)
    }

    /// The same, introduced by a token.
    #[must_use]
    pub const fn behind(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same under another name.
    #[must_use]
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same, which may be left out.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same, which may be repeated.
    #[must_use]
    pub const fn repeated(self, repeated: Repeated) -> Self {
        Self { repeated, ..self }
    }

    /// The fewest words that a required argument takes.
    fn words(&self) -> i32 {
        let own = match &self.kind {
            Kind::Word => return 1,
            Kind::OneOf(choices) => choices.iter().map(Argument::words).min().unwrap_or(0),
            Kind::Block(parts) => parts.iter().filter(|part| !part.optional).map(Argument::words).sum(),
            Kind::Key | Kind::OptionKey | Kind::String | Kind::Integer | Kind::Time => 1,
        };
        own + i32::from(self.token.is_some())
    }

    /// Whether a word begins this argument: it is its token, or that of one of its choices.
    fn begins(&self, word: Option<&[u8]>) -> bool {
        let is = |token: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(token.as_bytes()));
        match (self.token, &self.kind) {
            (Some(token), _) => is(token),
            (None, Kind::OneOf(choices)) => choices.iter().any(|choice| choice.begins(word)),
            (None, _) => false,
        }
    }

    /// The place behind this argument, which stands at a place, once.
    fn pass<'w>(&self, at: usize, word: &impl Fn(usize) -> Option<&'w [u8]>) -> usize {
        let at = at + usize::from(self.token.is_some());
        match &self.kind {
            Kind::Word => at,
            Kind::OneOf(choices) => {
                let choice = choices.iter().find(|choice| choice.begins(word(at)));
                let choice = choice.or_else(|| choices.iter().find(|choice| choice.token.is_none()));
                choice.map_or(at, |choice| choice.pass(at, word))
            }
            Kind::Block(parts) => parts.iter().fold(at, |at, part| match part.repeated {
                Repeated::Counted => {
                    let count = word(at.wrapping_sub(1)).and_then(integer).unwrap_or(0);
                    at.saturating_add(usize::try_from(count).unwrap_or(0))
                }
                _ if part.optional && !part.begins(word(at)) => at,
                _ => part.pass(at, word),
            }),
            Kind::Key | Kind::OptionKey | Kind::String | Kind::Integer | Kind::Time => at + 1,
        }
    }

    fn is_fixed(&self) -> bool {
        !self.optional
            && self.repeated == Repeated::No
            && match &self.kind {
                Kind::OneOf(choices) => {
                    choices.iter().all(|choice| choice.is_fixed() && choice.words() == self.words())
                }
                Kind::Block(parts) => parts.iter().all(Argument::is_fixed),
                _ => true,
            }
    }
}

impl Command {
    /// The number of words with the name, negative when it is only the least number: the server's arity.
    #[must_use]
    pub fn arity(&self) -> i32 {
        let required = self.arguments.iter().filter(|argument| !argument.optional);
        let words = 1 + required.map(Argument::words).sum::<i32>();
        if self.arguments.iter().all(Argument::is_fixed) {
            words
        } else {
            -words
        }
    }

    /// The server's flags for the command.
    #[must_use]
    pub fn flags(&self) -> String {
        let access = match self.access {
            Access::Read => "readonly",
            Access::Write => "write deny-oom",
            Access::Shrink => "write",
        };
        let speed = if self.fast { " fast" } else { "" };
        let keys = if self.option_with_key().is_some() { " getkeys-api" } else { "" };
        format!("{access}{speed}{keys}")
    }

    /// The server's access control categories that the command belongs to.
    #[must_use]
    pub fn categories(&self) -> String {
        let access = if self.access == Access::Read { "read" } else { "write" };
        let speed = if self.fast { "fast" } else { "slow" };
        format!("{access} {speed}")
    }

    /// The word before the key that an option of the command names; None for a command without such an option.
    #[must_use]
    pub fn option_with_key(&self) -> Option<&'static str> {
        let names_key = |parts: &[Argument]| parts.iter().any(|part| matches!(part.kind, Kind::OptionKey));
        let option = self.arguments.iter().find(|argument| match &argument.kind {
            Kind::Block(parts) => names_key(parts),
            _ => false,
        });
        option.and_then(|option| option.token)
    }

    /// Where an option stands in a call; None where it is not given. `word` answers the words behind the command's name,
    /// from 0 on. A value that looks like the option is none: the walk goes along the command's syntax, and ends where the
    /// call leaves it.
    #[must_use]
    pub fn find_option<'w>(&self, token: &str, word: impl Fn(usize) -> Option<&'w [u8]>) -> Option<usize> {
        let mut at = 0;
        let mut arguments = self.arguments;
        while let Some((argument, behind)) = arguments.split_first() {
            if argument.optional {
                let count = arguments.iter().take_while(|argument| argument.optional).count();
                let (options, behind) = arguments.split_at(count);
                while let Some(option) = options.iter().find(|option| option.begins(word(at))) {
                    if option.token == Some(token) {
                        return Some(at);
                    }
                    at = option.pass(at, &word);
                }
                arguments = behind;
            } else {
                at = argument.pass(at, &word);
                let is_option = |at| {
                    let options = behind.iter().take_while(|argument| argument.optional);
                    options.clone().any(|option| option.begins(word(at)))
                };
                while argument.repeated == Repeated::Plain && word(at).is_some() && !is_option(at) {
                    at += 1;
                }
                arguments = behind;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Argument = Argument::new(
        "fence",
        Kind::Block(&[Argument::new("lease", Kind::OptionKey), Argument::new("token", Kind::Integer)]),
    )
    .behind("FENCE")
    .optional();

    fn command(arguments: &'static [Argument]) -> Command {
        extern "C" fn entry(
            _: *mut redis_module::raw::RedisModuleCtx,
            _: *mut *mut redis_module::raw::RedisModuleString,
            _: std::os::raw::c_int,
        ) -> std::os::raw::c_int {
            0
        }
        Command {
            name: "X",
            entry,
            summary: "",
            complexity: "",
            since: "",
            access: Access::Write,
            fast: false,
            keys: Keys::First(KeyUse::Update),
            arguments,
            reply: "",
        }
    }

    fn place(arguments: &'static [Argument], line: &str) -> Option<usize> {
        let words: Vec<&str> = line.split(' ').collect();
        command(arguments).find_option("FENCE", |at| words.get(at).map(|word| word.as_bytes()))
    }

    #[test]
    fn an_option_is_found_among_others_and_no_value_passes_for_it() {
        const PUT: &[Argument] = &[
            Argument::new("key", Kind::Key),
            Argument::new("condition", Kind::OneOf(&[Argument::word("NX"), Argument::word("XX")])).optional(),
            Argument::new("milliseconds", Kind::Integer).behind("PX").optional(),
            LEASE,
            Argument::new("field", Kind::String).repeated(Repeated::Plain),
        ];
        assert_eq!(place(PUT, "k FENCE l 1 f v"), Some(1));
        assert_eq!(place(PUT, "k nx PX 5 fence l 1 f v"), Some(4));
        assert_eq!(place(PUT, "k PX FENCE FENCE l 1"), Some(3));
        assert_eq!(place(PUT, "FENCE NX f FENCE l 1"), None);
        assert_eq!(place(PUT, "k"), None);
    }

    #[test]
    fn words_that_a_number_counts_are_passed_over() {
        const FLIP: &[Argument] = &[
            Argument::new("key", Kind::Key),
            Argument::new(
                "to",
                Kind::OneOf(&[
                    Argument::new("uid", Kind::String),
                    Argument::new(
                        "targets",
                        Kind::Block(&[
                            Argument::new("numtargets", Kind::Integer),
                            Argument::new("uid", Kind::String).repeated(Repeated::Counted),
                        ]),
                    )
                    .behind("TARGETS"),
                ]),
            ),
            LEASE,
        ];
        assert_eq!(place(FLIP, "k FENCE FENCE l 1"), Some(2));
        assert_eq!(place(FLIP, "k TARGETS 2 FENCE x FENCE l 1"), Some(5));
        assert_eq!(place(FLIP, "k TARGETS 0 FENCE l 1"), Some(3));
        for count in ["99999999999999999999", "-1", "9223372036854775807"] {
            assert_eq!(place(FLIP, &format!("k TARGETS {count} x y")), None);
        }
    }

    #[test]
    fn keys_end_where_the_option_begins() {
        const DEL: &[Argument] = &[Argument::new("key", Kind::Key).repeated(Repeated::Plain), LEASE];
        assert_eq!(place(DEL, "a b c FENCE l 1"), Some(3));
        assert_eq!(place(DEL, "FENCE FENCE l 1"), Some(1));
        assert_eq!(command(DEL).flags(), "write deny-oom getkeys-api");
        assert_eq!(command(&DEL[..1]).option_with_key(), None);
    }
}
