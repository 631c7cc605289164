//! The program is killed or interrupted in the middle of a first backup, again and again at other moments. What it had
//! published by then is there, is used by the next run, and everything comes back.
//!
//! What must hold: the moments are states of the repository's folder (so many packs or index runs are in it), never
//! times; the killed process is the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use packstone::base::ChunkId;
use packstone::format::config::{Packing, Parameters};
use packstone::format::node::NodeKind;
use packstone::format::snapshot::Statistic;
use packstone::ops::list::list;
use packstone::repository::Repository;
use packstone::storage::local::Local;
use packstone::tree::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::engine::{Findings, KEY, give_back, init, open, snapshot, statistic};
use crate::support::dump::{assert_same, dump};
use crate::support::need::is_full;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Many packs of little data.
const PACKING: Packing = Packing { segment_bytes: 64 << 10, pack_bytes: 256 << 10 };
/// Files of content that cannot be compressed, each of more than one chunk.
const FILES: usize = 48;
const FILE_BYTES: usize = 300 << 10;

/// A state of the repository's folder: so many objects are in the folder of this name.
#[derive(Clone, Copy, Debug)]
struct Moment(&'static str, usize);

/// How the program ends before it is done.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// As by a crash.
    Kill,
    /// By the user.
    Interrupt,
}

/// All files below a folder, by path; nothing if there is no such folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

struct Place {
    scratch: Scratch,
    source: PathBuf,
    repository: PathBuf,
    key_file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let [source, repository, key_file] = ["source", "repository", "key"].map(|name| scratch.join(name));
        std::fs::write(&key_file, KEY).expect("a key file");
        std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).expect("a mode");
        let mut random = Random::new(4);
        std::fs::create_dir(&source).expect("a folder");
        for number in 0..FILES {
            std::fs::write(source.join(format!("file {number}")), random.bytes(FILE_BYTES)).expect("a file");
        }
        for number in 0..300 {
            let below = source.join(format!("below {}", number % 7));
            std::fs::create_dir_all(&below).expect("a folder");
            std::fs::write(below.join(number.to_string()), format!("number {number}\n").repeat(number))
                .expect("a file");
        }
        let local = Arc::new(Local::create(&repository).expect("a folder"));
        init(local, Parameters { packing: PACKING, ..Parameters::default() }, None);
        Self { scratch, source, repository, key_file }
    }

    fn open(&self, folder: &Path) -> Repository {
        open(Arc::new(Local::open(folder).expect("a repository")), None)
    }

    /// The real program, which publishes an index run behind every pack.
    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command
            .args(["--quiet", "--no-cache", "--repository"])
            .arg(&self.repository)
            .arg("--key-file")
            .arg(&self.key_file)
            .args(["backup", "--checkpoint-interval", "0s"])
            .arg(&self.source)
            .stdin(Stdio::null());
        command
    }

    /// Starts the program, and stops it as soon as the folder is in this state. False if it ended before.
    fn stop_at(&self, moment: Moment, stop: Stop) -> bool {
        let mut child = Running(self.program().spawn().expect("the program can be started"));
        let Moment(folder, count) = moment;
        while files(&self.repository.join(folder)).len() < count {
            if child.0.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let signal = match stop {
            Stop::Kill => Signal::KILL,
            Stop::Interrupt => Signal::INT,
        };
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&child.0), signal);
        let status = child.0.wait().expect("a child");
        match stop {
            Stop::Kill => status.signal() == Some(9),
            Stop::Interrupt => status.code() == Some(130),
        }
    }
}

/// Killed at the latest when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The chunks of all contents of the one snapshot.
fn data_chunks(repository: &Repository) -> BTreeSet<ChunkId> {
    let snapshots = repository.snapshots().expect("snapshots").visible;
    let [entry] = snapshots.as_slice() else { panic!("{} snapshots", snapshots.len()) };
    let reader = repository.reader().expect("an index");
    let mut chunks = BTreeSet::new();
    let findings = Findings::default();
    list(repository, entry, None, &findings, &mut |_, entry| {
        chunks.extend(entry.bundle.as_ref().map(|bundle| bundle.id));
        if let (NodeKind::Regular(regular), None) = (&entry.node.kind, &entry.bundle) {
            Tree::new(&reader).content(regular, &mut |chunk| {
                chunks.insert(chunk.id);
                Ok(())
            })?;
        }
        Ok(())
    })
    .expect("a list");
    findings.assert_none();
    chunks
}

