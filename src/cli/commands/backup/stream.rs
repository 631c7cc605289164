//! Backing up a stream: the standard input, or what a command prints.
//!
//! What must hold: an interruption ends a stream that is silent, and what was read until then becomes no snapshot; a
//! command's messages are passed on, and it gets no secret of this program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use packstone::base::{Error, ErrorKind, Monitor, Result, Wrap};
use packstone::ops::backup::{BackupOptions, BackupSummary, StreamInput, backup_stream};
use packstone::source::CommandStream;

use super::Arguments;
use crate::environment;
use crate::open::Opened;
use crate::progress::Progress;

/// Bytes of the standard input that are taken at a time, and how many such pieces may wait.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_WAITING: usize = 4;
/// How often a silent input is left to look for an interruption.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Backs up the standard input.
pub fn of_stdin(
    opened: &Opened,
    arguments: &Arguments,
    options: &BackupOptions,
    progress: &Arc<Progress>,
) -> Result<BackupSummary> {
    let failed = || "cannot read the standard input";
    let input = File::from(io::stdin().as_fd().try_clone_to_owned().wrap(failed)?);
    let (sender, receiver) = sync_channel(PIECES_WAITING);
    // It may wait for input for ever, and ends with the process then.
    std::thread::Builder::new().name("stdin".into()).spawn(move || pump(input, &sender)).wrap(failed)?;
    let pieces = Pieces { receiver, current: io::Cursor::default(), progress: Arc::clone(progress) };
    let at_end = Arc::clone(progress);
    let end = move || match at_end.cancelled() {
        true => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    };
    let filename = arguments.stdin_filename.clone();
    let input = StreamInput { filename, reader: Box::new(pieces), end: Box::new(end) };
    backup_stream(&opened.repository, input, options, &**progress)
}

/// Sends what is read, until the end, an error, or nobody listens any more. An empty piece says that it is the end.
fn pump(mut input: File, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = input.read(&mut piece).map(|count| {
            piece.truncate(count);
            piece
        });
        let is_last = match &read {
            Ok(piece) => piece.is_empty(),
            Err(error) => error.kind() != io::ErrorKind::Interrupted,
        };
        if pieces.send(read).is_err() || is_last {
            return;
        }
    }
}

/// Reads the pieces; an interruption looks like the end, which is then refused as an end.
struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: io::Cursor<Vec<u8>>,
    progress: Arc<Progress>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.recv_timeout(LOOK_INTERVAL) {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => self.current = io::Cursor::new(piece?),
                Err(RecvTimeoutError::Timeout) if self.progress.cancelled() => return Ok(0),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the standard input was not read to its end"));
                }
            }
        }
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
    let command = CommandStream::spawn_listening(program, rest, &environment::SECRETS, move |line| {
        messages.pass_on(line);
    })?;
    let stopper = command.stopper();
    progress.on_cancel(Box::new(move || stopper.stop()));
    let shared = SharedCommand(Arc::new(Mutex::new(Some(command))));
    let of_end = shared.clone();
    let end = move || match of_end.let_go() {
        Some(command) => command.finish(),
        None => Err(Error::new(ErrorKind::Failed, "the command is gone")),
    };
    let filename = arguments.stdin_filename.clone();
    let input = StreamInput { filename, reader: Box::new(shared), end: Box::new(end) };
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
