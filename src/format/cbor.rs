//! CBOR as format-spec chapter 1 restricts it: RFC 8949 core deterministic encoding, maps with unsigned integer keys.
//!
//! What must hold: one value has one encoding. The reader refuses longer heads than needed, indefinite lengths, keys
//! out of order or twice, and lengths that the input cannot hold, before it takes memory for them.

use crate::base::Timestamp;
use crate::base::limits::CBOR_DEPTH_MAX;
use crate::format::{DecodeError, Decoded, require};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;

/// Keys below this number change the meaning of what they stand in; a reader that does not know one refuses. Keys from
/// here on are kept as they are.
pub const FIRST_IGNORABLE_KEY: u64 = 64;

/// Appends items to a buffer. The caller writes map keys in ascending order.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer that need not grow up to this length.
    pub fn with_capacity(length: usize) -> Self {
        Self { buffer: Vec::with_capacity(length) }
    }

    /// The bytes written so far.
    pub fn written(&self) -> &[u8] {
        &self.buffer
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        if let Ok(byte) = u8::try_from(argument) {
            match byte {
                0..=23 => self.buffer.push(major | byte),
                _ => self.buffer.extend_from_slice(&[major | 24, byte]),
            }
        } else if let Ok(short) = u16::try_from(argument) {
            self.buffer.push(major | 25);
            self.buffer.extend_from_slice(&short.to_be_bytes());
        } else if let Ok(word) = u32::try_from(argument) {
            self.buffer.push(major | 26);
            self.buffer.extend_from_slice(&word.to_be_bytes());
        } else {
            self.buffer.push(major | 27);
            self.buffer.extend_from_slice(&argument.to_be_bytes());
        }
    }

    /// An unsigned integer; also a map key.
    pub fn unsigned(&mut self, value: impl Into<u64>) -> &mut Self {
        self.head(UNSIGNED, value.into());
        self
    }

    /// A signed integer.
    pub fn signed(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, !value.cast_unsigned()),
        }
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.buffer.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.buffer.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of an array of so many items.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, items as u64);
        self
    }

    /// The head of a map of so many pairs.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(MAP, pairs as u64);
        self
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.head(SIMPLE, if value { TRUE } else { FALSE });
        self
    }

    /// Seconds and nanoseconds as an array of two.
    pub fn time(&mut self, value: Timestamp) -> &mut Self {
        self.array(2).signed(value.seconds).unsigned(value.nanoseconds)
    }

    /// An array of texts.
    pub fn texts(&mut self, values: &[String]) -> &mut Self {
        self.array(values.len());
        for value in values {
            self.text(value);
        }
        self
    }

    /// Items that are encoded already.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(encoded);
        self
    }
}

/// Writes a map whose optional pairs are only counted when they are there.
#[derive(Debug)]
pub struct MapWriter {
    pairs: usize,
    /// Where the map begins; one byte is left for its head, which is enough for nearly all.
    start: usize,
    whole: Writer,
}

impl Default for MapWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl MapWriter {
    /// An empty map.
    pub fn new() -> Self {
        Self::behind(Writer::new())
    }

    /// An empty map behind what is written already.
    pub fn behind(mut whole: Writer) -> Self {
        let start = whole.buffer.len();
        whole.buffer.push(MAP << 5);
        Self { pairs: 0, start, whole }
    }

    /// The writer for the value of the next key; keys come in ascending order.
    pub fn key(&mut self, key: u64) -> &mut Writer {
        self.pairs += 1;
        self.whole.unsigned(key)
    }

    /// Pairs that were kept from a reader, in their order.
    pub fn kept(&mut self, pairs: &[KeptPair]) {
        for (key, value) in pairs {
            self.key(*key).raw(value);
        }
    }

    /// What was written before, and the complete map.
    pub fn into_writer(mut self) -> Writer {
        let mut head = Writer::new();
        match (u8::try_from(self.pairs), self.whole.buffer.get_mut(self.start)) {
            (Ok(pairs @ 0..=23), Some(byte)) => *byte = MAP << 5 | pairs,
            _ => {
                head.map(self.pairs);
                self.whole.buffer.splice(self.start..=self.start, head.buffer);
            }
        }
        self.whole
    }

