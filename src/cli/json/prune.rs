//! What `repo prune` would do and did, as one document each.

use std::time::Duration;

use packstone::base::SessionId;
use packstone::ops::prune::PruneSummary;
use packstone::repository::PrunePlan;
use serde::Serialize;

use super::repository::ObjectsDocument;

/// What a prune would do.
#[derive(Debug, Serialize)]
pub struct PrunePlanLine {
    message_type: &'static str,
    plan: PlanDocument,
}

#[derive(Debug, Serialize)]
struct PlanDocument {
    packs: ObjectsDocument,
    needed_bytes: u64,
    remove: ObjectsDocument,
    remove_unindexed: ObjectsDocument,
    repack: ObjectsDocument,
    repack_needed_bytes: u64,
    returned: ObjectsDocument,
    in_use: ObjectsDocument,
    unused_bytes: u64,
    freed_bytes: u64,
}

impl PlanDocument {
    const fn of(plan: &PrunePlan) -> Self {
        Self {
            packs: ObjectsDocument::of(plan.packs),
            needed_bytes: plan.needed_bytes,
            remove: ObjectsDocument::of(plan.remove),
            remove_unindexed: ObjectsDocument::of(plan.remove_unindexed),
            repack: ObjectsDocument::of(plan.repack),
            repack_needed_bytes: plan.repack_needed_bytes,
            returned: ObjectsDocument::of(plan.returned),
            in_use: ObjectsDocument::of(plan.in_use),
            unused_bytes: plan.unused_bytes,
            freed_bytes: plan.freed_bytes(),
        }
    }
}

impl PrunePlanLine {
    /// Of a plan.
    pub const fn of(plan: &PrunePlan) -> Self {
        Self { message_type: "plan", plan: PlanDocument::of(plan) }
    }
}

/// What a prune did.
#[derive(Debug, Serialize)]
pub struct PruneLine {
    message_type: &'static str,
    plan: PlanDocument,
    removed: ObjectsDocument,
    repacked: u64,
    written_bytes: u64,
    frozen: ObjectsDocument,
    spared: u64,
    index_runs_removed: ObjectsDocument,
    index_runs_written: ObjectsDocument,
    ended_sessions: Vec<String>,
    waits_for: Vec<String>,
    condemned: u64,
    total_duration: f64,
}

impl PruneLine {
    /// Of a summary.
    pub fn of(summary: &PruneSummary, took: Duration) -> Self {
        Self {
            message_type: "summary",
            plan: PlanDocument::of(&summary.plan),
            removed: ObjectsDocument::of(summary.removed),
            repacked: summary.repacked,
            written_bytes: summary.written_bytes,
            frozen: ObjectsDocument::of(summary.frozen),
            spared: summary.spared,
            index_runs_removed: ObjectsDocument::of(summary.index.removed),
            index_runs_written: ObjectsDocument::of(summary.index.written),
            ended_sessions: summary.ended.iter().map(SessionId::hex).collect(),
            waits_for: summary.waits_for.iter().map(|session| session.id.hex()).collect(),
            condemned: summary.condemned,
            total_duration: took.as_secs_f64(),
        }
    }
}
