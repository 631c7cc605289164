//! Servers of single tests: for what must not be done to one that others use.
//!
//! What must hold: each lives in a folder of its own, is polled until it answers, and is gone when it is dropped.

pub mod mariadb;
pub mod postgres;
pub mod redis;
