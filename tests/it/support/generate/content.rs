//! Contents of regular files: of the sizes at which pieces, pages and chunks begin and end, and related to each other
//! as versions of one file are, so that deduplication has something to find and something to get wrong.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::pwrite;

use super::census::{Census, Feature};
use crate::support::random::Random;

const PAGE_BYTES: usize = 4096;

/// Positions behind so many pages need more than 32 bits.
const PAGES_OF_4_GIB: usize = 1 << 20;

/// So many contents are kept to be copied and edited.
const KEPT: usize = 6;

const VOCABULARY: &[&str] =
    &["INSERT INTO", "orders", "VALUES", "(1, 'blue')", "null", "\t", "id", "2024-02-29", "the", "restore"];

/// Makes contents, and remembers some.
#[derive(Debug, Default)]
pub struct Contents {
    earlier: Vec<Vec<u8>>,
}

impl Contents {
    /// The bytes of a regular file.
    pub fn next(&mut self, random: &mut Random, census: &mut Census) -> Vec<u8> {
        if !self.earlier.is_empty() && random.chance(1, 4) {
            let mut bytes = random.pick(&self.earlier).clone();
            if random.chance(1, 3) {
                census.made(Feature::ContentCopy);
            } else {
                edit(random, &mut bytes);
                census.made(Feature::ContentEditedCopy);
            }
            return bytes;
        }
        let (feature, length) = length(random);
        census.made(feature);
        let bytes = if random.chance(1, 2) {
            census.made(Feature::ContentText);
            text(random, length)
        } else {
            census.made(Feature::ContentRandom);
            random.bytes(length)
        };
        self.remember(random, &bytes);
        bytes
    }

    fn remember(&mut self, random: &mut Random, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.earlier.len() == KEPT {
            let position = random.range(0..KEPT);
            self.earlier.swap_remove(position);
        }
        self.earlier.push(bytes.to_vec());
    }
}

fn length(random: &mut Random) -> (Feature, usize) {
    let feature = random.weighted(&[
        (10, Feature::RegularEmpty),
        (8, Feature::RegularOneByte),
        (30, Feature::RegularFewBytes),
        (5, Feature::Regular4095Bytes),
        (5, Feature::Regular4096Bytes),
        (5, Feature::Regular4097Bytes),
        (34, Feature::RegularMedium),
        (3, Feature::RegularLarge),
    ]);
    let length = match feature {
        Feature::RegularEmpty => 0,
        Feature::RegularOneByte => 1,
        Feature::RegularFewBytes => random.range(2..200),
        Feature::Regular4095Bytes => PAGE_BYTES - 1,
        Feature::Regular4096Bytes => PAGE_BYTES,
        Feature::Regular4097Bytes => PAGE_BYTES + 1,
        Feature::RegularLarge => random.range(200_000..450_000),
        _ if random.chance(1, 2) => random.range(200..PAGE_BYTES),
        _ => random.range(PAGE_BYTES..61_440),
    };
    (feature, length)
}

/// Repetitive lines of `length` bytes.
fn text(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(random.pick(VOCABULARY).as_bytes());
        bytes.push(if random.chance(1, 8) { b'\n' } else { b' ' });
    }
    bytes.truncate(length);
    bytes
}

/// One to three changes: bytes inserted, removed, overwritten, appended, or half of the content exchanged.
fn edit(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.range(1..4) {
        let start = random.range(0..bytes.len() + 1);
        let end = (start + random.range(1..300)).min(bytes.len());
        let insert_length = random.range(1..300);
        let inserted = random.bytes(insert_length);
        match random.below(5) {
            0 => drop(bytes.splice(start..start, inserted)),
            1 => drop(bytes.drain(start..end)),
            2 => drop(bytes.splice(start..end, inserted)),
            3 => bytes.extend_from_slice(&inserted),
            _ => bytes.rotate_left(start),
        }
    }
}

/// Writes all of `bytes` at `position`.
pub fn write_at(file: BorrowedFd<'_>, bytes: &[u8], position: u64) {
    let mut written = 0;
    while written < bytes.len() {
        let at = position + written as u64;
        written += pwrite(file, &bytes[written..], at).expect("a file of the test can be written");
    }
}

/// Fills the empty `file` with data and holes.
pub fn write_sparse(random: &mut Random, census: &mut Census, file: BorrowedFd<'_>) {
    let feature = *random.pick(&[
        Feature::HoleLeading,
        Feature::HoleMiddle,
        Feature::HoleTrailing,
        Feature::HoleEverything,
        Feature::HoleEverySecondPage,
    ]);
    let huge = feature != Feature::HoleEverySecondPage && random.chance(1, 20);
    let pages = random.range(3..20) + if huge { PAGES_OF_4_GIB } else { 0 };
    let data_pages: Vec<usize> = match feature {
        Feature::HoleLeading => vec![pages - 1],
        Feature::HoleMiddle => vec![0, pages - 1],
        Feature::HoleTrailing => vec![0],
        Feature::HoleEverySecondPage => (0..pages).step_by(2).collect(),
        _ => Vec::new(),
    };
    let tail_bytes = if random.chance(1, 2) { 0 } else { random.range(1..PAGE_BYTES) };
    let ends_with_data = matches!(feature, Feature::HoleLeading | Feature::HoleMiddle);
    let size =
        if ends_with_data { pages * PAGE_BYTES - tail_bytes } else { pages * PAGE_BYTES + tail_bytes } as u64;
    ftruncate(file, size).expect("a file of the test can be made longer");
    for page in data_pages {
        let position = page * PAGE_BYTES;
        let length = PAGE_BYTES.min(usize::try_from(size).expect("a small size") - position);
        // One page in eight is written with zeros: data that must not come back as a hole.
        let bytes = if random.chance(1, 8) { vec![0; length] } else { random.bytes(length) };
        write_at(file, &bytes, position as u64);
    }
    if seek(file, SeekFrom::Hole(0)).expect("a hole or the end can be found") < size {
        census.made(feature);
        if huge {
            census.made(Feature::HoleBeyond4Gib);
        }
    } else {
        census.was_refused(feature);
    }
}
