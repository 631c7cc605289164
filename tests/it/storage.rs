//! A storage in which any call can go wrong in any way that the contract of storages allows, and what happens late
//! happens late.
//!
//! What must hold: several handles, each the storage as one process sees it, share one `World`; before each call of a
//! handle its `Director` is asked what becomes of it. Nothing here breaks the contract of `packstone::storage`: an
//! object is there whole or not at all, and what a call reported as done is seen by all that begins later. Storages
//! that do break it are in `lying`.

pub mod lying;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::memory::Memory;
use packstone::storage::{Body, Listed, ObjectName, Storage};

/// What is asked of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Put,
    Get,
    Range,
    List,
    Delete,
    Barrier,
}

impl Sort {
    /// It changes nothing.
    pub const fn is_reading(self) -> bool {
        matches!(self, Self::Get | Self::Range | Self::List)
    }
}

/// One call of a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Calls of the same handle before it.
    pub number: usize,
    /// What is asked.
    pub sort: Sort,
    /// The object or the folder; empty for a barrier.
    pub name: String,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is done.
    Do,
    /// It fails and has done nothing. After a barrier that failed so, nothing can be put (the contract calls it final).
    FailBefore,
    /// It is done, but its answer is lost. Of a listing, everything was visited.
    FailAfter,
    /// It breaks in the middle. A put leaves nothing, since objects are whole or not at all, and says that there is no
    /// room; a read got fewer bytes than there are and says so; a listing visits one half; a delete is forbidden.
    Torn,
    /// It is done, and a put or a delete arrives a second time after so many further calls of all handles.
    Twice(u64),
    /// It fails, and a put or a delete arrives after so many further calls of all handles.
    Late(u64),
    /// From now on nothing works for this handle: its process is gone. This call itself is done or not.
    Die {
        /// It is done.
        done: bool,
    },
    /// The machine loses its power before this call. What the process put and deleted since its last barrier did not
    /// happen, but for what is kept.
    LosePower(Kept),
}

/// What of that which no barrier made durable is there after a loss of power. The contract allows any part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// What was done last.
    Last,
}

/// As a count of further calls: only once `World::settle` is called.
pub const AT_THE_END: u64 = u64::MAX;

/// Decides what becomes of the calls of one handle.
pub trait Director: Send + Sync + Debug {
    /// Asked before each call.
    fn decide(&self, call: &Call) -> Deed;
}

/// Nothing goes wrong.
#[derive(Debug)]
pub struct Calm;

impl Director for Calm {
    fn decide(&self, _call: &Call) -> Deed {
        Deed::Do
    }
}

/// Nothing goes wrong, and the names that are asked for are remembered.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<BTreeSet<String>>);

impl Recorder {
    /// All names until now.
    pub fn names(&self) -> BTreeSet<String> {
        lock(&self.0).clone()
    }
}

impl Director for Recorder {
    fn decide(&self, call: &Call) -> Deed {
        lock(&self.0).insert(call.name.clone());
        Deed::Do
    }
}

/// The process is gone at the first call of which this says so, which is not done.
#[derive(Debug)]
pub struct DiesAt(pub fn(&Call) -> bool);

impl Director for DiesAt {
    fn decide(&self, call: &Call) -> Deed {
        if (self.0)(call) { Deed::Die { done: false } } else { Deed::Do }
    }
}

/// Something else happens, once, before a certain call.
pub struct Interposed<F> {
    is_moment: fn(&[Call], &Call) -> bool,
    calls: Mutex<(Vec<Call>, Option<F>)>,
}

impl<F: FnOnce() + Send> Interposed<F> {
    /// Before the first call of which `is_moment`, given the calls before, says so, this is done.
    pub fn new(is_moment: fn(&[Call], &Call) -> bool, action: F) -> Self {
        Self { is_moment, calls: Mutex::new((Vec::new(), Some(action))) }
    }
}

impl<F> Debug for Interposed<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("something else happens")
    }
}

impl<F: FnOnce() + Send> Director for Interposed<F> {
    fn decide(&self, call: &Call) -> Deed {
        let mut calls = lock(&self.calls);
        let action = if (self.is_moment)(&calls.0, call) { calls.1.take() } else { None };
        calls.0.push(call.clone());
        drop(calls);
        if let Some(action) = action {
            action();
        }
        Deed::Do
    }
}

/// Something that is on its way through the network.
#[derive(Debug)]
enum Arrival {
    Put(ObjectName, Bytes),
    Delete(ObjectName),
}

