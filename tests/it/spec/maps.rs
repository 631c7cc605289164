//! Keys of maps, and bytes that must be refused.

use std::collections::{BTreeMap, BTreeSet};

use packstone::format::cbor::{MapWriter, Reader};
use packstone::format::collection::{Condemned, Verdict};
use packstone::format::config::Config;
use packstone::format::index::IndexRun;
use packstone::format::list::ListPage;
use packstone::format::node::Node;
use packstone::format::pack::{Directory, directory_place, trailer_offset};
use packstone::format::page::Page;
use packstone::format::sealing::{HEAD_BYTES, Header};
use packstone::format::session::{SessionBeat, SessionStart};
use packstone::format::slot::{Bundle, Slot};
use packstone::format::snapshot::Commit;
use packstone::format::tombstone::Tombstone;

use super::cases::{Case, cases};
use super::text::{chapters, rules, tables_of};
use super::vectors::kind;

/// The rule by which the library refuses bytes as those of a decoder; `None` if it takes them.
fn refused(case: &Case, bytes: &[u8]) -> Option<String> {
    let decoded = match case.text("decoder") {
        "start" => SessionStart::decode(bytes).map(drop),
        "beat" => SessionBeat::decode(bytes).map(drop),
        "config" => Config::split(bytes).and_then(|(covered, _)| Config::decode(covered)).map(drop),
        "header" => Header::decode(kind(case.number("kind")), bytes).map(drop),
        "slot" => Slot::decode(bytes).map(drop),
        "bundle" => Bundle::decode(bytes).map(drop),
        "directory" => Directory::decode(bytes, case.number("pack_bytes")).map(drop),
        "pack-end" => trailer_offset(case.number("pack_bytes"), bytes).map(drop),
        "trailer" => directory_place(bytes, case.number("pack_bytes")).map(drop),
        "frame" => match packstone::compress::decompress(bytes, case.size("raw")) {
            Ok(_) => return None,
            Err(error) => {
                let message = error.to_string();
                let (_, rule) = message.split_once("(format rule ").expect("the rule");
                return Some(rule.trim_end_matches(')').to_owned());
            }
        },
        "index" => IndexRun::decode(bytes).map(drop),
        "node" => {
            let mut reader = Reader::new(bytes);
            Node::decode(&mut reader).and_then(|_| reader.end())
        }
        "page" => Page::decode(bytes).map(drop),
        "list" => {
            let level = u8::try_from(case.number("level")).expect("a level");
            ListPage::decode(bytes, level, case.number("content_bytes")).map(drop)
        }
        "commit" => Commit::decode(bytes).map(drop),
        "condemned" => Condemned::decode(bytes).map(drop),
        "verdict" => Verdict::decode(bytes).map(drop),
        "tombstone" => Tombstone::decode(bytes).map(drop),
        other => panic!("{}: no decoder {other}", case.place),
    };
    decoded.err().map(|error| error.rule.to_owned())
}

#[test]
fn what_must_be_refused_is_refused_by_its_rule() {
    for case in cases("reject.txt") {
        let rule = refused(&case, &case.bytes("bytes"));
        assert_eq!(rule.as_deref().unwrap_or("none"), case.text("rule"), "{}", case.place);
    }
}

#[test]
fn every_rule_has_bad_bytes() {
    // Sizes beyond what a file of vectors should hold; rules with files of their own; rules that need a repository.
    const ELSEWHERE: [&[&str]; 3] = [
        &["INDEX-1", "LIST-1", "NODE-1", "PAGE-1", "SLOT-1", "SLOT-6"],
        &["CFG-2", "SEAL-2", "SEAL-3", "SLOT-7", "SLOT-8"],
        &["CHUNK-2", "INDEX-7", "PAGE-6", "PAGE-7", "SNAP-5", "SNAP-6", "TREE-1"],
    ];
    let cases = cases("reject.txt");
    let shown: BTreeSet<&str> = cases.iter().map(|case| case.text("rule")).collect();
    let chapters = chapters();
    let written: Vec<String> = chapters.iter().flat_map(rules).map(|(rule, _)| rule).collect();
    let missing: Vec<&str> =
        written.iter().map(String::as_str).filter(|rule| !shown.contains(rule)).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.into_iter().flatten().copied().collect();
    assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), elsewhere);
    let good = cases.iter().filter(|case| case.text("rule") == "none").count();
    assert!(cases.len() >= 3 * good, "{} cases, {good} of them good", cases.len());
}

/// A map that the library takes: what stands around it in its object, and its pairs.
struct Sample {
    case: Case,
    before: Vec<u8>,
    after: Vec<u8>,
    pairs: BTreeMap<u64, Vec<u8>>,
}

impl Sample {
    fn new(case: Case) -> Self {
        let bytes = case.bytes("bytes");
        let (before, after) = match case.text("decoder") {
            "config" => (HEAD_BYTES, 32),
            "slot" => (HEAD_BYTES, 0),
            _ => (0, 0),
        };
        let (before, rest) = bytes.split_at(before);
        let (map, after) = rest.split_at(rest.len() - after);
        Self { before: before.to_vec(), after: after.to_vec(), pairs: pairs(map), case }
    }

