//! Owners, modes, times, extended attributes and access control lists of generated objects.
//!
//! The order is that in which the kernel keeps them: a new owner takes away set-user-id bits and capabilities, an
//! access control list changes the mode, everything else may change the times, which come last. Every property is set
//! from the seed alone, so nothing depends on the umask or on the hour. Without privilege the owner may always read
//! and write, or the tests could not.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::census::{Census, Feature};
use crate::support::random::Random;
use crate::support::walk::bounded_path;

/// The largest owner there is: the number above it means "unchanged" to the kernel.
const LARGEST_OWNER: u32 = u32::MAX - 1;

/// An object whose metadata are set.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The directory that holds it.
    pub parent: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its type.
    pub file_type: FileType,
}

/// Sets all metadata of `target` at random. With `privileged` also what only root may set.
pub fn set_all(random: &mut Random, census: &mut Census, target: Target<'_>, privileged: bool) {
    if privileged {
        set_owner(random, census, target);
    }
    if target.file_type != FileType::Symlink {
        set_mode(random, census, target, privileged);
        if random.chance(1, 7) {
            set_access_lists(random, census, target, privileged);
        }
    }
    if random.chance(1, 4) {
        for _ in 0..random.range(1..4) {
            set_xattr(random, census, target, privileged);
        }
    }
    set_mtime(random, census, target);
}

