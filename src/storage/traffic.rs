//! What a storage was asked for and what it moved: the figures that a bill of an object storage is made of.
//!
//! What must hold: each request that leaves counts once, repeated ones again, under what it was made for.

use std::ops::Sub;

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
    /// For anything else: to ask whether something is there, to make folders, to move, to be let in.
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

impl Sub for Traffic {
    type Output = Self;

    /// What came since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        let requests = Requests {
            put: self.requests.put.saturating_sub(earlier.requests.put),
            get: self.requests.get.saturating_sub(earlier.requests.get),
            list: self.requests.list.saturating_sub(earlier.requests.list),
            delete: self.requests.delete.saturating_sub(earlier.requests.delete),
            other: self.requests.other.saturating_sub(earlier.requests.other),
        };
        Self {
            requests,
            repeated: self.repeated.saturating_sub(earlier.repeated),
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
        }
    }
}
