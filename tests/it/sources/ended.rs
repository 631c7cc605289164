//! Sources that never answer: what ends them.
//!
//! What must hold: a source that waits for ever never holds a run that is over, nor one that gave it a limit of time;
//! what was stopped is never taken for whole.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use packstone::base::{ErrorKind, Monitor, Result};
use packstone::format::config::Parameters;
use packstone::format::snapshot::SourceOutcome;
use packstone::ops::backup::{BackupSource, OnFailure, SourceInput, backup_sources};
use packstone::source::program::{NotEmpty, Program};
use packstone::source::{Dump, Dumps, Listener};

use super::{End, database, dump, dumps_of, of_job, run, status};
use crate::engine::in_memory;

/// A program that says that it was asked, and nothing else.
fn silent(listener: &Listener) -> Program {
    Program::of_command("sh", None, None, listener).arguments(["-c", "echo asked >&2; exec sleep 1000"])
}

/// A source whose server gives no answer, or whose second dump never comes.
fn waiting(name: &str, is_asked: bool, time_limit: Option<Duration>) -> BackupSource<'static> {
    let begin = move |listener: &Listener| -> Result<Dumps> {
        if is_asked {
            silent(listener).capture()?;
        }
        let program = silent(listener);
        let open = Box::new(move || program.open("cannot dump it", NotEmpty));
        let never = Dump { name: "never".into(), metadata: None, open };
        Ok(dumps_of(vec![never, dump("next", b"rows", End::Well)]))
    };
    let input = SourceInput::Dumps { kind: "postgres".into(), begin: Box::new(begin), time_limit };
    BackupSource { name: name.into(), on_failure: OnFailure::Partial, input }
}

#[test]
fn a_failure_ends_questions_and_dumps_that_are_never_answered() {
    for is_asked in [true, false] {
        let repository = in_memory(Parameters::tiny());
        let broken = database("broken", OnFailure::Fail, || Err(super::failed("refused")));
        let error = run(&repository, vec![waiting("silent", is_asked, None), broken]).0.unwrap_err();
        assert_eq!(error.chain().join(": "), "the source broken failed; no snapshot was made: refused");
    }
}

#[test]
fn an_interruption_ends_questions_and_dumps_that_are_never_answered() {
    type Action = Box<dyn Fn() + Send + Sync>;

    /// Is interrupted once a source is being asked.
    #[derive(Default)]
    struct Interrupted {
        actions: Mutex<Vec<Action>>,
        was_asked: AtomicBool,
    }

    impl Monitor for Interrupted {
        fn cancelled(&self) -> bool {
            self.was_asked.load(Ordering::Relaxed)
        }

        fn on_cancel(&self, action: Action) {
            self.actions.lock().unwrap().push(action);
        }

        fn note(&self, _: &str) {
            self.was_asked.store(true, Ordering::Relaxed);
            self.actions.lock().unwrap().iter().for_each(|action| action());
        }
    }

    for is_asked in [true, false] {
        let repository = in_memory(Parameters::tiny());
        let (sources, monitor) = (vec![waiting("silent", is_asked, None)], Interrupted::default());
        let error = backup_sources(&repository, sources, Path::new("/"), &of_job(), &monitor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}

#[test]
fn a_source_ends_when_its_time_is_over() {
    let limit = Some(Duration::from_millis(10));
    let repository = in_memory(Parameters::tiny());
    let sources = || {
        let whole = database("whole", OnFailure::Fail, || Ok(dumps_of(vec![dump("a", b"rows", End::Well)])));
        vec![waiting("asked", true, limit), waiting("dumped", false, limit), whole]
    };
    let (summary, findings) = run(&repository, sources());
    let summary = summary.unwrap();
    for (name, wanted) in [("asked", SourceOutcome::Failed), ("dumped", SourceOutcome::Failed)] {
        assert_eq!(status(&summary, name).outcome, wanted);
        let message = status(&summary, name).message.clone().unwrap();
        assert!(message.contains("its time limit of 0 s is over"), "{message}");
    }
    assert_eq!(status(&summary, "whole").outcome, SourceOutcome::Complete);
    let untried = "its time limit of 0 s is over; next and what comes after it was not dumped";
    assert!(findings.iter().any(|finding| finding.contains(untried)), "{findings:?}");
    // A failure of the run, where it must not fail.
    let mut sources = sources();
    sources.iter_mut().for_each(|source| source.on_failure = OnFailure::Fail);
    let error = run(&repository, sources).0.unwrap_err();
    assert!(error.chain().iter().any(|message| message.contains("its time limit")), "{:?}", error.chain());
}
