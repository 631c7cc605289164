//! The steps of a pruner: condemn, wait for the sessions that had begun, look again, decide, delete.
//!
//! What must hold: one step is one look at the storage or one change of it; between any two of them all others may
//! do anything, and any of them may be the last. Any number of pruners go through the same collections.

use super::next::{Actor, Next};
use super::power::{FIRST_PRUNER, Unsure};
use super::sets::{Chunks, Packs, Sessions, Set};
use super::setup::{Mistake, Power, Setup};
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
        PrunerAt::ReadSnapshots => turn.plan_begins(),
        PrunerAt::Plan => turn.plan(),
        PrunerAt::PutCondemned => turn.put_condemned(),
        PrunerAt::ListSessions => turn.list_sessions(),
        PrunerAt::Wait => turn.wait(),
        PrunerAt::RereadSnapshots if setup.has(Mistake::SnapshotsNotReadAgain) => turn.read_nothing(),
        PrunerAt::RereadSnapshots => turn.read_snapshots("reads the snapshots again", PrunerAt::Judge),
        PrunerAt::ReadIndexEarly => turn.read_index_early(),
        PrunerAt::RereadSnapshotsLate => turn.read_snapshots("reads the snapshots again", PrunerAt::Judge),
        PrunerAt::Judge => turn.judge(),
        PrunerAt::BarrierBeforeVerdict => turn.barrier(PrunerAt::PutVerdict),
        PrunerAt::PutVerdict => turn.put_verdict(),
        PrunerAt::BarrierBeforeDelete => turn.barrier(PrunerAt::Delete),
        PrunerAt::ReadSnapshotsAfter => turn.read_snapshots_after(),
        PrunerAt::CompareAfter => turn.compare_after(),
        PrunerAt::Confirm => turn.confirm(PrunerAt::Delete),
        PrunerAt::ConfirmMissing => turn.confirm(PrunerAt::Begin),
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

