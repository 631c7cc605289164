//! Holds ARCHITECTURE.md and the rules of writing against the code.
//!
//! What must hold: every violation names file and line, the rule and the reason, and every rule is shown to fail on a
//! bad example.

mod layers;
mod writing;

use layers::Layers;

use crate::support::code::{files, read};

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// Every source of Rust that is written here.
const FOLDERS: [&str; 5] = ["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"];

fn table() -> Layers {
    Layers::parse(&read("ARCHITECTURE.md")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn layers_use_only_layers_below_them() {
    none(&table().upward());
}

#[test]
fn modules_use_only_what_their_row_allows() {
    none(&table().violations(&files("src", ".rs")));
}

#[test]
fn every_module_has_a_row_and_every_row_a_module() {
    none(&table().unmatched(&files("src", ".rs")));
}

#[test]
fn files_say_first_what_they_are_for() {
    FOLDERS.iter().for_each(|folder| none(&writing::without_purpose(&files(folder, ".rs"))));
}

#[test]
fn files_are_short() {
    FOLDERS.iter().for_each(|folder| none(&writing::too_long(&files(folder, ".rs"))));
}

#[test]
fn nothing_is_imported_by_a_star() {
    none(&writing::globs(&files("src", ".rs")));
    none(&writing::globs(&files("fuzz/src", ".rs")));
}

#[test]
fn some_things_are_done_in_one_place_only() {
    none(&writing::misplaced(&files("src", ".rs")));
}

#[test]
fn one_word_names_one_thing() {
    none(&writing::banned_words(&files("src", ".rs")));
    none(&writing::banned_words(&files("fuzz/src", ".rs")));
}

#[test]
fn every_file_of_tests_is_listed() {
    none(&writing::unlisted_tests(&files("tests/it", ".rs"), &read("tests/it/main.rs")));
}

#[test]
fn paths_in_documents_exist() {
    none(&writing::missing_paths(&read("ARCHITECTURE.md")));
}
