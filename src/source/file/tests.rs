//! Reading by position, and maps of holes against real files and against plain reasoning.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, XattrFlags};
use tempfile::TempDir;

use super::*;
use crate::source::Directory;

const MIB: u64 = 1 << 20;

/// A file of this size that holds pieces of 64 KiB at these offsets.
fn sparse(size: u64, offsets: &[u64]) -> (TempDir, File) {
    let temporary = tempfile::tempdir().expect("a directory");
    let file =
        OpenOptions::new().write(true).create_new(true).open(temporary.path().join("file")).expect("a file");
    file.set_len(size).expect("its size");
    for offset in offsets {
        file.write_all_at(&[7; 65_536], *offset).expect("data");
    }
    let file = open(temporary.path());
    (temporary, file)
}

fn open(path: &Path) -> File {
    Directory::open_absolute(path).and_then(|directory| directory.open_file(b"file")).expect("a file")
}

fn extents_of(file: &File) -> Option<Vec<(u64, u64)>> {
    let extents = file.data_extents(file.stat_when_opened()).expect("a map");
    extents.map(|extents| extents.iter().map(|extent| (extent.offset, extent.length)).collect())
}

#[test]
fn bytes_are_read_where_they_stand_until_the_file_ends() {
    let temporary = tempfile::tempdir().expect("a directory");
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(temporary.path().join("file"), &content).expect("a file");
    let file = open(temporary.path());
    file.advise_sequential();
    let mut buffer = vec![0; 500_000];
    assert_eq!(file.read_at(&mut buffer, 0).expect("content"), 400_000);
    assert_eq!(&buffer[..400_000], content);
    let mut piece = [0; 1000];
    assert_eq!(file.read_at(&mut piece, 123_457).expect("content"), 1000);
    assert_eq!(piece, content[123_457..124_457]);
    file.advise_done(0, 200_000);
    file.advise_done(0, 0);
    assert_eq!(file.read_at(&mut piece, 399_999).expect("the last byte"), 1);
    assert_eq!(piece[0], content[399_999]);
    assert_eq!(file.read_at(&mut piece, 400_000).expect("the end"), 0);
    assert_eq!(file.read_at(&mut piece, u64::from(u32::MAX) * 4096).expect("beyond the end"), 0);
    assert_eq!(file.read_at(&mut [], 0).expect("nothing"), 0);
}

/// What reading by one call makes of the file, which was expected to be as `expected` says.
fn read_as(path: &Path, expected: &Stat) -> Option<Vec<u8>> {
    // What a buffer held before does not matter.
    let mut bytes = vec![9; 70_000];
    let directory = Directory::open_absolute(path).expect("a directory");
    let file = directory.read_as_expected(b"file", expected, &mut bytes).expect("readable");
    file.map(|file| {
        assert_eq!(file.stat_when_opened(), &file.stat().expect("a status"));
        bytes
    })
}

#[test]
fn a_file_that_is_as_expected_is_read_by_one_call() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("file");
    let of = |content: &[u8]| {
        std::fs::write(&path, content).expect("a file");
        *open(temporary.path()).stat_when_opened()
    };
    for length in [0, 1, 511, 512, 513, 4096, 100_000] {
        let content = vec![7; length];
        let stat = of(&content);
        assert_eq!(read_as(temporary.path(), &stat).expect("as expected"), content);
        assert_eq!(read_as(temporary.path(), &Stat { size: stat.size + 1, ..stat }), None);
        assert_eq!(read_as(temporary.path(), &Stat { inode: stat.inode + 1, ..stat }), None);
        let earlier = crate::base::Timestamp { seconds: stat.ctime.seconds - 1, ..stat.ctime };
        assert_eq!(read_as(temporary.path(), &Stat { ctime: earlier, ..stat }), None);
    }
    let longer = of(&[7; 101]);
    assert_eq!(read_as(temporary.path(), &Stat { size: 100, ..longer }), None, "it has grown");
}

