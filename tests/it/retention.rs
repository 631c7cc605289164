//! Retention over thousands of random histories: what must hold of every policy, and of forgetting itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use packstone::base::{ChunkId, ContentName, ErrorKind, RepositoryId, SessionId, Silent, Timestamp};
use packstone::format::config::Parameters;
use packstone::format::snapshot::{Origin, Snapshot, Statistics};
use packstone::format::tombstone::ForgetReason;
use packstone::ops::forget::{
    Count, Forgetter, OddDate, Period, Policy, Retention, Window, forget, odd_dates,
};
use packstone::repository::{Grouping, SnapshotEntry, SnapshotFilter, SnapshotList};
use packstone::storage::memory::Memory;

use crate::engine::{back_up, give_back, init};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// 2026-11-21, when the youngest of these histories end.
const NOW: Timestamp = Timestamp { seconds: 1_795_219_200, nanoseconds: 0 };
const CASES: u64 = 1000;

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone")
}

fn entry(random: &mut Random, seconds: i64) -> SnapshotEntry {
    let snapshot = Snapshot {
        time: Timestamp { seconds, nanoseconds: 0 },
        duration_milliseconds: 0,
        host: (*random.pick(&["a", "a", "a", "b"])).to_owned(),
        user: None,
        job: None,
        tags: ["x", "y"].into_iter().filter(|_| random.chance(1, 9)).map(str::to_owned).collect(),
        description: None,
        paths: vec![b"/srv".to_vec()],
        excludes: Vec::new(),
        program: "tests".into(),
        parent: None,
        generation: 0,
        origin: None,
        tree: ChunkId([0; 32]),
        total_nodes: 0,
        total_bytes: 0,
        sources: Vec::new(),
        findings: 0,
        expected_next_seconds: None,
        sequence: 0,
        previous: None,
        statistics: Statistics::default(),
        is_selective: false,
        kept: Vec::new(),
    };
    let id = random.bytes(16).try_into().expect("16 bytes");
    SnapshotEntry { id: SessionId(id), stored_hash: ContentName([0; 32]), snapshot }
}

/// Numbers snapshots in the given order, which is that of making.
fn number(history: &mut [SnapshotEntry]) {
    for (number, entry) in (1..).zip(history) {
        entry.snapshot.sequence = number;
        entry.snapshot.generation = number;
    }
}

/// A history without a wrong date, in order of making.
fn history(random: &mut Random) -> Vec<SnapshotEntry> {
    let step_max = *random.pick(&[600, 7200, 100_000, 3_000_000]);
    let mut seconds = NOW.seconds;
    let mut history: Vec<SnapshotEntry> = (0..random.range(1..40))
        .map(|_| {
            let made = entry(random, seconds);
            seconds -= i64::try_from(random.below(step_max)).expect("small");
            made
        })
        .collect();
    history.reverse();
    number(&mut history);
    history
}

fn policy(random: &mut Random) -> Policy {
    let mut policy = Policy::default();
    for period in Period::ALL {
        if random.chance(1, 4) {
            let count = if random.chance(1, 9) { Count::Unlimited } else { Count::AtMost(small(random)) };
            policy.counts.insert(period, count);
        }
        if random.chance(1, 7) {
            policy.windows.insert(period, window(random));
        }
    }
    if random.chance(1, 5) {
        policy.tags.push(random.pick(&[vec!["x".into()], vec!["x".into(), "y".into()], Vec::new()]).clone());
    }
    if random.chance(1, 5) {
        policy.ids.push((*random.pick(&["0", "1", "f"])).to_owned());
    }
    policy
}

fn small(random: &mut Random) -> u32 {
    u32::try_from(random.below(7)).expect("small")
}

fn window(random: &mut Random) -> Window {
    let unit = random.pick(&["h", "d", "m", "y"]);
    Window::parse(&format!("{}{unit}", 1 + random.below(40))).expect("a window")
}

/// What is kept of a history that is one group.
fn kept(policy: &Policy, history: &[SnapshotEntry]) -> BTreeSet<SessionId> {
    kept_beside(policy, history, &odd_dates(history, NOW))
}

fn kept_beside(
    policy: &Policy,
    history: &[SnapshotEntry],
    odd: &BTreeMap<SessionId, OddDate>,
) -> BTreeSet<SessionId> {
    let group: Vec<&SnapshotEntry> = history.iter().collect();
    policy.judge(&group, odd, &berlin()).kept.iter().map(|kept| kept.entry.id).collect()
}

