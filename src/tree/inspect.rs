//! Every tree of a repository read once, page by page, and held against what names it.
//!
//! What must hold: a distinct page is read once, however many snapshots share it; what stands below a page is added up
//! from below, so that each snapshot's own numbers can be held against its tree; no task waits for another. What is kept
//! is some 50 bytes for each distinct page, of which there is about one to a hundred chunks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::Scope;

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, Error, ErrorKind, Result};
use crate::format::list::ListPage;
use crate::format::node::{ChunkRef, Content, Node, NodeKind, XattrValue};
use crate::format::page::Page;
use crate::repository::{Audit, ChunkKind, SnapshotEntry, TreeChunk, Whereabouts};
use crate::tree::leaf_entries;

/// Chunks without a place that are counted one by one.
const NOWHERE_MAX: usize = 1 << 16;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeCounts {
    /// Distinct pages of directories and of chunk lists that were read.
    pub pages: u64,
}

/// What is wrong with trees, beside what is wrong with packs.
#[derive(Debug, Default)]
pub struct TreeDamage {
    /// Pages that are not what names them, by their rows.
    pub(super) pages: BTreeMap<usize, PageDamage>,
    /// The number of the damage that is chunks without a place.
    pub(super) nowhere: Option<u32>,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageDamage {
    /// The number of the damage, if it was kept.
    pub number: Option<u32>,
    /// The page cannot be used at all.
    pub is_whole: bool,
}

/// How an inspection ended.
#[derive(Debug)]
pub enum Inspected {
    /// Every tree was read.
    Done(TreeCounts, TreeDamage),
    /// Packs went by a verdict meanwhile: the repository is to be looked at again.
    Outdated,
}

/// What stands at and below a page.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    nodes: u64,
    bytes: u64,
    /// Directories below each other.
    height: u16,
    level: u8,
    /// Of the last name below it.
    last_name: u64,
    /// The page itself could not be used.
    is_lost: bool,
    /// Something below it could not be used.
    lacks: bool,
}

impl Sum {
    const LOST: Self =
        Self { nodes: 0, bytes: 0, height: 0, level: 0, last_name: 0, is_lost: true, lacks: true };

    fn add(&mut self, below: Self, is_directory: bool) {
        self.nodes = self.nodes.saturating_add(below.nodes);
        self.bytes = self.bytes.saturating_add(below.bytes);
        self.height = self.height.max(below.height.saturating_add(u16::from(is_directory)));
        self.lacks |= below.lacks;
    }
}

/// What names a page says of it.
#[derive(Clone, Debug, Default)]
struct Expected {
    level: Option<u8>,
    last_name: Option<Vec<u8>>,
    /// All names are above this one.
    above: Option<Vec<u8>>,
}

/// Who is told what stands at and below a page.
#[derive(Debug)]
struct Waiter {
    place: WaitingPlace,
    level: Option<u8>,
    last_name: Option<u64>,
    is_directory: bool,
}

#[derive(Debug)]
enum WaitingPlace {
    Page(Arc<Frame>),
    Snapshot(usize),
}

/// A page of which not everything below is known.
#[derive(Debug)]
struct Frame {
    row: usize,
    sum: Mutex<Sum>,
    left: AtomicUsize,
}

#[derive(Debug)]
enum Known {
    InWork(Vec<Waiter>),
    Done(Sum),
}

