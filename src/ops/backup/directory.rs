//! Directories as tasks: each reads its names by ranges, lets its subdirectories go first, then its files, and hands
//! its node to its parent when all are done. One that is as the last run saw it is not read, but named again.
//!
//! What must hold: a task never waits; whoever finishes the last piece goes on with the directory. Contents of tiny
//! files are held only for one part of a directory whose subdirectories are done, however deep the tree is.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::Scope;

use crate::base::limits::DEPTH_MAX;
use crate::base::{Change, ChunkId, FindingKind, Result, Timestamp};
use crate::format::node::{Metadata, Node, NodeKind, Xattr};
use crate::fsmeta::capture::{StatKind, metadata};
use crate::ops::backup::big::{OpenLater, WaitingFile};
use crate::ops::backup::changes::{self, Known, OldEntries, OldFile};
use crate::ops::backup::file::{self, Taken};
use crate::ops::backup::print::{Print, Seen, encode_for_row};
use crate::ops::backup::roots;
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::path::PathLink;
use crate::source::{Directory, Listed, Names, Reason};
use crate::state::Row;
use crate::tree::{BundlePlace, DirectoryBuilder, Joined, Member};

/// Entries of a directory that are looked at before the first is read: one that has no more can be compared as a
/// whole.
const LISTED_ENTRIES: usize = 4096;
/// Entries of which the contents are held at a time.
const RANGE_ENTRIES: usize = 512;
/// Entries that are read by one task.
const GROUP_ENTRIES: usize = 32;

/// Where a finished node goes.
#[derive(Clone)]
pub(super) enum Goal<'s> {
    /// To a slot of the directory that holds it.
    Parent(Arc<DirectoryTask<'s>>, usize),
    /// It is the root of a source.
    Root(std::path::PathBuf),
}

/// What an entry or a source became.
pub(super) struct Finished {
    pub(super) node: Node,
    /// Of a file that joins a bundle.
    pub(super) member: Option<Member>,
    /// By which the next run tells whether it is the same; 0 if it is to be read again.
    pub(super) inode: u64,
}

/// A directory that is being backed up.
pub(super) struct DirectoryTask<'s> {
    goal: Goal<'s>,
    pub(super) directory: Directory,
    pub(super) path: Arc<PathLink>,
    /// The path of the directory that holds it, by which it is remembered.
    parent_path: Arc<[u8]>,
    depth: usize,
    pub(super) source: Arc<SourceCounts>,
    own: (Vec<u8>, Metadata, Vec<Xattr>),
    /// By which the next run tells whether its own metadata are the same; 0 if they are to be read again.
    inode: u64,
    known: Known,
    margin_seconds: u32,
    names: Names,
    progress: Mutex<Progress<'s>>,
    slots: Mutex<Vec<Slot>>,
    pending: AtomicUsize,
}

struct Progress<'s> {
    stage: Stage,
    /// The next name that is to be looked at; none before the first.
    next: Option<usize>,
    builder: Option<DirectoryBuilder<'s>>,
    old: Option<OldEntries<'s>>,
    seen: Option<Seen>,
}

/// What the directory does next.
#[derive(Clone, Copy)]
enum Stage {
    /// It looks at the next names.
    List,
    /// Its subdirectories of that range are done.
    Compare,
    /// It reads the files from this slot on.
    Read(usize),
    /// The files of these slots are read.
    Push(usize, usize),
}

/// An entry of the range that is worked on.
#[derive(Default)]
enum Slot {
    /// It is not part of the snapshot, or not yet.
    #[default]
    Nothing,
    /// Not a directory, and not read yet.
    Listed(Listed),
    /// Done.
    Finished(Box<Finished>),
}

/// A directory that is about to be read.
pub(super) struct Found<'s> {
    pub(super) opened: Result<Directory>,
    pub(super) path: Arc<PathLink>,
    pub(super) parent_path: Arc<[u8]>,
    pub(super) known: Result<Known>,
    pub(super) depth: usize,
    pub(super) source: Arc<SourceCounts>,
    pub(super) goal: Goal<'s>,
}

