//! Unit tests of the local index.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::format::index::Entry as RunEntry;

fn name(number: u32) -> ContentName {
    ContentName(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn chunk(number: u32) -> ChunkId {
    ChunkId(*blake3::hash(&[b"chunk".as_slice(), &number.to_le_bytes()].concat()).as_bytes())
}

/// A run of two packs, each with ten chunks, chunk numbers from `first` on.
pub(in crate::repository) fn run(first: u32) -> (ContentName, IndexRun) {
    let mut packs: Vec<IndexedPack> = (0..2)
        .map(|part| IndexedPack {
            name: name(first + part),
            size_bytes: 5000,
            session: SessionId([1; 16]),
            salt: [u8::try_from(part).expect("small"); 32],
            generation: 1,
            kind: if part == 0 { ObjectKind::DataPack } else { ObjectKind::TreePack },
            segments: vec![SegmentRow { offset: 96, stored_bytes: 116, raw_bytes: 100, codec: Codec::Raw }],
        })
        .collect();
    packs.sort_by_key(|pack| pack.name);
    let mut entries: Vec<RunEntry> = (0..20)
        .map(|number| RunEntry {
            id: chunk(first + number),
            pack: number / 10,
            segment: 0,
            offset: number,
            length: 1,
        })
        .collect();
    entries.sort();
    (name(first + 1000), IndexRun { superseded: Vec::new(), packs, entries })
}

fn key() -> Secret {
    Secret::new([5; 32])
}

/// Everything a table says, by names.
fn content(table: &Table) -> BTreeMap<(ChunkId, ContentName), (u32, ChunkKind)> {
    (0..table.entries)
        .map(|number| {
            let entry = table.entry(number).expect("an entry");
            let pack = table.pack(entry.place.pack).expect("its pack");
            assert!(table.segment(&pack, entry.place.segment).is_some());
            ((entry.id, pack.name), (entry.place.offset, pack.kind))
        })
        .collect()
}

#[test]
fn every_chunk_of_every_run_is_found_and_no_other() {
    let runs: Vec<_> = (0..50).map(|number| run(number * 100)).collect();
    let table = Table::empty().merged(&runs, &BTreeSet::new(), None, &key()).expect("merged");
    assert_eq!((table.entries, table.pack_count(), table.runs().len()), (1000, 100, 50));
    for number in 0..50 {
        for part in 0..20 {
            let places: Vec<_> = table.places(&chunk(number * 100 + part)).collect();
            assert_eq!(places.len(), 1);
            assert_eq!(places[0].offset, part);
        }
        assert_eq!(table.places(&chunk(number * 100 + 20)).count(), 0);
    }
    assert_eq!(table.places(&ChunkId([0; 32])).count(), 0);
    assert_eq!(table.places(&ChunkId([255; 32])).count(), 0);
    assert_eq!(Table::empty().places(&ChunkId([7; 32])).count(), 0);
}

#[test]
fn merging_step_by_step_gives_the_same_as_at_once() {
    let mut runs: Vec<_> = (0..6).map(|number| run(number * 100)).collect();
    // The same chunk in another pack, and the same run twice under two names.
    runs.push((name(7777), IndexRun { superseded: Vec::new(), ..run(0).1 }));
    let mut twin = run(300);
    twin.0 = name(8888);
    twin.1.packs.iter_mut().for_each(|pack| pack.name.0[0] ^= 1);
    twin.1.packs.sort_by_key(|pack| pack.name);
    runs.push(twin);
    let at_once = Table::empty().merged(&runs, &BTreeSet::new(), None, &key()).expect("merged");
    let mut table = Table::empty();
    for run in &runs {
        table = table.merged(std::slice::from_ref(run), &BTreeSet::new(), None, &key()).expect("merged");
    }
    assert_eq!(content(&table), content(&at_once));
    assert_eq!(table.runs(), at_once.runs());
    assert_eq!(table.entries, 6 * 20 + 20);
    assert_eq!(table.places(&chunk(300)).count(), 2);
}

#[test]
fn a_mapped_file_is_believed_only_whole_and_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index.table");
    let written =
        Table::empty().merged(&[run(0), run(100)], &BTreeSet::new(), Some(&path), &key()).expect("merged");
    let read = Table::open(&path, &key()).expect("a whole table");
    assert_eq!(content(&read), content(&written));
    assert!(Table::open(&path, &Secret::new([6; 32])).is_none());
    let bytes = std::fs::read(&path).expect("bytes");
    for position in (0..bytes.len()).step_by(37) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        std::fs::write(&path, damaged).expect("written");
        assert!(Table::open(&path, &key()).is_none(), "byte {position}");
    }
    for length in [0, 1, 63, 64, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).expect("written");
        assert!(Table::open(&path, &key()).is_none(), "length {length}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no leftover");
}

#[test]
fn runs_that_contradict_each_other_are_damage() {
    let mut other = run(0);
    other.1.packs[0].size_bytes += 1;
    let error =
        Table::empty().merged(&[run(0), other], &BTreeSet::new(), None, &key()).expect_err("must be refused");
    assert_eq!(error.kind(), ErrorKind::Damaged);
}
