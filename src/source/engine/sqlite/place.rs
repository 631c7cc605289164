//! Files put back beside the old ones and swapped in: of SQLite, and whatever else has its data in files.
//!
//! What must hold: until the swap, everything is as it was; after it, everything is as it was stored; no process is left
//! with the old file open that would go on writing where nobody reads.

use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::{Feed, Listener};
use super::copy::{check, explain};
use super::hold::beside;
use crate::base::monitor::show_file;
use crate::base::size::show;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::Metadata;
use crate::fsmeta::apply::{ApplyOptions, Attributes, apply_to_fd};
use crate::fsmeta::owners::LocalIds;

/// How long another process may keep a database locked that is to be replaced.
const WAIT: Duration = Duration::from_secs(2);
/// What ends the name of what is not yet in its place.
const NEW: &str = ".packstone-new";
/// What else can stand beside a database; the order in which it goes.
const STALE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// A file that waits beside the place that it will take.
#[derive(Debug)]
pub(in crate::source::engine) struct Beside {
    target: PathBuf,
    path: PathBuf,
    file: File,
    is_placed: bool,
}

/// What stands at a path, for people: its size and when it was changed. `None` if nothing does.
pub(in crate::source::engine) fn describe(path: &Path) -> Result<Option<String>> {
    let stat = match std::fs::metadata(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::system(format!("cannot look at {}", show_file(path)), error)),
    };
    let when = jiff::Timestamp::from_second(stat.mtime()).map(|time| time.to_string()).unwrap_or_default();
    Ok(Some(format!("the file {}, {}, last changed {when}", show_file(path), show(stat.len()))))
}

impl Beside {
    /// Writes a dump beside the place that it will take; what an earlier attempt left there goes.
    pub(in crate::source::engine) fn write(target: &Path, feed: &mut Feed<'_>) -> Result<Self> {
        // A link stays one: what it leads to is replaced.
        let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).wrap(|| format!("cannot create {}", show_file(folder)))?;
        }
        let path = beside(&target, NEW);
        let what = || format!("cannot write {}", show_file(&path));
        remove(&path)?;
        let file = File::options().read(true).write(true).create_new(true).open(&path).wrap(what)?;
        // Nobody else reads it before it has its owner.
        let mut written = Self { target, path: path.clone(), file, is_placed: false };
        written.file.set_permissions(Permissions::from_mode(0o600)).wrap(what)?;
        feed(&mut written.file)?;
        written.file.sync_all().wrap(what)?;
        Ok(written)
    }

    /// Has SQLite check it in full.
    pub(in crate::source::engine) fn check(&self) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
            .map_err(explain)
            .and_then(|connection| check(&connection, "integrity_check"))
            .wrap(|| format!("the stored copy of {} is not whole", show_file(&self.target)))
    }

    /// Gives it the owner, mode and times that are stored; what cannot be set is told.
    pub(in crate::source::engine) fn set(&self, metadata: &Metadata, listener: &Listener) -> Result<()> {
        set(&self.file, &self.target, metadata, listener);
        self.file.sync_all().wrap(|| format!("cannot write {}", show_file(&self.path)))
    }

    /// Puts it in the place of a SQLite database that nobody has open.
    pub(super) fn swap(self, may_replace: bool) -> Result<()> {
        if self.target.exists() {
            refuse_unless(may_replace, &self.target)?;
            settle(&self.target)?;
        }
        // The log and the journal of the old one would be taken for those of the new one. They go before, and the old
        // one needs them no more.
        for suffix in STALE {
            remove(&beside(&self.target, suffix))?;
        }
        self.place()
    }

    /// Takes the place, whatever stands there.
    pub(in crate::source::engine) fn place(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.target)
            .wrap(|| format!("cannot replace {}", show_file(&self.target)))?;
        self.is_placed = true;
        sync_folder_of(&self.target)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_placed {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                drop(std::fs::remove_file(beside(&self.path, suffix)));
            }
        }
    }
}

/// An error unless what stands somewhere may be replaced.
pub(in crate::source::engine) fn refuse_unless(may_replace: bool, path: &Path) -> Result<()> {
    if may_replace {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Exists, format!("{} exists and would be replaced", show_file(path))))
}

/// Sets what is stored of an open file or folder; what cannot be set is told.
pub(in crate::source::engine) fn set(file: &File, shown: &Path, metadata: &Metadata, listener: &Listener) {
    let mut metadata = metadata.clone();
    LocalIds::new().localize(&mut metadata);
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    for problem in apply_to_fd(file.as_fd(), &attributes, &ApplyOptions::default()) {
        listener(&format!("{}: {}", show_file(shown), problem.message));
    }
}

/// Makes sure that nobody has a database open, and brings its log into it.
///
/// Of kind `Fenced` if somebody has. What is no database is nobody's.
pub(in crate::source::engine) fn settle(path: &Path) -> Result<()> {
    let used = |why: &str| {
        let message = format!("{} is in use: {why}; stop what uses it first", show_file(path));
        Error::new(ErrorKind::Fenced, message)
    };
    let readers = readers_of(path);
    if !readers.is_empty() {
        return Err(used(&format!("it is open in {}", readers.join(", "))));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settled = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(WAIT)?;
        // Before the first look at it, so that a write-ahead log is had alone, too.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")
    });
    match settled {
        Ok(()) => Ok(()),
        Err(cause) => match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(used("another process locks it"))
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(()),
            _ => Err(explain(cause).while_doing(format!("cannot replace {}", show_file(path)))),
        },
    }
}

/// Processes that have a file open, as far as the system lets us see. SQLite locks only while it works, so that one that
/// does nothing just now cannot be told by its locks.
fn readers_of(path: &Path) -> Vec<String> {
    let Ok(wanted) = std::fs::metadata(path) else { return Vec::new() };
    let is_it = |entry: std::fs::DirEntry| {
        let found = std::fs::metadata(entry.path());
        found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let mut readers = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number != std::process::id()) else { continue };
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if open.flatten().any(is_it) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            readers.push(format!("process {number} ({})", name.trim_end()));
        }
    }
    readers
}

/// Makes what was renamed in a folder last.
pub(in crate::source::engine) fn sync_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .wrap(|| format!("cannot write {}", show_file(folder)))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system(format!("cannot remove {}", show_file(path)), error))
        }
        _ => Ok(()),
    }
}
