//! Jobs: a run from its sources to what is kept, run twice at a time, over months, and cut off.
//!
//! What must hold: of each source the last good snapshot stays, whatever the rules say; a run of some sources takes
//! nothing from whole ones; a copy catches up; what comes after the snapshot fails by itself.

mod killed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::tz::TimeZone;
use packstone::base::monitor::Silent;
use packstone::base::{Error, ErrorKind, Result, SessionId, Timestamp};
use packstone::format::config::Parameters;
use packstone::format::snapshot::SourceOutcome;
use packstone::job::{CopyTarget, Job, JobInput, JobSource, RunOptions, RunReport, lock, plan, run};
use packstone::ops::backup::{BackupOptions, OnFailure};
use packstone::ops::check::Portion;
use packstone::ops::forget::{Count, Period, Policy};
use packstone::repository::Repository;
use packstone::source::{
    Dump, Dumps, Engine, Excludes, GivenPattern, Listener, LoadOptions, LoadPlan, OpenDump, Patterns,
    StoredDump,
};
use packstone::storage::memory::Memory;
use packstone::tree::Tree;

use crate::engine::{init, open, options, snapshot};
use crate::support::scratch::Scratch;

/// A database that can be made to refuse.
#[derive(Debug, Default)]
struct Shop {
    refuses: AtomicBool,
    files: Vec<PathBuf>,
}

impl Engine for Shop {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "connection refused"));
        }
        listener.tell("asked");
        let open = || {
            let (end, stop) = (Box::new(|| Ok(())), Box::new(|| {}));
            Ok(OpenDump { reader: Box::new(&b"rows"[..]), end, stop })
        };
        let dump = Dump { name: "shop.sql".into(), metadata: None, open: Box::new(open) };
        let consistency = "one transaction".into();
        Ok(Dumps { consistency, dumps: vec![dump], problems: Vec::new(), end: None })
    }

    fn load(&self, _: &[StoredDump], _: &LoadOptions, _: &Listener) -> Result<LoadPlan> {
        Ok(LoadPlan::default())
    }
}

/// A job of a directory and a database.
struct Stage {
    scratch: Scratch,
    storage: Arc<Memory>,
    shop: Arc<Shop>,
    job: Job,
}

impl Stage {
    fn new(keep: Option<Policy>) -> Self {
        let scratch = Scratch::new();
        let folder = scratch.join("configs");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
        let storage = Arc::new(Memory::new());
        init(Arc::clone(&storage) as _, Parameters::tiny(), None);
        let shop = Arc::new(Shop::default());
        let patterns = vec![scratch.join("con*").to_str().unwrap().to_owned()];
        let sources = vec![
            JobSource {
                name: "configs".into(),
                on_failure: OnFailure::Fail,
                time_limit: None,
                input: JobInput::Paths { patterns, excludes: Excludes::default() },
            },
            JobSource {
                name: "shop".into(),
                on_failure: OnFailure::Partial,
                time_limit: None,
                input: JobInput::Engine(Arc::clone(&shop) as _),
            },
        ];
        let job = Job { name: "nightly".into(), sources, keep, with_prune: true, check: None };
        Self { scratch, storage, shop, job }
    }

    fn repository(&self) -> Repository {
        open(Arc::clone(&self.storage) as _, None)
    }

    fn state(&self) -> PathBuf {
        self.scratch.join("jobs")
    }

    fn run_at(&self, days: i64, only: &[&str], copies: Vec<CopyTarget<'_>>) -> Result<RunReport> {
        let time = Timestamp { seconds: 1_700_000_000 + days * 86_400, nanoseconds: 0 };
        let backup = BackupOptions { time: Some(time), ..options() };
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = RunOptions { backup, only, zone: TimeZone::UTC };
        let lock = lock(&self.state(), &self.job.name)?;
        run(&self.repository(), &self.job, &options, &lock, copies, &Silent)
    }

    fn ids(&self) -> Vec<SessionId> {
        self.repository().snapshots().unwrap().visible.iter().map(|entry| entry.id).collect()
    }
}

fn daily(days: u32) -> Option<Policy> {
    let counts = BTreeMap::from([(Period::Day, Count::AtMost(days))]);
    Some(Policy { counts, ..Policy::default() })
}

#[test]
fn a_run_makes_a_snapshot_and_keeps_what_the_rules_say() {
    let mut stage = Stage::new(daily(2));
    stage.job.check = Some(Portion::All);
    let mut ids = Vec::new();
    for day in 0..5 {
        let report = stage.run_at(day, &[], Vec::new()).unwrap();
        assert_eq!(report.failures(), Vec::<String>::new());
        let snapshot = &report.backup.snapshot;
        assert_eq!((snapshot.job.as_deref(), snapshot.is_selective), (Some("nightly"), false));
        assert!(snapshot.sources.iter().all(|status| status.outcome == SourceOutcome::Complete));
        assert_eq!(report.check.unwrap().result.unwrap().damaged, 0);
        ids.push(report.backup.id);
    }
    // The oldest stays as long as there are days left, and goes then.
    assert_eq!(stage.ids(), ids[3..]);
}

