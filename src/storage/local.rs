//! Objects as files below a directory of a local file system, durable by our own care.
//!
//! What must hold:
//! 1. A final name appears by one atomic step, over a file that is complete and synced (`publishing`).
//! 2. Everything is reached from the root's descriptor, one part of a name at a time, and no symbolic link below the root
//!    is ever followed (`folders`). Only regular files are objects; anything else in an object's place is damage, and
//!    opening it neither blocks nor follows.
//! 3. A failed sync is final for the handle (`durability`).
//! 4. What is only read is not written to: an open storage makes its first file when it first puts.
//!
//! An object and a folder cannot have the same name here. Files have mode 0600, directories 0700. A directory goes when
//! its last object is deleted.

pub(super) mod durability;
mod folders;
mod listing;
mod publishing;
mod strays;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use self::durability::{BarrierBy, FailedSync};
use self::publishing::{Outcome, PublishBy, Unfinished};
use super::{Body, Capabilities, Listed, ObjectName, Storage, Stray, refusal};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// So often a put makes its folder anew when deletes keep removing it; one delete can do so only when it empties the
/// folder at that very moment.
const PUBLISH_ATTEMPTS_MAX: usize = 1000;

/// Objects as files below a directory.
#[derive(Debug)]
pub struct Local {
    path: PathBuf,
    root: OwnedFd,
    /// Known once something was put or somebody asked.
    publish_by: OnceLock<PublishBy>,
    barrier_by: BarrierBy,
    failed_sync: FailedSync,
}

impl Local {
    /// Opens a place for a new repository, making the directory and its parents as far as they are missing (mode 0700).
    ///
    /// A directory that is there must be unused: it may hold only empty folders that could have been made here, the
    /// unfinished files of an earlier attempt, and `lost+found`. Otherwise the error is `Exists`.
    pub fn create(path: &Path) -> Result<Self> {
        folders::make_root(path).wrap(|| format!("cannot create directory {}", show(path)))?;
        let local = Self::open(path)?;
        match folders::first_foreign_entry(local.root.as_fd())? {
            None => Ok(local),
            Some(entry) => Err(Error::new(
                ErrorKind::Exists,
                format!("directory {} is not empty: it holds {}", show(path), show_path(&entry)),
            )),
        }
    }

    /// Opens what is below a directory; `NotFound` if there is no such directory. Writes nothing.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .wrap(|| format!("cannot open directory {}", show(path)))?;
        Ok(Self {
            path: path.to_owned(),
            barrier_by: BarrierBy::choose(root.as_fd()),
            root,
            publish_by: OnceLock::new(),
            failed_sync: FailedSync::default(),
        })
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// How names are published here; tried out with real files the first time.
    fn publish_by(&self) -> Result<PublishBy> {
        if let Some(known) = self.publish_by.get() {
            return Ok(*known);
        }
        // Two threads may both try; they find the same.
        let found = PublishBy::probe(self.root())?;
        Ok(*self.publish_by.get_or_init(|| found))
    }

    fn write_and_publish(&self, name: &ObjectName, body: &Body) -> Result<Outcome> {
        let publish_by = self.publish_by()?;
        let mut unfinished = Unfinished::begin(self.root())?;
        unfinished.write(body)?;
        self.failed_sync.remember(unfinished.sync())?;
        let (folder_path, last) = name.split_last();
        for _ in 0..PUBLISH_ATTEMPTS_MAX {
            let Some(folder) = folders::make(self.root(), folder_path)? else { continue };
            match unfinished.publish(publish_by, folder.as_fd(), last)? {
                Outcome::FolderGone => {}
                outcome => return Ok(outcome),
            }
        }
        Ok(Outcome::FolderGone)
    }

