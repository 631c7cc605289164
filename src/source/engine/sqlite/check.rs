//! What SQLite itself says of a database: whether it is damaged.
//!
//! What must hold: damage is told as such, and nothing else is: neither what cannot be checked here, because it needs
//! parts of the program that owns the database, nor contents that break the rules of its own tables, nor an order or
//! words that the program may have made by parts of its own under the names of SQLite's.

use rusqlite::{Connection, ErrorCode};

use super::copy::{explain, is_damage};
use crate::base::Result;

/// So much is told of damage, and of what is none.
const LINES_MAX: usize = 10;

/// What a check found.
#[derive(Debug, Default)]
pub(in crate::source::engine) struct Found {
    /// The first damage.
    pub damage: Option<String>,
    /// What could not be checked, what breaks rules, and what may differ by the program alone.
    pub unsure: Vec<String>,
}

impl Found {
    fn unsure(&mut self, line: String) {
        if self.unsure.len() < LINES_MAX && !self.unsure.contains(&line) {
            self.unsure.push(line);
        }
    }

    /// Takes an error for what it is: damage, something that SQLite does not know, or a failure of the check.
    fn take(&mut self, outcome: rusqlite::Result<()>) -> Result<Option<rusqlite::Error>> {
        match outcome {
            Ok(()) => Ok(None),
            // A collation, a function or a module that only the program itself has.
            Err(cause) if is_unknown(&cause) => Ok(Some(cause)),
            Err(cause) => {
                let error = explain(cause);
                if !is_damage(&error) {
                    return Err(error);
                }
                self.damage.get_or_insert_with(|| error.chain().join(": "));
                Ok(None)
            }
        }
    }
}

fn is_unknown(cause: &rusqlite::Error) -> bool {
    matches!(cause, rusqlite::Error::SqlInputError { .. })
        || cause.sqlite_error_code() == Some(ErrorCode::Unknown)
}

/// Has SQLite check a database: by `quick_check`, or by `integrity_check`, which compares the indexes too.
pub(super) fn check(connection: &Connection, how: &str) -> Result<Found> {
    // What a table allows is the business of its program, and may need functions of it.
    connection.execute_batch("PRAGMA ignore_check_constraints = ON").map_err(explain)?;
    let mut found = Found::default();
    // All that is found: what breaks a rule must not hide what is damaged.
    let outcome = told(connection, &format!("PRAGMA {how}(1000000000)"), &mut found);
    let Some(unknown) = found.take(outcome)? else { return Ok(found) };
    // One table of that kind, and nothing at all was checked: so each by itself.
    let mut tables = Vec::new();
    let listed = names(connection, &mut tables);
    if let Some(cause) = found.take(listed)? {
        found.unsure(format!("it could not be checked: {cause}"));
    }
    if tables.is_empty() {
        found.unsure(format!("it could not be checked: {unknown}"));
    }
    for table in tables {
        let outcome = told(connection, &format!("PRAGMA {how}('{}')", table.replace('\'', "''")), &mut found);
        if let Some(cause) = found.take(outcome)? {
            found.unsure(format!("the table {table} could not be checked: {cause}"));
            // Its pages can be read at least, if not its indexes.
            let count = format!("SELECT count(*) FROM \"{}\" NOT INDEXED", table.replace('"', "\"\""));
            let counted = connection.query_row(&count, [], |_| Ok(()));
            found.take(counted)?;
        }
    }
    Ok(found)
}

fn names(connection: &Connection, tables: &mut Vec<String>) -> rusqlite::Result<()> {
    tables.push("sqlite_schema".to_owned());
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tables.push(row.get(0)?);
    }
    Ok(())
}

/// Sorts what a check tells, until the first damage.
fn told(connection: &Connection, check: &str, found: &mut Found) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(check)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line == "ok" {
            continue;
        }
        if breaks_rules(&line) {
            found.unsure(format!("its contents break the rules of its tables: {line}"));
        } else if let Some(index) = ordered_otherwise(&line) {
            // It says so of each row.
            found.unsure(format!("{index} is in another order than this SQLite's, or has other values"));
        } else if is_of_other_words(&line) {
            found.unsure(format!("a full text has other words than this SQLite finds: {line}"));
        } else {
            // Those of the pages come as one.
            let lines: Vec<_> =
                line.lines().filter(|line| !line.starts_with("***")).take(LINES_MAX).collect();
            found.damage.get_or_insert(format!("SQLite's check of the database says: {}", lines.join("; ")));
            break;
        }
    }
    Ok(())
}

