//! Opening a repository with a password or a key file.
//!
//! What must hold: what is not a repository, what is damaged, what is too new and what has another key are told apart;
//! nothing of the config is acted upon before its code is checked. A config that is older than what this machine has seen
//! is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::base::limits::{CONFIG_BYTES_MAX, SLOTS_MAX};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::crypto::slot::{Credential, open_slot};
use crate::crypto::{Keys, content_name};
use crate::format::config::Config;
use crate::format::names;
use crate::repository::Repository;
use crate::repository::object::object_name;
use crate::repository::records::write_file;
use crate::repository::seen_config::SeenConfig;
use crate::repository::slots::{OwnSlot, listed_slots, read_slot};
use crate::storage::Storage;

/// The highest number of a config; none: there is no repository.
pub(super) fn newest_config(storage: &dyn Storage) -> Result<Option<u32>> {
    let mut newest = None;
    let listed = storage.list(names::CONFIG, None, &mut |listed| {
        newest = newest.max(names::parse_config(listed.name.as_str()));
        Ok(())
    });
    match listed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Any folder may hold a file of that name. A repository has key slots as well.
        Err(error) if error.kind() == ErrorKind::Damaged && !has_slots(storage) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(newest),
    }
}

fn has_slots(storage: &dyn Storage) -> bool {
    let mut found = false;
    let listed = storage.list(names::KEYS, None, &mut |listed| {
        found |= names::parse_slot(listed.name.as_str()).is_some();
        Ok(())
    });
    listed.is_ok() && found
}

/// A repository that is there, before anybody asks for what opens it.
#[derive(Debug)]
pub struct FoundRepository {
    storage: Arc<dyn Storage>,
    config: u32,
}

impl FoundRepository {
    /// Looks for the repository in a storage. `NoRepository` if there is none.
    pub fn find(storage: Arc<dyn Storage>) -> Result<Self> {
        match newest_config(&*storage)? {
            Some(config) => Ok(Self { storage, config }),
            None => {
                let message = format!("there is no repository at {}", storage.location());
                Err(Error::new(ErrorKind::NoRepository, message))
            }
        }
    }

    /// Opens it.
    ///
    /// Errors: `WrongKey` if no slot opens; `Damaged`; `Unsupported` if it is too new.
    pub fn open(self, credential: &Credential, cache_folder: Option<PathBuf>) -> Result<Repository> {
        let Self { storage, config: number } = self;
        let name = names::config(number);
        let object = storage.get(&object_name(&name)?, CONFIG_BYTES_MAX)?;
        let damaged = |error: crate::format::DecodeError| error.of_object(&format!("object {name}"));
        let (covered, code) = Config::split(&object).map_err(damaged)?;
        let config = Config::decode(covered).map_err(damaged)?;
        let cache_folder = cache_folder.map(|folder| folder.join(config.repository.hex()));
        let (keys, own_slot) = match usual_keys(&*storage, &config, credential, cache_folder.as_deref()) {
            Some(found) => found,
            None => {
                let found = find_keys(&*storage, &config, credential)?;
                if let Some(folder) = &cache_folder {
                    // What is not remembered is looked for again.
                    let _ = write_file(&folder.join(USUAL_SLOT), found.1.name.hex().as_bytes());
                }
                found
            }
        };
        let expected = keys.config_code(config.generation, &name, covered)?;
        if !bool::from(expected.ct_eq(code)) {
            let message =
                format!("cannot use object {name}: its code does not fit its bytes (format rule CFG-2)");
            return Err(Error::damaged(message));
        }
        if let Some(folder) = &cache_folder {
            SeenConfig { number, hash: content_name([object.as_slice()]) }.check(folder)?;
        }
        Ok(Repository::of(storage, config, keys, own_slot, cache_folder))
    }

    /// Where it is.
    pub fn location(&self) -> String {
        self.storage.location()
    }
}

impl Repository {
    /// Finds and opens the repository in a storage. Errors: those of `FoundRepository`.
    pub fn open(
        storage: Arc<dyn Storage>,
        credential: &Credential,
        cache_folder: Option<PathBuf>,
    ) -> Result<Self> {
        FoundRepository::find(storage)?.open(credential, cache_folder)
    }
}

/// The file of the name of the slot that opened the repository last.
const USUAL_SLOT: &str = "slot";

/// Tries the credential on the slot that opened last, which saves a listing; whatever is wrong with it, all are tried.
fn usual_keys(
    storage: &dyn Storage,
    config: &Config,
    credential: &Credential,
    folder: Option<&Path>,
) -> Option<(Keys, OwnSlot)> {
    let name = std::fs::read_to_string(folder?.join(USUAL_SLOT)).ok()?;
    let name = names::parse_slot(&format!("{}/{name}", names::KEYS))?;
    let slot = read_slot(storage, &name).ok()?;
    let opened = open_slot(&slot, credential, &config.repository).ok()??;
    Some((opened.keys, OwnSlot { name, label: opened.label, created: opened.created }))
}

/// Tries the credential on each slot. One that cannot be used never stands in the way of another.
fn find_keys(storage: &dyn Storage, config: &Config, credential: &Credential) -> Result<(Keys, OwnSlot)> {
    let slots = listed_slots(storage)?.slots;
    let mut tried = 0;
    let mut unusable = Vec::new();
    for name in slots.iter().take(SLOTS_MAX) {
        let opened =
            read_slot(storage, name).and_then(|slot| open_slot(&slot, credential, &config.repository));
        match opened.wrap(|| format!("cannot use key slot {}", names::slot(name))) {
            Ok(Some(opened)) => {
                let own = OwnSlot { name: *name, label: opened.label, created: opened.created };
                return Ok((opened.keys, own));
            }
            Ok(None) => tried += 1,
            Err(error) => unusable.push(error),
        }
    }
    if let Some(more) = unusable.len().checked_sub(1)
        && let Some(first) = unusable.into_iter().next()
    {
        // It may be the one that the credential was made for: nobody can tell that the credential is wrong.
        return Err(match (tried, more) {
            (0, 0) => first,
            _ => first.while_doing(format!(
                "the password or key opens none of {tried} key slots, and {} cannot be used",
                more + 1
            )),
        });
    }
    if slots.is_empty() {
        return Err(Error::damaged(format!("the repository at {} has no key slot", storage.location())));
    }
    let message = match slots.len().saturating_sub(SLOTS_MAX) {
        0 => format!("wrong password or key: it opens none of {tried} key slots"),
        more => {
            format!("wrong password or key: it opens none of {tried} key slots; {more} more were not tried")
        }
    };
    Err(Error::new(ErrorKind::WrongKey, message))
}
