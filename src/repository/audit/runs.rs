//! The index read anew, run by run, so that one damaged run is told and the others still serve.
//!
//! What must hold: every listed run is fetched, hashed, opened and decoded; nothing comes from the table that this
//! machine keeps; a run that contradicts those before it is told and left out; the table lies in a file where it can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::findings::Findings;
use crate::base::id::to_hex;
use crate::base::{ContentName, Error, ErrorKind, Result, Wrap};
use crate::crypto::Secret;
use crate::format::index::IndexRun;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::repository::index::table::Table;
use crate::repository::{ObjectCount, Repository};

/// So often a listing is made anew because a run went between listing and reading.
const ATTEMPTS_MAX: usize = 5;

/// The index as it was read.
#[derive(Debug)]
pub(super) struct ReadIndex {
    /// All runs that could be read and do not contradict each other.
    pub table: Table,
    /// Runs that are listed.
    pub listed: ObjectCount,
    /// Runs that another replaces, and that are listed all the same.
    pub superseded: u64,
}

/// A listing whose runs were all looked at.
struct Read {
    listed: BTreeMap<ContentName, u64>,
    superseded: BTreeSet<ContentName>,
    unusable: Vec<(ContentName, Error)>,
    /// Decoded runs, as long as they are few.
    decoded: Vec<(ContentName, IndexRun)>,
}

impl Repository {
    /// Reads every listed run.
    pub(super) fn audit_index(&self, findings: &Findings<'_>) -> Result<ReadIndex> {
        let Read { listed, superseded, unusable, decoded } = self.read_settled(findings)?;
        for (name, error) in &unusable {
            findings.tell(&names::index(name), error);
        }
        let unusable: BTreeSet<ContentName> = unusable.into_iter().map(|(name, _)| name).collect();
        let wanted: Vec<(ContentName, u64)> = listed
            .iter()
            .filter(|(name, _)| !unusable.contains(*name) && !superseded.contains(*name))
            .map(|(name, size_bytes)| (*name, *size_bytes))
            .collect();
        let table = self.merge_runs(&wanted, decoded, findings)?;
        Ok(ReadIndex {
            table,
            listed: ObjectCount { count: listed.len() as u64, size_bytes: listed.values().sum() },
            superseded: listed.keys().filter(|name| superseded.contains(*name)).count() as u64,
        })
    }

    /// Reads runs until none of those listed is gone when it is read, or a fresh listing still shows it.
    fn read_settled(&self, findings: &Findings<'_>) -> Result<Read> {
        let mut attempts = ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            let read = self.read_listed(findings)?;
            let gone = |error: &Error| error.kind() == ErrorKind::NotFound;
            if attempts == 0 || !read.unusable.iter().any(|(_, error)| gone(error)) {
                return Ok(read);
            }
            let listed = self.listed_runs()?;
            let is_replaced =
                |(name, error): &(ContentName, Error)| gone(error) && !listed.contains_key(name);
            if !read.unusable.iter().any(is_replaced) {
                return Ok(read);
            }
        }
    }

    fn read_listed(&self, findings: &Findings<'_>) -> Result<Read> {
        let listed = self.listed_runs()?;
        let total_bytes: u64 = listed.values().sum();
        let mut read =
            Read { listed, superseded: BTreeSet::new(), unusable: Vec::new(), decoded: Vec::new() };
        for name in read.listed.keys() {
            findings.go_on()?;
            match self.read_run(name) {
                Ok(run) => {
                    read.superseded.extend(run.superseded.iter().copied());
                    if total_bytes <= self.memory.merge_bytes() {
                        read.decoded.push((*name, run));
                    }
                }
                Err(error) => read.unusable.push((*name, error)),
            }
        }
        Ok(read)
    }

    /// Merges runs, as many at a time as memory allows.
    fn merge_runs(
        &self,
        wanted: &[(ContentName, u64)],
        decoded: Vec<(ContentName, IndexRun)>,
        findings: &Findings<'_>,
    ) -> Result<Table> {
        let place = TablePlace::of(self)?;
        let mut table = Table::empty();
        let mut decoded: BTreeMap<ContentName, IndexRun> = decoded.into_iter().collect();
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for (position, (name, size_bytes)) in wanted.iter().enumerate() {
            let run = match decoded.remove(name) {
                Some(run) => run,
                None => self.read_run(name)?,
            };
            batch.push((*name, run));
            batch_bytes += size_bytes;
            if batch_bytes >= self.memory.merge_bytes() || position + 1 == wanted.len() {
                findings.go_on()?;
                table = match place.merged(&table, &batch) {
                    Err(error) if error.kind() == ErrorKind::Damaged => {
                        place.merged_singly(table, &batch, findings)?
                    }
                    merged => merged?,
                };
                batch.clear();
                batch_bytes = 0;
            }
        }
        Ok(table)
    }
}

/// Where a table is written: a file of its own that has no name any more once it is mapped.
struct TablePlace {
    path: Option<PathBuf>,
    key: Secret,
}

impl TablePlace {
    fn of(repository: &Repository) -> Result<Self> {
        let unique = to_hex(&crate::crypto::random::array::<8>()?);
        // The cache is a help: where it cannot be written, the table is made in memory.
        let path = repository.index_path().ok().flatten();
        let path = path.map(|path| path.with_file_name(format!("check-{unique}.table")));
        let key = repository.keys.subkey(ObjectKind::IndexRun, repository.config.generation)?;
        Ok(Self { path, key })
    }

    fn merged(&self, table: &Table, runs: &[(ContentName, IndexRun)]) -> Result<Table> {
        let gone = BTreeSet::new();
        let merged = match table.merged(runs, &gone, self.path.as_deref(), &self.key) {
            Err(error) if self.path.is_some() && error.kind() != ErrorKind::Damaged => {
                table.merged(runs, &gone, None, &self.key)
            }
            merged => merged,
        };
        if let Some(path) = &self.path {
            // A mapped file needs no name. One that was not written has none.
            drop(std::fs::remove_file(path));
        }
        merged
    }

    /// Merges one run after the other, and tells which contradict those before.
    fn merged_singly(
        &self,
        mut table: Table,
        runs: &[(ContentName, IndexRun)],
        findings: &Findings<'_>,
    ) -> Result<Table> {
        for run in runs {
            match self.merged(&table, std::slice::from_ref(run)) {
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    findings.tell(&names::index(&run.0), &error);
                }
                merged => table = merged.wrap(|| "cannot merge the index")?,
            }
        }
        Ok(table)
    }
}
