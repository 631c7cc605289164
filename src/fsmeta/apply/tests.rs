//! Unit tests of applying metadata, on the file system of the temporary directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, OFlags};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;

/// Some user and group that are neither root nor the one who tests.
pub(crate) const SOMEBODY: u32 = 54_321;
/// The user and group of threads without privileges.
const NOBODY: u32 = 65_534;

/// `vfs_cap_data` of the kernel, revision 2: `cap_net_bind_service=ep`.
const BIND_CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const BEFORE_1970: Timestamp = Timestamp { seconds: -86_401, nanoseconds: 123_456_789 };
const ALL: ApplyOptions = ApplyOptions { ownership: true, special: true, removes_xattrs: true };

/// True for root; else says that the test is skipped.
#[track_caller]
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("root");
    }
    is_root
}

#[track_caller]
fn skip(need: &str) {
    let place = std::panic::Location::caller();
    crate::base::skip::skip(need, &format!("the rest of the test at {}:{}", place.file(), place.line()));
}

/// Runs something on a thread without any privilege.
pub(crate) fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    on_thread(|| {
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        work()
    })
}

fn messages(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.message.as_str()).collect()
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// A directory that unprivileged threads may write to.
pub(crate) fn shared_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    directory
}

/// Metadata of the one who runs the current thread.
pub(crate) fn own(mode: u16) -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode, uid, gid, mtime: BEFORE_1970, ..Metadata::default() }
}

/// Metadata of somebody else.
pub(crate) fn foreign(mode: u16) -> Metadata {
    Metadata { uid: SOMEBODY, gid: SOMEBODY + 1, ..own(mode) }
}

/// The value of an ACL: each entry a tag, permissions and a number.
pub(crate) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, number) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(number.to_le_bytes());
    }
    value
}

/// Owner, somebody, group, mask, others.
pub(crate) fn acl_for_somebody(group: u16, mask: u16) -> Vec<u8> {
    const ANYBODY: u32 = u32::MAX;
    acl(&[(1, 6, ANYBODY), (2, 6, SOMEBODY), (4, group, ANYBODY), (16, mask, ANYBODY), (32, 0, ANYBODY)])
}

/// Gives a directory an ACL that new entries inherit; false, with a word, where there are no ACLs.
pub(crate) fn set_default_acl(directory: &Path) -> bool {
    let value = acl_for_somebody(5, 7);
    let set = rustix::fs::setxattr(directory, DEFAULT_ACL, &value, XattrFlags::empty());
    if set.is_err() {
        skip("a file system with access control lists");
    }
    set.is_ok()
}

pub(crate) fn xattr(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(value[..length].to_vec())
}

