//! Pages of a directory one by one, for who must know which of them two directories share.
//!
//! What must hold: a page is opened only as what names it says that it is, in level and in names, so that going through
//! the pages of a directory meets each of its names once and in order; anything else is damage.

use std::sync::Arc;

use crate::base::{ChunkId, Error, Result};
use crate::format::page::{Child, Page};
use crate::tree::read::{check_level, leaf_entries};
use crate::tree::{Entry, Tree};

/// A page of a directory, with what is known of it before it is read.
#[derive(Clone, Debug)]
pub struct PageRef {
    /// Its name.
    pub id: ChunkId,
    /// Of the root it is not known.
    level: Option<u8>,
    /// The name before its first one.
    after: Option<Vec<u8>>,
    last_name: Option<Vec<u8>>,
}

impl PageRef {
    /// The root page of a directory.
    pub const fn root(id: ChunkId) -> Self {
        Self { id, level: None, after: None, last_name: None }
    }

    /// Holds a page against what named it; gives those directly below it, in order.
    pub fn check(&self, page: &StoredPage) -> Result<Vec<Self>> {
        let Self { id, level, after, last_name } = self;
        let misnamed =
            || Error::damaged(format!("tree page {id} ends with another name (format rule PAGE-7)"));
        if last_name.is_some() && page.last_name() != last_name.as_deref() {
            return Err(misnamed());
        }
        check_level(id, *level, page.level())?;
        match page {
            StoredPage::Inner { level, children } => {
                let mut before = after.clone();
                let below = children.iter().map(|child| Self {
                    id: child.id,
                    level: level.checked_sub(1),
                    after: before.replace(child.last_name.clone()),
                    last_name: Some(child.last_name.clone()),
                });
                Ok(below.collect())
            }
            StoredPage::Leaf(entries) => {
                let first = entries.first().map(|entry| &entry.node.name);
                let overlaps = first.zip(after.as_ref()).is_some_and(|(first, after)| first <= after);
                // Only the root of an empty directory is empty.
                if overlaps || (entries.is_empty() && level.is_some()) {
                    return Err(misnamed());
                }
                Ok(Vec::new())
            }
        }
    }
}

/// A page of a directory, as it is walked.
#[derive(Clone, Debug)]
pub enum StoredPage {
    /// Entries, sorted by name.
    Leaf(Vec<Entry>),
    /// Pages below it.
    Inner {
        /// 1 directly above leaves.
        level: u8,
        /// In order of names.
        children: Vec<Child>,
    },
}

impl StoredPage {
    /// 0 of a leaf.
    pub const fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// The entries of a leaf; an inner page has none.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Leaf(entries) => entries,
            Self::Inner { .. } => &[],
        }
    }

    fn last_name(&self) -> Option<&[u8]> {
        match self {
            Self::Leaf(entries) => entries.last().map(|entry| entry.node.name.as_slice()),
            Self::Inner { children, .. } => children.last().map(|child| child.last_name.as_slice()),
        }
    }
}

/// A leaf page, by its id, and the position of an entry in it.
pub type FoundEntry = (ChunkId, Arc<StoredPage>, usize);

/// The entry of a directory with this name, in the leaf page that has it; pages come from `page_of`.
pub fn find_in_pages(
    root: &ChunkId,
    name: &[u8],
    page_of: &dyn Fn(&ChunkId) -> Result<Arc<StoredPage>>,
) -> Result<Option<FoundEntry>> {
    let mut id = *root;
    let mut expected = None;
    loop {
        let page = page_of(&id)?;
        check_level(&id, expected, page.level())?;
        expected = page.level().checked_sub(1);
        match &*page {
            StoredPage::Leaf(entries) => {
                let found = entries.binary_search_by(|entry| entry.node.name.as_slice().cmp(name));
                return Ok(found.ok().map(|index| (id, page, index)));
            }
            StoredPage::Inner { children, .. } => {
                let index = children.partition_point(|child| child.last_name.as_slice() < name);
                match children.get(index) {
                    Some(child) => id = child.id,
                    None => return Ok(None),
                }
            }
        }
    }
}

/// What a page holds.
#[derive(Debug)]
pub enum OpenedPage {
    /// Entries in order of names.
    Entries(Vec<Entry>),
    /// Pages in order.
    Pages {
        /// The page's own level: 1 directly above entries.
        level: u8,
        /// Those directly below it.
        below: Vec<PageRef>,
    },
}

impl Tree<'_> {
    /// Reads a page of a directory, with where its bundled files lie.
    pub fn stored_page(&self, id: &ChunkId) -> Result<StoredPage> {
        Ok(match self.page(id)? {
            Page::Leaf { nodes, bundles } => StoredPage::Leaf(leaf_entries(id, nodes, &bundles)?),
            Page::Inner { level, children } => StoredPage::Inner { level, children },
        })
    }

    /// Reads a page of a directory, and holds it against what named it.
    pub fn open_page(&self, page: &PageRef) -> Result<OpenedPage> {
        let read = self.stored_page(&page.id)?;
        let below = page.check(&read)?;
        Ok(match read {
            StoredPage::Leaf(entries) => OpenedPage::Entries(entries),
            StoredPage::Inner { level, .. } => OpenedPage::Pages { level, below },
        })
    }
}
