//! Where content is cut into chunks (format-spec chapter 13).
//!
//! What must hold: cut points depend on the bytes, the parameters and the repository's secret table alone, never on how
//! the bytes arrive; no chunk is longer than the maximum, none but the last shorter than the minimum.
//!
//! The hash of a position takes the hash of the one before, so that a processor that goes byte by byte mostly waits. Yet a
//! byte is shifted out of it after 64 more: what comes later can be hashed from 64 bytes before. So four lanes of a window
//! are hashed at once, and the window is gone through byte by byte only if any of them ends a chunk.

use fastcdc::v2020::{Normalization, select_masks};
use zeroize::Zeroizing;

use crate::base::Result;
use crate::format::config::{Chunking, Parameters};

/// Cuts content.
pub struct Cutter(Method);

enum Method {
    Gear(Box<Gear>),
    Fixed { bytes: usize },
}

struct Gear {
    min_bytes: usize,
    average_bytes: usize,
    max_bytes: usize,
    mask_small: u64,
    mask_large: u64,
    table: Zeroizing<[u64; 256]>,
}

/// Bytes after which a byte is no longer part of the hash: as many as it has bits.
const MEMORY_BYTES: usize = 64;
/// Bytes of a lane: many against those that are hashed twice, few against a chunk.
const LANE_BYTES: usize = 1024;
/// Bytes of four lanes.
const WINDOW_BYTES: usize = 4 * LANE_BYTES;

impl Gear {
    /// The hash after one byte more.
    fn next(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table.get(usize::from(byte)).copied().unwrap_or_default())
    }

    /// Length of the first chunk.
    fn first_chunk(&self, content: &[u8]) -> usize {
        if content.len() <= self.min_bytes {
            return content.len();
        }
        let end = content.len().min(self.max_bytes);
        // Positions are tested in pairs from the minimum, which is even, so that an odd last one never is.
        let last = end / 2 * 2;
        let center = self.average_bytes.min(end) / 2 * 2;
        let part = |from, to| content.get(from..to).unwrap_or_default();
        let (cut, hash) = self.first_cut(part(self.min_bytes, center), self.mask_small, 0);
        if let Some(cut) = cut {
            return self.min_bytes + cut;
        }
        let center = center.max(self.min_bytes);
        let (cut, _) = self.first_cut(part(center, last), self.mask_large, hash);
        cut.map_or(end, |cut| center + cut)
    }

    /// The first position whose hash has none of the bits of a mask, and the hash after the last byte that was looked at.
    fn first_cut(&self, content: &[u8], mask: u64, mut hash: u64) -> (Option<usize>, u64) {
        let (windows, rest) = content.as_chunks::<WINDOW_BYTES>();
        for (number, window) in windows.iter().enumerate() {
            match self.pass(window, mask, hash) {
                Some(after) => hash = after,
                None => {
                    let (cut, after) = self.first_cut_by_bytes(window, mask, hash);
                    if let Some(cut) = cut {
                        return (Some(number * WINDOW_BYTES + cut), after);
                    }
                    hash = after;
                }
            }
        }
        let (cut, hash) = self.first_cut_by_bytes(rest, mask, hash);
        (cut.map(|cut| content.len() - rest.len() + cut), hash)
    }

    fn first_cut_by_bytes(&self, content: &[u8], mask: u64, mut hash: u64) -> (Option<usize>, u64) {
        for (position, byte) in content.iter().enumerate() {
            hash = self.next(hash, *byte);
            if hash & mask == 0 {
                return (Some(position), hash);
            }
        }
        (None, hash)
    }

    /// The hash after a window; nothing if a chunk ends somewhere in it.
    fn pass(&self, window: &[u8; WINDOW_BYTES], mask: u64, hash: u64) -> Option<u64> {
        let [first, second, third, fourth] = window.as_chunks::<LANE_BYTES>().0 else { return None };
        let mut hashes = [hash, 0, 0, 0];
        let ends = [first, second, third].map(|lane| lane.last_chunk::<MEMORY_BYTES>());
        let [Some(a), Some(b), Some(c)] = ends else { return None };
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            let [_, second, third, fourth] = &mut hashes;
            *second = self.next(*second, *a);
            *third = self.next(*third, *b);
            *fourth = self.next(*fourth, *c);
        }
        let [mut one, mut two, mut three, mut four] = hashes;
        for (((a, b), c), d) in first.iter().zip(second).zip(third).zip(fourth) {
            one = self.next(one, *a);
            two = self.next(two, *b);
            three = self.next(three, *c);
            four = self.next(four, *d);
            if one & mask == 0 || two & mask == 0 || three & mask == 0 || four & mask == 0 {
                return None;
            }
        }
        Some(four)
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Cutter(at most {} bytes)", self.max_bytes())
    }
}

