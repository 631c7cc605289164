//! The repository looked over: every object opened, and where chunks lie held against what is there.
//!
//! What must hold: nothing is written to the repository, and no other writer or collector is waited for. Collections are
//! read before commit keys, these before the index, the index before the packs (format-spec chapter 14); if no verdict
//! came until the packs were listed, a chunk that a visible snapshot needs and that has no place is missing, whatever
//! others did meanwhile. What goes later goes by a verdict, too.

mod findings;
mod packs;
mod places;
mod records;
mod runs;
mod storage_only;

pub use findings::{DAMAGES_KEPT_MAX, Damage};
pub use packs::PacksRead;
pub use places::{Leftovers, Whereabouts};
pub use storage_only::{StorageSummary, check_storage};

use std::sync::Arc;

use self::findings::Findings;
use self::places::{PackState, Places};
use self::records::{ReadCollections, ReadCommits};
use self::storage_only::find_strays;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result};
use crate::crypto::ChunkKind;
use crate::repository::{ObjectCount, Reader, Repository, SnapshotEntry};

/// So often everything is looked at anew because packs went by a verdict meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Visible snapshots.
    pub snapshots: u64,
    /// Snapshots that are forgotten.
    pub forgotten: u64,
    /// Sessions that have started and not ended: they run, or were killed.
    pub open_sessions: u64,
    /// Visible snapshots whose predecessor on the same host is not there.
    pub gaps: u64,
    /// How many more these are than the snapshots that were forgotten and removed.
    pub unexplained_gaps: u64,
    /// Packs that are there as the index says.
    pub packs: ObjectCount,
    /// Index runs that are listed.
    pub index_runs: ObjectCount,
    /// Of these, those that another run replaces.
    pub superseded_runs: u64,
    /// Records of collections.
    pub collection_records: u64,
    /// What nothing needs.
    pub leftovers: Leftovers,
    /// What is no object of a repository.
    pub foreign: ObjectCount,
    /// What was never published: being written, or left by a process that was killed.
    pub unfinished: ObjectCount,
}

/// A tree chunk that was to be read.
#[derive(Debug)]
pub enum TreeChunk {
    /// Its bytes.
    Content(Vec<u8>),
    /// No place of it can be used, which was told.
    Lost,
    /// Its pack is gone, and packs went by a verdict since the look.
    Outdated,
}

/// One look at a repository, and what was found.
#[derive(Debug)]
pub struct Audit<'r> {
    repository: &'r Repository,
    findings: Findings<'r>,
    collections: ReadCollections,
    commits: ReadCommits,
    places: Places,
    reader: Reader<'r>,
    counted: Counted,
}

impl Repository {
    /// Opens every record, reads the whole index and lists the packs. What is wrong is told to the monitor and kept.
    ///
    /// Errors: `Interrupted`, and whatever keeps a folder from being listed.
    pub fn audit<'r>(&'r self, monitor: &'r dyn Monitor) -> Result<Audit<'r>> {
        let findings = Findings::new(monitor);
        self.audit_configs(&findings)?;
        self.audit_slots(&findings)?;
        let mut audit = self.look_over(findings)?;
        self.audit_tombstones(&audit.commits, &audit.findings)?;
        audit.counted.open_sessions = self.audit_sessions(&audit.commits, &audit.findings)?;
        audit.counted.unfinished = find_strays(&*self.storage, &audit.findings)?;
        Ok(audit)
    }

    fn look_over<'r>(&'r self, findings: Findings<'r>) -> Result<Audit<'r>> {
        let mut attempts = ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            let collections = self.audit_collections(&findings)?;
            let commits = self.audit_commits(&findings)?;
            let index = self.audit_index(&findings)?;
            let (places, unnamed) = Places::of(self, index.table, &collections.dead, &findings)?;
            if attempts > 0 && self.has_new_verdict(&collections)? {
                continue;
            }
            places.tell(&findings);
            let leftovers = unnamed.count(self, &commits, &findings)?;
            let counted = Counted {
                snapshots: commits.visible.len() as u64,
                forgotten: commits.forgotten.len() as u64,
                open_sessions: 0,
                gaps: commits.gaps,
                unexplained_gaps: commits.unexplained_gaps,
                packs: places.packs,
                index_runs: index.listed,
                superseded_runs: index.superseded,
                collection_records: collections.count,
                leftovers: Leftovers { rows: places.dead_rows(), ..leftovers },
                foreign: ObjectCount::default(),
                unfinished: ObjectCount::default(),
            };
            let reader = Reader::over(self, Arc::clone(&places.table));
            return Ok(Audit { repository: self, findings, collections, commits, places, reader, counted });
        }
    }
}

