//! The module's settings, `CONFIG SET miroir.<name>`.

use std::os::raw::{c_char, c_int, c_longlong, c_void};
use std::sync::atomic::{AtomicI64, Ordering};

use redis_module::raw;

use super::Context;
use crate::errors::{Failure, Outcome};

/// The default of `miroir.max-field-bytes`, from the contract: 1 MiB.
const MAX_FIELD_BYTES_DEFAULT: i64 = 1 << 20;
/// The server's own limit for a string, `proto-max-bulk-len`.
const MAX_FIELD_BYTES_CEILING: i64 = 512 << 20;

static MAX_FIELD_BYTES: AtomicI64 = AtomicI64::new(MAX_FIELD_BYTES_DEFAULT);

/// The bytes that one field of a row may hold, at most.
#[must_use]
pub fn max_field_bytes() -> usize {
    usize::try_from(MAX_FIELD_BYTES.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Registers the settings and takes their values from the server's configuration.
///
/// # Errors
/// When the server refuses a setting, or a value in its configuration file.
pub fn register(context: &Context<'_>) -> Outcome<()> {
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let numeric = unsafe { raw::RedisModule_RegisterNumericConfig };
    let numeric = numeric.ok_or_else(|| Failure::internal("no module configuration"))?;
    // SAFETY: called while the module loads; name and callbacks live as long as the library.
    let status = unsafe {
        numeric(
            context.as_ptr(),
            c"max-field-bytes".as_ptr(),
            MAX_FIELD_BYTES_DEFAULT,
            raw::REDISMODULE_CONFIG_MEMORY,
            1,
            MAX_FIELD_BYTES_CEILING,
            Some(get_number),
            Some(set_number),
            None,
            (&raw const MAX_FIELD_BYTES).cast_mut().cast::<c_void>(),
        )
    };
    if status != raw::REDISMODULE_OK as c_int {
        return Err(Failure::internal("the server refused the setting max-field-bytes"));
    }
    // SAFETY: a read of a function pointer; present wherever settings can be registered.
    let load = unsafe { raw::RedisModule_LoadConfigs };
    let load = load.ok_or_else(|| Failure::internal("no module configuration"))?;
    // SAFETY: called while the module loads, after all settings are registered.
    if unsafe { load(context.as_ptr()) } != raw::REDISMODULE_OK as c_int {
        return Err(Failure::internal("the server refused a value of a miroir setting"));
    }
    Ok(())
}

extern "C" fn get_number(_name: *const c_char, setting: *mut c_void) -> c_longlong {
    // SAFETY: `register` passes the address of a static AtomicI64.
    unsafe { setting.cast::<AtomicI64>().as_ref() }.map_or(0, |setting| setting.load(Ordering::Relaxed))
}

extern "C" fn set_number(
    _name: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `register` passes the address of a static AtomicI64.
    if let Some(setting) = unsafe { setting.cast::<AtomicI64>().as_ref() } {
        setting.store(value, Ordering::Relaxed);
    }
    raw::REDISMODULE_OK as c_int
}
