//! Targets: everything that is one CBOR map, and CBOR itself.
//!
//! What must hold: see `canonical`; of plain CBOR, reading and writing are one another's inverse, item by item.

use packstone::base::limits::CHUNK_BYTES_MAX;
use packstone::format::cbor::{Reader, Writer};
use packstone::format::collection::{Condemned, Verdict};
use packstone::format::config::Config;
use packstone::format::list::ListPage;
use packstone::format::node::{Node, check_name};
use packstone::format::page::{Page, bundle_places, encode_inner, encode_leaf};
use packstone::format::sealing::HEAD_BYTES;
use packstone::format::session::{SessionBeat, SessionStart};
use packstone::format::slot::{Bundle, Slot};
use packstone::format::snapshot::{Commit, Statistics};
use packstone::format::tombstone::Tombstone;
use packstone::format::{DecodeError, Decoded};

use super::canonical::{Unknown, assert_refusal, check, map_of, pairs, rewritten};

/// No item.
const EMPTY_ARRAY: &[u8] = &[0x80];
/// No pair.
const EMPTY_MAP: &[u8] = &[0xa0];
/// Keys of statistics that this version knows.
const STATISTICS: u64 = 11;

/// Items of any shape.
pub fn cbor(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.item() {
        Ok(item) => {
            assert!(!item.is_empty() && data.starts_with(item));
            assert_eq!(item.len() + reader.rest().len(), data.len());
            let mut again = Reader::new(item);
            let mut writer = Writer::new();
            copy(&mut again, &mut writer);
            assert_eq!(writer.into_bytes(), item, "another encoding");
            for length in 0..item.len().min(64) {
                let shorter = item.get(..length).unwrap_or_default();
                assert!(Reader::new(shorter).item().is_err(), "cut to {length} bytes");
            }
        }
        Err(error) => assert_refusal(&error),
    }
    let mut reader = Reader::new(data);
    if let Ok(time) = reader.time() {
        assert!(time.nanoseconds < 1_000_000_000);
        assert_written(data, &reader, |writer| {
            writer.time(time);
        });
    }
    let mut reader = Reader::new(data);
    if let Ok(texts) = reader.texts() {
        assert_written(data, &reader, |writer| {
            writer.texts(&texts);
        });
    }
    let mut reader = Reader::new(data);
    if let Ok(number) = reader.narrow::<u16>() {
        assert_written(data, &reader, |writer| {
            writer.unsigned(number);
        });
    }
    let mut reader = Reader::new(data);
    if let Ok(bytes) = reader.fixed::<16>() {
        assert_written(data, &reader, |writer| {
            writer.bytes(&bytes);
        });
    }
}

fn assert_written(data: &[u8], reader: &Reader<'_>, write: impl FnOnce(&mut Writer)) {
    let mut writer = Writer::new();
    write(&mut writer);
    assert_eq!([writer.into_bytes().as_slice(), reader.rest()].concat(), data, "another encoding");
}

/// Reads an item by its type and writes it anew.
fn copy(reader: &mut Reader<'_>, writer: &mut Writer) {
    match reader.rest().first().map(|first| first >> 5) {
        Some(0) => drop(writer.unsigned(reader.unsigned().expect("an unsigned integer"))),
        Some(1) => {
            let whole = reader.clone().item().expect("an integer");
            match reader.signed() {
                Ok(number) => drop(writer.signed(number)),
                // Below what 64 bits hold with a sign; passed over as a whole.
                Err(error) => {
                    assert_eq!(error.rule, "CBOR-6");
                    writer.raw(whole);
                }
            }
        }
        Some(2) => drop(writer.bytes(reader.bytes().expect("a byte string"))),
        Some(3) => drop(writer.text(reader.text().expect("a text"))),
        Some(4) => {
            let items = reader.array().expect("an array");
            writer.array(items);
            (0..items).for_each(|_| copy(reader, writer));
        }
        Some(5) => {
            writer.map(pairs(reader.clone().item().expect("a map")).len());
            let mut keys = reader.map().expect("a map");
            while let Some(key) = keys.next(reader).expect("a key") {
                writer.unsigned(key);
                copy(reader, writer);
            }
        }
        Some(7) => drop(writer.boolean(reader.boolean().expect("true or false"))),
        other => panic!("an item of major type {other:?}"),
    }
}

/// The config object, its code included.
pub fn config(data: &[u8]) {
    let Ok((covered, code)) = Config::split(data) else { return };
    assert_eq!([covered, code.as_slice()].concat(), data);
    let expected = |covered: &[u8]| {
        let (head, map) = covered.split_at(HEAD_BYTES);
        let empty = [(7, EMPTY_ARRAY), (8, EMPTY_ARRAY), (9, EMPTY_ARRAY)];
        [head, &rewritten(map, Unknown::Kept, &empty)].concat()
    };
    let Some(config) = check(covered, Config::decode, Config::encode, expected) else { return };
    config.parameters.check().expect("what was decoded is in its ranges");
    assert!(config.features.required.is_empty());
    assert!(config.parameters.chunking.max_bytes() <= CHUNK_BYTES_MAX);
}

/// A key slot.
pub fn slot(data: &[u8]) {
    let expected = |bytes: &[u8]| {
        let (head, map) = bytes.split_at(HEAD_BYTES);
        [head, &rewritten(map, Unknown::Dropped, &[])].concat()
    };
    check(data, Slot::decode, Slot::encode, expected);
}

