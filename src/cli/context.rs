//! What every command is given.

use std::sync::Arc;

use crate::args::Global;
use crate::configuration::Loaded;
use crate::environment::Environment;
use crate::interruption::Interruption;
use crate::storages::Storages;

/// What every command is given.
#[derive(Clone)]
pub struct Context {
    /// Flags that all commands have, and what the configuration says of the repository that is meant.
    pub global: Global,
    /// The flags as they were given.
    pub given: Arc<Global>,
    /// Variables of the environment.
    pub environment: Environment,
    /// Whether the user or the system asked to stop.
    pub interruption: Interruption,
    /// Storages that are in use.
    pub storages: Storages,
    /// The configuration, once something asked for it.
    pub configuration: Loaded,
}

impl Context {
    /// The same for a repository to which no packs are written.
    pub fn without_storage_class(&self) -> Self {
        let mut context = self.clone();
        context.global.network.storage_class = None;
        context
    }

    /// The same for work that keeps nothing outside the repository.
    pub fn without_cache(&self) -> Self {
        let mut context = self.clone();
        context.global.no_cache = true;
        context
    }
}
