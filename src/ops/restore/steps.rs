//! What a restore found on its way and goes on with in that order, once several files were looked into together.
//!
//! What must hold: no step is done before those before it; what waits is bounded by its number and by its bytes.

use std::sync::Arc;

use crate::base::{FindingKind, ItemAction, MetadataParts, Result};
use crate::format::node::{Node, NodeKind};
use crate::fsmeta::apply::Attributes;
use crate::ops::path::PathLink;
use crate::ops::restore::looking::{Look, Patch, Verdict};
use crate::ops::restore::memory::node_bytes;
use crate::ops::restore::others::Later;
use crate::ops::restore::overwrite::Decision;
use crate::ops::restore::run::{Left, Restore};
use crate::ops::restore::target::{DirectoryNumber, Found};
use crate::ops::restore::wave::{FilePlan, Over, Replacing};
use crate::tree::Entry;

/// Steps that wait together.
const STEPS_MAX: usize = 1024;
/// What waits takes no more than this part of a plan.
const PLAN_PART: usize = 16;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    /// An object, and what was decided about it.
    Take(Taken),
    /// Everything in a directory is on its way.
    Leave { left: Box<Left>, is_pinned: bool },
}

/// An object that is no directory, and what was decided about it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) directory: DirectoryNumber,
    pub(super) path: Arc<PathLink>,
    pub(super) entry: Box<Entry>,
    pub(super) decision: Decision,
}

/// Steps in their order.
#[derive(Debug, Default)]
pub(super) struct Steps {
    waiting: Vec<Step>,
    bytes: usize,
}

impl Step {
    fn look(&self) -> Option<Look<'_>> {
        match self {
            Self::Take(Taken { directory, entry, decision: Decision::Look(found, depth), .. }) => {
                Some(Look { directory: *directory, entry, found: *found, depth: *depth })
            }
            _ => None,
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Take(taken) => size_of::<Entry>() + node_bytes(&taken.entry.node),
                Self::Leave { left, .. } => left.node.as_ref().map_or(0, node_bytes),
            }
    }
}

