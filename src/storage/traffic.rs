//! What a storage was asked for and what it moved: the figures that a bill of an object storage is made of.
//!
//! What must hold: each request that leaves counts once, repeated ones again, under what it was made for.

use std::ops::Add;

/// Requests by what they were made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// To write objects.
    pub put: u64,
    /// To read objects or parts of them.
    pub get: u64,
    /// To list names, one for each page.
    pub list: u64,
    /// To remove objects.
    pub delete: u64,
    /// For anything else: to ask whether something is there, to make folders, to move, to thaw, to be let in.
    pub other: u64,
}

impl Requests {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.put + self.get + self.list + self.delete + self.other
    }
}

/// What was asked and moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, those that were repeated included.
    pub requests: Requests,
    /// Requests that were made again because the first answer did not help.
    pub repeated: u64,
    /// Bytes of bodies that were sent.
    pub sent_bytes: u64,
    /// Bytes of bodies that were received.
    pub received_bytes: u64,
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (own, others) = (self.requests, other.requests);
        Self {
            requests: Requests {
                put: own.put + others.put,
                get: own.get + others.get,
                list: own.list + others.list,
                delete: own.delete + others.delete,
                other: own.other + others.other,
            },
            repeated: self.repeated + other.repeated,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            received_bytes: self.received_bytes + other.received_bytes,
        }
    }
}
