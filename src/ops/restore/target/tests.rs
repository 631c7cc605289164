//! Unit tests of the target tree: what is made, what is refused, how directories are found again.

mod attacks;
mod existing;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use crate::base::Timestamp;
use crate::format::node::Metadata;
use crate::fsmeta::apply::tests::{
    SOMEBODY, foreign, is_root, own, set_default_acl, shared_directory, unprivileged, xattr,
};

use super::*;

const ROOT: DirectoryNumber = DirectoryNumber::ROOT;
const ALL: ApplyOptions = ApplyOptions { ownership: true, special: true, removes_xattrs: true };
/// What kind of object has a name.
fn existing(target: &Target, parent: DirectoryNumber, name: &[u8]) -> Option<Existing> {
    target.examine(parent, name).unwrap().map(|found| found.kind)
}

const NO_PROBLEM: Vec<Problem> = Vec::new();

const fn plain(metadata: &Metadata) -> Attributes<'_> {
    Attributes { metadata, xattrs: &[] }
}

fn kind_of<T>(result: Result<T>) -> ErrorKind {
    result.map(drop).expect_err("must be refused").kind()
}

fn write_file(target: &Target, parent: DirectoryNumber, name: &[u8], bytes: &[u8]) -> Result<FileIdentity> {
    let file = target.create_file(parent, name, bytes.len() as u64)?;
    file.write_at(bytes, 0)?;
    Ok(file.identity())
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_missing_target_is_made_for_the_owner_only() {
    let base = tempfile::tempdir().unwrap();
    let real = base.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink("real", base.path().join("named")).unwrap();
    let path = base.path().join("named/a/b");
    for _ in 0..2 {
        let target = Target::open(&path).unwrap();
        assert_eq!(existing(&target, ROOT, b"x"), None);
    }
    assert_eq!((mode_of(&real.join("a")), mode_of(&real.join("a/b"))), (0o700, 0o700));

    fs::write(base.path().join("file"), b"").unwrap();
    symlink("nowhere", base.path().join("dangling")).unwrap();
    for in_the_way in ["file", "file/below", "dangling"] {
        let refused = Target::open(&base.path().join(in_the_way));
        assert_eq!(kind_of(refused), ErrorKind::Exists, "{in_the_way}");
    }
}

#[test]
fn a_tree_is_written_as_it_was_stored() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let outer = target.create_directory(ROOT, b"outer").unwrap().0;
    let inner = target.create_directory(outer, b"in\xffner").unwrap().0;
    let file = target.create_file(inner, b"file", 3 << 20).unwrap();
    file.write_at(b"end", (3 << 20) - 3).unwrap();
    file.write_at(b"", 3 << 20).unwrap();
    let identity = file.identity();
    assert_eq!(file.size(), 3 << 20);
    assert_eq!(file.finish(&plain(&own(0o640)), &ALL), NO_PROBLEM);
    let link = target.create_symlink(outer, b"link", b"/no/where", &plain(&own(0o777)), &ALL).unwrap();
    target.create_hard_link((inner, b"file"), identity, (ROOT, b"second")).unwrap();
    target.create_hard_link((outer, b"link"), link.identity, (ROOT, b"link 2")).unwrap();
    let fifo = target.create_special(outer, b"fifo", &NodeKind::Fifo, &plain(&own(0o604)), &ALL).unwrap();
    target.create_special(outer, b"socket", &NodeKind::Socket, &plain(&own(0o640)), &ALL).unwrap();
    assert_eq!((fifo.problems, link.problems), (NO_PROBLEM, NO_PROBLEM));
    for number in [inner, outer, ROOT] {
        assert_eq!(target.finish_directory(number, true, &plain(&own(0o751)), &ALL), NO_PROBLEM);
    }
    target.sync().unwrap();

    let path = base.path().join("second");
    let stat = fs::symlink_metadata(&path).unwrap();
    assert_eq!((stat.len(), stat.nlink(), stat.mode() & 0o7777), (3 << 20, 2, 0o640));
    assert!(stat.blocks() * 512 < 1 << 20, "the hole is written out: {} blocks", stat.blocks());
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.ends_with(b"end") && bytes[..bytes.len() - 3].iter().all(|byte| *byte == 0));
    let outer = base.path().join("outer");
    for name in ["outer/link", "link 2"] {
        assert_eq!(fs::read_link(base.path().join(name)).unwrap(), Path::new("/no/where"));
    }
    assert!(fs::symlink_metadata(outer.join("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(outer.join("socket")).unwrap().file_type().is_socket());
    for directory in [base.path(), &outer] {
        let stat = fs::symlink_metadata(directory).unwrap();
        let mtime = own(0).mtime;
        assert_eq!(stat.mode() & 0o7777, 0o751);
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (mtime.seconds, mtime.nanoseconds.into()));
    }
}

#[test]
fn until_it_is_finished_everything_is_for_the_owner_only() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    target.create_directory(ROOT, b"directory").unwrap();
    write_file(&target, ROOT, b"file", b"secret").unwrap();
    assert_eq!(mode_of(&base.path().join("directory")), 0o700);
    assert_eq!(mode_of(&base.path().join("file")), 0o1600);
}

