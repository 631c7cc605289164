//! The targets of fuzzing: functions that take any bytes and end the process if a promise of the library is broken.
//!
//! What must hold: a target does the same with the same bytes, needs no file and no clock, and takes a moment; each has
//! a file in `fuzz/fuzz_targets` and seeds in `fuzz/corpus`. The suite runs all seeds through these functions too
//! (`tests/it/corpus.rs`), so that what was once found stays found without a fuzzer.

mod canonical;
mod content;
mod disk;
mod forge;
mod hostile;
mod input;
mod model;
mod records;
mod tables;
mod tree;
mod words;

/// What is fuzzed by itself.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of its file, its seeds and its logs.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "beat", run: records::beat },
    Target { name: "bundle", run: records::bundle },
    Target { name: "cbor", run: records::cbor },
    Target { name: "chunker", run: content::chunker },
    Target { name: "commit", run: records::commit },
    Target { name: "condemned", run: records::condemned },
    Target { name: "config", run: records::config },
    Target { name: "directory", run: tables::directory },
    Target { name: "header", run: tables::header },
    Target { name: "hostile", run: hostile::hostile },
    Target { name: "index", run: tables::index },
    Target { name: "lines", run: words::lines },
    Target { name: "list", run: records::list },
    Target { name: "model", run: model::model },
    Target { name: "names", run: tables::names },
    Target { name: "node", run: records::node },
    Target { name: "pack-end", run: tables::pack_end },
    Target { name: "page", run: records::page },
    Target { name: "patterns", run: words::patterns },
    Target { name: "slot", run: records::slot },
    Target { name: "start", run: records::start },
    Target { name: "tombstone", run: records::tombstone },
    Target { name: "tree", run: tree::tree },
    Target { name: "verdict", run: records::verdict },
    Target { name: "zstd", run: content::zstd },
];

/// Runs a target by its name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(data);
}
