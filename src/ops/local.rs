//! A file of this machine, held against stored ones.
//!
//! What must hold: what is said to be the same has the same bytes, wherever the stored file was cut and whatever holes
//! either has; memory holds one chunk; that the local file cannot be read is told apart from what fails in the repository.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::limits::CHUNK_BYTES_MAX;
use crate::base::monitor::show_file;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result, Wrap};
use crate::chunker::Cutter;
use crate::format::node::{ChunkRef, Extent, NodeKind, Regular};
use crate::fsmeta::capture::Stat;
use crate::ops::restore::places::{for_each_place, holes};
use crate::repository::Reader;
use crate::source::{Directory, File};
use crate::tree::{BundlePlace, Entry, Tree};

/// Bytes of a hole that are read together, where the local file has data.
const HOLE_READ_BYTES: u64 = 64 << 10;

/// Bytes that are cut together.
const CUT_BYTES: usize = 4 << 20;

pub(super) fn check_interrupted(monitor: &dyn Monitor) -> Result<()> {
    match monitor.cancelled() {
        true => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    }
}

/// An opened file.
#[derive(Debug)]
pub(super) struct LocalFile {
    file: File,
    /// Its status when it was opened.
    pub(super) stat: Stat,
}

/// What is the same in a local and in a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// All of it.
    pub(super) is_same: bool,
    /// Stored bytes that stand at the same place in the local file; a lower bound where the files differ and it was asked
    /// only whether they do.
    pub(super) same_bytes: u64,
}

/// What was found, or why the local file could not be read.
pub(super) type Compared = std::result::Result<Held, Error>;

/// What is wanted of two files that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That they do.
    Whether,
    /// How many bytes are the same.
    HowMuch,
}

impl LocalFile {
    /// A file that was opened.
    pub(super) fn of(file: File) -> Self {
        let stat = *file.stat_when_opened();
        Self { file, stat }
    }

