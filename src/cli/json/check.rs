//! What `repo check` found.

use packstone::ops::check::CheckSummary;
use packstone::repository::{Damage, StorageSummary};
use packstone::tree::HurtBy;
use serde::Serialize;

use super::name;
use super::repository::ObjectsDocument;

/// Something that is damaged, and what that hurts.
#[derive(Debug, Serialize)]
pub struct DamageLine<'a> {
    message_type: &'static str,
    object: &'a str,
    problem: &'a [String],
    paths_count: u64,
    snapshots_count: u64,
    snapshots: Vec<String>,
    paths: Vec<PathDocument>,
}

/// A path in a snapshot.
#[derive(Debug, Serialize)]
struct PathDocument {
    snapshot: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl<'a> DamageLine<'a> {
    /// Of a damage.
    pub fn of(damage: &'a Damage, hurt: Option<&HurtBy>) -> Self {
        let none = HurtBy::default();
        let hurt = hurt.unwrap_or(&none);
        let paths = hurt.shown_paths.iter().map(|(snapshot, path)| {
            let (path, path_hex) = name(path);
            PathDocument { snapshot: snapshot.hex(), path, path_hex }
        });
        Self {
            message_type: "damage",
            object: &damage.object,
            problem: &damage.problem,
            paths_count: hurt.paths,
            snapshots_count: hurt.snapshots,
            snapshots: hurt.shown_snapshots.iter().map(|snapshot| snapshot.hex()).collect(),
            paths: paths.collect(),
        }
    }
}

/// What a check found in all.
#[derive(Debug, Serialize)]
pub struct CheckLine {
    message_type: &'static str,
    num_errors: u64,
    broken_packs: Vec<String>,
    suggest_prune: bool,
    damaged: u64,
    unreadable: u64,
    paths_hurt: u64,
    snapshots_hurt: u64,
    snapshots: u64,
    forgotten: u64,
    tree_pages: u64,
    packs: ObjectsDocument,
    index_runs: ObjectsDocument,
    packs_read: ObjectsDocument,
    packs_frozen: ObjectsDocument,
    open_sessions: u64,
    gaps: u64,
    gaps_unexplained: u64,
    leftovers: LeftoversDocument,
}

/// What nothing needs.
#[derive(Debug, Serialize)]
struct LeftoversDocument {
    packs: ObjectsDocument,
    packs_condemned: ObjectsDocument,
    packs_in_progress: ObjectsDocument,
    index_rows: u64,
    index_runs: u64,
    unfinished: ObjectsDocument,
    foreign: ObjectsDocument,
}

impl CheckLine {
    /// Of a check.
    pub fn of(summary: &CheckSummary) -> Self {
        let counted = &summary.counted;
        let leftovers = &counted.leftovers;
        let packs = summary
            .damages
            .iter()
            .filter_map(|damage| packstone::format::names::parse_pack(&damage.object).map(|name| name.hex()));
        Self {
            message_type: "summary",
            num_errors: summary.damaged + summary.unreadable,
            broken_packs: packs.collect(),
            suggest_prune: leftovers.are_packs() && summary.damaged == 0,
            damaged: summary.damaged,
            unreadable: summary.unreadable,
            paths_hurt: summary.hurt.paths,
            snapshots_hurt: summary.hurt.snapshots,
            snapshots: counted.snapshots,
            forgotten: counted.forgotten,
            tree_pages: summary.trees.pages,
            packs: ObjectsDocument::of(counted.packs),
            index_runs: ObjectsDocument::of(counted.index_runs),
            packs_read: ObjectsDocument::of(summary.read),
            packs_frozen: ObjectsDocument::of(summary.frozen),
            open_sessions: counted.open_sessions,
            gaps: counted.gaps,
            gaps_unexplained: counted.unexplained_gaps,
            leftovers: LeftoversDocument {
                packs: ObjectsDocument::of(leftovers.unnamed),
                packs_condemned: ObjectsDocument::of(leftovers.condemned),
                packs_in_progress: ObjectsDocument::of(leftovers.in_progress),
                index_rows: leftovers.rows,
                index_runs: counted.superseded_runs,
                unfinished: ObjectsDocument::of(counted.unfinished),
                foreign: ObjectsDocument::of(counted.foreign),
            },
        }
    }
}

/// What a check without a key found in all.
#[derive(Debug, Serialize)]
pub struct StorageLine {
    message_type: &'static str,
    num_errors: u64,
    damaged: u64,
    unreadable: u64,
    objects: ObjectsDocument,
    objects_hashed: ObjectsDocument,
    objects_frozen: ObjectsDocument,
    unfinished: ObjectsDocument,
    foreign: ObjectsDocument,
}

impl StorageLine {
    /// Of a check.
    pub const fn of(summary: &StorageSummary) -> Self {
        Self {
            message_type: "storage_summary",
            num_errors: summary.damaged + summary.unreadable,
            damaged: summary.damaged,
            unreadable: summary.unreadable,
            objects: ObjectsDocument::of(summary.objects),
            objects_hashed: ObjectsDocument::of(summary.hashed),
            objects_frozen: ObjectsDocument::of(summary.frozen),
            unfinished: ObjectsDocument::of(summary.unfinished),
            foreign: ObjectsDocument::of(summary.foreign),
        }
    }
}
