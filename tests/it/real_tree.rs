//! Real files of the machine: sources of crates, documentation, headers, libraries. They go into a repository on disk,
//! change, go in again, and both states come back, as told by our own judge and by programs that others wrote.
//!
//! What must hold: the files are copied first, so that nothing else changes them; `cp`, `rsync` and `tar` judge where
//! they are installed, and where they are not that is said.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use packstone::format::config::Parameters;
use packstone::format::snapshot::Statistic;
use packstone::storage::local::Local;

use crate::engine::{back_up, give_back, in_memory, init, open, statistic};
use crate::support::dump::{Options, assert_same, dump, dump_with};
use crate::support::generate::{Size, generate};
use crate::support::mutate::{CHANGES, Change, mutate_by};
use crate::support::need::{cargo_home, has_program, is_full};
use crate::support::scratch::{Scratch, remove_tree};
use crate::support::walk::walk;

/// How much is taken.
#[derive(Clone, Copy, Debug)]
struct Amount {
    files: u64,
    bytes: u64,
}

impl Amount {
    /// Of each folder in every run: a few minutes must be enough for all tests.
    const SMALL: Self = Self { files: 1000, bytes: 8 << 20 };
    /// Of each folder if larger sizes are wanted: everything.
    const FULL: Self = Self { files: u64::MAX, bytes: u64::MAX };

    fn of(path: &Path) -> Self {
        let stat = path.symlink_metadata().expect("a status");
        if !stat.is_dir() {
            return Self { files: 1, bytes: stat.len() };
        }
        entries(path).iter().map(|entry| Self::of(entry)).fold(Self { files: 1, bytes: 0 }, |sum, entry| {
            Self { files: sum.files + entry.files, bytes: sum.bytes + entry.bytes }
        })
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder that can be read");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Folders of real files, as far as this machine has them.
fn folders() -> Vec<PathBuf> {
    let sources = cargo_home().map(|home| home.join("registry/src")).filter(|folder| folder.is_dir());
    let mut folders: Vec<PathBuf> = sources.iter().flat_map(|folder| entries(folder)).collect();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("the compiler");
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).expect("UTF-8").trim());
    folders.extend([sysroot.join("lib/rustlib"), sysroot.join("share/doc")]);
    let of_system = ["/usr/share", "/usr/share/doc", "/usr/include", "/usr/lib", "/usr/bin"];
    folders.extend(of_system.map(PathBuf::from));
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Copies real files; gives how much they are.
fn gather(source: &Path, limit: Amount) -> Amount {
    std::fs::create_dir(source).expect("a new folder");
    let mut total = Amount { files: 0, bytes: 0 };
    for (number, folder) in folders().iter().enumerate() {
        let mut left = limit;
        let mut chosen = Vec::new();
        for entry in entries(folder) {
            let amount = Amount::of(&entry);
            if amount.files <= left.files && amount.bytes <= left.bytes {
                left = Amount { files: left.files - amount.files, bytes: left.bytes - amount.bytes };
                total = Amount { files: total.files + amount.files, bytes: total.bytes + amount.bytes };
                chosen.push(entry);
            }
        }
        let into = source.join(number.to_string());
        std::fs::create_dir(&into).expect("a new folder");
        for some in chosen.chunks(500) {
            run(Command::new("cp").arg("--archive").args(some).arg(&into));
        }
    }
    total
}

/// Runs a program that must succeed; gives what it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} failed: {messages}", command.get_program());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to));
}

/// What happens to files between two backups: folders are copied, renamed and removed, and much else changes. Nothing
/// is added of which `cp` would know no copy, as paths without bound.
fn change(source: &Path) {
    let below = entries(&entries(source)[0]);
    copy(&below[0], &source.join("a copy"));
    std::fs::rename(&below[1], source.join("renamed")).expect("renamed");
    remove_tree(&below[2]);
    // Whatever files these are, there are links that can be broken.
    let linked = (0..32).filter(|seed| mutate_by(Change::AddLink, 1000 + seed, source)).count();
    assert!(linked > 0, "no link was made");
    let adds = |change: &&Change| matches!(change, Change::Add | Change::Replace);
    for change in CHANGES.iter().filter(|change| !adds(change)) {
        let made = (0..8).filter(|seed| mutate_by(*change, *seed, source)).count();
        assert!(made > 0 || *change == Change::SetOwner, "{change:?} was never made");
    }
}

/// What others say to two trees that should be the same.
#[track_caller]
fn assert_same_to_others(one: &Path, other: &Path, scratch: &Scratch) {
    let copied = scratch.join("copied");
    copy(other, &copied);
    // It makes holes of its own.
    let options = Options { holes: false, ..Options::EVERYTHING };
    assert_same(&dump_with(one, options), &dump_with(&copied, options));
    remove_tree(&copied);
    if has_program("rsync", "that rsync sees no difference") {
        let options = ["-aHAXn", "--numeric-ids", "--checksum", "--delete", "--itemize-changes"];
        let seen = run(Command::new("rsync").args(options).args([one.join(""), other.join("")]));
        assert_eq!(seen, "", "rsync sees differences");
    }
    if has_program("tar", "that tar sees no difference") {
        assert_eq!(tar(one), tar(other), "tar sees differences");
    }
}

