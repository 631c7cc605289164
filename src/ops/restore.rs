//! Gives back what a snapshot holds.
//!
//! What must hold: nothing that is there already is replaced; a file is complete and has the bytes that were stored, or
//! it is not there and a finding says why; directories get their metadata last, when nothing changes them any more.

mod conflicts;
mod places;
pub mod target;
mod wave;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::monitor::show_file;
use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result, Wrap};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::apply::{ApplyOptions, Attributes};
use crate::ops::list::path_components;
use crate::ops::path::PathLink;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Target};
use crate::ops::restore::wave::{FilePlan, Wave};
use crate::repository::{Repository, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree, Walk, WalkItem};

/// How a restore is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    /// What of the metadata is set.
    pub apply: ApplyOptions,
    /// Threads that read, open and write; 0: one for each processor.
    pub workers: usize,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Further names of objects with several, symbolic links, pipes, sockets, devices.
    pub others: u64,
    /// Sum of the sizes of the regular files.
    pub bytes: u64,
    /// Objects or metadata that could not be restored as they were; each was told to the monitor.
    pub findings: u64,
    /// Of these: objects whose stored bytes are damaged.
    pub damaged: u64,
}

/// Restores everything at and below `path` of a snapshot into a directory, which is made where it is missing.
///
/// Without a path, everything comes below the directory under its absolute path. The contents of a directory go
/// straight into the target, which gets the directory's metadata if it is new or empty; a file becomes an entry of the
/// target. Nothing that is there already is replaced: `Exists` names it, before anything is written.
pub fn restore(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: Option<&[u8]>,
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let components = path_components(path.unwrap_or_default())?;
    let wanted = Wanted::find(tree, snapshot, &components)?;
    let is_fresh = is_fresh(target)?;
    let target = Target::open(target)?;
    if !is_fresh {
        conflicts::check(tree, &target, &wanted)?;
    }
    wanted.count(tree, monitor)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.workers)
        .thread_name(|number| format!("restore-{number}"))
        .build()
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start threads", cause))?;
    let mut restore = Restore {
        tree,
        target: &target,
        options,
        monitor,
        pool,
        directories: Vec::new(),
        later: Vec::new(),
        firsts: HashMap::new(),
        summary: RestoreSummary::default(),
        notes_special: false,
    };
    restore.run(&wanted, is_fresh)?;
    target.sync().wrap(|| "cannot make the restored files durable")?;
    Ok(restore.summary)
}

/// True if a target is not there yet, or an empty directory.
fn is_fresh(target: &Path) -> Result<bool> {
    let context = || format!("cannot read the target {}", show_file(target));
    match std::fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().transpose().wrap(context)?.is_none()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotADirectory => {
            let message = format!("the target {} is there already and is no directory", show_file(target));
            Err(Error::caused(ErrorKind::Exists, message, cause))
        }
        Err(cause) => Err(Error::system(context(), cause)),
    }
}

/// What of a snapshot is restored.
struct Wanted {
    /// The directory whose entries are restored; its own node unless it is the root of the snapshot.
    directory: Option<(ChunkId, Option<Node>)>,
    /// Or the one object that is restored.
    single: Option<Entry>,
    budget: Budget,
    path: Vec<u8>,
}

impl Wanted {
    fn find(tree: Tree<'_>, snapshot: &SnapshotEntry, components: &[&[u8]]) -> Result<Self> {
        let mut wanted =
            Self { directory: None, single: None, budget: Budget::of(&snapshot.snapshot), path: Vec::new() };
        if components.is_empty() {
            wanted.directory = Some((snapshot.snapshot.tree, None));
            return Ok(wanted);
        }
        let entry = tree.lookup(&snapshot.snapshot.tree, components)?;
        wanted.budget.spend(&entry)?;
        let parents = match entry.node.kind {
            NodeKind::Directory(_) => components,
            _ => components.split_last().map_or(components, |(_, parents)| parents),
        };
        parents.iter().for_each(|name| wanted.path.extend([b"/", *name].concat()));
        match entry.node.kind {
            NodeKind::Directory(tree) => wanted.directory = Some((tree, Some(entry.node))),
            _ => wanted.single = Some(entry),
        }
        Ok(wanted)
    }

