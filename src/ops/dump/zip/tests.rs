//! Zip files, byte by byte where other programs cannot easily be made to look: large ones, odd times.

use super::records::{Row, end};
use super::*;
use crate::base::Timestamp;
use crate::format::node::tests::plain;
use crate::format::node::{Content, Metadata, Node};

fn member(name: &[u8], kind: NodeKind) -> Member {
    let metadata = Metadata { mode: 0o751, uid: 7, gid: 8, ..Metadata::default() };
    Member {
        name: name.to_vec(),
        node: Node { metadata, ..plain(name, kind) },
        xattrs: Vec::new(),
        link: None,
    }
}

fn file(size: u64) -> NodeKind {
    NodeKind::Regular(Regular { size, content: Content::Empty, extents: None, changed_while_read: false })
}

fn written(member: &Member, pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut zip = Zip::new(&mut bytes);
    zip.begin(member).expect("begun");
    pieces.iter().for_each(|piece| zip.write(piece).expect("written"));
    zip.end().expect("ended");
    zip.finish().expect("finished");
    bytes
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[test]
fn a_short_file_has_its_sizes_before_it() {
    let bytes = written(&member(b"n", file(6)), &[b"hel", b"lo!"]);
    assert_eq!(&bytes[..4], b"PK\x03\x04");
    assert_eq!((number(&bytes, 6, 2), number(&bytes, 8, 2)), (1 << 11, 0), "UTF-8, stored");
    let mut crc = Crc::new();
    crc.update(b"hello!");
    assert_eq!(number(&bytes, 14, 4), u64::from(crc.sum()));
    assert_eq!((number(&bytes, 18, 4), number(&bytes, 22, 4)), (6, 6));
    let content = 30 + 1 + usize::try_from(number(&bytes, 28, 2)).expect("small");
    assert_eq!(&bytes[content..content + 6], b"hello!");
    let directory = content + 6;
    assert_eq!(&bytes[directory..directory + 4], b"PK\x01\x02");
    assert_eq!(number(&bytes, directory + 38, 4), 0o100_751 << 16);
    assert_eq!(&bytes[bytes.len() - 22..bytes.len() - 18], b"PK\x05\x06");
    assert_eq!(number(&bytes, bytes.len() - 6, 4), directory as u64);
}

#[test]
fn a_long_file_has_its_sizes_behind_it() {
    let content = vec![b'x'; 3 << 20];
    let pieces: Vec<&[u8]> = content.chunks(100_000).collect();
    let bytes = written(&member(b"\xff", file(3 << 20)), &pieces);
    assert_eq!((number(&bytes, 6, 2), number(&bytes, 8, 2)), (1 << 3, 8), "not UTF-8, compressed");
    let start = 31 + usize::try_from(number(&bytes, 28, 2)).expect("small");
    let stored = number(&bytes, bytes.len() - 22 + 16, 4) - start as u64 - 16;
    let descriptor = start + usize::try_from(stored).expect("small");
    assert_eq!(&bytes[descriptor..descriptor + 4], b"PK\x07\x08");
    assert_eq!((number(&bytes, descriptor + 8, 4), number(&bytes, descriptor + 12, 4)), (stored, 3 << 20));
    let mut plain = vec![0; content.len() + 1];
    let mut inflate = flate2::Decompress::new(false);
    inflate
        .decompress(&bytes[start..descriptor], &mut plain, flate2::FlushDecompress::Finish)
        .expect("what was compressed");
    assert!(inflate.total_out() == content.len() as u64 && plain[..content.len()] == content);
}

#[test]
fn what_is_large_has_fields_of_64_bits() {
    let metadata = Metadata::default();
    let mut row = Row::of(b"n".to_vec(), REGULAR, &metadata, 5 << 32);
    row.is_large = true;
    let header = row.header(false);
    assert_eq!((number(&header, 4, 2), number(&header, 18, 8)), (45, u64::MAX));
    assert_eq!((number(&header, 31, 4), number(&header, 35, 16)), (16 << 16 | 1, 0));
    row.lengths = Lengths { plain: 6 << 32, stored: 7 };
    assert_eq!(row.descriptor().len(), 24);
    let row = row.directory_row();
    assert_eq!(
        (number(&row, 20, 4), number(&row, 24, 4), number(&row, 42, 4)),
        (7, 0xffff_ffff, 0xffff_ffff)
    );
    assert_eq!(
        (number(&row, 47, 4), number(&row, 51, 8), number(&row, 59, 8)),
        (16 << 16 | 1, 6 << 32, 5 << 32)
    );
    let small = end(3, 100, 50);
    assert_eq!((small.len(), number(&small, 10, 2), number(&small, 16, 4)), (22, 3, 100));
    let many = end(70_000, 100, 50);
    assert_eq!((many.len(), number(&many, 32, 8), number(&many, 56 + 8, 8)), (56 + 20 + 22, 70_000, 150));
    assert_eq!(number(&many, 76 + 10, 2), 0xffff);
}

#[test]
fn a_time_that_cannot_be_said_comes_to_the_nearer_end() {
    let said = |seconds| {
        let metadata = Metadata { mtime: Timestamp { seconds, nanoseconds: 0 }, ..Metadata::default() };
        let header = Row::of(b"n".to_vec(), REGULAR, &metadata, 0).header(true);
        let has_exact = header[31..].starts_with(b"UT");
        (number(&header, 12, 2), number(&header, 10, 2), has_exact)
    };
    let date = |year: u64, month: u64, day: u64| (year - 1980) << 9 | month << 5 | day;
    assert_eq!(said(1_700_000_001), (date(2023, 11, 14), 22 << 11 | 13 << 5 | 10, true));
    assert_eq!(said(-5), (date(1980, 1, 1), 0, true));
    assert_eq!(said(i64::MAX), (date(2107, 12, 31), 23 << 11 | 59 << 5 | 29, false));
    assert_eq!(said(i64::MIN), (date(1980, 1, 1), 0, false));
    assert_eq!(said(5_000_000_000), (date(2107, 12, 31), 23 << 11 | 59 << 5 | 29, false));
}
