//! Removing what is in the target and not in the snapshot.
//!
//! What must hold: only what is within a directory that the snapshot holds as a whole is removed, and only once its names
//! in the snapshot were all read; nothing beyond a mount is touched, no link is followed, and what belongs to the
//! repository stays wherever it lies, as any other repository does; where it is in doubt whether something was in the
//! snapshot's source it stays; what a dry run lists is what would be removed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::monitor::show_path;
use crate::base::{
    ChunkId, Error, ErrorKind, Finding, FindingKind, Item, ItemAction, MetadataParts, Monitor, Result,
};
use crate::format::names;
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::ops::restore::interrupted;
use crate::ops::restore::selection::Selection;
use crate::ops::restore::target::{DirectoryNumber, Existing, FileIdentity, Found, Target};
use crate::ops::restore::wholeness::{Known, Wholeness};
use crate::tree::Tree;

/// Why something stays.
const REPOSITORY: &str = "the repository or what belongs to it";

/// What a restore may remove.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// As much as there is, also in directories of which the snapshot holds nothing or next to nothing, and without
    /// anybody agreeing to it.
    pub any_number: bool,
    /// Device and inode numbers of what stays wherever it lies, with all that leads there: what the repository, its cache
    /// and its key are kept in.
    pub spared: Vec<(u64, u64)>,
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) findings: u64,
}

/// Which directories of a target may be cleared, and of what.
pub(super) struct Deleter<'r> {
    tree: Tree<'r>,
    target: &'r Target,
    selection: &'r Selection,
    monitor: &'r dyn Monitor,
    wholeness: Wholeness,
    spared: HashSet<FileIdentity>,
    any_number: bool,
    /// Paths of which it was told that nothing is deleted below them.
    told: BTreeSet<Vec<u8>>,
    /// Directories that went out of the way of something else: the names that they have now, and the paths that they had.
    moved: BTreeMap<(DirectoryNumber, Vec<u8>), Vec<u8>>,
    is_dry: bool,
    is_told: bool,
    pub(super) deleted: Deleted,
}

/// A directory that is not in the snapshot, on the way down.
struct Doomed {
    number: DirectoryNumber,
    parent: DirectoryNumber,
    name: Vec<u8>,
    path: Vec<u8>,
    found: Found,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Something in it stays, and so does it.
    stays: bool,
}

impl<'r> Deleter<'r> {
    /// By the options of a restore; `is_told` if each removal is told.
    pub(super) fn new(
        tree: Tree<'r>,
        target: &'r Target,
        (snapshot, selection): (&'r Snapshot, &'r Selection),
        options: &DeleteOptions,
        monitor: &'r dyn Monitor,
        (is_dry, is_told): (bool, bool),
    ) -> Self {
        let spared = options.spared.iter();
        Self {
            tree,
            target,
            selection,
            monitor,
            wholeness: Wholeness::of(snapshot),
            spared: spared.map(|(device, inode)| FileIdentity { device: *device, inode: *inode }).collect(),
            any_number: options.any_number,
            told: BTreeSet::new(),
            moved: BTreeMap::new(),
            is_dry,
            is_told,
            deleted: Deleted::default(),
        }
    }

    /// Whether the snapshot holds all that was in the directory of a path. Why it may not is told once.
    pub(super) fn is_whole(&mut self, path: &[u8]) -> bool {
        let (of, why) = match self.wholeness.known(path) {
            Known::Whole => return true,
            Known::Above => return false,
            Known::Partial(source) => (source, "the backup could not read all of it"),
            Known::Unreadable => {
                (b"/".to_vec(), "the patterns that left something out of the backup cannot be read")
            }
        };
        if self.is_told && self.told.insert(of.clone()) {
            self.monitor.note(&format!("nothing is deleted below {}: {why}", show_path(&of)));
        }
        false
    }

    /// Whether something may be removed in a directory that was entered, and below it: not beyond a mount, and not in
    /// what belongs to a repository. What cannot be told counts as that.
    pub(super) fn may_clear(&self, number: DirectoryNumber, parent: Option<DirectoryNumber>) -> bool {
        let is_mounted = |parent| self.target.is_mounted(number, parent).unwrap_or(true);
        if parent.is_some_and(is_mounted) {
            return false;
        }
        let is_kept = match self.target.examine_directory(number) {
            Ok(found) => self.spared.contains(&found.identity) || self.is_repository(number).unwrap_or(true),
            Err(_) => true,
        };
        if is_kept {
            self.tell_nothing(number, REPOSITORY);
        }
        !is_kept
    }

