//! Sealing and opening objects (format-spec chapter 5): ChaCha20-Poly1305 under a key of the object's own.
//!
//! What must hold: each object has a random salt, hence a key that no other object has; each part of it takes the
//! next part number, which nobody can set, keep or take to another object; the commitment is compared before anything is
//! opened.

use std::sync::atomic::{AtomicU64, Ordering};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::base::{Error, ErrorKind, RepositoryId, Result, SessionId};
use crate::crypto::cipher::{Cipher, Refused};
use crate::crypto::{Keys, Secret, random};
use crate::format::sealing::{HEADER_BYTES, Header, ObjectKind, Role, TAG_BYTES, nonce};

/// Splits what a secret gives for a salt into a cipher key and a commitment to it.
pub(crate) fn derive(secret: &Secret, salt: &[u8; 32], repository: &RepositoryId) -> (Secret, [u8; 32]) {
    let mut output = Zeroizing::new([0_u8; 64]);
    let mut hasher = blake3::Hasher::new_keyed(secret.expose());
    hasher.update(salt).update(repository.as_bytes()).finalize_xof().fill(&mut *output);
    let mut key = Zeroizing::new([0; 32]);
    let mut commitment = [0; 32];
    key.iter_mut().zip(output.iter()).for_each(|(to, from)| *to = *from);
    commitment.iter_mut().zip(output.iter().skip(32)).for_each(|(to, from)| *to = *from);
    (Secret::new(*key), commitment)
}

fn cipher(key: &Secret) -> Result<Cipher> {
    Cipher::new(key).map_err(|Refused| Error::new(ErrorKind::Failed, "a key cannot be used"))
}

/// Seals the parts of one object. May be shared by threads, each of which seals parts of its own.
pub struct Sealer {
    header: [u8; HEADER_BYTES],
    salt: [u8; 32],
    additional: Vec<u8>,
    cipher: Cipher,
    next_part: AtomicU64,
}

/// What an object is and where it stands, as far as sealing binds it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What it is.
    pub kind: ObjectKind,
    /// Which master key.
    pub generation: u32,
    /// The repository.
    pub repository: RepositoryId,
    /// The object's name, where that is not a hash of its bytes.
    pub name: Option<&'a str>,
}

impl Context<'_> {
    fn additional(&self, header: &[u8; HEADER_BYTES]) -> Vec<u8> {
        let name = self.name.unwrap_or_default().as_bytes();
        [header.as_slice(), self.repository.as_bytes(), name].concat()
    }
}

impl Sealer {
    /// Begins an object with a fresh salt.
    pub fn new(keys: &Keys, context: &Context<'_>, session: SessionId) -> Result<Self> {
        let salt = random::array()?;
        let subkey = keys.subkey(context.kind, context.generation)?;
        let (key, commitment) = derive(&subkey, &salt, &context.repository);
        let header =
            Header { kind: context.kind, generation: context.generation, session, salt, commitment }.encode();
        let additional = context.additional(&header);
        Ok(Self { header, salt, additional, cipher: cipher(&key)?, next_part: AtomicU64::new(0) })
    }

    /// The header, with which the object begins.
    pub const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// The salt, which an index run repeats.
    pub const fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    fn seal(&self, part: u64, role: Role, plaintext: &mut [u8]) -> Result<[u8; TAG_BYTES]> {
        self.cipher
            .seal(nonce(part, role), &self.additional, plaintext)
            .map_err(|Refused| Error::new(ErrorKind::Failed, "cannot seal a part of an object"))
    }

    /// The right to seal the next segment.
    pub fn next_part(&self) -> Part<'_> {
        Part { sealer: self, number: self.next_part.fetch_add(1, Ordering::Relaxed) }
    }

    /// How many parts were given away.
    pub fn parts(&self) -> u64 {
        self.next_part.load(Ordering::Relaxed)
    }

    /// Seals directory and trailer of a pack; nothing can be sealed after them.
    pub fn seal_tail(self, mut directory: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut trailer = (directory.len() as u64).to_le_bytes().to_vec();
        let tag = self.seal(0, Role::Directory, &mut directory)?;
        directory.extend_from_slice(&tag);
        let tag = self.seal(0, Role::Trailer, &mut trailer)?;
        trailer.extend_from_slice(&tag);
        Ok((directory, trailer))
    }

    /// Seals an object of one part, and gives all of its bytes.
    pub fn seal_whole(self, mut plaintext: Vec<u8>) -> Result<Vec<u8>> {
        let tag = self.next_part().seal(&mut plaintext)?;
        Ok([self.header.as_slice(), &plaintext, &tag].concat())
    }
}

/// The right to seal one segment, once: its number in its object.
#[must_use]
pub struct Part<'s> {
    sealer: &'s Sealer,
    number: u64,
}

impl Part<'_> {
    /// Its number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Seals a segment in place; gives the tag, which is stored behind it.
    pub fn seal(self, plaintext: &mut [u8]) -> Result<[u8; TAG_BYTES]> {
        self.sealer.seal(self.number, Role::Body, plaintext)
    }
}

/// Opens the parts of one object.
pub struct Opener {
    additional: Vec<u8>,
    cipher: Cipher,
}

impl Opener {
    /// Prepares to open an object whose header was read from its bytes; the header must be bound to the key.
    pub fn from_header(keys: &Keys, context: &Context<'_>, header: &Header) -> Result<Self> {
        let subkey = keys.subkey(header.kind, header.generation)?;
        let (key, commitment) = derive(&subkey, &header.salt, &context.repository);
        if !bool::from(commitment.ct_eq(&header.commitment)) {
            return Err(cannot_open("its header is not bound to this key"));
        }
        Ok(Self { additional: context.additional(&header.encode()), cipher: cipher(&key)? })
    }

