//! Planning many files at once: what a bounded number of files needs is sorted by where it lies, so that each segment
//! is fetched, opened and decompressed once.
//!
//! What must hold: memory is bounded by the share for plans, whatever the number and the size of files; a file that is
//! too long for one wave goes on in the next.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{ChunkId, Error, Result};
use crate::format::node::{ChunkRef, LinkGroup, Node, NodeKind, Regular};
use crate::ops::path::PathLink;
use crate::ops::restore::FirstName;
use crate::ops::restore::memory::node_bytes;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Found, TargetFile};
use crate::repository::Placement;
use crate::tree::{BundlePlace, Tree, check_length};

/// Bytes of files that replace others, which come to lie beside the old ones until the wave is written out.
const REPLACING_BYTES_MAX: u64 = 1 << 30;

/// What a file replaces.
#[derive(Debug)]
pub(super) struct Replacing {
    /// What was found under its name.
    pub(super) found: Found,
    /// The name that it has until it is complete.
    pub(super) temporary: Vec<u8>,
}

/// A file to write.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) directory: DirectoryNumber,
    pub(super) path: Arc<PathLink>,
    pub(super) node: Node,
    pub(super) bundle: Option<BundlePlace>,
    pub(super) replacing: Option<Replacing>,
    pub(super) state: Mutex<State>,
}

/// How far a file is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Pieces of this wave that are not written yet.
    pub(super) pieces_left: usize,
    /// Whether pieces follow in the next wave.
    pub(super) has_more: bool,
    pub(super) file: Option<TargetFile>,
    pub(super) identity: Option<FileIdentity>,
    pub(super) has_failed: bool,
    /// All bytes are written; the file waits to be written out before it is finished.
    pub(super) is_written: bool,
    pub(super) is_done: bool,
}

impl FilePlan {
    pub(super) fn new(
        directory: DirectoryNumber,
        path: Arc<PathLink>,
        node: Node,
        bundle: Option<BundlePlace>,
        replacing: Option<Replacing>,
    ) -> Self {
        Self { directory, path, node, bundle, replacing, state: Mutex::default() }
    }

    /// Its path in the snapshot.
    pub(super) fn shown(&self) -> Vec<u8> {
        self.path.join(Some(&self.node.name))
    }

    pub(super) const fn regular(&self) -> Option<&Regular> {
        match &self.node.kind {
            NodeKind::Regular(regular) => Some(regular),
            _ => None,
        }
    }

    /// The name under which it is written.
    pub(super) fn written_name(&self) -> &[u8] {
        self.replacing.as_ref().map_or(&self.node.name, |replacing| &replacing.temporary)
    }

    fn state_mut(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a file's content: a part of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) placement: Placement,
    pub(super) id: ChunkId,
    pub(super) file: u32,
    /// First byte within the chunk.
    pub(super) skip: u32,
    /// Bytes of it.
    pub(super) length: u32,
    /// Where it goes in the content.
    pub(super) content_offset: u64,
}

impl Piece {
    /// Whether the file has no byte, and no hole, beside it.
    pub(super) fn is_all_of(&self, regular: &Regular) -> bool {
        regular.extents.is_none() && self.content_offset == 0 && u64::from(self.length) == regular.size
    }
}

/// Files that are written together.
#[derive(Debug, Default)]
pub(super) struct Wave {
    pub(super) files: Vec<FilePlan>,
    pub(super) pieces: Vec<Piece>,
    node_bytes: usize,
    replacing_bytes: u64,
}

/// What became of a wave.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) replaced: u64,
    pub(super) verified: u64,
    pub(super) findings: u64,
    pub(super) damaged: u64,
    pub(super) firsts: Vec<(LinkGroup, ChunkId, FirstName)>,
}

impl Wave {
    /// Whether it is to be written before more is planned; `held_bytes` is what waits beside it in the same share.
    pub(super) fn is_full(&self, plan_bytes: usize, held_bytes: usize) -> bool {
        // A growing vector has room for up to twice what it holds.
        let pieces = 2 * self.pieces.len() * size_of::<Piece>();
        let files = self.files.len() * (2 * size_of::<FilePlan>() - size_of::<Node>()) + self.node_bytes;
        pieces + files + held_bytes >= plan_bytes || self.replacing_bytes >= REPLACING_BYTES_MAX
    }

    /// Takes a file, whose pieces are given next.
    pub(super) fn begin(&mut self, mut plan: FilePlan) {
        plan.state_mut().has_more = true;
        self.node_bytes += node_bytes(&plan.node);
        self.files.push(plan);
    }

    /// The file that was taken last has all its pieces.
    pub(super) fn end(&mut self) {
        if let Some(plan) = self.files.last_mut() {
            plan.state_mut().has_more = false;
        }
    }

    /// Gives the file back that was taken last, and forgets its pieces.
    pub(super) fn abandon(&mut self) -> Option<FilePlan> {
        let plan = self.files.pop();
        let number = self.files.len();
        while self.pieces.last().is_some_and(|piece| piece.file as usize == number) {
            self.pieces.pop();
        }
        plan
    }

    /// True if the file that was taken last cannot be completed any more.
    pub(super) fn last_has_failed(&mut self) -> bool {
        self.files.last_mut().is_none_or(|plan| plan.state_mut().has_failed)
    }

    /// Plans the content of a bundled file.
    pub(super) fn add_bundled(&mut self, tree: Tree<'_>, place: &BundlePlace, size: u64) -> Result<()> {
        let placement = tree.reader().placement(&place.id)?;
        check_length(&place.id, u64::from(placement.length), place.bundle_bytes)?;
        self.push(placement, place.id, (narrow(place.offset)?, narrow(size)?), 0);
        Ok(())
    }

    /// Plans a chunk of the file that was taken last.
    pub(super) fn add_chunk(&mut self, tree: Tree<'_>, chunk: &ChunkRef, content_offset: u64) -> Result<()> {
        let placement = tree.reader().placement(&chunk.id)?;
        check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
        self.push(placement, chunk.id, (0, narrow(chunk.length)?), content_offset);
        Ok(())
    }

    fn push(&mut self, placement: Placement, id: ChunkId, part: (u32, u32), content_offset: u64) {
        let file = u32::try_from(self.files.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (skip, length) = part;
        if let Some(plan) = self.files.last_mut() {
            plan.state_mut().pieces_left += 1;
            if plan.replacing.is_some() {
                self.replacing_bytes += u64::from(length);
            }
        }
        self.pieces.push(Piece { placement, id, file, skip, length, content_offset });
    }

    /// The file that goes on in the next wave, taken out of this one when it is written.
    pub(super) fn take_unended(&mut self) -> Option<FilePlan> {
        let is_unended = self.files.last_mut().is_some_and(|plan| plan.state_mut().has_more);
        if is_unended { self.files.pop() } else { None }
    }
}

fn narrow(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::damaged("a chunk above the limit"))
}