#[test]
fn what_may_have_a_hole_is_not_read_by_one_call() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("file");
    for (zeros, length) in [(0..512, 2000), (512..1024, 2000), (1536..2000, 2000), (0..100, 100), (0..1, 1)] {
        let mut content = vec![7; length];
        content[zeros].fill(0);
        std::fs::write(&path, &content).expect("a file");
        let stat = *open(temporary.path()).stat_when_opened();
        assert_eq!(read_as(temporary.path(), &stat), None);
    }
    // Zeros that fill no sector are no hole.
    let mut content = vec![7; 2000];
    content[1..1023].fill(0);
    std::fs::write(&path, &content).expect("a file");
    let stat = *open(temporary.path()).stat_when_opened();
    assert_eq!(read_as(temporary.path(), &stat), Some(content));
}

#[test]
fn what_took_the_place_of_a_file_is_not_read_by_one_call() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("file");
    std::fs::write(&path, b"content").expect("a file");
    let stat = *open(temporary.path()).stat_when_opened();
    std::fs::remove_file(&path).expect("removed");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    // With somebody at the other end, whose bytes stay in the pipe.
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).expect("both ends");
    std::io::Write::write_all(&mut pipe, b"content").expect("bytes");
    let directory = Directory::open_absolute(temporary.path()).expect("a directory");
    let read = directory.read_as_expected(b"file", &stat, &mut Vec::new());
    assert!(read.expect("no error of the file").is_none());
    let mut left = [0; 7];
    std::io::Read::read_exact(&mut pipe, &mut left).expect("what was written");
    assert_eq!(&left, b"content");
}

#[test]
fn a_change_after_opening_is_seen_by_the_status() {
    let (temporary, file) = sparse(100, &[]);
    assert!(file.stat_when_opened().same_content_as(&file.stat().expect("a status")));
    std::fs::write(temporary.path().join("file"), "other").expect("written again");
    let now = file.stat().expect("a status");
    assert_eq!((file.stat_when_opened().size, now.size), (100, 5));
    assert!(!file.stat_when_opened().same_content_as(&now));
}

#[test]
fn an_error_while_reading_names_its_cause() {
    let (_temporary, file) = sparse(100, &[]);
    // A position that no file has.
    let error = file.read_at(&mut [0; 10], u64::MAX - 5).expect_err("refused");
    assert_eq!(error.chain().len(), 2);
    assert_eq!(error.to_string(), "cannot read file");
}

#[test]
fn holes_are_found_wherever_they_are() {
    let piece = 65_536;
    for (what, size, offsets, wanted) in [
        ("empty", 0, vec![], None),
        ("full", piece, vec![0], None),
        ("all hole", 5 * MIB + 17, vec![], Some(vec![])),
        ("leading", MIB + piece, vec![MIB], Some(vec![(MIB, piece)])),
        ("trailing", 3 * MIB + 1, vec![0], Some(vec![(0, piece)])),
        ("middle", 2 * MIB + piece, vec![0, 2 * MIB], Some(vec![(0, piece), (2 * MIB, piece)])),
        ("every", 4 * MIB, vec![MIB, 2 * MIB], Some(vec![(MIB, piece), (2 * MIB, piece)])),
        ("touching", MIB, vec![0, piece, 3 * piece], Some(vec![(0, 2 * piece), (3 * piece, piece)])),
    ] {
        let (_temporary, file) = sparse(size, &offsets);
        assert_eq!(extents_of(&file), wanted, "{what}");
    }
}

#[test]
fn data_ends_with_the_size_that_was_seen() {
    let (temporary, file) = sparse(2 * MIB, &[0, MIB]);
    let seen = Stat { size: MIB + 1000, ..*file.stat_when_opened() };
    let extents = file.data_extents(&seen).expect("a map").expect("a hole");
    assert_eq!(extents.last(), Some(&Extent { offset: MIB, length: 1000 }));
    let seen = Stat { size: MIB, ..seen };
    assert_eq!(file.data_extents(&seen).expect("a map").expect("a hole").len(), 1);
    // The file shrank: what is not there any more reads as nothing, which its reader sees.
    OpenOptions::new()
        .write(true)
        .open(temporary.path().join("file"))
        .and_then(|file| file.set_len(10))
        .expect("cut");
    let extents = file.data_extents(file.stat_when_opened()).expect("a map");
    assert!(extents.is_some_and(|extents| extents.iter().all(|extent| extent.length <= 10)));
}

