//! What the server wants to know of a command, and how it is told.

use std::ffi::{CString, NulError};
use std::os::raw::{c_char, c_int};

use redis_module::raw;

use super::entry::Entry;
use super::Context;
use crate::errors::{Failure, Outcome};

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
    /// Changes data, and only ever gives memory back: allowed when the server has none left.
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
    /// It may be repeated together with its token.
    WithToken,
}

/// What an argument is.
pub enum Kind {
    /// A key.
    Key,
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
            Kind::Key | Kind::String | Kind::Integer | Kind::Time => 1,
        };
        own + i32::from(self.token.is_some())
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
        if self.fast {
            format!("{access} fast")
        } else {
            access.to_owned()
        }
    }

    /// The server's access control categories that the command belongs to.
    #[must_use]
    pub fn categories(&self) -> String {
        let access = if self.access == Access::Read { "read" } else { "write" };
        let speed = if self.fast { "fast" } else { "slow" };
        format!("{access} {speed}")
    }
}

/// Registers a command with all that the server can hold of its description.
///
/// # Errors
/// When the server refuses it.
pub fn register(context: &Context<'_>, command: &Command) -> Outcome<()> {
    try_register(context, command)
        .map_err(|_| Failure::internal(format_args!("a NUL in the description of {}", command.name)))?
}

fn try_register(context: &Context<'_>, command: &Command) -> Result<Outcome<()>, NulError> {
    let refused = |step: &str| Err(Failure::internal(format_args!("{} was refused: {step}", command.name)));
    let name = CString::new(command.name)?;
    let flags = CString::new(command.flags())?;
    let (first, last, step) = match command.keys {
        Keys::None => (0, 0, 0),
        Keys::First(_) => (1, 1, 1),
        Keys::All(_) => (1, -1, 1),
    };
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(create) = (unsafe { raw::RedisModule_CreateCommand }) else {
        return Ok(refused("no command can be created"));
    };
    // SAFETY: called while the module loads; the server copies name and flags.
    let status = unsafe {
        create(context.as_ptr(), name.as_ptr(), Some(command.entry), flags.as_ptr(), first, last, step)
    };
    if status != raw::REDISMODULE_OK as c_int {
        return Ok(refused("its name, its flags or its keys"));
    }
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let Some(find) = (unsafe { raw::RedisModule_GetCommand }) else {
        return Ok(refused("it cannot be found"));
    };
    // SAFETY: the name is NUL-terminated; the command was created above.
    let created = unsafe { find(context.as_ptr(), name.as_ptr()) };
    if created.is_null() {
        return Ok(refused("it cannot be found"));
    }
    // SAFETY: `created` is the command of this module, whose description was not set before.
    if unsafe { describe(created, command) }? != raw::REDISMODULE_OK as c_int {
        return Ok(refused("its description"));
    }
    // SAFETY: a read of a function pointer; Redis 7.2 and later have it.
    if let Some(categorize) = unsafe { raw::RedisModule_SetCommandACLCategories } {
        let categories = CString::new(command.categories())?;
        // SAFETY: `created` is the command of this module, and the module is still loading.
        if unsafe { categorize(created, categories.as_ptr()) } != raw::REDISMODULE_OK as c_int {
            context.warn(&format!("{} has no access control category", command.name));
        }
    }
    Ok(Ok(()))
}

static INFO_VERSION: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
};

/// # Safety
/// `created` is a command of this module whose description was not set before.
unsafe fn describe(created: *mut raw::RedisModuleCommand, command: &Command) -> Result<c_int, NulError> {
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let Some(set_info) = (unsafe { raw::RedisModule_SetCommandInfo }) else {
        return Ok(raw::REDISMODULE_OK as c_int);
    };
    let mut arena = Arena::default();
    let mut specs = key_specs(command.keys);
    let info = raw::RedisModuleCommandInfo {
        version: &INFO_VERSION,
        summary: arena.text(command.summary)?,
        complexity: arena.text(command.complexity)?,
        since: arena.text(command.since)?,
        history: std::ptr::null_mut(),
        tips: std::ptr::null(),
        arity: command.arity(),
        key_specs: specs.as_mut_ptr(),
        args: arena.arguments(command.arguments)?,
    };
    // SAFETY: the server copies the whole description, which lives in `arena` and `specs` until the end here.
    Ok(unsafe { set_info(created, &info) })
}

