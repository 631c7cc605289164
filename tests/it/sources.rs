//! One snapshot from many sources: what becomes of each, and of the others if one fails.
//!
//! What must hold: a dump that did not end well is never part of a snapshot as a whole one; each source has its status;
//! what takes the place of a source that failed is its last good tree, and the snapshot says from when.

mod ended;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use packstone::base::host::Host;
use packstone::base::{Error, ErrorKind, Finding, Monitor, Result, SessionId};
use packstone::format::config::Parameters;
use packstone::format::snapshot::{SourceOutcome, SourceStatus, Statistic};
use packstone::ops::backup::{
    BackupOptions, BackupSource, BackupSummary, OnFailure, SourceInput, backup_sources,
};
use packstone::ops::dump::dump_file;
use packstone::repository::{Repository, SessionOptions};
use packstone::source::{Dump, Dumps, Excludes, GivenPattern, Listener, OpenDump, Patterns};

use crate::engine::{Findings, give_back, in_memory, open, options, pass_tick, snapshot};
use crate::support::scratch::Scratch;

/// How a dump of these tests ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    /// Whoever makes it says that it broke off.
    Broken,
    /// It cannot be read to its end.
    Unreadable,
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Failed, message)
}

struct Breaking(&'static [u8]);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Err(std::io::Error::other("the pipe broke"));
        }
        self.0.read(buffer)
    }
}

fn dump(name: &str, content: &'static [u8], end: End) -> Dump {
    let open = move || {
        let reader: Box<dyn Read + Send> = match end {
            End::Unreadable => Box::new(Breaking(content)),
            _ => Box::new(content),
        };
        let end = move || if end == End::Broken { Err(failed("it broke off")) } else { Ok(()) };
        Ok(OpenDump { reader, end: Box::new(end), stop: Box::new(|| {}) })
    };
    Dump { name: name.into(), metadata: None, open: Box::new(open) }
}

fn dumps_of(dumps: Vec<Dump>) -> Dumps {
    Dumps { consistency: "one transaction".into(), dumps, problems: Vec::new(), end: None }
}

fn database(
    name: &str,
    on_failure: OnFailure,
    begin: impl FnOnce() -> Result<Dumps> + Send + 'static,
) -> BackupSource<'static> {
    let input =
        SourceInput::Dumps { kind: "postgres".into(), begin: Box::new(|_| begin()), time_limit: None };
    BackupSource { name: name.into(), on_failure, input }
}

fn paths(name: &str, paths: &[PathBuf], on_failure: OnFailure) -> BackupSource<'static> {
    let input =
        SourceInput::Paths { paths: paths.to_vec(), excludes: Excludes::default(), problems: Vec::new() };
    BackupSource { name: name.into(), on_failure, input }
}

fn of_job() -> BackupOptions {
    BackupOptions { job: Some("nightly".into()), ..options() }
}

/// Remembers what it is told.
#[derive(Default)]
struct Told {
    findings: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.to_string());
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

fn run(repository: &Repository, sources: Vec<BackupSource<'_>>) -> (Result<BackupSummary>, Vec<String>) {
    let told = Told::default();
    pass_tick();
    let summary = backup_sources(repository, sources, Path::new("/"), &of_job(), &told);
    pass_tick();
    (summary, told.findings.into_inner().unwrap())
}

/// The bytes of a file of a snapshot.
fn content(repository: &Repository, id: SessionId, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let findings = Findings::default();
    dump_file(repository, &snapshot(repository, id), path.as_bytes(), &mut bytes, &findings)?;
    findings.assert_none();
    Ok(bytes)
}

fn status<'s>(summary: &'s BackupSummary, name: &str) -> &'s SourceStatus {
    let is_it = |status: &&SourceStatus| status.name.as_deref() == Some(name);
    summary.snapshot.sources.iter().find(is_it).expect("a status")
}

