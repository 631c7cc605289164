//! Whether a server runs; stopping it, and starting it.
//!
//! What must hold: a server counts as gone only if its own place on this machine says so: what cannot be reached may
//! well run, and would write over what is put in place.

use std::net::{ToSocketAddrs, UdpSocket};

use super::super::Access;
use super::Redis;
use super::client::{Client, Server};
use super::waiting::{Patience, poll};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::Program;

/// As often it is asked whether a server has stopped, or answers again: about a minute.
const QUESTIONS_MAX: u32 = 65;
/// The same if what stops it has failed: a few seconds.
const REFUSED_QUESTIONS_MAX: u32 = 8;

/// Whether a server's address is one of this machine.
pub(super) fn is_here(access: &Access) -> bool {
    let Some(host) = &access.host else { return true };
    let Ok(mut addresses) = (host.as_str(), 0).to_socket_addrs() else { return false };
    // No other can be taken.
    addresses.any(|address| UdpSocket::bind(address).is_ok())
}

/// Whether a server runs.
#[derive(Debug)]
pub(super) enum Presence {
    Runs,
    Gone,
    Unknown(Error),
}

impl Presence {
    pub(super) fn of(client: &Client, access: &Access) -> Self {
        match client.ask(&["PING"]) {
            Ok(_) => Self::Runs,
            Err(error) => Self::of_error(error, access),
        }
    }

    fn of_error(error: Error, access: &Access) -> Self {
        /// What is said of a place at which no server listens.
        const NOBODY: [&str; 2] = ["Connection refused", "No such file or directory"];
        /// What is said of a container that does not run.
        const NO_CONTAINER: [&str; 2] = ["the container does not run", "there is no such container"];
        /// What is said if nothing was asked of the server at all.
        const NOT_ASKED: [&str; 3] =
            ["Could not connect", "docker itself cannot be reached", "the program is not in the container"];
        let lines = error.chain();
        let says = |parts: &[&str]| lines.iter().any(|line| parts.iter().any(|part| line.contains(part)));
        if access.container.is_some() && says(&NO_CONTAINER) {
            return Self::Gone;
        }
        if says(&NOT_ASKED) || error.kind() == ErrorKind::NotFound {
            return if is_here(access) && says(&["Could not connect"]) && says(&NOBODY) {
                Self::Gone
            } else {
                Self::Unknown(error)
            };
        }
        // One that refuses the password runs.
        Self::Runs
    }
}

impl Redis {
    /// Stops the server, by its command; says whether it ran. Nothing is changed if that cannot be told.
    pub(super) fn stop(&self, client: &Client, is_stopping: impl FnOnce()) -> Result<()> {
        let present = || Presence::of(client, &self.access);
        match (present(), self.stop_command.is_empty()) {
            (Presence::Unknown(error), _) => {
                return Err(error.while_doing("cannot tell whether the server runs"));
            }
            (Presence::Gone, true) => return Ok(()),
            (Presence::Runs, true) => {
                let message =
                    "the server runs, and would write over what is restored: stop it, or name stop-command";
                return Err(Error::new(ErrorKind::Fenced, message));
            }
            // One that starts just now may not listen yet.
            (Presence::Gone, false) => {}
            (Presence::Runs, false) => is_stopping(),
        }
        let stopped = self.run(client, &self.stop_command);
        let questions = if stopped.is_ok() { QUESTIONS_MAX } else { REFUSED_QUESTIONS_MAX };
        let mut last = None;
        let gone = poll(&|| client.is_over(), questions, || match present() {
            // One that has stopped before may call it an error to be told so.
            Presence::Gone => Ok(Some(())),
            Presence::Runs => Ok(None),
            Presence::Unknown(error) => {
                last = Some(error);
                Ok(None)
            }
        })?;
        if gone.is_some() {
            return Ok(());
        }
        stopped.wrap(|| "cannot stop the server")?;
        let still = Error::new(ErrorKind::Fenced, "the server was told to stop and still answers");
        Err(last.map_or(still, |error| error.while_doing("cannot tell whether the server has stopped")))
    }

