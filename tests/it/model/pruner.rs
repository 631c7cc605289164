//! The steps of a pruner: condemn, wait for the sessions that had begun, look again, decide, delete.
//!
//! What must hold: one function is one call to the storage; between any two of them all others may do anything, and
//! any of them may be the last. Any number of pruners go through the same collections.

use super::next::{Actor, Next};
use super::sets::{Chunks, Packs, Sessions, Set};
use super::setup::{Mistake, Setup};
use super::state::{Key, Pruner, PrunerAt, Stage, State, maker_of, needed_by, needs_of};

/// One pruner in one state, about to take a step.
struct Turn<'a> {
    setup: &'a Setup,
    before: &'a State,
    number: usize,
    next: &'a mut Next,
}

/// All that a pruner may do next.
pub fn steps(setup: &Setup, before: &State, number: usize, next: &mut Next) {
    let mut turn = Turn { setup, before, number, next };
    match turn.pruner().at {
        PrunerAt::Begin => turn.choose_collection(),
        PrunerAt::ReadSnapshots => turn.read_snapshots("reads the snapshots", PrunerAt::Plan),
        PrunerAt::Plan => turn.plan(),
        PrunerAt::PutCondemned => turn.put_condemned(),
        PrunerAt::ListSessions => turn.list_sessions(),
        PrunerAt::Wait => turn.wait(),
        PrunerAt::RereadSnapshots if setup.has(Mistake::SnapshotsNotReadAgain) => turn.read_nothing(),
        PrunerAt::RereadSnapshots => turn.read_snapshots("reads the snapshots again", PrunerAt::Judge),
        PrunerAt::ReadIndexEarly => turn.read_index_early(),
        PrunerAt::RereadSnapshotsLate => turn.read_snapshots("reads the snapshots again", PrunerAt::Judge),
        PrunerAt::Judge => turn.judge(),
        PrunerAt::PutVerdict => turn.put_verdict(),
        PrunerAt::ReadSnapshotsAfter => {
            turn.read_snapshots("reads the snapshots again", PrunerAt::CompareAfter)
        }
        PrunerAt::CompareAfter => turn.compare_after(),
        PrunerAt::Delete => turn.delete(),
        PrunerAt::Done | PrunerAt::Alarm => {}
    }
}

/// What a pruner would condemn: packs without which all that is needed still has a place.
///
/// Of several packs that hold the same, which go depends on the order in which they are looked at.
pub fn unneeded(state: &State, needed: Chunks, indexed: Packs, allowed: Packs, order: &[usize]) -> Packs {
    let dead = state.dead();
    let mut unneeded = Set::EMPTY;
    for pack in order.iter().copied().filter(|pack| ((state.packs - dead) & allowed).has(*pack)) {
        let others = (state.packs & indexed).without(pack) - dead - unneeded;
        if (state.contents[pack] & needed).is_within(state.chunks_in(others)) {
            unneeded = unneeded.with(pack);
        }
    }
    unneeded
}

/// Orders in which packs may be looked at.
const ASCENDING: [usize; 5] = [0, 1, 2, 3, 4];
const DESCENDING: [usize; 5] = [4, 3, 2, 1, 0];

