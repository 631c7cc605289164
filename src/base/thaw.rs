//! Objects that lie frozen: how they are asked for, and what is known of many of them.
//!
//! What must hold: what is not known to be readable is never counted as readable.

use std::time::Duration;

/// Whether an object can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thawing {
    /// At once.
    Readable,
    /// Later: it was asked for before.
    UnderWay,
    /// Later: it was asked for just now.
    Asked,
    /// Only if it is asked for.
    Frozen,
}

impl Thawing {
    /// One word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Readable => "readable",
            Self::UnderWay => "under way",
            Self::Asked => "asked for",
            Self::Frozen => "frozen",
        }
    }
}

/// How fast an object is to become readable; the faster, the dearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThawSpeed {
    /// The slowest.
    Bulk,
    /// What services do that are not told.
    Standard,
    /// The fastest, which not every class has.
    Expedited,
}

/// How frozen objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThawRequest {
    /// So many days they stay readable.
    pub days: u32,
    /// How fast; without one as the service likes.
    pub speed: Option<ThawSpeed>,
}

/// Number of objects, and the sum of their sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThawCount {
    /// How many.
    pub count: u64,
    /// Sum of their sizes in bytes.
    pub size_bytes: u64,
}

impl ThawCount {
    const fn add(&mut self, size_bytes: u64) {
        self.count += 1;
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
    }

    const fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, size_bytes: self.size_bytes.saturating_add(other.size_bytes) }
    }
}

/// What is known of objects that are needed, by whether they can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThawCounts {
    /// All that are needed.
    pub needed: ThawCount,
    /// Of these: can be read.
    pub readable: ThawCount,
    /// Were asked for before.
    pub under_way: ThawCount,
    /// Were asked for just now.
    pub asked: ThawCount,
    /// Nobody asked for.
    pub frozen: ThawCount,
    /// Time since the first look.
    pub waited: Duration,
}

impl ThawCounts {
    /// Counts an object.
    pub const fn add(&mut self, state: Thawing, size_bytes: u64) {
        self.needed.add(size_bytes);
        let counted = match state {
            Thawing::Readable => &mut self.readable,
            Thawing::UnderWay => &mut self.under_way,
            Thawing::Asked => &mut self.asked,
            Thawing::Frozen => &mut self.frozen,
        };
        counted.add(size_bytes);
    }

    /// These and others.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            needed: self.needed.and(other.needed),
            readable: self.readable.and(other.readable),
            under_way: self.under_way.and(other.under_way),
            asked: self.asked.and(other.asked),
            frozen: self.frozen.and(other.frozen),
            waited: self.waited.max(other.waited),
        }
    }

    /// Whether all can be read.
    pub const fn is_ready(&self) -> bool {
        self.needed.count == self.readable.count
    }

    /// What cannot be read yet.
    pub const fn unreadable(&self) -> ThawCount {
        ThawCount {
            count: self.needed.count - self.readable.count,
            size_bytes: self.needed.size_bytes.saturating_sub(self.readable.size_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_readable_is_counted_by_its_state() {
        let mut counts = ThawCounts::default();
        assert!(counts.is_ready());
        let states = [Thawing::Readable, Thawing::UnderWay, Thawing::Asked, Thawing::Frozen];
        (1..).zip(states).for_each(|(size_bytes, state)| counts.add(state, size_bytes));
        assert_eq!(counts.needed, ThawCount { count: 4, size_bytes: 10 });
        assert_eq!(counts.unreadable(), ThawCount { count: 3, size_bytes: 9 });
        assert_eq!(counts.frozen, ThawCount { count: 1, size_bytes: 4 });
        assert!(!counts.is_ready());
    }
}
