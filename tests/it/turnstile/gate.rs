//! One at a time: every storage call of every actor waits for its turn, and one policy says whose turn it is.
//!
//! What must hold: between two choices exactly one actor runs, from the call that it was let through to its next call
//! or its end, so that the choices alone give the order of everything that the actors do to the storage. An actor calls
//! from one thread at a time.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::storage::{Call, Deed, Director};
use crate::turnstile::policy::Policy;

/// More calls than any play needs: one that has not ended by then never will.
const CALLS_MAX: usize = 20_000;

/// Where an actor is.
#[derive(Debug)]
enum Place {
    Running,
    Waiting(Call),
    LetThrough(Deed),
    Ended,
}

#[derive(Debug)]
struct State {
    places: Vec<Place>,
    running: usize,
    policy: Policy,
    trace: Vec<Step>,
}

/// A call that was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub actor: usize,
    /// What.
    pub call: Call,
    /// What became of it.
    pub deed: Deed,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, call, deed } = self;
        let pad = actor * 4;
        write!(formatter, "{:pad$}{actor}: {:?} {}", "", call.sort, call.name)?;
        if *deed == Deed::Do { Ok(()) } else { write!(formatter, " ({deed:?})") }
    }
}

/// What all calls go through.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    wake: Vec<Condvar>,
}

impl Gate {
    /// A gate for so many actors, who all are thought to run from now on.
    pub fn new(actors: usize, policy: Policy) -> Arc<Self> {
        let places = (0..actors).map(|_| Place::Running).collect();
        let state = State { places, running: actors, policy, trace: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), wake: (0..actors).map(|_| Condvar::new()).collect() })
    }

    /// What an actor's handle asks.
    pub fn turn(self: &Arc<Self>, actor: usize) -> Arc<Turn> {
        Arc::new(Turn { gate: Arc::clone(self), actor })
    }

    /// An actor comes to no further call once this is dropped.
    pub fn presence(self: &Arc<Self>, actor: usize) -> Presence {
        Presence { gate: Arc::clone(self), actor }
    }

    /// What happened, in order.
    pub fn trace(&self) -> Vec<Step> {
        self.lock().trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody stopped running; if nobody else does, one of those who wait is let through.
    fn stop(&self, state: &mut State) {
        state.running -= 1;
        if state.running > 0 {
            return;
        }
        let waiting: Vec<usize> = (0..state.places.len())
            .filter(|actor| matches!(state.places[*actor], Place::Waiting(_)))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let actor = state.policy.choose(&waiting);
        let Place::Waiting(call) = &state.places[actor] else { panic!("actor {actor} does not wait") };
        let call = call.clone();
        let deed = state.policy.decide(actor, &call);
        state.trace.push(Step { actor, call, deed });
        state.places[actor] = Place::LetThrough(deed);
        state.running += 1;
        self.wake[actor].notify_one();
    }

    fn wait(&self, actor: usize, call: &Call) -> Deed {
        let mut state = self.lock();
        assert!(state.trace.len() < CALLS_MAX, "the play does not end");
        assert!(matches!(state.places[actor], Place::Running), "actor {actor} calls twice at once");
        state.places[actor] = Place::Waiting(call.clone());
        self.stop(&mut state);
        loop {
            if let Place::LetThrough(deed) = state.places[actor] {
                state.places[actor] = Place::Running;
                return deed;
            }
            state = self.wake[actor].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The way of one actor's calls through the gate.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    actor: usize,
}

impl Director for Turn {
    fn decide(&self, call: &Call) -> Deed {
        self.gate.wait(self.actor, call)
    }
}

/// An actor that may still call.
#[derive(Debug)]
pub struct Presence {
    gate: Arc<Gate>,
    actor: usize,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.places[self.actor] = Place::Ended;
        self.gate.stop(&mut state);
    }
}
