//! What `dump` wrote to a file.

use std::time::Duration;

use packstone::ops::dump::DumpSummary;
use serde::Serialize;

/// What was written.
#[derive(Debug, Serialize)]
pub struct DumpLine {
    message_type: &'static str,
    seconds_elapsed: u64,
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
    without_xattrs: u64,
    links_as_copies: u64,
    findings: u64,
    damaged: u64,
}

impl DumpLine {
    /// Of a dump.
    pub const fn of(summary: &DumpSummary, elapsed: Duration) -> Self {
        Self {
            message_type: "summary",
            seconds_elapsed: elapsed.as_secs(),
            files: summary.files,
            dirs: summary.directories,
            others: summary.others,
            bytes: summary.bytes,
            without_xattrs: summary.without_xattrs,
            links_as_copies: summary.links_as_copies,
            findings: summary.findings,
            damaged: summary.damaged,
        }
    }
}
