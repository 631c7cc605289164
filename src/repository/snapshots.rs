//! The snapshots of a repository: which are visible.
//!
//! What must hold: visible is what opens as a snapshot and has no tombstone; a commit key that cannot be opened is
//! reported, never taken for an absent one.

mod selection;

pub use selection::{GroupKey, Grouping, SnapshotFilter};

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, Error, ErrorKind, Result, SessionId};
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
        let asked =
            || committed.iter().filter(|(session, _)| with_forgotten || !tombstones.contains(session));
        self.prefetch(asked().map(|(session, size_bytes)| (names::commit(session), *size_bytes)));
        let read = asked().map(|(session, size_bytes)| (*session, self.listed_commit(*session, *size_bytes)));
        let read = self.without_removed(read.collect())?;
        let mut all = AllSnapshots::default();
        for (session, read) in read {
            // One that cannot be read stands in nobody else's way, and is not passed over either.
            match read {
                read if tombstones.contains(&session) => all.forgotten.push((session, read)),
                Ok(Committed::Snapshot(entry)) => all.visible.push(*entry),
                Ok(Committed::End(end)) => all.ends.push((session, end)),
                Err(error) => all.damaged.push((session, error)),
            }
        }
        self.records.settle(names::SNAPSHOTS, |name| {
            names::parse_commit(name).is_some_and(|session| committed.contains_key(&session))
        });
        all.visible.sort_by_key(|entry| (entry.snapshot.time, entry.id));
        Ok(all)
    }

    /// Leaves out what was removed since it was listed. That an object is not found is not enough: it must be gone from
    /// the listing as well, or the storage contradicts itself, and what the object said is not known.
    fn without_removed(
        &self,
        mut read: Vec<(SessionId, Result<Committed>)>,
    ) -> Result<Vec<(SessionId, Result<Committed>)>> {
        if !read.iter().any(|(_, read)| is_gone(read)) {
            return Ok(read);
        }
        let mut listed = BTreeSet::new();
        self.storage.list(names::SNAPSHOTS, None, &mut |object| {
            listed.extend(names::parse_commit(object.name.as_str()));
            Ok(())
        })?;
        read.retain(|(session, read)| !is_gone(read) || listed.contains(session));
        let contradicted = |(session, read): (SessionId, Result<Committed>)| match read {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let error = error.of_kind(ErrorKind::Damaged);
                (session, Err(error.while_doing("the storage lists an object that it does not give")))
            }
            read => (session, read),
        };
        Ok(read.into_iter().map(contradicted).collect())
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
