//! Unit tests of retention: explicit dates, what is kept of them, and why.

use super::*;
use crate::base::ContentName;
use crate::format::snapshot::Snapshot;

/// Berlin, whatever the machine knows of time zones.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone")
}

/// Snapshots of these times with an offset (or without: in UTC), numbered from 0.
fn history(times: &[&str]) -> Vec<SnapshotEntry> {
    let entry = |(number, text): (u8, &&str)| {
        let text = if text.len() > 16 { (*text).to_owned() } else { format!("{text}+00:00") };
        let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M%:z", &text).expect("a time");
        let seconds = time.to_timestamp().expect("an instant").as_second();
        let snapshot = Snapshot {
            time: Timestamp { seconds, nanoseconds: 0 },
            sequence: u64::from(number) + 1,
            tags: Vec::new(),
            origin: None,
            ..crate::format::snapshot::tests::snapshot()
        };
        SnapshotEntry { id: SessionId([number; 16]), stored_hash: ContentName([0; 32]), snapshot }
    };
    (0..).zip(times).map(entry).collect()
}

fn counts(rules: &[(Period, u32)]) -> Policy {
    let counts = rules.iter().map(|(period, count)| (*period, Count::AtMost(*count))).collect();
    Policy { counts, ..Policy::default() }
}

fn window(period: Period, text: &str) -> Policy {
    let windows = BTreeMap::from([(period, Window::parse(text).expect("a window"))]);
    Policy { windows, ..Policy::default() }
}

/// The numbers of what is kept.
fn kept_in(policy: &Policy, times: &[&str], zone: &TimeZone) -> Vec<u8> {
    let entries = history(times);
    let group: Vec<_> = entries.iter().collect();
    let judged = policy.judge(&group, &BTreeMap::new(), zone);
    assert_eq!(judged.kept.len() + judged.removed.len(), times.len());
    judged.kept.iter().map(|kept| kept.entry.id.0[0]).collect()
}

fn kept(policy: &Policy, times: &[&str]) -> Vec<u8> {
    kept_in(policy, times, &TimeZone::UTC)
}

/// What each snapshot is kept for, by number.
fn reasons(policy: &Policy, entries: &[SnapshotEntry]) -> Vec<(u8, String)> {
    let group: Vec<_> = entries.iter().collect();
    let judged = policy.judge(&group, &BTreeMap::new(), &TimeZone::UTC);
    judged.kept.iter().map(|kept| (kept.entry.id.0[0], kept.reasons.join("; "))).collect()
}

#[test]
fn the_newest_of_each_period_is_kept() {
    let times = [
        "2026-01-01 10:00",
        "2026-01-01 10:30",
        "2026-01-02 09:00",
        "2026-01-02 23:59",
        "2026-01-03 00:00",
        "2026-01-05 12:00",
    ];
    assert_eq!(kept(&counts(&[(Period::Each, 2)]), &times), [4, 5]);
    assert_eq!(kept(&counts(&[(Period::Hour, 4)]), &times), [2, 3, 4, 5]);
    assert_eq!(kept(&counts(&[(Period::Day, 1)]), &times), [5]);
    // Days without a snapshot are not counted.
    assert_eq!(kept(&counts(&[(Period::Day, 3)]), &times), [3, 4, 5]);
    assert_eq!(kept(&counts(&[(Period::Day, 4)]), &times), [1, 3, 4, 5]);
    assert_eq!(kept(&counts(&[(Period::Year, 1)]), &times), [5]);
    assert_eq!(kept(&counts(&[(Period::Day, 0)]), &times), [0; 0]);
    let unlimited =
        Policy { counts: BTreeMap::from([(Period::Hour, Count::Unlimited)]), ..Policy::default() };
    assert_eq!(kept(&unlimited, &times), [0, 1, 2, 3, 4, 5], "0 as the oldest");
}

#[test]
fn the_oldest_is_kept_while_a_rule_has_periods_left() {
    let entries = history(&["2026-01-01 10:00", "2026-01-01 11:00", "2026-01-01 12:00", "2026-01-02 10:00"]);
    let expected = |words: &[(u8, &str)]| -> Vec<(u8, String)> {
        words.iter().map(|(number, words)| (*number, (*words).to_owned())).collect()
    };
    let words = |rules: &[(Period, u32)]| reasons(&counts(rules), &entries);
    assert_eq!(words(&[(Period::Day, 2)]), expected(&[(2, "daily snapshot"), (3, "daily snapshot")]));
    assert_eq!(
        words(&[(Period::Day, 3)]),
        expected(&[(0, "oldest daily snapshot"), (2, "daily snapshot"), (3, "daily snapshot")])
    );
    assert_eq!(
        words(&[(Period::Each, 1), (Period::Week, 2), (Period::Year, 2)]),
        expected(&[
            (0, "oldest weekly snapshot; oldest yearly snapshot"),
            (3, "last snapshot; weekly snapshot; yearly snapshot")
        ])
    );
    assert_eq!(
        reasons(&window(Period::Each, "22h"), &entries),
        expected(&[(3, "within 22h")]),
        "not the limit"
    );
    assert_eq!(
        reasons(&window(Period::Each, "23h"), &entries),
        expected(&[(2, "within 23h"), (3, "within 23h")])
    );
    assert_eq!(
        reasons(&window(Period::Day, "7d"), &entries),
        expected(&[(0, "oldest daily within 7d"), (2, "daily within 7d"), (3, "daily within 7d")])
    );
}

