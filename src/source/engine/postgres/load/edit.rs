//! Which statements of a dump are changed or left out when it is put back.
//!
//! What must hold: a statement that concerns the database as a whole concerns the one that is meant, or nothing is put
//! back; of what stays out, people are told.

use super::super::script::{Edit, Token, tokens};
use super::super::server::{Version, identifier};
use super::connect_command;
use super::made::{Made, Place};
use crate::base::{Error, ErrorKind, Result};

/// Commands of psql's that its older versions do not know, and that are of no use to them.
pub fn is_restriction(statement: &[u8]) -> bool {
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
    /// The version of the server, which may be older than the one that was dumped.
    pub server: Version,
    /// Whether the script has come to the database itself.
    pub is_connected: bool,
}

/// What later versions of pg_dump set, and the first servers that know it: older ones would stop there.
const SETTINGS: [(&[u8], u32); 2] =
    [(b"SET transaction_timeout ", 17), (b"SET default_table_access_method ", 12)];
/// What later servers say of a database when it is created, and the first of them.
const PROVIDERS: [(&str, u32); 2] = [("icu", 15), ("builtin", 17)];

/// How statements begin that make nothing in a database: they set what is there, or ask.
const MAKING_NOTHING: [&str; 6] = ["alter", "comment", "grant", "revoke", "security", "set"];

impl DatabaseEdit {
    /// What becomes of a statement, wherever the dump goes.
    pub fn judge_for(&mut self, place: Place, statement: &[u8]) -> Result<Edit> {
        let edit = self.judge(statement)?;
        let creates = statement.starts_with(b"CREATE DATABASE ");
        let stays = !creates && edit != Edit::Drop;
        if place == Place::Empty && stays && !makes_nothing(statement) {
            let shown = String::from_utf8_lossy(statement);
            let beginning: Vec<&str> = shown.split_ascii_whitespace().take(2).collect();
            let message = format!("its dump makes something: {} …", beginning.join(" "));
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(match (place, edit) {
            (Place::Empty, _) if creates => Edit::Drop,
            (Place::New, Edit::Keep) if creates => Edit::Replace(Made::told(statement, &self.new)),
            (Place::New, Edit::Replace(other)) if creates => Edit::Replace(Made::told(&other, &self.new)),
            (_, edit) => edit,
        })
    }

    /// What becomes of a statement.
    pub fn judge(&mut self, statement: &[u8]) -> Result<Edit> {
        if is_restriction(statement) {
            return Ok(if self.knows_restrict { Edit::Keep } else { Edit::Drop });
        }
        if statement.starts_with(b"\\connect ") {
            self.is_connected = true;
            return Ok(match self.old == self.new {
                true => Edit::Keep,
                false => Edit::Replace(connect_command(&self.new).into_bytes()),
            });
        }
        let is_unknown = |(beginning, version): &(&[u8], u32)| {
            statement.starts_with(beginning) && !self.server.is_at_least(*version)
        };
        // In another database of another encoding, the name of this one would become another.
        let is_ascii = self.old.is_ascii() && self.new.is_ascii();
        let misleads = !self.is_connected && !is_ascii && statement.starts_with(b"SET client_encoding ");
        if SETTINGS.iter().any(is_unknown) || misleads {
            return Ok(Edit::Drop);
        }
        if !statement.starts_with(b"CREATE DATABASE ") {
            return self.renamed(statement);
        }
        let fitted = self.fitted(statement)?;
        Ok(match self.renamed(&fitted)? {
            Edit::Keep => Edit::Replace(fitted),
            other => other,
        })
    }

    /// Fits the creation of the database to an older server.
    fn fitted(&self, statement: &[u8]) -> Result<Vec<u8>> {
        let parts = tokens(statement);
        let mut fitted = statement.to_vec();
        let refuse = |what: &str, version: u32| {
            let message = format!(
                "the database {:?} was made with {what}, which a server of version {} does not know: it needs version \
                 {version} or later",
                self.old, self.server
            );
            Error::new(ErrorKind::Unsupported, message)
        };
        // After its name; from the end, so that places stay right.
        for (position, (token, place)) in parts.iter().enumerate().skip(3).rev() {
            let Some((value, end)) = parts.get(position + 2).map(|(token, place)| (token, place.end)) else {
                continue;
            };
            if token.is("icu_rules") && !self.server.is_at_least(16) {
                return Err(refuse("rules of ICU", 16));
            }
            if token.is("locale_provider") {
                let later = PROVIDERS.iter().find(|(name, _)| value.is(name));
                if let Some((name, version)) = later.filter(|(_, version)| !self.server.is_at_least(*version))
                {
                    return Err(refuse(&format!("LOCALE_PROVIDER = {name}"), *version));
                }
                if !self.server.is_at_least(15) {
                    fitted.drain(place.start..end);
                }
            } else if token.is("locale") && !self.server.is_at_least(13) {
                let value = statement.get(place.end..end).unwrap_or_default();
                fitted.splice(place.start..end, [b"LC_COLLATE", value, b" LC_CTYPE", value].concat());
            }
        }
        Ok(fitted)
    }

    fn renamed(&self, statement: &[u8]) -> Result<Edit> {
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
        if parts.first().is_some_and(|(first, _)| first.is("drop")) {
            // What is there was given another name already.
            return Ok(Edit::Drop);
        }
        if !is_own || self.old == self.new {
            return Ok(Edit::Keep);
        }
        let (before, after) = (statement.get(..place.start), statement.get(place.end..));
        let new = identifier(&self.new);
        Ok(Edit::Replace([before.unwrap_or_default(), new.as_bytes(), after.unwrap_or_default()].concat()))
    }
}

fn makes_nothing(statement: &[u8]) -> bool {
    let parts = tokens(statement);
    let first = parts.first().map(|(first, _)| first);
    let asks = statement.starts_with(b"\\") || statement.starts_with(b"SELECT pg_catalog.set_config(");
    asks || first.is_some_and(|first| MAKING_NOTHING.iter().any(|word| first.is(word)))
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
