//! Rules of writing: where things are done, how long files are, which words are used.

use crate::support::code::{File, Part, line_of, only, path, tests_start};

use super::layers::first_names;

/// Most lines of a file.
const LINES_MAX: usize = 600;

/// Words that name nothing here.
const BANNED: [&str; 4] = ["archive", "backend", "band", "blob"];

/// Something that is done in few places.
struct Place {
    /// Tokens that do it.
    tokens: &'static [&'static str],
    /// Beginnings of the paths of files that may.
    allowed: &'static [&'static str],
    /// Unit tests may, too.
    in_tests: bool,
    /// Why only these.
    reason: &'static str,
}

const PLACES: [Place; 7] = [
    Place {
        tokens: &["SystemTime::now"],
        allowed: &["src/base/clock.rs"],
        in_tests: false,
        reason: "times come from base::clock, so that no rule of safety comes to depend on one unseen",
    },
    Place {
        tokens: &["std::env"],
        // What other programs inherit is nobody's choice.
        allowed: &["src/cli/", "src/source/program/passed_on.rs"],
        in_tests: true,
        reason: "the library never reads the environment: who calls it decides",
    },
    Place {
        tokens: &["println!", "eprintln!", "print!", "eprint!"],
        allowed: &["src/cli/"],
        in_tests: true,
        reason: "the library never prints: it tells a Monitor",
    },
    Place {
        tokens: &["process::exit", "process::abort"],
        allowed: &["src/cli/"],
        in_tests: true,
        reason: "the library never ends the process: it returns an error",
    },
    Place {
        tokens: &["Command"],
        allowed: &[
            "src/source/",
            "src/source.rs",
            "src/cli/",
            "src/storage/sftp.rs",
            "src/storage/sftp/",
            "src/storage/remote/rclone.rs",
        ],
        in_tests: true,
        reason: "other programs are started by sources, by the program, and to reach a storage only",
    },
    Place {
        tokens: &["unsafe"],
        allowed: &["src/repository/index/mapped.rs"],
        in_tests: false,
        reason: "a map of our own immutable file is the one thing that cannot be done without",
    },
    Place {
        tokens: &["to_le_bytes", "from_le_bytes"],
        allowed: &[
            "src/format/",
            "src/crypto/",
            "src/chunker.rs",
            "src/repository/index/table.rs",
            "src/state/row.rs",
            "src/ops/backup/print.rs",
            "src/ops/dump/zip/",
            "src/fsmeta/acl.rs",
            "src/source/engine/rdb.rs",
            "src/source/engine/redis/",
            "src/source/engine/mongodb/",
        ],
        in_tests: true,
        reason: "the byte order of stored numbers is known to the files that store them, or read and write those of others",
    },
];

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where a token stands in code as a whole.
fn whole<'a>(code: &'a str, token: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(token).map(|(position, _)| position).filter(move |position| {
        let before = code[..*position].chars().next_back();
        let after = code[position + token.len()..].chars().next();
        !before.is_some_and(is_part_of_name) && (token.ends_with('!') || !after.is_some_and(is_part_of_name))
    })
}

/// What is done outside of its place.
pub fn misplaced(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let code = only(&file.text, &[Part::Code]);
        let tests = tests_start(file);
        for place in &PLACES {
            if place.allowed.iter().any(|allowed| file.path.starts_with(allowed)) {
                continue;
            }
            let judged = if place.in_tests { &code[..tests] } else { code.as_str() };
            for token in place.tokens {
                let mut found: Vec<usize> = whole(judged, token).collect();
                // A name may also be imported in a group, as `use std::{env, fs}`.
                if let Some(("std", name)) = token.split_once("::") {
                    let grouped = first_names(judged, "std").into_iter().filter(|(first, _)| first == name);
                    found.extend(grouped.map(|(_, position)| position));
                }
                found.sort_unstable();
                found.dedup_by_key(|position| line_of(&code, *position));
                for position in found {
                    let line = line_of(&code, position);
                    violations
                        .push(format!("{}:{line}: {token} is not used here: {}", file.path, place.reason));
                }
            }
        }
    }
    violations
}

