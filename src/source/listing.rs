//! The names of a directory, and what stands under them.
//!
//! What must hold: names are sorted by their bytes and each is there once, even if the directory changed while it was
//! read; a name that is listed has an entry or a problem, never neither. A name costs its length and 17 bytes, an entry
//! about 150 bytes more, so that whoever must save memory asks for the entries of a large directory by ranges of names.

use std::ops::Range;

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::{Error, ErrorKind, FindingKind};
use crate::fsmeta::capture::Stat;

/// Something in a directory that cannot be taken: its name, what is wrong, and what was observed.
pub type NameProblem = (Vec<u8>, FindingKind, String);

/// The names of a directory, sorted by their bytes, in one piece of memory.
#[derive(Debug, Default)]
pub struct Names {
    /// Each name after its length in one byte.
    bytes: Vec<u8>,
    places: Vec<Place>,
    problems: Vec<NameProblem>,
}

const _: () = assert!(NAME_BYTES_MAX == u8::MAX as usize, "the length of a name is kept in one byte");

#[derive(Clone, Copy, Debug)]
struct Place {
    inode: u64,
    start: usize,
}

impl Names {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The name at a position.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        self.places.get(position).map(|place| name_at(&self.bytes, *place))
    }

    /// Whether a name is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.places.binary_search_by(|place| name_at(&self.bytes, *place).cmp(name)).is_ok()
    }

    /// Keeps the names for which this is true, among them those that cannot be stored.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&[u8]) -> bool) {
        let bytes = &self.bytes;
        self.places.retain(|place| is_kept(name_at(bytes, *place)));
        self.problems.retain(|(name, ..)| is_kept(name));
    }

    /// Takes a name away, and tells what becomes of it instead. Whether it was one of them.
    pub fn set_aside(&mut self, name: &[u8], kind: FindingKind, message: &str) -> bool {
        let before = self.places.len();
        let bytes = &self.bytes;
        self.places.retain(|place| name_at(bytes, *place) != name);
        let is_one = self.places.len() < before;
        if is_one {
            self.problems.push((name.to_vec(), kind, message.to_owned()));
        }
        is_one
    }

    /// Names that are not backed up, and why; they have no position.
    pub fn problems(&self) -> &[NameProblem] {
        &self.problems
    }

    /// Gives the problems away.
    pub(super) fn take_problems(&mut self) -> Vec<NameProblem> {
        std::mem::take(&mut self.problems)
    }

    /// Adds what a directory listed; `.` and `..` are no names.
    pub(super) fn add(&mut self, name: &[u8], inode: u64) {
        if name == b"." || name == b".." || name.is_empty() {
            return;
        }
        match u8::try_from(name.len()) {
            Ok(length) => {
                self.places.push(Place { inode, start: self.bytes.len() });
                self.bytes.push(length);
                self.bytes.extend_from_slice(name);
            }
            Err(_) => {
                let message = format!("a name of {} bytes; {NAME_BYTES_MAX} can be stored", name.len());
                self.problems.push((name.to_vec(), FindingKind::LeftOut, message));
            }
        }
    }

    /// Puts the names in order; one that was moved while the directory was read can have been listed twice.
    pub(super) fn finish(&mut self) {
        let bytes = &self.bytes;
        self.places.sort_unstable_by(|one, other| name_at(bytes, *one).cmp(name_at(bytes, *other)));
        self.places.dedup_by(|one, other| name_at(bytes, *one) == name_at(bytes, *other));
    }

    /// The names at some positions in the order of their inodes, which is the order in which most file systems keep
    /// what a status is read from. Positions beyond the end hold none.
    pub(super) fn by_inode(&self, positions: Range<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
        let end = positions.end.min(self.places.len());
        let mut places = self.places.get(positions.start..end).unwrap_or_default().to_vec();
        places.sort_unstable_by_key(|place| place.inode);
        places.into_iter().map(|place| name_at(&self.bytes, place))
    }
}

