//! PostgreSQL: each database by `pg_dump`, what belongs to all of them by `pg_dumpall --globals-only`.

use super::{Access, Databases};

/// How PostgreSQL databases are dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// SQL as text: what changes little from day to day is stored but once.
    #[default]
    Plain,
    /// pg_dump's own format without compression, of which single tables can be restored.
    Custom,
    /// The whole cluster's files, by `pg_basebackup`.
    BaseBackup,
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// How it is reached.
    pub access: Access,
    /// What of it.
    pub databases: Databases,
    /// How.
    pub format: Format,
    /// Further arguments of pg_dump or pg_basebackup.
    pub options: Vec<String>,
}
