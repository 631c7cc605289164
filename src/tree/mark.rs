//! Marks everything that snapshots need, level by level, so that each tree page is read once however many snapshots
//! share it, and each segment is opened once a level.
//!
//! What must hold: when a walk ends without a problem, every chunk below every root is marked. A page that was marked
//! before is not read again: who marked it read it. What a page may cost is bounded by the format; that pages name
//! each other in a circle is impossible, since a page's name is the hash of its bytes.

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result};
use crate::format::list::ListPage;
use crate::format::node::{ChunkRef, Content, Node, NodeKind, XattrValue};
use crate::format::page::Page;
use crate::repository::{ChunkKind, Marked, Marks, Placement, Reader, SegmentKey};

/// Neighbouring segments that a task reads by one request and holds at a time.
const TASK_SEGMENTS: usize = 4;

/// Told of a chunk that has no place or cannot be read; an error of its own ends the walk.
pub type Problem<'p> = &'p (dyn Fn(&ChunkId, Error) -> Result<()> + Sync);

/// A page that is still to be read.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Page(ChunkId),
    List { level: u8, page: ChunkRef },
}

impl Wanted {
    const fn id(&self) -> &ChunkId {
        match self {
            Self::Page(id) => id,
            Self::List { page, .. } => &page.id,
        }
    }
}

/// A page and where it will be read.
type Placed = (Placement, Wanted);

/// Marks the pages of these roots and all that they need.
pub fn mark_reachable(
    reader: &Reader<'_>,
    roots: &[ChunkId],
    marks: &Marks,
    monitor: &dyn Monitor,
    problem: Problem<'_>,
) -> Result<()> {
    let walk = Marking { reader, marks, problem };
    let mut level = Vec::new();
    for root in roots {
        walk.want(Wanted::Page(*root), &mut level)?;
    }
    while !level.is_empty() {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let tasks = walk.tasks(&level)?;
        let below: Result<Vec<Vec<Wanted>>> = tasks.into_par_iter().map(|task| walk.read(&task)).collect();
        level = below?.into_iter().flatten().collect();
    }
    Ok(())
}

struct Marking<'w, 'r> {
    reader: &'w Reader<'r>,
    marks: &'w Marks,
    problem: Problem<'w>,
}

impl Marking<'_, '_> {
    /// Marks a page, which is to be read if it was not marked before.
    fn want(&self, wanted: Wanted, next: &mut Vec<Wanted>) -> Result<()> {
        match self.marks.walk(wanted.id()) {
            Marked::First => next.push(wanted),
            Marked::Again => {}
            Marked::Missing => return self.tell_missing(wanted.id()),
        }
        Ok(())
    }

    /// Marks a chunk that names no others.
    fn need(&self, id: &ChunkId) -> Result<()> {
        match self.marks.need(id) {
            Marked::First | Marked::Again => Ok(()),
            Marked::Missing => self.tell_missing(id),
        }
    }

    fn tell_missing(&self, id: &ChunkId) -> Result<()> {
        (self.problem)(id, Error::damaged(format!("no index run has a place for chunk {id}")))
    }

    /// Pages in the order in which they lie, cut into tasks.
    fn tasks(&self, level: &[Wanted]) -> Result<Vec<Vec<Placed>>> {
        let mut placed: Vec<Placed> = Vec::with_capacity(level.len());
        for wanted in level {
            match self.reader.placement(wanted.id()) {
                Ok(placement) => placed.push((placement, *wanted)),
                Err(error) => (self.problem)(wanted.id(), error)?,
            }
        }
        placed.sort_by_key(|(placement, _)| (placement.segment, placement.offset));
        let mut tasks: Vec<Vec<Placed>> = Vec::new();
        let mut segments = 0;
        for group in placed.chunk_by(|(a, _), (b, _)| a.segment == b.segment) {
            let joins = tasks.last().and_then(|task| task.last()).zip(group.first());
            let joins = joins.is_some_and(|((a, _), (b, _))| a.segment.same_pack(&b.segment));
            match tasks.last_mut().filter(|_| joins && segments < TASK_SEGMENTS) {
                Some(task) => task.extend_from_slice(group),
                None => {
                    segments = 0;
                    tasks.push(group.to_vec());
                }
            }
            segments += 1;
        }
        Ok(tasks)
    }

