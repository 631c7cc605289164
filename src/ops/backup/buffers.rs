//! Buffers that tasks use one after the other, instead of taking and leaving memory for every file: a heap from which
//! pieces of all sizes come and go keeps much more than is in use.
//!
//! What must hold: there are never more buffers than tasks that had one at the same time.

use std::sync::{Mutex, PoisonError};

/// Buffers that nobody has, with whatever they held.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer as it was given back, or an empty one. What it holds means nothing, but need not be filled with zeros again.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// A buffer of so many bytes, or of all that is held, that begins with what is held. What it is made of may hold anything;
/// only what it did not hold before is filled with zeros, since that will be written over.
pub(super) fn behind(held: &[u8], mut buffer: Vec<u8>, bytes: usize) -> Vec<u8> {
    buffer.resize(bytes.max(held.len()), 0);
    if let Some(front) = buffer.get_mut(..held.len()) {
        front.copy_from_slice(held);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::{Buffers, behind};

    #[test]
    fn a_buffer_comes_back_as_it_was() {
        let buffers = Buffers::default();
        assert_eq!(buffers.take().capacity(), 0);
        buffers.give_back(vec![1; 1000]);
        assert_eq!(buffers.take(), [1; 1000]);
        assert_eq!(buffers.take().capacity(), 0);
    }

    #[test]
    fn a_buffer_begins_with_what_is_held() {
        assert_eq!(behind(&[7, 8], vec![1; 3], 5), [7, 8, 1, 0, 0]);
        assert_eq!(behind(&[7, 8], vec![1; 9], 3), [7, 8, 1]);
        assert_eq!(behind(&[7, 8], Vec::new(), 1), [7, 8]);
    }
}
