//! What the repository holds and what of it is needed, as one look sees it: what prune decides by.
//!
//! What must hold, in this order, each made or read anew for every view: commit keys and tombstones, then the index, then
//! the verdicts, then the packs. A snapshot is needed unless a tombstone that opens forgets it. A place counts only if no
//! verdict names its pack and the pack is listed with exactly the size that the index gives. A view in which a needed
//! chunk has no such place is not made: its making fails, and nothing is deleted on the strength of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::{ChunkId, ContentName, Error, Result, SessionId, Wrap};
use crate::format::names;
use crate::repository::index::table::{PackRow, Place, Table};
use crate::repository::snapshots::Committed;
use crate::repository::{Marks, Reader, Repository, SnapshotEntry};

/// So often a view is made anew when what it looks at is replaced meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// Marks all that these snapshots need.
pub type MarkAll<'m> = &'m dyn Fn(&Reader<'_>, &[SnapshotEntry], &Marks) -> Result<()>;

/// What a listing says of a pack of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackState {
    /// It is there, and may be built upon.
    Counts,
    /// A verdict names it.
    Dead,
    /// It is not there, or not as long as the index says.
    Missing,
}

/// A snapshot that was forgotten, and whose commit key is still there.
#[derive(Debug)]
pub struct Forgotten {
    /// Its name.
    pub id: SessionId,
    /// The snapshot, unless its commit key cannot be read.
    pub entry: Option<SnapshotEntry>,
    /// What replaced it.
    pub replaced_by: Option<SessionId>,
    /// This machine forgot it.
    pub is_own: bool,
}

/// A look at the repository.
#[derive(Debug)]
pub struct View {
    /// The snapshots whose chunks are needed.
    pub snapshots: Vec<SnapshotEntry>,
    /// Snapshots that are forgotten, and whose records are still there.
    pub forgotten: Vec<Forgotten>,
    /// Snapshots that are forgotten by a tombstone that does not open, so that what they need stays, and why.
    pub unproven: Vec<(SessionId, Error)>,
    /// Sessions that were live before all else was looked at: what they wrote may be needed by a snapshot that is not
    /// among these.
    pub(super) live_before: BTreeSet<SessionId>,
    pub(super) marks: Marks,
    /// The number of the last collection, if all that there were had verdicts: those that this view knows.
    pub(super) last_decided: Option<u64>,
    /// By row of the pack in the index.
    pub(super) states: Vec<PackState>,
    /// Packs that are there and that no run names, or that are not as long as it says, and their sizes in bytes.
    pub(super) unindexed: Vec<(ContentName, u64)>,
    /// Packs that a verdict names and that are there all the same, and their sizes in bytes.
    pub(super) returned: Vec<(ContentName, u64)>,
}

/// The snapshots of a view before anything is marked.
struct Needed {
    snapshots: Vec<SnapshotEntry>,
    forgotten: Vec<Forgotten>,
    unproven: Vec<(SessionId, Error)>,
}

