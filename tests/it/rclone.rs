//! Storage that rclone reaches: the contract, a repository's whole life by the program, and processes that are missing,
//! refuse, die, or outlive others.
//!
//! What must hold: rclone's own configuration is none, and each remote is a folder of its own, so that what is expected can
//! be read from the disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use packstone::base::ErrorKind;
use packstone::storage::contract::check_contract;
use packstone::storage::location::Location;
use packstone::storage::remote::{Remote, RemoteOptions};
use packstone::storage::{ObjectName, Storage};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::need;
use crate::support::scratch::Scratch;

struct Place {
    scratch: Scratch,
    program: PathBuf,
    /// What stands before the colon of the remote, and what behind.
    remote: String,
    path: String,
}

impl Place {
    fn new(skipped: &str) -> Option<Self> {
        let program = need::rclone(skipped)?;
        let scratch = Scratch::new();
        for name in ["objects", "run"] {
            std::fs::create_dir(scratch.join(name)).unwrap();
        }
        let path = scratch.join("objects").display().to_string();
        Some(Self { scratch, program, remote: ":local".to_owned(), path })
    }

    /// A new bucket on a server of S3, by a remote that only the environment of rclone describes.
    #[cfg(feature = "s3")]
    fn in_bucket(skipped: &str) -> Option<Self> {
        let address = need::server(need::Server::S3, skipped)?;
        let mut place = Self::new(skipped)?;
        let bucket = format!("tests-{:016x}", getrandom::u64().unwrap());
        let made = crate::support::http::ask(&address, &format!("PUT /{bucket}"), &[], "");
        assert_eq!(made.status(), 200, "{made:?}");
        let settings = [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ENDPOINT", &format!("http://{address}")),
            ("ACCESS_KEY_ID", "packstone"),
            ("SECRET_ACCESS_KEY", "packstone-secret"),
        ];
        let settings =
            settings.map(|(name, value)| format!("export RCLONE_CONFIG_BUCKETS_{name}='{value}'\n")).concat();
        let wrapper = place.scratch.join("rclone-with-bucket");
        // Authorities of another service would be in the way of older versions.
        write_program(
            &wrapper,
            &format!("unset AWS_CA_BUNDLE\n{settings}exec '{}' \"$@\"\n", place.program.display()),
        );
        (place.program, place.remote, place.path) = (wrapper, "buckets".to_owned(), format!("{bucket}/a/b"));
        Some(place)
    }

    fn objects(&self) -> PathBuf {
        self.scratch.join("objects")
    }

    fn location(&self) -> String {
        format!("rclone:{}:{}", self.remote, self.path)
    }

    fn options(&self) -> RemoteOptions {
        RemoteOptions {
            rclone_program: self.program.clone(),
            runtime_folder: self.scratch.join("run"),
            patience: Duration::from_secs(20),
            ..RemoteOptions::default()
        }
    }

    fn open(&self) -> Remote {
        self.open_as(&self.location(), &self.options())
    }

    fn open_as(&self, text: &str, options: &RemoteOptions) -> Remote {
        let Ok(Location::Remote(location)) = Location::parse(text.as_bytes()) else { panic!("{text}") };
        Remote::open(&location, options).unwrap()
    }

