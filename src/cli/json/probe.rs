//! What a storage can be trusted with.

use packstone::storage::conformance::Row;
use serde::Serialize;

/// What a probe found.
#[derive(Debug, Serialize)]
pub struct ProbeLine {
    message_type: &'static str,
    location: String,
    promises: usize,
    atomic_create: bool,
}

impl ProbeLine {
    /// At this location so many promises hold.
    pub const fn new(location: String, promises: usize, atomic_create: bool) -> Self {
        Self { message_type: "probed", location, promises, atomic_create }
    }
}

/// A kind of storage.
#[derive(Debug, Serialize)]
pub struct StorageKind {
    storage: &'static str,
    feature: &'static str,
    published: &'static str,
    atomic_create: &'static str,
    durable: &'static str,
    tested: &'static str,
}

impl StorageKind {
    /// As the library says.
    pub const fn of(row: Row) -> Self {
        let Row { storage, feature, published, atomic_create, durable, tested } = row;
        Self { storage, feature, published, atomic_create, durable, tested }
    }
}
