//! Unit tests of the look over a repository: what only a holder of the keys can put wrong, and what a crash leaves.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::base::host::Host;
use crate::base::{ContentName, Finding, FindingKind, SessionId};
use crate::crypto::content_name;
use crate::format::collection::{Condemned, Verdict};
use crate::format::index::{Entry, IndexRun, IndexedPack};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::snapshot::Snapshot;
use crate::repository::object::object_name;
use crate::repository::tests::{Memory, new_repository, pack_names, put_collection, remove_packs};
use crate::repository::{Session, SessionOptions};

/// Keeps the problems that it is told, each as `OBJECT: MESSAGE`.
#[derive(Default)]
struct Told(Mutex<Vec<(FindingKind, String)>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        let line = format!("{}: {}", String::from_utf8_lossy(&finding.path), finding.message);
        self.0.lock().unwrap().push((finding.kind, line));
    }
}

impl Told {
    /// The one line that was told, of damage.
    fn only(&self) -> String {
        let told = self.0.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, FindingKind::Damaged);
        told[0].1.clone()
    }
}

fn start(repository: &Repository) -> Session<'_> {
    repository.start_session(&Host::current(), SessionOptions::default()).unwrap()
}

/// Stores chunks and commits, one pack for all.
fn commit(repository: &Repository, kind: ChunkKind, contents: &[u8]) -> (SessionId, Vec<ChunkId>) {
    let session = start(repository);
    let store = |byte: &u8| session.store(kind, &vec![*byte; 3000]).unwrap().id;
    let ids: Vec<ChunkId> = contents.iter().map(store).collect();
    let snapshot = || Snapshot { parent: None, ..crate::format::snapshot::tests::snapshot() };
    (session.commit(snapshot).unwrap().0, ids)
}

fn put_run(repository: &Repository, run: &IndexRun) -> ContentName {
    let object =
        repository.seal_record(ObjectKind::IndexRun, SessionId([7; 16]), None, run.encode()).unwrap();
    let name = content_name([&*object]);
    repository.storage.put_if_absent(&object_name(&names::index(&name)).unwrap(), &[object]).unwrap();
    name
}

/// The one run, decoded.
fn only_run(repository: &Repository) -> (ContentName, IndexRun) {
    let runs = repository.listed_runs().unwrap();
    assert_eq!(runs.len(), 1);
    let name = *runs.keys().next().unwrap();
    (name, repository.read_run(&name).unwrap())
}

/// Replaces the one run by a changed one.
fn change_run(repository: &Repository, change: impl FnOnce(&mut IndexRun)) {
    let (name, mut run) = only_run(repository);
    change(&mut run);
    repository.storage.delete(&object_name(&names::index(&name)).unwrap()).unwrap();
    put_run(repository, &run);
}

fn read_all(audit: &Audit<'_>) -> ObjectCount {
    let rows: Vec<u32> = audit.packs_there().map(|(row, _)| row).collect();
    audit.read_packs(&rows, &|| true, &|_, _| {}).unwrap().read
}

#[test]
fn what_is_whole_gives_nothing() {
    let (memory, repository) = new_repository();
    commit(&repository, ChunkKind::Data, &[1, 2, 3]);
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    let read = read_all(&audit);
    assert_eq!(told.0.lock().unwrap().len(), 0);
    assert_eq!((audit.damaged(), audit.unreadable()), (0, 0));
    assert_eq!((read, read.count), (audit.counted().packs, 1));
    assert_eq!(pack_names(&memory).len(), 1);
}

#[test]
fn runs_that_contradict_each_other_are_told_and_the_first_serves() {
    let (_, repository) = new_repository();
    let (_, ids) = commit(&repository, ChunkKind::Data, &[1]);
    let (_, mut run) = only_run(&repository);
    run.packs[0].salt = [9; 32];
    let other = put_run(&repository, &run);
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    // The later by name is the one that contradicts.
    let line = told.only();
    assert!(line.starts_with("index/") && line.contains("two index runs contradict each other"), "{line}");
    assert_eq!(audit.counted().index_runs.count, 2);
    assert!(matches!(audit.find(ChunkKind::Data, &ids[0]), Whereabouts::There { .. }));
    // Which of both is right, a look at the pack tells.
    read_all(&audit);
    let later = repository.listed_runs().unwrap().into_keys().next_back().unwrap();
    assert_eq!(audit.damaged(), if later == other { 1 } else { 2 });
}

