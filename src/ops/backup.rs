//! Backing up: sources become chunks, pages and one snapshot.
//!
//! What must hold: what could not be read is a finding, counted in the snapshot; what could not be stored fails the
//! run; no snapshot is made of a stream that did not end well. A session that fails ends itself.

mod big;
mod directory;
mod dry_run;
mod file;
mod filter;
mod roots;
mod run;
mod scan;
mod stream;

pub use dry_run::{DryRun, dry_run};
pub use scan::scan;
pub use stream::{StreamEnd, StreamInput};

use std::path::PathBuf;

use crate::base::host::Host;
use crate::base::{Error, ErrorKind, Monitor, Result, SessionId, Timestamp};
use crate::format::snapshot::{Snapshot, SourceStatus, Statistic, Statistics};
use crate::repository::{Repository, Session, SessionOptions, SnapshotList};
use crate::source::Excludes;

/// How a backup is made, and what its snapshot says.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// How the session works.
    pub session: SessionOptions,
    /// The running process.
    pub host: Host,
    /// Who runs it.
    pub user: Option<String>,
    /// Words of the user's.
    pub tags: Vec<String>,
    /// The user's remark.
    pub description: Option<String>,
    /// Threads that read, compress and seal; 0: one for each processor.
    pub workers: usize,
    /// Directories that are left out, by device and inode number: the repository itself and this program's cache.
    pub left_out: Vec<(u64, u64)>,
    /// What is left out of sources besides.
    pub excludes: Excludes,
}

impl BackupOptions {
    /// The usual options on this machine.
    pub fn new(host: Host) -> Self {
        Self {
            session: SessionOptions::default(),
            host,
            user: None,
            tags: Vec::new(),
            description: None,
            workers: 0,
            left_out: Vec::new(),
            excludes: Excludes::default(),
        }
    }
}

/// What a backup did.
#[derive(Debug)]
pub struct BackupSummary {
    /// The new snapshot's id.
    pub id: SessionId,
    /// What it says.
    pub snapshot: Snapshot,
    /// Entries that the rules left out; what is below them is not counted.
    pub excluded: u64,
}

/// Backs up paths.
///
/// Errors: `NotFound` if none of the paths is there, `Usage` if two of them claim the same place; everything that
/// fails the session.
pub fn backup_paths(
    repository: &Repository,
    paths: &[PathBuf],
    current_directory: &std::path::Path,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupSummary> {
    let (plan, absolute) = crate::source::plan(paths, current_directory)?;
    check_sources(&absolute)?;
    let began = Timestamp::now();
    let session = repository.start_session(&options.host, options.session.clone())?;
    let taken = run::take_paths(&session, &plan, &absolute, options, monitor)?;
    let mut paths: Vec<Vec<u8>> = absolute.into_iter().map(path_bytes).collect();
    paths.sort();
    finish(session, began, paths, taken, options)
}

/// Fails with kind `NotFound` or `Denied` if not one of some absolute paths can be found, as backing them up would,
/// before anything is written.
pub fn check_sources(paths: &[PathBuf]) -> Result<()> {
    roots::check_any_exists(paths)
}

/// Backs up a stream as one file.
pub fn backup_stream(
    repository: &Repository,
    input: StreamInput<'_>,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupSummary> {
    let components = crate::source::stream_path(&input.filename)?;
    let began = Timestamp::now();
    let session = repository.start_session(&options.host, options.session.clone())?;
    let path = components.iter().fold(Vec::new(), |path, name| [path.as_slice(), b"/", name].concat());
    let taken = stream::take_stream(&session, &components, input, options, monitor)?;
    finish(session, began, vec![path], taken, options)
}

/// What was read and stored of all sources.
struct Taken {
    tree: crate::base::ChunkId,
    nodes: u64,
    bytes: u64,
    bytes_read: u64,
    findings: u64,
    sources: Vec<SourceStatus>,
    excluded: u64,
    since: crate::base::clock::Stopwatch,
}

fn finish(
    session: Session<'_>,
    time: Timestamp,
    paths: Vec<Vec<u8>>,
    taken: Taken,
    options: &BackupOptions,
) -> Result<BackupSummary> {
    let mut tags = options.tags.clone();
    tags.sort();
    tags.dedup();
    let mut snapshot = Snapshot {
        time,
        duration_milliseconds: 0,
        host: options.host.name.clone(),
        user: options.user.clone(),
        job: None,
        tags,
        description: options.description.clone(),
        paths,
        excludes: options.excludes.patterns.given().map(|pattern| shown_text(&pattern.text)).collect(),
        program: options.session.program.clone(),
        parent: None,
        generation: 1,
        origin: None,
        tree: taken.tree,
        total_nodes: taken.nodes,
        total_bytes: taken.bytes,
        sources: taken.sources,
        findings: taken.findings,
        expected_next_seconds: None,
        sequence: 0,
        previous: None,
        statistics: Statistics([(Statistic::BytesRead, taken.bytes_read)].into()),
        kept: Vec::new(),
    };
    if let Some(parent) = newest_like(session.snapshots(), &snapshot) {
        snapshot.generation = parent.snapshot.generation.saturating_add(1);
        snapshot.parent = Some(parent.id);
    }
    let since = taken.since;
    let (id, snapshot) = session.commit(move || {
        let milliseconds = since.elapsed().as_millis();
        Snapshot { duration_milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX), ..snapshot }
    })?;
    Ok(BackupSummary { id, snapshot, excluded: taken.excluded })
}

fn newest_like<'l>(
    snapshots: &'l SnapshotList,
    like: &Snapshot,
) -> Option<&'l crate::repository::SnapshotEntry> {
    snapshots.group_of(like).pop()
}

/// Text as it is; if it is none, as it can be shown.
fn shown_text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| crate::base::monitor::show_path(bytes), str::to_owned)
}

fn path_bytes(path: PathBuf) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string())
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted; no snapshot was made")
}
