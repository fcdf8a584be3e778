//! Pure decisions. Time is an argument, nothing here reads a clock, a key or a setting.

pub mod alias;
pub mod backoff;
pub mod budget;
pub mod estimate;
pub mod expiry;
pub mod idempotency;
pub mod job;
pub mod lease;
pub mod prune;
pub mod row;
pub mod runs;
pub mod task;
pub mod window;
