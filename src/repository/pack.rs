//! Making a pack from closed segments (format-spec chapter 6).
//!
//! What must hold: what is stored was opened, decompressed and hashed again before it is published, so that a flipped
//! bit of memory or a fault of a library is met here and not at the restore; the body is never joined in memory.

use bytes::Bytes;

use crate::base::{Error, Result, Wrap};
use crate::compress;
use crate::crypto::{ChunkKind, Keys, Opener, Sealer, content_name, random};
use crate::format::index::{Entry, IndexedPack};
use crate::format::names;
use crate::format::pack::{ChunkRow, Codec, Directory, SegmentRow};
use crate::format::padding::padded;
use crate::format::sealing::{HEADER_BYTES, MAGIC, ObjectKind, Role};
use crate::repository::Repository;
use crate::repository::held::Held;
use crate::repository::object::{create_unique, create_unique_data, object_name};
use crate::repository::segment::ClosedSegment;
use crate::repository::tree_cache::TreeCache;
use crate::storage::Storage;

/// What the index learns of a published pack; the pack's number in entries is 0.
#[derive(Debug)]
pub(super) struct PublishedPack {
    pub(super) pack: IndexedPack,
    pub(super) entries: Vec<Entry>,
}

/// A pack that is complete, and not in the repository yet.
#[derive(Debug)]
pub(super) struct SealedPack {
    body: Vec<Bytes>,
    published: PublishedPack,
}

impl SealedPack {
    /// Bytes that it takes in memory and in the storage.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Keeps its segments on this machine if they are of trees, which will be read sooner or later.
    pub(super) fn keep_trees(&self, kept: &TreeCache) {
        let pack = &self.published.pack;
        if pack.kind == ObjectKind::TreePack && kept.is_used() {
            // The first part of the body is the header.
            for (number, sealed) in (0..).zip(self.body.iter().skip(1).take(pack.segments.len())) {
                kept.keep(&pack.name, number, sealed);
            }
        }
    }

    /// Writes it.
    pub(super) fn publish(self, storage: &dyn Storage) -> Result<PublishedPack> {
        let name = object_name(&names::pack(&self.published.pack.name))?;
        match self.published.pack.kind {
            ObjectKind::DataPack => create_unique_data(storage, &name, &self.body)?,
            _ => create_unique(storage, &name, &self.body)?,
        }
        Ok(self.published)
    }
}

#[cfg(test)]
impl SealedPack {
    /// A pack of data that holds nothing but so many bytes of this number, which is also its name.
    pub(super) fn of_bytes(number: u8, length: usize) -> Self {
        let pack = IndexedPack {
            name: crate::base::ContentName([number; 32]),
            size_bytes: length as u64,
            session: crate::base::SessionId([0; 16]),
            salt: [0; 32],
            generation: 1,
            kind: ObjectKind::DataPack,
            segments: Vec::new(),
        };
        let published = PublishedPack { pack, entries: Vec::new() };
        Self { body: vec![Bytes::from(vec![number; length])], published }
    }
}

/// How a pack is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackOptions {
    /// Open, decompress and hash again what is sealed.
    pub(super) verify: bool,
    /// Hide the length of the last pack of a session.
    pub(super) pad: bool,
}

