//! The keys of a repository and what follows from them.
//!
//! What must hold: every purpose has a key of its own; the keys that name and cut chunks are never changed, so that
//! equal content keeps equal names for ever.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::base::{ChunkId, Error, Result, Timestamp};
use crate::crypto::{Secret, random};
use crate::format::Decoded;
use crate::format::cbor::KeptPair;
use crate::format::config::CODE_BYTES;
use crate::format::sealing::ObjectKind;
use crate::format::slot::Bundle;

/// The generation of a new repository's master key.
pub const FIRST_GENERATION: u32 = 1;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkKind {
    /// Content of files, or values of extended attributes.
    Data,
    /// Tree pages and list pages: what names other chunks.
    Tree,
}

impl ChunkKind {
    /// The kind of pack that holds such chunks.
    pub const fn pack_kind(self) -> ObjectKind {
        match self {
            Self::Data => ObjectKind::DataPack,
            Self::Tree => ObjectKind::TreePack,
        }
    }
}

/// All keys of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    masters: BTreeMap<u32, Secret>,
    data_id: Secret,
    tree_id: Secret,
    names: Secret,
    chunker: Secret,
    kept: Vec<KeptPair>,
}

impl Keys {
    /// New random keys.
    pub fn generate() -> Result<Self> {
        Ok(Self {
            masters: BTreeMap::from([(FIRST_GENERATION, random::secret()?)]),
            data_id: random::secret()?,
            tree_id: random::secret()?,
            names: random::secret()?,
            chunker: random::secret()?,
            kept: Vec::new(),
        })
    }

    /// Keys for another repository in which equal content has the same names and is cut at the same places. What seals
    /// its objects is new.
    pub fn sibling(&self) -> Result<Self> {
        let masters = BTreeMap::from([(FIRST_GENERATION, random::secret()?)]);
        Ok(Self { masters, kept: Vec::new(), ..self.clone() })
    }

    /// Whether equal content has the same names and is cut at the same places under both.
    pub fn is_sibling_of(&self, other: &Self) -> bool {
        let shared =
            |keys: &Self| [&keys.data_id, &keys.tree_id, &keys.names, &keys.chunker].map(Clone::clone);
        shared(self) == shared(other)
    }

    /// The plaintext of a key slot.
    pub fn to_bundle(&self, label: &str, created: Timestamp) -> Zeroizing<Vec<u8>> {
        let bundle = Bundle {
            masters: self.masters.iter().map(|(generation, master)| (*generation, master.expose())).collect(),
            data_id: self.data_id.expose(),
            tree_id: self.tree_id.expose(),
            names: self.names.expose(),
            chunker: self.chunker.expose(),
            label,
            created,
            kept: self.kept.clone(),
        };
        Zeroizing::new(bundle.encode())
    }

    /// Reads the plaintext of a key slot.
    pub fn from_bundle(plaintext: &[u8]) -> Decoded<Self> {
        Bundle::decode(plaintext).map(|bundle| Self::of_bundle(&bundle))
    }

    /// Copies the keys out of what a key slot seals.
    pub fn of_bundle(bundle: &Bundle<'_>) -> Self {
        Self {
            masters: bundle.masters.iter().map(|(number, master)| (*number, Secret::new(**master))).collect(),
            data_id: Secret::new(*bundle.data_id),
            tree_id: Secret::new(*bundle.tree_id),
            names: Secret::new(*bundle.names),
            chunker: Secret::new(*bundle.chunker),
            kept: bundle.kept.clone(),
        }
    }

    /// The key under which objects of a kind and generation are sealed.
    pub fn subkey(&self, kind: ObjectKind, generation: u32) -> Result<Secret> {
        let context = match kind {
            ObjectKind::Config | ObjectKind::Slot => "packstone v1 config",
            ObjectKind::DataPack => "packstone v1 data",
            ObjectKind::TreePack => "packstone v1 tree",
            ObjectKind::IndexRun => "packstone v1 index",
            ObjectKind::SessionStart | ObjectKind::SessionBeat => "packstone v1 session",
            ObjectKind::Commit => "packstone v1 snapshot",
            ObjectKind::Tombstone => "packstone v1 forget",
            ObjectKind::Condemned | ObjectKind::Verdict => "packstone v1 collection",
        };
        let master = self.masters.get(&generation).ok_or_else(|| {
            Error::damaged(format!(
                "it names key generation {generation}, which was never made (format rule SEAL-3)"
            ))
        })?;
        Ok(Secret::new(blake3::derive_key(context, master.expose())))
    }

