//! Which repository is meant, and how it is opened.
//!
//! What must hold: a repository that was named is never created by itself; nobody is asked for a password of a
//! repository that is not there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result};
use packstone::format::names;
use packstone::repository::{MemoryLimit, Repository};
use packstone::storage::Storage;
use packstone::storage::local::Local;

use crate::context::Context;
use crate::credentials::{self, Obtained, Purpose, Source};
use crate::default_repository::{self, DefaultPlaces};
use crate::environment;
use crate::folders::Folder;
use crate::report::{self, Hint, Outcome};
use crate::show;

/// Which repository is meant.
#[derive(Debug)]
pub enum Place {
    /// The one in this directory.
    Named(PathBuf),
    /// The user's own, because none was named.
    Default(DefaultPlaces),
}

/// An open repository, and what a backup of its surroundings must leave out.
#[derive(Debug)]
pub struct Opened {
    /// The repository.
    pub repository: Repository,
    /// Its directory.
    pub directory: PathBuf,
    /// The folder for what may be kept on this machine.
    pub cache: Option<PathBuf>,
    /// What opened it.
    pub obtained: Obtained,
}

impl Opened {
    /// Device and inode numbers of the repository's directory and of the cache.
    pub fn own_directories(&self) -> Vec<(u64, u64)> {
        let directories = std::iter::once(&self.directory).chain(&self.cache);
        directories
            .filter_map(|path| path.metadata().ok())
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .collect()
    }
}

/// Says which repository is meant: a flag goes before the environment, and that before the user's own.
pub fn place(context: &Context) -> Result<Place> {
    let named =
        context.global.repository.as_deref().or_else(|| context.environment.get(environment::REPOSITORY));
    match named {
        Some(location) => parse_location(location.as_bytes()).map(Place::Named),
        None => default_repository::places(&context.environment).map(Place::Default),
    }
}

/// A directory from a location; `Usage` for what looks like a URL, of which only the scheme is shown, for the rest
/// may hold a password.
pub fn parse_location(location: &[u8]) -> Result<PathBuf> {
    if location.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the location of the repository is empty"));
    }
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = location.iter().take_while(|byte| is_of_scheme(byte)).count();
    match location.split_at(length) {
        ([first, ..], [b':', ..]) if first.is_ascii_alphabetic() => {
            let scheme = show_path(location.get(..=length).unwrap_or_default());
            let message = format!(
                "a repository at {scheme} cannot be used: this version keeps repositories in local directories \
                 only (write ./{scheme}… for a directory of such a name)"
            );
            Err(Error::new(ErrorKind::Usage, message))
        }
        _ => Ok(PathBuf::from(std::ffi::OsStr::from_bytes(location))),
    }
}

/// Opens the repository that is meant, which must be there.
pub fn open(context: &Context) -> Outcome<Opened> {
    match place(context)? {
        Place::Named(directory) => open_named(context, directory),
        Place::Default(places) => {
            let hint = || {
                "name a repository with -r, or run \"packstone backup PATH\" to make the default one".into()
            };
            default_repository::open(context, &places).hint(ErrorKind::NoRepository, hint)
        }
    }
}

/// Opens the repository in a directory that the user named.
pub fn open_named(context: &Context, directory: PathBuf) -> Outcome<Opened> {
    let storage = find(&directory).hint(ErrorKind::NoRepository, || {
        format!("\"packstone -r {} repo init\" makes one", show::argument(&directory, "LOCATION"))
    })?;
    let obtained = credentials::obtain(context, Purpose::Open)?;
    Ok(open_with(context, storage, directory, obtained)?)
}

/// Opens another repository than the one that is meant, by what is said of it.
pub fn open_other(context: &Context, location: &OsStr, source: Option<Source>) -> Outcome<Opened> {
    let directory = parse_location(location.as_bytes())?;
    let storage = find(&directory)?;
    let obtained = credentials::take(source, context, Purpose::OpenOther)?;
    Ok(open_with(context, storage, directory, obtained)?)
}