    /// The complete map, and what was written before.
    pub fn into_bytes(self) -> Vec<u8> {
        self.into_writer().into_bytes()
    }
}

/// A pair with an ignorable key: the key and its encoded value.
pub type KeptPair = (u64, Vec<u8>);

/// Takes items from the front of its input.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses if anything is left.
    pub fn end(&self) -> Decoded<()> {
        require(self.rest.is_empty(), "CBOR-1", || format!("{} bytes after the end", self.rest.len()))
    }

    fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(DecodeError::new("CBOR-2", "ends too early")),
        }
    }

    fn head(&mut self) -> Decoded<(u8, u64)> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let (major, low) = (first >> 5, first & 31);
        let width = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24..=27 => 1_usize << (low - 24),
            _ => return Err(DecodeError::new("CBOR-3", "an indefinite or reserved length")),
        };
        let argument = self.take(width)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let smallest = match width {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1_u64 << 32,
        };
        require(argument >= smallest, "CBOR-4", || "a longer head than needed".into())?;
        Ok((major, argument))
    }

    fn expect(&mut self, wanted: u8, what: &str) -> Decoded<u64> {
        let (major, argument) = self.head()?;
        require(major == wanted, "CBOR-5", || format!("major type {major} where {what} must stand"))?;
        Ok(argument)
    }

    /// An unsigned integer.
    pub fn unsigned(&mut self) -> Decoded<u64> {
        self.expect(UNSIGNED, "an unsigned integer")
    }

    /// An unsigned integer that fits a narrower type.
    pub fn narrow<T: TryFrom<u64>>(&mut self) -> Decoded<T> {
        let value = self.unsigned()?;
        T::try_from(value).map_err(|_| DecodeError::new("CBOR-6", format!("{value} is too large")))
    }

    /// A signed integer.
    pub fn signed(&mut self) -> Decoded<i64> {
        let (major, argument) = self.head()?;
        let too_large = || DecodeError::new("CBOR-6", "an integer beyond 64 bits");
        let value = i64::try_from(argument).map_err(|_| too_large())?;
        match major {
            UNSIGNED => Ok(value),
            NEGATIVE => Ok(!value),
            _ => Err(DecodeError::new("CBOR-5", format!("major type {major} where an integer must stand"))),
        }
    }

    fn length(&mut self, major: u8, what: &str) -> Decoded<usize> {
        let length = self.expect(major, what)?;
        // An item has at least one byte, so that a count above the rest cannot be true.
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(length),
            _ => Err(DecodeError::new("CBOR-2", format!("{what} of {length} in {} bytes", self.rest.len()))),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let length = self.length(BYTES, "a byte string")?;
        self.take(length)
    }

    /// A byte string of exactly so many bytes.
    pub fn fixed<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let bytes = self.bytes()?;
        bytes
            .try_into()
            .map_err(|_| DecodeError::new("CBOR-7", format!("{} bytes where {N} must stand", bytes.len())))
    }

    /// A text string.
    pub fn text(&mut self) -> Decoded<&'a str> {
        let length = self.length(TEXT, "a text")?;
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| DecodeError::new("CBOR-8", "text that is not UTF-8"))
    }

    /// The number of items of an array.
    pub fn array(&mut self) -> Decoded<usize> {
        self.length(ARRAY, "an array")
    }

    /// An array of exactly so many items.
    pub fn array_of(&mut self, items: usize) -> Decoded<()> {
        let found = self.array()?;
        require(found == items, "CBOR-7", || format!("{found} items where {items} must stand"))
    }

    /// True or false.
    pub fn boolean(&mut self) -> Decoded<bool> {
        match self.expect(SIMPLE, "true or false")? {
            FALSE => Ok(false),
            TRUE => Ok(true),
            other => Err(DecodeError::new(
                "CBOR-5",
                format!("simple value {other} where true or false must stand"),
            )),
        }
    }

    /// Seconds and nanoseconds.
    pub fn time(&mut self) -> Decoded<Timestamp> {
        self.array_of(2)?;
        let time = Timestamp { seconds: self.signed()?, nanoseconds: self.narrow()? };
        require(time.nanoseconds < 1_000_000_000, "CBOR-9", || "a second of nanoseconds or more".into())?;
        Ok(time)
    }

    /// An array of texts.
    pub fn texts(&mut self) -> Decoded<Vec<String>> {
        let count = self.array()?;
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    /// The pairs of a map.
    pub fn map(&mut self) -> Decoded<MapReader> {
        let pairs = self.length(MAP, "a map")?;
        Ok(MapReader { pairs, last: None })
    }

    /// Passes over one item of any shape and gives its bytes.
    pub fn item(&mut self) -> Decoded<&'a [u8]> {
        let before = self.rest;
        self.pass_over(CBOR_DEPTH_MAX)?;
        let length = before.len() - self.rest.len();
        before.get(..length).ok_or_else(|| DecodeError::new("CBOR-2", "ends too early"))
    }

    fn pass_over(&mut self, depth: usize) -> Decoded<()> {
        let deeper = || depth.checked_sub(1).ok_or_else(|| DecodeError::new("CBOR-10", "nested too deeply"));
        let major = self.rest.first().map_or(UNSIGNED, |first| first >> 5);
        match major {
            BYTES => self.bytes().map(drop),
            TEXT => self.text().map(drop),
            ARRAY => {
                let depth = deeper()?;
                (0..self.array()?).try_for_each(|_| self.pass_over(depth))
            }
            MAP => {
                let depth = deeper()?;
                let mut pairs = self.map()?;
                while pairs.next(self)?.is_some() {
                    self.pass_over(depth)?;
                }
                Ok(())
            }
            SIMPLE => self.boolean().map(drop),
            UNSIGNED | NEGATIVE => self.head().map(drop),
            _ => Err(DecodeError::new("CBOR-5", "a tag")),
        }
    }
}

