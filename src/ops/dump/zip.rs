//! Zip files, written without going back: what is short stands behind a header that says all of it, what is long is
//! compressed as it comes and followed by its sizes.
//!
//! What must hold: sizes and checksums are those of what was written; what does not fit 32 bits stands in fields of 64;
//! memory holds a row of the directory at the end for each member, and of contents no more than the short ones take.

mod records;

use std::io::Write;
use std::ops::Range;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::{NodeKind, Regular};
use crate::ops::dump::member::{Member, Sink};
use records::{Lengths, Row};

/// Up to so many bytes are held until their compressed length is known.
const HELD_BYTES_MAX: u64 = 1 << 20;
/// Compressed bytes are passed on in pieces of about so many.
const PIECE_BYTES: usize = 64 << 10;
/// From this size on, what a member becomes may not fit 32 bits.
const LARGE_BYTES_MIN: u64 = 0xf000_0000;

/// Kinds in the upper half of a member's attributes, as in `sys/stat.h`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Writes a zip file.
pub(super) struct Zip<W: Write> {
    output: W,
    position: u64,
    rows: Vec<u8>,
    count: u64,
    compress: Compress,
    current: Option<Current>,
    compressed: Vec<u8>,
}

/// The member that is being written.
struct Current {
    row: Row,
    crc: Crc,
    /// Its bytes, if it is short.
    held: Option<Vec<u8>>,
}

impl<W: Write> Zip<W> {
    /// A zip file from its first byte on.
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            position: 0,
            rows: Vec::new(),
            count: 0,
            compress: Compress::new(Compression::default(), false),
            current: None,
            compressed: Vec::with_capacity(PIECE_BYTES),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.output.write_all(bytes).wrap(|| "cannot write the output")
    }

    /// Compresses, and passes on what is full; all of it at the end.
    fn deflate(&mut self, bytes: &[u8], is_end: bool) -> Result<()> {
        let flush = if is_end { FlushCompress::Finish } else { FlushCompress::None };
        let mut rest = bytes;
        loop {
            let before = self.compress.total_in();
            let status = self
                .compress
                .compress_vec(rest, &mut self.compressed, flush)
                .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot compress", cause))?;
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd || (!is_end && rest.is_empty()) {
                return Ok(());
            }
            self.pass_on()?;
        }
    }

    fn pass_on(&mut self) -> Result<()> {
        let mut compressed = std::mem::take(&mut self.compressed);
        self.put(&compressed)?;
        compressed.clear();
        self.compressed = compressed;
        Ok(())
    }

    /// Writes a member whose bytes are all there, compressed if that is shorter.
    fn put_held(&mut self, mut row: Row, bytes: &[u8], checksum: u32) -> Result<()> {
        // Compressed into memory: as long as what is held, and the little that fails to become shorter.
        self.compress.reset();
        let mut compressed = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 64);
        let status = self.compress.compress_vec(bytes, &mut compressed, FlushCompress::Finish);
        let is_complete = matches!(status, Ok(Status::StreamEnd));
        row.is_compressed = is_complete && compressed.len() < bytes.len();
        let content = if row.is_compressed { compressed.as_slice() } else { bytes };
        row.checksum = checksum;
        row.lengths = Lengths { plain: bytes.len() as u64, stored: content.len() as u64 };
        self.put(&row.header(true))?;
        self.put(content)?;
        self.list(&row);
        Ok(())
    }

    fn list(&mut self, row: &Row) {
        self.rows.extend(row.directory_row());
        self.count += 1;
    }
}

impl<W: Write> Sink for Zip<W> {
    fn regions(&self, regular: &Regular) -> Vec<Range<u64>> {
        std::iter::once(0..regular.size).collect()
    }

    fn begin(&mut self, member: &Member) -> Result<()> {
        let mut name = member.name.clone();
        let (kind, size) = match &member.node.kind {
            NodeKind::Directory(_) => {
                name.push(b'/');
                (DIRECTORY, 0)
            }
            NodeKind::Symlink(_) => (SYMLINK, 0),
            _ => (REGULAR, member.node.size()),
        };
        let mut row = Row::of(name, kind, &member.node.metadata, self.position);
        match &member.node.kind {
            NodeKind::Symlink(target) => {
                let mut crc = Crc::new();
                crc.update(target);
                return self.put_held(row, target, crc.sum());
            }
            NodeKind::Directory(_) => return self.put_held(row, &[], 0),
            _ => {}
        }
        let is_held = size <= HELD_BYTES_MAX;
        if !is_held {
            self.compress.reset();
            row.is_compressed = true;
            row.is_large = size >= LARGE_BYTES_MIN;
            self.put(&row.header(false))?;
        }
        let held = is_held.then(Vec::new);
        self.current = Some(Current { row, crc: Crc::new(), held });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.crc.update(bytes);
        current.row.lengths.plain += bytes.len() as u64;
        match &mut current.held {
            Some(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            None => self.deflate(bytes, false),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some(Current { mut row, crc, held }) = self.current.take() else { return Ok(()) };
        if let Some(held) = held {
            return self.put_held(row, &held, crc.sum());
        }
        self.deflate(&[], true)?;
        self.pass_on()?;
        row.checksum = crc.sum();
        row.lengths.stored = self.compress.total_out();
        self.put(&row.descriptor())?;
        self.list(&row);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let start = self.position;
        let rows = std::mem::take(&mut self.rows);
        self.put(&rows)?;
        let end = records::end(self.count, start, rows.len() as u64);
        self.put(&end)?;
        self.output.flush().wrap(|| "cannot write the output")
    }
}

#[cfg(test)]
mod tests;
