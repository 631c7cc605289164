//! What a restore reads of a repository: each segment that it needs once, and none for what is there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use packstone::ops::restore::DeleteOptions;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use super::*;
use crate::engine::{init, open};

/// Remembers which ranges of packs were read.
#[derive(Debug, Default)]
struct Counting {
    memory: Memory,
    ranges: Mutex<Vec<(ObjectName, u64, usize)>>,
}

impl Storage for Counting {
    packstone::storage::forward_storage!(
        self => self.memory; put_if_absent, get, list, delete, barrier, capabilities, location
    );

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.ranges.lock().unwrap().push((name.clone(), offset, length));
        self.memory.get_range(name, offset, length)
    }
}

/// Where a pack says of which kind it is, and that of packs of data (format-spec chapter 5).
const KIND_OFFSET: usize = 9;
const DATA_PACK: u8 = 3;

impl Counting {
    /// What was read of packs of data since the last call: bytes, and whether any byte was read twice.
    fn taken(&self) -> (u64, bool) {
        let ranges = std::mem::take(&mut *self.ranges.lock().unwrap());
        let is_data = |name: &ObjectName| {
            let is_pack = name.as_str().starts_with("packs/");
            is_pack && self.memory.bytes(name).unwrap()[KIND_OFFSET] == DATA_PACK
        };
        let mut read: BTreeMap<(ObjectName, u64), u64> = BTreeMap::new();
        let (mut bytes, mut is_twice) = (0, false);
        for (name, offset, length) in ranges.into_iter().filter(|(name, ..)| is_data(name)) {
            let end = offset + length as u64;
            let overlaps = |((other, start), stop): (&(ObjectName, u64), &u64)| {
                *other == name && *start < end && offset < *stop
            };
            is_twice |= read.iter().any(overlaps);
            read.insert((name, offset), end);
            bytes += length as u64;
        }
        (bytes, is_twice)
    }
}

/// A source of long and short files in a repository that counts.
fn counted() -> (Place, Arc<Counting>) {
    let place = Place::new(Parameters::tiny(), |source| {
        fs::create_dir_all(source.join("short")).unwrap();
        let mut random = Random::new(77);
        for number in 0..3 {
            fs::write(source.join(format!("long {number}")), random.bytes(300_000)).unwrap();
        }
        // The same bytes once more, and many that are stored together.
        fs::copy(source.join("long 1"), source.join("twin")).unwrap();
        for number in 0..40 {
            fs::write(source.join(format!("short/{number}")), random.bytes(100)).unwrap();
            fs::write(source.join(format!("middle {number}")), random.bytes(5000)).unwrap();
        }
    });
    let storage = Arc::new(Counting::default());
    drop(init(storage.clone(), Parameters::tiny(), None));
    let repository = open(storage.clone(), None);
    let id = back_up(&repository, &place.source).id;
    storage.taken();
    (Place { repository, id, ..place }, storage)
}

fn overwriting(overwrite: Option<Overwrite>) -> RestoreOptions {
    RestoreOptions {
        overwrite,
        in_place_bytes_min: 20_000,
        delete: overwrite.map(|_| DeleteOptions::default()),
        ..RestoreOptions::default()
    }
}

#[test]
fn each_segment_is_read_once() {
    let (place, storage) = counted();
    place.restore(None);
    place.assert_restored();
    let (all, is_twice) = storage.taken();
    assert!(all > 1_000_000 && !is_twice, "{all} bytes, twice: {is_twice}");
}

#[test]
fn of_what_is_there_already_nothing_is_read() {
    let (place, storage) = counted();
    place.restore(None);
    storage.taken();
    // Another time, so that all is looked at.
    for entry in fs::read_dir(&place.target).unwrap().chain(fs::read_dir(place.at("short")).unwrap()) {
        set_time(&entry.unwrap().path(), 12);
    }
    for overwrite in [IF_CHANGED, ALWAYS] {
        let (summary, told) = place.restore_with(&overwriting(overwrite));
        let summary = summary.unwrap();
        assert_eq!((summary.files, summary.files_patched), (0, 0), "{:?}", told.sorted());
        assert_eq!(storage.taken(), (0, false));
        place.assert_restored();
    }
}

