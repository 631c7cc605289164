//! What is shown while the engine works: findings always, and how far it is on a terminal as a bar, in a log as a line
//! a minute, for a program as lines of JSON.
//!
//! What must hold: the engine's threads only count, they never wait for the terminal but to tell a finding; a line
//! that is printed never tears the bar; the bar is gone before anything else is printed; work that took longer than the
//! interval was told of at least once.

mod reading;

pub use reading::Reading;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use packstone::base::clock::Stopwatch;
use packstone::base::monitor::show_path;
use packstone::base::{Change, Finding, FindingKind, Item, Lack, Monitor, ThawCounts, Thawing};

use crate::args::Global;
use crate::interruption::Interruption;
use crate::json::{
    self, BackupStatus, CheckStatus, ErrorLine, ExcludedItem, Message, RestoreStatus, ThawLine, VerboseStatus,
};
use crate::progress::reading::Window;
use crate::{report, show};

/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(150);
/// How often a log is told.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How often a program is told.
const JSON_INTERVAL: Duration = Duration::from_millis(250);
/// Steps of a full bar.
const BAR_STEPS: u64 = 1000;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A backup is made.
    Backup,
    /// A snapshot is given back.
    Restore,
    /// A repository is checked.
    Check,
    /// Snapshots are copied pack by pack.
    CopyOfPacks,
    /// Something else, in a word.
    Other(&'static str),
}

impl Work {
    const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Check => "check",
            Self::CopyOfPacks => "copy",
            Self::Other(word) => word,
        }
    }
}

/// Listens to the work of the engine, and shows it.
pub struct Progress {
    work: Work,
    face: Face,
    interval: Duration,
    verbosity: Verbosity,
    interruption: Interruption,
    since: Stopwatch,
    files: AtomicU64,
    bytes: AtomicU64,
    expected_files: AtomicU64,
    expected_bytes: AtomicU64,
    is_all_expected: AtomicBool,
    findings: AtomicU64,
    /// Whether nobody agreed to what was asked.
    has_refused: AtomicBool,
    path: Mutex<Vec<u8>>,
}

/// How progress is shown.
enum Face {
    Nothing,
    Bar(ProgressBar),
    Log,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    Quiet,
    Usual,
    Verbose,
}

