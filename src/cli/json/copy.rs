//! What `repo copy` did.

use std::time::Duration;

use packstone::base::SessionId;
use packstone::ops::copy::CopySummary;
use serde::Serialize;

/// A snapshot that was copied, or would be.
#[derive(Debug, Serialize)]
pub struct CopiedLine {
    message_type: &'static str,
    source_snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl CopiedLine {
    /// Of one, its copy, and the target if it is one of several.
    pub fn of(source: SessionId, copy: Option<SessionId>, target: Option<&str>) -> Self {
        Self {
            message_type: "copied",
            source_snapshot_id: source.hex(),
            snapshot_id: copy.map(|copy| copy.hex()),
            target: target.map(str::to_owned),
        }
    }
}

/// A snapshot whose copy was there.
#[derive(Debug, Serialize)]
pub struct SkippedLine {
    message_type: &'static str,
    source_snapshot_id: String,
    snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl SkippedLine {
    /// Of one, its copy, and the target if it is one of several.
    pub fn of(source: SessionId, copy: SessionId, target: Option<&str>) -> Self {
        Self {
            message_type: "skipped",
            source_snapshot_id: source.hex(),
            snapshot_id: copy.hex(),
            target: target.map(str::to_owned),
        }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct CopyLine {
    message_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    copied_snapshots: u64,
    skipped_snapshots: u64,
    damaged_snapshots: u64,
    added_chunks: u64,
    data_added: u64,
    data_added_packed: u64,
    total_duration: f64,
}

impl CopyLine {
    /// Of a summary, and the target if it is one of several.
    pub fn of(summary: &CopySummary, is_dry: bool, took: Duration, target: Option<&str>) -> Self {
        Self {
            message_type: "summary",
            target: target.map(str::to_owned),
            dry_run: is_dry,
            copied_snapshots: summary.copied,
            skipped_snapshots: summary.present,
            damaged_snapshots: summary.unreadable,
            added_chunks: summary.chunks,
            data_added: summary.added_bytes,
            data_added_packed: summary.stored_bytes,
            total_duration: took.as_secs_f64(),
        }
    }
}
