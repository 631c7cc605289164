//! What happens beside writers and pruners: what people do, what is tidied up, and what befalls the storage.
//!
//! What must hold: each happens only in setups that ask for it, and then at any time at all.

use super::next::{Actor, Next};
use super::power;
use super::setup::{Mistake, PersonEnds, Setup, Task};
use super::state::{Key, PACKS_MAX, Stage, State, Writer, WriterAt};

/// The pack that may vanish.
const FRAGILE: usize = 1;

/// All that others may do next.
pub fn steps(setup: &Setup, before: &State, next: &mut Next) {
    forget(setup, before, next);
    if setup.person_ends != PersonEnds::Nothing {
        end_by_hand(setup, before, next);
    }
    if setup.cleans {
        clean(setup, before, next);
    }
    if setup.late_puts {
        land_late(setup, before, next);
    }
    power::fail(setup, before, next);
    if setup.damage && !before.is_damaged && (before.packs - before.dead()).has(FRAGILE) {
        let mut state = *before;
        (state.packs, state.is_damaged) = (state.packs.without(FRAGILE), true);
        next.push(Actor::Fate, "a pack vanishes", state);
    }
    if setup.has(Mistake::FenceDeleted) && before.collections.iter().any(|c| c.stage == Stage::Decided) {
        for session in sessions(setup).filter(|session| before.keys[*session] == Key::Fenced) {
            let mut state = *before;
            state.keys[session] = Key::Absent;
            next.push(Actor::Cleaner, "deletes the end that a pruner wrote", state);
        }
    }
}

/// Sessions of writers.
fn sessions(setup: &Setup) -> std::ops::RangeInclusive<usize> {
    1..=setup.writers.len()
}

fn forget(setup: &Setup, before: &State, next: &mut Next) {
    for session in (setup.forgettable & before.visible()).members() {
        let mut state = *before;
        state.forgotten = state.forgotten.with(session);
        next.push(Actor::Person, "forgets a snapshot", state);
    }
}

fn end_by_hand(setup: &Setup, before: &State, next: &mut Next) {
    for session in sessions(setup).filter(|session| before.started.has(*session)) {
        if before.keys[session] == Key::Absent {
            let mut state = *before;
            state.keys[session] = Key::Fenced;
            if setup.person_ends == PersonEnds::TheDead {
                state.writers[session - 1] = Writer { at: WriterAt::Dead, ..Writer::default() };
            }
            next.push(Actor::Person, "ends a session", state);
        }
    }
}

/// Records of sessions that are over go first, then snapshots that are forgotten, and the ends of sessions that had
/// nothing to commit. Ends that others wrote, and those of sessions that gave up, stay for ever.
fn clean(setup: &Setup, before: &State, next: &mut Next) {
    for session in 0..=setup.writers.len() {
        let key = before.keys[session];
        let is_forgotten = before.forgotten.has(session);
        let is_over = key != Key::Absent || is_forgotten;
        let mut state = *before;
        if before.started.has(session) {
            state.started = state.started.without(session);
            if is_over || setup.has(Mistake::StartOfLiveDeleted) {
                next.push(Actor::Cleaner, "deletes the start of a session", state);
            }
            continue;
        }
        let goes = match key {
            Key::Absent | Key::Fenced => false,
            Key::Snapshot => is_forgotten,
            Key::Closed => true,
            Key::Failed => setup.has(Mistake::FailedEndDeleted),
        };
        if goes {
            state.keys[session] = Key::Absent;
            if setup.has(Mistake::TombstoneDeleted) {
                state.forgotten = state.forgotten.without(session);
            }
            next.push(Actor::Cleaner, "deletes a commit key", state);
        }
    }
}

/// Whatever was sent once may arrive again, under a name that has become free.
fn land_late(setup: &Setup, before: &State, next: &mut Next) {
    for pack in 0..PACKS_MAX {
        if !before.contents[pack].is_empty() && !before.packs.has(pack) {
            let mut state = *before;
            state.packs = state.packs.with(pack);
            next.push(Actor::Fate, "a late request brings a pack back", state);
        }
        if !before.runs[pack].packs.is_empty() && !before.runs[pack].is_listed {
            let mut state = *before;
            state.runs[pack].is_listed = true;
            next.push(Actor::Fate, "a late request brings an index run back", state);
        }
    }
    for session in 0..=setup.writers.len() {
        let begun = session > 0 && before.writers[session - 1].at != WriterAt::Begin;
        if begun && !before.started.has(session) {
            let mut state = *before;
            state.started = state.started.with(session);
            next.push(Actor::Fate, "a late request brings a start back", state);
        }
        if before.keys[session] != Key::Absent {
            continue;
        }
        for key in sent_keys(setup, before, session) {
            let mut state = *before;
            state.keys[session] = key;
            next.push(Actor::Fate, "a late request brings a commit key", state);
        }
    }
}

/// What was sent for a commit key that is not there now.
fn sent_keys(setup: &Setup, before: &State, session: usize) -> Vec<Key> {
    let mut sent = Vec::new();
    if session == 0 {
        // It was there from the first; only a forgotten snapshot's key ever goes.
        sent.push(Key::Snapshot);
    } else {
        match before.writers[session - 1].at {
            WriterAt::Committed | WriterAt::FailedLate => sent.push(Key::Snapshot),
            WriterAt::Ended if matches!(setup.writers[session - 1], Task::Repack | Task::Compact) => {
                sent.push(Key::Closed);
            }
            _ => {}
        }
    }
    let is_over =
        session == 0 || before.forgotten.has(session) || before.writers[session - 1].at == WriterAt::Ended;
    if setup.fences && session > 0 && is_over {
        sent.push(Key::Fenced);
    }
    sent
}
