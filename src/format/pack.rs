//! Packs (format-spec chapter 6): segments of whole chunks, and a sealed directory at the end that lists them.
//!
//! ```text
//! header 96 | sealed segment … | padding | sealed directory | sealed trailer 24 | magic 8
//! ```
//!
//! What must hold: the parts fill the object to the byte; a chunk lies wholly in one segment, and its offset there is
//! the sum of the lengths before it.

use crate::base::ChunkId;
use crate::base::limits::{CHUNK_BYTES_MAX, PACK_BYTES_MAX, PACK_DIRECTORY_BYTES_MAX, SEGMENT_RAW_BYTES_MAX};
use crate::format::fields::FieldReader;
use crate::format::sealing::{HEADER_BYTES, MAGIC, TAG_BYTES};
use crate::format::{DecodeError, Decoded, require};

/// Stored bytes of the sealed trailer: a length of 8 bytes and its tag.
pub const TRAILER_BYTES: usize = 8 + TAG_BYTES;
/// Stored bytes behind the sealed directory.
pub const TAIL_BYTES: usize = TRAILER_BYTES + MAGIC.len();
/// Bytes of a segment's row in the directory.
const SEGMENT_ROW_BYTES: usize = 16;
/// Bytes of a chunk's row in the directory.
const CHUNK_ROW_BYTES: usize = 40;

/// How a segment's plaintext is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    /// The number in tables.
    pub const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    /// Reads the number in tables.
    pub fn from_number(number: u8, rule: &'static str) -> Decoded<Self> {
        match number {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            other => Err(DecodeError::new(rule, format!("codec {other}"))),
        }
    }
}

/// Where a segment lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// First stored byte.
    pub offset: u32,
    /// Stored bytes, the tag included.
    pub stored_bytes: u32,
    /// Bytes of plaintext.
    pub raw_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
}

/// A chunk of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its name.
    pub id: ChunkId,
    /// The segment that holds it.
    pub segment: u32,
    /// Bytes of plaintext.
    pub raw_bytes: u32,
}

/// What a pack holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// In stored order.
    pub segments: Vec<SegmentRow>,
    /// In order of segment and offset.
    pub chunks: Vec<ChunkRow>,
    /// Random bytes after the last segment.
    pub padding_bytes: u32,
}

