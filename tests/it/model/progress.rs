//! That what nothing needs does not stay for ever.
//!
//! What must hold: in every state that can be reached, if no other process ever takes a step again, one pruner alone
//! comes to an end, and then every pack that is there holds something that a visible snapshot has nowhere else.

use super::explore::explore;
use super::judge::Flaw;
use super::next::Next;
use super::pruner::{self, unneeded};
use super::sets::{BOTH, ONE, Set};
use super::setup::{Mistake, SMALL, Setup, TakingOver, Task};
use super::state::{COLLECTIONS_MAX, Key, PACKS_MAX, PrunerAt, State, needed_by};
use super::table::{Expected, report};

/// More than a pruner takes that comes to an end.
const STEPS_MAX: usize = 200;

/// What is wrong when one pruner has run alone.
fn alone(setup: &Setup, state: &State) -> Option<Flaw> {
    // It may begin as many collections as it likes, and sees all that is there.
    let setup = Setup { pruners: 1, collections: COLLECTIONS_MAX, partial_listings: false, ..*setup };
    let mut state = State { pruners: Default::default(), ..*state };
    if !setup.fences {
        // Somebody who knows that they are gone ends them.
        state.live().members().for_each(|session| state.keys[session] = Key::Fenced);
    }
    if let Err(flaw) = run(&setup, &mut state) {
        return Some(flaw);
    }
    if setup.repairs {
        // After a repair, a pruner that is none comes to an end as well.
        state.pruners = Default::default();
        if let Err(flaw) = run(&Setup { repairs: false, ..setup }, &mut state) {
            return Some(flaw);
        }
    }
    leftover(&setup, &state)
}

/// Lets the pruner take steps until it is done.
fn run(setup: &Setup, state: &mut State) -> Result<(), Flaw> {
    let mut next = Next::default();
    for _ in 0..STEPS_MAX {
        next.0.clear();
        pruner::steps(setup, state, 0, &mut next);
        match next.0.first() {
            Some(step) => *state = step.state,
            // Out of collections, it might have gone on for ever.
            None if state.pruners[0].at == PrunerAt::Done && state.lowest_undecided(setup).is_some() => {
                return Ok(());
            }
            None => return Err(Flaw::Stuck),
        }
    }
    Err(Flaw::Stuck)
}

fn leftover(setup: &Setup, state: &State) -> Option<Flaw> {
    let order: Vec<usize> = (0..PACKS_MAX).collect();
    let needed = needed_by(setup, state.visible());
    let indexed = state.indexed();
    // While chunks are lost, what the index does not name stays.
    let is_all_there = needed.is_within(state.chunks_in((state.packs & indexed) - state.dead()));
    let known = if is_all_there { Set(u8::MAX) } else { indexed };
    let unneeded = unneeded(state, needed, indexed, known, &order);
    (!(unneeded | state.packs & state.dead()).is_empty()).then_some(Flaw::Leftover)
}

/// As `table::check`, and from every state one pruner runs alone.
fn check(rows: &[(Setup, Expected)]) {
    report(rows.iter().map(|(setup, expected)| {
        (explore(setup, &expected.wanted(), |state| alone(setup, state)), *expected)
    }));
}

const AGAIN: Setup = Setup { name: "progress", deletes_again: true, ..SMALL };

#[test]
fn what_nothing_needs_goes() {
    let ended_only =
        Setup { name: "progress, only packs of ended sessions", condemns_ended_only: true, ..AGAIN };
    let late =
        Setup { name: "progress, late requests", cleans: true, gives_up: true, late_puts: true, ..AGAIN };
    let gateway = Setup { name: "progress, not atomic", is_atomic: false, fences: false, ..AGAIN };
    let two =
        Setup { name: "progress, two pruners", pruners: 2, collections: 1, names_damage: true, ..AGAIN };
    check(&[
        (AGAIN, Expected::Holds),
        (ended_only, Expected::Holds),
        (ended_only.but(Mistake::EndsOnlyWhenWaiting), Expected::Has(Flaw::Leftover)),
        (late, Expected::Holds),
        (gateway, Expected::Holds),
        (two, Expected::Holds),
        // A pruner that stopped after its verdict left what the verdict names.
        (SMALL, Expected::Has(Flaw::Leftover)),
    ]);
}

#[test]
fn what_repacks_and_merges_leave_goes() {
    let repacked = Setup {
        name: "progress, a repack",
        first_packs: [BOTH, Set::EMPTY],
        first_needs: ONE,
        writers: &[Task::Backup(BOTH), Task::Repack],
        any_copy_stays: true,
        ..AGAIN
    };
    let merged = Setup {
        name: "progress, a merge of runs",
        first_needs: ONE,
        writers: &[Task::Backup(BOTH), Task::Compact],
        ..AGAIN
    };
    check(&[(repacked, Expected::Holds), (merged, Expected::Holds)]);
}

#[test]
fn lost_chunks_stop_no_pruner_for_ever() {
    let lost = Setup {
        name: "progress, lost chunks",
        damage: true,
        repairs: true,
        taking_over: TakingOver::IfKept,
        ..AGAIN
    };
    check(&[
        (lost, Expected::Holds),
        (lost.but(Mistake::LostStopsPruner), Expected::Has(Flaw::Stuck)),
        (lost.but(Mistake::RepairLeavesOpen), Expected::Has(Flaw::Stuck)),
    ]);
}
