//! Packs on their way to a storage that takes time, while the workers go on.
//!
//! What must hold: what waits and what is on its way is bounded in bytes; a pack counts as published only when the storage
//! has said so; after the first failure nothing more is sent; nothing is on its way when a session ends. Only workers
//! wait for these threads, never these for workers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::base::{Error, Result, Wrap};
use crate::repository::pack::{PublishedPack, SealedPack};
use crate::storage::Storage;

/// Packs on their way.
pub(super) struct Uploads {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// No more threads than that; none where the caller may as well write by itself.
    threads_max: usize,
    bytes_max: usize,
}

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
            state.on_the_way += 1;
            drop(state);
            let bytes = pack.body_bytes();
            let outcome = pack.publish(&*self.storage);
            state = self.lock();
            state.on_the_way -= 1;
            state.bytes -= bytes;
            match outcome {
                Ok(published) => state.arrived.push(published),
                Err(error) => state.fail(error),
            }
            self.changed.notify_all();
        }
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
            let told = || Error::new(crate::base::ErrorKind::Failed, "another pack could not be written");
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
        Self { shared: Arc::new(shared), threads: Mutex::default(), threads_max, bytes_max }
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
        let arrived = state.take()?;
        state.bytes += bytes;
        state.waiting.push_back(pack);
        let wanted = (state.waiting.len() + state.on_the_way).min(self.threads_max);
        drop(state);
        self.shared.changed.notify_all();
        self.have_threads(wanted)?;
        Ok(arrived)
    }

    fn have_threads(&self, wanted: usize) -> Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < wanted {
            let shared = Arc::clone(&self.shared);
            let started =
                std::thread::Builder::new().name("packstone-upload".to_owned()).spawn(move || shared.work());
            match started {
                Ok(thread) => threads.push(thread),
                // Fewer do it as well.
                Err(_) if !threads.is_empty() => return Ok(()),
                Err(cause) => return Err(cause).wrap(|| "cannot start a thread that writes packs"),
            }
        }
        Ok(())
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
            // It cannot panic but by a fault of the storage, and then its pack did not arrive.
            let _ = thread.join();
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.close();
    }
}
