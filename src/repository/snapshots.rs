//! The snapshots of a repository: which are visible.
//!
//! What must hold: visible is what opens as a snapshot and has no tombstone; a commit key that cannot be opened is
//! reported, never taken for an absent one.

mod selection;

pub use selection::{GroupKey, Grouping, SnapshotFilter};

use std::collections::BTreeMap;

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, Error, Result, SessionId};
use crate::crypto::content_name;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::snapshot::{Commit, End, Snapshot};
use crate::repository::Repository;
use crate::repository::object::object_name;
use crate::repository::records::is_gone;

/// A visible snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotEntry {
    /// Its name: the session that committed it.
    pub id: SessionId,
    /// BLAKE3 of its stored bytes.
    pub stored_hash: ContentName,
    /// What it says.
    pub snapshot: Snapshot,
}

/// All visible snapshots.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Oldest first, by time, then id.
    pub visible: Vec<SnapshotEntry>,
    /// Commit keys that could not be read, and why.
    pub damaged: Vec<(SessionId, Error)>,
}

/// What a commit key says.
#[derive(Debug)]
pub(super) enum Committed {
    Snapshot(Box<SnapshotEntry>),
    End(End),
}

impl Committed {
    /// The snapshot, if it is one.
    pub(super) fn into_entry(self) -> Option<SnapshotEntry> {
        match self {
            Self::Snapshot(entry) => Some(*entry),
            Self::End(_) => None,
        }
    }
}

/// Every session whose commit key is there.
#[derive(Debug, Default)]
pub(super) struct AllSnapshots {
    /// Those without a tombstone, oldest first.
    pub(super) visible: Vec<SnapshotEntry>,
    /// Sessions that have a tombstone and a commit key, and what that says.
    pub(super) forgotten: Vec<(SessionId, Result<Committed>)>,
    /// Sessions that ended without a snapshot.
    pub(super) ends: Vec<(SessionId, End)>,
    /// Commit keys without a tombstone that could not be read, and why.
    pub(super) damaged: Vec<(SessionId, Error)>,
}

impl Repository {
    /// Reads all snapshots.
    pub fn snapshots(&self) -> Result<SnapshotList> {
        let AllSnapshots { visible, damaged, .. } = self.all_snapshots(false)?;
        Ok(SnapshotList { visible, damaged })
    }

    /// Reads all commit keys; of what is forgotten only if asked for.
    pub(super) fn all_snapshots(&self, with_forgotten: bool) -> Result<AllSnapshots> {
        let mut committed = BTreeMap::new();
        self.storage.list(names::SNAPSHOTS, None, &mut |listed| {
            if let Some(session) = names::parse_commit(listed.name.as_str()) {
                committed.insert(session, listed.size_bytes);
            }
            Ok(())
        })?;
        let tombstones = self.forgotten()?;
        let mut all = AllSnapshots::default();
        let is_read = |session| with_forgotten || !tombstones.contains(session);
        let wanted = committed.iter().filter(|(session, _)| is_read(session));
        self.prefetch(wanted.map(|(session, size_bytes)| (names::commit(session), *size_bytes)));
        for (session, size_bytes) in &committed {
            let is_forgotten = tombstones.contains(session);
            if is_forgotten && !with_forgotten {
                continue;
            }
            let read = self.listed_commit(*session, *size_bytes);
            // It was forgotten and pruned since it was listed.
            if is_gone(&read) {
                continue;
            }
            // One that cannot be read stands in nobody else's way, and is not passed over either.
            match read {
                read if is_forgotten => all.forgotten.push((*session, read)),
                Ok(Committed::Snapshot(entry)) => all.visible.push(*entry),
                Ok(Committed::End(end)) => all.ends.push((*session, end)),
                Err(error) => all.damaged.push((*session, error)),
            }
        }
        self.records.settle(names::SNAPSHOTS, |name| {
            names::parse_commit(name).is_some_and(|session| committed.contains_key(&session))
        });
        all.visible.sort_by_key(|entry| (entry.snapshot.time, entry.id));
        Ok(all)
    }

    fn listed_commit(&self, session: SessionId, size_bytes: u64) -> Result<Committed> {
        let read = |object: &[u8]| self.open_commit(session, object);
        let (commit, stored_hash) = self.record(&names::commit(&session), size_bytes, read)?;
        Ok(match commit {
            Commit::Snapshot(snapshot) => {
                Committed::Snapshot(Box::new(SnapshotEntry { id: session, stored_hash, snapshot: *snapshot }))
            }
            Commit::End(end) => Committed::End(end),
        })
    }

    /// Reads a commit key, with the hash of its stored bytes.
    pub(super) fn read_commit(&self, session: SessionId) -> Result<(Commit, ContentName)> {
        let object = self.storage.get(&object_name(&names::commit(&session))?, RECORD_BYTES_MAX)?;
        self.open_commit(session, &object)
    }

    fn open_commit(&self, session: SessionId, object: &[u8]) -> Result<(Commit, ContentName)> {
        let name = names::commit(&session);
        let (header, content) = self.open_record(ObjectKind::Commit, &name, object)?;
        let commit = Commit::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))?;
        if matches!(commit, Commit::Snapshot(_)) && header.session != session {
            let message = format!("cannot use object {name}: another session made it (format rule SNAP-5)");
            return Err(Error::damaged(message));
        }
        Ok((commit, content_name([object])))
    }
}