impl Progress {
    /// As the flags and the standard error call for.
    pub fn new(global: &Global, interruption: &Interruption, work: Work) -> Self {
        let face = if global.quiet || global.no_progress {
            Face::Nothing
        } else if report::is_json() {
            match work {
                Work::Backup | Work::Restore | Work::Check => Face::Json,
                // Its output is one document.
                Work::CopyOfPacks | Work::Other(_) => Face::Nothing,
            }
        } else if std::io::stderr().is_terminal() {
            Face::Bar(ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr()))
        } else {
            Face::Log
        };
        Self::with_face(face, global, interruption, work)
    }

    /// For work that ends before anybody asks how far it is: it shows findings alone.
    pub fn hidden(global: &Global, interruption: &Interruption, work: Work) -> Self {
        Self::with_face(Face::Nothing, global, interruption, work)
    }

    fn with_face(face: Face, global: &Global, interruption: &Interruption, work: Work) -> Self {
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Usual,
        };
        let usual = match face {
            Face::Bar(_) => BAR_INTERVAL,
            Face::Json => JSON_INTERVAL,
            Face::Nothing | Face::Log => LOG_INTERVAL,
        };
        Self {
            work,
            face,
            interval: global.progress_interval.unwrap_or(usual),
            verbosity,
            interruption: interruption.clone(),
            since: Stopwatch::start(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            expected_files: AtomicU64::new(0),
            expected_bytes: AtomicU64::new(0),
            is_all_expected: AtomicBool::new(false),
            findings: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
            path: Mutex::default(),
        }
    }

    /// Whether anybody is shown how far the work is.
    pub const fn is_shown(&self) -> bool {
        !matches!(self.face, Face::Nothing)
    }

    /// Files and bytes that were expected so far.
    pub fn expected(&self) -> (u64, u64) {
        (self.expected_files.load(Ordering::Relaxed), self.expected_bytes.load(Ordering::Relaxed))
    }

    /// Whether the work ended because nobody agreed to it.
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Begins to show progress, until the returned value is dropped.
    pub fn begin(self: &Arc<Self>) -> Shown {
        if !self.is_shown() {
            return Shown { progress: Arc::clone(self), ticker: None };
        }
        let (stop, stopped) = channel();
        let of_thread = Arc::clone(self);
        let since = Stopwatch::start();
        let tick = move || {
            let mut window = Window::default();
            tick_until(&stopped, of_thread.interval, since, || of_thread.show(&mut window));
        };
        // Without the thread nothing is shown, and nothing else is amiss.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(tick).ok();
        Shown { progress: Arc::clone(self), ticker: thread.map(|thread| (stop, thread)) }
    }

    fn show(&self, window: &mut Window) {
        let reading = self.read(window);
        match &self.face {
            Face::Nothing => {}
            Face::Log => self.print(reading.line().as_bytes()),
            Face::Json => match self.work {
                Work::Restore => tell(&json::line(&RestoreStatus::of(&reading))),
                Work::Check => tell(&json::line(&CheckStatus::of(&reading))),
                _ => tell(&json::line(&BackupStatus::of(&reading))),
            },
            Face::Bar(bar) => draw(bar, &reading),
        }
    }

    fn read(&self, window: &mut Window) -> Reading {
        let [files, bytes, findings] =
            [&self.files, &self.bytes, &self.findings].map(|number| number.load(Ordering::Relaxed));
        let elapsed = self.since.elapsed();
        let is_all_expected = self.is_all_expected.load(Ordering::Acquire);
        let met = self.expected();
        let expected = is_all_expected.then_some(met);
        let path = self.path.try_lock().map(|path| self.name(&path)).unwrap_or_default();
        let bytes_per_second = window.rate(elapsed, bytes);
        let is_of_packs = matches!(self.work, Work::Check | Work::CopyOfPacks);
        Reading { files, bytes, met, expected, findings, elapsed, bytes_per_second, path, is_of_packs }
    }

    /// A path for people, or for a program as it is.
    fn name(&self, path: &[u8]) -> String {
        match (&self.face, std::str::from_utf8(path)) {
            (Face::Json, Ok(text)) => text.to_owned(),
            _ => show_path(path),
        }
    }

    /// Prints something else, above the bar.
    pub fn above(&self, print: impl FnOnce()) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(print),
            Face::Nothing | Face::Log | Face::Json => print(),
        }
    }

    /// Passes on a line of another program, of any bytes.
    pub fn pass_on(&self, line: &[u8]) {
        if report::is_json() {
            self.print(json::line(&Message::note(&String::from_utf8_lossy(line))).as_bytes());
        } else {
            self.print(line);
        }
    }

    /// Prints a line, of any bytes, on the standard error, above the bar.
    fn print(&self, line: &[u8]) {
        let print = || {
            let line = [line, b"\n"].concat();
            // There is nobody to tell.
            drop(std::io::stderr().lock().write_all(&line));
        };
        match &self.face {
            Face::Bar(bar) => bar.suspend(print),
            Face::Nothing | Face::Log | Face::Json => print(),
        }
    }
}

/// Calls `show` at each interval until it is stopped.
fn tick_until(stopped: &Receiver<()>, interval: Duration, since: Stopwatch, mut show: impl FnMut()) {
    let mut is_shown = false;
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        show();
        is_shown = true;
    }
    // A busy machine may not have let this thread run when it was due.
    if !is_shown && since.elapsed() >= interval {
        show();
    }
}

