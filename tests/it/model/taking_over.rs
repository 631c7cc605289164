//! Taking over a snapshot by id, without a look at each of its chunks; also when chunks were lost.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, TWO};
use super::setup::{CORE, Mistake, SMALL, Setup, TakingOver, Task};
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
    check(&[(IF_KEPT, Expected::Holds), (none_open, Expected::Holds)]);
    if is_full() {
        check(&[(Setup { pruners: 2, ..IF_KEPT }, Expected::Holds)]);
    }
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
    let _ = (CORE, ONE);
}
