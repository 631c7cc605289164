//! One run over all sources: what its tasks share, and how they end.
//!
//! What must hold: the first failure to store stops the run; no task waits for another, so that any number of
//! directories, as deep as they may be, needs no more threads than there are.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::clock::Stopwatch;
use crate::base::{Change, Error, ErrorKind, Finding, FindingKind, Monitor, Result, Timestamp};
use crate::chunker::Cutter;
use crate::format::node::{ChunkRef, LinkGroup, Xattr, XattrValue};
use crate::format::snapshot::{Carried, SourceOutcome, SourceStatus, Statistic};
use crate::fsmeta::capture::{CapturedXattrs, Stat};
use crate::fsmeta::owners::Owners;
use crate::ops::backup::beside::Beside;
use crate::ops::backup::big::{BigFiles, batches_max};
use crate::ops::backup::buffers::Buffers;
use crate::ops::backup::changes::Earlier;
use crate::ops::backup::counts::Counts;
use crate::ops::backup::directory::Finished;
use crate::ops::backup::dumps;
use crate::ops::backup::filter::Filter;
use crate::ops::backup::sources::{PathOfSource, Prepared, StreamOfSource, StreamWork};
use crate::ops::backup::{BackupOptions, Taken, carry, interrupted, roots};
use crate::ops::path::PathLink;
use crate::ops::pool::{pool, worker_count};
use crate::repository::{ChunkKind, Session};
use crate::source::{Directory, Stops};

/// One stream more for so much of the memory limit.
const STREAM_BYTES: usize = 48 << 20;
/// The longest message that a snapshot keeps of a source, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 500;

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
    /// Batches of one stream that may be in memory at a time.
    pub(super) stream_batches_max: usize,
    /// Ends dumps that run.
    pub(super) stops: Arc<Stops>,
    /// What is to be told at once by whoever listens; nothing ends the telling.
    pub(super) notes: SyncSender<Option<String>>,
    /// What the root is to have beside its own entries.
    pub(super) beside: Beside,
    /// Variables that no program is given.
    pub(super) withheld: &'s [String],
    /// Directories above paths of this machine; others exist in the snapshot alone.
    pub(super) real_parents: &'s BTreeSet<PathBuf>,
}

/// What one source gave.
#[derive(Debug)]
pub(super) struct SourceCounts {
    pub(super) path: Vec<u8>,
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    nodes: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    milliseconds: AtomicU64,
    told: Mutex<Told>,
    /// Files and directories of a source that can still be replaced as a whole.
    pub(super) changes: Counts,
}

/// What a source's status says besides numbers.
#[derive(Debug)]
struct Told {
    since: Stopwatch,
    has_failed: bool,
    consistency: Option<String>,
    carried: Option<Carried>,
    message: Option<String>,
}

impl SourceCounts {
    pub(super) fn new(path: Vec<u8>) -> Self {
        Self::named(path, None, None)
    }

