//! The vectors of the specification against the library.

use packstone::base::{ChunkId, ContentName, RepositoryId, SessionId, SlotName, Timestamp};
use packstone::chunker::Cutter;
use packstone::crypto::seal::Context;
use packstone::crypto::slot::{Credential, open_slot, slot_name};
use packstone::crypto::{ChunkKind, Keys, Opener, Secret};
use packstone::format::config::{Chunking, Config, Parameters};
use packstone::format::names::{self, Phase};
use packstone::format::sealing::{Header, ObjectKind, Role, nonce};
use packstone::format::slot::{Bundle, Slot};
use packstone::format::{list, padding};

use super::cases::{Case, cases};

/// Keys that follow from given ones; those that a vector does not name are zeros.
#[derive(Default)]
struct Given {
    generation: u32,
    master: [u8; 32],
    data_id: [u8; 32],
    tree_id: [u8; 32],
    names: [u8; 32],
    chunker: [u8; 32],
}

impl Given {
    fn keys(&self) -> Keys {
        let bundle = Bundle {
            masters: vec![(self.generation, &self.master)],
            data_id: &self.data_id,
            tree_id: &self.tree_id,
            names: &self.names,
            chunker: &self.chunker,
            label: "",
            created: Timestamp::default(),
            kept: Vec::new(),
        };
        Keys::from_bundle(&bundle.encode()).expect("a good bundle")
    }
}

#[test]
fn padded_lengths() {
    for case in cases("padding.txt") {
        assert_eq!(padding::padded(case.number("length")), case.number("padded"), "{}", case.place);
    }
}

#[test]
fn names_of_chunks() {
    for case in cases("chunk-ids.txt") {
        let key = case.fixed("key");
        let (given, kind) = match case.text("kind") {
            "data" => (Given { data_id: key, ..Given::default() }, ChunkKind::Data),
            _ => (Given { tree_id: key, ..Given::default() }, ChunkKind::Tree),
        };
        let id = given.keys().chunk_id(kind, &case.bytes("plaintext"));
        assert_eq!(id, ChunkId(case.fixed("id")), "{}", case.place);
    }
}

#[test]
fn numbers_of_names() {
    for case in cases("name-numbers.txt") {
        let keys = Given { names: case.fixed("key"), ..Given::default() }.keys();
        let level = u8::try_from(case.number("level")).expect("a level");
        assert_eq!(keys.name_number(level, &case.bytes("name")), case.number("number"), "{}", case.place);
    }
}

#[test]
fn names_of_objects() {
    for case in cases("object-names.txt") {
        let name = case.text("name");
        let number = || case.number("number");
        let session = || SessionId(case.fixed("id"));
        let content = || ContentName(case.fixed("id"));
        let is_read_back = match case.text("object") {
            "config" => {
                let number = u32::try_from(number()).expect("32 bits");
                names::config(number) == name && names::parse_config(name) == Some(number)
            }
            "slot" => {
                let id = SlotName(case.fixed("id"));
                names::slot(&id) == name && names::parse_slot(name) == Some(id)
            }
            "pack" => names::pack(&content()) == name && names::parse_pack(name) == Some(content()),
            "index" => names::index(&content()) == name && names::parse_index(name) == Some(content()),
            "start" => names::session_start(&session()) == name,
            "commit" => names::commit(&session()) == name && names::parse_commit(name) == Some(session()),
            "tombstone" => {
                names::tombstone(&session()) == name && names::parse_tombstone(name) == Some(session())
            }
            "condemned" => {
                names::condemned(number()) == name
                    && names::parse_collection(name) == Some((number(), Phase::Condemned))
            }
            "verdict" => {
                names::verdict(number()) == name
                    && names::parse_collection(name) == Some((number(), Phase::Verdict))
            }
            "none" => {
                names::parse_config(name).is_none()
                    && names::parse_slot(name).is_none()
                    && names::parse_pack(name).is_none()
                    && names::parse_index(name).is_none()
                    && names::parse_commit(name).is_none()
                    && names::parse_tombstone(name).is_none()
                    && names::parse_collection(name).is_none()
            }
            other => panic!("{}: {other}", case.place),
        };
        assert!(is_read_back, "{}: {name}", case.place);
    }
}

#[test]
fn ends_of_list_pages() {
    for case in cases("list-cuts.txt") {
        let ends = list::cuts_after(&ChunkId(case.fixed("id")), case.size("entries"));
        assert_eq!(ends, case.text("ends") == "yes", "{}", case.place);
    }
}

