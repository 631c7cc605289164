//! Walks a tar as it passes, to know whether it is whole.
//!
//! What must hold: a tar counts as whole only if every member ends where its header says, two empty records come last,
//! and the members that are asked for were among them.

use crate::base::{Error, ErrorKind, Result};
use crate::source::program::Completeness;

/// Bytes of a record, in which everything is counted.
const RECORD_BYTES: usize = 512;

/// What is walked through.
pub struct TarWalk {
    /// For messages.
    program: String,
    /// The members that must still come.
    missing: Vec<String>,
    header: Vec<u8>,
    /// Bytes of the member, with what fills its last record, that are yet to come.
    left_bytes: u64,
    empty_records: u8,
    wrong: Option<&'static str>,
}

impl TarWalk {
    /// Asks for these members.
    pub fn new(program: &str, needed: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            missing: needed.iter().map(|name| (*name).to_owned()).collect(),
            header: Vec::with_capacity(RECORD_BYTES),
            left_bytes: 0,
            empty_records: 0,
            wrong: None,
        }
    }

    fn end_record(&mut self) {
        let header = std::mem::replace(&mut self.header, Vec::with_capacity(RECORD_BYTES));
        if header.iter().all(|byte| *byte == 0) {
            self.empty_records = self.empty_records.saturating_add(1);
            return;
        }
        let size = size(&header).filter(|_| has_right_sum(&header));
        match size {
            _ if self.empty_records > 0 => self.wrong = Some("something follows its end"),
            None => self.wrong = Some("a member has no right header"),
            Some(size) => {
                self.left_bytes = size.next_multiple_of(RECORD_BYTES as u64);
                let name = field(&header, 0, 100);
                self.missing.retain(|missing| name.strip_prefix(b"./").unwrap_or(name) != missing.as_bytes());
            }
        }
    }
}

/// A field of a header, up to its first NUL.
fn field(header: &[u8], start: usize, length: usize) -> &[u8] {
    let field = header.get(start..start + length).unwrap_or_default();
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn octal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(field).ok()?.trim(), 8).ok()
}

/// The bytes of a member: octal digits, or, if they do not suffice, a number of eleven bytes behind a set bit.
fn size(header: &[u8]) -> Option<u64> {
    let raw = header.get(124..136)?;
    // Directories and links have no bytes, whatever their header says.
    if matches!(header.get(156), Some(b'1'..=b'6')) {
        return Some(0);
    }
    match raw.split_first() {
        Some((0x80, digits)) => digits.iter().try_fold(0_u64, |size, digit| {
            size.checked_mul(256).and_then(|size| size.checked_add(u64::from(*digit)))
        }),
        _ => octal(field(header, 124, 12)),
    }
}

fn has_right_sum(header: &[u8]) -> bool {
    let sum = header.iter().enumerate().map(|(position, byte)| {
        // The sum itself counts as spaces.
        u64::from(if (148..156).contains(&position) { b' ' } else { *byte })
    });
    octal(field(header, 148, 8)) == Some(sum.sum())
}

impl Completeness for TarWalk {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.wrong.is_none() {
            if self.left_bytes > 0 {
                let passed = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
                self.left_bytes -= passed as u64;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let (taken, rest) = bytes.split_at((RECORD_BYTES - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(taken);
            bytes = rest;
            if self.header.len() == RECORD_BYTES {
                self.end_record();
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let problem = if let Some(wrong) = self.wrong {
            format!("is damaged: {wrong}")
        } else if self.left_bytes > 0 || !self.header.is_empty() || self.empty_records < 2 {
            "breaks off: it does not end as a tar does".to_owned()
        } else if let Some(missing) = self.missing.first() {
            format!("is not whole: it has no file {missing}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Failed, format!("the output of {} {problem}", self.program)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut header = vec![0; RECORD_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.extend_from_slice(bytes);
        header.resize(header.len().next_multiple_of(RECORD_BYTES), 0);
        header
    }

    fn judge(tar: &[u8], size: usize) -> Result<()> {
        let mut walk = TarWalk::new("pg_basebackup", &["PG_VERSION", "global/pg_control"]);
        tar.chunks(size).for_each(|piece| walk.see(piece));
        walk.end()
    }

    #[test]
    fn only_a_tar_with_its_end_and_its_members_is_whole() {
        let members =
            [member("PG_VERSION", b"15\n"), member("empty", b""), member("./global/pg_control", &[7; 1500])];
        let tar = [&members.concat()[..], &[0; 2 * RECORD_BYTES]].concat();
        for size in [1, 100, 512, 100_000] {
            judge(&tar, size).expect("whole");
            judge(&[&tar[..], &[0; 5 * RECORD_BYTES]].concat(), size).expect("filled up");
        }
        for end in 0..tar.len() {
            judge(&tar[..end], 4096).expect_err("cut");
        }
        let missing = [&members[..2].concat()[..], &[0; 2 * RECORD_BYTES]].concat();
        assert_eq!(
            judge(&missing, 700).expect_err("a member is missing").to_string(),
            "the output of pg_basebackup is not whole: it has no file global/pg_control"
        );
        let mut changed = tar.clone();
        changed[3] ^= 1;
        assert!(judge(&changed, 700).expect_err("changed").to_string().contains("no right header"));
        let followed = [&tar[..], &members[0]].concat();
        assert!(judge(&followed, 700).expect_err("more").to_string().contains("follows its end"));
    }

    #[test]
    fn sizes_are_octal_or_large() {
        let mut header = member("x", b"");
        assert_eq!(size(&header), Some(0));
        header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(size(&header), Some((1 << 32) + 2));
        header[124..136].copy_from_slice(b"   17777 \0\0\0");
        assert_eq!(size(&header), Some(0o17777));
        header[124] = b'x';
        assert_eq!(size(&header), None);
    }
}
