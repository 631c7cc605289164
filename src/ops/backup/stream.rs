//! How a stream becomes chunks: standard input, the output of a command, a dump.
//!
//! What must hold: a stream that cannot be read is told from a storage that cannot be written; whether it ended well,
//! who reads it asks after its last byte.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::{Error, Monitor, Result, Wrap};
use crate::format::node::Content;
use crate::ops::backup::batch::{Batch, OrderedList};
use crate::ops::backup::big::batch_bytes;
use crate::ops::backup::buffers::{Buffers, behind};
use crate::ops::backup::interrupted;
use crate::ops::backup::run::Run;
use crate::repository::Session;

/// Says whether a stream that was read to its end ended well.
pub type StreamEnd<'i> = Box<dyn FnOnce() -> Result<()> + Send + 'i>;

/// A stream to back up.
pub struct StreamInput<'i> {
    /// Its path in the snapshot.
    pub filename: String,
    /// Its bytes.
    pub reader: Box<dyn Read + Send + 'i>,
    /// Asked once the reader has given everything.
    pub end: StreamEnd<'i>,
    /// Makes the reader end, even if it waits for what may never come. Called where its bytes can no longer be stored.
    pub stop: Box<dyn Fn() + Send + Sync + 'i>,
}

impl std::fmt::Debug for StreamInput<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamInput({})", self.filename)
    }
}

/// Why a stream is not part of the snapshot.
pub(super) enum Failed {
    /// The run as a whole cannot go on.
    Run(Error),
    /// It could not be read, or did not end well.
    Source(Error),
}

/// Tells what is read when it is read: of a slow stream, a batch may take hours.
struct Counted<'r> {
    reader: Box<dyn Read + Send + 'r>,
    monitor: &'r dyn Monitor,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.monitor.advance(0, count as u64);
        Ok(count)
    }
}

/// What the tasks of a stream share.
struct Work<'s> {
    session: &'s Session<'s>,
    stop: &'s (dyn Fn() + Send + Sync),
    buffers: Buffers,
    state: Mutex<State>,
    changed: Condvar,
    has_failed: AtomicBool,
}

/// How far they are.
struct State {
    list: OrderedList,
    in_work: usize,
    failure: Option<Error>,
}

impl<'s> Work<'s> {
    fn new(session: &'s Session<'s>, stop: &'s (dyn Fn() + Send + Sync)) -> Self {
        let state = State { list: OrderedList::new(), in_work: 0, failure: None };
        Self {
            session,
            stop,
            buffers: Buffers::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            has_failed: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Waits until fewer batches are in work, or a task failed. Not for the threads that do the tasks.
    fn wait_for_room(&self, batches_max: usize) {
        let mut state = self.state();
        while state.in_work >= batches_max && !self.is_over() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_work += 1;
    }

    /// Does a task of a batch.
    fn store(&self, batch: &Arc<Batch>, task: usize) {
        let _alarm = Alarm(self);
        let stored = batch.store(self.session, task, &|| self.is_over()).and_then(|is_done| {
            if is_done {
                self.buffers.give_back(batch.take_content());
                let mut state = self.state();
                state.list.add(self.session, batch)?;
                state.in_work -= 1;
            }
            Ok(())
        });
        if let Err(error) = stored {
            self.has_failed.store(true, Ordering::Relaxed);
            self.state().failure.get_or_insert(error);
            (self.stop)();
        }
        self.changed.notify_all();
    }
}

/// Wakes who waits if a task panics; the panic itself is passed on by the pool.
struct Alarm<'w>(&'w Work<'w>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_failed.store(true, Ordering::Relaxed);
            drop(self.0.state());
            self.0.changed.notify_all();
            (self.0.stop)();
        }
    }
}

/// Stores all bytes of a reader: this thread reads and cuts batch after batch, those of the pool store the chunks.
pub(super) fn store(
    run: &Run<'_>,
    reader: Box<dyn Read + Send + '_>,
    stop: &(dyn Fn() + Send + Sync),
    pool: &rayon::ThreadPool,
) -> std::result::Result<(Content, u64), Failed> {
    let work = Work::new(run.session, stop);
    let reader = Counted { reader, monitor: run.monitor };
    let read = pool.in_place_scope(|scope| {
        read(run, &work, reader, |batch| {
            for task in 0..batch.tasks() {
                let (work, batch) = (&work, Arc::clone(&batch));
                scope.spawn(move |_| work.store(&batch, task));
            }
        })
    });
    let state = work.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failure.map_or(Ok(()), |error| Err(Failed::Run(error)))?;
    let size = read?;
    Ok((state.list.finish(run.session).map_err(Failed::Run)?, size))
}

/// Reads and cuts a stream to its end; gives its length.
fn read(
    run: &Run<'_>,
    work: &Work<'_>,
    mut reader: Counted<'_>,
    mut begin: impl FnMut(Arc<Batch>),
) -> std::result::Result<u64, Failed> {
    let batch_bytes = batch_bytes(run.session, &run.cutter);
    let (mut held, mut size): (Vec<u8>, u64) = (Vec::new(), 0);
    for number in 0.. {
        work.wait_for_room(run.stream_batches_max);
        if run.is_over() {
            return Err(Failed::Run(interrupted()));
        }
        if work.is_over() {
            break;
        }
        let mut content = behind(&held, work.buffers.take(), batch_bytes);
        let filled = fill(&mut reader, held.len(), &mut content, work);
        let filled = filled.wrap(|| "cannot read the stream").map_err(Failed::Source)?;
        let is_all = filled < content.len();
        content.truncate(filled);
        held.clear();
        let lengths = run.cutter.chunks(&content, is_all);
        let cut_bytes: usize = lengths.iter().sum();
        size += cut_bytes as u64;
        held.extend_from_slice(content.get(cut_bytes..).unwrap_or_default());
        content.truncate(cut_bytes);
        if !lengths.is_empty() {
            begin(Batch::of(number, content, &lengths));
        }
        if is_all {
            break;
        }
    }
    Ok(size)
}

/// Goes on to fill a buffer from a reader until its end, or until a task failed; gives how much there is.
fn fill(
    reader: &mut Counted<'_>,
    mut filled: usize,
    buffer: &mut [u8],
    work: &Work<'_>,
) -> std::io::Result<usize> {
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty() && !work.is_over()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