/// Begins the task of a directory; what cannot be opened is a finding.
pub(super) fn begin<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, found: Found<'s>) {
    let Found { opened, path, parent_path, known, depth, source, goal } = found;
    if run.is_over() {
        return;
    }
    run.monitor.begin(&path.join(None));
    let read = opened.and_then(|directory| {
        let stat = directory.stat()?;
        let here = || path.join(None);
        let names = run.filter.names(&directory, stat.device, &source.path, here, run.monitor)?;
        Ok((directory, stat, names))
    });
    let (directory, stat, names) = match read {
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
    let known = known.unwrap_or_else(|error| {
        changes::note_unreadable(run.monitor, &path.join(None), &error);
        Known::Nothing
    });
    let metadata = metadata(&stat, &run.owners, None);
    let (xattrs, is_sound) = match run.earlier.own_xattrs(&known, &metadata, stat.inode) {
        Some(xattrs) => (xattrs.to_vec(), true),
        None => match directory.xattrs() {
            Ok(captured) => {
                let is_sound = captured.problems.is_empty();
                match run.xattrs(&source, || path.join(None), captured) {
                    Ok(xattrs) => (xattrs, is_sound),
                    Err(error) => return run.fail(error),
                }
            }
            Err(error) => {
                run.unreadable(&source, path.join(None), &error);
                return complete(run, scope, goal, None);
            }
        },
    };
    let margin_seconds = run.margin_seconds(stat.device, &directory);
    // A moment before its entries are looked at.
    let seen = Seen::new(Timestamp::now().earlier(margin_seconds), names.len() <= LISTED_ENTRIES);
    let task = Arc::new(DirectoryTask {
        goal,
        inode: if is_sound { stat.inode } else { 0 },
        own: (path.name.clone(), metadata, xattrs),
        directory,
        path,
        parent_path,
        depth,
        source,
        known,
        margin_seconds,
        names,
        progress: Mutex::new(Progress {
            stage: Stage::List,
            next: None,
            builder: None,
            old: None,
            seen: Some(seen),
        }),
        slots: Mutex::default(),
        pending: AtomicUsize::new(0),
    });
    go_on(run, scope, &task);
}

/// Hands what an entry or a source became, or nothing, to where it goes.
pub(super) fn complete<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    goal: Goal<'s>,
    finished: Option<Finished>,
) {
    match goal {
        Goal::Parent(parent, slot) => parent.fill(run, scope, slot, finished),
        Goal::Root(path) => roots::put(run, path, finished),
    }
}

/// Goes on with a directory until it must wait for a piece of it, or is done.
fn go_on<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, task: &Arc<DirectoryTask<'s>>) {
    loop {
        if run.is_over() {
            return;
        }
        let stage = task.progress().stage;
        let step = match stage {
            Stage::List => match task.next_range() {
                Some(range) => list(run, scope, task, range),
                None => return finish(run, scope, task),
            },
            Stage::Compare => match task.unchanged(run) {
                Some(tree) => return finish_unchanged(run, scope, task, tree),
                None => task.enter(Stage::Read(0)),
            },
            Stage::Read(from) => begin_files(run, scope, task, from),
            Stage::Push(from, to) => match task.push_slots(run, from, to) {
                Ok(()) => task.enter(Stage::Read(to)),
                Err(error) => return run.fail(error),
            },
        };
        match step {
            Step::Waits => return,
            Step::GoesOn => {}
        }
    }
}

/// What became of a stage.
enum Step {
    /// Tasks work on it; the last goes on.
    Waits,
    /// It is done.
    GoesOn,
}

