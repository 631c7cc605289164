//! The local index: one sorted table of all chunks, mapped from a file that is never changed in place.
//!
//! ```text
//! entries 48 each | packs 104 each | segments 16 each | index runs 32 each | superseded runs 32 each | counts 40 | code 32
//! ```
//!
//! What must hold: the file is a cache of index runs and of nothing else; a file that is damaged, foreign or of other
//! runs is rebuilt, never believed: its code is keyed by the repository, and checked on opening. It may still hold packs
//! that went with a superseded run: those are blocked for ever.

mod rows;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use crate::base::monitor::show_file;
use crate::base::{ChunkId, ContentName, Error, ErrorKind, Result, SessionId, Wrap};
use crate::crypto::{ChunkKind, Secret};
use crate::format::fields::FieldReader;
use crate::format::index::{IndexRun, IndexedPack};
use crate::format::pack::{Codec, SegmentRow};
use crate::format::sealing::ObjectKind;
use crate::repository::index::mapped::Bytes;

const ENTRY_BYTES: usize = 48;
const PACK_BYTES: usize = 104;
const SEGMENT_BYTES: usize = 16;
const RUN_BYTES: usize = 32;
const COUNTS_BYTES: usize = 40;
const CODE_BYTES: usize = 32;

/// Where a chunk lies, by rows of this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Row of the pack.
    pub pack: u32,
    /// Number of the segment in the pack.
    pub segment: u32,
    /// First byte within the segment's plaintext.
    pub offset: u32,
    /// Bytes of plaintext.
    pub length: u32,
}

/// A pack's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its name.
    pub name: ContentName,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// Whose run wrote it.
    pub session: SessionId,
    /// Its salt.
    pub salt: [u8; 32],
    /// Which master key.
    pub generation: u32,
    /// What its chunks hold.
    pub kind: ChunkKind,
    first_segment: u32,
    segments: u32,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    bytes: Bytes,
    entries: usize,
    packs: usize,
    segments: usize,
    runs: usize,
    superseded: usize,
}

/// An entry while tables are merged.
#[derive(Clone, Copy)]
struct Entry {
    id: ChunkId,
    place: Place,
}

impl Table {
    /// A table of nothing.
    pub fn empty() -> Self {
        Self {
            bytes: Bytes::Owned(vec![0; COUNTS_BYTES + CODE_BYTES]),
            entries: 0,
            packs: 0,
            segments: 0,
            runs: 0,
            superseded: 0,
        }
    }

    /// Maps a file; `None` if it is not there or not a whole table of this repository.
    pub fn open(path: &Path, key: &Secret) -> Option<Self> {
        let table = Self::from_bytes(Bytes::map(path).ok()?)?;
        let (covered, code) = table.bytes.split_last_chunk::<CODE_BYTES>()?;
        (blake3::keyed_hash(key.expose(), covered) == *code).then_some(table)
    }

    fn from_bytes(bytes: Bytes) -> Option<Self> {
        let counts_at = bytes.len().checked_sub(COUNTS_BYTES + CODE_BYTES)?;
        let mut fields = FieldReader::new(bytes.get(counts_at..)?, "");
        let mut count = || usize::try_from(fields.u64().ok()?).ok();
        let (entries, packs, segments, runs) = (count()?, count()?, count()?, count()?);
        let superseded = count()?;
        let sections = [
            (entries, ENTRY_BYTES),
            (packs, PACK_BYTES),
            (segments, SEGMENT_BYTES),
            (runs, RUN_BYTES),
            (superseded, RUN_BYTES),
        ];
        let expected = sections
            .into_iter()
            .try_fold(0_usize, |sum, (count, width)| count.checked_mul(width)?.checked_add(sum))?;
        (expected == counts_at).then_some(Self { bytes, entries, packs, segments, runs, superseded })
    }

