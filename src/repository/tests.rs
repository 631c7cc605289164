//! Unit tests of the repository: opening, sessions, what collections block, what readers find.

mod storages;

pub(crate) use storages::{Overwriting, open_after_listing, open_hiding, open_overwriting};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::object::object_name;
use super::*;
use crate::base::host::Host;
use crate::base::{ChunkId, ContentName, Error, ErrorKind, SessionId, Timestamp};
use crate::crypto::slot::Credential;
use crate::crypto::{ChunkKind, Secret};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names;
use crate::format::session::{SessionBeat, SessionStart};
use crate::format::slot::PasswordCost;
use crate::format::snapshot::{Commit, End, EndReason, Snapshot};
use crate::storage::ObjectName;
pub(crate) use crate::storage::memory::Memory;

pub(crate) const CHEAP: PasswordCost = PasswordCost { memory_kib: 32, passes: 1, lanes: 4 };

pub(crate) fn key(byte: u8) -> Credential {
    Credential::KeyFile(Secret::new([byte; 32]))
}

pub(crate) fn password(text: &str) -> Credential {
    Credential::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

pub(crate) fn options() -> InitOptions {
    let slot = |credential, label: &str| NewSlot { credential, label: label.into() };
    InitOptions {
        parameters: Parameters::tiny(),
        slots: vec![slot(key(1), "file"), slot(password("right"), "word")],
        password_cost: CHEAP,
        cache_folder: None,
    }
}

/// A repository with small pieces, and where it lies.
pub(crate) fn new_repository() -> (Memory, Repository) {
    let memory = Memory::new();
    let repository = Repository::init(Arc::new(memory.clone()), options()).unwrap();
    (memory, repository)
}

/// As `new_repository`, of which this machine keeps what it may.
pub(crate) fn new_repository_with_cache(folder: std::path::PathBuf) -> (Memory, Repository) {
    let memory = Memory::new();
    let options = InitOptions { cache_folder: Some(folder), ..options() };
    let repository = Repository::init(Arc::new(memory.clone()), options).unwrap();
    (memory, repository)
}

/// The names of all packs, sorted.
pub(crate) fn pack_names(memory: &Memory) -> Vec<ContentName> {
    memory.names().iter().filter_map(|name| names::parse_pack(name.as_str())).collect()
}

/// Commits so many times a chunk of data and one of a tree.
pub(crate) fn write_packs(repository: &Repository, count: u8) {
    for number in 0..count {
        let session = start(repository);
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            session.store(kind, &content(number)).unwrap();
        }
        session.commit(|| snapshot("a")).unwrap();
    }
}

/// Removes packs, as a prune does.
pub(crate) fn remove_packs(memory: &Memory, packs: &[ContentName]) {
    packs.iter().for_each(|pack| memory.delete(&object_name(&names::pack(pack)).unwrap()).unwrap());
}

pub(crate) fn open(memory: &Memory, credential: &Credential) -> Result<Repository> {
    Repository::open(Arc::new(memory.clone()), credential, None)
}

/// Damage that names a format rule.
fn assert_damaged(error: &Error, rule: &str) {
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    let chain = error.chain().join(": ");
    assert!(chain.contains(&format!("(format rule {rule})")), "{chain}");
}

fn start(repository: &Repository) -> Session<'_> {
    repository.start_session(&Host::current(), SessionOptions::default()).unwrap()
}

fn snapshot(host: &str) -> Snapshot {
    Snapshot { host: host.into(), parent: None, ..crate::format::snapshot::tests::snapshot() }
}

fn content(number: u8) -> Vec<u8> {
    vec![number; 3000]
}

fn names_in(memory: &Memory, folder: &str) -> Vec<ObjectName> {
    memory.names().into_iter().filter(|name| name.folder() == folder).collect()
}

/// Stores one chunk and commits.
fn commit_chunk(repository: &Repository, number: u8) -> (SessionId, ChunkId) {
    let session = start(repository);
    let id = session.store(ChunkKind::Data, &content(number)).unwrap().id;
    let (session, _) = session.commit(|| snapshot("a")).unwrap();
    (session, id)
}