    /// Processes that were told the path of our folder for sockets: the shells, and what they run.
    fn processes(&self) -> Vec<(Pid, String)> {
        let path = self.scratch.join("run").display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Ok(number) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if arguments.contains(&path) && arguments.contains(" --addr ") {
                found.push((Pid::from_raw(number).unwrap(), arguments));
            }
        }
        found
    }

    /// The process that is rclone itself.
    fn rclone(&self) -> Option<Pid> {
        let found = self.processes();
        let own = found.into_iter().find(|(_, arguments)| !arguments.starts_with("/bin/sh"));
        own.map(|(process, _)| process)
    }

    fn packstone(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command
            .args(["--cache-dir", self.scratch.join("cache").to_str().unwrap()])
            .args(["--repository", &self.location()])
            .args(arguments)
            .env("PACKSTONE_PASSWORD", "correct horse")
            .env("PACKSTONE_RCLONE_COMMAND", &self.program)
            .env("XDG_RUNTIME_DIR", self.scratch.join("run"))
            .env("RCLONE_CONFIG", self.scratch.join("none.conf"))
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.packstone(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// Nothing runs any more, and no socket is left.
    #[track_caller]
    fn assert_left_alone(&self) {
        assert_eq!(self.processes(), []);
        assert_eq!(std::fs::read_dir(self.scratch.join("run")).unwrap().count(), 0);
    }
}

/// A script of the shell that can be run.
fn write_program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn put(storage: &dyn Storage, text: &str) {
    storage.put_if_absent(&name(text), &[Bytes::from(text.to_owned())]).unwrap();
}

fn listed(storage: &dyn Storage, folder: &str) -> Vec<String> {
    let mut names = Vec::new();
    storage
        .list(folder, None, &mut |listed| {
            names.push(listed.name.to_string());
            Ok(())
        })
        .unwrap();
    names
}

#[test]
fn rclone_keeps_the_contract() {
    contract(Place::new("the contract of a storage by rclone"));
}

/// It takes a minute and more; a life in a bucket is in every run.
#[cfg(feature = "s3")]
#[test]
fn rclone_keeps_the_contract_in_a_bucket() {
    if !need::is_full() {
        return;
    }
    contract(Place::in_bucket("the contract of a storage by rclone in a bucket"));
}

fn contract(place: Option<Place>) {
    let Some(place) = place else { return };
    let storage = place.open();
    let bodies = ["first", "second", "truth"].map(|text| [Bytes::from(text)]);
    let is_atomic =
        storage.prove_create(&name("proof/1"), [&bodies[0][..], &bodies[1][..], &bodies[2][..]]).unwrap();
    assert!(!is_atomic && storage.capabilities().atomic_create == Some(false));
    assert_eq!(storage.get(&name("proof/1"), 10).unwrap(), b"truth");
    let checked = check_contract(&storage, "contract", &mut |_| ()).unwrap();
    assert_eq!(checked, 19);
    drop(storage);
    place.assert_left_alone();
}

#[test]
fn what_others_put_is_seen_at_once() {
    let Some(place) = Place::new("two processes of rclone on one folder") else { return };
    let (one, other) = (place.open(), place.open());
    for round in 0..10 {
        let text = format!("things/{:02x}/{round}", round % 3);
        assert_eq!(other.get(&name(&text), 100).unwrap_err().kind(), ErrorKind::NotFound);
        put(&one, &text);
        assert_eq!(other.get(&name(&text), 100).unwrap(), text.as_bytes());
        assert_eq!(listed(&other, "things").len(), round + 1);
        let taken = other.put_if_absent(&name(&text), &[Bytes::from("x")]).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Exists);
    }
    // And what nobody was told of.
    let behind = place.objects().join("things/behind");
    std::fs::write(&behind, "12345").unwrap();
    assert_eq!(one.get(&name("things/behind"), 100).unwrap(), b"12345");
    std::fs::write(&behind, "1234567").unwrap();
    assert_eq!(one.get(&name("things/behind"), 100).unwrap(), b"1234567");
    std::fs::remove_file(&behind).unwrap();
    assert_eq!(listed(&one, "things").len(), 10);
    other.delete(&name("things/00/0")).unwrap();
    assert_eq!(listed(&one, "things").len(), 9);
    assert_eq!(one.get(&name("things/00/0"), 100).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::remove_dir_all(place.objects().join("things")).unwrap();
    assert_eq!(listed(&one, "things"), [""; 0]);
    put(&one, "things/00/0");
    assert_eq!(listed(&other, "things"), ["things/00/0"]);
}

#[test]
fn a_put_asks_four_times_once_folders_are_there() {
    let Some(place) = Place::new("the requests of a put by rclone") else { return };
    let storage = place.open();
    put(&storage, "packs/00/first");
    let before = storage.traffic().unwrap().requests;
    put(&storage, "packs/00/second");
    let after = storage.traffic().unwrap().requests;
    assert_eq!((after.put - before.put, after.total() - before.total()), (1, 4));
    // Somebody took the folders away, and this is seen when it matters.
    std::fs::remove_dir_all(place.objects()).unwrap();
    put(&storage, "packs/00/third");
    assert_eq!(listed(&storage, "packs"), ["packs/00/third"]);
}

#[test]
fn what_is_no_object_is_found() {
    let Some(place) = Place::new("strays by rclone") else { return };
    let storage = place.open();
    let unfinished = format!("tmp/{}", "0a".repeat(16));
    for file in ["packs/00/object", "packs/00/draft.tmp", "other/object", "note.txt", "tmp/x", &unfinished] {
        let path = place.objects().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "12345").unwrap();
    }
    // Where something was, folders stay.
    std::fs::create_dir_all(place.objects().join("probe-x/a/b")).unwrap();
    let mut found = Vec::new();
    let visited = storage.strays(&["packs", "index"], &mut |stray| {
        found.push((String::from_utf8(stray.path).unwrap(), stray.size_bytes, stray.is_unfinished));
        Ok(())
    });
    visited.unwrap();
    found.sort_unstable();
    let expected = [
        ("note.txt", 5, false),
        ("other", 0, false),
        ("packs/00/draft.tmp", 5, false),
        (unfinished.as_str(), 5, true),
        ("tmp/x", 5, false),
    ];
    assert_eq!(found, expected.map(|(path, size, is)| (path.to_owned(), size, is)));
}

