//! Operations on small repositories: what is there before, what is done, and what that must come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use packstone::base::{Result, SessionId, Silent};
use packstone::ops;
use packstone::ops::backup::Comparison;
use packstone::ops::check::CheckSummary;
use packstone::ops::copy::CopyEvent;
use packstone::repository::SnapshotEntry;
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::init;
use crate::process::{self, BackUp, dead_host};
use crate::storage::{DiesAt, Sort, World};
use crate::witness::{PARAMETERS, Sources};

/// What is done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A backup.
    BackUp(BackUp),
    /// The newest visible snapshot is forgotten.
    Forget,
    /// A prune.
    Prune,
    /// A check of everything.
    Check,
    /// A copy of all snapshots of another repository.
    Copy(Memory),
}

/// What an operation says that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The snapshot that it made.
    pub made: Option<SessionId>,
    /// The snapshot that it forgot.
    pub forgotten: Option<SessionId>,
    /// It found nothing that is damaged.
    pub is_sound: Option<bool>,
}

/// Whether a check found nothing that is damaged or cannot be read.
pub fn is_sound(found: &CheckSummary) -> bool {
    (found.damaged, found.unreadable) == (0, 0)
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
    fn new(sources: &Sources, operation: Operation) -> Self {
        let image = Memory::new();
        init(Arc::new(image.clone()), PARAMETERS, None);
        let mut scenario = Self { image, visible: Vec::new(), operation };
        [0, 1].into_iter().for_each(|source| scenario.back_up(sources, BackUp::new(source)));
        scenario
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.image.clone())
    }

    fn back_up(&mut self, sources: &Sources, back_up: BackUp) {
        self.visible.push(back_up.run(self.storage(), sources).expect("a backup"));
    }

    fn forget_at(&mut self, position: usize) {
        let forgotten = self.visible.remove(position);
        process::forget(self.storage(), forgotten).expect("forgotten");
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
            Operation::Prune => drop(process::prune(storage, &dead_host())?),
            Operation::Copy(from) => done.made = copy(from, storage)?,
            Operation::Check => done.is_sound = Some(process::check(storage).map(|found| is_sound(&found))?),
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
                <= usize::from(matches!(self.operation, Operation::BackUp(_) | Operation::Copy(_)))
    }
}

/// A backup of a source that is new, every file of which is read, with an index run behind every pack.
pub fn first_backup(sources: &Sources) -> Scenario {
    let back_up = BackUp { comparison: Comparison::Nothing, has_checkpoints: true, ..BackUp::new(2) };
    Scenario::new(sources, Operation::BackUp(back_up))
}

/// A backup of a source in which nothing has changed.
pub fn same_backup(sources: &Sources) -> Scenario {
    Scenario::new(sources, Operation::BackUp(BackUp::new(1)))
}

/// A backup while packs that have what it would store are condemned.
pub fn backup_beside_collection(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::BackUp(BackUp::new(2)));
    leave_collection(&mut scenario, sources);
    scenario
}

/// Forgets a snapshot.
pub fn forget(sources: &Sources) -> Scenario {
    Scenario::new(sources, Operation::Forget)
}

/// A prune that finds nothing to do.
pub fn idle_prune(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Prune);
    let all = [0, 1].map(|_| scenario.visible.pop().expect("two snapshots"));
    scenario.visible = all.into_iter().rev().collect();
    process::prune(scenario.storage(), &dead_host()).expect("a prune");
    scenario
}

/// A prune after a snapshot was forgotten of which much is in packs of its own.
pub fn after_forget(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Prune);
    scenario.back_up(sources, BackUp::new(2));
    scenario.forget_at(2);
    scenario
}

/// A prune after a snapshot was forgotten and a backup had died: packs go, others are written again.
pub fn prune(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Prune);
    scenario.forget_at(0);
    leave_dead(&scenario, sources);
    scenario
}

/// A prune that goes on with what another left.
pub fn prune_open_collection(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Prune);
    leave_collection(&mut scenario, sources);
    scenario
}

/// A prune that makes many small packs and index runs few.
pub fn prune_many_runs(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Prune);
    for source in 2..6 {
        sources.touch();
        scenario.back_up(sources, BackUp { has_checkpoints: true, ..BackUp::new(source) });
    }
    scenario.forget_at(1);
    scenario
}

/// A copy from a sibling.
pub fn copy_from_sibling(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Check);
    let target = process::open(scenario.storage()).expect("it opens");
    let from = Memory::new();
    crate::copy::init_sibling(Arc::new(from.clone()), &target);
    BackUp::new(2).run(Arc::new(from.clone()), sources).expect("a backup");
    scenario.operation = Operation::Copy(from);
    scenario
}

/// A copy from a repository that was made by itself, while packs that have what it would store are condemned.
pub fn copy_from_stranger(sources: &Sources) -> Scenario {
    let from = Memory::new();
    init(Arc::new(from.clone()), PARAMETERS, None);
    BackUp::new(2).run(Arc::new(from.clone()), sources).expect("a backup");
    let mut scenario = Scenario::new(sources, Operation::Copy(from));
    leave_collection(&mut scenario, sources);
    scenario
}

/// Copies all snapshots, of which there is one; gives its copy.
fn copy(from: &Memory, storage: Arc<dyn Storage>) -> Result<Option<SessionId>> {
    let source = process::open(Arc::new(from.clone())).expect("it opens");
    let target = process::open(storage)?;
    let visible = source.snapshots().expect("snapshots").visible;
    let mut made = None;
    let snapshots: Vec<&SnapshotEntry> = visible.iter().collect();
    ops::copy::copy(&source, &target, &snapshots, &crate::copy::options(), &Silent, &mut |event| {
        if let CopyEvent::Copied(_, id, _) = event {
            made = Some(*id);
        }
    })?;
    Ok(made)
}

/// A check of a repository in which there is something of everything.
pub fn check(sources: &Sources) -> Scenario {
    let mut scenario = Scenario::new(sources, Operation::Check);
    leave_collection(&mut scenario, sources);
    leave_dead(&scenario, sources);
    scenario
}

/// A backup dies before it commits.
fn leave_dead(scenario: &Scenario, sources: &Sources) {
    let world = World::new(scenario.image.clone());
    let dies = DiesAt(|call| call.sort == Sort::Put && call.name.starts_with("snapshots/"));
    BackUp::new(3).run(world.handle(Arc::new(dies)), sources).expect_err("it dies");
}

/// Packs are condemned; who did it dies before the verdict.
fn leave_collection(scenario: &mut Scenario, sources: &Sources) {
    sources.touch();
    scenario.back_up(sources, BackUp::new(2));
    scenario.forget_at(2);
    let world = World::new(scenario.image.clone());
    let dies = DiesAt(|call| call.sort == Sort::Put && call.name.ends_with("/verdict"));
    process::prune(world.handle(Arc::new(dies)), &dead_host()).expect_err("it dies");
}
