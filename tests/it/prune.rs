//! Pruning as users see it: what is forgotten goes, what is needed stays, whoever else is at work.

use std::sync::Arc;
use std::time::Duration;

use packstone::base::host::Host;
use packstone::base::{Result, SessionId, Silent, Timestamp};
use packstone::format::config::Parameters;
use packstone::format::tombstone::{ForgetReason, Tombstone};
use packstone::ops::prune::{Consent, PruneOptions, PruneSummary, prepare, prune};
use packstone::ops::tag::{TagChange, TagOptions, Tagged, tag};
use packstone::repository::{MaxUnused, Repository, SessionOptions};
use packstone::storage::memory::Memory;
use packstone::storage::{Body, ObjectName, Storage};

use crate::engine::{back_up, give_back, init, open, snapshot};
use crate::storage::copy;
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

/// A prune that waits for nobody.
pub fn options() -> PruneOptions {
    PruneOptions { wait: Duration::ZERO, workers: 2, ..PruneOptions::new(Host::current()) }
}

/// Forgets a snapshot.
pub fn forget(repository: &Repository, id: SessionId) {
    let tombstone = Tombstone {
        time: Timestamp::now(),
        host: "tests".into(),
        user: None,
        reason: ForgetReason::Named,
        replaced_by: None,
        program: "tests".into(),
    };
    repository.forget(id, &tombstone).unwrap();
}

fn run(repository: &Repository, options: &PruneOptions) -> PruneSummary {
    prune(repository, options, &Silent).unwrap()
}

fn count(memory: &Memory, folder: &str) -> usize {
    memory.names().iter().filter(|name| name.as_str().starts_with(folder)).count()
}

/// A repository of two snapshots of different trees that share a part.
fn two_snapshots(scratch: &Scratch) -> (Memory, Repository, [SessionId; 2]) {
    for (seed, name) in [(1, "a"), (2, "b")] {
        generate(seed, &scratch.join(name), Size::Small);
        generate(3, &scratch.join(name).join("shared"), Size::Small);
    }
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let ids = ["a", "b"].map(|name| back_up(&repository, &scratch.join(name)).id);
    (memory, repository, ids)
}

#[test]
fn what_is_forgotten_goes_in_the_same_run_and_what_is_needed_comes_back() {
    let scratch = Scratch::new();
    let (memory, repository, [first, second]) = two_snapshots(&scratch);
    let before = run(&repository, &options());
    assert_eq!((before.removed.count, before.repacked), (0, 0), "{before:?}");
    forget(&repository, first);
    let strict = PruneOptions {
        plan: packstone::repository::PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None },
        ..options()
    };
    let packs = count(&memory, "packs/");
    let summary = run(&repository, &strict);
    assert!(summary.removed.count > 0 && summary.waits_for.is_empty(), "{summary:?}");
    assert!(count(&memory, "packs/") < packs);
    assert_eq!(summary.records, 1);
    // Nothing but the snapshot, its tombstone's, and what says how the rest went.
    assert_eq!(
        [count(&memory, "sessions/"), count(&memory, "snapshots/"), count(&memory, "forgotten/")],
        [0, 1, 1]
    );
    let again = run(&repository, &strict);
    assert_eq!((again.removed.count, again.repacked, again.plan.unused_bytes), (0, 0, 0), "{again:?}");
    let reopened = open(Arc::new(memory), None);
    give_back(&reopened, second, Some(&scratch.join("b")), &scratch.join("restored"));
    assert_same(&dump(&scratch.join("b")), &dump(&scratch.join("restored")));
}

