//! Dates that cannot be right: in the future, or out of the order in which a host's snapshots were made.
//!
//! What must hold: whether a date is odd is asked of all snapshots, not of a part of them. One more odd date makes no
//! other date less odd, so that it makes no snapshot go: a snapshot with an odd date is kept and stands for no period.
//! Where two dates contradict each other and nothing tells which of them is wrong, both are odd.

use std::collections::BTreeMap;

use crate::base::{SessionId, Timestamp};
use crate::repository::{GroupKey, Grouping, SnapshotEntry};

/// Clocks of one host and this one may differ by so much.
const TOLERANCE_SECONDS: i64 = 60;

/// Why a date cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddDate {
    /// It has not come yet.
    Future,
    /// It does not fit the order in which the snapshots of its host were made.
    OutOfOrder,
}

impl OddDate {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Future => "dated in the future",
            Self::OutOfOrder => "dated out of order",
        }
    }
}

/// The snapshots whose dates cannot be right, of all that are visible.
pub fn odd_dates(snapshots: &[SnapshotEntry], now: Timestamp) -> BTreeMap<SessionId, OddDate> {
    let mut odd = BTreeMap::new();
    let latest_seconds = now.seconds.saturating_add(TOLERANCE_SECONDS);
    let (future, past): (Vec<_>, Vec<_>) =
        snapshots.iter().partition(|entry| entry.snapshot.time.seconds > latest_seconds);
    odd.extend(future.into_iter().map(|entry| (entry.id, OddDate::Future)));
    // What was made from another snapshot has that one's date, and was made later: its sequence tells nothing.
    let (copies, first): (Vec<_>, Vec<_>) =
        past.into_iter().partition(|entry| entry.snapshot.origin.is_some());
    let mut hosts: BTreeMap<&str, Vec<&SnapshotEntry>> = BTreeMap::new();
    for entry in first {
        hosts.entry(&entry.snapshot.host).or_default().push(entry);
    }
    let mut steady: BTreeMap<GroupKey, Vec<(u64, i64)>> = BTreeMap::new();
    for mut of_host in hosts.into_values() {
        of_host.sort_by_key(|entry| (entry.snapshot.sequence, entry.snapshot.time, entry.id));
        let seconds: Vec<i64> = of_host.iter().map(|entry| entry.snapshot.time.seconds).collect();
        for (entry, is_odd) in of_host.into_iter().zip(out_of_order(&seconds)) {
            if is_odd {
                odd.insert(entry.id, OddDate::OutOfOrder);
            } else {
                let group = steady.entry(Grouping::HISTORY.key_of(&entry.snapshot)).or_default();
                group.push((entry.snapshot.generation, entry.snapshot.time.seconds));
            }
        }
    }
    for entry in copies {
        let group = steady.get(&Grouping::HISTORY.key_of(&entry.snapshot)).map(Vec::as_slice);
        let (generation, seconds) = (entry.snapshot.generation, entry.snapshot.time.seconds);
        let contradicts = |other: &(u64, i64)| {
            (other.0 < generation && is_well_before(seconds, other.1))
                || (other.0 > generation && is_well_before(other.1, seconds))
        };
        if group.unwrap_or_default().iter().any(contradicts) {
            odd.insert(entry.id, OddDate::OutOfOrder);
        }
    }
    odd
}

const fn is_well_before(one: i64, other: i64) -> bool {
    one < other.saturating_sub(TOLERANCE_SECONDS)
}

/// Which times of a list, in order of making, contradict others by more than clocks may differ, and are not in every
/// longest part of the list in which time does not go back.
fn out_of_order(seconds: &[i64]) -> Vec<bool> {
    let contradicted: Vec<bool> = {
        let highest_before = running(seconds.iter().copied(), i64::MIN, i64::max);
        let mut lowest_after = running(seconds.iter().rev().copied(), i64::MAX, i64::min);
        lowest_after.reverse();
        let bounds = highest_before.iter().zip(&lowest_after).zip(seconds);
        bounds
            .map(|((highest, lowest), at)| is_well_before(*at, *highest) || is_well_before(*lowest, *at))
            .collect()
    };
    if !contradicted.contains(&true) {
        return contradicted;
    }
    // So many have their place up to each, and from each on, in a part that has it.
    let up_to = lengths(seconds.iter().copied());
    let mut from = lengths(seconds.iter().rev().map(|at| at.saturating_neg()));
    from.reverse();
    let longest = up_to.iter().copied().max().unwrap_or_default();
    let is_in_one = |(up_to, from): (&usize, &usize)| up_to + from == longest + 1;
    let mut choices: BTreeMap<usize, usize> = BTreeMap::new();
    for (up_to, _) in up_to.iter().zip(&from).filter(|pair| is_in_one(*pair)) {
        *choices.entry(*up_to).or_default() += 1;
    }
    let is_in_every = |pair: (&usize, &usize)| is_in_one(pair) && choices.get(pair.0) == Some(&1);
    let pairs = up_to.iter().zip(&from).zip(contradicted);
    pairs.map(|(pair, is_contradicted)| is_contradicted && !is_in_every(pair)).collect()
}

/// For each value, what those before it come to.
fn running(values: impl Iterator<Item = i64>, first: i64, join: fn(i64, i64) -> i64) -> Vec<i64> {
    let mut joined = first;
    let joined_before = |value| {
        let before = joined;
        joined = join(joined, value);
        before
    };
    values.map(joined_before).collect()
}

/// For each value, the length of the longest part of the list that ends with it and does not go back.
fn lengths(values: impl Iterator<Item = i64>) -> Vec<usize> {
    // The lowest value with which a part of each length ends.
    let mut ends: Vec<i64> = Vec::new();
    let length = |value| {
        let before = ends.partition_point(|end| *end <= value);
        match ends.get_mut(before) {
            Some(end) => *end = value,
            None => ends.push(value),
        }
        before + 1
    };
    values.map(length).collect()
}

#[cfg(test)]
mod tests;
