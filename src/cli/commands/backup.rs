//! `packstone backup PATH…`: backs up files and directories, or a stream.

mod dry_run;
mod how;
mod lists;
mod rules;
mod stream;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use packstone::base::host::Host;
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Monitor, Result, Timestamp, size};
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::{BackupOptions, BackupSummary, Comparison, backup_paths, check_sources, scan};

use crate::context::Context;
use crate::json::BackupLine;
use crate::open::{self, Opened, Place};
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{commands, default_repository, environment, report, show};

use how::{How, parse_time};
use lists::{Lists, Sources};
use rules::Rules;

const AFTER_HELP: &str = "\
What cannot be read is told, counted in the snapshot, and makes the exit code 3. The repository itself and the cache \
folder are left out. No snapshot is made of a command that fails.

The last pattern that matches decides, but nothing is taken back in below a directory that is out. A PATH itself is \
never left out. \"packstone backup -n -v PATH\" shows for each file why it is in or out. A path of a list that lies \
in another source is part of it.

Examples:
  packstone backup ~/documents ~/photos
  packstone backup --tag nightly,etc --description 'before the upgrade' /etc
  packstone backup -x --exclude-caches --exclude '*.tmp' --exclude '/home/*/.cache' /
  find ~ -name '*.odt' -print0 | packstone backup --files-from-raw -
  mysqldump shop | packstone backup --stdin --stdin-filename dumps/shop.sql
  packstone backup --stdin-filename dumps/shop.sql --stdin-from-command -- pg_dump --format=custom shop";

/// Arguments of `backup`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("stream").args(["stdin", "stdin_from_command"]))]
pub struct Arguments {
    /// Files and directories; after --stdin-from-command: a command and its arguments
    #[arg(
        value_name = "PATH",
        required_unless_present_any = ["stdin", "files_from", "files_from_verbatim", "files_from_raw"]
    )]
    operands: Vec<OsString>,
    /// Back up the standard input as one file
    #[arg(long, conflicts_with = "operands")]
    stdin: bool,
    /// Back up what a command prints as one file; it must succeed
    #[arg(long)]
    stdin_from_command: bool,
    /// The path of that file in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin", requires = "stream")]
    stdin_filename: String,
    /// Words by which to find the snapshot later; may be given more than once
    #[arg(long = "tag", value_name = "TAG[,TAG...]", value_delimiter = ',')]
    tags: Vec<String>,
    /// A remark
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The machine that the snapshot names, instead of this one
    #[arg(short = 'H', long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    host: Option<String>,
    /// When the snapshot says that it was made, in local time; or now
    #[arg(long, value_name = "YYYY-MM-DD HH:MM:SS", value_parser = parse_time)]
    time: Option<Timestamp>,
    /// Read everything, whatever was read before
    #[arg(short, long, conflicts_with = "parent")]
    force: bool,
    /// Compare files with this snapshot instead of the newest of the same host and paths
    #[arg(long, value_name = "SNAP", conflicts_with = "stream")]
    parent: Option<String>,
    /// Do not take a file for changed because its metadata changed (ctime)
    #[arg(long, conflicts_with = "stream")]
    ignore_ctime: bool,
    /// Do not take a file for changed because its inode number changed, as some network file systems do
    #[arg(long, conflicts_with = "stream")]
    ignore_inode: bool,
    /// Make no snapshot if nothing changed
    #[arg(long, conflicts_with = "stream")]
    skip_if_unchanged: bool,
    /// Only say what would be in the snapshot, and with -v of each path why it is in or out; nothing is written
    #[arg(short = 'n', long, conflicts_with = "stream")]
    dry_run: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    lists: Lists,
    #[command(flatten)]
    rules: Rules,
}

