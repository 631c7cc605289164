//! Jobs of the configuration, ready to be run: their rules read, their engines with secrets, their repositories open.
//!
//! What must hold: only what a run needs is read of secrets; a job that does not exist is told with those that do.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::host::Host;
use packstone::base::{Change, Error, ErrorKind, Finding, Item, Lack, Monitor, Result, ThawCounts, Thawing};
use packstone::config::{Config, Input, JobConfig, RepositoryConfig, SourceConfig};
use packstone::job::{Job, JobInput, JobSource, Lock, Log, RunOptions};
use packstone::ops::backup::{BackupOptions, DUMPS_FOLDER};
use packstone::repository::{MemoryLimit, Repository};
use packstone::source::{Dumps, Engine, Listener, LoadOptions, LoadPlan, StoredDump};

use crate::configuration::Configured;
use crate::context::Context;
use crate::folders::Folder;
use crate::open::Opened;
use crate::patterns::read_rules;
use crate::report::{Hint, Outcome};
use crate::secrets::OfSources;
use crate::{environment, open, report};

/// Where jobs are remembered if not even the system knows a home.
const STATE_WITHOUT_HOME: &str = "/var/lib/packstone";

/// The configuration, which must be there.
pub fn configured(context: &Context) -> Outcome<Arc<Configured>> {
    let missing = || Error::new(ErrorKind::Usage, "there is no configuration");
    let configured = context.configured()?.ok_or_else(missing);
    configured.hint(ErrorKind::Usage, || {
        "\"packstone config init\" writes one to begin with; --config names another".to_owned()
    })
}

/// Which jobs a command is about, and which of their sources.
#[derive(Args, Debug)]
pub struct Chosen {
    /// The names of jobs [default: all of the configuration]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Only this source of the job; may be given more than once
    #[arg(long = "only-source", value_name = "NAME")]
    pub only: Vec<String>,
}

impl Chosen {
    /// The jobs. `Usage` if sources are chosen of more than one.
    pub fn find<'c>(&self, config: &'c Config) -> Outcome<Vec<&'c JobConfig>> {
        let found = find(config, &self.jobs)?;
        if found.len() > 1 && !self.only.is_empty() {
            let message = "--only-source is about one job: name it";
            return Err(Error::new(ErrorKind::Usage, message).into());
        }
        Ok(found)
    }
}

/// Refuses flags that are about one repository: a job names its own, and may copy to others.
pub fn refuse_flags_of_one_repository(context: &Context, jobs: &[&JobConfig], command: &str) -> Outcome<()> {
    let given = &context.given;
    if given.repository.is_some() {
        let message = format!(
            "{command} works on the repositories that its jobs name in the configuration: -r names no other"
        );
        return Err(Error::new(ErrorKind::Usage, message).into());
    }
    let flags = [
        ("--key-file", given.key_file.is_some()),
        ("--password-file", given.password_file.is_some()),
        ("--password-command", given.password_command.is_some()),
    ];
    let names: BTreeSet<&str> = jobs
        .iter()
        .flat_map(|job| job.copies.iter().map(|copy| &copy.repository).chain([&job.repository]))
        .map(String::as_str)
        .collect();
    match flags.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) if names.len() > 1 => {
            let names: Vec<&str> = names.into_iter().collect();
            let message =
                format!("{flag} would be meant for each of several repositories: {}", names.join(", "));
            let error: Result<()> = Err(Error::new(ErrorKind::Usage, message));
            error.hint(ErrorKind::Usage, || "say in the configuration what opens each of them".to_owned())
        }
        _ => Ok(()),
    }
}

/// The jobs of these names, each once; without names all.
pub fn find<'c>(config: &'c Config, names: &[String]) -> Outcome<Vec<&'c JobConfig>> {
    if config.jobs.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the configuration has no job").into());
    }
    if names.is_empty() {
        return Ok(config.jobs.iter().collect());
    }
    let of = |name: &String| {
        config.job(name).ok_or_else(|| {
            let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
            let message = format!("there is no job {name}; the configuration has {}", known.join(", "));
            Error::new(ErrorKind::Usage, message).into()
        })
    };
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| seen.insert(name.as_str())).map(of).collect()
}

/// Where this machine keeps what it knows of jobs.
pub fn state_folder(context: &Context) -> PathBuf {
    let folder = Folder::State.of_program(&context.environment);
    // A timer of systemd's names no home of root, and cron does: both must find the same lock.
    let folder = folder.or_else(|| environment::home().map(|home| Folder::State.below(&home)));
    folder.unwrap_or_else(|| PathBuf::from(STATE_WITHOUT_HOME)).join("jobs")
}

