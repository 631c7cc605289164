//! Targets: the chunker and zstd.
//!
//! What must hold: where content is cut is judged by the text of format-spec chapter 13, written down here a second time,
//! masks included; whatever a frame says, what comes of it has exactly the length asked for or is damage.

use packstone::base::ErrorKind;
use packstone::base::limits::CHUNK_BYTES_MAX;
use packstone::chunker::Cutter;
use packstone::compress::{Compression, compress, decompress, looks_incompressible};
use packstone::format::config::{Chunking, Parameters};

use super::input::Input;

/// Longest content that a case is made to.
const CONTENT_BYTES_MAX: usize = 96 << 10;

/// The masks of format-spec chapter 13 for averages from 512 bytes to 8 MiB, each twice the one before.
const MASKS: [u64; 15] = [
    0x0000_0190_0035_3000,
    0x0000_5900_0353_0000,
    0x0000_d900_0353_0000,
    0x0000_d901_0353_0000,
    0x0000_d903_0353_0000,
    0x0000_d903_1353_0000,
    0x0000_d90f_0353_0000,
    0x0000_d903_0353_7000,
    0x0000_d907_0353_7000,
    0x0000_d907_0753_7000,
    0x0000_d917_0753_7000,
    0x0000_d917_4753_7000,
    0x0000_d917_6753_7000,
    0x0000_d937_6753_7000,
    0x0000_d937_7753_7000,
];

fn chunking(input: &mut Input<'_>) -> Chunking {
    let number = |input: &mut Input<'_>| u32::try_from(input.number(4)).expect("32 bits");
    match input.below(4) {
        0 => Chunking::Fixed { bytes: number(input) },
        1 => Chunking::FastCdc {
            min_bytes: number(input),
            average_bytes: number(input),
            max_bytes: number(input),
        },
        2 => Chunking::Fixed { bytes: 512 + 2 * u32::from(input.byte()) },
        // In their ranges, and small enough for many chunks.
        _ => {
            let average_bytes = 1024_u32 << input.below(4);
            let above = |input: &mut Input<'_>, bound: u32| {
                u32::try_from(input.number(2)).expect("16 bits") % (bound / 2 + 1) * 2
            };
            let min_bytes = 1024 + above(input, average_bytes - 1024);
            let max_bytes = average_bytes + above(input, 16 << 10);
            Chunking::FastCdc { min_bytes, average_bytes, max_bytes }
        }
    }
}

/// Long content from few bytes: runs of noise, of one byte, of what came before, and bytes as they are.
fn content(input: &mut Input<'_>) -> Vec<u8> {
    let mut content = Vec::new();
    while !input.is_over() && content.len() < CONTENT_BYTES_MAX {
        let (what, length) = (input.below(4), input.length());
        let length = length.min(CONTENT_BYTES_MAX - content.len());
        match what {
            0 => {
                let mut noise = vec![0; length];
                blake3::Hasher::new().update(input.take(2)).finalize_xof().fill(&mut noise);
                content.append(&mut noise);
            }
            1 => content.resize(content.len() + length, input.byte()),
            2 => content.extend_from_within(content.len().saturating_sub(length)..),
            _ => content.extend_from_slice(input.take(length)),
        }
    }
    content
}

/// The length of the first chunk, as the chapter says it.
fn first_chunk(chunking: &Chunking, table: &[u64; 256], content: &[u8]) -> usize {
    let size = |bytes: u32| usize::try_from(bytes).expect("a size");
    let (minimum, average, maximum) = match *chunking {
        Chunking::Fixed { bytes } => return content.len().min(size(bytes)),
        Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => {
            (size(min_bytes), average_bytes, size(max_bytes))
        }
    };
    if content.len() <= minimum {
        return content.len();
    }
    let end = content.len().min(maximum);
    let middle = size(average).min(end) / 2 * 2;
    let step = usize::try_from(average.ilog2() - 9).expect("a position");
    let (small, large) = (MASKS[step + 1], MASKS[step - 1]);
    let mut hash = 0_u64;
    for position in minimum..end / 2 * 2 {
        hash = hash.wrapping_mul(2).wrapping_add(table[usize::from(content[position])]);
        let mask = if position < middle { small } else { large };
        if hash & mask == 0 {
            return position;
        }
    }
    end
}

