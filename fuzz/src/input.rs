//! The bytes of a case as a sequence of choices, for targets that build something from them.
//!
//! What must hold: bytes that are not there are zeros, so that every input means something and a longer one goes on where
//! a shorter one ended.

/// Takes choices from the front of a case.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Takes from these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all bytes were taken.
    pub const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not taken yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number of so many bytes, the first one the lowest.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// A number of 16 bits as a length.
    pub fn length(&mut self) -> usize {
        usize::try_from(self.number(2)).expect("16 bits")
    }

    /// A number below a bound of at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// As many of so many bytes as there are.
    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
