//! How a restore divides the memory that it may take.
//!
//! What must hold: what is planned, what is in work and what is kept together stay within the limit, but for one segment
//! in work and the tables of the index; nothing grows with the number or the size of files.

use smol_str::SmolStr;

use crate::format::node::{Content, Node, NodeKind, XattrValue};

/// Segments that one task fetches together at most: about 8 MiB.
const SEGMENTS_TOGETHER_MAX: usize = 4;
/// A segment in work is held as it was fetched, opened and decompressed, while others write files of one that was.
const COPIES_OF_SEGMENT: usize = 4;
/// Room that plans leave to the program itself and to what the allocator holds back; it counts where the limit is low.
const UNPLANNED_BYTES: usize = 32 << 20;
/// The least that a plan takes, whatever the limit.
const PLAN_BYTES_MIN: usize = 256 << 10;

/// The shares of one restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// For what is planned, and as much again for what was planned before and is being written.
    pub(super) plan_bytes: usize,
    /// For segments that are kept for what follows.
    pub(super) kept_bytes: usize,
    /// Segments that one task fetches together.
    pub(super) segments_together: usize,
    /// Threads.
    pub(super) workers: usize,
}

impl Shares {
    /// Shares of a limit, for so many threads at most and segments of this size.
    pub(super) fn of(memory_bytes: u64, workers: usize, segment_bytes: u32) -> Self {
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let segment = COPIES_OF_SEGMENT.saturating_mul((segment_bytes as usize).max(1));
        let together = (memory / 2 / segment).max(1);
        let workers = workers.clamp(1, together);
        Self {
            // Each wave more reads again what several have in common.
            plan_bytes: (memory / 16 * 3).min(memory.saturating_sub(UNPLANNED_BYTES) / 4).max(PLAN_BYTES_MIN),
            kept_bytes: memory / 8,
            segments_together: (together / workers).clamp(1, SEGMENTS_TOGETHER_MAX),
            workers,
        }
    }
}

/// About what a node takes in memory.
pub(super) fn node_bytes(node: &Node) -> usize {
    let kind = match &node.kind {
        NodeKind::Regular(regular) => {
            let chunks = match &regular.content {
                Content::Chunks(chunks) => size_of_val(chunks.as_slice()),
                _ => 0,
            };
            chunks + regular.extents.as_deref().map_or(0, size_of_val)
        }
        NodeKind::Symlink(target) => target.len(),
        _ => 0,
    };
    let xattr = |value: &XattrValue| match value {
        XattrValue::Inline(bytes) => bytes.len(),
        XattrValue::Chunk(_) => 0,
    };
    let xattrs: usize =
        node.xattrs.iter().map(|held| size_of_val(held) + held.name.len() + xattr(&held.value)).sum();
    let names = [&node.metadata.user, &node.metadata.group].into_iter().flatten();
    let long_names = names.filter(|name| name.is_heap_allocated()).map(SmolStr::len);
    size_of::<Node>() + node.name.len() + kind + xattrs + long_names.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::tests::plain;

    #[test]
    fn shares_stay_within_their_limit() {
        for (memory, workers) in [(64_u64 << 20, 2), (128 << 20, 4), (128 << 20, 96), (1 << 30, 64)] {
            let shares = Shares::of(memory, workers, 2 << 20);
            let in_work = shares.workers * shares.segments_together * COPIES_OF_SEGMENT * (2 << 20);
            let all = 2 * shares.plan_bytes + shares.kept_bytes + in_work;
            assert!(all as u64 <= memory, "{memory} {workers}: {shares:?}");
            assert!(shares.workers >= 1 && shares.workers <= workers, "{shares:?}");
        }
        let usual = Shares::of(crate::repository::MEMORY_BYTES, 2, 2 << 20);
        assert_eq!((usual.workers, usual.segments_together), (2, SEGMENTS_TOGETHER_MAX));
        let least = Shares::of(0, 8, 2 << 20);
        assert_eq!((least.workers, least.segments_together, least.plan_bytes), (1, 1, PLAN_BYTES_MIN));
        assert_eq!(Shares::of(u64::MAX, 0, 0).workers, 1);
    }

    #[test]
    fn a_node_takes_what_its_parts_take() {
        let short = plain(b"a", NodeKind::Fifo);
        let long = plain(&[b'a'; 200], NodeKind::Symlink(vec![b'x'; 1000]));
        assert_eq!(node_bytes(&long) - node_bytes(&short), 199 + 1000);
    }
}
