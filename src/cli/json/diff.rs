//! Lines of `diff`: changes, then what they come to.

use packstone::base::SessionId;
use packstone::ops::diff::{Change, Counts, Diff, Item, Modifier};
use packstone::ops::find::SoughtKind;
use serde::Serialize;

use super::name;

/// A path at which the two sides differ.
#[derive(Debug, Serialize)]
pub struct ChangeLine {
    message_type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    modifier: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    added_bytes: u64,
    removed_bytes: u64,
}

impl ChangeLine {
    /// A change.
    pub fn of(change: &Change) -> Self {
        let path = |item: Option<&Item>| item.map(path_of).unwrap_or_default();
        let (shown, path_hex) = name(&path(change.item()));
        let old = change.before.as_ref().filter(|_| change.modifier == Modifier::Moved);
        let old = old.map(|old| name(&path_of(old)));
        let (old_path, old_path_hex) = old.map_or((None, None), |(path, hex)| (Some(path), hex));
        let size = |item: &Option<Item>| {
            item.as_ref().filter(|item| item.kind == SoughtKind::File).map(|item| item.size)
        };
        Self {
            message_type: "change",
            path: shown,
            path_hex,
            modifier: change.modifier.sign(),
            old_path,
            old_path_hex,
            old_size: size(&change.before),
            size: size(&change.after),
            added_bytes: change.added_bytes,
            removed_bytes: change.removed_bytes,
        }
    }
}

/// A path, with a slash at the end of a directory's.
fn path_of(item: &Item) -> Vec<u8> {
    let slash: &[u8] = if item.kind == SoughtKind::Directory { b"/" } else { b"" };
    [item.path.as_slice(), slash].concat()
}

/// The last line.
#[derive(Debug, Serialize)]
pub struct StatisticsLine {
    message_type: &'static str,
    source_snapshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_snapshot: Option<String>,
    changed_files: u64,
    changed_others: u64,
    added: CountsDocument,
    removed: CountsDocument,
    moved: CountsDocument,
    metadata: CountsDocument,
    findings: u64,
    damaged: u64,
}

/// Numbers of objects.
#[derive(Debug, Serialize)]
struct CountsDocument {
    files: u64,
    dirs: u64,
    others: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl CountsDocument {
    const fn of(counts: &Counts, bytes: Option<u64>) -> Self {
        let Counts { files, directories, others } = *counts;
        Self { files, dirs: directories, others, bytes }
    }
}

impl StatisticsLine {
    /// Of two snapshots, or of one and what is there now.
    pub fn of(diff: &Diff, one: SessionId, other: Option<SessionId>) -> Self {
        let statistics = &diff.statistics;
        Self {
            message_type: "statistics",
            source_snapshot: one.hex(),
            target_snapshot: other.map(|other| other.hex()),
            changed_files: statistics.changed.files,
            changed_others: statistics.changed.others,
            added: CountsDocument::of(&statistics.added, Some(statistics.added_bytes)),
            removed: CountsDocument::of(&statistics.removed, Some(statistics.removed_bytes)),
            moved: CountsDocument::of(&statistics.moved, None),
            metadata: CountsDocument::of(&statistics.metadata, None),
            findings: diff.findings,
            damaged: diff.damaged,
        }
    }
}
