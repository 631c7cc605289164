//! Unit tests of copying: what a copy says of itself, what later versions say of files, and other processes that copy.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::Silent;
use crate::format::node::{Content, Metadata, Node, NodeKind, Regular};
use crate::ops::backup::{BackupOptions, backup_paths};
use crate::repository::ChunkKind;
use crate::repository::tests::new_repository;
use crate::tree::{Budget, DirectoryBuilder, Walk, WalkItem};

fn options() -> CopyOptions {
    CopyOptions { workers: 1, ..CopyOptions::new(Host::current()) }
}

/// A repository with a snapshot of one file.
fn repository() -> (tempfile::TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let (_, repository) = new_repository();
    back_up(&repository, folder.path());
    (folder, repository)
}

fn back_up(repository: &Repository, path: &Path) {
    let options = BackupOptions::new(Host::current());
    backup_paths(repository, &[path.into()], Path::new("/"), &options, &Silent).unwrap();
}

fn copy_all(source: &Repository, target: &Repository, monitor: &dyn Monitor) -> CopySummary {
    let visible = source.snapshots().unwrap().visible;
    copy(source, target, &visible.iter().collect::<Vec<_>>(), &options(), monitor, &mut |_| {}).unwrap()
}

#[test]
fn a_copy_of_a_copy_is_a_copy_of_the_first() {
    let (_folder, first) = repository();
    let ((_, second), (_, third)) = (new_repository(), new_repository());
    assert_eq!(copy_all(&first, &second, &Silent).copied, 1);
    assert_eq!(copy_all(&second, &third, &Silent).copied, 1);
    assert_eq!(copy_all(&first, &third, &Silent).present, 1);
    assert_eq!(copy_all(&third, &first, &Silent).present, 1);
    let entries = [&first, &second, &third].map(|one| one.snapshots().unwrap().visible.remove(0));
    let [original, one, other] = &entries;
    let expected = Origin { repository: first.id(), snapshot: original.id, time: original.snapshot.time };
    for copy in [one, other] {
        let expected = Snapshot {
            origin: Some(expected.clone()),
            tree: copy.snapshot.tree,
            statistics: copy.snapshot.statistics.clone(),
            ..original.snapshot.clone()
        };
        assert_eq!(copy.snapshot, expected);
        let number = |entry: &SnapshotEntry, statistic| entry.snapshot.statistics.0.get(&statistic).copied();
        assert_eq!(number(copy, Statistic::FilesNew), number(original, Statistic::FilesNew));
    }
}

#[test]
fn what_a_later_version_says_of_a_file_goes_over() {
    let (_folder, source) = repository();
    let session = source.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let id = session.store(ChunkKind::Data, b"later").unwrap().id;
    let regular = Regular { size: 5, content: Content::Chunk(id), extents: None, changed_while_read: false };
    // Key 70, of which this version knows nothing.
    let mut node = Node {
        name: b"later".to_vec(),
        kind: NodeKind::Regular(regular),
        metadata: Metadata { mode: 0o640, uid: 7, ..Metadata::default() },
        xattrs: Vec::new(),
        kept: Vec::new(),
    };
    let mut encoded = node.encode();
    encoded[0] += 1;
    encoded.extend([0x18, 70, 0x63, b'a', b'b', b'c']);
    node = Node::decode(&mut crate::format::cbor::Reader::new(&encoded)).unwrap();
    assert_eq!(node.kept.len(), 1);
    let mut builder = DirectoryBuilder::new(&session);
    builder.push(node.clone(), None).unwrap();
    let tree = builder.finish().unwrap();
    let snapshot = source.snapshots().unwrap().visible.remove(0).snapshot;
    session.commit(|| Snapshot { tree, total_nodes: 1, total_bytes: 5, ..snapshot }).unwrap();
    let (_, target) = new_repository();
    assert_eq!(copy_all(&source, &target, &Silent).copied, 2);
    let entry = target.snapshots().unwrap().visible.pop().unwrap();
    let reader = target.reader().unwrap();
    let visible = target.snapshots().unwrap().visible;
    let entry = visible.iter().find(|entry| entry.snapshot.total_nodes == 1).unwrap_or(&entry);
    let found = Walk::new(Tree::new(&reader), entry.snapshot.tree, Budget::of(&entry.snapshot)).next();
    let Some(Ok(WalkItem::Entry(found))) = found else { panic!("{found:?}") };
    assert_eq!((&found.node.name, &found.node.kept), (&node.name, &node.kept));
    assert_eq!(found.node.metadata, node.metadata);
}

/// Before the first snapshot is copied, another process copies it.
struct CopiesFirst<'c> {
    source: &'c Repository,
    target: &'c Repository,
    is_done: AtomicBool,
}

impl Monitor for CopiesFirst<'_> {
    fn cancelled(&self) -> bool {
        if !self.is_done.swap(true, Ordering::SeqCst) {
            assert_eq!(copy_all(self.source, self.target, &Silent).copied, 1);
        }
        false
    }
}

#[test]
fn two_that_copy_at_the_same_time_come_to_an_end() {
    let (folder, source) = repository();
    let (_, target) = new_repository();
    let others = CopiesFirst { source: &source, target: &target, is_done: AtomicBool::new(false) };
    assert_eq!(copy_all(&source, &target, &others).copied, 1);
    // Both are the same one; the next is copied once.
    back_up(&source, folder.path());
    let summary = copy_all(&source, &target, &Silent);
    assert_eq!((summary.copied, summary.present), (1, 1));
    assert_eq!(target.snapshots().unwrap().visible.len(), 3);
}

#[test]
fn an_interrupted_copy_keeps_what_it_stored() {
    struct Stops(AtomicBool);
    impl Monitor for Stops {
        fn cancelled(&self) -> bool {
            self.0.swap(true, Ordering::SeqCst)
        }
    }
    let (folder, source) = repository();
    std::fs::write(folder.path().join("more"), vec![7; 100_000]).unwrap();
    back_up(&source, folder.path());
    let (_, target) = new_repository();
    let visible = source.snapshots().unwrap().visible;
    let wanted: Vec<_> = visible.iter().collect();
    let stops = Stops(AtomicBool::new(false));
    let error = copy(&source, &target, &wanted, &options(), &stops, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(target.snapshots().unwrap().visible.is_empty());
    assert!(target.live_sessions().unwrap().is_empty());
    assert_eq!(copy_all(&source, &target, &Silent).copied, 2);
}