/// Backs up.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let mut options = options(arguments, context)?;
    // Where it is unknown, only absolute paths can be backed up, and the library says so.
    let current = std::env::current_dir().unwrap_or_default();
    let sources = match arguments {
        Arguments { stdin: true, .. } | Arguments { stdin_from_command: true, .. } => Sources::default(),
        _ => arguments.lists.sources(&arguments.operands, &current)?,
    };
    let done = if arguments.dry_run {
        let opened = open::open_unwritten(context)?;
        if let Some(opened) = &opened {
            options.left_out = opened.own_directories();
        }
        name_parent(opened.as_ref(), &mut options)?;
        check(&sources.paths, &current, &options)?;
        dry_run::run(&sources.paths, &current, &options, context)?
    } else {
        back_up(arguments, &sources.paths, &current, options, context)?
    };
    Ok(if sources.is_uncertain && done == Done::Fully { Done::WithFindings } else { done })
}

fn back_up(
    arguments: &Arguments,
    paths: &[PathBuf],
    current: &Path,
    mut options: BackupOptions,
    context: &Context,
) -> Outcome<Done> {
    let is_stream = arguments.stdin || arguments.stdin_from_command;
    if !is_stream {
        // Before a repository is made for nothing.
        check(paths, current, &options)?;
    }
    let opened = match open::place(context)? {
        Place::Named(location) => open::open_named(context, location)?,
        Place::Default(places) => default_repository::open_or_create(context, &places)?,
    };
    options.left_out = opened.own_directories();
    name_parent(Some(&opened), &mut options)?;
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Backup));
    let shown = progress.begin();
    let summary = context.interruption.gently(|| match arguments {
        Arguments { stdin: true, .. } => stream::of_stdin(&opened, arguments, &options, &progress),
        Arguments { stdin_from_command: true, .. } => {
            stream::of_command(&opened, arguments, &options, &progress)
        }
        _ => of_paths(&opened, paths, current, &options, !arguments.how.no_scan, &progress),
    });
    drop(shown);
    let summary = summary.hint(ErrorKind::Fenced, || {
        "run the backup again: what this one stored is there, and is used again".to_owned()
    })?;
    let document = || BackupLine::of(&summary);
    conclude(&context.global, || told(&summary, &progress), document);
    Ok(if summary.snapshot.findings > 0 { Done::WithFindings } else { Done::Fully })
}

fn options(arguments: &Arguments, context: &Context) -> Result<BackupOptions> {
    let mut options = BackupOptions::new(Host::current());
    options.withheld = context.environment.withheld();
    arguments.how.apply(&mut options);
    options.host_name.clone_from(&arguments.host);
    options.time = arguments.time;
    options.user = environment::user();
    options.tags = arguments.tags.iter().filter(|tag| !tag.is_empty()).cloned().collect();
    options.description.clone_from(&arguments.description);
    options.comparison = match (&arguments.parent, arguments.force) {
        (Some(wanted), _) => Comparison::With(wanted.clone()),
        (None, true) => Comparison::Nothing,
        (None, false) => Comparison::Newest,
    };
    options.ignore_ctime = arguments.ignore_ctime;
    options.ignore_inode = arguments.ignore_inode;
    options.skip_if_unchanged = arguments.skip_if_unchanged;
    options.excludes = arguments.rules.read(&context.environment)?;
    options.check()?;
    Ok(options)
}

/// Finds the snapshot that was named to compare with, before any work is done.
fn name_parent(opened: Option<&Opened>, options: &mut BackupOptions) -> Outcome<()> {
    let Comparison::With(wanted) = &options.comparison else { return Ok(()) };
    let snapshots = opened.map(|opened| opened.repository.snapshots()).transpose()?.unwrap_or_default();
    let id = snapshots.find(wanted).hint(ErrorKind::NotFound, commands::list_hint)?.id;
    options.comparison = Comparison::With(id.hex());
    Ok(())
}

