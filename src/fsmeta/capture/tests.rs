//! What the system says of real objects, and what is made of its rarer answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mkfifoat, mknodat, utimensat};
use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, File) {
    let directory = tempfile::tempdir().expect("a directory");
    let handle = File::open(directory.path()).expect("its handle");
    (directory, handle)
}

#[track_caller]
fn is_root() -> bool {
    crate::fsmeta::apply::tests::is_root()
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).expect("an extended attribute is set");
}

fn of_path(path: &Path) -> CapturedXattrs {
    xattrs_of_fd(File::open(path).expect("an object that can be opened"))
}

/// What of `captured` has a name in the given namespace; others may be there by the machine's own doing.
fn in_namespace(captured: &CapturedXattrs, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let attributes = captured.attributes.iter().cloned();
    attributes
        .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value))
        .filter(|(name, _)| name.starts_with(namespace))
        .collect()
}

#[test]
fn every_kind_of_object_is_told_without_following_it() {
    let (directory, handle) = directory();
    let place = |name: &str| directory.path().join(name);
    File::create(place("file")).expect("a file").write_all_at(b"12345", 0).expect("bytes");
    std::fs::hard_link(place("file"), place("second")).expect("a second name");
    std::fs::create_dir(place("directory")).expect("a directory");
    symlink("/nowhere", place("link")).expect("a link");
    mkfifoat(&handle, "pipe", Mode::from_raw_mode(0o640)).expect("a pipe");
    let _listener = UnixListener::bind(place("socket")).expect("a socket");
    let kind = |name: &[u8]| stat_at(&handle, name).expect("a status").kind;
    assert_eq!(kind(b"directory"), StatKind::Directory);
    assert_eq!(kind(b"link"), StatKind::Symlink);
    assert_eq!(kind(b"pipe"), StatKind::Fifo);
    assert_eq!(kind(b"socket"), StatKind::Socket);
    let file = stat_at(&handle, b"file").expect("a status");
    assert_eq!((file.kind, file.size, file.links), (StatKind::Regular, 5, 2));
    let itself = stat_fd(&handle).expect("a status");
    assert_eq!((itself.kind, itself.device), (StatKind::Directory, file.device));
    assert_eq!(stat_at(&handle, b"absent").expect_err("nothing there").kind(), ErrorKind::NotFound);

    let devices = File::open("/dev").expect("/dev");
    let null = stat_at(&devices, b"null").expect("a status");
    assert_eq!(null.kind, StatKind::CharacterDevice { major: 1, minor: 3 });
    if is_root() {
        let device = rustix::fs::makedev(259, 1_048_575);
        mknodat(&handle, "disk", FileType::BlockDevice, Mode::from_raw_mode(0o600), device).expect("a node");
        assert_eq!(kind(b"disk"), StatKind::BlockDevice { major: 259, minor: 1_048_575 });
    }
}

#[test]
fn the_low_twelve_bits_of_the_mode_are_told() {
    let (directory, handle) = directory();
    std::fs::create_dir(directory.path().join("d")).expect("a directory");
    let owner = stat_at(&handle, b"d").expect("a status");
    assert_eq!(owner.uid, rustix::process::geteuid().as_raw());
    for mode in [0o7777, 0o1700, 0o000] {
        rustix::fs::chmodat(&handle, "d", Mode::from_raw_mode(mode), AtFlags::empty()).expect("a mode");
        let told = stat_at(&handle, b"d").expect("a status").mode;
        assert_eq!(u32::from(told), mode);
    }
}

#[test]
fn times_before_1970_and_after_2038_are_right_to_the_nanosecond() {
    let (directory, handle) = directory();
    File::create(directory.path().join("file")).expect("a file");
    for (seconds, nanoseconds) in [
        (-1, 999_999_999),
        (-2_000_000_000, 1),
        (0, 0),
        (2_147_483_648, 123_456_789),
        (4_294_967_301, 999_999_999),
    ] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(&handle, "file", &times, AtFlags::empty()).expect("a time is set");
        let told = stat_at(&handle, b"file").expect("a status");
        assert_eq!(told.mtime, Timestamp { seconds, nanoseconds });
        assert!(told.ctime.seconds > 1_600_000_000, "the time of status change is the system's own");
    }
}

#[test]
fn nanoseconds_of_more_than_a_second_are_carried_over() {
    assert_eq!(carried(-1, 999_999_999), Timestamp { seconds: -1, nanoseconds: 999_999_999 });
    assert_eq!(carried(-1, 1_073_741_823), Timestamp { seconds: 0, nanoseconds: 73_741_823 });
    assert_eq!(carried(i64::MAX, u32::MAX), Timestamp { seconds: i64::MAX, nanoseconds: 294_967_295 });
}

