//! What a server hides from the user who dumps: it does not refuse triggers, routines or whole tables to who may not see
//! them, it has none.
//!
//! What must hold: what may be missing from a dump is a problem of its source, with the statement that gives the right;
//! who has a right, whether for all databases, for one, or by a role, is never told to get it.

use std::collections::BTreeSet;

use super::server::{Server, identifier};
use crate::base::Result;

/// What a right lets its user see.
struct Seen {
    right: &'static str,
    what: &'static str,
}

/// What every database needs. A dump of views fails without theirs, so that it is asked for only where there are some.
const NEEDED: [Seen; 4] = [
    Seen { right: "SELECT", what: "tables" },
    Seen { right: VIEWS, what: "views" },
    Seen { right: "TRIGGER", what: "triggers" },
    Seen { right: EVENTS, what: "events" },
];
const VIEWS: &str = "SHOW VIEW";
/// Without it the dump program fails, unless it is told to leave them out.
pub(super) const EVENTS: &str = "EVENT";
/// With one of these a server names all routines; a dump fails, if it does not show what is in them.
const NAMES_ROUTINES: [&str; 5] =
    ["EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE", "SHOW CREATE ROUTINE", "SHOW_ROUTINE"];
/// What stands for all of them.
const ALL: [&str; 2] = ["ALL PRIVILEGES", "ALL"];

/// What a user may do, also by roles that are in effect.
pub(super) struct Rights {
    grants: Vec<Grant>,
    /// As a part of a statement.
    user: String,
}

/// One statement of those that give rights.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// It takes them away: of a database, from who has them for all.
    is_revoked: bool,
    rights: Vec<String>,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    All,
    /// A pattern of names.
    Database(String),
    Table(String, String),
}

impl Rights {
    /// Asks a server what its user may do.
    pub(super) fn ask(server: &Server) -> Result<Self> {
        let lines = match server.column("SHOW GRANTS") {
            // A server that asks nobody for rights hides nothing.
            Err(error) if error.chain().concat().contains("--skip-grant-tables") => return Ok(Self::all()),
            asked => asked?,
        };
        let user = server.column("SELECT CURRENT_USER()")?.into_iter().next().unwrap_or_default();
        let (name, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
        let user = format!("{}@{}", identifier(name), identifier(host));
        Ok(Self { grants: lines.iter().filter_map(|line| parse(line)).collect(), user })
    }

    /// Those of who may do everything.
    pub(super) fn all() -> Self {
        let all = Grant { is_revoked: false, rights: vec![ALL[0].to_owned()], place: Place::All };
        Self { grants: vec![all], user: String::new() }
    }

    /// Whether the user has a right on all of a database.
    pub(super) fn has(&self, right: &str, database: &str) -> bool {
        let gives =
            |grant: &&Grant| grant.rights.iter().any(|given| given == right || ALL.contains(&given.as_str()));
        let is_meant =
            |grant: &&Grant| matches!(&grant.place, Place::Database(name) if is_like(database, name));
        let here = || self.grants.iter().filter(gives).filter(is_meant);
        let everywhere = self.grants.iter().filter(gives).any(|grant| grant.place == Place::All);
        here().any(|grant| !grant.is_revoked) || everywhere && !here().any(|grant| grant.is_revoked)
    }

    fn has_on_table(&self, right: &str, database: &str, table: &str) -> bool {
        let is_it = |grant: &&Grant| match &grant.place {
            Place::Table(of, name) => of == database && name == table,
            Place::All | Place::Database(_) => false,
        };
        self.has(right, database)
            || self.grants.iter().filter(is_it).any(|grant| grant.rights.iter().any(|given| given == right))
    }

    /// Whether the user sees databases without having a right on them.
    pub(super) fn sees_all_databases(&self) -> bool {
        let everywhere = self.grants.iter().filter(|grant| grant.place == Place::All);
        everywhere.flat_map(|grant| &grant.rights).any(|right| right != "USAGE")
    }

    /// The statement by which users can be read, if that is missing.
    pub(super) fn for_users(&self) -> Option<String> {
        (!self.has("SELECT", "mysql")).then(|| self.grant("SELECT", "`mysql`.*"))
    }

    /// What a dump of these databases may lack; `with_views` are those that are seen to have some.
    pub(super) fn problems(
        &self,
        server: &Server,
        databases: &[String],
        with_views: &BTreeSet<String>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for database in databases {
            let is_missing = |needed: &&Seen| {
                !self.has(needed.right, database) && (needed.right != VIEWS || with_views.contains(database))
            };
            let missing: Vec<_> = NEEDED.iter().filter(is_missing).collect();
            let list = |part: fn(&Seen) -> &'static str| {
                missing.iter().map(|seen| part(seen)).collect::<Vec<_>>().join(", ")
            };
            if !missing.is_empty() {
                let place = format!("{}.*", identifier(&escaped(database)));
                let statement = self.grant(&list(|seen| seen.right), &place);
                problems.push(hidden(
                    &list(|seen| seen.what),
                    &format!("the database {database}"),
                    &statement,
                ));
            }
        }
        let without_routines: Vec<_> =
            databases.iter().filter(|database| !self.sees_routines(server, database)).collect();
        if let [first, rest @ ..] = without_routines.as_slice() {
            let names = rest.iter().fold((*first).clone(), |names, name| names + ", " + name);
            let (right, place) = if server.has_routines_in_a_table() {
                ("SELECT", "`mysql`.`proc`")
            } else {
                ("SHOW_ROUTINE", "*.*")
            };
            problems.push(hidden("routines", &format!("the database {names}"), &self.grant(right, place)));
        }
        problems
    }

