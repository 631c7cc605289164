//! Directories below the root, reached one part at a time and never through a symbolic link.
//!
//! A folder can vanish at any moment, because a delete removes the folder that it emptied; whoever needs one makes it
//! anew. What is in a folder's place and is no directory is damage, not absence: a link to another disk must not look
//! like a repository without packs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::durability::sync_directory;
use crate::base::monitor::show_path;
use crate::base::{Error, Result, Wrap};
use crate::storage::name::{UNFINISHED_FOLDER, is_part, is_unfinished};

const DIRECTORY_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory: the root itself or one below it.
#[derive(Debug)]
pub(super) enum Folder<'root> {
    Root(BorrowedFd<'root>),
    Below(OwnedFd),
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => root.as_fd(),
            Self::Below(folder) => folder.as_fd(),
        }
    }
}

/// Opens a folder of a folder; `None` if there is nothing of that name.
pub(super) fn open_part(folder: BorrowedFd<'_>, part: &str) -> Result<Option<OwnedFd>> {
    match retry_on_intr(|| rustix::fs::openat(folder, part, DIRECTORY_FLAGS, Mode::empty())) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::damaged(format!("{part} is not a directory"))),
        Err(cause) => Err(Error::system(format!("cannot open directory {part}"), cause)),
    }
}

/// Opens the folder at a path; `None` if it is not there.
pub(super) fn find<'root>(root: BorrowedFd<'root>, path: Option<&str>) -> Result<Option<Folder<'root>>> {
    let mut folder = Folder::Root(root);
    for part in path.iter().flat_map(|path| path.split('/')) {
        match open_part(folder.as_fd(), part)? {
            Some(opened) => folder = Folder::Below(opened),
            None => return Ok(None),
        }
    }
    Ok(Some(folder))
}

/// Opens the folder at a path, making what is missing; `None` if a part was removed while the next was made in it.
pub(super) fn make<'root>(root: BorrowedFd<'root>, path: Option<&str>) -> Result<Option<Folder<'root>>> {
    let mut folder = Folder::Root(root);
    for part in path.iter().flat_map(|path| path.split('/')) {
        let opened = match open_part(folder.as_fd(), part)? {
            Some(opened) => opened,
            None => match rustix::fs::mkdirat(&folder, part, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => match open_part(folder.as_fd(), part)? {
                    Some(opened) => opened,
                    None => return Ok(None),
                },
                Err(Errno::NOENT) => return Ok(None),
                Err(cause) => return Err(Error::system(format!("cannot create directory {part}"), cause)),
            },
        };
        folder = Folder::Below(opened);
    }
    Ok(Some(folder))
}

/// Removes a folder and those above it as far as they are empty.
pub(super) fn remove_empty(root: BorrowedFd<'_>, path: &str) {
    let mut next = Some(path);
    while let Some(path) = next {
        let (above, last) = path.rsplit_once('/').map_or((None, path), |(above, last)| (Some(above), last));
        let removed = match find(root, above) {
            Ok(Some(folder)) => rustix::fs::unlinkat(&folder, last, AtFlags::REMOVEDIR).is_ok(),
            _ => false,
        };
        next = above.filter(|_| removed);
    }
}

/// What a directory holds: names as stored, without `.` and `..`, in no order; a directory that vanished is empty.
pub(super) fn entries(directory: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, FileType)>> {
    let failed = || "cannot read a directory";
    let mut entries = Vec::new();
    let mut reader = match Dir::read_from(directory) {
        Err(Errno::NOENT) => return Ok(entries),
        opened => opened.wrap(failed)?,
    };
    while let Some(entry) = reader.read() {
        let entry = entry.wrap(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let file_type = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(cause) => return Err(Error::system(failed(), cause)),
            },
            known => known,
        };
        entries.push((name.to_vec(), file_type));
    }
    Ok(entries)
}

/// The folders of a directory in which objects can be.
pub(super) fn subfolders(directory: BorrowedFd<'_>) -> Result<Vec<String>> {
    let entries = entries(directory)?.into_iter();
    Ok(entries
        .filter(|(_, file_type)| file_type.is_dir())
        .filter_map(|(name, _)| String::from_utf8(name).ok())
        .filter(|name| is_part(name))
        .collect())
}

/// Makes the root directory and its parents as far as they are missing, and syncs what now holds them.
pub(super) fn make_root(path: &Path) -> Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    for directory in missing.into_iter().rev() {
        let failed = || show_path(directory.as_os_str().as_encoded_bytes());
        match rustix::fs::mkdir(directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(cause) => return Err(Error::system(failed(), cause)),
        }
        let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // One that may not be read cannot be synced; a barrier over the file system still covers it.
        if let Ok(above) = rustix::fs::open(above.unwrap_or(Path::new(".")), flags, Mode::empty()) {
            sync_directory(above.as_fd()).wrap(failed)?;
        }
    }
    Ok(())
}

/// The first thing in a root directory that shows that it is used for something already.
pub(super) fn first_foreign_entry(root: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    for (name, file_type) in entries(root)? {
        if name == b"lost+found" && file_type.is_dir() {
            continue;
        }
        let folder = match std::str::from_utf8(&name) {
            Ok(part) if file_type.is_dir() && is_part(part) => open_part(root, part)?,
            _ => return Ok(Some(name)),
        };
        let inside = folder.map(|folder| entries(folder.as_fd())).transpose()?.unwrap_or_default();
        let may_hold_unfinished = name == UNFINISHED_FOLDER.as_bytes();
        if !inside.iter().all(|(inner, _)| may_hold_unfinished && is_unfinished(inner)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