/// Opens a repository of the configuration.
pub fn open_repository(context: &Context, repository: &RepositoryConfig) -> Outcome<Opened> {
    let name = &repository.name;
    let opened = open::open_named(&context.with_repository(repository), repository.location.clone());
    opened.map_err(|failure| failure.while_doing(format!("cannot open the repository {name}"))).map_err(
        |failure| match failure.kind() {
            // By its name, not by its place.
            ErrorKind::NoRepository => {
                failure.with_hint(format!("\"packstone -r {name} repo init\" makes it"))
            }
            _ => failure,
        },
    )
}

/// The repository of a name, which the configuration was found to have.
pub fn repository_of<'c>(config: &'c Config, name: &str) -> Result<&'c RepositoryConfig> {
    let missing = || Error::new(ErrorKind::Usage, format!("the configuration has no repository {name}"));
    config.repository(name).ok_or_else(missing)
}

/// A job as it is run, within the limits of its repository. Of sources that are not among `only`, no secret is read.
pub fn ready(
    context: &Context,
    config: &JobConfig,
    repository: &RepositoryConfig,
    only: &[String],
) -> Outcome<Job> {
    let context = &context.with_repository(repository);
    let sources = config.sources.iter().map(|source| {
        let is_meant = only.is_empty() || only.contains(&source.name);
        ready_source(context, source, is_meant)
    });
    Ok(Job {
        name: config.name.clone(),
        sources: sources.collect::<Result<_>>()?,
        keep: config.keep.clone(),
        with_prune: config.prune,
        check: config.check,
    })
}

fn ready_source(context: &Context, source: &SourceConfig, is_meant: bool) -> Result<JobSource> {
    let input = match &source.input {
        Input::Paths(paths) => {
            let excludes = match is_meant {
                true => read_rules(&paths.rules, &context.environment)?,
                false => packstone::source::Excludes::default(),
            };
            JobInput::Paths { patterns: paths.paths.clone(), excludes }
        }
        Input::Engine(engine) if !is_meant => {
            JobInput::Engine(engine.without_secrets().clone().into_engine())
        }
        Input::Engine(engine) => {
            let secrets = OfSources { environment: &context.environment };
            let cache = open::cache_path(context).filter(|folder| folder.is_dir());
            let scratch = cache.unwrap_or_else(std::env::temp_dir);
            let limit = context.global.memory_limit.map_or_else(MemoryLimit::default, MemoryLimit::of);
            let memory_bytes = (limit.bytes() / 8) as u64;
            let options = engine.engine(&secrets, Some(&scratch), memory_bytes);
            JobInput::Engine(match options {
                Ok(options) => options.into_engine(),
                // That is a failure of this source, whose consequences the user chose.
                Err(error) => Arc::new(Unready { kind: source.kind, kept: error.kind(), why: error.chain() }),
            })
        }
    };
    let SourceConfig { name, on_failure, time_limit, .. } = source;
    Ok(JobSource { name: name.clone(), on_failure: *on_failure, time_limit: *time_limit, input })
}

/// A source of which not even the secrets can be read.
#[derive(Debug)]
struct Unready {
    kind: &'static str,
    kept: ErrorKind,
    why: Vec<String>,
}

impl Unready {
    fn error(&self) -> Error {
        Error::new(self.kept, self.why.join(": "))
    }
}

impl Engine for Unready {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn dump(&self, _: &Listener) -> Result<Dumps> {
        Err(self.error())
    }

    fn load(&self, _: &[StoredDump], _: &LoadOptions, _: &Listener) -> Result<LoadPlan> {
        Err(self.error())
    }
}

/// Directories of every repository of the configuration that lies on this machine: a copy in a source would grow by
/// itself each night.
fn own_directories(config: &Config, opened: Option<&Opened>) -> Vec<(u64, u64)> {
    let of_config = config.repositories.iter().filter_map(|repository| {
        let metadata = repository.location.directory()?.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    });
    of_config.chain(opened.map(Opened::own_directories).unwrap_or_default()).collect()
}

/// How a job is run.
pub fn options(
    config_of_all: &Config,
    config: &JobConfig,
    opened: Option<&Opened>,
    only: &[String],
) -> Result<RunOptions> {
    let backup = BackupOptions {
        host_name: config.host.clone(),
        user: environment::user(),
        expected_next_seconds: config.schedule.as_ref().map(|schedule| schedule.period_seconds()),
        parallel: config.parallel,
        tags: config.tags.clone(),
        description: config.description.clone(),
        left_out: own_directories(config_of_all, opened),
        skip_if_unchanged: config.skip_if_unchanged,
        ignore_ctime: config.ignore_ctime,
        ignore_inode: config.ignore_inode,
        withheld: config_of_all.secret_variables().map(str::to_owned).collect(),
        job: Some(config.name.clone()),
        ..BackupOptions::new(Host::current())
    };
    Ok(RunOptions { backup, only: only.to_vec(), zone: TimeZone::system() })
}

