//! MariaDB and MySQL: each database by `mariadb-dump` or `mysqldump` in one transaction.
//!
//! What must hold: each database is of one moment, its own, and what cannot be is named; a dump counts only if its last
//! line says that it is complete; what may be missing from it is said; a database that holds something is dropped only if
//! that was allowed, and only after what takes its place is whole.

mod aside;
mod history;
mod load;
mod lock;
mod new_users;
mod patience;
mod rename;
mod rights;
mod sandbox;
mod server;
mod users;
mod views;

use std::io::{Cursor, Read};
use std::time::Duration;

use super::later::later;
use super::options::Client;
use super::{Access, Databases, Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, StoredDump, file_name};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::source::program::EndsWith;

use history::History;
use patience::with_patience;
use rights::Rights;
use server::{LOCK_WAIT, Server, identifier, text};
use views::BrokenViews;

/// A MariaDB or MySQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mariadb {
    /// How it is reached.
    pub access: Access,
    /// What of it.
    pub databases: Databases,
    /// Further arguments of the dump program.
    pub options: Vec<String>,
    /// The server is MySQL: its clients are `mysqldump` and `mysql`.
    pub is_mysql: bool,
}

/// The dump of all users and what they may do.
const USERS: &str = "users.sql";
/// The database of that name has another file name.
const RESERVED: [&str; 1] = ["users"];
/// What stands behind the name of a database.
const SUFFIX: &str = ".sql";
/// What the last line of a dump begins with.
const MARKER: &str = "-- Dump completed";
/// Databases that a server makes by itself.
const OWN: [&str; 4] = ["information_schema", "performance_schema", "sys", "mysql"];
/// Begins the name of a folder that stands among the databases and is none, as `#mysql50#lost+found`.
const NO_DATABASE: &str = "#mysql50#";
/// How long nothing may come of a dump: longer it waits for a lock, or its server for a disk.
const SILENCE: Duration = Duration::from_mins(30);
/// What every dump is made with: one transaction, row by row, and all that belongs to a database. Without its date, so
/// that a dump of the same data is the same; without locks for the one who puts it back, which keep tables from each other
/// that number their rows by one sequence.
const ARGUMENTS: [&str; 9] = [
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--hex-blob",
    "--skip-dump-date",
    "--skip-add-locks",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
];

impl Engine for Mariadb {
    fn kind(&self) -> &'static str {
        if self.is_mysql { "mysql" } else { "mariadb" }
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let server = Server::ask_version(self, listener)?;
        let mut problems = Vec::new();
        let names = self.chosen(&server, &mut problems, listener)?;
        let mut dumps = Vec::new();
        let rights = Rights::ask(&server).unwrap_or_else(|error| {
            problems.push(format!(
                "what the server hides from this user is not known: {}",
                error.chain().join(": ")
            ));
            Rights::all()
        });
        if matches!(self.databases, Databases::All) && !rights.sees_all_databases() {
            listener.tell("this user sees only the databases on which it has rights");
        }
        let with_views = server.databases_with_views()?;
        problems.extend(rights.problems(&server, &names, &with_views));
        let mut without_users = "";
        match (&self.databases, rights.for_users()) {
            // The user of an application has its databases, and no more.
            (Databases::Named(_), Some(statement)) => {
                without_users = "; without users";
                listener.tell(&format!("users are not dumped, this user may not read them: {statement}"));
            }
            (_, needed) => match users::script(&server) {
                Ok(script) => dumps.push(dump_of_users(script)),
                Err(error) => {
                    let needed = needed.map_or_else(String::new, |statement| format!("; {statement}"));
                    let why = error.chain().join(": ");
                    problems.push(format!("the users cannot be dumped: {why}{needed}"));
                }
            },
        }
        let options = server.dump_options()?;
        let history = History::ask(&server, &options)?;
        for name in &names {
            problems.extend(history.problem(name));
            let mut extra = arguments_for(&options);
            extra.extend(history.argument(name));
            extra
                .push(if rights.has(rights::EVENTS, name) { "--events" } else { "--skip-events" }.to_owned());
            let mut comments = String::new();
            if with_views.contains(name) {
                match BrokenViews::ask(&server, name) {
                    Ok(broken) => {
                        let broken = broken.without(&self.options);
                        extra.extend(broken.arguments());
                        problems.extend(broken.problem());
                        comments = broken.comments();
                    }
                    Err(error) => problems.push(format!(
                        "it cannot be told which views of the database {} are broken: {}",
                        show_path(name.as_bytes()),
                        error.chain().join(": ")
                    )),
                }
            }
            dumps.push(self.dump_of(&server, name, extra, comments));
        }
        let left_out = Client::MariadbDump.left_out(&self.options);
        let mut consistency =
            format!("one transaction of each database ({}){left_out}{without_users}", server.shown());
        let odd = server.tables_without_transactions(&names)?;
        if !odd.is_empty() {
            let told = format!("tables without transactions, which can change meanwhile: {}", odd.join(", "));
            listener.tell(&told);
            consistency.push_str(&format!(", but {told}"));
        }
        Ok(Dumps { consistency, dumps, problems, end: None })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        load::plan(self, stored, options, listener)
    }
}

