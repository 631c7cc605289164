//! What differs between snapshots against what comparing their listings says, over trees that nobody thought of.
//!
//! What must hold: a tree depends on its number alone. Contents are compared here by all their bytes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use packstone::base::Silent;
use packstone::format::config::Parameters;
use packstone::format::node::{Metadata, NodeKind};
use packstone::ops::diff::{Diff, DiffOptions, Modifier, Place, diff_live, diff_snapshots};
use packstone::ops::dump::dump_file;
use packstone::ops::find::SoughtKind;
use packstone::ops::list::list;
use packstone::repository::{Repository, SnapshotEntry};

use crate::engine::{back_up, in_memory};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::need::is_full;
use crate::support::scratch::Scratch;

/// Trees in every run, and with larger sizes.
const TREES: u64 = 15;
const TREES_FULL: u64 = 150;
/// Larger files, which are sparse, are compared by how they are stored.
const BYTES_MAX: u64 = 1 << 20;

/// An object as a snapshot lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    kind: SoughtKind,
    /// Its bytes, its target, its number.
    content: Vec<u8>,
    /// What a restore sets, without times of directories above the source.
    metadata: String,
}

type Listing = BTreeMap<Vec<u8>, Listed>;

fn listing(repository: &Repository, snapshot: &SnapshotEntry) -> Listing {
    let mut listing = Listing::new();
    let mut files = Vec::new();
    list(repository, snapshot, None, &Silent, &mut |path, entry| {
        let content = match &entry.node.kind {
            NodeKind::Directory(_) => Vec::new(),
            NodeKind::Regular(regular) if regular.size <= BYTES_MAX => {
                files.push(path.to_vec());
                Vec::new()
            }
            other => format!("{other:?}").into_bytes(),
        };
        let Metadata { mode, uid, gid, mtime, .. } = entry.node.metadata;
        let metadata = format!("{mode} {uid} {gid} {mtime:?} {:?}", entry.node.xattrs);
        listing.insert(path.to_vec(), Listed { kind: SoughtKind::of(&entry.node.kind), content, metadata });
        Ok(())
    })
    .unwrap();
    for path in files {
        let mut bytes = Vec::new();
        dump_file(repository, snapshot, &path, &mut bytes, &Silent).unwrap();
        listing.get_mut(&path).unwrap().content = bytes;
    }
    listing
}

/// Paths with the sign that each has to have.
type Signs = BTreeMap<Vec<u8>, &'static str>;

fn expected(one: &Listing, other: &Listing) -> Signs {
    let mut signs = Signs::new();
    for path in one.keys().chain(other.keys()) {
        let sign = match (one.get(path), other.get(path)) {
            (Some(_), None) => "-",
            (None, _) => "+",
            (Some(one), Some(other)) if one == other => continue,
            (Some(one), Some(other)) if one.kind != other.kind => "T",
            (Some(one), Some(other)) if one.content != other.content => "M",
            _ => "U",
        };
        signs.insert(path.clone(), sign);
    }
    signs
}

/// What was told, with all that moved told as removed and added.
fn told(diff: &Diff, one: &Listing, other: &Listing) -> Signs {
    let mut signs = Signs::new();
    let mut add = |path: &[u8], sign| {
        let before = signs.insert(path.to_vec(), sign);
        assert!(before.is_none(), "{} is told twice", String::from_utf8_lossy(path));
    };
    for change in &diff.changes {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        match change.modifier {
            Modifier::Moved => {
                let [before, after] = [before, after].map(|item| item.unwrap().path.clone());
                let below = |listing: &Listing, base: &[u8]| -> Vec<(Vec<u8>, Listed)> {
                    let is_below = |path: &[u8]| {
                        path.strip_prefix(base).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
                    };
                    let all = listing.iter().filter(|(path, _)| is_below(path));
                    all.map(|(path, listed)| (path[base.len()..].to_vec(), listed.clone())).collect()
                };
                let [from, to] = [below(one, &before), below(other, &after)];
                let contents = |all: &[(Vec<u8>, Listed)]| -> Vec<_> {
                    all.iter()
                        .map(|(path, listed)| (path.clone(), listed.kind, listed.content.clone()))
                        .collect()
                };
                assert_eq!(contents(&from), contents(&to));
                assert!(to.iter().any(|(_, listed)| !listed.content.is_empty()));
                from.iter().for_each(|(path, _)| add(&[&before, path.as_slice()].concat(), "-"));
                to.iter().for_each(|(path, _)| add(&[&after, path.as_slice()].concat(), "+"));
            }
            Modifier::Rot => add(&change.item().unwrap().path, "M"),
            modifier => add(&change.item().unwrap().path, modifier.sign()),
        }
    }
    signs
}

