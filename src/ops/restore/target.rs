//! The tree that is written: every object is made relative to an open directory, by a single name.
//!
//! What must hold, also while somebody else changes the tree: nothing outside the directory that the user named is
//! made, changed or removed; nothing that was there is overwritten unless `replacing` is asked for it; a symbolic link
//! is never followed; a file that is opened again, linked or removed is the one that this run made. Files are
//! unreadable for others until they are finished, directories until the caller finishes them, bottom-up, after
//! everything in them.

mod changing;
mod directories;
mod examining;
mod listing;
mod replacing;

use std::io::ErrorKind as IoErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::base::monitor::{show_file, show_path};
use crate::base::{Error, ErrorKind, Result, Timestamp, Wrap};
use crate::format::node::{NodeKind, check_name};
use crate::fsmeta::apply::{
    ApplyOptions, Attributes, Before, Problem, apply_to_existing_fd, apply_to_fd, apply_to_made,
    apply_to_path_fd,
};

pub(super) use directories::replaced;
use directories::{Directories, OpenDirectory, open_directory};
pub use directories::{DirectoryNumber, FileIdentity};
pub use examining::{Existing, Found};

/// Directories that are kept open at a time, beside the root and those in use; a quarter of the usual limit on open
/// files of a process (1024).
const DIRECTORIES_OPEN_MAX: usize = 256;

const DIRECTORY_MODE: u16 = 0o700;
/// Of a file that is not finished. The sticky bit, which means nothing on a file, tells one that an interrupted restore
/// left: no rename is needed to make a file appear when it is complete.
const UNFINISHED_MODE: u16 = 0o1600;
const PLAIN_MODE: u16 = 0o600;

/// A directory into which a snapshot is restored. Shared by all threads that restore.
pub struct Target {
    directories: Directories,
    /// Tells this run from all others, in names.
    run: String,
    temporary_names: AtomicU64,
}

/// An object that was made and has got its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Which it is, for hard links to it.
    pub identity: FileIdentity,
    /// One line for each attribute that could not be set or was not kept.
    pub problems: Vec<Problem>,
}

