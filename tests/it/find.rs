//! Finding and histories against what listing every snapshot by itself says, over trees that nobody thought of.
//!
//! What must hold: a tree depends on its number alone. Contents are compared here by all their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use packstone::base::{Silent, Timestamp};
use packstone::format::config::Parameters;
use packstone::format::node::NodeKind;
use packstone::ops::dump::dump_file;
use packstone::ops::find::{Criteria, SoughtKind, find};
use packstone::ops::history::history;
use packstone::ops::list::list;
use packstone::repository::{Repository, SnapshotEntry};
use packstone::source::Sought;

use crate::engine::{back_up, in_memory};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::need::is_full;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Trees in every run, and with larger sizes.
const TREES: u64 = 12;
const TREES_FULL: u64 = 150;
/// Backups of each, with changes in between.
const BACKUPS: u64 = 4;

/// Larger files, which are sparse, are compared by how they are stored.
const BYTES_MAX: u64 = 1 << 20;

/// What makes a version, by all its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    mtime: Timestamp,
    kind: String,
    bytes: Option<Vec<u8>>,
}

/// An object as one snapshot lists it.
struct Listed {
    path: Vec<u8>,
    kind: SoughtKind,
    size: u64,
    version: Version,
}

fn listing(repository: &Repository, snapshot: &SnapshotEntry) -> Vec<Listed> {
    let mut listed = Vec::new();
    list(repository, snapshot, None, &Silent, &mut |path, entry| {
        let kind = match &entry.node.kind {
            NodeKind::Regular(regular) if regular.size <= BYTES_MAX => "file".to_owned(),
            other => format!("{other:?}"),
        };
        let version = Version { mtime: entry.node.metadata.mtime, kind, bytes: None };
        let kind = SoughtKind::of(&entry.node.kind);
        listed.push(Listed { path: path.to_vec(), kind, size: entry.node.size(), version });
        Ok(())
    })
    .unwrap();
    let is_file = |object: &&mut Listed| object.kind == SoughtKind::File;
    for object in listed.iter_mut().filter(is_file).filter(|object| object.size <= BYTES_MAX) {
        let mut bytes = Vec::new();
        dump_file(repository, snapshot, &object.path, &mut bytes, &Silent).unwrap();
        object.version.bytes = Some(bytes);
    }
    listed
}

/// The snapshots that have each version of each path.
type Versions = BTreeMap<Vec<u8>, BTreeSet<Vec<usize>>>;

fn expected(listings: &[Vec<Listed>], is_wanted: &dyn Fn(&Listed) -> bool) -> Versions {
    let mut having: BTreeMap<(&[u8], &Version), Vec<usize>> = BTreeMap::new();
    for (position, listing) in listings.iter().enumerate() {
        for object in listing.iter().filter(|object| is_wanted(object)) {
            having.entry((&object.path, &object.version)).or_default().push(position);
        }
    }
    let mut versions = Versions::new();
    for ((path, _), positions) in having {
        versions.entry(path.to_vec()).or_default().insert(positions);
    }
    versions
}

/// A name as a pattern that matches it alone.
fn escaped(name: &[u8]) -> Vec<u8> {
    name.iter().flat_map(|byte| if *byte == b'/' { vec![*byte] } else { vec![b'\\', *byte] }).collect()
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

type IsWanted<'l> = Box<dyn Fn(&Listed) -> bool + 'l>;

fn of_pattern(pattern: &[u8]) -> Criteria {
    Criteria { patterns: Sought::new(&[pattern], false).unwrap(), ..Criteria::default() }
}

/// Requests, and what each is to find.
fn requests<'l>(random: &mut Random, all: &[&'l Listed], scratch: &Scratch) -> Vec<(Criteria, IsWanted<'l>)> {
    let mut requests: Vec<(Criteria, IsWanted<'l>)> = vec![
        (Criteria::default(), Box::new(|_| true)),
        (of_pattern(b"*a*"), Box::new(|object| name_of(&object.path).contains(&b'a'))),
    ];
    for _ in 0..4 {
        let one = *random.pick(all);
        let name = name_of(&one.path);
        requests.push((of_pattern(&escaped(name)), Box::new(move |object| name_of(&object.path) == name)));
        requests.push((of_pattern(&escaped(&one.path)), Box::new(move |object| object.path == one.path)));
        let below = [&escaped(&one.path), &b"/**"[..]].concat();
        let is_below = move |object: &Listed| object.path.starts_with(&[one.path.as_slice(), b"/"].concat());
        requests.push((of_pattern(&below), Box::new(is_below)));
        let kinds = Criteria { kinds: vec![one.kind], ..Criteria::default() };
        requests.push((kinds, Box::new(|object| object.kind == one.kind)));
        let mtime = one.version.mtime;
        let oldest = Criteria { oldest: Some(mtime), ..Criteria::default() };
        requests.push((oldest, Box::new(move |object| object.version.mtime >= mtime)));
        let newest = Criteria { newest: Some(mtime), ..Criteria::default() };
        requests.push((newest, Box::new(move |object| object.version.mtime <= mtime)));
        let is_file = |object: &Listed| object.kind == SoughtKind::File;
        let larger = Criteria { larger_than_bytes: Some(one.size), ..Criteria::default() };
        requests.push((larger, Box::new(move |object| is_file(object) && object.size > one.size)));
        let smaller = Criteria { smaller_than_bytes: Some(one.size), ..Criteria::default() };
        requests.push((smaller, Box::new(move |object| is_file(object) && object.size < one.size)));
    }
    let files: Vec<&&Listed> = all.iter().filter(|object| object.version.bytes.is_some()).collect();
    for number in 0..if files.is_empty() { 0 } else { 6 } {
        let bytes = &random.pick(&files).version.bytes;
        let file = scratch.join(&format!("sought {number}"));
        std::fs::write(&file, bytes.as_deref().unwrap_or_default()).unwrap();
        let content = Criteria { content: Some(file), ..Criteria::default() };
        requests.push((content, Box::new(move |object| object.version.bytes == *bytes)));
    }
    requests
}