fn xattrs(pairs: &[(&[u8], &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn new_file(path: &Path) -> OwnedFd {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).unwrap()
}

fn new_directory(path: &Path) -> OwnedFd {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)).unwrap();
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn pinned(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Mode, owner, group, time of change, of the object itself.
fn seen(path: &Path) -> (u32, u32, u32, Timestamp) {
    let stat = rustix::fs::lstat(path).unwrap();
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap();
    (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, Timestamp { seconds: stat.st_mtime, nanoseconds })
}

fn wanted(metadata: &Metadata) -> (u32, u32, u32, Timestamp) {
    (metadata.mode.into(), metadata.uid, metadata.gid, metadata.mtime)
}

const NO_PROBLEM: Vec<Problem> = Vec::new();

#[test]
fn a_file_gets_everything_in_an_order_that_keeps_everything() {
    if !is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let descriptor = new_file(&path);
    let access = acl_for_somebody(4, 5);
    let metadata = foreign(0o6750);
    let xattrs = xattrs(&[
        (CAPABILITY, &BIND_CAPABILITY),
        (ACCESS_ACL, &access),
        (b"trusted.note", b"t"),
        (b"user.note", b"u"),
    ]);
    let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
    assert_eq!(apply_to_fd(descriptor.as_fd(), &attributes, &ALL), NO_PROBLEM);
    assert_eq!(seen(&path), wanted(&metadata));
    assert_eq!(xattr(&path, CAPABILITY).as_deref(), Some(&BIND_CAPABILITY[..]));
    assert_eq!(xattr(&path, b"trusted.note").as_deref(), Some(&b"t"[..]));
    assert_eq!(xattr(&path, b"user.note").as_deref(), Some(&b"u"[..]));
    // The owner's bits of the mode have the last word over those of the ACL.
    let value = xattr(&path, ACCESS_ACL).unwrap();
    assert_eq!(owning_group_bits(&value), 4);
    assert_eq!(value.len(), access.len());
}

#[test]
fn a_directory_gets_its_set_group_id_and_loses_what_it_inherited() {
    if !is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let parent = base.path();
    std::os::unix::fs::chown(parent, None, Some(SOMEBODY)).unwrap();
    rustix::fs::chmod(parent, Mode::from_raw_mode(0o2755)).unwrap();
    for mode in [0o755, 0o2755, 0o1777, 0o000] {
        let path = parent.join(format!("{mode:o}"));
        let descriptor = new_directory(&path);
        assert_eq!(seen(&path).0 & 0o2000, 0o2000, "the system inherits the bit");
        assert_eq!(seen(&path).2, SOMEBODY, "the system inherits the group");
        let metadata = own(mode);
        let attributes = Attributes { metadata: &metadata, xattrs: &[] };
        assert_eq!(apply_to_fd(descriptor.as_fd(), &attributes, &ALL), NO_PROBLEM);
        assert_eq!(seen(&path), wanted(&metadata));
    }
}

#[test]
fn inherited_acls_go_and_stored_ones_come() {
    let base = tempfile::tempdir().unwrap();
    if !set_default_acl(base.path()) {
        return;
    }
    let stored = acl_for_somebody(4, 6);
    for with_stored in [false, true] {
        let (file, directory) =
            (base.path().join(format!("f{with_stored}")), base.path().join(format!("d{with_stored}")));
        let (open_file, open_directory) = (new_file(&file), new_directory(&directory));
        assert!(xattr(&file, ACCESS_ACL).is_some(), "the system inherits the ACL");
        assert!(xattr(&directory, DEFAULT_ACL).is_some(), "the system inherits the default ACL");
        let metadata = own(if with_stored { 0o660 } else { 0o640 });
        let pairs = if with_stored { xattrs(&[(ACCESS_ACL, &stored)]) } else { Vec::new() };
        let attributes = Attributes { metadata: &metadata, xattrs: &pairs };
        for (path, descriptor) in [(&file, open_file), (&directory, open_directory)] {
            assert_eq!(apply_to_fd(descriptor.as_fd(), &attributes, &ALL), NO_PROBLEM);
            assert_eq!(seen(path), wanted(&metadata));
            let expected = with_stored.then_some(&stored[..]);
            assert_eq!(xattr(path, ACCESS_ACL).as_deref(), expected);
            assert_eq!(xattr(path, DEFAULT_ACL), None);
        }
    }
    let fifo = base.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(xattr(&fifo, ACCESS_ACL).is_some(), "the system inherits the ACL");
    let metadata = own(0o622);
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    assert_eq!(apply_to_path_fd(pinned(&fifo).as_fd(), &attributes, &ALL), NO_PROBLEM);
    assert_eq!((seen(&fifo), xattr(&fifo, ACCESS_ACL)), (wanted(&metadata), None));
}

#[test]
fn without_its_acl_a_file_gives_its_group_no_more_than_the_acl_did() {
    let base = tempfile::tempdir().unwrap();
    // The mask allows 6, the owning group 4; without an entry for others the system refuses the whole.
    let refused = acl(&[(1, 6, 0), (2, 6, SOMEBODY), (4, 4, 0), (16, 6, 0)]);
    for (name, value, mode, limit) in [("four", &refused[..], 0o640, "4"), ("none", &b"?"[..], 0o600, "0")] {
        let path = base.path().join(name);
        let descriptor = new_file(&path);
        let metadata = own(0o660);
        let pairs = xattrs(&[(ACCESS_ACL, value)]);
        let attributes = Attributes { metadata: &metadata, xattrs: &pairs };
        let problems = apply_to_fd(descriptor.as_fd(), &attributes, &ALL);
        assert_eq!(seen(&path).0, mode);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].message.starts_with("extended attribute system.posix_acl_access not set: "),
            "{problems:?}"
        );
        assert_eq!(
            problems[1].message,
            format!("group permissions limited to {limit}, because the ACL was not set")
        );
    }
}

