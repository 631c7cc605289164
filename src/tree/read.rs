//! Reading stored directories and chunk lists.
//!
//! What must hold: a page fits the entry that named it, in level and in names; a bundle has the length that its
//! members add up to; anything else is damage and names the chunk.

use std::sync::Arc;

use crate::base::{ChunkId, Error, ErrorKind, Result};
use crate::format::list::ListPage;
use crate::format::node::{ChunkRef, Content, Node, NodeKind, Regular, XattrValue};
use crate::format::page::{Page, bundle_places};
use crate::repository::ChunkKind;
use crate::repository::Reader;
use crate::tree::{OpenedPage, PageRef, find_in_pages};

/// Where a bundled file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundlePlace {
    /// The bundle.
    pub id: ChunkId,
    /// First byte of the file.
    pub offset: u64,
    /// Bytes of the whole bundle.
    pub bundle_bytes: u64,
}

/// Names and complete values of extended attributes.
pub type XattrValues = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry of a stored directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The node.
    pub node: Node,
    /// Of a bundled file: where its content lies.
    pub bundle: Option<BundlePlace>,
}

/// Reads stored trees.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'r> {
    reader: &'r Reader<'r>,
}

impl<'r> Tree<'r> {
    /// Reads through a reader.
    pub const fn new(reader: &'r Reader<'r>) -> Self {
        Self { reader }
    }

    /// The reader.
    pub const fn reader(&self) -> &'r Reader<'r> {
        self.reader
    }

    /// A page of a directory, by itself.
    pub(crate) fn page(&self, id: &ChunkId) -> Result<Page> {
        let bytes = self.reader.chunk(ChunkKind::Tree, id)?;
        Page::decode(&bytes).map_err(|error| error.of_opened(&format!("tree page {id}")))
    }

    /// The entries of a directory in order of names, page by page.
    pub fn directory(&self, root: ChunkId) -> DirectoryEntries<'r> {
        DirectoryEntries { tree: *self, pages: vec![PageRef::root(root)], leaf: Vec::new().into_iter() }
    }

    /// The entry of a directory with this name.
    pub fn find_entry(&self, root: &ChunkId, name: &[u8]) -> Result<Option<Entry>> {
        let found = find_in_pages(root, name, &|id| self.stored_page(id).map(Arc::new))?;
        Ok(found.and_then(|(_, page, index)| page.entries().get(index).cloned()))
    }

    /// The entry at a path of components; `NotFound` names the part that is missing.
    pub fn lookup(&self, root: &ChunkId, path: &[&[u8]]) -> Result<Entry> {
        let mut directory = *root;
        let mut components = path.iter().enumerate().peekable();
        while let Some((position, name)) = components.next() {
            let shown = || {
                let parts = path.get(..=position).unwrap_or_default();
                let mut bytes = Vec::new();
                parts.iter().for_each(|part| bytes.extend([b"/", *part].concat()));
                crate::base::monitor::show_path(&bytes)
            };
            let not_found = |why: &str| Error::new(ErrorKind::NotFound, format!("{} {why}", shown()));
            let entry =
                self.find_entry(&directory, name)?.ok_or_else(|| not_found("is not in the snapshot"))?;
            if components.peek().is_none() {
                return Ok(entry);
            }
            match entry.node.kind {
                NodeKind::Directory(tree) => directory = tree,
                _ => return Err(not_found("is no directory in the snapshot")),
            }
        }
        Err(Error::new(ErrorKind::Usage, "the root directory has no entry of its own"))
    }

    /// Calls `visit` with each chunk of a file's content in order. A bundled file has none of its own.
    pub fn content(&self, regular: &Regular, visit: &mut dyn FnMut(ChunkRef) -> Result<()>) -> Result<()> {
        match &regular.content {
            Content::Empty | Content::Bundle(_) => Ok(()),
            Content::Chunk(id) => visit(ChunkRef { id: *id, length: regular.content_bytes() }),
            Content::Chunks(chunks) => chunks.iter().try_for_each(|chunk| visit(*chunk)),
            Content::List { level, id } => {
                self.list(*level, ChunkRef { id: *id, length: regular.content_bytes() }, visit)
            }
        }
    }

    /// The entries of a page of a chunk list.
    pub(crate) fn list_page(&self, level: u8, page: ChunkRef) -> Result<Vec<ChunkRef>> {
        let bytes = self.reader.chunk(ChunkKind::Tree, &page.id)?;
        let list = ListPage::decode(&bytes, level, page.length);
        Ok(list.map_err(|error| error.of_opened(&format!("list page {}", page.id)))?.entries)
    }

    fn list(&self, level: u8, page: ChunkRef, visit: &mut dyn FnMut(ChunkRef) -> Result<()>) -> Result<()> {
        for entry in self.list_page(level, page)? {
            match level.checked_sub(1) {
                None => visit(entry)?,
                // As deep as there are levels, of which a node says at most 16.
                Some(below) => self.list(below, entry, visit)?,
            }
        }
        Ok(())
    }

    /// The extended attributes of a node with their values, and a line for each whose value cannot be read. `Frozen` if one
    /// lies where it must be thawed first.
    pub fn readable_xattrs(&self, node: &Node) -> Result<(XattrValues, Vec<String>)> {
        let value = |value: &XattrValue| -> Result<Vec<u8>> {
            match value {
                XattrValue::Inline(bytes) => Ok(bytes.clone()),
                XattrValue::Chunk(chunk) => {
                    let bytes = self.reader.chunk(ChunkKind::Data, &chunk.id)?;
                    check_length(&chunk.id, bytes.len() as u64, chunk.length)?;
                    Ok(bytes)
                }
            }
        };
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        for xattr in &node.xattrs {
            match value(&xattr.value) {
                Ok(value) => read.push((xattr.name.clone(), value)),
                Err(error) if error.kind() == ErrorKind::Frozen => return Err(error),
                Err(error) => {
                    let name = crate::base::monitor::show_path(&xattr.name);
                    lost.push(format!("extended attribute {name} is lost: {}", error.chain().join(": ")));
                }
            }
        }
        Ok((read, lost))
    }

    /// The content of a bundled file.
    pub fn bundled(&self, place: &BundlePlace, size: u64) -> Result<Vec<u8>> {
        let bytes = self.reader.chunk(ChunkKind::Data, &place.id)?;
        slice_of_bundle(&bytes, place, size).map(<[u8]>::to_vec)
    }
}

