//! Whose turn it is, and whose call goes wrong: a function of the seed and of what was called before.

use crate::storage::{AT_THE_END, Call, Deed, Sort};
use crate::support::random::Random;

/// In which order actors are let through.
#[derive(Clone, Debug)]
enum Order {
    /// Each of those who wait is as likely as the others.
    Uniform,
    /// Who runs goes on, but for one of so many calls.
    Bursts(u64),
    /// One waits until nobody else does.
    Starved(usize),
    /// The highest in rank of those who wait goes on until, at few random calls, the one who runs becomes the lowest.
    /// (Burckhardt and others: "A randomized scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010.)
    Ranks { ranks: Vec<usize>, changes: Vec<usize> },
}

/// What goes wrong besides.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    /// An actor dies at its call of this number.
    Kill {
        actor: usize,
        at: usize,
        done: bool,
    },
    /// One of so many puts and deletes fails, and arrives or does not, or arrives twice.
    Network {
        one_of: u64,
    },
}

/// The choices of one play.
#[derive(Clone, Debug)]
pub struct Policy {
    random: Random,
    order: Order,
    trouble: Trouble,
    last: Option<usize>,
    steps: usize,
}

/// About as many calls as an actor makes.
const CALLS_OF_AN_ACTOR: usize = 60;

impl Policy {
    /// The policy of a seed for so many actors.
    pub fn new(random: Random, actors: usize) -> Self {
        let mut random = random;
        let order = match random.below(8) {
            0 => Order::Uniform,
            1 => Order::Bursts(4),
            2 => Order::Bursts(20),
            3 => Order::Starved(random.range(0..actors)),
            _ => Self::ranks(&mut random, actors),
        };
        let trouble = match random.below(4) {
            0 => Trouble::Kill {
                actor: random.range(0..actors),
                at: random.range(0..CALLS_OF_AN_ACTOR),
                done: random.chance(1, 2),
            },
            1 => Trouble::Network { one_of: *random.pick(&[5, 20, 60]) },
            _ => Trouble::Nothing,
        };
        Self { random, order, trouble, last: None, steps: 0 }
    }

    fn ranks(random: &mut Random, actors: usize) -> Order {
        let mut rest: Vec<usize> = (0..actors).collect();
        let mut ranks = Vec::new();
        while !rest.is_empty() {
            ranks.push(rest.swap_remove(random.range(0..rest.len())));
        }
        let changes = (0..random.range(1..6)).map(|_| random.range(0..actors * CALLS_OF_AN_ACTOR / 2));
        Order::Ranks { ranks, changes: changes.collect() }
    }

    /// Nothing goes wrong, so that nobody may fail.
    pub fn is_calm(&self) -> bool {
        matches!(self.trouble, Trouble::Nothing)
    }

    /// One of those who wait.
    pub fn choose(&mut self, waiting: &[usize]) -> usize {
        self.steps += 1;
        let chosen = match &mut self.order {
            Order::Uniform => *self.random.pick(waiting),
            Order::Bursts(length) => match self.last {
                Some(last) if waiting.contains(&last) && !self.random.chance(1, *length) => last,
                _ => *self.random.pick(waiting),
            },
            Order::Starved(actor) => {
                let others: Vec<usize> = waiting.iter().copied().filter(|other| other != actor).collect();
                if others.is_empty() { *actor } else { *self.random.pick(&others) }
            }
            Order::Ranks { ranks, changes } => {
                if changes.contains(&self.steps)
                    && let Some(position) = ranks.iter().position(|actor| Some(*actor) == self.last)
                {
                    let actor = ranks.remove(position);
                    ranks.push(actor);
                }
                let first = ranks.iter().find(|actor| waiting.contains(actor));
                *first.expect("every actor has a rank")
            }
        };
        self.last = Some(chosen);
        chosen
    }

    /// What becomes of a call that is let through.
    pub fn decide(&mut self, actor: usize, call: &Call) -> Deed {
        match self.trouble {
            Trouble::Kill { actor: killed, at, done } if (killed, at) == (actor, call.number) => {
                Deed::Die { done }
            }
            Trouble::Network { one_of }
                if matches!(call.sort, Sort::Put | Sort::Delete) && self.random.chance(1, one_of) =>
            {
                let after = *self.random.pick(&[0, 2, 10, 50, 200, AT_THE_END]);
                match self.random.below(4) {
                    0 => Deed::FailBefore,
                    1 => Deed::FailAfter,
                    2 => Deed::Twice(after),
                    _ => Deed::Late(after),
                }
            }
            _ => Deed::Do,
        }
    }
}
