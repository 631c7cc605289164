//! The local state: what is kept, what is thrown away, and that nothing damaged is believed.

use super::*;
use crate::base::Timestamp;

const KEY: [u8; 32] = [5; 32];
const SNAPSHOT: SessionId = SessionId([9; 16]);

fn key() -> Secret {
    Secret::new(KEY)
}

fn row(number: u8) -> Row {
    Row {
        clean_before: Timestamp { seconds: -5, nanoseconds: 7 },
        print: number.is_multiple_of(2).then_some([number; 32]),
        inode: 3,
        inodes: vec![u64::MAX, number.into()],
        node: vec![number; 100],
    }
}

struct Scratch {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn scratch() -> Scratch {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs");
    Scratch { _folder: folder, path }
}

impl Scratch {
    fn open(&self) -> LastRun {
        let opened = LastRun::open(&self.path, key()).expect("it opens");
        assert!(opened.discarded.is_none(), "{:?}", opened.discarded);
        opened.last_run
    }

    fn discarded(&self) -> String {
        let opened = LastRun::open(&self.path, key()).expect("it opens anew");
        assert_eq!(opened.last_run.snapshot(), None);
        assert_eq!(opened.last_run.row(b"/", b"a"), None);
        assert_eq!(opened.last_run.commit(SNAPSHOT).map(|error| error.to_string()), None);
        opened.discarded.expect("it was thrown away").chain().join(": ")
    }