impl Repository {
    /// Looks at the repository. What an earlier view marked is not walked through again.
    pub fn view(&self, before: Option<&View>, mark_all: MarkAll<'_>) -> Result<View> {
        let mut before = before;
        let mut attempts = ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            // Packs and runs may be replaced while this looks; then the next look finds everything in its new place.
            match self.try_view(before, mark_all) {
                Err(error) if attempts > 0 && error.kind() == crate::base::ErrorKind::Damaged => {
                    before = None
                }
                other => return other,
            }
        }
    }

    fn try_view(&self, before: Option<&View>, mark_all: MarkAll<'_>) -> Result<View> {
        let live_before = self.live_session_names().wrap(|| "cannot list the sessions")?;
        let Needed { snapshots, forgotten, unproven } = self.needed_snapshots()?;
        let reader = self.reader()?;
        let table = reader.newest_table()?;
        let (marks, known) = match before.map(|view| (view, view.marks.moved_to(Arc::clone(&table)))) {
            Some((view, (marks, None))) => (marks, view.snapshots.as_slice()),
            _ => (Marks::new(Arc::clone(&table)), [].as_slice()),
        };
        let known: BTreeSet<SessionId> = known.iter().map(|entry| entry.id).collect();
        let new: Vec<SnapshotEntry> =
            snapshots.iter().filter(|entry| !known.contains(&entry.id)).cloned().collect();
        mark_all(&reader, &new, &marks).wrap(|| "cannot tell what is still needed")?;
        let collections = self.collections().wrap(|| "cannot read the collections")?;
        let last_decided = collections.last_decided();
        let (states, unindexed, returned) = self.pack_states(&table, &collections.dead)?;
        let view = View {
            snapshots,
            forgotten,
            unproven,
            live_before,
            marks,
            last_decided,
            states,
            unindexed,
            returned,
        };
        view.check_places()?;
        Ok(view)
    }

    fn needed_snapshots(&self) -> Result<Needed> {
        let mut all = self.all_snapshots(true)?;
        if let Some((session, error)) = all.damaged.pop() {
            return Err(error.while_doing(format!(
                "cannot tell what snapshot {session} needs, so that nothing can be removed"
            )));
        }
        let mut needed = Needed { snapshots: all.visible, forgotten: Vec::new(), unproven: Vec::new() };
        let own = self.own_forgotten(&all.forgotten.iter().map(|(id, _)| *id).collect());
        for (id, read) in all.forgotten {
            match (self.read_tombstone(id), read) {
                // An end has nothing to forget.
                (_, Ok(Committed::End(_))) => {}
                (Ok(tombstone), read) => {
                    let entry = read.ok().and_then(Committed::into_entry);
                    let replaced_by = tombstone.replaced_by;
                    needed.forgotten.push(Forgotten { id, entry, replaced_by, is_own: own.contains(&id) });
                }
                (Err(error), Ok(Committed::Snapshot(entry))) => {
                    needed.unproven.push((id, error));
                    needed.snapshots.push(*entry);
                }
                (Err(error), Err(_)) => return Err(error),
            }
        }
        Ok(needed)
    }

    /// The state of each pack of the index, the packs that it does not name, and those that should not be there.
    #[expect(clippy::type_complexity, reason = "three lists that one listing gives")]
    fn pack_states(
        &self,
        table: &Table,
        dead: &HashSet<ContentName>,
    ) -> Result<(Vec<PackState>, Vec<(ContentName, u64)>, Vec<(ContentName, u64)>)> {
        let mut rows: BTreeMap<ContentName, (usize, u64)> = BTreeMap::new();
        let mut states = vec![PackState::Missing; table.pack_count()];
        for (number, state) in states.iter_mut().enumerate() {
            let Some(pack) = u32::try_from(number).ok().and_then(|number| table.pack(number)) else {
                continue;
            };
            if dead.contains(&pack.name) {
                *state = PackState::Dead;
            }
            rows.insert(pack.name, (number, pack.size_bytes));
        }
        let (mut unindexed, mut returned) = (Vec::new(), Vec::new());
        self.storage.list(names::PACKS, None, &mut |listed| {
            let Some(name) = names::parse_pack(listed.name.as_str()) else { return Ok(()) };
            if dead.contains(&name) {
                returned.push((name, listed.size_bytes));
            } else {
                let row = rows.get(&name).filter(|(_, size_bytes)| *size_bytes == listed.size_bytes);
                match row.and_then(|(number, _)| states.get_mut(*number)) {
                    Some(state) => *state = PackState::Counts,
                    None => unindexed.push((name, listed.size_bytes)),
                }
            }
            Ok(())
        })?;
        Ok((states, unindexed, returned))
    }
}

impl View {
    pub(super) fn table(&self) -> &Table {
        self.marks.table()
    }

    pub(super) fn counts(&self, pack: u32) -> bool {
        self.states.get(pack as usize) == Some(&PackState::Counts)
    }

