//! Listing in the order of whole names, one directory at a time.
//!
//! A directory sorts among its neighbours as its name followed by `/`: all its objects begin so. Memory is taken for the
//! names of one directory of each level. What is in an object's place and is no regular file ends the listing as damage:
//! a snapshot that somebody replaced by a link must not look as if it were not there, for its packs would be collected.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{folders, not_regular};
use crate::base::{Error, Result};
use crate::storage::{Listed, ObjectName};

enum Entry {
    Object(ObjectName),
    Folder { name: String, part: String },
}

/// Visits the objects in an open directory, whose own name is `folder`, and below it.
pub(super) fn list(
    directory: BorrowedFd<'_>,
    folder: &str,
    start_after: Option<&ObjectName>,
    visit: &mut dyn FnMut(Listed) -> Result<()>,
) -> Result<()> {
    for (_, entry) in sorted_entries(directory, folder, start_after)? {
        match entry {
            Entry::Object(name) => {
                if let Some(size_bytes) = size_of(directory, &name)? {
                    visit(Listed { name, size_bytes })?;
                }
            }
            Entry::Folder { name, part } => {
                if let Some(opened) = folders::open_part(directory, &part)? {
                    list(opened.as_fd(), &name, start_after, visit)?;
                }
            }
        }
    }
    Ok(())
}

/// What is to be listed of a directory, each with what it is sorted by.
fn sorted_entries(
    directory: BorrowedFd<'_>,
    folder: &str,
    start_after: Option<&ObjectName>,
) -> Result<Vec<(String, Entry)>> {
    let after = start_after.map_or("", ObjectName::as_str);
    let mut sorted = Vec::new();
    for (part, file_type) in folders::entries(directory)? {
        let Ok(part) = String::from_utf8(part) else { continue };
        let Some(name) = ObjectName::parse(&format!("{folder}/{part}")) else { continue };
        if file_type.is_dir() {
            let key = format!("{name}/");
            if after < key.as_str() || after.starts_with(&key) {
                sorted.push((key, Entry::Folder { name: name.to_string(), part }));
            }
        } else if after < name.as_str() {
            if file_type != FileType::RegularFile {
                return Err(not_regular(&name));
            }
            sorted.push((name.to_string(), Entry::Object(name)));
        }
    }
    sorted.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(sorted)
}

/// Size in bytes of a file in a directory; `None` if it has vanished.
fn size_of(directory: BorrowedFd<'_>, name: &ObjectName) -> Result<Option<u64>> {
    let (_, last) = name.split_last();
    match rustix::fs::statat(directory, last, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match (FileType::from_raw_mode(stat.st_mode), u64::try_from(stat.st_size)) {
            (FileType::RegularFile, Ok(size_bytes)) => Ok(Some(size_bytes)),
            _ => Err(not_regular(name)),
        },
        Err(Errno::NOENT) => Ok(None),
        Err(cause) => Err(Error::system(format!("cannot examine object {name}"), cause)),
    }
}
