//! What a database is named as a file, and back.
//!
//! What must hold: every name has one file name, which is one component of a path and hidden from nobody; from it the
//! name follows exactly.
//!
//! A name stands for itself but for these characters, of which each byte is written as `%` and two hexadecimal digits:
//! `%`, `/`, control characters, and a dot at the beginning. A name that is reserved has its first byte written so.

use crate::base::{Error, ErrorKind, Result};

/// The file name of a database, without what is put behind it. None of the `reserved` is given.
pub fn encode(name: &str, reserved: &[&str]) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (position, character) in name.char_indices() {
        let is_odd = matches!(character, '%' | '/') || character.is_control();
        if is_odd || position == 0 && (character == '.' || reserved.contains(&name)) {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        } else {
            encoded.push(character);
        }
    }
    encoded
}

/// The database of a file name.
pub fn decode(encoded: &str) -> Result<String> {
    let no_name = || Error::new(ErrorKind::Failed, format!("{encoded:?} is not the file name of a database"));
    let mut name = Vec::with_capacity(encoded.len());
    let mut parts = encoded.split('%');
    name.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(no_name)?;
        let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal);
        name.push(byte.ok_or_else(no_name)?);
        name.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(name).map_err(|_| no_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_from_its_file_name() {
        for (name, wanted) in [
            ("shop", "shop"),
            ("Ein Laden", "Ein Laden"),
            ("a/b", "a%2Fb"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            (".", "%2E"),
            ("..", "%2E."),
            ("a.b", "a.b"),
            ("100%", "100%25"),
            ("globals", "%67lobals"),
            ("globals2", "globals2"),
            ("a\nb\u{85}", "a%0Ab%C2%85"),
            ("漢'\"\\", "漢'\"\\"),
            ("", ""),
        ] {
            let encoded = encode(name, &["globals"]);
            assert_eq!(encoded, wanted);
            assert_eq!(decode(&encoded).expect("a name"), name);
        }
        for bad in ["%", "%2", "%zz", "%+1", "%FF", "a%é"] {
            decode(bad).expect_err(bad);
        }
    }
}
