//! Making a pack from closed segments (format-spec chapter 6): each is sealed and verified by the worker that closed it,
//! while others add theirs; who lets go of a full pack last, completes it.
//!
//! What must hold: what is stored was opened, decompressed and hashed again before it is published, so that a flipped
//! bit of memory or a fault of a library is met here and not at the restore; a pack has all the parts that were given
//! away of it, or is not completed; the body is never joined in memory.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::base::{ChunkId, Error, ErrorKind, Result, SessionId, Wrap};
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

/// A pack to which segments are added, by several workers at a time.
pub(super) struct OpenPack {
    kind: ChunkKind,
    generation: u32,
    session: SessionId,
    sealer: Sealer,
    opener: Opener,
    sealed: Mutex<Vec<SealedSegment>>,
}

/// A segment of an open pack.
struct SealedSegment {
    number: u64,
    stored: Held,
    raw_bytes: u32,
    codec: Codec,
    chunks: Vec<(ChunkId, u32)>,
}

impl fmt::Debug for OpenPack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpenPack").field("session", &self.session).finish_non_exhaustive()
    }
}

impl OpenPack {
    /// A pack without a segment.
    pub(super) fn new(repository: &Repository, session: SessionId, kind: ChunkKind) -> Result<Self> {
        let generation = repository.config.generation;
        let context = repository.context(kind.pack_kind(), generation, None);
        let sealer = Sealer::new(&repository.keys, &context, session)?;
        let opener = Opener::from_index(&repository.keys, &context, session, *sealer.salt())?;
        Ok(Self { kind, generation, session, sealer, opener, sealed: Mutex::default() })
    }

    /// Seals a segment into it. With `keys` it is opened, decompressed and hashed again.
    pub(super) fn add(&self, segment: ClosedSegment, keys: Option<&Keys>) -> Result<()> {
        let ClosedSegment { mut stored, raw_bytes, codec, chunks } = segment;
        let part = self.sealer.next_part();
        let number = part.number();
        let (content, room) = stored.parts_mut();
        room.copy_from_slice(&part.seal(content)?);
        if let Some(keys) = keys {
            self.verify(keys, number, stored.as_ref(), codec, &chunks)
                .wrap(|| "a segment that was just sealed does not open to what it was made from")?;
        }
        let sealed = SealedSegment { number, stored, raw_bytes, codec, chunks };
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).push(sealed);
        Ok(())
    }

    /// Opens a sealed segment as a reader will, and compares each chunk's hash.
    fn verify(
        &self,
        keys: &Keys,
        number: u64,
        sealed: &[u8],
        codec: Codec,
        chunks: &[(ChunkId, u32)],
    ) -> Result<()> {
        let raw_bytes: u64 = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
        let raw_bytes = usize::try_from(raw_bytes).unwrap_or(usize::MAX);
        SCRATCH.with_borrow_mut(|Scratch { opened, raw }| {
            self.opener.open_into(number, Role::Body, sealed, opened)?;
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
                if keys.chunk_id(self.kind, chunk) != *id {
                    return Err(Error::damaged(format!("chunk {id} has other bytes than it is named after")));
                }
                rest = after;
            }
            Ok(())
        })
    }

    /// Completes the pack, with its length hidden if it is the last of a session. No worker may be adding.
    pub(super) fn complete(self, pad: bool) -> Result<SealedPack> {
        let mut sealed = self.sealed.into_inner().unwrap_or_else(PoisonError::into_inner);
        sealed.sort_unstable_by_key(|segment| segment.number);
        if sealed.len() as u64 != self.sealer.parts() {
            return Err(Error::new(ErrorKind::Failed, "a segment of a pack was not sealed"));
        }
        let mut directory = Directory::default();
        let mut body = vec![Bytes::copy_from_slice(self.sealer.header())];
        let mut offset = HEADER_BYTES as u64;
        for (number, segment) in (0..).zip(sealed) {
            let stored_bytes = narrow(segment.stored.as_ref().len() as u64)?;
            directory.segments.push(SegmentRow {
                offset: narrow(offset)?,
                stored_bytes,
                raw_bytes: segment.raw_bytes,
                codec: segment.codec,
            });
            offset += u64::from(stored_bytes);
            let row = |(id, raw_bytes): (ChunkId, u32)| ChunkRow { id, segment: number, raw_bytes };
            directory.chunks.extend(segment.chunks.into_iter().map(row));
            body.push(Bytes::from_owner(segment.stored));
        }
        if pad {
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
        let salt = *self.sealer.salt();
        let (sealed_directory, trailer) = self.sealer.seal_tail(encoded)?;
        body.extend([Bytes::from(sealed_directory), Bytes::from(trailer), Bytes::from_static(&MAGIC)]);
        let pack = IndexedPack {
            name: content_name(body.iter().map(AsRef::as_ref)),
            size_bytes,
            session: self.session,
            salt,
            generation: self.generation,
            kind: self.kind.pack_kind(),
            segments: directory.segments.clone(),
        };
        Ok(SealedPack { body, published: PublishedPack { pack, entries: entries(&directory) } })
    }
}

