//! Making a repository: its keys, its first config, its first key slots.
//!
//! What must hold: a repository is there once its config is; the config is written last, so that an interrupted
//! creation leaves no repository and can be repeated.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Error, ErrorKind, RepositoryId, Result, Timestamp, Wrap};
use crate::crypto::slot::{make_slot, slot_name};
use crate::crypto::{Keys, random};
use crate::format::config::{Config, Features, Parameters};
use crate::format::names;
use crate::format::slot::PasswordCost;
use crate::repository::object::{Creation, create, create_unique, object_name};
use crate::repository::slots::{NewSlot, OwnSlot};
use crate::repository::{Repository, open};
use crate::storage::Storage;

/// The number of a repository's first config.
const FIRST_CONFIG: u32 = 1;

/// How a repository is made.
#[derive(Debug)]
pub struct InitOptions {
    /// How input becomes chunks.
    pub parameters: Parameters,
    /// Key slots; at least one.
    pub slots: Vec<NewSlot>,
    /// Cost of passwords.
    pub password_cost: PasswordCost,
    /// Folder for what may be kept on this machine; none: nothing is kept.
    pub cache_folder: Option<PathBuf>,
}

impl Repository {
    /// Makes a repository in an empty storage. `Exists` if there is one.
    pub fn init(storage: Arc<dyn Storage>, options: InitOptions) -> Result<Self> {
        Self::make(storage, options, Keys::generate)
    }

    /// Makes a sibling of a repository in an empty storage: both give equal content the same names, so that what one holds
    /// is copied into the other as it is. The parameters are those of the other, whatever the options say; what seals its
    /// objects, and what opens it, is its own. `Exists` if there is a repository.
    pub fn init_sibling(storage: Arc<dyn Storage>, other: &Self, options: InitOptions) -> Result<Self> {
        let options = InitOptions { parameters: other.config.parameters, ..options };
        Self::make(storage, options, || other.keys.sibling())
    }

    fn make(
        storage: Arc<dyn Storage>,
        options: InitOptions,
        keys: impl FnOnce() -> Result<Keys>,
    ) -> Result<Self> {
        options.parameters.check().map_err(|error| error.of_object("the parameters"))?;
        options.slots.iter().try_for_each(NewSlot::check)?;
        if let Some(number) = open::newest_config(&*storage)? {
            return Err(exists(&*storage, number));
        }
        let keys = keys()?;
        let config = Config {
            repository: RepositoryId(random::array()?),
            generation: crate::crypto::keys::FIRST_GENERATION,
            parameters: options.parameters,
            features: Features::default(),
            created: Timestamp::now(),
            previous: None,
            kept: Vec::new(),
        };
        let mut own_slot = None;
        for slot in &options.slots {
            let bytes = make_slot(
                &keys,
                &slot.credential,
                options.password_cost,
                &config.repository,
                &slot.label,
                config.created,
            )?;
            let name = slot_name(&bytes);
            let object = object_name(&names::slot(&name))?;
            create_unique(&*storage, &object, &[Bytes::from(bytes)]).wrap(|| "cannot write a key slot")?;
            own_slot.get_or_insert(OwnSlot { name, label: slot.label.clone(), created: config.created });
        }
        let own_slot = own_slot
            .ok_or_else(|| Error::new(ErrorKind::Usage, "a repository needs a password or a key file"))?;
        storage.barrier()?;
        let name = names::config(FIRST_CONFIG);
        let covered = config.encode();
        let code = keys.config_code(config.generation, &name, &covered)?;
        let object = Bytes::from([covered.as_slice(), &code].concat());
        let creation =
            create(&*storage, &object_name(&name)?, &[object]).wrap(|| "cannot write the config")?;
        if creation == Creation::Taken {
            return Err(exists(&*storage, FIRST_CONFIG));
        }
        storage.barrier()?;
        let cache_folder = options.cache_folder.map(|folder| folder.join(config.repository.hex()));
        Ok(Self::of(storage, config, keys, own_slot, cache_folder))
    }
}

fn exists(storage: &dyn Storage, number: u32) -> Error {
    let message =
        format!("there is a repository at {} already ({})", storage.location(), names::config(number));
    Error::new(ErrorKind::Exists, message)
}
