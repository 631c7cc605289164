//! Keeps the locks of a read transaction, whatever else of this process touches the database's files.
//!
//! What must hold: as long as it lives, no writer of another process changes what the transaction sees.
//!
//! SQLite locks as POSIX says, and POSIX has a process lose its locks on a file as soon as any part of it closes that
//! file. Another source of the same run that reads the folder in which the database lies does just that, and a writer
//! could then change pages under a copy. Locks of an open file (`F_OFD_SETLK`) are not lost so; they cover the same
//! bytes, and so other processes heed them as they heed SQLite's own.
//!
//! With a write-ahead log the main file is held, too: who closes a database as the last one, by that file's locks, writes
//! the log into it and looks at no reader's byte.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::super::place::beside;
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// The bytes of a database that are locked for reading (`SHARED_FIRST` and `SHARED_SIZE` in SQLite's `os.h`).
const SHARED: (i64, i64) = (0x4000_0002, 510);
/// These and the two before, which writers take first (`PENDING_BYTE` and `RESERVED_BYTE`).
const ALL: (i64, i64) = (0x4000_0000, 512);
/// The bytes of the index of a write-ahead log, each for readers of one state (`WAL_READ_LOCK` in SQLite's `wal.c`).
const READERS: std::ops::Range<i64> = 123..128;
/// The byte of it that says that the index is in use (`UNIX_SHM_DMS` in `os_unix.c`): who opens it and finds nobody there
/// makes it anew.
const IN_USE: (i64, i64) = (128, 1);
/// A lock is refused only while another process begins or ends something.
const ATTEMPTS_MAX: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Locks that live as long as this.
#[derive(Debug)]
pub(super) struct Hold {
    /// Closing them lets go; and would make the connection lose its own locks, hence it is closed before.
    _files: Vec<File>,
}

impl Hold {
    /// Takes them for a transaction that has just read for the first time. Fails if that has lost its locks already.
    pub(super) fn take(database: &Path, is_wal: bool) -> Result<Self> {
        let main = open(database)?;
        let mut is_held = hold(&main, SHARED);
        let mut files = vec![main];
        if is_wal && is_held.is_ok() {
            // Whether the transaction lives its reader's byte tells: the other locks are the process' own, and SQLite does
            // not take them once more for a second connection.
            let index = open(&beside(database, "-shm"))?;
            is_held = hold(&index, IN_USE).and_then(|_| hold_readers(&index));
            files.push(index);
        }
        match is_held {
            Ok(true) => Ok(Self { _files: files }),
            // File systems without such locks are few, and none on which SQLite's own are sure.
            Err(Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP) => Ok(Self { _files: files }),
            Ok(false) => Err(Error::new(ErrorKind::Failed, "the locks of the transaction were lost")),
            Err(errno) => Err(Error::system("cannot lock the database", std::io::Error::from(errno))),
        }
    }
}

/// Locks a database against everybody, as SQLite does to write; `None` if somebody else has a lock on it.
pub(super) fn alone(database: &Path) -> Result<Option<File>> {
    let what = || format!("cannot lock {}", show_file(database));
    let file = File::options().read(true).write(true).open(database).wrap(what)?;
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock(libc::F_WRLCK, ALL))) {
        Ok(_) | Err(Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP) => Ok(Some(file)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(Error::system(what(), std::io::Error::from(errno))),
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).wrap(|| format!("cannot open {}", show_file(path)))
}

/// Of the readers' bytes those that are in use: the transaction's own is among them. The others stay free, so that
/// writers find one for a newer state.
fn hold_readers(index: &File) -> nix::Result<bool> {
    let mut is_held = false;
    for byte in READERS {
        if is_read_locked(index, (byte, 1))? {
            is_held |= hold(index, (byte, 1))?;
        }
    }
    Ok(is_held)
}

/// Takes a lock for reading; false if nobody reads there, hence the transaction does not either.
fn hold(file: &File, bytes: (i64, i64)) -> nix::Result<bool> {
    let mut attempts = 0;
    loop {
        match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK, bytes))) {
            Ok(_) => return is_read_locked(file, bytes),
            Err(Errno::EAGAIN | Errno::EACCES) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(errno) => return Err(errno),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether somebody reads there by a lock other than that of this open file.
fn is_read_locked(file: &File, bytes: (i64, i64)) -> nix::Result<bool> {
    let mut found = lock(libc::F_WRLCK, bytes);
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(i32::from(found.l_type) == libc::F_RDLCK)
}

fn lock(kind: i32, (start, length): (i64, i64)) -> libc::flock {
    let short = |number: i32| i16::try_from(number).unwrap_or_default();
    libc::flock {
        l_type: short(kind),
        l_whence: short(libc::SEEK_SET),
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}
