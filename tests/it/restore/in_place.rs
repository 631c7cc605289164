//! Restores over trees that something happened to: whatever it was, the tree is as it was stored afterwards, nothing
//! outside is touched, and a dry run told before what would be done.
//!
//! What must hold: a tree and what happens to it depend on a number alone.

use std::process::Command;

use packstone::ops::restore::DeleteOptions;

use super::*;
use crate::support::dump::differences;
use crate::support::mutate::CHANGES;
use crate::support::seeds::{Amount, shards};

/// Trees of each test in every run.
const TREES: u64 = 12;
/// Trees of each test when larger sizes are wanted.
const TREES_FULL: u64 = 150;

/// Restores everything as it was, and files of this size and more where they are.
fn mirror(overwrite: Option<Overwrite>, in_place_bytes_min: u64) -> RestoreOptions {
    let delete = Some(DeleteOptions { any_number: true, ..DeleteOptions::default() });
    RestoreOptions { overwrite, delete, in_place_bytes_min, ..RestoreOptions::default() }
}

/// Directories of a tree that hold something.
fn full_directories(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Of what is so deep that its path is too long, nothing.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let below = full_directories(&entry.path());
            if fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_some()) {
                found.push(entry.path());
            }
            found.extend(below);
        }
    }
    found.sort();
    found
}

/// Puts a symbolic link that leads outside in the place of a directory.
fn lead_outside(random: &mut Random, target: &Path, outside: &Path) {
    let directories = full_directories(target);
    if !directories.is_empty() {
        let chosen = random.pick(&directories);
        crate::support::scratch::remove_tree(chosen);
        symlink(outside, chosen).unwrap();
    }
}

/// A tree, its backup, and a copy of it to which something happens.
fn check(seed: u64) {
    let place = Place::new(Parameters::tiny(), |source| drop(generate(seed, source, Size::Small)));
    let outside = place.scratch.join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("below/file"), "outside").unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    let before_outside = dump(&outside);
    place.restore(None);
    let mut random = Random::new(seed ^ 0xd15a57e2);
    let overwrite = *random.pick(&[ALWAYS, IF_CHANGED]);
    // Of a changed byte under the old time nothing can be seen from outside.
    // Only with `always` a file gives way to a directory.
    let is_unseen = |change: Change| matches!(change, Change::EditByte | Change::Replace);
    let is_seen = |change: &&Change| overwrite == ALWAYS || !is_unseen(**change);
    let changes: Vec<Change> = CHANGES.iter().filter(is_seen).copied().collect();
    for _ in 0..random.range(1..25) {
        mutate_by(*random.pick(&changes), random.next(), &place.target);
    }
    if overwrite == ALWAYS && random.chance(1, 2) {
        lead_outside(&mut random, &place.target, &outside);
    }
    let options = mirror(overwrite, *random.pick(&[1, 5000, 1 << 20]));
    let damaged = dump(&place.target);
    let dry = RestoreOptions { dry_run: true, ..options.clone() };
    let (planned, told) = place.restore_with(&dry);
    assert_same(&damaged, &dump(&place.target));
    let (done, really) = place.restore_with(&options);
    assert_eq!(really.findings(), Vec::<String>::new());
    let mut found = differences(&dump(&place.source), &dump(&place.target));
    // Attributes that a backup may not have been shown are not removed.
    found.retain(|line| !(line.contains(": xattr:trusted.") && line.contains(": absent |")));
    assert!(found.is_empty(), "{options:?}\n{}", found.join("\n"));
    assert_same(&before_outside, &dump(&outside));
    assert_eq!(told.sorted(), really.sorted(), "{options:?}");
    assert_eq!(without_fetches(planned), done.unwrap());
    let (again, told) = place.restore_with(&mirror(IF_CHANGED, 1));
    let again = again.unwrap();
    let written = (again.files, again.others, again.files_patched, again.files_updated, again.directories);
    assert_eq!((written, again.items_deleted), ((0, 0, 0, 0, 0), 0), "{:?}", told.sorted());
}

// Several tests, so that they run beside each other.
shards! {
    Amount { usual: TREES, full: TREES_FULL }, check;
    damaged_trees_become_as_they_were_0 0
    damaged_trees_become_as_they_were_1 1
    damaged_trees_become_as_they_were_2 2
    damaged_trees_become_as_they_were_3 3
}

/// A long file whose content is known, and what stands in its place.
fn long() -> Place {
    Place::new(Parameters::tiny(), |source| {
        fs::create_dir(source).unwrap();
        fs::write(source.join("long"), Random::new(8).bytes(300_000)).unwrap();
    })
}

