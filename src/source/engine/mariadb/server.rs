//! What a MariaDB or MySQL server is asked, by its own client.
//!
//! What must hold: the password reaches a client by a file in memory or by a variable; names are quoted wherever they
//! become part of a statement.

use std::collections::BTreeSet;

use super::super::{Access, Listener};
use super::{Mariadb, OWN};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::{Program, SecretFile, reads_secret_files};

/// The programs of one maker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub client: &'static str,
    pub dump: &'static str,
}

const OF_MARIADB: Names = Names { client: "mariadb", dump: "mariadb-dump" };
const OF_MYSQL: Names = Names { client: "mysql", dump: "mysqldump" };

/// For a dump that waits for others: half an hour for a lock, in place of the day that servers have for usual.
pub(super) const LOCK_WAIT: &str = "SET SESSION lock_wait_timeout=1800";
/// The same for the client, which besides is shown names, and takes texts, as they are quoted here, whatever the mode of
/// the server; and gives nobody a right who was not made before.
const SETTINGS: &str = "SET SESSION lock_wait_timeout=1800, sql_quote_show_create=1, \
    sql_mode=/*M!100000 'NO_AUTO_CREATE_USER'*/ ''";
/// How long a server may take for its first answer.
const CONNECT_TIMEOUT: &str = "--connect-timeout=30";

/// The types of tables that hold something of their own.
const HOLDING: &str = "('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE')";

/// What older clients do not know, and say so.
const LOOSE: [&str; 2] = ["--loose-skip-print-query-on-error", "--loose-sandbox"];

/// A listener that is not told what is no news: that a client does not know what it need not know.
fn without_unknown(listener: &Listener) -> Listener {
    let passed_on = listener.clone();
    listener.with(move |line| {
        let names_one = line.contains("print-query-on-error") || line.contains("sandbox");
        if !(names_one && line.contains("unknown")) {
            passed_on.tell(line);
        }
    })
}

/// A server that has answered.
#[derive(Clone)]
pub(super) struct Server {
    access: Access,
    listener: Listener,
    pub names: Names,
    version: String,
}

/// What a database has, as many of each as there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    /// Views and sequences are among them.
    tables: u64,
    routines: u64,
    events: u64,
}

impl Contents {
    pub(super) fn is_empty(&self) -> bool {
        self.tables == 0 && self.routines == 0 && self.events == 0
    }