#[test]
fn sources_of_all_kinds_become_one_snapshot() {
    let scratch = Scratch::new();
    let [configs, volumes] = ["configs", "volumes"].map(|name| scratch.join(name));
    for folder in [&configs, &volumes] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), folder.as_os_str().as_encoded_bytes()).unwrap();
        std::fs::write(folder.join("left.tmp"), "x").unwrap();
    }
    let repository = in_memory(Parameters::tiny());
    let mut of_configs = paths("configs", std::slice::from_ref(&configs), OnFailure::Fail);
    let SourceInput::Paths { excludes, .. } = &mut of_configs.input else {
        panic!("these are paths");
    };
    let pattern = GivenPattern { text: b"*.tmp".to_vec(), ignores_case: false, origin: "a test".into() };
    excludes.patterns = Patterns::new(vec![pattern]).unwrap();
    let sources = vec![
        of_configs,
        paths("volumes", std::slice::from_ref(&volumes), OnFailure::Fail),
        database("shop", OnFailure::Fail, || {
            let globals = dump("globals.sql", b"roles", End::Well);
            Ok(dumps_of(vec![globals, dump("shop.sql", b"rows", End::Well)]))
        }),
        database("files", OnFailure::Fail, || {
            Ok(dumps_of(vec![
                dump("srv/app/a.db", b"one", End::Well),
                dump("srv/app/b.db", b"two", End::Well),
            ]))
        }),
        database("nothing", OnFailure::Fail, || Ok(dumps_of(Vec::new()))),
    ];
    let (summary, findings) = run(&repository, sources);
    let summary = summary.unwrap();
    assert_eq!(findings, Vec::<String>::new());
    let names: Vec<_> = summary.snapshot.sources.iter().map(|source| source.name.clone().unwrap()).collect();
    assert_eq!(names, ["configs", "volumes", "shop", "files", "nothing"]);
    for source in &summary.snapshot.sources {
        assert_eq!((source.outcome, source.findings, &source.carried), (SourceOutcome::Complete, 0, &None));
    }
    assert_eq!(status(&summary, "shop").consistency.as_deref(), Some("one transaction"));
    assert_eq!((status(&summary, "shop").nodes, status(&summary, "shop").bytes), (3, 9));
    assert_eq!(status(&summary, "files").nodes, 5, "two files, and the folders srv, srv/app and their own");
    // Two in each directory but for the one that is left out, and four dumps.
    assert_eq!(summary.snapshot.file_count(), 7);
    assert_eq!(summary.snapshot.job.as_deref(), Some("nightly"));
    assert_eq!(summary.snapshot.excludes, ["*.tmp"]);
    for (path, expected) in [
        ("/dumps/shop/globals.sql", "roles"),
        ("/dumps/shop/shop.sql", "rows"),
        ("/dumps/files/srv/app/b.db", "two"),
    ] {
        assert_eq!(content(&repository, summary.id, path).unwrap(), expected.as_bytes());
    }
    // The rules of one source are not those of the other.
    let target = scratch.join("target");
    give_back(&repository, summary.id, None, &target);
    let within = |path: &Path| target.join(path.strip_prefix("/").unwrap());
    assert!(!within(&configs).join("left.tmp").exists());
    assert!(within(&volumes).join("left.tmp").exists());
    assert_eq!(std::fs::read(within(&configs).join("file")).unwrap(), configs.as_os_str().as_encoded_bytes());
    assert!(target.join("dumps/nothing").is_dir());
}

#[test]
fn a_dump_that_fails_is_never_part_of_a_snapshot_as_a_whole_one() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), "kept").unwrap();
    let mut cases = 0;
    for end in [End::Broken, End::Unreadable] {
        for on_failure in [OnFailure::Fail, OnFailure::Partial, OnFailure::KeepPrevious] {
            let repository = in_memory(Parameters::tiny());
            let sources = vec![
                paths("configs", &[scratch.join("file")], OnFailure::Fail),
                database("shop", on_failure, move || {
                    let dumps = [("a.sql", End::Well), ("b.sql", end), ("c.sql", End::Well)];
                    Ok(dumps_of(dumps.map(|(name, end)| dump(name, b"rows", end)).into()))
                }),
            ];
            let (summary, findings) = run(&repository, sources);
            cases += 1;
            if on_failure == OnFailure::Fail {
                let error = summary.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Failed);
                let told = error.chain().join(": ");
                assert!(told.starts_with("the source shop failed; no snapshot was made: "), "{told}");
                assert_eq!(repository.snapshots().unwrap().visible.len(), 0);
                continue;
            }
            let summary = summary.unwrap();
            let why =
                if end == End::Broken { "it broke off" } else { "cannot read the stream: the pipe broke" };
            assert_eq!(findings, [format!("/dumps/shop/b.sql: unreadable: {why}")]);
            let shop = status(&summary, "shop");
            assert_eq!((shop.outcome, shop.findings), (SourceOutcome::Partial, 1), "{end:?} {on_failure:?}");
            assert_eq!(shop.message.as_deref(), Some(why));
            assert_eq!(content(&repository, summary.id, "/dumps/shop/c.sql").unwrap(), b"rows");
            let missing = content(&repository, summary.id, "/dumps/shop/b.sql").unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            assert_eq!(status(&summary, "configs").outcome, SourceOutcome::Complete);
        }
    }
    println!("{cases} ways to fail");
}

