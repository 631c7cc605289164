//! One database copied by SQLite's online backup interface, and the copy's bytes.
//!
//! What must hold: all pages are of one read transaction; writers wait no longer than copying takes, and not while the
//! copy is checked and read; no copy has a name in the file system once it has content.
//!
//! SQLite's `quick_check` looks at each copy before its first byte is given. That costs about as much as copying again,
//! and tells a database that is damaged on the day that this happens, not on the day on which it is needed. Damaged, it
//! is given nonetheless: nothing better is to be had.

use std::error::Error as _;
use std::fs::File;
use std::io::{Cursor, Read};
use std::iter::successors;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::serialize::Data;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::super::place::beside;
use super::super::{Listener, OpenDump, later};
use super::check::{Found, check};
use super::hold::Hold;
use crate::base::monitor::show_file;
use crate::base::size::show;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// How long a database may be locked by a writer before that is an error.
pub(in crate::source::engine) const BUSY_SECONDS: u64 = 30;
/// After so many pages it is asked whether to stop.
const STEP_PAGES: i32 = 4096;
/// The bytes of a database that say whether it has a write-ahead log.
const WAL_MARK: std::ops::Range<usize> = 18..20;
/// What they are without one.
const ROLLBACK_MARK: [u8; 2] = [1, 1];
/// As many transactions are begun anew if the locks of one are lost at once.
const BEGIN_ATTEMPTS_MAX: u32 = 5;

/// The names that a database and what SQLite keeps beside it have.
pub(in crate::source::engine) fn beside_names(database: &str) -> impl Iterator<Item = String> {
    [""].into_iter().chain(super::BESIDE).map(move |suffix| format!("{database}{suffix}"))
}

/// Where copies are put together.
#[derive(Debug)]
pub(in crate::source::engine) struct Room {
    /// The folder for those that are too large for memory.
    pub scratch: Option<PathBuf>,
    /// Up to this size they are in memory.
    pub memory_bytes: u64,
}

/// Begins a transaction on a database; its copy is made when the first byte is asked for.
pub(in crate::source::engine) fn open(path: &Path, room: Arc<Room>, listener: &Listener) -> Result<OpenDump> {
    match Moment::begin(path, Duration::from_secs(BUSY_SECONDS), listener) {
        Ok(moment) => Ok(give(moment, room, listener)),
        Err(error) if is_damage(&error) => {
            let why = error.chain().join(": ");
            listener.finding(format!("{why}; its file alone is stored as it is"));
            bytes_of(path)
        }
        Err(error) => Err(error),
    }
}

/// The bytes of a file of which SQLite can make nothing.
fn bytes_of(path: &Path) -> Result<OpenDump> {
    let shown = show_file(path);
    let file = File::open(path).wrap(|| format!("cannot open {shown}"))?;
    Ok(later::later(&format!("cannot copy {shown}"), move |_| Ok(Box::new(file))))
}

/// The copy of a database as it was at a moment that is held already.
pub(in crate::source::engine) fn give(moment: Moment, room: Arc<Room>, listener: &Listener) -> OpenDump {
    let shown = show_file(&moment.path);
    let (failed, listener) = (format!("cannot copy {shown}"), listener.clone());
    later::later(&failed, move |stopped| {
        let (copy, found) = moment.copy(&room, stopped)?;
        for line in found.unsure {
            listener.tell(&format!("{shown}: {line}"));
        }
        if let Some(damage) = found.damage {
            listener.finding(format!("{damage}; its copy is as it is itself"));
        }
        Ok(Box::new(Reading { copy, offset: 0 }))
    })
}

/// A read transaction on a database.
#[derive(Debug)]
pub(in crate::source::engine) struct Moment {
    path: PathBuf,
    /// Gone before the locks that back it up.
    connection: Option<Connection>,
    hold: Option<Hold>,
    /// What stands beside it comes of this connection.
    made_log: bool,
}

