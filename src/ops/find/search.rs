//! One walk through many snapshots, in which each page of a directory is read once for each path at which it stands.
//!
//! What must hold: what was found below a page counts for every snapshot that has the page at that path, whenever it is
//! met; a tree that names the same pages over and over cannot make the walk longer than a snapshot says it is.

use std::collections::HashMap;

use crate::base::limits::DEPTH_MAX;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result};
use crate::format::node::NodeKind;
use crate::ops::find::criteria::Judge;
use crate::ops::find::{Found, FoundPath, Runs, Version, tell_damage};
use crate::repository::SnapshotEntry;
use crate::tree::{Entry, LastBundles, OpenedPage, PageRef, Tree, same_version};

/// A page at a path of a host: the beginning of a keyed hash of all three.
type Place = [u8; 16];

/// What was found of a page at a path.
#[derive(Clone, Copy)]
enum Seen {
    /// Nothing, in it and below.
    Nothing,
    /// Something, which has this number.
    Unit(usize),
}

/// A page at a path with something in it or below it that was looked for.
#[derive(Default)]
struct Unit {
    /// Snapshots whose walk ended at it.
    snapshots: Runs,
    /// Units of pages that it names.
    below: Vec<usize>,
    /// Numbers of the versions in it.
    versions: Vec<usize>,
}

/// A page in work.
struct Frame {
    place: Place,
    unit: Option<usize>,
    /// Directories above its entries.
    depth: usize,
    /// Bytes of the path of its directory.
    path_bytes: usize,
    /// Pages below it that are still to be looked at, the next one last; of another directory with its name.
    pending: Vec<(Vec<u8>, PageRef)>,
}

/// What is known of one object.
struct FoundVersion {
    entry: Entry,
    snapshots: Runs,
}

/// The walk.
pub(super) struct Search<'s> {
    tree: Tree<'s>,
    judge: Judge<'s>,
    monitor: &'s dyn Monitor,
    seen: HashMap<Place, Seen>,
    units: Vec<Unit>,
    versions: Vec<FoundVersion>,
    /// Numbers of the versions at each path of each host, in the order in which they were met.
    paths: HashMap<(usize, Vec<u8>), Vec<usize>>,
    bundles: LastBundles,
    hosts: Vec<String>,
    /// That of the snapshot in work.
    host: usize,
    pages: u64,
    damaged: u64,
    /// Of the snapshot in work.
    nodes_left: u64,
    is_too_much: bool,
}

impl<'s> Search<'s> {
    pub(super) fn new(tree: Tree<'s>, judge: Judge<'s>, monitor: &'s dyn Monitor) -> Self {
        Self {
            tree,
            judge,
            monitor,
            seen: HashMap::new(),
            units: Vec::new(),
            versions: Vec::new(),
            paths: HashMap::new(),
            bundles: LastBundles::default(),
            hosts: Vec::new(),
            host: 0,
            pages: 0,
            damaged: 0,
            nodes_left: 0,
            is_too_much: false,
        }
    }

    /// Goes through a snapshot; positions ascend.
    pub(super) fn snapshot(&mut self, position: u32, entry: &SnapshotEntry) -> Result<()> {
        self.nodes_left = entry.snapshot.total_nodes;
        self.is_too_much = false;
        let known = self.hosts.iter().position(|host| *host == entry.snapshot.host);
        self.host = known.unwrap_or_else(|| {
            self.hosts.push(entry.snapshot.host.clone());
            self.hosts.len() - 1
        });
        let mut path = Vec::new();
        match self.walk(entry, &mut path) {
            Ok(Seen::Unit(unit)) => {
                let unit = self.units.get_mut(unit);
                unit.into_iter().for_each(|unit| unit.snapshots.add(position));
            }
            Ok(Seen::Nothing) => {}
            Err(error) => self.tell(entry, &path, error)?,
        }
        self.monitor.advance(1, 0);
        Ok(())
    }

