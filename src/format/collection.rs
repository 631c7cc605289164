//! The two phases of a collection (format-spec chapter 12): the packs that are about to go, and those that go.
//!
//! What must hold: lists are sorted and unique, so that a set has one encoding; every name is whole.

use crate::base::{ChunkId, ContentName, SessionId, Timestamp};
use crate::format::cbor::{MapWriter, Reader, keep_unknown, needed};
use crate::format::{DecodeError, Decoded, require};

/// Packs that are about to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condemned {
    /// The packs, sorted.
    pub packs: Vec<ContentName>,
    /// Snapshots whose chunks all have a place in other packs, sorted.
    pub kept: Vec<SessionId>,
    /// Chunks that a repair gave up, sorted.
    pub lost: Vec<ChunkId>,
    /// When.
    pub time: Timestamp,
}

/// Packs that go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The packs, sorted; each of them condemned before.
    pub packs: Vec<ContentName>,
    /// Chunks that a repair gave up, sorted: those of the condemned set. They stay lost.
    pub lost: Vec<ChunkId>,
    /// When.
    pub time: Timestamp,
}

impl Condemned {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).bytes(self.packs.iter().map(|name| name.0).collect::<Vec<_>>().as_flattened());
        map.key(1).bytes(self.kept.iter().map(|session| session.0).collect::<Vec<_>>().as_flattened());
        map.key(2).bytes(self.lost.iter().map(|chunk| chunk.0).collect::<Vec<_>>().as_flattened());
        map.key(3).time(self.time);
        map.into_bytes()
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let (mut packs, mut kept, mut lost, mut time) = (None, None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => packs = Some(names(reader.bytes()?, ContentName)?),
                1 => kept = Some(names(reader.bytes()?, SessionId)?),
                2 => lost = Some(names(reader.bytes()?, ChunkId)?),
                3 => time = Some(reader.time()?),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        Ok(Self {
            packs: needed(packs, "the packs")?,
            kept: needed(kept, "the kept snapshots")?,
            lost: needed(lost, "the lost chunks")?,
            time: needed(time, "the time")?,
        })
    }
}

impl Verdict {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).bytes(self.packs.iter().map(|name| name.0).collect::<Vec<_>>().as_flattened());
        if !self.lost.is_empty() {
            map.key(2).bytes(self.lost.iter().map(|chunk| chunk.0).collect::<Vec<_>>().as_flattened());
        }
        map.key(3).time(self.time);
        map.into_bytes()
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let (mut packs, mut lost, mut time) = (None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => packs = Some(names(reader.bytes()?, ContentName)?),
                2 => lost = Some(names(reader.bytes()?, ChunkId)?),
                3 => time = Some(reader.time()?),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        Ok(Self {
            packs: needed(packs, "the packs")?,
            lost: lost.unwrap_or_default(),
            time: needed(time, "the time")?,
        })
    }
}

fn names<const N: usize, T: Ord>(bytes: &[u8], make: impl Fn([u8; N]) -> T) -> Decoded<Vec<T>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    require(rest.is_empty(), "COLL-1", || format!("names of {} bytes", bytes.len()))?;
    let names: Vec<T> = chunks.iter().map(|chunk| make(*chunk)).collect();
    match names.is_sorted_by(|a, b| a < b) {
        true => Ok(names),
        false => Err(DecodeError::new("COLL-2", "names out of order or twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_phases_are_read_back_as_they_were() {
        let condemned = Condemned {
            packs: vec![ContentName([1; 32]), ContentName([2; 32])],
            kept: vec![SessionId([3; 16])],
            lost: vec![ChunkId([4; 32])],
            time: Timestamp { seconds: 5, nanoseconds: 6 },
        };
        assert_eq!(Condemned::decode(&condemned.encode()), Ok(condemned.clone()));
        let verdict = Verdict { packs: condemned.packs, lost: condemned.lost, time: condemned.time };
        assert_eq!(Verdict::decode(&verdict.encode()), Ok(verdict));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        let broken = |packs: &[u8]| {
            let mut map = MapWriter::new();
            map.key(0).bytes(packs);
            map.key(3).time(Timestamp::default());
            Verdict::decode(&map.into_bytes()).expect_err("must be refused").rule
        };
        assert_eq!(broken(&[0; 33]), "COLL-1");
        assert_eq!(broken(&[0; 64]), "COLL-2");
        assert_eq!(broken(&[[2; 32], [1; 32]].concat()), "COLL-2");
    }
}
