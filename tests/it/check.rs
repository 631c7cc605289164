//! What `repo check` finds: every damage of every object, nothing where there is none, and the files that are hurt.

mod races;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use packstone::base::host::Host;
use packstone::base::monitor::{Finding, Monitor};
use packstone::base::{ErrorKind, FindingKind, Result, SessionId, Silent};
use packstone::format::config::Parameters;
use packstone::format::names;
use packstone::format::node::{NodeKind, XattrValue};
use packstone::ops::backup::{BackupOptions, backup_paths};
use packstone::ops::check::{CheckOptions, CheckSummary, Portion, check};
use packstone::ops::dump::dump_file;
use packstone::ops::list::list;
use packstone::repository::{ChunkKind, MemoryLimit, Repository, StorageSummary, check_storage};
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use crate::engine::{init, key};
use crate::support::need::is_full;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Reads all packs.
const ALL: CheckOptions = CheckOptions { read: Some(Portion::All) };
/// Reads none.
const STRUCTURE: CheckOptions = CheckOptions { read: None };

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    findings: Mutex<Vec<Finding>>,
    notes: Mutex<Vec<String>>,
}

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.clone());
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

/// A repository with two snapshots: text, tiny files, something incompressible, a big file, a wide directory, an
/// extended attribute that is a chunk of its own where the file system takes one.
struct Sample {
    memory: Memory,
    scratch: Scratch,
}

impl Sample {
    /// Two snapshots that are small enough to try every bit.
    fn small() -> Self {
        let sample = Self { memory: Memory::new(), scratch: Scratch::new() };
        std::fs::create_dir_all(sample.source().join("below")).unwrap();
        std::fs::write(sample.source().join("text"), "one line like the other\n".repeat(100)).unwrap();
        std::fs::write(sample.source().join("below/tiny"), "tiny").unwrap();
        let repository = init(Arc::new(sample.memory.clone()), Parameters::tiny(), None);
        sample.back_up(&repository);
        std::fs::write(sample.source().join("second"), noise(1, 2000)).unwrap();
        sample.back_up(&repository);
        sample
    }

    fn new() -> Self {
        let sample = Self { memory: Memory::new(), scratch: Scratch::new() };
        let source = sample.source();
        std::fs::create_dir_all(source.join("below/wide")).unwrap();
        std::fs::write(source.join("text"), "one line like the other\n".repeat(300)).unwrap();
        for number in 0..10 {
            std::fs::write(source.join(format!("below/tiny{number}")), format!("number {number}")).unwrap();
        }
        for number in 0..60 {
            let name = format!("below/wide/a rather long name of a file, so that pages are full {number}");
            std::fs::write(source.join(name), noise(number, 300)).unwrap();
        }
        std::fs::write(source.join("below/big"), noise(1000, 70_000)).unwrap();
        let value = noise(1001, 600);
        let flags = rustix::fs::XattrFlags::empty();
        // Where the file system does not take it, the sample is a little poorer.
        let _ = rustix::fs::setxattr(source.join("text"), "user.long", &value, flags);
        let repository = init(Arc::new(sample.memory.clone()), Parameters::tiny(), None);
        sample.back_up(&repository);
        std::fs::write(source.join("second"), noise(1002, 5000)).unwrap();
        sample.back_up(&repository);
        sample
    }

    fn source(&self) -> PathBuf {
        self.scratch.join("source")
    }

    fn back_up(&self, repository: &Repository) -> SessionId {
        let options = BackupOptions { workers: 1, ..BackupOptions::new(Host::current()) };
        backup_paths(repository, &[self.source()], Path::new("/"), &options, &Silent).unwrap().id
    }

    fn open(&self) -> Result<Repository> {
        Repository::open(Arc::new(self.memory.clone()), &key(), None)
    }

    fn check(&self, options: &CheckOptions) -> Result<CheckSummary> {
        check(&self.open()?, options, &Silent)
    }

