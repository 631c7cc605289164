//! What a mount shows: every object by a number, as the kernel asks for it.
//!
//! What must hold: a number means one object as long as the kernel knows it; the same file has the same number in every
//! snapshot that shares its page, so that the kernel keeps its bytes once; names of one object have one number within
//! their snapshot; what is remembered of files does not grow with their number, but with the pages that hold them.
//!
//! Numbers: below 2^32, directories above the snapshots and links there; with the bits of `DIRECTORY`, directories, after
//! their path; with those of `LINKED`, files with several names, after their snapshot and link group; with those of
//! `ENTRY`, everything else: its page, and its position there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::base::clock::Stopwatch;
use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result, SessionId};
use crate::format::node::{Metadata, Node, NodeKind};
use crate::mount::layout::{Above, Layout, Numbers};
use crate::mount::pages::Pages;
use crate::mount::template::PathTemplate;
use crate::repository::{Repository, SnapshotEntry, SnapshotFilter};
use crate::tree::{Entry, StoredPage, find_in_pages};

const KIND: u64 = 3 << 62;
const ENTRY: u64 = 1 << 62;
const DIRECTORY: u64 = 2 << 62;
const LINKED: u64 = 3 << 62;
/// Bits for the position in a page: a page of the greatest length has room for fewer entries.
const POSITION_BITS: u32 = 20;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
const PAGE_BITS: u32 = 42;

/// Where a node stands: the number of a leaf page, and the position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePlace {
    page: u64,
    position: usize,
}

/// A directory of a snapshot, or the topmost.
#[derive(Debug)]
pub(super) struct Directory {
    /// The number of the one in which it stands.
    pub(super) parent: u64,
    /// Its name there; of the topmost that of its snapshot.
    pub(super) name: Vec<u8>,
    /// Its root page.
    pub(super) tree: ChunkId,
    pub(super) snapshot: Arc<SnapshotEntry>,
    /// Its node; the topmost has none.
    place: Option<NodePlace>,
}

/// What the kernel may ask for again by its number, which does not tell where it stands.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Directory(Arc<Directory>),
    Linked(NodePlace),
}

struct Counted {
    known: Known,
    /// How often the kernel was told the number, less what it forgot.
    count: u64,
}

/// An object that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) object: Object,
    /// To be remembered once the kernel is told the number.
    pub(super) known: Option<Known>,
}

/// What stands behind a number.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A directory above the snapshots.
    Above(Arc<Layout>, u64),
    /// A link there.
    Link(Arc<Layout>, u64),
    /// The topmost directory of a snapshot.
    Top(Arc<Directory>),
    /// Anything in a snapshot.
    Stored(Arc<StoredPage>, usize, Option<Arc<Directory>>),
}

impl Object {
    /// The entry of what a snapshot stores.
    pub(super) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Stored(page, position, _) => page.entries().get(*position),
            _ => None,
        }
    }

    /// The node of what a snapshot stores.
    pub(super) fn node(&self) -> Option<&Node> {
        self.entry().map(|entry| &entry.node)
    }

    /// The directory of a snapshot that it is.
    pub(super) fn directory(&self) -> Option<&Arc<Directory>> {
        match self {
            Self::Top(directory) => Some(directory),
            Self::Stored(_, _, directory) => directory.as_ref(),
            _ => None,
        }
    }

    /// Whether it can change while the mount is there.
    pub(super) const fn can_change(&self) -> bool {
        // A snapshot that is forgotten goes.
        matches!(self, Self::Above(..) | Self::Link(..) | Self::Top(_))
    }
}

/// Which snapshots are shown, and where.
pub(super) struct Shown {
    pub(super) filter: SnapshotFilter,
    pub(super) templates: Vec<PathTemplate>,
    pub(super) listed_for: Duration,
    pub(super) name_of_time: Box<dyn Fn(crate::base::Timestamp) -> String + Send + Sync>,
}