#[test]
fn the_last_snapshot_leaves_nothing() {
    let scratch = Scratch::new();
    let (memory, repository, ids) = two_snapshots(&scratch);
    ids.iter().for_each(|id| forget(&repository, *id));
    let prepared = prepare(&repository, &options(), &Silent).unwrap();
    assert_eq!(prepared.plan().needed_bytes, 0);
    assert_eq!(prepared.plan().remove, prepared.plan().packs);
    assert_eq!(prepared.alarms(&[]).len(), 2, "each was the newest of its paths");
    assert_eq!(prepared.alarms(&ids[..1]).len(), 1, "who asks forgot one of them");
    prepared.run(&options(), &Silent).unwrap();
    assert_eq!([count(&memory, "packs/"), count(&memory, "snapshots/")], [0, 0]);
    back_up(&repository, &scratch.join("a"));
}

/// Somebody else forgets a snapshot once packs are condemned.
#[derive(Debug)]
struct ForgottenMeanwhile {
    memory: Memory,
    snapshot: SessionId,
}

impl Storage for ForgottenMeanwhile {
    packstone::storage::forward_storage!(
        self => self.memory; get, get_range, list, delete, barrier, capabilities, location
    );

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.memory.put_if_absent(name, body)?;
        if name.folder() == "collections" {
            forget(&open(Arc::new(self.memory.clone()), None), self.snapshot);
        }
        Ok(())
    }
}

#[test]
fn what_others_forget_while_it_runs_needs_agreement_too() {
    let scratch = Scratch::new();
    let (memory, repository, [first, second]) = two_snapshots(&scratch);
    forget(&repository, first);
    for consent in [Consent::Needed(Vec::new()), Consent::Needed(vec![second]), Consent::Given] {
        let memory = copy(&memory);
        let storage = ForgottenMeanwhile { memory: memory.clone(), snapshot: second };
        let repository = open(Arc::new(storage), None);
        let options = PruneOptions { consent: consent.clone(), ..options() };
        let summary = prepare(&repository, &options, &Silent).unwrap().run(&options, &Silent).unwrap();
        assert!(summary.removed.count > 0, "what was told at the beginning goes: {summary:?}");
        if consent != Consent::Needed(Vec::new()) {
            assert_eq!((summary.alarms.len(), summary.records), (0, 2), "{consent:?}");
            continue;
        }
        assert_eq!((summary.alarms.len(), summary.records), (1, 0), "{summary:?}");
        assert_eq!(count(&memory, "snapshots/"), 2);
        let next = prepare(&repository, &options, &Silent).unwrap();
        assert_eq!(next.alarms(&[]).len(), 2, "the next one asks");
        assert!(next.plan().remove.count > 0 && next.plan().remove == next.plan().packs);
        assert_eq!(next.run(&options, &Silent).unwrap().records, 2);
        assert_eq!(count(&memory, "packs/"), 0);
    }
}

#[test]
fn a_running_session_keeps_what_it_may_use_and_the_next_prune_goes_on() {
    let scratch = Scratch::new();
    let (memory, repository, [first, _]) = two_snapshots(&scratch);
    forget(&repository, first);
    let running = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let packs = count(&memory, "packs/");
    let summary = run(&repository, &options());
    assert_eq!((summary.removed.count, summary.waits_for.len()), (0, 1), "{summary:?}");
    assert!(summary.condemned > 0);
    assert!(count(&memory, "packs/") >= packs);
    // Neither stands in the other's way.
    let third = back_up(&repository, &scratch.join("a")).id;
    running.close().unwrap();
    let summary = run(&repository, &options());
    assert!(summary.removed.count > 0 && summary.waits_for.is_empty(), "{summary:?}");
    give_back(&repository, third, Some(&scratch.join("a")), &scratch.join("restored"));
    assert_same(&dump(&scratch.join("a")), &dump(&scratch.join("restored")));
}

