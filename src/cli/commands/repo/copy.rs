//! `packstone repo copy [SNAP…]`: copies snapshots of another repository into this one.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use packstone::base::host::Host;
use packstone::base::{Error, ErrorKind, size};
use packstone::ops::copy::{CopyEvent, CopyOptions, CopySummary, copy};
use packstone::repository::{Repository, SnapshotEntry};

use crate::context::Context;
use crate::json::{CopiedLine, CopyLine, SkippedLine};
use crate::other::Other;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Failure, Hint, Outcome, conclude};
use crate::selection::Selection;
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Copies go from the repository that --from names into the one that -r names. The former is only read. All snapshots are \
copied, or those that are named, as far as --host, --tag and --path let them through. One whose copy is there is passed \
over; one whose copy was forgotten is copied again.

Siblings (\"packstone repo init --from\") give equal content the same names: what the target has is neither read nor sent, \
and the rest goes over compressed as it is. Into any other repository everything is read, cut and named anew, which takes \
longer and comes to the same.

A copy keeps time, host, tags and all else, under an id of its own. All that is read is checked; a snapshot of which \
anything is damaged is named and not copied, the others are, and the exit code is 13. A copy that was interrupted goes on \
where it was.

Each --to names a further target, which is opened by the same password or key as the one that -r names. Targets take \
their turn, and each reads from the source what it lacks. One that fails is named and does not stop the others; the exit \
code is then that of the first that failed.

Environment (a flag goes before its variable):
  PACKSTONE_FROM_REPOSITORY        as --from
  PACKSTONE_FROM_PASSWORD          the other repository's password itself
  PACKSTONE_FROM_PASSWORD_FILE     as --from-password-file
  PACKSTONE_FROM_PASSWORD_COMMAND  as --from-password-command
  PACKSTONE_FROM_KEY_FILE          as --from-key-file
  PACKSTONE_FROM_SSH_COMMAND       as PACKSTONE_SSH_COMMAND, for the other repository alone
  PACKSTONE_FROM_RCLONE_COMMAND    as PACKSTONE_RCLONE_COMMAND, for the other repository alone

What opens the service on which the other repository lies is that of the target, unless variables with PACKSTONE_FROM_ \
before their names say otherwise: PACKSTONE_FROM_AWS_ACCESS_KEY_ID and PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY, \
PACKSTONE_FROM_WEBDAV_USER and so on, with _FILE behind them for a file. If one of a service is set, none without \
PACKSTONE_FROM_ is used for the other repository, but for the region.

Examples:
  packstone -r /mnt/usb/backup --key-file usb.key repo init --from /srv/backup --from-key-file srv.key
  packstone -r /mnt/usb/backup --key-file usb.key repo copy --from /srv/backup --from-key-file srv.key
  packstone -r /mnt/usb/backup repo copy --from /srv/backup --host web1 --tag nightly
  packstone -r /mnt/usb/backup repo copy --from /srv/backup --dry-run latest
  packstone -r /mnt/usb/backup repo copy --from /srv/backup --to sftp:box:backup --to rclone:drive:backup";

/// Arguments of `repo copy`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Only these of the other repository (latest, latest~N, or the beginning of an id)
    #[arg(value_name = "SNAP")]
    wanted: Vec<String>,
    /// Write nothing; print what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Copy into this repository as well, which is opened as the one that -r names; may be repeated
    #[arg(long, value_name = "LOCATION")]
    to: Vec<OsString>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    other: Other,
}

/// Copies snapshots.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.filter()?;
    let source = arguments.other.open(context)?.repository;
    let mut failed = Failed::default();
    let targets = match arguments.to.is_empty() {
        true => vec![(String::new(), open::open(context)?.repository)],
        false => several(arguments, context, &mut failed)?,
    };
    check_different(&source, &targets)?;
    let list = source.snapshots()?;
    let hint = || format!("the snapshots looked at are those of {}", source.location());
    let selected = list.select(&arguments.wanted, &filter).hint(ErrorKind::NotFound, hint)?;
    let mut is_damaged = false;
    for (name, target) in &targets {
        let name_if_several = (!arguments.to.is_empty()).then_some(name.as_str());
        let run = Run { arguments, context, source: &source, name: name_if_several };
        match run.copy_into(target, &selected) {
            Ok(summary) => is_damaged |= summary.unreadable > 0,
            Err(failure) if arguments.to.is_empty() || context.interruption.is_requested() => {
                return Err(failure);
            }
            Err(failure) => failed.add(name, failure)?,
        }
    }
    let is_named = !arguments.wanted.is_empty();
    let done = if is_named { Done::Fully } else { commands::tell_damaged(list.damaged, "copy") };
    failed.conclude(arguments.to.len() + 1)?;
    Ok(if is_damaged { Done::WithDamage } else { done })
}

/// Targets that failed; each was told.
#[derive(Default)]
struct Failed {
    names: Vec<String>,
    first: Option<ErrorKind>,
}

