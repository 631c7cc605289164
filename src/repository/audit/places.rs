//! Where chunks lie, and whether that counts: the packs that the index names against those that are listed.
//!
//! What must hold: a place counts only if its pack is listed with exactly the size that the index gives, no verdict
//! names it, and nothing that was read of it was wrong; what is kept is a byte for each pack and a bit for each segment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::findings::Findings;
use super::records::ReadCommits;
use crate::base::{ChunkId, ContentName, Error, ErrorKind, Result, SessionId};
use crate::crypto::ChunkKind;
use crate::format::names;
use crate::format::sealing::{HEADER_BYTES, Header, ObjectKind};
use crate::repository::index::table::{Place, Table};
use crate::repository::object::object_name;
use crate::repository::{ObjectCount, Repository};

/// What is known of a pack of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackState {
    /// No object of this name is listed.
    Missing,
    /// It is listed with another size.
    Odd,
    /// A verdict names it.
    Dead,
    /// It is listed as the index says.
    Counts,
}

/// A set of numbers from 0, a bit for each.
#[derive(Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// True if it is new.
    pub(super) fn insert(&mut self, number: usize) -> bool {
        let Some(word) = self.0.get_mut(number / 64) else { return false };
        let is_new = *word >> (number % 64) & 1 == 0;
        *word |= 1 << (number % 64);
        is_new
    }
}

/// Packs that nothing needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Packs that no index run names, of sessions that ended: what interrupted backups leave.
    pub unnamed: ObjectCount,
    /// Packs that no index run names, of sessions that may still write.
    pub in_progress: ObjectCount,
    /// Packs that a verdict names and that are still there.
    pub condemned: ObjectCount,
    /// Packs that index runs name and that went by a verdict.
    pub rows: u64,
}

impl Leftovers {
    /// Whether there are packs that a prune removes.
    pub const fn are_packs(&self) -> bool {
        self.unnamed.count + self.condemned.count > 0
    }
}

/// Where chunks lie, and whether that counts.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) table: Arc<Table>,
    states: Vec<PackState>,
    /// The sizes in bytes of packs that are listed with another than the index gives.
    odd: BTreeMap<u32, u64>,
    /// Packs that are there as the index says.
    pub(super) packs: ObjectCount,
    wrong: RwLock<Wrong>,
}

/// What was read and found wrong.
#[derive(Debug)]
struct Wrong {
    segments: Bits,
    /// Entries that say something else than the directory of their pack.
    entries: BTreeSet<usize>,
    /// The numbers of damages by row of the pack; `None` for one of which only the number was kept.
    packs: BTreeMap<u32, Option<u32>>,
}

/// What can be said of where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It has a place that counts, and so many bytes there; the row stands for the chunk.
    There {
        /// Row of its first entry.
        row: usize,
        /// Bytes of plaintext.
        length: u32,
    },
    /// All its places are in packs that are damaged or gone; the first of them is this damage.
    Lost {
        /// Row of its first entry.
        row: usize,
        /// Number of the damage, if it was kept.
        damage: Option<u32>,
    },
    /// No index run names it.
    Nowhere,
}

impl Places {
    /// Lists the packs and holds them against the index. Nothing is told yet.
    pub(super) fn of(
        repository: &Repository,
        table: Table,
        dead: &HashSet<ContentName>,
        findings: &Findings<'_>,
    ) -> Result<(Self, Unnamed)> {
        let mut states: Vec<PackState> = table
            .pack_names()
            .map(|name| if dead.contains(&name) { PackState::Dead } else { PackState::Missing })
            .collect();
        let mut unnamed = Unnamed::default();
        let mut packs = ObjectCount::default();
        let mut odd = BTreeMap::new();
        // Both are in order of names.
        let mut rows = table.pack_names().enumerate().peekable();
        repository.storage.list(names::PACKS, None, &mut |listed| {
            findings.go_on()?;
            let Some(name) = names::parse_pack(listed.name.as_str()) else {
                findings.foreign(listed.name.as_str(), listed.size_bytes);
                return Ok(());
            };
            while rows.next_if(|(_, row)| *row < name).is_some() {}
            let row = rows.next_if(|(_, row)| *row == name).map(|(row, _)| row);
            let of_table = row.and_then(|row| table.pack(u32::try_from(row).ok()?));
            match (row.and_then(|row| states.get_mut(row)), of_table) {
                _ if dead.contains(&name) => unnamed.condemned.add(listed.size_bytes),
                (Some(state), Some(pack)) if pack.size_bytes == listed.size_bytes => {
                    *state = PackState::Counts;
                    packs.add(listed.size_bytes);
                }
                (Some(state), _) => {
                    *state = PackState::Odd;
                    odd.extend(row.and_then(|row| Some((u32::try_from(row).ok()?, listed.size_bytes))));
                }
                (None, _) => unnamed.packs.push((name, listed.size_bytes)),
            }
            Ok(())
        })?;
        drop(rows);
        let segments = Bits::new(table.segment_count());
        let wrong = Wrong { segments, entries: BTreeSet::new(), packs: BTreeMap::new() };
        let table = Arc::new(table);
        Ok((Self { table, states, odd, packs, wrong: RwLock::new(wrong) }, unnamed))
    }

