//! Opened segments that files are read from, each fetched once however many readers want it at the same time.
//!
//! What must hold: every byte that is given out belongs to a chunk whose hash was compared since its segment was fetched;
//! a segment that cannot be read fails all who wait for it, by one try, and is not remembered as such; nobody waits for
//! what nobody fetches.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::base::{ChunkId, Error, ErrorKind, Result};
use crate::format::node::ChunkRef;
use crate::mount::recent::Recent;
use crate::repository::{ChunkKind, Placement, Reader, Segment, SegmentKey};
use crate::tree::check_length;

/// A segment, and which of its chunks were compared with their hashes.
#[derive(Debug)]
struct Opened {
    segment: Segment,
    compared: Mutex<HashSet<ChunkId>>,
}

/// What became of a fetch, for those who wait for it.
type Outcome = std::result::Result<Arc<Opened>, (ErrorKind, String)>;

/// A fetch that is under way.
#[derive(Debug, Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
}

impl Flight {
    fn end(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.done.notify_all();
    }

    fn wait(&self) -> Result<Arc<Opened>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*outcome {
                Some(Ok(opened)) => return Ok(Arc::clone(opened)),
                Some(Err((kind, message))) => return Err(Error::new(*kind, message.clone())),
                None => outcome = self.done.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Segments of one repository.
#[derive(Debug)]
pub(super) struct Segments {
    reader: Arc<Reader<'static>>,
    kept: Mutex<Recent<SegmentKey, Arc<Opened>>>,
    flights: Mutex<HashMap<SegmentKey, Arc<Flight>>>,
}

/// Takes the flight of a segment away at its end, however that comes.
struct Landing<'s> {
    segments: &'s Segments,
    key: SegmentKey,
    flight: Arc<Flight>,
    outcome: Option<Outcome>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.segments.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        let broken = || Err((ErrorKind::Failed, "the fetch of a segment broke off".to_owned()));
        self.flight.end(self.outcome.take().unwrap_or_else(broken));
    }
}

/// Where a piece of a chunk goes.
pub(super) type Take<'t> = &'t mut dyn FnMut(&[u8]);

impl Segments {
    /// Segments that a reader gives, of which so many bytes are kept.
    pub(super) fn of(reader: Arc<Reader<'static>>, bytes_max: usize) -> Self {
        let kept = Mutex::new(Recent::up_to(bytes_max));
        Self { reader, kept, flights: Mutex::default() }
    }

    /// Where a chunk lies.
    pub(super) fn placement(&self, chunk: &ChunkRef) -> Result<Placement> {
        let placement = self.reader.placement(&chunk.id)?;
        check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
        Ok(placement)
    }

    /// Gives a part of a chunk to `take`, if its segment is kept; false if it is not. Asks the storage for nothing.
    pub(super) fn take_kept(
        &self,
        chunk: &ChunkRef,
        start: u64,
        length: u64,
        take: Take<'_>,
    ) -> Result<bool> {
        let Some(placement) = self.reader.known_placement(&chunk.id)? else { return Ok(false) };
        check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
        let Some(opened) = self.kept(&placement.segment) else { return Ok(false) };
        self.part(&opened, chunk, &placement, (start, length), take)?;
        Ok(true)
    }

    /// Gives a part of a chunk to `take`, whose segment is fetched if it is not kept.
    pub(super) fn take(&self, chunk: &ChunkRef, start: u64, length: u64, take: Take<'_>) -> Result<()> {
        let placed =
            self.placement(chunk).and_then(|placement| Ok((self.fetch(&placement.segment)?, placement)));
        let given = placed
            .and_then(|(opened, placement)| self.part(&opened, chunk, &placement, (start, length), take));
        match given {
            Ok(()) => Ok(()),
            // Another place of the storage would be as silent, or as cold.
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Frozen) => Err(error),
            // Where this place fails, another copy of the chunk may not.
            Err(_) => {
                let bytes = self.reader.chunk(ChunkKind::Data, &chunk.id)?;
                check_length(&chunk.id, bytes.len() as u64, chunk.length)?;
                give(&bytes, start, length, take);
                Ok(())
            }
        }
    }

    /// A segment, which is kept from then on.
    pub(super) fn load(&self, key: &SegmentKey) -> Result<()> {
        self.fetch(key).map(drop)
    }

    fn kept(&self, key: &SegmentKey) -> Option<Arc<Opened>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    fn fetch(&self, key: &SegmentKey) -> Result<Arc<Opened>> {
        let mut landing = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(opened) = self.kept(key) {
                return Ok(opened);
            }
            if let Some(flight) = flights.get(key).cloned() {
                drop(flights);
                return flight.wait();
            }
            let flight = Arc::new(Flight::default());
            flights.insert(*key, Arc::clone(&flight));
            Landing { segments: self, key: *key, flight, outcome: None }
        };
        let read = self.reader.segment(key).map(|segment| {
            let bytes = segment.bytes();
            let opened = Arc::new(Opened { segment, compared: Mutex::default() });
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.put(*key, Arc::clone(&opened), bytes);
            opened
        });
        landing.outcome = Some(match &read {
            Ok(opened) => Ok(Arc::clone(opened)),
            Err(error) => Err((error.kind(), error.chain().join(": "))),
        });
        read
    }

    fn part(
        &self,
        opened: &Opened,
        chunk: &ChunkRef,
        placement: &Placement,
        (start, length): (u64, u64),
        take: Take<'_>,
    ) -> Result<()> {
        let was_compared = opened.compared.lock().unwrap_or_else(PoisonError::into_inner).contains(&chunk.id);
        let bytes = match opened.segment.compared_before(placement).filter(|_| was_compared) {
            Some(bytes) => bytes,
            None => {
                let bytes = self.reader.chunk_of(&opened.segment, &chunk.id, placement)?;
                opened.compared.lock().unwrap_or_else(PoisonError::into_inner).insert(chunk.id);
                bytes
            }
        };
        give(bytes, start, length, take);
        Ok(())
    }
}

/// The callers ask for what lies within the chunk, whose length was checked.
fn give(bytes: &[u8], start: u64, length: u64, take: Take<'_>) {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    take(bytes.get(start..end).unwrap_or_default());
}
