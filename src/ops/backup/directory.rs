//! Directories as tasks: each reads its names by ranges, lets its subdirectories go first, then its files, and hands
//! its node to its parent when all are done.
//!
//! What must hold: a task never waits; whoever finishes the last piece goes on with the directory. Contents of tiny
//! files are held only for one range of a directory whose subdirectories are done, however deep the tree is.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, FindingKind, Result};
use crate::format::node::{Metadata, Node, NodeKind, Xattr};
use crate::fsmeta::capture::{StatKind, metadata};
use crate::ops::backup::big::{OpenLater, WaitingFile};
use crate::ops::backup::file::{self, Taken};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::path::PathLink;
use crate::source::{Directory, Listed, Names};
use crate::tree::DirectoryBuilder;

/// Entries of a directory that are worked on at a time.
const RANGE_ENTRIES: usize = 512;
/// Entries that are read by one task.
const GROUP_ENTRIES: usize = 32;
/// Content bytes that are read by one task, unless a single file has more.
const GROUP_BYTES: u64 = 4 << 20;

/// Where a finished node goes.
pub(super) enum Goal<'s> {
    /// To a slot of the directory that holds it.
    Parent(Arc<DirectoryTask<'s>>, usize),
    /// It is the root of a source.
    Root(std::path::PathBuf),
}

/// A directory that is being backed up.
pub(super) struct DirectoryTask<'s> {
    goal: Goal<'s>,
    pub(super) directory: Directory,
    pub(super) path: Arc<PathLink>,
    depth: usize,
    pub(super) source: Arc<SourceCounts>,
    own: (Vec<u8>, Metadata, Vec<Xattr>),
    names: Names,
    progress: Mutex<Progress<'s>>,
    slots: Mutex<Vec<Slot>>,
    pending: AtomicUsize,
}

struct Progress<'s> {
    next: usize,
    builder: Option<DirectoryBuilder<'s>>,
    /// Of the range that is worked on, while its subdirectories come first.
    files: Option<Vec<(usize, Listed)>>,
}

/// An entry of the range that is worked on.
#[derive(Default)]
enum Slot {
    /// It is not part of the snapshot, or not yet.
    #[default]
    Nothing,
    /// A node, and the content of a file that joins a bundle.
    Node(Box<Node>, Option<Vec<u8>>),
}

/// A directory that is about to be read.
pub(super) struct Found<'s> {
    pub(super) opened: Result<Directory>,
    pub(super) path: Arc<PathLink>,
    pub(super) depth: usize,
    pub(super) source: Arc<SourceCounts>,
    pub(super) goal: Goal<'s>,
}

/// Begins the task of a directory; what cannot be opened is a finding.
pub(super) fn begin<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, found: Found<'s>) {
    let Found { opened, path, depth, source, goal } = found;
    if run.is_over() {
        return;
    }
    run.monitor.begin(&path.join(None));
    let read = opened.and_then(|directory| {
        let stat = directory.stat()?;
        let xattrs = directory.xattrs()?;
        let here = || path.join(None);
        let names = run.filter.names(&directory, stat.device, &source.path, here, run.monitor)?;
        Ok((directory, stat, xattrs, names))
    });
    let (directory, stat, xattrs, names) = match read {
        Ok(read) if depth < DEPTH_MAX => read,
        Ok(_) => {
            let message = format!("{DEPTH_MAX} directories deep or deeper");
            run.finding(&source, path.join(None), FindingKind::LeftOut, message);
            return complete(run, scope, goal, None);
        }
        Err(error) => {
            run.unreadable(&source, path.join(None), &error);
            return complete(run, scope, goal, None);
        }
    };
    for (name, kind, message) in names.problems() {
        run.finding(&source, path.join(Some(name)), *kind, message.clone());
    }
    let xattrs = match run.xattrs(&source, || path.join(None), xattrs) {
        Ok(xattrs) => xattrs,
        Err(error) => return run.fail(error),
    };
    let task = Arc::new(DirectoryTask {
        goal,
        own: (path.name.clone(), metadata(&stat, &run.owners, None), xattrs),
        directory,
        path,
        depth,
        source,
        names,
        progress: Mutex::new(Progress {
            next: 0,
            builder: Some(DirectoryBuilder::new(run.session)),
            files: None,
        }),
        slots: Mutex::default(),
        pending: AtomicUsize::new(0),
    });
    advance(run, scope, &task);
}