impl Failed {
    /// Tells of one, unless it failed because everything is to end.
    fn add(&mut self, name: &str, failure: Failure) -> Outcome<()> {
        let kind = failure.kind();
        if kind == ErrorKind::Interrupted {
            return Err(failure);
        }
        report::failure_aside(&failure.while_doing(format!("cannot copy to {name}")), "copy", name);
        self.names.push(name.to_owned());
        self.first.get_or_insert(kind);
        Ok(())
    }

    /// Fails as the first of them did.
    fn conclude(self, targets: usize) -> Outcome<()> {
        let Some(kind) = self.first else { return Ok(()) };
        let message = format!("of {targets} targets {} failed: {}", self.names.len(), self.names.join(", "));
        Err(Error::new(kind, message).into())
    }
}

/// Opens all targets; those that cannot be opened have failed.
fn several(
    arguments: &Arguments,
    context: &Context,
    failed: &mut Failed,
) -> Outcome<Vec<(String, Repository)>> {
    let mut targets = Vec::new();
    for (name, opened) in open::open_all(context, &arguments.to)? {
        match opened {
            Ok(opened) => targets.push((name, opened.repository)),
            Err(failure) => failed.add(&name, failure)?,
        }
    }
    Ok(targets)
}

/// No repository is there twice, so that nothing is copied by who mistook one for another.
fn check_different(source: &Repository, targets: &[(String, Repository)]) -> Outcome<()> {
    let mut seen = vec![source];
    for (_, target) in targets {
        if let Some(same) = seen.iter().find(|repository| repository.id() == target.id()) {
            let message = format!("{} and {} are the same repository", same.location(), target.location());
            return Err(Error::new(ErrorKind::Usage, message).into());
        }
        seen.push(target);
    }
    Ok(())
}

/// A copy into one target.
struct Run<'c> {
    arguments: &'c Arguments,
    context: &'c Context,
    source: &'c Repository,
    /// The target's, if there are several.
    name: Option<&'c str>,
}

impl Run<'_> {
    fn copy_into(&self, target: &Repository, selected: &[&SnapshotEntry]) -> Outcome<CopySummary> {
        let (context, is_dry) = (self.context, self.arguments.dry_run);
        if let Some(name) = self.name
            && !context.global.quiet
            && !report::is_json()
        {
            report::sum_up(&format!("To {name}:"));
        }
        let options = CopyOptions { is_dry, ..CopyOptions::new(Host::current()) };
        let work = if self.source.is_sibling_of(target) { Work::CopyOfPacks } else { Work::Other("copy") };
        let progress = Arc::new(Progress::new(&context.global, &context.interruption, work));
        let shown = progress.begin();
        let mut tell = |event: &CopyEvent<'_>| progress.above(|| self.tell(event));
        let copied = || copy(self.source, target, selected, &options, &*progress, &mut tell);
        let summary = context.interruption.gently(copied);
        drop(shown);
        let summary = summary
            .hint(ErrorKind::Fenced, || "run the command again: it goes on where it was".to_owned())
            .hint(ErrorKind::Interrupted, || "the same command goes on where it was".to_owned())?;
        let lines = || lines(&summary, is_dry);
        conclude(&context.global, lines, || CopyLine::of(&summary, is_dry, progress.elapsed(), self.name));
        Ok(summary)
    }

    fn tell(&self, event: &CopyEvent<'_>) {
        let global = &self.context.global;
        match event {
            CopyEvent::Copied(entry, id, _) => {
                let line =
                    || vec![format!("snapshot {} saved, copied from {}", id.short(), entry.id.short())];
                conclude(global, line, || CopiedLine::of(entry.id, Some(*id), self.name));
            }
            CopyEvent::WouldCopy(entry) => {
                let line = || vec![format!("snapshot {} would be copied", entry.id.short())];
                conclude(global, line, || CopiedLine::of(entry.id, None, self.name));
            }
            CopyEvent::Present(entry, id) => {
                let line = || vec![format!("snapshot {} is there, as {}", entry.id.short(), id.short())];
                conclude(global, line, || SkippedLine::of(entry.id, *id, self.name));
            }
            CopyEvent::Unreadable(entry, error) => report::error_aside(error, "copy", &entry.id.hex()),
        }
    }
}

fn lines(summary: &CopySummary, is_dry: bool) -> Vec<String> {
    let mut parts = vec![format!(
        "{} {}",
        show::count(summary.copied, "snapshot"),
        if is_dry { "would be copied" } else { "copied" }
    )];
    if summary.present > 0 {
        parts.push(format!("{} there before", summary.present));
    }
    if summary.unreadable > 0 {
        parts.push(format!("{} not copied (see the errors above)", summary.unreadable));
    }
    let mut lines = Vec::new();
    if !is_dry {
        let (added, stored) = (size::show(summary.added_bytes), size::show(summary.stored_bytes));
        lines.push(format!("Added to the repository: {added} ({stored} stored)"));
    } else if summary.chunks > 0 {
        let added = size::show(summary.added_bytes);
        lines.push(format!(
            "Would be added to the repository: {}, {added}",
            show::count(summary.chunks, "chunk")
        ));
    }
    lines.push(parts.join(", "));
    lines
}
