//! Copies of snapshots in other repositories: what comes back of them, what a second copy does, and what becomes of them
//! while something goes wrong with the source.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use packstone::base::{ErrorKind, Result, SessionId, Silent};
use packstone::format::config::{Bundling, Chunking, Parameters};
use packstone::format::slot::PasswordCost;
use packstone::format::snapshot::Statistic;
use packstone::ops::copy::{CopyEvent, CopyOptions, CopySummary, copy};
use packstone::repository::{InitOptions, NewSlot, Repository, SnapshotEntry};
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::{back_up, give_back, in_memory, init, key, snapshot, statistic, tree_of};
use crate::faults::scenario::is_sound;
use crate::process::{self, BackUp, dead_host, open};
use crate::storage::{Call, Deed, Director, Interposed, Sort, World, copy as same_objects};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::witness::{PARAMETERS, Sources};

/// A new repository that has what names and cuts chunks from another.
pub fn init_sibling(storage: Arc<dyn Storage>, other: &Repository) -> Repository {
    let options = InitOptions {
        parameters: Parameters::default(),
        slots: vec![NewSlot { credential: key(), label: String::new() }],
        password_cost: PasswordCost::RECOMMENDED,
        cache_folder: None,
    };
    Repository::init_sibling(storage, other, options).expect("a new repository")
}

/// One thread, and an index run behind every pack.
pub fn options() -> CopyOptions {
    let mut options = CopyOptions { workers: 1, ..CopyOptions::new(dead_host()) };
    options.session.checkpoint_interval = Duration::ZERO;
    options
}

/// What a copy told.
#[derive(Debug, Default)]
struct Told {
    copied: Vec<(SessionId, SessionId)>,
    present: Vec<(SessionId, SessionId)>,
    unreadable: Vec<(SessionId, String)>,
}

impl Told {
    fn listen(&mut self, event: &CopyEvent<'_>) {
        match event {
            CopyEvent::Copied(entry, id, _) => self.copied.push((entry.id, *id)),
            CopyEvent::WouldCopy(entry) => self.copied.push((entry.id, entry.id)),
            CopyEvent::Present(entry, id) => self.present.push((entry.id, *id)),
            CopyEvent::Unreadable(entry, error) => self.unreadable.push((entry.id, error.chain().join(": "))),
        }
    }
}

/// Copies all snapshots.
fn copy_with(source: &Repository, target: &Repository, options: &CopyOptions) -> Result<(CopySummary, Told)> {
    let visible = source.snapshots()?.visible;
    let mut told = Told::default();
    let snapshots: Vec<&SnapshotEntry> = visible.iter().collect();
    let summary = copy(source, target, &snapshots, options, &Silent, &mut |event| told.listen(event))?;
    let counts = [told.copied.len(), told.present.len(), told.unreadable.len()].map(|count| count as u64);
    assert_eq!(counts, [summary.copied, summary.present, summary.unreadable]);
    Ok((summary, told))
}

#[track_caller]
fn copy_all(source: &Repository, target: &Repository) -> (CopySummary, Told) {
    copy_with(source, target, &options()).expect("a copy")
}

/// Small pieces, but none of a kind as `Parameters::tiny` makes them.
fn other_parameters() -> Parameters {
    Parameters {
        chunking: Chunking::Fixed { bytes: 3000 },
        bundling: Bundling { file_bytes_max: 0, average_bytes: 2048, min_bytes: 2048, max_bytes: 4096 },
        ..Parameters::tiny()
    }
}