#[test]
fn a_source_that_cannot_begin_or_is_of_several_moments_leaves_nothing() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), "kept").unwrap();
    let repository = in_memory(Parameters::tiny());
    let sources = vec![
        paths("configs", &[scratch.join("file")], OnFailure::Fail),
        database("refused", OnFailure::Partial, || Err(failed("connection refused"))),
        database("torn", OnFailure::Partial, || {
            let end: Box<dyn FnOnce() -> Result<()> + Send> =
                Box::new(|| Err(failed("it changed meanwhile")));
            Ok(Dumps { end: Some(end), ..dumps_of(vec![dump("a", b"rows", End::Well)]) })
        }),
        database("half", OnFailure::Partial, || {
            let problems = vec!["there is no database b".to_owned()];
            Ok(Dumps { problems, ..dumps_of(vec![dump("a", b"rows", End::Well)]) })
        }),
    ];
    let (summary, mut findings) = run(&repository, sources);
    let summary = summary.unwrap();
    findings.sort();
    assert_eq!(
        findings,
        [
            "/dumps/half: unreadable: there is no database b",
            "/dumps/refused: unreadable: connection refused",
            "/dumps/torn: unreadable: it changed meanwhile",
        ]
    );
    let of = |name| (status(&summary, name).outcome, status(&summary, name).nodes);
    assert_eq!(of("refused"), (SourceOutcome::Failed, 0));
    assert_eq!(of("torn"), (SourceOutcome::Failed, 0));
    assert_eq!(of("half"), (SourceOutcome::Partial, 2));
    assert_eq!(summary.snapshot.findings, 3);
    for path in ["/dumps/torn/a", "/dumps/refused"] {
        assert_eq!(content(&repository, summary.id, path).unwrap_err().kind(), ErrorKind::NotFound);
    }
    // Without anything at all there is no snapshot.
    let sources = vec![database("refused", OnFailure::Partial, || Err(failed("connection refused")))];
    let error = run(&repository, sources).0.unwrap_err();
    assert_eq!(error.to_string(), "no source could be read; no snapshot was made");
    assert_eq!(repository.snapshots().unwrap().visible.len(), 1);
}

#[test]
fn the_last_good_tree_takes_the_place_of_a_source_that_failed() {
    let scratch = Scratch::new();
    let folder = scratch.join("volume");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "first").unwrap();
    let storage = Arc::new(packstone::storage::memory::Memory::new());
    let repository = crate::engine::init(Arc::clone(&storage) as _, Parameters::tiny(), None);
    let sources = |end: End| {
        vec![
            paths("volume", std::slice::from_ref(&folder), OnFailure::KeepPrevious),
            database("shop", OnFailure::KeepPrevious, move || {
                Ok(dumps_of(vec![
                    dump("globals.sql", b"roles", End::Well),
                    dump("shop.sql", if end == End::Well { b"good" } else { b"half" }, end),
                ]))
            }),
        ]
    };
    let first = run(&repository, sources(End::Well)).0.unwrap();
    // Nothing of the volume can be found either.
    std::fs::rename(&folder, scratch.join("away")).unwrap();
    let mut before = None;
    for night in 0..3 {
        let (summary, findings) = run(&open(Arc::clone(&storage) as _, None), sources(End::Broken));
        let summary = summary.unwrap();
        assert_eq!(findings.len(), 2, "{findings:?}");
        for name in ["volume", "shop"] {
            let status = status(&summary, name);
            assert_eq!(status.outcome, SourceOutcome::Failed, "night {night}: {name}");
            let carried = status.carried.expect("it was taken over");
            assert_eq!((carried.snapshot, carried.time), (first.id, first.snapshot.time));
            assert_eq!(status.nodes, crate::sources::status(&first, name).nodes);
        }
        assert_eq!(summary.snapshot.file_count(), 3);
        let repository = open(Arc::clone(&storage) as _, None);
        assert_eq!(content(&repository, summary.id, "/dumps/shop/shop.sql").unwrap(), b"good");
        let file = folder.join("file");
        assert_eq!(content(&repository, summary.id, file.to_str().unwrap()).unwrap(), b"first");
        // What it was taken from may go.
        crate::process::forget(Arc::clone(&storage) as _, before.unwrap_or(first.id)).unwrap();
        before = Some(summary.id);
    }
    // A source that is good again is itself again.
    std::fs::rename(scratch.join("away"), &folder).unwrap();
    let (summary, findings) = run(&open(Arc::clone(&storage) as _, None), sources(End::Well));
    let summary = summary.unwrap();
    assert_eq!(findings, Vec::<String>::new());
    assert!(summary.snapshot.sources.iter().all(|status| status.carried.is_none()));
    assert_eq!(crate::process::check(Arc::clone(&storage) as _).unwrap().damaged, 0);
}