impl Moment {
    /// Waits so long for writers. Of kind `Fenced` if they do not let go.
    pub(in crate::source::engine) fn begin(path: &Path, wait: Duration, listener: &Listener) -> Result<Self> {
        let what = || format!("cannot read {}", show_file(path));
        let path = std::fs::canonicalize(path).wrap(what)?;
        let made_log = !beside(&path, "-wal").exists();
        let mut attempts = 0;
        loop {
            let (connection, is_wal) =
                read_only(&path, wait, listener).map_err(|error| error.while_doing(what()))?;
            match Hold::take(&path, is_wal) {
                Ok(hold) => {
                    let made_log = made_log && is_wal;
                    return Ok(Self { path, connection: Some(connection), hold: Some(hold), made_log });
                }
                Err(error) if attempts >= BEGIN_ATTEMPTS_MAX => return Err(error.while_doing(what())),
                Err(_) => attempts += 1,
            }
        }
    }

    fn copy(self, room: &Room, stopped: &AtomicBool) -> Result<(Copy, Found)> {
        let Some(connection) = &self.connection else { return Err(later::stopped()) };
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = number("page_size")
            .and_then(|size| Ok(number("page_count")?.saturating_mul(size)))
            .map_err(explain)?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if bytes <= room.memory_bytes {
            let mut memory = Connection::open_in_memory().map_err(explain)?;
            copy_pages(connection, &mut memory, stopped)?;
            drop(self);
            return in_memory(memory);
        }
        let Some(folder) = &room.scratch else {
            let message = format!("the copy has {}, which is more than memory is given for", show(bytes));
            return Err(Error::new(ErrorKind::OutOfSpace, message));
        };
        let mut unnamed = Unnamed::create(folder)?;
        copy_pages(connection, &mut unnamed.writer, stopped)?;
        drop(self);
        unnamed.finish()
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        drop(self.connection.take());
        // Nobody is the last to close the database while this is held.
        drop(self.hold.take());
        // Reading a database with a write-ahead log makes the log, if nobody has it open, and what only reads does not
        // remove it. What writes does, as it closes; nothing is written by that, as the log is empty.
        let log = beside(&self.path, "-wal");
        if self.made_log && std::fs::metadata(log).is_ok_and(|log| log.len() == 0) {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            drop(Connection::open_with_flags(&self.path, flags).and_then(|connection| look(&connection)));
        }
    }
}

/// Reads of a database for the first time.
fn look(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// A connection with a read transaction, and whether the database has a write-ahead log.
fn read_only(path: &Path, wait: Duration, listener: &Listener) -> Result<(Connection, bool)> {
    let begin = |access: OpenFlags| -> rusqlite::Result<(Connection, bool)> {
        let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(wait)?;
        connection.execute_batch("BEGIN")?;
        look(&connection)?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        Ok((connection, mode == "wal"))
    };
    match begin(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // What a writer that died left unfinished must be taken back before anybody can read.
        Err(cause)
            if matches!(cause.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)) =>
        {
            let begun = begin(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|_| explain(cause))?;
            listener.tell(&format!("{}: opened for writing, as SQLite had to recover it", show_file(path)));
            Ok(begun)
        }
        begun => begun.map_err(explain),
    }
}

/// Whether SQLite said that the database is damaged. Of kind `Damaged` are objects of a repository only.
pub(super) fn is_damage(error: &Error) -> bool {
    successors(error.source(), |&cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<rusqlite::Error>())
        .any(|cause| cause.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt))
}

/// Says what SQLite's codes mean here.
pub(super) fn explain(cause: rusqlite::Error) -> Error {
    let (kind, message) = match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Unsupported, "it is no SQLite database, or it is encrypted".to_owned())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Fenced, "another process keeps it locked".to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Failed, "the database is damaged".to_owned()),
        Some(ErrorCode::DiskFull) => (ErrorKind::OutOfSpace, "there is no room for the copy".to_owned()),
        Some(ErrorCode::PermissionDenied) => (ErrorKind::Denied, "SQLite may not open it".to_owned()),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            let why = "SQLite cannot open it: it has a write-ahead log or an unfinished transaction, and what reading \
                       it needs (-shm, -wal) cannot be made in its folder";
            (ErrorKind::Denied, why.to_owned())
        }
        _ => (ErrorKind::Failed, "SQLite cannot read it".to_owned()),
    };
    Error::caused(kind, message, cause)
}