/// What a key slot seals.
pub fn bundle(data: &[u8]) {
    match Bundle::decode(data) {
        Ok(bundle) => {
            let encoded = bundle.encode();
            assert_eq!(encoded, rewritten(data, Unknown::Kept, &[]));
            assert!(!bundle.masters.is_empty() && bundle.masters.is_sorted_by(|a, b| a.0 < b.0));
            let keys = packstone::crypto::Keys::of_bundle(&bundle);
            assert_eq!(*keys.to_bundle(bundle.label, bundle.created), encoded);
        }
        Err(error) => assert_refusal(&error),
    }
}

fn one_node(bytes: &[u8]) -> Decoded<Node> {
    let mut reader = Reader::new(bytes);
    let node = Node::decode(&mut reader)?;
    reader.end()?;
    Ok(node)
}

/// One entry of a directory.
pub fn node(data: &[u8]) {
    if let Some(node) = check(data, one_node, Node::encode, <[u8]>::to_vec) {
        check_node(&node);
    }
}

fn check_node(node: &Node) {
    check_name(&node.name).expect("one component");
    assert!(node.xattrs.is_sorted_by(|a, b| a.name < b.name));
    if let packstone::format::node::NodeKind::Regular(regular) = &node.kind {
        assert!(regular.content_bytes() <= regular.size, "{regular:?}");
    }
}

/// A tree page.
pub fn page(data: &[u8]) {
    let encode = |page: &Page| match page {
        Page::Leaf { nodes, bundles } => encode_leaf(&nodes.iter().collect(), bundles),
        Page::Inner { level, children } => encode_inner(*level, &children.iter().collect()),
    };
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    let Some(page) = check(data, Page::decode, encode, expected) else { return };
    if let Page::Leaf { nodes, bundles } = &page {
        nodes.iter().for_each(check_node);
        assert!(nodes.is_sorted_by(|a, b| a.name < b.name));
        let (mut next_bundle, mut end) = (0, 0);
        for (node, place) in nodes.iter().zip(bundle_places(nodes)) {
            let Some((bundle, offset)) = place else { continue };
            let size = node.size();
            if bundle == next_bundle {
                (next_bundle, end) = (bundle + 1, 0);
            }
            assert_eq!((bundle + 1, offset), (next_bundle, end), "bundles are used in order");
            end = offset + size;
            assert!(size > 0 && end <= u64::from(CHUNK_BYTES_MAX));
        }
        assert_eq!(usize::try_from(next_bundle).expect("a number"), bundles.len());
    }
}

/// A list page, of the level that the first byte says.
pub fn list(data: &[u8]) {
    let Some((level, bytes)) = data.split_first() else { return };
    let content_bytes = list_sum(bytes).unwrap_or_default();
    let decode = |bytes: &[u8]| ListPage::decode(bytes, *level, content_bytes);
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    if let Some(page) = check(bytes, decode, ListPage::encode, expected) {
        assert!(page.entries.iter().all(|entry| entry.length > 0));
        for other in [content_bytes - 1, content_bytes.wrapping_add(1)] {
            assert!(ListPage::decode(bytes, *level, other).is_err(), "of other content");
        }
        assert!(ListPage::decode(bytes, level.wrapping_add(1), content_bytes).is_err(), "of another level");
    }
}

/// The sum of lengths in a list page, by plain reading.
fn list_sum(bytes: &[u8]) -> Decoded<u64> {
    let mut reader = Reader::new(bytes);
    let mut keys = reader.map()?;
    while let Some(key) = keys.next(&mut reader)? {
        if key != 2 {
            reader.item()?;
            continue;
        }
        let mut sum = 0_u64;
        for _ in 0..reader.array()? / 2 {
            reader.item()?;
            let length = reader.unsigned()?;
            sum = sum.checked_add(length).ok_or_else(|| DecodeError::new("LIST-4", "too much"))?;
        }
        return Ok(sum);
    }
    Ok(0)
}

/// A commit key: a snapshot or an end.
pub fn commit(data: &[u8]) {
    let expected = |bytes: &[u8]| {
        let is_end = pairs(bytes).get(&0).is_some_and(|kind| kind.as_slice() == [2]);
        if is_end {
            return rewritten(bytes, Unknown::Dropped, &[]);
        }
        let always =
            [(6, EMPTY_ARRAY), (8, EMPTY_ARRAY), (9, EMPTY_ARRAY), (17, EMPTY_ARRAY), (22, EMPTY_MAP)];
        let mut expected = pairs(&rewritten(bytes, Unknown::Kept, &always));
        if let Some(statistics) = expected.get_mut(&22) {
            let mut known = pairs(statistics);
            known.retain(|key, _| *key < STATISTICS);
            *statistics = map_of(known);
        }
        map_of(expected)
    };
    if let Some(Commit::Snapshot(snapshot)) = check(data, Commit::decode, Commit::encode, expected) {
        let Statistics(numbers) = &snapshot.statistics;
        assert!(numbers.len() as u64 <= STATISTICS);
        assert!(
            snapshot.file_count()
                <= snapshot.sources.iter().fold(0, |sum, source| source.nodes.saturating_add(sum))
        );
    }
}

/// The beginning of a session.
pub fn start(data: &[u8]) {
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    check(data, SessionStart::decode, SessionStart::encode, expected);
}

/// A sign of life of a session.
pub fn beat(data: &[u8]) {
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    check(data, SessionBeat::decode, SessionBeat::encode, expected);
}

/// A forgotten snapshot.
pub fn tombstone(data: &[u8]) {
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    check(data, Tombstone::decode, Tombstone::encode, expected);
}

/// Packs that are about to go.
pub fn condemned(data: &[u8]) {
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    check(data, Condemned::decode, Condemned::encode, expected);
}

/// Packs that go.
pub fn verdict(data: &[u8]) {
    let expected = |bytes: &[u8]| rewritten(bytes, Unknown::Dropped, &[]);
    check(data, Verdict::decode, Verdict::encode, expected);
}
