//! Planning many files at once: what a bounded number of files needs is sorted by where it lies, so that each segment
//! is fetched, opened and decompressed once.
//!
//! What must hold: memory is bounded by the share for plans, whatever the number and the size of files; a file that is
//! too long for one wave goes on in the next.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{ChunkId, Error, Lacks, MetadataParts, Result, Timestamp};
use crate::format::node::{ChunkRef, Extent, LinkGroup, Metadata, NodeKind, Regular};
use crate::ops::path::PathLink;
use crate::ops::restore::FirstName;
use crate::ops::restore::looking::Patch;
use crate::ops::restore::memory::node_bytes;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Found, TargetFile};
use crate::repository::Placement;
use crate::tree::{BundlePlace, Entry, Tree, check_length};

/// Bytes of files that replace others, which come to lie beside the old ones until the wave is written out.
const REPLACING_BYTES_MAX: u64 = 1 << 30;

/// The most room that a wave has from the beginning.
const ROOM_BYTES_MAX: usize = 64 << 20;
/// What an allocation takes beside what it is for.
const ALLOCATION_BYTES: usize = 16;

/// What a file replaces.
#[derive(Debug)]
pub(super) struct Replacing {
    /// What was found under its name.
    pub(super) found: Found,
    /// The name that it has until it is complete.
    pub(super) temporary: Vec<u8>,
    /// What was found may have the content: then it stays, and these parts of its metadata are not as stored.
    pub(super) unsure: Option<MetadataParts>,
}

/// What is done with what has the name of a file already.
#[derive(Debug)]
pub(super) enum Over {
    /// Nothing has it.
    Nothing,
    /// It is replaced.
    Replaces(Replacing),
    /// It is changed where it is.
    Patches(Box<Patch>),
}

/// A file to write. Most have no more than fits here: a plan of many files needs few segments twice.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) directory: DirectoryNumber,
    pub(super) path: Arc<PathLink>,
    pub(super) name: Box<[u8]>,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    uid: u32,
    gid: u32,
    mode: u16,
    special: Option<Box<Special>>,
    pub(super) state: Mutex<State>,
}

/// What only some files need.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) entry: Entry,
    pub(super) over: Over,
}

/// How far a file is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Pieces of this wave that are not written yet.
    pub(super) pieces_left: u32,
    /// Whether pieces follow in the next wave.
    pub(super) has_more: bool,
    pub(super) file: Option<Box<TargetFile>>,
    pub(super) identity: Option<FileIdentity>,
    pub(super) has_failed: bool,
    /// All bytes are written; the file waits to be written out before it is finished.
    pub(super) is_written: bool,
    pub(super) is_done: bool,
}

impl FilePlan {
    /// A regular file and what is to be known of its content. `is_read_back` if all of its entry is needed at the end.
    pub(super) fn new(
        directory: DirectoryNumber,
        path: Arc<PathLink>,
        entry: Entry,
        over: Over,
        is_read_back: bool,
    ) -> Option<(Self, Regular)> {
        let NodeKind::Regular(regular) = &entry.node.kind else { return None };
        let regular = regular.clone();
        let Metadata { mode, uid, gid, mtime, links, .. } = entry.node.metadata;
        let is_special = is_read_back
            || !matches!(over, Over::Nothing)
            || links.is_some()
            || regular.extents.is_some()
            || !entry.node.xattrs.is_empty();
        let (name, special) = match is_special {
            true => (entry.node.name.clone(), Some(Box::new(Special { entry, over }))),
            false => (entry.node.name, None),
        };
        let (name, size) = (name.into_boxed_slice(), regular.size);
        let state = Mutex::default();
        Some((Self { directory, path, name, size, mtime, uid, gid, mode, special, state }, regular))
    }

    /// Its path in the snapshot.
    pub(super) fn shown(&self) -> Vec<u8> {
        self.path.join(Some(&self.name))
    }

    /// Owner, mode and time, all that is set of it.
    pub(super) fn metadata(&self) -> Metadata {
        let Self { mode, uid, gid, mtime, .. } = *self;
        Metadata { mode, uid, gid, mtime, ..Metadata::default() }
    }

    /// Its entry, if it has more than a name, a size, an owner, a mode and a time, or is to be read back.
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.special.as_ref().map(|special| &special.entry)
    }

    pub(super) fn replacing(&self) -> Option<&Replacing> {
        match &self.special.as_ref()?.over {
            Over::Replaces(replacing) => Some(replacing),
            Over::Nothing | Over::Patches(_) => None,
        }
    }

    /// How it is changed, if it is there and stays.
    pub(super) fn patch(&self) -> Option<&Patch> {
        match &self.special.as_ref()?.over {
            Over::Patches(patch) => Some(patch),
            Over::Nothing | Over::Replaces(_) => None,
        }
    }

    /// Whether it is finished only after all of the wave was written out.
    pub(super) fn waits(&self) -> bool {
        self.special.as_ref().is_some_and(|special| !matches!(special.over, Over::Nothing))
    }

    /// Where its data lies, if it has holes.
    pub(super) fn extents(&self) -> Option<&[Extent]> {
        match &self.entry()?.node.kind {
            NodeKind::Regular(regular) => regular.extents.as_deref(),
            _ => None,
        }
    }

    /// The name under which it is written.
    pub(super) fn written_name(&self) -> &[u8] {
        self.replacing().map_or(&self.name, |replacing| &replacing.temporary)
    }

    /// About what it takes outside of itself.
    fn outer_bytes(&self) -> usize {
        let special = |special: &Special| {
            size_of::<Special>()
                + node_bytes(&special.entry.node)
                + match &special.over {
                    Over::Nothing => 0,
                    Over::Replaces(_) => 64,
                    Over::Patches(patch) => patch.memory_bytes(),
                }
        };
        self.name.len() + ALLOCATION_BYTES + self.special.as_deref().map_or(0, special)
    }

    fn state_mut(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chunk, or a part of it, that files are made of.
#[derive(Clone, Debug)]
pub(super) struct PlannedChunk {
    pub(super) placement: Placement,
    pub(super) id: ChunkId,
    /// Which pieces of the wave are parts of it.
    pub(super) pieces: Range<u32>,
}

impl PlannedChunk {
    /// Whether the bytes are the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.placement == other.placement
    }
}

