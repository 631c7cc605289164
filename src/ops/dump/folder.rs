//! Plans what a folder is dumped as: walks it, and has the contents read ahead of what is written.
//!
//! What must hold: parents come before what is in them, and the first name of an object before its others; what is known
//! to be unreadable before it is passed on is left out and told; whatever cannot be held is told.

use std::collections::HashMap;

use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result, Wrap};
use crate::format::node::{ChunkRef, LinkGroup, Node, NodeKind, Regular};
use crate::ops::dump::ahead::{Ahead, Take, place};
use crate::ops::dump::member::{Format, Member};
use crate::ops::dump::{DumpSummary, interrupted};
use crate::ops::restore::kind_id;
use crate::tree::{BundlePlace, Entry, Tree, Walk, WalkItem};

/// What is planned beside contents.
#[derive(Debug)]
pub(super) enum Mark {
    /// A member begins, and its content follows.
    Begin(Box<Member>),
    /// The content of a member ends.
    End,
}

/// Plans a folder.
pub(super) struct Folder<'r> {
    tree: Tree<'r>,
    monitor: &'r dyn Monitor,
    format: Format,
    /// The absolute path of the folder.
    base: Vec<u8>,
    /// Of objects with several names: what they are, and the first name.
    firsts: HashMap<LinkGroup, (ChunkId, Vec<u8>)>,
    /// What could not be planned.
    pub(super) summary: DumpSummary,
    has_passed_on: bool,
}

impl<'r> Folder<'r> {
    /// A folder at an absolute path, which is empty for the root.
    pub(super) fn new(tree: Tree<'r>, format: Format, base: Vec<u8>, monitor: &'r dyn Monitor) -> Self {
        let (firsts, summary) = (HashMap::new(), DumpSummary::default());
        Self { tree, monitor, format, base, firsts, summary, has_passed_on: false }
    }

    /// Plans the folder itself.
    pub(super) fn plan_own(&mut self, node: Node, ahead: &mut Ahead<'_, Mark>) -> Result<()> {
        if !self.format.is_full() {
            return Ok(());
        }
        let xattrs = self.xattrs(&[], &node)?;
        let member = Member { name: Vec::new(), node, xattrs, link: None };
        let bytes = member.outer_bytes();
        ahead.mark(Mark::Begin(Box::new(member)), bytes);
        Ok(())
    }