    /// Opens the file that a user named; a symbolic link is followed.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = || format!("cannot read {}", show_file(path));
        let no_file = || Error::new(ErrorKind::Failed, "it is no regular file");
        if !path.metadata().wrap(failed)?.is_file() {
            return Err(no_file()).wrap(failed);
        }
        let path = path.canonicalize().wrap(failed)?;
        let parts = path.parent().zip(path.file_name());
        let (directory, name) = parts.ok_or_else(no_file).wrap(failed)?;
        let opened =
            Directory::open_absolute(directory).and_then(|directory| directory.open_file(name.as_bytes()));
        opened.map(Self::of).wrap(failed)
    }

    /// Compares with a stored file.
    pub(super) fn hold(
        &self,
        tree: Tree<'_>,
        entry: &Entry,
        wanted: Wanted,
        monitor: &dyn Monitor,
    ) -> Result<Compared> {
        let NodeKind::Regular(regular) = &entry.node.kind else {
            return Ok(Ok(Held { is_same: false, same_bytes: 0 }));
        };
        if regular.size != self.stat.size && wanted == Wanted::Whether {
            return Ok(Ok(Held { is_same: false, same_bytes: 0 }));
        }
        if let Some(place) = &entry.bundle {
            return self.hold_bundled(tree, place, regular.size);
        }
        let mut held = Held { is_same: regular.size == self.stat.size, same_bytes: 0 };
        let mut buffer = Vec::new();
        let mut content_offset = 0;
        for chunk in Self::chunks(tree, regular, monitor)? {
            check_interrupted(monitor)?;
            let length = u32::try_from(chunk.length).ok().filter(|length| *length <= CHUNK_BYTES_MAX);
            let length = length.ok_or_else(|| Error::damaged("a chunk above the limit"))? as usize;
            buffer.resize(length, 0);
            match self.read_places(regular, content_offset, &mut buffer)? {
                Ok(true) if tree.reader().data_id(&buffer) == chunk.id => held.same_bytes += chunk.length,
                Ok(_) => held.is_same = false,
                Err(error) => return Ok(Err(error)),
            }
            if !held.is_same && wanted == Wanted::Whether {
                return Ok(Ok(held));
            }
            content_offset += chunk.length;
        }
        if held.is_same {
            match self.has_holes(regular, monitor) {
                Ok(has) => held.is_same = has,
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(held))
    }

    /// The chunks of a stored file.
    fn chunks(tree: Tree<'_>, regular: &Regular, monitor: &dyn Monitor) -> Result<Vec<ChunkRef>> {
        let mut chunks = Vec::new();
        tree.content(regular, &mut |chunk| {
            check_interrupted(monitor)?;
            chunks.push(chunk);
            Ok(())
        })?;
        Ok(chunks)
    }

    fn hold_bundled(&self, tree: Tree<'_>, place: &BundlePlace, size: u64) -> Result<Compared> {
        let stored = tree.bundled(place, size)?;
        let mut bytes = vec![0; stored.len()];
        Ok(self.file.read_at(&mut bytes, 0).map(|read| {
            let is_same = read == stored.len() && bytes == stored && self.stat.size == size;
            Held { is_same, same_bytes: if is_same { size } else { 0 } }
        }))
    }

    /// Reads what stands where a part of the content lies; false if the file ends before.
    fn read_places(
        &self,
        regular: &Regular,
        content_offset: u64,
        buffer: &mut [u8],
    ) -> Result<std::result::Result<bool, Error>> {
        let mut read = Ok(true);
        let length = buffer.len();
        let extents = regular.extents.as_deref();
        for_each_place(extents, regular.size, content_offset, length, &mut |range, offset| {
            let part = buffer.get_mut(range).unwrap_or_default();
            if matches!(read, Ok(true)) {
                read = self.file.read_at(part, offset).map(|count| count == part.len());
            }
            Ok(())
        })?;
        Ok(read)
    }

    /// Whether zeros stand where the stored file has holes.
    fn has_holes(&self, regular: &Regular, monitor: &dyn Monitor) -> Result<bool> {
        let holes = holes(regular);
        if holes.is_empty() {
            return Ok(true);
        }
        let whole = [Extent { offset: 0, length: self.stat.size }];
        let extents = self.file.data_extents(&self.stat)?;
        let mut buffer = Vec::new();
        for extent in extents.as_deref().unwrap_or(&whole) {
            let end = extent.offset + extent.length;
            for hole in &holes {
                let both = hole.start.max(extent.offset)..hole.end.min(end);
                if !self.is_zero(both, &mut buffer, monitor)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_zero(&self, range: Range<u64>, buffer: &mut Vec<u8>, monitor: &dyn Monitor) -> Result<bool> {
        let mut at = range.start;
        while at < range.end {
            check_interrupted(monitor)?;
            let length = (range.end - at).min(HOLE_READ_BYTES);
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            let read = self.file.read_at(buffer, at)?;
            if read < buffer.len() || buffer.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }
}

impl LocalFile {
    /// Opens a file by its absolute path; what stands there now is no symbolic link.
    pub(super) fn open_below(path: &[u8]) -> Result<Self> {
        let path = Path::new(OsStr::from_bytes(path));
        let parts = path.parent().zip(path.file_name());
        let (directory, name) =
            parts.ok_or_else(|| Error::new(ErrorKind::Failed, "it is no regular file"))?;
        Directory::open_absolute(directory)?.open_file(name.as_bytes()).map(Self::of)
    }

    /// All its bytes; to be called only where they are few.
    pub(super) fn read_all(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.stat.size).unwrap_or_default()];
        let read = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The places of its data.
    pub(super) fn extents(&self) -> Result<Option<Vec<Extent>>> {
        self.file.data_extents(&self.stat)
    }

    /// Gives the names that its chunks have if it is backed up, in order, where its data lies at these places.
    pub(super) fn chunk_ids(
        &self,
        extents: Option<&[Extent]>,
        reader: &Reader<'_>,
        cutter: &Cutter,
        monitor: &dyn Monitor,
        visit: &mut dyn FnMut(ChunkId),
    ) -> Result<()> {
        let whole = [Extent { offset: 0, length: self.stat.size }];
        let mut pieces = extents.unwrap_or(&whole).to_vec();
        pieces.reverse();
        let mut held = Vec::new();
        while !pieces.is_empty() || !held.is_empty() {
            check_interrupted(monitor)?;
            self.fill(&mut pieces, &mut held, CUT_BYTES.max(2 * cutter.max_bytes()))?;
            let mut done = 0;
            for length in cutter.chunks(&held, pieces.is_empty()) {
                visit(reader.data_id(held.get(done..done + length).unwrap_or_default()));
                done += length;
            }
            held.drain(..done);
            if done == 0 && pieces.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Reads on until so many bytes are held, or all is read.
    fn fill(&self, pieces: &mut Vec<Extent>, held: &mut Vec<u8>, bytes: usize) -> Result<()> {
        while let Some(piece) = pieces.last_mut().filter(|_| held.len() < bytes) {
            let begin = held.len();
            let room = (bytes - begin).min(usize::try_from(piece.length).unwrap_or(usize::MAX));
            held.resize(begin + room, 0);
            let read = self.file.read_at(held.get_mut(begin..).unwrap_or_default(), piece.offset)?;
            held.truncate(begin + read);
            piece.offset += read as u64;
            piece.length -= read as u64;
            if read < room {
                // It ended since it was opened.
                pieces.clear();
            } else if piece.length == 0 {
                pieces.pop();
            }
        }
        Ok(())
    }
}
