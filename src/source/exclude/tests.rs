//! Rules together: their order, `!`, capital and small letters, what is inherited.

use super::*;
use crate::base::ErrorKind;

fn given(text: &str, ignores_case: bool) -> GivenPattern {
    let origin = if ignores_case { "--iexclude" } else { "--exclude" };
    GivenPattern { text: text.into(), ignores_case, origin: origin.into() }
}

fn sensitive(patterns: &[&str]) -> Patterns {
    Patterns::new(patterns.iter().map(|text| given(text, false)).collect()).expect("patterns")
}

fn insensitive(patterns: &[&str]) -> Patterns {
    Patterns::new(patterns.iter().map(|text| given(text, true)).collect()).expect("patterns")
}

/// Walks down to a path from a source, as a backup does; true if it gets there.
fn is_reached(patterns: &Patterns, source: &str, path: &str) -> bool {
    let mut directory = source.to_owned();
    let mut above = patterns.inherited(source.as_bytes());
    for name in path.strip_prefix(source).expect("a path below").split('/').filter(|name| !name.is_empty()) {
        if patterns.judge(directory.as_bytes(), above).rule_for(name.as_bytes()).is_some() {
            return false;
        }
        directory = format!("{}/{name}", directory.trim_end_matches('/'));
        above = patterns.inherited(directory.as_bytes());
    }
    true
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let rules = sensitive(&["*.log", "!important.log", "/var/important.log", "!/var/log"]);
    for (path, is_out) in [
        ("/x/a.log", true),
        ("/x/important.log", false),
        ("/var/important.log", true),
        ("/var/log/a.log", false),
        ("/x/a.txt", false),
    ] {
        assert_eq!(rules.rule_for(path.as_bytes()).is_some(), is_out, "{path}");
        assert_eq!(is_reached(&rules, "/", path), !is_out, "{path}");
    }
    let shown = rules.rule_for(b"/x/a.log").expect("a rule").to_string();
    assert_eq!(shown, "pattern \"*.log\" of --exclude");
}

#[test]
fn a_selection_of_directories_is_taken_back_in() {
    let rules =
        sensitive(&["/home/bob/*", "!/home/bob/Documents", "!/home/bob/.config", "*~", "node_modules"]);
    for (path, is_in) in [
        ("/home/bob", true),
        ("/home/bob/Downloads", false),
        ("/home/bob/Downloads/x", false),
        ("/home/bob/Documents", true),
        ("/home/bob/Documents/letter", true),
        ("/home/bob/Documents/letter~", false),
        ("/home/bob/.config/app/node_modules/x", false),
        ("/home/alice/x", true),
    ] {
        assert_eq!(is_reached(&rules, "/", path), is_in, "{path}");
        assert_eq!(is_reached(&rules, "/home", path), is_in, "{path}");
    }
}

#[test]
fn nothing_is_taken_back_in_below_a_directory_that_is_out() {
    let rules = sensitive(&["cache", "!cache/keep", "!/a/cache/keep"]);
    assert!(!is_reached(&rules, "/a", "/a/cache/keep"));
    assert!(is_reached(&rules, "/a", "/a/cach/keep"));
    let rules = sensitive(&["cache/*", "!cache/keep"]);
    assert!(is_reached(&rules, "/a", "/a/cache/keep/x"));
    assert!(!is_reached(&rules, "/a", "/a/cache/other/keep"));
}

#[test]
fn what_matches_a_source_or_above_leaves_out_what_is_below() {
    let rules = sensitive(&["data", "!data/keep"]);
    assert!(!is_reached(&rules, "/srv/data", "/srv/data/x"));
    assert!(is_reached(&rules, "/srv/data", "/srv/data/keep"));
    assert!(!is_reached(&sensitive(&["/srv"]), "/srv/data", "/srv/data/x"));
    assert!(!is_reached(&sensitive(&["/"]), "/srv", "/srv/x"));
    assert!(is_reached(&sensitive(&["/", "!/srv"]), "/srv", "/srv/x"));
}

