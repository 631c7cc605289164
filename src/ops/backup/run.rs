//! One run over all paths: what its tasks share, and how they end.
//!
//! What must hold: the first failure to store stops the run; no task waits for another, so that any number of
//! directories, as deep as they may be, needs no more threads than there are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::Stopwatch;
use crate::base::{Change, Error, ErrorKind, Finding, FindingKind, Monitor, Result, Timestamp};
use crate::chunker::Cutter;
use crate::format::node::{ChunkRef, LinkGroup, Xattr, XattrValue};
use crate::format::snapshot::{SourceOutcome, SourceStatus};
use crate::fsmeta::capture::{CapturedXattrs, Stat};
use crate::fsmeta::owners::Owners;
use crate::ops::backup::big::{BigFiles, batches_max};
use crate::ops::backup::buffers::Buffers;
use crate::ops::backup::changes::Earlier;
use crate::ops::backup::counts::Counts;
use crate::ops::backup::directory::Finished;
use crate::ops::backup::filter::Filter;
use crate::ops::backup::roots;
use crate::ops::backup::{BackupOptions, Taken, interrupted};
use crate::ops::path::PathLink;
use crate::ops::pool::{pool, worker_count};
use crate::repository::ChunkKind;

use crate::repository::Session;
use crate::source::{Directory, Planned};

/// What all tasks of a run share.
pub(super) struct Run<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) cutter: Cutter,
    pub(super) owners: Owners,
    pub(super) monitor: &'s dyn Monitor,
    pub(super) left_out: &'s [(u64, u64)],
    pub(super) filter: Filter<'s>,
    pub(super) big_files: BigFiles<'s>,
    pub(super) roots: Mutex<HashMap<PathBuf, Option<Finished>>>,
    filesystems: Mutex<HashMap<u64, u64>>,
    failure: Mutex<Option<Error>>,
    has_failed: AtomicBool,
    pub(super) counts: Counts,
    pub(super) earlier: &'s Earlier<'s>,
    /// Files up to this size are read by the task that meets them; larger ones in pieces by many.
    pub(super) whole_bytes_max: u64,
    pub(super) buffers: Buffers,
    margins: Mutex<HashMap<u64, u32>>,
    fixed_margin_seconds: Option<u32>,
}

/// What one source gave.
#[derive(Debug)]
pub(super) struct SourceCounts {
    pub(super) path: Vec<u8>,
    nodes: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    since: Stopwatch,
    milliseconds: AtomicU64,
}

impl SourceCounts {
    pub(super) fn new(path: Vec<u8>) -> Self {
        Self {
            path,
            nodes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            findings: AtomicU64::new(0),
            since: Stopwatch::start(),
            milliseconds: AtomicU64::new(0),
        }
    }

    /// Counts a node that is part of the snapshot.
    pub(super) fn add_node(&self, size: u64) {
        self.nodes.fetch_add(1, Ordering::Relaxed);
        // Sparse files can claim more than the sum can hold; at its end it says "more than can be told".
        let add = |bytes: u64| Some(bytes.saturating_add(size));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Remembers how long the source took.
    pub(super) fn ended(&self) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> SourceStatus {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let findings = self.findings.load(Ordering::Relaxed);
        let outcome = match (findings, nodes) {
            (0, _) => SourceOutcome::Complete,
            (_, 0) => SourceOutcome::Failed,
            _ => SourceOutcome::Partial,
        };
        SourceStatus {
            path: self.path.clone(),
            outcome,
            nodes,
            bytes: self.bytes.load(Ordering::Relaxed),
            findings,
            duration_milliseconds: self.milliseconds.load(Ordering::Relaxed),
            kept: Vec::new(),
        }
    }
}

impl<'s> Run<'s> {
    pub(super) fn new(
        session: &'s Session<'s>,
        options: &'s BackupOptions,
        paths: &[PathBuf],
        workers: usize,
        monitor: &'s dyn Monitor,
        earlier: &'s Earlier<'s>,
    ) -> Result<Self> {
        let cutter = session.repository().cutter()?;
        Ok(Self {
            session,
            earlier,
            whole_bytes_max: session.repository().memory().piece_bytes() as u64,
            buffers: Buffers::default(),
            margins: Mutex::default(),
            fixed_margin_seconds: options.margin_seconds,
            counts: Counts::default(),
            owners: Owners::new(),
            monitor,
            left_out: &options.left_out,
            filter: Filter::new(&options.excludes, paths),
            big_files: BigFiles::new(batches_max(session, &cutter, workers)),
            cutter,
            roots: Mutex::default(),
            filesystems: Mutex::default(),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })
    }

    /// Counts a regular file that is part of the snapshot, and tells who listens to every one.
    pub(super) fn count_file(&self, change: Change, size: u64, path: &dyn Fn() -> Vec<u8>) {
        self.counts.add_file(change);
        if self.monitor.wants_items() {
            self.monitor.backed_up(change, &path(), size);
        }
    }

    /// The same of a directory.
    pub(super) fn count_directory(&self, change: Change, path: &PathLink) {
        self.counts.add_directory(change);
        if self.monitor.wants_items() {
            self.monitor.backed_up(change, &[path.join(None).as_slice(), b"/"].concat(), 0);
        }
    }

