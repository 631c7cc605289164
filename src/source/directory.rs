//! An opened directory of a source: everything below it is reached by its handle and one name at a time.
//!
//! What must hold: a name is one component, and a symbolic link under it is never followed; only regular files are
//! opened for reading; the time of the last access stays as it is, as far as the system allows.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawDir, SeekFrom, StatxAttributes, StatxFlags, openat, readlinkat_raw, seek,
    statx,
};
use rustix::io::{Errno, retry_on_intr};

use crate::base::limits::LINK_TARGET_BYTES_MAX;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::check_name;
use crate::fsmeta::capture::{self, CapturedXattrs, Stat};
use crate::source::at_rest;
use crate::source::file::File;
use crate::source::listing::{Listed, Listing, Names, problem_of};

/// NONBLOCK: a named pipe that was put there in the meantime must not make us wait for its other end.
const FILE_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// Room for what one call of the system lists: about 2,000 names.
const LIST_BYTES: usize = 64 << 10;

/// An opened directory. May be shared by threads; each operation but listing is one of the system's own.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    /// Whether the handle can list and not only mark the place.
    readable: bool,
    /// Held while listing, because the handle has one position.
    listing: Mutex<()>,
}

impl Directory {
    /// Opens a directory by its absolute path of any length, following symbolic links.
    ///
    /// If the directory may be passed through but not read, it is still opened: everything but `names` and `list`
    /// works then, and those fail with kind `Denied`.
    pub fn open_absolute(path: &Path) -> Result<Self> {
        if !path.is_absolute() {
            return Err(Error::new(ErrorKind::Usage, "cannot open directory: the path is not absolute"));
        }
        let mut steps: Vec<&OsStr> = vec![OsStr::new("/")];
        // One step at a time: the system refuses to look at more than 4096 bytes at once.
        steps.extend(path.components().filter(|step| *step != Component::RootDir).map(Component::as_os_str));
        let last = steps.pop();
        let mut place: Option<OwnedFd> = None;
        for step in steps {
            place = Some(mark(place.as_ref(), step).wrap(|| "cannot open directory")?);
        }
        let last = last.unwrap_or(OsStr::new("/"));
        let opened = open_quietly(OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, |flags| {
            openat(place.as_ref().map_or(CWD, AsFd::as_fd), last, flags, Mode::empty())
        });
        match opened {
            Ok(handle) => Ok(Self::of(handle, true)),
            Err(Errno::ACCESS) => {
                let handle = mark(place.as_ref(), last).wrap(|| "cannot open directory")?;
                Ok(Self::of(handle, false))
            }
            Err(errno) => Err(Error::system("cannot open directory", errno)),
        }
    }

