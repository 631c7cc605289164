//! Making a repository.
//!
//! What must hold: a directory that holds anything else is never made a repository; a creation that was interrupted
//! can be repeated. A storage behind a network is tried out before anything is trusted to it.

use std::path::Path;
use std::sync::Arc;

use packstone::base::host::Host;
use packstone::base::id::to_hex;
use packstone::base::{Error, ErrorKind, Result};
use packstone::crypto::random;
use packstone::format::config::Parameters;
use packstone::format::names;
use packstone::format::slot::PasswordCost;
use packstone::repository::{InitOptions, NewSlot, Repository};
use packstone::storage::Storage;
use packstone::storage::contract::{self, Creation, Trial};
use packstone::storage::local::Local;
use packstone::storage::location::Location;

use crate::context::Context;
use crate::credentials::Obtained;
use crate::open::is_repository;
use crate::report::{Hint, Outcome};
use crate::storages::{self, Role};
use crate::{environment, show};

/// Makes a repository at a location that is unused, with one key slot.
pub fn create(context: &Context, location: &Location, obtained: &Obtained) -> Result<Repository> {
    Repository::init(unused(context, location)?, options(obtained, Parameters::default()))
}

/// What a repository that is made cuts its input like.
pub enum Content<'o> {
    /// As these say.
    Of(Parameters),
    /// As another repository, whose sibling it becomes.
    Sibling(&'o Repository),
}

/// A repository that was made, and what its storage was seen to do if it is behind a network.
pub struct Made {
    /// The repository.
    pub repository: Repository,
    /// What was tried before anything else was written.
    pub trial: Option<Trial>,
}

/// The same, with parameters or as a sibling of another repository, once the storage was tried out.
pub fn create_tried(
    context: &Context,
    location: &Location,
    obtained: &Obtained,
    content: &Content<'_>,
) -> Outcome<Made> {
    let storage = unused(context, location)?;
    let trial = match location {
        Location::Local(_) => None,
        Location::Remote(_) => Some(try_out(context, location, &*storage)?),
    };
    let repository = match content {
        Content::Sibling(other) => {
            Repository::init_sibling(storage, other, options(obtained, Parameters::default()))?
        }
        Content::Of(parameters) => Repository::init(storage, options(obtained, *parameters))?,
    };
    Ok(Made { repository, trial })
}

/// Fails where a repository would be lost.
fn try_out(context: &Context, location: &Location, storage: &dyn Storage) -> Outcome<Trial> {
    let token = to_hex(&random::array::<8>()?);
    let trial = context
        .interruption
        .gently(|| contract::try_out(storage, &token))
        .hint(ErrorKind::Failed, || {
            format!(
                "no repository was made; a bucket must be there already, and \"packstone -r {} repo probe -v\" tries all \
                 that a storage must do",
                show::location(location)
            )
        })
        .hint(ErrorKind::Denied, || {
            "whoever makes a repository must be let put, get and list objects there".to_owned()
        })?;
    if context.interruption.is_requested() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted").into());
    }
    match trial.creation {
        Creation::Atomic | Creation::NotAtomic => Ok(trial),
        Creation::Racy(winners) => {
            let message = format!(
                "the storage at {} refuses who creates an object that is there, yet of those who came at the same \
                 time {winners} succeeded",
                storage.location()
            );
            Err(Error::new(ErrorKind::Failed, message)).hint(ErrorKind::Failed, || {
                "no repository was made; with conditional=off in the location this storage is taken for one that does \
                 not create atomically"
                    .to_owned()
            })
        }
    }
}

fn unused(context: &Context, location: &Location) -> Result<Arc<dyn Storage>> {
    match location {
        Location::Local(directory) => {
            storages::refuse_class(context)?;
            Ok(Arc::new(prepare(directory)?))
        }
        Location::Remote(_) => storages::open(context, location, Role::Meant),
    }
}

fn options(obtained: &Obtained, parameters: Parameters) -> InitOptions {
    InitOptions {
        parameters,
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