/// Pages by the numbers that stand for them.
#[derive(Default)]
struct PageNumbers {
    pages: HashMap<u64, ChunkId>,
}

impl PageNumbers {
    /// The number of a page: the beginning of its id, and the next free one if another page has that.
    fn of(&mut self, id: &ChunkId) -> u64 {
        let mask = (1 << PAGE_BITS) - 1;
        let mut number = beginning(id.as_bytes()) & mask;
        loop {
            match self.pages.get(&number) {
                Some(known) if known == id => return number,
                Some(_) => number = (number + 1) & mask,
                None => {
                    self.pages.insert(number, *id);
                    return number;
                }
            }
        }
    }
}

/// The layout, and when it was made.
struct Listed {
    layout: Arc<Layout>,
    numbers: Numbers,
    since: Stopwatch,
    /// The last try failed, which was told.
    has_failed: bool,
    /// Snapshots that cannot be read, which was told.
    damaged: HashSet<SessionId>,
}

/// Everything that a mount shows.
pub(super) struct View {
    repository: Arc<Repository>,
    pub(super) pages: Arc<Pages>,
    shown: Shown,
    listed: Mutex<Listed>,
    /// One looks while the others go on with what there is.
    listing: Mutex<()>,
    page_numbers: Mutex<PageNumbers>,
    known: Mutex<HashMap<u64, Counted>>,
    monitor: Arc<dyn Monitor>,
}