/// Bytes of a block of tar.
const BLOCK_BYTES: usize = 512;

/// The hash of everything that tar writes of a tree, but for when it was read, where tar itself runs, and in which
/// order the kernel lists extended attributes.
fn tar(root: &Path) -> blake3::Hash {
    let mut child = Command::new("tar")
        .args(["--create", "--format=posix", "--sort=name", "--numeric-owner", "--acls", "--xattrs"])
        .args(["--xattrs-include=*", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"])
        .arg("--directory")
        .arg(root)
        .arg(".")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tar can be started");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut hasher = blake3::Hasher::new();
    let mut block = [0; BLOCK_BYTES];
    while output.read_exact(&mut block).is_ok() {
        hasher.update(&block);
        let size = String::from_utf8_lossy(&block[124..135]).into_owned();
        let size = u64::from_str_radix(size.trim_matches('\0'), 8).unwrap_or(0);
        let mut body = output.by_ref().take(size.next_multiple_of(BLOCK_BYTES as u64));
        if block[156] == b'x' {
            let mut text = Vec::new();
            body.read_to_end(&mut text).expect("tar writes");
            for record in sorted_records(&text[..usize::try_from(size).expect("a few records")]) {
                hasher.update(record);
            }
        } else {
            std::io::copy(&mut body, &mut hasher).expect("tar writes");
        }
    }
    assert!(child.wait().expect("tar ends").success());
    hasher.finalize()
}

/// The records of an extended header, each of which begins with its length in decimal digits and a space.
fn sorted_records(mut text: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let digits = text.split(|byte| *byte == b' ').next().expect("a first part");
        let length: usize = std::str::from_utf8(digits).expect("digits").parse().expect("a length");
        let (record, rest) = text.split_at(length);
        records.push(record);
        text = rest;
    }
    records.sort_unstable();
    records
}

/// Sizes of all files below some folders of a repository.
fn stored_bytes(repository: &Path) -> u64 {
    ["packs", "index"].iter().map(|folder| Amount::of(&repository.join(folder)).bytes).sum()
}

#[test]
fn real_files_come_back_from_both_of_two_snapshots() {
    let scratch = Scratch::new();
    let (source, before) = (scratch.join("source"), scratch.join("before"));
    let limit = if is_full() { Amount::FULL } else { Amount::SMALL };
    let amount = gather(&source, limit);
    let enough = if is_full() { 80_000 } else { 3000 };
    assert!(amount.files >= enough, "{amount:?} is not enough; {:?}", folders());
    copy(&source, &before);

    let folder = scratch.join("repository");
    let repository = init(Arc::new(Local::create(&folder).expect("a folder")), Parameters::default(), None);
    let dump_before = dump(&source);
    let first = back_up(&repository, &source);
    let stored_first = statistic(&first.snapshot, Statistic::BytesStored);
    assert_eq!(stored_bytes(&folder), stored_first);
    drop(repository);

    change(&source);
    let dump_after = dump(&source);
    let cache_folder = scratch.join("cache");
    let reopen = || open(Arc::new(Local::open(&folder).expect("a folder")), Some(&cache_folder));
    let second = back_up(&reopen(), &source);
    let stored_second = statistic(&second.snapshot, Statistic::BytesStored);
    assert_eq!(stored_bytes(&folder), stored_first + stored_second);
    assert!(stored_second < stored_first / 5, "{stored_second} bytes of changes, {stored_first} at first");

    let repository = reopen();
    for (id, dumped, original) in [(first.id, dump_before, &before), (second.id, dump_after, &source)] {
        let target = scratch.join("target");
        let summary = give_back(&repository, id, Some(&source), &target);
        assert!(summary.files + summary.directories + summary.others >= enough, "{summary:?}");
        assert_same(&dumped, &dump(&target));
        assert_same_to_others(original, &target, &scratch);
        remove_tree(&target);
    }
    println!("{amount:?}, stored: {stored_first} bytes, then {stored_second}");
}

/// Other programs name objects by whole paths, which must be shorter than `PATH_MAX` with what stands above the tree.
const NAMEABLE_BYTES: usize = 3800;
/// Other programs read holes byte by byte.
const READABLE_BYTES: i64 = 1 << 30;

#[test]
fn others_too_see_odd_trees_come_back() {
    let mut judged = 0;
    for seed in 0..40 {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        generate(seed, &source, Size::Small);
        let mut is_odd_to_others = false;
        walk(&source, &mut |met| {
            is_odd_to_others |= met.path.len() > NAMEABLE_BYTES || met.stat.st_size > READABLE_BYTES;
        });
        if is_odd_to_others {
            continue;
        }
        judged += 1;
        let repository = in_memory(Parameters::tiny());
        let summary = back_up(&repository, &source);
        let target = scratch.join("target");
        give_back(&repository, summary.id, Some(&source), &target);
        assert_same(&dump(&source), &dump(&target));
        assert_same_to_others(&source, &target, &scratch);
    }
    assert!(judged > 20, "{judged} trees");
}
