//! Reading chunks: one at a time for trees, by whole segments for a restore.
//!
//! What must hold: every chunk that is given out has the hash that names it; if one of several places fails, the
//! others are tried; a chunk without a place is looked for in a fresh index before it is called missing.

mod fetch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::{ChunkId, ContentName, Error, ErrorKind, Result, Wrap};
use crate::crypto::ChunkKind;
use crate::repository::Repository;
use crate::repository::Session;
use crate::repository::index::table::{Place, Table};
use crate::repository::records::is_gone;
use fetch::{Misses, Source};

/// A segment of a pack, by rows of one of the reader's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    table: u32,
    pack: u32,
    segment: u32,
}

impl SegmentKey {
    /// Whether another segment is in the same pack.
    pub const fn same_pack(&self, other: &Self) -> bool {
        self.table == other.table && self.pack == other.pack
    }
}

/// Where a reader will take a chunk from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The segment.
    pub segment: SegmentKey,
    /// First byte within its plaintext.
    pub offset: u32,
    /// Bytes of plaintext.
    pub length: u32,
}

/// What a chunk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize {
    /// Bytes of plaintext.
    pub plain_bytes: u64,
    /// Its share of the stored bytes of its segment, in 2^-32 of a byte, so that the shares of a segment add up.
    pub stored_parts: u128,
}

/// An opened segment.
#[derive(Clone, Debug)]
pub struct Segment {
    kind: ChunkKind,
    raw: Arc<Vec<u8>>,
}

impl Segment {
    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// The bytes at a place, whose hash is not compared: only for what `Reader::chunk_of` gave from there before.
    pub fn compared_before(&self, placement: &Placement) -> Option<&[u8]> {
        let start = placement.offset as usize;
        self.raw.get(start..start.saturating_add(placement.length as usize))
    }
}

/// What a lasting reader keeps: the newest table, and the one by which somebody is just reading.
const LASTING_TABLES: usize = 2;

/// Whose chunks are read: somebody else's repository, or one that the reader holds as long as it is there itself.
#[derive(Debug)]
enum Whose<'r> {
    Lent(&'r Repository),
    Held(Arc<Repository>),
}

impl Deref for Whose<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        match self {
            Self::Lent(repository) => repository,
            Self::Held(repository) => repository,
        }
    }
}

/// Reads chunks.
#[derive(Debug)]
pub struct Reader<'r> {
    repository: Whose<'r>,
    /// Whose index is used, which is read when it is first asked for.
    session: Option<&'r Session<'r>>,
    /// The index as it was read first, and each time that a chunk was missing; rows belong to their table.
    tables: RwLock<Vec<Option<Arc<Table>>>>,
    /// One reads the index anew, and the others wait for what it has.
    reading: Mutex<()>,
    /// So many of the tables are kept, the newest: who reads without end does not need those before.
    tables_max: usize,
    kept: Mutex<Kept>,
    kept_bytes_max: usize,
    /// Packs, by table and row, that were asked for and are not there: the index may name packs for a while that a prune
    /// removed.
    gone: RwLock<HashSet<(u32, u32)>>,
    /// What this machine keeps of the repository may stand for what is there.
    uses_kept: bool,
    misses: Misses,
}

impl Repository {
    /// A reader with the index as it is listed now.
    pub fn reader(&self) -> Result<Reader<'_>> {
        let tables = RwLock::new(vec![Some(Arc::new(self.load_index()?))]);
        Ok(Reader::new(Whose::Lent(self), None, tables))
    }

    /// The same, which holds the repository, for who reads from it without end.
    pub fn lasting_reader(self: &Arc<Self>) -> Result<Reader<'static>> {
        let tables = RwLock::new(vec![Some(Arc::new(self.load_index()?))]);
        let reader = Reader::new(Whose::Held(Arc::clone(self)), None, tables);
        Ok(Reader { tables_max: LASTING_TABLES, ..reader })
    }
}