#[test]
fn devices_are_made_with_privilege_and_only_with_their_own_number() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let metadata = own(0o660);
    let make =
        |name: &[u8], kind, options| target.create_special(ROOT, name, &kind, &plain(&metadata), options);
    let character = NodeKind::CharacterDevice { major: 1, minor: 3 };
    let block = NodeKind::BlockDevice { major: 7, minor: 300 };
    let without = ApplyOptions { special: false, ..ALL };
    assert_eq!(kind_of(make(b"left out", character.clone(), &without)), ErrorKind::Usage);
    assert_eq!(kind_of(make(b"no special", NodeKind::Symlink(b"x".to_vec()), &ALL)), ErrorKind::Usage);
    if is_root() {
        assert_eq!(make(b"character", character, &ALL).unwrap().problems, NO_PROBLEM);
        assert_eq!(make(b"block", block, &ALL).unwrap().problems, NO_PROBLEM);
        let stat = fs::symlink_metadata(base.path().join("character")).unwrap();
        assert!(stat.file_type().is_char_device());
        assert_eq!((stat.rdev(), stat.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o660));
        let stat = fs::symlink_metadata(base.path().join("block")).unwrap();
        assert!(stat.file_type().is_block_device());
        assert_eq!(stat.rdev(), rustix::fs::makedev(7, 300));
        let impossible = NodeKind::BlockDevice { major: 1 << 20, minor: 1 };
        assert_eq!(kind_of(make(b"impossible", impossible, &ALL)), ErrorKind::Unsupported);
    } else {
        assert_eq!(kind_of(make(b"character", character, &ALL)), ErrorKind::Denied);
    }
    for name in ["left out", "no special", "impossible"] {
        assert_eq!(existing(&target, ROOT, name.as_bytes()), None);
    }
}

#[test]
fn nothing_that_has_a_name_is_overwritten() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let at = |name: &str| base.path().join(name);
    fs::write(at("file"), b"kept").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("directory", at("to directory")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let metadata = own(0o600);
    let ours = write_file(&target, ROOT, b"ours", b"ours").unwrap();
    for name in ["file", "directory", "to directory", "dangling"] {
        let bytes = name.as_bytes();
        let refused = [
            kind_of(target.create_file(ROOT, bytes, 1)),
            kind_of(target.create_symlink(ROOT, bytes, b"t", &plain(&metadata), &ALL)),
            kind_of(target.create_special(ROOT, bytes, &NodeKind::Fifo, &plain(&metadata), &ALL)),
            kind_of(target.create_hard_link((ROOT, b"ours"), ours, (ROOT, bytes))),
        ];
        assert_eq!(refused, [ErrorKind::Exists; 4], "{name}");
        if name != "directory" {
            assert_eq!(kind_of(target.create_directory(ROOT, bytes)), ErrorKind::Exists, "{name}");
            assert_eq!(kind_of(target.enter(ROOT, bytes)), ErrorKind::Exists, "{name}");
        }
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(at("directory")).unwrap().count(), 0);
    assert!(!at("nowhere").exists());
}