fn narrow(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::new(ErrorKind::Failed, "a pack that is too large"))
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

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { opened: Vec::new(), raw: Vec::new() }) };
}

/// Buffers of the check, used for one segment after the other.
struct Scratch {
    opened: Vec<u8>,
    raw: Vec<u8>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::tests::new_repository;

    const SESSION: SessionId = SessionId([5; 16]);

    /// A segment of one chunk of so many bytes, as it lies in the packs of a repository.
    fn segment(repository: &Repository, byte: u8, length: usize) -> ClosedSegment {
        let content = vec![byte; length];
        let id = repository.keys.chunk_id(ChunkKind::Data, &content);
        let raw_bytes = u32::try_from(length).unwrap();
        let stored = Held::copy_of(&content);
        ClosedSegment { stored, raw_bytes, codec: Codec::Raw, chunks: vec![(id, raw_bytes)] }
    }

    #[test]
    fn segments_that_several_workers_add_lie_in_the_order_of_their_parts() {
        let (_, repository) = new_repository();
        let pack = OpenPack::new(&repository, SESSION, ChunkKind::Data).unwrap();
        std::thread::scope(|scope| {
            for byte in 0..4 {
                let (repository, pack) = (&repository, &pack);
                scope.spawn(move || {
                    for more in 0..8_u8 {
                        let length = 100 + 1000 * usize::from(more);
                        pack.add(segment(repository, byte, length), Some(&repository.keys)).unwrap();
                    }
                });
            }
        });
        let sealed = pack.complete(false).unwrap();
        let PublishedPack { pack, entries } = &sealed.published;
        assert_eq!((pack.segments.len(), entries.len()), (32, 32));
        let context = repository.context(ChunkKind::Data.pack_kind(), pack.generation, None);
        let opener = Opener::from_index(&repository.keys, &context, SESSION, pack.salt).unwrap();
        let mut offset = HEADER_BYTES as u64;
        for ((number, row), entry) in (0..).zip(&pack.segments).zip(entries) {
            assert_eq!((u64::from(row.offset), entry.segment), (offset, number));
            let stored = &sealed.body[1 + number as usize];
            offset += stored.len() as u64;
            let opened = opener.open(u64::from(number), Role::Body, stored).unwrap();
            assert_eq!(repository.keys.chunk_id(ChunkKind::Data, &opened), entry.id);
        }
        assert_eq!(sealed.body_bytes() as u64, pack.size_bytes);
    }

    #[test]
    fn what_is_not_what_it_is_named_after_is_not_added_and_its_pack_is_not_completed() {
        let (_, repository) = new_repository();
        let pack = OpenPack::new(&repository, SESSION, ChunkKind::Data).unwrap();
        pack.add(segment(&repository, 1, 1000), Some(&repository.keys)).unwrap();
        let mut other = segment(&repository, 2, 1000);
        // A bit flips in memory between the hash and the seal.
        other.stored.parts_mut().0[500] ^= 1;
        let error = pack.add(other, Some(&repository.keys)).expect_err("another content");
        assert!(error.chain().join(": ").contains("than it is named after"), "{error}");
        let error = pack.complete(false).expect_err("a part is missing");
        assert_eq!(error.to_string(), "a segment of a pack was not sealed");
    }

    #[test]
    fn without_verification_nothing_is_opened_again() {
        let (_, repository) = new_repository();
        let pack = OpenPack::new(&repository, SESSION, ChunkKind::Data).unwrap();
        let mut other = segment(&repository, 2, 1000);
        other.stored.parts_mut().0[500] ^= 1;
        pack.add(other, None).unwrap();
        pack.complete(true).unwrap();
    }
}
