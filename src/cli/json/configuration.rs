//! What a configuration says, what is wrong with one, and what one was made of.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use packstone::config::{Config, Problem};
use serde::Serialize;

use super::name;

/// A problem of a configuration.
#[derive(Debug, Serialize)]
pub struct ProblemLine<'p> {
    message_type: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_hex: Option<String>,
    line: usize,
    column: usize,
    key: &'p str,
    message: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'p str>,
}

impl<'p> ProblemLine<'p> {
    /// Of a file.
    pub fn of(file: &Path, problem: &'p Problem) -> Self {
        let (file, file_hex) = name(file.as_os_str().as_bytes());
        let Problem { line, column, key, message, nearest } = problem;
        let nearest = nearest.as_deref();
        Self { message_type: "problem", file, file_hex, line: *line, column: *column, key, message, nearest }
    }
}

/// What a configuration says.
#[derive(Debug, Serialize)]
pub struct CheckedLine<'c> {
    message_type: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_hex: Option<String>,
    repositories: Vec<CheckedRepository<'c>>,
    jobs: Vec<CheckedJob<'c>>,
}

#[derive(Debug, Serialize)]
struct CheckedRepository<'c> {
    name: &'c str,
    location: String,
}

#[derive(Debug, Serialize)]
struct CheckedJob<'c> {
    name: &'c str,
    repository: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_seconds: Option<u64>,
    sources: Vec<CheckedSource<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    copies: Vec<&'c str>,
}

#[derive(Debug, Serialize)]
struct CheckedSource<'c> {
    name: &'c str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'c> CheckedLine<'c> {
    /// Of a file.
    pub fn of(file: &Path, config: &'c Config) -> Self {
        let (file, file_hex) = name(file.as_os_str().as_bytes());
        let repositories = config.repositories.iter().map(|repository| CheckedRepository {
            name: &repository.name,
            location: repository.location.to_string(),
        });
        let jobs = config.jobs.iter().map(|job| CheckedJob {
            name: &job.name,
            repository: &job.repository,
            schedule: job.schedule.as_ref().map(ToString::to_string),
            period_seconds: job.schedule.as_ref().map(packstone::config::Schedule::period_seconds),
            sources: job
                .sources
                .iter()
                .map(|source| CheckedSource { name: &source.name, kind: source.kind })
                .collect(),
            copies: job.copies.iter().map(|copy| copy.repository.as_str()).collect(),
        });
        let (repositories, jobs) = (repositories.collect(), jobs.collect());
        Self { message_type: "checked", file, file_hex, repositories, jobs }
    }
}

/// A configuration that was written.
#[derive(Debug, Serialize)]
pub struct WrittenLine {
    message_type: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_hex: Option<String>,
    found: Vec<String>,
}

impl WrittenLine {
    /// Into this file, from what was found.
    pub fn of(file: &Path, found: Vec<String>) -> Self {
        let (file, file_hex) = name(file.as_os_str().as_bytes());
        Self { message_type: "written", file, file_hex, found }
    }
}
