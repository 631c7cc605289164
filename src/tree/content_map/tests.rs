//! Any range of any file, against a file that is written out byte by byte.

#![expect(clippy::cast_possible_truncation, reason = "these files are small")]

use std::cell::Cell;
use std::collections::HashMap;

use super::*;
use crate::base::ChunkId;

fn id(number: u64) -> ChunkId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ChunkId(bytes)
}

/// A small generator of numbers, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// List pages by id, and how often one was asked for.
#[derive(Default)]
struct Pages {
    pages: HashMap<ChunkId, (u8, Vec<ChunkRef>)>,
    asked: Cell<usize>,
}

impl Pages {
    /// Pages of three entries each, up to a single one.
    fn build(&mut self, mut entries: Vec<ChunkRef>) -> Content {
        let mut level = 0;
        loop {
            let mut above = Vec::new();
            for page in entries.chunks(3) {
                let id = id(1_000_000 + self.pages.len() as u64);
                self.pages.insert(id, (level, page.to_vec()));
                above.push(ChunkRef { id, length: page.iter().map(|entry| entry.length).sum() });
            }
            if let [root] = above.as_slice() {
                return Content::List { level, id: root.id };
            }
            entries = above;
            level += 1;
        }
    }

    fn give(&self, level: u8, page: ChunkRef) -> Result<ListEntries> {
        self.asked.set(self.asked.get() + 1);
        let (found, entries) = self.pages.get(&page.id).expect("a page");
        assert_eq!(*found, level);
        assert_eq!(page.length, entries.iter().map(|entry| entry.length).sum::<u64>());
        Ok(with_ends(entries.clone()))
    }
}

/// A file byte by byte: of each, the chunk and the position in it, or nothing in a hole.
type Bytes = Vec<Byte>;
type Byte = Option<(ChunkId, u64)>;

fn spread(pieces: &[Piece]) -> Bytes {
    let mut bytes = Bytes::new();
    for piece in pieces {
        match piece {
            Piece::Hole(length) => bytes.extend((0..*length).map(|_| None)),
            Piece::Data { chunk, start, length } => {
                assert!(*length > 0 && start + length <= chunk.length, "{piece:?}");
                bytes.extend((*start..start + length).map(|position| Some((chunk.id, position))));
            }
        }
    }
    bytes
}

/// Any file: chunks of any length, with or without holes, in any of the forms.
fn any_file(numbers: &mut Numbers, pages: &mut Pages) -> (Regular, Option<BundlePlace>, Bytes) {
    let count = numbers.below(14);
    let chunks: Vec<ChunkRef> =
        (0..count).map(|number| ChunkRef { id: id(number), length: 1 + numbers.below(9) }).collect();
    let mut content: Bytes =
        chunks.iter().flat_map(|chunk| (0..chunk.length).map(|at| Some((chunk.id, at)))).collect();
    let mut bundle = None;
    let form = match chunks.as_slice() {
        [] => Content::Empty,
        [only] if numbers.below(2) == 0 => {
            let offset = numbers.below(5);
            bundle = Some(BundlePlace { id: only.id, offset, bundle_bytes: offset + only.length + 2 });
            content = (0..only.length).map(|at| Some((only.id, offset + at))).collect();
            Content::Bundle(0)
        }
        [only] => Content::Chunk(only.id),
        several if numbers.below(2) == 0 => Content::Chunks(several.to_vec()),
        several => pages.build(several.to_vec()),
    };
    let mut file = Bytes::new();
    let mut extents = None;
    if bundle.is_none() && numbers.below(2) == 0 {
        let mut list = Vec::new();
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            file.extend((0..1 + numbers.below(6)).map(|_| None));
            let (now, after) = rest.split_at((1 + numbers.below(rest.len() as u64)) as usize);
            list.push(Extent { offset: file.len() as u64, length: now.len() as u64 });
            file.extend_from_slice(now);
            rest = after;
        }
        file.extend((0..1 + numbers.below(6)).map(|_| None));
        extents = Some(list);
    } else {
        file = content;
    }
    let size = file.len() as u64;
    (Regular { size, content: form, extents, changed_while_read: false }, bundle, file)
}

#[test]
fn any_range_of_any_file_is_found() {
    let mut numbers = Numbers(7);
    for _ in 0..400 {
        let mut pages = Pages::default();
        let (regular, bundle, file) = any_file(&mut numbers, &mut pages);
        let map = ContentMap::of(&regular, bundle).expect("a map");
        for _ in 0..20 {
            let (offset, length) = (numbers.below(file.len() as u64 + 3), numbers.below(30));
            let pieces = map.pieces(offset, length, &|level, page| pages.give(level, page)).expect("pieces");
            let start = file.len().min(offset as usize);
            let end = file.len().min((offset + length) as usize);
            assert_eq!(spread(&pieces), file[start..end], "{offset} {length} of {regular:?}");
            let total: u64 = pieces.iter().map(Piece::length).sum();
            assert_eq!(total, (end - start) as u64);
        }
        for offset in 0..file.len() as u64 + 2 {
            let from = |is_wanted: &dyn Fn(&Byte) -> bool| {
                let rest = file.get(offset as usize..).unwrap_or_default();
                rest.iter().position(is_wanted).map(|index| offset + index as u64)
            };
            assert_eq!(map.data_from(offset), from(&Option::is_some), "{offset} {regular:?}");
            let end = (offset < file.len() as u64).then_some(file.len() as u64);
            assert_eq!(map.hole_from(offset), from(&Option::is_none).or(end), "{offset} {regular:?}");
        }
    }
}

#[test]
fn one_byte_of_a_long_list_asks_for_a_page_of_each_level() {
    let mut pages = Pages::default();
    let chunks: Vec<ChunkRef> = (0..81).map(|number| ChunkRef { id: id(number), length: 10 }).collect();
    let content = pages.build(chunks);
    let Content::List { level, .. } = content else { panic!("a list") };
    let regular = Regular { size: 810, content, extents: None, changed_while_read: false };
    let map = ContentMap::of(&regular, None).expect("a map");
    let pieces = map.pieces(405, 1, &|level, page| pages.give(level, page)).expect("pieces");
    let chunk = ChunkRef { id: id(40), length: 10 };
    assert_eq!(pieces, [Piece::Data { chunk, start: 5, length: 1 }]);
    assert_eq!((level, pages.asked.get()), (3, 4));
}
