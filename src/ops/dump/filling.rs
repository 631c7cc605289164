//! Where the bytes of a file's content go in what is written of it: all of it with zeros for its holes, or data alone.
//!
//! What must hold: what is written of a region is as long as the region; content beyond what the file has room for is
//! damage.

use std::ops::Range;

use crate::base::{Error, Result};
use crate::format::node::{Extent, Regular};

/// Zeros are written in pieces of so many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Takes bytes that are to be written.
pub(super) type Put<'p> = &'p mut dyn FnMut(&[u8]) -> Result<()>;

/// A file under way.
#[derive(Debug)]
pub(super) struct Filling {
    /// Where content belongs, the next piece last.
    extents: Vec<Extent>,
    /// What of the file is written, the next region last.
    regions: Vec<Range<u64>>,
    position: u64,
}

impl Filling {
    /// Writes all of a file.
    pub(super) fn whole(regular: &Regular) -> Self {
        Self::of(regular, std::iter::once(0..regular.size).collect())
    }

    /// Writes some regions of a file, which are ascending and hold all its data.
    pub(super) fn of(regular: &Regular, mut regions: Vec<Range<u64>>) -> Self {
        let mut extents = match &regular.extents {
            Some(extents) => extents.clone(),
            None => vec![Extent { offset: 0, length: regular.size }],
        };
        extents.reverse();
        regions.reverse();
        Self { extents, regions, position: 0 }
    }

    /// Writes the next piece of the content, with zeros for holes before it.
    pub(super) fn write(&mut self, content: &[u8], put: Put<'_>) -> Result<()> {
        let mut rest = content;
        while !rest.is_empty() {
            let Some(extent) = self.extents.last().copied() else {
                return Err(Error::damaged("more content than the file has room for (format rule NODE-7)"));
            };
            self.fill_to(extent.offset, put)?;
            let length = rest.len().min(usize::try_from(extent.length).unwrap_or(usize::MAX));
            let (now, after) = rest.split_at(length);
            put(now)?;
            rest = after;
            let taken = length as u64;
            self.position = extent.offset + taken;
            self.extents.pop();
            if extent.length > taken {
                self.extents.push(Extent { offset: extent.offset + taken, length: extent.length - taken });
            }
        }
        Ok(())
    }

    /// Writes what is left: holes at the end. Data that never came is damage.
    pub(super) fn finish(mut self, put: Put<'_>) -> Result<()> {
        if self.extents.iter().any(|extent| extent.length > 0) {
            return Err(Error::damaged("less content than the file has data (format rule NODE-7)"));
        }
        self.fill_to(u64::MAX, put)
    }

    /// Goes to a position, with zeros for what of the regions lies before it.
    fn fill_to(&mut self, target: u64, put: Put<'_>) -> Result<()> {
        while self.position < target {
            let Some(region) = self.regions.last() else { break };
            if region.end <= self.position {
                self.regions.pop();
                continue;
            }
            if self.position < region.start {
                self.position = region.start.min(target);
                continue;
            }
            let length = region.end.min(target) - self.position;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROS.len());
            put(ZEROS.get(..length).unwrap_or_default())?;
            self.position += length as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Content;

    fn sparse(extents: &[(u64, u64)], size: u64) -> Regular {
        let extent = |(offset, length): &(u64, u64)| Extent { offset: *offset, length: *length };
        let extents = Some(extents.iter().map(extent).collect());
        Regular { size, content: Content::Empty, extents, changed_while_read: false }
    }

    fn written(mut filling: Filling, pieces: &[&[u8]]) -> Result<Vec<u8>> {
        let mut written = Vec::new();
        let mut put = |bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok(())
        };
        pieces.iter().try_for_each(|piece| filling.write(piece, &mut put))?;
        filling.finish(&mut put)?;
        Ok(written)
    }

    #[test]
    fn holes_are_zeros_where_they_are_written() {
        let file = sparse(&[(2, 3), (8, 2)], 12);
        let all = written(Filling::whole(&file), &[b"abc", b"de"]).expect("written");
        assert_eq!(all, b"\0\0abc\0\0\0de\0\0");
        let pieces: [&[u8]; 3] = [b"a", b"bcd", b"e"];
        assert_eq!(written(Filling::whole(&file), &pieces).expect("written"), all);
        let data = Filling::of(&file, vec![2..6, 8..10]);
        assert_eq!(written(data, &[b"abcde"]).expect("written"), b"abc\0de");
        let plain = Regular { extents: None, ..sparse(&[], 3) };
        assert_eq!(written(Filling::whole(&plain), &[b"ab", b"c"]).expect("written"), b"abc");
        let hole = sparse(&[], 1 << 17);
        assert_eq!(written(Filling::whole(&hole), &[]).expect("written"), vec![0; 1 << 17]);
        assert_eq!(written(Filling::of(&hole, Vec::new()), &[]).expect("written"), b"");
    }

    #[test]
    fn content_that_does_not_fit_is_damage() {
        let file = sparse(&[(2, 3)], 12);
        assert!(written(Filling::whole(&file), &[b"abcd"]).is_err());
        assert!(written(Filling::whole(&file), &[b"ab"]).is_err());
    }
}
