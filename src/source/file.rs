//! An opened regular file of a source, read by position.
//!
//! What must hold: it is never mapped, because a file that shrinks under a mapping ends the process; where its holes
//! are is asked only to save work: whatever the file system answers, no byte of data is taken for a hole by us.

use std::cmp::Reverse;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::base::limits::EXTENTS_MAX;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::Extent;
use crate::fsmeta::capture::{self, CapturedXattrs, Stat, StatKind};

/// No file system keeps track of less.
const SECTOR_BYTES: usize = 512;

/// An opened regular file. May be shared by threads.
#[derive(Debug)]
pub struct File {
    handle: OwnedFd,
    opened: Stat,
}

impl File {
    /// Takes what was just opened, if it is a regular file.
    pub(super) fn of(handle: OwnedFd) -> Result<Self> {
        let opened = capture::stat_fd(&handle)?;
        if opened.kind != StatKind::Regular {
            return Err(Error::new(ErrorKind::Failed, "cannot open file: it is not a regular file any more"));
        }
        Ok(Self { handle, opened })
    }

    /// Reads what was just opened, if it is the file that was expected, and can have no holes; `bytes` are its content then.
    ///
    /// The status is asked for after the bytes are read. If it is the expected one, neither a change in between nor
    /// another object went unseen; of what is no regular file, reading by position takes nothing away.
    pub(super) fn read_as_expected(
        handle: OwnedFd,
        expected: &Stat,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Self>> {
        let Ok(size) = usize::try_from(expected.size) else { return Ok(None) };
        bytes.clear();
        // One byte more tells that the file ends where it says.
        bytes.reserve(size.saturating_add(1));
        let read = retry_on_intr(|| pread(&handle, spare_capacity(bytes), 0));
        let opened = capture::stat_fd(&handle)?;
        // Why something else could not be read says nothing of a file.
        if opened.kind != StatKind::Regular {
            return Ok(None);
        }
        let read = read.wrap(|| "cannot read file")?;
        let is_expected = expected.same_content_as(&opened);
        let file = Self { handle, opened };
        Ok((is_expected && read == size && !has_zero_sector(bytes)).then_some(file))
    }

    /// The status at the moment when it was opened, or right after it was read; costs nothing.
    pub const fn stat_when_opened(&self) -> &Stat {
        &self.opened
    }

    /// The status now.
    pub fn stat(&self) -> Result<Stat> {
        capture::stat_fd(&self.handle)
    }

    /// The extended attributes.
    pub fn xattrs(&self) -> CapturedXattrs {
        capture::xattrs_of_fd(&self.handle)
    }

    /// Reads from an offset until the buffer is full or the file ends; gives the number of bytes read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let position = offset.saturating_add(filled as u64);
            match retry_on_intr(|| pread(&self.handle, &mut *rest, position)).wrap(|| "cannot read file")? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Tells the system that the file will be read from its start to its end.
    pub fn advise_sequential(&self) {
        // Advice: whether it is taken changes no byte.
        let _ = fadvise(&self.handle, 0, None, Advice::Sequential);
    }

    /// Tells the system that some bytes need not stay in memory; none if `length` is 0.
    pub fn advise_done(&self, offset: u64, length: u64) {
        if let Some(length) = NonZeroU64::new(length) {
            let _ = fadvise(&self.handle, offset, Some(length), Advice::DontNeed);
        }
    }

    /// Where the data of a sparse file lies, as a node holds it: ascending, apart, within `stat.size`, at most
    /// `EXTENTS_MAX`. `Some` of nothing: all of it is a hole. `None`: no hole, or the file system does not tell.
    ///
    /// A file without holes costs one question. The space that a file takes cannot stand in for it: extended
    /// attributes and what is reserved behind the end count as space too, and so hide holes. Where there are more
    /// extents than a node holds, those with the shortest holes between them are given as one; a hole within reads as
    /// zeros.
    pub fn data_extents(&self, stat: &Stat) -> Result<Option<Vec<Extent>>> {
        if stat.size == 0 {
            return Ok(None);
        }
        match self.next(SeekFrom::Hole(0)) {
            Ok(hole) if hole >= stat.size => return Ok(None),
            Ok(_) => {}
            Err(errno) => return unknown(errno),
        }
        let mut extents = Extents::new(EXTENTS_MAX);
        let mut position = 0;
        while position < stat.size {
            let start = match self.next(SeekFrom::Data(position)) {
                Ok(start) if start < stat.size => start,
                // No more data, or only behind the size: the file grew, which its reader will see.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(errno) => return unknown(errno),
            };
            let end = match self.next(SeekFrom::Hole(start)) {
                Ok(end) => end.min(stat.size),
                Err(errno) => return unknown(errno),
            };
            // The file changed between the two questions, or the answers make no sense: all of it is read.
            if start < position || end <= start {
                return Ok(None);
            }
            extents.add(Extent { offset: start, length: end - start });
            position = end;
        }
        Ok(extents.finish(stat.size))
    }

    fn next(&self, from: SeekFrom) -> rustix::io::Result<u64> {
        retry_on_intr(|| seek(&self.handle, from))
    }
}

/// Whether a hole may be in a content that was read from its start: holes read as zeros, and begin and end between sectors.
fn has_zero_sector(bytes: &[u8]) -> bool {
    bytes
        .chunks(SECTOR_BYTES)
        .any(|sector| sector.first() == Some(&0) && sector.iter().all(|byte| *byte == 0))
}

/// A file system that does not tell holes from data has only data.
fn unknown(errno: Errno) -> Result<Option<Vec<Extent>>> {
    match errno {
        Errno::INVAL | Errno::NOTSUP | Errno::NXIO => Ok(None),
        _ => Err(Error::system("cannot find the holes of the file", errno)),
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Gathers any number of extents into a bounded one.
///
/// A hole between two extents is kept if it is among the longest `most - 1`, of equals the first. A hole that was
/// given up has so many before it that it could never come back, so what is given up early does not depend on when.
struct Extents {
    found: Vec<Extent>,
    most: usize,
}

impl Extents {
    const fn new(most: usize) -> Self {
        Self { found: Vec::new(), most }
    }

    /// Adds one behind the last.
    fn add(&mut self, extent: Extent) {
        if let Some(last) = self.found.last_mut()
            && last.offset + last.length == extent.offset
        {
            last.length += extent.length;
            return;
        }
        self.found.push(extent);
        if self.found.len() >= 2 * self.most {
            self.join();
        }
    }

    fn join(&mut self) {
        let kept = self.most.saturating_sub(1);
        let mut holes: Vec<(Reverse<u64>, u64)> = self
            .found
            .iter()
            .zip(self.found.iter().skip(1))
            .map(|(before, after)| {
                let end = before.offset + before.length;
                (Reverse(after.offset - end), end)
            })
            .collect();
        if holes.len() <= kept {
            return;
        }
        holes.sort_unstable();
        holes.truncate(kept);
        holes.sort_unstable_by_key(|(_, start)| *start);
        let mut kept = holes.into_iter().map(|(_, start)| start).peekable();
        self.found.dedup_by(|next, before| {
            if kept.next_if_eq(&(before.offset + before.length)).is_some() {
                return false;
            }
            before.length = next.offset + next.length - before.offset;
            true
        });
    }

    /// What a file of this size holds; `None` if no hole is left.
    fn finish(mut self, size: u64) -> Option<Vec<Extent>> {
        self.join();
        let data = self.found.iter().fold(0, |sum, extent| extent.length + sum);
        (data < size).then_some(self.found)
    }
}

#[cfg(test)]
mod tests;
