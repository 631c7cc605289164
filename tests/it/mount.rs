//! Snapshots as a file system, mounted by the kernel.
//!
//! What must hold: whoever reads a mount, by whatever calls, sees what the source has; where a storage fails, a file
//! fails and nothing else; a test ends with its mount gone.

mod clients;
mod faults;
mod posix;
mod requests;
mod users;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use packstone::base::{Finding, Monitor};
use packstone::format::config::Parameters;
use packstone::mount::{MountOptions, PATH_TEMPLATES, Unmounter, mount};
use packstone::repository::{Repository, SnapshotFilter};
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::{back_up, init};
use crate::support::dump::{Options, assert_same, dump, dump_with};
use crate::support::generate::{Size, generate};
use crate::support::need::{can_mount, has_program};
use crate::support::scratch::{Scratch, remove_tree};

/// Remembers what a mount tells.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Told {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A mount of this process, which is gone when the test is over.
pub(crate) struct Mount {
    directory: PathBuf,
    unmounter: Unmounter,
    serving: Option<JoinHandle<packstone::base::Result<()>>>,
    told: Arc<Told>,
}

fn options() -> MountOptions {
    MountOptions {
        filter: SnapshotFilter::default(),
        templates: PATH_TEMPLATES.iter().map(|text| text.parse().unwrap()).collect(),
        name_of_time: Box::new(|time| format!("{}.{:09}", time.seconds, time.nanoseconds)),
        listed_for: Duration::ZERO,
        allow_other: false,
        checks_permissions: false,
        owner_root: false,
    }
}

impl Mount {
    fn start(repository: Repository, directory: &Path, options: MountOptions) -> Self {
        std::fs::create_dir(directory).unwrap();
        let told = Arc::new(Told::default());
        let mounted = mount(Arc::new(repository), directory, options, Arc::clone(&told) as Arc<dyn Monitor>);
        let mounted = mounted.unwrap_or_else(|error| panic!("{:?}", error.chain()));
        let unmounter = mounted.unmounter();
        let serving = Some(std::thread::spawn(move || mounted.serve()));
        Self { directory: directory.to_owned(), unmounter, serving, told }
    }

    /// Where an absolute path of the newest snapshot is to be found.
    fn latest(&self, path: &Path) -> PathBuf {
        self.directory.join("snapshots/latest").join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // After a failed test somebody may still hold a file.
        drop(self.unmounter.unmount());
        let served = self.serving.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            served.unwrap().unwrap().unwrap();
            assert_eq!(std::fs::read_dir(&self.directory).unwrap().count(), 0, "the mount is gone");
        }
    }
}

/// A tree in a repository in memory, which is mounted.
struct Stage {
    mount: Mount,
    memory: Memory,
    source: PathBuf,
    scratch: Scratch,
}

impl Stage {
    fn of(parameters: Parameters, fill: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        std::fs::create_dir(&source).unwrap();
        fill(&source);
        let memory = Memory::new();
        let repository = init(Arc::new(memory.clone()), parameters, None);
        back_up(&repository, &source);
        let mount = Mount::start(repository, &scratch.join("mount"), options());
        Self { mount, memory, source, scratch }
    }

    /// The source as the mount shows it.
    fn shown(&self) -> PathBuf {
        self.mount.latest(&self.source)
    }
}

/// Another handle of what is mounted.
fn open_again(memory: &Memory) -> Repository {
    crate::engine::open(Arc::new(memory.clone()) as Arc<dyn Storage>, None)
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_kind_of_object_is_shown_as_it_was() {
    if !can_mount("that a mount shows every kind of object") {
        return;
    }
    let mut objects = 0;
    for seed in 1..=4 {
        for parameters in [Parameters::tiny(), Parameters::default()] {
            let stage = Stage::of(parameters, |source| {
                generate(seed, source, Size::Medium);
            });
            let (of_source, of_mount) = (dump(&stage.source), dump(&stage.shown()));
            assert_same(&of_source, &of_mount);
            objects += of_source.lines().len();
            assert_eq!(stage.mount.told.lines(), Vec::<String>::new());
        }
    }
    println!("{objects} objects were shown as they were");
}

/// Takes away what lies so deep that programs which name it by its whole path cannot, and the largest of files that are
/// holes, of which rsync reads and writes every zero.
fn cut(folder: &Path) {
    const PATH_BYTES_MAX: usize = 1500;
    const FILE_BYTES_MAX: u64 = 16 << 20;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.len() > FILE_BYTES_MAX {
            std::fs::remove_file(&path).unwrap();
        } else if metadata.is_dir() {
            if path.as_os_str().len() > PATH_BYTES_MAX { remove_tree(&path) } else { cut(&path) }
        }
    }
}

