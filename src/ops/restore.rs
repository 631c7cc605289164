//! Gives back what a snapshot holds.

pub mod target;
