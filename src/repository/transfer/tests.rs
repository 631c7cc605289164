//! Unit tests of taking chunks over: how segments go, what is left out, and what is done where one cannot be read.

use super::*;
use crate::base::host::Host;
use crate::base::{SessionId, Silent};
use crate::format::snapshot::Snapshot;
use crate::repository::tests::{Memory, new_repository, options, pack_names, remove_packs};
use crate::repository::{InitOptions, Marked, SessionOptions};

fn start(repository: &Repository) -> Session<'_> {
    repository.start_session(&Host::current(), SessionOptions::default()).unwrap()
}

fn commit(session: Session<'_>) -> SessionId {
    let snapshot = Snapshot { parent: None, origin: None, ..crate::format::snapshot::tests::snapshot() };
    session.commit(|| snapshot).unwrap().0
}

fn content(number: u8) -> Vec<u8> {
    vec![number; 300]
}

/// Stores chunks of these numbers by a session of their own.
fn store(repository: &Repository, numbers: &[u8]) -> Vec<ChunkId> {
    let session = start(repository);
    let ids = numbers.iter().map(|number| session.store(ChunkKind::Data, &content(*number)).unwrap().id);
    let ids = ids.collect();
    commit(session);
    ids
}

fn sibling(repository: &Repository) -> (Memory, Repository) {
    let memory = Memory::new();
    let made = Repository::init_sibling(Arc::new(memory.clone()), repository, options()).unwrap();
    (memory, made)
}

/// Takes chunks over by one session; gives what was lacking, and what could not be read.
fn take(source: &Repository, target: &Repository, ids: &[ChunkId]) -> (u64, Option<ChunkId>) {
    let reader = source.reader().unwrap();
    let marks = reader.marks().unwrap();
    assert!(ids.iter().all(|id| marks.need(id) == Marked::First));
    assert_eq!(target.would_lack(source, &marks).unwrap().chunks, {
        let session = start(target);
        let lack = session.lack_of(source, &marks).unwrap();
        session.close().unwrap();
        lack.chunks
    });
    let session = start(target);
    let lack = session.lack_of(source, &marks).unwrap();
    let unreadable = session.take(&reader, &lack, &Silent).unwrap();
    commit(session);
    (lack.chunks, unreadable.map(|unreadable| unreadable.id))
}

fn assert_holds(repository: &Repository, ids: &[ChunkId], numbers: &[u8]) {
    let reader = repository.reader().unwrap();
    for (id, number) in ids.iter().zip(numbers) {
        assert_eq!(reader.chunk(ChunkKind::Data, id).unwrap(), content(*number));
    }
}

/// Raw length, codec and chunks of each segment of a repository.
fn segments(repository: &Repository) -> Vec<(u32, u8, usize)> {
    let table = repository.reader().unwrap().newest_table().unwrap();
    let rows: Vec<Place> = table.rows().map(|(_, place)| place).collect();
    let mut found = Vec::new();
    for number in 0..u32::try_from(table.pack_count()).unwrap() {
        for (segment, row) in (0..).zip(table.indexed_pack(number).unwrap().segments) {
            let is_of = |place: &&Place| (place.pack, place.segment) == (number, segment);
            found.push((row.raw_bytes, row.codec.number(), rows.iter().filter(is_of).count()));
        }
    }
    found
}

#[test]
fn a_whole_segment_goes_over_as_it_is_and_of_a_part_what_is_lacking() {
    let (_, source) = new_repository();
    let numbers = [1, 2, 3, 4];
    let ids = store(&source, &numbers);
    let [only] = segments(&source).try_into().unwrap();
    assert_eq!((only.0, only.2), (1200, 4));
    let (_, target) = sibling(&source);
    assert!(target.is_sibling_of(&source) && target.id() != source.id());
    assert_eq!(take(&source, &target, &ids), (4, None));
    assert_eq!(segments(&target), [only]);
    assert_holds(&target, &ids, &numbers);
    assert_eq!(take(&source, &target, &ids), (0, None));
    let (_, target) = sibling(&source);
    assert_eq!(store(&target, &[2, 9])[0], ids[1], "siblings name alike");
    assert_eq!(take(&source, &target, &ids[..3]), (2, None));
    assert_holds(&target, &ids[..3], &numbers[..3]);
    assert_eq!(segments(&target).iter().map(|(raw, _, count)| (*raw, *count)).max(), Some((600, 2)));
}

#[test]
fn what_was_settled_is_not_lacking() {
    let (_, source) = new_repository();
    let ids = store(&source, &[1, 2, 3]);
    let (_, target) = sibling(&source);
    let mut marks = source.reader().unwrap().marks().unwrap();
    let lacking = |marks: &Marks| target.would_lack(&source, marks).unwrap().chunks;
    assert_eq!(lacking(&marks), 0);
    marks.need(&ids[0]);
    assert_eq!(lacking(&marks), 1);
    marks.settle();
    assert_eq!(lacking(&marks), 0);
    marks.need(&ids[0]);
    marks.need(&ids[2]);
    assert_eq!(lacking(&marks), 1);
}

#[test]
fn a_chunk_is_taken_from_any_of_its_places_and_told_if_there_is_none() {
    let (memory, source) = new_repository();
    let ids = store(&source, &[1, 2]);
    let first = pack_names(&memory);
    // The same chunks a second time, by a session that does not look.
    let session = start(&source);
    ids.iter().zip([1, 2]).for_each(|(id, number)| {
        session.append(ChunkKind::Data, *id, &content(number)).unwrap();
    });
    commit(session);
    let second: Vec<ContentName> =
        pack_names(&memory).into_iter().filter(|name| !first.contains(name)).collect();
    for gone in [&first, &second] {
        let bytes: Vec<_> = gone
            .iter()
            .map(|pack| {
                let name = object_name(&names::pack(pack)).unwrap();
                (name.clone(), memory.bytes(&name).unwrap())
            })
            .collect();
        remove_packs(&memory, gone);
        let (_, target) = sibling(&source);
        assert_eq!(take(&source, &target, &ids), (2, None));
        assert_holds(&target, &ids, &[1, 2]);
        bytes.into_iter().for_each(|(name, bytes)| drop(memory.replace(&name, bytes)));
    }
    remove_packs(&memory, &first);
    remove_packs(&memory, &second);
    let (_, target) = sibling(&source);
    let (lacking, unreadable) = take(&source, &target, &ids);
    assert_eq!(lacking, 2);
    assert!(ids.contains(&unreadable.expect("it is gone")));
}

#[test]
fn only_a_sibling_gives_chunks_and_one_has_the_parameters_of_the_other() {
    let (_, source) = new_repository();
    let (_, stranger) = new_repository();
    assert!(!stranger.is_sibling_of(&source));
    let ids = store(&source, &[1]);
    let reader = source.reader().unwrap();
    let marks = reader.marks().unwrap();
    marks.need(&ids[0]);
    let session = start(&stranger);
    let lack = session.lack_of(&source, &marks).unwrap();
    assert_eq!(session.take(&reader, &lack, &Silent).unwrap_err().kind(), ErrorKind::Usage);
    let other = InitOptions { parameters: crate::format::config::Parameters::default(), ..options() };
    let made = Repository::init_sibling(Arc::new(Memory::new()), &source, other).unwrap();
    assert_eq!(made.parameters(), source.parameters());
}
