//! Which statements of a dump are changed or left out when it is put back.
//!
//! What must hold: a statement that concerns the database as a whole concerns the one that is meant, or nothing is put
//! back; of what stays out, people are told.

use std::collections::BTreeSet;

use super::super::script::{Edit, Token, tokens};
use super::super::server::identifier;
use super::connect_command;
use crate::base::{Error, ErrorKind, Result};

/// Commands of psql's that its older versions do not know, and that are of no use to them.
fn is_restriction(statement: &[u8]) -> bool {
    statement.starts_with(b"\\restrict ") || statement.starts_with(b"\\unrestrict ")
}

/// Changes the script of one database.
pub struct DatabaseEdit {
    /// The name that it has in the script.
    pub old: String,
    /// The name that it gets.
    pub new: String,
    /// Whether psql knows `\restrict`.
    pub knows_restrict: bool,
    /// Whether the server knows this setting, which later versions of pg_dump set and older servers stop at.
    pub knows_transaction_timeout: bool,
}

impl DatabaseEdit {
    /// What becomes of a statement.
    pub fn judge(&mut self, statement: &[u8]) -> Result<Edit> {
        if is_restriction(statement) {
            return Ok(if self.knows_restrict { Edit::Keep } else { Edit::Drop });
        }
        if statement.starts_with(b"\\connect ") {
            return Ok(match self.old == self.new {
                true => Edit::Keep,
                false => Edit::Replace(connect_command(&self.new).into_bytes()),
            });
        }
        if !self.knows_transaction_timeout && statement.starts_with(b"SET transaction_timeout = 0") {
            return Ok(Edit::Drop);
        }
        let parts = tokens(statement);
        let Some(position) = name_of_database(&parts) else { return Ok(Edit::Keep) };
        let Some((token, place)) = parts.get(position) else { return Ok(Edit::Keep) };
        let is_own = token.name() == Some(&self.old);
        let creates = parts.first().is_some_and(|(first, _)| first.is("create") || first.is("drop"));
        if creates && !is_own {
            let other = token.name().unwrap_or("nothing");
            let message = format!("the dump is one of the database {other:?}, not of {:?}", self.old);
            return Err(Error::new(ErrorKind::Failed, message));
        }
        if !is_own || self.old == self.new {
            return Ok(Edit::Keep);
        }
        let (before, after) = (statement.get(..place.start), statement.get(place.end..));
        let new = identifier(&self.new);
        Ok(Edit::Replace([before.unwrap_or_default(), new.as_bytes(), after.unwrap_or_default()].concat()))
    }
}

/// Which part of a statement is the name of a database.
fn name_of_database(parts: &[(Token, std::ops::Range<usize>)]) -> Option<usize> {
    let is = |position: usize, word: &str| parts.get(position).is_some_and(|(token, _)| token.is(word));
    let first = parts.first().map(|(token, _)| token)?;
    if first.is("create") || first.is("drop") || first.is("alter") {
        if is(1, "database") {
            return Some(if is(2, "if") { 4 } else { 2 });
        }
        // `ALTER ROLE x IN DATABASE y SET …`
        return (is(1, "role") && is(3, "in") && is(4, "database")).then_some(5);
    }
    let concerns = ["comment", "grant", "revoke", "security"].iter().any(|word| first.is(word));
    let positions = (1..parts.len()).filter(|position| is(*position, "on") && is(position + 1, "database"));
    positions.map(|position| position + 2).next().filter(|_| concerns)
}

/// Leaves out of what belongs to all databases what is there already.
pub struct GlobalsEdit {
    /// The roles that are there.
    pub roles: BTreeSet<String>,
    /// The tablespaces that are there.
    pub tablespaces: BTreeSet<String>,
    /// Whether psql knows `\restrict`.
    pub knows_restrict: bool,
    /// What was left out, as `the role x`.
    pub kept: BTreeSet<String>,
}

impl GlobalsEdit {
    /// What becomes of a statement.
    pub fn judge(&mut self, statement: &[u8]) -> Edit {
        if is_restriction(statement) {
            return if self.knows_restrict { Edit::Keep } else { Edit::Drop };
        }
        let parts: Vec<Token> = tokens(statement).into_iter().map(|(token, _)| token).collect();
        let is = |position: usize, word: &str| parts.get(position).is_some_and(|token| token.is(word));
        let name = |position: usize| parts.get(position).and_then(Token::name).unwrap_or_default();
        let about = if is(0, "create") || is(0, "alter") {
            1
        } else if let Some(on) = parts.iter().position(|token| token.is("on")) {
            on + 1
        } else if is(0, "grant") {
            // `GRANT a TO b`: left out only if it would change nothing but what is there.
            let is_there = self.roles.contains(name(1)) && is(2, "to") && self.roles.contains(name(3));
            return if is_there { Edit::Drop } else { Edit::Keep };
        } else {
            return Edit::Keep;
        };
        let (kind, there) = match parts.get(about) {
            Some(token) if token.is("role") || token.is("user") => ("role", &self.roles),
            Some(token) if token.is("tablespace") => ("tablespace", &self.tablespaces),
            _ => return Edit::Keep,
        };
        let name = name(about + 1);
        if !there.contains(name) {
            return Edit::Keep;
        }
        self.kept.insert(format!("the {kind} {}", crate::base::monitor::show_path(name.as_bytes())));
        Edit::Drop
    }
}
