//! Which files of which snapshots a damage hurts: a second walk, made only if there is damage.
//!
//! What must hold: every path of every visible snapshot that needs something damaged is counted, by each damage that it
//! needs and once in all; a part of a directory that cannot be read counts as one path. What is kept of pages that are
//! hurt stays within a share of the limit on memory: of what is not kept, pages are read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::base::{ChunkId, Result, SessionId};
use crate::format::list::ListPage;
use crate::format::node::{ChunkRef, Content, NodeKind, XattrValue};
use crate::format::page::Page;
use crate::repository::{Audit, ChunkKind, TreeChunk, Whereabouts};
use crate::tree::inspect::PageDamage;
use crate::tree::{Entry, TreeDamage, leaf_entries};

/// Paths and snapshots that are kept of each damage.
pub const SHOWN_MAX: usize = 10;
/// Damages whose files are told from each other.
const APART_MAX: u32 = 1000;
/// Stands for all damages together.
const ALL: u32 = u32::MAX;
/// Stands for the damages that are not told from each other.
const OTHERS: u32 = APART_MAX;

/// What a damage hurts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HurtBy {
    /// Paths, anew in each snapshot.
    pub paths: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Some of these snapshots, newest first.
    pub shown_snapshots: Vec<SessionId>,
    /// Some of the paths; one that ends with a slash is a directory of which a part cannot be read.
    pub shown_paths: Vec<(SessionId, Vec<u8>)>,
}

/// What all damages hurt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hurt {
    /// By numbers of damages; the last is of all that have no number below it.
    pub by_damage: BTreeMap<u32, HurtBy>,
    /// Paths that any damage hurts, anew in each snapshot.
    pub paths: u64,
    /// Snapshots that any damage hurts.
    pub snapshots: u64,
}

impl Hurt {
    /// What a damage hurts, by its number.
    pub fn by(&self, number: u32) -> Option<&HurtBy> {
        self.by_damage.get(&number).filter(|_| number < APART_MAX)
    }

    /// What damages hurt that are not told from each other.
    pub fn by_others(&self) -> Option<&HurtBy> {
        self.by_damage.get(&OTHERS)
    }
}

/// Paths by damage; of none where nothing is hurt.
type Counts = BTreeMap<u32, u64>;
/// Damages.
type Damages = BTreeSet<u32>;

fn number(damage: Option<u32>) -> u32 {
    damage.filter(|number| *number < APART_MAX).unwrap_or(OTHERS)
}

fn add(counts: &mut Counts, damage: u32, paths: u64) {
    let count = counts.entry(damage).or_default();
    *count = count.saturating_add(paths);
}

fn add_path(counts: &mut Counts, damages: &Damages) {
    if !damages.is_empty() {
        damages.iter().chain([&ALL]).for_each(|damage| add(counts, *damage, 1));
    }
}

fn add_all(counts: &mut Counts, below: &Counts) {
    below.iter().for_each(|(damage, paths)| add(counts, *damage, *paths));
}

/// A page that was read, or why it cannot be.
enum Read {
    Page(usize, Page),
    Lost(Damages),
    /// Not to be read, and for no damage that is known.
    Unknown,
}

/// A page in work.
struct Frame {
    row: usize,
    counts: Counts,
    below: Vec<ChunkId>,
}

struct Search<'a, 'r> {
    audit: &'a Audit<'r>,
    damage: &'a TreeDamage,
    /// Pages of which everything below is known; shared where nothing is hurt.
    pages: HashMap<usize, Rc<Counts>>,
    lists: HashMap<usize, Rc<Damages>>,
    nothing: (Rc<Counts>, Rc<Damages>),
    kept_bytes: usize,
    kept_bytes_max: usize,
}

/// Finds what damages hurt.
pub fn find_hurt(audit: &Audit<'_>, damage: &TreeDamage) -> Result<Hurt> {
    let mut search = Search {
        audit,
        damage,
        pages: HashMap::new(),
        lists: HashMap::new(),
        nothing: Default::default(),
        kept_bytes: 0,
        kept_bytes_max: audit.repository().memory().bytes() / 8,
    };
    let mut hurt = Hurt::default();
    // The newest are what most are asked for.
    for entry in audit.snapshots().iter().rev() {
        let counts = search.count(entry.snapshot.tree)?;
        for (damage, paths) in counts.iter() {
            if *damage == ALL {
                hurt.paths = hurt.paths.saturating_add(*paths);
                hurt.snapshots += 1;
                continue;
            }
            let by = hurt.by_damage.entry(*damage).or_default();
            by.paths = by.paths.saturating_add(*paths);
            by.snapshots += 1;
            if by.shown_snapshots.len() < SHOWN_MAX {
                by.shown_snapshots.push(entry.id);
            }
        }
        search.show(entry.id, entry.snapshot.tree, &counts, &mut hurt)?;
    }
    Ok(hurt)
}

