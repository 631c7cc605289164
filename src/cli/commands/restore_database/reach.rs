//! How the server is reached to which a database goes: as the configuration says, and by the keys of `--to`.
//!
//! What must hold: a value of `--to` is never repeated where it may be a secret; a configuration that is wrong is never
//! used in part.

use std::sync::Arc;

use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::config::{EngineConfig, EngineOptions, Given, Input, Problem, is_same_kind};
use packstone::ops::restore_database::StoredSource;

use crate::configuration::Configured;
use crate::context::Context;
use crate::report::{Hint, Outcome};
use crate::secrets::OfSources;

/// What puts a stored source back.
pub fn engine(
    source: &StoredSource<'_>,
    name: &str,
    to: &[String],
    new_name: Option<&str>,
    context: &Context,
) -> Outcome<EngineOptions> {
    let mut pairs = pairs(to)?;
    let configured: Option<Arc<Configured>> = context.configured()?;
    let found = configured.as_deref().and_then(|configured| of_name(configured, source, name));
    let is_folder = is_same_kind(source.kind(), "chromadb");
    if let (true, None, Some(path)) = (is_folder && found.is_none(), value_of(&pairs, "path"), new_name) {
        pairs.push(("path".to_owned(), path.to_owned()));
    }
    let folder = std::env::current_dir().wrap(|| "cannot find the working directory")?;
    let file_name = source.dumps().first().map(|dump| dump.name.as_str());
    let (kind, configured) = match found {
        Some((kind, engine)) => (kind, Some(engine)),
        None => (source.kind(), None),
    };
    let given = Given { kind, pairs: &pairs, folder: &folder, configured, file_name };
    let read = given.read().ok_or_else(|| {
        let message = format!("{name} is of the kind {kind}, which this program cannot put back");
        Error::new(ErrorKind::Unsupported, message)
    })?;
    let engine = read.map_err(|problems| refused(&problems, kind));
    let engine = engine.hint(ErrorKind::Usage, || {
        format!("docs/configuration.md describes the keys of {kind}; --to KEY=VALUE sets one")
    })?;
    context.environment.withhold(engine.secret_variables());
    Ok(engine.engine(&OfSources { environment: &context.environment }, None, 0)?)
}

/// What the configuration says of a source of this name and kind; of several jobs, the one that made the snapshot goes
/// first.
fn of_name<'c>(
    configured: &'c Configured,
    source: &StoredSource<'_>,
    name: &str,
) -> Option<(&'static str, &'c EngineConfig)> {
    let jobs = &configured.config.jobs;
    let own = jobs.iter().filter(|job| source.job() == Some(job.name.as_str()));
    let sources = own.chain(jobs).flat_map(|job| &job.sources);
    let mut named = sources.filter(|of_job| of_job.name == name && is_same_kind(of_job.kind, source.kind()));
    named.find_map(|of_job| match &of_job.input {
        Input::Engine(engine) => Some((of_job.kind, &**engine)),
        Input::Paths(_) => None,
    })
}

fn value_of<'p>(pairs: &'p [(String, String)], key: &str) -> Option<&'p str> {
    pairs.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
}

fn pairs(to: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=')?;
        Some((key.trim().to_owned(), value.to_owned()))
    };
    let wrong = || Error::new(ErrorKind::Usage, "--to takes a key and a value, as --to host=db");
    to.iter().map(|text| pair(text).ok_or_else(wrong)).collect()
}

fn refused(problems: &[Problem], kind: &str) -> Error {
    let shown = |problem: &Problem| {
        let nearest = problem.nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?"));
        format!("{}: {}{}", problem.key, problem.message, nearest.unwrap_or_default())
    };
    let shown: Vec<String> = problems.iter().map(shown).collect();
    let why = Error::new(ErrorKind::Usage, shown.join("; "));
    Error::caused(ErrorKind::Usage, format!("it is not clear how {kind} is reached"), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_anything_and_is_not_repeated() {
        let given = ["a=b=c".to_owned(), " d = ".to_owned()];
        let expected = [("a", "b=c"), ("d", " ")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(pairs(&given).expect("pairs"), expected);
        let error = pairs(&["hunter2".to_owned()]).expect_err("no pair");
        assert!(!error.to_string().contains("hunter2"));
    }
}
