//! What this machine remembers between runs, to save work: what the last run saw of each directory.
//!
//! What must hold: it is a help and never a witness. A file that is damaged, foreign or of another version is thrown
//! away; a row counts only if its code fits the repository's key, and only for the snapshot that the file names, which
//! is set in the same step as all rows and after that snapshot's commit.

mod observed;
mod row;
pub mod verified;

pub use observed::Observations;
pub use row::Row;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, SessionId, Wrap};
use crate::crypto::Secret;

/// Marks the file as ours; a file with another mark is not read.
const APPLICATION: i32 = 0x706b_7374;
/// Number of the rows' layout. A file with another number is thrown away.
const VERSION: i32 = 1;
/// Another run of the same group holds the file at most so long while it commits.
const WAIT: Duration = Duration::from_millis(200);
/// Groups of runs of which something is kept.
const GROUPS_MAX: usize = 64;
const EXTENSION: &str = "sqlite";

const TABLES: &str = "
    CREATE TABLE run (snapshot BLOB NOT NULL, code BLOB NOT NULL);
    CREATE TABLE directories (
        parent BLOB NOT NULL, name BLOB NOT NULL, row BLOB NOT NULL, PRIMARY KEY (parent, name)
    ) WITHOUT ROWID;
";

/// What the last run of a group saw, and what this one sees.
#[derive(Debug)]
pub struct LastRun {
    path: PathBuf,
    key: Secret,
    snapshot: Option<SessionId>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Option<Connection>,
    /// This run holds the file for writing.
    is_ours: bool,
    failure: Option<Error>,
}

/// An opened file, and why an earlier one was thrown away.
#[derive(Debug)]
pub struct Opened {
    /// What the last run saw.
    pub last_run: LastRun,
    /// Why a file that was there is not used.
    pub discarded: Option<Error>,
}

impl LastRun {
    /// Opens the file of a group of runs, or makes it. `key` is the repository's for this purpose.
    pub fn open(path: &Path, key: Secret) -> Result<Opened> {
        let (inner, snapshot, discarded) = match connect(path, &key) {
            Ok((inner, snapshot)) => (inner, snapshot, None),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                discard(path)?;
                let (inner, snapshot) = connect(path, &key)?;
                (inner, snapshot, Some(error))
            }
            Err(error) => return Err(error),
        };
        let last_run = Self { path: path.to_owned(), key, snapshot, inner: Mutex::new(inner) };
        Ok(Opened { last_run, discarded })
    }

    /// The snapshot whose directories the rows are.
    pub const fn snapshot(&self) -> Option<SessionId> {
        self.snapshot
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.inner().write(|connection| connection.execute("DELETE FROM directories", []).map(drop));
    }

    /// What the last run saw of a directory.
    pub fn row(&self, parent: &[u8], name: &[u8]) -> Option<Row> {
        const SQL: &str = "SELECT row FROM directories WHERE parent = ?1 AND name = ?2";
        let found: Option<Vec<u8>> = self.inner().with(|connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            statement.query_row(params![parent, name], |row| row.get(0)).optional()
        })??;
        Row::open(&found?, &self.key, parent, name)
    }

    /// Says what this run sees of a directory.
    pub fn put(&self, parent: &[u8], name: &[u8], row: &Row) {
        const SQL: &str = "INSERT OR REPLACE INTO directories (parent, name, row) VALUES (?1, ?2, ?3)";
        let sealed = row.seal(&self.key, parent, name);
        self.inner().write(|connection| {
            connection.prepare_cached(SQL)?.execute(params![parent, name, sealed]).map(drop)
        });
    }

    /// Forgets the directories in `parent` that are not among `children`, which are sorted, and all below them.
    pub fn keep_only(&self, parent: &[u8], children: &[Vec<u8>]) {
        const SQL: &str = "SELECT name FROM directories WHERE parent = ?1";
        let is_kept = |name: &Vec<u8>| children.binary_search(name).is_ok();
        let gone: Option<Vec<Vec<u8>>> = self.inner().write(|connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            let names = statement.query_map(params![parent], |row| row.get(0))?;
            names.filter(|name| !name.as_ref().is_ok_and(is_kept)).collect()
        });
        for name in gone.into_iter().flatten() {
            self.forget(parent, &name);
        }
    }

    /// Forgets a directory and all below it.
    pub fn forget(&self, parent: &[u8], name: &[u8]) {
        const ITSELF: &str = "DELETE FROM directories WHERE parent = ?1 AND name = ?2";
        const BELOW: &str = "DELETE FROM directories WHERE parent = ?1 OR (parent >= ?2 AND parent < ?3)";
        let path = join(parent, name);
        // All paths that go on after a slash, and no other: the byte after a slash is `0`.
        let [first, end] = [b"/", b"0"].map(|byte| [path.strip_suffix(b"/").unwrap_or(&path), byte].concat());
        self.inner().write(|connection| {
            connection.prepare_cached(ITSELF)?.execute(params![parent, name])?;
            connection.prepare_cached(BELOW)?.execute(params![path, first, end]).map(drop)
        });
    }

    /// Makes what this run saw the last run, now that its snapshot is committed. Gives why it could not be kept; then
    /// the file is gone, and the next run reads everything.
    pub fn commit(self, snapshot: SessionId) -> Option<Error> {
        let code = code_of_run(&self.key, &snapshot);
        let mut inner = self.inner();
        inner.write(|connection| {
            connection.execute("DELETE FROM run", [])?;
            connection
                .execute("INSERT INTO run (snapshot, code) VALUES (?1, ?2)", params![snapshot.0, code])?;
            connection.execute_batch("COMMIT")
        });
        let failure = inner.failure.take();
        if inner.is_ours && failure.is_some() {
            inner.connection = None;
            // What cannot be removed is a file without a commit, which says what it said before.
            let _ = discard(&self.path);
        }
        failure
    }
}

