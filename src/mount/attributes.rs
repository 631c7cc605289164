//! What `stat` tells of an object.
//!
//! What must hold: kind, permissions, owner, size, times and device are those that were stored; a hole takes no room.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::base::Timestamp;
use crate::format::node::{Node, NodeKind};
use crate::mount::view::Object;

/// Reads of this size are a good choice.
const READ_BYTES: u32 = 128 << 10;
/// What a sector has, in which the room of a file is counted.
const SECTOR_BYTES: u64 = 512;
/// The unit in which file systems give room.
const BLOCK_BYTES: u64 = 4096;
/// Nobody counted how many directories there are in a directory; this is how a file system says so.
const UNCOUNTED: u32 = 1;
/// Of an object with several names, of which no node says how many: `cp` and `rsync` look for the others from 2 on.
const SEVERAL: u32 = 2;

/// Who owns what is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    /// Who mounted, by user and group; owns what has no stored owner.
    pub(super) mounting: (u32, u32),
    /// Root owns everything.
    pub(super) all_root: bool,
}

/// What `stat` tells of an object that has this number.
pub(super) fn attributes(number: u64, object: &Object, owners: Owners) -> FileAttr {
    match object {
        Object::Above(layout, of_layout) => {
            let time = layout.directories.get(of_layout).map(|directory| directory.time);
            made_up(number, FileType::Directory, time.unwrap_or_default(), owners)
        }
        Object::Link(layout, of_layout) => {
            let (target, time) = layout.link_of(*of_layout).cloned().unwrap_or_default();
            let size = target.len() as u64;
            FileAttr { size, ..made_up(number, FileType::Symlink, time, owners) }
        }
        Object::Top(directory) => {
            made_up(number, FileType::Directory, directory.snapshot.snapshot.time, owners)
        }
        Object::Stored(..) => match object.node() {
            Some(node) => stored(number, node, owners),
            None => made_up(number, FileType::RegularFile, Timestamp::default(), owners),
        },
    }
}

fn made_up(number: u64, kind: FileType, time: Timestamp, owners: Owners) -> FileAttr {
    let (uid, gid) = if owners.all_root { (0, 0) } else { owners.mounting };
    let time = system_time(time);
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: if kind == FileType::Symlink { 0o777 } else { 0o555 },
        nlink: UNCOUNTED,
        uid,
        gid,
        rdev: 0,
        blksize: READ_BYTES,
        flags: 0,
    }
}

fn stored(number: u64, node: &Node, owners: Owners) -> FileAttr {
    let metadata = &node.metadata;
    let (uid, gid) = if owners.all_root { (0, 0) } else { (metadata.uid, metadata.gid) };
    let room_bytes = match &node.kind {
        NodeKind::Regular(regular) => {
            let bytes = regular.content_bytes();
            bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(bytes)
        }
        _ => 0,
    };
    let mtime = system_time(metadata.mtime);
    FileAttr {
        ino: INodeNo(number),
        size: match &node.kind {
            NodeKind::Symlink(target) => target.len() as u64,
            _ => node.size(),
        },
        blocks: room_bytes / SECTOR_BYTES,
        // Nobody stores when something was read last.
        atime: mtime,
        mtime,
        ctime: system_time(metadata.ctime),
        crtime: mtime,
        kind: kind(&node.kind),
        perm: metadata.mode,
        nlink: match metadata.links {
            None => UNCOUNTED,
            Some(_) => metadata.link_count.map_or(SEVERAL, |count| count.max(SEVERAL)),
        },
        uid,
        gid,
        rdev: match node.kind {
            NodeKind::CharacterDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                device_number(major, minor)
            }
            _ => 0,
        },
        blksize: READ_BYTES,
        flags: 0,
    }
}

/// The kind of an object as the kernel names it.
pub(super) const fn kind(kind: &NodeKind) -> FileType {
    match kind {
        NodeKind::Regular(_) => FileType::RegularFile,
        NodeKind::Directory(_) => FileType::Directory,
        NodeKind::Symlink(_) => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharacterDevice { .. } => FileType::CharDevice,
        NodeKind::BlockDevice { .. } => FileType::BlockDevice,
    }
}

/// A device as Linux tells it to programs in 32 bits: 12 of the major number, 20 of the minor.
const fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let seconds = match time.seconds {
        0.. => UNIX_EPOCH.checked_add(whole),
        _ => UNIX_EPOCH.checked_sub(whole),
    };
    seconds
        .and_then(|seconds| seconds.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::tests::{plain, regular};
    use crate::format::node::{Content, Extent, LinkGroup, Regular};

    const OWNERS: Owners = Owners { mounting: (7, 8), all_root: false };

    #[test]
    fn what_was_stored_is_told() {
        let mut node = regular(b"a", 5000, Content::Chunk(crate::base::ChunkId([1; 32])));
        node.metadata.mode = 0o4711;
        node.metadata.mtime = Timestamp { seconds: -2, nanoseconds: 250_000_000 };
        (node.metadata.uid, node.metadata.gid) = (5, u32::MAX);
        let told = stored(9, &node, OWNERS);
        assert_eq!((told.ino, told.size, told.blocks, told.nlink), (INodeNo(9), 5000, 16, 1));
        assert_eq!((told.perm, told.uid, told.gid), (0o4711, 5, u32::MAX));
        assert_eq!(told.mtime, UNIX_EPOCH - Duration::from_millis(1750));
        let all_root = stored(9, &node, Owners { all_root: true, ..OWNERS });
        assert_eq!((all_root.uid, all_root.gid), (0, 0));
    }

    #[test]
    fn names_are_counted_as_far_as_anybody_said() {
        let mut node = regular(b"a", 0, Content::Empty);
        node.metadata.links = Some(LinkGroup { filesystem: 0, inode: 1 });
        assert_eq!(stored(1, &node, OWNERS).nlink, 2);
        for (count, told) in [(3, 3), (1, 2), (u32::MAX, u32::MAX)] {
            node.metadata.link_count = Some(count);
            assert_eq!(stored(1, &node, OWNERS).nlink, told);
        }
    }

    #[test]
    fn a_hole_takes_no_room_and_a_device_has_its_number() {
        let extents = Some(vec![Extent { offset: 1 << 30, length: 1 }]);
        let content = Content::Chunk(crate::base::ChunkId([1; 32]));
        let sparse = Regular { size: 1 << 31, content, extents, changed_while_read: false };
        let told = stored(1, &plain(b"s", NodeKind::Regular(sparse)), OWNERS);
        assert_eq!((told.size, told.blocks), (1 << 31, 8));
        let told = stored(1, &plain(b"d", NodeKind::BlockDevice { major: 0xabc, minor: 0x12345 }), OWNERS);
        assert_eq!((told.kind, told.rdev), (FileType::BlockDevice, 0x123a_bc45));
        let told = stored(1, &plain(b"l", NodeKind::Symlink(b"../x".to_vec())), OWNERS);
        assert_eq!((told.kind, told.size), (FileType::Symlink, 4));
    }

    #[test]
    fn times_at_the_end_of_what_can_be_said_are_no_trouble() {
        for seconds in [i64::MIN, i64::MAX] {
            system_time(Timestamp { seconds, nanoseconds: 999_999_999 });
        }
    }
}
