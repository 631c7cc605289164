//! Backing up a stream: the standard input, or what a command prints.
//!
//! What must hold: an interruption ends a stream that is silent, and what was read until then becomes no snapshot; a
//! command's messages are passed on, and it gets no secret of this program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::{Error, ErrorKind, Monitor, Result, Wrap};
use packstone::ops::backup::{BackupOptions, BackupSummary, StreamInput, backup_stream};
use packstone::source::CommandStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Arguments;
use crate::open::Opened;
use crate::progress::Progress;

/// How often a silent input is left to look for an interruption.
const LOOK_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Backs up the standard input.
pub fn of_stdin(
    opened: &Opened,
    arguments: &Arguments,
    options: &BackupOptions,
    progress: &Arc<Progress>,
) -> Result<BackupSummary> {
    let failed = || "cannot read the standard input";
    let input = File::from(io::stdin().as_fd().try_clone_to_owned().wrap(failed)?);
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_over);
    let input = Input { input, progress: Arc::clone(progress), is_over };
    let at_end = Arc::clone(progress);
    let end = move || match at_end.cancelled() {
        true => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    };
    let filename = arguments.stdin_filename.clone();
    let stop = Box::new(move || stop.store(true, Ordering::Relaxed));
    let input = StreamInput { filename, reader: Box::new(input), end: Box::new(end), stop };
    backup_stream(&opened.repository, input, options, &**progress)
}

/// The standard input. An interruption looks like the end, which is then refused as an end.
struct Input {
    input: File,
    progress: Arc<Progress>,
    /// What it gives can no longer be stored.
    is_over: Arc<AtomicBool>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An input that is never silent is not waited for.
        while !self.progress.cancelled() && !self.is_over.load(Ordering::Relaxed) {
            let mut asked = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut asked, Some(&LOOK_INTERVAL)) {
                Ok(0) | Err(Errno::INTR) => {}
                // What it is that cannot be waited for, reading tells.
                Ok(_) | Err(_) => return self.input.read(buffer),
            }
        }
        Ok(0)
    }
}

/// Backs up what a command prints.
pub fn of_command(
    opened: &Opened,
    arguments: &Arguments,
    options: &BackupOptions,
    progress: &Arc<Progress>,
) -> Result<BackupSummary> {
    let [program, rest @ ..]: &[OsString] = &arguments.operands else {
        return Err(Error::new(ErrorKind::Usage, "no command was given"));
    };
    let messages = Arc::clone(progress);
    let hidden: Vec<&str> = options.withheld.iter().map(String::as_str).collect();
    let command = CommandStream::spawn_listening(program, rest, &hidden, move |line| {
        messages.pass_on(line);
    })?;
    let stopper = command.stopper();
    let stop = stopper.clone();
    let stop = Box::new(move || stop.stop());
    progress.on_cancel(Box::new(move || stopper.stop()));
    let shared = SharedCommand(Arc::new(Mutex::new(Some(command))));
    let of_end = shared.clone();
    let end = move || match of_end.let_go() {
        Some(command) => command.finish(),
        None => Err(Error::new(ErrorKind::Failed, "the command is gone")),
    };
    let filename = arguments.stdin_filename.clone();
    let input = StreamInput { filename, reader: Box::new(shared), end: Box::new(end), stop };
    backup_stream(&opened.repository, input, options, &**progress)
}

/// A command that is read by one owner and finished by another.
#[derive(Clone)]
struct SharedCommand(Arc<Mutex<Option<CommandStream>>>);

impl SharedCommand {
    fn let_go(&self) -> Option<CommandStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Read for SharedCommand {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(command) => command.read(buffer),
            None => Ok(0),
        }
    }
}
