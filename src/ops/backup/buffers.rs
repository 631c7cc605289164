//! Buffers that tasks use one after the other, instead of taking and leaving memory for every file: a heap from which
//! pieces of all sizes come and go keeps much more than is in use.
//!
//! What must hold: there are never more buffers than tasks that had one at the same time.

use std::sync::{Mutex, PoisonError};

/// Empty buffers.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer, with the room that it had when it was given back.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::Buffers;

    #[test]
    fn a_buffer_comes_back_empty_and_with_its_room() {
        let buffers = Buffers::default();
        assert_eq!(buffers.take().capacity(), 0);
        buffers.give_back(vec![1; 1000]);
        let again = buffers.take();
        assert!(again.is_empty() && again.capacity() >= 1000);
        assert_eq!(buffers.take().capacity(), 0);
    }
}
