//! Everything that touches the server's C API, and all of the crate's `unsafe`.
//!
//! The rest of the crate sees safe types only: a [`Context`] per command, [`Arg`]s that borrow the client's
//! arguments, [`Key`] handles, native [`call`]s with their replies, and a [`Reply`] value that a handler returns.

pub mod alloc;
pub mod call;
pub mod clock;
pub mod command;
pub mod config;
pub mod context;
pub mod entry;
pub mod events;
pub mod eviction;
pub mod info;
pub mod key;
pub mod load;
mod native;
pub mod register;
pub mod reply;
pub mod scan;
pub mod string;
pub mod timer;
pub mod unload;

pub use call::{Called, Words};
pub use context::Context;
pub use key::{End, Fields, Key, KeyType};
pub use reply::Reply;
pub use string::{Arg, Text};