impl Target {
    /// Opens the directory that the user named, and makes it and its parents where missing, for the owner only.
    ///
    /// Symbolic links in this path are followed. `Exists` if a part of it is something other than a directory.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_bounded(path, DIRECTORIES_OPEN_MAX)
    }

    /// Opens the directory that the user named and makes nothing; `None` if nothing has that path.
    ///
    /// Symbolic links in this path are followed. `Exists` if a part of it is something other than a directory.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        match Self::open_root(path) {
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => {
                let message = format!("the target {} is there already and is no directory", show_file(path));
                Err(Error::caused(ErrorKind::Exists, message, std::io::Error::from(Errno::NOTDIR)))
            }
            opened => Self::new(path, opened.wrap(|| cannot_open(path))?, DIRECTORIES_OPEN_MAX).map(Some),
        }
    }

    /// Keeps at most so many directories open.
    fn open_bounded(path: &Path, directories_open_max: usize) -> Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE.into()).create(path);
        made.map_err(|cause| {
            let kind = match cause.kind() {
                IoErrorKind::NotADirectory => Some(ErrorKind::Exists),
                // What is not found is something in the snapshot, to those who ask.
                IoErrorKind::NotFound => Some(ErrorKind::Failed),
                _ => None,
            };
            let error = Error::system("cannot make it", cause);
            kind.into_iter().fold(error, Error::of_kind)
        })
        .wrap(|| cannot_open(path))?;
        Self::new(path, Self::open_root(path).wrap(|| cannot_open(path))?, directories_open_max)
    }

    fn open_root(path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    }

    fn new(path: &Path, root: OwnedFd, directories_open_max: usize) -> Result<Self> {
        let directories = Directories::new(path.to_owned(), root, directories_open_max)?;
        let now = Timestamp::now();
        let run = format!("{}-{:x}-{:x}", std::process::id(), now.seconds, now.nanoseconds);
        Ok(Self { directories, run, temporary_names: AtomicU64::new(0) })
    }

    /// The path of an entry for a message; of a long one the end.
    pub fn show(&self, directory: DirectoryNumber, name: &[u8]) -> String {
        self.directories.show(directory, name)
    }

    /// Enters a directory that may exist; `None` if nothing has the name, `Exists` if it is something else.
    ///
    /// Each call gives a number of its own; `create_directory` need not be called for what was entered.
    pub fn enter(&self, parent: DirectoryNumber, name: &[u8]) -> Result<Option<DirectoryNumber>> {
        let directory = self.entry(parent, name)?;
        let opened = match open_directory(directory.as_fd(), name) {
            Err(Errno::NOENT) => return Ok(None),
            Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => Err(self.in_the_way(parent, name, errno)),
            other => other.wrap(|| format!("cannot enter {}", self.directories.show(parent, name))),
        }?;
        let stat = rustix::fs::fstat(&opened)
            .wrap(|| format!("cannot examine {}", self.directories.show(parent, name)))?;
        Ok(Some(self.directories.register(parent, name, FileIdentity::of(&stat), opened)))
    }

    /// Makes a directory for the owner only, or enters the one that is there, which keeps its attributes until it is
    /// finished; true if it was made. `Exists` if something else has the name.
    pub fn create_directory(&self, parent: DirectoryNumber, name: &[u8]) -> Result<(DirectoryNumber, bool)> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot make the directory {}", self.directories.show(parent, name));
        let mode = Mode::from_raw_mode(DIRECTORY_MODE.into());
        let is_new = match rustix::fs::mkdirat(&*directory, name, mode) {
            Err(Errno::EXIST) => false,
            other => other.map(|()| true).wrap(message)?,
        };
        let opened = match open_directory(directory.as_fd(), name) {
            Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => return Err(self.in_the_way(parent, name, errno)),
            Err(Errno::ACCESS) if is_new => {
                make_accessible(directory.as_fd(), name).wrap(message)?;
                open_directory(directory.as_fd(), name)
            }
            other => other,
        }
        .wrap(message)?;
        let stat = rustix::fs::fstat(&opened).wrap(message)?;
        if is_new && !grants(&stat, DIRECTORY_MODE) {
            rustix::fs::fchmod(&opened, mode).wrap(message)?;
        }
        Ok((self.directories.register(parent, name, FileIdentity::of(&stat), opened), is_new))
    }

    /// Makes a regular file of `size` bytes that is one hole. `Exists` if anything has the name.
    pub fn create_file(&self, parent: DirectoryNumber, name: &[u8], size: u64) -> Result<TargetFile> {
        self.make_file(parent, name, (size, size))
    }

    /// Makes a regular file that is empty until one write gives it all its `size` bytes. `Exists` if anything has the
    /// name.
    pub fn create_empty_file(&self, parent: DirectoryNumber, name: &[u8], size: u64) -> Result<TargetFile> {
        self.make_file(parent, name, (size, 0))
    }

    /// Makes a regular file that may be written up to the first size and has the second one now.
    fn make_file(&self, parent: DirectoryNumber, name: &[u8], sizes: (u64, u64)) -> Result<TargetFile> {
        let (size, size_now) = sizes;
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot make the file {}", self.directories.show(parent, name));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(UNFINISHED_MODE.into());
        let descriptor = rustix::fs::openat(&*directory, name, flags, mode).wrap(message)?;
        let stat = rustix::fs::fstat(&descriptor).wrap(message)?;
        let before = Before { may_have_acl: directory.gives_acl(), ..Before::of(&stat) };
        let file =
            TargetFile { descriptor, identity: FileIdentity::of(&stat), before, size, name: name.into() };
        let prepared = match grants(&stat, UNFINISHED_MODE) {
            true => Ok(()),
            // A file system without the sticky bit only lacks the mark.
            false => rustix::fs::fchmod(&file.descriptor, mode)
                .or_else(|errno| if grants(&stat, PLAIN_MODE) { Ok(()) } else { Err(errno) }),
        };
        let sized = match size_now {
            0 => prepared,
            size => prepared.and_then(|()| rustix::fs::ftruncate(&file.descriptor, size)),
        };
        if let Err(errno) = sized {
            // The first failure is the one to tell.
            self.remove_file(parent, name, file.identity).ok();
            return Err(Error::system(message(), errno));
        }
        Ok(file)
    }

    /// Opens a file again that this run made, to write more of it or to read it.
    ///
    /// Fails if the name stands for anything else by now, or if the file has got further names.
    pub fn reopen_file(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        identity: FileIdentity,
    ) -> Result<TargetFile> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot open {} again", self.directories.show(parent, name));
        // Without blocking: a named pipe may have been put there, whose opening would wait for a reader.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let descriptor = match rustix::fs::openat(&*directory, name, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Err(replaced()),
            other => other.wrap(|| "the system refuses"),
        }
        .wrap(message)?;
        let stat = rustix::fs::fstat(&descriptor).wrap(message)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || FileIdentity::of(&stat) != identity || stat.st_nlink > 1 {
            return Err(replaced()).wrap(message);
        }
        let before = Before { may_have_acl: directory.gives_acl(), ..Before::of(&stat) };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(TargetFile { descriptor, identity, before, size, name: name.into() })
    }

    /// Takes a file back that this run made; fails if the name stands for anything else by now.
    pub fn remove_file(&self, parent: DirectoryNumber, name: &[u8], identity: FileIdentity) -> Result<()> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot remove {}", self.directories.show(parent, name));
        let stat = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW).wrap(message)?;
        if FileIdentity::of(&stat) != identity {
            return Err(replaced()).wrap(message);
        }
        rustix::fs::unlinkat(&*directory, name, AtFlags::empty()).wrap(message)
    }

    /// Makes a symbolic link. `Exists` if anything has the name.
    ///
    pub fn create_symlink(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        target: &[u8],
        attributes: &Attributes<'_>,
        options: &ApplyOptions,
    ) -> Result<Created> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot make the symbolic link {}", self.directories.show(parent, name));
        rustix::fs::symlinkat(target, &*directory, name).wrap(message)?;
        let (pinned, stat) = pin(directory.as_fd(), name).wrap(message)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
            && stat.st_nlink <= 1
            && rustix::fs::readlinkat(&pinned, "", Vec::new()).wrap(message)?.as_bytes() == target;
        if !is_ours {
            return Err(replaced()).wrap(message);
        }
        let problems = apply_to_path_fd(pinned.as_fd(), attributes, options);
        Ok(Created { identity: FileIdentity::of(&stat), problems })
    }

    /// Makes a named pipe, a socket or a device. `Exists` if anything has the name, `Denied` for a device without the
    /// privilege, `Usage` for any other kind and for a device when `special` is off.
    pub fn create_special(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        kind: &NodeKind,
        attributes: &Attributes<'_>,
        options: &ApplyOptions,
    ) -> Result<Created> {
        let message = || format!("cannot make the {} {}", kind.word(), self.directories.show(parent, name));
        let (file_type, device) = match *kind {
            NodeKind::Fifo => (FileType::Fifo, 0),
            NodeKind::Socket => (FileType::Socket, 0),
            NodeKind::CharacterDevice { major, minor } if options.special => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            NodeKind::BlockDevice { major, minor } if options.special => {
                (FileType::BlockDevice, rustix::fs::makedev(major, minor))
            }
            _ => {
                return Err(Error::new(ErrorKind::Usage, "it is no special object to be made")).wrap(message);
            }
        };
        let directory = self.entry(parent, name)?;
        let mode = Mode::from_raw_mode(PLAIN_MODE.into());
        rustix::fs::mknodat(&*directory, name, file_type, mode, device).wrap(message)?;
        let (pinned, stat) = pin(directory.as_fd(), name).wrap(message)?;
        if FileType::from_raw_mode(stat.st_mode) != file_type || stat.st_nlink > 1 {
            return Err(replaced()).wrap(message);
        }
        if stat.st_rdev != device {
            // The system keeps fewer bits of a device number than a snapshot can hold; it would be another device.
            self.remove_file(parent, name, FileIdentity::of(&stat))?;
            let error = Error::new(ErrorKind::Unsupported, "the system cannot hold this device number");
            return Err(error).wrap(message);
        }
        let problems = apply_to_path_fd(pinned.as_fd(), attributes, options);
        Ok(Created { identity: FileIdentity::of(&stat), problems })
    }

    /// Gives an object that this run made a further name. `Exists` if anything has that name.
    ///
    /// Fails, and leaves no new name, if the first name does not stand for that object any more.
    pub fn create_hard_link(
        &self,
        from: (DirectoryNumber, &[u8]),
        identity: FileIdentity,
        to: (DirectoryNumber, &[u8]),
    ) -> Result<()> {
        let from_directory = self.entry(from.0, from.1)?;
        let to_directory = self.entry(to.0, to.1)?;
        let message = || {
            let (from, to) = (self.directories.show(from.0, from.1), self.directories.show(to.0, to.1));
            format!("cannot link {to} to {from}")
        };
        rustix::fs::linkat(&*from_directory, from.1, &*to_directory, to.1, AtFlags::empty()).wrap(message)?;
        let stat = rustix::fs::statat(&*to_directory, to.1, AtFlags::SYMLINK_NOFOLLOW).wrap(message)?;
        if FileIdentity::of(&stat) != identity {
            rustix::fs::unlinkat(&*to_directory, to.1, AtFlags::empty()).wrap(message)?;
            return Err(replaced()).wrap(message);
        }
        Ok(())
    }

    /// Gives a directory its attributes. To be called once everything in it is finished, deepest directories first. Of
    /// one that was there, attributes that are not stored go.
    ///
    /// Returns one line for each attribute that could not be set or was not kept.
    pub fn finish_directory(
        &self,
        number: DirectoryNumber,
        is_new: bool,
        attributes: &Attributes<'_>,
        options: &ApplyOptions,
    ) -> Vec<Problem> {
        match self.directories.descriptor(number) {
            Ok(descriptor) if is_new => apply_to_fd(descriptor.as_fd(), attributes, options),
            Ok(descriptor) => apply_to_existing_fd(descriptor.as_fd(), attributes, options),
            Err(error) => {
                let message = format!("nothing of the metadata was set: {}", error.chain().join(": "));
                vec![message.into()]
            }
        }
    }

    /// Forgets a directory in and below which nothing more is to be done.
    pub fn leave(&self, number: DirectoryNumber) {
        self.directories.close(number);
    }

    /// Makes the system write out all file systems that the target reaches, and tells of bytes that could not be
    /// written since the target was opened. To be called last, before success is told.
    pub fn sync(&self) -> Result<()> {
        for descriptor in self.directories.file_systems() {
            rustix::fs::syncfs(&*descriptor).wrap(|| {
                let root = self.directories.show(DirectoryNumber::ROOT, b"");
                format!("not all bytes under {root} reached the disk")
            })?;
        }
        Ok(())
    }

    /// The directory of an entry, once its name is known to be a single component.
    fn entry(&self, parent: DirectoryNumber, name: &[u8]) -> Result<Arc<OpenDirectory>> {
        check_name(name).map_err(|refused| refused.of_object("the name of an entry"))?;
        self.directories.descriptor(parent)
    }

    fn in_the_way(&self, parent: DirectoryNumber, name: &[u8], errno: Errno) -> Error {
        let shown = self.directories.show(parent, name);
        let cause = std::io::Error::from(errno);
        Error::caused(ErrorKind::Exists, format!("{shown} is in the way: it is no directory"), cause)
    }
}

