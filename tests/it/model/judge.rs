//! What must hold in every state, and of every step.
//!
//! What must hold: a process may stop for ever anywhere, so what holds in every state holds after every crash.

use super::sets::Packs;
use super::setup::Setup;
use super::state::{
    FIRST_SESSION, Key, PrunerAt, SESSIONS_MAX, Stage, State, WriterAt, needs_of, session_of,
};

/// What must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A visible snapshot needs a chunk that has no place in a pack that is there, indexed, and named by no verdict.
    Loss,
    /// A writer was told that it committed, nobody forgot its snapshot, and it is not visible.
    CommitLost,
    /// A pack was deleted that no stored verdict names.
    StrayDeletion,
    /// What an object says was replaced.
    Replaced,
    /// A verdict names a pack that its collection did not condemn.
    Uncondemned,
    /// A pruner called damage what is none.
    FalseAlarm,
    /// A pruner that ran alone left packs that nothing needs.
    Leftover,
    /// A pruner that ran alone did not come to an end.
    Stuck,
}

/// All of them.
pub const FLAWS: [Flaw; 8] = [
    Flaw::Loss,
    Flaw::CommitLost,
    Flaw::StrayDeletion,
    Flaw::Replaced,
    Flaw::Uncondemned,
    Flaw::FalseAlarm,
    Flaw::Leftover,
    Flaw::Stuck,
];

impl Flaw {
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Loss => "a visible snapshot needs a chunk that has no place",
            Self::CommitLost => "a snapshot whose writer succeeded is not visible",
            Self::StrayDeletion => "a pack is gone that no stored verdict names",
            Self::Replaced => "an object was replaced",
            Self::Uncondemned => "a verdict names a pack that was not condemned",
            Self::FalseAlarm => "a pruner calls damage what is none",
            Self::Leftover => "a pruner that runs alone leaves packs that nothing needs",
            Self::Stuck => "a pruner that runs alone never ends",
        }
    }
}

/// What is wrong with a state.
pub fn judge(setup: &Setup, state: &State) -> Option<Flaw> {
    if !is_whole(setup, state) {
        return Some(Flaw::Loss);
    }
    if (0..setup.writers.len()).any(|writer| is_commit_lost(state, writer)) {
        return Some(Flaw::CommitLost);
    }
    if state.collections.iter().any(|collection| !collection.verdict.is_within(collection.condemned)) {
        return Some(Flaw::Uncondemned);
    }
    state.pruners.iter().any(|pruner| pruner.at == PrunerAt::Alarm).then_some(Flaw::FalseAlarm)
}

/// Whether every chunk that a visible snapshot needs has a place that counts.
fn is_whole(setup: &Setup, state: &State) -> bool {
    let held = state.chunks_in((state.packs & state.indexed()) - state.dead());
    state.visible().members().all(|session| {
        let mut missing = needs_of(setup, session) - held;
        if state.is_damaged && !state.knew_of_loss.has(session) {
            // Damage takes what it takes; but no session may build upon it that began after a repair told of it.
            missing = missing - setup.first_packs[1];
        }
        missing.is_empty()
    })
}

fn is_commit_lost(state: &State, writer: usize) -> bool {
    let session = session_of(writer);
    state.writers[writer].at == WriterAt::Committed
        && !state.is_visible(session)
        && !state.forgotten.has(session)
}

/// What is wrong with a step.
pub fn judge_step(before: &State, after: &State) -> Option<Flaw> {
    let deleted: Packs = before.packs - after.packs;
    let by_fate = (after.is_damaged, after.had_no_power) != (before.is_damaged, before.had_no_power);
    if !by_fate && !deleted.is_within(before.dead()) {
        return Some(Flaw::StrayDeletion);
    }
    let replaced = (FIRST_SESSION..SESSIONS_MAX).any(|session| {
        let (old, new) = (before.keys[session], after.keys[session]);
        old != Key::Absent && new != Key::Absent && old != new
    });
    let decided = before.collections.iter().zip(&after.collections).any(|(old, new)| {
        let condemned = old.stage != Stage::Absent && old.condemned != new.condemned;
        condemned || old.stage == Stage::Decided && old.verdict != new.verdict
    });
    (!by_fate && (replaced || decided)).then_some(Flaw::Replaced)
}