#[test]
fn a_changed_content_is_told_by_each_of_four_facts() {
    let (directory, handle) = directory();
    File::create(directory.path().join("file")).expect("a file");
    let stat = stat_at(&handle, b"file").expect("a status");
    assert!(stat.same_content_as(&Stat { mode: 0, uid: 7, links: 9, ..stat }));
    let later = |time: Timestamp| Timestamp { nanoseconds: time.nanoseconds ^ 1, ..time };
    assert!(!stat.same_content_as(&Stat { inode: stat.inode + 1, ..stat }));
    assert!(!stat.same_content_as(&Stat { size: 1, ..stat }));
    assert!(!stat.same_content_as(&Stat { mtime: later(stat.mtime), ..stat }));
    assert!(!stat.same_content_as(&Stat { ctime: later(stat.ctime), ..stat }));
}

#[test]
fn metadata_says_what_the_status_says() {
    let (_directory, handle) = directory();
    let stat = Stat { uid: 0, gid: 3_999_999_999, mode: 0o2755, ..stat_fd(&handle).expect("a status") };
    let links = Some(LinkGroup { filesystem: 1, inode: 2 });
    let metadata = metadata(&stat, &Owners::new(), links);
    assert_eq!((metadata.uid, metadata.user.as_deref()), (0, Some("root")));
    assert_eq!((metadata.gid, metadata.group), (3_999_999_999, None));
    assert_eq!((metadata.mode, metadata.links), (0o2755, links));
    assert_eq!((metadata.mtime, metadata.ctime), (stat.mtime, stat.ctime));
}

#[test]
fn attributes_of_files_and_directories_are_read_whole() {
    let (directory, _) = directory();
    let file = directory.path().join("file");
    File::create(&file).expect("a file");
    let large: Vec<u8> = (0..3000_u32).map(|number| (number % 251) as u8).collect();
    for path in [file.as_path(), directory.path()] {
        set(path, "user.z", b"\0\xff\n");
        set(path, "user.empty", b"");
        set(path, "user.large", &large);
        let captured = of_path(path);
        assert_eq!(captured.problems, Vec::<String>::new());
        let wanted = [
            ("user.empty".to_owned(), vec![]),
            ("user.large".to_owned(), large.clone()),
            ("user.z".to_owned(), b"\0\xff\n".to_vec()),
        ];
        assert_eq!(in_namespace(&captured, "user."), wanted);
    }
    let plain = directory.path().join("plain");
    File::create(&plain).expect("a file");
    assert_eq!(in_namespace(&of_path(&plain), "user."), []);
}

#[test]
fn access_lists_are_attributes() {
    let (directory, handle) = directory();
    // Version 2; then tag, permissions, id: owner, user 1234, group, mask, others.
    let none = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 7_u16, none), (2, 5, 1234), (4, 5, none), (16, 5, none), (32, 0, none)]
    {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&permissions.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        set(directory.path(), name, &list);
    }
    let wanted =
        [("system.posix_acl_access".to_owned(), list.clone()), ("system.posix_acl_default".to_owned(), list)];
    assert_eq!(in_namespace(&xattrs_of_fd(&handle), "system.posix_acl"), wanted);
}

#[test]
fn attributes_of_what_is_not_opened_are_read_by_name() {
    let (directory, handle) = directory();
    symlink("/nowhere", directory.path().join("link")).expect("a link");
    mkfifoat(&handle, "pipe", Mode::from_raw_mode(0o600)).expect("a pipe");
    set(directory.path(), "user.own", b"1");
    for name in ["link", "pipe"] {
        let captured = xattrs_at(&handle, name.as_bytes()).expect("an object without attributes");
        assert_eq!(in_namespace(&captured, "trusted."), []);
        if is_root() {
            set(&directory.path().join(name), "trusted.mark", b"\x01\x00");
            let captured = xattrs_at(&handle, name.as_bytes()).expect("an object with an attribute");
            assert_eq!(in_namespace(&captured, "trusted."), [("trusted.mark".to_owned(), vec![1, 0])]);
        }
    }
    let itself = xattrs_at(&handle, b".").expect("the directory itself");
    assert_eq!(in_namespace(&itself, "user."), [("user.own".to_owned(), b"1".to_vec())]);
}

#[test]
fn what_is_gone_is_told_from_a_system_without_proc() {
    let (directory, handle) = directory();
    assert_eq!(xattrs_at(&handle, b"absent").expect_err("nothing there").kind(), ErrorKind::NotFound);
    let missing = directory.path().join("fd");
    let error = xattrs_below(&missing.to_string_lossy(), handle.as_fd(), b"absent").expect_err("no such way");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("/proc is not mounted"), "{error}");
}

/// Answers as a file system would.
#[derive(Default)]
struct Answers {
    list: Option<Errno>,
    values: BTreeMap<Vec<u8>, rustix::io::Result<Vec<u8>>>,
    rooms: RefCell<Vec<usize>>,
}

impl Answers {
    fn of(values: impl IntoIterator<Item = (Vec<u8>, rustix::io::Result<Vec<u8>>)>) -> Self {
        Self { values: values.into_iter().collect(), ..Self::default() }
    }

