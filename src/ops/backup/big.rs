//! Big files in pieces: one task reads and cuts a batch, all hash and store its chunks, and meanwhile the next batch is
//! read.
//!
//! What must hold: a bounded number of batches is in memory, those of all files together; nobody waits for a batch, so
//! that no thread is lost while one file is large and none is blocked behind another; each batch that is stored or given up
//! leaves its room to its file or to another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::Scope;

use crate::base::{Error, ErrorKind, FindingKind, Result};
use crate::chunker::Cutter;
use crate::format::node::{Extent, NodeKind, Regular};
use crate::ops::backup::batch::{Batch, OrderedList};
use crate::ops::backup::buffers::behind;
use crate::ops::backup::directory::{Finished, Goal, complete};
use crate::ops::backup::file::{self, Before, OpenFile};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::repository::Session;

/// Content bytes of a batch: room for two chunks of any size, so that a full batch always has a cut point.
pub(super) fn batch_bytes(session: &Session<'_>, cutter: &Cutter) -> usize {
    session.repository().memory().piece_bytes().max(2 * cutter.max_bytes())
}

/// Batches that may be in memory at a time: one more than workers, but fewer where chunks are so large that a batch is
/// longer than its share, and two at least, so that one is read while another is stored.
pub(super) fn batches_max(session: &Session<'_>, cutter: &Cutter, workers: usize) -> usize {
    let share_bytes = (workers + 1) * session.repository().memory().piece_bytes();
    (share_bytes / batch_bytes(session, cutter).max(1)).clamp(2, (workers + 1).max(2))
}

/// Opens a file when its turn has come.
pub(super) type OpenLater<'s> = Box<dyn FnOnce() -> Result<OpenFile> + Send + 's>;

/// A big file that waits for its turn. It is opened only then, as descriptors are few.
pub(super) struct WaitingFile<'s> {
    /// Opens it.
    pub(super) open: OpenLater<'s>,
    /// For findings.
    pub(super) path: Vec<u8>,
    pub(super) source: Arc<SourceCounts>,
    pub(super) goal: Goal<'s>,
    /// What it was in the earlier snapshot.
    pub(super) before: Option<Before>,
}

/// A big file that is being read: whoever has it reads the next batch.
struct Reading<'s> {
    shared: Arc<BigFile<'s>>,
    open: OpenFile,
    goal: Goal<'s>,
    before: Option<Before>,
    /// What is still to be read, the next piece last.
    pieces: Vec<Extent>,
    /// Read, and not yet part of a chunk.
    held: Vec<u8>,
    ended_at: Option<u64>,
    batches: u64,
}

/// What the batches of a file share.
struct BigFile<'s> {
    path: Vec<u8>,
    source: Arc<SourceCounts>,
    progress: Mutex<Progress<'s>>,
}

/// How far a file is.
struct Progress<'s> {
    list: OrderedList,
    /// Batches that are read and not yet stored.
    in_work: usize,
    /// Everything is read, or nothing more can be.
    ended: Option<Ended<'s>>,
}

