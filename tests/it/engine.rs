//! The engine as the tests drive it: repositories, backups and restores in which every finding is a failure.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use packstone::base::host::Host;
use packstone::base::monitor::{Finding, Monitor};
use packstone::base::{ChunkId, SessionId};
use packstone::crypto::Secret;
use packstone::crypto::slot::Credential;
use packstone::format::config::Parameters;
use packstone::format::node::NodeKind;
use packstone::format::slot::PasswordCost;
use packstone::format::snapshot::{Snapshot, Statistic};
use packstone::ops::backup::{BackupOptions, BackupSummary, backup_paths};
use packstone::ops::list::path_components;
use packstone::ops::restore::{RestoreOptions, RestoreSummary, restore};
use packstone::repository::{InitOptions, NewSlot, Repository, SnapshotEntry};
use packstone::storage::Storage;
use packstone::storage::local::Local;
use packstone::storage::memory::Memory;
use packstone::tree::Tree;

use crate::support::scratch::Scratch;

/// Remembers findings, to show them when a test fails.
#[derive(Default)]
pub struct Findings(Mutex<Vec<String>>);

impl Monitor for Findings {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }
}

impl Findings {
    /// Ends the test if there was a finding.
    #[track_caller]
    pub fn assert_none(&self) {
        assert_eq!(*self.0.lock().unwrap(), Vec::<String>::new());
    }
}

/// The key file of every repository of the tests.
pub const KEY: [u8; 32] = [7; 32];

/// What opens every repository of the tests.
pub fn key() -> Credential {
    Credential::KeyFile(Secret::new(KEY))
}

/// A new repository.
pub fn init(storage: Arc<dyn Storage>, parameters: Parameters, cache_folder: Option<&Path>) -> Repository {
    let options = InitOptions {
        parameters,
        slots: vec![NewSlot { credential: key(), label: String::new() }],
        password_cost: PasswordCost::RECOMMENDED,
        cache_folder: cache_folder.map(Path::to_owned),
    };
    Repository::init(storage, options).unwrap()
}

/// A new repository in memory, which nobody else can open.
pub fn in_memory(parameters: Parameters) -> Repository {
    init(Arc::new(Memory::new()), parameters, None)
}

/// A new repository and a key file for it, for processes of the program: their paths.
pub fn on_disk(scratch: &Scratch) -> [PathBuf; 2] {
    let [repository, key_file] = ["repository", "key"].map(|name| scratch.join(name));
    std::fs::write(&key_file, KEY).unwrap();
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
    init(Arc::new(Local::create(&repository).unwrap()), Parameters::default(), None);
    [repository, key_file]
}

/// A repository that is there.
#[track_caller]
pub fn open(storage: Arc<dyn Storage>, cache_folder: Option<&Path>) -> Repository {
    Repository::open(storage, &key(), cache_folder.map(Path::to_owned)).unwrap()
}

/// As many workers as CI has cores, so that every machine runs the same.
pub fn options() -> BackupOptions {
    BackupOptions { workers: 2, margin_seconds: Some(0), ..BackupOptions::new(Host::current()) }
}

/// Waits until the clock by which the kernel stamps files has moved on, so that a change after this moment has another
/// time than one before it: a few milliseconds. With it a margin of 0 seconds is enough.
pub fn pass_tick() {
    use rustix::time::{ClockId, clock_gettime};
    let now = || {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        (time.tv_sec, time.tv_nsec)
    };
    let began = now();
    while now() == began {
        std::thread::yield_now();
    }
}

/// Backs up a directory. Anything that could not be read ends the test.
#[track_caller]
pub fn back_up(repository: &Repository, source: &Path) -> BackupSummary {
    back_up_with(repository, source, &options())
}

/// As `back_up`, in another way than the usual.
#[track_caller]
pub fn back_up_with(repository: &Repository, source: &Path, options: &BackupOptions) -> BackupSummary {
    let findings = Findings::default();
    pass_tick();
    let summary = backup_paths(repository, &[source.to_owned()], Path::new("/"), options, &findings).unwrap();
    pass_tick();
    findings.assert_none();
    assert_eq!(summary.snapshot.findings, 0);
    summary
}

/// The snapshot of this name, read from the repository.
#[track_caller]
pub fn snapshot(repository: &Repository, id: SessionId) -> SnapshotEntry {
    let snapshots = repository.snapshots().unwrap();
    assert_eq!(snapshots.damaged.len(), 0, "{:?}", snapshots.damaged);
    snapshots.find(&id.hex()).unwrap().clone()
}

/// Restores a snapshot, or what is at and below `path` in it. Anything that could not be restored as it was ends the
/// test.
#[track_caller]
pub fn give_back(
    repository: &Repository,
    id: SessionId,
    path: Option<&Path>,
    target: &Path,
) -> RestoreSummary {
    let findings = Findings::default();
    let entry = snapshot(repository, id);
    let path = path.map(|path| path.as_os_str().as_encoded_bytes());
    let options = RestoreOptions { workers: 2, ..RestoreOptions::default() };
    let summary = restore(repository, &entry, path, target, &options, &findings).unwrap();
    findings.assert_none();
    assert_eq!(summary.findings, 0);
    summary
}

/// The tree of a directory in a snapshot. Unlike the snapshot's own tree it does not change with the directories above,
/// of which the one for temporary files is never at rest.
#[track_caller]
pub fn tree_of(repository: &Repository, snapshot: &Snapshot, path: &Path) -> ChunkId {
    let reader = repository.reader().unwrap();
    let components = path_components(path.as_os_str().as_encoded_bytes()).unwrap();
    match Tree::new(&reader).lookup(&snapshot.tree, &components).unwrap().node.kind {
        NodeKind::Directory(tree) => tree,
        other => panic!("no directory: {other:?}"),
    }
}

/// A number that a snapshot gives of itself.
#[track_caller]
pub fn statistic(snapshot: &Snapshot, statistic: Statistic) -> u64 {
    snapshot.statistics.0[&statistic]
}

/// Adds the names in a directory of a snapshot, in order.
pub fn list_below(repository: &Repository, entry: &SnapshotEntry, folder: &Path, names: &mut Vec<String>) {
    let reader = repository.reader().unwrap();
    let tree = Tree::new(&reader);
    let path = path_components(folder.as_os_str().as_encoded_bytes()).unwrap();
    let NodeKind::Directory(root) = tree.lookup(&entry.snapshot.tree, &path).unwrap().node.kind else {
        panic!("{} is no directory", folder.display());
    };
    names.extend(tree.directory(root).map(|entry| String::from_utf8(entry.unwrap().node.name).unwrap()));
}
