//! From a file under a random name to an object under its final one.
//!
//! A file is complete and synced before it gets its final name, and until then it lies in `tmp`, where no object can be.
//! If anything fails it goes away with its `Unfinished`; after a crash it stays, to be swept by who knows that nobody
//! writes it any more.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::folders;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::Body;
use crate::storage::name::{UNFINISHED_FOLDER, unfinished_name};

/// `tmp` is never removed by us; it is made once more if somebody else does.
const BEGIN_ATTEMPTS_MAX: usize = 100;

/// How a file gets its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishBy {
    /// `renameat2` with `RENAME_NOREPLACE`: atomic.
    RenameNoReplace,
    /// A second hard link, then the first is removed: atomic. For NFS and old kernels.
    Link,
    /// Looks whether the name is free and then renames: of two that look at once the second wins silently. For file
    /// systems that can do neither of the others.
    CheckThenRename,
}

/// What became of an attempt to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The object is there.
    Published,
    /// The name was taken.
    Taken,
    /// The folder was removed after it was opened.
    FolderGone,
}

impl PublishBy {
    /// Of many that publish one name exactly one succeeds.
    pub(super) fn is_atomic(self) -> bool {
        self != Self::CheckThenRename
    }

    /// The best way that works below this root, by trying with empty files in `tmp`, which are removed again.
    pub(super) fn probe(root: BorrowedFd<'_>) -> Result<Self> {
        for way in [Self::RenameNoReplace, Self::Link] {
            if way.works(root).wrap(|| "cannot try out how objects can be published")? {
                return Ok(way);
            }
        }
        Ok(Self::CheckThenRename)
    }

    fn works(self, root: BorrowedFd<'_>) -> Result<bool> {
        let mut first = Unfinished::begin(root)?;
        let mut second = Unfinished::begin(root)?;
        let folder = first.folder.try_clone().wrap(|| "cannot open directory tmp again")?;
        let target = unfinished_name()?;
        // A way that takes both names to be free would replace objects.
        let outcomes = [
            first.publish_raw(self, folder.as_fd(), &target),
            second.publish_raw(self, folder.as_fd(), &target),
        ];
        // It may never have been made.
        let _ = rustix::fs::unlinkat(&folder, target, AtFlags::empty());
        match outcomes {
            [Ok(()), Err(Errno::EXIST)] => Ok(true),
            [Ok(()), Ok(())] => Ok(false),
            [Err(cause), _] | [Ok(()), Err(cause)] if means_unsupported(cause) => Ok(false),
            [Err(cause), _] | [Ok(()), Err(cause)] => Err(Error::system("cannot name a file in tmp", cause)),
        }
    }
}

/// Errors by which file systems, and the filters of containers, say that they do not know a call.
fn means_unsupported(cause: Errno) -> bool {
    matches!(
        cause,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS | Errno::MLINK
    )
}

/// A file in `tmp` that goes away unless it is published.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: OwnedFd,
    name: String,
    file: File,
    /// Whether it still has its name in `tmp`.
    is_named: bool,
}

