//! What an object may be called, decided in one place for every storage.
//!
//! A name can say nothing but a place below the storage's root: there is no dot in it, so no way up, no hidden file and
//! no extension, and no upper case, so that two names never meet on a file system that folds case.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::base::id::to_hex;
use crate::base::{Error, ErrorKind, Result};

/// Most parts of a name.
pub const NAME_PARTS_MAX: usize = 4;
/// Longest part of a name in bytes.
pub const NAME_PART_BYTES_MAX: usize = 80;
/// The folder of what is not yet published; no object is ever in it.
pub(super) const UNFINISHED_FOLDER: &str = "tmp";
/// Random bytes of an unfinished object's name in it, which is these in hexadecimal.
const UNFINISHED_NAME_BYTES: usize = 16;

/// A name in `UNFINISHED_FOLDER` that nobody else has.
pub(super) fn unfinished_name() -> Result<String> {
    let mut random = [0; UNFINISHED_NAME_BYTES];
    getrandom::fill(&mut random)
        .map_err(|cause| Error::caused(ErrorKind::Failed, "the system gives no random bytes", cause))?;
    Ok(to_hex(&random))
}

/// Whether a name in `UNFINISHED_FOLDER` can be that of an unfinished object.
pub(super) fn is_unfinished(name: &[u8]) -> bool {
    name.len() == 2 * UNFINISHED_NAME_BYTES
        && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Name of an object: one to four parts joined by `/`, each of 1 to 80 bytes of `a`–`z`, `0`–`9` and `-`, not beginning
/// with `-`; the first is not `tmp`. Ordered bytewise over the whole name, so `a-b` comes before `a/b`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// The name that `text` spells, if it spells one.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.split('/').count() <= NAME_PARTS_MAX
            && text.split('/').all(is_part)
            && text.split('/').next() != Some(UNFINISHED_FOLDER);
        valid.then(|| Self(Arc::from(text)))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part.
    pub fn folder(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(first, _)| first)
    }

    /// All parts but the last, if there is more than one, and the last.
    pub(super) fn split_last(&self) -> (Option<&str>, &str) {
        self.0.rsplit_once('/').map_or((None, &*self.0), |(folder, last)| (Some(folder), last))
    }
}

/// Whether `text` may be a part of a name.
pub(super) fn is_part(text: &str) -> bool {
    (1..=NAME_PART_BYTES_MAX).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for ObjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_taken_apart() {
        let longest = ["z".repeat(NAME_PART_BYTES_MAX).as_str(); NAME_PARTS_MAX].join("/");
        for good in ["a", "config/00000000", "sessions/0a-1/start", "a/b/c/d", "a/tmp", "tmp1/x", &longest] {
            assert_eq!(ObjectName::parse(good).expect(good).as_str(), good);
        }
        let name = ObjectName::parse("packs/00/abc").expect("a name");
        assert_eq!(name.folder(), "packs");
        assert_eq!(name.split_last(), (Some("packs/00"), "abc"));
        assert_eq!(name.to_string(), "packs/00/abc");
        let single = ObjectName::parse("single").expect("a name");
        assert_eq!(single.folder(), "single");
        assert_eq!(single.split_last(), (None, "single"));
    }

    #[test]
    fn what_could_leave_the_root_or_be_misread_is_no_name() {
        let too_long = "z".repeat(NAME_PART_BYTES_MAX + 1);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a.b",
            ".a",
            "-a",
            "a/-b",
            "A",
            "a b",
            "a_b",
            "ä",
            "a\0b",
            "a\n",
            "a\\b",
            "a/b/c/d/e",
            "tmp",
            "tmp/x",
            &too_long,
        ] {
            assert_eq!(ObjectName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn order_is_that_of_the_whole_names_bytes() {
        let name = |text: &str| ObjectName::parse(text).expect("a name");
        assert!(name("a") < name("a-b"));
        assert!(name("a-b") < name("a/b"));
        assert!(name("a/b") < name("a0"));
    }
}