/// Hands a finished node, or nothing, to where it goes.
fn complete<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    goal: Goal<'s>,
    node: Option<Node>,
) {
    match goal {
        Goal::Parent(parent, slot) => parent.fill(run, scope, slot, node.map(|node| (node, None))),
        Goal::Root(path) => {
            let mut roots = run.roots.lock().unwrap_or_else(PoisonError::into_inner);
            roots.insert(path, crate::ops::backup::roots::Root { node, bundled: None });
        }
    }
}

/// Begins the next range of a directory, or ends it.
fn advance<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, task: &Arc<DirectoryTask<'s>>) {
    loop {
        if run.is_over() {
            return;
        }
        let Some(range) = task.next_range() else { return finish(run, scope, task) };
        let mut listing = task.directory.entries(&task.names, range);
        let path_of = |name: &[u8]| task.path.join(Some(name));
        run.filter.entries(&task.directory, &task.source.path, path_of, &mut listing.entries, run.monitor);
        for (name, kind, message) in listing.problems {
            run.finding(&task.source, task.path.join(Some(&name)), kind, message);
        }
        let mut directories = Vec::new();
        let mut files = Vec::new();
        for (slot, listed) in listing.entries.into_iter().enumerate() {
            if listed.stat.kind != StatKind::Directory {
                files.push((slot, listed));
            } else if run.left_out.contains(&(listed.stat.device, listed.stat.inode)) {
                let path = task.path.join(Some(&listed.name));
                run.monitor.note(&format!(
                    "left out: {} (the repository or cache in use)",
                    crate::base::monitor::show_path(&path)
                ));
            } else {
                directories.push((slot, listed.name));
            }
        }
        let count = files.len() + directories.len();
        task.slots.lock().unwrap_or_else(PoisonError::into_inner).resize_with(count, Slot::default);
        task.progress.lock().unwrap_or_else(PoisonError::into_inner).files = Some(files);
        if !directories.is_empty() {
            // All are counted before the first can finish.
            task.pending.store(directories.len(), Ordering::Release);
            for (slot, name) in directories {
                let task = Arc::clone(task);
                scope.spawn(move |scope| begin_child(run, scope, task, slot, name));
            }
            return;
        }
        match begin_files(run, scope, task) {
            Step::Waits => return,
            Step::IsDone => {}
        }
    }
}

fn begin_child<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    parent: Arc<DirectoryTask<'s>>,
    slot: usize,
    name: Vec<u8>,
) {
    let opened = parent.directory.open_child(&name);
    let path = Arc::new(PathLink { parent: Some(Arc::clone(&parent.path)), name });
    let (depth, source) = (parent.depth + 1, Arc::clone(&parent.source));
    begin(run, scope, Found { opened, path, depth, source, goal: Goal::Parent(parent, slot) });
}

/// What became of the files of a range.
enum Step {
    /// Tasks work on them; the last goes on.
    Waits,
    /// All are done and the range is part of the directory.
    IsDone,
}

/// Spawns tasks for the files of a range; a single small group is read at once.
fn begin_files<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
) -> Step {
    let files = task.progress.lock().unwrap_or_else(PoisonError::into_inner).files.take();
    let mut groups = groups(files.unwrap_or_default());
    // One for this function, so that no group can end the range before all are begun.
    task.pending.store(groups.len() + 1, Ordering::Release);
    let last = groups.pop();
    for group in groups {
        let task = Arc::clone(task);
        scope.spawn(move |scope| {
            read_group(run, scope, &task, group);
            if task.is_last() {
                range_done(run, scope, &task);
            }
        });
    }
    if let Some(group) = last {
        read_group(run, scope, task, group);
        task.pending.fetch_sub(1, Ordering::AcqRel);
    }
    if !task.is_last() {
        return Step::Waits;
    }
    match task.push_range() {
        Ok(()) => Step::IsDone,
        Err(error) => {
            run.fail(error);
            Step::Waits
        }
    }
}

fn range_done<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
) {
    match task.push_range() {
        Ok(()) => advance(run, scope, task),
        Err(error) => run.fail(error),
    }
}

fn groups(files: Vec<(usize, Listed)>) -> Vec<Vec<(usize, Listed)>> {
    let mut groups: Vec<Vec<(usize, Listed)>> = Vec::new();
    let mut bytes = 0_u64;
    for file in files {
        bytes = bytes.saturating_add(file.1.stat.size);
        match groups.last_mut() {
            Some(group) if group.len() < GROUP_ENTRIES && bytes <= GROUP_BYTES => group.push(file),
            _ => {
                bytes = file.1.stat.size;
                groups.push(vec![file]);
            }
        }
    }
    groups
}

