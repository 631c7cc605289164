//! The steps of a session: begin, read what others write, store what is missing, commit.
//!
//! What must hold: one step is one look at the storage or one change of it; between any two of them all others may
//! do anything, and any of them may be the last.

use super::next::{Actor, Next};
use super::power::Unsure;
use super::sets::{Chunks, Packs, Sessions, Set};
use super::setup::{Mistake, Power, Setup, TakingOver, Task};
use super::state::{
    Key, Run, SESSIONS_MAX, Stage, State, Writer, WriterAt, needed_by, needs_of, pack_of, session_of,
};

/// A pack that repacks copy from.
const REPACKED: usize = 0;

/// One writer in one state, about to take a step.
struct Turn<'a> {
    setup: &'a Setup,
    before: &'a State,
    number: usize,
    next: &'a mut Next,
}

/// All that a writer may do next.
pub fn steps(setup: &Setup, before: &State, number: usize, next: &mut Next) {
    let mut turn = Turn { setup, before, number, next };
    match turn.writer().at {
        WriterAt::Begin => turn.begin(),
        WriterAt::BeginLate if setup.has(Mistake::TakesOverSeenBeforeStart) => {
            turn.put_start(WriterAt::ReadCollections)
        }
        WriterAt::BeginLate => turn.put_start(WriterAt::ReadIndex),
        WriterAt::ReadCollections => turn.read_collections(WriterAt::ReadIndex),
        WriterAt::ReadSnapshots => turn.read_snapshots(),
        WriterAt::ReadIndex => turn.read_index(),
        WriterAt::PutPack => turn.put_pack(),
        WriterAt::PutRun => turn.put_run(),
        WriterAt::Reread => turn.reread(),
        WriterAt::DeleteRuns => turn.delete_run(),
        WriterAt::DeletePack => turn.delete_pack(),
        WriterAt::Barrier => turn.barrier(),
        WriterAt::Commit => turn.commit(),
        WriterAt::Close => turn.end(Key::Closed, "ends itself: nothing to commit", WriterAt::Ended),
        WriterAt::Committed | WriterAt::Ended | WriterAt::FailedLate | WriterAt::Dead => {}
    }
    if setup.gives_up {
        turn.give_up();
    }
}

