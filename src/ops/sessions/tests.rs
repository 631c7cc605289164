//! Unit tests of what can be told of sessions, and of ending the dead.

use super::*;
use crate::base::Timestamp;
use crate::repository::tests::{
    Memory, new_repository, new_repository_with_cache, open_overwriting, put_beat,
};
use crate::repository::{ChunkKind, Over, SessionOptions};

const HOUR: Duration = Duration::from_secs(3600);

/// Another machine, on which nothing can be seen.
fn elsewhere() -> Host {
    Host { name: "elsewhere".into(), boot_id: Some([2; 16]), machine_id: Some([2; 16]), ..this() }
}

/// This machine, whatever it knows of itself.
fn this() -> Host {
    Host { machine_id: Some([1; 16]), boot_id: Some([1; 16]), process_namespace: Some(1), ..Host::current() }
}

/// A process of this machine that is gone: another has its id now.
fn gone() -> Host {
    Host { process_start_ticks: this().process_start_ticks - 1, ..this() }
}

/// This machine, so many hours after its boot; it slept for some of them.
fn observer(total_hours: u32, suspended_hours: u32) -> Observer {
    let awake = HOUR * (total_hours - suspended_hours);
    Observer { host: this(), now: SinceBoot { total: HOUR * total_hours, awake } }
}

/// A session of which nothing more comes.
fn begin(repository: &Repository, host: &Host) -> SessionId {
    let session = repository.start_session(host, SessionOptions::default()).unwrap();
    let id = session.id();
    std::mem::forget(session);
    id
}

fn states(repository: &Repository, observer: &Observer) -> Vec<SessionState> {
    list(repository, observer).unwrap().sessions.into_iter().map(|view| view.state).collect()
}

fn cached() -> (tempfile::TempDir, Memory, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let (memory, repository) = new_repository_with_cache(folder.path().to_owned());
    (folder, memory, repository)
}

fn ended(repository: &Repository, observer: &Observer) -> Vec<SessionId> {
    end_dead(repository, observer, true).unwrap().ended.iter().map(|view| view.session.id).collect()
}

#[test]
fn a_session_is_ended_once_its_process_is_gone_and_not_before() {
    let (_, repository) = new_repository();
    let running = begin(&repository, &this());
    let dead = begin(&repository, &gone());
    let far = begin(&repository, &elsewhere());
    let views = list(&repository, &observer(1, 0)).unwrap();
    let state = |id: SessionId| views.find(&id.hex()).unwrap().state;
    assert_eq!(state(running), SessionState::Running);
    assert_eq!(state(dead), SessionState::Gone);
    assert_eq!(state(far), SessionState::Unknown(Duration::ZERO));
    let report = end_dead(&repository, &observer(1, 0), true).unwrap();
    assert_eq!(report.ended.iter().map(|view| view.session.id).collect::<Vec<_>>(), [dead]);
    let mut left: Vec<SessionId> = report.left.iter().map(|view| view.session.id).collect();
    left.sort_unstable();
    let mut expected = [running, far];
    expected.sort_unstable();
    assert_eq!(left, expected);
    assert_eq!(ended(&repository, &observer(1, 0)), []);
}

#[test]
fn what_cannot_be_seen_from_here_is_never_called_gone() {
    let (_, repository) = new_repository();
    let unlike = |change: fn(&mut Host)| {
        let mut host = gone();
        change(&mut host);
        host
    };
    for host in [
        unlike(|host| host.machine_id = Some([9; 16])),
        unlike(|host| host.machine_id = None),
        unlike(|host| host.boot_id = Some([9; 16])),
        unlike(|host| host.boot_id = None),
        unlike(|host| host.process_namespace = Some(9)),
        unlike(|host| host.process_namespace = None),
    ] {
        begin(&repository, &host);
    }
    assert_eq!(ended(&repository, &observer(100, 0)), []);
    let nobody = Observer { host: Host { machine_id: None, ..this() }, ..observer(100, 0) };
    begin(&repository, &Host { machine_id: None, ..gone() });
    assert_eq!(ended(&repository, &nobody), []);
}

#[test]
fn silence_counts_between_two_looks_of_one_machine_in_one_boot() {
    let (_folder, _, repository) = cached();
    let id = begin(&repository, &elsewhere());
    assert_eq!(states(&repository, &observer(100, 0)), [SessionState::Unknown(Duration::ZERO)]);
    let rebooted = |hours| {
        let host = Host { boot_id: Some([7; 16]), ..this() };
        Observer { host, ..observer(hours, 0) }
    };
    assert_eq!(ended(&repository, &observer(105, 0)), [], "less than 6 hours");
    assert_eq!(ended(&repository, &rebooted(500)), [], "another boot");
    assert_eq!(states(&repository, &rebooted(505)), [SessionState::Unknown(HOUR * 5)]);
    assert_eq!(ended(&repository, &observer(506, 0)), [], "the earlier boot is forgotten");
    let without_name = Observer { host: Host { boot_id: None, ..this() }, ..observer(900, 0) };
    assert_eq!(ended(&repository, &without_name), []);
    // It says something every hour.
    for hour in 0..20 {
        put_beat(&repository, id, u64::from(hour) + 1);
        assert_eq!(ended(&repository, &observer(600 + hour, 0)), []);
    }
    assert_eq!(states(&repository, &observer(620, 0)), [SessionState::Unknown(HOUR)]);
    assert_eq!(states(&repository, &observer(625, 0)), [SessionState::Silent(HOUR * 6)]);
    assert_eq!(ended(&repository, &observer(625, 0)), [id]);
}

