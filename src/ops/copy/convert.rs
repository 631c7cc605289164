//! Between strangers: a stored tree is read, and built again by the rules of another repository.
//!
//! What must hold: contents and everything that nodes say stay as they are, pairs of later versions too; only how content
//! is cut, named and bundled is the target's. Equal directories are converted once. What is held is bounded: of small
//! files the share `piece_bytes` together, of a large one a batch, of each directory in work a page, and the memo.

use std::collections::HashMap;
use std::iter::Peekable;

use rayon::ThreadPool;
use rayon::prelude::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::base::limits::DEPTH_MAX;
use crate::base::monitor::show_path;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result};
use crate::chunker::Cutter;
use crate::format::node::{ChunkRef, Content, LinkGroup, Node, NodeKind, Regular, XattrValue};
use crate::ops::copy::{Base, Failure};
use crate::repository::{ChunkKind, Reader, Repository, Session, SnapshotEntry};
use crate::tree::{
    Budget, DirectoryBuilder, DirectoryEntries, Entry, ListBuilder, Member, Tree, check_length,
};

/// Most files that are converted together.
const GROUP_ENTRIES: usize = 512;
/// What an entry of the memo takes at most, with the room that a table leaves.
const MEMO_ENTRY_BYTES: usize = 160;
/// Most large files with several names of which is remembered what they became.
const LINKS_MAX: usize = 1 << 14;

type Converted<T> = std::result::Result<T, Failure>;

/// The source, and which of its trees became which of the target's in this run: as many as fit an eighth of the limit on
/// memory; the others are converted again.
pub(super) struct Memo<'c> {
    reader: Reader<'c>,
    trees: HashMap<ChunkId, ChunkId>,
    entries_max: usize,
}

impl<'c> Memo<'c> {
    pub(super) fn new(source: &'c Repository, target: &Repository) -> Result<Self> {
        let entries_max = target.memory().bytes() / 8 / MEMO_ENTRY_BYTES;
        Ok(Self { reader: source.reader()?, trees: HashMap::new(), entries_max })
    }
}

/// The same directory of a base: in the source, and its copy in the target. Entries are passed by in order of names.
struct Beside<'c> {
    of_source: Peekable<DirectoryEntries<'c>>,
    of_target: Peekable<DirectoryEntries<'c>>,
}

impl<'c> Beside<'c> {
    fn new(source: Tree<'c>, target: Tree<'c>, (of_source, of_target): (ChunkId, ChunkId)) -> Self {
        let of_target = target.directory(of_target).peekable();
        Self { of_source: source.directory(of_source).peekable(), of_target }
    }

    /// The trees of the subdirectory of this name, if both have one. What cannot be read has none.
    fn trees(&mut self, name: &[u8]) -> Option<(ChunkId, ChunkId)> {
        Some((tree_at(&mut self.of_source, name)?, tree_at(&mut self.of_target, name)?))
    }
}

fn tree_at(entries: &mut Peekable<DirectoryEntries<'_>>, name: &[u8]) -> Option<ChunkId> {
    let is_before =
        |entry: &Result<Entry>| entry.as_ref().is_ok_and(|entry| entry.node.name.as_slice() < name);
    while entries.next_if(is_before).is_some() {}
    match &entries.peek()?.as_ref().ok()?.node {
        Node { name: found, kind: NodeKind::Directory(tree), .. } if found == name => Some(*tree),
        _ => None,
    }
}

/// A directory in work.
struct Frame<'c> {
    id: ChunkId,
    /// Its own entry; the root has none.
    node: Option<Node>,
    entries: DirectoryEntries<'c>,
    builder: DirectoryBuilder<'c>,
    beside: Option<Beside<'c>>,
    group: Vec<Entry>,
    group_bytes: u64,
}

/// Converts the tree of one snapshot.
pub(super) struct Converter<'c> {
    files: Files<'c>,
    pool: &'c ThreadPool,
    trees: &'c mut HashMap<ChunkId, ChunkId>,
    trees_max: usize,
    budget: Budget,
    links: HashMap<LinkGroup, (Content, Content)>,
}