#[test]
fn what_was_remembered_of_a_source_is_forgotten_when_another_tree_takes_its_place() {
    let scratch = Scratch::new();
    let [volume, away, cache] = ["volume", "away", "cache"].map(|name| scratch.join(name));
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    std::fs::write(volume.join("sub/file"), vec![7; 100_000]).unwrap();
    std::fs::write(scratch.join("other"), "x").unwrap();
    let storage = Arc::new(packstone::storage::memory::Memory::new());
    crate::engine::init(Arc::clone(&storage) as _, Parameters::tiny(), Some(&cache));
    let opened = || open(Arc::clone(&storage) as _, Some(&cache));
    let whole = || {
        vec![
            paths("volume", std::slice::from_ref(&volume), OnFailure::KeepPrevious),
            paths("other", &[scratch.join("other")], OnFailure::Partial),
        ]
    };
    let first = run(&opened(), whole()).0.unwrap();
    // Another set of sources, which remembers for itself, sees the volume without it.
    std::fs::rename(volume.join("sub"), &away).unwrap();
    let alone = vec![paths("volume", std::slice::from_ref(&volume), OnFailure::KeepPrevious)];
    let second = run(&opened(), alone).0.unwrap();
    std::fs::rename(&volume, scratch.join("gone")).unwrap();
    let third = run(&opened(), whole()).0.unwrap();
    assert_eq!(status(&third, "volume").carried.unwrap().snapshot, second.id);
    for id in [first.id, second.id] {
        crate::process::forget(Arc::clone(&storage) as _, id).unwrap();
    }
    crate::process::prune(Arc::clone(&storage) as _, &Host::current()).unwrap();
    // All is as it was in the first run, whose chunks are gone.
    std::fs::rename(scratch.join("gone"), &volume).unwrap();
    std::fs::rename(&away, volume.join("sub")).unwrap();
    let fourth = run(&opened(), whole()).0.unwrap();
    assert_eq!(status(&fourth, "volume").outcome, SourceOutcome::Complete);
    let file = volume.join("sub/file");
    assert_eq!(content(&opened(), fourth.id, file.to_str().unwrap()).unwrap(), vec![7; 100_000]);
    assert_eq!(crate::process::check(Arc::clone(&storage) as _).unwrap().damaged, 0);
}

#[test]
fn a_tree_takes_the_place_while_packs_are_condemned_too() {
    let storage = Arc::new(packstone::storage::memory::Memory::new());
    let repository = crate::engine::init(Arc::clone(&storage) as _, Parameters::tiny(), None);
    let source = |end: End, text: &'static [u8]| {
        vec![database("shop", OnFailure::KeepPrevious, move || {
            Ok(dumps_of(vec![dump("a.sql", text, End::Well), dump("b.sql", b"rows", end)]))
        })]
    };
    let old = run(&repository, source(End::Well, b"old")).0.unwrap();
    crate::process::forget(Arc::clone(&storage) as _, old.id).unwrap();
    // A session that lives keeps the collection open.
    let other = open(Arc::clone(&storage) as _, None);
    let live = other.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let pruned = crate::process::prune(Arc::clone(&storage) as _, &Host::current()).unwrap();
    assert!(pruned.condemned > 0 && !pruned.waits_for.is_empty(), "{pruned:?}");
    // Made after that, so that nothing of it may be named again without a look.
    let good = run(&open(Arc::clone(&storage) as _, None), source(End::Well, b"new")).0.unwrap();
    let failed = run(&open(Arc::clone(&storage) as _, None), source(End::Broken, b"newer")).0.unwrap();
    assert_eq!(status(&failed, "shop").carried.unwrap().snapshot, good.id);
    live.close().unwrap();
    crate::process::prune(Arc::clone(&storage) as _, &Host::current()).unwrap();
    let repository = open(Arc::clone(&storage) as _, None);
    assert_eq!(content(&repository, failed.id, "/dumps/shop/a.sql").unwrap(), b"new");
    assert_eq!(crate::process::check(Arc::clone(&storage) as _).unwrap().damaged, 0);
}