#[test]
fn copies_give_back_what_was_copied() {
    for (seed, (from, to)) in [
        (Parameters::tiny(), None),
        (Parameters::default(), None),
        (Parameters::tiny(), Some(Parameters::tiny())),
        (Parameters::default(), Some(Parameters::tiny())),
        (other_parameters(), Some(Parameters::tiny())),
        (Parameters::tiny(), Some(other_parameters())),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new();
        let path = scratch.join("source");
        generate(100 + seed as u64, &path, Size::Medium);
        std::fs::write(path.join("large"), Random::new(1).bytes(6 << 20)).expect("a file");
        let memory = Memory::new();
        let source = init(Arc::new(memory.clone()), from, None);
        let first = back_up(&source, &path);
        give_back(&source, first.id, Some(&path), &scratch.join("first"));
        mutate(seed as u64, &path);
        let second = back_up(&source, &path);
        assert_eq!(second.snapshot.parent, Some(first.id));
        let before = memory.names();
        let of_target = Memory::new();
        let target = match to {
            None => init_sibling(Arc::new(of_target.clone()), &source),
            Some(parameters) => init(Arc::new(of_target.clone()), parameters, None),
        };
        let (summary, told) = copy_all(&source, &target);
        assert_eq!((summary.copied, summary.present, summary.unreadable), (2, 0, 0));
        assert_eq!(memory.names(), before, "the source is only read");
        let [(_, first_copy), (_, second_copy)] = told.copied.as_slice() else { panic!("{told:?}") };
        for (copy, original) in [(first_copy, &first), (second_copy, &second)] {
            let entry = snapshot(&target, *copy);
            let origin = entry.snapshot.origin.clone().expect("an origin");
            assert_eq!((origin.repository, origin.snapshot), (source.id(), original.id));
            assert_eq!(entry.snapshot.time, original.snapshot.time);
            assert_eq!(entry.snapshot.sources, original.snapshot.sources);
            assert_eq!(entry.snapshot.file_count(), original.snapshot.file_count());
            assert_eq!(to.is_none(), entry.snapshot.tree == original.snapshot.tree);
        }
        assert_eq!(snapshot(&target, *first_copy).snapshot.parent, None);
        assert_eq!(snapshot(&target, *second_copy).snapshot.parent, Some(*first_copy));
        assert_eq!(snapshot(&target, *second_copy).snapshot.generation, 2);
        give_back(&target, *first_copy, Some(&path), &scratch.join("first-copy"));
        assert_same(&dump(&scratch.join("first")), &dump(&scratch.join("first-copy")));
        give_back(&target, *second_copy, Some(&path), &scratch.join("second-copy"));
        assert_same(&dump(&path), &dump(&scratch.join("second-copy")));
        // It is what a backup into the target would have made: that one adds nothing but the way to it.
        let made = back_up(&target, &path);
        let copied = snapshot(&target, *second_copy).snapshot;
        assert_eq!(tree_of(&target, &made.snapshot, &path), tree_of(&target, &copied, &path));
        assert_eq!(statistic(&made.snapshot, Statistic::DataChunksAdded), 0);
        assert_eq!(made.snapshot.parent, Some(*second_copy));
        let found = process::check(Arc::new(of_target.clone())).expect("a check");
        assert!(is_sound(&found), "{:?}", found.damages);
        let names = of_target.names();
        let (summary, told) = copy_all(&source, &target);
        assert_eq!((summary.copied, summary.present, summary.stored_bytes), (0, 2, 0));
        assert_eq!(told.present[1], (second.id, *second_copy));
        assert_eq!(of_target.names(), names, "a second copy adds nothing");
    }
}

#[test]
fn between_siblings_segments_go_over_as_they_are() {
    let scratch = Scratch::new();
    let path = scratch.join("source");
    generate(7, &path, Size::Medium);
    let source = in_memory(Parameters::tiny());
    let made = back_up(&source, &path);
    let target = init_sibling(Arc::new(Memory::new()), &source);
    // What the target has already is not copied.
    let is_dry = CopyOptions { is_dry: true, ..options() };
    let (all, _) = copy_with(&source, &target, &is_dry).expect("a dry run");
    let own = back_up(&target, &path.join("."));
    let (rest, _) = copy_with(&source, &target, &is_dry).expect("a dry run");
    assert_eq!((all.copied, rest.copied), (1, 1));
    assert!(rest.chunks < all.chunks / 2, "{rest:?} of {all:?}");
    assert_eq!(target.snapshots().expect("snapshots").visible.len(), 1, "a dry run writes nothing");
    assert_eq!(tree_of(&source, &made.snapshot, &path), tree_of(&target, &own.snapshot, &path));
    let (summary, _) = copy_all(&source, &target);
    assert_eq!((summary.chunks, summary.added_bytes), (rest.chunks, rest.added_bytes));
    let sibling_of_sibling = init_sibling(Arc::new(Memory::new()), &target);
    let (summary, _) = copy_all(&target, &sibling_of_sibling);
    assert_eq!(summary.copied, 2);
    // Both copies of one snapshot are the same one, wherever they come from.
    assert_eq!(copy_all(&source, &sibling_of_sibling).0.present, 1);
    // And what came from there is not copied back.
    assert_eq!(copy_all(&target, &source).0.present, 1);
}

/// Counts the requests for parts of packs.
#[derive(Debug, Default)]
struct Ranges(AtomicUsize);

impl Director for Ranges {
    fn decide(&self, call: &Call) -> Deed {
        self.0.fetch_add(usize::from(call.sort == Sort::Range), Ordering::SeqCst);
        Deed::Do
    }
}