/// Looks at the entries of a range, and begins its subdirectories.
fn list<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
    range: Range<usize>,
) -> Step {
    task.enter(Stage::Compare);
    let is_end = range.end >= task.names.len();
    let mut listing = task.directory.entries(&task.names, range);
    let path_of = |name: &[u8]| task.path.join(Some(name));
    run.filter.entries(&task.directory, &task.source.path, path_of, &mut listing.entries, run.monitor);
    for (name, kind, message) in listing.problems {
        run.finding(&task.source, task.path.join(Some(&name)), kind, message);
    }
    let (mut directories, mut slots) = (Vec::new(), Vec::with_capacity(listing.entries.len()));
    let mut beside = run.beside.of_depth(task.depth);
    for listed in listing.entries {
        slots.extend(beside.before(&listed.name).map(Slot::Finished));
        if listed.stat.kind != StatKind::Directory {
            slots.push(Slot::Listed(listed));
        } else if run.left_out.contains(&(listed.stat.device, listed.stat.inode)) {
            run.filter.exclude(run.monitor, &task.path.join(Some(&listed.name)), Reason::InUse);
        } else {
            directories.push((slots.len(), listed.name));
            slots.push(Slot::Nothing);
        }
    }
    slots.extend(beside.after(is_end).map(Slot::Finished));
    *task.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
    if directories.is_empty() {
        return Step::GoesOn;
    }
    let parent_path: Arc<[u8]> = task.path.join(None).into();
    // All are counted before the first can finish.
    task.pending.store(directories.len(), Ordering::Release);
    for (slot, name) in directories {
        let (task, parent_path) = (Arc::clone(task), Arc::clone(&parent_path));
        scope.spawn(move |scope| begin_child(run, scope, task, parent_path, slot, name));
    }
    Step::Waits
}

fn begin_child<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    parent: Arc<DirectoryTask<'s>>,
    parent_path: Arc<[u8]>,
    slot: usize,
    name: Vec<u8>,
) {
    let opened = parent.directory.open_child(&name);
    let known = run.earlier.directory(&parent_path, &name, &parent.known);
    let path = Arc::new(PathLink { parent: Some(Arc::clone(&parent.path)), name });
    let (depth, source) = (parent.depth + 1, Arc::clone(&parent.source));
    let goal = Goal::Parent(parent, slot);
    begin(run, scope, Found { opened, path, parent_path, known, depth, source, goal });
}

/// A file that is to be read, its slot, and what is known of it.
type ToRead = (usize, Listed, Option<OldFile>);

/// Spawns tasks for the next files of a range; a single small group is read at once.
fn begin_files<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
    from: usize,
) -> Step {
    let Some((to, files)) = task.take_files(run, from) else { return task.enter(Stage::List) };
    task.enter(Stage::Push(from, to));
    // A file that is read whole is never larger than what one task reads.
    let mut groups = groups(files, run.whole_bytes_max);
    // One for this function, so that no group can end the range before all are begun.
    task.pending.store(groups.len() + 1, Ordering::Release);
    let last = groups.pop();
    for group in groups {
        let task = Arc::clone(task);
        scope.spawn(move |scope| {
            read_group(run, scope, &task, group);
            if task.is_last() {
                go_on(run, scope, &task);
            }
        });
    }
    if let Some(group) = last {
        read_group(run, scope, task, group);
        task.pending.fetch_sub(1, Ordering::AcqRel);
    }
    if task.is_last() { Step::GoesOn } else { Step::Waits }
}