#[test]
fn existing_directories_are_walked_without_being_changed() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("a/b/file"), b"kept").unwrap();
    symlink("b", at("a/link")).unwrap();
    let target = Target::open(base.path()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("a/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let outer = target.enter(ROOT, b"a").unwrap().unwrap();
    let inner = target.enter(outer, b"b").unwrap().unwrap();
    assert_eq!(target.enter(inner, b"c").unwrap(), None);
    assert_eq!(kind_of(target.enter(inner, b"file")), ErrorKind::Exists);
    let existing = |parent, name: &[u8]| existing(&target, parent, name);
    assert_eq!(existing(ROOT, b"a"), Some(Existing::Directory));
    assert_eq!(existing(inner, b"file"), Some(Existing::File));
    assert_eq!(existing(outer, b"link"), Some(Existing::Symlink));
    assert_eq!(existing(outer, b"fifo"), Some(Existing::Fifo));
    assert_eq!(existing(inner, b"c"), None);
    let again = target.create_directory(ROOT, b"a").unwrap().0;
    write_file(&target, again, b"new", b"n").unwrap();
    assert_eq!(mode_of(&at("a")), 0o755);
    assert_eq!(target.finish_directory(again, true, &plain(&own(0o711)), &ALL), NO_PROBLEM);
    assert_eq!(mode_of(&at("a")), 0o711);
    assert_eq!(fs::read(at("a/b/file")).unwrap(), b"kept");
}

#[test]
fn a_name_is_a_single_component() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(&base.path().join("target")).unwrap();
    let metadata = own(0o600);
    let ours = write_file(&target, ROOT, b"ours", b"ours").unwrap();
    for name in [&b""[..], b".", b"..", b"../x", b"/x", b"a/b", b"a\0b", &[b'n'; 256]] {
        let refused = [
            kind_of(target.examine(ROOT, name)),
            kind_of(target.enter(ROOT, name)),
            kind_of(target.create_directory(ROOT, name)),
            kind_of(target.create_file(ROOT, name, 1)),
            kind_of(target.reopen_file(ROOT, name, ours)),
            kind_of(target.remove_file(ROOT, name, ours)),
            kind_of(target.create_symlink(ROOT, name, b"t", &plain(&metadata), &ALL)),
            kind_of(target.create_special(ROOT, name, &NodeKind::Fifo, &plain(&metadata), &ALL)),
            kind_of(target.create_hard_link((ROOT, name), ours, (ROOT, b"x"))),
            kind_of(target.create_hard_link((ROOT, b"ours"), ours, (ROOT, name))),
        ];
        assert_eq!(refused, [ErrorKind::Damaged; 10], "{name:?}");
    }
    assert_eq!(fs::read_dir(base.path().join("target")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_written_only_within_its_size_and_opened_again() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let file = target.create_file(ROOT, b"file", 10).unwrap();
    file.write_at(b"01234", 0).unwrap();
    for (bytes, offset) in [(&b"x"[..], 10), (b"xx", 9), (b"x", u64::MAX)] {
        assert_eq!(kind_of(file.write_at(bytes, offset)), ErrorKind::Failed);
    }
    let identity = file.identity();
    drop(file);
    let file = target.reopen_file(ROOT, b"file", identity).unwrap();
    assert_eq!((file.size(), file.identity()), (10, identity));
    file.write_at(b"56789", 5).unwrap();
    assert_eq!(file.finish(&plain(&own(0o444)), &ALL), NO_PROBLEM);
    assert_eq!(fs::read(base.path().join("file")).unwrap(), b"0123456789");
    target.remove_file(ROOT, b"file", identity).unwrap();
    assert_eq!(existing(&target, ROOT, b"file"), None);
    assert_eq!(kind_of(target.reopen_file(ROOT, b"file", identity)), ErrorKind::NotFound);
}

#[test]
fn a_size_that_cannot_be_leaves_no_file() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    assert_eq!(kind_of(target.create_file(ROOT, b"file", u64::MAX)), ErrorKind::Failed);
    assert_eq!(existing(&target, ROOT, b"file"), None);
}

#[test]
fn a_full_disk_is_told_as_such() {
    let descriptor = rustix::fs::open("/dev/full", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let stat = rustix::fs::fstat(&descriptor).unwrap();
    let (identity, before) = (FileIdentity::of(&stat), Before::of(&stat));
    let file = TargetFile { descriptor, identity, before, size: 10, name: b"file"[..].into() };
    assert_eq!(kind_of(file.write_at(b"x", 0)), ErrorKind::OutOfSpace);
}

#[test]
fn owner_bits_and_capabilities_survive_the_way_through_the_target() {
    if !is_root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    if !set_default_acl(base.path()) {
        return;
    }
    let target = Target::open(base.path()).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let xattrs = [(b"security.capability".to_vec(), capability.clone())];
    let directory = target.create_directory(ROOT, b"directory").unwrap().0;
    let metadata = foreign(0o4755);
    let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
    let file = target.create_file(directory, b"file", 4).unwrap();
    file.write_at(b"data", 0).unwrap();
    drop(file.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(file.finish(&attributes, &ALL), NO_PROBLEM);
    let fifo = target.create_special(directory, b"fifo", &NodeKind::Fifo, &plain(&metadata), &ALL).unwrap();
    let link = target.create_symlink(directory, b"link", b"file", &plain(&metadata), &ALL).unwrap();
    assert_eq!((fifo.problems, link.problems), (NO_PROBLEM, NO_PROBLEM));
    let group_directory = foreign(0o2750);
    assert_eq!(target.finish_directory(directory, true, &plain(&group_directory), &ALL), NO_PROBLEM);
    let at = |name: &str| base.path().join("directory").join(name);
    for (name, mode) in [("file", 0o4755), ("fifo", 0o4755), ("", 0o2750)] {
        let stat = fs::symlink_metadata(at(name)).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (mode, SOMEBODY, SOMEBODY + 1), "{name}");
        assert_eq!(xattr(&at(name), b"system.posix_acl_access"), None, "{name}");
        assert_eq!(xattr(&at(name), b"system.posix_acl_default"), None, "{name}");
    }
    assert_eq!(xattr(&at("file"), b"security.capability"), Some(capability));
}

#[test]
fn acls_are_taken_away_where_a_directory_gives_them_and_looked_for_nowhere_else() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    for name in ["giving", "plain"] {
        fs::create_dir(at(name)).unwrap();
    }
    if !set_default_acl(&at("giving")) {
        return;
    }
    // With a single descriptor kept, each directory is opened and asked again.
    for open_max in [1, 8] {
        let target = Target::open_bounded(base.path(), open_max).unwrap();
        let enter = |name: &[u8]| target.enter(ROOT, name).unwrap().unwrap();
        let (giving, plain_one) = (enter(b"giving"), enter(b"plain"));
        let below = target.create_directory(giving, format!("below {open_max}").as_bytes()).unwrap().0;
        for round in 0..2 {
            for (directory, gives) in [(giving, true), (plain_one, false), (below, true), (ROOT, false)] {
                let name = format!("{open_max} {round}");
                let file = target.create_empty_file(directory, name.as_bytes(), 1).unwrap();
                assert_eq!(file.before.may_have_acl, gives, "{directory:?}");
                file.write_at(b"x", 0).unwrap();
                let identity = file.identity();
                drop(file);
                let file = target.reopen_file(directory, name.as_bytes(), identity).unwrap();
                assert_eq!(file.before.may_have_acl, gives, "{directory:?}");
                assert_eq!(file.finish(&plain(&own(0o640)), &ALL), NO_PROBLEM);
            }
        }
        for folder in ["giving", "plain", &format!("giving/below {open_max}"), ""] {
            let path = at(folder).join(format!("{open_max} 1"));
            assert_eq!((mode_of(&path), xattr(&path, b"system.posix_acl_access")), (0o640, None), "{folder}");
        }
    }
}

#[test]
fn a_file_that_is_written_at_once_is_empty_until_then() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let file = target.create_empty_file(ROOT, b"file", 4).unwrap();
    let path = base.path().join("file");
    let stat = fs::symlink_metadata(&path).unwrap();
    assert_eq!((stat.len(), stat.mode() & 0o7777), (0, 0o1600));
    assert_eq!((file.size(), kind_of(file.write_at(b"12345", 0))), (4, ErrorKind::Failed));
    file.write_at(b"1234", 0).unwrap();
    assert_eq!(file.finish(&plain(&own(0o604)), &ALL), NO_PROBLEM);
    assert_eq!((fs::read(&path).unwrap(), mode_of(&path)), (b"1234".to_vec(), 0o604));
}

