//! Operations on small repositories: what is there before, what is done, and what that must come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use packstone::base::{Result, SessionId};
use packstone::ops::backup::Comparison;
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::init;
use crate::process::{self, BackUp};
use crate::witness::{PARAMETERS, Sources};

/// What is done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A backup.
    BackUp(BackUp),
    /// The newest snapshot is forgotten.
    Forget,
}

/// What an operation says that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The snapshot that it made.
    pub made: Option<SessionId>,
    /// The snapshot that it forgot.
    pub forgotten: Option<SessionId>,
}

/// A repository and what is done with it.
#[derive(Debug)]
pub struct Scenario {
    /// What is there before.
    pub image: Memory,
    /// What was visible before, oldest first.
    pub visible: Vec<SessionId>,
    /// What is done.
    pub operation: Operation,
}

impl Scenario {
    /// An operation on a repository with two snapshots.
    pub fn new(sources: &Sources, operation: Operation) -> Self {
        let image = Memory::new();
        init(Arc::new(image.clone()), PARAMETERS, None);
        let storage = || Arc::new(image.clone());
        let visible = [0, 1].map(|source| BackUp::new(source).run(storage(), sources).expect("a backup"));
        Self { image, visible: visible.into(), operation }
    }

    /// The snapshot that the operation forgets.
    fn to_forget(&self) -> Option<SessionId> {
        self.visible.last().copied().filter(|_| matches!(self.operation, Operation::Forget))
    }

    /// All of it, as one process does it.
    pub fn run(&self, storage: Arc<dyn Storage>, sources: &Sources) -> Result<Done> {
        let mut done = Done::default();
        match &self.operation {
            Operation::BackUp(back_up) => done.made = Some(back_up.run(storage, sources)?),
            Operation::Forget => {
                done.forgotten = self.to_forget();
                let snapshot = done.forgotten.expect("there are snapshots");
                process::forget(storage, snapshot)?;
            }
        }
        Ok(done)
    }

    /// Whether these may be visible, and nothing else, after the operation said that.
    pub fn allows(&self, done: Done, visible: &BTreeSet<SessionId>) -> bool {
        let gone = done.forgotten;
        let may_be_gone = self.to_forget();
        let must = self.visible.iter().copied().filter(|id| Some(*id) != may_be_gone).chain(done.made);
        let is_new = |id: &&SessionId| !self.visible.contains(id);
        must.into_iter().all(|id| visible.contains(&id))
            && gone.is_none_or(|gone| !visible.contains(&gone))
            && visible.iter().filter(is_new).count()
                <= usize::from(matches!(self.operation, Operation::BackUp(_)))
    }
}

/// A backup of a source that is new, every file of which is read, with an index run behind every pack.
pub fn first_backup() -> Operation {
    let back_up = BackUp::new(2);
    Operation::BackUp(BackUp { comparison: Comparison::Nothing, has_checkpoints: true, ..back_up })
}

/// A backup of a source in which nothing has changed.
pub fn same_backup() -> Operation {
    Operation::BackUp(BackUp::new(1))
}

/// Forgets a snapshot.
pub fn forget() -> Operation {
    Operation::Forget
}
