//! Index runs (format-spec chapter 7): sorted tables that say where chunks lie.
//!
//! ```text
//! counts 16 | superseded runs 32 each | packs 100 each | segments 12 each | ids 32 each | pack, segment, offset, length 4 each
//! ```
//!
//! What must hold: entries are sorted by id, then pack; what a run says of a segment is enough to fetch and open it
//! without the pack's directory; what it says agrees with that directory.

use crate::base::limits::{CHUNK_BYTES_MAX, INDEX_RUN_BYTES_MAX, PACK_BYTES_MAX};
use crate::base::{ChunkId, ContentName, SessionId};
use crate::format::fields::{FieldReader, u32_at};
use crate::format::pack::{Codec, SegmentRow, check_segment};
use crate::format::sealing::{HEADER_BYTES, ObjectKind};
use crate::format::{DecodeError, Decoded, require};

/// Bytes of the counts at the beginning.
const COUNTS_BYTES: usize = 16;
/// Bytes of a pack's row.
const PACK_ROW_BYTES: usize = 100;
/// Bytes of a segment's row.
const SEGMENT_ROW_BYTES: usize = 12;
/// Bytes of an entry over all columns.
const ENTRY_BYTES: usize = 48;

/// A pack as an index run describes it: all that its header says, so that any segment can be opened alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// Its name.
    pub name: ContentName,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// Whose run wrote it.
    pub session: SessionId,
    /// Its salt.
    pub salt: [u8; 32],
    /// Which master key.
    pub generation: u32,
    /// Data or tree.
    pub kind: ObjectKind,
    /// Its segments in stored order; an offset is not stored here, it is that of the segment before plus its stored bytes.
    pub segments: Vec<SegmentRow>,
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The chunk.
    pub id: ChunkId,
    /// Row of its pack.
    pub pack: u32,
    /// Number of its segment in that pack.
    pub segment: u32,
    /// First byte within the segment's plaintext.
    pub offset: u32,
    /// Bytes of plaintext.
    pub length: u32,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexRun {
    /// Runs whose content this one holds, sorted.
    pub superseded: Vec<ContentName>,
    /// Packs, sorted by name.
    pub packs: Vec<IndexedPack>,
    /// Chunks, sorted by id, then pack.
    pub entries: Vec<Entry>,
}

