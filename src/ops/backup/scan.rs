//! Going over what a backup will read without reading it: beside it, so that a bar can tell how much remains, or
//! instead of it.
//!
//! What must hold: it meets what the backup meets, by the same rules, and opens nothing but directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::{Error, ErrorKind, FindingKind, Monitor, Result};
use crate::fsmeta::capture::StatKind;
use crate::ops::backup::filter::Filter;
use crate::source::{Directory, Excludes, Listed, Reason};

/// Entries that are looked at before anybody is told.
const STEP_ENTRIES: usize = 1024;

/// What is met on the way.
pub(super) enum Met<'m> {
    /// A source, or something in a directory, at this path.
    Entry(&'m Path, &'m Listed),
    /// Something that cannot be looked at.
    Problem(&'m Path, FindingKind, String),
    /// So many entries were met since the last time.
    Step,
}

/// Counts all files below some absolute paths and tells the monitor what to expect. What it cannot read it passes over:
/// the backup itself will tell.
pub fn scan(paths: &[PathBuf], excludes: &Excludes, left_out: &[(u64, u64)], monitor: &dyn Monitor) {
    let filter = Filter::new(paths.iter().map(|path| (path, excludes)), false);
    let (mut files, mut bytes) = (0, 0_u64);
    let is_whole = walk(paths, &filter, left_out, &Cancellable(monitor), &mut |met| match met {
        Met::Entry(_, listed) => match listed.stat.kind {
            StatKind::Directory => {}
            StatKind::Regular => {
                files += 1;
                bytes = bytes.saturating_add(listed.stat.size);
            }
            _ => files += 1,
        },
        Met::Problem(..) => {}
        Met::Step => monitor.expect(std::mem::take(&mut files), std::mem::take(&mut bytes)),
    });
    if is_whole {
        monitor.expected_all();
    }
}

/// Passes on only whether to stop: what is left out, the backup tells.
struct Cancellable<'m>(&'m dyn Monitor);

impl Monitor for Cancellable<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// Goes over all that a backup of some absolute paths would take, each directory before what is in it. False if it was
/// cancelled.
pub(super) fn walk(
    paths: &[PathBuf],
    filter: &Filter<'_>,
    left_out: &[(u64, u64)],
    monitor: &dyn Monitor,
    each: &mut dyn FnMut(Met<'_>),
) -> bool {
    for source in paths {
        let mut walk = Walk { source, filter, left_out, monitor, each, waiting: Vec::new() };
        match look(source) {
            Err(error) => walk.problem(source, &error),
            Ok(listed) => {
                (walk.each)(Met::Entry(source, &listed));
                if listed.stat.kind == StatKind::Directory {
                    walk.waiting.push(source.clone());
                }
            }
        }
        (walk.each)(Met::Step);
        while let Some(path) = walk.waiting.pop() {
            if monitor.cancelled() {
                return false;
            }
            if let Err(error) = walk.directory(&path) {
                walk.problem(&path, &error);
            }
        }
    }
    true
}

/// What a source is, links not followed.
fn look(source: &Path) -> Result<Listed> {
    let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else {
        let stat = Directory::open_absolute(source)?.stat()?;
        return Ok(Listed { name: Vec::new(), stat });
    };
    let name = name.as_bytes().to_vec();
    let stat = Directory::open_absolute(parent)?.stat_at(&name)?;
    Ok(Listed { name, stat })
}

struct Walk<'w, 'f> {
    source: &'w Path,
    filter: &'w Filter<'f>,
    left_out: &'w [(u64, u64)],
    monitor: &'w dyn Monitor,
    each: &'w mut dyn FnMut(Met<'_>),
    /// Paths, not descriptors, of which there are few; the next one last.
    waiting: Vec<PathBuf>,
}

impl Walk<'_, '_> {
    fn directory(&mut self, path: &Path) -> Result<()> {
        let source = self.source.as_os_str().as_bytes();
        let bytes = || path.as_os_str().as_bytes().to_vec();
        let directory = Directory::open_absolute(path)?;
        let device = directory.stat()?.device;
        let names = self.filter.names(&directory, device, source, bytes, self.monitor)?;
        let child = |name: &[u8]| path.join(OsStr::from_bytes(name));
        for (name, kind, message) in names.problems() {
            (self.each)(Met::Problem(&child(name), *kind, message.clone()));
        }
        let first_child = self.waiting.len();
        for begin in (0..names.len()).step_by(STEP_ENTRIES) {
            let mut listing = directory.entries(&names, begin..begin.saturating_add(STEP_ENTRIES));
            for (name, kind, message) in listing.problems {
                (self.each)(Met::Problem(&child(&name), kind, message));
            }
            let path_of = |name: &[u8]| child(name).into_os_string().into_encoded_bytes();
            self.filter.entries(&directory, source, path_of, &mut listing.entries, self.monitor);
            for listed in &listing.entries {
                let path = child(&listed.name);
                if listed.stat.kind != StatKind::Directory {
                    (self.each)(Met::Entry(&path, listed));
                } else if self.left_out.contains(&(listed.stat.device, listed.stat.inode)) {
                    self.filter.exclude(self.monitor, path.as_os_str().as_bytes(), Reason::InUse);
                } else {
                    (self.each)(Met::Entry(&path, listed));
                    self.waiting.push(path);
                }
            }
            (self.each)(Met::Step);
        }
        if let Some(children) = self.waiting.get_mut(first_child..) {
            children.reverse();
        }
        Ok(())
    }

    fn problem(&mut self, path: &Path, error: &Error) {
        let kind = match error.kind() {
            ErrorKind::NotFound => FindingKind::Vanished,
            _ => FindingKind::Unreadable,
        };
        (self.each)(Met::Problem(path, kind, error.chain().join(": ")));
    }
}
