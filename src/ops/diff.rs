//! Compares two snapshots, or a snapshot with what is there now.
//!
//! What must hold: what is told leads from the first side to the second; a subtree that both have is not read; a file is
//! said to be changed only where its bytes differ.

mod collector;
mod live;
mod moves;
mod patch;
mod stored;

use crate::base::{Error, ErrorKind, Finding, FindingKind, Monitor};
use crate::ops::find::SoughtKind;
use crate::ops::local::check_interrupted;
use crate::repository::SnapshotEntry;
use crate::source::Patterns;

pub use live::diff_live;
pub use patch::{PATCH_BYTES_MAX, Patch, patch, patch_live};
pub use stored::diff_snapshots;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The snapshot.
    pub snapshot: &'p SnapshotEntry,
    /// A path in it; none: all of it.
    pub path: Option<&'p [u8]>,
}

/// How things are compared.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Differences of mode, owner, times and attributes are changes, too.
    pub metadata: bool,
    /// Live files are read even if size and time are those that were stored.
    pub content: bool,
    /// What matches is left out on both sides, by its path in the first snapshot.
    pub excludes: Patterns,
}

/// How one path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifier {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Content, the target of a link or the number of a device differ.
    Content,
    /// Content differs, and nothing says that anybody changed it: size and time of modification are the same.
    Rot,
    /// Only metadata differ.
    Metadata,
    /// It is another kind of object.
    Kind,
    /// The second side has the same content under another path.
    Moved,
}

impl Modifier {
    /// As listings show it.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Content => "M",
            Self::Rot => "M?",
            Self::Metadata => "U",
            Self::Kind => "T",
            Self::Moved => "R",
        }
    }
}

/// One side of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Absolute path on its own side.
    pub path: Vec<u8>,
    /// Kind of object.
    pub kind: SoughtKind,
    /// Bytes of a regular file, 0 of anything else.
    pub size: u64,
}

/// A path at which the two sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub modifier: Modifier,
    /// What the first side has.
    pub before: Option<Item>,
    /// What the second side has.
    pub after: Option<Item>,
    /// Bytes of content that the second side has and the first has not at this path.
    pub added_bytes: u64,
    /// Bytes of content that the first side has and the second has not at this path.
    pub removed_bytes: u64,
}

impl Change {
    /// The object as the second side has it, or else as the first has it.
    pub const fn item(&self) -> Option<&Item> {
        match &self.after {
            None => self.before.as_ref(),
            after => after.as_ref(),
        }
    }
}

/// Numbers of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// All else.
    pub others: u64,
}

impl Counts {
    const fn count(&mut self, kind: SoughtKind) {
        match kind {
            SoughtKind::File => self.files += 1,
            SoughtKind::Directory => self.directories += 1,
            _ => self.others += 1,
        }
    }
}

/// All changes together. An object of another kind counts as removed and as added; what moved counts with all below it, and
/// not as added or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Only on the second side.
    pub added: Counts,
    /// Only on the first side.
    pub removed: Counts,
    /// With other content.
    pub changed: Counts,
    /// With the same content under another path.
    pub moved: Counts,
    /// With other metadata alone, if these are compared.
    pub metadata: Counts,
    /// Bytes of content that are new at their paths.
    pub added_bytes: u64,
    /// Bytes of content that are gone from their paths.
    pub removed_bytes: u64,
}

/// What differs.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// In order of the paths below what is compared: a directory before what is in it.
    pub changes: Vec<Change>,
    /// All of them together.
    pub statistics: Statistics,
    /// Live objects that could not be read; each was told.
    pub findings: u64,
    /// Parts of snapshots that could not be read; each was told.
    pub damaged: u64,
}

/// Tells a live object that cannot be read.
fn tell_unreadable(monitor: &dyn Monitor, path: &[u8], error: &Error) {
    let kind = match error.kind() {
        ErrorKind::NotFound => FindingKind::Vanished,
        _ => FindingKind::Unreadable,
    };
    monitor.finding(&Finding { kind, path: path.to_vec(), message: error.chain().join(": ") });
}

#[cfg(test)]
mod tests;
