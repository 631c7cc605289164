//! Restores that remove what is not in the snapshot: what goes, and above all what stays.

use packstone::ops::restore::{DeleteOptions, Selection};
use packstone::source::{Excludes, GivenPattern, Patterns};

use super::*;
use crate::engine::{back_up_with, options};
use crate::support::dump::differences;

fn patterns(texts: &[&str]) -> Patterns {
    let given = |text: &&str| GivenPattern {
        text: text.as_bytes().to_vec(),
        ignores_case: false,
        origin: "a test".into(),
    };
    Patterns::new(texts.iter().map(given).collect()).unwrap()
}

fn deleting(spared: Vec<(u64, u64)>) -> RestoreOptions {
    let delete = Some(DeleteOptions { any_number: false, spared });
    RestoreOptions { overwrite: IF_CHANGED, delete, ..RestoreOptions::default() }
}

/// What is not in the small source, put beside what is.
fn add_strangers(directory: &Path, outside: &Path) {
    fs::create_dir_all(directory.join("below/new/deep")).unwrap();
    fs::write(directory.join("below/new/deep/file"), "stranger").unwrap();
    fs::write(directory.join("z"), "stranger").unwrap();
    symlink(outside, directory.join("below/deeper/outside")).unwrap();
}

#[test]
fn what_is_not_in_the_snapshot_goes_and_nothing_else() {
    let place = Place::small();
    place.restore(None);
    let outside = place.scratch.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    add_strangers(&place.target, &outside);
    let (planned, would) = place.restore_with(&RestoreOptions { dry_run: true, ..deleting(Vec::new()) });
    assert!(place.at("z").exists());
    let (summary, told) = place.restore_with(&deleting(Vec::new()));
    let summary = summary.unwrap();
    assert_eq!((summary.items_deleted, summary.bytes_deleted, summary.findings), (5, 16, 0));
    assert_eq!(told.of(ItemAction::Delete), ["deep", "file", "new", "outside", "z"]);
    assert_eq!((without_fetches(planned), would.sorted()), (summary, told.sorted()));
    place.assert_restored();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
}

#[test]
fn above_what_was_backed_up_nothing_goes() {
    let place = Place::small();
    let entry = snapshot(&place.repository, place.id);
    let all = |options: &RestoreOptions| {
        restore(&place.repository, &entry, None, &place.target, options, &Told::default()).unwrap()
    };
    all(&RestoreOptions::default());
    let below = place.target.join(place.source.strip_prefix("/").unwrap());
    fs::write(place.at("beside"), "mine").unwrap();
    fs::write(below.parent().unwrap().join("beside"), "mine").unwrap();
    fs::write(below.join("stranger"), "mine").unwrap();
    assert_eq!(all(&deleting(Vec::new())).items_deleted, 1);
    assert!(!below.join("stranger").exists());
    assert!(place.at("beside").exists() && below.parent().unwrap().join("beside").exists());
}

#[test]
fn what_patterns_left_out_stays_and_so_does_what_is_not_included() {
    let place = Place::small();
    let excludes = Excludes { patterns: patterns(&["*.cache"]), ..Excludes::default() };
    let id = back_up_with(
        &place.repository,
        &place.source,
        &packstone::ops::backup::BackupOptions { excludes, ..options() },
    )
    .id;
    let place = Place { id, ..place };
    place.restore(None);
    fs::create_dir(place.at("below/new")).unwrap();
    fs::write(place.at("below/new/kept.CACHE"), "mine").unwrap();
    fs::write(place.at("below/new/gone"), "mine").unwrap();
    fs::write(place.at("gone"), "mine").unwrap();
    let selection = Selection::Include(patterns(&["below"]));
    let (summary, told) = place.restore_with(&RestoreOptions { selection, ..deleting(Vec::new()) });
    assert_eq!((summary.unwrap().items_deleted, told.findings().len()), (1, 0));
    assert!(place.at("gone").exists() && place.at("below/new/kept.CACHE").exists());
    assert!(!place.at("below/new/gone").exists());
    let selection = Selection::Exclude(patterns(&["gone"]));
    let (summary, _) = place.restore_with(&RestoreOptions { selection, ..deleting(Vec::new()) });
    assert_eq!(summary.unwrap().items_deleted, 0);
    let (summary, _) = place.restore_with(&deleting(Vec::new()));
    assert_eq!(summary.unwrap().items_deleted, 1);
}

#[test]
fn what_belongs_to_the_repository_stays_with_all_that_leads_there() {
    let place = Place::small();
    place.restore(None);
    fs::create_dir_all(place.at("new/repository/packs")).unwrap();
    fs::write(place.at("new/repository/config"), "stored").unwrap();
    fs::write(place.at("new/gone"), "mine").unwrap();
    fs::write(place.at("key"), "secret").unwrap();
    let identity = |name: &str| {
        let stat = fs::symlink_metadata(place.at(name)).unwrap();
        (stat.dev(), stat.ino())
    };
    let spared = vec![identity("new/repository"), identity("key")];
    let (summary, told) = place.restore_with(&deleting(spared));
    assert_eq!((summary.unwrap().items_deleted, told.findings().len()), (1, 0));
    assert!(place.at("new/repository/config").exists() && place.at("key").exists());
}