    /// Tells what is damaged; anything else ends the search.
    fn tell(&mut self, snapshot: &SnapshotEntry, path: &[u8], error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Damaged {
            return Err(error);
        }
        self.damaged += 1;
        tell_damage(self.monitor, snapshot, path, &error);
        Ok(())
    }

    fn place_of(&self, path: &[u8], page: &ChunkId) -> Place {
        let host = (self.host as u64).to_be_bytes();
        let hash = self.tree.reader().data_id(&[page.as_bytes().as_slice(), &host, path].concat());
        let mut place = Place::default();
        place.iter_mut().zip(hash.as_bytes()).for_each(|(byte, hashed)| *byte = *hashed);
        place
    }

    fn walk(&mut self, snapshot: &SnapshotEntry, path: &mut Vec<u8>) -> Result<Seen> {
        let mut open: Vec<Frame> = Vec::new();
        let mut next = Some((Vec::new(), PageRef::root(snapshot.snapshot.tree)));
        loop {
            let done = match next.take() {
                Some((name, page)) => {
                    let mut depth = open.last().map_or(0, |frame| frame.depth);
                    if !name.is_empty() {
                        path.push(b'/');
                        path.extend_from_slice(&name);
                        depth += 1;
                    }
                    let place = self.place_of(path, &page.id);
                    match self.seen.get(&place) {
                        Some(seen) => *seen,
                        None => {
                            let (pending, path_bytes) = (Vec::new(), path.len());
                            let mut frame = Frame { place, unit: None, depth, path_bytes, pending };
                            match self.open(snapshot, path, &page, &mut frame) {
                                // It is told once, whatever else has it.
                                Err(error) if !self.is_too_much => self.tell(snapshot, path, error)?,
                                opened => opened?,
                            }
                            next = frame.pending.pop();
                            open.push(frame);
                            if next.is_some() {
                                continue;
                            }
                            self.close(&mut open)
                        }
                    }
                }
                None => self.close(&mut open),
            };
            let Some(frame) = open.last_mut() else { return Ok(done) };
            path.truncate(frame.path_bytes);
            if let Seen::Unit(below) = done
                && let Some(unit) = unit_of(&mut self.units, frame)
            {
                unit.below.push(below);
            }
            next = frame.pending.pop();
        }
    }

    /// All of the page that was opened last is done.
    fn close(&mut self, open: &mut Vec<Frame>) -> Seen {
        let Some(frame) = open.pop() else { return Seen::Nothing };
        let seen = frame.unit.map_or(Seen::Nothing, Seen::Unit);
        self.seen.insert(frame.place, seen);
        seen
    }

    /// Reads a page.
    fn open(
        &mut self,
        snapshot: &SnapshotEntry,
        path: &[u8],
        page: &PageRef,
        frame: &mut Frame,
    ) -> Result<()> {
        if self.monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        self.pages += 1;
        let entries = match self.tree.open_page(page)? {
            OpenedPage::Pages { below, .. } => {
                frame.pending.extend(below.into_iter().rev().map(|page| (Vec::new(), page)));
                return Ok(());
            }
            OpenedPage::Entries(entries) => entries,
        };
        let left = self.nodes_left.checked_sub(entries.len() as u64);
        self.is_too_much = left.is_none();
        self.nodes_left = left.ok_or_else(|| {
            Error::damaged("the tree holds more than its snapshot says (format rule SNAP-6)")
        })?;
        let sought = self.judge.patterns().in_directory(path);
        for entry in entries {
            let whole = || [path, b"/", &entry.node.name].concat();
            if let NodeKind::Directory(tree) = entry.node.kind {
                if frame.depth >= DEPTH_MAX {
                    let message = format!("a directory deeper than {DEPTH_MAX} (format rule TREE-1)");
                    return Err(Error::damaged(message));
                }
                if self.judge.patterns().in_directory(&whole()).can_match() {
                    frame.pending.push((entry.node.name.clone(), PageRef::root(tree)));
                }
            }
            if sought.matches(&entry.node.name) {
                let whole = whole();
                match self.judge.accepts(&entry) {
                    Ok(false) => {}
                    Ok(true) => self.add(snapshot, whole, entry, frame)?,
                    Err(error) => self.tell(snapshot, &whole, error)?,
                }
            }
        }
        frame.pending.reverse();
        Ok(())
    }

