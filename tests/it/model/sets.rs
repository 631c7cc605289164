//! Small sets of numbered things, and the names of what is numbered.
//!
//! What must hold: a set is one byte, so that a state of the whole system stays small enough to keep millions of them.

use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// Up to eight numbered things.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(pub u8);

/// Contents that snapshots need.
pub type Chunks = Set;
/// Objects that hold chunks. Pack 0 and 1 are there from the first; the one of writer w is `FIRST_PACKS + w`.
pub type Packs = Set;
/// Objects that say which packs there are; numbered as the packs that they were written for.
pub type Runs = Set;
/// Session 0 wrote what is there from the first; the one of writer w is `1 + w`.
pub type Sessions = Set;

/// Both chunks that there are.
pub const BOTH: Chunks = Set(0b11);
/// The first and the second of them.
pub const ONE: Chunks = Set(0b01);
pub const TWO: Chunks = Set(0b10);

impl Set {
    pub const EMPTY: Self = Self(0);

    #[inline]
    pub const fn of(member: usize) -> Self {
        Self(1 << member)
    }

    /// Those below a number.
    pub const fn below(end: usize) -> Self {
        Self(!(u8::MAX << end))
    }

    #[inline]
    pub const fn has(self, member: usize) -> bool {
        self.0 >> member & 1 == 1
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    #[inline]
    pub const fn with(self, member: usize) -> Self {
        Self(self.0 | 1 << member)
    }

    #[inline]
    pub const fn without(self, member: usize) -> Self {
        Self(self.0 & !(1 << member))
    }

    #[inline]
    pub fn if_true(self, condition: bool) -> Self {
        if condition { self } else { Self::EMPTY }
    }

    /// The members, ascending.
    #[inline]
    pub fn members(self) -> Members {
        Members(self.0)
    }

    /// The lowest member.
    #[inline]
    pub fn first(self) -> Option<usize> {
        self.members().next()
    }

    /// All sets that are within this one.
    pub fn subsets(self) -> impl Iterator<Item = Self> {
        (0..=self.0).filter(move |bits| bits & !self.0 == 0).map(Self)
    }
}

/// Goes through a set.
pub struct Members(u8);

impl Iterator for Members {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let first = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(first as usize)
    }
}

impl BitOr for Set {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Set {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Set {
    type Output = Self;
    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Set {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.members()).finish()
    }
}
