//! Bytes that wait for their pack, outside of the heap.
//!
//! What must hold: what is let go is the system's again at once. Frames of all sizes that come and go between small
//! things that stay would leave a heap in pieces, which keeps a third more than is in use.

use memmap2::MmapMut;

/// Less than this is not worth pages of its own.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Some bytes.
#[derive(Debug)]
pub(super) enum Held {
    /// In pages of their own.
    Mapped(MmapMut),
    /// In the heap.
    Heap(Vec<u8>),
}

impl Held {
    /// A copy of these bytes.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        // Where the system has no more maps, the heap will do.
        let mapped = (bytes.len() >= MAPPED_BYTES_MIN).then(|| MmapMut::map_anon(bytes.len()).ok()).flatten();
        match mapped {
            Some(mut map) => {
                map.copy_from_slice(bytes);
                Self::Mapped(map)
            }
            None => Self::Heap(bytes.to_vec()),
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, MAPPED_BYTES_MIN};

    #[test]
    fn bytes_of_any_length_are_held() {
        for length in [0, 1, MAPPED_BYTES_MIN - 1, MAPPED_BYTES_MIN, MAPPED_BYTES_MIN * 3 + 5] {
            let bytes: Vec<u8> =
                (0..length).map(|number| u8::try_from(number % 251).expect("small")).collect();
            let held = Held::copy_of(&bytes);
            assert_eq!(held.as_ref(), bytes);
            assert_eq!(matches!(held, Held::Mapped(_)), length >= MAPPED_BYTES_MIN);
        }
    }
}
