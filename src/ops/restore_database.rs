//! Gives a database back: the dumps that a snapshot holds of it, streamed to whoever puts them back.
//!
//! What must hold: a step that needs a dump ends well only if it was given every byte of it, each chunk checked; who is
//! given only a part is never told that it was all; after a step that failed none is begun; no dump lies on a disk on
//! its way, and of one of any length only the windows of `ops::dump` are in memory.

mod feeding;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Monitor, Result, Timestamp};
use crate::format::node::NodeKind;
use crate::format::snapshot::{Snapshot, SourceOutcome, SourceStatus};
use crate::ops::list::list;
use crate::repository::{Repository, SnapshotEntry};
use crate::source::{Engine, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};

use feeding::Feeding;

/// The sources of a snapshot that are databases or programs, in the order of its run.
pub fn database_sources(snapshot: &Snapshot) -> Vec<&SourceStatus> {
    snapshot.sources.iter().filter(|source| source.kind.is_some() && source.name.is_some()).collect()
}

/// What a snapshot holds of a database or a program.
#[derive(Debug)]
pub struct StoredSource<'r> {
    repository: &'r Repository,
    snapshot: &'r SnapshotEntry,
    status: &'r SourceStatus,
    kind: &'r str,
    dumps: Vec<StoredDump>,
}

/// What was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreDatabaseSummary {
    /// Steps that were done.
    pub steps: u64,
    /// Those of them that needed a dump.
    pub dumps: u64,
    /// Bytes of these dumps.
    pub bytes: u64,
}

impl<'r> StoredSource<'r> {
    /// The source of this name. `NotFound` if the snapshot has none, `Usage` if it is no database; `Failed` if nothing of
    /// it is stored.
    pub fn find(
        repository: &'r Repository,
        snapshot: &'r SnapshotEntry,
        name: &str,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let id = snapshot.id.short();
        let is_it = |source: &&SourceStatus| source.name.as_deref() == Some(name);
        let Some(status) = snapshot.snapshot.sources.iter().find(is_it) else {
            return Err(no_source(snapshot, name));
        };
        let Some(kind) = &status.kind else {
            let message =
                format!("the source {name} of snapshot {id} holds files and directories, and no database");
            return Err(Error::new(ErrorKind::Usage, message));
        };
        if status.outcome == SourceOutcome::Failed && status.carried.is_none() {
            let message =
                format!("snapshot {id} holds nothing of the source {name}, which failed when it was made");
            return Err(match &status.message {
                Some(why) => Error::caused(ErrorKind::Failed, message, Error::new(ErrorKind::Failed, why)),
                None => Error::new(ErrorKind::Failed, message),
            });
        }
        let dumps = stored_dumps(repository, snapshot, &status.path, monitor)?;
        if dumps.is_empty() {
            let message =
                format!("snapshot {id} holds no dump of the source {name}: there was nothing to dump");
            return Err(Error::new(ErrorKind::Failed, message));
        }
        Ok(Self { repository, snapshot, status, kind, dumps })
    }

    /// What the snapshot says of it.
    pub const fn status(&self) -> &SourceStatus {
        self.status
    }

    /// The kind of its database or program, as `postgres`.
    pub const fn kind(&self) -> &str {
        self.kind
    }

    /// The job that dumped it.
    pub fn job(&self) -> Option<&str> {
        self.snapshot.snapshot.job.as_deref()
    }

    /// Its dumps, in the order of their names.
    pub fn dumps(&self) -> &[StoredDump] {
        &self.dumps
    }

    /// When the run began that made its dumps: an earlier one, if they were taken over from there.
    pub fn time(&self) -> Timestamp {
        self.status.carried.map_or(self.snapshot.snapshot.time, |carried| carried.time)
    }

    /// Whether something of it is not stored, which the run that made its dumps could not have.
    pub fn is_partial(&self) -> bool {
        self.status.outcome != SourceOutcome::Complete && self.status.carried.is_none()
    }