impl<'c> Converter<'c> {
    pub(super) fn new(
        session: &'c Session<'c>,
        entry: &SnapshotEntry,
        pool: &'c ThreadPool,
        monitor: &'c dyn Monitor,
        memo: &'c mut Memo<'_>,
    ) -> Result<Self> {
        let cutter = session.repository().cutter()?;
        // Room for two chunks of any size, so that a full batch always has a cut point.
        let piece_bytes = session.repository().memory().piece_bytes();
        let batch_bytes = piece_bytes.max(2 * cutter.max_bytes());
        let files =
            Files { session, tree: Tree::new(&memo.reader), monitor, cutter, piece_bytes, batch_bytes };
        Ok(Self {
            files,
            pool,
            trees: &mut memo.trees,
            trees_max: memo.entries_max,
            budget: Budget::of(&entry.snapshot),
            links: HashMap::new(),
        })
    }

    /// Converts a directory with everything below it; depth first without recursion, for trees may be deep.
    /// What is as in the base is named again.
    pub(super) fn convert(
        mut self,
        root: ChunkId,
        base: Option<Base>,
        target: Tree<'c>,
    ) -> Converted<ChunkId> {
        let base = base.map(|base| (base.of_source, base.of_target));
        if let Some((_, of_target)) = base.filter(|(of_source, _)| *of_source == root) {
            return Ok(of_target);
        }
        let source = self.files.tree;
        let beside = |trees: Option<_>| trees.map(|trees| Beside::new(source, target, trees));
        let mut open = vec![self.frame(root, None, beside(base))];
        // Of the directory in work.
        let mut path = Vec::new();
        loop {
            if self.files.monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted").into());
            }
            let is_deepest = open.len() >= DEPTH_MAX;
            let Some(frame) = open.last_mut() else {
                return Err(Error::new(ErrorKind::Failed, "a tree without a root").into());
            };
            match frame.entries.next() {
                Some(Ok(entry)) => {
                    self.budget.spend(&entry).map_err(|error| unreadable(&path, error))?;
                    if let NodeKind::Directory(tree) = entry.node.kind {
                        self.flush(frame, &path)?;
                        let node = self.files.with_xattrs(entry.node, &path)?;
                        let of_base = frame.beside.as_mut().and_then(|beside| beside.trees(&node.name));
                        let same = of_base.filter(|(of_source, _)| *of_source == tree);
                        match self.trees.get(&tree).copied().or(same.map(|(_, of_target)| of_target)) {
                            Some(known) => push(frame, Node { kind: NodeKind::Directory(known), ..node })?,
                            None if is_deepest => {
                                let message =
                                    format!("a directory deeper than {DEPTH_MAX} (format rule TREE-1)");
                                return Err(unreadable(&path, Error::damaged(message)));
                            }
                            None => {
                                path = below(&path, &node.name);
                                open.push(self.frame(tree, Some(node), beside(of_base)));
                            }
                        }
                    } else {
                        self.take(frame, entry, &path)?;
                    }
                }
                Some(Err(error)) => return Err(unreadable(&[path.as_slice(), b"/"].concat(), error)),
                None => {
                    self.flush(frame, &path)?;
                    let Some(done) = open.pop() else { continue };
                    let tree = done.builder.finish()?;
                    if self.trees.len() < self.trees_max {
                        self.trees.insert(done.id, tree);
                    }
                    match (open.last_mut(), done.node) {
                        (Some(parent), Some(node)) => {
                            path.truncate(path.len().saturating_sub(node.name.len() + 1));
                            push(parent, Node { kind: NodeKind::Directory(tree), ..node })?;
                        }
                        _ => return Ok(tree),
                    }
                }
            }
        }
    }

    fn frame(&self, id: ChunkId, node: Option<Node>, beside: Option<Beside<'c>>) -> Frame<'c> {
        let entries = self.files.tree.directory(id);
        let builder = DirectoryBuilder::new(self.files.session);
        Frame { id, node, entries, builder, beside, group: Vec::new(), group_bytes: 0 }
    }

    /// Takes an entry that is no directory: with others, or by itself if it is large.
    fn take(&mut self, frame: &mut Frame<'c>, entry: Entry, path: &[u8]) -> Converted<()> {
        let most_bytes = self.files.piece_bytes as u64;
        let bytes = match &entry.node.kind {
            NodeKind::Regular(regular) => regular.content_bytes(),
            _ => 0,
        };
        if bytes > most_bytes {
            self.flush(frame, path)?;
            let node = self.large(entry.node, path)?;
            return Ok(push(frame, node)?);
        }
        if frame.group.len() >= GROUP_ENTRIES || frame.group_bytes.saturating_add(bytes) > most_bytes {
            self.flush(frame, path)?;
        }
        frame.group_bytes += bytes;
        frame.group.push(entry);
        Ok(())
    }

    /// Converts the entries that wait, and appends them in their order.
    fn flush(&self, frame: &mut Frame<'c>, path: &[u8]) -> Converted<()> {
        let group = std::mem::take(&mut frame.group);
        let bytes = std::mem::take(&mut frame.group_bytes);
        if group.is_empty() {
            return Ok(());
        }
        let count = group.len() as u64;
        let files = &self.files;
        let small = |entry| files.small(entry, path);
        let converted: Vec<Converted<(Node, Option<Member>)>> =
            self.pool.install(|| group.into_par_iter().map(small).collect());
        for converted in converted {
            let (node, member) = converted?;
            frame.builder.push(node, member)?;
        }
        self.files.monitor.advance(count, bytes);
        Ok(())
    }

    /// Converts a file batch by batch; of one with several names, once.
    fn large(&mut self, node: Node, directory: &[u8]) -> Converted<Node> {
        let mut node = self.files.with_xattrs(node, directory)?;
        let NodeKind::Regular(regular) = &mut node.kind else { return Ok(node) };
        let path = below(directory, &node.name);
        let links = node.metadata.links;
        let known = links.and_then(|links| self.links.get(&links));
        regular.content = match known.filter(|(before, _)| *before == regular.content) {
            Some((_, after)) => after.clone(),
            None => {
                let after = self.files.stream(regular, &path, self.pool)?;
                if let Some(links) = links.filter(|_| self.links.len() < LINKS_MAX) {
                    self.links.insert(links, (regular.content.clone(), after.clone()));
                }
                after
            }
        };
        self.files.monitor.advance(1, 0);
        Ok(node)
    }
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

fn unreadable(path: &[u8], error: Error) -> Failure {
    Failure::of_source(error.while_doing(format!("cannot read {}", show_path(path))))
}

fn push(frame: &mut Frame<'_>, node: Node) -> Result<()> {
    frame.builder.push(node, None)
}

/// What converts files, on many threads at once.
struct Files<'c> {
    session: &'c Session<'c>,
    tree: Tree<'c>,
    monitor: &'c dyn Monitor,
    cutter: Cutter,
    piece_bytes: usize,
    batch_bytes: usize,
}

