//! Taking over beside collections: what an open one does not keep is looked up, what it blocks is read again.

use std::path::Path;

use crate::base::host::Host;
use crate::base::{ContentName, SessionId};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::snapshot::Statistic;
use crate::ops::backup::{BackupOptions, BackupSummary, Comparison, backup_paths};
use crate::repository::Repository;
use crate::repository::tests::{Memory, new_repository_with_cache, pack_names, put_collection, remove_packs};

struct Case {
    folder: tempfile::TempDir,
    memory: Memory,
    repository: Repository,
}

fn options() -> BackupOptions {
    BackupOptions { workers: 2, margin_seconds: Some(0), ..BackupOptions::new(Host::current()) }
}

impl Case {
    fn new() -> (Self, BackupSummary) {
        let folder = tempfile::tempdir().expect("a folder");
        let (memory, repository) = new_repository_with_cache(folder.path().join("cache"));
        for name in ["a", "b"] {
            let source = folder.path().join("source").join(name);
            std::fs::create_dir_all(&source).expect("a folder");
            for number in 0..30_usize {
                let content = format!("{name} {number} ").repeat(10 + 400 * (number % 3));
                std::fs::write(source.join(format!("{number:02}")), content).expect("a file");
            }
        }
        let mut case = Self { folder, memory, repository };
        let first = case.back_up(Comparison::Newest);
        (case, first)
    }

    fn back_up(&mut self, comparison: Comparison) -> BackupSummary {
        let options = BackupOptions { comparison, ..options() };
        let source = self.folder.path().join("source");
        backup_paths(&self.repository, &[source], Path::new("/"), &options, &crate::base::monitor::Silent)
            .expect("a backup")
    }

    /// The tree that reading everything gives.
    fn assert_right(&mut self, summary: &BackupSummary) {
        let forced = self.back_up(Comparison::Nothing);
        let reader = self.repository.reader().expect("a reader");
        let tree = crate::tree::Tree::new(&reader);
        let path = self.folder.path().join("source");
        let path = path.to_str().expect("a path").trim_start_matches('/').split('/').map(str::as_bytes);
        let path: Vec<&[u8]> = path.collect();
        let node =
            |summary: &BackupSummary| tree.lookup(&summary.snapshot.tree, &path).expect("it is there").node;
        assert_eq!(node(summary), node(&forced));
    }
}

fn number(summary: &BackupSummary, statistic: Statistic) -> u64 {
    summary.snapshot.statistics.0.get(&statistic).copied().unwrap_or_default()
}

fn condemn(case: &Case, packs: Vec<ContentName>, kept: Vec<SessionId>) {
    let condemned = Condemned { packs, kept, ..Condemned::default() };
    put_collection(&case.repository, ObjectKind::Condemned, &names::condemned(1), condemned.encode());
}

#[test]
fn what_an_open_collection_keeps_is_taken_over_without_a_look() {
    let (mut case, first) = Case::new();
    condemn(&case, Vec::new(), vec![first.id]);
    let second = case.back_up(Comparison::Newest);
    assert_eq!(number(&second, Statistic::BytesRead), 0);
    assert_eq!(number(&second, Statistic::FilesUnmodified), 60);
    case.assert_right(&second);
}

#[test]
fn beside_an_open_collection_each_chunk_is_looked_up() {
    let (mut case, _) = Case::new();
    // It keeps nothing, and threatens nothing.
    condemn(&case, Vec::new(), Vec::new());
    let second = case.back_up(Comparison::Newest);
    assert_eq!(number(&second, Statistic::FilesUnmodified), 60);
    assert_eq!(number(&second, Statistic::DataChunksAdded), 0);
    case.assert_right(&second);
}

#[test]
fn what_a_collection_blocks_is_read_and_stored_again() {
    let (mut case, _) = Case::new();
    let packs = pack_names(&case.memory);
    condemn(&case, packs.clone(), Vec::new());
    let second = case.back_up(Comparison::Newest);
    assert!(number(&second, Statistic::BytesRead) > 0);
    assert!(number(&second, Statistic::DataChunksAdded) > 0);
    // The packs go, and what was made meanwhile is whole without them.
    let verdict = Verdict { packs: packs.clone(), ..Verdict::default() };
    put_collection(&case.repository, ObjectKind::Verdict, &names::verdict(1), verdict.encode());
    remove_packs(&case.memory, &packs);
    let options = crate::ops::restore::RestoreOptions::default();
    let list = case.repository.snapshots().expect("snapshots");
    let entry = list.find(&second.id.hex()).expect("the second");
    let target = case.folder.path().join("target");
    let restored = crate::ops::restore::restore(
        &case.repository,
        entry,
        None,
        &target,
        &options,
        &crate::base::monitor::Silent,
    );
    let restored = restored.expect("a restore");
    assert_eq!((restored.files, restored.findings), (60, 0));
    case.assert_right(&second);
}

/// Whether anything changed cannot be told then; that is no reason to make no snapshot.
#[test]
fn an_earlier_snapshot_that_cannot_be_read_hinders_no_backup() {
    let (case, _) = Case::new();
    remove_packs(&case.memory, &pack_names(&case.memory));
    let options = BackupOptions { skip_if_unchanged: true, ..options() };
    let source = case.folder.path().join("source");
    let notes = Notes::default();
    let summary = backup_paths(&case.repository, &[source], Path::new("/"), &options, &notes);
    assert!(!summary.expect("a backup").is_skipped);
    let notes = notes.0.into_inner().expect("notes");
    assert!(notes.iter().any(|note| note.contains("the earlier one cannot be read")), "{notes:?}");
}

#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<String>>);

impl crate::base::Monitor for Notes {
    fn note(&self, text: &str) {
        self.0.lock().expect("notes").push(text.to_owned());
    }
}

#[test]
fn nothing_is_taken_over_by_name_where_a_repair_gave_up_chunks() {
    let (mut case, first) = Case::new();
    let lost = vec![crate::base::ChunkId([1; 32])];
    let condemned = Condemned { kept: vec![first.id], lost, ..Condemned::default() };
    put_collection(&case.repository, ObjectKind::Condemned, &names::condemned(1), condemned.encode());
    let session = case
        .repository
        .start_session(&Host::current(), crate::repository::SessionOptions::default())
        .expect("a session");
    assert!(!session.may_take_over(&first.id));
    session.close().expect("closed");
    let second = case.back_up(Comparison::Newest);
    assert_eq!(number(&second, Statistic::DataChunksAdded), 0);
    case.assert_right(&second);
}
