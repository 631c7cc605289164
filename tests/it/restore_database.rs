//! A database that is put back: what reaches the one who puts it back, in which order, and what does not.
//!
//! What must hold: every dump arrives byte for byte or its step fails, whatever that step makes of it; after a step that
//! failed none is begun; of a source that is not whole it is said.

mod servers;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use packstone::base::{Error, ErrorKind, Monitor, Result};
use packstone::format::config::Parameters;
use packstone::ops::backup::{BackupOptions, BackupSource, OnFailure, SourceInput, backup_sources};
use packstone::ops::restore_database::{RestoreDatabaseSummary, StoredSource, database_sources};
use packstone::repository::{Repository, SnapshotEntry};
use packstone::source::engine::AnyCommand;
use packstone::source::{
    Dump, Dumps, Engine, Excludes, Feed, Listener, LoadOptions, LoadPlan, LoadStep, OpenDump, StoredDump,
};
use packstone::storage::memory::Memory;

use crate::engine::{Findings, in_memory, init, options, pass_tick, snapshot};
use crate::support::scratch::Scratch;

/// What a step of the made-up database does with its dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Takes,
    TakesTwice,
    /// Takes so many bytes and no more.
    TakesUpTo(usize),
    /// Ends well whatever became of the dump.
    EndsWell,
    /// The same, and did not even look.
    LooksAway,
    /// Fails in its own way whatever became of it.
    Fails,
}

/// What a step was given, by the name of its dump.
type Given = (String, Vec<u8>);

/// A database that keeps what it is given.
#[derive(Clone, Debug)]
struct MadeUp {
    /// What the steps do, by the name of the dump.
    steps: Vec<(&'static str, Step)>,
    given: Arc<Mutex<Vec<Given>>>,
}

impl MadeUp {
    fn new(steps: &[(&'static str, Step)]) -> Self {
        Self { steps: steps.to_vec(), given: Arc::default() }
    }

    /// The steps that were begun, and what each got.
    fn given(&self) -> Vec<Given> {
        self.given.lock().unwrap().clone()
    }

    fn begun(&self) -> Vec<String> {
        self.given().into_iter().map(|(name, _)| name).collect()
    }
}

/// Takes some bytes, then no more.
struct UpTo(Vec<u8>, usize);

impl Write for UpTo {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(self.1 - self.0.len());
        self.0.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn take(step: Step, feed: &mut Feed<'_>) -> (Result<()>, Vec<u8>) {
    let mut bytes = Vec::new();
    let outcome = match step {
        Step::Takes => feed(&mut bytes),
        Step::TakesTwice => feed(&mut Vec::new()).and_then(|()| feed(&mut bytes)),
        Step::TakesUpTo(count) => {
            let mut some = UpTo(Vec::new(), count);
            let fed = feed(&mut some);
            bytes = some.0;
            fed
        }
        Step::EndsWell => {
            drop(feed(&mut bytes));
            Ok(())
        }
        Step::LooksAway => Ok(()),
        Step::Fails => {
            drop(feed(&mut bytes));
            Err(Error::new(ErrorKind::Failed, "the program exited with status 3"))
        }
    };
    (outcome, bytes)
}

impl Engine for MadeUp {
    fn kind(&self) -> &'static str {
        "made-up"
    }

    fn dump(&self, _: &Listener) -> Result<Dumps> {
        Err(Error::new(ErrorKind::Failed, "nothing is dumped by it"))
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, _: &Listener) -> Result<LoadPlan> {
        let mut plan = LoadPlan::default();
        for (name, step) in self.steps.clone() {
            if !options.databases.is_empty() && !options.databases.iter().any(|wanted| wanted == name) {
                continue;
            }
            let is_stored = stored.iter().any(|dump| dump.name == name);
            assert!(is_stored || name == "missing", "{name} among {stored:?}");
            let given = Arc::clone(&self.given);
            let run = move |feed: &mut Feed<'_>| {
                let number = given.lock().unwrap().len();
                given.lock().unwrap().push((name.to_owned(), Vec::new()));
                let (outcome, bytes) = take(step, feed);
                given.lock().unwrap()[number].1 = bytes;
                outcome
            };
            let what = format!("restore {name}");
            plan.steps.push(LoadStep { what, dump: Some(name.to_owned()), run: Box::new(run) });
        }
        let given = Arc::clone(&self.given);
        let analyse = move |feed: &mut Feed<'_>| {
            let mut nothing = Vec::new();
            feed(&mut nothing)?;
            given.lock().unwrap().push(("analyse".to_owned(), nothing));
            Ok(())
        };
        if !plan.steps.is_empty() {
            plan.steps.push(LoadStep { what: "analyse".into(), dump: None, run: Box::new(analyse) });
        }
        Ok(plan)
    }
}

fn dump(name: &'static str, content: Vec<u8>, is_whole: bool) -> Dump {
    let open = move || {
        let reader: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(content));
        let broke_off = || Err(Error::new(ErrorKind::Failed, "it broke off"));
        let end = move || if is_whole { Ok(()) } else { broke_off() };
        Ok(OpenDump { reader, end: Box::new(end), stop: Box::new(|| {}) })
    };
    Dump { name: name.into(), metadata: None, open: Box::new(open) }
}