#[test]
fn a_missing_program_and_a_bad_remote_are_told() {
    let Some(place) = Place::new("refusals of rclone") else { return };
    let missing = RemoteOptions { rclone_program: place.scratch.join("nothing"), ..place.options() };
    let error = place.open_as(&place.location(), &missing).get(&name("a/b"), 1).unwrap_err();
    let chain = error.chain().join(": ");
    assert_eq!(error.kind(), ErrorKind::Usage, "{chain}");
    assert!(chain.contains("install rclone") && chain.contains("PACKSTONE_RCLONE_COMMAND"), "{chain}");
    let storage = place.open_as("rclone:no-such-remote:x", &place.options());
    // As often as it is asked.
    for _ in 0..2 {
        let error = storage.get(&name("a/b"), 1).unwrap_err();
        let chain = error.chain().join(": ");
        assert!(chain.contains("didn't find section in config file"), "{chain}");
    }
    drop(storage);
    place.assert_left_alone();
}

#[test]
fn a_process_that_died_is_started_again_and_one_that_does_nothing_is_not() {
    let Some(place) = Place::new("the death of rclone") else { return };
    let storage = place.open();
    put(&storage, "things/1");
    for (process, arguments) in place.processes() {
        assert!(!arguments.contains("PASS"), "{arguments}");
        assert!(test_kill_process(process).is_ok());
    }
    let first = place.rclone().unwrap();
    kill_process(first, Signal::KILL).unwrap();
    put(&storage, "things/2");
    assert_eq!(listed(&storage, "things"), ["things/1", "things/2"]);
    assert_ne!(place.rclone().unwrap(), first);
    drop(storage);
    place.assert_left_alone();
    // One that says something and goes.
    let broken = place.scratch.join("broken");
    write_program(&broken, "echo 'last words' >&2\nexit 3\n");
    let options = RemoteOptions { rclone_program: broken, ..place.options() };
    let error = place.open_as(&place.location(), &options).get(&name("a/b"), 1).unwrap_err();
    assert!(error.chain().join(": ").contains("last words"), "{error}");
}

