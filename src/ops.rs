//! What users ask for, one module each.

pub mod backup;
pub mod restore;
