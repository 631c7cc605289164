//! What is left out of sources, as the user says: patterns, marked directories, large files, other file systems.
//!
//! What must hold: the rules are restic's, so that its users' files of patterns mean here what they mean there; nothing
//! here asks the file system or the environment; what cannot be read as a rule is refused when the rules are made, with
//! the place where it stands.
//!
//! A pattern has the wildcards of Go's `filepath.Match` within a component, and `**` for any number of components. It
//! matches whole components, anywhere in the path unless it begins with `/`, and everything below what it matches. The
//! last pattern that matches decides; one that begins with `!` takes back in what an earlier one left out, except below
//! a directory that stays out. `--exclude` and `--iexclude` are judged by themselves, as if the others were not there.

mod lines;
mod marker;
mod pattern;
mod rules;
mod sought;
mod wildcard;

use std::fmt;

use crate::base::{Result, size};

pub use lines::{Variables, glob_lines, pattern_lines, raw_paths, verbatim_lines};
pub use marker::Marker;
pub use rules::Rule;
pub use sought::{Sought, SoughtIn};
pub(super) use wildcard::Wildcard;

use rules::{RuleList, lower};

/// A pattern as the user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenPattern {
    /// Its letters, with `!` if it begins so; any bytes.
    pub text: Vec<u8>,
    /// Whether capital and small letters are the same to it.
    pub ignores_case: bool,
    /// Where it stands, for messages: `--exclude`, or `--exclude-file rules line 3`.
    pub origin: String,
}

/// What is left out of sources. The default leaves out nothing.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    /// What matches these is left out.
    pub patterns: Patterns,
    /// Directories with one of these are stored with it alone.
    pub markers: Vec<Marker>,
    /// Regular files with more bytes are left out.
    pub larger_than_bytes: Option<u64>,
    /// Whether only the file system of each source is read; where another is mounted, an empty directory remains.
    pub one_file_system: bool,
}

/// Patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    sensitive: RuleList,
    insensitive: RuleList,
}

/// Which patterns match a directory or one above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    sensitive: Option<usize>,
    insensitive: Option<usize>,
}

/// Why something is left out.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'e> {
    /// A pattern matches it.
    Rule(&'e Rule),
    /// Its directory is marked.
    Marker(&'e Marker),
    /// It has more bytes than this.
    LargerThan(u64),
    /// It lies on another file system than its source.
    OtherFileSystem,
    /// It is the repository or the cache in use.
    InUse,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(formatter),
            Self::Marker(marker) => marker.fmt(formatter),
            Self::LargerThan(bytes) => write!(formatter, "larger than {}", size::show(*bytes)),
            Self::OtherFileSystem => formatter.write_str("another file system"),
            Self::InUse => formatter.write_str("the repository or cache in use"),
        }
    }
}

impl Excludes {
    /// Whether nothing is left out.
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
            && self.markers.is_empty()
            && self.larger_than_bytes.is_none()
            && !self.one_file_system
    }
}

impl Patterns {
    /// Reads patterns. `Usage` if one cannot be read.
    pub fn new(given: Vec<GivenPattern>) -> Result<Self> {
        let (insensitive, sensitive) = given.into_iter().partition(|pattern| pattern.ignores_case);
        Ok(Self { sensitive: RuleList::new(sensitive)?, insensitive: RuleList::new(insensitive)? })
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.sensitive.is_empty() && self.insensitive.is_empty()
    }

    /// Whether a directory can match a pattern and be read all the same.
    pub const fn takes_back_in(&self) -> bool {
        self.sensitive.has_negated() || self.insensitive.has_negated()
    }

    /// As they were given, those that tell capital from small letters first.
    pub fn given(&self) -> impl Iterator<Item = &GivenPattern> {
        self.sensitive.rules().chain(self.insensitive.rules()).map(Rule::given)
    }

    /// Which patterns match an absolute path or a directory above it.
    pub fn inherited(&self, path: &[u8]) -> Inherited {
        let insensitive = match self.insensitive.is_empty() {
            true => None,
            false => self.insensitive.last_match_of_all(&components(&lower(path))),
        };
        Inherited { sensitive: self.sensitive.last_match_of_all(&components(path)), insensitive }
    }

    /// The pattern that leaves out what stands under an absolute path, or a directory above it.
    pub fn rule_for(&self, path: &[u8]) -> Option<&Rule> {
        self.excluding(self.inherited(path))
    }

    /// Judges the names in a directory, given by its absolute path and what it inherits.
    pub fn judge(&self, directory: &[u8], inherited: Inherited) -> Judge<'_> {
        let lowered = match self.insensitive.is_empty() {
            true => Vec::new(),
            false => components(&lower(directory)),
        };
        Judge { patterns: self, above: components(directory), lowered, inherited }
    }

    fn excluding(&self, found: Inherited) -> Option<&Rule> {
        let sensitive = self.sensitive.excluding(found.sensitive);
        sensitive.or_else(|| self.insensitive.excluding(found.insensitive))
    }
}

/// Judges the names in one directory.
#[derive(Debug)]
pub struct Judge<'e> {
    patterns: &'e Patterns,
    /// The names of the directory's path, and the same in small letters where that is needed.
    above: Vec<Vec<u8>>,
    lowered: Vec<Vec<u8>>,
    inherited: Inherited,
}

impl<'e> Judge<'e> {
    /// The pattern that leaves out what stands under a name.
    pub fn rule_for(&self, name: &[u8]) -> Option<&'e Rule> {
        let Patterns { sensitive, insensitive } = self.patterns;
        let mut found = self.inherited;
        found.sensitive = sensitive.last_match(&self.above, name, found.sensitive);
        if !insensitive.is_empty() {
            found.insensitive = insensitive.last_match(&self.lowered, &lower(name), found.insensitive);
        }
        self.patterns.excluding(found)
    }
}

/// The names in a path; the root directory has none.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests;
