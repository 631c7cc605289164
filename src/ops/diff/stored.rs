//! Compares two snapshots.
//!
//! What must hold: of two trees only the pages are read in which they differ; a directory of which a page cannot be read is
//! told, and what could be compared stands.

use std::collections::HashMap;

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result};
use crate::format::node::{Metadata, NodeKind};
use crate::ops::diff::collector::{Collector, Holds, Side};
use crate::ops::diff::{Diff, DiffOptions, Item, Modifier, Place, check_interrupted, moves};
use crate::ops::find::{SoughtKind, tell_damage};
use crate::ops::list::path_components;
use crate::repository::{Repository, SnapshotEntry};
use crate::source::exclude::Judge;
use crate::tree::{Budget, Differences, DirectoryEntries, Entry, LastBundles, Pair, Tree, same_content};

/// Compares what stands at two places.
pub fn diff_snapshots(
    repository: &Repository,
    one: Place<'_>,
    other: Place<'_>,
    options: &DiffOptions,
    monitor: &dyn Monitor,
) -> Result<Diff> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let mut collector = Collector::new(&options.excludes);
    let [at_one, at_other] = [resolve(tree, one)?, resolve(tree, other)?];
    collector.before = base_path(one.path)?;
    collector.after = base_path(other.path)?;
    let (bundles, one, other) = (LastBundles::default(), Walked::of(one), Walked::of(other));
    let mut walk = Walk { tree, options, monitor, collector, one, other, bundles };
    match (at_one, at_other) {
        _ if walk.collector.leaves_out_all() => {}
        (Found::Directory(one, of_one), Found::Directory(other, of_other)) => {
            if let (Some(of_one), Some(of_other)) = (of_one, of_other) {
                walk.both(b"", &of_one, &of_other)?;
            }
            walk.directories(one, other)?;
        }
        (Found::Entry(one), Found::Entry(other)) => walk.both(b"", &one, &other)?,
        (one, _) => {
            let directory = if matches!(one, Found::Directory(..)) { Side::Before } else { Side::After };
            return Err(kinds_differ(&walk.collector, directory));
        }
    }
    let mut collector = walk.collector;
    moves::find(repository, tree, &mut collector, monitor)?;
    Ok(collector.finish())
}

fn kinds_differ(collector: &Collector<'_>, directory: Side) -> Error {
    let [before, after] =
        [&collector.before, &collector.after].map(|path| crate::base::monitor::show_path(path));
    let message = match directory {
        Side::Before => format!("{before} is a directory, and {after} is none"),
        Side::After => format!("{before} is no directory, and {after} is one"),
    };
    Error::new(ErrorKind::Usage, message)
}

/// What stands at a place.
pub(super) enum Found {
    /// A directory, by its root page; the root directory has no entry.
    Directory(ChunkId, Option<Box<Entry>>),
    /// Anything else.
    Entry(Box<Entry>),
}

/// Looks a place up. `NotFound` if there is nothing.
pub(super) fn resolve(tree: Tree<'_>, place: Place<'_>) -> Result<Found> {
    let components = path_components(place.path.unwrap_or_default())?;
    let root = place.snapshot.snapshot.tree;
    if components.is_empty() {
        return Ok(Found::Directory(root, None));
    }
    let entry = tree.lookup(&root, &components)?;
    Ok(match entry.node.kind {
        NodeKind::Directory(tree) => Found::Directory(tree, Some(Box::new(entry))),
        _ => Found::Entry(Box::new(entry)),
    })
}

/// The path of a place with a slash before each name.
pub(super) fn base_path(path: Option<&[u8]>) -> Result<Vec<u8>> {
    let components = path_components(path.unwrap_or_default())?;
    Ok(components.iter().flat_map(|name| [b"/".as_slice(), name].concat()).collect())
}

/// One of the snapshots.
pub(super) struct Walked<'w> {
    snapshot: &'w SnapshotEntry,
    budget: Budget,
}

impl<'w> Walked<'w> {
    pub(super) fn of(place: Place<'w>) -> Self {
        Self { snapshot: place.snapshot, budget: Budget::of(&place.snapshot.snapshot) }
    }

    /// Tells what is damaged; anything else ends the comparison.
    pub(super) fn tell(
        &self,
        collector: &mut Collector<'_>,
        side: Side,
        path: &[u8],
        error: Error,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        if error.kind() != ErrorKind::Damaged {
            return Err(error);
        }
        collector.damaged += 1;
        let item = collector.item(side, path, SoughtKind::Directory, 0);
        tell_damage(monitor, self.snapshot, &item.path, &error);
        Ok(())
    }

