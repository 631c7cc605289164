//! The promise of the engine over trees that nobody thought of: whatever a directory holds comes back as it was, from
//! every snapshot, while the directory goes on changing.
//!
//! What must hold: a tree depends on its number alone, so that a failure can be had again; every run looks at 500 trees
//! or more, `scripts/test --full` at ten times as many. Trees are judged by `support::dump`, which knows nothing of the
//! engine.

use std::path::Path;
use std::sync::Arc;

use packstone::format::config::Parameters;
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::BackupSummary;
use packstone::repository::Repository;
use packstone::storage::memory::Memory;

use crate::engine::{back_up, give_back, init, open, statistic, tree_of};
use crate::support::dump::{Dump, assert_same, differences, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::scratch::Scratch;
use crate::support::seeds::{Amount, shards};

/// Trees of each test in every run.
const TREES: u64 = 50;
/// Trees of each test when larger sizes are wanted.
const TREES_FULL: u64 = 500;

/// A source, its repository, and where both are.
struct Case {
    seed: u64,
    scratch: Scratch,
    storage: Arc<Memory>,
    repository: Repository,
}

impl Case {
    /// Every second one keeps its index on disk.
    fn new(seed: u64) -> Self {
        let scratch = Scratch::new();
        let storage = Arc::new(Memory::new());
        let cache_folder = scratch.join("cache");
        let cache_folder = seed.is_multiple_of(2).then_some(cache_folder.as_path());
        let repository = init(storage.clone(), Parameters::tiny(), cache_folder);
        Self { seed, scratch, storage, repository }
    }

    /// Opened again, as by another process.
    fn reopen(&mut self) {
        let cache_folder = self.scratch.join("cache");
        let cache_folder = self.seed.is_multiple_of(2).then_some(cache_folder.as_path());
        self.repository = open(self.storage.clone(), cache_folder);
    }

    fn check(mut self) {
        let source = self.scratch.join("source");
        generate(self.seed, &source, Size::Small);
        let dump_before = dump(&source);
        let first = back_up(&self.repository, &source);
        assert_same(&dump_before, &dump(&source));

        self.reopen();
        mutate(self.seed ^ 0x5eed, &source);
        let dump_after = dump(&source);
        let second = back_up(&self.repository, &source);
        assert_same(&dump_after, &dump(&source));

        self.reopen();
        if self.seed.is_multiple_of(5) {
            let third = back_up(&self.repository, &source);
            assert_eq!(statistic(&third.snapshot, Statistic::DataChunksAdded), 0);
            let tree = |summary: &BackupSummary| tree_of(&self.repository, &summary.snapshot, &source);
            assert_eq!(tree(&third), tree(&second), "an unchanged tree is the same tree");
        }
        for (name, id, dumped) in [("first", first.id, &dump_before), ("second", second.id, &dump_after)] {
            let target = self.scratch.join(name);
            give_back(&self.repository, id, Some(&source), &target);
            let found = differences(dumped, &dump(&target));
            assert!(found.is_empty(), "the {name} snapshot differs:\n{}", found.join("\n"));
        }
        if self.seed.is_multiple_of(10) {
            let target = self.scratch.join("all");
            give_back(&self.repository, second.id, None, &target);
            let below = source.strip_prefix("/").expect("an absolute path");
            assert_same(&dump_after, &dump(&target.join(below)));
        }
    }
}

// Many tests, so that they run beside each other.
shards! {
    Amount { usual: TREES, full: TREES_FULL }, |seed| Case::new(seed).check();
    trees_come_back_0 0
    trees_come_back_1 1
    trees_come_back_2 2
    trees_come_back_3 3
    trees_come_back_4 4
    trees_come_back_5 5
    trees_come_back_6 6
    trees_come_back_7 7
    trees_come_back_8 8
    trees_come_back_9 9
}

/// A restored tree, to be spoiled.
fn restored(case: &Case, target: &Path) -> Dump {
    let source = case.scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), [b'a'; 10_000]).unwrap();
    let summary = back_up(&case.repository, &source);
    give_back(&case.repository, summary.id, Some(&source), target);
    dump(&source)
}

#[test]
fn one_byte_that_came_back_wrong_is_seen() {
    let case = Case::new(0);
    let target = case.scratch.join("target");
    let source = restored(&case, &target);
    assert_eq!(differences(&source, &dump(&target)), Vec::<String>::new());
    let file = target.join("file");
    let times = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[9_999] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(times).unwrap();
    let seen = differences(&source, &dump(&target));
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].starts_with("file: content: "), "{seen:?}");
}
