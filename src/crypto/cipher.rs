//! ChaCha20-Poly1305 (RFC 8439) by the faster of two libraries.
//!
//! What must hold: both give the same bytes, and refuse the same. AWS-LC takes about half of the processor's time; the other,
//! which is Rust alone, is there for who builds without a network and for comparison.

use crate::format::sealing::TAG_BYTES;

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

    use super::{Refused, TAG_BYTES};
    use crate::crypto::Secret;

    /// A key that seals and opens. The library wipes it when it goes.
    pub(crate) struct Cipher(LessSafeKey);

    impl Cipher {
        /// With a key. `Refused` if the library cannot use it, for which no key of this length gives cause.
        pub(crate) fn new(key: &Secret) -> Result<Self, Refused> {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).map_err(|_| Refused)?;
            Ok(Self(LessSafeKey::new(key)))
        }

        /// Seals in place; gives the tag.
        pub(crate) fn seal(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            plaintext: &mut [u8],
        ) -> Result<[u8; TAG_BYTES], Refused> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(additional), plaintext);
            tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).ok_or(Refused)
        }

        /// Opens what a tag belongs to, into as much room.
        pub(crate) fn open(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            (sealed, tag): (&[u8], &[u8; TAG_BYTES]),
            plaintext: &mut [u8],
        ) -> Result<(), Refused> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let additional = Aad::from(additional);
            self.0.open_separate_gather(nonce, additional, sealed, tag, plaintext).map_err(|_| Refused)
        }
    }
}

#[cfg(any(test, not(feature = "aws-lc")))]
mod rust_crypto {
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::aead::inout::InOutBuf;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};

    use super::{Refused, TAG_BYTES};
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
            plaintext: &mut [u8],
        ) -> Result<[u8; TAG_BYTES], Refused> {
            let tag = self.0.encrypt_inout_detached(&Nonce::from(nonce), additional, plaintext.into());
            tag.map(Into::into).map_err(|_| Refused)
        }

        pub(crate) fn open(
            &self,
            nonce: [u8; 12],
            additional: &[u8],
            (sealed, tag): (&[u8], &[u8; TAG_BYTES]),
            plaintext: &mut [u8],
        ) -> Result<(), Refused> {
            let buffer = InOutBuf::new(sealed, plaintext).map_err(|_| Refused)?;
            let tag = (*tag).into();
            let opened = self.0.decrypt_inout_detached(&Nonce::from(nonce), additional, buffer, &tag);
            opened.map_err(|_| Refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

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
            let tag = usual.seal(nonce, &additional, &mut sealed).expect("sealed");
            let mut sealed_by_other = plaintext.clone();
            let other_tag = other.seal(nonce, &additional, &mut sealed_by_other).expect("sealed");
            assert_eq!((&sealed, tag), (&sealed_by_other, other_tag), "{length}");
            let opened = |sealed: &[u8], tag: &[u8; TAG_BYTES], additional: &[u8]| {
                let (mut by_usual, mut by_other) = (vec![1; sealed.len()], vec![2; sealed.len()]);
                let outcome = usual.open(nonce, additional, (sealed, tag), &mut by_usual);
                assert_eq!(outcome, other.open(nonce, additional, (sealed, tag), &mut by_other));
                assert!(outcome.is_err() || by_usual == by_other);
                outcome.map(|()| by_usual)
            };
            assert_eq!(opened(&sealed, &tag, &additional).expect("opens"), plaintext);
            assert_eq!(opened(&sealed, &tag, b"other"), Err(Refused));
            assert_eq!(opened(b"other", &tag, &additional), Err(Refused));
            let mut other_tag = tag;
            other_tag[length % TAG_BYTES] ^= 4;
            assert_eq!(opened(&sealed, &other_tag, &additional), Err(Refused));
            for at in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|at| *at < length) {
                let mut flipped = sealed.clone();
                flipped[at] ^= 4;
                assert_eq!(opened(&flipped, &tag, &additional), Err(Refused), "{length}, {at}");
            }
            let mut short = vec![0; length + 1];
            assert_eq!(usual.open(nonce, &additional, (&sealed, &tag), &mut short), Err(Refused));
            assert_eq!(other.open(nonce, &additional, (&sealed, &tag), &mut short), Err(Refused));
        }
    }
}