#[derive(Debug)]
struct Shared {
    memory: Memory,
    storage: Arc<dyn Storage>,
    calls: AtomicU64,
    /// With the number of the call before which it arrives.
    late: Mutex<Vec<(u64, Arrival)>>,
}

/// Something that no barrier has made durable yet.
#[derive(Debug)]
enum Undurable {
    Put(ObjectName),
    Deleted(ObjectName, Bytes),
}

/// One storage with everything that is on its way to it.
#[derive(Clone, Debug)]
pub struct World(Arc<Shared>);

impl World {
    /// A storage with these objects. Clones of the memory see what happens to it.
    pub fn new(memory: Memory) -> Self {
        Self::through(Arc::new(memory.clone()), memory)
    }

    /// As `new`, but all calls go through `storage`, which keeps its objects in `memory`.
    pub fn through(storage: Arc<dyn Storage>, memory: Memory) -> Self {
        Self(Arc::new(Shared { memory, storage, calls: AtomicU64::new(0), late: Mutex::default() }))
    }

    /// The objects.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The storage as one process sees it.
    pub fn handle(&self, director: Arc<dyn Director>) -> Arc<Handle> {
        Arc::new(Handle {
            world: self.clone(),
            director: Mutex::new(director),
            calls: AtomicUsize::new(0),
            undurable: Mutex::default(),
            is_dead: AtomicBool::new(false),
            cannot_put: AtomicBool::new(false),
        })
    }

    /// A handle for which nothing goes wrong.
    pub fn calm(&self) -> Arc<Handle> {
        self.handle(Arc::new(Calm))
    }

    /// Everything that is on its way arrives. How much that was.
    pub fn settle(&self) -> usize {
        let late = std::mem::take(&mut *lock(&self.0.late));
        let count = late.len();
        late.into_iter().for_each(|(_, arrival)| self.arrive(arrival));
        count
    }

    fn send(&self, after: u64, arrival: Arrival) {
        let due = self.0.calls.load(Ordering::SeqCst).saturating_add(1).saturating_add(after);
        lock(&self.0.late).push((due, arrival));
    }

    fn count_call(&self) {
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst);
        let mut late = lock(&self.0.late);
        let due: Vec<(u64, Arrival)> = late.extract_if(.., |(due, _)| *due <= number).collect();
        drop(late);
        due.into_iter().for_each(|(_, arrival)| self.arrive(arrival));
    }

    /// Nobody hears what becomes of it.
    fn arrive(&self, arrival: Arrival) {
        let _ = match arrival {
            Arrival::Put(name, bytes) => self.0.storage.put_if_absent(&name, &[bytes]),
            Arrival::Delete(name) => self.0.storage.delete(&name),
        };
    }
}

/// The same objects in another storage; the bytes are shared.
pub fn copy(memory: &Memory) -> Memory {
    let copy = Memory::new();
    for name in memory.names() {
        copy.replace(&name, memory.bytes(&name).expect("nobody else takes objects away"));
    }
    copy
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The storage as one process sees it.
#[derive(Debug)]
pub struct Handle {
    world: World,
    director: Mutex<Arc<dyn Director>>,
    calls: AtomicUsize,
    undurable: Mutex<Vec<Undurable>>,
    is_dead: AtomicBool,
    cannot_put: AtomicBool,
}

impl Handle {
    /// From now on somebody else decides.
    pub fn direct(&self, director: Arc<dyn Director>) {
        *lock(&self.director) = director;
    }

    /// The machine loses its power.
    pub fn lose_power(&self, kept: Kept) {
        self.is_dead.store(true, Ordering::SeqCst);
        let mut undurable = std::mem::take(&mut *lock(&self.undurable));
        if kept == Kept::Last {
            undurable.pop();
        }
        for change in undurable.into_iter().rev() {
            match change {
                Undurable::Put(name) => drop(self.world.memory().remove(&name)),
                Undurable::Deleted(name, bytes) => drop(self.world.memory().replace(&name, bytes)),
            }
        }
    }

    /// Asks what becomes of a call. An error if there is nobody any more who could make it.
    fn decide(&self, sort: Sort, name: &str) -> Result<Deed> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let call = Call { number, sort, name: name.to_owned() };
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(fault("the process is gone"));
        }
        let director = Arc::clone(&lock(&self.director));
        let deed = director.decide(&call);
        self.world.count_call();
        match deed {
            Deed::Die { .. } => self.is_dead.store(true, Ordering::SeqCst),
            Deed::LosePower(kept) => {
                self.lose_power(kept);
                return Err(fault("there is no power"));
            }
            _ => {}
        }
        if matches!(sort, Sort::Put | Sort::Barrier) && self.cannot_put.load(Ordering::SeqCst) {
            return Err(fault("an earlier barrier failed"));
        }
        Ok(deed)
    }

    /// A call that only reads.
    fn read<T>(&self, sort: Sort, name: &str, work: &dyn Fn() -> Result<T>) -> Result<T> {
        match self.decide(sort, name)? {
            Deed::Do => work(),
            Deed::Twice(_) => work().and_then(|_| work()),
            Deed::FailBefore | Deed::Late(_) | Deed::Die { done: false } | Deed::LosePower(_) => {
                Err(fault("no answer"))
            }
            Deed::FailAfter | Deed::Die { done: true } => {
                work().and_then(|_| Err(fault("the answer was lost")))
            }
            Deed::Torn => work().and_then(|_| {
                Err(Error::new(ErrorKind::Damaged, "the answer is too short, as the test wants"))
            }),
        }
    }

    /// A call that changes something, and what arrives if it comes late.
    fn change(
        &self,
        deed: Deed,
        torn: ErrorKind,
        work: &dyn Fn() -> Result<()>,
        arrival: Arrival,
    ) -> Result<()> {
        match deed {
            Deed::Do => work(),
            Deed::FailBefore | Deed::Die { done: false } | Deed::LosePower(_) => {
                Err(fault("it was not done"))
            }
            Deed::FailAfter | Deed::Die { done: true } => {
                work().and_then(|()| Err(fault("the answer was lost")))
            }
            Deed::Torn => Err(Error::new(torn, "it broke in the middle, as the test wants")),
            Deed::Twice(after) => {
                let outcome = work();
                self.world.send(after, arrival);
                outcome
            }
            Deed::Late(after) => {
                self.world.send(after, arrival);
                Err(fault("no answer"))
            }
        }
    }
}

