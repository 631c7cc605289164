//! Repacking, merging of index runs, and looks at the index that do not see all of it.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, Set, TWO};
use super::setup::{Mistake, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

const PARTIAL: Setup = Setup { name: "incomplete listings of the index", partial_listings: true, ..SMALL };

const REPACKED: Setup = Setup {
    name: "a backup and a repack",
    first_packs: [BOTH, Set::EMPTY],
    first_needs: ONE,
    writers: &[Task::Backup(BOTH), Task::Repack],
    any_copy_stays: true,
    ..SMALL
};

const MERGED: Setup = Setup {
    first_needs: ONE,
    name: "a backup and a merge of runs, tables cached",
    writers: &[Task::Backup(BOTH), Task::Compact],
    cached_tables: true,
    loses_runs: true,
    ..SMALL
};

#[test]
fn an_incomplete_index_ends_a_collection_or_harms_nobody() {
    check(&[(PARTIAL, Expected::Holds), (PARTIAL.but(Mistake::MissingIgnored), Expected::Has(Flaw::Loss))]);
}

#[test]
fn repacks_are_sessions_like_others() {
    let two = Setup {
        name: "two repacks and two pruners",
        collections: 1,
        writers: &[Task::Repack, Task::Repack],
        pruners: 2,
        ..REPACKED
    };
    let with_two = Setup {
        name: "a backup and two repacks",
        writers: &[Task::Backup(TWO), Task::Repack, Task::Repack],
        ..REPACKED
    };
    check(&[
        (REPACKED, Expected::Holds),
        (two, Expected::Holds),
        (with_two, Expected::Holds),
        (REPACKED.but(Mistake::RepackDeletes), Expected::Has(Flaw::Loss)),
        (REPACKED.but(Mistake::SnapshotsNotReadAgain), Expected::Has(Flaw::Loss)),
    ]);
    let _ = is_full();
}

#[test]
fn merged_runs_say_what_the_others_said() {
    check(&[(MERGED, Expected::Holds)]);
}

#[test]
fn merges_that_forget_something_lose_something() {
    check(&[
        (MERGED.but(Mistake::RunsDeletedFirst), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::RunsNotRead), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::DropsCondemned), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::DropsUnlisted), Expected::Has(Flaw::Loss)),
    ]);
}
