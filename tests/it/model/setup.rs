//! What is explored: how many processes there are, what they do, what the storage can do, what may happen to it, and
//! which rule is broken on purpose.
//!
//! What must hold: `CORE` without a mistake is the protocol of format-spec chapter 14; every other setup says only in
//! what it differs.

use super::sets::{BOTH, Chunks, ONE, Sessions, Set, TWO};
use super::state::FIRST_PACKS;

/// What a session is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// A snapshot that needs these chunks.
    Backup(Chunks),
    /// To copy what is needed of pack 0 into a pack of its own.
    Repack,
    /// To write an index run that supersedes others.
    Compact,
}

/// When a writer takes over a snapshot by id, without looking up its chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakingOver {
    Never,
    /// The rule: seen visible after the start, kept by each open collection, and nothing ever listed as lost.
    IfKept,
    /// A weaker rule, safe as well: chunks that were lost once hinder nobody as soon as they all have a place again.
    IfKeptOrHealed,
    /// A stronger rule, hence safe: no collection is open.
    IfNoneIsOpen,
}

/// Which sessions a person ends, at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PersonEnds {
    Nothing,
    /// Those of processes that will never take a step again.
    TheDead,
    Anything,
}

/// What may be lost with the power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    Stays,
    /// What no barrier made durable may go, and with it every process that runs.
    FailsForAll,
    /// What no barrier made durable may go; the processes run on other machines and go on.
    FailsForStorage,
}

