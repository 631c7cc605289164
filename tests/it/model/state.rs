//! One moment of the whole system: every object in the storage, and where every process stands.
//!
//! What must hold: two moments that no process could ever tell apart are equal, byte by byte; so what a process no
//! longer looks at is set back to nothing.

use super::power::Unsure;
use super::sets::{Chunks, Packs, Runs, Sessions, Set};
use super::setup::{Setup, Task};

/// Most writers, pruners and collections that a state has room for.
pub const WRITERS_MAX: usize = 3;
pub const PRUNERS_MAX: usize = 2;
pub const COLLECTIONS_MAX: usize = 5;
/// Packs that are there from the first.
pub const FIRST_PACKS: usize = 2;
/// The session that wrote them.
pub const FIRST_SESSION: usize = 0;
pub const PACKS_MAX: usize = FIRST_PACKS + WRITERS_MAX;
pub const SESSIONS_MAX: usize = 1 + WRITERS_MAX;

/// What stands under `snapshots/S`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    #[default]
    Absent,
    /// The session committed a snapshot.
    Snapshot,
    /// Another process ended the session.
    Fenced,
    /// The session ended itself and never sent a snapshot.
    Closed,
    /// The session gave up. A snapshot that it sent may still be on its way.
    Failed,
}

/// An index run: `index/…`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// It is in the storage.
    pub is_listed: bool,
    /// Packs whose chunks it knows. A run that went keeps them here: its name never comes to mean anything else.
    pub packs: Packs,
    /// Runs that count for nothing while this one is listed.
    pub superseded: Runs,
}

/// How far a collection went.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    #[default]
    Absent,
    /// `collections/n/condemned` is there: it is open.
    Condemned,
    /// `collections/n/verdict` is there, too.
    Decided,
}

/// A collection: `collections/n/…`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Collection {
    pub stage: Stage,
    pub condemned: Packs,
    /// Snapshots whose chunks all have a place outside of the condemned packs.
    pub kept: Sessions,
    /// Chunks that a repair gave up.
    pub lost: Chunks,
    pub verdict: Packs,
    /// A mistake deleted it.
    pub is_gone: bool,
}

impl Collection {
    /// What a writer must not build upon.
    #[inline]
    pub fn blocked(&self) -> Packs {
        match self.stage {
            _ if self.is_gone => Set::EMPTY,
            Stage::Absent => Set::EMPTY,
            Stage::Condemned => self.condemned,
            Stage::Decided => self.verdict,
        }
    }
}

/// Where a writer stands: the step that it takes next.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum WriterAt {
    #[default]
    Begin,
    /// Only by mistake: it read the collections before it began.
    BeginLate,
    ReadCollections,
    ReadSnapshots,
    ReadIndex,
    PutPack,
    PutRun,
    Reread,
    DeleteRuns,
    DeletePack,
    /// Makes all durable before what is behind.
    Barrier,
    Commit,
    Close,
    Committed,
    /// It did not commit: it closed, failed, or was ended by another.
    Ended,
    /// It failed after it had sent its snapshot.
    FailedLate,
    /// The power went while it ran.
    Dead,
}

/// A session's process.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Writer {
    pub at: WriterAt,
    /// Packs that it must not build upon.
    pub blocked: Packs,
    /// Chunks that it has to store.
    pub missing: Chunks,
    /// Snapshots that it may take over.
    pub usable: Sessions,
    /// Index runs that it supersedes.
    pub inputs: Runs,
    /// Packs that its index run is to name.
    pub merged: Packs,
    /// Where it goes on after a barrier.
    pub behind: WriterAt,
}

/// Where a pruner stands: the step that it takes next.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum PrunerAt {
    #[default]
    Begin,
    ReadSnapshots,
    Plan,
    PutCondemned,
    ListSessions,
    Wait,
    RereadSnapshots,
    Judge,
    /// Makes all durable before what is behind.
    BarrierBeforeVerdict,
    BarrierBeforeDelete,
    /// Only in a variant: the index is read before the snapshots are read again.
    ReadIndexEarly,
    RereadSnapshotsLate,
    PutVerdict,
    /// The verdict of another names what it found needed, so it looks again.
    ReadSnapshotsAfter,
    CompareAfter,
    Confirm,
    /// A chunk that is needed has no place, so it looks again whether it is needed.
    ConfirmMissing,
    Delete,
    Done,
    /// What it read cannot be explained: it deletes nothing and calls that damage.
    Alarm,
}

/// A process that removes packs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Pruner {
    pub at: PrunerAt,
    /// The number of the collection.
    pub collection: u8,
    /// Packs to condemn, to judge, to delete.
    pub packs: Packs,
    /// Sessions that had not ended when they were listed; in a variant, packs as an early look at the index gave them.
    pub waits_for: Set,
    /// Chunks that the visible snapshots need.
    pub needed: Chunks,
    /// The visible snapshots.
    pub seen: Sessions,
    /// Chunks that it gives up.
    pub lost: Chunks,
    /// Packs whose places counted when it judged.
    pub counted: Packs,
}