impl Search<'_, '_> {
    /// The paths at and below a directory that are hurt.
    fn count(&mut self, root: ChunkId) -> Result<Rc<Counts>> {
        let mut open: Vec<Frame> = Vec::new();
        let mut next = Some(root);
        loop {
            let done = match next.take() {
                Some(page) => match self.begin(&page)? {
                    Ok(counts) => counts,
                    Err(frame) => {
                        open.push(frame);
                        Rc::clone(&self.nothing.0)
                    }
                },
                None => match open.pop() {
                    Some(frame) => self.keep(frame.row, frame.counts),
                    None => return Ok(Rc::clone(&self.nothing.0)),
                },
            };
            match open.last_mut() {
                Some(frame) => {
                    add_all(&mut frame.counts, &done);
                    next = frame.below.pop();
                }
                None => return Ok(done),
            }
        }
    }

    fn keep(&mut self, row: usize, counts: Counts) -> Rc<Counts> {
        let counts = if counts.is_empty() { Rc::clone(&self.nothing.0) } else { Rc::new(counts) };
        let bytes = 48 + 24 * counts.len();
        if self.kept_bytes + bytes <= self.kept_bytes_max {
            self.kept_bytes += bytes;
            self.pages.insert(row, Rc::clone(&counts));
        }
        counts
    }

    /// What is hurt at and below a page, if that is known already; else what is hurt in it, and what is below.
    fn begin(&mut self, id: &ChunkId) -> Result<std::result::Result<Rc<Counts>, Frame>> {
        if let Whereabouts::There { row, .. } = self.audit.find(ChunkKind::Tree, id)
            && let Some(known) = self.pages.get(&row)
        {
            return Ok(Ok(Rc::clone(known)));
        }
        let (row, page) = match self.read(id)? {
            Read::Page(row, page) => (row, page),
            Read::Lost(damages) => {
                let mut counts = Counts::new();
                add_path(&mut counts, &damages);
                return Ok(Ok(Rc::new(counts)));
            }
            Read::Unknown => return Ok(Ok(Rc::clone(&self.nothing.0))),
        };
        let mut frame = Frame { row, counts: Counts::new(), below: Vec::new() };
        match page {
            Page::Inner { children, .. } => {
                frame.below = children.into_iter().rev().map(|child| child.id).collect();
            }
            Page::Leaf { nodes, bundles } => {
                for entry in leaf_entries(id, nodes, &bundles)? {
                    add_path(&mut frame.counts, &self.of_entry(row, &entry)?);
                    if let NodeKind::Directory(root) = entry.node.kind {
                        frame.below.push(root);
                    }
                }
            }
        }
        Ok(Err(frame))
    }

    fn read(&self, id: &ChunkId) -> Result<Read> {
        self.audit.go_on()?;
        let row = match self.audit.find(ChunkKind::Tree, id) {
            Whereabouts::There { row, .. } => row,
            elsewhere => return Ok(Read::Lost(Damages::from([self.number_of(elsewhere)]))),
        };
        let lost = |damage: &PageDamage| Read::Lost(Damages::from([number(damage.number)]));
        let of_page = self.damage.pages.get(&row);
        if let Some(damage) = of_page.filter(|damage| damage.is_whole) {
            return Ok(lost(damage));
        }
        match self.audit.tree_chunk(id)? {
            TreeChunk::Content(bytes) => Ok(match (Page::decode(&bytes), of_page) {
                (Ok(page), _) => Read::Page(row, page),
                (Err(_), Some(damage)) => lost(damage),
                (Err(_), None) => Read::Unknown,
            }),
            TreeChunk::Lost => Ok(match self.audit.find(ChunkKind::Tree, id) {
                // It cannot be read for another reason than damage.
                Whereabouts::There { .. } => Read::Unknown,
                elsewhere => Read::Lost(Damages::from([self.number_of(elsewhere)])),
            }),
            TreeChunk::Outdated => Ok(Read::Unknown),
        }
    }

    fn number_of(&self, whereabouts: Whereabouts) -> u32 {
        match whereabouts {
            Whereabouts::Lost { damage, .. } => number(damage),
            Whereabouts::Nowhere | Whereabouts::There { .. } => number(self.damage.nowhere),
        }
    }

    /// The damages that hurt an entry itself: its content and its extended attributes.
    fn of_entry(&mut self, row: usize, entry: &Entry) -> Result<Damages> {
        let mut damages = Damages::new();
        for xattr in &entry.node.xattrs {
            if let XattrValue::Chunk(chunk) = &xattr.value {
                self.of_chunk(row, chunk, &mut damages);
            }
        }
        if let Some(bundle) = &entry.bundle {
            let chunk = ChunkRef { id: bundle.id, length: bundle.bundle_bytes };
            self.of_chunk(row, &chunk, &mut damages);
        }
        if let NodeKind::Regular(regular) = &entry.node.kind {
            match &regular.content {
                Content::Empty | Content::Bundle(_) => {}
                Content::Chunk(id) => {
                    let chunk = ChunkRef { id: *id, length: regular.content_bytes() };
                    self.of_chunk(row, &chunk, &mut damages);
                }
                Content::Chunks(chunks) => {
                    chunks.iter().for_each(|chunk| self.of_chunk(row, chunk, &mut damages));
                }
                Content::List { level, id } => {
                    let page = ChunkRef { id: *id, length: regular.content_bytes() };
                    damages.extend(self.of_list(*level, page)?.iter());
                }
            }
        }
        Ok(damages)
    }

