//! Walks what mongodump writes to its output, to know whether it is whole.
//!
//! What must hold: it counts as whole only if it begins and ends as mongodump does it, and every collection that it
//! names at its beginning, or that was begun, was ended.
//!
//! The form: four bytes that say what it is, a document about all, one for each collection, a terminator; then, again and again, a
//! document that names a collection and says whether this is its end, that collection's documents, a terminator.

use std::collections::BTreeSet;

use crate::base::{Error, ErrorKind, Result};
use crate::source::program::Completeness;

/// What it begins with.
const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// What stands in place of the length of a document, after the last of a part.
const TERMINATOR: [u8; 4] = [0xff; 4];
/// The longest document that there can be, with room for what a server allows itself.
const DOCUMENT_BYTES_MAX: u32 = 64 << 20;
/// Longest of the documents that are looked into: they hold names, and what a collection's indexes and rules are.
const HEADER_BYTES_MAX: usize = 32 << 20;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Magic,
    Prelude,
    /// The document that says to what the next ones belong.
    Header,
    Documents,
}

/// What is walked through.
pub struct MongoWalk {
    /// For messages.
    program: String,
    part: Part,
    /// The four bytes that are awaited, or the header, as far as it is there.
    held: Vec<u8>,
    /// Bytes of a document that are yet to pass.
    left_bytes: usize,
    /// Collections, by database and name, that are yet to end.
    open: BTreeSet<(String, String)>,
    wrong: Option<&'static str>,
}

impl MongoWalk {
    /// Walks through what this program writes.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            part: Part::Magic,
            held: Vec::new(),
            left_bytes: 0,
            open: BTreeSet::new(),
            wrong: None,
        }
    }

    /// Takes four bytes in a row.
    fn take_word(&mut self, word: [u8; 4]) {
        match self.part {
            Part::Magic if word == MAGIC => self.part = Part::Prelude,
            Part::Magic => self.wrong = Some("it does not begin as mongodump does"),
            Part::Prelude | Part::Documents if word == TERMINATOR => self.part = Part::Header,
            _ => match u32::from_le_bytes(word) {
                length @ 5..=DOCUMENT_BYTES_MAX => {
                    self.left_bytes = usize::try_from(length).unwrap_or(usize::MAX) - word.len();
                    if self.part != Part::Documents {
                        self.held.extend_from_slice(&word);
                    }
                }
                _ => self.wrong = Some("a document has no right length"),
            },
        }
    }

    /// Takes a document that says something of others.
    fn take_header(&mut self) {
        let header = std::mem::take(&mut self.held);
        let Some(header) = Header::read(&header) else {
            self.wrong = Some("it is not said to what documents belong");
            return;
        };
        if self.part == Part::Prelude {
            // The first one is about all. A view has no documents.
            if !header.collection.is_empty() && !header.is_view {
                self.open.insert((header.database, header.collection));
            }
            return;
        }
        self.part = Part::Documents;
        if header.is_end {
            // The documents of a series of times are in a collection beside it.
            let series = header.collection.strip_prefix("system.buckets.").unwrap_or_default().to_owned();
            self.open.remove(&(header.database.clone(), series));
            self.open.remove(&(header.database, header.collection));
        } else {
            self.open.insert((header.database, header.collection));
        }
    }
}

/// To what documents belong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    database: String,
    collection: String,
    is_end: bool,
    is_view: bool,
}

impl Header {
    /// Reads a document of texts, truths and numbers, in which it looks for a few of them.
    fn read(document: &[u8]) -> Option<Self> {
        let mut header = Self::default();
        let mut rest = document.get(4..)?;
        loop {
            let (kind, after) = rest.split_first()?;
            if *kind == 0 {
                return Some(header);
            }
            let name_end = after.iter().position(|byte| *byte == 0)?;
            let (name, after) = (after.get(..name_end)?, after.get(name_end + 1..)?);
            let length = match kind {
                0x02 => 4 + usize::try_from(u32::from_le_bytes(*after.first_chunk()?)).ok()?,
                0x03 | 0x04 => usize::try_from(u32::from_le_bytes(*after.first_chunk()?)).ok()?,
                0x08 => 1,
                0x10 => 4,
                0x01 | 0x09 | 0x11 | 0x12 => 8,
                0x0a => 0,
                _ => return None,
            };
            let value = after.get(..length)?;
            let text = || Some(String::from_utf8_lossy(value.get(4..length.checked_sub(1)?)?).into_owned());
            match (name, kind) {
                (b"db", 0x02) => header.database = text()?,
                (b"collection", 0x02) => header.collection = text()?,
                (b"type", 0x02) => header.is_view |= text()? == "view",
                // Older ones say it only there.
                (b"metadata", 0x02) => header.is_view |= text()?.contains("\"viewOn\""),
                (b"EOF", 0x08) => header.is_end = value == [1],
                _ => {}
            }
            rest = after.get(length..)?;
        }
    }
}

