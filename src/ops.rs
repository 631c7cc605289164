//! What users ask for, one module each.

pub mod backup;
pub mod dump;
pub mod list;
pub mod restore;
