//! The judge of restored trees: everything that an object has and a backup must give back, as text that can be
//! compared.
//!
//! It must see every difference that the kernel lets a program see, except what no program can set (inode numbers,
//! change times) and what reading changes (access times). It knows nothing of the library under test. What it cannot
//! read ends the test: a judge that cannot see must not call two trees equal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, openat, readlinkat, seek};
use rustix::io::{Errno, pread};

use super::walk::{Met, walk, xattrs};

/// Contents are hashed in pieces of this length, so that pieces of zeros count the same as holes.
const PIECE_BYTES: usize = 4096;

/// No more differences than this are told.
const DIFFERENCES_LIMIT: usize = 60;

/// So many characters of a value are shown around the place where it differs.
const SHOWN_CHARACTERS: usize = 100;

/// Which properties are compared. Path, type, size, link target and device number always are.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Permissions, set-user-id, set-group-id and sticky bits.
    pub mode: bool,
    /// User and group.
    pub owner: bool,
    /// Modification times.
    pub mtime: bool,
    /// The modification time of the root of the tree.
    pub root_mtime: bool,
    /// Extended attributes, access control lists among them.
    pub xattrs: bool,
    /// Which names are names of one object.
    pub hard_links: bool,
    /// The bytes of regular files.
    pub content: bool,
    /// Where regular files have data and where they have holes.
    pub holes: bool,
}

impl Options {
    /// All properties.
    pub const EVERYTHING: Self = Self {
        mode: true,
        owner: true,
        mtime: true,
        root_mtime: true,
        xattrs: true,
        hard_links: true,
        content: true,
        holes: true,
    };
}

/// One object: its path from the root (empty for the root) and its properties, each under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    path: Vec<u8>,
    file_type: &'static str,
    properties: Vec<(String, String)>,
}

impl Record {
    fn shown_path(&self) -> String {
        if self.path.is_empty() { ".".to_owned() } else { escaped(&self.path) }
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is in a tree: one record for each object, the root first, then sorted by path bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    records: Vec<Record>,
}

impl Dump {
    /// One line for each object: path, type, then `name=value` for each property, parted by spaces. What is not
    /// printable ASCII, spaces and `%` are written as `%` and two hexadecimal digits.
    pub fn lines(&self) -> Vec<String> {
        self.records
            .iter()
            .map(|record| {
                let mut line = format!("{} {}", record.shown_path(), record.file_type);
                for (name, value) in &record.properties {
                    write!(line, " {name}={value}").expect("writing to a string");
                }
                line
            })
            .collect()
    }
}

/// Everything in the tree `root`, which must be a directory.
#[track_caller]
pub fn dump(root: &Path) -> Dump {
    dump_with(root, Options::EVERYTHING)
}

/// What `options` name of the tree `root`, which must be a directory.
#[track_caller]
pub fn dump_with(root: &Path, options: Options) -> Dump {
    let mut records = Vec::new();
    let mut members: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
    walk(root, &mut |met| {
        if met.file_type() != FileType::Directory && met.stat.st_nlink > 1 {
            members.entry((met.stat.st_dev, met.stat.st_ino)).or_default().push(records.len());
        }
        records.push(record(met, options));
    });
    if options.hard_links {
        for positions in members.values().filter(|positions| positions.len() > 1) {
            let first = positions.iter().map(|position| records[*position].path.clone()).min();
            let first = escaped(&first.expect("more than one member"));
            for position in positions {
                records[*position].properties.push(("hard-link".to_owned(), first.clone()));
            }
        }
    }
    records.sort_by(|left, right| left.path.cmp(&right.path));
    Dump { records }
}

/// The properties of one object.
fn record(met: &Met<'_>, options: Options) -> Record {
    let mut properties = Vec::new();
    let mut add = |name: &str, value: String| properties.push((name.to_owned(), value));
    let stat = met.stat;
    if options.mode {
        add("mode", format!("{:04o}", stat.st_mode & 0o7777));
    }
    if options.owner {
        add("uid", stat.st_uid.to_string());
        add("gid", stat.st_gid.to_string());
    }
    if options.mtime && (options.root_mtime || !met.path.is_empty()) {
        add("mtime", format!("{}+{:09}ns", stat.st_mtime, stat.st_mtime_nsec));
    }
    let file_type = met.file_type();
    match file_type {
        FileType::RegularFile => {
            add("size", stat.st_size.to_string());
            for (name, value) in contents(met, options) {
                add(name, value);
            }
        }
        FileType::Symlink => {
            let target = readlinkat(met.parent, met.name, Vec::new()).expect("a link can be read");
            add("target", escaped(target.to_bytes()));
        }
        FileType::CharacterDevice | FileType::BlockDevice => add("device", device(stat)),
        _ => {}
    }
    if options.xattrs {
        for (name, value) in xattrs(met.parent, met.name) {
            add(&format!("xattr:{}", escaped(&name)), hexadecimal(&value));
        }
    }
    Record { path: met.path.to_vec(), file_type: type_name(file_type), properties }
}

fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::RegularFile => "regular",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "char-device",
        FileType::BlockDevice => "block-device",
        FileType::Unknown => panic!("an object of unknown type"),
    }
}

