//! `SNAP[:PATH]`: which snapshot, and what of it.
//!
//! What must hold: the path may be of any bytes and hold colons; the first colon ends the snapshot's name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result};

/// Which snapshot, and what of it.
#[derive(Debug, PartialEq, Eq)]
pub struct SnapshotPath<'a> {
    /// `latest`, `latest~N`, or the beginning of an id.
    pub snapshot: &'a str,
    /// A path in the snapshot; none: all of it.
    pub path: Option<&'a [u8]>,
}

impl<'a> SnapshotPath<'a> {
    /// Takes an argument apart.
    pub fn parse(argument: &'a OsStr) -> Result<Self> {
        let bytes = argument.as_bytes();
        let mut parts = bytes.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let snapshot = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or_else(|| {
            let message = format!("\"{}\" names no snapshot", show_path(bytes));
            Error::new(ErrorKind::Usage, message)
        })?;
        Ok(Self { snapshot, path: parts.next().filter(|path| !path.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_name_of_the_snapshot() {
        let parse = |argument: &'static [u8]| SnapshotPath::parse(OsStr::from_bytes(argument)).ok();
        let found = |snapshot, path| Some(SnapshotPath { snapshot, path });
        assert_eq!(parse(b"latest"), found("latest", None));
        assert_eq!(parse(b"latest:"), found("latest", None));
        assert_eq!(parse(b"latest~2:/etc"), found("latest~2", Some(b"/etc")));
        assert_eq!(parse(b"1a2b:/a:b\xff"), found("1a2b", Some(b"/a:b\xff")));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b":/etc"), None);
        assert_eq!(parse(b"\xff:/etc"), None);
    }
}
