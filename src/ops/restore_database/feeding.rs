//! One dump on its way to a step that needs it.
//!
//! What must hold: whatever the step says, it has not ended well unless all of the dump was written to it; why reading
//! broke off is never lost behind what a program makes of half a dump.

use std::io::Write;

use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::ops::dump::dump_file;
use crate::repository::{Repository, SnapshotEntry};

/// Writes a dump, as often as a step asks for it.
pub(super) struct Feeding<'f> {
    repository: &'f Repository,
    snapshot: &'f SnapshotEntry,
    path: &'f [u8],
    monitor: &'f dyn Monitor,
    /// As far as the longest attempt came, of which a monitor was told.
    told_bytes: u64,
    state: State,
}

/// How the last attempt ended.
enum State {
    /// There was none.
    Unread,
    /// All was written.
    Whole,
    /// The step took no more.
    Refused,
    /// The dump cannot be read further.
    Broken(ErrorKind, String),
}

impl<'f> Feeding<'f> {
    /// Of what stands at a path of a snapshot.
    pub(super) const fn new(
        repository: &'f Repository,
        snapshot: &'f SnapshotEntry,
        path: &'f [u8],
        monitor: &'f dyn Monitor,
    ) -> Self {
        Self { repository, snapshot, path, monitor, told_bytes: 0, state: State::Unread }
    }

    /// Writes all of it, or fails.
    pub(super) fn feed(&mut self, output: &mut dyn Write) -> Result<()> {
        let monitor = self.monitor;
        let mut metered =
            Metered { output, monitor, bytes: 0, told_bytes: self.told_bytes, is_refused: false };
        let written = dump_file(self.repository, self.snapshot, self.path, &mut metered, monitor);
        self.told_bytes = metered.told_bytes;
        self.state = match &written {
            Ok(()) => State::Whole,
            Err(_) if metered.is_refused => State::Refused,
            Err(error) => State::Broken(error.kind(), error.chain().join(": ")),
        };
        written
    }

    /// How the step really ended that says this.
    pub(super) fn judge(self, outcome: Result<()>) -> Result<()> {
        match (outcome, self.state) {
            (Ok(()), State::Whole) => Ok(()),
            (Ok(()), State::Unread | State::Refused) => {
                Err(Error::new(ErrorKind::Failed, "it ended without taking all of its dump"))
            }
            (Ok(()), State::Broken(kind, why)) => Err(Error::new(kind, why)),
            (Err(error), State::Broken(kind, why)) if error.kind() != kind => {
                let told = Error::new(kind, error.chain().join(": "));
                Err(Error::caused(kind, why, told))
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Counts what is written, and notices when it is not taken.
struct Metered<'m> {
    output: &'m mut dyn Write,
    monitor: &'m dyn Monitor,
    bytes: u64,
    told_bytes: u64,
    is_refused: bool,
}

impl Metered<'_> {
    fn watch<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        self.is_refused |=
            result.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::Interrupted);
        result
    }
}

impl Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.output.write(bytes);
        let count = self.watch(written)?;
        self.is_refused |= count == 0 && !bytes.is_empty();
        self.bytes += count as u64;
        self.monitor.advance(0, self.bytes.saturating_sub(self.told_bytes));
        self.told_bytes = self.told_bytes.max(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.output.flush();
        self.watch(flushed)
    }
}
