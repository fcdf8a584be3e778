//! What keeps a task store healthy: accounting, and what is built on it.

pub mod aftermath;
pub mod alert;
pub mod audit;
pub mod doctor;
pub mod memory;
pub mod observe;
pub mod plan;
pub mod protection;
pub mod vigil;
