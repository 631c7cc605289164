//! The output of a command as a source.
//!
//! What must hold: output counts as whole only if it was read to its end and the command then said that it succeeded;
//! no error names the command's arguments, which can hold secrets; a command does not outlive its stream; who reads is
//! never held by what a command left behind, nor by one that was stopped.
//!
//! The command runs in a process group of its own. An interruption typed at the terminal (Ctrl-C) so reaches the engine
//! alone, which then ends the group. Were both struck at once, a command that takes an interruption for a good end
//! could make half a dump look like a whole one. The price: a command that wants to read from the terminal is stopped
//! by the system; passwords must reach it another way.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind as Io, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::{Stoppable, Stops};

/// Longest line of messages that is given in one piece.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Most that is still read of the messages once the command has ended: as much as a pipe holds at most by default.
const LATE_BYTES_MAX: usize = 1 << 20;
/// How long output may be silent once the command itself has ended, and something else still holds it open.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// A running command whose standard output is read.
///
/// Dropped before `finish`, it kills the command with all of its group and waits until it is gone.
#[derive(Debug)]
pub struct CommandStream {
    /// For messages only.
    program: String,
    child: Child,
    output: Option<ChildStdout>,
    stop: CommandStop,
    itself: Itself,
    /// How long its output may be silent once it has ended itself.
    patience: Timespec,
    messages: Option<Messages>,
    at_end: bool,
    /// Who else can end it.
    stoppable: Option<Stoppable>,
}

/// Ends a command from another thread: one that listens for interruptions, while this one waits for output.
#[derive(Clone, Debug)]
pub struct CommandStop(Arc<Running>);

#[derive(Debug)]
struct Running {
    group: Mutex<Option<Pid>>,
    /// Something can be read here once the command is stopped.
    stopped: PipeReader,
    stopping: PipeWriter,
    was_stopped: AtomicBool,
}

impl CommandStop {
    /// Kills the command and all of its group, if it still runs. Its stream then ends, and `finish` fails.
    pub fn stop(&self) {
        self.kill();
        self.0.was_stopped.store(true, Ordering::Release);
        // Whatever the command left behind may hold its output open.
        drop((&self.0.stopping).write_all(b"\n"));
    }

    /// Whether the command could be killed; `None` if it is gone and was waited for.
    fn kill(&self) -> Option<bool> {
        let group = self.0.group.lock().unwrap_or_else(PoisonError::into_inner);
        // The number stays the command's own while the lock is held: it is cleared before the process is let go.
        group.map(|group| kill_process_group(group, Signal::KILL).is_ok())
    }