impl Cutter {
    /// A cutter for parameters that must be in their ranges, and a secret table.
    pub fn new(parameters: &Parameters, table: Zeroizing<[u64; 256]>) -> Result<Self> {
        parameters.check().map_err(|error| error.of_object("the chunker's parameters"))?;
        Ok(Self(match parameters.chunking {
            Chunking::Fixed { bytes } => Method::Fixed { bytes: bytes as usize },
            Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => {
                let (mask_small, mask_large) = select_masks(average_bytes as usize, Normalization::Level1);
                Method::Gear(Box::new(Gear {
                    min_bytes: min_bytes as usize,
                    average_bytes: average_bytes as usize,
                    max_bytes: max_bytes as usize,
                    mask_small,
                    mask_large,
                    table,
                }))
            }
        }))
    }

    /// Most bytes of a chunk.
    pub fn max_bytes(&self) -> usize {
        match &self.0 {
            Method::Gear(gear) => gear.max_bytes,
            Method::Fixed { bytes } => *bytes,
        }
    }

    /// Length of the first chunk of `content`; all of `content` if nothing in it says otherwise.
    pub fn first_chunk(&self, content: &[u8]) -> usize {
        match &self.0 {
            Method::Fixed { bytes } => content.len().min(*bytes),
            Method::Gear(gear) => gear.first_chunk(content),
        }
    }

    /// Lengths of the chunks at the front of `content`: all of them if it is all that is left, else those that no
    /// later byte can change.
    pub fn chunks(&self, content: &[u8], is_all: bool) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut rest = content;
        while !rest.is_empty() {
            let length = self.first_chunk(rest).clamp(1, rest.len());
            // A cut before the end of what is there is made by bytes that are there; one at the end may be made by the end.
            if !is_all && length == rest.len() && length < self.max_bytes() {
                break;
            }
            lengths.push(length);
            rest = rest.get(length..).unwrap_or_default();
        }
        lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Zeroizing<[u64; 256]> {
        let mut bytes = [0; 2048];
        blake3::Hasher::new_keyed(&[7; 32]).finalize_xof().fill(&mut bytes);
        let mut table = Zeroizing::new([0; 256]);
        table
            .iter_mut()
            .zip(bytes.as_chunks().0)
            .for_each(|(entry, bytes)| *entry = u64::from_le_bytes(*bytes));
        table
    }

    fn content(length: usize) -> Vec<u8> {
        let mut content = vec![0; length];
        blake3::Hasher::new_keyed(&[9; 32]).finalize_xof().fill(&mut content);
        content
    }

    fn cutter(parameters: Parameters) -> Cutter {
        Cutter::new(&parameters, table()).expect("good parameters")
    }

    /// The rule of the specification, written down a second time and as plainly as it can be.
    fn by_the_book(content: &[u8], table: &[u64; 256], min: usize, average: usize, max: usize) -> usize {
        let (small, large) = select_masks(average, Normalization::Level1);
        if content.len() <= min {
            return content.len();
        }
        let end = content.len().min(max);
        let mut hash = 0_u64;
        for position in min..end - end % 2 {
            hash = (hash << 1).wrapping_add(table[content[position] as usize]);
            let mask = if position < average.min(end) / 2 * 2 { small } else { large };
            if hash & mask == 0 {
                return position;
            }
        }
        end
    }

    #[test]
    fn cut_points_are_golden() {
        let lengths = cutter(Parameters::default()).chunks(&content(1_000_000), true);
        assert_eq!(lengths, GOLDEN_DEFAULT);
        let lengths = cutter(Parameters::tiny()).chunks(&content(20_000), true);
        assert_eq!(lengths, GOLDEN_TINY);
        let zeros = cutter(Parameters::tiny()).chunks(&[0; 20_000], true);
        assert_eq!(zeros, GOLDEN_ZEROS);
    }

    const GOLDEN_DEFAULT: [usize; 8] = [151205, 163973, 149554, 235937, 46166, 44330, 192253, 16582];
    const GOLDEN_TINY: [usize; 8] = [2310, 2613, 2093, 1520, 2298, 2078, 3557, 3531];
    const GOLDEN_ZEROS: [usize; 3] = [8192, 8192, 3616];

    #[test]
    fn the_rule_of_the_specification_gives_the_same_cut_points() {
        let content = content(300_000);
        let table = table();
        for odd in [0, 1, 2, 3, 1023, 1024, 1025, 2047, 2049, 8191, 8192, 8193, 299_999] {
            let mut rest = &content[odd..];
            for length in cutter(Parameters::tiny()).chunks(rest, true) {
                assert_eq!(by_the_book(rest, &table, 1024, 2048, 8192), length);
                rest = &rest[length..];
            }
            assert!(rest.is_empty());
        }
        for length in 0..3000 {
            let piece = &content[..length];
            assert_eq!(
                cutter(Parameters::tiny()).first_chunk(piece),
                by_the_book(piece, &table, 1024, 2048, 8192)
            );
        }
    }

