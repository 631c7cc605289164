//! The protocol itself, the mistakes that it was made against, and storages that cannot create atomically.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, TWO};
use super::setup::{CORE, Mistake, PersonEnds, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

#[test]
fn no_order_of_steps_loses_anything() {
    // Each pruner plans by packs and index in one look, which includes every look that is spread over more steps and
    // sees what one of its moments had.
    check(&[(CORE, Expected::HoldsIn(784_875, 47)), (SMALL, Expected::HoldsIn(12_337, 40))]);
}

#[test]
fn a_third_writer_loses_nothing() {
    let three = Setup {
        name: "three writers",
        writers: &[Task::Backup(BOTH), Task::Backup(ONE), Task::Backup(TWO)],
        ..SMALL
    };
    let one = Setup { name: "three writers, one collection", collections: 1, ..three };
    check(&[(one, Expected::HoldsIn(113_880, 35))]);
    if is_full() {
        check(&[(three, Expected::Holds)]);
    }
}

#[test]
fn each_broken_rule_loses_something() {
    let loss = |depth| Expected::HasAfter(Flaw::Loss, depth);
    check(&[
        (CORE.but(Mistake::CollectionsBeforeStart), loss(14)),
        (CORE.but(Mistake::CommitOverwrites), loss(15)),
        (CORE.but(Mistake::SessionsBeforeCondemned), loss(13)),
        (CORE.but(Mistake::SnapshotsNotReadAgain), loss(14)),
        (CORE.but(Mistake::OwnVerdict), loss(26)),
        (CORE.but(Mistake::ContentNamedPacks), loss(16)),
    ]);
}

#[test]
fn the_index_may_be_read_before_the_snapshots_are_read_again() {
    check(&[(CORE.but(Mistake::IndexBeforeSnapshots), Expected::Holds)]);
}

#[test]
fn a_pruner_may_compare_a_verdict_with_what_it_saw_itself() {
    let compares = Setup { name: "verdict compared", compares_verdict: true, any_copy_stays: true, ..CORE };
    check(&[
        (Setup { collections: 1, ..compares }, Expected::Holds),
        (compares.but(Mistake::ComparesWithOlderLook), Expected::Has(Flaw::FalseAlarm)),
    ]);
    if is_full() {
        check(&[(compares, Expected::Holds)]);
    }
}

#[test]
fn packs_of_live_sessions_may_be_left_alone() {
    check(&[(
        Setup { name: "only packs of ended sessions", condemns_ended_only: true, ..CORE },
        Expected::Holds,
    )]);
}

#[test]
fn without_atomic_creation_one_pruner_that_ends_nobody_loses_nothing() {
    let gateway =
        Setup { name: "not atomic, one pruner, ends nobody", is_atomic: false, fences: false, ..SMALL };
    let ends = Setup { name: "not atomic, one pruner, ends others", fences: true, ..gateway };
    let person =
        Setup { name: "not atomic, a person ends the live", person_ends: PersonEnds::Anything, ..gateway };
    let dead =
        Setup { name: "not atomic, a person ends the dead", person_ends: PersonEnds::TheDead, ..gateway };
    let two = Setup { name: "not atomic, two pruners, end nobody", pruners: 2, ..gateway };
    check(&[
        (gateway, Expected::HoldsIn(3_711, 38)),
        (ends, Expected::Has(Flaw::Loss)),
        (ends, Expected::Has(Flaw::CommitLost)),
        (dead, Expected::Holds),
        (person, Expected::Has(Flaw::Loss)),
        (two, Expected::HasAfter(Flaw::Loss, 22)),
    ]);
}
