//! The users that are put back: made before anything else, given their rights once everything is there.
//!
//! What must hold: a user whom the server does not take, or a right, keeps nothing else back; each is named, and the whole
//! then counts as failed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::USERS;
use super::server::Server;
use super::users::{self, Statement};
use crate::base::{Error, ErrorKind, Result};
use crate::source::engine::{Feed, Listener};

/// What the step that makes them leaves to the one that gives them their rights.
#[derive(Clone)]
pub(super) struct NewUsers {
    /// Who was there before.
    there: BTreeSet<String>,
    left: Arc<Mutex<Left>>,
}

#[derive(Default)]
struct Left {
    /// Who could not be made.
    refused: Vec<String>,
    /// What gives the others their rights.
    granted: Vec<Statement>,
}

impl NewUsers {
    /// Asks who is there.
    pub(super) fn ask(server: &Server) -> Result<Self> {
        Ok(Self { there: users::names(server)?, left: Arc::default() })
    }

    pub(super) fn create(&self, server: &Server, feed: &mut Feed<'_>, listener: &Listener) -> Result<()> {
        let mut script = Zeroizing::new(Vec::new());
        feed(&mut *script)?;
        let text = std::str::from_utf8(&script).map_err(|_| Error::damaged(format!("{USERS} is no text")))?;
        let (created, mut granted) = users::without(text, &self.there);
        let mut refused = Vec::new();
        // All at once, if nothing is wrong; who is there by then is passed over.
        if server.quiet().run(&*users::joined(&created)).is_err() {
            for statement in &created {
                if !run(server, statement, listener)? {
                    refused.push(statement.account.clone());
                }
            }
        }
        granted.retain(|statement| !refused.contains(&statement.account));
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Left { refused, granted };
        Ok(())
    }

    /// Runs each statement by itself, so that one that fails keeps none of the others back.
    pub(super) fn grant(&self, server: &Server, listener: &Listener) -> Result<()> {
        let Left { refused, granted } =
            std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let mut failed = Vec::new();
        for statement in &granted {
            if !run(server, statement, listener)? {
                failed.push(users::without_password(&statement.text).to_owned());
            }
        }
        let told = |what: &str, list: &[String]| {
            (!list.is_empty()).then(|| format!("{} of the {what}: {}", list.len(), list.join("; ")))
        };
        let parts = [told("users could not be made", &refused), told("rights were refused", &failed)];
        let message = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        if message.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Failed, message)) }
    }
}

/// Whether a server does what a statement says; fails only if everything is to end.
fn run(server: &Server, statement: &Statement, listener: &Listener) -> Result<bool> {
    let line = Zeroizing::new(format!("{}\n", statement.text.as_str()));
    let Err(error) = server.quiet().run(line.as_str()) else { return Ok(true) };
    if server.is_over() {
        return Err(error);
    }
    let shown = users::without_password(&statement.text);
    let chain = error.chain();
    let why: Vec<&str> = chain.iter().map(|message| without_quoted(message)).collect();
    listener.tell(&format!("cannot run {shown}: {}", why.join(": ")));
    Ok(false)
}

/// A message of the server without what it quotes of a statement: that may be a password.
fn without_quoted(message: &str) -> &str {
    message.split(" near '").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_is_not_told() {
        let line = "ERROR 1064 (42000) at line 1: You have an error in your SQL syntax; check it near 'PASSWORD '*6BB4''";
        assert_eq!(
            without_quoted(line),
            "ERROR 1064 (42000) at line 1: You have an error in your SQL syntax; check it"
        );
        assert_eq!(without_quoted("Plugin 'x' is not loaded"), "Plugin 'x' is not loaded");
    }
}