    fn row(&self, start: usize, width: usize, number: usize) -> FieldReader<'_> {
        let from = start + width * number;
        FieldReader::new(self.bytes.get(from..from + width).unwrap_or_default(), "")
    }

    fn packs_start(&self) -> usize {
        self.entries * ENTRY_BYTES
    }

    fn segments_start(&self) -> usize {
        self.packs_start() + self.packs * PACK_BYTES
    }

    fn runs_start(&self) -> usize {
        self.segments_start() + self.segments * SEGMENT_BYTES
    }

    /// Number of entries.
    pub const fn entry_count(&self) -> usize {
        self.entries
    }

    /// Number of packs.
    pub const fn pack_count(&self) -> usize {
        self.packs
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The index runs that the table holds, sorted.
    pub fn runs(&self) -> Vec<ContentName> {
        self.names(self.runs_start(), self.runs)
    }

    /// The runs of which another run that it holds says that it holds their content, sorted.
    pub fn superseded(&self) -> Vec<ContentName> {
        self.names(self.runs_start() + self.runs * RUN_BYTES, self.superseded)
    }

    fn names(&self, start: usize, count: usize) -> Vec<ContentName> {
        (0..count)
            .filter_map(|number| self.row(start, RUN_BYTES, number).fixed().ok().map(ContentName))
            .collect()
    }

    fn id(&self, number: usize) -> ChunkId {
        ChunkId(self.row(0, ENTRY_BYTES, number).fixed().unwrap_or_default())
    }

    fn entry(&self, number: usize) -> Option<Entry> {
        let mut row = self.row(0, ENTRY_BYTES, number);
        let id = ChunkId(row.fixed().ok()?);
        let place = Place {
            pack: row.u32().ok()?,
            segment: row.u32().ok()?,
            offset: row.u32().ok()?,
            length: row.u32().ok()?,
        };
        Some(Entry { id, place })
    }

    /// A pack's row.
    pub fn pack(&self, number: u32) -> Option<PackRow> {
        if number as usize >= self.packs {
            return None;
        }
        let mut row = self.row(self.packs_start(), PACK_BYTES, number as usize);
        Some(PackRow {
            name: ContentName(row.fixed().ok()?),
            size_bytes: row.u64().ok()?,
            session: SessionId(row.fixed().ok()?),
            salt: row.fixed().ok()?,
            generation: row.u32().ok()?,
            kind: if row.u32().ok()? == u32::from(ObjectKind::TreePack.number()) {
                ChunkKind::Tree
            } else {
                ChunkKind::Data
            },
            first_segment: row.u32().ok()?,
            segments: row.u32().ok()?,
        })
    }

    /// A segment's row.
    pub fn segment(&self, pack: &PackRow, number: u32) -> Option<SegmentRow> {
        if number >= pack.segments {
            return None;
        }
        let position = pack.first_segment.checked_add(number)? as usize;
        let mut row = self.row(self.segments_start(), SEGMENT_BYTES, position);
        Some(SegmentRow {
            offset: row.u32().ok()?,
            stored_bytes: row.u32().ok()?,
            raw_bytes: row.u32().ok()?,
            codec: Codec::from_number(row.u8_and_reserved().ok()?, "").ok()?,
        })
    }

    /// All places of a chunk.
    pub fn places(&self, id: &ChunkId) -> impl Iterator<Item = Place> + '_ {
        let id = *id;
        (self.first_not_below(&id)..self.entries)
            .map_while(move |number| self.entry(number).filter(|entry| entry.id == id))
            .map(|entry| entry.place)
    }

    /// Number of the first row of a chunk.
    pub fn row_of(&self, id: &ChunkId) -> Option<usize> {
        let row = self.first_not_below(id);
        (row < self.entries && self.id(row) == *id).then_some(row)
    }

    /// A row: a chunk and one of its places.
    pub fn row_at(&self, number: usize) -> Option<(ChunkId, Place)> {
        let entry = self.entry(number).filter(|_| number < self.entries)?;
        Some((entry.id, entry.place))
    }

    /// All rows in order: chunks ascending, of a chunk its places by row of the pack.
    pub fn rows(&self) -> impl Iterator<Item = (ChunkId, Place)> + '_ {
        (0..self.entries).map_while(|number| self.entry(number)).map(|entry| (entry.id, entry.place))
    }

    /// Number of the first entry whose id is not below `id`: interpolation, as ids are uniform, then bisection.
    fn first_not_below(&self, id: &ChunkId) -> usize {
        let (mut low, mut high) = (0, self.entries);
        let mut guesses = 4;
        while low < high {
            let middle = if guesses > 0 {
                guesses -= 1;
                self.guess(id, low, high)
            } else {
                low + (high - low) / 2
            };
            if self.id(middle) < *id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn guess(&self, id: &ChunkId, low: usize, high: usize) -> usize {
        let number = |id: ChunkId| id.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let (first, last, wanted) = (number(self.id(low)), number(self.id(high - 1)), number(*id));
        let span = u128::from(last.saturating_sub(first)).max(1);
        let part = u128::from(wanted.clamp(first, last.max(first)) - first);
        let step = part * (high - low - 1) as u128 / span;
        low + usize::try_from(step).unwrap_or(0).min(high - low - 1)
    }

    /// A table of what this one holds and of more runs, in a new file, or in memory without one. Runs that are gone
    /// are no longer among its runs; their content stays.
    pub fn merged(
        &self,
        runs: &[(ContentName, IndexRun)],
        gone: &BTreeSet<ContentName>,
        path: Option<&Path>,
        key: &Secret,
    ) -> Result<Self> {
        let (packs, numbers) = merge_packs(self, runs)?;
        let mut output = Output::create(path, key)?;
        let entries = merge_entries(self, runs, &numbers, &mut output)?;
        let mut first_segment = 0_u32;
        for pack in &packs {
            output.pack(pack, first_segment)?;
            let count = u32::try_from(pack.segments.len()).unwrap_or(u32::MAX);
            first_segment = first_segment.checked_add(count).ok_or_else(too_large)?;
        }
        for segment in packs.iter().flat_map(|pack| &pack.segments) {
            for number in
                [segment.offset, segment.stored_bytes, segment.raw_bytes, u32::from(segment.codec.number())]
            {
                output.write(&number.to_le_bytes())?;
            }
        }
        let mut names: BTreeSet<ContentName> = self.runs().into_iter().collect();
        names.extend(runs.iter().map(|(name, _)| *name));
        names.retain(|name| !gone.contains(name));
        let mut superseded: BTreeSet<ContentName> = self.superseded().into_iter().collect();
        superseded.extend(runs.iter().flat_map(|(_, run)| run.superseded.iter().copied()));
        for name in names.iter().chain(&superseded) {
            output.write(name.as_bytes())?;
        }
        for count in [entries, packs.len(), first_segment as usize, names.len(), superseded.len()] {
            output.write(&(count as u64).to_le_bytes())?;
        }
        Self::from_bytes(output.finish()?).ok_or_else(too_large)
    }

    /// A pack as index runs describe it.
    pub fn indexed_pack(&self, number: u32) -> Option<IndexedPack> {
        let row = self.pack(number)?;
        let segments = (0..row.segments).map(|segment| self.segment(&row, segment)).collect::<Option<_>>()?;
        Some(IndexedPack {
            name: row.name,
            size_bytes: row.size_bytes,
            session: row.session,
            salt: row.salt,
            generation: row.generation,
            kind: row.kind.pack_kind(),
            segments,
        })
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::Failed, "the local index is too large for this machine")
}

/// All packs sorted by name, and for the table and each run the new row of each of its packs.
fn merge_packs(table: &Table, runs: &[(ContentName, IndexRun)]) -> Result<(Vec<IndexedPack>, Vec<Vec<u32>>)> {
    let mut tagged: Vec<(usize, usize, IndexedPack)> = Vec::new();
    for number in 0..table.packs {
        let pack = u32::try_from(number).ok().and_then(|number| table.indexed_pack(number));
        tagged.push((0, number, pack.ok_or_else(too_large)?));
    }
    for (source, (_, run)) in runs.iter().enumerate() {
        let packs = run.packs.iter().enumerate().map(|(number, pack)| (source + 1, number, pack.clone()));
        tagged.extend(packs);
    }
    tagged.sort_by_key(|(_, _, pack)| pack.name);
    let mut numbers: Vec<Vec<u32>> = vec![vec![0; table.packs]];
    numbers.extend(runs.iter().map(|(_, run)| vec![0; run.packs.len()]));
    let mut packs: Vec<IndexedPack> = Vec::new();
    for (source, number, pack) in tagged {
        match packs.last() {
            Some(last) if last.name == pack.name && *last == pack => {}
            Some(last) if last.name == pack.name => {
                return Err(Error::damaged(format!(
                    "two index runs contradict each other on pack {}",
                    pack.name
                )));
            }
            _ => packs.push(pack),
        }
        let row = u32::try_from(packs.len() - 1).map_err(|_| too_large())?;
        if let Some(slot) = numbers.get_mut(source).and_then(|numbers| numbers.get_mut(number)) {
            *slot = row;
        }
    }
    Ok((packs, numbers))
}

/// Writes all entries in order, each once, and gives their number.
fn merge_entries(
    table: &Table,
    runs: &[(ContentName, IndexRun)],
    numbers: &[Vec<u32>],
    output: &mut Output,
) -> Result<usize> {
    let entry_of = |source: usize, position: usize| -> Option<Entry> {
        let mut entry = match source.checked_sub(1) {
            None => table.entry(position).filter(|_| position < table.entries)?,
            Some(run) => {
                let entry = runs.get(run)?.1.entries.get(position)?;
                let place = Place {
                    pack: entry.pack,
                    segment: entry.segment,
                    offset: entry.offset,
                    length: entry.length,
                };
                Entry { id: entry.id, place }
            }
        };
        entry.place.pack = *numbers.get(source)?.get(entry.place.pack as usize)?;
        Some(entry)
    };
    let order = |a: &Entry, b: &Entry| -> Ordering { (a.id, a.place.pack).cmp(&(b.id, b.place.pack)) };
    let mut heap = std::collections::BinaryHeap::new();
    for source in 0..=runs.len() {
        if let Some(entry) = entry_of(source, 0) {
            heap.push(Head { entry, source, position: 0 });
        }
    }
    let mut written = 0;
    let mut last: Option<Entry> = None;
    while let Some(Head { entry, source, position }) = heap.pop() {
        if let Some(next) = entry_of(source, position + 1) {
            heap.push(Head { entry: next, source, position: position + 1 });
        }
        if last.is_some_and(|last| order(&last, &entry).is_eq()) {
            continue;
        }
        output.write(entry.id.as_bytes())?;
        for number in [entry.place.pack, entry.place.segment, entry.place.offset, entry.place.length] {
            output.write(&number.to_le_bytes())?;
        }
        written += 1;
        last = Some(entry);
    }
    Ok(written)
}

/// The next entry of one input; the heap gives the smallest first.
struct Head {
    entry: Entry,
    source: usize,
    position: usize,
}

impl Head {
    const fn key(&self) -> (ChunkId, u32, usize) {
        (self.entry.id, self.entry.place.pack, self.source)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// A table that is being written: to a new file beside the final one, or to memory.
struct Output {
    hasher: blake3::Hasher,
    sink: Sink,
}

enum Sink {
    Memory(Vec<u8>),
    File {
        writer: std::io::BufWriter<std::fs::File>,
        temporary: std::path::PathBuf,
        path: std::path::PathBuf,
    },
}

impl Output {
    fn create(path: Option<&Path>, key: &Secret) -> Result<Self> {
        let hasher = blake3::Hasher::new_keyed(key.expose());
        let Some(path) = path else { return Ok(Self { hasher, sink: Sink::Memory(Vec::new()) }) };
        let unique = crate::base::id::to_hex(&crate::crypto::random::array::<8>()?);
        let temporary = path.with_extension(format!("{unique}.tmp"));
        let file = std::fs::File::create_new(&temporary)
            .wrap(|| format!("cannot create the local index {}", show_file(&temporary)))?;
        let writer = std::io::BufWriter::with_capacity(1 << 18, file);
        Ok(Self { hasher, sink: Sink::File { writer, temporary, path: path.to_owned() } })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.write_uncovered(bytes)
    }

    fn write_uncovered(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.sink {
            Sink::Memory(buffer) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            Sink::File { writer, temporary, .. } => writer
                .write_all(bytes)
                .wrap(|| format!("cannot write the local index {}", show_file(temporary))),
        }
    }

    fn pack(&mut self, pack: &IndexedPack, first_segment: u32) -> Result<()> {
        self.write(pack.name.as_bytes())?;
        self.write(&pack.size_bytes.to_le_bytes())?;
        self.write(pack.session.as_bytes())?;
        self.write(&pack.salt)?;
        let segments = u32::try_from(pack.segments.len()).unwrap_or(u32::MAX);
        for number in [pack.generation, u32::from(pack.kind.number()), first_segment, segments] {
            self.write(&number.to_le_bytes())?;
        }
        Ok(())
    }

    /// Ends with the code, and gives the bytes as they will be read.
    fn finish(mut self) -> Result<Bytes> {
        let code = self.hasher.finalize();
        self.write_uncovered(code.as_bytes())?;
        match &mut self.sink {
            Sink::Memory(buffer) => Ok(Bytes::Owned(std::mem::take(buffer))),
            Sink::File { writer, temporary, path } => {
                let context = || format!("cannot write the local index {}", show_file(temporary));
                writer.flush().wrap(context)?;
                std::fs::rename(&temporary, &path).wrap(context)?;
                Bytes::map(path)
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Sink::File { temporary, .. } = &self.sink {
            // After a rename there is nothing of this name; after a failure the leftover is of no use to anybody.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
pub(in crate::repository) mod tests;