impl Directory {
    /// Bytes of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        16 + SEGMENT_ROW_BYTES * self.segments.len() + CHUNK_ROW_BYTES * self.chunks.len()
    }

    /// Bytes of the whole pack.
    pub fn pack_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| u64::from(segment.stored_bytes)).sum();
        let directory = (self.encoded_bytes() + TAG_BYTES) as u64;
        HEADER_BYTES as u64 + segments + u64::from(self.padding_bytes) + directory + TAIL_BYTES as u64
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        let mut number = |value: u32| bytes.extend_from_slice(&value.to_le_bytes());
        number(u32::try_from(self.segments.len()).unwrap_or(u32::MAX));
        number(u32::try_from(self.chunks.len()).unwrap_or(u32::MAX));
        number(self.padding_bytes);
        number(0);
        for segment in &self.segments {
            number(segment.offset);
            number(segment.stored_bytes);
            number(segment.raw_bytes);
            number(u32::from(segment.codec.number()));
        }
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.id.as_bytes());
            bytes.extend_from_slice(&chunk.segment.to_le_bytes());
            bytes.extend_from_slice(&chunk.raw_bytes.to_le_bytes());
        }
        bytes
    }

    /// Reads the directory of a pack of `pack_bytes`.
    pub fn decode(bytes: &[u8], pack_bytes: u64) -> Decoded<Self> {
        let mut fields = FieldReader::new(bytes, "PACK-3");
        let segments = fields.u32()? as usize;
        let chunks = fields.u32()? as usize;
        let padding_bytes = fields.u32()?;
        let reserved = fields.u32()?;
        let expected = SEGMENT_ROW_BYTES
            .checked_mul(segments)
            .and_then(|segments| CHUNK_ROW_BYTES.checked_mul(chunks)?.checked_add(segments));
        let is_whole = expected == Some(fields.rest().len()) && reserved == 0;
        require(is_whole, "PACK-3", || {
            format!("{segments} segments and {chunks} chunks in {} bytes", bytes.len())
        })?;
        let mut directory = Self { padding_bytes, ..Self::default() };
        for _ in 0..segments {
            directory.segments.push(SegmentRow {
                offset: fields.u32()?,
                stored_bytes: fields.u32()?,
                raw_bytes: fields.u32()?,
                codec: Codec::from_number(fields.u8_and_reserved()?, "PACK-4")?,
            });
        }
        for _ in 0..chunks {
            let id = ChunkId(fields.fixed()?);
            directory.chunks.push(ChunkRow { id, segment: fields.u32()?, raw_bytes: fields.u32()? });
        }
        directory.check_segments()?;
        directory.check_chunks()?;
        require(directory.pack_bytes() == pack_bytes, "PACK-6", || {
            format!("parts of {} bytes in a pack of {pack_bytes}", directory.pack_bytes())
        })?;
        Ok(directory)
    }

    fn check_segments(&self) -> Decoded<()> {
        let mut next = HEADER_BYTES as u64;
        for segment in &self.segments {
            require(u64::from(segment.offset) == next, "PACK-4", || {
                format!("a segment at {}", segment.offset)
            })?;
            check_segment(segment.stored_bytes, segment.raw_bytes, segment.codec, "PACK-4")?;
            next += u64::from(segment.stored_bytes);
        }
        Ok(())
    }

    fn check_chunks(&self) -> Decoded<()> {
        let mut chunks = self.chunks.iter().peekable();
        for (number, segment) in self.segments.iter().enumerate() {
            let mut filled = 0_u64;
            while let Some(chunk) = chunks.next_if(|chunk| chunk.segment as usize == number) {
                let fits = (1..=CHUNK_BYTES_MAX).contains(&chunk.raw_bytes);
                require(fits, "PACK-5", || format!("a chunk of {} bytes", chunk.raw_bytes))?;
                filled += u64::from(chunk.raw_bytes);
            }
            require(filled == u64::from(segment.raw_bytes), "PACK-5", || {
                format!("chunks of {filled} bytes in a segment of {}", segment.raw_bytes)
            })?;
        }
        require(chunks.next().is_none(), "PACK-5", || "chunks out of order".into())
    }
}

/// Checks what a table says of one segment.
pub fn check_segment(stored_bytes: u32, raw_bytes: u32, codec: Codec, rule: &'static str) -> Decoded<()> {
    let tag = u32::try_from(TAG_BYTES).unwrap_or(u32::MAX);
    let content = stored_bytes.checked_sub(tag).filter(|content| *content > 0);
    let fits = match codec {
        Codec::Raw => content == Some(raw_bytes),
        Codec::Zstd => content.is_some_and(|content| content < raw_bytes),
    };
    require(fits && (1..=SEGMENT_RAW_BYTES_MAX).contains(&raw_bytes), rule, || {
        format!("a segment of {raw_bytes} bytes in {stored_bytes}")
    })
}

/// Where the sealed directory of a pack lies, from the opened trailer: (offset, stored length).
pub fn directory_place(trailer: &[u8], pack_bytes: u64) -> Decoded<(u64, u64)> {
    let length = FieldReader::new(trailer, "PACK-2").u64()?;
    require(trailer.len() == 8 && length <= PACK_DIRECTORY_BYTES_MAX, "PACK-2", || {
        format!("a directory of {length} bytes")
    })?;
    let stored = length + TAG_BYTES as u64;
    let offset = pack_bytes.checked_sub(stored + TAIL_BYTES as u64);
    match offset {
        Some(offset) if offset >= HEADER_BYTES as u64 => Ok((offset, stored)),
        _ => Err(DecodeError::new(
            "PACK-2",
            format!("a directory of {length} bytes in a pack of {pack_bytes}"),
        )),
    }
}

