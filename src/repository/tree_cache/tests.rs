//! Unit tests of what is kept of trees: files, limits, and what a reader makes of them.

use std::sync::Arc;

use super::*;
use crate::base::host::Host;
use crate::base::{ChunkId, ErrorKind, Result as PackstoneResult};
use crate::crypto::ChunkKind;
use crate::format::names;
use crate::format::snapshot::Snapshot;
use crate::repository::tests::{Memory, key, new_repository, pack_names, remove_packs};
use crate::repository::{Repository, SessionOptions};
use crate::storage::{ObjectName, Storage};

fn pack(number: u8) -> ContentName {
    ContentName([number; 32])
}

fn kept_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(FOLDER)).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes a file look as if it had been asked for so long ago.
fn age(folder: &Path, number: u8, hours: u64) {
    let path = folder.join(FOLDER).join(format!("{}-0", pack(number)));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let changed = file.metadata().unwrap().modified().unwrap();
    file.set_modified(changed - std::time::Duration::from_secs(3600 * hours)).unwrap();
}

#[test]
fn what_is_kept_is_found_until_its_length_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TreeCache::new(Some(folder.path()), 1 << 20);
    assert_eq!(cache.find(&pack(1), 0, 3), None);
    cache.keep(&pack(1), 0, b"abc");
    cache.keep(&pack(1), 1, b"de");
    let other_process = TreeCache::new(Some(folder.path()), 1 << 20);
    for cache in [&cache, &other_process] {
        assert_eq!(cache.find(&pack(1), 0, 3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(cache.find(&pack(1), 1, 2).as_deref(), Some(&b"de"[..]));
        assert_eq!(cache.find(&pack(1), 0, 4), None);
        assert_eq!(cache.find(&pack(2), 0, 3), None);
    }
    other_process.forget(&pack(1), 0);
    assert_eq!(cache.find(&pack(1), 0, 3), None);
    let path = folder.path().join(FOLDER).join(format!("{}-0", pack(1)));
    std::fs::create_dir(&path).unwrap();
    assert_eq!(cache.find(&pack(1), 0, 4096), None);
}

#[test]
fn those_not_asked_for_longest_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 16 * BLOCK_BYTES;
    // What else lies there takes two blocks of it, of which nothing goes.
    std::fs::write(folder.path().join("index.table"), [0; 5000]).unwrap();
    for number in 0..14 {
        let cache = TreeCache::new(Some(folder.path()), bytes_max);
        cache.keep(&pack(number), 0, b"abc");
        age(folder.path(), number, 100 - u64::from(number));
    }
    assert_eq!(kept_names(folder.path()).len(), 14, "there is room for them all");
    let cache = TreeCache::new(Some(folder.path()), bytes_max);
    assert!(cache.find(&pack(0), 0, 3).is_some(), "which makes it the youngest");
    cache.keep(&pack(20), 0, b"abc");
    assert!(folder.path().join("index.table").exists());
    for (number, stays) in [(0, true), (1, false), (2, false), (3, true), (13, true), (20, true)] {
        assert_eq!(cache.find(&pack(number), 0, 3).is_some(), stays, "{number}");
    }
    assert!(kept_names(folder.path()).len() <= 14);
}

#[test]
fn processes_that_write_beside_each_other_stay_near_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = 64;
    let caches: Vec<TreeCache> =
        (0..4).map(|_| TreeCache::new(Some(folder.path()), blocks * BLOCK_BYTES)).collect();
    for round in 0..100_u32 {
        for (number, cache) in (0..).zip(&caches) {
            cache.keep(&pack(number), round, b"abc");
            let kept = kept_names(folder.path()).len() as u64;
            assert!(kept <= blocks + 3 * (blocks / LOOK_PART), "{kept} in round {round}");
        }
    }
    assert!(kept_names(folder.path()).len() as u64 > blocks / 2);
}