#[test]
fn what_an_earlier_copy_has_in_common_is_not_read_again() {
    for is_sibling in [true, false] {
        let scratch = Scratch::new();
        let path = scratch.join("source");
        for number in 0..30_u64 {
            let folder = path.join(format!("{number}/below"));
            std::fs::create_dir_all(&folder).expect("folders");
            for name in 0..20 {
                let content = Random::new(number * 100 + name).bytes(300);
                std::fs::write(folder.join(name.to_string()), content).expect("a file");
            }
        }
        let world = World::new(Memory::new());
        let made = init(world.calm(), PARAMETERS, None);
        let target: Arc<dyn Storage> = Arc::new(Memory::new());
        match is_sibling {
            true => drop(init_sibling(target.clone(), &made)),
            false => drop(init(target.clone(), PARAMETERS, None)),
        }
        let read_by_copy = || {
            let ranges = Arc::new(Ranges::default());
            let source = open(world.handle(ranges.clone())).expect("it opens");
            let (summary, told) = copy_all(&source, &open(target.clone()).expect("it opens"));
            assert_eq!(summary.copied, 1);
            (ranges.0.load(Ordering::SeqCst), told.copied[0].1)
        };
        back_up(&made, &path);
        let (all, _) = read_by_copy();
        std::fs::write(path.join("17/below/new"), "new").expect("a file");
        back_up(&made, &path);
        let (changed, copy) = read_by_copy();
        assert!(changed * 3 < all, "siblings: {is_sibling}: {changed} of {all} requests");
        let target = open(target).expect("it opens");
        give_back(&target, copy, Some(&path), &scratch.join("copy"));
        assert_same(&dump(&path), &dump(&scratch.join("copy")));
    }
}

#[test]
fn a_repository_is_not_copied_into_itself() {
    let memory = Memory::new();
    init(Arc::new(memory.clone()), PARAMETERS, None);
    let [one, other] = [0, 1].map(|_| open(Arc::new(memory.clone())).expect("a repository"));
    let error = copy_with(&one, &other, &options()).expect_err("one repository");
    assert_eq!(error.kind(), ErrorKind::Usage);
}

/// A source with snapshots that have some in common, and the storage of an empty target.
fn pair(sources: &Sources, is_sibling: bool) -> (Memory, Memory) {
    let (memory, target) = (Memory::new(), Memory::new());
    let source = init(Arc::new(memory.clone()), PARAMETERS, None);
    for number in [0, 2] {
        BackUp::new(number).run(Arc::new(memory.clone()), sources).expect("a backup");
    }
    match is_sibling {
        true => drop(init_sibling(Arc::new(target.clone()), &source)),
        false => drop(init(Arc::new(target.clone()), PARAMETERS, None)),
    }
    (memory, target)
}

#[test]
fn of_a_damaged_source_what_is_whole_is_copied_and_the_rest_is_named() {
    let sources = Sources::new();
    for is_sibling in [true, false] {
        let (memory, target) = pair(&sources, is_sibling);
        let mut outcomes = BTreeSet::new();
        let packs = memory.names().into_iter().filter(|name| name.as_str().starts_with("packs/"));
        for pack in packs {
            for is_gone in [true, false] {
                let (memory, target) = (same_objects(&memory), same_objects(&target));
                let bytes = memory.remove(&pack).expect("a pack");
                if !is_gone {
                    let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
                    memory.replace(&pack, flipped);
                }
                let source = open(Arc::new(memory)).expect("a repository");
                let repository = open(Arc::new(target.clone())).expect("a repository");
                let (summary, told) = copy_all(&source, &repository);
                assert_eq!(summary.copied + summary.unreadable, 2);
                assert!(summary.unreadable > 0, "every pack is needed");
                for (id, chain) in &told.unreadable {
                    assert!(chain.contains(&format!("cannot copy snapshot {}", id.short())), "{chain}");
                    assert!(chain.contains("cannot read /"), "{chain}");
                }
                outcomes.insert(summary.copied);
                let visible = sources.judge(&repository).expect("what is visible comes back");
                assert_eq!(visible.len() as u64, summary.copied);
                let found = process::check(Arc::new(target)).expect("a check");
                assert!(is_sound(&found), "{:?}", found.damages);
            }
        }
        assert_eq!(outcomes, [0, 1].into(), "siblings: {is_sibling}");
    }
}

/// The process is gone at this call.
#[derive(Debug)]
struct DiesAtCall(usize);