fn device(stat: &Stat) -> String {
    format!("{}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}

/// The hash and the extents of a regular file, as far as `options` name them.
fn contents(met: &Met<'_>, options: Options) -> Vec<(&'static str, String)> {
    let mut properties = Vec::new();
    if !options.content && !options.holes {
        return properties;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(met.parent, met.name, flags, Mode::empty())
        .unwrap_or_else(|cause| panic!("cannot read {}: {cause}", escaped(met.path)));
    let size = u64::try_from(met.stat.st_size).expect("a size is not negative");
    let extents = extents(file.as_fd(), size);
    if options.content {
        properties.push(("content", content_hash(file.as_fd(), &extents, size)));
    }
    if options.holes {
        let shown: Vec<String> =
            extents.iter().map(|(start, end)| format!("{start}+{}", end - start)).collect();
        properties.push(("data", if shown.is_empty() { "none".to_owned() } else { shown.join(",") }));
    }
    properties
}

/// Where `file` has data: start and end of each extent in bytes. What lies between and behind them is a hole.
fn extents(file: BorrowedFd<'_>, size: u64) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(cause) => panic!("cannot look for data: {cause}"),
        };
        let end = seek(file, SeekFrom::Hole(start)).expect("a hole or the end follows data");
        extents.push((start, end));
        position = end;
    }
    extents
}

/// A hash of the bytes of `file` that is the same whether zeros are stored or are a hole: BLAKE3 of position (8 bytes,
/// little-endian) and bytes of each aligned piece that is not all zeros. Holes are not read, so a terabyte of them
/// costs nothing.
fn content_hash(file: BorrowedFd<'_>, extents: &[(u64, u64)], size: u64) -> String {
    const ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
    let piece_bytes = PIECE_BYTES as u64;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0_u8; 16 * PIECE_BYTES];
    let mut position = 0;
    for (start, end) in extents {
        position = position.max(start - start % piece_bytes);
        let aligned_end = end.next_multiple_of(piece_bytes).min(size);
        while position < aligned_end {
            let wanted = (aligned_end - position).min(buffer.len() as u64);
            let wanted = usize::try_from(wanted).expect("not more than the buffer");
            let length = read_fully(file, &mut buffer[..wanted], position);
            assert_eq!(length, wanted, "a file became shorter while it was read");
            for piece in buffer[..length].chunks(PIECE_BYTES) {
                if piece != &ZEROS[..piece.len()] {
                    hasher.update(&position.to_le_bytes());
                    hasher.update(piece);
                }
                position += piece.len() as u64;
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Reads from `position` until `buffer` is full or the file ends; the number of bytes read.
fn read_fully(file: BorrowedFd<'_>, buffer: &mut [u8], position: u64) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = position + filled as u64;
        match pread(file, &mut buffer[filled..], at).expect("a file can be read") {
            0 => break,
            length => filled += length,
        }
    }
    filled
}

/// `bytes` as printable ASCII without spaces, one way and back.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && !b"%=".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02x}").expect("writing to a string");
        }
    }
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

/// What differs between two trees, one text for each property: `path: property: value in a | value in b`. Empty if
/// and only if the dumps are equal; of many differences the first ones and how many more there are.
pub fn differences(a: &Dump, b: &Dump) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = a.records.iter().peekable();
    let mut right = b.records.iter().peekable();
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(one), other) if other.is_none_or(|other| one.path < other.path) => {
                found.push(format!("{}: only in the first tree ({})", one.shown_path(), one.file_type));
                left.next();
            }
            (one, Some(other)) if one.is_none_or(|one| one.path > other.path) => {
                found.push(format!("{}: only in the second tree ({})", other.shown_path(), other.file_type));
                right.next();
            }
            (Some(one), Some(other)) => {
                compare(one, other, &mut found);
                left.next();
                right.next();
            }
            (Some(_), None) | (None, Some(_)) => panic!("a path that is neither before, behind nor equal"),
        }
    }
    let more = found.len().saturating_sub(DIFFERENCES_LIMIT);
    if more > 0 {
        found.truncate(DIFFERENCES_LIMIT);
        found.push(format!("and {more} more differences"));
    }
    found
}

/// Adds to `found` what differs between two objects of one path; of objects of different types only that.
fn compare(one: &Record, other: &Record, found: &mut Vec<String>) {
    let path = one.shown_path();
    if one.file_type != other.file_type {
        found.push(format!("{path}: type: {} | {}", one.file_type, other.file_type));
        return;
    }
    let only_in_other = other.properties.iter().filter(|(name, _)| one.property(name).is_none());
    for (name, _) in one.properties.iter().chain(only_in_other) {
        let (value, other_value) = (one.property(name), other.property(name));
        if value != other_value {
            let (value, other_value) = shortened(value.unwrap_or("absent"), other_value.unwrap_or("absent"));
            found.push(format!("{path}: {name}: {value} | {other_value}"));
        }
    }
}

/// Both texts, of long ones only what stands around their first difference.
fn shortened(one: &str, other: &str) -> (String, String) {
    let same = one.bytes().zip(other.bytes()).take_while(|(left, right)| left == right).count();
    let start = if same > SHOWN_CHARACTERS / 2 { same - SHOWN_CHARACTERS / 4 } else { 0 };
    let shorten = |text: &str| {
        let shown: String = text.chars().skip(start).take(SHOWN_CHARACTERS).collect();
        let before = if start > 0 { "…" } else { "" };
        let after = if start + SHOWN_CHARACTERS < text.len() { "…" } else { "" };
        format!("{before}{shown}{after}")
    };
    (shorten(one), shorten(other))
}

/// Ends the test with a list of the differences if there are any.
#[track_caller]
pub fn assert_same(a: &Dump, b: &Dump) {
    let found = differences(a, b);
    assert!(found.is_empty(), "the trees differ:\n{}", found.join("\n"));
}

#[cfg(test)]
mod tests;
