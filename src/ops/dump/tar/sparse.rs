//! Which parts of a sparse file are written, and the map that says where they belong: the form that GNU tar calls 1.0.
//!
//! What must hold: every region but the last is a multiple of 512 bytes long, since some readers take each from the
//! beginning of a record and others take them without a gap; no region overlaps the next or the end of the file.

use std::ops::Range;

use super::{RECORD_BYTES, RECORD_LENGTH};
use crate::format::node::Regular;

/// The parts of a file that are written: of a file without holes all of it.
pub(super) fn regions(regular: &Regular) -> Vec<Range<u64>> {
    let Some(extents) = &regular.extents else { return std::iter::once(0..regular.size).collect() };
    let mut regions: Vec<Range<u64>> = Vec::new();
    for extent in extents {
        let length = extent.length.div_ceil(RECORD_BYTES).saturating_mul(RECORD_BYTES);
        let end = |start: u64, length: u64| start.saturating_add(length).min(regular.size);
        match regions.last_mut().filter(|last| last.end >= extent.offset) {
            Some(last) => {
                let length = extent.offset.saturating_add(extent.length).saturating_sub(last.start);
                let length = length.div_ceil(RECORD_BYTES).saturating_mul(RECORD_BYTES);
                last.end = end(last.start, length).max(last.end);
            }
            None => regions.push(extent.offset..end(extent.offset, length)),
        }
    }
    regions
}

/// The map: the number of regions, then offset and length of each, a number on a line, filled to whole records.
pub(super) fn map(regions: &[Range<u64>], size: u64) -> Vec<u8> {
    let mut numbers = Vec::new();
    for region in regions {
        numbers.extend([region.start, region.end - region.start]);
    }
    // Where the file ends with a hole, an empty region stands at its end.
    if regions.last().is_none_or(|last| last.end < size) {
        numbers.extend([size, 0]);
    }
    let mut map = format!("{}\n", numbers.len() / 2);
    for number in numbers {
        map.push_str(&format!("{number}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(RECORD_LENGTH), 0);
    map
}
