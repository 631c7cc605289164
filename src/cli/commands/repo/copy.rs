//! `packstone repo copy [SNAP…]`: copies snapshots of another repository into this one.

use std::sync::Arc;

use clap::Args;
use packstone::base::host::Host;
use packstone::base::{ErrorKind, size};
use packstone::ops::copy::{CopyEvent, CopyOptions, CopySummary, copy};

use crate::context::Context;
use crate::json::{CopiedLine, CopyLine, SkippedLine};
use crate::other::Other;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome, conclude};
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
where it was. Several targets take a run each.

Environment (a flag goes before its variable):
  PACKSTONE_FROM_REPOSITORY        as --from
  PACKSTONE_FROM_PASSWORD          the other repository's password itself
  PACKSTONE_FROM_PASSWORD_FILE     as --from-password-file
  PACKSTONE_FROM_PASSWORD_COMMAND  as --from-password-command
  PACKSTONE_FROM_KEY_FILE          as --from-key-file

Examples:
  packstone -r /mnt/usb/backup --key-file usb.key repo init --from /srv/backup --from-key-file srv.key
  packstone -r /mnt/usb/backup --key-file usb.key repo copy --from /srv/backup --from-key-file srv.key
  packstone -r /mnt/usb/backup repo copy --from /srv/backup --host web1 --tag nightly
  packstone -r /mnt/usb/backup repo copy --from /srv/backup --dry-run latest";

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
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    other: Other,
}

/// Copies snapshots.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.filter()?;
    let source = arguments.other.open(context)?.repository;
    let target = open::open(context)?.repository;
    let list = source.snapshots()?;
    let hint = || format!("the snapshots looked at are those of {}", source.location());
    let selected = list.select(&arguments.wanted, &filter).hint(ErrorKind::NotFound, hint)?;
    let options = CopyOptions { is_dry: arguments.dry_run, ..CopyOptions::new(Host::current()) };
    let work = if source.is_sibling_of(&target) { Work::CopyOfPacks } else { Work::Other("copy") };
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, work));
    let shown = progress.begin();
    let mut tell = |event: &CopyEvent<'_>| progress.above(|| tell(event, context));
    let summary =
        context.interruption.gently(|| copy(&source, &target, &selected, &options, &*progress, &mut tell));
    drop(shown);
    let summary = summary
        .hint(ErrorKind::Fenced, || "run the command again: it goes on where it was".to_owned())
        .hint(ErrorKind::Interrupted, || "the same command goes on where it was".to_owned())?;
    let lines = || lines(&summary, arguments.dry_run);
    conclude(&context.global, lines, || CopyLine::of(&summary, arguments.dry_run, progress.elapsed()));
    let is_named = !arguments.wanted.is_empty();
    let done = if is_named { Done::Fully } else { commands::tell_damaged(list.damaged, "copy") };
    Ok(if summary.unreadable > 0 { Done::WithDamage } else { done })
}

fn tell(event: &CopyEvent<'_>, context: &Context) {
    match event {
        CopyEvent::Copied(entry, id, _) => {
            let line = || vec![format!("snapshot {} saved, copied from {}", id.short(), entry.id.short())];
            conclude(&context.global, line, || CopiedLine::of(entry.id, Some(*id)));
        }
        CopyEvent::WouldCopy(entry) => {
            let line = || vec![format!("snapshot {} would be copied", entry.id.short())];
            conclude(&context.global, line, || CopiedLine::of(entry.id, None));
        }
        CopyEvent::Present(entry, id) => {
            let line = || vec![format!("snapshot {} is there, as {}", entry.id.short(), id.short())];
            conclude(&context.global, line, || SkippedLine::of(entry.id, *id));
        }
        CopyEvent::Unreadable(entry, error) => report::error_aside(error, "copy", &entry.id.hex()),
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
