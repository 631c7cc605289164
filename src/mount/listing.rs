//! Going through an open directory, as far at a time as the kernel asks.
//!
//! What must hold: every entry comes once, whatever pieces a directory is read in, and again from any position that was
//! given out; of a directory of any length, the positions of its pages are held, never its entries.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{ChunkId, Result};
use crate::mount::view::{Directory, Found, Object, View};
use crate::tree::{PageRef, StoredPage};

/// The positions before the first entry: the directory itself, and the one above it.
const DOTS: u64 = 2;

/// What is listed at a position.
pub(super) enum Listed {
    /// The directory itself.
    Here,
    /// The one above it.
    Above,
    /// Something in it.
    Entry(Vec<u8>, Found),
}

/// An open directory.
pub(super) struct Listing {
    pub(super) number: u64,
    pub(super) parent: u64,
    kind: Kind,
}

enum Kind {
    /// Above the snapshots: as it was when its first entry was asked for.
    Above(Mutex<Vec<(Vec<u8>, Found)>>),
    /// In a snapshot.
    Stored(Arc<Directory>, Mutex<Course>),
}

/// How far the pages of a directory are known.
struct Course {
    /// Pages that were not met yet, the next one last.
    pages: Vec<PageRef>,
    /// Leaves that were met, each with the number of entries before it.
    leaves: Vec<(u64, ChunkId)>,
    /// Entries of all of them.
    entries: u64,
}

impl Listing {
    /// Of an object; `None` if it is no directory.
    pub(super) fn of(view: &View, number: u64, object: &Object) -> Option<Self> {
        if let Object::Above(layout, of_layout) = object {
            let parent = layout.directories.get(of_layout).map_or(number, |directory| directory.parent);
            return Some(Self {
                number,
                parent,
                kind: Kind::Above(Mutex::new(view.above(layout, *of_layout))),
            });
        }
        let directory = object.directory()?;
        let course = Course { pages: vec![PageRef::root(directory.tree)], leaves: Vec::new(), entries: 0 };
        let kind = Kind::Stored(Arc::clone(directory), Mutex::new(course));
        Some(Self { number, parent: directory.parent, kind })
    }

    /// Whether it can change while the mount is there.
    pub(super) const fn can_change(&self) -> bool {
        matches!(self.kind, Kind::Above(_))
    }

    /// Calls `visit` with what is listed from a position on, each with the position behind it, until it returns false.
    pub(super) fn from(
        &self,
        view: &View,
        position: u64,
        visit: &mut dyn FnMut(u64, Listed) -> Result<bool>,
    ) -> Result<()> {
        for (next, dot) in (1..).zip([Listed::Here, Listed::Above]) {
            if next > position && !visit(next, dot)? {
                return Ok(());
            }
        }
        let mut entry = position.saturating_sub(DOTS);
        match &self.kind {
            Kind::Above(entries) => {
                let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                if position == 0 {
                    *entries = view.above(&view.layout(), self.number);
                }
                let skipped = usize::try_from(entry).unwrap_or(usize::MAX);
                for (name, found) in entries.iter().skip(skipped) {
                    entry += 1;
                    let found = Found {
                        number: found.number,
                        object: found.object.clone(),
                        known: found.known.clone(),
                    };
                    if !visit(entry + DOTS, Listed::Entry(name.clone(), found))? {
                        break;
                    }
                }
            }
            Kind::Stored(directory, course) => {
                while let Some((first, leaf, page)) = leaf_at(view, course, entry)? {
                    for position in usize::try_from(entry - first).unwrap_or(usize::MAX)..page.entries().len()
                    {
                        let found = view.found(self.number, directory, &leaf, &page, position)?;
                        let name = page.entries().get(position).map(|entry| entry.node.name.clone());
                        entry += 1;
                        if !visit(entry + DOTS, Listed::Entry(name.unwrap_or_default(), found))? {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The leaf with the entry of this number, and the number of entries before it; `None` behind the last.
fn leaf_at(
    view: &View,
    course: &Mutex<Course>,
    entry: u64,
) -> Result<Option<(u64, ChunkId, Arc<StoredPage>)>> {
    let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
    while entry >= course.entries {
        let Some(next) = course.pages.last() else { return Ok(None) };
        let (id, page) = (next.id, view.pages.page(&next.id)?);
        let below = next.check(&page)?;
        // From here on it counts as met; what failed before is asked for again.
        course.pages.pop();
        course.pages.extend(below.into_iter().rev());
        if let StoredPage::Leaf(entries) = &*page {
            let before = course.entries;
            course.leaves.push((before, id));
            course.entries += entries.len() as u64;
        }
    }
    let index = course.leaves.partition_point(|(first, _)| *first <= entry).saturating_sub(1);
    let Some((first, leaf)) = course.leaves.get(index).copied() else { return Ok(None) };
    drop(course);
    Ok(Some((first, leaf, view.pages.page(&leaf)?)))
}
