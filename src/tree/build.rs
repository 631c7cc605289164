//! Building the pages of one directory from its entries in order of names (format-spec chapter 8).
//!
//! What must hold: where pages and bundles end follows from names, lengths and the repository's parameters alone;
//! memory holds one page of each level.

use crate::base::{ChunkId, Error, ErrorKind, Result, Timestamp};
use crate::format::config::{Bundling, Paging};
use crate::format::node::{Content, Metadata, Node, NodeKind};
use crate::format::page::{Child, EncodedEntries, encode_inner, encode_leaf};
use crate::repository::ChunkKind;
use crate::repository::Session;
use crate::tree::BundlePlace;

/// What a file that joins a bundle brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// Its content.
    Content(Vec<u8>),
    /// The place of its content in a bundle that may be named again.
    Stored(BundlePlace),
}

/// A file that brought a place, in the bundle that is being filled.
#[derive(Debug)]
pub struct Joined {
    /// Its name.
    pub name: Vec<u8>,
    /// Bytes of its content.
    pub size: u64,
    /// When its content was changed last.
    pub mtime: Timestamp,
    /// When anything of it was changed last.
    pub ctime: Timestamp,
}

/// Part of the bundle that is being filled.
#[derive(Debug)]
enum Part {
    /// The content of a file.
    Content(Vec<u8>),
    /// A file whose content stands at a place.
    Stored(Joined, BundlePlace),
}

/// Gives the content of a file that brought a place, when its bundle cannot be kept because others in it changed.
pub type ReadAgain<'a> = &'a dyn Fn(&Joined, &BundlePlace) -> Result<Vec<u8>>;

/// For a directory whose files all bring their content.
fn nothing_stored(joined: &Joined, _: &BundlePlace) -> Result<Vec<u8>> {
    let name = crate::base::monitor::show_path(&joined.name);
    Err(Error::new(ErrorKind::Failed, format!("{name} brought no content")))
}

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
    nodes: EncodedEntries,
    bundles: Vec<ChunkId>,
    open_bundle: Vec<Part>,
    open_bundle_bytes: u64,
}

#[derive(Debug, Default)]
struct Level {
    children: EncodedEntries,
    only_child: Option<ChunkId>,
    last_name: Vec<u8>,
}

/// True where a page or bundle ends: with a chance of `bytes` in `average`, drawn by the name's number.
fn falls(number: u64, bytes: u64, average: u32) -> bool {
    let bound = (u128::from(bytes) << 64) / u128::from(average.max(1));
    u128::from(number) < bound
}

