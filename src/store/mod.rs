//! What the handlers act through: rows, indexes, leases, histories and buffers, in terms of the server's
//! native commands. Nothing here parses arguments or words replies.

pub mod buffers;
pub mod indexes;
pub mod leases;
pub mod listing;
mod remembered;
pub mod rows;
pub mod runs;
mod target;
pub mod watch;

pub use target::Target;
