//! The integration tests: one binary, one module for each behaviour that is proven from outside of the library.

#![allow(clippy::print_stdout, reason = "tests print their counts")]

#[cfg(test)]
mod benches;
#[cfg(test)]
mod between;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod dump;
#[cfg(test)]
mod empty_host;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod find;
#[cfg(test)]
mod frozen;
// What is fuzzed, as the fuzzer has it.
#[cfg(test)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
#[cfg(test)]
mod job;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod model;
#[cfg(test)]
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount;
#[cfg(test)]
mod nights;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod prune;
#[cfg(test)]
#[cfg(feature = "webdav")]
mod rclone;
#[cfg(test)]
mod read_errors;
#[cfg(test)]
mod real_tree;
#[cfg(test)]
#[cfg(all(feature = "s3", feature = "webdav"))]
mod remote;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod restore_database;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
#[cfg(feature = "sftp")]
mod sftp;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod turnstile;
#[cfg(test)]
mod witness;