    fn forget(&self) {
        *self.0.group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl CommandStream {
    /// Starts a program with arguments, without a shell and without input; its messages go where the engine's go. It
    /// gets this process's environment but for the `hidden` variables: those that hold a secret of its own.
    pub fn spawn(program: &OsStr, arguments: &[OsString], hidden: &[&str]) -> Result<Self> {
        Self::start(&mut prepare(program, arguments, hidden), show_path(program.as_bytes()), None)
    }

    /// Like `spawn`, but gives each line of the command's messages (its standard error) to a listener.
    ///
    /// Lines come without their end, are not empty, and are cut after 4096 bytes. The listener runs in a thread of
    /// its own, and no longer once `finish` has returned or the stream is dropped.
    pub fn spawn_listening(
        program: &OsStr,
        arguments: &[OsString],
        hidden: &[&str],
        on_line: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<Self> {
        Self::of(&mut prepare(program, arguments, hidden), show_path(program.as_bytes()), on_line)
    }

    /// Starts a command whose input and output are settled already, under the name that messages give it.
    pub(super) fn of(
        command: &mut Command,
        shown: String,
        on_line: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<Self> {
        Self::start(command, shown, Some(Messages::begin(on_line)?))
    }

    fn start(command: &mut Command, shown: String, messages: Option<Messages>) -> Result<Self> {
        command.process_group(0);
        if let Some(messages) = &messages {
            command.stderr(messages.pipe.try_clone().wrap(|| "cannot prepare the messages of a command")?);
        }
        let cannot = || format!("cannot start {shown}");
        let (stopped, stopping) = std::io::pipe().wrap(cannot)?;
        let mut child = command.spawn().wrap(cannot)?;
        let (output, process) = (child.stdout.take(), Pid::from_child(&child));
        let group = Mutex::new(Some(process));
        let running = Running { group, stopped, stopping, was_stopped: AtomicBool::new(false) };
        Ok(Self {
            program: shown,
            child,
            output,
            stop: CommandStop(Arc::new(running)),
            itself: pidfd_open(process, PidfdFlags::empty()).map_or(Itself::Unknown, Itself::Runs),
            patience: PATIENCE,
            messages,
            at_end: false,
            stoppable: None,
        })
    }

    /// Lets it be ended together with others, for as long as it runs.
    pub(super) fn ended_by(mut self, stops: &Arc<Stops>) -> Self {
        let stop = self.stopper();
        self.stoppable = Some(stops.add(Arc::new(move || stop.stop())));
        self
    }

    /// Where its input is written, if that is a pipe; only once.
    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What ends the command from another thread.
    pub fn stopper(&self) -> CommandStop {
        self.stop.clone()
    }

    /// Waits until the command has ended. Anything but success, and output that was not read to its end, is an error
    /// of kind `Failed`.
    pub fn finish(mut self) -> Result<()> {
        let mut more = [0];
        if self.read(&mut more).wrap(|| format!("cannot read the output of {}", self.program))? > 0 {
            let message = format!("the output of {} was not read to its end", self.program);
            return Err(Error::new(ErrorKind::Failed, message));
        }
        self.output = None;
        let was_stopped = self.stop.0.was_stopped.load(Ordering::Acquire);
        if was_stopped && self.stop.kill() == Some(false) {
            // It runs as another user and refuses.
            return Err(Error::new(ErrorKind::Failed, format!("{} was stopped", self.program)));
        }
        let status = self.reap().wrap(|| format!("cannot wait for {}", self.program))?;
        let was_stopped = self.stop.0.was_stopped.load(Ordering::Acquire);
        if status.success() && !was_stopped {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            _ if was_stopped => "was stopped".to_owned(),
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        Err(Error::new(ErrorKind::Failed, format!("{} {how}", self.program)))
    }

    fn reap(&mut self) -> std::io::Result<ExitStatus> {
        let process = Pid::from_child(&self.child);
        // Waited for in two steps, so that nobody kills by a number that the system has given to another process.
        retry_on_intr(|| waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
        self.stop.forget();
        let status = self.child.wait()?;
        drop(self.messages.take());
        Ok(status)
    }
}

/// A program without input whose output is read.
fn prepare(program: &OsStr, arguments: &[OsString], hidden: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    for name in hidden {
        command.env_remove(name);
    }
    command
}

impl Read for CommandStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at_end || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(output) = &mut self.output else { return Ok(0) };
            let comes = match self.itself.wait(output.as_fd(), &self.stop.0.stopped, &self.patience)? {
                Waited::Output => output.read(buffer),
                Waited::Stopped => Ok(0),
                Waited::Ended => {
                    self.itself = Itself::HasEnded;
                    continue;
                }
                Waited::Silence => {
                    let message = format!(
                        "{} has ended, but what it started still holds its output open",
                        self.program
                    );
                    return Err(std::io::Error::new(Io::TimedOut, message));
                }
            };
            match comes {
                Err(error) if error.kind() == Io::Interrupted => {}
                Ok(0) => {
                    self.at_end = true;
                    return Ok(0);
                }
                result => return result,
            }
        }
    }
}

impl Drop for CommandStream {
    fn drop(&mut self) {
        let killed = self.stop.kill();
        self.output = None;
        // One that runs as another user may refuse: it ends when it writes, and waiting for it could take for ever.
        if killed == Some(true) {
            drop(self.reap());
        }
    }
}

/// Whether the command itself still runs.
#[derive(Debug)]
enum Itself {
    /// It did; what becomes readable when it ends.
    Runs(OwnedFd),
    HasEnded,
    /// The system cannot tell.
    Unknown,
}

/// What came first.
enum Waited {
    Output,
    Stopped,
    Ended,
    Silence,
}

impl Itself {
    /// Waits until there is output or its end, or the command is stopped or ends; once it has, no longer than `patience`.
    fn wait(
        &self,
        output: BorrowedFd<'_>,
        stopped: &PipeReader,
        patience: &Timespec,
    ) -> std::io::Result<Waited> {
        let (ended, patience) = match self {
            Self::Runs(ended) => (ended.as_fd(), None),
            Self::HasEnded => (stopped.as_fd(), Some(patience)),
            Self::Unknown => (stopped.as_fd(), None),
        };
        let mut all = [output, stopped.as_fd(), ended].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let count = retry_on_intr(|| poll(&mut all, patience))?;
        let [output, stopped, _] = all.map(|fd| !fd.revents().is_empty());
        Ok(match (count, stopped, output) {
            (0, ..) => Waited::Silence,
            (_, true, _) => Waited::Stopped,
            (_, _, true) => Waited::Output,
            _ => Waited::Ended,
        })
    }
}

/// The messages of a command on their way to a listener.
#[derive(Debug)]
struct Messages {
    /// Where the command writes; kept open, to wake the thread.
    pipe: PipeWriter,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Messages {
    fn begin(on_line: impl FnMut(&[u8]) + Send + 'static) -> Result<Self> {
        let (reader, pipe) = std::io::pipe().wrap(|| "cannot prepare the messages of a command")?;
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("messages".into())
            .spawn(move || relay(reader, &has_ended, on_line))
            .wrap(|| "cannot prepare the messages of a command")?;
        Ok(Self { pipe, ended, thread: Some(thread) })
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Fails only if the thread has ended already.
        drop(self.pipe.write_all(b"\n"));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Gives lines to the listener until the command has ended.
///
/// The end of the pipe cannot be waited for: something that the command left behind may hold it open for ever. So once
/// the command has ended, what is there is read, and nothing is waited for.
fn relay(mut pipe: PipeReader, ended: &AtomicBool, mut on_line: impl FnMut(&[u8])) {
    let mut lines = Lines::default();
    let mut buffer = [0; LINE_BYTES_MAX];
    let mut late = None;
    while late != Some(0) {
        if late.is_none() && ended.load(Ordering::Acquire) {
            late = Some(LATE_BYTES_MAX);
            if fcntl_setfl(&pipe, OFlags::NONBLOCK).is_err() {
                break;
            }
        }
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                late = late.map(|left| left.saturating_sub(count));
                lines.add(buffer.get(..count).unwrap_or_default(), &mut on_line);
            }
            Err(error) if error.kind() == Io::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.add(b"\n", &mut on_line);
}

/// Cuts what comes in pieces into lines.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn add(&mut self, mut bytes: &[u8], on_line: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.pending.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (line, rest) = bytes.split_at(end.unwrap_or(room.min(bytes.len())));
            self.pending.extend_from_slice(line);
            bytes = rest.get(usize::from(end.is_some())..).unwrap_or_default();
            if end.is_some() || self.pending.len() == LINE_BYTES_MAX {
                if !self.pending.is_empty() {
                    on_line(&self.pending);
                }
                self.pending.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests;