/// The bundle that holds exactly these files, one after the other, if there is one.
fn whole_bundle(parts: &[Part], bytes: u64) -> Option<ChunkId> {
    let mut bundle = None;
    let mut offset = 0;
    for part in parts {
        let Part::Stored(joined, place) = part else { return None };
        let is_next = *bundle.get_or_insert(place.id) == place.id && place.offset == offset;
        if !is_next || place.bundle_bytes != bytes {
            return None;
        }
        offset += joined.size;
    }
    bundle
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

    /// Appends an entry, whose name is after all before it. A regular file that brings a member joins a bundle; its
    /// content in the node is then replaced.
    pub fn push(&mut self, node: Node, member: Option<Member>) -> Result<()> {
        self.push_reading(node, member, &nothing_stored)
    }

    /// As `push`, where files may bring a place instead of their content.
    pub fn push_reading(
        &mut self,
        mut node: Node,
        member: Option<Member>,
        read_again: ReadAgain<'_>,
    ) -> Result<()> {
        if !self.is_empty && node.name <= self.last_name {
            return Err(Error::new(ErrorKind::Failed, "the entries of a directory came out of order"));
        }
        self.is_empty = false;
        self.last_name.clone_from(&node.name);
        let number = self.session.repository().name_number(0, &node.name);
        let joined_bytes = match member {
            None => None,
            Some(member) => Some(self.join_bundle(&mut node, member, read_again)?),
        };
        let length = self.leaf.nodes.add_node(&node);
        if let Some(bytes) = joined_bytes {
            let Bundling { average_bytes, min_bytes, .. } = self.bundling();
            let is_long = self.leaf.open_bundle_bytes >= u64::from(min_bytes);
            if is_long && falls(number, bytes, average_bytes) {
                self.close_bundle(read_again)?;
            }
        }
        if self.ends(number, length, self.leaf.nodes.bytes()) {
            self.close_leaf(read_again)?;
        }
        Ok(())
    }

    fn ends(&self, number: u64, length: u64, held: u64) -> bool {
        let Paging { min_bytes, average_bytes, max_bytes } = self.paging();
        held >= u64::from(max_bytes) || (held >= u64::from(min_bytes) && falls(number, length, average_bytes))
    }

    fn join_bundle(&mut self, node: &mut Node, member: Member, read_again: ReadAgain<'_>) -> Result<u64> {
        let max_bytes = u64::from(self.bundling().max_bytes);
        let NodeKind::Regular(regular) = &mut node.kind else {
            return Err(Error::new(ErrorKind::Failed, "only a regular file can join a bundle"));
        };
        let size = regular.size;
        if !self.leaf.open_bundle.is_empty() && self.leaf.open_bundle_bytes.saturating_add(size) > max_bytes {
            self.close_bundle(read_again)?;
        }
        let index = u32::try_from(self.leaf.bundles.len()).unwrap_or(u32::MAX);
        regular.content = Content::Bundle(index);
        let Metadata { mtime, ctime, .. } = node.metadata;
        self.leaf.open_bundle_bytes += size;
        self.leaf.open_bundle.push(match member {
            Member::Content(content) => Part::Content(content),
            Member::Stored(place) => {
                Part::Stored(Joined { name: node.name.clone(), size, mtime, ctime }, place)
            }
        });
        Ok(size)
    }

    fn close_bundle(&mut self, read_again: ReadAgain<'_>) -> Result<()> {
        let parts = std::mem::take(&mut self.leaf.open_bundle);
        let bytes = std::mem::take(&mut self.leaf.open_bundle_bytes);
        if parts.is_empty() {
            return Ok(());
        }
        let id = match whole_bundle(&parts, bytes) {
            Some(id) => id,
            None => {
                let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
                for part in parts {
                    match part {
                        Part::Content(bytes) => content.extend_from_slice(&bytes),
                        Part::Stored(joined, place) => {
                            content.extend_from_slice(&read_again(&joined, &place)?);
                        }
                    }
                }
                if content.len() as u64 != bytes {
                    return Err(Error::new(ErrorKind::Failed, "a bundle is not as long as its files"));
                }
                self.session.store(ChunkKind::Data, &content)?.id
            }
        };
        self.leaf.bundles.push(id);
        Ok(())
    }

    fn close_leaf(&mut self, read_again: ReadAgain<'_>) -> Result<()> {
        self.close_bundle(read_again)?;
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
            let Some(level) = self.inner.get_mut(position) else { return Ok(()) };
            level.only_child = level.children.is_empty().then_some(child.id);
            level.last_name.clone_from(&child.last_name);
            let length = level.children.add_child(&child);
            let held = level.children.bytes();
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
    pub fn finish(self) -> Result<ChunkId> {
        self.finish_reading(&nothing_stored)
    }

    /// As `finish`, where files may have brought a place instead of their content.
    pub fn finish_reading(mut self, read_again: ReadAgain<'_>) -> Result<ChunkId> {
        if self.is_empty {
            let page = encode_leaf(&EncodedEntries::default(), &[]);
            return Ok(self.session.store(ChunkKind::Tree, &page)?.id);
        }
        if !self.leaf.nodes.is_empty() {
            self.close_leaf(read_again)?;
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
