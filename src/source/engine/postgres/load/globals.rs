//! How roles and tablespaces are put back.
//!
//! What must hold: a role that is there and can do anything keeps its password and its attributes, and what is new or
//! can do nothing gets all of them; either all is done or nothing, so that a second attempt finds no half of a role;
//! what this user may not do is told and counted, and nothing else is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::script::{Edit, Script, Token, tokens};
use super::super::server::{Server, literal};
use super::super::{GLOBALS, Postgres};
use super::BUFFER_BYTES;
use super::edit::is_restriction;
use super::membership::Membership;
use crate::base::monitor::show_path;
use crate::base::{Result, Wrap};
use crate::source::{Feed, Listener};

/// Begins what the server says of a statement that this user may not do.
const DENIED: &str = "packstone-denied: ";
/// Attributes that every new role has. To name some of them is allowed to superusers alone.
const OF_NEW_ROLES: [&str; 7] =
    ["nosuperuser", "inherit", "nocreaterole", "nocreatedb", "nologin", "noreplication", "nobypassrls"];

impl Postgres {
    pub(super) fn load_globals(
        &self,
        server: &Server,
        feed: &mut Feed<'_>,
        listener: &Listener,
    ) -> Result<()> {
        let cannot = || "cannot restore roles and tablespaces";
        let mut edit = self.globals_edit(server, listener).wrap(cannot)?;
        let denied = Arc::new(Mutex::new(Vec::new()));
        let telling = {
            let (denied, told) = (Arc::clone(&denied), listener.clone());
            listener.with(move |line| match line.split_once(DENIED) {
                Some((_, what)) => {
                    denied.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
                }
                None => told.tell(line),
            })
        };
        let psql = self.psql(&server.database, &telling)?.argument("--file=-");
        psql.feed(&mut |input| {
            let mut output = BufWriter::with_capacity(BUFFER_BYTES, input);
            let mut script = Script::new(&mut output, |statement: &[u8]| Ok(edit.judge(statement)));
            feed(&mut script)?;
            let ended = script.finish().and_then(|()| output.write_all(edit.end()));
            ended.and_then(|()| output.flush()).wrap(|| "cannot write the input of psql")
        })
        .wrap(cannot)?;
        for kept in &edit.kept {
            listener.tell(kept);
        }
        let mut denied = denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.append(&mut edit.denied);
        for what in denied.iter() {
            listener.tell(&format!("not done, as this user may not: {what}"));
        }
        if !denied.is_empty() {
            let count = denied.len();
            listener.tell(&format!(
                "{count} of the statements of {GLOBALS} not done: roles and tablespaces are not all as they were"
            ));
        }
        Ok(())
    }

    /// Asks what is there.
    fn globals_edit(&self, server: &Server, listener: &Listener) -> Result<GlobalsEdit> {
        let (list, has_no_password) = match server.reads_passwords {
            true => ("pg_authid", "rolpassword IS NULL"),
            false => ("pg_roles", "true"),
        };
        let question = format!(
            "SELECT rolname, rolinherit AND rolconnlimit = -1 AND rolvaliduntil IS NULL AND {has_no_password} AND NOT \
             (rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication OR rolbypassrls) \
             FROM pg_catalog.{list}"
        );
        let roles = self.ask::<2>(&server.database, &question, listener)?;
        let spaces = "SELECT spcname FROM pg_catalog.pg_tablespace";
        let spaces = self.ask::<1>(&server.database, spaces, listener)?;
        Ok(GlobalsEdit {
            roles: roles.into_iter().map(|[name, is_bare]| (name, is_bare == "t")).collect(),
            tablespaces: spaces.into_iter().map(|[name]| name).collect(),
            knows_restrict: self.client_version("psql", listener)?.knows_restrict(),
            is_superuser: server.is_superuser,
            knows_membership_options: server.version.is_at_least(16),
            ..GlobalsEdit::default()
        })
    }
}

/// Fits what belongs to all databases to what is there already, and to what this user may do.
#[derive(Debug, Default)]
pub(super) struct GlobalsEdit {
    /// The roles that are there, and whether each is as if just made: nothing is lost if it becomes another.
    pub roles: BTreeMap<String, bool>,
    /// The tablespaces that are there.
    pub tablespaces: BTreeSet<String>,
    /// Whether psql knows `\restrict`.
    pub knows_restrict: bool,
    /// Whether this user may do everything: what fails then, fails for another reason.
    pub is_superuser: bool,
    /// Whether the server knows memberships that are not inherited, or allow nobody to become the other.
    pub knows_membership_options: bool,
    /// The roles that do not have what others are allowed unless they ask for it.
    not_inheriting: BTreeSet<String>,
    /// What stayed as it is or became otherwise, for people.
    pub kept: BTreeSet<String>,
    /// What was left out because only superusers may do it.
    pub denied: Vec<String>,
    transaction: Transaction,
}

/// The one transaction of all roles. Tablespaces, which come after them, cannot be made in one.
#[derive(Debug, Default, PartialEq, Eq)]
enum Transaction {
    #[default]
    NotBegun,
    Open,
    Ended,
}

