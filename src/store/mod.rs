//! What the handlers act through: rows, indexes, leases, histories and buffers, in terms of the server's
//! native commands. Nothing here parses arguments or words replies.

pub mod buffers;
pub mod indexes;
pub mod leases;
pub mod limits;
pub mod observations;
pub mod pods;
mod remembered;
pub mod repair;
pub mod rows;
pub mod runs;
mod target;

pub use target::Target;
