//! Which repository is meant, and how it is opened.
//!
//! What must hold: a repository that was named is never created by itself; nobody is asked for a password of a
//! repository that is not there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Result};
use packstone::format::names;
use packstone::repository::{FoundRepository, MemoryLimit, Repository};
use packstone::storage::Storage;
use packstone::storage::location::Location;

use crate::configuration::OtherRepository;
use crate::context::Context;
use crate::credentials::{self, Obtained, Purpose, Source};
use crate::default_repository::{self, DefaultPlaces};
use crate::environment;
use crate::folders::Folder;
use crate::report::{self, Hint, Outcome};
use crate::show;
use crate::storages::{self, Role};

/// Which repository is meant.
#[derive(Debug)]
pub enum Place {
    /// The one at this location.
    Named(Location),
    /// The user's own, because none was named.
    Default(DefaultPlaces),
}

/// An open repository, and what a backup of its surroundings must leave out.
#[derive(Debug)]
pub struct Opened {
    /// The repository.
    pub repository: Repository,
    /// Where it is.
    pub location: Location,
    /// The folder for what may be kept on this machine.
    pub cache: Option<PathBuf>,
    /// What opened it.
    pub obtained: Obtained,
}

impl Opened {
    /// Device and inode numbers of the repository's directory and of the cache.
    pub fn own_directories(&self) -> Vec<(u64, u64)> {
        let directories = self.location.directory().into_iter().chain(self.cache.as_deref());
        directories
            .filter_map(|path| path.metadata().ok())
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .collect()
    }

    /// Refuses a target in the repository, where what is written could take the place of an object.
    pub fn refuse_within(&self, target: &Path) -> Result<()> {
        let here =
            |path: &Path| if path.as_os_str().is_empty() { Path::new(".") } else { path }.canonicalize().ok();
        // What is missing of a target is made below what is there.
        let existing = target.ancestors().find_map(here);
        match (existing, self.location.directory().and_then(here)) {
            (Some(existing), Some(repository)) if existing.starts_with(&repository) => {
                let shown = show_file(target);
                let message = format!("the target {shown} lies in the repository: choose another directory");
                Err(Error::new(ErrorKind::Usage, message))
            }
            _ => Ok(()),
        }
    }
}

/// Says which repository is meant: a flag goes before the environment, and that before the user's own.
pub fn place(context: &Context) -> Result<Place> {
    let named =
        context.global.repository.as_deref().or_else(|| context.environment.get(environment::REPOSITORY));
    match named {
        Some(location) => Location::parse(location.as_bytes()).map(Place::Named),
        None => default_repository::places(&context.environment).map(Place::Default),
    }
}

/// Opens the repository that is meant, which must be there.
pub fn open(context: &Context) -> Outcome<Opened> {
    match place(context)? {
        Place::Named(location) => open_named(context, location),
        Place::Default(places) => {
            let hint = || {
                "name a repository with -r, or run \"packstone backup PATH\" to make the default one".into()
            };
            default_repository::open(context, &places).hint(ErrorKind::NoRepository, hint)
        }
    }
}

/// Opens the repository at a location that the user named.
pub fn open_named(context: &Context, location: Location) -> Outcome<Opened> {
    let found = find_hinted(context, &location)?;
    let obtained = credentials::obtain(context, Purpose::Open)?;
    Ok(open_with(context, found, location, obtained)?)
}

