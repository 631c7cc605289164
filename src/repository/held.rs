//! Bytes of a segment that is filled, and then waits for its pack: first as they will be sealed, then sealed.
//!
//! What must hold: there is room for the tag behind them from the beginning, so that they are sealed where they are;
//! they lie outside of the heap, where what is let go is the system's again at once: pieces of all sizes that come and
//! go between small things that stay would leave a heap in pieces, which keeps a third more than is in use, and a heap
//! that had a large piece back takes the next ones of that size from the same pages as the small.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use crate::format::sealing::TAG_BYTES;

/// Less than this is not worth pages of its own.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Room that is filled from its start, and grows where it must: in pages of its own, or in the heap where it is small.
#[derive(Debug, Default)]
pub(super) struct Room {
    place: Place,
    filled: usize,
}

#[derive(Debug)]
enum Place {
    Mapped(MmapMut),
    /// As long as there is room.
    Heap(Vec<u8>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Room {
    /// Empty, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        // Where the system has no more maps, the heap will do.
        let mapped = (bytes >= MAPPED_BYTES_MIN).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        let place = mapped.map_or_else(|| Place::Heap(vec![0; bytes]), Place::Mapped);
        Self { place, filled: 0 }
    }

    fn all(&self) -> &[u8] {
        match &self.place {
            Place::Mapped(map) => map,
            Place::Heap(bytes) => bytes,
        }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        match &mut self.place {
            Place::Mapped(map) => map,
            Place::Heap(bytes) => bytes,
        }
    }

    /// How many bytes there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.all().len()
    }

    /// Appends bytes.
    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if end > self.capacity() {
            let mut larger = Self::with_capacity(end.max(self.capacity() / 4 * 5));
            larger.extend_from_slice(self);
            *self = larger;
        }
        let filled = self.filled;
        if let Some(room) = self.all_mut().get_mut(filled..end) {
            room.copy_from_slice(bytes);
            self.filled = end;
        }
    }

    fn clear(&mut self) {
        self.filled = 0;
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.all().get(..self.filled).unwrap_or_default()
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.all_mut().get_mut(..filled).unwrap_or_default()
    }
}

/// Buffers of segments that nobody has, empty.
#[derive(Clone, Debug)]
pub(super) struct SegmentBuffers {
    free: Arc<Mutex<Free>>,
    /// Their room together; more is not kept.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Room>,
    bytes: usize,
}

impl SegmentBuffers {
    /// Keeps so many bytes of room at most.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: Arc::default(), bytes_max }
    }

    /// One that is free, or a new one with room for so many bytes and their tag.
    pub(super) fn take(&self, room_bytes: usize) -> Room {
        let kept = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = free.buffers.pop();
            free.bytes -= kept.as_ref().map_or(0, Room::capacity);
            kept
        };
        kept.unwrap_or_else(|| Room::with_capacity(room_bytes + TAG_BYTES))
    }

    /// Takes one back.
    pub(super) fn give_back(&self, mut buffer: Room) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.bytes + buffer.capacity() <= self.bytes_max {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
    }
}

/// The bytes of a segment, and behind them their tag, or room for it.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Room,
    /// Where the room goes back to, if it is one in which segments are filled.
    lender: Option<SegmentBuffers>,
}

impl Held {
    /// A copy of these bytes.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        let mut room = Room::with_capacity(bytes.len() + TAG_BYTES);
        room.extend_from_slice(bytes);
        room.extend_from_slice(&[0; TAG_BYTES]);
        Self { bytes: room, lender: None }
    }

    /// These bytes, in a buffer that goes back where it came from; copied if they take but a small part of it.
    pub(super) fn lent(mut bytes: Room, lender: &SegmentBuffers) -> Self {
        if bytes.capacity() / 2 > bytes.len() {
            let copy = Self::copy_of(&bytes);
            lender.give_back(bytes);
            return copy;
        }
        bytes.extend_from_slice(&[0; TAG_BYTES]);
        Self { bytes, lender: Some(lender.clone()) }
    }

    /// The bytes, and the room for their tag.
    pub(super) fn parts_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let length = self.bytes.len().saturating_sub(TAG_BYTES);
        self.bytes.split_at_mut(length)
    }
}

/// With the tag.
impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lender) = self.lender.take() {
            lender.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_held_with_room_for_a_tag() {
        for length in [0, 1, MAPPED_BYTES_MIN - TAG_BYTES - 1, MAPPED_BYTES_MIN, MAPPED_BYTES_MIN * 3 + 5] {
            let bytes: Vec<u8> =
                (0..length).map(|number| u8::try_from(number % 251).expect("small")).collect();
            let mut held = Held::copy_of(&bytes);
            let is_mapped = matches!(held.bytes.place, Place::Mapped(_));
            assert_eq!(is_mapped, length + TAG_BYTES >= MAPPED_BYTES_MIN);
            let (content, tag) = held.parts_mut();
            assert_eq!((&*content, &*tag), (bytes.as_slice(), [0; TAG_BYTES].as_slice()));
            assert_eq!(held.as_ref().len(), length + TAG_BYTES);
        }
    }

    #[test]
    fn a_lent_buffer_comes_back_and_no_more_are_kept_than_may_be() {
        let buffers = SegmentBuffers::new(1500);
        let mut buffer = buffers.take(1000);
        assert!(buffer.capacity() >= 1000 + TAG_BYTES);
        buffer.extend_from_slice(&[7; 1000]);
        let place = buffer.as_ptr();
        let mut other = Room::with_capacity(1000);
        other.extend_from_slice(&[1; 1000]);
        let (mut first, second) = (Held::lent(buffer, &buffers), Held::lent(other, &buffers));
        assert_eq!(first.parts_mut(), (&mut [7; 1000][..], &mut [0; TAG_BYTES][..]));
        drop(first);
        drop(second);
        let again = buffers.take(5);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(buffers.take(5).capacity(), 5 + TAG_BYTES);
    }

    #[test]
    fn room_grows_with_what_is_in_it() {
        for step in [1, 7, MAPPED_BYTES_MIN / 2 + 1, MAPPED_BYTES_MIN] {
            let mut room = Room::default();
            let mut expected = Vec::new();
            for number in 0..5 {
                room.extend_from_slice(&vec![number; step]);
                expected.extend_from_slice(&vec![number; step]);
                assert!(room.capacity() >= room.len());
            }
            assert_eq!(&*room, expected);
            room.clear();
            assert!(room.is_empty());
        }
    }

    #[test]
    fn a_few_bytes_do_not_hold_a_large_buffer() {
        let buffers = SegmentBuffers::new(1500);
        let mut buffer = buffers.take(1000);
        buffer.extend_from_slice(&[7; 100]);
        let place = buffer.as_ptr();
        let mut held = Held::lent(buffer, &buffers);
        assert_eq!(held.parts_mut(), (&mut [7; 100][..], &mut [0; TAG_BYTES][..]));
        let again = buffers.take(5);
        assert_eq!(again.as_ptr(), place, "it is free already");
    }
}
