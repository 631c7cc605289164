//! What a run is asked to take: sources of several kinds, which become one snapshot.
//!
//! What must hold: two sources never claim one place; each has its status in the snapshot, whatever becomes of it; what
//! a source that fails does to the others is what the user chose.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Finding, Result};
use crate::ops::backup::path_bytes;
use crate::ops::backup::run::SourceCounts;
use crate::ops::backup::stream::StreamInput;
use crate::source::{Dumps, Excludes, Listener, Planned};

/// The folder of a snapshot below which programs' output stands.
pub const DUMPS_FOLDER: &str = "/dumps";

/// What becomes of the run if a source fails: nothing of a path can be read, or a dump does not end well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// No snapshot is made.
    Fail,
    /// The snapshot is made without it, and says so.
    #[default]
    Partial,
    /// The last tree that is good takes its place, and the snapshot says so; without one, as `Partial`.
    KeepPrevious,
}

/// Asks a server what there is to dump, when its turn has come.
pub type BeginDumps<'i> = Box<dyn FnOnce(&Listener) -> Result<Dumps> + Send + 'i>;

/// What is read of a source.
#[expect(clippy::large_enum_variant, reason = "a run has few sources, and each is moved once")]
pub enum SourceInput<'i> {
    /// Files and directories.
    Paths {
        /// Where they are.
        paths: Vec<PathBuf>,
        /// What is left out of them.
        excludes: Excludes,
        /// What of the source is not there, as a pattern that matches nothing.
        problems: Vec<Finding>,
    },
    /// One stream, at a path of its own.
    Stream(StreamInput<'i>),
    /// What a program or a database gives, below `/dumps/` and the source's name.
    Dumps {
        /// The kind, as `postgres`.
        kind: String,
        /// Begins.
        begin: BeginDumps<'i>,
        /// Longest time that all of it may take.
        time_limit: Option<Duration>,
    },
}

/// One source of a run.
pub struct BackupSource<'i> {
    /// What a job calls it; empty: it has no name.
    pub name: String,
    /// What is done if it fails.
    pub on_failure: OnFailure,
    /// What is read.
    pub input: SourceInput<'i>,
}

impl BackupSource<'_> {
    /// Paths without a name, without which there is no snapshot of anything else either.
    pub fn of_paths(paths: Vec<PathBuf>, excludes: Excludes) -> Self {
        let input = SourceInput::Paths { paths, excludes, problems: Vec::new() };
        Self { name: String::new(), on_failure: OnFailure::Partial, input }
    }
}

/// The sources of a run, each with what is counted of it.
pub(super) struct Prepared<'i> {
    pub(super) plan: Planned,
    /// What stands in the root beside all that the machine has in it.
    pub(super) beside_root: Option<Planned>,
    /// Absolute paths of directories and files, with their rules.
    pub(super) paths: Vec<PathOfSource>,
    /// What is read by threads of its own.
    pub(super) streams: Vec<StreamOfSource<'i>>,
    /// What is not there.
    pub(super) problems: Vec<(Arc<SourceCounts>, Finding)>,
    /// All, in the order of the run's sources.
    pub(super) all: Vec<(Arc<SourceCounts>, OnFailure)>,
    /// What the snapshot names as its paths.
    pub(super) shown_paths: Vec<Vec<u8>>,
    /// What the rules of all sources say, as they were given.
    pub(super) shown_excludes: Vec<Vec<u8>>,
    /// Directories above paths of this machine, which have metadata that are real.
    pub(super) real_parents: BTreeSet<PathBuf>,
}

/// One path of a source of paths.
pub(super) struct PathOfSource {
    pub(super) path: PathBuf,
    pub(super) counts: Arc<SourceCounts>,
    pub(super) excludes: Arc<Excludes>,
}

/// A source that is no path.
pub(super) struct StreamOfSource<'i> {
    /// Where it stands in the snapshot.
    pub(super) path: PathBuf,
    pub(super) counts: Arc<SourceCounts>,
    pub(super) on_failure: OnFailure,
    pub(super) work: StreamWork<'i>,
}

