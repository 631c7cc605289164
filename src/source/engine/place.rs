//! Files put back beside what they replace, and renamed into their place.
//!
//! What must hold: until the rename everything is as it was; after it the new file is whole, with its owner and mode.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Feed, Listener};
use crate::base::monitor::show_file;
use crate::base::size::show;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::Metadata;
use crate::fsmeta::apply::{ApplyOptions, Attributes, apply_to_fd};
use crate::fsmeta::owners::LocalIds;

/// What ends the name of what is not yet in its place.
const NEW: &str = ".packstone-new";

/// A file that waits beside the place that it will take.
#[derive(Debug)]
pub(super) struct Beside {
    /// The place that it will take.
    pub target: PathBuf,
    /// Where it is.
    pub path: PathBuf,
    file: File,
    is_placed: bool,
}

/// The path with something at the end of its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What stands at a path, for people: its size and when it was changed. `None` if nothing does.
pub(super) fn describe(path: &Path) -> Result<Option<String>> {
    let stat = match std::fs::metadata(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::system(format!("cannot look at {}", show_file(path)), error)),
    };
    let when = jiff::Timestamp::from_second(stat.mtime()).map(|time| time.to_string()).unwrap_or_default();
    Ok(Some(format!("the file {}, {}, last changed {when}", show_file(path), show(stat.len()))))
}

impl Beside {
    /// Writes a dump beside the place that it will take; what an earlier attempt left there goes.
    pub(super) fn write(target: &Path, feed: &mut Feed<'_>) -> Result<Self> {
        // A link stays one: what it leads to is replaced.
        let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).wrap(|| format!("cannot create {}", show_file(folder)))?;
        }
        let path = beside(&target, NEW);
        let what = || format!("cannot write {}", show_file(&path));
        remove(&path)?;
        // Nobody else reads it before it has its owner.
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).wrap(what)?;
        let mut written = Self { target, path: path.clone(), file, is_placed: false };
        feed(&mut written.file)?;
        written.file.sync_all().wrap(what)?;
        Ok(written)
    }

    /// Gives it the owner, mode and times that are stored; what cannot be set is told.
    pub(super) fn set(&self, metadata: &Metadata, listener: &Listener) -> Result<()> {
        set(&self.file, &self.target, metadata, listener);
        self.file.sync_all().wrap(|| format!("cannot write {}", show_file(&self.path)))
    }

    /// Takes the place, whatever stands there.
    pub(super) fn place(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.target)
            .wrap(|| format!("cannot replace {}", show_file(&self.target)))?;
        self.is_placed = true;
        sync_folder_of(&self.target)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_placed {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// An error unless what stands somewhere may be replaced.
pub(super) fn refuse_unless(may_replace: bool, path: &Path) -> Result<()> {
    if may_replace {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Exists, format!("{} exists and would be replaced", show_file(path))))
}

/// Sets what is stored of an open file or folder; what cannot be set is told.
pub(super) fn set(file: &File, shown: &Path, metadata: &Metadata, listener: &Listener) {
    let mut metadata = metadata.clone();
    LocalIds::new().localize(&mut metadata);
    let attributes = Attributes { metadata: &metadata, xattrs: &[] };
    for problem in apply_to_fd(file.as_fd(), &attributes, &ApplyOptions::default()) {
        listener.tell(&format!("{}: {}", show_file(shown), problem.message));
    }
}

/// Makes what was renamed in a folder last.
pub(super) fn sync_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .wrap(|| format!("cannot write {}", show_file(folder)))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system(format!("cannot remove {}", show_file(path)), error))
        }
        _ => Ok(()),
    }
}