/// Refuses sources that cannot be backed up, and tells of those of which nothing would be.
fn check(paths: &[PathBuf], current: &Path, options: &BackupOptions) -> Result<()> {
    let (_, absolute) = packstone::source::plan(paths, current)?;
    check_sources(&absolute)?;
    refuse_own_directories(&absolute, &options.left_out)?;
    for path in absolute.iter().filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir())) {
        if let Some(rule) = options.excludes.patterns.rule_for(path.as_os_str().as_encoded_bytes()) {
            let shown = show_file(path);
            report::warn(&format!("the {rule} matches {shown} itself, and so leaves out what is below it"));
        }
    }
    Ok(())
}

fn of_paths(
    opened: &Opened,
    paths: &[PathBuf],
    current: &Path,
    options: &BackupOptions,
    is_scanned: bool,
    progress: &Progress,
) -> Result<BackupSummary> {
    let (_, absolute) = packstone::source::plan(paths, current)?;
    refuse_own_directories(&absolute, &options.left_out)?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if is_scanned && progress.is_shown() {
            let scanning = Scanning { progress, is_over: &is_over };
            let absolute = &absolute;
            scope.spawn(move || scan(absolute, &options.excludes, &options.left_out, &scanning));
        }
        let summary = backup_paths(&opened.repository, paths, current, options, progress);
        is_over.store(true, Ordering::Relaxed);
        summary
    })
}

/// A source that is the repository would be left out, and the snapshot empty.
fn refuse_own_directories(paths: &[PathBuf], own: &[(u64, u64)]) -> Result<()> {
    let is_own = |path: &&PathBuf| {
        let metadata = path.symlink_metadata();
        metadata.is_ok_and(|metadata| own.contains(&(metadata.dev(), metadata.ino())))
    };
    match paths.iter().find(is_own) {
        None => Ok(()),
        Some(path) => {
            let shown = show_path(path.as_os_str().as_encoded_bytes());
            let message = format!("{shown} is the repository or the cache folder itself");
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}

/// Passes on what is expected, until the backup that it counts for is over.
struct Scanning<'p> {
    progress: &'p Progress,
    is_over: &'p AtomicBool,
}

impl Monitor for Scanning<'_> {
    fn expect(&self, files: u64, bytes: u64) {
        self.progress.expect(files, bytes);
    }

    fn expected_all(&self) {
        self.progress.expected_all();
    }

    fn cancelled(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.progress.cancelled()
    }
}

fn told(summary: &BackupSummary, progress: &Progress) -> Vec<String> {
    let snapshot = &summary.snapshot;
    let number = |statistic| snapshot.statistics.0.get(&statistic).copied().unwrap_or_default();
    let [added, stored] = [Statistic::BytesAdded, Statistic::BytesStored].map(number).map(size::show);
    let (files, size) = (show::count(snapshot.file_count(), "file"), size::show(snapshot.total_bytes));
    let duration = show::duration(progress.elapsed().as_secs());
    let mut lines = Vec::new();
    // A stream is no file of a directory that could be compared.
    if snapshot.statistics.0.contains_key(&Statistic::FilesNew) {
        let counted = |statistics: [Statistic; 3]| {
            let [new, changed, unmodified] = statistics.map(number);
            format!("{new} new, {changed} changed, {unmodified} unmodified")
        };
        let files = [Statistic::FilesNew, Statistic::FilesChanged, Statistic::FilesUnmodified];
        let directories =
            [Statistic::DirectoriesNew, Statistic::DirectoriesChanged, Statistic::DirectoriesUnmodified];
        lines.extend([format!("Files: {}", counted(files)), format!("Dirs:  {}", counted(directories))]);
    }
    lines.extend([
        format!("Added to the repository: {added} ({stored} stored)"),
        format!("processed {files}, {size} in {duration}"),
        match summary.is_skipped {
            true => format!("nothing changed since snapshot {}; no snapshot was made", summary.id.short()),
            false => format!("snapshot {} saved", summary.id.short()),
        },
    ]);
    if summary.excluded > 0 {
        lines.insert(lines.len() - 1, format!("left out {}", show::left_out(summary.excluded)));
    }
    if snapshot.findings > 0 {
        lines.push(format!("{} (see the warnings above)", show::count(snapshot.findings, "finding")));
    }
    lines
}
