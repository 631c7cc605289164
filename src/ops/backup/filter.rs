//! Applies the rules of what is left out to directories that are being read.
//!
//! What must hold: a source itself is never left out; what a pattern or a marker leaves out is not even asked for its
//! status, so that nothing that is wrong with it is a finding; what is left out is counted and told.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{FindingKind, Monitor, Result};
use crate::fsmeta::capture::StatKind;
use crate::ops::backup::DUMPS_FOLDER;
use crate::source::exclude::{Inherited, Judge};
use crate::source::{Directory, Excludes, Listed, Marker, Names, Reason};

/// The rules of each source that has any, and what they say of it as a whole.
pub(super) struct Filter<'s> {
    sources: HashMap<Vec<u8>, Base<'s>>,
    /// The root of the snapshot has dumps, and no folder of the machine in their place.
    has_dumps: bool,
    excluded: AtomicU64,
}

/// What is said of a folder of the machine that stands where dumps do.
const IN_PLACE_OF_DUMPS: &str = "this is where the snapshot has the dumps of databases and commands; exclude it, \
    or back up what it holds from another place";

/// What is known of a source before it is read.
#[derive(Clone, Copy)]
struct Base<'s> {
    excludes: &'s Excludes,
    /// The file system on which it lies.
    device: Option<u64>,
    inherited: Inherited,
}

impl<'s> Filter<'s> {
    /// Looks at each source, given by its absolute path, and its rules; and whether dumps stand in the root of the
    /// snapshot beside all that the machine has there.
    pub(super) fn new<'p>(
        sources: impl IntoIterator<Item = (&'p PathBuf, &'s Excludes)>,
        has_dumps: bool,
    ) -> Self {
        let base = |(path, excludes): (&PathBuf, &'s Excludes)| {
            let bytes = path.as_os_str().as_bytes().to_vec();
            let device = std::fs::symlink_metadata(path).ok().map(|metadata| metadata.dev());
            let inherited = excludes.patterns.inherited(&bytes);
            (bytes, Base { excludes, device, inherited })
        };
        let with_rules = sources.into_iter().filter(|(_, excludes)| !excludes.is_empty());
        Self { sources: with_rules.map(base).collect(), has_dumps, excluded: AtomicU64::new(0) }
    }

    /// How many entries were left out; what is below them is not counted.
    pub(super) fn excluded(&self) -> u64 {
        self.excluded.load(Ordering::Relaxed)
    }

    /// Counts and tells something that is left out.
    pub(super) fn exclude(&self, monitor: &dyn Monitor, path: &[u8], reason: Reason<'_>) {
        self.excluded.fetch_add(1, Ordering::Relaxed);
        monitor.excluded(path, &reason);
    }

    /// The names in a directory of a source that are not left out.
    pub(super) fn names(
        &self,
        directory: &Directory,
        device: u64,
        source: &[u8],
        path: impl FnOnce() -> Vec<u8>,
        monitor: &dyn Monitor,
    ) -> Result<Names> {
        let base = self.sources.get(source);
        let may_have_dumps = self.has_dumps && source == b"/";
        if base.is_none() && !may_have_dumps {
            return directory.names();
        }
        let path = path();
        let mut names = match base {
            Some(base) => self.names_by_rules(base, directory, device, &path, monitor)?,
            None => directory.names()?,
        };
        // What the rules leave out anyway is not missed.
        let folder = DUMPS_FOLDER.trim_start_matches('/').as_bytes();
        if may_have_dumps && path.iter().all(|byte| *byte == b'/') {
            names.set_aside(folder, FindingKind::LeftOut, IN_PLACE_OF_DUMPS);
        }
        Ok(names)
    }

    fn names_by_rules(
        &self,
        base: &Base<'s>,
        directory: &Directory,
        device: u64,
        path: &[u8],
        monitor: &dyn Monitor,
    ) -> Result<Names> {
        if base.is_elsewhere(device) {
            // The entries of what is mounted here; the slash says that the directory itself remains.
            self.exclude(monitor, &[path, b"/"].concat(), Reason::OtherFileSystem);
            return Ok(Names::default());
        }
        let mut names = directory.names()?;
        let markers = &base.excludes.markers;
        let here: Vec<&Marker> =
            markers.iter().filter(|marker| is_marked(directory, path, &names, marker, monitor)).collect();
        let judge = (!base.excludes.patterns.is_empty()).then(|| base.judge(path));
        if here.is_empty() && judge.is_none() {
            return Ok(names);
        }
        names.retain(|name| {
            let rule = judge.as_ref().and_then(|judge| judge.rule_for(name)).map(Reason::Rule);
            let is_marker = here.iter().any(|marker| marker.name == name);
            let marked = here.first().filter(|_| !is_marker).map(|marker| Reason::Marker(marker));
            match rule.or(marked) {
                None => true,
                Some(reason) => {
                    self.exclude(monitor, &join(path, name), reason);
                    false
                }
            }
        });
        Ok(names)
    }

    /// Takes the entries away that are left out for what they are.
    pub(super) fn entries(
        &self,
        directory: &Directory,
        source: &[u8],
        path: impl Fn(&[u8]) -> Vec<u8>,
        entries: &mut Vec<Listed>,
        monitor: &dyn Monitor,
    ) {
        let Some(base) = self.sources.get(source).copied() else { return };
        if base.excludes.larger_than_bytes.is_none() && !base.excludes.one_file_system {
            return;
        }
        entries.retain(|listed| match base.reason_of(directory, listed) {
            None => true,
            Some(reason) => {
                self.exclude(monitor, &path(&listed.name), reason);
                false
            }
        });
    }
}