#[test]
fn a_failure_ends_the_dumps_that_still_run() {
    /// Gives nothing until it is stopped.
    struct Silent(Receiver<()>);

    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            self.0.recv_timeout(Duration::from_secs(60)).map(|()| 0).map_err(std::io::Error::other)
        }
    }

    let repository = in_memory(Parameters::tiny());
    let (begun, has_begun) = channel();
    let was_stopped = Arc::new(AtomicBool::new(false));
    let of_stop = Arc::clone(&was_stopped);
    let sources = vec![
        database("silent", OnFailure::Partial, move || {
            let open = move || {
                let (stop, stopped) = channel();
                begun.send(()).unwrap();
                let stop = Mutex::new(stop);
                let end = || Err(failed("it was stopped"));
                Ok(OpenDump {
                    reader: Box::new(Silent(stopped)),
                    end: Box::new(end),
                    stop: Box::new(move || {
                        of_stop.store(true, Ordering::Relaxed);
                        stop.lock().unwrap().send(()).unwrap_or_default();
                    }),
                })
            };
            Ok(dumps_of(vec![Dump { name: "a".into(), metadata: None, open: Box::new(open) }]))
        }),
        database("broken", OnFailure::Fail, move || {
            has_begun.recv_timeout(Duration::from_secs(60)).unwrap();
            Err(failed("refused"))
        }),
    ];
    let error = run(&repository, sources).0.unwrap_err();
    assert_eq!(error.chain().join(": "), "the source broken failed; no snapshot was made: refused");
    assert!(was_stopped.load(Ordering::Relaxed));
}

#[test]
fn what_is_given_although_it_is_damaged_is_stored_and_told() {
    let damaged = |on_failure, is_damaged: bool, text: &'static [u8]| {
        let begin = move |listener: &Listener| {
            let (listener, Dump { open, .. }) = (listener.clone(), dump("a.db", text, End::Well));
            let open = move || {
                if is_damaged {
                    listener.finding("page 7 is no page; it is stored as it is".into());
                }
                open()
            };
            Ok(dumps_of(vec![Dump { name: "a.db".into(), metadata: None, open: Box::new(open) }]))
        };
        let input = SourceInput::Dumps { kind: "sqlite".into(), begin: Box::new(begin), time_limit: None };
        vec![BackupSource { name: "app".into(), on_failure, input }]
    };
    let repository = in_memory(Parameters::tiny());
    run(&repository, damaged(OnFailure::Partial, false, b"good")).0.unwrap();
    let (summary, findings) = run(&repository, damaged(OnFailure::Partial, true, b"hurt"));
    let summary = summary.unwrap();
    assert_eq!(findings, ["/dumps/app/a.db: damaged: page 7 is no page; it is stored as it is"]);
    assert_eq!(status(&summary, "app").outcome, SourceOutcome::Partial);
    assert_eq!(content(&repository, summary.id, "/dumps/app/a.db").unwrap(), b"hurt");
    // Who wants nothing but what is good has the last that was.
    let summary = run(&repository, damaged(OnFailure::KeepPrevious, true, b"hurt")).0.unwrap();
    assert_eq!(content(&repository, summary.id, "/dumps/app/a.db").unwrap(), b"good");
    assert!(status(&summary, "app").carried.is_some());
    let error = run(&repository, damaged(OnFailure::Fail, true, b"hurt")).0.unwrap_err();
    assert!(error.chain().join(": ").contains("page 7 is no page"), "{error:?}");
}