    /// Plans all below the folder.
    pub(super) fn plan_below(
        &mut self,
        walk: Walk<'_>,
        ahead: &mut Ahead<'_, Mark>,
        take: Take<'_, Mark>,
    ) -> Result<()> {
        let mut current: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        for item in walk {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            match item {
                Ok(WalkItem::Leave) => current.truncate(ends.pop().unwrap_or_default()),
                Ok(WalkItem::Entry(entry)) => {
                    let end = current.len();
                    if end > 0 {
                        current.push(b'/');
                    }
                    current.extend_from_slice(&entry.node.name);
                    let is_directory = matches!(entry.node.kind, NodeKind::Directory(_));
                    self.plan(current.clone(), *entry, ahead, take)?;
                    match is_directory {
                        true => ends.push(end),
                        false => current.truncate(end),
                    }
                }
                // The rest of this directory is lost; the walk goes on with its parents.
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    self.lose(&current, "a part of this directory is left out", &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Plans an entry.
    pub(super) fn plan(
        &mut self,
        name: Vec<u8>,
        entry: Entry,
        ahead: &mut Ahead<'_, Mark>,
        take: Take<'_, Mark>,
    ) -> Result<()> {
        let Entry { node, bundle } = entry;
        if let Some(reason) = self.format.refusal(&name, &node.kind) {
            self.find(FindingKind::LeftOut, &name, reason.to_owned());
            return Ok(());
        }
        let xattrs = self.xattrs(&name, &node)?;
        let link = self.earlier_name(&name, &node);
        let member = Member { name, node, xattrs, link };
        match member.content().cloned() {
            Some(regular) => self.plan_content(member, &regular, bundle, ahead, take)?,
            None => {
                let bytes = member.outer_bytes();
                ahead.mark(Mark::Begin(Box::new(member)), bytes);
            }
        }
        self.pass_on_if_full(ahead, take)
    }

    fn pass_on_if_full(&mut self, ahead: &mut Ahead<'_, Mark>, take: Take<'_, Mark>) -> Result<()> {
        if ahead.is_full() {
            self.has_passed_on = true;
            ahead.pass_on(take)?;
        }
        Ok(())
    }

    /// Plans a file with its content; one that is known to be unreadable before any of it is passed on is left out.
    fn plan_content(
        &mut self,
        member: Member,
        regular: &Regular,
        bundle: Option<BundlePlace>,
        ahead: &mut Ahead<'_, Mark>,
        take: Take<'_, Mark>,
    ) -> Result<()> {
        let (name, links) = (member.name.clone(), member.node.metadata.links);
        // All of a file that fits into a window is read before its header is written, so that damage anywhere in it
        // costs that file alone.
        let fits = ahead.can_hold(regular.content_bytes());
        if fits && !ahead.has_room(regular.content_bytes()) {
            ahead.pass_on(take)?;
        }
        let (begin, bytes) = (ahead.len(), member.outer_bytes());
        self.has_passed_on = false;
        let tree = self.tree;
        let looked = if fits { Ok(()) } else { self.look_over(regular) };
        let planned = looked.and_then(|()| {
            ahead.mark(Mark::Begin(Box::new(member)), bytes);
            match bundle {
                Some(place) => {
                    let chunk = ChunkRef { id: place.id, length: place.bundle_bytes };
                    ahead.part(chunk, place.offset, regular.size)
                }
                None => tree.content(regular, &mut |chunk| {
                    ahead.chunk(chunk)?;
                    if fits { Ok(()) } else { self.pass_on_if_full(ahead, take) }
                }),
            }
        });
        match planned {
            Ok(()) => {
                ahead.mark(Mark::End, 0);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Damaged && !self.has_passed_on => {
                ahead.forget(begin);
                if let Some(group) = links {
                    self.firsts.remove(&group);
                }
                self.lose(&name, "it is left out", &error);
                Ok(())
            }
            Err(error) => Err(error).wrap(|| self.shown(&name)),
        }
    }

    /// Looks for all chunks of a file in the index, whose beginning is written before its end is planned.
    fn look_over(&self, regular: &Regular) -> Result<()> {
        let reader = self.tree.reader();
        self.tree.content(regular, &mut |chunk| place(reader, &chunk).map(drop))
    }

    /// The extended attributes, as far as they can be read and are held.
    fn xattrs(&mut self, name: &[u8], node: &Node) -> Result<crate::tree::XattrValues> {
        if !self.format.is_full() {
            self.summary.without_xattrs += u64::from(!node.xattrs.is_empty());
            return Ok(Vec::new());
        }
        let (xattrs, lost) = self.tree.readable_xattrs(node)?;
        for message in lost {
            self.summary.damaged += 1;
            self.find(FindingKind::Damaged, name, message);
        }
        Ok(xattrs)
    }

    /// Of an object with several names: the name under which it came before.
    fn earlier_name(&mut self, name: &[u8], node: &Node) -> Option<Vec<u8>> {
        let group = node.metadata.links?;
        // An entry that says something else is another object, whatever its group says.
        let kind = kind_id(self.tree, &node.kind);
        match self.firsts.get(&group) {
            Some((first, earlier)) if *first == kind => {
                if self.format.is_full() {
                    return Some(earlier.clone());
                }
                self.summary.links_as_copies += 1;
            }
            Some(_) => {}
            None => {
                self.firsts.insert(group, (kind, name.to_vec()));
            }
        }
        None
    }

    fn lose(&mut self, name: &[u8], what: &str, error: &Error) {
        self.summary.damaged += 1;
        self.find(FindingKind::Damaged, name, format!("{what}: {}", error.chain().join(": ")));
    }

    fn find(&mut self, kind: FindingKind, name: &[u8], message: String) {
        self.summary.findings += 1;
        let path = path_of(&self.base, name);
        self.monitor.finding(&Finding { kind, path, message });
    }

    fn shown(&self, name: &[u8]) -> String {
        crate::base::monitor::show_path(&path_of(&self.base, name))
    }
}

/// The absolute path of what has this name below a folder.
pub(super) fn path_of(base: &[u8], name: &[u8]) -> Vec<u8> {
    match (base, name) {
        ([], []) => b"/".to_vec(),
        (base, []) => base.to_vec(),
        (base, name) => [base, b"/", name].concat(),
    }
}
