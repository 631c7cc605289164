//! Segments of one pack: from what this machine keeps of it, else from the storage, neighbours by one request.
//!
//! What must hold: a segment opens under the pack's own keys wherever its bytes came from; kept bytes that do not open are
//! as good as none. Who reads many pages gets the packs whole, who reads few only what is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Segment;
use crate::base::{Result, Wrap};
use crate::crypto::{ChunkKind, Opener};
use crate::format::names;
use crate::format::pack::SegmentRow;
use crate::format::sealing::Role;
use crate::repository::Repository;
use crate::repository::index::table::{PackRow, Table};
use crate::repository::object::object_name;
use crate::repository::pack::decode_segment;
use crate::repository::tree_cache::TreeCache;
use crate::storage::ObjectName;

/// Neighbouring segments are fetched by one request up to so many bytes.
const FETCH_BYTES_MAX: u64 = 8 << 20;
/// Who asked for more segments of trees than that reads many: a path seldom has so many directories.
const SINGLE_MISSES_MAX: u32 = 16;

/// A segment by its number, and what the index says of it.
pub(super) type Numbered = (u32, SegmentRow);

/// Segments that were wanted one by one and not kept on this machine.
#[derive(Debug, Default)]
pub(super) struct Misses(AtomicU32);

impl Misses {
    /// So many more; whether they are many by now.
    fn are_many_with(&self, more: usize) -> bool {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(more)));
        before.unwrap_or_default().saturating_add(more) > SINGLE_MISSES_MAX
    }
}

/// A pack whose segments are read.
pub(super) struct Source<'r> {
    repository: &'r Repository,
    pack: PackRow,
    name: ObjectName,
    opener: Opener,
    /// Where its segments are kept, if they are.
    kept: Option<&'r TreeCache>,
}

impl<'r> Source<'r> {
    /// A pack, by what the index says of it.
    pub(super) fn new(repository: &'r Repository, pack: PackRow, may_be_kept: bool) -> Result<Self> {
        let name = object_name(&names::pack(&pack.name))?;
        let context = repository.context(pack.kind.pack_kind(), pack.generation, None);
        let opener = Opener::from_index(&repository.keys, &context, pack.session, pack.salt)?;
        let kept = Some(&repository.trees)
            .filter(|trees| may_be_kept && pack.kind == ChunkKind::Tree && trees.is_used());
        Ok(Self { repository, pack, name, opener, kept })
    }

    /// Reads segments, ascending; gives one result for each.
    pub(super) fn read(
        &self,
        table: &Table,
        wanted: &[Numbered],
        misses: &Misses,
    ) -> Result<Vec<Result<Segment>>> {
        let Some(kept) = self.kept else { return self.fetch(wanted, |_| true) };
        let found: Vec<Option<Segment>> = wanted.iter().map(|numbered| self.find(kept, numbered)).collect();
        let missing = wanted.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<Numbered> = missing.map(|(numbered, _)| *numbered).collect();
        let mut fetched = self.fetch_missing(table, &missing, misses)?.into_iter();
        Ok(found.into_iter().filter_map(|found| found.map(Ok).or_else(|| fetched.next())).collect())
    }

    /// A segment that is kept and opens.
    fn find(&self, kept: &TreeCache, numbered: &Numbered) -> Option<Segment> {
        let (number, row) = numbered;
        let sealed = kept.find(&self.pack.name, *number, row.stored_bytes)?;
        let opened = self.open(numbered, &sealed);
        opened.inspect_err(|_| kept.forget(&self.pack.name, *number)).ok()
    }

    fn fetch_missing(
        &self,
        table: &Table,
        missing: &[Numbered],
        misses: &Misses,
    ) -> Result<Vec<Result<Segment>>> {
        if !missing.is_empty() && misses.are_many_with(missing.len()) {
            let is_missing = |number: u32| missing.iter().any(|(other, _)| *other == number);
            // A pack that is not whole may still have what is wanted.
            if let Some(fetched) = self.all(table).and_then(|all| self.fetch(&all, is_missing).ok()) {
                return Ok(fetched);
            }
        }
        self.fetch(missing, |_| true)
    }

    /// All segments of the pack, unless they are too much for one request.
    fn all(&self, table: &Table) -> Option<Vec<Numbered>> {
        let numbers = 0..self.pack.segment_count();
        let all: Option<Vec<Numbered>> =
            numbers.map(|number| table.segment(&self.pack, number).map(|row| (number, row))).collect();
        all.filter(|all| {
            all.iter().map(|(_, row)| u64::from(row.stored_bytes)).sum::<u64>() <= FETCH_BYTES_MAX
        })
    }

    /// Fetches segments, ascending, and opens those that are asked for, one result for each; trees are kept.
    fn fetch(&self, rows: &[Numbered], is_asked: impl Fn(u32) -> bool) -> Result<Vec<Result<Segment>>> {
        let mut results = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while let Some((_, first)) = rest.first() {
            let start = u64::from(first.offset);
            let (together, end) = neighbours(rest, start);
            let (group, after) = rest.split_at(together);
            rest = after;
            let length = usize::try_from(end - start).unwrap_or(usize::MAX);
            let fetched = self.repository.storage.get_range(&self.name, start, length);
            let fetched = fetched.wrap(|| format!("cannot read pack {}", self.pack.name))?;
            let mut fetched = fetched.as_slice();
            for numbered in group {
                let (number, row) = numbered;
                let (sealed, after) = fetched.split_at(fetched.len().min(row.stored_bytes as usize));
                fetched = after;
                let opened = is_asked(*number).then(|| self.open(numbered, sealed));
                if let Some(kept) = self.kept.filter(|_| opened.as_ref().is_none_or(Result::is_ok)) {
                    kept.keep(&self.pack.name, *number, sealed);
                }
                results.extend(opened);
            }
        }
        Ok(results)
    }

    fn open(&self, (number, row): &Numbered, sealed: &[u8]) -> Result<Segment> {
        self.opener
            .open(u64::from(*number), Role::Body, sealed)
            .and_then(|opened| decode_segment(opened, row.codec, row.raw_bytes as usize))
            .map(|raw| Segment { kind: self.pack.kind, raw: Arc::new(raw) })
            .wrap(|| format!("cannot use segment {number} of pack {}", self.pack.name))
    }
}

/// How many of the first segments lie side by side from `start` on and fit one request, at least one, and where they end.
fn neighbours(rows: &[Numbered], start: u64) -> (usize, u64) {
    let mut end = start;
    let together = rows.iter().take_while(|(_, row)| {
        let next = u64::from(row.offset) + u64::from(row.stored_bytes);
        let joins = u64::from(row.offset) == end && (end == start || next - start <= FETCH_BYTES_MAX);
        if joins {
            end = next;
        }
        joins
    });
    (together.count().max(1), end)
}
