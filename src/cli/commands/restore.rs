//! `packstone restore SNAP[:PATH] -t DIR`: gives back what a snapshot holds.

mod place;
mod summary;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use packstone::base::{Error, ErrorKind, Result, ThawRequest, ThawSpeed};
use packstone::ops::backup::DUMPS_FOLDER;
use packstone::ops::restore::{Overwrite, RestoreOptions, RestoreSummary, Selection, ThawOptions, restore};
use packstone::repository::SnapshotEntry;
use packstone::source::{GivenPattern, Patterns};

use crate::args::parse_duration;
use crate::context::Context;
use crate::environment::Environment;
use crate::json::RestoreLine;
use crate::open::Opened;
use crate::patterns::{Excluded, PatternOptions};
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome, conclude};
use crate::{commands, open, selection, show};

use place::{Destination, Place, delete_options};
use summary::told;

const AFTER_HELP: &str = "\
Without a path everything comes below DIR under its absolute path. The contents of a directory PATH come straight into \
DIR, a file becomes DIR/FILE, or FILE with --as FILE. Without --overwrite nothing that is there already is replaced, and \
anything in the way ends the restore before it begins.

A file that replaces another is written beside it, under a name that begins with .packstone-restore-, and takes its \
place when it is complete. Regular files of 1 MiB and more that have one name, are no programs and share something with \
what is stored are changed where they are: only ranges that differ are fetched and written. Programs that have such a \
file open see it change, and until it is complete its mode is 1600; --no-in-place replaces it as a whole. A directory \
that is not empty is never removed, but with --delete. A symbolic link is replaced itself, never followed.

Whatever ended a restore, the same command with --overwrite if-changed goes on: what is complete is left alone, large \
files go on where they were. A dry run compares as the restore does, and says exactly what that would do.

--delete removes what is there and not in the snapshot: only within what the backup read without a finding, nothing that \
a pattern left out of the backup, nothing beyond a mount, nothing of a repository, its cache or its key, and only where all \
else was restored. What other rules left out (--exclude-if-present, --exclude-caches, --exclude-larger-than, \
--one-file-system) is not known, and is deleted: look at the dry run. Only directories of which the snapshot holds nothing, \
or one file CACHEDIR.TAG or one whose name begins with a dot, are left as they are without --yes. If more would be deleted \
than is restored, or nothing that is there has a name that is in what is restored, it asks, or needs --yes, which agrees \
only with a snapshot of this machine. In / it takes a whole snapshot and patterns of --include that begin with / and name \
a directory.

Where packs lie in a storage class that must be thawed (S3: GLACIER, DEEP_ARCHIVE), --thaw asks for those that are \
needed, tells how many, and ends: the same command goes on once they can be read, usually within hours, and asks for \
none of them twice. With --thaw-wait it waits for them itself. With --dry-run nothing is asked for.

Examples:
  packstone restore latest -t /tmp/restored
  packstone restore latest:/etc -t /tmp/etc
  packstone restore latest -t /tmp/keys --include '*.key' --include /etc/ssh
  packstone restore latest:/srv/data -t /srv/data --overwrite if-changed --dry-run -v
  packstone restore latest:/srv/data --to-origin --overwrite if-changed --delete
  packstone restore 1a2b3c4d:/etc/hosts --as /tmp/hosts.old --no-ownership
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
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    included: Included,
    #[command(flatten)]
    excluded: Excluded,
    /// What to do with what is there already
    #[arg(long, value_name = "WHEN", value_enum)]
    overwrite: Option<When>,
    /// Delete what is there and not in the snapshot, within directories that it holds as a whole
    #[arg(long, requires = "overwrite")]
    delete: bool,
    /// Replace large files as a whole as well, instead of writing the ranges that differ
    #[arg(long, requires = "overwrite")]
    no_in_place: bool,
    /// Agree to what would be asked, or refused where nobody can be asked
    #[arg(long)]
    yes: bool,
    /// Write nothing, and say what would be done; with --verbose, for each item
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Of what is written, make holes of zeros that fill whole blocks of 4096 bytes; what was stored as a hole always
    /// becomes one
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
        let excluded = self.excluded.options();
        if !included.is_empty() {
            return Ok(Selection::Include(included.read(environment)?));
        }
        Ok(if excluded.is_empty() { Selection::All } else { Selection::Exclude(excluded.read(environment)?) })
    }
}

/// When something that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// Make all of it as stored; contents are compared
    Always,
    /// The same for what differs in kind, size or time; set other metadata where only these differ
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
    if arguments.no_in_place {
        options.in_place_bytes_min = u64::MAX;
    }
    let opened = open::open(context)?;
    options.memory_bytes = opened.repository.memory().bytes() as u64;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let place = arguments.destination.place(&opened, &snapshot, path).hint(ErrorKind::NotFound, list_hint)?;
    opened.refuse_within(&place.directory)?;
    place.refuse_stranger(&snapshot, arguments.yes || arguments.dry_run)?;
    options.name.clone_from(&place.name);
    if place.is_origin && path.is_none() {
        leave_dumps_out(&snapshot, &mut options)?;
    }
    if arguments.delete {
        place.refuse_everything(path, &options.selection)?;
        options.delete = Some(delete_options(&opened, context, &snapshot, arguments.yes));
    }
    let run = Run { arguments, context, opened: &opened, snapshot: &snapshot, path, place: &place };
    run.ask(&options)?;
    let (summary, progress) = run.restore(&options, Work::Restore)?;
    if let Some(lacks) = show::lacks(&summary.lacks).filter(|_| !report::is_json()) {
        report::warn(&lacks);
    }
    let lines = || told(&summary, options.dry_run, &place.shown(), progress.elapsed().as_secs());
    let document = || RestoreLine::of(&summary, options.dry_run, progress.expected(), progress.elapsed());
    conclude(&context.global, lines, document);
    Ok(match summary {
        RestoreSummary { damaged: 1.., .. } => Done::WithDamage,
        RestoreSummary { findings: 1.., .. } => Done::WithFindings,
        _ => Done::Fully,
    })
}