#[test]
fn without_privilege_a_tree_is_restored_too() {
    let base = shared_directory();
    let mtime = Timestamp { seconds: 1, nanoseconds: 2 };
    unprivileged(|| {
        let target = Target::open_bounded(&base.path().join("target"), 1).unwrap();
        let outer = target.create_directory(ROOT, b"outer").unwrap().0;
        let inner = target.create_directory(outer, b"inner").unwrap().0;
        let file = target.create_file(inner, b"file", 1).unwrap();
        file.write_at(b"x", 0).unwrap();
        let metadata = Metadata { mtime, ..own(0o400) };
        assert_eq!(file.finish(&plain(&metadata), &ALL), NO_PROBLEM);
        for number in [inner, outer, ROOT] {
            let metadata = Metadata { mtime, ..own(0o500) };
            assert_eq!(target.finish_directory(number, true, &plain(&metadata), &ALL), NO_PROBLEM);
        }
        let path = base.path().join("target/outer/inner/file");
        assert_eq!(mode_of(&path), 0o400);
        for directory in path.ancestors().skip(1).take(3) {
            assert_eq!(fs::symlink_metadata(directory).unwrap().mtime_nsec(), 2);
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
        }
    });
}

#[test]
fn the_umask_does_not_matter() {
    // The umask belongs to the whole process, so the test runs itself again in processes of their own.
    const UMASKS: [&str; 2] = ["0777", "0377"];
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if UMASKS.iter().any(|umask| status.contains(&format!("Umask:\t{umask}\n"))) {
        under_a_tight_umask();
        return;
    }
    for umask in UMASKS {
        let this = "ops::restore::target::tests::the_umask_does_not_matter";
        let output = std::process::Command::new("sh")
            .args(["-c", "umask \"$1\"; exec \"$0\" --exact \"$2\""])
            .arg(std::env::current_exe().unwrap())
            .args([umask, this])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && printed.contains("1 passed"), "{umask}: {printed}");
    }
}

