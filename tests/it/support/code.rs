//! The project's own files as text, for tests that hold what is written in one place against another.
//!
//! What must hold: comments, texts and code are told apart, so that a word in one is never taken for a word in another.

use std::path::{Path, PathBuf};

/// A file of the project.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the root of the project, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// What a character of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the compiler runs.
    Code,
    /// A comment, its slashes included.
    Comment,
    /// A literal of text, bytes or a character, its quotes included.
    Literal,
}

/// A path below the root of the project.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// A file of the project.
pub fn read(relative: &str) -> File {
    let text = std::fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"));
    File { path: relative.to_owned(), text }
}

/// All files below a folder whose names end so, sorted by path.
pub fn files(folder: &str, ending: &str) -> Vec<File> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(path(&folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            let entry = entry.expect("an entry of a folder");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let relative = format!("{folder}/{name}");
            match entry.file_type().expect("its type").is_dir() {
                true => folders.push(relative),
                false if name.ends_with(ending) => paths.push(relative),
                false => {}
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Rust source with all but the wanted parts made blank; every line and byte stays where it is.
pub fn only(text: &str, wanted: &[Part]) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut result = String::with_capacity(text.len());
    let mut position = 0;
    while position < characters.len() {
        let (part, length) = token(&characters, position);
        for character in &characters[position..position + length] {
            match *character == '\n' || wanted.contains(&part) {
                true => result.push(*character),
                false => result.extend(std::iter::repeat_n(' ', character.len_utf8())),
            }
        }
        position += length;
    }
    result
}

/// The part at a position and how many characters of it follow at least.
fn token(characters: &[char], position: usize) -> (Part, usize) {
    let rest = &characters[position..];
    let left = rest.len();
    let until = |end: &str, from: usize| {
        let end: Vec<char> = end.chars().collect();
        let found =
            rest.get(from..).and_then(|rest| rest.windows(end.len()).position(|window| window == end));
        found.map_or(left, |found| from + found + end.len())
    };
    match rest {
        ['/', '/', ..] => (Part::Comment, rest.iter().position(|c| *c == '\n').unwrap_or(left)),
        ['/', '*', ..] => (Part::Comment, nested_comment(rest)),
        ['"', ..] => (Part::Literal, 1 + text_length(&rest[1..], '"')),
        ['\'', '\\', ..] => (Part::Literal, 1 + text_length(&rest[1..], '\'')),
        ['\'', _, '\'', ..] => (Part::Literal, 3),
        [first, ..] if first.is_alphanumeric() || *first == '_' => {
            let word = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            let hashes = rest[word..].iter().take_while(|c| **c == '#').count();
            // `r`, `br` and `cr` begin raw literals.
            let is_raw = word <= 2 && rest[word - 1] == 'r';
            match rest.get(word + hashes) {
                Some('"') if is_raw => {
                    let end = format!("\"{}", "#".repeat(hashes));
                    (Part::Literal, until(&end, word + hashes + 1))
                }
                _ => (Part::Code, word),
            }
        }
        _ => (Part::Code, 1),
    }
}

fn nested_comment(rest: &[char]) -> usize {
    let (mut depth, mut position) = (0, 0);
    while position < rest.len() {
        match &rest[position..] {
            ['/', '*', ..] => (depth, position) = (depth + 1, position + 2),
            ['*', '/', ..] => (depth, position) = (depth - 1, position + 2),
            _ => position += 1,
        }
        if depth == 0 {
            break;
        }
    }
    position
}

/// Characters up to and with the closing quote.
fn text_length(rest: &[char], quote: char) -> usize {
    let mut position = 0;
    while let Some(character) = rest.get(position) {
        match character {
            '\\' => position += 2,
            found if *found == quote => return position + 1,
            _ => position += 1,
        }
    }
    rest.len()
}

/// Where the unit tests of a source file begin, in bytes; its length if it has none, 0 if it is nothing else.
pub fn tests_start(file: &File) -> usize {
    if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
        return 0;
    }
    let marks = ["", "pub ", "pub(super) ", "pub(crate) "]
        .map(|seen_by| format!("#[cfg(test)]\n{seen_by}mod tests {{"));
    marks.iter().filter_map(|mark| file.text.find(mark)).min().unwrap_or(file.text.len())
}

/// The number of the line, from 1, in which a byte of a text stands.
pub fn line_of(text: &str, position: usize) -> usize {
    1 + text[..position].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_literals_and_code_are_told_apart() {
        let source = concat!(
            "use a::b; // use c\n",
            "/* d /* e */ f */ let g = \"h // \\\" i\"; let j = 'k'; fn l<'m>() {}\n",
            "let n = r#\"o \" p\"#; let q = br\"r\\\"; let s = b't'; let u = '\\''; let v = \"w\n",
            "x\"; y"
        );
        let words = |part| only(source, &[part]).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let code = words(Part::Code).join(" ");
        assert_eq!(
            code,
            "use a::b; let g = ; let j = ; fn l<'m>() {} let n = ; let q = ; let s = b ; let u = ; let v = ; y"
        );
        assert_eq!(words(Part::Comment).join(" "), "// use c /* d /* e */ f */");
        assert_eq!(
            words(Part::Literal).join(" "),
            "\"h // \\\" i\" 'k' r#\"o \" p\"# br\"r\\\" 't' '\\'' \"w x\""
        );
        assert_eq!(only(source, &[]).matches('\n').count(), 3);
        assert_eq!(only("/* ß→ */ x", &[Part::Code]), "            x");
    }

    #[test]
    fn unit_tests_are_found() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        assert_eq!(tests_start(&file("src/a.rs", "x\n#[cfg(test)]\nmod tests {\n}")), 2);
        assert_eq!(tests_start(&file("src/a.rs", "x\n#[cfg(test)]\npub mod tests {\n}")), 2);
        assert_eq!(tests_start(&file("src/a.rs", "x\n#[cfg(test)]\npub(crate) mod tests {\n}")), 2);
        assert_eq!(tests_start(&file("src/a.rs", "x\npub mod tests {\n}")), 19);
        assert_eq!(tests_start(&file("src/a.rs", "x\n#[cfg(test)]\nmod tests;\n")), 26);
        assert_eq!(tests_start(&file("src/a/tests.rs", "x")), 0);
        assert_eq!(tests_start(&file("src/a/tests/b.rs", "x")), 0);
        assert_eq!(line_of("a\nb\nc", 2), 2);
    }
}
