//! What is read of two trees, and what is told of trees that cannot be.

use std::sync::Mutex;

use super::*;
use crate::base::host::Host;
use crate::base::{ChunkId, ContentName, Result, SessionId};
use crate::format::node::NodeKind;
use crate::format::node::tests::plain;
use crate::format::snapshot::Snapshot;
use crate::format::snapshot::tests::snapshot;
use crate::repository::SessionOptions;
use crate::repository::tests::new_repository;
use crate::tree::DirectoryBuilder;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }
}

fn entry(number: u8, tree: ChunkId, total_nodes: u64) -> SnapshotEntry {
    SnapshotEntry {
        id: SessionId([number; 16]),
        stored_hash: ContentName([1; 32]),
        snapshot: Snapshot { tree, total_nodes, ..snapshot() },
    }
}

/// What differs, each as sign and path; and what was told.
fn compare(
    repository: &crate::repository::Repository,
    one: &SnapshotEntry,
    other: &SnapshotEntry,
) -> (Result<Vec<String>>, Vec<String>) {
    let told = Told::default();
    let [one, other] = [one, other].map(|snapshot| Place { snapshot, path: None });
    let diff = diff_snapshots(repository, one, other, &DiffOptions::default(), &told);
    let shown = |change: &Change| {
        format!("{} {}", change.modifier.sign(), String::from_utf8_lossy(&change.item().unwrap().path))
    };
    (diff.map(|diff| diff.changes.iter().map(shown).collect()), told.0.into_inner().unwrap())
}

#[test]
fn subtrees_that_both_have_are_not_read() {
    let (_, repository) = new_repository();
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    // A directory whose pages are nowhere: to read it would be damage.
    let nowhere = NodeKind::Directory(ChunkId([9; 32]));
    let tree = |name: &[u8]| {
        let mut builder = DirectoryBuilder::new(&session);
        builder.push(plain(name, NodeKind::Fifo), None).unwrap();
        builder.push(plain(b"shared", nowhere.clone()), None).unwrap();
        builder.finish().unwrap()
    };
    let (one, other) = (tree(b"a"), tree(b"b"));
    session.commit(snapshot).unwrap();
    let (found, told) = compare(&repository, &entry(1, one, 9), &entry(2, other, 9));
    assert_eq!((found.unwrap(), told), (vec!["- /a".to_owned(), "+ /b".to_owned()], Vec::new()));
    assert_eq!(compare(&repository, &entry(1, one, 0), &entry(2, one, 0)).0.unwrap(), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_compared() {
    let (_, repository) = new_repository();
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let tree = |names: &[(&[u8], NodeKind)]| {
        let mut builder = DirectoryBuilder::new(&session);
        names.iter().for_each(|(name, kind)| builder.push(plain(name, kind.clone()), None).unwrap());
        builder.finish().unwrap()
    };
    let lost = |byte| NodeKind::Directory(ChunkId([byte; 32]));
    let one = tree(&[(b"a", lost(7)), (b"b", NodeKind::Fifo)]);
    let other = tree(&[(b"a", lost(8)), (b"b", NodeKind::Socket)]);
    // Each directory names the one below it ten times: 10^20 entries in twenty pages.
    let mut endless = tree(&[]);
    for _ in 0..20 {
        let names: Vec<Vec<u8>> = (b'a'..b'k').map(|name| vec![name]).collect();
        let all: Vec<(&[u8], NodeKind)> =
            names.iter().map(|name| (name.as_slice(), NodeKind::Directory(endless))).collect();
        endless = tree(&all);
    }
    session.commit(snapshot).unwrap();
    let (found, told) = compare(&repository, &entry(1, one, 9), &entry(2, other, 9));
    assert_eq!(found.unwrap(), ["T /b"]);
    assert!(
        told.len() == 1 && told[0].starts_with("/a: damaged: in snapshot 01010101 or 02020202: "),
        "{told:?}"
    );
    let (found, _) = compare(&repository, &entry(1, one, 9), &entry(3, endless, 1000));
    let error = found.unwrap_err();
    assert!(error.to_string().contains("SNAP-6"), "{error}");
}
