//! The lines that sum a restore up.

use packstone::base::size;
use packstone::ops::restore::RestoreSummary;

use crate::show;

/// The lines that sum a restore up, or say what one would do.
pub fn told(summary: &RestoreSummary, is_dry: bool, target: &str, seconds: u64) -> Vec<String> {
    let files = show::count(summary.files, "file");
    let directories = match summary.directories {
        1 => "1 directory".to_owned(),
        number => format!("{number} directories"),
    };
    let others = match summary.others {
        0 => String::new(),
        number => format!(", {}", show::count(number, "other item")),
    };
    let size = size::show(summary.bytes);
    let what = format!("{files}, {directories}{others}, {size} to {target}");
    let mut lines = vec![match is_dry {
        true => format!("would restore {what}"),
        false => format!("restored {what} in {}", show::duration(seconds)),
    }];
    let mut add = |what: &str, number, noun, more: &str| {
        if number > 0 {
            lines.push(format!("{what}: {}{more}", show::count(number, noun)));
        }
    };
    add("replaced", summary.replaced, "item", " among these");
    let written = format!(", {} written", size::show(summary.bytes_patched));
    add("changed in place", summary.files_patched, "file", &written);
    add("metadata only", summary.files_updated, "file", "");
    let kept = format!(", {}", size::show(summary.bytes_skipped));
    add("kept as before", summary.files_skipped, "item", &kept);
    let deleted = format!(", {}", size::show(summary.bytes_deleted));
    add("deleted", summary.items_deleted, "item", &deleted);
    add("read back as stored", summary.files_verified, "file", "");
    if is_dry && summary.bytes_to_fetch > 0 {
        let write = size::show(summary.bytes.saturating_add(summary.bytes_patched));
        lines.push(format!("{} to fetch, {write} to write", size::show(summary.bytes_to_fetch)));
    }
    if summary.findings > 0 {
        lines.push(format!("{} (see the warnings above)", show::count(summary.findings, "finding")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let summary = RestoreSummary { files: 2, directories: 1, bytes: 1536, ..RestoreSummary::default() };
        assert_eq!(told(&summary, false, "/t", 61), ["restored 2 files, 1 directory, 1.5 KiB to /t in 1:01"]);
        let summary = RestoreSummary { others: 1, findings: 1, ..RestoreSummary::default() };
        let expected = [
            "restored 0 files, 0 directories, 1 other item, 0 B to /t in 0:00",
            "1 finding (see the warnings above)",
        ];
        assert_eq!(told(&summary, false, "/t", 0), expected);
    }

    #[test]
    fn a_dry_run_says_what_would_be() {
        let summary = RestoreSummary {
            files: 1,
            bytes: 2048,
            replaced: 1,
            files_patched: 1,
            bytes_patched: 1024,
            files_updated: 2,
            files_skipped: 3,
            bytes_skipped: 1024,
            items_deleted: 4,
            bytes_deleted: 5,
            bytes_to_fetch: 512,
            ..RestoreSummary::default()
        };
        let expected = [
            "would restore 1 file, 0 directories, 2.0 KiB to t",
            "replaced: 1 item among these",
            "changed in place: 1 file, 1.0 KiB written",
            "metadata only: 2 files",
            "kept as before: 3 items, 1.0 KiB",
            "deleted: 4 items, 5 B",
            "512 B to fetch, 3.0 KiB to write",
        ];
        assert_eq!(told(&summary, true, "t", 5), expected);
    }
}