fn groups(files: Vec<ToRead>, bytes_max: u64) -> Vec<Vec<ToRead>> {
    let mut groups: Vec<Vec<ToRead>> = Vec::new();
    let mut bytes = 0_u64;
    for file in files {
        bytes = bytes.saturating_add(file.1.stat.size);
        match groups.last_mut() {
            Some(group) if group.len() < GROUP_ENTRIES && bytes <= bytes_max => group.push(file),
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
    group: Vec<ToRead>,
) {
    let path = |name: &[u8]| task.path.join(Some(name));
    for (slot, mut listed, old) in group {
        if run.is_over() {
            return;
        }
        let place = file::Place {
            directory: &task.directory,
            known: &task.known,
            margin_seconds: task.margin_seconds,
            source: &task.source,
            path: &path,
        };
        match file::take(run, &place, &mut listed, old) {
            Ok(Taken::Finished(finished)) => task.put(slot, finished),
            Ok(Taken::Nothing) => {}
            Ok(Taken::Big(opened, before)) => {
                let (parent, path, name) = (Arc::clone(task), path(&listed.name), listed.name);
                let open: OpenLater<'s> = match opened {
                    Some(opened) => Box::new(move || Ok(*opened)),
                    None => Box::new(move || file::open(&parent.directory, &name)),
                };
                let before = before.map(|before| *before);
                let (source, goal) = (Arc::clone(&task.source), Goal::Parent(Arc::clone(task), slot));
                task.pending.fetch_add(1, Ordering::AcqRel);
                run.big_files.begin(run, scope, WaitingFile { open, path, source, goal, before });
            }
            Err(error) => return run.fail(error),
        }
    }
}

/// Ends a directory of which something was read: stores its last pages and hands its node on.
fn finish<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, task: &Arc<DirectoryTask<'s>>) {
    let (builder, seen) = {
        let mut progress = task.progress();
        (progress.builder.take(), progress.seen.take())
    };
    // It is finished once.
    let Some(seen) = seen else { return };
    let builder = builder.unwrap_or_else(|| DirectoryBuilder::new(run.session));
    let tree = match builder.finish_reading(&|joined, place| task.read_again(run, joined, place)) {
        Ok(tree) => tree,
        Err(error) => return run.fail(error),
    };
    let node = task.node(tree);
    let (row, children) = seen.into_row(task.inode, &node);
    run.earlier.remember(&task.parent_path, &task.path.name, &row, &children);
    task.hand_on(run, scope, node);
}

/// Ends a directory in which everything is as the last run saw it.
fn finish_unchanged<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    task: &Arc<DirectoryTask<'s>>,
    tree: ChunkId,
) {
    let slots = std::mem::take(&mut *task.slots.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut files, mut others, mut bytes) = (0, 0, 0_u64);
    for slot in slots {
        if let Slot::Listed(listed) = slot {
            let is_regular = listed.stat.kind == StatKind::Regular;
            let size = if is_regular { listed.stat.size } else { 0 };
            others += u64::from(!is_regular);
            if is_regular {
                files += 1;
                run.count_file(Change::Unmodified, size, &|| task.path.join(Some(&listed.name)));
            }
            bytes = bytes.saturating_add(size);
            task.source.add_node(size);
        }
    }
    run.monitor.advance(files + others, bytes);
    let node = task.node(tree);
    if let Known::Row(known) = &task.known
        && (known.1 != node || node.metadata.ctime >= known.0.clean_before)
    {
        // Its entries were at rest at the moment of the row, and so they are at a later one.
        let now = task.progress().seen.as_ref().map(Seen::clean_before);
        let clean_before = known.0.clean_before.max(now.unwrap_or_default());
        let node = encode_for_row(&node);
        let row = Row { clean_before, inode: task.inode, node, ..known.0.clone() };
        run.earlier.remember_itself(&task.parent_path, &task.path.name, &row);
    }
    task.hand_on(run, scope, node);
}