struct Inspection<'a, 'r> {
    audit: &'a Audit<'r>,
    known: Mutex<HashMap<usize, Known>>,
    /// List pages, by what names them.
    lists: Mutex<BTreeSet<(usize, u8, u64)>>,
    nowhere: Mutex<BTreeSet<ChunkId>>,
    damage: Mutex<BTreeMap<usize, PageDamage>>,
    pages: AtomicU64,
    is_outdated: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Reads the trees of all visible snapshots. What is wrong is told to the audit.
pub fn inspect(audit: &Audit<'_>) -> Result<Inspected> {
    let inspection = Inspection {
        audit,
        known: Mutex::default(),
        lists: Mutex::default(),
        nowhere: Mutex::default(),
        damage: Mutex::default(),
        pages: AtomicU64::new(0),
        is_outdated: AtomicBool::new(false),
        failure: Mutex::default(),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(audit.repository().reader_count())
        .build()
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start threads", cause))?;
    pool.scope(|scope| {
        for (number, entry) in audit.snapshots().iter().enumerate() {
            let waiter = Waiter {
                place: WaitingPlace::Snapshot(number),
                level: None,
                last_name: None,
                is_directory: false,
            };
            inspection.visit(scope, entry.snapshot.tree, Expected::default(), waiter);
        }
    });
    if let Some(error) = lock(&inspection.failure).take() {
        return Err(error);
    }
    if inspection.is_outdated.load(Ordering::Relaxed) {
        return Ok(Inspected::Outdated);
    }
    let nowhere = inspection.tell_nowhere();
    let counts = TreeCounts { pages: inspection.pages.into_inner() };
    let pages = inspection.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Inspected::Done(counts, TreeDamage { pages, nowhere }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

impl<'a> Inspection<'a, '_> {
    fn is_over(&self) -> bool {
        if let Err(error) = self.audit.go_on() {
            lock(&self.failure).get_or_insert(error);
        }
        self.is_outdated.load(Ordering::Relaxed) || lock(&self.failure).is_some()
    }

    /// Looks at a page, which is read if nobody did.
    fn visit<'s>(&'s self, scope: &Scope<'s>, id: ChunkId, expected: Expected, waiter: Waiter) {
        let row = match self.audit.find(ChunkKind::Tree, &id) {
            Whereabouts::There { row, .. } => row,
            elsewhere => {
                self.miss(ChunkKind::Tree, &id, elsewhere);
                return self.pass_on(vec![(waiter, Sum::LOST)]);
            }
        };
        let known = match lock(&self.known).entry(row) {
            Entry::Vacant(entry) => {
                entry.insert(Known::InWork(vec![waiter]));
                scope.spawn(move |scope| self.read(scope, row, &id, &expected));
                return;
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Known::InWork(waiters) => return waiters.push(waiter),
                Known::Done(sum) => *sum,
            },
        };
        self.pass_on(vec![(waiter, known)]);
    }

    fn read<'s>(&'s self, scope: &Scope<'s>, row: usize, id: &ChunkId, expected: &Expected) {
        let page = match self.page(id) {
            Ok(Some(page)) => page,
            outcome => {
                if let Err(error) = outcome {
                    self.spoil_page(row, &format!("tree page {id}"), &error, true);
                }
                return self.finish(row, Sum::LOST);
            }
        };
        if let Err(error) = check_page(&page, expected) {
            self.spoil_page(row, &format!("tree page {id}"), &error, true);
            return self.finish(row, Sum::LOST);
        }
        let sum = Sum {
            level: match &page {
                Page::Leaf { .. } => 0,
                Page::Inner { level, .. } => *level,
            },
            last_name: hash(page.last_name().unwrap_or_default()),
            ..Sum::default()
        };
        // One more than there are, so that it is not done before all of them are asked for.
        let frame = Arc::new(Frame { row, sum: Mutex::new(sum), left: AtomicUsize::new(1) });
        match page {
            Page::Inner { level, children } => {
                let mut above = expected.above.clone();
                for child in children {
                    let expected = Expected {
                        level: level.checked_sub(1),
                        last_name: Some(child.last_name.clone()),
                        above: above.replace(child.last_name),
                    };
                    self.visit_below(scope, &frame, child.id, expected, false);
                }
            }
            Page::Leaf { nodes, bundles } => self.leaf(scope, &frame, id, nodes, &bundles),
        }
        self.settle(&frame);
    }

    fn visit_below<'s>(
        &'s self,
        scope: &Scope<'s>,
        frame: &Arc<Frame>,
        id: ChunkId,
        expected: Expected,
        is_directory: bool,
    ) {
        frame.left.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter {
            place: WaitingPlace::Page(Arc::clone(frame)),
            level: expected.level,
            last_name: expected.last_name.as_deref().map(hash),
            is_directory,
        };
        self.visit(scope, id, expected, waiter);
    }

    /// Reads a page. `None` if no place of it counts, which was told.
    fn page(&self, id: &ChunkId) -> Result<Option<Page>> {
        let Some(bytes) = self.bytes(id) else { return Ok(None) };
        Page::decode(&bytes).map(Some).map_err(|error| error.of_opened("it"))
    }

    fn bytes(&self, id: &ChunkId) -> Option<Vec<u8>> {
        if self.is_over() {
            return None;
        }
        self.pages.fetch_add(1, Ordering::Relaxed);
        match self.audit.tree_chunk(id) {
            Ok(TreeChunk::Content(bytes)) => return Some(bytes),
            Ok(TreeChunk::Lost) => {}
            Ok(TreeChunk::Outdated) => self.is_outdated.store(true, Ordering::Relaxed),
            Err(error) => drop(lock(&self.failure).get_or_insert(error)),
        }
        None
    }

