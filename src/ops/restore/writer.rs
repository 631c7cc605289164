//! Writing the files of a wave.
//!
//! What must hold: a file that lacks a piece is taken away again, and what it was to replace stays; one that is changed
//! where it is stays, marked as incomplete; what replaces or changes another, or is to be verified, is finished only after
//! all of the wave was written out to the disk; a bounded number of files is open.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::{Error, ErrorKind, Finding, FindingKind, ItemAction, MetadataParts, Result};
use crate::format::node::{Extent, NodeKind};
use crate::fsmeta::apply::{Attributes, Problem};
use crate::ops::restore::looking::has_content;
use crate::ops::restore::places::{for_each_place, without_zero_blocks};
use crate::ops::restore::target::{FileIdentity, Found, TargetFile};
use crate::ops::restore::verify::verify;
use crate::ops::restore::wave::{FilePlan, Piece, PlannedChunk, State, Wave, Written};
use crate::ops::restore::{Context, interrupted};
use crate::repository::{ChunkKind, Segment, SegmentKey};

/// Files that wait for further pieces with an open descriptor.
const OPEN_FILES_MAX: usize = 128;
/// What is told of a file that was changed where it is, and is not complete.
const LEFT_CHANGED: &str = "a part of it is changed, and it is marked as incomplete by mode 1600";
/// Bytes of chunks whose files one task writes.
const TASK_BYTES: u64 = 256 << 10;

impl Wave {
    /// Writes all files, and gives back the one that goes on in the next wave. After an error no file of it is left
    /// incomplete.
    pub(super) fn write(self, context: &Context<'_>) -> Result<Written> {
        let mut wave = self;
        wave.chunks.sort_unstable_by_key(|chunk| {
            (chunk.placement.segment, chunk.placement.offset, chunk.id, chunk.pieces.start)
        });
        let open_files = wave.files.iter().filter(|plan| lock(plan).file.is_some()).count();
        let writer = Writer {
            context,
            files: &wave.files,
            pieces: &wave.pieces,
            open_files: AtomicUsize::new(open_files),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            written: Mutex::default(),
        };
        let segments: Vec<&[PlannedChunk]> =
            wave.chunks.chunk_by(|a, b| a.placement.segment == b.placement.segment).collect();
        context.pool.install(|| {
            wave.files.par_iter().for_each(|plan| writer.write_empty(plan));
            rayon::scope(|scope| {
                for group in segments.chunks(context.shares.segments_together) {
                    let writer = &writer;
                    scope.spawn(move |scope| writer.write_segments(scope, group));
                }
            });
            writer.settle();
        });
        let failure = writer.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failure {
            writer.settle_changed();
            let is_continued = may_go_on(&error);
            wave.files.iter().for_each(|plan| take_back(context, plan, is_continued));
            return Err(error);
        }
        let mut written = writer.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        written.unended = wave.take_unended();
        Ok(written)
    }
}

/// Removes a file that is not complete. What was there before stays, and so does, marked as incomplete, what is worth
/// going on with.
pub(super) fn take_back(context: &Context<'_>, plan: &FilePlan, is_continued: bool) {
    let mut state = lock(plan);
    state.file = None;
    let stays = plan.patch().is_some()
        || (is_continued && plan.replacing().is_none() && plan.size >= context.options.in_place_bytes_min);
    if !state.is_done
        && !stays
        && let Some(identity) = state.identity.take()
    {
        // What cannot be removed was replaced by somebody else, whose it is then.
        context.target.remove_file(plan.directory, plan.written_name(), identity).ok();
    }
    if plan.patch().is_some() && !state.is_done && !state.has_failed && state.identity.is_some() {
        let (kind, path, message) = (FindingKind::NotRestored, plan.shown(), LEFT_CHANGED.into());
        context.monitor.finding(&Finding { kind, path, message });
    }
}

/// Whether the same restore may be run again and go on where this one ended.
pub(super) fn may_go_on(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Frozen)
}

fn lock(plan: &FilePlan) -> std::sync::MutexGuard<'_, State> {
    plan.state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer<'w> {
    context: &'w Context<'w>,
    files: &'w [FilePlan],
    pieces: &'w [Piece],
    open_files: AtomicUsize,
    failure: Mutex<Option<Error>>,
    has_failed: AtomicBool,
    written: Mutex<Written>,
}