impl<'s> DirectoryTask<'s> {
    fn progress(&self) -> MutexGuard<'_, Progress<'s>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stage: Stage) -> Step {
        self.progress().stage = stage;
        Step::GoesOn
    }

    fn node(&self, tree: ChunkId) -> Node {
        let (name, metadata, xattrs) = self.own.clone();
        Node { name, kind: NodeKind::Directory(tree), metadata, xattrs, kept: Vec::new() }
    }

    fn hand_on<'scope>(self: &Arc<Self>, run: &'scope Run<'s>, scope: &Scope<'scope>, node: Node)
    where
        's: 'scope,
    {
        let change = match &self.known {
            Known::Nothing => Change::New,
            known if known.is(&node) => Change::Unmodified,
            Known::Row(_) | Known::Tree(..) => Change::Changed,
        };
        run.count_directory(change, &self.path);
        self.source.add_node(0);
        let finished = Some(Finished { node, member: None, inode: self.inode });
        complete(run, scope, self.goal.clone(), finished);
    }

    /// The next names; a directory without any has one range without any.
    fn next_range(&self) -> Option<Range<usize>> {
        let mut progress = self.progress();
        let begin = progress.next.unwrap_or(0);
        if progress.next.is_some() && begin >= self.names.len() {
            return None;
        }
        let end = (begin + LISTED_ENTRIES).min(self.names.len());
        progress.next = Some(end);
        Some(begin..end)
    }

    /// The tree of a directory in which everything is as the last run saw it.
    fn unchanged(&self, run: &Run<'s>) -> Option<ChunkId> {
        if self.names.len() > LISTED_ENTRIES {
            return None;
        }
        let (expected, node) = run.earlier.unchanged(&self.known)?;
        let NodeKind::Directory(tree) = node.kind else { return None };
        let mut print = Print::default();
        for slot in self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match slot {
                Slot::Nothing => {}
                Slot::Listed(listed) => {
                    print.add_stat(&listed.name, &listed.stat, run.links(&listed.stat), &run.owners);
                }
                Slot::Finished(finished) => print.add_node(&finished.node, finished.inode),
            }
        }
        (print.finish() == *expected).then_some(tree)
    }

    /// The files that are read next, with what is known of them, and the slot behind the last.
    fn take_files(&self, run: &Run<'s>, from: usize) -> Option<(usize, Vec<ToRead>)> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let to = (from + RANGE_ENTRIES).min(slots.len());
        let range = slots.get_mut(from..to).filter(|range| !range.is_empty())?;
        let mut progress = self.progress();
        if progress.builder.is_none() {
            progress.builder = Some(DirectoryBuilder::new(run.session));
            progress.old = run.earlier.entries(&self.known);
        }
        let mut files: Vec<ToRead> = Vec::new();
        for (position, slot) in range.iter_mut().enumerate() {
            match std::mem::take(slot) {
                Slot::Listed(listed) => files.push((from + position, listed, None)),
                other => *slot = other,
            }
        }
        if let Some(old) = &mut progress.old {
            let found = files.iter_mut().try_for_each(|(_, listed, found)| -> Result<()> {
                *found = old.find(&listed.name)?;
                Ok(())
            });
            if let Err(error) = found {
                progress.old = None;
                changes::note_unreadable(run.monitor, &self.path.join(None), &error);
            }
        }
        Some((to, files))
    }

    fn put(&self, slot: usize, finished: Box<Finished>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(slot) {
            *slot = Slot::Finished(finished);
        }
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
        finished: Option<Finished>,
    ) where
        's: 'scope,
    {
        if let Some(finished) = finished {
            self.put(slot, Box::new(finished));
        }
        if self.is_last() {
            // A new task, so that a chain of directories does not pile up on one stack.
            let task = Arc::clone(self);
            scope.spawn(move |scope| go_on(run, scope, &task));
        }
    }

    /// Appends finished slots to the directory's pages.
    fn push_slots(&self, run: &Run<'s>, from: usize, to: usize) -> Result<()> {
        let slots: Vec<Slot> = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get_mut(from..to).unwrap_or_default().iter_mut().map(std::mem::take).collect()
        };
        let mut progress = self.progress();
        let Progress { builder: Some(builder), seen: Some(seen), .. } = &mut *progress else { return Ok(()) };
        for slot in slots {
            if let Slot::Finished(finished) = slot {
                let Finished { node, member, inode } = *finished;
                seen.add(&node, inode);
                builder.push_reading(node, member, &|joined, place| self.read_again(run, joined, place))?;
            }
        }
        Ok(())
    }

    /// The content of an unchanged file of which the neighbours changed: from the source, where it is still as it was,
    /// else as it was stored.
    fn read_again(&self, run: &Run<'s>, joined: &Joined, place: &BundlePlace) -> Result<Vec<u8>> {
        match file::read_same(&self.directory, joined) {
            Some(content) => {
                run.add_bytes_read(content.len() as u64);
                Ok(content)
            }
            None => run.earlier.bundled(place, joined.size),
        }
    }
}