impl GlobalsEdit {
    /// What becomes of a statement.
    pub fn judge(&mut self, statement: &[u8]) -> Edit {
        if is_restriction(statement) {
            return if self.knows_restrict { Edit::Keep } else { Edit::Drop };
        }
        let parts = tokens(statement);
        let is = |position: usize, word: &str| parts.get(position).is_some_and(|(token, _)| token.is(word));
        let name = parts.get(2).and_then(|(token, _)| token.name()).unwrap_or_default();
        let shown = || show_path(name.as_bytes());
        let is_about_role = is(1, "role") || is(1, "user");
        if !["create", "alter", "grant", "comment", "security", "revoke"].iter().any(|word| is(0, word)) {
            return Edit::Keep;
        }
        if is_about_role && (is(0, "create") || is(0, "alter") && is(3, "with")) {
            if parts.iter().any(|(token, _)| token.is("noinherit")) {
                self.not_inheriting.insert(name.to_owned());
            }
            let there = self.roles.get(name);
            if there == Some(&false) {
                self.kept.insert(format!(
                    "the role {} is there already and keeps its password and attributes",
                    shown()
                ));
                return Edit::Drop;
            }
            return match is(0, "create") {
                true if there.is_some() => Edit::Drop,
                true => self.changed(statement, &parts),
                false => self.changed(&without(statement, &of_new_roles(&parts)), &parts),
            };
        }
        if is(0, "create") && is(1, "tablespace") {
            if self.tablespaces.contains(name) {
                self.kept
                    .insert(format!("the tablespace {} is there already and stays where it is", shown()));
                return Edit::Drop;
            }
            if !self.is_superuser {
                self.denied.push(format!("CREATE TABLESPACE {}: only superusers may", shown()));
                return Edit::Drop;
            }
            let end = self.end();
            self.transaction = Transaction::Ended;
            return Edit::Replace([end, statement].concat());
        }
        match Membership::of(&parts) {
            Some(membership) => self.membership(&membership, statement),
            None => self.without_grantor(statement, &parts),
        }
    }

    /// A role that becomes a member of another one, as far as the server knows such roles and memberships.
    fn membership(&mut self, membership: &Membership<'_>, statement: &[u8]) -> Edit {
        let group = membership.group;
        // Nobody can make such a role: later servers come with more of them.
        if group.starts_with("pg_") && !self.roles.contains_key(group) {
            let [group, member] = [group, membership.member].map(|name| show_path(name.as_bytes()));
            self.kept.insert(format!("{member} is no member of {group}: the server has no such role"));
            return Edit::Drop;
        }
        if self.knows_membership_options {
            return self.without_grantor(statement, &tokens(statement));
        }
        self.kept.extend(membership.differences(!self.not_inheriting.contains(membership.member)));
        let fitted = membership.without_options(statement);
        self.without_grantor(&fitted, &tokens(&fitted))
    }

    /// A statement that says who gives something, which only superusers may say of others.
    fn without_grantor(&mut self, statement: &[u8], parts: &[(Token, std::ops::Range<usize>)]) -> Edit {
        let is = |position: usize, word: &str| parts.get(position).is_some_and(|(token, _)| token.is(word));
        let grantor = parts.iter().position(|(token, _)| token.is("granted")).filter(|at| is(at + 1, "by"));
        match grantor {
            Some(at) if !self.is_superuser => {
                let named = parts.get(at..at + 3).unwrap_or_default();
                let statement =
                    without(statement, &named.iter().map(|(_, place)| place.clone()).collect::<Vec<_>>());
                self.changed(&statement, parts)
            }
            _ => self.changed(statement, parts),
        }
    }

    /// What ends the script.
    pub fn end(&self) -> &'static [u8] {
        if self.transaction == Transaction::Open { b"COMMIT;\n" } else { b"" }
    }

    /// A statement as it is carried out.
    fn changed(&mut self, statement: &[u8], parts: &[(Token, std::ops::Range<usize>)]) -> Edit {
        if !self.is_superuser {
            return Edit::Replace(unless_denied(statement, parts));
        }
        if self.transaction != Transaction::NotBegun {
            return Edit::Replace(statement.to_vec());
        }
        self.transaction = Transaction::Open;
        Edit::Replace([b"BEGIN;\n", statement].concat())
    }
}

/// Where attributes stand that every new role has.
fn of_new_roles(parts: &[(Token, std::ops::Range<usize>)]) -> Vec<std::ops::Range<usize>> {
    let attributes = parts.iter().skip(4);
    let usual = attributes.filter(|(token, _)| OF_NEW_ROLES.iter().any(|word| token.is(word)));
    usual.map(|(_, place)| place.clone()).collect()
}

fn without(statement: &[u8], places: &[std::ops::Range<usize>]) -> Vec<u8> {
    let is_left = |position: &usize| !places.iter().any(|place| place.contains(position));
    let bytes = statement.iter().enumerate().filter(|(position, _)| is_left(position));
    bytes.map(|(_, byte)| *byte).collect()
}