impl Inner {
    /// Asks the file; after a failure it is not asked again.
    fn with<T>(&mut self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<Option<T>> {
        if self.failure.is_some() {
            return None;
        }
        match ask(self.connection.as_ref()?) {
            Ok(answer) => Some(Some(answer)),
            Err(cause) => {
                self.failure = Some(failure("cannot use the local state", cause));
                None
            }
        }
    }

    fn write<T>(&mut self, write: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        if self.is_ours { self.with(write).flatten() } else { None }
    }
}

/// The path of what stands in a directory.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let parent = parent.strip_suffix(b"/").unwrap_or(parent);
    [parent, b"/", name].concat()
}

fn code_of_run(key: &Secret, snapshot: &SessionId) -> [u8; 32] {
    *blake3::keyed_hash(key.expose(), &snapshot.0).as_bytes()
}

fn failure(what: &str, cause: rusqlite::Error) -> Error {
    let kind = match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::SchemaChanged) => {
            ErrorKind::Damaged
        }
        Some(ErrorCode::DiskFull) => ErrorKind::OutOfSpace,
        _ => ErrorKind::Failed,
    };
    Error::caused(kind, what, cause)
}

/// Opens the file in one transaction, so that what another run commits meanwhile is not seen.
fn connect(path: &Path, key: &Secret) -> Result<(Inner, Option<SessionId>)> {
    let what = format!("cannot use the local state {}", show_file(path));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|cause| failure(&what, cause))?;
    let (is_ours, found) = prepare(&connection).map_err(|cause| failure(&what, cause))?;
    let damaged = |why: &str| Err(Error::damaged(why).while_doing(what.clone()));
    let snapshot = match found {
        Prepared::Foreign => return damaged("it is of another program, or of another version of this one"),
        Prepared::Empty => None,
        Prepared::Run { snapshot, code } => {
            let snapshot = <[u8; 16]>::try_from(snapshot.as_slice()).map(SessionId);
            match snapshot {
                Ok(snapshot) if code == code_of_run(key, &snapshot) => Some(snapshot),
                _ => return damaged("it is damaged, or of another repository"),
            }
        }
    };
    Ok((Inner { connection: Some(connection), is_ours, failure: None }, snapshot))
}

enum Prepared {
    Foreign,
    Empty,
    Run { snapshot: Vec<u8>, code: Vec<u8> },
}

fn prepare(connection: &Connection) -> rusqlite::Result<(bool, Prepared)> {
    connection.busy_timeout(WAIT)?;
    // A file of another program is left as it is until it is thrown away.
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let count_tables =
        || connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let tables = count_tables()?;
    let marks = (number("application_id")?, number("user_version")?);
    if tables > 0 && marks != (APPLICATION, VERSION) {
        return Ok((false, Prepared::Foreign));
    }
    // Readers are not kept waiting; where the file system cannot do it, SQLite's older way remains.
    let _mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512")?;
    let is_ours = match connection.execute_batch("BEGIN IMMEDIATE") {
        Ok(()) => true,
        // Another run of the same group: this one reads what the last one left, and keeps nothing.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            connection.execute_batch("BEGIN")?;
            false
        }
        Err(error) => return Err(error),
    };
    // Another run may have made them meanwhile.
    if is_ours && count_tables()? == 0 {
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    let run = connection.query_row("SELECT snapshot, code FROM run", [], |row| {
        Ok(Prepared::Run { snapshot: row.get(0)?, code: row.get(1)? })
    });
    match run.optional() {
        Ok(found) => Ok((is_ours, found.unwrap_or(Prepared::Empty))),
        // The other run is the first, and has not yet committed its tables.
        Err(_) if !is_ours => Ok((false, Prepared::Empty)),
        Err(error) => Err(error),
    }
}

/// Removes the file and what SQLite keeps beside it.
fn discard(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::system(
                    format!("cannot remove the local state {}", show_file(path)),
                    cause,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file of a group of runs in a folder, which is made, readable to its owner alone. A new group takes the place of
/// those that were not backed up for the longest time: lists of paths that differ each night would fill the disk.
pub fn file_in(folder: &Path, group: &str) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .wrap(|| format!("cannot create the folder {}", show_file(folder)))?;
    let path = folder.join(format!("run-{group}.{EXTENSION}"));
    if !path.exists() {
        make_room(folder);
    }
    Ok(path)
}

fn make_room(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let files = entries.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    let mut files: Vec<_> =
        files.filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).collect();
    files.sort_unstable();
    let too_many = (files.len() + 1).saturating_sub(GROUPS_MAX);
    for (_, path) in files.into_iter().take(too_many) {
        // What cannot be removed only takes room.
        let _ = discard(&path);
    }
}

#[cfg(test)]
mod tests;
