//! MongoDB, by `mongodump --archive`.

use super::{Access, Databases};

/// A MongoDB server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mongodb {
    /// How it is reached.
    pub access: Access,
    /// What of it.
    pub databases: Databases,
    /// Whether the log of changes makes it one moment (`--oplog`); only for all databases of a replica set.
    pub with_oplog: bool,
    /// The database that knows the user.
    pub authentication_database: Option<String>,
    /// Further arguments of mongodump.
    pub options: Vec<String>,
}
