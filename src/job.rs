//! Jobs: what a configured run does, from its sources to what is kept of its snapshots.
//!
//! What must hold: never two runs of one job at a time; what comes after the snapshot never makes a good backup a bad
//! one, but is told and changes how the run ends; a run that was killed at any point leaves nothing that stands in the
//! way of the next; rules never take the last snapshot in which a source was read well.

mod lock;
mod log;
mod plan;
mod retention;
mod sources;

pub use lock::{Lock, lock};
pub use log::{Log, read_tail};
pub use plan::{PlannedSource, RunPlan, plan};
pub use retention::RetentionReport;
pub use sources::expand;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::base::clock::Stopwatch;
use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::ops::backup::{BackupOptions, BackupSummary, OnFailure, backup_sources};
use crate::ops::check::{CheckOptions, CheckSummary, Portion, check};
use crate::ops::copy::{CopyOptions, CopySummary};
use crate::ops::forget::Policy;
use crate::ops::prune::PruneSummary;
use crate::repository::{Repository, SnapshotFilter};
use crate::source::{Engine, Excludes};

/// A configured, repeatable run.
#[derive(Debug)]
pub struct Job {
    /// Its name, which its snapshots bear.
    pub name: String,
    /// What it takes, in order.
    pub sources: Vec<JobSource>,
    /// Which of its snapshots are kept; `None`: all.
    pub keep: Option<Policy>,
    /// The space of what is not kept is given back.
    pub with_prune: bool,
    /// What is read and verified of the repository after the backup.
    pub check: Option<Portion>,
}

/// A source of a job.
#[derive(Clone, Debug)]
pub struct JobSource {
    /// Its name, unique in the job.
    pub name: String,
    /// What becomes of the run if it fails.
    pub on_failure: OnFailure,
    /// Longest time that it may take; only of databases and programs.
    pub time_limit: Option<Duration>,
    /// What it is.
    pub input: JobInput,
}

/// What a source of a job is.
#[expect(clippy::large_enum_variant, reason = "a job has few sources")]
#[derive(Clone, Debug)]
pub enum JobInput {
    /// Directories and files.
    Paths {
        /// Absolute paths and patterns, which are expanded at each run.
        patterns: Vec<String>,
        /// What is left out.
        excludes: Excludes,
    },
    /// A database, or a program.
    Engine(Arc<dyn Engine>),
}

/// Another repository that gets the job's snapshots.
pub struct CopyTarget<'c> {
    /// What the configuration calls it.
    pub name: String,
    /// Opens it, once the snapshot is made.
    pub open: Box<dyn FnOnce() -> Result<Repository> + 'c>,
    /// Which snapshots are kept there; `None`: all.
    pub keep: Option<Policy>,
}

/// How a job is run.
#[derive(Debug)]
pub struct RunOptions {
    /// How its backup is made; the job's own words go before those that stand here.
    pub backup: BackupOptions,
    /// Only the sources of these names; empty: all.
    pub only: Vec<String>,
    /// The time zone whose calendar counts for what is kept.
    pub zone: TimeZone,
}

/// What a step after the snapshot gave, and how long it took.
#[derive(Debug)]
pub struct Step<T> {
    /// What it gave.
    pub result: Result<T>,
    /// How long it took.
    pub duration: Duration,
}

/// What became of a copy.
#[derive(Debug)]
pub struct CopyReport {
    /// The other repository's name.
    pub name: String,
    /// What was copied.
    pub copied: Step<CopySummary>,
    /// What is kept there.
    pub retention: Option<Step<RetentionReport>>,
}

/// What a run did. The steps after the backup do not depend on each other.
#[derive(Debug)]
pub struct RunReport {
    /// The snapshot, and what became of each source.
    pub backup: BackupSummary,
    /// How long the backup took.
    pub backup_duration: Duration,
    /// What went to other repositories.
    pub copies: Vec<CopyReport>,
    /// What is kept, if that is asked for and all sources were.
    pub retention: Option<Step<RetentionReport>>,
    /// What space was given back.
    pub prune: Option<Step<PruneSummary>>,
    /// What was verified.
    pub check: Option<Step<CheckSummary>>,
}

impl RunReport {
    /// What failed after the snapshot was made, in order, with what was being done.
    pub fn failures(&self) -> Vec<String> {
        let told = |(what, error): (String, &Error)| format!("{what}: {}", error.chain().join(": "));
        self.failed().into_iter().map(told).collect()
    }

    /// The kinds of these failures.
    pub fn failure_kinds(&self) -> Vec<ErrorKind> {
        self.failed().into_iter().map(|(_, error)| error.kind()).collect()
    }

    fn failed(&self) -> Vec<(String, &Error)> {
        fn of<T>(what: impl Into<String>, step: Option<&Step<T>>) -> Option<(String, &Error)> {
            Some((what.into(), step?.result.as_ref().err()?))
        }
        let of_copies = self.copies.iter().flat_map(|copy| {
            [
                of(format!("copy to {}", copy.name), Some(&copy.copied)),
                of(format!("forget in {}", copy.name), copy.retention.as_ref()),
            ]
        });
        let own = [
            of("forget", self.retention.as_ref()),
            of("prune", self.prune.as_ref()),
            of("check", self.check.as_ref()),
        ];
        of_copies.chain(own).flatten().collect()
    }
}

