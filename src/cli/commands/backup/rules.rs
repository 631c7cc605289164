//! The options that say what is left out of a backup.
//!
//! What must hold: what makes no sense is refused with the option, the file and the line where it stands, before
//! anything is opened.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use packstone::base::Result;
use packstone::source::{Excludes, Marker};

use crate::args::parse_size;
use crate::environment::Environment;
use crate::patterns::read_rules;

/// The option that asks for markers.
const IF_PRESENT: &str = "--exclude-if-present";

/// What is left out.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What is left out")]
pub struct Rules {
    /// Leave out what matches: whole names, with * ? [a-z] and ** for any number of directories, anywhere in the path
    /// or from / on, and all below it
    #[arg(short, long, value_name = "PATTERN", conflicts_with = "stream")]
    exclude: Vec<OsString>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "PATTERN", conflicts_with = "stream")]
    iexclude: Vec<OsString>,
    /// Take patterns from the lines of a file; # begins a comment, $NAME is a variable, $$ a dollar sign, and !PATTERN
    /// takes back in
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    exclude_file: Vec<PathBuf>,
    /// The same, whether in capital or small letters
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    iexclude_file: Vec<PathBuf>,
    /// Leave out what is in directories with a valid CACHEDIR.TAG, but not the tag
    #[arg(long, conflicts_with = "stream")]
    exclude_caches: bool,
    /// Leave out what is in directories that hold FILE, beginning with HEADER if one is given, but not FILE itself
    #[arg(long, value_name = "FILE[:HEADER]", conflicts_with = "stream")]
    exclude_if_present: Vec<OsString>,
    /// Leave out files of more bytes; k, m, g and t stand for KiB, MiB, GiB and TiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "stream")]
    exclude_larger_than: Option<u64>,
    /// Stay on the file system of each PATH; where another is mounted, store an empty directory
    #[arg(short = 'x', long, conflicts_with = "stream")]
    one_file_system: bool,
}

impl Rules {
    /// Reads all of them.
    pub fn read(&self, environment: &Environment) -> Result<Excludes> {
        let named = self.exclude_if_present.iter().map(|text| Marker::parse(text.as_bytes(), IF_PRESENT));
        let rules = packstone::config::Rules {
            exclude: self.exclude.clone(),
            iexclude: self.iexclude.clone(),
            exclude_file: self.exclude_file.clone(),
            iexclude_file: self.iexclude_file.clone(),
            caches: self.exclude_caches,
            markers: named.collect::<Result<_>>()?,
            larger_than_bytes: self.exclude_larger_than,
            one_file_system: self.one_file_system,
        };
        read_rules(&rules, environment)
    }
}
