//! Goes through every state that can be reached, in order of the number of steps that lead there, and judges each.
//!
//! What must hold: nothing is left out and nothing is random: the same setup gives the same counts on every machine.
//! Since the shortest ways come first, the way to what is found is a shortest one.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::judge::{Flaw, judge, judge_step};
use super::next::{Next, Step};
use super::power::note_puts;
use super::setup::{Power, Setup};
use super::state::State;
use super::{others, pruner, writer};

/// More states than fit the memory that a test may use.
const STATES_MAX: usize = 12_000_000;

/// Mixes one byte after the other, of which a state consists. That it can be foreseen does no harm here.
#[derive(Default)]
struct Mixer(u64);

/// An odd number without a pattern: the golden ratio in 64 bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Mixer {
    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    #[inline(always)]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    #[inline(always)]
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(MIX);
    }

    /// Which variant an enum has.
    #[inline(always)]
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    /// How long an array is, which is the same in all states.
    #[inline(always)]
    fn write_usize(&mut self, _: usize) {}
}

/// All states met so far, in the order in which they were met.
#[derive(Default)]
struct Seen {
    states: Vec<State>,
    /// For each state, the number of the one from which it was met first.
    origins: Vec<u32>,
    /// Open addressing: number of a state and 1, or 0. As many places as a power of two, less than two thirds full.
    places: Vec<u32>,
}

/// There are fewer than `STATES_MAX`.
fn number_of(state: usize) -> u32 {
    u32::try_from(state).expect("the number of a state")
}

fn hash_of(state: &State) -> usize {
    let mut mixer = Mixer::default();
    state.hash(&mut mixer);
    usize::try_from(mixer.finish() & u64::from(u32::MAX)).unwrap_or(0)
}

impl Seen {
    fn place_of(&self, state: &State) -> usize {
        let mask = self.places.len() - 1;
        let mut place = hash_of(state) & mask;
        loop {
            match self.places[place] {
                0 => return place,
                number if self.states[number as usize - 1] == *state => return place,
                _ => place = (place + 1) & mask,
            }
        }
    }

    fn insert(&mut self, state: State, origin: usize) {
        if self.places.len() * 2 <= self.states.len() * 3 {
            self.grow();
        }
        let place = self.place_of(&state);
        if self.places[place] == 0 {
            self.states.push(state);
            self.origins.push(number_of(origin));
            self.places[place] = number_of(self.states.len());
        }
    }

    fn grow(&mut self) {
        self.places = vec![0; (self.places.len() * 4).max(1 << 10)];
        for number in 0..self.states.len() {
            let place = self.place_of(&self.states[number]);
            self.places[place] = number_of(number) + 1;
        }
    }

    /// The numbers of the states on the way to one, from the first.
    fn way_to(&self, number: usize) -> Vec<usize> {
        let mut way = vec![number];
        while let Some(last) = way.last().copied().filter(|last| *last != 0) {
            way.push(self.origins[last] as usize);
        }
        way.reverse();
        way
    }
}

/// What an exploration came to.
pub struct Explored {
    pub name: String,
    pub states: usize,
    /// Steps to the last state that was judged.
    pub depth: usize,
    pub found: Option<Found>,
}

/// What must not be, and how it comes about.
pub struct Found {
    pub flaw: Flaw,
    pub way: Vec<Step>,
}

/// All steps that can be taken.
pub fn steps(setup: &Setup, state: &State, next: &mut Next) {
    next.0.clear();
    others::steps(setup, state, next);
    for number in 0..setup.writers.len() {
        writer::steps(setup, state, number, next);
    }
    for number in 0..setup.pruners {
        pruner::steps(setup, state, number, next);
    }
    if setup.power != Power::Stays && !state.had_no_power {
        for step in next.0.iter_mut().filter(|step| !step.state.had_no_power) {
            note_puts(state, &mut step.state);
        }
    }
}

/// Explores until there is nothing left, or a flaw of the wanted kinds is met. `judge_further` sees every
/// state that is without flaw otherwise.
pub fn explore(
    setup: &Setup,
    wanted: &[Flaw],
    mut judge_further: impl FnMut(&State) -> Option<Flaw>,
) -> Explored {
    let mut seen = Seen::default();
    seen.insert(State::first(setup), 0);
    let mut next = Next::default();
    let (mut depth, mut level_end) = (0, 1);
    let mut number = 0;
    while number < seen.states.len() {
        if number == level_end {
            (depth, level_end) = (depth + 1, seen.states.len());
        }
        let state = seen.states[number];
        let flaw =
            judge(setup, &state).or_else(|| judge_further(&state)).filter(|flaw| wanted.contains(flaw));
        if let Some(flaw) = flaw {
            return seen.report(setup, depth, Some((flaw, number, None)));
        }
        steps(setup, &state, &mut next);
        for step in &next.0 {
            let flaw = judge_step(&state, &step.state).filter(|flaw| wanted.contains(flaw));
            if let Some(flaw) = flaw {
                return seen.report(setup, depth + 1, Some((flaw, number, Some(*step))));
            }
            seen.insert(step.state, number);
        }
        assert!(seen.states.len() <= STATES_MAX, "{}: more than {STATES_MAX} states", setup.name);
        number += 1;
    }
    seen.report(setup, depth, None)
}

impl Seen {
    fn report(&self, setup: &Setup, depth: usize, found: Option<(Flaw, usize, Option<Step>)>) -> Explored {
        let found = found.map(|(flaw, number, last)| {
            let mut way = self.steps_to(setup, number);
            way.extend(last);
            Found { flaw, way }
        });
        let name =
            setup.mistake.map_or_else(|| setup.name.into(), |mistake| format!("{}: {mistake:?}", setup.name));
        Explored { name, states: self.states.len(), depth, found }
    }

    fn steps_to(&self, setup: &Setup, number: usize) -> Vec<Step> {
        let way = self.way_to(number);
        let mut next = Next::default();
        let mut taken = Vec::new();
        for pair in way.windows(2) {
            steps(setup, &self.states[pair[0]], &mut next);
            taken.extend(next.0.iter().find(|step| step.state == self.states[pair[1]]).copied());
        }
        taken
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.found.as_ref().map_or_else(|| "holds".into(), |found| format!("{:?}", found.flaw));
        write!(formatter, "| {:<66} | {:>9} | {:>5} | {outcome:<14} |", self.name, self.states, self.depth)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.way.iter().enumerate() {
            writeln!(formatter, "    {:>2}. {} {}", number + 1, step.actor, step.what)?;
        }
        write!(formatter, "    thus: {}", self.flaw.meaning())
    }
}
