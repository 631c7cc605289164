//! `packstone restore SNAP[:PATH] -t DIR`: gives back what a snapshot holds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Result, ThawRequest, ThawSpeed, size};
use packstone::ops::restore::{Overwrite, RestoreOptions, RestoreSummary, Selection, ThawOptions, restore};

use crate::args::parse_duration;
use crate::context::Context;
use crate::environment::Environment;
use crate::json::RestoreLine;
use crate::open::Opened;
use crate::patterns::PatternOptions;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{commands, open, selection, show};

const AFTER_HELP: &str = "\
Without a path everything comes below DIR under its absolute path. The contents of a directory PATH come straight into \
DIR, a file becomes DIR/FILE. Without --overwrite nothing that is there already is replaced, and anything in the way \
ends the restore before it begins.

A file that replaces another is written beside it, under a name that begins with .packstone-restore-, and takes its \
place when it is complete. A directory that is not empty is never removed. A symbolic link is replaced itself, never \
followed.

Where packs lie in a storage class that must be thawed (S3: GLACIER, DEEP_ARCHIVE), --thaw asks for those that are \
needed, tells how many, and ends: the same command goes on once they can be read, usually within hours, and asks for \
none of them twice. With --thaw-wait it waits for them itself. With --dry-run nothing is asked for.

Examples:
  packstone restore latest -t /tmp/restored
  packstone restore latest:/etc -t /tmp/etc
  packstone restore latest -t /tmp/keys --include '*.key' --include /etc/ssh
  packstone restore latest:/srv/data -t /srv/data --overwrite if-changed --dry-run -v
  packstone restore 1a2b3c4d:/etc/hosts -t /tmp --no-ownership
  packstone restore latest:/srv/data -t /srv/data --thaw --thaw-speed bulk --thaw-wait 2d";

/// Arguments of `restore`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and a path in it
    #[arg(value_name = "SNAP[:PATH]")]
    wanted: OsString,
    #[command(flatten)]
    selection: selection::Selection,
    /// Where to put it; the directory is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    included: Included,
    #[command(flatten)]
    excluded: Excluded,
    /// What to do with what is there already
    #[arg(long, value_name = "WHEN", value_enum)]
    overwrite: Option<When>,
    /// Write nothing; with --verbose, print what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make holes of zeros that fill whole blocks of 4096 bytes; what was stored as a hole always becomes one
    #[arg(long)]
    sparse: bool,
    /// Read each restored file back and compare it with what was stored
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// Set the owners and groups that have the stored names here, and the stored numbers where nobody has
    #[arg(long, conflicts_with = "no_ownership")]
    ownership_by_name: bool,
    /// Do not set owners and groups
    #[arg(long)]
    no_ownership: bool,
    /// Leave out what gives power over the system: devices, set-user-id bits, capabilities, trusted.* and security.*
    #[arg(long)]
    no_special: bool,
    #[command(flatten)]
    thaw: Thaw,
}

/// What is done with packs that lie frozen.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cold storage classes")]
struct Thaw {
    /// Ask for the packs that are needed and cannot be read before they are thawed; write nothing before they can be read
    #[arg(long)]
    thaw: bool,
    /// Wait so long until they can be read, as 12h or 2d, and go on then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "thaw", conflicts_with = "dry_run")]
    thaw_wait: Option<Duration>,
    /// Keep them readable for so many days [default: 7]
    #[arg(long, value_name = "NUMBER", value_parser = parse_days, requires = "thaw")]
    thaw_days: Option<u32>,
    /// How fast they are to be readable; the faster, the dearer [default: as the service likes]
    #[arg(long, value_name = "SPEED", value_enum, requires = "thaw")]
    thaw_speed: Option<Speed>,
}

impl Thaw {
    fn options(&self) -> Option<ThawOptions> {
        let request = ThawRequest {
            days: self.thaw_days.unwrap_or(THAW_DAYS),
            speed: self.thaw_speed.map(ThawSpeed::from),
        };
        self.thaw.then_some(ThawOptions { request, wait: self.thaw_wait.unwrap_or_default() })
    }
}

/// So many days what was asked for stays readable, unless told otherwise.
const THAW_DAYS: u32 = 7;

fn parse_days(text: &str) -> std::result::Result<u32, String> {
    match text.parse() {
        Ok(days @ 1..=365) => Ok(days),
        _ => Err("a number from 1 to 365".to_owned()),
    }
}

