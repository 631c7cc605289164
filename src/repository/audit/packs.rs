//! Packs read whole: every byte hashed, every part opened, every chunk hashed, and all of it held against the index.
//!
//! What must hold: a pack is held once, and one segment of it a second time; packs that are held together stay within
//! half of the limit on memory, but for a single one that is larger; a pack that is gone went by a verdict, or is damage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rayon::ThreadPoolBuilder;

use super::Audit;
use super::places::PackState;
use crate::base::limits::PACK_BYTES_MAX;
use crate::base::{ChunkId, ContentName, Error, ErrorKind, Result, Wrap};
use crate::crypto::{Opener, content_name, random};
use crate::format::names;
use crate::format::pack::{Directory, SegmentRow, TRAILER_BYTES, directory_place, trailer_offset};
use crate::format::sealing::{Header, Role};
use crate::repository::index::table::{PackRow, Place, Table};
use crate::repository::object::object_name;
use crate::repository::pack::decode_segment;
use crate::repository::{ObjectCount, Repository};

/// What a pack turned out to be.
enum Verdict {
    /// Every byte of it is what it must be.
    Whole,
    /// It is not, or could not be read.
    Wrong(Error),
    /// It went by a verdict since it was listed.
    Gone,
    /// It cannot be read before it is thawed.
    Frozen,
}

/// What became of packs that were to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacksRead {
    /// Those that were read.
    pub read: ObjectCount,
    /// Those that cannot be read before they are thawed.
    pub frozen: ObjectCount,
}

/// What is wrong with a pack, the first thing first.
#[derive(Default)]
struct Wrongs(Vec<Error>);

impl Wrongs {
    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// One error of all: the first two, and how many more there are.
    fn into_error(self) -> Option<Error> {
        let more = self.0.len().saturating_sub(2);
        let mut errors = self.0.into_iter();
        let first = errors.next()?;
        let Some(second) = errors.next() else { return Some(first) };
        let message = first.chain().join(": ");
        Some(second.while_doing(match more {
            0 => message,
            _ => format!("{message}, and {} more things are wrong", more + 1),
        }))
    }
}

/// Lets packs in as long as there is memory for them.
pub(super) struct Gate {
    free_bytes: Mutex<u64>,
    freed: Condvar,
    all_bytes: u64,
}

impl Gate {
    pub(super) fn new(all_bytes: u64) -> Self {
        Self { free_bytes: Mutex::new(all_bytes), freed: Condvar::new(), all_bytes }
    }

    /// Waits until so many bytes are free. What is larger than all of them goes in alone.
    pub(super) fn enter(&self, bytes: u64) -> Entered<'_> {
        let bytes = bytes.min(self.all_bytes);
        let free = self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Entered { gate: self, bytes }
    }
}

pub(super) struct Entered<'g> {
    gate: &'g Gate,
    bytes: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.gate.free_bytes.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.gate.freed.notify_all();
    }
}

