//! Writing many files at once: what a bounded number of files needs is sorted by where it lies, so that each segment
//! is fetched, opened and decompressed once.
//!
//! What must hold: a file that lacks a piece is taken away again; a bounded number of files is open; memory is bounded
//! by the pieces of a wave and the segments in work.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator, ParallelSlice};

use crate::base::{ChunkId, Error, ErrorKind, Finding, FindingKind, Monitor, Result};
use crate::format::node::{LinkGroup, Node, NodeKind, Regular};
use crate::fsmeta::apply::{ApplyOptions, Attributes};
use crate::ops::path::PathLink;
use crate::ops::restore::places::write_content;
use crate::ops::restore::target::{DirectoryNumber, FileIdentity, Target, TargetFile};
use crate::ops::restore::{FirstName, interrupted};
use crate::repository::ChunkKind;
use crate::repository::{Placement, Segment, SegmentKey};
use crate::tree::{BundlePlace, Tree, check_length};

/// Pieces of a wave: some 60 bytes each.
const PIECES_MAX: usize = 250_000;
/// Files of a wave.
const FILES_MAX: usize = 50_000;
/// Files that wait for further pieces with an open descriptor.
const OPEN_FILES_MAX: usize = 128;
/// Segments that one task fetches together: about 8 MiB.
const SEGMENTS_TOGETHER: usize = 4;

/// A file to write.
#[derive(Debug)]
pub(super) struct FilePlan {
    directory: DirectoryNumber,
    path: Arc<PathLink>,
    node: Node,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces_left: usize,
    file: Option<TargetFile>,
    identity: Option<FileIdentity>,
    has_failed: bool,
    is_done: bool,
}

impl FilePlan {
    pub(super) fn new(directory: DirectoryNumber, path: Arc<PathLink>, node: Node) -> Self {
        Self { directory, path, node, state: Mutex::default() }
    }

    fn shown(&self) -> Vec<u8> {
        self.path.join(Some(&self.node.name))
    }

    const fn regular(&self) -> Option<&Regular> {
        match &self.node.kind {
            NodeKind::Regular(regular) => Some(regular),
            _ => None,
        }
    }
}

/// A piece of a file's content: a part of a chunk.
#[derive(Clone, Copy, Debug)]
struct Piece {
    placement: Placement,
    id: ChunkId,
    file: u32,
    /// First byte within the chunk.
    skip: u32,
    /// Bytes of it.
    length: u32,
    /// Where it goes in the content.
    content_offset: u64,
}

/// Files that are written together.
#[derive(Debug, Default)]
pub(super) struct Wave {
    files: Vec<FilePlan>,
    pieces: Vec<Piece>,
}

/// What became of a wave.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) findings: u64,
    pub(super) damaged: u64,
    pub(super) firsts: Vec<(LinkGroup, NodeKind, FirstName)>,
}

impl Wave {
    pub(super) fn is_full(&self) -> bool {
        self.pieces.len() >= PIECES_MAX || self.files.len() >= FILES_MAX
    }

    /// Plans a regular file; on an error nothing of it is planned.
    pub(super) fn add(&mut self, tree: Tree<'_>, plan: FilePlan, bundle: Option<BundlePlace>) -> Result<()> {
        let before = self.pieces.len();
        let planned = self.add_pieces(tree, &plan, bundle);
        if planned.is_err() {
            self.pieces.truncate(before);
            return planned;
        }
        plan.state.lock().unwrap_or_else(PoisonError::into_inner).pieces_left = self.pieces.len() - before;
        self.files.push(plan);
        Ok(())
    }

    fn add_pieces(&mut self, tree: Tree<'_>, plan: &FilePlan, bundle: Option<BundlePlace>) -> Result<()> {
        let Some(regular) = plan.regular() else { return Ok(()) };
        let file = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let narrow = |value: u64| u32::try_from(value).map_err(|_| Error::damaged("a chunk above the limit"));
        if let Some(place) = bundle {
            let placement = tree.reader().placement(&place.id)?;
            check_length(&place.id, u64::from(placement.length), place.bundle_bytes)?;
            let (skip, length) = (narrow(place.offset)?, narrow(regular.size)?);
            self.pieces.push(Piece { placement, id: place.id, file, skip, length, content_offset: 0 });
            return Ok(());
        }
        let mut content_offset = 0;
        tree.content(regular, &mut |chunk| {
            let placement = tree.reader().placement(&chunk.id)?;
            check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
            let length = narrow(chunk.length)?;
            self.pieces.push(Piece { placement, id: chunk.id, file, skip: 0, length, content_offset });
            content_offset += chunk.length;
            Ok(())
        })
    }