    /// Adds what was found to the version that it is.
    fn add(
        &mut self,
        snapshot: &SnapshotEntry,
        path: Vec<u8>,
        entry: Entry,
        frame: &mut Frame,
    ) -> Result<()> {
        let place = (self.host, path);
        let known = self.paths.get(&place).map(Vec::as_slice).unwrap_or_default();
        let mut same = None;
        let mut failed = None;
        for number in known.iter().rev() {
            let Some(version) = self.versions.get(*number) else { continue };
            match same_version(self.tree, &mut self.bundles, &version.entry, &entry) {
                Ok(false) => {}
                Ok(true) => {
                    same = Some(*number);
                    break;
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.tell(snapshot, &place.1, error)?;
        }
        let number = same.unwrap_or_else(|| {
            let number = self.versions.len();
            self.versions.push(FoundVersion { entry, snapshots: Runs::default() });
            self.paths.entry(place).or_default().push(number);
            number
        });
        let unit = unit_of(&mut self.units, frame);
        unit.into_iter().for_each(|unit| unit.versions.push(number));
        Ok(())
    }

    /// Hands the snapshots down from each page to those that it names, and to the versions in it.
    pub(super) fn finish(mut self) -> Found {
        let mut named = vec![0_usize; self.units.len()];
        for below in self.units.iter().flat_map(|unit| &unit.below) {
            named.get_mut(*below).into_iter().for_each(|count| *count += 1);
        }
        let counts = named.iter().enumerate();
        let mut ready: Vec<usize> =
            counts.filter(|(_, count)| **count == 0).map(|(number, _)| number).collect();
        while let Some(number) = ready.pop() {
            let Some(Unit { mut snapshots, below, versions }) =
                self.units.get_mut(number).map(std::mem::take)
            else {
                continue;
            };
            snapshots.settle();
            for version in versions {
                let version = self.versions.get_mut(version);
                version.into_iter().for_each(|version| version.snapshots.append(&snapshots));
            }
            for below in below {
                let unit = self.units.get_mut(below);
                unit.into_iter().for_each(|unit| unit.snapshots.append(&snapshots));
                if let Some(count) = named.get_mut(below) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(below);
                    }
                }
            }
        }
        let mut versions: Vec<Option<Version>> = Vec::with_capacity(self.versions.len());
        versions.extend(self.versions.into_iter().map(|FoundVersion { entry, mut snapshots }| {
            snapshots.settle();
            // Of a walk that ended early there is none.
            (snapshots.count() > 0).then_some(Version { node: entry.node, snapshots })
        }));
        let mut paths: Vec<FoundPath> = Vec::with_capacity(self.paths.len());
        for ((host, path), numbers) in self.paths {
            let taken = numbers.into_iter().filter_map(|number| versions.get_mut(number)?.take());
            let mut versions: Vec<Version> = taken.collect();
            versions.sort_by_key(|version| std::cmp::Reverse(version.snapshots.ends().map(|(_, last)| last)));
            if !versions.is_empty() {
                let host = self.hosts.get(host).cloned().unwrap_or_default();
                paths.push(FoundPath { path, host, versions });
            }
        }
        paths.sort_unstable_by(|one, other| {
            let order = one.path.split(is_slash).cmp(other.path.split(is_slash));
            order.then_with(|| one.host.cmp(&other.host))
        });
        Found { paths, pages: self.pages, damaged: self.damaged }
    }
}

const fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// The unit of a page, which is made when something is found.
fn unit_of<'u>(units: &'u mut Vec<Unit>, frame: &mut Frame) -> Option<&'u mut Unit> {
    let number = *frame.unit.get_or_insert_with(|| {
        units.push(Unit::default());
        units.len() - 1
    });
    units.get_mut(number)
}