#[test]
fn cp_and_rsync_take_everything_from_a_mount() {
    let what = "that cp and rsync take everything from a mount";
    if !can_mount(what) || !has_program("rsync", what) {
        return;
    }
    // A copy has holes where its program makes them.
    let content = Options { holes: false, ..Options::EVERYTHING };
    let mut compared = 0;
    for seed in 11..=13 {
        let stage = Stage::of(Parameters::tiny(), |source| {
            generate(seed, source, Size::Medium);
            cut(source);
        });
        let copied = stage.scratch.join("copied");
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory"]);
        run(copy.arg(stage.shown()).arg(&copied));
        assert_same(&dump_with(&stage.source, content), &dump_with(&copied, content));
        remove_tree(&copied);
        let mut synchronise = Command::new("rsync");
        // Without it, rsync takes times within one second for the same, and leaves a directory that was changed just now.
        synchronise.args(["-aHAX", "--numeric-ids", "--modify-window=-1"]);
        run(synchronise.arg(stage.shown().join("")).arg(copied.join("")));
        assert_same(&dump_with(&stage.source, content), &dump_with(&copied, content));
        compared += 2;
    }
    println!("{compared} copies were the same");
}

#[test]
fn snapshots_appear_and_go_while_they_are_mounted() {
    if !can_mount("that snapshots appear while they are mounted") {
        return;
    }
    let stage = Stage::of(Parameters::tiny(), |source| std::fs::write(source.join("file"), "first").unwrap());
    let names = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(stage.mount.directory.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["hosts", "ids", "jobs", "snapshots", "tags"]);
    assert_eq!((names("ids").len(), names("snapshots").len()), (1, 2));
    assert_eq!(std::fs::read(stage.shown().join("file")).unwrap(), b"first");
    let first = names("snapshots").remove(0);
    let old = std::fs::File::open(stage.shown().join("file")).unwrap();
    std::fs::write(stage.source.join("file"), "second").unwrap();
    let repository = open_again(&stage.memory);
    let second = back_up(&repository, &stage.source);
    assert_eq!((names("ids").len(), names("snapshots").len()), (2, 3));
    // The kernel goes by what it was told of a link for a second.
    while std::fs::read(stage.shown().join("file")).unwrap() != b"second" {
        std::thread::yield_now();
    }
    let of_first = stage.mount.directory.join("snapshots").join(&first);
    let path = stage.source.join("file");
    let path = path.strip_prefix("/").unwrap();
    assert_eq!(std::fs::read(of_first.join(path)).unwrap(), b"first");
    let mut content = String::new();
    std::io::Read::read_to_string(&mut &old, &mut content).unwrap();
    assert_eq!(content, "first", "an open file stays what it is");
    crate::process::forget(Arc::new(stage.memory.clone()), second.id).unwrap();
    assert_eq!(names("ids").len(), 1);
    drop(old);
}

#[test]
fn a_directory_of_very_many_entries_lists_each_once_from_anywhere() {
    use std::collections::BTreeSet;
    use std::os::fd::AsFd;

    const ENTRIES: usize = 5000;
    if !can_mount("that a long directory is listed") {
        return;
    }
    let stage = Stage::of(Parameters::tiny(), |source| {
        for number in 0..ENTRIES {
            std::fs::write(source.join(format!("entry-{number}")), "").unwrap();
        }
    });
    let expected: BTreeSet<Vec<u8>> =
        (0..ENTRIES).map(|number| format!("entry-{number}").into_bytes()).collect();
    let directory = std::fs::File::open(stage.shown()).unwrap();
    let mut room = vec![std::mem::MaybeUninit::uninit(); 1500];
    for _ in 0..2 {
        let mut met = Vec::new();
        let mut entries = rustix::fs::RawDir::new(directory.as_fd(), &mut room);
        while let Some(entry) = entries.next() {
            let entry = entry.unwrap();
            met.push((entry.file_name().to_bytes().to_vec(), entry.next_entry_cookie()));
        }
        let names: BTreeSet<Vec<u8>> =
            met.iter().map(|(name, _)| name.clone()).filter(|name| !name.starts_with(b".")).collect();
        assert_eq!(met.len(), ENTRIES + 2);
        assert!(names == expected);
        // From a position in the middle on it is the same, and from the beginning as well.
        let (_, cookie) = met[ENTRIES / 3];
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(cookie)).unwrap();
        let mut entries = rustix::fs::RawDir::new(directory.as_fd(), &mut room);
        let mut position = ENTRIES / 3 + 1;
        while let Some(entry) = entries.next() {
            assert_eq!(entry.unwrap().file_name().to_bytes(), met[position].0);
            position += 1;
        }
        assert_eq!(position, ENTRIES + 2);
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(0)).unwrap();
    }
    println!("{ENTRIES} entries");
}
