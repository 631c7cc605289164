//! Options that give patterns: on the command line and in files, with and without telling capital from small letters.
//!
//! What must hold: what makes no sense is refused with the option, the file and the line where it stands.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::{Result, Wrap};
use packstone::config::Rules;
use packstone::source::exclude::pattern_lines;
use packstone::source::{Excludes, GivenPattern, Marker, Patterns};

use crate::environment::Environment;

/// The values of four options that end with the same word.
#[derive(Clone, Copy, Debug)]
pub struct PatternOptions<'a> {
    /// The word: `exclude` of `--exclude`, `--iexclude`, `--exclude-file` and `--iexclude-file`.
    pub word: &'a str,
    /// Patterns.
    pub texts: &'a [OsString],
    /// Patterns to which capital and small letters are the same.
    pub itexts: &'a [OsString],
    /// Files of patterns.
    pub files: &'a [PathBuf],
    /// Files of patterns to which capital and small letters are the same.
    pub ifiles: &'a [PathBuf],
}

/// Everything that rules leave out, with the patterns of their files.
pub fn read_rules(rules: &Rules, environment: &Environment) -> Result<Excludes> {
    let patterns = PatternOptions {
        word: "exclude",
        texts: &rules.exclude,
        itexts: &rules.iexclude,
        files: &rules.exclude_file,
        ifiles: &rules.iexclude_file,
    };
    let caches = rules.caches.then(Marker::of_caches);
    Ok(Excludes {
        patterns: patterns.read(environment)?,
        markers: caches.into_iter().chain(rules.markers.iter().cloned()).collect(),
        larger_than_bytes: rules.larger_than_bytes,
        one_file_system: rules.one_file_system,
    })
}

/// What a command passes over.
#[derive(Args, Debug)]
#[group(id = "excluded", multiple = true)]
pub struct Excluded {
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

impl Excluded {
    /// The options that these are.
    pub fn options(&self) -> PatternOptions<'_> {
        PatternOptions {
            word: "exclude",
            texts: &self.exclude,
            itexts: &self.iexclude,
            files: &self.exclude_file,
            ifiles: &self.iexclude_file,
        }
    }
}

impl PatternOptions<'_> {
    /// Whether none of the options was given.
    pub const fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.itexts.is_empty() && self.files.is_empty() && self.ifiles.is_empty()
    }

    /// Reads all of them.
    pub fn read(&self, environment: &Environment) -> Result<Patterns> {
        let mut given = Vec::new();
        for (texts, ignores_case, prefix) in [(self.texts, false, "--"), (self.itexts, true, "--i")] {
            given.extend(texts.iter().map(|text| GivenPattern {
                text: text.as_bytes().to_vec(),
                ignores_case,
                origin: format!("{prefix}{}", self.word),
            }));
        }
        let variables = |name: &[u8]| {
            let value = environment.get(std::str::from_utf8(name).ok()?)?;
            Some(value.to_owned().into_vec())
        };
        for (files, ignores_case, prefix) in [(self.files, false, "--"), (self.ifiles, true, "--i")] {
            for file in files {
                let origin = format!("{prefix}{}-file {}", self.word, show_file(file));
                let bytes = std::fs::read(file).wrap(|| format!("cannot read {origin}"))?;
                given.extend(pattern_lines(&bytes, ignores_case, &origin, &variables)?);
            }
        }
        Patterns::new(given)
    }
}