/// Everything.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// `packs/…` that are in the storage.
    pub packs: Packs,
    /// What they hold; stays when they go, since a pack's name never comes to mean anything else.
    pub contents: [Chunks; PACKS_MAX],
    pub runs: [Run; PACKS_MAX],
    /// `sessions/S/start`.
    pub started: Sessions,
    /// `snapshots/S`.
    pub keys: [Key; SESSIONS_MAX],
    /// `forgotten/S`.
    pub forgotten: Sessions,
    pub collections: [Collection; COLLECTIONS_MAX],
    pub writers: [Writer; WRITERS_MAX],
    pub pruners: [Pruner; PRUNERS_MAX],
    /// A pack went that no pruner deleted.
    pub is_damaged: bool,
    /// What goes if the power goes.
    pub unsure: Unsure,
    pub had_no_power: bool,
    /// Processes whose next barrier fails.
    pub cut_off: Set,
    /// Sessions that started when chunks were already listed as lost. Nobody knows it but who judges.
    pub knew_of_loss: Sessions,
}

/// The session of a writer.
#[inline]
pub const fn session_of(writer: usize) -> usize {
    1 + writer
}

/// The pack that a writer may make, and the number of its index run.
#[inline]
pub const fn pack_of(writer: usize) -> usize {
    FIRST_PACKS + writer
}

/// The session that made a pack.
#[inline]
pub const fn maker_of(pack: usize) -> usize {
    if pack < FIRST_PACKS { FIRST_SESSION } else { session_of(pack - FIRST_PACKS) }
}

impl State {
    /// What is there before any process begins: two packs, an index run for each, and a snapshot.
    pub fn first(setup: &Setup) -> Self {
        let mut state = Self { packs: Set::below(FIRST_PACKS), ..Self::default() };
        for pack in 0..FIRST_PACKS {
            state.contents[pack] = setup.first_packs[pack];
            state.runs[pack] = Run { is_listed: true, packs: Set::of(pack), superseded: Set::EMPTY };
        }
        state.keys[FIRST_SESSION] = Key::Snapshot;
        state
    }

    /// Whether a session's snapshot is one for all who read.
    #[inline]
    pub fn is_visible(&self, session: usize) -> bool {
        self.keys[session] == Key::Snapshot && !self.forgotten.has(session)
    }

    #[inline]
    pub fn visible(&self) -> Sessions {
        let mut visible = Set::EMPTY;
        for session in 0..SESSIONS_MAX {
            visible |= Set::of(session).if_true(self.is_visible(session));
        }
        visible
    }

    /// Sessions that began and of which nothing says that they are over.
    #[inline]
    pub fn live(&self) -> Sessions {
        let mut live = self.started - self.forgotten;
        for session in 0..SESSIONS_MAX {
            if self.keys[session] != Key::Absent {
                live = live.without(session);
            }
        }
        live
    }

    /// Packs that some verdict names.
    #[inline]
    pub fn dead(&self) -> Packs {
        self.collections.iter().fold(Set::EMPTY, |dead, collection| dead | collection.verdict)
    }

    /// Index runs that a listing gives.
    #[inline]
    pub fn listed_runs(&self) -> Runs {
        let mut listed = Set::EMPTY;
        for (number, run) in self.runs.iter().enumerate() {
            listed |= Set::of(number).if_true(run.is_listed);
        }
        listed
    }

    /// Packs that the index knows, as these of its runs say.
    #[inline]
    pub fn indexed_by(&self, runs: Runs) -> Packs {
        let superseded = runs.members().fold(Set::EMPTY, |all, run| all | self.runs[run].superseded);
        (runs - superseded).members().fold(Set::EMPTY, |all, run| all | self.runs[run].packs)
    }

    /// Packs that the index knows.
    #[inline]
    pub fn indexed(&self) -> Packs {
        self.indexed_by(self.listed_runs())
    }

    /// What these packs hold together.
    #[inline]
    pub fn chunks_in(&self, packs: Packs) -> Chunks {
        packs.members().fold(Set::EMPTY, |chunks, pack| chunks | self.contents[pack])
    }

    /// Which of these packs hold a chunk.
    #[inline]
    pub fn packs_with(&self, chunk: usize, packs: Packs) -> Packs {
        packs.members().filter(|pack| self.contents[*pack].has(chunk)).fold(Set::EMPTY, Set::with)
    }

    /// Chunks that some collection lists as lost.
    #[inline]
    pub fn lost(&self) -> Chunks {
        self.collections.iter().fold(Set::EMPTY, |lost, collection| lost | collection.lost)
    }

    /// The lowest collection without a verdict that these rules leave room for.
    #[inline]
    pub fn lowest_undecided(&self, setup: &Setup) -> Option<usize> {
        (0..setup.collections).find(|number| self.collections[*number].stage != Stage::Decided)
    }
}

/// What a session's snapshot needs.
#[inline]
pub fn needs_of(setup: &Setup, session: usize) -> Chunks {
    if session == FIRST_SESSION {
        return setup.first_needs;
    }
    match setup.writers.get(session - 1) {
        Some(Task::Backup(needs)) => *needs,
        Some(Task::Repack | Task::Compact) | None => Set::EMPTY,
    }
}

/// What these snapshots need together.
#[inline]
pub fn needed_by(setup: &Setup, snapshots: Sessions) -> Chunks {
    snapshots.members().fold(Set::EMPTY, |needed, session| needed | needs_of(setup, session))
}
