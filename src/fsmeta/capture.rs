//! Reads what the system says of an object: its status, and its extended attributes with all their namespaces.
//!
//! What must hold: nothing here follows a symbolic link in the last component or opens an object; what one attribute
//! refuses costs that attribute alone, and it is told; whatever a file system answers, memory stays within bounds.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, StatxTimestamp, statx};
use rustix::io::{Errno, retry_on_intr};

use crate::base::limits::{NAME_BYTES_MAX, XATTR_BYTES_MAX, XATTR_INLINE_BYTES_MAX};
use crate::base::monitor::show_path;
use crate::base::{ChunkId, Error, ErrorKind, Result, Timestamp, Wrap};
use crate::format::node::{LinkGroup, Metadata};
use crate::fsmeta::owners::Owners;

/// Longest list of attribute names that Linux gives (`XATTR_LIST_MAX`).
pub(super) const XATTR_LIST_BYTES_MAX: usize = 64 << 10;
/// Room for the list at the first attempt, without asking for memory: most objects have no attributes, or few.
const XATTR_LIST_FIRST_BYTES: usize = 256;
/// Room for a value at the first attempt; most are shorter, and the second attempt has room for all.
const XATTR_FIRST_BYTES: usize = 1 << 10;
/// Most bytes that the attributes of one object may take in its node: 256 KiB for the node, less 4096 extents of
/// 18 bytes, a link target of 4 KiB and what else it holds.
const XATTRS_NODE_BYTES_MAX: usize = 160 << 10;
/// Most bytes of values that are read of one object: 64 of the longest.
const XATTRS_VALUE_BYTES_MAX: usize = 64 * XATTR_BYTES_MAX;
const PROCESS_HANDLES: &str = "/proc/self/fd";

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// The status of an object at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its kind.
    pub kind: StatKind,
    /// Permission bits with set-user-id, set-group-id and sticky: the low 12 bits.
    pub mode: u16,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Size in bytes; of a directory whatever its file system calls so.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata.
    pub ctime: Timestamp,
    /// The device that holds it, as one number. Says which objects are of one file system, while it is mounted.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Number of names.
    pub links: u64,
}

impl Stat {
    /// Whether nothing says that the content changed between two looks at it.
    pub fn same_content_as(&self, later: &Self) -> bool {
        self.inode == later.inode
            && self.size == later.size
            && self.mtime == later.mtime
            && self.ctime == later.ctime
    }
}

/// Asks for the status of what stands in a directory under a name, without following, opening or mounting it.
pub fn stat_at(directory: impl AsFd, name: &[u8]) -> Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    retry_on_intr(|| statx(directory.as_fd(), name, flags, StatxFlags::BASIC_STATS))
        .wrap(|| "cannot ask for the status")
        .and_then(|found| stat_of(&found))
}

/// Asks for the status of what is opened; a handle that only marks a place (`O_PATH`) will do.
pub fn stat_fd(handle: impl AsFd) -> Result<Stat> {
    retry_on_intr(|| statx(handle.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS))
        .wrap(|| "cannot ask for the status")
        .and_then(|found| stat_of(&found))
}

fn stat_of(found: &Statx) -> Result<Stat> {
    let (major, minor) = (found.stx_rdev_major, found.stx_rdev_minor);
    let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::RegularFile => StatKind::Regular,
        FileType::Directory => StatKind::Directory,
        FileType::Symlink => StatKind::Symlink,
        FileType::Fifo => StatKind::Fifo,
        FileType::Socket => StatKind::Socket,
        FileType::CharacterDevice => StatKind::CharacterDevice { major, minor },
        FileType::BlockDevice => StatKind::BlockDevice { major, minor },
        FileType::Unknown => {
            let message = format!("an object of unknown type, mode {:o}", found.stx_mode);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    Ok(Stat {
        kind,
        mode: found.stx_mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        mtime: time_of(found.stx_mtime),
        ctime: time_of(found.stx_ctime),
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        links: found.stx_nlink.into(),
    })
}

fn time_of(found: StatxTimestamp) -> Timestamp {
    carried(found.tv_sec, found.tv_nsec)
}

/// A damaged inode can hold more nanoseconds than a second has (ext4 has 30 bits for them); they are carried over, as
/// the format refuses them.
fn carried(seconds: i64, nanoseconds: u32) -> Timestamp {
    const SECOND: u32 = 1_000_000_000;
    let seconds = seconds.saturating_add(i64::from(nanoseconds / SECOND));
    Timestamp { seconds, nanoseconds: nanoseconds % SECOND }
}

/// What a node says of every kind of object.
pub fn metadata(stat: &Stat, owners: &Owners, links: Option<LinkGroup>) -> Metadata {
    Metadata {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        user: owners.user(stat.uid),
        group: owners.group(stat.gid),
        mtime: stat.mtime,
        ctime: stat.ctime,
        links,
        link_count: links.and_then(|_| u32::try_from(stat.links).ok()),
    }
}

/// Names and values of extended attributes, sorted by name, each name once.
pub type RawXattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The extended attributes of an object, as far as they could be read and can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedXattrs {
    /// What was read.
    pub attributes: RawXattrs,
    /// What could not be read or cannot be stored: each is a finding of kind `Metadata`.
    pub problems: Vec<String>,
}

/// Reads the extended attributes of what is opened for reading.
pub fn xattrs_of_fd(handle: impl AsFd) -> CapturedXattrs {
    capture(&OfHandle(handle.as_fd())).unwrap_or_else(unlisted)
}

/// Reads the extended attributes of what stands in a directory under a name, without following or opening it: for
/// symbolic links and special files. `.` is the directory itself.
///
/// Fails with kind `NotFound` if nothing stands there any more, and with kind `Unsupported` if /proc is not mounted:
/// Linux has no other way to name an object by a directory's handle here.
pub fn xattrs_at(directory: impl AsFd, name: &[u8]) -> Result<CapturedXattrs> {
    xattrs_below(PROCESS_HANDLES, directory.as_fd(), name)
}

fn xattrs_below(handles: &str, directory: BorrowedFd<'_>, name: &[u8]) -> Result<CapturedXattrs> {
    let mut path = format!("{handles}/{}", directory.as_raw_fd()).into_bytes();
    let length = path.len();
    path.push(b'/');
    path.extend_from_slice(name);
    match capture(&AtPath(&path)) {
        Ok(captured) => Ok(captured),
        Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
            path.truncate(length);
            match statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE) {
                Ok(_) => Err(Error::system("cannot list extended attributes", errno)),
                Err(cause) => {
                    let message =
                        "cannot list extended attributes of what is not opened: /proc is not mounted";
                    Err(Error::system(message, cause).of_kind(ErrorKind::Unsupported))
                }
            }
        }
        Err(errno) => Ok(unlisted(errno)),
    }
}