#[test]
fn the_last_good_snapshot_of_a_source_outlives_the_rules() {
    let stage = Stage::new(daily(2));
    let good = stage.run_at(0, &[], Vec::new()).unwrap().backup.id;
    stage.shop.refuses.store(true, Ordering::Relaxed);
    for day in 1..6 {
        let report = stage.run_at(day, &[], Vec::new()).unwrap();
        assert_eq!(report.backup.snapshot.findings, 1);
        assert!(stage.ids().contains(&good), "day {day}");
    }
    let kept = stage.run_at(6, &[], Vec::new()).unwrap().retention.unwrap().result.unwrap();
    assert_eq!(kept.held, [(good, "shop".to_owned())]);
    assert_eq!(stage.ids().len(), 3);
    // Once it is good again, the old one may go.
    stage.shop.refuses.store(false, Ordering::Relaxed);
    stage.run_at(7, &[], Vec::new()).unwrap();
    assert!(!stage.ids().contains(&good));
    assert_eq!(stage.ids().len(), 2);
}

#[test]
fn a_run_of_some_sources_takes_nothing_from_whole_ones() {
    let stage = Stage::new(daily(2));
    let whole = stage.run_at(0, &[], Vec::new()).unwrap().backup.id;
    let some = stage.run_at(0, &["configs"], Vec::new()).unwrap();
    assert!(some.backup.snapshot.is_selective);
    assert!(some.retention.is_none() && some.prune.is_none());
    assert_eq!(some.backup.snapshot.source_names(), ["configs"]);
    // Of the same day, and newer; the whole one stays.
    stage.run_at(1, &[], Vec::new()).unwrap();
    assert!(stage.ids().contains(&whole));
    let refused = stage.run_at(2, &["database"], Vec::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert_eq!(refused.to_string(), "the job nightly has no source database; it has configs, shop");
}

#[test]
fn only_a_run_of_all_sources_says_when_the_next_is_due() {
    let stage = Stage::new(None);
    let due = |only: &[&str]| {
        let backup = BackupOptions { expected_next_seconds: Some(86_400), ..options() };
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = RunOptions { backup, only, zone: TimeZone::UTC };
        let lock = lock(&stage.state(), &stage.job.name).unwrap();
        let report = run(&stage.repository(), &stage.job, &options, &lock, Vec::new(), &Silent);
        report.unwrap().backup.snapshot.expected_next_seconds
    };
    assert_eq!(due(&[]), Some(86_400));
    assert_eq!(due(&["configs"]), None);
    assert_eq!(due(&["shop", "configs"]), Some(86_400));
}

#[test]
fn the_right_to_run_one_job_is_none_to_run_another() {
    let stage = Stage::new(None);
    let options = RunOptions { backup: options(), only: Vec::new(), zone: TimeZone::UTC };
    let lock = lock(&stage.state(), "weekly").unwrap();
    let error = run(&stage.repository(), &stage.job, &options, &lock, Vec::new(), &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(stage.ids().is_empty());
}

#[test]
fn a_copy_catches_up_and_gets_back_nothing_that_it_forgot() {
    let stage = Stage::new(None);
    let other = Arc::new(Memory::new());
    init(Arc::clone(&other) as _, Parameters::tiny(), None);
    let copy_to = |keep: Option<Policy>, works: bool| {
        let other = Arc::clone(&other);
        let open = move || match works {
            true => Ok(open(other as _, None)),
            false => Err(Error::new(ErrorKind::Unreachable, "the network is down")),
        };
        vec![CopyTarget { name: "offsite".into(), open: Box::new(open), keep }]
    };
    let count = || open(Arc::clone(&other) as _, None).snapshots().unwrap().visible.len();
    stage.run_at(0, &[], copy_to(None, true)).unwrap();
    assert_eq!(count(), 1);
    // What fails after the snapshot leaves it as it is, and is told.
    let report = stage.run_at(1, &[], copy_to(None, false)).unwrap();
    assert_eq!(report.failures(), ["copy to offsite: the network is down"]);
    let report = stage.run_at(2, &[], copy_to(None, true)).unwrap();
    assert_eq!(report.copies[0].copied.result.as_ref().unwrap().copied, 2, "both that were missing");
    assert_eq!(count(), 3);
    let report = stage.run_at(3, &[], copy_to(daily(1), true)).unwrap();
    assert_eq!(report.failures(), Vec::<String>::new());
    assert_eq!(count(), 1);
    let report = stage.run_at(4, &[], copy_to(daily(1), true)).unwrap();
    assert_eq!(report.copies[0].copied.result.as_ref().unwrap().copied, 1);
    assert_eq!((count(), stage.ids().len()), (1, 5));
    // A clock that was wrong once keeps nothing from being copied.
    for day in [900, 5, 6] {
        let report = stage.run_at(day, &[], copy_to(None, true)).unwrap();
        assert_eq!(report.copies[0].copied.result.as_ref().unwrap().copied, 1, "day {day}");
    }
}

#[test]
fn the_newest_good_snapshot_is_told_by_order_not_by_generation() {
    let mut stage = Stage::new(daily(2));
    stage.job.sources[1].on_failure = OnFailure::KeepPrevious;
    stage.run_at(0, &[], Vec::new()).unwrap();
    for _ in 0..5 {
        stage.run_at(0, &["shop"], Vec::new()).unwrap();
    }
    stage.run_at(1, &[], Vec::new()).unwrap();
    let good = stage.run_at(2, &[], Vec::new()).unwrap().backup.id;
    stage.shop.refuses.store(true, Ordering::Relaxed);
    for day in 3..7 {
        let report = stage.run_at(day, &[], Vec::new()).unwrap();
        let status = &report.backup.snapshot.sources[1];
        assert_eq!(status.carried.unwrap().snapshot, good, "day {day}");
    }
}

#[test]
fn a_job_never_runs_twice_at_a_time() {
    /// Runs the job again while it runs.
    #[derive(Debug)]
    struct Nested(PathBuf);

    impl Engine for Nested {
        fn kind(&self) -> &'static str {
            "command"
        }

        fn dump(&self, _: &Listener) -> Result<Dumps> {
            let error = lock(&self.0, "nightly").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fenced);
            Err(error)
        }

        fn load(&self, _: &[StoredDump], _: &LoadOptions, _: &Listener) -> Result<LoadPlan> {
            Ok(LoadPlan::default())
        }
    }

    let mut stage = Stage::new(None);
    let nested = Nested(stage.state());
    stage.job.sources.push(JobSource {
        name: "nested".into(),
        on_failure: OnFailure::Partial,
        time_limit: None,
        input: JobInput::Engine(Arc::new(nested)),
    });
    let report = stage.run_at(0, &[], Vec::new()).unwrap();
    let message = report.backup.snapshot.sources.last().unwrap().message.clone().unwrap();
    assert_eq!(message, format!("the job nightly runs already, as process {}", std::process::id()));
    stage.job.sources.pop();
    stage.run_at(1, &[], Vec::new()).unwrap();
}