/// How fast frozen packs are to be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speed {
    /// Within half a day or two days, for the least money
    Bulk,
    /// Within hours
    Standard,
    /// Within minutes, where the class has that
    Expedited,
}

impl From<Speed> for ThawSpeed {
    fn from(speed: Speed) -> Self {
        match speed {
            Speed::Bulk => Self::Bulk,
            Speed::Standard => Self::Standard,
            Speed::Expedited => Self::Expedited,
        }
    }
}

/// What is restored.
#[derive(Args, Debug)]
#[group(id = "included", multiple = true, conflicts_with = "excluded")]
struct Included {
    /// Restore only what matches, and the directories that lead there: whole names, with * ? [a-z] and ** for any
    /// number of directories, anywhere in the path in the snapshot or from / on, and all below it
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "PATTERN")]
    iinclude: Vec<OsString>,
    /// Take patterns from the lines of a file; # begins a comment, $NAME is a variable, $$ a dollar sign, and !PATTERN
    /// takes out again
    #[arg(long, value_name = "FILE")]
    include_file: Vec<PathBuf>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "FILE")]
    iinclude_file: Vec<PathBuf>,
}

/// What is not restored.
#[derive(Args, Debug)]
#[group(id = "excluded", multiple = true)]
struct Excluded {
    /// Leave out what matches, and all below it
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<OsString>,
    /// Take patterns of what is left out from the lines of a file
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
}

impl Arguments {
    fn selection(&self, environment: &Environment) -> Result<Selection> {
        let Included { include, iinclude, include_file, iinclude_file } = &self.included;
        let included = PatternOptions {
            word: "include",
            texts: include,
            itexts: iinclude,
            files: include_file,
            ifiles: iinclude_file,
        };
        let Excluded { exclude, iexclude, exclude_file, iexclude_file } = &self.excluded;
        let excluded = PatternOptions {
            word: "exclude",
            texts: exclude,
            itexts: iexclude,
            files: exclude_file,
            ifiles: iexclude_file,
        };
        if !included.is_empty() {
            return Ok(Selection::Include(included.read(environment)?));
        }
        Ok(if excluded.is_empty() { Selection::All } else { Selection::Exclude(excluded.read(environment)?) })
    }
}

/// When something that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// Replace all of it
    Always,
    /// Replace what differs in kind, size or time; set mode and owner where only these differ
    IfChanged,
    /// Replace what is older than in the snapshot
    IfNewer,
    /// Keep all of it, and restore what is missing
    Never,
}

impl From<When> for Overwrite {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::Always,
            When::IfChanged => Self::IfChanged,
            When::IfNewer => Self::IfNewer,
            When::Never => Self::Never,
        }
    }
}

/// Gives back what a snapshot holds.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let mut options = RestoreOptions {
        ownership_by_name: arguments.ownership_by_name,
        overwrite: arguments.overwrite.map(Overwrite::from),
        sparse: arguments.sparse,
        verify: arguments.verify,
        dry_run: arguments.dry_run,
        thaw: arguments.thaw.options(),
        selection: arguments.selection(&context.environment)?,
        ..RestoreOptions::default()
    };
    options.apply.ownership = !arguments.no_ownership;
    options.apply.special = !arguments.no_special;
    let opened = open::open(context)?;
    refuse_repository(&opened, &arguments.target)?;
    options.memory_bytes = opened.repository.memory().bytes() as u64;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Restore));
    let shown = progress.begin();
    let summary = context
        .interruption
        .gently(|| restore(&opened.repository, &snapshot, path, &arguments.target, &options, &*progress));
    drop(shown);
    let summary = summary
        .hint(ErrorKind::Exists, || {
            "choose another directory, or say with --overwrite what may be replaced in it".to_owned()
        })
        .hint(ErrorKind::Frozen, || match (arguments.thaw.thaw, arguments.thaw.thaw_wait) {
            (false, _) => {
                "the same with --thaw asks for them, and writes nothing before they can be read".to_owned()
            }
            (true, None) => {
                "run the same again once they can be read, usually within hours, or add --thaw-wait 1d"
                    .to_owned()
            }
            (true, Some(_)) => "what was asked for stays asked for: run the same again later".to_owned(),
        })
        .hint(ErrorKind::NotFound, || {
            "\"packstone ls\" lists the paths of a snapshot; a pattern is whole names, or a path from / on"
                .to_owned()
        })?;
    let lines = || {
        let target = show_path(arguments.target.as_os_str().as_bytes());
        told(&summary, &options, &target, progress.elapsed().as_secs())
    };
    let document = || RestoreLine::of(&summary, options.dry_run, progress.expected(), progress.elapsed());
    conclude(&context.global, lines, document);
    Ok(match summary {
        RestoreSummary { damaged: 1.., .. } => Done::WithDamage,
        RestoreSummary { findings: 1.., .. } => Done::WithFindings,
        _ => Done::Fully,
    })
}

