//! Gives back what a snapshot holds.
//!
//! What must hold: nothing that is there already is replaced unless asked for, and then only once what comes instead
//! is complete; a file is complete and has the bytes that were stored, or it is not there and a finding says why;
//! directories get their metadata when nothing changes them any more; memory stays within its limit, whatever the
//! number and the size of files, but for a little with each file of several names.

mod levels;
mod memory;
mod others;
mod overwrite;
mod places;
mod run;
mod selection;
mod survey;
pub mod target;
mod thaw;
mod verify;
mod wave;
mod writer;
mod writing;

use std::collections::HashSet;
use std::path::Path;

use crate::base::monitor::show_path;
use crate::base::{ChunkId, Error, ErrorKind, ItemAction, Monitor, Result, Wrap};
use crate::format::node::{LinkGroup, Metadata, Node, NodeKind};
use crate::fsmeta::apply::ApplyOptions;
use crate::fsmeta::owners::LocalIds;
use crate::ops::list::path_components;
use crate::ops::pool::pool;
use crate::repository::{ChunkKind, MEMORY_BYTES, Repository, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree};

use memory::Shares;
use overwrite::Judge;
use run::Restore;
use survey::Surveyed;
use target::{DirectoryNumber, FileIdentity, Target};

pub use overwrite::Overwrite;
pub use selection::Selection;
pub use thaw::ThawOptions;

/// How a restore is made.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// What of the metadata is set.
    pub apply: ApplyOptions,
    /// Whether owner and group are those that have the stored names on this machine; where nobody has them, and where
    /// none is stored, the stored numbers.
    pub ownership_by_name: bool,
    /// Which things that are there are replaced; without it nothing is, and anything in the way ends the restore before
    /// it begins.
    pub overwrite: Option<Overwrite>,
    /// Which parts of the snapshot, by their paths in it.
    pub selection: Selection,
    /// Whether blocks of 4096 zeros, at multiples of that, become holes. Holes that were stored as such always do.
    pub sparse: bool,
    /// Whether each file is read back after writing, and compared.
    pub verify: bool,
    /// Whether nothing is written, and the monitor is only told what would be done.
    pub dry_run: bool,
    /// Whether packs that lie frozen are asked for; without it the restore ends where it meets one.
    pub thaw: Option<ThawOptions>,
    /// Threads that read, open and write, at most; 0: one for each processor.
    pub workers: usize,
    /// Memory for plans and segments, in bytes.
    pub memory_bytes: u64,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            apply: ApplyOptions::default(),
            ownership_by_name: false,
            overwrite: None,
            selection: Selection::All,
            sparse: false,
            verify: false,
            dry_run: false,
            thaw: None,
            workers: 0,
            memory_bytes: MEMORY_BYTES,
        }
    }
}

/// What a restore did, or in a dry run would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Regular files that were written.
    pub files: u64,
    /// Directories that were made or got their metadata.
    pub directories: u64,
    /// Further names of objects with several, symbolic links, pipes, sockets, devices.
    pub others: u64,
    /// Sum of the sizes of the regular files that were written.
    pub bytes: u64,
    /// Of all these: what replaced something.
    pub replaced: u64,
    /// Files whose content was there and whose metadata was set.
    pub files_updated: u64,
    /// What was there and was kept, of any kind but directories.
    pub files_skipped: u64,
    /// Sum of the sizes of the regular files of these and of the updated ones.
    pub bytes_skipped: u64,
    /// Files that were read back and found as stored.
    pub files_verified: u64,
    /// Objects or metadata that could not be restored as they were; each was told to the monitor.
    pub findings: u64,
    /// Of these: objects whose stored bytes are damaged.
    pub damaged: u64,
}