    fn sees_routines(&self, server: &Server, database: &str) -> bool {
        let sees_all = match server.has_routines_in_a_table() {
            true => self.has_on_table("SELECT", "mysql", "proc"),
            false => self.grants.iter().any(|grant| {
                grant.place == Place::All
                    && !grant.is_revoked
                    && grant.rights.iter().any(|right| right == "SELECT")
            }),
        };
        sees_all || NAMES_ROUTINES.iter().any(|right| self.has(right, database))
    }

    fn grant(&self, rights: &str, place: &str) -> String {
        format!("GRANT {rights} ON {place} TO {};", self.user)
    }
}

fn hidden(what: &str, place: &str, statement: &str) -> String {
    format!("the server hides {what} of {place} from this user, and the dump has none of these: {statement}")
}

/// A name as a pattern that only it fits.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

/// Whether a name fits a pattern of names.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('%') => {
            let ends = name.char_indices().map(|(index, _)| index).chain([name.len()]);
            ends.into_iter().any(|end| is_like(name.get(end..).unwrap_or_default(), rest.as_str()))
        }
        Some(first) => {
            let wanted = if first == '\\' { rest.next() } else { Some(first) };
            let mut characters = name.chars();
            let found = characters.next();
            let fits = if first == '_' { found.is_some() } else { found.is_some() && found == wanted };
            fits && is_like(characters.as_str(), rest.as_str())
        }
    }
}

/// A statement as a server shows it. `None` for those that give roles, or something on a routine or a proxy.
fn parse(line: &str) -> Option<Grant> {
    let (is_revoked, rest) = match line.strip_prefix("GRANT ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("REVOKE ")?),
    };
    let on = outside(rest, " ON ")?;
    let place = rest.get(on + " ON ".len()..)?;
    let place = place.get(..outside(place, if is_revoked { " FROM " } else { " TO " })?)?;
    let place = match place.split_at(outside(place, ".")?) {
        ("*", ".*") => Place::All,
        (database, ".*") => Place::Database(name(database)?),
        (database, table) => Place::Table(name(database)?, name(table.strip_prefix('.')?)?),
    };
    let mut rights = Vec::new();
    let mut list = rest.get(..on)?;
    while let Some(end) = outside(list, ",") {
        rights.push(list.get(..end)?.trim().to_owned());
        list = list.get(end + 1..)?;
    }
    rights.push(list.trim().to_owned());
    Some(Grant { is_revoked, rights, place })
}

