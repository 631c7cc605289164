//! How a PostgreSQL server is dumped.
//!
//! What must hold: a dump is whole only if the client succeeded and the bytes themselves say so: text by its last line,
//! pg_dump's own format by pg_restore reading along, files of the cluster by the end of their tar.

use super::load::made_objects;
use super::server::{Database, Server, Version, connection, identifier, is_text};
use super::tar::TarWalk;
use super::{BASE, CUSTOM, Format, GLOBALS, PLAIN, Postgres, RESERVED};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::engine::options::Client;
use crate::source::engine::{Databases, file_name};
use crate::source::program::{EndsWith, Program, ReadBy};
use crate::source::{Dump, Dumps, Listener, OpenDump};

/// The last line of a dump as text, and what may follow it.
const DATABASE_END: &str = "-- PostgreSQL database dump complete";
const GLOBALS_END: &str = "-- PostgreSQL database cluster dump complete";
/// How long a dump waits for somebody who holds a table alone: pg_dump itself would wait for ever.
const LOCK_WAIT: &str = "--lock-wait-timeout=30min";
const AFTER_END: [&str; 2] = ["--\n", "\\unrestrict "];

impl Postgres {
    pub(super) fn plan_dumps(&self, listener: &Listener) -> Result<Dumps> {
        let named = match &self.databases {
            Databases::All => &[][..],
            Databases::Named(names) => names,
        };
        let server = self.ask_server(named, listener)?;
        if self.format == Format::BaseBackup {
            return self.base_backup(&server, listener);
        }
        let version = self.fitting_client("pg_dump", &server, listener)?;
        self.fitting_client("pg_dumpall", &server, listener)?;
        let (names, problems) = self.chosen(&server, listener)?;
        let mut dumps = vec![self.globals(&server, listener)?];
        for name in &names {
            dumps.push(self.database(name, &version, listener)?);
        }
        let mut consistency =
            format!("each database in one transaction (pg_dump {version}, server {})", server.version);
        if !server.reads_passwords {
            let without = "roles without their passwords, which this user may not read";
            listener.tell(&format!("{GLOBALS} has {without}"));
            consistency.push_str(&format!("; {without}"));
        }
        consistency.push_str(&Client::PgDump.left_out(&self.options));
        Ok(Dumps { consistency, dumps, problems, end: None })
    }

