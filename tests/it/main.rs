//! The integration tests: one binary, one module for each behaviour that is proven from outside of the library.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod real_tree;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod support;
