//! Directories of a real file system, also seen by a user who may not do everything.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{Permissions, create_dir, set_permissions, write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags, mkdirat, mkfifoat, statx, utimensat};
use rustix::process::{Uid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::base::FindingKind;
use crate::fsmeta::capture::StatKind;

fn temporary() -> (TempDir, Directory) {
    let temporary = tempfile::tempdir().expect("a directory");
    allow(temporary.path(), 0o755);
    let directory = Directory::open_absolute(temporary.path()).expect("its handle");
    (temporary, directory)
}

fn allow(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// Works as a user who is not the administrator, and for the administrator not the owner either.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let limited = || {
        if geteuid().is_root() {
            // Holds for this thread alone, and ends with it.
            rustix::thread::set_thread_res_uid(None, Some(Uid::from_raw(65534)), None).expect("another user");
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(limited).join().expect("work without a panic"))
}

fn names_of(listing: &Listing) -> Vec<&[u8]> {
    listing.entries.iter().map(|entry| entry.name.as_slice()).collect()
}

fn kind_of<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("must fail").kind()
}

#[test]
fn directories_and_files_may_be_shared_by_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<Directory>();
    shared::<File>();
    shared::<Names>();
    shared::<Listing>();
}

#[test]
fn everything_is_listed_in_the_order_of_its_bytes() {
    let (temporary, directory) = temporary();
    let place = |name: &[u8]| temporary.path().join(OsStr::from_bytes(name));
    let longest = [b'n'; 255];
    for name in [&b"b"[..], b"B", b"\xff\xfe", b"a\nb", "ä".as_bytes(), &longest] {
        write(place(name), name).expect("a file");
    }
    create_dir(place(b"directory")).expect("a directory");
    symlink("b", place(b"link")).expect("a link");
    mkfifoat(&directory, "pipe", Mode::from_raw_mode(0o600)).expect("a pipe");
    let listing = directory.list().expect("a listing");
    let wanted =
        [&b"B"[..], b"a\nb", b"b", b"directory", b"link", &longest, b"pipe", "ä".as_bytes(), b"\xff\xfe"];
    assert_eq!(names_of(&listing), wanted);
    assert_eq!(listing.problems, []);
    for entry in &listing.entries {
        assert_eq!(entry.stat, directory.stat_at(&entry.name).expect("a status"));
    }
    let kinds: Vec<StatKind> = listing.entries.iter().map(|entry| entry.stat.kind).collect();
    assert_eq!(kinds[3..7], [StatKind::Directory, StatKind::Symlink, StatKind::Regular, StatKind::Fifo]);
    assert_eq!(directory.list().expect("a second listing"), listing);
}

#[test]
fn more_names_than_one_call_of_the_system_gives_are_listed_by_many_threads_at_once() {
    let (temporary, directory) = temporary();
    for number in 0..1500 {
        write(temporary.path().join(format!("{number:050}")), "").expect("a file");
    }
    let lengths: Vec<usize> = std::thread::scope(|scope| {
        let list = || directory.list().expect("a listing");
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(list)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a listing").entries.len()).collect()
    });
    assert_eq!(lengths, [1500; 4]);
    let whole = directory.list().expect("a listing");
    let names = directory.names().expect("names");
    let mut pieces = Listing::default();
    for start in (0..names.len()).step_by(700) {
        pieces.entries.extend(directory.entries(&names, start..start + 700).entries);
    }
    assert_eq!(pieces, whole);
}

#[test]
fn what_is_gone_after_it_was_listed_is_told() {
    let (temporary, directory) = temporary();
    for name in ["a", "b", "c"] {
        write(temporary.path().join(name), "").expect("a file");
    }
    let names = directory.names().expect("names");
    std::fs::remove_file(temporary.path().join("b")).expect("removed");
    let listing = directory.entries(&names, 0..3);
    assert_eq!(names_of(&listing), [b"a", b"c"]);
    assert_eq!(listing.problems.len(), 1);
    let (name, kind, message) = &listing.problems[0];
    assert_eq!((name.as_slice(), *kind), (&b"b"[..], FindingKind::Vanished));
    assert!(message.contains("No such file"), "{message}");
}

#[test]
fn a_directory_that_was_removed_is_not_an_empty_one() {
    let (temporary, directory) = temporary();
    create_dir(temporary.path().join("d")).expect("a directory");
    let child = directory.open_child(b"d").expect("its handle");
    assert_eq!(child.list().expect("a listing"), Listing::default());
    std::fs::remove_dir(temporary.path().join("d")).expect("removed");
    assert_eq!(kind_of(child.list()), ErrorKind::NotFound);
}

