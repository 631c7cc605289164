//! What `stats --growth` tells, as one document.

use packstone::base::SessionId;
use packstone::ops::stats::ChunkTotals;
use packstone::ops::stats::growth::{DirectoryGrowth, Growth};
use serde::Serialize;

use super::name;

/// What snapshots brought after the first of them, and which directories that came from.
#[derive(Debug, Serialize)]
pub struct GrowthDocument {
    message_type: &'static str,
    snapshots_count: u64,
    first: String,
    last: String,
    #[serde(flatten)]
    sizes: Sizes,
    directories: Vec<DirectoryDocument>,
}

/// In all snapshots, and in the newest.
#[derive(Debug, Serialize)]
struct Sizes {
    new_size: u64,
    new_stored_size: u64,
    newest_size: u64,
    newest_stored_size: u64,
}

impl Sizes {
    const fn of(total: &ChunkTotals, newest: &ChunkTotals) -> Self {
        Self {
            new_size: total.plain_bytes,
            new_stored_size: total.stored_bytes,
            newest_size: newest.plain_bytes,
            newest_stored_size: newest.stored_bytes,
        }
    }
}

/// What a directory brought.
#[derive(Debug, Serialize)]
struct DirectoryDocument {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(flatten)]
    sizes: Sizes,
}

impl DirectoryDocument {
    fn of(directory: &DirectoryGrowth) -> Self {
        let (path, path_hex) = name(&directory.path);
        Self { path, path_hex, sizes: Sizes::of(&directory.total, &directory.newest) }
    }
}

impl GrowthDocument {
    /// Of so many snapshots from the first to the last.
    pub fn of(snapshots: u64, first: SessionId, last: SessionId, growth: &Growth) -> Self {
        Self {
            message_type: "growth",
            snapshots_count: snapshots,
            first: first.hex(),
            last: last.hex(),
            sizes: Sizes::of(&growth.total, &growth.newest),
            directories: growth.directories.iter().map(DirectoryDocument::of).collect(),
        }
    }
}