    /// Tells the monitor what is to be done.
    fn count(&self, tree: Tree<'_>, monitor: &dyn Monitor) -> Result<()> {
        if let Some(entry) = &self.single {
            monitor.expect(1, entry.node.size());
        }
        if let Some((root, _)) = &self.directory {
            for item in Walk::new(tree, *root, self.budget) {
                if monitor.cancelled() {
                    return Err(interrupted());
                }
                match item {
                    Ok(WalkItem::Entry(entry)) => monitor.expect(1, entry.node.size()),
                    Ok(WalkItem::Leave) => {}
                    // The restore itself will meet it and tell.
                    Err(_) => {}
                }
            }
        }
        monitor.expected_all();
        Ok(())
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted; the restore is not complete")
}

/// A directory that was made and waits for its metadata.
struct OpenDirectory {
    number: DirectoryNumber,
    path: Arc<PathLink>,
    node: Option<Node>,
}

/// What is made after all files: links, pipes, sockets, devices.
struct Later {
    directory: DirectoryNumber,
    path: Arc<PathLink>,
    node: Node,
}

/// Of an object with several names: the one that came first.
struct First {
    /// What it is. An entry that says something else is another object, whatever its group says.
    kind: NodeKind,
    /// Where it was restored; nothing while that is to be done, or if it failed.
    name: Option<FirstName>,
}

/// The name of an object that was restored, and what has that name.
type FirstName = (DirectoryNumber, Vec<u8>, FileIdentity);

struct Restore<'r> {
    tree: Tree<'r>,
    target: &'r Target,
    options: &'r RestoreOptions,
    monitor: &'r dyn Monitor,
    pool: rayon::ThreadPool,
    directories: Vec<OpenDirectory>,
    later: Vec<Later>,
    firsts: HashMap<LinkGroup, First>,
    summary: RestoreSummary,
    notes_special: bool,
}

