//! Looking over what is to be restored before anything is written: how much it is, what is in the way, and for a dry run
//! what would be done.
//!
//! What must hold: nothing is made or changed; it goes no deeper into the target than directories that both sides have,
//! and never through a symbolic link; what it tells is decided by the same rules as in the restore itself.

mod waiting;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rayon::ThreadPool;

use crate::base::{
    ChunkId, Error, ErrorKind, Finding, FindingKind, Item, ItemAction, MetadataParts, Monitor, Result,
};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::format::snapshot::Snapshot;
use crate::fsmeta::owners::LocalIds;
use crate::ops::path::PathLink;
use crate::ops::restore::deleting::Deleter;
use crate::ops::restore::looking::parts_of_directory;
use crate::ops::restore::overwrite::{Decision, Judge, Overwrite, crowded};
use crate::ops::restore::run::is_device;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Found, Target};
use crate::ops::restore::thaw::{Needed, Packs, Part};
use crate::ops::restore::{RestoreOptions, RestoreSummary, Wanted, interrupted, kind_id};
use crate::tree::{Entry, Tree, Walk, WalkItem};

use waiting::Waiting;

/// What was found before the restore.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    /// Entries that are wanted for themselves.
    pub(super) wanted: u64,
    /// What would be removed.
    pub(super) deletions: u64,
    /// Objects with several names of which some, but not all, could be kept.
    pub(super) broken_groups: HashSet<LinkGroup>,
    /// Of a dry run: what would be done.
    pub(super) summary: RestoreSummary,
}

impl Surveyed {
    /// What is known without looking where something is wanted and nothing is there.
    pub(super) fn of_everything() -> Self {
        Self { wanted: 1, ..Self::default() }
    }
}

/// What is looked over, and by which rules.
#[derive(Clone, Copy)]
pub(super) struct Surveying<'r> {
    pub(super) tree: Tree<'r>,
    pub(super) wanted: &'r Wanted,
    pub(super) snapshot: &'r Snapshot,
    /// What is there already; `None` if there is nothing.
    pub(super) target: Option<&'r Target>,
    pub(super) options: &'r RestoreOptions,
    pub(super) local_ids: Option<&'r LocalIds>,
    pub(super) pool: &'r ThreadPool,
    pub(super) monitor: &'r dyn Monitor,
}

impl<'r> Surveying<'r> {
    /// Looks over everything that is wanted.
    ///
    /// Without leave to overwrite, `Exists` at the first object that stands where something is to be restored;
    /// directories may meet.
    pub(super) fn survey(self) -> Result<Surveyed> {
        let Self { options, wanted, monitor, .. } = self;
        // What can be kept of an object with several names is known when all were seen.
        let mut first = Surveyor::new(self, if options.dry_run { Told::Nothing } else { Told::Amounts });
        let knows_all = !options.dry_run || options.overwrite == Some(Overwrite::IfChanged);
        if knows_all {
            first.look_over(wanted)?;
        }
        let broken = |(group, state): (&LinkGroup, &Group)| state.is_broken().then_some(*group);
        first.outcome.broken_groups = first.groups.iter().filter_map(broken).collect();
        if !options.dry_run {
            monitor.expected_all();
            return Ok(first.outcome);
        }
        let mut second = Surveyor::new(self, Told::Actions);
        second.outcome.broken_groups = first.outcome.broken_groups;
        second.needed = Some(Needed::counting(self.tree));
        second.look_over(wanted)?;
        second.outcome.summary.bytes_to_fetch = second.needed.map_or(0, |needed| needed.stored_bytes());
        Ok(second.outcome)
    }

    /// Whether the target and what is restored into it have a name in common, or one of them has none.
    pub(super) fn shares_names(self) -> Result<bool> {
        let Some((target, (stored, _))) = self.target.zip(self.wanted.directory.as_ref()) else {
            return Ok(true);
        };
        let names = target.names(DirectoryNumber::ROOT)?;
        for entry in self.tree.directory(*stored) {
            if names.binary_search(&entry?.node.name).is_ok() {
                return Ok(true);
            }
        }
        Ok(names.is_empty())
    }