impl Files<'_> {
    fn reader(&self) -> &Reader<'_> {
        self.tree.reader()
    }

    /// A data chunk of the source, as long as what names it says.
    fn chunk(&self, chunk: ChunkRef) -> Result<Vec<u8>> {
        let bytes = self.reader().chunk(ChunkKind::Data, &chunk.id)?;
        check_length(&chunk.id, bytes.len() as u64, chunk.length)?;
        Ok(bytes)
    }

    /// The same node; values of extended attributes that are chunks are the target's.
    fn with_xattrs(&self, mut node: Node, directory: &[u8]) -> Converted<Node> {
        for xattr in &mut node.xattrs {
            if let XattrValue::Chunk(chunk) = &mut xattr.value {
                let value = self.chunk(*chunk);
                let value = value.map_err(|error| unreadable(&below(directory, &node.name), error))?;
                chunk.id = self.session.store(ChunkKind::Data, &value)?.id;
            }
        }
        Ok(node)
    }

    /// An entry whose content fits in memory; with its content, if it joins a bundle in the target.
    fn small(&self, entry: Entry, directory: &[u8]) -> Converted<(Node, Option<Member>)> {
        let Entry { node, bundle } = entry;
        let mut node = self.with_xattrs(node, directory)?;
        let has_links = node.metadata.links.is_some();
        let NodeKind::Regular(regular) = &mut node.kind else { return Ok((node, None)) };
        let failed = |error| unreadable(&below(directory, &node.name), error);
        let content = match bundle {
            Some(place) => self.tree.bundled(&place, regular.size).map_err(failed)?,
            None => self.whole(regular).map_err(failed)?,
        };
        let largest = u64::from(self.session.repository().parameters().bundling.file_bytes_max);
        let is_bundled = (1..=largest).contains(&regular.size) && regular.extents.is_none() && !has_links;
        if is_bundled {
            return Ok((node, Some(Member::Content(content))));
        }
        let mut list = ListBuilder::new();
        let mut rest = content.as_slice();
        for length in self.cutter.chunks(&content, true) {
            let (chunk, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            let id = self.session.store(ChunkKind::Data, chunk)?.id;
            list.push(self.session, ChunkRef { id, length: chunk.len() as u64 })?;
        }
        regular.content = list.finish(self.session)?;
        Ok((node, None))
    }

    /// All content bytes of a file.
    fn whole(&self, regular: &Regular) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.tree.content(regular, &mut |chunk| {
            content.extend(self.chunk(chunk)?);
            Ok(())
        })?;
        Ok(content)
    }

    /// Stores the content of a file of any size, the chunks of a batch in parallel.
    fn stream(&self, regular: &Regular, path: &[u8], pool: &ThreadPool) -> Converted<Content> {
        self.monitor.begin(path);
        let mut list = ListBuilder::new();
        let mut held: Vec<u8> = Vec::new();
        // An error of the target ends the reading as well, and is no error of the source.
        let mut not_stored = None;
        let read = self.tree.content(regular, &mut |chunk| {
            held.extend(self.chunk(chunk)?);
            if held.len() < self.batch_bytes {
                return Ok(());
            }
            if self.monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            self.store(&mut held, false, &mut list, pool).map_err(|error| {
                not_stored = Some(error);
                Error::new(ErrorKind::Failed, "the target failed")
            })
        });
        match (not_stored, read) {
            (Some(error), _) => return Err(error.into()),
            (None, Err(error)) if error.kind() == ErrorKind::Interrupted => return Err(error.into()),
            (None, Err(error)) => return Err(unreadable(path, error)),
            (None, Ok(())) => {}
        }
        self.store(&mut held, true, &mut list, pool)?;
        Ok(list.finish(self.session)?)
    }

    /// Stores the chunks at the front that no later byte can change, or all.
    fn store(
        &self,
        held: &mut Vec<u8>,
        is_all: bool,
        list: &mut ListBuilder,
        pool: &ThreadPool,
    ) -> Result<()> {
        let mut chunks = Vec::new();
        let mut rest = held.as_slice();
        for length in self.cutter.chunks(held, is_all) {
            let (chunk, after) = rest.split_at(length.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let store = |chunk: &&[u8]| {
            let id = self.session.store(ChunkKind::Data, chunk)?.id;
            Ok(ChunkRef { id, length: chunk.len() as u64 })
        };
        let stored: Result<Vec<ChunkRef>> = pool.install(|| chunks.par_iter().map(store).collect());
        stored?.into_iter().try_for_each(|chunk| list.push(self.session, chunk))?;
        let left = rest.to_vec();
        self.monitor.advance(0, (held.len() - left.len()) as u64);
        *held = left;
        Ok(())
    }
}
