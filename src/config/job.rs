//! `[job.NAME]`: what is backed up into which repository, how often, and what becomes of old snapshots.
//!
//! What must hold: a job names repositories that are there; its sources have different names; what is given for all its
//! sources holds for each that says nothing else.

use std::path::Path;

use super::keep;
use super::keys;
use super::reader::{Entry, Section};
use super::rules;
use super::schedule::Schedule;
use super::sources::{self, ON_FAILURE_WORDS, SourceConfig};
use super::values::parse_time_limit;
use crate::ops::check::Portion;
use crate::ops::forget::Policy;

/// A job.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// Its name.
    pub name: String,
    /// The name of its repository.
    pub repository: String,
    /// When it is meant to run.
    pub schedule: Option<Schedule>,
    /// The machine that its snapshots name; `None`: this one.
    pub host: Option<String>,
    /// The tags of its snapshots.
    pub tags: Vec<String>,
    /// The remark in its snapshots.
    pub description: Option<String>,
    /// What is backed up, in this order.
    pub sources: Vec<SourceConfig>,
    /// So many sources at a time.
    pub parallel: usize,
    /// Make no snapshot if all sources are as in the last one.
    pub skip_if_unchanged: bool,
    /// Compare files without the time of the last change of metadata.
    pub ignore_ctime: bool,
    /// Compare files without inode numbers.
    pub ignore_inode: bool,
    /// Which snapshots stay; `None`: all.
    pub keep: Option<Policy>,
    /// Whether the space of what is forgotten is given back.
    pub prune: bool,
    /// Which packs are read back after each run.
    pub check: Option<Portion>,
    /// The repositories into which its snapshots are copied.
    pub copies: Vec<CopyConfig>,
}

/// A repository into which a job's snapshots are copied.
#[derive(Clone, Debug)]
pub struct CopyConfig {
    /// Its name.
    pub repository: String,
    /// Which snapshots stay there; `None`: all.
    pub keep: Option<Policy>,
}

/// Sources that run at the same time if nothing is said.
const PARALLEL: usize = 2;
const PARALLEL_MAX: usize = 16;
/// Keys that concern paths alone.
const OF_PATHS: [&str; 10] = [
    "exclude",
    "iexclude",
    "exclude-file",
    "iexclude-file",
    "exclude-caches",
    "exclude-if-present",
    "exclude-larger-than",
    "one-file-system",
    "ignore-ctime",
    "ignore-inode",
];

/// What a job is read against.
pub(super) struct Around<'a> {
    /// The folder of the configuration.
    pub folder: &'a Path,
    /// The names of its repositories.
    pub repositories: &'a [&'a str],
}

/// Reads a job.
pub(super) fn read(name: &str, entry: &Entry<'_>, around: &Around<'_>) -> Option<JobConfig> {
    let mut section = entry.section(keys::JOB)?;
    let repository = repository(&mut section, around);
    let rules = rules::read(&mut section, around.folder);
    let on_failure = section.word("on-failure", ON_FAILURE_WORDS).unwrap_or_default();
    let time_limit = section.parsed("time-limit", parse_time_limit);
    let shared = sources::Shared { folder: around.folder, rules, on_failure, time_limit };
    let sources = match section.take("source") {
        Some(entry) => sources::read(&entry, &shared),
        None => sources::Sources::default(),
    };
    if section.has("source") && !section.is_empty_list("source") && !sources.may_have_paths {
        for name in OF_PATHS.into_iter().filter(|name| section.has(name)) {
            section.refuse(name, "means nothing here: the job has no source of paths");
        }
    }
    if !section.has("source") || section.is_empty_list("source") {
        section.refuse_all("has no source: add [[job.NAME.source]]".replace("NAME", name));
    }
    let keep = section.take("keep").and_then(|entry| keep::read(&entry));
    let copies = copies(&mut section, around, repository.as_deref());
    let job = JobConfig {
        name: name.to_owned(),
        repository: repository.unwrap_or_default(),
        schedule: section.parsed("schedule", Schedule::parse),
        host: section.text("host"),
        tags: tags(&mut section),
        description: section.text("description"),
        sources: sources.list,
        parallel: section.parsed("parallel", parse_parallel).unwrap_or(PARALLEL),
        skip_if_unchanged: section.flag("skip-if-unchanged").unwrap_or_default(),
        ignore_ctime: section.flag("ignore-ctime").unwrap_or_default(),
        ignore_inode: section.flag("ignore-inode").unwrap_or_default(),
        prune: section.flag("prune").unwrap_or(keep.is_some()),
        keep,
        check: section.parsed("check", parse_check),
        copies,
    };
    section.finish();
    Some(job)
}

