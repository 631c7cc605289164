//! How much of a snapshot is new, changed, or as it was.
//!
//! What must hold: every regular file and every directory that is part of the snapshot is counted once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Change;
use crate::format::snapshot::Statistic;

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Counts {
    files: [AtomicU64; 3],
    directories: [AtomicU64; 3],
    bytes_read: AtomicU64,
}

fn of(counts: &[AtomicU64; 3], change: Change) -> &AtomicU64 {
    let [new, changed, unmodified] = counts;
    match change {
        Change::New => new,
        Change::Changed => changed,
        Change::Unmodified => unmodified,
    }
}

impl Counts {
    pub(super) fn add_file(&self, change: Change) {
        of(&self.files, change).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_directory(&self, change: Change) {
        of(&self.directories, change).fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets what was counted: what was taken over as a whole is there instead.
    pub(super) fn replace_by_unmodified(&self, files: u64, directories: u64) {
        self.files.iter().chain(&self.directories).for_each(|count| count.store(0, Ordering::Relaxed));
        of(&self.files, Change::Unmodified).store(files, Ordering::Relaxed);
        of(&self.directories, Change::Unmodified).store(directories, Ordering::Relaxed);
    }

    /// Adds the files and directories of other counts.
    pub(super) fn add(&self, other: &Self) {
        let pairs =
            self.files.iter().zip(&other.files).chain(self.directories.iter().zip(&other.directories));
        for (own, of_other) in pairs {
            own.fetch_add(of_other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn add_bytes_read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All numbers, as the snapshot gives them.
    pub(super) fn statistics(&self) -> impl Iterator<Item = (Statistic, u64)> {
        let files = [Statistic::FilesNew, Statistic::FilesChanged, Statistic::FilesUnmodified];
        let directories =
            [Statistic::DirectoriesNew, Statistic::DirectoriesChanged, Statistic::DirectoriesUnmodified];
        let counts = files.into_iter().zip(&self.files).chain(directories.into_iter().zip(&self.directories));
        let counts = counts.chain([(Statistic::BytesRead, &self.bytes_read)]);
        counts.map(|(statistic, count)| (statistic, count.load(Ordering::Relaxed)))
    }
}