fn under_a_tight_umask() {
    let base = shared_directory();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let parent = base.path().join("parent");
    unprivileged(|| {
        fs::create_dir(&parent).unwrap();
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o700)).unwrap();
        let target = Target::open(&parent).unwrap();
        let directory = target.create_directory(ROOT, b"directory").unwrap().0;
        let identity = write_file(&target, directory, b"file", b"12").unwrap();
        let file = target.reopen_file(directory, b"file", identity).unwrap();
        assert_eq!(file.finish(&plain(&own(0o644)), &ALL), NO_PROBLEM);
        let fifo = target.create_special(directory, b"fifo", &NodeKind::Fifo, &plain(&own(0o622)), &ALL);
        assert_eq!(fifo.unwrap().problems, NO_PROBLEM);
        assert_eq!(target.finish_directory(directory, true, &plain(&own(0o755)), &ALL), NO_PROBLEM);
        let path = parent.join("directory");
        assert_eq!(mode_of(&path), 0o755);
        assert_eq!((mode_of(&path.join("file")), mode_of(&path.join("fifo"))), (0o644, 0o622));
    });
}

#[test]
fn closed_directories_are_found_again_and_few_stay_open() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open_bounded(base.path(), 2).unwrap();
    let mut numbers = Vec::new();
    for first in 0..4 {
        let outer = target.create_directory(ROOT, format!("{first}").as_bytes()).unwrap().0;
        for second in 0..4 {
            let middle = target.create_directory(outer, format!("{second}").as_bytes()).unwrap().0;
            let inner = target.create_directory(middle, b"inner").unwrap().0;
            numbers.push((inner, format!("{first}/{second}/inner")));
        }
    }
    for round in 0..7 {
        for step in 0..numbers.len() {
            let (number, path) = &numbers[(step * 5 + round) % numbers.len()];
            let name = format!("{round}");
            write_file(&target, *number, name.as_bytes(), path.as_bytes()).unwrap();
            assert!(target.directories.open_count() <= 2);
        }
    }
    for (number, path) in &numbers {
        for round in 0..7 {
            let bytes = fs::read(base.path().join(path).join(format!("{round}"))).unwrap();
            assert_eq!(bytes, path.as_bytes());
        }
        assert_eq!(target.finish_directory(*number, true, &plain(&own(0o755)), &ALL), NO_PROBLEM);
    }
    assert_eq!(kind_of(target.create_file(DirectoryNumber::of_test(10_000), b"x", 1)), ErrorKind::Usage);
}

