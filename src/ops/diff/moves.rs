//! What was removed under one path and added under another: it moved.
//!
//! What must hold: only what has the same content moved, and each object once; what is taken for the place that it came
//! from does not depend on chance. Contents are read only where sizes leave it open, and of stored files only those in
//! bundles.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::base::{ChunkId, ErrorKind, Monitor, Result};
use crate::chunker::Cutter;
use crate::format::node::{Extent, NodeKind};
use crate::ops::diff::collector::{Collector, Holds, Lone, Side};
use crate::ops::diff::{check_interrupted, tell_unreadable};
use crate::ops::find::SoughtKind;
use crate::ops::local::LocalFile;
use crate::repository::{Reader, Repository};
use crate::tree::{Entry, Tree};

/// Puts together what moved.
pub(super) fn find(
    repository: &Repository,
    tree: Tree<'_>,
    collector: &mut Collector<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    directories(collector);
    files(repository, tree, collector, monitor)
}

/// Whether something in it could not be anything else: a file with content.
fn has_content(lones: &[Lone], position: usize, end: usize) -> bool {
    lones.get(position..end).unwrap_or_default().iter().any(|lone| lone.size > 0)
}

/// Directories whose trees are the same, the highest of them; what is in them is done with that.
fn directories(collector: &mut Collector<'_>) {
    let mut trees: HashMap<ChunkId, Candidates> = HashMap::new();
    for (position, lone) in collector.removed.iter().enumerate() {
        if let Holds::Tree(tree) = lone.holds
            && has_content(&collector.removed, position, lone.end)
        {
            trees.entry(tree).or_default().add(position, &lone.path);
        }
    }
    if trees.is_empty() {
        return;
    }
    // The largest first: a part of what moved as a whole did not move by itself.
    let mut order: Vec<usize> = (0..collector.added.len()).collect();
    order.sort_by_key(|position| {
        std::cmp::Reverse(collector.added.get(*position).map(|lone| lone.end - position))
    });
    for position in order {
        let Some(Lone { holds: Holds::Tree(tree), is_moved: false, path, .. }) =
            collector.added.get(position)
        else {
            continue;
        };
        let Some(candidates) = trees.get_mut(tree) else { continue };
        if let Some(from) = candidates.take(&collector.removed, path) {
            collector.moved(from, position);
        }
    }
}

/// Places that something can come from, in order: all of them, and those of each name. What is taken leaves one of the two
/// queues, and is passed over in the other.
#[derive(Debug, Default)]
struct Candidates {
    all: VecDeque<usize>,
    of_name: HashMap<Vec<u8>, VecDeque<usize>>,
}

impl Candidates {
    fn add(&mut self, position: usize, path: &[u8]) {
        self.all.push_back(position);
        self.of_name.entry(name_of(path).to_vec()).or_default().push_back(position);
    }

    /// Of several places one with the same name, or else the first; what moved already is none of them.
    fn take(&mut self, removed: &[Lone], path: &[u8]) -> Option<usize> {
        let is_left = |position: &usize| removed.get(*position).is_some_and(|lone| !lone.is_moved);
        let next = |queue: &mut VecDeque<usize>| {
            while let Some(position) = queue.pop_front() {
                if is_left(&position) {
                    return Some(position);
                }
            }
            None
        };
        self.of_name.get_mut(name_of(path)).and_then(next).or_else(|| next(&mut self.all))
    }
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// What a content is known by: a keyed hash of its size, the places of its data, and its chunks.
type Key = ChunkId;

fn files(
    repository: &Repository,
    tree: Tree<'_>,
    collector: &mut Collector<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let is_open = |lone: &&Lone| {
        lone.kind == SoughtKind::File
            && !lone.is_moved
            && matches!(lone.holds, Holds::Stored(_) | Holds::Live)
    };
    let sizes =
        |lones: &[Lone]| -> HashSet<u64> { lones.iter().filter(is_open).map(|lone| lone.size).collect() };
    let (of_removed, of_added) = (sizes(&collector.removed), sizes(&collector.added));
    let common: HashSet<u64> = of_removed.intersection(&of_added).copied().collect();
    if common.is_empty() {
        return Ok(());
    }
    let keys = Keys { tree, cutter: repository.cutter()?, monitor };
    let mut known: HashMap<Key, Candidates> = HashMap::new();
    for side in [Side::Before, Side::After] {
        let lones = if side == Side::Before { &collector.removed } else { &collector.added };
        let wanted: Vec<usize> = lones
            .iter()
            .enumerate()
            .filter(|(_, lone)| is_open(lone) && common.contains(&lone.size))
            .map(|(position, _)| position)
            .collect();
        for position in wanted {
            check_interrupted(monitor)?;
            let Some(key) = keys.of(collector, side, position)? else { continue };
            let lones = if side == Side::Before { &collector.removed } else { &collector.added };
            let path = lones.get(position).map(|lone| lone.path.as_slice()).unwrap_or_default();
            if side == Side::Before {
                known.entry(key).or_default().add(position, path);
            } else if let Some(candidates) = known.get_mut(&key)
                && let Some(from) = candidates.take(&collector.removed, path)
            {
                collector.moved(from, position);
            }
        }
    }
    Ok(())
}

struct Keys<'k> {
    tree: Tree<'k>,
    cutter: Cutter,
    monitor: &'k dyn Monitor,
}

