//! The print of a directory: one hash of everything in it that a look without reading can tell.
//!
//! What must hold: whatever a node of the directory says is covered, by itself or by the change time, so that equal
//! prints mean equal pages; two lists of entries never give the same input to the hash.

use smol_str::SmolStr;

use crate::base::Timestamp;
use crate::format::node::{LinkGroup, Node, NodeKind};
use crate::fsmeta::capture::{Stat, StatKind};
use crate::fsmeta::owners::Owners;
use crate::state::Row;

/// What one entry adds that is no directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'e> {
    name: &'e [u8],
    kind: u8,
    mode: u16,
    owner: (u32, u32),
    /// Of a regular file.
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    inode: u64,
    group: Option<LinkGroup>,
    device: (u32, u32),
}

impl<'e> Line<'e> {
    /// Of something that was looked at.
    fn of_stat(name: &'e [u8], stat: &Stat, group: Option<LinkGroup>) -> Self {
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
        }
    }

    /// Of a node.
    fn of_node(node: &'e Node, inode: u64) -> Self {
        let metadata = &node.metadata;
        let (kind, device) = match node.kind {
            NodeKind::Regular(_) => (0, (0, 0)),
            NodeKind::Directory(_) => (1, (0, 0)),
            NodeKind::Symlink(_) => (2, (0, 0)),
            NodeKind::Fifo => (3, (0, 0)),
            NodeKind::Socket => (4, (0, 0)),
            NodeKind::CharacterDevice { major, minor } => (5, (major, minor)),
            NodeKind::BlockDevice { major, minor } => (6, (major, minor)),
        };
        Self {
            name: &node.name,
            kind,
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            size: node.size(),
            mtime: metadata.mtime,
            ctime: metadata.ctime,
            inode,
            group: metadata.links,
            device,
        }
    }
}

/// A print in the making. Entries are added in order of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Print {
    hasher: blake3::Hasher,
    /// What is not yet hashed: much at a time is faster.
    waiting: Vec<u8>,
    /// User and group of the entry before, of those that are no directories.
    owner: Option<(u32, u32)>,
}

/// Bytes that are hashed at a time.
const STEP_BYTES: usize = 32 << 10;
/// Stands for a directory where other entries have the length of their name, which is at most 255.
const DIRECTORY: u16 = u16::MAX;

impl Print {
    /// Adds something that was looked at and is no directory.
    pub(super) fn add_stat(&mut self, name: &[u8], stat: &Stat, group: Option<LinkGroup>, owners: &Owners) {
        let names = || (owners.user(stat.uid), owners.group(stat.gid));
        self.add(&Line::of_stat(name, stat, group), names);
    }

    /// Adds a node, with its inode number unless it is a directory.
    pub(super) fn add_node(&mut self, node: &Node, inode: u64) {
        if matches!(node.kind, NodeKind::Directory(_)) {
            // All of it: its attributes may be other ones without a change, if they could not all be read before.
            let encoded = node.encode();
            self.waiting.extend_from_slice(&DIRECTORY.to_le_bytes());
            self.waiting.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
            self.waiting.extend_from_slice(&encoded);
            return self.hash_if_much();
        }
        let names = || (node.metadata.user.clone(), node.metadata.group.clone());
        self.add(&Line::of_node(node, inode), names);
    }

    fn add(&mut self, line: &Line<'_>, names: impl FnOnce() -> (Option<SmolStr>, Option<SmolStr>)) {
        let bytes = &mut self.waiting;
        // Everything after the name has a fixed width, but for what follows where the owner is another one.
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
        // A number may have got another name since, which changes no file. Asked once for many files.
        if self.owner.replace(line.owner) != Some(line.owner) {
            let (user, group) = names();
            for name in [user, group] {
                let length = name.as_ref().map_or(0, |name| name.len() as u64 + 1);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(name.unwrap_or_default().as_bytes());
            }
        }
        self.hash_if_much();
    }

