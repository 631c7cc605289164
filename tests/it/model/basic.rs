//! The protocol itself, the mistakes that it was made against, and storages that cannot create atomically.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, TWO};
use super::setup::{CORE, Mistake, PersonEnds, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

const THREE_WRITERS: Setup = Setup {
    name: "three writers",
    writers: &[Task::Backup(BOTH), Task::Backup(ONE), Task::Backup(TWO)],
    ..SMALL
};

/// Where creation replaces what is there, nobody may end a session that still runs.
const NOT_ATOMIC: Setup = Setup { name: "not atomic, one pruner", is_atomic: false, fences: false, ..SMALL };

#[test]
fn no_order_of_steps_loses_anything() {
    check(&[(CORE, Expected::HoldsIn(784_875, 47)), (SMALL, Expected::HoldsIn(12_337, 40))]);
    if is_full() {
        check(&[(Setup { name: "three collections", collections: 3, ..CORE }, Expected::Holds)]);
    }
}

#[test]
fn a_third_writer_loses_nothing() {
    let one_collection = Setup { name: "three writers, one collection", collections: 1, ..THREE_WRITERS };
    check(&[(one_collection, Expected::HoldsIn(113_880, 35)), (THREE_WRITERS, Expected::Holds)]);
    if is_full() {
        let two_pruners =
            Setup { name: "three writers, two pruners, one collection", pruners: 2, ..one_collection };
        check(&[(two_pruners, Expected::Holds)]);
    }
}

#[test]
fn each_broken_rule_loses_something() {
    let loss_after = |steps| Expected::HasAfter(Flaw::Loss, steps);
    check(&[
        (CORE.but(Mistake::CollectionsBeforeStart), loss_after(14)),
        (CORE.but(Mistake::CommitOverwrites), loss_after(15)),
        (CORE.but(Mistake::SessionsBeforeCondemned), loss_after(13)),
        (CORE.but(Mistake::SnapshotsNotReadAgain), loss_after(14)),
        (CORE.but(Mistake::OwnVerdict), loss_after(26)),
        (CORE.but(Mistake::ContentNamedPacks), loss_after(16)),
    ]);
}

#[test]
fn the_index_may_be_read_before_the_snapshots_are_read_again() {
    check(&[(CORE.but(Mistake::IndexBeforeSnapshots), Expected::Holds)]);
}

#[test]
fn nothing_is_called_damage_that_is_none() {
    let names = Setup { name: "damage is named", names_damage: true, any_copy_stays: true, ..CORE };
    check(&[
        (names, Expected::Holds),
        (names.but(Mistake::ComparesWithOlderLook), Expected::HasAfter(Flaw::FalseAlarm, 21)),
        (names.but(Mistake::AlarmNotConfirmed), Expected::Has(Flaw::FalseAlarm)),
    ]);
}

#[test]
fn packs_of_live_sessions_may_be_left_alone() {
    check(&[(
        Setup { name: "only packs of ended sessions", condemns_ended_only: true, ..CORE },
        Expected::Holds,
    )]);
}

#[test]
fn a_person_may_end_any_session() {
    let person = Setup { name: "a person ends sessions", person_ends: PersonEnds::Anything, ..CORE };
    check(&[(person, Expected::Holds)]);
}

#[test]
fn without_atomic_creation_one_pruner_that_ends_nobody_loses_nothing() {
    let ends = Setup { name: "not atomic, one pruner, ends others", fences: true, ..NOT_ATOMIC };
    let two = Setup { name: "not atomic, two pruners", pruners: 2, ..NOT_ATOMIC };
    let dead =
        Setup { name: "not atomic, a person ends the dead", person_ends: PersonEnds::TheDead, ..NOT_ATOMIC };
    let live =
        Setup { name: "not atomic, a person ends the live", person_ends: PersonEnds::Anything, ..NOT_ATOMIC };
    check(&[
        (NOT_ATOMIC, Expected::HoldsIn(3_711, 38)),
        (dead, Expected::Holds),
        (two, Expected::HasAfter(Flaw::Loss, 22)),
        (ends, Expected::Has(Flaw::Loss)),
        (ends, Expected::Has(Flaw::CommitLost)),
        (live, Expected::Has(Flaw::Loss)),
    ]);
}
