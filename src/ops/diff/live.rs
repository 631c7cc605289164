//! Compares a snapshot with what is there now.
//!
//! What must hold: nothing is written, and below what is compared no symbolic link is followed; a file of the stored size
//! and time is taken for unchanged unless asked otherwise; what cannot be read is told, and nothing is said of it.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result};
use crate::format::node::NodeKind;
use crate::fsmeta::apply::ApplyOptions;
use crate::fsmeta::capture::{Stat, StatKind};
use crate::fsmeta::compare::{Actual, differing, is_label, xattrs_differ};
use crate::ops::diff::collector::{Collector, Holds, Side};
use crate::ops::diff::stored::{Found, Walked, base_path, resolve, too_deep};
use crate::ops::diff::{Diff, DiffOptions, Modifier, Place, check_interrupted, moves, tell_unreadable};
use crate::ops::find::SoughtKind;
use crate::ops::list::path_components;
use crate::ops::local::{LocalFile, Wanted};
use crate::ops::restore::is_value;
use crate::repository::Repository;
use crate::source::exclude::Judge;
use crate::source::{Directory, Names};
use crate::tree::{DirectoryEntries, Entry, Tree};

/// Compares what a snapshot has at a place with what stands there now, or in a directory of this machine, given by an
/// absolute path without symbolic links. Without a path in the snapshot, what was backed up is compared, each path by
/// itself. Directories with one of the device and inode numbers are passed over.
pub fn diff_live(
    repository: &Repository,
    one: Place<'_>,
    directory: Option<&Path>,
    left_out: &[(u64, u64)],
    options: &DiffOptions,
    monitor: &dyn Monitor,
) -> Result<Diff> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let mut collector = Collector::new(&options.excludes);
    collector.before = base_path(one.path)?;
    let here = directory.map(|directory| directory.as_os_str().as_bytes());
    collector.after = match here {
        Some(here) => here.strip_suffix(b"/").unwrap_or(here).to_vec(),
        None => collector.before.clone(),
    };
    let mut walk = Walk { tree, options, monitor, collector, one: Walked::of(one), left_out };
    // A path that was named must be there; of what was backed up, some may have been unreadable.
    if one.path.is_some() {
        let found = resolve(tree, one)?;
        let is_directory = directory.is_some_and(Path::is_dir);
        if let (Found::Entry(entry), true) = (found, is_directory) {
            walk.collector.after.push(b'/');
            walk.collector.after.extend_from_slice(&entry.node.name);
        }
    }
    for path in roots(one)? {
        walk.root(one, &path)?;
    }
    let mut collector = walk.collector;
    moves::find(repository, tree, &mut collector, monitor)?;
    Ok(collector.finish())
}

/// Paths below a place that were backed up, or that of the place itself.
fn roots(place: Place<'_>) -> Result<Vec<Vec<u8>>> {
    let wanted = path_components(place.path.unwrap_or_default())?;
    let mut roots = Vec::new();
    for source in &place.snapshot.snapshot.paths {
        let names = path_components(source)?;
        if let Some(rest) = names.strip_prefix(wanted.as_slice()) {
            roots.push(rest.iter().flat_map(|name| [b"/".as_slice(), name].concat()).collect());
        }
    }
    if roots.is_empty() {
        roots.push(Vec::new());
    }
    roots.sort_unstable();
    roots.dedup();
    Ok(roots)
}

const fn kind_of(stat: &Stat) -> SoughtKind {
    match stat.kind {
        StatKind::Regular => SoughtKind::File,
        StatKind::Directory => SoughtKind::Directory,
        StatKind::Symlink => SoughtKind::Symlink,
        StatKind::Fifo => SoughtKind::Fifo,
        StatKind::Socket => SoughtKind::Socket,
        StatKind::CharacterDevice { .. } => SoughtKind::CharacterDevice,
        StatKind::BlockDevice { .. } => SoughtKind::BlockDevice,
    }
}

