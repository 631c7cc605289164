//! The header of a member, and the records of an extended one.
//!
//! What must hold: a header is 512 bytes, and its checksum is right; the length of a record counts itself.

use super::{LARGE_MAX, SMALL_MAX};

/// Bytes of a name in a header.
pub(super) const NAME_BYTES: usize = 100;
/// Bytes of the name of an owner or group in a header, without the NUL at its end.
pub(super) const OWNER_BYTES: usize = 31;

/// A header. What does not fit is cut off: the extended header before it has it whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Bytes that follow, without padding.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: u64,
    /// `0` a file, `1` a further name, `2` a symbolic link, `3` and `4` devices, `5` a directory, `6` a pipe, `x` an
    /// extended header.
    pub(super) kind: u8,
    pub(super) link: Vec<u8>,
    pub(super) user: Vec<u8>,
    pub(super) group: Vec<u8>,
    /// Major and minor number.
    pub(super) device: (u32, u32),
}

impl Header {
    /// The 512 bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut before = Vec::with_capacity(512);
        text(&mut before, &self.name, NAME_BYTES);
        for number in [u64::from(self.mode), self.uid, self.gid] {
            before.extend(octal(number.min(SMALL_MAX), 7));
        }
        for number in [self.size, self.mtime] {
            before.extend(octal(number.min(LARGE_MAX), 11));
        }
        let mut after = vec![self.kind];
        text(&mut after, &self.link, NAME_BYTES);
        after.extend(b"ustar\x0000");
        for name in [&self.user, &self.group] {
            text(&mut after, name.get(..name.len().min(OWNER_BYTES)).unwrap_or_default(), OWNER_BYTES + 1);
        }
        for number in [self.device.0, self.device.1] {
            after.extend(device(number));
        }
        after.resize(512 - before.len() - 8, 0);
        // The checksum counts itself as eight spaces.
        let sum: u64 = before.iter().chain(&after).map(|byte| u64::from(*byte)).sum();
        let checksum = format!("{:06o}\0 ", sum + 8 * u64::from(b' '));
        [before, checksum.into_bytes(), after].concat()
    }
}

/// A text in a field, with NULs behind it.
fn text(header: &mut Vec<u8>, text: &[u8], field_bytes: usize) {
    let end = header.len() + field_bytes;
    header.extend(text.iter().take(field_bytes));
    header.resize(end, 0);
}

/// A number in octal digits, and a NUL.
fn octal(number: u64, digits: usize) -> Vec<u8> {
    format!("{number:0digits$o}\0").into_bytes()
}

/// A device's number: what does not fit 7 octal digits is binary behind a marked first byte, as GNU tar has it.
fn device(number: u32) -> Vec<u8> {
    match u64::from(number) {
        fitting @ ..=SMALL_MAX => octal(fitting, 7),
        _ => [[0x80, 0, 0, 0], number.to_be_bytes()].concat(),
    }
}

/// The records of an extended header.
#[derive(Debug, Default)]
pub(super) struct Extended {
    records: Vec<u8>,
    has_binary_name: bool,
    is_sparse: bool,
}

impl Extended {
    /// Adds a record, whose keyword has no `=`.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        // The length, a space, the keyword, `=`, the value and the end of the line.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + decimal_digits(length) {
            length = rest + decimal_digits(length);
        }
        self.records.extend([length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat());
        self.is_sparse |= key.starts_with(b"GNU.sparse.");
    }

    /// Adds a name, which is UTF-8 unless it is said that it is not.
    pub(super) fn add_name(&mut self, key: &[u8], name: &[u8]) {
        self.has_binary_name |= std::str::from_utf8(name).is_err();
        self.add(key, name);
    }

    /// Whether it has the name of a sparse file, which goes before any other.
    pub(super) const fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// All records.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut all = Self::default();
        if self.has_binary_name {
            all.add(b"hdrcharset", b"BINARY");
        }
        [all.records.as_slice(), &self.records].concat()
    }
}

const fn decimal_digits(number: usize) -> usize {
    match number.checked_ilog10() {
        Some(digits) => digits as usize + 1,
        None => 1,
    }
}
