//! Looking into files that are there already, and changing them where they are.
//!
//! What must hold: a file is opened only by its name in an open directory, without following a link, and is used only if
//! it is still the regular file of one name that was looked at before; before the first byte of it changes, it is marked
//! as incomplete on the disk, set-user-id bits are gone, and nobody but its owner can open it.

use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Timestamp, Wrap};
use crate::fsmeta::apply::{ApplyOptions, Attributes, Before, Problem, apply_to_existing_fd};
use crate::fsmeta::capture::{CapturedXattrs, xattrs_at, xattrs_of_fd};
use crate::ops::restore::target::{
    DirectoryNumber, Existing, FileIdentity, Found, Target, TargetFile, UNFINISHED_MODE, replaced,
};

/// Zeros that are written where no hole can be made.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Target {
    /// Opens a file that was found, to read it. Fails if the name stands for anything else by now.
    pub fn open_found(&self, parent: DirectoryNumber, name: &[u8], found: &Found) -> Result<TargetFile> {
        self.open_existing(parent, name, found, OFlags::RDONLY)
    }

    /// Opens a file that was found, to change it, and changes nothing. Fails if the name stands for anything else by now,
    /// or if the content was changed since; `Denied` if the file may not be written.
    pub fn open_to_change(&self, parent: DirectoryNumber, name: &[u8], found: &Found) -> Result<TargetFile> {
        self.open_existing(parent, name, found, OFlags::RDWR)
    }

    fn open_existing(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        found: &Found,
        access: OFlags,
    ) -> Result<TargetFile> {
        let directory = self.entry(parent, name)?;
        let message = || format!("cannot open {}", self.show(parent, name));
        // Without blocking: a named pipe may have been put there, whose opening would wait for the other side.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let descriptor = match rustix::fs::openat(&*directory, name, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NOENT) => Err(replaced()),
            // A program that runs.
            Err(errno @ Errno::TXTBSY) => {
                Err(Error::system("the system refuses", errno).of_kind(ErrorKind::Denied))
            }
            other => other.wrap(|| "the system refuses"),
        }
        .wrap(message)?;
        let stat = rustix::fs::fstat(&descriptor).wrap(message)?;
        let now = Found::of(&stat);
        let is_found = now.kind == Existing::File
            && now.identity == found.identity
            && now.links <= 1
            && (now.size, now.mtime) == (found.size, found.mtime);
        if !is_found {
            return Err(replaced()).wrap(message);
        }
        let before = Before { may_have_acl: true, ..Before::of(&stat) };
        let identity = FileIdentity::of(&stat);
        Ok(TargetFile { descriptor, identity, before, size: now.size, name: name.into() })
    }

    /// The extended attributes of what has a name, whatever it is.
    pub fn xattrs_of(&self, parent: DirectoryNumber, name: &[u8]) -> Result<CapturedXattrs> {
        let directory = self.entry(parent, name)?;
        xattrs_at(directory.as_fd(), name)
    }

    /// The extended attributes of a directory that was made or entered.
    pub fn xattrs_of_directory(&self, number: DirectoryNumber) -> Result<CapturedXattrs> {
        Ok(xattrs_of_fd(self.directories.descriptor(number)?.as_fd()))
    }
}

impl TargetFile {
    /// Marks a file that was there as incomplete and gives it another size, so that its content can be written.
    ///
    /// `mtime` is the time that it is to have in the end; until then it has another.
    pub fn begin_change(&mut self, size: u64, mtime: Timestamp) -> Result<()> {
        let message = || format!("cannot begin to change {}", show_path(&self.name));
        let before = rustix::fs::fstat(&self.descriptor).wrap(message)?;
        let begun = self.mark(mtime).and_then(|()| match self.size == size {
            true => Ok(()),
            false => rustix::fs::ftruncate(&self.descriptor, size).wrap(|| "the system refuses another size"),
        });
        if let Err(error) = begun {
            // Nothing of the content was changed; the first failure is the one to tell.
            let found = Found::of(&before);
            rustix::fs::fchmod(&self.descriptor, Mode::from_raw_mode(found.mode.into())).ok();
            self.set_time(found.mtime).ok();
            return Err(error).wrap(message);
        }
        self.size = size;
        Ok(())
    }

    /// Marks it as incomplete, on the disk.
    fn mark(&self, mtime: Timestamp) -> Result<()> {
        // Whatever comes next finds the mark: first the mode, then a time that is not the final one.
        rustix::fs::fchmod(&self.descriptor, Mode::from_raw_mode(UNFINISHED_MODE.into()))
            .wrap(|| "it cannot be marked by mode 1600")?;
        let stat = rustix::fs::fstat(&self.descriptor).wrap(|| "the system refuses")?;
        if Found::of(&stat).mode != UNFINISHED_MODE {
            let message =
                "the file system does not keep the mark, mode 1600: --no-in-place replaces it as a whole";
            return Err(Error::new(ErrorKind::Failed, message));
        }
        let other = Timestamp { seconds: i64::from(mtime.seconds == 0), nanoseconds: 0 };
        self.set_time(other).wrap(|| "it cannot get another time")?;
        rustix::fs::fsync(&self.descriptor).wrap(|| "the mark does not reach the disk")
    }

    fn set_time(&self, mtime: Timestamp) -> rustix::io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
        };
        rustix::fs::futimens(&self.descriptor, &times)
    }

    /// Makes a hole, or writes zeros where the file system has no holes. Never beyond the end of the file.
    pub fn punch(&self, start: u64, end: u64) -> Result<()> {
        let message = || format!("cannot make a hole at {start} of {}", show_path(&self.name));
        let end = end.min(self.size);
        if start >= end {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // The last block goes only as a whole.
        let block_end = end.checked_next_multiple_of(self.block_bytes()).unwrap_or(end);
        let until = if end == self.size { block_end } else { end };
        loop {
            match rustix::fs::fallocate(&self.descriptor, flags, start, until - start) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                other => return other.wrap(message),
            }
        }
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write_at(ZEROS.get(..length).unwrap_or_default(), at)?;
            at += length as u64;
        }
        Ok(())
    }

    /// First byte at or behind an offset that is in a hole; the end of the file counts as one.
    pub fn next_hole(&self, offset: u64) -> Result<u64> {
        match rustix::fs::seek(&self.descriptor, rustix::fs::SeekFrom::Hole(offset)) {
            Err(Errno::NXIO | Errno::INVAL) => Ok(self.size),
            found => found.wrap(|| format!("cannot read {}", show_path(&self.name))),
        }
    }

    /// Bytes of which the file system makes holes.
    pub fn block_bytes(&self) -> u64 {
        let stat = rustix::fs::fstat(&self.descriptor);
        stat.ok().and_then(|stat| u64::try_from(stat.st_blksize).ok()).unwrap_or(4096).max(512)
    }

    /// Gives a file that was there its attributes, after all that differs is written.
    ///
    /// Returns one line for each attribute that could not be set or was not kept.
    pub fn finish_change(self, attributes: &Attributes<'_>, options: &ApplyOptions) -> Vec<Problem> {
        apply_to_existing_fd(self.descriptor.as_fd(), attributes, options)
    }
}