impl Audit<'_> {
    /// Reads packs by their rows, in this order, on so many threads as there are processors and memory for. `go_on` is
    /// asked before each pack, and `done` is told of each whether it is whole.
    pub fn read_packs(
        &self,
        rows: &[u32],
        go_on: &(dyn Fn() -> bool + Sync),
        done: &(dyn Fn(u32, bool) + Sync),
    ) -> Result<PacksRead> {
        let entries = self.places.table.entries_by_pack();
        let memory = self.repository.memory();
        let gate = Gate::new((memory.bytes() / 2) as u64);
        let (next, counted) = (AtomicU64::new(0), Mutex::new(PacksRead::default()));
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.repository.reader_count())
            .build()
            .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start threads", cause))?;
        let work = || -> Result<()> {
            loop {
                self.findings.go_on()?;
                let position = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                let Some(row) = rows.get(position).filter(|_| go_on()) else { return Ok(()) };
                let Some(pack) = self.places.table.pack(*row) else { continue };
                let _entered = gate.enter(pack.size_bytes);
                let verdict =
                    self.read_pack(*row, &pack, entries.get(*row as usize).copied().unwrap_or_default())?;
                self.monitor().advance(1, pack.size_bytes);
                let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
                match verdict {
                    Verdict::Frozen => counted.frozen.add(pack.size_bytes),
                    _ => counted.read.add(pack.size_bytes),
                }
                drop(counted);
                match verdict {
                    Verdict::Whole => done(*row, true),
                    Verdict::Wrong(error) => {
                        done(*row, false);
                        self.places.tell_pack(*row, &error, &self.findings);
                    }
                    Verdict::Gone | Verdict::Frozen => {}
                }
            }
        };
        pool.broadcast(|_| work()).into_iter().collect::<Result<()>>()?;
        Ok(counted.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rows of all packs that are there as the index says, in order of names, with their sizes in bytes.
    pub fn packs_there(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let count = u32::try_from(self.places.table.pack_count()).unwrap_or(u32::MAX);
        (0..count)
            .filter(|row| self.places.state(*row) == Some(PackState::Counts))
            .filter_map(|row| Some((row, self.places.table.pack(row)?.size_bytes)))
    }

    /// The names of all packs of the index, by row.
    pub fn pack_names(&self) -> impl Iterator<Item = ContentName> + '_ {
        self.places.table.pack_names()
    }

    /// The name of a pack of the index.
    pub fn pack_name(&self, row: u32) -> ContentName {
        self.places.table.pack(row).map_or(ContentName([0; 32]), |pack| pack.name)
    }

    /// A number that nobody foresees.
    pub fn draw(&self) -> Result<u64> {
        random::array().map(u64::from_ne_bytes)
    }

    fn read_pack(&self, row: u32, pack: &PackRow, entries: u32) -> Result<Verdict> {
        let name = object_name(&names::pack(&pack.name))?;
        let object = match self.repository.storage.get(&name, PACK_BYTES_MAX) {
            Ok(object) => object,
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_dead_now(&pack.name) => {
                return Ok(Verdict::Gone);
            }
            Err(error) if error.kind() == ErrorKind::Frozen => return Ok(Verdict::Frozen),
            Err(error) => {
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) {
                    (0..pack.segment_count()).for_each(|segment| self.spoil(row, segment));
                }
                return Ok(Verdict::Wrong(error));
            }
        };
        let mut wrongs = Wrongs::default();
        if content_name([object.as_slice()]) != pack.name {
            wrongs.0.push(Error::damaged("its bytes are not those that it is named after"));
        }
        if object.len() as u64 != pack.size_bytes {
            wrongs.0.push(Error::damaged(format!("it has {} bytes now", object.len())));
        }
        let directory = wrongs.take(self.repository.open_directory(pack, &object));
        wrongs.take(check_header(pack, &object));
        self.read_segments(row, pack, &object, directory.as_ref(), &mut wrongs)?;
        drop(object);
        if let Some(directory) = &directory {
            self.compare_entries(row, directory, entries, &mut wrongs);
        }
        Ok(wrongs.into_error().map_or(Verdict::Whole, Verdict::Wrong))
    }

    /// Whether a verdict names a pack by now.
    fn is_dead_now(&self, pack: &ContentName) -> bool {
        self.repository.collections().is_ok_and(|collections| collections.dead.contains(pack))
    }

    fn spoil(&self, row: u32, segment: u32) {
        self.places.spoil_segment(&Place { pack: row, segment, offset: 0, length: 0 });
    }

    /// Opens each segment as a reader will, by what the index says, and hashes each chunk that the directory names.
    fn read_segments(
        &self,
        row: u32,
        pack: &PackRow,
        object: &[u8],
        directory: Option<&Directory>,
        wrongs: &mut Wrongs,
    ) -> Result<()> {
        let indexed = |number: u32| self.places.table.segment(pack, number);
        if let Some(directory) = directory {
            let is_equal = directory.segments.len() == pack.segment_count() as usize
                && (0..).zip(&directory.segments).all(|(number, segment)| indexed(number) == Some(*segment));
            if !is_equal {
                wrongs.0.push(Error::damaged("its directory and the index differ in its segments"));
            }
        }
        let context = self.repository.context(pack.kind.pack_kind(), pack.generation, None);
        let opener = Opener::from_index(&self.repository.keys, &context, pack.session, pack.salt)?;
        let mut chunks = directory.map(|directory| directory.chunks.as_slice()).unwrap_or_default();
        for number in 0..pack.segment_count() {
            let of_segment = chunks.iter().take_while(|chunk| chunk.segment == number).count();
            let (these, rest) = chunks.split_at(of_segment);
            chunks = rest;
            let Some(segment) = indexed(number) else { continue };
            let opened = open_segment(&opener, object, number, segment);
            let read = opened.and_then(|raw| {
                let mut rest = raw.as_slice();
                these.iter().try_for_each(|chunk| {
                    let hashed = rest.split_at_checked(chunk.raw_bytes as usize);
                    let (content, after) = hashed.unwrap_or_default();
                    rest = after;
                    if self.repository.keys.chunk_id(pack.kind, content) == chunk.id {
                        return Ok(());
                    }
                    let message =
                        format!("the bytes of chunk {} are not those that it is named after", chunk.id);
                    Err(Error::damaged(message))
                })
            });
            if wrongs.take(read.wrap(|| format!("cannot use segment {number}"))).is_none() {
                self.spoil(row, number);
            }
        }
        Ok(())
    }

    /// Holds every entry of the index in this pack against the directory.
    fn compare_entries(&self, row: u32, directory: &Directory, entries: u32, wrongs: &mut Wrongs) {
        let table = &self.places.table;
        let is_entry = |(id, place): &(ChunkId, Place)| {
            table.rows_of(id).any(|(_, entry)| entry == Place { pack: row, ..*place })
        };
        let right = places(directory).filter(is_entry).count();
        if right >= entries as usize {
            return;
        }
        let wrong = wrong_entries(table, row, directory);
        let message =
            format!("the index names places in it that its directory does not have: {}", wrong.len());
        wrong.into_iter().for_each(|entry| self.places.spoil_entry(entry));
        wrongs.0.push(Error::damaged(message));
    }
}

