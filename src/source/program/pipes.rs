//! The ends of the pipes of a running program: its output as somebody reads it, its input as somebody writes it.
//!
//! What must hold: output counts as whole only if the program succeeded, wrote something and what sees its bytes agrees;
//! input that the program did not read is noticed.

use std::fs::File;
use std::io::{ErrorKind as Io, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

use super::messages::LastLines;
use super::{Completeness, Program};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::{CommandStop, CommandStream};

/// A running program whose output is looked at as it passes.
pub(super) struct Watched {
    pub(super) stream: CommandStream,
    pub(super) completeness: Box<dyn Completeness>,
    pub(super) is_empty: bool,
}

impl Watched {
    pub(super) fn finish(mut self, shown: &str, lines: &LastLines) -> Result<()> {
        self.stream.finish().map_err(|error| lines.explain(&error))?;
        if self.is_empty {
            let message = format!("{shown} succeeded, but wrote nothing");
            return Err(lines.explain(&Error::new(ErrorKind::Failed, message)));
        }
        self.completeness.end()
    }
}

/// Asks another program whether the output is whole: it reads all of it, and must succeed.
pub struct ReadBy {
    stream: Option<CommandStream>,
    input: Option<Input>,
    lines: LastLines,
    /// For messages.
    judged: String,
}

impl ReadBy {
    /// Starts the program that reads along. `judged` names the one whose output it is.
    pub fn start(program: &Program, judged: &str) -> Result<Self> {
        let (mut stream, lines) = program.start(Stdio::piped(), Stdio::null())?;
        let input = Some(program.input(&mut stream)?);
        Ok(Self { stream: Some(stream), input, lines, judged: judged.to_owned() })
    }
}

impl Completeness for ReadBy {
    fn see(&mut self, bytes: &[u8]) {
        // One that reads no further has failed, which its end tells.
        if self.input.as_mut().is_some_and(|input| input.write_all(bytes).is_err()) {
            self.input = None;
        }
    }

    fn end(&mut self) -> Result<()> {
        let not_whole = || format!("the output of {} is not whole", self.judged);
        let cannot = || Error::new(ErrorKind::Failed, "what reads along did not read it to its end");
        let (Some(stream), input) = (self.stream.take(), self.input.take()) else {
            return Err(cannot().while_doing(not_whole()));
        };
        let rest = input.map(Input::end).transpose().wrap(not_whole)?;
        stream.finish().map_err(|error| self.lines.explain(&error)).wrap(not_whole)?;
        if rest.is_none_or(|mut rest| rest.is_left()) {
            Err(cannot().while_doing(not_whole()))
        } else {
            Ok(())
        }
    }

    fn stopper(&self) -> Option<CommandStop> {
        self.stream.as_ref().map(CommandStream::stopper)
    }
}

/// One who reads, and one who asks for the end.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<Mutex<Option<Watched>>>);

impl Shared {
    pub(super) fn let_go(&self) -> Option<Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = &mut *watched else { return Ok(0) };
        let count = watched.stream.read(buffer)?;
        if count > 0 {
            watched.is_empty = false;
            watched.completeness.see(buffer.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

/// The input of a program; it notices when nobody reads any more.
pub(super) struct Input {
    pub(super) pipe: ChildStdin,
    pub(super) is_closed: bool,
}

impl Input {
    /// Lets the program come to the end of its input.
    pub(super) fn end(self) -> std::io::Result<Rest> {
        let path = format!("/proc/self/fd/{}", self.pipe.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        Ok(Rest { pipe, was_closed: self.is_closed })
    }
}

/// Another end of the pipe that is the input of a program: in it stays what is never read.
pub(super) struct Rest {
    pipe: File,
    was_closed: bool,
}

impl Rest {
    /// Whether the program, which has ended, left something unread.
    pub(super) fn is_left(&mut self) -> bool {
        self.was_closed || matches!(self.pipe.read(&mut [0]), Ok(count) if count > 0)
    }
}

/// Output that ends well only if its program did.
pub(super) struct UntilEnd {
    pub(super) stream: Option<CommandStream>,
    pub(super) lines: LastLines,
}

impl Read for UntilEnd {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let count = stream.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let ended = self.stream.take().map_or(Ok(()), CommandStream::finish);
            ended.map_err(|error| std::io::Error::other(self.lines.explain(&error)))?;
        }
        Ok(count)
    }
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.pipe.write(bytes);
        self.is_closed |= matches!(&written, Err(error) if error.kind() == Io::BrokenPipe);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