    /// Stops the run.
    pub(super) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// True once tasks should give up.
    pub(super) fn is_over(&self) -> bool {
        if !self.has_failed.load(Ordering::Relaxed) && self.monitor.cancelled() {
            self.fail(interrupted());
        }
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The failure that stopped the run, if one did.
    pub(super) fn take_failure(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Counts and tells a problem.
    pub(super) fn finding(&self, source: &SourceCounts, path: Vec<u8>, kind: FindingKind, message: String) {
        source.findings.fetch_add(1, Ordering::Relaxed);
        self.monitor.finding(&Finding { kind, path, message });
    }

    /// Counts and tells that something could not be read, or is gone.
    pub(super) fn unreadable(&self, source: &SourceCounts, path: Vec<u8>, error: &Error) {
        let kind = match error.kind() {
            // That is no fault of the object, and the next ones would fare no better.
            ErrorKind::OutOfDescriptors => {
                let shown = crate::base::monitor::show_path(&path);
                let cause = Error::new(error.kind(), error.chain().join(": "));
                return self.fail(cause.while_doing(format!("cannot read {shown}")));
            }
            ErrorKind::NotFound => FindingKind::Vanished,
            _ => FindingKind::Unreadable,
        };
        self.finding(source, path, kind, error.chain().join(": "));
    }

    pub(super) fn add_bytes_read(&self, bytes: u64) {
        self.counts.add_bytes_read(bytes);
    }

    /// Whether a file without holes, of so many bytes, joins a bundle.
    pub(super) fn is_bundled(&self, bytes: u64, stat: &Stat) -> bool {
        let bundling = self.session.repository().parameters().bundling;
        (1..=u64::from(bundling.file_bytes_max)).contains(&bytes) && stat.links == 1
    }

    /// Seconds that must lie between a change and its reading, on this device.
    pub(super) fn margin_seconds(&self, device: u64, directory: &Directory) -> u32 {
        let mut margins = self.margins.lock().unwrap_or_else(PoisonError::into_inner);
        *margins
            .entry(device)
            .or_insert_with(|| self.fixed_margin_seconds.unwrap_or_else(|| directory.margin_seconds()))
    }

    /// The longest of them that was met.
    pub(super) fn longest_margin_seconds(&self) -> u32 {
        let margins = self.margins.lock().unwrap_or_else(PoisonError::into_inner);
        margins.values().copied().max().unwrap_or(0)
    }

    /// Counts the file systems of the sources themselves first and in order, so that the numbers of the usual ones do
    /// not depend on which thread meets which first.
    pub(super) fn count_file_systems(&self, paths: &[PathBuf]) {
        use std::os::unix::fs::MetadataExt;
        let mut paths: Vec<&PathBuf> = paths.iter().collect();
        paths.sort();
        for device in paths.into_iter().filter_map(|path| Some(std::fs::symlink_metadata(path).ok()?.dev())) {
            self.file_system(device);
        }
    }

    fn file_system(&self, device: u64) -> u64 {
        let mut filesystems = self.filesystems.lock().unwrap_or_else(PoisonError::into_inner);
        let next = filesystems.len() as u64;
        *filesystems.entry(device).or_insert(next)
    }

    /// The group of an object with several names.
    pub(super) fn links(&self, stat: &Stat) -> Option<LinkGroup> {
        if stat.links < 2 {
            return None;
        }
        Some(LinkGroup { filesystem: self.file_system(stat.device), inode: stat.inode })
    }

    /// Extended attributes as a node has them: long values are stored, problems become findings.
    pub(super) fn xattrs(
        &self,
        source: &SourceCounts,
        path: impl Fn() -> Vec<u8>,
        captured: CapturedXattrs,
    ) -> Result<Vec<Xattr>> {
        for problem in captured.problems {
            self.finding(source, path(), FindingKind::Metadata, problem);
        }
        let stored = |value: Vec<u8>| -> Result<XattrValue> {
            if value.len() <= crate::base::limits::XATTR_INLINE_BYTES_MAX {
                return Ok(XattrValue::Inline(value));
            }
            let id = self.session.store(ChunkKind::Data, &value)?.id;
            Ok(XattrValue::Chunk(ChunkRef { id, length: value.len() as u64 }))
        };
        captured
            .attributes
            .into_iter()
            .map(|(name, value)| Ok(Xattr { name, value: stored(value)? }))
            .collect()
    }
}

/// Reads all planned paths and stores them; gives the root of the tree.
pub(super) fn take_paths(
    session: &Session<'_>,
    plan: &Planned,
    paths: &[PathBuf],
    options: &BackupOptions,
    monitor: &dyn Monitor,
    earlier: &Earlier<'_>,
) -> Result<Taken> {
    let (since, began) = (Stopwatch::start(), Timestamp::now());
    let workers = worker_count(session.repository(), options.workers);
    let run = Run::new(session, options, paths, workers, monitor, earlier)?;
    run.count_file_systems(paths);
    let pool = pool("backup", workers)?;
    let sources: Vec<Arc<SourceCounts>> =
        paths.iter().map(|path| Arc::new(SourceCounts::new(super::path_bytes(path.clone())))).collect();
    pool.in_place_scope(|scope| {
        for (path, source) in paths.iter().zip(&sources) {
            let run = &run;
            scope.spawn(move |scope| roots::begin(run, scope, path, source));
        }
    });
    run.take_failure()?;
    run.big_files.check_done()?;
    sources.iter().for_each(|source| source.ended());
    let assembled = roots::assemble(&run, plan, began)?;
    pool.install(|| session.settle())?;
    let statuses: Vec<SourceStatus> = sources.iter().map(|source| source.status()).collect();
    Ok(Taken {
        tree: assembled.tree,
        roots: assembled.roots,
        nodes: assembled.parents + statuses.iter().map(|status| status.nodes).sum::<u64>(),
        bytes: statuses.iter().fold(0, |sum, status| status.bytes.saturating_add(sum)),
        statistics: run.counts.statistics().collect(),
        findings: assembled.findings + statuses.iter().map(|status| status.findings).sum::<u64>(),
        sources: statuses,
        excluded: run.filter.excluded(),
        since,
    })
}