#[test]
fn the_repository_of_somebody_else_stays() {
    let place = Place::small();
    place.restore(None);
    fs::create_dir_all(place.at("new/theirs/packs/ab")).unwrap();
    fs::write(place.at("new/theirs/config"), "stored").unwrap();
    fs::write(place.at("new/gone"), "mine").unwrap();
    let (summary, told) = place.restore_with(&deleting(Vec::new()));
    assert_eq!((summary.unwrap().items_deleted, told.findings().len()), (1, 0));
    assert!(place.at("new/theirs/config").exists() && place.at("new/theirs/packs/ab").exists());
}

#[test]
fn a_directory_that_the_snapshot_holds_and_that_is_spared_is_not_cleared() {
    let place = Place::small();
    place.restore(None);
    fs::write(place.at("below/deeper/stranger"), "stored").unwrap();
    let stat = fs::symlink_metadata(place.at("below")).unwrap();
    let (summary, _) = place.restore_with(&deleting(vec![(stat.dev(), stat.ino())]));
    assert_eq!(summary.unwrap().items_deleted, 0);
    assert!(place.at("below/deeper/stranger").exists());
}

#[test]
fn what_is_stored_empty_or_with_a_marker_alone_is_cleared_only_if_that_is_agreed_to() {
    let place = Place::small();
    let source = place.scratch.join("marked");
    for (directory, name) in [("empty", None), ("cache", Some("CACHEDIR.TAG")), ("left", Some(".nobackup"))] {
        fs::create_dir_all(source.join(directory)).unwrap();
        if let Some(name) = name {
            fs::write(source.join(directory).join(name), "mark").unwrap();
        }
    }
    let id = back_up_with(&place.repository, &source, &options()).id;
    let place = Place { id, source, ..place };
    place.restore(None);
    for directory in ["empty", "cache", "left"] {
        fs::write(place.at(directory).join("mine"), "mine").unwrap();
    }
    let (summary, _) = place.restore_with(&deleting(Vec::new()));
    assert_eq!(summary.unwrap().items_deleted, 0);
    let delete = Some(DeleteOptions { any_number: true, spared: Vec::new() });
    let (summary, _) = place.restore_with(&RestoreOptions { delete, ..deleting(Vec::new()) });
    assert_eq!(summary.unwrap().items_deleted, 3);
}

#[test]
fn a_target_that_shares_no_name_is_asked_for() {
    let place = Place::small();
    fs::create_dir_all(&place.target).unwrap();
    fs::write(place.at("mine"), "mine").unwrap();
    let (outcome, _) = place.restore_with(&deleting(Vec::new()));
    let error = assert_kind(outcome, ErrorKind::Denied);
    assert!(error.to_string().contains("wrong directory"), "{error}");
    assert!(place.at("mine").exists());
}

#[test]
fn more_than_is_restored_goes_only_if_somebody_agrees() {
    /// Agrees, or not.
    struct Agreeing(bool);
    impl Monitor for Agreeing {
        fn agrees_to_delete(&self, deletions: u64, entries: u64) -> bool {
            assert_eq!((deletions, entries), (9, 7));
            self.0
        }
    }
    let place = Place::small();
    place.restore(None);
    for number in 0..9 {
        fs::write(place.at(&format!("stranger {number}")), "mine").unwrap();
    }
    fs::write(place.at("a"), "mine").unwrap();
    let before = dump(&place.target);
    let entry = snapshot(&place.repository, place.id);
    let path = Some(place.source.as_os_str().as_encoded_bytes());
    let run = |agrees| {
        let options = deleting(Vec::new());
        restore(&place.repository, &entry, path, &place.target, &options, &Agreeing(agrees))
    };
    let error = assert_kind(run(false), ErrorKind::Denied);
    assert!(error.to_string().contains("9 objects would be deleted by a restore of 7"), "{error}");
    assert_same(&before, &dump(&place.target));
    assert_eq!(run(true).unwrap().items_deleted, 9);
    place.assert_restored();
}

#[test]
fn where_something_could_not_be_restored_nothing_goes() {
    let place = Place::small();
    place.restore(None);
    // What is in the way holds something that stays.
    fs::remove_file(place.at("below/b")).unwrap();
    fs::create_dir_all(place.at("below/b/kept")).unwrap();
    fs::write(place.at("below/stranger"), "mine").unwrap();
    fs::write(place.at("stranger"), "mine").unwrap();
    let stat = fs::symlink_metadata(place.at("below/b/kept")).unwrap();
    let options = deleting(vec![(stat.dev(), stat.ino())]);
    let (planned, would) = place.restore_with(&RestoreOptions { dry_run: true, ..options.clone() });
    let (summary, told) = place.restore_with(&options);
    let summary = summary.unwrap();
    assert_eq!((summary.findings, summary.items_deleted), (1, 1), "{:?}", told.findings());
    assert_eq!((without_fetches(planned), would.sorted()), (summary, told.sorted()));
    assert!(place.at("below/stranger").exists() && !place.at("stranger").exists());
    assert!(place.at("below/b/kept").exists());
    // Without that it goes.
    let (summary, told) = place.restore_with(&deleting(Vec::new()));
    assert_eq!((told.findings(), summary.unwrap().items_deleted), (Vec::<String>::new(), 3));
    let found = differences(&dump(&place.source), &dump(&place.target));
    assert_eq!(found, Vec::<String>::new());
}
