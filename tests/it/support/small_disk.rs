//! A file system of a size of its own, in memory.
//!
//! What must hold: it is gone when the test is over.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::skip;

/// A file system that is mounted while this is held.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on a new folder. Where mounting is not allowed, says that `skipped` is not tested.
    pub fn new(path: &Path, options: &str, skipped: &str) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
        if !command.output().is_ok_and(|output| output.status.success()) {
            skip("mount", skipped);
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}