/// How the reading of a file ended.
enum Ended<'s> {
    Read(Box<Reading<'s>>),
    Failed(Goal<'s>),
}

impl<'s> Reading<'s> {
    fn new(open: OpenFile, waited: (Vec<u8>, Arc<SourceCounts>, Goal<'s>, Option<Before>)) -> Self {
        let mut pieces = open.pieces();
        pieces.reverse();
        let (path, source, goal, before) = waited;
        let progress = Progress { list: OrderedList::new(), in_work: 0, ended: None };
        let shared = Arc::new(BigFile { path, source, progress: Mutex::new(progress) });
        Self { shared, open, goal, before, pieces, held: Vec::new(), ended_at: None, batches: 0 }
    }

    /// Fills a batch; shorter only at the end of the file. What the buffer held before is lost.
    fn fill(&mut self, batch_bytes: usize, buffer: Vec<u8>) -> Result<Vec<u8>> {
        let mut filled = self.held.len();
        let mut batch = behind(&self.held, buffer, batch_bytes);
        while filled < batch.len() {
            let Some(piece) = self.pieces.last_mut() else { break };
            let room = (batch.len() - filled).min(usize::try_from(piece.length).unwrap_or(usize::MAX));
            let Some(buffer) = batch.get_mut(filled..filled + room) else { break };
            let read = self.open.file.read_at(buffer, piece.offset)?;
            self.open.file.advise_done(piece.offset, read as u64);
            filled += read;
            piece.offset += read as u64;
            piece.length -= read as u64;
            if read < room {
                self.ended_at = Some(piece.offset);
                self.pieces.clear();
            } else if piece.length == 0 {
                self.pieces.pop();
            }
        }
        batch.truncate(filled);
        Ok(batch)
    }
}

impl<'s> BigFile<'s> {
    fn progress(&self) -> MutexGuard<'_, Progress<'s>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Big files in work, and those that wait until there is room for a batch.
pub(super) struct BigFiles<'s> {
    batches_max: usize,
    waiting: Mutex<Waiting<'s>>,
}

#[derive(Default)]
struct Waiting<'s> {
    /// Batches for which there is room in memory: each is in work or about to be read.
    batches: usize,
    files: VecDeque<WaitingFile<'s>>,
}

impl<'s> BigFiles<'s> {
    /// With room for so many batches.
    pub(super) fn new(batches_max: usize) -> Self {
        Self { batches_max, waiting: Mutex::default() }
    }

    /// Fails if a file still waits, which no run that went well can leave behind.
    pub(super) fn check_done(&self) -> Result<()> {
        match self.waiting().files.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Failed, "a large file was never read")),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<'s>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a file, now or when there is room.
    pub(super) fn begin<'scope>(&self, run: &'scope Run<'s>, scope: &Scope<'scope>, file: WaitingFile<'s>)
    where
        's: 'scope,
    {
        let mut waiting = self.waiting();
        if waiting.batches >= self.batches_max {
            waiting.files.push_back(file);
            return;
        }
        waiting.batches += 1;
        drop(waiting);
        scope.spawn(move |scope| open(run, scope, file));
    }

    /// Room for one more batch of a file that has one already, unless another file waits for it.
    fn has_room_to_read_ahead(&self) -> bool {
        let mut waiting = self.waiting();
        let has_room = waiting.batches < self.batches_max && waiting.files.is_empty();
        waiting.batches += usize::from(has_room);
        has_room
    }

    /// A batch is done, and its file does not go on in its room.
    fn leave_room<'scope>(&self, run: &'scope Run<'s>, scope: &Scope<'scope>)
    where
        's: 'scope,
    {
        let mut waiting = self.waiting();
        match waiting.files.pop_front() {
            Some(file) => scope.spawn(move |scope| open(run, scope, file)),
            None => waiting.batches -= 1,
        }
    }
}

/// Opens a file whose turn it is.
fn open<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, file: WaitingFile<'s>) {
    let WaitingFile { open, path, source, goal, before } = file;
    match open() {
        Ok(open) => step(run, scope, Box::new(Reading::new(open, (path, source, goal, before)))),
        Err(error) => {
            run.unreadable(&source, path, &error);
            complete(run, scope, goal, None);
            run.big_files.leave_room(run, scope);
        }
    }
}

/// Reads the next batch and shares it out, or ends the file.
fn step<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, mut file: Box<Reading<'s>>) {
    if run.is_over() {
        return;
    }
    let shared = Arc::clone(&file.shared);
    run.monitor.begin(&shared.path);
    let mut content = match file.fill(batch_bytes(run.session, &run.cutter), run.buffers.take()) {
        Ok(content) => content,
        Err(error) => {
            run.unreadable(&shared.source, shared.path.clone(), &error);
            return end(run, scope, &shared, Ended::Failed(file.goal));
        }
    };
    let is_all = file.pieces.is_empty();
    let lengths = run.cutter.chunks(&content, is_all);
    if lengths.is_empty() {
        run.buffers.give_back(content);
        return end(run, scope, &shared, Ended::Read(file));
    }
    let cut_bytes: usize = lengths.iter().sum();
    file.held = content.get(cut_bytes..).unwrap_or_default().to_vec();
    content.truncate(cut_bytes);
    run.add_bytes_read(cut_bytes as u64);
    let batch = Batch::of(file.batches, content, &lengths);
    file.batches += 1;
    shared.progress().in_work += 1;
    let mut next = Some(file);
    if is_all {
        shared.progress().ended = next.take().map(Ended::Read);
    } else if run.big_files.has_room_to_read_ahead()
        && let Some(file) = next.take()
    {
        scope.spawn(move |scope| step(run, scope, file));
    }
    let next = Arc::new(Mutex::new(next));
    for task in 0..batch.tasks() {
        let (shared, batch, next) = (Arc::clone(&shared), Arc::clone(&batch), Arc::clone(&next));
        scope.spawn(move |scope| store_part(run, scope, &shared, &batch, task, &next));
    }
}

