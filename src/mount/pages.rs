//! Tree pages and list pages as they were read last.
//!
//! What must hold: what is kept stays within its share of memory, however large directories and files are; a page that is
//! given out was read whole and fits its name.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{ChunkId, Result};
use crate::format::node::{ChunkRef, Content, Extent, NodeKind, Xattr, XattrValue};
use crate::mount::recent::Recent;
use crate::repository::Reader;
use crate::tree::{Entry, ListEntries, StoredPage, Tree};

/// Pages of one repository.
#[derive(Debug)]
pub(super) struct Pages {
    reader: Arc<Reader<'static>>,
    pages: Mutex<Recent<ChunkId, Arc<StoredPage>>>,
    lists: Mutex<Recent<ChunkId, ListEntries>>,
}

impl Pages {
    /// Pages that a reader gives, of which so many bytes are kept.
    pub(super) fn of(reader: Arc<Reader<'static>>, bytes_max: usize) -> Self {
        let list_bytes = bytes_max / 4;
        let pages = Mutex::new(Recent::up_to(bytes_max - list_bytes));
        Self { reader, pages, lists: Mutex::new(Recent::up_to(list_bytes)) }
    }

    /// A page of a directory.
    pub(super) fn page(&self, id: &ChunkId) -> Result<Arc<StoredPage>> {
        if let Some(page) = self.pages.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(page);
        }
        let page = Arc::new(Tree::new(&self.reader).stored_page(id)?);
        let bytes = page_bytes(&page);
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).put(*id, Arc::clone(&page), bytes);
        Ok(page)
    }

    /// The entries of a list page, if they are kept.
    pub(super) fn kept_list(&self, page: ChunkRef) -> Option<ListEntries> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).get(&page.id)
    }

    /// The entries of a list page.
    pub(super) fn list(&self, level: u8, page: ChunkRef) -> Result<ListEntries> {
        if let Some(entries) = self.kept_list(page) {
            return Ok(entries);
        }
        let entries = Tree::new(&self.reader).list_entries(level, page)?;
        let bytes = entries.len() * size_of::<(u64, ChunkRef)>();
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.put(page.id, Arc::clone(&entries), bytes);
        Ok(entries)
    }
}

/// About what a page takes in memory.
fn page_bytes(page: &StoredPage) -> usize {
    match page {
        StoredPage::Leaf(entries) => entries.iter().map(entry_bytes).sum(),
        StoredPage::Inner { children, .. } => {
            children.iter().map(|child| size_of_val(child) + child.last_name.len()).sum()
        }
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    let node = &entry.node;
    let of_xattr = |xattr: &Xattr| {
        let value = match &xattr.value {
            XattrValue::Inline(value) => value.len(),
            XattrValue::Chunk(_) => 0,
        };
        size_of::<Xattr>() + xattr.name.len() + value
    };
    let xattrs: usize = node.xattrs.iter().map(of_xattr).sum();
    let kept: usize = node.kept.iter().map(|(_, value)| 32 + value.len()).sum();
    let owners = [&node.metadata.user, &node.metadata.group];
    let owners: usize = owners.into_iter().flatten().map(|name| name.len()).sum();
    let of_kind = match &node.kind {
        NodeKind::Symlink(target) => target.len(),
        NodeKind::Regular(regular) => {
            let extents = regular.extents.as_ref().map_or(0, Vec::len) * size_of::<Extent>();
            match &regular.content {
                Content::Chunks(chunks) => extents + size_of_val(chunks.as_slice()),
                _ => extents,
            }
        }
        _ => 0,
    };
    size_of::<Entry>() + node.name.len() + xattrs + kept + owners + of_kind
}
