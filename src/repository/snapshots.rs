//! The snapshots of a repository: which are visible, which one a user means.
//!
//! What must hold: visible is what opens as a snapshot and has no tombstone; a commit key that cannot be opened is
//! reported, never taken for an absent one.

use std::collections::BTreeSet;

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
        let mut forgotten = BTreeSet::new();
        self.storage.list(names::FORGOTTEN, None, &mut |listed| {
            forgotten.extend(names::parse_tombstone(listed.name.as_str()));
            Ok(())
        })?;
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

impl SnapshotList {
    /// The snapshot that a user means by `latest`, `latest~N` or a prefix of its id.
    ///
    /// `latest` is the newest by time of those that nothing in their group (host, job, paths) follows; `latest~N` is
    /// the N-th before it in its group.
    pub fn find(&self, wanted: &str) -> Result<&SnapshotEntry> {
        let not_found = |message: String| Error::new(ErrorKind::NotFound, message);
        if let Some(back) = parse_latest(wanted) {
            // One that cannot be read may be the newest: an older one must not be taken for it.
            if let Some((id, error)) = self.damaged.first() {
                return Err(Error::new(error.kind(), error.chain().join(": ")).while_doing(format!(
                    "cannot tell which snapshot is the latest: snapshot {id} cannot be read"
                )));
            }
            let head = self.heads().into_iter().max_by_key(|entry| (entry.snapshot.time, entry.id));
            let head = head.ok_or_else(|| not_found("there is no snapshot".into()))?;
            let group = self.group_of(&head.snapshot);
            let found = group.len().checked_sub(1 + back).and_then(|position| group.get(position).copied());
            return found.ok_or_else(|| {
                let count = group.len();
                not_found(format!("there is no snapshot {wanted}: the newest one's group has {count}"))
            });
        }
        let is_prefix =
            !wanted.is_empty() && wanted.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut matching =
            self.visible.iter().filter(|entry| is_prefix && entry.id.hex().starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(entry), None) => Ok(entry),
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Usage,
                format!("{wanted} is the beginning of more than one snapshot's id"),
            )),
            (None, _) => {
                let damaged = self.damaged.iter().find(|(id, _)| is_prefix && id.hex().starts_with(wanted));
                Err(match damaged {
                    Some((id, error)) => Error::new(error.kind(), error.chain().join(": "))
                        .while_doing(format!("cannot use snapshot {id}")),
                    None => not_found(format!("there is no snapshot {wanted}")),
                })
            }
        }
    }

    /// The snapshots of the same host, job and paths, in order of generation, then time.
    pub fn group_of(&self, like: &Snapshot) -> Vec<&SnapshotEntry> {
        self.group(&like.host, like.job.as_deref(), &like.paths)
    }

    /// The snapshots of a host, job and sorted paths, in order of generation, then time.
    pub fn group(&self, host: &str, job: Option<&str>, paths: &[Vec<u8>]) -> Vec<&SnapshotEntry> {
        let is_member = |entry: &&SnapshotEntry| group_key(&entry.snapshot) == (host, job, paths);
        let mut group: Vec<_> = self.visible.iter().filter(is_member).collect();
        group.sort_by_key(|entry| (entry.snapshot.generation, entry.snapshot.time, entry.id));
        group
    }

    fn heads(&self) -> Vec<&SnapshotEntry> {
        let mut keys = BTreeSet::new();
        self.visible
            .iter()
            .filter(|entry| keys.insert(group_key(&entry.snapshot)))
            .filter_map(|entry| self.group_of(&entry.snapshot).pop())
            .collect()
    }
}

fn group_key(snapshot: &Snapshot) -> (&str, Option<&str>, &[Vec<u8>]) {
    (&snapshot.host, snapshot.job.as_deref(), &snapshot.paths)
}

fn parse_latest(wanted: &str) -> Option<usize> {
    match wanted.strip_prefix("latest")? {
        "" => Some(0),
        back => back.strip_prefix('~')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ChunkId, Timestamp};

    fn entry(id: u8, host: &str, generation: u64, seconds: i64) -> SnapshotEntry {
        let snapshot = Snapshot {
            host: host.into(),
            generation,
            time: Timestamp { seconds, nanoseconds: 0 },
            tree: ChunkId([0; 32]),
            ..crate::format::snapshot::tests::snapshot()
        };
        SnapshotEntry { id: SessionId([id; 16]), stored_hash: ContentName([id; 32]), snapshot }
    }

    fn found(list: &SnapshotList, wanted: &str) -> std::result::Result<u8, ErrorKind> {
        list.find(wanted).map(|entry| entry.id.0[0]).map_err(|error| error.kind())
    }

    #[test]
    fn a_user_finds_the_snapshot_that_was_meant() {
        let list = SnapshotList {
            // The clock of the second host went back: its newest generation has an older time.
            visible: vec![
                entry(0x11, "a", 1, 10),
                entry(0x12, "b", 2, 20),
                entry(0x13, "b", 1, 30),
                entry(0x21, "a", 2, 25),
            ],
            damaged: vec![(SessionId([0x99; 16]), Error::damaged("bits"))],
        };
        for wanted in ["latest", "latest~1"] {
            assert_eq!(
                found(&list, wanted),
                Err(ErrorKind::Damaged),
                "{wanted}: the damaged one may be the newest"
            );
        }
        assert_eq!(found(&list, "99"), Err(ErrorKind::Damaged));
        let list = SnapshotList { damaged: Vec::new(), ..list };
        assert_eq!(found(&list, "latest"), Ok(0x21));
        assert_eq!(found(&list, "latest~0"), Ok(0x21));
        assert_eq!(found(&list, "latest~1"), Ok(0x11));
        assert_eq!(found(&list, "latest~2"), Err(ErrorKind::NotFound));
        assert_eq!(found(&list, "2"), Ok(0x21));
        assert_eq!(found(&list, &"12".repeat(16)), Ok(0x12));
        assert_eq!(found(&list, "1"), Err(ErrorKind::Usage));
        for bad in ["", "3", "latest~", "latest~x", "g", "2121212121212121212121212121212121"] {
            assert_eq!(found(&list, bad), Err(ErrorKind::NotFound), "{bad}");
        }
        assert_eq!(found(&SnapshotList::default(), "latest"), Err(ErrorKind::NotFound));
    }
}