#[test]
fn what_else_takes_space_does_not_hide_a_hole() {
    let (temporary, file) = sparse(1000, &[]);
    let path = temporary.path().join("file");
    // On ext4 such a value takes a block of its own, more than the whole file would.
    rustix::fs::lsetxattr(&path, "user.large", &[7; 3000], XattrFlags::empty()).expect("an attribute");
    // Space behind the end.
    let more = OpenOptions::new().write(true).open(&path).expect("the file");
    rustix::fs::fallocate(&more, FallocateFlags::KEEP_SIZE, 1 << 16, 1 << 16).expect("more space");
    assert!(more.metadata().expect("a status").blocks() > 2);
    assert_eq!(extents_of(&file), Some(vec![]));
}

#[test]
fn more_extents_than_a_node_holds_are_joined() {
    let count = EXTENTS_MAX as u64 + 900;
    let stride = 262_144;
    let offsets: Vec<u64> = (0..count).map(|number| number * stride).collect();
    let temporary = tempfile::tempdir().expect("a directory");
    let written = std::fs::File::create(temporary.path().join("file")).expect("a file");
    written.set_len(count * stride).expect("its size");
    for offset in &offsets {
        written.write_all_at(b"data", *offset).expect("data");
    }
    let extents = extents_of(&open(temporary.path())).expect("holes");
    assert_eq!(extents.len(), EXTENTS_MAX);
    let covered =
        |offset: u64| extents.iter().any(|(start, length)| (*start..start + length).contains(&offset));
    assert!(offsets.iter().all(|offset| covered(*offset) && covered(offset + 3)));
    assert_eq!(extents[0], (0, 4096.max(extents[0].1)), "of equal holes the first are kept");
}

/// Keeps the longest holes, of equals the first, by looking at all of them again and again.
fn joined_slowly(extents: &[Extent], most: usize) -> Vec<Extent> {
    let mut extents = extents.to_vec();
    while extents.len() > most {
        let hole = |index: usize| extents[index + 1].offset - extents[index].offset - extents[index].length;
        let shortest = (0..extents.len() - 1).rev().min_by_key(|index| hole(*index)).expect("two extents");
        let next = extents.remove(shortest + 1);
        extents[shortest].length = next.offset + next.length - extents[shortest].offset;
    }
    extents
}

#[test]
fn what_is_joined_does_not_depend_on_when() {
    // A fixed sequence without a pattern that matters.
    let mut state = 12_345_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..200 {
        let most = usize::try_from(1 + draw(9)).expect("a small number");
        let mut position = draw(3);
        let mut extents = Vec::new();
        for _ in 0..draw(60) {
            let length = 1 + draw(5);
            extents.push(Extent { offset: position, length });
            position += length + 1 + draw(if round % 2 == 0 { 4 } else { 1000 });
        }
        let mut gathered = Extents::new(most);
        extents.iter().for_each(|extent| gathered.add(*extent));
        let found = gathered.finish(position + 1).expect("a hole at the end");
        assert_eq!(found, joined_slowly(&extents, most), "at most {most} of {extents:?}");
    }
}

#[test]
fn no_map_is_given_where_joining_leaves_no_hole() {
    let gathered = |size| {
        let mut extents = Extents::new(1);
        for offset in [0, 10, 20] {
            extents.add(Extent { offset, length: 5 });
        }
        extents.finish(size)
    };
    assert_eq!(gathered(25), None);
    assert_eq!(gathered(26), Some(vec![Extent { offset: 0, length: 25 }]));
}
