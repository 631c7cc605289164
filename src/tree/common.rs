//! Marks the pages that two trees have in common, so that a walk through one of them stops there: what two snapshots of
//! one source share costs nothing.
//!
//! What must hold: only pages of both trees are marked. Of the other tree no more is read than in proportion to what is
//! new in the first one; what is overlooked for that is walked through like anything new.

use std::collections::BTreeSet;

use crate::base::{ChunkId, Result};
use crate::format::node::NodeKind;
use crate::format::page::Page;
use crate::repository::{Marks, Reader};
use crate::tree::Tree;

/// Pages of the other tree that are read for each new page of the same depth.
const OTHERS_FOR_EACH: usize = 4;
/// Pages of the other tree that are read at a depth in any case.
const OTHERS_ALWAYS: usize = 64;

/// Marks, as walked through, the pages of directories that both trees have at the same depth, the highest of them alone.
pub fn mark_common(reader: &Reader<'_>, other: &ChunkId, root: &ChunkId, marks: &Marks) -> Result<()> {
    let tree = Tree::new(reader);
    let mut new = BTreeSet::from([*root]);
    let mut others = BTreeSet::from([*other]);
    loop {
        for common in new.intersection(&others) {
            marks.walk(common);
        }
        let (of_new, of_others) = (&new - &others, &others - &new);
        if of_new.is_empty() || of_others.is_empty() {
            return Ok(());
        }
        let most = of_new.len() * OTHERS_FOR_EACH + OTHERS_ALWAYS;
        others = BTreeSet::new();
        for page in of_others.iter().take(most) {
            pages_below(&tree, page, &mut others)?;
        }
        new = BTreeSet::new();
        for page in &of_new {
            pages_below(&tree, page, &mut new)?;
        }
    }
}

fn pages_below(tree: &Tree<'_>, page: &ChunkId, below: &mut BTreeSet<ChunkId>) -> Result<()> {
    match tree.page(page)? {
        Page::Inner { children, .. } => below.extend(children.iter().map(|child| child.id)),
        Page::Leaf { nodes, .. } => below.extend(nodes.iter().filter_map(|node| match node.kind {
            NodeKind::Directory(tree) => Some(tree),
            _ => None,
        })),
    }
    Ok(())
}
