//! What users ask for, one module each.

pub mod backup;
pub mod check;
pub mod dump;
pub mod list;
mod path;
pub mod restore;
pub mod stats;
