//! Packs that lie frozen: what a restore says of them, and how it comes by them; and that nothing else is led astray.
//!
//! What must hold: what is frozen is never called damaged, missing or done; nothing is removed because of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packstone::base::{
    ErrorKind, Finding, Monitor, Result, SessionId, Silent, ThawCounts, ThawRequest, Thawing,
};
use packstone::format::config::Parameters;
use packstone::ops::check::{CheckOptions, Portion, check};
use packstone::ops::copy::{CopyOptions, copy};
use packstone::ops::dump::dump_file;
use packstone::ops::prune::{PruneOptions, prune};
use packstone::ops::restore::{Overwrite, RestoreOptions, RestoreSummary, Selection, ThawOptions, restore};
use packstone::repository::{MaxUnused, MemoryLimit, PlanOptions, Repository, check_storage};
use packstone::source::{GivenPattern, Patterns};
use packstone::storage::ObjectName;
use packstone::storage::memory::Memory;

use crate::copy::init_sibling;
use crate::engine::{Findings, back_up, give_back, in_memory, init, open, snapshot};
use crate::process::dead_host;
use crate::prune::{forget, options as prune_options};
use crate::support::dump::{assert_same, dump};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Remembers what is told.
#[derive(Default)]
struct Told {
    findings: Mutex<Vec<String>>,
    frozen: Mutex<Vec<(String, Thawing)>>,
    counts: Mutex<Vec<ThawCounts>>,
}

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.to_string());
    }

    fn frozen(&self, object: &str, state: Thawing, _size_bytes: u64) {
        self.frozen.lock().unwrap().push((object.to_owned(), state));
    }

    fn thawing(&self, counts: &ThawCounts) {
        self.counts.lock().unwrap().push(*counts);
    }
}

impl Told {
    /// Asked for now, asked for before, frozen, of all: as they were counted last.
    #[track_caller]
    fn last(&self) -> [u64; 4] {
        let counts = *self.counts.lock().unwrap().last().expect("something was counted");
        [counts.asked.count, counts.under_way.count, counts.frozen.count, counts.needed.count]
    }
}

/// A repository of a directory, whose packs of data are frozen.
struct Place {
    scratch: Scratch,
    source: PathBuf,
    memory: Memory,
    id: SessionId,
    /// Packs of data.
    data: Vec<ObjectName>,
}

impl Place {
    fn new(looks: u32) -> Self {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        fs::create_dir_all(source.join("below")).unwrap();
        let mut random = Random::new(41);
        for name in ["large", "below/large"] {
            fs::write(source.join(name), random.bytes(300_000)).unwrap();
        }
        for number in 0..20 {
            fs::write(source.join(format!("below/small{number}")), random.bytes(100)).unwrap();
        }
        let memory = Memory::new();
        let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
        let id = back_up(&repository, &source).id;
        let data = memory.freeze_data(looks);
        assert!(data.len() > 8, "{data:?}");
        Self { scratch, source, memory, id, data }
    }

    fn open(&self) -> Repository {
        open(Arc::new(self.memory.clone()), None)
    }

    fn target(&self) -> PathBuf {
        self.scratch.join("target")
    }

    fn restore(&self, options: &RestoreOptions) -> (Result<RestoreSummary>, Told) {
        let (repository, told) = (self.open(), Told::default());
        let entry = snapshot(&repository, self.id);
        let path = self.source.as_os_str().as_encoded_bytes();
        let options = RestoreOptions { workers: 2, ..options.clone() };
        let outcome = restore(&repository, &entry, Some(path), &self.target(), &options, &told);
        assert_eq!(*told.findings.lock().unwrap(), Vec::<String>::new());
        (outcome, told)
    }

    fn assert_restored(&self) {
        assert_same(&dump(&self.source), &dump(&self.target()));
    }
}

fn thaw() -> RestoreOptions {
    let thaw = ThawOptions { request: ThawRequest { days: 7, speed: None }, wait: Duration::ZERO };
    RestoreOptions { thaw: Some(thaw), ..RestoreOptions::default() }
}

#[test]
fn a_restore_ends_at_the_first_frozen_pack_and_says_how_many_there_are() {
    let place = Place::new(1);
    let (outcome, told) = place.restore(&RestoreOptions::default());
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Frozen, "{error:?}");
    let all = place.data.len() as u64;
    assert_eq!(told.last(), [0, 0, all, all]);
    assert!(
        error.to_string().contains(&format!("of {all} packs that the restore needs, {all} (")),
        "{error:?}"
    );
    assert!(error.to_string().contains("the restore is not complete"), "{error:?}");
    // What was begun is taken back.
    assert!(!place.target().join("large").exists() && !place.target().join("below/large").exists());
}

#[test]
fn what_can_be_read_is_restored_until_then_and_the_rest_when_it_is_thawed() {
    let place = Place::new(1);
    let (outcome, _) = place.restore(&thaw());
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Frozen);
    place.restore(&thaw()).0.unwrap();
    place.assert_restored();
}

