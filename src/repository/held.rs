//! Bytes of a segment that wait for their pack: first as they will be sealed, then sealed.
//!
//! What must hold: there is room for the tag behind them from the beginning, so that they are sealed where they are;
//! frames lie outside of the heap, where what is let go is the system's again at once: frames of all sizes that come and
//! go between small things that stay would leave a heap in pieces, which keeps a third more than is in use.

use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use crate::format::sealing::TAG_BYTES;

/// Less than this is not worth pages of its own.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Buffers of segments that nobody has, empty.
#[derive(Clone, Debug)]
pub(super) struct SegmentBuffers {
    free: Arc<Mutex<Free>>,
    /// Their room together; more is not kept.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl SegmentBuffers {
    /// Keeps so many bytes of room at most.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: Arc::default(), bytes_max }
    }

    /// One that is free, or a new one with room for so many bytes and their tag.
    pub(super) fn take(&self, room_bytes: usize) -> Vec<u8> {
        let kept = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = free.buffers.pop();
            free.bytes -= kept.as_ref().map_or(0, Vec::capacity);
            kept
        };
        kept.unwrap_or_else(|| Vec::with_capacity(room_bytes + TAG_BYTES))
    }

    /// Takes one back.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.bytes + buffer.capacity() <= self.bytes_max {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
    }
}

/// The bytes of a segment, and room for the tag behind them.
#[derive(Debug)]
pub(super) enum Held {
    /// In pages of their own.
    Mapped(MmapMut),
    /// In the heap.
    Heap(Vec<u8>),
    /// In a buffer in which segments are filled.
    Lent(Vec<u8>, SegmentBuffers),
}

impl Held {
    /// A copy of these bytes.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        let length = bytes.len() + TAG_BYTES;
        // Where the system has no more maps, the heap will do.
        let mapped = (length >= MAPPED_BYTES_MIN).then(|| MmapMut::map_anon(length).ok()).flatten();
        let mut held = match mapped {
            Some(map) => Self::Mapped(map),
            None => Self::Heap(vec![0; length]),
        };
        held.parts_mut().0.copy_from_slice(bytes);
        held
    }

    /// These bytes, in a buffer that goes back where it came from; copied if they take but a small part of it.
    pub(super) fn lent(mut bytes: Vec<u8>, buffers: &SegmentBuffers) -> Self {
        if bytes.capacity() / 2 > bytes.len() {
            let copy = Self::copy_of(&bytes);
            buffers.give_back(bytes);
            return copy;
        }
        bytes.extend_from_slice(&[0; TAG_BYTES]);
        Self::Lent(bytes, buffers.clone())
    }

    /// The bytes, and the room for their tag.
    pub(super) fn parts_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let all: &mut [u8] = match self {
            Self::Mapped(map) => map,
            Self::Heap(bytes) | Self::Lent(bytes, _) => bytes,
        };
        let length = all.len().saturating_sub(TAG_BYTES);
        all.split_at_mut(length)
    }
}

/// With the tag.
impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Heap(bytes) | Self::Lent(bytes, _) => bytes,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Lent(bytes, buffers) = self {
            buffers.give_back(std::mem::take(bytes));
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
            assert_eq!(matches!(held, Held::Mapped(_)), length + TAG_BYTES >= MAPPED_BYTES_MIN);
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
        let (mut first, second) = (Held::lent(buffer, &buffers), Held::lent(vec![1; 1000], &buffers));
        assert_eq!(first.parts_mut(), (&mut [7; 1000][..], &mut [0; TAG_BYTES][..]));
        drop(first);
        drop(second);
        let again = buffers.take(5);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(buffers.take(5).capacity(), 5 + TAG_BYTES);
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