/// Restores what is at and below `path` of a snapshot into a directory, which is made where it is missing.
///
/// Without a path, everything comes below the directory under its absolute path. The contents of a directory go
/// straight into the target, which gets the directory's metadata if it is new or empty; a file becomes an entry of the
/// target. Without `overwrite`, nothing that is there already is replaced: `Exists` names it, before anything is
/// written. `NotFound` if the snapshot lacks the path, or nothing of it is wanted. `Frozen` if packs must be thawed first:
/// with `thaw` before anything is written, without it where the first one is met.
pub fn restore(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: Option<&[u8]>,
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary> {
    let segment_bytes = repository.parameters().packing.segment_bytes;
    let workers = if options.workers == 0 { repository.reader_count() } else { options.workers };
    let shares = Shares::of(options.memory_bytes, workers, segment_bytes);
    let reader = repository.reader()?.keeping_at_most(shares.kept_bytes);
    let tree = Tree::new(&reader);
    let components = path_components(path.unwrap_or_default())?;
    let wanted = Wanted::find(tree, snapshot, &components)?;
    let existing = Target::find(target)?;
    let is_fresh = match &existing {
        Some(existing) => existing.is_empty(DirectoryNumber::ROOT)?,
        None => true,
    };
    let local_ids = options.ownership_by_name.then(LocalIds::new);
    let surveyed = existing.as_ref().filter(|_| !is_fresh);
    // Where nothing can be in the way and all is wanted, a look over it would only tell how much it is.
    let needs_survey = !is_fresh
        || options.dry_run
        || options.thaw.is_some()
        || !matches!(options.selection, Selection::All)
        || monitor.wants_amounts();
    let outcome = match needs_survey {
        true => survey::survey(tree, &wanted, surveyed, options, local_ids.as_ref(), monitor)?,
        false => Surveyed::of_everything(),
    };
    if outcome.wanted == 0 {
        let message = match options.selection.leaves_out(&wanted.path) {
            Some(rule) => {
                let shown = show_path(&wanted.path);
                format!("nothing is left to restore: the {rule} matches {shown} itself, and so all below it")
            }
            None if matches!(options.selection, Selection::Exclude(_)) => "nothing is left to restore".into(),
            None => "nothing in the snapshot matches what is to be included".into(),
        };
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if let Some(thaw_options) = &options.thaw {
        let packs = survey::needed_packs(tree, &wanted, surveyed, options, &outcome, monitor)?;
        thaw::thaw(repository, &packs, thaw_options, options.dry_run, monitor)?;
    }
    if options.dry_run {
        return Ok(outcome.summary);
    }
    let path = target;
    let target = match existing {
        Some(target) => target,
        None => Target::open(path)?,
    };
    let pool = pool("restore", shares.workers)?;
    let context = Context {
        tree,
        target: &target,
        options,
        monitor,
        pool,
        shares,
        local_ids,
        broken_groups: &outcome.broken_groups,
    };
    let summary = Restore::run(&context, &wanted, is_fresh).map_err(|error| match error.kind() {
        ErrorKind::Frozen => {
            // What was written is not in the way of what is missing, even if nothing may be replaced.
            let packs = match options.overwrite {
                Some(_) => Target::find(path),
                None => Ok(None),
            }
            .and_then(|there| {
                survey::needed_packs(tree, &wanted, there.as_ref(), options, &outcome, monitor)
            });
            thaw::stopped(repository, packs, error, monitor)
        }
        _ => error,
    })?;
    target.sync().wrap(|| "cannot make the restored files durable")?;
    Ok(summary)
}

/// What all parts of a restore share.
struct Context<'r> {
    tree: Tree<'r>,
    target: &'r Target,
    options: &'r RestoreOptions,
    monitor: &'r dyn Monitor,
    pool: rayon::ThreadPool,
    shares: Shares,
    local_ids: Option<LocalIds>,
    broken_groups: &'r HashSet<LinkGroup>,
}

impl Context<'_> {
    const fn judge(&self) -> Judge<'_> {
        let options = self.options;
        let broken_groups = Some(self.broken_groups);
        Judge { overwrite: options.overwrite, apply: &options.apply, broken_groups }
    }

    /// Tells who listens what is done with an object.
    fn tell_item(&self, action: ItemAction, path: impl FnOnce() -> Vec<u8>, size_bytes: u64) {
        if self.monitor.wants_items() {
            self.monitor.item(action, &path(), size_bytes);
        }
    }

    /// Tells apart what two entries say they are, in few bytes.
    fn kind_id(&self, kind: &NodeKind) -> ChunkId {
        kind_id(self.tree, kind)
    }
}

/// The name that a node of this kind and nothing else would have as a chunk.
fn kind_id(tree: Tree<'_>, kind: &NodeKind) -> ChunkId {
    let (name, kind, metadata) = (b"-".to_vec(), kind.clone(), Metadata::default());
    let node = Node { name, kind, metadata, xattrs: Vec::new(), kept: Vec::new() };
    tree.reader().chunk_id(ChunkKind::Tree, &node.encode())
}

/// The name of an object that was restored, and what has that name.
type FirstName = (DirectoryNumber, Vec<u8>, FileIdentity);

/// What of a snapshot is restored.
struct Wanted {
    /// The directory whose entries are restored; its own node unless it is the root of the snapshot.
    directory: Option<(ChunkId, Option<Node>)>,
    /// Or the one object that is restored.
    single: Option<Entry>,
    budget: Budget,
    /// The absolute path of the directory, or of that which the object is in; empty for the root of the snapshot.
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
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted; the restore is not complete")
}
