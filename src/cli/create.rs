//! Making a repository.
//!
//! What must hold: a directory that holds anything else is never made a repository; a creation that was interrupted
//! can be repeated.

use std::path::Path;
use std::sync::Arc;

use packstone::base::host::Host;
use packstone::base::{Error, ErrorKind, Result};
use packstone::format::config::Parameters;
use packstone::format::names;
use packstone::format::slot::PasswordCost;
use packstone::repository::{InitOptions, NewSlot, Repository};
use packstone::storage::Storage;
use packstone::storage::local::Local;
use packstone::storage::location::Location;

use crate::context::Context;
use crate::credentials::Obtained;
use crate::open::is_repository;
use crate::{environment, storages};

/// Makes a repository at a location that is unused, with one key slot.
pub fn create(context: &Context, location: &Location, obtained: &Obtained) -> Result<Repository> {
    Repository::init(unused(context, location)?, options(obtained))
}

/// Makes a sibling of another repository at a location that is unused, with one key slot.
pub fn create_sibling(
    context: &Context,
    location: &Location,
    obtained: &Obtained,
    other: &Repository,
) -> Result<Repository> {
    Repository::init_sibling(unused(context, location)?, other, options(obtained))
}

fn unused(context: &Context, location: &Location) -> Result<Arc<dyn Storage>> {
    match location {
        Location::Local(directory) => {
            storages::refuse_class(context)?;
            Ok(Arc::new(prepare(directory)?))
        }
        Location::Remote(_) => storages::open(context, location),
    }
}

fn options(obtained: &Obtained) -> InitOptions {
    InitOptions {
        parameters: Parameters::default(),
        slots: vec![NewSlot { credential: obtained.credential.clone(), label: slot_label() }],
        password_cost: PasswordCost::RECOMMENDED,
        cache_folder: None,
    }
}

/// What a key slot made here is called.
pub fn slot_label() -> String {
    format!("{}@{}", environment::user().unwrap_or_default(), Host::current().name)
}

/// Opens a directory in which a repository can be made, and makes it where it is missing. What an interrupted creation
/// left behind does no harm. `Exists` if the directory is used for something else, or for a repository.
pub fn prepare(directory: &Path) -> Result<Local> {
    let refused = match Local::create(directory) {
        Err(error) if error.kind() == ErrorKind::Exists => error,
        created => return created,
    };
    let storage = Local::open(directory)?;
    if is_repository(&storage)? {
        let message = format!("there is a repository at {} already", storage.location());
        return Err(Error::new(ErrorKind::Exists, message));
    }
    // The order in which a creation writes: key slots first, the config last.
    let of_creation = [names::KEYS, names::CONFIG, "tmp", "lost+found"];
    let is_leftover = std::fs::read_dir(directory).is_ok_and(|mut entries| {
        entries
            .all(|entry| entry.is_ok_and(|entry| of_creation.iter().any(|name| entry.file_name() == *name)))
    });
    if is_leftover { Ok(storage) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_made_only_where_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a directory");
        let prepared =
            |name: &str| prepare(&folder.path().join(name)).map(drop).map_err(|error| error.kind());
        let make = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, "x").expect("a file");
        };
        assert_eq!(prepared("new/deep"), Ok(()));
        assert_eq!(prepared("new/deep"), Ok(()), "it is empty still");
        make("interrupted/keys/0011223344556677");
        assert_eq!(prepared("interrupted"), Ok(()));
        make("used/file");
        assert_eq!(prepared("used"), Err(ErrorKind::Exists));
        make("without-config/keys/0011223344556677");
        make("without-config/packs/00/x");
        assert_eq!(prepared("without-config"), Err(ErrorKind::Exists));
        make("repository/config/00000001");
        make("repository/packs/00/x");
        assert_eq!(prepared("repository"), Err(ErrorKind::Exists));
    }
}