/// Files that do not begin with what they are for.
pub fn without_purpose(files: &[File]) -> Vec<String> {
    let without = files.iter().filter(|file| !file.text.starts_with("//! "));
    without
        .map(|file| format!("{}:1: does not begin with `//!`: why it exists, what must hold", file.path))
        .collect()
}

/// Files that are too long to be read at once.
pub fn too_long(files: &[File]) -> Vec<String> {
    let lines = files.iter().map(|file| (file, file.text.lines().count()));
    let long = lines.filter(|(_, lines)| *lines > LINES_MAX);
    long.map(|(file, lines)| {
        format!("{}: {lines} lines; {LINES_MAX} are the most that is read at once", file.path)
    })
    .collect()
}

/// Imports of everything, unit tests that import what they test apart.
pub fn globs(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let code = only(&file.text, &[Part::Code]);
        let tests = tests_start(file);
        for position in whole(&code, "use") {
            let Some(end) = code[position..].find(';') else { continue };
            let import: String = code[position..position + end].split_whitespace().collect();
            let is_test_of_parent = import == "usesuper::*" && position >= tests;
            if import.contains('*') && !is_test_of_parent {
                let line = line_of(&code, position);
                violations.push(format!(
                    "{}:{line}: imports by `*`: a reader must see what a file uses",
                    file.path
                ));
            }
        }
    }
    violations
}

/// Single words of names and sentences, in small letters: `BlobStore`, `blob_store` and "a blob" all have one.
fn words(text: &str) -> Vec<(String, usize)> {
    let mut words: Vec<(String, usize)> = Vec::new();
    let mut before = ' ';
    for (position, character) in text.char_indices() {
        if character.is_alphabetic() {
            let begins = !before.is_alphabetic() || (before.is_lowercase() && character.is_uppercase());
            match words.last_mut() {
                Some((word, _)) if !begins => word.extend(character.to_lowercase()),
                _ => words.push((character.to_lowercase().collect(), position)),
            }
        }
        before = character;
    }
    words
}

/// Words that mean something elsewhere and nothing here.
pub fn banned_words(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let text = only(&file.text, &[Part::Code, Part::Comment]);
        for (word, position) in words(&text) {
            if BANNED.contains(&word.as_str()) {
                let line = line_of(&text, position);
                violations.push(format!(
                    "{}:{line}: the word {word:?}: one thing has one name, see the words in ARCHITECTURE.md",
                    file.path
                ));
            }
        }
    }
    violations
}

/// Files beside the root of the tests that it does not list, so that their tests never run.
pub fn unlisted_tests(files: &[File], root: &File) -> Vec<String> {
    let code = only(&root.text, &[Part::Code]);
    let folder = root.path.strip_suffix("main.rs").unwrap_or(&root.path);
    let names = files.iter().filter_map(|file| file.path.strip_prefix(folder)?.strip_suffix(".rs"));
    let unlisted = names.filter(|name| {
        let is_beside = !name.contains('/') && *name != "main";
        is_beside && !code.lines().any(|line| line.trim() == format!("mod {name};"))
    });
    unlisted.map(|name| format!("{}: does not list {name}; its tests would never run", root.path)).collect()
}

