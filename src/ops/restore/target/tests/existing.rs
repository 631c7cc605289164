//! Unit tests of what is done to what is there already: changed where it is, listed, removed.

use super::*;

fn found(target: &Target, name: &[u8]) -> Found {
    target.examine(ROOT, name).unwrap().unwrap()
}

fn scene() -> (tempfile::TempDir, Target) {
    let base = tempfile::tempdir().unwrap();
    let target = Target::open(&base.path().join("target")).unwrap();
    (base, target)
}

#[test]
fn a_file_is_marked_before_it_changes_and_has_its_metadata_afterwards() {
    let (base, target) = scene();
    let path = base.path().join("target/file");
    fs::write(&path, vec![b'a'; 20_000]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let before = found(&target, b"file");
    let mut file = target.open_to_change(ROOT, b"file", &before).unwrap();
    assert_eq!(found(&target, b"file"), before, "to open it changes nothing");
    let metadata = own(0o640);
    file.begin_change(30_000, metadata.mtime).unwrap();
    let begun = found(&target, b"file");
    assert!(begun.has_unfinished_mode() && begun.mtime != metadata.mtime && begun.size == 30_000);
    file.write_at(b"bbb", 25_000).unwrap();
    file.punch(4096, 8192).unwrap();
    assert!(file.write_at(b"bbb", 29_999).is_err(), "beyond the end");
    assert_eq!(file.next_hole(0).unwrap(), 4096);
    assert_eq!(file.finish_change(&plain(&metadata), &ALL), NO_PROBLEM);
    let after = found(&target, b"file");
    assert_eq!((after.mode, after.mtime, after.size), (0o640, metadata.mtime, 30_000));
    let bytes = fs::read(&path).unwrap();
    assert!(
        bytes[..4096].iter().all(|byte| *byte == b'a') && bytes[4096..8192].iter().all(|byte| *byte == 0)
    );
    assert_eq!((&bytes[25_000..25_003], bytes[25_003]), (&b"bbb"[..], 0));
}

#[test]
fn only_the_very_file_that_was_looked_at_is_opened() {
    let (base, target) = scene();
    let path = |name: &str| base.path().join("target").join(name);
    fs::write(path("file"), b"bytes").unwrap();
    let was = found(&target, b"file");
    let refused = |name: &[u8], found: &Found| {
        assert!(target.open_found(ROOT, name, found).is_err(), "{}", show_path(name));
        assert!(target.open_to_change(ROOT, name, found).is_err(), "{}", show_path(name));
    };
    assert!(target.open_found(ROOT, b"file", &was).is_ok());
    // A further name, which may lie anywhere.
    fs::hard_link(path("file"), base.path().join("outside")).unwrap();
    refused(b"file", &was);
    fs::remove_file(base.path().join("outside")).unwrap();
    // Changed since.
    fs::write(path("file"), b"other bytes").unwrap();
    refused(b"file", &was);
    let was = found(&target, b"file");
    // Another object under the name.
    fs::rename(path("file"), path("moved")).unwrap();
    refused(b"file", &was);
    symlink(path("moved"), path("file")).unwrap();
    refused(b"file", &was);
    fs::remove_file(path("file")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("file"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    refused(b"file", &was);
    refused(b"file", &found(&target, b"file"));
    assert_eq!(fs::read(path("moved")).unwrap(), b"other bytes");
}

#[test]
fn attributes_that_are_not_stored_go_and_labels_of_the_system_stay() {
    let (base, target) = scene();
    let path = base.path().join("target/file");
    fs::write(&path, b"bytes").unwrap();
    let set = |name: &str| rustix::fs::setxattr(&path, name, b"value", rustix::fs::XattrFlags::empty());
    if set("user.extra").is_err() {
        crate::base::skip::skip("extended attributes", "removing those that are not stored");
        return;
    }
    set("user.kept").unwrap();
    let was = found(&target, b"file");
    let metadata = own(0o600);
    let xattrs = [(b"user.kept".to_vec(), b"value".to_vec())];
    let attributes = Attributes { metadata: &metadata, xattrs: &xattrs };
    assert_eq!(target.update_file(ROOT, b"file", was.identity, &attributes, &ALL).unwrap(), NO_PROBLEM);
    let captured = target.xattrs_of(ROOT, b"file").unwrap();
    let names: Vec<_> = captured.attributes.iter().filter(|(name, _)| name.starts_with(b"user.")).collect();
    assert_eq!(names, [&xattrs[0]]);
}

#[test]
fn what_is_listed_is_removed_unless_it_is_something_else_by_now() {
    let (base, target) = scene();
    let path = |name: &str| base.path().join("target").join(name);
    fs::create_dir_all(path("directory/below")).unwrap();
    fs::write(path("file"), b"").unwrap();
    symlink("/", path("link")).unwrap();
    assert_eq!(target.names(ROOT).unwrap(), [&b"directory"[..], b"file", b"link"]);
    let directory = found(&target, b"directory");
    assert!(target.remove_found(ROOT, b"directory", &directory).is_err(), "it is not empty");
    for name in [&b"file"[..], b"link"] {
        assert!(target.remove_found(ROOT, name, &directory).is_err(), "it is something else");
        target.remove_found(ROOT, name, &found(&target, name)).unwrap();
    }
    let number = target.enter(ROOT, b"directory").unwrap().unwrap();
    let below = target.examine(number, b"below").unwrap().unwrap();
    target.remove_found(number, b"below", &below).unwrap();
    target.remove_found(number, b"below", &below).unwrap();
    target.remove_found(ROOT, b"directory", &directory).unwrap();
    assert_eq!(target.names(ROOT).unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_directory_is_no_mount_and_another_file_system_is() {
    let (base, target) = scene();
    fs::create_dir(base.path().join("target/below")).unwrap();
    let number = target.enter(ROOT, b"below").unwrap().unwrap();
    assert!(!target.is_mounted(number, ROOT).unwrap());
    let root = Target::find(Path::new("/")).unwrap().unwrap();
    let system = root.enter(ROOT, b"proc").unwrap().unwrap();
    assert!(root.is_mounted(system, ROOT).unwrap());
}