    /// The packs of the index by row.
    pub(super) fn packs(&self) -> impl Iterator<Item = (u32, PackRow)> + '_ {
        let count = u32::try_from(self.table().pack_count()).unwrap_or(u32::MAX);
        (0..count).filter_map(|number| Some((number, self.table().pack(number)?)))
    }

    /// Each chunk of the index, whether it is needed, and its places that count.
    pub(super) fn chunks(&self, mut visit: impl FnMut(ChunkId, bool, &[Place]) -> Result<()>) -> Result<()> {
        let mut places: Vec<Place> = Vec::new();
        let mut current: Option<(ChunkId, bool)> = None;
        for (row, (id, place)) in self.table().rows().enumerate() {
            if current.is_none_or(|(last, _)| last != id) {
                if let Some((last, is_needed)) = current.replace((id, self.marks.is_needed(row))) {
                    visit(last, is_needed, &places)?;
                }
                places.clear();
            }
            if self.counts(place.pack) {
                places.push(place);
            }
        }
        match current {
            Some((last, is_needed)) => visit(last, is_needed, &places),
            None => Ok(()),
        }
    }

    /// Every needed chunk has a place that counts.
    fn check_places(&self) -> Result<()> {
        self.chunks(|id, is_needed, places| match places {
            [] if is_needed => Err(Error::damaged(format!(
                "chunk {id} is needed, and no pack that is there as the index says holds it"
            ))),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use crate::base::host::Host;
    use crate::base::{ErrorKind, SessionId};
    use crate::crypto::ChunkKind;
    use crate::format::names;
    use crate::format::snapshot::{Snapshot, tests::snapshot};
    use crate::repository::tests::{new_repository, open_after_listing, open_hiding};
    use crate::repository::{PlanOptions, SessionOptions};
    use crate::storage::Storage;

    #[test]
    fn what_a_session_wrote_that_commits_after_snapshots_were_read_is_left_alone() {
        let (_, repository) = new_repository();
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        session.store(ChunkKind::Data, &[1; 3000]).unwrap();
        let session = RefCell::new(Some(session));
        let commit = || -> Option<SessionId> {
            let snapshot = Snapshot { parent: None, ..snapshot() };
            Some(session.borrow_mut().take()?.commit(|| snapshot).unwrap().0)
        };
        let view = repository
            .view(None, &|_, _, _| {
                commit();
                Ok(())
            })
            .unwrap();
        assert!(view.snapshots.is_empty());
        assert!(repository.live_sessions().unwrap().is_empty());
        let plan = repository.plan_prune(&view, &[].into(), &[].into(), PlanOptions::default()).unwrap();
        assert_eq!((plan.remove.count, plan.in_use.count), (0, 1));
    }

    #[test]
    fn a_snapshot_that_is_listed_and_not_found_is_needed_all_the_same() {
        let (memory, repository) = new_repository();
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        let (id, _) = session.commit(|| Snapshot { parent: None, ..snapshot() }).unwrap();
        let contradicting = open_hiding(&memory, names::SNAPSHOTS);
        let error = contradicting.view(None, &|_, _, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        assert!(error.chain().join(": ").contains(&id.to_string()), "{error:?}");
        let list = contradicting.snapshots().unwrap();
        assert_eq!((list.visible.len(), list.damaged.len()), (0, 1));
        // What is really gone is passed over.
        let removing = open_after_listing(&memory, names::SNAPSHOTS, |memory| {
            let commit = memory.names().into_iter().find(|name| name.folder() == names::SNAPSHOTS).unwrap();
            memory.delete(&commit).unwrap();
        });
        assert!(removing.view(None, &|_, _, _| Ok(())).unwrap().snapshots.is_empty());
    }

    #[test]
    fn a_session_whose_start_is_listed_and_not_found_is_live() {
        let (memory, repository) = new_repository();
        let _session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        let live = open_hiding(&memory, names::SESSIONS).live_sessions().unwrap();
        assert!(live.len() == 1 && live.first().unwrap().start.is_err(), "{live:?}");
        let removing = open_after_listing(&memory, names::SESSIONS, |memory| {
            let start = memory.names().into_iter().find(|name| name.folder() == names::SESSIONS).unwrap();
            memory.delete(&start).unwrap();
        });
        assert!(removing.live_sessions().unwrap().is_empty());
    }
}
