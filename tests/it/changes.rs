//! What is taken over from an earlier snapshot, and what is read again.
//!
//! What must hold: however a tree changed, a snapshot that took over what it could names the same tree as one that read
//! everything; and nothing is taken over that may have changed unseen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::base::ErrorKind;
use packstone::base::monitor::Silent;
use packstone::format::config::Parameters;
use packstone::format::snapshot::{Snapshot, Statistic};
use packstone::ops::backup::{BackupOptions, BackupSummary, Comparison, backup_paths};
use packstone::repository::Repository;
use packstone::source::Excludes;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use crate::engine::{back_up, back_up_with, give_back, init, open, options, pass_tick, statistic, tree_of};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::need::is_full;
use crate::support::scratch::Scratch;

struct Case {
    scratch: Scratch,
    storage: Arc<Memory>,
    cached: Repository,
}

impl Case {
    fn new() -> Self {
        let scratch = Scratch::new();
        let storage = Arc::new(Memory::new());
        let cached = init(storage.clone(), Parameters::tiny(), Some(&scratch.join("cache")));
        Self { scratch, storage, cached }
    }

    /// With a few directories of small and larger files.
    fn filled() -> Self {
        let case = Self::new();
        for folder in ["a", "a/b", "c"] {
            fs::create_dir_all(case.source().join(folder)).unwrap();
            for number in 0..40 {
                let path = case.source().join(folder).join(format!("file-{number:02}"));
                let length = if number % 10 == 0 { 9000 } else { 30 + number };
                fs::write(path, format!("{folder} {number} ").repeat(length)).unwrap();
            }
        }
        case
    }

    fn source(&self) -> PathBuf {
        self.scratch.join("source")
    }

    fn back_up(&self) -> BackupSummary {
        back_up(&self.cached, &self.source())
    }

    fn back_up_with(&self, options: &BackupOptions) -> BackupSummary {
        back_up_with(&self.cached, &self.source(), options)
    }

    /// The same repository on a machine that keeps nothing.
    fn uncached(&self) -> Repository {
        open(self.storage.clone(), None)
    }

    fn state_files(&self) -> Vec<PathBuf> {
        let folder = self.cached.cache_folder().unwrap();
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "sqlite")).collect()
    }

    /// That the newest snapshot is what reading everything gives.
    #[track_caller]
    fn assert_right(&self, summary: &BackupSummary) {
        let forced = BackupOptions { comparison: Comparison::Nothing, ..options() };
        let read = back_up_with(&self.uncached(), &self.source(), &forced);
        let tree = |snapshot: &Snapshot| tree_of(&self.cached, snapshot, &self.source());
        assert_eq!(tree(&summary.snapshot), tree(&read.snapshot), "reading everything gives another tree");
    }
}

fn counts(summary: &BackupSummary) -> [u64; 7] {
    [
        Statistic::FilesNew,
        Statistic::FilesChanged,
        Statistic::FilesUnmodified,
        Statistic::DirectoriesNew,
        Statistic::DirectoriesChanged,
        Statistic::DirectoriesUnmodified,
        Statistic::BytesRead,
    ]
    .map(|number| statistic(&summary.snapshot, number))
}

#[test]
fn an_unchanged_tree_is_neither_read_nor_stored() {
    let case = Case::filled();
    let first = case.back_up();
    let [new, .., bytes] = counts(&first);
    assert_eq!((new, counts(&first)[3]), (120, 4));
    assert!(bytes > 0);
    let second = case.back_up();
    assert_eq!(counts(&second), [0, 0, 120, 0, 0, 4, 0]);
    // Above the source the times of the folders may have changed.
    assert_eq!(statistic(&second.snapshot, Statistic::DataChunksAdded), 0);
    assert_eq!(second.snapshot.parent, Some(first.id));
    assert_eq!(second.snapshot.generation, 2);
    case.assert_right(&second);
    // Without anything local the files are compared with the tree.
    let third = back_up(&case.uncached(), &case.source());
    assert_eq!(counts(&third), [0, 0, 120, 0, 0, 4, 0]);
    case.assert_right(&third);
}