#[test]
fn with_thaw_nothing_is_written_before_all_can_be_read() {
    let place = Place::new(2);
    let all = place.data.len() as u64;
    for expected in [[all, 0, 0, all], [0, all, 0, all]] {
        let (outcome, told) = place.restore(&thaw());
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Frozen, "{error:?}");
        assert_eq!(told.last(), expected);
        assert!(error.to_string().contains("nothing was written"), "{error:?}");
        assert!(!place.target().exists());
    }
    let (outcome, told) = place.restore(&thaw());
    assert_eq!(outcome.unwrap().findings, 0);
    assert_eq!(told.last(), [0, 0, 0, all]);
    place.assert_restored();
}

#[test]
fn a_dry_run_names_the_packs_and_asks_for_none() {
    let place = Place::new(1);
    for _ in 0..2 {
        let (outcome, told) = place.restore(&RestoreOptions { dry_run: true, ..thaw() });
        outcome.unwrap();
        let all = place.data.len() as u64;
        assert_eq!(told.last(), [0, 0, all, all]);
        let mut named: Vec<String> =
            told.frozen.lock().unwrap().iter().map(|(object, _)| object.clone()).collect();
        named.sort();
        assert_eq!(named, place.data.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    assert!(!place.target().exists());
}

#[test]
fn only_what_the_selection_needs_is_asked_for() {
    let place = Place::new(1);
    let pattern = GivenPattern { text: b"small7".to_vec(), ignores_case: false, origin: "a test".into() };
    let selection = Selection::Include(Patterns::new(vec![pattern]).unwrap());
    let selected = RestoreOptions { selection, ..thaw() };
    let (outcome, told) = place.restore(&selected);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Frozen);
    assert_eq!(told.last(), [1, 0, 0, 1]);
    assert_eq!(place.restore(&selected).0.unwrap().files, 1);
    fs::remove_dir_all(place.target()).unwrap();
    let (outcome, told) = place.restore(&RestoreOptions { dry_run: true, ..thaw() });
    outcome.unwrap();
    assert_eq!(told.last()[2], place.data.len() as u64 - 1);
}

#[test]
fn what_is_there_is_not_asked_for() {
    let place = Place::new(1);
    place.restore(&thaw()).0.unwrap_err();
    place.restore(&thaw()).0.unwrap();
    place.memory.freeze_data(1);
    fs::remove_file(place.target().join("large")).unwrap();
    let again = RestoreOptions { overwrite: Some(Overwrite::IfChanged), ..thaw() };
    let (outcome, told) = place.restore(&again);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Frozen);
    let asked = told.last();
    assert!(asked[0] > 0 && asked[0] < place.data.len() as u64 && asked[0] == asked[3], "{asked:?}");
    place.restore(&again).0.unwrap();
    place.assert_restored();
}

#[test]
fn a_file_is_dumped_only_when_it_can_be_read() {
    let place = Place::new(1);
    let repository = place.open();
    let entry = snapshot(&repository, place.id);
    let path = place.source.join("large");
    let dump = |output: &mut Vec<u8>| {
        dump_file(&repository, &entry, path.as_os_str().as_encoded_bytes(), output, &Silent)
    };
    let mut output = Vec::new();
    assert_eq!(dump(&mut output).unwrap_err().kind(), ErrorKind::Frozen);
    assert!(output.is_empty());
}

#[test]
fn a_check_counts_frozen_packs_and_calls_nothing_damaged() {
    let place = Place::new(1);
    let repository = place.open();
    let findings = Findings::default();
    let without = check(&repository, &CheckOptions::default(), &findings).unwrap();
    assert_eq!((without.damaged, without.unreadable, without.frozen.count), (0, 0, 0));
    let whole = check(&repository, &CheckOptions { read: Some(Portion::All) }, &findings).unwrap();
    assert_eq!((whole.damaged, whole.unreadable), (0, 0), "{whole:?}");
    assert_eq!(whole.frozen.count, place.data.len() as u64);
    assert!(whole.read.count > 0 && whole.read.count + whole.frozen.count == whole.counted.packs.count);
    for read_data in [false, true] {
        let looked = check_storage(&place.memory, read_data, MemoryLimit::default(), &findings).unwrap();
        assert_eq!((looked.damaged, looked.unreadable), (0, 0), "{looked:?}");
        assert_eq!(looked.frozen.count, place.data.len() as u64);
    }
    findings.assert_none();
}

/// Prunes as strictly as possible.
fn strict() -> PruneOptions {
    let plan = PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None };
    PruneOptions { plan, ..prune_options() }
}