    /// Reads the pages of a task; gives the pages below them that nobody has read.
    fn read(&self, task: &[Placed]) -> Result<Vec<Wanted>> {
        let mut keys: Vec<SegmentKey> = task.iter().map(|(placement, _)| placement.segment).collect();
        keys.dedup();
        // What cannot be read here may have another place.
        let segments = self.reader.segments(&keys).unwrap_or_default();
        let mut next = Vec::new();
        for (placement, wanted) in task {
            let position = keys.iter().position(|key| *key == placement.segment);
            let segment = position.and_then(|position| segments.get(position)?.as_ref().ok());
            let found = segment.and_then(|found| self.reader.chunk_of(found, wanted.id(), placement).ok());
            let outcome = match found {
                Some(bytes) => self.pass_on(wanted, bytes, &mut next),
                None => match self.reader.chunk(ChunkKind::Tree, wanted.id()) {
                    Ok(bytes) => self.pass_on(wanted, &bytes, &mut next),
                    Err(error) => Ok(Err(error)),
                },
            };
            if let Err(error) = outcome? {
                (self.problem)(wanted.id(), error)?;
            }
        }
        Ok(next)
    }

    /// Marks what a page names. The inner error is of the page itself.
    fn pass_on(&self, wanted: &Wanted, bytes: &[u8], next: &mut Vec<Wanted>) -> Result<Result<()>> {
        match wanted {
            Wanted::Page(id) => match Page::decode(bytes) {
                Ok(page) => self.page(&page, next).map(Ok),
                Err(error) => Ok(Err(error.of_opened(&format!("tree page {id}")))),
            },
            Wanted::List { level, page } => match ListPage::decode(bytes, *level, page.length) {
                Ok(list) => self.list(*level, &list.entries, next).map(Ok),
                Err(error) => Ok(Err(error.of_opened(&format!("list page {}", page.id)))),
            },
        }
    }

    fn page(&self, page: &Page, next: &mut Vec<Wanted>) -> Result<()> {
        match page {
            Page::Inner { children, .. } => {
                children.iter().try_for_each(|child| self.want(Wanted::Page(child.id), next))
            }
            Page::Leaf { nodes, bundles } => {
                bundles.iter().try_for_each(|bundle| self.need(bundle))?;
                nodes.iter().try_for_each(|node| self.node(node, next))
            }
        }
    }

    fn node(&self, node: &Node, next: &mut Vec<Wanted>) -> Result<()> {
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(chunk) = &xattr.value {
                self.need(&chunk.id)?;
            }
        }
        match &node.kind {
            NodeKind::Directory(tree) => self.want(Wanted::Page(*tree), next),
            NodeKind::Regular(regular) => match &regular.content {
                Content::Empty | Content::Bundle(_) => Ok(()),
                Content::Chunk(id) => self.need(id),
                Content::Chunks(chunks) => chunks.iter().try_for_each(|chunk| self.need(&chunk.id)),
                Content::List { level, id } => {
                    let page = ChunkRef { id: *id, length: regular.content_bytes() };
                    self.want(Wanted::List { level: *level, page }, next)
                }
            },
            _ => Ok(()),
        }
    }

    fn list(&self, level: u8, entries: &[ChunkRef], next: &mut Vec<Wanted>) -> Result<()> {
        match level.checked_sub(1) {
            None => entries.iter().try_for_each(|entry| self.need(&entry.id)),
            Some(level) => {
                entries.iter().try_for_each(|page| self.want(Wanted::List { level, page: *page }, next))
            }
        }
    }
}