/// Paths that a document names and that are not there.
pub fn missing_paths(document: &File) -> Vec<String> {
    let quoted = document.text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|quoted| {
        ["src/", "tests/", "format-spec/", "fuzz/", "scripts/"].iter().any(|root| quoted.starts_with(root))
            && !quoted.contains(' ')
    });
    let missing = paths.filter(|relative| !path(relative).exists());
    missing.map(|relative| format!("{}: there is no {relative}", document.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn what_is_done_in_the_wrong_place_is_found() {
        for bad in [
            "let now = SystemTime::now();",
            "std::env::var(\"A\")",
            "use std::env;",
            "use std::{env, fs};",
            "println!(\"a\")",
            "eprint!(\"a\")",
            "std::process::exit(1)",
            "use std::process::{Child, Command};",
            "unsafe { f() }",
            "1_u32.to_le_bytes()",
            "u64::from_le_bytes(bytes)",
        ] {
            let violations = misplaced(&[file("src/ops.rs", &format!("//! x\n{bad}\n"))]);
            assert_eq!(violations.len(), 1, "{bad}: {violations:?}");
            assert!(violations[0].starts_with("src/ops.rs:2: "), "{violations:?}");
        }
        for good in [
            "// SystemTime::now",
            "\"println!\"",
            "unsafe_code",
            "writeln!(a)",
            "MyCommand",
            "std::process::id()",
        ] {
            assert_eq!(misplaced(&[file("src/ops.rs", good)]), [""; 0], "{good}");
        }
        for (bad, count) in [("println!()", 0), ("SystemTime::now()", 1), ("unsafe {}", 1)] {
            assert_eq!(misplaced(&[file("src/ops/tests.rs", bad)]).len(), count, "{bad}");
        }
        for (place, good) in [
            ("src/base/clock.rs", "SystemTime::now()"),
            ("src/cli/main.rs", "std::env::args(); println!(); std::process::exit(0)"),
            ("src/source/stream.rs", "Command::new(a)"),
            ("src/repository/index/mapped.rs", "unsafe {}"),
            ("src/format/fields.rs", "u32::from_le_bytes"),
        ] {
            assert_eq!(misplaced(&[file(place, good)]), [""; 0], "{good}");
        }
    }

    #[test]
    fn files_without_purpose_and_long_files_are_found() {
        assert_eq!(without_purpose(&[file("a.rs", "//! Why.\n")]), [""; 0]);
        for bad in ["", "fn main() {}", "//!\n", "// x", "\n//! x"] {
            assert_eq!(without_purpose(&[file("a.rs", bad)]).len(), 1, "{bad:?}");
        }
        assert_eq!(too_long(&[file("a.rs", &"\n".repeat(LINES_MAX))]), [""; 0]);
        assert_eq!(too_long(&[file("a.rs", &"\n".repeat(LINES_MAX + 1))]).len(), 1);
    }

    #[test]
    fn stars_are_found() {
        let globs = |path: &str, text: &str| super::globs(&[file(path, text)]);
        for bad in ["use a::*;", "pub use a::{b, c::*};", "use super::*;", "use\n a::{\n *,\n };"] {
            assert_eq!(globs("src/a.rs", bad).len(), 1, "{bad}");
        }
        assert_eq!(globs("src/a.rs", "\n#[cfg(test)]\nmod tests {\n    use crate::a::*;\n}").len(), 1);
        let good = "use a::b; let c = d * e; // use f::*;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}";
        assert_eq!(globs("src/a.rs", good), [""; 0]);
        assert_eq!(globs("src/a/tests.rs", "use super::*;"), [""; 0]);
    }

    #[test]
    fn banned_words_are_found_in_names_and_comments() {
        for bad in [
            "// a blob",
            "struct BlobStore;",
            "let my_blob = 1;",
            "fn to_archive() {}",
            "//! a Backend",
            "enum Band {}",
        ] {
            assert_eq!(banned_words(&[file("src/a.rs", bad)]).len(), 1, "{bad}");
        }
        for good in ["let a = \"data_blobs\";", "// bandwidth, husband, archives", "let blobby = 1;"] {
            assert_eq!(banned_words(&[file("src/a.rs", good)]), [""; 0], "{good}");
        }
    }

    #[test]
    fn forgotten_tests_and_paths_are_found() {
        let root = file("tests/it/main.rs", "//! x\n#[cfg(test)]\nmod a;\n// mod b;\n");
        let files = ["main.rs", "a.rs", "a/c.rs"].map(|name| file(&format!("tests/it/{name}"), ""));
        assert_eq!(unlisted_tests(&files, &root), [""; 0]);
        assert_eq!(unlisted_tests(&[file("tests/it/b.rs", "")], &root).len(), 1);
        assert_eq!(
            missing_paths(&file("A.md", "see `src/base.rs` and `src/*` of `cargo test src/no`")).len(),
            1
        );
        assert_eq!(missing_paths(&file("A.md", "see `src/no-such-file.rs`")).len(), 1);
        assert_eq!(missing_paths(&file("A.md", "see `src/base.rs`, `format-spec/`, `no/such`")), [""; 0]);
    }
}