    fn wrong(&self) -> RwLockReadGuard<'_, Wrong> {
        self.wrong.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong_mut(&self) -> RwLockWriteGuard<'_, Wrong> {
        self.wrong.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of all packs that are not as the index says.
    pub(super) fn tell(&self, findings: &Findings<'_>) {
        for (row, state) in self.states.iter().enumerate() {
            let Some((row, pack)) =
                u32::try_from(row).ok().and_then(|row| Some((row, self.table.pack(row)?)))
            else {
                continue;
            };
            let message = match state {
                PackState::Missing => "it is not there, though the index names it".to_owned(),
                PackState::Odd => {
                    let size_bytes = self.odd.get(&row).copied().unwrap_or_default();
                    format!("it has {size_bytes} bytes where the index says {}", pack.size_bytes)
                }
                PackState::Dead | PackState::Counts => continue,
            };
            self.tell_pack(row, &Error::damaged(message), findings);
        }
    }

    /// Tells of a pack, once.
    pub(super) fn tell_pack(&self, row: u32, error: &Error, findings: &Findings<'_>) {
        let Some(pack) = self.table.pack(row) else { return };
        if self.wrong().packs.contains_key(&row) {
            return;
        }
        let number = findings.tell(&names::pack(&pack.name), error);
        if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) {
            self.wrong_mut().packs.insert(row, number);
        }
    }

    pub(super) fn state(&self, row: u32) -> Option<PackState> {
        self.states.get(row as usize).copied()
    }

    /// Packs of the index that went by a verdict.
    pub(super) fn dead_rows(&self) -> u64 {
        self.states.iter().filter(|state| **state == PackState::Dead).count() as u64
    }

    /// A segment cannot be used.
    pub(super) fn spoil_segment(&self, place: &Place) {
        let pack = self.table.pack(place.pack);
        if let Some(row) = pack.and_then(|pack| self.table.segment_row(&pack, place.segment)) {
            self.wrong_mut().segments.insert(row);
        }
    }

    /// An entry says something else than its pack.
    pub(super) fn spoil_entry(&self, row: usize) {
        self.wrong_mut().entries.insert(row);
    }

    pub(super) fn counts(&self, row: usize, place: &Place) -> bool {
        let is_there = self.state(place.pack) == Some(PackState::Counts);
        let pack = self.table.pack(place.pack).filter(|_| is_there);
        let Some(segment) = pack.and_then(|pack| self.table.segment_row(&pack, place.segment)) else {
            return false;
        };
        let wrong = self.wrong();
        !wrong.segments.has(segment) && !wrong.entries.contains(&row)
    }

    fn is_of_kind(&self, place: &Place, kind: ChunkKind) -> bool {
        self.table.pack(place.pack).is_some_and(|pack| pack.kind == kind)
    }

    /// Where a chunk lies.
    pub(super) fn find(&self, kind: ChunkKind, id: &ChunkId) -> Whereabouts {
        let mut first: Option<(usize, Place)> = None;
        for (row, place) in self.table.rows_of(id) {
            let (row_of_chunk, _) = *first.get_or_insert((row, place));
            // A place in a pack of the other kind is none: rule INDEX-7.
            if self.counts(row, &place) && self.is_of_kind(&place, kind) {
                return Whereabouts::There { row: row_of_chunk, length: place.length };
            }
        }
        match first {
            None => Whereabouts::Nowhere,
            Some((row, place)) => {
                let damage = self.wrong().packs.get(&place.pack).copied().flatten();
                Whereabouts::Lost { row, damage }
            }
        }
    }
}

/// Packs that are listed and that the index does not name.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    packs: Vec<(ContentName, u64)>,
    condemned: ObjectCount,
}

impl Unnamed {
    /// Counts them by whether their sessions may still write. A session that had ended when its commit key was listed
    /// had published all its index runs before the index was read.
    pub(super) fn count(
        self,
        repository: &Repository,
        commits: &ReadCommits,
        findings: &Findings<'_>,
    ) -> Result<Leftovers> {
        let mut leftovers = Leftovers { condemned: self.condemned, ..Leftovers::default() };
        let mut live: HashMap<SessionId, bool> = HashMap::new();
        for (name, size_bytes) in self.packs {
            findings.go_on()?;
            let is_live = match repository.session_of_pack(&name) {
                Some(session) if !commits.ended.contains(&session) => {
                    *live.entry(session).or_insert_with(|| repository.has_started(&session))
                }
                _ => false,
            };
            let count = if is_live { &mut leftovers.in_progress } else { &mut leftovers.unnamed };
            count.add(size_bytes);
        }
        Ok(leftovers)
    }
}

impl Repository {
    /// The session that a pack's header names. Nothing is decided by it.
    fn session_of_pack(&self, name: &ContentName) -> Option<SessionId> {
        let name = object_name(&names::pack(name)).ok()?;
        let bytes = self.storage.get_range(&name, 0, HEADER_BYTES).ok()?;
        let header = [ObjectKind::DataPack, ObjectKind::TreePack]
            .into_iter()
            .find_map(|kind| Header::decode(kind, &bytes).ok())?;
        Some(header.0.session)
    }

    fn has_started(&self, session: &SessionId) -> bool {
        object_name(&names::session_start(session))
            .and_then(|name| self.storage.get_range(&name, 0, 0))
            .is_ok()
    }
}