#[test]
fn what_changed_is_read_and_its_neighbours_are_not() {
    let case = Case::filled();
    case.back_up();
    fs::write(case.source().join("a/file-10"), "another content").unwrap();
    fs::write(case.source().join("a/file-10a"), "a new one").unwrap();
    fs::remove_file(case.source().join("a/b/file-20")).unwrap();
    let second = case.back_up();
    let [new, changed, unmodified, new_folders, changed_folders, unmodified_folders, read] = counts(&second);
    assert_eq!((new, changed, unmodified), (1, 1, 118));
    assert_eq!((new_folders, changed_folders, unmodified_folders), (0, 3, 1));
    // Two short files, and those that share a bundle with them.
    assert!((24..20_000).contains(&read), "{read}");
    case.assert_right(&second);
}

#[test]
fn a_change_that_hides_behind_old_times_and_sizes_is_found() {
    let case = Case::filled();
    case.back_up();
    let path = case.source().join("c/file-03");
    let old = fs::metadata(&path).unwrap();
    let mut content = fs::read(&path).unwrap();
    content[5] ^= 1;
    fs::write(&path, content).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(old.modified().unwrap()).unwrap();
    // Another file of the same length and times under the name.
    let (path, other) = (case.source().join("c/file-04"), case.scratch.join("other"));
    let old = fs::metadata(&path).unwrap();
    fs::write(&other, vec![b'x'; old.len().try_into().unwrap()]).unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(old.modified().unwrap()).unwrap();
    fs::rename(other, path).unwrap();
    let second = case.back_up();
    assert_eq!(counts(&second)[..3], [0, 2, 118]);
    case.assert_right(&second);
}

/// A change within the tick of the clock in which a file was read leaves no trace, so what is too young is read again.
#[test]
fn what_was_not_at_rest_is_read_again() {
    let case = Case::filled();
    let careful = BackupOptions { margin_seconds: Some(3600), ..options() };
    let first = case.back_up_with(&careful);
    let second = case.back_up_with(&careful);
    assert_eq!(counts(&second)[6], counts(&first)[6], "all bytes are read again");
    assert_eq!(counts(&second)[..6], [0, 0, 120, 0, 0, 4], "and turn out to be the same");
    let third = back_up_with(&case.uncached(), &case.source(), &careful);
    assert_eq!(counts(&third)[6], counts(&first)[6]);
    // What the file systems of tests call for is more than the time since the files were made, or at least no less
    // than nothing.
    let usual = BackupOptions { margin_seconds: None, ..options() };
    let fourth = case.back_up_with(&usual);
    assert_eq!(counts(&fourth)[..3], [0, 0, 120]);
}

#[test]
fn a_time_in_the_future_is_never_at_rest() {
    let case = Case::filled();
    let path = case.source().join("c/file-00");
    let future = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(future).unwrap();
    case.back_up();
    let bytes = fs::metadata(&path).unwrap().len();
    for _ in 0..2 {
        let read = counts(&case.back_up())[6];
        assert_eq!(read, bytes, "that one file, every time");
    }
}

#[test]
fn force_and_parent_choose_what_is_compared() {
    let case = Case::filled();
    let first = case.back_up();
    fs::write(case.source().join("c/file-03"), "changed").unwrap();
    let second = case.back_up();
    let forced = case.back_up_with(&BackupOptions { comparison: Comparison::Nothing, ..options() });
    assert_eq!(counts(&forced)[..3], [120, 0, 0]);
    assert_eq!(forced.snapshot.parent, Some(second.id), "it follows the newest, though it is not compared");
    let with = |id: String| BackupOptions { comparison: Comparison::With(id), ..options() };
    let compared = case.back_up_with(&with(first.id.short()));
    assert_eq!(counts(&compared)[..3], [0, 1, 119]);
    assert_eq!(compared.snapshot.parent, Some(first.id));
    let compared = case.back_up_with(&with(compared.id.hex()));
    assert_eq!(counts(&compared)[..3], [0, 0, 120]);
    case.assert_right(&compared);
    let missing = backup_paths(&case.cached, &[case.source()], Path::new("/"), &with("xyz".into()), &Silent);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn times_and_inodes_can_be_ignored() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::filled();
    case.back_up();
    let path = case.source().join("c/file-03");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (moved, copy) = (case.source().join("c/file-00"), case.scratch.join("copy"));
    let old = fs::metadata(&moved).unwrap();
    fs::copy(&moved, &copy).unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(old.modified().unwrap()).unwrap();
    fs::rename(copy, moved).unwrap();
    let lax = BackupOptions { ignore_ctime: true, ignore_inode: true, ..options() };
    let second = case.back_up_with(&lax);
    assert_eq!(counts(&second)[6], 0, "nothing is read");
    case.assert_right(&second);
    let strict = case.back_up();
    case.assert_right(&strict);
}

