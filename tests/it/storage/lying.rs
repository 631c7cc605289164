//! Storages that break the contract in one way, to show that what it promises is needed, and that tests which look for
//! losses find them.

use bytes::Bytes;
use packstone::base::Result;
use packstone::storage::memory::Memory;
use packstone::storage::{Body, Listed, ObjectName, Storage};

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Objects of this folder can be created again, and the last creation counts.
    Overwrites(&'static str),
    /// Listings of this folder show what was there when the storage was opened.
    Stale(&'static str),
}

/// A storage in memory that lies.
#[derive(Debug)]
pub struct Lying {
    memory: Memory,
    lie: Lie,
    /// What was there when it was opened.
    old: Vec<ObjectName>,
}

impl Lying {
    /// These objects, through a lie.
    pub fn new(memory: Memory, lie: Lie) -> Self {
        let old = memory.names();
        Self { memory, lie, old }
    }
}

impl Storage for Lying {
    packstone::storage::forward_storage!(self => self.memory; get, get_range, delete, barrier, capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        if matches!(self.lie, Lie::Overwrites(folder) if folder == name.folder()) {
            self.memory.replace(name, Bytes::from(body.concat()));
            return Ok(());
        }
        self.memory.put_if_absent(name, body)
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let is_stale = matches!(self.lie, Lie::Stale(stale) if folder.starts_with(stale));
        self.memory.list(folder, start_after, &mut |listed| {
            if is_stale && self.old.binary_search(&listed.name).is_err() { Ok(()) } else { visit(listed) }
        })
    }
}
