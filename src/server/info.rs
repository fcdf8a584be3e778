//! INFO: what the module tells of itself, and what the server tells of itself.

use std::ffi::{CStr, CString};
use std::os::raw::c_int;
use std::ptr::NonNull;

use redis_module::raw;

use super::entry::guard;
use super::Context;
use crate::errors::{Failure, Outcome};

/// The answer to INFO, to be filled section by section.
pub struct Info {
    pointer: NonNull<raw::RedisModuleInfoCtx>,
}

impl Info {
    /// Begins a section. Answers whether it is wanted.
    pub fn section(&mut self, name: &str) -> bool {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(add) = (unsafe { raw::RedisModule_InfoAddSection }) else { return false };
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: the context of INFO is live; the name is copied.
        unsafe { add(self.pointer.as_ptr(), name.as_ptr()) == raw::REDISMODULE_OK as c_int }
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(add) = (unsafe { raw::RedisModule_InfoAddFieldULongLong }) else { return };
        let Ok(name) = CString::new(name) else { return };
        // SAFETY: the context of INFO is live; the name is copied.
        unsafe { add(self.pointer.as_ptr(), name.as_ptr(), value) };
    }

    /// Adds a word.
    pub fn text(&mut self, name: &str, value: &str) {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(add) = (unsafe { raw::RedisModule_InfoAddFieldCString }) else { return };
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { return };
        // SAFETY: the context of INFO is live; name and value are copied.
        unsafe { add(self.pointer.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// Adds several numbers under one name.
    pub fn numbers(&mut self, name: &str, values: &[(&str, u64)]) {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(begin) = (unsafe { raw::RedisModule_InfoBeginDictField }) else { return };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(end) = (unsafe { raw::RedisModule_InfoEndDictField }) else { return };
        let Ok(name) = CString::new(name) else { return };
        // SAFETY: the context of INFO is live; the name is copied.
        unsafe { begin(self.pointer.as_ptr(), name.as_ptr()) };
        values.iter().for_each(|(name, value)| self.number(name, *value));
        // SAFETY: the context of INFO is live, with a field that was begun.
        unsafe { end(self.pointer.as_ptr()) };
    }
}

/// Calls `handler` for every INFO that asks for this module.
///
/// # Errors
/// When the server refuses it.
pub fn on_info<F>(context: &Context<'_>, _handler: F) -> Outcome<()>
where
    F: Fn(&mut Info) + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
    // SAFETY: a read of a function pointer that the server's init has set.
    let register = unsafe { raw::RedisModule_RegisterInfoFunc };
    let register = register.ok_or_else(|| Failure::internal("no INFO of modules"))?;
    // SAFETY: called while the module loads; the callback is a function of this library.
    let status = unsafe { register(context.as_ptr(), Some(info::<F>)) };
    if status == raw::REDISMODULE_OK as c_int {
        Ok(())
    } else {
        Err(Failure::internal("the server refused the module's INFO"))
    }
}

extern "C" fn info<F>(context: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int)
where
    F: Fn(&mut Info) + Copy + 'static,
{
    // A server that crashes may have been stopped in the middle of anything, an allocation for example.
    if for_crash_report != 0 {
        return;
    }
    guard(|| {
        if let Some(pointer) = NonNull::new(context) {
            // SAFETY: `on_info` accepts only types without data, of which any aligned pointer is a value.
            let handler = unsafe { NonNull::<F>::dangling().as_ref() };
            handler(&mut Info { pointer });
        }
    });
}

/// A section of the server's own INFO.
pub struct ServerInfo {
    pointer: NonNull<raw::RedisModuleServerInfoData>,
}

impl ServerInfo {
    /// Asks the server. None only where no server is running.
    #[must_use]
    pub fn section(name: &CStr) -> Option<Self> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let get = unsafe { raw::RedisModule_GetServerInfo }?;
        // SAFETY: without a context the caller releases the answer, which `drop` does.
        NonNull::new(unsafe { get(std::ptr::null_mut(), name.as_ptr()) }).map(|pointer| Self { pointer })
    }

    /// One field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let name = CString::new(name).ok()?;
        // SAFETY: a read of a function pointer that the server's init has set.
        let get = unsafe { raw::RedisModule_ServerInfoGetFieldC }?;
        // SAFETY: the answer is live; a name that it does not have gives null.
        let value = unsafe { get(self.pointer.as_ptr(), name.as_ptr()) };
        if value.is_null() {
            return None;
        }
        // SAFETY: the value is NUL-terminated and lives as long as the answer.
        unsafe { CStr::from_ptr(value) }.to_str().ok()
    }
}

impl Drop for ServerInfo {
    fn drop(&mut self) {
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(free) = unsafe { raw::RedisModule_FreeServerInfo } {
            // SAFETY: the answer is released once, without a context, as it was made.
            unsafe { free(std::ptr::null_mut(), self.pointer.as_ptr()) };
        }
    }
}
