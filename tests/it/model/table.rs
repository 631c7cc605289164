//! Explores setups, compares what comes out with what must, and prints a table of it.
//!
//! What must hold: the table is printed whole before anything fails, with the shortest way to each flaw.

use super::explore::{Explored, explore};
use super::judge::{FLAWS, Flaw};
use super::setup::Setup;

/// What must come out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// No state and no step has any flaw.
    Holds,
    /// The same, in this many states, the last of which are this many steps away.
    HoldsIn(usize, usize),
    /// This flaw can come about.
    Has(Flaw),
    /// The same, and the shortest way to it has this many steps.
    HasAfter(Flaw, usize),
}

impl Expected {
    /// Flaws that are looked for.
    pub fn wanted(self) -> Vec<Flaw> {
        match self {
            Self::Has(flaw) | Self::HasAfter(flaw, _) => vec![flaw],
            Self::Holds | Self::HoldsIn(..) => FLAWS.to_vec(),
        }
    }

    fn is_met(self, explored: &Explored) -> bool {
        let flaw = explored.found.as_ref().map(|found| found.flaw);
        match self {
            Self::Holds => flaw.is_none(),
            Self::HoldsIn(states, depth) => {
                flaw.is_none() && (explored.states, explored.depth) == (states, depth)
            }
            Self::Has(expected) => flaw == Some(expected),
            Self::HasAfter(expected, depth) => flaw == Some(expected) && explored.depth == depth,
        }
    }
}

/// Explores each setup. One that must have a flaw is searched for this one only, the others for all.
pub fn check(rows: &[(Setup, Expected)]) {
    report(rows.iter().map(|(setup, expected)| (explore(setup, &expected.wanted(), |_| None), *expected)));
}

/// Prints what was explored, and fails if anything is not as expected.
pub fn report(rows: impl Iterator<Item = (Explored, Expected)>) {
    let mut table = Vec::new();
    let mut wrong = Vec::new();
    for (explored, expected) in rows {
        if let Some(found) = &explored.found {
            println!("{}:\n{found}", explored.name);
        }
        if !expected.is_met(&explored) {
            wrong.push(format!("{}: expected {expected:?}", explored.name));
        }
        table.push(explored.to_string());
    }
    println!("| {:<66} | {:>9} | {:>5} | {:<14} |", "setup", "states", "depth", "outcome");
    println!("{}", table.join("\n"));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