    /// The packs in which the contents lie that are to be written, as a survey found what is there.
    pub(super) fn needed_packs(self, surveyed: &Surveyed) -> Result<Packs> {
        // What belongs to whom decides on nothing that is fetched.
        let mut surveyor = Surveyor::new(Self { local_ids: None, ..self }, Told::Nothing);
        surveyor.outcome.broken_groups.clone_from(&surveyed.broken_groups);
        surveyor.needed = Some(Needed::new(self.tree));
        surveyor.look_over(self.wanted)?;
        Ok(surveyor.needed.map(Needed::into_packs).unwrap_or_default())
    }
}

/// What the monitor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Amounts,
    Actions,
}

/// What is known of the names of one object.
#[derive(Debug)]
struct Group {
    kind: ChunkId,
    kept: Option<FileIdentity>,
    is_missing: bool,
}

impl Group {
    fn is_broken(&self) -> bool {
        self.is_missing && self.kept.is_some()
    }
}

/// A directory on the way down.
struct Level {
    path: Arc<PathLink>,
    /// What the restore would do, until it is told.
    untold: Option<Result<Decision>>,
    /// Its own entry, for messages.
    node: Option<Node>,
    /// Its number, if it is there and stays.
    number: Option<DirectoryNumber>,
    parent: Option<DirectoryNumber>,
    /// Whether nothing can be restored below it.
    is_blocked: bool,
    is_wanted: bool,
    /// Where the stored one is, if what it lacks may be removed.
    clears: Option<ChunkId>,
}

struct Surveyor<'r> {
    by: Surveying<'r>,
    tree: Tree<'r>,
    target: Option<&'r Target>,
    options: &'r RestoreOptions,
    monitor: &'r dyn Monitor,
    told: Told,
    groups: HashMap<LinkGroup, Group>,
    /// Objects with several names of which one would be written.
    firsts: HashSet<LinkGroup>,
    /// Where what is to be written lies, if that is asked for.
    needed: Option<Needed<'r>>,
    deleter: Option<Deleter<'r>>,
    /// Directories in which something cannot be restored, so that nothing is removed there.
    failed_in: HashSet<DirectoryNumber>,
    waiting: Vec<Waiting>,
    outcome: Surveyed,
}

impl<'r> Surveyor<'r> {
    fn new(by: Surveying<'r>, told: Told) -> Self {
        let Surveying { tree, target, options, monitor, snapshot, .. } = by;
        let of = (snapshot, &options.selection);
        let is_told = told == Told::Actions;
        let deleter = target
            .zip(options.delete.as_ref())
            .map(|(target, delete)| Deleter::new(tree, target, of, delete, monitor, (true, is_told)));
        Self {
            by,
            tree,
            target,
            options,
            monitor,
            told,
            groups: HashMap::new(),
            firsts: HashSet::new(),
            needed: None,
            deleter,
            failed_in: HashSet::new(),
            waiting: Vec::new(),
            outcome: Surveyed::default(),
        }
    }

    fn look_over(&mut self, wanted: &Wanted) -> Result<()> {
        let mut levels = vec![self.root(wanted)?];
        if let Some(entry) = &wanted.single {
            self.look_at(&mut levels, entry.clone())?;
        }
        if let Some((root, _)) = &wanted.directory {
            self.walk(&mut levels, Walk::new(self.tree, *root, wanted.budget))?;
        }
        while let Some(level) = levels.pop() {
            self.leave(level)?;
        }
        self.settle()?;
        let deleted = self.deleter.as_ref().map(|deleter| deleter.deleted).unwrap_or_default();
        self.outcome.deletions = deleted.items;
        self.outcome.summary.items_deleted = deleted.items;
        self.outcome.summary.bytes_deleted = deleted.bytes;
        self.outcome.summary.findings += deleted.findings;
        Ok(())
    }