fn database(name: &str, on_failure: OnFailure, dumps: Vec<Dump>) -> BackupSource<'static> {
    let dumps = Dumps { consistency: "by hand".into(), dumps, problems: Vec::new(), end: None };
    let input =
        SourceInput::Dumps { kind: "made-up".into(), begin: Box::new(move |_| Ok(dumps)), time_limit: None };
    BackupSource { name: name.into(), on_failure, input }
}

fn back_up(repository: &Repository, sources: Vec<BackupSource<'_>>) -> SnapshotEntry {
    let options = BackupOptions { job: Some("nightly".into()), ..options() };
    pass_tick();
    let summary =
        backup_sources(repository, sources, Path::new("/"), &options, &Findings::default()).unwrap();
    pass_tick();
    snapshot(repository, summary.id)
}

/// Noise of this length, other for each seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Counts what it is told, and asks to stop once so many bytes were written.
#[derive(Default)]
struct Counting {
    expected: Mutex<(u64, u64)>,
    files: AtomicU64,
    bytes: AtomicU64,
    stops_after: Option<u64>,
    is_stopped: AtomicBool,
}

impl Monitor for Counting {
    fn expect(&self, files: u64, bytes: u64) {
        *self.expected.lock().unwrap() = (files, bytes);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.stops_after.is_some_and(|limit| all >= limit) {
            self.is_stopped.store(true, Ordering::Relaxed);
        }
    }

