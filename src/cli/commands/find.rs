//! `packstone find PATTERN…`: looks for paths in all snapshots, and says which versions of each there are.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, Result, Timestamp, Wrap, size};
use packstone::format::node::{Node, NodeKind};
use packstone::ops::find::{Criteria, Found, FoundPath, Runs, SoughtKind, Version, find};
use packstone::repository::SnapshotEntry;
use packstone::source::Sought;

use crate::args::parse_size;
use crate::context::Context;
use crate::dates::parse_moment;
use crate::json::{self, FoundLine, FoundSummary};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome};
use crate::selection::Selection;
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
A pattern is a whole name, or with slashes the end of a path, from / on a whole path; with * ? [a-z] within a name and \
** for any number of directories. DIR/** is all below DIR. What fits one of the patterns is found.

Below each path stand its versions, the newest first: time of modification, size, how many snapshots have it, and the \
first and the last of these with their times. A version is a kind, a size, a time of modification and a content; the \
content of a directory is all that is below it. Each host has versions of its own: of several hosts, each line names one.

A DATE is 2026-01-31, \"2026-01-31 23:59\" or \"2026-01-31 23:59:59\" in local time, or an age as 7d or 12h. Nothing \
found is no error.

Examples:
  packstone find hosts
  packstone find -i '*.odt' '*.ods' --oldest 30d
  packstone find '/home/*/.ssh/**' --type f -l
  packstone find --larger 1G --path /srv
  packstone find --content ~/report.odt";

/// Arguments of `find`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// What to look for; may be left out beside the options below
    #[arg(
        value_name = "PATTERN",
        required_unless_present_any = ["content", "larger", "smaller", "newest", "oldest", "kinds"]
    )]
    patterns: Vec<OsString>,
    /// Take capital and small letters for the same
    #[arg(short, long)]
    ignore_case: bool,
    /// Only what was modified at this moment or later
    #[arg(short = 'O', long, visible_alias = "newer", value_name = "DATE", value_parser = parse_moment)]
    oldest: Option<Timestamp>,
    /// Only what was modified at this moment or earlier
    #[arg(short = 'N', long, visible_alias = "older", value_name = "DATE", value_parser = parse_moment)]
    newest: Option<Timestamp>,
    /// Only files of more bytes, as 100k, 1M or 2g
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    larger: Option<u64>,
    /// Only files of fewer bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    smaller: Option<u64>,
    /// Only these kinds: f(ile), d(irectory), l(ink), p(ipe), s(ocket), b(lock device), c(haracter device)
    #[arg(
        short,
        long = "type",
        value_name = "KIND[,KIND...]",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true
    )]
    kinds: Vec<Kind>,
    /// Only files that hold exactly what this file of this machine holds
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// Also show mode, owner and group
    #[arg(short, long)]
    long: bool,
    /// Only in this snapshot (latest, latest~N, or the beginning of its id); may be given more than once
    #[arg(short, long = "snapshot", value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    F,
    D,
    L,
    P,
    S,
    B,
    C,
}

impl From<Kind> for SoughtKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::F => Self::File,
            Kind::D => Self::Directory,
            Kind::L => Self::Symlink,
            Kind::P => Self::Fifo,
            Kind::S => Self::Socket,
            Kind::B => Self::BlockDevice,
            Kind::C => Self::CharacterDevice,
        }
    }
}

impl Arguments {
    fn criteria(&self) -> Result<Criteria> {
        let patterns: Vec<&[u8]> = self.patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        Ok(Criteria {
            patterns: Sought::new(&patterns, self.ignore_case)?,
            oldest: self.oldest,
            newest: self.newest,
            larger_than_bytes: self.larger,
            smaller_than_bytes: self.smaller,
            kinds: self.kinds.iter().copied().map(SoughtKind::from).collect(),
            content: self.content.clone(),
        })
    }
}

/// Looks for paths.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let criteria = arguments.criteria()?;
    let filter = arguments.selection.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let selected =
        list.select(&arguments.snapshots, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("find"));
    let found = context.interruption.gently(|| find(&opened.repository, &selected, &criteria, &progress))?;
    let mut output = Output::open()?;
    let written = write(&mut output, &found, &selected, arguments, context);
    let is_damaged = found.damaged > 0;
    let done = match commands::tell_damaged(list.damaged, "find") {
        Done::Fully if is_damaged => Done::WithDamage,
        done => done,
    };
    Ok(output.end(written.map(|()| done))?)
}

fn write(
    output: &mut Output,
    found: &Found,
    snapshots: &[&SnapshotEntry],
    arguments: &Arguments,
    context: &Context,
) -> Result<()> {
    let versions: usize = found.paths.iter().map(|path| path.versions.len()).sum();
    if context.global.json {
        for FoundPath { path, host, versions } in &found.paths {
            for Version { node, snapshots: having } in versions {
                json::write_line(output, &FoundLine::of(host, node, path, &entries_of(having, snapshots)))?;
            }
        }
        let summary = FoundSummary::of(found, versions, snapshots.len());
        return json::write_line(output, &summary);
    }
    let zone = TimeZone::system();
    let mut print = |line: String| writeln!(output, "{line}").wrap(|| "cannot write the output");
    let hosts = snapshots.iter().map(|entry| &entry.snapshot.host);
    let is_of_several = hosts.clone().zip(hosts.skip(1)).any(|(one, next)| one != next);
    for of_path in found.by_path() {
        let Some(FoundPath { path, versions: newest, .. }) = of_path.first() else { continue };
        let mut shown = show_path(path);
        if matches!(newest.first(), Some(Version { node: Node { kind: NodeKind::Directory(_), .. }, .. })) {
            shown.push('/');
        }
        print(shown)?;
        for FoundPath { host, versions, .. } in of_path {
            let on_host = match is_of_several {
                true => format!(" on {}", show_path(host.as_bytes())),
                false => String::new(),
            };
            for version in versions {
                print(line_of(version, snapshots, arguments.long, &zone) + &on_host)?;
            }
        }
    }
    if !context.global.quiet {
        let searched = show::count(snapshots.len() as u64, "snapshot");
        print(match found.by_path().count() {
            0 => format!("nothing found in {searched}"),
            paths => {
                let paths = show::count(paths as u64, "path");
                format!("{paths}, {}, in {searched}", show::count(versions as u64, "version"))
            }
        })?;
    }
    Ok(())
}

fn entries_of<'l>(having: &Runs, snapshots: &[&'l SnapshotEntry]) -> Vec<&'l SnapshotEntry> {
    having.iter().filter_map(|position| snapshots.get(position).copied()).collect()
}

/// A version: when it was modified, what it is, and which snapshots have it.
fn line_of(version: &Version, snapshots: &[&SnapshotEntry], is_long: bool, zone: &TimeZone) -> String {
    let Version { node, snapshots: having } = version;
    let metadata = &node.metadata;
    let long = match is_long {
        false => String::new(),
        true => {
            let user = show::owner(metadata.user.as_deref(), metadata.uid);
            let group = show::owner(metadata.group.as_deref(), metadata.gid);
            format!("{}  {user:<8} {group:<8}  ", show::mode(node))
        }
    };
    let size = match &node.kind {
        NodeKind::Regular(regular) => size::show(regular.size),
        NodeKind::Symlink(target) => format!("-> {}", show_path(target)),
        _ => node.kind.word().to_owned(),
    };
    let count = show::count(having.count(), "snapshot");
    let span = having.ends().map(|(first, last)| show::span(snapshots, first, last, zone));
    let modified = show::time(metadata.mtime, zone);
    format!("  {long}{modified}  {size:>10}  {count:<12}  {}", span.unwrap_or_default())
}