#[test]
fn where_nothing_may_be_kept_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let none = TreeCache::new(None, 1 << 20);
    let zero = TreeCache::new(Some(folder.path()), 0);
    // A smaller limit than the one file, and other things that take all of it.
    let small = TreeCache::new(Some(folder.path()), BLOCK_BYTES - 1);
    for cache in [&none, &zero, &small] {
        cache.keep(&pack(1), 0, b"abc");
        assert_eq!(cache.find(&pack(1), 0, 3), None);
    }
    std::fs::write(folder.path().join("index.table"), [0; 5000]).unwrap();
    let full = TreeCache::new(Some(folder.path()), 2 * BLOCK_BYTES);
    full.keep(&pack(1), 0, b"abc");
    assert_eq!(kept_names(folder.path()).len(), 0);
    // A folder that cannot be had.
    let blocked = folder.path().join("index.table");
    let blocked = TreeCache::new(Some(&blocked), 1 << 20);
    blocked.keep(&pack(1), 0, b"abc");
    assert_eq!(blocked.find(&pack(1), 0, 3), None);
}

/// A storage behind a network, which notes what was read of packs: where from, and how much.
#[derive(Debug)]
struct Far {
    memory: Memory,
    read: Mutex<Vec<(u64, usize)>>,
}

impl Storage for Far {
    crate::storage::forward_storage!(
        self => self.memory; put_if_absent, get, list, delete, barrier, capabilities, location
    );

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> PackstoneResult<Vec<u8>> {
        self.read.lock().unwrap().push((offset, length));
        self.memory.get_range(name, offset, length)
    }

    fn traffic(&self) -> Option<crate::storage::Traffic> {
        Some(crate::storage::Traffic::default())
    }
}

/// A repository behind a network, with pages of a tree that one session stored.
struct Remote {
    memory: Memory,
    pages: Vec<(ChunkId, Vec<u8>)>,
    cache: tempfile::TempDir,
}

impl Remote {
    /// With so many segments of pages in as few packs as possible.
    fn new(segments: usize) -> Self {
        let (memory, repository) = new_repository();
        let segment_bytes = repository.parameters().packing.segment_bytes as usize;
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        let mut pages = Vec::new();
        for number in 0..segments as u64 {
            let mut content = vec![0; segment_bytes];
            blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut content);
            pages.push((session.store(ChunkKind::Tree, &content).unwrap().id, content));
        }
        session.commit(snapshot).unwrap();
        Self { memory, pages, cache: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> (Arc<Far>, Repository) {
        let storage = Arc::new(Far { memory: self.memory.clone(), read: Mutex::default() });
        let opened = Repository::open(storage.clone(), &key(1), Some(self.cache.path().to_owned()));
        (storage, opened.unwrap())
    }

    /// Reads pages with a new reader, compares them, and gives the requests.
    fn read(&self, numbers: impl Iterator<Item = usize>) -> Vec<(u64, usize)> {
        let (storage, repository) = self.open();
        // What another page brought into memory is not asked for.
        let reader = repository.reader().unwrap().keeping_at_most(0);
        for (id, content) in numbers.map(|number| &self.pages[number]) {
            assert_eq!(&reader.chunk(ChunkKind::Tree, id).unwrap(), content);
        }
        let read = storage.read.lock().unwrap();
        read.clone()
    }

    fn kept_files(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.cache.path()).unwrap().next().unwrap().unwrap().path();
        kept_names(&folder).into_iter().map(|name| folder.join(FOLDER).join(name)).collect()
    }
}

fn snapshot() -> Snapshot {
    crate::format::snapshot::tests::snapshot()
}

#[test]
fn a_page_is_fetched_once_on_a_machine() {
    let remote = Remote::new(8);
    assert_eq!(remote.read(2..5).len(), 3);
    assert_eq!(remote.read(2..5), []);
    assert_eq!(remote.read(0..8).len(), 5);
    assert_eq!(remote.read(0..8), []);
    assert_eq!(remote.kept_files().len(), 8);
}