/// Where a text stands outside of names and of lists of columns.
fn outside(text: &str, wanted: &str) -> Option<usize> {
    let (mut is_name, mut depth) = (false, 0_i32);
    text.char_indices().find_map(|(index, character)| {
        if !is_name && depth == 0 && text.get(index..)?.starts_with(wanted) {
            return Some(index);
        }
        match character {
            '`' => is_name = !is_name,
            '(' if !is_name => depth += 1,
            ')' if !is_name => depth -= 1,
            _ => {}
        }
        None
    })
}

/// What a quoted name is.
fn name(quoted: &str) -> Option<String> {
    Some(quoted.strip_prefix('`')?.strip_suffix('`')?.replace("``", "`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(lines: &[&str]) -> Rights {
        Rights { grants: lines.iter().filter_map(|line| parse(line)).collect(), user: "`b`@`%`".into() }
    }

    #[test]
    fn statements_are_understood() {
        let database = |name: &str| Place::Database(name.to_owned());
        let given = |rights: &[&str], place| {
            let rights = rights.iter().map(|right| (*right).to_owned()).collect();
            Some(Grant { is_revoked: false, rights, place })
        };
        for (line, wanted) in [
            ("GRANT USAGE ON *.* TO `b`@`%` IDENTIFIED BY PASSWORD '*1'", given(&["USAGE"], Place::All)),
            (
                "GRANT SELECT, SHOW VIEW ON `a``.* TO `.* TO PUBLIC",
                given(&["SELECT", "SHOW VIEW"], database("a`.* TO ")),
            ),
            (
                "GRANT SELECT (`a, b`, `c ON d`), INSERT ON `s`.`t.*` TO `b`@`%`",
                given(&["SELECT (`a, b`, `c ON d`)", "INSERT"], Place::Table("s".into(), "t.*".into())),
            ),
            ("GRANT `r` TO `b`@`%`", None),
            ("GRANT PROXY ON ``@`%` TO `root`@`localhost` WITH GRANT OPTION", None),
            ("GRANT EXECUTE ON PROCEDURE `s`.`p` TO `b`@`%`", None),
            ("SET DEFAULT ROLE `r` FOR `b`@`%`", None),
        ] {
            assert_eq!(parse(line), wanted, "{line}");
        }
    }

    #[test]
    fn rights_count_wherever_they_come_from() {
        let all = rights(&["GRANT ALL PRIVILEGES ON *.* TO `b`@`%` WITH GRANT OPTION"]);
        assert!(all.has("TRIGGER", "shop") && all.has_on_table("SELECT", "mysql", "proc"));
        assert!(all.sees_all_databases() && all.for_users().is_none());
        let some = rights(&["GRANT USAGE ON *.* TO `b`@`%`", "GRANT SELECT, EVENT ON `my\\_%`.* TO `r`"]);
        assert!(
            some.has("EVENT", "my_shop") && !some.has("EVENT", "myshop") && !some.has("TRIGGER", "my_shop")
        );
        assert!(!some.sees_all_databases());
        assert_eq!(some.for_users().as_deref(), Some("GRANT SELECT ON `mysql`.* TO `b`@`%`;"));
        let less =
            rights(&["GRANT SELECT, EVENT ON *.* TO `b`@`%`", "REVOKE SELECT ON `mysql`.* FROM `b`@`%`"]);
        assert!(less.has("SELECT", "shop") && !less.has("SELECT", "mysql") && less.has("EVENT", "mysql"));
        let table = rights(&["GRANT SELECT ON `mysql`.`proc` TO `b`@`%`"]);
        assert!(table.has_on_table("SELECT", "mysql", "proc") && !table.has("SELECT", "mysql"));
    }

    #[test]
    fn patterns_of_names_are_those_of_the_server() {
        for (name, pattern, wanted) in [
            ("shop", "shop", true),
            ("shop", "sh%", true),
            ("shop", "%o_", true),
            ("shop", "s", false),
            ("", "%", true),
            ("a_b", "a\\_b", true),
            ("axb", "a\\_b", false),
            ("漢字", "_字", true),
        ] {
            assert_eq!(is_like(name, pattern), wanted, "{name} {pattern}");
        }
        assert!(is_like("a_%\\", &escaped("a_%\\")) && !is_like("ab%\\", &escaped("a_%\\")));
    }
}
