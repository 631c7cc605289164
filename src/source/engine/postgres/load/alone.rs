//! One restore of a database at a time, wherever the others are started: the server itself keeps them apart.
//!
//! What must hold: as long as a restore may still change something, even while it undoes what it did, no other one
//! begins with the same name; one that was killed stands in nobody's way.

use std::io::{BufRead, BufReader};
use std::sync::mpsc;

use super::super::Postgres;
use super::super::server::{Server, literal};
use super::{Target, other_database};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::Listener;

/// The first of the two numbers of such a lock: those of other programs have others.
const LOCK: u32 = 0x7061_636b;

impl Postgres {
    /// Does something while no other restore of this name does.
    pub(super) fn alone(
        &self,
        target: &Target,
        server: &Server,
        listener: &Listener,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        // The server lets go of the lock when this connection ends, which is after everything was undone.
        let psql = self.psql(other_database(server, &target.new), &listener.for_undoing())?;
        let psql = psql.arguments(["--tuples-only", "--no-align", "--file=-"]);
        // In a transaction, also what keeps connections for others ends the lock with psql. One that does nothing may
        // otherwise be ended.
        let script = format!(
            "BEGIN;\nSELECT pg_catalog.pg_try_advisory_xact_lock({});\nSELECT pg_catalog.set_config(name, '0', true) FROM \
             pg_catalog.pg_settings WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout', \
             'transaction_timeout');\n",
            numbers(&target.new)
        );
        let (answers, answer) = mpsc::channel();
        let (mut act, mut done) = (Some(act), None);
        let held = psql.feed_through(
            &mut |input| {
                input.write_all(script.as_bytes()).wrap(|| "cannot write the input of psql")?;
                done = match answer.recv() {
                    Ok(true) => act.take().map(|act| act()),
                    Ok(false) => Some(Err(is_under_way(target))),
                    // It has ended, and its end says why.
                    Err(_) => None,
                };
                Ok(())
            },
            move |output| {
                let mut line = String::new();
                let mut output = BufReader::new(output);
                let cannot = || "cannot ask whether another restore of it is under way";
                if output.read_line(&mut line).wrap(cannot)? > 0 {
                    // Whoever asked waits for it.
                    answers.send(line.trim() == "t").unwrap_or_default();
                }
                drop(answers);
                std::io::copy(&mut output, &mut std::io::sink()).map(drop).wrap(cannot)
            },
        );
        done.unwrap_or_else(|| {
            let no_answer = || Error::new(ErrorKind::Failed, "the server did not say whether it is restored");
            held.and_then(|()| Err(no_answer()))
        })
    }

    /// Whether a restore of this name is under way.
    pub(super) fn is_under_way(&self, target: &Target, server: &Server, listener: &Listener) -> Result<bool> {
        let question = format!(
            "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = \
             {LOCK} AND objid = ({})::pg_catalog.oid",
            number(&target.new)
        );
        Ok(!self.ask::<1>(&server.database, &question, listener)?.is_empty())
    }
}

/// That another one was first.
fn is_under_way(target: &Target) -> Error {
    let message = format!("another restore of the database {} is under way", target.shown());
    Error::new(ErrorKind::Fenced, message)
}

/// A question for the connections of restores that are under way.
pub(super) fn of_restores() -> String {
    format!(
        "SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = {LOCK} AND objsubid = 2"
    )
}

fn numbers(name: &str) -> String {
    format!("{LOCK}, {}", number(name))
}

/// What the server makes of a name: never below zero, for that is how it shows it.
fn number(name: &str) -> String {
    format!("pg_catalog.hashtext({}) & 2147483647", literal(name))
}
