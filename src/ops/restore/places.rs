//! Where the bytes of a file's content go: a sparse file's content is its data extents, one after the other.

use crate::base::{Error, Result};
use crate::format::node::{Extent, Regular};

/// Calls `write` with each part of `bytes`, which stand at `content_offset` of the content, and its offset in the file.
pub(super) fn write_content(
    regular: &Regular,
    content_offset: u64,
    bytes: &[u8],
    write: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let whole = [Extent { offset: 0, length: regular.size }];
    let extents = regular.extents.as_deref().unwrap_or(&whole);
    let mut rest = bytes;
    let mut wanted = content_offset;
    let mut before = 0_u64;
    for extent in extents {
        if rest.is_empty() {
            break;
        }
        let end = before + extent.length;
        if wanted < end {
            let within = wanted - before;
            let room = usize::try_from(extent.length - within).unwrap_or(usize::MAX);
            let (now, after) = rest.split_at(rest.len().min(room));
            write(now, extent.offset + within)?;
            wanted += now.len() as u64;
            rest = after;
        }
        before = end;
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(Error::damaged("more content than the file has room for (format rule NODE-7)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Content;

    #[test]
    fn content_goes_where_its_extents_are() {
        let extent = |offset, length| Extent { offset, length };
        let mut regular = Regular {
            size: 100,
            content: Content::Empty,
            extents: Some(vec![extent(10, 3), extent(50, 4), extent(90, 2)]),
            changed_while_read: false,
        };
        let written = |regular: &Regular, offset, bytes: &[u8]| {
            let mut calls = Vec::new();
            let result = write_content(regular, offset, bytes, &mut |part, place| {
                calls.push((part.to_vec(), place));
                Ok(())
            });
            result.map(|()| calls).map_err(drop)
        };
        let all = vec![(b"abc".to_vec(), 10), (b"defg".to_vec(), 50), (b"hi".to_vec(), 90)];
        assert_eq!(written(&regular, 0, b"abcdefghi"), Ok(all));
        assert_eq!(written(&regular, 2, b"cd"), Ok(vec![(b"c".to_vec(), 12), (b"d".to_vec(), 50)]));
        assert_eq!(written(&regular, 3, b"d"), Ok(vec![(b"d".to_vec(), 50)]));
        assert_eq!(written(&regular, 8, b"ij"), Err(()));
        regular.extents = None;
        assert_eq!(written(&regular, 7, b"xy"), Ok(vec![(b"xy".to_vec(), 7)]));
        assert_eq!(written(&regular, 99, b"xy"), Err(()));
    }
}
