//! Putting something in the place of what is there.
//!
//! What must hold: what is replaced stays under its name until what comes instead is complete, and then goes by one
//! rename; only what was looked at before is replaced or removed, and of directories only empty ones; a symbolic link
//! is replaced itself. What somebody else puts under the name in the moment between the last look and the rename is
//! taken for what was looked at.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::fsmeta::apply::{ApplyOptions, Attributes, Problem, apply_to_existing_path_fd};
use crate::ops::restore::target::directories::replaced;
use crate::ops::restore::target::{DirectoryNumber, Existing, FileIdentity, Found, Target, pin};

impl Target {
    /// A name under which something can be made that is to replace what has another name in the same directory. Each is
    /// given once, and none that an interrupted restore may have left.
    pub fn temporary_name(&self) -> Vec<u8> {
        let number = self.temporary_names.fetch_add(1, Ordering::Relaxed);
        format!(".packstone-restore-{}-{number}", self.run).into_bytes()
    }

    /// A name for a directory that goes out of the way. Each is given once; what has such a name is the user's.
    pub fn aside_name(&self) -> Vec<u8> {
        let number = self.temporary_names.fetch_add(1, Ordering::Relaxed);
        format!(".packstone-aside-{}-{number}", self.run).into_bytes()
    }

    /// Gives what was made under a temporary name its own, in the place of what was found there.
    ///
    /// `Exists` if something else has the name by now, or a directory that is not empty; then both stay as they are.
    pub fn replace(
        &self,
        parent: DirectoryNumber,
        temporary: (&[u8], FileIdentity),
        name: &[u8],
        found: &Found,
    ) -> Result<()> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot replace {}", self.show(parent, name));
        let (temporary, identity) = temporary;
        let there = self.examine(parent, name)?;
        if there.is_some_and(|there| there.identity != found.identity || there.kind != found.kind) {
            return Err(replaced().of_kind(ErrorKind::Exists)).wrap(message);
        }
        let is_file = there.is_some_and(|there| there.kind != Existing::Directory);
        if there.is_some() && !is_file {
            match rustix::fs::unlinkat(&*directory, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(not_empty()).wrap(message),
                other => other.wrap(message)?,
            }
        }
        if is_file {
            rustix::fs::renameat(&*directory, temporary, &*directory, name).wrap(message)?;
        } else {
            rename_to_free(directory.as_fd(), temporary, name).wrap(message)?;
        }
        let stat = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW).wrap(message)?;
        if FileIdentity::of(&stat) == identity { Ok(()) } else { Err(replaced()).wrap(message) }
    }

    /// Gives a directory another name that is free.
    pub fn move_aside(&self, parent: DirectoryNumber, name: &[u8], free: &[u8]) -> Result<()> {
        let directory = self.entry(parent, name)?;
        rename_to_free(directory.as_fd(), name, free)
            .wrap(|| format!("cannot move {} out of the way", self.show(parent, name)))
    }

    /// Gives a file that was there its attributes, without touching its content.
    ///
    /// Fails if the name stands for anything else by now, or if the file has further names, which may lie anywhere.
    pub fn update_file(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        identity: FileIdentity,
        attributes: &Attributes<'_>,
        options: &ApplyOptions,
    ) -> Result<Vec<Problem>> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot set the metadata of {}", self.show(parent, name));
        let (pinned, stat) = pin(directory.as_fd(), name).wrap(message)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || FileIdentity::of(&stat) != identity || stat.st_nlink > 1 {
            return Err(replaced()).wrap(message);
        }
        Ok(apply_to_existing_path_fd(pinned.as_fd(), attributes, options))
    }
}

/// The error of a directory that would have to be removed with what is in it.
pub(in crate::ops::restore) fn not_empty() -> Error {
    Error::new(ErrorKind::Exists, "a directory that is not empty is in the way")
}

/// Renames without replacing anything.
fn rename_to_free(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?;
            rustix::fs::unlinkat(directory, from, AtFlags::empty())
        }
        other => other,
    }
}
