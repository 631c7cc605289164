//! Gathers what differs, until it is known what of it only moved.
//!
//! What must hold: what is below a directory that was added or removed comes right behind it, in order.

use crate::base::ChunkId;
use crate::ops::diff::{Change, Diff, Item, Modifier, Statistics};
use crate::ops::find::SoughtKind;
use crate::source::Patterns;
use crate::source::exclude::Judge;
use crate::tree::Entry;

/// An object that only one side has.
#[derive(Debug)]
pub(super) struct Lone {
    /// Path below what is compared, with a slash before each name.
    pub(super) path: Vec<u8>,
    pub(super) kind: SoughtKind,
    pub(super) size: u64,
    pub(super) holds: Holds,
    /// Position behind all that is below it.
    pub(super) end: usize,
    /// It is part of something that moved.
    pub(super) is_moved: bool,
}

/// What can tell that an object only moved.
#[derive(Debug)]
pub(super) enum Holds {
    /// Nothing can.
    Nothing,
    /// The tree of a directory.
    Tree(ChunkId),
    /// The content of a file that is not empty.
    Stored(Box<Entry>),
    /// The content of a file of this machine that is not empty.
    Live,
}

/// What differs, as far as it is known.
#[derive(Debug)]
pub(super) struct Collector<'d> {
    /// Absolute paths of what is compared, without a slash at the end.
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    excludes: &'d Patterns,
    pub(super) removed: Vec<Lone>,
    pub(super) added: Vec<Lone>,
    changes: Vec<(Vec<u8>, Change)>,
    pub(super) statistics: Statistics,
    pub(super) findings: u64,
    pub(super) damaged: u64,
}

/// Which side has an object that the other has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl<'d> Collector<'d> {
    pub(super) fn new(excludes: &'d Patterns) -> Self {
        Self {
            before: Vec::new(),
            after: Vec::new(),
            excludes,
            removed: Vec::new(),
            added: Vec::new(),
            changes: Vec::new(),
            statistics: Statistics::default(),
            findings: 0,
            damaged: 0,
        }
    }

    /// Says which names in a directory, given by its path below what is compared, are left out; nothing if none is.
    pub(super) fn judge(&self, path: &[u8]) -> Option<Judge<'d>> {
        if self.excludes.is_empty() {
            return None;
        }
        let path = [self.before.as_slice(), path].concat();
        Some(self.excludes.judge(&path, self.excludes.inherited(&path)))
    }

    /// Whether what stands under the path that is compared is itself left out.
    pub(super) fn leaves_out_all(&self) -> bool {
        self.excludes.rule_for(&self.before).is_some()
    }

    /// The object at a path of one side.
    pub(super) fn item(&self, side: Side, path: &[u8], kind: SoughtKind, size: u64) -> Item {
        let base = match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        };
        Item { path: [base, path].concat(), kind, size }
    }

    /// Adds an object that one side alone has; what is below it follows, then `end_lone`.
    pub(super) fn lone(
        &mut self,
        side: Side,
        path: &[u8],
        kind: SoughtKind,
        size: u64,
        holds: Holds,
    ) -> usize {
        let list = self.lones(side);
        let end = list.len() + 1;
        list.push(Lone { path: path.to_vec(), kind, size, holds, end, is_moved: false });
        end - 1
    }

    /// All that is below an object is there.
    pub(super) fn end_lone(&mut self, side: Side, position: usize) {
        let list = self.lones(side);
        let end = list.len();
        if let Some(lone) = list.get_mut(position) {
            lone.end = end;
        }
    }

    const fn lones(&mut self, side: Side) -> &mut Vec<Lone> {
        match side {
            Side::Before => &mut self.removed,
            Side::After => &mut self.added,
        }
    }

    /// Adds a change of what both sides have, with the bytes that were added and removed.
    pub(super) fn change(&mut self, path: &[u8], modifier: Modifier, items: [Item; 2], bytes: [u64; 2]) {
        let [before, after] = items;
        let [added_bytes, removed_bytes] = bytes;
        let counts = match modifier {
            Modifier::Metadata => &mut self.statistics.metadata,
            _ => &mut self.statistics.changed,
        };
        match modifier {
            Modifier::Kind => {
                self.statistics.removed.count(before.kind);
                self.statistics.added.count(after.kind);
            }
            _ => counts.count(after.kind),
        }
        let change =
            Change { modifier, before: Some(before), after: Some(after), added_bytes, removed_bytes };
        self.changes.push((path.to_vec(), change));
    }

    /// Adds something that only moved; what is below it does so, too.
    pub(super) fn moved(&mut self, from: usize, to: usize) {
        let Some((removed, added)) = self.removed.get(from).zip(self.added.get(to)) else { return };
        let before = self.item(Side::Before, &removed.path, removed.kind, removed.size);
        let after = self.item(Side::After, &added.path, added.kind, added.size);
        let (path, end_from, end_to) = (added.path.clone(), removed.end, added.end);
        for lone in self.added.get_mut(to..end_to).unwrap_or_default() {
            lone.is_moved = true;
            self.statistics.moved.count(lone.kind);
        }
        for lone in self.removed.get_mut(from..end_from).unwrap_or_default() {
            lone.is_moved = true;
        }
        let (before, after, modifier) = (Some(before), Some(after), Modifier::Moved);
        self.changes.push((path, Change { modifier, before, after, added_bytes: 0, removed_bytes: 0 }));
    }

    /// All that differs.
    pub(super) fn finish(mut self) -> Diff {
        for side in [Side::Before, Side::After] {
            for lone in std::mem::take(self.lones(side)).into_iter().filter(|lone| !lone.is_moved) {
                let item = self.item(side, &lone.path, lone.kind, lone.size);
                let change = match side {
                    Side::Before => {
                        self.statistics.removed.count(lone.kind);
                        let (modifier, before) = (Modifier::Removed, Some(item));
                        Change { modifier, before, after: None, added_bytes: 0, removed_bytes: lone.size }
                    }
                    Side::After => {
                        self.statistics.added.count(lone.kind);
                        let (modifier, after) = (Modifier::Added, Some(item));
                        Change { modifier, before: None, after, added_bytes: lone.size, removed_bytes: 0 }
                    }
                };
                self.changes.push((lone.path, change));
            }
        }
        // Of one path that became another kind, the change of kind comes before what is below.
        self.changes.sort_by(|(one, _), (other, _)| {
            let [one, other] = [one, other].map(|path| path.split(|byte| *byte == b'/'));
            one.cmp(other)
        });
        let mut statistics = self.statistics;
        let count = |(_, change): (_, Change)| {
            statistics.added_bytes = statistics.added_bytes.saturating_add(change.added_bytes);
            statistics.removed_bytes = statistics.removed_bytes.saturating_add(change.removed_bytes);
            change
        };
        let changes = self.changes.into_iter().map(count).collect();
        Diff { changes, statistics, findings: self.findings, damaged: self.damaged }
    }
}
