//! Distinct contents of files, and the chunks that each path needs.
//!
//! What must hold: two files count as one content exactly if they have the same bytes and holes, whether they stand in
//! chunks of their own or in bundles.

use std::collections::HashSet;
use std::rc::Rc;

use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result, Wrap};
use crate::format::node::{ChunkRef, Content, NodeKind, Regular};
use crate::format::page::Page;
use crate::ops::stats::{Counted, FileTotals};
use crate::repository::SnapshotEntry;
use crate::tree::{Entry, Tree, leaf_entries};

/// A page that is still to be read, with the path of its directory.
type Pending = (ChunkId, Rc<[u8]>);

/// The walk. What was met is remembered by keyed hashes of 32 bytes.
pub(super) struct Contents<'r> {
    tree: Tree<'r>,
    monitor: &'r dyn Monitor,
    by_path: bool,
    met: HashSet<ChunkId>,
    files: FileTotals,
    chunks: u64,
}

impl<'r> Contents<'r> {
    /// Counts distinct contents, or the chunks of each path.
    pub(super) fn new(tree: Tree<'r>, by_path: bool, monitor: &'r dyn Monitor) -> Self {
        let (met, files) = (HashSet::new(), FileTotals::default());
        Self { tree, monitor, by_path, met, files, chunks: 0 }
    }

    pub(super) fn take(mut self, snapshots: &[&SnapshotEntry]) -> Result<Counted> {
        for entry in snapshots {
            let walked = self.walk(entry.snapshot.tree, entry.snapshot.total_nodes);
            walked.wrap(|| format!("cannot count snapshot {}", entry.id.short()))?;
        }
        let FileTotals { files, bytes } = self.files;
        Ok(match self.by_path {
            false => Counted::Files(self.files),
            true => Counted::ChunksPerFile { files, chunks: self.chunks, bytes },
        })
    }

    /// True the first time that these parts are met together.
    fn meet(&mut self, kind: u8, parts: &[&[u8]]) -> bool {
        let mut key = vec![kind];
        parts.iter().for_each(|part| key.extend_from_slice(part));
        self.met.insert(self.tree.reader().data_id(&key))
    }

    fn walk(&mut self, root: ChunkId, nodes: u64) -> Result<()> {
        let mut nodes_left = nodes;
        let mut pending: Vec<Pending> = vec![(root, Rc::from([]))];
        while let Some((id, path)) = pending.pop() {
            if self.monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            // The same page gives the same files, at least below the same path.
            let place = if self.by_path { &*path } else { &[] };
            if !self.meet(b'p', &[id.as_bytes(), place]) {
                continue;
            }
            match self.tree.page(&id)? {
                Page::Inner { children, .. } => {
                    pending.extend(children.into_iter().rev().map(|child| (child.id, Rc::clone(&path))));
                }
                Page::Leaf { nodes, bundles } => {
                    nodes_left = nodes_left.checked_sub(nodes.len() as u64).ok_or_else(|| {
                        Error::damaged("the tree holds more than its snapshot says (format rule SNAP-6)")
                    })?;
                    for entry in leaf_entries(&id, nodes, &bundles)? {
                        let path = || [&path, b"/".as_slice(), &entry.node.name].concat();
                        match &entry.node.kind {
                            NodeKind::Directory(tree) => pending.push((*tree, path().into())),
                            NodeKind::Regular(regular) if self.by_path => {
                                self.chunks_of(&path(), regular, &entry)?;
                            }
                            NodeKind::Regular(regular) => self.content_of(regular, &entry)?,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a content that was not met before.
    fn content_of(&mut self, regular: &Regular, entry: &Entry) -> Result<()> {
        let extents = regular.extents.as_deref().unwrap_or_default();
        let mut identity = [regular.size, extents.len() as u64].map(u64::to_be_bytes).concat();
        for extent in extents {
            identity.extend([extent.offset.to_be_bytes(), extent.length.to_be_bytes()].concat());
        }
        match &regular.content {
            Content::Empty => {}
            Content::Bundle(_) => identity.extend(self.bundled_id(regular, entry)?.as_bytes()),
            // The page follows from the chunks that it lists.
            Content::Chunk(id) | Content::List { id, .. } => identity.extend(id.as_bytes()),
            Content::Chunks(chunks) => chunks.iter().for_each(|chunk| identity.extend(chunk.id.as_bytes())),
        }
        if self.meet(b'c', &[&identity]) {
            self.add(regular.size);
        }
        Ok(())
    }

    /// Counts the chunks of a file that were not met before at its path.
    fn chunks_of(&mut self, path: &[u8], regular: &Regular, entry: &Entry) -> Result<()> {
        let tree = self.tree;
        let bundled = match regular.content {
            Content::Empty => return Ok(()),
            Content::Bundle(_) => {
                Some(ChunkRef { id: self.bundled_id(regular, entry)?, length: regular.size })
            }
            _ => None,
        };
        let mut add = |chunk: ChunkRef| {
            // Its id first: a path can hold anything.
            if self.meet(b'k', &[chunk.id.as_bytes(), path]) {
                self.chunks += 1;
                self.files.bytes = self.files.bytes.saturating_add(chunk.length);
            }
            Ok(())
        };
        match bundled {
            Some(chunk) => add(chunk)?,
            None => tree.content(regular, &mut add)?,
        }
        if self.meet(b'f', &[path]) {
            self.files.files += 1;
        }
        self.monitor.advance(1, regular.size);
        Ok(())
    }

    /// The name that a bundled content would have as a chunk of its own.
    fn bundled_id(&self, regular: &Regular, entry: &Entry) -> Result<ChunkId> {
        let place = entry.bundle.ok_or_else(|| Error::damaged("a bundled file without a bundle"))?;
        Ok(self.tree.reader().data_id(&self.tree.bundled(&place, regular.size)?))
    }

    fn add(&mut self, bytes: u64) {
        self.files.files += 1;
        self.files.bytes = self.files.bytes.saturating_add(bytes);
        self.monitor.advance(1, bytes);
    }
}