    /// For people: `1 table, 2 routines`.
    pub(super) fn shown(&self) -> String {
        let counts = [(self.tables, "table"), (self.routines, "routine"), (self.events, "event")];
        let shown = counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| {
            let plural = if *count == 1 { "" } else { "s" };
            format!("{count} {name}{plural}")
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// A name as a part of a statement.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as a part of a statement.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Server {
    /// Asks a server for its version, by the clients that are there.
    pub(super) fn ask_version(engine: &Mariadb, listener: &Listener) -> Result<Self> {
        // MariaDB has had the names of MySQL's programs for long.
        let names: &[Names] = if engine.is_mysql { &[OF_MYSQL, OF_MARIADB] } else { &[OF_MARIADB, OF_MYSQL] };
        let listener = without_unknown(listener);
        let mut first = None;
        for names in names {
            let access = engine.access.clone();
            let server = Self { access, listener: listener.clone(), names: *names, version: String::new() };
            match server.column("SELECT VERSION()") {
                Ok(answer) => {
                    let version = answer.into_iter().next().unwrap_or_default();
                    return Ok(Self { version, ..server });
                }
                Err(error) => {
                    let is_missing = error.chain().iter().any(|line| {
                        line.contains("there is no program")
                            || line.contains("the program is not in the container")
                    });
                    if !is_missing {
                        return Err(error);
                    }
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "there is no client")))
    }

    /// For people: `MariaDB 10.11.19`.
    pub(super) fn shown(&self) -> String {
        let number = self.version.split('-').next().unwrap_or_default();
        let name = if self.is_mariadb() { "MariaDB" } else { "MySQL" };
        format!("{} from {name} {number}", self.names.dump)
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// The program that dumps, with all that it needs to reach the server.
    pub(super) fn dump_program(&self) -> Result<Program> {
        self.program(self.names.dump)
    }

    /// The client, that reads statements until one fails. What it says of one that fails must not be the statement: that
    /// has hashes of passwords, or rows. Nothing in a dump makes it run programs, if it knows how to be kept from it.
    pub(super) fn client(&self) -> Result<Program> {
        let program = self.program(self.names.client)?;
        let arguments = ["--batch", "--skip-column-names", "--max-allowed-packet=1G"];
        let program = program.arguments(LOOSE).arguments(arguments);
        let program = program.arguments(["--default-character-set=utf8mb4", CONNECT_TIMEOUT]);
        Ok(program.argument(format!("--init-command={SETTINGS}")))
    }

    fn program(&self, name: &str) -> Result<Program> {
        let access = &self.access;
        let mut program = Program::client(name, access, &self.listener);
        match &access.password {
            Some(password) if reads_secret_files(access) => {
                let file = SecretFile::new(options_with(password.expose()).as_bytes())?;
                // It must be the first of all arguments.
                program = program.argument(format!("--defaults-extra-file={}", file.path())).holding(&file);
            }
            _ => program = program.password("MYSQL_PWD", access)?,
        }
        let port = access.port.map(|port| port.to_string());
        let options = [
            ("--socket", &access.socket),
            ("--host", &access.host),
            ("--port", &port),
            ("--user", &access.user),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                program = program.argument(format!("{option}={value}"));
            }
        }
        // `localhost` would mean the usual socket, whatever port is named.
        if access.socket.is_none() && access.port.is_some() {
            program = program.argument("--protocol=tcp");
        }
        Ok(program)
    }

    /// The options that the dump program knows: it may be another maker's than the server.
    pub(super) fn dump_options(&self) -> Result<String> {
        self.program(self.names.dump)?.argument("--help").capture_text()
    }

    /// Whether it is a MariaDB server of this version or a later one.
    pub(super) fn is_mariadb_since(&self, major: u32, minor: u32) -> bool {
        self.is_mariadb() && self.number() >= (major, minor)
    }

    /// Whether routines stand in a table that is read by who has a right on it.
    pub(super) fn has_routines_in_a_table(&self) -> bool {
        self.is_mariadb() || self.number() < (8, 0)
    }

    fn number(&self) -> (u32, u32) {
        let mut parts = self.version.split(['.', '-']).map(|part| part.parse().unwrap_or_default());
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// The same server, asked even if everything is to end.
    pub(super) fn for_undoing(&self) -> Self {
        Self { listener: self.listener.for_undoing(), ..self.clone() }
    }

    /// The same server, of whose messages nobody is told as they come: what it quotes may hold a password.
    pub(super) fn quiet(&self) -> Self {
        Self { listener: self.listener.quiet(), ..self.clone() }
    }

    /// Whether everything is to end.
    pub(super) fn is_over(&self) -> bool {
        self.listener.stops().is_over()
    }

    /// Asks, and gives the first column of the answer.
    pub(super) fn column(&self, statement: &str) -> Result<Vec<String>> {
        Ok(self.rows(statement)?.into_iter().filter_map(|row| row.into_iter().next()).collect())
    }

    /// Asks, and gives the rows of the answer.
    pub(super) fn rows(&self, statement: &str) -> Result<Vec<Vec<String>>> {
        let program = self.client()?.arguments(["--execute", statement]);
        let answer = program.capture_text().wrap(|| "cannot ask the server")?;
        Ok(answer.lines().map(|line| line.split('\t').map(unescaped).collect()).collect())
    }

    /// The same, each row with so many columns; an error if one has others.
    pub(super) fn rows_of<const COLUMNS: usize>(&self, statement: &str) -> Result<Vec<[String; COLUMNS]>> {
        let other = |row: Vec<String>| {
            let message = format!("the server answered with {} columns, not {COLUMNS}", row.len());
            Error::new(ErrorKind::Failed, message)
        };
        self.rows(statement)?.into_iter().map(|row| row.try_into().map_err(other)).collect()
    }

    /// Runs statements until one fails.
    pub(super) fn run(&self, statements: impl AsRef<[u8]>) -> Result<()> {
        let mut write = |input: &mut dyn std::io::Write| {
            input.write_all(statements.as_ref()).wrap(|| "cannot write statements")
        };
        self.client()?.feed(&mut write)
    }

    /// Tables whose changes no transaction holds together.
    pub(super) fn tables_without_transactions(&self, databases: &[String]) -> Result<Vec<String>> {
        let rows = self.rows(&format!(
            "SELECT t.table_schema, t.table_name, t.engine FROM information_schema.tables t \
             JOIN information_schema.engines e ON e.engine = t.engine \
             WHERE t.table_type IN {HOLDING} AND coalesce(e.transactions, 'NO') <> 'YES' ORDER BY 1, 2"
        ))?;
        let is_chosen = |row: &&Vec<String>| row.first().is_some_and(|name| databases.contains(name));
        Ok(rows
            .iter()
            .filter(is_chosen)
            .map(|row| {
                let part = |index: usize| row.get(index).map(String::as_str).unwrap_or_default();
                format!("{}.{} ({})", part(0), part(1), part(2))
            })
            .collect())
    }

    /// The databases of which the user sees that they have views.
    pub(super) fn databases_with_views(&self) -> Result<BTreeSet<String>> {
        let asked = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_type = 'VIEW'";
        Ok(self.column(asked)?.into_iter().collect())
    }

    /// The tables of a database that hold something of their own: views are not among them.
    pub(super) fn tables_of(&self, database: &str) -> Result<Vec<String>> {
        self.column(&format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = {} \
             AND table_type IN {HOLDING} ORDER BY 1",
            text(database)
        ))
    }

    /// What a database has; `None` if there is no such database.
    pub(super) fn contents_of(&self, database: &str) -> Result<Option<Contents>> {
        let name = text(database);
        let count = |table: &str, column: &str| {
            format!("(SELECT count(*) FROM information_schema.{table} WHERE {column} = {name})")
        };
        let counts = [
            count("schemata", "schema_name"),
            count("tables", "table_schema"),
            count("routines", "routine_schema"),
            count("events", "event_schema"),
        ];
        let row = self.rows(&format!("SELECT {}", counts.join(", ")))?.into_iter().next().unwrap_or_default();
        let numbers: Option<Vec<u64>> = row.iter().map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([0, ..]) => Ok(None),
            Some([_, tables, routines, events]) => {
                Ok(Some(Contents { tables: *tables, routines: *routines, events: *events }))
            }
            _ => Err(Error::new(ErrorKind::Failed, format!("the server does not say what {database} has"))),
        }
    }

    /// An error if it is a database of the server's own.
    pub(super) fn refuse_own(database: &str) -> Result<()> {
        if OWN.iter().any(|own| own.eq_ignore_ascii_case(database)) {
            let message = format!("{database} is a database of the server's own");
            return Err(Error::new(ErrorKind::Usage, message));
        }
        Ok(())
    }
}

/// A file of options with a password.
fn options_with(password: &str) -> zeroize::Zeroizing<String> {
    let mut options = zeroize::Zeroizing::new(String::with_capacity(2 * password.len() + 32));
    options.push_str("[client]\npassword=\"");
    for character in password.chars() {
        match character {
            '\\' => options.push_str("\\\\"),
            '"' => options.push_str("\\\""),
            '\n' => options.push_str("\\n"),
            '\r' => options.push_str("\\r"),
            '\t' => options.push_str("\\t"),
            other => options.push(other),
        }
    }
    options.push_str("\"\n");
    options
}

/// A value as the client shows it. A line feed stays `\n`, which means one in a statement, too.
fn unescaped(shown: &str) -> String {
    let mut value = String::with_capacity(shown.len());
    let mut characters = shown.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some('\\')) => value.push('\\'),
            ('\\', Some('t')) => value.push('\t'),
            _ => {
                value.push(character);
                continue;
            }
        }
        characters.next();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_texts_and_passwords_are_quoted() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(text("a'b\\"), "'a''b\\\\'");
        assert_eq!(options_with("a\"#\\ ").as_str(), "[client]\npassword=\"a\\\"#\\\\ \"\n");
        assert_eq!(unescaped("a\\\\b\\tc\\nd"), "a\\b\tc\\nd");
    }
}
