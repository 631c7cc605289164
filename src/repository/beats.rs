//! Signs of life of a long session (format-spec chapter 11).
//!
//! What must hold: none is sent before an interval has passed, and none after `stop` returned; one that cannot be sent
//! stops nobody, and is tried again an interval later. Whoever stops them waits for no more than one that is on its way.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::{Error, ErrorKind, RepositoryId, Result, SessionId, Timestamp};
use crate::crypto::Keys;
use crate::crypto::seal::Context;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::session::SessionBeat;
use crate::repository::Repository;
use crate::repository::object::{object_name, seal_padded};
use crate::storage::Storage;

/// What sends signs of life, until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Beats {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn ask(&self) {
        *self.is_asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// True if it was asked for before so much time has passed.
    fn is_asked_within(&self, time: Duration) -> bool {
        let asked = self.is_asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, time, |is_asked| !*is_asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What a sign of life is made of.
struct Sender {
    storage: Arc<dyn Storage>,
    keys: Arc<Keys>,
    repository: RepositoryId,
    generation: u32,
    session: SessionId,
}

impl Sender {
    fn send(&self, number: u64) -> Result<()> {
        let name = names::session_beat(&self.session, number);
        let context = Context {
            kind: ObjectKind::SessionBeat,
            generation: self.generation,
            repository: self.repository,
            name: Some(&name),
        };
        let content = SessionBeat { time: Timestamp::now() }.encode();
        let object = seal_padded(&self.keys, &context, self.session, content)?;
        match self.storage.put_if_absent(&object_name(&name)?, &[object]) {
            // An attempt whose failure was told succeeded all the same.
            Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
            other => other,
        }
    }
}

impl Repository {
    /// Sends signs of life of a session from now on, one each interval.
    pub(super) fn start_beats(&self, session: SessionId, interval: Duration) -> Result<Beats> {
        let sender = Sender {
            storage: Arc::clone(&self.storage),
            keys: Arc::clone(&self.keys),
            repository: self.config.repository,
            generation: self.config.generation,
            session,
        };
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        let run = move || {
            let mut next = 1;
            while !asked.is_asked_within(interval) {
                next += u64::from(sender.send(next).is_ok());
            }
        };
        let thread = std::thread::Builder::new()
            .name("beats".into())
            .spawn(run)
            .map_err(|cause| Error::system("cannot start a thread for the beats of a session", cause))?;
        Ok(Beats { stop, thread: Some(thread) })
    }
}

impl Beats {
    /// Sends no more.
    pub(super) fn stop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            drop(thread.join());
        }
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
