//! Counting what a backup will read, beside it, so that a bar can tell how much remains.
//!
//! What must hold: it only counts; what it cannot read it passes over, as the backup itself will tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Monitor, Result};
use crate::fsmeta::capture::StatKind;
use crate::source::Directory;

/// Entries that are counted before the monitor is told.
const STEP_ENTRIES: usize = 1024;

/// Counts all files below some paths and tells the monitor what to expect.
pub fn scan(paths: &[PathBuf], left_out: &[(u64, u64)], monitor: &dyn Monitor) {
    let mut waiting: Vec<Directory> = Vec::new();
    for path in paths {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => waiting.extend(Directory::open_absolute(path)),
            Ok(metadata) => monitor.expect(1, if metadata.is_file() { metadata.len() } else { 0 }),
            Err(_) => {}
        }
    }
    while let Some(directory) = waiting.pop() {
        if monitor.cancelled() {
            return;
        }
        // An unreadable directory is a finding of the backup.
        let _ = scan_directory(&Arc::new(directory), left_out, monitor, &mut waiting);
    }
    monitor.expected_all();
}

fn scan_directory(
    directory: &Arc<Directory>,
    left_out: &[(u64, u64)],
    monitor: &dyn Monitor,
    waiting: &mut Vec<Directory>,
) -> Result<()> {
    let names = directory.names()?;
    let mut begin = 0;
    while begin < names.len() {
        let end = (begin + STEP_ENTRIES).min(names.len());
        let (mut files, mut bytes) = (0, 0);
        for listed in directory.entries(&names, begin..end).entries {
            match listed.stat.kind {
                StatKind::Directory if left_out.contains(&(listed.stat.device, listed.stat.inode)) => {}
                StatKind::Directory => waiting.extend(directory.open_child(&listed.name)),
                StatKind::Regular => {
                    files += 1;
                    bytes += listed.stat.size;
                }
                _ => files += 1,
            }
        }
        monitor.expect(files, bytes);
        begin = end;
    }
    Ok(())
}

/// The device and inode numbers of a directory, to leave it out.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
