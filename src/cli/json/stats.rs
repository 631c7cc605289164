//! What `stats` counts, as one document.

use packstone::ops::stats::{ChunkTotals, Counted, Overview};
use serde::Serialize;

use super::repository::ObjectsDocument;

/// What was counted. `total_size` is what the mode counts: the sizes of files, or of raw data what is stored.
#[derive(Debug, Default, Serialize)]
pub struct StatsDocument {
    total_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_file_count: Option<u64>,
    #[serde(rename = "total_blob_count", skip_serializing_if = "Option::is_none")]
    total_chunk_count: Option<u64>,
    snapshots_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_uncompressed_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_space_saving: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_stored_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deduplication_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ChunksDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trees: Option<ChunksDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<ObjectsDocument>,
}

/// Distinct chunks.
#[derive(Debug, Serialize)]
struct ChunksDocument {
    count: u64,
    size: u64,
    stored_size: u64,
}

impl ChunksDocument {
    const fn of(chunks: &ChunkTotals) -> Self {
        Self { count: chunks.count, size: chunks.plain_bytes, stored_size: chunks.stored_bytes }
    }
}

impl StatsDocument {
    /// Without a mode.
    pub fn of_overview(snapshots: u64, overview: &Overview) -> Self {
        let all = overview.data.and(overview.trees);
        Self {
            total_size: overview.restored.bytes,
            total_file_count: Some(overview.restored.files),
            total_stored_size: Some(all.stored_bytes),
            deduplication_ratio: ratio(overview.restored.bytes, overview.data.plain_bytes),
            data: Some(ChunksDocument::of(&overview.data)),
            trees: Some(ChunksDocument::of(&overview.trees)),
            repository: Some(ObjectsDocument::of(overview.repository)),
            snapshots_count: snapshots,
            ..Self::of_chunks(all)
        }
    }

    /// In a mode.
    pub fn of_counted(snapshots: u64, counted: &Counted) -> Self {
        let document = match counted {
            Counted::Files(totals) => {
                Self { total_size: totals.bytes, total_file_count: Some(totals.files), ..Self::default() }
            }
            Counted::ChunksPerFile { files, chunks, bytes } => Self {
                total_size: *bytes,
                total_file_count: Some(*files),
                total_chunk_count: Some(*chunks),
                ..Self::default()
            },
            Counted::Chunks(totals) => Self { total_size: totals.stored_bytes, ..Self::of_chunks(*totals) },
        };
        Self { snapshots_count: snapshots, ..document }
    }

    fn of_chunks(chunks: ChunkTotals) -> Self {
        let ratio = ratio(chunks.plain_bytes, chunks.stored_bytes);
        Self {
            total_chunk_count: Some(chunks.count),
            total_uncompressed_size: Some(chunks.plain_bytes),
            compression_ratio: ratio,
            // Everything that gains by it is compressed when it is stored.
            compression_progress: Some(100.0),
            compression_space_saving: ratio.map(|ratio| (1.0 - 1.0 / ratio) * 100.0),
            ..Self::default()
        }
    }
}

/// How many times larger one is than the other; none where there is nothing to compare.
#[expect(clippy::cast_precision_loss, reason = "a ratio of sizes needs no more digits than a double has")]
fn ratio(larger: u64, smaller: u64) -> Option<f64> {
    (larger > 0 && smaller > 0).then(|| larger as f64 / smaller as f64)
}
