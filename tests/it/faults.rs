//! A fault at every storage call of every operation: nothing that was called a success is lost, what is visible comes
//! back, and what is left over goes with the next runs.
//!
//! What must hold: each call of an undisturbed run of the operation is hit by each kind of fault, once and for ever.

mod plan;
pub mod scenario;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use packstone::base::ErrorKind;
use packstone::format::config::Parameters;
use packstone::repository::{InitOptions, NewSlot, Repository};
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use crate::engine::key;
use crate::faults::plan::{Fault, Kind, Plan};
use crate::faults::scenario::{Done, Scenario, is_sound};
use crate::process::{self, dead_host, open};
use crate::storage::{AT_THE_END, Call, Recorder, World, copy};
use crate::support::need::is_full;
use crate::witness::Sources;

/// After how many further calls something late arrives.
const DELAYS: [u64; 2] = [20, AT_THE_END];
/// The same when all sizes are wanted.
const DELAYS_FULL: [u64; 6] = [0, 1, 4, 20, 100, AT_THE_END];
/// Of so many faults, after one all snapshots are restored as files and compared with their sources.
const RESTORED_OF: usize = 64;

/// Runs an operation with one fault, and then looks whether all is well. None if the run was over before it came to
/// that; otherwise the call that went wrong and what was not as it should be.
fn try_fault(sources: &Sources, scenario: &Scenario, fault: Fault) -> Option<(Call, Result<(), String>)> {
    let world = World::new(copy(&scenario.image));
    let plan = Arc::new(Plan::new(fault));
    let handle = world.handle(plan.clone());
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario.run(handle.clone(), sources)));
    let Some(hit) = plan.hit() else {
        let done = outcome.expect("no panic").expect("nothing went wrong");
        if fault.kind == Kind::PowerLoss {
            handle.lose_power(plan.kept());
            recover(&world, sources, scenario, done).expect("a success is durable");
        }
        return None;
    };
    let Ok(outcome) = outcome else { return Some((hit, Err("a panic".to_owned()))) };
    let done = outcome.ok().unwrap_or_default();
    if fault.at % RESTORED_OF == RESTORED_OF / 2 {
        sources.assert_restore(&open(world.calm()).expect("the repository opens"));
    }
    if let Some(what) = is_blind(fault, &hit, done) {
        return Some((hit, Err(what)));
    }
    Some((hit, recover(&world, sources, scenario, done)))
}

/// A check that did not see everything must not say that all is well.
fn is_blind(fault: Fault, hit: &Call, done: Done) -> Option<String> {
    let has_seen_all = fault.kind == Kind::Duplicate || !hit.sort.is_reading();
    (done.is_sound == Some(true) && !has_seen_all).then(|| "a check found nothing".to_owned())
}

/// Other processes work on, for which nothing goes wrong.
fn recover(world: &World, sources: &Sources, scenario: &Scenario, done: Done) -> Result<(), String> {
    let prune = || process::prune(world.calm(), &dead_host()).map_err(|error| error.chain().join(": "));
    look(world, sources, scenario, done).map_err(|what| format!("after it: {what}"))?;
    check(world).map_err(|what| format!("after it: {what}"))?;
    prune().map_err(|what| format!("the first prune: {what}"))?;
    look(world, sources, scenario, done).map_err(|what| format!("after a prune: {what}"))?;
    world.settle();
    prune().map_err(|what| format!("a later prune: {what}"))?;
    let needed = look(world, sources, scenario, done).map_err(|what| format!("later: {what}"))?;
    check(world).map_err(|what| format!("at the end: {what}"))?;
    match leftovers(world, &needed).as_slice() {
        [] => Ok(()),
        left => Err(format!("left over: {left:?}")),
    }
}

/// Nothing is damaged.
fn check(world: &World) -> Result<(), String> {
    let found = process::check(world.calm()).map_err(|error| error.chain().join(": "))?;
    if is_sound(&found) { Ok(()) } else { Err(format!("a check finds {:?}", found.damages)) }
}

/// What is visible comes back, and is what must be visible. Gives the names of all objects that were asked for.
fn look(
    world: &World,
    sources: &Sources,
    scenario: &Scenario,
    done: Done,
) -> Result<BTreeSet<String>, String> {
    let recorder = Arc::new(Recorder::default());
    let repository = open(world.handle(recorder.clone())).map_err(|error| error.chain().join(": "))?;
    let visible: BTreeSet<_> = sources.judge(&repository)?.into_iter().collect();
    match scenario.allows(done, &visible) {
        true => Ok(recorder.names()),
        false => Err(format!("{done:?}, but visible are {visible:?}")),
    }
}

