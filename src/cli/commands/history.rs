//! `packstone history PATH`: lists the versions of one file or directory.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, Result, Wrap, size};
use packstone::format::node::{Node, NodeKind};
use packstone::ops::history::{History, HostHistory, Period, history};
use packstone::repository::SnapshotEntry;
use packstone::source;

use crate::context::Context;
use crate::json::{self, AbsenceLine, HistorySummary, VersionLine};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome};
use crate::selection::Selection;
use crate::table::{self, Column};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
A relative PATH is one of the working directory. The versions come newest first: time of modification, size, how many \
snapshots have it, and the first and the last of these. Where snapshots of the same place do not have the path, a line \
says so. A version is a kind, a size, a time of modification and a content; the content of a directory is all that is \
below it.

Examples:
  packstone history /etc/hosts
  packstone history ~/report.odt --host laptop
  cd /etc && packstone history ssh/sshd_config";

const COLUMNS: [Column; 6] = [
    Column::Left("Modified"),
    Column::Right("Size"),
    Column::Left("Mode"),
    Column::Right("Snapshots"),
    Column::Left("First"),
    Column::Left("Last"),
];

/// Arguments of `history`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A file or a directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Only in this snapshot (latest, latest~N, or the beginning of its id); may be given more than once
    #[arg(short, long = "snapshot", value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

impl Arguments {
    /// The path, from the root directory on.
    fn absolute(&self) -> Result<Vec<u8>> {
        let current = std::env::current_dir().unwrap_or_default();
        let (_, absolute) = source::plan(std::slice::from_ref(&self.path), &current)?;
        Ok(absolute.into_iter().next().map(|path| path.into_os_string().into_vec()).unwrap_or_default())
    }
}

/// Lists the versions of a path.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let path = arguments.absolute()?;
    let filter = arguments.selection.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let selected =
        list.select(&arguments.snapshots, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("history"));
    let found = context
        .interruption
        .gently(|| history(&opened.repository, &selected, &path, &progress))
        .hint(ErrorKind::NotFound, || look_elsewhere(&path));
    let written = found.map(|found| {
        let mut output = Output::open()?;
        let written = match context.global.json {
            true => write_lines(&mut output, &path, &found, &selected),
            false => write_tables(&mut output, &path, &found, &selected, context.global.quiet),
        };
        output.end(written.map(|()| if found.damaged > 0 { Done::WithDamage } else { Done::Fully }))
    });
    let done = commands::tell_damaged(list.damaged, "history");
    Ok(match written?? {
        Done::Fully => done,
        other => other,
    })
}

/// What helps who looks for a path that is not there.
fn look_elsewhere(path: &[u8]) -> String {
    let name = Path::new(std::ffi::OsStr::from_bytes(path)).file_name().unwrap_or_default();
    let name = show::argument(Path::new(name), "NAME");
    format!("\"packstone find {name}\" looks for that name anywhere")
}

fn entries_of<'l>(period: &Period, snapshots: &[&'l SnapshotEntry]) -> Vec<&'l SnapshotEntry> {
    period.snapshots.iter().filter_map(|position| snapshots.get(*position).copied()).collect()
}

fn write_lines(
    output: &mut Output,
    path: &[u8],
    found: &History,
    snapshots: &[&SnapshotEntry],
) -> Result<()> {
    let (mut versions, mut absences) = (0, 0);
    for HostHistory { host, periods } in &found.hosts {
        for period in periods.iter().rev() {
            let having = entries_of(period, snapshots);
            match &period.entry {
                Some(entry) => {
                    versions += 1;
                    json::write_line(output, &VersionLine::of(host, &entry.node, path, &having))?;
                }
                None => {
                    absences += 1;
                    json::write_line(output, &AbsenceLine::of(host, &having))?;
                }
            }
        }
    }
    let summary = HistorySummary::new(path, versions, absences, snapshots.len(), found.damaged);
    json::write_line(output, &summary)
}

fn write_tables(
    output: &mut Output,
    path: &[u8],
    found: &History,
    snapshots: &[&SnapshotEntry],
    is_quiet: bool,
) -> Result<()> {
    let zone = TimeZone::system();
    let mut lines = Vec::new();
    for HostHistory { host, periods } in &found.hosts {
        if found.hosts.len() > 1 {
            let is_first = lines.is_empty();
            lines.extend((!is_first).then(String::new));
            lines.push(format!("on {}:", show_path(host.as_bytes())));
        }
        let rows: Vec<[String; 6]> =
            periods.iter().rev().map(|period| row_of(period, snapshots, &zone)).collect();
        lines.extend(table::lines(&COLUMNS, &rows));
    }
    if !is_quiet {
        lines.extend(how_to_get_it(path, found, snapshots));
    }
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

fn row_of(period: &Period, snapshots: &[&SnapshotEntry], zone: &TimeZone) -> [String; 6] {
    let [modified, size, mode] = match &period.entry {
        None => ["not there".to_owned(), String::new(), String::new()],
        Some(entry) => {
            [show::time(entry.node.metadata.mtime, zone), what(&entry.node), show::mode(&entry.node)]
        }
    };
    let at = |position: Option<&usize>| {
        position.map(|position| show::span(snapshots, *position, *position, zone)).unwrap_or_default()
    };
    let count = period.snapshots.len().to_string();
    [modified, size, mode, count, at(period.snapshots.first()), at(period.snapshots.last())]
}

fn what(node: &Node) -> String {
    match &node.kind {
        NodeKind::Regular(regular) => size::show(regular.size),
        NodeKind::Symlink(target) => format!("-> {}", show_path(target)),
        _ => node.kind.word().to_owned(),
    }
}

/// Commands that give the version back that was there last.
fn how_to_get_it(path: &[u8], found: &History, snapshots: &[&SnapshotEntry]) -> Vec<String> {
    let periods = found.hosts.iter().flat_map(|host| &host.periods);
    let newest = periods.filter(|period| period.entry.is_some()).max_by_key(|period| period.snapshots.last());
    let Some((entry, last)) =
        newest.and_then(|period| Some((period.entry.as_ref()?, period.snapshots.last()?)))
    else {
        return Vec::new();
    };
    let Some(snapshot) = snapshots.get(*last) else { return Vec::new() };
    let mut wanted = OsString::from(format!("{}:", snapshot.id.short()));
    wanted.push(std::ffi::OsStr::from_bytes(path));
    let wanted = show::argument(Path::new(&wanted), "SNAP:PATH");
    let mut lines = vec![format!("to get the newest: packstone restore {wanted} -t DIR")];
    if matches!(entry.node.kind, NodeKind::Regular(_)) {
        lines.push(format!("or to print it:    packstone cat {wanted}"));
    }
    lines
}
