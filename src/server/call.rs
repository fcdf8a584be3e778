//! Native commands, called from a handler.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::{string, Arg, Context, Text};
use crate::errors::{Failure, Outcome};

/// Whether the server runs a native command for this module at this moment.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Whether the keyspace event that is being handled comes from a write of this module.
#[must_use]
pub fn is_writing() -> bool {
    WRITING.load(Ordering::Relaxed)
}

/// Sets the mark for the time of its life.
pub(super) struct Writing;

impl Writing {
    pub(super) fn begin() -> Self {
        WRITING.store(true, Ordering::Relaxed);
        Self
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.store(false, Ordering::Relaxed);
    }
}

/// The arguments of a native command. Strings that came from the client are passed on as they are, without a
/// copy; others are made here and released with the list.
#[derive(Default)]
pub struct Words<'a> {
    pointers: Vec<*mut raw::RedisModuleString>,
    owned: Vec<Text>,
    lifetime: PhantomData<Arg<'a>>,
}

impl<'a> Words<'a> {
    /// An empty list with room for `capacity` words.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let (pointers, owned) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        Self { pointers, owned, lifetime: PhantomData }
    }

    /// Adds one of the client's own arguments.
    pub fn arg(&mut self, arg: Arg<'a>) -> &mut Self {
        self.pointers.push(arg.as_ptr());
        self
    }

    /// Adds a word made of these bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // Without a server there is no string, and no command that could miss it either.
        if let Some(text) = Text::new(bytes) {
            self.pointers.push(text.as_ptr());
            self.owned.push(text);
        }
        self
    }

    /// Adds a name that is part of the program, such as that of a field.
    pub fn name(&mut self, name: &'static str) -> &mut Self {
        if let Some(pointer) = string::named(name) {
            self.pointers.push(pointer);
        }
        self
    }

    /// Adds a number in decimal.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.bytes(number.to_string().as_bytes())
    }

    pub(super) fn pointers(&self) -> &[*mut raw::RedisModuleString] {
        &self.pointers
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pointers.len()
    }

    /// Whether there is no word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }
}

/// The reply to a native command.
pub struct Called {
    pointer: NonNull<raw::RedisModuleCallReply>,
}

impl Drop for Called {
    fn drop(&mut self) {
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(free) = unsafe { raw::RedisModule_FreeCallReply } {
            // SAFETY: the reply is whole (not an element of another) and released once.
            unsafe { free(self.pointer.as_ptr()) };
        }
    }
}

/// A reply, or an element of one, for as long as the whole reply lives.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    pointer: NonNull<raw::RedisModuleCallReply>,
    lifetime: PhantomData<&'a Called>,
}

impl<'a> Element<'a> {
    fn kind(self) -> i32 {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(kind) = (unsafe { raw::RedisModule_CallReplyType }) else { return -1 };
        // SAFETY: the reply is live for 'a.
        unsafe { kind(self.pointer.as_ptr()) }
    }

    /// The bytes of a string (or of an error); empty for every other type.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        let kind = self.kind();
        if kind != raw::REDISMODULE_REPLY_STRING as i32 && kind != raw::REDISMODULE_REPLY_ERROR as i32 {
            return &[];
        }
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(string) = (unsafe { raw::RedisModule_CallReplyStringPtr }) else { return &[] };
        let mut length = 0;
        // SAFETY: the reply is live and of a type that has bytes.
        let start = unsafe { string(self.pointer.as_ptr(), &mut length) };
        if start.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the bytes belong to the reply and live as long as it does.
        unsafe { std::slice::from_raw_parts(start.cast(), length) }
    }

    /// The value of an integer reply; 0 for every other type.
    #[must_use]
    pub fn integer(self) -> i64 {
        if self.kind() != raw::REDISMODULE_REPLY_INTEGER as i32 {
            return 0;
        }
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(integer) = (unsafe { raw::RedisModule_CallReplyInteger }) else { return 0 };
        // SAFETY: the reply is live and an integer.
        unsafe { integer(self.pointer.as_ptr()) }
    }

    /// The number of elements of an array; 0 for every other type.
    #[must_use]
    pub fn len(self) -> usize {
        if self.kind() != raw::REDISMODULE_REPLY_ARRAY as i32 {
            return 0;
        }
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(length) = (unsafe { raw::RedisModule_CallReplyLength }) else { return 0 };
        // SAFETY: the reply is live and an array.
        unsafe { length(self.pointer.as_ptr()) }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One element of an array.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Element<'a>> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: a read of a function pointer that the server's init has set.
        let element = unsafe { raw::RedisModule_CallReplyArrayElement }?;
        // SAFETY: the reply is a live array and the index is inside it.
        let pointer = unsafe { element(self.pointer.as_ptr(), index) };
        NonNull::new(pointer).map(|pointer| Element { pointer, lifetime: PhantomData })
    }

    /// The elements of an array; nothing for every other type.
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

