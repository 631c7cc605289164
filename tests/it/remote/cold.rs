//! What it costs to get one file back, and to list snapshots, where nothing is kept on the machine, and where something is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use packstone::base::Silent;
use packstone::format::config::Parameters;
use packstone::ops::dump::dump_file;
use packstone::storage::{ObjectName, Storage, Traffic};

use super::place::Place;
use crate::engine::{back_up, init, open, snapshot};
use crate::support::need::Server;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

const FOLDERS: usize = 100;
const LINKS: usize = 50;
const TARGET_BYTES: usize = 2000;

/// Stored bytes of a folder of the repository.
fn stored_bytes(storage: &dyn Storage, folder: &str) -> u64 {
    let mut bytes = 0;
    let mut add = |listed: packstone::storage::Listed| {
        bytes += listed.size_bytes;
        Ok(())
    };
    storage.list(folder, None, &mut add).unwrap();
    bytes
}

/// Many folders of links whose targets do not compress, and two files that do not either.
fn lay_out(source: &Path) -> Vec<u8> {
    let mut random = Random::new(21);
    for folder in 0..FOLDERS {
        let folder = source.join(format!("folder {folder}"));
        std::fs::create_dir_all(&folder).unwrap();
        for link in 0..LINKS {
            let mut target = random.bytes(TARGET_BYTES);
            target.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 1);
            std::os::unix::fs::symlink(OsStr::from_bytes(&target), folder.join(link.to_string())).unwrap();
        }
    }
    let deep = source.join("folder 50/a/b/c/d");
    std::fs::create_dir_all(&deep).unwrap();
    let wanted = random.bytes(3 << 20);
    std::fs::write(deep.join("wanted"), &wanted).unwrap();
    std::fs::write(source.join("other"), random.bytes(9 << 20)).unwrap();
    wanted
}

/// The usual parameters, on a real protocol: bytes that arrive are counted where they arrive.
#[test]
fn one_file_takes_the_index_and_little_more() {
    let Some(place) = Place::new(Server::S3, "what one file costs") else { return };
    let scratch = Scratch::new();
    let source = scratch.join("source");
    let wanted = lay_out(&source);
    init(place.open(), Parameters::default(), None);
    let id = back_up(&open(place.open(), None), &source).id;
    let path = source.join("folder 50/a/b/c/d/wanted");
    let take = |cache: &Path| {
        let storage = place.open();
        let repository = open(Arc::clone(&storage) as Arc<dyn Storage>, Some(cache));
        let entry = snapshot(&repository, id);
        let mut content = Vec::new();
        let path = path.as_os_str().as_encoded_bytes();
        dump_file(&repository, &entry, path, &mut content, &Silent).unwrap();
        assert!(content == wanted);
        storage.traffic().unwrap()
    };
    let storage = place.open();
    let index_bytes = stored_bytes(&*storage, "index");
    let packs_bytes = stored_bytes(&*storage, "packs");
    let cold = take(&scratch.join("cache"));
    let warm = take(&scratch.join("cache"));
    println!("index {index_bytes} packs {packs_bytes} cold {cold:?} warm {warm:?}");
    // Segments hold 1 MiB and up to one chunk more: what is wanted, and its neighbours at both ends.
    let segments_bytes = wanted.len() as u64 + (3 << 20);
    let trees_bytes = packs_bytes - (12 << 20);
    assert!(trees_bytes > 8 << 20, "the test is too small: {trees_bytes} bytes of trees");
    // Reading all trees would be too much.
    assert!(cold.received_bytes <= index_bytes + (4 << 20) + segments_bytes, "{cold:?}");
    // Of trees nothing comes again: the config, a slot, and the file.
    assert!(warm.received_bytes <= segments_bytes, "{warm:?}");
    assert!(warm.requests.get < cold.requests.get, "{warm:?} after {cold:?}");
}

/// Each snapshot is read once; one request lists all of them, and one those that were forgotten.
#[test]
fn snapshots_are_listed_by_one_request_for_a_folder() {
    let Some(place) = Place::new(Server::S3, "what a list of snapshots costs") else { return };
    let scratch = Scratch::new();
    let (source, cache) = (scratch.join("source"), scratch.join("cache"));
    std::fs::create_dir_all(&source).unwrap();
    init(place.open(), Parameters::tiny(), None);
    let names = |storage: &dyn Storage| {
        let mut names: Vec<ObjectName> = Vec::new();
        let mut add = |listed: packstone::storage::Listed| {
            names.push(listed.name);
            Ok(())
        };
        storage.list("snapshots", None, &mut add).unwrap();
        names.len() as u64
    };
    for number in 0..3 {
        std::fs::write(source.join("file"), format!("{number}")).unwrap();
        back_up(&open(place.open(), None), &source);
    }
    let records = names(&*place.open());
    assert_eq!(records, 3);
    let list = || {
        let storage = place.open();
        let repository = open(Arc::clone(&storage) as Arc<dyn Storage>, Some(&cache));
        let opened = storage.traffic().unwrap();
        assert_eq!(repository.snapshots().unwrap().visible.len(), 3);
        let Traffic { requests: asked, repeated, .. } = storage.traffic().unwrap();
        assert_eq!(repeated, 0);
        let before = opened.requests;
        (asked.list - before.list, asked.get - before.get, asked.total() - before.total())
    };
    let (lists, gets, all) = list();
    println!("{lists} lists, {gets} gets, {all} requests for 3 snapshots");
    assert_eq!((lists, all), (2, lists + gets));
    assert!(gets <= records, "{gets}");
    let (lists, gets, all) = list();
    println!("{lists} lists, {gets} gets, {all} requests when they are known");
    assert_eq!((lists, gets, all), (2, 0, 2));
}