#[test]
fn cut_points() {
    for case in cases("chunker.txt") {
        let table = Given { chunker: case.fixed("key"), ..Given::default() }.keys().gear_table();
        assert_eq!(format!("{:016x}", table[0]), case.text("table-0"), "{}", case.place);
        assert_eq!(format!("{:016x}", table[255]), case.text("table-255"), "{}", case.place);
        let bytes = |key| u32::try_from(case.number(key)).expect("32 bits");
        let chunking = Chunking::FastCdc {
            min_bytes: bytes("minimum"),
            average_bytes: bytes("average"),
            max_bytes: bytes("maximum"),
        };
        let mut content = vec![0; case.size("length")];
        if case.text("content") == "random" {
            blake3::Hasher::new_keyed(&[9; 32]).finalize_xof().fill(&mut content);
        }
        let cutter =
            Cutter::new(&Parameters { chunking, ..Parameters::default() }, table).expect("parameters");
        let expected: Vec<usize> =
            case.text("chunks").split(' ').map(|length| length.parse().expect("a length")).collect();
        assert_eq!(cutter.chunks(&content, true), expected, "{}", case.place);
    }
}

/// The kind of a number.
pub fn kind(number: u64) -> ObjectKind {
    let kind = ObjectKind::ALL.into_iter().find(|kind| u64::from(kind.number()) == number);
    kind.unwrap_or_else(|| panic!("no kind {number}"))
}

#[test]
fn sealed_objects() {
    for case in cases("sealing.txt") {
        let generation = u32::try_from(case.number("generation")).expect("32 bits");
        let keys = Given { generation, master: case.fixed("master"), ..Given::default() }.keys();
        let kind = kind(case.number("kind"));
        let repository = RepositoryId(case.fixed("repository"));
        let name = Some(case.text("name")).filter(|name| !name.is_empty());
        let subkey = keys.subkey(kind, generation).expect("the generation");
        assert_eq!(*subkey.expose(), case.fixed("subkey"), "{}", case.place);
        let role = match case.number("role") {
            0 => Role::Body,
            1 => Role::Directory,
            _ => Role::Trailer,
        };
        assert_eq!(nonce(case.number("part"), role), case.fixed("nonce"), "{}", case.place);
        let object = case.bytes("object");
        let (header, part) = Header::decode(kind, &object).expect("a header");
        let context = Context { kind, generation: header.generation, repository, name };
        let opened = Opener::from_header(&keys, &context, &header)
            .and_then(|opener| opener.open(case.number("part"), role, part));
        match case.text("rule") {
            "none" => {
                let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", case.place));
                assert_eq!(opened, case.bytes("plaintext"), "{}", case.place);
                let expected = Header {
                    kind,
                    generation,
                    session: SessionId(case.fixed("session")),
                    salt: case.fixed("salt"),
                    commitment: case.fixed("commitment"),
                };
                assert_eq!(header, expected, "{}", case.place);
                let opener = Opener::from_index(&keys, &context, expected.session, expected.salt);
                let part = &object[expected.encode().len()..];
                opener.and_then(|opener| opener.open(case.number("part"), role, part)).expect("opens");
            }
            rule => {
                let error = opened.expect_err(&case.place);
                assert!(
                    error.to_string().contains(&format!("format rule {rule})")),
                    "{}: {error}",
                    case.place
                );
            }
        }
    }
}

fn credential(case: &Case) -> Credential {
    match case.optional("password") {
        Some(_) => Credential::Password(case.bytes("password").into()),
        None => Credential::KeyFile(Secret::new(case.fixed("key-file"))),
    }
}

#[test]
fn key_slots() {
    for case in cases("slot.txt") {
        let bytes = case.bytes("slot");
        let is_named = slot_name(&bytes) == SlotName(case.fixed("name"));
        assert_eq!(is_named, case.text("rule") != "SLOT-8", "{}", case.place);
        let slot = Slot::decode(&bytes).expect("a good slot");
        assert_eq!(slot.encode(), bytes, "{}", case.place);
        let opened = open_slot(&slot, &credential(&case), &RepositoryId(case.fixed("repository")));
        match case.text("rule") {
            "none" | "SLOT-8" => {
                let keys = Keys::from_bundle(&case.bytes("bundle")).expect("a good bundle");
                let opened = opened.expect("tried").expect("the credential of the slot");
                assert_eq!(opened.keys, keys, "{}", case.place);
            }
            "wrong" => assert!(opened.expect("tried").is_none(), "{}", case.place),
            rule => {
                let error = opened.expect_err(&case.place);
                assert!(
                    error.to_string().contains(&format!("format rule {rule})")),
                    "{}: {error}",
                    case.place
                );
            }
        }
    }
}

#[test]
fn configs() {
    for case in cases("config.txt") {
        let generation = u32::try_from(case.number("generation")).expect("32 bits");
        let keys = Given { generation, master: case.fixed("master"), ..Given::default() }.keys();
        let object = case.bytes("object");
        let (covered, code) = Config::split(&object).expect("long enough");
        let expected = keys.config_code(generation, case.text("name"), covered).expect("the generation");
        if case.text("rule") == "CFG-2" {
            assert_ne!(*code, expected, "{}", case.place);
            continue;
        }
        assert_eq!(*code, expected, "{}", case.place);
        let config = Config::decode(covered).expect("a good config");
        assert_eq!(config.generation, generation, "{}", case.place);
        assert_eq!(config.encode(), covered, "{}", case.place);
        let number = names::parse_config(case.text("name")).expect("the name of a config");
        assert_eq!(config.previous.is_none(), number == 1, "{}", case.place);
    }
}
