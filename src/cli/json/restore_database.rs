//! What `restore-database` put back, or would.

use std::time::Duration;

use packstone::ops::restore_database::StoredSource;
use packstone::repository::SnapshotEntry;
use packstone::source::{LoadPlan, LoadStep};
use serde::Serialize;

use super::snapshot::SourceDocument;
use super::{seconds, time};

/// What was put back, or would be.
#[derive(Debug, Serialize)]
pub struct RestoreDatabaseLine {
    message_type: &'static str,
    dry_run: bool,
    snapshot_id: String,
    source: SourceDocument,
    time: String,
    steps: Vec<StepDocument>,
    replaced: Vec<String>,
    bytes: u64,
    seconds: f64,
}

/// A step.
#[derive(Debug, Serialize)]
struct StepDocument {
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl RestoreDatabaseLine {
    /// Of a plan.
    pub fn of(snapshot: &SnapshotEntry, source: &StoredSource<'_>, plan: &LoadPlan, dry_run: bool) -> Self {
        let step = |step: &LoadStep| StepDocument {
            action: step.what.clone(),
            dump: step.dump.clone(),
            size: source.needed(step).ok().flatten().map(|dump| dump.size_bytes),
        };
        Self {
            message_type: "summary",
            dry_run,
            snapshot_id: snapshot.id.hex(),
            source: SourceDocument::of(source.status()),
            time: time(source.time()),
            steps: plan.steps.iter().map(step).collect(),
            replaced: plan.replaced.clone(),
            bytes: source.planned_bytes(plan),
            seconds: 0.0,
        }
    }

    /// How long it took.
    pub fn took(&mut self, elapsed: Duration) {
        self.seconds = seconds(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    }
}
