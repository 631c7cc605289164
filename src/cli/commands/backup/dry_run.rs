//! `packstone backup --dry-run`: what a backup would read, and with `-v` each path with why it is in or out.
//!
//! What must hold: nothing is written, in the repository or beside it.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use packstone::base::monitor::show_path;
use packstone::base::{Finding, Monitor, Result, size};
use packstone::ops::backup::{BackupOptions, DryRun, dry_run};

use crate::context::Context;
use crate::json::{self, DryRunLine, ExcludedItem, VerboseStatus};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::Done;
use crate::show;

/// Goes over the sources and prints what a backup would take.
pub fn run(
    paths: &[PathBuf],
    current_directory: &Path,
    options: &BackupOptions,
    context: &Context,
) -> Result<Done> {
    let telling = Telling {
        progress: Progress::hidden(&context.global, &context.interruption, Work::Backup),
        output: Mutex::new(Output::open()?),
        is_verbose: context.global.verbose,
        is_json: context.global.json,
    };
    let found = context.interruption.gently(|| dry_run(paths, current_directory, options, false, &telling));
    let mut output = telling.output.into_inner().unwrap_or_else(PoisonError::into_inner);
    let done = found.map(|found| {
        if context.global.json {
            drop(json::write_line(&mut output, &DryRunLine::of(&found)));
        } else if !context.global.quiet {
            // What cannot be written fails at the end.
            lines(&found).iter().for_each(|line| drop(writeln!(output, "{line}")));
        }
        if found.findings > 0 { Done::WithFindings } else { Done::Fully }
    });
    output.end(done)
}

fn lines(found: &DryRun) -> Vec<String> {
    let files = show::count(found.files, "file");
    let directories = match found.directories {
        1 => "1 directory".to_owned(),
        more => format!("{more} directories"),
    };
    let mut lines = vec![format!("would back up {files} in {directories}, {}", size::show(found.bytes))];
    if found.excluded > 0 {
        lines.push(format!("would leave out {}", show::left_out(found.excluded)));
    }
    if found.findings > 0 {
        lines.push(format!("{} (see the warnings above)", show::count(found.findings, "finding")));
    }
    lines.push("dry run: nothing was written".to_owned());
    lines
}

/// Prints what is in and out.
struct Telling {
    progress: Progress,
    output: Mutex<Output>,
    is_verbose: bool,
    is_json: bool,
}

impl Telling {
    fn print(&self, document: impl FnOnce() -> String, line: fmt::Arguments<'_>) {
        if self.is_verbose {
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            drop(match self.is_json {
                true => writeln!(output, "{}", document()),
                false => writeln!(output, "{line}"),
            });
        }
    }
}

impl Monitor for Telling {
    fn finding(&self, finding: &Finding) {
        self.progress.finding(finding);
    }

    fn note(&self, text: &str) {
        self.progress.note(text);
    }

    fn excluded(&self, path: &[u8], reason: &dyn fmt::Display) {
        let document = || json::line(&ExcludedItem::of(path, reason.to_string()));
        self.print(document, format_args!("excluded  {}  ({reason})", show_path(path)));
    }

    fn included(&self, path: &[u8]) {
        let document = || json::line(&VerboseStatus::of_item("included", path));
        self.print(document, format_args!("included  {}", show_path(path)));
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}