#[test]
fn names_without_a_status_are_unreadable() {
    let (temporary, directory) = temporary();
    let closed = temporary.path().join("closed");
    create_dir(&closed).expect("a directory");
    write(closed.join("file"), "").expect("a file");
    allow(&closed, 0o444);
    let listing = as_nobody(|| directory.open_child(b"closed").and_then(|child| child.list()));
    allow(&closed, 0o755);
    let listing = listing.expect("a listing");
    assert_eq!(listing.entries, []);
    assert_eq!(listing.problems.len(), 1);
    let (name, kind, _) = &listing.problems[0];
    assert_eq!((name.as_slice(), *kind), (&b"file"[..], FindingKind::Unreadable));
}

#[test]
fn a_parent_that_may_only_be_passed_through_still_tells_of_itself() {
    let (temporary, directory) = temporary();
    let parent = temporary.path().join("parent");
    create_dir(&parent).expect("a directory");
    create_dir(parent.join("child")).expect("a directory");
    rustix::fs::lsetxattr(&parent, "user.mark", b"1", XattrFlags::empty()).expect("an attribute");
    allow(&parent, 0o711);
    if !geteuid().is_root() {
        allow(&parent, 0o111);
    }
    let (opened, listed, child, attributes) = as_nobody(|| {
        let opened = Directory::open_absolute(&parent).expect("a handle");
        let listed = kind_of(opened.list());
        let child = Directory::open_absolute(&parent.join("child")).and_then(|child| child.list());
        opened.open_child(b"child").expect("a child is opened through it");
        let attributes = opened.xattrs();
        (opened, listed, child, attributes)
    });
    assert_eq!(opened.stat().expect("a status").kind, StatKind::Directory);
    assert_eq!(listed, ErrorKind::Denied);
    assert_eq!(child.expect("a listing"), Listing::default());
    // Whose directory cannot be read, of that the values cannot be read either: told, not dropped.
    let attributes = attributes.expect("attributes");
    assert_eq!(attributes.attributes.len() + attributes.problems.len(), 1, "{attributes:?}");
    allow(&parent, 0o755);
    let attributes = opened.xattrs().expect("attributes");
    assert_eq!(attributes.attributes, [(b"user.mark".to_vec(), b"1".to_vec())]);
    assert_eq!(kind_of(as_nobody(|| directory.open_child(b"absent"))), ErrorKind::NotFound);
}

#[test]
fn paths_beyond_the_limit_of_the_system_are_opened() {
    let (temporary, directory) = temporary();
    let name = "d".repeat(200);
    let mut path = temporary.path().to_path_buf();
    let mut here = directory;
    for _ in 0..25 {
        mkdirat(&here, &name, Mode::from_raw_mode(0o755)).expect("a directory");
        here = here.open_child(name.as_bytes()).expect("its handle");
        path.push(&name);
    }
    assert!(path.as_os_str().len() > 4096);
    assert!(std::fs::metadata(&path).is_err(), "the system itself refuses the path");
    let deepest = Directory::open_absolute(&path).expect("a handle");
    assert_eq!(deepest.stat().expect("a status"), here.stat().expect("a status"));
    assert_eq!(kind_of(Directory::open_absolute(&path.join("absent"))), ErrorKind::NotFound);
}

#[test]
fn the_way_to_a_source_follows_links_and_what_lies_in_it_does_not() {
    let (temporary, directory) = temporary();
    let place = |name: &str| temporary.path().join(name);
    create_dir(place("real")).expect("a directory");
    create_dir(place("real/child")).expect("a directory");
    write(place("file"), "").expect("a file");
    symlink("real", place("link")).expect("a link");
    symlink("loop", place("loop")).expect("a link");
    let real = Directory::open_absolute(&place("real")).expect("a handle").stat().expect("a status");
    let child = Directory::open_absolute(&place("real/child")).expect("a handle").stat().expect("a status");
    let open = |path: PathBuf| Directory::open_absolute(&path).and_then(|opened| opened.stat());
    assert_eq!(open(place("link")).expect("followed"), real);
    assert_eq!(open(place("link/child")).expect("followed"), child);
    assert_eq!(open(place("real//child/./../child/")).expect("the same place"), child);
    assert_eq!(open(PathBuf::from("/")).expect("the root").kind, StatKind::Directory);
    assert_eq!(kind_of(open(PathBuf::from("relative"))), ErrorKind::Usage);
    for bad in ["file", "file/x", "loop", "loop/x"] {
        open(place(bad)).expect_err(bad);
    }

    assert_eq!(directory.open_child(b"real").expect("a handle").stat().expect("a status"), real);
    for bad in [&b"link"[..], b"file", b"loop", b"real/child", b"..", b".", b"", b"re\0al"] {
        directory.open_child(bad).expect_err("not a directory in this one");
    }
    for bad in [&b"real/child"[..], b"..", b".", b"", b"re\0al"] {
        assert_eq!(kind_of(directory.stat_at(bad)), ErrorKind::Usage);
        assert_eq!(kind_of(directory.xattrs_at(bad)), ErrorKind::Usage);
        assert_eq!(kind_of(directory.read_link(bad)), ErrorKind::Usage);
        assert_eq!(kind_of(directory.open_file(bad)), ErrorKind::Usage);
    }
}

