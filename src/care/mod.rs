//! What keeps a task store healthy: accounting, and what is built on it.

pub mod memory;