/// Refuses a target in the repository, where a file that is restored could take the place of an object.
fn refuse_repository(opened: &Opened, target: &Path) -> Result<()> {
    let here =
        |path: &Path| if path.as_os_str().is_empty() { Path::new(".") } else { path }.canonicalize().ok();
    // What is missing of a target is made below what is there.
    let existing = target.ancestors().find_map(here);
    match (existing, opened.location.directory().and_then(here)) {
        (Some(existing), Some(repository)) if existing.starts_with(&repository) => {
            let shown = show_file(target);
            let message = format!("the target {shown} lies in the repository: choose another directory");
            Err(Error::new(ErrorKind::Usage, message))
        }
        _ => Ok(()),
    }
}

/// The lines that sum a restore up.
fn told(summary: &RestoreSummary, options: &RestoreOptions, target: &str, seconds: u64) -> Vec<String> {
    let files = show::count(summary.files, "file");
    let directories = match summary.directories {
        1 => "1 directory".to_owned(),
        number => format!("{number} directories"),
    };
    let others = match summary.others {
        0 => String::new(),
        number => format!(", {}", show::count(number, "other item")),
    };
    let size = size::show(summary.bytes);
    let what = format!("{files}, {directories}{others}, {size} to {target}");
    let mut lines = vec![match options.dry_run {
        true => format!("would restore {what}"),
        false => format!("restored {what} in {}", show::duration(seconds)),
    }];
    let mut add = |what: &str, number, noun, more: &str| {
        if number > 0 {
            lines.push(format!("{what}: {}{more}", show::count(number, noun)));
        }
    };
    add("replaced", summary.replaced, "item", " among these");
    add("mode and owner only", summary.files_updated, "file", "");
    let kept = format!(", {}", size::show(summary.bytes_skipped));
    add("kept as before", summary.files_skipped, "item", &kept);
    add("read back as stored", summary.files_verified, "file", "");
    if summary.findings > 0 {
        lines.push(format!("{} (see the warnings above)", show::count(summary.findings, "finding")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let options = RestoreOptions::default();
        let summary = RestoreSummary { files: 2, directories: 1, bytes: 1536, ..RestoreSummary::default() };
        assert_eq!(
            told(&summary, &options, "/t", 61),
            ["restored 2 files, 1 directory, 1.5 KiB to /t in 1:01"]
        );
        let summary = RestoreSummary { others: 1, findings: 1, ..RestoreSummary::default() };
        let expected = [
            "restored 0 files, 0 directories, 1 other item, 0 B to /t in 0:00",
            "1 finding (see the warnings above)",
        ];
        assert_eq!(told(&summary, &options, "/t", 0), expected);
    }

    #[test]
    fn a_dry_run_says_what_would_be() {
        let options = RestoreOptions { dry_run: true, ..RestoreOptions::default() };
        let summary = RestoreSummary {
            files: 1,
            bytes: 2048,
            replaced: 1,
            files_updated: 2,
            files_skipped: 3,
            bytes_skipped: 1024,
            ..RestoreSummary::default()
        };
        let expected = [
            "would restore 1 file, 0 directories, 2.0 KiB to t",
            "replaced: 1 item among these",
            "mode and owner only: 2 files",
            "kept as before: 3 items, 1.0 KiB",
        ];
        assert_eq!(told(&summary, &options, "t", 5), expected);
    }

    #[test]
    fn every_word_of_the_command_line_has_its_policy() {
        let words: Vec<_> = When::value_variants().iter().map(|when| Overwrite::from(*when)).collect();
        assert_eq!(words, [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never]);
    }
}