/// A statement that is only warned of if this user may not do it, or not have done what it builds upon.
fn unless_denied(statement: &[u8], parts: &[(Token, std::ops::Range<usize>)]) -> Vec<u8> {
    let text = String::from_utf8_lossy(statement);
    let mut tag = "$packstone$".to_owned();
    while text.contains(&tag) {
        tag.insert(1, '_');
    }
    // What comes after these parts may be a password.
    let about = parts.get(..3).and_then(<[_]>::last).and_then(|(_, place)| statement.get(..place.end));
    let about = literal(&String::from_utf8_lossy(about.unwrap_or_default()));
    let begin = format!("DO {tag} BEGIN\n");
    let end = format!(
        "\nEXCEPTION WHEN insufficient_privilege OR undefined_object THEN RAISE WARNING '{DENIED}%: %', {about}, \
         SQLERRM; END {tag};"
    );
    [begin.as_bytes(), statement, end.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(is_superuser: bool) -> GlobalsEdit {
        GlobalsEdit {
            roles: [("postgres", false), ("My role", false), ("bare", true)]
                .map(|(name, is_bare)| (name.to_owned(), is_bare))
                .into(),
            tablespaces: ["fast".to_owned()].into(),
            knows_restrict: true,
            is_superuser,
            ..GlobalsEdit::default()
        }
    }

    fn judged(edit: &mut GlobalsEdit, statement: &str) -> String {
        match edit.judge(statement.as_bytes()) {
            Edit::Keep => statement.to_owned(),
            Edit::Drop => String::new(),
            Edit::Replace(other) => String::from_utf8(other).expect("text"),
        }
    }

    #[test]
    fn what_is_there_keeps_what_it_can_do_and_is_given_the_rest() {
        let mut edit = edit(true);
        assert_eq!(judged(&mut edit, "SET client_encoding = 'UTF8';"), "SET client_encoding = 'UTF8';");
        assert_eq!(judged(&mut edit, "CREATE ROLE new;"), "BEGIN;\nCREATE ROLE new;");
        for (statement, is_kept) in [
            ("CREATE ROLE postgres;", false),
            ("ALTER ROLE postgres WITH SUPERUSER PASSWORD 'x';", false),
            ("CREATE ROLE bare;", false),
            ("ALTER ROLE bare WITH LOGIN PASSWORD 'x';", true),
            ("ALTER ROLE \"My role\" SET a TO 1;", true),
            ("COMMENT ON ROLE \"My role\" IS 'x';", true),
            ("CREATE ROLE \"my role\";", true),
            ("GRANT postgres TO \"My role\" GRANTED BY postgres;", true),
            ("CREATE TABLESPACE fast OWNER postgres LOCATION '/x';", false),
            ("GRANT ALL ON TABLESPACE fast TO new;", true),
            ("\\restrict x", true),
        ] {
            assert_eq!(judged(&mut edit, statement), if is_kept { statement } else { "" });
        }
        assert_eq!(
            judged(&mut edit, "ALTER ROLE new WITH NOSUPERUSER LOGIN;"),
            "ALTER ROLE new WITH  LOGIN;"
        );
        assert_eq!(edit.end(), b"COMMIT;\n");
        let space = "CREATE TABLESPACE slow OWNER postgres LOCATION '/y';";
        assert_eq!(judged(&mut edit, space), format!("COMMIT;\n{space}"));
        assert_eq!(
            judged(&mut edit, "GRANT ALL ON TABLESPACE slow TO new;"),
            "GRANT ALL ON TABLESPACE slow TO new;"
        );
        assert_eq!(edit.end(), b"");
        let kept: Vec<&str> = edit.kept.iter().map(String::as_str).collect();
        assert_eq!(
            kept,
            [
                "the role My role is there already and keeps its password and attributes",
                "the role postgres is there already and keeps its password and attributes",
                "the tablespace fast is there already and stays where it is",
            ][1..]
        );
    }

    #[test]
    fn of_what_is_denied_nothing_is_said_but_what_it_is_about() {
        let mut edit = edit(false);
        let altered = judged(&mut edit, "ALTER ROLE new WITH NOSUPERUSER LOGIN PASSWORD '$packstone$';");
        assert_eq!(
            altered,
            "DO $_packstone$ BEGIN\nALTER ROLE new WITH  LOGIN PASSWORD '$packstone$';\nEXCEPTION WHEN \
             insufficient_privilege OR undefined_object THEN RAISE WARNING 'packstone-denied: %: %', 'ALTER ROLE new', \
             SQLERRM; END $_packstone$;"
        );
        assert!(judged(&mut edit, "GRANT a TO b GRANTED BY postgres;").contains("\nGRANT a TO b   ;\n"));
        assert_eq!(judged(&mut edit, "CREATE TABLESPACE slow OWNER postgres LOCATION '/y';"), "");
        assert_eq!(edit.denied, ["CREATE TABLESPACE slow: only superusers may"]);
        assert_eq!(edit.end(), b"");
    }
}
