//! The directories between the target and where the restore is in the snapshot.
//!
//! What must hold: a directory is made only when something is to be put into it, or when it is wanted for itself; one
//! that cannot be made is told once, and nothing is made below it.

use std::sync::Arc;

use crate::base::{ChunkId, Error, ErrorKind, FindingKind, ItemAction, MetadataParts, Result};
use crate::format::node::{Node, NodeKind};
use crate::ops::path::PathLink;
use crate::ops::restore::overwrite::Decision;
use crate::ops::restore::run::Restore;
use crate::ops::restore::target::{DirectoryNumber, replaced};

/// A directory on the way down.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) path: Arc<PathLink>,
    /// Its own entry; none if it is the root of the snapshot.
    pub(super) node: Option<Node>,
    /// Whether it is wanted for itself.
    pub(super) is_wanted: bool,
    pub(super) place: Place,
    /// Whether it gets the metadata of its entry when it is left.
    pub(super) gets_metadata: bool,
    /// Whether it is told of and counted: it is made, or its metadata differ.
    pub(super) is_counted: bool,
    /// Whether something in it is wanted.
    pub(super) has_wanted: bool,
    /// Whether it must stay reachable to the end, for further names of what is in it.
    pub(super) is_pinned: bool,
    /// Where the stored one is, if what it lacks may be removed here.
    pub(super) clears: Option<ChunkId>,
}

/// Where a directory is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing was put into it yet.
    Waiting,
    /// It was entered, or made by this run.
    Open { number: DirectoryNumber, is_new: bool },
    /// It could not be made.
    Failed,
}

impl Level {
    /// A directory that nothing was put into yet.
    pub(super) fn waiting(path: Arc<PathLink>, node: Node, is_wanted: bool) -> Self {
        let clears = match node.kind {
            NodeKind::Directory(tree) => Some(tree),
            _ => None,
        };
        Self {
            path,
            node: Some(node),
            is_wanted,
            place: Place::Waiting,
            gets_metadata: false,
            is_counted: false,
            has_wanted: false,
            is_pinned: false,
            clears,
        }
    }
}

impl Restore<'_> {
    /// The place of the lowest directory, after it and all above it were made where missing; `None` if one cannot be.
    pub(super) fn place(&mut self, levels: &mut [Level]) -> Result<Option<(DirectoryNumber, bool)>> {
        if let Some(Level { place: Place::Open { number, is_new }, .. }) = levels.last() {
            return Ok(Some((*number, *is_new)));
        }
        let mut above = None;
        // Beyond a mount nothing is removed, nor in what belongs to a repository.
        let mut may_clear = true;
        for level in levels {
            may_clear &= level.clears.is_some() || !matches!(level.place, Place::Open { .. });
            match (level.place, above) {
                (Place::Open { number, is_new }, _) => above = Some((number, is_new)),
                (Place::Waiting, Some(parent)) => {
                    level.place = self.make_directory(parent, level)?;
                    match level.place {
                        Place::Open { number, is_new } => {
                            may_clear &= level.clears.is_some() && self.may_clear(number, parent.0);
                            if !may_clear {
                                level.clears = None;
                            }
                            above = Some((number, is_new));
                        }
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(above)
    }

    fn may_clear(&self, number: DirectoryNumber, parent: DirectoryNumber) -> bool {
        self.deleter.as_ref().is_some_and(|deleter| deleter.may_clear(number, Some(parent)))
    }

    fn make_directory(&mut self, parent: (DirectoryNumber, bool), level: &mut Level) -> Result<Place> {
        match self.try_make_directory(parent, level) {
            Ok(place) => Ok(place),
            Err(error) if error.kind() == ErrorKind::OutOfSpace => Err(error),
            Err(error) => {
                self.failed_in.insert(parent.0);
                self.find(FindingKind::NotRestored, level.path.join(None), &error);
                Ok(Place::Failed)
            }
        }
    }

    fn try_make_directory(&mut self, parent: (DirectoryNumber, bool), level: &mut Level) -> Result<Place> {
        let (parent, is_new) = parent;
        let Some(node) = &level.node else { return Ok(Place::Failed) };
        let target = self.context.target;
        let decision = match is_new {
            true => Decision::Create,
            false => self.context.judge().decide(target, parent, node)?,
        };
        let told = |action| {
            let none = MetadataParts::default();
            self.context.tell_item(action, || level.path.join(None), (0, 0), none);
        };
        match decision {
            Decision::Enter(found) => {
                let gone = || Error::new(ErrorKind::NotFound, "the directory was removed meanwhile");
                let number = target.enter(parent, &node.name)?.ok_or_else(gone)?;
                if target.examine_directory(number)?.identity != found.identity {
                    return Err(replaced());
                }
                level.gets_metadata = self.context.judge().updates_directory(node, &found);
                if level.gets_metadata {
                    let shown = || level.path.join(None);
                    level.is_counted = self.context.tell_directory(number, node, &found, shown);
                }
                return Ok(Place::Open { number, is_new: false });
            }
            Decision::Replace(found) => {
                told(ItemAction::Replace);
                target.remove_file(parent, &node.name, found.identity)?;
                self.summary.replaced += 1;
            }
            _ => told(ItemAction::Create),
        }
        let (number, is_new) = target.create_directory(parent, &node.name)?;
        level.gets_metadata = is_new;
        level.is_counted = is_new;
        // What was made by somebody else meanwhile may hold anything.
        level.clears = level.clears.filter(|_| is_new);
        Ok(Place::Open { number, is_new })
    }
}