    /// The target itself.
    fn root(&mut self, wanted: &Wanted) -> Result<Level> {
        let is_wanted = self.options.selection.wants(&wanted.path);
        self.outcome.wanted += u64::from(is_wanted && wanted.directory.is_some());
        let (tree, node) = wanted.directory.clone().unzip();
        let number = self.target.map(|_| DirectoryNumber::ROOT);
        if let (Some(node), Some(target)) = (node.flatten().filter(|_| is_wanted), self.target) {
            let node = self.localized(node);
            let found = target.examine_directory(DirectoryNumber::ROOT)?;
            if self.judge().updates_directory(&node, &found) {
                self.tell_directory(DirectoryNumber::ROOT, &node, &found, || wanted.path.clone());
            }
        }
        Ok(Level {
            path: Arc::new(PathLink { parent: None, name: wanted.path.clone() }),
            untold: None,
            node: None,
            number,
            parent: None,
            is_blocked: false,
            is_wanted,
            clears: tree.filter(|_| {
                let deleter = self.deleter.as_ref().zip(number);
                deleter.is_some_and(|(deleter, number)| deleter.may_clear(number, None))
            }),
        })
    }

    fn walk(&mut self, levels: &mut Vec<Level>, mut walk: Walk<'_>) -> Result<()> {
        while let Some(item) = walk.next() {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            match item {
                Ok(WalkItem::Leave) => {
                    if let Some(level) = levels.pop() {
                        self.leave(level)?;
                    }
                }
                Ok(WalkItem::Entry(entry)) => match entry.node.kind {
                    NodeKind::Directory(_) => {
                        if !self.enter(levels, entry.node)? {
                            walk.skip_directory();
                        }
                    }
                    _ => self.look_at(levels, *entry)?,
                },
                Err(error) if error.kind() == ErrorKind::Frozen => {
                    let message = "the trees of the snapshot lie where they cannot be read";
                    return Err(error.while_doing(message));
                }
                // The restore itself will meet it and tell.
                Err(error) => {
                    let path = levels.last().map(|level| level.path.join(None)).unwrap_or_default();
                    if let Some(level) = levels.last_mut() {
                        level.clears = None;
                    }
                    self.find(path, &error);
                }
            }
        }
        Ok(())
    }

