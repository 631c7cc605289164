//! Targets: what is stored in fields of fixed width, and names.
//!
//! What must hold: the parts of a table fill it to the byte, and a table is encoded again to the bytes that it came from;
//! the lengths that a reader gives with a table are computed here by themselves, and any other length is refused.

use packstone::base::limits::{CHUNK_BYTES_MAX, PACK_BYTES_MAX};
use packstone::base::{ChunkId, ContentName, RepositoryId, SessionId, SlotName};
use packstone::format::index::IndexRun;
use packstone::format::names::{self, Phase, SessionRecord};
use packstone::format::pack::{Directory, TAIL_BYTES, directory_place, trailer_offset};
use packstone::format::padding::padded;
use packstone::format::sealing::{HEADER_BYTES, Header, ObjectKind, TAG_BYTES};
use packstone::storage::ObjectName;

use super::canonical::{assert_refusal, check};
use super::input::Input;

/// The head and header of any object: of one kind, and of no other.
pub fn header(data: &[u8]) {
    let mut taken = 0;
    for kind in ObjectKind::ALL {
        match kind.check_head(data) {
            Ok(rest) => {
                assert_eq!([kind.head().as_slice(), rest].concat(), data);
                taken += 1;
            }
            Err(error) => assert_refusal(&error),
        }
        match Header::decode(kind, data) {
            Ok((header, rest)) => {
                assert_eq!([header.encode().as_slice(), rest].concat(), data);
                assert!(kind.check_head(data).is_ok());
            }
            Err(error) => assert_refusal(&error),
        }
    }
    assert!(taken <= 1, "an object of {taken} kinds");
}

fn number_at(bytes: &[u8], position: usize) -> Option<u64> {
    let field: &[u8; 4] = bytes.get(position..)?.first_chunk()?;
    Some(u64::from(u32::from_le_bytes(*field)))
}

/// The size of the pack to which a directory belongs, by plain reading.
fn pack_bytes(directory: &[u8]) -> Option<u64> {
    let segments = usize::try_from(number_at(directory, 0)?).ok()?;
    let fixed = HEADER_BYTES + directory.len() + TAG_BYTES + TAIL_BYTES;
    let sum = fixed as u64 + number_at(directory, 8)?;
    (0..segments).try_fold(sum, |sum, segment| {
        let row = segment.checked_mul(16)?.checked_add(16)?;
        Some(sum + number_at(directory, row + 4)?)
    })
}

/// The directory of a pack.
pub fn directory(data: &[u8]) {
    let Some(pack_bytes) = pack_bytes(data) else {
        assert!(Directory::decode(data, 0).is_err());
        return;
    };
    let decode = |bytes: &[u8]| Directory::decode(bytes, pack_bytes);
    let Some(directory) = check(data, decode, Directory::encode, <[u8]>::to_vec) else { return };
    assert_eq!(directory.pack_bytes(), pack_bytes);
    assert_eq!(directory.encoded_bytes(), data.len());
    for other in [pack_bytes - 1, pack_bytes + 1] {
        assert_eq!(Directory::decode(data, other).expect_err("of another pack").rule, "PACK-6");
    }
    let raw: u64 = directory.segments.iter().map(|segment| u64::from(segment.raw_bytes)).sum();
    let chunks: u64 = directory.chunks.iter().map(|chunk| u64::from(chunk.raw_bytes)).sum();
    assert_eq!(raw, chunks, "chunks fill their segments");
    assert!(directory.chunks.is_sorted_by(|a, b| a.segment <= b.segment));
}

/// The end of a pack of the size that the first eight bytes say.
pub fn pack_end(data: &[u8]) {
    let mut input = Input::new(data);
    let pack_bytes = input.number(8);
    match trailer_offset(pack_bytes, input.rest()) {
        Ok(offset) => {
            assert!(pack_bytes <= PACK_BYTES_MAX);
            assert_eq!(offset + TAIL_BYTES as u64, pack_bytes);
        }
        Err(error) => assert_refusal(&error),
    }
    match directory_place(input.rest(), pack_bytes) {
        Ok((offset, stored)) => {
            assert!(offset >= HEADER_BYTES as u64 && stored >= TAG_BYTES as u64);
            assert_eq!(offset + stored + TAIL_BYTES as u64, pack_bytes);
        }
        Err(error) => assert_refusal(&error),
    }
}

