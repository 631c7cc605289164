//! One restore of a database at a time, wherever it was started: two would drop what the other one has just made.
//!
//! What must hold: the lock belongs to a client that lives as long as what is done under it; the server takes it back from
//! one that is gone, so that nobody has to.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::channel;

use super::server::{Server, text};
use crate::base::{Error, ErrorKind, Result, Wrap};

/// How long the client may be silent: as long as a server allows.
const SILENCE: &str = "SET SESSION wait_timeout=31536000;\n";

/// Does something while nobody else does it who asks for a lock of that name.
pub(super) fn holding(server: &Server, lock: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    // What is ended from outside is undone under the lock as well.
    let client = server.for_undoing().client()?.argument("--unbuffered");
    let (answered, answer) = channel();
    let (mut work, mut outcome) = (Some(work), None);
    let mut write = |input: &mut dyn Write| {
        let statement = format!("{SILENCE}SELECT coalesce(GET_LOCK({}, 0), 0);\n", text(lock));
        input.write_all(statement.as_bytes()).wrap(|| "cannot write statements")?;
        input.flush().wrap(|| "cannot write statements")?;
        // If there is no answer, the client says why.
        let is_held = answer.recv().ok();
        outcome = match (is_held, work.take()) {
            (Some(true), Some(work)) => Some(work()),
            (Some(false), _) => Some(Err(Error::new(
                ErrorKind::Exists,
                "another restore of it is running: wait for its end, then look whether this one is still needed",
            ))),
            _ => None,
        };
        Ok(())
    };
    let read = move |output: &mut dyn Read| {
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        lines.read_line(&mut line).wrap(|| "cannot ask for a lock")?;
        if line.is_empty() || answered.send(line.trim_end() == "1").is_err() {
            return Ok(());
        }
        // Nothing more comes. That the client dies later is no matter: what it holds the lock for goes on.
        drop(lines.read_to_end(&mut Vec::new()));
        Ok(())
    };
    let ended = client.feed_through(&mut write, read);
    outcome.unwrap_or_else(|| {
        ended.and_then(|()| Err(Error::new(ErrorKind::Failed, "the server does not say who has a lock")))
    })
}
