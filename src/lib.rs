//! Miroir's task store, inside the server: a module for Redis 7.0 and later and for Valkey 8 and later.

#![warn(missing_docs)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod errors;
pub mod keyspace;
pub mod rules;
pub mod schema;
