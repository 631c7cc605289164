//! Runs the targets of fuzzing on their seeds and on mutations of them, without a fuzzer.
//!
//! What must hold: every target has its file, its seeds and its place here; a mutation depends on its seed and number
//! alone, so that a failure can be had again. `scripts/fuzz` searches further.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fuzz::{self, TARGETS};
use crate::spec::cases::{Case, cases};
use crate::support::code::{path, read};
use crate::support::need::is_full;
use crate::support::random::Random;

/// Mutations of each seed in every run.
const MUTATIONS: u64 = 200;
/// How many times as many when larger sizes are wanted.
const TIMES_FULL: u64 = 50;
/// Longest seed in bytes.
const SEED_BYTES_MAX: usize = 4096;
/// Most files with seeds of one target.
const FILES_MAX: usize = 60;

/// A seed and where it comes from.
struct Seed {
    place: String,
    bytes: Vec<u8>,
}

/// The files of a target's corpus, by name.
fn files(target: &str) -> Vec<Seed> {
    let folder = format!("fuzz/corpus/{target}");
    let entries = std::fs::read_dir(path(&folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut seeds: Vec<Seed> = entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let place = format!("{folder}/{}", entry.file_name().to_string_lossy());
            Seed { bytes: std::fs::read(entry.path()).expect(&place), place }
        })
        .collect();
    seeds.sort_by(|a, b| a.place.cmp(&b.place));
    assert!((1..=FILES_MAX).contains(&seeds.len()), "{folder}: {} files", seeds.len());
    for seed in &seeds {
        assert!(seed.bytes.len() <= SEED_BYTES_MAX, "{}: {} bytes", seed.place, seed.bytes.len());
    }
    seeds
}

/// The cases of the specification as inputs of a target.
fn vectors(target: &str) -> Vec<Seed> {
    let input = |case: &Case| {
        let bytes = case.bytes("bytes");
        let before = match case.text("decoder") {
            "list" => vec![u8::try_from(case.number("level")).expect("a level")],
            "pack-end" | "trailer" => case.number("pack_bytes").to_le_bytes().to_vec(),
            "frame" => case.number("raw").to_le_bytes()[..3].to_vec(),
            _ => Vec::new(),
        };
        [before, bytes].concat()
    };
    let decoder_of = |case: &Case| match case.text("decoder") {
        "trailer" => "pack-end".to_owned(),
        "frame" => "zstd".to_owned(),
        other => other.to_owned(),
    };
    let cases = cases("reject.txt").into_iter().filter(|case| decoder_of(case) == target);
    cases.map(|case| Seed { bytes: input(&case), place: case.place }).collect()
}

/// A change of a seed, perhaps by a part of another one.
fn mutated(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    const ODD: [u8; 10] = [0x00, 0x01, 0x17, 0x18, 0x1b, 0x40, 0x7f, 0x80, 0xa0, 0xff];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let position = random.range(0..bytes.len() + 1);
        let end = (position + 1 + random.range(0..16)).min(bytes.len());
        match random.below(8) {
            0 | 1 if position < bytes.len() => bytes[position] ^= 1 << random.below(8),
            2 if position < bytes.len() => bytes[position] = *random.pick(&ODD),
            3 if position < bytes.len() => bytes[position] = bytes[position].wrapping_add(random.bytes(1)[0]),
            4 => bytes.insert(position, *random.pick(&ODD)),
            5 => drop(bytes.drain(position..end)),
            6 => {
                let part = bytes[position..end].to_vec();
                let place = random.range(0..bytes.len() + 1);
                drop(bytes.splice(place..place, part));
            }
            _ if !other.is_empty() => {
                let begin = random.range(0..other.len());
                let part = other[begin..(begin + 1 + random.range(0..32)).min(other.len())].to_vec();
                let kept = if random.chance(1, 2) { end } else { position };
                drop(bytes.splice(position..kept, part));
            }
            _ => bytes.truncate(position),
        }
    }
    bytes
}

/// Runs a target; the bytes on which it fails.
fn fails(target: &str, bytes: &[u8]) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| fuzz::run(target, bytes))).is_err().then(|| show(bytes))
}

fn show(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(target: &str, mutations: u64) {
    let mut seeds = files(target);
    let from_files = seeds.len();
    seeds.extend(vectors(target));
    let times = if is_full() { TIMES_FULL } else { 1 };
    let mut failures = Vec::new();
    let mut runs = 0_u64;
    for (number, seed) in seeds.iter().enumerate() {
        if let Some(bytes) = fails(target, &seed.bytes) {
            failures.push(format!("{}: {bytes}", seed.place));
        }
        // By its content, so that another file beside it changes nothing.
        let mut random = Random::new(u64::from_le_bytes(
            *blake3::hash(&seed.bytes).as_bytes().first_chunk().expect("eight bytes"),
        ));
        for _ in 0..mutations * times {
            let other = &seeds[random.range(0..seeds.len())];
            let bytes = mutated(&mut random, &seed.bytes, &other.bytes);
            if let Some(bytes) = fails(target, &bytes) {
                failures.push(format!("from {}: {bytes}", seed.place));
            }
            runs += 1;
        }
        assert!(failures.is_empty(), "{target}, seed {number}:\n{}", failures.join("\n"));
    }
    println!("{target}: {from_files} files, {} vectors, {runs} mutations", seeds.len() - from_files);
}

macro_rules! targets {
    ($($function:ident $name:literal $mutations:expr;)*) => {
        /// The targets that are checked here.
        const CHECKED: &[&str] = &[$($name),*];

        $(#[test]
        fn $function() {
            check($name, $mutations);
        })*
    };
}

targets! {
    beat "beat" MUTATIONS;
    bundle "bundle" MUTATIONS;
    cbor "cbor" MUTATIONS;
    chunker "chunker" MUTATIONS / 10;
    commit "commit" MUTATIONS;
    condemned "condemned" MUTATIONS;
    config "config" MUTATIONS;
    directory "directory" MUTATIONS;
    header "header" MUTATIONS;
    hostile "hostile" MUTATIONS / 4;
    index "index" MUTATIONS;
    lines "lines" MUTATIONS;
    list "list" MUTATIONS;
    model "model" MUTATIONS / 10;
    names "names" MUTATIONS;
    node "node" MUTATIONS;
    pack_end "pack-end" MUTATIONS;
    page "page" MUTATIONS;
    patterns "patterns" MUTATIONS;
    slot "slot" MUTATIONS;
    start "start" MUTATIONS;
    tombstone "tombstone" MUTATIONS;
    tree "tree" MUTATIONS / 4;
    verdict "verdict" MUTATIONS;
    zstd "zstd" MUTATIONS;
}

#[test]
fn every_target_has_its_file_its_seeds_and_its_test() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    assert_eq!(names, CHECKED.iter().copied().collect());
    let listed = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(path(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
    };
    assert_eq!(listed("fuzz/corpus"), names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(listed("fuzz/fuzz_targets"), names.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = read("fuzz/Cargo.toml").text;
    assert_eq!(manifest.matches("[[bin]]").count(), names.len());
    for name in names {
        let bin = format!(
            "[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false\n"
        );
        assert!(manifest.contains(&bin), "fuzz/Cargo.toml: no bin {name}");
        let file = format!(
            "//! Fuzzes `{name}` of `fuzz/src/lib.rs`.\n#![no_main]\n\n\
             libfuzzer_sys::fuzz_target!(|data: &[u8]| packstone_fuzz::run(\"{name}\", data));\n"
        );
        assert_eq!(read(&format!("fuzz/fuzz_targets/{name}.rs")).text, file);
    }
}
