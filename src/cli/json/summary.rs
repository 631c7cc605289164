//! What a command did, as its last line.

use std::time::Duration;

use packstone::base::Lacks;
use packstone::ops::backup::{BackupSummary, DryRun};
use packstone::ops::restore::RestoreSummary;
use packstone::repository::Repository;
use packstone::storage::contract::{Creation, Deletion, Trial};
use serde::Serialize;

use super::snapshot::Counts;
use super::{later, seconds, time};

/// What a backup did.
#[derive(Debug, Serialize)]
pub struct BackupLine {
    message_type: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    counts: Counts,
    total_files_processed: u64,
    total_bytes_processed: u64,
    total_duration: f64,
    backup_start: String,
    backup_end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged_since: Option<String>,
    excluded: u64,
    findings: u64,
}

impl BackupLine {
    /// Of a backup.
    pub fn of(summary: &BackupSummary) -> Self {
        let snapshot = &summary.snapshot;
        Self {
            message_type: "summary",
            dry_run: false,
            counts: Counts::of(&snapshot.statistics),
            total_files_processed: snapshot.file_count(),
            total_bytes_processed: snapshot.total_bytes,
            total_duration: seconds(snapshot.duration_milliseconds),
            backup_start: time(snapshot.time),
            backup_end: time(later(snapshot.time, snapshot.duration_milliseconds)),
            snapshot_id: Some(summary.id.hex()).filter(|_| !summary.is_skipped),
            unchanged_since: Some(summary.id.hex()).filter(|_| summary.is_skipped),
            excluded: summary.excluded,
            findings: snapshot.findings,
        }
    }
}

/// What a backup would take.
#[derive(Debug, Serialize)]
pub struct DryRunLine {
    message_type: &'static str,
    dry_run: bool,
    total_files_processed: u64,
    total_dirs_processed: u64,
    total_bytes_processed: u64,
    excluded: u64,
    findings: u64,
}

impl DryRunLine {
    /// Of a dry run.
    pub const fn of(found: &DryRun) -> Self {
        Self {
            message_type: "summary",
            dry_run: true,
            total_files_processed: found.files,
            total_dirs_processed: found.directories,
            total_bytes_processed: found.bytes,
            excluded: found.excluded,
            findings: found.findings,
        }
    }
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct RestoreLine {
    message_type: &'static str,
    dry_run: bool,
    seconds_elapsed: u64,
    total_files: u64,
    files_restored: u64,
    files_skipped: u64,
    files_deleted: u64,
    total_bytes: u64,
    bytes_restored: u64,
    bytes_skipped: u64,
    dirs_restored: u64,
    others_restored: u64,
    items_replaced: u64,
    files_patched: u64,
    bytes_patched: u64,
    bytes_deleted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_to_fetch: Option<u64>,
    files_updated: u64,
    files_verified: u64,
    findings: u64,
    not_permitted: LacksDocument,
    damaged: u64,
}

/// What who restored may not set or make.
#[derive(Debug, Serialize)]
struct LacksDocument {
    owners: u64,
    modes: u64,
    xattrs: u64,
    devices: u64,
}

impl LacksDocument {
    const fn of(lacks: Lacks) -> Self {
        let Lacks { owners, modes, xattrs, devices } = lacks;
        Self { owners, modes, xattrs, devices }
    }
}

impl RestoreLine {
    /// Of a restore that expected so many files and bytes; a dry run, which expects none, has only met them.
    pub const fn of(
        summary: &RestoreSummary,
        dry_run: bool,
        expected: (u64, u64),
        elapsed: Duration,
    ) -> Self {
        let met = (
            summary.files
                + summary.others
                + summary.files_patched
                + summary.files_updated
                + summary.files_skipped,
            summary.bytes + summary.bytes_patched + summary.bytes_skipped,
        );
        let total = if dry_run { met } else { expected };
        Self {
            message_type: "summary",
            dry_run,
            seconds_elapsed: elapsed.as_secs(),
            total_files: total.0,
            files_restored: summary.files,
            files_skipped: summary.files_skipped,
            files_deleted: summary.items_deleted,
            total_bytes: total.1,
            bytes_restored: summary.bytes,
            bytes_skipped: summary.bytes_skipped,
            dirs_restored: summary.directories,
            others_restored: summary.others,
            items_replaced: summary.replaced,
            files_patched: summary.files_patched,
            bytes_patched: summary.bytes_patched,
            bytes_deleted: summary.bytes_deleted,
            bytes_to_fetch: if dry_run { Some(summary.bytes_to_fetch) } else { None },
            files_updated: summary.files_updated,
            files_verified: summary.files_verified,
            findings: summary.findings,
            not_permitted: LacksDocument::of(summary.lacks),
            damaged: summary.damaged,
        }
    }
}

/// A repository was made.
#[derive(Debug, Serialize)]
pub struct Initialized {
    message_type: &'static str,
    id: String,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    atomic_create: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletes: Option<bool>,
}

impl Initialized {
    /// This one, and what its storage was seen to do.
    pub fn of(repository: &Repository, trial: Option<&Trial>) -> Self {
        Self {
            message_type: "initialized",
            id: repository.id().hex(),
            repository: repository.location(),
            atomic_create: trial.map(|trial| trial.creation == Creation::Atomic),
            deletes: trial.map(|trial| matches!(trial.deletion, Deletion::Works)),
        }
    }
}

/// Manual pages were written.
#[derive(Debug, Serialize)]
pub struct PagesWritten<'a> {
    message_type: &'static str,
    pages: &'a [String],
}

impl<'a> PagesWritten<'a> {
    /// Under these names.
    pub const fn of(pages: &'a [String]) -> Self {
        Self { message_type: "pages_written", pages }
    }
}