    /// Opens an object without following or waiting for anything, and gives its size in bytes.
    fn open_object(&self, name: &ObjectName) -> Result<(File, u64)> {
        let (folder_path, last) = name.split_last();
        let folder = folders::find(self.root(), folder_path)?.ok_or_else(|| refusal::not_found(name))?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| rustix::fs::openat(&folder, last, flags, Mode::empty())) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(refusal::not_found(name)),
            // A symbolic link; a socket; a device without a driver.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(not_regular(name)),
            Err(cause) => return Err(Error::system(format!("cannot open object {name}"), cause)),
        };
        let stat = rustix::fs::fstat(&file).wrap(|| format!("cannot examine object {name}"))?;
        match (FileType::from_raw_mode(stat.st_mode), u64::try_from(stat.st_size)) {
            (FileType::RegularFile, Ok(size_bytes)) => Ok((file, size_bytes)),
            _ => Err(not_regular(name)),
        }
    }
}

impl Storage for Local {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.failed_sync.check()?;
        let outcome = self
            .write_and_publish(name, body)
            // What is not there is a part of the way, not the object.
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::Exists => error.of_kind(ErrorKind::Failed),
                _ => error,
            })
            .wrap(|| format!("cannot write object {name}"))?;
        match outcome {
            Outcome::Published => Ok(()),
            Outcome::Taken => Err(refusal::taken(name)),
            Outcome::FolderGone => Err(Error::new(
                ErrorKind::Failed,
                format!("cannot write object {name}: its folder was removed {PUBLISH_ATTEMPTS_MAX} times"),
            )),
        }
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        let (file, size_bytes) = self.open_object(name)?;
        if size_bytes > size_bytes_max {
            return Err(refusal::too_large(name, size_bytes, size_bytes_max));
        }
        // A file of more bytes than a `usize` counts fails to be allocated.
        read_exactly(&file, name, 0, usize::try_from(size_bytes).unwrap_or(usize::MAX))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        let (file, size_bytes) = self.open_object(name)?;
        if offset.checked_add(length as u64).is_none_or(|end| end > size_bytes) {
            return Err(refusal::too_short(name, size_bytes, offset, length));
        }
        read_exactly(&file, name, offset, length)
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        // What is no name cannot be the beginning of one.
        let Some(folder) = ObjectName::parse(folder) else { return Ok(()) };
        let Some(opened) = folders::find(self.root(), Some(folder.as_str()))? else { return Ok(()) };
        listing::list(opened.as_fd(), folder.as_str(), start_after, visit)
    }

    fn strays(&self, folders: &[&str], visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
        strays::visit(self.root(), folders, visit).wrap(|| format!("cannot look through {}", self.location()))
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        let (folder_path, last) = name.split_last();
        let folder = folders::find(self.root(), folder_path)?.ok_or_else(|| refusal::not_found(name))?;
        match rustix::fs::unlinkat(&folder, last, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(refusal::not_found(name)),
            Err(Errno::ISDIR) => return Err(not_regular(name)),
            Err(cause) => return Err(Error::system(format!("cannot delete object {name}"), cause)),
        }
        if let Some(folder_path) = folder_path {
            folders::remove_empty(self.root(), folder_path);
        }
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.failed_sync.check()?;
        self.failed_sync
            .remember(self.barrier_by.run(self.root()))
            .wrap(|| format!("cannot make the objects in {} durable", self.location()))
    }

    fn capabilities(&self) -> Capabilities {
        // Where nothing can be tried out, as on a medium that is only read, nothing is known to hold.
        Capabilities { atomic_create: Some(self.publish_by().is_ok_and(PublishBy::is_atomic)) }
    }

    fn location(&self) -> String {
        show(&self.path)
    }
}

fn show(path: &Path) -> String {
    show_path(path.as_os_str().as_bytes())
}

fn not_regular(name: &ObjectName) -> Error {
    Error::damaged(format!("object {name} is not a regular file"))
}

/// Reads `length` bytes from `offset`, which the file was just seen to have.
fn read_exactly(file: &File, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    bytes.try_reserve_exact(length).map_err(|cause| {
        Error::caused(ErrorKind::Failed, format!("no memory for {length} bytes of object {name}"), cause)
    })?;
    while bytes.len() < length {
        let position = offset + bytes.len() as u64;
        let read =
            retry_on_intr(|| rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), position))
                .wrap(|| format!("cannot read object {name}"))?;
        if read == 0 {
            return Err(refusal::too_short(name, position, offset, length));
        }
    }
    // More room may have been given than was asked for.
    bytes.truncate(length);
    Ok(bytes)
}