#[test]
fn hours_are_those_of_the_clock_and_a_repeated_one_is_two() {
    let hourly = counts(&[(Period::Hour, 9)]);
    // On 25 October the clock goes from 02:59 back to 02:00.
    let repeated = [
        "2026-10-25 01:30+02:00",
        "2026-10-25 02:10+02:00",
        "2026-10-25 02:50+02:00",
        "2026-10-25 02:10+01:00",
        "2026-10-25 02:50+01:00",
        "2026-10-25 03:10+01:00",
    ];
    assert_eq!(kept_in(&hourly, &repeated, &berlin()), [0, 2, 4, 5]);
    // On 29 March the clock goes from 01:59 to 03:00.
    let skipped = [
        "2026-03-29 01:10+01:00",
        "2026-03-29 01:59+01:00",
        "2026-03-29 03:00+02:00",
        "2026-03-29 03:59+02:00",
    ];
    assert_eq!(kept_in(&counts(&[(Period::Hour, 2)]), &skipped, &berlin()), [1, 3]);
    // Half an hour is repeated, so that one hour of the clock is one and a half.
    let lord_howe = TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").expect("a time zone");
    let times = [
        "2026-04-05 01:10+11:00",
        "2026-04-05 01:50+11:00",
        "2026-04-05 01:40+10:30",
        "2026-04-05 02:00+10:30",
    ];
    assert_eq!(kept_in(&counts(&[(Period::Hour, 3)]), &times, &lord_howe), [1, 2, 3]);
}

#[test]
fn days_are_from_midnight_to_midnight_whatever_their_length() {
    // 23 hours, then 25.
    let short = [
        "2026-03-28 23:59+01:00",
        "2026-03-29 00:00+01:00",
        "2026-03-29 23:59+02:00",
        "2026-03-30 00:00+02:00",
    ];
    assert_eq!(kept_in(&counts(&[(Period::Day, 3)]), &short, &berlin()), [0, 2, 3]);
    let long = [
        "2026-10-24 23:59+02:00",
        "2026-10-25 00:00+02:00",
        "2026-10-25 23:59+01:00",
        "2026-10-26 00:00+01:00",
    ];
    assert_eq!(kept_in(&counts(&[(Period::Day, 3)]), &long, &berlin()), [0, 2, 3]);
    // The same instants are other days elsewhere.
    let late = ["2026-01-01 23:30", "2026-01-02 00:30"];
    assert_eq!(kept(&counts(&[(Period::Day, 2)]), &late), [0, 1]);
    assert_eq!(
        kept_in(&counts(&[(Period::Month, 2)]), &["2026-01-31 23:30", "2026-02-01 00:30"], &berlin()),
        [0, 1]
    );
    assert_eq!(kept_in(&counts(&[(Period::Day, 1)]), &late, &berlin()), [1]);
    // A leap day is a day of its own, and belongs to its month.
    let leap = ["2024-02-28 12:00", "2024-02-29 12:00", "2024-03-01 12:00"];
    assert_eq!(kept(&counts(&[(Period::Day, 3)]), &leap), [0, 1, 2]);
    assert_eq!(kept(&counts(&[(Period::Month, 2)]), &leap), [1, 2]);
    // A month before 31 March is the last day of February.
    assert_eq!(
        kept(&window(Period::Each, "1m"), &["2026-02-28 12:00", "2026-03-01 12:00", "2026-03-31 12:00"]),
        [1, 2]
    );
}

#[test]
fn weeks_are_those_of_iso_8601() {
    let weekly = counts(&[(Period::Week, 9)]);
    // Sunday ends a week. 2026 has week 53, which ends on 3 January 2027.
    let times = [
        "2026-12-20 12:00",
        "2026-12-21 12:00",
        "2026-12-27 23:59",
        "2026-12-28 00:00",
        "2026-12-31 12:00",
        "2027-01-01 12:00",
        "2027-01-03 12:00",
        "2027-01-04 12:00",
    ];
    assert_eq!(kept(&weekly, &times), [0, 2, 6, 7]);
    // 30 December 2024 is of week 1 of 2025, and 1 January 2023 of week 52 of 2022.
    assert_eq!(kept(&weekly, &["2024-12-29 12:00", "2024-12-30 12:00", "2025-01-05 12:00"]), [0, 2]);
    assert_eq!(
        kept(&weekly, &["2022-12-26 12:00", "2023-01-01 12:00", "2023-01-02 12:00"]),
        [0, 1, 2],
        "0 as the oldest"
    );
    // The same number of a week in two years.
    assert_eq!(kept(&counts(&[(Period::Week, 2)]), &["2025-06-02 12:00", "2026-06-01 12:00"]), [0, 1]);
}