    fn cancelled(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

fn find<'r>(repository: &'r Repository, entry: &'r SnapshotEntry, name: &str) -> Result<StoredSource<'r>> {
    StoredSource::find(repository, entry, name, &Counting::default())
}

fn listener() -> Listener {
    Listener::silent()
}

fn restore(
    source: &StoredSource<'_>,
    engine: &MadeUp,
    monitor: &dyn Monitor,
) -> Result<RestoreDatabaseSummary> {
    let plan = source.plan(engine, &LoadOptions::default(), &listener()).unwrap();
    source.restore(plan, monitor)
}

#[test]
fn every_dump_arrives_as_it_was_in_the_order_of_the_plan() {
    let contents = [
        ("globals", noise(1, 17)),
        ("empty", Vec::new()),
        ("long", noise(2, 3_000_000)),
        ("srv/app/a.db", noise(3, 9)),
    ];
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let repository = in_memory(parameters);
        let dumps = contents.clone().map(|(name, content)| dump(name, content, true));
        let entry = back_up(&repository, vec![database("shop", OnFailure::Fail, dumps.into())]);
        let source = find(&repository, &entry, "shop").unwrap();
        assert_eq!(
            (source.kind(), source.is_partial(), source.time()),
            ("made-up", false, entry.snapshot.time)
        );
        let engine = MadeUp::new(&[
            ("srv/app/a.db", Step::Takes),
            ("long", Step::TakesTwice),
            ("empty", Step::Takes),
            ("globals", Step::Takes),
        ]);
        let monitor = Counting::default();
        let summary = restore(&source, &engine, &monitor).unwrap();
        assert_eq!(summary, RestoreDatabaseSummary { steps: 5, dumps: 4, bytes: 3_000_026 });
        let mut expected: Vec<_> =
            contents.clone().into_iter().rev().map(|(name, content)| (name.to_owned(), content)).collect();
        expected.push(("analyse".to_owned(), Vec::new()));
        assert!(
            engine.given()
                == [&expected[0], &expected[1], &expected[2], &expected[3], &expected[4]].map(Clone::clone)
        );
        // What is written again is not told again.
        assert_eq!(*monitor.expected.lock().unwrap(), (4, 3_000_026));
        assert_eq!((monitor.files.into_inner(), monitor.bytes.into_inner()), (4, 3_000_026));
        // Only some of it, and nothing that it does not have.
        let options = LoadOptions { databases: vec!["empty".into()], ..LoadOptions::default() };
        let plan = source.plan(&engine, &options, &listener()).unwrap();
        assert_eq!((plan.steps.len(), source.planned_bytes(&plan)), (2, 0));
        let options = LoadOptions { databases: vec!["nothing".into()], ..LoadOptions::default() };
        let error = source.plan(&engine, &options, &listener()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error =
            source.plan(&MadeUp::new(&[("missing", Step::Takes)]), &LoadOptions::default(), &listener());
        assert_eq!(error.unwrap_err().to_string(), "cannot restore missing: missing is not stored");
    }
}

#[test]
fn a_step_that_fails_is_the_last_and_one_that_took_half_has_failed() {
    let repository = in_memory(Parameters::tiny());
    let dumps = ["a", "b", "c"].map(|name| dump(name, noise(4, 50_000), true));
    let entry = back_up(&repository, vec![database("shop", OnFailure::Fail, dumps.into())]);
    let source = find(&repository, &entry, "shop").unwrap();
    for (step, why) in [
        (Step::Fails, "the program exited with status 3"),
        (Step::LooksAway, "it ended without taking all of its dump"),
        (Step::TakesUpTo(20_000), "cannot write /dumps/shop/b to the output"),
        (Step::TakesUpTo(0), "cannot write /dumps/shop/b to the output"),
    ] {
        let engine = MadeUp::new(&[("a", Step::Takes), ("b", step), ("c", Step::Takes)]);
        let error = restore(&source, &engine, &Counting::default()).unwrap_err();
        assert_eq!(engine.begun(), ["a", "b"], "{step:?}");
        assert_eq!(error.kind(), ErrorKind::Failed);
        let chain = error.chain();
        assert_eq!(chain[..2], ["cannot restore b (step 2 of 4; the 2 after it were not begun)", why]);
    }
    let engine = MadeUp::new(&[("a", Step::Takes), ("b", Step::Takes), ("c", Step::EndsWell)]);
    restore(&source, &engine, &Counting::default()).unwrap();
    assert_eq!(engine.begun(), ["a", "b", "c", "analyse"]);
}

#[test]
fn an_interruption_ends_a_program_that_reads_nothing() {
    let repository = in_memory(Parameters::tiny());
    // More than a pipe holds.
    let dumps = vec![dump("long", noise(6, 1 << 20), true)];
    let entry = back_up(&repository, vec![database("shop", OnFailure::Fail, dumps)]);
    let source = find(&repository, &entry, "shop").unwrap();
    let engine = AnyCommand {
        command: Vec::new(),
        file_name: "long".into(),
        environment: Vec::new(),
        container: None,
        run_as: None,
        ends_with: None,
        restore_command: ["sh", "-c", "echo ready >&2; exec sleep 1000"].map(str::to_owned).into(),
    };
    let (ready, is_ready) = std::sync::mpsc::channel();
    let listener = Listener::new(move |line| ready.send(line.to_owned()).unwrap());
    let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
    let (plan, monitor) = (source.plan(&engine, &options, &listener).unwrap(), Counting::default());
    let error = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| source.restore(plan, &monitor));
        assert_eq!(is_ready.recv().unwrap(), "ready");
        monitor.is_stopped.store(true, Ordering::Relaxed);
        listener.stops().stop_all();
        restoring.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{:?}", error.chain());
}

#[test]
fn a_damaged_dump_fails_its_step_whatever_that_makes_of_it() {
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let whole = noise(5, 400_000);
    let dumps =
        vec![dump("a", b"first".to_vec(), true), dump("b", whole.clone(), true), dump("c", Vec::new(), true)];
    let entry = back_up(&repository, vec![database("shop", OnFailure::Fail, dumps)]);
    let packs: Vec<_> = memory.names().into_iter().filter(|name| name.folder() == "packs").collect();
    assert!(packs.len() > 3);
    let (mut failed, mut partial) = (0, 0);
    for step in [Step::Takes, Step::EndsWell, Step::Fails] {
        for name in &packs {
            let pack = memory.bytes(name).unwrap();
            let mut damaged = pack.to_vec();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 4;
            memory.replace(name, damaged);
            let engine = MadeUp::new(&[("a", Step::Takes), ("b", step), ("c", Step::Takes)]);
            let outcome = find(&repository, &entry, "shop")
                .and_then(|source| restore(&source, &engine, &Counting::default()));
            memory.replace(name, pack);
            let given = engine.given();
            match outcome {
                Ok(_) => assert!(given[1].1 == whole && step != Step::Fails),
                Err(error) if given.len() == 2 => {
                    let is_own = step == Step::Fails && given[1].1 == whole;
                    assert_eq!(
                        error.kind(),
                        if is_own { ErrorKind::Failed } else { ErrorKind::Damaged },
                        "{error:?}"
                    );
                    assert!(whole.starts_with(&given[1].1));
                    assert!(error.to_string().starts_with("cannot restore b (step 2 of 4"), "{error}");
                    failed += 1;
                    partial += u64::from(!is_own && !given[1].1.is_empty());
                }
                // A pack of the trees or of the first dump.
                Err(error) => {
                    assert_eq!((error.kind(), given.len() < 2), (ErrorKind::Damaged, true), "{error:?}")
                }
            }
        }
    }
    println!("{failed} steps failed, {partial} in the middle");
    assert!(partial > 2);
}

#[test]
fn who_asks_to_stop_is_heard_within_a_dump_and_between_steps() {
    let repository = in_memory(Parameters::tiny());
    let dumps = ["a", "b"].map(|name| dump(name, noise(6, 300_000), true));
    let entry = back_up(&repository, vec![database("shop", OnFailure::Fail, dumps.into())]);
    let source = find(&repository, &entry, "shop").unwrap();
    for (stops_after, step, expected) in [
        (100_000, Step::Takes, "cannot restore a (step 1 of 3; the 2 after it were not begun)"),
        (100_000, Step::EndsWell, "cannot restore a (step 1 of 3; the 2 after it were not begun)"),
        (100_000, Step::Fails, "cannot restore a (step 1 of 3; the 2 after it were not begun)"),
        (300_000, Step::Takes, "interrupted before the step 2 of 3: restore b"),
    ] {
        let engine = MadeUp::new(&[("a", step), ("b", Step::Takes)]);
        let monitor = Counting { stops_after: Some(stops_after), ..Counting::default() };
        let error = restore(&source, &engine, &monitor).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Interrupted, expected));
        let given = engine.given();
        assert_eq!((given.len(), given[0].1.len() < 300_000), (1, stops_after < 300_000));
    }
}

