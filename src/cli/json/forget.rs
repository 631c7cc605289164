//! What `forget` and `tag` did.

use packstone::base::SessionId;
use packstone::ops::forget::{GroupPlan, Kept};
use packstone::ops::tag::Tagged;
use serde::Serialize;

use super::{SnapshotDocument, names};

/// What became of a group.
#[derive(Debug, Default, Serialize)]
pub struct ForgottenDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_hex: Option<Vec<String>>,
    keep: Vec<SnapshotDocument>,
    remove: Vec<SnapshotDocument>,
    reasons: Vec<ReasonDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// Why a snapshot is kept.
#[derive(Debug, Serialize)]
struct ReasonDocument {
    snapshot: SnapshotDocument,
    matches: Vec<String>,
}

impl ForgottenDocument {
    /// Of a group.
    pub fn of(group: &GroupPlan<'_>) -> Self {
        let (paths, paths_hex) = match &group.key.paths {
            None => (None, None),
            Some(paths) => {
                let (paths, hex) = names(paths.iter().map(Vec::as_slice));
                (Some(paths), hex)
            }
        };
        let kept = &group.judged.kept;
        let reason = |kept: &Kept<'_>| ReasonDocument {
            snapshot: SnapshotDocument::of(kept.entry),
            matches: kept.reasons.clone(),
        };
        Self {
            tags: group.key.tags.clone(),
            host: group.key.host.clone(),
            job: group.key.job.clone().flatten(),
            paths,
            paths_hex,
            keep: kept.iter().map(|kept| SnapshotDocument::of(kept.entry)).collect(),
            remove: group.judged.removed.iter().map(|entry| SnapshotDocument::of(entry)).collect(),
            reasons: kept.iter().map(reason).collect(),
            unreadable: Vec::new(),
        }
    }

    /// Of snapshots that were named.
    pub fn of_named(found: &[Kept<'_>], unreadable: &[SessionId]) -> Self {
        Self {
            remove: found.iter().map(|found| SnapshotDocument::of(found.entry)).collect(),
            unreadable: unreadable.iter().map(SessionId::hex).collect(),
            ..Self::default()
        }
    }
}

/// A snapshot in whose place another one stands.
#[derive(Debug, Serialize)]
pub struct TaggedLine {
    message_type: &'static str,
    old_snapshot_id: String,
    new_snapshot_id: String,
    tags: Vec<String>,
}

impl TaggedLine {
    /// Of one.
    pub fn of(tagged: &Tagged) -> Self {
        Self {
            message_type: "changed",
            old_snapshot_id: tagged.old.hex(),
            new_snapshot_id: tagged.new.hex(),
            tags: tagged.tags.clone(),
        }
    }
}

/// How many snapshots got other tags.
#[derive(Debug, Serialize)]
pub struct TagSummary {
    message_type: &'static str,
    changed_snapshots: u64,
}

impl TagSummary {
    /// Of so many.
    pub const fn of(changed_snapshots: u64) -> Self {
        Self { message_type: "summary", changed_snapshots }
    }
}
