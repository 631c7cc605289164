//! Unit tests of counting: sums are those of walking every snapshot by itself, and shared parts are read once.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::base::host::Host;
use crate::base::{ContentName, ErrorKind, SessionId, Silent};
use crate::format::node::tests::regular;
use crate::format::node::{Content, LinkGroup, NodeKind};
use crate::format::snapshot::{Snapshot, Statistic};
use crate::ops::backup::{BackupOptions, backup_paths};
use crate::repository::SessionOptions;
use crate::repository::tests::new_repository;
use crate::tree::DirectoryBuilder;

const BIG_BYTES: u64 = 300_000;

/// Counts files of pages that are read.
#[derive(Default)]
struct Counter(AtomicU64);

impl Monitor for Counter {
    fn advance(&self, files: u64, _bytes: u64) {
        self.0.fetch_add(files, Ordering::Relaxed);
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A repository with a snapshot of five files, and one with another file in a directory of its own.
fn repository() -> (tempfile::TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("dir/tiny"), b"hello");
    write(&at("dir/same"), b"hello");
    write(&at("dir/linked"), b"0123456789");
    std::fs::hard_link(at("dir/linked"), at("dir/other-name")).unwrap();
    let mut big = [0; 300_000];
    blake3::Hasher::new().finalize_xof().fill(&mut big);
    write(&at("dir/big"), &big);
    let (_, repository) = new_repository();
    let backup = || {
        let options = BackupOptions::new(Host::current());
        backup_paths(&repository, &[folder.path().into()], Path::new("/"), &options, &Silent).unwrap();
    };
    backup();
    write(&at("later/new"), b"world");
    backup();
    (folder, repository)
}

#[test]
fn every_mode_counts_what_it_says() {
    let (_folder, repository) = repository();
    let list = repository.snapshots().unwrap();
    let all: Vec<&SnapshotEntry> = list.visible.iter().collect();
    let restored = FileTotals { files: 5 + 6, bytes: 2 * (5 + 5 + 10 + BIG_BYTES) + 5 };
    let count = |mode| count(&repository, &all, mode, &Silent).unwrap();
    assert_eq!(count(CountMode::RestoreSize), Counted::Files(restored));
    let contents = FileTotals { files: 4, bytes: 5 + 10 + BIG_BYTES + 5 };
    assert_eq!(count(CountMode::FilesByContents), Counted::Files(contents));
    let added = |statistic| -> u64 { all.iter().map(|entry| entry.snapshot.statistics.0[&statistic]).sum() };
    let overview = overview(&repository, &all, &Silent).unwrap();
    assert_eq!(overview.restored, restored);
    assert_eq!(
        overview.data.count,
        added(Statistic::DataChunksAdded),
        "every chunk is needed, and counted once"
    );
    assert_eq!(overview.trees.count, added(Statistic::TreeChunksAdded));
    let chunks = overview.data.and(overview.trees);
    assert_eq!(chunks.plain_bytes, added(Statistic::BytesAdded));
    assert!(chunks.stored_bytes > BIG_BYTES, "which cannot be compressed: {chunks:?}");
    assert!(chunks.stored_bytes < repository.info().unwrap().packs.size_bytes, "{chunks:?}");
    assert!(overview.repository.size_bytes > repository.info().unwrap().packs.size_bytes);
    assert_eq!(count(CountMode::RawData), Counted::Chunks(chunks));
    let Counted::ChunksPerFile { files, chunks, bytes } = count(CountMode::ChunksPerFile) else {
        panic!("chunks of each file")
    };
    // Of the data chunks one is a bundle for both tiny files, which are two by their paths; so are the linked names.
    assert_eq!((files, bytes), (6, 5 + 5 + 10 + 10 + BIG_BYTES + 5));
    assert_eq!(chunks, overview.data.count + 2);
    let first = super::overview(&repository, &all[..1], &Silent).unwrap();
    assert_eq!(first.restored, FileTotals { files: 5, bytes: 5 + 5 + 10 + BIG_BYTES });
    assert!(first.trees.count < overview.trees.count);
    let none = super::overview(&repository, &[], &Silent).unwrap();
    assert_eq!((none.restored, none.data), (FileTotals::default(), ChunkTotals::default()));
}

#[test]
fn what_snapshots_share_is_read_once() {
    let (_, repository) = new_repository();
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let mut below = DirectoryBuilder::new(&session);
    for number in b'a'..=b'j' {
        below.push(regular(&[number], 0, Content::Empty), None).unwrap();
    }
    let below = below.finish().unwrap();
    let mut roots = Vec::new();
    for (name, links) in [(b"x", None), (b"y", None), (b"z", Some(LinkGroup { filesystem: 0, inode: 1 }))] {
        let mut root = DirectoryBuilder::new(&session);
        root.push(crate::format::node::tests::plain(b"dir", NodeKind::Directory(below)), None).unwrap();
        let mut node = regular(name, 0, Content::Empty);
        node.metadata.links = links;
        root.push(node, None).unwrap();
        roots.push(root.finish().unwrap());
    }
    session.commit(crate::format::snapshot::tests::snapshot).unwrap();
    let entries: Vec<SnapshotEntry> = roots
        .iter()
        .chain(&roots)
        .map(|tree| {
            let snapshot =
                Snapshot { tree: *tree, total_nodes: 12, ..crate::format::snapshot::tests::snapshot() };
            SnapshotEntry { id: SessionId([1; 16]), stored_hash: ContentName([1; 32]), snapshot }
        })
        .collect();
    let all: Vec<&SnapshotEntry> = entries.iter().collect();
    let counter = Counter::default();
    let overview = overview(&repository, &all, &counter).unwrap();
    assert_eq!(overview.restored.files, 6 * 11);
    // Ten below, one in each root, and that of the page with a second name again.
    assert_eq!(counter.0.into_inner(), 10 + 3 + 1);
    assert_eq!(overview.trees.count, 4);
}

#[test]
fn counting_ends_where_a_tree_says_more_than_its_snapshot() {
    let (_, repository) = new_repository();
    for links in [None, Some(LinkGroup { filesystem: 0, inode: 1 })] {
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        let mut node = regular(b"a", 0, Content::Empty);
        node.metadata.links = links;
        let mut builder = DirectoryBuilder::new(&session);
        builder.push(node, None).unwrap();
        let mut tree = builder.finish().unwrap();
        // Each directory names the one below it ten times: 10^20 files in twenty-one pages.
        for _ in 0..20 {
            let mut builder = DirectoryBuilder::new(&session);
            for name in b'a'..b'k' {
                let node = crate::format::node::tests::plain(&[name], NodeKind::Directory(tree));
                builder.push(node, None).unwrap();
            }
            tree = builder.finish().unwrap();
        }
        let snapshot = Snapshot { tree, total_nodes: 1000, ..crate::format::snapshot::tests::snapshot() };
        let entry = SnapshotEntry { id: SessionId([1; 16]), stored_hash: ContentName([1; 32]), snapshot };
        session.commit(crate::format::snapshot::tests::snapshot).unwrap();
        let error = count(&repository, &[&entry], CountMode::RestoreSize, &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        assert!(format!("{error:?}").contains("SNAP-6"), "{error:?}");
    }
}

#[test]
fn growth_is_told_by_directory_and_counts_what_no_earlier_snapshot_needs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (_, repository) = new_repository();
    let backup = || {
        let options = BackupOptions::new(Host::current());
        backup_paths(&repository, &[folder.path().into()], Path::new("/"), &options, &Silent).unwrap();
    };
    let random = |seed: &[u8], length: usize| {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
        bytes
    };
    write(&at("old/a"), &random(b"a", 100_000));
    write(&at("same/b"), &random(b"b", 50_000));
    backup();
    write(&at("grows/deep/c"), &random(b"c", 200_000));
    write(&at("also/e"), &random(b"e", 150_000));
    // A copy of what is there, which is nothing new.
    write(&at("old/again"), &random(b"a", 100_000));
    backup();
    write(&at("grows/deep/d"), &random(b"d", 80_000));
    backup();
    let list = repository.snapshots().unwrap();
    let mut all: Vec<&SnapshotEntry> = list.visible.iter().collect();
    all.sort_by_key(|entry| entry.snapshot.generation);
    let found = growth::growth(&repository, &all, 10, &Silent).unwrap();
    let named = |found: &growth::Growth| -> Vec<(String, u64, u64)> {
        let folder = folder.path().to_str().unwrap();
        let of = |directory: &growth::DirectoryGrowth| {
            let path = String::from_utf8(directory.path.clone()).unwrap().replace(folder, "…");
            // Trees add some hundred bytes to each.
            (path, directory.total.plain_bytes / 10_000, directory.newest.plain_bytes / 10_000)
        };
        found.directories.iter().map(of).collect()
    };
    let rows = named(&found);
    assert_eq!(rows[0], ("/".to_owned(), 43, 8));
    let named_below = |wanted: &str| rows.iter().find(|(path, ..)| path == wanted).cloned();
    assert_eq!(named_below("…/grows/deep"), Some(("…/grows/deep".to_owned(), 28, 8)));
    assert_eq!(named_below("…/also"), Some(("…/also".to_owned(), 15, 0)));
    assert_eq!(named_below("…/grows"), None, "it only leads to another");
    assert_eq!(named_below("…/same"), None, "it brought nothing");
    assert!(rows.is_sorted_by_key(|(_, total, _)| std::cmp::Reverse(*total)), "{rows:?}");
    // All that is counted of two snapshots, less what is counted of the first.
    let counted = |snapshots: &[&SnapshotEntry]| {
        let Counted::Chunks(totals) = count(&repository, snapshots, CountMode::RawData, &Silent).unwrap()
        else {
            panic!("chunks")
        };
        (totals.count, totals.plain_bytes)
    };
    let (whole, first) = (counted(&all), counted(&all[..1]));
    assert_eq!((found.total.count, found.total.plain_bytes), (whole.0 - first.0, whole.1 - first.1));
    let newest = growth::growth(&repository, &all[1..], 1, &Silent).unwrap();
    assert_eq!((newest.total, newest.directories.len()), (found.newest, 1));
}