    /// Whether a change of the storage is met.
    fn is_met(&self, options: &CheckOptions, what: &str) -> bool {
        match self.check(options) {
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::Damaged
                            | ErrorKind::Unsupported
                            | ErrorKind::NoRepository
                            | ErrorKind::WrongKey
                    ),
                    "{what}: {error:?}"
                );
                true
            }
            Ok(summary) => {
                assert_eq!(summary.damages.len() as u64, summary.damaged, "{what}");
                summary.damaged + summary.unreadable > 0
            }
        }
    }

    fn bytes(&self, name: &ObjectName) -> Vec<u8> {
        self.memory.bytes(name).unwrap().to_vec()
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What a storage can lose without a trace: it says so in its newest state, which a client must remember.
fn leaves_no_trace(name: &ObjectName) -> bool {
    ["sessions", "snapshots"].contains(&name.folder())
}

#[test]
fn a_whole_repository_gives_no_finding() {
    let sample = Sample::new();
    for options in [STRUCTURE, ALL] {
        let told = Told::default();
        let summary = check(&sample.open().unwrap(), &options, &told).unwrap();
        assert_eq!(told.findings.into_inner().unwrap(), []);
        assert_eq!(told.notes.into_inner().unwrap(), [""; 0]);
        assert_eq!((summary.damaged, summary.unreadable), (0, 0));
        let counted = summary.counted;
        assert_eq!((counted.snapshots, counted.open_sessions, counted.gaps), (2, 0, 0));
        assert_eq!(counted.leftovers, Default::default());
        assert_eq!((counted.foreign.count, counted.unfinished.count), (0, 0));
        assert!(summary.trees.pages > 10, "{}", summary.trees.pages);
        let packs: Vec<ObjectName> = packs(&sample);
        assert_eq!(counted.packs.count, packs.len() as u64);
        let bytes: usize = packs.iter().map(|name| sample.bytes(name).len()).sum();
        assert_eq!(counted.packs.size_bytes, bytes as u64);
        if options == ALL {
            assert_eq!(summary.read, counted.packs);
        } else {
            assert_eq!(summary.read.count, 0);
        }
    }
}

fn packs(sample: &Sample) -> Vec<ObjectName> {
    sample.memory.names().into_iter().filter(|name| name.folder() == "packs").collect()
}

#[test]
fn every_flipped_bit_is_found() {
    let sample = if is_full() { Sample::small() } else { Sample::new() };
    let mut random = Random::new(7);
    let mut tried = 0;
    for name in sample.memory.names() {
        let whole = sample.bytes(&name);
        let mut flip = |position: usize, bit: usize| {
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << bit;
            sample.memory.replace(&name, flipped);
            assert!(
                sample.is_met(&ALL, "a flipped bit"),
                "{name}: bit {bit} of byte {position} was not found"
            );
            tried += 1;
        };
        if is_full() {
            (0..whole.len() * 8).for_each(|bit| flip(bit / 8, bit % 8));
        } else {
            // The first and last bytes, where heads, headers, trailers and tags are, and a sample of the others.
            let ends = (0..112).chain(whole.len().saturating_sub(60)..whole.len());
            ends.filter(|position| *position < whole.len())
                .step_by(7)
                .for_each(|position| flip(position, position % 8));
            for _ in 0..40 {
                flip(random.range(0..whole.len()), random.range(0..8));
            }
        }
        sample.memory.replace(&name, whole);
    }
    assert!(!sample.is_met(&ALL, "everything is whole again"));
    println!("{tried} flipped bits, all of them found");
    assert!(tried > 500, "{tried}");
}

#[test]
fn every_removed_or_cut_object_is_found_without_reading_packs() {
    let sample = Sample::new();
    let mut tried = 0;
    for name in sample.memory.names() {
        let whole = sample.bytes(&name);
        sample.memory.remove(&name);
        let met = sample.is_met(&STRUCTURE, "a removed object");
        assert!(met || leaves_no_trace(&name), "{name} removed");
        tried += 1;
        if name.folder() == "snapshots" {
            let counted = sample.check(&STRUCTURE).unwrap().counted;
            // The last of a chain leaves nothing behind it, since the record of its session may go.
            assert!(counted.open_sessions + counted.unexplained_gaps > 0, "{counted:?}");
        }
        let step = if is_full() { 1 } else { whole.len() / 12 + 1 };
        for length in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            sample.memory.replace(&name, whole[..length].to_vec());
            assert!(sample.is_met(&STRUCTURE, "a cut object"), "{name} cut to {length} bytes");
            tried += 1;
        }
        sample.memory.replace(&name, [whole.as_slice(), b"x"].concat());
        assert!(sample.is_met(&STRUCTURE, "a longer object"), "{name} made longer");
        sample.memory.replace(&name, whole);
    }
    assert!(!sample.is_met(&STRUCTURE, "everything is whole again"));
    println!("{tried} objects removed or cut, all of them found");
}

