//! Storages that fail, are silent or damaged while files are read, and readers that go away.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use packstone::base::{Error, ErrorKind, Result};
use packstone::format::config::Parameters;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};
use rustix::io::Errno;

use super::{Mount, can_mount, options};
use crate::engine::{back_up, init, open};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// What becomes of requests for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fails,
    Waits,
}

#[derive(Debug, Default)]
struct Moods {
    objects: Mutex<Vec<(ObjectName, Mood)>>,
    waiting: Mutex<usize>,
    changed: Condvar,
}

/// A storage that gives some objects badly.
#[derive(Clone, Debug)]
struct Moody {
    memory: Memory,
    moods: Arc<Moods>,
}

impl Moody {
    fn set(&self, objects: Vec<(ObjectName, Mood)>) {
        *self.moods.objects.lock().unwrap() = objects;
        self.moods.changed.notify_all();
    }

    fn mood(&self, name: &ObjectName) -> Option<Mood> {
        let objects = self.moods.objects.lock().unwrap();
        objects.iter().find(|(object, _)| object == name).map(|(_, mood)| *mood)
    }

    fn meet(&self, name: &ObjectName) -> Result<()> {
        if self.mood(name) == Some(Mood::Waits) {
            *self.moods.waiting.lock().unwrap() += 1;
            let mut objects = self.moods.objects.lock().unwrap();
            while objects.iter().any(|object| *object == (name.clone(), Mood::Waits)) {
                objects = self.moods.changed.wait(objects).unwrap();
            }
            drop(objects);
            *self.moods.waiting.lock().unwrap() -= 1;
        }
        match self.mood(name) {
            Some(_) => Err(Error::new(ErrorKind::Unreachable, "the storage does not answer")),
            None => Ok(()),
        }
    }

    fn waiting(&self) -> usize {
        *self.moods.waiting.lock().unwrap()
    }
}

impl Storage for Moody {
    packstone::storage::forward_storage!(self => self.memory; put_if_absent, list, delete, barrier, capabilities, location);

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.meet(name)?;
        self.memory.get(name, size_bytes_max)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.meet(name)?;
        self.memory.get_range(name, offset, length)
    }
}

/// Two files that share no pack, each with the packs that are asked for when it is read.
struct Stage {
    mount: Mount,
    storage: Moody,
    names: [PathBuf; 2],
    packs: [Vec<ObjectName>; 2],
    contents: [Vec<u8>; 2],
    _scratch: Scratch,
}

fn stage() -> Stage {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    fs::create_dir(&source).unwrap();
    let mut random = Random::new(9);
    let contents = [random.bytes(500_000), random.bytes(500_000)];
    let storage = Moody { memory: Memory::new(), moods: Arc::default() };
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let repository = init(Arc::clone(&shared), Parameters::tiny(), None);
    let data_packs = || -> HashSet<ObjectName> {
        let names = storage.memory.names().into_iter();
        names.filter(|name| name.as_str().starts_with("packs/")).collect()
    };
    let mut before = data_packs();
    let mut packs = [Vec::new(), Vec::new()];
    for (index, content) in contents.iter().enumerate() {
        fs::write(source.join(index.to_string()), content).unwrap();
        back_up(&repository, &source);
        let after = data_packs();
        packs[index] =
            after.difference(&before).filter(|name| holds_data(&storage.memory, name)).cloned().collect();
        assert!(!packs[index].is_empty());
        before = after;
    }
    let mount = Mount::start(open(shared, None), &scratch.join("mount"), options());
    let names = ["0", "1"].map(|name| mount.latest(&source).join(name));
    Stage { mount, storage, names, packs, contents, _scratch: scratch }
}

/// Whether a pack says that it is one of data (format-spec chapter 5).
fn holds_data(memory: &Memory, name: &ObjectName) -> bool {
    memory.bytes(name).unwrap()[9] == 3
}

fn bad(packs: &[ObjectName], mood: Mood) -> Vec<(ObjectName, Mood)> {
    packs.iter().map(|pack| (pack.clone(), mood)).collect()
}

#[test]
fn a_storage_that_fails_in_the_middle_fails_that_file_alone() {
    if !can_mount("that a storage that fails gives an error") {
        return;
    }
    let stage = stage();
    let file = File::open(&stage.names[0]).unwrap();
    let mut room = [0; 1000];
    assert_eq!(file.read_at(&mut room, 0).unwrap(), 1000);
    assert_eq!(room, stage.contents[0][..1000]);
    stage.storage.set(bad(&stage.packs[0], Mood::Fails));
    let error = file.read_at(&mut room, 400_000).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    assert!(fs::read(&stage.names[1]).unwrap() == stage.contents[1], "the other file");
    assert_eq!(fs::metadata(&stage.names[0]).unwrap().len(), 500_000);
    let told = stage.mount.told.lines();
    assert!(
        told.iter().any(|line| line.starts_with("0: unreadable: ") && line.ends_with("does not answer")),
        "{told:?}"
    );
    // What failed once is asked for again.
    stage.storage.set(Vec::new());
    assert!(fs::read(&stage.names[0]).unwrap() == stage.contents[0]);
}

#[test]
fn damage_is_an_error_and_never_wrong_bytes() {
    if !can_mount("that damage gives an error") {
        return;
    }
    let stage = stage();
    let mut failed = 0;
    for pack in &stage.packs[0] {
        let mut torn = stage.storage.memory.bytes(pack).unwrap().to_vec();
        let middle = torn.len() / 2;
        torn[middle] ^= 1;
        stage.storage.memory.replace(pack, torn);
    }
    let file = File::open(&stage.names[0]).unwrap();
    let mut room = vec![0; 4096];
    for offset in (0..500_000).step_by(4096) {
        match file.read_at(&mut room, offset as u64) {
            Ok(read) => {
                assert!(room[..read] == stage.contents[0][offset..][..read], "wrong bytes at {offset}")
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
                failed += 1;
            }
        }
    }
    assert!(failed >= stage.packs[0].len(), "{failed}");
    assert!(fs::read(&stage.names[1]).unwrap() == stage.contents[1], "the other file");
    let told = stage.mount.told.lines();
    assert!(told.iter().all(|line| line.starts_with("0: damaged: ")) && !told.is_empty(), "{told:?}");
    println!("{failed} reads failed");
}

#[test]
fn readers_that_are_killed_while_a_storage_is_silent_stop_nobody() {
    const READERS: usize = 8;
    if !can_mount("that readers can be killed") {
        return;
    }
    let stage = stage();
    stage.storage.set(bad(&stage.packs[0], Mood::Waits));
    let start = || {
        let mut command = Command::new("cat");
        command.arg(&stage.names[0]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut readers: Vec<_> = (0..READERS).map(|_| start()).collect();
    while stage.storage.waiting() == 0 {
        std::thread::yield_now();
    }
    for reader in &mut readers {
        reader.kill().unwrap();
    }
    // Names, metadata and other files are there meanwhile.
    assert_eq!(fs::metadata(&stage.names[0]).unwrap().len(), 500_000);
    assert!(fs::read(&stage.names[1]).unwrap() == stage.contents[1]);
    assert_eq!(fs::read_dir(stage.names[0].parent().unwrap()).unwrap().count(), 2);
    stage.storage.set(bad(&stage.packs[0], Mood::Fails));
    for mut reader in readers {
        assert!(!reader.wait().unwrap().success());
    }
    stage.storage.set(Vec::new());
    assert!(fs::read(&stage.names[0]).unwrap() == stage.contents[0]);
}