#[test]
fn files_of_databases_are_left_out_of_directories_and_patterns_are_expanded_at_each_run() {
    let mut stage = Stage::new(None);
    let folder = stage.scratch.join("configs");
    for name in ["data[1].db", "data[1].db-wal", "data1.db", "other"] {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    let shop = Shop { files: vec![folder.join("data[1].db")], ..Shop::default() };
    stage.job.sources[1].input = JobInput::Engine(Arc::new(shop));
    let names = |report: &RunReport| {
        let repository = stage.repository();
        let entry = snapshot(&repository, report.backup.id);
        let mut names = Vec::new();
        crate::engine::list_below(&repository, &entry, &folder, &mut names);
        names
    };
    let report = stage.run_at(0, &[], Vec::new()).unwrap();
    assert_eq!(names(&report), ["data1.db", "file", "other"]);
    // Alone, too: a file in the middle of its changes is no copy of a database.
    let report = stage.run_at(1, &["configs"], Vec::new()).unwrap();
    assert_eq!(names(&report), ["data1.db", "file", "other"]);
    std::fs::create_dir(stage.scratch.join("con-new")).unwrap();
    let report = stage.run_at(2, &[], Vec::new()).unwrap();
    assert_eq!(report.backup.snapshot.paths.len(), 3);
    let pattern = stage.scratch.join("nothing*").to_str().unwrap().to_owned();
    let JobInput::Paths { patterns, .. } = &mut stage.job.sources[0].input else {
        panic!("configs are paths");
    };
    patterns.push(pattern.clone());
    stage.job.sources[0].on_failure = OnFailure::Partial;
    let report = stage.run_at(3, &[], Vec::new()).unwrap();
    let status =
        report.backup.snapshot.sources.iter().find(|status| status.path == pattern.as_bytes()).unwrap();
    assert_eq!(status.message.as_deref(), Some("nothing matches this pattern"));
    assert_eq!((status.outcome, report.backup.snapshot.findings), (SourceOutcome::Failed, 1));
}

#[test]
fn a_plan_says_what_a_run_would_do_and_does_nothing() {
    let stage = Stage::new(daily(1));
    stage.run_at(0, &[], Vec::new()).unwrap();
    stage.run_at(1, &[], Vec::new()).unwrap();
    let before = stage.ids();
    let options = RunOptions { backup: options(), only: Vec::new(), zone: TimeZone::UTC };
    let repository = stage.repository();
    let planned = plan(Some(&repository), &stage.job, &options, &Silent).unwrap();
    assert_eq!(planned.sources[0].paths, [stage.scratch.join("configs")]);
    assert_eq!(planned.sources[0].amount.unwrap().files, 1);
    assert_eq!(planned.sources[1].lines, ["shop.sql", "one transaction"]);
    assert_eq!(planned.sources[1].paths, [Path::new("/dumps/shop")]);
    assert_eq!(planned.retention.unwrap().unwrap().kept, 1);
    assert_eq!(stage.ids(), before);
    stage.shop.refuses.store(true, Ordering::Relaxed);
    let planned = plan(None, &stage.job, &options, &Silent).unwrap();
    assert_eq!(planned.sources[1].failure.as_deref(), Some("connection refused"));
    assert!(planned.retention.is_none());
}

#[test]
fn the_root_of_the_machine_and_databases_make_one_snapshot() {
    let mut stage = Stage::new(None);
    let folder = stage.scratch.join("configs");
    let mut given = vec!["/*".to_owned()];
    let above: Vec<&Path> = folder.ancestors().filter(|path| path.parent().is_some()).collect();
    for path in above.into_iter().rev() {
        given.push(format!("!{}", path.display()));
        given.push(format!("{}/*", path.display()));
    }
    given.pop();
    let pattern =
        |text: String| GivenPattern { text: text.into_bytes(), ignores_case: false, origin: "test".into() };
    let patterns = Patterns::new(given.into_iter().map(pattern).collect()).unwrap();
    stage.job.sources[0].input = JobInput::Paths {
        patterns: vec!["/".into()],
        excludes: Excludes { patterns, ..Excludes::default() },
    };
    stage.job.sources[1].on_failure = OnFailure::KeepPrevious;
    let names = |report: &RunReport, folder: &Path| {
        let repository = stage.repository();
        let entry = snapshot(&repository, report.backup.id);
        if folder == Path::new("/") {
            let reader = repository.reader().unwrap();
            let entries = Tree::new(&reader).directory(entry.snapshot.tree);
            return entries.map(|entry| String::from_utf8(entry.unwrap().node.name).unwrap()).collect();
        }
        let mut names = Vec::new();
        crate::engine::list_below(&repository, &entry, folder, &mut names);
        names
    };
    for (day, refuses) in [(0, false), (1, false), (2, true)] {
        stage.shop.refuses.store(refuses, Ordering::Relaxed);
        let report = stage.run_at(day, &[], Vec::new()).unwrap();
        let top = folder.iter().nth(1).unwrap().to_str().unwrap();
        let root = names(&report, Path::new("/"));
        assert!(root.iter().any(|name| name == "dumps") && root.iter().any(|name| name == top), "{root:?}");
        assert_eq!(names(&report, &folder), ["file"], "day {day}");
        assert_eq!(names(&report, Path::new("/dumps/shop")), ["shop.sql"], "day {day}");
        let sources = &report.backup.snapshot.sources;
        assert_eq!(sources[0].outcome, SourceOutcome::Complete);
        assert_eq!(sources[1].carried.is_some(), refuses);
    }
    // Alone, each is what it was before.
    stage.shop.refuses.store(false, Ordering::Relaxed);
    let report = stage.run_at(3, &["configs"], Vec::new()).unwrap();
    assert!(!names(&report, Path::new("/")).iter().any(|name| name == "dumps"));
}

#[test]
fn a_plan_tells_which_sources_claim_one_place() {
    let mut stage = Stage::new(None);
    let options = RunOptions { backup: options(), only: Vec::new(), zone: TimeZone::UTC };
    let conflict = |stage: &Stage| plan(None, &stage.job, &options, &Silent).unwrap().conflict;
    assert_eq!(conflict(&stage), None);
    let patterns = vec![stage.scratch.join("configs/fi*").to_str().unwrap().to_owned()];
    stage.job.sources.push(JobSource {
        name: "again".into(),
        on_failure: OnFailure::Fail,
        time_limit: None,
        input: JobInput::Paths { patterns, excludes: Excludes::default() },
    });
    let folder = stage.scratch.join("configs");
    let shown = folder.display();
    let told = conflict(&stage).unwrap();
    assert_eq!(
        told,
        format!(
            "the source {shown}/file lies in the source {shown}, with which it is backed up: leave out {shown}/file"
        )
    );
    let error = stage.run_at(0, &[], Vec::new()).unwrap_err();
    assert_eq!(error.chain().join(": "), told);
}
