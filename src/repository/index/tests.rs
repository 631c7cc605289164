//! The index of a large repository, by simulation: runs as a backup of so many chunks leaves them, but no packs.
//!
//! What must hold: every chunk is found at its place and no other is found, whatever the size; the calls to the storage are
//! those of the runs alone, and none for what the machine has kept. Times and memory are printed for the large size, not
//! judged.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;

use super::table::{Place, Table};
use crate::base::skip::is_full;
use crate::base::{ChunkId, ContentName, Result, SessionId};
use crate::crypto::content_name;
use crate::format::index::{Entry, IndexRun, IndexedPack};
use crate::format::names;
use crate::format::pack::{Codec, SegmentRow};
use crate::format::sealing::ObjectKind;
use crate::repository::object::object_name;
use crate::repository::tests::{key, options};
use crate::repository::{InitOptions, Repository};
use crate::storage::local::Local;
use crate::storage::{Body, Listed, ObjectName, Storage};

/// A pack of 16 MiB holds about so many chunks of 128 KiB.
const CHUNKS_IN_PACK: u32 = 125;
const CHUNKS_IN_SEGMENT: u32 = 16;
/// A run of about 6 MiB.
const PACKS_IN_RUN: u32 = 1000;
const CHUNK_BYTES: u32 = 128 << 10;
/// What is looked up; as many unknown ones.
const LOOKUPS: u32 = 20_000;

/// On the disk, so that the memory of this process is that of the index. Counts what the index asks for.
#[derive(Debug)]
struct Counting {
    local: Local,
    lists: AtomicUsize,
    gets: AtomicUsize,
}

impl Counting {
    /// Lists and gets since the last time.
    fn calls(&self) -> (usize, usize) {
        (self.lists.swap(0, Ordering::Relaxed), self.gets.swap(0, Ordering::Relaxed))
    }
}

impl Storage for Counting {
    crate::storage::forward_storage!(self => self.local; put_if_absent, get_range, delete, barrier, capabilities, location);

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.local.get(name, size_bytes_max)
    }
    fn list(
        &self,
        folder: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.local.list(folder, after, visit)
    }
}

fn chunk(number: u32) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn pack_name(number: u32) -> ContentName {
    ContentName(*blake3::hash(&[b"pack".as_slice(), &number.to_le_bytes()].concat()).as_bytes())
}

/// Where a chunk lies: its pack by number, segment and offset.
fn place_of(number: u32) -> (u32, u32, u32) {
    let inside = number % CHUNKS_IN_PACK;
    let offset = inside % CHUNKS_IN_SEGMENT * CHUNK_BYTES;
    (number / CHUNKS_IN_PACK, inside / CHUNKS_IN_SEGMENT, offset)
}

fn pack(number: u32) -> IndexedPack {
    let mut offset = 96;
    let segments = (0..CHUNKS_IN_PACK).step_by(CHUNKS_IN_SEGMENT as usize).map(|first| {
        let chunks = CHUNKS_IN_SEGMENT.min(CHUNKS_IN_PACK - first);
        let row = SegmentRow {
            offset,
            stored_bytes: chunks * 100_000,
            raw_bytes: chunks * CHUNK_BYTES,
            codec: Codec::Zstd,
        };
        offset += row.stored_bytes;
        row
    });
    IndexedPack {
        name: pack_name(number),
        segments: segments.collect(),
        size_bytes: 14 << 20,
        session: SessionId([1; 16]),
        salt: [2; 32],
        generation: 1,
        kind: ObjectKind::DataPack,
    }
}

/// A run of the packs from one number on.
fn run(first_pack: u32, packs: u32) -> IndexRun {
    let mut packs: Vec<(u32, IndexedPack)> =
        (first_pack..first_pack + packs).map(|number| (number, pack(number))).collect();
    packs.sort_by_key(|(_, pack)| pack.name);
    let mut entries = Vec::new();
    for (row, (number, _)) in (0..).zip(&packs) {
        entries.extend((number * CHUNKS_IN_PACK..(number + 1) * CHUNKS_IN_PACK).map(|chunk_number| {
            let (_, segment, offset) = place_of(chunk_number);
            Entry { id: chunk(chunk_number), pack: row, segment, offset, length: CHUNK_BYTES }
        }));
    }
    entries.sort_unstable();
    IndexRun { superseded: Vec::new(), packs: packs.into_iter().map(|(_, pack)| pack).collect(), entries }
}

