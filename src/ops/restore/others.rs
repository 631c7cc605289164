//! Everything that is neither a directory nor the first name of a file: further names, symbolic links, pipes, sockets,
//! devices.
//!
//! What must hold: a further name is given only to an object that this run restored; what replaces something is made
//! under another name first.

use std::sync::Arc;

use crate::base::{Error, ErrorKind, Finding, FindingKind, Lack, Result};
use crate::format::node::{Node, NodeKind};
use crate::fsmeta::apply::{Attributes, Problem};
use crate::ops::path::PathLink;
use crate::ops::restore::run::{First, Restore, is_device};
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Found};

/// What is made after the files of the same wave.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) directory: DirectoryNumber,
    pub(super) path: Arc<PathLink>,
    pub(super) node: Node,
    pub(super) replaces: Option<Found>,
}

/// What was made: which object it is, and what of its metadata is lost or could not be set.
struct Made {
    identity: FileIdentity,
    lost: Vec<String>,
    problems: Vec<Problem>,
}

impl Restore<'_> {
    /// Makes a link, pipe, socket or device.
    pub(super) fn make(&mut self, later: &Later) -> Result<()> {
        let shown = || later.path.join(Some(&later.node.name));
        self.context.monitor.advance(1, later.node.size());
        match self.try_make(later) {
            Ok(made) => {
                self.summary.others += 1;
                self.summary.replaced += u64::from(later.replaces.is_some());
                self.tell(shown, made.lost, made.problems);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::OutOfSpace | ErrorKind::Frozen) => Err(error),
            Err(error) if error.kind() == ErrorKind::Denied && is_device(&later.node.kind) => {
                self.failed_in.insert(later.directory);
                self.summary.findings += 1;
                self.summary.lacks.add(Lack::Device);
                let (kind, message) = (FindingKind::NotRestored, error.chain().join(": "));
                self.context.monitor.lacking(Lack::Device, &Finding { kind, path: shown(), message });
                Ok(())
            }
            Err(error) => {
                self.failed_in.insert(later.directory);
                self.find(FindingKind::NotRestored, shown(), &error);
                Ok(())
            }
        }
    }

    fn try_make(&mut self, later: &Later) -> Result<Made> {
        let target = self.context.target;
        let Later { directory, node, replaces, .. } = later;
        let Some(found) = replaces else { return self.make_as(later, &node.name) };
        let temporary = target.temporary_name();
        let made = self.make_as(later, &temporary)?;
        let replaced = target.replace(*directory, (&temporary, made.identity), &node.name, found);
        if let Err(error) = replaced {
            // The first failure is the one to tell.
            target.remove_file(*directory, &temporary, made.identity).ok();
            return Err(error);
        }
        Ok(made)
    }

    /// Makes it under a name in its directory.
    fn make_as(&mut self, later: &Later, name: &[u8]) -> Result<Made> {
        let Later { directory, node, .. } = later;
        let target = self.context.target;
        let kind = node.metadata.links.map(|_| self.context.kind_id(&node.kind));
        if let Some(group) = node.metadata.links
            && let Some(First { kind: first_kind, name: Some((first_directory, first_name, identity)) }) =
                self.firsts.get(&group)
            && kind == Some(*first_kind)
        {
            let from = (*first_directory, first_name.as_slice());
            target.create_hard_link(from, *identity, (*directory, name))?;
            return Ok(Made { identity: *identity, lost: Vec::new(), problems: Vec::new() });
        }
        if let NodeKind::Regular(_) = node.kind {
            return Err(Error::new(ErrorKind::Failed, "another name of the same file could not be restored"));
        }
        let (xattrs, lost) = self.context.tree.readable_xattrs(node)?;
        let attributes = Attributes { metadata: &node.metadata, xattrs: &xattrs };
        let apply = &self.context.options.apply;
        let created = match &node.kind {
            NodeKind::Symlink(link) => target.create_symlink(*directory, name, link, &attributes, apply)?,
            kind => target.create_special(*directory, name, kind, &attributes, apply)?,
        };
        if let Some(group) = node.metadata.links
            && let Some(first) = self.firsts.get_mut(&group).filter(|first| kind == Some(first.kind))
        {
            first.name.get_or_insert((*directory, node.name.clone(), created.identity));
        }
        Ok(Made { identity: created.identity, lost, problems: created.problems })
    }
}