/// Dumps never were files of a machine, so that they are not put back as such where everything came from, unless they
/// are asked for.
fn leave_dumps_out(snapshot: &SnapshotEntry, options: &mut RestoreOptions) -> Result<()> {
    let is_dump = |path: &[u8]| {
        snapshot.snapshot.sources.iter().any(|source| source.kind.is_some() && source.path == path)
    };
    let (dumps, others): (Vec<_>, Vec<_>) =
        snapshot.snapshot.paths.iter().partition(|path| is_dump(path.as_slice()));
    let mut given: Vec<GivenPattern> = match &options.selection {
        _ if dumps.is_empty() => return Ok(()),
        Selection::Include(_) => return Ok(()),
        Selection::Exclude(patterns) => patterns.given().cloned().collect(),
        Selection::All => Vec::new(),
    };
    let folder = DUMPS_FOLDER.as_bytes();
    let out: Vec<&[u8]> = match others.iter().any(|path| path.starts_with(folder)) {
        true => dumps.iter().map(|path| path.as_slice()).collect(),
        false => vec![folder],
    };
    given.extend(out.into_iter().map(|path| GivenPattern {
        text: path.to_vec(),
        ignores_case: false,
        origin: "dumps of databases".to_owned(),
    }));
    options.selection = Selection::Exclude(Patterns::new(given)?);
    let id = snapshot.id.short();
    report::say(&format!("dumps of databases are left out: \"packstone restore-database {id}\" lists them"));
    Ok(())
}

/// A restore that was asked for.
struct Run<'a> {
    arguments: &'a Arguments,
    context: &'a Context,
    opened: &'a Opened,
    snapshot: &'a SnapshotEntry,
    path: Option<&'a [u8]>,
    place: &'a Place,
}

impl Run<'_> {
    /// Asks whether what is there may be replaced, if it is where everything came from.
    fn ask(&self, options: &RestoreOptions) -> Outcome<()> {
        let is_asked = self.place.is_origin && options.overwrite.is_some();
        if self.arguments.delete && report::is_json() && !self.arguments.yes && !options.dry_run {
            let message =
                "--delete with --json needs --yes, as nobody can be asked; --dry-run says what would be done";
            return Err(Error::new(ErrorKind::Usage, message).into());
        }
        if !is_asked || self.arguments.yes || options.dry_run || !report::can_ask() {
            return Ok(());
        }
        let dry = RestoreOptions { dry_run: true, verify: false, thaw: None, ..options.clone() };
        let (planned, _) = self.restore(&dry, Work::Other("restore"))?;
        let RestoreSummary { replaced, files_patched, files_updated, items_deleted, .. } = planned;
        if replaced + files_patched + files_updated + items_deleted == 0 {
            return Ok(());
        }
        told(&planned, true, &self.place.shown(), 0).iter().for_each(|line| report::say(line));
        match report::agrees("Do this to what is there?")? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Failed, "nothing was restored, as nobody agreed").into()),
        }
    }

    fn restore(&self, options: &RestoreOptions, work: Work) -> Outcome<(RestoreSummary, Arc<Progress>)> {
        let Self { context, opened, snapshot, path, place, .. } = self;
        let progress = Arc::new(Progress::new(&context.global, &context.interruption, work));
        let shown = progress.begin();
        let restored = || restore(&opened.repository, snapshot, *path, &place.directory, options, &*progress);
        let summary = context.interruption.gently(restored);
        drop(shown);
        let summary = match progress.has_refused() {
            true => summary.hint(ErrorKind::Denied, || match place::is_of_this_machine(snapshot) {
                true => "--dry-run -v lists them; if all of it is meant, --yes agrees".to_owned(),
                false => "--dry-run -v lists them; to delete by a snapshot of another machine, agree on a \
                              terminal"
                    .to_owned(),
            })?,
            false => self.hinted(summary)?,
        };
        Ok((summary, progress))
    }

    fn hinted(&self, outcome: Result<RestoreSummary>) -> Outcome<RestoreSummary> {
        let Arguments { thaw, overwrite, .. } = self.arguments;
        outcome
            .hint(ErrorKind::Exists, || match self.place.is_origin {
                true => {
                    "say with --overwrite what may be replaced; --dry-run -v shows what would be".to_owned()
                }
                false => {
                    "choose another directory, or say with --overwrite what may be replaced in it".to_owned()
                }
            })
            .hint(ErrorKind::Interrupted, || match overwrite {
                None => "the same with --overwrite if-changed goes on with what is missing".to_owned(),
                Some(_) => "run the same again: what is complete is not read again".to_owned(),
            })
            .hint(ErrorKind::Frozen, || match (thaw.thaw, thaw.thaw_wait) {
                (false, _) => {
                    "the same with --thaw asks for them, and writes nothing before they can be read"
                        .to_owned()
                }
                (true, None) => {
                    "run the same again once they can be read, usually within hours, or add --thaw-wait 1d"
                        .to_owned()
                }
                (true, Some(_)) => "what was asked for stays asked for: run the same again later".to_owned(),
            })
            .hint(ErrorKind::NotFound, list_hint)
    }
}

fn list_hint() -> String {
    "\"packstone ls\" lists the paths of a snapshot; a pattern is whole names, or a path from / on".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_command_line_has_its_policy() {
        let words: Vec<_> = When::value_variants().iter().map(|when| Overwrite::from(*when)).collect();
        assert_eq!(words, [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never]);
    }
}
