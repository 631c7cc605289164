//! Whatever happens to stored bytes, nothing wrong is given back as right.

use std::collections::BTreeMap;
use std::sync::Arc;

use packstone::base::host::Host;
use packstone::base::{ErrorKind, Result, Silent};
use packstone::format::config::Parameters;
use packstone::format::node::NodeKind;
use packstone::ops::backup::{BackupOptions, backup_paths};
use packstone::ops::dump::dump_file;
use packstone::ops::list::list;
use packstone::ops::restore::{RestoreOptions, restore};
use packstone::repository::Repository;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use crate::engine::{init, key};
use crate::support::scratch::Scratch;

type Content = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A small repository: text, a bundle of tiny files, something incompressible, a subdirectory.
struct Sample {
    memory: Memory,
    content: Content,
    scratch: Scratch,
}

impl Sample {
    fn new() -> Self {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        std::fs::create_dir_all(source.join("below")).unwrap();
        std::fs::write(source.join("text"), "one line like the other\n".repeat(300)).unwrap();
        for number in 0..10 {
            std::fs::write(source.join(format!("below/tiny{number}")), format!("number {number}")).unwrap();
        }
        let mut noise = vec![0; 9000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        std::fs::write(source.join("below/noise"), noise).unwrap();
        let memory = Memory::new();
        let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
        let options = BackupOptions { workers: 1, ..BackupOptions::new(Host::current()) };
        backup_paths(&repository, &[source], scratch.path(), &options, &Silent).unwrap();
        drop(repository);
        let content = read(&memory).unwrap();
        assert!(content.len() > 14);
        Self { memory, content, scratch }
    }
}

/// Everything that the newest snapshot holds, read in full.
fn read(memory: &Memory) -> Result<Content> {
    let repository = Repository::open(Arc::new(memory.clone()), &key(), None)?;
    let snapshots = repository.snapshots()?;
    let latest = snapshots.find("latest")?;
    let mut content = Content::new();
    list(&repository, latest, None, &Silent, &mut |path, entry| {
        let file = matches!(entry.node.kind, NodeKind::Regular(_)).then(Vec::new);
        content.insert(path.to_vec(), file);
        Ok(())
    })?;
    for (path, file) in &mut content {
        if let Some(bytes) = file {
            dump_file(&repository, latest, path, bytes, &Silent)?;
        }
    }
    Ok(content)
}

/// True if a change of the storage was met; fails the test if it was not, and something wrong was read.
fn is_met(sample: &Sample, what: &str) -> bool {
    match read(&sample.memory) {
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Failed, "{what}: {error:?}");
            true
        }
        Ok(content) => {
            assert_eq!(content, sample.content, "{what}: wrong content was read as right");
            false
        }
    }
}

fn bytes(memory: &Memory, name: &ObjectName) -> Vec<u8> {
    memory.bytes(name).unwrap().to_vec()
}

#[test]
fn a_flipped_bit_anywhere_is_met_or_harmless() {
    let sample = Sample::new();
    let mut tried = 0;
    for name in sample.memory.names() {
        let whole = bytes(&sample.memory, &name);
        // Readers need no pack's header, directory or trailer, and no session record.
        let is_needed = |position: usize| match name.folder() {
            "packs" => (96..96 + 200).contains(&position),
            "sessions" => false,
            _ => true,
        };
        let step = if name.folder() == "packs" { 13 } else { 5 };
        for position in (0..whole.len()).step_by(step) {
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << (position % 8);
            sample.memory.replace(&name, flipped);
            let met = is_met(&sample, &format!("{name} byte {position}"));
            assert!(met || !is_needed(position), "{name} byte {position} was not met");
            tried += 1;
        }
        sample.memory.replace(&name, whole);
    }
    assert!(!is_met(&sample, "everything is whole again"));
    println!("{tried} flipped bits");
    assert!(tried > 1000, "{tried}");
}

#[test]
fn a_removed_or_shortened_object_is_met() {
    let sample = Sample::new();
    for name in sample.memory.names() {
        let whole = bytes(&sample.memory, &name);
        sample.memory.remove(&name);
        let met = is_met(&sample, &format!("{name} removed"));
        assert_eq!(met, name.folder() != "sessions", "{name} removed");
        for length in [0, 1, 11, 12, 95, 96, 112, whole.len() / 2, whole.len() - 1] {
            sample.memory.replace(&name, whole[..length.min(whole.len() - 1)].to_vec());
            is_met(&sample, &format!("{name} cut to {length}"));
        }
        let longer = [whole.as_slice(), b"x"].concat();
        sample.memory.replace(&name, longer);
        is_met(&sample, &format!("{name} made longer"));
        sample.memory.replace(&name, whole);
    }
}

#[test]
fn an_object_in_anothers_place_is_met() {
    let sample = Sample::new();
    let names = sample.memory.names();
    for name in &names {
        let whole = bytes(&sample.memory, name);
        for other in names.iter().filter(|other| *other != name) {
            sample.memory.replace(name, bytes(&sample.memory, other));
            let met = is_met(&sample, &format!("{other} in the place of {name}"));
            assert_eq!(met, name.folder() != "sessions", "{other} in the place of {name}");
        }
        sample.memory.replace(name, whole);
    }
}

#[test]
fn a_restore_of_damaged_content_leaves_no_wrong_file_and_says_so() {
    let sample = Sample::new();
    let repository = Repository::open(Arc::new(sample.memory.clone()), &key(), None).unwrap();
    let snapshots = repository.snapshots().unwrap();
    let latest = snapshots.find("latest").unwrap();
    let packs: Vec<ObjectName> =
        sample.memory.names().into_iter().filter(|name| name.folder() == "packs").collect();
    assert_eq!(packs.len(), 2);
    let source = sample.scratch.join("source");
    for (round, name) in packs.iter().enumerate() {
        let whole = bytes(&sample.memory, name);
        let mut damaged = whole.clone();
        damaged[120] ^= 4;
        sample.memory.replace(name, damaged);
        let target = sample.scratch.join(&format!("target{round}"));
        let path = source.as_os_str().as_encoded_bytes();
        let outcome = restore(&repository, latest, Some(path), &target, &RestoreOptions::default(), &Silent);
        match outcome {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged),
            Ok(summary) => {
                assert!(summary.damaged > 0 && summary.findings >= summary.damaged);
                let mut right = 0;
                for (path, file) in &sample.content {
                    let Some(expected) = file else { continue };
                    let below =
                        std::str::from_utf8(path).unwrap().strip_prefix(source.to_str().unwrap()).unwrap();
                    match std::fs::read(target.join(below.trim_start_matches('/'))) {
                        Ok(found) => {
                            assert_eq!(found, *expected, "{below}");
                            right += 1;
                        }
                        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
                    }
                }
                assert!(right < sample.content.len());
            }
        }
        sample.memory.replace(name, whole);
    }
}

#[test]
fn names_that_no_repository_has_are_passed_over() {
    let sample = Sample::new();
    for name in
        ["snapshots/zz", "snapshots/00/11", "index/00", "packs/00/11", "keys/x", "config/x", "elsewhere/x"]
    {
        let name = ObjectName::parse(name).unwrap();
        sample.memory.put_if_absent(&name, &[b"x".to_vec().into()]).unwrap();
        // A stray key slot is a slot that cannot be read; it stands in nobody's way.
        assert!(!is_met(&sample, name.as_str()));
    }
}