#[test]
fn dumps_run_at_the_same_time() {
    // Each waits until both are open.
    let met = Arc::new((Mutex::new(0), Condvar::new()));
    let repository = in_memory(Parameters::tiny());
    let waiting = |name: &'static str| {
        let met = Arc::clone(&met);
        database(name, OnFailure::Fail, move || {
            let open = move || {
                let (count, changed) = &*met;
                *count.lock().unwrap() += 1;
                changed.notify_all();
                let patience = Duration::from_secs(60);
                let waited = changed.wait_timeout_while(count.lock().unwrap(), patience, |count| *count < 2);
                assert!(!waited.unwrap().1.timed_out(), "the other did not begin");
                Ok(OpenDump { reader: Box::new(&b"x"[..]), end: Box::new(|| Ok(())), stop: Box::new(|| {}) })
            };
            Ok(dumps_of(vec![Dump { name: "a".into(), metadata: None, open: Box::new(open) }]))
        })
    };
    let summary = run(&repository, vec![waiting("one"), waiting("two")]).0.unwrap();
    assert_eq!(summary.snapshot.sources.len(), 2);
}

#[test]
fn a_job_follows_itself_whatever_its_paths_are() {
    let scratch = Scratch::new();
    let [one, two] = ["one", "two"].map(|name| scratch.join(name));
    for folder in [&one, &two] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
    }
    let repository = in_memory(Parameters::tiny());
    let of = |paths_of: &[PathBuf], text: &'static [u8]| {
        vec![
            paths("volumes", paths_of, OnFailure::Partial),
            database("shop", OnFailure::Partial, move || Ok(dumps_of(vec![dump("a.sql", text, End::Well)]))),
        ]
    };
    let first = run(&repository, of(std::slice::from_ref(&one), b"rows")).0.unwrap();
    assert_eq!((first.snapshot.generation, first.snapshot.parent), (1, None));
    let second = run(&repository, of(&[one.clone(), two.clone()], b"rows")).0.unwrap();
    assert_eq!((second.snapshot.generation, second.snapshot.parent), (2, Some(first.id)));
    let number = |summary: &BackupSummary, statistic| summary.snapshot.statistics.0[&statistic];
    assert_eq!(number(&second, Statistic::FilesUnmodified), 2, "the file of one, and the dump");
    assert_eq!(number(&second, Statistic::FilesNew), 1);
    // One source alone does not take the place of all for those that come.
    let alone = vec![paths("volumes", std::slice::from_ref(&two), OnFailure::Partial)];
    let third = run(&repository, alone).0.unwrap();
    assert_eq!(third.snapshot.parent, Some(second.id));
    let fourth = run(&repository, of(&[one, two], b"rest")).0.unwrap();
    assert_eq!(fourth.snapshot.parent, Some(second.id), "the newest with the same sources");
    assert_eq!(number(&fourth, Statistic::FilesChanged), 1);
    assert_eq!(number(&fourth, Statistic::FilesUnmodified), 2);
}

#[test]
fn two_sources_that_claim_one_place_are_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    let repository = in_memory(Parameters::tiny());
    let nothing = || database("shop", OnFailure::Partial, || Ok(dumps_of(Vec::new())));
    let sources = vec![nothing(), nothing()];
    assert_eq!(run(&repository, sources).0.unwrap_err().kind(), ErrorKind::Usage);
    let sources = vec![nothing(), paths("all", &["/dumps".into()], OnFailure::Partial)];
    assert_eq!(run(&repository, sources).0.unwrap_err().kind(), ErrorKind::Usage);
    let within = [scratch.path().to_owned(), scratch.join("below")];
    assert_eq!(
        run(&repository, vec![paths("all", &within, OnFailure::Fail)]).0.unwrap_err().kind(),
        ErrorKind::Usage
    );
}

#[test]
fn a_dump_leaves_no_name_outside_of_its_folder() {
    let repository = in_memory(Parameters::tiny());
    let names = ["../a", "a/../b", "", "/", "a//b", "."];
    for name in names {
        let sources = vec![
            database("shop", OnFailure::Partial, move || Ok(dumps_of(vec![dump(name, b"x", End::Well)]))),
            database("other", OnFailure::Partial, || Ok(dumps_of(vec![dump("a", b"x", End::Well)]))),
        ];
        let summary = run(&repository, sources).0.unwrap();
        assert_eq!(status(&summary, "shop").outcome, SourceOutcome::Failed, "{name:?}");
    }
    let twice = || Ok(dumps_of(vec![dump("a", b"x", End::Well), dump("a/b", b"y", End::Well)]));
    let summary = run(&repository, vec![database("shop", OnFailure::Partial, twice)]).0.unwrap();
    assert_eq!(status(&summary, "shop").outcome, SourceOutcome::Partial);
    println!("{} names", names.len());
}