    fn hash_if_much(&mut self) {
        if self.waiting.len() >= STEP_BYTES {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
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
    is_small: bool,
    is_at_rest: bool,
    inodes: Vec<u64>,
    children: Vec<Vec<u8>>,
}

impl Seen {
    /// Of a directory whose entries were not looked at before this moment; `is_small` if it can be compared as a whole.
    pub(super) fn new(clean_before: Timestamp, is_small: bool) -> Self {
        let (print, inodes, children) = Default::default();
        Self { print, clean_before, is_small, is_at_rest: true, inodes, children }
    }

    /// Adds an entry of the snapshot, in order of names; with 0 for its inode number if it is to be read again.
    pub(super) fn add(&mut self, node: &Node, inode: u64) {
        let is_directory = matches!(node.kind, NodeKind::Directory(_));
        if is_directory {
            self.children.push(node.name.clone());
        }
        if !self.is_small {
            return;
        }
        self.print.add_node(node, inode);
        let (mtime, ctime) = (node.metadata.mtime, node.metadata.ctime);
        self.is_at_rest &= mtime < self.clean_before && ctime < self.clean_before;
        if !is_directory {
            self.is_at_rest &= inode != 0;
            self.inodes.push(inode);
        }
    }

    /// What changed at or after this moment may have changed again unseen.
    pub(super) const fn clean_before(&self) -> Timestamp {
        self.clean_before
    }

    /// The print of what was added.
    pub(super) fn print(&self) -> [u8; 32] {
        self.print.clone().finish()
    }

    /// The row of the directory, and the names of its subdirectories. `inode` is its own, 0 if its metadata are to be
    /// read again.
    pub(super) fn into_row(self, inode: u64, node: &Node) -> (Row, Vec<Vec<u8>>) {
        let row = Row {
            clean_before: self.clean_before,
            print: (self.is_small && self.is_at_rest).then(|| self.print.finish()),
            inode,
            inodes: self.inodes,
            node: encode_for_row(node),
        };
        (row, self.children)
    }
}

/// A node as a row has it: the root, whose name is empty, under a name that a node can have. The place of the row tells
/// the name.
pub(super) fn encode_for_row(node: &Node) -> Vec<u8> {
    match node.name.is_empty() {
        true => Node { name: b"root".to_vec(), ..node.clone() }.encode(),
        false => node.encode(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::tests::{plain, regular};
    use crate::format::node::{Content, Xattr, XattrValue};

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

    fn of_stats(entries: &[(&[u8], Stat, Option<LinkGroup>)]) -> [u8; 32] {
        let (mut print, owners) = (Print::default(), Owners::new());
        entries.iter().for_each(|(name, stat, group)| print.add_stat(name, stat, *group, &owners));
        print.finish()
    }

    fn of_nodes(nodes: &[&Node]) -> [u8; 32] {
        let mut print = Print::default();
        nodes.iter().for_each(|node| print.add_node(node, 7));
        print.finish()
    }

    #[test]
    fn a_look_and_the_node_that_was_made_of_it_have_the_same_print() {
        let (stat, owners) = (stat(), Owners::new());
        let looked = Stat { uid: 0, ..stat };
        let node = |name: &[u8], stat: &Stat| {
            let mut node = regular(name, 3, Content::Empty);
            node.metadata = crate::fsmeta::capture::metadata(stat, &owners, None);
            node
        };
        let nodes = [node(b"m", &stat), node(b"n", &looked), node(b"o", &looked)];
        let expected = of_stats(&[(b"m", stat, None), (b"n", looked, None), (b"o", looked, None)]);
        assert_eq!(of_nodes(&[&nodes[0], &nodes[1], &nodes[2]]), expected);
        let mut print = Print::default();
        print.add_node(&nodes[0], 8);
        assert_ne!(print.finish(), of_nodes(&[&nodes[0]]));
    }

    /// What a look can tell apart has another print.
    #[test]
    fn every_part_counts() {
        let group = |inode| Some(LinkGroup { filesystem: 0, inode });
        let time = Timestamp { seconds: 4, nanoseconds: 8 };
        let of = |name: &'static [u8], stat, group| of_stats(&[(name, stat, group)]);
        let special = |major, minor| StatKind::CharacterDevice { major, minor };
        let prints = [
            of_stats(&[]),
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
        ];
        for (number, one) in prints.iter().enumerate() {
            assert!(!prints[number + 1..].contains(one), "print {number}");
        }
        let many = vec![(&b"n"[..], stat(), None); 1000];
        assert_ne!(of_stats(&many), of_stats(&many[1..]));
    }

    /// What a node says beside what a look tells: names of owners, and of a directory its attributes, which may have
    /// been read only in part before.
    #[test]
    fn names_of_owners_and_all_of_a_directory_count() {
        let named = |user: Option<&str>, group: Option<&str>, name: &[u8]| {
            let mut node = regular(name, 3, Content::Empty);
            (node.metadata.user, node.metadata.group) = (user.map(Into::into), group.map(Into::into));
            node
        };
        let directory = |byte| plain(b"n", NodeKind::Directory(crate::base::ChunkId([byte; 32])));
        let with_xattr = |value: &[u8]| Node {
            xattrs: vec![Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(value.to_vec()) }],
            ..directory(1)
        };
        let (renamed, mut chmodded) = (Node { name: b"m".to_vec(), ..directory(1) }, directory(1));
        chmodded.metadata.mode = 0o700;
        let other_owner = Node { metadata: named(Some("b"), None, b"n").metadata, ..directory(1) };
        let prints = [
            of_nodes(&[&named(None, None, b"n")]),
            of_nodes(&[&named(Some(""), None, b"n")]),
            of_nodes(&[&named(Some("a"), None, b"n")]),
            of_nodes(&[&named(Some("b"), None, b"n")]),
            of_nodes(&[&named(None, Some("a"), b"n")]),
            of_nodes(&[&named(Some("a"), Some("b"), b"n")]),
            of_nodes(&[&directory(1), &named(Some("a"), None, b"o")]),
            of_nodes(&[&directory(1), &named(Some("b"), None, b"o")]),
            of_nodes(&[&directory(1)]),
            of_nodes(&[&directory(2)]),
            of_nodes(&[&with_xattr(b"x")]),
            of_nodes(&[&with_xattr(b"y")]),
            of_nodes(&[&renamed]),
            of_nodes(&[&chmodded]),
            of_nodes(&[&other_owner]),
        ];
        for (number, one) in prints.iter().enumerate() {
            assert!(!prints[number + 1..].contains(one), "print {number}");
        }
    }

    #[test]
    fn a_row_can_have_the_root() {
        let root = plain(b"", NodeKind::Directory(crate::base::ChunkId([1; 32])));
        let clean_before = Timestamp { seconds: 6, nanoseconds: 0 };
        for name in [&b""[..], b"n"] {
            let node = Node { name: name.to_vec(), ..root.clone() };
            let (row, _) = Seen::new(clean_before, true).into_row(1, &node);
            let read = Node::decode(&mut crate::format::cbor::Reader::new(&row.node)).expect("a node");
            assert_eq!(Node { name: name.to_vec(), ..read }, node);
        }
    }
}