#[test]
fn what_is_kept_is_kept_again() {
    let mut random = Random::new(1);
    for case in 0..CASES {
        let (history, policy) = (history(&mut random), policy(&mut random));
        let once = kept(&policy, &history);
        let left: Vec<SnapshotEntry> =
            history.iter().filter(|entry| once.contains(&entry.id)).cloned().collect();
        assert_eq!(kept(&policy, &left), once, "case {case}: {policy}");
    }
}

#[test]
fn a_larger_number_makes_nothing_go() {
    let mut random = Random::new(2);
    for case in 0..CASES {
        let (history, policy) = (history(&mut random), policy(&mut random));
        let before = kept(&policy, &history);
        for period in Period::ALL {
            let mut more = policy.clone();
            let count = match more.counts.get(&period) {
                None => Count::AtMost(small(&mut random)),
                Some(Count::AtMost(count)) => *random.pick(&[Count::AtMost(count + 1), Count::Unlimited]),
                Some(Count::Unlimited) => Count::Unlimited,
            };
            more.counts.insert(period, count);
            assert!(kept(&more, &history).is_superset(&before), "case {case}: {policy}, then {more}");
        }
    }
}

#[test]
fn rules_keep_what_each_of_them_keeps() {
    let mut random = Random::new(3);
    for case in 0..CASES {
        let (history, policy) = (history(&mut random), policy(&mut random));
        let mut parts: Vec<Policy> = Vec::new();
        let alone = Policy::default;
        parts.extend(
            policy
                .counts
                .iter()
                .map(|(period, count)| Policy { counts: BTreeMap::from([(*period, *count)]), ..alone() }),
        );
        parts.extend(
            policy
                .windows
                .iter()
                .map(|(period, window)| Policy { windows: BTreeMap::from([(*period, *window)]), ..alone() }),
        );
        parts.push(Policy { tags: policy.tags.clone(), ..alone() });
        parts.push(Policy { ids: policy.ids.clone(), ..alone() });
        let union: BTreeSet<SessionId> = parts.iter().flat_map(|part| kept(part, &history)).collect();
        assert_eq!(kept(&policy, &history), union, "case {case}: {policy}");
    }
}

#[test]
fn good_dates_are_not_odd() {
    let mut random = Random::new(4);
    for case in 0..CASES {
        let mut history = history(&mut random);
        // Some got other tags since: in their place stands what was made last.
        let origin = Origin { repository: RepositoryId([0; 16]), snapshot: SessionId([0; 16]), time: NOW };
        for (late, entry) in (1000..).zip(&mut history) {
            if random.chance(1, 5) {
                entry.snapshot.sequence = late;
                entry.snapshot.origin = Some(origin.clone());
            }
        }
        assert_eq!(odd_dates(&history, NOW), BTreeMap::new(), "case {case}");
    }
}

#[test]
fn a_wrong_date_makes_nothing_go() {
    let mut random = Random::new(5);
    let mut odd_ones = 0;
    for case in 0..CASES {
        let policy = policy(&mut random);
        let mut before = history(&mut random);
        // Also where there are wrong dates already.
        for _ in 0..random.below(3) {
            before = with_wrong_date(&mut random, &before).0;
        }
        let (after, wrong) = with_wrong_date(&mut random, &before);
        let odd = odd_dates(&after, NOW);
        if !odd.contains_key(&wrong) {
            continue;
        }
        odd_ones += 1;
        let (kept_before, kept_after) = (kept(&policy, &before), kept_beside(&policy, &after, &odd));
        assert!(kept_after.is_superset(&kept_before), "case {case}: {policy}");
        assert!(kept_after.contains(&wrong), "case {case}: {policy}");
    }
    assert!(odd_ones > CASES / 2, "only {odd_ones} of {CASES} dates were odd");
}

/// One more snapshot, anywhere in the order of making, with any date.
fn with_wrong_date(random: &mut Random, history: &[SnapshotEntry]) -> (Vec<SnapshotEntry>, SessionId) {
    let width = *random.pick(&[10_000, 1_000_000, 100_000_000]);
    let seconds = NOW.seconds + i64::try_from(random.below(2 * width)).expect("small")
        - i64::try_from(width).expect("small");
    let wrong = entry(random, seconds);
    let mut after = history.to_vec();
    after.insert(random.range(0..history.len() + 1), wrong.clone());
    number(&mut after);
    (after, wrong.id)
}

fn retention(policy: Policy) -> Retention {
    Retention {
        policy,
        grouping: Grouping { host: true, paths: true, ..Grouping::default() },
        filter: SnapshotFilter::default(),
        zone: TimeZone::UTC,
        may_remove_all: false,
    }
}