/// Nobody of the run before removes what the next one made.
#[test]
fn the_death_of_the_shell_between_is_no_hindrance() {
    let Some(place) = Place::new("the death of the shell that keeps rclone") else { return };
    let storage = place.open();
    put(&storage, "things/0");
    for round in 1..=5 {
        let before = place.processes();
        let is_shell =
            |(process, _): &&(Pid, String)| rustix::process::getpgid(Some(*process)) == Ok(*process);
        let (shell, _) = before.iter().find(is_shell).unwrap();
        kill_process(*shell, Signal::KILL).unwrap();
        // Until it is gone but for its name, nobody can know.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", shell.as_raw_pid())).unwrap();
        while !state().rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")) {
            std::thread::yield_now();
        }
        put(&storage, &format!("things/{round}"));
        let after = place.processes();
        assert!(before.iter().all(|old| !after.contains(old)), "{before:?} {after:?}");
    }
    assert_eq!(listed(&storage, "things").len(), 6);
    drop(storage);
    place.assert_left_alone();
}

#[test]
fn the_program_holds_a_whole_life_by_rclone() {
    life(Place::new("the life of a repository by rclone"));
}

#[cfg(feature = "s3")]
#[test]
fn the_program_holds_a_whole_life_by_rclone_in_a_bucket() {
    life(Place::in_bucket("the life of a repository by rclone in a bucket"));
}

fn life(place: Option<Place>) {
    let Some(place) = place else { return };
    let [source, target] = ["source", "target"].map(|name| place.scratch.join(name));
    generate(21, &source, Size::Small);
    let tree = source.to_str().unwrap();
    place.run(&["repo", "init"]);
    place.run(&["backup", tree]);
    mutate(22, &source);
    place.run(&["backup", tree]);
    place.run(&["repo", "check", "--read-data"]);
    place.run(&["forget", "--keep-last", "1"]);
    place.run(&["repo", "prune", "--sole-pruner", "--max-unused", "0"]);
    place.run(&["repo", "check", "--read-data"]);
    place.run(&["restore", "latest", "--path", tree, "--target", target.to_str().unwrap()]);
    let restored = [target.clone(), target.join(tree.trim_start_matches('/'))];
    let restored = restored.iter().rfind(|folder| folder.is_dir()).unwrap();
    assert_same(&dump(&source), &dump(restored));
    place.assert_left_alone();
}

/// Starts a backup of much and waits until the first pack is there.
fn begin_backup(place: &Place) -> std::process::Child {
    let source = place.scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    let mut random = crate::support::random::Random::new(5);
    for number in 0..60 {
        std::fs::write(source.join(number.to_string()), random.bytes(1 << 20)).unwrap();
    }
    place.run(&["repo", "init"]);
    let mut child = place
        .packstone(&["backup", "--limit-upload", "8M", source.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is in the middle as soon as it writes something large.
    let unfinished = place.objects().join("tmp");
    let is_writing = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).any(|found| found.len() > 1 << 20)
    };
    while !is_writing(&unfinished) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote anything");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_backup_goes_on_when_rclone_dies_in_the_middle() {
    let Some(place) = Place::new("the death of rclone in a backup") else { return };
    let child = begin_backup(&place);
    kill_process(place.rclone().unwrap(), Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    place.run(&["repo", "check", "--read-data"]);
    place.assert_left_alone();
}

#[test]
fn rclone_does_not_outlive_a_program_that_was_killed() {
    let Some(place) = Place::new("what is left of rclone after a kill") else { return };
    let mut child = begin_backup(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    // The system tells the shell at once, which then needs its time.
    let begin = std::time::Instant::now();
    while !place.processes().is_empty() || std::fs::read_dir(place.scratch.join("run")).unwrap().count() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", place.processes());
        std::thread::sleep(Duration::from_millis(5));
    }
}
