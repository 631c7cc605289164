//! The chunks that nodes and pages need, each met once, whatever meets them.

use std::collections::HashSet;

use crate::base::{ChunkId, Result};
use crate::format::node::{ChunkRef, Content, Node, NodeKind, Regular, XattrValue};
use crate::ops::stats::ChunkTotals;
use crate::repository::ChunkSize;
use crate::tree::Tree;

/// Chunks that were met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Met {
    count: u64,
    plain_bytes: u64,
    stored_parts: u128,
}

impl Met {
    /// How many, and what they take.
    pub(super) fn totals(&self) -> ChunkTotals {
        let stored_bytes = u64::try_from((self.stored_parts + (1 << 31)) >> 32).unwrap_or(u64::MAX);
        ChunkTotals { count: self.count, plain_bytes: self.plain_bytes, stored_bytes }
    }

    /// Both together.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            plain_bytes: self.plain_bytes.saturating_add(other.plain_bytes),
            stored_parts: self.stored_parts.saturating_add(other.stored_parts),
        }
    }

    /// What was met since an earlier time.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            plain_bytes: self.plain_bytes.saturating_sub(earlier.plain_bytes),
            stored_parts: self.stored_parts.saturating_sub(earlier.stored_parts),
        }
    }

    fn add(&mut self, size: ChunkSize) {
        let ChunkSize { plain_bytes, stored_parts } = size;
        *self = self.and(Self { count: 1, plain_bytes, stored_parts });
    }
}

/// What was met.
pub(super) struct Needs<'r> {
    tree: Tree<'r>,
    chunks: HashSet<ChunkId>,
    /// Chunks of content.
    pub(super) data: Met,
    /// Chunks of trees.
    pub(super) trees: Met,
}

impl<'r> Needs<'r> {
    /// Nothing yet.
    pub(super) fn new(tree: Tree<'r>) -> Self {
        Self { tree, chunks: HashSet::new(), data: Met::default(), trees: Met::default() }
    }

    /// Meets a page, which the caller knows to be met for the first time.
    pub(super) fn page(&mut self, id: &ChunkId) -> Result<()> {
        let size = self.tree.reader().size_of(id)?;
        self.trees.add(size);
        Ok(())
    }

    /// Meets a chunk of content.
    pub(super) fn data(&mut self, id: &ChunkId) -> Result<()> {
        if self.chunks.insert(*id) {
            let size = self.tree.reader().size_of(id)?;
            self.data.add(size);
        }
        Ok(())
    }

    /// Meets the chunks that a node needs, bundles apart.
    pub(super) fn node(&mut self, node: &Node) -> Result<()> {
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(chunk) = &xattr.value {
                self.data(&chunk.id)?;
            }
        }
        match &node.kind {
            NodeKind::Regular(regular) => self.content(regular),
            _ => Ok(()),
        }
    }

    fn content(&mut self, regular: &Regular) -> Result<()> {
        match &regular.content {
            Content::Empty | Content::Bundle(_) => Ok(()),
            Content::Chunk(id) => self.data(id),
            Content::Chunks(chunks) => chunks.iter().try_for_each(|chunk| self.data(&chunk.id)),
            Content::List { level, id } => {
                self.list(*level, ChunkRef { id: *id, length: regular.content_bytes() })
            }
        }
    }

    fn list(&mut self, level: u8, page: ChunkRef) -> Result<()> {
        if !self.chunks.insert(page.id) {
            return Ok(());
        }
        let size = self.tree.reader().size_of(&page.id)?;
        self.trees.add(size);
        for entry in self.tree.list_page(level, page)? {
            match level.checked_sub(1) {
                None => self.data(&entry.id)?,
                // As deep as there are levels, of which a node says at most 16.
                Some(below) => self.list(below, entry)?,
            }
        }
        Ok(())
    }
}