#[test]
fn what_is_left_is_forgotten() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open_bounded(base.path(), 2).unwrap();
    let outer = target.create_directory(ROOT, b"outer").unwrap().0;
    for round in 0..20 {
        let inner = target.create_directory(outer, format!("{round}").as_bytes()).unwrap().0;
        write_file(&target, inner, b"file", b"x").unwrap();
        assert_eq!(target.finish_directory(inner, true, &plain(&own(0o755)), &ALL), NO_PROBLEM);
        target.leave(inner);
        assert_eq!(target.directories.known_count(), 1);
        assert_eq!(kind_of(target.create_file(inner, b"x", 1)), ErrorKind::Usage);
    }
    target.leave(outer);
    target.leave(ROOT);
    assert_eq!(target.directories.known_count(), 0);
    write_file(&target, ROOT, b"file", b"the root stays").unwrap();
}

#[test]
fn what_was_looked_at_is_replaced_and_nothing_else() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let at = |name: &str| base.path().join(name);
    fs::write(at("file"), b"old").unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir_all(at("full/below")).unwrap();
    symlink("file", at("link")).unwrap();
    let temporary = || {
        let name = target.temporary_name();
        let identity = write_file(&target, ROOT, &name, b"new").unwrap();
        (name, identity)
    };
    for name in ["file", "empty", "link"] {
        let found = target.examine(ROOT, name.as_bytes()).unwrap().unwrap();
        let (made, identity) = temporary();
        target.replace(ROOT, (&made, identity), name.as_bytes(), &found).unwrap();
        assert_eq!(target.examine(ROOT, &made).unwrap(), None);
        let now = fs::symlink_metadata(at(name)).unwrap();
        assert!(now.is_file() && now.ino() == identity.inode, "{name}");
    }
    let found = target.examine(ROOT, b"full").unwrap().unwrap();
    let (made, identity) = temporary();
    assert_eq!(kind_of(target.replace(ROOT, (&made, identity), b"full", &found)), ErrorKind::Exists);
    assert!(at("full/below").is_dir());

    // Something else took the name since.
    let found = target.examine(ROOT, b"file").unwrap().unwrap();
    fs::write(at("other"), b"somebody's").unwrap();
    fs::rename(at("other"), at("file")).unwrap();
    assert_eq!(kind_of(target.replace(ROOT, (&made, identity), b"file", &found)), ErrorKind::Exists);
    assert_eq!(fs::read(at("file")).unwrap(), b"somebody's");
    // It went away.
    fs::remove_file(at("file")).unwrap();
    target.replace(ROOT, (&made, identity), b"file", &found).unwrap();
    assert_eq!(fs::read(at("file")).unwrap(), b"new");
    // What was made is not what has the temporary name any more.
    let found = target.examine(ROOT, b"file").unwrap().unwrap();
    let (made, identity) = temporary();
    fs::rename(base.path().join(std::str::from_utf8(&made).unwrap()), at("aside")).unwrap();
    write_file(&target, ROOT, &made, b"a stranger's").unwrap();
    assert_eq!(kind_of(target.replace(ROOT, (&made, identity), b"file", &found)), ErrorKind::Failed);
}

