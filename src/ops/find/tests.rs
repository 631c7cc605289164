//! What is read of many snapshots, and what is told of trees that cannot be.

use std::sync::Mutex;

use super::*;
use crate::base::host::Host;
use crate::base::{ChunkId, ContentName, SessionId};
use crate::format::node::tests::plain;
use crate::format::snapshot::Snapshot;
use crate::format::snapshot::tests::snapshot;
use crate::repository::SessionOptions;
use crate::repository::tests::new_repository;
use crate::tree::DirectoryBuilder;

fn entry(number: u8, tree: ChunkId, total_nodes: u64) -> SnapshotEntry {
    SnapshotEntry {
        id: SessionId([number; 16]),
        stored_hash: ContentName([1; 32]),
        snapshot: Snapshot { tree, total_nodes, ..snapshot() },
    }
}

fn sought(pattern: &str) -> Criteria {
    Criteria { patterns: Sought::new(&[pattern], false).unwrap(), ..Criteria::default() }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }
}

/// Trees of one directory with some hundred names, of which each lacks another one, beside a directory that stays.
fn trees(repository: &Repository, count: u8) -> Vec<ChunkId> {
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let names: Vec<String> = (0..400).map(|number| format!("name {number:03}")).collect();
    let directory = |left_out: usize| {
        let mut builder = DirectoryBuilder::new(&session);
        for (_, name) in names.iter().enumerate().filter(|(number, _)| *number != left_out) {
            builder.push(plain(name.as_bytes(), NodeKind::Fifo), None).unwrap();
        }
        builder.finish().unwrap()
    };
    let stays = directory(usize::MAX);
    let tree = |number: u8| {
        let mut builder = DirectoryBuilder::new(&session);
        let changes = directory(usize::from(number) * 40);
        builder.push(plain(b"changes", NodeKind::Directory(changes)), None).unwrap();
        builder.push(plain(b"stays", NodeKind::Directory(stays)), None).unwrap();
        builder.finish().unwrap()
    };
    let trees = (0..count).map(tree).collect();
    session.commit(snapshot).unwrap();
    trees
}

#[test]
fn what_snapshots_share_is_read_once_page_by_page() {
    let (_, repository) = new_repository();
    let entries: Vec<SnapshotEntry> =
        (0..).zip(trees(&repository, 5)).map(|(number, tree)| entry(number, tree, 10_000)).collect();
    let entries: Vec<&SnapshotEntry> = entries.iter().collect();
    let pages = |count: usize, criteria: &Criteria| {
        let found = find(&repository, &entries[..count], criteria, &Told::default()).unwrap();
        (found.pages, found.paths)
    };
    let (of_one, _) = pages(1, &sought("name 399"));
    let (of_all, paths) = pages(5, &sought("name 399"));
    assert!(of_one > 20, "{of_one} pages are too few to tell");
    let further = (of_all - of_one) / 4;
    assert!(further * 4 < of_one, "{further} pages for each further snapshot, of {of_one}");
    let shown: Vec<_> = paths.iter().map(|found| (found.path.as_slice(), found.versions.len())).collect();
    assert_eq!(shown, [(&b"/changes/name 399"[..], 1), (b"/stays/name 399", 1)]);
    assert!(paths.iter().all(|found| found.versions[0].snapshots.count() == 5));
    // One that two snapshots lack.
    let (_, paths) = pages(5, &sought("name 0[48]0"));
    let counts: Vec<u64> = paths.iter().map(|found| found.versions[0].snapshots.count()).collect();
    assert_eq!(counts, [4, 4, 5, 5]);
    // Nothing is read where nothing can match.
    assert!(pages(5, &sought("/stays/name 399")).0 < of_one);
    assert!(pages(5, &sought("/elsewhere/x")).0 <= 10);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_goes_on() {
    let (_, repository) = new_repository();
    let trees = trees(&repository, 2);
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let mut builder = DirectoryBuilder::new(&session);
    builder.push(plain(b"lost", NodeKind::Directory(ChunkId([9; 32]))), None).unwrap();
    builder.push(plain(b"name 399", NodeKind::Fifo), None).unwrap();
    let hurt = builder.finish().unwrap();
    // Each directory names the one below it ten times: 10^20 entries in twenty pages.
    let mut endless = hurt;
    for _ in 0..20 {
        let mut builder = DirectoryBuilder::new(&session);
        for name in b'a'..b'k' {
            builder.push(plain(&[name], NodeKind::Directory(endless)), None).unwrap();
        }
        endless = builder.finish().unwrap();
    }
    session.commit(snapshot).unwrap();
    let entries =
        [entry(1, trees[0], 10_000), entry(2, hurt, 2), entry(3, endless, 1000), entry(4, trees[1], 10_000)];
    let told = Told::default();
    let entries: Vec<&SnapshotEntry> = entries.iter().collect();
    let found = find(&repository, &entries, &sought("name 399"), &told).unwrap();
    let told = told.0.into_inner().unwrap();
    assert_eq!(
        (told.len() as u64, told[0].starts_with("/lost: damaged: in snapshot 02020202: ")),
        (found.damaged, true)
    );
    assert!(told.last().is_some_and(|line| line.contains("SNAP-6")), "{told:?}");
    let positions: Vec<Vec<usize>> =
        found.paths.iter().map(|found| found.versions[0].snapshots.iter().collect()).collect();
    assert_eq!(positions, [vec![0, 3], vec![1], vec![0, 3]]);
}

#[test]
fn versions_of_different_machines_are_not_mixed() {
    let (_, repository) = new_repository();
    let trees = trees(&repository, 1);
    let of_host = |number: u8, host: &str| {
        let mut entry = entry(number, trees[0], 10_000);
        entry.snapshot.host = host.to_owned();
        entry
    };
    let entries = [of_host(1, "b"), of_host(2, "a"), of_host(3, "b")];
    let entries: Vec<&SnapshotEntry> = entries.iter().collect();
    let found = find(&repository, &entries, &sought("/stays/name 399"), &Told::default()).unwrap();
    assert_eq!(found.by_path().count(), 1);
    let told: Vec<(&str, Vec<usize>)> = found
        .paths
        .iter()
        .map(|found| (found.host.as_str(), found.versions[0].snapshots.iter().collect()))
        .collect();
    assert_eq!(told, [("a", vec![1]), ("b", vec![0, 2])]);
}