    /// The maps in the array under a key of this map, each within all that stands around it.
    fn within(&self, key: u64) -> Vec<Self> {
        let Some(array) = self.pairs.get(&key) else { return Vec::new() };
        let bytes = self.case.bytes("bytes");
        let found = bytes.windows(array.len()).position(|window| window == array).expect("its own value");
        let mut reader = Reader::new(array);
        let count = reader.array().expect("an array");
        let mut begin = found + array.len() - reader.rest().len();
        let item = |_| {
            let map = reader.item().expect("an item");
            let (before, rest) = bytes.split_at(begin);
            begin += map.len();
            let after = rest[map.len()..].to_vec();
            Self { case: self.case.clone(), before: before.to_vec(), after, pairs: pairs(map) }
        };
        (0..count).map(item).collect()
    }

    /// What the library says of it after a change of its pairs.
    fn refused_with(&self, change: impl FnOnce(&mut BTreeMap<u64, Vec<u8>>)) -> Option<String> {
        let mut pairs = self.pairs.clone();
        change(&mut pairs);
        let mut map = MapWriter::new();
        map.kept(&pairs.into_iter().collect::<Vec<_>>());
        refused(&self.case, &[self.before.as_slice(), &map.into_bytes(), &self.after].concat())
    }
}

/// The pairs of an encoded map.
fn pairs(map: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut reader = Reader::new(map);
    let mut keys = reader.map().expect("a map");
    let mut pairs = BTreeMap::new();
    while let Some(key) = keys.next(&mut reader).expect("a key") {
        pairs.insert(key, reader.item().expect("a value").to_vec());
    }
    pairs
}

/// The good cases that are, or hold, maps of this name.
fn samples(map: &str) -> Vec<Sample> {
    if map == "source" {
        return samples("snapshot").iter().flat_map(|snapshot| snapshot.within(17)).collect();
    }
    let decoder = match map {
        "snapshot" | "end" => "commit",
        other => other,
    };
    let good = cases("reject.txt").into_iter().filter(|case| case.text("rule") == "none");
    let samples: Vec<Sample> = good.filter(|case| case.text("decoder") == decoder).map(Sample::new).collect();
    let kind: &[u8] = if map == "end" { &[2] } else { &[1] };
    samples.into_iter().filter(|sample| decoder != "commit" || sample.pairs[&0] == kind).collect()
}

/// Whether an encoded item has the type that a table gives its key.
fn has_type(declared: &str, item: &[u8]) -> bool {
    let words = declared.split([':', ';', ',']).next().unwrap_or_default();
    let (word, length) = words.split_once(' ').unwrap_or((words, ""));
    let major = item[0] >> 5;
    let mut reader = Reader::new(item);
    match word {
        "unsigned" | "u8" | "u16" | "u32" => major == 0,
        "bytes" if length.is_empty() => major == 2,
        "bytes" => reader.bytes().is_ok_and(|bytes| bytes.len().to_string() == length),
        "text" => major == 3,
        "array" if length.is_empty() => major == 4,
        "array" => reader.array().is_ok_and(|items| items.to_string() == length),
        "map" => major == 5,
        "boolean" => reader.boolean().is_ok(),
        "time" => reader.time().is_ok(),
        other => panic!("no type {other}"),
    }
}

#[test]
fn maps_have_the_keys_that_their_tables_say() {
    let tables = tables_of(&["key", "type", "name", "needed"]);
    assert_eq!(tables.len(), 14);
    for table in tables {
        let samples = samples(&table.name);
        assert!(!samples.is_empty(), "{}: no good case", table.place);
        let written: BTreeSet<u64> =
            table.rows.iter().map(|row| table.cell(row, "key").parse().expect("a key")).collect();
        let counts = |key: &u64| *key < 64 || written.contains(key);
        let used: BTreeSet<u64> =
            samples.iter().flat_map(|sample| sample.pairs.keys().copied()).filter(counts).collect();
        assert_eq!(used, written, "{}", table.place);
        for row in &table.rows {
            let place = format!("{}: key {}", table.place, table.cell(row, "key"));
            let key: u64 = table.cell(row, "key").parse().expect("a key");
            let with: Vec<&Sample> =
                samples.iter().filter(|sample| sample.pairs.contains_key(&key)).collect();
            for sample in &with {
                assert!(has_type(table.cell(row, "type"), &sample.pairs[&key]), "{place}: type");
            }
            let needed = table.cell(row, "needed");
            let is_refused_without =
                |sample: &&Sample| sample.refused_with(|pairs| drop(pairs.remove(&key))).is_some();
            match needed {
                "yes" => assert_eq!(with.len(), samples.len(), "{place}: missing in a good case"),
                "no" => {}
                _ => assert!(needed.starts_with("type"), "{place}: {needed}"),
            }
            if needed == "no" {
                let can_be_absent = with.len() < samples.len() || !with.iter().all(is_refused_without);
                assert!(can_be_absent, "{place}: no good case is without it");
            } else {
                assert!(with.iter().all(is_refused_without), "{place}: can be absent");
            }
        }
    }
}

#[test]
fn unknown_keys_are_refused_below_64_and_passed_over_from_there_on() {
    for table in tables_of(&["key", "type", "name", "needed"]) {
        for sample in samples(&table.name) {
            let critical = sample.refused_with(|pairs| drop(pairs.insert(63, vec![0])));
            assert_eq!(critical.as_deref(), Some("CBOR-12"), "{}", sample.case.place);
            let ignorable = sample.refused_with(|pairs| drop(pairs.insert(99, vec![0x81, 0xf4])));
            assert_eq!(ignorable, None, "{}", sample.case.place);
        }
    }
}