#[test]
fn a_prune_leaves_what_it_cannot_read_and_does_the_rest() {
    let place = Place::new(1);
    let repository = place.open();
    let part = place.scratch.join("part");
    fs::create_dir(&part).unwrap();
    fs::copy(place.source.join("large"), part.join("large")).unwrap();
    let second = back_up(&repository, &part).id;
    forget(&repository, place.id);
    let before = place.memory.names().len();
    let summary = prune(&repository, &strict(), &Silent).unwrap();
    assert!(summary.frozen.count > 0 && summary.repack_failure.is_none(), "{summary:?}");
    assert!(summary.removed.count > 0 && place.memory.names().len() < before, "{summary:?}");
    place.memory.freeze_data(1);
    let entry = snapshot(&repository, second);
    let restored = place.scratch.join("restored");
    let path = Some(part.as_os_str().as_encoded_bytes());
    let run = || restore(&place.open(), &entry, path, &restored, &thaw(), &Silent);
    assert_eq!(run().unwrap_err().kind(), ErrorKind::Frozen);
    run().unwrap();
    assert_same(&dump(&part), &dump(&restored));
    // What can be read now is written again.
    let later = prune(&place.open(), &strict(), &Silent).unwrap();
    assert!(later.frozen.count == 0 && later.repacked > 0, "{later:?}");
}

#[test]
fn an_unfinished_pack_that_cannot_be_read_goes_only_when_nobody_writes() {
    let place = Place::new(1);
    let repository = place.open();
    // Nothing names the packs any more.
    let index: Vec<ObjectName> =
        place.memory.names().into_iter().filter(|name| name.folder() == "index").collect();
    assert!(!index.is_empty());
    forget(&repository, place.id);
    index.iter().for_each(|name| drop(place.memory.remove(name)));
    let running =
        repository.start_session(&packstone::base::host::Host::current(), Default::default()).unwrap();
    let summary = prune(&place.open(), &strict(), &Silent).unwrap();
    let in_use = summary.plan.in_use.count;
    assert!(in_use >= place.data.len() as u64, "{summary:?}");
    assert!(place.data.iter().all(|name| place.memory.bytes(name).is_some()));
    running.close().unwrap();
    let summary = prune(&place.open(), &strict(), &Silent).unwrap();
    assert!(summary.removed.count >= place.data.len() as u64, "{summary:?}");
}

#[test]
fn a_copy_of_what_is_frozen_ends_in_one_error_and_goes_on_later() {
    for is_sibling in [true, false] {
        let place = Place::new(1);
        let source = place.open();
        let target = match is_sibling {
            true => init_sibling(Arc::new(Memory::new()), &source),
            false => in_memory(Parameters::tiny()),
        };
        let visible = source.snapshots().unwrap().visible;
        let wanted: Vec<_> = visible.iter().collect();
        let options = CopyOptions { workers: 1, ..CopyOptions::new(dead_host()) };
        let run = || copy(&source, &target, &wanted, &options, &Silent, &mut |_| {});
        let error = run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Frozen, "{error:?}");
        assert!(target.snapshots().unwrap().visible.is_empty());
        place.restore(&thaw()).0.unwrap_err();
        place.restore(&RestoreOptions { dry_run: true, ..thaw() }).0.unwrap();
        assert_eq!(run().unwrap().copied, 1);
        let id = target.snapshots().unwrap().visible.first().unwrap().id;
        give_back(&target, id, Some(&place.source), &place.scratch.join("copy"));
        assert_same(&dump(&place.source), &dump(&place.scratch.join("copy")));
    }
}

#[test]
fn the_daily_life_needs_nothing_that_is_frozen() {
    let place = Place::new(1);
    let add = |name: &str| fs::write(place.source.join(name), Random::new(7).bytes(50_000)).unwrap();
    let thrifty = PruneOptions {
        plan: PlanOptions { max_unused: MaxUnused::Unlimited, max_repack_bytes: None },
        ..prune_options()
    };
    let mut last = place.id;
    for name in ["one", "two"] {
        add(name);
        place.memory.freeze_data(1);
        let next = back_up(&place.open(), &place.source).id;
        place.memory.freeze_data(1);
        let findings = Findings::default();
        let checked = check(&place.open(), &CheckOptions::default(), &findings).unwrap();
        assert_eq!((checked.damaged, checked.unreadable), (0, 0));
        forget(&place.open(), last);
        assert!(prune(&place.open(), &thrifty, &Silent).unwrap().repack_failure.is_none());
        last = next;
    }
    let entries = list(&place.open(), last, &place.source);
    assert_eq!(entries, 2 + 20 + 2 + 1);
}

/// How many entries there are at and below a path.
fn list(repository: &Repository, id: SessionId, path: &Path) -> usize {
    use packstone::tree::{Budget, Tree, Walk, WalkItem};
    let entry = snapshot(repository, id);
    let reader = repository.reader().unwrap();
    let tree = crate::engine::tree_of(repository, &entry.snapshot, path);
    let walk = Walk::new(Tree::new(&reader), tree, Budget::of(&entry.snapshot));
    walk.map(Result::unwrap).filter(|item| matches!(item, WalkItem::Entry(_))).count()
}
