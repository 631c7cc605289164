//! From the paths that a user names to the tree in which they are stored: each under its absolute path, its parents
//! above it.
//!
//! What must hold: no path is claimed by two sources; the file system is not asked, so that the same request gives the
//! same tree whatever is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::limits::{DEPTH_MAX, NAME_BYTES_MAX};
use crate::base::monitor::{show_file, show_path};
use crate::base::{Error, ErrorKind, Result};

/// What is taken from a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// A parent of sources: its metadata, and only the named children.
    Directory(PlannedDirectory),
    /// A source: what stands here, and everything below.
    Path,
}

/// A parent of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDirectory {
    /// Absolute path, to open it for its metadata.
    pub path: PathBuf,
    /// What is taken from it, by name.
    pub children: BTreeMap<Vec<u8>, Planned>,
}

/// The tree of some sources, from `/` on, and their absolute paths in the given order.
///
/// Paths are made absolute by their letters alone: `.` and repeated slashes vanish, `..` takes the name before it away,
/// and symbolic links are not resolved. Two sources of which one lies in the other or is the other are an error of kind
/// `Usage`, as is a path that no file can have.
pub fn plan(paths: &[PathBuf], current_directory: &Path) -> Result<(Planned, Vec<PathBuf>)> {
    let mut sources = Vec::with_capacity(paths.len());
    for path in paths {
        sources.push((components(path, current_directory)?, path));
    }
    let absolute = sources.iter().map(|(names, _)| path_of(names)).collect();
    // A path sorts directly before what lies in it.
    sources.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (one, other) in sources.iter().zip(sources.iter().skip(1)) {
        if other.0.starts_with(&one.0) {
            return Err(overlap(one, other));
        }
    }
    let sources: Vec<_> = sources.into_iter().map(|(names, _)| names).collect();
    Ok((tree(&sources), absolute))
}

/// The sources of paths that were named and of paths that stand in lists, without those that lie in another one or are
/// another one: a list often holds a directory and all that is in it.
///
/// Named paths that overlap each other remain, for `plan` to refuse.
pub fn join_lists(
    named: Vec<PathBuf>,
    listed: Vec<PathBuf>,
    current_directory: &Path,
) -> Result<Vec<PathBuf>> {
    let names = |paths: &[PathBuf]| -> Result<Vec<Vec<Vec<u8>>>> {
        paths.iter().map(|path| components(path, current_directory)).collect()
    };
    let (named_components, listed_components) = (names(&named)?, names(&listed)?);
    let of_named: BTreeSet<&[Vec<u8>]> = named_components.iter().map(Vec::as_slice).collect();
    let of_listed: BTreeSet<&[Vec<u8>]> = listed_components.iter().map(Vec::as_slice).collect();
    let lies_in = |components: &[Vec<u8>], set: &BTreeSet<&[Vec<u8>]>| {
        (0..components.len()).any(|length| components.get(..length).is_some_and(|above| set.contains(above)))
    };
    let named = named.into_iter().zip(&named_components);
    let mut sources: Vec<PathBuf> =
        named.filter(|(_, components)| !lies_in(components, &of_listed)).map(|(path, _)| path).collect();
    let mut seen = of_named.clone();
    for (path, components) in listed.into_iter().zip(&listed_components) {
        let is_first = seen.insert(components);
        if is_first && !lies_in(components, &of_named) && !lies_in(components, &of_listed) {
            sources.push(path);
        }
    }
    Ok(sources)
}

/// The names under which a stream is stored, from a filename with or without a leading slash.
///
/// An error of kind `Usage` if a name is empty, `.` or `..`, has a NUL, or is longer than a name can be.
pub fn stream_path(filename: &str) -> Result<Vec<Vec<u8>>> {
    let names: Vec<Vec<u8>> = filename
        .strip_prefix('/')
        .unwrap_or(filename)
        .split('/')
        .map(|name| name.as_bytes().to_vec())
        .collect();
    if names.iter().any(|name| name.is_empty() || name == b"." || name == b"..") {
        let shown = show_path(filename.as_bytes());
        let message = format!("the name {shown:?} of a stream has a part that is empty, \".\" or \"..\"");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    check(&names, filename.as_bytes())?;
    Ok(names)
}

fn components(path: &Path, current_directory: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the path of a source is empty"));
    }
    let mut names = Vec::new();
    if !bytes.starts_with(b"/") {
        let current = current_directory.as_os_str().as_bytes();
        if !current.starts_with(b"/") {
            let message = format!("the source {} lies in no known directory", show_path(bytes));
            return Err(Error::new(ErrorKind::Usage, message));
        }
        append(&mut names, current);
    }
    append(&mut names, bytes);
    check(&names, bytes)?;
    Ok(names)
}

fn append(names: &mut Vec<Vec<u8>>, path: &[u8]) {
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            _ => names.push(name.to_vec()),
        }
    }
}

fn check(names: &[Vec<u8>], path: &[u8]) -> Result<()> {
    let problem = if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        format!("has a name of more than {NAME_BYTES_MAX} bytes")
    } else if names.iter().any(|name| name.contains(&0)) {
        "has a NUL".to_owned()
    } else if names.len() > DEPTH_MAX {
        format!("is deeper than {DEPTH_MAX} directories")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Usage, format!("the path {} {problem}", show_path(path))))
}

/// The error of a source that is another one or lies in it, as both were given.
fn overlap(one: &(Vec<Vec<u8>>, &PathBuf), other: &(Vec<Vec<u8>>, &PathBuf)) -> Error {
    let [shown, other_shown] = [one, other].map(|(_, given)| show_file(given));
    let message = if one.0.len() < other.0.len() {
        format!(
            "the source {other_shown} lies in the source {shown}, with which it is backed up: leave out \
             {other_shown}"
        )
    } else if shown == other_shown {
        format!("the source {shown} is named twice: leave out one of them")
    } else {
        format!("the sources {shown} and {other_shown} are the same: leave out one of them")
    };
    Error::new(ErrorKind::Usage, message)
}

fn path_of(names: &[Vec<u8>]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(names.iter().map(|name| OsStr::from_bytes(name)));
    path
}

/// The tree of sources that do not overlap.
fn tree(sources: &[Vec<Vec<u8>>]) -> Planned {
    let mut root = PlannedDirectory { path: PathBuf::from("/"), children: BTreeMap::new() };
    for source in sources {
        let Some((last, parents)) = source.split_last() else { return Planned::Path };
        let mut directory = &mut root;
        for name in parents {
            let path = directory.path.join(OsStr::from_bytes(name));
            let child = directory
                .children
                .entry(name.clone())
                .or_insert_with(|| Planned::Directory(PlannedDirectory { path, children: BTreeMap::new() }));
            match child {
                Planned::Directory(next) => directory = next,
                Planned::Path => return Planned::Path,
            }
        }
        directory.children.insert(last.clone(), Planned::Path);
    }
    Planned::Directory(root)
}

#[cfg(test)]
mod tests;
