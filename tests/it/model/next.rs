//! The states that may follow a state, and who brings them about.

use std::fmt;

use super::sets::Packs;
use super::setup::Setup;
use super::state::State;

/// Who takes a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    Writer(usize),
    Pruner(usize),
    /// Somebody who forgets snapshots or ends sessions.
    Person,
    /// Whoever deletes records that are no longer needed.
    Cleaner,
    /// Nobody's will: requests that land late, damage, power.
    Fate,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(number) => write!(formatter, "writer {number}"),
            Self::Pruner(number) => write!(formatter, "pruner {number}"),
            Self::Person => write!(formatter, "a person"),
            Self::Cleaner => write!(formatter, "a cleaner"),
            Self::Fate => write!(formatter, "fate"),
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub actor: Actor,
    pub what: &'static str,
    pub state: State,
}

/// The states that may follow.
#[derive(Debug, Default)]
pub struct Next(pub Vec<Step>);

impl Next {
    #[inline]
    pub fn push(&mut self, actor: Actor, what: &'static str, state: State) {
        self.0.push(Step { actor, what, state });
    }
}

/// The packs that a look at the index may find.
#[derive(Clone, Copy, Debug, Default)]
pub struct Views {
    /// Bit n: the set of the bits of n may be found.
    found: [u64; 4],
}

impl Views {
    #[inline]
    fn add(&mut self, packs: Packs) {
        self.found[usize::from(packs.0 >> 6)] |= 1 << (packs.0 & 63);
    }
}

impl Iterator for Views {
    type Item = Packs;

    #[inline]
    fn next(&mut self) -> Option<Packs> {
        let part = self.found.iter().position(|part| *part != 0)?;
        let bit = self.found[part].trailing_zeros();
        self.found[part] &= self.found[part] - 1;
        u8::try_from(part * 64 + bit as usize).ok().map(super::sets::Set)
    }
}

impl State {
    /// What a look at the index may find: all that is listed; some of it, if listings may be incomplete; and what
    /// was known earlier, if that counts.
    pub fn index_views(&self, setup: &Setup) -> Views {
        let mut views = Views::default();
        let listed = self.listed_runs();
        if setup.partial_listings {
            listed.subsets().for_each(|part| views.add(self.indexed_by(part)));
        } else {
            views.add(self.indexed_by(listed));
        }
        if setup.cached_tables {
            // The most that a table can know: all that any run ever said.
            let ever = self.runs.iter().fold(Packs::EMPTY, |all, run| all | run.packs);
            let mut with_cached = views;
            views.for_each(|packs| with_cached.add(packs | ever));
            return with_cached;
        }
        views
    }
}