impl Completeness for MongoWalk {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.wrong.is_none() {
            if self.left_bytes > 0 {
                let (passed, rest) = bytes.split_at(self.left_bytes.min(bytes.len()));
                self.left_bytes -= passed.len();
                bytes = rest;
                if self.part != Part::Documents {
                    self.held.extend_from_slice(passed);
                    if self.held.len() > HEADER_BYTES_MAX {
                        self.wrong = Some("it is not said to what documents belong");
                    } else if self.left_bytes == 0 {
                        self.take_header();
                    }
                }
                continue;
            }
            let (taken, rest) = bytes.split_at((4 - self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(taken);
            bytes = rest;
            if let Some(word) = self.held.first_chunk().copied() {
                self.held.clear();
                self.take_word(word);
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let problem = if let Some(wrong) = self.wrong {
            format!("is damaged: {wrong}")
        } else if self.part != Part::Header || self.left_bytes > 0 || !self.held.is_empty() {
            "breaks off: it does not end with a terminator".to_owned()
        } else if let Some((database, collection)) = self.open.first() {
            format!("breaks off: the collection {database}.{collection} does not end")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Failed, format!("the output of {} {problem}", self.program)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(length: usize) -> [u8; 4] {
        u32::try_from(length).expect("short").to_le_bytes()
    }

    fn document(fields: &[(&str, &str)], is_end: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, text) in fields {
            bytes.extend([&[0x02][..], name.as_bytes(), &[0]].concat());
            bytes.extend(length(text.len() + 1));
            bytes.extend([text.as_bytes(), &[0]].concat());
        }
        bytes.extend([&[0x08][..], b"EOF\0", &[u8::from(is_end)], &[0x12], b"CRC\0", &[7; 8], &[0]].concat());
        [&length(bytes.len() + 4)[..], &bytes].concat()
    }

    fn walk(bytes: &[u8], size: usize) -> Result<()> {
        let mut walk = MongoWalk::new("mongodump");
        bytes.chunks(size).for_each(|piece| walk.see(piece));
        walk.end()
    }

    /// What a dump begins with: what it says of these collections, by name and type.
    fn prelude(collections: &[(&str, &str)]) -> Vec<u8> {
        let about = document(&[("server_version", "7.0")], false);
        let of = |(name, kind): &(&str, &str)| {
            document(&[("db", "shop"), ("collection", name), ("metadata", "{}"), ("type", kind)], false)
        };
        let collections = collections.iter().flat_map(of).collect::<Vec<u8>>();
        [&MAGIC[..], &about, &collections, &TERMINATOR].concat()
    }

    fn header(name: &str, is_end: bool) -> Vec<u8> {
        document(&[("db", "shop"), ("collection", name)], is_end)
    }

    #[test]
    fn only_what_ends_every_collection_is_whole() {
        let row = document(&[("name", "stone")], false);
        let parts: Vec<Vec<u8>> = vec![
            prelude(&[("goods", "collection"), ("people", "")]),
            [&header("goods", false)[..], &row, &row, &TERMINATOR].concat(),
            [&header("people", false)[..], &row, &TERMINATOR].concat(),
            [&header("goods", true)[..], &TERMINATOR].concat(),
            [&header("people", true)[..], &TERMINATOR].concat(),
        ];
        let whole = parts.concat();
        for size in [1, 5, 1000] {
            for end in 0..=whole.len() {
                assert_eq!(walk(&whole[..end], size).is_ok(), end == whole.len(), "{end} of {}", whole.len());
            }
        }
        walk(&prelude(&[]), 64).expect("there is no collection");
        // Cut where one collection has ended and the next has not begun.
        let ended = [&parts[0], &parts[1], &parts[3]].map(Vec::as_slice).concat();
        let cut = walk(&ended, 64).expect_err("people is missing").to_string();
        assert_eq!(cut, "the output of mongodump breaks off: the collection shop.people does not end");
        let open = walk(&parts[..4].concat(), 64).expect_err("people is open").to_string();
        assert_eq!(open, "the output of mongodump breaks off: the collection shop.people does not end");
        let foreign = walk(b"-- SQL", 64).expect_err("no magic").to_string();
        assert_eq!(foreign, "the output of mongodump is damaged: it does not begin as mongodump does");
        let long =
            walk(&[&MAGIC[..], &[0xfe, 0xff, 0xff, 0x7f]].concat(), 64).expect_err("too long").to_string();
        assert_eq!(long, "the output of mongodump is damaged: a document has no right length");
    }

    #[test]
    fn views_have_no_documents_and_series_have_them_elsewhere() {
        let old_view =
            document(&[("db", "shop"), ("collection", "old"), ("metadata", "{\"viewOn\":\"a\"}")], false);
        let begin = prelude(&[("dear", "view"), ("heat", "timeseries")]);
        let begin = [&begin[..begin.len() - 4], &old_view, &TERMINATOR].concat();
        walk(&begin, 64).expect_err("the series is missing");
        let end = [&header("system.buckets.heat", true)[..], &TERMINATOR].concat();
        walk(&[begin, end].concat(), 64).expect("whole");
    }
}