impl View {
    /// Of the snapshots as they are listed now.
    pub(super) fn of(
        repository: Arc<Repository>,
        pages: Arc<Pages>,
        shown: Shown,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self> {
        let listed = Listed {
            layout: Arc::default(),
            numbers: Numbers::default(),
            since: Stopwatch::start(),
            has_failed: false,
            damaged: HashSet::new(),
        };
        let view = Self {
            repository,
            pages,
            shown,
            listed: Mutex::new(listed),
            listing: Mutex::new(()),
            page_numbers: Mutex::default(),
            known: Mutex::default(),
            monitor,
        };
        view.list_anew()?;
        Ok(view)
    }

    /// The directories above the snapshots, listed anew if that was long ago. If it fails, those that were known go on.
    pub(super) fn layout(&self) -> Arc<Layout> {
        let is_old = |listed: &Listed| listed.since.elapsed() >= self.shown.listed_for;
        let is_due = is_old(&self.listed.lock().unwrap_or_else(PoisonError::into_inner));
        if is_due
            && let Some(_listing) = self.alone()
            && let Err(error) = self.list_anew()
        {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            listed.since = Stopwatch::start();
            let was_told = std::mem::replace(&mut listed.has_failed, true);
            drop(listed);
            if !was_told {
                let why = error.chain().join(": ");
                self.monitor.note(&format!("the snapshots shown are those known before: {why}"));
            }
        }
        Arc::clone(&self.listed.lock().unwrap_or_else(PoisonError::into_inner).layout)
    }

    /// The right to list anew, if nobody else does.
    fn alone(&self) -> Option<MutexGuard<'_, ()>> {
        match self.listing.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(alone)) => Some(alone.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn list_anew(&self) -> Result<()> {
        let list = self.repository.snapshots()?;
        for (id, error) in list.damaged {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            if listed.damaged.insert(id) {
                drop(listed);
                let message = format!("this snapshot cannot be shown: {}", error.chain().join(": "));
                let path = id.short().into_bytes();
                self.monitor.finding(&Finding { kind: FindingKind::Damaged, path, message });
            }
        }
        let wanted = list.visible.into_iter().filter(|entry| self.shown.filter.matches(&entry.snapshot));
        let snapshots: Vec<Arc<SnapshotEntry>> = wanted.map(Arc::new).collect();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let Shown { templates, name_of_time, .. } = &self.shown;
        let layout = Layout::of(&snapshots, templates, name_of_time, &mut listed.numbers);
        listed.layout = Arc::new(layout);
        listed.has_failed = false;
        listed.since = Stopwatch::start();
        Ok(())
    }

    /// What stands behind a number; `None` if nothing does any more.
    pub(super) fn object(&self, number: u64) -> Result<Option<Object>> {
        match number & KIND {
            ENTRY => {
                let place = NodePlace {
                    page: (number & !KIND) >> POSITION_BITS,
                    position: usize::try_from(number & POSITION_MASK).unwrap_or(usize::MAX),
                };
                self.stored(place, None).map(Some)
            }
            0 => {
                let layout = self.layout();
                Ok(if layout.directories.contains_key(&number) {
                    Some(Object::Above(layout, number))
                } else {
                    layout.link_of(number).is_some().then(|| Object::Link(Arc::clone(&layout), number))
                })
            }
            _ => {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                let known = known.get(&number).map(|counted| counted.known.clone());
                match known {
                    None => Ok(None),
                    Some(Known::Linked(place)) => self.stored(place, None).map(Some),
                    Some(Known::Directory(directory)) => match directory.place {
                        None => Ok(Some(Object::Top(directory))),
                        Some(place) => self.stored(place, Some(directory)).map(Some),
                    },
                }
            }
        }
    }

    fn stored(&self, place: NodePlace, directory: Option<Arc<Directory>>) -> Result<Object> {
        let id = {
            let numbers = self.page_numbers.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.pages.get(&place.page).copied()
        };
        let gone = || Error::new(ErrorKind::NotFound, "a number that stands for nothing");
        let page = self.pages.page(&id.ok_or_else(gone)?)?;
        if place.position >= page.entries().len() {
            return Err(gone());
        }
        Ok(Object::Stored(page, place.position, directory))
    }

    /// What helps to know which object a number means: of a directory its path below its snapshot.
    pub(super) fn shown(&self, number: u64) -> Vec<u8> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::new();
        let mut next = number;
        while let Some(Known::Directory(directory)) = known.get(&next).map(|counted| &counted.known) {
            names.push(directory.name.clone());
            next = directory.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// What has this name in the object with this number.
    pub(super) fn find(&self, parent: u64, name: &[u8]) -> Result<Option<Found>> {
        match self.object(parent)? {
            Some(Object::Above(layout, number)) => {
                let directory = layout.directories.get(&number);
                let above = directory.and_then(|directory| directory.entries.get(name)).cloned();
                Ok(above.map(|above| found_above(&layout, parent, name, above)))
            }
            Some(object) => {
                let Some(directory) = object.directory() else { return Ok(None) };
                let found = find_in_pages(&directory.tree, name, &|id| self.pages.page(id))?;
                found
                    .map(|(id, page, position)| self.found(parent, directory, &id, &page, position))
                    .transpose()
            }
            None => Ok(None),
        }
    }

    /// An entry of a leaf page of a directory, whose number is `parent`.
    pub(super) fn found(
        &self,
        parent: u64,
        directory: &Arc<Directory>,
        leaf: &ChunkId,
        page: &Arc<StoredPage>,
        position: usize,
    ) -> Result<Found> {
        let entry = page.entries().get(position);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Failed, "no entry at this position"))?;
        let page_number = self.page_numbers.lock().unwrap_or_else(PoisonError::into_inner).of(leaf);
        let place = NodePlace { page: page_number, position };
        let stored = |directory| Object::Stored(Arc::clone(page), position, directory);
        if let NodeKind::Directory(tree) = entry.node.kind {
            let snapshot = Arc::clone(&directory.snapshot);
            let name = entry.node.name.clone();
            let below = Arc::new(Directory { parent, name, tree, snapshot, place: Some(place) });
            let number = directory_number(parent, &entry.node.name);
            let known = Some(Known::Directory(Arc::clone(&below)));
            return Ok(Found { number, object: stored(Some(below)), known });
        }
        if let Some(group) = entry.node.metadata.links {
            let number = LINKED
                | hash(&[
                    &directory.snapshot.id.0,
                    &format!("{} {}", group.filesystem, group.inode).into_bytes(),
                    &content_of(&entry.node),
                ]);
            return Ok(Found { number, object: stored(None), known: Some(Known::Linked(place)) });
        }
        let number = ENTRY | page_number << POSITION_BITS | position as u64;
        Ok(Found { number, object: stored(None), known: None })
    }