#[test]
fn quarters_and_years_end_with_the_calendar() {
    let times = [
        "2025-03-31 23:59",
        "2025-04-01 00:00",
        "2025-06-30 23:59",
        "2025-12-31 23:59",
        "2026-01-01 00:00",
        "2026-03-31 12:00",
    ];
    assert_eq!(kept(&counts(&[(Period::Quarter, 4)]), &times), [0, 2, 3, 5]);
    assert_eq!(kept(&counts(&[(Period::Quarter, 2)]), &times), [3, 5]);
    assert_eq!(kept(&counts(&[(Period::Year, 2)]), &times), [3, 5]);
    assert_eq!(kept(&counts(&[(Period::Month, 3)]), &times), [3, 4, 5]);
    assert_eq!(kept(&window(Period::Quarter, "6m"), &times), [3, 5]);
    assert_eq!(kept(&window(Period::Year, "1y"), &times), [0, 3, 5], "0 as the oldest");
    assert_eq!(kept(&window(Period::Year, "11m"), &times), [3, 5]);
}

#[test]
fn windows_reach_back_from_the_newest_snapshot() {
    let times = ["2020-01-01 12:00", "2020-01-05 10:00", "2020-01-05 20:00", "2020-01-08 12:00"];
    assert_eq!(kept(&window(Period::Each, "4d"), &times), [1, 2, 3]);
    assert_eq!(kept(&window(Period::Day, "4d"), &times), [2, 3]);
    assert_eq!(kept(&window(Period::Each, "9999y"), &times), [0, 1, 2, 3]);
    assert_eq!(kept(&window(Period::Each, "1h"), &times), [3]);
    let both = Policy { windows: window(Period::Each, "1h").windows, ..counts(&[(Period::Year, 2)]) };
    let words = reasons(&both, &history(&times));
    assert_eq!(words[1], (3, "within 1h; yearly snapshot".to_owned()));
}

#[test]
fn tags_and_ids_keep_what_has_them() {
    let mut entries =
        history(&["2026-01-01 10:00", "2026-01-02 10:00", "2026-01-03 10:00", "2026-01-04 10:00"]);
    entries[0].snapshot.tags = vec!["a".into(), "b".into()];
    entries[1].snapshot.tags = vec!["a".into()];
    let tags =
        |sets: &[&[&str]]| sets.iter().map(|set| set.iter().map(|tag| (*tag).to_owned()).collect()).collect();
    let policy = Policy { tags: tags(&[&["a", "b"], &["a"]]), ids: vec!["0202".into()], ..Policy::default() };
    let expected = [(0, "has tags [a, b]; has tags [a]"), (1, "has tags [a]"), (2, "id")];
    assert_eq!(reasons(&policy, &entries), expected.map(|(number, words)| (number, words.to_owned())));
    let untagged = Policy { tags: tags(&[&[]]), ..Policy::default() };
    assert_eq!(reasons(&untagged, &entries).len(), 2);
    assert!(Policy::default().is_empty() && !policy.is_empty());
    assert!(counts(&[(Period::Day, 0)]).is_empty() && window(Period::Each, "0d").is_empty());
}

#[test]
fn what_has_an_odd_date_is_kept_and_takes_nothing() {
    let times =
        ["2026-01-01 10:00", "2026-01-02 10:00", "2026-01-03 10:00", "2999-01-01 10:00", "1970-01-01 00:00"];
    let entries = history(&times);
    let group: Vec<_> = entries.iter().collect();
    let odd = BTreeMap::from([
        (SessionId([3; 16]), OddDate::Future),
        (SessionId([4; 16]), OddDate::Before(SessionId([0; 16]))),
    ]);
    for (policy, expected) in
        [(counts(&[(Period::Each, 2)]), vec![4, 1, 2, 3]), (window(Period::Each, "1h"), vec![4, 2, 3])]
    {
        let judged = policy.judge(&group, &odd, &TimeZone::UTC);
        let kept: Vec<u8> = judged.kept.iter().map(|kept| kept.entry.id.0[0]).collect();
        assert_eq!(kept, expected);
        assert_eq!(judged.kept[0].reasons, ["dated before an earlier one"]);
        assert_eq!(judged.kept.last().unwrap().reasons, ["dated in the future"]);
    }
}

#[test]
fn a_policy_is_shown() {
    let mut policy = counts(&[(Period::Each, 3), (Period::Day, 7), (Period::Hour, 0)]);
    policy.counts.insert(Period::Year, Count::Unlimited);
    policy.windows = window(Period::Each, "2m").windows;
    policy.windows.extend(window(Period::Week, "1y").windows);
    policy.tags = vec![vec!["a".into(), "b".into()]];
    policy.ids = vec!["01".into()];
    let expected = "3 last, 7 daily, unlimited yearly, all within 2m, weekly within 1y, tags [a, b], id 01";
    assert_eq!(policy.to_string(), expected);
}