#[test]
fn many_small_packs_and_runs_become_few() {
    let scratch = Scratch::new();
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::default(), None);
    let mut last = None;
    for day in 0..12_u32 {
        std::fs::create_dir_all(scratch.join("a")).unwrap();
        std::fs::write(scratch.join(&format!("a/{day}")), day.to_string().repeat(3000)).unwrap();
        last = Some(back_up(&repository, &scratch.join("a")).id);
    }
    let (packs, runs) = (count(&memory, "packs/"), count(&memory, "index/"));
    assert!(packs >= 24 && runs >= 12);
    let summary = run(&repository, &options());
    assert!(summary.repacked >= 24, "{summary:?}");
    assert_eq!([count(&memory, "packs/"), count(&memory, "index/")], [2, 1], "{summary:?}");
    give_back(&repository, last.unwrap(), Some(&scratch.join("a")), &scratch.join("restored"));
    assert_same(&dump(&scratch.join("a")), &dump(&scratch.join("restored")));
}

#[test]
fn what_went_is_condemned_once() {
    let scratch = Scratch::new();
    let (memory, repository, ids) = two_snapshots(&scratch);
    ids.into_iter().for_each(|id| forget(&repository, id));
    run(&repository, &options());
    run(&repository, &options());
    assert_eq!(count(&memory, "collections/"), 2, "one condemned set and its verdict");
}

#[test]
fn rows_of_packs_that_went_stand_in_no_readers_way() {
    let scratch = Scratch::new();
    let (memory, repository, [_, second]) = two_snapshots(&scratch);
    // As a prune that was stopped before it came to the index: copies are there, and what they were made of is gone.
    let copies = memory.clone();
    let before: Vec<_> =
        memory.names().into_iter().filter(|name| name.as_str().starts_with("index/")).collect();
    let before: Vec<_> = before.iter().map(|name| (name.clone(), memory.bytes(name).unwrap())).collect();
    let strict = PruneOptions {
        plan: packstone::repository::PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None },
        ..options()
    };
    forget(&repository, repository.snapshots().unwrap().visible[0].id);
    run(&repository, &strict);
    before.into_iter().for_each(|(name, bytes)| drop(copies.replace(&name, bytes)));
    let reopened = open(Arc::new(memory), None);
    give_back(&reopened, second, Some(&scratch.join("b")), &scratch.join("restored"));
    assert_same(&dump(&scratch.join("b")), &dump(&scratch.join("restored")));
    back_up(&reopened, &scratch.join("a"));
    run(&reopened, &strict);
}

#[test]
fn a_pack_of_another_size_than_the_index_says_goes_when_nobody_needs_it() {
    let scratch = Scratch::new();
    let (memory, repository, ids) = two_snapshots(&scratch);
    let pack = memory.names().into_iter().find(|name| name.as_str().starts_with("packs/")).unwrap();
    let whole = memory.bytes(&pack).unwrap();
    memory.replace(&pack, whole.slice(..whole.len() - 1));
    ids.into_iter().for_each(|id| forget(&repository, id));
    run(&repository, &options());
    assert_eq!(count(&memory, "packs/"), 0);
}

#[test]
fn other_tags_make_no_snapshot_newer_and_none_forgotten() {
    let scratch = Scratch::new();
    let (_, repository, [first, _]) = two_snapshots(&scratch);
    let newer = back_up(&repository, &scratch.join("a")).id;
    let alarms = || prepare(&repository, &options(), &Silent).unwrap().alarms(&[]);
    let mut oldest = first;
    for number in 0..3 {
        let options = TagOptions {
            change: TagChange { add: vec![number.to_string()], ..TagChange::default() },
            host: Host::current(),
            session: SessionOptions::default(),
            user: None,
        };
        let entry = snapshot(&repository, oldest);
        let tell = &mut |tagged: &Tagged| oldest = tagged.new;
        assert_eq!(tag(&repository, &[&entry], &options, &Silent, tell).unwrap(), 1);
        assert_eq!(alarms(), [], "each is replaced by one that is replaced, and the last one is there");
    }
    forget(&repository, newer);
    let alarms = alarms();
    assert_eq!(alarms.len(), 1);
    assert_eq!((alarms[0].forgotten, alarms[0].left, alarms[0].has_lost_newest), (1, 1, true));
}