impl Keys<'_> {
    /// The key of an object that one side has; nothing if it cannot be read, which was told then.
    fn of(&self, collector: &mut Collector<'_>, side: Side, position: usize) -> Result<Option<Key>> {
        let lones = if side == Side::Before { &collector.removed } else { &collector.added };
        let Some(lone) = lones.get(position) else { return Ok(None) };
        match &lone.holds {
            Holds::Stored(entry) => match self.of_stored(entry) {
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    // It is told as what it is for sure: removed or added.
                    self.monitor
                        .note(&format!("cannot tell whether a file moved: {}", error.chain().join(": ")));
                    Ok(None)
                }
                key => key,
            },
            Holds::Live => {
                let path = collector.item(side, &lone.path, lone.kind, lone.size).path;
                match self.of_live(&path) {
                    Ok(key) => Ok(Some(key)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
                    Err(error) => {
                        tell_unreadable(self.monitor, &path, &error);
                        collector.findings += 1;
                        Ok(None)
                    }
                }
            }
            Holds::Nothing | Holds::Tree(_) => Ok(None),
        }
    }

    fn of_stored(&self, entry: &Entry) -> Result<Option<Key>> {
        let NodeKind::Regular(regular) = &entry.node.kind else { return Ok(None) };
        let reader = self.tree.reader();
        let mut identity = Identity::new(reader, regular.size, regular.extents.as_deref());
        match &entry.bundle {
            Some(place) => {
                let bytes = self.tree.bundled(place, regular.size)?;
                let mut rest = bytes.as_slice();
                for length in self.cutter.chunks(&bytes, true) {
                    let (chunk, after) = rest.split_at(length.min(rest.len()));
                    identity.add(reader.data_id(chunk).as_bytes());
                    rest = after;
                }
            }
            None => self.tree.content(regular, &mut |chunk| {
                check_interrupted(self.monitor)?;
                identity.add(chunk.id.as_bytes());
                Ok(())
            })?,
        }
        Ok(Some(identity.key()))
    }

    fn of_live(&self, path: &[u8]) -> Result<Key> {
        let (file, reader) = (LocalFile::open_below(path)?, self.tree.reader());
        let extents = file.extents()?;
        let mut identity = Identity::new(reader, file.stat.size, extents.as_deref());
        let mut add = |id: ChunkId| identity.add(id.as_bytes());
        file.chunk_ids(extents.as_deref(), reader, &self.cutter, self.monitor, &mut add)?;
        Ok(identity.key())
    }
}

/// So many bytes of an identity are hashed together.
const IDENTITY_BYTES: usize = 64 << 10;

/// What tells a content from all others, of which no more is held than is hashed together.
struct Identity<'i> {
    reader: &'i Reader<'i>,
    bytes: Vec<u8>,
}

impl<'i> Identity<'i> {
    fn new(reader: &'i Reader<'i>, size: u64, extents: Option<&[Extent]>) -> Self {
        let mut identity = Self { reader, bytes: Vec::new() };
        identity.add(&size.to_be_bytes());
        identity.add(&extents.map_or(0, |extents| extents.len() as u64 + 1).to_be_bytes());
        for extent in extents.unwrap_or_default() {
            identity.add(&extent.offset.to_be_bytes());
            identity.add(&extent.length.to_be_bytes());
        }
        identity
    }

    /// Adds some bytes; what was held before goes into the hash with which it goes on.
    fn add(&mut self, bytes: &[u8]) {
        if self.bytes.len() >= IDENTITY_BYTES {
            let hash = self.key();
            self.bytes.clear();
            self.bytes.extend_from_slice(hash.as_bytes());
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn key(&self) -> Key {
        self.reader.data_id(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_with_the_same_name_comes_first_and_each_is_taken_once() {
        let lone = |path: &str| Lone {
            path: path.into(),
            kind: SoughtKind::File,
            size: 1,
            holds: Holds::Live,
            end: 0,
            is_moved: false,
        };
        let mut removed = ["/a/x", "/a/y", "/b/x", "/b/z"].map(lone);
        let mut candidates = Candidates::default();
        removed.iter().enumerate().for_each(|(position, lone)| candidates.add(position, &lone.path));
        let mut taken = Vec::new();
        for path in ["/c/z", "/c/x", "/c/new", "/d/y", "/d/x", "/d/x"] {
            let from = candidates.take(&removed, path.as_bytes());
            from.into_iter().for_each(|from| removed[from].is_moved = true);
            taken.push(from);
        }
        assert_eq!(taken, [Some(3), Some(0), Some(1), Some(2), None, None]);
    }
}
