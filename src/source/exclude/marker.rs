//! Files that mark the directory in which they are: it is stored with its marker and nothing else.
//!
//! What must hold: a marker is a name and, where one is asked for, how its content begins; the content alone of a
//! file of the right name never marks anything.

use std::fmt;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::format::node::check_name;

/// The name and the beginning of cache directory tags: Bryan Ford, "Cache Directory Tagging Specification" 0.6.
const CACHE_TAG: (&[u8], &[u8]) = (b"CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");
/// Most bytes of a beginning: one look must be enough.
const HEADER_BYTES_MAX: usize = 4096;

/// A file that marks its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Its name.
    pub name: Vec<u8>,
    /// How it must begin; if empty, anything of that name is a marker.
    pub header: Vec<u8>,
    /// Which option asks for it, for messages.
    pub origin: &'static str,
}

impl Marker {
    /// The tag of cache directories.
    pub fn of_caches() -> Self {
        let (name, header) = CACHE_TAG;
        Self { name: name.to_vec(), header: header.to_vec(), origin: "--exclude-caches" }
    }

    /// A marker from `FILE` or `FILE:HEADER`. `Usage` if the first is no name of a file.
    pub fn parse(text: &[u8], origin: &'static str) -> Result<Self> {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default().to_vec();
        let header = parts.next().unwrap_or_default().to_vec();
        let refused = |why: &str| {
            let message = format!("\"{}\" of {origin} {why}", show_path(text));
            Error::new(ErrorKind::Usage, message)
        };
        if check_name(&name).is_err() {
            return Err(refused("does not begin with the name of a file: write FILE or FILE:HEADER"));
        }
        if header.len() > HEADER_BYTES_MAX {
            return Err(refused(&format!("has a header of more than {HEADER_BYTES_MAX} bytes")));
        }
        Ok(Self { name, header, origin })
    }
}

/// Names the marker and the option that asks for it.
impl fmt::Display for Marker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "beside {}, {}", show_path(&self.name), self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_name_and_perhaps_a_header() {
        let parse = |text: &str| Marker::parse(text.as_bytes(), "--exclude-if-present");
        let marker = |name: &str, header: &str| Marker {
            name: name.into(),
            header: header.into(),
            origin: "--exclude-if-present",
        };
        assert_eq!(parse(".nobackup").expect("a marker"), marker(".nobackup", ""));
        assert_eq!(parse("tag:a: b").expect("a marker"), marker("tag", "a: b"));
        assert_eq!(parse("tag:").expect("a marker"), marker("tag", ""));
        let long_name = "n".repeat(256);
        let long_header = format!("tag:{}", "h".repeat(HEADER_BYTES_MAX + 1));
        for bad in ["", ":header", ".", "..", "a/b", "/tag:x", "a\0b", &long_name, &long_header] {
            let error = parse(bad).expect_err("no marker");
            assert_eq!(error.kind(), ErrorKind::Usage, "{bad}");
            assert!(error.to_string().contains("--exclude-if-present"), "{error}");
        }
        assert_eq!(Marker::of_caches().header.len(), 43);
    }
}
