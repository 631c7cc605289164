//! Databases of SQLite's put in the place of others.
//!
//! What must hold: no process is left with the old file open that would go on writing where nobody reads; the log and the
//! journal of the old one are never taken for those of the new one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::place::{Beside, beside, refuse_unless, remove};
use super::copy::{check, explain};
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// How long another process may keep a database locked that is to be replaced.
const WAIT: Duration = Duration::from_secs(2);
/// What else can stand beside a database; the order in which it goes.
const STALE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Has SQLite check in full what waits beside its place.
pub(in crate::source::engine) fn check_whole(waiting: &Beside) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = Connection::open_with_flags(&waiting.path, flags)
        .map_err(explain)
        .and_then(|connection| check(&connection, "integrity_check"))
        .wrap(|| format!("the stored copy of {} is not whole", show_file(&waiting.target)));
    // Closed, it has none of them any more, unless it is damaged.
    STALE.into_iter().try_for_each(|suffix| remove(&beside(&waiting.path, suffix)))?;
    checked
}

/// Puts it in the place of a database that nobody has open.
pub(super) fn swap(waiting: Beside, may_replace: bool) -> Result<()> {
    if waiting.target.exists() {
        refuse_unless(may_replace, &waiting.target)?;
        settle(&waiting.target)?;
    }
    // The old one needs them no more, and the new one must not find them: they go before.
    STALE.into_iter().try_for_each(|suffix| remove(&beside(&waiting.target, suffix)))?;
    waiting.place()
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
