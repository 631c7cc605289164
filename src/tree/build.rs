//! Building the pages of one directory from its entries in order of names (format-spec chapter 8).
//!
//! What must hold: where pages and bundles end follows from names, lengths and the repository's parameters alone;
//! memory holds one page of each level.

use crate::base::{ChunkId, Error, ErrorKind, Result};
use crate::format::config::{Bundling, Paging};
use crate::format::node::{Content, Node, NodeKind};
use crate::format::page::{Child, encode_child, encode_inner, encode_leaf};
use crate::repository::ChunkKind;
use crate::repository::Session;

/// Takes the entries of one directory and stores its pages.
#[derive(Debug)]
pub struct DirectoryBuilder<'s> {
    session: &'s Session<'s>,
    leaf: Leaf,
    inner: Vec<Level>,
    last_name: Vec<u8>,
    is_empty: bool,
}

#[derive(Debug, Default)]
struct Leaf {
    nodes: Vec<Vec<u8>>,
    node_bytes: u64,
    bundles: Vec<ChunkId>,
    open_bundle: Vec<u8>,
}

#[derive(Debug, Default)]
struct Level {
    children: Vec<Vec<u8>>,
    child_bytes: u64,
    only_child: Option<ChunkId>,
    last_name: Vec<u8>,
}

/// True where a page or bundle ends: with a chance of `bytes` in `average`, drawn by the name's number.
fn falls(number: u64, bytes: u64, average: u32) -> bool {
    let bound = (u128::from(bytes) << 64) / u128::from(average.max(1));
    u128::from(number) < bound
}

impl<'s> DirectoryBuilder<'s> {
    /// An empty directory.
    pub fn new(session: &'s Session<'s>) -> Self {
        Self { session, leaf: Leaf::default(), inner: Vec::new(), last_name: Vec::new(), is_empty: true }
    }

    fn bundling(&self) -> Bundling {
        self.session.repository().parameters().bundling
    }

    fn paging(&self) -> Paging {
        self.session.repository().parameters().paging
    }

    /// Appends an entry, whose name is after all before it. A regular file whose content is given here joins a
    /// bundle; its content in the node is then replaced.
    pub fn push(&mut self, mut node: Node, bundled: Option<&[u8]>) -> Result<()> {
        if !self.is_empty && node.name <= self.last_name {
            return Err(Error::new(ErrorKind::Failed, "the entries of a directory came out of order"));
        }
        self.is_empty = false;
        self.last_name.clone_from(&node.name);
        let number = self.session.repository().name_number(0, &node.name);
        if let Some(content) = bundled {
            self.join_bundle(&mut node, content)?;
        }
        let encoded = node.encode();
        let length = encoded.len() as u64;
        self.leaf.node_bytes += length;
        self.leaf.nodes.push(encoded);
        if let Some(content) = bundled {
            let Bundling { average_bytes, min_bytes, .. } = self.bundling();
            let is_long = self.leaf.open_bundle.len() >= min_bytes as usize;
            if is_long && falls(number, content.len() as u64, average_bytes) {
                self.close_bundle()?;
            }
        }
        if self.ends(number, length, self.leaf.node_bytes) {
            self.close_leaf()?;
        }
        Ok(())
    }

    fn ends(&self, number: u64, length: u64, held: u64) -> bool {
        let Paging { min_bytes, average_bytes, max_bytes } = self.paging();
        held >= u64::from(max_bytes) || (held >= u64::from(min_bytes) && falls(number, length, average_bytes))
    }

    fn join_bundle(&mut self, node: &mut Node, content: &[u8]) -> Result<()> {
        let max_bytes = self.bundling().max_bytes as usize;
        if !self.leaf.open_bundle.is_empty() && self.leaf.open_bundle.len() + content.len() > max_bytes {
            self.close_bundle()?;
        }
        let NodeKind::Regular(regular) = &mut node.kind else {
            return Err(Error::new(ErrorKind::Failed, "only a regular file can join a bundle"));
        };
        let index = u32::try_from(self.leaf.bundles.len()).unwrap_or(u32::MAX);
        regular.content = Content::Bundle(index);
        self.leaf.open_bundle.extend_from_slice(content);
        Ok(())
    }

    fn close_bundle(&mut self) -> Result<()> {
        if !self.leaf.open_bundle.is_empty() {
            let content = std::mem::take(&mut self.leaf.open_bundle);
            self.leaf.bundles.push(self.session.store(ChunkKind::Data, &content)?.id);
        }
        Ok(())
    }

    fn close_leaf(&mut self) -> Result<()> {
        self.close_bundle()?;
        let leaf = std::mem::take(&mut self.leaf);
        let page = encode_leaf(&leaf.nodes, &leaf.bundles);
        let id = self.session.store(ChunkKind::Tree, &page)?.id;
        let last_name = self.last_name.clone();
        self.push_child(0, Child { last_name, id })
    }

    /// Adds a page to the level above `below`, and closes pages of that and higher levels where they end.
    fn push_child(&mut self, below: usize, child: Child) -> Result<()> {
        let mut position = below;
        let mut child = child;
        loop {
            let number = u8::try_from(position + 1).unwrap_or(u8::MAX);
            if self.inner.len() == position {
                self.inner.push(Level::default());
            }
            let hash = self.session.repository().name_number(number, &child.last_name);
            let encoded = encode_child(&child);
            let length = encoded.len() as u64;
            let Some(level) = self.inner.get_mut(position) else { return Ok(()) };
            level.child_bytes += length;
            level.only_child = level.children.is_empty().then_some(child.id);
            level.last_name.clone_from(&child.last_name);
            level.children.push(encoded);
            let held = level.child_bytes;
            if !self.ends(hash, length, held) {
                return Ok(());
            }
            child = self.close_level(position)?;
            position += 1;
        }
    }

    fn close_level(&mut self, position: usize) -> Result<Child> {
        let number = u8::try_from(position + 1).unwrap_or(u8::MAX);
        let level = self.inner.get_mut(position).map(std::mem::take).unwrap_or_default();
        let page = encode_inner(number, &level.children);
        let id = self.session.store(ChunkKind::Tree, &page)?.id;
        Ok(Child { last_name: level.last_name, id })
    }

    /// Stores what is left, and gives the root page: the lowest page that holds everything.
    pub fn finish(mut self) -> Result<ChunkId> {
        if self.is_empty {
            let page = encode_leaf(&[], &[]);
            return Ok(self.session.store(ChunkKind::Tree, &page)?.id);
        }
        if !self.leaf.nodes.is_empty() {
            self.close_leaf()?;
        }
        let mut position = 0;
        loop {
            let above_is_empty = self
                .inner
                .get(position + 1..)
                .unwrap_or_default()
                .iter()
                .all(|level| level.children.is_empty());
            let Some(level) = self.inner.get(position) else {
                return Err(Error::new(ErrorKind::Failed, "a directory without a root page"));
            };
            match level.only_child {
                Some(only) if above_is_empty => return Ok(only),
                _ => {}
            }
            if !level.children.is_empty() {
                let child = self.close_level(position)?;
                self.push_child(position + 1, child)?;
            }
            position += 1;
        }
    }
}