    pub(super) fn named(path: Vec<u8>, name: Option<String>, kind: Option<String>) -> Self {
        let since = Stopwatch::start();
        let told = Told { since, has_failed: false, consistency: None, carried: None, message: None };
        Self {
            path,
            name,
            kind,
            nodes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            findings: AtomicU64::new(0),
            milliseconds: AtomicU64::new(0),
            told: Mutex::new(told),
            changes: Counts::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its turn has come.
    pub(super) fn begin(&self) {
        self.told().since = Stopwatch::start();
    }

    /// Nothing of it is there, or nothing that could be trusted.
    pub(super) fn set_failed(&self) {
        let mut told = self.told();
        told.has_failed = true;
        told.consistency = None;
    }

    /// Says how it was made consistent.
    pub(super) fn set_consistency(&self, text: String) {
        self.told().consistency = Some(text);
    }

    /// Its place is taken by what an earlier run read, so many nodes and bytes.
    pub(super) fn carry(&self, carried: Carried, nodes: u64, bytes: u64) {
        self.nodes.store(nodes, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        let mut told = self.told();
        told.carried = Some(carried);
        told.has_failed = true;
    }

    /// Its nodes are not part of the snapshot.
    pub(super) fn clear(&self) {
        self.nodes.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
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
        let milliseconds = u64::try_from(self.told().since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> SourceStatus {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let findings = self.findings.load(Ordering::Relaxed);
        let told = self.told();
        let outcome = match (findings, nodes) {
            _ if told.has_failed => SourceOutcome::Failed,
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
            name: self.name.clone(),
            kind: self.kind.clone(),
            consistency: told.consistency.clone(),
            carried: told.carried,
            message: told.message.clone(),
            kept: Vec::new(),
        }
    }
}

impl<'s> Run<'s> {
    fn new(
        session: &'s Session<'s>,
        options: &'s BackupOptions,
        prepared: &'s Prepared<'_>,
        workers: usize,
        monitor: &'s dyn Monitor,
        (earlier, notes): (&'s Earlier<'s>, SyncSender<Option<String>>),
    ) -> Result<Self> {
        let cutter = session.repository().cutter()?;
        let batches_max = batches_max(session, &cutter, workers);
        // All streams together hold as much as one alone would, but for the least that each needs.
        let streams = streams_at_a_time(session, prepared.streams.len(), options);
        let paths = prepared.paths.iter().map(|source| (&source.path, &*source.excludes));
        let filter = Filter::new(paths, prepared.beside_root.is_some());
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
            filter,
            stream_batches_max: (batches_max / streams).max(2),
            big_files: BigFiles::new(batches_max),
            cutter,
            roots: Mutex::default(),
            filesystems: Mutex::default(),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            stops: Arc::default(),
            notes,
            beside: Beside::default(),
            withheld: &options.withheld,
            real_parents: &prepared.real_parents,
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
        self.stops.stop_all();
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
        source.told().message.get_or_insert_with(|| shortened(&message));
        if source.kind.is_some() {
            // Once this is taken, all that its program said was told. After the streams nobody takes it.
            drop(self.notes.send(Some(String::new())));
        }
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
    fn count_file_systems(&self, paths: &[PathOfSource]) {
        use std::os::unix::fs::MetadataExt;
        let mut paths: Vec<&PathBuf> = paths.iter().map(|source| &source.path).collect();
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

/// A message as a snapshot keeps it: the beginning of one that is long.
fn shortened(message: &str) -> String {
    let end = message.char_indices().nth(MESSAGE_CHARACTERS_MAX).map_or(message.len(), |(place, _)| place);
    message.get(..end).unwrap_or_default().to_owned()
}

/// Reads all sources and stores them; gives the root of the tree.
pub(super) fn take_sources(
    session: &Session<'_>,
    mut prepared: Prepared<'_>,
    options: &BackupOptions,
    monitor: &dyn Monitor,
    earlier: &Earlier<'_>,
) -> Result<Taken> {
    let (since, began) = (Stopwatch::start(), Timestamp::now());
    let workers = worker_count(session.repository(), options.workers);
    let pool = pool("backup", workers)?;
    let streams = std::mem::take(&mut prepared.streams);
    let has_only_stream = prepared.paths.is_empty()
        && matches!(streams.as_slice(), [StreamOfSource { work: StreamWork::One(_), .. }]);
    // One that is taken is told before the next is taken.
    let (notes, told) = mpsc::sync_channel(0);
    let run = Run::new(session, options, &prepared, workers, monitor, (earlier, notes.clone()))?;
    run.count_file_systems(&prepared.paths);
    for (counts, problem) in &prepared.problems {
        run.finding(counts, problem.path.clone(), problem.kind, problem.message.clone());
    }
    let stops = Arc::clone(&run.stops);
    monitor.on_cancel(Box::new(move || stops.stop_all()));
    let threads = streams_at_a_time(session, streams.len(), options);
    let waiting = Mutex::new(streams.into_iter());
    // Threads that walk directories take up what lies nearest first: beside them, a dump would stand still.
    let of_streams = pool_of_streams(&prepared, threads, workers)?;
    let stream_pool = of_streams.as_ref().unwrap_or(&pool);
    let mut assembled = roots::Assembled::nothing();
    // Sent in any case, also if a task panics, or the scope would wait for ever.
    let end_of_notes = EndOfNotes(notes);
    std::thread::scope(|scope| {
        let _end = end_of_notes;
        let told = told.into_iter().map_while(|note| note).filter(|note| !note.is_empty());
        scope.spawn(move || told.for_each(|note| monitor.note(&note)));
        let readers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(stream) = next_of(&waiting) {
                        dumps::take(&run, stream_pool, stream);
                    }
                })
            })
            .collect();
        match &prepared.beside_root {
            None => {
                walk(&run, &pool, &prepared.paths);
                join(readers);
            }
            Some(beside) => {
                // The root holds the dumps, too, and takes them when it is read.
                join(readers);
                if !run.is_over() {
                    let replaced = carry::replace_failed(&run, &prepared, options, &is_stream);
                    let put = replaced.and_then(|()| roots::put_beside(&run, beside, began, &mut assembled));
                    put.unwrap_or_else(|error| run.fail(error));
                }
                walk(&run, &pool, &prepared.paths);
            }
        }
    });
    run.take_failure()?;
    run.big_files.check_done()?;
    let is_left = |counts: &SourceCounts| prepared.beside_root.is_none() || !is_stream(counts);
    carry::replace_failed(&run, &prepared, options, &is_left)?;
    carry::check_any(&prepared, options)?;
    let assembled = roots::assemble(&run, &prepared.plan, began, assembled)?;
    pool.install(|| session.settle())?;
    let statuses: Vec<SourceStatus> = prepared.all.iter().map(|(counts, _)| counts.status()).collect();
    prepared.all.iter().for_each(|(counts, _)| run.counts.add(&counts.changes));
    let all = run.counts.statistics();
    // The root of everything is counted by its source, and is no node of the tree.
    let own_roots = u64::from(assembled.roots.iter().any(|(path, node)| path == b"/" && node.is_some()));
    // A stream is no file of a directory that could be compared.
    let statistics = all.filter(|(number, _)| !has_only_stream || *number == Statistic::BytesRead);
    Ok(Taken {
        tree: assembled.tree,
        roots: assembled.roots,
        nodes: (assembled.parents + statuses.iter().map(|status| status.nodes).sum::<u64>())
            .saturating_sub(own_roots),
        bytes: statuses.iter().fold(0, |sum, status| status.bytes.saturating_add(sum)),
        statistics: statistics.collect(),
        findings: assembled.findings + statuses.iter().map(|status| status.findings).sum::<u64>(),
        sources: statuses,
        excluded: run.filter.excluded(),
        since,
    })
}

/// Whether a source is a program or a database.
const fn is_stream(counts: &SourceCounts) -> bool {
    counts.kind.is_some()
}

/// Reads paths of this machine.
fn walk(run: &Run<'_>, pool: &rayon::ThreadPool, paths: &[PathOfSource]) {
    pool.in_place_scope(|scope| {
        for source in paths {
            scope.spawn(move |scope| {
                source.counts.begin();
                roots::begin(run, scope, &source.path, &source.counts);
            });
        }
    });
    paths.iter().for_each(|source| source.counts.ended());
}

/// Waits for all, and goes on with a panic of one of them.
fn join(readers: Vec<std::thread::ScopedJoinHandle<'_, ()>>) {
    let ended: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
    for result in ended {
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

/// Threads for the chunks of streams, where directories are walked beside them.
fn pool_of_streams(
    prepared: &Prepared<'_>,
    threads: usize,
    workers: usize,
) -> Result<Option<rayon::ThreadPool>> {
    match prepared.paths.is_empty() || threads == 0 {
        true => Ok(None),
        false => pool("dumps", (workers / 2).max(1)).map(Some),
    }
}

/// Says that nothing more is told, when it is dropped.
struct EndOfNotes(SyncSender<Option<String>>);

impl Drop for EndOfNotes {
    fn drop(&mut self) {
        // Fails only if nobody listens any more.
        drop(self.0.send(None));
    }
}

/// So many streams are read at a time: as many as was said, if the memory allows.
fn streams_at_a_time(session: &Session<'_>, streams: usize, options: &BackupOptions) -> usize {
    let affordable = session.repository().memory().bytes() / STREAM_BYTES;
    streams.min(options.parallel).min(affordable).max(1)
}

/// The next one, which the caller alone has then.
fn next_of<T>(waiting: &Mutex<std::vec::IntoIter<T>>) -> Option<T> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
}