    /// Whether a directory that was entered holds a repository, of whomever.
    fn is_repository(&self, number: DirectoryNumber) -> Result<bool> {
        let is_directory = |found: Found| found.kind == Existing::Directory;
        Ok(self.target.examine(number, names::PACKS.as_bytes())?.is_some_and(is_directory)
            && self.target.examine(number, names::CONFIG.as_bytes())?.is_some())
    }

    fn tell_nothing(&self, number: DirectoryNumber, why: &str) {
        if self.is_told {
            let shown = self.target.show(number, b"");
            self.monitor.note(&format!("nothing is deleted in {shown}: {why}"));
        }
    }

    /// Removes from a directory that was entered what the stored one does not have. `path` is the stored one's.
    pub(super) fn clear(&mut self, number: DirectoryNumber, stored: ChunkId, path: &[u8]) -> Result<()> {
        let mut strangers: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for name in self.strangers(number, stored)? {
            let path = joined(path, &name);
            strangers.insert(name, path);
        }
        strangers.extend(self.moved_in(number));
        for (name, path) in strangers {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            let outcome = self.remove_all(number, name.clone(), &path);
            if outcome.as_ref().is_ok_and(|is_gone| *is_gone) || self.is_dry {
                self.moved.remove(&(number, name));
            }
            match outcome {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => self.find(path, &error),
                Ok(_) => {}
            }
        }
        self.put_back(Some(number));
        Ok(())
    }

    /// Gives directories that went out of the way of something else their names again, in one directory or in all. Where
    /// something has the name by now, it is told where they are.
    pub(super) fn put_back(&mut self, only: Option<DirectoryNumber>) {
        if self.is_dry {
            return;
        }
        let all = std::mem::take(&mut self.moved);
        for ((directory, name), path) in all {
            if only.is_some_and(|only| only != directory) {
                self.moved.insert((directory, name), path);
                continue;
            }
            let own_name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if self.target.move_aside(directory, &name, own_name).is_err() {
                let (was, is) = (show_path(&path), self.target.show(directory, &name));
                self.monitor.note(&format!("{was} was in the way, and what is left of it is now {is}"));
            }
        }
    }

    /// The directories that went out of the way in a directory: the names that they have now, and the paths that they had.
    fn moved_in(&self, number: DirectoryNumber) -> Vec<(Vec<u8>, Vec<u8>)> {
        let first = (number, Vec::new());
        let moved = self.moved.range(first..).take_while(|((directory, _), _)| *directory == number);
        moved.map(|((_, name), path)| (name.clone(), path.clone())).collect()
    }

    /// Gives a directory another name, under which it is removed with the rest; false, and nothing is done, if something
    /// in it would have to stay.
    pub(super) fn move_aside(&mut self, parent: DirectoryNumber, name: &[u8], path: Vec<u8>) -> Result<bool> {
        let before = (self.is_dry, self.is_told, self.deleted);
        (self.is_dry, self.is_told) = (true, false);
        let goes = self.remove_all(parent, name.to_vec(), &path);
        (self.is_dry, self.is_told, self.deleted) = before;
        if !goes? {
            return Ok(false);
        }
        let mut moved = name.to_vec();
        if !self.is_dry {
            moved = self.target.aside_name();
            self.target.move_aside(parent, name, &moved)?;
        }
        self.moved.insert((parent, moved), path);
        Ok(true)
    }

    /// The names in a directory that the stored one does not have. Both are in order. None, and it is told, if they may
    /// stand for something that it has, or may have been left out of it.
    fn strangers(&self, number: DirectoryNumber, stored: ChunkId) -> Result<Vec<Vec<u8>>> {
        let mut names = self.target.names(number)?.into_iter().peekable();
        let mut strangers = Vec::new();
        if names.peek().is_none() {
            return Ok(strangers);
        }
        let (mut entries, mut others, mut last_file) = (0_u64, 0_u64, None);
        for entry in self.tree.directory(stored) {
            let node = entry?.node;
            let stored_name = node.name;
            while let Some(name) = names.next_if(|name| *name < stored_name) {
                strangers.push(name);
            }
            // Several names may be one to the file system: then it is there under another.
            if names.next_if_eq(&stored_name).is_none()
                && self.target.examine(number, &stored_name)?.is_some()
            {
                let why = "the file system takes several spellings for the same name";
                self.tell_nothing(number, why);
                return Ok(Vec::new());
            }
            entries += 1;
            match node.kind {
                NodeKind::Regular(_) => last_file = Some(stored_name),
                _ => others += 1,
            }
        }
        strangers.extend(names);
        let is_marker = entries == 1 && others == 0 && last_file.is_some_and(|name| may_be_marker(&name));
        if (entries == 0 || is_marker) && !self.any_number && !strangers.is_empty() {
            let why = "next to nothing of it is in the snapshot, and a rule may have left out the rest";
            self.tell_nothing(number, why);
            return Ok(Vec::new());
        }
        Ok(strangers)
    }