impl Repository {
    /// Seals and verifies a pack.
    pub(super) fn seal_pack(
        &self,
        session: crate::base::SessionId,
        kind: ChunkKind,
        segments: Vec<ClosedSegment>,
        options: PackOptions,
    ) -> Result<SealedPack> {
        let context = self.context(kind.pack_kind(), self.config.generation, None);
        let mut sealer = Sealer::new(&self.keys, &context, session)?;
        let salt = *sealer.salt();
        let opener = Opener::from_index(&self.keys, &context, session, salt)?;
        let mut directory = Directory::default();
        let mut body = vec![Bytes::copy_from_slice(sealer.header())];
        let mut offset = HEADER_BYTES as u64;
        let (mut sealed, mut scratch) = (Vec::new(), Scratch::default());
        for (number, segment) in segments.into_iter().enumerate() {
            sealed.clear();
            sealed.extend_from_slice(segment.stored.as_ref());
            drop(segment.stored);
            sealer.seal_part(&mut sealed)?;
            if options.verify {
                verify(
                    &mut scratch,
                    &self.keys,
                    kind,
                    &opener,
                    number as u64,
                    &sealed,
                    segment.codec,
                    &segment.chunks,
                )
                .wrap(|| "a segment that was just sealed does not open to what it was made from")?;
            }
            let row = SegmentRow {
                offset: narrow(offset)?,
                stored_bytes: narrow(sealed.len() as u64)?,
                raw_bytes: segment.raw_bytes,
                codec: segment.codec,
            };
            offset += u64::from(row.stored_bytes);
            directory.segments.push(row);
            let segment_number = narrow(number as u64)?;
            let rows = segment.chunks.iter();
            let rows = rows.map(|(id, raw_bytes)| ChunkRow {
                id: *id,
                segment: segment_number,
                raw_bytes: *raw_bytes,
            });
            directory.chunks.extend(rows);
            body.push(Bytes::from_owner(Held::copy_of(&sealed)));
        }
        if options.pad {
            let unpadded = directory.pack_bytes();
            directory.padding_bytes = narrow(padded(unpadded) - unpadded)?;
            let mut padding = vec![0; directory.padding_bytes as usize];
            random::fill(&mut padding)?;
            body.push(Bytes::from(padding));
        }
        let size_bytes = directory.pack_bytes();
        let encoded = directory.encode();
        let reread =
            Directory::decode(&encoded, size_bytes).map_err(|error| error.of_object("a new pack"))?;
        if reread != directory {
            return Err(Error::damaged("the directory of a new pack does not read back as it was"));
        }
        let (sealed_directory, trailer) = sealer.seal_tail(encoded)?;
        body.extend([Bytes::from(sealed_directory), Bytes::from(trailer), Bytes::from_static(&MAGIC)]);
        let name = content_name(body.iter().map(AsRef::as_ref));
        let pack = IndexedPack {
            name,
            size_bytes,
            session,
            salt,
            generation: self.config.generation,
            kind: kind.pack_kind(),
            segments: directory.segments.clone(),
        };
        Ok(SealedPack { body, published: PublishedPack { pack, entries: entries(&directory) } })
    }
}

fn narrow(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::new(crate::base::ErrorKind::Failed, "a pack that is too large"))
}

fn entries(directory: &Directory) -> Vec<Entry> {
    let mut offset = 0;
    let mut segment = 0;
    let place = |chunk: &ChunkRow| {
        if chunk.segment != segment {
            segment = chunk.segment;
            offset = 0;
        }
        let entry = Entry { id: chunk.id, pack: 0, segment, offset, length: chunk.raw_bytes };
        offset += chunk.raw_bytes;
        entry
    };
    directory.chunks.iter().map(place).collect()
}

/// Buffers of the check, used for one segment after the other.
#[derive(Default)]
struct Scratch {
    opened: Vec<u8>,
    raw: Vec<u8>,
}

/// Opens a sealed segment as a reader will, and compares each chunk's hash.
#[expect(clippy::too_many_arguments, reason = "each is a part of one segment, or what opens it")]
fn verify(
    scratch: &mut Scratch,
    keys: &Keys,
    kind: ChunkKind,
    opener: &Opener,
    part: u64,
    sealed: &[u8],
    codec: Codec,
    chunks: &[(crate::base::ChunkId, u32)],
) -> Result<()> {
    let raw_bytes: u64 = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
    let Scratch { opened, raw } = scratch;
    opened.clear();
    opened.extend_from_slice(sealed);
    opener.open(part, Role::Body, opened)?;
    let raw_bytes = usize::try_from(raw_bytes).unwrap_or(usize::MAX);
    let mut rest = match codec {
        Codec::Zstd => {
            compress::decompress_into(opened, raw_bytes, raw)?;
            raw.as_slice()
        }
        Codec::Raw => check_raw(opened, raw_bytes)?,
    };
    for (id, length) in chunks {
        let (chunk, after) = rest
            .split_at_checked(*length as usize)
            .ok_or_else(|| Error::damaged(format!("chunk {id} is beyond its segment")))?;
        if keys.chunk_id(kind, chunk) != *id {
            return Err(Error::damaged(format!("chunk {id} has other bytes than it is named after")));
        }
        rest = after;
    }
    Ok(())
}

/// The plaintext of an opened segment, which must have exactly `raw_bytes`.
pub(super) fn decode_segment(opened: Vec<u8>, codec: Codec, raw_bytes: usize) -> Result<Vec<u8>> {
    match codec {
        Codec::Zstd => compress::decompress(&opened, raw_bytes),
        Codec::Raw => {
            check_raw(&opened, raw_bytes)?;
            Ok(opened)
        }
    }
}

fn check_raw(opened: &[u8], raw_bytes: usize) -> Result<&[u8]> {
    if opened.len() == raw_bytes {
        return Ok(opened);
    }
    let message =
        format!("a segment of {} bytes where {raw_bytes} must stand (format rule PACK-7)", opened.len());
    Err(Error::damaged(message))
}
