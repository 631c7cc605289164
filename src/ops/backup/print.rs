//! The print of a directory: one hash of everything in it that a look without reading can tell.
//!
//! What must hold: whatever a node of the directory says is covered, by itself or by the change time, so that equal
//! prints mean equal pages; two lists of entries never give the same input to the hash.

use crate::base::{ChunkId, Timestamp};
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::capture::{Stat, StatKind};
use crate::state::Row;

/// What one entry adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'e> {
    name: &'e [u8],
    kind: u8,
    mode: u16,
    owner: (u32, u32),
    /// Of a regular file.
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    /// Of all but directories, which have their tree.
    inode: u64,
    group: Option<LinkGroup>,
    device: (u32, u32),
    tree: Option<ChunkId>,
}

impl<'e> Line<'e> {
    /// Of something that was looked at and is no directory.
    pub(super) fn of_stat(name: &'e [u8], stat: &Stat, group: Option<LinkGroup>) -> Self {
        let (kind, device) = match stat.kind {
            StatKind::Regular => (0, (0, 0)),
            StatKind::Directory => (1, (0, 0)),
            StatKind::Symlink => (2, (0, 0)),
            StatKind::Fifo => (3, (0, 0)),
            StatKind::Socket => (4, (0, 0)),
            StatKind::CharacterDevice { major, minor } => (5, (major, minor)),
            StatKind::BlockDevice { major, minor } => (6, (major, minor)),
        };
        Self {
            name,
            kind,
            mode: stat.mode,
            owner: (stat.uid, stat.gid),
            size: if stat.kind == StatKind::Regular { stat.size } else { 0 },
            mtime: stat.mtime,
            ctime: stat.ctime,
            inode: stat.inode,
            group,
            device,
            tree: None,
        }
    }

    /// Of a node; `inode` unless it is a directory.
    pub(super) fn of_node(node: &'e Node, inode: u64) -> Self {
        let metadata = &node.metadata;
        let (kind, device, tree) = match node.kind {
            NodeKind::Regular(_) => (0, (0, 0), None),
            NodeKind::Directory(tree) => (1, (0, 0), Some(tree)),
            NodeKind::Symlink(_) => (2, (0, 0), None),
            NodeKind::Fifo => (3, (0, 0), None),
            NodeKind::Socket => (4, (0, 0), None),
            NodeKind::CharacterDevice { major, minor } => (5, (major, minor), None),
            NodeKind::BlockDevice { major, minor } => (6, (major, minor), None),
        };
        Self {
            name: &node.name,
            kind,
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            size: node.size(),
            mtime: metadata.mtime,
            ctime: metadata.ctime,
            inode: if tree.is_some() { 0 } else { inode },
            group: metadata.links,
            device,
            tree,
        }
    }
}

/// A print in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Print {
    hasher: blake3::Hasher,
    /// Lines that are not yet hashed: many at a time are faster.
    waiting: Vec<u8>,
}

/// Bytes that are hashed at a time.
const STEP_BYTES: usize = 32 << 10;