#[test]
fn an_index_that_says_something_else_than_its_pack_is_found_by_reading_it() {
    type Change = fn(&mut IndexRun);
    let longer: Change = |run| {
        // The last chunk begins within the one before it.
        let last = run.entries.iter_mut().max_by_key(|entry| (entry.segment, entry.offset)).unwrap();
        last.offset -= 1;
    };
    let unknown: Change = |run| {
        let entry = Entry { id: ChunkId([0xff; 32]), ..run.entries[0] };
        run.entries.push(entry);
    };
    let salt: Change = |run| run.packs[0].salt[0] ^= 1;
    let session: Change = |run| run.packs[0].session.0[0] ^= 1;
    let segments: Change = |run| {
        let segment = &mut run.packs[0].segments[0];
        segment.raw_bytes += 1;
    };
    for (change, words, lost) in [
        (longer, "places in it that its directory does not have: 1", 1),
        (unknown, "places in it that its directory does not have: 1", 0),
        (salt, "its header and the index differ", 3),
        (session, "its header and the index differ", 3),
        (segments, "its directory and the index differ in its segments", 3),
    ] {
        let (_, repository) = new_repository();
        let (_, ids) = commit(&repository, ChunkKind::Data, &[1, 2, 3]);
        change_run(&repository, change);
        let told = Told::default();
        let audit = repository.audit(&told).unwrap();
        assert_eq!(told.0.lock().unwrap().len(), 0, "{words}");
        read_all(&audit);
        let line = told.only();
        assert!(line.starts_with("packs/") && line.contains(words), "{line}");
        let is_lost = |id: &&ChunkId| {
            matches!(audit.find(ChunkKind::Data, id), Whereabouts::Lost { damage: Some(0), .. })
        };
        assert_eq!(ids.iter().filter(is_lost).count(), lost, "{words}");
    }
}

#[test]
fn a_chunk_in_a_pack_of_the_other_kind_has_no_place_there() {
    let (_, repository) = new_repository();
    let (_, ids) = commit(&repository, ChunkKind::Data, &[1]);
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    assert!(matches!(audit.find(ChunkKind::Tree, &ids[0]), Whereabouts::Lost { damage: None, .. }));
    audit.tell_lost(ChunkKind::Tree, &ids[0]);
    audit.tell_lost(ChunkKind::Tree, &ids[0]);
    assert!(told.only().contains("(format rule INDEX-7)"));
    assert!(matches!(audit.find(ChunkKind::Tree, &ids[0]), Whereabouts::Lost { damage: Some(0), .. }));
    assert_eq!(audit.find(ChunkKind::Tree, &ChunkId([1; 32])), Whereabouts::Nowhere);
}

/// A repository of one pack, and a verdict on it.
fn condemned() -> (Memory, Repository, ChunkId, ContentName) {
    let (memory, repository) = new_repository();
    let (_, ids) = commit(&repository, ChunkKind::Data, &[1]);
    let packs = pack_names(&memory);
    let condemned = Condemned { packs: packs.clone(), ..Condemned::default() };
    put_collection(&repository, ObjectKind::Condemned, &names::condemned(1), condemned.encode());
    let verdict = Verdict { packs: packs.clone(), ..Verdict::default() };
    put_collection(&repository, ObjectKind::Verdict, &names::verdict(1), verdict.encode());
    (memory, repository, ids[0], packs[0])
}