pub(crate) fn put_collection(repository: &Repository, kind: ObjectKind, name: &str, content: Vec<u8>) {
    let object = repository.seal_record(kind, SessionId([0; 16]), Some(name), content).unwrap();
    repository.storage.put_if_absent(&object_name(name).unwrap(), &[object]).unwrap();
}

pub(crate) fn put_beat(repository: &Repository, id: SessionId, number: u64) {
    let name = names::session_beat(&id, number);
    let beat = SessionBeat { time: Timestamp::default() };
    let object = repository.seal_record(ObjectKind::SessionBeat, id, Some(&name), beat.encode()).unwrap();
    repository.storage.put_if_absent(&object_name(&name).unwrap(), &[object]).unwrap();
}

#[test]
fn every_slot_opens_and_nothing_else_does() {
    let (memory, made) = new_repository();
    for credential in [key(1), password("right")] {
        assert_eq!(open(&memory, &credential).unwrap().keys, made.keys);
    }
    for credential in [key(2), password("wrong")] {
        assert_eq!(open(&memory, &credential).unwrap_err().kind(), ErrorKind::WrongKey);
    }
    assert_eq!(open(&Memory::new(), &key(1)).unwrap_err().kind(), ErrorKind::NoRepository);
    let again = Repository::init(Arc::new(memory), options()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Exists);
    let no_slot = InitOptions { slots: Vec::new(), ..options() };
    assert_eq!(Repository::init(Arc::new(Memory::new()), no_slot).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn a_damaged_slot_is_told_from_a_wrong_key_and_stands_in_nobodys_way() {
    let (memory, _) = new_repository();
    let slots = names_in(&memory, names::KEYS);
    assert_eq!(slots.len(), 2);
    for damaged in &slots {
        let whole = memory.bytes(damaged).unwrap();
        for length in [0, 11, 40, whole.len() - 1] {
            memory.replace(damaged, Bytes::copy_from_slice(&whole[..length]));
            let kinds: Vec<_> = [key(1), password("right"), password("wrong")]
                .iter()
                .map(|credential| open(&memory, credential).map_err(|error| error.kind()).map(|_| ()))
                .collect();
            assert_eq!(
                kinds.iter().filter(|kind| kind.is_ok()).count(),
                1,
                "the other slot opens: {kinds:?}"
            );
            assert_eq!(kinds.iter().filter(|kind| **kind == Err(ErrorKind::Damaged)).count(), 2, "{kinds:?}");
            assert_damaged(&open(&memory, &password("wrong")).unwrap_err(), "SLOT-8");
        }
        memory.replace(damaged, whole);
    }
    slots.iter().for_each(|slot| drop(memory.remove(slot)));
    assert_eq!(open(&memory, &key(1)).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_changed_config_is_met_before_it_is_acted_upon() {
    let (memory, _) = new_repository();
    let name = object_name("config/00000001").unwrap();
    let whole = memory.bytes(&name).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        memory.replace(&name, Bytes::from(flipped));
        let kind = open(&memory, &key(1)).unwrap_err().kind();
        // A flipped repository name makes the slots' keys strangers, a flipped version a newer program's object.
        assert!(
            matches!(kind, ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::WrongKey),
            "bit {bit}: {kind:?}"
        );
    }
    memory.replace(&name, whole.clone());
    assert!(open(&memory, &key(1)).is_ok());
    // The last byte is of the code.
    let mut flipped = whole.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    memory.replace(&name, Bytes::from(flipped));
    assert_damaged(&open(&memory, &key(1)).unwrap_err(), "CFG-2");
    memory.replace(&name, whole.clone());
    // The highest number counts: an older config under a newer name is refused.
    memory.replace(&object_name("config/00000002").unwrap(), whole);
    assert_damaged(&open(&memory, &key(1)).unwrap_err(), "CFG-2");
}

#[test]
fn chunks_come_back_in_this_session_and_every_later_one() {
    let (memory, repository) = new_repository();
    let (_, id) = commit_chunk(&repository, 5);
    let again = start(&repository);
    assert!(!again.store(ChunkKind::Data, &content(5)).unwrap().is_new);
    assert!(again.store(ChunkKind::Data, &content(6)).unwrap().is_new);
    assert!(!again.store(ChunkKind::Data, &content(6)).unwrap().is_new, "a chunk of this session");
    let (_, committed) = again.commit(|| snapshot("a")).unwrap();
    assert_eq!(committed.sequence, 2);
    let opened = open(&memory, &key(1)).unwrap();
    let reader = opened.reader().unwrap();
    assert_eq!(reader.chunk(ChunkKind::Data, &id).unwrap(), content(5));
    assert_damaged(&reader.chunk(ChunkKind::Tree, &id).unwrap_err(), "INDEX-7");
    let missing = reader.chunk(ChunkKind::Data, &ChunkId([0; 32])).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Damaged);
}

#[test]
fn a_reader_finds_what_was_committed_after_it_was_made() {
    let (_, repository) = new_repository();
    let reader = repository.reader().unwrap();
    let (_, id) = commit_chunk(&repository, 9);
    assert_eq!(reader.chunk(ChunkKind::Data, &id).unwrap(), content(9));
}

#[test]
fn the_local_table_serves_later_runs_and_is_made_anew_when_it_is_spoiled() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    Repository::init(Arc::new(memory.clone()), options()).unwrap();
    let open = || {
        let storage = Arc::new(memory.clone());
        Repository::open(storage, &key(1), Some(folder.path().to_owned())).unwrap()
    };
    let (_, id) = commit_chunk(&open(), 1);
    let repository = open();
    assert!(repository.reader().unwrap().chunk(ChunkKind::Data, &id).is_ok());
    let path = folder.path().join(repository.id().hex()).join("index.table");
    let good = std::fs::read(&path).unwrap();
    for spoiled in [Vec::new(), vec![0; 64], good[..good.len() - 1].to_vec()] {
        std::fs::write(&path, spoiled).unwrap();
        assert!(open().reader().unwrap().chunk(ChunkKind::Data, &id).is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
    // A run that is no longer listed does not count.
    names_in(&memory, names::INDEX).iter().for_each(|name| drop(memory.remove(name)));
    assert!(open().reader().unwrap().chunk(ChunkKind::Data, &id).is_err());
}

#[test]
fn a_pack_that_a_collection_blocks_is_not_built_upon() {
    for phase in [ObjectKind::Condemned, ObjectKind::Verdict] {
        let (memory, repository) = new_repository();
        let (_, id) = commit_chunk(&repository, 5);
        let packs: Vec<ContentName> = names_in(&memory, names::PACKS)
            .iter()
            .filter_map(|name| names::parse_pack(name.as_str()))
            .collect();
        assert_eq!(packs.len(), 1);
        let time = Timestamp::default();
        let condemned = Condemned { packs: packs.clone(), time, ..Condemned::default() };
        put_collection(&repository, ObjectKind::Condemned, &names::condemned(3), condemned.encode());
        if phase == ObjectKind::Verdict {
            let verdict = Verdict { packs, time, ..Verdict::default() };
            put_collection(&repository, ObjectKind::Verdict, &names::verdict(3), verdict.encode());
        }
        let session = start(&repository);
        assert!(
            session.store(ChunkKind::Data, &content(5)).unwrap().is_new,
            "stored again, in a pack of its own"
        );
        session.commit(|| snapshot("a")).unwrap();
        // With the verdict carried out, the second copy serves.
        if phase == ObjectKind::Verdict {
            memory.remove(&object_name(&names::pack(&condemned.packs[0])).unwrap());
        }
        assert_eq!(repository.reader().unwrap().chunk(ChunkKind::Data, &id).unwrap(), content(5));
    }
}

#[test]
fn what_a_verdict_spares_is_built_upon() {
    let (memory, repository) = new_repository();
    commit_chunk(&repository, 5);
    let packs: Vec<ContentName> =
        names_in(&memory, names::PACKS).iter().filter_map(|name| names::parse_pack(name.as_str())).collect();
    let condemned = Condemned { packs, ..Condemned::default() };
    put_collection(&repository, ObjectKind::Condemned, &names::condemned(3), condemned.encode());
    put_collection(&repository, ObjectKind::Verdict, &names::verdict(3), Verdict::default().encode());
    assert!(!start(&repository).store(ChunkKind::Data, &content(5)).unwrap().is_new);
}

#[test]
fn a_collection_that_cannot_be_read_stops_a_session() {
    let (memory, repository) = new_repository();
    memory.replace(
        &object_name(&names::verdict(1)).unwrap(),
        Bytes::from_static(b"PKSTONE\x1a\x01\x0b\x01\x00"),
    );
    let error = repository.start_session(&Host::current(), SessionOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(names_in(&memory, names::SNAPSHOTS).len(), 1, "the session ended itself");
}

fn read_start(repository: &Repository, session: SessionId) -> SessionStart {
    let name = names::session_start(&session);
    let object = repository.storage.get(&object_name(&name).unwrap(), 1 << 20).unwrap();
    let (_, content) = repository.open_record(ObjectKind::SessionStart, &name, &object).unwrap();
    SessionStart::decode(&content).unwrap()
}

#[test]
fn a_session_proves_atomic_creation_and_ends_in_every_case() {
    let (_, repository) = new_repository();
    let session = start(&repository);
    let id = session.id();
    let record = read_start(&repository, id);
    assert!(record.atomic_create_proven);
    assert_eq!(record.host, Host::current());
    assert!(repository.read_commit(id).is_err(), "not yet ended");
    drop(session);
    let ended = |id| match repository.read_commit(id).unwrap().0 {
        Commit::End(end) => end.reason,
        Commit::Snapshot(_) => panic!("no snapshot was committed"),
    };
    assert_eq!(ended(id), EndReason::Failed);
    let session = start(&repository);
    let id = session.id();
    session.close().unwrap();
    assert_eq!(ended(id), EndReason::Closed);
    assert!(repository.snapshots().unwrap().visible.is_empty());
}

#[test]
fn what_a_newer_program_wrote_is_no_damage() {
    let (memory, repository) = new_repository();
    let newer = Snapshot { kept: vec![(63, vec![0])], is_selective: false, ..snapshot("a") };
    let id = SessionId([7; 16]);
    let name = names::commit(&id);
    for content in [Commit::Snapshot(Box::new(newer)).encode(), vec![0xa1, 0x00, 0x03]] {
        memory.remove(&object_name(&name).unwrap());
        put_collection(&repository, ObjectKind::Commit, &name, content);
        let error = repository.read_commit(id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_generation_that_the_keys_do_not_hold_is_damage() {
    let (memory, repository) = new_repository();
    let (id, _) = commit_chunk(&repository, 1);
    let name = object_name(&names::commit(&id)).unwrap();
    let mut object = memory.bytes(&name).unwrap().to_vec();
    object[12] ^= 2;
    memory.replace(&name, Bytes::from(object));
    assert_damaged(&repository.read_commit(id).unwrap_err(), "SEAL-3");
}

#[test]
fn a_repository_with_an_unknown_feature_for_writers_is_only_read() {
    let (memory, mut repository) = new_repository();
    let (_, id) = commit_chunk(&repository, 1);
    let before = memory.names().len();
    repository.config.features.for_writers = vec!["later".into()];
    let error = repository.start_session(&Host::current(), SessionOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(memory.names().len(), before, "nothing is written");
    assert_eq!(repository.reader().unwrap().chunk(ChunkKind::Data, &id).unwrap(), content(1));
}

#[test]
fn a_pack_is_closed_by_the_number_of_its_chunks_too() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    // Chunks of 8 bytes: 64 KiB of them would be 8192 in one pack; with 40 bytes for each, a pack takes a sixth.
    for number in 0..8192_u64 {
        let hash = blake3::hash(&number.to_le_bytes());
        session.store(ChunkKind::Data, &hash.as_bytes()[..8]).unwrap();
    }
    session.commit(|| snapshot("a")).unwrap();
    let packs = names_in(&memory, names::PACKS);
    assert!(packs.len() > 1, "{} packs", packs.len());
}

#[test]
fn a_fenced_session_does_not_commit() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    session.store(ChunkKind::Data, &content(1)).unwrap();
    let end = End { reason: EndReason::Fenced, time: Timestamp::default(), host: "pruner".into() };
    put_collection(&repository, ObjectKind::Commit, &names::commit(&session.id()), Commit::End(end).encode());
    let error = session.commit(|| snapshot("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(names_in(&memory, names::SNAPSHOTS).len(), 1);
    // Its chunks are there for the next run all the same.
    assert!(!start(&repository).store(ChunkKind::Data, &content(1)).unwrap().is_new);
}

#[test]
fn a_forgotten_snapshot_is_not_visible_and_a_damaged_one_is_told() {
    let (memory, repository) = new_repository();
    let (first, _) = commit_chunk(&repository, 1);
    let (second, _) = commit_chunk(&repository, 2);
    let (third, _) = commit_chunk(&repository, 3);
    memory.replace(&object_name(&names::tombstone(&first)).unwrap(), Bytes::from_static(b"x"));
    memory.replace(&object_name(&names::commit(&second)).unwrap(), Bytes::from_static(b"PKSTONE\x1a"));
    let list = repository.snapshots().unwrap();
    assert_eq!(list.visible.iter().map(|entry| entry.id).collect::<Vec<_>>(), [third]);
    assert_eq!(list.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [second]);
    // A snapshot under another session's name is no snapshot: the name is sealed in.
    let moved = memory.bytes(&object_name(&names::commit(&third)).unwrap()).unwrap();
    memory.replace(&object_name(&names::commit(&second)).unwrap(), moved);
    // Who has read a record before does not ask again.
    let snapshots_anew = || open(&memory, &key(1)).unwrap().snapshots().unwrap();
    let damaged = snapshots_anew().damaged;
    assert_eq!(damaged.len(), 1);
    assert_damaged(&damaged[0].1, "SEAL-2");
    // Nor is one that another session sealed under this name; an end, which others may write, is none either.
    let name = names::commit(&second);
    let by_another = |commit: Commit| {
        memory.remove(&object_name(&name).unwrap());
        put_collection(&repository, ObjectKind::Commit, &name, commit.encode());
        snapshots_anew()
    };
    let list = by_another(Commit::Snapshot(Box::new(snapshot("a"))));
    assert_eq!(list.visible.len(), 1);
    assert_eq!(list.damaged.len(), 1);
    assert_damaged(&list.damaged[0].1, "SNAP-5");
    let end = End { reason: EndReason::Fenced, time: Timestamp::default(), host: "pruner".into() };
    assert!(by_another(Commit::End(end)).damaged.is_empty());
}

#[test]
fn a_checkpoint_lets_the_next_run_reuse_what_an_interrupted_one_stored() {
    let (memory, repository) = new_repository();
    let options = SessionOptions { checkpoint_interval: Duration::ZERO, ..SessionOptions::default() };
    let session = repository.start_session(&Host::current(), options).unwrap();
    // Incompressible, so that packs fill: 64 KiB each with these parameters.
    let chunk = |number: u64| {
        let mut content = vec![0; 4096];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut content);
        content
    };
    for number in 0..100 {
        session.store(ChunkKind::Data, &chunk(number)).unwrap();
    }
    assert_eq!(names_in(&memory, names::PACKS).len(), 6);
    assert_eq!(names_in(&memory, names::INDEX).len(), 6, "one for each pack");
    // The process is killed: nothing more is written.
    std::mem::forget(session);
    let next = start(&repository);
    let new = (0..100).filter(|number| next.store(ChunkKind::Data, &chunk(*number)).unwrap().is_new).count();
    assert_eq!(new, 100 - 6 * 16);
    next.commit(|| snapshot("a")).unwrap();
    let reader = repository.reader().unwrap();
    for number in 0..100 {
        let id = repository.keys.chunk_id(ChunkKind::Data, &chunk(number));
        assert_eq!(reader.chunk(ChunkKind::Data, &id).unwrap(), chunk(number));
    }
}

#[test]
fn a_storage_that_overwrites_is_found_out_by_the_proof() {
    for says_atomic in [false, true] {
        let storage = Arc::new(Overwriting { memory: Memory::new(), says_atomic });
        let repository = Repository::init(storage, options()).unwrap();
        let session = start(&repository);
        assert!(!read_start(&repository, session.id()).atomic_create_proven);
    }
}

#[test]
fn segments_of_one_pack_are_read_together() {
    let (_, repository) = new_repository();
    let session = start(&repository);
    let chunk = |number: u64| {
        let mut content = vec![0; 5000];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut content);
        content
    };
    let ids: Vec<ChunkId> =
        (0..12).map(|number| session.store(ChunkKind::Data, &chunk(number)).unwrap().id).collect();
    session.commit(|| snapshot("a")).unwrap();
    let reader = repository.reader().unwrap();
    let mut placements: Vec<_> = ids.iter().map(|id| (reader.placement(id).unwrap(), *id)).collect();
    placements.sort_by_key(|(placement, _)| (placement.segment, placement.offset));
    let mut keys: Vec<SegmentKey> = placements.iter().map(|(placement, _)| placement.segment).collect();
    keys.dedup();
    assert_eq!(keys.len(), 3);
    // Not all of them, so that one lies apart from the others.
    for wanted in [keys.clone(), vec![keys[0], keys[2]], vec![keys[1]]] {
        let segments = reader.segments(&wanted).unwrap();
        assert_eq!(segments.len(), wanted.len());
        for (key, segment) in wanted.iter().zip(segments) {
            let segment = segment.unwrap();
            for (placement, id) in placements.iter().filter(|(placement, _)| placement.segment == *key) {
                let number = ids.iter().position(|other| other == id).unwrap() as u64;
                assert_eq!(reader.chunk_of(&segment, id, placement).unwrap(), chunk(number));
            }
        }
    }
}

#[test]
fn a_folder_with_a_file_called_config_is_no_repository() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config"), "Host *").unwrap();
    let storage = Arc::new(crate::storage::local::Local::open(folder.path()).unwrap());
    let error = Repository::open(storage, &key(1), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRepository);
}

#[test]
fn a_cache_that_cannot_be_written_stops_nobody() {
    let (memory, repository) = new_repository();
    let (_, id) = commit_chunk(&repository, 1);
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder of the repository should be, and a folder where the table should be.
    std::fs::write(folder.path().join(repository.id().hex()), "in the way").unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(other.path().join(repository.id().hex()).join("index.table/x")).unwrap();
    for cache in [folder.path(), other.path()] {
        let storage = Arc::new(memory.clone());
        let opened = Repository::open(storage, &key(1), Some(cache.to_owned())).unwrap();
        assert_eq!(opened.reader().unwrap().chunk(ChunkKind::Data, &id).unwrap(), content(1));
    }
}

#[test]
fn a_session_whose_start_fails_halfway_is_ended() {
    let memory = Memory::new();
    let storage = Arc::new(storages::SecondStartFails::new(memory.clone()));
    let repository = Repository::init(storage, options()).unwrap();
    let error = repository.start_session(&Host::current(), SessionOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    assert_eq!(names_in(&memory, names::SESSIONS).len(), 1);
    assert_eq!(names_in(&memory, names::SNAPSHOTS).len(), 1);
}
