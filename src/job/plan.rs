//! What a run of a job would do, without doing it.
//!
//! What must hold: nothing is written anywhere, and no server is changed; what is told is what a run at this moment
//! would take.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{Monitor, Result};
use crate::job::{Job, JobInput, JobSource, RetentionReport, RunOptions, retention, sources};
use crate::ops::backup::{BackupOptions, DryRun, OnFailure, check_places, dry_run};
use crate::repository::{Repository, SnapshotList};
use crate::source::Listener;

/// What a run would do.
#[derive(Debug)]
pub struct RunPlan {
    /// The sources, in order.
    pub sources: Vec<PlannedSource>,
    /// Why a run at this moment would refuse its sources: two of them claim one place.
    pub conflict: Option<String>,
    /// What would go if the run made its snapshot now; `None` without rules, or without a repository that could be asked.
    pub retention: Option<Result<RetentionReport>>,
}

/// What a run would take of a source.
#[derive(Debug)]
pub struct PlannedSource {
    /// Its name.
    pub name: String,
    /// Its kind; paths have `path`.
    pub kind: String,
    /// It is read from this machine's files, not from a program or a database.
    pub is_paths: bool,
    /// What becomes of the run if it fails.
    pub on_failure: OnFailure,
    /// Where it would stand in the snapshot.
    pub paths: Vec<PathBuf>,
    /// How much it is, of paths.
    pub amount: Option<DryRun>,
    /// What it takes, for people.
    pub lines: Vec<String>,
    /// Why nothing can be taken of it.
    pub failure: Option<String>,
}

impl PlannedSource {
    /// Whether a run would not have all of it.
    pub fn is_lacking(&self) -> bool {
        self.failure.is_some()
            || self.lines.iter().any(|line| line.starts_with("problem: "))
            || self.amount.is_some_and(|amount| amount.findings > 0)
    }
}

/// Says what a run would do. Without a repository, nothing is said of what is kept.
pub fn plan(
    repository: Option<&Repository>,
    job: &Job,
    options: &RunOptions,
    monitor: &dyn Monitor,
) -> Result<RunPlan> {
    let chosen = super::choose(job, &options.only)?;
    let planned = sources::prepare(job, &chosen)?;
    let has_dumps = chosen.iter().any(|source| matches!(source.input, JobInput::Engine(_)));
    let mut found = Vec::new();
    for (source, prepared) in chosen.iter().zip(planned) {
        let excludes = match prepared.input {
            crate::ops::backup::SourceInput::Paths { excludes, .. } => excludes,
            _ => crate::source::Excludes::default(),
        };
        let backup = BackupOptions { excludes, ..options.backup.clone() };
        found.push(of(source, &backup, has_dumps, monitor)?);
    }
    let conflict = conflict(&found).err().map(|error| error.chain().join(": "));
    let retention = match (&job.keep, repository, chosen.len() == job.sources.len()) {
        (Some(policy), Some(repository), true) => {
            let list: Result<SnapshotList> = repository.snapshots();
            Some(list.and_then(|list| retention::decide(&list, job, policy, options)))
        }
        _ => None,
    };
    Ok(RunPlan { sources: found, conflict, retention })
}

/// Fails if the sources cannot stand in one snapshot.
fn conflict(sources: &[PlannedSource]) -> Result<()> {
    let paths: Vec<PathBuf> =
        sources.iter().filter(|source| source.is_paths).flat_map(|source| source.paths.clone()).collect();
    let dumps: Vec<&str> =
        sources.iter().filter(|source| !source.is_paths).map(|source| source.name.as_str()).collect();
    check_places(&paths, &dumps)
}

fn of(
    source: &JobSource,
    backup: &BackupOptions,
    has_dumps: bool,
    monitor: &dyn Monitor,
) -> Result<PlannedSource> {
    let mut planned = PlannedSource {
        name: source.name.clone(),
        kind: "path".into(),
        is_paths: matches!(source.input, JobInput::Paths { .. }),
        on_failure: source.on_failure,
        paths: Vec::new(),
        amount: None,
        lines: Vec::new(),
        failure: None,
    };
    match &source.input {
        JobInput::Engine(engine) => {
            planned.kind = engine.kind().into();
            planned.paths = vec![PathBuf::from(crate::ops::backup::DUMPS_FOLDER).join(&source.name)];
            let listener = Listener::silent().withholding(&backup.withheld);
            let stops = Arc::clone(listener.stops());
            monitor.on_cancel(Box::new(move || stops.stop_all()));
            match engine.plan(&listener) {
                Ok(lines) => planned.lines = lines,
                Err(error) if monitor.cancelled() => return Err(error),
                Err(error) => planned.failure = Some(error.chain().join(": ")),
            }
        }
        JobInput::Paths { patterns, .. } => {
            let (paths, problems) = sources::expand(patterns)?;
            planned.lines = problems.iter().map(|problem| format!("problem: {problem}")).collect();
            match dry_run(&paths, std::path::Path::new("/"), backup, has_dumps, monitor) {
                Ok(amount) => planned.amount = Some(amount),
                Err(error) if monitor.cancelled() => return Err(error),
                Err(error) => planned.failure = Some(error.chain().join(": ")),
            }
            planned.paths = paths;
        }
    }
    Ok(planned)
}
