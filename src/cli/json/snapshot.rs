//! A snapshot as a document.

use packstone::format::snapshot::{Origin, SourceStatus, Statistic, Statistics};
use packstone::repository::{GroupKey, SnapshotEntry};
use serde::Serialize;

use super::{later, name, names, seconds, time};

/// A snapshot.
#[derive(Debug, Serialize)]
pub struct SnapshotDocument {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    tree: String,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_hex: Option<Vec<String>>,
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    excludes: Vec<String>,
    tags: Vec<String>,
    program_version: String,
    summary: SnapshotSummary,
    id: String,
    short_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    generation: u64,
    findings: u64,
    sources: Vec<SourceDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<OriginDocument>,
}

impl SnapshotDocument {
    /// Of a visible snapshot.
    pub fn of(entry: &SnapshotEntry) -> Self {
        let snapshot = &entry.snapshot;
        let (paths, paths_hex) = names(snapshot.paths.iter().map(Vec::as_slice));
        Self {
            time: time(snapshot.time),
            parent: snapshot.parent.map(|parent| parent.hex()),
            tree: snapshot.tree.hex(),
            paths,
            paths_hex,
            hostname: snapshot.host.clone(),
            username: snapshot.user.clone(),
            excludes: snapshot.excludes.clone(),
            tags: snapshot.tags.clone(),
            program_version: snapshot.program.clone(),
            summary: SnapshotSummary {
                backup_start: time(snapshot.time),
                backup_end: time(later(snapshot.time, snapshot.duration_milliseconds)),
                counts: Counts::of(&snapshot.statistics),
                total_files_processed: snapshot.file_count(),
                total_bytes_processed: snapshot.total_bytes,
                total_nodes: snapshot.total_nodes,
            },
            id: entry.id.hex(),
            short_id: entry.id.short(),
            job: snapshot.job.clone(),
            description: snapshot.description.clone(),
            generation: snapshot.generation,
            findings: snapshot.findings,
            sources: snapshot.sources.iter().map(SourceDocument::of).collect(),
            origin: snapshot.origin.as_ref().map(OriginDocument::of),
        }
    }
}

/// Snapshots that have something in common.
#[derive(Debug, Serialize)]
pub struct GroupDocument {
    group_key: KeyDocument,
    snapshots: Vec<SnapshotDocument>,
}

/// What they have in common; what they are not grouped by is left out.
#[derive(Debug, Serialize)]
struct KeyDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_hex: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
}

impl GroupDocument {
    /// Of a group.
    pub fn of(key: &GroupKey, group: &[&SnapshotEntry]) -> Self {
        let (paths, paths_hex) = match &key.paths {
            None => (None, None),
            Some(paths) => {
                let (paths, hex) = names(paths.iter().map(Vec::as_slice));
                (Some(paths), hex)
            }
        };
        let (hostname, job, tags) = (key.host.clone(), key.job.clone(), key.tags.clone());
        let group_key = KeyDocument { hostname, job, paths, paths_hex, tags };
        Self { group_key, snapshots: group.iter().map(|entry| SnapshotDocument::of(entry)).collect() }
    }
}

/// What happened when the snapshot was made.
#[derive(Debug, Serialize)]
struct SnapshotSummary {
    backup_start: String,
    backup_end: String,
    #[serde(flatten)]
    counts: Counts,
    total_files_processed: u64,
    total_bytes_processed: u64,
    total_nodes: u64,
}

/// The numbers of a snapshot; those that were not taken are left out.
#[derive(Debug, Serialize)]
pub struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    files_new: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_changed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_unmodified: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirs_new: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirs_changed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirs_unmodified: Option<u64>,
    #[serde(rename = "data_blobs", skip_serializing_if = "Option::is_none")]
    data_chunks: Option<u64>,
    #[serde(rename = "tree_blobs", skip_serializing_if = "Option::is_none")]
    tree_chunks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_added: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_added_packed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_read: Option<u64>,
}

impl Counts {
    /// Of a snapshot's numbers.
    pub fn of(statistics: &Statistics) -> Self {
        let number = |statistic| statistics.0.get(&statistic).copied();
        Self {
            files_new: number(Statistic::FilesNew),
            files_changed: number(Statistic::FilesChanged),
            files_unmodified: number(Statistic::FilesUnmodified),
            dirs_new: number(Statistic::DirectoriesNew),
            dirs_changed: number(Statistic::DirectoriesChanged),
            dirs_unmodified: number(Statistic::DirectoriesUnmodified),
            data_chunks: number(Statistic::DataChunksAdded),
            tree_chunks: number(Statistic::TreeChunksAdded),
            data_added: number(Statistic::BytesAdded),
            data_added_packed: number(Statistic::BytesStored),
            data_read: number(Statistic::BytesRead),
        }
    }
}

/// How one source fared.
#[derive(Debug, Serialize)]
pub struct SourceDocument {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    status: &'static str,
    nodes: u64,
    bytes: u64,
    findings: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl SourceDocument {
    /// Of a source's status.
    pub fn of(source: &SourceStatus) -> Self {
        let (path, path_hex) = name(&source.path);
        let status = source.outcome.word();
        let SourceStatus { nodes, bytes, findings, duration_milliseconds, .. } = *source;
        Self {
            path,
            path_hex,
            status,
            nodes,
            bytes,
            findings,
            seconds: seconds(duration_milliseconds),
            name: source.name.clone(),
            kind: source.kind.clone(),
            consistency: source.consistency.clone(),
            carried_from: source.carried.map(|carried| carried.snapshot.hex()),
            carried_time: source.carried.map(|carried| time(carried.time)),
            message: source.message.clone(),
        }
    }
}

/// Where a snapshot comes from that was made from another.
#[derive(Debug, Serialize)]
struct OriginDocument {
    repository: String,
    snapshot: String,
    time: String,
}

impl OriginDocument {
    fn of(origin: &Origin) -> Self {
        Self { repository: origin.repository.hex(), snapshot: origin.snapshot.hex(), time: time(origin.time) }
    }
}
