//! Operations on small repositories: what is there before, what is done, and what that must come to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use packstone::base::host::Host;
use packstone::base::{Result, SessionId, Silent};
use packstone::ops::backup::{BackupOptions, Comparison, backup_paths};
use packstone::repository::{Repository, SessionOptions};
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::{init, key};
use crate::witness::{PARAMETERS, Sources};

/// A process that is gone: on this machine, in this boot, under a number that Linux gives to none.
pub fn dead_host() -> Host {
    Host { process_id: (1 << 22) + 1, process_start_ticks: 1, ..Host::current() }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Backs up a source.
    BackUp(usize),
    /// Backs up a source that is compared with its last snapshot.
    BackUpAgain(usize),
}

/// What an operation says that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The snapshot that it made.
    pub made: Option<SessionId>,
}

/// Opens as every process does that is not told of a folder of its own.
pub fn open(storage: Arc<dyn Storage>) -> Result<Repository> {
    Repository::open(storage, &key(), None)
}

/// Backs up a source, as a process that will be gone.
pub fn back_up(
    repository: &Repository,
    sources: &Sources,
    source: usize,
    comparison: Comparison,
) -> Result<SessionId> {
    let session = SessionOptions { checkpoint_interval: Duration::ZERO, ..SessionOptions::default() };
    let options = BackupOptions {
        workers: 1,
        session,
        comparison,
        margin_seconds: Some(0),
        ..BackupOptions::new(dead_host())
    };
    let paths = [sources.path(source).to_owned()];
    backup_paths(repository, &paths, sources.path(source), &options, &Silent).map(|summary| summary.id)
}

impl Operation {
    /// All of it, as one process does it: opens the repository and works.
    pub fn run(self, storage: Arc<dyn Storage>, sources: &Sources) -> Result<Done> {
        let repository = open(storage)?;
        match self {
            Self::BackUp(source) => {
                let made = back_up(&repository, sources, source, Comparison::Nothing)?;
                Ok(Done { made: Some(made) })
            }
            Self::BackUpAgain(source) => {
                let made = back_up(&repository, sources, source, Comparison::Newest)?;
                Ok(Done { made: Some(made) })
            }
        }
    }
}

/// A repository and what is done with it.
#[derive(Debug)]
pub struct Scenario {
    /// What is there before.
    pub image: Memory,
    /// What was visible before.
    pub visible: BTreeSet<SessionId>,
    /// What is done.
    pub operation: Operation,
}

impl Scenario {
    /// The scenarios of an operation.
    pub fn new(sources: &Sources, operation: Operation) -> Self {
        let image = Memory::new();
        let repository = init(Arc::new(image.clone()), PARAMETERS, None);
        let mut visible = BTreeSet::new();
        for source in [0, 1] {
            visible.insert(back_up(&repository, sources, source, Comparison::Nothing).expect("a backup"));
        }
        Self { image, visible, operation }
    }
}