/// The repositories into which a job's snapshots are copied, each opened when its turn comes.
pub fn copies<'c>(
    context: &'c Context,
    config: &'c Config,
    job: &'c JobConfig,
) -> Vec<packstone::job::CopyTarget<'c>> {
    let target = |copy: &'c packstone::config::CopyConfig| {
        let open = move || -> Result<Repository> {
            let repository = repository_of(config, &copy.repository)?;
            open_repository(context, repository).map(|opened| opened.repository).map_err(Into::into)
        };
        let keep = copy.keep.clone();
        packstone::job::CopyTarget { name: copy.repository.clone(), open: Box::new(open), keep }
    };
    job.copies.iter().map(target).collect()
}

/// Opens the log of a job that is about to run. Without it, work goes on.
pub fn log_of(lock: &Lock) -> Option<Log> {
    match Log::open(lock, TimeZone::system()) {
        Ok(log) => Some(log),
        Err(error) => {
            report::warn(&format!("no log is kept: {}", error.chain().join(": ")));
            None
        }
    }
}

/// Passes everything on, and writes into the log what a person should find there the day after. What a program said
/// while it ran is not said again by the finding that it failed.
pub struct Logged<'m> {
    /// Who is told.
    pub inner: &'m dyn Monitor,
    /// The log.
    pub log: Option<&'m Log>,
    /// Whether who is told was shown all notes.
    shows_notes: bool,
    findings: Mutex<usize>,
    notes: Mutex<VecDeque<String>>,
}

/// So many of the last notes are compared with a finding: several sources may talk at a time.
const NOTES_KEPT_MAX: usize = 200;
/// Of more findings than this only their number is logged: the snapshot has all that matters of them.
const FINDINGS_LOGGED_MAX: usize = 200;

impl<'m> Logged<'m> {
    /// Passes on to a listener, and writes into a log if there is one.
    pub const fn new(inner: &'m dyn Monitor, log: Option<&'m Log>, shows_notes: bool) -> Self {
        Self { inner, log, shows_notes, findings: Mutex::new(0), notes: Mutex::new(VecDeque::new()) }
    }

    /// A finding without the lines at its end that were notes of its source.
    fn without_notes(&self, finding: &Finding) -> Finding {
        let Some(source) = source_of(&finding.path) else { return finding.clone() };
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = finding.message.as_str();
        // A note begins with the name of its source.
        let of_source = notes.iter().rev().filter_map(|note| note.strip_prefix(source)?.strip_prefix(": "));
        for line in of_source {
            let before = message.strip_suffix(line).and_then(|before| before.strip_suffix(": "));
            message = before.unwrap_or(message);
        }
        Finding { message: message.to_owned(), ..finding.clone() }
    }

    fn write(&self, text: &str) {
        if let Some(log) = self.log {
            log.write(text);
        }
    }
}

/// The source whose dumps stand at a path of a snapshot.
fn source_of(path: &[u8]) -> Option<&str> {
    let below = std::str::from_utf8(path).ok()?.strip_prefix(DUMPS_FOLDER)?.strip_prefix('/')?;
    below.split('/').next()
}

