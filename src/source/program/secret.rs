//! Files that hold a password, which exist in memory alone: for clients that read one.
//!
//! What must hold: nothing is ever on a disk or has a name that others could open; what was written is not changed any
//! more, by nobody.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::process::{DumpableBehavior, dumpable_behavior};

use crate::base::{Result, Wrap};

/// A file without a name in the memory. It is gone when the last one who has it lets go.
#[derive(Clone)]
pub struct SecretFile(Arc<OwnedFd>);

impl SecretFile {
    /// Puts bytes into such a file.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        Self::create(bytes).wrap(|| "cannot make a file in memory for a password")
    }

    fn create(bytes: &[u8]) -> std::io::Result<Self> {
        let descriptor = memfd_create("password", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        fchmod(&descriptor, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(descriptor);
        file.write_all(bytes)?;
        fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(Self(Arc::new(file.into())))
    }

    /// The path by which programs of the same user open it, for as long as this process has it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Whether programs that this process starts as its own user can open such files.
    pub fn can_be_opened() -> bool {
        dumpable_behavior() == Ok(DumpableBehavior::Dumpable)
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretFile(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, metadata, read};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_read_by_its_path_from_the_beginning_and_never_changed() {
        let file = SecretFile::new(b"secret").expect("a file");
        let path = file.path();
        for _ in 0..2 {
            assert_eq!(read(&path).expect("readable"), b"secret");
        }
        let metadata = metadata(&path).expect("metadata");
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let mut writer = OpenOptions::new().write(true).open(&path).expect("its owner may open it");
        writer.write_all(b"x").expect_err("it is sealed");
        let again = file.clone();
        drop((file, writer));
        assert_eq!(read(again.path()).expect("readable"), b"secret");
        assert_eq!(format!("{again:?}"), "SecretFile(…)");
        drop(again);
        read(path).expect_err("gone");
    }
}
