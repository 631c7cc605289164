//! ChaCha20-Poly1305 (RFC 8439) by the faster of two libraries.
//!
//! What must hold: both give the same bytes, and refuse the same. AWS-LC takes about half of the processor's time; the other,
//! which is Rust alone, is there for who builds without a network and for comparison.

use crate::crypto::Secret;

/// A key that seals and opens.
pub(crate) struct Cipher(Key);

/// Something could not be sealed, or was not sealed by this key for this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[cfg(feature = "aws-lc")]
use aws_lc::Key;
#[cfg(not(feature = "aws-lc"))]
use rust_crypto::Key;

impl Cipher {
    /// A cipher with a key. `Refused` if the library cannot use it, which no key of this length gives cause for.
    pub(crate) fn new(key: &Secret) -> Result<Self, Refused> {
        Key::new(key.expose()).map(Self)
    }

    /// Seals in place; the tag is appended. Without room for it the plaintext would stay behind when the buffer grows.
    pub(crate) fn seal(
        &self,
        nonce: [u8; 12],
        additional: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        self.0.seal(nonce, additional, plaintext)
    }

    /// Opens in place; the tag is removed.
    pub(crate) fn open(
        &self,
        nonce: [u8; 12],
        additional: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        self.0.open(nonce, additional, sealed)
    }
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::Refused;

    /// The library wipes it when it goes.
    pub(super) struct Key(LessSafeKey);

    impl Key {
        pub(super) fn new(key: &[u8; 32]) -> Result<Self, Refused> {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| Refused)?;
            Ok(Self(LessSafeKey::new(key)))
        }

        pub(super) fn seal(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            plaintext: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0.seal_in_place_append_tag(nonce, Aad::from(additional), plaintext).map_err(|_| Refused)
        }

        pub(super) fn open(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            sealed: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = self.0.open_in_place(nonce, Aad::from(additional), sealed);
            let length = opened.map(|plaintext| plaintext.len()).map_err(|_| Refused)?;
            sealed.truncate(length);
            Ok(())
        }
    }
}

#[cfg(any(test, not(feature = "aws-lc")))]
mod rust_crypto {
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};

    use super::Refused;

    pub(super) struct Key(ChaCha20Poly1305);

    impl Key {
        #[expect(clippy::unnecessary_wraps, reason = "as the other library's, which may refuse")]
        pub(super) fn new(key: &[u8; 32]) -> Result<Self, Refused> {
            Ok(Self(ChaCha20Poly1305::new(&chacha20poly1305::Key::from(*key))))
        }

        pub(super) fn seal(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            plaintext: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            self.0.encrypt_in_place(&Nonce::from(nonce), additional, plaintext).map_err(|_| Refused)
        }

        pub(super) fn open(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            sealed: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            self.0.decrypt_in_place(&Nonce::from(nonce), additional, sealed).map_err(|_| Refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sealing::TAG_BYTES;

    /// Bytes that differ from seed to seed.
    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn both_libraries_give_and_refuse_the_same() {
        for (seed, length) in (0..).zip([0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 1000, 4096, 70_000]) {
            let (key, nonce) = (bytes(seed, 32), bytes(seed + 100, 12));
            let (key, nonce) = (key.try_into().expect("32 bytes"), nonce.try_into().expect("12 bytes"));
            let (additional, plaintext) = (bytes(seed + 200, length % 97), bytes(seed + 300, length));
            let usual = Cipher::new(&Secret::new(key)).expect("a key");
            let other = rust_crypto::Key::new(&key).expect("a key");
            let mut sealed = plaintext.clone();
            usual.seal(nonce, &additional, &mut sealed).expect("sealed");
            let mut sealed_by_other = plaintext.clone();
            other.seal(nonce, &additional, &mut sealed_by_other).expect("sealed");
            assert_eq!(sealed, sealed_by_other, "{length}");
            assert_eq!(sealed.len(), length + TAG_BYTES);
            let opened = |sealed: &[u8], additional: &[u8]| {
                let (mut by_usual, mut by_other) = (sealed.to_vec(), sealed.to_vec());
                let outcome = usual.open(nonce, additional, &mut by_usual);
                assert_eq!(outcome, other.open(nonce, additional, &mut by_other));
                assert!(outcome.is_err() || by_usual == by_other);
                outcome.map(|()| by_usual)
            };
            assert_eq!(opened(&sealed, &additional).expect("opens"), plaintext);
            assert_eq!(opened(&sealed, b"other"), Err(Refused));
            assert_eq!(opened(&sealed[..TAG_BYTES - 1], &additional), Err(Refused));
            assert_eq!(opened(&[], &additional), Err(Refused));
            for at in [0, length / 2, sealed.len() - 1] {
                let mut flipped = sealed.clone();
                flipped[at] ^= 4;
                assert_eq!(opened(&flipped, &additional), Err(Refused), "{length}, {at}");
            }
        }
    }
}
