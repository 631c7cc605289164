//! Taking chunks over from a sibling: segments are sealed again as they are, pack by pack.
//!
//! What must hold: only what the repository lacks is taken; each segment is read once, a bounded number at a time; every
//! chunk is checked against its name before it is stored. What cannot be read where it lies is looked for in all of its
//! other places. Nothing is written to the sibling.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::{ChunkId, ContentName, Error, ErrorKind, Monitor, Result, Wrap};
use crate::crypto::{ChunkKind, Opener};
use crate::format::names;
use crate::format::pack::SegmentRow;
use crate::format::sealing::Role;
use crate::repository::index::table::{PackRow, Place, Table};
use crate::repository::marks::Bits;
use crate::repository::object::object_name;
use crate::repository::pack::decode_segment;
use crate::repository::{Marks, Reader, Repository, Session};

/// The chunks of so many packs are looked up in the index at a time.
const PACKS_AT_A_TIME: usize = 256;

/// What a repository lacks of what is marked in a sibling.
#[derive(Debug)]
pub struct Lack {
    table: Arc<Table>,
    /// Rows of the table: of each chunk the place from which it is taken.
    rows: Bits,
    /// Rows of the packs in which these lie.
    packs: BTreeSet<u32>,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of plaintext.
    pub plain_bytes: u64,
}

/// A chunk that has no place at which it can be read, and why.
#[derive(Debug)]
pub struct Unreadable {
    /// What it holds.
    pub kind: ChunkKind,
    /// Its name.
    pub id: ChunkId,
    /// What is wrong with it.
    pub error: Error,
}

impl Lack {
    /// Number of packs that are read.
    pub fn pack_count(&self) -> u64 {
        self.packs.len() as u64
    }

    /// Of what came to be needed since the marks were settled, what is not known.
    fn of(
        marks: &Marks,
        gone: &HashSet<ContentName>,
        is_known: &dyn Fn(&ChunkId) -> Result<bool>,
    ) -> Result<Self> {
        let table = Arc::clone(marks.table());
        let rows = Bits::new(table.entry_count());
        let mut lack = Self { table, rows, packs: BTreeSet::new(), chunks: 0, plain_bytes: 0 };
        let is_gone = |pack: u32| lack.table.pack(pack).is_none_or(|pack| gone.contains(&pack.name));
        let mut packs = BTreeSet::new();
        for first in marks.newly_needed() {
            let Some((id, place)) = lack.table.row_at(first) else { continue };
            if is_known(&id)? {
                continue;
            }
            let places = (first..)
                .map_while(|row| Some((row, lack.table.row_at(row).filter(|(other, _)| *other == id)?.1)));
            let there = places.into_iter().find(|(_, place)| !is_gone(place.pack));
            let (row, place) = there.unwrap_or((first, place));
            lack.rows.set(row);
            packs.insert(place.pack);
            lack.chunks += 1;
            lack.plain_bytes += u64::from(place.length);
        }
        lack.packs = packs;
        Ok(lack)
    }

    /// The chunks that lie in some packs, in the order in which they lie.
    fn in_packs(&self, packs: &BTreeSet<u32>) -> Vec<(Place, ChunkId)> {
        let rows = self.rows.rows().filter_map(|row| self.table.row_at(row));
        let mut chunks: Vec<(Place, ChunkId)> =
            rows.filter(|(_, place)| packs.contains(&place.pack)).map(|(id, place)| (place, id)).collect();
        chunks.sort_by_key(|(place, _)| (place.pack, place.segment, place.offset));
        chunks
    }
}

impl Reader<'_> {
    /// Marks on the index as it was read last, of which none is set.
    pub fn marks(&self) -> Result<Marks> {
        self.newest_table().map(Marks::new)
    }
}

impl Repository {
    /// What a session that began now would lack. Nothing is written.
    pub fn would_lack(&self, source: &Repository, marks: &Marks) -> Result<Lack> {
        let blocked = self.collections().wrap(|| "cannot read the collections")?.blocked;
        let table = self.reader()?.newest_table()?;
        Lack::of(marks, &source.collections()?.dead, &|id| {
            let counts =
                |place: Place| table.pack(place.pack).is_some_and(|pack| !blocked.contains(&pack.name));
            Ok(table.places(id).any(counts))
        })
    }
}

impl Session<'_> {
    /// What this repository lacks of what came to be needed since the marks, which are on the source's index, were settled.
    pub fn lack_of(&self, source: &Repository, marks: &Marks) -> Result<Lack> {
        let gone = source.collections().wrap(|| "cannot read the collections of the source")?.dead;
        Lack::of(marks, &gone, &|id| self.is_known(id))
    }

    /// Stores all that is lacking, in tasks of the calling pool. Gives a chunk that cannot be read, if there is one, and
    /// then takes no more. After a failure to store the session cannot be committed.
    pub fn take(
        &self,
        source: &Reader<'_>,
        lack: &Lack,
        monitor: &dyn Monitor,
    ) -> Result<Option<Unreadable>> {
        if !self.repository().is_sibling_of(source.repository()) {
            return Err(Error::new(ErrorKind::Usage, "chunks can only be taken from a sibling"));
        }
        let taking = Taking { session: self, source, table: &lack.table, found: Mutex::default() };
        let packs: Vec<u32> = lack.packs.iter().copied().collect();
        for packs in packs.chunks(PACKS_AT_A_TIME) {
            let chunks = lack.in_packs(&packs.iter().copied().collect());
            let tasks = taking.tasks(&chunks)?;
            let taken = tasks.par_iter().try_for_each(|task| match monitor.cancelled() {
                true => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
                false => taking.task(task, monitor),
            });
            taken?;
            if let Some(unreadable) = taking.found.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(Some(unreadable));
            }
            monitor.advance(packs.len() as u64, 0);
        }
        Ok(None)
    }
}

