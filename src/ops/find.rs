//! Looks for paths in many snapshots at once, and says which versions of each there are and in which snapshots.
//!
//! What must hold: the answer is that of listing every snapshot by itself; versions of different machines are not mixed;
//! what several snapshots of a machine share at one path is read once, page by page; what cannot be read is told, and the rest goes on.

mod criteria;
mod runs;
mod search;

use std::path::PathBuf;

use crate::base::{Finding, FindingKind, Monitor, Result, Timestamp};
use crate::format::node::{Node, NodeKind};
use crate::ops::find::criteria::Judge;
use crate::ops::find::search::Search;
use crate::ops::local::LocalFile;
use crate::repository::{Repository, SnapshotEntry};
use crate::source::Sought;
use crate::tree::Tree;

pub use runs::Runs;

/// A kind of object, as the letters of `find -type` tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoughtKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
}

impl SoughtKind {
    /// The kind of a stored object.
    pub const fn of(kind: &NodeKind) -> Self {
        match kind {
            NodeKind::Regular(_) => Self::File,
            NodeKind::Directory(_) => Self::Directory,
            NodeKind::Symlink(_) => Self::Symlink,
            NodeKind::Fifo => Self::Fifo,
            NodeKind::Socket => Self::Socket,
            NodeKind::CharacterDevice { .. } => Self::CharacterDevice,
            NodeKind::BlockDevice { .. } => Self::BlockDevice,
        }
    }
}

/// What is looked for. Everything that is said must be true of an object; the default is true of all.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// Patterns of its path.
    pub patterns: Sought,
    /// Its content was changed last at this moment or later.
    pub oldest: Option<Timestamp>,
    /// Its content was changed last at this moment or earlier.
    pub newest: Option<Timestamp>,
    /// It is a regular file of more bytes.
    pub larger_than_bytes: Option<u64>,
    /// It is a regular file of fewer bytes.
    pub smaller_than_bytes: Option<u64>,
    /// It is of one of these kinds; none: of any.
    pub kinds: Vec<SoughtKind>,
    /// It is a regular file that holds exactly what this file of this machine holds.
    pub content: Option<PathBuf>,
}

/// A version of what stands at a path: its kind, size, time of modification and content. The content of a directory is all
/// that is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object, with mode, owner and attributes as one of the snapshots has them.
    pub node: Node,
    /// Positions of the snapshots that have it.
    pub snapshots: Runs,
}

/// A path that was found in the snapshots of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPath {
    /// Absolute, as in the snapshots.
    pub path: Vec<u8>,
    /// Name of the machine.
    pub host: String,
    /// Its versions, the one that was met last first.
    pub versions: Vec<Version>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In order of paths, a directory before what is in it, and then of machines.
    pub paths: Vec<FoundPath>,
    /// Pages of trees that were read.
    pub pages: u64,
    /// Parts of snapshots that could not be read; each was told.
    pub damaged: u64,
}

impl Found {
    /// The paths, each with what each machine has there.
    pub fn by_path(&self) -> impl Iterator<Item = &[FoundPath]> {
        self.paths.chunk_by(|one, next| one.path == next.path)
    }
}

/// Looks for paths in snapshots, which are given in order of time.
pub fn find(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    criteria: &Criteria,
    monitor: &dyn Monitor,
) -> Result<Found> {
    let local = criteria.content.as_deref().map(LocalFile::open).transpose()?;
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let mut search = Search::new(tree, Judge::new(tree, criteria, local, monitor), monitor);
    for (position, entry) in (0..).zip(snapshots) {
        search.snapshot(position, entry)?;
    }
    Ok(search.finish())
}

/// Tells a part of a snapshot that cannot be read.
pub(super) fn tell_damage(
    monitor: &dyn Monitor,
    snapshot: &SnapshotEntry,
    path: &[u8],
    error: &crate::base::Error,
) {
    let message = format!("in snapshot {}: {}", snapshot.id.short(), error.chain().join(": "));
    let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
    monitor.finding(&Finding { kind: FindingKind::Damaged, path, message });
}

#[cfg(test)]
mod tests;
