//! Restores over what is there already, of parts, and under faults: what is replaced, what is kept, and that nothing is
//! ever there by halves.

mod deleting;
mod faults;
mod in_place;
mod reads;
mod selection;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use packstone::base::{
    Error, ErrorKind, Finding, Item, ItemAction, MetadataParts, Monitor, Result, SessionId,
};
use packstone::format::config::Parameters;
use packstone::ops::restore::{Overwrite, RestoreOptions, RestoreSummary, restore};
use packstone::repository::Repository;

use crate::engine::{back_up, in_memory, snapshot};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::{Change, mutate_by};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

const ALWAYS: Option<Overwrite> = Some(Overwrite::Always);
const IF_CHANGED: Option<Overwrite> = Some(Overwrite::IfChanged);
const IF_NEWER: Option<Overwrite> = Some(Overwrite::IfNewer);
const NEVER: Option<Overwrite> = Some(Overwrite::Never);

/// What was done with an object: its path, its size, what of it was written, and what of the metadata differed.
type ToldItem = (ItemAction, String, u64, u64, MetadataParts);

/// Remembers what is told.
#[derive(Default)]
struct Told {
    findings: Mutex<Vec<String>>,
    items: Mutex<Vec<ToldItem>>,
}

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.to_string());
    }

    fn wants_items(&self) -> bool {
        true
    }

    fn item(&self, item: &Item<'_>) {
        let Item { action, path, size_bytes, written_bytes, parts } = *item;
        let path = String::from_utf8_lossy(path).into_owned();
        self.items.lock().unwrap().push((action, path, size_bytes, written_bytes, parts));
    }
}

impl Told {
    fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    /// All that was told of objects, in an order that does not depend on threads.
    fn sorted(&self) -> Vec<ToldItem> {
        let mut items = self.items.lock().unwrap().clone();
        items.sort();
        items
    }

    /// The last names of what this was done with, sorted.
    fn of(&self, action: ItemAction) -> Vec<String> {
        let items = self.items.lock().unwrap();
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let names: BTreeSet<String> =
            items.iter().filter(|item| item.0 == action).map(|item| name(&item.1)).collect();
        names.into_iter().collect()
    }
}

/// A source, its snapshot, and a place to restore it to.
struct Place {
    scratch: Scratch,
    repository: Repository,
    id: SessionId,
    source: PathBuf,
    target: PathBuf,
}

impl Place {
    /// A source that is made by `make`, and backed up.
    fn new(parameters: Parameters, make: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::new();
        let (source, target) = (scratch.join("source"), scratch.join("target"));
        make(&source);
        let repository = in_memory(parameters);
        let id = back_up(&repository, &source).id;
        Self { scratch, repository, id, source, target }
    }

    fn small() -> Self {
        Self::new(Parameters::default(), |source| {
            fs::create_dir_all(source.join("below/deeper")).unwrap();
            fs::write(source.join("a"), "the first").unwrap();
            fs::write(source.join("below/b"), "the second".repeat(2000)).unwrap();
            fs::write(source.join("below/deeper/c"), "the third").unwrap();
            symlink("nowhere", source.join("below/link")).unwrap();
            for name in ["a", "below/b", "below/deeper/c"] {
                set_time(&source.join(name), 1_000_000);
            }
        })
    }

    /// Restores with two workers; tells the summary and what was told.
    fn restore_with(&self, options: &RestoreOptions) -> (Result<RestoreSummary>, Told) {
        let told = Told::default();
        let entry = snapshot(&self.repository, self.id);
        let path = self.source.as_os_str().as_encoded_bytes();
        let options = RestoreOptions { workers: 2, ..options.clone() };
        (restore(&self.repository, &entry, Some(path), &self.target, &options, &told), told)
    }

    /// Restores without any finding.
    #[track_caller]
    fn restore(&self, overwrite: Option<Overwrite>) -> (RestoreSummary, Told) {
        let (summary, told) = self.restore_with(&RestoreOptions { overwrite, ..RestoreOptions::default() });
        assert_eq!(told.findings(), Vec::<String>::new());
        (summary.unwrap(), told)
    }

    #[track_caller]
    fn assert_restored(&self) {
        assert_same(&dump(&self.source), &dump(&self.target));
    }

    fn at(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }
}

