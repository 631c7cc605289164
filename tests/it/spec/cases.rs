//! Reads `format-spec/vectors/`: `key: value` lines, a blank line after each case, `#` before remarks.

use std::collections::BTreeMap;

use crate::support::code::read;

/// One case of a file of vectors.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and line at which it begins.
    pub place: String,
    fields: BTreeMap<String, String>,
}

impl Case {
    /// A value; every case of a file has the same keys, so that a missing one is a mistake in the file.
    pub fn text(&self, key: &str) -> &str {
        self.fields.get(key).unwrap_or_else(|| panic!("{}: no {key}", self.place))
    }

    /// A value that a case may leave out.
    pub fn optional(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// A decimal number.
    pub fn number(&self, key: &str) -> u64 {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| panic!("{}: {key} is {text:?}", self.place))
    }

    /// A number that fits a size in memory.
    pub fn size(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).expect("a size")
    }

    /// Bytes from hexadecimal digits.
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key);
        assert!(text.is_ascii() && text.len().is_multiple_of(2), "{}: {key}", self.place);
        let pairs = (0..text.len() / 2).map(|position| &text[2 * position..2 * position + 2]);
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
    }

    /// So many bytes from hexadecimal digits.
    pub fn fixed<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|_| panic!("{}: {key} is not {N} bytes", self.place))
    }
}

/// The cases of a file; at least two.
pub fn cases(file: &str) -> Vec<Case> {
    let file = read(&format!("format-spec/vectors/{file}"));
    let mut cases: Vec<Case> = Vec::new();
    let mut is_between = true;
    for (number, line) in file.text.lines().enumerate() {
        if line.is_empty() {
            is_between = true;
        } else if !line.starts_with('#') {
            if is_between {
                let place = format!("{}:{}", file.path, number + 1);
                cases.push(Case { place, fields: BTreeMap::new() });
                is_between = false;
            }
            let case = cases.last_mut().expect("a case");
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{}: {line}", case.place));
            let before = case.fields.insert(key.to_owned(), value.trim().to_owned());
            assert_eq!(before, None, "{}: {key} twice", case.place);
        }
    }
    assert!(cases.len() >= 2, "{}", file.path);
    cases
}
