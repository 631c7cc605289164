//! What is deleted and what is never deleted beside packs; requests that land late; people who end sessions.

use super::judge::Flaw;
use super::sets::{BOTH, ONE};
use super::setup::{CORE, Mistake, PersonEnds, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

const CLEANED: Setup = Setup { name: "records deleted", cleans: true, gives_up: true, ..SMALL };

const LATE: Setup = Setup { name: "records deleted, late requests", late_puts: true, ..CLEANED };

#[test]
fn verdicts_and_ends_by_others_stay_for_ever() {
    check(&[
        (SMALL.but(Mistake::VerdictDeleted), Expected::Has(Flaw::Loss)),
        (SMALL.but(Mistake::FenceDeleted), Expected::Has(Flaw::Loss)),
    ]);
}

#[test]
fn a_person_may_end_any_session() {
    check(&[(
        Setup { name: "a person ends sessions", person_ends: PersonEnds::Anything, ..CORE },
        Expected::Holds,
    )]);
}

#[test]
fn records_of_what_is_over_may_go() {
    check(&[
        (CLEANED, Expected::Holds),
        (CLEANED.but(Mistake::StartOfLiveDeleted), Expected::Has(Flaw::Loss)),
    ]);
}

#[test]
fn late_requests_bring_nothing_to_life() {
    check(&[(LATE, Expected::Holds)]);
}

#[test]
fn tombstones_and_ends_of_failures_stay_for_ever() {
    check(&[
        (LATE.but(Mistake::TombstoneDeleted), Expected::Has(Flaw::Loss)),
        (LATE.but(Mistake::FailedEndDeleted), Expected::Has(Flaw::Loss)),
    ]);
    let _ = (BOTH, ONE, Task::Repack, is_full());
}
