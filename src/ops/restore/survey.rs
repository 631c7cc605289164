//! Looking over what is to be restored before anything is written: how much it is, what is in the way, and for a dry run
//! what would be done.
//!
//! What must hold: nothing is made or changed; it goes no deeper into the target than directories that both sides have,
//! and never through a symbolic link; what it tells is decided by the same rules as in the restore itself.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, ItemAction, Monitor, Result};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::owners::LocalIds;
use crate::ops::path::PathLink;
use crate::ops::restore::overwrite::{Decision, Judge, Overwrite};
use crate::ops::restore::run::is_device;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Found, Target};
use crate::ops::restore::thaw::{Needed, Packs};
use crate::ops::restore::{RestoreOptions, RestoreSummary, Wanted, interrupted, kind_id};
use crate::tree::{Entry, Tree, Walk, WalkItem};

/// What was found before the restore.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    /// Entries that are wanted for themselves.
    pub(super) wanted: u64,
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

/// Looks over everything that is wanted. `target` is what is there already; `None` if there is nothing.
///
/// Without leave to overwrite, `Exists` at the first object that stands where something is to be restored; directories
/// may meet.
pub(super) fn survey(
    tree: Tree<'_>,
    wanted: &Wanted,
    target: Option<&Target>,
    options: &RestoreOptions,
    local_ids: Option<&LocalIds>,
    monitor: &dyn Monitor,
) -> Result<Surveyed> {
    let surveyor = |told| Surveyor::new(tree, target, options, local_ids, monitor, told);
    // What can be kept of an object with several names is known when all were seen.
    let mut first = surveyor(if options.dry_run { Told::Nothing } else { Told::Amounts });
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
    let mut second = surveyor(Told::Actions);
    second.outcome.broken_groups = first.outcome.broken_groups;
    second.look_over(wanted)?;
    Ok(second.outcome)
}

/// The packs in which the contents lie that are to be written, as a survey found what is there. `target` is what is there
/// now; `None` if there is nothing, or nothing that stands in the way.
pub(super) fn needed_packs(
    tree: Tree<'_>,
    wanted: &Wanted,
    target: Option<&Target>,
    options: &RestoreOptions,
    surveyed: &Surveyed,
    monitor: &dyn Monitor,
) -> Result<Packs> {
    let mut surveyor = Surveyor::new(tree, target, options, None, monitor, Told::Nothing);
    surveyor.outcome.broken_groups.clone_from(&surveyed.broken_groups);
    surveyor.needed = Some(Needed::new(tree));
    surveyor.look_over(wanted)?;
    Ok(surveyor.needed.map(Needed::into_packs).unwrap_or_default())
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
}

struct Surveyor<'r> {
    tree: Tree<'r>,
    target: Option<&'r Target>,
    options: &'r RestoreOptions,
    local_ids: Option<&'r LocalIds>,
    monitor: &'r dyn Monitor,
    told: Told,
    groups: HashMap<LinkGroup, Group>,
    /// Objects with several names of which one would be written.
    firsts: HashSet<LinkGroup>,
    /// Where what is to be written lies, if that is asked for.
    needed: Option<Needed<'r>>,
    outcome: Surveyed,
}

impl<'r> Surveyor<'r> {
    fn new(
        tree: Tree<'r>,
        target: Option<&'r Target>,
        options: &'r RestoreOptions,
        local_ids: Option<&'r LocalIds>,
        monitor: &'r dyn Monitor,
        told: Told,
    ) -> Self {
        Self {
            tree,
            target,
            options,
            local_ids,
            monitor,
            told,
            groups: HashMap::new(),
            firsts: HashSet::new(),
            needed: None,
            outcome: Surveyed::default(),
        }
    }

