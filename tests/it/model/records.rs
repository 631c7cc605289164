//! What is deleted and what is never deleted beside packs, and requests that land late.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, Set};
use super::setup::{Mistake, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

/// Records of sessions go when these are over, snapshots when they are forgotten; writers may fail.
const CLEANED: Setup = Setup { name: "records deleted", cleans: true, gives_up: true, ..SMALL };

/// Whatever was sent may land again.
pub const LATE: Setup =
    Setup { name: "records deleted, late requests", late_puts: true, deletes_again: true, ..CLEANED };

#[test]
fn verdicts_and_ends_by_others_stay_for_ever() {
    check(&[
        (SMALL.but(Mistake::VerdictDeleted), Expected::Has(Flaw::Loss)),
        (SMALL.but(Mistake::FenceDeleted), Expected::Has(Flaw::Loss)),
    ]);
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
    if is_full() {
        let two_pruners =
            Setup { name: "late requests, two pruners, one collection", pruners: 2, collections: 1, ..LATE };
        check(&[(two_pruners, Expected::Holds)]);
    }
}

#[test]
fn ends_of_sessions_that_had_nothing_to_commit_may_go() {
    let closed = Setup {
        name: "records deleted, late requests, a repack",
        first_packs: [BOTH, Set::EMPTY],
        first_needs: ONE,
        writers: &[Task::Backup(BOTH), Task::Repack],
        ..LATE
    };
    check(&[(closed, Expected::Holds)]);
}

#[test]
fn tombstones_and_ends_of_failures_stay_for_ever() {
    check(&[
        (LATE.but(Mistake::TombstoneDeleted), Expected::Has(Flaw::Loss)),
        (LATE.but(Mistake::FailedEndDeleted), Expected::Has(Flaw::Loss)),
    ]);
}
