//! Dates that cannot be right: in the future, or before the date of a snapshot that was made earlier.
//!
//! What must hold: whether a date is odd is asked of all snapshots, not of a part of them. One more snapshot makes no
//! other date less odd, so that one with an odd date, which is kept and stands for no period, makes no snapshot go.

use std::collections::BTreeMap;

use crate::base::{SessionId, Timestamp};
use crate::repository::{GroupKey, Grouping, SnapshotEntry};

/// Clocks of one host and this one may differ by so much.
const TOLERANCE_SECONDS: i64 = 60;

/// Why a date cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddDate {
    /// It has not come yet.
    Future,
    /// It is before that of this snapshot, which was made earlier; one of both dates is wrong.
    Before(SessionId),
}

impl OddDate {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Future => "dated in the future",
            Self::Before(_) => "dated before an earlier one",
        }
    }
}

/// The snapshots whose dates cannot be right, of all that are visible.
pub fn odd_dates(snapshots: &[SnapshotEntry], now: Timestamp) -> BTreeMap<SessionId, OddDate> {
    let mut odd = BTreeMap::new();
    let mut hosts: BTreeMap<&str, Vec<&SnapshotEntry>> = BTreeMap::new();
    let mut histories: BTreeMap<GroupKey, Vec<&SnapshotEntry>> = BTreeMap::new();
    for entry in snapshots {
        if entry.snapshot.time.seconds > now.seconds.saturating_add(TOLERANCE_SECONDS) {
            odd.insert(entry.id, OddDate::Future);
            continue;
        }
        if !is_copy(entry) {
            hosts.entry(&entry.snapshot.host).or_default().push(entry);
        }
        histories.entry(Grouping::HISTORY.key_of(&entry.snapshot)).or_default().push(entry);
    }
    for mut of_host in hosts.into_values() {
        of_host.sort_by_key(|entry| (entry.snapshot.sequence, entry.snapshot.time, entry.id));
        let mut newest = None;
        for entry in of_host {
            compare(newest, entry, &mut odd);
            newest = newer(newest, entry);
        }
    }
    // What was made from another snapshot has that one's date and generation, and was made later: its sequence tells
    // nothing, its generation where it belongs.
    for mut history in histories.into_values() {
        history.sort_by_key(|entry| (entry.snapshot.generation, entry.snapshot.time, entry.id));
        let (mut newest, mut newest_copy) = (None, None);
        for entry in history {
            compare(if is_copy(entry) { newest } else { newest_copy }, entry, &mut odd);
            newest = newer(newest, entry);
            if is_copy(entry) {
                newest_copy = newer(newest_copy, entry);
            }
        }
    }
    odd
}

const fn is_copy(entry: &SnapshotEntry) -> bool {
    entry.snapshot.origin.is_some()
}

/// Compares a snapshot with the newest of those that were made before it.
fn compare(newest: Option<&SnapshotEntry>, entry: &SnapshotEntry, odd: &mut BTreeMap<SessionId, OddDate>) {
    let limit_seconds = entry.snapshot.time.seconds.saturating_add(TOLERANCE_SECONDS);
    if let Some(newest) = newest.filter(|newest| newest.snapshot.time.seconds > limit_seconds) {
        odd.entry(entry.id).or_insert(OddDate::Before(newest.id));
    }
}

fn newer<'l>(newest: Option<&'l SnapshotEntry>, entry: &'l SnapshotEntry) -> Option<&'l SnapshotEntry> {
    Some(newest.filter(|newest| newest.snapshot.time >= entry.snapshot.time).unwrap_or(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ContentName, RepositoryId};
    use crate::format::snapshot::{Origin, Snapshot};

    const NOW: Timestamp = Timestamp { seconds: 1_000_000, nanoseconds: 0 };

    /// Snapshots of one host in order of making: when they say that they were made.
    fn made(seconds: &[i64]) -> Vec<SnapshotEntry> {
        let entry = |(number, seconds): (u8, &i64)| {
            let snapshot = Snapshot {
                time: Timestamp { seconds: *seconds, nanoseconds: 0 },
                sequence: u64::from(number) + 1,
                generation: u64::from(number) + 1,
                origin: None,
                ..crate::format::snapshot::tests::snapshot()
            };
            SnapshotEntry { id: SessionId([number; 16]), stored_hash: ContentName([0; 32]), snapshot }
        };
        (0..).zip(seconds).map(entry).collect()
    }

    fn before(number: u8) -> OddDate {
        OddDate::Before(SessionId([number; 16]))
    }

    fn odd(entries: &[SnapshotEntry]) -> Vec<(u8, OddDate)> {
        odd_dates(entries, NOW).into_iter().map(|(id, odd)| (id.0[0], odd)).collect()
    }

    #[test]
    fn the_future_is_odd_and_makes_nothing_else_odd() {
        assert_eq!(odd(&made(&[100, 1_000_061, 900_000, 950_000])), [(1, OddDate::Future)]);
        assert_eq!(odd(&made(&[100, i64::MAX, 900_000])), [(1, OddDate::Future)]);
        assert_eq!(odd(&made(&[i64::MIN, 100, 1_000_060])), []);
    }

    #[test]
    fn what_is_dated_before_an_earlier_one_is_odd() {
        assert_eq!(odd(&made(&[100, 200, 200, 300])), []);
        assert_eq!(odd(&made(&[1000, 2000, 0, 100, 4000])), [(2, before(1)), (3, before(1))]);
        assert_eq!(odd(&made(&[1000, 9000, 2000, 3000, 10_000])), [(2, before(1)), (3, before(1))]);
        assert_eq!(odd(&made(&[5000, i64::MIN])), [(1, before(0))]);
        // Runs that began nearly together.
        assert_eq!(odd(&made(&[1000, 1060, 1000, 2000])), []);
        assert_eq!(odd(&made(&[1000, 1061, 1000, 2000])), [(2, before(1))]);
        assert_eq!(odd(&[]), []);
        // The same number: beside each other.
        let mut entries = made(&[5000, 1000]);
        entries[1].snapshot.sequence = 1;
        assert_eq!(odd(&entries), []);
    }

    #[test]
    fn hosts_have_clocks_of_their_own() {
        let mut entries = made(&[1000, 9000, 2000, 3000]);
        entries[1].snapshot.host = "other".into();
        assert_eq!(odd(&entries), []);
    }

    #[test]
    fn a_copy_stands_where_its_generation_says() {
        let mut entries = made(&[1000, 2000, 3000, 4000]);
        let origin = Origin { repository: RepositoryId([0; 16]), snapshot: SessionId([9; 16]), time: NOW };
        // It got other tags after the others were made: its sequence is the highest.
        entries[1].snapshot.sequence = 9;
        entries[1].snapshot.origin = Some(origin);
        assert_eq!(odd(&entries), []);
        entries[1].snapshot.time.seconds = 0;
        assert_eq!(odd(&entries), [(1, before(0))]);
        entries[1].snapshot.time.seconds = 5000;
        assert_eq!(odd(&entries), [(2, before(1)), (3, before(1))]);
        entries[1].snapshot.paths.clear();
        assert_eq!(odd(&entries), [], "another history");
        entries[1].snapshot.time.seconds = i64::MAX;
        assert_eq!(odd(&entries), [(1, OddDate::Future)]);
    }
}
