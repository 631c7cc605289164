//! What a program says of itself on its standard error: told while it runs, and kept for the error if it fails.
//!
//! What must hold: no secret that the program was given is in what is told; what is kept is little; what is recognised
//! is said in a plain sentence beside the program's own words, never instead of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Error, ErrorKind};
use crate::source::Listener;
use crate::source::engine::Password;

/// How many of the last lines are kept.
const LINES_MAX: usize = 20;
/// Longer lines are cut: what a client quotes of the data is not for logs.
const LINE_BYTES_MAX: usize = 500;
/// Begins a line by which a client frames a statement that it quotes.
const FRAME: &[u8] = b"---";
/// Shorter secrets are not looked for: they would hide half of what is said, and thereby be told.
const SECRET_BYTES_MIN: usize = 6;

/// The last lines of a program's messages.
#[derive(Clone, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// What is done with each line: it is told and kept, without what must not be told.
    pub fn keeper(&self, listener: &Listener, secrets: Vec<Password>) -> impl FnMut(&[u8]) + Send + 'static {
        let (lines, listener) = (self.clone(), listener.clone());
        move |line| {
            if line.starts_with(FRAME) {
                return;
            }
            let line = presentable(line, &secrets);
            listener.tell(&line);
            let mut lines = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    /// Adds to an error what the program said: a plain sentence if it is recognised, then its own lines.
    pub fn explain(&self, error: &Error) -> Error {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sentence = sentence(lines.iter().map(String::as_str));
        let messages = lines.iter().rev().cloned();
        let messages = messages.chain(sentence.map(str::to_owned)).chain(std::iter::once(error.to_string()));
        let explained = messages.fold(None, |cause: Option<Error>, message| {
            Some(match cause {
                Some(cause) => cause.while_doing(message),
                None => Error::new(error.kind(), message),
            })
        });
        explained.unwrap_or_else(|| Error::new(ErrorKind::Failed, error.to_string()))
    }
}

/// A line as text without control characters and without secrets.
fn presentable(line: &[u8], secrets: &[Password]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    for secret in secrets.iter().filter(|secret| secret.expose().len() >= SECRET_BYTES_MIN) {
        text = text.replace(secret.expose(), "…");
    }
    if text.len() > LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        text.push('…');
    }
    text.trim_end().chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What parts of messages mean, in small letters; the first that is found counts.
const KNOWN: [(&str, &[&str]); 14] = [
    (
        "docker itself cannot be reached: it does not run, or this user may not use it",
        &[
            "cannot connect to the docker daemon",
            "permission denied while trying to connect to the docker",
            "cannot connect to podman",
        ],
    ),
    ("there is no such container", &["no such container", "no container with name or id"]),
    (
        "the container does not run",
        &["is not running", "can only create exec sessions on running containers"],
    ),
    ("the program is not in the container", &["executable file not found", "oci runtime exec failed"]),
    (
        "no space is left on the server's disk",
        &[
            "no space left on device",
            "disk full",
            "errno: 28",
            "error 28",
            "error 1114",
            "could not extend file",
        ],
    ),
    (
        "the versions of client and server do not fit",
        &[
            "server version mismatch",
            "unsupported version (",
            "client does not support authentication protocol",
        ],
    ),
    // Of a user who was accepted.
    (
        "this user may not do that",
        &["error 1044", "(1044)", "command denied to user", "insufficient privileges"],
    ),
    (
        "the server does not accept this user or password",
        &[
            "password authentication failed",
            "no password supplied",
            "peer authentication failed",
            "ident authentication failed",
            "no pg_hba.conf entry",
            "access denied for user",
            "noauth",
            "wrongpass",
            "authentication failed",
            "auth error",
            "authentication required",
        ],
    ),
    (
        "this user may not do that",
        &[
            "permission denied",
            "must be superuser",
            "must be owner",
            "access denied",
            "not authorized",
            "noperm",
        ],
    ),
    (
        "another connection of the server holds a lock for too long",
        &["lock wait timeout exceeded", "canceling statement due to lock timeout"],
    ),
    (
        "the server gives no answer: it hangs, or something else listens there",
        &["initial communication packet", "authorization packet"],
    ),
    (
        "the server cannot be reached: it does not run, or listens elsewhere",
        &[
            "connection refused",
            "can't connect to",
            "could not connect to",
            "is the server running",
            "could not translate host name",
            "name or service not known",
            "starting up",
            "no reachable servers",
            "server selection",
        ],
    ),
    (
        "the server ended the connection in the middle",
        &[
            "server closed the connection",
            "terminating connection",
            "lost connection",
            "server has gone away",
            "connection reset by peer",
            "shutting down",
            "in recovery mode",
            "connection not open",
            "server closed",
            "no connection to the server",
        ],
    ),
    (
        "somebody else held a table alone for longer than the dump waits (--lock-wait-timeout)",
        &[
            "statement timeout\npg_dump: detail: query was: lock table",
            "statement timeout\npg_dump: error: query was: lock table",
        ],
    ),
];

