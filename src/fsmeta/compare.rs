//! What of an object's metadata is not as a node says.
//!
//! What must hold: what a restore would not set is not compared; what it would set or remove is, so that after a restore
//! without problems nothing differs.

use crate::base::{MetadataParts, Timestamp};
use crate::format::node::{Metadata, Xattr, XattrValue};
use crate::fsmeta::apply::{ApplyOptions, is_acl};
use crate::fsmeta::capture::RawXattrs;

/// What an object of the file system has, its extended attributes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actual {
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u16,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Whether it is a symbolic link, whose mode nobody sets.
    pub is_symlink: bool,
}

impl ApplyOptions {
    /// The mode bits that are set.
    pub const fn mode_of(&self, mode: u16) -> u16 {
        mode & if self.special { 0o7777 } else { 0o1777 }
    }

    /// Whether an extended attribute is not set.
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        !self.special && (name.starts_with(b"trusted.") || name.starts_with(b"security."))
    }

    /// Whether an extended attribute that is not stored is removed. Those that the backup may not have been shown stay:
    /// `trusted.` is only told to root, and `security.` the system gives by itself.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.removes_xattrs && (is_acl(name) || name.starts_with(b"user."))
    }
}

/// Which parts of mode, owner and time differ.
pub fn differing(stored: &Metadata, actual: &Actual, options: &ApplyOptions) -> MetadataParts {
    MetadataParts {
        mode: !actual.is_symlink && options.mode_of(stored.mode) != actual.mode,
        owner: options.ownership && (stored.uid, stored.gid) != (actual.uid, actual.gid),
        time: stored.mtime != actual.mtime,
        xattrs: false,
    }
}

/// Whether an extended attribute is a label that the system gives by itself, which says nothing of who changed what.
pub fn is_label(name: &[u8]) -> bool {
    let labels: [&[u8]; 4] = [b"security.selinux", b"security.SMACK64", b"security.ima", b"security.evm"];
    labels.iter().any(|label| name.starts_with(label))
}

/// Whether extended attributes differ; `counts` tells whether one that is not stored does, and `is_value` whether bytes
/// are a stored value.
pub fn xattrs_differ(
    stored: &[Xattr],
    actual: &RawXattrs,
    options: &ApplyOptions,
    counts: &dyn Fn(&[u8]) -> bool,
    is_value: &dyn Fn(&XattrValue, &[u8]) -> bool,
) -> bool {
    let is_there = |xattr: &Xattr| {
        actual.iter().any(|(name, value)| *name == xattr.name && is_value(&xattr.value, value))
    };
    let is_stored = |name: &[u8]| stored.iter().any(|xattr| xattr.name == name);
    stored.iter().any(|xattr| !options.leaves_out(&xattr.name) && !is_there(xattr))
        || actual.iter().any(|(name, _)| counts(name) && !is_stored(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ApplyOptions = ApplyOptions { ownership: true, special: true, removes_xattrs: true };
    const LITTLE: ApplyOptions = ApplyOptions { ownership: false, special: false, removes_xattrs: true };

    fn stored() -> Metadata {
        let mtime = Timestamp { seconds: 5, nanoseconds: 6 };
        Metadata { mode: 0o4755, uid: 1, gid: 2, mtime, ..Metadata::default() }
    }

    #[test]
    fn only_what_would_be_set_differs() {
        let stored = stored();
        let Metadata { mode, uid, gid, mtime, .. } = stored;
        let same = Actual { mode, uid, gid, mtime, is_symlink: false };
        assert!(differing(&stored, &same, &ALL).is_empty());
        let other = Actual { mode: 0o755, uid: 9, ..same };
        assert_eq!(differing(&stored, &other, &ALL).words(), ["mode", "owner"]);
        assert!(differing(&stored, &other, &LITTLE).is_empty(), "the bit is left out, and the owner");
        assert_eq!(differing(&stored, &Actual { gid: 9, ..same }, &ALL).words(), ["owner"]);
        let later = Timestamp { seconds: 5, nanoseconds: 7 };
        let link = Actual { mode: 0o777, mtime: later, is_symlink: true, ..same };
        assert_eq!(differing(&stored, &link, &ALL).words(), ["time"]);
    }

    #[test]
    fn attributes_differ_if_one_is_missing_another_or_too_many() {
        let xattr = |name: &str, value: &str| Xattr {
            name: name.into(),
            value: XattrValue::Inline(value.as_bytes().to_vec()),
        };
        let differ = |stored: &[Xattr], actual: &[(&str, &str)], options: &ApplyOptions| {
            let actual: RawXattrs = actual
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect();
            let is_value =
                |stored: &XattrValue, actual: &[u8]| *stored == XattrValue::Inline(actual.to_vec());
            xattrs_differ(stored, &actual, options, &|name| options.removes(name), &is_value)
        };
        let one = [xattr("user.a", "1")];
        assert!(!differ(&one, &[("user.a", "1")], &ALL));
        assert!(differ(&one, &[("user.a", "2")], &ALL) && differ(&one, &[], &ALL));
        assert!(differ(&[], &[("user.a", "1")], &LITTLE));
        assert!(!differ(&[], &[("user.a", "1")], &ApplyOptions { removes_xattrs: false, ..ALL }));
        assert!(differ(&[], &[("system.posix_acl_access", "x")], &LITTLE));
        assert!(!differ(&[], &[("security.capability", "x"), ("trusted.a", "")], &ALL));
        assert!(!differ(&[], &[("security.selinux", "label"), ("system.other", "")], &ALL));
        assert!(!differ(&[xattr("trusted.a", "")], &[("security.capability", "x")], &LITTLE));
        assert!(
            is_label(b"security.selinux") && !is_label(b"security.capability") && !is_label(b"trusted.a")
        );
    }
}
