//! The records of a zip file, as in APPNOTE.TXT 6.3: numbers are little-endian.
//!
//! What must hold: a field that is too small for its number has all bits set, and the number stands in a field of 64 bits
//! behind; a member's time stands as seconds since 1970 wherever it fits 32 bits, beside the one in local time, which here
//! is UTC.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use crate::base::Timestamp;
use crate::format::node::Metadata;

/// Sizes follow behind the content.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
/// The version of the format that is needed for compression and directories, and for fields of 64 bits.
const VERSION: u16 = 20;
const VERSION_LARGE: u16 = 45;
/// Made on Unix: attributes are those of a node there.
const MADE_ON_UNIX: u16 = 3 << 8;
/// The largest number in 32 bits that does not say that it stands elsewhere.
const NARROW_MAX: u64 = 0xffff_fffe;
/// 1980-01-01, the earliest day that can be said.
const EARLIEST_DATE: u16 = (1 << 5) | 1;

/// How long a member is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) plain: u64,
    pub(super) stored: u64,
}

/// A member.
#[derive(Debug)]
pub(super) struct Row {
    name: Vec<u8>,
    kind: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    offset: u64,
    /// Whether its sizes were said to have 64 bits before they were known.
    pub(super) is_large: bool,
    pub(super) is_compressed: bool,
    has_descriptor: bool,
    pub(super) checksum: u32,
    pub(super) lengths: Lengths,
}

impl Row {
    /// A member that begins at an offset, of a kind as in `sys/stat.h`.
    pub(super) fn of(name: Vec<u8>, kind: u32, metadata: &Metadata, offset: u64) -> Self {
        let Metadata { mode, uid, gid, mtime, .. } = *metadata;
        Self {
            name,
            kind,
            mode: mode.into(),
            uid,
            gid,
            mtime,
            offset,
            is_large: false,
            is_compressed: false,
            has_descriptor: false,
            checksum: 0,
            lengths: Lengths::default(),
        }
    }

    /// What both the header and the row of the directory say: version, flags, method, time, date, checksum, sizes,
    /// (stored, then plain), lengths of the name and of what is added.
    fn common(&self, version: u16, lengths: [u32; 2], added_bytes: usize) -> Vec<u8> {
        let mut flags = 0;
        if self.has_descriptor {
            flags |= FLAG_DESCRIPTOR;
        }
        // Without it a name is as some old computer meant it; bytes that are no UTF-8 then come back as they are.
        if std::str::from_utf8(&self.name).is_ok() {
            flags |= FLAG_UTF8;
        }
        let (time, date) = local(self.mtime);
        let mut record = Vec::with_capacity(64 + self.name.len());
        for number in [version, flags, if self.is_compressed { 8 } else { 0 }, time, date] {
            record.extend(number.to_le_bytes());
        }
        record.extend(self.checksum.to_le_bytes());
        lengths.iter().for_each(|length| record.extend(length.to_le_bytes()));
        record.extend(narrow(self.name.len()).to_le_bytes());
        record.extend(narrow(added_bytes).to_le_bytes());
        record
    }

    /// What is added to a header: time and owner.
    fn added(&self) -> Vec<u8> {
        let mut added = Vec::new();
        if let Ok(seconds) = i32::try_from(self.mtime.seconds) {
            // "UT": extended time; of three there is the one of the last change.
            added.extend([b'U', b'T', 5, 0, 1]);
            added.extend(seconds.to_le_bytes());
        }
        // "ux": owner and group in four bytes each, version 1.
        added.extend([b'u', b'x', 11, 0, 1, 4]);
        added.extend(self.uid.to_le_bytes());
        added.push(4);
        added.extend(self.gid.to_le_bytes());
        added
    }

    /// The header before the content, whose checksum and sizes are known, or follow behind it.
    pub(super) fn header(&mut self, is_known: bool) -> Vec<u8> {
        self.has_descriptor = !is_known;
        let added = self.added();
        let (version, lengths, wide) = match (is_known, self.is_large) {
            (true, _) => (VERSION, [self.lengths.stored, self.lengths.plain].map(narrow_32), Vec::new()),
            (false, false) => (VERSION, [0; 2], Vec::new()),
            (false, true) => (VERSION_LARGE, [u32::MAX; 2], wide(&[0, 0])),
        };
        let added = [wide, added].concat();
        let common = self.common(version, lengths, added.len());
        [b"PK\x03\x04".as_slice(), &common, &self.name, &added].concat()
    }

