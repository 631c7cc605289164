//! A fault at every storage call of a backup: what was committed before stays, and the next run succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use packstone::base::host::Host;
use packstone::base::{Error, ErrorKind, Result, Silent};
use packstone::format::config::Parameters;
use packstone::ops::backup::{BackupOptions, backup_paths};
use packstone::ops::restore::{RestoreOptions, restore};
use packstone::repository::{InitOptions, NewSlot, Repository, SessionOptions};
use packstone::storage::memory::Memory;
use packstone::storage::{Body, Capabilities, Listed, ObjectName, Storage};

use crate::engine::{init, key};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The call fails and does nothing.
    Before,
    /// The call does its work and fails all the same.
    After,
    /// From this call on, nothing works: the process is as good as dead.
    Forever,
}

/// Fails at one call.
#[derive(Debug)]
struct Faulty {
    memory: Memory,
    calls: AtomicUsize,
    at: usize,
    fault: Fault,
}

impl Faulty {
    fn call<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = || Err(Error::new(ErrorKind::Failed, "a fault that the test made"));
        match self.fault {
            Fault::Before if number == self.at => fails(),
            Fault::After if number == self.at => work().and_then(|_| fails()),
            Fault::Forever if number >= self.at => fails(),
            _ => work(),
        }
    }
}

impl Storage for Faulty {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.call(|| self.memory.put_if_absent(name, body))
    }
    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.call(|| self.memory.get(name, size_bytes_max))
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.call(|| self.memory.get_range(name, offset, length))
    }
    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        self.call(|| self.memory.list(folder, start_after, visit))
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.call(|| self.memory.delete(name))
    }
    fn barrier(&self) -> Result<()> {
        self.call(|| self.memory.barrier())
    }
    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }
    fn location(&self) -> String {
        self.memory.location()
    }
}

fn copy(memory: &Memory) -> Memory {
    let copy = Memory::new();
    for name in memory.names() {
        copy.replace(&name, memory.bytes(&name).unwrap());
    }
    copy
}

fn open(storage: Arc<dyn Storage>) -> Result<Repository> {
    Repository::open(storage, &key(), None)
}

fn back_up(repository: &Repository, scratch: &Scratch, source: &str) -> Result<()> {
    let session =
        SessionOptions { checkpoint_interval: std::time::Duration::ZERO, ..SessionOptions::default() };
    let options = BackupOptions { workers: 1, session, ..BackupOptions::new(Host::current()) };
    backup_paths(repository, &[scratch.join(source)], scratch.path(), &options, &Silent).map(drop)
}

fn assert_restores(repository: &Repository, scratch: &Scratch, source: &str, count: usize) {
    let snapshots = repository.snapshots().unwrap();
    assert_eq!(snapshots.visible.len(), count);
    assert!(snapshots.damaged.is_empty());
    let path = scratch.join(source);
    let path = path.as_os_str().as_encoded_bytes();
    let held = snapshots.visible.iter().rev().find(|entry| entry.snapshot.paths == [path.to_vec()]).unwrap();
    let target = Scratch::new();
    let restored =
        restore(repository, held, Some(path), &target.join("t"), &RestoreOptions::default(), &Silent)
            .unwrap();
    assert_eq!(restored.findings, 0);
    assert_same(&dump(&scratch.join(source)), &dump(&target.join("t")));
}

#[test]
fn no_fault_at_any_call_of_a_backup_loses_anything() {
    let scratch = Scratch::new();
    generate(3, &scratch.join("first"), Size::Small);
    generate(4, &scratch.join("second"), Size::Small);
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    back_up(&repository, &scratch, "first").unwrap();
    let mut tried = 0;
    for fault in [Fault::Before, Fault::After, Fault::Forever] {
        let mut at = 0;
        loop {
            let memory = copy(&memory);
            let storage = Arc::new(Faulty { memory: memory.clone(), calls: AtomicUsize::new(0), at, fault });
            let outcome =
                open(storage.clone()).and_then(|repository| back_up(&repository, &scratch, "second"));
            let calls = storage.calls.load(Ordering::SeqCst);
            if calls <= at {
                outcome.unwrap();
                break;
            }
            let repository = open(Arc::new(memory.clone())).unwrap();
            let count = repository.snapshots().unwrap().visible.len();
            // A failure after the commit, as of the last barrier, leaves a snapshot that was not called a success.
            assert!((1..=2).contains(&count), "{fault:?} at call {at}");
            assert!(outcome.is_err() || count == 2, "success without a snapshot: {fault:?} at call {at}");
            assert_restores(&repository, &scratch, "first", count);
            back_up(&repository, &scratch, "second").unwrap();
            assert_restores(&repository, &scratch, "second", count + 1);
            tried += 1;
            at += 1;
        }
    }
    println!("{tried} faults");
    assert!(tried > 60, "{tried}");
}

#[test]
fn an_interrupted_creation_of_a_repository_can_be_repeated() {
    for fault in [Fault::Before, Fault::After, Fault::Forever] {
        let mut at = 0;
        loop {
            let memory = Memory::new();
            let storage = Arc::new(Faulty { memory: memory.clone(), calls: AtomicUsize::new(0), at, fault });
            let init = |storage: Arc<dyn Storage>| {
                let options = InitOptions {
                    parameters: Parameters::tiny(),
                    slots: vec![NewSlot { credential: key(), label: String::new() }],
                    password_cost: packstone::format::slot::PasswordCost::RECOMMENDED,
                    cache_folder: None,
                };
                Repository::init(storage, options)
            };
            let outcome = init(storage.clone());
            if storage.calls.load(Ordering::SeqCst) <= at {
                assert!(outcome.is_ok());
                break;
            }
            match init(Arc::new(memory.clone())) {
                Ok(_) => {}
                // The config was written before the fault: the repository is there and opens.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{fault:?} at call {at}"),
            }
            assert!(open(Arc::new(memory)).is_ok());
            at += 1;
        }
        assert!(at >= 4);
    }
}