impl Monitor for Logged<'_> {
    fn finding(&self, finding: &Finding) {
        let shortened = self.without_notes(finding);
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        *findings += 1;
        match *findings {
            ..=FINDINGS_LOGGED_MAX => self.write(&format!("warning: {shortened}")),
            count if count == FINDINGS_LOGGED_MAX + 1 => self.write("warning: more findings are not logged"),
            _ => {}
        }
        drop(findings);
        self.inner.finding(if self.shows_notes { &shortened } else { finding });
    }

    fn lacking(&self, lack: Lack, finding: &Finding) {
        self.inner.lacking(lack, finding);
    }

    fn note(&self, text: &str) {
        self.write(text);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == NOTES_KEPT_MAX {
            notes.pop_front();
        }
        notes.push_back(text.to_owned());
        drop(notes);
        self.inner.note(text);
    }

    fn excluded(&self, path: &[u8], reason: &dyn std::fmt::Display) {
        self.inner.excluded(path, reason);
    }

    fn included(&self, path: &[u8]) {
        self.inner.included(path);
    }

    fn wants_amounts(&self) -> bool {
        self.inner.wants_amounts()
    }

    fn expect(&self, files: u64, bytes: u64) {
        self.inner.expect(files, bytes);
    }

    fn expected_all(&self) {
        self.inner.expected_all();
    }

    fn begin(&self, path: &[u8]) {
        self.inner.begin(path);
    }

    fn item(&self, item: &Item<'_>) {
        self.inner.item(item);
    }

    fn frozen(&self, object: &str, state: Thawing, size_bytes: u64) {
        self.inner.frozen(object, state, size_bytes);
    }

    fn thawing(&self, counts: &ThawCounts) {
        self.inner.thawing(counts);
    }

    fn wants_items(&self) -> bool {
        self.inner.wants_items()
    }

    fn backed_up(&self, change: Change, path: &[u8], size_bytes: u64) {
        self.inner.backed_up(change, path, size_bytes);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.inner.advance(files, bytes);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }

    fn on_cancel(&self, action: Box<dyn Fn() + Send + Sync>) {
        self.inner.on_cancel(action);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;
    use crate::environment::tests::environment;

    const TEXT: &str = "[repository.main]\nurl = \"/r\"\nmemory-limit = \"64M\"\ncache-dir = \"cache\"\n\
        [job.nightly]\n[[job.nightly.source]]\ntype = \"sqlite\"\npaths = [\"/a.db\"]\n\
        [job.copied]\ncopy = []\n[[job.copied.source]]\ntype = \"sqlite\"\npaths = [\"/a.db\"]\n";

    fn context(line: &str) -> Context {
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("arguments");
        Context {
            given: Arc::new(arguments.global.clone()),
            global: arguments.global,
            environment: environment(&[]),
            interruption: crate::interruption::Interruption::default(),
            storages: crate::storages::Storages::default(),
            configuration: crate::configuration::Loaded::default(),
        }
    }

    #[test]
    fn sources_work_within_the_limits_of_their_repository() {
        let folder = tempfile::tempdir().expect("a folder");
        let of_name = |name: &str| folder.path().join(name);
        ["cache", "other"].iter().for_each(|name| std::fs::create_dir(of_name(name)).expect("a folder"));
        let config = Config::parse(TEXT, folder.path()).expect("a configuration");
        let other = format!("packstone --cache-dir {} run", of_name("other").display());
        let missing = format!("packstone --cache-dir {} run", of_name("missing").display());
        for (line, bytes, scratch) in [
            ("packstone run", (64 << 20) / 8, of_name("cache")),
            ("packstone --memory-limit 96M run", (96 << 20) / 8, of_name("cache")),
            (&other, (64 << 20) / 8, of_name("other")),
            (&missing, (64 << 20) / 8, std::env::temp_dir()),
            ("packstone --no-cache run", (64 << 20) / 8, std::env::temp_dir()),
        ] {
            let job = ready(&context(line), &config.jobs[0], &config.repositories[0], &[]).expect("a job");
            let JobInput::Engine(engine) = &job.sources[0].input else { panic!("a database") };
            let shown = format!("{engine:?}");
            assert!(shown.contains(&format!("memory_bytes: {bytes}")), "{line}: {shown}");
            assert!(shown.contains(&format!("scratch: Some({scratch:?})")), "{line}: {shown}");
        }
    }

    #[test]
    fn only_what_the_same_source_said_is_not_said_again() {
        struct Heard(Mutex<Vec<String>>);
        impl Monitor for Heard {
            fn finding(&self, finding: &Finding) {
                self.0.lock().expect("a lock").push(finding.message.clone());
            }
        }
        let heard = Heard(Mutex::default());
        let logged = Logged::new(&heard, None, true);
        for note in ["one: cannot connect", "one: of two lines", "two: of its own", "onetwo: x"] {
            logged.note(note);
        }
        for (path, message, expected) in [
            ("/dumps/one", "exit status 1: cannot connect: of two lines", "exit status 1"),
            ("/dumps/one/a.sql", "exit status 1: of two lines", "exit status 1"),
            ("/dumps/two", "exit status 1: cannot connect", "exit status 1: cannot connect"),
            ("/dumps/two", "exit status 1: of its own", "exit status 1"),
            ("/dumps/on", "failed: cannot connect", "failed: cannot connect"),
            ("/data/one", "failed: cannot connect", "failed: cannot connect"),
        ] {
            let kind = packstone::base::FindingKind::Unreadable;
            logged.finding(&Finding { kind, path: path.into(), message: message.into() });
            assert_eq!(heard.0.lock().expect("a lock").pop().as_deref(), Some(expected), "{path} {message}");
        }
    }

    #[test]
    fn a_job_is_named_once() {
        let config = Config::parse(TEXT, std::path::Path::new("/c")).expect("a configuration");
        let names = ["copied", "nightly", "copied"].map(str::to_owned);
        let found = find(&config, &names).expect("jobs");
        assert_eq!(found.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["copied", "nightly"]);
    }
}