/// The keys of a map that is being read.
#[derive(Debug)]
pub struct MapReader {
    pairs: usize,
    last: Option<u64>,
}

impl MapReader {
    /// The next key, whose value the caller reads next; `None` at the end of the map.
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Decoded<Option<u64>> {
        let Some(left) = self.pairs.checked_sub(1) else { return Ok(None) };
        self.pairs = left;
        let key = reader.unsigned()?;
        require(self.last.is_none_or(|last| last < key), "CBOR-11", || format!("key {key} out of order"))?;
        self.last = Some(key);
        Ok(Some(key))
    }
}

/// What a decoder does with a key that it does not know: keeps an ignorable one, refuses a critical one.
pub fn keep_unknown(key: u64, reader: &mut Reader<'_>, kept: &mut Vec<KeptPair>) -> Decoded<()> {
    require(key >= FIRST_IGNORABLE_KEY, "CBOR-12", || format!("unknown critical key {key}"))?;
    kept.push((key, reader.item()?.to_vec()));
    Ok(())
}

/// The value of a field that must be there.
pub fn needed<T>(value: Option<T>, what: &str) -> Decoded<T> {
    value.ok_or_else(|| DecodeError::new("CBOR-13", format!("{what} is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule<T: std::fmt::Debug>(result: Decoded<T>) -> &'static str {
        result.expect_err("must be refused").rule
    }

    #[test]
    fn a_map_of_any_length_stands_behind_what_was_written() {
        for pairs in [0, 1, 23, 24, 255, 256, 1000] {
            let mut before = Writer::new();
            before.text("before");
            let length = before.written().len();
            let mut map = MapWriter::behind(before);
            for key in 0..pairs {
                map.key(key).unsigned(key);
            }
            let written = map.into_bytes();
            let mut expected = Writer::new();
            expected.text("before").map(usize::try_from(pairs).unwrap());
            for key in 0..pairs {
                expected.unsigned(key).unsigned(key);
            }
            assert_eq!(written, expected.written());
            let mut reader = Reader::new(&written[length..]);
            let mut map = reader.map().unwrap();
            let mut read = 0;
            while let Some(key) = map.next(&mut reader).unwrap() {
                assert_eq!((key, reader.unsigned().unwrap()), (read, read));
                read += 1;
            }
            assert_eq!((read, reader.rest()), (pairs, &[][..]));
        }
    }

    #[test]
    fn integers_are_written_as_rfc_8949_appendix_a_has_them() {
        let vectors: [(i64, &[u8]); 12] = [
            (0, &[0x00]),
            (23, &[0x17]),
            (24, &[0x18, 0x18]),
            (100, &[0x18, 0x64]),
            (1000, &[0x19, 0x03, 0xe8]),
            (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (1_000_000_000_000, &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00]),
            (-1, &[0x20]),
            (-10, &[0x29]),
            (-100, &[0x38, 0x63]),
            (-1000, &[0x39, 0x03, 0xe7]),
            (i64::MIN, &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (value, bytes) in vectors {
            let mut writer = Writer::new();
            writer.signed(value);
            assert_eq!(writer.into_bytes(), bytes, "{value}");
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.signed(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        assert_eq!(rule(Reader::new(&[0]).end()), "CBOR-1");
        assert_eq!(rule(Reader::new(&[]).unsigned()), "CBOR-2");
        assert_eq!(rule(Reader::new(&[0x45, 1, 2]).bytes()), "CBOR-2");
        assert_eq!(rule(Reader::new(&[0x9a, 0xff, 0xff, 0xff, 0xff, 0]).array()), "CBOR-2");
        assert_eq!(rule(Reader::new(&[0x5f, 0xff]).bytes()), "CBOR-3");
        assert_eq!(rule(Reader::new(&[0x18, 23]).unsigned()), "CBOR-4");
        assert_eq!(rule(Reader::new(&[0x19, 0, 255]).unsigned()), "CBOR-4");
        assert_eq!(rule(Reader::new(&[0x1a, 0, 0, 255, 255]).unsigned()), "CBOR-4");
        assert_eq!(rule(Reader::new(&[0x1b, 0, 0, 0, 0, 255, 255, 255, 255]).unsigned()), "CBOR-4");
        assert_eq!(rule(Reader::new(&[0x20]).unsigned()), "CBOR-5");
        assert_eq!(rule(Reader::new(&[0xf6]).boolean()), "CBOR-5");
        assert_eq!(rule(Reader::new(&[0xc0, 0]).item()), "CBOR-5");
        assert_eq!(rule(Reader::new(&[0x19, 1, 0]).narrow::<u8>()), "CBOR-6");
        assert_eq!(rule(Reader::new(&[0x42, 0, 0]).fixed::<3>()), "CBOR-7");
        assert_eq!(rule(Reader::new(&[0x62, 0xff, 0xff]).text()), "CBOR-8");
        assert_eq!(rule(Reader::new(&[0x82, 0, 0x1a, 0x3b, 0x9a, 0xca, 0]).time()), "CBOR-9");
        let mut deep = vec![0x81; 40];
        deep.push(0);
        assert_eq!(rule(Reader::new(&deep).item()), "CBOR-10");
        assert_eq!(rule(Reader::new(&[0xa2, 1, 0, 1, 0]).item()), "CBOR-11");
        assert_eq!(rule(Reader::new(&[0xa2, 2, 0, 1, 0]).item()), "CBOR-11");
        assert_eq!(rule(keep_unknown(63, &mut Reader::new(&[0]), &mut Vec::new())), "CBOR-12");
        assert_eq!(rule(needed::<u8>(None, "a thing")), "CBOR-13");
    }

    #[test]
    fn an_ignorable_pair_is_kept_to_the_byte() {
        let mut kept = Vec::new();
        let bytes = [0xa1, 5, 0x82, 1, 0x61, b'x'];
        assert_eq!(keep_unknown(64, &mut Reader::new(&bytes), &mut kept), Ok(()));
        assert_eq!(kept, [(64, bytes.to_vec())]);
        let mut map = MapWriter::new();
        map.key(0).boolean(true);
        map.kept(&kept);
        assert_eq!(map.into_bytes(), [[0xa2, 0, 0xf5, 0x18, 64].as_slice(), &bytes].concat());
    }
}