/// A piece of a file's content: a part of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
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
    pub(super) fn is_all_of(&self, plan: &FilePlan) -> bool {
        let is_whole = self.content_offset == 0 && u64::from(self.length) == plan.size;
        is_whole && plan.extents().is_none() && plan.patch().is_none()
    }
}

/// Files that are written together.
#[derive(Debug)]
pub(super) struct Wave {
    pub(super) files: Vec<FilePlan>,
    /// In the order in which they were planned, as their pieces are.
    pub(super) chunks: Vec<PlannedChunk>,
    pub(super) pieces: Vec<Piece>,
    outer_bytes: usize,
    replacing_bytes: u64,
    patches: usize,
}

/// What became of a wave.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) replaced: u64,
    pub(super) patched: u64,
    pub(super) patched_bytes: u64,
    pub(super) updated: u64,
    pub(super) skipped: u64,
    pub(super) skipped_bytes: u64,
    pub(super) verified: u64,
    pub(super) findings: u64,
    pub(super) lacks: Lacks,
    pub(super) damaged: u64,
    /// Directories in which something could not be restored.
    pub(super) failed_in: Vec<DirectoryNumber>,
    pub(super) firsts: Vec<(LinkGroup, ChunkId, FirstName)>,
    /// The file that goes on in the next wave.
    pub(super) unended: Option<FilePlan>,
}

impl Wave {
    /// An empty wave with room for whatever fits a share: nothing has to move when it grows, and what is not used is not
    /// taken from the system.
    pub(super) fn with_room(plan_bytes: usize) -> Self {
        let room_bytes = plan_bytes.min(ROOM_BYTES_MAX);
        Self {
            files: Vec::with_capacity(room_bytes / size_of::<FilePlan>()),
            chunks: Vec::with_capacity(room_bytes / size_of::<PlannedChunk>()),
            pieces: Vec::with_capacity(room_bytes / size_of::<Piece>()),
            outer_bytes: 0,
            replacing_bytes: 0,
            patches: 0,
        }
    }

    /// Whether a file of it replaces or changes something.
    pub(super) const fn replaces(&self) -> bool {
        self.replacing_bytes > 0 || self.patches > 0
    }

    /// Whether it is to be written before more is planned; `held_bytes` is what waits beside it in the same share.
    pub(super) fn is_full(&self, plan_bytes: usize, held_bytes: usize) -> bool {
        let chunks = size_of_val(self.chunks.as_slice());
        let pieces = size_of_val(self.pieces.as_slice());
        let files = size_of_val(self.files.as_slice()) + self.outer_bytes;
        chunks + pieces + files + held_bytes >= plan_bytes || self.replacing_bytes >= REPLACING_BYTES_MAX
    }

    /// Takes a file, whose pieces are given next.
    pub(super) fn begin(&mut self, mut plan: FilePlan) {
        plan.state_mut().has_more = true;
        self.outer_bytes += plan.outer_bytes();
        self.patches += usize::from(plan.patch().is_some());
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
        let pieces = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        while self.chunks.last().is_some_and(|chunk| chunk.pieces.start >= pieces) {
            self.chunks.pop();
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.pieces.end = pieces;
        }
        plan
    }

    /// True if the file that was taken last cannot be completed any more.
    pub(super) fn last_has_failed(&mut self) -> bool {
        self.files.last_mut().is_none_or(|plan| plan.state_mut().has_failed)
    }

    /// Plans the content of a bundled file.
    pub(super) fn add_bundled(&mut self, tree: Tree<'_>, place: &BundlePlace, size: u64) -> Result<()> {
        let placement = self.placement(tree, &place.id)?;
        check_length(&place.id, u64::from(placement.length), place.bundle_bytes)?;
        self.push(placement, place.id, (narrow(place.offset)?, narrow(size)?), 0);
        Ok(())
    }

    /// Plans a chunk of the file that was taken last.
    pub(super) fn add_chunk(&mut self, tree: Tree<'_>, chunk: &ChunkRef, content_offset: u64) -> Result<()> {
        let placement = self.placement(tree, &chunk.id)?;
        check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
        self.push(placement, chunk.id, (0, narrow(chunk.length)?), content_offset);
        Ok(())
    }

    /// Where a chunk lies; nothing is looked up for neighbours in a bundle.
    fn placement(&self, tree: Tree<'_>, id: &ChunkId) -> Result<Placement> {
        match self.chunks.last().filter(|last| last.id == *id) {
            Some(last) => Ok(last.placement),
            None => tree.reader().placement(id),
        }
    }

    fn push(&mut self, placement: Placement, id: ChunkId, part: (u32, u32), content_offset: u64) {
        let file = u32::try_from(self.files.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (skip, length) = part;
        if let Some(plan) = self.files.last_mut() {
            plan.state_mut().pieces_left += 1;
            if plan.replacing().is_some() {
                self.replacing_bytes += u64::from(length);
            }
        }
        self.pieces.push(Piece { file, skip, length, content_offset });
        let end = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        match self.chunks.last_mut().filter(|last| last.id == id && last.placement == placement) {
            Some(last) => last.pieces.end = end,
            None => {
                self.chunks.push(PlannedChunk { placement, id, pieces: end - 1..end });
            }
        }
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