/// What indexes are told by that do not have what is computed here from the rows of their tables.
const OF_ROWS: [&str; 4] = ["row ", "rowid ", "non-unique ", "index "];

/// The index or the table of which a line says that its order or values are not those of its rows.
///
/// They are if the program has a collation or a function of its own under a name of SQLite's, as NOCASE or lower(), and
/// nothing in the file tells that. How many entries an index has does not depend on that.
fn ordered_otherwise(line: &str) -> Option<String> {
    if let Some(table) = line.strip_prefix("row not in PRIMARY KEY order for ") {
        return Some(format!("the table {table}"));
    }
    if !OF_ROWS.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let index = match line.strip_prefix("index ") {
        Some(rest) => rest.split_once(" stores ")?.0,
        None => line.split_once(" index ")?.1,
    };
    Some(format!("the index {index}"))
}

/// Whether a line says that the words of a full text are not those of what it was made of.
///
/// So it is between two rebuilds, if its contents are in a table of their own, and with a tokenizer of the program's own.
fn is_of_other_words(line: &str) -> bool {
    let is_unread =
        line.starts_with("unable to validate the inverted index for FTS") && !line.ends_with("malformed");
    is_unread
        || line.starts_with("malformed inverted index for FTS")
        || line.starts_with("fts5: checksum mismatch for table")
}

/// Whether a line speaks of a value that its column does not allow, as `NULL value in goods.price`.
fn breaks_rules(line: &str) -> bool {
    line.split_once(" value in ").is_some_and(|(kind, _)| !kind.contains(' '))
}