fn all() -> DiffOptions {
    DiffOptions { metadata: true, ..DiffOptions::default() }
}

fn check(seed: u64) {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    let repository = in_memory(Parameters::tiny());
    generate(seed, &source, Size::Small);
    back_up(&repository, &source);
    for number in 0..3 {
        mutate(seed * 100 + number, &source);
    }
    back_up(&repository, &source);
    let snapshots = repository.snapshots().unwrap().visible;
    let [one, other] = [&snapshots[0], &snapshots[1]];
    let place = |snapshot| Place { snapshot, path: None };
    let compare =
        |one, other| diff_snapshots(&repository, place(one), place(other), &all(), &Silent).unwrap();
    let [of_one, of_other] = [one, other].map(|snapshot| listing(&repository, snapshot));
    let forth = compare(one, other);
    assert_eq!((forth.damaged, forth.findings), (0, 0));
    assert_eq!(told(&forth, &of_one, &of_other), expected(&of_one, &of_other));
    let back = compare(other, one);
    assert_eq!(told(&back, &of_other, &of_one), expected(&of_other, &of_one));
    let (statistics, of_back) = (&forth.statistics, &back.statistics);
    assert_eq!((statistics.added, statistics.removed), (of_back.removed, of_back.added));
    assert_eq!((statistics.changed, statistics.moved), (of_back.changed, of_back.moved));
    assert_eq!(
        (statistics.added_bytes, statistics.removed_bytes),
        (of_back.removed_bytes, of_back.added_bytes)
    );
    assert_eq!(compare(one, one).changes, []);
    // What is there now is what was backed up last.
    let content = DiffOptions { content: true, ..all() };
    let live =
        |snapshot, options| diff_live(&repository, place(snapshot), None, &[], options, &Silent).unwrap();
    assert_eq!(live(other, &content).changes, []);
    let since = live(one, &content);
    assert_eq!(since.findings, 0);
    let below = |signs: Signs| -> Signs {
        let source = source.as_os_str().as_encoded_bytes();
        let is_below = |path: &[u8]| path.strip_prefix(source).is_some();
        signs.into_iter().filter(|(path, _)| is_below(path)).collect()
    };
    assert_eq!(below(told(&since, &of_one, &of_other)), below(expected(&of_one, &of_other)), "live");
}

/// All of them, so that one failure does not hide another.
fn check_shard(shard: u64) {
    let trees = if is_full() { TREES_FULL } else { TREES };
    let seeds = shard * TREES_FULL..shard * TREES_FULL + trees;
    let failed: Vec<u64> =
        seeds.filter(|seed| catch_unwind(AssertUnwindSafe(|| check(*seed))).is_err()).collect();
    assert_eq!(failed, Vec::<u64>::new(), "trees in which something else differs");
}

#[test]
fn what_differs_is_what_listings_say_0() {
    check_shard(0);
}

#[test]
fn what_differs_is_what_listings_say_1() {
    check_shard(1);
}

#[test]
fn what_differs_is_what_listings_say_2() {
    check_shard(2);
}
