//! Lines of `find` and `history`: versions of paths, and the snapshots that have them.

use packstone::format::node::Node;
use packstone::ops::find::Found;
use packstone::repository::SnapshotEntry;
use serde::Serialize;

use super::{NodeLine, name, time};

/// A version of a path that was found.
#[derive(Debug, Serialize)]
pub struct FoundLine<'a> {
    message_type: &'static str,
    hostname: &'a str,
    #[serde(flatten)]
    span: Span,
    node: NodeLine,
}

/// The snapshots that have a version, or none.
#[derive(Debug, Serialize)]
struct Span {
    first_snapshot: String,
    first_time: String,
    last_snapshot: String,
    last_time: String,
    snapshots_count: usize,
    snapshots: Vec<String>,
}

impl Span {
    fn of(snapshots: &[&SnapshotEntry]) -> Self {
        let id = |entry: Option<&&SnapshotEntry>| entry.map(|entry| entry.id.hex()).unwrap_or_default();
        let at =
            |entry: Option<&&SnapshotEntry>| entry.map(|entry| time(entry.snapshot.time)).unwrap_or_default();
        Self {
            first_snapshot: id(snapshots.first()),
            first_time: at(snapshots.first()),
            last_snapshot: id(snapshots.last()),
            last_time: at(snapshots.last()),
            snapshots_count: snapshots.len(),
            snapshots: snapshots.iter().map(|entry| entry.id.hex()).collect(),
        }
    }
}

impl<'a> FoundLine<'a> {
    /// A version on a machine, and the snapshots that have it in order of time.
    pub fn of(hostname: &'a str, node: &Node, path: &[u8], snapshots: &[&SnapshotEntry]) -> Self {
        let (span, node) = (Span::of(snapshots), NodeLine::of(node, path));
        Self { message_type: "match", hostname, span, node }
    }
}

/// The last line of `find`.
#[derive(Debug, Serialize)]
pub struct FoundSummary {
    message_type: &'static str,
    paths: usize,
    versions: usize,
    snapshots: usize,
    tree_pages: u64,
    damaged: u64,
}

impl FoundSummary {
    /// Of what was found, so many versions in so many snapshots that were looked at.
    pub fn of(found: &Found, versions: usize, snapshots: usize) -> Self {
        let (paths, tree_pages, damaged) = (found.by_path().count(), found.pages, found.damaged);
        Self { message_type: "summary", paths, versions, snapshots, tree_pages, damaged }
    }
}

/// A version of the path whose history is told.
#[derive(Debug, Serialize)]
pub struct VersionLine<'a> {
    message_type: &'static str,
    hostname: &'a str,
    #[serde(flatten)]
    span: Span,
    node: NodeLine,
}

impl<'a> VersionLine<'a> {
    /// A version on a machine, and the snapshots that have it in order of time.
    pub fn of(hostname: &'a str, node: &Node, path: &[u8], snapshots: &[&SnapshotEntry]) -> Self {
        let (span, node) = (Span::of(snapshots), NodeLine::of(node, path));
        Self { message_type: "version", hostname, span, node }
    }
}

/// Snapshots in which the path was not there.
#[derive(Debug, Serialize)]
pub struct AbsenceLine<'a> {
    message_type: &'static str,
    hostname: &'a str,
    #[serde(flatten)]
    span: Span,
}

impl<'a> AbsenceLine<'a> {
    /// The snapshots of a machine in order of time.
    pub fn of(hostname: &'a str, snapshots: &[&SnapshotEntry]) -> Self {
        Self { message_type: "absence", hostname, span: Span::of(snapshots) }
    }
}

/// The last line of `history`.
#[derive(Debug, Serialize)]
pub struct HistorySummary {
    message_type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    versions: usize,
    absences: usize,
    snapshots: usize,
    damaged: u64,
}

impl HistorySummary {
    /// So many periods with and without the path, in so many snapshots that were looked at.
    pub fn new(path: &[u8], versions: usize, absences: usize, snapshots: usize, damaged: u64) -> Self {
        let (path, path_hex) = name(path);
        Self { message_type: "summary", path, path_hex, versions, absences, snapshots, damaged }
    }
}
