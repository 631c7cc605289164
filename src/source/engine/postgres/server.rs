//! What is asked of a PostgreSQL server, and of its clients.
//!
//! What must hold: names of databases are quoted wherever they go, so that none of them is taken for something else;
//! what is asked changes nothing.

use std::fmt;

use zeroize::Zeroizing;

use super::Postgres;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::Listener;
use crate::source::program::{Program, SecretFile, reads_secret_files};

/// Longest password that every version reads from a file.
const FILE_PASSWORD_BYTES_MAX: usize = 250;
/// Variables of libpq's that lead to another server or database than the one that is named, or change what it answers.
const MISLEADING: [&str; 6] =
    ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGDATABASE", "PGTARGETSESSIONATTRS"];

/// A version of PostgreSQL: 15.6, or 9.6.24.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For comparing: 15, but 9.6 is 9 and 6.
    major: (u32, u32),
    /// What follows the major version.
    minor: u32,
    text: String,
}

impl Version {
    /// Reads `15.6`, `15.6 (Debian …)`, `17beta1`, `9.6.24`.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().next()?;
        let mut numbers = word.split('.').map(|part| {
            let digits = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits)?.parse::<u32>().ok()
        });
        let first = numbers.next()??;
        let second = numbers.next().flatten().unwrap_or(0);
        let third = numbers.next().flatten().unwrap_or(0);
        let (major, minor) = if first < 10 { ((first, second), third) } else { ((first, 0), second) };
        Some(Self { major, minor, text: word.to_owned() })
    }

    /// Whether it is of this major version or a later one.
    pub fn is_at_least(&self, major: u32) -> bool {
        self.major.0 >= major
    }

    /// The part that says which features and formats there are.
    pub fn major(&self) -> (u32, u32) {
        self.major
    }

    /// Whether psql knows `\restrict`, which later versions of pg_dump write and older ones stop at.
    pub fn knows_restrict(&self) -> bool {
        match self.major.0 {
            13 => self.minor >= 22,
            14 => self.minor >= 19,
            15 => self.minor >= 14,
            16 => self.minor >= 10,
            17 => self.minor >= 6,
            later => later >= 18,
        }
    }

    fn show_major(&self) -> String {
        match self.major {
            (9, second) => format!("9.{second}"),
            (first, _) => first.to_string(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A database as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whether anybody may connect to it.
    pub allows_connections: bool,
    /// Whether others are made of it.
    pub is_template: bool,
    /// Whether dropping it was begun and not ended, so that nobody can have it any more.
    pub is_half_dropped: bool,
}

/// A server that has answered.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its version.
    pub version: Version,
    /// The database that answered.
    pub database: String,
    /// All databases, by their names.
    pub databases: Vec<Database>,
    /// Whether this user may read the passwords of roles.
    pub reads_passwords: bool,
    /// Whether this user may do everything.
    pub is_superuser: bool,
}

/// Where bytes go that are no UTF-8: characters that nobody uses, one for each.
const NO_TEXT: u32 = 0xf700;

/// Bytes as text; those that are none stay apart from each other, and from all that is text.
pub fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(NO_TEXT + u32::from(*byte))));
    }
    text
}

/// Whether something is text, and no bytes that `as_text` made into it.
pub fn is_text(name: &str) -> bool {
    !name.chars().any(|character| (NO_TEXT..NO_TEXT + 0x100).contains(&u32::from(character)))
}

