//! The restore itself: walks what is wanted, makes directories, plans files, and from time to time has written what is
//! planned, while it plans more.
//!
//! What must hold: links and devices are made after the files of the same wave; a directory gets its metadata after
//! everything in it is made, and is forgotten then, unless what is in it may get further names. What is planned beside a
//! wave that is being written needs nothing of it: an entry is judged by what has its own name, and no wave touches a
//! name of another.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Result};
use crate::format::node::{LinkGroup, Node, NodeKind, Regular};
use crate::fsmeta::apply::{Attributes, Problem};
use crate::ops::path::PathLink;
use crate::ops::restore::deleting::Deleter;
use crate::ops::restore::levels::{Level, Place};
use crate::ops::restore::looking::Bits;
use crate::ops::restore::memory::node_bytes;
use crate::ops::restore::others::Later;
use crate::ops::restore::overwrite::{Decision, crowded};
use crate::ops::restore::steps::{Step, Steps, Taken};
use crate::ops::restore::target::DirectoryNumber;
use crate::ops::restore::wave::{FilePlan, Wave};
use crate::ops::restore::writer::{may_go_on, take_back};
use crate::ops::restore::writing::Writing;
use crate::ops::restore::{Context, FirstName, RestoreSummary, Wanted, interrupted};
use crate::tree::{BundlePlace, Entry, Walk, WalkItem};

/// While nothing is being written, so much less of a plan is worth a wave.
const IDLE_PLAN_DIVISOR: usize = 8;

/// A directory in which everything is planned.
#[derive(Debug)]
pub(super) struct Left {
    number: DirectoryNumber,
    path: Arc<PathLink>,
    /// What it gets its metadata from, if it gets any.
    pub(super) node: Option<Node>,
    is_new: bool,
    /// Whether it is counted.
    is_counted: bool,
    /// Where the stored one is, if what it lacks is removed here.
    clears: Option<ChunkId>,
}

/// What is done once the files of a wave are written.
#[derive(Debug, Default)]
struct After {
    later: Vec<Later>,
    left: Vec<Left>,
    /// What these take.
    held_bytes: usize,
}

/// Of an object with several names: the one that came first.
#[derive(Debug)]
pub(super) struct First {
    /// What it is. An entry that says something else is another object, whatever its group says.
    pub(super) kind: ChunkId,
    /// Where it was restored; nothing while that is to be done, or if it failed.
    pub(super) name: Option<FirstName>,
}

/// One restore under way.
pub(super) struct Restore<'r> {
    pub(super) context: &'r Context<'r>,
    pub(super) firsts: HashMap<LinkGroup, First>,
    pub(super) summary: RestoreSummary,
    pub(super) steps: Steps,
    /// Directories in which something could not be restored, so that nothing is removed there.
    pub(super) failed_in: HashSet<DirectoryNumber>,
    pub(super) deleter: Option<Deleter<'r>>,
    wave: Wave,
    after: After,
    writing: Writing,
    /// What comes after the wave that is being written.
    after_writing: Option<After>,
    /// Directories to which further names may lead until the end, deepest first.
    pinned: Vec<Left>,
    notes_special: bool,
}

impl<'r> Restore<'r> {
    /// Restores everything that is wanted. Whatever ends it before, no file is left incomplete.
    pub(super) fn run(context: &'r Context<'r>, wanted: &Wanted, is_fresh: bool) -> Result<RestoreSummary> {
        // At its end, a wave that is still being written is waited for.
        std::thread::scope(|scope| {
            let mut restore = Restore::new(context, Writing::start(scope, context)?);
            match restore.restore(wanted, is_fresh) {
                Ok(()) => Ok(restore.summary),
                Err(error) => {
                    restore.give_up(may_go_on(&error));
                    Err(error)
                }
            }
        })
    }

    fn new(context: &'r Context<'r>, writing: Writing) -> Self {
        Self {
            context,
            firsts: HashMap::new(),
            summary: RestoreSummary::default(),
            steps: Steps::default(),
            failed_in: HashSet::new(),
            deleter: context.deleter(),
            wave: Wave::with_room(context.shares.plan_bytes),
            after: After::default(),
            writing,
            after_writing: None,
            pinned: Vec::new(),
            notes_special: false,
        }
    }