/// The key specifications, ended by an entry of zeros.
fn key_specs(keys: Keys) -> Vec<raw::RedisModuleCommandKeySpec> {
    let (usage, last) = match keys {
        Keys::None => return vec![empty_key_spec()],
        Keys::First(usage) => (usage, 0),
        Keys::All(usage) => (usage, -1),
    };
    let flags = match usage {
        KeyUse::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
        KeyUse::Update => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE,
        KeyUse::ReadUpdate => {
            raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE
        }
        KeyUse::ReadDelete => {
            raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_DELETE
        }
        KeyUse::Delete => raw::REDISMODULE_CMD_KEY_RM | raw::REDISMODULE_CMD_KEY_DELETE,
    };
    let mut spec = empty_key_spec();
    spec.flags = u64::from(flags);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = 1;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range =
        raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: last, keystep: 1, limit: 0 };
    vec![spec, empty_key_spec()]
}

fn empty_key_spec() -> raw::RedisModuleCommandKeySpec {
    // SAFETY: a C structure of numbers and pointers, for which zeros are the documented end of a list.
    unsafe { std::mem::zeroed() }
}

/// Owns the strings and lists of a description until the server has copied it.
#[derive(Default)]
struct Arena {
    texts: Vec<CString>,
    lists: Vec<Vec<raw::RedisModuleCommandArg>>,
}

impl Arena {
    fn text(&mut self, text: &str) -> Result<*const c_char, NulError> {
        let text = CString::new(text)?;
        let pointer = text.as_ptr();
        // Moving the CString does not move its bytes.
        self.texts.push(text);
        Ok(pointer)
    }

    fn arguments(&mut self, arguments: &[Argument]) -> Result<*mut raw::RedisModuleCommandArg, NulError> {
        let mut list = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            list.push(self.argument(argument)?);
        }
        // SAFETY: a C structure of numbers and pointers, for which zeros are the documented end of a list.
        list.push(unsafe { std::mem::zeroed() });
        let pointer = list.as_mut_ptr();
        // Moving the Vec does not move its elements.
        self.lists.push(list);
        Ok(pointer)
    }

    fn argument(&mut self, argument: &Argument) -> Result<raw::RedisModuleCommandArg, NulError> {
        use raw::{
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK as BLOCK,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER as INTEGER,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY as KEY,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF as ONE_OF,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN as TOKEN,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING as STRING,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_UNIX_TIME as TIME,
        };
        let none = std::ptr::null_mut();
        let (kind, parts) = match &argument.kind {
            Kind::Key => (KEY, none),
            Kind::String => (STRING, none),
            Kind::Integer => (INTEGER, none),
            Kind::Time => (TIME, none),
            Kind::Word => (TOKEN, none),
            Kind::OneOf(choices) => (ONE_OF, self.arguments(choices)?),
            Kind::Block(parts) => (BLOCK, self.arguments(parts)?),
        };
        let optional = if argument.optional { raw::REDISMODULE_CMD_ARG_OPTIONAL } else { 0 };
        let repeated = match argument.repeated {
            Repeated::No => 0,
            Repeated::Plain => raw::REDISMODULE_CMD_ARG_MULTIPLE,
            Repeated::WithToken => {
                raw::REDISMODULE_CMD_ARG_MULTIPLE | raw::REDISMODULE_CMD_ARG_MULTIPLE_TOKEN
            }
        };
        Ok(raw::RedisModuleCommandArg {
            name: self.text(&argument.name.to_lowercase())?,
            type_: kind,
            key_spec_index: if matches!(argument.kind, Kind::Key) { 0 } else { -1 },
            token: argument.token.map_or(Ok(std::ptr::null()), |token| self.text(token))?,
            summary: std::ptr::null(),
            since: std::ptr::null(),
            flags: (optional | repeated) as c_int,
            deprecated_since: std::ptr::null(),
            subargs: parts,
            display_text: std::ptr::null(),
        })
    }
}