#[test]
fn metadata_alone_is_set_only_on_a_file_without_further_names() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let at = |name: &str| base.path().join(name);
    fs::write(at("file"), b"content").unwrap();
    let found = target.examine(ROOT, b"file").unwrap().unwrap();
    let metadata = own(0o640);
    let update = |name: &[u8], identity| target.update_file(ROOT, name, identity, &plain(&metadata), &ALL);
    assert_eq!(update(b"file", found.identity).unwrap(), NO_PROBLEM);
    assert_eq!((mode_of(&at("file")), fs::read(at("file")).unwrap()), (0o640, b"content".to_vec()));
    fs::hard_link(at("file"), at("second")).unwrap();
    assert_eq!(kind_of(update(b"file", found.identity)), ErrorKind::Failed);
    fs::remove_file(at("second")).unwrap();
    fs::rename(at("file"), at("aside")).unwrap();
    symlink("aside", at("file")).unwrap();
    assert_eq!(kind_of(update(b"file", found.identity)), ErrorKind::Failed);
    assert_eq!(kind_of(update(b"missing", found.identity)), ErrorKind::NotFound);
}

#[test]
fn many_threads_write_through_one_target() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open_bounded(base.path(), 1).unwrap();
    let shared: Vec<_> =
        (0..3).map(|name| target.create_directory(ROOT, &[b'a' + name]).unwrap().0).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (target, shared) = (&target, &shared);
            scope.spawn(move || {
                for round in 0..60 {
                    let name = format!("{thread}-{round}");
                    let outer = shared[(thread + round) % shared.len()];
                    let own_directory = target.create_directory(outer, name.as_bytes()).unwrap().0;
                    write_file(target, own_directory, b"file", name.as_bytes()).unwrap();
                    assert_eq!(
                        target.finish_directory(own_directory, true, &plain(&own(0o755)), &ALL),
                        NO_PROBLEM
                    );
                }
            });
        }
    });
    for (thread, round) in (0..4).flat_map(|thread| (0..60).map(move |round| (thread, round))) {
        let name = format!("{thread}-{round}");
        let outer = ["a", "b", "c"][(thread + round) % 3];
        assert_eq!(fs::read(base.path().join(outer).join(&name).join("file")).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_tree_deeper_than_any_path_is_restored() {
    const DEPTH: usize = 2500;
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(base.path()).unwrap();
    let name = [b'n'; 200];
    let mut numbers = vec![ROOT];
    for depth in 0..DEPTH {
        numbers.push(target.create_directory(numbers[depth], &name).unwrap().0);
    }
    // Twice at the bottom with the top between, so that the whole way down is walked again.
    for (name, number) in [("1", numbers[DEPTH]), ("2", numbers[1]), ("3", numbers[DEPTH])] {
        write_file(&target, number, name.as_bytes(), b"deep").unwrap();
    }
    let error = target.create_file(numbers[DEPTH], b"3", 1).expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::Exists);
    let shown = error.to_string();
    assert!(shown.len() < 2000 && shown.contains("…/") && shown.ends_with("/3"), "{shown}");
    for number in numbers.iter().rev() {
        assert_eq!(target.finish_directory(*number, true, &plain(&own(0o711)), &ALL), NO_PROBLEM);
    }
    let top = base.path().join(String::from_utf8_lossy(&name).as_ref());
    assert_eq!(mode_of(&top), 0o711);
    // The usual ways of removing a tree hold every level open.
    let aside = base.path().join("aside");
    for _ in 0..DEPTH {
        if let Err(last) = fs::rename(top.join(top.file_name().unwrap()), &aside) {
            assert_eq!(last.kind(), std::io::ErrorKind::NotFound);
            break;
        }
        fs::remove_dir_all(&top).unwrap();
        fs::rename(&aside, &top).unwrap();
    }
}