fn read_group<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
    group: Vec<(usize, Listed)>,
) {
    for (slot, listed) in group {
        if run.is_over() {
            return;
        }
        let path = || task.path.join(Some(&listed.name));
        if file::is_big(&listed) {
            let parent = Arc::clone(task);
            task.begin_big(
                run,
                scope,
                slot,
                path(),
                Box::new(move || file::open(&parent.directory, &listed.name)),
            );
            continue;
        }
        match file::take(run, &task.directory, &listed, &task.source, &path) {
            Ok(Taken::Node(node, bundled)) => task.put(slot, *node, bundled),
            Ok(Taken::Nothing) => {}
            Ok(Taken::Big(file)) => task.begin_big(run, scope, slot, path(), Box::new(move || Ok(*file))),
            Err(error) => return run.fail(error),
        }
    }
}

/// Ends a directory: stores its last pages and hands its node on.
fn finish<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, task: &Arc<DirectoryTask<'s>>) {
    let builder = task.progress.lock().unwrap_or_else(PoisonError::into_inner).builder.take();
    let Some(builder) = builder else { return };
    match builder.finish() {
        Err(error) => run.fail(error),
        Ok(tree) => {
            let node = task.node(tree);
            task.source.add_node(0);
            match &task.goal {
                Goal::Parent(parent, slot) => parent.fill(run, scope, *slot, Some((node, None))),
                Goal::Root(path) => complete(run, scope, Goal::Root(path.clone()), Some(node)),
            }
        }
    }
}

impl<'s> DirectoryTask<'s> {
    fn node(&self, tree: ChunkId) -> Node {
        let (name, metadata, xattrs) = self.own.clone();
        Node { name, kind: NodeKind::Directory(tree), metadata, xattrs, kept: Vec::new() }
    }

    fn next_range(&self) -> Option<Range<usize>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = progress.next;
        progress.next = (begin + RANGE_ENTRIES).min(self.names.len());
        (begin < self.names.len()).then_some(begin..progress.next)
    }

    fn put(&self, slot: usize, node: Node, bundled: Option<Vec<u8>>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(slot) {
            *slot = Slot::Node(Box::new(node), bundled);
        }
    }

    /// Begins a big file, whose node will fill a slot.
    fn begin_big<'scope>(
        self: &Arc<Self>,
        run: &'scope Run<'s>,
        scope: &Scope<'scope>,
        slot: usize,
        path: Vec<u8>,
        open: OpenLater<'s>,
    ) where
        's: 'scope,
    {
        self.pending.fetch_add(1, Ordering::AcqRel);
        let (source, goal) = (Arc::clone(&self.source), Goal::Parent(Arc::clone(self), slot));
        run.big_files.begin(run, scope, WaitingFile { open, path, source, goal });
    }

    /// True for whoever finishes the last piece.
    fn is_last(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Takes a piece that was worked on elsewhere: a subdirectory or a big file.
    pub(super) fn fill<'scope>(
        self: &Arc<Self>,
        run: &'scope Run<'s>,
        scope: &Scope<'scope>,
        slot: usize,
        piece: Option<(Node, Option<Vec<u8>>)>,
    ) where
        's: 'scope,
    {
        if let Some((node, bundled)) = piece {
            self.put(slot, node, bundled);
        }
        if !self.is_last() {
            return;
        }
        // A new task, so that a chain of directories does not pile up on one stack.
        let task = Arc::clone(self);
        let has_files_left = self.progress.lock().unwrap_or_else(PoisonError::into_inner).files.is_some();
        scope.spawn(move |scope| {
            if !has_files_left {
                return range_done(run, scope, &task);
            }
            match begin_files(run, scope, &task) {
                Step::Waits => {}
                Step::IsDone => advance(run, scope, &task),
            }
        });
    }

    /// Appends the finished range to the directory's pages.
    fn push_range(&self) -> Result<()> {
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(builder) = progress.builder.as_mut() else { return Ok(()) };
        for slot in slots {
            if let Slot::Node(node, bundled) = slot {
                builder.push(*node, bundled.as_deref())?;
            }
        }
        Ok(())
    }
}