    /// Tells what of a directory's metadata would be set; whether anything is.
    fn tell_directory(
        &mut self,
        number: DirectoryNumber,
        node: &Node,
        found: &Found,
        path: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        let Some(target) = self.target.filter(|_| self.told == Told::Actions) else { return false };
        let parts = parts_of_directory(self.tree, target, number, node, found, &self.options.apply);
        if !parts.is_empty() {
            self.tell(ItemAction::Update, path, (0, 0), parts);
        }
        !parts.is_empty()
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            tree: self.tree,
            overwrite: self.options.overwrite,
            apply: &self.options.apply,
            deletes: self.options.delete.is_some(),
            broken_groups: Some(&self.outcome.broken_groups),
        }
    }

    fn decide(&self, parent: Option<DirectoryNumber>, node: &Node) -> Result<Decision> {
        match (self.target, parent) {
            (Some(target), Some(parent)) => self.judge().decide(target, parent, node),
            _ => Ok(Decision::Create),
        }
    }

    fn localized(&self, mut node: Node) -> Node {
        if let Some(ids) = self.by.local_ids {
            ids.localize(&mut node.metadata);
        }
        node
    }

    /// Goes into a directory; false if nothing below it is to be restored, or can be.
    fn enter(&mut self, levels: &mut Vec<Level>, node: Node) -> Result<bool> {
        let Some(above) = levels.last() else { return Ok(false) };
        let path = Arc::new(PathLink { parent: Some(Arc::clone(&above.path)), name: node.name.clone() });
        let shown = path.join(None);
        let is_wanted = self.options.selection.wants(&shown);
        if above.is_blocked || !self.options.selection.may_want_below(&shown, is_wanted) {
            return Ok(false);
        }
        let parent = above.number;
        let node = self.localized(node);
        let decision = self.decide(parent, &node);
        let number = match (&decision, self.target, parent) {
            (Ok(Decision::Enter(_)), Some(target), Some(parent)) => target.enter(parent, &node.name),
            _ => Ok(None),
        };
        let (number, decision) = match number {
            Ok(number) => (number, decision),
            Err(error) => (None, Err(error)),
        };
        let untold = Some(decision);
        if let Some(needed) = &mut self.needed {
            needed.add(&Entry { node: node.clone(), bundle: None }, Part::Attributes)?;
        }
        let clears = self.clears(&node, number, levels.last());
        levels.push(Level {
            path,
            untold,
            node: Some(node),
            number,
            parent,
            is_blocked: false,
            is_wanted,
            clears,
        });
        if !is_wanted {
            return Ok(true);
        }
        self.outcome.wanted += 1;
        let is_blocked = self.tell_way(levels)?;
        if is_blocked {
            levels.pop();
        }
        Ok(!is_blocked)
    }

    /// Where the stored directory is, if what it lacks may be removed: not beyond a mount.
    fn clears(&self, node: &Node, number: Option<DirectoryNumber>, above: Option<&Level>) -> Option<ChunkId> {
        let NodeKind::Directory(stored) = node.kind else { return None };
        let number = number?;
        let above = above.filter(|above| above.clears.is_some())?.number?;
        let may_clear = self.deleter.as_ref().is_some_and(|deleter| deleter.may_clear(number, Some(above)));
        may_clear.then_some(stored)
    }

    /// Tells what is done with the directories down to something that is wanted; true if it cannot be restored.
    fn tell_way(&mut self, levels: &mut [Level]) -> Result<bool> {
        let mut is_blocked = false;
        for level in levels {
            is_blocked |= level.is_blocked;
            let (false, Some(decision), Some(node)) = (is_blocked, level.untold.take(), &level.node) else {
                continue;
            };
            let path = || level.path.join(None);
            let none = MetadataParts::default();
            match decision {
                Ok(Decision::Enter(found)) => {
                    if let Some(number) = level.number
                        && self.judge().updates_directory(node, &found)
                        && self.tell_directory(number, node, &found, path)
                    {
                        self.outcome.summary.directories += 1;
                    }
                }
                Ok(Decision::Replace(_)) => {
                    self.tell(ItemAction::Replace, path, (0, 0), none);
                    self.outcome.summary.replaced += 1;
                    self.outcome.summary.directories += 1;
                }
                Ok(_) => {
                    self.tell(ItemAction::Create, path, (0, 0), none);
                    self.outcome.summary.directories += 1;
                }
                Err(error) => {
                    self.refuse(level.parent, node, path(), error)?;
                    level.is_blocked = true;
                    is_blocked = true;
                }
            }
        }
        Ok(is_blocked)
    }

    /// Looks at an entry that is no directory.
    fn look_at(&mut self, levels: &mut [Level], entry: Entry) -> Result<()> {
        let Entry { node, bundle } = entry;
        let Some(directory) = levels.last().map(|level| Arc::clone(&level.path)) else { return Ok(()) };
        let path = |node: &Node| directory.join(Some(&node.name));
        if !self.options.selection.wants_at(|| path(&node)) {
            return Ok(());
        }
        self.outcome.wanted += 1;
        self.expect(node.size());
        let is_left_out = is_device(&node.kind) && !self.options.apply.special;
        if is_left_out || self.tell_way(levels)? {
            return Ok(());
        }
        let node = self.localized(node);
        let parent = levels.last().and_then(|level| level.number);
        let decision = match self.decide(parent, &node) {
            Ok(decision) => decision,
            Err(error) => return self.refuse(parent, &node, path(&node), error),
        };
        if let (Decision::Crowded(_), Some(number)) = (decision, parent) {
            let error = match self.moves_aside(number, levels.last(), &node) {
                Ok(true) => None,
                Ok(false) => Some(crowded()),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                return self.refuse(parent, &node, path(&node), error);
            }
        }
        self.remember(&node, &decision);
        let size = node.size();
        let entry = Entry { node, bundle };
        let node = &entry.node;
        match (decision, parent) {
            (Decision::Look(found, depth), Some(parent)) => {
                if self.told != Told::Actions && self.needed.is_none() {
                    return Ok(());
                }
                let entry = Box::new(entry);
                self.then(Waiting::Look { path: directory, entry, parent, found, depth })
            }
            (Decision::Keep(_), _) => {
                let summary = &mut self.outcome.summary;
                summary.files_skipped += 1;
                summary.bytes_skipped = summary.bytes_skipped.saturating_add(size);
                self.tell(ItemAction::Skip, || path(node), (size, 0), MetadataParts::default());
                Ok(())
            }
            (decision, _) => {
                let is_first = node.metadata.links.is_none_or(|group| self.firsts.insert(group));
                let is_new = decision == Decision::Create;
                let summary = &mut self.outcome.summary;
                if is_first && matches!(node.kind, NodeKind::Regular(_)) {
                    summary.files += 1;
                    summary.bytes = summary.bytes.saturating_add(size);
                } else {
                    summary.others += 1;
                }
                summary.replaced += u64::from(!is_new);
                let action = if is_new { ItemAction::Create } else { ItemAction::Replace };
                let written = if is_first { size } else { 0 };
                self.tell(action, || path(node), (size, written), MetadataParts::default());
                let part = if is_first { Part::All } else { Part::Attributes };
                self.needed.as_mut().map_or(Ok(()), |needed| needed.add(&entry, part))
            }
        }
    }

    /// Whether a directory that is not empty goes, so that something else can have its name.
    fn moves_aside(&mut self, number: DirectoryNumber, level: Option<&Level>, node: &Node) -> Result<bool> {
        let Some((deleter, level)) = self.deleter.as_mut().zip(level) else { return Ok(false) };
        let path = level.path.join(None);
        let may_clear = level.is_wanted && level.clears.is_some() && deleter.is_whole(&path);
        Ok(may_clear && deleter.move_aside(number, &node.name, level.path.join(Some(&node.name)))?)
    }

    /// Remembers of an object with several names whether all of them can be kept as they are.
    fn remember(&mut self, node: &Node, decision: &Decision) {
        let Some(group) =
            node.metadata.links.filter(|_| self.options.overwrite == Some(Overwrite::IfChanged))
        else {
            return;
        };
        let kind = kind_id(self.tree, &node.kind);
        let kept = match decision {
            Decision::Keep(Found { identity, .. }) => Some(*identity),
            _ => None,
        };
        match self.groups.entry(group) {
            Slot::Vacant(slot) => drop(slot.insert(Group { kind, kept, is_missing: kept.is_none() })),
            Slot::Occupied(mut slot) => {
                let state = slot.get_mut();
                if state.kind != kind {
                    return;
                }
                // Where the names of one object stand for several, some must be made anew.
                state.is_missing |= kept.is_none() || (state.kept.is_some() && state.kept != kept);
                state.kept = state.kept.or(kept);
            }
        }
    }

    /// Something is in the way, or what is there cannot be examined.
    fn refuse(
        &mut self,
        parent: Option<DirectoryNumber>,
        node: &Node,
        path: Vec<u8>,
        error: Error,
    ) -> Result<()> {
        if self.options.overwrite.is_some() {
            self.failed_in.extend(parent);
            self.find(path, &error);
            return Ok(());
        }
        match (self.target, parent) {
            (Some(target), Some(parent)) if error.kind() == ErrorKind::Exists => {
                let shown = target.show(parent, &node.name);
                let message = format!("{shown} is there already; nothing was restored");
                Err(Error::new(ErrorKind::Exists, message))
            }
            _ => Err(error),
        }
    }

    fn expect(&self, bytes: u64) {
        if self.told == Told::Amounts {
            self.monitor.expect(1, bytes);
        }
    }

    /// Tells what would be done, after all that is told before it.
    fn tell(
        &mut self,
        action: ItemAction,
        path: impl FnOnce() -> Vec<u8>,
        sizes: (u64, u64),
        parts: MetadataParts,
    ) {
        if self.told != Told::Actions || !self.monitor.wants_items() {
            return;
        }
        let (path, (size_bytes, written_bytes)) = (path(), sizes);
        if self.waiting.is_empty() {
            self.monitor.item(&Item { action, path: &path, size_bytes, written_bytes, parts });
        } else {
            self.waiting.push(Waiting::Told { action, path, sizes, parts });
        }
    }

    fn find(&mut self, path: Vec<u8>, error: &Error) {
        if self.told != Told::Actions {
            return;
        }
        self.outcome.summary.findings += 1;
        self.outcome.summary.damaged += u64::from(error.kind() == ErrorKind::Damaged);
        let (kind, message) = (FindingKind::NotRestored, error.chain().join(": "));
        self.monitor.finding(&Finding { kind, path, message });
    }
}
