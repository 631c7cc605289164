//! Databases of SQLite's put in the place of others.
//!
//! What must hold: no process is left with the old file open that would go on writing where nobody reads; the log and the
//! journal of the old one are never taken for those of the new one.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::Listener;
use super::super::place::{Beside, beside, describe, refuse_unless, remove};
use super::check::check;
use super::copy::explain;
use super::hold;
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// How long another process may keep a database locked that is to be replaced.
const WAIT: Duration = Duration::from_secs(2);
/// What else can stand beside a database; the order in which it goes.
const STALE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Has SQLite check in full what waits beside its place, and tells what it finds.
///
/// What is stored is what the database was, so that damage was there before; it may be the only copy that is left. It
/// takes its place only if somebody agreed to that.
pub(in crate::source::engine) fn check_whole(
    waiting: &Beside,
    may_be_damaged: bool,
    listener: &Listener,
) -> Result<()> {
    let shown = show_file(&waiting.target);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = Connection::open_with_flags(&waiting.path, flags)
        .map_err(explain)
        .and_then(|connection| check(&connection, "integrity_check"))
        .wrap(|| format!("cannot check the stored copy of {shown}"));
    // Closed, it has none of them any more, unless it is damaged.
    STALE.into_iter().try_for_each(|suffix| remove(&beside(&waiting.path, suffix)))?;
    let found = checked?;
    for line in found.unsure {
        listener.tell(&format!("{shown}: {line}"));
    }
    let Some(damage) = found.damage else { return Ok(()) };
    let told = format!("{shown}: the database was damaged already when it was backed up: {damage}");
    if may_be_damaged {
        listener.tell(&told);
        return Ok(());
    }
    Err(Error::new(ErrorKind::Failed, format!("{told}; it is put back only if that is agreed to (--yes)")))
}

/// What stands where a database will be put, for people: it, or what an earlier one left beside it.
pub(super) fn replaced(target: &Path) -> Result<Vec<String>> {
    if let Some(there) = describe(target)? {
        return Ok(vec![there]);
    }
    let left = STALE.into_iter().map(|suffix| describe(&beside(target, suffix)));
    Ok(left.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Puts it in the place of a database that nobody has open.
pub(super) fn swap(waiting: Beside, may_replace: bool, listener: &Listener) -> Result<()> {
    let target = waiting.target.clone();
    let stale = STALE.map(|suffix| beside(&target, suffix));
    let mut alone = None;
    if target.exists() {
        refuse_unless(may_replace, &target)?;
        alone = Some(settle(&target)?);
    } else if let Some(left) = stale.iter().find(|path| path.exists()) {
        refuse_unless(may_replace, left)?;
    }
    // The old one needs them no more, and the new one must not find them: they go before.
    stale.iter().try_for_each(|path| remove(path))?;
    waiting.place()?;
    if let Some(alone) = alone {
        alone.replaced(&target, listener);
    }
    Ok(())
}

/// A database that is about to be replaced: nobody else has it open, or can begin to work on it.
#[derive(Debug)]
pub(in crate::source::engine) struct Alone {
    file: File,
}

impl Alone {
    /// It has been replaced: who opened it meanwhile is told.
    pub(in crate::source::engine) fn replaced(self, target: &Path, listener: &Listener) {
        let readers = self.file.metadata().map(|stat| readers_of(&stat)).unwrap_or_default();
        if !readers.is_empty() {
            listener.tell(&format!(
                "{} was replaced while {} opened what was there before: start that anew",
                show_file(target),
                readers.join(", ")
            ));
        }
    }
}

/// Makes sure that nobody has a database open, brings its log into it, and keeps others from it.
///
/// Of kind `Fenced` if somebody has. What is no database is nobody's.
pub(in crate::source::engine) fn settle(path: &Path) -> Result<Alone> {
    let used = |why: &str| {
        let message = format!("{} is in use: {why}; stop what uses it first", show_file(path));
        Error::new(ErrorKind::Fenced, message)
    };
    let unread = || {
        let readers = std::fs::metadata(path).map(|stat| readers_of(&stat)).unwrap_or_default();
        if readers.is_empty() { Ok(()) } else { Err(used(&format!("it is open in {}", readers.join(", ")))) }
    };
    unread()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settled = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(WAIT)?;
        // Before the first look at it, so that a write-ahead log is had alone, too.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")
    });
    if let Err(cause) = settled {
        match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                return Err(used("another process locks it"));
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {}
            _ => return Err(explain(cause).while_doing(format!("cannot replace {}", show_file(path)))),
        }
    }
    // SQLite has let go of it. Its own lock cannot be kept: as it ends, it removes a log by its name.
    let file = hold::alone(path)?.ok_or_else(|| used("another process locks it"))?;
    unread()?;
    Ok(Alone { file })
}

/// Processes that have a file open, as far as the system lets us see. SQLite locks only while it works, so that one that
/// does nothing just now cannot be told by its locks.
fn readers_of(wanted: &Metadata) -> Vec<String> {
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
