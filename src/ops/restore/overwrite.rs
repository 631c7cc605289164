//! What becomes of something that stands where a restore wants to put something.
//!
//! What must hold: without being told to, nothing is replaced; a directory that is not empty is never removed; what is
//! there is judged by itself, never by what a symbolic link leads to; only a regular file of one name is ever changed
//! where it is.

use std::collections::HashSet;

use crate::base::{Error, ErrorKind, Result};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::apply::ApplyOptions;
use crate::ops::restore::looking::{Depth, parts_of_entry};
use crate::ops::restore::target::{DirectoryNumber, Existing, Found, Target};
use crate::tree::Tree;

/// Which of the things that are there are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overwrite {
    /// All that differ in anything; contents are compared.
    Always,
    /// Those that differ in kind, size or time of change. A file that differs in other metadata alone gets these.
    IfChanged,
    /// Those whose time of change is before the stored one.
    IfNewer,
    /// None: only what is missing is restored.
    Never,
}

/// What is done with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is there: it is made.
    Create,
    /// This is replaced.
    Replace(Found),
    /// This file is looked into, and changed where it is, replaced, or given its metadata, as that tells.
    Look(Found, Depth),
    /// This is kept; it differs in nothing that is looked at, or is not to be replaced.
    Keep(Found),
    /// A directory that is not empty has the name of something else, and may be removed with all that is in it.
    Crowded(Found),
    /// A directory is there already, and is entered.
    Enter(Found),
}

/// Decides what is done with one object of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'r> {
    pub(super) tree: Tree<'r>,
    pub(super) overwrite: Option<Overwrite>,
    pub(super) apply: &'r ApplyOptions,
    /// Whether what is there and not in the snapshot may be removed.
    pub(super) deletes: bool,
    /// Objects with several names of which some must be made anew: to be one object again, all must.
    pub(super) broken_groups: Option<&'r HashSet<LinkGroup>>,
}

impl Judge<'_> {
    /// What is done with an object, given its directory in the target. `Exists` if what is there is in the way.
    pub(super) fn decide(&self, target: &Target, parent: DirectoryNumber, node: &Node) -> Result<Decision> {
        let Some(found) = target.examine(parent, &node.name)? else { return Ok(Decision::Create) };
        let decision = match node.kind {
            NodeKind::Directory(_) => self.decide_directory(&found),
            _ => self.decide_other(target, parent, node, found),
        }?;
        match decision {
            Decision::Replace(Found { kind: Existing::Directory, .. })
                if !target.is_empty_entry(parent, &node.name)? =>
            {
                if self.deletes {
                    Ok(Decision::Crowded(found))
                } else {
                    Err(crowded())
                }
            }
            decision => Ok(decision),
        }
    }

    /// Whether a directory that was there gets the metadata of the snapshot's.
    pub(super) fn updates_directory(&self, node: &Node, found: &Found) -> bool {
        match self.overwrite {
            Some(Overwrite::Always | Overwrite::IfChanged) => true,
            Some(Overwrite::IfNewer) => node.metadata.mtime > found.mtime,
            Some(Overwrite::Never) | None => false,
        }
    }

    fn decide_directory(&self, found: &Found) -> Result<Decision> {
        match (found.kind, self.overwrite) {
            (Existing::Directory, _) => Ok(Decision::Enter(*found)),
            (_, Some(Overwrite::Always)) => Ok(Decision::Replace(*found)),
            (kind, _) => Err(in_the_way(kind.words())),
        }
    }

    fn decide_other(
        &self,
        target: &Target,
        parent: DirectoryNumber,
        node: &Node,
        found: Found,
    ) -> Result<Decision> {
        let Some(overwrite) = self.overwrite else { return Err(in_the_way(found.kind.words())) };
        let is_broken = node.metadata.links.zip(self.broken_groups);
        let is_broken = is_broken.is_some_and(|(group, broken)| broken.contains(&group));
        let is_wanted = match overwrite {
            _ if is_unfinished(node, &found) => true,
            Overwrite::Always => true,
            Overwrite::IfChanged => is_broken || !self.is_same(target, parent, node, &found)?,
            Overwrite::IfNewer => node.metadata.mtime > found.mtime,
            Overwrite::Never => return Ok(Decision::Keep(found)),
        };
        // Another name of the file may lie anywhere, and must get nothing from here.
        let is_alone = node.metadata.links.is_none() && found.links == 1;
        let is_file = matches!(node.kind, NodeKind::Regular(_)) && found.kind == Existing::File;
        Ok(match (is_wanted, overwrite) {
            (true, _) if is_alone && is_file => Decision::Look(found, Depth::Content),
            (true, Overwrite::Always)
                if !is_file && is_alone && self.is_same(target, parent, node, &found)? =>
            {
                self.keep_or_replace(target, parent, node, found)
            }
            (true, _) => Decision::Replace(found),
            (false, Overwrite::IfChanged) if is_alone && is_file => Decision::Look(found, Depth::Metadata),
            (false, Overwrite::IfChanged) => self.keep_or_replace(target, parent, node, found),
            (false, _) => Decision::Keep(found),
        })
    }

    /// Of what has the content already, and is no file of one name.
    fn keep_or_replace(
        &self,
        target: &Target,
        parent: DirectoryNumber,
        node: &Node,
        found: Found,
    ) -> Decision {
        match parts_of_entry(self.tree, target, parent, node, &found, self.apply).is_empty() {
            true => Decision::Keep(found),
            false => Decision::Replace(found),
        }
    }

    fn is_same(&self, target: &Target, parent: DirectoryNumber, node: &Node, found: &Found) -> Result<bool> {
        if node.metadata.mtime != found.mtime {
            return Ok(false);
        }
        Ok(match (&node.kind, found.kind) {
            (NodeKind::Regular(regular), Existing::File) => regular.size == found.size,
            (NodeKind::Symlink(link), Existing::Symlink) => {
                target.link_target(parent, &node.name)?.as_ref() == Some(link)
            }
            (NodeKind::Fifo, Existing::Fifo) | (NodeKind::Socket, Existing::Socket) => true,
            (NodeKind::CharacterDevice { major, minor }, Existing::CharacterDevice)
            | (NodeKind::BlockDevice { major, minor }, Existing::BlockDevice) => {
                (*major, *minor) == found.device
            }
            _ => false,
        })
    }
}

/// Whether a file was left incomplete by a restore of this object: it gets its time last. It may be longer than what is
/// stored, where the restore ended before it could be cut.
fn is_unfinished(node: &Node, found: &Found) -> bool {
    found.has_unfinished_mode() && found.mtime != node.metadata.mtime
}

/// The error of a directory that would have to be removed with what is in it.
pub(super) fn crowded() -> Error {
    in_the_way("a directory that is not empty")
}

fn in_the_way(what: &str) -> Error {
    Error::new(ErrorKind::Exists, format!("{what} is in the way"))
}
