//! Rules: each is written once, enforced, and proven by a unit test.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{chapters, rule_numbers, rules, tables};
use crate::support::code::{File, Part, files, only, path, tests_start};

/// Rules that literals of a source text name: a literal that is one, or one after the words "format rule".
fn named(text: &str) -> BTreeSet<String> {
    let literals = only(text, &[Part::Literal]);
    let is_named = |rule: &str| {
        literals.contains(&format!("\"{rule}\"")) || literals.contains(&format!("format rule {rule})"))
    };
    rule_numbers(&literals).into_iter().map(|(rule, _)| rule).filter(|rule| is_named(rule)).collect()
}

fn named_in(files: &[File], text_of: impl Fn(&File) -> &str) -> BTreeSet<String> {
    files.iter().flat_map(|file| named(text_of(file))).collect()
}

fn written() -> BTreeMap<String, Vec<String>> {
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (rule, place) in chapters().iter().flat_map(rules) {
        written.entry(rule).or_default().push(place);
    }
    written
}

#[test]
fn every_rule_is_written_once() {
    for (rule, places) in written() {
        assert_eq!(places.len(), 1, "{rule} is written at {places:?}");
    }
}

#[test]
fn every_rule_of_the_text_is_enforced_and_every_enforced_rule_is_written() {
    let written: BTreeSet<String> = written().into_keys().collect();
    let source = files("src", ".rs");
    let enforced = named_in(&source, |file| &file.text[..tests_start(file)]);
    let missing: Vec<_> = enforced.difference(&written).collect();
    assert!(missing.is_empty(), "enforced in src, but not written in format-spec: {missing:?}");
    let missing: Vec<_> = written.difference(&enforced).collect();
    assert!(missing.is_empty(), "written in format-spec, but not enforced in src: {missing:?}");
    assert!(written.len() > 50, "only {} rules found", written.len());
}

#[test]
fn every_rule_is_named_in_a_unit_test() {
    let tested = named_in(&files("src", ".rs"), |file| &file.text[tests_start(file)..]);
    let missing: Vec<_> = written().into_keys().filter(|rule| !tested.contains(rule)).collect();
    assert!(missing.is_empty(), "no unit test in src names {missing:?}");
}

#[test]
fn what_the_text_refers_to_is_there() {
    let written = written();
    for chapter in chapters() {
        for (rule, line) in rule_numbers(&chapter.text) {
            assert!(written.contains_key(&rule), "{}:{line}: there is no rule {rule}", chapter.path);
        }
    }
    let chapters = chapters();
    let overview = chapters.first().expect("an overview");
    let list = tables(overview).into_iter().find(|table| table.columns == ["chapter", "content", "source"]);
    let list = list.expect("a list of chapters");
    let listed: Vec<String> =
        list.rows.iter().map(|row| format!("format-spec/{}.md", list.cell(row, "chapter"))).collect();
    let there: Vec<&str> = chapters.iter().skip(1).map(|chapter| chapter.path.as_str()).collect();
    assert_eq!(listed, there);
    for source in list.rows.iter().flat_map(|row| list.cell(row, "source").split(", ")) {
        let source = source.trim_matches('`');
        assert!(path(source).exists(), "{source} is not there");
    }
    let sources = list.rows.iter().map(|row| list.cell(row, "source")).collect::<Vec<_>>().join(", ");
    for file in files("src/format", ".rs").iter().filter(|file| !file.path.ends_with("/tests.rs")) {
        assert!(sources.contains(&format!("`{}`", file.path)), "{} has no chapter", file.path);
    }
}

#[test]
fn every_file_of_vectors_is_listed() {
    let overview = chapters().swap_remove(0);
    let list = tables(&overview).into_iter().find(|table| table.columns == ["file", "chapter", "content"]);
    let list = list.expect("a list of vectors");
    let mut listed: Vec<String> = list
        .rows
        .iter()
        .map(|row| format!("format-spec/vectors/{}", list.cell(row, "file").trim_matches('`')))
        .collect();
    listed.sort();
    let there: Vec<String> = files("format-spec/vectors", "").into_iter().map(|file| file.path).collect();
    assert_eq!(listed, there);
}

#[test]
fn only_literals_name_rules() {
    let source = "// \"ABC-1\"\nlet a = \"ABC-2\"; // NODE-1\nf(\"no good (format rule ABC-3)\", \"not UTF-8, see ABC-4\")";
    assert_eq!(named(source), BTreeSet::from(["ABC-2".to_owned(), "ABC-3".to_owned()]));
}
