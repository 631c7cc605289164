//! List pages (format-spec chapter 9): the chunks of a big file, as a tree of pages that one insertion hardly moves.
//!
//! What must hold: lengths add up at every level, so that a reader finds the chunk of any byte without reading others.

use crate::base::ChunkId;
use crate::base::limits::{CHUNK_BYTES_MAX, PAGE_BYTES_MAX, PAGE_LEVELS_MAX};
use crate::format::cbor::{MapWriter, Reader, keep_unknown, needed};
use crate::format::node::{ChunkRef, decode_chunk};
use crate::format::{Decoded, require};

const LIST: u64 = 3;

/// Fewest entries of a list page that is not the last of its level.
pub const ENTRIES_MIN: usize = 256;
/// Most entries of a list page.
pub const ENTRIES_MAX: usize = 4096;
/// A page ends after an id whose first two bytes, little-endian, have none of these bits set.
const CUT_MASK: u16 = 1023;

/// A part of the content of a big file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// 0: the entries are data chunks; k: they are list pages of level k − 1, with the bytes below them.
    pub level: u8,
    /// In order of content, at least one.
    pub entries: Vec<ChunkRef>,
}

/// True if a page ends after this entry, the page holding `entries` with it.
pub fn cuts_after(id: &ChunkId, entries: usize) -> bool {
    let [first, second, ..] = *id.as_bytes();
    let falls = u16::from_le_bytes([first, second]) & CUT_MASK == 0;
    (entries >= ENTRIES_MIN && falls) || entries >= ENTRIES_MAX
}

impl ListPage {
    /// The encoding; deterministic.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).unsigned(LIST);
        map.key(1).unsigned(self.level);
        let value = map.key(2).array(2 * self.entries.len());
        for entry in &self.entries {
            value.bytes(entry.id.as_bytes()).unsigned(entry.length);
        }
        map.into_bytes()
    }

    /// Reads a page of which the level and the number of content bytes are known from what names it.
    pub fn decode(bytes: &[u8], level: u8, content_bytes: u64) -> Decoded<Self> {
        require(bytes.len() <= PAGE_BYTES_MAX, "LIST-1", || format!("a list page of {} bytes", bytes.len()))?;
        let mut reader = Reader::new(bytes);
        let (mut kind, mut found_level, mut entries) = (None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => kind = Some(reader.unsigned()?),
                1 => found_level = Some(reader.narrow::<u8>()?),
                2 => entries = Some(decode_entries(&mut reader)?),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        require(kind == Some(LIST), "LIST-2", || "a page that is no list page".into())?;
        let is_level = found_level == Some(level) && level < PAGE_LEVELS_MAX;
        require(is_level, "LIST-2", || format!("level {found_level:?} where {level} must stand"))?;
        let page = Self { level, entries: needed(entries, "the entries")? };
        let sum = page.entries.iter().try_fold(0_u64, |sum, entry| sum.checked_add(entry.length));
        require(sum == Some(content_bytes), "LIST-4", || {
            format!("lengths that do not add up to {content_bytes}")
        })?;
        let long = level == 0 && page.entries.iter().any(|entry| entry.length > u64::from(CHUNK_BYTES_MAX));
        require(!long, "LIST-5", || "a chunk above the limit".into())?;
        Ok(page)
    }
}

fn decode_entries(reader: &mut Reader<'_>) -> Decoded<Vec<ChunkRef>> {
    let count = reader.array()?;
    let fits = count % 2 == 0 && (1..=ENTRIES_MAX).contains(&(count / 2));
    require(fits, "LIST-3", || format!("{count} items in a list page"))?;
    (0..count / 2).map(|_| decode_chunk(reader)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(level: u8, lengths: &[u64]) -> ListPage {
        let entries =
            lengths.iter().map(|length| ChunkRef { id: ChunkId([3; 32]), length: *length }).collect();
        ListPage { level, entries }
    }

    fn rejected(bytes: &[u8], level: u8, content_bytes: u64) -> &'static str {
        ListPage::decode(bytes, level, content_bytes).expect_err("must be refused").rule
    }

    #[test]
    fn list_pages_are_read_back_as_they_were() {
        for page in [page(0, &[1, 2, 3]), page(3, &[1 << 40])] {
            let sum = page.entries.iter().map(|entry| entry.length).sum();
            assert_eq!(ListPage::decode(&page.encode(), page.level, sum), Ok(page));
        }
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        assert_eq!(rejected(&vec![0; PAGE_BYTES_MAX + 1], 0, 0), "LIST-1");
        assert_eq!(rejected(&page(1, &[1]).encode(), 0, 1), "LIST-2");
        assert_eq!(rejected(&page(16, &[1]).encode(), 16, 1), "LIST-2");
        assert_eq!(rejected(&crate::format::page::encode_leaf(&Default::default(), &[]), 0, 0), "LIST-3");
        assert_eq!(rejected(&[0xa2, 0, 1, 1, 0], 0, 0), "LIST-2");
        assert_eq!(rejected(&page(0, &[]).encode(), 0, 0), "LIST-3");
        assert_eq!(rejected(&page(0, &[1; 4097]).encode(), 0, 4097), "LIST-3");
        assert_eq!(rejected(&page(0, &[1, 2]).encode(), 0, 4), "LIST-4");
        assert_eq!(rejected(&page(1, &[u64::MAX, 2]).encode(), 1, 1), "LIST-4");
        assert_eq!(rejected(&page(0, &[9 << 20]).encode(), 0, 9 << 20), "LIST-5");
        assert_eq!(rejected(&page(0, &[0]).encode(), 0, 0), "NODE-6");
    }

    #[test]
    fn a_page_ends_by_the_ids_alone() {
        let falls = ChunkId([0; 32]);
        let mut stays = ChunkId([0; 32]);
        stays.0[0] = 1;
        assert!(!cuts_after(&falls, ENTRIES_MIN - 1));
        assert!(cuts_after(&falls, ENTRIES_MIN));
        assert!(!cuts_after(&stays, ENTRIES_MAX - 1));
        assert!(cuts_after(&stays, ENTRIES_MAX));
    }
}