/// What is read of it.
pub(super) enum StreamWork<'i> {
    One(StreamInput<'i>),
    Many { begin: BeginDumps<'i>, time_limit: Option<Duration> },
}

/// Says whether paths of this machine and the dumps of sources of these names can stand in one snapshot. `Usage` if two
/// claim one place, or one lies in another. Only the root may hold dumps: they take the place of a folder of that name.
pub fn check_places(paths: &[PathBuf], dumps: &[&str]) -> Result<()> {
    let dumps = dumps.iter().map(|name| absolute_of_dumps(name)).collect::<Result<Vec<_>>>()?;
    plan_of(paths, &dumps, Path::new("/")).map(drop)
}

fn absolute_of_dumps(name: &str) -> Result<PathBuf> {
    Ok(absolute_of(&crate::source::stream_path(&format!("{DUMPS_FOLDER}/{name}"))?))
}

/// The tree of the sources, and what stands in the root beside all that the machine has in it.
fn plan_of(
    paths: &[PathBuf],
    streams: &[PathBuf],
    current_directory: &Path,
) -> Result<(Planned, Option<Planned>)> {
    let (of_paths, _) = crate::source::plan(paths, current_directory)?;
    if of_paths == Planned::Path
        && streams.iter().all(|path| path.starts_with(DUMPS_FOLDER))
        && !streams.is_empty()
    {
        return Ok((Planned::Path, Some(crate::source::plan(streams, current_directory)?.0)));
    }
    let all: Vec<PathBuf> = paths.iter().chain(streams).cloned().collect();
    Ok((crate::source::plan(&all, current_directory)?.0, None))
}

/// Puts the sources in their places. `Usage` if two of them claim one.
pub(super) fn prepare<'i>(sources: Vec<BackupSource<'i>>, current_directory: &Path) -> Result<Prepared<'i>> {
    let mut prepared = Prepared {
        plan: Planned::Path,
        beside_root: None,
        paths: Vec::new(),
        streams: Vec::new(),
        problems: Vec::new(),
        all: Vec::new(),
        shown_paths: Vec::new(),
        shown_excludes: Vec::new(),
        real_parents: BTreeSet::new(),
    };
    let (mut places, mut streams) = (Vec::new(), Vec::new());
    for source in sources {
        let BackupSource { name, on_failure, input } = source;
        let counts = |path: Vec<u8>, kind: Option<String>| {
            let name = Some(name.clone()).filter(|name| !name.is_empty());
            Arc::new(SourceCounts::named(path, name, kind))
        };
        match input {
            SourceInput::Paths { paths, excludes, problems } => {
                let (_, absolute) = crate::source::plan(&paths, current_directory)?;
                prepared.shown_excludes.extend(excludes.patterns.given().map(|pattern| pattern.text.clone()));
                let excludes = Arc::new(excludes);
                for path in absolute {
                    let counts = counts(path_bytes(path.clone()), None);
                    prepared.all.push((Arc::clone(&counts), on_failure));
                    prepared.real_parents.extend(path.ancestors().skip(1).map(Path::to_owned));
                    places.push(path.clone());
                    prepared.paths.push(PathOfSource { path, counts, excludes: Arc::clone(&excludes) });
                }
                for problem in problems {
                    let counts = counts(problem.path.clone(), None);
                    prepared.all.push((Arc::clone(&counts), on_failure));
                    prepared.problems.push((counts, problem));
                }
            }
            SourceInput::Stream(input) => {
                let path = absolute_of(&crate::source::stream_path(&input.filename)?);
                let counts = counts(path_bytes(path.clone()), None);
                prepared.all.push((Arc::clone(&counts), on_failure));
                streams.push(path.clone());
                let work = StreamWork::One(input);
                prepared.streams.push(StreamOfSource { path, counts, on_failure, work });
            }
            SourceInput::Dumps { kind, begin, time_limit } => {
                let path = absolute_of_dumps(&name)?;
                let counts = counts(path_bytes(path.clone()), Some(kind));
                prepared.all.push((Arc::clone(&counts), on_failure));
                streams.push(path.clone());
                let work = StreamWork::Many { begin, time_limit };
                prepared.streams.push(StreamOfSource { path, counts, on_failure, work });
            }
        }
    }
    (prepared.plan, prepared.beside_root) = plan_of(&places, &streams, current_directory)?;
    prepared.shown_paths = places.into_iter().chain(streams).map(path_bytes).collect();
    prepared.shown_paths.sort();
    Ok(prepared)
}

fn absolute_of(names: &[Vec<u8>]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(names.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
    path
}
