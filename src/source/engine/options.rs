//! Further options that a user gives to the program that dumps: what must not be among them, and what they leave out.
//!
//! What must hold: an option is known by every form in which the program takes it: whole, shortened, glued to its value,
//! behind one sign with others; what is not known passes, for the program judges it itself.

/// A program that dumps, and knows options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `pg_dump`.
    PgDump,
    /// `pg_basebackup`.
    PgBasebackup,
    /// `mariadb-dump` and `mysqldump`.
    MariadbDump,
    /// `mongodump`.
    Mongodump,
}

/// What an option does to a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It says what packstone says itself, or relies on.
    Own,
    /// With it the dump is only a part of what it is taken for.
    Part,
    /// It leaves out what its user does not want.
    LeavesOut,
    /// It only matters whether it is there.
    Plain,
}

/// One option: its name, its letter or a space, and what it does.
type Known = (&'static str, char, Meaning);

use Meaning::{LeavesOut, Own, Part, Plain};

const PG_DUMP: &[Known] = &[
    ("dbname", 'd', Own),
    ("file", 'f', Own),
    ("format", 'F', Own),
    ("compress", 'Z', Own),
    ("jobs", 'j', Own),
    ("host", 'h', Own),
    ("port", 'p', Own),
    ("username", 'U', Own),
    ("no-password", 'w', Own),
    ("password", 'W', Own),
    ("encoding", 'E', Own),
    ("help", '?', Own),
    ("version", 'V', Own),
    ("data-only", 'a', Part),
    ("schema-only", 's', Part),
    ("statistics-only", ' ', Part),
    ("no-data", ' ', Part),
    ("no-schema", ' ', Part),
    ("section", ' ', Part),
    ("schema", 'n', Part),
    ("table", 't', Part),
    ("table-and-children", ' ', Part),
    ("extension", 'e', Part),
    ("snapshot", ' ', Part),
    ("binary-upgrade", ' ', Part),
    ("exclude-schema", 'N', LeavesOut),
    ("exclude-table", 'T', LeavesOut),
    ("exclude-table-and-children", ' ', LeavesOut),
    ("exclude-table-data", ' ', LeavesOut),
    ("exclude-table-data-and-children", ' ', LeavesOut),
    ("exclude-extension", ' ', LeavesOut),
    ("filter", ' ', LeavesOut),
    ("enable-row-security", ' ', LeavesOut),
    ("no-blobs", 'B', LeavesOut),
    ("no-large-objects", ' ', LeavesOut),
    ("no-acl", ' ', LeavesOut),
    ("no-comments", ' ', LeavesOut),
    ("no-owner", 'O', LeavesOut),
    ("no-policies", ' ', LeavesOut),
    ("no-privileges", 'x', LeavesOut),
    ("no-publications", ' ', LeavesOut),
    ("no-security-labels", ' ', LeavesOut),
    ("no-statistics", ' ', LeavesOut),
    ("no-subscriptions", ' ', LeavesOut),
    ("no-table-access-method", ' ', LeavesOut),
    ("no-tablespaces", ' ', LeavesOut),
    ("no-toast-compression", ' ', LeavesOut),
    ("no-unlogged-table-data", ' ', LeavesOut),
    ("lock-wait-timeout", ' ', Plain),
];

const PG_BASEBACKUP: &[Known] = &[
    ("pgdata", 'D', Own),
    ("format", 'F', Own),
    ("wal-method", 'X', Own),
    ("waldir", ' ', Own),
    ("target", 't', Own),
    ("tablespace-mapping", 'T', Own),
    ("write-recovery-conf", 'R', Own),
    ("gzip", 'z', Own),
    ("compress", 'Z', Own),
    ("dbname", 'd', Own),
    ("host", 'h', Own),
    ("port", 'p', Own),
    ("username", 'U', Own),
    ("no-password", 'w', Own),
    ("password", 'W', Own),
    ("help", '?', Own),
    ("version", 'V', Own),
    ("incremental", 'i', Part),
    ("no-manifest", ' ', Plain),
];

const MARIADB_DUMP: &[Known] = &[
    ("host", 'h', Own),
    ("port", 'P', Own),
    ("socket", 'S', Own),
    ("user", 'u', Own),
    ("result-file", 'r', Own),
    ("tab", 'T', Own),
    ("databases", 'B', Own),
    ("all-databases", 'A', Own),
    ("xml", 'X', Own),
    ("compact", ' ', Own),
    ("skip-comments", ' ', Own),
    ("default-character-set", ' ', Own),
    ("no-set-names", 'N', Own),
    ("skip-set-charset", ' ', Own),
    ("skip-single-transaction", ' ', Own),
    ("no-create-db", 'n', Own),
    // These reach other databases than the one that is dumped, or the whole server, when it is put back.
    ("add-drop-database", ' ', Own),
    ("skip-quote-names", ' ', Own),
    ("compatible", ' ', Own),
    ("system", ' ', Own),
    ("master-data", ' ', Own),
    ("source-data", ' ', Own),
    ("dump-slave", ' ', Own),
    ("dump-replica", ' ', Own),
    ("apply-slave-statements", ' ', Own),
    ("apply-replica-statements", ' ', Own),
    ("delete-master-logs", ' ', Own),
    ("delete-source-logs", ' ', Own),
    // These take away what a dump needs: the client's waiting, the options of tables.
    ("init-command", ' ', Own),
    ("skip-opt", ' ', Own),
    ("skip-create-options", ' ', Own),
    ("help", '?', Own),
    ("version", 'V', Own),
    ("force", 'f', Part),
    ("tables", ' ', Part),
    ("no-create-info", 't', Part),
    ("no-data", 'd', Part),
    ("where", 'w', Part),
    ("ignore-database", ' ', LeavesOut),
    ("ignore-table", ' ', LeavesOut),
    ("ignore-table-data", ' ', LeavesOut),
    ("skip-events", ' ', LeavesOut),
    ("skip-routines", ' ', LeavesOut),
    ("skip-triggers", ' ', LeavesOut),
];

const MONGODUMP: &[Known] = &[
    ("host", 'h', Own),
    ("port", ' ', Own),
    ("username", 'u', Own),
    ("config", ' ', Own),
    ("authenticationDatabase", ' ', Own),
    ("db", 'd', Own),
    ("out", 'o', Own),
    ("archive", ' ', Own),
    ("gzip", ' ', Own),
    ("oplog", ' ', Own),
    ("help", ' ', Own),
    ("version", ' ', Own),
    ("collection", 'c', Part),
    ("query", 'q', Part),
    ("queryFile", ' ', Part),
    ("excludeCollection", ' ', LeavesOut),
    ("excludeCollectionsWithPrefix", ' ', LeavesOut),
];

impl Client {
    const fn known(self) -> &'static [Known] {
        match self {
            Self::PgDump => PG_DUMP,
            Self::PgBasebackup => PG_BASEBACKUP,
            Self::MariadbDump => MARIADB_DUMP,
            Self::Mongodump => MONGODUMP,
        }
    }

    /// Letters behind which a value stands, in the same word or the next.
    const fn letters_with_value(self) -> &'static str {
        match self {
            Self::PgDump => "dEeFfhjnNpStTUZ",
            Self::PgBasebackup => "cDdFhilprsStTUXZ",
            Self::MariadbDump => "hPSurTwp#",
            Self::Mongodump => "hupdcqojv",
        }
    }

    /// Says of each option what forbids it, if anything does.
    pub fn refusals(self, options: &[String]) -> Vec<String> {
        let mut refusals: Vec<String> = Vec::new();
        for word in self.words(options) {
            refusals.extend(match word {
                Word::Option(name, Own) => {
                    Some(format!("holds --{name}, which is not to be chosen: the source depends on it"))
                }
                Word::Option(name, Part) => Some(format!(
                    "holds --{name}, with which a dump is not the whole database; a source of type \"command\" can dump \
                     parts"
                )),
                Word::Option(..) => None,
                Word::Alone(text) => Some(format!("holds {text:?}, which is no option")),
            });
        }
        refusals
    }

    /// What is said of a dump from which the options leave something out: `; without what … leaves out`.
    pub fn left_out(self, options: &[String]) -> String {
        let mut names: Vec<String> = Vec::new();
        for word in self.words(options) {
            if let Word::Option(name, LeavesOut) = word
                && !names.contains(&format!("--{name}"))
            {
                names.push(format!("--{name}"));
            }
        }
        if names.is_empty() {
            String::new()
        } else {
            format!("; without what the options leave out: {}", names.join(", "))
        }
    }

    /// Whether an option is given.
    pub fn has(self, options: &[String], wanted: &str) -> bool {
        self.words(options).iter().any(|word| matches!(word, Word::Option(name, _) if *name == wanted))
    }

    /// The options that are known, and what stands alone.
    fn words<'o>(self, options: &'o [String]) -> Vec<Word<'o>> {
        let mut words = Vec::new();
        let mut may_be_value = false;
        for option in options {
            if let Some(long) = option.strip_prefix("--").filter(|long| !long.is_empty()) {
                let (name, value) =
                    long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                words.extend(self.long(name, value));
                may_be_value = value.is_none();
            } else if let Some(letters) = option.strip_prefix('-').filter(|letters| !letters.starts_with('-'))
            {
                may_be_value = self.letters(letters, &mut words);
            } else {
                if !may_be_value || option == "--" {
                    words.push(Word::Alone(option));
                }
                may_be_value = false;
            }
        }
        words
    }

    /// The option of a name: of those that begin so, one that is refused comes first.
    fn long(self, name: &str, value: Option<&str>) -> Option<Word<'static>> {
        let name = if self == Self::MariadbDump { of_mariadb(name, value) } else { name.to_owned() };
        let known = self.known();
        let is_short_for = |(long, ..): &&Known| self != Self::Mongodump && long.starts_with(&name);
        let exact = known.iter().find(|(long, ..)| *long == name);
        let begins =
            || known.iter().filter(is_short_for).min_by_key(|(.., meaning)| !matches!(meaning, Own | Part));
        exact.or_else(begins).map(|(long, _, meaning)| Word::Option(long, *meaning))
    }

    /// The options of letters behind one sign; says whether the next word may be the value of the last.
    fn letters(self, letters: &str, words: &mut Vec<Word<'_>>) -> bool {
        for (position, letter) in letters.char_indices() {
            let found = self.known().iter().find(|(_, own, _)| *own == letter);
            words.extend(found.map(|(long, _, meaning)| Word::Option(long, *meaning)));
            if self.letters_with_value().contains(letter) {
                return position + letter.len_utf8() == letters.len();
            }
        }
        false
    }
}

