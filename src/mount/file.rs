//! Reading open files by ranges, and ahead of who reads on.
//!
//! What must hold: a read gives the bytes of the file at that range, holes as zeros, or an error, never fewer bytes than
//! the file has there; only the segments of what is read are fetched, and those behind it once a reader has shown that it
//! goes on; what is read ahead never pushes out what other readers are about to read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::mount::pages::Pages;
use crate::mount::segments::Segments;
use crate::mount::workers::{AHEAD_WAITING_MAX, Workers};
use crate::repository::SegmentKey;
use crate::tree::{ContentMap, Entry, Piece};

/// A reader goes on if it reads within so many bytes of where it stopped: the kernel asks for several ranges at once.
const NEAR_BYTES: u64 = 1 << 20;
/// What is read ahead at first.
const AHEAD_BYTES_MIN: u64 = 1 << 20;
/// The most that is read ahead: more would not make a storage faster.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// What files are read from.
pub(super) struct Contents {
    pub(super) pages: Arc<Pages>,
    segments: Segments,
    workers: Workers,
    kept_bytes: u64,
    /// Files that are being read on.
    readers: AtomicUsize,
}

impl Contents {
    /// From these pages and segments, by these threads; `kept_bytes` of segments are kept.
    pub(super) fn new(pages: Arc<Pages>, segments: Segments, workers: Workers, kept_bytes: u64) -> Self {
        Self { pages, segments, workers, kept_bytes, readers: AtomicUsize::new(0) }
    }

    /// Nothing more is fetched.
    pub(super) fn stop(&self) {
        self.workers.stop();
    }

    /// Has something done that may take long.
    pub(super) fn ask(&self, job: impl FnOnce() + Send + 'static) {
        self.workers.ask(job);
    }

    /// Content that stands by itself, as the long value of an attribute.
    pub(super) fn whole(&self, chunk: &crate::format::node::ChunkRef) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.segments.take(chunk, 0, chunk.length, &mut |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }

    /// How far ahead of one of the readers is read.
    fn ahead_bytes_max(&self) -> u64 {
        let readers = self.readers.load(Ordering::Relaxed).max(1) as u64;
        (self.kept_bytes / 2 / readers).min(AHEAD_BYTES_MAX)
    }
}

/// How a file is being read.
#[derive(Debug, Default)]
struct Course {
    /// Where the last read ended.
    next: u64,
    /// How far ahead is read; 0: nobody reads on.
    ahead_bytes: u64,
    /// Up to where that was done.
    done_until: u64,
}

/// An open file.
pub(super) struct OpenFile {
    /// Name and metadata.
    pub(super) name: Vec<u8>,
    map: ContentMap,
    course: Mutex<Course>,
}

impl OpenFile {
    /// A regular file. `None` if it is something else.
    pub(super) fn of(entry: &Entry) -> Result<Option<Self>> {
        let Node { kind: NodeKind::Regular(regular), name, .. } = &entry.node else { return Ok(None) };
        let map = ContentMap::of(regular, entry.bundle)?;
        Ok(Some(Self { name: name.clone(), map, course: Mutex::default() }))
    }

    /// Where bytes stand.
    pub(super) const fn map(&self) -> &ContentMap {
        &self.map
    }

    /// The bytes at a range, as far as the file has it, if all of it is kept.
    pub(super) fn read_kept(&self, contents: &Contents, offset: u64, length: u64) -> Option<Vec<u8>> {
        let not_kept = || Error::new(crate::base::ErrorKind::NotFound, "not kept");
        let list = |_: u8, page| contents.pages.kept_list(page).ok_or_else(not_kept);
        let pieces = self.map.pieces(offset, length, &list).ok()?;
        gather(&pieces, length, &mut |chunk, start, length, take| match contents
            .segments
            .take_kept(chunk, start, length, take)
        {
            Ok(true) => Ok(()),
            _ => Err(not_kept()),
        })
        .ok()
    }

    /// The bytes at a range, as far as the file has it.
    pub(super) fn read(&self, contents: &Contents, offset: u64, length: u64) -> Result<Vec<u8>> {
        let pieces = self.map.pieces(offset, length, &|level, page| contents.pages.list(level, page))?;
        gather(&pieces, length, &mut |chunk, start, length, take| {
            contents.segments.take(chunk, start, length, take)
        })
    }