const fn size_of(stat: &Stat) -> u64 {
    match stat.kind {
        StatKind::Regular => stat.size,
        _ => 0,
    }
}

/// Something of this machine: its directory, its name there, and what it is.
struct Live<'l> {
    parent: &'l Directory,
    name: &'l [u8],
    stat: Stat,
}

/// What a look at a name told.
enum Looked {
    Nothing,
    /// It is not to be looked at, or could not be, which was told.
    PassedOver,
    Is(Box<Stat>),
}

/// Two directories in work.
struct Open<'w> {
    stored: Peekable<DirectoryEntries<'w>>,
    directory: Directory,
    names: Names,
    /// Of the next name.
    position: usize,
    judge: Option<Judge<'w>>,
    path_bytes: usize,
}

/// Goes through both.
struct Walk<'w> {
    tree: Tree<'w>,
    options: &'w DiffOptions,
    monitor: &'w dyn Monitor,
    collector: Collector<'w>,
    one: Walked<'w>,
    left_out: &'w [(u64, u64)],
}

impl<'w> Walk<'w> {
    fn here(&self, path: &[u8]) -> Vec<u8> {
        self.collector.item(Side::After, path, SoughtKind::File, 0).path
    }

    /// Tells that something here cannot be read.
    fn unreadable(&mut self, path: &[u8], error: &Error) {
        self.collector.findings += 1;
        tell_unreadable(self.monitor, &self.here(path), error);
    }

