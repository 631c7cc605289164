//! What is wrong with a configuration, and where.
//!
//! What must hold: a problem names its place and its key so that an editor and a person find it.

use std::fmt;

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The keys that lead to it, as `job.nightly.source[2].databses`; empty if the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The nearest right key or value.
    pub nearest: Option<String>,
}

/// `LINE:COLUMN: KEY: message`, and the nearest right one.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(formatter, "; did you mean {nearest:?}?"),
            None => Ok(()),
        }
    }
}
