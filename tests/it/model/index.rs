//! Repacking, merging of index runs, and looks at the index that do not see all of it.

use super::judge::Flaw;
use super::sets::{BOTH, ONE, Set, TWO};
use super::setup::{Mistake, SMALL, Setup, Task};
use super::table::{Expected, check};
use crate::support::need::is_full;

const PARTIAL: Setup = Setup { name: "incomplete listings of the index", partial_listings: true, ..SMALL };

/// Half of pack 0 is not needed.
const REPACKED: Setup = Setup {
    name: "a backup and a repack",
    first_packs: [BOTH, Set::EMPTY],
    first_needs: ONE,
    writers: &[Task::Backup(BOTH), Task::Repack],
    any_copy_stays: true,
    ..SMALL
};

/// Everybody may know a table that is older than the merge.
const MERGED: Setup = Setup {
    name: "a backup and a merge of runs",
    first_needs: ONE,
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
    let two_repacks = Setup {
        name: "two repacks, two pruners, one collection",
        writers: &[Task::Repack, Task::Repack],
        pruners: 2,
        collections: 1,
        ..REPACKED
    };
    check(&[
        (REPACKED, Expected::Holds),
        (two_repacks, Expected::Holds),
        (REPACKED.but(Mistake::RepackDeletes), Expected::Has(Flaw::Loss)),
        (REPACKED.but(Mistake::SnapshotsNotReadAgain), Expected::Has(Flaw::Loss)),
    ]);
    if is_full() {
        let backup = Setup {
            name: "a backup and two repacks",
            writers: &[Task::Backup(TWO), Task::Repack, Task::Repack],
            ..REPACKED
        };
        let collections = Setup { name: "two repacks, two pruners", collections: 2, ..two_repacks };
        check(&[(backup, Expected::Holds), (collections, Expected::Holds)]);
    }
}

#[test]
fn merged_runs_say_what_the_others_said() {
    let late = Setup {
        name: "a merge, late requests, one collection",
        late_puts: true,
        deletes_again: true,
        collections: 1,
        ..MERGED
    };
    let two_merges = Setup {
        name: "two merges",
        writers: &[Task::Compact, Task::Compact],
        cached_tables: false,
        loses_runs: false,
        ..MERGED
    };
    check(&[(MERGED.but(Mistake::MergeBeginsLate), Expected::Holds)]);
    check(&[(MERGED, Expected::Holds), (late, Expected::Holds), (two_merges, Expected::Holds)]);
    if is_full() {
        let late_twice =
            Setup { name: "a merge, late requests", collections: 2, cached_tables: false, ..late };
        let two_pruners =
            Setup { name: "a merge, two pruners, one collection", pruners: 2, collections: 1, ..MERGED };
        let merges_late = Setup {
            name: "two merges, late requests, one collection",
            late_puts: true,
            deletes_again: true,
            collections: 1,
            ..two_merges
        };
        let check_all = [late_twice, two_pruners, merges_late].map(|setup| (setup, Expected::Holds));
        check(&check_all);
    }
}

#[test]
fn merges_go_with_incomplete_listings() {
    let partial = Setup { name: "a merge, incomplete listings", partial_listings: true, ..MERGED };
    check(&[(partial, Expected::Holds)]);
}

#[test]
fn merges_that_forget_something_lose_something() {
    let no_tables = Setup { name: "a backup and a merge, no cached tables", cached_tables: false, ..MERGED };
    check(&[
        (MERGED.but(Mistake::RunsDeletedFirst), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::RunsNotRead), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::DropsCondemned), Expected::Has(Flaw::Loss)),
        (MERGED.but(Mistake::DropsUnlisted), Expected::Has(Flaw::Loss)),
        (no_tables.but(Mistake::DropsCondemned), Expected::Has(Flaw::Loss)),
        // With the verdict goes what keeps cached tables from being dangerous.
        (MERGED.but(Mistake::VerdictDeleted), Expected::Has(Flaw::Loss)),
    ]);
}
