//! A batch of content that was read and cut: several tasks store its chunks, and these go to the list of their file in
//! order, whichever batch is done first.
//!
//! What must hold: a chunk is named in the list only after it was stored, and no chunk of a batch is left out; exactly one
//! task is told that a batch is done. Whoever adds a batch may hold a lock on the list, since nothing that stores a page of it
//! takes up foreign work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::base::{Error, ErrorKind, Result};
use crate::format::node::{ChunkRef, Content};
use crate::repository::{ChunkKind, Session};
use crate::tree::ListBuilder;

/// Chunks that one task hashes and stores: enough to be worth a task, few enough to keep all threads busy.
const TASK_CHUNKS: usize = 8;

/// Content and its chunks.
pub(super) struct Batch {
    number: u64,
    /// Read by all its tasks; written to never, but taken away by the last.
    content: RwLock<Vec<u8>>,
    /// Begin and length of each chunk, and what became of it.
    chunks: Vec<(usize, usize, OnceLock<ChunkRef>)>,
    pending: AtomicUsize,
}

impl Batch {
    /// The batch of this number in its file: its content begins with chunks of these lengths.
    pub(super) fn of(number: u64, content: Vec<u8>, lengths: &[usize]) -> Arc<Self> {
        let mut begin = 0;
        let place = |length: &usize| {
            begin += length;
            (begin - length, *length, OnceLock::new())
        };
        let chunks: Vec<_> = lengths.iter().map(place).collect();
        let pending = AtomicUsize::new(chunks.len().div_ceil(TASK_CHUNKS));
        Arc::new(Self { number, content: RwLock::new(content), chunks, pending })
    }

    /// Into how many tasks it is divided.
    pub(super) fn tasks(&self) -> usize {
        self.chunks.len().div_ceil(TASK_CHUNKS)
    }

    /// Does one of its tasks; true if that was the last. Stops early once `is_over` says so, and is never done then.
    pub(super) fn store(
        &self,
        session: &Session<'_>,
        task: usize,
        is_over: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        for (begin, length, stored) in self.chunks.iter().skip(task * TASK_CHUNKS).take(TASK_CHUNKS) {
            if is_over() {
                return Ok(false);
            }
            let Some(chunk) = content.get(*begin..begin + length) else { return Ok(false) };
            let id = session.store(ChunkKind::Data, chunk)?.id;
            stored.get_or_init(|| ChunkRef { id, length: *length as u64 });
        }
        drop(content);
        Ok(self.pending.fetch_sub(1, Ordering::AcqRel) == 1)
    }

    /// Its content, to be used for another batch; for whoever did its last task.
    pub(super) fn take_content(&self) -> Vec<u8> {
        std::mem::take(&mut *self.content.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The list of a file, to which batches come in any order.
pub(super) struct OrderedList {
    list: ListBuilder,
    next: u64,
    early: BTreeMap<u64, Arc<Batch>>,
}

impl OrderedList {
    /// An empty list, which begins with batch 0.
    pub(super) fn new() -> Self {
        Self { list: ListBuilder::new(), next: 0, early: BTreeMap::new() }
    }

    /// Adds a batch of which all chunks are stored.
    pub(super) fn add(&mut self, session: &Session<'_>, batch: &Arc<Batch>) -> Result<()> {
        self.early.insert(batch.number, Arc::clone(batch));
        while let Some(batch) = self.early.remove(&self.next) {
            self.next += 1;
            for (.., stored) in &batch.chunks {
                self.list.push(session, *stored.get().ok_or_else(incomplete)?)?;
            }
        }
        Ok(())
    }

    /// The content of the file, all of whose batches were added.
    pub(super) fn finish(self, session: &Session<'_>) -> Result<Content> {
        if self.early.is_empty() { self.list.finish(session) } else { Err(incomplete()) }
    }
}

fn incomplete() -> Error {
    Error::new(ErrorKind::Failed, "not all chunks of a file were stored")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::host::Host;
    use crate::repository::tests::new_repository;
    use crate::repository::{Repository, SessionOptions};

    const CHUNK_BYTES: usize = 100;

    fn start(repository: &Repository) -> Session<'_> {
        repository.start_session(&Host::current(), SessionOptions::default()).expect("a session")
    }

    /// A batch of chunks, each of which holds its number in the file.
    fn batch(number: u64, chunks: std::ops::Range<u8>) -> Arc<Batch> {
        let content: Vec<u8> = chunks.clone().flat_map(|chunk| [chunk; CHUNK_BYTES]).collect();
        Batch::of(number, content, &vec![CHUNK_BYTES; chunks.len()])
    }

    #[test]
    fn one_task_is_the_last_and_chunks_come_in_order_whichever_batch_is_done_first() {
        let (_, repository) = new_repository();
        let session = start(&repository);
        let batches = [batch(0, 0..20), batch(1, 20..29), batch(2, 29..30)];
        assert_eq!(batches.each_ref().map(|batch| batch.tasks()), [3, 2, 1]);
        let mut list = OrderedList::new();
        for batch in [&batches[2], &batches[0], &batches[1]] {
            let done: Vec<bool> = (0..batch.tasks())
                .rev()
                .map(|task| batch.store(&session, task, &|| false).expect("stored"))
                .collect();
            assert_eq!(done.iter().filter(|is_done| **is_done).count(), 1);
            assert_eq!(done.last(), Some(&true));
            assert_eq!(batch.take_content().len(), batch.chunks.len() * CHUNK_BYTES);
            list.add(&session, batch).expect("added");
        }
        let content = list.finish(&session).expect("a list");
        let mut expected = ListBuilder::new();
        for number in 0..30 {
            let id = session.store(ChunkKind::Data, &[number; CHUNK_BYTES]).expect("known");
            assert!(!id.is_new, "{number}");
            expected.push(&session, ChunkRef { id: id.id, length: CHUNK_BYTES as u64 }).expect("pushed");
        }
        assert_eq!(content, expected.finish(&session).expect("a list"));
        session.close().expect("closed");
    }

    #[test]
    fn a_list_that_lacks_something_is_not_finished() {
        let (_, repository) = new_repository();
        let session = start(&repository);
        let mut list = OrderedList::new();
        let late = batch(1, 0..1);
        assert!(late.store(&session, 0, &|| false).expect("stored"));
        list.add(&session, &late).expect("added");
        list.finish(&session).expect_err("the first batch is missing");
        OrderedList::new().add(&session, &batch(0, 1..2)).expect_err("a chunk is not stored");
        session.close().expect("closed");
    }

    #[test]
    fn a_batch_of_a_run_that_is_over_is_never_done() {
        let (_, repository) = new_repository();
        let session = start(&repository);
        let batch = batch(0, 0..9);
        assert!(!batch.store(&session, 0, &|| true).expect("stopped"));
        assert!(!batch.store(&session, 1, &|| false).expect("stored"));
        session.close().expect("closed");
    }
}