/// The chunks of a pack and where they lie, in the order of its directory; the pack's row is 0.
fn places(directory: &Directory) -> impl Iterator<Item = (ChunkId, Place)> + '_ {
    let (mut segment, mut offset) = (0, 0);
    directory.chunks.iter().map(move |chunk| {
        if chunk.segment != segment {
            (segment, offset) = (chunk.segment, 0);
        }
        let place = Place { pack: 0, segment, offset, length: chunk.raw_bytes };
        offset += chunk.raw_bytes;
        (chunk.id, place)
    })
}

/// The rows of entries in a pack that its directory does not have. All entries are gone through.
fn wrong_entries(table: &Table, row: u32, directory: &Directory) -> Vec<usize> {
    let mut right: Vec<(ChunkId, Place)> =
        places(directory).map(|(id, place)| (id, Place { pack: row, ..place })).collect();
    let key = |(id, place): &(ChunkId, Place)| (*id, place.segment, place.offset, place.length);
    right.sort_unstable_by_key(key);
    let all = (0..table.entry_count()).filter_map(|number| Some((number, table.entry_at(number)?)));
    all.filter(|(_, (_, place))| place.pack == row)
        .filter(|(_, entry)| right.binary_search_by_key(&key(entry), key).is_err())
        .map(|(number, _)| number)
        .collect()
}

fn open_segment(opener: &Opener, object: &[u8], number: u32, row: SegmentRow) -> Result<Vec<u8>> {
    let start = row.offset as usize;
    let sealed = object.get(start..start.saturating_add(row.stored_bytes as usize));
    let sealed = sealed.ok_or_else(|| Error::damaged("the pack ends before it"))?;
    let opened = opener.open(u64::from(number), Role::Body, sealed)?;
    decode_segment(opened, row.codec, row.raw_bytes as usize)
}

/// The header says what the index says.
fn check_header(pack: &PackRow, object: &[u8]) -> Result<()> {
    let (header, _) =
        Header::decode(pack.kind.pack_kind(), object).map_err(|error| error.of_object("its header"))?;
    let is_equal =
        header.session == pack.session && header.salt == pack.salt && header.generation == pack.generation;
    if is_equal { Ok(()) } else { Err(Error::damaged("its header and the index differ")) }
}

impl Repository {
    /// Opens header, trailer and directory of a pack, by its own bytes alone.
    fn open_directory(&self, pack: &PackRow, object: &[u8]) -> Result<Directory> {
        let kind = pack.kind.pack_kind();
        let rule = |error: crate::format::DecodeError| error.of_object("its directory");
        let (header, _) = Header::decode(kind, object).map_err(rule)?;
        let context = self.context(kind, header.generation, None);
        let size_bytes = object.len() as u64;
        let tail = object.len().saturating_sub(8);
        let trailer_at = trailer_offset(size_bytes, object.get(tail..).unwrap_or_default()).map_err(rule)?;
        let part = |offset: u64, length: u64| -> Result<&[u8]> {
            let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
            range
                .and_then(|(offset, length)| object.get(offset..offset.checked_add(length)?))
                .ok_or_else(|| Error::damaged("the pack ends within its directory"))
        };
        let opener = Opener::from_header(&self.keys, &context, &header).wrap(|| "cannot open its header")?;
        let trailer = part(trailer_at, TRAILER_BYTES as u64)?;
        let trailer = opener.open(0, Role::Trailer, trailer).wrap(|| "cannot open its trailer")?;
        let (offset, length) = directory_place(&trailer, size_bytes).map_err(rule)?;
        let directory = part(offset, length)?;
        let directory = opener.open(0, Role::Directory, directory).wrap(|| "cannot open its directory")?;
        Directory::decode(&directory, size_bytes).map_err(rule)
    }
}