    /// Writes all files.
    pub(super) fn write(
        mut self,
        tree: Tree<'_>,
        target: &Target,
        apply: &ApplyOptions,
        monitor: &dyn Monitor,
        pool: &rayon::ThreadPool,
    ) -> Result<Outcome> {
        self.pieces.sort_unstable_by_key(|piece| {
            (piece.placement.segment, piece.placement.offset, piece.id, piece.file, piece.content_offset)
        });
        let writer = Writer {
            tree,
            target,
            apply,
            monitor,
            files: &self.files,
            open_files: AtomicUsize::new(0),
            failure: Mutex::default(),
            outcome: Mutex::default(),
            bytes: AtomicU64::new(0),
        };
        let segments: Vec<&[Piece]> =
            self.pieces.chunk_by(|a, b| a.placement.segment == b.placement.segment).collect();
        pool.install(|| {
            self.files.par_iter().for_each(|plan| writer.write_empty(plan));
            segments.par_chunks(SEGMENTS_TOGETHER).for_each(|group| writer.write_segments(group));
        });
        let failure = writer.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failure {
            self.files.iter().for_each(|plan| writer.take_back(plan));
            return Err(error);
        }
        let mut outcome = writer.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.bytes = writer.bytes.into_inner();
        Ok(outcome)
    }
}

struct Writer<'w> {
    tree: Tree<'w>,
    target: &'w Target,
    apply: &'w ApplyOptions,
    monitor: &'w dyn Monitor,
    files: &'w [FilePlan],
    open_files: AtomicUsize,
    failure: Mutex<Option<Error>>,
    outcome: Mutex<Outcome>,
    bytes: AtomicU64,
}