impl Restore<'_> {
    fn run(&mut self, wanted: &Wanted, is_fresh: bool) -> Result<()> {
        let root = Arc::new(PathLink { parent: None, name: wanted.path.clone() });
        let mut wave = Wave::default();
        if let Some(entry) = &wanted.single {
            self.take(&mut wave, DirectoryNumber::ROOT, &root, entry.clone())?;
        }
        if let Some((tree, node)) = &wanted.directory {
            let node = node.clone().filter(|_| is_fresh);
            self.directories.push(OpenDirectory {
                number: DirectoryNumber::ROOT,
                path: Arc::clone(&root),
                node,
            });
            self.take_tree(&mut wave, *tree, wanted.budget, &root)?;
        }
        self.write(&mut wave)?;
        for later in std::mem::take(&mut self.later) {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            self.make(&later)?;
        }
        // Parents were made before their children, so that backwards the deepest come first.
        for directory in std::mem::take(&mut self.directories).into_iter().rev() {
            if let Some(node) = &directory.node {
                self.finish_directory(&directory, node);
            }
        }
        Ok(())
    }

    fn take_tree(
        &mut self,
        wave: &mut Wave,
        tree: ChunkId,
        budget: Budget,
        root: &Arc<PathLink>,
    ) -> Result<()> {
        let mut open = vec![(Some(DirectoryNumber::ROOT), Arc::clone(root))];
        for item in Walk::new(self.tree, tree, budget) {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            let Some((number, path)) = open.last().cloned() else { break };
            match item {
                Ok(WalkItem::Leave) => drop(open.pop()),
                Ok(WalkItem::Entry(entry)) => match (&entry.node.kind, number) {
                    (NodeKind::Directory(_), None) => open.push((None, path)),
                    (NodeKind::Directory(_), Some(number)) => {
                        open.push(self.make_directory(number, &path, entry.node)?)
                    }
                    (_, None) => {}
                    (_, Some(number)) => self.take(wave, number, &path, *entry)?,
                },
                // The rest of this directory is lost; the walk goes on with its parents.
                Err(error) => self.find(FindingKind::NotRestored, path.join(None), &error),
            }
            if wave.is_full() {
                self.write(wave)?;
            }
        }
        Ok(())
    }

    /// Makes a directory; what is below one that cannot be made is passed over.
    fn make_directory(
        &mut self,
        parent: DirectoryNumber,
        path: &Arc<PathLink>,
        node: Node,
    ) -> Result<(Option<DirectoryNumber>, Arc<PathLink>)> {
        let path = Arc::new(PathLink { parent: Some(Arc::clone(path)), name: node.name.clone() });
        let made = self.target.create_directory(parent, &node.name);
        self.monitor.advance(1, 0);
        match made {
            Ok((number, is_new)) => {
                self.summary.directories += 1;
                // What was there already keeps its owner, mode and times.
                let node = is_new.then_some(node);
                self.directories.push(OpenDirectory { number, path: Arc::clone(&path), node });
                Ok((Some(number), path))
            }
            Err(error) if error.kind() == ErrorKind::OutOfSpace => Err(error),
            Err(error) => {
                self.find(FindingKind::NotRestored, path.join(None), &error);
                Ok((None, path))
            }
        }
    }

    /// Plans an entry that is no directory.
    fn take(
        &mut self,
        wave: &mut Wave,
        directory: DirectoryNumber,
        path: &Arc<PathLink>,
        entry: Entry,
    ) -> Result<()> {
        let is_further_name = match entry.node.metadata.links {
            Some(group) => match self.firsts.get(&group) {
                Some(first) => first.kind == entry.node.kind,
                None => {
                    self.firsts.insert(group, First { kind: entry.node.kind.clone(), name: None });
                    false
                }
            },
            None => false,
        };
        let path = Arc::clone(path);
        if is_further_name || !matches!(entry.node.kind, NodeKind::Regular(_)) {
            self.later.push(Later { directory, path, node: entry.node });
            return Ok(());
        }
        let shown = path.join(Some(&entry.node.name));
        match wave.add(self.tree, FilePlan::new(directory, path, entry.node), entry.bundle) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.find(FindingKind::NotRestored, shown, &error);
                Ok(())
            }
        }
    }

    /// Writes the files of a wave.
    fn write(&mut self, wave: &mut Wave) -> Result<()> {
        let wave = std::mem::take(wave);
        let outcome = wave.write(self.tree, self.target, &self.options.apply, self.monitor, &self.pool)?;
        self.summary.files += outcome.files;
        self.summary.bytes += outcome.bytes;
        self.summary.findings += outcome.findings;
        self.summary.damaged += outcome.damaged;
        for (group, kind, name) in outcome.firsts {
            if let Some(first) = self.firsts.get_mut(&group).filter(|first| first.kind == kind) {
                first.name.get_or_insert(name);
            }
        }
        Ok(())
    }

    /// Makes a link, pipe, socket or device.
    fn make(&mut self, later: &Later) -> Result<()> {
        let shown = || later.path.join(Some(&later.node.name));
        self.monitor.begin(&shown());
        self.monitor.advance(1, later.node.size());
        let is_device =
            matches!(later.node.kind, NodeKind::CharacterDevice { .. } | NodeKind::BlockDevice { .. });
        if is_device && !self.options.apply.special {
            if !std::mem::replace(&mut self.notes_special, true) {
                self.monitor.note("devices are left out, as asked");
            }
            return Ok(());
        }
        match self.try_make(later) {
            Ok(problems) => {
                self.summary.others += 1;
                for problem in problems {
                    self.summary.findings += 1;
                    let kind = FindingKind::Metadata;
                    self.monitor.finding(&Finding { kind, path: shown(), message: problem });
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::OutOfSpace => Err(error),
            Err(error) => {
                self.find(FindingKind::NotRestored, shown(), &error);
                Ok(())
            }
        }
    }

    fn try_make(&mut self, later: &Later) -> Result<Vec<String>> {
        let Later { directory, node, .. } = later;
        if let Some(group) = node.metadata.links
            && let Some(First { kind, name: Some((first_directory, first_name, identity)) }) =
                self.firsts.get(&group)
            && *kind == node.kind
        {
            let from = (*first_directory, first_name.as_slice());
            self.target.create_hard_link(from, *identity, (*directory, &node.name))?;
            return Ok(Vec::new());
        }
        if let NodeKind::Regular(_) = node.kind {
            return Err(Error::new(ErrorKind::Failed, "another name of the same file could not be restored"));
        }
        let (xattrs, lost) = self.tree.readable_xattrs(node);
        self.summary.damaged += lost.len() as u64;
        let attributes = Attributes { metadata: &node.metadata, xattrs: &xattrs };
        let apply = &self.options.apply;
        let created = match &node.kind {
            NodeKind::Symlink(link) => {
                self.target.create_symlink(*directory, &node.name, link, &attributes, apply)?
            }
            kind => self.target.create_special(*directory, &node.name, kind, &attributes, apply)?,
        };
        if let Some(group) = node.metadata.links
            && let Some(first) = self.firsts.get_mut(&group).filter(|first| first.kind == node.kind)
        {
            first.name.get_or_insert((*directory, node.name.clone(), created.identity));
        }
        Ok(lost.into_iter().chain(created.problems).collect())
    }

    fn finish_directory(&mut self, directory: &OpenDirectory, node: &Node) {
        let (xattrs, lost) = self.tree.readable_xattrs(node);
        self.summary.damaged += lost.len() as u64;
        let attributes = Attributes { metadata: &node.metadata, xattrs: &xattrs };
        let problems = self.target.finish_directory(directory.number, &attributes, &self.options.apply);
        for problem in lost.into_iter().chain(problems) {
            self.summary.findings += 1;
            let (kind, path) = (FindingKind::Metadata, directory.path.join(None));
            self.monitor.finding(&Finding { kind, path, message: problem });
        }
    }

    fn find(&mut self, kind: FindingKind, path: Vec<u8>, error: &Error) {
        self.summary.findings += 1;
        if error.kind() == ErrorKind::Damaged {
            self.summary.damaged += 1;
        }
        self.monitor.finding(&Finding { kind, path, message: error.chain().join(": ") });
    }
}
