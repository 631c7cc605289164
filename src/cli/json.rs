//! What `--json` prints: one type for each line and document, made here and nowhere else. `docs/json.md` describes them.
//!
//! What must hold: a key that restic has means what it means there; a line is one document, whatever a name holds; a
//! name that is not UTF-8 loses nothing: it is shown as everywhere in this program, and its bytes stand beside it.

mod check;
mod configuration;
mod copy;
mod diff;
mod dump;
mod find;
mod forget;
mod growth;
mod listing;
mod message;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mounted;
mod probe;
mod progress;
mod prune;
mod repository;
mod restore_database;
mod run;
mod sessions;
mod snapshot;
mod stats;
mod summary;
mod traffic;

pub use check::{CheckLine, DamageLine, StorageLine};
pub use configuration::{CheckedLine, ProblemLine, WrittenLine};
pub use copy::{CopiedLine, CopyLine, SkippedLine};
pub use diff::{ChangeLine, StatisticsLine};
pub use dump::DumpLine;
pub use find::{AbsenceLine, FoundLine, FoundSummary, HistorySummary, VersionLine};
pub use forget::{ForgottenDocument, TagSummary, TaggedLine};
pub use growth::GrowthDocument;
pub use listing::{NodeLine, SnapshotLine};
pub use message::{ErrorLine, ExitError, Message};
#[cfg(all(feature = "mount", target_os = "linux"))]
pub use mounted::MountedLine;
pub use probe::{ProbeLine, StorageKind};
pub use progress::{BackupStatus, CheckStatus, ExcludedItem, RestoreStatus, ThawLine, VerboseStatus};
pub use prune::{PruneLine, PrunePlanLine};
pub use repository::{InfoDocument, SlotChange, slots};
pub use restore_database::RestoreDatabaseLine;
pub use run::{JobPlanLine, LogLine, RunLine};
pub use sessions::{SessionEnded, sessions};
pub use snapshot::{GroupDocument, SnapshotDocument, SourceDocument};
pub use stats::StatsDocument;
pub use summary::{BackupLine, DryRunLine, Initialized, PagesWritten, RestoreLine};
pub use traffic::TrafficLine;

use std::io::Write;

use jiff::Timestamp as Instant;
use packstone::base::id::to_hex;
use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Timestamp, Wrap};
use serde::Serialize;

/// A line without its end.
pub fn line(value: &impl Serialize) -> String {
    // Keys are text and numbers are finite in all types here, so nothing can be refused.
    serde_json::to_string(value).unwrap_or_default()
}

/// Writes a line.
pub fn write_line(output: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(value)
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot encode the output", cause))?;
    writeln!(output, "{line}").wrap(|| "cannot write the output")
}

/// A name or a path as text; where it is not UTF-8, with its bytes in hexadecimal.
fn name(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (show_path(bytes), Some(to_hex(bytes))),
    }
}

/// Names as texts; where one is not UTF-8, the bytes of all in hexadecimal.
fn names<'n>(all: impl Iterator<Item = &'n [u8]> + Clone) -> (Vec<String>, Option<Vec<String>>) {
    let texts = all.clone().map(|bytes| name(bytes).0).collect();
    let is_odd = all.clone().any(|bytes| std::str::from_utf8(bytes).is_err());
    (texts, is_odd.then(|| all.map(to_hex).collect()))
}

/// A point in time as RFC 3339 in UTC with nanoseconds. A year of more than four digits, which no such text can have
/// but a file can, gives `@SECONDS.NANOSECONDS` since 1970.
fn time(time: Timestamp) -> String {
    let instant = Instant::new(time.seconds, i32::try_from(time.nanoseconds).unwrap_or_default());
    match instant.map(|instant| instant.strftime("%Y-%m-%dT%H:%M:%S").to_string()) {
        Ok(text) if !text.starts_with('-') => format!("{text}.{:09}Z", time.nanoseconds),
        _ => format!("@{}.{:09}", time.seconds, time.nanoseconds),
    }
}

/// The time that is so many milliseconds later.
fn later(time: Timestamp, milliseconds: u64) -> Timestamp {
    let nanoseconds = u64::from(time.nanoseconds) + milliseconds % 1000 * 1_000_000;
    let seconds = milliseconds / 1000 + nanoseconds / 1_000_000_000;
    Timestamp {
        seconds: time.seconds.saturating_add_unsigned(seconds),
        nanoseconds: u32::try_from(nanoseconds % 1_000_000_000).unwrap_or_default(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration of 285,000 years would lose a millisecond")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_keeps_its_bytes() {
        assert_eq!(name("a\n\\b städte".as_bytes()), ("a\n\\b städte".to_owned(), None));
        assert_eq!(name(b"a\\\xff\n"), ("a\\\\\\xff\\x0a".to_owned(), Some("615cff0a".to_owned())));
        let [plain, odd] = [b"/a".as_slice(), b"/\xff"];
        assert_eq!(names([plain].into_iter()), (vec!["/a".to_owned()], None));
        let expected = (vec!["/a".to_owned(), "/\\xff".to_owned()], Some(vec!["2f61".into(), "2fff".into()]));
        assert_eq!(names([plain, odd].into_iter()), expected);
    }

    #[test]
    fn times_have_all_their_digits() {
        let at = |seconds, nanoseconds| time(Timestamp { seconds, nanoseconds });
        assert_eq!(at(0, 5), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(at(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(at(253_402_200_000, 0), "9999-12-30T20:00:00.000000000Z");
        assert_eq!(at(i64::MAX, 1), "@9223372036854775807.000000001");
        assert_eq!(at(-70_000_000_000, 0), "@-70000000000.000000000");
        let later = |nanoseconds, milliseconds| {
            let Timestamp { seconds, nanoseconds } =
                later(Timestamp { seconds: 7, nanoseconds }, milliseconds);
            (seconds, nanoseconds)
        };
        assert_eq!(later(0, 0), (7, 0));
        assert_eq!(later(999_000_000, 1001), (9, 0));
        assert_eq!(later(1, 2500), (9, 500_000_001));
    }
}
