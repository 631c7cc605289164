//! Restores that cannot be completed: what was to be replaced stays, and nothing is left beside it.

use std::io::{Seek, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, local::Local};

use super::*;
use crate::engine::{KEY, init};

#[test]
fn what_cannot_be_read_leaves_the_old_file_in_place() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    fs::create_dir(&source).unwrap();
    let mut random = Random::new(1);
    // Long enough for several segments and several packs.
    fs::write(source.join("long"), random.bytes(400_000)).unwrap();
    fs::write(source.join("short"), "short".repeat(100)).unwrap();
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let id = back_up(&repository, &source).id;
    let packs: Vec<ObjectName> =
        memory.names().into_iter().filter(|name| name.as_str().starts_with("packs/")).collect();
    assert!(packs.len() > 3);
    let mut failed = 0;
    for pack in packs {
        let whole = memory.bytes(&pack).unwrap();
        let mut torn = whole.to_vec();
        let middle = torn.len() / 3;
        torn[middle] ^= 1;
        memory.replace(&pack, torn);
        let target = scratch.join("target");
        fs::create_dir(&target).unwrap();
        ["long", "short"].iter().for_each(|name| fs::write(target.join(name), "mine").unwrap());
        let told = Told::default();
        let options = RestoreOptions { overwrite: ALWAYS, workers: 2, ..RestoreOptions::default() };
        let path = Some(source.as_os_str().as_encoded_bytes());
        let outcome = restore(&repository, &snapshot(&repository, id), path, &target, &options, &told);
        match outcome {
            Ok(summary) => {
                for name in ["long", "short"] {
                    let (is, was) = (fs::read(target.join(name)), fs::read(source.join(name)));
                    let is = is.unwrap();
                    assert!(is == b"mine" || is == was.unwrap(), "{name} is torn");
                }
                let kept =
                    ["long", "short"].iter().filter(|name| fs::read(target.join(name)).unwrap() == b"mine");
                assert_eq!(kept.count() as u64, summary.damaged, "{:?}", told.findings());
                failed += summary.damaged;
            }
            // The pack holds the tree.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged),
        }
        assert_eq!(temporary_names(&target), Vec::<PathBuf>::new());
        fs::remove_dir_all(&target).unwrap();
        memory.replace(&pack, whole.to_vec());
    }
    assert!(failed > 2, "{failed}");
}

#[test]
fn a_long_file_with_damage_far_behind_its_beginning_is_taken_away() {
    /// Where a pack says of which kind it is, and that of packs of data (format-spec chapter 5).
    const KIND_OFFSET: usize = 9;
    const DATA_PACK: u8 = 3;
    let scratch = Scratch::new();
    let source = scratch.join("source");
    fs::create_dir(&source).unwrap();
    let mut random = Random::new(3);
    fs::write(source.join("long"), random.bytes(12 << 20)).unwrap();
    fs::write(source.join("short"), random.bytes(2000)).unwrap();
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let id = back_up(&repository, &source).id;
    let path = Some(source.as_os_str().as_encoded_bytes());
    let kind = |name: &ObjectName| memory.bytes(name).unwrap()[KIND_OFFSET];
    let packs = memory.names().into_iter().filter(|name| name.as_str().starts_with("packs/"));
    let (first, others): (Vec<_>, Vec<_>) = packs.partition(|name| kind(name) == DATA_PACK);
    assert!(!first.is_empty() && !others.is_empty());
    for packs in [first, others] {
        let mut met = 0;
        // Of few packs several places each: one of them holds what leads to all files, whose loss ends a restore.
        let places = 16_usize.div_ceil(packs.len());
        let chosen = packs.iter().step_by(packs.len().div_ceil(16));
        for (pack, place) in chosen.flat_map(|pack| (0..places).map(move |place| (pack, place))) {
            let whole = memory.bytes(pack).unwrap();
            let mut torn = whole.to_vec();
            let position = 200 + (torn.len() - 200) * place / places;
            torn[position] ^= 1;
            memory.replace(pack, torn);
            let target = scratch.join("target");
            fs::create_dir(&target).unwrap();
            fs::write(target.join("long"), "mine").unwrap();
            // So little memory that the file is written in several waves.
            let options = RestoreOptions {
                overwrite: ALWAYS,
                workers: 2,
                memory_bytes: 0,
                ..RestoreOptions::default()
            };
            let told = Told::default();
            let outcome = restore(&repository, &snapshot(&repository, id), path, &target, &options, &told);
            if let Ok(summary) = outcome
                && summary.findings > 0
            {
                // The short file may share a segment with an end of the long one.
                let findings = told.findings();
                let is_told =
                    |name: &str| findings.iter().any(|line| line.contains(&format!("source/{name}:")));
                let lost = u64::from(is_told("long")) + u64::from(is_told("short"));
                let counts = (summary.findings, summary.damaged, summary.files);
                assert_eq!(counts, (lost, lost, 2 - lost), "{findings:?}");
                for name in ["long", "short"] {
                    let expected = match (name, is_told(name)) {
                        (_, false) => Some(fs::read(source.join(name)).unwrap()),
                        ("long", true) => Some(b"mine".to_vec()),
                        (_, true) => None,
                    };
                    assert!(fs::read(target.join(name)).ok() == expected, "{name}: {findings:?}");
                }
                met += u64::from(is_told("long"));
            }
            assert_eq!(temporary_names(&target), Vec::<PathBuf>::new());
            fs::remove_dir_all(&target).unwrap();
            memory.replace(pack, whole.to_vec());
        }
        assert!(met > 0, "{met} of {}", packs.len());
    }
}