fn name_at(bytes: &[u8], place: Place) -> &[u8] {
    let found = bytes.get(place.start..).and_then(<[u8]>::split_first);
    found.and_then(|(length, rest)| rest.get(..usize::from(*length))).unwrap_or_default()
}

/// A name and what stands under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// One component, any bytes.
    pub name: Vec<u8>,
    /// Its status.
    pub stat: Stat,
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<Listed>,
    /// What was listed and has no entry, in no particular order.
    pub problems: Vec<NameProblem>,
}

/// What it means for the name that its status could not be had.
pub(super) fn problem_of(name: &[u8], error: &Error) -> NameProblem {
    let kind = match error.kind() {
        ErrorKind::NotFound => FindingKind::Vanished,
        ErrorKind::Unsupported => FindingKind::LeftOut,
        _ => FindingKind::Unreadable,
    };
    (name.to_vec(), kind, error.chain().join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_bytes_and_each_is_there_once() {
        let mut names = Names::default();
        for (name, inode) in [
            (&b"b"[..], 3),
            (b".", 1),
            (b"\xff", 2),
            (b"B", 9),
            (b"..", 1),
            (b"b", 7),
            (b"a\nb", 4),
            (b"a", 5),
        ] {
            names.add(name, inode);
        }
        names.finish();
        let sorted: Vec<&[u8]> = (0..names.len()).filter_map(|position| names.get(position)).collect();
        assert_eq!(sorted, [&b"B"[..], b"a", b"a\nb", b"b", b"\xff"]);
        assert_eq!(names.get(5), None);
        assert!(names.problems().is_empty());
        let by_inode: Vec<&[u8]> = names.by_inode(0..3).collect();
        assert_eq!(by_inode, [&b"a\nb"[..], b"a", b"B"]);
        assert_eq!(names.by_inode(4..9).collect::<Vec<_>>(), [b"\xff"]);
        assert_eq!(names.by_inode(6..9).len(), 0);
    }

    #[test]
    fn only_the_names_that_are_kept_remain() {
        let mut names = Names::default();
        let long = [b'x'; NAME_BYTES_MAX + 1];
        for name in [&b"c"[..], b"a", b"b", &long] {
            names.add(name, 1);
        }
        names.finish();
        assert!(
            names.contains(b"a") && names.contains(b"c") && !names.contains(b"d") && !names.contains(b"")
        );
        names.retain(|name| name != b"b");
        let left: Vec<&[u8]> = (0..names.len()).filter_map(|position| names.get(position)).collect();
        assert_eq!((left, names.problems().len()), (vec![&b"a"[..], b"c"], 1));
        assert!(!names.contains(b"b"));
        names.retain(|name| name == b"c");
        assert_eq!((names.len(), names.problems().len()), (1, 0));
    }

    #[test]
    fn a_name_that_cannot_be_stored_is_told() {
        let mut names = Names::default();
        names.add(&[b'x'; NAME_BYTES_MAX], 1);
        names.add(&[b'y'; NAME_BYTES_MAX + 1], 2);
        names.finish();
        assert_eq!((names.len(), names.get(0)), (1, Some(&[b'x'; NAME_BYTES_MAX][..])));
        let problems = names.take_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].0.len(), problems[0].1), (NAME_BYTES_MAX + 1, FindingKind::LeftOut));
    }

    #[test]
    fn the_kind_of_a_finding_follows_from_the_error() {
        let kind = |kind| problem_of(b"x", &Error::new(kind, "observed")).1;
        assert_eq!(kind(ErrorKind::NotFound), FindingKind::Vanished);
        assert_eq!(kind(ErrorKind::Denied), FindingKind::Unreadable);
        assert_eq!(kind(ErrorKind::Failed), FindingKind::Unreadable);
        assert_eq!(kind(ErrorKind::Unsupported), FindingKind::LeftOut);
    }
}
