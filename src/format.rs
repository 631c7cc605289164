//! Stored bytes ↔ types: the normative text is `format-spec/`, and each file here mirrors one chapter of it.
//!
//! Pure: no input or output, no clock, no randomness. Every decoder refuses what its chapter says must be refused,
//! names the rule, and checks lengths before it takes memory; of what it knows, each value has one encoding.

pub mod cbor;
pub mod collection;
pub mod config;
pub mod fields;
pub mod index;
pub mod list;
pub mod names;
pub mod node;
pub mod pack;
pub mod padding;
pub mod page;
pub mod sealing;
pub mod session;
pub mod slot;
pub mod snapshot;
pub mod tombstone;

use crate::base::{Error, ErrorKind};

/// Why bytes were refused: the rule of the specification that they break, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Number of the rule, as `NODE-3`.
    pub rule: &'static str,
    /// What was found.
    pub reason: String,
}

impl DecodeError {
    /// A broken rule.
    pub fn new(rule: &'static str, reason: impl Into<String>) -> Self {
        Self { rule, reason: reason.into() }
    }

    /// The error of an object whose bytes anybody may have changed: damaged, or beyond this program where the rule
    /// says so.
    pub fn of_object(self, object: &str) -> Error {
        let kind = match self.rule {
            "HEAD-2" | "CFG-3" | "CFG-4" => ErrorKind::Unsupported,
            _ => ErrorKind::Damaged,
        };
        Error::caused(kind, format!("cannot use {object}"), self)
    }

    /// The error of content that was sealed with our keys: what is unknown there was written by a newer program.
    pub fn of_opened(self, object: &str) -> Error {
        match self.rule {
            "CBOR-12" | "SLOT-4" | "SNAP-1" => {
                Error::caused(ErrorKind::Unsupported, format!("cannot use {object}"), self)
            }
            _ => self.of_object(object),
        }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} (format rule {})", self.reason, self.rule)
    }
}

impl std::error::Error for DecodeError {}

/// Result of decoding.
pub type Decoded<T> = std::result::Result<T, DecodeError>;

/// Refuses unless a condition holds.
pub(crate) fn require(holds: bool, rule: &'static str, reason: impl FnOnce() -> String) -> Decoded<()> {
    if holds { Ok(()) } else { Err(DecodeError::new(rule, reason())) }
}
