//! How the memory that a process may take is divided among what works on a repository.
//!
//! What must hold: the shares of one backup together stay within the limit, with segments and packs that are half full
//! on average: for each worker three open segments, what it reads and what it compresses; two packs that are being
//! filled, and one for each worker that publishes.

use crate::crypto::ChunkKind;

/// The usual limit.
pub const MEMORY_BYTES: u64 = 128 << 20;

/// One worker for so much of the limit.
const WORKER_BYTES: usize = 32 << 20;
/// What does not shrink with the limit, as far as it comes from the share of packs.
const THREADS_BYTES: usize = 16 << 20;
/// Smaller packs would be too many.
const PACK_BYTES_MIN: usize = 3 << 20;
/// Some 60,000 entries of directories.
const TREE_PACK_BYTES: usize = 2 << 20;
/// A larger run would make no fewer requests that matter.
const RUN_BYTES_MAX: usize = 8 << 20;
/// Smaller runs would be too many.
const RUN_BYTES_MIN: usize = 1 << 20;
/// More input at a time would not be read faster.
const PIECE_BYTES_MAX: usize = 4 << 20;
/// The least that is read at a time, whatever the limit.
const PIECE_BYTES_MIN: usize = 256 << 10;
/// Segments for the next chunk of the same neighbourhood: more would seldom be asked for.
const KEPT_BYTES_MAX: usize = 24 << 20;
/// Buffers of segments that nobody has: as much as waits in packs that do not compress.
const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Index runs that are decoded together.
const MERGE_BYTES_MAX: usize = 32 << 20;

/// A limit on memory, and its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    bytes: usize,
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self::of(MEMORY_BYTES)
    }
}

impl MemoryLimit {
    /// At most so many bytes, as far as the least that is needed allows.
    pub fn of(bytes: u64) -> Self {
        Self { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    /// The limit.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of the wanted threads there is memory for; at least one.
    pub fn workers(&self, wanted: usize) -> usize {
        wanted.min(self.bytes / WORKER_BYTES).max(1)
    }

    /// Bytes of a source that a task reads at a time.
    pub fn piece_bytes(&self) -> usize {
        (self.bytes / 32).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    /// Stored bytes at which a pack is full, where the repository wants packs of `wanted`: a sixteenth of the limit, and
    /// below 128 MiB less, because what a thread needs does not shrink. A tree pack is full earlier: it fills slowly,
    /// and whoever looks for one path reads little else.
    pub(super) fn pack_bytes(&self, kind: ChunkKind, wanted: usize) -> usize {
        let left = (self.bytes / 4).saturating_sub(THREADS_BYTES).max(PACK_BYTES_MIN);
        match kind {
            ChunkKind::Data => wanted.min(self.bytes / 16).min(left),
            ChunkKind::Tree => wanted.min(TREE_PACK_BYTES),
        }
    }

    /// Bytes of buffers in which segments are filled, that are kept for the next ones though nobody has them.
    pub(super) fn buffer_bytes(&self) -> usize {
        (self.bytes / 8).min(BUFFER_BYTES_MAX)
    }

    /// Bytes of packs on their way to a storage that takes time.
    pub(super) fn upload_bytes(&self) -> usize {
        self.bytes / 4
    }

    /// Bytes of entries at which an index run is published.
    pub(super) fn run_bytes(&self) -> usize {
        (self.bytes / 64).clamp(RUN_BYTES_MIN, RUN_BYTES_MAX)
    }

    /// Bytes of segments that a reader keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        (self.bytes / 16 * 3).min(KEPT_BYTES_MAX)
    }

    /// Bytes of segments that a mount keeps: for each of several readers what comes next, and what was read just now.
    pub fn mounted_content_bytes(&self) -> usize {
        self.bytes / 8 * 3
    }

    /// Bytes of pages that a mount keeps as they are walked.
    pub fn mounted_page_bytes(&self) -> usize {
        self.bytes / 8
    }

    /// Stored bytes of index runs that are decoded together.
    pub(super) fn merge_bytes(&self) -> u64 {
        (self.bytes / 4).min(MERGE_BYTES_MAX) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a backup holds, by the head of this file; the buffers of compressor and check take about two segments.
    fn backup_bytes(memory: MemoryLimit, workers: usize) -> usize {
        // Of those that are full and on their way, none is being filled.
        let pack = |kind| memory.pack_bytes(kind, 16 << 20) / 2;
        let packs = (1 + workers) * pack(ChunkKind::Data) + pack(ChunkKind::Tree);
        let segments = 3 * (1 << 20) + 2 * (2 << 20);
        let pieces = (workers + 1) * memory.piece_bytes();
        let waiting = packs + memory.run_bytes() + memory.upload_bytes() + memory.buffer_bytes();
        workers * segments + pieces + waiting
    }

    #[test]
    fn the_shares_stay_within_the_limit() {
        for mebibytes in [64, 96, 128, 256, 1024] {
            let memory = MemoryLimit::of(mebibytes << 20);
            let workers = memory.workers(16);
            let taken = backup_bytes(memory, workers);
            assert!(taken <= memory.bytes(), "{mebibytes} MiB: {workers} workers take {taken}");
        }
    }

    #[test]
    fn the_usual_limit_lets_everything_have_its_usual_size() {
        let memory = MemoryLimit::default();
        assert_eq!(memory.workers(2), 2);
        assert_eq!(memory.piece_bytes(), PIECE_BYTES_MAX);
        assert_eq!(MemoryLimit::of(256 << 20).pack_bytes(ChunkKind::Data, 16 << 20), 16 << 20);
        assert_eq!(MemoryLimit::of(96 << 20).pack_bytes(ChunkKind::Data, 16 << 20), 6 << 20);
        assert_eq!(MemoryLimit::of(64 << 20).pack_bytes(ChunkKind::Data, 16 << 20), 3 << 20);
        assert_eq!(memory.pack_bytes(ChunkKind::Tree, 1000), 1000);
        assert_eq!(MemoryLimit::of(512 << 20).run_bytes(), RUN_BYTES_MAX);
        assert_eq!(MemoryLimit::of(64 << 20).buffer_bytes(), 8 << 20);
        assert_eq!(memory.kept_bytes(), KEPT_BYTES_MAX);
        assert_eq!(memory.merge_bytes(), MERGE_BYTES_MAX as u64);
        let nothing = MemoryLimit::of(0);
        assert_eq!((nothing.workers(8), nothing.piece_bytes()), (1, PIECE_BYTES_MIN));
    }
}
