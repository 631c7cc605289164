//! `[[job.NAME.source]]`: one thing that a job backs up.
//!
//! What must hold: the type decides which keys there are; a name is a source's own within its job; what contradicts
//! itself is refused when it is read.

mod access;
mod engines;
mod given;
mod places;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::keys;
use super::reader::{Entry, Section};
use super::rules::{self, Rules};
use super::secrets::{SecretSource, Secrets};
use super::values::parse_time_limit;
use crate::base::{Result, Wrap};
use crate::ops::backup::OnFailure;
use crate::source::Engine;
use crate::source::engine::{AnyCommand, Chroma, Mariadb, Mongodb, Password, Postgres, Redis, Sqlite};

use given::Written;
use places::Places;

pub use given::{Given, is_same_kind};

/// A source of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its name, other than those of the job's other sources.
    pub name: String,
    /// The word of its type, as it was written: `postgres`.
    pub kind: &'static str,
    /// What becomes of the run if it fails.
    pub on_failure: OnFailure,
    /// Longest time that it may take; only of databases and programs.
    pub time_limit: Option<Duration>,
    /// What it is.
    pub input: Input,
}

/// The words for what becomes of a run if a source fails.
pub(super) const ON_FAILURE_WORDS: &[(&str, OnFailure)] =
    &[("fail", OnFailure::Fail), ("partial", OnFailure::Partial), ("keep-previous", OnFailure::KeepPrevious)];

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Files and directories.
    Paths(PathsConfig),
    /// A database or a program.
    Engine(Box<EngineConfig>),
}

/// Files and directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathsConfig {
    /// Absolute paths and patterns, expanded when the job runs.
    pub paths: Vec<String>,
    /// What is left out of them: the rules of the job, then those of the source.
    pub rules: Rules,
}

/// A database or a program, and where its secrets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// All but its secrets.
    options: EngineOptions,
    /// Where its password is.
    password: Option<SecretSource>,
    /// Where secret variables of a command are.
    environment: Vec<(String, SecretSource)>,
    /// What its table said.
    written: Written,
}

/// What is said of a database or a program, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineOptions {
    /// PostgreSQL.
    Postgres(Postgres),
    /// MariaDB or MySQL.
    Mariadb(Mariadb),
    /// Redis or Valkey.
    Redis(Redis),
    /// MongoDB.
    Mongodb(Mongodb),
    /// SQLite.
    Sqlite(Sqlite),
    /// ChromaDB.
    Chroma(Chroma),
    /// A command.
    AnyCommand(AnyCommand),
}

impl EngineOptions {
    /// What dumps and puts back.
    pub fn into_engine(self) -> Arc<dyn Engine> {
        match self {
            Self::Postgres(engine) => Arc::new(engine),
            Self::Redis(engine) => Arc::new(engine),
            Self::Mariadb(engine) => Arc::new(engine),
            Self::Mongodb(engine) => Arc::new(engine),
            Self::Sqlite(engine) => Arc::new(engine),
            Self::Chroma(engine) => Arc::new(engine),
            Self::AnyCommand(engine) => Arc::new(engine),
        }
    }
}

impl EngineConfig {
    /// All but its secrets, which no one has read.
    pub const fn without_secrets(&self) -> &EngineOptions {
        &self.options
    }

    /// Where its secrets are.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        self.password.iter().chain(self.environment.iter().map(|(_, source)| source))
    }

    /// The names of the variables in which its secrets are.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.secrets().filter_map(SecretSource::variable)
    }

    /// With its secrets, ready to work: copies of databases that do not fit `memory_bytes` are put together in `scratch`.
    pub fn engine(
        &self,
        secrets: &dyn Secrets,
        scratch: Option<&Path>,
        memory_bytes: u64,
    ) -> Result<EngineOptions> {
        let mut options = self.options.clone();
        let password =
            self.password.as_ref().map(|source| secrets.read(source)).transpose()?.map(Password::new);
        match &mut options {
            EngineOptions::Postgres(Postgres { access, .. })
            | EngineOptions::Mariadb(Mariadb { access, .. })
            | EngineOptions::Redis(Redis { access, .. })
            | EngineOptions::Mongodb(Mongodb { access, .. }) => access.password = password,
            EngineOptions::Sqlite(sqlite) => {
                sqlite.scratch = scratch.map(PathBuf::from);
                sqlite.memory_bytes = memory_bytes;
            }
            EngineOptions::Chroma(chroma) => {
                chroma.scratch = scratch.map(PathBuf::from);
                chroma.memory_bytes = memory_bytes;
            }
            EngineOptions::AnyCommand(command) => {
                for (name, source) in &self.environment {
                    let secret = secrets
                        .read(source)
                        .wrap(|| format!("cannot set the variable {name} of a command"))?;
                    command.environment.push((name.clone(), Password::new(secret)));
                }
            }
        }
        Ok(options)
    }
}

/// What holds for all sources of a job.
pub(super) struct Shared<'a> {
    /// The folder of the configuration.
    pub folder: &'a Path,
    /// What is left out of paths.
    pub rules: Rules,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// Longest time that each database or program may take.
    pub time_limit: Option<Duration>,
}

