//! Taking over a snapshot by id, without a look at each of its chunks; also when chunks were lost.

use super::judge::Flaw;
use super::records::LATE;
use super::sets::{BOTH, ONE, TWO};
use super::setup::{CORE, Mistake, PersonEnds, SMALL, Setup, TakingOver, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

const IF_KEPT: Setup = Setup { name: "taking over what is kept", taking_over: TakingOver::IfKept, ..SMALL };

/// A pack vanishes, a repair lists what went with it, and backups go on.
const LOST: Setup = Setup {
    name: "lost chunks",
    writers: &[Task::Backup(BOTH), Task::Backup(TWO)],
    damage: true,
    repairs: true,
    ..IF_KEPT
};

#[test]
fn what_every_open_collection_keeps_may_be_taken_over() {
    let none_open =
        Setup { name: "taking over while none is open", taking_over: TakingOver::IfNoneIsOpen, ..SMALL };
    let two_pruners =
        Setup { name: "taking over what is kept, two pruners", taking_over: TakingOver::IfKept, ..CORE };
    check(&[(IF_KEPT, Expected::Holds), (none_open, Expected::Holds), (two_pruners, Expected::Holds)]);
}

#[test]
fn taking_over_goes_with_all_that_may_happen_besides() {
    let late = Setup {
        name: "taking over, late requests, ends by hand",
        taking_over: TakingOver::IfKept,
        person_ends: PersonEnds::Anything,
        ..LATE
    };
    check(&[(late, Expected::Holds)]);
    if is_full() {
        let partial = Setup {
            name: "the same, incomplete listings, one collection",
            partial_listings: true,
            collections: 1,
            ..late
        };
        check(&[(partial, Expected::Holds)]);
    }
}

#[test]
fn what_is_kept_is_so_when_the_collection_is_numbered() {
    let copies = Setup {
        name: "taking over, two copies, two pruners",
        first_packs: [ONE, ONE],
        first_needs: ONE,
        writers: &[Task::Backup(ONE)],
        pruners: 2,
        any_copy_stays: true,
        ..IF_KEPT
    };
    check(&[(copies, Expected::Holds), (copies.but(Mistake::NumberedLate), Expected::Has(Flaw::Loss))]);
}

#[test]
fn what_is_only_visible_or_only_remembered_may_not() {
    check(&[
        (IF_KEPT.but(Mistake::TakesOverFromCache), Expected::Has(Flaw::Loss)),
        (IF_KEPT.but(Mistake::TakesOverMerelyVisible), Expected::Has(Flaw::Loss)),
        (IF_KEPT.but(Mistake::TakesOverSeenBeforeStart), Expected::Has(Flaw::Loss)),
    ]);
}

#[test]
fn after_a_repair_nothing_builds_upon_what_was_lost() {
    let healed = Setup {
        name: "lost chunks, until they have a place again",
        taking_over: TakingOver::IfKeptOrHealed,
        ..LOST
    };
    check(&[
        (LOST, Expected::Holds),
        (healed, Expected::Holds),
        (LOST.but(Mistake::TakesOverDespiteLost), Expected::Has(Flaw::Loss)),
        (LOST.but(Mistake::LostUntilVerdict), Expected::Has(Flaw::Loss)),
    ]);
    if is_full() {
        let two_pruners =
            Setup { name: "lost chunks, two pruners, one collection", pruners: 2, collections: 1, ..LOST };
        check(&[(two_pruners, Expected::Holds)]);
    }
}

#[test]
fn what_was_lost_and_has_a_place_again_is_not_lost_twice() {
    let partial = Setup { name: "lost chunks, incomplete listings", partial_listings: true, ..LOST };
    check(&[
        (partial, Expected::Holds),
        (partial.but(Mistake::LostFreesUnknownPacks), Expected::Has(Flaw::Loss)),
        (partial.but(Mistake::RepairLooksOnce), Expected::Has(Flaw::Loss)),
    ]);
}
