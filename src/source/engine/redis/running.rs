//! Whether a server runs; stopping it, and starting it.
//!
//! What must hold: a server counts as gone only if its own place on this machine says so: what cannot be reached may
//! well run, and would write over what is put in place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};

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
    addresses.any(|address| is_own(address.ip()))
}

/// Whether an address is one of this machine. That it can be taken says nothing: a machine may take any address, as one
/// does that waits to stand in for another (`ip_nonlocal_bind`).
fn is_own(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent. Who speaks to an address of its own does so from that one, or from the first of its network.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
        || std::fs::read_to_string("/proc/net/fib_trie").is_ok_and(|routes| is_local(address, &routes))
}

/// Whether the kernel's routes name an address as one of this machine.
fn is_local(address: IpAddr, routes: &str) -> bool {
    let mut found = None;
    routes.lines().any(|line| {
        let line = line.trim();
        if let Some(node) = line.strip_prefix("|-- ") {
            found = node.parse::<IpAddr>().ok();
        }
        line == "/32 host LOCAL" && found == Some(address)
    })
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

    /// An error unless the server still stands still: one that somebody else has started again has not read what was
    /// put in place since, and would write over it.
    pub(super) fn must_be_gone(&self, client: &Client) -> Result<()> {
        match Presence::of(client, &self.access) {
            Presence::Gone => Ok(()),
            Presence::Unknown(error) => {
                Err(error.while_doing("cannot tell whether the server still stands still"))
            }
            Presence::Runs => Err(Error::new(
                ErrorKind::Fenced,
                "the server was stopped, and something else has started it again before its data were in place: \
                 stop-command must stop what watches over it, too",
            )),
        }
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

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        for (address, wanted) in [
            ("127.0.0.1", true),
            ("127.8.7.6", true),
            ("0.0.0.0", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_own(address.parse().expect("an address")), wanted, "{address}");
        }
        // The one from which this machine speaks to others, if it does.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_own(socket.local_addr().expect("an address").ip()));
        }
        let routes = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\nLocal:\n     \
                      |-- 10.0.0.6\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        for (address, wanted) in [("10.0.0.6", true), ("10.0.0.255", false), ("10.0.0.0", false)] {
            assert_eq!(is_local(address.parse().expect("an address"), routes), wanted, "{address}");
        }
    }
}