    /// Opens a directory in this one.
    pub fn open_child(&self, name: &[u8]) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = self.open(name, flags, "cannot open directory")?;
        Ok(Self::of(handle, true))
    }

    /// Opens a regular file in this directory.
    ///
    /// To be called only where a regular file was seen: if something else took its place since, that is opened
    /// without waiting, closed again, and is an error of kind `Failed`.
    pub fn open_file(&self, name: &[u8]) -> Result<File> {
        File::of(self.open(name, FILE_FLAGS, "cannot open file")?)
    }

    /// Opens a regular file in this directory and reads all of it by one call, if that gives what `expected` says, which
    /// was asked for under this name just before, and if it cannot have holes. `None`: it is to be opened and read with
    /// more care. What the buffer holds before is lost.
    pub fn read_as_expected(
        &self,
        name: &[u8],
        expected: &Stat,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<File>> {
        File::read_as_expected(self.open(name, FILE_FLAGS, "cannot open file")?, expected, bytes)
    }

    /// The directory's own status.
    pub fn stat(&self) -> Result<Stat> {
        capture::stat_fd(&self.handle)
    }

    /// Seconds that must lie between the last change of a file here and the moment at which it is read, lest a later
    /// change in the same tick of the clock go unseen.
    pub fn margin_seconds(&self) -> u32 {
        at_rest::margin_seconds(&self.handle)
    }

    /// The directory's own extended attributes.
    pub fn xattrs(&self) -> Result<CapturedXattrs> {
        if self.readable {
            Ok(capture::xattrs_of_fd(&self.handle))
        } else {
            capture::xattrs_at(&self.handle, b".")
        }
    }

    /// The status of what stands in this directory under a name.
    pub fn stat_at(&self, name: &[u8]) -> Result<Stat> {
        capture::stat_at(&self.handle, component(name)?)
    }

    /// The extended attributes of what stands in this directory under a name, without opening it; fails as
    /// `capture::xattrs_at` does.
    pub fn xattrs_at(&self, name: &[u8]) -> Result<CapturedXattrs> {
        capture::xattrs_at(&self.handle, component(name)?)
    }

    /// The target of a symbolic link in this directory; an error of kind `Unsupported` if it cannot be stored.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut room = [MaybeUninit::uninit(); LINK_TARGET_BYTES_MAX + 1];
        let (target, _) = readlinkat_raw(&self.handle, component(name)?, &mut room)
            .wrap(|| "cannot read the target of the symbolic link")?;
        if target.is_empty() || target.len() > LINK_TARGET_BYTES_MAX {
            let message = "the target of the symbolic link is empty or longer than can be stored";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(target.to_vec())
    }

    /// Whether something is mounted on what stands in this directory under a name; `None` if the system does not tell,
    /// as Linux before 5.8.
    pub fn is_mount_point(&self, name: &[u8]) -> Option<bool> {
        let name = component(name).ok()?;
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let found = retry_on_intr(|| statx(&self.handle, name, flags, StatxFlags::TYPE)).ok()?;
        let is_told = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        is_told.then(|| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// The names in this directory; kind `NotFound` if the directory was removed since it was opened.
    pub fn names(&self) -> Result<Names> {
        if !self.readable {
            return Err(Error::system("cannot read directory", Errno::ACCESS));
        }
        let _alone = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Names::default();
        self.read_names(&mut names).wrap(|| "cannot read directory")?;
        names.finish();
        Ok(names)
    }

    fn read_names(&self, names: &mut Names) -> rustix::io::Result<()> {
        seek(&self.handle, SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(LIST_BYTES);
        let mut entries = RawDir::new(&self.handle, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => names.add(entry.file_name().to_bytes(), entry.ino()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// What stands under the names at some positions; the problems of the names themselves are not in it.
    pub fn entries(&self, names: &Names, positions: Range<usize>) -> Listing {
        let mut listing = Listing::default();
        let wanted = names.by_inode(positions);
        listing.entries.reserve_exact(wanted.len());
        for name in wanted {
            match self.stat_at(name) {
                Ok(stat) => listing.entries.push(Listed { name: name.to_vec(), stat }),
                Err(error) => listing.problems.push(problem_of(name, &error)),
            }
        }
        listing.entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        listing
    }

    /// All that stands in this directory.
    pub fn list(&self) -> Result<Listing> {
        let mut names = self.names()?;
        let mut listing = self.entries(&names, 0..names.len());
        listing.problems.append(&mut names.take_problems());
        Ok(listing)
    }

    fn of(handle: OwnedFd, readable: bool) -> Self {
        Self { handle, readable, listing: Mutex::new(()) }
    }

    fn open(&self, name: &[u8], flags: OFlags, doing: &str) -> Result<OwnedFd> {
        let name = component(name)?;
        open_quietly(flags, |flags| openat(&self.handle, name, flags, Mode::empty())).wrap(|| doing)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Goes one step without the right to read on the way, as the system itself walks a path.
fn mark(place: Option<&OwnedFd>, step: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| openat(place.map_or(CWD, AsFd::as_fd), step, flags, Mode::empty()))
}

/// Opens without a trace in the time of last access, which only the owner and the administrator may; else with it.
fn open_quietly(
    flags: OFlags,
    mut open: impl FnMut(OFlags) -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<OwnedFd> {
    match retry_on_intr(|| open(flags | OFlags::NOATIME)) {
        Err(Errno::PERM) => retry_on_intr(|| open(flags)),
        opened => opened,
    }
}

fn component(name: &[u8]) -> Result<&[u8]> {
    check_name(name)
        .map_err(|refused| Error::caused(ErrorKind::Usage, "not a name in a directory", refused))?;
    Ok(name)
}

#[cfg(test)]
mod tests;