/// The number of a segment, what the index says of it, and what is wanted of it.
type OfSegment<'c> = (u32, SegmentRow, &'c [(Place, ChunkId)]);

/// Chunks of neighbouring segments of one pack, which one request fetches.
struct Task<'c> {
    pack: PackRow,
    segments: Vec<OfSegment<'c>>,
    stored_bytes: u64,
}

struct Taking<'t, 's, 'r> {
    session: &'t Session<'s>,
    source: &'t Reader<'r>,
    table: &'t Table,
    found: Mutex<Option<Unreadable>>,
}

impl Taking<'_, '_, '_> {
    fn tasks<'c>(&self, chunks: &'c [(Place, ChunkId)]) -> Result<Vec<Task<'c>>> {
        let most_bytes = self.session.repository().memory().piece_bytes() as u64;
        let not_indexed = || Error::damaged("the local index lacks a pack or a segment");
        let mut tasks: Vec<Task<'c>> = Vec::new();
        for group in chunks.chunk_by(|(a, _), (b, _)| (a.pack, a.segment) == (b.pack, b.segment)) {
            let Some((place, _)) = group.first() else { continue };
            let pack = self.table.pack(place.pack).ok_or_else(not_indexed)?;
            let row = self.table.segment(&pack, place.segment).ok_or_else(not_indexed)?;
            let stored_bytes = u64::from(row.stored_bytes);
            let joined = tasks.last_mut().filter(|task| {
                task.pack.name == pack.name
                    && task.stored_bytes + stored_bytes <= most_bytes
                    && task.segments.last().is_some_and(|(_, last, _)| {
                        u64::from(last.offset) + u64::from(last.stored_bytes) == u64::from(row.offset)
                    })
            });
            match joined {
                Some(task) => {
                    task.stored_bytes += stored_bytes;
                    task.segments.push((place.segment, row, group));
                }
                None => tasks.push(Task { pack, segments: vec![(place.segment, row, group)], stored_bytes }),
            }
        }
        Ok(tasks)
    }

    fn task(&self, task: &Task<'_>, monitor: &dyn Monitor) -> Result<()> {
        if self.found.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let repository = self.source.repository();
        let name = object_name(&names::pack(&task.pack.name))?;
        let start = task.segments.first().map_or(0, |(_, row, _)| u64::from(row.offset));
        let length = usize::try_from(task.stored_bytes).unwrap_or(usize::MAX);
        let fetched = match repository.storage.get_range(&name, start, length) {
            Ok(fetched) => fetched,
            // It went since the index was read, or is too short: each chunk may have another place.
            Err(error) if is_of_source(&error) => Vec::new(),
            Err(error) => {
                return Err(error.while_doing(format!("cannot read pack {} of the source", task.pack.name)));
            }
        };
        let mut fetched = fetched.as_slice();
        for (number, row, chunks) in &task.segments {
            let (sealed, after) = fetched.split_at(fetched.len().min(row.stored_bytes as usize));
            fetched = after;
            match self.open(&task.pack, *number, row, sealed, chunks) {
                Ok(opened) => {
                    let copied = self.session.copy_segment(task.pack.kind, row, opened, chunks);
                    copied.inspect_err(|_| self.session.set_failed())?;
                }
                Err(_) => self.one_by_one(task.pack.kind, chunks)?,
            }
            monitor.advance(0, u64::from(row.stored_bytes));
        }
        Ok(())
    }

    /// Opens a segment, and compares the hash of each chunk that is wanted of it.
    fn open(
        &self,
        pack: &PackRow,
        number: u32,
        row: &SegmentRow,
        sealed: &[u8],
        chunks: &[(Place, ChunkId)],
    ) -> Result<Vec<u8>> {
        let repository = self.source.repository();
        let context = repository.context(pack.kind.pack_kind(), pack.generation, None);
        let opener = Opener::from_index(&repository.keys, &context, pack.session, pack.salt)?;
        let opened = opener.open(u64::from(number), Role::Body, sealed)?;
        let raw = decode_segment(opened.clone(), row.codec, row.raw_bytes as usize)?;
        let is_right = |(place, id): &(Place, ChunkId)| {
            let start = place.offset as usize;
            raw.get(start..start.saturating_add(place.length as usize))
                .is_some_and(|content| repository.keys.chunk_id(pack.kind, content) == *id)
        };
        match chunks.iter().all(is_right) {
            true => Ok(opened),
            false => Err(Error::damaged("a chunk is not what it is named after")),
        }
    }

    fn one_by_one(&self, kind: ChunkKind, chunks: &[(Place, ChunkId)]) -> Result<()> {
        for (_, id) in chunks {
            match self.source.chunk(kind, id) {
                Ok(content) => {
                    let appended = self.session.append(kind, *id, &content);
                    appended.inspect_err(|_| self.session.set_failed())?;
                }
                Err(error) if is_of_source(&error) => {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.get_or_insert(Unreadable { kind, id: *id, error });
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether it is the object that is at fault, and not the way to it.
fn is_of_source(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound | ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests;
