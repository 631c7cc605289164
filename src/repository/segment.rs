//! Segments that are being filled (format-spec chapter 6): new chunks wait here until enough of them compress together.
//!
//! What must hold: an open segment is checked out by one worker at a time and never held while that worker waits for
//! others; what is checked out comes back or fails the session.

use std::sync::{Mutex, PoisonError};

use crate::base::{ChunkId, Result};
use crate::compress::{self, Compression};
use crate::crypto::ChunkKind;
use crate::format::pack::Codec;
use crate::repository::held::{Held, Room, SegmentBuffers};

/// What kind of company a chunk keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Data that compresses.
    Compressible,
    /// Data that does not look as if it would.
    Incompressible,
    /// Tree and list pages.
    Tree,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Compressible, Self::Incompressible, Self::Tree];

    /// The class of a chunk.
    pub(super) fn of(kind: ChunkKind, content: &[u8]) -> Self {
        match kind {
            ChunkKind::Tree => Self::Tree,
            ChunkKind::Data if compress::looks_incompressible(content) => Self::Incompressible,
            ChunkKind::Data => Self::Compressible,
        }
    }

    /// What its chunks hold.
    pub(super) const fn kind(self) -> ChunkKind {
        match self {
            Self::Tree => ChunkKind::Tree,
            Self::Compressible | Self::Incompressible => ChunkKind::Data,
        }
    }
}

/// Whole chunks, one after the other.
#[derive(Debug, Default)]
pub(super) struct OpenSegment {
    /// Plaintext.
    pub(super) raw: Room,
    /// Id and length of each chunk.
    pub(super) chunks: Vec<(ChunkId, u32)>,
    /// The thread of the pool that fills it.
    worker: Option<usize>,
}

impl OpenSegment {
    /// Appends a chunk.
    pub(super) fn push(&mut self, id: ChunkId, content: &[u8]) {
        self.raw.extend_from_slice(content);
        self.chunks.push((id, u32::try_from(content.len()).unwrap_or(u32::MAX)));
    }

    /// Closes the segment: compressed where that gains; else its buffer goes on as it is.
    pub(super) fn close(
        self,
        class: Class,
        compression: Compression,
        pool: &SegmentPool,
    ) -> Result<ClosedSegment> {
        let raw_bytes = u32::try_from(self.raw.len()).unwrap_or(u32::MAX);
        let frame = match class {
            Class::Incompressible => None,
            Class::Compressible | Class::Tree => {
                compress::compress_to(&self.raw, compression, Held::copy_of)?
            }
        };
        let (stored, codec) = match frame {
            Some(frame) => {
                pool.buffers.give_back(self.raw);
                (frame, Codec::Zstd)
            }
            None => (Held::lent(self.raw, &pool.buffers), Codec::Raw),
        };
        Ok(ClosedSegment { stored, raw_bytes, codec, chunks: self.chunks })
    }
}

/// A segment that waits for its pack.
#[derive(Debug)]
pub(super) struct ClosedSegment {
    /// What will be sealed, with room for its tag.
    pub(super) stored: Held,
    /// Bytes of plaintext.
    pub(super) raw_bytes: u32,
    /// How it is stored.
    pub(super) codec: Codec,
    /// Id and length of each chunk.
    pub(super) chunks: Vec<(ChunkId, u32)>,
}

impl ClosedSegment {
    /// What it adds to a pack: its bytes, and as much again for the directory and the index as its chunks need, so that
    /// very many small chunks cannot make either too large.
    pub(super) fn pack_bytes(&self) -> usize {
        self.stored.as_ref().len() + 40 * self.chunks.len()
    }
}

/// Open segments that no worker has at the moment: for each class at most one of each worker, and one of all threads that
/// are none.
#[derive(Debug)]
pub(super) struct SegmentPool {
    open: [Mutex<Vec<OpenSegment>>; 3],
    buffers: SegmentBuffers,
}

impl SegmentPool {
    /// Without a segment; keeps buffers with so much room for the next ones.
    pub(super) fn new(buffer_bytes: usize) -> Self {
        Self { open: Default::default(), buffers: SegmentBuffers::new(buffer_bytes) }
    }

    fn slot(&self, class: Class) -> &Mutex<Vec<OpenSegment>> {
        let [compressible, incompressible, tree] = &self.open;
        match class {
            Class::Compressible => compressible,
            Class::Incompressible => incompressible,
            Class::Tree => tree,
        }
    }

    /// Takes the segment that this thread has been filling, or a new one with room for so many bytes: a buffer that grew
    /// by doubling would move, and take up to twice as much. Each thread has one of its own, because what one thread stores
    /// comes from one place of the source: it compresses better, and is wanted together.
    pub(super) fn check_out(&self, class: Class, room_bytes: usize) -> OpenSegment {
        let worker = rayon::current_thread_index();
        let own = {
            let mut open = self.slot(class).lock().unwrap_or_else(PoisonError::into_inner);
            let own = open.iter().position(|segment| segment.worker == worker);
            own.map(|position| open.swap_remove(position))
        };
        own.unwrap_or_else(|| {
            let raw = self.buffers.take(room_bytes);
            OpenSegment { raw, chunks: Vec::new(), worker }
        })
    }

    /// Gives it back.
    pub(super) fn check_in(&self, class: Class, segment: OpenSegment) {
        self.slot(class).lock().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Takes all that are left, joined so that as few as possible remain below the aim.
    pub(super) fn drain(&self, class: Class, aim_bytes: usize) -> Vec<OpenSegment> {
        let partial = std::mem::take(&mut *self.slot(class).lock().unwrap_or_else(PoisonError::into_inner));
        let mut joined: Vec<OpenSegment> = Vec::new();
        for mut segment in partial.into_iter().filter(|segment| !segment.chunks.is_empty()) {
            match joined.last_mut().filter(|last| last.raw.len() + segment.raw.len() <= aim_bytes) {
                Some(last) => {
                    last.raw.extend_from_slice(&segment.raw);
                    last.chunks.append(&mut segment.chunks);
                }
                None => joined.push(segment),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn what_one_thread_stores_lies_together() {
        let pool = SegmentPool::new(1000);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let barrier = Barrier::new(2);
        threads.broadcast(|thread| {
            let byte = u8::try_from(thread.index()).unwrap();
            for _ in 0..10 {
                // Both have theirs at the same time, and give it back in any order.
                let mut segment = pool.check_out(Class::Compressible, 100);
                barrier.wait();
                segment.push(ChunkId([byte; 32]), &[byte; 5]);
                pool.check_in(Class::Compressible, segment);
                barrier.wait();
            }
        });
        let mut segments = pool.drain(Class::Compressible, 0);
        segments.sort_by_key(|segment| segment.raw.to_vec());
        let raw: Vec<Vec<u8>> = segments.into_iter().map(|segment| segment.raw.to_vec()).collect();
        assert_eq!(raw, [[0; 50], [1; 50]]);
    }
}
