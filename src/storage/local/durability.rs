//! Making what was written survive a loss of power, and remembering for ever when that failed.
//!
//! After a failed sync the system may have dropped the pages that it could not write and may report success the next
//! time; so no later success counts, and the handle gives up. A new handle begins with what the disk then says.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::io::{Errno, retry_on_intr};

use super::folders;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// Memory of the first sync that failed.
#[derive(Debug, Default)]
pub(in crate::storage) struct FailedSync(OnceLock<String>);

impl FailedSync {
    /// Fails if a sync failed before.
    pub(in crate::storage) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(first) => Err(Error::new(
                ErrorKind::Failed,
                format!("nothing more is written here, because an earlier write may be lost: {first}"),
            )),
        }
    }

    /// Gives back the result of a sync; the first failure is kept.
    pub(in crate::storage) fn remember(&self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result {
            self.0.get_or_init(|| error.chain().join(": "));
        }
        result
    }
}

/// What a barrier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BarrierBy {
    /// Syncs the whole file system; where that is not supported, all directories.
    FileSystem,
    /// Syncs all directories. The objects themselves were synced before they got their names.
    Directories,
}

impl BarrierBy {
    /// The way for the file system that `root` is on.
    pub(super) fn choose(root: BorrowedFd<'_>) -> Self {
        match rustix::fs::fstatfs(root) {
            // FUSE and 9P say that the sync succeeded without passing it on to their server, statfs(2) for the numbers.
            Ok(stat) if stat.f_type == 0x6573_5546 || stat.f_type == 0x0102_1997 => Self::Directories,
            _ => Self::FileSystem,
        }
    }

    /// Makes every name below the root durable, whoever made it.
    pub(super) fn run(self, root: BorrowedFd<'_>) -> Result<()> {
        if self == Self::FileSystem {
            match retry_on_intr(|| rustix::fs::syncfs(root)) {
                Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {}
                result => return result.wrap(|| "syncing the file system failed"),
            }
        }
        sync_below(root)
    }
}

/// Syncs a directory; where directories cannot be synced, there is nothing to be done.
pub(super) fn sync_directory(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match retry_on_intr(|| rustix::fs::fsync(directory)) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

fn sync_below(directory: BorrowedFd<'_>) -> Result<()> {
    for part in folders::subfolders(directory)? {
        if let Some(folder) = folders::open_part(directory, &part)? {
            sync_below(folder.as_fd())?;
        }
    }
    sync_directory(directory).wrap(|| "syncing a directory failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failed_sync_is_never_forgotten() {
        let failed_sync = FailedSync::default();
        failed_sync.remember(Ok(())).expect("success is passed on");
        failed_sync.check().expect("nothing failed yet");
        let first = failed_sync.remember(Err(Error::system("syncing failed", Errno::NOSPC)));
        assert_eq!(first.expect_err("failure is passed on").kind(), ErrorKind::OutOfSpace);
        failed_sync.remember(Err(Error::system("another", Errno::IO))).expect_err("failure is passed on");
        failed_sync.remember(Ok(())).expect("success is passed on");
        let error = failed_sync.check().expect_err("a sync failed");
        assert_eq!(error.kind(), ErrorKind::Failed);
        let message = error.to_string();
        assert!(message.contains("syncing failed: No space left"), "{message}");
    }
}
