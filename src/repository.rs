//! The heart: opens a repository, writes and reads chunks, commits snapshots. Every ordering rule is kept here.
//!
//! What must hold (format-spec chapter 14), and the code that relies on it cites these numbers:
//! 1. A commit key names only chunks whose packs and index runs are durable.
//! 2. An index run names only packs that are durable.
//! 3. A session is visible in storage before it reads what others write: collections, snapshots, tombstones, then the
//!    index.
//! 4. No chunk is reused from a pack that a collection blocks.
//! 5. A session ends by its commit key in every case that leaves the process alive.

mod audit;
mod beats;
mod checkpoint;
mod collect;
mod collections;
mod compact;
mod forgotten;
mod held;
mod index;
mod info;
mod init;
mod marks;
mod memory;
mod object;
mod open;
mod own;
mod pack;
mod plan;
mod reader;
mod records;
mod repack;
mod seen_config;
mod segment;
mod session;
mod sessions;
mod slots;
mod snapshots;
mod thaw;
mod transfer;
mod tree_cache;
mod uploads;
mod view;

pub use crate::compress::Compression;
pub use crate::crypto::ChunkKind;
pub use audit::{
    Audit, Counted, DAMAGES_KEPT_MAX, Damage, Leftovers, PacksRead, StorageSummary, TreeChunk, Whereabouts,
    check_storage,
};
pub use collect::{AllOver, Decided, OpenCollection, Pruner};
pub use compact::Compacted;
pub use info::{ObjectCount, RepositoryInfo};
pub use init::InitOptions;
pub use marks::{Marked, Marks};
pub use memory::{MEMORY_BYTES, MemoryLimit};
pub use open::FoundRepository;
pub use plan::{MaxUnused, PlanOptions, PrunePlan};
pub use reader::{ChunkSize, Placement, Reader, Segment, SegmentKey};
pub use repack::Repacked;
pub use session::{Session, SessionOptions, Stored};
pub use sessions::{EndedNow, LiveSession, Over};
pub use slots::{NewSlot, OwnSlot, SlotEntry, SlotList, SlotState};
pub use snapshots::{GroupKey, Grouping, SnapshotEntry, SnapshotFilter, SnapshotList};
pub use transfer::{Lack, Unreadable};
pub use tree_cache::CACHE_BYTES;
pub use view::{Forgotten, MarkAll, View};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{RepositoryId, Result};
use crate::chunker::Cutter;
use crate::crypto::{Keys, Secret, seal};
use crate::format::config::{Config, Parameters};
use crate::format::sealing::ObjectKind;
use crate::repository::records::Records;
use crate::repository::tree_cache::TreeCache;
use crate::storage::Storage;

/// An opened repository.
#[derive(Debug)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    config: Config,
    keys: Arc<Keys>,
    /// The key slot that gave the keys.
    own_slot: OwnSlot,
    cache_folder: Option<PathBuf>,
    records: Records,
    trees: TreeCache,
    memory: MemoryLimit,
}

impl Repository {
    /// With the usual limits; what this machine keeps of it lies in the folder.
    fn of(
        storage: Arc<dyn Storage>,
        config: Config,
        keys: Keys,
        own_slot: OwnSlot,
        cache_folder: Option<PathBuf>,
    ) -> Self {
        let records = Records::new(cache_folder.as_deref());
        let (keys, memory) = (Arc::new(keys), MemoryLimit::default());
        let mut repository = Self {
            storage,
            config,
            keys,
            own_slot,
            cache_folder,
            records,
            trees: TreeCache::default(),
            memory,
        };
        repository.limit_cache(CACHE_BYTES);
        repository
    }

    /// Its random name.
    pub const fn id(&self) -> RepositoryId {
        self.config.repository
    }

    /// How input becomes chunks.
    pub const fn parameters(&self) -> &Parameters {
        &self.config.parameters
    }

    /// Whether equal input becomes equal chunks and pages in both, under the same names.
    pub fn is_sibling_of(&self, other: &Self) -> bool {
        let shape = |repository: &Self| {
            let Parameters { chunking, bundling, paging, .. } = repository.config.parameters;
            (chunking, bundling, paging)
        };
        self.keys.is_sibling_of(&other.keys) && shape(self) == shape(other)
    }

    /// Where it is, for messages.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// The cutter for content.
    pub fn cutter(&self) -> Result<Cutter> {
        Cutter::new(&self.config.parameters, self.keys.gear_table())
    }

    /// The number by which a name at a level of tree pages decides where pages and bundles end.
    pub fn name_number(&self, level: u8, name: &[u8]) -> u64 {
        self.keys.name_number(level, name)
    }

    /// Limits what works on this repository to so much memory.
    pub fn limit_memory(&mut self, memory: MemoryLimit) {
        self.memory = memory;
    }

    /// Keeps at most so many bytes on this machine. What a run cannot do without, as the table of the index, is kept also
    /// beyond that; none of it but for a storage that takes time.
    pub fn limit_cache(&mut self, bytes: u64) {
        // What counts its requests is not on this machine.
        let folder = self.cache_folder.as_deref().filter(|_| self.storage.traffic().is_some());
        self.trees = TreeCache::new(folder, bytes);
    }

    /// The limit on memory, and its shares.
    pub const fn memory(&self) -> MemoryLimit {
        self.memory
    }

    /// How many threads read at a time: those that there are processors for, more where reading takes time rather than
    /// the processor, and no more than there is memory for.
    pub fn reader_count(&self) -> usize {
        reader_count(&*self.storage, self.memory)
    }

    /// The folder for what this machine keeps of this repository, if it may keep anything.
    pub fn cache_folder(&self) -> Option<&Path> {
        self.cache_folder.as_deref()
    }

    /// A key for codes of what this machine keeps of this repository for a purpose.
    pub fn local_key(&self, purpose: &str) -> Result<Secret> {
        let key = self.keys.subkey(ObjectKind::IndexRun, self.config.generation)?;
        Ok(Secret::new(*blake3::keyed_hash(key.expose(), purpose.as_bytes()).as_bytes()))
    }

    fn context<'a>(&self, kind: ObjectKind, generation: u32, name: Option<&'a str>) -> seal::Context<'a> {
        seal::Context { kind, generation, repository: self.config.repository, name }
    }
}

/// The same for a storage that nobody has opened as a repository.
fn reader_count(storage: &dyn Storage, memory: MemoryLimit) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    memory.workers(processors.max(storage.parallel_calls()))
}

#[cfg(test)]
pub(crate) mod tests;