/// Does a task of a batch; whoever is last goes on with the file, if its next batch is not read yet.
fn store_part<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    shared: &Arc<BigFile<'s>>,
    batch: &Arc<Batch>,
    task: usize,
    next: &Mutex<Option<Box<Reading<'s>>>>,
) {
    match batch.store(run.session, task, &|| run.is_over()) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return run.fail(error),
    }
    let content = batch.take_content();
    run.monitor.advance(0, content.len() as u64);
    run.buffers.give_back(content);
    let next = next.lock().unwrap_or_else(PoisonError::into_inner).take();
    let ended = {
        let mut progress = shared.progress();
        if let Err(error) = progress.list.add(run.session, batch) {
            return run.fail(error);
        }
        progress.in_work -= 1;
        if progress.in_work == 0 { progress.ended.take() } else { None }
    };
    match (next, ended) {
        (Some(file), _) => step(run, scope, file),
        (None, Some(ended)) => finish(run, scope, shared, ended),
        (None, None) => run.big_files.leave_room(run, scope),
    }
}

/// Nothing more is read of a file: it is finished now or by its last batch.
fn end<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    shared: &Arc<BigFile<'s>>,
    ended: Ended<'s>,
) {
    let mut progress = shared.progress();
    if progress.in_work > 0 {
        progress.ended = Some(ended);
        drop(progress);
        return run.big_files.leave_room(run, scope);
    }
    drop(progress);
    finish(run, scope, shared, ended);
}

/// Ends a file: its last list pages, its node.
fn finish<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    shared: &Arc<BigFile<'s>>,
    ended: Ended<'s>,
) {
    let (goal, finished) = match ended {
        Ended::Failed(goal) => (goal, None),
        Ended::Read(file) => {
            let list = std::mem::replace(&mut shared.progress().list, OrderedList::new());
            match finished(run, shared, &file, list) {
                Ok(finished) => (file.goal, finished),
                Err(error) => return run.fail(error),
            }
        }
    };
    complete(run, scope, goal, finished);
    run.big_files.leave_room(run, scope);
}

/// What a file became; nothing if its status cannot be had any more, which is a finding then.
fn finished(
    run: &Run<'_>,
    shared: &BigFile<'_>,
    file: &Reading<'_>,
    list: OrderedList,
) -> Result<Option<Finished>> {
    let Reading { open, ended_at, before, .. } = file;
    let (path, source) = (&shared.path, &shared.source);
    let changed = match open.file.stat() {
        Ok(after) => ended_at.is_some() || !open.stat.same_content_as(&after),
        Err(error) => {
            run.unreadable(source, path.clone(), &error);
            return Ok(None);
        }
    };
    if changed {
        run.finding(source, path.clone(), FindingKind::Changed, "it changed while it was read".into());
    }
    let content = list.finish(run.session)?;
    let (size, extents) = match ended_at {
        Some(end) => file::cut(open.extents.as_deref(), *end),
        None => (open.stat.size, open.extents.clone()),
    };
    let kind = NodeKind::Regular(Regular { size, content, extents, changed_while_read: changed });
    let xattrs = open.file.xattrs();
    let finished =
        file::finished(run, source, &|_| path.clone(), open.name.clone(), kind, &open.stat, xattrs)?;
    let change = file::change(before.as_ref(), &finished.node);
    run.count_file(change, finished.node.size(), &|| path.clone());
    source.add_node(finished.node.size());
    run.monitor.advance(1, 0);
    Ok(Some(finished))
}
