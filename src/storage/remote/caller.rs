//! Calls of a storage behind a network: so many at a time, each run to its end, tried again while that may help.
//!
//! What must hold: what may pass is tried again with growing waits until the patience ends; progress begins it anew. Calls
//! block; none may be made from within the runtime.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::errors::{Attempt, Failure};
use super::services::{RemoteOptions, Stopped};
use super::timing::{Pacer, Pause, Timer, backoff};
use super::transport::{CALL, Call, Counted, Purpose, Wire, last_status};
use crate::base::{Error, ErrorKind, Result};

/// What never answered is given up earlier: more often than not its name is wrong.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
/// Trouble is told when it has lasted so long, and again after each such time.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the calls of one storage.
pub(in crate::storage) struct Caller {
    /// What all requests share.
    pub(in crate::storage) wire: Arc<Wire>,
    /// The location, for messages.
    pub(in crate::storage) shown: String,
    patience: Duration,
    first_wait: Duration,
    on_trouble: fn(&str),
    is_stopped: Stopped,
    has_answered: AtomicBool,
    told: Mutex<Duration>,
    connections: Arc<Semaphore>,
    runtime: Runtime,
}

impl Caller {
    /// Starts the thread of the network; nothing is sent.
    pub(in crate::storage) fn start(
        shown: String,
        options: &RemoteOptions,
        timer: Box<dyn Timer>,
    ) -> Result<Self> {
        let connections = options.connections.max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("packstone-network")
            .enable_all()
            .build()
            .map_err(|cause| Error::system("cannot start the thread of the network", cause))?;
        let wire = Arc::new(Wire {
            timer,
            upload: options.upload_bytes_per_second.map(Pacer::new),
            download: options.download_bytes_per_second.map(Pacer::new),
            pause: Pause::default(),
            connections,
            counted: Counted::default(),
        });
        Ok(Self {
            wire,
            shown,
            patience: options.patience,
            first_wait: options.first_wait,
            on_trouble: options.on_trouble,
            is_stopped: options.is_stopped.clone(),
            has_answered: AtomicBool::new(false),
            told: Mutex::default(),
            connections: Arc::new(Semaphore::new(connections)),
            runtime,
        })
    }

    /// Runs a call to its end, when a connection is free.
    pub(in crate::storage) fn run<T>(&self, purpose: Purpose, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(CALL.scope(Arc::new(Call::new(purpose)), async {
            // It is never closed.
            let _permit = self.connections.acquire().await;
            call.await
        }))
    }

    /// Tries until it succeeds, fails for good, or patience ends.
    pub(in crate::storage) async fn try_often<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Attempt<T>,
    ) -> Result<T> {
        let timer = &self.wire.timer;
        let (mut since, mut repetition, mut attempts) = (timer.now(), 0, 1_u32);
        loop {
            // Names that were not asked for make the crate below panic.
            let failure = match AssertUnwindSafe(attempt()).catch_unwind().await {
                Ok(Ok(value)) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(value);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::lasting(Error::damaged("the storage gives an answer that makes no sense")),
            };
            if !failure.may_pass || (self.is_stopped.0)() {
                return Err(failure.error);
            }
            if failure.has_progressed {
                (since, repetition) = (timer.now(), 0);
            }
            let wait = backoff(self.first_wait, repetition, getrandom::u32().unwrap_or_default());
            let has_answered = self.has_answered.load(Ordering::Relaxed) || last_status() != 0;
            let patience = if has_answered { self.patience } else { self.patience.min(FIRST_PATIENCE) };
            if (timer.now() + wait).saturating_sub(since) > patience {
                return Err(self.given_up(failure, attempts));
            }
            self.tell_of_trouble(since, &failure.error);
            self.wire.counted.repetition();
            timer.wait(wait).await;
            repetition += 1;
            attempts = attempts.saturating_add(1);
        }
    }

    fn given_up(&self, failure: Failure, attempts: u32) -> Error {
        let message = format!("{} did not answer as it should; attempts: {attempts}", self.shown);
        failure.error.while_doing(message).of_kind(ErrorKind::Unreachable)
    }

    /// Says that something is tried again, unless that was said a moment ago.
    fn tell_of_trouble(&self, since: Duration, error: &Error) {
        let now = self.wire.timer.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(since.max(*told)) >= TROUBLE_INTERVAL {
            *told = now;
            (self.on_trouble)(&format!("{} does not answer as it should, trying again: {error}", self.shown));
        }
    }
}
