//! What every command is given.

use crate::args::Global;
use crate::environment::Environment;
use crate::interruption::Interruption;
use crate::storages::Storages;

/// What every command is given.
#[derive(Clone)]
pub struct Context {
    /// Flags that all commands have.
    pub global: Global,
    /// Variables of the environment.
    pub environment: Environment,
    /// Whether the user or the system asked to stop.
    pub interruption: Interruption,
    /// Storages that are in use.
    pub storages: Storages,
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
