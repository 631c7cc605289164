//! Ways through a directory tree that no name, no depth and no link can confuse.
//!
//! Every access is relative to the descriptor of a directory and follows no symbolic link, so that paths longer than
//! `PATH_MAX` and any bytes in names work. A walk holds one descriptor, whatever the depth: it goes down by name and
//! comes back by `..`, and checks that it arrived where it had left.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

/// Extended attributes (and lists of their names) are at most this long on Linux (`XATTR_SIZE_MAX`).
const XATTR_LIMIT_BYTES: usize = 65_536;

/// How a directory is opened to be read or to be gone through.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One object that a walk came to.
pub struct Met<'a> {
    /// The directory that holds the object; for the root of the walk the root itself.
    pub parent: BorrowedFd<'a>,
    /// The object's name in `parent`; for the root `.`.
    pub name: &'a CStr,
    /// The path from the root of the walk, names joined by `/`; empty for the root.
    pub path: &'a [u8],
    /// What `lstat` says of the object.
    pub stat: &'a Stat,
}

impl Met<'_> {
    /// The object's type.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// The directory `root`, which must not be a symbolic link.
#[track_caller]
pub fn open_root(root: &Path) -> OwnedFd {
    openat(CWD, root, DIRECTORY, Mode::empty())
        .unwrap_or_else(|cause| panic!("cannot open directory {}: {cause}", root.display()))
}

/// The directory `name` in `parent`.
#[track_caller]
pub fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> OwnedFd {
    openat(parent, name, DIRECTORY, Mode::empty())
        .unwrap_or_else(|cause| panic!("cannot open directory {name:?}: {cause}"))
}

/// The directory that is reached from `root` by `names`, one after the other.
#[track_caller]
pub fn open_place(root: BorrowedFd<'_>, names: &[CString]) -> OwnedFd {
    let mut current = open_directory(root, c".");
    for name in names {
        current = open_directory(current.as_fd(), name);
    }
    current
}

/// The names in `directory` without `.` and `..`, sorted by their bytes.
pub fn names(directory: BorrowedFd<'_>) -> Vec<CString> {
    let entries = Dir::read_from(directory).expect("a directory can be read");
    let mut names: Vec<CString> = entries
        .map(|entry| entry.expect("a directory can be read to its end").file_name().to_owned())
        .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
        .collect();
    names.sort_unstable();
    names
}

/// What `lstat` says of `name` in `parent`.
#[track_caller]
pub fn stat(parent: BorrowedFd<'_>, name: &CStr) -> Stat {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|cause| panic!("cannot stat {name:?}: {cause}"))
}

/// A path of bounded length to `name` in `parent`, for the system calls about extended attributes: they know no
/// directory descriptors, and on an object itself they need a descriptor that fits neither links nor devices.
pub fn bounded_path(parent: BorrowedFd<'_>, name: &CStr) -> CString {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).expect("a name holds no NUL")
}

/// All extended attributes (names, values) of `name` in `parent` that the kernel shows, sorted by name; access
/// control lists are among them. None where the file system knows no extended attributes.
#[track_caller]
pub fn xattrs(parent: BorrowedFd<'_>, name: &CStr) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = bounded_path(parent, name);
    let mut buffer = vec![0_u8; XATTR_LIMIT_BYTES];
    let listed = match rustix::fs::llistxattr(&path, buffer.as_mut_slice()) {
        Ok(length) => buffer[..length].to_vec(),
        Err(Errno::OPNOTSUPP) => Vec::new(),
        Err(cause) => panic!("cannot list extended attributes of {name:?}: {cause}"),
    };
    let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = listed
        .split(|byte| *byte == 0)
        .filter(|xattr| !xattr.is_empty())
        .map(|xattr| match rustix::fs::lgetxattr(&path, xattr, buffer.as_mut_slice()) {
            Ok(length) => (xattr.to_vec(), buffer[..length].to_vec()),
            Err(cause) => {
                panic!("cannot read extended attribute {} of {name:?}: {cause}", xattr.escape_ascii())
            }
        })
        .collect();
    xattrs.sort_unstable();
    xattrs
}

/// A directory whose names a walk has not all come to yet.
struct Level {
    names: std::vec::IntoIter<CString>,
    path_length: usize,
    identity: (u64, u64),
}

impl Level {
    fn new(directory: BorrowedFd<'_>, path_length: usize, stat: &Stat) -> Self {
        Self { names: names(directory).into_iter(), path_length, identity: (stat.st_dev, stat.st_ino) }
    }
}

/// Calls `visit` for `root` and for everything below it: a directory before its contents, names in byte order.
#[track_caller]
pub fn walk(root: &Path, visit: &mut dyn FnMut(&Met<'_>)) {
    let mut current = open_root(root);
    let root_stat = stat(current.as_fd(), c".");
    visit(&Met { parent: current.as_fd(), name: c".", path: b"", stat: &root_stat });
    let mut levels = vec![Level::new(current.as_fd(), 0, &root_stat)];
    let mut path: Vec<u8> = Vec::new();
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_length);
        if let Some(name) = level.names.next() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let stat = stat(current.as_fd(), &name);
            let met = Met { parent: current.as_fd(), name: &name, path: &path, stat: &stat };
            visit(&met);
            if met.file_type() == FileType::Directory {
                current = open_directory(current.as_fd(), &name);
                levels.push(Level::new(current.as_fd(), path.len(), &stat));
            }
        } else {
            levels.pop();
            if let Some(above) = levels.last() {
                current = open_directory(current.as_fd(), c"..");
                let arrived = stat(current.as_fd(), c".");
                assert_eq!((arrived.st_dev, arrived.st_ino), above.identity, "the tree moved under the walk");
            }
        }
    }
}