    fn look_over(&mut self, wanted: &Wanted) -> Result<()> {
        let mut levels = vec![Level {
            path: Arc::new(PathLink { parent: None, name: wanted.path.clone() }),
            untold: None,
            node: None,
            number: self.target.map(|_| DirectoryNumber::ROOT),
            parent: None,
            is_blocked: false,
        }];
        let is_root_wanted = self.options.selection.wants(&wanted.path);
        self.outcome.wanted += u64::from(is_root_wanted && wanted.directory.is_some());
        if let Some(entry) = &wanted.single {
            self.look_at(&mut levels, entry.clone())?;
        }
        let Some((root, _)) = &wanted.directory else { return Ok(()) };
        let mut walk = Walk::new(self.tree, *root, wanted.budget);
        while let Some(item) = walk.next() {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            match item {
                Ok(WalkItem::Leave) => {
                    let left = levels.pop().and_then(|level| level.number);
                    if let (Some(target), Some(number)) = (self.target, left) {
                        target.leave(number);
                    }
                }
                Ok(WalkItem::Entry(entry)) => match entry.node.kind {
                    NodeKind::Directory(_) => {
                        if !self.enter(&mut levels, entry.node)? {
                            walk.skip_directory();
                        }
                    }
                    _ => self.look_at(&mut levels, *entry)?,
                },
                Err(error) if error.kind() == ErrorKind::Frozen => {
                    let message = "the trees of the snapshot lie where they cannot be read";
                    return Err(error.while_doing(message));
                }
                // The restore itself will meet it and tell.
                Err(error) => {
                    let path = levels.last().map(|level| level.path.join(None)).unwrap_or_default();
                    self.find(path, &error);
                }
            }
        }
        Ok(())
    }

    fn judge(&self) -> Judge<'_> {
        let broken_groups = Some(&self.outcome.broken_groups);
        Judge { overwrite: self.options.overwrite, apply: &self.options.apply, broken_groups }
    }

    fn decide(&self, parent: Option<DirectoryNumber>, node: &Node) -> Result<Decision> {
        match (self.target, parent) {
            (Some(target), Some(parent)) => self.judge().decide(target, parent, node),
            _ => Ok(Decision::Create),
        }
    }

    fn localized(&self, mut node: Node) -> Node {
        if let Some(ids) = self.local_ids {
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
            needed.add(&Entry { node: node.clone(), bundle: None }, false)?;
        }
        levels.push(Level { path, untold, node: Some(node), number, parent, is_blocked: false });
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

    /// Tells what is done with the directories down to something that is wanted; true if it cannot be restored.
    fn tell_way(&mut self, levels: &mut [Level]) -> Result<bool> {
        let mut is_blocked = false;
        for level in levels {
            is_blocked |= level.is_blocked;
            let (false, Some(decision), Some(node)) = (is_blocked, level.untold.take(), &level.node) else {
                continue;
            };
            let path = || level.path.join(None);
            match decision {
                Ok(Decision::Enter(found)) => {
                    self.outcome.summary.directories +=
                        u64::from(self.judge().updates_directory(node, &found));
                }
                Ok(Decision::Replace(_)) => {
                    self.tell(ItemAction::Replace, path, 0);
                    self.outcome.summary.replaced += 1;
                    self.outcome.summary.directories += 1;
                }
                Ok(_) => {
                    self.tell(ItemAction::Create, path, 0);
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
        self.remember(&node, &decision);
        let size = node.size();
        let summary = &mut self.outcome.summary;
        let (is_kept, mut is_written) = (matches!(decision, Decision::Keep(_)), false);
        match decision {
            Decision::Keep(_) => {
                summary.files_skipped += 1;
                summary.bytes_skipped = summary.bytes_skipped.saturating_add(size);
                self.tell(ItemAction::Skip, || path(&node), size);
            }
            Decision::Update(_) => {
                summary.files_updated += 1;
                summary.bytes_skipped = summary.bytes_skipped.saturating_add(size);
                self.tell(ItemAction::Update, || path(&node), size);
            }
            Decision::Create | Decision::Replace(_) | Decision::Enter(_) => {
                let is_first = node.metadata.links.is_none_or(|group| self.firsts.insert(group));
                is_written = is_first;
                if is_first && matches!(node.kind, NodeKind::Regular(_)) {
                    summary.files += 1;
                    summary.bytes = summary.bytes.saturating_add(size);
                } else {
                    summary.others += 1;
                }
                let is_new = decision == Decision::Create;
                summary.replaced += u64::from(!is_new);
                let action = if is_new { ItemAction::Create } else { ItemAction::Replace };
                self.tell(action, || path(&node), size);
            }
        }
        match &mut self.needed {
            Some(needed) if !is_kept => needed.add(&Entry { node, bundle }, is_written),
            _ => Ok(()),
        }
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

    fn tell(&self, action: ItemAction, path: impl FnOnce() -> Vec<u8>, size_bytes: u64) {
        if self.told == Told::Actions && self.monitor.wants_items() {
            self.monitor.item(action, &path(), size_bytes);
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
