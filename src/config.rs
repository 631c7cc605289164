//! The configuration file: from its text to repositories and jobs, or to everything that is wrong with it.
//!
//! What must hold: pure, so that a file can be judged on any machine: no input or output, no environment, no clock; a
//! text gives either a whole configuration or all its problems, each with its place; nothing in it is passed over; no
//! secret is in it.

mod job;
mod keep;
mod keys;
mod nearest;
mod plain_secrets;
mod problem;
mod reader;
mod repository;
mod rules;
mod schedule;
mod secrets;
mod sources;
pub mod values;

use std::path::Path;

use toml_edit::Document;

pub use job::{CopyConfig, JobConfig};
pub use keys::SECTIONS;
pub use nearest::nearest;
pub use problem::Problem;
pub use repository::{CredentialSource, Limits, RepositoryConfig};
pub use rules::Rules;
pub use schedule::{Rhythm, Schedule, TimeOfDay};
pub use secrets::{SecretSource, Secrets};
pub use sources::{EngineConfig, EngineOptions, Given, Input, PathsConfig, SourceConfig, is_same_kind};

use reader::{Entry, Problems, Section};

/// A configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its repositories, in the order of the text.
    pub repositories: Vec<RepositoryConfig>,
    /// Its jobs, in the order of the text.
    pub jobs: Vec<JobConfig>,
}

impl Config {
    /// Reads a text. Relative paths in it begin at `folder`, that of the file.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let problems = Problems::new(text);
        let config = match Document::parse(text) {
            Ok(document) => read(&document, folder, &problems),
            Err(error) => {
                let position = error.span().map_or(0, |span| span.start);
                let message: Vec<&str> = error.message().split_whitespace().collect();
                problems.add(position, "", format!("this is no TOML: {}", message.join(" ")), None);
                Self::default()
            }
        };
        match problems.into_list() {
            list if list.is_empty() => Ok(config),
            list => Err(list),
        }
    }

    /// The repository of this name.
    pub fn repository(&self, name: &str) -> Option<&RepositoryConfig> {
        self.repositories.iter().find(|repository| repository.name == name)
    }

    /// The names of the variables in which secrets are.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        let of_repositories =
            self.repositories.iter().filter_map(|repository| match &repository.credential {
                Some(CredentialSource::Password(source)) => source.variable(),
                _ => None,
            });
        let sources = self.jobs.iter().flat_map(|job| &job.sources);
        let engines = sources.filter_map(|source| match &source.input {
            Input::Engine(engine) => Some(engine),
            Input::Paths(_) => None,
        });
        of_repositories.chain(engines.flat_map(|engine| engine.secret_variables()))
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&JobConfig> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

fn read(document: &Document<&str>, folder: &Path, problems: &Problems<'_>) -> Config {
    let mut root = Section::root(document.as_table(), keys::TOP, problems);
    let repositories = named(&mut root, "repository");
    let jobs = named(&mut root, "job");
    // Also those that are wrong, so that a job that names one is not told that it is not there.
    let names: Vec<&str> = repositories.iter().map(|(name, _)| name.as_str()).collect();
    if let (Some((_, entry)), true) = (jobs.first(), names.is_empty()) {
        entry.refuse("there is no repository for it: add [repository.NAME]");
    }
    let around = job::Around { folder, repositories: &names };
    let config = Config {
        repositories: repositories
            .iter()
            .filter_map(|(name, entry)| repository::read(name, entry, folder))
            .collect(),
        jobs: jobs.iter().filter_map(|(name, entry)| job::read(name, entry, &around)).collect(),
    };
    root.finish();
    config
}

/// The tables below a key at the top, by their names.
fn named<'d>(root: &mut Section<'d>, key: &'static str) -> Vec<(String, Entry<'d>)> {
    let found = root.section(key, &[]).map(Section::named).unwrap_or_default();
    for (name, entry) in &found {
        if let Err(why) = check_name(name) {
            entry.refuse(why);
        }
    }
    found
}

/// Says why a text is no name of a repository, a job or a source: it must be told from a path and from an option.
fn check_name(name: &str) -> Result<(), String> {
    const NAME_BYTES_MAX: usize = 64;
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    match begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_of_name) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name: at most {NAME_BYTES_MAX} letters, digits, \"-\", \"_\" and \".\", beginning with a \
             letter or digit"
        )),
    }
}

#[cfg(test)]
mod tests;
