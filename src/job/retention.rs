//! What is kept of a job's snapshots.
//!
//! What must hold: whatever the rules say, of each source the last snapshot stays in which it was read well, so that a
//! dump that has failed for longer than the rules reach back is still there; runs of some sources alone count for
//! themselves, and never take the place of whole ones.

use std::collections::BTreeSet;

use crate::base::{Monitor, RepositoryId, Result, SessionId, Timestamp};
use crate::format::snapshot::{SourceOutcome, SourceStatus};
use crate::format::tombstone::ForgetReason;
use crate::job::{Job, RunOptions, filter};
use crate::ops::backup::BackupOptions;
use crate::ops::forget::{Forgetter, Policy, Retention, forget};
use crate::ops::prune::{Consent, PruneOptions, PruneSummary};
use crate::repository::{Grouping, Repository, SnapshotEntry, SnapshotList};

/// What became of a job's snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// How many are kept.
    pub kept: usize,
    /// Those that were forgotten.
    pub removed: Vec<SessionId>,
    /// Those that only stay because a source was last read well in them, and that source.
    pub held: Vec<(SessionId, String)>,
}

/// Decides and forgets.
pub(super) fn apply(
    repository: &Repository,
    job: &Job,
    policy: &Policy,
    options: &RunOptions,
    monitor: &dyn Monitor,
) -> Result<RetentionReport> {
    let list = repository.snapshots()?;
    let report = decide(&list, job, policy, options)?;
    let forgetter = Forgetter {
        host: options.backup.host.name.clone(),
        user: options.backup.user.clone(),
        program: options.backup.session.program.clone(),
    };
    forget(repository, &report.removed, &forgetter.tombstone(ForgetReason::Policy), monitor)?;
    Ok(report)
}

/// What the rules make of what is there.
pub(super) fn decide(
    list: &SnapshotList,
    job: &Job,
    policy: &Policy,
    options: &RunOptions,
) -> Result<RetentionReport> {
    let host = options.backup.host_name();
    let held = last_good(list, job, host);
    let mut report = RetentionReport::default();
    for is_selective in [false, true] {
        let retention = Retention {
            policy: policy.clone(),
            grouping: Grouping { host: true, job: true, ..Grouping::default() },
            filter: filter(&job.name, host, is_selective),
            zone: options.zone.clone(),
            may_remove_all: false,
        };
        for group in retention.plan(list, Timestamp::now())?.groups {
            report.kept += group.judged.kept.len();
            for entry in group.judged.removed {
                match held.iter().find(|(id, _)| *id == entry.id) {
                    Some(held) => report.held.push(held.clone()),
                    None => report.removed.push(entry.id),
                }
            }
        }
    }
    report.kept += report.held.len();
    Ok(report)
}

/// Of each source of the job the newest snapshot in which it was read well.
fn last_good(list: &SnapshotList, job: &Job, host: &str) -> Vec<(SessionId, String)> {
    let of_job = list.of_job(host, &job.name);
    let newest_of = |name: &str| of_job.iter().rev().find(|entry| is_good(entry, name));
    // Of directories also the last one of which nothing was missing.
    let newest_whole =
        |name: &str| of_job.iter().rev().find(|entry| is_good(entry, name) && is_whole(entry, name));
    let sources = job.sources.iter();
    let held = sources.flat_map(|source| {
        let found = [newest_of(&source.name), newest_whole(&source.name)];
        found.into_iter().flatten().map(|entry| (entry.id, source.name.clone()))
    });
    held.collect()
}

/// Whether nothing was missing of a source.
fn is_whole(entry: &SnapshotEntry, name: &str) -> bool {
    let mut statuses = entry.snapshot.sources.iter().filter(|status| status.name.as_deref() == Some(name));
    statuses.all(|status| status.outcome == SourceOutcome::Complete || status.carried.is_some())
}

/// Whether a snapshot has a source, and all that belongs to it was read well, in that run or in the one that it was
/// taken over from.
fn is_good(entry: &SnapshotEntry, name: &str) -> bool {
    let mut statuses =
        entry.snapshot.sources.iter().filter(|status| status.name.as_deref() == Some(name)).peekable();
    let is_good = |status: &SourceStatus| match (&status.kind, status.outcome) {
        // Of directories that are in use, a file or two always are.
        (_, SourceOutcome::Complete) | (None, SourceOutcome::Partial) => true,
        _ => status.carried.is_some(),
    };
    statuses.peek().is_some() && statuses.all(is_good)
}

/// Gives back the space of what this run forgot. It waits for nobody: what is in use goes with the next run.
pub(super) fn prune(
    repository: &Repository,
    forgotten: &[SessionId],
    backup: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<PruneSummary> {
    let options = PruneOptions {
        wait: std::time::Duration::ZERO,
        consent: Consent::Needed(forgotten.to_vec()),
        session: backup.session.clone(),
        ..PruneOptions::new(backup.host.clone())
    };
    let summary = crate::ops::prune::prune(repository, &options, monitor)?;
    if !summary.alarms.is_empty() {
        let message =
            "another machine forgot more than it should; \"packstone repo prune\" tells what, and asks";
        return Err(crate::base::Error::new(crate::base::ErrorKind::Failed, message));
    }
    match summary.repack_failure {
        Some(error) => Err(error.while_doing("not all could be written again; what nobody needs is gone")),
        None => Ok(summary),
    }
}

/// The snapshots of a job that another repository lacks, and that were made after all that it has of them: what it was
/// not to keep does not come back to it. No clock is asked.
pub(super) fn missing_in(
    repository: &Repository,
    other: &Repository,
    job: &str,
    host: &str,
) -> Result<Vec<SnapshotEntry>> {
    let (own, theirs) = (repository.snapshots()?, other.snapshots()?);
    let identity = |of: RepositoryId, entry: &SnapshotEntry| {
        entry.snapshot.origin.as_ref().map_or((of, entry.id), |origin| (origin.repository, origin.snapshot))
    };
    let there: BTreeSet<_> =
        theirs.of_job(host, job).into_iter().map(|entry| identity(other.id(), entry)).collect();
    let of_job = own.of_job(host, job);
    let has = |entry: &&SnapshotEntry| there.contains(&identity(repository.id(), entry));
    let after = of_job.iter().rposition(has).map_or(0, |position| position + 1);
    Ok(of_job.into_iter().skip(after).cloned().collect())
}