impl Writer<'_> {
    fn is_over(&self) -> bool {
        if !self.has_failed.load(Ordering::Relaxed) && self.context.monitor.cancelled() {
            self.fail(interrupted());
        }
        self.has_failed.load(Ordering::Relaxed)
    }

    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// A full disk and what lies frozen stop the restore; everything else is a finding of this file.
    fn give_up(&self, plan: &FilePlan, state: &mut State, error: Error) {
        if state.file.take().is_some() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        let is_left_changed = plan.patch().is_some() && state.identity.is_some();
        if let Some(identity) = state.identity.take()
            && plan.patch().is_none()
        {
            // As in `take_back`.
            self.context.target.remove_file(plan.directory, plan.written_name(), identity).ok();
        }
        state.has_failed = true;
        let error = match is_left_changed {
            true => error.while_doing(LEFT_CHANGED),
            false => error,
        };
        if matches!(error.kind(), ErrorKind::OutOfSpace | ErrorKind::Frozen) {
            let shown = crate::base::monitor::show_path(&plan.shown());
            return self.fail(error.while_doing(format!("cannot restore {shown}")));
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.findings += 1;
        written.failed_in.push(plan.directory);
        if error.kind() == ErrorKind::Damaged {
            written.damaged += 1;
        }
        drop(written);
        let (kind, path) = (FindingKind::NotRestored, plan.shown());
        self.context.monitor.finding(&Finding { kind, path, message: error.chain().join(": ") });
    }

    /// Makes a file that has no content but perhaps holes, or no more of it.
    fn write_empty(&self, plan: &FilePlan) {
        let mut state = lock(plan);
        if state.pieces_left == 0 && !state.has_more && !state.has_failed && !self.is_over() {
            let made = self.open(plan, &mut state, false);
            if let Err(error) = made.and_then(|file| self.complete(plan, &mut state, file)) {
                self.give_up(plan, &mut state, error);
            }
        }
    }

    /// Opens segments and leaves it to tasks to write what is in them. A thread takes its own tasks first, the latest
    /// before all others, so it opens no more segments before those that it opened are written, or being written.
    fn write_segments<'s>(&'s self, scope: &Scope<'s>, group: &'s [&'s [PlannedChunk]]) {
        if self.is_over() {
            return;
        }
        let keys: Vec<SegmentKey> =
            group.iter().filter_map(|chunks| chunks.first()).map(|chunk| chunk.placement.segment).collect();
        let segments = self.context.tree.reader().segments(&keys);
        for (number, chunks) in group.iter().enumerate() {
            let segment = segments.as_ref().ok().and_then(|segments| segments.get(number)?.as_ref().ok());
            for task in tasks(chunks) {
                let segment = segment.cloned();
                scope.spawn(move |_| {
                    for same in task.chunk_by(PlannedChunk::is_same) {
                        self.write_chunk(segment.as_ref(), same);
                    }
                });
            }
        }
    }

    /// Writes all pieces that are parts of one chunk.
    fn write_chunk(&self, segment: Option<&Segment>, same: &[PlannedChunk]) {
        let Some(first) = same.first() else { return };
        let reader = self.context.tree.reader();
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
        let pieces = same
            .iter()
            .filter_map(|chunk| self.pieces.get(chunk.pieces.start as usize..chunk.pieces.end as usize));
        for piece in pieces.flatten() {
            if self.is_over() {
                return;
            }
            let Some(plan) = self.files.get(piece.file as usize) else { return };
            let mut state = lock(plan);
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
                (None, None) => Err(Error::damaged(format!("chunk {} is too short", first.id))),
            };
            if let Err(error) = written {
                self.give_up(plan, &mut state, error);
            }
        }
    }

    /// `is_whole` if all of the file is written next, at once.
    fn open(&self, plan: &FilePlan, state: &mut State, is_whole: bool) -> Result<TargetFile> {
        if let Some(file) = state.file.take() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
            return Ok(*file);
        }
        let target = self.context.target;
        if let Some(identity) = state.identity {
            return target.reopen_file(plan.directory, plan.written_name(), identity);
        }
        if let Some(patch) = plan.patch() {
            let mut file = target.open_to_change(plan.directory, &plan.name, &patch.found)?;
            file.begin_change(plan.size, plan.mtime)?;
            state.identity = Some(file.identity());
            patch.holes.iter().try_for_each(|hole| file.punch(hole.start, hole.end))?;
            return Ok(file);
        }
        let (name, size) = (plan.written_name(), plan.size);
        let file = match is_whole {
            true => target.create_empty_file(plan.directory, name, size),
            false => target.create_file(plan.directory, name, size),
        }?;
        state.identity = Some(file.identity());
        Ok(file)
    }

    fn write_piece(&self, plan: &FilePlan, state: &mut State, piece: &Piece, part: &[u8]) -> Result<()> {
        let sparse = self.context.options.sparse;
        if let Some(replacing) = plan.replacing()
            && let Some(parts) = replacing.unsure
            && piece.is_all_of(plan)
        {
            let place = (plan.directory, &*plan.name);
            if has_content(self.context.target, place, &replacing.found, part, sparse) {
                return self.keep(plan, state, &replacing.found, parts);
            }
            self.tell(plan, ItemAction::Replace, plan.size, MetadataParts::default());
        }
        let is_whole = !sparse && piece.is_all_of(plan);
        let file = self.open(plan, state, is_whole)?;
        let extents = plan.extents();
        for_each_place(extents, plan.size, piece.content_offset, part.len(), &mut |range, offset| {
            let bytes = part.get(range).unwrap_or_default();
            if !sparse {
                return file.write_at(bytes, offset);
            }
            if plan.patch().is_some() {
                file.punch(offset, offset + bytes.len() as u64)?;
            }
            for range in without_zero_blocks(bytes, offset) {
                let at = offset + range.start as u64;
                file.write_at(bytes.get(range).unwrap_or_default(), at)?;
            }
            Ok(())
        })?;
        self.context.monitor.advance(0, part.len() as u64);
        state.pieces_left -= 1;
        if state.pieces_left == 0 && !state.has_more {
            return self.complete(plan, state, file);
        }
        if self.open_files.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            state.file = Some(Box::new(file));
        } else {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// All bytes of a file are written.
    fn complete(&self, plan: &FilePlan, state: &mut State, file: TargetFile) -> Result<()> {
        if plan.waits() || self.context.options.verify {
            state.is_written = true;
            return Ok(());
        }
        self.finish(plan, state, file)
    }

    /// Writes out to the disk what waits for it, verifies it if asked to, and finishes it.
    fn settle(&self) {
        let waiting: Vec<&FilePlan> = self.files.iter().filter(|plan| lock(plan).is_written).collect();
        if waiting.is_empty() || self.is_over() {
            return;
        }
        if let Err(error) = self.context.target.sync() {
            return self.fail(error);
        }
        waiting.par_iter().for_each(|plan| {
            let mut state = lock(plan);
            if state.has_failed || state.is_done || self.is_over() {
                return;
            }
            if let Err(error) = self.settle_file(plan, &mut state) {
                self.give_up(plan, &mut state, error);
            }
        });
    }

    /// After a failure: finishes the files that were changed where they are and have all their bytes, so that none of
    /// them is left marked without need. One that cannot be is told with the others.
    fn settle_changed(&self) {
        let is_waiting = |plan: &&FilePlan| {
            let state = lock(plan);
            plan.patch().is_some() && state.is_written && !state.is_done && !state.has_failed
        };
        let waiting: Vec<&FilePlan> = self.files.iter().filter(is_waiting).collect();
        if waiting.is_empty() || self.context.target.sync().is_err() {
            return;
        }
        for plan in waiting {
            self.settle_file(plan, &mut lock(plan)).ok();
        }
    }

    fn settle_file(&self, plan: &FilePlan, state: &mut State) -> Result<()> {
        let file = self.open(plan, state, false)?;
        if let (true, Some(entry)) = (self.context.options.verify, plan.entry())
            && let NodeKind::Regular(regular) = &entry.node.kind
        {
            verify(self.context.tree, &file, regular, entry.bundle.as_ref())?;
            self.written.lock().unwrap_or_else(PoisonError::into_inner).verified += 1;
        }
        self.finish(plan, state, file)
    }

    /// Leaves a file as it is that has the content already, but for its metadata.
    fn keep(&self, plan: &FilePlan, state: &mut State, found: &Found, parts: MetadataParts) -> Result<()> {
        let Some(entry) = plan.entry() else { return Ok(()) };
        let mut problems = Vec::new();
        let mut lost = Vec::new();
        if !parts.is_empty() {
            let (xattrs, unreadable) = self.context.tree.readable_xattrs(&entry.node)?;
            let attributes = Attributes { metadata: &plan.metadata(), xattrs: &xattrs };
            let apply = &self.context.options.apply;
            let target = self.context.target;
            problems = target.update_file(plan.directory, &plan.name, found.identity, &attributes, apply)?;
            lost = unreadable;
        }
        let action = if parts.is_empty() { ItemAction::Skip } else { ItemAction::Update };
        self.tell(plan, action, 0, parts);
        state.is_done = true;
        state.pieces_left = 0;
        self.context.monitor.advance(1, plan.size);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match parts.is_empty() {
            true => written.skipped += 1,
            false => written.updated += 1,
        }
        written.skipped_bytes = written.skipped_bytes.saturating_add(plan.size);
        drop(written);
        self.tell_problems(plan, lost, problems);
        Ok(())
    }

    fn tell(&self, plan: &FilePlan, action: ItemAction, written_bytes: u64, parts: MetadataParts) {
        self.context.tell_item(action, || plan.shown(), (plan.size, written_bytes), parts);
    }

    /// Tells what of the metadata is not as stored.
    fn tell_problems(&self, plan: &FilePlan, lost: Vec<String>, problems: Vec<Problem>) {
        let damaged = lost.len() as u64;
        let (findings, lacks) = self.context.tell_problems(|| plan.shown(), lost, problems);
        if findings > 0 {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.findings += findings;
            written.damaged += damaged;
            written.lacks = written.lacks.and(lacks);
        }
    }

    /// Sets the metadata of a complete file, and gives it its name.
    fn finish(&self, plan: &FilePlan, state: &mut State, file: TargetFile) -> Result<()> {
        let xattrs = plan.entry().map(|entry| self.context.tree.readable_xattrs(&entry.node));
        let (xattrs, lost) = xattrs.transpose()?.unwrap_or_default();
        let identity = file.identity();
        let attributes = Attributes { metadata: &plan.metadata(), xattrs: &xattrs };
        let apply = &self.context.options.apply;
        let problems = match plan.patch() {
            Some(_) => file.finish_change(&attributes, apply),
            None => file.finish(&attributes, apply),
        };
        if let Some(replacing) = plan.replacing() {
            let temporary = (replacing.temporary.as_slice(), identity);
            self.context.target.replace(plan.directory, temporary, &plan.name, &replacing.found)?;
        }
        state.is_done = true;
        self.count(plan, identity);
        self.tell_problems(plan, lost, problems);
        Ok(())
    }

    /// Counts a file that is finished.
    fn count(&self, plan: &FilePlan, identity: FileIdentity) {
        let data_bytes = |extents: &[Extent]| extents.iter().map(|extent| extent.length).sum();
        let hole_bytes = plan.extents().map_or(0, |extents| plan.size.saturating_sub(data_bytes(extents)));
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.patch() {
            Some(patch) => {
                let same_bytes = plan.size.saturating_sub(patch.written_bytes);
                self.context.monitor.advance(1, same_bytes);
                written.patched += 1;
                written.patched_bytes = written.patched_bytes.saturating_add(patch.written_bytes);
                written.skipped_bytes = written.skipped_bytes.saturating_add(same_bytes);
            }
            None => {
                self.context.monitor.advance(1, hole_bytes);
                written.files += 1;
                written.bytes = written.bytes.saturating_add(plan.size);
                written.replaced += u64::from(plan.replacing().is_some());
            }
        }
        if let Some(node) = plan.entry().map(|entry| &entry.node)
            && let Some(group) = node.metadata.links
        {
            let name = (plan.directory, node.name.clone(), identity);
            written.firsts.push((group, self.context.kind_id(&node.kind), name));
        }
    }
}

/// Parts of the chunks of a segment, about so many bytes each; what is the same chunk stays together.
fn tasks(chunks: &[PlannedChunk]) -> impl Iterator<Item = &[PlannedChunk]> {
    let mut bytes = 0;
    chunks.chunk_by(move |one, next| {
        bytes += u64::from(one.placement.length);
        let goes_on = bytes < TASK_BYTES || one.is_same(next);
        if !goes_on {
            bytes = 0;
        }
        goes_on
    })
}