impl Unfinished {
    /// Makes an empty file under a name that nobody else has.
    pub(super) fn begin(root: BorrowedFd<'_>) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        for _ in 0..BEGIN_ATTEMPTS_MAX {
            let Some(folders::Folder::Below(folder)) = folders::make(root, Some(UNFINISHED_FOLDER))? else {
                continue;
            };
            let name = unfinished_name()?;
            match retry_on_intr(|| rustix::fs::openat(&folder, &name, flags, mode)) {
                Ok(file) => return Ok(Self { folder, name, file: File::from(file), is_named: true }),
                Err(Errno::EXIST | Errno::NOENT) => {}
                Err(cause) => return Err(Error::system("cannot create a file in tmp", cause)),
            }
        }
        Err(Error::new(ErrorKind::Failed, "no file can be created in tmp, which keeps being removed"))
    }

    /// Writes all slices, one after the other.
    pub(super) fn write(&mut self, body: &Body) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            body.iter().filter(|slice| !slice.is_empty()).map(|slice| IoSlice::new(slice)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(Error::new(ErrorKind::Failed, "the file system takes no more bytes")),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::system("writing failed", cause)),
            }
        }
        Ok(())
    }

    /// Makes the bytes durable, not the name.
    pub(super) fn sync(&self) -> Result<()> {
        retry_on_intr(|| rustix::fs::fdatasync(&self.file)).wrap(|| "syncing failed")
    }

    /// Gives the file its final name, the `last` part of it in `folder`.
    pub(super) fn publish(&mut self, by: PublishBy, folder: BorrowedFd<'_>, last: &str) -> Result<Outcome> {
        match self.publish_raw(by, folder, last) {
            Ok(()) => Ok(Outcome::Published),
            Err(Errno::EXIST) => Ok(Outcome::Taken),
            // Either end may be missing; without the file there is no use in another attempt.
            Err(Errno::NOENT) if self.stat()?.st_nlink > 0 => Ok(Outcome::FolderGone),
            Err(Errno::NOENT) => {
                Err(Error::new(ErrorKind::Failed, "its unfinished file was removed by somebody else"))
            }
            Err(cause) => Err(Error::system("naming the file failed", cause)),
        }
    }

    fn publish_raw(&mut self, by: PublishBy, folder: BorrowedFd<'_>, last: &str) -> rustix::io::Result<()> {
        let (tmp, name) = (&self.folder, &self.name);
        match by {
            PublishBy::RenameNoReplace => {
                rustix::fs::renameat_with(tmp, name, folder, last, RenameFlags::NOREPLACE)?;
                self.is_named = false;
            }
            PublishBy::Link => match rustix::fs::linkat(tmp, name, folder, last, AtFlags::empty()) {
                // Over a network the first try can have succeeded and its answer have been lost.
                Err(Errno::EXIST) if self.stat().is_ok_and(|stat| stat.st_nlink > 1) => {}
                result => result?,
            },
            PublishBy::CheckThenRename => {
                match rustix::fs::statat(folder, last, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => return Err(Errno::EXIST),
                    Err(Errno::NOENT) => {}
                    Err(cause) => return Err(cause),
                }
                rustix::fs::renameat(tmp, name, folder, last)?;
                self.is_named = false;
            }
        }
        Ok(())
    }

    fn stat(&self) -> Result<Stat> {
        rustix::fs::fstat(&self.file).wrap(|| "cannot examine the unfinished file")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_named {
            // What cannot be removed stays unfinished, and is swept later.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn opened() -> (TempDir, File) {
        let directory = TempDir::new().unwrap();
        let root = File::open(directory.path()).unwrap();
        (directory, root)
    }

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_way_of_publishing_works_on_an_ordinary_file_system_and_leaves_nothing() {
        let (directory, root) = opened();
        assert_eq!(PublishBy::probe(root.as_fd()).unwrap(), PublishBy::RenameNoReplace);
        for way in [PublishBy::RenameNoReplace, PublishBy::Link, PublishBy::CheckThenRename] {
            assert!(way.works(root.as_fd()).unwrap(), "{way:?}");
        }
        assert_eq!(names_in(directory.path()), ["tmp"]);
        assert_eq!(names_in(&directory.path().join(UNFINISHED_FOLDER)), [""; 0]);
    }

    #[test]
    fn a_lost_answer_to_a_link_is_no_taken_name() {
        let (_directory, root) = opened();
        let mut unfinished = Unfinished::begin(root.as_fd()).unwrap();
        let folder = folders::make(root.as_fd(), Some("a")).unwrap().unwrap();
        let first = unfinished.publish(PublishBy::Link, folder.as_fd(), "b").unwrap();
        let again = unfinished.publish(PublishBy::Link, folder.as_fd(), "b").unwrap();
        assert_eq!((first, again), (Outcome::Published, Outcome::Published));
    }

    #[test]
    fn a_removed_unfinished_file_is_not_published() {
        let (directory, root) = opened();
        let mut unfinished = Unfinished::begin(root.as_fd()).unwrap();
        let folder = folders::make(root.as_fd(), Some("a")).unwrap().unwrap();
        fs::remove_file(directory.path().join("tmp").join(&names_in(&directory.path().join("tmp"))[0]))
            .unwrap();
        for way in [PublishBy::RenameNoReplace, PublishBy::Link, PublishBy::CheckThenRename] {
            let error = unfinished.publish(way, folder.as_fd(), "b").expect_err("it is gone");
            assert!(error.to_string().contains("removed by somebody else"), "{error}");
        }
    }
}