fn fault(what: &str) -> Error {
    Error::new(ErrorKind::Failed, format!("{what}, as the test wants"))
}

impl Storage for Handle {
    packstone::storage::forward_storage!(self => self.world.0.storage; capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let deed = self.decide(Sort::Put, name.as_str())?;
        let bytes = Bytes::from(body.concat());
        let work = || {
            self.world.0.storage.put_if_absent(name, std::slice::from_ref(&bytes))?;
            lock(&self.undurable).push(Undurable::Put(name.clone()));
            Ok(())
        };
        self.change(deed, ErrorKind::OutOfSpace, &work, Arrival::Put(name.clone(), bytes.clone()))
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.read(Sort::Get, name.as_str(), &|| self.world.0.storage.get(name, size_bytes_max))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.read(Sort::Range, name.as_str(), &|| self.world.0.storage.get_range(name, offset, length))
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let deed = self.decide(Sort::List, folder)?;
        // What is listed is seen at one moment, whatever the visitor does.
        let mut found = Vec::new();
        self.world.0.storage.list(folder, start_after, &mut |listed| {
            found.push(listed);
            Ok(())
        })?;
        let (visited, outcome) = match deed {
            Deed::Do | Deed::Twice(_) => (found.len(), Ok(())),
            Deed::FailBefore | Deed::Late(_) | Deed::Die { done: false } | Deed::LosePower(_) => {
                (0, Err(fault("no answer")))
            }
            Deed::FailAfter | Deed::Die { done: true } => {
                (found.len(), Err(fault("the last page is missing")))
            }
            Deed::Torn => (found.len() / 2, Err(fault("the listing broke off"))),
        };
        found.into_iter().take(visited).try_for_each(visit)?;
        outcome
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        let deed = self.decide(Sort::Delete, name.as_str())?;
        let work = || {
            let bytes = self.world.memory().bytes(name).unwrap_or_default();
            self.world.0.storage.delete(name)?;
            lock(&self.undurable).push(Undurable::Deleted(name.clone(), bytes));
            Ok(())
        };
        self.change(deed, ErrorKind::Denied, &work, Arrival::Delete(name.clone()))
    }

    fn barrier(&self) -> Result<()> {
        let deed = self.decide(Sort::Barrier, "")?;
        let is_done = matches!(deed, Deed::Do | Deed::Twice(_) | Deed::FailAfter | Deed::Die { done: true });
        if is_done {
            lock(&self.undurable).clear();
        }
        match deed {
            Deed::Do | Deed::Twice(_) => Ok(()),
            Deed::FailAfter | Deed::Die { .. } | Deed::LosePower(_) => Err(fault("the answer was lost")),
            Deed::FailBefore | Deed::Torn | Deed::Late(_) => {
                self.cannot_put.store(true, Ordering::SeqCst);
                Err(fault("it is not durable"))
            }
        }
    }
}
