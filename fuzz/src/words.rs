//! Targets: what people write: patterns, lists of paths, sizes.
//!
//! What must hold: whatever is written is read or refused as wrong use; a pattern means what a plain reading of its
//! language says, written down here a second time; whoever walks down a tree and whoever asks for a path get one answer.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use packstone::base::{ErrorKind, Result, size};
use packstone::source::exclude::{
    GivenPattern, Patterns, glob_lines, pattern_lines, raw_paths, verbatim_lines,
};

fn read<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| assert_eq!(error.kind(), ErrorKind::Usage, "{error}")).ok()
}

/// Files of patterns and of paths, and sizes.
pub fn lines(data: &[u8]) {
    let variable = |name: &[u8]| (name.len() < 4).then(|| name.to_ascii_uppercase());
    if let Some(patterns) = read(pattern_lines(data, true, "a file", &variable)) {
        assert!(patterns.iter().all(|pattern| !pattern.text.contains(&b'\n')));
        read(Patterns::new(patterns));
    }
    if let Some(lines) = read(glob_lines(data, "a file")) {
        assert!(lines.is_sorted_by(|(before, _), (after, _)| before < after));
        assert!(lines.iter().all(|(_, text)| !text.is_empty() && !text.starts_with(b"#")));
    }
    if let Some(paths) = read(verbatim_lines(data, "a file")) {
        assert!(paths.iter().all(|path| !path.is_empty() && !path.contains(&0) && !path.contains(&b'\n')));
    }
    if let Some(paths) = read(raw_paths(data, "a file")) {
        let written: Vec<u8> = paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        assert_eq!(written, data);
        assert!(paths.iter().all(|path| !path.is_empty()));
    }
    if let Some(bytes) = std::str::from_utf8(data).ok().and_then(size::parse) {
        assert_eq!(size::parse(&bytes.to_string()), Some(bytes));
        assert!(!size::show(bytes).is_empty());
    }
}

/// Patterns, one a line, and behind a NUL the paths that they are asked for, one a line.
pub fn patterns(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let texts: Vec<&[u8]> = parts.next().unwrap_or_default().split(|byte| *byte == b'\n').take(8).collect();
    let given = texts
        .iter()
        .enumerate()
        .map(|(number, text)| GivenPattern {
            text: text.to_vec(),
            ignores_case: false,
            origin: format!("line {number}"),
        })
        .collect();
    let Some(patterns) = read(Patterns::new(given)) else { return };
    for path in parts.next().unwrap_or_default().split(|byte| *byte == b'\n').take(8) {
        let names: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).take(12).collect();
        let whole = names.iter().flat_map(|name| [b"/", *name].concat()).collect::<Vec<u8>>();
        let found = patterns.rule_for(&whole).map(|rule| rule.given().text.clone());
        let expected =
            texts.iter().rev().find(|text| means(text, &names)).filter(|text| !text.starts_with(b"!"));
        assert_eq!(found.as_deref(), expected.copied(), "{:?}", String::from_utf8_lossy(&whole));
        let mut inherited = patterns.inherited(b"");
        let mut directory = Vec::new();
        for name in &names {
            let judged = patterns.judge(&directory, inherited).rule_for(name);
            directory.extend_from_slice(&[b"/", *name].concat());
            let asked = patterns.rule_for(&directory);
            assert_eq!(judged.map(|rule| rule.given()), asked.map(|rule| rule.given()));
            inherited = patterns.inherited(&directory);
        }
    }
}

/// Whether a pattern matches a path or a directory above it.
fn means(text: &[u8], names: &[&[u8]]) -> bool {
    let text = text.strip_prefix(b"!").unwrap_or(text);
    let is_absolute = text.starts_with(b"/");
    let mut components: Vec<&[u8]> = Vec::new();
    for part in text.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part != b".." {
            components.push(part);
        } else if components.last().is_some_and(|last| *last != b"..") {
            components.pop();
        } else if !is_absolute {
            components.push(part);
        }
    }
    if components.first() == Some(&b"..".as_slice()) || components.is_empty() && !is_absolute {
        return false;
    }
    let starts = if is_absolute { 0..1 } else { 0..names.len() };
    starts
        .into_iter()
        .any(|start| matches_front(&components, names.get(start..).unwrap_or_default()) && !names.is_empty())
}

/// Whether components match the first names, whatever follows.
fn matches_front(components: &[&[u8]], names: &[&[u8]]) -> bool {
    // After how many names the components so far may have ended.
    let mut ends = BTreeSet::from([0]);
    for component in components {
        ends = match *component {
            b"**" => ends.first().map_or(0..0, |first| *first..names.len() + 1).collect(),
            component => {
                let fits = |end: &usize| names.get(*end).is_some_and(|name| matches_name(component, name));
                ends.into_iter().filter(fits).map(|end| end + 1).collect()
            }
        };
    }
    !ends.is_empty()
}

/// Go's `filepath.Match` of one component that was read as good: bytes, but for `?` and classes, which take characters.
fn matches_name(component: &[u8], name: &[u8]) -> bool {
    let mut ends = BTreeSet::from([0]);
    let mut rest = component;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let class = match first {
            b'*' => {
                ends = ends.first().map_or(0..0, |first| *first..name.len() + 1).collect();
                continue;
            }
            b'?' => None,
            b'[' => Some(class(&mut rest)),
            b'\\' => {
                ends = past_byte(&ends, name, rest[0]);
                rest = &rest[1..];
                continue;
            }
            literal => {
                ends = past_byte(&ends, name, *literal);
                continue;
            }
        };
        let past = |end: usize| {
            let (character, length) = first_character(&name[end..])?;
            let fits = class.as_ref().is_none_or(|(is_negated, ranges)| {
                ranges.iter().any(|range| range.contains(&character)) != *is_negated
            });
            fits.then_some(end + length)
        };
        ends = ends.into_iter().filter_map(past).collect();
    }
    ends.contains(&name.len())
}

fn past_byte(ends: &BTreeSet<usize>, name: &[u8], byte: u8) -> BTreeSet<usize> {
    ends.iter().filter(|end| name.get(**end) == Some(&byte)).map(|end| end + 1).collect()
}

/// A class behind its `[`: whether it is negated, and its ranges.
fn class(rest: &mut &[u8]) -> (bool, Vec<RangeInclusive<char>>) {
    let is_negated = rest.first() == Some(&b'^');
    *rest = &rest[usize::from(is_negated)..];
    let mut ranges = Vec::new();
    while rest.first() != Some(&b']') {
        let low = class_character(rest);
        let high = match rest.strip_prefix(b"-") {
            Some(after) => {
                *rest = after;
                class_character(rest)
            }
            None => low,
        };
        ranges.push(low..=high);
    }
    *rest = &rest[1..];
    (is_negated, ranges)
}

fn class_character(rest: &mut &[u8]) -> char {
    *rest = rest.strip_prefix(b"\\").unwrap_or(rest);
    let (character, length) = first_character(rest).expect("a character of a class");
    *rest = &rest[length..];
    character
}

/// The first character and its length; a byte that begins none stands for itself, as the one for what is no character.
fn first_character(text: &[u8]) -> Option<(char, usize)> {
    let part = text.utf8_chunks().next()?;
    let first = part.valid().chars().next();
    Some(first.map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8())))
}
