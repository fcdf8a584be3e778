//! The module's settings, `CONFIG SET miroir.<name>`.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_longlong, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use redis_module::raw;

use super::Context;
use crate::errors::{Failure, Outcome};

/// A setting that is a number from 0 or more on.
pub struct Setting {
    name: &'static CStr,
    default: i64,
    least: i64,
    most: i64,
    /// Whether its unit is bytes, so that `1mb` is a value of it.
    is_memory: bool,
    value: AtomicI64,
}

impl Setting {
    const fn new(name: &'static CStr, default: i64, least: i64, most: i64, is_memory: bool) -> Self {
        Self { name, default, least, most, is_memory, value: AtomicI64::new(default) }
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.value.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// A setting that is yes or no.
pub struct Switch {
    name: &'static CStr,
    default: bool,
    value: AtomicBool,
}

impl Switch {
    const fn new(name: &'static CStr, default: bool) -> Self {
        Self { name, default, value: AtomicBool::new(default) }
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> bool {
        self.value.load(Ordering::Relaxed)
    }
}

/// The bytes that one field of a row may hold at most: by the contract 1 MiB, and never more than the server's own
/// limit for a string, `proto-max-bulk-len`.
pub static MAX_FIELD_BYTES: Setting = Setting::new(c"max-field-bytes", 1 << 20, 1, 512 << 20, true);
/// From how many bytes of used memory on INFO shows a warning, by the capacity planning.
pub static MEMORY_WARNING: Setting = Setting::new(c"memory-warning-bytes", 500_000_000, 0, i64::MAX, true);
/// From how many bytes of used memory on INFO shows that it is critical, by the capacity planning.
pub static MEMORY_CRITICAL: Setting =
    Setting::new(c"memory-critical-bytes", 1_000_000_000, 0, i64::MAX, true);
/// For how many microseconds the catalog is compared with the keys each time that the server does its periodic work;
/// 0 is never. By default that is half a per cent of the time, at the default `hz`.
pub static AUDIT_BUDGET: Setting = Setting::new(c"audit-budget-us", 500, 0, 5_000, false);
/// For how many seconds something has to last before MIROIR.DOCTOR speaks of it, and over how many it counts at least.
pub static DOCTOR_WINDOW: Setting = Setting::new(c"doctor-window-seconds", 300, 1, 86_400, false);

/// Whether keys that must not be lost are kept from being evicted.
pub static PROTECT_FROM_EVICTION: Switch = Switch::new(c"protect-from-eviction", true);

static SETTINGS: &[&Setting] =
    &[&MAX_FIELD_BYTES, &MEMORY_WARNING, &MEMORY_CRITICAL, &AUDIT_BUDGET, &DOCTOR_WINDOW];

/// The bytes that one field of a row may hold, at most.
#[must_use]
pub fn max_field_bytes() -> usize {
    usize::try_from(MAX_FIELD_BYTES.get()).unwrap_or(usize::MAX)
}

/// Registers the settings and takes their values from the server's configuration.
///
/// # Errors
/// When the server refuses a setting, or a value in its configuration file.
pub fn register(context: &Context<'_>) -> Outcome<()> {
    for setting in SETTINGS {
        register_one(context, setting)?;
    }
    register_switch(context, &PROTECT_FROM_EVICTION)?;
    // SAFETY: a read of a function pointer; present wherever settings can be registered.
    let load = unsafe { raw::RedisModule_LoadConfigs };
    let load = load.ok_or_else(|| Failure::internal("no module configuration"))?;
    // SAFETY: called while the module loads, after all settings are registered.
    if unsafe { load(context.as_ptr()) } != raw::REDISMODULE_OK as c_int {
        return Err(Failure::refused(
            "a setting of the module has a value that it cannot have: the line above says which",
        ));
    }
    Ok(())
}

fn register_one(context: &Context<'_>, setting: &'static Setting) -> Outcome<()> {
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let numeric = unsafe { raw::RedisModule_RegisterNumericConfig };
    let numeric = numeric.ok_or_else(|| Failure::internal("no module configuration"))?;
    let flags =
        if setting.is_memory { raw::REDISMODULE_CONFIG_MEMORY } else { raw::REDISMODULE_CONFIG_DEFAULT };
    // SAFETY: called while the module loads; name and callbacks live as long as the library.
    let status = unsafe {
        numeric(
            context.as_ptr(),
            setting.name.as_ptr(),
            setting.default,
            flags as c_uint,
            setting.least,
            setting.most,
            Some(get_number),
            Some(set_number),
            None,
            (&raw const *setting).cast_mut().cast::<c_void>(),
        )
    };
    expect_registered(status, setting.name)
}

fn register_switch(context: &Context<'_>, switch: &'static Switch) -> Outcome<()> {
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let boolean = unsafe { raw::RedisModule_RegisterBoolConfig };
    let boolean = boolean.ok_or_else(|| Failure::internal("no module configuration"))?;
    // SAFETY: called while the module loads; name and callbacks live as long as the library.
    let status = unsafe {
        boolean(
            context.as_ptr(),
            switch.name.as_ptr(),
            c_int::from(switch.default),
            raw::REDISMODULE_CONFIG_DEFAULT as c_uint,
            Some(get_switch),
            Some(set_switch),
            None,
            (&raw const *switch).cast_mut().cast::<c_void>(),
        )
    };
    expect_registered(status, switch.name)
}

fn expect_registered(status: c_int, name: &CStr) -> Outcome<()> {
    if status == raw::REDISMODULE_OK as c_int {
        return Ok(());
    }
    Err(Failure::internal(format_args!("the server refused the setting {}", name.to_string_lossy())))
}

extern "C" fn get_number(_name: *const c_char, setting: *mut c_void) -> c_longlong {
    // SAFETY: `register_one` passes the address of a static Setting.
    unsafe { setting.cast::<Setting>().as_ref() }.map_or(0, |setting| setting.value.load(Ordering::Relaxed))
}

extern "C" fn set_number(
    _name: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `register_one` passes the address of a static Setting.
    if let Some(setting) = unsafe { setting.cast::<Setting>().as_ref() } {
        setting.value.store(value, Ordering::Relaxed);
    }
    raw::REDISMODULE_OK as c_int
}

extern "C" fn get_switch(_name: *const c_char, switch: *mut c_void) -> c_int {
    // SAFETY: `register_switch` passes the address of a static Switch.
    unsafe { switch.cast::<Switch>().as_ref() }.map_or(0, |switch| c_int::from(switch.get()))
}

extern "C" fn set_switch(
    _name: *const c_char,
    value: c_int,
    switch: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `register_switch` passes the address of a static Switch.
    if let Some(switch) = unsafe { switch.cast::<Switch>().as_ref() } {
        switch.value.store(value != 0, Ordering::Relaxed);
    }
    raw::REDISMODULE_OK as c_int
}