    /// Prepares to open parts of an object whose header follows from the index.
    pub fn from_index(
        keys: &Keys,
        context: &Context<'_>,
        session: SessionId,
        salt: [u8; 32],
    ) -> Result<Self> {
        let subkey = keys.subkey(context.kind, context.generation)?;
        let (key, commitment) = derive(&subkey, &salt, &context.repository);
        let header = Header { kind: context.kind, generation: context.generation, session, salt, commitment };
        Ok(Self { additional: context.additional(&header.encode()), cipher: cipher(&key)? })
    }

    /// Opens a part. One that cannot be opened is damaged or belongs elsewhere.
    pub fn open(&self, part: u64, role: Role, sealed: &[u8]) -> Result<Vec<u8>> {
        // Zeros that the system gives need not be written.
        let mut opened = vec![0; sealed.len().saturating_sub(TAG_BYTES)];
        self.open_into(part, role, sealed, &mut opened)?;
        Ok(opened)
    }

    /// As `open`, into a buffer whose content is replaced.
    pub fn open_into(&self, part: u64, role: Role, sealed: &[u8], opened: &mut Vec<u8>) -> Result<()> {
        let refused = || cannot_open("its bytes are not what was sealed");
        let parts = sealed.split_last_chunk().ok_or_else(refused)?;
        // Where the buffer is long enough, nothing is filled with zeros only to be written again.
        opened.resize(parts.0.len(), 0);
        self.cipher.open(nonce(part, role), &self.additional, parts, opened).map_err(|Refused| {
            opened.clear();
            refused()
        })
    }
}

fn cannot_open(reason: &str) -> Error {
    Error::damaged(format!("the seal does not open: {reason} (format rule SEAL-2)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::FIRST_GENERATION;

    fn context(name: Option<&str>) -> Context<'_> {
        let repository = RepositoryId([3; 16]);
        Context { kind: ObjectKind::Commit, generation: FIRST_GENERATION, repository, name }
    }

    fn open(keys: &Keys, context: &Context<'_>, object: &[u8]) -> Result<Vec<u8>> {
        let (header, body) =
            Header::decode(ObjectKind::Commit, object).map_err(|error| error.of_object("a test"))?;
        Opener::from_header(keys, context, &header)?.open(0, Role::Body, body)
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let keys = Keys::generate().expect("keys");
        let sealer = Sealer::new(&keys, &context(Some("snapshots/1")), SessionId([1; 16])).expect("sealer");
        let object = sealer.seal_whole(b"plain".to_vec()).expect("sealed");
        assert_eq!(object.len(), HEADER_BYTES + 5 + TAG_BYTES);
        assert_eq!(open(&keys, &context(Some("snapshots/1")), &object).expect("opens"), b"plain");
        let error = open(&keys, &context(Some("snapshots/2")), &object).expect_err("another name");
        assert!(error.to_string().contains("SEAL-2"), "{error}");
        assert!(open(&Keys::generate().expect("keys"), &context(Some("snapshots/1")), &object).is_err());
        let mut elsewhere = context(Some("snapshots/1"));
        elsewhere.repository = RepositoryId([4; 16]);
        assert!(open(&keys, &elsewhere, &object).is_err());
        for bit in 0..object.len() * 8 {
            let mut flipped = object.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&keys, &context(Some("snapshots/1")), &flipped).is_err(), "bit {bit}");
        }
        for length in 0..object.len() {
            assert!(
                open(&keys, &context(Some("snapshots/1")), &object[..length]).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn parts_cannot_change_places() {
        let keys = Keys::generate().expect("keys");
        let context = Context { kind: ObjectKind::DataPack, ..context(None) };
        let session = SessionId([1; 16]);
        let sealer = Sealer::new(&keys, &context, session).expect("sealer");
        let salt = *sealer.salt();
        let sealed = |part: Part<'_>| {
            let mut text = b"same".to_vec();
            let tag = part.seal(&mut text).expect("sealed");
            [text.as_slice(), &tag].concat()
        };
        // In whatever order they are sealed.
        let (part, next) = (sealer.next_part(), sealer.next_part());
        assert_eq!((part.number(), next.number(), sealer.parts()), (0, 1, 2));
        let (second, first) = (sealed(next), sealed(part));
        assert_ne!(first, second);
        let (directory, trailer) = sealer.seal_tail(b"directory".to_vec()).expect("sealed");
        let opener = Opener::from_index(&keys, &context, session, salt).expect("opener");
        let opens = |part, role, sealed: &[u8]| opener.open(part, role, sealed).is_ok();
        assert!(opens(0, Role::Body, &first) && opens(1, Role::Body, &second));
        assert!(opens(0, Role::Directory, &directory) && opens(0, Role::Trailer, &trailer));
        assert!(!opens(1, Role::Body, &first) && !opens(0, Role::Body, &second));
        assert!(!opens(0, Role::Directory, &first) && !opens(0, Role::Body, &directory));
    }

    #[test]
    fn equal_plaintexts_never_look_equal() {
        let keys = Keys::generate().expect("keys");
        let seal =
            || Sealer::new(&keys, &context(None), SessionId([1; 16])).and_then(|s| s.seal_whole(vec![0; 64]));
        assert_ne!(seal().expect("sealed"), seal().expect("sealed"));
    }
}