    /// Adds an object that this side alone has, with all below it.
    pub(super) fn take_lone(
        &mut self,
        tree: Tree<'_>,
        collector: &mut Collector<'_>,
        side: Side,
        path: &[u8],
        entry: Entry,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        struct Open<'r, 'd> {
            entries: DirectoryEntries<'r>,
            judge: Option<Judge<'d>>,
            path_bytes: usize,
            position: usize,
        }
        let mut path = path.to_vec();
        let mut open: Vec<Open<'_, '_>> = Vec::new();
        let mut next = Some(entry);
        loop {
            if let Some(entry) = next.take() {
                let kind = SoughtKind::of(&entry.node.kind);
                let size = entry.node.size();
                self.spend(&entry)?;
                let below = match entry.node.kind {
                    NodeKind::Directory(tree) => Some(tree),
                    _ => None,
                };
                let holds = match below {
                    Some(tree) => Holds::Tree(tree),
                    None if size > 0 => Holds::Stored(Box::new(entry)),
                    None => Holds::Nothing,
                };
                let position = collector.lone(side, &path, kind, size, holds);
                match below {
                    Some(_) if open.len() >= DEPTH_MAX => return Err(too_deep()),
                    Some(below) => open.push(Open {
                        entries: tree.directory(below),
                        judge: collector.judge(&path),
                        path_bytes: path.len(),
                        position,
                    }),
                    None => path.truncate(open.last().map_or(0, |open| open.path_bytes)),
                }
            }
            check_interrupted(monitor)?;
            let Some(directory) = open.last_mut() else { return Ok(()) };
            path.truncate(directory.path_bytes);
            match directory.entries.next() {
                None => {
                    collector.end_lone(side, directory.position);
                    open.pop();
                }
                Some(Err(error)) => self.tell(collector, side, &path, error, monitor)?,
                Some(Ok(entry)) => {
                    let judge = directory.judge.as_ref();
                    if judge.is_none_or(|judge| judge.rule_for(&entry.node.name).is_none()) {
                        path.push(b'/');
                        path.extend_from_slice(&entry.node.name);
                        next = Some(entry);
                    }
                }
            }
        }
    }
}

impl Walked<'_> {
    /// Takes an object out of what the snapshot says it holds.
    pub(super) fn spend(&mut self, entry: &Entry) -> Result<()> {
        self.budget.spend(entry)
    }

    /// Adds all that is in a directory that is none on the other side.
    pub(super) fn take_below(
        &mut self,
        tree: Tree<'_>,
        collector: &mut Collector<'_>,
        side: Side,
        path: &[u8],
        directory: ChunkId,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let judge = collector.judge(path);
        for entry in tree.directory(directory) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.tell(collector, side, path, error, monitor),
            };
            if judge.as_ref().is_none_or(|judge| judge.rule_for(&entry.node.name).is_none()) {
                let path = [path, b"/", &entry.node.name].concat();
                self.take_lone(tree, collector, side, &path, entry, monitor)?;
            }
        }
        Ok(())
    }
}

pub(super) fn too_deep() -> Error {
    Error::damaged(format!("a directory deeper than {DEPTH_MAX} (format rule TREE-1)"))
}

/// Goes through both.
struct Walk<'w> {
    tree: Tree<'w>,
    options: &'w DiffOptions,
    monitor: &'w dyn Monitor,
    collector: Collector<'w>,
    one: Walked<'w>,
    other: Walked<'w>,
    bundles: LastBundles,
}

/// Two directories in work.
struct Open<'w> {
    differences: Differences<'w>,
    judge: Option<Judge<'w>>,
    path_bytes: usize,
}

impl<'w> Walk<'w> {
    /// Compares two directories; nothing is read if they are the same.
    fn directories(&mut self, one: ChunkId, other: ChunkId) -> Result<()> {
        let mut path = Vec::new();
        let mut open: Vec<Open<'w>> = Vec::new();
        let mut next = Some((one, other));
        loop {
            if let Some((one, other)) = next.take().filter(|(one, other)| one != other) {
                if open.len() >= DEPTH_MAX {
                    return Err(too_deep());
                }
                match self.tree.differences(one, other) {
                    Ok(differences) => {
                        let judge = self.collector.judge(&path);
                        open.push(Open { differences, judge, path_bytes: path.len() });
                    }
                    Err(error) => self.tell(&path, error)?,
                }
            }
            check_interrupted(self.monitor)?;
            let Some(directory) = open.last_mut() else { return Ok(()) };
            path.truncate(directory.path_bytes);
            let Some(pair) = directory.differences.next() else {
                open.pop();
                continue;
            };
            let pair = match pair {
                Ok(pair) => pair,
                Err(error) => {
                    // What is behind a page that cannot be read may be on both sides.
                    open.pop();
                    self.tell(&path, error)?;
                    continue;
                }
            };
            let name = match &pair {
                Pair::One(entry) | Pair::Other(entry) => &entry.node.name,
                Pair::Both(both) => &both.0.node.name,
            };
            if directory.judge.as_ref().is_some_and(|judge| judge.rule_for(name).is_some()) {
                continue;
            }
            path.push(b'/');
            path.extend_from_slice(name);
            let (tree, monitor) = (self.tree, self.monitor);
            match pair {
                Pair::One(entry) => {
                    self.one.take_lone(tree, &mut self.collector, Side::Before, &path, entry, monitor)?;
                }
                Pair::Other(entry) => {
                    self.other.take_lone(tree, &mut self.collector, Side::After, &path, entry, monitor)?;
                }
                Pair::Both(both) => {
                    let (one, other) = *both;
                    next = self.met(&path, &one, &other)?;
                }
            }
        }
    }