/// The part of a bundle that one file is.
pub(super) fn slice_of_bundle<'b>(bundle: &'b [u8], place: &BundlePlace, size: u64) -> Result<&'b [u8]> {
    check_length(&place.id, bundle.len() as u64, place.bundle_bytes)?;
    let range = usize::try_from(place.offset).ok().zip(usize::try_from(size).ok());
    range
        .and_then(|(offset, size)| bundle.get(offset..offset.checked_add(size)?))
        .ok_or_else(|| Error::damaged(format!("bundle {} is too short for its members", place.id)))
}

/// A chunk must have the length that what names it says: rule CHUNK-2.
pub(crate) fn check_length(id: &ChunkId, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::damaged(format!(
        "chunk {id} has {found} bytes where {expected} must stand (format rule CHUNK-2)"
    )))
}

/// A page has the level that what names it says: rule PAGE-6.
pub(super) fn check_level(id: &ChunkId, expected: Option<u8>, found: u8) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(Error::damaged(format!(
            "tree page {id} has level {found} where {expected} must stand (format rule PAGE-6)"
        ))),
        _ => Ok(()),
    }
}

/// The entries of a leaf, each with its place in a bundle.
pub(crate) fn leaf_entries(id: &ChunkId, nodes: Vec<Node>, bundles: &[ChunkId]) -> Result<Vec<Entry>> {
    let places = bundle_places(&nodes);
    let mut lengths = vec![0_u64; bundles.len()];
    for (node, place) in nodes.iter().zip(&places) {
        if let Some(length) = place.and_then(|(index, _)| lengths.get_mut(index as usize)) {
            *length += node.size();
        }
    }
    let mut entries = Vec::with_capacity(nodes.len());
    for (node, place) in nodes.into_iter().zip(places) {
        let bundle = match place {
            None => None,
            Some((index, offset)) => {
                let index = index as usize;
                let missing = || Error::damaged(format!("tree page {id} has no bundle {index}"));
                let bundle = *bundles.get(index).ok_or_else(missing)?;
                let bundle_bytes = *lengths.get(index).ok_or_else(missing)?;
                Some(BundlePlace { id: bundle, offset, bundle_bytes })
            }
        };
        entries.push(Entry { node, bundle });
    }
    Ok(entries)
}

/// The entries of a directory in order.
#[derive(Debug)]
pub struct DirectoryEntries<'r> {
    tree: Tree<'r>,
    /// Pages that are still to be read, the next one last.
    pages: Vec<PageRef>,
    leaf: std::vec::IntoIter<Entry>,
}

impl Iterator for DirectoryEntries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(Ok(entry));
            }
            let page = self.pages.pop()?;
            match self.tree.open_page(&page) {
                Ok(OpenedPage::Entries(entries)) => self.leaf = entries.into_iter(),
                Ok(OpenedPage::Pages { below, .. }) => self.pages.extend(below.into_iter().rev()),
                Err(error) => {
                    self.pages.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