/// A table in the order of another NOCASE than SQLite's own, and a full text that is behind the table it speaks of.
#[cfg(test)]
pub(super) const OWN: &str =
    "CREATE TABLE named (name TEXT COLLATE BINARY); CREATE INDEX by_name ON named (name);
    INSERT INTO named VALUES ('a'), ('B'), ('c'), ('D'), ('e');
    CREATE TABLE content (text); CREATE VIRTUAL TABLE words USING fts4(content='content', text);
    INSERT INTO content VALUES ('some words'); INSERT INTO words (words) VALUES ('rebuild');
    UPDATE content SET text = 'others';
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(sql, 'BINARY', 'NOCASE') WHERE name = 'named';
    PRAGMA writable_schema = RESET;";

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as a program with functions of its own leaves it, seen without them.
    fn checked(script: &str, how: &str) -> (Connection, Found) {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(script).expect("a script");
        let found = check(&connection, how).expect("checked");
        (connection, found)
    }

    const UNKNOWN: &str = "PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'unknown_one') WHERE name = 'other';
        UPDATE sqlite_schema SET sql = replace(sql, 'abs(', 'unknown_two(');
        PRAGMA writable_schema = RESET;";
    const TABLES: &str = "CREATE TABLE other (a TEXT COLLATE NOCASE PRIMARY KEY);
        CREATE TABLE \"it's \"\"one\"\"\" (a CHECK (abs(a) > 0), b NOT NULL);
        CREATE INDEX i ON \"it's \"\"one\"\"\" (abs(a));
        CREATE VIRTUAL TABLE words USING fts5(text);
        INSERT INTO other VALUES ('x'), ('y'); INSERT INTO \"it's \"\"one\"\"\" VALUES (1, 2);";

    #[test]
    fn what_needs_the_program_itself_is_no_damage() {
        for how in ["quick_check", "integrity_check"] {
            let (_, found) = checked(&[TABLES, UNKNOWN].concat(), how);
            assert!(found.damage.is_none(), "{found:?}");
            let text = found.unsure.join("\n");
            assert!(text.contains("the table other could not be checked"), "{text}");
            assert_eq!(text.contains("it's"), how == "integrity_check", "{text}");
        }
        let (_, found) = checked(TABLES, "quick_check");
        assert!(found.damage.is_none() && found.unsure.is_empty(), "{found:?}");
    }

    #[test]
    fn full_texts_in_words_that_only_their_program_finds_are_no_damage() {
        let script = "CREATE VIRTUAL TABLE five USING fts5(text); INSERT INTO five VALUES ('some words');
            CREATE VIRTUAL TABLE four USING fts4(text); INSERT INTO four VALUES ('some words');
            CREATE VIRTUAL TABLE places USING rtree(id, low, high); INSERT INTO places VALUES (1, 2, 3);
            PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, 'text)', 'text, tokenize=own)') WHERE name IN ('four', 'five');
            UPDATE sqlite_schema SET sql = replace(sql, 'rtree', 'other') WHERE name = 'places';";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        Connection::open(&path).and_then(|made| made.execute_batch(script)).expect("a database");
        for how in ["quick_check", "integrity_check"] {
            let found = check(&Connection::open(&path).expect("a database"), how).expect("checked");
            assert!(found.damage.is_none(), "{found:?}");
        }
    }

    #[test]
    fn contents_that_break_rules_are_no_damage_and_hide_none() {
        let breaking = "PRAGMA ignore_check_constraints = ON;
            CREATE TABLE a (b CHECK (b > 5)); INSERT INTO a VALUES (1);
            CREATE TABLE c (d, e); INSERT INTO c VALUES (NULL, NULL);
            PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = 'CREATE TABLE c (d, e NOT NULL)' WHERE name = 'c';
            PRAGMA writable_schema = RESET;";
        let (connection, found) = checked(breaking, "integrity_check");
        assert!(found.damage.is_none(), "{found:?}");
        assert_eq!(found.unsure, ["its contents break the rules of its tables: NULL value in c.e"]);
        let damaging = "CREATE INDEX i ON c (d); PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'a') WHERE name = 'i';
            PRAGMA writable_schema = RESET;";
        connection.execute_batch(damaging).expect("damaged");
        let found = check(&connection, "quick_check").expect("checked");
        assert!(found.damage.is_some(), "{found:?}");
    }

    #[test]
    fn lines_of_indexes_and_full_texts_are_told_apart() {
        for line in [
            "row 1 missing from index by a",
            "row 2 values differ from index by a",
            "rowid not at end-of-record for row 3 of index by a",
            "non-unique entry in index by a",
            "index by a stores an imprecise floating-point value for row 4",
        ] {
            assert_eq!(ordered_otherwise(line).as_deref(), Some("the index by a"), "{line}");
        }
        let of_key = ordered_otherwise("row not in PRIMARY KEY order for some index t");
        assert_eq!(of_key.as_deref(), Some("the table some index t"));
        for line in [
            "wrong # of entries in index a",
            "*** in database main ***\nTree 4 page 4 cell 0: Rowid 1 out of order",
            "*** in database main ***\nPage 3: never used",
            "In RTree main.places:\nTable too small",
            "unable to validate the inverted index for FTS4 table main.a: database disk image is malformed",
            "fts5: corruption in table \"a\"",
        ] {
            assert!(ordered_otherwise(line).is_none() && !is_of_other_words(line), "{line}");
        }
        for line in [
            "malformed inverted index for FTS5 table main.a",
            "unable to validate the inverted index for FTS3 table main.a: SQL logic error",
            "fts5: checksum mismatch for table \"a\"",
        ] {
            assert!(is_of_other_words(line), "{line}");
        }
    }

    #[test]
    fn what_differs_by_its_program_alone_is_told_once_and_is_no_damage() {
        for (how, of_indexes) in [("quick_check", 0), ("integrity_check", 1)] {
            let (_, found) = checked(OWN, how);
            assert!(found.damage.is_none(), "{found:?}");
            let text = found.unsure.join("\n");
            assert_eq!(text.matches("the index by_name").count(), of_indexes, "{text}");
            assert_eq!(text.matches("malformed inverted index for FTS4 table").count(), 1, "{text}");
            assert_eq!(found.unsure.len(), 1 + of_indexes, "{text}");
        }
        // The table of the contents is gone.
        let (_, found) = checked(&[OWN, "DROP TABLE content;"].concat(), "quick_check");
        assert!(found.damage.is_none(), "{found:?}");
        assert!(found.unsure.join("").contains("words"), "{found:?}");
        // Whatever the order, an index has an entry for each row.
        let fewer =
            "CREATE TABLE a (b); CREATE INDEX few ON a (b) WHERE b > 5; INSERT INTO a VALUES (1), (9);
            PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, ' WHERE b > 5', '') WHERE name = 'few';
            PRAGMA writable_schema = RESET;";
        let (_, found) = checked(&[OWN, fewer].concat(), "quick_check");
        assert!(format!("{:?}", found.damage).contains("wrong # of entries in index few"), "{found:?}");
    }
}
