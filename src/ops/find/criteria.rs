//! Whether an object is what is looked for, its path apart.
//!
//! What must hold: content is read only of files that have the right size, and each content once.

use std::collections::HashMap;

use crate::base::{ChunkId, Error, Monitor, Result};
use crate::format::node::{Content, Extent, NodeKind};
use crate::ops::find::{Criteria, SoughtKind};
use crate::ops::local::{LocalFile, Wanted};
use crate::source::Sought;
use crate::tree::{BundlePlace, Entry, Tree};

/// Judges objects.
pub(super) struct Judge<'s> {
    tree: Tree<'s>,
    criteria: &'s Criteria,
    local: Option<LocalFile>,
    monitor: &'s dyn Monitor,
    /// Contents that were compared with the local file.
    compared: HashMap<StoredContent, bool>,
}

/// What tells where a content is stored; the same bytes may have several.
#[derive(PartialEq, Eq, Hash)]
enum StoredContent {
    /// Bundle and first byte.
    Bundled(ChunkId, u64),
    /// Chunks or the root of their list, and the places of data.
    Chunked(Vec<ChunkId>, Option<Vec<(u64, u64)>>),
}

impl StoredContent {
    fn of(content: &Content, extents: Option<&[Extent]>, bundle: Option<&BundlePlace>) -> Self {
        if let Some(place) = bundle {
            return Self::Bundled(place.id, place.offset);
        }
        let ids = match content {
            Content::Empty | Content::Bundle(_) => Vec::new(),
            Content::Chunk(id) | Content::List { id, .. } => vec![*id],
            Content::Chunks(chunks) => chunks.iter().map(|chunk| chunk.id).collect(),
        };
        let places =
            |extents: &[Extent]| extents.iter().map(|extent| (extent.offset, extent.length)).collect();
        Self::Chunked(ids, extents.map(places))
    }
}

impl<'s> Judge<'s> {
    pub(super) fn new(
        tree: Tree<'s>,
        criteria: &'s Criteria,
        local: Option<LocalFile>,
        monitor: &'s dyn Monitor,
    ) -> Self {
        Self { tree, criteria, local, monitor, compared: HashMap::new() }
    }

    /// The patterns of paths.
    pub(super) const fn patterns(&self) -> &'s Sought {
        &self.criteria.patterns
    }

    /// Whether all but the path of an object is as it is looked for.
    pub(super) fn accepts(&mut self, entry: &Entry) -> Result<bool> {
        let Criteria { oldest, newest, larger_than_bytes, smaller_than_bytes, kinds, .. } = self.criteria;
        let kind = SoughtKind::of(&entry.node.kind);
        let mtime = entry.node.metadata.mtime;
        let size = entry.node.size();
        let needs_file = larger_than_bytes.is_some() || smaller_than_bytes.is_some() || self.local.is_some();
        let is_accepted = (kinds.is_empty() || kinds.contains(&kind))
            && (!needs_file || kind == SoughtKind::File)
            && oldest.is_none_or(|oldest| mtime >= oldest)
            && newest.is_none_or(|newest| mtime <= newest)
            && larger_than_bytes.is_none_or(|bytes| size > bytes)
            && smaller_than_bytes.is_none_or(|bytes| size < bytes);
        Ok(is_accepted && self.has_content(entry)?)
    }

    fn has_content(&mut self, entry: &Entry) -> Result<bool> {
        let Some(local) = &self.local else { return Ok(true) };
        let NodeKind::Regular(regular) = &entry.node.kind else { return Ok(false) };
        if regular.size != local.stat.size {
            return Ok(false);
        }
        let stored = StoredContent::of(&regular.content, regular.extents.as_deref(), entry.bundle.as_ref());
        if let Some(is_same) = self.compared.get(&stored) {
            return Ok(*is_same);
        }
        let held = local.hold(self.tree, entry, Wanted::Whether, self.monitor)?;
        let cannot_read =
            |error: Error| error.while_doing("cannot read the file whose content is looked for");
        let is_same = held.map_err(cannot_read)?.is_same;
        self.compared.insert(stored, is_same);
        Ok(is_same)
    }
}