    /// The name of a chunk.
    pub fn chunk_id(&self, kind: ChunkKind, plaintext: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data_id,
            ChunkKind::Tree => &self.tree_id,
        };
        ChunkId(*blake3::keyed_hash(key.expose(), plaintext).as_bytes())
    }

    /// The number by which a name at a level of tree pages decides where pages and bundles end.
    pub fn name_number(&self, level: u8, name: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(self.names.expose());
        if level > 0 {
            hasher.update(&[level]);
        }
        let hash = hasher.update(name).finalize();
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The chunker's secret table.
    pub fn gear_table(&self) -> Zeroizing<[u64; 256]> {
        let mut bytes = Zeroizing::new([0_u8; 2048]);
        blake3::Hasher::new_keyed(self.chunker.expose()).finalize_xof().fill(&mut *bytes);
        let mut table = Zeroizing::new([0; 256]);
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        table
    }

    /// The code at the end of a config: over the object's name and all its other bytes.
    pub fn config_code(&self, generation: u32, name: &str, covered: &[u8]) -> Result<[u8; CODE_BYTES]> {
        let key = self.subkey(ObjectKind::Config, generation)?;
        let mut hasher = blake3::Hasher::new_keyed(key.expose());
        Ok(*hasher.update(name.as_bytes()).update(covered).finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_from_their_bundle() {
        let keys = Keys::generate().expect("random keys");
        let bundle = keys.to_bundle("laptop", Timestamp::default());
        assert_eq!(Keys::from_bundle(&bundle), Ok(keys.clone()));
        assert_ne!(Keys::generate().expect("random keys"), keys);
    }

    #[test]
    fn siblings_share_what_names_and_cuts_chunks_and_nothing_else() {
        let keys = Keys::generate().expect("random keys");
        let sibling = keys.sibling().expect("random keys");
        assert!(sibling.is_sibling_of(&keys) && keys.is_sibling_of(&sibling));
        assert!(sibling.sibling().expect("random keys").is_sibling_of(&keys));
        assert!(!Keys::generate().expect("random keys").is_sibling_of(&keys));
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            assert_eq!(keys.chunk_id(kind, b"x"), sibling.chunk_id(kind, b"x"));
        }
        assert_eq!(keys.gear_table(), sibling.gear_table());
        assert_eq!(keys.name_number(1, b"x"), sibling.name_number(1, b"x"));
        for kind in [ObjectKind::Config, ObjectKind::DataPack, ObjectKind::Commit] {
            let subkey = |keys: &Keys| keys.subkey(kind, FIRST_GENERATION).expect("the first generation");
            assert_ne!(subkey(&keys), subkey(&sibling), "{kind:?}");
        }
        let mut other = keys.clone();
        other.names = random::secret().expect("random keys");
        assert!(!other.is_sibling_of(&keys));
    }

    #[test]
    fn every_purpose_has_its_own_key() {
        let keys = Keys::generate().expect("random keys");
        let kinds = [
            ObjectKind::Config,
            ObjectKind::DataPack,
            ObjectKind::TreePack,
            ObjectKind::IndexRun,
            ObjectKind::SessionStart,
            ObjectKind::Commit,
            ObjectKind::Tombstone,
            ObjectKind::Verdict,
        ];
        for (position, kind) in kinds.iter().enumerate() {
            let key = keys.subkey(*kind, FIRST_GENERATION).expect("the first generation");
            for other in &kinds[position + 1..] {
                assert_ne!(
                    Ok(&key),
                    keys.subkey(*other, FIRST_GENERATION).as_ref().map_err(drop),
                    "{kind:?} {other:?}"
                );
            }
        }
        let unknown = keys.subkey(ObjectKind::Commit, 2).expect_err("no such generation");
        assert_eq!(unknown.kind(), crate::base::ErrorKind::Damaged);
        assert!(unknown.to_string().contains("(format rule SEAL-3)"), "{unknown}");
        assert_ne!(keys.chunk_id(ChunkKind::Data, b"x"), keys.chunk_id(ChunkKind::Tree, b"x"));
        assert_ne!(keys.name_number(0, b"x"), keys.name_number(1, b"x"));
    }

    #[test]
    fn a_config_code_covers_name_and_content() {
        let keys = Keys::generate().expect("random keys");
        let code = |name, covered: &[u8]| keys.config_code(FIRST_GENERATION, name, covered).expect("a code");
        assert_eq!(code("config/00000001", b"abc"), code("config/00000001", b"abc"));
        assert_ne!(code("config/00000001", b"abc"), code("config/00000002", b"abc"));
        assert_ne!(code("config/00000001", b"abc"), code("config/00000001", b"abd"));
    }
}
