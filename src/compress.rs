//! zstd with bounds (format-spec chapter 6): a segment becomes one frame, or stays as it is.
//!
//! What must hold: what is decompressed has exactly the length that was said beforehand, in memory of that length,
//! through a window that is bounded; anything else is damage.

use std::cell::RefCell;
use std::io::Write;

use zstd::bulk::{Compressor, Decompressor};

use crate::base::limits::ZSTD_WINDOW_LOG_MAX;
use crate::base::{Error, ErrorKind, Result};

/// How hard content is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Of zstd; `None`: content is stored as it is.
    level: Option<i32>,
}

impl Compression {
    /// Not at all.
    pub const OFF: Self = Self { level: None };
    /// The level that balances speed and size for most content.
    pub const AUTO: Self = Self { level: Some(BALANCED_LEVEL) };
    /// As hard as may be: above this level zstd asks a reader for more memory than the format allows.
    pub const MAX: Self = Self { level: Some(19) };

    /// A level of zstd from 1 to 19, or one of its fast ones from -7 to -1; `None` for any other.
    pub fn level(level: i32) -> Option<Self> {
        // To zstd 0 is another name of 3, not the step between -1 and 1.
        ((-7..=19).contains(&level) && level != 0).then_some(Self { level: Some(level) })
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::AUTO
    }
}

/// Of zstd's levels the one that balances speed and size for most content.
const BALANCED_LEVEL: i32 = 3;
/// A frame that saves less than one part in this many is not worth decompressing later: 3 %.
const GAIN_DIVISOR: usize = 33;
/// Bytes that are looked at to guess whether content compresses.
const SAMPLE_BYTES: usize = 4096;

/// How a zstd frame begins; RFC 8878, section 3.1.1.
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    /// Where frames are made before they are kept in as much room as they need.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses, or says `None` where that gains less than 3 % or is not wanted.
pub fn compress(content: &[u8], compression: Compression) -> Result<Option<Vec<u8>>> {
    compress_to(content, compression, <[u8]>::to_vec)
}

/// As `compress`, where `keep` makes what is wanted of the frame.
pub fn compress_to<T>(
    content: &[u8],
    compression: Compression,
    keep: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>> {
    let Some(level) = compression.level else { return Ok(None) };
    let failed = |cause| Error::caused(ErrorKind::Failed, "cannot compress", cause);
    let worth = content.len() - content.len() / GAIN_DIVISOR;
    FRAME.with_borrow_mut(|frame| {
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(content.len()));
        COMPRESSOR.with_borrow_mut(|kept| {
            let compressor = match kept {
                Some((kept_level, compressor)) if *kept_level == level => compressor,
                _ => &mut kept.insert((level, Compressor::new(level).map_err(failed)?)).1,
            };
            compressor.compress_to_buffer(content, frame).map_err(failed)
        })?;
        Ok((frame.len() < worth).then(|| keep(frame)))
    })
}

/// Makes one frame with a checksum of what is written, without end, for others to read. A frame that was not finished is
/// seen to be cut off.
pub struct FrameWriter<W: Write>(zstd::stream::write::Encoder<'static, W>);

impl<W: Write> FrameWriter<W> {
    /// A frame at the level that balances speed and size.
    pub fn new(output: W) -> Result<Self> {
        let failed = |cause| Error::caused(ErrorKind::Failed, "cannot compress", cause);
        let mut encoder = zstd::stream::write::Encoder::new(output, BALANCED_LEVEL).map_err(failed)?;
        encoder.include_checksum(true).map_err(failed)?;
        Ok(Self(encoder))
    }

    /// Ends the frame, and gives back where it went.
    pub fn finish(self) -> std::io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Decompresses one frame that must give exactly `length` bytes.
pub fn decompress(frame: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    decompress_into(frame, length, &mut content)?;
    Ok(content)
}

/// As `decompress`, into a buffer whose content is replaced.
pub fn decompress_into(frame: &[u8], length: usize, content: &mut Vec<u8>) -> Result<()> {
    let failed =
        |cause| Error::caused(ErrorKind::Damaged, "a frame does not decompress (format rule PACK-7)", cause);
    let refused = |what: String| Error::damaged(format!("{what} (format rule PACK-7)"));
    let declared = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    if declared != Some(length as u64) {
        return Err(refused(format!("a frame of {declared:?} bytes where {length} must stand")));
    }
    if !frame.starts_with(&FRAME_MAGIC)
        || zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len())
    {
        return Err(refused("what should be one zstd frame is not".into()));
    }
    if window_bytes(frame).is_none_or(|window| window > 1 << ZSTD_WINDOW_LOG_MAX) {
        return Err(refused("a frame with too large a window".into()));
    }
    content.clear();
    content.reserve(length);
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().map_err(failed)?),
        };
        decompressor.decompress_to_buffer(frame, content).map_err(failed)
    })?;
    if content.len() != length {
        return Err(refused(format!("a frame of {} bytes where {length} must stand", content.len())));
    }
    Ok(())
}