/// Another byte of a file under the old time.
fn spoil(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Restores the long file, to the inode that it has or to another.
#[track_caller]
fn assert_patched(place: &Place, options: &RestoreOptions, what: &str, is_patched: bool) {
    let long = place.at("long");
    let before = inode(&long);
    let (summary, told) = place.restore_with(options);
    assert_eq!(told.findings(), Vec::<String>::new(), "{what}");
    let is = (summary.unwrap().files_patched == 1, inode(&long) == before);
    assert_eq!(is, (is_patched, is_patched), "{what}");
    place.assert_restored();
}

#[test]
fn what_is_doubtful_is_replaced_as_a_whole() {
    let place = long();
    place.restore(None);
    let long = place.at("long");
    let options = RestoreOptions { overwrite: ALWAYS, in_place_bytes_min: 100, ..RestoreOptions::default() };
    let run = |what: &str, is_patched: bool| assert_patched(&place, &options, what, is_patched);
    spoil(&long, 7);
    run("a byte", true);
    fs::write(&long, b"longer").unwrap();
    run("another file", false);
    spoil(&long, 7);
    fs::set_permissions(&long, fs::Permissions::from_mode(0o755)).unwrap();
    run("a program", false);
    // Who has it open by an old right would read what is written.
    spoil(&long, 7);
    fs::set_permissions(place.source.join("long"), fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place { id: back_up(&place.repository, &place.source).id, ..place };
    let run = |what: &str, is_patched: bool| assert_patched(&place, &options, what, is_patched);
    run("a file that others may read", false);
    if rustix::process::geteuid().is_root() {
        spoil(&long, 7);
        std::os::unix::fs::chown(&long, Some(12345), None).unwrap();
        run("a file of somebody else", false);
    }
    spoil(&long, 7);
    fs::hard_link(&long, place.scratch.join("outside")).unwrap();
    let outside = fs::read(place.scratch.join("outside")).unwrap();
    run("a file of two names", false);
    assert!(fs::read(place.scratch.join("outside")).unwrap() == outside, "another name was changed");
    // What is longer or shorter, or has zeros as a hole, shares most of it.
    let mut bytes = fs::read(&long).unwrap();
    bytes.extend([b'x'; 9000]);
    fs::write(&long, &bytes).unwrap();
    run("a longer file", true);
    fs::write(&long, &bytes[..200_000]).unwrap();
    run("a shorter file", true);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let scratch = Scratch::new();
    let [source, target] = ["source", "target"].map(|name| scratch.join(name));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("long"), Random::new(8).bytes(300_000)).unwrap();
    let memory = packstone::storage::memory::Memory::new();
    let storage = std::sync::Arc::new(memory.clone());
    let repository = crate::engine::init(storage, Parameters::tiny(), None);
    let id = back_up(&repository, &source).id;
    assert!(Command::new("cp").arg("-a").arg(&source).arg(&target).status().unwrap().success());
    spoil(&target.join("long"), 150_000);
    let before = dump(&target);
    /// Where a pack says of which kind it is, and that of packs of data (format-spec chapter 5).
    const KIND_OFFSET: usize = 9;
    const DATA_PACK: u8 = 3;
    for name in memory.names().into_iter().filter(|name| name.as_str().starts_with("packs/")) {
        let mut bytes = memory.bytes(&name).unwrap().to_vec();
        if bytes[KIND_OFFSET] == DATA_PACK {
            bytes[200..].iter_mut().for_each(|byte| *byte ^= 1);
            memory.replace(&name, bytes);
        }
    }
    let told = Told::default();
    let options = mirror(ALWAYS, 100);
    let path = Some(source.as_os_str().as_encoded_bytes());
    let summary = restore(&repository, &snapshot(&repository, id), path, &target, &options, &told).unwrap();
    assert_eq!((summary.damaged, summary.files_patched), (1, 0), "{:?}", told.findings());
    // Its directory got the time that is stored, which it had.
    assert_same(&before, &dump(&target));
}

#[test]
fn a_file_that_may_not_be_changed_is_a_finding() {
    let place = long();
    place.restore(None);
    spoil(&place.at("long"), 7);
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(place.at("long")).status();
    if !chattr("+i").is_ok_and(|status| status.success()) {
        crate::support::skip::skip(
            "a file system with immutable files, and the right to make them",
            "restoring over one",
        );
        return;
    }
    let (summary, told) = place.restore_with(&mirror(ALWAYS, 100));
    assert!(chattr("-i").unwrap().success());
    assert_eq!(summary.unwrap().findings, 1);
    assert!(told.findings()[0].contains("long: not restored: cannot replace"), "{:?}", told.findings());
    assert_eq!(temporary_names(&place.target), Vec::<PathBuf>::new());
    place.restore_with(&mirror(ALWAYS, 100)).0.unwrap();
    place.assert_restored();
}
