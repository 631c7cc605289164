//! Where the growth of a repository comes from: what each snapshot needs that no earlier one did, by directory.
//!
//! What must hold: a chunk counts once, where it is met first; the sum of a directory holds those of all below it; a
//! subtree that was met before is not read again. What is remembered: 32 bytes of each distinct chunk, and each directory
//! that brought something after the first snapshot.

use std::collections::{HashMap, HashSet};

use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result, Wrap};
use crate::format::node::NodeKind;
use crate::format::page::Page;
use crate::ops::stats::ChunkTotals;
use crate::ops::stats::needs::{Met, Needs};
use crate::ops::stats::survey::too_much;
use crate::repository::{Repository, SnapshotEntry};
use crate::tree::Tree;

/// A directory says nothing new if one below it brought so many of every twenty bytes that it brought.
const NEARLY_ALL: (u64, u64) = (19, 20);

/// What was needed after the first of some snapshots that nothing before needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// All of it, chunks of contents and of trees.
    pub total: ChunkTotals,
    /// What the last of the snapshots brought.
    pub newest: ChunkTotals,
    /// The directories that brought most, those that brought more first. Left out is which only leads to another.
    pub directories: Vec<DirectoryGrowth>,
}

/// What a directory brought, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGrowth {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// In all snapshots after the first.
    pub total: ChunkTotals,
    /// In the last one.
    pub newest: ChunkTotals,
}

/// Tells which directories brought what to snapshots, the first of which is what the others are compared with. Gives at
/// most so many directories.
pub fn growth(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    directories_max: usize,
    monitor: &dyn Monitor,
) -> Result<Growth> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let mut walk = Growing::new(tree, monitor);
    for (number, entry) in snapshots.iter().enumerate() {
        walk.phase = match number {
            0 => Phase::First,
            number if number + 1 == snapshots.len() => Phase::Newest,
            _ => Phase::Between,
        };
        let walked = walk.walk(entry.snapshot.tree, entry.snapshot.total_nodes);
        walked.wrap(|| format!("cannot count snapshot {}", entry.id.short()))?;
    }
    Ok(walk.finish(directories_max))
}

/// Which snapshot is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    First,
    Between,
    Newest,
}

/// A directory that brought something.
#[derive(Debug, Default)]
struct Directory {
    above: Option<usize>,
    name: Vec<u8>,
    total: Met,
    newest: Met,
    /// The largest sum of stored bytes of a directory in it.
    largest_below: u64,
}

struct Growing<'r> {
    tree: Tree<'r>,
    monitor: &'r dyn Monitor,
    phase: Phase,
    pages: HashSet<ChunkId>,
    needs: Needs<'r>,
    /// The root first, each behind the one that it is in.
    directories: Vec<Directory>,
    numbers: HashMap<(usize, Vec<u8>), usize>,
}

impl<'r> Growing<'r> {
    fn new(tree: Tree<'r>, monitor: &'r dyn Monitor) -> Self {
        Self {
            tree,
            monitor,
            phase: Phase::First,
            pages: HashSet::new(),
            needs: Needs::new(tree),
            directories: vec![Directory::default()],
            numbers: HashMap::new(),
        }
    }

    fn walk(&mut self, root: ChunkId, nodes: u64) -> Result<()> {
        let mut nodes_left = nodes;
        let mut pending = vec![(root, 0)];
        while let Some((id, directory)) = pending.pop() {
            if self.monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            if !self.pages.insert(id) {
                continue;
            }
            let before = self.needs.data.and(self.needs.trees);
            self.needs.page(&id)?;
            match self.tree.page(&id)? {
                Page::Inner { children, .. } => {
                    pending.extend(children.into_iter().rev().map(|child| (child.id, directory)));
                }
                Page::Leaf { nodes, bundles } => {
                    nodes_left = nodes_left.checked_sub(nodes.len() as u64).ok_or_else(too_much)?;
                    bundles.iter().try_for_each(|bundle| self.needs.data(bundle))?;
                    for node in nodes {
                        self.needs.node(&node)?;
                        if let NodeKind::Directory(tree) = node.kind
                            && !self.pages.contains(&tree)
                        {
                            pending.push((tree, self.number(directory, node.name)));
                        }
                    }
                }
            }
            let brought = self.needs.data.and(self.needs.trees).since(before);
            self.monitor.advance(0, brought.totals().plain_bytes);
            self.add(directory, brought);
        }
        Ok(())
    }

    /// The number of a directory by the one that it is in; of the first snapshot none is told apart.
    fn number(&mut self, above: usize, name: Vec<u8>) -> usize {
        if self.phase == Phase::First {
            return 0;
        }
        let next = self.directories.len();
        let directories = &mut self.directories;
        *self.numbers.entry((above, name)).or_insert_with_key(|(above, name)| {
            let (above, name) = (Some(*above), name.clone());
            directories.push(Directory { above, name, ..Directory::default() });
            next
        })
    }

    fn add(&mut self, directory: usize, brought: Met) {
        if let Some(directory) = self.directories.get_mut(directory).filter(|_| self.phase != Phase::First) {
            directory.total = directory.total.and(brought);
            if self.phase == Phase::Newest {
                directory.newest = directory.newest.and(brought);
            }
        }
    }

    fn finish(mut self, directories_max: usize) -> Growth {
        // Each comes behind the one that it is in.
        for number in (1..self.directories.len()).rev() {
            let Some(Directory { above, total, newest, .. }) = self.directories.get(number) else { continue };
            let (above, total, newest) = (above.unwrap_or_default(), *total, *newest);
            if let Some(above) = self.directories.get_mut(above) {
                above.total = above.total.and(total);
                above.newest = above.newest.and(newest);
                above.largest_below = above.largest_below.max(total.totals().stored_bytes);
            }
        }
        let root = self.directories.first();
        let (total, newest) =
            root.map(|root| (root.total.totals(), root.newest.totals())).unwrap_or_default();
        let mut told: Vec<(u64, usize)> = self
            .directories
            .iter()
            .enumerate()
            .map(|(number, directory)| (directory, directory.total.totals().stored_bytes, number))
            .filter(|(directory, stored_bytes, number)| {
                let (part, whole) = NEARLY_ALL;
                let only_leads = u128::from(directory.largest_below) * u128::from(whole)
                    >= u128::from(*stored_bytes) * u128::from(part);
                *stored_bytes > 0 && (*number == 0 || !only_leads)
            })
            .map(|(_, stored_bytes, number)| (stored_bytes, number))
            .collect();
        told.sort_by_key(|(stored_bytes, number)| (std::cmp::Reverse(*stored_bytes), *number));
        told.truncate(directories_max);
        let told = told.into_iter().filter_map(|(_, number)| {
            let directory = self.directories.get(number)?;
            let (total, newest) = (directory.total.totals(), directory.newest.totals());
            Some(DirectoryGrowth { path: self.path(number), total, newest })
        });
        Growth { total, newest, directories: told.collect() }
    }

    fn path(&self, number: usize) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut next = self.directories.get(number);
        while let Some(Directory { above: Some(above), name, .. }) = next {
            names.push(name);
            next = self.directories.get(*above);
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        names.into_iter().rev().flat_map(|name| [b"/", name].concat()).collect()
    }
}
