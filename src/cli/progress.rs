//! What is shown while the engine works: findings always, and how far it is on a terminal as a bar, in a log as a line
//! a minute.
//!
//! What must hold: the engine's threads only count, they never wait for the terminal but to tell a finding; a line
//! that is printed never tears the bar; the bar is gone before anything else is printed.

mod reading;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use packstone::base::clock::Stopwatch;
use packstone::base::monitor::show_path;
use packstone::base::{Finding, ItemAction, Monitor};

use crate::args::Global;
use crate::interruption::Interruption;
use crate::progress::reading::{Reading, Window};

/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(150);
/// How often a log is told.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Steps of a full bar.
const BAR_STEPS: u64 = 1000;

/// Listens to the work of the engine, and shows it.
pub struct Progress {
    face: Face,
    verbosity: Verbosity,
    interruption: Interruption,
    since: Stopwatch,
    files: AtomicU64,
    bytes: AtomicU64,
    expected_files: AtomicU64,
    expected_bytes: AtomicU64,
    is_all_expected: AtomicBool,
    path: Mutex<Vec<u8>>,
}

/// How progress is shown.
enum Face {
    Nothing,
    Bar(ProgressBar),
    Log,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    Quiet,
    Usual,
    Verbose,
}

impl Progress {
    /// As the flags and the standard error call for.
    pub fn new(global: &Global, interruption: &Interruption) -> Self {
        let face = if global.quiet || global.no_progress {
            Face::Nothing
        } else if std::io::stderr().is_terminal() {
            Face::Bar(ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr()))
        } else {
            Face::Log
        };
        Self::with_face(face, global, interruption)
    }

    /// For work that ends before anybody asks how far it is: it shows findings alone.
    pub fn hidden(global: &Global, interruption: &Interruption) -> Self {
        Self::with_face(Face::Nothing, global, interruption)
    }

    fn with_face(face: Face, global: &Global, interruption: &Interruption) -> Self {
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Usual,
        };
        Self {
            face,
            verbosity,
            interruption: interruption.clone(),
            since: Stopwatch::start(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            expected_files: AtomicU64::new(0),
            expected_bytes: AtomicU64::new(0),
            is_all_expected: AtomicBool::new(false),
            path: Mutex::default(),
        }
    }

    /// Whether anybody is shown how far the work is.
    pub const fn is_shown(&self) -> bool {
        !matches!(self.face, Face::Nothing)
    }

    /// Files that are done.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Begins to show progress, until the returned value is dropped.
    pub fn begin(self: &Arc<Self>) -> Shown {
        let (stop, stopped) = channel();
        let interval = match self.face {
            Face::Nothing => return Shown { progress: Arc::clone(self), ticker: None },
            Face::Bar(_) => BAR_INTERVAL,
            Face::Log => LOG_INTERVAL,
        };
        let of_thread = Arc::clone(self);
        let tick = move || of_thread.show_until(&stopped, interval);
        // Without the thread nothing is shown, and nothing else is amiss.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(tick).ok();
        Shown { progress: Arc::clone(self), ticker: thread.map(|thread| (stop, thread)) }
    }

    fn show_until(&self, stopped: &Receiver<()>, interval: Duration) {
        let mut window = Window::default();
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let reading = self.read(&mut window);
            match &self.face {
                Face::Nothing => return,
                Face::Log => self.print(reading.line().as_bytes()),
                Face::Bar(bar) => draw(bar, &reading),
            }
        }
    }

    fn read(&self, window: &mut Window) -> Reading {
        let [files, bytes, expected_files, expected_bytes] =
            [&self.files, &self.bytes, &self.expected_files, &self.expected_bytes]
                .map(|number| number.load(Ordering::Relaxed));
        let elapsed = self.since.elapsed();
        let expected =
            self.is_all_expected.load(Ordering::Acquire).then_some((expected_files, expected_bytes));
        let path = self.path.try_lock().map(|path| show_path(&path)).unwrap_or_default();
        Reading { files, bytes, expected, elapsed, bytes_per_second: window.rate(elapsed, bytes), path }
    }

    /// Prints a line, of any bytes, on the standard error, above the bar.
    pub fn print(&self, line: &[u8]) {
        let print = || {
            let line = [line, b"\n"].concat();
            // There is nobody to tell.
            drop(std::io::stderr().lock().write_all(&line));
        };
        match &self.face {
            Face::Bar(bar) => bar.suspend(print),
            Face::Nothing | Face::Log => print(),
        }
    }
}

fn draw(bar: &ProgressBar, reading: &Reading) {
    let template = match reading.fraction() {
        Some(_) => "{bar:24} {prefix}\n{wide_msg}",
        None => "{spinner} {prefix}\n{wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Some(fraction) = reading.fraction() {
        bar.set_position(fraction.of(BAR_STEPS));
    }
    bar.set_prefix(reading.pace());
    bar.set_message(reading.amount());
    bar.tick();
}

impl Progress {
    /// Remembers what is worked on, for the bar.
    fn show_path(&self, path: &[u8]) {
        if let (true, Ok(mut shown)) = (self.is_shown(), self.path.try_lock()) {
            shown.clear();
            shown.extend_from_slice(path);
        }
    }
}

impl Monitor for Progress {
    fn finding(&self, finding: &Finding) {
        self.print(format!("warning: {finding}").as_bytes());
    }

    fn note(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.print(format!("note: {text}").as_bytes());
        }
    }

    fn excluded(&self, path: &[u8], reason: &dyn std::fmt::Display) {
        if self.verbosity == Verbosity::Verbose {
            self.print(format!("excluded  {}  ({reason})", show_path(path)).as_bytes());
        }
    }

    fn expect(&self, files: u64, bytes: u64) {
        self.expected_files.fetch_add(files, Ordering::Relaxed);
        self.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expected_all(&self) {
        self.is_all_expected.store(true, Ordering::Release);
    }

    fn begin(&self, path: &[u8]) {
        if self.verbosity == Verbosity::Verbose {
            self.print(show_path(path).as_bytes());
        }
        self.show_path(path);
    }

    fn item(&self, action: ItemAction, path: &[u8], _size_bytes: u64) {
        if self.verbosity == Verbosity::Verbose {
            self.print(format!("{} {}", action.word(), show_path(path)).as_bytes());
        }
        self.show_path(path);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.interruption.is_requested()
    }

    fn on_cancel(&self, action: Box<dyn Fn() + Send + Sync>) {
        self.interruption.on_request(action);
    }
}

/// Shows progress for as long as it lives.
pub struct Shown {
    progress: Arc<Progress>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            drop(thread.join());
        }
        if let Face::Bar(bar) = &self.progress.face {
            bar.finish_and_clear();
        }
    }
}