/// Opens the repository that is meant and those at further locations, all by what opens the former; each may fail by
/// itself, and has the name under which it is told. Fails as a whole if it is not known what opens them.
pub fn open_all(context: &Context, further: &[OsString]) -> Outcome<Vec<(String, Outcome<Opened>)>> {
    let mut others =
        further.iter().map(|text| context.other_repository(text)).collect::<Outcome<Vec<_>>>()?;
    let mut all = Vec::new();
    let mut obtained = None;
    match place(context)? {
        Place::Named(location) => {
            others.insert(0, OtherRepository { context: context.clone(), location, source: None });
        }
        Place::Default(places) => {
            let opened = open(context);
            obtained = opened.as_ref().ok().map(|opened| opened.obtained.clone());
            all.push((places.location().to_string(), opened));
        }
    }
    for OtherRepository { context: of_other, location, source } in others {
        let name = location.to_string();
        let opened = match (find_hinted(&of_other, &location), source) {
            (Err(failure), _) => Err(failure),
            (Ok(found), Some(source)) => credentials::take(Some(source), context, Purpose::Open)
                .and_then(|obtained| open_with(&of_other, found, location, obtained))
                .map_err(Into::into),
            (Ok(found), None) => {
                let obtained = match &mut obtained {
                    Some(obtained) => obtained,
                    none => none.insert(credentials::obtain(context, Purpose::Open)?),
                };
                open_with(&of_other, found, location, obtained.clone()).map_err(Into::into)
            }
        };
        all.push((name, opened));
    }
    Ok(all)
}

fn find_hinted(context: &Context, location: &Location) -> Outcome<FoundRepository> {
    find(context, location).hint(ErrorKind::NoRepository, || match context.nearest_repository(location) {
        Some(name) => format!("the configuration has a repository {name}"),
        None => format!("\"packstone -r {} repo init\" makes one", show::location(location)),
    })
}

/// Opens another repository than the one that is meant, by what is said of it, else as the configuration says.
pub fn open_other(context: &Context, location: &OsStr, source: Option<Source>) -> Outcome<Opened> {
    let other = context.other_repository(location)?;
    let (context, location) = (other.context, other.location);
    let found = find_storage(&context.without_storage_class(), &location, Role::Other)
        .and_then(FoundRepository::find)?;
    let obtained = credentials::take(source.or(other.source), &context, Purpose::OpenOther)?;
    Ok(open_with(&context, found, location, obtained)?)
}

/// Opens the repository that is meant, to look at what a backup would do: nothing is made or written. `None` if a backup
/// would make the repository.
pub fn open_unwritten(context: &Context) -> Outcome<Option<Opened>> {
    let opened = match place(context)? {
        Place::Named(location) => open_named(&context.without_cache(), location),
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
    found: FoundRepository,
    location: Location,
    obtained: Obtained,
) -> Result<Opened> {
    let cache = cache_folder(context);
    let shown = found.location();
    let mut repository =
        found.open(&obtained.credential, cache.clone()).map_err(|error| match error.kind() {
            ErrorKind::WrongKey => error.while_doing(format!("cannot open {shown} with {}", obtained.name)),
            _ => error,
        })?;
    if let Some(bytes) = context.global.memory_limit {
        repository.limit_memory(MemoryLimit::of(bytes));
    }
    if let Some(bytes) = context.global.cache_size {
        repository.limit_cache(bytes);
    }
    Ok(Opened { repository, location, cache, obtained })
}

/// The repository at a location. `NoRepository` if there is none.
pub fn find(context: &Context, location: &Location) -> Result<FoundRepository> {
    find_storage(context, location, Role::Meant).and_then(FoundRepository::find)
}

/// The storage of a location at which there may be a repository. `NoRepository` if there can be none.
pub fn find_storage(context: &Context, location: &Location, role: Role) -> Result<Arc<dyn Storage>> {
    let metadata = location.directory().map(std::fs::metadata);
    let is_other_file = metadata.is_some_and(|metadata| metadata.is_ok_and(|metadata| !metadata.is_dir()));
    match storages::open(context, location, role) {
        Err(error) if is_other_file || error.kind() == ErrorKind::NotFound => Err(missing(location)),
        opened => opened,
    }
}

/// There is no repository.
pub fn missing(location: &Location) -> Error {
    Error::new(ErrorKind::NoRepository, format!("there is no repository at {location}"))
}

/// Whether a storage holds a repository: one is there once its config is.
pub fn is_repository(storage: &dyn Storage) -> Result<bool> {
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

/// Where that folder is, or would be.
pub fn cache_path(context: &Context) -> Option<PathBuf> {
    if context.global.no_cache {
        return None;
    }
    let flag = context.global.cache_dir.clone();
    let named = flag.or_else(|| context.environment.get(environment::CACHE_DIR).map(PathBuf::from));
    named.or_else(|| Folder::Cache.of_program(&context.environment))
}