    fn give(bytes: &[u8], buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
        if bytes.len() > buffer.capacity() {
            return Err(Errno::RANGE);
        }
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Attributes for Answers {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize> {
        if let Some(errno) = self.list {
            return Err(errno);
        }
        let list: Vec<u8> =
            self.values.keys().rev().flat_map(|name| [name.as_slice(), b"\0"].concat()).collect();
        names.get_mut(..list.len()).ok_or(Errno::RANGE)?.copy_from_slice(&list);
        Ok(list.len())
    }

    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<usize> {
        self.rooms.borrow_mut().push(value.capacity());
        let found = self.values.get(name).expect("only listed names are asked for");
        Self::give(found.as_ref().map_err(|errno| *errno)?, value)
    }
}

fn named(name: &str, value: rustix::io::Result<Vec<u8>>) -> (Vec<u8>, rustix::io::Result<Vec<u8>>) {
    (name.as_bytes().to_vec(), value)
}

#[test]
fn one_refused_attribute_costs_that_one_alone() {
    let answers = Answers::of([
        named("security.denied", Err(Errno::ACCESS)),
        named("security.forbidden", Err(Errno::PERM)),
        named("system.nfs4_acl", Ok(vec![1, 2])),
        named("user.broken", Err(Errno::IO)),
        named("user.huge", Err(Errno::TOOBIG)),
        named("user.largest", Ok(vec![7; XATTR_BYTES_MAX])),
        named("user.longer", Ok(vec![7; XATTR_BYTES_MAX + 1])),
        named("user.much longer", Ok(vec![7; 2 * XATTR_BYTES_MAX])),
        named("user.none", Err(Errno::NOTSUP)),
        named("user.vanished", Err(Errno::NODATA)),
        named(&"n".repeat(NAME_BYTES_MAX + 1), Ok(vec![])),
        named(&"o".repeat(NAME_BYTES_MAX), Ok(vec![])),
    ]);
    let captured = capture(&answers).expect("a list");
    let kept: Vec<(&[u8], usize)> =
        captured.attributes.iter().map(|(name, value)| (name.as_slice(), value.len())).collect();
    let longest_name = "o".repeat(NAME_BYTES_MAX);
    let wanted: [(&[u8], usize); 3] =
        [(longest_name.as_bytes(), 0), (b"system.nfs4_acl", 2), (b"user.largest", XATTR_BYTES_MAX)];
    assert_eq!(kept, wanted);
    let problems = captured.problems.join("\n");
    assert_eq!(captured.problems.len(), 7, "{problems}");
    for name in
        ["security.denied: Permission denied", "security.forbidden", "user.broken", "user.huge", "nnn"]
    {
        assert!(problems.contains(name), "{name} in {problems}");
    }
    assert!(problems.contains("user.longer: the value is longer than 65536 bytes"), "{problems}");
    assert!(
        answers.rooms.borrow().iter().all(|room| *room <= 2 * (XATTR_BYTES_MAX + 1)),
        "memory has a bound"
    );
}

#[test]
fn a_long_list_is_read_and_one_beyond_the_bound_is_told() {
    let many = |count: usize| Answers::of((0..count).map(|n| named(&format!("user.{n:0200}"), Ok(vec![]))));
    let captured = capture(&many(300)).expect("a list");
    assert_eq!((captured.attributes.len(), captured.problems.len()), (300, 0));
    assert!(captured.attributes.is_sorted());
    assert_eq!(capture(&many(2000)), Err(Errno::RANGE));
    assert_eq!(unlisted(Errno::TOOBIG).problems.len(), 1);
}

#[test]
fn a_file_system_without_attributes_has_none() {
    let answers = Answers { list: Some(Errno::OPNOTSUPP), ..Answers::default() };
    assert_eq!(capture(&answers), Ok(CapturedXattrs::default()));
    let answers = Answers { list: Some(Errno::ACCESS), ..Answers::default() };
    assert_eq!(capture(&answers), Err(Errno::ACCESS));
}

#[test]
fn more_attributes_than_a_node_holds_are_counted() {
    // 320 short values of 512 bytes are more than 160 KiB with their names.
    let answers = Answers::of((0..320).map(|n| named(&format!("user.{n:03}"), Ok(vec![1; 512]))));
    let captured = capture(&answers).expect("a list");
    let fitting = XATTRS_NODE_BYTES_MAX / (16 + 8 + 512);
    assert_eq!(captured.attributes.len(), fitting);
    assert_eq!(
        captured.problems,
        [format!("{} extended attributes are more than can be stored", 320 - fitting)]
    );
    // Long values take little of the node, but memory.
    let answers = Answers::of((0..70).map(|n| named(&format!("user.{n:03}"), Ok(vec![1; XATTR_BYTES_MAX]))));
    let captured = capture(&answers).expect("a list");
    assert_eq!((captured.attributes.len(), captured.problems.len()), (64, 1));
}
