//! Capacity planning: arithmetic on figures, without a server. What the figures mean and where they come from is written
//! down in docs/sizing.md.

pub mod cache;
pub mod manifest;
pub mod quantity;
pub mod rows;
