//! `packstone diff SNAP[:PATH] SNAP[:PATH]`, `packstone diff SNAP[:PATH] --live [DIR]`: says what differs.

mod overview;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Result, Wrap, size};
use packstone::ops::diff::{
    Change, Counts, Diff, DiffOptions, Item, Modifier, Patch, Place, Statistics, diff_live, diff_snapshots,
    patch, patch_live,
};
use packstone::ops::find::SoughtKind;
use packstone::repository::SnapshotEntry;

use crate::context::Context;
use crate::environment::Environment;
use crate::json::{self, ChangeLine, StatisticsLine};
use crate::open::Opened;
use crate::output::Output;
use crate::patterns::Excluded;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome};
use crate::selection::Selection;
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
A line stands for a path at which the two sides differ:
  +   it was added
  -   it was removed
  M   its content was modified
  M?  its content differs, and its size and time of modification do not: nobody seems to have changed it
  U   only mode, owner, times or attributes differ (with --metadata)
  T   it is another kind of object
  R   it was moved or renamed: OLD -> NEW have the same content
Paths are those of the second side, of what was removed those of the first. A directory that moved with all in it is one \
line.

With --live the snapshot is compared with what is there now: with DIR, or else with the paths that were backed up. A file \
of the stored size and time of modification is taken for unchanged. What rules left out of the backup shows as added; \
--exclude passes over it. A directory that moved is told file by file.

Examples:
  packstone diff latest~1 latest
  packstone diff --stat 1a2b3c4d latest:/srv
  packstone diff latest --live -e '*.tmp'
  packstone diff latest:/srv/data --live /tmp/restored --metadata
  packstone diff --patch latest~7:/etc/hosts latest:/etc/hosts";

/// Arguments of `diff`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The first side: a snapshot (latest, latest~N, or the beginning of its id), and a path in it
    #[arg(value_name = "SNAP[:PATH]")]
    one: OsString,
    /// The second side
    #[arg(value_name = "SNAP[:PATH]", required_unless_present = "live", conflicts_with = "live")]
    other: Option<OsString>,
    /// Compare with what is there now, in DIR or where it was backed up
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    live: Option<Option<PathBuf>>,
    /// Also show where only metadata differ
    #[arg(long)]
    metadata: bool,
    /// With --live: read and compare files of the stored size and time of modification, too
    #[arg(long, conflicts_with = "other")]
    content: bool,
    /// Show where how much differs, and a summary
    #[arg(long, conflicts_with = "patch")]
    stat: bool,
    /// Show the lines in which two files differ, as a patch
    #[arg(long, conflicts_with_all = ["metadata", "content", "excluded"])]
    patch: bool,
    #[command(flatten)]
    excluded: Excluded,
    #[command(flatten)]
    selection: Selection,
}

impl Arguments {
    fn options(&self, environment: &Environment) -> Result<DiffOptions> {
        let (metadata, content) = (self.metadata, self.content);
        Ok(DiffOptions { metadata, content, excludes: self.excluded.options().read(environment)? })
    }
}

/// The second side.
enum Second<'a> {
    Snapshot(Box<SnapshotEntry>, Option<&'a [u8]>),
    /// A directory or a file by its own path, or the places that were backed up.
    Live(Option<PathBuf>),
}

/// Says what differs.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let options = arguments.options(&context.environment)?;
    if arguments.patch && context.global.json {
        return Err(Error::new(ErrorKind::Usage, "a patch is text: leave out --json").into());
    }
    let opened = open::open(context)?;
    let (one, path) = commands::find_snapshot(&opened, &arguments.one, &arguments.selection)?;
    let second = second(arguments, &opened)?;
    let first = Place { snapshot: &one, path };
    if arguments.patch {
        return print_patch(&opened, first, &second, context);
    }
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("diff"));
    let repository = &opened.repository;
    let diff = context.interruption.gently(|| match &second {
        Second::Snapshot(other, path) => {
            let second = Place { snapshot: other, path: *path };
            diff_snapshots(repository, first, second, &options, &progress)
        }
        Second::Live(directory) => {
            let left_out = opened.own_directories();
            diff_live(repository, first, directory.as_deref(), &left_out, &options, &progress)
        }
    });
    let diff = diff.hint(ErrorKind::NotFound, || {
        "\"packstone ls\" lists the paths of a snapshot, \"packstone find\" looks for one in all".to_owned()
    })?;
    let mut output = Output::open()?;
    let written = match context.global.json {
        true => write_lines(&mut output, &diff, &one, &second, arguments.stat),
        false => write(&mut output, &diff, arguments, context.global.quiet),
    };
    let done = match &diff {
        Diff { damaged: 1.., .. } => Done::WithDamage,
        Diff { findings: 1.., .. } => Done::WithFindings,
        _ => Done::Fully,
    };
    Ok(output.end(written.map(|()| done))?)
}

