//! Between siblings: what is needed is marked in the source's index, and what the target lacks of it is taken over.
//!
//! What must hold: what is settled is in the target, needed by snapshots that were committed there; a snapshot of which
//! anything cannot be found or read stores no tree.

use std::sync::{Mutex, PoisonError};

use crate::base::{ChunkId, Error, Monitor, Result};
use crate::ops::copy::needing::path_needing;
use crate::ops::copy::{Base, Failure};
use crate::repository::{Marks, Reader, Repository, Session, SnapshotEntry, Unreadable};
use crate::tree::{mark_common, mark_reachable};

/// What is known of the source.
pub(super) struct Siblings<'c> {
    reader: Reader<'c>,
    /// Two bits for each row of the source's index, and one more once a snapshot went over.
    marks: Marks,
}

impl<'c> Siblings<'c> {
    pub(super) fn new(source: &'c Repository) -> Result<Self> {
        let reader = source.reader()?;
        let marks = reader.marks()?;
        Ok(Self { reader, marks })
    }

    pub(super) const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// All that is marked is in the target.
    pub(super) fn settle(&mut self) {
        self.marks.settle();
    }

    /// Marks all that a snapshot needs, but for what is below pages that it has in common with the base, in tasks of the
    /// calling pool.
    pub(super) fn mark(
        &self,
        entry: &SnapshotEntry,
        base: Option<Base>,
        monitor: &dyn Monitor,
    ) -> std::result::Result<(), Failure> {
        if let Some(base) = base {
            // What cannot be read here is met again, or not needed.
            let _ = mark_common(&self.reader, &base.of_source, &entry.snapshot.tree, &self.marks);
        }
        let found: Mutex<Option<(ChunkId, Error)>> = Mutex::default();
        let marked =
            mark_reachable(&self.reader, &[entry.snapshot.tree], &self.marks, monitor, &|id, error| {
                let message = error.to_string();
                let kind = error.kind();
                found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((*id, error));
                Err(Error::new(kind, message))
            });
        match (marked, found.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some((id, error))) => Err(self.failure(entry, &id, error)),
            (Err(error), None) => Err(Failure::of_source(error)),
        }
    }

    /// Stores what the target lacks of what a snapshot needs, in tasks of the calling pool.
    pub(super) fn store(
        &self,
        session: &Session<'_>,
        entry: &SnapshotEntry,
        base: Option<Base>,
        monitor: &dyn Monitor,
    ) -> std::result::Result<(), Failure> {
        self.mark(entry, base, monitor)?;
        let lack = session.lack_of(self.reader.repository(), &self.marks)?;
        monitor.expect(lack.pack_count(), 0);
        match session.take(&self.reader, &lack, monitor)? {
            None => Ok(()),
            Some(Unreadable { id, error, .. }) => Err(self.failure(entry, &id, error)),
        }
    }

    /// Names the first path that needs what cannot be read.
    fn failure(&self, entry: &SnapshotEntry, id: &ChunkId, error: Error) -> Failure {
        let failure = Failure::of_source(error);
        match failure {
            Failure::Unreadable(error) => Failure::Unreadable(match path_needing(&self.reader, entry, id) {
                Some(path) => {
                    let path = crate::base::monitor::show_path(&path);
                    error.while_doing(format!("cannot read {path}"))
                }
                None => error,
            }),
            other => other,
        }
    }
}