/// Does something at a moment of the restore.
struct Hook<F> {
    told: Told,
    pieces: AtomicUsize,
    action: F,
}

impl<F: Fn(usize) -> bool + Send + Sync> Monitor for Hook<F> {
    fn finding(&self, finding: &Finding) {
        self.told.finding(finding);
    }

    fn advance(&self, _files: u64, bytes: u64) {
        if bytes > 0 {
            (self.action)(self.pieces.fetch_add(1, Ordering::SeqCst) + 1);
        }
    }

    fn cancelled(&self) -> bool {
        (self.action)(self.pieces.load(Ordering::SeqCst))
    }
}

/// Restores in one thread with a hook.
pub(super) fn restore_hooked(
    place: &Place,
    options: &RestoreOptions,
    action: impl Fn(usize) -> bool + Send + Sync,
) -> (Result<RestoreSummary>, Vec<String>) {
    let hook = Hook { told: Told::default(), pieces: AtomicUsize::new(0), action };
    let entry = snapshot(&place.repository, place.id);
    let path = place.source.as_os_str().as_encoded_bytes();
    let options = RestoreOptions { workers: 1, ..options.clone() };
    let outcome = restore(&place.repository, &entry, Some(path), &place.target, &options, &hook);
    (outcome, hook.told.findings())
}

#[test]
fn a_file_that_reads_back_otherwise_is_told_and_taken_away() {
    for (overwrite, verify) in [(None, true), (ALWAYS, true), (None, false)] {
        let place = Place::small();
        if overwrite.is_some() {
            fs::create_dir_all(place.at("below")).unwrap();
            fs::write(place.at("below/b"), "mine").unwrap();
        }
        // Somebody writes into the file before it is complete.
        let spoil = |_| {
            let below = place.at("below");
            let name =
                if overwrite.is_some() { temporary_names(&below).pop() } else { Some(below.join("b")) };
            let file = name.and_then(|name| fs::OpenOptions::new().write(true).open(name).ok());
            if let Some(mut file) = file {
                file.seek(std::io::SeekFrom::Start(4321)).unwrap();
                file.write_all(b"X").unwrap();
            }
            false
        };
        let options = RestoreOptions { overwrite, verify, ..RestoreOptions::default() };
        let (outcome, findings) = restore_hooked(&place, &options, spoil);
        let summary = outcome.unwrap();
        if !verify {
            assert_eq!((summary.findings, summary.files_verified), (0, 0), "nobody looked");
            continue;
        }
        assert_eq!((summary.findings, summary.files_verified, summary.files), (1, 2, 2), "{findings:?}");
        assert!(findings[0].contains("below/b: not restored: read back"), "{findings:?}");
        match overwrite {
            None => assert!(!place.at("below/b").exists()),
            Some(_) => assert_eq!(place.text("below/b"), "mine"),
        }
        assert_eq!(temporary_names(&place.target), Vec::<PathBuf>::new());
    }
}

#[test]
fn an_interrupted_restore_leaves_each_file_old_or_new() {
    let place = Place::new(Parameters::tiny(), |source| {
        fs::create_dir(source).unwrap();
        let mut random = Random::new(2);
        for number in 0..6 {
            fs::write(source.join(number.to_string()), random.bytes(30_000)).unwrap();
        }
    });
    let names: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    for stop in [1, 3, 9, 30, 60] {
        fs::create_dir(&place.target).unwrap();
        names.iter().for_each(|name| fs::write(place.at(name), "mine").unwrap());
        let options = RestoreOptions { overwrite: ALWAYS, ..RestoreOptions::default() };
        let (outcome, _) = restore_hooked(&place, &options, |pieces| pieces >= stop);
        assert_kind(outcome, ErrorKind::Interrupted);
        for name in &names {
            let is = fs::read(place.at(name)).unwrap();
            assert!(is == b"mine" || is == fs::read(place.source.join(name)).unwrap(), "{name} is torn");
        }
        assert_eq!(temporary_names(&place.target), Vec::<PathBuf>::new());
        fs::remove_dir_all(&place.target).unwrap();
    }
}

/// A repository on the disk and the program, which can be killed.
struct OnDisk {
    scratch: Scratch,
    source: PathBuf,
    target: PathBuf,
}

/// Long enough to be met half written.
const FILE_BYTES: usize = 1 << 20;
const FILES: usize = 24;

impl OnDisk {
    fn new() -> Self {
        Self::of(FILES, FILE_BYTES)
    }

