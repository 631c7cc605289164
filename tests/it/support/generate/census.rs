//! What a generator of trees made: counts for each kind of object and each unusual property.
//!
//! A property test proves nothing about a property that never occurs. The list of features is therefore closed, and a
//! test asserts that over many seeds each of them occurs.

use std::collections::BTreeMap;

use rustix::io::Errno;

/// Declares the features, and the lists of those that everyone and that only root can make.
macro_rules! features {
    (everyone: $($common:ident)*; root: $($privileged:ident)*;) => {
        /// A kind of object, or a property that a backup may get wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Feature { $($common,)* $($privileged,)* }

        /// The features that need no privilege.
        pub const OF_EVERYONE: &[Feature] = &[$(Feature::$common,)*];

        /// The features that only root has.
        pub const OF_ROOT: &[Feature] = &[$(Feature::$privileged,)*];
    };
}

features! {
    everyone:
        Directory DirectoryEmpty DirectoryNested DirectoryDeepChain
        RegularEmpty RegularOneByte RegularFewBytes Regular4095Bytes Regular4096Bytes Regular4097Bytes
        RegularMedium RegularLarge
        ContentRandom ContentText ContentCopy ContentEditedCopy
        HoleLeading HoleMiddle HoleTrailing HoleEverything HoleEverySecondPage HoleBeyond4Gib
        SymlinkDangling SymlinkAbsolute SymlinkLong SymlinkNotUtf8 SymlinkToObject
        HardLinkSameDirectory HardLinkOtherDirectory HardLinkToSymlink HardLinkToFifo
        Fifo Socket
        NamePlain NameSortsNearSlash NameEveryByte NameRandomBytes NameLeadingDash NameNewline NameNotUtf8 Name255Bytes
        NameUnicode
        ModeSetUserId ModeSetGroupId ModeSticky
        MtimeBefore1970 MtimeAfter2038 MtimeZero MtimeNanoseconds MtimeUnusualOfDirectory MtimeUnusualOfSymlink
        XattrEmpty XattrBinary Xattr600Bytes Xattr3000Bytes XattrNameUnusual XattrOfDirectory
        AclAccess AclDefault;
    root:
        CharDevice BlockDevice
        ModeNothing
        OwnerOther OwnerLarge
        XattrTrusted XattrTrustedOfSymlink XattrCapability;
}

/// How often each feature was made, and how often the system refused it.
#[derive(Clone, Debug, Default)]
pub struct Census {
    created: BTreeMap<Feature, usize>,
    refused: BTreeMap<Feature, usize>,
}

impl Census {
    /// How often `feature` was made.
    pub fn created(&self, feature: Feature) -> usize {
        self.created.get(&feature).copied().unwrap_or(0)
    }

    /// How often the kernel or the file system refused `feature`.
    pub fn refused(&self, feature: Feature) -> usize {
        self.refused.get(&feature).copied().unwrap_or(0)
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, counts) in [(&mut self.created, &other.created), (&mut self.refused, &other.refused)] {
            for (feature, count) in counts {
                *sum.entry(*feature).or_default() += count;
            }
        }
    }

    /// Counts one `feature` made.
    pub(super) fn made(&mut self, feature: Feature) {
        *self.created.entry(feature).or_default() += 1;
    }

    /// Counts one `feature` refused.
    pub(super) fn was_refused(&mut self, feature: Feature) {
        *self.refused.entry(feature).or_default() += 1;
    }

    /// Counts `feature` as made or refused by what a system call said; whether it was made. An error that is no
    /// refusal is a mistake of the generator and ends the test.
    #[track_caller]
    pub(super) fn attempted(&mut self, feature: Feature, result: Result<(), Errno>) -> bool {
        match result {
            Ok(()) => self.made(feature),
            Err(cause) if is_refusal(cause) => self.was_refused(feature),
            Err(cause) => panic!("{feature:?} failed: {cause}"),
        }
        result.is_ok()
    }
}

/// Whether `cause` says that this system or file system does not do such a thing (owners that a user namespace does
/// not map, names or attributes beyond what the file system holds), not that something went wrong.
pub(super) fn is_refusal(cause: Errno) -> bool {
    [
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::INVAL,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::TOOBIG,
        Errno::RANGE,
        Errno::NAMETOOLONG,
        Errno::ILSEQ,
        Errno::OVERFLOW,
        Errno::NOSYS,
    ]
    .contains(&cause)
}