/// Any content, cut by any parameters.
pub fn chunker(data: &[u8]) {
    let mut input = Input::new(data);
    let mut table = zeroize::Zeroizing::new([0_u64; 256]);
    let seed = input.byte();
    let mut bytes = [0; 2048];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    table.iter_mut().zip(bytes.as_chunks().0).for_each(|(entry, bytes)| *entry = u64::from_le_bytes(*bytes));
    let chunking = chunking(&mut input);
    let parameters = Parameters { chunking, ..Parameters::default() };
    let cutter = match Cutter::new(&parameters, table.clone()) {
        Ok(cutter) => {
            parameters.check().expect("parameters in their ranges");
            cutter
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(parameters.check().is_err());
            return;
        }
    };
    assert!(cutter.max_bytes() <= usize::try_from(CHUNK_BYTES_MAX).expect("a size"));
    let step = 1 + input.length();
    let content = content(&mut input);
    let lengths = cutter.chunks(&content, true);
    let mut rest = content.as_slice();
    let mut ends = Vec::new();
    for length in &lengths {
        assert_eq!(first_chunk(&chunking, &table, rest), *length, "{chunking:?}");
        assert!((1..=cutter.max_bytes()).contains(length));
        rest = rest.get(*length..).expect("a chunk within the content");
        ends.push(content.len() - rest.len());
        if let (Chunking::FastCdc { min_bytes, .. }, false) = (chunking, rest.is_empty()) {
            assert!(*length >= usize::try_from(min_bytes).expect("a size"));
        }
    }
    assert!(rest.is_empty(), "all content is in chunks");
    assert_independent(&cutter, &content, &lengths, &ends, step);
}

/// Cuts depend neither on how bytes arrive, nor on what was cut off before them, nor on what follows.
fn assert_independent(cutter: &Cutter, content: &[u8], lengths: &[usize], ends: &[usize], step: usize) {
    let (mut found, mut begin, mut end) = (Vec::new(), 0, 0);
    while end < content.len() {
        end = (end + step).min(content.len());
        let lengths = cutter.chunks(&content[begin..end], end == content.len());
        begin += lengths.iter().sum::<usize>();
        found.extend(lengths);
    }
    assert_eq!(found, lengths, "in steps of {step}");
    if let Some(middle) = ends.len().checked_sub(2).map(|last| last / 2) {
        let end = ends[middle];
        assert_eq!(cutter.chunks(&content[end..], true), lengths[middle + 1..], "from a cut on");
        // Content that ends at a cut was looked at as if it went on, so that the cut before may move; those that no
        // later byte can change stay.
        let fixed = cutter.chunks(&content[..end], false);
        assert!(lengths.starts_with(&fixed), "content that goes on");
    }
}

/// A frame, for a length that the first three bytes say; or, if their highest bit is set, content that is compressed.
pub fn zstd(data: &[u8]) {
    // A frame of a thousand bytes 9: a decompressor that met damage must still open it.
    const GOOD: [u8; 13] = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xe8, 3, 0, 0, 0x43, 0x1f, 0, 9];
    let mut input = Input::new(data);
    let length = usize::try_from(input.number(3)).expect("24 bits");
    if length >= 1 << 23 {
        let content = content(&mut input);
        return there_and_back(&content, i32::try_from(length % 19).expect("a level") + 1);
    }
    let frame = input.rest();
    match decompress(frame, length) {
        Ok(content) => {
            assert_eq!(content.len(), length);
            for other in [length.wrapping_sub(1), length + 1] {
                assert!(decompress(frame, other).is_err(), "of another length");
            }
            // A byte too many, another frame, and one that holds nothing.
            for behind in [&[0], frame, &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]] {
                assert!(decompress(&[frame, behind].concat(), length).is_err(), "more than one frame");
            }
            let shorter = frame.get(..frame.len() - 1).unwrap_or_default();
            assert!(decompress(shorter, length).is_err(), "a byte too few");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.to_string().contains("(format rule PACK-7)"), "{error}");
        }
    }
    assert_eq!(decompress(&GOOD, 1000).expect("a good frame"), [9; 1000]);
}

fn there_and_back(content: &[u8], level: i32) {
    let _ = looks_incompressible(content);
    let level = Compression::level(level).expect("a level");
    let Some(frame) = compress(content, level).expect("compressed") else { return };
    assert!(frame.len() < content.len());
    assert_eq!(decompress(&frame, content.len()).expect("its own frame"), content);
    assert!(decompress(&frame, content.len() + 1).is_err());
}