    fn filled(&self) {
        let run = self.open();
        run.put(b"/", b"a", &row(1));
        run.put(b"/a", b"b", &row(2));
        assert!(run.commit(SNAPSHOT).is_none());
    }
}

#[test]
fn rows_count_from_the_commit_on() {
    let scratch = scratch();
    let run = scratch.open();
    run.put(b"/", b"a", &row(1));
    drop(run);
    let run = scratch.open();
    assert_eq!((run.snapshot(), run.row(b"/", b"a")), (None, None));
    drop(run);
    scratch.filled();
    let run = scratch.open();
    assert_eq!(run.snapshot(), Some(SNAPSHOT));
    assert_eq!(run.row(b"/", b"a"), Some(row(1)));
    assert_eq!(run.row(b"/a", b"b"), Some(row(2)));
    assert_eq!(run.row(b"/a", b"a"), None);
}

#[test]
fn what_is_gone_is_forgotten_with_all_below_it() {
    let scratch = scratch();
    let run = scratch.open();
    let places: [(&[u8], &[u8]); 9] = [
        (b"/", b"a"),
        (b"/a", b"b"),
        (b"/a/b", b"c"),
        (b"/a/b/c", b"d"),
        (b"/", b"a!"),
        (b"/a!", b"x"),
        (b"/", b"a0"),
        (b"/a0", b"x"),
        (b"/a", b"kept"),
    ];
    places.iter().for_each(|(parent, name)| run.put(parent, name, &row(1)));
    run.keep_only(b"/a", &[b"kept".to_vec()]);
    let left = |run: &LastRun| places.map(|(parent, name)| run.row(parent, name).is_some());
    assert_eq!(left(&run), [true, false, false, false, true, true, true, true, true]);
    run.forget(b"/", b"a");
    assert_eq!(left(&run), [false, false, false, false, true, true, true, true, false]);
    run.keep_only(b"/", &[]);
    assert_eq!(left(&run), [false; 9]);
}

#[test]
fn a_second_run_at_the_same_time_reads_what_was_and_keeps_nothing() {
    let scratch = scratch();
    scratch.filled();
    let first = scratch.open();
    let second = scratch.open();
    first.put(b"/", b"a", &row(7));
    second.put(b"/", b"a", &row(8));
    assert!(first.commit(SessionId([1; 16])).is_none());
    assert_eq!(second.snapshot(), Some(SNAPSHOT));
    assert_eq!(second.row(b"/", b"a"), Some(row(1)), "as it was when the second began");
    assert!(second.commit(SessionId([2; 16])).is_none());
    let third = scratch.open();
    assert_eq!((third.snapshot(), third.row(b"/", b"a")), (Some(SessionId([1; 16])), Some(row(7))));
}

#[test]
fn the_first_two_runs_at_the_same_time_do_not_disturb_each_other() {
    let scratch = scratch();
    let first = scratch.open();
    let second = scratch.open();
    assert_eq!((second.snapshot(), second.row(b"/", b"a")), (None, None));
    first.put(b"/", b"a", &row(1));
    assert!(first.commit(SNAPSHOT).is_none());
    assert!(second.commit(SessionId([2; 16])).is_none_or(|error| error.kind() != ErrorKind::Damaged));
    assert_eq!(scratch.open().snapshot(), Some(SNAPSHOT));
}

#[test]
fn another_key_another_program_and_another_version_are_thrown_away() {
    let scratch = scratch();
    scratch.filled();
    let opened = LastRun::open(&scratch.path, Secret::new([6; 32])).expect("it opens anew");
    assert!(opened.discarded.is_some_and(|error| error.chain().join(": ").contains("another repository")));
    drop(opened.last_run);
    for sql in [
        "PRAGMA application_id = 1",
        "PRAGMA user_version = 99",
        "DELETE FROM run; INSERT INTO run VALUES (x'00', x'00')",
    ] {
        scratch.filled();
        Connection::open(&scratch.path).expect("a database").execute_batch(sql).expect(sql);
        scratch.discarded();
    }
    std::fs::write(&scratch.path, b"no database at all, but long enough to be looked at by whoever opens it")
        .expect("written");
    assert!(scratch.discarded().contains("cannot use the local state"));
}

/// Whatever bit of the file flips, no row comes back that was not written.
#[test]
fn a_damaged_file_is_never_believed() {
    let scratch = scratch();
    scratch.filled();
    let good = std::fs::read(&scratch.path).expect("the file");
    let mut outcomes = [0; 2];
    for position in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << (position % 8);
        discard(&scratch.path).expect("removed");
        std::fs::write(&scratch.path, &bytes).expect("written");
        let Ok(opened) = LastRun::open(&scratch.path, key()) else { continue };
        assert!(opened.last_run.snapshot().is_none_or(|snapshot| snapshot == SNAPSHOT), "byte {position}");
        for (parent, name, written) in [(&b"/"[..], &b"a"[..], row(1)), (b"/a", b"b", row(2))] {
            let found = opened.last_run.row(parent, name);
            outcomes[usize::from(found.is_some())] += 1;
            assert!(found.is_none_or(|found| found == written), "byte {position}");
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "both outcomes are met: {outcomes:?}");
}

#[test]
fn a_new_group_takes_the_place_of_the_oldest() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("made");
    let other = file_in(&folder, "0").expect("a path").with_file_name("index.table");
    std::fs::write(&other, "not of a run").expect("written");
    let all: Vec<PathBuf> = (0..GROUPS_MAX + 3)
        .map(|number| {
            let path = file_in(&folder, &number.to_string()).expect("a path");
            let run = LastRun::open(&path, key()).expect("it opens").last_run;
            assert!(run.commit(SNAPSHOT).is_none());
            // The third and all after it in order of age.
            let age =
                std::time::UNIX_EPOCH + Duration::from_secs(if number < 2 { 999 } else { number as u64 });
            let file = std::fs::File::options().write(true).open(&path).expect("the file");
            file.set_modified(age).expect("a time");
            path
        })
        .collect();
    let gone: Vec<usize> = (0..all.len()).filter(|number| !all[*number].exists()).collect();
    assert_eq!(gone, [2, 3, 4]);
    assert!(other.exists());
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), GROUPS_MAX + 1);
    // A group that is there takes no place away.
    file_in(&folder, "0").expect("a path");
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), GROUPS_MAX + 1);
}
