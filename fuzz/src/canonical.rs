//! What every decoder owes to whoever reads with it.
//!
//! What must hold: a value has one encoding, so that what was decoded is encoded again to the bytes that it came from;
//! where a decoder may pass over pairs or take absent ones for empty, the expected bytes are made here, from the pairs of
//! the input, and not by the decoder's own encoder.

use std::collections::BTreeMap;
use std::fmt::Debug;

use packstone::format::cbor::{FIRST_IGNORABLE_KEY, MapWriter, Reader};
use packstone::format::{DecodeError, Decoded};

/// Refusals name a rule and say what was found.
pub fn assert_refusal(error: &DecodeError) {
    let (chapter, number) = error.rule.split_once('-').expect("a rule has a number");
    assert!(chapter.bytes().all(|byte| byte.is_ascii_uppercase()), "{error}");
    assert!(number.parse::<u32>().is_ok_and(|number| number > 0), "{error}");
    assert!(!error.reason.is_empty(), "{error}");
}

/// Decodes. Of what can be decoded, the encoding is `expected`, it is decoded to the same value, and with one byte more
/// or with less it is refused.
pub fn check<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Decoded<T>,
    encode: impl Fn(&T) -> Vec<u8>,
    expected: impl Fn(&[u8]) -> Vec<u8>,
) -> Option<T> {
    let value = match decode(bytes) {
        Ok(value) => value,
        Err(error) => {
            assert_refusal(&error);
            return None;
        }
    };
    let encoded = encode(&value);
    assert_eq!(encoded, expected(bytes), "another encoding");
    assert_eq!(decode(&encoded).expect("what was encoded is decoded"), value, "another value");
    for length in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let shorter = bytes.get(..length).filter(|shorter| shorter.len() < bytes.len());
        shorter.into_iter().for_each(|shorter| assert!(decode(shorter).is_err(), "cut to {length} bytes"));
    }
    assert!(decode(&[bytes, &[0]].concat()).is_err(), "a byte too many");
    Some(value)
}

/// What a decoder does with pairs that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They stay.
    Kept,
    /// They go.
    Dropped,
}

/// Pairs of a map by their keys.
pub type Pairs = BTreeMap<u64, Vec<u8>>;

/// The pairs of a map that a decoder took.
pub fn pairs(map: &[u8]) -> Pairs {
    let mut reader = Reader::new(map);
    let mut keys = reader.map().expect("a map");
    let mut pairs = Pairs::new();
    while let Some(key) = keys.next(&mut reader).expect("a key") {
        pairs.insert(key, reader.item().expect("a value").to_vec());
    }
    pairs
}

/// The map of these pairs.
pub fn map_of(pairs: Pairs) -> Vec<u8> {
    let mut map = MapWriter::new();
    map.kept(&pairs.into_iter().collect::<Vec<_>>());
    map.into_bytes()
}

/// A map as a rewrite leaves it: without unknown pairs unless they are kept, with the pairs that are always written.
pub fn rewritten(map: &[u8], unknown: Unknown, always: &[(u64, &[u8])]) -> Vec<u8> {
    let mut pairs = pairs(map);
    pairs.retain(|key, _| *key < FIRST_IGNORABLE_KEY || unknown == Unknown::Kept);
    for (key, empty) in always {
        pairs.entry(*key).or_insert_with(|| empty.to_vec());
    }
    map_of(pairs)
}