    fn leaf<'s>(
        &'s self,
        scope: &Scope<'s>,
        frame: &Arc<Frame>,
        id: &ChunkId,
        nodes: Vec<Node>,
        bundles: &[ChunkId],
    ) {
        let what = || format!("tree page {id}");
        let of_page = |wrong: Result<()>| {
            if let Err(error) = wrong {
                self.spoil_page(frame.row, &what(), &error, false);
            }
        };
        {
            let mut sum = lock(&frame.sum);
            sum.nodes = nodes.len() as u64;
            sum.bytes = nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.size()));
        }
        let entries = match leaf_entries(id, nodes, bundles) {
            Ok(entries) => entries,
            Err(error) => return of_page(Err(error)),
        };
        for entry in entries {
            for xattr in &entry.node.xattrs {
                if let XattrValue::Chunk(chunk) = &xattr.value {
                    of_page(self.need(&chunk.id, chunk.length));
                }
            }
            if let Some(bundle) = &entry.bundle {
                of_page(self.need(&bundle.id, bundle.bundle_bytes));
            }
            match &entry.node.kind {
                NodeKind::Directory(root) => {
                    self.visit_below(scope, frame, *root, Expected::default(), true);
                }
                NodeKind::Regular(regular) => match &regular.content {
                    Content::Empty | Content::Bundle(_) => {}
                    Content::Chunk(id) => of_page(self.need(id, regular.content_bytes())),
                    Content::Chunks(chunks) => {
                        chunks.iter().for_each(|chunk| of_page(self.need(&chunk.id, chunk.length)));
                    }
                    Content::List { level, id } => {
                        let page = ChunkRef { id: *id, length: regular.content_bytes() };
                        self.visit_list(scope, *level, page);
                    }
                },
                _ => {}
            }
        }
    }

    /// Looks at a page of a chunk list, which is read if nobody did.
    fn visit_list<'s>(&'s self, scope: &Scope<'s>, level: u8, page: ChunkRef) {
        let row = match self.audit.find(ChunkKind::Tree, &page.id) {
            Whereabouts::There { row, .. } => row,
            elsewhere => return self.miss(ChunkKind::Tree, &page.id, elsewhere),
        };
        if lock(&self.lists).insert((row, level, page.length)) {
            scope.spawn(move |scope| self.list(scope, row, level, page));
        }
    }

    fn list<'s>(&'s self, scope: &Scope<'s>, row: usize, level: u8, page: ChunkRef) {
        let Some(bytes) = self.bytes(&page.id) else { return };
        let what = format!("list page {}", page.id);
        let list = match ListPage::decode(&bytes, level, page.length) {
            Ok(list) => list,
            Err(error) => return self.spoil_page(row, &what, &error.of_opened("it"), true),
        };
        for entry in list.entries {
            match level.checked_sub(1) {
                Some(below) => self.visit_list(scope, below, entry),
                None => {
                    if let Err(error) = self.need(&entry.id, entry.length) {
                        self.spoil_page(row, &what, &error, false);
                    }
                }
            }
        }
    }

    /// A data chunk is needed; an error says that it has another length than it must have.
    fn need(&self, id: &ChunkId, expected: u64) -> Result<()> {
        match self.audit.find(ChunkKind::Data, id) {
            Whereabouts::There { length, .. } => super::check_length(id, length.into(), expected),
            elsewhere => {
                self.miss(ChunkKind::Data, id, elsewhere);
                Ok(())
            }
        }
    }

    fn miss(&self, kind: ChunkKind, id: &ChunkId, whereabouts: Whereabouts) {
        match whereabouts {
            Whereabouts::Nowhere => {
                let mut nowhere = lock(&self.nowhere);
                if nowhere.len() < NOWHERE_MAX {
                    nowhere.insert(*id);
                }
            }
            Whereabouts::Lost { damage: None, .. } => self.audit.tell_lost(kind, id),
            Whereabouts::Lost { .. } | Whereabouts::There { .. } => {}
        }
    }

    fn spoil_page(&self, row: usize, what: &str, error: &Error, is_whole: bool) {
        let number = self.audit.tell(what, error);
        let mut damage = lock(&self.damage);
        let known = damage.entry(row).or_insert(PageDamage { number, is_whole });
        known.is_whole |= is_whole;
    }

    /// All below a page was asked for, or one more is known.
    fn settle(&self, frame: &Arc<Frame>) {
        if frame.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let sum = *lock(&frame.sum);
            self.finish(frame.row, sum);
        }
    }

    fn finish(&self, row: usize, sum: Sum) {
        let waiters = match lock(&self.known).insert(row, Known::Done(sum)) {
            Some(Known::InWork(waiters)) => waiters,
            _ => Vec::new(),
        };
        self.pass_on(waiters.into_iter().map(|waiter| (waiter, sum)).collect());
    }

    /// Tells what is known of pages to who waits for it, and so on upwards.
    fn pass_on(&self, known: Vec<(Waiter, Sum)>) {
        let mut known = known;
        while let Some((waiter, sum)) = known.pop() {
            match waiter.place {
                WaitingPlace::Snapshot(number) => self.check_snapshot(number, sum),
                WaitingPlace::Page(frame) => {
                    let fits = waiter.level.is_none_or(|level| level == sum.level)
                        && waiter.last_name.is_none_or(|last_name| last_name == sum.last_name);
                    let mut of_frame = lock(&frame.sum);
                    of_frame.add(sum, waiter.is_directory);
                    if !fits && !sum.is_lost {
                        of_frame.lacks = true;
                    }
                    let of_page = *of_frame;
                    drop(of_frame);
                    if !fits && !sum.is_lost {
                        let error = Error::damaged(
                            "a page below it is not what it says (format rules PAGE-6, PAGE-7)",
                        );
                        let what = self.audit.chunk_at(frame.row);
                        self.spoil_page(frame.row, &format!("tree page {what}"), &error, true);
                    }
                    if frame.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        let row = frame.row;
                        let before = lock(&self.known).insert(row, Known::Done(of_page));
                        if let Some(Known::InWork(waiters)) = before {
                            known.extend(waiters.into_iter().map(|waiter| (waiter, of_page)));
                        }
                    }
                }
            }
        }
    }

    /// The whole tree of a snapshot is known.
    fn check_snapshot(&self, number: usize, sum: Sum) {
        let Some(entry) = self.audit.snapshots().get(number) else { return };
        let SnapshotEntry { id, snapshot, .. } = entry;
        let (nodes, bytes) = (snapshot.total_nodes, snapshot.total_bytes);
        let what = format!("snapshots/{id}");
        // A sum at its end bounds nothing.
        if sum.nodes > nodes || (sum.bytes > bytes && bytes != u64::MAX) {
            let message = format!(
                "its tree holds {} nodes and {} bytes where it says {nodes} and {bytes} (format rule SNAP-6)",
                sum.nodes, sum.bytes
            );
            self.audit.tell(&what, &Error::damaged(message));
        } else if !sum.lacks && (sum.nodes, sum.bytes) != (nodes, bytes) && bytes != u64::MAX {
            self.audit.monitor().note(&format!(
                "the tree of snapshot {} holds {} nodes and {} bytes, fewer than the {nodes} and {bytes} that it says",
                id.short(),
                sum.nodes,
                sum.bytes
            ));
        }
        if usize::from(sum.height) >= DEPTH_MAX {
            let message = format!("a directory deeper than {DEPTH_MAX} (format rule TREE-1)");
            self.audit.tell(&what, &Error::damaged(message));
        }
    }

    fn tell_nowhere(&self) -> Option<u32> {
        let nowhere = lock(&self.nowhere);
        let first = nowhere.first()?;
        let at_least = if nowhere.len() < NOWHERE_MAX { "" } else { "at least " };
        let message = format!(
            "no run has a place for {at_least}{} of the chunks that snapshots need, as {first}",
            nowhere.len()
        );
        self.audit.tell("index", &Error::damaged(message))
    }
}

/// A page is what names it says: rules PAGE-6 and PAGE-7.
fn check_page(page: &Page, expected: &Expected) -> Result<()> {
    let (level, first) = match page {
        Page::Leaf { nodes, .. } => (0, nodes.first().map(|node| &node.name)),
        Page::Inner { level, children } => (*level, children.first().map(|child| &child.last_name)),
    };
    if let Some(expected) = expected.level.filter(|expected| *expected != level) {
        return Err(Error::damaged(format!(
            "it has level {level} where {expected} must stand (format rule PAGE-6)"
        )));
    }
    let ends_right = expected.last_name.as_deref().is_none_or(|name| page.last_name() == Some(name));
    let begins_right = first.zip(expected.above.as_ref()).is_none_or(|(first, above)| first > above);
    if !ends_right || !begins_right {
        return Err(Error::damaged("it does not have the names that it must have (format rule PAGE-7)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
