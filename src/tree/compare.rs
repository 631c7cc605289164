//! What differs between two stored directories, name by name.
//!
//! What must hold: a page that both directories have is not read; every name at which they differ comes once, in order.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::iter::Peekable;

use crate::base::{ChunkId, Error, Result};
use crate::tree::{Entry, OpenedPage, PageRef, Tree};

/// What two directories have under one name at which they differ.
#[derive(Clone, Debug)]
pub enum Pair {
    /// Only the first has it.
    One(Entry),
    /// Only the second has it.
    Other(Entry),
    /// Both have it. Of files in bundles it is not known whether they differ.
    Both(Box<(Entry, Entry)>),
}

/// Names at which two directories differ, in order.
#[derive(Debug)]
pub struct Differences<'r> {
    one: Peekable<Leaves<'r>>,
    other: Peekable<Leaves<'r>>,
}

impl<'r> Tree<'r> {
    /// Compares two directories by their root pages.
    pub fn differences(&self, one: ChunkId, other: ChunkId) -> Result<Differences<'r>> {
        let [mut one, mut other] = [one, other].map(|root| Frontier::Pages(1, vec![PageRef::root(root)]));
        // Roots of any level stand alone at first.
        let mut is_first = true;
        loop {
            drop_common(&mut one, &mut other);
            let level = one.level().max(other.level());
            if level == 0 {
                return Ok(Differences {
                    one: Leaves::of(*self, one).peekable(),
                    other: Leaves::of(*self, other).peekable(),
                });
            }
            for side in [&mut one, &mut other] {
                if is_first || side.level() == level {
                    side.descend(*self)?;
                }
            }
            is_first = false;
        }
    }
}

/// All of a directory that is still to be compared, at one level of pages.
#[derive(Debug)]
enum Frontier {
    /// Entries.
    Entries(Vec<Entry>),
    /// Pages of a level, in order.
    Pages(u8, Vec<PageRef>),
}

impl Frontier {
    /// How far above the entries it is; pages of entries are 0.
    const fn level(&self) -> u8 {
        match self {
            Self::Entries(_) => 0,
            Self::Pages(level, _) => *level,
        }
    }

    /// Reads all pages, so that those below take their place.
    fn descend(&mut self, tree: Tree<'_>) -> Result<()> {
        let Self::Pages(level, pages) = self else { return Ok(()) };
        let mut found = Vec::new();
        let mut found_level = level.saturating_sub(1);
        let mut root_entries = None;
        for page in std::mem::take(pages) {
            match tree.open_page(&page)? {
                OpenedPage::Pages { level, below } => {
                    found_level = level - 1;
                    found.extend(below);
                }
                // A root that stands alone.
                OpenedPage::Entries(entries) => root_entries = Some(entries),
            }
        }
        *self = match root_entries {
            Some(entries) if found.is_empty() => Self::Entries(entries),
            Some(_) => {
                return Err(Error::damaged("pages of one directory have other levels (format rule PAGE-6)"));
            }
            None => Self::Pages(found_level, found),
        };
        Ok(())
    }
}

/// Takes away the pages that both have.
fn drop_common(one: &mut Frontier, other: &mut Frontier) {
    let (Frontier::Pages(_, one), Frontier::Pages(_, other)) = (one, other) else { return };
    let known: HashSet<ChunkId> = other.iter().map(|page| page.id).collect();
    let common: HashSet<ChunkId> = one.iter().map(|page| page.id).filter(|id| known.contains(id)).collect();
    if !common.is_empty() {
        one.retain(|page| !common.contains(&page.id));
        other.retain(|page| !common.contains(&page.id));
    }
}

/// Entries page by page.
#[derive(Debug)]
struct Leaves<'r> {
    tree: Tree<'r>,
    pages: std::vec::IntoIter<PageRef>,
    entries: std::vec::IntoIter<Entry>,
}

impl<'r> Leaves<'r> {
    fn of(tree: Tree<'r>, frontier: Frontier) -> Self {
        let (pages, entries) = match frontier {
            Frontier::Entries(entries) => (Vec::new(), entries),
            Frontier::Pages(_, pages) => (pages, Vec::new()),
        };
        Self { tree, pages: pages.into_iter(), entries: entries.into_iter() }
    }

    /// Nothing comes after an error.
    fn open(&mut self, page: &PageRef) -> Result<()> {
        let opened = self.tree.open_page(page);
        match opened {
            Ok(OpenedPage::Entries(entries)) => {
                self.entries = entries.into_iter();
                Ok(())
            }
            other => {
                self.pages = Vec::new().into_iter();
                other.and_then(|_| {
                    Err(Error::damaged("a tree page where entries must stand (format rule PAGE-6)"))
                })
            }
        }
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok(entry));
            }
            let page = self.pages.next()?;
            if let Err(error) = self.open(&page) {
                return Some(Err(error));
            }
        }
    }
}

impl Iterator for Differences<'_> {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.one.peek(), self.other.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
                (Some(Ok(one)), Some(Ok(other))) => one.node.name.cmp(&other.node.name),
            };
            match order {
                Ordering::Less => return Some(self.one.next()?.map(Pair::One)),
                Ordering::Greater => return Some(self.other.next()?.map(Pair::Other)),
                Ordering::Equal => {
                    let (Ok(one), Ok(other)) = (self.one.next()?, self.other.next()?) else { continue };
                    // The number of a bundle in its page says nothing without the page.
                    if one.node != other.node || one.bundle != other.bundle {
                        return Some(Ok(Pair::Both(Box::new((one, other)))));
                    }
                }
            }
        }
    }
}
