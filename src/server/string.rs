//! Strings of the server, borrowed and owned. Bytes throughout: the server's strings may hold anything.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use redis_module::raw;

/// One argument of a command: a string that the server keeps alive while the command runs.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Arg<'a> {
    pointer: NonNull<raw::RedisModuleString>,
    lifetime: PhantomData<&'a raw::RedisModuleString>,
}

impl<'a> Arg<'a> {
    /// The bytes of the string.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        // SAFETY: the string outlives 'a by the type's contract.
        unsafe { bytes_of(self.pointer.as_ptr()) }
    }

    pub(super) fn as_ptr(self) -> *mut raw::RedisModuleString {
        self.pointer.as_ptr()
    }

    /// # Safety
    /// `pointer` is a live string of the server for the whole of 'a, or null (then the answer is None).
    pub(super) unsafe fn from_ptr(pointer: *mut raw::RedisModuleString) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, lifetime: PhantomData })
    }

    /// # Safety
    /// `argv` holds `argc` live, non-null strings for the whole of 'a.
    pub(super) unsafe fn slice(argv: *mut *mut raw::RedisModuleString, argc: usize) -> &'a [Self] {
        if argv.is_null() || argc == 0 {
            return &[];
        }
        // SAFETY: `Arg` is a transparent wrapper of a non-null pointer; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(argv.cast::<Self>(), argc) }
    }
}

/// A string that the module owns: made by it, or handed to it by the server.
pub struct Text {
    pointer: NonNull<raw::RedisModuleString>,
}

impl Text {
    /// A new server string with these bytes; None only where no server is running.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let create = unsafe { raw::RedisModule_CreateString }?;
        // SAFETY: a null context means that the module, not the context, owns the string; the bytes are
        // copied before the call returns.
        let pointer = unsafe { create(std::ptr::null_mut(), bytes.as_ptr().cast(), bytes.len()) };
        // SAFETY: the string was made for this module just now.
        unsafe { Self::owned(pointer) }
    }

    /// The bytes of the string.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the string lives until `self` is dropped.
        unsafe { bytes_of(self.pointer.as_ptr()) }
    }

    /// The string as if it were an argument.
    #[must_use]
    pub fn as_arg(&self) -> Arg<'_> {
        Arg { pointer: self.pointer, lifetime: PhantomData }
    }

    /// # Safety
    /// `pointer` is null, or a string that the module is to release and that was not taken from a context
    /// with automatic memory.
    pub(super) unsafe fn owned(pointer: *mut raw::RedisModuleString) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer })
    }

    pub(super) fn as_ptr(&self) -> *mut raw::RedisModuleString {
        self.pointer.as_ptr()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(free) = unsafe { raw::RedisModule_FreeString } {
            // SAFETY: the module holds one reference, which ends here.
            unsafe { free(std::ptr::null_mut(), self.pointer.as_ptr()) };
        }
    }
}

/// Arguments without a server, for tests of what reads them.
#[cfg(test)]
pub fn pretend<T>(words: &[Vec<u8>], act: impl FnOnce(&[Arg<'_>]) -> T) -> T {
    use std::os::raw::c_char;

    extern "C" fn string_ptr_len(
        pointer: *const raw::RedisModuleString,
        length: *mut usize,
    ) -> *const c_char {
        // SAFETY: in tests every string is one of the vectors below, which outlive the call.
        let word = unsafe { &*pointer.cast::<Vec<u8>>() };
        // SAFETY: the caller's own variable.
        unsafe { *length = word.len() };
        word.as_ptr().cast()
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: once and before any use; nothing else in tests sets or calls it.
    ONCE.call_once(|| unsafe { raw::RedisModule_StringPtrLen = Some(string_ptr_len) });
    let pointer = |word: &Vec<u8>| NonNull::from(word).cast::<raw::RedisModuleString>();
    let words: Vec<_> =
        words.iter().map(|word| Arg { pointer: pointer(word), lifetime: PhantomData }).collect();
    act(&words)
}

/// Strings that the module keeps, by where their bytes stand in the program: start and length.
struct Names(BTreeMap<(usize, usize), Text>);

// SAFETY: the server calls the module on its main thread alone, so the strings never meet another one.
unsafe impl Send for Names {}

/// Names that are part of the program.
static NAMES: Mutex<Names> = Mutex::new(Names(BTreeMap::new()));

/// A string with this name, made once. None only where no server is running.
pub(super) fn named(name: &'static str) -> Option<*mut raw::RedisModuleString> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let place = (name.as_ptr() as usize, name.len());
    if let Some(known) = names.0.get(&place) {
        return Some(known.as_ptr());
    }
    let text = Text::new(name.as_bytes())?;
    let pointer = text.as_ptr();
    names.0.insert(place, text);
    Some(pointer)
}

/// Gives the names back, before the module is taken out.
pub(super) fn forget_names() {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
}

/// # Safety
/// `pointer` is a live string of the server for the whole of 'a.
unsafe fn bytes_of<'a>(pointer: *const raw::RedisModuleString) -> &'a [u8] {
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(string_ptr_len) = (unsafe { raw::RedisModule_StringPtrLen }) else { return &[] };
    let mut length = 0;
    // SAFETY: `pointer` is live by the caller's promise, `length` is writable.
    let start = unsafe { string_ptr_len(pointer, &mut length) };
    if start.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the server answered the start and the length of the string's bytes.
    unsafe { std::slice::from_raw_parts(start.cast(), length) }
}