    /// Notes what is read, and has read ahead what comes behind it if the reader goes on.
    pub(super) fn go_on(self: &Arc<Self>, contents: &Arc<Contents>, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let range = {
            let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
            // Among very many readers what is read ahead would be pushed out before it is read.
            let has_room = contents.ahead_bytes_max() >= AHEAD_BYTES_MIN;
            let goes_on = has_room && course.next > 0 && offset.abs_diff(course.next) <= NEAR_BYTES;
            course.next = if goes_on { course.next.max(end) } else { end };
            let was_reading = course.ahead_bytes > 0;
            if !goes_on {
                course.ahead_bytes = 0;
                course.done_until = end;
            } else if !was_reading {
                course.ahead_bytes = AHEAD_BYTES_MIN;
                course.done_until = end;
            }
            match (was_reading, course.ahead_bytes > 0) {
                (false, true) => drop(contents.readers.fetch_add(1, Ordering::Relaxed)),
                (true, false) => drop(contents.readers.fetch_sub(1, Ordering::Relaxed)),
                _ => {}
            }
            let until = course.next.saturating_add(course.ahead_bytes).min(self.map.size());
            // Small steps would look for the same segments over and over.
            let step = until.saturating_sub(course.done_until);
            let is_due = course.ahead_bytes > 0
                && step > 0
                && (until == self.map.size() || step >= course.ahead_bytes / 2);
            let from = course.done_until;
            if is_due {
                course.done_until = until;
                course.ahead_bytes =
                    (course.ahead_bytes * 2).min(contents.ahead_bytes_max()).max(AHEAD_BYTES_MIN);
            }
            is_due.then_some((from, step))
        };
        if let Some((from, length)) = range {
            let (file, contents_of_job) = (Arc::clone(self), Arc::clone(contents));
            contents.workers.ahead(move || file.fetch_ahead(&contents_of_job, from, length));
        }
    }

    /// Nobody reads it any more.
    pub(super) fn close(&self, contents: &Contents) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut course.ahead_bytes) > 0 {
            contents.readers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has the segments of a range fetched. What fails here fails again when it is read, and is told then.
    fn fetch_ahead(&self, contents: &Arc<Contents>, offset: u64, length: u64) {
        let mut keys: Vec<SegmentKey> = Vec::new();
        let end = offset.saturating_add(length);
        let mut from = offset;
        while from < end && keys.len() < AHEAD_WAITING_MAX {
            let step = (end - from).min(AHEAD_BYTES_MIN);
            let list = |level, page| contents.pages.list(level, page);
            let Ok(pieces) = self.map.pieces(from, step, &list) else { return };
            for piece in pieces {
                let Piece::Data { chunk, .. } = piece else { continue };
                let Ok(placement) = contents.segments.placement(&chunk) else { return };
                if keys.last() != Some(&placement.segment) {
                    keys.push(placement.segment);
                }
            }
            from += step;
        }
        for key in keys {
            let contents_of_job = Arc::clone(contents);
            contents.workers.ahead(move || drop(contents_of_job.segments.load(&key)));
        }
    }
}

type TakePart<'t> =
    &'t mut dyn FnMut(&crate::format::node::ChunkRef, u64, u64, &mut dyn FnMut(&[u8])) -> Result<()>;

/// The bytes of pieces, one after the other.
fn gather(pieces: &[Piece], length: u64, take_part: TakePart<'_>) -> Result<Vec<u8>> {
    let all: u64 = pieces.iter().map(Piece::length).sum();
    let too_long = |_| Error::damaged("a range longer than what was asked for");
    let mut bytes = Vec::with_capacity(usize::try_from(all.min(length)).map_err(too_long)?);
    let mut expected = 0;
    for piece in pieces {
        expected += usize::try_from(piece.length()).map_err(too_long)?;
        match piece {
            Piece::Hole(_) => bytes.resize(expected, 0),
            Piece::Data { chunk, start, length } => {
                take_part(chunk, *start, *length, &mut |part| bytes.extend_from_slice(part))?;
            }
        }
        if bytes.len() != expected {
            return Err(Error::damaged("a chunk is shorter than its place in the file"));
        }
    }
    Ok(bytes)
}