#[test]
fn every_object_in_anothers_place_is_found() {
    let sample = Sample::new();
    let all = sample.memory.names();
    let mut tried = 0;
    for name in &all {
        let whole = sample.bytes(name);
        for other in all.iter().filter(|other| *other != name) {
            sample.memory.replace(name, sample.bytes(other));
            assert!(sample.is_met(&ALL, "a swapped object"), "{other} in the place of {name}");
            tried += 1;
        }
        sample.memory.replace(name, whole);
    }
    println!("{tried} objects in the places of others, all of them found");
}

/// What cannot be read of each snapshot, by reading all of it, attributes of files as well.
fn unreadable(repository: &Repository) -> BTreeSet<(SessionId, Vec<u8>)> {
    let mut unreadable = BTreeSet::new();
    let reader = repository.reader().unwrap();
    for entry in &repository.snapshots().unwrap().visible {
        let mut files = Vec::new();
        list(repository, entry, None, &Silent, &mut |path, found| {
            if matches!(found.node.kind, NodeKind::Regular(_)) {
                files.push(path.to_vec());
            }
            for attribute in &found.node.xattrs {
                if let XattrValue::Chunk(chunk) = &attribute.value
                    && reader.chunk(ChunkKind::Data, &chunk.id).is_err()
                {
                    unreadable.insert((entry.id, path.to_vec()));
                }
            }
            Ok(())
        })
        .unwrap();
        for path in files {
            if dump_file(repository, entry, &path, &mut Vec::new(), &Silent).is_err() {
                unreadable.insert((entry.id, path));
            }
        }
    }
    unreadable
}

#[test]
fn files_that_a_damaged_pack_hurts_are_those_that_cannot_be_read() {
    let sample = Sample::new();
    let mut met = 0;
    for name in packs(&sample) {
        let whole = sample.bytes(&name);
        // Data packs only: without trees nothing could be listed to compare with.
        if whole[9] != 3 {
            continue;
        }
        let mut places: Vec<usize> = (96..whole.len()).step_by(whole.len() / 10).collect();
        places.push(20);
        for position in places {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            sample.memory.replace(&name, damaged);
            let repository = sample.open().unwrap();
            let expected = unreadable(&repository);
            let summary = check(&repository, &ALL, &Silent).unwrap();
            assert_eq!(summary.damaged, 1, "{name} at {position}");
            assert_eq!(summary.damages[0].object, name.as_str());
            assert_eq!(summary.hurt.paths, expected.len() as u64, "{name} at {position}");
            let snapshots: BTreeSet<SessionId> = expected.iter().map(|(snapshot, _)| *snapshot).collect();
            assert_eq!(summary.hurt.snapshots, snapshots.len() as u64);
            match summary.hurt.by(0) {
                None => assert!(expected.is_empty()),
                Some(by) => {
                    assert_eq!(by.paths, expected.len() as u64);
                    assert_eq!(by.shown_snapshots.iter().copied().collect::<BTreeSet<_>>(), snapshots);
                    assert_eq!(by.shown_paths.len(), expected.len().min(10));
                    assert!(by.shown_paths.iter().all(|path| expected.contains(path)), "{by:?}");
                    met += 1;
                }
            }
        }
        sample.memory.replace(&name, whole);
    }
    assert!(met > 10, "{met}");
}

