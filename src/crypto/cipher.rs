//! ChaCha20-Poly1305 (RFC 8439) by the faster of two libraries.
//!
//! What must hold: both give the same bytes, and refuse the same. AWS-LC takes about half of the processor's time; the other,
//! which is Rust alone, is there for who builds without a network and for comparison.

#[cfg(feature = "aws-lc")]
pub(crate) use aws_lc::Cipher;
#[cfg(not(feature = "aws-lc"))]
pub(crate) use rust_crypto::Cipher;

/// Something could not be sealed, or was not sealed by this key for this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::Refused;
    use crate::crypto::Secret;

    /// A key that seals and opens. The library wipes it when it goes.
    pub(crate) struct Cipher(LessSafeKey);

    impl Cipher {
        /// With a key. `Refused` if the library cannot use it, for which no key of this length gives cause.
        pub(crate) fn new(key: &Secret) -> Result<Self, Refused> {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).map_err(|_| Refused)?;
            Ok(Self(LessSafeKey::new(key)))
        }

        /// Seals in place; the tag is appended. Without room for it the plaintext stays behind when the buffer grows.
        pub(crate) fn seal(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            plaintext: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0.seal_in_place_append_tag(nonce, Aad::from(additional), plaintext).map_err(|_| Refused)
        }

        /// Opens in place; the tag is removed.
        pub(crate) fn open(
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
    use crate::crypto::Secret;

    /// As the other one, of Rust alone.
    pub(crate) struct Cipher(ChaCha20Poly1305);

    impl Cipher {
        #[expect(clippy::unnecessary_wraps, reason = "as the other library's, which may refuse")]
        pub(crate) fn new(key: &Secret) -> Result<Self, Refused> {
            Ok(Self(ChaCha20Poly1305::new(&chacha20poly1305::Key::from(*key.expose()))))
        }

        pub(crate) fn seal(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            plaintext: &mut Vec<u8>,
        ) -> Result<(), Refused> {
            self.0.encrypt_in_place(&Nonce::from(nonce), additional, plaintext).map_err(|_| Refused)
        }

        pub(crate) fn open(
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
    use crate::crypto::Secret;
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
            let key = Secret::new(key);
            let usual = Cipher::new(&key).expect("a key");
            let other = rust_crypto::Cipher::new(&key).expect("a key");
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
