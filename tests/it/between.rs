//! What others do between two steps of one process: single orders that are too rare to be met by chance.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use packstone::base::host::Host;
use packstone::base::{SessionId, Silent};
use packstone::format::config::{Packing, Parameters};
use packstone::ops::backup::{BackupOptions, backup_paths};
use packstone::ops::prune::prepare;
use packstone::repository::{Repository, Session, SessionOptions};
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use crate::engine::{give_back, init};
use crate::faults::scenario;
use crate::process::{dead_host, forget, open, prune, prune_options};
use crate::storage::{Call, Deed, Director, Interposed, Sort, World, copy};
use crate::support::dump::{assert_same, dump};
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::witness::{PARAMETERS, Sources};

/// All that a small source has is in one pack.
const ONE_PACK: Parameters =
    Parameters { packing: Packing { segment_bytes: 16 << 10, pack_bytes: 64 << 10 }, ..PARAMETERS };

/// A directory with files, each of content of its own.
fn source(scratch: &Scratch, name: &str, files: &[u64]) {
    std::fs::create_dir(scratch.join(name)).unwrap();
    for file in files {
        std::fs::write(scratch.join(name).join(file.to_string()), Random::new(*file).bytes(3000)).unwrap();
    }
}

fn back_up(storage: Arc<dyn Storage>, path: &Path) -> SessionId {
    let options = BackupOptions { workers: 1, margin_seconds: Some(0), ..BackupOptions::new(dead_host()) };
    let repository = open(storage).unwrap();
    backup_paths(&repository, &[path.to_owned()], path, &options, &Silent).unwrap().id
}

#[test]
fn what_was_planned_long_ago_is_not_condemned_by_what_was_seen_then() {
    let scratch = Scratch::new();
    for (name, files) in [("1-2", &[1, 2][..]), ("1-3", &[1, 3]), ("1", &[1]), ("3", &[3])] {
        source(&scratch, name, files);
    }
    crate::engine::pass_tick();
    // Two at once store file 1, each in a pack with another file.
    let memory = Memory::new();
    init(Arc::new(memory.clone()), ONE_PACK, None);
    let world = World::new(memory.clone());
    // The one who will decide looks for the first time, so that it finds nothing needed.
    let options = prune_options(&dead_host());
    let storage_of_decider = world.calm();
    let decider = open(storage_of_decider.clone()).unwrap();
    let decider = prepare(&decider, &options, &Silent).unwrap();
    let other = copy(&memory);
    let with_2 = back_up(Arc::new(memory.clone()), &scratch.join("1-2"));
    let with_3 = back_up(Arc::new(other.clone()), &scratch.join("1-3"));
    other.names().iter().for_each(|name| drop(memory.replace(name, other.bytes(name).unwrap())));
    let only = back_up(world.calm(), &scratch.join("1"));
    forget(world.calm(), with_3).unwrap();
    // The one who will condemn finds that of file 1 the copy beside file 3 can go.
    let planner = open(world.calm()).unwrap();
    let planner = prepare(&planner, &options, &Silent).unwrap();
    assert!(planner.plan().remove.count > 0, "{:?}", planner.plan());
    // Then a third finds that it is the other one, which goes.
    let only_3 = back_up(world.calm(), &scratch.join("3"));
    forget(world.calm(), with_2).unwrap();
    assert!(prune(world.calm(), &dead_host()).unwrap().removed.count > 0);
    forget(world.calm(), only_3).unwrap();
    // What was planned is condemned, unless that is refused, and cannot be decided yet.
    let running = open(world.calm()).unwrap();
    let running = running.start_session(&Host::current(), SessionOptions::default()).unwrap();
    planner.run(&options, &Silent).unwrap();
    running.close().unwrap();
    // While another decides, once it has listed the sessions, one begins; what that one may name again without looking
    // is forgotten.
    let others = world.clone();
    let begun: Arc<Mutex<Option<Session<'static>>>> = Arc::default();
    let to_begin = Arc::clone(&begun);
    let begin = move || {
        let repository: &'static Repository = Box::leak(Box::new(open(others.calm()).unwrap()));
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        forget(others.calm(), only).unwrap();
        *to_begin.lock().unwrap() = Some(session);
    };
    let are_listed = |before: &[Call], call: &Call| {
        let lists = before.iter().chain([call]).filter(|call| call.sort == Sort::List);
        let lists: Vec<&str> = lists.map(|call| call.name.as_str()).collect();
        lists.ends_with(&["collections", "sessions", "snapshots", "forgotten"])
    };
    storage_of_decider.direct(Arc::new(Interposed::new(are_listed, begin)));
    decider.run(&options, &Silent).unwrap();
    if let Some(session) = begun.lock().unwrap().take() {
        let taken_over = session.snapshots().visible.iter().find(|entry| entry.id == only).unwrap();
        let snapshot = taken_over.snapshot.clone();
        match session.may_take_over(&only) {
            true => drop(session.commit(|| snapshot).unwrap()),
            false => session.close().unwrap(),
        }
    }
    let repository = open(world.calm()).unwrap();
    let visible = repository.snapshots().unwrap().visible;
    assert!(!visible.is_empty());
    for entry in visible {
        let [path] = entry.snapshot.paths.as_slice() else { panic!("one source each") };
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let target = scratch.join(&entry.id.hex());
        give_back(&repository, entry.id, Some(path), &target);
        assert_same(&dump(path), &dump(&target));
    }
}

/// Index runs that another merged go, each just before it is asked for.
#[derive(Debug)]
struct Vanishing {
    memory: Memory,
    merged: Vec<ObjectName>,
}

impl Director for Vanishing {
    fn decide(&self, call: &Call) -> Deed {
        if let Some(name) =
            self.merged.iter().find(|name| call.sort == Sort::Get && name.as_str() == call.name)
        {
            self.memory.remove(name);
        }
        Deed::Do
    }
}

#[test]
fn index_runs_may_go_as_fast_as_they_are_read() {
    let sources = Sources::new();
    let before = scenario::prune_many_runs(&sources).image;
    let after = copy(&before);
    prune(Arc::new(after.clone()), &dead_host()).unwrap();
    let merged = before.names().into_iter().filter(|name| name.folder() == "index");
    let merged: Vec<ObjectName> = merged.filter(|name| after.bytes(name).is_none()).collect();
    assert!(merged.len() > 6, "{}", merged.len());
    merged.iter().for_each(|name| drop(after.replace(name, before.bytes(name).unwrap())));
    let world = World::new(after.clone());
    let reader = open(world.handle(Arc::new(Vanishing { memory: after.clone(), merged }))).unwrap();
    assert_eq!(sources.judge(&reader).unwrap().len(), 5);
}