#[test]
fn a_pack_that_a_verdict_names_is_left_over_and_counts_for_nobody() {
    let (memory, repository, id, pack) = condemned();
    for is_there in [true, false] {
        let told = Told::default();
        let audit = repository.audit(&told).unwrap();
        assert_eq!(told.0.lock().unwrap().len(), 0);
        let leftovers = audit.counted().leftovers;
        assert_eq!((leftovers.condemned.count, leftovers.rows), (u64::from(is_there), 1));
        assert_eq!(leftovers.are_packs(), is_there);
        assert_eq!((audit.counted().packs.count, audit.packs_there().count()), (0, 0));
        assert!(matches!(audit.find(ChunkKind::Data, &id), Whereabouts::Lost { damage: None, .. }));
        // A snapshot that needs it all the same is the fault of the verdict.
        audit.tell_lost(ChunkKind::Data, &id);
        assert!(told.only().contains("a verdict names it"));
        if is_there {
            remove_packs(&memory, &[pack]);
        }
    }
}

#[test]
fn a_collection_that_is_gone_is_told_by_those_after_it() {
    let (memory, repository, ..) = condemned();
    let first = object_name(&names::condemned(1)).unwrap();
    let whole = memory.remove(&first).unwrap();
    let told = Told::default();
    assert_eq!(repository.audit(&told).unwrap().damaged(), 1);
    assert!(told.only().starts_with("collections/0000000000000001/condemned: it is not there"));
    memory.replace(&first, whole);
    put_collection(&repository, ObjectKind::Condemned, &names::condemned(3), Condemned::default().encode());
    let told = Told::default();
    assert_eq!(repository.audit(&told).unwrap().damaged(), 1);
    assert!(told.only().starts_with("collections/0000000000000002/condemned: it is not there"));
    // A number of an enemy costs no more.
    put_collection(
        &repository,
        ObjectKind::Condemned,
        &names::condemned(u64::MAX),
        Condemned::default().encode(),
    );
    assert_eq!(repository.audit(&Told::default()).unwrap().damaged(), 10);
}

#[test]
fn a_pack_before_its_index_run_is_left_over_once_its_session_is_over() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    session.store(ChunkKind::Data, &[1; 3000]).unwrap();
    let id = session.id();
    // Its packs are written, its runs are not, and the process is gone.
    std::mem::forget(session);
    let segment = crate::repository::segment::ClosedSegment {
        stored: crate::repository::held::Held::copy_of(&[5; 10]),
        raw_bytes: 10,
        codec: crate::format::pack::Codec::Raw,
        chunks: vec![(repository.keys.chunk_id(ChunkKind::Data, &[5; 10]), 10)],
    };
    let pack = crate::repository::pack::OpenPack::new(&repository, id, ChunkKind::Data).unwrap();
    pack.add(segment, Some(&repository.keys)).unwrap();
    pack.complete(false).unwrap().publish(&*repository.storage).unwrap();
    let counted = || repository.audit(&Told::default()).unwrap().counted();
    let before = counted();
    assert_eq!(
        (before.open_sessions, before.leftovers.in_progress.count, before.leftovers.unnamed.count),
        (1, 1, 0)
    );
    repository.end_session(id, "tests").unwrap();
    let after = counted();
    assert_eq!(
        (after.open_sessions, after.leftovers.in_progress.count, after.leftovers.unnamed.count),
        (0, 0, 1)
    );
    assert_eq!(pack_names(&memory).len(), 1);
}

#[test]
fn a_run_that_another_replaces_is_counted_and_not_merged() {
    let (_, repository) = new_repository();
    let (_, ids) = commit(&repository, ChunkKind::Data, &[1, 2]);
    let (name, run) = only_run(&repository);
    let one = IndexRun { superseded: vec![name], entries: vec![run.entries[0]], ..run };
    put_run(&repository, &one);
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    assert_eq!((audit.counted().index_runs.count, audit.counted().superseded_runs), (2, 1));
    let there = |id: &&ChunkId| matches!(audit.find(ChunkKind::Data, id), Whereabouts::There { .. });
    assert_eq!(ids.iter().filter(there).count(), 1, "what the replaced run says does not count");
    assert_eq!(told.0.lock().unwrap().len(), 0);
}