/// Measures a step.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Step<T> {
    let since = Stopwatch::start();
    let result = work();
    Step { result, duration: since.elapsed() }
}

/// A step that is not begun once somebody asked to stop.
fn unless_cancelled<T>(monitor: &dyn Monitor, work: impl FnOnce() -> Result<T>) -> Step<T> {
    timed(|| match monitor.cancelled() {
        true => Err(Error::new(ErrorKind::Interrupted, "interrupted before it began")),
        false => work(),
    })
}

/// Runs a job by the right to do so: sources, copies, what is kept, a part of a check.
///
/// Errors: `Usage` if the right is to run another job, or the job has no source of a name that was asked for; all that
/// keeps the snapshot from being made.
pub fn run(
    repository: &Repository,
    job: &Job,
    options: &RunOptions,
    lock: &Lock,
    copies: Vec<CopyTarget<'_>>,
    monitor: &dyn Monitor,
) -> Result<RunReport> {
    if lock.job != job.name {
        let message = format!("the right to run {} is none to run {}", lock.job, job.name);
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let chosen = choose(job, &options.only)?;
    let is_selective = chosen.len() < job.sources.len();
    let backup = BackupOptions {
        job: Some(job.name.clone()),
        is_selective,
        // Who waits for the next run waits for one of all sources.
        expected_next_seconds: options.backup.expected_next_seconds.filter(|_| !is_selective),
        ..options.backup.clone()
    };
    let since = Stopwatch::start();
    let taken = sources::prepare(job, &chosen)?;
    let summary = backup_sources(repository, taken, Path::new("/"), &backup, monitor)?;
    let backup_duration = since.elapsed();
    let copies = copies.into_iter().map(|copy| {
        let keep = copy.keep.clone().filter(|_| !backup.is_selective);
        copy_to(repository, CopyTarget { keep, ..copy }, job, options, monitor)
    });
    let copies = copies.collect();
    let mut report =
        RunReport { backup: summary, backup_duration, copies, retention: None, prune: None, check: None };
    // Of a run of some sources it cannot be said what the others need.
    if let (Some(policy), false) = (&job.keep, backup.is_selective) {
        let kept = timed(|| retention::apply(repository, job, policy, options, monitor));
        let removed = kept.result.as_ref().map(|kept| kept.removed.clone()).unwrap_or_default();
        report.retention = Some(kept);
        if job.with_prune && !removed.is_empty() {
            let pruned = unless_cancelled(monitor, || {
                retention::prune(repository, &removed, &options.backup, monitor)
            });
            report.prune = Some(pruned);
        }
    }
    if let Some(portion) = job.check {
        let options = CheckOptions { read: Some(portion) };
        report.check = Some(unless_cancelled(monitor, || check(repository, &options, monitor)));
    }
    Ok(report)
}

/// The sources that were asked for, in the job's order.
fn choose<'j>(job: &'j Job, only: &[String]) -> Result<Vec<&'j JobSource>> {
    for name in only {
        if !job.sources.iter().any(|source| source.name == *name) {
            let names: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
            let message = format!("the job {} has no source {name}; it has {}", job.name, names.join(", "));
            return Err(Error::new(ErrorKind::Usage, message));
        }
    }
    let is_meant = |source: &&JobSource| only.is_empty() || only.contains(&source.name);
    Ok(job.sources.iter().filter(is_meant).collect())
}

/// Copies what the other repository lacks: this run's snapshot, and those that it missed since the last that it has.
fn copy_to(
    repository: &Repository,
    target: CopyTarget<'_>,
    job: &Job,
    options: &RunOptions,
    monitor: &dyn Monitor,
) -> CopyReport {
    let CopyTarget { name, open, keep } = target;
    let mut kept = None;
    let copied = timed(|| {
        let other = open()?;
        let missing = retention::missing_in(repository, &other, &job.name, options.backup.host_name())?;
        let session = options.backup.session.clone();
        let copy_options = CopyOptions { session, ..CopyOptions::new(options.backup.host.clone()) };
        let wanted: Vec<_> = missing.iter().collect();
        let tell = &mut |_: &crate::ops::copy::CopyEvent<'_>| {};
        let summary = crate::ops::copy::copy(repository, &other, &wanted, &copy_options, monitor, tell)?;
        if summary.unreadable > 0 {
            let message = format!("{} snapshots could not be read", summary.unreadable);
            return Err(Error::new(ErrorKind::Damaged, message));
        }
        if let Some(policy) = &keep {
            kept = Some(timed(|| {
                let report = retention::apply(&other, job, policy, options, monitor)?;
                if !report.removed.is_empty() && job.with_prune {
                    retention::prune(&other, &report.removed, &options.backup, monitor)?;
                }
                Ok(report)
            }));
        }
        Ok(summary)
    });
    CopyReport { name, copied, retention: kept }
}

/// The snapshots of a job on a host.
fn filter(job: &str, host: &str, is_selective: bool) -> SnapshotFilter {
    SnapshotFilter {
        hosts: vec![host.to_owned()],
        jobs: vec![job.to_owned()],
        is_selective: Some(is_selective),
        ..SnapshotFilter::default()
    }
}
