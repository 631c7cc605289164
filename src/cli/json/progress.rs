//! Lines that tell how far the work is.

use packstone::base::{Change, Item, ItemAction, ThawCount, ThawCounts, Thawing};
use serde::Serialize;

use super::name;
use crate::progress::Reading;

/// What all kinds of work tell of a reading.
#[derive(Debug, Serialize)]
struct Common {
    message_type: &'static str,
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<u64>,
    percent_done: f64,
    total_files: u64,
    total_bytes: u64,
    error_count: u64,
    current_files: Vec<String>,
}

impl Common {
    fn of(reading: &Reading) -> Self {
        /// So many steps a bar of digits has.
        const STEPS: u64 = 1_000_000;
        let steps = reading.fraction().map_or(0, |fraction| fraction.of(STEPS));
        Self {
            message_type: "status",
            seconds_elapsed: reading.elapsed.as_secs(),
            seconds_remaining: reading.remaining().map(|left| left.as_secs()),
            percent_done: f64::from(u32::try_from(steps).unwrap_or(u32::MAX)) / 1_000_000.0,
            total_files: reading.met.0,
            total_bytes: reading.met.1,
            error_count: reading.findings,
            current_files: Some(reading.path.clone()).filter(|path| !path.is_empty()).into_iter().collect(),
        }
    }
}

/// How far a backup is.
#[derive(Debug, Serialize)]
pub struct BackupStatus {
    #[serde(flatten)]
    common: Common,
    files_done: u64,
    bytes_done: u64,
}

impl BackupStatus {
    /// As it was read.
    pub fn of(reading: &Reading) -> Self {
        Self { common: Common::of(reading), files_done: reading.files, bytes_done: reading.bytes }
    }
}

/// How far a check is.
#[derive(Debug, Serialize)]
pub struct CheckStatus {
    message_type: &'static str,
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<u64>,
    percent_done: f64,
    total_packs: u64,
    packs_done: u64,
    total_bytes: u64,
    bytes_done: u64,
    error_count: u64,
}

impl CheckStatus {
    /// As it was read.
    pub fn of(reading: &Reading) -> Self {
        let Common { message_type, seconds_elapsed, seconds_remaining, percent_done, .. } =
            Common::of(reading);
        let (total_packs, total_bytes) = reading.met;
        Self {
            message_type,
            seconds_elapsed,
            seconds_remaining,
            percent_done,
            total_packs,
            packs_done: reading.files,
            total_bytes,
            bytes_done: reading.bytes,
            error_count: reading.findings,
        }
    }
}

/// How far a restore is.
#[derive(Debug, Serialize)]
pub struct RestoreStatus {
    #[serde(flatten)]
    common: Common,
    files_restored: u64,
    bytes_restored: u64,
}

impl RestoreStatus {
    /// As it was read.
    pub fn of(reading: &Reading) -> Self {
        Self { common: Common::of(reading), files_restored: reading.files, bytes_restored: reading.bytes }
    }
}

/// What becomes of one item, with `--verbose`.
#[derive(Debug, Serialize)]
pub struct VerboseStatus<'a> {
    message_type: &'static str,
    action: &'a str,
    item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Vec<&'static str>>,
}

impl<'a> VerboseStatus<'a> {
    /// Something is done with an item.
    pub fn of_item(action: &'a str, path: &[u8]) -> Self {
        let (item, item_hex) = name(path);
        let message_type = "verbose_status";
        Self {
            message_type,
            action,
            item,
            item_hex,
            data_size: None,
            total_files: None,
            size: None,
            written: None,
            done: None,
            metadata: None,
        }
    }

    /// A backup took a file or a directory.
    pub fn backed_up(change: Change, path: &[u8], size_bytes: u64) -> Self {
        let action = match change {
            Change::New => "new",
            Change::Changed => "modified",
            Change::Unmodified => "unchanged",
        };
        Self { data_size: Some(size_bytes), ..Self::of_item(action, path) }
    }

    /// A restore did this with an item, or would in a dry run.
    pub fn restored(item: &Item<'_>) -> Self {
        // Restic knows four cases of these six.
        let known = match item.action {
            ItemAction::Create => "restored",
            ItemAction::Replace | ItemAction::Patch => "updated",
            ItemAction::Update | ItemAction::Skip => "unchanged",
            ItemAction::Delete => "deleted",
        };
        let written = match item.action {
            ItemAction::Create | ItemAction::Replace | ItemAction::Patch => Some(item.written_bytes),
            ItemAction::Update | ItemAction::Skip | ItemAction::Delete => None,
        };
        Self {
            size: Some(item.size_bytes),
            written,
            done: Some(item.action.word()),
            metadata: (!item.parts.is_empty()).then(|| item.parts.words()),
            ..Self::of_item(known, item.path)
        }
    }

    /// An object that is needed cannot be read yet.
    pub fn of_frozen(state: Thawing, object: &str, size_bytes: u64) -> Self {
        Self { size: Some(size_bytes), ..Self::of_item(state.word(), object.as_bytes()) }
    }

    /// All that is to be done is known.
    pub fn scan_finished(files: u64, bytes: u64) -> Self {
        let line = Self::of_item("scan_finished", b"");
        Self { data_size: Some(bytes), total_files: Some(files), ..line }
    }
}

/// Something that a rule leaves out.
#[derive(Debug, Serialize)]
pub struct ExcludedItem {
    message_type: &'static str,
    item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_hex: Option<String>,
    reason: String,
}

impl ExcludedItem {
    /// For this reason.
    pub fn of(path: &[u8], reason: String) -> Self {
        let (item, item_hex) = name(path);
        Self { message_type: "excluded_item", item, item_hex, reason }
    }
}

/// What is known of the packs that a restore needs.
#[derive(Debug, Serialize)]
pub struct ThawLine {
    message_type: &'static str,
    seconds_elapsed: u64,
    needed: CountDocument,
    readable: CountDocument,
    under_way: CountDocument,
    asked: CountDocument,
    frozen: CountDocument,
}

#[derive(Debug, Serialize)]
struct CountDocument {
    count: u64,
    size: u64,
}

impl CountDocument {
    const fn of(count: ThawCount) -> Self {
        Self { count: count.count, size: count.size_bytes }
    }
}

impl ThawLine {
    /// As they were counted.
    pub const fn of(counts: &ThawCounts) -> Self {
        Self {
            message_type: "thaw",
            seconds_elapsed: counts.waited.as_secs(),
            needed: CountDocument::of(counts.needed),
            readable: CountDocument::of(counts.readable),
            under_way: CountDocument::of(counts.under_way),
            asked: CountDocument::of(counts.asked),
            frozen: CountDocument::of(counts.frozen),
        }
    }
}