#[test]
fn without_privilege_the_owner_stays_and_lends_nobody_its_power() {
    let base = shared_directory();
    let path = base.path().join("file");
    let (problems, owner, group) = unprivileged(|| {
        let descriptor = new_file(&path);
        let metadata = foreign(0o6755);
        let xattrs = xattrs(&[(CAPABILITY, &BIND_CAPABILITY), (b"user.note", b"u")]);
        let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
        let problems = apply_to_fd(descriptor.as_fd(), &attributes, &ALL);
        (problems, rustix::process::geteuid(), rustix::process::getegid())
    });
    let refused = "Operation not permitted (os error 1)";
    assert_eq!(
        messages(&problems),
        [
            format!("owner 54321 not set: {refused}"),
            format!("group 54322 not set: {refused}"),
            format!("set-user-id bit not set, because the owner is {owner} instead of 54321"),
            format!("set-group-id bit not set, because the group is {group} instead of 54322"),
            format!("extended attribute security.capability not set: {refused}"),
        ]
    );
    assert_eq!(seen(&path), (0o755, owner.as_raw(), group.as_raw(), BEFORE_1970));
    assert_eq!(xattr(&path, b"user.note").as_deref(), Some(&b"u"[..]));
}

#[test]
fn without_privilege_everything_of_ones_own_is_set() {
    let base = shared_directory();
    let (file, directory) = (base.path().join("file"), base.path().join("directory"));
    unprivileged(|| {
        // A mode that forbids its owner to write, and an ACL that does so, come after what needs writing.
        let read_only = acl(&[(1, 4, 0), (2, 4, SOMEBODY), (4, 4, 0), (16, 4, 0), (32, 0, 0)]);
        let metadata = own(0o6440);
        let pairs = xattrs(&[(ACCESS_ACL, &read_only), (b"user.note", b"u")]);
        let attributes = Attributes { metadata: &metadata, xattrs: &pairs };
        for (path, descriptor) in [(&file, new_file(&file)), (&directory, new_directory(&directory))] {
            assert_eq!(apply_to_fd(descriptor.as_fd(), &attributes, &ALL), NO_PROBLEM);
            assert_eq!(seen(path), wanted(&metadata));
        }
    });
}

#[test]
fn a_bit_that_the_system_drops_silently_is_told() {
    if !is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let problems = on_thread(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective &= !CapabilitySet::FSETID;
        set_capabilities(None, sets).unwrap();
        let descriptor = new_file(&path);
        let metadata = Metadata { gid: SOMEBODY, ..own(0o2755) };
        apply_to_fd(descriptor.as_fd(), &Attributes { metadata: &metadata, xattrs: &[] }, &ALL)
    });
    assert_eq!(messages(&problems), ["mode is 0755 instead of 2755"]);
    assert_eq!(seen(&path).0, 0o755);
}

#[test]
fn what_gives_power_is_left_out_on_request_without_a_word() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let descriptor = new_file(&path);
    let metadata = own(0o7755);
    let xattrs = xattrs(&[(CAPABILITY, &BIND_CAPABILITY), (b"security.note", b"s"), (b"trusted.note", b"t")]);
    let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
    let options = ApplyOptions { special: false, ..ALL };
    assert_eq!(apply_to_fd(descriptor.as_fd(), &attributes, &options), NO_PROBLEM);
    assert_eq!(seen(&path).0, 0o1755);
    for (name, _) in &xattrs {
        assert_eq!(xattr(&path, name), None);
    }
}

#[test]
fn ownership_is_left_alone_on_request() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let descriptor = new_file(&path);
    let metadata = foreign(0o4755);
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    let options = ApplyOptions { ownership: false, ..ALL };
    let owner = own(0).uid;
    assert_eq!(
        messages(&apply_to_fd(descriptor.as_fd(), &attributes, &options)),
        [format!("set-user-id bit not set, because the owner is {owner} instead of 54321")]
    );
    assert_eq!(seen(&path), (0o755, owner, own(0).gid, BEFORE_1970));
    let path = base.path().join("directory");
    let metadata = foreign(0o2755);
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    assert_eq!(apply_to_fd(new_directory(&path).as_fd(), &attributes, &options), NO_PROBLEM);
    assert_eq!(seen(&path).0, 0o2755);
}