/// What lines mean that are recognised.
fn sentence<'l>(lines: impl Iterator<Item = &'l str>) -> Option<&'static str> {
    let text = lines.collect::<Vec<_>>().join("\n").to_lowercase();
    let is_meant = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    KNOWN.iter().find(|(_, parts)| is_meant(parts)).map(|(sentence, _)| *sentence)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn kept(lines: &[&str], secrets: &[&str]) -> (LastLines, Vec<String>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let listener = Listener::new(move |line| telling.lock().unwrap().push(line.to_owned()));
        let secrets = secrets.iter().map(|text| Password::new(Zeroizing::new((*text).to_owned()))).collect();
        let kept = LastLines::default();
        let mut keep = kept.keeper(&listener, secrets);
        lines.iter().for_each(|line| keep(line.as_bytes()));
        let told = told.lock().unwrap().clone();
        (kept, told)
    }

    #[test]
    fn an_error_is_followed_by_a_sentence_and_the_last_lines() {
        let error = Error::new(ErrorKind::Failed, "pg_dump exited with status 1");
        let fatal = "FATAL:  password authentication failed for user \"x\"";
        let (lines, _) = kept(&["pg_dump: error: connection failed", fatal], &[]);
        let explained = lines.explain(&error);
        assert_eq!(explained.kind(), ErrorKind::Failed);
        assert_eq!(
            explained.chain(),
            [
                "pg_dump exited with status 1",
                "the server does not accept this user or password",
                "pg_dump: error: connection failed",
                fatal,
            ]
        );
        let (nothing, _) = kept(&[], &[]);
        assert_eq!(nothing.explain(&error).chain(), ["pg_dump exited with status 1"]);
        let numbered: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let (lines, told) = kept(&numbered.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        assert_eq!(told.len(), 100);
        assert_eq!(lines.explain(&error).chain()[1..], numbered[80..]);
    }

    #[test]
    fn secrets_and_control_characters_are_not_told() {
        let long = "é".repeat(400);
        let (_, told) = kept(&["--------------", &long], &[]);
        assert_eq!(told, [format!("{}…", "é".repeat(250))]);
        let (lines, told) = kept(&["a\x1b[31m secret-word\r", "short"], &["secret-word", "short"]);
        assert_eq!(told, ["a [31m …", "short"]);
        let error = lines.explain(&Error::new(ErrorKind::Failed, "failed"));
        assert_eq!(error.chain(), ["failed", "a [31m …", "short"]);
    }

    #[test]
    fn what_programs_say_is_recognised() {
        for (line, wanted) in [
            ("connection to server on socket \"/x\" failed: Connection refused", "cannot be reached"),
            (
                "\tIs the server running locally and accepting connections on that socket?",
                "cannot be reached",
            ),
            ("ERROR 2002 (HY000): Can't connect to local server through socket", "cannot be reached"),
            ("ERROR 1045 (28000): Access denied for user 'x'@'localhost'", "user or password"),
            ("ERROR 1044 (42000) at line 23: Access denied for user 'x'@'%' to database 'shop'", "may not"),
            (
                "mariadb-dump: Couldn't execute 'show events': Access denied for user 'x'@'%' (1044)",
                "may not",
            ),
            ("SHOW VIEW command denied to user 'x'@'localhost' for table `shop`.`rich` (1142)", "may not"),
            ("mariadb-dump: x has insufficient privileges to SHOW CREATE FUNCTION `f`!", "may not"),
            ("ERROR 1205 (HY000): Lock wait timeout exceeded; try restarting transaction", "holds a lock"),
            (
                "ERROR 2013 (HY000): Lost connection to server at 'waiting for initial communication packet'",
                "gives no answer",
            ),
            ("Failed: can't create session: auth error: sasl conversation error", "user or password"),
            ("pg_dump: error: aborting because of server version mismatch", "versions"),
            ("pg_restore: error: unsupported version (1.16) in file header", "versions"),
            ("ERROR:  could not extend file \"base/5/1\": No space left on device", "disk"),
            ("ERROR 1114 (HY000) at line 51: The table 'filling' is full", "disk"),
            ("mariadb-dump: Error 2013: Lost connection to server during query", "in the middle"),
            ("pg_dump: error: server closed the connection unexpectedly", "in the middle"),
            ("ERROR:  permission denied for table goods", "may not"),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
                 pg_dump: detail: Query was: LOCK TABLE public.goods IN ACCESS SHARE MODE",
                "held a table alone",
            ),
            ("Error response from daemon: No such container: db", "no such container"),
            ("Error response from daemon: container 1f is not running", "does not run"),
            ("exec: \"pg_dump\": executable file not found in $PATH: unknown", "not in the container"),
        ] {
            let found = sentence([line].into_iter()).unwrap_or("nothing");
            assert!(found.contains(wanted), "{line}: {found}");
        }
        assert_eq!(sentence(["some words"].into_iter()), None);
    }
}
