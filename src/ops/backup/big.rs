//! Big files and streams in pieces: one reads and cuts a batch, all hash and store its chunks, the last goes on.
//!
//! What must hold: a bounded number of files has a batch in memory; nobody waits for a batch, so that no thread is
//! lost while one file is large and none is blocked behind another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rayon::Scope;

use crate::base::{FindingKind, Result};
use crate::chunker::Cutter;
use crate::format::node::{ChunkRef, Extent, NodeKind, Regular};
use crate::ops::backup::directory::{Goal, complete};
use crate::ops::backup::file::{self, Before, OpenFile};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::repository::{ChunkKind, Session};
use crate::tree::ListBuilder;

/// Chunks that one task hashes and stores: enough to be worth a task, few enough to keep all threads busy.
const TASK_CHUNKS: usize = 8;

/// Content bytes of a batch: room for two chunks of any size, so that a full batch always has a cut point.
pub(super) fn batch_bytes(session: &Session<'_>, cutter: &Cutter) -> usize {
    session.repository().memory().piece_bytes().max(2 * cutter.max_bytes())
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

/// A big file that is being read.
struct BigFile<'s> {
    open: OpenFile,
    path: Vec<u8>,
    source: Arc<SourceCounts>,
    goal: Goal<'s>,
    /// What is still to be read, the next piece last.
    pieces: Vec<Extent>,
    /// Read, and not yet part of a chunk.
    held: Vec<u8>,
    list: ListBuilder,
    ended_at: Option<u64>,
    before: Option<Before>,
}

impl<'s> BigFile<'s> {
    fn new(open: OpenFile, waited: (Vec<u8>, Arc<SourceCounts>, Goal<'s>, Option<Before>)) -> Self {
        let mut pieces = open.pieces();
        pieces.reverse();
        let (path, source, goal, before) = waited;
        let (held, list) = (Vec::new(), ListBuilder::new());
        Self { open, path, source, goal, pieces, held, list, ended_at: None, before }
    }

    /// Fills a batch; shorter only at the end of the file.
    fn fill(&mut self, batch_bytes: usize, mut batch: Vec<u8>) -> Result<Vec<u8>> {
        batch.extend_from_slice(&std::mem::take(&mut self.held));
        let mut filled = batch.len();
        batch.resize(batch_bytes.max(filled), 0);
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

/// Big files in work, and those that wait for one of them to end.
pub(super) struct BigFiles<'s> {
    workers: usize,
    waiting: Mutex<Waiting<'s>>,
}

#[derive(Default)]
struct Waiting<'s> {
    active: usize,
    files: VecDeque<WaitingFile<'s>>,
}

/// Chunks of a batch that tasks share.
struct Batch<'s> {
    /// Read by all its tasks; written to never, but taken away by the last.
    content: RwLock<Vec<u8>>,
    /// Begin and length of each chunk.
    chunks: Vec<(usize, usize)>,
    stored: Mutex<Vec<Option<ChunkRef>>>,
    pending: AtomicUsize,
    file: Mutex<Option<Box<BigFile<'s>>>>,
}

impl<'s> BigFiles<'s> {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, waiting: Mutex::default() }
    }

    /// Begins a file, now or when another ends.
    pub(super) fn begin<'scope>(&self, run: &'scope Run<'s>, scope: &Scope<'scope>, file: WaitingFile<'s>)
    where
        's: 'scope,
    {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.active > self.workers {
            waiting.files.push_back(file);
            return;
        }
        waiting.active += 1;
        drop(waiting);
        scope.spawn(move |scope| open(run, scope, file));
    }

    fn end<'scope>(&self, run: &'scope Run<'s>, scope: &Scope<'scope>)
    where
        's: 'scope,
    {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.files.pop_front() {
            Some(file) => scope.spawn(move |scope| open(run, scope, file)),
            None => waiting.active -= 1,
        }
    }
}

/// Opens a file whose turn it is.
fn open<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, file: WaitingFile<'s>) {
    let WaitingFile { open, path, source, goal, before } = file;
    match open() {
        Ok(open) => step(run, scope, Box::new(BigFile::new(open, (path, source, goal, before)))),
        Err(error) => {
            run.unreadable(&source, path, &error);
            complete(run, scope, goal, None);
            run.big_files.end(run, scope);
        }
    }
}

