//! Names as file systems hold them: any bytes but NUL and `/`, and not `.` or `..`.

use std::ffi::CString;

use super::census::Feature;
use crate::support::random::Random;

/// The longest name that Linux file systems take.
pub const NAME_LIMIT_BYTES: usize = 255;

const WORDS: &[&str] =
    &["report", "Makefile", "main.rs", "photo", "base.sql", "wal", "index.html", "cache", "x"];

/// Names around `.` (2e) and `/` (2f) in byte order, where an order of paths is not the order of names.
const NEAR_SLASH: &[&str] =
    &["a", "a.", "a-b", "a0", "a b", "a.b", "a!", "a+", "...", "..a", ".a", "-", ".-", "0", "a-", "b"];

const DASHED: &[&str] = &["-rf", "--", "-", "--help", "-n", "-é"];

const BROKEN_LINES: &[&str] = &["line\nbreak", "\n", "\r\n", "end\n", "tab\tand\nline", "\x1b[31mred\n"];

const NOT_UTF8: &[&[u8]] =
    &[b"caf\xe9", b"\xff\xfe", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"ok\x80", b"\xf4\x90\x80\x80"];

/// Among them one letter composed and decomposed, which are two names.
const UNICODE: &[&str] = &["é", "e\u{301}", "日本語", "🦀", "ß", "İ", "\u{feff}bom", "\u{202e}txt"];

/// A random name and what is unusual about it. The same name may come again.
pub fn name(random: &mut Random) -> (Feature, CString) {
    let feature = random.weighted(&[
        (46, Feature::NamePlain),
        (16, Feature::NameSortsNearSlash),
        (3, Feature::NameEveryByte),
        (9, Feature::NameRandomBytes),
        (5, Feature::NameLeadingDash),
        (5, Feature::NameNewline),
        (6, Feature::NameNotUtf8),
        (4, Feature::Name255Bytes),
        (6, Feature::NameUnicode),
    ]);
    let bytes = match feature {
        Feature::NameSortsNearSlash => random.pick(NEAR_SLASH).as_bytes().to_vec(),
        Feature::NameEveryByte => every_byte(random),
        Feature::NameRandomBytes => random_bytes(random),
        Feature::NameLeadingDash => random.pick(DASHED).as_bytes().to_vec(),
        Feature::NameNewline => random.pick(BROKEN_LINES).as_bytes().to_vec(),
        Feature::NameNotUtf8 => random.pick(NOT_UTF8).to_vec(),
        Feature::Name255Bytes => long(random, NAME_LIMIT_BYTES),
        Feature::NameUnicode => random.pick(UNICODE).as_bytes().to_vec(),
        _ => plain(random),
    };
    (feature, CString::new(bytes).expect("a name holds no NUL"))
}

/// A name of exactly `length` bytes.
pub fn long(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes = format!("long-{:08x}-", random.below(1 << 32)).into_bytes();
    bytes.resize(length, *random.pick(b"abz~"));
    bytes
}

fn plain(random: &mut Random) -> Vec<u8> {
    format!("{}-{}", random.pick(WORDS), random.below(100)).into_bytes()
}

/// All 254 bytes that a name may hold, in one name; they begin with a random one.
fn every_byte(random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=u8::MAX).filter(|byte| *byte != b'/').collect();
    let start = random.range(0..bytes.len());
    bytes.rotate_left(start);
    bytes
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    let length = random.range(1..40);
    let mut bytes = random.bytes(length);
    for byte in &mut bytes {
        if *byte == 0 || *byte == b'/' {
            *byte = 1;
        }
    }
    if bytes == b"." || bytes == b".." {
        bytes.push(b'_');
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::name;
    use crate::support::random::Random;

    #[test]
    fn names_are_valid_and_together_hold_every_byte() {
        let mut random = Random::new(5);
        let mut seen = BTreeSet::new();
        for _ in 0..2000 {
            let (_, name) = name(&mut random);
            let bytes = name.as_bytes();
            assert!((1..=255).contains(&bytes.len()), "{name:?}");
            assert!(!bytes.contains(&b'/') && bytes != b"." && bytes != b"..", "{name:?}");
            seen.extend(bytes.iter().copied());
        }
        assert_eq!(seen.len(), 254);
    }
}