/// The types, as they are written, and the keys of each.
const TYPES: &[(&str, Type)] = &[
    ("path", Type { word: "path", keys: keys::PATH }),
    ("postgres", Type { word: "postgres", keys: keys::POSTGRES }),
    ("mariadb", Type { word: "mariadb", keys: keys::MARIADB }),
    ("mysql", Type { word: "mysql", keys: keys::MARIADB }),
    ("redis", Type { word: "redis", keys: keys::REDIS }),
    ("valkey", Type { word: "valkey", keys: keys::REDIS }),
    ("sqlite", Type { word: "sqlite", keys: keys::SQLITE }),
    ("chromadb", Type { word: "chromadb", keys: keys::CHROMADB }),
    ("mongodb", Type { word: "mongodb", keys: keys::MONGODB }),
    ("command", Type { word: "command", keys: keys::COMMAND }),
];

#[derive(Clone, Copy)]
struct Type {
    word: &'static str,
    keys: &'static [&'static str],
}

/// The sources of a job.
#[derive(Default)]
pub(super) struct Sources {
    /// Those in which nothing is wrong.
    pub list: Vec<SourceConfig>,
    /// Whether rules for paths mean something: one is of paths, or it is not known what it is.
    pub may_have_paths: bool,
}

/// Reads the sources of a job.
pub(super) fn read(entry: &Entry<'_>, shared: &Shared<'_>) -> Sources {
    let mut seen = Seen::default();
    let mut sources = Sources::default();
    // Which keys there are is known once the type is.
    for mut section in entry.sections(&["type"]) {
        let found = match section.take("type") {
            Some(entry) => entry.word(TYPES),
            None => {
                section.missing("type");
                None
            }
        };
        sources.may_have_paths |= found.is_none_or(|kind| kind.word == "path");
        let Some(kind) = found else { continue };
        sources.list.extend(one(section.of_kind(kind.keys), kind.word, shared, &mut seen));
    }
    sources
}

/// What the sources of a job that were read have for themselves.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    places: Places,
}

fn one(
    mut section: Section<'_>,
    kind: &'static str,
    shared: &Shared<'_>,
    seen: &mut Seen,
) -> Option<SourceConfig> {
    let name = name(&mut section, kind, &mut seen.names);
    let on_failure = section.word("on-failure", ON_FAILURE_WORDS).unwrap_or(shared.on_failure);
    let time_limit = match kind {
        "path" => None,
        _ => section.parsed("time-limit", parse_time_limit).or(shared.time_limit),
    };
    let input = match kind {
        "path" => {
            let rules = shared.rules.with(rules::read(&mut section, shared.folder));
            let mut claim = |path: &str| seen.places.add_path(path, name.as_deref().unwrap_or(kind));
            absolute_paths(&mut section, &mut claim).map(|paths| Input::Paths(PathsConfig { paths, rules }))
        }
        _ => {
            if let Some(Err(why)) = name.as_deref().map(|name| seen.places.add_dumps(name)) {
                section.refuse_all(why);
            }
            let written = given::written(&section, shared.folder);
            let engine = engines::read(&mut section, kind, shared.folder);
            engine.map(|engine| Input::Engine(Box::new(EngineConfig { written, ..engine })))
        }
    };
    section.finish();
    Some(SourceConfig { name: name?, kind, on_failure, time_limit, input: input? })
}

/// The name of a source; without one it is called as its type.
fn name(section: &mut Section<'_>, kind: &str, names: &mut BTreeSet<String>) -> Option<String> {
    let given = section.take("name");
    let name = match &given {
        Some(entry) => entry.text()?,
        None => kind.to_owned(),
    };
    if let Err(why) = super::check_name(&name) {
        if let Some(entry) = given {
            entry.refuse(why);
        }
        return None;
    }
    if names.insert(name.clone()) {
        return Some(name);
    }
    match given {
        Some(entry) => entry.refuse(format!("another source of this job is called {name:?}, too")),
        None => section.refuse_all(format!(
            "another source of this job is called {name:?}, too: give it a name of its own"
        )),
    }
    None
}

/// `paths`: absolute paths and patterns, each of which `claim` may refuse.
fn absolute_paths(
    section: &mut Section<'_>,
    claim: &mut dyn FnMut(&str) -> std::result::Result<(), String>,
) -> Option<Vec<String>> {
    let Some(entry) = section.take("paths") else {
        section.missing("paths");
        return None;
    };
    let texts = entry.texts();
    let elements = entry.elements()?;
    if elements.is_empty() {
        entry.refuse("is empty: nothing would be backed up");
        return None;
    }
    for (element, text) in elements.iter().zip(&texts) {
        if let Err(why) = check_absolute(text).and_then(|()| check_pattern(text)).and_then(|()| claim(text)) {
            element.refuse(why);
        }
    }
    Some(texts)
}

/// Says why a path is not absolute.
fn check_absolute(text: &str) -> std::result::Result<(), String> {
    if text.starts_with('~') {
        return Err(format!("{text:?} begins with ~, which only a shell knows: write the whole path"));
    }
    match text.starts_with('/') {
        true => Ok(()),
        false => Err(format!("{text:?} is not absolute: a job may run in any directory")),
    }
}

/// Says why a pattern of paths cannot be read.
fn check_pattern(text: &str) -> std::result::Result<(), String> {
    let given = crate::source::GivenPattern {
        text: text.as_bytes().to_vec(),
        ignores_case: false,
        origin: "paths".to_owned(),
    };
    crate::source::Patterns::new(vec![given]).map(drop).map_err(|error| error.chain().join(": "))
}
