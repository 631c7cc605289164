//! packstone: a backup repository engine.
//!
//! Trees and streams are cut into content-defined chunks, hashed, compressed, encrypted and kept in pack objects, so
//! that snapshots share their data. `ARCHITECTURE.md` is the map; `format-spec/` describes every stored byte.
//!
//! The library never prints, never ends the process and never reads the environment.

pub mod base;

pub mod format;

pub mod chunker;
pub mod compress;
pub mod crypto;

pub mod fsmeta;
pub mod storage;

pub mod repository;
pub mod state;

pub mod source;
pub mod tree;

pub mod ops;

pub mod config;
pub mod job;

#[cfg(all(feature = "mount", target_os = "linux"))]
pub mod mount;
