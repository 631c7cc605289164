//! A dump of bytes that this process has itself, and that are made when the first of them is asked for.
//!
//! What must hold: the dump counts only if it was made and read to its end; stopped, it ends soon, even while it is made.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::OpenDump;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// What gives the bytes.
pub(super) type Reader = Box<dyn Read + Send>;
/// Makes it; asked to stop, it may give up.
type Make = Box<dyn FnOnce(&AtomicBool) -> Result<Reader> + Send>;

/// A dump that `make` makes; `failed` says what cannot be done if that fails.
pub(super) fn later(
    failed: &str,
    make: impl FnOnce(&AtomicBool) -> Result<Reader> + Send + 'static,
) -> OpenDump {
    let shared = Arc::new(Shared::default());
    let (of_end, of_stop, failed) = (Arc::clone(&shared), Arc::clone(&shared), failed.to_owned());
    OpenDump {
        reader: Box::new(Later { state: State::Begun(Box::new(make)), shared }),
        end: Box::new(move || of_end.ended().wrap(|| failed)),
        stop: Box::new(move || of_stop.stopped.store(true, Ordering::Release)),
    }
}

/// The error of a dump that is to end.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped")
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    at_end: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Shared {
    fn ended(&self) -> Result<()> {
        if let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        if self.at_end.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Failed, "it was not read to its end"))
    }

    /// Keeps the error for who asks how it ended; the reader gives its words.
    fn fail(&self, error: Error) -> std::io::Error {
        let words = error.chain().join(": ");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        std::io::Error::other(words)
    }
}

enum State {
    Begun(Make),
    Made(Reader),
    Ended,
}

struct Later {
    state: State,
    shared: Arc<Shared>,
}

impl Read for Later {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // What fails is not begun again.
        let mut reader = match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun(make) => make(&self.shared.stopped).map_err(|error| self.shared.fail(error))?,
            State::Made(reader) => reader,
            State::Ended => return Ok(0),
        };
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(self.shared.fail(stopped()));
        }
        let count = match reader.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                self.state = State::Made(reader);
                return Err(error);
            }
            Err(error) => return Err(self.shared.fail(Error::system("cannot read it", error))),
            Ok(count) => count,
        };
        if count == 0 {
            self.shared.at_end.store(true, Ordering::Release);
        } else {
            self.state = State::Made(reader);
        }
        Ok(count)
    }
}
