//! The sheet of a key to keep on paper: the key in three forms, what it opens, and how.
//!
//! What must hold: each form on the sheet, typed or scanned into a file, is a key file; the text is wiped after
//! use, though not what the crate that draws the QR code works with.

use std::fmt::Write;

use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, RepositoryId, Result, SlotName, Timestamp};
use packstone::crypto::Secret;
use packstone::storage::location::Location;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::key_file::text;
use crate::show;

/// More than a sheet takes, so that no copy is left behind by growing.
const SHEET_BYTES: usize = 32 << 10;
const HEAD: &str = "\
KEY OF A PACKSTONE REPOSITORY

Whoever sees this sheet can read every backup in the repository. Keep it like
the key of a safe, and not where the repository is.

";
const FOOT: &str = "
To open the repository, type the digits or the words into a file, or scan the
QR code into it. White space and capital letters do not matter.

";
const DIGITS_IN_GROUP: usize = 4;
const GROUPS_IN_LINE: usize = 4;
const WORDS_IN_LINE: usize = 6;

/// What stands on a sheet.
pub struct KeySheet<'a> {
    /// What it opens.
    pub repository: RepositoryId,
    /// Where it is.
    pub location: Location,
    /// The key slot of the key.
    pub slot: SlotName,
    /// What people call the slot.
    pub label: &'a str,
    /// When the slot was made.
    pub created: Timestamp,
    /// The key.
    pub key: &'a Secret,
}

impl KeySheet<'_> {
    /// The sheet as text.
    pub fn render(&self) -> Result<Zeroizing<String>> {
        let mut sheet = Zeroizing::new(String::with_capacity(SHEET_BYTES));
        let digits = text::digits(self.key);
        let failed = |cause| Error::caused(ErrorKind::Failed, "cannot write the sheet", cause);
        self.write_head(&mut sheet).map_err(failed)?;
        sheet.push_str("The key, as 64 hexadecimal digits:\n\n");
        for (position, digit) in digits.chars().enumerate() {
            sheet.push_str(match position {
                0 => "    ",
                _ if position % (DIGITS_IN_GROUP * GROUPS_IN_LINE) == 0 => "\n    ",
                _ if position % DIGITS_IN_GROUP == 0 => " ",
                _ => "",
            });
            sheet.push(digit);
        }
        sheet.push_str(
            "\n\nThe same key, as 24 words (BIP 39, English), of which the last holds a check:\n\n",
        );
        for (position, word) in text::words(self.key)?.split(' ').enumerate() {
            sheet.push_str(match position {
                0 => "    ",
                _ if position % WORDS_IN_LINE == 0 => "\n    ",
                _ => " ",
            });
            sheet.push_str(word);
        }
        sheet.push_str("\n\nThe digits, as a QR code:\n\n");
        sheet.push_str(&qr_code(&digits)?);
        sheet.push('\n');
        self.write_foot(&mut sheet).map_err(failed)?;
        Ok(sheet)
    }

    fn write_head(&self, sheet: &mut String) -> std::fmt::Result {
        sheet.push_str(HEAD);
        writeln!(sheet, "repository  {}", self.repository)?;
        writeln!(sheet, "location    {}", self.location)?;
        writeln!(sheet, "key slot    {}", self.slot)?;
        writeln!(sheet, "label       {}", show_path(self.label.as_bytes()))?;
        writeln!(sheet, "made        {}\n", show::time(self.created, &TimeZone::system()))
    }

    fn write_foot(&self, sheet: &mut String) -> std::fmt::Result {
        let location = show::location(&self.location);
        sheet.push_str(FOOT);
        writeln!(sheet, "    (umask 077; cat > paper.key)")?;
        writeln!(sheet, "    packstone -r {location} --key-file paper.key snapshots\n")?;
        writeln!(
            sheet,
            "If this sheet is lost or was seen by others, make a new one and remove this key:\n"
        )?;
        writeln!(sheet, "    packstone -r {location} repo key remove {}", self.slot)
    }
}

/// The digits as a QR code in half lines, dark on light paper.
fn qr_code(digits: &str) -> Result<Zeroizing<String>> {
    // In capital letters they take less room.
    let digits = Zeroizing::new(digits.to_ascii_uppercase());
    let code = QrCode::with_error_correction_level(digits.as_bytes(), EcLevel::Q)
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot draw the QR code", cause))?;
    Ok(Zeroizing::new(code.render::<Dense1x2>().build()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_can_be_read_back_from_the_sheet() {
        let key = Secret::new([0xa7; 32]);
        let sheet = KeySheet {
            repository: RepositoryId([1; 16]),
            location: Location::Local("/srv/my backup".into()),
            slot: SlotName([2; 8]),
            label: "paper\u{1b}",
            created: Timestamp::default(),
            key: &key,
        };
        let sheet = sheet.render().expect("a sheet");
        let below = |title: &str| {
            let text = sheet.split_once(title).expect(title).1;
            text.lines().skip(2).take(4).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(text::parse(&below("hexadecimal digits:")), Ok(key.clone()));
        assert_eq!(text::parse(&below("24 words")), Ok(key.clone()));
        assert!(sheet.contains("location    /srv/my backup\n"), "{}", *sheet);
        assert!(sheet.contains("packstone -r '/srv/my backup' --key-file"), "{}", *sheet);
        assert!(sheet.contains("label       paper\\x1b\n"), "{}", *sheet);
        let drawn = sheet.lines().filter(|line| line.contains('█')).count();
        assert!((15..30).contains(&drawn), "{drawn} lines of a QR code");
        assert!(sheet.len() < SHEET_BYTES / 2);
        assert!(sheet.lines().all(|line| line.chars().count() <= 80));
    }
}