fn second<'a>(arguments: &'a Arguments, opened: &Opened) -> Outcome<Second<'a>> {
    if let Some(live) = &arguments.live {
        let resolve =
            |path: &PathBuf| path.canonicalize().wrap(|| format!("cannot compare with {}", show_file(path)));
        return Ok(Second::Live(live.as_ref().map(resolve).transpose()?));
    }
    let other = arguments.other.as_deref().unwrap_or_default();
    let (snapshot, path) = commands::find_snapshot(opened, other, &arguments.selection)?;
    Ok(Second::Snapshot(Box::new(snapshot), path))
}

fn write_lines(
    output: &mut Output,
    diff: &Diff,
    one: &SnapshotEntry,
    second: &Second<'_>,
    is_short: bool,
) -> Result<()> {
    for change in diff.changes.iter().filter(|_| !is_short) {
        json::write_line(output, &ChangeLine::of(change))?;
    }
    let other = match second {
        Second::Snapshot(other, _) => Some(other.id),
        Second::Live(_) => None,
    };
    json::write_line(output, &StatisticsLine::of(diff, one.id, other))
}

fn write(output: &mut Output, diff: &Diff, arguments: &Arguments, is_quiet: bool) -> Result<()> {
    let mut lines: Vec<String> = match arguments.stat {
        true => overview::lines(&diff.changes),
        false => diff.changes.iter().map(line_of).collect(),
    };
    if arguments.stat || !is_quiet {
        let is_first = lines.is_empty();
        lines.extend((!is_first).then(String::new));
        lines.extend(told(&diff.statistics, arguments.metadata));
    }
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

/// A path, with a slash at the end of a directory's.
fn path_of(item: &Item) -> String {
    let mut shown = show_path(&item.path);
    if item.kind == SoughtKind::Directory {
        shown.push('/');
    }
    shown
}

fn line_of(change: &Change) -> String {
    let path = change.item().map(path_of).unwrap_or_default();
    let from = change.before.as_ref().filter(|_| change.modifier == Modifier::Moved);
    let from = from.map(|from| format!("{} -> ", path_of(from))).unwrap_or_default();
    format!("{:<4} {from}{path}", change.modifier.sign())
}

/// The lines that sum a comparison up.
fn told(statistics: &Statistics, has_metadata: bool) -> Vec<String> {
    let Statistics { added, removed, changed, moved, metadata, added_bytes, removed_bytes } = statistics;
    let row = |title: &str, number: fn(&Counts) -> u64, is_changed: bool| {
        let changed = match is_changed {
            true => format!("{:>6} changed,", number(changed)),
            false => " ".repeat(15),
        };
        let (added, removed, moved) = (number(added), number(removed), number(moved));
        let mut row = format!("{title:<8}{added:>6} new, {removed:>6} removed, {changed} {moved:>6} moved");
        if has_metadata {
            row.push_str(&format!(", {:>6} with other metadata", number(metadata)));
        }
        row
    };
    vec![
        row("Files:", |counts| counts.files, true),
        row("Dirs:", |counts| counts.directories, false),
        row("Others:", |counts| counts.others, true),
        format!("Added:   {}", size::show(*added_bytes)),
        format!("Removed: {}", size::show(*removed_bytes)),
    ]
}

fn print_patch(opened: &Opened, one: Place<'_>, second: &Second<'_>, context: &Context) -> Outcome<Done> {
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("diff"));
    let repository = &opened.repository;
    let named = |place: Place<'_>| {
        format!("{}:{}", place.snapshot.id.short(), show_path(place.path.unwrap_or_default()))
    };
    let (other_name, found) = match second {
        Second::Snapshot(other, path) => {
            let other = Place { snapshot: other, path: *path };
            (named(other), context.interruption.gently(|| patch(repository, one, other, &progress)))
        }
        Second::Live(live) => {
            let path = match (live, one.path) {
                (Some(live), _) => live.clone(),
                (None, Some(path)) => PathBuf::from(OsStr::from_bytes(path)),
                (None, None) => PathBuf::new(),
            };
            let found = context.interruption.gently(|| patch_live(repository, one, &path, &progress));
            (show_file(&path), found)
        }
    };
    let found = found.hint(ErrorKind::Usage, || {
        "write --patch SNAP:FILE SNAP:FILE, or --patch SNAP:FILE --live; without --patch, diff says which files differ"
            .to_owned()
    })?;
    let name = named(one);
    let mut output = Output::open()?;
    let written = match &found {
        Patch::Same => Ok(()),
        Patch::Binary => writeln!(output, "{name} and {other_name} differ, and are not both text"),
        Patch::Text(text) => {
            writeln!(output, "--- {name}\n+++ {other_name}").and_then(|()| output.write_all(text))
        }
    };
    Ok(output.end(written.wrap(|| "cannot write the output").map(|()| Done::Fully))?)
}

/// For people: a number of paths.
fn paths(count: usize) -> String {
    show::count(count as u64, "path")
}