#[test]
fn no_snapshot_is_made_where_nothing_changed_and_nobody_wants_one() {
    let case = Case::filled();
    let skipping = BackupOptions { skip_if_unchanged: true, ..options() };
    let first = case.back_up_with(&skipping);
    assert!(!first.is_skipped);
    // Something beside the source changes.
    fs::write(case.scratch.join("beside"), "x").unwrap();
    let second = case.back_up_with(&skipping);
    assert!(second.is_skipped);
    assert_eq!(second.id, first.id);
    assert_eq!(case.cached.snapshots().unwrap().visible.len(), 1);
    fs::write(case.source().join("c/file-03"), "changed").unwrap();
    assert!(!case.back_up_with(&skipping).is_skipped);
    fs::remove_file(case.source().join("c/file-03")).unwrap();
    assert!(!case.back_up_with(&skipping).is_skipped);
    let third = case.back_up_with(&skipping);
    assert!(third.is_skipped);
    assert!(case.back_up_with(&BackupOptions { comparison: Comparison::Nothing, ..skipping }).id != third.id);
    assert_eq!(case.cached.snapshots().unwrap().visible.len(), 4);
}

/// The newest snapshot may be another user's, of whom nothing is remembered here, and hold less.
#[test]
fn only_what_the_newest_snapshot_holds_is_skipped() {
    let case = Case::filled();
    case.back_up();
    let excludes = Excludes { larger_than_bytes: Some(10_000), ..Excludes::default() };
    let less = BackupOptions { excludes, ..options() };
    let second = back_up_with(&case.uncached(), &case.source(), &less);
    assert!(second.excluded > 0);
    let skipping = BackupOptions { skip_if_unchanged: true, ..options() };
    let third = case.back_up_with(&skipping);
    assert!(!third.is_skipped, "the newest snapshot lacks files");
    assert_eq!(third.snapshot.parent, Some(second.id));
    let fourth = case.back_up_with(&skipping);
    assert_eq!((fourth.is_skipped, fourth.id), (true, third.id));
}

/// With or without what is kept on this machine, a directory that only got another mode has changed.
#[test]
fn a_directory_of_which_only_the_metadata_changed_is_counted_as_changed() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::filled();
    for (round, mode) in [0o700, 0o750].into_iter().enumerate() {
        case.back_up();
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(case.source().join("a/b"), permissions).unwrap();
        let uncached = case.uncached();
        let repository = if round == 0 { &uncached } else { &case.cached };
        let summary = back_up(repository, &case.source());
        assert_eq!(counts(&summary), [0, 0, 120, 0, 3, 1, 0], "round {round}");
        case.assert_right(&summary);
    }
}

/// Rows of one run under the name of another, as a file may have them that was copied while it was written.
#[test]
fn rows_that_do_not_lead_to_their_snapshot_are_not_used() {
    let case = Case::filled();
    case.back_up();
    let files = case.state_files();
    let [file] = files.as_slice() else { panic!("one file of state: {files:?}") };
    let old = case.scratch.join("old");
    fs::copy(file, &old).unwrap();
    let (place, away) = (case.source().join("a"), case.scratch.join("away"));
    fs::rename(&place, &away).unwrap();
    case.back_up();
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute("ATTACH ?1 AS old", [old.to_str().unwrap()]).unwrap();
    let mix = "DELETE FROM directories; INSERT INTO directories SELECT * FROM old.directories";
    connection.execute_batch(mix).unwrap();
    drop(connection);
    fs::rename(&away, &place).unwrap();
    let third = case.back_up();
    assert_eq!(counts(&third)[..3], [80, 0, 40], "the second snapshot holds nothing of it");
    case.assert_right(&third);
    assert_eq!(counts(&case.back_up())[..3], [0, 0, 120]);
}

