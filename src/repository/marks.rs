//! Which chunks of an index something needs: one bit for each of its rows.
//!
//! What must hold: many threads may mark at once; of all that mark a chunk exactly one is told that it was the first, so
//! that what is below a chunk is walked through once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::ChunkId;
use crate::repository::index::table::Table;

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The chunk was not marked before.
    First,
    /// It was.
    Again,
    /// The index has no place for it.
    Missing,
}

/// Marks on the chunks of an index. That a chunk is needed and that what it names was walked through are two marks: a
/// malicious tree that names a page as if it were data must not keep others from walking through it.
#[derive(Debug)]
pub struct Marks {
    table: Arc<Table>,
    needed: Bits,
    walked: Bits,
    /// What was needed when it was settled; none: nothing was.
    settled: Option<Bits>,
}

/// A bit for each row of an index.
#[derive(Debug)]
pub(super) struct Bits(Vec<AtomicU64>);

impl Clone for Bits {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|word| AtomicU64::new(word.load(Ordering::Relaxed))).collect())
    }
}

impl Bits {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// True for the first who sets it.
    pub(super) fn set(&self, row: usize) -> bool {
        let bit = 1 << (row % 64);
        self.0.get(row / 64).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    fn is_set(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (row % 64)) != 0)
    }

    /// The rows whose bits are set, ascending.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(number, word)| {
            let mut word = word.load(Ordering::Relaxed);
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(number * 64 + bit)
            })
        })
    }
}

impl Marks {
    /// No chunk is marked.
    pub(super) fn new(table: Arc<Table>) -> Self {
        let rows = table.entry_count();
        Self { needed: Bits::new(rows), walked: Bits::new(rows), settled: None, table }
    }

    /// Marks a chunk as needed.
    pub fn need(&self, id: &ChunkId) -> Marked {
        match self.table.row_of(id) {
            Some(row) if self.needed.set(row) => Marked::First,
            Some(_) => Marked::Again,
            None => Marked::Missing,
        }
    }

    /// Marks a chunk as needed, and what it names as walked through; who is told that he is the first has to do so.
    pub fn walk(&self, id: &ChunkId) -> Marked {
        let Some(row) = self.table.row_of(id) else { return Marked::Missing };
        self.needed.set(row);
        if self.walked.set(row) { Marked::First } else { Marked::Again }
    }

    /// What is needed until now is done with: from now on only what comes to be needed is new.
    pub fn settle(&mut self) {
        self.settled = Some(self.needed.clone());
    }

    /// The first rows of the chunks that came to be needed since the marks were settled, ascending.
    pub(super) fn newly_needed(&self) -> impl Iterator<Item = usize> + '_ {
        self.needed.rows().filter(|row| self.settled.as_ref().is_none_or(|settled| !settled.is_set(*row)))
    }

    /// Whether the chunk of which this is the first row is needed.
    pub(super) fn is_needed(&self, row: usize) -> bool {
        self.needed.is_set(row)
    }

    /// The same marks on a newer index, and a needed chunk that it has no place for, if there is one.
    pub(super) fn moved_to(&self, table: Arc<Table>) -> (Self, Option<ChunkId>) {
        let moved = Self::new(table);
        let mut missing = None;
        for (row, (id, _)) in self.table.rows().enumerate().filter(|(row, _)| self.needed.is_set(*row)) {
            let outcome = if self.walked.is_set(row) { moved.walk(&id) } else { moved.need(&id) };
            if outcome == Marked::Missing {
                missing = Some(id);
            }
        }
        (moved, missing)
    }

    /// The index that is marked.
    pub(super) const fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_bits_are_found_in_order() {
        let bits = Bits::new(200);
        for row in [199, 0, 63, 64, 127, 128] {
            assert!(bits.set(row) && !bits.set(row));
        }
        assert_eq!(bits.rows().collect::<Vec<_>>(), [0, 63, 64, 127, 128, 199]);
        let copy = bits.clone();
        bits.set(5);
        assert!(bits.is_set(5) && !copy.is_set(5));
        assert_eq!(Bits::new(0).rows().count(), 0);
    }
}
