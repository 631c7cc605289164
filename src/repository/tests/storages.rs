//! Storages that keep less than they promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Memory, key};
use crate::base::{Error, ErrorKind, Result};
use crate::repository::Repository;
use crate::storage::{Body, Capabilities, Listed, ObjectName, Storage};

/// Says that creation is not atomic, or that it is and overwrites.
#[derive(Debug)]
pub(crate) struct Overwriting {
    pub(crate) memory: Memory,
    pub(crate) says_atomic: bool,
}

impl Storage for Overwriting {
    crate::storage::forward_storage!(self => self.memory; get, get_range, list, delete, barrier, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.memory.remove(name);
        self.memory.put_if_absent(name, body)
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_create: Some(self.says_atomic) }
    }
}

/// Opens it on a way on which creation overwrites.
pub(crate) fn open_overwriting(memory: &Memory) -> Repository {
    let storage = Overwriting { memory: memory.clone(), says_atomic: false };
    Repository::open(Arc::new(storage), &key(1), None).unwrap()
}

/// Fails the second creation of a session's record.
#[derive(Debug)]
pub(super) struct SecondStartFails(Memory, AtomicUsize);

impl SecondStartFails {
    pub(super) fn new(memory: Memory) -> Self {
        Self(memory, AtomicUsize::new(0))
    }
}

impl Storage for SecondStartFails {
    crate::storage::forward_storage!(self => self.0; get, get_range, list, delete, barrier, capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let is_start = name.as_str().ends_with("/start");
        if is_start && self.1.fetch_add(1, Ordering::SeqCst) == 1 {
            return Err(Error::new(ErrorKind::OutOfSpace, "full"));
        }
        self.0.put_if_absent(name, body)
    }
}

/// Lets somebody else do something right after a folder is listed for the first time.
#[derive(Debug)]
pub(crate) struct AfterListing {
    memory: Memory,
    folder: &'static str,
    then: fn(&Memory),
    is_done: AtomicBool,
}

/// Opens it on a way on which somebody does `then` after this folder is listed for the first time.
pub(crate) fn open_after_listing(memory: &Memory, folder: &'static str, then: fn(&Memory)) -> Repository {
    let storage = AfterListing { memory: memory.clone(), folder, then, is_done: AtomicBool::new(false) };
    Repository::open(Arc::new(storage), &key(1), None).unwrap()
}

impl Storage for AfterListing {
    crate::storage::forward_storage!(self => self.memory; put_if_absent, get, get_range, delete, barrier, capabilities, location);

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        self.memory.list(folder, start_after, visit)?;
        if folder == self.folder && !self.is_done.swap(true, Ordering::SeqCst) {
            (self.then)(&self.memory);
        }
        Ok(())
    }
}

/// Lists the objects of a folder, and finds none of them.
#[derive(Debug)]
struct Hiding {
    memory: Memory,
    folder: &'static str,
}

/// Opens it on a way on which no object of this folder is found, though all are listed.
pub(crate) fn open_hiding(memory: &Memory, folder: &'static str) -> Repository {
    Repository::open(Arc::new(Hiding { memory: memory.clone(), folder }), &key(1), None).unwrap()
}

impl Storage for Hiding {
    crate::storage::forward_storage!(
        self => self.memory; put_if_absent, get_range, list, delete, barrier, capabilities, location
    );

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        match name.folder() == self.folder {
            true => Err(Error::new(ErrorKind::NotFound, format!("object {name} not found"))),
            false => self.memory.get(name, size_bytes_max),
        }
    }
}
