//! Backing up: sources become chunks, pages and one snapshot.
//!
//! What must hold: what could not be read is a finding, counted in the snapshot; what could not be stored fails the
//! run; no snapshot is made of a stream that did not end well. A session that fails ends itself.

mod batch;
mod beside;
mod big;
mod buffers;
mod carry;
mod changes;
mod counts;
mod directory;
mod dry_run;
mod dumps;
mod file;
mod filter;
mod print;
mod roots;
mod run;
mod scan;
mod sources;
mod stream;

pub use changes::Comparison;
pub use dry_run::{DryRun, dry_run};
pub use scan::scan;
pub use sources::{BackupSource, BeginDumps, DUMPS_FOLDER, OnFailure, SourceInput, check_places};
pub use stream::{StreamEnd, StreamInput};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::clock::Stopwatch;
use crate::base::host::Host;
use crate::base::{Error, ErrorKind, Monitor, Result, SessionId, Timestamp};
use crate::format::node::Node;
use crate::format::snapshot::{Snapshot, SourceStatus, Statistic, Statistics};
use crate::ops::backup::changes::{Earlier, Group};
use crate::repository::{Repository, Session, SessionOptions};
use crate::source::Excludes;

/// How a backup is made, and what its snapshot says.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// How the session works.
    pub session: SessionOptions,
    /// The running process.
    pub host: Host,
    /// The machine that the snapshot names; `None`: this one.
    pub host_name: Option<String>,
    /// When the snapshot says that it was made; `None`: when the run began. It must not lie in the future: what changes
    /// after it counts as changed.
    pub time: Option<Timestamp>,
    /// Who runs it.
    pub user: Option<String>,
    /// The configured job that runs, whose snapshots follow each other.
    pub job: Option<String>,
    /// Only some of its sources were asked for.
    pub is_selective: bool,
    /// In how many seconds the next one may be expected.
    pub expected_next_seconds: Option<u64>,
    /// Sources other than paths that are read at the same time.
    pub parallel: usize,
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
    /// Which earlier snapshot the files are compared with.
    pub comparison: Comparison,
    /// Compare without the time of the last change of metadata.
    pub ignore_ctime: bool,
    /// Compare without inode numbers.
    pub ignore_inode: bool,
    /// Seconds that must lie between a change and its reading for a file to be taken for unchanged later; `None`: as its
    /// file system calls for.
    pub margin_seconds: Option<u32>,
    /// Variables of this process that the programs of sources are not given, because they hold secrets of others.
    pub withheld: Vec<String>,
    /// Make no snapshot if all sources are as in the one that they are compared with.
    pub skip_if_unchanged: bool,
}

impl BackupOptions {
    /// The usual options on this machine.
    pub fn new(host: Host) -> Self {
        Self {
            session: SessionOptions::default(),
            host,
            host_name: None,
            time: None,
            user: None,
            job: None,
            is_selective: false,
            expected_next_seconds: None,
            parallel: 2,
            tags: Vec::new(),
            description: None,
            workers: 0,
            left_out: Vec::new(),
            excludes: Excludes::default(),
            comparison: Comparison::Newest,
            ignore_ctime: false,
            ignore_inode: false,
            margin_seconds: None,
            withheld: Vec::new(),
            skip_if_unchanged: false,
        }
    }

    /// Fails with kind `Usage` if a backup would refuse these options.
    pub fn check(&self) -> Result<()> {
        if self.time.is_some_and(|time| time > Timestamp::now()) {
            return Err(Error::new(
                ErrorKind::Usage,
                "the time that the snapshot is to have lies in the future",
            ));
        }
        if self.host_name.as_ref().is_some_and(String::is_empty) {
            return Err(Error::new(ErrorKind::Usage, "the name of the host is empty"));
        }
        Ok(())
    }

    /// The machine that the snapshot names.
    pub fn host_name(&self) -> &str {
        self.host_name.as_deref().unwrap_or(&self.host.name)
    }
}

/// What a backup did.
#[derive(Debug)]
pub struct BackupSummary {
    /// The new snapshot's id; if none was made, that of the earlier one, which has the same sources.
    pub id: SessionId,
    /// What the new snapshot says, or would say.
    pub snapshot: Snapshot,
    /// Entries that the rules left out; what is below them is not counted.
    pub excluded: u64,
    /// No snapshot was made, because nothing had changed.
    pub is_skipped: bool,
}