impl Mariadb {
    fn chosen(
        &self,
        server: &Server,
        problems: &mut Vec<String>,
        listener: &Listener,
    ) -> Result<Vec<String>> {
        let there =
            server.column("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name")?;
        let Databases::Named(named) = &self.databases else {
            let (none, databases): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|name| name.starts_with(NO_DATABASE));
            for name in none.iter().filter_map(|name| name.strip_prefix(NO_DATABASE)) {
                listener.tell(&format!("the folder {name} of the server is no database, and is left out"));
            }
            return Ok(databases.into_iter().filter(|name| !OWN.contains(&name.as_str())).collect());
        };
        let (found, missing): (Vec<_>, Vec<_>) = named.iter().cloned().partition(|name| there.contains(name));
        problems
            .extend(missing.iter().map(|name| format!("the server has no database {name} for this user")));
        if found.is_empty() && !named.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, problems.join("; ")));
        }
        Ok(found)
    }

    fn dump_of(&self, server: &Server, name: &str, extra: Vec<String>, comments: String) -> Dump {
        let failed = format!("cannot dump the database {name}");
        let program = server.dump_program();
        let (name_of_program, options, database) = (server.names.dump, self.options.clone(), name.to_owned());
        let open = move || {
            let program = program?.arguments(ARGUMENTS).arguments(extra).arguments(options);
            let program = program.arguments(["--databases", "--", &database]);
            let mut dump = program.open(&failed, EndsWith::line(name_of_program, MARKER, &[]))?;
            dump.reader = Box::new(dump.reader.chain(Cursor::new(comments)));
            let minutes = SILENCE.as_secs() / 60;
            let why = format!(
                "{failed}: {name_of_program} gave nothing for {minutes} minutes: it waits for a lock"
            );
            with_patience(dump, SILENCE, why)
        };
        let name = file_name::encode(name, &RESERVED) + SUFFIX;
        Dump { name, metadata: None, open: Box::new(open) }
    }
}

fn dump_of_users(script: Vec<u8>) -> Dump {
    let open = || Ok(later("cannot dump the users", move |_| Ok(Box::new(Cursor::new(script)))));
    Dump { name: USERS.to_owned(), metadata: None, open: Box::new(open) }
}

/// What a dump program needs besides, as far as it knows it: it may be MySQL's for a server of MariaDB, or the other way
/// round.
fn arguments_for(options: &str) -> Vec<String> {
    let wanted = [
        // What belongs to a replica has no place in a dump that is put back elsewhere.
        ("--set-gtid-purged", "--set-gtid-purged=OFF".to_owned()),
        // Servers before version 8, and those of MariaDB, have none.
        ("--column-statistics", "--column-statistics=0".to_owned()),
        ("--no-tablespaces", "--no-tablespaces".to_owned()),
        ("--init-command", format!("--init-command={LOCK_WAIT}")),
    ];
    wanted.into_iter().filter(|(name, _)| options.contains(name)).map(|(_, argument)| argument).collect()
}
