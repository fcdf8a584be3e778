//! The key that a command works on.

use crate::keyspace::Address;
use crate::server::Arg;

/// One row, or one structure of another shape: the key as the client gave it, and what it names.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The key.
    pub key: Arg<'a>,
    /// What it names.
    pub address: Address<'a>,
    /// The id in it, which is a good one.
    pub id: &'a str,
}