impl Turn<'_> {
    fn writer(&self) -> Writer {
        self.before.writers[self.number]
    }

    fn task(&self) -> Task {
        self.setup.writers[self.number]
    }

    fn session(&self) -> usize {
        session_of(self.number)
    }

    fn pack(&self) -> usize {
        pack_of(self.number)
    }

    /// A state that may follow.
    fn then(&mut self, what: &'static str, mut state: State, writer: Writer) {
        state.writers[self.number] = writer;
        self.next.push(Actor::Writer(self.number), what, state);
    }

    /// Where it goes on: at once, or behind a barrier if the power may go.
    fn behind(&self, writer: Writer, left_out_by: Mistake) -> Writer {
        if self.setup.power == Power::Stays || self.setup.has(left_out_by) {
            return writer;
        }
        Writer { at: WriterAt::Barrier, behind: writer.at, ..writer }
    }

    fn barrier(&mut self) {
        let writer = self.writer();
        if self.before.cut_off.has(self.number) {
            let dead = Writer { at: WriterAt::Dead, ..Writer::default() };
            return self.then("cannot make all durable and ends", *self.before, dead);
        }
        let state = State { unsure: Unsure::default(), ..*self.before };
        self.then(
            "makes all durable",
            state,
            Writer { at: writer.behind, behind: WriterAt::Begin, ..writer },
        );
    }

    fn begin(&mut self) {
        let late = self.setup.has(Mistake::MergeBeginsLate) && self.task() == Task::Compact;
        if late || self.setup.has(Mistake::CollectionsBeforeStart) {
            return self.read_collections(WriterAt::BeginLate);
        }
        if self.setup.has(Mistake::TakesOverSeenBeforeStart) {
            let usable = self.before.visible();
            let early = Writer { at: WriterAt::BeginLate, usable, ..self.writer() };
            return self.then("reads the snapshots", *self.before, early);
        }
        self.put_start(WriterAt::ReadCollections);
    }

    fn put_start(&mut self, at: WriterAt) {
        let mut state = *self.before;
        state.started = state.started.with(self.session());
        if !state.lost().is_empty() {
            state.knew_of_loss = state.knew_of_loss.with(self.session());
        }
        let writer = Writer { at, ..self.writer() };
        self.then("puts its start", state, writer);
    }

    /// What every collection forbids; a run that supersedes others leaves out only what verdicts name.
    fn read_collections(&mut self, at: WriterAt) {
        let mut blocked = Set::EMPTY;
        for collection in &self.before.collections {
            blocked |= collection.blocked();
        }
        let mut writer = Writer { at, blocked, ..self.writer() };
        match self.task() {
            Task::Backup(_) if self.setup.takes_over() => {
                let before_start = self.setup.has(Mistake::TakesOverSeenBeforeStart);
                let candidates = if before_start { writer.usable } else { Set::below(SESSIONS_MAX) };
                writer.usable = self.kept_by_collections(candidates);
                writer.at = if before_start { WriterAt::ReadIndex } else { WriterAt::ReadSnapshots };
            }
            Task::Backup(_) => {}
            Task::Repack => writer.at = WriterAt::ReadSnapshots,
            Task::Compact if self.setup.has(Mistake::DropsCondemned) => {}
            Task::Compact => writer.blocked = self.before.dead(),
        }
        if self.setup.has(Mistake::DropsUnlisted) {
            writer.blocked |= Set(u8::MAX) - self.before.packs;
        }
        self.then("reads the collections", *self.before, writer);
    }

    /// Of these snapshots, those that the collections let a writer take over.
    fn kept_by_collections(&self, candidates: Sessions) -> Sessions {
        let setup = self.setup;
        let mut usable = candidates;
        for collection in
            self.before.collections.iter().filter(|collection| collection.stage != Stage::Absent)
        {
            let is_open = collection.stage == Stage::Condemned;
            let forgets = setup.has(Mistake::LostUntilVerdict) && !is_open;
            if is_open && setup.taking_over == TakingOver::IfNoneIsOpen {
                return Set::EMPTY;
            }
            let is_lax = setup.has(Mistake::TakesOverMerelyVisible) || setup.has(Mistake::TakesOverFromCache);
            if is_open && !is_lax {
                usable = usable & collection.kept;
            }
            let despite =
                setup.has(Mistake::TakesOverDespiteLost) || setup.taking_over == TakingOver::IfKeptOrHealed;
            if !collection.lost.is_empty() && !forgets && !despite {
                return Set::EMPTY;
            }
        }
        usable
    }

    fn read_snapshots(&mut self) {
        let mut writer = Writer { at: WriterAt::ReadIndex, ..self.writer() };
        if self.task() == Task::Repack {
            // What it copies: chunks of the old pack that visible snapshots need.
            writer.missing = self.before.contents[REPACKED] & needed_by(self.setup, self.before.visible());
            return self.then("reads the snapshots", *self.before, writer);
        }
        let seen = if self.setup.has(Mistake::TakesOverFromCache) {
            self.once_committed()
        } else {
            self.before.visible()
        };
        writer.usable = writer.usable & seen;
        self.then("reads the snapshots", *self.before, writer);
    }

    /// Sessions that committed, whatever became of their snapshots.
    fn once_committed(&self) -> Sessions {
        let keys = self.before.keys.iter().enumerate();
        keys.filter(|(_, key)| **key == Key::Snapshot).fold(Set::EMPTY, |all, (session, _)| all.with(session))
    }

    fn read_index(&mut self) {
        match self.task() {
            Task::Backup(needs) => self.look_up(needs),
            Task::Repack => self.choose_copies(),
            Task::Compact => self.choose_inputs(),
        }
    }

    /// What it does not find in a pack that is not blocked it has to store, unless it takes over a snapshot.
    fn look_up(&mut self, needs: Chunks) {
        let writer = self.writer();
        for indexed in self.before.index_views(self.setup) {
            let usable = indexed - writer.blocked;
            let found = self.before.chunks_in(usable);
            let missing = needs - found;
            let knows_all = Writer { missing: Set::EMPTY, usable: Set::EMPTY, ..writer };
            let knows_all = self.committing(knows_all);
            let settled = if missing.is_empty() {
                knows_all
            } else {
                Writer { at: WriterAt::PutPack, missing, usable: Set::EMPTY, ..writer }
            };
            self.then("reads the index and looks up its chunks", *self.before, settled);

            let healed =
                self.setup.taking_over != TakingOver::IfKeptOrHealed || self.before.lost().is_within(found);
            let takes = writer
                .usable
                .members()
                .any(|session| session != self.session() && needs.is_within(needs_of(self.setup, session)));
            if takes && healed && !missing.is_empty() {
                self.then("takes over a snapshot", *self.before, knows_all);
            }
        }
    }

    /// All that a snapshot needs is durable before its commit key is put, whoever stored it.
    fn committing(&self, writer: Writer) -> Writer {
        self.behind(Writer { at: WriterAt::Commit, ..writer }, Mistake::NoBarrierBeforeCommit)
    }

    fn choose_copies(&mut self) {
        let writer = self.writer();
        for indexed in self.before.index_views(self.setup) {
            let is_usable = (indexed - writer.blocked).has(REPACKED) && self.before.packs.has(REPACKED);
            let missing = writer.missing.if_true(is_usable);
            let at = if missing.is_empty() { WriterAt::Close } else { WriterAt::PutPack };
            self.then("reads the index and the old pack", *self.before, Writer { at, missing, ..writer });
        }
    }

    /// Any of the runs that are listed may be merged; which, is no question of safety.
    fn choose_inputs(&mut self) {
        let writer = self.writer();
        let listed = self.before.listed_runs();
        let superseded = listed.members().fold(Set::EMPTY, |all, run| all | self.before.runs[run].superseded);
        for inputs in listed.subsets() {
            let mut merged = Set::EMPTY;
            for run in (inputs - superseded).members() {
                merged |= self.before.runs[run].packs;
            }
            let merged: Packs = merged - writer.blocked;
            let at = match () {
                () if inputs.is_empty() => WriterAt::Close,
                () if self.setup.has(Mistake::RunsDeletedFirst) => WriterAt::DeleteRuns,
                () => WriterAt::PutRun,
            };
            let chosen = Writer { at, inputs, merged, blocked: Set::EMPTY, ..writer };
            self.then("reads the index and chooses runs", *self.before, chosen);
        }
    }

    fn put_pack(&mut self) {
        let writer = self.writer();
        let mut state = *self.before;
        let mut pack = self.pack();
        if self.setup.has(Mistake::ContentNamedPacks) {
            // What a first pack holds has the first pack's name.
            pack = self.setup.first_packs.iter().position(|held| *held == writer.missing).unwrap_or(pack);
        }
        state.packs = state.packs.with(pack);
        state.contents[pack] = writer.missing;
        let merged = Set::of(pack);
        let stored = Writer { at: WriterAt::PutRun, missing: Set::EMPTY, merged, ..writer };
        self.then("puts a pack", state, self.behind(stored, Mistake::NoBarrierBeforeRun));
    }

    fn put_run(&mut self) {
        let writer = self.writer();
        let merges = self.task() == Task::Compact;
        let named = Writer { merged: Set::EMPTY, ..writer };
        let after = match self.task() {
            Task::Backup(_) => self.committing(named),
            Task::Repack => Writer { at: WriterAt::Close, ..named },
            Task::Compact if self.setup.has(Mistake::RunsDeletedFirst) => {
                Writer { at: WriterAt::Close, ..named }
            }
            Task::Compact if self.setup.has(Mistake::RunsNotRead) => {
                Writer { at: WriterAt::DeleteRuns, ..named }
            }
            Task::Compact => {
                self.behind(Writer { at: WriterAt::Reread, ..writer }, Mistake::NoBarrierBeforeRunsGo)
            }
        };
        if merges && self.setup.loses_runs {
            self.then("puts an index run, which is acknowledged and lost", *self.before, after);
        }
        let mut state = *self.before;
        state.runs[self.pack()] = Run { is_listed: true, packs: writer.merged, superseded: writer.inputs };
        self.then("puts an index run", state, after);
    }

    /// Deletes what it superseded only if the index still says all of it without these.
    fn reread(&mut self) {
        let writer = self.writer();
        let rest = self.before.listed_runs() - writer.inputs;
        let says_all = writer.merged.is_within(self.before.indexed_by(rest));
        let inputs = writer.inputs.if_true(says_all);
        let at = if says_all { WriterAt::DeleteRuns } else { WriterAt::Close };
        self.then("reads the index again", *self.before, Writer { at, inputs, merged: Set::EMPTY, ..writer });
    }

    fn delete_run(&mut self) {
        let writer = self.writer();
        let Some(run) = writer.inputs.first() else {
            let first = self.setup.has(Mistake::RunsDeletedFirst) && !self.before.runs[self.pack()].is_listed;
            let at = if first { WriterAt::PutRun } else { WriterAt::Close };
            return self.then("has deleted what it superseded", *self.before, Writer { at, ..writer });
        };
        let mut state = *self.before;
        state.runs[run].is_listed = false;
        self.then("deletes a superseded run", state, Writer { inputs: writer.inputs.without(run), ..writer });
    }

    fn delete_pack(&mut self) {
        let mut state = *self.before;
        state.packs = state.packs.without(REPACKED);
        self.then("deletes the old pack", state, Writer { at: WriterAt::Ended, ..Writer::default() });
    }

    fn commit(&mut self) {
        let mut state = *self.before;
        let key = &mut state.keys[self.session()];
        let replaces = !self.setup.is_atomic || self.setup.has(Mistake::CommitOverwrites);
        if *key == Key::Absent || replaces {
            *key = Key::Snapshot;
            let committed = Writer { at: WriterAt::Committed, ..Writer::default() };
            return self.then("commits", state, self.behind(committed, Mistake::NoBarrierAfterCommit));
        }
        let ended = Writer { at: WriterAt::Ended, ..Writer::default() };
        self.then("finds that it was ended and commits nothing", state, ended);
    }

    /// Puts an end under its own commit key.
    fn end(&mut self, end: Key, what: &'static str, at: WriterAt) {
        let mut state = *self.before;
        let key = &mut state.keys[self.session()];
        if *key == Key::Absent || !self.setup.is_atomic {
            *key = end;
        }
        let deletes = self.setup.has(Mistake::RepackDeletes) && self.task() == Task::Repack;
        let copied = state.runs[self.pack()].is_listed;
        let at = if deletes && copied { WriterAt::DeletePack } else { at };
        self.then(what, state, Writer { at, ..Writer::default() });
    }

    /// A failure at any step; at the last one the snapshot may have been sent and still be on its way.
    fn give_up(&mut self) {
        match self.writer().at {
            WriterAt::ReadCollections | WriterAt::ReadIndex | WriterAt::PutPack | WriterAt::PutRun => {
                self.end(Key::Failed, "gives up and says so", WriterAt::Ended);
            }
            WriterAt::Commit => {
                self.end(Key::Failed, "sends its snapshot, gives up and says so", WriterAt::FailedLate);
            }
            _ => {}
        }
    }
}