    fn restore(&mut self, wanted: &Wanted, is_fresh: bool) -> Result<()> {
        let mut levels = vec![self.root(wanted, is_fresh)?];
        if let Some(entry) = &wanted.single {
            self.take(&mut levels, Box::new(entry.clone()))?;
        }
        if let Some((tree, _)) = &wanted.directory {
            self.take_tree(&mut levels, Walk::new(self.context.tree, *tree, wanted.budget))?;
        }
        while let Some(level) = levels.pop() {
            self.leave(level, levels.last_mut())?;
        }
        self.catch_up_steps()?;
        self.flush()?;
        for left in std::mem::take(&mut self.pinned) {
            self.finish_directory(&left)?;
        }
        if let Some(deleter) = &self.deleter {
            self.summary.items_deleted = deleter.deleted.items;
            self.summary.bytes_deleted = deleter.deleted.bytes;
            self.summary.findings += deleter.deleted.findings;
        }
        Ok(())
    }

    /// The target itself.
    fn root(&self, wanted: &Wanted, is_fresh: bool) -> Result<Level> {
        let number = DirectoryNumber::ROOT;
        let (tree, node) = wanted.directory.clone().unzip();
        let node = node.flatten().map(|node| self.localized(node));
        let is_wanted = self.context.options.selection.wants(&wanted.path);
        let mut gets_metadata = is_fresh;
        if let Some(node) = node.as_ref().filter(|_| !is_fresh) {
            let found = self.context.target.examine_directory(number)?;
            gets_metadata = self.context.judge().updates_directory(node, &found);
            if gets_metadata && is_wanted {
                self.context.tell_directory(number, node, &found, || wanted.path.clone());
            }
        }
        Ok(Level {
            path: Arc::new(PathLink { parent: None, name: wanted.path.clone() }),
            is_wanted,
            node,
            place: Place::Open { number, is_new: is_fresh },
            gets_metadata,
            is_counted: false,
            has_wanted: false,
            is_pinned: false,
            clears: tree.filter(|_| {
                let deleter = self.deleter.as_ref().filter(|_| !is_fresh);
                deleter.is_some_and(|deleter| deleter.may_clear(number, None))
            }),
        })
    }

    fn localized(&self, mut node: Node) -> Node {
        if let Some(ids) = &self.context.local_ids {
            ids.localize(&mut node.metadata);
        }
        node
    }

    fn take_tree(&mut self, levels: &mut Vec<Level>, mut walk: Walk<'_>) -> Result<()> {
        while let Some(item) = walk.next() {
            if self.context.monitor.cancelled() {
                return Err(interrupted());
            }
            match item {
                Ok(WalkItem::Leave) => {
                    if let Some(level) = levels.pop() {
                        self.leave(level, levels.last_mut())?;
                    }
                }
                Ok(WalkItem::Entry(entry)) => match entry.node.kind {
                    NodeKind::Directory(_) => {
                        if !self.take_directory(levels, entry.node)? {
                            walk.skip_directory();
                        }
                    }
                    _ => self.take(levels, entry)?,
                },
                Err(error) if error.kind() == ErrorKind::Frozen => return Err(error),
                // The rest of this directory is lost; the walk goes on with its parents.
                Err(error) => {
                    let path = levels.last().map(|level| level.path.join(None)).unwrap_or_default();
                    if let Some(level) = levels.last_mut() {
                        level.clears = None;
                    }
                    self.find(FindingKind::NotRestored, path, &error);
                }
            }
            if self.is_full() {
                self.pass_on()?;
            }
        }
        Ok(())
    }

    /// Each wave more reads again what several have in common; but a shorter one is better than to let the writers wait.
    pub(super) fn is_full(&self) -> bool {
        let plan_bytes = self.context.shares.plan_bytes;
        let is_full = |bytes| self.wave.is_full(bytes, self.after.held_bytes);
        // What replaces something, or is verified, is written out to the disk once for each wave.
        let is_cheap = !self.context.options.verify && !self.wave.replaces();
        let is_short_enough = is_cheap && self.writing.is_idle();
        is_full(plan_bytes) || (is_short_enough && is_full(plan_bytes / IDLE_PLAN_DIVISOR))
    }