/// Prints a line on the standard output.
fn tell(line: &str) {
    // What is done is done, whether anybody reads of it or not.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
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
        self.findings.fetch_add(1, Ordering::Relaxed);
        let line = match report::is_json() {
            true => json::line(&ErrorLine::of_finding(finding, self.work.word())),
            false if finding.kind == FindingKind::Damaged => format!("error: {finding}"),
            false => format!("warning: {finding}"),
        };
        self.print(line.as_bytes());
    }

    fn lacking(&self, _lack: Lack, finding: &Finding) {
        // One line at the end says how many there are; all of them are for who asks for all.
        if self.verbosity == Verbosity::Verbose || report::is_json() {
            self.finding(finding);
        } else {
            self.findings.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            let line = match report::is_json() {
                true => json::line(&Message::note(text)),
                false => format!("note: {text}"),
            };
            self.print(line.as_bytes());
        }
    }

    fn excluded(&self, path: &[u8], reason: &dyn std::fmt::Display) {
        match self.verbosity {
            Verbosity::Verbose if report::is_json() => {
                tell(&json::line(&ExcludedItem::of(path, reason.to_string())));
            }
            Verbosity::Verbose => {
                self.print(format!("excluded  {}  ({reason})", show_path(path)).as_bytes());
            }
            Verbosity::Quiet | Verbosity::Usual => {}
        }
    }

    fn expect(&self, files: u64, bytes: u64) {
        self.expected_files.fetch_add(files, Ordering::Relaxed);
        self.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expected_all(&self) {
        self.is_all_expected.store(true, Ordering::Release);
        if self.verbosity == Verbosity::Verbose && report::is_json() {
            let (files, bytes) = self.expected();
            tell(&json::line(&VerboseStatus::scan_finished(files, bytes)));
        }
    }

    fn begin(&self, path: &[u8]) {
        match self.verbosity {
            // A program is told when it is done.
            Verbosity::Verbose if !report::is_json() => self.print(show_path(path).as_bytes()),
            _ => {}
        }
        self.show_path(path);
    }

    fn wants_amounts(&self) -> bool {
        self.is_shown() || report::is_json()
    }

    fn item(&self, item: &Item<'_>) {
        match self.verbosity {
            Verbosity::Verbose if report::is_json() => tell(&json::line(&VerboseStatus::restored(item))),
            Verbosity::Verbose => self.print(show::item(item).as_bytes()),
            Verbosity::Quiet | Verbosity::Usual => {}
        }
        self.show_path(item.path);
    }

    fn agrees_to_delete(&self, deletions: u64, entries: u64) -> bool {
        let mut is_agreed = false;
        let objects = show::count(deletions, "object");
        let question = format!("{objects} would be deleted by a restore of {entries}. Go on?");
        self.above(|| is_agreed = report::agrees(&question).unwrap_or(false));
        self.has_refused.store(!is_agreed, Ordering::Relaxed);
        is_agreed
    }

    fn frozen(&self, object: &str, state: Thawing, size_bytes: u64) {
        match self.verbosity {
            Verbosity::Verbose if report::is_json() => {
                tell(&json::line(&VerboseStatus::of_frozen(state, object, size_bytes)));
            }
            Verbosity::Verbose => self.print(format!("{} {object}", state.word()).as_bytes()),
            Verbosity::Quiet | Verbosity::Usual => {}
        }
    }

    fn thawing(&self, counts: &ThawCounts) {
        if report::is_json() {
            tell(&json::line(&ThawLine::of(counts)));
        } else {
            self.note(&show::thawing(counts));
        }
    }

    fn wants_items(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    fn backed_up(&self, change: Change, path: &[u8], size_bytes: u64) {
        if report::is_json() {
            tell(&json::line(&VerboseStatus::backed_up(change, path, size_bytes)));
        } else if change != Change::Unmodified {
            self.print(format!("{} {}", change.word(), show_path(path)).as_bytes());
        }
    }

    fn advance(&self, files: u64, bytes: u64) {
        // Most calls bring one of the two, and all threads share these.
        if files > 0 {
            self.files.fetch_add(files, Ordering::Relaxed);
        }
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_told_once_a_minute_unless_it_is_asked_for_otherwise() {
        let interval = |face, asked| {
            let global = Global { progress_interval: asked, ..Global::default() };
            Progress::with_face(face, &global, &Interruption::default(), Work::Backup).interval
        };
        assert_eq!(interval(Face::Log, None), Duration::from_secs(60));
        assert_eq!(interval(Face::Json, None), Duration::from_millis(250));
        let asked = Duration::from_millis(1);
        assert_eq!(interval(Face::Log, Some(asked)), asked);
    }

    #[test]
    fn what_took_longer_than_the_interval_is_shown_once_even_if_nobody_came_to_it() {
        let shown = |interval| {
            let mut shown = 0;
            let (stop, stopped) = channel();
            drop(stop);
            tick_until(&stopped, interval, Stopwatch::start(), || shown += 1);
            shown
        };
        assert_eq!(shown(Duration::ZERO), 1);
        assert_eq!(shown(Duration::from_secs(3600)), 0);
    }
}