    /// What stands in a directory above the snapshots, by name.
    pub(super) fn above(&self, layout: &Arc<Layout>, number: u64) -> Vec<(Vec<u8>, Found)> {
        let entries = layout.directories.get(&number).map(|directory| &directory.entries);
        let found = |(name, above): (&Vec<u8>, &Above)| {
            (name.clone(), found_above(layout, number, name, above.clone()))
        };
        entries.into_iter().flatten().map(found).collect()
    }

    /// The kernel is told the number of what was found.
    pub(super) fn remember(&self, found: &Found) {
        if let Some(known) = &found.known {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(found.number).or_insert_with(|| Counted { known: known.clone(), count: 0 }).count += 1;
        }
    }

    /// The kernel does not ask for a number any more that it was told so often.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = all.get_mut(&number) {
            counted.count = counted.count.saturating_sub(count);
            if counted.count == 0 {
                all.remove(&number);
            }
        }
    }
}

fn found_above(layout: &Arc<Layout>, parent: u64, name: &[u8], above: Above) -> Found {
    match above {
        Above::Directory(number) => {
            Found { number, object: Object::Above(Arc::clone(layout), number), known: None }
        }
        Above::Link(number) => {
            Found { number, object: Object::Link(Arc::clone(layout), number), known: None }
        }
        Above::Snapshot(snapshot) => {
            let number = top_number(parent, name, snapshot.id);
            let tree = snapshot.snapshot.tree;
            let name = snapshot.id.short().into_bytes();
            let directory = Arc::new(Directory { parent, name, tree, snapshot, place: None });
            let known = Some(Known::Directory(Arc::clone(&directory)));
            Found { number, object: Object::Top(directory), known }
        }
    }
}

/// What tells objects of one link group apart that are not the same: kind and content, by the format's rule.
fn content_of(node: &Node) -> Vec<u8> {
    let metadata = Metadata::default();
    Node { name: Vec::new(), kind: node.kind.clone(), metadata, xattrs: Vec::new(), kept: Vec::new() }
        .encode()
}

fn top_number(parent: u64, name: &[u8], snapshot: SessionId) -> u64 {
    DIRECTORY | hash(&[parent.to_string().as_bytes(), &snapshot.0, name])
}

fn directory_number(parent: u64, name: &[u8]) -> u64 {
    DIRECTORY | hash(&[parent.to_string().as_bytes(), name])
}

/// A number of 62 bits that depends on nothing else.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.len().to_string().as_bytes()).update(b" ").update(part);
    }
    beginning(hasher.finalize().as_bytes()) & !KIND
}

