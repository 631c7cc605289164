//! Fixed-width little-endian fields (format-spec chapter 1), for the tables that are too large for CBOR.
//!
//! What must hold: nothing is read beyond the input; the one place that knows the byte order.

use crate::format::{DecodeError, Decoded};

/// Takes fields from the front of its input; every failure is the given rule.
#[derive(Clone, Debug)]
pub struct FieldReader<'a> {
    rest: &'a [u8],
    rule: &'static str,
}

impl<'a> FieldReader<'a> {
    /// Reads these bytes; an input that is too short breaks `rule`.
    pub const fn new(bytes: &'a [u8], rule: &'static str) -> Self {
        Self { rest: bytes, rule }
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| DecodeError::new(self.rule, "ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A byte array.
    pub fn fixed<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| DecodeError::new(self.rule, "ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number of 32 bits.
    pub fn u32(&mut self) -> Decoded<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    pub fn u64(&mut self) -> Decoded<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A number of 8 bits followed by three reserved bytes that must be zero.
    pub fn u8_and_reserved(&mut self) -> Decoded<u8> {
        match self.fixed()? {
            [value, 0, 0, 0] => Ok(value),
            _ => Err(DecodeError::new(self.rule, "reserved bytes that are not zero")),
        }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// The 32-bit number at a position of a column; 0 beyond its end, which a caller excludes by its own bounds.
pub fn u32_at(column: &[u8], position: usize) -> u32 {
    let bytes = position.checked_mul(4).and_then(|start| column.get(start..)?.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