/// What no prune should have left: records of sessions, collections without verdict, packs that nobody reads, commit
/// keys of what is forgotten.
fn leftovers(world: &World, needed: &BTreeSet<String>) -> Vec<String> {
    let names: BTreeSet<String> = world.memory().names().iter().map(ToString::to_string).collect();
    let is_left = |name: &&String| match name.split_once('/') {
        Some(("sessions", _)) => true,
        Some(("packs", _)) => !needed.contains(*name),
        Some(("collections", rest)) => {
            let number = rest.strip_suffix("/condemned");
            number.is_some_and(|number| !names.contains(&format!("collections/{number}/verdict")))
        }
        Some(("snapshots", id)) => names.contains(&format!("forgotten/{id}")),
        Some(("config" | "keys" | "index" | "forgotten", _)) => false,
        _ => true,
    };
    names.iter().filter(is_left).cloned().collect()
}

#[test]
fn what_is_left_over_and_what_is_gone_is_seen() {
    let sources = Sources::new();
    let scenario = scenario::prune(&sources);
    let world = World::new(copy(&scenario.image));
    let needed = look(&world, &sources, &scenario, Done::default()).unwrap();
    let left = leftovers(&world, &needed);
    for folder in ["sessions/", "packs/", "snapshots/"] {
        assert!(left.iter().any(|name| name.starts_with(folder)), "{folder}: {left:?}");
    }
    let packs: Vec<&String> = needed.iter().filter(|name| name.starts_with("packs/")).collect();
    assert!(packs.len() > 3, "{packs:?}");
    for pack in packs {
        let world = World::new(copy(&scenario.image));
        world.memory().remove(&ObjectName::parse(pack).unwrap()).unwrap();
        assert!(look(&world, &sources, &scenario, Done::default()).is_err(), "{pack}");
        assert!(check(&world).is_err(), "{pack}");
    }
}

/// All faults of a kind at all calls of an operation.
fn try_all(name: &str, scenario: fn(&Sources) -> Scenario, kind: Kind) {
    let sources = Sources::new();
    let scenario = scenario(&sources);
    let delays: &[u64] = match kind {
        Kind::Duplicate | Kind::Delayed if is_full() => &DELAYS_FULL,
        Kind::Duplicate | Kind::Delayed => &DELAYS,
        _ => &[0],
    };
    let (mut tried, mut calls) = (0, 0);
    let mut failed = Vec::new();
    for for_ever in [false, true] {
        for after in delays.iter().copied() {
            calls = 0;
            for at in 0.. {
                let fault = Fault { kind, at, for_ever, after };
                let Some((call, outcome)) = try_fault(&sources, &scenario, fault) else { break };
                failed.extend(outcome.err().map(|what| format!("{fault:?}, {call:?}: {what}")));
                calls += 1;
            }
            tried += calls;
        }
    }
    println!("{name}, {kind:?}: {calls} calls, {tried} faults");
    assert!(calls > 4, "{calls}");
    assert!(failed.is_empty(), "{} faults did harm:\n{}", failed.len(), failed.join("\n"));
}

macro_rules! operations {
    ($($operation:ident: $($name:ident $kind:ident)*;)*) => {
        $(mod $operation {
            use super::{Kind, scenario, try_all};

            $(#[test]
            fn $name() {
                try_all(stringify!($operation), scenario::$operation, Kind::$kind);
            })*
        })*
    };
    ($($operation:ident)*) => {
        operations! {
            $($operation:
                fails_before Before
                fails_after After
                is_torn Torn
                arrives_twice Duplicate
                arrives_late Delayed
                crashes Crash
                loses_power PowerLoss;
            )*
        }
    };
}

// Many tests, so that they run beside each other.
operations! {
    first_backup same_backup backup_beside_collection forget idle_prune prune prune_open_collection prune_many_runs check
    copy_from_sibling copy_from_stranger
}

#[test]
fn an_interrupted_creation_of_a_repository_can_be_repeated() {
    for kind in [Kind::Before, Kind::After, Kind::Torn, Kind::Duplicate, Kind::Delayed, Kind::Crash] {
        let create = |storage: Arc<dyn Storage>| {
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
