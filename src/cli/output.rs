//! The standard output of commands whose output is what was asked for.
//!
//! What must hold: output that cannot be written fails the command; a reader that stops reading, as `head` does, ends
//! it without a word.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use packstone::base::{Result, Wrap};

use crate::report::Done;

/// The standard output.
#[derive(Debug)]
pub struct Output {
    writer: BufWriter<File>,
    is_closed: bool,
}

impl Output {
    /// Opens it anew: the standard library's own looks for the ends of lines.
    pub fn open() -> Result<Self> {
        Self::with_buffer(64 << 10)
    }

    /// Opens it so that what is written goes on at once, and no copy of a secret stays in a buffer.
    pub fn open_unbuffered() -> Result<Self> {
        Self::with_buffer(0)
    }

    fn with_buffer(size_bytes: usize) -> Result<Self> {
        let failed = || "cannot write the output";
        let descriptor = io::stdout().as_fd().try_clone_to_owned().wrap(failed)?;
        Ok(Self { writer: BufWriter::with_capacity(size_bytes, File::from(descriptor)), is_closed: false })
    }

    /// Writes what is left, and says how a command ended whose work had this result.
    pub fn end(mut self, result: Result<Done>) -> Result<Done> {
        let flushed = self.flush().wrap(|| "cannot write the output");
        if self.is_closed {
            return Ok(Done::Unread);
        }
        result.and_then(|done| flushed.map(|()| done))
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes);
        self.watch(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.watch(flushed)
    }
}