    /// What follows the content if the header did not know it.
    pub(super) fn descriptor(&self) -> Vec<u8> {
        let mut record = b"PK\x07\x08".to_vec();
        record.extend(self.checksum.to_le_bytes());
        for length in [self.lengths.stored, self.lengths.plain] {
            match self.is_large {
                true => record.extend(length.to_le_bytes()),
                false => record.extend(narrow_32(length).to_le_bytes()),
            }
        }
        record
    }

    /// The row of the directory at the end.
    pub(super) fn directory_row(&self) -> Vec<u8> {
        let Lengths { plain, stored } = self.lengths;
        let too_wide: Vec<u64> =
            [plain, stored, self.offset].into_iter().filter(|number| *number > NARROW_MAX).collect();
        let is_wide = !too_wide.is_empty();
        let added = [if is_wide { wide(&too_wide) } else { Vec::new() }, self.added()].concat();
        let version = if is_wide || self.is_large { VERSION_LARGE } else { VERSION };
        let common = self.common(version, [narrow_32(stored), narrow_32(plain)], added.len());
        let mut record = b"PK\x01\x02".to_vec();
        record.extend((MADE_ON_UNIX | VERSION_LARGE).to_le_bytes());
        record.extend(common);
        // No remark, the first disk, and nothing said of the inside.
        record.extend([0; 6]);
        let directory_bit = u32::from(self.kind == super::DIRECTORY) << 4;
        record.extend(((self.kind | self.mode) << 16 | directory_bit).to_le_bytes());
        record.extend(narrow_32(self.offset).to_le_bytes());
        record.extend(&self.name);
        record.extend(added);
        record
    }
}

/// The records behind the directory, which has so many rows and bytes.
pub(super) fn end(count: u64, start: u64, size_bytes: u64) -> Vec<u8> {
    let mut record = Vec::new();
    if count >= 0xffff || start > NARROW_MAX || size_bytes > NARROW_MAX {
        let position = start.saturating_add(size_bytes);
        record.extend(b"PK\x06\x06");
        record.extend(44_u64.to_le_bytes());
        record.extend((MADE_ON_UNIX | VERSION_LARGE).to_le_bytes());
        record.extend(VERSION_LARGE.to_le_bytes());
        record.extend([0; 8]);
        for number in [count, count, size_bytes, start] {
            record.extend(number.to_le_bytes());
        }
        record.extend(b"PK\x06\x07");
        record.extend([0; 4]);
        record.extend(position.to_le_bytes());
        record.extend(1_u32.to_le_bytes());
    }
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    record.extend(b"PK\x05\x06");
    record.extend([0; 4]);
    record.extend(count.to_le_bytes());
    record.extend(count.to_le_bytes());
    record.extend(narrow_32(size_bytes).to_le_bytes());
    record.extend(narrow_32(start).to_le_bytes());
    record.extend([0; 2]);
    record
}

/// Numbers of 64 bits that did not fit their fields.
fn wide(numbers: &[u64]) -> Vec<u8> {
    let mut added = vec![1, 0];
    added.extend(narrow(8 * numbers.len()).to_le_bytes());
    numbers.iter().for_each(|number| added.extend(number.to_le_bytes()));
    added
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn narrow_32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Time and date of 16 bits each, in UTC, to two seconds; what lies outside of 1980 to 2107 comes to the nearer end.
fn local(time: Timestamp) -> (u16, u16) {
    let Ok(instant) = Instant::from_second(time.seconds) else {
        return if time.seconds < 0 { (0, EARLIEST_DATE) } else { LATEST };
    };
    let civil = instant.to_zoned(TimeZone::UTC).datetime();
    let field = |number: i8| u16::try_from(number).unwrap_or_default();
    let year = civil.year();
    match u16::try_from(i32::from(year) - 1980) {
        Err(_) => (0, EARLIEST_DATE),
        Ok(128..) => LATEST,
        Ok(years) => (
            field(civil.hour()) << 11 | field(civil.minute()) << 5 | (field(civil.second()) / 2),
            years << 9 | field(civil.month()) << 5 | field(civil.day()),
        ),
    }
}

/// 2107-12-31 23:59:58.
const LATEST: (u16, u16) = (23 << 11 | 59 << 5 | 29, 127 << 9 | 12 << 5 | 31);
