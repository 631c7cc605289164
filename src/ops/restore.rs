//! Gives back what a snapshot holds.
//!
//! What must hold: nothing that is there already is replaced, changed or removed unless asked for, and replaced only once
//! what comes instead is complete; a file is complete and has the bytes that were stored, or it is not there, or it is
//! marked as incomplete, and a finding says why; directories get their metadata when nothing changes them any more; memory
//! stays within its limit, whatever the number and the size of files, but for a little with each file of several names.

mod deleting;
mod levels;
mod looking;
mod memory;
mod others;
mod overwrite;
pub(super) mod places;
mod run;
mod selection;
mod steps;
mod survey;
pub mod target;
mod thaw;
mod verify;
mod wave;
mod wholeness;
mod writer;
mod writing;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::monitor::show_path;
use crate::base::{
    ChunkId, Error, ErrorKind, Finding, FindingKind, Item, ItemAction, Lacks, MetadataParts, Monitor, Result,
    Wrap,
};
use crate::format::node::{LinkGroup, Metadata, Node, NodeKind, check_name};
use crate::format::snapshot::Snapshot;
use crate::fsmeta::apply::{ApplyOptions, Problem};
use crate::fsmeta::owners::LocalIds;
use crate::ops::list::path_components;
use crate::ops::pool::pool;
use crate::repository::{ChunkKind, MEMORY_BYTES, Repository, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree};

use deleting::Deleter;
pub(super) use looking::is_value;
use looking::{Looker, parts_of_directory};
use memory::Shares;
use overwrite::Judge;
use run::Restore;
use survey::{Surveyed, Surveying};
use target::{DirectoryNumber, FileIdentity, Found, Target};
use wholeness::Wholeness;

pub use deleting::DeleteOptions;
pub use overwrite::Overwrite;
pub use selection::Selection;
pub use thaw::ThawOptions;

/// From this size on, files that are there are changed where they are: to write a shorter one beside it costs next to
/// nothing, and it is never there by halves.
const IN_PLACE_BYTES_MIN: u64 = 1 << 20;

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
    /// Regular files of one name that are there and have at least so many bytes are changed where they are, in those
    /// ranges that differ; shorter ones are replaced as a whole.
    pub in_place_bytes_min: u64,
    /// Whether what is there and not in the snapshot is removed, within directories that are restored as a whole.
    pub delete: Option<DeleteOptions>,
    /// The name under which a single object is restored, if it is another than its own.
    pub name: Option<Vec<u8>>,
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
            in_place_bytes_min: IN_PLACE_BYTES_MIN,
            delete: None,
            name: None,
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
    /// Regular files that were written as a whole.
    pub files: u64,
    /// Directories that were made or whose metadata were set because they differed.
    pub directories: u64,
    /// Further names of objects with several, symbolic links, pipes, sockets, devices.
    pub others: u64,
    /// Sum of the sizes of the regular files that were written as a whole.
    pub bytes: u64,
    /// Of all these: what replaced something.
    pub replaced: u64,
    /// Files that were changed where they are.
    pub files_patched: u64,
    /// Bytes that were written for that.
    pub bytes_patched: u64,
    /// Files whose content was there and whose metadata was set.
    pub files_updated: u64,
    /// What was there and was kept, of any kind but directories.
    pub files_skipped: u64,
    /// Sum of the sizes of the regular files of these and of the updated ones, and of what was the same in those that were
    /// changed where they are.
    pub bytes_skipped: u64,
    /// What was there, was not in the snapshot, and was removed.
    pub items_deleted: u64,
    /// Sum of the sizes of the regular files of these.
    pub bytes_deleted: u64,
    /// Of a dry run: stored bytes that would be fetched for contents.
    pub bytes_to_fetch: u64,
    /// Files that were read back and found as stored.
    pub files_verified: u64,
    /// Objects or metadata that could not be restored as they were; each was told to the monitor.
    pub findings: u64,
    /// Of these: what only came of what who restores may not do.
    pub lacks: Lacks,
    /// Of these: objects whose stored bytes are damaged.
    pub damaged: u64,
}

