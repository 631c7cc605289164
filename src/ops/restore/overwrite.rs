//! What becomes of something that stands where a restore wants to put something.
//!
//! What must hold: without being told to, nothing is replaced; a directory that is not empty is never removed; what is
//! there is judged by itself, never by what a symbolic link leads to.

use std::collections::HashSet;

use crate::base::{Error, ErrorKind, Result};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::apply::ApplyOptions;
use crate::ops::restore::target::{DirectoryNumber, Existing, Found, Target};

/// Which of the things that are there are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overwrite {
    /// All.
    Always,
    /// Those that differ in kind, size or time of change. A file that differs in mode or owner alone gets these.
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
    /// This file has the content already and gets the metadata.
    Update(Found),
    /// This is kept; it differs in nothing that is looked at, or is not to be replaced.
    Keep(Found),
    /// A directory is there already, and is entered.
    Enter(Found),
}

/// Decides what is done with one object of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'r> {
    pub(super) overwrite: Option<Overwrite>,
    pub(super) apply: &'r ApplyOptions,
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
                Err(in_the_way("a directory that is not empty"))
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
        let is_wanted = match overwrite {
            _ if is_unfinished(node, &found) => true,
            Overwrite::Always => true,
            Overwrite::IfChanged => {
                let is_broken = node.metadata.links.zip(self.broken_groups);
                let is_broken = is_broken.is_some_and(|(group, broken)| broken.contains(&group));
                if !is_broken && self.is_same(target, parent, node, &found)? {
                    return Ok(self.decide_metadata(node, found));
                }
                true
            }
            Overwrite::IfNewer => node.metadata.mtime > found.mtime,
            Overwrite::Never => false,
        };
        Ok(if is_wanted { Decision::Replace(found) } else { Decision::Keep(found) })
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

    /// Of what has the content already: what is done about mode and owner.
    fn decide_metadata(&self, node: &Node, found: Found) -> Decision {
        let metadata = &node.metadata;
        let is_owned = !self.apply.ownership || (metadata.uid, metadata.gid) == (found.uid, found.gid);
        let mode = metadata.mode & if self.apply.special { 0o7777 } else { 0o1777 };
        if is_owned && (mode == found.mode || found.kind == Existing::Symlink) {
            return Decision::Keep(found);
        }
        // Another name of the file may lie anywhere, and must not get an owner from here.
        let is_alone = metadata.links.is_none() && found.links == 1;
        if is_alone && found.kind == Existing::File {
            Decision::Update(found)
        } else {
            Decision::Replace(found)
        }
    }
}

/// Whether a file was left incomplete by a restore of this object: it has the size from the beginning, or as much of it
/// as was written, and gets its time last.
fn is_unfinished(node: &Node, found: &Found) -> bool {
    found.has_unfinished_mode() && found.size <= node.size() && found.mtime != node.metadata.mtime
}

fn in_the_way(what: &str) -> Error {
    Error::new(ErrorKind::Exists, format!("{what} is in the way"))
}