    /// Compares what was backed up under a path below the place.
    fn root(&mut self, place: Place<'_>, path: &[u8]) -> Result<()> {
        let whole = [self.collector.before.as_slice(), path].concat();
        if self.options.excludes.rule_for(&whole).is_some() {
            return Ok(());
        }
        let stored = match resolve(self.tree, Place { path: Some(&whole), ..place }) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let here = PathBuf::from(OsStr::from_bytes(&self.here(path)));
        let (Some(above), Some(name)) = (here.parent(), here.file_name()) else {
            // The root directory.
            let directory = Directory::open_absolute(Path::new("/"))?;
            return match stored {
                Some(Found::Directory(tree, _)) => self.directories(path, tree, directory),
                _ => Ok(()),
            };
        };
        let parent = match Directory::open_absolute(above) {
            Ok(parent) => parent,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match stored {
                    Some(Found::Directory(_, Some(entry)) | Found::Entry(entry)) => self.gone(path, *entry),
                    Some(Found::Directory(_, None)) | None => Ok(()),
                };
            }
            Err(error) => {
                self.unreadable(path, &error);
                return Ok(());
            }
        };
        let name = name.as_bytes();
        let stored = match stored {
            Some(Found::Directory(tree, None)) => return self.root_elsewhere(path, tree, &parent, name),
            Some(Found::Directory(_, Some(entry)) | Found::Entry(entry)) => Some(entry),
            None => None,
        };
        match (self.look(&parent, name, path), stored) {
            (Looked::PassedOver, _) | (Looked::Nothing, None) => Ok(()),
            (Looked::Nothing, Some(entry)) => self.gone(path, *entry),
            (Looked::Is(stat), None) => self.take_lone(path, Live { parent: &parent, name, stat: *stat }),
            (Looked::Is(stat), Some(entry)) => {
                let live = Live { parent: &parent, name, stat: *stat };
                match self.met(path, &entry, &live)? {
                    Some((tree, directory)) => self.directories(path, tree, directory),
                    None => Ok(()),
                }
            }
        }
    }

    /// Compares the root directory of the snapshot, of which nothing but its names was stored, with another one.
    fn root_elsewhere(&mut self, path: &[u8], tree: ChunkId, parent: &Directory, name: &[u8]) -> Result<()> {
        match parent.open_child(name) {
            Ok(directory) => self.directories(path, tree, directory),
            Err(error) => {
                self.unreadable(path, &error);
                Ok(())
            }
        }
    }

    /// What was backed up under a path is not there any more.
    fn gone(&mut self, path: &[u8], entry: Entry) -> Result<()> {
        let (tree, monitor) = (self.tree, self.monitor);
        self.one.take_lone(tree, &mut self.collector, Side::Before, path, entry, monitor)
    }

    fn look(&mut self, parent: &Directory, name: &[u8], path: &[u8]) -> Looked {
        match parent.stat_at(name) {
            Ok(stat) if self.left_out.contains(&(stat.device, stat.inode)) => Looked::PassedOver,
            Ok(stat) => Looked::Is(Box::new(stat)),
            Err(error) if error.kind() == ErrorKind::NotFound => Looked::Nothing,
            Err(error) => {
                self.unreadable(path, &error);
                Looked::PassedOver
            }
        }
    }

    /// Puts two directories to those in work, unless the one here cannot be listed.
    fn enter(
        &mut self,
        open: &mut Vec<Open<'w>>,
        path: &[u8],
        tree: ChunkId,
        directory: Directory,
    ) -> Result<()> {
        if open.len() >= DEPTH_MAX {
            return Err(too_deep());
        }
        match directory.names() {
            Ok(names) => open.push(Open {
                stored: self.tree.directory(tree).peekable(),
                directory,
                names,
                position: 0,
                judge: self.collector.judge(path),
                path_bytes: path.len(),
            }),
            Err(error) => self.unreadable(path, &error),
        }
        Ok(())
    }

    fn directories(&mut self, path: &[u8], tree: ChunkId, directory: Directory) -> Result<()> {
        let mut path = path.to_vec();
        let mut open = Vec::new();
        self.enter(&mut open, &path, tree, directory)?;
        loop {
            check_interrupted(self.monitor)?;
            let Some(both) = open.last_mut() else { return Ok(()) };
            path.truncate(both.path_bytes);
            let name = both.names.get(both.position);
            let order = match (both.stored.peek(), name) {
                (None, None) => {
                    open.pop();
                    continue;
                }
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok(entry)), Some(name)) => entry.node.name.as_slice().cmp(name),
            };
            let stored = match order {
                Ordering::Greater => Ok(None),
                _ => both.stored.next().transpose(),
            };
            let entry = match stored {
                Ok(entry) => entry,
                Err(error) => {
                    // Of what is here the rest may stand behind the page that cannot be read.
                    open.pop();
                    self.tell(&path, error)?;
                    continue;
                }
            };
            if order != Ordering::Less {
                both.position += 1;
            }
            let name = match (&entry, order) {
                (Some(entry), Ordering::Less) => entry.node.name.clone(),
                _ => name.unwrap_or_default().to_vec(),
            };
            if both.judge.as_ref().is_some_and(|judge| judge.rule_for(&name).is_some()) {
                continue;
            }
            path.push(b'/');
            path.extend_from_slice(&name);
            if let Some((tree, directory)) = self.pair(&path, entry, both, &name, order)? {
                self.enter(&mut open, &path, tree, directory)?;
            }
        }
    }

    /// Compares what stands under one name; gives two directories that are to be entered.
    fn pair(
        &mut self,
        path: &[u8],
        entry: Option<Entry>,
        both: &Open<'w>,
        name: &[u8],
        order: Ordering,
    ) -> Result<Option<(ChunkId, Directory)>> {
        let looked = match order {
            Ordering::Less => Looked::Nothing,
            _ => self.look(&both.directory, name, path),
        };
        let live = |stat: Box<Stat>| Live { parent: &both.directory, name, stat: *stat };
        match (entry, looked) {
            (_, Looked::PassedOver) | (None, Looked::Nothing) => Ok(None),
            (Some(entry), Looked::Nothing) => {
                let (tree, monitor) = (self.tree, self.monitor);
                self.one.take_lone(tree, &mut self.collector, Side::Before, path, entry, monitor)?;
                Ok(None)
            }
            (None, Looked::Is(stat)) => self.take_lone(path, live(stat)).map(|()| None),
            (Some(entry), Looked::Is(stat)) => self.met(path, &entry, &live(stat)),
        }
    }

    fn tell(&mut self, path: &[u8], error: Error) -> Result<()> {
        self.one.tell(&mut self.collector, Side::Before, path, error, self.monitor)
    }

    /// Compares what both have; gives two directories that are to be entered.
    fn met(&mut self, path: &[u8], entry: &Entry, live: &Live<'_>) -> Result<Option<(ChunkId, Directory)>> {
        self.one.spend(entry)?;
        let kinds = [SoughtKind::of(&entry.node.kind), kind_of(&live.stat)];
        let [before, after] = kinds;
        let items = [
            self.collector.item(Side::Before, path, before, entry.node.size()),
            self.collector.item(Side::After, path, after, size_of(&live.stat)),
        ];
        if before != after {
            let bytes = [size_of(&live.stat), entry.node.size()];
            self.collector.change(path, Modifier::Kind, items, bytes);
            if let NodeKind::Directory(tree) = entry.node.kind {
                let (reader, monitor) = (self.tree, self.monitor);
                self.one.take_below(reader, &mut self.collector, Side::Before, path, tree, monitor)?;
            }
            if after == SoughtKind::Directory {
                self.take_below(path, live)?;
            }
            return Ok(None);
        }
        let compared = match self.compare(path, entry, live) {
            Ok(Ok(compared)) => compared,
            Ok(Err(error)) => {
                self.unreadable(path, &error);
                return Ok(None);
            }
            Err(error) => {
                self.tell(path, error)?;
                return Ok(None);
            }
        };
        if let Some((modifier, bytes)) = compared {
            self.collector.change(path, modifier, items, bytes);
        }
        let NodeKind::Directory(tree) = entry.node.kind else { return Ok(None) };
        match live.parent.open_child(live.name) {
            Ok(directory) => Ok(Some((tree, directory))),
            Err(error) => {
                self.unreadable(path, &error);
                Ok(None)
            }
        }
    }

    /// How two objects of one kind differ, and by how many bytes of content; or why the one here could not be read.
    #[expect(clippy::type_complexity, reason = "an answer, none, or one of two kinds of failure")]
    fn compare(
        &mut self,
        path: &[u8],
        entry: &Entry,
        live: &Live<'_>,
    ) -> Result<std::result::Result<Option<(Modifier, [u64; 2])>, Error>> {
        let Live { parent, name, stat } = live;
        let has_same_look = entry.node.size() == size_of(stat) && entry.node.metadata.mtime == stat.mtime;
        let is_same = match (&entry.node.kind, stat.kind) {
            (NodeKind::Regular(_), _) if has_same_look && !self.options.content => true,
            (NodeKind::Regular(regular), _) => {
                let file = match parent.open_file(name).map(LocalFile::of) {
                    Ok(file) => file,
                    Err(error) => return Ok(Err(error)),
                };
                let held = match file.hold(self.tree, entry, Wanted::HowMuch, self.monitor)? {
                    Ok(held) => held,
                    Err(error) => return Ok(Err(error)),
                };
                if !held.is_same {
                    let modifier = if has_same_look { Modifier::Rot } else { Modifier::Content };
                    let bytes = [stat.size, regular.size].map(|size| size.saturating_sub(held.same_bytes));
                    return Ok(Ok(Some((modifier, bytes))));
                }
                true
            }
            (NodeKind::Symlink(target), _) => match parent.read_link(name) {
                Ok(found) => found == *target,
                Err(error) => return Ok(Err(error)),
            },
            (
                NodeKind::CharacterDevice { major, minor },
                StatKind::CharacterDevice { major: a, minor: b },
            )
            | (NodeKind::BlockDevice { major, minor }, StatKind::BlockDevice { major: a, minor: b }) => {
                (*major, *minor) == (a, b)
            }
            _ => true,
        };
        if !is_same {
            return Ok(Ok(Some((Modifier::Content, [0, 0]))));
        }
        Ok(match self.options.metadata && self.has_other_metadata(path, entry, live) {
            true => Ok(Some((Modifier::Metadata, [0, 0]))),
            false => Ok(None),
        })
    }

    /// Whether mode, owner, time or attributes differ. Attributes that cannot be read are told, and not compared.
    fn has_other_metadata(&mut self, path: &[u8], entry: &Entry, live: &Live<'_>) -> bool {
        let Stat { mode, uid, gid, mtime, kind, .. } = live.stat;
        let actual = Actual { mode, uid, gid, mtime, is_symlink: kind == StatKind::Symlink };
        let all = ApplyOptions::default();
        if !differing(&entry.node.metadata, &actual, &all).is_empty() {
            return true;
        }
        match live.parent.xattrs_at(live.name) {
            Ok(found) if found.problems.is_empty() => xattrs_differ(
                &entry.node.xattrs,
                &found.attributes,
                &all,
                &|name| !is_label(name),
                &is_value(self.tree),
            ),
            Ok(found) => {
                for message in found.problems {
                    self.collector.findings += 1;
                    let (kind, path) = (FindingKind::Metadata, self.here(path));
                    self.monitor.finding(&Finding { kind, path, message });
                }
                false
            }
            Err(error) => {
                self.unreadable(path, &error);
                false
            }
        }
    }

    /// Adds something that is here alone, with all below it.
    fn take_lone(&mut self, path: &[u8], live: Live<'_>) -> Result<()> {
        let (kind, size) = (kind_of(&live.stat), size_of(&live.stat));
        let holds = if size > 0 { Holds::Live } else { Holds::Nothing };
        let position = self.collector.lone(Side::After, path, kind, size, holds);
        if kind == SoughtKind::Directory {
            self.take_below(path, &live)?;
            self.collector.end_lone(Side::After, position);
        }
        Ok(())
    }

    /// Adds all that is in a directory that the snapshot does not have.
    fn take_below(&mut self, path: &[u8], live: &Live<'_>) -> Result<()> {
        struct Listed<'d> {
            directory: Directory,
            names: Names,
            next: usize,
            judge: Option<Judge<'d>>,
            path_bytes: usize,
            position: Option<usize>,
        }
        let mut path = path.to_vec();
        let mut open: Vec<Listed<'_>> = Vec::new();
        let mut next = Some((live.parent.open_child(live.name), None));
        loop {
            check_interrupted(self.monitor)?;
            if let Some((directory, position)) = next.take() {
                let listed = directory.and_then(|directory| Ok((directory.names()?, directory)));
                match listed {
                    Ok((names, directory)) if open.len() < DEPTH_MAX => {
                        let (judge, path_bytes) = (self.collector.judge(&path), path.len());
                        open.push(Listed { directory, names, next: 0, judge, path_bytes, position });
                    }
                    Ok(_) => self.unreadable(&path, &Error::new(ErrorKind::Unsupported, "it lies too deep")),
                    Err(error) => self.unreadable(&path, &error),
                }
            }
            let Some(listed) = open.last_mut() else { return Ok(()) };
            path.truncate(listed.path_bytes);
            let Some(name) = listed.names.get(listed.next).map(<[u8]>::to_vec) else {
                if let Some(position) = listed.position {
                    self.collector.end_lone(Side::After, position);
                }
                open.pop();
                continue;
            };
            listed.next += 1;
            if listed.judge.as_ref().is_some_and(|judge| judge.rule_for(&name).is_some()) {
                continue;
            }
            path.push(b'/');
            path.extend_from_slice(&name);
            if let Looked::Is(stat) = self.look(&listed.directory, &name, &path) {
                let (kind, size) = (kind_of(&stat), size_of(&stat));
                let holds = if size > 0 { Holds::Live } else { Holds::Nothing };
                let position = self.collector.lone(Side::After, &path, kind, size, holds);
                if kind == SoughtKind::Directory {
                    next = Some((listed.directory.open_child(&name), Some(position)));
                }
            }
        }
    }
}
