//! What a run did, on one screen: a line for each source, and one for each thing that came after.
//!
//! What must hold: who reads it for ten seconds knows whether all is well, and if not, which source and why.

use std::fmt;

use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::size;
use packstone::format::snapshot::{SourceOutcome, SourceStatus, Statistic};
use packstone::job::{RetentionReport, RunReport, Step};
use packstone::ops::check::CheckSummary;

use crate::show;
use crate::table::{self, Column};

/// Longer messages are shortened, so that a line stays one.
const MESSAGE_CHARACTERS_MAX: usize = 100;

/// How a run ended that made its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Complete,
    /// Something could not be read.
    Partial,
    /// Something of the repository is damaged.
    Damaged,
    /// What comes after the snapshot is not all done.
    Incomplete,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Complete => "ok",
            Self::Partial => "partial",
            Self::Damaged => "damaged",
            Self::Incomplete => "incomplete",
        })
    }
}

fn check_of(report: &RunReport) -> Option<&CheckSummary> {
    report.check.as_ref().and_then(|step| step.result.as_ref().ok())
}

/// Whether its check found damage.
pub fn has_damage(report: &RunReport) -> bool {
    check_of(report).is_some_and(|check| check.damaged > 0)
}

/// How a run ended that made its snapshot.
pub fn status(report: &RunReport) -> Status {
    let check = check_of(report);
    if !report.failures().is_empty() {
        Status::Incomplete
    } else if has_damage(report) {
        Status::Damaged
    } else if report.backup.snapshot.findings > 0
        || check.is_some_and(|check| check.unreadable + check.frozen.count > 0)
    {
        Status::Partial
    } else {
        Status::Complete
    }
}

/// What a run did.
pub fn lines(job: &str, report: &RunReport, zone: &TimeZone) -> Vec<String> {
    let snapshot = &report.backup.snapshot;
    let rows: Vec<_> = by_name(&snapshot.sources).iter().map(|sources| row(sources, zone)).collect();
    let took = show::duration(report.backup_duration.as_secs());
    let id = report.backup.id.short();
    let first = match report.backup.is_skipped {
        true => format!("{job}: nothing changed since snapshot {id}; no snapshot was made"),
        false => format!("{job}: snapshot {id} saved in {took}"),
    };
    let number = |statistic| snapshot.statistics.0.get(&statistic).copied().unwrap_or_default();
    let [added, stored] = [Statistic::BytesAdded, Statistic::BytesStored].map(number).map(size::show);
    let files = show::count(snapshot.file_count(), "file");
    let bytes = size::show(snapshot.total_bytes);
    let mut lines = vec![first];
    let columns = [
        Column::Left("Source"),
        Column::Left("Status"),
        Column::Right("Size"),
        Column::Right("Time"),
        Column::Left("How"),
    ];
    lines.extend(table::lines(&columns, &rows).into_iter().map(|line| format!("  {line}")));
    lines.push(format!("{files}, {bytes}; added {added} ({stored} stored)"));
    lines.extend(after(report));
    lines
}

/// What came after the snapshot.
fn after(report: &RunReport) -> Vec<String> {
    let mut lines = Vec::new();
    for copy in &report.copies {
        if let Ok(copied) = &copy.copied.result {
            let count = show::count(copied.copied, "snapshot");
            lines.push(format!("copied {count} to {} ({} new)", copy.name, size::show(copied.stored_bytes)));
        }
        lines.extend(copy.retention.iter().filter_map(kept).map(|line| format!("{}: {line}", copy.name)));
    }
    lines.extend(report.retention.iter().filter_map(kept));
    for (id, source) in
        report.retention.iter().flat_map(|step| step.result.iter()).flat_map(|kept| &kept.held)
    {
        lines.push(format!("kept {} beyond the rules: the last good one of {source}", id.short()));
    }
    if let Some(Ok(pruned)) = report.prune.as_ref().map(|step| &step.result) {
        let (count, bytes) = (pruned.removed.count, pruned.removed.size_bytes);
        lines.push(format!("removed {} ({})", show::count(count, "pack"), size::show(bytes)));
    }
    if let Some(Ok(check)) = report.check.as_ref().map(|step| &step.result) {
        let read = size::show(check.read.size_bytes);
        let unreadable = check.unreadable + check.frozen.count;
        lines.push(match check.damaged {
            0 if unreadable > 0 => {
                let objects = show::count(unreadable, "object");
                format!("checked, {read} of contents read: {objects} could not be read")
            }
            0 => format!("checked, {read} of contents read: no damage"),
            count => format!("checked, {read} of contents read: {} DAMAGED", show::count(count, "object")),
        });
    }
    lines
}

fn kept(step: &Step<RetentionReport>) -> Option<String> {
    let report = step.result.as_ref().ok()?;
    Some(format!("kept {}, forgot {}", show::count(report.kept as u64, "snapshot"), report.removed.len()))
}

/// The statuses of each source together, in their order.
fn by_name(sources: &[SourceStatus]) -> Vec<Vec<&SourceStatus>> {
    let mut groups: Vec<Vec<&SourceStatus>> = Vec::new();
    for source in sources {
        match groups.iter_mut().find(|group| group.iter().any(|other| other.name == source.name)) {
            Some(group) => group.push(source),
            None => groups.push(vec![source]),
        }
    }
    groups
}

fn row(sources: &[&SourceStatus], zone: &TimeZone) -> Vec<String> {
    let worst = sources.iter().map(|source| source.outcome).max().unwrap_or_default();
    let has_any = sources.iter().any(|source| source.nodes > 0);
    // Of several paths one that is not there is no failure of all.
    let worst = if worst == SourceOutcome::Failed && sources.len() > 1 && has_any {
        SourceOutcome::Partial
    } else {
        worst
    };
    let bytes = sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.bytes));
    let milliseconds = sources.iter().map(|source| source.duration_milliseconds).max().unwrap_or_default();
    let word = match worst {
        SourceOutcome::Complete => "ok".to_owned(),
        other => other.word().to_uppercase(),
    };
    let name = sources.first().and_then(|source| source.name.clone()).unwrap_or_default();
    let size = if has_any { size::show(bytes) } else { "-".to_owned() };
    vec![name, word, size, show::duration(milliseconds / 1000), how(sources, zone)]
}

/// The beginning of a message; all of it was told, and stands in the snapshot.
fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// How it was read; what went wrong comes first.
fn how(sources: &[&SourceStatus], zone: &TimeZone) -> String {
    let mut parts = Vec::new();
    let findings = sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.findings));
    if let Some(message) = sources.iter().find_map(|source| source.message.as_ref()) {
        let more = match findings {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        parts.push(format!("{}{more}", shortened(&show_path(message.as_bytes()))));
    }
    if let Some(carried) = sources.iter().find_map(|source| source.carried) {
        let time = show::time(carried.time, zone);
        parts.push(format!("kept that of {time} (snapshot {})", carried.snapshot.short()));
    } else if let Some(consistency) = sources.iter().find_map(|source| source.consistency.as_ref()) {
        parts.push(show_path(consistency.as_bytes()));
    } else if parts.is_empty() {
        parts.push(match sources {
            [only] => show_path(&only.path),
            several => format!("{} paths", several.len()),
        });
    }
    parts.join("; ")
}