/// A regular file of the target, open for writing. Dropped without `finish`, it keeps what was written and lacks its
/// attributes.
#[derive(Debug)]
pub struct TargetFile {
    descriptor: OwnedFd,
    identity: FileIdentity,
    before: Before,
    size: u64,
    name: Box<[u8]>,
}

impl TargetFile {
    /// Writes all the bytes at an offset; never beyond the size that the file was made with.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let message =
            || format!("cannot write {} bytes at {offset} of {}", bytes.len(), show_path(&self.name));
        let end = u64::try_from(bytes.len()).ok().and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > self.size) {
            let error = Error::new(ErrorKind::Failed, format!("the file has {} bytes", self.size));
            return Err(error).wrap(message);
        }
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            match rustix::io::pwrite(&self.descriptor, rest, at) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(Error::system(message(), std::io::Error::from(IoErrorKind::WriteZero))),
                written => {
                    let written = written.wrap(message)?;
                    rest = rest.get(written..).unwrap_or_default();
                    at = at.saturating_add(written as u64);
                }
            }
        }
        Ok(())
    }

    /// Which file it is, to open it again, link it or remove it.
    pub const fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Fills the buffer with the bytes at an offset, from the disk where the system allows it; false if the file ends
    /// before.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        let message = || format!("cannot read {} back", show_path(&self.name));
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            match rustix::io::pread(&self.descriptor, &mut *rest, at) {
                Err(Errno::INTR) => {}
                read => {
                    let read = read.wrap(message)?;
                    if read == 0 {
                        return Ok(false);
                    }
                    rest = rest.get_mut(read..).unwrap_or_default();
                    at = at.saturating_add(read as u64);
                }
            }
        }
        Ok(true)
    }

    /// Asks the system to forget what it holds in memory of the file, so that it is read from the disk. What was not
    /// written out yet stays.
    pub fn drop_cached(&self) {
        // An advice: a file system without a disk has nothing to forget.
        rustix::fs::fadvise(&self.descriptor, 0, None, rustix::fs::Advice::DontNeed).ok();
    }

    /// First byte at or behind an offset that is not in a hole; `None` if only a hole follows.
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.descriptor, rustix::fs::SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => Ok(None),
            // Where the file system knows no holes, all is data.
            Err(Errno::INVAL) => Ok((offset < self.size).then_some(offset)),
            found => found.map(Some).wrap(|| format!("cannot read {} back", show_path(&self.name))),
        }
    }

    /// Gives the file its attributes, after all its bytes are written.
    ///
    /// Returns one line for each attribute that could not be set or was not kept.
    pub fn finish(self, attributes: &Attributes<'_>, options: &ApplyOptions) -> Vec<Problem> {
        apply_to_made(self.descriptor.as_fd(), self.before, attributes, options)
    }
}

impl AsFd for TargetFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn cannot_open(path: &Path) -> String {
    format!("cannot open the target {}", show_file(path))
}

/// Takes hold of what has a name, without following or opening it.
fn pin(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&pinned)?;
    Ok((pinned, stat))
}

/// Gives the owner access to a directory that was just made under a umask that withholds it.
fn make_accessible(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let (pinned, stat) = pin(directory, name)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(DIRECTORY_MODE.into()))
}

fn grants(stat: &Stat, mode: u16) -> bool {
    let mode = u32::from(mode);
    stat.st_mode & mode == mode
}

#[cfg(test)]
mod tests;
