//! The former rows of tables that keep them (`WITH SYSTEM VERSIONING`), which a dump has only if it is asked for them.
//!
//! What must hold: a history that is not dumped is a problem of the source; a dump with one is made only where the server
//! takes it back.

use super::server::Server;
use crate::base::Result;

/// What the dump program must be told.
const ARGUMENT: &str = "dump-history";
/// The first version of the server that lets somebody write a history.
const WRITABLE_SINCE: (u32, u32) = (10, 11);

/// Which tables keep a history, and whether it can be dumped.
pub(super) struct History {
    can_be_dumped: bool,
    /// Databases and their tables that keep one.
    tables: Vec<(String, String)>,
    /// Those of them that count it in transactions, of which the dump program makes nothing.
    by_transactions: Vec<(String, String)>,
}

impl History {
    /// Asks a server for them; `options` are those that the dump program knows.
    pub(super) fn ask(server: &Server, options: &str) -> Result<Self> {
        let (major, minor) = WRITABLE_SINCE;
        let can_be_dumped = options.contains(ARGUMENT) && server.is_mariadb_since(major, minor);
        let pairs = |statement: &str| -> Result<Vec<(String, String)>> {
            Ok(server.rows_of::<2>(statement)?.into_iter().map(Into::into).collect())
        };
        let tables = pairs(
            "SELECT table_schema, table_name FROM information_schema.tables \
             WHERE table_type = 'SYSTEM VERSIONED' ORDER BY 1, 2",
        )?;
        let by_transactions = match tables.is_empty() {
            true => Vec::new(),
            false => pairs(
                "SELECT table_schema, table_name FROM information_schema.columns \
                 WHERE generation_expression = 'ROW START' AND data_type = 'bigint' ORDER BY 1, 2",
            )?,
        };
        Ok(Self { can_be_dumped, tables, by_transactions })
    }

    /// The argument for the dump of a database.
    pub(super) fn argument(&self, database: &str) -> Option<String> {
        let is_wanted = self.can_be_dumped
            && !of(&self.tables, database).is_empty()
            && of(&self.by_transactions, database).is_empty();
        is_wanted.then(|| format!("--{ARGUMENT}"))
    }

    /// What the dump of a database lacks.
    pub(super) fn problem(&self, database: &str) -> Option<String> {
        let (tables, odd) = (of(&self.tables, database), of(&self.by_transactions, database));
        if tables.is_empty() || self.argument(database).is_some() {
            return None;
        }
        let why = if odd.is_empty() {
            "client and server must be of MariaDB 10.11 or later".to_owned()
        } else {
            format!(
                "the dump program knows none that is counted in transactions, as that of {}",
                odd.join(", ")
            )
        };
        Some(format!("the former rows of {} are not dumped, only the present ones: {why}", tables.join(", ")))
    }
}

/// The tables of a database, with its name.
fn of(tables: &[(String, String)], database: &str) -> Vec<String> {
    let of_it = tables.iter().filter(|(name, _)| name == database);
    of_it.map(|(database, table)| format!("{database}.{table}")).collect()
}