impl IndexRun {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let segments: usize = self.packs.iter().map(|pack| pack.segments.len()).sum();
        let mut bytes = Vec::new();
        for count in [self.superseded.len(), self.packs.len(), segments, self.entries.len()] {
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.superseded.iter().for_each(|name| bytes.extend_from_slice(name.as_bytes()));
        for pack in &self.packs {
            bytes.extend_from_slice(pack.name.as_bytes());
            bytes.extend_from_slice(&pack.size_bytes.to_le_bytes());
            bytes.extend_from_slice(pack.session.as_bytes());
            bytes.extend_from_slice(&pack.salt);
            bytes.extend_from_slice(&pack.generation.to_le_bytes());
            bytes.extend_from_slice(&u32::from(pack.kind.number()).to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(pack.segments.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        for segment in self.packs.iter().flat_map(|pack| &pack.segments) {
            bytes.extend_from_slice(&segment.stored_bytes.to_le_bytes());
            bytes.extend_from_slice(&segment.raw_bytes.to_le_bytes());
            bytes.extend_from_slice(&u32::from(segment.codec.number()).to_le_bytes());
        }
        self.entries.iter().for_each(|entry| bytes.extend_from_slice(entry.id.as_bytes()));
        for column in [|e: &Entry| e.pack, |e: &Entry| e.segment, |e: &Entry| e.offset, |e: &Entry| e.length]
        {
            self.entries.iter().for_each(|entry| bytes.extend_from_slice(&column(entry).to_le_bytes()));
        }
        bytes
    }

    /// Reads a run from the opened body of an object, padding included; checks the padding too.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let bound = bytes.len() as u64 <= INDEX_RUN_BYTES_MAX;
        require(bound, "INDEX-1", || format!("an index run of {} bytes", bytes.len()))?;
        let mut fields = FieldReader::new(bytes, "INDEX-2");
        let counts = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?].map(|count| count as usize);
        let [superseded, packs, segments, entries] = counts;
        let widths = [32, PACK_ROW_BYTES, SEGMENT_ROW_BYTES, ENTRY_BYTES];
        let content = counts.iter().zip(widths).try_fold(COUNTS_BYTES, |sum, (count, width)| {
            count.checked_mul(width).and_then(|bytes| bytes.checked_add(sum))
        });
        let fits = content.is_some_and(|content| content <= bytes.len());
        require(fits, "INDEX-2", || format!("counts {counts:?} in {} bytes", bytes.len()))?;
        let superseded: Vec<_> =
            (0..superseded).map(|_| Ok(ContentName(fields.fixed()?))).collect::<Decoded<_>>()?;
        require(superseded.is_sorted_by(|a, b| a < b), "INDEX-3", || "superseded runs out of order".into())?;
        let packs = decode_packs(&mut fields, packs, segments)?;
        let entries = decode_entries(&mut fields, entries, &packs)?;
        let length = (bytes.len() - fields.rest().len()) as u64;
        check_padding(fields.rest(), length, bytes.len() as u64)?;
        Ok(Self { superseded, packs, entries })
    }
}

fn decode_packs(fields: &mut FieldReader<'_>, packs: usize, segments: usize) -> Decoded<Vec<IndexedPack>> {
    let mut rows = Vec::new();
    let mut segment_counts = Vec::new();
    for _ in 0..packs {
        let name = ContentName(fields.fixed()?);
        let size_bytes = fields.u64()?;
        let session = SessionId(fields.fixed()?);
        let salt = fields.fixed()?;
        let generation = fields.u32()?;
        let kind = match fields.u8_and_reserved()? {
            3 => ObjectKind::DataPack,
            4 => ObjectKind::TreePack,
            other => return Err(DecodeError::new("INDEX-4", format!("a pack of kind {other}"))),
        };
        require(size_bytes <= PACK_BYTES_MAX, "INDEX-4", || format!("a pack of {size_bytes} bytes"))?;
        segment_counts.push(fields.u32()? as usize);
        rows.push(IndexedPack { name, size_bytes, session, salt, generation, kind, segments: Vec::new() });
    }
    require(rows.is_sorted_by(|a, b| a.name < b.name), "INDEX-4", || "packs out of order".into())?;
    let sum = segment_counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count));
    require(sum == Some(segments), "INDEX-5", || format!("{sum:?} segments where {segments} must stand"))?;
    for (pack, count) in rows.iter_mut().zip(segment_counts) {
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..count {
            let (stored_bytes, raw_bytes) = (fields.u32()?, fields.u32()?);
            let codec = Codec::from_number(fields.u8_and_reserved()?, "INDEX-5")?;
            check_segment(stored_bytes, raw_bytes, codec, "INDEX-5")?;
            let end = offset + u64::from(stored_bytes);
            let place = u32::try_from(offset).ok().filter(|_| end <= pack.size_bytes);
            let Some(place) = place else {
                return Err(DecodeError::new("INDEX-5", "a segment beyond its pack"));
            };
            pack.segments.push(SegmentRow { offset: place, stored_bytes, raw_bytes, codec });
            offset = end;
        }
    }
    Ok(rows)
}

fn decode_entries(fields: &mut FieldReader<'_>, count: usize, packs: &[IndexedPack]) -> Decoded<Vec<Entry>> {
    let ids = fields.bytes(32 * count)?;
    let [packs_column, segments, offsets, lengths] = [
        fields.bytes(4 * count)?,
        fields.bytes(4 * count)?,
        fields.bytes(4 * count)?,
        fields.bytes(4 * count)?,
    ];
    let mut entries = Vec::with_capacity(count);
    for (position, id) in ids.as_chunks::<32>().0.iter().enumerate() {
        let entry = Entry {
            id: ChunkId(*id),
            pack: u32_at(packs_column, position),
            segment: u32_at(segments, position),
            offset: u32_at(offsets, position),
            length: u32_at(lengths, position),
        };
        let segment =
            packs.get(entry.pack as usize).and_then(|pack| pack.segments.get(entry.segment as usize));
        let end = u64::from(entry.offset) + u64::from(entry.length);
        let fits = segment.is_some_and(|segment| end <= u64::from(segment.raw_bytes))
            && (1..=CHUNK_BYTES_MAX).contains(&entry.length);
        require(fits, "INDEX-6", || format!("chunk {} in no segment", entry.id))?;
        entries.push(entry);
    }
    let in_order = entries.is_sorted_by(|a: &Entry, b| (a.id, a.pack) < (b.id, b.pack));
    require(in_order, "INDEX-6", || "chunks out of order".into())?;
    Ok(entries)
}