fn number_of(collection: usize) -> u8 {
    u8::try_from(collection).expect("few collections")
}

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
        if self.setup.deletes_again && !brought_back.is_empty() {
            let pruner = Pruner { at: PrunerAt::Delete, packs: brought_back, ..Pruner::default() };
            return self.then("finds packs that verdicts name", *self.before, pruner);
        }
        let Some(number) = self.before.lowest_undecided(self.setup) else {
            return self.done("finds every collection decided");
        };
        let collection = self.before.collections[number];
        let mut pruner = Pruner { collection: number_of(number), ..Pruner::default() };
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

    /// Before it plans, a pruner ends the sessions that are gone, since it condemns only packs of those that ended.
    fn plan_begins(&mut self) {
        if self.setup.condemns_ended_only && !self.setup.has(Mistake::EndsOnlyWhenWaiting) {
            self.end_others(self.before.live());
        }
        self.read_snapshots("reads the snapshots", PrunerAt::Plan);
    }

    fn read_snapshots(&mut self, what: &'static str, at: PrunerAt) {
        let visible = self.before.visible();
        let needed = needed_by(self.setup, visible);
        let is_first = at == PrunerAt::Plan;
        let seen = visible.if_true(is_first && self.setup.takes_over() || self.setup.names_damage);
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

    /// Ends with nothing deleted; the collection stays open.
    fn misses(&mut self, counted: Packs) {
        let what = "finds a chunk without a place and ends";
        if !self.setup.names_damage {
            return self.again(what);
        }
        let confirms = !self.setup.has(Mistake::AlarmNotConfirmed);
        let at = if confirms { PrunerAt::ConfirmMissing } else { PrunerAt::Alarm };
        self.then(what, *self.before, Pruner { at, counted, ..self.pruner() });
    }

    /// Where it goes on: at once, or behind a barrier if the power may go.
    fn behind(&self, barrier: PrunerAt, at: PrunerAt, left_out_by: Mistake) -> PrunerAt {
        if self.setup.power == Power::Stays || self.setup.has(left_out_by) { at } else { barrier }
    }

    fn barrier(&mut self, at: PrunerAt) {
        if self.before.cut_off.has(FIRST_PRUNER + self.number) {
            return self.done("cannot make all durable and ends");
        }
        let state = State { unsure: Unsure::default(), ..*self.before };
        self.then("makes all durable", state, Pruner { at, ..self.pruner() });
    }

    /// A repair looks everywhere before it gives anything up; a look that missed something is made again.
    fn sees_all(&self, indexed: Packs) -> bool {
        indexed == self.before.indexed() || self.setup.has(Mistake::RepairLooksOnce)
    }

    /// Packs of which it is known what they hold. While chunks are lost, a pack that the index does not name may be the
    /// one in which they have a place again.
    fn known(&self, indexed: Packs, missing: Chunks) -> Packs {
        let ignores = [Mistake::LostFreesUnknownPacks, Mistake::MissingIgnored];
        let all = missing.is_empty() || ignores.iter().any(|mistake| self.setup.has(*mistake));
        if all { Set(u8::MAX) } else { Set(u8::MAX) - (self.before.packs - indexed) }
    }

    fn plan(&mut self) {
        let pruner = self.pruner();
        for indexed in self.before.index_views(self.setup) {
            let counted = (self.before.packs & indexed) - self.before.dead();
            let missing = self.unexplained(pruner.needed - self.before.chunks_in(counted));
            if !missing.is_empty() {
                if self.setup.repairs && self.sees_all(indexed) {
                    self.plan_repair(indexed, missing);
                } else {
                    self.misses(counted);
                }
                continue;
            }
            let ended = if self.setup.condemns_ended_only { self.of_ended() } else { Set(u8::MAX) };
            let allowed = ended & self.known(indexed, pruner.needed - self.before.chunks_in(counted));
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
        let mut pruner = self.pruner();
        if self.setup.has(Mistake::NumberedLate) {
            let lowest = self.before.lowest_undecided(self.setup);
            pruner.collection = lowest.map_or(pruner.collection, number_of);
        }
        let number = usize::from(pruner.collection);
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
            return self.cannot_judge(indexed);
        }
        for order in self.orders() {
            let mut verdict = pruner.packs & self.known(indexed, missing);
            for chunk in (pruner.needed - missing).members() {
                let places = self.before.packs_with(chunk, counted);
                if places.is_within(verdict) {
                    let stays = order.iter().find(|pack| places.has(**pack));
                    verdict = stays.map_or(verdict, |pack| verdict.without(*pack));
                }
            }
            let compares = self.setup.names_damage;
            let judged = Pruner {
                at: self.behind(
                    PrunerAt::BarrierBeforeVerdict,
                    PrunerAt::PutVerdict,
                    Mistake::NoBarrierBeforeVerdict,
                ),
                packs: verdict,
                waits_for: Set::EMPTY,
                seen: Set::EMPTY,
                needed: (pruner.needed - missing).if_true(compares),
                counted: counted.if_true(compares),
                ..pruner
            };
            self.then("reads the index and decides", *self.before, judged);
        }
    }

    /// A pruner leaves the collection open. A repair, which looks everywhere, decides it with nothing, which harms
    /// nobody at any time; else it could never list what is lost, since only one collection is open.
    fn cannot_judge(&mut self, indexed: Packs) {
        let may = self.setup.repairs && self.sees_all(indexed);
        if !may || self.setup.has(Mistake::RepairLeavesOpen) {
            return self.misses((self.before.packs & indexed) - self.before.dead());
        }
        let pruner = Pruner {
            at: PrunerAt::PutVerdict,
            seen: Set::EMPTY,
            packs: Set::EMPTY,
            waits_for: Set::EMPTY,
            needed: Set::EMPTY,
            ..self.pruner()
        };
        self.then("finds a chunk without a place and decides for nothing", *self.before, pruner);
    }

    /// What counts is the verdict that is stored, whoever stored it.
    fn put_verdict(&mut self) {
        let number = self.collection();
        let stored = self.before.collections[number];
        let at = self.behind(PrunerAt::BarrierBeforeDelete, PrunerAt::Delete, Mistake::NoBarrierBeforeDelete);
        let mut pruner = Pruner { at, needed: Set::EMPTY, counted: Set::EMPTY, ..self.pruner() };
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
        self.setup.names_damage && !needed.is_within(self.before.chunks_in(counted - verdict))
    }

    fn read_snapshots_after(&mut self) {
        let seen = self.before.visible();
        let pruner = Pruner { at: PrunerAt::CompareAfter, seen, ..self.pruner() };
        self.then("reads the snapshots again", *self.before, pruner);
    }

    fn compare_after(&mut self) {
        let pruner = self.pruner();
        let counted = (self.before.packs & self.before.indexed()) - self.before.dead();
        let fits = needed_by(self.setup, pruner.seen).is_within(self.before.chunks_in(counted));
        let at = match () {
            () if fits => PrunerAt::Delete,
            () if self.setup.has(Mistake::AlarmNotConfirmed) => PrunerAt::Alarm,
            () => PrunerAt::Confirm,
        };
        let (seen, counted) = (pruner.seen.if_true(!fits), counted.if_true(!fits));
        self.then("reads the index again", *self.before, Pruner { at, seen, counted, ..pruner });
    }

    /// Only a snapshot that was visible before and after the look at the index was so when it was looked at, and then
    /// no verdict names what it needs. One that was forgotten in between may have lost its chunks rightly.
    fn confirm(&mut self, then: PrunerAt) {
        let pruner = self.pruner();
        let needed = needed_by(self.setup, pruner.seen & self.before.visible());
        let fits = needed.is_within(self.before.chunks_in(pruner.counted));
        let what = "reads the tombstones again";
        match then {
            _ if !fits => self.then(what, *self.before, Pruner { at: PrunerAt::Alarm, ..pruner }),
            PrunerAt::Begin => self.again(what),
            at => {
                let confirmed = Pruner { at, seen: Set::EMPTY, counted: Set::EMPTY, ..pruner };
                self.then(what, *self.before, confirmed);
            }
        }
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
