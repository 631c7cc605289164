//! Patterns held against what restic documents of them, and against a second reading that is too simple to be wrong.

use super::*;

fn components(path: &str) -> Vec<Vec<u8>> {
    path.split('/').filter(|name| !name.is_empty()).map(Into::into).collect()
}

/// Pattern, path, whether the one matches the other or a directory above it.
const CASES: &[(&str, &str, bool)] = &[
    // A name anywhere, as a whole component, and all below it.
    ("notes", "/notes", true),
    ("notes", "/home/u/notes", true),
    ("notes", "/home/notes/u/draft", true),
    ("notes", "/home/notes.old", false),
    ("notes", "/home/mynotes", false),
    ("notes", "/home/Notes", false),
    ("u/notes", "/home/u/notes", true),
    ("u/notes", "/home/u/notes/draft/two", true),
    ("u/notes", "/home/u/x/notes", false),
    ("u/notes", "/home/notes/u", false),
    ("notes/draft", "/notes", false),
    // A slash at the beginning anchors, one at the end means nothing, nor do several.
    ("/bin", "/bin/sh", true),
    ("/bin", "/bin", true),
    ("/bin", "/usr/bin/env", false),
    ("/usr/bin", "/usr/bin/env", true),
    ("/usr/bin", "/usr", false),
    ("/usr/bin", "/usr/local/bin", false),
    ("notes/", "/home/u/notes", true),
    ("/home/u/", "/home/u/notes", true),
    ("/home///u", "/home/u", true),
    ("//home", "/home", true),
    ("/", "/anything", true),
    ("/", "/any/thing", true),
    // Dots as a shell's path has them, by their letters alone.
    ("./notes", "/home/notes", true),
    ("home/./u", "/home/u", true),
    ("/home/../srv", "/srv/x", true),
    ("/home/../srv", "/home/srv", false),
    ("/../srv", "/srv", true),
    ("a/../notes", "/x/notes", true),
    ("*/../notes", "/x/notes", true),
    (".", "/home", false),
    ("a/..", "/a", false),
    ("..", "/home", false),
    ("../notes", "/notes", false),
    ("...", "/x/...", true),
    // Stars stay within their component.
    ("*", "/home", true),
    ("*", "/home/u", true),
    ("*.log", "/var/x/today.log", true),
    ("*.log", "/var/x.log/today", true),
    ("*.log", "/var/.log", true),
    ("*.log", "/var/today.log.gz", false),
    ("*.log", "/var/todaylog", false),
    ("today*", "/var/today.log", true),
    ("today*", "/var/today", true),
    ("to*y*g", "/today.log", true),
    ("to*y*g", "/tomorrow.log", false),
    ("h*e", "/h/e", false),
    ("b*ash", "/bin/bash", true),
    ("b*ash", "/bin/ash", false),
    ("/home/*", "/home", false),
    ("/home/*", "/home/u", true),
    ("/home/*", "/home/u/notes", true),
    ("/home/*/notes", "/home/u/notes", true),
    ("/home/*/notes", "/home/u/v/notes", false),
    ("/home/*/notes", "/home/notes", false),
    ("/*/*/etc/*.conf", "/a/b/etc/x.conf", true),
    ("/*/*/etc/*.conf", "/a/etc/x.conf", false),
    ("lib/*/inc/*/*stub.h", "/usr/lib/c/inc/sys/fstub.h", true),
    ("lib/*/inc/*/*stub.h", "/usr/lib/c/inc/fstub.h", false),
    ("***", "/x/y", true),
    ("a**b", "/axxb", true),
    ("a**b", "/a/b", false),
    // Two stars alone stand for any number of components, none included.
    ("**", "/home", true),
    ("/**", "/home/u", true),
    ("foo/**/bar", "/foo/bar", true),
    ("foo/**/bar", "/tmp/foo/bar", true),
    ("foo/**/bar", "/foo/x/bar", true),
    ("foo/**/bar", "/foo/x/y/z/bar/file", true),
    ("foo/**/bar", "/bar/foo", false),
    ("foo/**/bar", "/foo/xbar", false),
    ("foo/**/bar/*.go", "/u/foo/bar/main.go", true),
    ("foo/**/bar/*.go", "/u/foo/a/bar/b/bar/main.go", true),
    ("foo/**/bar/*.go", "/u/foo/a/main.go", false),
    ("foo/**/bar/**/x", "/foo/bar/x", true),
    ("foo/**/bar/**/x", "/h/foo/a/b/bar/c/x", true),
    ("foo/**/bar/**/x", "/h/foo/a/x/bar", false),
    ("/a/**/b/**/c/**/d", "/a/b/c/d", true),
    ("/a/**/b", "/x/a/b", false),
    ("/a/**/b", "/a/b", true),
    ("/a/**/b", "/a/x/b/y", true),
    ("foo/**", "/x/foo", true),
    ("foo/**", "/x/foo/y", true),
    ("**/foo", "/foo", true),
    ("**/foo", "/x/y/foo", true),
    ("/**/foo", "/x/y/foo", true),
    ("**/**/foo", "/foo", true),
    ("u/**/h*/**/c", "/home/u/a/b/hid/x/c", true),
    ("u/**/h*/**/c", "/home/u/a/b/hid/x", false),
    // One character, of as many bytes as it has.
    ("?", "/a", true),
    ("?", "/ab", false),
    ("?", "/ä", true),
    ("a?c", "/abc", true),
    ("a?c", "/ac", false),
    ("a??", "/a日b", true),
    ("tod?y.*", "/var/today.log", true),
    // Classes.
    ("[ab]", "/a", true),
    ("[ab]", "/c", false),
    ("[a-c]x", "/bx", true),
    ("[a-c]x", "/dx", false),
    ("[^a-c]x", "/dx", true),
    ("[^a-c]x", "/ax", false),
    ("[^a]", "/ab", false),
    ("[a-cx-z0]", "/y", true),
    ("[c-a]", "/b", false),
    ("[!a]", "/!", true),
    ("[ä-ü]", "/ö", true),
    ("[*]", "/*", true),
    ("[*]", "/a", false),
    ("[\\-x]", "/-", true),
    ("[\\]x]", "/]", true),
    ("[\\^a]", "/^", true),
    (".[^.]*", "/home/.bashrc", true),
    (".[^.]*", "/home/..x", false),
    ("[uU]ser/?.go", "/home/User/f.go", true),
    // A backslash takes a character's meaning away.
    ("\\*", "/*", true),
    ("\\*", "/a", false),
    ("\\!keep", "/!keep", true),
    ("\\#1", "/#1", true),
    ("a\\\\b", "/a\\b", true),
    ("\\a", "/a", true),
    ("a]", "/a]", true),
    // Blanks and other signs are letters like any other.
    ("foo bar", "/x/foo bar", true),
    (" foo", "/foo", false),
    ("~", "/home/u", false),
    ("{a,b}", "/a", false),
];

