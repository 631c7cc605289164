//! A folder of ChromaDB's put back: made beside the old one, and swapped with it.
//!
//! What must hold: until the swap the old folder is as it was; what is made beside it goes if the swap is never reached.

use std::fs::File;
use std::io::ErrorKind as Io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::super::place::{Beside, beside, refuse_unless, set, sync_folder_of};
use super::super::sqlite::place::{check_whole, settle};
use super::super::{Listener, LoadPlan, LoadStep, StoredDump};
use super::DATABASE;
use crate::base::monitor::show_file;
use crate::base::size::show;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::Metadata;
use crate::fsmeta::capture::{metadata, stat_fd};
use crate::fsmeta::owners::Owners;

/// What ends the name of the folder that is not yet in its place.
const NEW: &str = ".packstone-new";

/// The steps that put a folder back.
pub(super) fn plan(
    folder: &Path,
    stored: &[StoredDump],
    may_replace: bool,
    listener: &Listener,
) -> Result<LoadPlan> {
    // A link stays one: what it leads to is replaced.
    let folder = &std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mut plan = LoadPlan::default();
    let Some(database) = stored.iter().find(|dump| dump.name == DATABASE) else {
        let message = format!("what is stored has no {DATABASE}");
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    plan.replaced.extend(describe(folder)?);
    let made = Arc::new(Made::beside(folder));
    let mut of_folders = database.metadata.clone();
    of_folders.mode |= (of_folders.mode & 0o444) >> 2;
    let mut is_first = true;
    for dump in stored {
        let path = made.path.join(inside(&dump.name)?);
        let (made, metadata, listener) = (Arc::clone(&made), dump.metadata.clone(), listener.clone());
        let clears = std::mem::take(&mut is_first);
        let is_database = dump.name == DATABASE;
        plan.steps.push(LoadStep {
            what: format!("write {} beside {}", dump.name, show_file(folder)),
            dump: Some(dump.name.clone()),
            run: Box::new(move |feed| {
                if clears {
                    made.clear()?;
                }
                let waiting = Beside::write(&path, feed)?;
                if is_database {
                    check_whole(&waiting, may_replace, &listener)?;
                }
                waiting.set(&metadata, &listener)?;
                waiting.place()
            }),
        });
    }
    let (folder, listener) = (folder.to_owned(), listener.clone());
    plan.steps.push(LoadStep {
        what: format!("swap it with {}", show_file(&folder)),
        dump: None,
        run: Box::new(move |_| {
            let like = like_folder(&folder, &of_folders);
            set_folders(&made.path, &like, &listener)?;
            swap(&made.path, &folder, may_replace, &listener)
        }),
    });
    Ok(plan)
}

/// The folder that is there, for people.
fn describe(folder: &Path) -> Result<Option<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::system(format!("cannot read directory {}", show_file(folder)), error));
        }
    };
    let bytes = std::fs::metadata(folder.join(DATABASE)).map_or(0, |database| database.len());
    let count = entries.count();
    Ok(Some(format!("the folder {} with {count} entries, {DATABASE} of {}", show_file(folder), show(bytes))))
}

/// A stored name as a path that does not lead out of the folder.
fn inside(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    if path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() > 0 {
        return Ok(path);
    }
    Err(Error::damaged(format!("{name:?} does not stand below the folder")))
}

/// The folder that is made; removed with all that is in it when nobody needs it, as after the swap the old one is.
struct Made {
    path: PathBuf,
    /// A plan that is only looked at has made nothing.
    is_begun: AtomicBool,
}

impl Made {
    fn beside(folder: &Path) -> Self {
        Self { path: beside(folder, NEW), is_begun: AtomicBool::new(false) }
    }

    /// Removes what an earlier attempt left.
    fn clear(&self) -> Result<()> {
        self.is_begun.store(true, Ordering::Release);
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != Io::NotFound => {
                Err(Error::system(format!("cannot remove {}", show_file(&self.path)), error))
            }
            _ => std::fs::create_dir_all(&self.path)
                .wrap(|| format!("cannot create {}", show_file(&self.path))),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_begun.load(Ordering::Acquire) {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Owner and mode of the folder that is there; else of the database, with leave to enter where there is leave to read.
fn like_folder(folder: &Path, otherwise: &Metadata) -> Metadata {
    let there = File::open(folder).ok().and_then(|folder| stat_fd(folder.as_fd()).ok());
    there.map_or_else(|| otherwise.clone(), |stat| metadata(&stat, &Owners::new(), None))
}

/// Sets owner and mode of a folder and those in it.
fn set_folders(folder: &Path, like: &Metadata, listener: &Listener) -> Result<()> {
    let what = || format!("cannot read directory {}", show_file(folder));
    for entry in std::fs::read_dir(folder).wrap(what)? {
        let path = entry.wrap(what)?.path();
        if path.is_dir() {
            set_folders(&path, like, listener)?;
        }
    }
    let opened = File::open(folder).wrap(what)?;
    set(&opened, folder, like, listener);
    opened.sync_all().wrap(what)
}

/// Puts a folder in the place of another, whose database nobody has open.
fn swap(made: &Path, folder: &Path, may_replace: bool, listener: &Listener) -> Result<()> {
    let what = || format!("cannot replace {}", show_file(folder));
    if folder.symlink_metadata().is_err() {
        std::fs::rename(made, folder).wrap(what)?;
        return sync_folder_of(folder);
    }
    let database = folder.join(DATABASE);
    let mut alone = None;
    if database.exists() {
        refuse_unless(may_replace, folder)?;
        alone = Some(settle(&database)?);
    } else if std::fs::read_dir(folder).wrap(what)?.next().is_some() {
        refuse_unless(may_replace, folder)?;
    }
    let (from, to) = (made.as_os_str().as_bytes(), folder.as_os_str().as_bytes());
    renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).wrap(what)?;
    if let Some(alone) = alone {
        alone.replaced(&database, listener);
    }
    sync_folder_of(folder)
}
