//! Sources from the command line and from lists of paths.
//!
//! What must hold: a list that gives nothing is refused, for whoever made it meant something; the standard input is
//! read once.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::source::exclude::{glob_lines, raw_paths, verbatim_lines};
use packstone::source::{glob, join_lists};

use crate::report;

/// Lists of paths.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Lists of paths")]
pub struct Lists {
    /// Back up what the lines of a file match, with * ? [a-z] and **; # begins a comment; - is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    files_from: Vec<PathBuf>,
    /// Back up the paths that are the lines of a file, as they are; - is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    files_from_verbatim: Vec<PathBuf>,
    /// Back up the paths in a file that each end with a NUL, as of "find -print0"; - is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    files_from_raw: Vec<PathBuf>,
}

/// What is to be backed up.
#[derive(Debug, Default)]
pub struct Sources {
    /// Paths as they were given, or absolute ones.
    pub paths: Vec<PathBuf>,
    /// Whether something that a pattern could have matched could not be looked at.
    pub is_uncertain: bool,
}

impl Lists {
    /// The sources that the operands and the lists name.
    pub fn sources(&self, operands: &[OsString], current_directory: &Path) -> Result<Sources> {
        let named: Vec<PathBuf> = operands.iter().map(PathBuf::from).collect();
        let all = self.files_from.iter().chain(&self.files_from_verbatim).chain(&self.files_from_raw);
        if all.filter(|file| is_standard_input(file)).count() > 1 {
            let message = "only one list can come from the standard input";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let mut sources = Sources::default();
        for file in &self.files_from {
            let origin = format!("--files-from {}", show_file(file));
            let mut found = Vec::new();
            for (number, pattern) in glob_lines(&read(file, &origin)?, &origin)? {
                let at_line = || format!("{origin} line {number}");
                let globbed = glob(&pattern, current_directory).wrap(at_line)?;
                for (path, error) in &globbed.problems {
                    let why = error.chain().join(": ");
                    report::warn(&format!("{}: {}: {why}", at_line(), show_file(path)));
                    sources.is_uncertain = true;
                }
                if globbed.paths.is_empty() {
                    report::warn(&format!("{}: nothing matches \"{}\"", at_line(), show_path(&pattern)));
                }
                found.extend(globbed.paths);
            }
            sources.paths.extend(some(found, &origin)?);
        }
        for file in &self.files_from_verbatim {
            let origin = format!("--files-from-verbatim {}", show_file(file));
            let found = verbatim_lines(&read(file, &origin)?, &origin)?;
            sources.paths.extend(some(paths(found), &origin)?);
        }
        for file in &self.files_from_raw {
            let origin = format!("--files-from-raw {}", show_file(file));
            let found = raw_paths(&read(file, &origin)?, &origin)?;
            sources.paths.extend(some(paths(found), &origin)?);
        }
        sources.paths = join_lists(named, sources.paths, current_directory)?;
        Ok(sources)
    }
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path, origin: &str) -> Result<Vec<u8>> {
    let read = match is_standard_input(file) {
        true => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        false => std::fs::read(file),
    };
    read.wrap(|| format!("cannot read {origin}"))
}

fn paths(found: Vec<Vec<u8>>) -> Vec<PathBuf> {
    found.into_iter().map(|path| OsString::from_vec(path).into()).collect()
}

fn some(found: Vec<PathBuf>, origin: &str) -> Result<Vec<PathBuf>> {
    match found.is_empty() {
        true => Err(Error::new(ErrorKind::Usage, format!("{origin} gives no path to back up"))),
        false => Ok(found),
    }
}