#[test]
fn a_group_is_not_left_with_wrong_dates_alone() {
    let mut random = Random::new(6);
    let mut visible: Vec<SnapshotEntry> =
        [NOW.seconds - 2, NOW.seconds - 1, NOW.seconds + 1_000_000].map(|at| entry(&mut random, at)).into();
    number(&mut visible);
    for entry in &mut visible {
        entry.snapshot.host = "a".into();
        entry.snapshot.tags.clear();
    }
    let tags = vec![vec!["t".to_owned()]];
    let of_tag = Policy { tags: tags.clone(), ..Policy::default() };
    let list = SnapshotList { visible, damaged: Vec::new() };
    let refused = retention(of_tag.clone()).plan(&list, NOW).expect_err("it keeps none");
    assert_eq!(refused.kind(), ErrorKind::Failed);
    assert!(refused.to_string().contains("2 snapshots of host a of /srv"), "{refused}");
    let wrong_one = tagged(&list, 2, &tags[0]);
    let refused = retention(of_tag.clone()).plan(&wrong_one, NOW).expect_err("it keeps a wrong date alone");
    assert_eq!(refused.kind(), ErrorKind::Failed);
    let good_one = tagged(&wrong_one, 0, &tags[0]);
    let plan = retention(of_tag.clone()).plan(&good_one, NOW).expect("a plan");
    assert_eq!(plan.removed().collect::<Vec<_>>(), [good_one.visible[1].id]);
    assert_eq!(plan.odd.len(), 1);
    let host = SnapshotFilter { hosts: vec!["a".into()], ..SnapshotFilter::default() };
    let all = Retention { may_remove_all: true, filter: host, ..retention(of_tag) };
    assert_eq!(
        all.plan(&list, NOW).expect("a plan").removed().count(),
        2,
        "what is dated wrong is named or stays"
    );
    let without_rules = Retention { policy: Policy::default(), ..all };
    assert_eq!(without_rules.plan(&list, NOW).expect("a plan").removed().count(), 3);
    let of_nothing = Retention { filter: SnapshotFilter::default(), ..without_rules };
    assert_eq!(of_nothing.plan(&list, NOW).expect_err("it would be all").kind(), ErrorKind::Usage);
    let nothing = retention(Policy::default()).plan(&list, NOW).expect_err("no rule");
    assert_eq!(nothing.kind(), ErrorKind::Usage);
    let absent = Policy { ids: vec!["zz".into()], ..Policy::default() };
    assert_eq!(retention(absent).plan(&list, NOW).expect_err("no such id").kind(), ErrorKind::NotFound);
}

/// The same snapshots, one of them with tags.
fn tagged(list: &SnapshotList, position: usize, tags: &[String]) -> SnapshotList {
    let mut visible = list.visible.clone();
    visible[position].snapshot.tags = tags.to_vec();
    SnapshotList { visible, damaged: Vec::new() }
}

#[test]
fn what_is_not_forgotten_comes_back() {
    let scratch = Scratch::new();
    let repository = init(Arc::new(Memory::new()), Parameters::tiny(), None);
    let source = scratch.join("source");
    std::fs::create_dir(&source).expect("a folder");
    let mut snapshots = Vec::new();
    for seed in 0..4 {
        generate(seed, &source.join(format!("part-{seed}")), Size::Small);
        let expected = dump(&source);
        snapshots.push((back_up(&repository, &source).id, expected));
    }
    let policy = Policy { counts: BTreeMap::from([(Period::Each, Count::AtMost(2))]), ..Policy::default() };
    let list = repository.snapshots().expect("snapshots");
    let removed: Vec<SessionId> =
        retention(policy).plan(&list, Timestamp::now()).expect("a plan").removed().collect();
    assert_eq!(removed, snapshots[..2].iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let forgetter = Forgetter { host: "tests".into(), user: None, program: "tests".into() };
    let tombstone = forgetter.tombstone(ForgetReason::Policy);
    assert_eq!(forget(&repository, &removed, &tombstone, &Silent).expect("forgotten"), 2);
    assert_eq!(forget(&repository, &removed, &tombstone, &Silent).expect("forgotten before"), 0);
    let left = repository.snapshots().expect("snapshots").visible;
    assert_eq!(left.len(), 2);
    for ((id, expected), entry) in snapshots[2..].iter().zip(&left) {
        assert_eq!(entry.id, *id);
        let target = scratch.join(&id.hex());
        give_back(&repository, *id, Some(&source), &target);
        assert_same(expected, &dump(&target));
    }
}
