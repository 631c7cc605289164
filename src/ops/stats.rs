//! How much snapshots hold, and how much of the repository that takes.
//!
//! What must hold: a subtree that several snapshots share is read once in a run. What is remembered for that: 64 bytes
//! of each distinct tree page and 32 of each other distinct chunk, or of each distinct file, and the room of a hash set
//! around them; nothing grows with the number of snapshots.

mod contents;
pub mod growth;
mod needs;
mod survey;

use crate::base::{Monitor, Result};
use crate::ops::stats::contents::Contents;
use crate::ops::stats::survey::Survey;
use crate::repository::{ObjectCount, Repository, SnapshotEntry};
use crate::tree::Tree;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountMode {
    /// Files and their sizes, in every snapshot anew: what restoring all of them would write.
    RestoreSize,
    /// Files of which no other has the same content.
    FilesByContents,
    /// Chunks, anew for every path that needs them.
    ChunksPerFile,
    /// Chunks, each once: what the repository stores for the snapshots.
    RawData,
}

/// Files and their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTotals {
    /// Names of regular files, or distinct contents.
    pub files: u64,
    /// The sum of their sizes in bytes, holes included; an object with several names counts once in a snapshot.
    pub bytes: u64,
}

/// Distinct chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkTotals {
    /// How many.
    pub count: u64,
    /// Bytes of plaintext.
    pub plain_bytes: u64,
    /// Their share in packs, in bytes.
    pub stored_bytes: u64,
}

impl ChunkTotals {
    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            plain_bytes: self.plain_bytes + other.plain_bytes,
            stored_bytes: self.stored_bytes + other.stored_bytes,
        }
    }
}

/// What is counted of snapshots in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Files.
    Files(FileTotals),
    /// Paths, and the chunks of each.
    ChunksPerFile {
        /// Distinct paths of files that are not empty.
        files: u64,
        /// Chunks, anew for each path.
        chunks: u64,
        /// The sum of their lengths in bytes.
        bytes: u64,
    },
    /// Chunks.
    Chunks(ChunkTotals),
}

/// An overview of snapshots and what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overview {
    /// What restoring all of them would write.
    pub restored: FileTotals,
    /// Chunks of content.
    pub data: ChunkTotals,
    /// Chunks of trees.
    pub trees: ChunkTotals,
    /// All objects of the repository, whatever needs them.
    pub repository: ObjectCount,
}

/// Counts what snapshots hold and what they take.
pub fn overview(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    monitor: &dyn Monitor,
) -> Result<Overview> {
    let reader = repository.reader()?;
    let mut survey = Survey::new(Tree::new(&reader), monitor);
    let restored = survey.take(snapshots)?;
    let (data, trees) = survey.chunks();
    Ok(Overview { restored, data, trees, repository: repository.stored()? })
}

/// Counts snapshots in one mode.
pub fn count(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    mode: CountMode,
    monitor: &dyn Monitor,
) -> Result<Counted> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    match mode {
        CountMode::RestoreSize => Survey::new(tree, monitor).take(snapshots).map(Counted::Files),
        CountMode::RawData => {
            let mut survey = Survey::new(tree, monitor);
            survey.take(snapshots)?;
            let (data, trees) = survey.chunks();
            Ok(Counted::Chunks(data.and(trees)))
        }
        CountMode::FilesByContents => Contents::new(tree, false, monitor).take(snapshots),
        CountMode::ChunksPerFile => Contents::new(tree, true, monitor).take(snapshots),
    }
}

#[cfg(test)]
mod tests;