impl Print {
    /// Adds an entry, in order of names.
    pub(super) fn add(&mut self, line: &Line<'_>) {
        let bytes = &mut self.waiting;
        // A name is at most 255 bytes long and everything after it has a fixed width, but for the tree, which `kind`
        // tells.
        bytes.extend_from_slice(&u16::try_from(line.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(line.name);
        bytes.extend_from_slice(&[line.kind, u8::from(line.group.is_some())]);
        bytes.extend_from_slice(&line.mode.to_le_bytes());
        for time in [line.mtime, line.ctime] {
            bytes.extend_from_slice(&time.seconds.to_le_bytes());
            bytes.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        let group = line.group.map_or((0, 0), |group| (group.filesystem, group.inode));
        for number in [line.size, line.inode, group.0, group.1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [line.owner.0, line.owner.1, line.device.0, line.device.1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(tree) = &line.tree {
            bytes.extend_from_slice(tree.as_bytes());
        }
        if bytes.len() >= STEP_BYTES {
            self.hasher.update(bytes);
            bytes.clear();
        }
    }

    /// The print of all entries that were added.
    pub(super) fn finish(mut self) -> [u8; 32] {
        *self.hasher.update(&self.waiting).finalize().as_bytes()
    }
}

/// What the next run will be told of a directory.
#[derive(Debug)]
pub(super) struct Seen {
    print: Print,
    clean_before: Timestamp,
    is_at_rest: bool,
    inodes: Vec<u64>,
    children: Vec<Vec<u8>>,
}

impl Seen {
    /// Of a directory whose entries were not looked at before this moment.
    pub(super) fn new(clean_before: Timestamp) -> Self {
        let (print, inodes, children) = Default::default();
        Self { print, clean_before, is_at_rest: true, inodes, children }
    }

    /// Adds an entry of the snapshot, in order of names; with 0 for its inode number if it is to be read again.
    pub(super) fn add(&mut self, node: &Node, inode: u64) {
        self.print.add(&Line::of_node(node, inode));
        let (mtime, ctime) = (node.metadata.mtime, node.metadata.ctime);
        self.is_at_rest &= mtime < self.clean_before && ctime < self.clean_before;
        match node.kind {
            NodeKind::Directory(_) => self.children.push(node.name.clone()),
            _ => {
                self.is_at_rest &= inode != 0;
                self.inodes.push(inode);
            }
        }
    }

    /// The print of what was added.
    pub(super) fn print(&self) -> [u8; 32] {
        self.print.clone().finish()
    }

    /// The row of the directory, and the names of its subdirectories. `inode` is its own, 0 if its metadata are to be
    /// read again; `is_small` if it can be compared as a whole.
    pub(super) fn into_row(self, inode: u64, node: &Node, is_small: bool) -> (Row, Vec<Vec<u8>>) {
        let row = Row {
            clean_before: self.clean_before,
            print: (is_small && self.is_at_rest).then(|| self.print.finish()),
            inode,
            inodes: if is_small { self.inodes } else { Vec::new() },
            node: node.encode(),
        };
        (row, self.children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::tests::{plain, regular};
    use crate::format::node::{Content, Metadata};

    fn stat() -> Stat {
        let time = |seconds| Timestamp { seconds, nanoseconds: 9 };
        Stat {
            kind: StatKind::Regular,
            mode: 0o644,
            uid: 1,
            gid: 2,
            size: 3,
            mtime: time(4),
            ctime: time(5),
            device: 6,
            inode: 7,
            links: 1,
        }
    }

    fn print(lines: &[Line<'_>]) -> [u8; 32] {
        let mut print = Print::default();
        lines.iter().for_each(|line| print.add(line));
        print.finish()
    }

    #[test]
    fn a_look_and_the_node_that_was_made_of_it_have_the_same_print() {
        let stat = stat();
        let mut node = regular(b"n", 3, Content::Empty);
        node.metadata = Metadata {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            ctime: stat.ctime,
            user: Some("whoever".into()),
            ..Metadata::default()
        };
        assert_eq!(print(&[Line::of_stat(b"n", &stat, None)]), print(&[Line::of_node(&node, 7)]));
        assert_ne!(print(&[Line::of_stat(b"n", &stat, None)]), print(&[Line::of_node(&node, 8)]));
    }

    /// What a look can tell apart has another print.
    #[test]
    fn every_part_counts() {
        let group = |inode| Some(LinkGroup { filesystem: 0, inode });
        let time = Timestamp { seconds: 4, nanoseconds: 8 };
        let of = |name: &'static [u8], stat, group| print(&[Line::of_stat(name, &stat, group)]);
        let special = |major, minor| StatKind::CharacterDevice { major, minor };
        let tree = |byte| NodeKind::Directory(ChunkId([byte; 32]));
        let prints = [
            print(&[]),
            of(b"n", stat(), None),
            of(b"m", stat(), None),
            of(b"nn", stat(), None),
            of(b"n", stat(), group(0)),
            of(b"n", stat(), group(1)),
            of(b"n", Stat { mode: 0o645, ..stat() }, None),
            of(b"n", Stat { uid: 2, ..stat() }, None),
            of(b"n", Stat { gid: 3, ..stat() }, None),
            of(b"n", Stat { size: 4, ..stat() }, None),
            of(b"n", Stat { mtime: time, ..stat() }, None),
            of(b"n", Stat { ctime: time, ..stat() }, None),
            of(b"n", Stat { inode: 8, ..stat() }, None),
            of(b"n", Stat { kind: StatKind::Symlink, ..stat() }, None),
            of(b"n", Stat { kind: StatKind::Fifo, ..stat() }, None),
            of(b"n", Stat { kind: StatKind::Socket, ..stat() }, None),
            of(b"n", Stat { kind: special(0, 1), ..stat() }, None),
            of(b"n", Stat { kind: special(1, 0), ..stat() }, None),
            of(b"n", Stat { kind: StatKind::BlockDevice { major: 1, minor: 0 }, ..stat() }, None),
            print(&[Line::of_node(&plain(b"n", tree(1)), 0)]),
            print(&[Line::of_node(&plain(b"n", tree(2)), 0)]),
        ];
        for (number, one) in prints.iter().enumerate() {
            assert!(!prints[number + 1..].contains(one), "print {number}");
        }
        let many: Vec<Line<'_>> = (0..1000).map(|_| Line::of_stat(b"n", &STAT, None)).collect();
        assert_ne!(print(&many), print(&many[1..]));
    }

    const STAT: Stat = Stat {
        kind: StatKind::Regular,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Timestamp { seconds: 0, nanoseconds: 0 },
        ctime: Timestamp { seconds: 0, nanoseconds: 0 },
        device: 0,
        inode: 0,
        links: 1,
    };
}