/// Checks what follows a content of `content_bytes` in a body of `body_bytes`: zeros to the Padmé length; rule SEAL-4.
pub fn check_padding(rest: &[u8], content_bytes: u64, body_bytes: u64) -> Decoded<()> {
    let is_padding =
        crate::format::padding::padded(content_bytes) == body_bytes && rest.iter().all(|byte| *byte == 0);
    require(is_padding, "SEAL-4", || format!("{content_bytes} bytes wrongly padded to {body_bytes}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::padding::padded;

    fn run() -> IndexRun {
        let segment =
            |offset, stored_bytes, raw_bytes, codec| SegmentRow { offset, stored_bytes, raw_bytes, codec };
        let pack = |name: u8, kind, segments| IndexedPack {
            name: ContentName([name; 32]),
            size_bytes: 500,
            session: SessionId([9; 16]),
            salt: [name; 32],
            generation: 1,
            kind,
            segments,
        };
        let entry = |id: u8, pack, segment, offset, length| Entry {
            id: ChunkId([id; 32]),
            pack,
            segment,
            offset,
            length,
        };
        IndexRun {
            superseded: vec![ContentName([1; 32]), ContentName([2; 32])],
            packs: vec![
                pack(
                    1,
                    ObjectKind::DataPack,
                    vec![segment(96, 26, 10, Codec::Raw), segment(122, 20, 900, Codec::Zstd)],
                ),
                pack(2, ObjectKind::TreePack, vec![segment(96, 20, 5, Codec::Zstd)]),
            ],
            entries: vec![entry(1, 0, 0, 0, 10), entry(3, 0, 1, 0, 900), entry(3, 1, 0, 2, 3)],
        }
    }

    fn body(run: &IndexRun) -> Vec<u8> {
        let mut bytes = run.encode();
        bytes.resize(usize::try_from(padded(bytes.len() as u64)).expect("fits"), 0);
        bytes
    }

    fn rejected(change: impl FnOnce(&mut IndexRun)) -> &'static str {
        let mut run = run();
        change(&mut run);
        IndexRun::decode(&body(&run)).expect_err("must be refused").rule
    }

    #[test]
    fn a_run_is_read_back_as_it_was() {
        assert_eq!(run().encode().len(), 16 + 2 * 32 + 2 * 100 + 3 * 12 + 3 * 48);
        assert_eq!(IndexRun::decode(&body(&run())), Ok(run()));
        let empty = IndexRun::default();
        assert_eq!(IndexRun::decode(&body(&empty)), Ok(empty));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        let too_long = vec![0; usize::try_from(INDEX_RUN_BYTES_MAX).expect("fits") + 1];
        assert_eq!(IndexRun::decode(&too_long).expect_err("too long").rule, "INDEX-1");
        assert_eq!(IndexRun::decode(&[0xff; 16]).expect_err("counts").rule, "INDEX-2");
        assert_eq!(IndexRun::decode(&[0; 15]).expect_err("counts").rule, "INDEX-2");
        assert_eq!(rejected(|bad| bad.superseded.swap(0, 1)), "INDEX-3");
        assert_eq!(rejected(|bad| bad.packs[1].name = bad.packs[0].name), "INDEX-4");
        assert_eq!(rejected(|bad| bad.packs[1].kind = ObjectKind::Commit), "INDEX-4");
        assert_eq!(rejected(|bad| bad.packs[1].size_bytes = PACK_BYTES_MAX + 1), "INDEX-4");
        assert_eq!(rejected(|bad| bad.packs[0].segments[0].raw_bytes = 11), "INDEX-5");
        assert_eq!(rejected(|bad| bad.packs[0].size_bytes = 141), "INDEX-5");
        let mut counts = body(&run());
        counts[16 + 64 + 96] = 1;
        assert_eq!(IndexRun::decode(&counts).expect_err("segment counts").rule, "INDEX-5");
        assert_eq!(rejected(|bad| bad.entries[0].length = 11), "INDEX-6");
        assert_eq!(rejected(|bad| bad.entries[0].length = 0), "INDEX-6");
        assert_eq!(rejected(|bad| bad.entries[0].segment = 2), "INDEX-6");
        assert_eq!(rejected(|bad| bad.entries[0].pack = 2), "INDEX-6");
        assert_eq!(rejected(|bad| bad.entries[2].offset = u32::MAX), "INDEX-6");
        assert_eq!(rejected(|bad| bad.entries.swap(1, 2)), "INDEX-6");
        let mut padding = body(&run());
        *padding.last_mut().expect("padded") = 1;
        assert_eq!(IndexRun::decode(&padding).expect_err("padding").rule, "SEAL-4");
        assert_eq!(IndexRun::decode(&run().encode()).expect_err("padding").rule, "SEAL-4");
    }
}