/// The bytes of all packs and index runs, by path.
fn objects(repository: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    let of = |folder: &str| files(&repository.join(folder));
    let paths = of("packs").into_iter().chain(of("index"));
    paths.map(|path| (path.clone(), blake3::hash(&std::fs::read(path).expect("an object")))).collect()
}

fn check(moment: Moment, stop: Stop) {
    let place = Place::new();
    assert!(place.stop_at(moment, stop), "{moment:?}: the program ended before");
    let killed = objects(&place.repository);
    for (path, hash) in &killed {
        let name = path.file_name().expect("a name").to_string_lossy();
        assert_eq!(name, hash.to_hex().as_str(), "{moment:?}: an object is not whole");
    }
    // Frozen, because a reader looks for newer index runs.
    let frozen = place.scratch.join("frozen");
    let copied = Command::new("cp").arg("-a").arg(&place.repository).arg(&frozen).status();
    assert!(copied.expect("cp can be started").success());
    let repository = place.open(&frozen);
    let snapshots = repository.snapshots().expect("snapshots");
    assert_eq!((snapshots.visible.len(), snapshots.damaged.len()), (0, 0), "{moment:?}");

    let status = place.program().status().expect("the program can be started");
    assert!(status.success(), "{moment:?}: the next run failed: {status}");
    let finished = objects(&place.repository);
    assert!(
        killed.iter().all(|object| finished.get(object.0) == Some(object.1)),
        "{moment:?}: objects are gone"
    );

    let again = place.open(&place.repository);
    let chunks = data_chunks(&again);
    let frozen_reader = repository.reader().expect("an index");
    let known = chunks.iter().filter(|id| frozen_reader.placement(id).is_ok()).count();
    let id = again.snapshots().expect("snapshots").visible[0].id;
    let entry = snapshot(&again, id);
    let added = statistic(&entry.snapshot, Statistic::DataChunksAdded);
    assert_eq!(added, (chunks.len() - known) as u64, "{moment:?}: what an index run names is stored again");
    let new_bytes = |folder: &str| {
        let new = finished.keys().filter(|path| !killed.contains_key(*path));
        let new = new.filter(|path| path.starts_with(place.repository.join(folder)));
        new.map(|path| path.metadata().expect("an object").len()).sum::<u64>()
    };
    let stored = statistic(&entry.snapshot, Statistic::BytesStored);
    assert_eq!(new_bytes("packs") + new_bytes("index"), stored, "{moment:?}");
    if moment.0 == "index" {
        // Each index run names one pack of about this size.
        let kept = moment.1 * PACKING.pack_bytes as usize / 2;
        let total = FILES * FILE_BYTES;
        assert!(known > 0 && stored < (total - kept) as u64, "{moment:?}: {stored} bytes stored again");
    }

    let target = place.scratch.join("target");
    give_back(&again, id, Some(&place.source), &target);
    assert_same(&dump(&place.source), &dump(&target));
    println!("{moment:?}: {known} of {} chunks were known, {} objects there", chunks.len(), killed.len());
}

macro_rules! moments {
    ($($name:ident $stop:ident $folder:literal $count:literal)*) => {
        $(#[test]
        fn $name() {
            check(Moment($folder, $count), Stop::$stop);
            // One session is all there is.
            let more = if is_full() && $folder != "sessions" { 6 } else { 0 };
            (0..more).for_each(|more| check(Moment($folder, $count + 1 + more), Stop::$stop));
        })*
    };
}

// Many tests, so that they run beside each other.
moments! {
    killed_once_its_session_has_begun Kill "sessions" 1
    killed_after_the_first_pack Kill "packs" 1
    killed_after_the_first_index_run Kill "index" 1
    killed_after_4_packs Kill "packs" 4
    killed_after_9_index_runs Kill "index" 9
    killed_after_17_packs Kill "packs" 17
    killed_after_26_index_runs Kill "index" 26
    killed_after_40_packs Kill "packs" 40
    interrupted_once_its_session_has_begun Interrupt "sessions" 1
    interrupted_after_the_first_index_run Interrupt "index" 1
    interrupted_after_9_packs Interrupt "packs" 9
    interrupted_after_20_index_runs Interrupt "index" 20
}
