//! Where each byte of a stored file stands: the way from a position in the file to a chunk and a position in it.
//!
//! What must hold: the pieces of a range follow each other without a gap and add up to as much of it as the file has;
//! no more list pages are asked for than lead to the chunks of the range.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::format::node::{ChunkRef, Content, Extent, Regular};
use crate::tree::{BundlePlace, Tree};

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many zeros.
    Hole(u64),
    /// Bytes of a data chunk.
    Data {
        /// The chunk.
        chunk: ChunkRef,
        /// First byte in the chunk.
        start: u64,
        /// Number of bytes.
        length: u64,
    },
}

impl Piece {
    /// Number of bytes.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Hole(length) | Self::Data { length, .. } => *length,
        }
    }
}

/// The entries of a list page, each with the position after its last byte, from the beginning of what the page holds.
pub type ListEntries = Arc<Vec<(u64, ChunkRef)>>;

/// Gives the entries of a list page of this level.
pub type PageOf<'p> = &'p dyn Fn(u8, ChunkRef) -> Result<ListEntries>;

/// Where the content of a file stands.
#[derive(Clone, Debug)]
enum Place {
    Empty,
    Bundle(BundlePlace),
    Chunks(ListEntries),
    List { level: u8, page: ChunkRef },
}

/// Where each byte of a file stands.
#[derive(Clone, Debug)]
pub struct ContentMap {
    size: u64,
    content_bytes: u64,
    /// Of a sparse file: its data, each piece with the position of its first byte in the content.
    extents: Option<Vec<(u64, Extent)>>,
    place: Place,
}

impl ContentMap {
    /// Of a regular file, and the place in a bundle if it has one.
    pub fn of(regular: &Regular, bundle: Option<BundlePlace>) -> Result<Self> {
        let content_bytes = regular.content_bytes();
        let place = match &regular.content {
            Content::Empty => Place::Empty,
            Content::Bundle(_) => {
                let missing = || Error::damaged("a bundled file without a bundle");
                Place::Bundle(bundle.ok_or_else(missing)?)
            }
            Content::Chunk(id) => Place::Chunks(with_ends(vec![ChunkRef { id: *id, length: content_bytes }])),
            Content::Chunks(chunks) => Place::Chunks(with_ends(chunks.clone())),
            Content::List { level, id } => {
                Place::List { level: *level, page: ChunkRef { id: *id, length: content_bytes } }
            }
        };
        let extents = regular.extents.as_ref().map(|extents| {
            let mut start = 0;
            let with_start = |extent: &Extent| {
                let this = start;
                start += extent.length;
                (this, *extent)
            };
            extents.iter().map(with_start).collect()
        });
        Ok(Self { size: regular.size, content_bytes, extents, place })
    }

    /// Size of the file.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The pieces of a range, as far as the file has it.
    pub fn pieces(&self, offset: u64, length: u64, page_of: PageOf<'_>) -> Result<Vec<Piece>> {
        let end = offset.saturating_add(length).min(self.size);
        let mut pieces = Vec::new();
        let Some(extents) = &self.extents else {
            self.content(offset, end, page_of, &mut pieces)?;
            return Ok(pieces);
        };
        let mut position = offset;
        let first = extents.partition_point(|(_, extent)| extent.offset + extent.length <= offset);
        for (start, extent) in extents.get(first..).unwrap_or_default() {
            if extent.offset >= end || position >= end {
                break;
            }
            if extent.offset > position {
                pieces.push(Piece::Hole(extent.offset - position));
                position = extent.offset;
            }
            let until = end.min(extent.offset + extent.length);
            let in_content = start + (position - extent.offset);
            self.content(in_content, in_content + (until - position), page_of, &mut pieces)?;
            position = until;
        }
        if position < end {
            pieces.push(Piece::Hole(end - position));
        }
        Ok(pieces)
    }

    /// The first position from `offset` on that holds data; the size of the file counts as a hole.
    pub fn data_from(&self, offset: u64) -> Option<u64> {
        let Some(extents) = &self.extents else {
            return (offset < self.size).then_some(offset);
        };
        let first = extents.partition_point(|(_, extent)| extent.offset + extent.length <= offset);
        extents.get(first).map(|(_, extent)| extent.offset.max(offset))
    }

    /// The first position from `offset` on that is in a hole, or the end of the file.
    pub fn hole_from(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let Some(extents) = &self.extents else { return Some(self.size) };
        let first = extents.partition_point(|(_, extent)| extent.offset + extent.length <= offset);
        let within = extents.get(first).filter(|(_, extent)| extent.offset <= offset);
        Some(within.map_or(offset, |(_, extent)| extent.offset + extent.length))
    }

    /// Positions in the content, from `start` to before `end`.
    fn content(&self, start: u64, end: u64, page_of: PageOf<'_>, pieces: &mut Vec<Piece>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        if end > self.content_bytes {
            return Err(Error::damaged("extents beyond the content of a file"));
        }
        match &self.place {
            Place::Empty => Ok(()),
            Place::Bundle(place) => {
                let chunk = ChunkRef { id: place.id, length: place.bundle_bytes };
                pieces.push(Piece::Data { chunk, start: place.offset + start, length: end - start });
                Ok(())
            }
            Place::Chunks(chunks) => in_entries(chunks, start, end, &mut |chunk, start, end| {
                pieces.push(Piece::Data { chunk, start, length: end - start });
                Ok(())
            }),
            Place::List { level, page } => in_page(*level, *page, (start, end), page_of, pieces),
        }
    }
}

/// Entries with the positions after them.
fn with_ends(entries: Vec<ChunkRef>) -> ListEntries {
    let mut end = 0_u64;
    let with_end = |entry: ChunkRef| {
        end = end.saturating_add(entry.length);
        (end, entry)
    };
    Arc::new(entries.into_iter().map(with_end).collect())
}

/// Calls `visit` with each entry that has bytes from `start` to before `end`, and with which of its own.
fn in_entries(
    entries: &[(u64, ChunkRef)],
    start: u64,
    end: u64,
    visit: &mut dyn FnMut(ChunkRef, u64, u64) -> Result<()>,
) -> Result<()> {
    let first = entries.partition_point(|(entry_end, _)| *entry_end <= start);
    for (entry_end, entry) in entries.get(first..).unwrap_or_default() {
        let entry_start = entry_end - entry.length;
        if entry_start >= end {
            break;
        }
        visit(*entry, start.max(entry_start) - entry_start, end.min(*entry_end) - entry_start)?;
    }
    Ok(())
}

fn in_page(
    level: u8,
    page: ChunkRef,
    (start, end): (u64, u64),
    page_of: PageOf<'_>,
    pieces: &mut Vec<Piece>,
) -> Result<()> {
    let entries = page_of(level, page)?;
    in_entries(&entries, start, end, &mut |entry, start, end| match level.checked_sub(1) {
        None => {
            pieces.push(Piece::Data { chunk: entry, start, length: end - start });
            Ok(())
        }
        // As deep as there are levels, of which a node says at most 16.
        Some(below) => in_page(below, entry, (start, end), page_of, pieces),
    })
}

impl Tree<'_> {
    /// The entries of a list page, for a `ContentMap`.
    pub fn list_entries(&self, level: u8, page: ChunkRef) -> Result<ListEntries> {
        self.list_page(level, page).map(with_ends)
    }
}

#[cfg(test)]
mod tests;