#[test]
fn a_run_of_packs_that_are_not_there_is_damage_of_each() {
    let (_, repository) = new_repository();
    let pack = |name: u8| IndexedPack {
        name: ContentName([name; 32]),
        size_bytes: 500,
        session: SessionId([9; 16]),
        salt: [name; 32],
        generation: 1,
        kind: ObjectKind::DataPack,
        segments: Vec::new(),
    };
    put_run(&repository, &IndexRun { packs: vec![pack(1), pack(2)], ..IndexRun::default() });
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    assert_eq!(audit.damaged(), 2);
    let objects: Vec<String> = audit.damages().into_iter().map(|damage| damage.object).collect();
    assert_eq!(objects, [names::pack(&ContentName([1; 32])), names::pack(&ContentName([2; 32]))]);
}

#[test]
fn a_chain_with_a_gap_is_explained_by_what_was_forgotten_and_removed() {
    let (memory, repository) = new_repository();
    let [first, _, third] = [1, 2, 3].map(|byte| {
        let session = start(&repository);
        session.store(ChunkKind::Data, &[byte; 3000]).unwrap();
        let snapshot = Snapshot { parent: None, ..crate::format::snapshot::tests::snapshot() };
        session.commit(|| snapshot).unwrap().0
    });
    let counted = || {
        let counted = repository.audit(&Told::default()).unwrap().counted();
        (counted.snapshots, counted.gaps, counted.unexplained_gaps)
    };
    let (snapshots, gaps, unexplained) = counted();
    assert_eq!((snapshots, gaps, unexplained), (3, 0, 0));
    memory.remove(&object_name(&names::commit(&first)).unwrap());
    assert_eq!(counted(), (2, 1, 1));
    let tombstone = crate::format::tombstone::tests::tombstone();
    repository.forget(first, &tombstone).unwrap();
    assert_eq!(counted(), (2, 1, 0));
    repository.forget(third, &tombstone).unwrap();
    assert_eq!(counted(), (1, 1, 0));
}

#[test]
fn what_a_newer_program_wrote_is_unreadable_and_no_damage() {
    let (memory, repository) = new_repository();
    let (id, _) = commit(&repository, ChunkKind::Data, &[1]);
    let name = names::commit(&id);
    memory.remove(&object_name(&name).unwrap());
    put_collection(&repository, ObjectKind::Commit, &name, vec![0xa1, 0x00, 0x03]);
    let told = Told::default();
    let audit = repository.audit(&told).unwrap();
    assert_eq!((audit.damaged(), audit.unreadable()), (0, 1));
    assert_eq!(told.0.lock().unwrap()[0].0, FindingKind::Unreadable);
}

#[test]
fn more_damage_than_is_kept_is_counted_and_told() {
    let told = Told::default();
    let findings = Findings::new(&told);
    let more = 5;
    for number in 0..DAMAGES_KEPT_MAX + more {
        let kept = findings.tell(&number.to_string(), &Error::damaged("x"));
        assert_eq!(kept.is_some(), number < DAMAGES_KEPT_MAX);
    }
    assert_eq!(findings.tell("7", &Error::damaged("again")), None);
    assert_eq!(findings.damaged(), (DAMAGES_KEPT_MAX + more) as u64);
    assert_eq!(findings.kept().len(), DAMAGES_KEPT_MAX);
    assert_eq!(told.0.lock().unwrap().len(), DAMAGES_KEPT_MAX + more);
}

#[test]
fn an_older_config_must_fit_the_newer() {
    let (memory, repository) = new_repository();
    let config = |number: u32, previous: Option<ContentName>| {
        let name = names::config(number);
        let config = crate::format::config::Config { previous, ..repository.config.clone() };
        let covered = config.encode();
        let code = repository.keys.config_code(config.generation, &name, &covered).unwrap();
        memory.replace(&object_name(&name).unwrap(), Bytes::from([covered.as_slice(), &code].concat()));
    };
    let first = content_name([&*memory.bytes(&object_name(&names::config(1)).unwrap()).unwrap()]);
    config(2, Some(first));
    assert_eq!(repository.audit(&Told::default()).unwrap().damaged(), 0);
    config(2, Some(ContentName([1; 32])));
    let told = Told::default();
    assert_eq!(repository.audit(&told).unwrap().damaged(), 1);
    assert!(told.only().contains("does not follow"));
}