impl Turn<'_> {
    fn pruner(&self) -> Pruner {
        self.before.pruners[self.number]
    }

    fn collection(&self) -> usize {
        usize::from(self.pruner().collection)
    }

    /// A state that may follow.
    fn then(&mut self, what: &'static str, mut state: State, pruner: Pruner) {
        state.pruners[self.number] = pruner;
        self.next.push(Actor::Pruner(self.number), what, state);
    }

    /// From the beginning again, with nothing remembered.
    fn again(&mut self, what: &'static str) {
        self.then(what, *self.before, Pruner::default());
    }

    fn done(&mut self, what: &'static str) {
        self.then(what, *self.before, Pruner { at: PrunerAt::Done, ..Pruner::default() });
    }

    fn orders(&self) -> &'static [[usize; 5]] {
        if self.setup.any_copy_stays { &[ASCENDING, DESCENDING] } else { &[ASCENDING] }
    }

    /// The lowest collection without a verdict is everybody's; only if there is none, a new one is planned.
    fn choose_collection(&mut self) {
        let brought_back = self.before.packs & self.before.dead();
        if self.setup.late_puts && !brought_back.is_empty() {
            let pruner = Pruner { at: PrunerAt::Delete, packs: brought_back, ..Pruner::default() };
            return self.then("finds packs that verdicts name", *self.before, pruner);
        }
        let Some(number) = self.before.lowest_undecided(self.setup) else {
            return self.done("finds every collection decided");
        };
        let collection = self.before.collections[number];
        let mut pruner = Pruner { collection: number as u8, ..Pruner::default() };
        if collection.stage == Stage::Condemned {
            (pruner.at, pruner.packs) = (PrunerAt::ListSessions, collection.condemned);
            return self.then("finds an open collection", *self.before, pruner);
        }
        pruner.at = PrunerAt::ReadSnapshots;
        if self.setup.has(Mistake::SessionsBeforeCondemned) {
            pruner.waits_for = self.before.live();
        }
        self.then("finds no open collection", *self.before, pruner);
    }

    fn read_snapshots(&mut self, what: &'static str, at: PrunerAt) {
        let visible = self.before.visible();
        let needed = needed_by(self.setup, visible);
        let is_first = at == PrunerAt::Plan;
        let seen = visible.if_true(is_first && self.setup.takes_over());
        self.then(what, *self.before, Pruner { at, needed, seen, ..self.pruner() });
    }

    fn read_nothing(&mut self) {
        self.then(
            "does not read the snapshots again",
            *self.before,
            Pruner { at: PrunerAt::Judge, ..self.pruner() },
        );
    }

    /// Needed chunks without a place, as far as nothing lists them as lost.
    fn unexplained(&self, missing: Chunks) -> Chunks {
        match self.setup.mistake {
            Some(Mistake::MissingIgnored) => Set::EMPTY,
            Some(Mistake::LostStopsPruner) => missing,
            _ => missing - self.before.lost(),
        }
    }

    fn plan(&mut self) {
        let pruner = self.pruner();
        for indexed in self.before.index_views(self.setup) {
            let counted = (self.before.packs & indexed) - self.before.dead();
            let missing = self.unexplained(pruner.needed - self.before.chunks_in(counted));
            if !missing.is_empty() {
                if self.setup.repairs {
                    self.plan_repair(indexed, missing);
                } else {
                    self.again("finds a chunk without a place and ends");
                }
                continue;
            }
            let allowed = if self.setup.condemns_ended_only { self.of_ended() } else { Set(u8::MAX) };
            for order in self.orders() {
                let packs = unneeded(self.before, pruner.needed, indexed, allowed, order);
                if packs.is_empty() {
                    self.done("finds nothing to condemn");
                } else {
                    self.planned(packs, counted, Set::EMPTY);
                }
            }
        }
    }

    /// Packs whose sessions are over.
    fn of_ended(&self) -> Packs {
        let live = self.before.live();
        let ended = self.before.packs.members().filter(|pack| !live.has(maker_of(*pack)));
        ended.fold(Set::EMPTY, Set::with)
    }

    /// A repair condemns the packs that the index names and that are not there, and says which chunks went.
    fn plan_repair(&mut self, indexed: Packs, lost: Chunks) {
        let counted = (self.before.packs & indexed) - self.before.dead();
        self.planned(indexed - self.before.packs - self.before.dead(), counted, lost);
    }

    fn planned(&mut self, packs: Packs, counted: Packs, lost: Chunks) {
        let held = self.before.chunks_in(counted - packs);
        let is_kept = |session: &usize| needs_of(self.setup, *session).is_within(held);
        let kept: Sessions = self.pruner().seen.members().filter(is_kept).fold(Set::EMPTY, Set::with);
        let pruner = Pruner { at: PrunerAt::PutCondemned, packs, seen: kept, lost, ..self.pruner() };
        self.then("reads the index and plans", *self.before, pruner);
    }

    fn put_condemned(&mut self) {
        let pruner = self.pruner();
        let number = self.collection();
        if self.before.collections[number].stage != Stage::Absent && self.setup.is_atomic {
            return self.again("finds the collection condemned by another");
        }
        let mut state = *self.before;
        let collection = &mut state.collections[number];
        if collection.stage == Stage::Absent {
            collection.stage = Stage::Condemned;
        }
        (collection.condemned, collection.kept, collection.lost) = (pruner.packs, pruner.seen, pruner.lost);
        let early = self.setup.has(Mistake::SessionsBeforeCondemned);
        let at = if early { PrunerAt::Wait } else { PrunerAt::ListSessions };
        self.then("condemns", state, Pruner { at, seen: Set::EMPTY, lost: Set::EMPTY, ..pruner });
    }

    fn list_sessions(&mut self) {
        let waits_for = self.before.live();
        self.then(
            "lists the sessions",
            *self.before,
            Pruner { at: PrunerAt::Wait, waits_for, ..self.pruner() },
        );
    }

    /// Goes on when all have ended that had not when they were listed; may end them at any time, since no clock is
    /// trusted.
    fn wait(&mut self) {
        let pruner = self.pruner();
        let live = pruner.waits_for & self.before.live();
        if live.is_empty() {
            let early = self.setup.has(Mistake::IndexBeforeSnapshots);
            let at = if early { PrunerAt::ReadIndexEarly } else { PrunerAt::RereadSnapshots };
            self.then("finds all of them ended", *self.before, Pruner { at, ..pruner });
        }
        self.end_others(live);
    }

    /// Without atomic creation an end replaces even what was put after the look that found none.
    fn end_others(&mut self, live: Sessions) {
        let pruner = self.pruner();
        let ended = if self.setup.is_atomic { live } else { pruner.waits_for };
        for session in ended.if_true(self.setup.fences).members() {
            let mut state = *self.before;
            state.keys[session] = Key::Fenced;
            self.then("ends a session of another", state, pruner);
        }
    }

    fn read_index_early(&mut self) {
        let pruner =
            Pruner { at: PrunerAt::RereadSnapshotsLate, waits_for: self.before.indexed(), ..self.pruner() };
        self.then("reads the index", *self.before, pruner);
    }

    /// Of the condemned packs leaves out one place of each chunk that would have none.
    fn judge(&mut self) {
        if self.setup.has(Mistake::IndexBeforeSnapshots) {
            return self.judge_by(self.pruner().waits_for);
        }
        for indexed in self.before.index_views(self.setup) {
            self.judge_by(indexed);
        }
    }

    fn judge_by(&mut self, indexed: Packs) {
        let pruner = self.pruner();
        let counted = (self.before.packs & indexed) - self.before.dead();
        let missing = pruner.needed - self.before.chunks_in(counted);
        if !self.unexplained(missing).is_empty() {
            return self.again("finds a chunk without a place and ends");
        }
        for order in self.orders() {
            let mut verdict = pruner.packs;
            for chunk in (pruner.needed - missing).members() {
                let places = self.before.packs_with(chunk, counted);
                if places.is_within(verdict) {
                    let stays = order.iter().find(|pack| places.has(**pack));
                    verdict = stays.map_or(verdict, |pack| verdict.without(*pack));
                }
            }
            let compares = self.setup.compares_verdict;
            let judged = Pruner {
                at: PrunerAt::PutVerdict,
                packs: verdict,
                waits_for: Set::EMPTY,
                needed: (pruner.needed - missing).if_true(compares),
                counted: counted.if_true(compares),
                ..pruner
            };
            self.then("reads the index and decides", *self.before, judged);
        }
    }

    /// What counts is the verdict that is stored, whoever stored it.
    fn put_verdict(&mut self) {
        let number = self.collection();
        let stored = self.before.collections[number];
        let mut pruner =
            Pruner { at: PrunerAt::Delete, needed: Set::EMPTY, counted: Set::EMPTY, ..self.pruner() };
        if stored.stage == Stage::Decided && self.setup.is_atomic {
            if !self.setup.has(Mistake::OwnVerdict) {
                pruner.packs = stored.verdict;
            }
            if self.contradicts(stored.verdict) {
                let once = self.setup.has(Mistake::ComparesWithOlderLook);
                pruner.at = if once { PrunerAt::Alarm } else { PrunerAt::ReadSnapshotsAfter };
            }
            return self.then("finds the verdict of another", *self.before, pruner);
        }
        let mut state = *self.before;
        let collection = &mut state.collections[number];
        (collection.stage, collection.verdict) = (Stage::Decided, pruner.packs);
        self.then("puts its verdict", state, pruner);
    }

    /// Whether a verdict names all places of a chunk that this pruner found needed.
    fn contradicts(&self, verdict: Packs) -> bool {
        let Pruner { needed, counted, .. } = self.pruner();
        self.setup.compares_verdict && !needed.is_within(self.before.chunks_in(counted - verdict))
    }

    /// A snapshot that was forgotten in between may have needed what a later look of another found unneeded. One that
    /// is visible after the verdict needs nothing that it names.
    fn compare_after(&mut self) {
        let pruner = self.pruner();
        let counted = (self.before.packs & self.before.indexed()) - self.before.dead();
        let fits = pruner.needed.is_within(self.before.chunks_in(counted));
        let at = if fits { PrunerAt::Delete } else { PrunerAt::Alarm };
        self.then(
            "reads the index again and compares",
            *self.before,
            Pruner { at, needed: Set::EMPTY, ..pruner },
        );
    }

    fn delete(&mut self) {
        let pruner = self.pruner();
        let Some(pack) = pruner.packs.first() else {
            if self.setup.has(Mistake::VerdictDeleted) {
                return self.delete_verdict();
            }
            return self.again("has deleted all");
        };
        let mut state = *self.before;
        state.packs = state.packs.without(pack);
        self.then("deletes a pack", state, Pruner { packs: pruner.packs.without(pack), ..pruner });
    }

    /// The index forgets what the verdict named, and with the verdict goes what it forbids.
    fn delete_verdict(&mut self) {
        let mut state = *self.before;
        let collection = &mut state.collections[self.collection()];
        collection.is_gone = true;
        let verdict = collection.verdict;
        for run in state.runs.iter_mut().filter(|run| run.is_listed) {
            run.packs = run.packs - verdict;
        }
        self.then("deletes its verdict", state, Pruner::default());
    }
}