fn check(seed: u64) {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    let repository = in_memory(Parameters::tiny());
    generate(seed, &source, Size::Small);
    for number in 0..BACKUPS {
        back_up(&repository, &source);
        mutate(seed * 100 + number, &source);
    }
    let snapshots = repository.snapshots().unwrap().visible;
    let snapshots: Vec<&SnapshotEntry> = snapshots.iter().collect();
    let listings: Vec<Vec<Listed>> =
        snapshots.iter().map(|snapshot| listing(&repository, snapshot)).collect();
    let all: Vec<&Listed> = listings.iter().flatten().collect();
    let mut random = Random::new(seed);
    for (criteria, is_wanted) in requests(&mut random, &all, &scratch) {
        let found = find(&repository, &snapshots, &criteria, &Silent).unwrap();
        let mut versions = Versions::new();
        for found in &found.paths {
            let positions = found.versions.iter().map(|version| version.snapshots.iter().collect());
            versions.insert(found.path.clone(), positions.collect());
        }
        assert_eq!(versions, expected(&listings, &is_wanted), "{criteria:?}");
        assert_eq!(found.damaged, 0);
    }
    for _ in 0..10 {
        check_history(&repository, &snapshots, &listings, &random.pick(&all).path);
    }
}

/// Neighbours in time with the same version are one period, and so are neighbours without any.
fn check_history(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    listings: &[Vec<Listed>],
    path: &[u8],
) {
    let found = history(repository, snapshots, path, &Silent).unwrap();
    assert_eq!(found.hosts.len(), 1);
    let periods: Vec<(bool, Vec<usize>)> = found.hosts[0]
        .periods
        .iter()
        .map(|period| (period.entry.is_some(), period.snapshots.clone()))
        .collect();
    let versions = listings.iter().map(|listing| {
        let object = listing.iter().find(|object| object.path == path);
        object.map(|object| &object.version)
    });
    let mut expected: Vec<(Option<&Version>, Vec<usize>)> = Vec::new();
    for (position, version) in versions.enumerate() {
        match expected.last_mut() {
            Some((last, positions)) if *last == version => positions.push(position),
            None if version.is_none() => {}
            _ => expected.push((version, vec![position])),
        }
    }
    let expected: Vec<(bool, Vec<usize>)> =
        expected.into_iter().map(|(version, positions)| (version.is_some(), positions)).collect();
    assert_eq!(periods, expected, "{}", String::from_utf8_lossy(path));
}

/// All of them, so that one failure does not hide another.
fn check_shard(shard: u64) {
    let trees = if is_full() { TREES_FULL } else { TREES };
    let seeds = shard * TREES_FULL..shard * TREES_FULL + trees;
    let failed: Vec<u64> =
        seeds.filter(|seed| catch_unwind(AssertUnwindSafe(|| check(*seed))).is_err()).collect();
    assert_eq!(failed, Vec::<u64>::new(), "trees in which something else was found");
}

#[test]
fn what_is_found_is_what_listings_hold_0() {
    check_shard(0);
}

#[test]
fn what_is_found_is_what_listings_hold_1() {
    check_shard(1);
}

#[test]
fn what_is_found_is_what_listings_hold_2() {
    check_shard(2);
}