/// The first eight bytes as a number.
fn beginning(bytes: &[u8; 32]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::host::Host;
    use crate::base::{Silent, Timestamp};
    use crate::format::node::LinkGroup;
    use crate::format::node::tests::{plain, regular};
    use crate::format::snapshot::tests::snapshot;
    use crate::repository::SessionOptions;
    use crate::repository::tests::new_repository;
    use crate::tree::DirectoryBuilder;

    /// Two snapshots: in both a folder with a file, beside it a file with several names; another file is in the second.
    fn view() -> View {
        let (_, repository) = new_repository();
        for number in 0..2 {
            let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
            let mut below = DirectoryBuilder::new(&session);
            below.push(regular(b"file", 0, crate::format::node::Content::Empty), None).unwrap();
            let below = below.finish().unwrap();
            let mut top = DirectoryBuilder::new(&session);
            top.push(plain(b"folder", NodeKind::Directory(below)), None).unwrap();
            for name in [b"linked-1", b"linked-2"] {
                let mut linked = plain(name, NodeKind::Fifo);
                linked.metadata.links = Some(LinkGroup { filesystem: 0, inode: 1 });
                top.push(linked, None).unwrap();
            }
            let mut other = plain(b"other", NodeKind::Fifo);
            other.metadata.mtime = Timestamp { seconds: number, nanoseconds: 0 };
            top.push(other, None).unwrap();
            let tree = top.finish().unwrap();
            let time = Timestamp { seconds: 100 + number, nanoseconds: 0 };
            let made = || crate::format::snapshot::Snapshot { tree, time, total_nodes: 5, ..snapshot() };
            session.commit(made).unwrap();
        }
        let repository = Arc::new(repository);
        let reader = Arc::new(repository.lasting_reader().unwrap());
        let shown = Shown {
            filter: SnapshotFilter::default(),
            templates: vec!["%T".parse().unwrap()],
            listed_for: Duration::ZERO,
            name_of_time: Box::new(|time| format!("t{}", time.seconds)),
        };
        View::of(repository, Arc::new(Pages::of(reader, 1 << 20)), shown, Arc::new(Silent)).unwrap()
    }

    /// The number of what is found on a path, all of which is remembered.
    fn walk(view: &View, path: &[&str]) -> u64 {
        path.iter().fold(crate::mount::layout::ROOT, |number, name| {
            let found = view.find(number, name.as_bytes()).unwrap().expect(name);
            view.remember(&found);
            found.number
        })
    }

    #[test]
    fn a_file_of_a_shared_page_has_one_number_and_a_directory_one_for_each_path() {
        let view = view();
        let [one, two] = ["t100", "t101"];
        assert_eq!(walk(&view, &[one, "folder", "file"]), walk(&view, &[two, "folder", "file"]));
        assert_ne!(walk(&view, &[one, "folder"]), walk(&view, &[two, "folder"]));
        assert_ne!(walk(&view, &[one, "other"]), walk(&view, &[two, "other"]));
        assert_eq!(walk(&view, &[one, "linked-1"]), walk(&view, &[one, "linked-2"]));
        assert_ne!(walk(&view, &[one, "linked-1"]), walk(&view, &[two, "linked-1"]));
        assert!(view.find(walk(&view, &[one]), b"missing").unwrap().is_none());
        assert!(view.find(walk(&view, &[one, "other"]), b"x").unwrap().is_none());
        assert_eq!(walk(&view, &["latest"]), walk(&view, &["latest"]));
    }

    #[test]
    fn what_the_kernel_forgot_is_forgotten_and_what_it_knows_is_not() {
        let view = view();
        let folder = walk(&view, &["t100", "folder"]);
        assert_eq!(folder, walk(&view, &["t100", "folder"]));
        let is_there = || view.object(folder).unwrap().is_some();
        view.forget(folder, 1);
        assert!(is_there(), "it was told twice");
        view.forget(folder, 1);
        assert!(!is_there());
        view.forget(folder, 7);
        let file = walk(&view, &["t101", "folder", "file"]);
        view.forget(file, 1);
        assert!(view.object(file).unwrap().is_some(), "a page is remembered, not its entries");
        assert!(view.object(file + 1).is_err(), "there is no second entry");
    }

    #[test]
    fn pages_with_the_same_beginning_have_different_numbers() {
        let mut numbers = PageNumbers::default();
        let id = |last| {
            let mut bytes = [0xff; 32];
            bytes[31] = last;
            ChunkId(bytes)
        };
        let first = numbers.of(&id(1));
        assert_eq!(numbers.of(&id(2)), 0, "the next after the last");
        assert_eq!((numbers.of(&id(1)), numbers.of(&id(2))), (first, 0));
        assert_eq!(first, (1 << PAGE_BITS) - 1);
    }
}