#[test]
fn a_spoiled_page_is_fetched_again_and_kept_anew() {
    let remote = Remote::new(2);
    assert_eq!(remote.read(0..2).len(), 2);
    let files = remote.kept_files();
    let whole: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let spoil: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[7] ^= 1, |bytes| bytes.truncate(9), |bytes| bytes.push(0), Vec::clear];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut spoiled = whole[0].clone();
        spoil(&mut spoiled);
        std::fs::write(&files[0], spoiled).unwrap();
        assert_eq!(remote.read(0..2).len(), 1, "case {number}");
        assert_eq!(std::fs::read(&files[0]).unwrap(), whole[0], "case {number}");
    }
    // One in the place of the other.
    std::fs::write(&files[0], &whole[1]).unwrap();
    remote.read(0..2);
    assert_eq!(std::fs::read(&files[0]).unwrap(), whole[0]);
}

#[test]
fn who_reads_many_pages_gets_packs_whole() {
    let remote = Remote::new(60);
    let packs = pack_names(&remote.memory).len();
    assert!(packs > 4, "{packs} packs");
    let read = remote.read(0..60);
    // Sixteen one by one, then each pack that is met by one request.
    assert!(read.len() <= 17 + packs && read.len() > 16, "{} requests for {packs} packs", read.len());
    assert_eq!(remote.kept_files().len(), 60);
    assert_eq!(remote.read(0..60), []);
}

#[test]
fn a_pack_that_is_cut_still_gives_what_it_has() {
    let remote = Remote::new(60);
    let names = pack_names(&remote.memory);
    for name in &names {
        let name = crate::repository::object::object_name(&names::pack(name)).unwrap();
        let mut bytes = remote.memory.remove(&name).unwrap();
        // The last segments are gone with the end.
        bytes.truncate(bytes.len() / 2);
        remote.memory.replace(&name, bytes);
    }
    let (_, repository) = remote.open();
    let reader = repository.reader().unwrap().keeping_at_most(0);
    let read = |(id, content): &(ChunkId, Vec<u8>)| {
        reader.chunk(ChunkKind::Tree, id).is_ok_and(|found| found == *content)
    };
    let found = remote.pages.iter().filter(|page| read(page)).count();
    let alone = remote
        .pages
        .iter()
        .filter(|page| {
            // A reader of its own for each asks for nothing more.
            let reader = repository.reader().unwrap();
            reader.chunk(ChunkKind::Tree, &page.0).is_ok()
        })
        .count();
    assert_eq!(found, alone);
    assert!(found > names.len() && found < 60, "{found} of 60");
}

#[test]
fn what_a_session_stored_is_not_fetched() {
    let remote = Remote::new(1);
    let (storage, repository) = remote.open();
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let ids: Vec<(ChunkId, Vec<u8>)> = (0..20_u8)
        .map(|number| {
            let content = vec![number; 700];
            (session.store(ChunkKind::Tree, &content).unwrap().id, content)
        })
        .collect();
    let data = session.store(ChunkKind::Data, &[9; 5000]).unwrap().id;
    session.commit(snapshot).unwrap();
    let reader = repository.reader().unwrap().keeping_at_most(0);
    for (id, content) in &ids {
        assert_eq!(&reader.chunk(ChunkKind::Tree, id).unwrap(), content);
    }
    assert_eq!(*storage.read.lock().unwrap(), []);
    // Contents are not kept.
    for reads in 1..3 {
        let reader = repository.reader().unwrap();
        assert_eq!(reader.chunk(ChunkKind::Data, &data).unwrap(), [9; 5000]);
        assert_eq!(storage.read.lock().unwrap().len(), reads);
    }
}

#[test]
fn what_is_kept_does_not_hide_that_it_is_gone() {
    let remote = Remote::new(4);
    remote.read(0..4);
    remove_packs(&remote.memory, &pack_names(&remote.memory));
    // A reader may have it, a check looks for itself.
    assert_eq!(remote.read(0..4), []);
    let (_, repository) = remote.open();
    let table = Arc::new(repository.load_index().unwrap());
    let place = table.places(&remote.pages[0].0).next().unwrap();
    let reader = crate::repository::Reader::over(&repository, table);
    let error = reader.chunk_at(ChunkKind::Tree, &remote.pages[0].0, place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
