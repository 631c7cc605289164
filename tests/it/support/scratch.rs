//! Directories for tests, which are gone when the test is over, whatever it put into them.
//!
//! The standard library's removal holds a descriptor for each level and stops at directories that may not be read;
//! this one holds one descriptor and makes directories accessible first.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, chmodat, unlinkat};

use super::walk::{names, open_directory, stat};

/// A new, empty directory below the system's directory for temporary files; removed with everything in it on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates the directory.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("packstone-test-").tempdir();
        Self { path: directory.expect("a temporary directory can be created").keep() }
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in the directory; nothing is created.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

/// Removes `root` and everything below it, however deep and whatever the modes; nothing if there is no `root`.
pub fn remove_tree(root: &Path) {
    if root.symlink_metadata().is_err() {
        return;
    }
    let above = root.parent().expect("not the root of the file system");
    let parent = rustix::fs::open(
        if above.as_os_str().is_empty() { Path::new(".") } else { above },
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("the directory above can be opened");
    let name = root.file_name().expect("a path that ends with a name").as_encoded_bytes();
    remove_at(parent.as_fd(), &CString::new(name).expect("a name holds no NUL"));
}

/// Removes `name` from `parent`; a directory with everything below it.
pub fn remove_at(parent: BorrowedFd<'_>, name: &CStr) {
    if !unlink_unless_directory(parent, name) {
        return;
    }
    let mut current = enter(parent, name);
    let mut entered = vec![(name.to_owned(), remove_leaves(current.as_fd()).into_iter())];
    while let Some((name, mut directories)) = entered.pop() {
        if let Some(below) = directories.next() {
            entered.push((name, directories));
            current = enter(current.as_fd(), &below);
            entered.push((below, remove_leaves(current.as_fd()).into_iter()));
            continue;
        }
        if !entered.is_empty() {
            current = open_directory(current.as_fd(), c"..");
        }
        let above = if entered.is_empty() { parent } else { current.as_fd() };
        unlinkat(above, &name, AtFlags::REMOVEDIR).expect("an emptied directory can be removed");
    }
}

/// Opens the directory `name` after it was made accessible.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> OwnedFd {
    chmodat(parent, name, Mode::RWXU, AtFlags::empty()).expect("a directory's mode can be changed");
    open_directory(parent, name)
}

/// Removes all but the directories from `directory` and returns the names of those.
fn remove_leaves(directory: BorrowedFd<'_>) -> Vec<CString> {
    names(directory).into_iter().filter(|name| unlink_unless_directory(directory, name)).collect()
}

/// Whether `name` is a directory; anything else is removed.
fn unlink_unless_directory(parent: BorrowedFd<'_>, name: &CStr) -> bool {
    let is_directory = FileType::from_raw_mode(stat(parent, name).st_mode) == FileType::Directory;
    if !is_directory {
        unlinkat(parent, name, AtFlags::empty()).expect("what is no directory can be removed");
    }
    is_directory
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{Scratch, remove_tree};

    #[test]
    fn closed_directories_are_removed_and_links_are_not_followed() {
        let scratch = Scratch::new();
        let (root, outside) = (scratch.join("root"), scratch.join("outside"));
        fs::create_dir_all(root.join("closed/below/deeper")).unwrap();
        fs::create_dir_all(root.join("open/one")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), b"kept").unwrap();
        fs::write(root.join("closed/below/file"), b"").unwrap();
        symlink(&outside, root.join("closed/below/link")).unwrap();
        for closed in ["closed/below", "closed", "open"] {
            fs::set_permissions(root.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&root);
        assert!(root.symlink_metadata().is_err());
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        remove_tree(&root);
        remove_tree(&outside.join("kept"));
        assert!(outside.join("kept").symlink_metadata().is_err());
    }

    #[test]
    fn a_directory_for_tests_is_empty_and_gone_after_its_use() {
        let scratch = Scratch::new();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(path.symlink_metadata().is_err());
    }
}