/// A value of a connection string.
fn connection_value(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A connection string that names a database and nothing else.
pub fn connection(database: &str) -> String {
    format!("dbname={}", connection_value(database))
}

/// A name as SQL has it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, whatever backslashes mean.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

impl Postgres {
    /// A client that is told how to reach the server.
    pub(super) fn client(&self, name: &str, listener: &Listener) -> Result<Program> {
        let access = &self.access;
        // Dumps are in the encoding of their database, in which no byte of a letter is taken for a sign.
        let program = Program::client(name, access, listener).without("PGCLIENTENCODING");
        let mut program = program.variable_unless_set("PGCONNECT_TIMEOUT", "60");
        for (option, value) in [
            ("--host", self.host()),
            ("--port", access.port.map(|port| port.to_string())),
            ("--username", access.user.clone()),
        ] {
            if let Some(value) = value {
                program = program.argument(format!("{option}={value}"));
            }
        }
        if self.host().is_some() || access.container.is_some() {
            program = MISLEADING.into_iter().fold(program, Program::without);
        }
        program = program.argument("--no-password");
        match &access.password {
            Some(password) if reads_secret_files(access) && fits_file(password.expose()) => {
                let file = SecretFile::new(password_line(password.expose()).as_bytes())?;
                // A password of the environment would come first.
                Ok(program.without("PGPASSWORD").variable("PGPASSFILE", &file.path()).holding(&file))
            }
            _ => program.password("PGPASSWORD", access),
        }
    }

    /// Where the server is: a name, or the folder of its socket.
    fn host(&self) -> Option<String> {
        let folder = |socket: &String| match socket.rsplit_once('/') {
            Some((folder, name)) if name.starts_with(".s.PGSQL.") => folder.to_owned(),
            _ => socket.clone(),
        };
        self.access.host.clone().or_else(|| self.access.socket.as_ref().map(folder))
    }

    /// `psql` on a database; it stops at the first error. Names come and go as the server has them, byte for byte: those
    /// of databases and roles may be of another encoding than the database that is asked.
    pub(super) fn psql(&self, database: &str, listener: &Listener) -> Result<Program> {
        let program = self.client("psql", listener)?.variable("PGCLIENTENCODING", "SQL_ASCII");
        let program = program.arguments(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        // Of a failed statement, its message: its text can hold a password.
        Ok(program
            .arguments(["--set=VERBOSITY=terse".to_owned(), format!("--dbname={}", connection(database))]))
    }

    /// The rows of an answer, each with so many columns.
    pub(super) fn ask<const COLUMNS: usize>(
        &self,
        database: &str,
        question: &str,
        listener: &Listener,
    ) -> Result<Vec<[String; COLUMNS]>> {
        let layout = ["--tuples-only", "--no-align", "--field-separator-zero", "--record-separator-zero"];
        let psql = self.psql(database, listener)?.arguments(layout).argument(format!("--command={question}"));
        Ok(rows(&as_text(&psql.capture()?)))
    }

    /// Asks the server what there is, by any database that answers.
    pub(super) fn ask_server(&self, others: &[String], listener: &Listener) -> Result<Server> {
        let mut failed = None;
        for database in ["postgres", "template1"].into_iter().chain(others.iter().map(String::as_str)) {
            match self.ask_server_by(database, listener) {
                Ok(server) => return Ok(server),
                Err(error) => {
                    // Only what concerns this database may be otherwise with the next.
                    let is_of_database = error
                        .chain()
                        .iter()
                        .any(|message| message.contains(&format!("database \"{database}\"")));
                    if !is_of_database {
                        return Err(error);
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Failed, "no database answered")))
    }

    fn ask_server_by(&self, database: &str, listener: &Listener) -> Result<Server> {
        let cannot = || "cannot ask the PostgreSQL server what it has";
        let no_answer = || Error::new(ErrorKind::Failed, "the server gave no version").while_doing(cannot());
        let about = "SELECT current_setting('server_version'), \
            has_table_privilege('pg_catalog.pg_authid', 'SELECT'), \
            (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)";
        let about = self.ask(database, about, listener).wrap(cannot)?;
        let Some([version, reads_passwords, is_superuser]) = about.first() else { return Err(no_answer()) };
        let listed = "SELECT datname, datallowconn, datistemplate, datconnlimit = -2 FROM pg_catalog.pg_database \
            ORDER BY 1";
        let databases = self.ask(database, listed, listener).wrap(cannot)?;
        let databases = databases.into_iter().map(|[name, allows, is_template, is_half_dropped]| Database {
            name,
            allows_connections: allows == "t",
            is_template: is_template == "t",
            is_half_dropped: is_half_dropped == "t",
        });
        Ok(Server {
            version: Version::parse(version).ok_or_else(no_answer)?,
            database: database.to_owned(),
            databases: databases.collect(),
            reads_passwords: reads_passwords == "t",
            is_superuser: is_superuser == "t",
        })
    }

    /// The version of a client.
    pub(super) fn client_version(&self, name: &str, listener: &Listener) -> Result<Version> {
        let program = Program::client(name, &self.access, listener).argument("--version");
        let answer = program.capture_text()?;
        // `pg_dump (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)`
        let version = answer.split_once("(PostgreSQL) ").and_then(|(_, version)| Version::parse(version));
        version.ok_or_else(|| {
            let message = format!("{} did not say its version", program.shown());
            Error::new(ErrorKind::Failed, message)
        })
    }

    /// The version of a client that must not be older than the server.
    pub(super) fn fitting_client(&self, name: &str, server: &Server, listener: &Listener) -> Result<Version> {
        let client = self.client_version(name, listener)?;
        if client.major >= server.version.major {
            return Ok(client);
        }
        let advice = format!(
            "it reads servers up to version {}; a client of version {} or later is needed, as the server's own \
             container or machine has it",
            client.show_major(),
            server.version.show_major(),
        );
        let message = format!("{name} {client} is older than the server {}", server.version);
        Err(Error::new(ErrorKind::Unsupported, advice).while_doing(message))
    }
}

/// What libpq reads a password from, for any server, database and user.
fn password_line(password: &str) -> Zeroizing<String> {
    // So large that it is not moved while it grows.
    let mut line = Zeroizing::new(String::with_capacity(2 * password.len() + 16));
    line.push_str("*:*:*:*:");
    for character in password.chars() {
        if matches!(character, '\\' | ':') {
            line.push('\\');
        }
        line.push(character);
    }
    line.push('\n');
    line
}

fn fits_file(password: &str) -> bool {
    password.len() <= FILE_PASSWORD_BYTES_MAX && !password.contains(['\n', '\r', '\0'])
}

/// Cuts an answer in which every value but the last ends with a NUL.
fn rows<const COLUMNS: usize>(answer: &str) -> Vec<[String; COLUMNS]> {
    if answer.is_empty() {
        return Vec::new();
    }
    let answer = answer.strip_suffix('\0').unwrap_or(answer);
    let values: Vec<String> = answer.split('\0').map(str::to_owned).collect();
    values.chunks_exact(COLUMNS).filter_map(|row| row.to_vec().try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let version = |text: &str| Version::parse(text).expect("a version");
        for (text, major, minor, shown) in [
            ("15.6 (Debian 15.6-0+deb12u1)", (15, 0), 6, "15"),
            ("17beta1", (17, 0), 0, "17"),
            ("9.6.24", (9, 6), 24, "9.6"),
            ("18", (18, 0), 0, "18"),
        ] {
            let read = version(text);
            assert_eq!((read.major, read.minor, read.show_major()), (major, minor, shown.to_owned()));
            assert_eq!(read.to_string(), text.split(' ').next().expect("a word"));
        }
        assert_eq!(Version::parse("(PostgreSQL)"), None);
        assert_eq!(Version::parse(""), None);
        assert!(version("9.6.24").major < version("10.1").major);
        assert!(version("13.4").is_at_least(13) && !version("12.22").is_at_least(13));
        for (text, knows) in
            [("12.30", false), ("15.13", false), ("15.14", true), ("17.6", true), ("18.0", true)]
        {
            assert_eq!(version(text).knows_restrict(), knows, "{text}");
        }
    }

    #[test]
    fn names_and_passwords_are_quoted() {
        assert_eq!(connection("it's a=b"), r"dbname='it\'s a=b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(*password_line("a:b\\c d"), "*:*:*:*:a\\:b\\\\c d\n");
        assert!(fits_file("a b") && !fits_file("a\nb") && !fits_file(&"x".repeat(300)));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_apart() {
        assert_eq!(as_text("漢 é".as_bytes()), "漢 é");
        let names = [&b"caf\xe9"[..], b"caf\xe8", "café".as_bytes()].map(as_text);
        assert!(names[0] != names[1] && names[0] != names[2]);
        assert_eq!(names.map(|name| is_text(&name)), [false, false, true]);
    }

    #[test]
    fn answers_are_cut_into_rows() {
        assert_eq!(rows::<2>("a\0b\0c\0\0"), [["a", "b"], ["c", ""]].map(|row| row.map(str::to_owned)));
        assert_eq!(rows::<2>("a\0b"), [["a", "b"].map(str::to_owned)]);
        assert_eq!(rows::<2>(""), [[""; 2]; 0].map(|row| row.map(str::to_owned)));
        assert_eq!(rows::<1>(""), [[""; 1]; 0].map(|row| row.map(str::to_owned)));
        assert_eq!(rows::<1>("\0"), [[""].map(str::to_owned)]);
        assert_eq!(rows::<1>("a\nb\0c"), [["a\nb"], ["c"]].map(|row| row.map(str::to_owned)));
    }
}
