//! `keep = { … }`: which snapshots of a job stay.
//!
//! What must hold: a key means what the flag `--keep-…` of `packstone forget` means; a rule that keeps nothing is
//! refused, for it would empty the repository.

use super::reader::Entry;
use super::{keys, values};
use crate::ops::forget::{Period, Policy};

const COUNTS: [(Period, &str); 7] = [
    (Period::Each, "last"),
    (Period::Hour, "hourly"),
    (Period::Day, "daily"),
    (Period::Week, "weekly"),
    (Period::Month, "monthly"),
    (Period::Quarter, "quarterly"),
    (Period::Year, "yearly"),
];

const WINDOWS: [(Period, &str); 7] = [
    (Period::Each, "within"),
    (Period::Hour, "within-hourly"),
    (Period::Day, "within-daily"),
    (Period::Week, "within-weekly"),
    (Period::Month, "within-monthly"),
    (Period::Quarter, "within-quarterly"),
    (Period::Year, "within-yearly"),
];

/// Reads a policy.
pub(super) fn read(entry: &Entry<'_>) -> Option<Policy> {
    let mut section = entry.section(keys::KEEP)?;
    let mut policy = Policy::default();
    let mut is_wrong = false;
    for (period, name) in COUNTS {
        let count = section.parsed(name, values::parse_count);
        is_wrong |= count.is_none() && section.has(name);
        policy.counts.extend(count.map(|count| (period, count)));
    }
    for (period, name) in WINDOWS {
        let window = section.parsed(name, values::parse_window);
        is_wrong |= window.is_none() && section.has(name);
        policy.windows.extend(window.map(|window| (period, window)));
    }
    // Each element is a set: "a,b" means those that have both.
    let words =
        |text: String| text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    policy.tags = section.texts("tags").into_iter().map(words).collect();
    section.finish();
    if policy.is_empty() && !is_wrong {
        entry.refuse("keeps nothing: every snapshot of the job would be forgotten");
    }
    Some(policy)
}