/// What stands among options.
#[derive(Debug, PartialEq, Eq)]
enum Word<'o> {
    /// One that is known.
    Option(&'static str, Meaning),
    /// The value of nothing.
    Alone(&'o str),
}

/// The plain name of an option of MariaDB's programs, which know several for the same.
fn of_mariadb(name: &str, value: Option<&str>) -> String {
    let name = name.replace('_', "-");
    let name = name.strip_prefix("loose-").unwrap_or(&name);
    let is_off =
        value.is_some_and(|value| ["0", "off", "false"].contains(&value.to_ascii_lowercase().as_str()));
    match name.strip_prefix("disable-") {
        Some(rest) => format!("skip-{rest}"),
        None if is_off => format!("skip-{name}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    /// The names that are refused, or what stands alone.
    fn refused(client: Client, options: &[&str]) -> Vec<String> {
        let name = |text: String| text.split([' ', ',']).nth(1).expect("a word").to_owned();
        client.refusals(&texts(options)).into_iter().map(name).collect()
    }

    #[test]
    fn what_spoils_a_dump_is_refused_in_every_form() {
        use Client::{MariadbDump, Mongodump, PgBasebackup, PgDump};
        for (client, options, wanted) in [
            (PgDump, &["--dbname=x"][..], &["--dbname"][..]),
            (PgDump, &["-d", "x"], &["--dbname"]),
            (MariadbDump, &["--opt=0", "--init_command=SET x = 1"], &["--skip-opt", "--init-command"]),
            (
                PgDump,
                &["-Fc", "-f/tmp/x", "--form=c", "--fil", "x"],
                &["--format", "--file", "--format", "--file"],
            ),
            (PgDump, &["-vOFt"], &["--format"]),
            (PgDump, &["-Z9", "--comp=9", "-j4"], &["--compress", "--compress", "--jobs"]),
            (
                PgDump,
                &["-t", "goods", "-ngoods", "-sa"],
                &["--table", "--schema", "--schema-only", "--data-only"],
            ),
            (PgDump, &["--sec=data", "--schema=x", "--data"], &["--section", "--schema", "--data-only"]),
            (PgDump, &["shop"], &["\"shop\""]),
            (PgDump, &["--verbose", "--", "-x"], &["\"--\""]),
            (PgDump, &["-vv", "-O", "x"], &["\"x\""]),
            (
                PgBasebackup,
                &["-D/x", "-X", "none", "--wal=none", "-R", "--target=server"],
                &["--pgdata", "--wal-method", "--wal-method", "--write-recovery-conf", "--target"],
            ),
            (
                MariadbDump,
                &["--result_file=/x", "-r/x", "--no-data", "--comments=0", "--disable-comments"],
                &["--result-file", "--result-file", "--no-data", "--skip-comments", "--skip-comments"],
            ),
            (MariadbDump, &["-wid=1", "--single-transaction=OFF"], &["--where", "--skip-single-transaction"]),
            (
                MariadbDump,
                &["--add-drop-database", "--quote-names=0", "--system=all", "--master-data", "--compat=ansi"],
                &["--add-drop-database", "--skip-quote-names", "--system", "--master-data", "--compatible"],
            ),
            (
                MariadbDump,
                &["--dump-slave=2", "--apply_slave_statements", "--delete-master-logs"],
                &["--dump-slave", "--apply-slave-statements", "--delete-master-logs"],
            ),
            (Mongodump, &["--gzip", "-dshop", "--query={}"], &["--gzip", "--db", "--query"]),
        ] {
            assert_eq!(refused(client, options), wanted, "{client:?} {options:?}");
        }
    }

    #[test]
    fn what_is_anybodys_choice_passes_and_what_it_leaves_out_is_said() {
        use Client::{MariadbDump, Mongodump, PgBasebackup, PgDump};
        for (client, options, left_out) in [
            (
                PgDump,
                &["--exclude-table-data=sessions", "--exclude-table-data", "x"][..],
                "--exclude-table-data",
            ),
            (
                PgDump,
                &["-Nold", "-T", "a.*", "--no-owner", "-vx"],
                "--exclude-schema, --exclude-table, --no-owner, --no-privileges",
            ),
            (
                PgDump,
                &["--restrict-key=x", "--role=reader", "--inserts", "--clean", "--if-exists", "-S", "x"],
                "",
            ),
            (PgDump, &["--lock-wait=5min", "--no-sync", "--serializable-deferrable", "--strict-names"], ""),
            (PgBasebackup, &["--label=x", "-l", "x", "-r32M", "--no-manifest", "--checkpoint=spread"], ""),
            (
                MariadbDump,
                &["--ignore-table=a.b", "--triggers=0", "--skip-routines"],
                "--ignore-table, --skip-triggers, --skip-routines",
            ),
            (MariadbDump, &["--max-allowed-packet=1G", "--compress", "--ssl", "--skip-lock-tables"], ""),
            (MariadbDump, &["-Q", "--skip-add-drop-database", "--add-drop-trigger"], ""),
            (
                Mongodump,
                &["--excludeCollection=a", "--readPreference=secondary", "-vv"],
                "--excludeCollection",
            ),
        ] {
            assert_eq!(refused(client, options), [""; 0], "{client:?} {options:?}");
            let said = client.left_out(&texts(options));
            assert_eq!(
                said.strip_prefix("; without what the options leave out: ").unwrap_or_default(),
                left_out
            );
        }
        let given = texts(&["-v", "--lock-wait=5min"]);
        assert!(PgDump.has(&given, "lock-wait-timeout") && !PgDump.has(&given[..1], "lock-wait-timeout"));
    }
}
