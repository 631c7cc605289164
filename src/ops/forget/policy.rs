//! Retention: which snapshots of a group the rules of a policy keep, and why.
//!
//! What must hold: pure; each rule keeps by itself, and what any rule keeps is kept, so that one more rule or a larger
//! number never makes a snapshot go; what is kept is kept again. Of each period the newest snapshot is kept, and the
//! oldest of all as long as a rule has periods left, so that a history grows to its full length. Snapshots whose dates
//! cannot be right are kept, and stand for no period.

mod period;
mod window;

pub use period::Period;
pub use window::Window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, Zoned};

use crate::base::{SessionId, Timestamp};
use crate::ops::forget::dates::OddDate;
use crate::repository::SnapshotEntry;

/// Of how many periods the newest snapshots are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Of so many, the newest ones that have a snapshot.
    AtMost(u32),
    /// Of all.
    Unlimited,
}

/// What is kept; the union of what each rule keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest snapshots of so many periods.
    pub counts: BTreeMap<Period, Count>,
    /// The newest snapshot of every period in the time before the group's newest snapshot.
    pub windows: BTreeMap<Period, Window>,
    /// Snapshots that have all tags of one of these sets; an empty set means those without tags.
    pub tags: Vec<Vec<String>>,
    /// Snapshots whose ids begin with one of these.
    pub ids: Vec<String>,
}

/// A snapshot that is kept, and why.
#[derive(Clone, Debug)]
pub struct Kept<'l> {
    /// The snapshot.
    pub entry: &'l SnapshotEntry,
    /// What each rule that keeps it says.
    pub reasons: Vec<String>,
}

/// What a policy makes of a group.
#[derive(Clone, Debug, Default)]
pub struct Judged<'l> {
    /// What stays, oldest first.
    pub kept: Vec<Kept<'l>>,
    /// What goes, oldest first.
    pub removed: Vec<&'l SnapshotEntry>,
}

impl Policy {
    /// Whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        let keeps_some = |count: &Count| *count != Count::AtMost(0);
        !self.counts.values().any(keeps_some)
            && self.windows.values().all(Window::is_zero)
            && self.tags.is_empty()
            && self.ids.is_empty()
    }

    /// Judges a group. Periods are those of a time zone.
    pub fn judge<'l>(
        &self,
        group: &[&'l SnapshotEntry],
        odd: &BTreeMap<SessionId, OddDate>,
        zone: &TimeZone,
    ) -> Judged<'l> {
        let mut group = group.to_vec();
        let order = |entry: &SnapshotEntry| {
            let snapshot = &entry.snapshot;
            (snapshot.time, snapshot.generation, snapshot.sequence, entry.id)
        };
        group.sort_by_key(|entry| std::cmp::Reverse(order(entry)));
        let mut reasons: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
        for entry in &group {
            reasons.insert(entry.id, self.reasons_of_its_own(entry, odd));
        }
        let steady: Vec<(SessionId, Zoned)> = group
            .iter()
            .filter(|entry| !odd.contains_key(&entry.id))
            .map(|entry| (entry.id, zoned(entry.snapshot.time, zone)))
            .collect();
        for (id, reason) in self.of_periods(&steady) {
            reasons.entry(id).or_default().push(reason);
        }
        let mut judged = Judged::default();
        for entry in group.into_iter().rev() {
            match reasons.remove(&entry.id) {
                Some(reasons) if !reasons.is_empty() => judged.kept.push(Kept { entry, reasons }),
                _ => judged.removed.push(entry),
            }
        }
        judged
    }

    /// Why a snapshot is kept whatever others there are.
    fn reasons_of_its_own(&self, entry: &SnapshotEntry, odd: &BTreeMap<SessionId, OddDate>) -> Vec<String> {
        let mut reasons: Vec<String> =
            odd.get(&entry.id).map(|odd| odd.words().to_owned()).into_iter().collect();
        if self.ids.iter().any(|beginning| entry.id.hex().starts_with(beginning)) {
            reasons.push("id".into());
        }
        for wanted in &self.tags {
            let tags = &entry.snapshot.tags;
            let has_all =
                if wanted.is_empty() { tags.is_empty() } else { wanted.iter().all(|tag| tags.contains(tag)) };
            if has_all {
                reasons.push(format!("has tags [{}]", wanted.join(", ")));
            }
        }
        reasons
    }

    /// What the rules of periods keep of snapshots, newest first.
    fn of_periods(&self, steady: &[(SessionId, Zoned)]) -> Vec<(SessionId, String)> {
        let windows = || self.windows.iter().filter(|(_, window)| !window.is_zero());
        let mut rules = Vec::new();
        for (_, window) in windows().filter(|(period, _)| **period == Period::Each) {
            let words = format!("within {window}");
            rules.push(Rule {
                period: Period::Each,
                count: Count::Unlimited,
                reached: within(window, steady),
                words,
            });
        }
        for (period, count) in &self.counts {
            let words = format!("{} snapshot", period.word());
            rules.push(Rule { period: *period, count: *count, reached: steady.len(), words });
        }
        for (period, window) in windows().filter(|(period, _)| **period != Period::Each) {
            let words = format!("{} within {window}", period.word());
            rules.push(Rule {
                period: *period,
                count: Count::Unlimited,
                reached: within(window, steady),
                words,
            });
        }
        rules.iter().flat_map(|rule| rule.keep(steady)).collect()
    }
}

