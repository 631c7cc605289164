//! `packstone restore SNAP[:PATH] -t DIR`: gives back what a snapshot holds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, size};
use packstone::ops::restore::{RestoreOptions, RestoreSummary, restore};

use crate::context::Context;
use crate::json::RestoreLine;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::selection::Selection;
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Without a path everything comes below DIR under its absolute path. The contents of a directory PATH come straight into \
DIR, a file becomes DIR/FILE. Nothing that is there already is replaced.

Examples:
  packstone restore latest -t /tmp/restored
  packstone restore latest:/etc -t /tmp/etc
  packstone restore 1a2b3c4d:/etc/hosts -t /tmp --no-ownership";

/// Arguments of `restore`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and a path in it
    #[arg(value_name = "SNAP[:PATH]")]
    wanted: OsString,
    #[command(flatten)]
    selection: Selection,
    /// Where to put it; the directory is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    target: PathBuf,
    /// Do not set owners and groups
    #[arg(long)]
    no_ownership: bool,
    /// Leave out what gives power over the system: devices, set-user-id bits, capabilities, trusted.* and security.*
    #[arg(long)]
    no_special: bool,
}

/// Gives back what a snapshot holds.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let mut options = RestoreOptions::default();
    options.apply.ownership = !arguments.no_ownership;
    options.apply.special = !arguments.no_special;
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Restore));
    let shown = progress.begin();
    let summary = context
        .interruption
        .gently(|| restore(&opened.repository, &snapshot, path, &arguments.target, &options, &*progress));
    drop(shown);
    let summary = summary.hint(ErrorKind::Exists, || {
        "restore replaces nothing: choose another directory, or move away what is there".to_owned()
    })?;
    let lines = || {
        let target = show_path(arguments.target.as_os_str().as_bytes());
        let mut lines = vec![told(&summary, &target, progress.elapsed().as_secs())];
        if summary.findings > 0 {
            lines.push(format!("{} (see the warnings above)", show::count(summary.findings, "finding")));
        }
        lines
    };
    let document = || RestoreLine::of(&summary, progress.expected(), progress.elapsed());
    conclude(&context.global, lines, document);
    Ok(match summary {
        RestoreSummary { damaged: 1.., .. } => Done::WithDamage,
        RestoreSummary { findings: 1.., .. } => Done::WithFindings,
        _ => Done::Fully,
    })
}

fn told(summary: &RestoreSummary, target: &str, seconds: u64) -> String {
    let files = show::count(summary.files, "file");
    let directories = match summary.directories {
        1 => "1 directory".to_owned(),
        number => format!("{number} directories"),
    };
    let others = match summary.others {
        0 => String::new(),
        number => format!(", {}", show::count(number, "other item")),
    };
    let (size, duration) = (size::show(summary.bytes), show::duration(seconds));
    format!("restored {files}, {directories}{others}, {size} to {target} in {duration}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let summary = RestoreSummary { files: 2, directories: 1, bytes: 1536, ..RestoreSummary::default() };
        assert_eq!(told(&summary, "/t", 61), "restored 2 files, 1 directory, 1.5 KiB to /t in 1:01");
        let summary = RestoreSummary { others: 1, ..RestoreSummary::default() };
        let expected = "restored 0 files, 0 directories, 1 other item, 0 B to /t in 0:00";
        assert_eq!(told(&summary, "/t", 0), expected);
    }
}
