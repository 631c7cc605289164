//! How long a file must have been left alone before its times can show the next change.
//!
//! What must hold: two changes within one tick of a file system's clock leave the same times, so whoever reads between
//! them must read again. The margin covers the coarsest clock, and where the clock is not this machine's, its error.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;

/// FAT keeps times to 2 seconds, all others on this list to less (4 ms where the kernel's tick is the unit).
const LOCAL_SECONDS: u32 = 2;
/// A server or a program in between gives the times by its own clock, which nobody here can read without writing a
/// file: a day is more than a clock is wrong that anybody looks at.
const FOREIGN_SECONDS: u32 = 86_400;

/// File systems whose times come from the clock of this machine: the magic numbers of `statfs`, from the kernel's
/// `include/uapi/linux/magic.h` and the sources of each file system.
const LOCAL: [u64; 22] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlay: the times of the file system above
    0x5265_4973, // ReiserFS
    0x3153_464a, // JFS
    0x3434,      // NILFS2
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x5346_544e, // NTFS (the old driver)
    0x7366_746e, // NTFS (ntfs3)
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0x9660,      // ISO 9660
    0x1501_3346, // UDF
    0x24_1951,   // UBIFS
    0x72b6,      // JFFS2
];

/// Seconds that must lie between the last change of a file of this file system and the moment at which it is read.
pub(super) fn margin_seconds(handle: impl AsFd) -> u32 {
    let is_local = fstatfs(handle).is_ok_and(|found| {
        // The type is signed or unsigned, and of 32 or 64 bits, as the machine has it.
        #[expect(clippy::cast_possible_truncation, reason = "magic numbers have 32 bits")]
        let magic = u64::from(found.f_type as u32);
        LOCAL.contains(&magic)
    });
    if is_local { LOCAL_SECONDS } else { FOREIGN_SECONDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_system_of_a_disk_has_the_long_margin() {
        let folder = std::fs::File::open("/proc/self").expect("/proc");
        assert_eq!(margin_seconds(&folder), FOREIGN_SECONDS);
        let mut sorted = LOCAL.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), LOCAL.len());
    }
}
