//! What holds of files only: modes, odd things in an object's place, full disks, other ways of publishing.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::storage::contract::check_contract;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect(text)
}

fn opened() -> (TempDir, Local) {
    let directory = TempDir::new().unwrap();
    let local = Local::open(directory.path()).unwrap();
    (directory, local)
}

fn put(local: &Local, text: &str, bytes: &'static [u8]) -> Result<()> {
    local.put_if_absent(&name(text), &[Bytes::from_static(bytes)])
}

fn listed(local: &Local, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    local.list(folder, None, &mut |object| {
        names.push(object.name.to_string());
        Ok(())
    })?;
    Ok(names)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Nothing unfinished is left below a directory.
fn assert_swept(directory: &Path) {
    assert_eq!(names_in(&directory.join("tmp")), [""; 0]);
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn assert_kind<T: Debug>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(result.expect_err("it fails").kind(), kind);
}

#[test]
fn the_contract_is_kept_however_objects_are_published_and_synced() {
    for (publish_by, barrier_by) in [
        (None, BarrierBy::FileSystem),
        (Some(PublishBy::Link), BarrierBy::Directories),
        (Some(PublishBy::CheckThenRename), BarrierBy::FileSystem),
    ] {
        let (directory, mut local) = opened();
        local.barrier_by = barrier_by;
        if let Some(publish_by) = publish_by {
            local.publish_by.set(publish_by).unwrap();
        }
        check_contract(&local, "local", &mut |_| ()).unwrap();
        let is_atomic = publish_by != Some(PublishBy::CheckThenRename);
        assert_eq!(local.capabilities().atomic_create, Some(is_atomic));
        assert_eq!(names_in(directory.path()), ["tmp"], "{publish_by:?}");
        assert_swept(directory.path());
    }
}

#[test]
fn only_the_owner_may_read() {
    let parent = TempDir::new().unwrap();
    let root = parent.path().join("new/repository");
    let local = Local::create(&root).unwrap();
    put(&local, "a/b/c", b"secret").unwrap();
    for directory in ["", "a", "a/b", "tmp"] {
        assert_eq!(mode(&root.join(directory)), 0o700, "{directory}");
    }
    assert_eq!(mode(&parent.path().join("new")), 0o700);
    assert_eq!(mode(&root.join("a/b/c")), 0o600);
    assert_eq!(local.location(), root.to_str().unwrap());
}

#[test]
fn only_an_unused_directory_becomes_a_storage() {
    let parent = TempDir::new().unwrap();
    let root = parent.path().join("root");
    assert_kind(Local::open(&root), ErrorKind::NotFound);
    for unused in ["lost+found", "keys", "tmp"] {
        fs::create_dir_all(root.join(unused)).unwrap();
    }
    fs::write(root.join("lost+found/#12"), b"").unwrap();
    fs::write(root.join("tmp").join("0123456789abcdef".repeat(2)), b"").unwrap();
    Local::create(&root).unwrap();
    for used in ["Documents", "file", "keys/one", "tmp/mine", "keys/folder", ".hidden"] {
        let path = root.join(used);
        match used {
            "Documents" | "keys/folder" => fs::create_dir(&path).unwrap(),
            _ => fs::write(&path, b"").unwrap(),
        }
        assert_kind(Local::create(&root), ErrorKind::Exists);
        Local::open(&root).unwrap();
        if path.is_dir() { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    Local::create(&root).unwrap();
    fs::write(parent.path().join("file"), b"").unwrap();
    assert_kind(Local::create(&parent.path().join("file")), ErrorKind::Failed);
    assert_kind(Local::open(&parent.path().join("file")), ErrorKind::Failed);
}

#[test]
fn opening_and_reading_writes_nothing() {
    let (directory, local) = opened();
    assert_kind(local.get(&name("a/b"), 1), ErrorKind::NotFound);
    assert_kind(local.delete(&name("a/b")), ErrorKind::NotFound);
    assert_eq!(listed(&local, "a").unwrap(), [""; 0]);
    local.barrier().unwrap();
    assert_eq!(names_in(directory.path()), [""; 0]);
}

#[test]
fn what_is_no_regular_file_is_damage_and_is_neither_followed_nor_waited_for() {
    let (directory, local) = opened();
    put(&local, "a/real", b"real").unwrap();
    let at = |text: &str| directory.path().join(text);
    symlink("real", at("a/link")).unwrap();
    symlink("nowhere", at("a/dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("a/fifo"), Mode::RWXU).unwrap();
    let _socket = UnixListener::bind(at("a/socket")).unwrap();
    fs::create_dir(at("a/directory")).unwrap();
    assert!(fs::metadata(at("a/fifo")).unwrap().file_type().is_fifo());
    for odd in ["a/link", "a/dangling", "a/fifo", "a/socket", "a/directory"] {
        assert_kind(local.get(&name(odd), u64::MAX), ErrorKind::Damaged);
        assert_kind(local.get_range(&name(odd), 0, 1), ErrorKind::Damaged);
        assert_kind(put(&local, odd, b""), ErrorKind::Exists);
        assert_swept(directory.path());
    }
    assert_kind(local.delete(&name("a/directory")), ErrorKind::Damaged);
    for odd in ["a/socket", "a/fifo", "a/dangling", "a/link"] {
        assert_kind(listed(&local, "a"), ErrorKind::Damaged);
        local.delete(&name(odd)).unwrap();
    }
    assert_eq!(listed(&local, "a").unwrap(), ["a/real"]);
    assert_eq!(local.get(&name("a/real"), 4).unwrap(), b"real");
}

#[test]
fn a_folder_that_is_a_link_is_damage_not_absence() {
    let (directory, local) = opened();
    let (elsewhere, other) = opened();
    put(&other, "packs/00/a", b"1").unwrap();
    symlink(elsewhere.path().join("packs"), directory.path().join("packs")).unwrap();
    assert_kind(local.get(&name("packs/00/a"), 1), ErrorKind::Damaged);
    assert_kind(listed(&local, "packs"), ErrorKind::Damaged);
    assert_kind(listed(&local, "packs/00"), ErrorKind::Damaged);
    assert_kind(local.delete(&name("packs/00/a")), ErrorKind::Damaged);
    assert_kind(put(&local, "packs/00/b", b"2"), ErrorKind::Damaged);
    assert_eq!(names_in(&elsewhere.path().join("packs/00")), ["a"]);
    symlink(elsewhere.path(), directory.path().join("tmp2")).unwrap();
    fs::rename(directory.path().join("tmp2"), directory.path().join("tmp-link")).unwrap();
    fs::remove_dir(directory.path().join("tmp")).unwrap();
    fs::rename(directory.path().join("tmp-link"), directory.path().join("tmp")).unwrap();
    assert_kind(put(&local, "a/b", b"3"), ErrorKind::Damaged);
    assert_eq!(names_in(directory.path()), ["packs", "tmp"]);
}

#[test]
fn what_has_no_object_name_is_passed_over() {
    let (directory, local) = opened();
    put(&local, "a/b", b"1").unwrap();
    put(&local, "a/c/d/e", b"2").unwrap();
    fs::write(directory.path().join("a/README.txt"), b"").unwrap();
    fs::write(directory.path().join("a/c/d/-x"), b"").unwrap();
    fs::create_dir(directory.path().join("a/.hidden")).unwrap();
    fs::write(directory.path().join("a/.hidden/x"), b"").unwrap();
    fs::create_dir(directory.path().join("a/c/d/f")).unwrap();
    fs::write(directory.path().join("a/c/d/f/too-deep"), b"").unwrap();
    fs::write(directory.path().join("tmp/x"), b"").unwrap();
    assert_eq!(listed(&local, "a").unwrap(), ["a/b", "a/c/d/e"]);
    for nothing in ["", "/", ".", "..", "tmp", "a/", "/a", "a/.hidden", "a/../a", "a/c/d/f"] {
        assert_eq!(listed(&local, nothing).unwrap(), [""; 0], "{nothing:?}");
    }
}

#[test]
fn a_range_that_overflows_is_refused() {
    let (_directory, local) = opened();
    put(&local, "a/b", b"first").unwrap();
    for (offset, length) in [(u64::MAX, 1), (1, usize::MAX), (u64::MAX, usize::MAX), (u64::MAX, 0)] {
        assert_kind(local.get_range(&name("a/b"), offset, length), ErrorKind::Damaged);
    }
}

#[test]
fn a_file_larger_than_memory_is_an_error() {
    let (directory, local) = opened();
    fs::create_dir(directory.path().join("a")).unwrap();
    let file = File::create(directory.path().join("a/huge")).unwrap();
    // Sparse, so it takes no room; the file system may allow less.
    file.set_len(1 << 43).unwrap();
    assert_kind(local.get(&name("a/huge"), 1 << 42), ErrorKind::Damaged);
    assert_eq!(local.get_range(&name("a/huge"), (1 << 43) - 1, 1).unwrap(), [0]);
}

#[test]
fn a_file_that_was_cut_after_it_was_opened_is_damage() {
    let (directory, local) = opened();
    put(&local, "a/b", b"0123456789").unwrap();
    let (file, size_bytes) = local.open_object(&name("a/b")).unwrap();
    File::options().write(true).open(directory.path().join("a/b")).unwrap().set_len(4).unwrap();
    assert_eq!(size_bytes, 10);
    assert_kind(read_exactly(&file, &name("a/b"), 0, 10), ErrorKind::Damaged);
    assert_eq!(read_exactly(&file, &name("a/b"), 1, 3).unwrap(), b"123");
}

#[test]
fn after_a_failed_sync_the_handle_only_reads() {
    let (directory, local) = opened();
    put(&local, "a/b", b"1").unwrap();
    local.failed_sync.remember(Err(Error::system("syncing failed", Errno::IO))).unwrap_err();
    for error in [put(&local, "a/c", b"2").unwrap_err(), local.barrier().unwrap_err()] {
        assert!(error.to_string().contains("an earlier write may be lost: syncing failed"), "{error:?}");
    }
    assert_eq!(local.get(&name("a/b"), 1).unwrap(), b"1");
    assert_eq!(listed(&local, "a").unwrap(), ["a/b"]);
    assert_swept(directory.path());
    put(&Local::open(directory.path()).unwrap(), "a/c", b"2").unwrap();
}

#[test]
fn a_barrier_that_fails_is_remembered() {
    let (directory, mut local) = opened();
    put(&local, "a/b", b"1").unwrap();
    // A descriptor that names the directory only can be used to reach files, but not to sync.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    local.root = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
    put(&local, "a/c", b"2").unwrap();
    local.barrier().expect_err("it cannot be synced");
    assert!(put(&local, "a/d", b"3").unwrap_err().to_string().contains("may be lost"));
    assert!(local.barrier().unwrap_err().to_string().contains("may be lost"));
}

#[test]
fn a_folder_that_goes_while_an_object_comes_is_made_anew() {
    let (directory, local) = opened();
    let mut unfinished = Unfinished::begin(local.root()).unwrap();
    let folder = folders::make(local.root(), Some("a/b")).unwrap().unwrap();
    folders::remove_empty(local.root(), "a/b");
    for way in [PublishBy::RenameNoReplace, PublishBy::Link, PublishBy::CheckThenRename] {
        let outcome = unfinished.publish(way, folder.as_fd(), "c").unwrap();
        assert_eq!(outcome, Outcome::FolderGone, "{way:?}");
    }
    drop(unfinished);
    assert_swept(directory.path());
    // Both threads empty the one folder that both put into.
    std::thread::scope(|scope| {
        for own in ["a/b/one", "a/b/two"] {
            let local = &local;
            scope.spawn(move || {
                for _ in 0..100 {
                    put(local, own, b"1").unwrap();
                    local.delete(&name(own)).unwrap();
                }
            });
        }
    });
    assert_eq!(names_in(directory.path()), ["tmp"]);
    assert_swept(directory.path());
}

#[test]
fn a_folder_goes_with_its_last_object() {
    let (directory, local) = opened();
    put(&local, "a/b/c", b"1").unwrap();
    put(&local, "a/d", b"2").unwrap();
    local.delete(&name("a/b/c")).unwrap();
    assert_eq!(names_in(&directory.path().join("a")), ["d"]);
    local.delete(&name("a/d")).unwrap();
    assert_eq!(names_in(directory.path()), ["tmp"]);
}

#[test]
fn of_two_handles_one_wins() {
    let directory = TempDir::new().unwrap();
    let handles = [Local::open(directory.path()).unwrap(), Local::open(directory.path()).unwrap()];
    for round in 0..20 {
        let name = name(&format!("race/{round}"));
        let won: Vec<bool> = std::thread::scope(|scope| {
            let puts: Vec<_> = handles
                .iter()
                .zip([b"one", b"two"])
                .map(|(handle, bytes)| {
                    let name = &name;
                    scope.spawn(move || handle.put_if_absent(name, &[Bytes::from_static(bytes)]))
                })
                .collect();
            puts.into_iter().map(|put| put.join().unwrap().is_ok()).collect()
        });
        let stored = handles[0].get(&name, 3).unwrap();
        assert_eq!(won, [stored == b"one", stored == b"two"]);
    }
    assert_swept(directory.path());
}

/// A file system of one mebibyte in memory, gone with its value.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path());
        command.output().is_ok_and(|output| output.status.success()).then(|| Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_nothing_is_left() {
    let Some(disk) = SmallDisk::mount() else {
        crate::base::skip::skip("mount", "that a full disk is said to be full");
        return;
    };
    let root = disk.0.path();
    let local = Local::create(root).unwrap();
    let body: Vec<Bytes> = vec![Bytes::from(vec![7; 300 << 10]); 2];
    local.put_if_absent(&name("a/one"), &body).unwrap();
    local.barrier().unwrap();
    assert_kind(local.put_if_absent(&name("a/two"), &body), ErrorKind::OutOfSpace);
    assert_kind(local.get(&name("a/two"), u64::MAX), ErrorKind::NotFound);
    assert_eq!(listed(&local, "a").unwrap(), ["a/one"]);
    assert_swept(root);
    // A write that found no room lost nothing that was promised: the handle goes on.
    local.delete(&name("a/one")).unwrap();
    local.put_if_absent(&name("a/two"), &body).unwrap();
    assert_eq!(local.get(&name("a/two"), u64::MAX).unwrap(), body.concat());
}

#[test]
fn a_root_that_was_removed_is_no_absent_object() {
    let (directory, local) = opened();
    fs::remove_dir(directory.path()).unwrap();
    assert_kind(put(&local, "a/b", b"1"), ErrorKind::Failed);
    assert_eq!(local.capabilities().atomic_create, Some(false));
}