    /// What would be done to put it back. Nothing is changed yet.
    pub fn plan(&self, engine: &dyn Engine, options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        let plan = engine.load(&self.dumps, options, listener);
        let plan =
            plan.map_err(|error| if listener.stops().is_over() { interrupted(error) } else { error })?;
        if plan.steps.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "none of the stored dumps is what was asked for"));
        }
        plan.steps.iter().try_for_each(|step| self.needed(step).map(drop))?;
        Ok(plan)
    }

    /// So many bytes the steps of a plan are given.
    pub fn planned_bytes(&self, plan: &LoadPlan) -> u64 {
        let sizes = plan.steps.iter().filter_map(|step| self.needed(step).ok().flatten());
        sizes.fold(0, |sum, dump| sum.saturating_add(dump.size_bytes))
    }

    /// The dump that a step needs. `NotFound` if it is not there.
    pub fn needed(&self, step: &LoadStep) -> Result<Option<&StoredDump>> {
        let Some(name) = &step.dump else { return Ok(None) };
        let found = self.dumps.iter().find(|dump| dump.name == *name);
        let missing = || {
            let message = format!("cannot {}: {} is not stored", step.what, show_path(name.as_bytes()));
            Error::new(ErrorKind::NotFound, message)
        };
        found.map(Some).ok_or_else(missing)
    }

    /// Does what was planned, one step after the other. If one fails, those after it are not begun.
    pub fn restore(&self, plan: LoadPlan, monitor: &dyn Monitor) -> Result<RestoreDatabaseSummary> {
        let files = plan.steps.iter().filter(|step| step.dump.is_some()).count() as u64;
        monitor.expect(files, self.planned_bytes(&plan));
        monitor.expected_all();
        let mut summary = RestoreDatabaseSummary::default();
        let count = plan.steps.len();
        for (number, step) in (1..).zip(plan.steps) {
            let place = Place { number, count };
            if monitor.cancelled() {
                let message = format!("interrupted before the step {}: {}", place.shown(), step.what);
                return Err(Error::new(ErrorKind::Interrupted, message));
            }
            monitor.begin(step.what.as_bytes());
            let what = step.what.clone();
            let bytes = self.run(step, monitor).map_err(|error| {
                let error = if monitor.cancelled() { interrupted(error) } else { error };
                error.while_doing(format!("cannot {what} (step {}{})", place.shown(), place.not_begun()))
            })?;
            summary.steps += 1;
            summary.dumps += u64::from(bytes.is_some());
            summary.bytes = summary.bytes.saturating_add(bytes.unwrap_or_default());
        }
        Ok(summary)
    }

    /// Does a step; gives the length of the dump that it needed.
    fn run(&self, step: LoadStep, monitor: &dyn Monitor) -> Result<Option<u64>> {
        let Some(dump) = self.needed(&step)? else {
            (step.run)(&mut |_| Ok(()))?;
            return Ok(None);
        };
        let path = [self.status.path.as_slice(), b"/", dump.name.as_bytes()].concat();
        let mut feeding = Feeding::new(self.repository, self.snapshot, &path, monitor);
        let outcome = (step.run)(&mut |output| feeding.feed(output));
        feeding.judge(outcome)?;
        monitor.advance(1, 0);
        Ok(Some(dump.size_bytes))
    }
}

/// What was ended because somebody asked for it failed for no other reason.
fn interrupted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Interrupted => error,
        _ => Error::caused(ErrorKind::Interrupted, "interrupted", error),
    }
}

/// Where a step stands among all.
struct Place {
    number: usize,
    count: usize,
}

impl Place {
    fn shown(&self) -> String {
        format!("{} of {}", self.number, self.count)
    }

    fn not_begun(&self) -> String {
        match self.count - self.number {
            0 => String::new(),
            1 => "; the last one was not begun".to_owned(),
            number => format!("; the {number} after it were not begun"),
        }
    }
}

fn no_source(snapshot: &SnapshotEntry, name: &str) -> Error {
    let id = snapshot.id.short();
    let sources = database_sources(&snapshot.snapshot);
    let names: Vec<&str> = sources.into_iter().filter_map(|source| source.name.as_deref()).collect();
    let there = match names.as_slice() {
        [] => "it holds no databases".to_owned(),
        names => format!("its databases are {}", names.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("snapshot {id} has no source {name}; {there}"))
}

/// The regular files below the folder of a source, by their names below it.
fn stored_dumps(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    folder: &[u8],
    monitor: &dyn Monitor,
) -> Result<Vec<StoredDump>> {
    let mut dumps = Vec::new();
    list(repository, snapshot, Some(folder), monitor, &mut |path, entry| {
        let NodeKind::Regular(regular) = &entry.node.kind else { return Ok(()) };
        let name = path.strip_prefix(folder).and_then(|below| below.strip_prefix(b"/"));
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{} is no name of a dump", show_path(path)))
        })?;
        let metadata = entry.node.metadata.clone();
        dumps.push(StoredDump { name: name.to_owned(), size_bytes: regular.size, metadata });
        Ok(())
    })?;
    Ok(dumps)
}
