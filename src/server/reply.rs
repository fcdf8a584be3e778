//! What a handler answers, as a value: it is built whole before the first byte goes to the client, so that an
//! error or a panic never leaves half a reply behind.

use std::ffi::CString;
use std::os::raw::{c_char, c_long};

use redis_module::raw;

use super::{Called, Context, Fields};
use crate::errors::Failure;

/// A reply.
pub enum Reply {
    /// An integer.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// A string that is part of the program.
    Name(&'static str),
    /// What does not exist.
    Nil,
    /// An array.
    Array(Vec<Reply>),
    /// A map: a RESP3 map, a flat array for a RESP2 client.
    Map(Vec<(Reply, Reply)>),
    /// A map of the names and values of a hash.
    Fields(Fields),
    /// The reply to a native command, passed on as it is.
    Forward(Called),
}

impl Reply {
    /// A string reply of text or bytes.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// An integer reply of a count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// An array of integers.
    pub fn integers(numbers: impl IntoIterator<Item = i64>) -> Self {
        Self::Array(numbers.into_iter().map(Self::Integer).collect())
    }

    /// A map with names as its keys.
    pub fn map(entries: impl IntoIterator<Item = (&'static str, Reply)>) -> Self {
        Self::Map(entries.into_iter().map(|(name, value)| (Self::Name(name), value)).collect())
    }

    /// Sends the reply. A function pointer that is missing, which no supported server has, sends nothing.
    pub(super) fn send(&self, context: &Context<'_>) {
        let pointer = context.as_ptr();
        match self {
            Self::Integer(number) => {
                // SAFETY: a read of a function pointer that the server's init has set.
                if let Some(send) = unsafe { raw::RedisModule_ReplyWithLongLong } {
                    // SAFETY: the context is that of the running command.
                    unsafe { send(pointer, *number) };
                }
            }
            Self::Bulk(bytes) => send_string(context, bytes),
            Self::Name(name) => send_string(context, name.as_bytes()),
            Self::Nil => {
                // SAFETY: a read of a function pointer that the server's init has set.
                if let Some(send) = unsafe { raw::RedisModule_ReplyWithNull } {
                    // SAFETY: the context is that of the running command.
                    unsafe { send(pointer) };
                }
            }
            Self::Array(items) => {
                // SAFETY: a read of a function pointer that the server's init has set.
                if let Some(send) = unsafe { raw::RedisModule_ReplyWithArray } {
                    // SAFETY: exactly as many replies follow as are announced.
                    unsafe { send(pointer, items.len() as c_long) };
                    items.iter().for_each(|item| item.send(context));
                }
            }
            Self::Map(entries) => {
                if announce_map(context, entries.len()) {
                    for (name, value) in entries {
                        name.send(context);
                        value.send(context);
                    }
                }
            }
            Self::Fields(fields) => {
                let pairs = fields.pairs();
                if announce_map(context, pairs.len()) {
                    for (name, value) in pairs {
                        send_string(context, name);
                        send_string(context, value);
                    }
                }
            }
            Self::Forward(called) => {
                // SAFETY: a read of a function pointer that the server's init has set.
                if let Some(send) = unsafe { raw::RedisModule_ReplyWithCallReply } {
                    // SAFETY: the reply is whole and live; the server copies it to the client's buffer.
                    unsafe { send(pointer, called.as_ptr()) };
                }
            }
        }
    }
}

/// Announces a map of that many pairs, which are to follow. Answers whether it could be announced.
fn announce_map(context: &Context<'_>, pairs: usize) -> bool {
    // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
    let Some(send) = (unsafe { raw::RedisModule_ReplyWithMap }) else { return false };
    // SAFETY: the context is that of the running command; the callers send exactly as many pairs.
    unsafe { send(context.as_ptr(), pairs as c_long) };
    true
}

fn send_string(context: &Context<'_>, bytes: &[u8]) {
    // SAFETY: a read of a function pointer that the server's init has set.
    if let Some(send) = unsafe { raw::RedisModule_ReplyWithStringBuffer } {
        // SAFETY: the server copies the bytes before the call returns.
        unsafe { send(context.as_ptr(), bytes.as_ptr().cast::<c_char>(), bytes.len()) };
    }
}

/// Sends an error reply.
pub(super) fn send_failure(context: &Context<'_>, failure: &Failure) {
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(send) = (unsafe { raw::RedisModule_ReplyWithError }) else { return };
    let text = CString::new(failure.text()).unwrap_or_else(|_| c"ERR unprintable error".to_owned());
    // SAFETY: the text is NUL-terminated and copied before the call returns.
    unsafe { send(context.as_ptr(), text.as_ptr()) };
}