#[test]
fn all_files_are_hurt_if_all_packs_are_gone() {
    let sample = Sample::new();
    let repository = sample.open().unwrap();
    let files = |repository: &Repository| -> u64 {
        let snapshots = repository.snapshots().unwrap().visible;
        snapshots.iter().map(|entry| entry.snapshot.file_count()).sum()
    };
    let expected = files(&repository);
    let all = packs(&sample);
    let data: Vec<&ObjectName> = all.iter().filter(|name| sample.bytes(name)[9] == 3).collect();
    let number = data.len() as u64;
    for name in data {
        sample.memory.remove(name);
    }
    let summary = sample.check(&STRUCTURE).unwrap();
    assert_eq!((summary.damaged, summary.hurt.paths, summary.hurt.snapshots), (number, expected, 2));
    // Without trees, no more is known of each snapshot than that its root directory is lost.
    for name in packs(&sample) {
        sample.memory.remove(&name);
    }
    let summary = sample.check(&ALL).unwrap();
    assert_eq!(summary.damaged, all.len() as u64);
    assert_eq!((summary.hurt.paths, summary.hurt.snapshots), (2, 2));
    let shown: Vec<&[u8]> = summary
        .hurt
        .by_damage
        .values()
        .flat_map(|by| &by.shown_paths)
        .map(|(_, path)| path.as_slice())
        .collect();
    assert_eq!(shown, [b"/", b"/"]);
    // Without an index nothing has a place, and the packs are of no use.
    for name in sample.memory.names().into_iter().filter(|name| name.folder() == "index") {
        sample.memory.remove(&name);
    }
    let summary = sample.check(&ALL).unwrap();
    assert_eq!(summary.damages.iter().map(|damage| damage.object.as_str()).collect::<Vec<_>>(), ["index"]);
    assert_eq!((summary.hurt.paths, summary.hurt.snapshots), (2, 2));
}

#[test]
fn leftovers_are_told_and_are_no_damage() {
    let sample = Sample::new();
    let repository = sample.open().unwrap();
    // A run that was killed before its index run, and what does not belong here.
    let pack = packs(&sample).pop().unwrap();
    let mut stray = sample.bytes(&pack);
    stray[60] ^= 1;
    let name = names::pack(&packstone::base::ContentName(*blake3::hash(&stray).as_bytes()));
    let put = |name: &str, bytes: Vec<u8>| {
        sample.memory.put_if_absent(&ObjectName::parse(name).unwrap(), &[bytes.into()]).unwrap();
    };
    put(&name, stray);
    put("snapshots/zz", b"x".to_vec());
    put("packs/00/11", b"xyz".to_vec());
    let told = Told::default();
    let summary = check(&repository, &ALL, &told).unwrap();
    assert_eq!((summary.damaged, summary.unreadable), (0, 0));
    assert_eq!(summary.counted.leftovers.unnamed.count, 1);
    assert_eq!(summary.counted.foreign.count, 2);
    assert_eq!(told.findings.into_inner().unwrap(), []);
    assert_eq!(told.notes.into_inner().unwrap().len(), 2);
}