impl Called {
    /// The reply itself, to read it.
    #[must_use]
    pub fn root(&self) -> Element<'_> {
        Element { pointer: self.pointer, lifetime: PhantomData }
    }

    /// Whether it is an array or a map without elements.
    #[must_use]
    pub fn is_empty_collection(&self) -> bool {
        matches!(self.protocol(), b"*0\r\n" | b"%0\r\n")
    }

    /// The reply as it came, in the protocol's own form: to look at without having the server take it apart.
    fn protocol(&self) -> &[u8] {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(protocol) = (unsafe { raw::RedisModule_CallReplyProto }) else { return &[] };
        let mut length = 0;
        // SAFETY: the reply is whole and live, and `length` is writable.
        let start = unsafe { protocol(self.pointer.as_ptr(), &mut length) };
        if start.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the bytes belong to the reply and live as long as it does.
        unsafe { std::slice::from_raw_parts(start.cast(), length) }
    }

    pub(super) fn as_ptr(&self) -> *mut raw::RedisModuleCallReply {
        self.pointer.as_ptr()
    }
}

impl Context<'_> {
    /// Runs a native command that changes data. It is logged and replicated as it stands.
    pub fn write(&self, command: &CStr, words: &Words<'_>) -> Outcome<Called> {
        if self.rehearses.get() {
            self.check_rights(command, words)?;
            return self.read(c"PING", &Words::default());
        }
        let _writing = Writing::begin();
        // With S the server also looks whether it has enough replicas and a disk that works.
        let format = if self.with_rights_of_client.get() { c"!ESCv" } else { c"!Ev" };
        self.call(command, format, words)
    }

    /// Whether the client itself might run a native command.
    fn check_rights(&self, command: &CStr, words: &Words<'_>) -> Outcome<()> {
        let denied = || Failure::no_permission(&command.to_string_lossy());
        let Some(name) = Text::new(command.to_bytes()) else { return Err(denied()) };
        let mut all = vec![name.as_ptr()];
        all.extend(&words.pointers);
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let user_name = unsafe { raw::RedisModule_GetCurrentUserName };
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let find = unsafe { raw::RedisModule_GetModuleUserFromUserName };
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let check = unsafe { raw::RedisModule_ACLCheckCommandPermissions };
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        let free = unsafe { raw::RedisModule_FreeModuleUser };
        let (Some(user_name), Some(find), Some(check), Some(free)) = (user_name, find, check, free) else {
            return Err(denied());
        };
        // SAFETY: the context is live.
        let user_name = unsafe { user_name(self.as_ptr()) };
        if user_name.is_null() {
            return Err(denied());
        }
        // SAFETY: the string was made for this module just now.
        let Some(user_name) = (unsafe { Text::owned(user_name) }) else { return Err(denied()) };
        // SAFETY: the name is live.
        let user = unsafe { find(user_name.as_ptr()) };
        if user.is_null() {
            return Err(denied());
        }
        // SAFETY: user and words are live.
        let status = unsafe { check(user, all.as_mut_ptr(), all.len() as std::os::raw::c_int) };
        // SAFETY: released once.
        unsafe { free(user) };
        if status == raw::REDISMODULE_OK as std::os::raw::c_int {
            Ok(())
        } else {
            Err(denied())
        }
    }

    /// Runs a native command that only reads.
    pub fn read(&self, command: &CStr, words: &Words<'_>) -> Outcome<Called> {
        self.call(command, c"Ev", words)
    }

    /// Runs a native command that only reads, with its reply in the protocol of the client: made to be
    /// forwarded whole with [`super::Reply::Forward`], not to be read here.
    pub fn read_for_client(&self, command: &CStr, words: &Words<'_>) -> Outcome<Called> {
        self.call(command, c"0Ev", words)
    }

    /// Makes sure that native commands may write these keys, before the first of them is written. In a cluster
    /// the slot of the keys may be on its way to another node, with some of them gone already; the server then
    /// refuses to touch them in the middle of a command.
    ///
    /// # Errors
    /// TRYAGAIN, as the server itself says it of several keys in such a slot.
    pub fn reach<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Outcome<()> {
        if !self.in_cluster() {
            return Ok(());
        }
        let mut words = Words::default();
        keys.into_iter().for_each(|key| {
            words.bytes(key.as_ref());
        });
        if words.is_empty() {
            return Ok(());
        }
        self.read(c"EXISTS", &words).map(|_| ()).map_err(|_| Failure::slot_is_moving())
    }

    fn call(&self, command: &CStr, format: &CStr, words: &Words<'_>) -> Outcome<Called> {
        let name = || command.to_string_lossy();
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(call) = (unsafe { raw::RedisModule_Call }) else {
            return Err(Failure::internal(format_args!("{} outside of a server", name())));
        };
        // SAFETY: the context is live; the one `v` of the format takes the pointer and the length of a vector
        // of live strings, of which the server takes references of its own.
        let reply = unsafe {
            call(
                self.as_ptr(),
                command.as_ptr(),
                format.as_ptr(),
                words.pointers.as_ptr(),
                words.pointers.len(),
            )
        };
        let Some(pointer) = NonNull::new(reply) else {
            let cause = std::io::Error::last_os_error();
            return Err(Failure::internal(format_args!("{} was not run: {cause}", name())));
        };
        let called = Called { pointer };
        if called.protocol().first() == Some(&b'-') {
            return Err(Failure::from_server(called.root().bytes()));
        }
        Ok(called)
    }
}
