//! How the engine tells what it does and what it could not do, without knowing who listens.
//!
//! A finding is a problem that does not stop the work. It is never dropped: it is counted where it arises, stored with
//! the snapshot, and changes the exit code; `Monitor::finding` only makes it visible while the work goes on.

use std::fmt;

use crate::base::item::{Item, Lack};
use crate::base::thaw::{ThawCounts, Thawing};

/// What is wrong with one object of a source or of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// It could not be read; the snapshot does not hold it.
    Unreadable,
    /// It was listed, and gone when it was to be read.
    Vanished,
    /// It changed while it was read; what is stored is a mixture.
    Changed,
    /// A part of its metadata could not be read or set.
    Metadata,
    /// It could not be created or set while restoring.
    NotRestored,
    /// It is not what it must be: an object of the repository; or a database, which is stored as it is.
    Damaged,
    /// It was left out because the user asked so or because it cannot be stored.
    LeftOut,
}

impl FindingKind {
    /// One word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::Changed => "changed",
            Self::Metadata => "metadata",
            Self::NotRestored => "not restored",
            Self::Damaged => "damaged",
            Self::LeftOut => "left out",
        }
    }
}

/// A problem that does not stop the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of problem.
    pub kind: FindingKind,
    /// The object, as its path in the source or target; any bytes.
    pub path: Vec<u8>,
    /// What was observed.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}: {}", show_path(&self.path), self.kind.word(), self.message)
    }
}

/// Shows the path of a file of this machine, as `show_path` does.
pub fn show_file(path: &std::path::Path) -> String {
    show_path(path.as_os_str().as_encoded_bytes())
}

/// Shows a path of any bytes on one line: what is not printable UTF-8 becomes `\xNN`, a backslash `\\`.
pub fn show_path(path: &[u8]) -> String {
    let mut shown = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\\' => shown.push_str("\\\\"),
                // Also the invisible ones that turn text round, so that a name cannot disguise itself.
                control
                    if control.is_control()
                        || ('\u{200e}'..='\u{200f}').contains(&control)
                        || ('\u{2028}'..='\u{202e}').contains(&control)
                        || ('\u{2066}'..='\u{2069}').contains(&control) =>
                {
                    let mut bytes = [0; 4];
                    for byte in control.encode_utf8(&mut bytes).bytes() {
                        shown.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                other => shown.push(other),
            }
        }
        for byte in part.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// How a file or a directory compares with the earlier snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The earlier one does not have it, or there is none.
    New,
    /// It differs.
    Changed,
    /// It is as it was.
    Unmodified,
}

impl Change {
    /// One word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unmodified => "unmodified",
        }
    }
}

/// Listens to the work of the engine. All methods may be called from many threads at once.
pub trait Monitor: Send + Sync {
    /// A problem that does not stop the work.
    fn finding(&self, _finding: &Finding) {}

    /// A problem that only comes from what who restores may not do; unless it is told apart, one as others.
    fn lacking(&self, _lack: Lack, finding: &Finding) {
        self.finding(finding);
    }

    /// Something worth a line in a log, that is not a problem.
    fn note(&self, _text: &str) {}

    /// Something of a source is left out because a rule says so, for this reason; that is no problem.
    fn excluded(&self, _path: &[u8], _reason: &dyn fmt::Display) {}

    /// Something of a source would be backed up; told by a dry run alone.
    fn included(&self, _path: &[u8]) {}

    /// Whether `expect` is listened to; work is only measured beforehand for who does.
    fn wants_amounts(&self) -> bool {
        false
    }

    /// Work whose amount has become known: so many more files and bytes are to come.
    fn expect(&self, _files: u64, _bytes: u64) {}

    /// All amounts given to `expect` are now complete.
    fn expected_all(&self) {}

    /// Work begins on the object at this path.
    fn begin(&self, _path: &[u8]) {}

    /// This is done, or in a dry run would be done, with an object. Told only to who wants it.
    fn item(&self, _item: &Item<'_>) {}

    /// Whether so many objects may be removed by a restore of so many, which are fewer. Who does not say so keeps them.
    fn agrees_to_delete(&self, _deletions: u64, _entries: u64) -> bool {
        false
    }

    /// An object of the repository that is needed and cannot be read yet, which has so many bytes.
    fn frozen(&self, _object: &str, _state: Thawing, _size_bytes: u64) {}

    /// What is known of the objects that are needed, as often as they were looked at.
    fn thawing(&self, _counts: &ThawCounts) {}

    /// Whether `item` and `backed_up` are listened to; a path is only put together for who does.
    fn wants_items(&self) -> bool {
        false
    }

    /// A regular file of so many bytes, or a directory, whose path then ends with a slash, is part of the snapshot.
    fn backed_up(&self, _change: Change, _path: &[u8], _size_bytes: u64) {}

    /// So many more files and bytes are done.
    fn advance(&self, _files: u64, _bytes: u64) {}

    /// True once the user or the system asked to stop; the engine asks between pieces of work.
    fn cancelled(&self) -> bool {
        false
    }

    /// Takes what is to be done at once when the user or the system asks to stop: it ends what would block the engine
    /// from asking, as a silent command does.
    fn on_cancel(&self, _action: Box<dyn Fn() + Send + Sync>) {}
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_bytes_stays_on_one_line() {
        assert_eq!(show_path(b"/etc/passwd"), "/etc/passwd");
        assert_eq!(show_path("/städte".as_bytes()), "/städte");
        assert_eq!(show_path(b"a\nb\\c\xff\x1b[0m"), "a\\x0ab\\\\c\\xff\\x1b[0m");
        assert_eq!(show_path("x\u{202e}y".as_bytes()), "x\\xe2\\x80\\xaey");
    }
}
