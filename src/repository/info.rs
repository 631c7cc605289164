//! What can be told of a repository as a whole.
//!
//! What must hold: numbers of objects are those of one listing each; nothing is fetched but key slots and snapshots.

use crate::base::{RepositoryId, Result, Timestamp};
use crate::format::config::{Features, Parameters, SUITE};
use crate::format::names;
use crate::format::sealing::VERSION;
use crate::repository::slots::SlotList;
use crate::repository::{Repository, SnapshotList};

/// So many objects of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCount {
    /// How many.
    pub count: u64,
    /// The sum of their stored sizes in bytes.
    pub size_bytes: u64,
}

impl ObjectCount {
    /// Counts one more object of so many bytes.
    pub(super) const fn add(&mut self, size_bytes: u64) {
        self.count += 1;
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
    }

    /// Counts others as well.
    pub const fn add_all(&mut self, others: Self) {
        self.count += others.count;
        self.size_bytes = self.size_bytes.saturating_add(others.size_bytes);
    }
}

/// What can be told of a repository as a whole.
#[derive(Debug)]
pub struct RepositoryInfo {
    /// Its random name.
    pub id: RepositoryId,
    /// Where it is.
    pub location: String,
    /// Version of the format.
    pub format_version: u8,
    /// Number of the set of algorithms: 1 is BLAKE3, ChaCha20-Poly1305, zstd.
    pub suite: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The generation of the key under which objects are sealed now.
    pub key_generation: u32,
    /// How input becomes chunks.
    pub parameters: Parameters,
    /// What a program must know to use it.
    pub features: Features,
    /// Its key slots.
    pub slots: SlotList,
    /// Its snapshots.
    pub snapshots: SnapshotList,
    /// Its packs.
    pub packs: ObjectCount,
    /// Its index runs.
    pub index_runs: ObjectCount,
}

impl Repository {
    /// Reads what can be told of the repository as a whole.
    pub fn info(&self) -> Result<RepositoryInfo> {
        Ok(RepositoryInfo {
            id: self.id(),
            location: self.location(),
            format_version: VERSION,
            suite: SUITE,
            created: self.config.created,
            key_generation: self.config.generation,
            parameters: self.config.parameters,
            features: self.config.features.clone(),
            slots: self.slots()?,
            snapshots: self.snapshots()?,
            packs: self.count(names::PACKS, |name| names::parse_pack(name).is_some())?,
            index_runs: self.count(names::INDEX, |name| names::parse_index(name).is_some())?,
        })
    }

    /// All objects that the repository consists of.
    pub fn stored(&self) -> Result<ObjectCount> {
        names::FOLDERS.into_iter().try_fold(ObjectCount::default(), |all, folder| {
            let these = self.count(folder, |_| true)?;
            let size_bytes = all.size_bytes.saturating_add(these.size_bytes);
            Ok(ObjectCount { count: all.count + these.count, size_bytes })
        })
    }

    fn count(&self, folder: &str, is_counted: impl Fn(&str) -> bool) -> Result<ObjectCount> {
        let mut objects = ObjectCount::default();
        self.storage.list(folder, None, &mut |listed| {
            if is_counted(listed.name.as_str()) {
                objects.count += 1;
                objects.size_bytes = objects.size_bytes.saturating_add(listed.size_bytes);
            }
            Ok(())
        })?;
        Ok(objects)
    }
}
