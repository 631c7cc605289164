//! What users ask for, one module each.

pub mod backup;
pub mod check;
pub mod copy;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod history;
pub mod list;
mod local;
mod path;
mod pool;
pub mod prune;
pub mod restore;
pub mod restore_database;
pub mod sessions;
pub mod stats;
pub mod tag;
