//! A storage for models: objects in memory that know in which order they came, and a power that can fail.
//!
//! What must hold: objects are chosen by the order of their creation, since their names are random; while the power is
//! off nothing changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::memory::Memory;
use packstone::storage::{Body, ObjectName, Storage};

/// Objects in memory.
#[derive(Debug)]
pub struct Disk {
    memory: Memory,
    created: Mutex<Vec<ObjectName>>,
    /// What damaged objects were.
    whole: Mutex<BTreeMap<ObjectName, Bytes>>,
    is_off: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// A disk that holds these objects.
    pub fn new(memory: Memory) -> Self {
        let created = Mutex::new(memory.names());
        Self { memory, created, whole: Mutex::default(), is_off: AtomicBool::new(false) }
    }

    /// Lets the power fail, or come back.
    pub fn set_off(&self, is_off: bool) {
        self.is_off.store(is_off, Ordering::SeqCst);
    }

    /// Whether an object is there.
    pub fn has(&self, name: &str) -> bool {
        ObjectName::parse(name).is_some_and(|name| self.memory.bytes(&name).is_some())
    }

    /// The object that was created so manieth of all that are there, counted in a circle.
    pub fn nth(&self, number: usize) -> Option<ObjectName> {
        let created = lock(&self.created);
        let there: Vec<&ObjectName> =
            created.iter().filter(|name| self.memory.bytes(name).is_some()).collect();
        number.checked_rem(there.len()).and_then(|number| there.get(number).copied().cloned())
    }

    /// Changes an object behind everybody's back; `None` takes it away.
    pub fn damage(&self, name: &ObjectName, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        let Some(bytes) = self.memory.bytes(name) else { return };
        let changed = change(&bytes);
        if changed.as_deref() != Some(&*bytes) {
            lock(&self.whole).entry(name.clone()).or_insert(bytes);
            match changed {
                Some(changed) => drop(self.memory.replace(name, changed)),
                None => drop(self.memory.remove(name)),
            }
        }
    }

    /// Puts damaged objects of these folders back as they were.
    pub fn repair(&self, is_meant: impl Fn(&str) -> bool) {
        let mut whole = lock(&self.whole);
        let (meant, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut *whole).into_iter().partition(|(name, _)| is_meant(name.folder()));
        *whole = rest;
        for (name, bytes) in meant {
            self.memory.replace(&name, bytes);
        }
    }

    /// Whether an object is not what it was.
    pub fn is_damaged(&self, name: &str) -> bool {
        lock(&self.whole).keys().any(|damaged| damaged.as_str() == name)
    }

    /// Whether any object of a folder is not what it was.
    pub fn has_damage(&self, folder: &str) -> bool {
        lock(&self.whole).keys().any(|damaged| damaged.folder() == folder)
    }

    /// Whether any object is not what it was.
    pub fn has_any_damage(&self) -> bool {
        !lock(&self.whole).is_empty()
    }

    fn powered(&self) -> Result<&Memory> {
        match self.is_off.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Failed, "the power is off")),
            false => Ok(&self.memory),
        }
    }
}

impl Storage for Disk {
    packstone::storage::forward_storage!(self => self.powered()?; get, get_range, list, barrier);
    packstone::storage::forward_storage!(self => self.memory; capabilities);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.powered()?.put_if_absent(name, body)?;
        lock(&self.whole).remove(name);
        lock(&self.created).push(name.clone());
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.powered()?.delete(name)?;
        lock(&self.whole).remove(name);
        Ok(())
    }

    fn location(&self) -> String {
        "disk:".to_owned()
    }
}