/// Opens the repository that is meant, to look at what a backup would do: nothing is made or written. `None` if a backup
/// would make the repository.
pub fn open_unwritten(context: &Context) -> Outcome<Option<Opened>> {
    let opened = match place(context)? {
        Place::Named(directory) => open_named(&context.without_cache(), directory),
        Place::Default(places) => match default_repository::open(&context.without_cache(), &places) {
            Err(error) if error.kind() == ErrorKind::NoRepository => return Ok(None),
            opened => Ok(opened?),
        },
    };
    // A backup leaves the cache folder out, once it is there.
    opened.map(|opened| Some(Opened { cache: cache_path(context), ..opened }))
}

/// Opens a repository that is known to be there.
pub fn open_with(
    context: &Context,
    storage: Local,
    directory: PathBuf,
    obtained: Obtained,
) -> Result<Opened> {
    let cache = cache_folder(context);
    let location = storage.location();
    let mut repository = Repository::open(Arc::new(storage), &obtained.credential, cache.clone()).map_err(
        |error| match error.kind() {
            ErrorKind::WrongKey => {
                error.while_doing(format!("cannot open {location} with {}", obtained.name))
            }
            _ => error,
        },
    )?;
    if let Some(bytes) = context.global.memory_limit {
        repository.limit_memory(MemoryLimit::of(bytes));
    }
    Ok(Opened { repository, directory, cache, obtained })
}

/// The storage of the repository in a directory. `NoRepository` if there is none.
pub fn find(directory: &Path) -> Result<Local> {
    let missing = || {
        let message = format!("there is no repository at {}", show_path(directory.as_os_str().as_bytes()));
        Error::new(ErrorKind::NoRepository, message)
    };
    let is_other_file = std::fs::metadata(directory).is_ok_and(|metadata| !metadata.is_dir());
    let storage = match Local::open(directory) {
        Err(error) if is_other_file || error.kind() == ErrorKind::NotFound => return Err(missing()),
        opened => opened?,
    };
    if is_repository(&storage)? { Ok(storage) } else { Err(missing()) }
}

/// Whether a storage holds a repository: one is there once its config is.
pub fn is_repository(storage: &Local) -> Result<bool> {
    let mut found = false;
    storage.list(names::CONFIG, None, &mut |listed| {
        found |= names::parse_config(listed.name.as_str()).is_some();
        Ok(())
    })?;
    Ok(found)
}

/// The folder for what may be kept on this machine, made where it is missing; without one, work only takes longer.
fn cache_folder(context: &Context) -> Option<PathBuf> {
    let folder = cache_path(context)?;
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            let shown = show_path(folder.as_os_str().as_bytes());
            report::warn(&format!("cannot use the cache folder {shown}, going on without: {error}"));
            None
        }
    }
}

fn cache_path(context: &Context) -> Option<PathBuf> {
    if context.global.no_cache {
        return None;
    }
    let flag = context.global.cache_dir.clone();
    let named = flag.or_else(|| context.environment.get(environment::CACHE_DIR).map(PathBuf::from));
    named.or_else(|| Folder::Cache.of_program(&context.environment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_url_is_no_directory() {
        let kind = |location: &[u8]| parse_location(location).map_err(|error| error.kind());
        for path in [b"/srv/backup".as_slice(), b"backup", b"./a:b", b"a/b:c", b"1:2", b":x", b"\xff:"] {
            assert_eq!(kind(path), Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path))));
        }
        for url in
            [b"s3:https://u:secret@host/b".as_slice(), b"memory:", b"sftp:u@h:/x", b"s3://b", b"file:/x"]
        {
            assert_eq!(kind(url), Err(ErrorKind::Usage));
        }
        assert_eq!(kind(b""), Err(ErrorKind::Usage));
        let message = parse_location(b"s3:https://u:secret@host/b").expect_err("no URL").to_string();
        assert!(message.contains("s3:") && !message.contains("secret"), "{message}");
    }
}