#[test]
fn capital_and_small_letters_are_the_same_where_asked_for() {
    let rules = insensitive(&["*.JPG", "Ärger", "[A-C]x", "!keep.jpg"]);
    for (path, is_out) in [
        ("/P/a.jpg", true),
        ("/P/a.Jpg", true),
        ("/p/ÄRGER/x", true),
        ("/p/ärger", true),
        ("/p/bX", true),
        ("/p/KEEP.jpg", false),
        ("/p/a.png", false),
    ] {
        assert_eq!(rules.rule_for(path.as_bytes()).is_some(), is_out, "{path}");
        assert_eq!(is_reached(&rules, "/", path), !is_out, "{path}");
    }
    assert!(insensitive(&["/HOME/\u{130}x"]).rule_for("/home/ix".as_bytes()).is_some());
    assert!(insensitive(&["A"]).rule_for(b"/\xffA").is_none());
    assert!(sensitive(&["*.JPG"]).rule_for(b"/a.jpg").is_none());
}

#[test]
fn the_two_kinds_of_patterns_do_not_meddle_with_each_other() {
    let rules = Patterns::new(vec![given("*.tmp", false), given("!*.tmp", true)]).expect("patterns");
    assert!(rules.rule_for(b"/a.tmp").is_some());
    let rules = Patterns::new(vec![given("!a", false), given("A", true)]).expect("patterns");
    assert!(rules.rule_for(b"/a").is_some());
    let texts: Vec<&[u8]> = rules.given().map(|given| given.text.as_slice()).collect();
    assert_eq!(texts, [&b"!a"[..], b"A"]);
}

#[test]
fn walking_down_finds_what_a_whole_path_says() {
    // Of these, no directory is left out above a path that is taken back in.
    let sets: [&[&str]; 6] = [
        &["a", "b/*", "!b/a"],
        &["*", "!/a", "!/b", "b/b"],
        &["/a/**/b", "!a/b", "?b"],
        &["*b", "!ab", "a/ab"],
        &["!a", "a", "!a/b"],
        &["**/a/*", "!**/b"],
    ];
    let names = ["a", "b", "ab"];
    for set in sets {
        let rules = sensitive(set);
        for first in names {
            for second in names {
                for third in names {
                    let path = format!("/{first}/{second}/{third}");
                    let is_any_out = [format!("/{first}"), format!("/{first}/{second}"), path.clone()]
                        .iter()
                        .any(|path| rules.rule_for(path.as_bytes()).is_some());
                    assert_eq!(is_reached(&rules, "/", &path), !is_any_out, "{set:?} {path}");
                }
            }
        }
    }
}

#[test]
fn a_pattern_that_cannot_be_read_is_told_with_its_place() {
    let bad = GivenPattern {
        text: b"!x/[a-".to_vec(),
        ignores_case: true,
        origin: "--iexclude-file rules line 7".into(),
    };
    let error = Patterns::new(vec![given("ok", false), bad]).expect_err("a bad pattern");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "the pattern \"!x/[a-\" of --iexclude-file rules line 7 cannot be read");
    assert!(sensitive(&["", "!"]).rule_for(b"/a").is_none());
}

#[test]
fn nothing_is_left_out_by_default() {
    let rules = Excludes::default();
    assert!(rules.is_empty() && !rules.patterns.takes_back_in());
    assert!(rules.patterns.judge(b"/a", Inherited::default()).rule_for(b"x").is_none());
    assert!(!Excludes { one_file_system: true, ..Excludes::default() }.is_empty());
    assert!(!Excludes { patterns: sensitive(&["a"]), ..Excludes::default() }.is_empty());
    assert!(sensitive(&["a", "!b"]).takes_back_in());
    assert!(!sensitive(&["\\!b"]).takes_back_in());
}