#[test]
fn only_regular_files_are_opened_and_a_pipe_does_not_hang() {
    let (temporary, directory) = temporary();
    write(temporary.path().join("file"), "content").expect("a file");
    create_dir(temporary.path().join("directory")).expect("a directory");
    symlink("file", temporary.path().join("link")).expect("a link");
    mkfifoat(&directory, "pipe", Mode::from_raw_mode(0o600)).expect("a pipe");
    let file = directory.open_file(b"file").expect("a file");
    assert_eq!(file.stat_when_opened().size, 7);
    assert_eq!(kind_of(directory.open_file(b"pipe")), ErrorKind::Failed);
    assert_eq!(kind_of(directory.open_file(b"directory")), ErrorKind::Failed);
    assert_eq!(kind_of(directory.open_file(b"link")), ErrorKind::Failed);
    assert_eq!(kind_of(directory.open_file(b"absent")), ErrorKind::NotFound);
    // All that is asked of a pipe while it is backed up; without a writer, opening it would wait for ever.
    assert_eq!(directory.list().expect("a listing").entries[3].stat.kind, StatKind::Fifo);
    assert_eq!(directory.xattrs_at(b"pipe").expect("attributes").problems, Vec::<String>::new());
}

#[test]
fn targets_of_links_are_read_as_they_are() {
    let (temporary, directory) = temporary();
    let longest = vec![b'x'; 4095];
    for (name, target) in [("plain", b"../a".to_vec()), ("odd", b"\xff\n".to_vec()), ("long", longest)] {
        symlink(OsString::from_vec(target.clone()), temporary.path().join(name)).expect("a link");
        assert_eq!(directory.read_link(name.as_bytes()).expect("its target"), target);
    }
    write(temporary.path().join("file"), "").expect("a file");
    assert_eq!(kind_of(directory.read_link(b"file")), ErrorKind::Failed);
    assert_eq!(kind_of(directory.read_link(b"absent")), ErrorKind::NotFound);
}

#[test]
fn reading_leaves_the_time_of_last_access() {
    let (temporary, directory) = temporary();
    create_dir(temporary.path().join("directory")).expect("a directory");
    write(temporary.path().join("directory/file"), "content").expect("a file");
    let inner = directory.open_child(b"directory").expect("a handle");
    // Access before modification: what would move it under the usual mount options.
    let time = |seconds| Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time(1000), last_modification: time(2000) };
    utimensat(&inner, "file", &times, AtFlags::empty()).expect("times");
    utimensat(&directory, "directory", &times, AtFlags::empty()).expect("times");
    inner.list().expect("a listing");
    let mut buffer = [0; 7];
    inner.open_file(b"file").and_then(|file| file.read_at(&mut buffer, 0)).expect("content");
    for (place, name) in [(&directory, "directory"), (&inner, "file")] {
        let found = statx(place, name, AtFlags::empty(), rustix::fs::StatxFlags::ATIME).expect("a status");
        assert_eq!(found.stx_atime.tv_sec, 1000, "{name}");
    }
}

#[test]
fn what_belongs_to_others_is_opened_with_a_trace() {
    let asked = RefCell::new(Vec::new());
    let answer = |errno: Option<Errno>| {
        move |flags: OFlags| match errno.filter(|_| flags.contains(OFlags::NOATIME)) {
            Some(errno) => Err(errno),
            None => openat(CWD, "/", flags, Mode::empty()),
        }
    };
    let noted = |errno| {
        asked.borrow_mut().clear();
        let open = answer(errno);
        open_quietly(OFlags::RDONLY, |flags| {
            asked.borrow_mut().push(flags);
            open(flags)
        })
    };
    let quiet = OFlags::RDONLY | OFlags::NOATIME;
    noted(Some(Errno::PERM)).expect("opened the second time");
    assert_eq!(*asked.borrow(), [quiet, OFlags::RDONLY]);
    assert_eq!(noted(Some(Errno::ACCESS)).expect_err("refused for another reason"), Errno::ACCESS);
    assert_eq!(*asked.borrow(), [quiet]);

    let (temporary, directory) = temporary();
    write(temporary.path().join("file"), "content").expect("a file");
    create_dir(temporary.path().join("directory")).expect("a directory");
    as_nobody(|| {
        directory.open_file(b"file").expect("a file of another user");
        directory.open_child(b"directory").expect("a directory of another user");
    });
}