    fn of_chunk(&self, row: usize, chunk: &ChunkRef, damages: &mut Damages) {
        match self.audit.find(ChunkKind::Data, &chunk.id) {
            Whereabouts::There { length, .. } if u64::from(length) == chunk.length => {}
            // The page names a chunk of another length.
            Whereabouts::There { .. } => {
                let damage = self.damage.pages.get(&row).and_then(|damage| damage.number);
                damages.insert(number(damage));
            }
            elsewhere => drop(damages.insert(self.number_of(elsewhere))),
        }
    }

    fn of_list(&mut self, level: u8, page: ChunkRef) -> Result<Rc<Damages>> {
        self.audit.go_on()?;
        let lost = |damage: u32| Ok(Rc::new(Damages::from([damage])));
        let row = match self.audit.find(ChunkKind::Tree, &page.id) {
            Whereabouts::There { row, .. } => row,
            elsewhere => return lost(self.number_of(elsewhere)),
        };
        if let Some(known) = self.lists.get(&row) {
            return Ok(Rc::clone(known));
        }
        let of_page = self.damage.pages.get(&row).copied();
        if let Some(damage) = of_page.filter(|damage| damage.is_whole) {
            return lost(number(damage.number));
        }
        let bytes = match self.audit.tree_chunk(&page.id)? {
            TreeChunk::Content(bytes) => bytes,
            TreeChunk::Lost => {
                return match self.audit.find(ChunkKind::Tree, &page.id) {
                    Whereabouts::There { .. } => Ok(Rc::clone(&self.nothing.1)),
                    elsewhere => lost(self.number_of(elsewhere)),
                };
            }
            TreeChunk::Outdated => return Ok(Rc::clone(&self.nothing.1)),
        };
        let Ok(list) = ListPage::decode(&bytes, level, page.length) else {
            return lost(number(of_page.and_then(|damage| damage.number)));
        };
        let mut damages = Damages::new();
        for entry in list.entries {
            match level.checked_sub(1) {
                None => self.of_chunk(row, &entry, &mut damages),
                // As deep as there are levels, of which a node says at most 16.
                Some(below) => damages.extend(self.of_list(below, entry)?.iter()),
            }
        }
        let damages = if damages.is_empty() { Rc::clone(&self.nothing.1) } else { Rc::new(damages) };
        let bytes = 48 + 8 * damages.len();
        if self.kept_bytes + bytes <= self.kept_bytes_max {
            self.kept_bytes += bytes;
            self.lists.insert(row, Rc::clone(&damages));
        }
        Ok(damages)
    }

    /// Adds paths of a snapshot for damages of which not enough are shown.
    fn show(&mut self, snapshot: SessionId, root: ChunkId, counts: &Counts, hurt: &mut Hurt) -> Result<()> {
        let lacks = |damage: &u32, hurt: &Hurt| {
            hurt.by_damage.get(damage).is_some_and(|by| by.shown_paths.len() < SHOWN_MAX)
        };
        let mut pending: Vec<(ChunkId, Rc<[u8]>)> = vec![(root, Rc::from([]))];
        while let Some((id, path)) = pending.pop() {
            if !counts.keys().any(|damage| lacks(damage, hurt)) {
                break;
            }
            let below = self.count(id)?;
            if !below.keys().any(|damage| lacks(damage, hurt)) {
                continue;
            }
            let mut take = |damages: &Damages, path: &[u8]| {
                for damage in damages {
                    if let Some(by) = hurt.by_damage.get_mut(damage)
                        && by.shown_paths.len() < SHOWN_MAX
                    {
                        by.shown_paths.push((snapshot, path.to_vec()));
                    }
                }
            };
            match self.read(&id)? {
                Read::Lost(damages) => take(&damages, &[&path, b"/".as_slice()].concat()),
                Read::Unknown => {}
                Read::Page(_, Page::Inner { children, .. }) => {
                    pending.extend(children.into_iter().rev().map(|child| (child.id, Rc::clone(&path))));
                }
                Read::Page(row, Page::Leaf { nodes, bundles }) => {
                    let mut directories = Vec::new();
                    for entry in leaf_entries(&id, nodes, &bundles)? {
                        let of_entry = [&path, b"/".as_slice(), &entry.node.name].concat();
                        take(&self.of_entry(row, &entry)?, &of_entry);
                        if let NodeKind::Directory(root) = entry.node.kind {
                            directories.push((root, Rc::from(of_entry)));
                        }
                    }
                    pending.extend(directories.into_iter().rev());
                }
            }
        }
        Ok(())
    }
}