    /// So many files of so many bytes.
    fn of(files: usize, file_bytes: usize) -> Self {
        let scratch = Scratch::new();
        let [source, target, key_file] = ["source", "target", "key"].map(|name| scratch.join(name));
        fs::write(&key_file, KEY).unwrap();
        fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
        fs::create_dir(&source).unwrap();
        let mut random = Random::new(9);
        for number in 0..files {
            fs::write(source.join(number.to_string()), random.bytes(file_bytes)).unwrap();
        }
        let local = Arc::new(Local::create(&scratch.join("repository")).unwrap());
        back_up(&init(local, Parameters::default(), None), &source);
        Self { scratch, source, target }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        let mut wanted = std::ffi::OsString::from("latest:");
        wanted.push(&self.source);
        command
            .args(["--quiet", "--no-cache", "--repository"])
            .arg(self.scratch.join("repository"))
            .arg("--key-file")
            .arg(self.scratch.join("key"))
            .arg("restore")
            .arg(wanted)
            .arg("--target")
            .arg(&self.target)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Starts the program, and kills it once so many files of a kind are in the target. False if it ended before.
    fn kill_at(&self, arguments: &[&str], count: usize, is_counted: impl Fn(&str) -> bool) -> bool {
        let mut child = self.program(arguments).spawn().unwrap();
        let seen = || {
            let names = fs::read_dir(&self.target).into_iter().flatten().flatten();
            names.filter(|entry| is_counted(&entry.file_name().to_string_lossy())).count()
        };
        let mut has_ended = false;
        while !has_ended && seen() < count {
            has_ended = child.try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_micros(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        !has_ended
    }
}

#[test]
fn a_killed_restore_leaves_each_file_old_or_new() {
    for count in [1, FILES / 2] {
        let place = OnDisk::new();
        fs::create_dir(&place.target).unwrap();
        for number in 0..FILES {
            fs::write(place.target.join(number.to_string()), "mine").unwrap();
        }
        let is_temporary = |name: &str| name.starts_with(".packstone-restore-");
        assert!(place.kill_at(&["--overwrite", "always"], count, is_temporary), "it was too fast");
        for number in 0..FILES {
            let name = number.to_string();
            let is = fs::read(place.target.join(&name)).unwrap();
            assert!(is == b"mine" || is == fs::read(place.source.join(&name)).unwrap(), "{name} is torn");
        }
        temporary_names(&place.target).iter().for_each(|path| fs::remove_file(path).unwrap());
        assert!(place.program(&["--overwrite", "if-changed"]).status().unwrap().success());
        assert_same(&dump(&place.source), &dump(&place.target));
    }
}

#[test]
fn a_killed_restore_is_taken_up_again_without_replacing_what_is_complete() {
    for overwrite in ["never", "if-changed"] {
        let place = OnDisk::new();
        assert!(place.kill_at(&[], FILES / 2, |_| true), "it was too fast");
        assert!(place.program(&["--overwrite", overwrite]).status().unwrap().success());
        let content = |folder: &Path| -> Vec<Vec<u8>> {
            (0..FILES).map(|number| fs::read(folder.join(number.to_string())).unwrap()).collect()
        };
        assert!(content(&place.source) == content(&place.target), "{overwrite}: a torn file was kept");
    }
}

#[test]
fn a_file_that_was_being_changed_when_the_restore_was_killed_is_known_and_completed() {
    const LONG: usize = 12 << 20;
    for overwrite in ["never", "if-changed"] {
        let place = OnDisk::of(6, LONG);
        fs::create_dir(&place.target).unwrap();
        // What is there differs in one place of each MiB.
        let spoiled = |number: usize| {
            let mut bytes = fs::read(place.source.join(number.to_string())).unwrap();
            bytes.iter_mut().step_by(3 << 20).for_each(|byte| *byte ^= 1);
            bytes
        };
        for number in 0..6 {
            fs::write(place.target.join(number.to_string()), spoiled(number)).unwrap();
        }
        let mode = |number: usize| {
            let stat = fs::symlink_metadata(place.target.join(number.to_string())).unwrap();
            stat.permissions().mode() & 0o7777
        };
        let mut child = place.program(&["--overwrite", "always"]).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && !(0..6).any(|number| mode(number) == 0o1600) {
            std::thread::sleep(Duration::from_micros(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let marked: Vec<usize> = (0..6).filter(|number| mode(*number) == 0o1600).collect();
        assert!(!marked.is_empty(), "it was too fast");
        for number in (0..6).filter(|number| !marked.contains(number)) {
            let is = fs::read(place.target.join(number.to_string())).unwrap();
            let stored = fs::read(place.source.join(number.to_string())).unwrap();
            assert!(is == stored || is == spoiled(number), "{number} is torn and not marked");
        }
        assert!(place.program(&["--overwrite", overwrite]).status().unwrap().success());
        for number in marked {
            let name = number.to_string();
            let [is, stored] =
                [&place.target, &place.source].map(|folder| fs::read(folder.join(&name)).unwrap());
            assert!(is == stored, "{number} was taken for complete");
        }
        assert!(place.program(&["--overwrite", "if-changed", "--delete"]).status().unwrap().success());
        assert_same(&dump(&place.source), &dump(&place.target));
    }
}