fn publish(repository: &Repository, run: &IndexRun) {
    let object: Bytes =
        repository.seal_record(ObjectKind::IndexRun, SessionId([1; 16]), None, run.encode()).expect("sealed");
    let body: &Body = std::slice::from_ref(&object);
    let name = object_name(&names::index(&content_name([object.as_ref()]))).expect("a name");
    repository.storage.put_if_absent(&name, body).expect("published");
}

fn assert_finds_all(table: &Table, chunks: u32) {
    for number in (0..chunks).step_by((chunks / LOOKUPS).max(1) as usize) {
        let places: Vec<Place> = table.places(&chunk(number)).collect();
        let (pack, segment, offset) = place_of(number);
        let [place] = places.as_slice() else { panic!("chunk {number} has places {places:?}") };
        assert_eq!((place.segment, place.offset, place.length), (segment, offset, CHUNK_BYTES));
        let row = table.pack(place.pack).expect("its pack");
        assert_eq!(row.name, pack_name(pack), "chunk {number}");
        assert!(table.segment(&row, place.segment).is_some_and(|row| row.raw_bytes > offset));
    }
}

fn assert_finds_no_other(table: &Table, chunks: u32) {
    assert!((chunks..chunks + LOOKUPS).all(|number| table.row_of(&chunk(number)).is_none()));
}

/// A line of `/proc/self/status`, in MiB.
fn status_mebibytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value =
        status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse().ok());
    value.unwrap_or(0_u64) / 1024
}

/// Says for the large size how long something took, and what memory this process has.
fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let since = Instant::now();
    let result = work();
    if is_full() {
        let (own, most) = (status_mebibytes("RssAnon"), status_mebibytes("VmHWM"));
        let line = format!("{what}: {:?}; {own} MiB of memory, at most {most} with files\n", since.elapsed());
        std::io::stdout().write_all(line.as_bytes()).expect("the standard output takes a line");
    }
    result
}

#[test]
fn an_index_of_many_chunks_finds_each_and_reads_each_run_once() {
    let runs: u32 = if is_full() { 160 } else { 2 };
    // The runs of the small size are smaller, lest the suite be slow.
    let packs_in_run = if is_full() { PACKS_IN_RUN } else { PACKS_IN_RUN * 4 / 5 };
    let chunks = runs * packs_in_run * CHUNKS_IN_PACK;
    let folder = tempfile::tempdir().expect("a directory");
    let local = Local::create(&folder.path().join("repository")).expect("a storage");
    let storage = Arc::new(Counting { local, lists: AtomicUsize::new(0), gets: AtomicUsize::new(0) });
    let kept = folder.path().join("kept");
    let repository =
        Repository::init(storage.clone(), InitOptions { cache_folder: Some(kept.clone()), ..options() })
            .expect("a repository");
    for number in 0..runs {
        publish(&repository, &run(number * packs_in_run, packs_in_run));
    }
    let open = || Repository::open(storage.clone(), &key(1), Some(kept.clone())).expect("opened");
    let repository = open();
    storage.calls();

    let table = told(&format!("{chunks} chunks merged"), || repository.load_index().expect("an index"));
    assert_eq!(storage.calls(), (1, runs as usize), "each run is read once");
    assert_eq!((table.entry_count(), table.pack_count()), (chunks as usize, (runs * packs_in_run) as usize));
    drop(table);

    let repository = open();
    storage.calls();
    let table = told("opened", || repository.load_index().expect("an index"));
    assert_eq!(storage.calls(), (1, 0), "what is kept is not read again");
    told(&format!("{LOOKUPS} known chunks looked up"), || assert_finds_all(&table, chunks));
    told(&format!("{LOOKUPS} unknown chunks looked up"), || assert_finds_no_other(&table, chunks));
    assert_eq!(storage.calls(), (0, 0));
    drop(table);

    publish(&repository, &run(runs * packs_in_run, 1));
    let table = told("one more run merged", || repository.load_index().expect("an index"));
    assert_eq!(storage.calls(), (1, 1), "of the runs only the new one is read");
    let chunks = chunks + CHUNKS_IN_PACK;
    assert_eq!(table.entry_count(), chunks as usize);
    assert_finds_all(&table, chunks);
    assert_finds_no_other(&table, chunks);
}