impl Restore<'_> {
    /// Does a step, or has it wait for those before it.
    pub(super) fn step(&mut self, step: Step) -> Result<()> {
        if self.steps.waiting.is_empty() && step.look().is_none() {
            return self.go(step, None);
        }
        self.steps.bytes += step.memory_bytes();
        self.steps.waiting.push(step);
        let bytes_max = self.context.shares.plan_bytes / PLAN_PART;
        if self.steps.waiting.len() >= STEPS_MAX || self.steps.bytes >= bytes_max {
            return self.catch_up_steps();
        }
        Ok(())
    }

    /// Does all steps that wait.
    pub(super) fn catch_up_steps(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.steps).waiting;
        let looks: Vec<Look<'_>> = steps.iter().filter_map(Step::look).collect();
        let mut verdicts = match looks.is_empty() {
            true => Vec::new(),
            false => self.context.looker().verdicts(&looks),
        }
        .into_iter();
        drop(looks);
        for step in steps {
            let verdict = step.look().is_some().then(|| verdicts.next()).flatten();
            self.go(step, verdict)?;
            if self.is_full() {
                self.pass_on()?;
            }
        }
        Ok(())
    }

    fn go(&mut self, step: Step, verdict: Option<Verdict>) -> Result<()> {
        let taken = match step {
            Step::Leave { left, is_pinned } => {
                self.finish_later(*left, is_pinned);
                return Ok(());
            }
            Step::Take(taken) => taken,
        };
        let is_kept = match (taken.decision, &verdict) {
            (Decision::Keep(_), _) => true,
            (Decision::Look(..), Some(Verdict::Same(parts))) => parts.is_empty(),
            _ => false,
        };
        if is_kept {
            self.keep(&taken);
            return Ok(());
        }
        match (taken.decision, verdict) {
            (Decision::Create, _) => {
                self.tell_written(&taken, ItemAction::Create);
                self.put(taken, Over::Nothing)
            }
            // What had the name has another by now.
            (Decision::Crowded(_), _) => {
                self.tell_written(&taken, ItemAction::Replace);
                self.summary.replaced += 1;
                self.put(taken, Over::Nothing)
            }
            (Decision::Look(found, _), Some(Verdict::Same(parts))) => self.update(&taken, &found, parts),
            (Decision::Look(..), Some(Verdict::Patch(patch))) => {
                self.tell_patch(&taken, &patch);
                self.put(taken, Over::Patches(patch))
            }
            (Decision::Look(found, _), Some(Verdict::Unsure(parts))) => {
                let over = self.replacing(found, Some(parts));
                self.put(taken, over)
            }
            (
                Decision::Look(found, _)
                | Decision::Replace(found)
                | Decision::Enter(found)
                | Decision::Keep(found),
                _,
            ) => {
                self.tell_written(&taken, ItemAction::Replace);
                let over = self.replacing(found, None);
                self.put(taken, over)
            }
        }
    }

    fn replacing(&self, found: Found, unsure: Option<MetadataParts>) -> Over {
        Over::Replaces(Replacing { found, temporary: self.context.target.temporary_name(), unsure })
    }

    fn tell_written(&self, taken: &Taken, action: ItemAction) {
        let size = taken.entry.node.size();
        // Of further names it is not known yet whether they are.
        let written = if self.is_known_name(&taken.entry.node) { 0 } else { size };
        self.context.tell_item(action, || taken.shown(), (size, written), MetadataParts::default());
    }

    fn tell_patch(&self, taken: &Taken, patch: &Patch) {
        let sizes = (taken.entry.node.size(), patch.written_bytes);
        self.context.tell_item(ItemAction::Patch, || taken.shown(), sizes, patch.parts);
    }

    /// Leaves what is there as it is.
    fn keep(&mut self, taken: &Taken) {
        let size = taken.entry.node.size();
        let none = MetadataParts::default();
        self.context.tell_item(ItemAction::Skip, || taken.shown(), (size, 0), none);
        self.summary.files_skipped += 1;
        self.summary.bytes_skipped = self.summary.bytes_skipped.saturating_add(size);
        self.context.monitor.advance(1, size);
    }

    /// Sets the metadata of a file that has the content.
    fn update(&mut self, taken: &Taken, found: &Found, parts: MetadataParts) -> Result<()> {
        let Taken { directory, entry, .. } = taken;
        let node = &entry.node;
        self.context.tell_item(ItemAction::Update, || taken.shown(), (node.size(), 0), parts);
        let (xattrs, lost) = self.context.tree.readable_xattrs(node)?;
        let attributes = Attributes { metadata: &node.metadata, xattrs: &xattrs };
        let apply = &self.context.options.apply;
        let target = self.context.target;
        match target.update_file(*directory, &node.name, found.identity, &attributes, apply) {
            Ok(problems) => {
                self.summary.files_updated += 1;
                self.summary.bytes_skipped = self.summary.bytes_skipped.saturating_add(node.size());
                self.tell(|| taken.shown(), lost, problems);
            }
            Err(error) => {
                self.failed_in.insert(*directory);
                self.find(FindingKind::NotRestored, taken.shown(), &error);
            }
        }
        self.context.monitor.advance(1, node.size());
        Ok(())
    }

    /// Plans what is to be written.
    fn put(&mut self, taken: Taken, over: Over) -> Result<()> {
        let Taken { directory, path, entry, .. } = taken;
        if self.is_further_name(&entry.node) || !matches!(entry.node.kind, NodeKind::Regular(_)) {
            let replaces = match over {
                Over::Replaces(replacing) => Some(replacing.found),
                Over::Nothing | Over::Patches(_) => None,
            };
            self.make_later(Later { directory, path, node: entry.node, replaces });
            return Ok(());
        }
        let (bundle, is_read_back) = (entry.bundle, self.context.options.verify);
        match FilePlan::new(directory, path, *entry, over, is_read_back) {
            Some((plan, regular)) => self.plan(plan, &regular, bundle.as_ref()),
            None => Ok(()),
        }
    }

    /// Whether it is another name of an object of which one was taken.
    fn is_known_name(&self, node: &Node) -> bool {
        node.metadata.links.is_some_and(|group| self.firsts.contains_key(&group))
    }
}

impl Taken {
    /// Its path in the snapshot.
    pub(super) fn shown(&self) -> Vec<u8> {
        self.path.join(Some(&self.entry.node.name))
    }
}
