//! What users ask for, one module each.

pub mod restore;
