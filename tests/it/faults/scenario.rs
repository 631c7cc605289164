//! Operations on small repositories: what is there before, what is done, and what that must come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use packstone::base::{Result, SessionId};
use packstone::ops::backup::Comparison;
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::init;
use crate::process::BackUp;
use crate::witness::{PARAMETERS, Sources};

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

impl Operation {
    /// All of it, as one process does it: opens the repository and works.
    pub fn run(self, storage: Arc<dyn Storage>, sources: &Sources) -> Result<Done> {
        let back_up = |source: usize, comparison: Comparison| {
            let back_up = BackUp { comparison, has_checkpoints: true, ..BackUp::new(source) };
            back_up.run(storage, sources).map(|made| Done { made: Some(made) })
        };
        match self {
            Self::BackUp(source) => back_up(source, Comparison::Nothing),
            Self::BackUpAgain(source) => back_up(source, Comparison::Newest),
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
        init(Arc::new(image.clone()), PARAMETERS, None);
        let mut visible = BTreeSet::new();
        for source in [0, 1] {
            let made = BackUp::new(source).run(Arc::new(image.clone()), sources);
            visible.insert(made.expect("a backup"));
        }
        Self { image, visible, operation }
    }
}