fn parse_parallel(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=PARALLEL_MAX) => Ok(number),
        _ => Err(format!("{text:?} is no number from 1 to {PARALLEL_MAX}")),
    }
}

/// Reads what is checked: `all`, what `--read-data-subset` takes, or `for 30m`.
fn parse_check(text: &str) -> Result<Portion, String> {
    if text == "all" {
        return Ok(Portion::All);
    }
    if let Some(time) = text.strip_prefix("for ") {
        let time = super::values::parse_duration(time.trim())?;
        return if time.is_zero() {
            Err("nothing is read in no time".into())
        } else {
            Ok(Portion::Within(time))
        };
    }
    let is_number =
        text.strip_suffix('m').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        let size = text.to_ascii_uppercase();
        return Err(format!("{text:?} may be a size or a time: write {size:?} or \"for {text}\""));
    }
    Portion::parse(text)
        .map_err(|_| format!("{text:?} is no part of the packs such as 5%, 1/7, 2G, \"for 30m\" or \"all\""))
}

/// A tag with a comma could never be asked for.
fn tags(section: &mut Section<'_>) -> Vec<String> {
    let Some(entry) = section.take("tags") else { return Vec::new() };
    let tags = entry.texts();
    for tag in tags.iter().filter(|tag| tag.contains(',')) {
        entry.refuse(format!("{tag:?} has a comma, which stands between tags: write them one by one"));
    }
    tags
}

/// The repository of a job, which is needed unless there is only one.
fn repository(section: &mut Section<'_>, around: &Around<'_>) -> Option<String> {
    match (section.take("repository"), around.repositories) {
        (Some(entry), _) => known(&entry, around),
        (None, [only]) => Some((*only).to_owned()),
        (None, []) => None,
        (None, several) => {
            section.refuse_all(format!(
                "must name its repository, as there are several: {}",
                several.join(", ")
            ));
            None
        }
    }
}

/// The name of a repository that is there.
fn known(entry: &Entry<'_>, around: &Around<'_>) -> Option<String> {
    let words: Vec<(&str, &str)> = around.repositories.iter().map(|name| (*name, *name)).collect();
    if words.is_empty() {
        return entry.text();
    }
    entry.word(&words).map(str::to_owned)
}

fn copies(section: &mut Section<'_>, around: &Around<'_>, own: Option<&str>) -> Vec<CopyConfig> {
    let Some(entry) = section.take("copy") else { return Vec::new() };
    let mut copies: Vec<CopyConfig> = Vec::new();
    for mut section in entry.sections(keys::COPY) {
        let repository = match section.take("repository") {
            Some(entry) => known(&entry, around),
            None => {
                section.missing("repository");
                None
            }
        };
        let keep = section.take("keep").and_then(|entry| keep::read(&entry));
        if let Some(repository) = repository {
            if own == Some(repository.as_str()) {
                section.refuse("repository", "is the repository of the job itself");
            } else if copies.iter().any(|copy| copy.repository == repository) {
                section.refuse("repository", format!("{repository:?} is named twice"));
            }
            copies.push(CopyConfig { repository, keep });
        }
        section.finish();
    }
    copies
}
