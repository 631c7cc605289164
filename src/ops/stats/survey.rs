//! One walk through many snapshots that reads every tree page once and meets every chunk once.
//!
//! What must hold: the sums are those of walking every snapshot by itself. Objects with several names stand in the way
//! of that, for their size counts once in a snapshot: pages above them are read again for each snapshot.

use std::collections::{HashMap, HashSet};

use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result, Wrap};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::format::page::Page;
use crate::ops::stats::needs::Needs;
use crate::ops::stats::{ChunkTotals, FileTotals};
use crate::repository::SnapshotEntry;
use crate::tree::Tree;

/// What stands below a page.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    nodes: u64,
    files: u64,
    bytes: u64,
    has_links: bool,
}

impl Sum {
    const fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.has_links |= other.has_links;
    }
}

/// A page in work.
struct Frame {
    id: ChunkId,
    below: Vec<ChunkId>,
    sum: Sum,
}

/// The walk.
pub(super) struct Survey<'r> {
    tree: Tree<'r>,
    monitor: &'r dyn Monitor,
    pages: HashMap<ChunkId, Sum>,
    needs: Needs<'r>,
    /// Of the snapshot in work.
    links: HashSet<LinkGroup>,
    nodes_left: u64,
}

impl<'r> Survey<'r> {
    pub(super) fn new(tree: Tree<'r>, monitor: &'r dyn Monitor) -> Self {
        Self {
            tree,
            monitor,
            pages: HashMap::new(),
            needs: Needs::new(tree),
            links: HashSet::new(),
            nodes_left: 0,
        }
    }

    /// Walks through snapshots, and gives what restoring all of them would write.
    pub(super) fn take(&mut self, snapshots: &[&SnapshotEntry]) -> Result<FileTotals> {
        let mut totals = FileTotals::default();
        for entry in snapshots {
            self.links.clear();
            self.nodes_left = entry.snapshot.total_nodes;
            let sum = self
                .walk(entry.snapshot.tree)
                .and_then(
                    |sum| if sum.nodes > entry.snapshot.total_nodes { Err(too_much()) } else { Ok(sum) },
                )
                .wrap(|| format!("cannot count snapshot {}", entry.id.short()))?;
            totals.files = totals.files.saturating_add(sum.files);
            totals.bytes = totals.bytes.saturating_add(sum.bytes);
        }
        Ok(totals)
    }

    /// The chunks that were met: of content, of trees.
    pub(super) fn chunks(&self) -> (ChunkTotals, ChunkTotals) {
        (self.needs.data.totals(), self.needs.trees.totals())
    }

    fn walk(&mut self, root: ChunkId) -> Result<Sum> {
        let mut open: Vec<Frame> = Vec::new();
        let mut next = Some(root);
        let mut total = Sum::default();
        loop {
            let done = match next.take() {
                Some(page) => match self.pages.get(&page) {
                    Some(sum) if !sum.has_links => *sum,
                    _ => {
                        open.push(self.open(page)?);
                        Sum::default()
                    }
                },
                None => match open.pop() {
                    Some(frame) => {
                        self.pages.insert(frame.id, frame.sum);
                        frame.sum
                    }
                    None => return Ok(total),
                },
            };
            match open.last_mut() {
                Some(frame) => {
                    frame.sum.add(done);
                    next = frame.below.pop();
                }
                None => total = done,
            }
        }
    }

    /// Reads a page; what it needs is met now, what it has below is still to be walked through.
    fn open(&mut self, id: ChunkId) -> Result<Frame> {
        if self.monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let is_new = !self.pages.contains_key(&id);
        let mut frame = Frame { id, below: Vec::new(), sum: Sum::default() };
        match self.tree.page(&id)? {
            Page::Inner { children, .. } => {
                frame.below.extend(children.into_iter().rev().map(|child| child.id))
            }
            Page::Leaf { nodes, bundles } => {
                self.nodes_left = self.nodes_left.checked_sub(nodes.len() as u64).ok_or_else(too_much)?;
                for node in &nodes {
                    self.node(node, &mut frame)?;
                    if is_new {
                        self.needs.node(node)?;
                    }
                }
                if is_new {
                    bundles.iter().try_for_each(|bundle| self.needs.data(bundle))?;
                }
            }
        }
        if is_new {
            self.needs.page(&id)?;
        }
        self.monitor.advance(frame.sum.files, frame.sum.bytes);
        Ok(frame)
    }

    fn node(&mut self, node: &Node, frame: &mut Frame) -> Result<()> {
        frame.sum.nodes = frame.sum.nodes.saturating_add(1);
        match &node.kind {
            NodeKind::Directory(tree) => frame.below.push(*tree),
            NodeKind::Regular(regular) => {
                frame.sum.files = frame.sum.files.saturating_add(1);
                let is_counted = match node.metadata.links {
                    None => true,
                    Some(group) => {
                        frame.sum.has_links = true;
                        self.links.insert(group)
                    }
                };
                if is_counted {
                    frame.sum.bytes = frame.sum.bytes.saturating_add(regular.size);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn too_much() -> Error {
    Error::damaged("the tree holds more than its snapshot says (format rule SNAP-6)")
}