/// A rule that is broken, to show that the exploration finds what the rule prevents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A writer reads the collections before its start is visible.
    CollectionsBeforeStart,
    /// A writer commits by a plain put, which replaces what is there.
    CommitOverwrites,
    /// A pruner numbers its collection by what there is when it condemns, not by what there was when it planned.
    NumberedLate,
    /// No mistake: a merge of runs reads the collections before its start.
    MergeBeginsLate,
    /// A pruner lists the sessions before it condemns.
    SessionsBeforeCondemned,
    /// A pruner decides by the snapshots that it read before it condemned.
    SnapshotsNotReadAgain,
    /// A pruner that lost the race for the verdict acts on its own.
    OwnVerdict,
    /// A pack is named by what it holds, so that the same chunks have the same name again.
    ContentNamedPacks,
    /// A pruner calls the verdict of another damage because of what it saw before that verdict.
    ComparesWithOlderLook,
    /// A pruner calls damage what it sees without a look whether the snapshot that needs it is still visible.
    AlarmNotConfirmed,
    /// No mistake, though it looks like one: the index is read before the snapshots are read again.
    IndexBeforeSnapshots,
    /// A snapshot is taken over that was committed once, without a look whether it still is there.
    TakesOverFromCache,
    /// A snapshot is taken over that is visible, whatever collections are open.
    TakesOverMerelyVisible,
    /// A snapshot is taken over that was seen visible before the start.
    TakesOverSeenBeforeStart,
    /// A snapshot is taken over although chunks are listed as lost.
    TakesOverDespiteLost,
    /// What a collection lists as lost is forgotten as soon as the collection has a verdict.
    LostUntilVerdict,
    /// A pruner goes on though a chunk that is needed has no place, as if it knew what every pack holds.
    MissingIgnored,
    /// A pruner ends because of a chunk that is listed as lost.
    LostStopsPruner,
    /// While a chunk is lost, a pack may go that the index does not name.
    LostFreesUnknownPacks,
    /// A repair leaves a collection open that it cannot judge.
    RepairLeavesOpen,
    /// A repair gives up what one look does not find.
    RepairLooksOnce,
    /// A pruner that condemns only packs of ended sessions ends sessions only for an open collection.
    EndsOnlyWhenWaiting,
    /// Verdicts are deleted once their packs are, together with what the index says of these.
    VerdictDeleted,
    /// An end that another wrote is deleted once a collection has its verdict.
    FenceDeleted,
    /// The records of a session are deleted though it has not ended.
    StartOfLiveDeleted,
    /// The tombstone is deleted together with its snapshot.
    TombstoneDeleted,
    /// The end of a session that gave up is deleted like that of one that had nothing to commit.
    FailedEndDeleted,
    /// A repack deletes the old pack itself.
    RepackDeletes,
    /// Superseded runs are deleted before the run that supersedes them is written.
    RunsDeletedFirst,
    /// Superseded runs are deleted without reading the index again.
    RunsNotRead,
    /// A new run leaves out packs that are merely condemned.
    DropsCondemned,
    /// A new run leaves out packs that were not in a listing of packs made before.
    DropsUnlisted,
    /// There is no barrier between packs and the run that names them.
    NoBarrierBeforeRun,
    /// There is no barrier between what a snapshot needs and its commit key.
    NoBarrierBeforeCommit,
    /// A writer takes its snapshot for committed before a barrier.
    NoBarrierAfterCommit,
    /// There is no barrier between what a verdict rests upon and the verdict: tombstones, ends, the condemned set.
    NoBarrierBeforeVerdict,
    /// There is no barrier between a verdict and the deletions.
    NoBarrierBeforeDelete,
    /// There is no barrier between a run and the deletion of those that it supersedes.
    NoBarrierBeforeRunsGo,
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub name: &'static str,
    /// What the two packs hold that are there from the first.
    pub first_packs: [Chunks; FIRST_PACKS],
    /// What the snapshot needs that is there from the first.
    pub first_needs: Chunks,
    pub writers: &'static [Task],
    pub pruners: usize,
    /// How many collections there may be. A pruner that finds them all decided is done.
    pub collections: usize,
    /// Snapshots that a user may forget, at any time.
    pub forgettable: Sessions,
    /// `put_if_absent` fails if the name is taken. Else it replaces what is there.
    pub is_atomic: bool,
    /// A pruner may end sessions of others, at any time: no clock is trusted.
    pub fences: bool,
    pub taking_over: TakingOver,
    /// A pruner condemns only packs of sessions that have ended. Saves others from waiting; safety needs it not.
    pub condemns_ended_only: bool,
    /// Of several copies of a chunk any may stay, not only the lowest.
    pub any_copy_stays: bool,
    /// A pruner begins with what earlier verdicts name and is there. `CORE` leaves this out, because it adds nothing to
    /// what may be deleted.
    pub deletes_again: bool,
    /// A pruner calls damage what it cannot explain: a needed chunk without a place, and a verdict of another that names
    /// what it found needed itself.
    pub names_damage: bool,
    pub person_ends: PersonEnds,
    /// Writers may give up, at any time, and say so.
    pub gives_up: bool,
    /// Records of sessions that are over are deleted, and snapshots that are forgotten.
    pub cleans: bool,
    /// Whatever was put once may land again at any time.
    pub late_puts: bool,
    /// A listing of the index may leave out any runs.
    pub partial_listings: bool,
    /// What was known of the index earlier counts beside what is listed.
    pub cached_tables: bool,
    /// A new run that was acknowledged may not be there.
    pub loses_runs: bool,
    /// Pack 1 may vanish.
    pub damage: bool,
    /// Pruners list chunks as lost that have no place (a repair); else they end.
    pub repairs: bool,
    pub power: Power,
    pub mistake: Option<Mistake>,
}

/// Two writers, two pruners, two collections; snapshots 0 and 1 may be forgotten; sessions are ended at any time.
pub const CORE: Setup = Setup {
    name: "core",
    first_packs: [ONE, TWO],
    first_needs: BOTH,
    writers: &[Task::Backup(BOTH), Task::Backup(ONE)],
    pruners: 2,
    collections: 2,
    forgettable: Set(0b11),
    is_atomic: true,
    fences: true,
    taking_over: TakingOver::Never,
    condemns_ended_only: false,
    any_copy_stays: false,
    deletes_again: false,
    names_damage: false,
    person_ends: PersonEnds::Nothing,
    gives_up: false,
    cleans: false,
    late_puts: false,
    partial_listings: false,
    cached_tables: false,
    loses_runs: false,
    damage: false,
    repairs: false,
    power: Power::Stays,
    mistake: None,
};

/// The core with one pruner: what extensions start from.
pub const SMALL: Setup = Setup { name: "small", pruners: 1, ..CORE };

impl Setup {
    /// The same with a rule broken.
    pub const fn but(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    #[inline]
    pub fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether anybody may take over snapshots.
    #[inline]
    pub fn takes_over(&self) -> bool {
        self.taking_over != TakingOver::Never
    }
}
