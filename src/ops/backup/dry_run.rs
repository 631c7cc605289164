//! A backup that only says what it would read.
//!
//! What must hold: no repository takes part, no file is opened; what is told is what a backup with the same options
//! would take, as far as names and statuses tell.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::{Error, ErrorKind, Finding, Monitor, Result};
use crate::fsmeta::capture::StatKind;
use crate::ops::backup::filter::Filter;
use crate::ops::backup::scan::{Met, walk};
use crate::ops::backup::{BackupOptions, check_sources};

/// What a backup would read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Everything that is no directory.
    pub files: u64,
    /// Directories, those above the sources not counted.
    pub directories: u64,
    /// Bytes of regular files, as they state their size.
    pub bytes: u64,
    /// Entries that the rules leave out; what is below them is not counted.
    pub excluded: u64,
    /// What cannot be looked at.
    pub findings: u64,
}

/// Tells the monitor what a backup of some paths would take and leave out, each directory before what is in it;
/// `has_dumps` if dumps stand in the same snapshot.
///
/// Errors: as `backup_paths` before it writes; `Interrupted`.
pub fn dry_run(
    paths: &[PathBuf],
    current_directory: &std::path::Path,
    options: &BackupOptions,
    has_dumps: bool,
    monitor: &dyn Monitor,
) -> Result<DryRun> {
    let (_, absolute) = crate::source::plan(paths, current_directory)?;
    check_sources(&absolute)?;
    let filter = Filter::new(absolute.iter().map(|path| (path, &options.excludes)), has_dumps);
    let mut found = DryRun::default();
    let is_whole = walk(&absolute, &filter, &options.left_out, monitor, &mut |met| match met {
        Met::Entry(path, listed) => {
            monitor.included(path.as_os_str().as_bytes());
            match listed.stat.kind {
                StatKind::Directory => found.directories += 1,
                StatKind::Regular => {
                    found.files += 1;
                    found.bytes = found.bytes.saturating_add(listed.stat.size);
                }
                _ => found.files += 1,
            }
        }
        Met::Problem(path, kind, message) => {
            found.findings += 1;
            let path = path.as_os_str().as_bytes().to_vec();
            monitor.finding(&Finding { kind, path, message });
        }
        Met::Step => {}
    });
    if !is_whole {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
    }
    Ok(DryRun { excluded: filter.excluded(), ..found })
}
