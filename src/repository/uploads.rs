//! Packs on their way to a storage that takes time, while the workers go on.
//!
//! What must hold: what waits and what is on its way is bounded in bytes; a pack counts as published only when the storage
//! has said so; after the first failure, which a panic below is as well, nothing more is sent; nothing is on its way when
//! a session ends. Only workers wait for these threads, never these for workers; where no thread can be had, who brings a
//! pack sends it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::base::{Error, ErrorKind, Result};
use crate::repository::pack::{PublishedPack, SealedPack};
use crate::storage::Storage;

/// Packs on their way.
pub(super) struct Uploads {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// No more threads than that; none where the caller may as well write by itself.
    threads_max: usize,
    bytes_max: usize,
    start: Start,
}

/// Starts a thread.
type Start = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>>;

struct Shared {
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<SealedPack>,
    /// Of packs that wait or are on their way.
    bytes: usize,
    on_the_way: usize,
    arrived: Vec<PublishedPack>,
    failure: Option<Error>,
    has_failed: bool,
    is_closed: bool,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Uploads").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits until there will be nothing more.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some(pack) = state.waiting.pop_front() else {
                if state.is_closed {
                    return;
                }
                state = self.wait(state);
                continue;
            };
            state = self.send(pack, state);
        }
    }

    /// Sends what waits now.
    fn send_all(&self) {
        let mut state = self.lock();
        while let Some(pack) = state.waiting.pop_front() {
            state = self.send(pack, state);
        }
    }

    /// Sends a pack that no longer waits, and notes what became of it.
    fn send<'s>(&'s self, pack: SealedPack, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.on_the_way += 1;
        drop(state);
        let bytes = pack.body_bytes();
        let outcome = catch_unwind(AssertUnwindSafe(|| pack.publish(&*self.storage)));
        let mut state = self.lock();
        state.on_the_way -= 1;
        state.bytes -= bytes;
        match outcome {
            Ok(Ok(published)) => state.arrived.push(published),
            Ok(Err(error)) => state.fail(error),
            Err(_) => {
                state.fail(Error::new(
                    ErrorKind::Failed,
                    "a fault of this program stopped the writing of a pack",
                ));
            }
        }
        self.changed.notify_all();
        state
    }
}

impl State {
    fn fail(&mut self, error: Error) {
        self.has_failed = true;
        self.failure.get_or_insert(error);
        let unsent: usize = self.waiting.drain(..).map(|pack| pack.body_bytes()).sum();
        self.bytes -= unsent;
    }

    /// What arrived since somebody asked last. The first to ask after a failure is told why.
    fn take(&mut self) -> Result<Vec<PublishedPack>> {
        if self.has_failed {
            let told = || Error::new(ErrorKind::Failed, "another pack could not be written");
            return Err(self.failure.take().unwrap_or_else(told));
        }
        Ok(std::mem::take(&mut self.arrived))
    }
}

impl Uploads {
    /// At most so many bytes wait or are on their way at a time, but always one pack.
    pub(super) fn new(storage: Arc<dyn Storage>, bytes_max: usize) -> Self {
        let threads_max = match storage.parallel_calls() {
            0 | 1 => 0,
            calls => calls,
        };
        let shared = Shared { storage, state: Mutex::default(), changed: Condvar::new() };
        let start: Start = |work| std::thread::Builder::new().name("packstone-upload".to_owned()).spawn(work);
        Self { shared: Arc::new(shared), threads: Mutex::default(), threads_max, bytes_max, start }
    }

    /// Publishes a pack, or takes it on its way. Gives the packs that arrived, which may be this one or others.
    pub(super) fn publish(&self, pack: SealedPack) -> Result<Vec<PublishedPack>> {
        if self.threads_max == 0 {
            return pack.publish(&*self.shared.storage).map(|published| vec![published]);
        }
        let bytes = pack.body_bytes();
        let mut state = self.shared.lock();
        while state.bytes > 0 && state.bytes + bytes > self.bytes_max && !state.has_failed {
            state = self.shared.wait(state);
        }
        let mut arrived = state.take()?;
        state.bytes += bytes;
        state.waiting.push_back(pack);
        let wanted = (state.waiting.len() + state.on_the_way).min(self.threads_max);
        drop(state);
        self.shared.changed.notify_all();
        if !self.have_threads(wanted) {
            self.shared.send_all();
            arrived.extend(self.shared.lock().take()?);
        }
        Ok(arrived)
    }

    /// Starts threads as far as they are wanted and can be had; whether there is one.
    fn have_threads(&self, wanted: usize) -> bool {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < wanted {
            let shared = Arc::clone(&self.shared);
            match (self.start)(Box::new(move || shared.work())) {
                Ok(thread) => threads.push(thread),
                // Fewer do it as well.
                Err(_) => break,
            }
        }
        !threads.is_empty()
    }

    /// Waits until everything has arrived, and gives what nobody was given yet.
    pub(super) fn finish(&self) -> Result<Vec<PublishedPack>> {
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() || state.on_the_way > 0 {
            state = self.shared.wait(state);
        }
        state.take()
    }

    /// Sends nothing more, and waits for what is on its way.
    pub(super) fn close(&self) {
        {
            let mut state = self.shared.lock();
            state.is_closed = true;
            let unsent: usize = state.waiting.drain(..).map(|pack| pack.body_bytes()).sum();
            state.bytes -= unsent;
        }
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic of the storage does not come so far.
            let _ = thread.join();
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