/// Reads the next batch and shares it out, or ends the file.
fn step<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, mut file: Box<BigFile<'s>>) {
    if run.is_over() {
        return;
    }
    run.monitor.begin(&file.path);
    let mut content = match file.fill(batch_bytes(run.session, &run.cutter), run.buffers.take()) {
        Ok(content) => content,
        Err(error) => {
            run.unreadable(&file.source, file.path.clone(), &error);
            complete(run, scope, file.goal, None);
            return run.big_files.end(run, scope);
        }
    };
    let is_all = file.pieces.is_empty();
    let lengths = run.cutter.chunks(&content, is_all);
    if lengths.is_empty() {
        return finish(run, scope, file);
    }
    let cut_bytes: usize = lengths.iter().sum();
    file.held = content.get(cut_bytes..).unwrap_or_default().to_vec();
    content.truncate(cut_bytes);
    run.add_bytes_read(cut_bytes as u64);
    let mut begin = 0;
    let chunks: Vec<(usize, usize)> = lengths
        .into_iter()
        .map(|length| {
            begin += length;
            (begin - length, length)
        })
        .collect();
    let tasks = chunks.len().div_ceil(TASK_CHUNKS);
    let batch = Arc::new(Batch {
        content: RwLock::new(content),
        stored: Mutex::new(vec![None; chunks.len()]),
        chunks,
        pending: AtomicUsize::new(tasks),
        file: Mutex::new(Some(file)),
    });
    for number in 0..tasks {
        let batch = Arc::clone(&batch);
        scope.spawn(move |scope| store_part(run, scope, &batch, number));
    }
}

/// Stores some chunks of a batch; whoever is last goes on with the file.
fn store_part<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    batch: &Arc<Batch<'s>>,
    number: usize,
) {
    let first = number * TASK_CHUNKS;
    let part = batch.chunks.iter().enumerate().skip(first).take(TASK_CHUNKS);
    let content = batch.content.read().unwrap_or_else(PoisonError::into_inner);
    for (position, (begin, length)) in part {
        if run.is_over() {
            return;
        }
        let Some(chunk) = content.get(*begin..begin + length) else { return };
        match run.session.store(ChunkKind::Data, chunk) {
            Ok(stored) => {
                let mut list = batch.stored.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = list.get_mut(position) {
                    *slot = Some(ChunkRef { id: stored.id, length: *length as u64 });
                }
            }
            Err(error) => return run.fail(error),
        }
    }
    drop(content);
    if batch.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    let Some(mut file) = batch.file.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let content = std::mem::take(&mut *batch.content.write().unwrap_or_else(PoisonError::into_inner));
    run.monitor.advance(0, content.len() as u64);
    run.buffers.give_back(content);
    let stored = std::mem::take(&mut *batch.stored.lock().unwrap_or_else(PoisonError::into_inner));
    for chunk in stored.into_iter().flatten() {
        if let Err(error) = file.list.push(run.session, chunk) {
            return run.fail(error);
        }
    }
    step(run, scope, file);
}

/// Ends a file: its last list pages, its node.
fn finish<'s: 'scope, 'scope>(run: &'scope Run<'s>, scope: &Scope<'scope>, file: Box<BigFile<'s>>) {
    let BigFile { open, path, source, goal, list, ended_at, before, .. } = *file;
    let changed = match open.file.stat() {
        Ok(after) => ended_at.is_some() || !open.stat.same_content_as(&after),
        Err(error) => {
            run.unreadable(&source, path, &error);
            complete(run, scope, goal, None);
            return run.big_files.end(run, scope);
        }
    };
    if changed {
        run.finding(&source, path.clone(), FindingKind::Changed, "it changed while it was read".into());
    }
    let finished = list.finish(run.session).and_then(|content| {
        let (size, extents) = match ended_at {
            Some(end) => file::cut(open.extents.as_deref(), end),
            None => (open.stat.size, open.extents),
        };
        let kind = NodeKind::Regular(Regular { size, content, extents, changed_while_read: changed });
        file::finished(run, &source, &|| path.clone(), open.name, kind, &open.stat, open.file.xattrs())
    });
    match finished {
        Ok(finished) => {
            let change = file::change(before.as_ref(), &finished.node);
            run.count_file(change, finished.node.size(), &|| path.clone());
            source.add_node(finished.node.size());
            run.monitor.advance(1, 0);
            complete(run, scope, goal, Some(finished));
            run.big_files.end(run, scope);
        }
        Err(error) => run.fail(error),
    }
}
