//! Unit tests of beats and of what a session does after its machine was suspended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender as Tell, channel};

use super::*;
use crate::base::clock::{SinceBoot, SuspensionWatch};
use crate::base::host::Host;
use crate::crypto::ChunkKind;
use crate::format::names::SessionRecord;
use crate::format::snapshot::Snapshot;
use crate::repository::tests::{Memory, key, new_repository};
use crate::repository::{EndedNow, Over, Session, SessionOptions};
use crate::storage::{Body, ObjectName};

/// Tells the name of everything that is created; refuses the first so many beats.
#[derive(Debug)]
struct Telling {
    memory: Memory,
    tell: Mutex<Tell<String>>,
    refused: AtomicUsize,
    /// They are refused, and created all the same.
    lies: bool,
}

impl Storage for Telling {
    crate::storage::forward_storage!(self => self.memory; get, get_range, list, delete, barrier, capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.tell.lock().unwrap().send(name.to_string()).unwrap();
        let is_beat = matches!(names::parse_session(name.as_str()), Some((_, SessionRecord::Beat(_))));
        let less = |left: usize| left.checked_sub(1);
        if is_beat && self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            if self.lies {
                self.memory.put_if_absent(name, body)?;
            }
            return Err(Error::new(ErrorKind::Failed, "no answer"));
        }
        self.memory.put_if_absent(name, body)
    }
}

fn telling(refused: usize, lies: bool) -> (Memory, Repository, Receiver<String>) {
    let (memory, _) = new_repository();
    let (tell, told) = channel();
    let storage =
        Telling { memory: memory.clone(), tell: Mutex::new(tell), refused: AtomicUsize::new(refused), lies };
    let repository = Repository::open(Arc::new(storage), &key(1), None).unwrap();
    (memory, repository, told)
}

fn start(repository: &Repository, beat_interval: Duration) -> Session<'_> {
    let options = SessionOptions { beat_interval, ..SessionOptions::default() };
    repository.start_session(&Host::current(), options).unwrap()
}

fn snapshot() -> Snapshot {
    Snapshot { parent: None, ..crate::format::snapshot::tests::snapshot() }
}

const OFTEN: Duration = Duration::from_micros(100);

#[test]
fn a_long_session_sends_beats_until_it_is_over() {
    for end in ["commit", "close", "drop"] {
        let (memory, repository, told) = telling(0, false);
        let session = start(&repository, OFTEN);
        let id = session.id();
        for number in 1..=12 {
            let beat = names::session_beat(&id, number);
            told.iter().find(|name| *name == beat).expect("it is sent in time");
        }
        match end {
            "commit" => drop(session.commit(snapshot).unwrap()),
            "close" => session.close().unwrap(),
            _ => drop(session),
        }
        let rest: Vec<String> = told.try_iter().collect();
        assert_eq!(rest.last(), Some(&names::commit(&id)), "{end}: none comes after the commit key");
        let beat = names::session_beat(&id, 1);
        let object = memory.bytes(&object_name(&beat).unwrap()).unwrap();
        let (header, content) = repository.open_record(ObjectKind::SessionBeat, &beat, &object).unwrap();
        assert_eq!(header.session, id);
        assert!(SessionBeat::decode(&content).unwrap().time > Timestamp::default());
    }
}

#[test]
fn a_short_session_sends_none() {
    let (_, repository, told) = telling(0, false);
    let session = start(&repository, SessionOptions::default().beat_interval);
    let id = session.id();
    session.close().unwrap();
    let start = names::session_start(&id);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [start.clone(), start, names::commit(&id)]);
}

#[test]
fn a_beat_that_fails_stops_nobody() {
    // One that was created though it failed is found at the next attempt.
    for (refused, lies) in [(2, false), (1, true)] {
        let (_, repository, told) = telling(refused, lies);
        let session = start(&repository, OFTEN);
        let [first, second] = [1, 2].map(|number| names::session_beat(&session.id(), number));
        let mut beats = told.iter().filter(|name| name.contains("beat"));
        assert_eq!(beats.by_ref().take(refused + 1).collect::<Vec<_>>(), vec![first; refused + 1]);
        assert_eq!(beats.next(), Some(second));
        session.commit(snapshot).unwrap();
    }
}

static SUSPENDED_SECONDS: AtomicU64 = AtomicU64::new(0);

fn clocks() -> SinceBoot {
    let total = Duration::from_secs(SUSPENDED_SECONDS.load(Ordering::SeqCst));
    SinceBoot { total, awake: Duration::ZERO }
}

#[test]
fn after_a_suspension_nothing_is_done_for_a_session_that_was_ended() {
    let (memory, repository) = new_repository();
    let new_session = || {
        let mut session = start(&repository, Duration::from_secs(600));
        session.suspensions = SuspensionWatch::by(clocks);
        session
    };
    let count = || memory.names().len();
    let store = |session: &Session<'_>, byte| {
        session.store(ChunkKind::Data, &[byte; 3000]).unwrap();
        session.settle()
    };
    // Ended while it runs: noticed at its commit, and what it stores until then is of use.
    let session = new_session();
    repository.end_session(session.id(), "pruner").unwrap();
    store(&session, 1).unwrap();
    assert_eq!(session.commit(snapshot).unwrap_err().kind(), ErrorKind::Fenced);
    // Suspended and not ended: goes on.
    let session = new_session();
    SUSPENDED_SECONDS.fetch_add(7, Ordering::SeqCst);
    store(&session, 2).unwrap();
    session.commit(snapshot).unwrap();
    // Suspended and ended: nothing more is written.
    let session = new_session();
    SUSPENDED_SECONDS.fetch_add(7, Ordering::SeqCst);
    repository.end_session(session.id(), "pruner").unwrap();
    let before = count();
    let error = store(&session, 3).unwrap_err();
    assert_eq!((error.kind(), count()), (ErrorKind::Fenced, before), "{error}");
    drop(session);
    // Nor by one that finds nothing to store, or only an index run to publish.
    for stores in [false, true] {
        let session = new_session();
        if stores {
            store(&session, 4).unwrap();
        }
        repository.end_session(session.id(), "pruner").unwrap();
        SUSPENDED_SECONDS.fetch_add(7, Ordering::SeqCst);
        let before = count();
        let error = session.commit(|| panic!("too late for a snapshot")).map(drop).unwrap_err();
        assert_eq!((error.kind(), count()), (ErrorKind::Fenced, before), "{error}");
    }
    assert_eq!(repository.snapshots().unwrap().visible.len(), 1);
}

#[test]
fn where_nothing_is_proven_a_session_looks_before_it_commits() {
    let (memory, mut repository) = new_repository();
    repository.storage =
        Arc::new(crate::repository::tests::Overwriting { memory: memory.clone(), says_atomic: true });
    let session = start(&repository, Duration::from_secs(600));
    let name = object_name(&names::commit(&session.id())).unwrap();
    repository.end_session(session.id(), "person").unwrap();
    let end = memory.bytes(&name);
    assert_eq!(session.commit(snapshot).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(memory.bytes(&name), end, "what another made is not overwritten");
    // Nor does who ends a session overwrite what it committed.
    let (committed, _) = start(&repository, Duration::from_secs(600)).commit(snapshot).unwrap();
    let over = repository.end_session(committed, "person").unwrap();
    assert_eq!(over, EndedNow::AlreadyOver(Over::Committed));
    assert_eq!(repository.snapshots().unwrap().visible.len(), 1);
}
