//! What lies in the directory of a storage and is no object: what others put there, and what was never published.
//!
//! What must hold: no link is followed, nothing is opened but directories; what vanishes meanwhile is passed over.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};

use super::folders;
use crate::base::Result;
use crate::storage::name::{NAME_PARTS_MAX, UNFINISHED_FOLDER, is_unfinished};
use crate::storage::{ObjectName, Stray};

/// Visits all that is neither an object in one of these folders nor a folder on the way to one.
pub(super) fn visit(
    root: BorrowedFd<'_>,
    known: &[&str],
    visit: &mut dyn FnMut(Stray) -> Result<()>,
) -> Result<()> {
    for (name, file_type) in folders::entries(root)? {
        let is_known = |folder: &&str| folder.as_bytes() == name;
        if file_type.is_dir() && name == UNFINISHED_FOLDER.as_bytes() {
            visit_unfinished(root, visit)?;
        } else if file_type.is_dir() && name == b"lost+found" {
            // Every file system of the common kind has it.
        } else if file_type.is_dir() && known.iter().any(is_known) {
            visit_folder(root, &name, 1, visit)?;
        } else {
            visit(stray(root, &name, &name, file_type))?;
        }
    }
    Ok(())
}

fn visit_unfinished(root: BorrowedFd<'_>, visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
    let Some(folder) = folders::open_part(root, UNFINISHED_FOLDER)? else { return Ok(()) };
    for (name, file_type) in folders::entries(folder.as_fd())? {
        let path = [UNFINISHED_FOLDER.as_bytes(), b"/", &name].concat();
        let found = stray(folder.as_fd(), &name, &path, file_type);
        visit(Stray { is_unfinished: file_type == FileType::RegularFile && is_unfinished(&name), ..found })?;
    }
    Ok(())
}

/// As deep as names have parts.
fn visit_folder(
    above: BorrowedFd<'_>,
    path: &[u8],
    depth: usize,
    visit: &mut dyn FnMut(Stray) -> Result<()>,
) -> Result<()> {
    let part = path.rsplit(|byte| *byte == b'/').next().and_then(|part| std::str::from_utf8(part).ok());
    let Some(folder) = part.map(|part| folders::open_part(above, part)).transpose()?.flatten() else {
        return Ok(());
    };
    for (name, file_type) in folders::entries(folder.as_fd())? {
        let path_of_entry = [path, b"/", &name].concat();
        let is_name = std::str::from_utf8(&path_of_entry).is_ok_and(|text| ObjectName::parse(text).is_some());
        if is_name && file_type.is_dir() && depth + 1 < NAME_PARTS_MAX {
            visit_folder(folder.as_fd(), &path_of_entry, depth + 1, visit)?;
        } else if !is_name || file_type != FileType::RegularFile {
            visit(stray(folder.as_fd(), &name, &path_of_entry, file_type))?;
        }
    }
    Ok(())
}

fn stray(folder: BorrowedFd<'_>, name: &[u8], path: &[u8], file_type: FileType) -> Stray {
    let size_bytes = match file_type {
        FileType::RegularFile => rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|stat| u64::try_from(stat.st_size).ok())
            .unwrap_or_default(),
        _ => 0,
    };
    Stray { path: path.to_vec(), size_bytes, is_unfinished: false }
}

#[cfg(test)]
mod tests {
    use crate::storage::Storage;
    use crate::storage::local::Local;

    #[test]
    fn all_that_is_no_object_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for directory in ["tmp", "packs/00", "packs/a/b/c/d", "packs/Odd", "other/sub", "lost+found", "index"]
        {
            std::fs::create_dir_all(path.join(directory)).unwrap();
        }
        let unfinished = format!("tmp/{}", "0a".repeat(16));
        for file in [
            "packs/00/object",
            "packs/00/draft.tmp",
            "packs/Odd/x",
            "other/sub/object",
            "note.txt",
            "tmp/x",
            "index/object",
            &unfinished,
        ] {
            std::fs::write(path.join(file), "12345").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", path.join("index/link")).unwrap();
        let mut found = Vec::new();
        let storage = Local::open(path).unwrap();
        storage
            .strays(&["packs", "index"], &mut |stray| {
                let path = String::from_utf8(stray.path).unwrap();
                found.push((path, stray.size_bytes, stray.is_unfinished));
                Ok(())
            })
            .unwrap();
        found.sort_unstable();
        let expected = [
            ("index/link", 0, false),
            ("note.txt", 5, false),
            ("other", 0, false),
            ("packs/00/draft.tmp", 5, false),
            ("packs/Odd", 0, false),
            ("packs/a/b/c", 0, false),
            (&unfinished, 5, true),
            ("tmp/x", 5, false),
        ];
        assert_eq!(found, expected.map(|(path, size, is)| (path.to_owned(), size, is)));
    }
}