    /// Tells what is damaged on either side; anything else ends the comparison.
    fn tell(&mut self, path: &[u8], error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Damaged {
            return Err(error);
        }
        self.collector.damaged += 1;
        let [one, other] = [&self.one, &self.other].map(|walked| walked.snapshot.id.short());
        let message = format!("in snapshot {one} or {other}: {}", error.chain().join(": "));
        let path = self.collector.item(Side::Before, path, SoughtKind::Directory, 0).path;
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        self.monitor.finding(&Finding { kind: FindingKind::Damaged, path, message });
        Ok(())
    }

    /// Compares what both have; gives two directories that are to be entered.
    fn met(&mut self, path: &[u8], one: &Entry, other: &Entry) -> Result<Option<(ChunkId, ChunkId)>> {
        self.one.spend(one)?;
        self.other.spend(other)?;
        self.both(path, one, other)?;
        let directories = match (&one.node.kind, &other.node.kind) {
            (NodeKind::Directory(one), NodeKind::Directory(other)) => return Ok(Some((*one, *other))),
            (NodeKind::Directory(tree), _) => Some((Side::Before, *tree)),
            (_, NodeKind::Directory(tree)) => Some((Side::After, *tree)),
            _ => None,
        };
        if let Some((side, below)) = directories {
            let (tree, monitor) = (self.tree, self.monitor);
            let walked = if side == Side::Before { &mut self.one } else { &mut self.other };
            walked.take_below(tree, &mut self.collector, side, path, below, monitor)?;
        }
        Ok(None)
    }

    fn both(&mut self, path: &[u8], one: &Entry, other: &Entry) -> Result<()> {
        let compared = self.compare(one, other);
        let (modifier, bytes) = match compared {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => return self.tell(path, error),
        };
        let item = |side, entry: &Entry| -> Item {
            self.collector.item(side, path, SoughtKind::of(&entry.node.kind), entry.node.size())
        };
        let items = [item(Side::Before, one), item(Side::After, other)];
        self.collector.change(path, modifier, items, bytes);
        Ok(())
    }

    /// How two objects differ, and by how many bytes of content; nothing if they do not.
    fn compare(&mut self, one: &Entry, other: &Entry) -> Result<Option<(Modifier, [u64; 2])>> {
        let none = [0, 0];
        if SoughtKind::of(&one.node.kind) != SoughtKind::of(&other.node.kind) {
            return Ok(Some((Modifier::Kind, [other.node.size(), one.node.size()])));
        }
        let has_same_time = one.node.metadata.mtime == other.node.metadata.mtime;
        let is_same = match (&one.node.kind, &other.node.kind) {
            (NodeKind::Directory(_), NodeKind::Directory(_)) => true,
            (NodeKind::Regular(regular), NodeKind::Regular(of_other)) => match (&one.bundle, &other.bundle) {
                _ if regular.size != of_other.size => false,
                (Some(place), Some(of_other)) => {
                    self.bundles.same_content(self.tree, place, of_other, regular.size)?
                }
                _ => same_content(self.tree, one, other)?,
            },
            (kind, of_other) => kind == of_other,
        };
        if !is_same {
            let is_rot = has_same_time && one.node.size() == other.node.size();
            let is_file = matches!(one.node.kind, NodeKind::Regular(_));
            let modifier = if is_rot && is_file { Modifier::Rot } else { Modifier::Content };
            return Ok(Some((modifier, self.bytes_that_differ(one, other)?)));
        }
        let is_other = self.options.metadata
            && (!same_metadata(&one.node.metadata, &other.node.metadata)
                || one.node.xattrs != other.node.xattrs);
        Ok(is_other.then_some((Modifier::Metadata, none)))
    }

    /// Bytes of chunks that one of two files has and the other has not; of files in bundles all.
    fn bytes_that_differ(&self, one: &Entry, other: &Entry) -> Result<[u64; 2]> {
        let (NodeKind::Regular(regular), NodeKind::Regular(of_other)) = (&one.node.kind, &other.node.kind)
        else {
            return Ok([0, 0]);
        };
        if one.bundle.is_some() || other.bundle.is_some() {
            return Ok([of_other.size, regular.size]);
        }
        let mut counts: HashMap<ChunkId, (i64, u64)> = HashMap::new();
        for (regular, step) in [(regular, -1), (of_other, 1)] {
            self.tree.content(regular, &mut |chunk| {
                let (count, length) = counts.entry(chunk.id).or_default();
                *count += step;
                *length = chunk.length;
                Ok(())
            })?;
        }
        let mut bytes = [0_u64; 2];
        for (count, length) in counts.into_values() {
            let [added, removed] = &mut bytes;
            let sum = if count > 0 { added } else { removed };
            *sum = sum.saturating_add(count.unsigned_abs().saturating_mul(length));
        }
        Ok(bytes)
    }
}

/// Whether all that a restore sets is the same.
fn same_metadata(one: &Metadata, other: &Metadata) -> bool {
    (one.mode, one.uid, one.gid, one.mtime) == (other.mode, other.uid, other.gid, other.mtime)
}