#[test]
fn of_a_file_that_differs_a_little_only_the_segments_of_that_are_read() {
    let (place, storage) = counted();
    place.restore(None);
    let (all, _) = storage.taken();
    let mut bytes = fs::read(place.at("long 2")).unwrap();
    bytes[150_000] ^= 1;
    fs::write(place.at("long 2"), bytes).unwrap();
    let before = inode(&place.at("long 2"));
    let options = overwriting(ALWAYS);
    let (planned, _) = place.restore_with(&RestoreOptions { dry_run: true, ..options.clone() });
    assert_eq!(storage.taken(), (0, false), "a dry run fetches no contents");
    let (summary, told) = place.restore_with(&options);
    let summary = summary.unwrap();
    assert_eq!((summary.files_patched, summary.files, summary.replaced), (1, 0, 0), "{:?}", told.sorted());
    assert_eq!(told.of(ItemAction::Patch), ["long 2"]);
    let (read, is_twice) = storage.taken();
    let planned = planned.unwrap();
    assert!(read == planned.bytes_to_fetch && !is_twice, "{read} bytes of {planned:?}");
    assert!(read * 20 < all && summary.bytes_patched <= 8192, "{read} of {all}, {summary:?}");
    assert_eq!(inode(&place.at("long 2")), before);
    place.assert_restored();
}

#[test]
fn one_small_file_of_many_that_are_stored_together_is_replaced_alone() {
    let (place, storage) = counted();
    place.restore(None);
    storage.taken();
    fs::write(place.at("short/7"), vec![b'x'; 100]).unwrap();
    let kept = inode(&place.at("short/8"));
    let (planned, would) = place.restore_with(&RestoreOptions { dry_run: true, ..overwriting(ALWAYS) });
    storage.taken();
    let (summary, told) = place.restore_with(&overwriting(ALWAYS));
    assert_eq!(told.of(ItemAction::Replace), ["7"]);
    assert_eq!(told.sorted(), would.sorted());
    assert_eq!(without_fetches(planned), summary.unwrap());
    let (read, is_twice) = storage.taken();
    assert!(read > 0 && read < 40_000 && !is_twice, "{read}");
    assert_eq!(inode(&place.at("short/8")), kept);
    place.assert_restored();
}

#[test]
fn a_restore_that_was_interrupted_goes_on_where_it_ended() {
    for stop in [5, 30, 120, 260] {
        let (place, storage) = counted();
        let options = RestoreOptions { in_place_bytes_min: 20_000, ..RestoreOptions::default() };
        let (outcome, _) = faults::restore_hooked(&place, &options, |pieces| pieces >= stop);
        assert_kind(outcome, ErrorKind::Interrupted);
        let (before, _) = storage.taken();
        let is_marked = |name: &str| {
            fs::symlink_metadata(place.at(name)).is_ok_and(|stat| stat.mode() & 0o7777 == 0o1600)
        };
        let marked: Vec<u64> = ["long 0", "long 1", "long 2", "twin"]
            .into_iter()
            .filter(|name| is_marked(name))
            .map(|name| inode(&place.at(name)))
            .collect();
        let (summary, told) = place.restore_with(&overwriting(IF_CHANGED));
        assert_eq!(told.findings(), Vec::<String>::new());
        place.assert_restored();
        let after = storage.taken();
        let (all, _) = {
            let fresh = Place { target: place.scratch.join("fresh"), ..place };
            fresh.restore(None);
            storage.taken()
        };
        // Of segments that were fetched and not written to the end, a few come again.
        assert!(!after.1 && before + after.0 <= all + all / 5, "{stop}: {before} and {} of {all}", after.0);
        let patched = summary.unwrap().files_patched;
        assert!(patched >= marked.len() as u64, "{stop}: {patched} of {marked:?}");
    }
}