#[test]
fn a_symbolic_link_gets_attributes_itself() {
    let base = tempfile::tempdir().unwrap();
    let (aim, link) = (base.path().join("aim"), base.path().join("link"));
    drop(new_file(&aim));
    let before = seen(&aim);
    std::os::unix::fs::symlink("aim", &link).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let metadata = if is_root { foreign(0o777) } else { own(0o777) };
    let mut pairs = xattrs(&[(b"user.note", b"u")]);
    if is_root {
        pairs.insert(0, (b"trusted.note".to_vec(), b"t".to_vec()));
    }
    let attributes = Attributes { metadata: &metadata, xattrs: &pairs };
    assert_eq!(
        messages(&apply_to_path_fd(pinned(&link).as_fd(), &attributes, &ALL)),
        ["extended attribute user.note not set: Operation not permitted (os error 1)"]
    );
    assert_eq!(seen(&link), wanted(&metadata));
    assert_eq!(xattr(&link, b"trusted.note"), is_root.then(|| b"t".to_vec()));
    assert_eq!(seen(&aim), before);
    assert_eq!(xattr(&aim, b"trusted.note"), None);
}

#[test]
fn a_named_pipe_gets_attributes_without_being_opened() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let metadata = if rustix::process::geteuid().is_root() { foreign(0o4666) } else { own(0o4666) };
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    assert_eq!(apply_to_path_fd(pinned(&path).as_fd(), &attributes, &ALL), NO_PROBLEM);
    assert_eq!(seen(&path), wanted(&metadata));
}

#[test]
fn refused_attributes_are_named_with_the_reason() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let descriptor = new_file(&path);
    let metadata = Metadata { uid: u32::MAX, gid: u32::MAX, ..own(0o644) };
    let xattrs = xattrs(&[(b"nonsense.\xff", b"n"), (b"user.note", b"u")]);
    let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
    assert_eq!(
        messages(&apply_to_fd(descriptor.as_fd(), &attributes, &ALL)),
        [
            "owner 4294967295 not set: Invalid argument (os error 22)",
            "group 4294967295 not set: Invalid argument (os error 22)",
            "extended attribute nonsense.\\xff not set: Operation not supported (os error 95)",
        ]
    );
    assert_eq!(seen(&path).0, 0o644);
    assert_eq!(xattr(&path, b"user.note").as_deref(), Some(&b"u"[..]));
}

#[test]
fn a_time_that_is_not_kept_exactly_is_told() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    let descriptor = new_file(&path);
    for seconds in [i64::MIN, -1 << 40, -1, 0, 1 << 31, 1 << 34, 1 << 50, i64::MAX] {
        for nanoseconds in [0, 1, 999_999_999] {
            let mtime = Timestamp { seconds, nanoseconds };
            let metadata = Metadata { mtime, ..own(0o600) };
            let attributes = Attributes { metadata: &metadata, xattrs: &[] };
            let problems = apply_to_fd(descriptor.as_fd(), &attributes, &ALL);
            let actual = seen(&path).3;
            let expected = (actual != mtime).then(|| {
                let (actual, mtime) = (show_time(actual), show_time(mtime));
                format!("time of change is {actual} instead of {mtime} seconds after 1970")
            });
            assert_eq!(messages(&problems), Vec::from_iter(expected));
        }
    }
    let before = seen(&path).3;
    // The number by which the system is told to take the current time.
    let mtime = Timestamp { seconds: 5, nanoseconds: 0x3fff_ffff };
    let metadata = Metadata { mtime, ..own(0o600) };
    let problems = apply_to_fd(descriptor.as_fd(), &Attributes { metadata: &metadata, xattrs: &[] }, &ALL);
    assert_eq!(messages(&problems), ["time of change not set: 1073741823 nanoseconds in a second"]);
    assert_eq!(seen(&path).3, before);
}

#[test]
fn times_are_shown_as_one_number() {
    let show = |seconds, nanoseconds| show_time(Timestamp { seconds, nanoseconds });
    assert_eq!(show(0, 0), "0.000000000");
    assert_eq!(show(12, 5), "12.000000005");
    assert_eq!(show(-1, 999_999_999), "-0.000000001");
    assert_eq!(show(-2, 0), "-2.000000000");
}
