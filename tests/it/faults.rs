//! A fault at every storage call of every operation: nothing that was called a success is lost, what is visible comes
//! back, and what is left over goes with the next runs.
//!
//! What must hold: each call of an undisturbed run of the operation is hit by each kind of fault, once and for ever.

mod plan;
mod scenario;

use std::collections::BTreeSet;
use std::sync::Arc;

use packstone::base::{ErrorKind, Result};
use packstone::format::config::Parameters;
use packstone::repository::{InitOptions, NewSlot, Repository};
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::key;
use crate::faults::plan::{Fault, Kind, Plan};
use crate::faults::scenario::{Done, Operation, Scenario};
use crate::process::{BackUp, open};
use crate::storage::{AT_THE_END, World, copy};
use crate::witness::Sources;

/// After how many further calls something late arrives.
const DELAYS: [u64; 4] = [0, 3, 20, AT_THE_END];

/// Runs an operation with one fault. False if the run was over before it came to that.
fn try_fault(sources: &Sources, scenario: &Scenario, fault: Fault) -> bool {
    let world = World::new(copy(&scenario.image));
    let plan = Arc::new(Plan::new(fault));
    let outcome = scenario.operation.run(world.handle(plan.clone()), sources);
    if plan.hit().is_none() {
        outcome.expect("nothing went wrong");
        return false;
    }
    let done = outcome.ok().unwrap_or_default();
    check_world(&world, sources, scenario, done);
    // Everything works again.
    BackUp::new(2).run(world.calm(), sources).expect("a backup");
    world.settle();
    check_world(&world, sources, scenario, done);
    true
}

/// What is visible comes back, and what must be visible is.
fn check_world(world: &World, sources: &Sources, scenario: &Scenario, done: Done) {
    let repository = open(world.calm()).expect("the repository opens");
    let visible: BTreeSet<_> =
        sources.judge(&repository).unwrap_or_else(|what| panic!("{what}")).into_iter().collect();
    assert!(visible.is_superset(&scenario.visible), "a snapshot is gone");
    assert!(done.made.is_none_or(|made| visible.contains(&made)), "a success without a snapshot");
}

/// All faults of a kind at all calls of an operation.
fn try_all(operation: Operation, kind: Kind) {
    let sources = Sources::new();
    let scenario = Scenario::new(&sources, operation);
    let delays: &[u64] = match kind {
        Kind::Duplicate | Kind::Delayed => &DELAYS,
        _ => &[0],
    };
    let (mut tried, mut calls) = (0, 0);
    for for_ever in [false, true] {
        for after in delays.iter().copied() {
            let try_at = |at: usize| try_fault(&sources, &scenario, Fault { kind, at, for_ever, after });
            calls = (0..).take_while(|at| try_at(*at)).count();
            tried += calls;
        }
    }
    println!("{operation:?}, {kind:?}: {calls} calls, {tried} faults");
    assert!(calls > 10, "{calls}");
}

macro_rules! operations {
    ($($name:ident $kind:ident $operation:expr;)*) => {
        $(#[test]
        fn $name() {
            try_all($operation, Kind::$kind);
        })*
    };
}

operations! {
    a_backup_fails_before Before Operation::BackUp(2);
    a_backup_fails_after After Operation::BackUp(2);
    a_backup_is_torn Torn Operation::BackUp(2);
    a_backup_arrives_twice Duplicate Operation::BackUp(2);
    a_backup_arrives_late Delayed Operation::BackUp(2);
    a_backup_crashes Crash Operation::BackUp(2);
}

#[test]
fn an_interrupted_creation_of_a_repository_can_be_repeated() {
    for kind in [Kind::Before, Kind::After, Kind::Torn, Kind::Duplicate, Kind::Delayed, Kind::Crash] {
        let create = |storage: Arc<dyn Storage>| -> Result<Repository> {
            let options = InitOptions {
                parameters: Parameters::tiny(),
                slots: vec![NewSlot { credential: key(), label: String::new() }],
                password_cost: packstone::format::slot::PasswordCost::RECOMMENDED,
                cache_folder: None,
            };
            Repository::init(storage, options)
        };
        let mut calls = 0;
        for at in 0.. {
            let world = World::new(Memory::new());
            let plan = Arc::new(Plan::new(Fault { kind, at, for_ever: false, after: 1 }));
            let outcome = create(world.handle(plan.clone()));
            if plan.hit().is_none() {
                assert!(outcome.is_ok());
                calls = at;
                break;
            }
            match create(world.calm()) {
                Ok(_) => {}
                // The config was written before the fault: the repository is there and opens.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{kind:?} at call {at}"),
            }
            world.settle();
            assert!(open(world.calm()).is_ok(), "{kind:?} at call {at}");
        }
        assert!(calls >= 4);
    }
}