/// Checks size and last bytes of a pack, and gives where the sealed trailer lies.
pub fn trailer_offset(pack_bytes: u64, last_bytes: &[u8]) -> Decoded<u64> {
    let smallest = (HEADER_BYTES + TAIL_BYTES + TAG_BYTES) as u64;
    require((smallest..=PACK_BYTES_MAX).contains(&pack_bytes), "PACK-1", || {
        format!("a pack of {pack_bytes} bytes")
    })?;
    require(last_bytes.ends_with(&MAGIC), "PACK-1", || "a pack that does not end as one".into())?;
    Ok(pack_bytes - TAIL_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let chunk = |segment, raw_bytes| ChunkRow { id: ChunkId([1; 32]), segment, raw_bytes };
        Directory {
            segments: vec![
                SegmentRow { offset: 96, stored_bytes: 26, raw_bytes: 10, codec: Codec::Raw },
                SegmentRow { offset: 122, stored_bytes: 20, raw_bytes: 900, codec: Codec::Zstd },
            ],
            chunks: vec![chunk(0, 4), chunk(0, 6), chunk(1, 900)],
            padding_bytes: 5,
        }
    }

    fn rejected(change: impl FnOnce(&mut Directory)) -> &'static str {
        let mut directory = directory();
        change(&mut directory);
        let pack_bytes = directory.pack_bytes();
        Directory::decode(&directory.encode(), pack_bytes).expect_err("must be refused").rule
    }

    #[test]
    fn a_directory_is_read_back_as_it_was() {
        let directory = directory();
        assert_eq!(directory.encode().len(), directory.encoded_bytes());
        assert_eq!(directory.pack_bytes(), 96 + 26 + 20 + 5 + (16 + 32 + 120 + 16) + 24 + 8);
        assert_eq!(Directory::decode(&directory.encode(), directory.pack_bytes()), Ok(directory));
        let empty = Directory::default();
        assert_eq!(Directory::decode(&empty.encode(), empty.pack_bytes()), Ok(empty));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        let rule = |decoded: Decoded<u64>| decoded.expect_err("must be refused").rule;
        assert_eq!(rule(trailer_offset(143, &MAGIC)), "PACK-1");
        assert_eq!(rule(trailer_offset(PACK_BYTES_MAX + 1, &MAGIC)), "PACK-1");
        assert_eq!(rule(trailer_offset(1000, b"PKSTONE\x1b")), "PACK-1");
        assert_eq!(trailer_offset(1000, &MAGIC), Ok(968));
        let place = |length: u64| directory_place(&length.to_le_bytes(), 1000);
        assert_eq!(place(856), Ok((96, 872)));
        for length in [857, 1 << 30, u64::MAX] {
            assert_eq!(place(length).expect_err("must be refused").rule, "PACK-2");
        }
        assert_eq!(directory_place(&[0; 9], 1000).expect_err("must be refused").rule, "PACK-2");
        let bytes = directory().encode();
        let size = directory().pack_bytes();
        for bad in [&bytes[..15], &bytes[..bytes.len() - 1], &[bytes.as_slice(), &[0]].concat(), &[0xff; 16]]
        {
            assert_eq!(Directory::decode(bad, size).expect_err("must be refused").rule, "PACK-3");
        }
        assert_eq!(rejected(|bad| bad.segments[1].offset += 1), "PACK-4");
        assert_eq!(rejected(|bad| bad.segments[0].raw_bytes = 9), "PACK-4");
        assert_eq!(rejected(|bad| bad.segments[1].raw_bytes = 4), "PACK-4");
        assert_eq!(rejected(|bad| bad.segments[1].raw_bytes = (16 << 20) + 1), "PACK-4");
        let mut codec = directory().encode();
        codec[16 + 12] = 2;
        assert_eq!(Directory::decode(&codec, size).expect_err("must be refused").rule, "PACK-4");
        assert_eq!(rejected(|bad| bad.chunks[0].raw_bytes = 5), "PACK-5");
        assert_eq!(rejected(|bad| bad.chunks[0].segment = 1), "PACK-5");
        assert_eq!(rejected(|bad| bad.chunks[2].segment = 2), "PACK-5");
        assert_eq!(rejected(|bad| bad.chunks.swap(1, 2)), "PACK-5");
        assert_eq!(rejected(|bad| bad.chunks[0].raw_bytes = 0), "PACK-5");
        let directory = directory();
        let decoded = Directory::decode(&directory.encode(), directory.pack_bytes() + 1);
        assert_eq!(decoded.expect_err("must be refused").rule, "PACK-6");
    }
}