/// Restores what is at and below `path` of a snapshot into a directory, which is made where it is missing.
///
/// Without a path, everything comes below the directory under its absolute path. The contents of a directory go
/// straight into the target, which gets the directory's metadata if it is new or empty; a file becomes an entry of the
/// target. Without `overwrite`, nothing that is there already is replaced: `Exists` names it, before anything is
/// written. `NotFound` if the snapshot lacks the path, or nothing of it is wanted. `Frozen` if packs must be thawed first:
/// with `thaw` before anything is written, without it where the first one is met. `Denied` if more would be removed than
/// restored and nobody agrees. Whatever ends it, the same restore with `IfChanged` goes on where it ended.
pub fn restore(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: Option<&[u8]>,
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary> {
    let options = &careful(options, &snapshot.snapshot);
    let segment_bytes = repository.parameters().packing.segment_bytes;
    let workers = if options.workers == 0 { repository.reader_count() } else { options.workers };
    let shares = Shares::of(options.memory_bytes, workers, segment_bytes);
    let reader = repository.reader()?.keeping_at_most(shares.kept_bytes);
    let tree = Tree::new(&reader);
    let components = path_components(path.unwrap_or_default())?;
    let wanted = Wanted::find(tree, snapshot, &components)?.named(target, options.name.as_deref())?;
    let existing = Target::find(target)?;
    let is_fresh = match &existing {
        Some(existing) => existing.is_empty(DirectoryNumber::ROOT)?,
        None => true,
    };
    let local_ids = options.ownership_by_name.then(LocalIds::new);
    let pool = pool("restore", shares.workers)?;
    let surveying = Surveying {
        tree,
        wanted: &wanted,
        snapshot: &snapshot.snapshot,
        target: existing.as_ref().filter(|_| !is_fresh),
        options,
        local_ids: local_ids.as_ref(),
        pool: &pool,
        monitor,
    };
    // Where nothing can be in the way and all is wanted, a look over it would only tell how much it is.
    let needs_survey = !is_fresh
        || options.dry_run
        || options.thaw.is_some()
        || !matches!(options.selection, Selection::All)
        || monitor.wants_amounts();
    let outcome = match needs_survey {
        true => surveying.survey()?,
        false => Surveyed::of_everything(),
    };
    if outcome.wanted == 0 {
        return Err(nothing_wanted(&options.selection, &wanted));
    }
    if let Some(thaw_options) = &options.thaw {
        let packs = surveying.needed_packs(&outcome)?;
        thaw::thaw(repository, &packs, thaw_options, options.dry_run, monitor)?;
    }
    if options.dry_run {
        return Ok(outcome.summary);
    }
    let shares_names = || surveying.shares_names();
    agree_to_delete(options, &outcome, shares_names, monitor)?;
    let opened = match existing {
        Some(_) => None,
        None => Some(Target::open(target)?),
    };
    let (path, target) = (target, existing.as_ref().or(opened.as_ref()));
    let target = target.ok_or_else(|| Error::new(ErrorKind::Failed, "no target is open"))?;
    let context = Context {
        tree,
        target,
        snapshot: &snapshot.snapshot,
        options,
        monitor,
        pool: &pool,
        shares,
        local_ids: local_ids.as_ref(),
        broken_groups: &outcome.broken_groups,
    };
    let summary = Restore::run(&context, &wanted, is_fresh).map_err(|error| match error.kind() {
        ErrorKind::Frozen => {
            // What was written is not in the way of what is missing, even if nothing may be replaced.
            let packs = match options.overwrite {
                Some(_) => Target::find(path),
                None => Ok(None),
            }
            .and_then(|there| Surveying { target: there.as_ref(), ..surveying }.needed_packs(&outcome));
            thaw::stopped(repository, packs, error, monitor)
        }
        _ => error,
    })?;
    target.sync().wrap(|| "cannot make the restored files durable")?;
    Ok(summary)
}

/// As asked, but that nothing is taken for missing where the backup could not read all.
fn careful(options: &RestoreOptions, snapshot: &Snapshot) -> RestoreOptions {
    let mut options = options.clone();
    options.apply.removes_xattrs &= Wholeness::of(snapshot).is_complete();
    options
}

/// The directory into which what is at a path of a snapshot is restored to come where it was. `NotFound` if the snapshot
/// lacks the path.
pub fn origin(repository: &Repository, snapshot: &SnapshotEntry, path: Option<&[u8]>) -> Result<PathBuf> {
    let reader = repository.reader()?;
    let wanted = Wanted::find(Tree::new(&reader), snapshot, &path_components(path.unwrap_or_default())?)?;
    let path = if wanted.path.is_empty() { b"/".as_slice() } else { &wanted.path };
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// The error of who wants nothing that is there.
fn nothing_wanted(selection: &Selection, wanted: &Wanted) -> Error {
    let message = match selection.leaves_out(&wanted.path) {
        Some(rule) => {
            let shown = show_path(&wanted.path);
            format!("nothing is left to restore: the {rule} matches {shown} itself, and so all below it")
        }
        None if matches!(selection, Selection::Exclude(_)) => "nothing is left to restore".into(),
        None => "nothing in the snapshot matches what is to be included".into(),
    };
    Error::new(ErrorKind::NotFound, message)
}

/// Makes sure that somebody agrees if more would be removed than is restored, or in what shares no name with it.
fn agree_to_delete(
    options: &RestoreOptions,
    surveyed: &Surveyed,
    shares_names: impl FnOnce() -> Result<bool>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let is_agreed = options.delete.as_ref().is_none_or(|delete| delete.any_number);
    let (deletions, entries) = (surveyed.deletions, surveyed.wanted);
    if is_agreed || deletions == 0 {
        return Ok(());
    }
    let is_much = entries <= 1 || deletions > entries;
    let is_other = !shares_names()?;
    if !(is_much || is_other) || monitor.agrees_to_delete(deletions, entries) {
        return Ok(());
    }
    let mut message = format!(
        "{deletions} objects would be deleted by a restore of {entries}, to which nobody agreed; nothing was restored"
    );
    if is_other {
        message.push_str(
            " (nothing in the target has a name that is in what is restored: it may be the wrong directory)",
        );
    }
    Err(Error::new(ErrorKind::Denied, message))
}

/// What all parts of a restore share.
struct Context<'r> {
    tree: Tree<'r>,
    target: &'r Target,
    snapshot: &'r Snapshot,
    options: &'r RestoreOptions,
    monitor: &'r dyn Monitor,
    pool: &'r rayon::ThreadPool,
    shares: Shares,
    local_ids: Option<&'r LocalIds>,
    broken_groups: &'r HashSet<LinkGroup>,
}

impl<'r> Context<'r> {
    const fn judge(&self) -> Judge<'_> {
        let options = self.options;
        Judge {
            tree: self.tree,
            overwrite: options.overwrite,
            apply: &options.apply,
            deletes: options.delete.is_some(),
            broken_groups: Some(self.broken_groups),
        }
    }

    const fn looker(&self) -> Looker<'_> {
        let Self { tree, target, options, pool, monitor, .. } = *self;
        Looker { tree, target, options, pool, monitor }
    }

    fn deleter(&self) -> Option<Deleter<'r>> {
        let Self { tree, target, snapshot, options, monitor, .. } = *self;
        let delete = options.delete.as_ref()?;
        let of = (snapshot, &options.selection);
        Some(Deleter::new(tree, target, of, delete, monitor, (false, true)))
    }

    /// Tells who listens what is done with an object of this size, of which so much is written.
    fn tell_item(
        &self,
        action: ItemAction,
        path: impl FnOnce() -> Vec<u8>,
        (size_bytes, written_bytes): (u64, u64),
        parts: MetadataParts,
    ) {
        if self.monitor.wants_items() {
            self.monitor.item(&Item { action, path: &path(), size_bytes, written_bytes, parts });
        }
    }

    /// Tells what of the metadata is not as stored, in stored bytes that are lost and in what could not be set: how many
    /// findings these are, and what is lacking.
    fn tell_problems(
        &self,
        path: impl FnOnce() -> Vec<u8>,
        lost: Vec<String>,
        problems: Vec<Problem>,
    ) -> (u64, Lacks) {
        let (mut count, mut lacks) = (0, Lacks::default());
        if lost.is_empty() && problems.is_empty() {
            return (count, lacks);
        }
        let path = path();
        let mut known = Vec::new();
        for Problem { lack, message } in lost.into_iter().map(Problem::from).chain(problems) {
            count += 1;
            let finding = Finding { kind: FindingKind::Metadata, path: path.clone(), message };
            match lack {
                None => self.monitor.finding(&finding),
                Some(lack) => {
                    self.monitor.lacking(lack, &finding);
                    if !known.contains(&lack) {
                        lacks.add(lack);
                        known.push(lack);
                    }
                }
            }
        }
        (count, lacks)
    }

    /// Tells what of a directory's metadata is set because it differs; whether anything is.
    fn tell_directory(
        &self,
        number: DirectoryNumber,
        node: &Node,
        found: &Found,
        path: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        let apply = &self.options.apply;
        let parts = parts_of_directory(self.tree, self.target, number, node, found, apply);
        if !parts.is_empty() {
            self.tell_item(ItemAction::Update, path, (0, 0), parts);
        }
        !parts.is_empty()
    }

    /// Tells apart what two entries say they are, in few bytes.
    fn kind_id(&self, kind: &NodeKind) -> ChunkId {
        kind_id(self.tree, kind)
    }
}

/// The name that a node of this kind and nothing else would have as a chunk.
pub(super) fn kind_id(tree: Tree<'_>, kind: &NodeKind) -> ChunkId {
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
    /// The same with another name, if it is one object. Messages then tell it by where it goes.
    fn named(mut self, target: &Path, name: Option<&[u8]>) -> Result<Self> {
        let Some(name) = name else { return Ok(self) };
        let Some(entry) = &mut self.single else {
            let message = "a directory has no single name in the target: restore it into a directory";
            return Err(Error::new(ErrorKind::Usage, message));
        };
        check_name(name).map_err(|refused| refused.of_object("the name of the file"))?;
        entry.node.name = name.to_vec();
        self.path = target.as_os_str().as_encoded_bytes().to_vec();
        Ok(self)
    }

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