/// At 4096 entries a directory can be compared as a whole, above it only file by file.
#[test]
fn a_directory_around_the_largest_that_is_compared_as_a_whole_is_right() {
    let case = Case::new();
    let folder = case.source().join("many");
    fs::create_dir_all(folder.join("0000-below")).unwrap();
    fs::write(folder.join("0000-below/file"), "below").unwrap();
    for number in 1..4096 {
        fs::write(folder.join(format!("{number:04}")), format!("file {number}")).unwrap();
    }
    case.back_up();
    assert_eq!(counts(&case.back_up()), [0, 0, 4096, 0, 0, 3, 0]);
    for number in [4096, 4097] {
        fs::write(folder.join(format!("{number}")), "one more").unwrap();
        let summary = case.back_up();
        assert_eq!(counts(&summary)[..6], [1, 0, number, 0, 2, 1]);
        case.assert_right(&summary);
        let again = case.back_up();
        assert_eq!(counts(&again), [0, 0, number + 1, 0, 0, 3, 0]);
        case.assert_right(&again);
    }
    fs::write(folder.join("3000"), "FILE 3000").unwrap();
    fs::remove_file(folder.join("0000-below/file")).unwrap();
    let summary = case.back_up();
    assert_eq!(counts(&summary)[..6], [0, 1, 4096, 0, 3, 0]);
    case.assert_right(&summary);
    // Back to what can be compared as a whole.
    for number in [1, 4096, 4097] {
        fs::remove_file(folder.join(format!("{number:04}"))).unwrap();
    }
    case.assert_right(&case.back_up());
    let last = case.back_up();
    assert_eq!(counts(&last), [0, 0, 4094, 0, 0, 3, 0]);
    case.assert_right(&last);
}

/// While another run of the group works, nothing is remembered of this one; what is there is of an older snapshot, which
/// holds all that it names.
#[test]
fn a_run_beside_another_takes_over_and_keeps_nothing() {
    let case = Case::filled();
    let first = case.back_up();
    let files = case.state_files();
    let [file] = files.as_slice() else { panic!("one file of state: {files:?}") };
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (place, away) = (case.source().join("a"), case.scratch.join("away"));
    fs::rename(&place, &away).unwrap();
    let second = case.back_up();
    assert_eq!(counts(&second)[..3], [0, 0, 40]);
    case.assert_right(&second);
    fs::rename(&away, &place).unwrap();
    let third = case.back_up();
    assert_eq!(counts(&third)[..3], [0, 0, 120], "as the first was");
    case.assert_right(&third);
    drop(other);
    // The first is lost with all that it alone names; what is remembered of it is of no use any more.
    let name = ObjectName::parse(&format!("snapshots/{}", first.id.hex())).unwrap();
    case.storage.delete(&name).unwrap();
    fs::rename(&place, &away).unwrap();
    case.assert_right(&case.back_up());
    fs::rename(&away, &place).unwrap();
    let last = case.back_up();
    assert_eq!(counts(&last)[..3], [80, 0, 40]);
    case.assert_right(&last);
}

/// A source that is a file has no directory that could remember it.
#[test]
fn a_single_file_is_taken_over() {
    for name in ["c/file-00", "c/file-03"] {
        let case = Case::filled();
        let source = case.source().join(name);
        let first = back_up(&case.cached, &source);
        assert_eq!(counts(&first)[..3], [1, 0, 0]);
        let second = back_up(&case.cached, &source);
        assert_eq!((&counts(&second)[..3], counts(&second)[6]), (&[0, 0, 1][..], 0), "{name}");
        let skipping = BackupOptions { skip_if_unchanged: true, ..options() };
        assert!(back_up_with(&case.cached, &source, &skipping).is_skipped, "{name}");
        fs::write(&source, "other").unwrap();
        assert!(!back_up_with(&case.cached, &source, &skipping).is_skipped, "{name}");
    }
}

/// What left the source is not remembered: the snapshots since do not name it.
#[test]
fn a_directory_that_comes_back_is_read() {
    let case = Case::filled();
    case.back_up();
    let (place, away) = (case.source().join("a"), case.scratch.join("away"));
    fs::rename(&place, &away).unwrap();
    assert_eq!(counts(&case.back_up())[..3], [0, 0, 40]);
    fs::rename(&away, &place).unwrap();
    let third = case.back_up();
    assert_eq!(counts(&third)[..3], [80, 0, 40]);
    case.assert_right(&third);
    // A file takes the place of a directory and gives it back.
    fs::rename(&place, &away).unwrap();
    fs::write(&place, "a file").unwrap();
    case.assert_right(&case.back_up());
    fs::remove_file(&place).unwrap();
    fs::rename(&away, &place).unwrap();
    let last = case.back_up();
    assert_eq!(counts(&last)[..3], [80, 0, 40]);
    case.assert_right(&last);
}

