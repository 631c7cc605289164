//! PostgreSQL: each database by `pg_dump`, what belongs to all of them by `pg_dumpall --globals-only`.
//!
//! What must hold: each database is of one moment, its own; a client that is older than the server is refused before
//! anything is dumped; a database that holds something is only dropped if the plan said so and that was allowed.

mod dump;
mod load;
mod script;
mod server;
mod tar;

use super::{Access, Databases};
use crate::base::Result;
use crate::source::{Dumps, Engine, Listener, LoadOptions, LoadPlan, StoredDump};

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

/// The dump of what belongs to all databases.
const GLOBALS: &str = "globals.sql";
/// The database of that name has another file name.
const RESERVED: [&str; 1] = ["globals"];
/// What stands behind the name of a database whose dump is text.
const PLAIN: &str = ".sql";
/// What stands behind the name of a database whose dump is in pg_dump's own format.
const CUSTOM: &str = ".dump";
/// The dump of the whole cluster.
const BASE: &str = "base.tar";

impl Engine for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        self.plan_dumps(listener)
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        self.plan_load(stored, options, listener)
    }
}
