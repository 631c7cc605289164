//! Counting what a backup will read, beside it, so that a bar can tell how much remains.
//!
//! What must hold: it only counts; what it cannot read it passes over, as the backup itself will tell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::{Monitor, Result};
use crate::fsmeta::capture::StatKind;
use crate::source::Directory;

/// Entries that are counted before the monitor is told.
const STEP_ENTRIES: usize = 1024;

/// Counts all files below some paths and tells the monitor what to expect.
pub fn scan(paths: &[PathBuf], left_out: &[(u64, u64)], monitor: &dyn Monitor) {
    // Paths, not descriptors, of which there are few.
    let mut waiting: Vec<PathBuf> = Vec::new();
    for path in paths {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => waiting.push(path.clone()),
            Ok(metadata) => monitor.expect(1, if metadata.is_file() { metadata.len() } else { 0 }),
            Err(_) => {}
        }
    }
    while let Some(path) = waiting.pop() {
        if monitor.cancelled() {
            return;
        }
        // An unreadable directory is a finding of the backup.
        let _ = scan_directory(&path, left_out, monitor, &mut waiting);
    }
    monitor.expected_all();
}

fn scan_directory(
    path: &Path,
    left_out: &[(u64, u64)],
    monitor: &dyn Monitor,
    waiting: &mut Vec<PathBuf>,
) -> Result<()> {
    let directory = Directory::open_absolute(path)?;
    let names = directory.names()?;
    let mut begin = 0;
    while begin < names.len() {
        let end = (begin + STEP_ENTRIES).min(names.len());
        let (mut files, mut bytes) = (0, 0);
        for listed in directory.entries(&names, begin..end).entries {
            match listed.stat.kind {
                StatKind::Directory if left_out.contains(&(listed.stat.device, listed.stat.inode)) => {}
                StatKind::Directory => waiting.push(path.join(OsStr::from_bytes(&listed.name))),
                StatKind::Regular => {
                    files += 1;
                    bytes = listed.stat.size.saturating_add(bytes);
                }
                _ => files += 1,
            }
        }
        monitor.expect(files, bytes);
        begin = end;
    }
    Ok(())
}