    /// Against the scan byte by byte of fastcdc, also of stretches that repeat.
    #[test]
    fn lanes_give_the_same_cut_points_as_bytes() {
        let table = table();
        let shifted = (*table).map(|entry| entry << 1);
        let mut parameters = Parameters::tiny();
        let mut cuts = 0;
        for (average_bytes, seed) in [(4096, 1), (16_384, 2), (65_536, 3), (131_072, 4)] {
            let (min_bytes, max_bytes) = (average_bytes / 4, average_bytes * 8);
            parameters.chunking = Chunking::FastCdc { min_bytes, average_bytes, max_bytes };
            let cutter = cutter(parameters);
            let [min, average, max] = [min_bytes, average_bytes, max_bytes].map(|bytes| bytes as usize);
            let (small, large) = select_masks(average, Normalization::Level1);
            let mut content = content(3_000_000);
            for (number, stretch) in content.chunks_mut(70_001).enumerate() {
                if number % 3 == 0 {
                    stretch.fill(u8::try_from(number % 7 * seed).unwrap());
                }
            }
            let mut rest = content.as_slice();
            while !rest.is_empty() {
                let (_, expected) = fastcdc::v2020::cut_gear(
                    rest,
                    min,
                    average,
                    max,
                    small,
                    large,
                    small << 1,
                    large << 1,
                    &*table,
                    &shifted,
                );
                assert_eq!(cutter.first_chunk(rest), expected, "{average_bytes}, {} left", rest.len());
                cuts += 1;
                rest = &rest[expected..];
            }
        }
        assert!(cuts > 500, "{cuts} cut points");
    }

    #[test]
    fn a_window_without_a_cut_is_passed_and_its_hash_goes_on() {
        let cutter = cutter(Parameters::default());
        let Method::Gear(gear) = cutter.0 else { panic!("FastCDC is the default") };
        let content = content(100 * WINDOW_BYTES);
        let (mut passed, mut hash) = (0, 0);
        for window in content.as_chunks::<WINDOW_BYTES>().0 {
            let (cut, after) = gear.first_cut_by_bytes(window, gear.mask_large, hash);
            let expected = cut.is_none().then_some(after);
            assert_eq!(gear.pass(window, gear.mask_large, hash), expected);
            passed += usize::from(cut.is_none());
            hash = after;
        }
        assert!((50..100).contains(&passed), "{passed} windows without a cut, of 100");
    }

    #[test]
    fn sizes_may_be_the_same() {
        let (content, table) = (content(60_000), table());
        let mut parameters = Parameters::tiny();
        for (min, average, max) in [
            (1024, 1024, 1024),
            (1024, 1024, 9000),
            (1024, 8192, 8192),
            (8192, 8192, 8192),
            (1030, 16_384, 20_002),
        ] {
            let sizes = [min, average, max].map(|bytes| u32::try_from(bytes).unwrap());
            let [min_bytes, average_bytes, max_bytes] = sizes;
            parameters.chunking = Chunking::FastCdc { min_bytes, average_bytes, max_bytes };
            let mut rest = content.as_slice();
            for length in cutter(parameters).chunks(rest, true) {
                assert_eq!(by_the_book(rest, &table, min, average, max), length, "{min} {average} {max}");
                rest = &rest[length..];
            }
        }
    }

    #[test]
    fn cut_points_do_not_depend_on_how_bytes_arrive() {
        let content = content(200_000);
        let cutter = cutter(Parameters::tiny());
        let whole = cutter.chunks(&content, true);
        for step in [8192, 10_000, 65_536] {
            let (mut lengths, mut start, mut end) = (Vec::new(), 0, 0);
            while end < content.len() {
                end = (end + step).min(content.len());
                let found = cutter.chunks(&content[start..end], end == content.len());
                start += found.iter().sum::<usize>();
                lengths.extend(found);
            }
            assert_eq!(lengths, whole, "in steps of {step}");
        }
    }

    #[test]
    fn an_insertion_moves_few_cut_points() {
        let content = content(500_000);
        let cutter = cutter(Parameters::tiny());
        let ends = |content: &[u8]| {
            let lengths = cutter.chunks(content, true);
            let mut from_end = content.len();
            lengths
                .into_iter()
                .map(|length| {
                    from_end -= length;
                    from_end
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        let changed = [&content[..100_000], b"inserted", &content[100_000..]].concat();
        let (before, after) = (ends(&content), ends(&changed));
        let shared = before.intersection(&after).count();
        assert!(shared * 100 > before.len() * 70, "{shared} of {}", before.len());
    }

    #[test]
    fn fixed_chunks_have_one_size() {
        let mut parameters = Parameters::tiny();
        parameters.chunking = Chunking::Fixed { bytes: 512 };
        assert_eq!(cutter(parameters).chunks(&[1; 1100], true), [512, 512, 76]);
        assert_eq!(cutter(parameters).chunks(&[1; 1100], false), [512, 512]);
    }

    #[test]
    fn odd_parameters_are_refused() {
        let mut parameters = Parameters::tiny();
        parameters.chunking = Chunking::FastCdc { min_bytes: 1025, average_bytes: 2048, max_bytes: 8192 };
        assert!(Cutter::new(&parameters, table()).is_err());
    }
}
