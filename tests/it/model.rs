//! The protocol by which any number of writers and pruners share a repository (format-spec chapter 14), explored:
//! every state that they, people and the storage can bring about is reached and judged.
//!
//! What must hold: a process may stop for ever before any step, so a rule that holds in every state holds after every
//! crash; and no step looks at a clock, so it holds for every delay. What is small is the system: two chunks, up to
//! three writers and two pruners, two collections. Each test prints what it explored, and the shortest way to each
//! loss that it was meant to find.
//!
//! To learn the protocol, read in this order:
//!
//! - `state`: the objects in the storage, and where a process may stand;
//! - `writer`: the steps of a session, from its start to its commit key;
//! - `pruner`: the steps of a collection, from the condemned set to the last deletion;
//! - `others`: what people, cleaners and fate do beside them;
//! - `judge`: what must hold in every state and of every step; `progress`: that nothing unneeded stays for ever;
//! - `setup`: what may happen in an exploration, and every rule that can be broken on purpose;
//! - `basic`, `taking_over`, `index`, `records`, `power`: the explorations.

mod basic;
mod explore;
mod index;
mod judge;
mod next;
mod others;
mod power;
mod progress;
mod pruner;
mod records;
mod sets;
mod setup;
mod state;
mod table;
mod taking_over;
mod writer;