    /// Goes into a directory; false if nothing below it is to be restored, or can be.
    fn take_directory(&mut self, levels: &mut Vec<Level>, node: Node) -> Result<bool> {
        let Some(above) = levels.last() else { return Ok(false) };
        let path = Arc::new(PathLink { parent: Some(Arc::clone(&above.path)), name: node.name.clone() });
        let shown = path.join(None);
        let selection = &self.context.options.selection;
        let is_wanted = selection.wants(&shown);
        if !selection.may_want_below(&shown, is_wanted) {
            return Ok(false);
        }
        if !self.context.monitor.wants_items() {
            self.context.monitor.begin(&shown);
        }
        levels.push(Level::waiting(path, self.localized(node), is_wanted));
        if !is_wanted {
            return Ok(true);
        }
        if self.place(levels)?.is_none() {
            levels.pop();
            return Ok(false);
        }
        Ok(true)
    }

    /// Plans an entry that is no directory.
    fn take(&mut self, levels: &mut [Level], mut entry: Box<Entry>) -> Result<()> {
        let Some(path) = levels.last().map(|level| Arc::clone(&level.path)) else { return Ok(()) };
        let shown = |node: &Node| path.join(Some(&node.name));
        let is_wanted = self.context.options.selection.wants_at(|| shown(&entry.node));
        if !is_wanted || self.leaves_out(&entry.node) {
            return Ok(());
        }
        let Some((directory, is_new)) = self.place(levels)? else { return Ok(()) };
        if let Some(ids) = &self.context.local_ids {
            ids.localize(&mut entry.node.metadata);
        }
        let decision = match is_new {
            true => Ok(Decision::Create),
            false => self.context.judge().decide(self.context.target, directory, &entry.node),
        };
        let decision = match decision {
            Ok(Decision::Crowded(found)) => match self.moves_aside(directory, levels.last(), &entry.node) {
                Ok(true) => Ok(Decision::Crowded(found)),
                Ok(false) => Err(crowded()),
                Err(error) => Err(error),
            },
            other => other,
        };
        let decision = match decision {
            Ok(decision) => decision,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.failed_in.insert(directory);
                self.find(FindingKind::NotRestored, shown(&entry.node), &error);
                return Ok(());
            }
        };
        if let Some(level) = levels.last_mut() {
            level.has_wanted = true;
            let is_kept = matches!(decision, Decision::Keep(_));
            level.is_pinned |= entry.node.metadata.links.is_some() && !is_kept;
        }
        self.step(Step::Take(Taken { directory, path, entry, decision }))
    }

    /// Whether a directory that is not empty went, so that something else can have its name.
    fn moves_aside(&mut self, number: DirectoryNumber, level: Option<&Level>, node: &Node) -> Result<bool> {
        let Some((deleter, level)) = self.deleter.as_mut().zip(level) else { return Ok(false) };
        let path = level.path.join(None);
        let may_clear = level.is_wanted && level.clears.is_some() && deleter.is_whole(&path);
        Ok(may_clear && deleter.move_aside(number, &node.name, level.path.join(Some(&node.name)))?)
    }

    /// Has something made after the files of the same wave.
    pub(super) fn make_later(&mut self, later: Later) {
        self.after.held_bytes += size_of::<Later>() + node_bytes(&later.node);
        self.after.later.push(later);
    }

    /// Whether it is a device, and these are left out.
    fn leaves_out(&mut self, node: &Node) -> bool {
        let is_left_out = is_device(&node.kind) && !self.context.options.apply.special;
        if is_left_out {
            self.context.monitor.advance(1, 0);
            if !std::mem::replace(&mut self.notes_special, true) {
                self.context.monitor.note("devices are left out, as asked");
            }
        }
        is_left_out
    }

    /// Whether it is a further name of an object that this run restores.
    pub(super) fn is_further_name(&mut self, node: &Node) -> bool {
        let Some(group) = node.metadata.links else { return false };
        let kind = self.context.kind_id(&node.kind);
        if let Some(first) = self.firsts.get(&group) {
            return first.kind == kind;
        }
        self.firsts.insert(group, First { kind, name: None });
        false
    }

    /// Plans the content of a file, and writes what is planned as often as there is enough of it.
    pub(super) fn plan(
        &mut self,
        plan: FilePlan,
        regular: &Regular,
        bundle: Option<&BundlePlace>,
    ) -> Result<()> {
        let chosen = plan.patch().map(|patch| patch.chunks.clone());
        self.wave.begin(plan);
        let mut fatal = None;
        let planned = match bundle {
            Some(place) => self.wave.add_bundled(self.context.tree, place, regular.size),
            None => self.plan_chunks(regular, chosen.as_ref(), &mut fatal),
        };
        if let Some(error) = fatal {
            return Err(error);
        }
        // Of a file that failed while it was written, that was told.
        let has_failed = self.wave.last_has_failed();
        let refused = planned.err().filter(|_| !has_failed);
        if !has_failed && refused.is_none() {
            self.wave.end();
            return Ok(());
        }
        let Some(plan) = self.wave.abandon() else { return Ok(()) };
        take_back(self.context, &plan, false);
        if let Some(error) = refused {
            self.failed_in.insert(plan.directory);
            self.find(FindingKind::NotRestored, plan.shown(), &error);
        }
        Ok(())
    }

    /// Plans the chunks of a file, or those that are chosen. What ends the whole restore is put into `fatal`.
    fn plan_chunks(
        &mut self,
        regular: &Regular,
        chosen: Option<&Bits>,
        fatal: &mut Option<Error>,
    ) -> Result<()> {
        let tree = self.context.tree;
        let mut content_offset = 0;
        let mut number = 0;
        tree.content(regular, &mut |chunk| {
            if chosen.is_none_or(|chosen| chosen.contains(number)) {
                self.wave.add_chunk(tree, &chunk, content_offset)?;
            }
            number += 1;
            content_offset += chunk.length;
            // Nobody plans while the rest of a file waits for its wave, so that a short one gains nothing.
            if self.wave.is_full(self.context.shares.plan_bytes, self.after.held_bytes) {
                if let Err(error) = self.flush() {
                    *fatal = Some(error);
                    return Err(interrupted());
                }
                if self.wave.last_has_failed() {
                    return Err(interrupted());
                }
            }
            Ok(())
        })
    }

    /// Writes what is planned, makes what comes after files, and finishes the directories that were left.
    fn flush(&mut self) -> Result<()> {
        self.pass_on()?;
        self.catch_up()
    }

    /// Has what is planned written while more is planned, after all that was passed on before is done.
    pub(super) fn pass_on(&mut self) -> Result<()> {
        self.catch_up()?;
        let next = Wave::with_room(self.context.shares.plan_bytes);
        self.writing.begin(std::mem::replace(&mut self.wave, next))?;
        self.after_writing = Some(std::mem::take(&mut self.after));
        Ok(())
    }

    /// Waits for the wave that is being written, and does what comes after it. A file of it that goes on is the first of
    /// the next wave.
    fn catch_up(&mut self) -> Result<()> {
        let Some(after) = self.after_writing.take() else { return Ok(()) };
        let written = self.writing.end()?;
        if let Some(plan) = written.unended {
            self.wave.begin(plan);
        }
        self.summary.files += written.files;
        self.summary.bytes = self.summary.bytes.saturating_add(written.bytes);
        self.summary.replaced += written.replaced;
        self.summary.files_patched += written.patched;
        self.summary.bytes_patched = self.summary.bytes_patched.saturating_add(written.patched_bytes);
        self.summary.files_updated += written.updated;
        self.summary.files_skipped += written.skipped;
        self.summary.bytes_skipped = self.summary.bytes_skipped.saturating_add(written.skipped_bytes);
        self.failed_in.extend(written.failed_in);
        self.summary.files_verified += written.verified;
        self.summary.findings += written.findings;
        self.summary.lacks = self.summary.lacks.and(written.lacks);
        self.summary.damaged += written.damaged;
        for (group, kind, name) in written.firsts {
            if let Some(first) = self.firsts.get_mut(&group).filter(|first| first.kind == kind) {
                first.name.get_or_insert(name);
            }
        }
        for later in after.later {
            if self.context.monitor.cancelled() {
                return Err(interrupted());
            }
            self.make(&later)?;
        }
        for left in after.left {
            self.finish_directory(&left)?;
        }
        Ok(())
    }

    /// Takes back what was begun and is not complete.
    fn give_up(&mut self, is_continued: bool) {
        while let Some(plan) = self.wave.abandon() {
            take_back(self.context, &plan, is_continued);
        }
        if let Some(deleter) = &mut self.deleter {
            deleter.put_back(None);
        }
    }

    /// Everything in a directory is on its way.
    fn leave(&mut self, level: Level, above: Option<&mut Level>) -> Result<()> {
        if let Some(above) = above {
            above.has_wanted |= level.has_wanted;
            above.is_pinned |= level.is_pinned;
        }
        let Place::Open { number, is_new } = level.place else { return Ok(()) };
        let gets_metadata = level.gets_metadata && (level.is_wanted || level.has_wanted);
        let node = level.node.filter(|_| gets_metadata);
        let clears = level.clears.filter(|_| level.is_wanted && !is_new);
        let left = Left { number, path: level.path, node, is_new, is_counted: level.is_counted, clears };
        self.step(Step::Leave { left: Box::new(left), is_pinned: level.is_pinned })
    }

    /// Finishes a directory when nothing changes it any more.
    pub(super) fn finish_later(&mut self, left: Left, is_pinned: bool) {
        if is_pinned {
            self.pinned.push(left);
        } else {
            self.after.held_bytes += size_of::<Left>() + left.node.as_ref().map_or(0, node_bytes);
            self.after.left.push(left);
        }
    }

    fn finish_directory(&mut self, left: &Left) -> Result<()> {
        self.clear(left)?;
        if let Some(node) = &left.node {
            self.summary.directories += u64::from(left.is_counted);
            let (xattrs, lost) = self.context.tree.readable_xattrs(node)?;
            let attributes = Attributes { metadata: &node.metadata, xattrs: &xattrs };
            let apply = &self.context.options.apply;
            let is_new = left.is_new && left.number != DirectoryNumber::ROOT;
            let problems = self.context.target.finish_directory(left.number, is_new, &attributes, apply);
            self.tell(|| left.path.join(None), lost, problems);
        }
        self.context.target.leave(left.number);
        Ok(())
    }

    /// Removes from a directory what the stored one does not have.
    fn clear(&mut self, left: &Left) -> Result<()> {
        let Some(deleter) = &mut self.deleter else { return Ok(()) };
        let path = left.path.join(None);
        let has_failed = self.failed_in.remove(&left.number);
        let may_clear = !has_failed && left.clears.is_some() && deleter.is_whole(&path);
        let Some(stored) = left.clears.filter(|_| may_clear) else {
            let shown = self.context.target.show(left.number, b"");
            if has_failed && left.clears.is_some() {
                let message = format!("nothing is deleted in {shown}: not all of it could be restored");
                self.context.monitor.note(&message);
            }
            deleter.put_back(Some(left.number));
            return Ok(());
        };
        match deleter.clear(left.number, stored, &path) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                deleter.put_back(Some(left.number));
                self.find(FindingKind::NotRestored, path, &error.while_doing("nothing is deleted in it"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Tells what of the metadata is not as stored.
    pub(super) fn tell(&mut self, path: impl FnOnce() -> Vec<u8>, lost: Vec<String>, problems: Vec<Problem>) {
        self.summary.damaged += lost.len() as u64;
        let (findings, lacks) = self.context.tell_problems(path, lost, problems);
        self.summary.findings += findings;
        self.summary.lacks = self.summary.lacks.and(lacks);
    }

    pub(super) fn find(&mut self, kind: FindingKind, path: Vec<u8>, error: &Error) {
        self.summary.findings += 1;
        if error.kind() == ErrorKind::Damaged {
            self.summary.damaged += 1;
        }
        self.context.monitor.finding(&Finding { kind, path, message: error.chain().join(": ") });
    }
}

/// Whether it is a device.
pub(super) const fn is_device(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::CharacterDevice { .. } | NodeKind::BlockDevice { .. })
}