#[test]
fn packs_that_were_verified_longest_ago_are_read_next() {
    let sample = Sample::new();
    let cache = sample.scratch.join("cache");
    let open = || Repository::open(Arc::new(sample.memory.clone()), &key(), Some(cache.clone())).unwrap();
    let all = packs(&sample).len() as u64;
    let read_one = || check(&open(), &CheckOptions { read: Some(Portion::Bytes(1)) }, &Silent).unwrap();
    for _ in 0..all - 1 {
        assert_eq!(read_one().read.count, 1);
    }
    // The one that is left is damaged: whichever it is, it is found by the next, and again by each after it.
    let repository = open();
    let path = cache.join(repository.id().hex()).join("verified");
    let known = std::fs::read(&path).unwrap();
    assert_eq!(known.len() as u64, 16 + 40 * (all - 1) + 32);
    let is_known = |name: &ObjectName| {
        let name = names::parse_pack(name.as_str()).unwrap();
        known.windows(32).any(|window| window == name.as_bytes())
    };
    let left: Vec<ObjectName> = packs(&sample).into_iter().filter(|name| !is_known(name)).collect();
    assert_eq!(left.len(), 1);
    let whole = sample.bytes(&left[0]);
    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    sample.memory.replace(&left[0], damaged);
    for _ in 0..2 {
        let summary = read_one();
        assert_eq!((summary.read.count, summary.damaged), (1, 1));
        assert_eq!(summary.damages[0].object, left[0].as_str());
    }
    // A file that is spoiled is as good as none.
    std::fs::write(&path, b"nonsense").unwrap();
    assert_eq!(read_one().read.count, 1);
    let within = Portion::Within(std::time::Duration::from_secs(3600));
    assert_eq!(check(&open(), &CheckOptions { read: Some(within) }, &Silent).unwrap().read.count, all);
    // Nothing of the look itself is left in the cache.
    let mut kept: Vec<String> = std::fs::read_dir(cache.join(repository.id().hex()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort_unstable();
    assert!(kept.iter().all(|name| !name.contains("check") && !name.contains("tmp")), "{kept:?}");
    assert!(kept.contains(&"verified".to_owned()));
}

#[test]
fn parts_of_the_packs_are_read_once_by_all_parts_together() {
    let sample = Sample::new();
    let mut read = 0;
    for number in 1..=3 {
        read +=
            sample.check(&CheckOptions { read: Some(Portion::Part { number, of: 3 }) }).unwrap().read.count;
    }
    assert_eq!(read, packs(&sample).len() as u64);
}

fn check_stored(sample: &Sample, read_data: bool) -> (StorageSummary, Vec<Finding>) {
    let told = Told::default();
    let summary = check_storage(&sample.memory, read_data, MemoryLimit::default(), &told).unwrap();
    (summary, told.findings.into_inner().unwrap())
}

#[test]
fn without_a_key_every_changed_pack_run_and_slot_is_found_and_everything_that_is_cut() {
    let sample = Sample::new();
    for read_data in [false, true] {
        let (summary, findings) = check_stored(&sample, read_data);
        assert_eq!(findings, []);
        let all = sample.memory.names();
        assert_eq!((summary.objects.count, summary.damaged), (all.len() as u64, 0));
        let bytes: usize = all.iter().map(|name| sample.bytes(name).len()).sum();
        assert_eq!(summary.objects.size_bytes, bytes as u64);
        let is_hash = |name: &&ObjectName| ["packs", "index", "keys"].contains(&name.folder());
        let hashes = all.iter().filter(is_hash).count() as u64;
        assert_eq!(summary.hashed.count, if read_data { hashes } else { 1 });
    }
    let mut tried = 0;
    for name in sample.memory.names() {
        let whole = sample.bytes(&name);
        let is_hash = ["packs", "index", "keys"].contains(&name.folder());
        let found = |what: &str| {
            let (summary, findings) = check_stored(&sample, true);
            assert_eq!((summary.damaged + summary.unreadable, findings.len()), (1, 1), "{name} {what}");
            assert_eq!(findings[0].path, name.as_str().as_bytes());
            assert!([FindingKind::Damaged, FindingKind::Unreadable].contains(&findings[0].kind));
        };
        let end = if is_hash { whole.len() } else { 12 };
        for position in (0..end).step_by(if is_hash { 101 } else { 1 }) {
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << (position % 8);
            sample.memory.replace(&name, flipped);
            found("flipped");
            tried += 1;
        }
        // Of a config nothing says how long it is; of a record, only that most lengths are none.
        let cuts: &[usize] = match name.folder() {
            "config" => &[0, 11],
            _ if is_hash => &[0, 11, 12, 95, 112, whole.len() - 1],
            _ => &[0, 11, 12, 95, 111, 112],
        };
        for length in cuts {
            sample.memory.replace(&name, whole[..*length].to_vec());
            found("cut");
            tried += 1;
        }
        sample.memory.replace(&name, whole);
    }
    println!("{tried} changes, all of them found without a key");
}