#[test]
fn patterns_match_what_is_documented() {
    for (pattern, path, expected) in CASES {
        let parsed = Pattern::parse(pattern.as_bytes()).expect(pattern);
        assert_eq!(parsed.matches(&components(path)), *expected, "{pattern:?} and {path:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_wherever_it_stands() {
    for (bad, why) in [
        ("[", BadPattern::OpenClass),
        ("[a", BadPattern::OpenClass),
        ("[^", BadPattern::OpenClass),
        ("[a-", BadPattern::OpenClass),
        ("[a/b]", BadPattern::OpenClass),
        ("*[", BadPattern::OpenClass),
        ("[]", BadPattern::BadClass),
        ("[]a]", BadPattern::BadClass),
        ("[^]", BadPattern::BadClass),
        ("[-a]", BadPattern::BadClass),
        ("[a-]", BadPattern::BadClass),
        ("[a-b-c]", BadPattern::BadClass),
        ("\\", BadPattern::LoneBackslash),
        ("a\\/b", BadPattern::LoneBackslash),
        ("[\\", BadPattern::LoneBackslash),
    ] {
        for pattern in [bad.to_owned(), format!("x/**/{bad}"), format!("/{bad}/y")] {
            assert_eq!(Pattern::parse(pattern.as_bytes()).err(), Some(why), "{pattern}");
        }
    }
    assert_eq!(Pattern::parse(b"[\xff]").err(), Some(BadPattern::BadClass));
}

#[test]
fn bytes_that_are_no_text_count_as_characters() {
    let matches =
        |pattern: &[u8], name: &[u8]| Pattern::parse(pattern).expect("a pattern").matches(&[name.to_vec()]);
    assert!(matches(b"?", b"\xff"));
    assert!(!matches(b"?", b"\xff\xfe"));
    assert!(matches(b"a\xffb", b"a\xffb"));
    assert!(matches(b"*\xff", b"a\xff"));
    assert!(matches(b"[^a]", b"\x80"));
    assert!(matches("[\u{fffd}]".as_bytes(), b"\xc3"));
    assert!(!matches(b"?", b"\xc3\x28"));
}

/// What is left of names that a component's pattern was taken off, in every way; `None` if it cannot be read.
fn reference_component(pattern: &[char], name: &[char]) -> Option<bool> {
    let is_one = |taken: bool, rest: &[char]| {
        let after = reference_component(rest, name.get(1..).unwrap_or_default())?;
        Some(taken && !name.is_empty() && after)
    };
    match pattern {
        [] => Some(name.is_empty()),
        ['*', rest @ ..] => {
            let tails = (0..=name.len()).map(|begin| reference_component(rest, &name[begin..]));
            tails.reduce(|one, other| Some(one? | other?)).flatten()
        }
        ['?', rest @ ..] => is_one(true, rest),
        ['\\', escaped, rest @ ..] => is_one(name.first() == Some(escaped), rest),
        ['\\'] => None,
        ['[', rest @ ..] => {
            let (negated, mut rest) = match rest {
                ['^', rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let mut found = false;
            let mut count = 0;
            while rest.first() != Some(&']') || count == 0 {
                let mut ends = Vec::new();
                loop {
                    let (end, after) = match rest {
                        [] | ['-' | ']', ..] | ['\\'] => return None,
                        ['\\', end, after @ ..] | [end, after @ ..] => (*end, after),
                    };
                    ends.push(end);
                    rest = after;
                    match rest {
                        ['-', after @ ..] if ends.len() == 1 => rest = after,
                        _ => break,
                    }
                }
                let range = ends[0]..=*ends.last().expect("one or two");
                found |= name.first().is_some_and(|first| range.contains(first));
                count += 1;
            }
            is_one(found != negated, &rest[1..])
        }
        [literal, rest @ ..] => is_one(name.first() == Some(literal), rest),
    }
}

/// Whether a pattern of which `**` was replaced by every number of stars stands somewhere in a path.
fn reference(pattern: &str, path: &str) -> Option<bool> {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(position) = parts.iter().position(|part| *part == "**") {
        let anchor = if pattern.starts_with('/') { "/" } else { "" };
        let mut is_match = false;
        for count in 0..=names.len() {
            let stars = vec!["*"; count];
            let expanded = [&parts[..position], &stars, &parts[position + 1..]].concat();
            // A relative pattern of nothing matches nothing.
            is_match |= reference(&(anchor.to_owned() + &expanded.join("/")), path)?;
        }
        return Some(is_match);
    }
    let mut is_match = parts.is_empty() && pattern.starts_with('/');
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    for begin in 0..names.len() {
        let is_anchored = !pattern.starts_with('/') || begin == 0;
        let mut all = is_anchored && !parts.is_empty() && begin + parts.len() <= names.len();
        for (offset, part) in parts.iter().enumerate() {
            let name = names.get(begin + offset).copied().unwrap_or_default();
            all &= reference_component(&chars(part), &chars(name))?;
        }
        is_match |= all;
    }
    Some(is_match)
}

/// All texts of up to `length` of these pieces.
fn texts(pieces: &[&str], length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut begin = 0;
    for _ in 0..length {
        let end = all.len();
        for position in begin..end {
            all.extend(pieces.iter().map(|piece| format!("{}{piece}", all[position])).collect::<Vec<_>>());
        }
        begin = end;
    }
    all
}

#[test]
fn every_short_pattern_matches_as_the_simple_reading_says() {
    let paths: Vec<String> = texts(&["/ab", "/b"], 4).into_iter().skip(1).collect();
    let paths: Vec<(String, Vec<Vec<u8>>)> =
        paths.into_iter().map(|path| (path.clone(), components(&path))).collect();
    for pattern in texts(&["a", "*", "/", "b"], 6).iter().filter(|pattern| !pattern.is_empty()) {
        let parsed = Pattern::parse(pattern.as_bytes()).expect("a pattern");
        for (path, names) in &paths {
            let expected = reference(pattern, path).expect("a pattern");
            assert_eq!(parsed.matches(names), expected, "{pattern:?} and {path:?}");
        }
    }
}

#[test]
fn every_short_component_matches_as_the_simple_reading_says() {
    let names = texts(&["a", "b", "-", "]", "[", "^", "\\", "ä"], 2);
    for pattern in texts(&["a", "b", "-", "]", "[", "^", "\\", "*", "?"], 5).iter().skip(1) {
        let chars: Vec<char> = pattern.chars().collect();
        let parsed = Wildcard::parse(pattern.as_bytes());
        for name in &names {
            let expected = reference_component(&chars, &name.chars().collect::<Vec<char>>());
            let found = parsed.as_ref().ok().map(|wildcard| wildcard.matches(name.as_bytes()));
            assert_eq!(found, expected, "{pattern:?} and {name:?}");
        }
    }
}