    /// Starts the server, by its command, and waits until it has loaded its data.
    pub(super) fn start(&self, client: &Client) -> Result<Server> {
        self.run(client, &self.start_command).wrap(|| "cannot start the server")?;
        let mut last = None;
        // A server that loads answers, and takes as long as it needs.
        let mut silent = QUESTIONS_MAX;
        let mut patience = Patience::new();
        let ready = poll(&|| client.is_over(), u32::MAX, || match client.server() {
            Ok(server) => Ok(Some(Some(server))),
            Err(error) if error.chain().iter().any(|line| line.contains("loads its data")) => {
                silent = QUESTIONS_MAX;
                client.information("persistence").map_or(Ok(()), |told| patience.see(&told))?;
                Ok(None)
            }
            Err(error) => {
                silent = silent.saturating_sub(1);
                last = Some(error);
                Ok((silent == 0).then_some(None))
            }
        })?;
        ready.flatten().ok_or_else(|| {
            let error = last.unwrap_or_else(|| Error::new(ErrorKind::Unreachable, "it does not answer"));
            error.while_doing("the server was started and does not answer")
        })
    }

    fn run(&self, client: &Client, words: &[String]) -> Result<()> {
        let Some((program, arguments)) = words.split_first() else { return Ok(()) };
        // The server's own client is told how to reach it.
        if Client::known(program).is_some() {
            return client.program()?.arguments(arguments).run();
        }
        Program::of_command(program, None, None, client.listener()).arguments(arguments).run()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Container;
    use super::*;

    fn at(host: Option<&str>, container: bool) -> Access {
        let container =
            container.then(|| Container { name: "cache".to_owned(), program: "docker".to_owned() });
        Access { host: host.map(str::to_owned), container, ..Access::default() }
    }

    #[test]
    fn only_the_servers_own_place_says_that_it_is_gone() {
        let could_not = |why: &str| format!("Could not connect to Redis at x:6379: {why}");
        for (message, access, wanted) in [
            (could_not("Connection refused"), at(None, false), "gone"),
            (could_not("Connection refused"), at(Some("127.0.0.1"), false), "gone"),
            (could_not("No such file or directory"), at(None, false), "gone"),
            (could_not("Connection refused"), at(None, true), "gone"),
            ("the container does not run".to_owned(), at(None, true), "gone"),
            ("there is no such container".to_owned(), at(None, true), "gone"),
            // Set apart for documents: no machine has it.
            (could_not("Connection refused"), at(Some("192.0.2.1"), true), "unknown"),
            (could_not("Connection refused"), at(Some("192.0.2.1"), false), "unknown"),
            (could_not("Connection timed out"), at(None, false), "unknown"),
            (could_not("No route to host"), at(Some("127.0.0.1"), false), "unknown"),
            (could_not("Permission denied"), at(None, false), "unknown"),
            ("docker itself cannot be reached".to_owned(), at(None, true), "unknown"),
            ("the program is not in the container".to_owned(), at(None, true), "unknown"),
            ("NOAUTH Authentication required.".to_owned(), at(None, false), "runs"),
            ("LOADING Redis is loading the dataset in memory".to_owned(), at(None, false), "runs"),
        ] {
            let error = Error::new(ErrorKind::Failed, message.clone()).while_doing("cannot ask");
            let found = match Presence::of_error(error, &access) {
                Presence::Runs => "runs",
                Presence::Gone => "gone",
                Presence::Unknown(_) => "unknown",
            };
            assert_eq!(found, wanted, "{message} {access:?}");
        }
        let missing = Error::new(ErrorKind::NotFound, "there is no program redis-cli on this machine");
        assert!(matches!(Presence::of_error(missing, &at(None, false)), Presence::Unknown(_)));
    }
}