impl<'r> Audit<'r> {
    /// Looks at the repository once more, since packs went by a verdict. What was found stays found.
    pub fn again(self) -> Result<Self> {
        let Self { repository, findings, counted, .. } = self;
        let mut audit = repository.look_over(findings)?;
        audit.counted.open_sessions = counted.open_sessions;
        audit.counted.unfinished = counted.unfinished;
        Ok(audit)
    }

    /// Whether packs may have gone for a reason since this look.
    pub fn is_outdated(&self) -> Result<bool> {
        self.repository.has_new_verdict(&self.collections)
    }

    /// The repository.
    pub const fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// Visible snapshots, oldest first.
    pub fn snapshots(&self) -> &[SnapshotEntry] {
        &self.commits.visible
    }

    /// What was counted.
    pub fn counted(&self) -> Counted {
        Counted { foreign: self.findings.foreign_count(), ..self.counted }
    }

    /// Who listens.
    pub const fn monitor(&self) -> &'r dyn Monitor {
        self.findings.monitor()
    }

    /// How many objects are damaged.
    pub fn damaged(&self) -> u64 {
        self.findings.damaged()
    }

    /// How many objects could not be read or judged, for another reason than damage.
    pub fn unreadable(&self) -> u64 {
        self.findings.unreadable()
    }

    /// The damages by their numbers, at most `DAMAGES_KEPT_MAX`.
    pub fn damages(&self) -> Vec<Damage> {
        self.findings.kept()
    }

    /// Where a chunk lies.
    pub fn find(&self, kind: ChunkKind, id: &ChunkId) -> Whereabouts {
        self.places.find(kind, id)
    }

    /// Tells of something that is no object of its own, and gives the number of the damage if it was kept.
    pub fn tell(&self, what: &str, error: &Error) -> Option<u32> {
        self.findings.tell(what, error)
    }

    /// Says why a chunk that a snapshot needs is lost, where nothing else told so: its pack is of another kind, or was
    /// condemned.
    pub fn tell_lost(&self, kind: ChunkKind, id: &ChunkId) {
        for (_, place) in self.places.table.rows_of(id) {
            let Some(pack) = self.places.table.pack(place.pack) else { continue };
            if self.places.state(place.pack) == Some(PackState::Dead) {
                let error = Error::damaged(format!("a verdict names it, though chunk {id} is needed"));
                self.places.tell_pack(place.pack, &error, &self.findings);
            } else if pack.kind != kind {
                let message =
                    format!("chunk {id} stands in it, which is of another kind (format rule INDEX-7)");
                self.places.tell_pack(place.pack, &Error::damaged(message), &self.findings);
            }
        }
    }

    /// The bytes of a tree chunk from a place that counts. What is wrong with a place is told, and the next is tried.
    pub fn tree_chunk(&self, id: &ChunkId) -> Result<TreeChunk> {
        for (row, place) in self.places.table.rows_of(id) {
            if !self.places.counts(row, &place) {
                continue;
            }
            let error = match self.reader.chunk_at(ChunkKind::Tree, id, place) {
                Ok(content) => return Ok(TreeChunk::Content(content)),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::NotFound if self.is_outdated()? => return Ok(TreeChunk::Outdated),
                ErrorKind::NotFound | ErrorKind::Damaged => self.places.spoil_segment(&place),
                _ => {}
            }
            self.places.tell_pack(place.pack, &error, &self.findings);
        }
        Ok(TreeChunk::Lost)
    }

    /// The chunk of a row, for messages.
    pub fn chunk_at(&self, row: usize) -> String {
        self.places.table.entry_at(row).map(|(id, _)| id.hex()).unwrap_or_default()
    }

    /// Fails if the user or the system asked to stop.
    pub fn go_on(&self) -> Result<()> {
        self.findings.go_on()
    }
}

#[cfg(test)]
mod tests;