fn set_time(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Names below a directory that a restore uses while it replaces something.
fn temporary_names(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(".packstone-restore-") {
            found.push(entry.path());
        }
        if entry.file_type().unwrap().is_dir() {
            found.extend(temporary_names(&entry.path()));
        }
    }
    found
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn a_changed_target_becomes_what_was_stored() {
    // What differs in nothing but content or attributes is not looked for by `if-changed`.
    let seen = [Change::Append, Change::SetMode, Change::SetOwner, Change::Touch, Change::Delete];
    let unseen = [Change::EditByte, Change::Truncate, Change::PunchHole, Change::BreakLink];
    for (overwrite, changes) in [
        (ALWAYS, [&seen[..], &unseen[..]].concat()),
        (IF_CHANGED, [&seen[..], &[Change::BreakLink]].concat()),
    ] {
        for seed in 0..6 {
            let place = Place::new(Parameters::tiny(), |source| drop(generate(seed, source, Size::Small)));
            place.restore(None);
            let mut random = Random::new(seed);
            for _ in 0..12 {
                mutate_by(*random.pick(&changes), random.next(), &place.target);
            }
            let (summary, _) = place.restore(overwrite);
            place.assert_restored();
            assert_eq!(temporary_names(&place.target), Vec::<PathBuf>::new(), "seed {seed}");
            assert_eq!(summary.findings, 0);
            let (again, told) = place.restore(IF_CHANGED);
            assert_eq!(
                (again.files, again.others, again.replaced),
                (0, 0, 0),
                "seed {seed}: {:?}",
                told.items
            );
            place.assert_restored();
        }
    }
}

#[test]
fn without_leave_nothing_is_replaced_and_nothing_is_written() {
    let place = Place::small();
    fs::create_dir_all(place.at("below/deeper")).unwrap();
    fs::write(place.at("below/deeper/c"), "mine").unwrap();
    let before = dump(&place.target);
    for dry_run in [false, true] {
        let (refused, told) = place.restore_with(&RestoreOptions { dry_run, ..RestoreOptions::default() });
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert!(error.to_string().contains("below/deeper/c is there already"), "{error}");
        assert!(told.items.lock().unwrap().iter().all(|item| item.0 == ItemAction::Create));
        assert_same(&before, &dump(&place.target));
    }
}

#[test]
fn never_restores_only_what_is_missing() {
    let place = Place::small();
    place.restore(None);
    fs::write(place.at("a"), "mine").unwrap();
    fs::remove_file(place.at("below/link")).unwrap();
    symlink("mine", place.at("below/link")).unwrap();
    fs::remove_dir_all(place.at("below/deeper")).unwrap();
    fs::set_permissions(place.at("below"), fs::Permissions::from_mode(0o711)).unwrap();
    let (summary, told) = place.restore(NEVER);
    assert_eq!((place.text("a"), place.text("below/deeper/c")), ("mine".into(), "the third".into()));
    assert_eq!(fs::read_link(place.at("below/link")).unwrap(), Path::new("mine"));
    assert_eq!(fs::symlink_metadata(place.at("below")).unwrap().mode() & 0o777, 0o711);
    assert_eq!((summary.files, summary.directories, summary.files_skipped), (1, 1, 3));
    assert_eq!((summary.replaced, summary.bytes_skipped), (0, 20_009));
    assert_eq!(told.of(ItemAction::Skip), ["a", "b", "link"]);
    assert_eq!(told.of(ItemAction::Create), ["c", "deeper"]);
}

#[test]
fn what_a_killed_restore_left_incomplete_is_written_again() {
    let place = Place::small();
    place.restore(None);
    let leave = |name: &str, bytes: &[u8]| {
        fs::write(place.at(name), bytes).unwrap();
        fs::set_permissions(place.at(name), fs::Permissions::from_mode(0o1600)).unwrap();
    };
    // With nothing of it, with a part, and with all of it but its attributes.
    for length in [0, 7, 20_000] {
        leave("below/b", &"the second".repeat(2000).as_bytes()[..length]);
        let (summary, _) = place.restore(NEVER);
        let written = (summary.files_patched, summary.files_updated, summary.files_skipped);
        let expected = if length == 20_000 { (0, 1, 3) } else { (1, 0, 3) };
        assert_eq!(written, expected, "{length}");
        assert_eq!(place.text("below/b"), "the second".repeat(2000), "{length}");
        assert_ne!(fs::symlink_metadata(place.at("below/b")).unwrap().mode() & 0o7777, 0o1600);
    }
    leave("a", b"longer than what is stored");
    let (summary, _) = place.restore(NEVER);
    assert_eq!(place.text("a"), "the first", "it ended before it could cut the file");
    assert_eq!(summary.files_patched + summary.files, 1);
}

#[test]
fn if_newer_replaces_what_is_older_than_the_stored() {
    let place = Place::small();
    place.restore(None);
    for (name, seconds) in [("a", 999_999), ("below/b", 1_000_001), ("below/deeper/c", 1_000_000)] {
        fs::write(place.at(name), "mine").unwrap();
        set_time(&place.at(name), seconds);
    }
    let (summary, told) = place.restore(IF_NEWER);
    assert_eq!(place.text("a"), "the first");
    assert_eq!((place.text("below/b"), place.text("below/deeper/c")), ("mine".into(), "mine".into()));
    assert_eq!((summary.files, summary.replaced, summary.files_skipped), (1, 1, 3));
    assert_eq!(told.of(ItemAction::Replace), ["a"]);
}

#[test]
fn if_changed_leaves_alone_what_has_size_and_time() {
    let place = Place::small();
    place.restore(None);
    // Of the same size and time: taken as unchanged.
    fs::write(place.at("a"), "THE FIRST").unwrap();
    set_time(&place.at("a"), 1_000_000);
    fs::set_permissions(place.at("below/deeper/c"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(place.at("below/b"), "mine").unwrap();
    let inodes = ["a", "below/deeper/c", "below/link"].map(|name| inode(&place.at(name)));
    let (summary, told) = place.restore(IF_CHANGED);
    assert_eq!(place.text("a"), "THE FIRST");
    assert_eq!(place.text("below/b"), "the second".repeat(2000));
    assert_eq!(inodes, ["a", "below/deeper/c", "below/link"].map(|name| inode(&place.at(name))));
    assert_eq!((summary.files, summary.replaced, summary.files_updated, summary.files_skipped), (1, 1, 1, 2));
    assert_eq!(told.of(ItemAction::Update), ["c"]);
    fs::write(place.at("a"), "the first").unwrap();
    set_time(&place.at("a"), 1_000_000);
    place.restore(IF_CHANGED);
    place.assert_restored();
}

#[test]
fn of_directories_only_empty_ones_are_replaced_and_only_always_puts_one_in_the_place_of_a_file() {
    for overwrite in [ALWAYS, IF_CHANGED, IF_NEWER, NEVER] {
        let place = Place::small();
        fs::create_dir_all(place.at("below/b/kept")).unwrap();
        fs::create_dir_all(place.at("a")).unwrap();
        fs::write(place.at("below/deeper"), "in the way").unwrap();
        // Older than what is stored, so that `if-newer` wants it, too.
        ["a", "below/b"].iter().for_each(|name| set_time(&place.at(name), 1));
        let (summary, told) = place.restore_with(&RestoreOptions { overwrite, ..RestoreOptions::default() });
        let summary = summary.unwrap();
        let findings = told.findings();
        let is_never = overwrite == NEVER;
        assert!(place.at("below/b/kept").is_dir());
        assert_eq!(place.at("a").is_dir(), is_never, "{overwrite:?}");
        let expected = usize::from(!is_never) + usize::from(overwrite != ALWAYS);
        assert_eq!((findings.len(), summary.findings), (expected, expected as u64), "{findings:?}");
        assert!(is_never || findings.iter().any(|told| told.contains("not empty")), "{findings:?}");
        match overwrite {
            ALWAYS => assert_eq!(place.text("below/deeper/c"), "the third"),
            _ => assert_eq!(place.text("below/deeper"), "in the way"),
        }
        assert_eq!(temporary_names(&place.target), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_symbolic_link_in_the_target_is_replaced_itself_and_never_followed() {
    let place = Place::small();
    let outside = place.scratch.join("outside");
    fs::create_dir_all(outside.join("deeper")).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    let before = dump(&outside);
    fs::create_dir(&place.target).unwrap();
    symlink(outside.join("file"), place.at("a")).unwrap();
    symlink(&outside, place.at("below")).unwrap();
    for overwrite in [NEVER, IF_NEWER, IF_CHANGED] {
        let (summary, told) = place.restore_with(&RestoreOptions { overwrite, ..RestoreOptions::default() });
        assert_eq!(summary.unwrap().findings, 1);
        assert!(told.findings()[0].contains("a symbolic link is in the way"), "{:?}", told.findings());
        assert_same(&before, &dump(&outside));
    }
    place.restore(ALWAYS);
    place.assert_restored();
    assert_same(&before, &dump(&outside));
}

#[test]
fn names_of_one_object_are_one_object_again() {
    let make = || {
        Place::new(Parameters::default(), |source| {
            fs::create_dir_all(source.join("below")).unwrap();
            fs::write(source.join("a"), "shared").unwrap();
            set_time(&source.join("a"), 1_000_000);
            fs::hard_link(source.join("a"), source.join("below/b")).unwrap();
            fs::hard_link(source.join("a"), source.join("c")).unwrap();
        })
    };
    let names = ["a", "below/b", "c"];
    // All are there: nothing is done.
    let place = make();
    place.restore(None);
    let before = inode(&place.at("a"));
    let (summary, _) = place.restore(IF_CHANGED);
    assert_eq!((summary.files, summary.others, summary.files_skipped), (0, 0, 3));
    assert_eq!(names.map(|name| inode(&place.at(name))), [before; 3]);

    // One is gone, or another object: all are made anew, and another name outside keeps the old one.
    for overwrite in [ALWAYS, IF_CHANGED] {
        for is_gone in [true, false] {
            let place = make();
            place.restore(None);
            let outside = place.scratch.join("outside");
            fs::hard_link(place.at("a"), &outside).unwrap();
            fs::remove_file(place.at("below/b")).unwrap();
            if !is_gone {
                fs::write(place.at("below/b"), "shared").unwrap();
                set_time(&place.at("below/b"), 1_000_000);
            }
            place.restore(overwrite);
            place.assert_restored();
            assert!(inode(&outside) != inode(&place.at("a")), "the object outside got a name");
            assert_eq!(fs::symlink_metadata(&outside).unwrap().nlink(), 1);
        }
    }

    // What is kept gets no further name: it may be anything.
    for overwrite in [NEVER, IF_NEWER] {
        let place = make();
        place.restore(None);
        fs::remove_file(place.at("below/b")).unwrap();
        fs::remove_file(place.at("c")).unwrap();
        fs::write(place.at("a"), "mine").unwrap();
        place.restore(overwrite);
        assert_eq!(names.map(|name| place.text(name)), ["mine", "shared", "shared"]);
        assert_eq!(inode(&place.at("below/b")), inode(&place.at("c")));
    }
}

#[test]
fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    let place = Place::small();
    let dry = |overwrite| RestoreOptions { overwrite, dry_run: true, ..RestoreOptions::default() };
    let (summary, told) = place.restore_with(&dry(None));
    let planned = without_fetches(summary);
    assert!(!place.target.exists());
    let (done, really) = place.restore(None);
    assert_eq!(planned, done);
    assert_eq!(told.of(ItemAction::Create), really.of(ItemAction::Create));

    fs::write(place.at("a"), "mine").unwrap();
    fs::remove_file(place.at("below/b")).unwrap();
    fs::set_permissions(place.at("below/deeper/c"), fs::Permissions::from_mode(0o600)).unwrap();
    for overwrite in [NEVER, IF_NEWER, IF_CHANGED, ALWAYS] {
        let before = dump(&place.target);
        let (summary, told) = place.restore_with(&dry(overwrite));
        assert_same(&before, &dump(&place.target));
        let copy = place.scratch.join("copy");
        let status = std::process::Command::new("cp").arg("-a").arg(&place.target).arg(&copy).status();
        assert!(status.unwrap().success());
        let (done, really) = place.restore(overwrite);
        assert_eq!(without_fetches(summary), done, "{overwrite:?}");
        assert_eq!(told.sorted(), really.sorted(), "{overwrite:?}");
        fs::remove_dir_all(&place.target).unwrap();
        fs::rename(&copy, &place.target).unwrap();
    }
}

#[test]
fn a_dry_run_knows_which_names_of_one_object_would_be_made_anew() {
    let place = Place::new(Parameters::default(), |source| {
        fs::create_dir(source).unwrap();
        fs::write(source.join("a"), "shared").unwrap();
        fs::hard_link(source.join("a"), source.join("b")).unwrap();
    });
    place.restore(None);
    fs::remove_file(place.at("b")).unwrap();
    let options = RestoreOptions { overwrite: IF_CHANGED, dry_run: true, ..RestoreOptions::default() };
    let (planned, told) = place.restore_with(&options);
    assert_eq!(told.of(ItemAction::Replace), ["a"]);
    let (done, _) = place.restore(IF_CHANGED);
    assert_eq!(without_fetches(planned), done);
    place.assert_restored();
}

#[test]
fn zeros_become_holes_only_if_asked_for() {
    let place = Place::new(Parameters::default(), |source| {
        fs::create_dir(source).unwrap();
        let mut bytes = vec![0; 4 << 20];
        bytes[3 << 20..(3 << 20) + 5].copy_from_slice(b"bytes");
        fs::write(source.join("zeros"), &bytes).unwrap();
    });
    let blocks = || fs::symlink_metadata(place.at("zeros")).unwrap().blocks() * 512;
    place.restore(None);
    assert!(blocks() >= 4 << 20, "{}", blocks());
    let mut other = vec![1; 4 << 20];
    other[3 << 20..].copy_from_slice(&fs::read(place.at("zeros")).unwrap()[3 << 20..]);
    for (verify, there, in_place_bytes_min) in
        [(false, b"mine".to_vec(), 1 << 20), (true, b"mine".to_vec(), 1 << 20), (true, other, 1)]
    {
        fs::write(place.at("zeros"), there).unwrap();
        let options = RestoreOptions {
            sparse: true,
            verify,
            overwrite: ALWAYS,
            in_place_bytes_min,
            ..RestoreOptions::default()
        };
        let (summary, told) = place.restore_with(&options);
        assert_eq!((told.findings().len(), summary.unwrap().files_verified), (0, u64::from(verify)));
        assert!(blocks() <= 2 << 20, "{}", blocks());
        assert_eq!(fs::read(place.source.join("zeros")).unwrap(), fs::read(place.at("zeros")).unwrap());
    }
}

#[test]
fn a_long_file_is_restored_in_little_memory() {
    for overwrite in [None, ALWAYS] {
        let place = Place::new(Parameters::tiny(), |source| {
            fs::create_dir_all(source.join("after")).unwrap();
            let mut random = Random::new(5);
            // Many times as many chunks as one plan holds.
            fs::write(source.join("long"), random.bytes(12 << 20)).unwrap();
            for number in 0..30 {
                fs::write(source.join(format!("after/{number}")), random.bytes(5000)).unwrap();
            }
            fs::hard_link(source.join("long"), source.join("long again")).unwrap();
        });
        if overwrite.is_some() {
            fs::create_dir(&place.target).unwrap();
            fs::write(place.at("long"), "mine").unwrap();
        }
        let options =
            RestoreOptions { memory_bytes: 0, overwrite, verify: true, ..RestoreOptions::default() };
        let (summary, told) = place.restore_with(&options);
        assert_eq!(told.findings(), Vec::<String>::new());
        let summary = summary.unwrap();
        assert_eq!((summary.files, summary.files_verified), (31, 31));
        assert_eq!(summary.replaced, u64::from(overwrite.is_some()));
        place.assert_restored();
    }
}

#[test]
fn a_generated_tree_comes_back_verified() {
    let place = Place::new(Parameters::tiny(), |source| drop(generate(11, source, Size::Medium)));
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let (summary, told) = place.restore_with(&options);
    assert_eq!(told.findings(), Vec::<String>::new());
    let summary = summary.unwrap();
    assert!(summary.files > 10 && summary.files_verified == summary.files, "{summary:?}");
    place.assert_restored();
}

/// What a dry run says would be done, as the restore itself says that it was.
#[track_caller]
fn without_fetches(planned: Result<RestoreSummary>) -> RestoreSummary {
    RestoreSummary { bytes_to_fetch: 0, ..planned.unwrap() }
}

/// The kind of an error, for messages of failed tests with its text.
#[track_caller]
fn assert_kind(result: Result<RestoreSummary>, kind: ErrorKind) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}