/// Backs up paths.
///
/// Errors: as `check_sources` if none of the paths can be found, `Usage` if two of them claim the same place or an option
/// makes no sense; everything that fails the session.
pub fn backup_paths(
    repository: &Repository,
    paths: &[PathBuf],
    current_directory: &Path,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupSummary> {
    options.check()?;
    let (_, absolute) = crate::source::plan(paths, current_directory)?;
    check_sources(&absolute)?;
    let source = BackupSource::of_paths(absolute, options.excludes.clone());
    backup_sources(repository, vec![source], current_directory, options, monitor)
}

/// Backs up a stream as one file. It fails, and nothing is left, if the stream does not end well.
pub fn backup_stream(
    repository: &Repository,
    input: StreamInput<'_>,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupSummary> {
    let input = SourceInput::Stream(input);
    let source = BackupSource { name: String::new(), on_failure: OnFailure::Fail, input };
    backup_sources(repository, vec![source], Path::new("/"), options, monitor)
}

/// Backs up sources of several kinds as one snapshot. The rules of `options.excludes` are not asked: each source has its
/// own.
///
/// Errors: `Usage` if two sources claim the same place or an option makes no sense; `Failed` if a source failed that must
/// not, or all did; everything that fails the session.
pub fn backup_sources(
    repository: &Repository,
    sources: Vec<BackupSource<'_>>,
    current_directory: &Path,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<BackupSummary> {
    options.check()?;
    let prepared = sources::prepare(sources, current_directory)?;
    let began = options.time.unwrap_or_else(Timestamp::now);
    let session = repository.start_session(&options.host, options.session.clone())?;
    let group = Group::of(&prepared, options);
    let earlier = Earlier::new(&session, &group, options, monitor)?;
    let shown = Shown::of(&prepared);
    let taken = run::take_sources(&session, prepared, options, monitor, &earlier)?;
    let same_as = match options.skip_if_unchanged {
        true => roots::same_as(&earlier, &taken.roots, monitor),
        false => None,
    };
    let last_run = earlier.into_last_run();
    let snapshot = describe(&session, began, shown, &group, &taken, options)?;
    // A path that is gone is a change, too.
    let has_paths = |id: &SessionId| {
        let visible = &session.snapshots().visible;
        visible.iter().any(|entry| entry.id == *id && entry.snapshot.paths == snapshot.paths)
    };
    if let Some(id) = same_as.filter(has_paths) {
        session.close()?;
        return Ok(BackupSummary { id, snapshot, excluded: taken.excluded, is_skipped: true });
    }
    let summary = finish(session, snapshot, &taken)?;
    if let Some(error) = last_run.and_then(|last_run| last_run.commit(summary.id)) {
        let why = error.chain().join(": ");
        monitor.note(&format!("nothing is kept for the next run, which will look at all files again: {why}"));
    }
    Ok(summary)
}

/// Fails with kind `NotFound` or `Denied` if not one of some absolute paths can be found, as backing them up would,
/// before anything is written.
pub fn check_sources(paths: &[PathBuf]) -> Result<()> {
    roots::check_any_exists(paths)
}

/// What the snapshot names besides what was read.
struct Shown {
    paths: Vec<Vec<u8>>,
    excludes: Vec<String>,
}

impl Shown {
    fn of(prepared: &sources::Prepared<'_>) -> Self {
        let mut excludes: Vec<String> = Vec::new();
        for text in prepared.shown_excludes.iter().map(|text| shown_text(text)) {
            if !excludes.contains(&text) {
                excludes.push(text);
            }
        }
        Self { paths: prepared.shown_paths.clone(), excludes }
    }
}

/// What was read and stored of all sources.
struct Taken {
    tree: crate::base::ChunkId,
    /// The root of each source, by its path; none where it could not be read.
    roots: Vec<(Vec<u8>, Option<Node>)>,
    nodes: u64,
    bytes: u64,
    statistics: BTreeMap<Statistic, u64>,
    findings: u64,
    sources: Vec<SourceStatus>,
    excluded: u64,
    since: Stopwatch,
}

/// What the snapshot of a run says, but for what only its session knows.
fn describe(
    session: &Session<'_>,
    time: Timestamp,
    shown: Shown,
    group: &Group,
    taken: &Taken,
    options: &BackupOptions,
) -> Result<Snapshot> {
    let mut tags = options.tags.clone();
    tags.sort();
    tags.dedup();
    let parent = changes::parent(session, group, options)?;
    Ok(Snapshot {
        time,
        duration_milliseconds: 0,
        host: options.host_name().to_owned(),
        user: options.user.clone(),
        job: options.job.clone(),
        tags,
        description: options.description.clone(),
        paths: shown.paths,
        excludes: shown.excludes,
        program: options.session.program.clone(),
        parent: parent.map(|parent| parent.id),
        generation: parent.map_or(1, |parent| parent.snapshot.generation.saturating_add(1)),
        origin: None,
        tree: taken.tree,
        total_nodes: taken.nodes,
        total_bytes: taken.bytes,
        sources: taken.sources.clone(),
        findings: taken.findings,
        expected_next_seconds: options.expected_next_seconds,
        sequence: 0,
        previous: None,
        statistics: Statistics(taken.statistics.clone()),
        is_selective: options.is_selective,
        kept: Vec::new(),
    })
}

fn finish(session: Session<'_>, snapshot: Snapshot, taken: &Taken) -> Result<BackupSummary> {
    let (since, excluded) = (taken.since, taken.excluded);
    let (id, snapshot) = session.commit(move || {
        let milliseconds = since.elapsed().as_millis();
        Snapshot { duration_milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX), ..snapshot }
    })?;
    Ok(BackupSummary { id, snapshot, excluded, is_skipped: false })
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

#[cfg(test)]
mod tests;
