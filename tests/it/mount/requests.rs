//! What reading a mount asks of a storage.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packstone::base::Result;
use packstone::format::config::Parameters;
use packstone::mount::MountOptions;
use packstone::storage::memory::Memory;
use packstone::storage::{Listed, ObjectName, Storage};

use super::{Mount, can_mount, options};
use crate::engine::{back_up, init, open};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Counts what it is asked, and what it gives.
#[derive(Clone, Debug, Default)]
struct Counting {
    memory: Memory,
    asked: Arc<Mutex<Vec<String>>>,
    given_bytes: Arc<AtomicUsize>,
}

impl Counting {
    fn note(&self, what: &str, name: &str) {
        self.asked.lock().unwrap().push(format!("{what} {name}"));
    }

    fn take(&self) -> (Vec<String>, usize) {
        (std::mem::take(&mut *self.asked.lock().unwrap()), self.given_bytes.swap(0, Ordering::SeqCst))
    }
}

impl Storage for Counting {
    packstone::storage::forward_storage!(self => self.memory; put_if_absent, delete, barrier, capabilities, location);

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.note("get", name.as_str());
        let bytes = self.memory.get(name, size_bytes_max)?;
        self.given_bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.note("get_range", name.as_str());
        self.given_bytes.fetch_add(length, Ordering::SeqCst);
        self.memory.get_range(name, offset, length)
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        self.note("list", folder);
        self.memory.list(folder, start_after, visit)
    }
}

/// A mount of what nothing was read from yet, with snapshots of many days, many folders and a long file far below.
fn cold(scratch: &Scratch, parameters: Parameters) -> (Mount, Counting, std::path::PathBuf, Vec<u8>) {
    let source = scratch.join("source");
    let below = source.join("one/two/three/four/five");
    fs::create_dir_all(&below).unwrap();
    let mut random = Random::new(2);
    for folder in
        [&source, &source.join("one"), &source.join("one/two"), &source.join("one/two/three"), &below]
    {
        for number in 0..60 {
            fs::write(folder.join(format!("file {number}")), random.bytes(500 + number)).unwrap();
        }
    }
    let content = random.bytes(3_000_000);
    fs::write(below.join("long"), &content).unwrap();
    let storage = Counting::default();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let repository = init(Arc::clone(&shared), parameters, None);
    for day in 0..10 {
        fs::write(source.join("day"), day.to_string()).unwrap();
        back_up(&repository, &source);
    }
    let options = MountOptions { listed_for: Duration::from_secs(3600), ..options() };
    let mount = Mount::start(open(shared, None), &scratch.join("mount"), options);
    let long = mount.latest(&below).join("long");
    (mount, storage, long, content)
}

fn first_byte(path: &Path) -> u8 {
    let mut room = [0];
    assert_eq!(File::open(path).unwrap().read_at(&mut room, 0).unwrap(), 1);
    room[0]
}

#[test]
fn the_first_byte_of_a_file_costs_a_handful_of_requests() {
    // Two more list the snapshots anew, if the last time was long ago.
    const REQUESTS_MAX: usize = 6 - 2;
    if !can_mount("how many requests the first byte of a file costs") {
        return;
    }
    let scratch = Scratch::new();
    let (_mount, storage, long, content) = cold(&scratch, Parameters::default());
    storage.take();
    assert_eq!(first_byte(&long), content[0]);
    let (asked, _) = storage.take();
    assert!(asked.len() <= REQUESTS_MAX, "{asked:#?}");
    println!("{} requests for the first byte", asked.len());
    // What was read is kept, and what the kernel knows it does not ask for.
    assert_eq!(first_byte(&long), content[0]);
    assert_eq!(storage.take().0, Vec::<String>::new());
}

#[test]
fn only_the_segments_of_what_is_read_are_fetched() {
    if !can_mount("that only what is read is fetched") {
        return;
    }
    let scratch = Scratch::new();
    let (_mount, storage, long, content) = cold(&scratch, Parameters::tiny());
    first_byte(&long);
    storage.take();
    let file = File::open(&long).unwrap();
    let mut room = [0; 10];
    for offset in [1_000_000, 2_500_000, 700_000] {
        assert_eq!(file.read_at(&mut room, offset as u64).unwrap(), 10);
        assert_eq!(room, content[offset..][..10]);
    }
    let (_, given_bytes) = storage.take();
    // The kernel reads some 128 KiB around each place.
    assert!(given_bytes < 1_000_000, "{given_bytes}");
    assert!(fs::read(&long).unwrap() == content);
    let (_, given_bytes) = storage.take();
    assert!(given_bytes < content.len() + content.len() / 4, "each segment about once: {given_bytes}");
    // The kernel keeps the bytes of what never changes.
    assert!(fs::read(&long).unwrap() == content);
    assert_eq!(storage.take().0, Vec::<String>::new());
}