fn copy_pages(from: &Connection, to: &mut Connection, stopped: &AtomicBool) -> Result<()> {
    let backup = Backup::new(from, to).map_err(explain)?;
    loop {
        match backup.step(STEP_PAGES).map_err(explain)? {
            StepResult::Done => return Ok(()),
            StepResult::More if stopped.load(Ordering::Acquire) => return Err(later::stopped()),
            StepResult::More => {}
            // Neither can be: the transaction is begun, and the copy is nobody else's.
            _ => return Err(Error::new(ErrorKind::Failed, "SQLite found its own copy locked")),
        }
    }
}

/// A whole copy.
///
/// Its mark says that it has no write-ahead log, for a check would make one; what it was is put in when it is read.
#[derive(Debug)]
struct Copy {
    place: Place,
    mark: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    /// A database of SQLite's in memory.
    Memory(Connection),
    /// A file without a name.
    File(File),
}

impl Copy {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let count = match &mut self.place {
            Place::File(file) => file.read_at(buffer, offset)?,
            Place::Memory(connection) => {
                // It is not copied again by this.
                let bytes = connection.serialize(MAIN_DB).map_err(std::io::Error::other)?;
                let rest =
                    usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                Cursor::new(rest).read(buffer)?
            }
        };
        for (index, byte) in WAL_MARK.zip(&self.mark) {
            let position =
                (index as u64).checked_sub(offset).and_then(|position| usize::try_from(position).ok());
            if let Some(there) = position.and_then(|position| buffer.get_mut(..count)?.get_mut(position)) {
                *there = *byte;
            }
        }
        Ok(count)
    }
}

fn in_memory(mut copied: Connection) -> Result<(Copy, Found)> {
    let serialized = copied.serialize(MAIN_DB).map_err(explain)?;
    let Data::Owned(mut bytes) = serialized else {
        return Err(Error::new(ErrorKind::Failed, "SQLite gave its copy in an unknown way"));
    };
    drop(copied);
    let mut mark = Vec::new();
    if let Some(there) = bytes.get_mut(WAL_MARK) {
        mark = there.to_vec();
        there.copy_from_slice(&ROLLBACK_MARK);
    }
    let mut copy = Connection::open_in_memory().map_err(explain)?;
    copy.deserialize(MAIN_DB, bytes, true).map_err(explain)?;
    let found = check(&copy, "quick_check")?;
    Ok((Copy { place: Place::Memory(copy), mark }, found))
}

/// A file that has lost its name before it has content, and SQLite's connections to it.
struct Unnamed {
    writer: Connection,
    checker: Connection,
    file: File,
}

impl Unnamed {
    fn create(folder: &Path) -> Result<Self> {
        let (path, file) =
            named_file(folder).wrap(|| format!("cannot create a file in {}", show_file(folder)))?;
        let made = Self::connect(&path);
        std::fs::remove_file(&path).wrap(|| format!("cannot remove {}", show_file(&path)))?;
        let (writer, checker) = made.map_err(explain)?;
        Ok(Self { writer, checker, file })
    }

    fn connect(path: &Path) -> rusqlite::Result<(Connection, Connection)> {
        let writing = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, writing)?;
        // It is thrown away with the process, whatever happens.
        writer.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
        let reading = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok((writer, Connection::open_with_flags(path, reading)?))
    }

    fn finish(self) -> Result<(Copy, Found)> {
        let Self { writer, checker, file } = self;
        drop(writer);
        let mut mark = vec![0; WAL_MARK.len()];
        let start = WAL_MARK.start as u64;
        file.read_exact_at(&mut mark, start)
            .and_then(|()| file.write_all_at(&ROLLBACK_MARK, start))
            .wrap(|| "cannot read the copy")?;
        let found = check(&checker, "quick_check")?;
        Ok((Copy { place: Place::File(file), mark }, found))
    }
}

/// A new file that only this user may open, under a name that nothing has.
fn named_file(folder: &Path) -> std::io::Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".packstone-sqlite-{}-{count}", std::process::id()));
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
}

/// Reads a copy.
struct Reading {
    copy: Copy,
    offset: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.copy.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
