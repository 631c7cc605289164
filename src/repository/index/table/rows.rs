//! The table by numbers of rows, for who keeps a bit or a number for each entry, pack or segment.
//!
//! What must hold: rows are numbered from 0 in the order of the table; a number beyond the end is no row.

use super::{PackRow, Place, Table};
use crate::base::{ChunkId, ContentName};

impl Table {
    /// An entry by its row.
    pub fn entry_at(&self, row: usize) -> Option<(ChunkId, Place)> {
        self.entry(row).filter(|_| row < self.entries).map(|entry| (entry.id, entry.place))
    }

    /// The entries of a chunk: each row and place.
    pub fn rows_of(&self, id: &ChunkId) -> impl Iterator<Item = (usize, Place)> + '_ {
        let id = *id;
        (self.first_not_below(&id)..self.entries).map_while(move |row| {
            self.entry(row).filter(|entry| entry.id == id).map(|entry| (row, entry.place))
        })
    }

    /// The number of a segment of a pack among all segments.
    pub fn segment_row(&self, pack: &PackRow, number: u32) -> Option<usize> {
        let row = pack.first_segment.checked_add(number).filter(|_| number < pack.segments)?;
        usize::try_from(row).ok().filter(|row| *row < self.segments)
    }

    /// Number of segments of all packs.
    pub const fn segment_count(&self) -> usize {
        self.segments
    }

    /// Number of entries in each pack, by the packs' rows.
    pub fn entries_by_pack(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.packs];
        for place in (0..self.entries).filter_map(|row| Some(self.entry(row)?.place)) {
            if let Some(count) = counts.get_mut(place.pack as usize) {
                *count = count.saturating_add(1);
            }
        }
        counts
    }

    /// The names of all packs in ascending order, by their rows.
    pub fn pack_names(&self) -> impl Iterator<Item = ContentName> + '_ {
        (0..self.packs)
            .map_while(|row| u32::try_from(row).ok().and_then(|row| self.pack(row)).map(|pack| pack.name))
    }
}

impl PackRow {
    /// Number of its segments.
    pub const fn segment_count(&self) -> u32 {
        self.segments
    }
}
