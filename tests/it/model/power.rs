//! The power goes: what no barrier made durable may be gone, each object for itself.
//!
//! What must hold: nothing that is left depends on something that may go; and who goes on, on another machine, comes
//! to no barrier any more, since a barrier that cannot vouch for all fails (`src/storage.rs`).

use super::judge::Flaw;
use super::next::{Actor, Next};
use super::sets::{BOTH, ONE, Set};
use super::setup::{Mistake, Power, SMALL, Setup, Task};
use super::state::{Collection, Key, Pruner, PrunerAt, Run, Stage, State, Writer, WriterAt};
use super::table::{Expected, check};
use crate::support::need::is_full;

/// Objects that were put and that no barrier covered yet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Unsure {
    pub packs: Set,
    pub runs: Set,
    pub starts: Set,
    pub keys: Set,
    pub forgotten: Set,
    pub condemned: Set,
    pub verdicts: Set,
}

impl Unsure {
    /// One bit for each object.
    fn bits(self) -> u64 {
        let Self { packs, runs, starts, keys, forgotten, condemned, verdicts } = self;
        u64::from_le_bytes([packs.0, runs.0, starts.0, keys.0, forgotten.0, condemned.0, verdicts.0, 0])
    }

    fn of_bits(bits: u64) -> Self {
        let [packs, runs, starts, keys, forgotten, condemned, verdicts, _] = bits.to_le_bytes().map(Set);
        Self { packs, runs, starts, keys, forgotten, condemned, verdicts }
    }

    /// All objects that are there.
    fn all(state: &State) -> Self {
        let numbers = |is_there: &dyn Fn(usize) -> bool, count: usize| {
            (0..count).filter(|number| is_there(*number)).fold(Set::EMPTY, Set::with)
        };
        let stages = &state.collections;
        Self {
            packs: state.packs,
            runs: state.listed_runs(),
            starts: state.started,
            keys: numbers(&|session| state.keys[session] != Key::Absent, state.keys.len()),
            forgotten: state.forgotten,
            condemned: numbers(&|number| stages[number].stage != Stage::Absent, stages.len()),
            verdicts: numbers(&|number| stages[number].stage == Stage::Decided, stages.len()),
        }
    }
}

/// What a step put is unsure; what it deleted is not there to be unsure.
pub fn note_puts(before: &State, after: &mut State) {
    let was_there = Unsure::all(before).bits();
    let is_there = Unsure::all(after).bits();
    after.unsure = Unsure::of_bits((after.unsure.bits() | is_there & !was_there) & is_there);
}

/// The power goes once, at any time, and takes any of what is unsure.
pub fn fail(setup: &Setup, before: &State, next: &mut Next) {
    if setup.power == Power::Stays || before.had_no_power {
        return;
    }
    let unsure = before.unsure.bits();
    let mut taken = unsure;
    loop {
        let mut state = *before;
        take(&mut state, Unsure::of_bits(taken));
        (state.unsure, state.had_no_power) = (Unsure::default(), true);
        stop_processes(setup, &mut state);
        next.push(Actor::Fate, "the power goes", state);
        if taken == 0 {
            return;
        }
        // The next smaller subset.
        taken = (taken - 1) & unsure;
    }
}

fn take(state: &mut State, taken: Unsure) {
    state.packs = state.packs - taken.packs;
    state.started = state.started - taken.starts;
    state.forgotten = state.forgotten - taken.forgotten;
    taken.runs.members().for_each(|run| state.runs[run] = Run::default());
    taken.keys.members().for_each(|session| state.keys[session] = Key::Absent);
    for (number, collection) in state.collections.iter_mut().enumerate() {
        let has_verdict = collection.stage == Stage::Decided && !taken.verdicts.has(number);
        let has_condemned = collection.stage != Stage::Absent && !taken.condemned.has(number);
        *collection = match (has_condemned, has_verdict) {
            (_, true) if has_condemned => *collection,
            (_, true) => Collection { condemned: Set::EMPTY, kept: Set::EMPTY, ..*collection },
            (true, false) => Collection { stage: Stage::Condemned, verdict: Set::EMPTY, ..*collection },
            (false, false) => Collection::default(),
        };
    }
}

/// On one machine every process that runs is gone, and pruners may be started again; processes of other machines come
/// no further than to their next barrier.
fn stop_processes(setup: &Setup, state: &mut State) {
    for (number, writer) in state.writers.iter_mut().enumerate() {
        let runs =
            !matches!(writer.at, WriterAt::Begin | WriterAt::Committed | WriterAt::Ended | WriterAt::Dead);
        match setup.power {
            _ if !runs => {}
            Power::FailsForStorage => state.cut_off = state.cut_off.with(number),
            _ => *writer = Writer { at: WriterAt::Dead, ..Writer::default() },
        }
    }
    for (number, pruner) in state.pruners.iter_mut().enumerate() {
        match setup.power {
            _ if pruner.at == PrunerAt::Done || pruner.at == PrunerAt::Begin => {}
            Power::FailsForStorage => state.cut_off = state.cut_off.with(FIRST_PRUNER + number),
            _ => *pruner = Pruner::default(),
        }
    }
}

/// Among processes, writers come first.
pub const FIRST_PRUNER: usize = super::state::WRITERS_MAX;

const ONE_MACHINE: Setup = Setup { name: "power, one machine", power: Power::FailsForAll, ..SMALL };

const STORAGE: Setup = Setup { name: "power of the storage", power: Power::FailsForStorage, ..SMALL };

const MERGED: Setup = Setup {
    name: "power, one machine, a merge, one collection",
    first_needs: ONE,
    writers: &[Task::Backup(BOTH), Task::Compact],
    collections: 1,
    ..ONE_MACHINE
};

#[test]
fn nothing_that_stays_depends_on_what_may_go() {
    check(&[(ONE_MACHINE, Expected::Holds), (STORAGE, Expected::Holds), (MERGED, Expected::Holds)]);
    if is_full() {
        let twice = Setup { name: "power, one machine, a merge", collections: 2, ..MERGED };
        check(&[(twice, Expected::Holds)]);
    }
}

#[test]
fn each_barrier_that_is_left_out_loses_something() {
    let loss = Expected::Has(Flaw::Loss);
    check(&[
        (ONE_MACHINE.but(Mistake::NoBarrierBeforeRun), loss),
        (ONE_MACHINE.but(Mistake::NoBarrierBeforeCommit), loss),
        (ONE_MACHINE.but(Mistake::NoBarrierAfterCommit), Expected::Has(Flaw::CommitLost)),
        // A tombstone may go on whose strength a pack was removed.
        (ONE_MACHINE.but(Mistake::NoBarrierBeforeVerdict), loss),
        (STORAGE.but(Mistake::NoBarrierBeforeVerdict), loss),
        (STORAGE.but(Mistake::NoBarrierBeforeDelete), Expected::Has(Flaw::StrayDeletion)),
        (MERGED.but(Mistake::NoBarrierBeforeRunsGo), loss),
    ]);
}

#[test]
fn on_one_machine_a_verdict_may_go_after_its_deletions() {
    // The condemned set is durable and forbids what the verdict would; nobody is left who would decide otherwise.
    check(&[(ONE_MACHINE.but(Mistake::NoBarrierBeforeDelete), Expected::Holds)]);
}
