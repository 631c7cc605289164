//! What is left out of paths, under the names of the flags of `packstone backup`.
//!
//! What must hold: a pattern that cannot be read is refused here, not in the night when it is needed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::reader::Section;
use super::{secrets, values};
use crate::source::{GivenPattern, Marker, Patterns};

/// What is left out of paths. Files of patterns are named here and read by who runs the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Patterns.
    pub exclude: Vec<OsString>,
    /// Patterns to which capital and small letters are the same.
    pub iexclude: Vec<OsString>,
    /// Files of patterns.
    pub exclude_file: Vec<PathBuf>,
    /// Files of patterns to which capital and small letters are the same.
    pub iexclude_file: Vec<PathBuf>,
    /// Whether directories with a valid cache tag are left out.
    pub caches: bool,
    /// Files that mark the directory in which they are.
    pub markers: Vec<Marker>,
    /// Regular files with more bytes are left out.
    pub larger_than_bytes: Option<u64>,
    /// Whether only the file system of each path is read.
    pub one_file_system: bool,
}

const IF_PRESENT: &str = "exclude-if-present";

/// Reads the rules of a job or of a source of paths.
pub(super) fn read(section: &mut Section<'_>, folder: &Path) -> Rules {
    Rules {
        exclude: patterns(section, "exclude", false),
        iexclude: patterns(section, "iexclude", true),
        exclude_file: files(section, "exclude-file", folder),
        iexclude_file: files(section, "iexclude-file", folder),
        caches: section.flag("exclude-caches").unwrap_or_default(),
        markers: markers(section),
        larger_than_bytes: section.parsed("exclude-larger-than", values::parse_size),
        one_file_system: section.flag("one-file-system").unwrap_or_default(),
    }
}

impl Rules {
    /// These and those of one of its sources: patterns follow one another, a limit of the source goes before.
    pub(super) fn with(&self, of_source: Self) -> Self {
        fn both<T: Clone>(one: &[T], other: Vec<T>) -> Vec<T> {
            one.iter().cloned().chain(other).collect()
        }
        Self {
            exclude: both(&self.exclude, of_source.exclude),
            iexclude: both(&self.iexclude, of_source.iexclude),
            exclude_file: both(&self.exclude_file, of_source.exclude_file),
            iexclude_file: both(&self.iexclude_file, of_source.iexclude_file),
            caches: self.caches || of_source.caches,
            markers: both(&self.markers, of_source.markers),
            larger_than_bytes: of_source.larger_than_bytes.or(self.larger_than_bytes),
            one_file_system: self.one_file_system || of_source.one_file_system,
        }
    }
}

fn patterns(section: &mut Section<'_>, name: &'static str, ignores_case: bool) -> Vec<OsString> {
    let Some(entry) = section.take(name) else { return Vec::new() };
    let texts = entry.texts();
    for text in &texts {
        let origin = name.to_owned();
        let given = GivenPattern { text: text.as_bytes().to_vec(), ignores_case, origin };
        if let Err(error) = Patterns::new(vec![given]) {
            entry.refuse(error.chain().join(": "));
        }
    }
    texts.into_iter().map(OsString::from).collect()
}

fn files(section: &mut Section<'_>, name: &'static str, folder: &Path) -> Vec<PathBuf> {
    let Some(entry) = section.take(name) else { return Vec::new() };
    match entry.elements() {
        Some(elements) => elements.iter().filter_map(|element| secrets::path(element, folder)).collect(),
        None => secrets::path(&entry, folder).into_iter().collect(),
    }
}

fn markers(section: &mut Section<'_>) -> Vec<Marker> {
    let Some(entry) = section.take(IF_PRESENT) else { return Vec::new() };
    let texts = if entry.is_text() { entry.text().into_iter().collect() } else { entry.texts() };
    let read = |text: String| match Marker::parse(text.as_bytes(), IF_PRESENT) {
        Ok(marker) => Some(marker),
        Err(error) => {
            entry.refuse(error.to_string());
            None
        }
    };
    texts.into_iter().filter_map(read).collect()
}