impl<'s> Base<'s> {
    fn judge(&self, path: &[u8]) -> Judge<'s> {
        // A directory that matches a pattern is read only if it is a source, or was taken back in.
        let patterns = &self.excludes.patterns;
        let inherited = match patterns.takes_back_in() {
            true => patterns.inherited(path),
            false => self.inherited,
        };
        patterns.judge(path, inherited)
    }

    fn reason_of(&self, directory: &Directory, listed: &Listed) -> Option<Reason<'s>> {
        let Listed { name, stat } = listed;
        let limit = self.excludes.larger_than_bytes.filter(|limit| stat.size > *limit);
        if let (StatKind::Regular, Some(limit)) = (stat.kind, limit) {
            return Some(Reason::LargerThan(limit));
        }
        // A layered file system may tell another device for a file than for its directory, though nothing is mounted.
        let is_mounted = stat.kind != StatKind::Directory
            && self.is_elsewhere(stat.device)
            && directory.is_mount_point(name).unwrap_or(true);
        is_mounted.then_some(Reason::OtherFileSystem)
    }

    fn is_elsewhere(&self, device: u64) -> bool {
        self.excludes.one_file_system && self.device.is_some_and(|own| own != device)
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}

/// Whether a marker stands in a directory, and begins as it must.
fn is_marked(
    directory: &Directory,
    path: &[u8],
    names: &Names,
    marker: &Marker,
    monitor: &dyn Monitor,
) -> bool {
    if !names.contains(&marker.name) {
        return false;
    }
    if marker.header.is_empty() {
        return true;
    }
    let begins_so = || -> Result<bool> {
        if directory.stat_at(&marker.name)?.kind != StatKind::Regular {
            return Ok(false);
        }
        let mut begin = vec![0; marker.header.len()];
        let length = directory.open_file(&marker.name)?.read_at(&mut begin, 0)?;
        Ok(begin.get(..length) == Some(marker.header.as_slice()))
    };
    begins_so().unwrap_or_else(|error| {
        let shown = crate::base::monitor::show_path(&join(path, &marker.name));
        let message = error.chain().join(": ");
        monitor.note(&format!("cannot read the marker {shown}, its directory is backed up: {message}"));
        false
    })
}

#[cfg(test)]
mod tests;
