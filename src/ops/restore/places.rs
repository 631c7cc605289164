//! Where the bytes of a file's content go: a sparse file's content is its data extents, one after the other.

use std::ops::Range;

use crate::base::{Error, Result};
use crate::format::node::{Extent, Regular};

/// Zeros that fill a block of this size, and begin at a multiple of it, may become a hole: the block size of nearly all
/// file systems.
const HOLE_BLOCK_BYTES: usize = 4096;

/// Calls `visit` with each part of `length` bytes at `content_offset` of the content of a file of `size` bytes: its range
/// within those bytes, and its offset in the file.
pub(in crate::ops) fn for_each_place(
    extents: Option<&[Extent]>,
    size: u64,
    content_offset: u64,
    length: usize,
    visit: &mut dyn FnMut(Range<usize>, u64) -> Result<()>,
) -> Result<()> {
    let whole = [Extent { offset: 0, length: size }];
    let extents = extents.unwrap_or(&whole);
    let mut done = 0;
    let mut wanted = content_offset;
    let mut before = 0_u64;
    for extent in extents {
        if done == length {
            break;
        }
        let end = before + extent.length;
        if wanted < end {
            let within = wanted - before;
            let room = usize::try_from(extent.length - within).unwrap_or(usize::MAX);
            let now = room.min(length - done);
            visit(done..done + now, extent.offset + within)?;
            wanted += now as u64;
            done += now;
        }
        before = end;
    }
    if done == length {
        return Ok(());
    }
    Err(Error::damaged("more content than the file has room for (format rule NODE-7)"))
}

/// The holes of a file: all that no extent covers.
pub(in crate::ops) fn holes(regular: &Regular) -> Vec<Range<u64>> {
    let Some(extents) = &regular.extents else { return Vec::new() };
    let mut holes = Vec::new();
    let mut end = 0;
    for extent in extents {
        holes.push(end..extent.offset);
        end = extent.offset.saturating_add(extent.length);
    }
    holes.push(end..regular.size);
    holes.retain(|hole| hole.start < hole.end);
    holes
}

/// The parts of `bytes`, which go to `offset` of a file, that are left when whole blocks of zeros become holes.
pub(super) fn without_zero_blocks(bytes: &[u8], offset: u64) -> Vec<Range<usize>> {
    const ZEROS: [u8; HOLE_BLOCK_BYTES] = [0; HOLE_BLOCK_BYTES];
    let mut parts: Vec<Range<usize>> = Vec::new();
    let until_block = offset.next_multiple_of(HOLE_BLOCK_BYTES as u64) - offset;
    let first = usize::try_from(until_block).unwrap_or(bytes.len()).min(bytes.len());
    let mut begin = 0;
    let mut end = first;
    let (_, blocks) = bytes.split_at(first);
    for block in blocks.chunks(HOLE_BLOCK_BYTES) {
        let is_hole = block == ZEROS;
        if is_hole && begin < end {
            parts.push(begin..end);
        }
        end += block.len();
        if is_hole {
            begin = end;
        }
    }
    if begin < end {
        parts.push(begin..end);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Content;

    fn sparse() -> Regular {
        let extent = |offset, length| Extent { offset, length };
        Regular {
            size: 100,
            content: Content::Empty,
            extents: Some(vec![extent(10, 3), extent(50, 4), extent(90, 2)]),
            changed_while_read: false,
        }
    }

    #[test]
    fn content_goes_where_its_extents_are() {
        let mut regular = sparse();
        let written = |regular: &Regular, offset, bytes: &[u8]| {
            let mut calls = Vec::new();
            let (extents, size) = (regular.extents.as_deref(), regular.size);
            let result = for_each_place(extents, size, offset, bytes.len(), &mut |range, place| {
                calls.push((bytes[range].to_vec(), place));
                Ok(())
            });
            result.map(|()| calls).map_err(drop)
        };
        let all = vec![(b"abc".to_vec(), 10), (b"defg".to_vec(), 50), (b"hi".to_vec(), 90)];
        assert_eq!(written(&regular, 0, b"abcdefghi"), Ok(all));
        assert_eq!(written(&regular, 2, b"cd"), Ok(vec![(b"c".to_vec(), 12), (b"d".to_vec(), 50)]));
        assert_eq!(written(&regular, 3, b"d"), Ok(vec![(b"d".to_vec(), 50)]));
        assert_eq!(written(&regular, 8, b"ij"), Err(()));
        regular.extents = None;
        assert_eq!(written(&regular, 7, b"xy"), Ok(vec![(b"xy".to_vec(), 7)]));
        assert_eq!(written(&regular, 99, b"xy"), Err(()));
    }

    fn pairs<T: Copy>(ranges: &[Range<T>]) -> Vec<(T, T)> {
        ranges.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn holes_are_what_no_extent_covers() {
        let holes = |regular: &Regular| pairs(&super::holes(regular));
        let mut regular = sparse();
        assert_eq!(holes(&regular), [(0, 10), (13, 50), (54, 90), (92, 100)]);
        regular.extents = Some(Vec::new());
        assert_eq!(holes(&regular), [(0, 100)]);
        regular.extents = None;
        assert_eq!(holes(&regular), []);
    }

    #[test]
    fn whole_blocks_of_zeros_become_holes() {
        const BLOCK: usize = HOLE_BLOCK_BYTES;
        let left = |bytes: &[u8], offset| pairs(&without_zero_blocks(bytes, offset));
        let mut bytes = vec![0; 4 * BLOCK];
        assert_eq!(left(&bytes, 0), []);
        assert_eq!(left(&bytes, 10), [(0, BLOCK - 10), (4 * BLOCK - 10, 4 * BLOCK)]);
        assert_eq!(left(&bytes[..100], 0), [(0, 100)], "less than a block");
        assert_eq!(left(&bytes[..100], 5), [(0, 100)]);
        bytes[BLOCK] = 1;
        bytes[2 * BLOCK] = 1;
        assert_eq!(left(&bytes, 8 * BLOCK as u64), [(BLOCK, 3 * BLOCK)]);
        bytes.fill(1);
        assert_eq!(left(&bytes, 77), [(0, 4 * BLOCK)]);
        assert_eq!(left(&[], 77), []);
    }
}
