//! Unit tests of live sessions, of ending them and of sweeping what they leave.

use bytes::Bytes;

use super::*;
use crate::base::host::Host;
use crate::crypto::ChunkKind;
use crate::format::tombstone::tests::tombstone;
use crate::repository::tests::{Memory, new_repository, open_after_listing, put_beat};
use crate::repository::{Session, SessionOptions};

fn start(repository: &Repository) -> Session<'_> {
    repository.start_session(&Host::current(), SessionOptions::default()).unwrap()
}

fn live_ids(repository: &Repository) -> Vec<SessionId> {
    repository.live_sessions().unwrap().iter().map(|session| session.id).collect()
}

fn put(memory: &Memory, name: &str, content: &'static [u8]) {
    memory.replace(&object_name(name).unwrap(), Bytes::from_static(content));
}

fn snapshot() -> crate::format::snapshot::Snapshot {
    crate::format::snapshot::Snapshot { parent: None, ..crate::format::snapshot::tests::snapshot() }
}

#[test]
fn a_session_is_live_from_its_start_until_its_commit_key() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    let id = session.id();
    for number in [9, 10, 2] {
        put_beat(&repository, id, number);
    }
    let live = repository.live_sessions().unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!((live[0].id, live[0].last_beat), (id, Some(10)));
    assert_eq!(repository.beat_time(id, 10).unwrap(), Timestamp::default());
    assert_eq!(repository.beat_time(id, 11).unwrap_err().kind(), ErrorKind::NotFound);
    let found = live[0].start.as_ref().unwrap();
    assert_eq!(found.host, Host::current());
    assert!(found.atomic_create_proven);
    session.commit(snapshot).unwrap();
    assert_eq!(live_ids(&repository), []);
    // Forgotten and removed: the tombstone says that it is over.
    memory.remove(&object_name(&names::commit(&id)).unwrap());
    assert_eq!(live_ids(&repository), [id]);
    put(&memory, &names::tombstone(&id), b"x");
    assert_eq!(live_ids(&repository), [id], "a name alone, which a stranger may create, ends nothing");
    memory.remove(&object_name(&names::tombstone(&id)).unwrap());
    repository.forget(id, &tombstone()).unwrap();
    assert_eq!(live_ids(&repository), []);
}

#[test]
fn a_start_that_cannot_be_read_is_told() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    let id = session.id();
    std::mem::forget(session);
    let name = object_name(&names::session_start(&id)).unwrap();
    let good = memory.bytes(&name).unwrap();
    put(&memory, &names::session_start(&id), b"PKSTONE");
    let error = |repository: &Repository| {
        let live = repository.live_sessions().unwrap();
        assert_eq!(live.len(), 1);
        live.into_iter().next().unwrap().start.unwrap_err().kind()
    };
    assert_eq!(error(&repository), ErrorKind::Damaged);
    // The start of another session is not this one's.
    let other = SessionId([7; 16]);
    memory.remove(&name);
    memory.replace(&object_name(&names::session_start(&other)).unwrap(), good);
    assert_eq!(error(&repository), ErrorKind::Damaged);
    assert_eq!(live_ids(&repository), [other]);
    // A start goes when its session is over: a beat that is left, or comes late, makes nobody live.
    memory.remove(&object_name(&names::session_start(&other)).unwrap());
    put_beat(&repository, other, 1);
    assert_eq!(live_ids(&repository), []);
    assert_eq!(repository.sweep_sessions().unwrap().count, 1);
}

#[test]
fn an_ended_session_does_not_commit_and_what_it_stored_is_used_again() {
    let (_, repository) = new_repository();
    let session = start(&repository);
    session.store(ChunkKind::Data, &[5; 3000]).unwrap();
    assert_eq!(repository.end_session(session.id(), "pruner").unwrap(), EndedNow::Ended);
    let again = repository.end_session(session.id(), "pruner").unwrap();
    assert_eq!(again, EndedNow::AlreadyOver(Over::Ended(EndReason::Fenced)));
    assert_eq!(live_ids(&repository), []);
    let error = session.commit(snapshot).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Fenced, 11));
    assert!(repository.snapshots().unwrap().visible.is_empty());
    assert!(!start(&repository).store(ChunkKind::Data, &[5; 3000]).unwrap().is_new);
}

#[test]
fn a_session_that_is_over_is_not_ended_again() {
    let (memory, repository) = new_repository();
    let session = start(&repository);
    let closed = session.id();
    session.close().unwrap();
    let over = |id| repository.end_session(id, "pruner").unwrap();
    assert_eq!(over(closed), EndedNow::AlreadyOver(Over::Ended(EndReason::Closed)));
    let (committed, _) = start(&repository).commit(snapshot).unwrap();
    assert_eq!(over(committed), EndedNow::AlreadyOver(Over::Committed));
    assert_eq!(repository.snapshots().unwrap().visible.len(), 1);
    put(&memory, &names::commit(&committed), b"PKSTONE");
    assert_eq!(repository.end_session(committed, "pruner").unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn only_records_of_what_is_over_are_swept() {
    let (memory, repository) = new_repository();
    assert_eq!(repository.sweep_sessions().unwrap(), ObjectCount::default());
    let (committed, _) = start(&repository).commit(snapshot).unwrap();
    put_beat(&repository, committed, 1);
    let forgotten = SessionId([7; 16]);
    put_beat(&repository, forgotten, 3);
    repository.forget(forgotten, &tombstone()).unwrap();
    let running = start(&repository);
    let in_sessions = || -> Vec<String> {
        let names = memory.names().into_iter().filter(|name| name.folder() == names::SESSIONS);
        names.map(|name| name.as_str().to_owned()).collect()
    };
    assert_eq!(in_sessions().len(), 4);
    let swept = repository.sweep_sessions().unwrap();
    assert_eq!(swept.count, 3);
    assert!(swept.size_bytes > 3 * 96, "{swept:?}");
    assert_eq!(in_sessions(), [names::session_start(&running.id())]);
    // A late request brings a record back.
    put_beat(&repository, committed, 2);
    assert_eq!(live_ids(&repository), [running.id()]);
    assert_eq!(repository.sweep_sessions().unwrap().count, 1);
}

#[test]
fn a_session_that_begins_and_ends_while_ends_are_swept_is_not_taken_for_live() {
    let begin_and_close = |memory: &Memory| {
        let other = crate::repository::tests::open(memory, &crate::repository::tests::key(1)).unwrap();
        start(&other).close().unwrap();
    };
    for folder in [names::SESSIONS, names::SNAPSHOTS, names::FORGOTTEN] {
        let (memory, _) = new_repository();
        let repository = open_after_listing(&memory, folder, begin_and_close);
        repository.sweep_closed().unwrap();
        assert_eq!(live_ids(&repository), [], "after {folder} was listed");
        repository.sweep_sessions().unwrap();
        repository.sweep_closed().unwrap();
        let is_left = |name: &ObjectName| [names::SESSIONS, names::SNAPSHOTS].contains(&name.folder());
        assert!(!memory.names().iter().any(is_left));
    }
}

#[test]
fn who_does_not_know_what_a_writer_must_know_sweeps_nothing() {
    let (memory, mut repository) = new_repository();
    start(&repository).close().unwrap();
    let before = memory.names();
    repository.config.features.for_writers = vec!["later".into()];
    assert_eq!(repository.sweep_sessions().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(repository.sweep_closed().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(memory.names(), before);
}
