//! Keys as text that people can write down: 64 hexadecimal digits, or 24 words with a check in the last of them.
//!
//! What must hold: what is read back is the key that was shown, or it is refused; no error shows a part of a key.

use bip39::{Language, Mnemonic};
use packstone::base::{Error, ErrorKind, Result};
use packstone::crypto::Secret;
use zeroize::Zeroizing;

use super::KEY_BYTES;
use crate::show;

/// Words of a key: 256 bits and a check of 8, by 11 bits a word (BIP 39).
const WORDS: usize = 24;
/// Longest word of the English list.
const WORD_BYTES_MAX: usize = 8;
const DIGITS: usize = 2 * KEY_BYTES;

/// The key in a text, with any white space between digits or words; else what the text is instead.
pub fn parse(text: &str) -> std::result::Result<Secret, String> {
    let parts = || text.split_ascii_whitespace();
    if parts().next().is_none() {
        return Err("it holds no text".into());
    }
    let characters = || parts().flat_map(str::chars);
    let count = characters().count();
    // A text of words can do with these letters alone, but not with so many of them.
    if characters().all(|character| character.is_ascii_hexdigit()) && count.abs_diff(DIGITS) < WORDS {
        return parse_digits(characters()).ok_or_else(|| format!("it holds {count} hexadecimal digits"));
    }
    if characters().all(|character| character.is_ascii_alphabetic()) {
        return parse_words(text);
    }
    Err(format!("it holds {} bytes", text.len()))
}

fn parse_digits(digits: impl Iterator<Item = char>) -> Option<Secret> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    let mut length = 0;
    for digit in digits {
        let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok())?;
        let byte = key.get_mut(length / 2)?;
        *byte = *byte << 4 | value;
        length += 1;
    }
    (length == DIGITS).then(|| Secret::new(*key))
}

fn parse_words(text: &str) -> std::result::Result<Secret, String> {
    let count = text.split_ascii_whitespace().count();
    if count != WORDS {
        return Err(format!("it holds {}", show::count(count as u64, "word")));
    }
    // As long as it becomes, so that no copy is left behind by growing.
    let mut small = Zeroizing::new(String::with_capacity(text.len()));
    small.push_str(text);
    small.make_ascii_lowercase();
    let words = Mnemonic::parse_in_normalized(Language::English, &small).map_err(|error| match error {
        bip39::Error::UnknownWord(position) => {
            format!("word {} is not on the list (BIP 39, English)", position + 1)
        }
        _ => "its words do not fit together: one of them is another one, or two changed places".into(),
    })?;
    let entropy = Zeroizing::new(words.to_entropy_array().0);
    let key: &[u8; KEY_BYTES] = entropy.first_chunk().ok_or("its words hold too little")?;
    Ok(Secret::new(*key))
}

/// The words of a key, with a blank between them.
pub fn words(key: &Secret) -> Result<Zeroizing<String>> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, key.expose())
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot put the key into words", cause))?;
    let mut words = Zeroizing::new(String::with_capacity(WORDS * (WORD_BYTES_MAX + 1)));
    for word in mnemonic.words() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    Ok(words)
}

/// The digits of a key.
pub fn digits(key: &Secret) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(DIGITS));
    for byte in key.expose() {
        for nibble in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of which no two words are equal.
    fn key() -> Secret {
        let mut bytes = [0; KEY_BYTES];
        for (position, byte) in (1..).zip(&mut bytes) {
            *byte = 37_u8.wrapping_mul(position);
        }
        Secret::new(bytes)
    }

    #[test]
    fn a_key_is_read_back_from_what_is_shown_of_it() {
        for key in [key(), Secret::new([0; 32]), Secret::new([0xff; 32])] {
            let digits = digits(&key);
            let words = words(&key).expect("words");
            assert_eq!(parse(&digits), Ok(key.clone()));
            assert_eq!(parse(&format!("{}\r\n", digits.to_uppercase())), Ok(key.clone()));
            let groups: Vec<&str> =
                digits.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
            assert_eq!(parse(&format!("  {}\n\n", groups.join("\n "))), Ok(key.clone()));
            assert_eq!(parse(&words), Ok(key.clone()));
            assert_eq!(parse(&format!("\n{}\r\n", words.to_uppercase().replace(' ', "\r\n  "))), Ok(key));
        }
    }

    #[test]
    fn words_are_those_of_the_standard() {
        // The vectors of BIP 39 for 256 bits of zeros and of ones.
        let of = |byte| words(&Secret::new([byte; 32])).expect("words");
        assert_eq!(*of(0), "abandon ".repeat(23) + "art");
        assert_eq!(*of(0xff), "zoo ".repeat(23) + "vote");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let all = words(&key()).expect("words");
        let all: Vec<&str> = all.split(' ').collect();
        for (position, word) in all.iter().enumerate() {
            let mut wrong = all.clone();
            wrong[position] = "packstone";
            let expected = format!("word {} is not on the list (BIP 39, English)", position + 1);
            assert_eq!(parse(&wrong.join(" ")), Err(expected), "{word}");
        }
        let mut swapped = all.clone();
        swapped.swap(2, 3);
        assert!(parse(&swapped.join(" ")).expect_err("swapped").contains("changed places"));
        let refused = |text: &str| parse(text).expect_err("no key");
        assert_eq!(refused(&all[..23].join(" ")), "it holds 23 words");
        assert_eq!(refused(&format!("{} zoo", all.join(" "))), "it holds 25 words");
        assert_eq!(refused(&"ab".repeat(31)), "it holds 62 hexadecimal digits");
        assert_eq!(refused(&"abc".repeat(23)), "it holds 69 hexadecimal digits");
        assert_eq!(refused("secret"), "it holds 1 word");
        assert_eq!(refused(&format!("{}g", "a1".repeat(32))), "it holds 65 bytes");
        assert_eq!(refused(" \n"), "it holds no text");
        assert_eq!(refused("städte"), "it holds 7 bytes");
    }
}