    /// The names of the databases that are wanted and there, and what is to be said of the others.
    fn chosen(&self, server: &Server, listener: &Listener) -> Result<(Vec<String>, Vec<String>)> {
        let mut problems = Vec::new();
        let Databases::Named(named) = &self.databases else {
            return Ok(self.all(server, listener));
        };
        let mut names: Vec<String> = Vec::new();
        for name in named {
            let shown = show_path(name.as_bytes());
            match server.databases.iter().find(|database| database.name == *name) {
                _ if names.contains(name) => {}
                Some(database) => match hindrance(database) {
                    None => names.push(name.clone()),
                    Some(why) => problems.push(format!("the database {shown} {why}")),
                },
                None => problems.push(format!("the server has no database {shown}")),
            }
        }
        if names.is_empty() {
            let message = problems.first().map_or("no database is named", String::as_str);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok((names, problems))
    }

    /// All databases but the template that nobody can change, and the other one if nobody did.
    fn all(&self, server: &Server, listener: &Listener) -> (Vec<String>, Vec<String>) {
        let (mut names, mut problems) = (Vec::new(), Vec::new());
        for database in server.databases.iter().filter(|database| database.name != "template0") {
            let shown = show_path(database.name.as_bytes());
            if !is_text(&database.name) {
                problems.push(format!(
                    "the database {shown} is not dumped: its name is no UTF-8; ALTER DATABASE … RENAME TO gives it one \
                     that is"
                ));
            } else if let Some(why) = hindrance(database) {
                let advice = if database.is_half_dropped {
                    "DROP DATABASE ends that".to_owned()
                } else {
                    format!(
                        "\"ALTER DATABASE {} ALLOW_CONNECTIONS true\" takes it in, naming the others in databases leaves \
                         it out",
                        identifier(&database.name)
                    )
                };
                problems.push(format!("the database {shown} is not dumped: it {why}; {advice}"));
            } else if database.name != "template1" || !database.is_template {
                names.push(database.name.clone());
            } else {
                match self.is_changed_template(server, listener) {
                    Ok(true) => names.push(database.name.clone()),
                    Ok(false) => {}
                    Err(error) => problems.push(error.chain().join(": ")),
                }
            }
        }
        (names, problems)
    }

    /// Whether anything is in `template1`, or is said of it, that a new server has not by itself.
    fn is_changed_template(&self, server: &Server, listener: &Listener) -> Result<bool> {
        let made = made_objects(server);
        let first_privileges = "(SELECT bool_or(nspacl IS DISTINCT FROM initprivs) FROM pg_catalog.pg_namespace AS space \
            LEFT JOIN pg_catalog.pg_init_privs AS first ON first.objoid = space.oid \
            AND classoid = 'pg_catalog.pg_namespace'::regclass AND objsubid = 0 WHERE nspname = 'public')";
        // Before version 9.6 nobody knew which privileges were the first.
        let first_privileges = if server.version.major() >= (9, 6) { first_privileges } else { "false" };
        // Everybody may connect, its owner may do three things.
        let question = format!(
            "SELECT {made}, (SELECT count(*) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = own.oid), \
             (SELECT count(*) <> 4 OR bool_or(grantee <> CASE privilege_type WHEN 'CONNECT' THEN grantee ELSE datdba END) \
             FROM pg_catalog.aclexplode(datacl)), {first_privileges} \
             FROM pg_catalog.pg_database AS own WHERE datname = pg_catalog.current_database()"
        );
        let rows =
            self.ask::<4>("template1", &question, listener).wrap(|| "cannot ask what template1 holds")?;
        Ok(rows.iter().any(|row| *row != ["0", "0", "f", "f"]))
    }

    fn globals(&self, server: &Server, listener: &Listener) -> Result<Dump> {
        let mut program = self.client("pg_dumpall", listener)?.argument("--globals-only");
        if server.database != "postgres" {
            program = program.argument(format!("--database={}", server.database));
        }
        if !server.reads_passwords {
            program = program.argument("--no-role-passwords");
        }
        let whole = EndsWith::line("pg_dumpall", GLOBALS_END, &AFTER_END);
        Ok(dump(GLOBALS.to_owned(), move || program.open("cannot dump roles and tablespaces", whole)))
    }

    fn database(&self, name: &str, version: &Version, listener: &Listener) -> Result<Dump> {
        let program = self.client("pg_dump", listener)?;
        let program = program.argument(format!("--dbname={}", connection(name)));
        let waits_as_wanted = Client::PgDump.has(&self.options, "lock-wait-timeout");
        let program = if waits_as_wanted { program } else { program.argument(LOCK_WAIT) };
        let file_name = file_name::encode(name, &RESERVED);
        let failed = format!("cannot dump the database {}", show_path(name.as_bytes()));
        if self.format == Format::Plain {
            let program = program.arguments(["--format=plain", "--create"]).arguments(&self.options);
            let whole = EndsWith::line("pg_dump", DATABASE_END, &AFTER_END);
            return Ok(dump(file_name + PLAIN, move || program.open(&failed, whole)));
        }
        let program = program.arguments(["--format=custom", "--compress=0"]).arguments(&self.options);
        let reader = self.second_reader(version, listener)?;
        let open = move || {
            let whole =
                ReadBy::start(&reader, "pg_dump").map_err(|error| error.while_doing(failed.as_str()))?;
            program.open(&failed, whole)
        };
        Ok(dump(file_name + CUSTOM, open))
    }

    /// What reads a dump in pg_dump's own format to its end, and does nothing with it.
    fn second_reader(&self, version: &Version, listener: &Listener) -> Result<Program> {
        let restore = self.client_version("pg_restore", listener)?;
        if restore.major() < version.major() {
            let message = format!("pg_restore {restore} is older than pg_dump {version}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Program::client("pg_restore", &self.access, listener).argument("--file=/dev/null"))
    }

    fn base_backup(&self, server: &Server, listener: &Listener) -> Result<Dumps> {
        let version = self.fitting_client("pg_basebackup", server, listener)?;
        let program = self.client("pg_basebackup", listener)?;
        let wanted = ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast"];
        let program = program.arguments(wanted).arguments(&self.options);
        let mut needed = vec!["PG_VERSION", "global/pg_control"];
        if server.version.is_at_least(13) && !Client::PgBasebackup.has(&self.options, "no-manifest") {
            needed.push("backup_manifest");
        }
        let whole = TarWalk::new("pg_basebackup", &needed);
        let base = dump(BASE.to_owned(), move || program.open("cannot copy the files of the server", whole));
        let consistency = format!(
            "the files of the whole server with their log of changes (pg_basebackup {version}, server {})",
            server.version,
        );
        Ok(Dumps { consistency, dumps: vec![base], problems: Vec::new(), end: None })
    }
}

/// Why a database cannot be dumped, if it cannot.
fn hindrance(database: &Database) -> Option<&'static str> {
    if database.is_half_dropped {
        return Some("is dropped in part");
    }
    (!database.allows_connections).then_some("allows no connections")
}

fn dump(name: String, open: impl FnOnce() -> Result<OpenDump> + Send + 'static) -> Dump {
    Dump { name, metadata: None, open: Box::new(open) }
}
