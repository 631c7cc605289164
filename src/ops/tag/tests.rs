//! Unit tests of changing tags: what the new snapshot says, what becomes of the old one, and what stands in the way.

use std::path::Path;

use super::*;
use crate::base::{ContentName, Silent, Timestamp};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::tombstone::Tombstone;
use crate::ops::backup::{BackupOptions, backup_paths};
use crate::repository::tests::{new_repository, put_collection};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn options(change: TagChange) -> TagOptions {
    TagOptions { change, host: Host::current(), session: SessionOptions::default(), user: Some("me".into()) }
}

fn adding(tag: &str) -> TagOptions {
    options(TagChange { add: words(&[tag]), ..TagChange::default() })
}

/// A repository with so many snapshots.
fn repository(count: usize) -> (tempfile::TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let (_, repository) = new_repository();
    for _ in 0..count {
        let options = BackupOptions { tags: words(&["a"]), ..BackupOptions::new(Host::current()) };
        backup_paths(&repository, &[folder.path().into()], Path::new("/"), &options, &Silent).unwrap();
    }
    (folder, repository)
}

/// Changes the tags of all snapshots; what was told.
fn tag_all(repository: &Repository, options: &TagOptions) -> Result<Vec<Tagged>> {
    let list = repository.snapshots()?;
    let mut told = Vec::new();
    let all: Vec<_> = list.visible.iter().collect();
    let count = tag(repository, &all, options, &Silent, &mut |tagged| told.push(tagged.clone()))?;
    assert_eq!(count, told.len() as u64);
    Ok(told)
}

#[test]
fn tags_are_set_removed_and_added() {
    let change = |set: Option<&[&str]>, remove: &[&str], add: &[&str]| {
        let change = TagChange { set: set.map(words), remove: words(remove), add: words(add) };
        change.of(&words(&["a", "b"]))
    };
    assert_eq!(change(None, &[], &["c", "b", "c"]), ["a", "b", "c"]);
    assert_eq!(change(None, &["b", "x"], &[]), ["a"]);
    assert_eq!(change(None, &["b"], &["b"]), ["a", "b"]);
    assert_eq!(change(Some(&["y", "x", "y"]), &[], &[]), ["x", "y"]);
    assert_eq!(change(Some(&[]), &[], &[]), [""; 0]);
}

#[test]
fn the_new_snapshot_says_what_the_old_one_said() {
    let (_folder, repository) = repository(2);
    let before = repository.snapshots().unwrap().visible;
    let told = tag_all(&repository, &adding("b")).unwrap();
    let after = repository.snapshots().unwrap().visible;
    assert_eq!((before.len(), told.len(), after.len()), (2, 2, 2));
    for (number, (old, new)) in (3..).zip(before.iter().zip(&after)) {
        let origin = Origin { repository: repository.id(), snapshot: old.id, time: old.snapshot.time };
        let expected = Snapshot {
            tags: words(&["a", "b"]),
            origin: Some(origin),
            sequence: number,
            previous: new.snapshot.previous,
            ..old.snapshot.clone()
        };
        assert_eq!(new.snapshot, expected);
        assert!(told.contains(&Tagged { old: old.id, new: new.id, tags: words(&["a", "b"]) }));
    }
    // The second time the origin is still the first.
    let again = tag_all(&repository, &options(TagChange { set: Some(Vec::new()), ..TagChange::default() }));
    assert_eq!(again.unwrap().len(), 2);
    let last = repository.snapshots().unwrap().visible;
    assert!(last.iter().all(|entry| entry.snapshot.tags.is_empty()));
    let origins = |entries: &[SnapshotEntry]| -> Vec<_> {
        entries.iter().map(|entry| entry.snapshot.origin.clone()).collect()
    };
    assert_eq!(origins(&last), origins(&after));
}

#[test]
fn tags_that_are_there_write_nothing() {
    let (memory, repository) = new_repository();
    let folder = tempfile::tempdir().unwrap();
    let backup = BackupOptions { tags: words(&["a"]), ..BackupOptions::new(Host::current()) };
    backup_paths(&repository, &[folder.path().into()], Path::new("/"), &backup, &Silent).unwrap();
    let before = memory.names();
    assert_eq!(tag_all(&repository, &adding("a")).unwrap(), []);
    let remove = TagChange { remove: words(&["x"]), ..TagChange::default() };
    assert_eq!(tag_all(&repository, &options(remove)).unwrap(), []);
    assert_eq!(memory.names(), before);
}

#[test]
fn a_collection_that_may_take_what_is_needed_stands_in_the_way() {
    let (_folder, repository) = repository(1);
    let list = repository.snapshots().unwrap();
    let condemned = |kept| Condemned {
        packs: vec![ContentName([1; 32])],
        kept,
        lost: Vec::new(),
        time: Timestamp::default(),
    };
    let put = |number, kept| {
        let content = condemned(kept).encode();
        put_collection(&repository, ObjectKind::Condemned, &names::condemned(number), content);
    };
    put(1, vec![list.visible[0].id]);
    put(2, Vec::new());
    let error = tag_all(&repository, &adding("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let same: Vec<_> = repository.snapshots().unwrap().visible.iter().map(|entry| entry.id).collect();
    assert_eq!(same, [list.visible[0].id], "neither forgotten nor replaced");
    let verdict = Verdict { packs: vec![ContentName([1; 32])], ..Verdict::default() };
    put_collection(&repository, ObjectKind::Verdict, &names::verdict(2), verdict.encode());
    assert_eq!(tag_all(&repository, &adding("b")).unwrap().len(), 1, "the open one keeps it");
}

#[test]
fn what_was_forgotten_meanwhile_is_not_brought_back() {
    let (_folder, repository) = repository(2);
    let list = repository.snapshots().unwrap();
    let all: Vec<_> = list.visible.iter().collect();
    let forgetter = Forgetter { host: "other".into(), user: None, program: "p".into() };
    let named: Tombstone = forgetter.tombstone(ForgetReason::Named);
    repository.forget(all[1].id, &named).unwrap();
    let error = tag(&repository, &all, &adding("b"), &Silent, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().starts_with("only 1 of 2 snapshots were changed"), "{error}");
    let left = repository.snapshots().unwrap().visible;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].snapshot.tags, ["a", "b"]);
}
