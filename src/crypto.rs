//! Keys, names by keyed hash, sealing, passwords, randomness.
//!
//! What must hold: no key material is printed, logged or left in memory that is given back; nothing is opened before
//! its header is bound to one key; a nonce is used once. All of it as format-spec chapters 4 and 5 say.

mod cipher;
pub mod keys;
pub mod password;
pub mod random;
pub mod seal;
pub mod secret;
pub mod slot;

pub use keys::{ChunkKind, Keys};
pub use seal::{Opener, Part, Sealer};
pub use secret::Secret;

use crate::base::ContentName;

/// BLAKE3 of stored bytes given in slices: the last part of a pack's and an index run's name.
pub fn content_name<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> ContentName {
    let mut hasher = blake3::Hasher::new();
    for slice in slices {
        hasher.update(slice);
    }
    ContentName(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod vectors;
