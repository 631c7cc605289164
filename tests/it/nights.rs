//! Many nights of backup, forget and prune, a thousand with larger sizes: what is left behind, and what a night costs at
//! the end.
//!
//! What must hold: objects do not become more from month to month, but for one small collection a night in which packs
//! went; a backup of an unchanged tree on the machine that did the last one lists what is new and reads nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use packstone::base::{SessionId, Silent, Timestamp};
use packstone::format::config::Parameters;
use packstone::format::tombstone::ForgetReason;
use packstone::ops::backup::BackupOptions;
use packstone::ops::forget::{Count, Forgetter, Period, Policy, Retention, forget};
use packstone::ops::prune::{PruneOptions, prune};
use packstone::repository::{Grouping, Repository, SnapshotFilter};
use packstone::storage::memory::Memory;

use crate::engine::{back_up_with, give_back, init, open, options};
use crate::storage::{Call, Deed, Director, Sort, World};
use crate::support::dump::{assert_same, dump};
use crate::support::need::is_full;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

const NIGHTS: u32 = 150;
const NIGHTS_FULL: u32 = 1000;
const FILES: u64 = 60;
const DAY_SECONDS: i64 = 86_400;

/// Counts the calls of each sort in each folder.
#[derive(Debug, Default)]
struct Counter(Mutex<BTreeMap<(Sort, String), u64>>);

impl Counter {
    fn take(&self) -> BTreeMap<(Sort, String), u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Director for Counter {
    fn decide(&self, call: &Call) -> Deed {
        let folder = call.name.split('/').next().unwrap_or_default().to_owned();
        *self.0.lock().unwrap().entry((call.sort, folder)).or_default() += 1;
        Deed::Do
    }
}

fn counts(memory: &Memory) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in memory.names() {
        let folder = name.as_str().split('/').next().unwrap_or_default().to_owned();
        *counts.entry(folder).or_default() += 1;
    }
    counts
}

fn total(memory: &Memory) -> u64 {
    memory.names().iter().map(|name| memory.bytes(name).unwrap().len() as u64).sum()
}

/// Changes some files as a day does.
fn change(scratch: &Scratch, random: &mut Random) {
    for _ in 0..3 {
        let file = scratch.join(&format!("data/{}/{}", random.below(6), random.below(FILES)));
        let length = random.range(0..20_000);
        let content = random.bytes(length);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
}

fn forget_old(repository: &Repository) {
    let counts = [(Period::Day, 7), (Period::Week, 4), (Period::Month, 12), (Period::Year, 3)];
    let retention = Retention {
        policy: Policy {
            counts: counts.into_iter().map(|(period, count)| (period, Count::AtMost(count))).collect(),
            ..Policy::default()
        },
        grouping: Grouping { host: true, paths: true, ..Grouping::default() },
        filter: SnapshotFilter::default(),
        zone: TimeZone::UTC,
        may_remove_all: false,
    };
    let list = repository.snapshots().unwrap();
    let removed: Vec<SessionId> = retention.plan(&list, Timestamp::now()).unwrap().removed().collect();
    let forgetter = Forgetter { host: "tests".into(), user: None, program: "tests".into() };
    forget(repository, &removed, &forgetter.tombstone(ForgetReason::Policy), &Silent).unwrap();
}

#[test]
fn after_many_nights_a_night_costs_what_the_first_did() {
    let nights = if is_full() { NIGHTS_FULL } else { NIGHTS };
    let (scratch, cache) = (Scratch::new(), Scratch::new());
    let mut random = Random::new(4);
    let world = World::new(Memory::new());
    let memory = world.memory().clone();
    let repository = init(world.calm(), Parameters::tiny(), Some(cache.path()));
    let first = Timestamp::now().earlier(u32::try_from(i64::from(nights) * DAY_SECONDS).unwrap());
    let mut after_year = None;
    let mut last = None;
    for night in 0..nights {
        change(&scratch, &mut random);
        let time = Timestamp { seconds: first.seconds + i64::from(night) * DAY_SECONDS, nanoseconds: 0 };
        let options = BackupOptions { time: Some(time), ..options() };
        last = Some(back_up_with(&repository, &scratch.join("data"), &options).id);
        forget_old(&repository);
        let options = PruneOptions { workers: 1, ..PruneOptions::new(options.host) };
        let summary = prune(&repository, &options, &Silent).unwrap();
        assert!(summary.waits_for.is_empty(), "{summary:?}");
        if night == nights * 2 / 5 {
            after_year = Some((counts(&memory), total(&memory)));
        }
    }
    let (year, year_bytes) = after_year.unwrap();
    let (end, end_bytes) = (counts(&memory), total(&memory));
    println!("early {year:?}, {year_bytes} bytes; after {nights} nights {end:?}, {end_bytes} bytes");
    assert!(!end.contains_key("sessions"), "{end:?}");
    assert!(end["snapshots"] <= 7 + 4 + 12 + 3, "{end:?}");
    assert!(end["index"] <= 16, "{end:?}");
    if is_full() {
        assert!(end["packs"] <= year["packs"] * 3 / 2 + 8, "{year:?} {end:?}");
    }
    assert!(end["collections"] <= 4 * nights as usize);
    // A new process on the same machine, and nothing has changed.
    let counter = Arc::new(Counter::default());
    let counted = open(world.handle(counter.clone()), Some(cache.path()));
    let opening = counter.take();
    back_up_with(&counted, &scratch.join("data"), &options());
    let calls = counter.take();
    println!("opening: {opening:?}");
    println!("a warm unchanged backup after {nights} nights: {calls:?}");
    let of =
        |sort: Sort| calls.iter().filter(|((of, _), _)| *of == sort).map(|(_, count)| count).sum::<u64>();
    // The folder for temporary files may have changed, of which the snapshot has the metadata: then a page is new, and the
    // index is asked for it, of which the last prune may have written runs anew.
    let is_new = calls.contains_key(&(Sort::Put, "packs".to_owned()));
    let is_read = |(sort, folder): &&(Sort, String)| {
        matches!(sort, Sort::Get | Sort::Range) && !(is_new && folder == "index")
    };
    assert_eq!(calls.keys().find(is_read), None, "nothing is read: {calls:?}");
    let expected = if is_new { (4, 5) } else { (3, 3) };
    assert_eq!((of(Sort::List), of(Sort::Put)), expected, "{calls:?}");
    // A machine that knows nothing gives back what was there.
    let stranger = open(world.calm(), None);
    give_back(&stranger, last.unwrap(), Some(&scratch.join("data")), &scratch.join("restored"));
    assert_same(&dump(&scratch.join("data")), &dump(&scratch.join("restored")));
}