/// An index run, padded or as it would be padded.
pub fn index(data: &[u8]) {
    let mut body = data.to_vec();
    index_body(&body);
    if let Ok(length) = usize::try_from(padded(data.len() as u64))
        && length > data.len()
    {
        body.resize(length, 0);
        index_body(&body);
    }
}

fn index_body(body: &[u8]) {
    let run = match IndexRun::decode(body) {
        Ok(run) => run,
        Err(error) => return assert_refusal(&error),
    };
    let mut encoded = run.encode();
    assert!(encoded.len() <= body.len());
    assert_eq!(padded(encoded.len() as u64), body.len() as u64);
    encoded.resize(body.len(), 0);
    assert_eq!(encoded, body, "another encoding");
    assert!(run.packs.is_sorted_by(|a, b| a.name < b.name));
    assert!(run.entries.is_sorted_by(|a, b| (a.id, a.pack) < (b.id, b.pack)));
    for pack in &run.packs {
        let mut end = HEADER_BYTES as u64;
        for segment in &pack.segments {
            assert_eq!(u64::from(segment.offset), end);
            end += u64::from(segment.stored_bytes);
        }
        assert!(pack.size_bytes <= PACK_BYTES_MAX && (pack.segments.is_empty() || end <= pack.size_bytes));
    }
    for entry in &run.entries {
        let position = |number: u32| usize::try_from(number).expect("a position");
        let pack = run.packs.get(position(entry.pack)).expect("its pack");
        let segment = pack.segments.get(position(entry.segment)).expect("its segment");
        assert!(u64::from(entry.offset) + u64::from(entry.length) <= u64::from(segment.raw_bytes));
        assert!(entry.length <= CHUNK_BYTES_MAX);
    }
}

/// Names of objects, and names in hexadecimal digits: what is read as one is written as it was read.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = text.as_ref();
    let written = [
        names::parse_config(text).map(names::config),
        names::parse_slot(text).map(|name| names::slot(&name)),
        names::parse_pack(text).map(|name| names::pack(&name)),
        names::parse_index(text).map(|name| names::index(&name)),
        names::parse_session(text).map(|(session, record)| match record {
            SessionRecord::Start => names::session_start(&session),
            SessionRecord::Beat(number) => names::session_beat(&session, number),
        }),
        names::parse_commit(text).map(|session| names::commit(&session)),
        names::parse_tombstone(text).map(|session| names::tombstone(&session)),
        names::parse_collection(text).map(|(number, phase)| match phase {
            Phase::Condemned => names::condemned(number),
            Phase::Verdict => names::verdict(number),
        }),
    ];
    let written: Vec<String> = written.into_iter().flatten().collect();
    assert!(written.len() <= 1, "{written:?}");
    let object = ObjectName::parse(text);
    for name in &written {
        assert_eq!(name, text);
        assert!(object.is_some(), "{text} is no name of an object");
    }
    if let Some(object) = object {
        assert_eq!(object.as_str(), text);
        assert!(text.starts_with(object.folder()) && !text.contains('.') && !text.contains("//"));
    }
    let hexadecimal = [
        ChunkId::from_hex(text).map(|id| id.to_string()),
        ContentName::from_hex(text).map(|id| id.to_string()),
        SessionId::from_hex(text).map(|id| id.to_string()),
        RepositoryId::from_hex(text).map(|id| id.to_string()),
        SlotName::from_hex(text).map(|id| id.to_string()),
    ];
    hexadecimal.into_iter().flatten().for_each(|written| assert_eq!(written, text));
}
