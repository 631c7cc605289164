//! What stands in the target already.
//!
//! What must hold: nothing is changed and no symbolic link is followed; what was found is told with its identity, so
//! that whoever acts on it later can tell whether it is still the same.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::base::{Result, Timestamp, Wrap};
use crate::fsmeta::compare::Actual;
use crate::ops::restore::target::directories::open_directory;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Target, UNFINISHED_MODE, replaced};

/// What kind of object has a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Existing {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, wherever it leads.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

impl Existing {
    /// The kind in words, with an article.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::CharacterDevice | Self::BlockDevice => "a device",
        }
    }
}

/// What has a name already, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub kind: Existing,
    /// Which it is.
    pub identity: FileIdentity,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u16,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Number of names.
    pub links: u64,
    /// Of a device: major and minor number.
    pub device: (u32, u32),
}

impl Found {
    pub(super) fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Existing::Directory,
            FileType::Symlink => Existing::Symlink,
            FileType::Fifo => Existing::Fifo,
            FileType::Socket => Existing::Socket,
            FileType::CharacterDevice => Existing::CharacterDevice,
            FileType::BlockDevice => Existing::BlockDevice,
            _ => Existing::File,
        };
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Self {
            kind,
            identity: FileIdentity::of(stat),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: Timestamp { seconds: stat.st_mtime, nanoseconds },
            mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or_default(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            #[allow(clippy::useless_conversion, reason = "the width differs between machines")]
            links: u64::from(stat.st_nlink),
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        }
    }

    /// Its metadata, to be compared with what is stored.
    pub const fn actual(&self) -> Actual {
        let Self { mode, uid, gid, mtime, .. } = *self;
        Actual { mode, uid, gid, mtime, is_symlink: matches!(self.kind, Existing::Symlink) }
    }

    /// Whether it is a file with the mode that files have before they are complete.
    pub const fn has_unfinished_mode(&self) -> bool {
        matches!(self.kind, Existing::File) && self.mode == UNFINISHED_MODE
    }
}

impl Target {
    /// What has this name in a directory, if anything.
    pub fn examine(&self, parent: DirectoryNumber, name: &[u8]) -> Result<Option<Found>> {
        let directory = self.entry(parent, name)?;
        match rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            other => {
                let stat = other.wrap(|| format!("cannot examine {}", self.show(parent, name)))?;
                Ok(Some(Found::of(&stat)))
            }
        }
    }

    /// What a directory is that was made or entered.
    pub fn examine_directory(&self, number: DirectoryNumber) -> Result<Found> {
        let descriptor = self.directories.descriptor(number)?;
        let stat = rustix::fs::fstat(&*descriptor)
            .wrap(|| format!("cannot examine {}", self.directories.show(number, b"")))?;
        Ok(Found::of(&stat))
    }

    /// Whether a directory that was made or entered has no entries.
    pub fn is_empty(&self, number: DirectoryNumber) -> Result<bool> {
        let message = || format!("cannot read the directory {}", self.directories.show(number, b""));
        let descriptor = self.directories.descriptor(number)?;
        is_empty(Dir::read_from(&*descriptor).wrap(message)?).wrap(message)
    }

    /// Whether the directory of this name has no entries.
    pub fn is_empty_entry(&self, parent: DirectoryNumber, name: &[u8]) -> Result<bool> {
        let message = || format!("cannot read the directory {}", self.show(parent, name));
        let directory = self.entry(parent, name)?;
        let opened = match open_directory(directory.as_fd(), name) {
            Err(Errno::LOOP | Errno::NOTDIR) => Err(replaced()),
            other => other.wrap(|| "the system refuses"),
        }
        .wrap(message)?;
        is_empty(Dir::new(opened).wrap(message)?).wrap(message)
    }

    /// Where a symbolic link leads; `None` if the name stands for something else by now.
    pub fn link_target(&self, parent: DirectoryNumber, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let directory = self.entry(parent, name)?;
        match rustix::fs::readlinkat(&*directory, name, Vec::new()) {
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            other => {
                let target = other.wrap(|| format!("cannot read the link {}", self.show(parent, name)))?;
                Ok(Some(target.into_bytes()))
            }
        }
    }
}

fn is_empty(entries: Dir) -> rustix::io::Result<bool> {
    for entry in entries {
        let entry = entry?;
        if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
