//! How the server is told of a command.

use std::ffi::{CStr, CString, NulError};
use std::os::raw::{c_char, c_int};

use redis_module::raw;

use super::command::{Argument, Command, KeyUse, Keys, Kind, Repeated};
use super::Context;
use crate::errors::{Failure, Outcome};

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
    let option = command.option_with_key().map(CString::new).transpose()?;
    let mut specs = key_specs(command.keys, option.as_deref());
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
    // SAFETY: the server copies the whole description, which lives in `arena`, `option` and `specs` until the end here.
    Ok(unsafe { set_info(created, &info) })
}

/// A key's use in the server's flags.
pub(super) fn key_flags(usage: KeyUse) -> u32 {
    match usage {
        KeyUse::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
        KeyUse::Update => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE,
        KeyUse::ReadUpdate => {
            raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE
        }
        KeyUse::ReadDelete => {
            raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_DELETE
        }
        KeyUse::Delete => raw::REDISMODULE_CMD_KEY_RM | raw::REDISMODULE_CMD_KEY_DELETE,
    }
}

/// The key specifications, ended by an entry of zeros. `option` is the word before a key that is an option: it makes the
/// server ask the command itself for its keys, and the specifications are then only what people are shown.
fn key_specs(keys: Keys, option: Option<&CStr>) -> Vec<raw::RedisModuleCommandKeySpec> {
    let (usage, last) = match keys {
        Keys::None => return vec![empty_key_spec()],
        Keys::First(usage) => (usage, 0),
        Keys::All(usage) => (usage, -1),
    };
    let asked = if option.is_some() { raw::REDISMODULE_CMD_KEY_VARIABLE_FLAGS } else { 0 };
    let mut spec = empty_key_spec();
    spec.flags = u64::from(key_flags(usage) | asked);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = 1;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range =
        raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: last, keystep: 1, limit: 0 };
    let mut specs = vec![spec];
    if let Some(word) = option {
        let mut spec = empty_key_spec();
        spec.flags = u64::from(key_flags(KeyUse::Read) | asked);
        spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_KEYWORD;
        spec.bs.keyword = raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_2 {
            keyword: word.as_ptr(),
            startfrom: 2,
        };
        spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
        spec.fk.range =
            raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: 0, keystep: 1, limit: 0 };
        specs.push(spec);
    }
    specs.push(empty_key_spec());
    specs
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
            Kind::Key | Kind::OptionKey => (KEY, none),
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
            Repeated::Plain | Repeated::Counted => raw::REDISMODULE_CMD_ARG_MULTIPLE,
            Repeated::WithToken => {
                raw::REDISMODULE_CMD_ARG_MULTIPLE | raw::REDISMODULE_CMD_ARG_MULTIPLE_TOKEN
            }
        };
        Ok(raw::RedisModuleCommandArg {
            name: self.text(&argument.name.to_lowercase())?,
            type_: kind,
            key_spec_index: match argument.kind {
                Kind::Key => 0,
                Kind::OptionKey => 1,
                _ => -1,
            },
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