/// The window that a frame asks for; RFC 8878, section 3.1.1.1. A frame of a single segment has none of its own: its
/// content is the window.
fn window_bytes(frame: &[u8]) -> Option<u64> {
    let descriptor = frame.get(4)?;
    if descriptor & 0x20 != 0 {
        return Some(0);
    }
    let window = u64::from(*frame.get(5)?);
    let base = 1_u64 << (10 + (window >> 3));
    Some(base + base / 8 * (window & 7))
}

/// Guesses from a sample in the middle whether content is not worth compressing: photographs, archives, ciphertext.
///
/// The guess only decides which segment a chunk joins; whether a segment is stored as it is, `compress` decides.
pub fn looks_incompressible(content: &[u8]) -> bool {
    let start = content.len().saturating_sub(SAMPLE_BYTES) / 2;
    let sample = content.get(start..).unwrap_or_default();
    let sample = sample.get(..SAMPLE_BYTES.min(sample.len())).unwrap_or_default();
    if sample.len() < SAMPLE_BYTES {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    // Of 4096 random bytes each value comes 16 times, give or take 4; the sum of squares is then near 256 · 272.
    let squares: u64 = counts.iter().map(|count| u64::from(*count) * u64::from(*count)).sum();
    squares < 256 * 320
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut content = vec![0; length];
        blake3::Hasher::new_keyed(&[1; 32]).finalize_xof().fill(&mut content);
        content
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let content = b"one line like the other\n".repeat(1000);
        let frame = compress(&content, Compression::AUTO).expect("compresses").expect("gains");
        assert!(frame.len() < content.len() / 10);
        assert_eq!(decompress(&frame, content.len()).expect("decompresses"), content);
        assert_eq!(compress(&random(100_000), Compression::AUTO).expect("tried"), None);
        assert_eq!(compress(&[], Compression::AUTO).expect("tried"), None);
    }

    #[test]
    fn a_level_is_between_minus_7_and_19_and_off_compresses_nothing() {
        let content = b"one line like the other\n".repeat(1000);
        assert_eq!(compress(&content, Compression::OFF).expect("tried"), None);
        for level in (-7..=19).filter(|level| *level != 0) {
            let frame = compress(&content, Compression::level(level).expect("a level"));
            let frame = frame.expect("compresses").expect("gains");
            assert_eq!(decompress(&frame, content.len()).expect("decompresses"), content);
        }
        assert_eq!(Compression::level(19), Some(Compression::MAX));
        assert!([i32::MIN, -8, 0, 20, i32::MAX].iter().all(|level| Compression::level(*level).is_none()));
    }

    #[test]
    fn a_frame_of_another_length_is_damage() {
        let content = vec![0; 1 << 20];
        let frame = compress(&content, Compression::AUTO).expect("compresses").expect("gains");
        for length in [0, 1, content.len() - 1, content.len() + 1] {
            let error = decompress(&frame, length).expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::Damaged);
        }
        for end in 0..frame.len() {
            assert!(decompress(&frame[..end], content.len()).is_err(), "cut at {end}");
        }
        let two = [frame.as_slice(), &frame].concat();
        let error = decompress(&two, content.len()).expect_err("two frames");
        assert!(error.to_string().contains("PACK-7"), "{error}");
    }

    #[test]
    fn what_is_not_exactly_one_frame_with_a_small_window_is_damage() {
        let refused = |frame: &[u8], length| {
            let error = decompress(frame, length).expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.to_string().contains("(format rule PACK-7)"), "{error}");
        };
        // A window of 2^24 bytes, four bytes of content size, one block that repeats a byte a thousand times.
        let good = [0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x70, 0xe8, 3, 0, 0, 0x43, 0x1f, 0, 9];
        assert_eq!(decompress(&good, 1000).expect("a good frame"), [9; 1000]);
        refused(&[good.as_slice(), &[0]].concat(), 1000);
        refused(&[[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].as_slice(), &good].concat(), 1000);
        let mut large_window = good;
        large_window[5] = 0x71;
        refused(&large_window, 1000);
        let mut other_magic = good;
        other_magic[0] = 0x27;
        refused(&other_magic, 1000);
        // Of a single segment the content is the window.
        let single = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xe8, 3, 0, 0, 0x43, 0x1f, 0, 9];
        assert_eq!(decompress(&single, 1000).expect("a good frame"), [9; 1000]);
    }

    #[test]
    fn random_content_looks_incompressible_and_text_does_not() {
        assert!(looks_incompressible(&random(1 << 16)));
        assert!(!looks_incompressible(&random(100)));
        assert!(!looks_incompressible(&b"one line like the other\n".repeat(1000)));
        let base64: Vec<u8> = random(1 << 16).iter().map(|byte| b'0' + byte % 64).collect();
        assert!(!looks_incompressible(&base64));
    }
}
