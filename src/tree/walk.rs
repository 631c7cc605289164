//! Walking a stored tree depth first, within what its snapshot says it holds.
//!
//! What must hold: a tree that names the same pages over and over cannot make a walk longer than the snapshot's total
//! (a directory of 2^n entries fits n pages); no path is deeper than the limit.

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, Error, Result};
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::tree::{DirectoryEntries, Entry, Tree};

/// What a walk may still meet.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    nodes: u64,
    bytes: u64,
}

impl Budget {
    /// What a snapshot says it holds.
    pub const fn of(snapshot: &Snapshot) -> Self {
        Self { nodes: snapshot.total_nodes, bytes: snapshot.total_bytes }
    }

    /// Takes one entry out of the budget.
    pub fn spend(&mut self, entry: &Entry) -> Result<()> {
        // A sum at its end bounds nothing; the number of nodes still does.
        let bytes = match self.bytes {
            u64::MAX => Some(u64::MAX),
            bytes => bytes.checked_sub(entry.node.size()),
        };
        let left = self.nodes.checked_sub(1).zip(bytes);
        let (nodes, bytes) = left.ok_or_else(|| {
            Error::damaged("the tree holds more than its snapshot says (format rule SNAP-6)")
        })?;
        *self = Self { nodes, bytes };
        Ok(())
    }
}

/// One step of a walk.
#[derive(Debug)]
pub enum WalkItem {
    /// An entry; a directory's own entries follow.
    Entry(Box<Entry>),
    /// All entries of the directory that was entered last, and not left since, are done.
    Leave,
}

/// A walk through a directory and everything below it. After an error of one directory it goes on with the others;
/// after an error of the whole it ends.
#[derive(Debug)]
pub struct Walk<'r> {
    tree: Tree<'r>,
    open: Vec<DirectoryEntries<'r>>,
    budget: Budget,
}

impl<'r> Walk<'r> {
    /// A walk from a directory's root page, whose own entry is not part of the walk.
    pub fn new(tree: Tree<'r>, root: ChunkId, budget: Budget) -> Self {
        Self { tree, open: vec![tree.directory(root)], budget }
    }

    /// Leaves the directory whose entry came last, whose own entries and `Leave` then do not come. Nothing of it is read.
    pub fn skip_directory(&mut self) {
        self.open.pop();
    }

    fn step(&mut self, entry: Entry) -> Result<WalkItem> {
        self.budget.spend(&entry)?;
        if let NodeKind::Directory(tree) = entry.node.kind {
            if self.open.len() >= DEPTH_MAX {
                return Err(Error::damaged(format!(
                    "a directory deeper than {DEPTH_MAX} (format rule TREE-1)"
                )));
            }
            self.open.push(self.tree.directory(tree));
        }
        Ok(WalkItem::Entry(Box::new(entry)))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<WalkItem>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.open.last_mut()?.next();
        match next {
            Some(Ok(entry)) => Some(self.step(entry).inspect_err(|_| self.open.clear())),
            // The rest of this directory is lost, which is then left; its parents go on.
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.open.pop();
                (!self.open.is_empty()).then_some(Ok(WalkItem::Leave))
            }
        }
    }
}
