//! Lines of `ls`: the snapshot, then what it holds.

use packstone::format::node::{Node, NodeKind};
use packstone::repository::SnapshotEntry;
use serde::Serialize;

use super::snapshot::SnapshotDocument;
use super::{name, time};
use crate::show;

/// The snapshot that is listed.
#[derive(Debug, Serialize)]
pub struct SnapshotLine {
    message_type: &'static str,
    struct_type: &'static str,
    #[serde(flatten)]
    snapshot: SnapshotDocument,
}

impl SnapshotLine {
    /// This one.
    pub fn of(entry: &SnapshotEntry) -> Self {
        let snapshot = SnapshotDocument::of(entry);
        Self { message_type: "snapshot", struct_type: "snapshot", snapshot }
    }
}

/// An object of a snapshot.
#[derive(Debug, Serialize)]
pub struct NodeLine {
    message_type: &'static str,
    struct_type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    r#type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mode: u32,
    permissions: String,
    mtime: String,
    ctime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_while_read: Option<bool>,
}

impl NodeLine {
    /// The object at a path.
    pub fn of(node: &Node, path: &[u8]) -> Self {
        let metadata = &node.metadata;
        let (shown_name, name_hex) = name(&node.name);
        let (path, path_hex) = name(path);
        let regular = match &node.kind {
            NodeKind::Regular(regular) => Some(regular),
            _ => None,
        };
        let (linktarget, linktarget_hex) = match &node.kind {
            NodeKind::Symlink(target) => {
                let (target, hex) = name(target);
                (Some(target), hex)
            }
            _ => (None, None),
        };
        let device = match node.kind {
            NodeKind::CharacterDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                Some([major, minor])
            }
            _ => None,
        };
        Self {
            message_type: "node",
            struct_type: "node",
            name: shown_name,
            name_hex,
            r#type: node.kind.word(),
            path,
            path_hex,
            uid: metadata.uid,
            gid: metadata.gid,
            user: metadata.user.as_ref().map(ToString::to_string),
            group: metadata.group.as_ref().map(ToString::to_string),
            size: regular.map(|regular| regular.size),
            mode: mode(node),
            permissions: show::mode(node),
            mtime: time(metadata.mtime),
            ctime: time(metadata.ctime),
            inode: metadata.links.map(|links| links.inode),
            linktarget,
            linktarget_hex,
            device,
            changed_while_read: regular.filter(|regular| regular.changed_while_read).map(|_| true),
        }
    }
}

/// Kind and permissions in the number that Go programs, restic among them, give them: the low nine bits are the
/// permissions, the bits of the kind and of set-user-id, set-group-id and sticky stand above.
fn mode(node: &Node) -> u32 {
    let kind = match node.kind {
        NodeKind::Regular(_) => 0,
        NodeKind::Directory(_) => 1 << 31,
        NodeKind::Symlink(_) => 1 << 27,
        NodeKind::BlockDevice { .. } => 1 << 26,
        NodeKind::CharacterDevice { .. } => 1 << 26 | 1 << 21,
        NodeKind::Fifo => 1 << 25,
        NodeKind::Socket => 1 << 24,
    };
    let bits = u32::from(node.metadata.mode);
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    let special = special.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, shift)| 1 << shift);
    kind | bits & 0o777 | special.sum::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::ChunkId;
    use packstone::format::node::Metadata;

    #[test]
    fn modes_are_numbers_of_go() {
        let mode = |kind, bits| {
            let metadata = Metadata { mode: bits, ..Metadata::default() };
            mode(&Node { name: b"n".to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() })
        };
        assert_eq!(mode(NodeKind::Directory(ChunkId([0; 32])), 0o755), 2_147_484_141);
        assert_eq!(mode(NodeKind::Symlink(b"x".to_vec()), 0o777), 134_218_239);
        assert_eq!(mode(NodeKind::Fifo, 0o7644), 1 << 25 | 1 << 23 | 1 << 22 | 1 << 20 | 0o644);
        assert_eq!(mode(NodeKind::CharacterDevice { major: 1, minor: 3 }, 0o666), 69_206_454);
    }
}
