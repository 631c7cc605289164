//! Unit tests of dates that cannot be right.

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

fn odd(entries: &[SnapshotEntry]) -> Vec<(u8, OddDate)> {
    odd_dates(entries, NOW).into_iter().map(|(id, odd)| (id.0[0], odd)).collect()
}

#[test]
fn the_future_is_odd_and_contradicts_nobody() {
    assert_eq!(
        odd(&made(&[100, 1_000_060, 1_000_061, 900_000, 950_000])),
        [(1, OddDate::OutOfOrder), (2, OddDate::Future)]
    );
    assert_eq!(odd(&made(&[100, i64::MAX, 900_000])), [(1, OddDate::Future)]);
    assert_eq!(odd(&made(&[i64::MIN, 100])), []);
}

#[test]
fn who_contradicts_the_others_is_odd() {
    let numbers =
        |seconds: &[i64]| odd(&made(seconds)).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(&[100, 200, 200, 300]), [0; 0]);
    assert_eq!(numbers(&[1000, 2000, 3000, 0, 4000]), [3]);
    assert_eq!(numbers(&[1000, 9000, 2000, 3000]), [1]);
    // Which of the two is wrong cannot be told.
    assert_eq!(numbers(&[1000, 3000, 2000]), [1, 2]);
    assert_eq!(numbers(&[3000, 2000, 1000]), [0, 1, 2]);
    // Runs that began nearly together.
    assert_eq!(numbers(&[1000, 1060, 1000, 2000]), [0; 0]);
    assert_eq!(numbers(&[1000, 1061, 1000, 2000]), [1, 2]);
    assert_eq!(numbers(&[]), [0; 0]);
}

#[test]
fn hosts_have_clocks_of_their_own() {
    let mut entries = made(&[1000, 9000, 2000, 3000]);
    entries[1].snapshot.host = "other".into();
    assert_eq!(odd(&entries), []);
}

#[test]
fn a_copy_is_judged_by_the_generations_around_it() {
    let mut entries = made(&[1000, 2000, 3000, 4000]);
    let origin = Origin { repository: RepositoryId([0; 16]), snapshot: SessionId([9; 16]), time: NOW };
    // Tagged anew after the others were made: its sequence is the highest.
    entries[1].snapshot.sequence = 9;
    entries[1].snapshot.origin = Some(origin);
    assert_eq!(odd(&entries), []);
    entries[1].snapshot.time.seconds = 0;
    assert_eq!(odd(&entries), [(1, OddDate::OutOfOrder)]);
    entries[1].snapshot.time.seconds = 3500;
    assert_eq!(odd(&entries), [(1, OddDate::OutOfOrder)]);
    entries[1].snapshot.paths.clear();
    assert_eq!(odd(&entries), [], "another history");
    entries[1].snapshot.time.seconds = i64::MAX;
    assert_eq!(odd(&entries), [(1, OddDate::Future)]);
}

/// All longest parts that do not go back, by trying all parts.
fn in_every_longest(seconds: &[i64]) -> Vec<bool> {
    let parts = (0_u32..1 << seconds.len()).filter(|part| {
        let taken: Vec<i64> =
            (0..seconds.len()).filter(|at| part >> at & 1 == 1).map(|at| seconds[at]).collect();
        taken.is_sorted()
    });
    let parts: Vec<u32> = parts.collect();
    let longest = parts.iter().map(|part| part.count_ones()).max().unwrap();
    let common =
        parts.iter().filter(|part| part.count_ones() == longest).fold(u32::MAX, |common, part| common & part);
    (0..seconds.len()).map(|at| common >> at & 1 == 1).collect()
}

#[test]
fn the_fast_way_finds_what_trying_all_finds() {
    // All lists of six of four times that lie far apart.
    for list in 0..4_usize.pow(6) {
        let seconds: Vec<i64> = (0..6).map(|at| [0, 1000, 2000, 3000][list / 4_usize.pow(at) % 4]).collect();
        let expected: Vec<bool> = in_every_longest(&seconds)
            .iter()
            .enumerate()
            .map(|(at, is_common)| {
                let before = seconds[..at].iter().any(|other| *other > seconds[at]);
                let after = seconds[at + 1..].iter().any(|other| *other < seconds[at]);
                (before || after) && !is_common
            })
            .collect();
        assert_eq!(out_of_order(&seconds), expected, "{seconds:?}");
    }
}
