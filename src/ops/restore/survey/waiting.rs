//! What a look over a target found on its way and tells in that order, once several files were looked into together.

use std::sync::Arc;

use crate::base::{ChunkId, ErrorKind, Item, ItemAction, MetadataParts, Result};
use crate::ops::path::PathLink;
use crate::ops::restore::looking::{Depth, Look, Looker, Verdict};
use crate::ops::restore::survey::{Level, Surveying, Surveyor, Told};
use crate::ops::restore::target::{DirectoryNumber, Found};
use crate::ops::restore::thaw::Part;
use crate::tree::Entry;

/// Files that are looked into together.
const LOOKS_TOGETHER: usize = 1024;

/// What waits for a look into files.
pub(super) enum Waiting {
    Look { path: Arc<PathLink>, entry: Box<Entry>, parent: DirectoryNumber, found: Found, depth: Depth },
    Told { action: ItemAction, path: Vec<u8>, sizes: (u64, u64), parts: MetadataParts },
    Left { number: DirectoryNumber, clears: Option<(ChunkId, Vec<u8>)> },
}

impl Waiting {
    fn look(&self) -> Option<Look<'_>> {
        match self {
            Self::Look { entry, parent, found, depth, .. } => {
                Some(Look { directory: *parent, entry, found: *found, depth: *depth })
            }
            Self::Told { .. } | Self::Left { .. } => None,
        }
    }
}

impl Surveyor<'_> {
    /// Goes out of a directory.
    pub(super) fn leave(&mut self, level: Level) -> Result<()> {
        let Some(number) = level.number else { return Ok(()) };
        let is_cleared = level.is_wanted && !level.is_blocked && self.deleter.is_some();
        let clears = level.clears.filter(|_| is_cleared).map(|stored| (stored, level.path.join(None)));
        self.then(Waiting::Left { number, clears })
    }

    /// Does something, or has it wait for the looks before it.
    pub(super) fn then(&mut self, waiting: Waiting) -> Result<()> {
        let is_look = matches!(waiting, Waiting::Look { .. });
        if self.waiting.is_empty() && !is_look {
            return self.go(waiting, None);
        }
        self.waiting.push(waiting);
        if self.waiting.len() >= LOOKS_TOGETHER { self.settle() } else { Ok(()) }
    }

    /// Looks into all files that wait.
    pub(super) fn settle(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let look = |waiting: &Waiting| matches!(waiting, Waiting::Look { .. });
        let mut verdicts = Vec::new();
        if let Some(target) = self.target {
            let Surveying { tree, options, pool, monitor, .. } = self.by;
            let looker = Looker { tree, target, options, pool, monitor };
            let looks: Vec<Look<'_>> = waiting.iter().filter_map(Waiting::look).collect();
            verdicts = looker.verdicts(&looks);
            for (look, verdict) in looks.iter().zip(&mut verdicts) {
                if let (Verdict::Unsure(parts), Told::Actions) = (&verdict, self.told) {
                    let is_same = looker.has_bundled(look);
                    *verdict = if is_same { Verdict::Same(*parts) } else { Verdict::Differs };
                }
            }
        }
        let mut verdicts = verdicts.into_iter();
        for step in waiting {
            let verdict = look(&step).then(|| verdicts.next()).flatten();
            self.go(step, verdict)?;
        }
        Ok(())
    }

    fn go(&mut self, waiting: Waiting, verdict: Option<Verdict>) -> Result<()> {
        match waiting {
            Waiting::Told { action, path, sizes, parts } => {
                let (size_bytes, written_bytes) = sizes;
                self.monitor.item(&Item { action, path: &path, size_bytes, written_bytes, parts });
                Ok(())
            }
            Waiting::Left { number, clears } => {
                let has_failed = self.failed_in.remove(&number);
                let outcome = match (&mut self.deleter, clears.filter(|_| !has_failed)) {
                    (Some(deleter), Some((stored, path))) => match deleter.is_whole(&path) {
                        true => deleter.clear(number, stored, &path).map_err(|error| (path, error)),
                        false => Ok(()),
                    },
                    _ => Ok(()),
                };
                if let Some(target) = self.target {
                    target.leave(number);
                }
                match outcome {
                    Err((_, error)) if error.kind() == ErrorKind::Interrupted => Err(error),
                    Err((path, error)) => {
                        self.find(path, &error.while_doing("nothing is deleted in it"));
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            }
            Waiting::Look { path, entry, .. } => {
                self.count(&path, &entry, verdict.unwrap_or(Verdict::Differs))
            }
        }
    }

    /// Counts and tells what becomes of a file that was looked into.
    fn count(&mut self, directory: &PathLink, entry: &Entry, verdict: Verdict) -> Result<()> {
        let size = entry.node.size();
        let summary = &mut self.outcome.summary;
        let (action, written, parts, part) = match &verdict {
            Verdict::Same(parts) if parts.is_empty() => {
                summary.files_skipped += 1;
                (ItemAction::Skip, 0, *parts, None)
            }
            Verdict::Same(parts) => {
                summary.files_updated += 1;
                (ItemAction::Update, 0, *parts, Some(Part::Attributes))
            }
            Verdict::Patch(patch) => {
                summary.files_patched += 1;
                summary.bytes_patched = summary.bytes_patched.saturating_add(patch.written_bytes);
                (ItemAction::Patch, patch.written_bytes, patch.parts, Some(Part::Chosen(&patch.chunks)))
            }
            Verdict::Unsure(_) | Verdict::Differs => {
                summary.files += 1;
                summary.replaced += 1;
                summary.bytes = summary.bytes.saturating_add(size);
                (ItemAction::Replace, size, MetadataParts::default(), Some(Part::All))
            }
        };
        if action != ItemAction::Replace {
            summary.bytes_skipped = summary.bytes_skipped.saturating_add(size.saturating_sub(written));
        }
        let path = || directory.join(Some(&entry.node.name));
        if self.told == Told::Actions && self.monitor.wants_items() {
            let (path, size_bytes, written_bytes) = (&path(), size, written);
            self.monitor.item(&Item { action, path, size_bytes, written_bytes, parts });
        }
        match (&mut self.needed, part) {
            (Some(needed), Some(part)) => needed.add(entry, part),
            _ => Ok(()),
        }
    }
}