#[test]
fn without_a_cache_nobody_is_silent() {
    let (_, repository) = new_repository();
    begin(&repository, &elsewhere());
    for hours in [1, 100] {
        assert_eq!(states(&repository, &observer(hours, 0)), [SessionState::Unknown(Duration::ZERO)]);
    }
}

#[test]
fn a_machine_that_slept_calls_no_neighbour_silent_for_that() {
    let (_folder, _, repository) = cached();
    // In another container of this machine.
    let neighbour = begin(&repository, &Host { process_namespace: Some(9), ..this() });
    assert_eq!(ended(&repository, &observer(10, 0)), []);
    assert_eq!(ended(&repository, &observer(20, 8)), [], "both slept");
    assert_eq!(ended(&repository, &observer(24, 8)), [neighbour]);
    // What runs here runs, however silent it is.
    begin(&repository, &this());
    for hours in [100, 200] {
        assert_eq!(states(&repository, &observer(hours, 0)), [SessionState::Running]);
    }
}

#[test]
fn without_proof_on_both_sides_only_a_person_ends_a_session() {
    let (_folder, memory, repository) = cached();
    let overwriting = open_overwriting(&memory);
    let unproven = begin(&overwriting, &gone());
    let silent = begin(&overwriting, &elsewhere());
    assert_eq!(ended(&repository, &observer(1, 0)), []);
    assert_eq!(ended(&repository, &observer(50, 0)), []);
    let views = list(&repository, &observer(51, 0)).unwrap();
    let states = [unproven, silent].map(|id| views.find(&id.hex()).unwrap().state);
    assert_eq!(states, [SessionState::Gone, SessionState::Silent(HOUR * 50)]);
    let proven = begin(&repository, &gone());
    let report = end_dead(&repository, &observer(52, 0), false).unwrap();
    assert_eq!((report.ended.len(), report.left.len()), (0, 3));
    assert!(end_dead(&overwriting, &observer(52, 0), true).unwrap().ended.is_empty());
    assert_eq!(ended(&repository, &observer(52, 0)), [proven]);
    assert_eq!(repository.end_session(unproven, "person").unwrap(), EndedNow::Ended);
}

#[test]
fn a_session_that_is_taken_for_dead_loses_its_run_and_no_data() {
    let (_folder, _, repository) = cached();
    let session = repository.start_session(&gone(), SessionOptions::default()).unwrap();
    session.store(ChunkKind::Data, &[4; 2000]).unwrap();
    assert_eq!(ended(&repository, &observer(1, 0)), [session.id()]);
    let snapshot = || crate::format::snapshot::Snapshot {
        parent: None,
        time: Timestamp::default(),
        ..crate::format::snapshot::tests::snapshot()
    };
    let error = session.commit(snapshot).unwrap_err();
    assert_eq!(error.kind().exit_code(), 11, "{error}");
    assert!(repository.snapshots().unwrap().visible.is_empty());
    let again = repository.start_session(&this(), SessionOptions::default()).unwrap();
    assert!(!again.store(ChunkKind::Data, &[4; 2000]).unwrap().is_new);
    let (id, _) = again.commit(snapshot).unwrap();
    let over = repository.end_session(id, "late").unwrap();
    assert_eq!(over, EndedNow::AlreadyOver(Over::Committed));
}

#[test]
fn a_session_is_found_by_the_beginning_of_its_name() {
    let (_, repository) = new_repository();
    let kind = |wanted: &str| {
        let views = list(&repository, &observer(1, 0)).unwrap();
        views.find(wanted).map(|view| view.session.id).map_err(|error| error.kind())
    };
    assert_eq!(kind(""), Err(ErrorKind::NotFound));
    let id = begin(&repository, &this());
    assert_eq!(kind(&id.short()), Ok(id));
    assert_eq!(kind(""), Err(ErrorKind::NotFound));
    assert_eq!(kind("x"), Err(ErrorKind::NotFound));
    let ids: Vec<SessionId> = (0..17).map(|_| begin(&repository, &this())).collect();
    let firsts: Vec<char> = ids.iter().filter_map(|id| id.hex().chars().next()).collect();
    let twice = firsts.iter().find(|first| firsts.iter().filter(|other| other == first).count() > 1);
    assert_eq!(kind(&twice.expect("17 digits of 16").to_string()), Err(ErrorKind::Usage));
}
