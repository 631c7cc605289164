//! Choosing snapshots: the flags by which commands let through some, and put them together.
//!
//! What must hold: the same flags mean the same to every command that has them; the choosing itself is the library's.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use packstone::base::Result;
use packstone::base::monitor::show_path;
use packstone::repository::{GroupKey, Grouping, SnapshotFilter};
use packstone::source;

/// What the flags stand under in the help; not of the arguments that follow them.
const HEADING: &str = "Choosing snapshots";

/// Which snapshots a command is about.
#[derive(Args, Debug, Default)]
pub struct Selection {
    /// Only those of this machine; may be given more than once
    #[arg(short = 'H', long = "host", value_name = "HOST", help_heading = HEADING, value_parser = NonEmptyStringValueParser::new())]
    hosts: Vec<String>,
    /// Only those with all of these tags; of several such lists one must fit, and '' fits those without tags
    #[arg(long = "tag", value_name = "TAG[,TAG...]", help_heading = HEADING)]
    tags: Vec<String>,
    /// Only those for which this path was named; given more than once, all of the paths
    #[arg(long = "path", value_name = "PATH", help_heading = HEADING)]
    paths: Vec<PathBuf>,
    /// Only those of this job; may be given more than once
    #[arg(long = "job", value_name = "JOB", help_heading = HEADING, value_parser = NonEmptyStringValueParser::new())]
    jobs: Vec<String>,
}

impl Selection {
    /// The filter that the flags are. Relative paths are those of the working directory.
    pub fn filter(&self) -> Result<SnapshotFilter> {
        let current = std::env::current_dir().unwrap_or_default();
        let mut paths = Vec::new();
        for path in &self.paths {
            let (_, absolute) = source::plan(std::slice::from_ref(path), &current)?;
            paths.extend(absolute.into_iter().map(|path| path.into_os_string().into_encoded_bytes()));
        }
        let words =
            |list: &String| list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let tags = self.tags.iter().map(words).collect();
        let (hosts, jobs) = (self.hosts.clone(), self.jobs.clone());
        Ok(SnapshotFilter { hosts, tags, paths, jobs, is_selective: None })
    }
}

/// The same flags, of which none is a single letter, for commands whose letters mean something else.
#[derive(Debug, Default)]
pub struct SelectionWithoutShort(pub Selection);

impl FromArgMatches for SelectionWithoutShort {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Selection::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for SelectionWithoutShort {
    fn augment_args(command: Command) -> Command {
        Selection::augment_args(command).mut_arg("hosts", |flag| flag.short(None))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Selection::augment_args_for_update(command).mut_arg("hosts", |flag| flag.short(None))
    }
}

/// Reads what snapshots are put together by, as `host,paths`.
pub fn parse_grouping(text: &str) -> std::result::Result<Grouping, String> {
    let mut grouping = Grouping::default();
    for word in text.split(',').filter(|_| !text.is_empty()) {
        match word {
            "host" | "hosts" => grouping.host = true,
            "job" | "jobs" => grouping.job = true,
            "path" | "paths" => grouping.paths = true,
            "tag" | "tags" => grouping.tags = true,
            _ => return Err(format!("{word:?} is none of host, job, paths and tags")),
        }
    }
    Ok(grouping)
}

/// What the snapshots of a group have in common.
pub fn show_group(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    let text = |text: &String| show_path(text.as_bytes());
    parts.extend(key.host.as_ref().map(|host| format!("host [{}]", text(host))));
    parts.extend(key.job.as_ref().map(|job| format!("job [{}]", job.as_ref().map(text).unwrap_or_default())));
    let tags = |tags: &Vec<String>| tags.iter().map(text).collect::<Vec<_>>().join(", ");
    parts.extend(key.tags.as_ref().map(|all| format!("tags [{}]", tags(all))));
    let paths =
        |paths: &Vec<Vec<u8>>| paths.iter().map(|path| show_path(path)).collect::<Vec<_>>().join(", ");
    parts.extend(key.paths.as_ref().map(|all| format!("paths [{}]", paths(all))));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_filter() {
        let selection = Selection {
            hosts: vec!["a".into()],
            tags: vec!["x,,y".into(), String::new()],
            paths: vec!["/etc/../home/".into()],
            jobs: vec!["nightly".into()],
        };
        let expected = SnapshotFilter {
            hosts: vec!["a".into()],
            tags: vec![vec!["x".into(), "y".into()], Vec::new()],
            paths: vec![b"/home".to_vec()],
            jobs: vec!["nightly".into()],
            is_selective: None,
        };
        assert_eq!(selection.filter().expect("a filter"), expected);
        assert!(Selection::default().filter().expect("a filter").is_empty());
        let empty = Selection { paths: vec![PathBuf::new()], ..Selection::default() };
        assert!(empty.filter().is_err());
    }

    #[test]
    fn groupings_are_words() {
        let grouping = Grouping { host: true, paths: true, ..Grouping::default() };
        assert_eq!(parse_grouping("host,paths"), Ok(grouping));
        assert_eq!(parse_grouping("tags,job"), Ok(Grouping { job: true, tags: true, ..Grouping::default() }));
        assert_eq!(parse_grouping(""), Ok(Grouping::default()));
        for bad in [",", "host,", "size", "host paths"] {
            assert!(parse_grouping(bad).is_err(), "{bad}");
        }
    }
}
