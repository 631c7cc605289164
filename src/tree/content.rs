//! Whether two stored objects are the same, and whether two stored files hold the same bytes, however they are stored: in
//! chunks of their own, in bundles, with holes or without.
//!
//! What must hold: nothing is read where the chunks' names tell already; what is said to be the same has the same bytes.

use crate::base::{ChunkId, Error, Result};
use crate::format::node::{ChunkRef, Content, Extent, NodeKind, Regular};
use crate::repository::ChunkKind;
use crate::tree::read::slice_of_bundle;
use crate::tree::{BundlePlace, Entry, Tree, check_length};

/// Whether two entries of one path are one version: the same kind, time of modification, size and content. The content of
/// a directory is all that is below it. Mode, owner and attributes do not count.
pub fn same_version(tree: Tree<'_>, bundles: &mut LastBundles, one: &Entry, other: &Entry) -> Result<bool> {
    if one.node.metadata.mtime != other.node.metadata.mtime {
        return Ok(false);
    }
    match (&one.node.kind, &other.node.kind) {
        (NodeKind::Regular(regular), NodeKind::Regular(of_other)) => match (&one.bundle, &other.bundle) {
            _ if regular.size != of_other.size => Ok(false),
            (Some(place), Some(of_other)) => bundles.same_content(tree, place, of_other, regular.size),
            _ => same_content(tree, one, other),
        },
        (kind, of_other) => Ok(kind == of_other),
    }
}

/// Whether two regular files hold the same bytes, holes being zeros; false of anything else. Bytes are read only where
/// the files are stored in different ways, or in bundles.
pub fn same_content(tree: Tree<'_>, one: &Entry, other: &Entry) -> Result<bool> {
    let (NodeKind::Regular(of_one), NodeKind::Regular(of_other)) = (&one.node.kind, &other.node.kind) else {
        return Ok(false);
    };
    if of_one.size != of_other.size {
        return Ok(false);
    }
    match (&one.bundle, &other.bundle) {
        (Some(place), Some(of_other)) if place == of_other => return Ok(true),
        // The same bytes are cut at the same places, so that other chunks are other bytes.
        (None, None) if of_one.extents == of_other.extents => return Ok(of_one.content == of_other.content),
        _ => {}
    }
    let mut bytes = Stream::new(tree, one, of_one)?;
    let mut of_other = Stream::new(tree, other, of_other)?;
    loop {
        let (part, other_part) = (bytes.part()?, of_other.part()?);
        let (Some(part), Some(other_part)) = (part, other_part) else { return Ok(true) };
        let length = part.len().min(other_part.len());
        let is_same = match (part, other_part) {
            (Part::Zeros(_), Part::Zeros(_)) => true,
            (Part::Bytes(bytes), Part::Zeros(_)) | (Part::Zeros(_), Part::Bytes(bytes)) => {
                bytes.iter().take(usize_of(length)).all(|byte| *byte == 0)
            }
            (Part::Bytes(bytes), Part::Bytes(of_other)) => {
                bytes.get(..usize_of(length)) == of_other.get(..usize_of(length))
            }
        };
        if !is_same {
            return Ok(false);
        }
        bytes.done(length);
        of_other.done(length);
    }
}

/// The bundles that were read last of two sides that are gone through in order, so that each is read once for all files
/// in it.
#[derive(Debug, Default)]
pub struct LastBundles {
    of_one: Option<(ChunkId, Vec<u8>)>,
    of_other: Option<(ChunkId, Vec<u8>)>,
}

impl LastBundles {
    /// Whether two files of a size in bundles hold the same bytes.
    pub fn same_content(
        &mut self,
        tree: Tree<'_>,
        one: &BundlePlace,
        other: &BundlePlace,
        size: u64,
    ) -> Result<bool> {
        if one == other {
            return Ok(true);
        }
        let one = slice_of_bundle(bundle(tree, &mut self.of_one, one)?, one, size)?;
        let other = slice_of_bundle(bundle(tree, &mut self.of_other, other)?, other, size)?;
        Ok(one == other)
    }
}

fn bundle<'k>(
    tree: Tree<'_>,
    kept: &'k mut Option<(ChunkId, Vec<u8>)>,
    place: &BundlePlace,
) -> Result<&'k [u8]> {
    if kept.as_ref().is_none_or(|(id, _)| *id != place.id) {
        *kept = Some((place.id, tree.reader().chunk(ChunkKind::Data, &place.id)?));
    }
    Ok(kept.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
}

impl Tree<'_> {
    /// The chunks of a file's content in order, 40 bytes each. A bundled file has none of its own.
    pub fn chunks(&self, regular: &Regular) -> Result<Vec<ChunkRef>> {
        let mut chunks = Vec::new();
        self.content(regular, &mut |chunk| {
            chunks.push(chunk);
            Ok(())
        })?;
        Ok(chunks)
    }
}

/// A length within a piece of memory.
fn usize_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// The next bytes of a file.
#[derive(Clone, Copy)]
enum Part<'s> {
    Bytes(&'s [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Part<'_> {
    const fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(count) => *count,
        }
    }
}

/// The bytes of a file from its start, chunk by chunk.
struct Stream<'r> {
    tree: Tree<'r>,
    size: u64,
    position: u64,
    /// Where data lies, the next piece last.
    extents: Vec<Extent>,
    /// What is still to be read, the next one last.
    chunks: Vec<ChunkRef>,
    bytes: Vec<u8>,
    /// So many of them are done.
    begin: usize,
}

impl<'r> Stream<'r> {
    fn new(tree: Tree<'r>, entry: &Entry, regular: &Regular) -> Result<Self> {
        let mut extents = match &regular.extents {
            Some(extents) => extents.clone(),
            None => vec![Extent { offset: 0, length: regular.size }],
        };
        extents.reverse();
        let mut chunks = Vec::new();
        let bytes = match &entry.bundle {
            Some(place) => tree.bundled(place, regular.size)?,
            None if matches!(regular.content, Content::Bundle(_)) => {
                return Err(Error::damaged("a bundled file without a bundle"));
            }
            None => {
                chunks = tree.chunks(regular)?;
                Vec::new()
            }
        };
        chunks.reverse();
        Ok(Self { tree, size: regular.size, position: 0, extents, chunks, bytes, begin: 0 })
    }

    /// What comes next; nothing at the end.
    fn part(&mut self) -> Result<Option<Part<'_>>> {
        while self.extents.last().is_some_and(|extent| extent.length == 0) {
            self.extents.pop();
        }
        let data = self.extents.last().copied();
        let hole_end = data.map_or(self.size, |extent| extent.offset);
        if self.position < hole_end {
            return Ok(Some(Part::Zeros(hole_end - self.position)));
        }
        let Some(extent) = data else { return Ok(None) };
        while self.begin >= self.bytes.len() {
            let chunk =
                self.chunks.pop().ok_or_else(|| Error::damaged("a file with less content than it says"))?;
            self.bytes = self.tree.reader().chunk(ChunkKind::Data, &chunk.id)?;
            check_length(&chunk.id, self.bytes.len() as u64, chunk.length)?;
            self.begin = 0;
        }
        let rest = self.bytes.get(self.begin..).unwrap_or_default();
        Ok(Some(Part::Bytes(rest.get(..usize_of(extent.length).min(rest.len())).unwrap_or_default())))
    }

    /// So many bytes of the part are done.
    fn done(&mut self, length: u64) {
        if let Some(extent) = self.extents.last_mut()
            && self.position >= extent.offset
        {
            extent.offset += length;
            extent.length = extent.length.saturating_sub(length);
            self.begin += usize_of(length);
        }
        self.position += length;
    }
}