/// What the last run saw counts for its snapshot alone: if that is gone, nothing of it may be named.
#[test]
fn what_is_remembered_of_a_lost_snapshot_is_not_used() {
    let case = Case::filled();
    let first = case.back_up();
    let name = format!("snapshots/{}", first.id.hex());
    let name = ObjectName::parse(&name).unwrap();
    let object = case.storage.get(&name, 1 << 20).unwrap();
    case.storage.delete(&name).unwrap();
    let second = case.back_up();
    assert_eq!(counts(&second)[..3], [120, 0, 0]);
    assert_eq!(second.snapshot.parent, None);
    // And if it comes back, what is kept is of the second.
    case.storage.put_if_absent(&name, &[object.into()]).unwrap();
    let third = case.back_up();
    assert_eq!(counts(&third)[..3], [0, 0, 120]);
    case.assert_right(&third);
}

#[test]
fn damaged_state_is_thrown_away_and_costs_time_alone() {
    #[derive(Default)]
    struct Notes(std::sync::Mutex<Vec<String>>);
    impl packstone::base::Monitor for Notes {
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let case = Case::filled();
    case.back_up();
    let damages: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.fill(0x55), |bytes| bytes.truncate(700), |bytes| bytes[100..].fill(0)];
    for (number, damage) in damages.into_iter().enumerate() {
        let files = case.state_files();
        let [file] = files.as_slice() else { panic!("one file of state: {files:?}") };
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes);
        fs::write(file, bytes).unwrap();
        let notes = Notes::default();
        pass_tick();
        let summary =
            backup_paths(&case.cached, &[case.source()], Path::new("/"), &options(), &notes).unwrap();
        let notes = notes.0.into_inner().unwrap();
        assert_eq!(notes.len(), 1, "damage {number}: {notes:?}");
        assert!(notes[0].contains("thrown away") || notes[0].contains("nothing is kept"), "{notes:?}");
        case.assert_right(&summary);
        pass_tick();
        // What is not thrown away at once is so when it is to be written.
        case.back_up();
        assert_eq!(counts(&case.back_up())[6], 0, "damage {number}: the next one is kept again");
    }
}

/// Whatever happens to a tree, what is taken over is what reading would have given: by the local state, by the tree of
/// the earlier snapshot, and by turns.
fn takes_over_what_is_there(seed: u64) {
    let case = Case::new();
    let source = case.source();
    generate(seed, &source, Size::Small);
    for round in 0..4 {
        let repository = if (seed + round) % 3 == 1 { &case.uncached() } else { &case.cached };
        let dumped = dump(&source);
        let summary = back_up(repository, &source);
        case.assert_right(&summary);
        if round == 3 {
            let target = case.scratch.join("target");
            give_back(&case.cached, summary.id, Some(&source), &target);
            assert_same(&dumped, &dump(&target));
        }
        mutate(seed * 4 + round, &source);
        if round == 1 {
            // Nothing changed in between.
            let again = back_up(&case.cached, &source);
            case.assert_right(&again);
            let once_more = back_up(&case.cached, &source);
            assert_eq!(statistic(&once_more.snapshot, Statistic::DataChunksAdded), 0, "seed {seed}");
            assert_eq!(counts(&once_more)[..2], [0, 0], "seed {seed}");
        }
    }
}

fn shard(number: u64) {
    let trees = if is_full() { 100 } else { 10 };
    for seed in 0..trees {
        takes_over_what_is_there(seed * 8 + number);
    }
    println!("{trees} trees, four backups of each as they changed");
}

macro_rules! shards {
    ($($name:ident $number:literal),*) => { $(#[test] fn $name() { shard($number); })* };
}

shards!(trees_0 0, trees_1 1, trees_2 2, trees_3 3, trees_4 4, trees_5 5, trees_6 6, trees_7 7);
