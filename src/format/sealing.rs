//! The head that every object begins with, and the header of sealed ones (format-spec chapter 5).
//!
//! What must hold: the first twelve bytes tell a reader of any version whether it can read on; the whole header is
//! additional data of every sealed part, so that none of it can be changed.

use crate::base::SessionId;
use crate::format::{DecodeError, Decoded, require};

/// The first eight bytes of every object, and the last eight of a pack.
pub const MAGIC: [u8; 8] = *b"PKSTONE\x1a";
/// The format version that this program writes and reads.
pub const VERSION: u8 = 1;
/// Bytes of the head that every object begins with.
pub const HEAD_BYTES: usize = 12;
/// Bytes of the header of a sealed object, its head included.
pub const HEADER_BYTES: usize = 96;
/// Bytes that sealing adds to each part.
pub const TAG_BYTES: usize = 16;

/// Not sealed.
const WRAP_NONE: u8 = 0;
/// Sealed under a key that follows from the key bundle.
const WRAP_SUBKEY: u8 = 1;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The repository's parameters.
    Config,
    /// A way to the keys.
    Slot,
    /// A pack of data chunks.
    DataPack,
    /// A pack of tree chunks.
    TreePack,
    /// A part of the index.
    IndexRun,
    /// The beginning of a session.
    SessionStart,
    /// A sign of life of a session.
    SessionBeat,
    /// A snapshot, or the end of a session without one.
    Commit,
    /// A forgotten snapshot.
    Tombstone,
    /// Packs that are about to go.
    Condemned,
    /// Packs that go.
    Verdict,
}

impl ObjectKind {
    /// All kinds, by number.
    pub const ALL: [Self; 11] = [
        Self::Config,
        Self::Slot,
        Self::DataPack,
        Self::TreePack,
        Self::IndexRun,
        Self::SessionStart,
        Self::SessionBeat,
        Self::Commit,
        Self::Tombstone,
        Self::Condemned,
        Self::Verdict,
    ];

    /// The number in the head.
    pub const fn number(self) -> u8 {
        match self {
            Self::Config => 1,
            Self::Slot => 2,
            Self::DataPack => 3,
            Self::TreePack => 4,
            Self::IndexRun => 5,
            Self::SessionStart => 6,
            Self::SessionBeat => 7,
            Self::Commit => 8,
            Self::Tombstone => 9,
            Self::Condemned => 10,
            Self::Verdict => 11,
        }
    }

    const fn wrap(self) -> u8 {
        match self {
            Self::Config | Self::Slot => WRAP_NONE,
            _ => WRAP_SUBKEY,
        }
    }

    /// The head of an object of this kind.
    pub fn head(self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let fields = MAGIC.into_iter().chain([VERSION, self.number(), self.wrap(), 0]);
        head.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        head
    }

    /// Checks the head of an object that must be of this kind, and gives what follows it.
    pub fn check_head(self, bytes: &[u8]) -> Decoded<&[u8]> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(DecodeError::new("HEAD-1", format!("an object of {} bytes", bytes.len())));
        };
        require(*magic == MAGIC, "HEAD-1", || "no packstone object".into())?;
        let Some(([version, kind, wrap, reserved], rest)) = rest.split_first_chunk::<4>() else {
            return Err(DecodeError::new("HEAD-1", format!("an object of {} bytes", bytes.len())));
        };
        require(*version == VERSION, "HEAD-2", || {
            format!("format version {version}; this program reads version {VERSION}")
        })?;
        require(*kind == self.number(), "HEAD-3", || {
            format!("kind {kind} where {} must stand", self.number())
        })?;
        let is_known = *wrap == self.wrap() && *reserved == 0;
        require(is_known, "HEAD-4", || format!("wrap {wrap}, reserved {reserved}"))?;
        Ok(rest)
    }
}

/// The header of a sealed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: ObjectKind,
    /// Which master key.
    pub generation: u32,
    /// Whose run wrote it.
    pub session: SessionId,
    /// Random, one for each object.
    pub salt: [u8; 32],
    /// Binds the header to one key.
    pub commitment: [u8; 32],
}

impl Header {
    /// The bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let head = self.kind.head();
        let generation = self.generation.to_le_bytes();
        let fields =
            head.iter().chain(&generation).chain(&self.session.0).chain(&self.salt).chain(&self.commitment);
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads the header of an object that must be of this kind, and gives what follows it.
    pub fn decode(kind: ObjectKind, bytes: &[u8]) -> Decoded<(Self, &[u8])> {
        let rest = kind.check_head(bytes)?;
        let short = || DecodeError::new("SEAL-1", "ends within its header");
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (session, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        let (salt, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let (commitment, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let header = Self {
            kind,
            generation: u32::from_le_bytes(*generation),
            session: SessionId(*session),
            salt: *salt,
            commitment: *commitment,
        };
        Ok((header, rest))
    }
}

/// What a sealed part is within its object; part of the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The body, or a segment of a pack.
    Body,
    /// The directory of a pack.
    Directory,
    /// The trailer of a pack.
    Trailer,
}

impl Role {
    const fn number(self) -> u32 {
        match self {
            Self::Body => 0,
            Self::Directory => 1,
            Self::Trailer => 2,
        }
    }
}

/// The nonce of a part: part number and role, little-endian.
pub fn nonce(part: u64, role: Role) -> [u8; 12] {
    let mut nonce = [0; 12];
    let fields = part.to_le_bytes().into_iter().chain(role.number().to_le_bytes());
    nonce.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_as_it_was() {
        let header = Header {
            kind: ObjectKind::Commit,
            generation: 0x0102_0304,
            session: SessionId([5; 16]),
            salt: [6; 32],
            commitment: [7; 32],
        };
        let mut bytes = header.encode().to_vec();
        assert_eq!(bytes.get(..16), Some(b"PKSTONE\x1a\x01\x08\x01\x00\x04\x03\x02\x01".as_slice()));
        bytes.push(99);
        assert_eq!(Header::decode(ObjectKind::Commit, &bytes), Ok((header, [99].as_slice())));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        let rejected =
            |bytes: &[u8]| Header::decode(ObjectKind::IndexRun, bytes).expect_err("must be refused").rule;
        let mut good = ObjectKind::IndexRun.head().to_vec();
        good.resize(HEADER_BYTES, 0);
        assert!(Header::decode(ObjectKind::IndexRun, &good).is_ok());
        assert_eq!(rejected(b""), "HEAD-1");
        assert_eq!(rejected(&good[..11]), "HEAD-1");
        assert_eq!(rejected(&good[..95]), "SEAL-1");
        for (position, rule) in
            [(0, "HEAD-1"), (7, "HEAD-1"), (8, "HEAD-2"), (9, "HEAD-3"), (10, "HEAD-4"), (11, "HEAD-4")]
        {
            let mut bad = good.clone();
            bad[position] ^= 0x40;
            assert_eq!(rejected(&bad), rule, "byte {position}");
        }
    }

    #[test]
    fn no_two_parts_share_a_nonce() {
        assert_eq!(nonce(0x0102, Role::Trailer), [2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        assert_ne!(nonce(0, Role::Body), nonce(0, Role::Directory));
        assert_ne!(nonce(0, Role::Body), nonce(1, Role::Body));
    }
}
