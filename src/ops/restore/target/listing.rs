//! What is in a directory of the target, and taking it away.
//!
//! What must hold: only what was looked at before is removed, by its name in an open directory, and of directories only
//! empty ones; where another file system begins is told, whether it is another device or a part of the same one that was
//! mounted there.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use crate::base::{Error, Result, Wrap};
use crate::ops::restore::target::{DirectoryNumber, Existing, FileIdentity, Found, Target, replaced};

impl Target {
    /// The names in a directory that was entered, in order of their bytes.
    pub fn names(&self, number: DirectoryNumber) -> Result<Vec<Vec<u8>>> {
        let message = || format!("cannot read the directory {}", self.show(number, b""));
        let descriptor = self.directories.descriptor(number)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&*descriptor).wrap(message)? {
            let entry = entry.wrap(message)?;
            let name = entry.file_name().to_bytes();
            if ![&b"."[..], b".."].contains(&name) {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether something else is mounted at a directory that was entered than at the one it is in.
    pub fn is_mounted(&self, number: DirectoryNumber, parent: DirectoryNumber) -> Result<bool> {
        let message = || format!("cannot examine {}", self.show(number, b""));
        let device = |number| -> Result<u64> {
            let descriptor = self.directories.descriptor(number)?;
            Ok(rustix::fs::fstat(&*descriptor).wrap(message)?.st_dev)
        };
        if device(number)? != device(parent)? {
            return Ok(true);
        }
        let descriptor = self.directories.descriptor(number)?;
        let asked = statx(descriptor.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::empty()).wrap(message)?;
        Ok(asked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// Removes what was found under a name: a directory only if it is empty.
    ///
    /// Fails if the name stands for anything else by now. What is gone already need not be removed.
    pub fn remove_found(&self, parent: DirectoryNumber, name: &[u8], found: &Found) -> Result<()> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot remove {}", self.show(parent, name));
        let stat = match rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.wrap(message)?,
        };
        if FileIdentity::of(&stat) != found.identity {
            return Err(replaced()).wrap(message);
        }
        let flags = match found.kind {
            Existing::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        match rustix::fs::unlinkat(&*directory, name, flags) {
            Err(Errno::NOENT) => Ok(()),
            other => other.map_err(|errno| Error::system(message(), errno)),
        }
    }
}