impl<'r> Reader<'r> {
    fn new(
        repository: Whose<'r>,
        session: Option<&'r Session<'r>>,
        tables: RwLock<Vec<Option<Arc<Table>>>>,
    ) -> Self {
        Self {
            kept_bytes_max: repository.memory.kept_bytes(),
            repository,
            session,
            tables,
            reading: Mutex::default(),
            tables_max: usize::MAX,
            kept: Mutex::default(),
            gone: RwLock::default(),
            uses_kept: true,
            misses: Misses::default(),
        }
    }

    /// The same reader, which keeps less than it usually does for the next chunk.
    pub fn keeping_at_most(self, bytes: usize) -> Self {
        Self { kept_bytes_max: self.kept_bytes_max.min(bytes), ..self }
    }

    /// The name that content has as a chunk.
    pub fn chunk_id(&self, kind: ChunkKind, content: &[u8]) -> ChunkId {
        self.repository.keys.chunk_id(kind, content)
    }

    /// The repository that it reads.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// A reader that uses the index of a session.
    pub(super) fn of_session(session: &'r Session<'r>) -> Self {
        let tables = RwLock::new(Vec::new());
        Self::new(Whose::Lent(session.repository()), Some(session), tables)
    }

    /// A reader over one table, of what the storage itself has.
    pub(super) fn over(repository: &'r Repository, table: Arc<Table>) -> Self {
        Self { uses_kept: false, ..Self::new(Whose::Lent(repository), None, RwLock::new(vec![Some(table)])) }
    }

    /// A chunk's bytes at one place of the newest table, and at no other.
    pub(super) fn chunk_at(&self, kind: ChunkKind, id: &ChunkId, place: Place) -> Result<Vec<u8>> {
        let (number, table) = self.newest()?;
        let placement = placement(number, place);
        let segment = self.kept_segment(&table, placement.segment)?;
        self.slice(&segment, kind, id, &placement)
    }

    /// The newest table and its number.
    fn newest(&self) -> Result<(u32, Arc<Table>)> {
        let newest = |tables: &[Option<Arc<Table>>]| {
            let number = u32::try_from(tables.len().saturating_sub(1)).unwrap_or(u32::MAX);
            tables.last().and_then(|table| Some((number, Arc::clone(table.as_ref()?))))
        };
        let known = newest(&self.tables.read().unwrap_or_else(PoisonError::into_inner));
        match (known, self.session) {
            (Some(known), _) => Ok(known),
            (None, None) => Err(no_table()),
            (None, Some(session)) => {
                let table = session.index()?;
                let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
                if tables.is_empty() {
                    tables.push(Some(table));
                }
                newest(&tables).ok_or_else(no_table)
            }
        }
    }

    /// The index as it was read last.
    pub(super) fn newest_table(&self) -> Result<Arc<Table>> {
        self.newest().map(|(_, table)| table)
    }

