//! Paths from patterns of paths, expanded against the file system as a shell would.
//!
//! What must hold: a pattern without wildcards is its path, whether something stands there or not; what cannot be
//! looked at is told, for it may hold what was meant; `**` follows no symbolic links, so that it comes to an end.

use std::ffi::OsStr;
use std::io::ErrorKind as Io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::source::exclude::Wildcard;

/// What a pattern of paths gave.
#[derive(Debug, Default)]
pub struct Globbed {
    /// Absolute paths, sorted, each once.
    pub paths: Vec<PathBuf>,
    /// Directories that could not be listed, and why.
    pub problems: Vec<(PathBuf, Error)>,
}

enum Component<'p> {
    Name(&'p [u8]),
    Wildcard(Wildcard),
    AnyDepth,
}

/// The paths that a pattern matches, in the wildcards of `exclude`; relative ones begin at an absolute directory.
///
/// `Usage` if the pattern cannot be read.
pub fn glob(pattern: &[u8], current_directory: &Path) -> Result<Globbed> {
    let mut components = Vec::new();
    for part in pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        components.push(match part {
            b"**" => Component::AnyDepth,
            part if part.iter().any(|byte| b"*?[\\".contains(byte)) => {
                let refused = |bad| {
                    let message = format!("the pattern \"{}\" cannot be read", show_path(pattern));
                    Error::caused(ErrorKind::Usage, message, bad)
                };
                Component::Wildcard(Wildcard::parse(part).map_err(refused)?)
            }
            part => Component::Name(part),
        });
    }
    let start = if pattern.starts_with(b"/") { Path::new("/") } else { current_directory };
    let mut globbed = Globbed::default();
    expand(start.to_owned(), &components, false, &mut globbed);
    globbed.paths.sort();
    globbed.paths.dedup();
    Ok(globbed)
}

fn expand(place: PathBuf, components: &[Component<'_>], is_guess: bool, globbed: &mut Globbed) {
    let Some((component, rest)) = components.split_first() else {
        // Only where a wildcard led here it is open whether there is anything.
        if !is_guess || may_exist(&place) {
            globbed.paths.push(place);
        }
        return;
    };
    match component {
        Component::Name(name) => expand(place.join(OsStr::from_bytes(name)), rest, is_guess, globbed),
        Component::Wildcard(wildcard) => {
            for (name, _) in list(&place, globbed) {
                if wildcard.matches(&name) {
                    expand(place.join(OsStr::from_bytes(&name)), rest, true, globbed);
                }
            }
        }
        // All that lies below it is part of it.
        Component::AnyDepth if rest.is_empty() => expand(place, rest, is_guess, globbed),
        Component::AnyDepth => {
            for (name, is_directory) in list(&place, globbed) {
                if is_directory {
                    expand(place.join(OsStr::from_bytes(&name)), components, true, globbed);
                }
            }
            expand(place, rest, true, globbed);
        }
    }
}

/// Whether something stands there, or it cannot be told.
fn may_exist(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), Io::NotFound | Io::NotADirectory),
    }
}

/// Names in a directory, and whether they are directories; none if it is no directory.
fn list(directory: &Path, globbed: &mut Globbed) -> Vec<(Vec<u8>, bool)> {
    let listed = std::fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| {
                let entry = entry?;
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                Ok((entry.file_name().into_vec(), is_directory))
            })
            .collect::<std::io::Result<Vec<_>>>()
    });
    listed.unwrap_or_else(|error| {
        if !matches!(error.kind(), Io::NotFound | Io::NotADirectory) {
            let error = Error::system("cannot read directory", error);
            globbed.problems.push((directory.to_owned(), error));
        }
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn patterns_are_expanded_as_a_shell_would() {
        let temporary = tempfile::tempdir().expect("a directory");
        let root = temporary.path();
        for directory in ["a/x/y", "a/.hidden", "b/x", "c"] {
            create_dir_all(root.join(directory)).expect("a directory");
        }
        for file in ["a/one.txt", "a/x/two.txt", "a/x/y/three.txt", "b/[1]", "c/x"] {
            write(root.join(file), "").expect("a file");
        }
        std::os::unix::fs::symlink(root, root.join("a/loop")).expect("a link");
        let expand = |pattern: &str| -> Vec<String> {
            let globbed = glob(pattern.as_bytes(), root).expect("a pattern");
            assert!(globbed.problems.is_empty(), "{:?}", globbed.problems);
            let below = |path: &PathBuf| path.strip_prefix(root).map(|path| path.display().to_string());
            globbed
                .paths
                .iter()
                .map(|path| below(path).unwrap_or_else(|_| path.display().to_string()))
                .collect()
        };
        let nothing: [&str; 0] = [];
        assert_eq!(expand("missing/file"), ["missing/file"]);
        assert_eq!(expand("/missing//file/"), ["/missing/file"]);
        assert_eq!(expand("*"), ["a", "b", "c"]);
        assert_eq!(expand("./[ab]"), ["./a", "./b"].map(|path| path.trim_start_matches("./")));
        assert_eq!(expand("*/x"), ["a/x", "b/x", "c/x"]);
        assert_eq!(expand("*/x/*"), ["a/x/two.txt", "a/x/y"]);
        assert_eq!(expand("*/none"), nothing);
        assert_eq!(expand("none/*"), nothing);
        assert_eq!(expand("a/?*d*"), ["a/.hidden"]);
        assert_eq!(expand("b/\\[1\\]"), ["b/[1]"]);
        assert_eq!(expand("**/*.txt"), ["a/one.txt", "a/x/two.txt", "a/x/y/three.txt"]);
        assert_eq!(expand("a/**/t*.txt"), ["a/x/two.txt", "a/x/y/three.txt"]);
        assert_eq!(expand("a/**"), ["a"]);
        assert_eq!(expand("**/x/**/y"), ["a/x/y"]);
        assert_eq!(expand(&format!("{}/b/*", root.display())), ["b/[1]", "b/x"]);
        assert_eq!(glob(b"a/[", root).expect_err("no pattern").kind(), ErrorKind::Usage);
    }
}
