//! The snapshots of a repository: which are visible.
//!
//! What must hold: visible is what opens as a snapshot and has no tombstone; a commit key that cannot be opened is
//! reported, never taken for an absent one.

mod selection;

pub use selection::{GroupKey, Grouping, SnapshotFilter};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, Error, ErrorKind, Result, SessionId};
use crate::crypto::content_name;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::snapshot::{Commit, Snapshot};
use crate::repository::Repository;
use crate::repository::object::object_name;

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

impl Repository {
    /// Reads all snapshots.
    pub fn snapshots(&self) -> Result<SnapshotList> {
        let mut committed = Vec::new();
        self.storage.list(names::SNAPSHOTS, None, &mut |listed| {
            committed.extend(names::parse_commit(listed.name.as_str()));
            Ok(())
        })?;
        let forgotten = self.forgotten()?;
        let mut list = SnapshotList::default();
        for session in committed.into_iter().filter(|session| !forgotten.contains(session)) {
            match self.read_commit(session) {
                Ok((Commit::Snapshot(snapshot), stored_hash)) => {
                    list.visible.push(SnapshotEntry { id: session, stored_hash, snapshot: *snapshot });
                }
                Ok((Commit::End(_), _)) => {}
                // It was forgotten and pruned since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // One that cannot be read stands in nobody else's way, and is not passed over either.
                Err(error) => list.damaged.push((session, error)),
            }
        }
        list.visible.sort_by_key(|entry| (entry.snapshot.time, entry.id));
        Ok(list)
    }

    /// Reads a commit key, with the hash of its stored bytes.
    pub(super) fn read_commit(&self, session: SessionId) -> Result<(Commit, ContentName)> {
        let name = names::commit(&session);
        let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
        let (header, content) = self.open_record(ObjectKind::Commit, &name, &object)?;
        let commit = Commit::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))?;
        if matches!(commit, Commit::Snapshot(_)) && header.session != session {
            let message = format!("cannot use object {name}: another session made it (format rule SNAP-5)");
            return Err(Error::damaged(message));
        }
        Ok((commit, content_name([object.as_slice()])))
    }
}