#[test]
fn of_a_source_that_is_not_whole_it_is_said() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), "kept").unwrap();
    let repository = in_memory(Parameters::tiny());
    let configs = || BackupSource {
        name: "configs".into(),
        on_failure: OnFailure::Fail,
        input: SourceInput::Paths {
            paths: vec![scratch.join("file")],
            excludes: Excludes::default(),
            problems: Vec::new(),
        },
    };
    let sources = |on_failure: OnFailure, is_whole: bool| {
        vec![
            configs(),
            database(
                "shop",
                on_failure,
                vec![dump("a", b"rows".to_vec(), true), dump("b", Vec::new(), is_whole)],
            ),
            database("lost", on_failure, vec![dump("a", Vec::new(), is_whole)]),
            database("nothing", on_failure, Vec::new()),
        ]
    };
    let first = back_up(&repository, sources(OnFailure::KeepPrevious, true));
    let carried = back_up(&repository, sources(OnFailure::KeepPrevious, false));
    let partial = back_up(&repository, sources(OnFailure::Partial, false));
    let names: Vec<_> =
        database_sources(&first.snapshot).iter().map(|source| source.name.clone().unwrap()).collect();
    assert_eq!(names, ["shop", "lost", "nothing"]);

    let source = find(&repository, &carried, "shop").unwrap();
    assert_eq!((source.time(), source.is_partial(), source.dumps().len()), (first.snapshot.time, false, 2));
    let source = find(&repository, &partial, "shop").unwrap();
    assert_eq!((source.time(), source.is_partial(), source.dumps().len()), (partial.snapshot.time, true, 1));

    let refused = |entry: &SnapshotEntry, name: &str| {
        let error = find(&repository, entry, name).unwrap_err();
        (error.kind(), error.chain())
    };
    let id = partial.id.short();
    let (kind, chain) = refused(&partial, "lost");
    assert_eq!(kind, ErrorKind::Failed);
    let expected = format!("snapshot {id} holds nothing of the source lost, which failed when it was made");
    assert_eq!(chain, [expected, "it broke off".to_owned()]);
    let (kind, chain) = refused(&partial, "shopp");
    assert_eq!(
        (kind, chain[0].as_str()),
        (
            ErrorKind::NotFound,
            format!("snapshot {id} has no source shopp; its databases are shop, lost, nothing").as_str()
        )
    );
    let (kind, chain) = refused(&partial, "configs");
    assert_eq!(kind, ErrorKind::Usage);
    assert_eq!(
        chain,
        [format!("the source configs of snapshot {id} holds files and directories, and no database")]
    );
    let (kind, chain) = refused(&partial, "nothing");
    assert_eq!(kind, ErrorKind::Failed);
    assert_eq!(
        chain,
        [format!("snapshot {id} holds no dump of the source nothing: there was nothing to dump")]
    );
}