    /// Removes what has a name, and all below it; true if nothing of it stays.
    fn remove_all(&mut self, number: DirectoryNumber, name: Vec<u8>, path: &[u8]) -> Result<bool> {
        let mut doomed: Vec<Doomed> = Vec::new();
        let mut is_gone = self.begin(&mut doomed, number, name, path)?;
        while let Some(directory) = doomed.last_mut() {
            if self.monitor.cancelled() {
                doomed.iter().for_each(|left| self.target.leave(left.number));
                return Err(interrupted());
            }
            let (number, next) = (directory.number, directory.names.next());
            if let Some(name) = next {
                let path = joined(&directory.path, &name);
                let outcome = self.begin(&mut doomed, number, name, &path);
                if !outcome.as_ref().is_ok_and(|goes| *goes) {
                    is_gone = false;
                    doomed.iter_mut().for_each(|above| above.stays = true);
                }
                if let Err(error) = outcome {
                    self.find(path, &error);
                }
                continue;
            }
            let Some(done) = doomed.pop() else { break };
            self.target.leave(done.number);
            if !done.stays {
                let outcome = self.remove(done.parent, &done.name, &done.path, &done.found);
                if let Err(error) = outcome {
                    self.find(done.path, &error);
                    is_gone = false;
                    doomed.iter_mut().for_each(|above| above.stays = true);
                }
            }
        }
        Ok(is_gone)
    }

    /// Removes what is no directory, or goes into a directory; false if it stays.
    fn begin(
        &mut self,
        doomed: &mut Vec<Doomed>,
        parent: DirectoryNumber,
        name: Vec<u8>,
        path: &[u8],
    ) -> Result<bool> {
        let Some(found) = self.target.examine(parent, &name)? else { return Ok(true) };
        if self.spared.contains(&found.identity) {
            self.tell_kept(parent, &name, REPOSITORY);
            return Ok(false);
        }
        if self.wholeness.is_left_out(path) || !self.selection.wants(path) {
            return Ok(false);
        }
        if found.kind != Existing::Directory {
            return self.remove(parent, &name, path, &found).map(|()| true);
        }
        let Some(number) = self.target.enter(parent, &name)? else { return Ok(true) };
        let names = match self.names_of_doomed(number, parent, &found) {
            Ok(Ok(names)) => names.into_iter(),
            kept => {
                self.target.leave(number);
                if let Err(why) = kept? {
                    self.tell_kept(parent, &name, why);
                }
                return Ok(false);
            }
        };
        doomed.push(Doomed { number, parent, name, path: path.to_vec(), found, names, stays: false });
        Ok(true)
    }

    /// The names in a directory that was entered to be removed, or why it stays.
    fn names_of_doomed(
        &self,
        number: DirectoryNumber,
        parent: DirectoryNumber,
        found: &Found,
    ) -> Result<std::result::Result<Vec<Vec<u8>>, &'static str>> {
        if self.target.examine_directory(number)?.identity != found.identity {
            return Ok(Err("another directory has its name by now"));
        }
        if self.target.is_mounted(number, parent)? {
            return Ok(Err("something is mounted there"));
        }
        if self.is_repository(number)? {
            return Ok(Err("it holds a repository"));
        }
        self.target.names(number).map(Ok)
    }

    fn tell_kept(&self, parent: DirectoryNumber, name: &[u8], why: &str) {
        if self.is_told {
            let shown = self.target.show(parent, name);
            self.monitor.note(&format!("{shown} is not deleted: {why}"));
        }
    }

    /// Removes one object.
    fn remove(&mut self, parent: DirectoryNumber, name: &[u8], path: &[u8], found: &Found) -> Result<()> {
        if !self.is_dry {
            self.target.remove_found(parent, name, found)?;
        }
        let size_bytes = if found.kind == Existing::File { found.size } else { 0 };
        self.deleted.items += 1;
        self.deleted.bytes = self.deleted.bytes.saturating_add(size_bytes);
        if self.is_told && self.monitor.wants_items() {
            let (written_bytes, parts) = (0, MetadataParts::default());
            let action = ItemAction::Delete;
            self.monitor.item(&Item { action, path, size_bytes, written_bytes, parts });
        }
        Ok(())
    }

    fn find(&mut self, path: Vec<u8>, error: &Error) {
        if self.is_told {
            self.deleted.findings += 1;
            let (kind, message) = (FindingKind::NotRestored, error.chain().join(": "));
            self.monitor.finding(&Finding { kind, path, message });
        }
    }
}

/// Whether a directory may have been stored with this file alone because it says that the rest is not to be backed up.
fn may_be_marker(name: &[u8]) -> bool {
    name == b"CACHEDIR.TAG" || name.starts_with(b".")
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}