impl Director for DiesAtCall {
    fn decide(&self, call: &Call) -> Deed {
        if call.number >= self.0 { Deed::Die { done: false } } else { Deed::Do }
    }
}

#[test]
fn a_copy_that_was_killed_at_any_call_goes_on() {
    let sources = Sources::new();
    for is_sibling in [true, false] {
        let (memory, target) = pair(&sources, is_sibling);
        let source = open(Arc::new(memory)).expect("a repository");
        let mut added = Vec::new();
        for at in 0.. {
            let world = World::new(same_objects(&target));
            let killed = open(world.handle(Arc::new(DiesAtCall(at))))
                .and_then(|target| copy_with(&source, &target, &options()));
            let target = open(world.calm()).expect("it opens");
            sources.judge(&target).expect("what is visible comes back");
            let (summary, _) = copy_all(&source, &target);
            assert_eq!((summary.copied + summary.present, summary.unreadable), (2, 0));
            assert_eq!(sources.judge(&target).expect("all comes back").len(), 2, "killed at call {at}");
            if killed.is_ok() {
                break;
            }
            added.push(summary.added_bytes);
        }
        // The later it was killed, the less was left to do, by many steps.
        let steps: BTreeSet<u64> = added.iter().copied().collect();
        assert!(added.is_sorted_by(|a, b| a >= b), "{added:?}");
        assert!(steps.len() > 4, "{added:?}");
    }
}

#[test]
fn the_source_may_be_pruned_meanwhile() {
    let sources = Sources::new();
    for is_sibling in [true, false] {
        let (memory, target) = pair(&sources, is_sibling);
        let forgotten = {
            let forgotten = BackUp::new(1).run(Arc::new(memory.clone()), &sources).expect("a backup");
            let reader = open(Arc::new(memory.clone())).expect("a repository");
            let mut visible = reader.snapshots().expect("snapshots").visible;
            visible.retain(|entry| entry.id != forgotten);
            (forgotten, visible)
        };
        let (forgotten, kept) = forgotten;
        let kept: Vec<&SnapshotEntry> = kept.iter().collect();
        let world = World::new(memory.clone());
        let others = world.clone();
        let prune = move || {
            process::forget(others.calm(), forgotten).expect("forgotten");
            assert!(process::prune(others.calm(), &dead_host()).expect("a prune").removed.count > 0);
        };
        let is_moment = |before: &[Call], call: &Call| {
            call.sort == Sort::Range && before.iter().filter(|call| call.sort == Sort::Range).count() == 1
        };
        let source = open(world.handle(Arc::new(Interposed::new(is_moment, prune)))).expect("a repository");
        let target = open(Arc::new(target)).expect("a repository");
        let summary = copy(&source, &target, &kept, &options(), &Silent, &mut |_| {}).expect("a copy");
        assert_eq!((summary.copied, summary.unreadable), (2, 0), "siblings: {is_sibling}");
        assert_eq!(sources.judge(&target).expect("all comes back").len(), 2);
    }
}

#[test]
fn what_a_prune_of_the_target_may_take_is_not_relied_on() {
    let sources = Sources::new();
    for is_sibling in [true, false] {
        let (memory, target) = pair(&sources, is_sibling);
        let source = open(Arc::new(memory)).expect("a repository");
        let world = World::new(target);
        let others = world.clone();
        // The first copy is forgotten, and what it alone needs removed, before the second session begins.
        let forget = move || {
            let first = open(others.calm()).expect("it opens").snapshots().expect("snapshots").visible;
            process::forget(others.calm(), first[0].id).expect("forgotten");
            process::prune(others.calm(), &dead_host()).expect("a prune");
        };
        let is_moment = |before: &[Call], call: &Call| {
            let is_start = |call: &Call| call.sort == Sort::Put && call.name.ends_with("/start");
            let names: BTreeSet<&str> =
                before.iter().filter(|call| is_start(call)).map(|call| call.name.as_str()).collect();
            is_start(call) && names.len() == 1 && !names.contains(call.name.as_str())
        };
        let repository = open(world.handle(Arc::new(Interposed::new(is_moment, forget)))).expect("it opens");
        let (summary, told) = copy_all(&source, &repository);
        assert_eq!(summary.copied, 2);
        let target = open(world.calm()).expect("it opens");
        assert_eq!(sources.judge(&target).expect("it comes back"), [told.copied[1].1]);
        let found = process::check(world.calm()).expect("a check");
        assert!(is_sound(&found), "{:?}", found.damages);
    }
}