    fn table(&self, number: u32) -> Result<Arc<Table>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(number as usize).cloned().flatten().ok_or_else(no_table)
    }

    /// Looks in the newest table, and in a fresh one before anything is called missing: a compaction or a prune may
    /// have moved it since the index was read.
    fn look<T>(&self, look: impl Fn(u32, &Table) -> Result<T>) -> Result<T> {
        let (number, table) = self.newest()?;
        match look(number, &table) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, table) = self.newest()?;
        if newest != number {
            match look(newest, &table) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
        // Where nothing else is listed than what the table holds, another table would say the same.
        let listed: Vec<ContentName> = self.repository.listed_runs()?.into_keys().collect();
        if listed == table.runs() {
            return look(newest, &table).map_err(not_found_is_damage);
        }
        let fresh = Arc::new(self.repository.load_index()?);
        let number = {
            let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
            tables.push(Some(Arc::clone(&fresh)));
            let old = tables.len().saturating_sub(self.tables_max);
            tables.iter_mut().take(old).for_each(|table| *table = None);
            u32::try_from(tables.len() - 1).unwrap_or(u32::MAX)
        };
        look(number, &fresh).map_err(not_found_is_damage)
    }

    /// Where a chunk lies.
    pub fn placement(&self, id: &ChunkId) -> Result<Placement> {
        self.look(|number, table| {
            let place = self.places(number, table, id).next();
            place.map(|place| placement(number, place)).ok_or_else(|| missing(id))
        })
    }

    /// The same, as far as the index that was read last says it; nothing is asked of the storage.
    pub fn known_placement(&self, id: &ChunkId) -> Result<Option<Placement>> {
        let (number, table) = self.newest()?;
        Ok(self.places(number, &table, id).next().map(|place| placement(number, place)))
    }

    /// Name and size of the pack of a segment.
    pub fn pack_of(&self, segment: &SegmentKey) -> Result<(ContentName, u64)> {
        let pack = self.table(segment.table)?.pack(segment.pack);
        pack.map(|pack| (pack.name, pack.size_bytes))
            .ok_or_else(|| Error::damaged(format!("the local index has no pack {}", segment.pack)))
    }

    /// Bytes that a segment takes in its pack.
    pub fn stored_bytes_of(&self, segment: &SegmentKey) -> Result<u32> {
        let table = self.table(segment.table)?;
        let row = table.pack(segment.pack).and_then(|pack| table.segment(&pack, segment.segment));
        row.map(|row| row.stored_bytes).ok_or_else(|| Error::damaged("the local index lacks a segment"))
    }

    /// The places of a chunk, those in packs that are known to be gone at the end.
    fn places<'t>(&self, number: u32, table: &'t Table, id: &ChunkId) -> impl Iterator<Item = Place> + 't {
        let mut places: Vec<Place> = table.places(id).collect();
        if places.len() > 1 {
            let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
            places.sort_by_key(|place| gone.contains(&(number, place.pack)));
        }
        places.into_iter()
    }

    /// What a chunk takes, by the index; nothing is read.
    pub fn size_of(&self, id: &ChunkId) -> Result<ChunkSize> {
        self.look(|_, table| {
            let place = table.places(id).next().ok_or_else(|| missing(id))?;
            let pack = table.pack(place.pack);
            let segment = pack.and_then(|pack| table.segment(&pack, place.segment));
            let segment = segment.ok_or_else(|| Error::damaged("the local index lacks a segment"))?;
            let parts = (u128::from(segment.stored_bytes) * u128::from(place.length)) << 32;
            Ok(ChunkSize {
                plain_bytes: place.length.into(),
                stored_parts: parts.checked_div(segment.raw_bytes.into()).unwrap_or_default(),
            })
        })
    }

    /// The name that a data chunk of these bytes has, whether it is stored or not.
    pub fn data_id(&self, content: &[u8]) -> ChunkId {
        self.repository.keys.chunk_id(ChunkKind::Data, content)
    }

    /// A chunk's bytes.
    pub fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        self.look(|number, table| self.chunk_from(number, table, kind, id))
            .wrap(|| format!("cannot read chunk {id}"))
    }

    fn chunk_from(&self, number: u32, table: &Table, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let mut failed = missing(id);
        for place in self.places(number, table, id) {
            let placement = placement(number, place);
            let segment = self.kept_segment(table, placement.segment);
            match segment.and_then(|segment| self.slice(&segment, kind, id, &placement)) {
                Ok(content) => return Ok(content),
                // What is damaged says more than what is merely gone, and what can be thawed more than both.
                Err(error) if failed.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::Frozen => {
                    failed = error;
                }
                Err(_) => {}
            }
        }
        Err(failed)
    }

    fn slice(
        &self,
        segment: &Segment,
        kind: ChunkKind,
        id: &ChunkId,
        placement: &Placement,
    ) -> Result<Vec<u8>> {
        if segment.kind != kind {
            return Err(Error::damaged(format!(
                "chunk {id} is in a pack of another kind (format rule INDEX-7)"
            )));
        }
        self.chunk_of(segment, id, placement).map(<[u8]>::to_vec)
    }

    /// The bytes of a chunk in a segment that was read for it; its hash is compared.
    pub fn chunk_of<'s>(
        &self,
        segment: &'s Segment,
        id: &ChunkId,
        placement: &Placement,
    ) -> Result<&'s [u8]> {
        match segment.compared_before(placement) {
            Some(content) if self.repository.keys.chunk_id(segment.kind, content) == *id => Ok(content),
            _ => Err(Error::damaged(format!("the bytes of chunk {id} are not those that it is named after"))),
        }
    }

    fn kept_segment(&self, table: &Table, key: SegmentKey) -> Result<Segment> {
        if let Some(segment) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(segment);
        }
        let segment = self
            .read_segments(table, key, &[key.segment])?
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Failed, "no segment was read"))??;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(
            key,
            segment.clone(),
            self.kept_bytes_max,
        );
        Ok(segment)
    }

    /// A data segment, which is kept for what asks for it next.
    pub fn segment(&self, key: &SegmentKey) -> Result<Segment> {
        self.kept_segment(&*self.table(key.table)?, *key)
    }

    /// As `segments`, for who goes on where others were: those that are kept are not read, and the others are kept.
    pub fn segments_in_order(&self, keys: &[SegmentKey]) -> Result<Vec<Result<Segment>>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<Option<Segment>> = {
            let kept = lock();
            keys.iter().map(|key| kept.get(*key)).collect()
        };
        let missing = keys.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<SegmentKey> = missing.map(|(key, _)| *key).collect();
        let read = self.segments(&missing)?;
        let mut kept = lock();
        for (key, segment) in missing.into_iter().zip(&read) {
            if let Ok(segment) = segment {
                kept.put(key, segment.clone(), self.kept_bytes_max);
            }
        }
        let mut read = read.into_iter();
        Ok(found.into_iter().filter_map(|found| found.map(Ok).or_else(|| read.next())).collect())
    }

    /// Reads data segments of one pack, ascending, neighbours by one request; gives one result for each.
    pub fn segments(&self, keys: &[SegmentKey]) -> Result<Vec<Result<Segment>>> {
        let mut results = Vec::with_capacity(keys.len());
        for group in keys.chunk_by(SegmentKey::same_pack) {
            let numbers: Vec<u32> = group.iter().map(|key| key.segment).collect();
            let Some(first) = group.first() else { continue };
            results.extend(self.read_segments(&*self.table(first.table)?, *first, &numbers)?);
        }
        Ok(results)
    }

    fn read_segments(
        &self,
        table: &Table,
        wanted: SegmentKey,
        numbers: &[u32],
    ) -> Result<Vec<Result<Segment>>> {
        let pack_number = wanted.pack;
        let not_indexed = || Error::damaged(format!("the local index has no pack {pack_number}"));
        let pack = table.pack(pack_number).ok_or_else(not_indexed)?;
        let row =
            |number: &u32| table.segment(&pack, *number).map(|row| (*number, row)).ok_or_else(not_indexed);
        let rows: Vec<_> = numbers.iter().map(row).collect::<Result<_>>()?;
        let read = Source::new(&self.repository, pack, self.uses_kept)?.read(table, &rows, &self.misses);
        if is_gone(&read) {
            self.gone.write().unwrap_or_else(PoisonError::into_inner).insert((wanted.table, wanted.pack));
        }
        read
    }
}

