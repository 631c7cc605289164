//! A repository in memory whose every byte is made here, from keys that are known, and not by the library.
//!
//! What must hold: what is sealed here follows format-spec chapters 2 to 7 to the bit, so that the library takes it for
//! its own; with the same choices every object has the same bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};

use packstone::base::{ChunkId, ContentName, ErrorKind, RepositoryId, Result, SessionId, Timestamp};
use packstone::crypto::slot::{Credential, make_slot, slot_name};
use packstone::crypto::{ChunkKind, Keys, Secret, content_name};
use packstone::format::config::{Config, Features, Parameters};
use packstone::format::names;
use packstone::format::padding::padded;
use packstone::format::sealing::{HEADER_BYTES, Header, ObjectKind, Role, nonce};
use packstone::format::slot::{Bundle, PasswordCost};
use packstone::format::snapshot::{Snapshot, Statistics};
use packstone::repository::Repository;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

/// The repository's name.
const REPOSITORY: RepositoryId = RepositoryId([5; 16]);
/// The only generation of master keys.
const GENERATION: u32 = 1;

/// The keys of every forged repository.
pub fn keys() -> Keys {
    let bundle = Bundle {
        masters: vec![(GENERATION, &[1; 32])],
        data_id: &[2; 32],
        tree_id: &[3; 32],
        names: &[4; 32],
        chunker: &[6; 32],
        label: "",
        created: Timestamp::default(),
        kept: Vec::new(),
    };
    Keys::from_bundle(&bundle.encode()).expect("a good bundle")
}

fn credential() -> Credential {
    Credential::KeyFile(Secret::new([7; 32]))
}

/// Opens a repository in a storage that holds a forged one.
pub fn open(storage: Arc<dyn Storage>) -> Result<Repository> {
    Repository::open(storage, &credential(), None)
}

/// Name and bytes of the config and of the key slot.
fn base() -> &'static [(String, Vec<u8>); 2] {
    static BASE: OnceLock<[(String, Vec<u8>); 2]> = OnceLock::new();
    BASE.get_or_init(|| {
        let config = Config {
            repository: REPOSITORY,
            generation: GENERATION,
            parameters: Parameters::tiny(),
            features: Features::default(),
            created: Timestamp::default(),
            previous: None,
            kept: Vec::new(),
        };
        let name = names::config(1);
        let covered = config.encode();
        let code = keys().config_code(GENERATION, &name, &covered).expect("the generation");
        let cost = PasswordCost::RECOMMENDED;
        let slot = make_slot(&keys(), &credential(), cost, &REPOSITORY, "", Timestamp::default());
        let slot = slot.expect("a key slot");
        [(name, [covered.as_slice(), &code].concat()), (names::slot(&slot_name(&slot)), slot)]
    })
}

/// A new repository without snapshots.
pub fn repository() -> Memory {
    let memory = Memory::new();
    base().iter().for_each(|(name, bytes)| put(&memory, name, bytes.clone()));
    memory
}

/// Puts an object in the place of whatever is there.
pub fn put(memory: &Memory, name: &str, bytes: impl Into<Bytes>) {
    memory.replace(&ObjectName::parse(name).expect("a name of an object"), bytes);
}

/// What an object is sealed with, beside its content.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// What the object is.
    pub kind: ObjectKind,
    /// Its name, where that is no hash.
    pub name: Option<&'a str>,
    /// Whose run wrote it.
    pub session: SessionId,
    /// Its salt.
    pub salt: [u8; 32],
}

/// An object of some parts.
pub fn seal(seal: &Seal<'_>, parts: &[Vec<u8>]) -> Vec<u8> {
    let subkey = keys().subkey(seal.kind, GENERATION).expect("the generation");
    let mut derived = [0; 64];
    let mut hasher = blake3::Hasher::new_keyed(subkey.expose());
    hasher.update(&seal.salt).update(REPOSITORY.as_bytes()).finalize_xof().fill(&mut derived);
    let (key, commitment) = derived.split_first_chunk::<32>().expect("64 bytes");
    let header = Header {
        kind: seal.kind,
        generation: GENERATION,
        session: seal.session,
        salt: seal.salt,
        commitment: commitment.try_into().expect("32 bytes"),
    };
    let header: [u8; HEADER_BYTES] = header.encode();
    let additional =
        [header.as_slice(), REPOSITORY.as_bytes(), seal.name.unwrap_or_default().as_bytes()].concat();
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    let mut object = header.to_vec();
    for (part, plain) in (0..).zip(parts) {
        let mut sealed = plain.clone();
        cipher
            .encrypt_in_place(&Nonce::from(nonce(part, Role::Body)), &additional, &mut sealed)
            .expect("sealed");
        object.append(&mut sealed);
    }
    object
}

/// Puts a sealed object of one CBOR item, padded.
pub fn put_record(memory: &Memory, kind: ObjectKind, name: &str, session: SessionId, mut content: Vec<u8>) {
    content.resize(usize::try_from(padded(content.len() as u64)).expect("a length"), 0);
    let with = Seal { kind, name: Some(name), session, salt: [8; 32] };
    put(memory, name, seal(&with, &[content]));
}

/// Puts an index run of these bytes, padded.
pub fn put_run(memory: &Memory, mut content: Vec<u8>) -> ContentName {
    content.resize(usize::try_from(padded(content.len() as u64)).expect("a length"), 0);
    let salt = *blake3::hash(&content).as_bytes();
    let with = Seal { kind: ObjectKind::IndexRun, name: None, session: SessionId([0; 16]), salt };
    let object = seal(&with, &[content]);
    let name = content_name([object.as_slice()]);
    put(memory, &names::index(&name), object);
    name
}

/// The name of a chunk.
pub fn chunk_id(kind: ChunkKind, content: &[u8]) -> ChunkId {
    keys().chunk_id(kind, content)
}

/// A snapshot of a tree that is said to hold so much.
pub fn snapshot(tree: ChunkId, total_nodes: u64, total_bytes: u64) -> Snapshot {
    Snapshot {
        time: Timestamp { seconds: 1_800_000_000, nanoseconds: 0 },
        duration_milliseconds: 1,
        host: "host".into(),
        user: None,
        job: None,
        tags: Vec::new(),
        description: None,
        paths: Vec::new(),
        excludes: Vec::new(),
        program: "forge".into(),
        parent: None,
        generation: 1,
        origin: None,
        tree,
        total_nodes,
        total_bytes,
        sources: Vec::new(),
        findings: 0,
        expected_next_seconds: None,
        sequence: 1,
        previous: None,
        statistics: Statistics::default(),
        is_selective: false,
        kept: Vec::new(),
    }
}

/// The value of what worked. What did not is damage, or was written by a newer program.
#[track_caller]
pub fn met<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let is_met = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported);
            assert!(is_met, "{:?}: {}", error.kind(), error.chain().join(": "));
            None
        }
    }
}