/// One rule of periods.
struct Rule {
    period: Period,
    count: Count,
    /// So many of the newest snapshots are judged.
    reached: usize,
    /// What it says of a snapshot that it keeps.
    words: String,
}

impl Rule {
    /// What it keeps of snapshots, newest first, and why.
    fn keep(&self, steady: &[(SessionId, Zoned)]) -> Vec<(SessionId, String)> {
        let mut left = match self.count {
            Count::AtMost(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Count::Unlimited => usize::MAX,
        };
        let mut kept = Vec::new();
        let mut met = BTreeSet::new();
        for (position, (id, moment)) in steady.iter().enumerate().take(self.reached) {
            if left == 0 {
                break;
            }
            if self.period.slot(moment).is_none_or(|slot| met.insert(slot)) {
                left -= 1;
                kept.push((*id, self.words.clone()));
            } else if position + 1 == steady.len() {
                kept.push((*id, format!("oldest {}", self.words)));
            }
        }
        kept
    }
}

/// How many of snapshots, newest first, a window before the newest reaches.
fn within(window: &Window, steady: &[(SessionId, Zoned)]) -> usize {
    let Some((_, newest)) = steady.first() else { return 0 };
    match window.begin(newest) {
        Some(begin) => steady.partition_point(|(_, moment)| *moment > begin),
        None => steady.len(),
    }
}

/// A moment in a time zone; the first or last that there is a date for, if there is none.
fn zoned(time: Timestamp, zone: &TimeZone) -> Zoned {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or_default();
    let nearest = if time.seconds < 0 { Instant::MIN } else { Instant::MAX };
    Instant::new(time.seconds, nanoseconds).unwrap_or(nearest).to_zoned(zone.clone())
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.iter().filter(|(_, count)| **count != Count::AtMost(0));
        let mut parts: Vec<String> =
            counts.map(|(period, count)| format!("{count} {}", period.word())).collect();
        for (period, window) in self.windows.iter().filter(|(_, window)| !window.is_zero()) {
            let word = if *period == Period::Each { "all" } else { period.word() };
            parts.push(format!("{word} within {window}"));
        }
        parts.extend(self.tags.iter().map(|tags| format!("tags [{}]", tags.join(", "))));
        parts.extend(self.ids.iter().map(|id| format!("id {id}")));
        formatter.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(count) => count.fmt(formatter),
            Self::Unlimited => formatter.write_str("unlimited"),
        }
    }
}

#[cfg(test)]
mod tests;