fn placement(table: u32, place: Place) -> Placement {
    let segment = SegmentKey { table, pack: place.pack, segment: place.segment };
    Placement { segment, offset: place.offset, length: place.length }
}

fn not_found_is_damage(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => error.of_kind(ErrorKind::Damaged),
        _ => error,
    }
}

fn no_table() -> Error {
    Error::new(ErrorKind::Failed, "the reader has no such table")
}

fn missing(id: &ChunkId) -> Error {
    Error::new(ErrorKind::NotFound, format!("no index run has a place for chunk {id}"))
}

/// Recently opened segments, the oldest of which go first.
#[derive(Debug, Default)]
struct Kept {
    segments: HashMap<SegmentKey, Segment>,
    order: VecDeque<SegmentKey>,
    bytes: usize,
}

impl Kept {
    fn get(&self, key: SegmentKey) -> Option<Segment> {
        self.segments.get(&key).cloned()
    }

    fn put(&mut self, key: SegmentKey, segment: Segment, bytes_max: usize) {
        let bytes = segment.raw.len();
        if self.segments.insert(key, segment).is_none() {
            self.order.push_back(key);
            self.bytes += bytes;
        }
        while self.bytes > bytes_max && self.order.len() > 1 {
            let oldest = self.order.pop_front().and_then(|key| self.segments.remove(&key));
            self.bytes -= oldest.map_or(0, |segment| segment.raw.len());
        }
    }
}
