//! From a job's sources to those of a run: patterns become paths, and what a database source takes whole is left out of
//! directories.
//!
//! What must hold: what a pattern does not match is a finding of its source, never nothing; a database's file is not
//! copied a second time in the middle of its changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::monitor::show_file;
use crate::base::{Error, Finding, FindingKind, Result};
use crate::job::{Job, JobInput, JobSource};
use crate::ops::backup::{BackupSource, SourceInput};
use crate::source::{Engine, Excludes, GivenPattern, Listener, Patterns, glob};

/// What SQLite keeps beside a database while it is in use.
const BESIDE_DATABASES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The sources of a run.
pub(super) fn prepare<'j>(job: &Job, sources: &[&'j JobSource]) -> Result<Vec<BackupSource<'j>>> {
    // Also of those that are not asked for: a file in the middle of its changes is no copy of a database.
    let taken = files_of_databases(&job.sources);
    sources.iter().map(|source| of(source, &taken)).collect()
}

fn of<'j>(source: &'j JobSource, taken: &[PathBuf]) -> Result<BackupSource<'j>> {
    let input = match &source.input {
        JobInput::Engine(engine) => {
            let engine: Arc<dyn Engine> = Arc::clone(engine);
            let kind = engine.kind().to_owned();
            let begin = Box::new(move |listener: &Listener| engine.dump(listener));
            SourceInput::Dumps { kind, begin, time_limit: source.time_limit }
        }
        JobInput::Paths { patterns, excludes } => {
            let (paths, problems) = expand(patterns)?;
            let excludes = without(excludes, taken, &paths, &source.name)?;
            SourceInput::Paths { paths, excludes, problems }
        }
    };
    Ok(BackupSource { name: source.name.clone(), on_failure: source.on_failure, input })
}

/// The paths that patterns match now, without those that lie in another one, and what cannot be found.
pub fn expand(patterns: &[String]) -> Result<(Vec<PathBuf>, Vec<Finding>)> {
    let (mut named, mut found, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        let globbed = glob(pattern.as_bytes(), Path::new("/"))?;
        let problem =
            |path: Vec<u8>, message: String| Finding { kind: FindingKind::Unreadable, path, message };
        for (path, error) in globbed.problems {
            let message = error.chain().join(": ");
            problems.push(problem(path.into_os_string().into_encoded_bytes(), message));
        }
        if globbed.paths.is_empty() {
            problems.push(problem(pattern.clone().into_bytes(), "nothing matches this pattern".into()));
        }
        match globbed.paths.as_slice() {
            [path] if path.as_os_str() == pattern.as_str() => named.push(path.clone()),
            _ => found.extend(globbed.paths),
        }
    }
    let paths = crate::source::join_lists(named, found, Path::new("/"))?;
    Ok((paths, problems))
}

/// The files that engines take as a unit: of databases in files, each file and what lies beside it.
fn files_of_databases(sources: &[JobSource]) -> Vec<PathBuf> {
    let engines = sources.iter().filter_map(|source| match &source.input {
        JobInput::Engine(engine) => Some(engine),
        JobInput::Paths { .. } => None,
    });
    engines.flat_map(|engine| engine.files()).collect()
}

/// The rules, and further ones by which directories leave out what is dumped.
fn without(excludes: &Excludes, taken: &[PathBuf], paths: &[PathBuf], name: &str) -> Result<Excludes> {
    let within = |file: &&PathBuf| paths.iter().any(|path| file.starts_with(path) && *file != path);
    let mut given: Vec<GivenPattern> = Vec::new();
    for file in taken.iter().filter(within) {
        let text = file.to_str().ok_or_else(|| {
            let message = format!("the path {} is no text", show_file(file));
            Error::new(crate::base::ErrorKind::Usage, message)
        })?;
        let beside =
            if file.is_dir() { BESIDE_DATABASES.get(..1) } else { Some(BESIDE_DATABASES.as_slice()) };
        for ending in beside.unwrap_or_default() {
            given.push(GivenPattern {
                text: literal(&format!("{text}{ending}")).into_bytes(),
                ignores_case: false,
                origin: format!("a database source beside {name}"),
            });
        }
    }
    if given.is_empty() {
        return Ok(excludes.clone());
    }
    // The user's own come last: the last that matches decides.
    given.extend(excludes.patterns.given().cloned());
    Ok(Excludes { patterns: Patterns::new(given)?, ..excludes.clone() })
}

/// A pattern that matches this path alone.
fn literal(path: &str) -> String {
    path.chars()
        .flat_map(|letter| ("*?[\\".contains(letter)).then_some('\\').into_iter().chain([letter]))
        .collect()
}