fn unlisted(errno: Errno) -> CapturedXattrs {
    let problem = format!("cannot list extended attributes: {}", cause(errno));
    CapturedXattrs { attributes: RawXattrs::new(), problems: vec![problem] }
}

fn cause(errno: Errno) -> std::io::Error {
    errno.into()
}

/// The calls of the system, so that their rarer answers can be tried.
trait Attributes {
    /// Puts the names to the front, each ended by NUL; gives the length of all.
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize>;
    /// Appends a value.
    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<usize>;
}

struct OfHandle<'a>(BorrowedFd<'a>);

impl Attributes for OfHandle<'_> {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::flistxattr(self.0, names)
    }

    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<usize> {
        rustix::fs::fgetxattr(self.0, name, spare_capacity(value))
    }
}

struct AtPath<'a>(&'a [u8]);

impl Attributes for AtPath<'_> {
    fn list(&self, names: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::llistxattr(self.0, names)
    }

    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<usize> {
        rustix::fs::lgetxattr(self.0, name, spare_capacity(value))
    }
}

/// Reads a value into a small buffer, and into the largest that can be needed if that was too small.
fn read_value(object: &impl Attributes, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<()> {
    value.clear();
    value.reserve(XATTR_FIRST_BYTES);
    let mut result = retry_on_intr(|| object.get(name, value));
    if result == Err(Errno::RANGE) {
        value.reserve(XATTR_BYTES_MAX + 1);
        result = retry_on_intr(|| object.get(name, value));
    }
    result.map(drop)
}

fn capture(object: &impl Attributes) -> rustix::io::Result<CapturedXattrs> {
    let mut captured = CapturedXattrs::default();
    let (mut first, mut whole) = ([0; XATTR_LIST_FIRST_BYTES], Vec::new());
    let mut list: &mut [u8] = &mut first;
    let mut listed = retry_on_intr(|| object.list(list));
    if listed == Err(Errno::RANGE) {
        whole.resize(XATTR_LIST_BYTES_MAX, 0);
        list = &mut whole;
        listed = retry_on_intr(|| object.list(list));
    }
    let list = match listed {
        // More than there is room for is no answer.
        Ok(length) => list.get(..length).ok_or(Errno::IO)?,
        Err(Errno::NOTSUP) => return Ok(captured),
        Err(errno) => return Err(errno),
    };
    let mut names: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let mut room = Room::default();
    let mut value = Vec::new();
    for name in names {
        if name.len() > NAME_BYTES_MAX {
            captured.problems.push(format!("extended attribute {}: the name is too long", show_path(name)));
            continue;
        }
        match read_value(object, name, &mut value) {
            Ok(()) if value.len() > XATTR_BYTES_MAX => captured.problems.push(too_long(name)),
            Ok(()) if !room.take(name.len(), value.len()) => {}
            Ok(()) => captured.attributes.push((name.to_vec(), value.clone())),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(Errno::RANGE | Errno::TOOBIG) => captured.problems.push(too_long(name)),
            Err(errno) => captured.problems.push(format!(
                "cannot read extended attribute {}: {}",
                show_path(name),
                cause(errno)
            )),
        }
    }
    if room.refused > 0 {
        captured.problems.push(format!("{} extended attributes are more than can be stored", room.refused));
    }
    Ok(captured)
}

fn too_long(name: &[u8]) -> String {
    format!("extended attribute {}: the value is longer than {XATTR_BYTES_MAX} bytes", show_path(name))
}

/// Counts what the attributes of one object take.
#[derive(Default)]
struct Room {
    node_bytes: usize,
    value_bytes: usize,
    refused: usize,
}

impl Room {
    /// Whether one more fits; counts it either way.
    fn take(&mut self, name: usize, value: usize) -> bool {
        /// More than the CBOR heads of an attribute and the length of a chunk take.
        const HEADS: usize = 16;
        let stored = if value > XATTR_INLINE_BYTES_MAX { ChunkId::WIDTH } else { value };
        let node_bytes = self.node_bytes + HEADS + name + stored;
        let value_bytes = self.value_bytes + value;
        if node_bytes > XATTRS_NODE_BYTES_MAX || value_bytes > XATTRS_VALUE_BYTES_MAX {
            self.refused += 1;
            return false;
        }
        (self.node_bytes, self.value_bytes) = (node_bytes, value_bytes);
        true
    }
}

#[cfg(test)]
mod tests;
