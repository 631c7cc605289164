//! The first path of a snapshot that needs a chunk, to say what is hurt.
//!
//! What must hold: it is looked for only when something is amiss, reads no content, and finds its way past what else
//! cannot be read.

use crate::base::ChunkId;
use crate::format::node::{ChunkRef, Content, Node, NodeKind, XattrValue};
use crate::repository::{Reader, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree, Walk, WalkItem};

/// The path; that of a directory, which then ends with a slash, if a page of its own is the chunk.
pub(super) fn path_needing(reader: &Reader<'_>, entry: &SnapshotEntry, id: &ChunkId) -> Option<Vec<u8>> {
    let tree = Tree::new(reader);
    let mut path: Vec<Vec<u8>> = Vec::new();
    let shown = |path: &[Vec<u8>]| [b"/".as_slice(), &path.join(&b'/')].concat();
    let directory = |path: &[Vec<u8>]| match path {
        [] => b"/".to_vec(),
        path => [shown(path).as_slice(), b"/"].concat(),
    };
    for item in Walk::new(tree, entry.snapshot.tree, Budget::of(&entry.snapshot)) {
        match item {
            Ok(WalkItem::Leave) => drop(path.pop()),
            Ok(WalkItem::Entry(found)) => {
                path.push(found.node.name.clone());
                if needs(&tree, &found, id) {
                    return Some(shown(&path));
                }
                if !matches!(found.node.kind, NodeKind::Directory(_)) {
                    path.pop();
                }
            }
            // A page of the directory that is being read; if it was another one, the walk goes on behind it.
            Err(error) if error.chain().iter().any(|message| message.contains(&id.to_string())) => {
                return Some(directory(&path));
            }
            Err(_) => {}
        }
    }
    None
}

fn needs(tree: &Tree<'_>, entry: &Entry, id: &ChunkId) -> bool {
    let Node { kind, xattrs, .. } = &entry.node;
    let is_xattr = xattrs.iter().any(|xattr| match &xattr.value {
        XattrValue::Inline(_) => false,
        XattrValue::Chunk(chunk) => chunk.id == *id,
    });
    if is_xattr || entry.bundle.is_some_and(|place| place.id == *id) {
        return true;
    }
    let NodeKind::Regular(regular) = kind else { return false };
    match &regular.content {
        Content::Empty | Content::Bundle(_) => false,
        Content::Chunk(chunk) => chunk == id,
        Content::Chunks(chunks) => chunks.iter().any(|chunk| chunk.id == *id),
        Content::List { level, id: page } => {
            needs_below(tree, *level, ChunkRef { id: *page, length: regular.content_bytes() }, id)
        }
    }
}

fn needs_below(tree: &Tree<'_>, level: u8, page: ChunkRef, id: &ChunkId) -> bool {
    if page.id == *id {
        return true;
    }
    // What cannot be read is another damage.
    let entries = tree.list_page(level, page).unwrap_or_default();
    entries.iter().any(|entry| match level.checked_sub(1) {
        None => entry.id == *id,
        // As deep as there are levels, of which a node says at most 16.
        Some(below) => needs_below(tree, below, *entry, id),
    })
}