/// Sets the modification time of `name` in `parent`, of a link its own.
pub fn set_mtime_to(parent: BorrowedFd<'_>, name: &CStr, mtime: Timespec) -> Result<(), Errno> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: mtime };
    utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Changes owner and group, and with them nothing else, in about half of all cases.
pub fn set_owner(random: &mut Random, census: &mut Census, target: Target<'_>) {
    let (feature, uid, gid) = match random.below(8) {
        0 => (Feature::OwnerLarge, LARGEST_OWNER, LARGEST_OWNER - 1),
        1 => (Feature::OwnerLarge, random_owner(random, 65_536), random_owner(random, 65_536)),
        2 | 3 => (Feature::OwnerOther, random_owner(random, 1) % 70_000 + 1, random_owner(random, 1) % 3000),
        _ => return,
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let result = chownat(target.parent, target.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    census.attempted(feature, result);
}

fn random_owner(random: &mut Random, smallest: u32) -> u32 {
    let number = random.below(u64::from(LARGEST_OWNER - smallest)) + u64::from(smallest);
    u32::try_from(number).expect("below the largest owner")
}

/// A mode that need not differ from the present one; of regular files and directories one that leaves the owner what
/// the tests need, unless `privileged`.
pub fn random_mode(random: &mut Random, file_type: FileType, privileged: bool) -> Mode {
    let bits: u32 = match random.below(10) {
        0..5 => *random.pick(&[0o644, 0o600, 0o664, 0o755, 0o700, 0o444]),
        5 => 0,
        6 => *random.pick(&[0o4755, 0o2755, 0o1777, 0o7777, 0o6711, 0o2770]),
        7 => *random.pick(&[0o111, 0o200, 0o007, 0o070, 0o4000, 0o1000]),
        _ => u32::try_from(random.below(0o10000)).expect("twelve bits"),
    };
    let needed = match file_type {
        _ if privileged => 0,
        FileType::Directory => 0o700,
        FileType::RegularFile => 0o600,
        _ => 0,
    };
    Mode::from_raw_mode(bits | needed)
}

fn set_mode(random: &mut Random, census: &mut Census, target: Target<'_>, privileged: bool) {
    let mode = random_mode(random, target.file_type, privileged);
    chmodat(target.parent, target.name, mode, AtFlags::empty()).expect("a mode can be set");
    let features = [
        (Mode::SUID, Feature::ModeSetUserId),
        (Mode::SGID, Feature::ModeSetGroupId),
        (Mode::SVTX, Feature::ModeSticky),
    ];
    for (bit, feature) in features {
        if mode.contains(bit) {
            census.made(feature);
        }
    }
    if mode.is_empty() && privileged {
        census.made(Feature::ModeNothing);
    }
}

/// A time of any kind: ordinary, the epoch itself, before it, after 32 bits have run out.
pub fn random_mtime(random: &mut Random) -> (Option<Feature>, Timespec) {
    let nanoseconds = |random: &mut Random| {
        if random.chance(1, 5) {
            return *random.pick(&[0, 1, 999_999_999]);
        }
        i64::try_from(random.below(1_000_000_000)).expect("less than a second")
    };
    let seconds_below =
        |random: &mut Random, bound: u64| i64::try_from(random.below(bound)).expect("a small bound");
    let (feature, tv_sec) = match random.below(10) {
        0 => (Some(Feature::MtimeBefore1970), -1),
        1 => (Some(Feature::MtimeBefore1970), -1 - seconds_below(random, 2_100_000_000)),
        2 => (Some(Feature::MtimeAfter2038), (1 << 31) + seconds_below(random, 10_000_000_000)),
        3 => return (Some(Feature::MtimeZero), Timespec { tv_sec: 0, tv_nsec: 0 }),
        _ => (None, 1_000_000_000 + seconds_below(random, 700_000_000)),
    };
    (feature, Timespec { tv_sec, tv_nsec: nanoseconds(random) })
}

/// Sets a random modification time.
pub fn set_mtime(random: &mut Random, census: &mut Census, target: Target<'_>) {
    let (feature, mtime) = random_mtime(random);
    let result = set_mtime_to(target.parent, target.name, mtime);
    if mtime.tv_nsec % 1000 != 0 {
        census.attempted(Feature::MtimeNanoseconds, result);
    }
    if let Some(feature) = feature {
        census.attempted(feature, result);
        match target.file_type {
            FileType::Directory => drop(census.attempted(Feature::MtimeUnusualOfDirectory, result)),
            FileType::Symlink => drop(census.attempted(Feature::MtimeUnusualOfSymlink, result)),
            _ => {}
        }
    }
}

/// Sets one extended attribute that objects of this type may have, if there is one; whether it was set.
pub fn set_xattr(random: &mut Random, census: &mut Census, target: Target<'_>, privileged: bool) -> bool {
    let everywhere = privileged && random.chance(1, 4);
    let user = matches!(target.file_type, FileType::RegularFile | FileType::Directory);
    if everywhere || (privileged && !user) {
        let trusted_feature = match target.file_type {
            FileType::Symlink => Feature::XattrTrustedOfSymlink,
            FileType::RegularFile if random.chance(1, 2) => {
                let result = set(target, b"security.capability", &capability(random));
                return census.attempted(Feature::XattrCapability, result);
            }
            _ => Feature::XattrTrusted,
        };
        let length = random.range(0..40);
        let result = set(target, b"trusted.packstone.test", &random.bytes(length));
        return census.attempted(trusted_feature, result);
    }
    if !user {
        return false;
    }
    let feature = *random.pick(&[
        Feature::XattrEmpty,
        Feature::XattrBinary,
        Feature::Xattr600Bytes,
        Feature::Xattr3000Bytes,
        Feature::XattrNameUnusual,
    ]);
    let (name, value): (&[u8], Vec<u8>) = match feature {
        Feature::XattrEmpty => (b"user.empty", Vec::new()),
        Feature::Xattr600Bytes => (b"user.medium", random.bytes(600)),
        Feature::Xattr3000Bytes => (b"user.long", random.bytes(3000)),
        Feature::XattrNameUnusual => (b"user.\xff\xfe =\n%", b"x".to_vec()),
        _ => (b"user.binary", b"\0\xff\0\n".iter().copied().chain(random.bytes(8)).collect()),
    };
    let was_set = census.attempted(feature, set(target, name, &value));
    if was_set && target.file_type == FileType::Directory {
        census.made(Feature::XattrOfDirectory);
    }
    was_set
}

fn set(target: Target<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    lsetxattr(bounded_path(target.parent, target.name), name, value, XattrFlags::empty())
}

/// Capabilities of a program as the kernel stores them: `struct vfs_cap_data` of `linux/capability.h`, revision 2,
/// with the effective bit; permitted and inheritable sets, low and high halves.
fn capability(random: &mut Random) -> Vec<u8> {
    let permitted_low: u32 = *random.pick(&[1 << 10, 1 << 13, (1 << 12) | (1 << 10)]);
    [0x0200_0001, permitted_low, 0, 0, 0].iter().flat_map(|number: &u32| number.to_le_bytes()).collect()
}

fn set_access_lists(random: &mut Random, census: &mut Census, target: Target<'_>, privileged: bool) {
    let list = access_list(random, privileged);
    census.attempted(Feature::AclAccess, set(target, b"system.posix_acl_access", &list));
    if target.file_type == FileType::Directory && random.chance(1, 2) {
        let list = access_list(random, privileged);
        census.attempted(Feature::AclDefault, set(target, b"system.posix_acl_default", &list));
    }
}

/// A list as the kernel takes it (`linux/posix_acl_xattr.h`): version 2, then entries of tag, permissions and id,
/// sorted by tag and id. One or two named users make it one that a mode cannot say.
fn access_list(random: &mut Random, privileged: bool) -> Vec<u8> {
    const UNNAMED: u32 = u32::MAX;
    let permissions = |random: &mut Random| u16::try_from(random.below(8)).expect("three bits");
    let of_owner = if privileged { permissions(random) } else { 7 };
    let first_user = random_owner(random, 1) % 60_000 + 1;
    let mut entries: Vec<(u16, u16, u32)> =
        vec![(0x01, of_owner, UNNAMED), (0x02, permissions(random), first_user)];
    if random.chance(1, 2) {
        entries.push((0x02, permissions(random), first_user + 1));
    }
    entries.push((0x04, permissions(random), UNNAMED));
    if random.chance(1, 2) {
        entries.push((0x08, permissions(random), first_user));
    }
    entries.push((0x10, permissions(random), UNNAMED));
    entries.push((0x20, permissions(random), UNNAMED));
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&permissions.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    list
}
