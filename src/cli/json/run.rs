//! What runs of jobs did, and would do.

use packstone::config::JobConfig;
use packstone::job::{PlannedSource, RetentionReport, RunPlan, RunReport, Step};
use packstone::ops::backup::OnFailure;
use serde::Serialize;

use super::snapshot::{Counts, SourceDocument};
use super::{names, time};

/// What a run did.
#[derive(Debug, Serialize)]
pub struct RunLine {
    message_type: &'static str,
    job: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(flatten)]
    counts: Option<Counts>,
    total_bytes_processed: u64,
    findings: u64,
    sources: Vec<SourceDocument>,
    copies: Vec<CopyDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<KeptDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packs_removed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_removed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_verified: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
    errors: Vec<String>,
}

/// What became of a copy.
#[derive(Debug, Serialize)]
struct CopyDocument {
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<KeptDocument>,
}

/// What became of a job's snapshots.
#[derive(Debug, Serialize)]
struct KeptDocument {
    kept: usize,
    removed: Vec<String>,
    held: Vec<HeldDocument>,
}

/// A snapshot that stays because a source was last read well in it.
#[derive(Debug, Serialize)]
struct HeldDocument {
    snapshot_id: String,
    source: String,
}

impl KeptDocument {
    fn of(report: &RetentionReport) -> Self {
        let held = |(id, source): &(packstone::base::SessionId, String)| HeldDocument {
            snapshot_id: id.hex(),
            source: source.clone(),
        };
        Self {
            kept: report.kept,
            removed: report.removed.iter().map(|id| id.hex()).collect(),
            held: report.held.iter().map(held).collect(),
        }
    }
}

fn given<T>(step: &Option<Step<T>>) -> Option<&T> {
    step.as_ref().and_then(|step| step.result.as_ref().ok())
}

impl RunLine {
    /// Of a run that made its snapshot.
    pub fn of(job: &str, report: &RunReport, status: &str) -> Self {
        let snapshot = &report.backup.snapshot;
        let errors = report.failures();
        let (prune, check) = (given(&report.prune), given(&report.check));
        let damaged = check.map(|check| check.damaged);
        let id = report.backup.id.hex();
        let copies = report.copies.iter().map(|copy| {
            let copied = copy.copied.result.as_ref().ok();
            CopyDocument {
                repository: copy.name.clone(),
                copied: copied.map(|copied| copied.copied),
                stored_bytes: copied.map(|copied| copied.stored_bytes),
                retention: given(&copy.retention).map(KeptDocument::of),
            }
        });
        Self {
            message_type: "run",
            job: job.to_owned(),
            status: status.to_owned(),
            snapshot_id: Some(id.clone()).filter(|_| !report.backup.is_skipped),
            unchanged_since: Some(id).filter(|_| report.backup.is_skipped),
            backup_start: Some(time(snapshot.time)),
            duration: Some(report.backup_duration.as_secs_f64()),
            counts: Some(Counts::of(&snapshot.statistics)),
            total_bytes_processed: snapshot.total_bytes,
            findings: snapshot.findings,
            sources: snapshot.sources.iter().map(SourceDocument::of).collect(),
            copies: copies.collect(),
            retention: given(&report.retention).map(KeptDocument::of),
            packs_removed: prune.map(|prune| prune.removed.count),
            bytes_removed: prune.map(|prune| prune.removed.size_bytes),
            bytes_verified: check.map(|check| check.read.size_bytes),
            damaged,
            unreadable: check.map(|check| check.unreadable + check.frozen.count),
            errors,
        }
    }

    /// Of a run that made none.
    pub fn of_failure(job: &str, error: Vec<String>) -> Self {
        Self {
            message_type: "run",
            job: job.to_owned(),
            status: "failed".to_owned(),
            snapshot_id: None,
            unchanged_since: None,
            backup_start: None,
            duration: None,
            counts: None,
            total_bytes_processed: 0,
            findings: 0,
            sources: Vec::new(),
            copies: Vec::new(),
            retention: None,
            packs_removed: None,
            bytes_removed: None,
            bytes_verified: None,
            damaged: None,
            unreadable: None,
            errors: vec![error.join(": ")],
        }
    }
}

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct JobPlanLine {
    message_type: &'static str,
    job: String,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    sources: Vec<PlannedDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<KeptDocument>,
}

/// What a run would take of a source.
#[derive(Debug, Serialize)]
struct PlannedDocument {
    name: String,
    kind: String,
    on_failure: &'static str,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_hex: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl PlannedDocument {
    fn of(source: &PlannedSource) -> Self {
        let (paths, paths_hex) = names(source.paths.iter().map(|path| path.as_os_str().as_encoded_bytes()));
        Self {
            name: source.name.clone(),
            kind: source.kind.clone(),
            on_failure: match source.on_failure {
                OnFailure::Fail => "fail",
                OnFailure::Partial => "partial",
                OnFailure::KeepPrevious => "keep-previous",
            },
            paths,
            paths_hex,
            files: source.amount.map(|amount| amount.files),
            bytes: source.amount.map(|amount| amount.bytes),
            lines: source.lines.clone(),
            error: source.failure.clone(),
        }
    }
}

impl JobPlanLine {
    /// Of a plan.
    pub fn of(job: &JobConfig, plan: &RunPlan) -> Self {
        let kept = plan.retention.as_ref().and_then(|kept| kept.as_ref().ok());
        Self {
            message_type: "job_plan",
            job: job.name.clone(),
            repository: job.repository.clone(),
            schedule: job.schedule.as_ref().map(ToString::to_string),
            sources: plan.sources.iter().map(PlannedDocument::of).collect(),
            conflict: plan.conflict.clone(),
            retention: kept.map(KeptDocument::of),
        }
    }
}

/// What the last runs of a job said.
#[derive(Debug, Serialize)]
pub struct LogLine {
    message_type: &'static str,
    job: String,
    lines: Vec<String>,
}

impl LogLine {
    /// Of a log.
    pub fn of(job: &str, lines: &[String]) -> Self {
        Self { message_type: "log", job: job.to_owned(), lines: lines.to_vec() }
    }
}
