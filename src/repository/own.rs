//! What a session itself has published: tables of its own index runs, so that a session of any length holds the ids of
//! those new chunks in memory alone that no run names yet.
//!
//! What must hold: a chunk that is found here is in a run of this session that was published.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use crate::base::{ChunkId, ContentName, Result};
use crate::crypto::Secret;
use crate::format::index::IndexRun;
use crate::repository::index::table::Table;

/// A table that has so many entries is not merged with the next run: each run then costs no more than writing so many,
/// and a look at 10 million new chunks is one at eight tables.
const ENTRIES_MAX: usize = 1 << 20;

/// Tables of a session's own runs.
#[derive(Debug)]
pub(super) struct OwnRuns {
    /// For the files; nothing: tables are kept in memory.
    folder: Option<PathBuf>,
    key: Secret,
    tables: RwLock<Vec<Table>>,
}

impl OwnRuns {
    pub(super) const fn new(folder: Option<PathBuf>, key: Secret) -> Self {
        Self { folder, key, tables: RwLock::new(Vec::new()) }
    }

    /// Whether a chunk is in a run that was added.
    pub(super) fn contain(&self, id: &ChunkId) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.iter().any(|table| table.places(id).next().is_some())
    }

    /// Adds a run that was published.
    pub(super) fn add(&self, name: ContentName, run: IndexRun) -> Result<()> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let before = match tables.last() {
            Some(last) if last.entry_count() < ENTRIES_MAX => tables.pop(),
            _ => None,
        };
        let before = before.unwrap_or_else(Table::empty);
        let runs = [(name, run)];
        let path = self.folder.as_ref().map(|folder| folder.join(format!("session-{name}.table")));
        let merged = match before.merged(&runs, &BTreeSet::new(), path.as_deref(), &self.key) {
            // A folder that is full or read-only stops nobody.
            Err(_) if path.is_some() => before.merged(&runs, &BTreeSet::new(), None, &self.key),
            other => other,
        };
        if let Some(path) = path {
            // It is mapped, and nobody else is to find it.
            let _ = std::fs::remove_file(path);
        }
        match merged {
            Ok(table) => tables.push(table),
            Err(error) => {
                tables.push(before);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::index::table::tests::run;

    #[test]
    fn every_chunk_of_every_run_is_found_and_no_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        for folder_of_tables in [None, Some(folder.path().to_owned()), Some(folder.path().join("missing"))] {
            let own = OwnRuns::new(folder_of_tables, Secret::new([1; 32]));
            let runs: Vec<(ContentName, IndexRun)> = (0..5).map(|number| run(number * 100)).collect();
            for (number, (name, of_run)) in runs.iter().enumerate() {
                let is_found = |run: &IndexRun| run.entries.iter().all(|entry| own.contain(&entry.id));
                assert!(!of_run.entries.iter().any(|entry| own.contain(&entry.id)));
                own.add(*name, of_run.clone()).expect("added");
                assert!(runs[..=number].iter().all(|(_, run)| is_found(run)));
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}