impl Writer<'_> {
    fn is_over(&self) -> bool {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() && self.monitor.cancelled() {
            *failure = Some(interrupted());
        }
        failure.is_some()
    }

    /// A full disk stops the restore; everything else is a finding of this file.
    fn give_up(&self, plan: &FilePlan, state: &mut State, error: Error) {
        self.take_back_open(plan, state);
        state.has_failed = true;
        if error.kind() == ErrorKind::OutOfSpace {
            let shown = crate::base::monitor::show_path(&plan.shown());
            let error = error.while_doing(format!("cannot restore {shown}"));
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            return;
        }
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.findings += 1;
        if error.kind() == ErrorKind::Damaged {
            outcome.damaged += 1;
        }
        let (kind, path) = (FindingKind::NotRestored, plan.shown());
        self.monitor.finding(&Finding { kind, path, message: error.chain().join(": ") });
    }

    fn take_back_open(&self, plan: &FilePlan, state: &mut State) {
        if state.file.take().is_some() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(identity) = state.identity.take() {
            // What cannot be removed was replaced by somebody else, whose it is then.
            let _ = self.target.remove_file(plan.directory, &plan.node.name, identity);
        }
    }

    /// Removes a file that is not complete.
    fn take_back(&self, plan: &FilePlan) {
        let mut state = plan.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_done {
            self.take_back_open(plan, &mut state);
        }
    }

    /// Makes a file that has no content but perhaps holes.
    fn write_empty(&self, plan: &FilePlan) {
        let mut state = plan.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pieces_left == 0 && !self.is_over() {
            match self.open(plan, &mut state) {
                Ok(file) => self.finish(plan, &mut state, file),
                Err(error) => self.give_up(plan, &mut state, error),
            }
        }
    }

    fn write_segments(&self, group: &[&[Piece]]) {
        if self.is_over() {
            return;
        }
        let keys: Vec<SegmentKey> =
            group.iter().filter_map(|pieces| pieces.first()).map(|piece| piece.placement.segment).collect();
        let segments = self.tree.reader().segments(&keys);
        for (number, pieces) in group.iter().enumerate() {
            let segment = segments.as_ref().ok().and_then(|segments| segments.get(number)?.as_ref().ok());
            for same_chunk in pieces.chunk_by(|a, b| a.id == b.id && a.placement == b.placement) {
                self.write_chunk(segment, same_chunk);
            }
        }
    }

    /// Writes all pieces that are parts of one chunk.
    fn write_chunk(&self, segment: Option<&Segment>, pieces: &[Piece]) {
        let Some(first) = pieces.first() else { return };
        let reader = self.tree.reader();
        let from_segment = segment.map(|segment| reader.chunk_of(segment, &first.id, &first.placement));
        // Where this place fails, another copy of the chunk may not.
        let (owned, error) = match from_segment {
            Some(Ok(_)) => (None, None),
            _ => match reader.chunk(ChunkKind::Data, &first.id) {
                Ok(content) => (Some(content), None),
                Err(error) => (None, Some(Arc::new(error))),
            },
        };
        let content = owned.as_deref().or_else(|| from_segment.as_ref()?.as_ref().ok().copied());
        for piece in pieces {
            if self.is_over() {
                return;
            }
            let Some(plan) = self.files.get(piece.file as usize) else { return };
            let mut state = plan.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.has_failed {
                continue;
            }
            let part = content.and_then(|content| {
                let begin = piece.skip as usize;
                content.get(begin..begin + piece.length as usize)
            });
            let written = match (part, &error) {
                (Some(part), _) => self.write_piece(plan, &mut state, piece, part),
                (None, Some(error)) => Err(Error::new(error.kind(), error.chain().join(": "))),
                (None, None) => Err(Error::damaged(format!("chunk {} is too short", piece.id))),
            };
            if let Err(error) = written {
                self.give_up(plan, &mut state, error);
            }
        }
    }

    fn open(&self, plan: &FilePlan, state: &mut State) -> Result<TargetFile> {
        if let Some(file) = state.file.take() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
            return Ok(file);
        }
        if let Some(identity) = state.identity {
            return self.target.reopen_file(plan.directory, &plan.node.name, identity);
        }
        self.monitor.begin(&plan.shown());
        let file = self.target.create_file(plan.directory, &plan.node.name, plan.node.size())?;
        state.identity = Some(file.identity());
        Ok(file)
    }

    fn write_piece(&self, plan: &FilePlan, state: &mut State, piece: &Piece, part: &[u8]) -> Result<()> {
        let Some(regular) = plan.regular() else { return Ok(()) };
        let file = self.open(plan, state)?;
        write_content(regular, piece.content_offset, part, &mut |bytes, offset| {
            file.write_at(bytes, offset)
        })?;
        self.monitor.advance(0, part.len() as u64);
        state.pieces_left -= 1;
        if state.pieces_left == 0 {
            self.finish(plan, state, file);
            return Ok(());
        }
        if self.open_files.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            state.file = Some(file);
        } else {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets the metadata of a complete file.
    fn finish(&self, plan: &FilePlan, state: &mut State, file: TargetFile) {
        let (xattrs, lost) = self.tree.readable_xattrs(&plan.node);
        let identity = file.identity();
        let attributes = Attributes { metadata: &plan.node.metadata, xattrs: &xattrs };
        let problems = file.finish(&attributes, self.apply);
        state.is_done = true;
        self.monitor.advance(1, plan.regular().map_or(0, |regular| regular.size - regular.content_bytes()));
        self.bytes.fetch_add(plan.node.size(), Ordering::Relaxed);
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.files += 1;
        outcome.findings += (problems.len() + lost.len()) as u64;
        outcome.damaged += lost.len() as u64;
        if let Some(group) = plan.node.metadata.links {
            let name = (plan.directory, plan.node.name.clone(), identity);
            outcome.firsts.push((group, plan.node.kind.clone(), name));
        }
        drop(outcome);
        for message in lost.into_iter().chain(problems) {
            self.monitor.finding(&Finding { kind: FindingKind::Metadata, path: plan.shown(), message });
        }
    }
}
